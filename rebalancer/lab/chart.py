"""Chart of a run: prices, weights in their bands, the vault compared with holding, and the cost of each rebalance.

It needs no display and does not use matplotlib's global state; the library is imported only to draw. Lines are thinned
to the resolution of a screen and keep every extreme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rebalancer.errors import ChartFormatUnknown, ChartingMissing
from rebalancer.lab.records import Records, RunRecord
from rebalancer.texts import LONGEST_SYMBOL, safe_text
from rebalancer.units import BPS, E18

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["chart", "check_chart", "thinned"]

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#8A6F3B")
"""Colours of assets: the palette of Okabe and Ito (2008), which color-blind people can distinguish, plus
brown. Each asset has its own strip and a label, so a seventh asset may reuse the first colour. Red marks a limit."""

INK, MUTED, GRID = "#222222", "#666666", "#E3E3E3"
"""Colours of the vault, of its comparison, and of grid lines."""

POINTS = 1_500
"""Points kept of a line: about twice the number of its pixels; more would not be visible."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#BBBBBB",
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,  # symbols and amounts may contain dollar signs
    "svg.hashsalt": "rebalancer",  # the same run gives the same file
}

WIDTH, LEFT, RIGHT = 11.0, 0.95, 1.15
TOP, STRIP, SEAM, GAP, BOTTOM = 1.1, 0.88, 0.12, 0.7, 0.4
PRICE, VALUE, DIFFERENCE, COST = 1.5, 2.1, 1.0, 1.5
LABEL = 0.15
"""Inches: page width and margins, spaces between panels, heights of panels, and height of a line of text."""


