"""Model of all pools in numpy: their trades at given token prices, and their outputs for given inputs.

The planner's problem (`dual.py`) has one price p per token. Its bound needs the trade of an arbitrageur on every pool
at these prices: the trade after which one more unit in yields m = p_in / p_out units out (`Pool.flow_to`). Its steps
need the output for an input, the marginal output, and its slope.

A stretch of constant liquidity L (Uniswap V3 whitepaper, section 6.2) is, in either direction,

    in = L (s - s₀) / k        out = L (1/s₀ - 1/s)        s = sqrt(k / m) = sqrt(k p_out / p_in)

where s = 1 / sqrt(output per input) at the pool and k is what the fee leaves. A pool of Uniswap V3 or V4 is a row of
such stretches from its current price on, taken from the tick tables that all its states share. Only the next `_WINDOW`
stretches of each row are stored; if prices lead beyond them, `widened` stores more. A Uniswap V2 pair is one stretch,
and a weighted Balancer pool has a closed form. Any other pool is a row of stretches through points of its own curve
(`focused` places them more closely around a solution).

All numbers are floats. They are used for the search; exact quotes decide (`flow_to_swaps.py`).
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import permutations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rebalancer.units import PIPS
from rebalancer.venues import Pool
from rebalancer.venues.model import EMPTY_SIDE, PowerCurve, Stretches

__all__ = ["Flows", "Market", "Traders", "market_of"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_WINDOW = 8
"""Initial number of stretches per row; most rebalances cross one or two."""

_WINDOW_OF_CURVES = 16
"""Initial number if there are curves: their number of points."""

_MARKETS_KEPT = 4
"""Number of cached markets: all vaults of a keeper that are planned at one block share theirs."""

_WORTHLESS = -80.0
"""Log price of an unreachable token: low enough that it has no effect."""

_NO_DEPTH = -300.0
"""Log depth of a pool of unknown depth: such a pool determines a price only if no other pool does."""

_Points = Sequence[tuple[float, float, float]]

_GROWTHS = (0.0, *(2.0**power for power in range(-10, 6)))
"""Inputs of the first points of a curve, as fractions of the balance."""

_CLOSE_BY = (-0.05, -3e-3, -1e-4, 1e-4, 3e-3, 0.05)
"""Offsets of further points around an amount that flows, as fractions of it."""

_ASIDE = 1e-3
"""Offset from an amount at which the slope of the marginal output is measured, as a fraction of it."""

_NO_LIQUIDITY = 1e-100
"""Stands for zero liquidity in divisions."""

_GENEROUS_CURVE = 1 + 1e-6
"""Safety factor of the output between points of a curve, because its fee may fall."""

_LEAST_STEP = 1e-9
"""Minimum growth of s from point to point, so that every stretch has a width."""


@dataclass(frozen=True, slots=True)
class Flows:
    """Trades of all rows: raw units in and out."""

    amounts_in: Floats
    amounts_out: Floats


class Traders(Protocol):
    """Many rows that trade, in one call."""

    def trade(self, amounts_in: Floats) -> tuple[Floats, Floats, Floats]:
        """Output of every row for these inputs, the marginal output, and its slope."""


class Market:
    """All rows (a pool and a direction) between the tokens of some pools.

    `tokens` are lower-case addresses. `pool`, `token_in`, `token_out` and `back` have one entry per row: indices into
    `pools` and `tokens`, and of the row in the other direction. `spot` is log(output per input, raw) before the fee.
    `usual_fee` is a fraction of one.
    """

    def __init__(self, pools: Sequence[Pool], window: int = _WINDOW) -> None:
        self.pools = tuple(pools)
        self.tokens: tuple[str, ...] = tuple(
            dict.fromkeys(token.address for pool in self.pools for token in pool.tokens)
        )
        self.index = {token: i for i, token in enumerate(self.tokens)}
        rows = [
            (number, pool, token_in.address, token_out.address)
            for number, pool in enumerate(self.pools)
            for token_in, token_out in permutations(pool.tokens, 2)
        ]
        shapes = [pool.shape(sold, bought) for _, pool, sold, bought in rows]
        powers = [shape for shape in shapes if isinstance(shape, PowerCurve)]
        if None in shapes:
            window = max(window, _WINDOW_OF_CURVES)
        self.window = window
        # Rows of stretches first.
        order = sorted(range(len(rows)), key=lambda row: isinstance(shapes[row], PowerCurve))
        rows, shapes = [rows[row] for row in order], [shapes[row] for row in order]
        tabled = len(rows) - len(powers)
        self.pool: Indices = np.array([row[0] for row in rows], dtype=np.intp)
        self.token_in: Indices = np.array([self.index[row[2]] for row in rows], dtype=np.intp)
        self.token_out: Indices = np.array([self.index[row[3]] for row in rows], dtype=np.intp)
        row_of = {(row[0], row[2], row[3]): at for at, row in enumerate(rows)}
        self._rows = row_of
        back = [row_of[number, bought, sold] for number, _, sold, bought in rows]
        self.back: Indices = np.array(back, dtype=np.intp)
        self._points = {row: _first_points(*rows[row][1:]) for row, shape in enumerate(shapes) if shape is None}
        self._sides = [
            shape if isinstance(shape, Stretches) else _curved_side(rows[row][1], self._points[row])
            for row, shape in enumerate(shapes[:tabled])
        ]
        self._curved: Indices = np.array([*self._points], dtype=np.intp)
        self._most_out: dict[int, Callable[[float], float]] = {}
        self._ticked = _Ticked(self._sides, window)
        self._weighted = _Weighted(powers)
        spots = [_log_spot(*row[1:]) for row in rows[tabled:]]
        self.spot: Floats = np.concatenate([self._ticked.spot, np.array(spots, dtype=np.float64)])
        with np.errstate(divide="ignore"):
            depths = [np.log(self._ticked.depth * self._ticked.start), self._weighted.log_depth]
        self._log_depth = np.concatenate(depths)
        self._open: Floats | None = None
        fees = [pool.fee_pips for pool in self.pools]
        self.usual_fee = statistics.median(fees) / PIPS if fees else 0.0

    @cached_property
    def edges(self) -> dict[str, dict[str, list[tuple[float, int]]]]:
        """Pools out of each token, by output token: (spot price less the fee, pool number), best first."""
        found: dict[str, dict[str, list[tuple[float, int]]]] = {}
        for number, sold, bought, spot in zip(
            *(self.pool.tolist(), self.token_in.tolist(), self.token_out.tolist()), self.spot.tolist(), strict=True
        ):
            most = math.exp(spot) * (1 - self.pools[number].fee_pips / PIPS)
            edges = found.setdefault(self.tokens[sold], {})
            edges.setdefault(self.tokens[bought], []).append((most, number))
        for edges in found.values():
            for one in edges.values():
                one.sort(reverse=True)
        return found

    def __len__(self) -> int:
        return len(self.pool)

    @property
    def open_rows(self) -> bytes:
        """The set of open rows; equal for markets with the same open rows."""
        return b"" if self._open is None else self._open.tobytes()

    @property
    def is_whole(self) -> bool:
        """Whether every row is open and is a pool of its own, so each pool has two tokens."""
        return self._open is None and all(len(pool.tokens) == 2 for pool in self.pools)

    def widened(self) -> Market:
        """The same market with four times the stretches of every row."""
        found = copy(self)
        found.window = self.window * 4
        found._ticked = _Ticked(self._sides, found.window)
        return found

    def focused(self, prices: Floats) -> Market:
        """The same market with points of curves placed around their trades at these prices; unchanged if no curve
        trades."""
        ratio = prices[self.token_out] / prices[self.token_in]
        trades = np.sqrt(ratio[self._curved]) > self._ticked.start[self._curved]
        if self._open is not None:
            trades &= self._open[self._curved] > 0
        rows = self._curved[trades]
        if not len(rows):
            return self
        found, amounts = copy(self), self.flows(prices).amounts_in[rows]
        found._sides = list(self._sides)
        for row, amount, given in zip(*(rows.tolist(), amounts.tolist(), (1 / ratio[rows]).tolist()), strict=True):
            pool, sold = self.pools[self.pool[row]], self.tokens[self.token_in[row]]
            ends = sold, self.tokens[self.token_out[row]]
            points = _more_points(pool, *ends, self._points[row], amount, given)
            found._sides[row] = _curved_side(pool, points)
        found._ticked = self._ticked.replaced(rows, [found._sides[row] for row in rows.tolist()])
        return found

    def without(self, rows: Indices) -> Market:
        """The same market with these rows closed."""
        found = copy(self)
        found._open = np.ones(len(self)) if self._open is None else self._open.copy()
        found._open[rows] = 0
        return found

    def only(self, rows: Sequence[int] | Indices) -> Market:
        """The same market with all other rows closed."""
        found = copy(self)
        found._open = np.zeros(len(self))
        found._open[rows] = 1 if self._open is None else self._open[rows]
        return found

    def in_order(self, order: Sequence[int]) -> Market:
        """The same market where tokens are only swapped for later ones in `order`, which has all tokens. Reopens other
        rows."""
        rank = np.empty(len(self.tokens), dtype=np.intp)
        rank[list(order)] = np.arange(len(order))
        found = copy(self)
        found._open = np.where(rank[self.token_in] > rank[self.token_out], 0.0, 1.0)
        return found

    @property
    def most(self) -> Floats:
        """Maximum raw input of every row: 0 if it is closed, inf if it is unlimited."""
        found = np.concatenate((self._ticked.most, self._weighted.most))
        return found if self._open is None else np.where(self._open > 0, found, 0.0)

    def trade(self, amounts_in: Floats) -> tuple[Floats, Floats, Floats]:
        """Output of every row for these inputs, the marginal output, and its slope."""
        return _Both(self._ticked, self._weighted).trade(amounts_in)

    def scaled(self, rows: Indices, units_in: Floats, units_out: Floats) -> Traders:
        """Only these rows (ascending), with inputs in multiples of `units_in` (raw) and outputs in multiples of
        `units_out`."""
        at = int(np.searchsorted(rows, self._ticked.rows))
        ticked = self._ticked.scaled(rows[:at], units_in[:at], units_out[:at])
        if at == len(rows):
            return ticked
        weighted = self._weighted.scaled(rows[at:] - self._ticked.rows, units_in[at:], units_out[at:])
        return _Both(ticked, weighted) if at else weighted

    def flows(self, prices: Floats) -> Flows:
        """Trades of every row at these prices, which are values of a raw unit."""
        ratio = prices.take(self.token_out) / prices.take(self.token_in)
        count = self._ticked.rows
        amounts_in, amounts_out = self._ticked.flows(ratio[:count])
        if count < len(self):
            weighted = self._weighted.flows(ratio[count:])
            amounts_in = np.concatenate((amounts_in, weighted[0]))
            amounts_out = np.concatenate((amounts_out, weighted[1]))
        if self._open is not None:
            amounts_in, amounts_out = amounts_in * self._open, amounts_out * self._open
        return Flows(amounts_in, amounts_out)

    def depth(self, rows: Indices) -> Floats:
        """Approximate raw input that halves the price of each of these rows; very large if unknown."""
        return np.asarray(np.exp(np.minimum(self._log_depth[rows], 300.0)), dtype=np.float64)

    def most_out(self, number: int, token_in: str, token_out: str, amount: float) -> float:
        """Upper bound of a pool's raw output for an amount, up to float rounding; curves include a margin of one
        millionth."""
        row = self._rows[number, token_in, token_out]
        known = self._most_out.get(row)
        if known is None:
            count = self._ticked.rows
            known = (
                self._ticked.most_out(row, is_exact=row not in self._points)
                if row < count
                else self._weighted.most_out(row - count)
            )
            self._most_out[row] = known
        return known(amount)

    def profits(self, prices: Floats) -> Floats:
        """Upper bound of an arbitrageur's profit on every row at these prices."""
        flows = self.flows(prices)
        given = prices[self.token_out] * flows.amounts_out
        return np.asarray(given - prices[self.token_in] * flows.amounts_in, dtype=np.float64)

    def is_beyond(self, prices: Floats) -> bool:
        """Whether an open row is at the end of its stored stretches at these prices, and has more."""
        ratio = prices[self.token_out] / prices[self.token_in]
        if self._open is not None:
            ratio = ratio * self._open  # unreachable tokens may have any price
        return self._ticked.is_beyond(ratio[: self._ticked.rows])

    def near(self, log_prices: Floats) -> Floats:
        """Log prices, where unknown ones (nan) are derived from the deepest pools that lead to them.

        A token that no pool connects to a known price gets a negligible price.
        """
        known = log_prices.copy()
        while np.isnan(known).any():
            rows = np.flatnonzero(~np.isnan(known[self.token_in]) & np.isnan(known[self.token_out]))
            rows = rows[np.isfinite(self.spot[rows])]
            if not len(rows):
                known[np.flatnonzero(np.isnan(known))[0]] = _WORTHLESS
                continue
            # {usd} = {usd/in} * {in}: the input that halves the price, in a pool of that liquidity.
            deep = known[self.token_in[rows]] + self._log_depth[rows]
            row = rows[np.argmax(deep)]
            known[self.token_out[row]] = known[self.token_in[row]] - self.spot[row]
        return known

    def net(self, flows: Flows) -> Floats:
        """Output less input of all pools together, per token."""
        size = len(self.tokens)
        out = np.bincount(self.token_out, flows.amounts_out, size)
        into = np.bincount(self.token_in, flows.amounts_in, size)
        return np.asarray(out - into, dtype=np.float64)


