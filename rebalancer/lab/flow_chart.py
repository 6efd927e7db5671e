"""Chart of a plan: the flow of value between tokens over pools, and the cost of each swap.

Tokens are bars, sold tokens on the left and bought tokens on the right; the height of a bar is the value that passes
through it. Swaps are ribbons, numbered in their order; the width of a ribbon is the value of its input. A second panel
shows the cost of each swap by cause. It needs no display; matplotlib is imported only to draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rebalancer.lab.chart import COLOURS, INK, MUTED, STYLE, check_chart
from rebalancer.plan.result import Plan, dollars
from rebalancer.units import BPS, E18

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["flow_chart"]

_WIDTH, _TOP, _BOTTOM = 12.5, 1.15, 0.75
_FLOW_BOX = (0.085, 0.42)
_COST_BOX = (0.81, 0.165)
"""Width, head and foot of the page in inches; left edge and width of both panels as fractions of the page."""

_ROW = 0.27
"""Height of a row of the cost panel, in inches."""

_BAR = 0.035
"""Width of a token's bar, as a fraction of the distance between the first and the last bar."""

_GAP = 0.05
"""Space between two bars of a column, as a fraction of the total value."""

FEE, PRICE_IMPACT, GAS = "#333333", "#8A8A8A", "#C8C8C8"
"""Colours of costs: greys, because colours mark tokens."""

_TITLE = 105
"""Maximum length of the title, in characters."""

_LABEL = 0.5
"""Height of a label, in units of the gap."""


@dataclass(slots=True)
class _Node:
    """A token's bar: its column, its bottom edge, and the used height of each side, in USD."""

    symbol: str
    into: float = 0.0
    out: float = 0.0
    column: int = 0
    bottom: float = 0.0
    left_used: float = 0.0
    right_used: float = 0.0

    @property
    def height(self) -> float:
        """The larger of the values in and out, in USD."""
        return max(self.into, self.out)

    @property
    def middle(self) -> float:
        """The centre of the bar."""
        return self.bottom + self.height / 2


@dataclass(frozen=True, slots=True)
class _Ribbon:
    """A swap; values in USD."""

    number: int
    source: str
    target: str
    value_in: float
    value_out: float
    fee: float
    impact: float
    gas: float
    name: str


def flow_chart(plan: Plan, path: Path | str) -> Path:
    """Draw the plan to a .png or .svg file and return its path.

    Raises:
        ChartFormatUnknown: the path ends in neither .png nor .svg.
        ChartingMissing: matplotlib is not installed.
    """
    path = check_chart(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ribbons = _ribbons(plan)
    nodes = _laid_out(ribbons)
    tallest = max(sum(1 for n in nodes.values() if n.column == c) for c in range(_columns(nodes)))
    body = max(3.2, _ROW * (len(ribbons) + 1) + 0.2, 0.62 * tallest)
    height = _TOP + body + _BOTTOM
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, height), facecolor="white")
        base, tall = _BOTTOM / height, body / height
        flows = figure.add_axes((_FLOW_BOX[0], base, _FLOW_BOX[1], tall))
        costs = figure.add_axes((_COST_BOX[0], base, _COST_BOX[1], tall))
        figure.text(0.02, 1 - 0.38 / height, _title(plan), fontsize=13, fontweight="bold")
        figure.text(0.02, 1 - 0.64 / height, _subtitle(plan), fontsize=10, color=MUTED)
        _draw_flows(flows, nodes, ribbons)
        _draw_costs(costs, ribbons, (plan.cost.gas_e18 - sum(c.gas_e18 for c in plan.swap_costs)) / E18)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_svg = path.suffix.lower() == ".svg"
        figure.savefig(path, dpi=150, metadata={"Date": None} if is_svg else None)
    return path


def _title(plan: Plan) -> str:
    """The plan's text; if that is too long for a line, the numbers of assets that it sells and buys."""
    text = plan.text.partition(", at a cost of ")[0]
    if len(text) > _TITLE:
        sold = sum(1 for raw in plan.sales_raw if raw)
        bought = sum(1 for raw in plan.expected_buys_raw if raw)
        text = f"sell {sold} assets for {bought} in {len(plan.swaps)} swaps"
    return text[:1].upper() + text[1:]


def _subtitle(plan: Plan) -> str:
    cost, sold = plan.cost, plan.certificate.sold_e18
    causes = f"{dollars(cost.fee_e18)} fees, {dollars(cost.impact_e18)} price, {dollars(cost.gas_e18)} gas"
    parts = [
        f"${sold / E18:,.{_decimals(sold / E18)}f} sold",
        f"costs {dollars(cost.total_e18)} ({cost.total_e18 * BPS / sold:.1f} bps): {causes}",
        f"optimality gap {plan.certificate.gap:.0e}",
    ]
    if plan.drift_bps is not None:
        before, after = plan.drift_bps
        parts.append(f"drift {before / 100:.2f} % → {after / 100:.2f} %")
    if plan.bound_by:
        parts.append(f"limited by {plan.bound_by}")
    return " · ".join(parts)


