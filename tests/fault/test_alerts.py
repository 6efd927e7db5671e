"""Alerts: places that take them, refuse them, hang and are gone, and that no address is ever told."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.errors import ConfigError
from rebalancer.redact import HIDDEN, Redactor
from rebalancer.settings import AlertSettings, AlertUrl
from rebalancer.watch.alarm_state import Alarms, Notice
from rebalancer.watch.alarms import AlarmLimits
from rebalancer.watch.alerts import Alerts
from tests.clocks import wait_for
from tests.ticks import NOON, breaker, endpoint, tick, vault

SECRET = "t0p-s3cret-t0ken"


class Place:
    """A place that takes alerts by HTTP; `answers` are the codes of its next answers, 200 after them."""

    def __init__(self, answers: list[int], hangs: bool) -> None:
        self.got: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.released = threading.Event()
        destination = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if hangs:
                    destination.released.wait(600)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = answers.pop(0) if answers else 200
                destination.paths.append(self.path)
                if status == 200:
                    destination.got.append(json.loads(body))
                self.send_response(status, f"no, {SECRET}" if status != 200 else None)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign] # another in its place is the point
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_address[1]}/{SECRET}"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


MakeDestination = Callable[..., Place]


@pytest.fixture
def destination() -> Iterator[MakeDestination]:
    """Makes places that are closed after the test."""
    made: list[Place] = []

    def make(*answers: int, hangs: bool = False) -> Place:
        made.append(Place(list(answers), hangs))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Reported:
    """Alerts with a count of what became of them."""

    def __init__(self, *urls: str, **settings: Any) -> None:
        self.outcomes: list[str] = []
        self.alerts = Alerts(
            AlertSettings(urls=tuple(map(AlertUrl, urls)), **settings),
            Redactor([SECRET]),
            self.outcomes.append,
            pauses_seconds=(0.01, 0.01),
        )


def alarm_state(**changes: Any) -> tuple[Notice, ...]:
    """What a look begins."""
    return Alarms(AlarmLimits(0), 60).observe(tick(**changes))


DIFFERS = alarm_state(differing_vaults=(vault(1),))


# What goes wrong


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}", "slack://x", f"tgram://{SECRET}"])
def test_place_that_apprise_cannot_use_is_refused_without_its_address(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError) as caught:
        Alerts(AlertSettings(urls=(AlertUrl("json://127.0.0.1"), AlertUrl(url))))

    kind = url.partition(":")[0]
    assert str(caught.value).startswith(f"alerts.urls in the settings: Apprise cannot use number 2 ({kind}://…): ")
    message = str(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in message


def test_place_that_refuses_is_tried_again(destination: MakeDestination) -> None:
    there = destination(500, 429)
    reported = Reported(there.url)
    with reported.alerts:
        reported.alerts.report(DIFFERS)
        wait_for("what the place is told", lambda: reported.outcomes)

    assert [got["title"] for got in there.got] == ["[critical] chain 1: VaultIndexMismatch"]
    assert reported.outcomes == ["sent"]
    assert len(there.paths) == 3


def test_place_that_keeps_refusing_is_given_up_and_logged_without_its_address(
    destination: MakeDestination, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    there = destination(500, 500, 500)
    reported = Reported(there.url)
    with capture_logs() as logs, caplog.at_level(logging.WARNING), reported.alerts:
        reported.alerts.report(DIFFERS)
        wait_for("what the places are told", lambda: bool(reported.outcomes))

    assert reported.outcomes == ["failed"]
    assert [(entry["event"], entry["destination"]) for entry in logs] == [("alert_failed", "1 (json)")]
    assert SECRET in there.paths[0]
    message = repr(logs) + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in message
    assert str(there.server.server_address[1]) not in message


def test_place_that_is_gone_keeps_no_other_from_being_told(destination: MakeDestination) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = f"json://127.0.0.1:{probe.getsockname()[1]}/{SECRET}"
        there = destination()
        reported = Reported(gone, there.url)
        with reported.alerts:
            reported.alerts.report(DIFFERS)
            wait_for("what the places are told", lambda: len(reported.outcomes) == 2)

    assert sorted(reported.outcomes) == ["failed", "sent"]
    assert len(there.got) == 1


def test_place_that_hangs_delays_neither_a_look_nor_another_place(destination: MakeDestination) -> None:
    hanging, there = destination(hangs=True), destination()
    reported = Reported(hanging.url, there.url)
    with reported.alerts:
        for _ in range(20):
            reported.alerts.report(DIFFERS)
        wait_for("what the places are told", lambda: len(there.got) == 20)
        assert hanging.got == []
        hanging.released.set()


def test_place_that_hangs_drops_what_is_too_much_and_says_so(destination: MakeDestination) -> None:
    hanging = destination(hangs=True)
    reported = Reported(hanging.url)
    with capture_logs() as logs, reported.alerts:
        for _ in range(150):
            reported.alerts.report(DIFFERS)
        assert reported.outcomes.count("dropped") in (49, 50)  # one may be under way
        assert {entry["event"] for entry in logs} == {"alert_dropped"}
        hanging.released.set()


def test_end_does_not_wait_for_a_place_that_hangs(
    destination: MakeDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalancer.watch.alerts._LAST_SECONDS", 0.1)
    hanging = destination(hangs=True)
    reported = Reported(hanging.url)
    reported.alerts.report(DIFFERS)
    reported.alerts.close()

    assert not hanging.released.is_set()
    assert reported.outcomes == []


# What is told


def test_alert_says_what_began_and_what_ended(destination: MakeDestination) -> None:
    there = destination()
    alarms = Alarms(AlarmLimits(0), 60)
    reported = Reported(there.url)
    with reported.alerts:
        for made in (
            tick(breakers=(breaker(why="5 looks failed"),)),
            tick(NOON + 30),
            tick(NOON + 90),
        ):
            reported.alerts.report(alarms.observe(made))
        wait_for("what the places are told", lambda: len(there.got) == 2)

    began, ended = there.got
    assert (began["title"], began["type"]) == ("[critical] chain 1: ChainBreakerOpen", "failure")
    assert "5 looks failed" in began["message"]
    assert (ended["title"], ended["type"]) == ("[ended] chain 1: ChainBreakerOpen", "success")


@pytest.mark.parametrize(
    ("least", "kinds"),
    [
        ("critical", ["failure"]),
        ("warning", ["failure", "warning"]),
        ("info", ["failure", "info", "warning"]),
    ],
)
def test_places_are_told_of_nothing_less_severe_than_they_want(
    destination: MakeDestination, least: str, kinds: list[str]
) -> None:
    there = destination()
    alarms = Alarms(AlarmLimits(0), 10_000)
    reported = Reported(there.url, min_severity=least)
    matters: dict[str, Any] = {
        "endpoints": (endpoint("https://a", usable=False), endpoint("https://b")),
        "waiting_blocks": 40,
        "differing_vaults": (vault(1),),
    }
    with reported.alerts:
        for after in (0, 900):
            reported.alerts.report(alarms.observe(tick(NOON + after, **matters)))
        wait_for("what the places are told", lambda: len(reported.outcomes) == len(kinds))

    assert sorted(got["type"] for got in there.got) == kinds


def test_secret_in_what_another_wrote_is_not_sent(destination: MakeDestination) -> None:
    there = destination()
    reported = Reported(there.url)
    with reported.alerts:
        reported.alerts.report(alarm_state(breakers=(breaker(why=f"https://node/{SECRET} failed"),)))
        wait_for("what the places are told", lambda: bool(there.got))

    assert SECRET not in json.dumps(there.got)
    assert HIDDEN in there.got[0]["message"]


def test_no_place_is_told_nothing() -> None:
    reported = Reported()
    with reported.alerts:
        reported.alerts.report(DIFFERS)

    assert reported.outcomes == []
