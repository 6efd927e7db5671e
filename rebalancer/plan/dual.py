"""The whole rebalance as one convex problem, solved through its dual. Floats throughout.

Assets i in surplus may be sold up to Sᵢ, assets j in deficit bought up to Dⱼ, every pool m may trade
what its reserves allow, and nothing may be left of any other token:

    maximise    Σ dⱼ yⱼ - Σ cᵢ xᵢ                               what is bought, less what is given for it
    subject to  Σ_m (Λ_m - Δ_m) = y - x,  0 ≤ x ≤ S,  0 ≤ y ≤ D,  (Δ_m, Λ_m) a trade that pool m makes

(Angeris, Chitra, Evans, Boyd, "Optimal Routing for Constant Function Market Makers", 2022; solved as
in Diamandis, Resnick, Chitra, Angeris, "An Efficient Algorithm for Optimal Routing Through Constant
Function Market Makers", 2023.) One price ν for each token takes the place of the balances, and what
is left falls into a problem a pool (an arbitrageur's at prices ν) and one an asset:

    minimise    g(ν) = Σ_m arb_m(ν) + Σ Sᵢ max(0, νᵢ - cᵢ) + Σ Dⱼ max(0, dⱼ - νⱼ)

Whatever ν is, no rebalance is worth more than g(ν): that is the certificate. g is convex; its gradient
is what the token balances miss. Pools make it smooth in pieces; the two kinks that assets make are
smoothed by a proximal term around the last x and y, which vanishes as they settle (Rockafellar's
method of multipliers), and Newton's method with a search along the line does the rest, on a matrix of
one row a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rebalancer.plan.market import Flows, Market

__all__ = ["Offer", "Solution", "solve"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_WIDTHS = (1e-2, 1e-4, 1e-6)
"""Width of a smoothed kink, relative to its price: from what finds the way to what is exact."""

_MOST_STEPS = 40
"""Newton steps at one width; ordinary problems take 2 to 6."""

_MOST_CENTRES = 8
"""Times that the proximal term is centred anew at the last width; ordinary problems take 2."""

_BALANCED = 1e-12
"""Balances are met to this part of what is traded, or of what could be where nothing is."""

_REACH = 0.03
"""A step moves a price that nothing holds by about this part of it."""

_MOST_TRIES = 12
"""Tries along one line."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be sold and bought, an entry for each token of a market.

    `sell_max` and `buy_max` are raw units, `cost` is the value that selling one gives up, `gain`
    what buying one is worth, `prices` (above 0) only a scale and where to begin.
    """

    sell_max: Floats
    buy_max: Floats
    cost: Floats
    gain: Floats
    prices: Floats


@dataclass(frozen=True, slots=True)
class Solution:
    """Where the method stopped. `bound` holds whatever else: no trade within the offer is worth more.

    `value` is what the trades found are worth, with what their balances still miss counted against
    them. Raw units, an entry for each token; `flows` an entry for each row.
    """

    log_prices: Floats
    flows: Flows
    sold: Floats
    bought: Floats
    bound: float
    value: float
    steps: int


def solve(market: Market, offer: Offer, start: Floats | None = None) -> Solution:
    """The best rebalance that the market and the offer allow; `start` are log prices to begin at."""
    run = _Descent(market, offer, start)
    while True:
        solution = run.solution()
        if not solution.flows.beyond:
            return solution
        market = market.widened()
        run = _Descent(market, offer, solution.log_prices)


class _Descent:
    """Newton's method on the smoothed dual."""

    def __init__(self, market: Market, offer: Offer, start: Floats | None) -> None:
        self.market = market
        self.offer = offer
        self.sells: Indices = np.flatnonzero(offer.sell_max > 0)
        self.buys: Indices = np.flatnonzero(offer.buy_max > 0)
        self.sell_max = offer.sell_max[self.sells]
        self.buy_max = offer.buy_max[self.buys]
        self.cost = offer.cost[self.sells]
        self.gain = offer.gain[self.buys]
        self.log_prices = np.log(offer.prices) if start is None else start.copy()
        self.sell_scale = offer.prices[self.sells]
        self.buy_scale = offer.prices[self.buys]
        self.scale = min(self.sell_max @ self.sell_scale, self.buy_max @ self.buy_scale)
        self.sell_centre = np.zeros(len(self.sells))
        self.buy_centre = np.zeros(len(self.buys))
        self.width = 0.0
        self.steps = 0

    def solution(self) -> Solution:
        """Go down until the balances are met and the kinks are exact."""
        point = self._at(np.exp(self.log_prices))
        for width in _WIDTHS:
            self.width = width
            self.sell_centre, self.buy_centre = point.sold / self.sell_max, point.bought / self.buy_max
            point = self._settle(self._at(point.prices))
        for _ in range(_MOST_CENTRES):
            moved_sold = np.abs(point.sold / self.sell_max - self.sell_centre)
            moved_bought = np.abs(point.bought / self.buy_max - self.buy_centre)
            # What a kink that far from its place can be worth.
            off = moved_sold @ (self.sell_max * self.sell_scale)
            off += moved_bought @ (self.buy_max * self.buy_scale)
            if off * self.width <= _BALANCED * 10 * self._traded(point):
                break
            self.sell_centre, self.buy_centre = point.sold / self.sell_max, point.bought / self.buy_max
            point = self._settle(self._at(point.prices))
        return self._judged(point)

    def _traded(self, point: _Point) -> float:
        return float(max(point.sold @ self.sell_scale, self.scale * 1e-6))

    def _settle(self, point: _Point) -> _Point:
        for _ in range(_MOST_STEPS):
            slope = point.prices * point.missing
            if np.abs(slope).max(initial=0.0) <= _BALANCED * self._traded(point):
                break
            self.steps += 1
            moved = self._step(point, slope)
            if moved is None:
                break
            point = moved
        return point

    def _step(self, point: _Point, slope: Floats) -> _Point | None:
        """One Newton step with a search along its line; None where floats see no way down."""
        curvature = self.market.laplacian(point.flows.slope)
        diagonal = np.abs(slope) / _REACH
        diagonal[self.sells] += point.sell_curvature
        diagonal[self.buys] += point.buy_curvature
        diagonal += 1e-13 * self.scale
        curvature.flat[:: len(slope) + 1] += diagonal
        direction = np.linalg.solve(curvature, -slope)
        direction *= min(1.0, 0.5 / max(np.abs(direction).max(), 1e-300))
        fall = float(slope @ direction)
        if not fall < 0:
            return None
        along = point.prices * direction
        low, high, low_fall, t = 0.0, np.inf, fall, 1.0
        best = None
        for _ in range(_MOST_TRIES):
            tried = self._at(point.prices + t * along)
            at = float(along @ tried.missing)
            if at <= 0:
                best = tried
            if abs(at) <= -0.5 * fall or (at < 0 and np.isinf(high)):
                return tried
            if at < 0:
                low, low_fall = t, at
                t = (low + high) / 2
            else:
                high = t
                # Where a straight line between the two slopes crosses zero, kept off the ends.
                part = low_fall / (low_fall - at)
                t = low + (high - low) * min(max(part, 0.1), 0.9)
        return best

    def _at(self, prices: Floats) -> _Point:
        flows = self.market.flows(np.log(prices))
        missing = self.market.net(flows)
        over = prices[self.sells] - self.cost
        under = self.gain - prices[self.buys]
        if self.width:
            sell_width = self.width * self.sell_scale
            buy_width = self.width * self.buy_scale
            sell_part = self.sell_centre + over / sell_width
            buy_part = self.buy_centre + under / buy_width
            inside_sell = (sell_part > 0) & (sell_part < 1)
            inside_buy = (buy_part > 0) & (buy_part < 1)
            sold = self.sell_max * np.clip(sell_part, 0, 1)
            bought = self.buy_max * np.clip(buy_part, 0, 1)
            sell_curvature = inside_sell * prices[self.sells] ** 2 * self.sell_max / sell_width
            buy_curvature = inside_buy * prices[self.buys] ** 2 * self.buy_max / buy_width
        else:
            sold, bought = self.sell_max * (over > 0), self.buy_max * (under > 0)
            sell_curvature, buy_curvature = np.zeros(len(sold)), np.zeros(len(bought))
        missing[self.sells] += sold
        missing[self.buys] -= bought
        return _Point(prices, flows, missing, sold, bought, sell_curvature, buy_curvature)

    def _judged(self, point: _Point) -> Solution:
        prices, flows, market = point.prices, point.flows, self.market
        arbitrage = (
            prices[market.token_out] * flows.amounts_out - prices[market.token_in] * flows.amounts_in
        )
        bound = arbitrage.sum()
        bound += self.sell_max @ np.maximum(prices[self.sells] - self.cost, 0)
        bound += self.buy_max @ np.maximum(self.gain - prices[self.buys], 0)
        value = self.gain @ point.bought - self.cost @ point.sold
        value -= prices @ np.abs(point.missing)
        size = len(market.tokens)
        sold, bought = np.zeros(size), np.zeros(size)
        sold[self.sells], bought[self.buys] = point.sold, point.bought
        return Solution(
            np.log(prices), flows, sold, bought, float(bound), float(value), self.steps
        )


@dataclass(frozen=True, slots=True)
class _Point:
    """Prices, and all that follows from them; `missing` is the dual's gradient in the prices."""

    prices: Floats
    flows: Flows
    missing: Floats
    sold: Floats
    bought: Floats
    sell_curvature: Floats
    buy_curvature: Floats
