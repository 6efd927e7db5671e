"""Live view of a run: weights in their bands, decisions, and progress on the tape.

A terminal shows a picture that is redrawn. A pipe or a CI log gets a plain ASCII line every few seconds and for every
new decision. The view neither changes nor records the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rebalancer.lab.records import TickRecord
from rebalancer.units import BPS, E18

__all__ = ["LiveView"]

PLAIN_SECONDS = 5.0
"""Interval between two progress lines of a log, in seconds."""

DECISIONS = 8
"""Number of decisions in the picture; fewer on a low terminal."""

GAUGE = 33
"""Cells of a gauge: an odd number, so that the target is in the middle. It spans two bands to either side."""


@dataclass(frozen=True, slots=True)
class _Decision:
    at: int
    what: str
    why: str
    times: int = 1


class LiveView:
    """View of a run for a person: a context manager that leaves its last picture on the screen.

    `total_steps` is the length of the tape in steps. `clock` counts seconds, from any start.
    """

    def __init__(
        self,
        assets: Sequence[str],
        targets_e18: Sequence[int],
        bands_bps: Sequence[int],
        total_steps: int,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console or Console(markup=False, emoji=False)
        self._assets = tuple(zip(assets, targets_e18, bands_bps, strict=True))
        self._total = total_steps
        self._clock = clock
        self._began_at = clock()
        self._done = 0
        self._first: TickRecord | None = None
        self._tick: TickRecord | None = None
        self._decisions: tuple[_Decision, ...] = ()  # never changed in place: another thread reads it
        self._logged_at: float | None = None
        self._logged_done = 0
        drawable = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live = (
            Live(console=self.console, get_renderable=self._picture, refresh_per_second=8)
            if drawable and self.console.encoding.startswith("utf")
            else None
        )

    def tick(self, record: TickRecord, steps_done: int | None = None) -> None:
        """Show a newer state of the vault. Without `steps_done`, it is one step after the last."""
        self._first = self._first or record
        self._tick = record
        self._done = self._done + 1 if steps_done is None else steps_done
        if self._live is None and (self._logged_at is None or self._clock() - self._logged_at >= PLAIN_SECONDS):
            self._log_tick(record)

    def decision(self, at: int, what: str, why: str = "") -> None:
        """Show a decision at unix second `at`, and its reason.

        Consecutive equal decisions are shown once, with the newest time and reason.
        """
        newest = self._decisions[-1] if self._decisions else None
        if newest and newest.what == what:
            newest = replace(newest, at=at, why=why, times=newest.times + 1)
            self._decisions = (*self._decisions[:-1], newest)
            return
        self._decisions = (*self._decisions[-DECISIONS + 1 :], _Decision(at, what, why))
        if self._live is None:
            self._log(f"{_moment(at)}  {what}{': ' if why else ''}{why}")

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live:
            self._live.stop()
        elif self._tick and self._logged_done != self._done:
            self._log_tick(self._tick)

    # PLAIN

    def _log_tick(self, record: TickRecord) -> None:
        self._logged_at, self._logged_done = self._clock(), self._done
        weights = ", ".join(
            f"{symbol} {weight * 100 / E18:.2f} % ({round(_drift_bps(weight, target)):+d} bps)"
            for (symbol, target, _), weight in zip(self._assets, record.weights_e18, strict=True)
        )
        self._log(f"{_moment(record.at)}  {self._progress_words()}: {weights}; {self._worth(record)}")

    def _log(self, line: str) -> None:
        ascii_line = line.encode("ascii", "replace").decode()
        self.console.print(ascii_line, markup=False, highlight=False, soft_wrap=True)

    # PICTURE

    def _picture(self) -> RenderableType:
        room = self.console.height - len(self._assets) - 9
        decisions = self._decisions[-max(3, min(DECISIONS, room)) :]
        subtitle = Text(self._worth(self._tick)) if self._tick else None
        return Group(
            Panel(
                self._weights(),
                title="Weights and targets",
                title_align="left",
                subtitle=subtitle,
                subtitle_align="right",
                border_style="dim",
            ),
            Panel(
                _decision_table(decisions),
                title="Decisions",
                title_align="left",
                border_style="dim",
            ),
            self._progress(),
        )

    def _weights(self) -> RenderableType:
        if self._tick is None:
            return Text("no tick yet", style="dim")
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(ratio=1, min_width=10)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        widest = max(*(target for _, target, _ in self._assets), *self._tick.weights_e18)
        for (symbol, target, band), weight in zip(self._assets, self._tick.weights_e18, strict=True):
            drift = _drift_bps(weight, target)
            style = "red" if abs(drift) > band else "green"
            table.add_row(
                symbol,
                Bar(widest, 0, weight, color=style, bgcolor="default"),
                Text(f"{weight * 100 / E18:.2f} %", style=style),
                _gauge(drift, band),
                Text(f"{round(drift):+d} of ±{band} bps", style=style),
            )
        return table

    def _progress(self) -> RenderableType:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True)
        table.add_row(
            Text(_moment(self._tick.at) if self._tick else "not started"),
            ProgressBar(max(self._total, 1), self._done),
            Text(self._progress_words()),
        )
        return table

    # BOTH

    def _progress_words(self) -> str:
        share = 100 * self._done // max(self._total, 1)
        left = _span(self._seconds_left())
        return f"step {self._done:,} of {self._total:,} ({share} %), {left} left"

    def _seconds_left(self) -> float | None:
        """Time for the remaining steps at the average speed so far, in seconds; None before the first step."""
        if not self._done:
            return None
        spent = self._clock() - self._began_at
        return spent * max(self._total - self._done, 0) / self._done

    def _worth(self, record: TickRecord) -> str:
        first = self._first or record
        share = record.share_price_e18 / first.share_price_e18 if first.share_price_e18 else 1.0
        hold = record.hold_price_e18 / first.hold_price_e18 if first.hold_price_e18 else 1.0
        return (
            f"vault {record.value_e18 / E18:,.0f} USD, share {(share - 1) * 100:+z.2f} %,"
            f" holding {(hold - 1) * 100:+z.2f} %"
        )


def _decision_table(decisions: Sequence[_Decision]) -> RenderableType:
    if not decisions:
        return Text("none yet", style="dim")
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for one in decisions:
        times = f" × {one.times:,}" if one.times > 1 else ""  # noqa: RUF001 # a multiplication sign
        table.add_row(_moment(one.at), Text(one.what + times), Text(one.why))
    return table


def _gauge(drift: float, band: int) -> Text:
    """Position of a weight: two bands to either side of the target, with the ends of the band marked.

    An arrow at the end of the gauge marks a weight outside of it.
    """
    middle, edge = GAUGE // 2, GAUGE // 4
    cells = ["━" if abs(cell - middle) < edge else "─" for cell in range(GAUGE)]
    cells[middle - edge], cells[middle], cells[middle + edge] = "┣", "╋", "┫"
    needle_at = middle + round(drift * edge / max(band, 1))
    inside = abs(drift) <= band
    # Rounding to cells must not move a weight across the end of its band.
    needle_at = min(max(needle_at, middle - edge), middle + edge) if inside else needle_at
    if not inside and abs(needle_at - middle) <= edge:
        needle_at = middle + (edge + 1 if drift > 0 else -edge - 1)
    needle = "●" if 0 <= needle_at < GAUGE else ("▶" if drift > 0 else "◀")
    needle_at = min(max(needle_at, 0), GAUGE - 1)
    return Text.assemble(
        ("".join(cells[:needle_at]), "dim"),
        (needle, "bold green" if inside else "bold red"),
        ("".join(cells[needle_at + 1 :]), "dim"),
    )


def _drift_bps(weight_e18: int, target_e18: int) -> float:
    return (weight_e18 - target_e18) * BPS / E18


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _span(seconds: float | None) -> str:
    """Minutes and seconds, and hours if necessary: 0:42, 12:05, 1:00:00."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
