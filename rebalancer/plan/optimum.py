"""What is best within the vault's own limits? The dual problem, asked in the vault's terms.

A unit of value sold that comes home is worth `PlanInput.worth_e18` of it, so what is sought is the most
of  bought at the lower prices - (1 - worth) * sold at the higher.  Three limits bind all trades
together: turnover, loss and slippage. Each is linear in what is sold and bought, so a multiplier on it
only changes at how much a sale is counted: all that ever follows is  bought - κ * sold  with one number
κ ≥ 1 - worth, and the trades fall as κ rises. Where the plan without limits breaks one, κ is raised
until the last of them just holds. What that κ says about the limit's multiplier also gives the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from rebalancer.plan.ask import PlanInput
from rebalancer.plan.dual import Offer, Solution, solve
from rebalancer.plan.market import Market
from rebalancer.units import E18

__all__ = ["Asked", "Optimum", "asked_of", "optimum"]

Floats = NDArray[np.float64]

_STEEPER = (1.0, 1.02, 1.2, 2.0, 10.0, 1e4)
"""Where κ is looked for: at more than 1 only what gains trades."""

_PRECISION = 1e-14
"""To which κ is found; what is sold changes some ten thousand times as fast."""

_SAFE = 1e-9
"""By this part less than a limit is aimed at, so that whole units do not break it."""

_MOST_TRIES = 40
"""Values of κ that are tried; ordinary problems take 5 to 10."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A `PlanInput` in floats: an entry for each token of a market, in USD a raw unit.

    `assets` are the places in the basket of those that the market trades, `places` theirs in the market.
    """

    offer: Offer
    lo: Floats
    hi: Floats
    sold_max: float
    loss_max: float
    slippage: float
    least_kappa: float
    assets: tuple[int, ...]
    places: tuple[int, ...]
    sales_raw: tuple[int, ...]
    needs_raw: tuple[int, ...]
    """In basket order, whole: what may be sold and bought."""

    def within(self, sales_raw: Sequence[int], needs_raw: Sequence[int]) -> Asked:
        """The same for other amounts to sell and buy."""
        sell_max, buy_max = np.zeros((2, len(self.lo)))
        for i, place in zip(self.assets, self.places, strict=True):
            sell_max[place], buy_max[place] = sales_raw[i], needs_raw[i]
        offer = replace(self.offer, sell_max=sell_max, buy_max=buy_max)
        return replace(self, offer=offer, sales_raw=tuple(sales_raw), needs_raw=tuple(needs_raw))


@dataclass(frozen=True, slots=True)
class Optimum:
    """The solution, the bound on what any plan within all limits is worth (USD), and which limit holds."""

    solution: Solution
    bound: float
    bound_by: str | None


def asked_of(asked: PlanInput, market: Market) -> Asked:
    """The input as the solver takes it. Needs bound sales and purchases of all assets alike."""
    size = len(market.tokens)
    units = [10.0**decimals * E18 for decimals in asked.decimals]
    pairs = [(i, market.index[t]) for i, t in enumerate(asked.tokens) if t in market.index]
    sales, needs = _within_need(asked)
    sell_max, buy_max, lo, hi = np.zeros((4, size))
    log_prices = np.full(size, np.nan)
    for i, place in pairs:
        sell_max[place], buy_max[place] = sales[i], needs[i]
        lo[place], hi[place] = asked.lo_e18[i] / units[i], asked.hi_e18[i] / units[i]
        if asked.prices_e18[i] > 1:
            log_prices[place] = np.log(asked.prices_e18[i] / units[i])
    if not pairs:
        log_prices[:] = 0.0
    prices = np.exp(market.near(log_prices))
    kappa = 1 - asked.worth_e18 / E18
    return Asked(
        Offer(sell_max, buy_max, kappa * hi, lo, prices),
        lo,
        hi,
        np.inf if asked.sold_max_e18 is None else asked.sold_max_e18 / E18,
        np.inf if asked.loss_max_e18 is None else asked.loss_max_e18 / E18,
        asked.slippage_limit_e18 / E18,
        kappa,
        tuple(i for i, _ in pairs),
        tuple(place for _, place in pairs),
        tuple(sales),
        tuple(needs),
    )


def _within_need(asked: PlanInput) -> tuple[list[int], list[int]]:
    """What may be sold and bought where the need, which is of all assets together, is less than that.

    All sales are made smaller alike, as VaultLens does it; so are the purchases, so that no asset is
    left outside its destination for one that is cheaper to buy.
    """
    sales, needs = list(asked.sales_max_raw), list(asked.needs_max_raw)
    if asked.need_max_e18 is None:
        return sales, needs
    # Each value is rounded up once more when it is checked, which may add one an asset.
    most = max(0, asked.need_max_e18 - len(sales))
    for amounts in (sales, needs):
        offered = sum(asked.value_e18(i, raw) + 1 for i, raw in enumerate(amounts) if raw)
        if offered > most:
            amounts[:] = [raw * most // offered for raw in amounts]
    return sales, needs


def optimum(market: Market, asked: Asked, near: Solution | None = None) -> Optimum | None:
    """The best trades within all limits; None where nothing can be sold or nothing bought at all."""
    offer = asked.offer
    if not offer.sell_max.any() or not offer.buy_max.any():
        return None
    if asked.sold_max <= 0:
        return None
    best = solve(market, offer, near)
    if _excess(asked, best)[0] <= 0:
        return Optimum(best, best.bound, "worth" if _stops_early(offer, best) else None)

    found = {asked.least_kappa: best}

    def excess(kappa: float) -> float:
        if kappa not in found:
            nearest = min(found, key=lambda other: abs(other - kappa))
            found[kappa] = solve(market, _at(asked, kappa), found[nearest])
        over = _excess(asked, found[kappa])[0]
        return 0.0 if -_SAFE <= over <= 0 else over

    low, high = asked.least_kappa, asked.least_kappa
    for high in (1 - asked.slippage, *_STEEPER):
        if high > low:
            if excess(high) <= 0:
                break
            low = high
    if excess(high) > 0 or (high == 1 - asked.slippage and not found[high].sold.any()):
        return None  # not even the first unit stays within the limits
    if excess(high) < 0:
        brentq(excess, low, high, xtol=_PRECISION, maxiter=_MOST_TRIES, disp=False)
    kappa = min(kappa for kappa in found if excess(kappa) <= 0)
    bound_by = _excess(asked, found[max(k for k in found if k < kappa)])[1]
    return Optimum(found[kappa], _bound(asked, kappa, found[kappa].bound, bound_by), bound_by)


def _stops_early(offer: Offer, solution: Solution) -> bool:
    """Whether more could be sold and more bought, but the next unit is not worth what it would lose."""
    sold, bought = solution.sold, solution.bought
    sells = (sold > 0) & (sold < offer.sell_max * (1 - _SAFE))
    buys = (bought > 0) & (bought < offer.buy_max * (1 - _SAFE))
    return bool(sells.any() and buys.any())


def _at(asked: Asked, kappa: float) -> Offer:
    offer = asked.offer
    return Offer(offer.sell_max, offer.buy_max, kappa * asked.hi, offer.gain, offer.prices)


def _excess(asked: Asked, solution: Solution) -> tuple[float, str]:
    """By how much, as a part of itself, the limit that is broken most is; below 0 if all hold."""
    sold = float(solution.sold @ asked.hi)
    loss = sold - float(solution.bought @ asked.lo)
    if sold <= 0:
        return -1.0, "turnover"
    found = [(-1.0, "turnover")]
    if np.isfinite(asked.sold_max):
        found.append((sold / asked.sold_max - 1 + _SAFE, "turnover"))
    if np.isfinite(asked.loss_max):
        found.append((_over(loss, asked.loss_max, sold), "loss"))
    if asked.slippage < 1:
        found.append((_over(loss, asked.slippage * sold, sold), "slippage"))
    return max(found)


def _over(loss: float, most: float, sold: float) -> float:
    return (loss - most * (1 - _SAFE)) / max(most, 1e-6 * sold)


def _bound(asked: Asked, kappa: float, bound: float, bound_by: str) -> float:
    """No plan within the limit is worth more: the bound at κ, scaled, and the multiplier times the limit."""
    over = kappa - asked.least_kappa
    if bound_by == "turnover":
        return bound + over * asked.sold_max
    # What loses no more than nothing is worth bound at any κ up to where that limit itself is.
    room = (1 if bound_by == "loss" else 1 - asked.slippage) - kappa
    if room <= 0:
        return np.inf
    multiplier = over / room
    return (1 + multiplier) * bound + (multiplier * asked.loss_max if bound_by == "loss" else 0)
