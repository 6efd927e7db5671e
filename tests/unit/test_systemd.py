"""What systemd hears of a keeper: that it is ready, that it is alive for as long as no chain hangs, that it ends."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from structlog.testing import capture_logs

from rebalancer.keeper import supervisor as module
from rebalancer.keeper.supervisor import Supervisor
from rebalancer.keeper.systemd import ALIVE, ENDING, READY, Systemd

PATIENCE_SECONDS = 20.0
MINUTE_USEC = "60000000"


class Manager:
    """The socket of a service manager."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": MINUTE_USEC}

    def hears(self) -> str:
        return self.socket.recv(4_096).decode()

    def heard(self) -> list[str]:
        """All that came and was not asked for yet."""
        self.socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self.hears())
            except BlockingIOError:
                self.socket.settimeout(PATIENCE_SECONDS)
                return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.socket.close()


class Clock:
    """A clock that a test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        clock = self

        class Time:
            @staticmethod
            def monotonic() -> float:
                return clock.now

        monkeypatch.setattr(module, "time", Time)


class FakeKeeper:
    """A keeper that looks once, and then waits to be stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def start(self) -> None:
        """Nothing is to be checked."""

    def run(self, _on_decision: object, alive: Callable[[], None]) -> None:
        alive()
        self.stopped.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        self.stopped.set()


def supervisor_of(keeper: Any, systemd: Systemd) -> Supervisor:
    return Supervisor({1: lambda _stack, _observers: keeper}, systemd=systemd)


@pytest.mark.parametrize("name", ["in a folder", "abstract"])
def test_messages_reach_the_socket_that_the_environment_names(tmp_path: Path, name: str) -> None:
    path = f"@rebalancer-test-{os.getpid()}" if name == "abstract" else str(tmp_path / "notify")
    manager = Manager(path)
    Systemd(manager.environment).report(READY)

    assert manager.hears() == "READY=1"
    manager.socket.close()


def test_without_a_manager_nothing_is_told_and_a_gone_one_stops_nothing(tmp_path: Path) -> None:
    assert Systemd({"WATCHDOG_USEC": MINUTE_USEC}).alive_seconds is None
    with capture_logs() as logs:
        Systemd({}).report(READY)
        assert logs == []
        Systemd({"NOTIFY_SOCKET": str(tmp_path / "nothing")}).report(READY)
    assert [one["event"] for one in logs] == ["systemd_unreachable"]


def test_a_manager_that_does_not_listen_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Socket:
        def __init__(self, family: int, kind: int) -> None:
            assert family == socket.AF_UNIX
            assert kind == socket.SOCK_DGRAM | socket.SOCK_CLOEXEC

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            seen.append("closed")

        def setblocking(self, flag: bool) -> None:
            seen.append(flag)

        def sendto(self, data: bytes, address: str) -> None:
            seen.append((data, address))
            raise BlockingIOError

    monkeypatch.setattr("rebalancer.keeper.systemd.socket.socket", Socket)
    Systemd({"NOTIFY_SOCKET": "/x"}).report(READY)

    assert seen == [False, (b"READY=1", "/x"), "closed"]


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"WATCHDOG_USEC": MINUTE_USEC}, 30.0),
        ({"WATCHDOG_USEC": MINUTE_USEC, "WATCHDOG_PID": "this one"}, 30.0),
        ({"WATCHDOG_USEC": MINUTE_USEC, "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "1"}, 0.5e-6),
        ({}, None),
    ],
)
def test_it_is_told_twice_as_often_as_it_asks_for(more: dict[str, str], seconds: float | None) -> None:
    if more.get("WATCHDOG_PID") == "this one":
        more = more | {"WATCHDOG_PID": str(os.getpid())}
    assert Systemd({"NOTIFY_SOCKET": "/x", **more}).alive_seconds == seconds


def test_a_keeper_is_ready_alive_and_ends(manager: Manager) -> None:
    supervisor = supervisor_of(FakeKeeper(), Systemd(manager.environment))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    first = [manager.hears(), manager.hears()]
    supervisor.stop()
    thread.join(PATIENCE_SECONDS)

    assert first == [READY, ALIVE]
    assert ENDING in manager.heard()
    assert not thread.is_alive()


def test_a_chain_that_hangs_is_not_told_to_be_alive_until_it_goes_on(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module._MAX_BACKOFF_SECONDS < module._HUNG_SECONDS, "who rests does not hang"
    clock = Clock(monkeypatch)
    nothing = dict.fromkeys((1, 10), lambda *_: None)
    supervisor = Supervisor(nothing, systemd=Systemd(manager.environment))  # type: ignore[arg-type] # no keeper is opened
    for chain in (1, 10):
        supervisor._alive(chain)
    reported = []
    for _ in range(10):
        clock.now += 30
        supervisor._alive(1)
        supervisor._report_alive()
        reported.append(manager.heard())
    supervisor._alive(10)
    clock.now += 30
    supervisor._report_alive()

    assert reported == [[ALIVE]] * 8 + [[]] * 2
    assert manager.heard() == [ALIVE]


def test_it_is_told_no_more_often_than_it_asks_for(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    supervisor = Supervisor({1: lambda *_: None}, systemd=Systemd(manager.environment))  # type: ignore[dict-item] # no keeper is opened
    supervisor._alive(1)
    for _ in range(59):
        clock.now += 1
        supervisor._report_alive()

    assert manager.heard() == [ALIVE] * 2
