"""The live view: lines for a log, a picture for a terminal."""

from __future__ import annotations

import re
from io import StringIO, TextIOWrapper

import pytest
from rich.console import Console
from rich.text import Text

from rebalancer.lab.live_view import LiveView, _gauge, _span
from rebalancer.lab.records import TickRecord
from rebalancer.units import E18

ASSETS = ("WETH", "USDC")
TARGETS_E18 = (6 * E18 // 10, 4 * E18 // 10)
BANDS_BPS = (250, 250)
JUNE = 1_685_577_600  # 2023-06-01T00:00:00Z


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def tick(at: int, weth_bps: int, share_usd: int = 100, hold_usd: int = 100) -> TickRecord:
    weth = weth_bps * E18 // 10_000
    return TickRecord(
        block=at,
        at=at,
        prices_e18=(2_000 * E18, E18),
        weights_e18=(weth, E18 - weth),
        value_e18=1_234_567 * E18,
        share_price_e18=share_usd * E18,
        hold_price_e18=hold_usd * E18,
    )


def view_on(file: StringIO | TextIOWrapper, clock: Clock, *, terminal: bool) -> LiveView:
    console = Console(file=file, force_terminal=terminal, width=110, height=24)
    return LiveView(ASSETS, TARGETS_E18, BANDS_BPS, 40, console, clock=clock)


# LOG


def test_log_has_a_line_every_few_seconds_and_one_for_the_end() -> None:
    log, clock = StringIO(), Clock()

    with view_on(log, clock, terminal=False) as view:
        for step in range(12):
            view.tick(tick(JUNE + 60 * step, 6_000 + step, 100 + step, 100))
            clock.now += 1
    lines = log.getvalue().splitlines()

    assert [line.split("step ")[1].split(" of")[0] for line in lines] == ["1", "6", "11", "12"]
    assert lines[1] == (
        "2023-06-01 00:05  step 6 of 40 (15 %), 0:28 left: "
        "WETH 60.05 % (+5 bps), USDC 39.95 % (-5 bps); "
        "vault 1,234,567 USD, share +5.00 %, holding +0.00 %"
    )


def test_log_does_not_repeat_its_last_line_at_the_end() -> None:
    log, clock = StringIO(), Clock()

    with view_on(log, clock, terminal=False) as view:
        view.tick(tick(JUNE, 6_000))

    assert len(log.getvalue().splitlines()) == 1


def test_log_tells_every_new_decision_once_with_its_reason() -> None:
    log, clock = StringIO(), Clock()

    with view_on(log, clock, terminal=False) as view:
        view.decision(JUNE, "wait", "inside the bands")
        view.decision(JUNE + 60, "wait", "still inside the bands")
        view.decision(JUNE + 120, "rebalance 1", "WETH is 260 bps above")
        view.decision(JUNE + 180, "wait")

    assert log.getvalue().splitlines() == [
        "2023-06-01 00:00  wait: inside the bands",
        "2023-06-01 00:02  rebalance 1: WETH is 260 bps above",
        "2023-06-01 00:03  wait",
    ]


def test_log_is_ascii_without_colour_or_markup() -> None:
    log, clock = StringIO(), Clock()

    with view_on(log, clock, terminal=False) as view:
        view.decision(JUNE, "wait", "[red]→[/red] [0, 1]")

    assert log.getvalue() == "2023-06-01 00:00  wait: [red]?[/red] [0, 1]\n"


def test_log_counts_the_steps_it_is_told() -> None:
    log, clock = StringIO(), Clock()

    with view_on(log, clock, terminal=False) as view:
        clock.now = 3
        view.tick(tick(JUNE, 6_000), steps_done=30)

    assert "step 30 of 40 (75 %), 0:01 left" in log.getvalue()


def test_view_of_nothing_stays_silent() -> None:
    log = StringIO()

    with view_on(log, Clock(), terminal=False):
        pass

    assert log.getvalue() == ""


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_dumb_terminal_gets_the_log(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    log = StringIO()

    with view_on(log, Clock(), terminal=True) as view:
        view.tick(tick(JUNE, 6_000))

    assert log.getvalue().startswith("2023-06-01 00:00  step 1 of 40")


# PICTURE


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")


def last_picture(screen: StringIO) -> str:
    frames = re.split(r"(?=╭─ Weights)", screen.getvalue())
    return Text.from_ansi(frames[-1]).plain


@pytest.mark.usefixtures("_terminal")
def test_picture_shows_weights_decisions_and_progress() -> None:
    screen, clock = StringIO(), Clock()

    with view_on(screen, clock, terminal=True) as view:
        view.decision(JUNE, "wait", "inside the bands")
        view.decision(JUNE + 60, "wait", "inside the bands")
        view.decision(JUNE + 120, "rebalance 1", "WETH is [red]260[/red] bps above")
        view.tick(tick(JUNE, 6_000))
        clock.now = 60
        view.tick(tick(JUNE + 180, 6_260, 101, 103), steps_done=10)
    picture = last_picture(screen)

    assert re.search(r"WETH +█+.* +62\.60 % .* \+260 of ±250 bps", picture)
    assert re.search(r"USDC +█+.* +37\.40 % .* -260 of ±250 bps", picture)
    assert re.search(r"2023-06-01 00:01 +wait × 2 +inside the bands", picture)  # noqa: RUF001 # as drawn
    assert re.search(r"00:02 +rebalance 1 +WETH is \[red\]260\[/red\] bps above", picture)
    assert re.search(r"2023-06-01 00:03 .*step 10 of 40 \(25 %\), 3:00 left", picture)
    assert "vault 1,234,567 USD, share +1.00 %, holding +3.00 %" in picture


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize(("weth_bps", "colour"), [(6_250, 32), (6_251, 31)])
def test_picture_turns_red_only_outside_a_band(monkeypatch: pytest.MonkeyPatch, weth_bps: int, colour: int) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = StringIO()

    with view_on(screen, Clock(), terminal=True) as view:
        view.tick(tick(JUNE, weth_bps))

    assert f"\x1b[{colour}m{weth_bps / 100:.2f} %" in screen.getvalue()


@pytest.mark.usefixtures("_terminal")
def test_picture_before_the_first_tick_says_what_it_waits_for() -> None:
    screen = StringIO()

    with view_on(screen, Clock(), terminal=True):
        pass

    assert "no tick yet" in last_picture(screen)
    assert "none yet" in last_picture(screen)


@pytest.mark.usefixtures("_terminal")
def test_picture_keeps_the_newest_decisions_that_fit() -> None:
    screen = StringIO()

    with view_on(screen, Clock(), terminal=True) as view:
        for number in range(20):
            view.decision(JUNE, f"rebalance {number}", "why")
    picture = last_picture(screen)

    assert re.findall(r"rebalance (\d+)", picture) == [str(number) for number in range(12, 20)]
    assert len(picture.splitlines()) <= 24


@pytest.mark.usefixtures("_terminal")
def test_terminal_that_cannot_draw_gets_the_log() -> None:
    class Latin(StringIO):
        encoding = "iso-8859-1"

    screen = Latin()

    with view_on(screen, Clock(), terminal=True) as view:
        view.tick(tick(JUNE, 6_000))

    assert "step 1 of 40" in screen.getvalue()
    assert screen.getvalue().isascii()


# GAUGE


@pytest.mark.parametrize(
    ("drift", "gauge"),
    [
        (0, "────────┣━━━━━━━●━━━━━━━┫────────"),
        (250, "────────┣━━━━━━━╋━━━━━━━●────────"),
        (-250, "────────●━━━━━━━╋━━━━━━━┫────────"),
        (250.1, "────────┣━━━━━━━╋━━━━━━━┫●───────"),
        (-250.1, "───────●┣━━━━━━━╋━━━━━━━┫────────"),
        (125, "────────┣━━━━━━━╋━━━●━━━┫────────"),
        (500, "────────┣━━━━━━━╋━━━━━━━┫───────●"),
        (600, "────────┣━━━━━━━╋━━━━━━━┫───────▶"),
        (-9_000, "◀───────┣━━━━━━━╋━━━━━━━┫────────"),
    ],
)
def test_gauge_never_draws_a_weight_on_the_wrong_side_of_its_band(drift: float, gauge: str) -> None:
    assert _gauge(drift, 250).plain == gauge


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "?"), (0, "0:00"), (42.4, "0:42"), (725, "12:05"), (3_600, "1:00:00")],
)
def test_span_reads_as_people_write_it(seconds: float | None, words: str) -> None:
    assert _span(seconds) == words
