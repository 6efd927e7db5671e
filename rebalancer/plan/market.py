"""What does every pool trade at given prices of all tokens? Many pools answered at once, with numpy.

The planner's dual problem has one price p for each token and asks, again and again, what an
arbitrageur who sees those prices would trade on every pool. With m = p_in / p_out that is the trade
after which one more unit in yields m units out: `Pool.flow_to`. Here the same is done for all pools
and both directions together, and with its slope, which Newton's method needs.

A stretch of constant liquidity L (Uniswap's whitepaper for V3, section 6.2) is, in either direction,

    in = L (s - s₀) / k        out = L (1/s₀ - 1/s)        s = sqrt(k / m) = sqrt(k p_out / p_in)

where s = 1 / sqrt(output per input) at the pool and k is what its fee leaves. A pool of Uniswap V3
or V4 is a row of such stretches from its present price on, taken from the tick tables that all its
states share. Of each row only the next `_WINDOW` stretches are laid out; where prices lead beyond
them, `widened` lays out more. Any other pool is asked by `flow_to`, one by one.

All numbers are floats: they aim, and exact quotes settle (`legs.py`).
"""

from __future__ import annotations

import math
import statistics
from collections import OrderedDict
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rebalancer.pools import (
    CurveCryptoPool,
    Pool,
    UniswapV3Pool,
    UniswapV4Pool,
    WrappedEtherPool,
)
from rebalancer.pools.uniswap_v3_math import PIPS, Q96