def check_chart(path: Path | str) -> Path:
    """Check that a chart can be drawn to this path, before any other work. Returns the path.

    Raises:
        ChartFormatUnknown: the path ends in neither .png nor .svg.
        ChartingMissing: matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in {".png", ".svg"}:
        raise ChartFormatUnknown(str(path))
    try:
        import matplotlib as mpl  # noqa: F401 (only a check)
    except ImportError:
        raise ChartingMissing from None
    return path


def chart(records: Records, path: Path | str) -> Path:
    """Draw the run to a .png or .svg file and return its path.

    Raises:
        ChartFormatUnknown: the path ends in neither .png nor .svg.
        ChartingMissing: matplotlib is not installed.
    """
    path = check_chart(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    run = records.run
    symbols = tuple(safe_text(symbol, LONGEST_SYMBOL) for symbol in run.symbols)
    records = replace(records, run=replace(run, symbols=symbols, tape=safe_text(run.tape)))
    with mpl.rc_context(STYLE):
        page = _Page(Figure, len(records.run.symbols))
        _title(page, records)
        prices = _prices(page, records)
        strips = _weights(page, records)
        value, difference = _value(page, records)
        costs = _costs(page, records)
        _dates([prices, *strips, value, difference, costs], records)
        path.parent.mkdir(parents=True, exist_ok=True)
        page.figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    return path


class _Page:
    """Page of panels with the same width, placed from the top down. Lengths are inches."""

    def __init__(self, figure: type[Figure], strips: int) -> None:
        weights = strips * (STRIP + SEAM) - SEAM
        self.prices = max(PRICE, LABEL * strips)
        panels = self.prices + GAP + weights + GAP + VALUE + SEAM + DIFFERENCE + GAP + COST
        self.height = TOP + panels + BOTTOM
        self.figure = figure(figsize=(WIDTH, self.height), facecolor="white")
        self._top = self.height
        self._first: Axes | None = None

    def text(self, words: str, below: float, **style: Any) -> None:
        """Write a line of text with its baseline `below` inches from the top."""
        self.figure.text(LEFT / WIDTH, 1 - below / self.height, words, **style)

    def panel(self, gap: float, height: float) -> Axes:
        """Add axes of this height, `gap` below the last panel. All panels share one date axis."""
        self._top -= gap + height
        box = (
            LEFT / WIDTH,
            self._top / self.height,
            1 - (LEFT + RIGHT) / WIDTH,
            height / self.height,
        )
        axes = self.figure.add_axes(box, sharex=self._first)
        self._first = self._first or axes
        axes.grid(axis="y")
        axes.tick_params(length=0, labelbottom=False)
        return axes


def _title(page: _Page, records: Records) -> None:
    run = records.run
    count = len(records.rebalances)
    facts = [run.tape, f"{count} rebalance{'' if count == 1 else 's'}"]
    if records.ticks:
        first, last = records.ticks[0].at, records.ticks[-1].at
        facts += [f"{_date(first)} to {_date(last)} ({(last - first) / 86_400:,.1f} days, UTC)"]
    page.text(_basket(run), 0.42, fontsize=14, fontweight="bold")
    page.text(" · ".join(facts), 0.68, fontsize=10, color=MUTED)


def _basket(run: RunRecord) -> str:
    """The targets in one line, as many as fit."""
    parts = [f"{target * 100 / E18:g} % {symbol}" for symbol, target in zip(run.symbols, run.targets_e18, strict=True)]
    shown = parts
    while len(" · ".join(shown)) > 70 and len(shown) > 1:
        shown = shown[:-1]
    more = [f"{len(parts) - len(shown)} more"] if len(shown) < len(parts) else []
    return " · ".join(shown + more)


def _date(at: int) -> str:
    day = datetime.fromtimestamp(at, UTC)
    return f"{day.day} {day:%b %Y}"


def _heading(axes: Axes, words: str) -> None:
    axes.set_title(words, loc="left", fontsize=10.5, fontweight="bold", pad=8)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        borderaxespad=0.15,
        ncols=columns,
        handlelength=1.4,
        columnspacing=1.4,
    )


def _prices(page: _Page, records: Records) -> Axes:
    """Draw the oracle's price of each asset, as an index that starts at 100."""
    axes = page.panel(gap=TOP, height=page.prices)
    _heading(axes, "Oracle price of each asset (USD, first tick = 100)")
    at = [tick.at for tick in records.ticks]
    ends = []
    for index, symbol in enumerate(records.run.symbols):
        line = _indexed([tick.prices_e18[index] for tick in records.ticks])
        colour = COLOURS[index % len(COLOURS)]
        dates, points = thinned(at, line)
        axes.plot(_days(dates), points, color=colour, lw=1.1)
        if line:
            ends.append((line[-1], f"{_short(symbol)} {line[-1]:.1f}", colour))
    if not ends:
        _nothing(axes)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    heights = _apart([end for end, _, _ in sorted(ends)], (high - low) * LABEL / page.prices)
    for height, (_, words, colour) in zip(heights, sorted(ends), strict=True):
        _end(axes, words, height, colour, "center")
    return axes


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights, moved as little as possible so that their distances are at least `least`."""
    groups: list[list[float]] = []  # of adjacent labels: the sum of (height - rank * least), and their number
    for height in heights:
        groups.append([height, 1.0])
        while len(groups) > 1:
            (above_sum, above), (below_sum, below) = groups[-1], groups[-2]
            if below_sum / below + below * least <= above_sum / above:
                break
            groups[-2:] = [[below_sum + above_sum - above * below * least, below + above]]
    return [total / size + rank * least for total, size in groups for rank in range(round(size))]


def _short(symbol: str) -> str:
    return symbol if len(symbol) <= 10 else symbol[:9] + "…"


def _weights(page: _Page, records: Records) -> list[Axes]:
    """Draw one strip per asset: its weight, its band, and a mark for every trade."""
    strips = []
    run = records.run
    for index, symbol in enumerate(run.symbols):
        axes = page.panel(gap=SEAM if index else GAP, height=STRIP)
        strips.append(axes)
        colour = COLOURS[index % len(COLOURS)]
        target = run.targets_e18[index] * 100 / E18
        band = run.bands_bps[index] * 100 / BPS
        at = [tick.at for tick in records.ticks]
        weight = [tick.weights_e18[index] * 100 / E18 for tick in records.ticks]
        drifts = [one.drift_before_bps[index] * 100 / BPS for one in records.rebalances]
        drifts += [percent - target for percent in weight]
        reach = max([1.45 * band, *(1.1 * abs(drift) for drift in drifts)])

        axes.axhspan(target - band, target + band, color=colour, alpha=0.12, lw=0)
        axes.axhline(target, color=colour, lw=0.8, ls=(0, (4, 3)), alpha=0.8)
        dates, percents = thinned(at, weight)
        axes.plot(_days(dates), percents, color=colour, lw=1.1)
        _trades(axes, records, index, target)

        edges = [target - band, target + band] if reach <= 4 * band else []
        ticks = sorted([target, *edges])
        axes.set_yticks(ticks, [f"{percent:g} %" for percent in ticks], fontsize=8)
        axes.set_ylim(target - reach, target + reach)
        axes.grid(visible=False)
        axes.text(
            1.01, 0.5, _short(symbol), transform=axes.transAxes, color=colour, va="center",
            fontweight="bold",
        )  # fmt: skip
    if strips:
        _heading(strips[0], "Weight of each asset (% of the vault's value)")
        _legend_of_trades(strips[0])
    return strips


def _trades(axes: Axes, records: Records, index: int, target: float) -> None:
    """Draw an arrow from the weight before each trade of this asset to the weight after it."""
    for amounts, marker in (("sold_raw", "v"), ("bought_raw", "^")):
        traded = [one for one in records.rebalances if getattr(one, amounts)[index]]
        dates = _days([one.at for one in traded])
        before = [target + one.drift_before_bps[index] * 100 / BPS for one in traded]
        after = [target + one.drift_after_bps[index] * 100 / BPS for one in traded]
        axes.vlines(dates, before, after, color=INK, lw=0.9, zorder=3)
        axes.scatter(dates, after, marker=marker, s=26, c=INK, ec="white", lw=0.6, zorder=4)


def _legend_of_trades(axes: Axes) -> None:
    axes.scatter([], [], marker="v", s=26, c=INK, label="weight after a sale")
    axes.scatter([], [], marker="^", s=26, c=INK, label="weight after a purchase")
    axes.plot([], [], color=MUTED, lw=0.8, ls=(0, (4, 3)), label="target")
    axes.fill_between([], [], color=MUTED, alpha=0.2, lw=0, label="band")
    _legend(axes, 4)


def _value(page: _Page, records: Records) -> tuple[Axes, Axes]:
    """Draw the value of a share and of holding the assets, both indexed to 100, and their difference."""
    ticks = records.ticks
    at = [tick.at for tick in ticks]
    vault = _indexed([tick.share_price_e18 for tick in ticks])
    hold = _indexed([tick.hold_price_e18 for tick in ticks])
    gap = [mine - held for mine, held in zip(vault, hold, strict=True)]

    value = page.panel(gap=GAP, height=VALUE)
    _heading(value, "Value of a share (USD, first tick = 100)")
    for line, colour, width in ((hold, MUTED, 1.0), (vault, INK, 1.4)):
        dates, points = thinned(at, line)
        value.plot(_days(dates), points, color=colour, lw=width)
    if not ticks:
        _nothing(value)
    else:
        ahead = vault[-1] >= hold[-1]
        _end(value, f"vault {vault[-1]:.2f}", vault[-1], INK, "bottom" if ahead else "top")
        _end(value, f"holding {hold[-1]:.2f}", hold[-1], MUTED, "top" if ahead else "bottom")

    difference = page.panel(gap=SEAM, height=DIFFERENCE)
    dates, points = thinned(at, gap)
    x = _days(dates)
    difference.fill_between(x, 0, points, color=MUTED, alpha=0.3, lw=0)
    difference.plot(x, points, color=INK, lw=0.8)
    difference.axhline(0, color=MUTED, lw=0.8)
    difference.set_ylabel("vault − holding", fontsize=8)  # noqa: RUF001 # a minus sign
    difference.yaxis.set_major_formatter(_signed)
    if not ticks:
        _nothing(difference)
    else:
        shown = round(vault[-1], 2) - round(hold[-1], 2)
        _end(difference, f"{shown:+z.2f}", gap[-1], INK, "center")
    return value, difference


def _signed(points: float, _position: object) -> str:
    return f"{points:+g}".replace("-", "\N{MINUS SIGN}") if points else "0"


def _nothing(axes: Axes) -> None:
    axes.set_yticks([])
    axes.text(
        0.5, 0.5, "no records", transform=axes.transAxes, color=MUTED, ha="center",
        va="center", backgroundcolor="white",
    )  # fmt: skip


def _end(axes: Axes, words: str, at: float, colour: str, side: str) -> None:
    """Write a label at a line's last point, in the right margin."""
    axes.text(
        1.01, at, words, transform=axes.get_yaxis_transform(), color=colour, va=side,
        fontweight="bold", fontsize=8.5,
    )  # fmt: skip


