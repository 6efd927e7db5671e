"""Timeline of a recorded run: the drift of each vault, and the keeper's decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rebalancer.keeper.recording import Replayed
from rebalancer.lab.chart import COLOURS, GRID, INK, MUTED, RED, STYLE, check_chart
from rebalancer.reasons import Reason

__all__ = ["day_chart"]

_VAULTS = 8
"""Maximum number of vaults drawn: those with the most transactions, then those with the largest drift."""

_STRIP_INCHES, _WIDTH_INCHES = 1.15, 11.0

_MARKS = {
    Reason.REBALANCED: ("v", INK, "rebalanced"),
    Reason.POKED: ("^", MUTED, "poked"),
    Reason.SYNCED: ("D", RED, "loss recorded"),
    Reason.REVERTED: ("X", RED, "reverted"),
    Reason.HALTED: ("s", RED, "halted"),
    Reason.ORACLE_FAULT: ("|", RED, "no sound price"),
}


def day_chart(ticks: Sequence[Replayed], path: Path | str) -> Path:
    """Draw the timeline to a .png or .svg file and return its path.

    Raises:
        ChartFormatUnknown: the path ends in neither .png nor .svg.
        ChartingMissing: matplotlib is not installed.
    """
    path = check_chart(path)
    import matplotlib as mpl
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    vaults = _vaults(ticks)
    with mpl.rc_context(STYLE):
        height = 1.0 + _STRIP_INCHES * max(1, len(vaults))
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        strips = figure.subplots(max(1, len(vaults)), 1, sharex=True, squeeze=False)[:, 0]
        for strip, (chain_id, vault), colour in zip(strips, vaults, COLOURS * 2, strict=False):
            points = [
                (datetime.fromtimestamp(tick.block.timestamp, UTC), one)
                for tick in ticks
                for one in tick.decisions
                if (tick.chain_id, one.vault) == (chain_id, vault)
            ]
            strip.step(
                [at for at, _ in points],
                [math.nan if one.drift_bps is None else one.drift_bps for _, one in points],
                where="post",
                color=colour,
                linewidth=1.2,
            )
            for reason, (mark, mark_colour, label) in _MARKS.items():
                some = [
                    (at, one.drift_bps or 0) for at, one in points if one.reason is reason
                ]  # without a drift, the mark is at 0
                if some:
                    at, drifts = zip(*some, strict=True)
                    strip.plot(at, drifts, mark, color=mark_colour, label=label, zorder=3)
            strip.set_ylim(bottom=0)
            strip.grid(axis="y", color=GRID)
            strip.set_ylabel("drift (bps)", color=MUTED)
            strip.set_title(f"{vault[:6]}…{vault[-4:]} on chain {chain_id}", loc="left", color=INK)
            if strip.get_legend_handles_labels()[1]:
                strip.legend(loc="upper right", ncols=len(_MARKS))
        locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call] # matplotlib's
        strips[-1].xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator, tz=UTC)  # type: ignore[no-untyped-call] # matplotlib's
        strips[-1].xaxis.set_major_formatter(formatter)
        figure.suptitle("Largest drift of each vault from its targets, and the keeper's actions", x=0.02, ha="left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    return path


def _vaults(ticks: Sequence[Replayed]) -> list[tuple[int, str]]:
    """The vaults to draw, as chain ID and address."""
    weight: dict[tuple[int, str], tuple[int, int]] = {}
    for tick in ticks:
        for one in tick.decisions:
            key = (tick.chain_id, one.vault)
            sent, drift = weight.get(key, (0, 0))
            weight[key] = (
                sent + (one.transaction_hash is not None),
                max(drift, one.drift_bps or 0),
            )
    return sorted(weight, key=lambda key: weight[key], reverse=True)[:_VAULTS]