_KEPT: OrderedDict[tuple[int, ...], Market] = OrderedDict()


def market_of(pools: Sequence[Pool]) -> Market:
    """The market of these pool objects; the last few markets are cached."""
    key = tuple(map(id, pools))  # a cached market keeps its pools alive, so their ids stay unique
    found = _KEPT.get(key)
    if found is None:
        found = _KEPT[key] = Market(pools)
        if len(_KEPT) > _MARKETS_KEPT:
            _KEPT.popitem(last=False)
    return found


def _first_points(pool: Pool, token_in: str, token_out: str) -> _Points:
    """First points of a curve: input, output and marginal output, from zero on."""
    found = pool.points(token_in, token_out, _GROWTHS)
    if found is not None:
        return found
    top = math.exp(_log_spot(pool, token_in, token_out)) * (1 - pool.fee_pips / PIPS)
    return _flows_to(pool, token_in, token_out, [top / (1 + growth) ** 2 for growth in _GROWTHS])


def _more_points(pool: Pool, token_in: str, token_out: str, first: _Points, amount: float, marginal: float) -> _Points:
    """The first points, and more points around the given amount and marginal output."""
    if pool.points(token_in, token_out, ()) is not None:
        around = amount / pool.balance_of(token_in)
        # One step of Newton's method, with the slope between points further apart.
        tried = pool.points(token_in, token_out, (around, around * (1 + _ASIDE))) or []
        fall = tried[0][2] - tried[1][2] if len(tried) == 2 else 0.0
        if fall > 0:
            further = _ASIDE * (tried[0][2] - marginal) / fall
            around *= 1 + min(max(further, -0.5), 1.0)
        growths = [around * (1 + step) for step in _CLOSE_BY]
        return sorted([*first, *(pool.points(token_in, token_out, growths) or [])])
    marginals = [marginal * (1 + step) for step in _CLOSE_BY]
    marginals = sorted((one for one in marginals if one < first[0][2]), reverse=True)
    more = _flows_to(pool, token_in, token_out, [first[0][2], *marginals])
    return sorted({*first, *more}) if first else first