def _ribbons(plan: Plan) -> list[_Ribbon]:
    found = []
    for number, (swap, cost) in enumerate(zip(plan.swaps, plan.swap_costs, strict=True), 1):
        symbols = {token.address: token.symbol for token in swap.pool.tokens}
        value_in = cost.value_e18 / E18
        lost = (cost.fee_e18 + cost.impact_e18) / E18
        found.append(
            _Ribbon(
                number,
                symbols[swap.token_in],
                symbols[swap.token_out],
                value_in,
                max(value_in - lost, 0.0),
                cost.fee_e18 / E18,
                cost.impact_e18 / E18,
                cost.gas_e18 / E18,
                f"{swap.pool.fee_pips / 10_000:g} %  {swap.pool.key[:6]}…{swap.pool.key[-4:]}",
            )
        )
    return found


def _columns(nodes: dict[str, _Node]) -> int:
    return max(node.column for node in nodes.values()) + 1


def _laid_out(ribbons: list[_Ribbon]) -> dict[str, _Node]:
    """Bars in columns by the longest path to them. Tokens that are only bought are in the last column."""
    nodes: dict[str, _Node] = {}
    for ribbon in ribbons:
        source = nodes.setdefault(ribbon.source, _Node(ribbon.source))
        target = nodes.setdefault(ribbon.target, _Node(ribbon.target))
        source.out += ribbon.value_in
        target.into += ribbon.value_out
    for _ in nodes:
        for ribbon in ribbons:
            least = nodes[ribbon.source].column + 1
            nodes[ribbon.target].column = min(max(nodes[ribbon.target].column, least), len(nodes))
    last = _columns(nodes) - 1
    for node in nodes.values():
        if not node.out:
            node.column = last
    gap = _GAP * sum(node.out for node in nodes.values() if not node.into) + 1e-9
    for column in range(last + 1):
        here = [node for node in nodes.values() if node.column == column]
        # Sorted by the height of their sources, so that fewer ribbons cross.
        here.sort(key=lambda node: (_from_where(node, nodes, ribbons), node.symbol))
        # A thin bar gets enough space for its label.
        rooms = [max(node.height, _LABEL * gap) + gap for node in here]
        bottom = -sum(rooms) / 2
        for node, room in zip(here, rooms, strict=True):
            node.bottom = bottom + (room - node.height) / 2
            bottom += room
    return nodes


def _from_where(node: _Node, nodes: dict[str, _Node], ribbons: list[_Ribbon]) -> float:
    """The mean height of the sources of a bar's ribbons. Without ribbons in, its value: the largest bar is on top."""
    into = [one for one in ribbons if one.target == node.symbol]
    if not into:
        return node.out
    worth = sum(one.value_out for one in into) or 1.0
    return sum(nodes[one.source].middle * one.value_out for one in into) / worth


def _draw_flows(axes: Axes, nodes: dict[str, _Node], ribbons: list[_Ribbon]) -> None:
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path as Curve

    last = max(_columns(nodes) - 1, 1)
    colours = {
        node.symbol: COLOURS[i % len(COLOURS)]
        for i, node in enumerate(sorted(nodes.values(), key=lambda one: (one.column, -one.bottom)))
    }

    def left_edge(node: _Node) -> float:
        return node.column / last

    # At each bar, ribbons are sorted by the height of their other end.
    starts: dict[int, float] = {}
    for ribbon in sorted(ribbons, key=lambda one: (nodes[one.target].middle, one.number)):
        source = nodes[ribbon.source]
        starts[ribbon.number] = source.bottom + source.right_used
        source.right_used += ribbon.value_in
    for ribbon in sorted(ribbons, key=lambda one: (nodes[one.source].middle, one.number)):
        source, target = nodes[ribbon.source], nodes[ribbon.target]
        y0, y1 = starts[ribbon.number], target.bottom + target.left_used
        target.left_used += ribbon.value_out
        x0, x1 = left_edge(source) + _BAR, left_edge(target)
        bend = (x1 - x0) / 2
        corners = [
            *((x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)),
            (x1, y1 + ribbon.value_out),
            *((x1 - bend, y1 + ribbon.value_out), (x0 + bend, y0 + ribbon.value_in)),
            *((x0, y0 + ribbon.value_in), (x0, y0)),
        ]
        codes = [Curve.MOVETO, *[Curve.CURVE4] * 3, Curve.LINETO, *[Curve.CURVE4] * 3]
        axes.add_patch(
            PathPatch(
                Curve(corners, [*codes, Curve.CLOSEPOLY]),
                facecolor=colours[ribbon.source],
                alpha=0.38,
                edgecolor="white",
                linewidth=0.5,
            )
        )
        # Numbers are at different distances, so that those of adjacent ribbons do not overlap.
        along = 0.22 + 0.56 * ((ribbon.number * 5) % 8) / 7
        ease = along**2 * (3 - 2 * along)
        y = (y0 + ribbon.value_in / 2) * (1 - ease) + (y1 + ribbon.value_out / 2) * ease
        axes.text(
            x0 + (x1 - x0) * along,
            y,
            str(ribbon.number),
            fontsize=7.5,
            ha="center",
            va="center",
            bbox={
                "boxstyle": "circle,pad=0.18",
                "facecolor": "white",
                "edgecolor": colours[ribbon.source],
                "linewidth": 0.7,
            },
        )
    for node in nodes.values():
        x = left_edge(node)
        axes.add_patch(Rectangle((x, node.bottom), _BAR, node.height, facecolor=colours[node.symbol]))
        _label(axes, node, x, is_last=node.column == last)
    low = min(node.bottom for node in nodes.values())
    high = max(node.bottom + node.height for node in nodes.values())
    room = 0.04 * (high - low)
    axes.set_xlim(-0.01, 1 + _BAR + 0.01)
    axes.set_ylim(low - room, high + room)
    axes.axis("off")


