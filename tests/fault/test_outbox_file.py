"""The outbox file: locked, damaged, full, protected, foreign. Each stops before anything is signed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import (
    OutboxError,
    OutboxInUse,
    OutboxMissing,
    OutboxUnreadable,
    OutboxUnwritable,
    SpendingUnwritable,
)
from rebalancer.send.attempt import AttemptState, Intent
from rebalancer.send.fees import GasFees
from rebalancer.send.journal import read_attempts
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer

INTENT = Intent(31337, "0x" + "aa" * 20, 0, "0x" + "bb" * 20, "0x", 21_000, "a test")


class NothingSentRpc(Rpc):
    """Knows only its chain id: any other question is one too many."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")

    def chain_id(self) -> int:
        return 31337

    def call(self, method: str, *params: Any) -> Any:
        raise AssertionError(f"{method} was asked")


def deliver(outbox: Outbox) -> None:
    outbox.submit(NothingSentRpc(), [devnet_signer(0)], INTENT, GasFees(1, 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "outbox.sqlite"


def test_open_twice_in_one_process_is_refused(path: Path) -> None:
    with Outbox(path), pytest.raises(OutboxInUse, match=f"process {os.getpid()}"):
        Outbox(path)
    Outbox(path).close()


def test_open_while_another_keeper_runs_is_refused_until_it_is_killed(path: Path) -> None:
    script = f"""
        import time
        from pathlib import Path
        from rebalancer.send.outbox import Outbox
        box = Outbox(Path({str(path)!r}))
        print("open", flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(OutboxInUse) as caught:
            Outbox(path)
        assert str(caught.value) == (
            f"The outbox {path} is in use by process {other.pid}: "
            "stop that program, or give this keeper another outbox and another key."
        )
        other.kill()
    Outbox(path).close()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_what_is_made_is_its_users_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "new" / "deep" / "outbox.sqlite"
    before = os.umask(umask)
    try:
        with Outbox(path) as outbox:
            outbox.journal.plan(INTENT, INTENT.vault)
            modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == {f"outbox.sqlite{ending}": 0o600 for ending in ("", ".lock", "-wal", "-shm")}
    assert {one.stat().st_mode & 0o777 for one in (path.parent, path.parent.parent)} == {0o700}


@pytest.mark.parametrize("ending", ["", ".lock", "-wal", "-shm", "-journal"])
def test_link_is_not_followed_and_what_it_leads_to_stays(path: Path, ending: str) -> None:
    keystore = path.parent / "keystore.json"
    path.parent.mkdir()
    keystore.write_text("a key")
    path.with_name(path.name + ending).symlink_to(keystore)

    with pytest.raises(OutboxUnwritable, match="it is a symbolic link"):
        Outbox(path)
    assert keystore.read_text() == "a key"


@pytest.mark.parametrize("ending", ["", ".lock"])
def test_pipe_is_no_outbox_and_no_lock(path: Path, ending: str) -> None:
    path.parent.mkdir()
    os.mkfifo(path.with_name(path.name + ending))

    with pytest.raises(OutboxUnwritable, match="it is not a regular file"):
        Outbox(path)


def test_deliver_while_another_program_locks_the_file_sends_nothing(path: Path) -> None:
    with Outbox(path) as outbox:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxInUse, match="another program"):
            deliver(outbox)
        other.execute("ROLLBACK")
        other.close()
        assert outbox.attempts(31337) == []


@pytest.mark.parametrize(
    "content",
    [b"not a database", b"\0" * 8192, bytes(range(64, 128))],
    ids=["text", "zeros", "bytes"],
)
def test_open_another_kind_of_file_is_unreadable(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(OutboxUnreadable):
        Outbox(path)
    assert path.read_bytes() == content


def test_open_another_programs_database_is_unreadable_and_untouched(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(OutboxUnreadable, match="another program"):
        Outbox(path)
    assert path.read_bytes() == before


def test_open_another_version_is_unreadable(path: Path) -> None:
    Outbox(path).close()
    journal = sqlite3.connect(path)
    journal.execute("PRAGMA user_version = 4")
    journal.close()
    with pytest.raises(OutboxUnreadable, match="version 4 is not 3"):
        Outbox(path)


def test_open_a_damaged_file_is_unreadable(path: Path) -> None:
    Outbox(path).close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(OutboxUnreadable):
        Outbox(path)


def test_open_where_no_folder_can_be_is_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "outbox.sqlite", Path("/proc/outbox.sqlite")):
        with pytest.raises(OutboxUnwritable):
            Outbox(path)


def test_open_a_folder_is_unwritable(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").mkdir()
    with pytest.raises(OutboxUnwritable):
        Outbox(tmp_path / "outbox.sqlite")


def test_deliver_on_a_full_disk_sends_nothing(path: Path) -> None:
    with Outbox(path) as outbox:
        # SQLite's own quota: it answers as it does when the disk has no room.
        pages = outbox.journal.connection.execute("PRAGMA page_count").fetchone()[0]
        outbox.journal.connection.execute(f"PRAGMA max_page_count = {pages}")
        wide = Intent(31337, "0x" + "aa" * 20, 0, "0x" + "bb" * 20, "0x" + "00" * 9000, 1, "a test")
        with pytest.raises(OutboxUnwritable, match="full"):
            outbox.submit(NothingSentRpc(), [devnet_signer(0)], wide, GasFees(1, 1))
        assert outbox.attempts(31337) == []


def test_deliver_with_a_read_only_file_sends_nothing(path: Path) -> None:
    with Outbox(path) as outbox:
        # As SQLite answers where the file or its folder is protected; root may write everywhere.
        outbox.journal.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(OutboxUnwritable, match="readonly"):
            deliver(outbox)
        assert outbox.attempts(31337) == []


@pytest.mark.parametrize("step", ["original", "bump", "cancellation"])
def test_version_that_does_not_fit_on_the_disk_is_not_sent(
    chain: LocalChain, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    signer = devnet_signer(11)
    wide = replace(INTENT, to=signer.address, data="0x" + "00" * 9000, gas_limit=200_000)
    chain.rpc.call("evm_setAutomine", False)
    try:
        with Outbox(path, SendRules(min_pending_seconds=0)) as outbox:
            if step != "original":
                outbox.submit(chain.rpc, [signer], wide)
            before = outbox.attempts(31337)
            sent = []
            call = chain.rpc.call

            def counting(method: str, *params: Any) -> Any:
                sent.append(method)
                return call(method, *params)

            monkeypatch.setattr(chain.rpc, "call", counting)
            if step == "original":
                # Room for the intent, which is as large as its transaction, and for no more.
                outbox.journal.plan(replace(wide, epoch=1), signer.address)
                outbox.journal.connection.execute("DELETE FROM attempts")
            fill_disk(outbox)
            take: dict[str, Callable[[], object]] = {
                "original": lambda: outbox.submit(chain.rpc, [signer], wide),
                "bump": lambda: outbox.advance(chain.rpc, [signer], 10**6),
                "cancellation": lambda: outbox.cancel(chain.rpc, signer, before[0], "n" * 9000),
            }
            with pytest.raises(OutboxUnwritable, match="full"):
                take[step]()
            assert "eth_sendRawTransaction" not in sent
            monkeypatch.undo()
            if before:
                assert outbox.attempts(31337) == before
            empty_disk(outbox)
            outbox.resume(chain.rpc)
            outbox.submit(chain.rpc, [signer], wide)
            chain.mine()
            outbox.advance(chain.rpc, [signer], int(chain.block()["number"], 16))
            assert outbox.attempts(31337)[-1].state is AttemptState.MINED
    finally:
        chain.rpc.call("evm_setAutomine", True)


def fill_disk(outbox: Outbox) -> None:
    """SQLite's own quota: it answers as it does when the disk has no room."""
    pages = outbox.journal.connection.execute("PRAGMA page_count").fetchone()[0]
    outbox.journal.connection.execute(f"PRAGMA max_page_count = {pages}")


def empty_disk(outbox: Outbox) -> None:
    outbox.journal.connection.execute("PRAGMA max_page_count = 1000000")


def test_plan_beyond_the_file_size_limit_journals_nothing(path: Path) -> None:
    # The system refuses to let the files of this process grow, as a full disk does.
    script = f"""
        import resource
        from pathlib import Path
        from rebalancer.errors import OutboxUnwritable
        from rebalancer.send.attempt import Intent
        from rebalancer.send.outbox import Outbox
        with Outbox(Path({str(path)!r})) as box:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            try:
                box.journal.plan(Intent(31337, "0xaa", 0, "0xbb", "0x", 21_000, "a test"), "0xcc")
            except OutboxUnwritable as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.startswith(f"The outbox {path} cannot be written"), done
    with Outbox(path) as outbox:
        assert outbox.attempts(31337) == []


def test_closed_outbox_leaves_a_file_that_opens_again(path: Path) -> None:
    with Outbox(path) as outbox:
        with pytest.raises(AssertionError, match="eth_blockNumber was asked"):
            deliver(outbox)
        (planned,) = outbox.attempts(31337)
        assert outbox.journal.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert outbox.journal.connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    with Outbox(path) as outbox:
        assert outbox.attempts(31337) == [planned]


def test_outbox_that_nobody_made_is_missing_and_is_not_made_by_looking(path: Path) -> None:
    with pytest.raises(OutboxMissing) as caught:
        read_attempts(path, 31_337)
    assert caught.value.path == path
    assert not path.exists()


def test_every_outbox_error_is_covered_here() -> None:
    assert set(OutboxError.__subclasses__()) == {
        OutboxInUse,
        OutboxMissing,
        OutboxUnreadable,
        OutboxUnwritable,
        SpendingUnwritable,
    }
