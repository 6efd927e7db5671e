"""`rebalancer status`: the keeper it asks, the picture it draws, and who answers when no keeper does."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rebalancer.cli.status_picture import picture
from rebalancer.errors import NoKeeperAnswers
from rebalancer.keeper.outages import LeftOut
from rebalancer.keeper.report import EndpointState
from rebalancer.reasons import Reason
from rebalancer.units import E18
from rebalancer.watch.alarm_state import Alarms
from rebalancer.watch.alarms import AlarmLimits
from rebalancer.watch.metrics import Metrics
from rebalancer.watch.server import Server
from rebalancer.watch.status import StatusStore
from tests.clocks import wait_for
from tests.commands import run
from tests.ticks import CHAIN, NOON, SIGNER, breaker, decision, endpoint, outcome, tick, vault

pytestmark = pytest.mark.usefixtures("only_own_settings")


class Keeper:
    """What is left of a keeper when it only answers: a board with looks of a busy morning."""

    def __init__(self) -> None:
        self.now = NOON
        self.alarms = Alarms(AlarmLimits(E18 // 20), 3_600)
        self.status_store = StatusStore([CHAIN, 10], self.alarms, clock=lambda: self.now)
        self.server = Server(("127.0.0.1", 0), self.status_store, Metrics(self.alarms))
        self.url = f"http://127.0.0.1:{self.server.port}"

    def ticks(self, **changes: Any) -> None:
        made = tick(self.now, **changes)
        self.status_store(made)
        self.alarms.observe(made)

    def drawn(self, width: int = 100, rows: int = 8) -> str:
        """The picture, as text."""
        out = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 (nobody reads it)
        state = json.loads(json.dumps(self.status_store.status()))
        out.print(picture(state, "http://127.0.0.1:9464", rows, width))
        out.file.close()
        return re.sub(r"[ │]+", " ", out.export_text())


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made = Keeper()
    with made.server:
        yield made


# Nobody there


def test_no_keeper_is_said_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        ran = run(capsys, "status", "--url", f"http://127.0.0.1:{port}")

    assert ran.code == NoKeeperAnswers.exit_code == 19
    assert ran.sentence.startswith(
        f"No keeper answers at http://127.0.0.1:{port} (the connection was refused): start one with "
    )


def test_keeper_by_a_name_that_is_not_its_own_says_which_setting_adds_it(
    capsys: pytest.CaptureFixture[str], keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "urllib3.util.connection.create_connection",
        lambda _address, *_more, **_options: socket.create_connection(("127.0.0.1", keeper.server.port)),
    )

    ran = run(capsys, "status", "--url", f"http://keeper.example:{keeper.server.port}")

    assert ran.code == NoKeeperAnswers.exit_code
    assert "add the name to keeper.allowed_hosts" in ran.sentence


def test_keeper_that_listens_nowhere_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rebalancer.toml").write_text('[keeper]\nlisten = "off"\n')
    assert "keeper.listen is off in the settings" in run(capsys, "status").sentence


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "the answer is not JSON"),
        (b'{"jsonrpc": "2.0"}', "the answer is not from a keeper"),
        (b"[]", "the answer is not from a keeper"),
    ],
)
def test_somebody_else_is_no_keeper(capsys: pytest.CaptureFixture[str], answer: bytes, why: str) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        ran = run(capsys, "status", "--url", f"http://127.0.0.1:{other.server_port}/s3cret-path")
        thread.join()

    assert f"({why})" in ran.sentence
    assert "s3cret" not in ran.err


# Somebody there


def test_settings_say_where_the_keeper_listens(keeper: Keeper, capsys: pytest.CaptureFixture[str]) -> None:
    keeper.ticks()
    Path("rebalancer.toml").write_text(f'[keeper]\nlisten = "0.0.0.0:{keeper.server.port}"\n')
    ran = run(capsys, "status", "--once")

    assert ran.code == 0
    assert "Chain 1 · block 100" in ran.out
    assert keeper.url in ran.out


def test_keeper_of_many_chains_is_one_keeper(keeper: Keeper, capsys: pytest.CaptureFixture[str]) -> None:
    keeper.ticks()
    chains = "".join(f"[[chains]]\nchain_id = {number}\n" for number in (1, 10))
    listen = f'[keeper]\nlisten = "127.0.0.1:{keeper.server.port}"\n'
    Path("rebalancer.toml").write_text(listen + chains)

    assert "Chain 10" in run(capsys, "status", "--once").out


def test_json_is_what_the_keeper_says(keeper: Keeper, capsys: pytest.CaptureFixture[str]) -> None:
    keeper.ticks()
    ran = run(capsys, "status", "--url", keeper.url, "--json")

    assert ran.json == json.loads(json.dumps(keeper.status_store.status()))


def test_pipe_gets_one_plain_picture(keeper: Keeper) -> None:
    keeper.ticks()
    ran = subprocess.run(
        [sys.executable, "-m", "rebalancer", "status", "--url", keeper.url],
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert ran.returncode == 0, ran.stderr
    assert "\x1b" not in ran.stdout
    assert ran.stdout.count("rebalancer 0") == 1


def test_terminal_is_drawn_anew_until_interrupted(keeper: Keeper) -> None:
    pty = pytest.importorskip("pty", reason="there are no terminals to make here")
    keeper.ticks()
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "rebalancer", "status", "--url", keeper.url, "--every", "0.2"]
    shown = subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    seen = bytearray()

    def read() -> None:
        try:
            while part := os.read(master, 65_536):
                seen.extend(part)
        except OSError:
            return  # the other end is closed

    thread = threading.Thread(target=read)
    thread.start()
    try:
        wait_for("the picture", lambda: b"1 BudgetSpent" not in seen and b"2 InBand" in plain(seen))
        keeper.ticks(reasons={vault(1): Reason.BUDGET_SPENT})
        wait_for("the picture", lambda: b"1 BudgetSpent" in plain(seen))
        keeper.server.close()
        wait_for("the picture", lambda: b"No keeper answers" in plain(seen))
        shown.send_signal(2)
        code = shown.wait(120)
    finally:
        shown.kill()
        shown.wait()
        thread.join()  # its end of the terminal is closed
        os.close(master)

    assert code == 0


def plain(seen: bytearray) -> bytes:
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", bytes(seen))


# The picture


def test_chain_not_looked_at_yet_says_so(keeper: Keeper) -> None:
    drawn = keeper.drawn()

    assert drawn.count("there was no tick yet") == 2
    assert "not ready" in drawn
    assert "Chain 10: there was no tick yet." in drawn


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_picture_shows_all_that_an_operator_asks_for(keeper: Keeper, width: int) -> None:
    keeper.now += 3_600
    mined = decision(1, Reason.REBALANCED, at=keeper.now, outcome=outcome(48_213, 17))
    keeper.ticks(
        decisions=(decision(2, Reason.BUDGET_SPENT, "no budget left", at=keeper.now), mined),
        reasons={vault(1): Reason.IN_BAND, vault(2): Reason.BUDGET_SPENT},
        drifts_bps={vault(1): 30, vault(2): 480},
        attempts={"sent": 2, "final": 0},
        waiting_blocks=4,
        balances_wei={SIGNER: E18 // 25},
        endpoints=(
            endpoint("https://one.example"),
            EndpointState("https://two.example", None, None, False),
        ),
        breakers=(breaker(vault(3), "it would be refused", keeper.now + 540),),
        diverged_pools=("v3 0xaa",),
        left_out=(LeftOut("0xbb", "it refuses swaps", 0.0, keeper.now + 120),),
    )
    drawn = keeper.drawn(width)

    for part in (
        "up 1 h",
        "last tick 0 s ago, took 0.25 s",
        "2 vaults: 1 InBand 1 BudgetSpent",
        "transactions: 2 sent the oldest is pending for 4 blocks",
        "https://one.example 100 80 ms healthy",
        "https://two.example - - not used",
        "Pools left out because their cached state differs from the chain: v3 0xaa",
    ):
        assert part in " ".join(drawn.split()), part
    # Of a table that does not fit, each row is written as lines.
    for row in (
        (SIGNER, "0.04"),
        ("0xbb", "in 2 min", "it refuses swaps"),
        (vault(3), "in 9 min", "it would be refused"),
        (vault(2), "4.80 %", "BudgetSpent", "no budget left"),
        ("Rebalanced", "sold $48,213.00, lost $17.00 (3.5 bps);"),
        ("SignerLow", "1", SIGNER, "0 s", "its balance is 0.040000 ether"),
    ):
        between = r"( [a-z ]+:)? "
        found = re.search(between.join(map(re.escape, row)), " ".join(drawn.split()))
        assert found, row
    assert "…" not in drawn


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_picture_keeps_to_its_width(keeper: Keeper, width: int) -> None:
    long = "a sentence that is far too long for one line of a terminal, " * 4
    every = {vault(i): reason for i in range(60) for reason in [list(Reason)[i % len(Reason)]]}
    keeper.ticks(
        failure=long,
        consecutive_failures=3,
        reasons=every,
        decisions=tuple(decision(i, reason, long) for i, reason in enumerate(every.values())),
        breakers=tuple(breaker(each, long, None) for each in every),
        left_out=tuple(LeftOut(each, long, 0.0, 60.0) for each in every),
        endpoints=tuple(endpoint(f"https://{'x' * i}.example") for i in range(30, 34)),
    )
    out = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 (nobody reads it)
    out.print(picture(keeper.status_store.status(), "http://127.0.0.1:9464", 8, width))
    out.file.close()
    text = out.export_text()

    assert max(map(len, text.splitlines())) <= width
    assert "(40 more)" in text
    assert "…" not in text
    shown = re.findall(r"0x[0-9a-f]+", text)
    assert shown
    assert set(shown) <= {*every, SIGNER}


def test_rows_are_no_more_than_asked_for(keeper: Keeper) -> None:
    every = {vault(i): Reason.BAND_BROKEN for i in range(40)}
    keeper.ticks(reasons=every, decisions=tuple(decision(i) for i in range(40)))

    assert keeper.drawn(rows=3).count("BandBroken") == 1 + 3 + 3
    assert keeper.drawn(rows=20).count("BandBroken") == 1 + 20 + 20


def test_text_of_others_steers_no_terminal(keeper: Keeper) -> None:
    keeper.ticks(failure="\x1b]0;owned\x07 [red]bold[/]", consecutive_failures=1)
    drawn = keeper.drawn()

    assert "\x1b" not in drawn
    assert "[red]bold[/]" in drawn
