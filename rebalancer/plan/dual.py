"""The whole rebalance as one convex problem, solved through its dual. Floats throughout.

Assets i in surplus may be sold up to Sᵢ, assets j in deficit bought up to Dⱼ, every pool m may trade
what its reserves allow, and nothing may be left of any other token:

    maximise    Σ dⱼ yⱼ - Σ cᵢ xᵢ                               what is bought, less what is given for it
    subject to  Σ_m (Λ_m - Δ_m) = y - x,  0 ≤ x ≤ S,  0 ≤ y ≤ D,  (Δ_m, Λ_m) a trade that pool m makes

(Angeris, Chitra, Evans, Boyd, "Optimal Routing for Constant Function Market Makers", 2022; solved as
in Diamandis, Resnick, Chitra, Angeris, "An Efficient Algorithm for Optimal Routing Through Constant
Function Market Makers", 2023.) One price p for each token takes the place of the balances, and what
is left falls into a problem a pool (an arbitrageur's at prices p) and one an asset:

    minimise    g(p) = Σ_m arb_m(p) + Σ Sᵢ max(0, pᵢ - cᵢ) + Σ Dⱼ max(0, dⱼ - pⱼ)

A limit of all trades together, a x - b y ≤ m, gets a price too, its multiplier λ ≥ 0: then cᵢ + λ aᵢ stands for cᵢ,
dⱼ + λ bⱼ for dⱼ, and λ m is added. Whatever p and λ are, no rebalance is worth more than g(p, λ): that is the certificate. g is convex; its gradient
is what the token balances miss. Pools make it smooth in pieces; the two kinks that assets make are
smoothed by a proximal term around the last x and y, which vanishes as they settle (Rockafellar's
method of multipliers), and Newton's method with a search along the line does the rest, on a matrix of
one row a token and a limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from rebalancer.plan.market import Flows, Market

__all__ = ["Limit", "Offer", "Solution", "solve"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_WIDTH = 1e-3
"""Width of a smoothed kink at first, relative to its price."""

_WIDTH_NEAR = 1e-4
"""The same where a problem much like this one has been solved."""

_NARROWEST = 1e-6
"""Kinks are made ten times narrower each time the proximal term is centred anew, down to this: what is
sold is only known to the rounding of a price times what a kink holds over its width."""

_MOST_STEPS = 40
"""Newton steps at one width; ordinary problems take 2 to 6."""

_MOST_IN_ALL = 160
"""Newton steps after which no kink is narrowed any more."""

_MOST_CENTRES = 8
"""Times that the proximal term is centred anew; ordinary problems take 2."""

_STALLED = 4
"""Steps without the balances getting half as far off, after which they are as good as can be."""

_STALLS_AT = 1e-9
"""Part of all that could be traded below which balances that get no better are taken for as good as floats make them."""

_STALLS_AT_JUMPS = 1e-6
"""The same where flows may jump (`Market.may_jump`): there balances need not meet at all."""

_ROUNDING = 1e-12
"""Part of all that could be traded below which balances mean nothing."""

_NOISE = 2e-15
"""Part by which a float's rounding, a few times over, moves a price: balances are known to that times what pools trade for it."""

_NOISES = 10.0
"""So many times that of a kink are taken for noise too where balances get no better."""

_BALANCED = 1e-10
"""Balances are met to this part of what is traded in the end."""

_REACH = 0.03
"""A step moves a price that nothing holds by about this part of it."""

_LONGEST = 0.5
"""No price changes by a larger part in one step."""

_FLAT = 0.8
"""A point along a line will do where the slope along it is at most this part of that at its beginning."""

_MOST_TRIES = 12
"""Tries along one line."""