def _flows_to(pool: Pool, token_in: str, token_out: str, marginals: Sequence[float]) -> _Points:
    """Points at decreasing marginal outputs; the first one has no input."""
    found = [(0.0, 0.0, marginals[0])]
    for marginal in marginals[1:]:
        into, out = map(float, pool.flow_to(token_in, token_out, marginal))
        if into > found[-1][0]:
            found.append((into, out, marginal))
    return found


def _curved_side(pool: Pool, points: _Points) -> Stretches:
    """A row of stretches through points of a curve.

    If the marginal output first rises because the fee falls, nothing flows until the whole rising part pays.
    """
    if len(points) < 2:
        return EMPTY_SIDE
    amounts, outs, marginals = (list(one) for one in zip(*points, strict=True))
    outs[0] = 0.0
    averages = [marginals[0], *(out / amount for amount, out in zip(amounts[1:], outs[1:], strict=True))]
    best = max(range(len(averages)), key=averages.__getitem__)
    spot = math.log(averages[best] / (1 - pool.fee_pips / PIPS))
    if best:
        marginals[0] = averages[best]
        del amounts[1:best], outs[1:best], marginals[1:best]
    starts: list[float] = []
    kept = 0
    for at, marginal in enumerate(marginals):
        if marginal <= 0 or outs[at] < 0:
            break
        start = marginal**-0.5
        starts.append(max(start, starts[-1] * (1 + _LEAST_STEP)) if starts else start)
        kept = at + 1
    if kept < 2:
        return Stretches(spot, 1.0, (1.0,), (0.0,), (0.0,))
    liquidity = [(amounts[at + 1] - amounts[at]) / (starts[at + 1] - starts[at]) for at in range(kept - 1)]
    return Stretches(spot, 1.0, starts, [*liquidity, 0.0], outs[:kept])


