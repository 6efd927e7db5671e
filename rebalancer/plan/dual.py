"""Solver of the whole rebalance as one convex problem: an interior-point method on the primal and its dual. Floats
throughout.

Assets i in surplus may be sold up to Sᵢ, assets j in deficit bought up to Dⱼ, every pool m may trade what its reserves
allow, and no other token may be left over:

    maximise    Σ dⱼ yⱼ - Σ cᵢ xᵢ                               value of purchases less cost of sales
    subject to  Σ_m (Λ_m - Δ_m) = y - x,  0 ≤ x ≤ S,  0 ≤ y ≤ D,  (Δ_m, Λ_m) a trade that pool m makes

(Angeris, Chitra, Evans, Boyd, "Optimal Routing for Constant Function Market Makers", 2022.) One price p per token is
the multiplier of its balance. For any prices, no rebalance is worth more than

    g(p) = Σ_m arb_m(p) + Σ Sᵢ max(0, pᵢ - cᵢ) + Σ Dⱼ max(0, dⱼ - pⱼ),

where arb_m is an arbitrageur's profit on pool m. This bound is the certificate. A limit on all trades together, a x - b
y ≤ m, is modelled as one more token: m of it is given, sales use it, purchases return it, and the remainder is
discarded. Its price is the limit's multiplier λ: cᵢ + λ aᵢ replaces cᵢ, dⱼ + λ bⱼ replaces dⱼ, and λ m is added to g.

A barrier keeps every amount v (the input of a row, x, y, the remainder of a limit) inside its bounds; its strength μ
decreases to zero (Mehrotra's predictor-corrector; Nocedal and Wright, "Numerical Optimization", chapters 14 and 19).
Each step solves one system with a row per token and limit, whatever the number of pools. The number of steps, 8 to 25,
hardly depends on how far pools disagree or on which limits bind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs

from rebalancer.plan.market import Flows, Market

__all__ = ["Limit", "Offer", "Solution", "solve"]

Floats = NDArray[np.float64]

_FIRST_BARRIER = 1e-3
"""Initial strength of the barrier, where the total tradable value is 1."""

_NEAR = 1e-11
"""Final cost of all barriers, as a fraction of the value sold."""

_FOCUSED = (1e-3, 1e-6)
"""Barrier costs at which points of curves are placed more closely, in the same unit."""

_ROOM = 1e-6
"""Minimum distance of a row's input from its maximum when points are placed more closely, as a fraction."""

_BALANCED = 1e-11
"""Final error of balances, as a fraction of the value sold."""

_NEARER = 0.9
"""An error that decreases by less than this factor per step may be rounding; kinks of pools may need many steps."""

_PROVED = 1e-8
"""Accepted distance from the bound if the error is rounding, as a fraction of the value sold."""

_LEAST_TRADED = 1e-4
"""Smallest traded value that is distinguished from zero, as a fraction of the total tradable value."""

_NOTHING = 1e-9
"""Distance from a bound that counts as being at the bound, as a fraction of the traded value."""

_MOST_STEPS = 60
"""Step limit; the last point is then the solution, with its bound."""

_MOST_SHORTENED = 4
"""Maximum number of halvings of a step that increases the error: pools have kinks."""

_WORSE = 1.5
"""Factor by which a step may increase the error."""

_TO_BOUND = 0.9995
"""Maximum part of the distance to the nearest bound that a step covers."""

_ENDLESS = 1e30
"""Value for a missing upper bound."""

_LEAST_BEND = 1e-14
"""Minimum curvature of every amount."""

_RIDGE = 1e-14
"""Fraction of the largest curvature that is added to all, so that an untraded token keeps its price."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on all trades together: sold @ `sold` - bought @ `bought` is at most `most`."""

    name: str
    sold: Floats
    bought: Floats
    most: float


@dataclass(frozen=True, slots=True)
class Offer:
    """Amounts that may be sold and bought, with one entry per token of a market.

    `sell_max` and `buy_max` are in raw units, `cost` is the value given up per raw unit sold, `gain` the value of a raw
    unit bought. `prices` (above 0) are only a scale and the starting point. Limits are in value.
    """

    sell_max: Floats
    buy_max: Floats
    cost: Floats
    gain: Floats
    prices: Floats
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Solution:
    """Final point of the method. `bound` always holds: no trade within the offer is worth more.

    `value` is the worth of the trades found, less the worth of the remaining balance errors. Amounts are in raw units
    with one entry per token; `flows` has one entry per row, `multipliers` one per limit.
    """

    log_prices: Floats
    multipliers: Floats
    flows: Flows
    sold: Floats
    bought: Floats
    bound: float
    value: float
    steps: int
    market: Market
    laid: int
    is_at_bound: NDArray[np.bool_]
    """Whether a token is sold or bought completely, or not at all."""


