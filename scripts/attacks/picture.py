"""Chart of a stolen keeper's gain over time, below the line of promise B."""

from __future__ import annotations

from pathlib import Path

from rebalancer.lab.chart import BLUE, INK, MUTED, RED, STYLE
from rebalancer.units import E18
from scripts.attacks.field import DAY, Loot, bound_b_e18

__all__ = ["draw"]


def draw(loot: Loot, path: Path) -> Path:
    """Draw it to a .png or .svg file and return its path."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    history = loot.tally.history
    start, end = history[0][0], history[-1][0]
    days = [(at - start) / DAY for at, _ in history]
    lost = [lost_e18 / E18 for _, lost_e18 in history]
    bound = [bound_b_e18(loot.policy, seconds) / E18 for seconds in (0, end - start)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.6), facecolor="white", layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y")
        axes.plot([0, days[-1]], bound, color=RED, lw=1.4)
        axes.step(days, lost, where="post", color=BLUE, lw=1.6)
        axes.fill_between(days, lost, step="post", color=BLUE, alpha=0.12, lw=0)
        axes.text(
            days[-1] * 0.48, sum(bound) / 2, "promise B: lossBudget · (1 + W/P)", color=RED,
            ha="right", va="bottom", fontweight="bold",
        )  # fmt: skip
        axes.text(days[-1] * 0.6, lost[-1] * 0.3, "what holders lost", color=BLUE, fontweight="bold")
        axes.set_xlim(0, days[-1])
        axes.set_ylim(0, bound[-1] * 1.06)
        axes.set_xlabel("days since the keeper's key was stolen")
        axes.set_ylabel("dollars, on a vault of a million")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_title(
            "A thief with the keeper's key, in a market that jumps by 30 % every 70 minutes",
            loc="left", fontsize=12, fontweight="bold", color=INK, pad=12,
        )  # fmt: skip
        axes.tick_params(length=0, labelcolor=MUTED)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    return path
