"""The outbox's file: whose it is, what it is refused for, and what SQLite's errors come to."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

import pytest

from rebalancer.errors import OutboxError, OutboxInUse, OutboxUnreadable, OutboxUnwritable
from rebalancer.send import journal_file
from rebalancer.send.fees import GasFees
from rebalancer.send.journal import Journal
from rebalancer.send.journal_file import APPLICATION_ID, begin, holder_of, journal_error, lock
from tests.fault.test_outbox_migration import old_file, version

VAULT = "0x" + "aa" * 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# Whose it is


def test_the_file_says_which_process_has_it_open_and_of_nobody_afterwards(path: Path) -> None:
    assert holder_of(path) is None
    journal = Journal(path)
    assert holder_of(path) == os.getpid()
    journal.close()
    assert holder_of(path) is None


@pytest.mark.parametrize("message", ["", "nobody", "12345678901234567890"])
def test_a_lock_that_names_no_process_is_held_by_another(path: Path, message: str) -> None:
    beside = path.with_name("outbox.sqlite.lock")
    beside.write_text(message)
    with beside.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OutboxInUse) as caught:
            lock(path)
        assert holder_of(path) == (int(message) if message.isdigit() else None)

    assert caught.value.path == path
    assert caught.value.holder == (f"process {message}" if message else "another process")
    assert beside.read_text() == message, "who did not get it wrote nothing"


def test_a_lock_names_its_holder_alone_whatever_was_there(path: Path) -> None:
    path.with_name("outbox.sqlite.lock").write_text("99999999999999\n" * 3)
    held = lock(path)

    assert path.with_name("outbox.sqlite.lock").read_text() == f"{os.getpid()}\n"
    os.close(held)


def test_who_did_not_get_the_file_holds_nothing_open(path: Path) -> None:
    journal = Journal(path)
    before = open_files()
    for _ in range(3):
        with pytest.raises(OutboxInUse):
            Journal(path)
    assert open_files() == before
    journal.close()
    begin(path)
    path.write_text("no database" * 99)
    before = open_files()
    for _ in range(3):
        with pytest.raises(OutboxUnreadable):
            Journal(path)
    assert open_files() == before


def test_a_lock_on_a_full_disk_is_said_and_let_go_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(OutboxUnwritable, match="No space left") as caught:
            lock(path)
    assert caught.value.path == path
    assert open_files() == before
    os.close(lock(path))


def test_a_lock_that_fails_without_a_word_is_said_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("os.ftruncate", fail)
        with pytest.raises(OutboxUnwritable, match="its lock cannot be written"):
            lock(path)
    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "open_own", fail)
        with pytest.raises(OutboxUnwritable, match="its lock or folder: it cannot be opened") as one:
            lock(path)
        with pytest.raises(OutboxUnwritable, match=r"\(it cannot be opened\)") as other:
            begin(path)
    assert one.value.path == other.value.path == path


# What it is


def refused(path: Path) -> OutboxUnreadable:
    with pytest.raises(OutboxUnreadable) as caught:
        Journal(path)
    assert caught.value.path == path
    return caught.value


def test_a_file_of_another_program_or_version_is_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.commit()
    before = path.read_bytes()
    assert refused(path).why == "it belongs to another program"
    assert path.read_bytes() == before
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for other in (0, 4, 99):
        connection.execute(f"PRAGMA user_version = {other}")
        assert refused(path).why == f"its version {other} is not 3"
    connection.close()


def test_a_file_with_a_damaged_page_is_refused_before_it_is_used(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    data = bytearray(path.read_bytes())
    page = 4_096
    for at in range(page, len(data), page):  # the first page tells what the file is
        data[at : at + 64] = b"\xff" * 64
    path.write_bytes(data)

    assert "damaged" in refused(path).why or "malformed" in refused(path).why


def test_a_file_whose_pages_do_not_add_up_is_damaged(path: Path) -> None:
    Journal(path).close()
    data = bytearray(path.read_bytes())
    data[36:40] = (5).to_bytes(4, "big")  # so many pages are said to be free, and none is
    path.write_bytes(data)

    assert refused(path).why == "it is damaged"


def test_what_is_begun_is_the_file_alone(path: Path) -> None:
    begin(path)

    assert list(path.parent.iterdir()) == [path]


def test_every_change_is_on_disk_before_it_returns(path: Path) -> None:
    journal = Journal(path)
    assert journal_file.pragma(journal.connection, "synchronous") == 2  # FULL
    assert journal_file.pragma(journal.connection, "journal_mode") == "wal"
    journal.close()


def test_a_migration_that_is_cut_off_leaves_the_connection_outside_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(path, VAULT, "0x1234", 7)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row

    def cut_off(_raw: bytes) -> GasFees:
        raise KeyboardInterrupt

    monkeypatch.setattr(journal_file, "fees_of", cut_off)
    with pytest.raises(KeyboardInterrupt):
        journal_file.prepare(path, connection)
    assert not connection.in_transaction
    assert version(path) == 1
    connection.close()


def test_a_migration_that_sqlite_itself_takes_back_is_said_as_sqlite_says_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_file(path, VAULT, "0x1234", 7)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row

    def full(_raw: bytes) -> GasFees:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(journal_file, "fees_of", full)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal_file.prepare(path, connection)
    connection.close()
    assert version(path) == 1


def test_a_migration_that_cannot_begin_is_said_as_it_is(path: Path) -> None:
    old_file(path, VAULT, "0x1234", 7)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    connection.row_factory = sqlite3.Row
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        journal_file.prepare(path, connection)
    connection.close()
    other.execute("ROLLBACK")
    other.close()


def test_a_migration_leaves_nothing_of_the_old_tables(path: Path) -> None:
    old_file(path, VAULT, "0x1234", 7)
    Journal(path).close()
    fresh = path.with_name("fresh.sqlite")
    Journal(fresh).close()

    def schema(file: Path) -> set[tuple[str, str]]:
        connection = sqlite3.connect(file)
        found = set(connection.execute("SELECT type, name FROM sqlite_schema").fetchall())
        connection.close()
        return found

    assert schema(path) == schema(fresh)


# SQLite's errors


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("BUSY", "LOCKED", "BUSY_SNAPSHOT"), OutboxInUse),
        (("CORRUPT", "NOTADB", "CORRUPT_VTAB"), OutboxUnreadable),
        (("FULL", "IOERR", "READONLY", "CANTOPEN", "PERM", "IOERR_WRITE"), OutboxUnwritable),
        (("ERROR", "CONSTRAINT", "MISUSE", "MISMATCH"), None),
    ],
)
def test_errors_of_sqlite_are_told_by_what_an_operator_can_do(
    path: Path, names: tuple[str, ...], kind: type[OutboxError] | None
) -> None:
    for name in names:
        error = sqlite3.OperationalError("as SQLite says it")
        error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}")
        found = journal_error(path, error)
        if kind is None:
            assert found is None
            continue
        assert type(found) is kind
        assert found.path == path
        if kind is not OutboxInUse:
            assert found.why == "as SQLite says it"  # type: ignore[attr-defined]
    assert journal_error(path, sqlite3.OperationalError("no code")) is None