__all__ = ["Flows", "Market", "market_of"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_WINDOW = 8
"""Stretches of a row that are laid out at first; most rebalances cross one or two."""

_MARKETS_KEPT = 4
"""Markets remembered: the vaults of one keeper that are planned at one block share theirs."""

_WORTHLESS = -80.0
"""Log price of what leads nowhere: low enough that it adds nothing to anything."""

_NO_DEPTH = -300.0
"""Log depth of a pool whose depth is not known: such pools name a price where no other does."""

_ROUNDED = 1e-9
"""Spot prices are floats: they may be off by less than this."""

_STEP = 1e-6
"""Relative step of the price by which the slope of a pool without a formula is measured."""


@dataclass(frozen=True, slots=True)
class Flows:
    """What every row trades: raw units in and out, and by what its input's value grows with the price.

    `slope` is p_in · d in / d log p_out, in the unit of value of the prices that were asked with.
    """

    amounts_in: Floats
    amounts_out: Floats
    slope: Floats


class Market:
    """All rows (a pool and a direction) between the tokens of some pools.

    `tokens` are lower-case addresses, `pool`, `token_in` and `token_out` index into `pools` and
    `tokens`, a row each. `spot` is log(output per input, raw) before the fee, `usual_fee` a part of one.
    """

    def __init__(self, pools: Sequence[Pool], window: int = _WINDOW) -> None:
        self.pools = tuple(pools)
        self.window = window
        self.tokens: tuple[str, ...] = tuple(
            dict.fromkeys(token.address for pool in self.pools for token in pool.tokens)
        )
        self.index = {token: i for i, token in enumerate(self.tokens)}
        rows = [
            (number, pool, token_in.address, token_out.address)
            for number, pool in enumerate(self.pools)
            for token_in, token_out in permutations(pool.tokens, 2)
        ]
        tabled = [row for row in rows if _is_ticked(row[1])]
        asked = [row for row in rows if not _is_ticked(row[1])]
        rows = tabled + asked
        self._asked = [(pool, sold, bought) for _, pool, sold, bought in asked]
        self.pool: Indices = np.array([row[0] for row in rows], dtype=np.intp)
        self.token_in: Indices = np.array([self.index[row[2]] for row in rows], dtype=np.intp)
        self.token_out: Indices = np.array([self.index[row[3]] for row in rows], dtype=np.intp)
        self._ticked = _Ticked(tabled, window)
        self.spot: Floats = np.concatenate(
            [
                -2 * np.log(self._ticked.start),
                np.array([_log_spot(*row) for row in self._asked], dtype=np.float64),
            ]
        )
        # A pool's fee is never below `fee_pips`, so at a worse ratio than this nothing flows.
        kept = np.array([1 - pool.fee_pips / PIPS for pool, _, _ in self._asked])
        with np.errstate(divide="ignore"):
            self._least_ratio: Floats = (1 - _ROUNDED) / (np.exp(self.spot[len(tabled) :]) * kept)
            ticked_depth = np.log(self._ticked.depth * self._ticked.start)
        self._log_depth = np.concatenate([ticked_depth, np.full(len(asked), _NO_DEPTH)])
        self._open: Floats | None = None
        fees = [pool.fee_pips for pool in self.pools]
        self.usual_fee = statistics.median(fees) / PIPS if fees else 0.0
        self._pairs = self.token_in * len(self.tokens) + self.token_out

    @cached_property
    def ways(self) -> dict[str, dict[str, list[tuple[float, int]]]]:
        """What leads out of each token, by the token that comes out: (spot price less the fee, pool), best first."""
        found: dict[str, dict[str, list[tuple[float, int]]]] = {}
        for number, sold, bought, spot in zip(
            *(self.pool.tolist(), self.token_in.tolist(), self.token_out.tolist()),
            self.spot.tolist(),
            strict=True,
        ):
            most = math.exp(spot) * (1 - self.pools[number].fee_pips / PIPS)
            ways = found.setdefault(self.tokens[sold], {})
            ways.setdefault(self.tokens[bought], []).append((most, number))
        for ways in found.values():
            for one in ways.values():
                one.sort(reverse=True)
        return found

    def __len__(self) -> int:
        return len(self.pool)

    @property
    def may_jump(self) -> bool:
        """Whether a small change of prices may change flows by much: fees of pools without ticks fall as they come into balance."""
        return bool(self._asked)

    def widened(self) -> Market:
        """The same market with four times as many stretches of every row."""
        found = Market(self.pools, self.window * 4)
        found._open = self._open
        return found

    def without(self, rows: Indices) -> Market:
        """The same market, in which nothing trades on these rows."""
        found = copy(self)
        found._open = np.ones(len(self)) if self._open is None else self._open.copy()
        found._open[rows] = 0
        return found

    def between(self, tokens: Collection[str]) -> Market:
        """The same market without the rows that cannot be part of a way from one of these tokens to another."""
        found = self
        while True:
            is_open = np.ones(len(self)) if found._open is None else found._open
            ends = [
                token
                for token, place in found.index.items()
                if token not in tokens
                and len(set(self.pool[(is_open > 0) & (self.token_in == place)].tolist())) == 1
            ]
            if not ends:
                return found
            places = [found.index[token] for token in ends]
            is_end = np.isin(self.token_in, places) | np.isin(self.token_out, places)
            found = found.without(np.flatnonzero(is_end))

    def flows(self, prices: Floats) -> Flows:
        """What every row trades at these prices, values of a raw unit each."""
        prices_in = prices.take(self.token_in)
        ratio = prices.take(self.token_out) / prices_in
        count = self._ticked.rows
        amounts_in, amounts_out, slope = self._ticked.flows(ratio[:count])
        if self._asked:
            found = np.zeros((3, len(self._asked)))
            flowing = ratio[count:] > self._least_ratio
            if self._open is not None:
                flowing &= self._open[count:] > 0
            for row in np.flatnonzero(flowing).tolist():
                pool, sold, bought = self._asked[row]
                found[:, row] = _asked_flow(pool, sold, bought, 1 / float(ratio[count + row]))
            amounts_in = np.concatenate([amounts_in, found[0]])
            amounts_out = np.concatenate([amounts_out, found[1]])
            slope = np.concatenate([slope, found[2]])
        if self._open is not None:
            amounts_in, amounts_out = amounts_in * self._open, amounts_out * self._open
            slope = slope * self._open
        return Flows(amounts_in, amounts_out, slope * prices_in)

    def is_beyond(self, prices: Floats) -> bool:
        """Whether at these prices a row is at the end of what is laid out of it, and more is there."""
        ratio = prices[self.token_out] / prices[self.token_in]
        return self._ticked.is_beyond(ratio[: self._ticked.rows])

    def near(self, log_prices: Floats) -> Floats:
        """Log prices with those that are not known (nan) taken from the deepest pools that lead to them.

        What no pool leads to from a known price gets a price that is next to nothing.
        """
        known = log_prices.copy()
        while np.isnan(known).any():
            rows = np.flatnonzero(~np.isnan(known[self.token_in]) & np.isnan(known[self.token_out]))
            rows = rows[np.isfinite(self.spot[rows])]
            if not len(rows):
                known[np.flatnonzero(np.isnan(known))[0]] = _WORTHLESS
                continue
            # {usd} = {usd/in} * {in}: what moves the price by half, in a pool of that liquidity.
            deep = known[self.token_in[rows]] + self._log_depth[rows]
            row = rows[np.argmax(deep)]
            known[self.token_out[row]] = known[self.token_in[row]] - self.spot[row]
        return known

    def net(self, flows: Flows) -> Floats:
        """What all pools together give of each token, less what they take."""
        size = len(self.tokens)
        out = np.bincount(self.token_out, flows.amounts_out, size)
        into = np.bincount(self.token_in, flows.amounts_in, size)
        return np.asarray(out - into, dtype=np.float64)

    def laplacian(self, slope: Floats) -> Floats:
        """The curvature of all pools' profit in the logarithms of the prices, times the prices."""
        size = len(self.tokens)
        between = np.bincount(self._pairs, slope, size * size).reshape(size, size)
        between = between + between.T
        curvature = -between
        curvature.flat[:: size + 1] += between.sum(axis=1)
        return np.asarray(curvature, dtype=np.float64)


_KEPT: OrderedDict[tuple[int, ...], Market] = OrderedDict()


def market_of(pools: Sequence[Pool]) -> Market:
    """The market of these very pools; the last few are remembered."""
    key = tuple(map(id, pools))  # a kept market keeps its pools, so none of their ids is another's
    found = _KEPT.get(key)
    if found is None:
        found = _KEPT[key] = Market(pools)
        if len(_KEPT) > _MARKETS_KEPT:
            _KEPT.popitem(last=False)
    return found


def _is_ticked(pool: Pool) -> bool:
    return isinstance(pool, UniswapV3Pool | UniswapV4Pool | WrappedEtherPool)


class _Ticked:
    """Rows of stretches of constant liquidity, one row after another in flat tables.

    A row has `window` + 1 stretches; `_ends` has where they end (inf: nowhere), `_at` where they begin,
    `_liquidity` what they hold, `_taken` and `_given` what all before them take (without fee) and give.
    """

    def __init__(self, rows: Sequence[tuple[int, Any, str, str]], window: int) -> None:
        self.rows = len(rows)
        width = window + 1
        starts = np.full((self.rows, width), np.inf)
        liquidity = np.zeros((self.rows, width))
        kept: list[float] = []
        more: list[bool] = []
        for row, (_, asked, token_in, _) in enumerate(rows):
            down = token_in == asked.tokens[0].address
            pool = asked.pool if isinstance(asked, WrappedEtherPool) else asked
            ladder = pool.profile.down if down else pool.profile.up
            table = _table(ladder)
            price = pool.sqrt_price_x96 / Q96
            first = ladder.first(pool.tick)
            ahead = min(window, table.count - first)
            starts[row, 0] = 1 / price if down else price
            liquidity[row, 0] = pool.liquidity
            starts[row, 1 : ahead + 1] = table.starts[first : first + ahead]
            liquidity[row, 1 : ahead + 1] = table.liquidity[first : first + ahead]
            more.append(table.count - first > window)
            kept.append(1 - _fee_pips(pool, down=down) / PIPS)
        self.start: Floats = starts[:, 0].copy()
        self.depth: Floats = liquidity[:, 0].copy()
        self._kept: Floats = np.array(kept, dtype=np.float64)
        self._sqrt_kept = np.sqrt(self._kept)
        # A price that sits on a tick, or rounding, may put the next boundary just behind the start.
        np.maximum(starts[:, 1:], starts[:, :1], out=starts[:, 1:])
        # Beyond what is laid out nothing trades.
        ends_early: NDArray[np.bool_] = np.array(more, dtype=np.bool_)
        liquidity[ends_early, -1] = 0
        self._last = np.where(ends_early, starts[:, -1], np.inf)
        self._ends = np.ascontiguousarray(starts[:, 1:].T)
        at = np.where(np.isinf(starts), 1.0, starts)
        ends = np.where(np.isinf(starts[:, 1:]), at[:, :-1], starts[:, 1:])
        steps = liquidity[:, :-1] * np.where(np.isinf(starts[:, :-1]), 0.0, ends - at[:, :-1])
        taken, given = np.zeros((2, self.rows, width))
        np.cumsum(steps, axis=1, out=taken[:, 1:])
        np.cumsum(steps / (at[:, :-1] * ends), axis=1, out=given[:, 1:])
        self._base = np.arange(self.rows) * width
        self._at, self._liquidity = at.ravel(), liquidity.ravel()
        self._taken, self._given = taken.ravel(), given.ravel()

    def flows(self, ratio: Floats) -> tuple[Floats, Floats, Floats]:
        """Amounts in and out, and the slope of the first, at so many units in for the last unit out."""
        goal = np.sqrt(ratio) * self._sqrt_kept
        is_open = goal > self.start
        goal = np.maximum(goal, self.start)
        place = self._base + (self._ends < goal).sum(axis=0)
        at, liquidity = self._at.take(place), self._liquidity.take(place)
        part = liquidity * (goal - at)
        amounts_in = (self._taken.take(place) + part) / self._kept
        amounts_out = self._given.take(place) + part / (at * goal)
        slope = is_open * liquidity * goal / (2 * self._kept)
        return amounts_in, amounts_out, slope

    def is_beyond(self, ratio: Floats) -> bool:
        """See `Market.is_beyond`."""
        return bool((np.sqrt(ratio) * self._sqrt_kept > self._last).any())


@dataclass(frozen=True, slots=True)
class _Table:
    """Where the stretches of a direction begin, as s, and their liquidity, in walking order."""

    starts: Floats
    liquidity: Floats
    count: int


_TABLES: WeakKeyDictionary[Any, _Table] = WeakKeyDictionary()


def _table(ladder: Any) -> _Table:
    """The floats of one direction of a set of ticks, made once."""
    found = _TABLES.get(ladder)
    if found is None:
        starts = np.array([sqrt_x96 / Q96 for sqrt_x96 in ladder.sqrt_x96], dtype=np.float64)
        if ladder.down:
            starts = 1 / starts
        liquidity = np.array([float(one) for one in ladder.liquidity], dtype=np.float64)
        found = _TABLES[ladder] = _Table(starts, liquidity, len(starts))
    return found


def _fee_pips(pool: UniswapV3Pool | UniswapV4Pool, *, down: bool) -> int:
    """The fee of a direction; V4's protocol takes its own ahead of the providers' (ProtocolFeeLibrary)."""
    fee_pips = pool.profile.fee_pips
    if isinstance(pool, UniswapV3Pool):
        return fee_pips
    protocol_pips = pool.protocol_fees_pips[0 if down else 1]
    return protocol_pips + fee_pips - protocol_pips * fee_pips // PIPS


def _log_spot(pool: Pool, token_in: str, token_out: str) -> float:
    spot = pool.spot_price(token_in, token_out)
    return math.log(spot.numerator) - math.log(spot.denominator) if spot else -math.inf


def _asked_flow(
    pool: Pool, token_in: str, token_out: str, marginal: float
) -> tuple[float, float, float]:
    """In, out, and d in / d log p_out, of a pool that has no formula here."""
    if isinstance(pool, CurveCryptoPool):
        amount_in, amount_out, slope = pool.flow_and_slope(token_in, token_out, marginal)
        return float(amount_in), float(amount_out), slope
    amount_in, amount_out = pool.flow_to(token_in, token_out, marginal)
    if not amount_in:
        return 0.0, 0.0, 0.0
    further, _ = pool.flow_to(token_in, token_out, marginal * (1 - _STEP))
    return float(amount_in), float(amount_out), (further - amount_in) / _STEP