def _label(axes: Axes, node: _Node, x: float, *, is_last: bool) -> None:
    """Write a token's symbol, and the total value that is sold or bought of it."""
    kept = node.into - node.out
    worth = f"${abs(kept):,.{_decimals(abs(kept))}f}"
    if not node.into:
        axes.text(x - 0.015, node.middle, f"{node.symbol}\n-{worth}", ha="right", va="center")
    elif is_last:
        axes.text(x + _BAR + 0.015, node.middle, f"{node.symbol}\n+{worth}", ha="left", va="center")
    else:
        passed = abs(kept) < 0.002 * node.height
        sign = "+" if kept > 0 else "-"
        text = node.symbol if passed else f"{node.symbol}  {sign}{worth}"
        axes.text(
            x + _BAR / 2,
            node.bottom + node.height,
            text,
            ha="center",
            va="bottom",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )


def _decimals(usd: float) -> int:
    """Decimals for an amount in USD: none from 20 on, cents below, more for less than a quarter of a dollar."""
    if usd >= 20:
        return 0
    return max(2, 1 - math.floor(math.log10(usd))) if usd > 0 else 2


def _draw_costs(axes: Axes, ribbons: list[_Ribbon], call_gas: float) -> None:
    """Draw one row per swap: number, tokens, pool and loss; and its cost by cause, with price gains to the left.

    The last row is the gas of the call itself, so that the sum of all gas equals the plan's.
    """
    from matplotlib.ticker import MaxNLocator

    rows = list(range(len(ribbons)))
    fees = [ribbon.fee for ribbon in ribbons]
    gas = [ribbon.gas for ribbon in ribbons]
    impacts = [ribbon.impact for ribbon in ribbons]
    axes.barh(rows, fees, color=FEE, height=0.62, label="fee")
    axes.barh(
        rows,
        impacts,
        left=[f if i > 0 else 0.0 for f, i in zip(fees, impacts, strict=True)],
        color=PRICE_IMPACT,
        height=0.62,
        label="price",
    )
    if any(gas):
        left = [f + max(i, 0.0) for f, i in zip(fees, impacts, strict=True)]
        axes.barh(rows, gas, left=left, color=GAS, height=0.62, label="gas")
    call = len(ribbons)
    if call_gas > 0:
        axes.barh([call], [call_gas], color=GAS, height=0.62)
        axes.text(
            -1.30, call, "call itself", transform=axes.get_yaxis_transform(), va="center", fontsize=7.5,
        )  # fmt: skip
    axes.set_yticks(rows, [""] * len(rows))
    axes.tick_params(length=0)
    axes.set_ylim(len(ribbons) + (0.6 if call_gas > 0 else -0.4), -0.6)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    low, high = axes.get_xlim()
    decimals = _decimals(high - low)
    axes.xaxis.set_major_formatter(lambda value, _: f"{'-' if value < 0 else ''}${abs(value):,.{decimals}f}")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_title("Cost of each swap (USD)", loc="left", fontsize=9.5, color=INK, pad=18)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=3,
        borderaxespad=0.2,
        handlelength=0.9,
        columnspacing=1.0,
        handletextpad=0.4,
    )
    lost = [ribbon.fee + ribbon.impact for ribbon in ribbons]
    for row, ribbon, cost in zip(rows, ribbons, lost, strict=True):
        bps = cost * BPS / ribbon.value_in if ribbon.value_in else 0.0
        for x, text, align in (
            (-1.34, f"{ribbon.number}", "right"),
            (-1.30, f"{ribbon.source} → {ribbon.target}", "left"),
            (-0.29, ribbon.name, "right"),
            (-0.03, f"{bps:.0f} bps", "right"),
        ):
            axes.text(
                x,
                row,
                text,
                transform=axes.get_yaxis_transform(),
                ha=align,
                va="center",
                fontsize=7.5,
                color=MUTED if "…" in text or "bps" in text else INK,
            )
