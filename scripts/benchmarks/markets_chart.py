"""Chart of `scripts/benchmarks/markets.py`: times of plans over random markets, and their value compared with single
routes and the bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rebalancer.lab.chart import BLUE, INK, MUTED, ORANGE, STYLE
from scripts.benchmarks.markets import MarketFigures, Planned

__all__ = ["draw"]

_KINDS = ((False, "calm", BLUE), (True, "stormy", ORANGE))
_GOAL_MS = 100.0


def draw(figures: MarketFigures, rows: Sequence[Planned], path: Path) -> Path:
    """Write the picture and return its path."""
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(11.0, 4.6), facecolor="white")
        page.text(
            0.06,
            0.93,
            f"Plans over {figures.markets} random markets",
            fontsize=14,
            fontweight="bold",
        )
        page.text(
            0.06,
            0.88,
            f"{figures.worse_than_single_pools} worth less than the best single routes · {figures.wrongly_refused} wrongly refused"
            f" · half in {figures.random_p50_ms:,.0f} ms, 99 of 100 in {figures.random_p99_ms:,.0f} ms",
            fontsize=10,
            color=MUTED,
        )
        _times(page.add_axes((0.06, 0.13, 0.27, 0.62)), rows)
        plans = [row for row in rows if row.plan_usd is not None and row.plan_usd > 0]
        _parts(
            page.add_axes((0.39, 0.13, 0.27, 0.62)),
            "single routes, as a part of the plan",
            [(row.stormy, (row.single_usd or 0.0) / (row.plan_usd or 1.0)) for row in plans],
        )
        _parts(
            page.add_axes((0.72, 0.13, 0.27, 0.62)),
            "the plan, as a part of the bound",
            [(row.stormy, (row.plan_usd or 0.0) / row.bound_usd) for row in plans if row.bound_usd > 0],
        )
        page.savefig(path, dpi=150)
    return path


def _times(axes: Axes, rows: Sequence[Planned]) -> None:
    """Cumulative number of markets by time of their plan."""
    axes.set_title("milliseconds", loc="left", fontsize=10)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    for stormy, name, colour in _KINDS:
        times = sorted(row.seconds * 1e3 for row in rows if row.stormy is stormy)
        axes.plot(times, [100 * (n + 1) / len(times) for n in range(len(times))], color=colour, label=name)
    axes.axvline(_GOAL_MS, color=INK, lw=0.8, ls=":")
    axes.set_ylabel("% of markets")
    axes.legend(frameon=False)


def _parts(axes: Axes, title: str, parts: Sequence[tuple[bool, float]]) -> None:
    """Cumulative number of markets by their fraction."""
    axes.set_title(title, loc="left", fontsize=10)
    for stormy, _, colour in _KINDS:
        values = sorted(value for kind, value in parts if kind is stormy)
        axes.plot(values, [100 * (n + 1) / len(values) for n in range(len(values))], color=colour)
    axes.set_xlim(0.0, 1.02)
    axes.axvline(1.0, color=INK, lw=0.8, ls=":")