def solve(market: Market, offer: Offer, focuses: int = 0) -> Solution:
    """The best rebalance within the market and the offer.

    Points of curves are placed more closely around the trades up to `focuses` times.
    """
    offer = _within_reach(market, offer)
    solution = _Path(market, offer).solution(focuses)
    while solution.market.is_beyond(np.exp(solution.log_prices)):
        solution = _Path(solution.market.widened(), offer).solution()
    return solution


def _within_reach(market: Market, offer: Offer) -> Offer:
    """The offer without tokens that no open row trades: they have no interior point between all and nothing."""
    rows = np.flatnonzero(market.most > 0)
    is_alone = np.ones(len(offer.prices), dtype=np.bool_)
    is_alone[market.token_in[rows]] = is_alone[market.token_out[rows]] = False
    if not (is_alone & ((offer.sell_max > 0) | (offer.buy_max > 0))).any():
        return offer
    sell_max, buy_max = (np.where(is_alone, 0.0, most) for most in (offer.sell_max, offer.buy_max))
    return replace(offer, sell_max=sell_max, buy_max=buy_max) if sell_max.any() and buy_max.any() else offer


class _Path:
    """The path along the barriers. Amounts are values, where the total tradable value is 1; prices are relative to
    those of the offer.

    The n amounts are the inputs of the open rows, sales, purchases, and the remainders of limits. `_uses` is the change
    of each token and limit per unit of each amount, except the outputs of rows.
    """

    def __init__(self, market: Market, offer: Offer) -> None:
        self._market, self._offer = market, offer
        self._sells = np.flatnonzero(offer.sell_max > 0)
        self._buys = np.flatnonzero(offer.buy_max > 0)
        sells, buys, scale = self._sells, self._buys, offer.prices
        worth_sold, worth_bought = (offer.sell_max * scale)[sells], (offer.buy_max * scale)[buys]
        turnovers = [limit.most for limit in offer.limits if not limit.bought.any()]
        self.unit = min(float(worth_sold.sum()), float(worth_bought.sum()), *turnovers, np.inf)
        most = market.most
        self.rows = np.flatnonzero(most > 0)
        self.count, self.size = len(self.rows), len(scale) + len(offer.limits)
        into, self._out = market.token_in[self.rows], market.token_out[self.rows]
        self._indices = np.arange(self.count)
        units = self.unit / scale
        self._raw, self._raw_out = units[into], units[self._out]
        self.traders = market.scaled(self.rows, self._raw, self._raw_out)
        bought_from, left_from = self.count + len(sells), self.count + len(sells) + len(buys)
        self._uses = np.zeros((self.size, left_from + len(offer.limits)))
        self._uses[into, self._indices] = -1
        self._uses[sells, range(self.count, bought_from)] = 1
        self._uses[buys, range(bought_from, left_from)] = -1
        self._given = np.zeros(self.size)
        for at, limit in enumerate(offer.limits):
            row = len(scale) + at
            self._uses[row, self.count : bought_from] = -(limit.sold / scale)[sells]
            self._uses[row, bought_from:left_from] = (limit.bought / scale)[buys]
            self._uses[row, left_from + at] = -1
            self._given[row] = limit.most / self.unit
        nothing, remainders = np.zeros(self.count), np.zeros(len(offer.limits))
        self._cost = np.concatenate([nothing, (offer.cost / scale)[sells], -(offer.gain / scale)[buys], remainders])
        worth = np.concatenate([worth_sold, worth_bought]) / self.unit
        bounds = np.concatenate([most[self.rows] / self._raw, worth, remainders + np.inf])
        self.most = np.minimum(bounds, _ENDLESS)

    def solution(self, focuses: int = 0) -> Solution:
        """Follow the path until barriers cost nothing and balances are met. Points of curves are placed more closely
        near the end."""
        point, missed = self.start(), np.inf
        steps = laid = 0
        focused = [*_FOCUSED[:focuses]]
        while steps < _MOST_STEPS:
            traded = max(self.traded(point), _LEAST_TRADED)
            enough = _NEAR * traded / (2 * len(point.amounts))
            if focused and point.barrier * _NEAR <= focused[0] * enough:
                del focused[0]
                closer = self.closer(point)
                laid, point = (laid + 1, closer) if closer else (laid, point)
            if point.barrier <= enough:
                before, missed = missed, float(np.abs(point.net).max())
                if missed <= _BALANCED * traded:
                    break
                if missed > _NEARER * before:
                    found = self.judged(point, steps, laid)
                    if found.bound - found.value <= _PROVED * traded * self.unit:
                        return found
            moved = self.step(point, enough)
            if moved is None:
                break
            point = moved
            steps += 1
        return self.judged(point, steps, laid)

    def closer(self, point: _Point) -> _Point | None:
        """The same point with points of curves placed around its trades; None if no curve trades."""
        market = self._market.focused(self.prices(point))
        if market is self._market:
            return None
        self._market = market
        self.traders = market.scaled(self.rows, self._raw, self._raw_out)
        self.most[: self.count] = np.minimum(market.most[self.rows] / self._raw, _ENDLESS)
        amounts = np.minimum(point.amounts, (1 - _ROOM) * self.most)
        return self.at(amounts, point.prices, point.bounds)

    def prices(self, point: _Point) -> Floats:
        """Value of a raw unit of each token."""
        return point.prices[: len(self._offer.prices)] * self._offer.prices

    def traded(self, point: _Point) -> float:
        """Value sold or bought, whichever is larger."""
        assets = point.amounts[self.count :]
        sells, buys = len(self._sells), len(self._buys)
        return float(max(assets[:sells].sum(), assets[sells:][:buys].sum()))

    def start(self) -> _Point:
        """A point inside all bounds: a little on every row, and half of all sales and purchases."""
        amounts = np.minimum(0.5 * self.most, 0.5)
        depth = self._market.depth(self.rows) / self._raw
        rows = np.minimum(np.minimum(0.1, 0.3 * depth), 0.5 * self.most[: self.count])
        amounts[: self.count] = rows
        prices = np.ones(self.size)
        prices[len(self._offer.prices) :] = 0.1
        low = _FIRST_BARRIER / amounts
        left = len(self._offer.limits)
        if left:
            spare = self._given + self._uses[:, self.count :] @ amounts[self.count :]
            spare = spare[-left:] + amounts[-left:]
            amounts[-left:] = np.maximum(spare, 0.1)
            low[-left:] = _FIRST_BARRIER / amounts[-left:]
        return self.at(amounts, prices, _stacked(low, _FIRST_BARRIER / (self.most - amounts)))

    def at(self, amounts: Floats, prices: Floats, bounds: Floats) -> _Point:
        """The point with these amounts, prices, and prices of bounds."""
        slack = _stacked(amounts, self.most - amounts)
        out, marginal, bend = self.traders.trade(amounts[: self.count])
        brings = self._uses.copy()
        brings[self._out, self._indices] = marginal
        net = self._given + self._uses @ amounts
        net += np.bincount(self._out, out, self.size)
        slope = self._cost - prices @ brings
        off = (slope - bounds[0] + bounds[1]) * np.minimum(np.minimum(*slack), 1.0)
        return _Point(
            *(slack, prices, bounds, net, slope, brings),
            bends=prices.take(self._out) * bend,
            barrier=float(np.vdot(bounds, slack)) / slack.size,
            missed=max(float(np.abs(net).max()), float(np.abs(off).max())),
        )

    def step(self, point: _Point, enough: float) -> _Point | None:
        """One step: the result of a step without a barrier determines the next barrier."""
        system = _System(point)
        if system.failed:
            return None
        ahead = system.direction(0.0)
        far, far_bounds = ahead.reach(point)
        after = np.vdot(point.bounds + far_bounds * ahead.bounds, point.slack + far * ahead.slack)
        part = max(float(after), 0.0) / (point.slack.size * point.barrier)
        barrier = max(part**3 * point.barrier, enough / 10)
        is_bent = min(far, far_bounds) > 0.1
        move = system.direction(barrier - ahead.bounds * ahead.slack if is_bent else barrier)
        far, far_bounds = (min(1.0, _TO_BOUND * one) for one in move.reach(point))
        for _ in range(_MOST_SHORTENED + 1):
            moved = self.at(
                point.amounts + far * move.slack[0],
                point.prices + far * move.prices,
                point.bounds + far_bounds * move.bounds,
            )
            if moved.missed <= max(_WORSE * point.missed, point.barrier):
                break
            far, far_bounds = far / 2, far_bounds / 2
        return moved

    def judged(self, point: _Point, steps: int, laid: int) -> Solution:
        """The exact bound at the last prices, and the worth of the trades there."""
        market, offer, count = self._market, self._offer, self.count
        sells, buys, size = self._sells, self._buys, len(self._offer.prices)
        prices = self.prices(point)
        multipliers = np.maximum(point.prices[size:], 0)
        amounts_in = np.zeros(len(market))
        amounts_in[self.rows] = point.amounts[:count] * self._raw
        # A pool without a fee may trade in both directions at once; only the difference counts.
        both = market.trade(amounts_in)[0][market.back]
        amounts_in = np.maximum(amounts_in - both, 0.0)
        flows = Flows(amounts_in, market.trade(amounts_in)[0])
        sold, bought = np.zeros(size), np.zeros(size)
        traded = point.amounts[count:] * self.unit
        sold[sells] = traded[: len(sells)] / offer.prices[sells]
        bought[buys] = traded[len(sells) :][: len(buys)] / offer.prices[buys]
        cost, gain = offer.cost, offer.gain
        bound = float(market.profits(prices).sum())
        value = float(gain @ bought - cost @ sold)
        value -= float(prices @ np.abs(market.net(flows) + sold - bought))
        for multiplier, limit in zip(multipliers.tolist(), offer.limits, strict=True):
            cost, gain = cost + multiplier * limit.sold, gain + multiplier * limit.bought
            bound += multiplier * limit.most
            over = float(limit.sold @ sold - limit.bought @ bought) - limit.most
            value -= multiplier * max(0.0, over)
        bound += float(offer.sell_max @ np.maximum(prices - cost, 0))
        bound += float(offer.buy_max @ np.maximum(gain - prices, 0))
        least = _NOTHING * max(self.traded(point), _LEAST_TRADED) * self.unit / offer.prices
        sold, bought = (_at_bounds(sold, offer.sell_max, least), _at_bounds(bought, offer.buy_max, least))
        return Solution(
            *(np.log(prices), multipliers, flows, sold, bought, bound, value, steps),
            market=market,
            laid=laid,
            is_at_bound=(sold == offer.sell_max) & (bought == offer.buy_max),
        )