_RIDGE = 1e-13
"""Curvature that is added everywhere, so that a token that nobody trades keeps its price."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What all trades together may use of something: sold @ `sold` - bought @ `bought` is at most `most`."""

    name: str
    sold: Floats
    bought: Floats
    most: float


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be sold and bought, an entry for each token of a market.

    `sell_max` and `buy_max` are raw units, `cost` is the value that selling one gives up, `gain`
    what buying one is worth, `prices` (above 0) only a scale and where to begin. Limits are counted in value.
    """

    sell_max: Floats
    buy_max: Floats
    cost: Floats
    gain: Floats
    prices: Floats
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Solution:
    """Where the method stopped. `bound` holds whatever else: no trade within the offer is worth more.

    `value` is what the trades found are worth, with what their balances still miss counted against
    them. Raw units, an entry for each token; `flows` an entry for each row, `multipliers` for each limit.
    """

    log_prices: Floats
    multipliers: Floats
    flows: Flows
    sold: Floats
    bought: Floats
    bound: float
    value: float
    steps: int


def solve(market: Market, offer: Offer, near: Solution | None = None) -> Solution:
    """The best rebalance that the market and the offer allow; `near` is that of a problem like it."""
    solution = _Descent(market, offer, near).solution()
    while market.is_beyond(np.exp(solution.log_prices)):
        market = market.widened()
        solution = _Descent(market, offer, solution).solution()
    return solution


class _Descent:
    """Newton's method on the smoothed dual. Kinks are numbered: first what may be sold, then what may be bought."""

    def __init__(self, market: Market, offer: Offer, near: Solution | None) -> None:
        self.market, self.size = market, len(offer.prices)
        sells = np.flatnonzero(offer.sell_max > 0)
        buys = np.flatnonzero(offer.buy_max > 0)
        self.sells = len(sells)
        self.token: Indices = np.concatenate([sells, buys])
        self.most = np.concatenate([offer.sell_max[sells], offer.buy_max[buys]])
        self.limit = np.concatenate([offer.cost[sells], offer.gain[buys]])
        self.scale = offer.prices[self.token]
        self.sign = np.ones(len(self.token))
        self.sign[self.sells :] = -1
        if near is None:
            # What is sold falls by about a fee before anything trades.
            self.start = offer.prices.copy()
            self.start[sells] *= 1 - market.usual_fee
            self.start[buys] = self.limit[self.sells :]
        else:
            self.start = np.exp(near.log_prices)
        limits = offer.limits
        self.uses = np.zeros((len(limits), len(self.token)))
        for row, limit in zip(self.uses, limits, strict=True):
            row[: self.sells], row[self.sells :] = limit.sold[sells], -limit.bought[buys]
        self.raises = np.array([float(limit.bought.any()) for limit in limits])
        self.limit_most = np.array([limit.most for limit in limits])
        self.first_multipliers = np.zeros(len(limits))
        if near is not None and len(near.multipliers) == len(limits):
            self.first_multipliers = near.multipliers
        self.worth = self.most * self.scale
        self.all_worth = min(self.worth[: self.sells].sum(), self.worth[self.sells :].sum())
        self.centre = np.zeros(len(self.token))
        if near is not None:
            amounts = np.concatenate([near.sold[sells], near.bought[buys]])
            self.centre = np.minimum(amounts / self.most, 1.0)
        self.set_width(_WIDTH if near is None else _WIDTH_NEAR, self.first_multipliers)
        self.steps = 0
        self.noise = self.kink_noise = 0.0
        self.is_settled = True

    def set_width(self, width: float, multipliers: Floats) -> None:
        """How wide the smoothed kinks are, relative to their prices, which multipliers raise."""
        self.width = width
        wide = width * self.scale * self.unit(multipliers)
        self.slant = self.sign / wide
        self.kink_curvature = self.most / wide

    def unit(self, multipliers: Floats) -> float:
        """What a unit of value bought counts for."""
        return float(1 + multipliers @ self.raises)

    def solution(self) -> Solution:
        """Go down until the balances are met and the kinks are exact."""
        point = self.at(self.start, self.first_multipliers)
        point = self.settle(point, _BALANCED)
        for _ in range(_MOST_CENTRES):
            # What kinks that far from their places can be worth.
            off = np.abs(point.part - self.centre) @ self.worth * self.width
            is_exact = off * self.unit(point.multipliers) <= self.enough(point, _BALANCED)
            if is_exact or self.steps >= _MOST_IN_ALL:
                break
            # Where balances were not met, what is narrower is harder still.
            width = max(self.width / 10, _NARROWEST) if self.is_settled else self.width
            self.set_width(width, point.multipliers)
            point = self.settle(self.centred(point), _BALANCED)
        return self.judged(point)

    def centred(self, point: _Point) -> _Point:
        """The same prices, with the proximal term around what they sell and buy."""
        self.centre = point.part
        return self.at(point.prices, point.multipliers)

    def enough(self, point: _Point, near: float) -> float:
        """The value that may be off where that part of what is sold may be."""
        sold = point.part[: self.sells] @ self.worth[: self.sells]
        least = max(near * float(sold), _ROUNDING * float(self.all_worth))
        return least * self.unit(point.multipliers)

    def settle(self, point: _Point, near: float) -> _Point:
        """Newton's steps from a point until the balances are met so nearly."""
        best, stalled, self.is_settled = np.inf, 0, True
        stalls_at = _STALLS_AT_JUMPS if self.market.may_jump else _STALLS_AT
        for _ in range(_MOST_STEPS):
            slope = np.concatenate((point.prices * point.missing, point.spare))
            # A limit that is not reached and has no price pulls at nothing.
            slope[self.size :][(point.multipliers <= 0) & (point.spare >= 0)] = 0
            off = np.abs(slope).max()
            if off <= max(self.enough(point, near), self.noise):
                break
            if off < best / 2:
                best, stalled = off, 0
            elif off < max(stalls_at * self.all_worth, _NOISES * self.kink_noise):
                stalled += 1
                if stalled == _STALLED:
                    break
            self.steps += 1
            moved = self.step(point, slope)
            if moved is None:
                break
            point = moved
        else:
            self.is_settled = False
        return point

    def step(self, point: _Point, slope: Floats) -> _Point | None:
        """One Newton step with a search along its line; None where floats see no way down."""
        size, prices, multipliers = self.size, point.prices, point.multipliers
        all_size = len(slope)
        curvature = np.zeros((all_size, all_size))
        curvature[:size, :size] = self.market.laplacian(point.flows.slope)
        knows = _NOISE * curvature.diagonal().max()
        diagonal = np.abs(slope) / _REACH + _RIDGE * self.all_worth
        diagonal[size:] *= _REACH / (_LONGEST * (1 + multipliers))
        inside = (point.part > 0) & (point.part < 1)
        stiff = inside * self.kink_curvature
        stiffest = stiff * prices[self.token] ** 2
        self.noise, self.kink_noise = float(knows), float(_NOISE * stiffest.max())
        diagonal[self.token] += stiffest
        curvature.flat[:: all_size + 1] += diagonal
        if all_size > size:
            # What slows steps down counts prices in what a unit bought is worth, which multipliers raise: all rise with it.
            slowed = np.abs(slope[:size]) / _REACH
            rises = self.raises / self.unit(multipliers)
            curvature[:size, size:] -= np.outer(slowed, rises)
            curvature[size:, :size] -= np.outer(rises, slowed)
            curvature[size:, size:] += slowed.sum() * np.outer(rises, rises)
            cross = -self.uses * (self.sign * stiff * prices[self.token])
            for row, uses in enumerate(cross, size):
                np.add.at(curvature[row], self.token, uses)
                np.add.at(curvature[:, row], self.token, uses)
            curvature[size:, size:] += (self.uses * stiff) @ self.uses.T
            held = np.flatnonzero((multipliers <= 0) & (point.spare >= 0)) + size
            curvature[held] = curvature[:, held] = 0
            curvature[held, held] = 1
        # Symmetric and positive: half the work, and no threads are woken for twenty tokens.
        _, direction, failed = dposv(curvature, -slope)
        if failed:
            direction = -slope / curvature.diagonal()
        far = np.abs(direction)
        far[size:] /= 1 + multipliers
        direction *= min(1.0, _LONGEST / max(far.max(), _LONGEST))
        if all_size > size:
            direction[size:] = np.maximum(direction[size:], -multipliers)
        fall = float(slope @ direction)
        if not fall < 0:
            direction = -slope / curvature.diagonal()
            direction[size:] = np.maximum(direction[size:], -multipliers)
            direction *= min(1.0, _LONGEST / max(np.abs(direction[:size]).max(), _LONGEST))
            fall = float(slope @ direction)
            if not fall < 0:
                return None
        along, along_limits = prices * direction[:size], direction[size:]
        low, high, low_fall, t = 0.0, 1.0, fall, 1.0
        best = None
        for _ in range(_MOST_TRIES):
            tried = self.at(prices + t * along, multipliers + t * along_limits)
            at = float(along @ tried.missing + along_limits @ tried.spare)
            if at <= _FLAT * -fall and (t == 1.0 or at >= _FLAT * fall):
                return tried
            if at < 0:
                best, low, low_fall = tried, t, at
                t = (low + high) / 2
            else:
                high = t
                # Where a straight line between the two slopes crosses zero, kept off the ends.
                part = low_fall / (low_fall - at)
                t = low + (high - low) * min(max(part, 0.05), 0.95)
        return best

    def at(self, prices: Floats, multipliers: Floats) -> _Point:
        """All that follows from prices and multipliers."""
        flows = self.market.flows(prices)
        limit = self.limit
        if len(multipliers):
            limit = limit + self.sign * (multipliers @ self.uses)
        part = self.centre + self.slant * (prices[self.token] - limit)
        part = np.minimum(np.maximum(part, 0.0), 1.0)
        missing = self.market.net(flows)
        amounts = self.most * part
        missing[self.token] += self.sign * amounts
        return _Point(
            prices, multipliers, flows, missing, self.limit_most - self.uses @ amounts, part
        )

    def judged(self, point: _Point) -> Solution:
        """The bound at the last prices, exactly, and what the trades there are worth."""
        prices, flows, market = point.prices, point.flows, self.market
        bound = (prices[market.token_out] * flows.amounts_out).sum()
        bound -= (prices[market.token_in] * flows.amounts_in).sum()
        limit = self.limit + self.sign * (point.multipliers @ self.uses)
        bound += self.most @ np.maximum(self.sign * (prices[self.token] - limit), 0)
        bound += point.multipliers @ self.limit_most
        # What is traded in part is what the pools take or give: a kink knows it less exactly.
        missing = market.net(flows)
        inside = (point.part > 0) & (point.part < 1)
        from_pools = np.clip(-self.sign * missing[self.token], 0, self.most)
        amounts = np.where(inside, from_pools, self.most * point.part)
        missing[self.token] += self.sign * amounts
        value = -self.sign @ (self.limit * amounts) - prices @ np.abs(missing)
        value -= point.multipliers @ np.maximum(self.uses @ amounts - self.limit_most, 0)
        sold, bought = np.zeros(len(prices)), np.zeros(len(prices))
        sold[self.token[: self.sells]] = amounts[: self.sells]
        bought[self.token[self.sells :]] = amounts[self.sells :]
        return Solution(
            *(np.log(prices), point.multipliers, flows, sold, bought),
            *(float(bound), float(value), self.steps),
        )


@dataclass(frozen=True, slots=True)
class _Point:
    """Prices and multipliers, and all that follows from them.

    `missing` and `spare` are the dual's gradient in them, `part` how much of each `most` is sold or bought.
    """

    prices: Floats
    multipliers: Floats
    flows: Flows
    missing: Floats
    spare: Floats
    part: Floats