class _Weighted:
    """Rows of weighted pools, in closed form."""

    def __init__(self, rows: Sequence[PowerCurve]) -> None:
        curves = np.array([astuple(row) for row in rows], dtype=np.float64)
        curves = curves.reshape(len(rows), 5).T
        into, self._minus_out, exponent, kept, most = curves
        self._is_open = into > 0
        kept = np.where(self._is_open, kept, 1.0)
        self._into = np.where(self._is_open, into, 1.0) / kept
        best = np.where(self._is_open, self._minus_out * exponent, 1e-300) / self._into
        self._log_best = np.log(best)
        self._minus_out *= -1
        self._minus_exponent, self._share = -exponent, 1 / (1 + exponent)
        # Upper limits on the log of growth: some pools accept only a third of their balance.
        self._most = np.where(self._is_open, np.log1p(most / self._into), 0.0)
        self.log_depth = np.where(self._is_open, np.log(self._into / 2), _NO_DEPTH)

    def flows(self, ratio: Floats) -> tuple[Floats, Floats]:
        """As `_Ticked.flows`."""
        wanted = (self._log_best + np.log(ratio)) * self._share
        growth = np.minimum(np.maximum(wanted, 0.0), self._most)
        amounts_in = self._into * np.expm1(growth)
        amounts_out = self._minus_out * np.expm1(self._minus_exponent * growth)
        return amounts_in, amounts_out

    @property
    def most(self) -> Floats:
        """See `Market.most`."""
        return np.asarray(self._into * np.expm1(self._most), dtype=np.float64)

    def scaled(self, rows: Indices, units_in: Floats, units_out: Floats) -> _Weighted:
        """See `Market.scaled`."""
        found = copy(self)
        found._into = self._into[rows] / units_in
        found._minus_out = self._minus_out[rows] / units_out
        found._log_best = self._log_best[rows] + np.log(units_in / units_out)
        found._minus_exponent = self._minus_exponent[rows]
        return found

    def most_out(self, row: int) -> Callable[[float], float]:
        """See `Market.most_out`."""
        into, minus_out = float(self._into[row]), float(self._minus_out[row])
        minus_exponent = float(self._minus_exponent[row])

        def most(amount: float) -> float:
            return minus_out * math.expm1(minus_exponent * math.log1p(amount / into))

        return most

    def trade(self, amounts_in: Floats) -> tuple[Floats, Floats, Floats]:
        """See `Traders.trade`."""
        growth = np.log1p(amounts_in / self._into)
        marginal = np.exp(self._log_best + (self._minus_exponent - 1) * growth)
        bend = marginal * (1 - self._minus_exponent) / (self._into + amounts_in)
        return self._minus_out * np.expm1(self._minus_exponent * growth), marginal, bend


