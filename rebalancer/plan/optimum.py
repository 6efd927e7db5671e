"""Optimum within the vault's limits: the dual problem in the vault's terms.

A unit of value sold that moves toward the target is worth `Problem.worth_e18` of it. So the objective is the value
bought at the lower prices less (1 - worth) times the value sold at the higher prices. Three limits apply to all trades
together: turnover, loss and slippage. Each is linear in sales and purchases, so each has a multiplier of the dual, in
addition to the prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rebalancer.plan.dual import Limit, Offer, Solution, solve
from rebalancer.plan.effort import Effort
from rebalancer.plan.market import Market
from rebalancer.plan.problem import Problem
from rebalancer.units import E18

__all__ = ["MOST_FOCUSES", "Optimum", "Terms", "optimum", "terms_of"]

Floats = NDArray[np.float64]

_SAFE = 1e-9
"""Fractions below this are rounding: a value this near to its limit is at the limit, and a smaller one is zero."""

MOST_FOCUSES = 2
"""Maximum number of times that points of curves are placed more closely around a solution."""

_STEPS_OF_A_FOCUS = 12
"""Steps that one placement of points takes the time of."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A `Problem` in floats: one entry per token of a market, in USD per raw unit.

    `assets` are the basket indices of the assets in the market, `positions` their indices in the market.
    """

    offer: Offer
    lo: Floats
    hi: Floats
    sold_max: float
    assets: tuple[int, ...]
    positions: tuple[int, ...]
    sales_raw: tuple[int, ...]
    needs_raw: tuple[int, ...]
    """Maximum sales and purchases in raw units, in basket order."""

    def within(self, sales_raw: Sequence[int], needs_raw: Sequence[int]) -> Terms:
        """The same terms with other maximum sales and purchases."""
        sell_max, buy_max = np.zeros((2, len(self.lo)))
        for i, position in zip(self.assets, self.positions, strict=True):
            sell_max[position], buy_max[position] = sales_raw[i], needs_raw[i]
        offer = replace(self.offer, sell_max=sell_max, buy_max=buy_max)
        return replace(self, offer=offer, sales_raw=tuple(sales_raw), needs_raw=tuple(needs_raw))


@dataclass(frozen=True, slots=True)
class Optimum:
    """A solution, the bound on the worth of any plan within all limits (USD), and the name of the binding limit.

    `market` and `terms` are the inputs; the points of curves are placed around the trades.
    """

    solution: Solution
    bound: float
    bound_by: str | None
    market: Market
    terms: Terms

    def bound_after_gas(self, hop_cost: float) -> float:
        """Upper bound of any plan's worth if every swap costs `hop_cost` (USD), at the same prices: each row earns its
        cost or is unused."""
        profits = self.market.profits(np.exp(self.solution.log_prices))
        return self.bound - float(np.minimum(np.maximum(profits, 0), hop_cost).sum())


def terms_of(problem: Problem, market: Market) -> Terms:
    """The problem as solver input. The need limits the sales and purchases of all assets by one factor."""
    size = len(market.tokens)
    units = [10.0**decimals * E18 for decimals in problem.decimals]
    pairs = [(i, market.index[t]) for i, t in enumerate(problem.tokens) if t in market.index]
    sales, needs = _within_need(problem)
    sell_max, buy_max, lo, hi = np.zeros((4, size))
    log_prices = np.full(size, np.nan)
    for i, position in pairs:
        sell_max[position], buy_max[position] = sales[i], needs[i]
        lo[position], hi[position] = problem.lo_e18[i] / units[i], problem.hi_e18[i] / units[i]
        if problem.prices_e18[i] > 1:
            log_prices[position] = np.log(problem.prices_e18[i] / units[i])
    if not pairs:
        log_prices[:] = 0.0
    prices = np.exp(market.near(log_prices))
    kappa = 1 - problem.worth_e18 / E18
    return Terms(
        Offer(sell_max, buy_max, kappa * hi, lo, prices, _limits(problem, sell_max, lo, hi)),
        lo,
        hi,
        np.inf if problem.sold_max_e18 is None else problem.sold_max_e18 / E18,
        tuple(i for i, _ in pairs),
        tuple(position for _, position in pairs),
        tuple(sales),
        tuple(needs),
    )


def _limits(problem: Problem, sell_max: Floats, lo: Floats, hi: Floats) -> tuple[Limit, ...]:
    """Limits that can bind. Since no unit loses more than its worth, looser limits cannot."""
    offered, worth = float(sell_max @ hi), problem.worth_e18 / E18
    found = []
    if problem.sold_max_e18 is not None and problem.sold_max_e18 / E18 < offered:
        found.append(Limit("turnover", hi, np.zeros_like(lo), problem.sold_max_e18 / E18))
    if problem.loss_max_e18 is not None and problem.loss_max_e18 / E18 < worth * offered:
        found.append(Limit("loss", hi, lo, problem.loss_max_e18 / E18))
    slippage = problem.slippage_limit_e18 / E18
    if slippage < worth:
        found.append(Limit("slippage", (1 - slippage) * hi, lo, 0.0))
    return tuple(found)


def _within_need(problem: Problem) -> tuple[list[int], list[int]]:
    """Maximum sales and purchases, reduced to the need, which applies to all assets together.

    All sales are scaled by one factor, as in VaultLens, and so are the purchases. So no asset stays outside its
    destination because another one is cheaper to buy.
    """
    sales, needs = list(problem.sales_max_raw), list(problem.needs_max_raw)
    if problem.need_max_e18 is None:
        return sales, needs
    # The check rounds each value up again, which may add one per asset.
    most = max(0, problem.need_max_e18 - len(sales))
    for amounts in (sales, needs):
        offered = sum(problem.value_e18(i, raw) + 1 for i, raw in enumerate(amounts) if raw)
        if offered > most:
            amounts[:] = [raw * most // offered for raw in amounts]
    return sales, needs


def optimum(
    market: Market,
    problem: Terms,
    effort: Effort | None = None,
    *,
    first: Solution | None = None,
    focuses: int = MOST_FOCUSES,
) -> Optimum | None:
    """The best trades within all limits; None if nothing can be traded, or not even the first unit is within the
    limits.

    Points of curves are placed more closely at most `focuses` times; `first` is a known solution of these terms.
    """
    offer = problem.offer
    if not offer.sell_max.any() or not offer.buy_max.any() or problem.sold_max <= 0:
        return None
    best = _solved(market, offer, effort or Effort(), first, focuses)
    sold = float(best.sold @ problem.hi)
    bound_by = None
    if len(best.multipliers) and best.multipliers.max() > _SAFE:
        bound_by = offer.limits[int(np.argmax(best.multipliers))].name
        if sold <= _SAFE * float(offer.sell_max @ problem.hi):
            return None  # not even the first unit is within the limits
    elif _stops_early(offer, best):
        bound_by = "worth"
    return Optimum(best, best.bound, bound_by, best.market, problem)


def _solved(market: Market, offer: Offer, effort: Effort, first: Solution | None, focuses: int) -> Solution:
    """The solution with points of curves placed around its trades."""
    if first is not None:
        closer = first.market if first.laid else first.market.focused(np.exp(first.log_prices))
        if closer is first.market:
            return first
        market, focuses = closer, 1
        effort.spend(_STEPS_OF_A_FOCUS)
    found = solve(market, offer, focuses)
    effort.spend(found.steps + _STEPS_OF_A_FOCUS * found.laid)
    return found


def _stops_early(offer: Offer, solution: Solution) -> bool:
    """Whether more could be traded, but the next unit is worth less than it would lose."""
    sold, bought = solution.sold, solution.bought
    sells = (sold > 0) & (sold < offer.sell_max * (1 - _SAFE))
    buys = (bought > 0) & (bought < offer.buy_max * (1 - _SAFE))
    return bool(sells.any() and buys.any())