def _costs(page: _Page, records: Records) -> Axes:
    """Draw the loss of each rebalance against the oracle, and the slippage limit at that time."""
    rebalances = records.rebalances
    dates = _days([one.at for one in rebalances])
    costs = [one.loss_bps for one in rebalances]
    limits = [one.limit_e18 * BPS / E18 for one in rebalances]
    axes = page.panel(gap=GAP, height=COST)
    _heading(axes, "Cost of each rebalance against the oracle (bps of the value sold)")
    axes.vlines(dates, 0, costs, color=INK, lw=2)
    axes.scatter(dates, limits, marker="_", s=90, c=RED, lw=1.6, label="slippage limit")
    axes.scatter(dates, costs, s=22, c=INK, zorder=3, label="cost")
    stopped = [one for one in rebalances if one.bound_by]
    if stopped:
        axes.scatter(
            _days([one.at for one in stopped]),
            [one.loss_bps for one in stopped],
            s=22, c="white", ec=INK, zorder=4, label="cost, rebalance cut by a budget",
        )  # fmt: skip
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.margins(y=0.15)
    if rebalances:
        _legend(axes, 3)
    else:
        _nothing(axes)
    return axes


def _dates(panels: Sequence[Axes], records: Records) -> None:
    """Set the shared date axis, with labels under the last panel only."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    bottom = panels[-1]
    instants = [tick.at for tick in records.ticks] + [one.at for one in records.rebalances]
    if not instants:
        bottom.set_xticks([])
        return
    locator = AutoDateLocator(tz=UTC, minticks=4, maxticks=9)  # type: ignore[no-untyped-call] # untyped
    formatter = ConciseDateFormatter(locator, tz=UTC, show_offset=False)  # type: ignore[no-untyped-call] # untyped
    bottom.xaxis.set_major_locator(locator)
    bottom.xaxis.set_major_formatter(formatter)
    bottom.tick_params(labelbottom=True)
    first, last = min(instants), max(instants)
    pad = max((last - first) // 100, 3_600)
    left, right = _days([first - pad, last + pad])
    bottom.set_xlim(left, right)
    for panel in panels:
        panel.grid(axis="x")


def _days(instants: Sequence[int]) -> list[float]:
    """Unix seconds as matplotlib dates: days since 1970-01-01."""
    return [at / 86_400 for at in instants]


def _indexed(prices_e18: Sequence[int]) -> list[float]:
    return [price * 100 / prices_e18[0] for price in prices_e18] if prices_e18 else []


def thinned(at: Sequence[int], values: Sequence[float], points: int = POINTS) -> tuple[list[int], list[float]]:
    """The line with about `points` points: the lowest and the highest of every interval, and both ends.

    A line with at most `points` points is returned whole.
    """
    if len(values) <= points:
        return list(at), list(values)
    size = -(-len(values) // (points // 2))
    kept = {0, len(values) - 1}
    for begin in range(0, len(values), size):
        run = range(begin, min(begin + size, len(values)))
        kept |= {min(run, key=values.__getitem__), max(run, key=values.__getitem__)}
    order = sorted(kept)
    return [at[index] for index in order], [values[index] for index in order]