class _Ticked:
    """Rows of stretches of constant liquidity, one after another in flat tables.

    A row has `window` + 1 stretches. `_ends` are their ends (inf: no end). `_stretches` has rows for their starts and
    liquidity, and for the total input (without fee) and output before them.
    """

    def __init__(self, sides: Sequence[Stretches], window: int) -> None:
        self.rows, self._window = len(sides), window
        width = window + 1
        starts = np.full((self.rows, width), np.inf)
        liquidity = np.zeros((self.rows, width))
        for row, side in enumerate(sides):
            ahead = min(width, len(side.starts))
            starts[row, :ahead] = side.starts[:ahead]
            liquidity[row, :ahead] = side.liquidity[:ahead]
        self.spot: Floats = np.array([side.spot for side in sides], dtype=np.float64)
        self.start: Floats = starts[:, 0].copy()
        self.depth: Floats = liquidity[:, 0].copy()
        self._kept: Floats = np.array([side.kept for side in sides], dtype=np.float64)
        self._sqrt_kept = np.sqrt(self._kept)
        # If the price is on a tick, rounding may put the next boundary slightly behind the start.
        np.maximum(starts[:, 1:], starts[:, :1], out=starts[:, 1:])
        # Nothing trades beyond the stored stretches.
        ends_early: NDArray[np.bool_] = np.array([len(side.starts) > width for side in sides], dtype=np.bool_)
        liquidity[ends_early, -1] = 0
        self._last = np.where(ends_early, starts[:, -1], np.inf)
        self._ends = np.ascontiguousarray(starts[:, 1:].T)
        at = np.where(np.isinf(starts), 1.0, starts)
        ends = np.where(np.isinf(starts[:, 1:]), at[:, :-1], starts[:, 1:])
        steps = liquidity[:, :-1] * np.where(np.isinf(starts[:, :-1]), 0.0, ends - at[:, :-1])
        taken, given = np.zeros((2, self.rows, width))
        np.cumsum(steps, axis=1, out=taken[:, 1:])
        np.cumsum(steps / (at[:, :-1] * ends), axis=1, out=given[:, 1:])
        for row, side in enumerate(sides):
            if side.given is not None:
                ahead = min(width, len(side.given))
                given[row, :ahead] = side.given[:ahead]
        self._base = np.arange(self.rows) * width
        held = np.maximum(liquidity, _NO_LIQUIDITY)
        self._stretches = np.stack((at, held, taken, given)).reshape(4, -1)
        # The input of a row is limited to its last price; a row without liquidity takes nothing.
        is_endless = (liquidity > 0) & np.isinf(np.concatenate((starts, starts[:, :1] + np.inf), 1)[:, 1:])
        self.most: Floats = np.where(is_endless.any(axis=1), np.inf, taken[:, -1] / self._kept)
        taken_ends = np.where(np.isinf(starts[:, 1:]), np.inf, taken[:, 1:])
        self._taken_ends = np.ascontiguousarray(taken_ends.T)

    def replaced(self, rows: Indices, sides: Sequence[Stretches]) -> _Ticked:
        """A copy with other stretches in these rows."""
        found, new, shape = copy(self), _Ticked(sides, self._window), (4, self.rows, -1)
        for name in ("spot", "start", "depth", "most", "_kept", "_sqrt_kept", "_last"):
            table = getattr(self, name).copy()
            table[rows] = getattr(new, name)
            setattr(found, name, table)
        for name in ("_ends", "_taken_ends"):
            table = getattr(self, name).copy()
            table[:, rows] = getattr(new, name)
            setattr(found, name, table)
        stretches = self._stretches.reshape(shape).copy()
        stretches[:, rows] = new._stretches.reshape(4, len(rows), -1)
        found._stretches = stretches.reshape(4, -1)
        return found

    def flows(self, ratio: Floats) -> tuple[Floats, Floats]:
        """Inputs and outputs at a ratio of input units per last output unit."""
        goal = np.maximum(np.sqrt(ratio) * self._sqrt_kept, self.start)
        place = self._base + (self._ends < goal).sum(axis=0)
        at, liquidity, taken, given = self._stretches.take(place, axis=1)
        part = liquidity * (goal - at)
        return (taken + part) / self._kept, given + part / (at * goal)

    def scaled(self, rows: Indices, units_in: Floats, units_out: Floats) -> _Ticked:
        """See `Market.scaled`."""
        found, width = copy(self), len(self._ends) + 1
        # s is scaled by the ratio of the units, so the formulas for input and output are unchanged.
        turn, deep = np.sqrt(units_out / units_in), np.sqrt(units_in * units_out)
        scales = np.stack((1 / turn, deep, units_in, units_out))[:, :, None]
        stretches = self._stretches.reshape(4, self.rows, width).take(rows, axis=1) / scales
        found._stretches = stretches.reshape(4, -1)
        found.rows, found._base = len(rows), np.arange(len(rows)) * width
        found._kept = self._kept[rows]
        found._taken_ends = self._taken_ends.take(rows, axis=1) / units_in
        return found

    def trade(self, amounts_in: Floats) -> tuple[Floats, Floats, Floats]:
        """See `Traders.trade`."""
        goal = amounts_in * self._kept
        place = self._base + (self._taken_ends < goal).sum(axis=0)
        at, liquidity, taken, given = self._stretches.take(place, axis=1)
        part = goal - taken
        s = at + part / liquidity
        marginal = self._kept / (s * s)
        return given + part / (at * s), marginal, 2 * marginal * self._kept / (liquidity * s)

    def most_out(self, row: int, *, is_exact: bool) -> Callable[[float], float]:
        """See `Market.most_out`. Beyond the stored stretches and between points of a curve, the last known marginal
        output is used."""
        width, kept = len(self._ends) + 1, float(self._kept[row])
        part = self._stretches[:, row * width : (row + 1) * width]
        ats, held, taken, given = part.tolist()
        ends: list[float] = (part[2] / kept).tolist()

        def most(amount: float) -> float:
            at = max(0, bisect_left(ends, amount) - 1)
            goal = amount * kept - taken[at]
            if not is_exact:
                return float((given[at] + goal / ats[at] ** 2) * _GENEROUS_CURVE)
            s = ats[at] + goal / held[at] if held[at] > _NO_LIQUIDITY else ats[at]
            return float(given[at] + goal / (ats[at] * s))

        return most

    def is_beyond(self, ratio: Floats) -> bool:
        """See `Market.is_beyond`."""
        return bool((np.sqrt(ratio) * self._sqrt_kept > self._last).any())


@dataclass(frozen=True, slots=True)
class _Both:
    """Rows of stretches, then rows of weighted pools."""

    ticked: _Ticked
    weighted: _Weighted

    def trade(self, amounts_in: Floats) -> tuple[Floats, Floats, Floats]:
        """See `Traders.trade`."""
        count = self.ticked.rows
        ticked = self.ticked.trade(amounts_in[:count])
        if count == len(amounts_in):
            return ticked
        weighted = self.weighted.trade(amounts_in[count:])
        out, marginal, bend = map(np.concatenate, zip(ticked, weighted, strict=True))
        return out, marginal, bend


def _log_spot(pool: Pool, token_in: str, token_out: str) -> float:
    spot = pool.spot_price(token_in, token_out)
    return math.log(spot.numerator) - math.log(spot.denominator) if spot else -math.inf
