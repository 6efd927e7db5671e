"""Chart of `scripts/benchmarks/quality.py`: cost of each rebalance with its bound, and cost per year of the keeper and
each baseline."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from rebalancer.lab.chart import BLUE, INK, MUTED, ORANGE, RED, STYLE
from rebalancer.units import BPS
from scripts.benchmarks.quality_figures import KEEPER, QualityFigures, Rebalance

__all__ = ["draw"]

_COLOURS = {KEEPER: BLUE, "best single pool": ORANGE, "proportional split": RED}
_FIRST = ("best single pool",)
"""Drawn first and larger, so that the other one stays visible on top."""

_WIDTH, _HEIGHT = 11.0, 8.6
_LEFT, _RIGHT = 0.06, 0.985

_LEFT_OUTSIDE = 0.05
"""A baseline whose vault is out of band for a larger fraction of time is drawn pale: less trading costs less."""


def draw(figures: QualityFigures, path: Path) -> Path:
    """Write the picture and return its path."""
    with mpl.rc_context(STYLE):
        page = Figure(figsize=(_WIDTH, _HEIGHT), facecolor="white")
        page.text(_LEFT, 0.957, "What rebalancing costs", fontsize=14, fontweight="bold")
        page.text(
            _LEFT,
            0.93,
            "Oracle rounds of April 2023 to January 2024 · mainnet pools of Uniswap V3 and V4, Balancer and Curve"
            f" · gas at {figures.gas_price_wei / 1e9:g} gwei",
            fontsize=10,
            color=MUTED,
        )
        sizes = list(figures.rebalances)
        _sorted_costs(page, figures, sizes)
        _years(page, figures, sizes)
        page.savefig(path, dpi=150)
    return path


def _sorted_costs(page: Figure, figures: QualityFigures, sizes: list[int]) -> None:
    """One panel per size: every rebalance, from the lowest to the highest cost, with gas."""
    gap = 0.03
    width = (_RIGHT - _LEFT - gap * (len(sizes) - 1)) / len(sizes)
    tops = [_ceiling(figures.rebalances[usd]) for usd in sizes]
    for place, usd in enumerate(sizes):
        axes = page.add_axes((_LEFT + place * (width + gap), 0.49, width, 0.345))
        rows = sorted(figures.rebalances[usd], key=lambda one: one.loss_usd / one.sold_usd)
        axes.grid(axis="y")
        axes.tick_params(length=0)
        for name, colour in _COLOURS.items():
            if name == KEEPER:
                continue
            points = [
                (number, one.baselines[name].loss_usd)
                for number, one in enumerate(rows)
                if one.baselines[name].loss_usd is not None
            ]
            axes.scatter(
                [number for number, _ in points],
                [_bps(loss, rows[number]) for number, loss in points],
                s=12 if name in _FIRST else 8,
                c=colour,
                lw=0,
                label=name,
                zorder=2 if name in _FIRST else 3,
            )
        numbers = range(len(rows))
        axes.plot(numbers, [_bps(one.loss_usd, one) for one in rows], color=BLUE, lw=2, label="keeper")
        axes.plot(
            numbers,
            [_bps(one.bound_usd, one) for one in rows],
            color=INK,
            lw=1,
            ls=(0, (3, 2)),
            label="lower bound",
        )
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.set_ylim(min(-10.0, *(_bps(one.bound_usd, one) * 1.1 for one in rows)), max(tops))
        axes.set_xticks([])
        axes.set_xlabel(f"{len(rows)} rebalances, by cost", fontsize=8.5)
        axes.text(
            0.02,
            0.97,
            f"{_short(usd)} vault",
            transform=axes.transAxes,
            va="top",
            fontweight="bold",
        )
        if place:
            axes.set_yticklabels([])
        else:
            page.legend(
                *axes.get_legend_handles_labels(),
                loc="lower right",
                bbox_to_anchor=(_RIGHT + 0.01, 0.835),
                ncols=4,
                columnspacing=1.6,
                handlelength=1.6,
            )
    _heading(
        page,
        0.885,
        "The keeper's rebalances, and the same trades in the same block by ordinary ways",
    )
    page.text(_LEFT, 0.862, "bps of the value sold, gas aside", fontsize=8.5, color=MUTED)


def _years(page: Figure, figures: QualityFigures, sizes: list[int]) -> None:
    """Cost per year where each method drives a vault of its own: losses, gas, and tracking."""
    _heading(page, 0.41, "A year in which each way keeps a vault of its own")
    page.text(
        _LEFT,
        0.387,
        "bps of the vault's value, losses and (hatched) gas",
        fontsize=8.5,
        color=MUTED,
    )
    gap = 0.03
    width = (_RIGHT - _LEFT - gap * (len(sizes) - 1)) / len(sizes)
    runs = {(run.vault_usd, run.baseline): run for run in figures.runs}
    for place, usd in enumerate(sizes):
        axes = page.add_axes((_LEFT + place * (width + gap), 0.095, width, 0.27))
        axes.grid(axis="y")
        axes.tick_params(length=0)
        for number, (baseline, colour) in enumerate(_COLOURS.items()):
            run = runs[usd, baseline]
            loss = run.loss_usd / usd / run.years * BPS
            gas = run.gas_usd / usd / run.years * BPS
            strength = 0.35 if run.outside > _LEFT_OUTSIDE else 1.0
            axes.bar(number, loss, 0.62, color=colour, alpha=strength)
            axes.bar(
                number,
                gas,
                0.62,
                bottom=loss,
                color=colour,
                alpha=0.4 * strength,
                hatch="///",
                lw=0,
            )
            axes.text(
                number,
                loss + gas,
                f"{loss + gas:.1f}",
                ha="center",
                va="bottom",
                fontweight="bold",
                color=colour,
            )
        axes.set_xlim(-0.6, len(_COLOURS) - 0.4)
        axes.set_xticks(
            range(len(_COLOURS)),
            [
                f"{baseline}\n{runs[usd, baseline].outside:.1%} outside\n{runs[usd, baseline].tracking_bps:.0f} bps off"
                for baseline in _COLOURS
            ],
            fontsize=7.2,
        )
        axes.margins(y=0.14)
    page.text(
        _LEFT,
        0.012,
        "Outside: part of the time out of band. Off: root mean square of the weights' distance from their "
        "targets. Pale: hardly trades, and leaves the vault outside.",
        fontsize=8.5,
        color=MUTED,
    )


def _heading(page: Figure, height: float, words: str) -> None:
    page.text(_LEFT, height, words, fontsize=10.5, fontweight="bold")


def _bps(usd: float | None, one: Rebalance) -> float:
    return (usd or 0.0) / one.sold_usd * BPS


def _ceiling(rows: list[Rebalance]) -> float:
    """A limit above 19 of 20 rebalances by their baseline cost."""
    costs = sorted(_bps(baseline.loss_usd, one) for one in rows for baseline in one.baselines.values())
    return 1.1 * costs[int(len(costs) * 0.95)] if costs else 1.0


def _short(usd: int) -> str:
    return f"${usd / 1e6:g}M" if usd >= 1_000_000 else f"${usd // 1000}k"