def _at_bounds(amounts: Floats, most: Floats, least: Floats) -> Floats:
    """Amounts, where a distance of at most `least` from a bound is set to the bound."""
    return np.where(amounts <= least, 0.0, np.where(most - amounts <= least, most, amounts))


def _stacked(low: Floats, high: Floats) -> Floats:
    """Array of two rows; ten times faster than `np.stack`."""
    found = np.empty((2, len(low)))
    found[0], found[1] = low, high
    return found


@dataclass(frozen=True, slots=True)
class _Point:
    """A point of the path: amounts with the room above them, prices, prices of bounds, and derived values.

    `slack` has a row for amounts and a row for the room above them; `bounds` has a row for the prices of lower and a
    row for the prices of upper bounds. `net` is the balance of each token and limit, `slope` the cost of a unit of each
    amount, `brings` its effect on each token and limit, `bends` the curvature of rows, `barrier` the mean of slacks
    times their prices.
    """

    slack: Floats
    prices: Floats
    bounds: Floats
    net: Floats
    slope: Floats
    brings: Floats
    bends: Floats
    barrier: float
    missed: float

    @property
    def amounts(self) -> Floats:
        """Inputs of rows, sales, purchases, and remainders of limits."""
        return np.asarray(self.slack[0])


@dataclass(frozen=True, slots=True)
class _Move:
    """A direction: the changes of all variables."""

    slack: Floats
    prices: Floats
    bounds: Floats

    def reach(self, point: _Point) -> tuple[float, float]:
        """Parts of the move at which an amount or price, and the price of a bound, reaches 0; at most 1."""
        least = min(-1.0, float((self.slack / point.slack).min()), float((self.prices / np.abs(point.prices)).min()))
        return -1 / least, -1 / min(-1.0, float((self.bounds / point.bounds).min()))


class _System:
    """The linear system of a step: amounts follow from prices, and prices from balances."""

    def __init__(self, point: _Point) -> None:
        self._point = point
        self._pull = point.bounds / point.slack
        bends = self._pull[0] + self._pull[1]
        bends[: len(point.bends)] += point.bends
        self._give = 1 / np.maximum(bends, _LEAST_BEND)
        matrix = (point.brings * self._give) @ point.brings.T
        matrix.flat[:: len(matrix) + 1] += _RIDGE * matrix.diagonal().max()
        self._factor, self.failed = dpotrf(matrix, lower=1)

    def direction(self, barriers: Floats | float) -> _Move:
        """The direction to the point where slacks times the prices of their bounds equal `barriers`."""
        point, wanted = self._point, barriers / self._point.slack
        free = self._give * (point.slope - wanted[0] + wanted[1])
        prices, _ = dpotrs(self._factor, point.brings @ free - point.net, lower=1)
        amounts = self._give * (prices @ point.brings) - free
        slack = _stacked(amounts, -amounts)
        return _Move(slack, prices, wanted - self._pull * slack - point.bounds)
