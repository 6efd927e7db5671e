"""The best trades within the vault's limits, in whole units, of swaps that earn their gas, never beaten by single routes.

Between the optimum, which is in floats and knows no gas (`optimum.py`), and the plan. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rebalancer.plan.ask import PlanInput
from rebalancer.plan.dual import Solution
from rebalancer.plan.leg import Leg
from rebalancer.plan.legs import Stuck, fill, ordered_rows, trading_rows
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.optimum import Asked, Optimum, asked_of, optimum
from rebalancer.plan.single import SingleRoutes
from rebalancer.units import E18

__all__ = ["Trades", "best_trades", "bound_e18"]

_SMALLER = (0.0, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""By which part less is sold where whole units break a limit that floats held."""

_MOST_STUCK = 16
"""Times that swaps that cannot be part of a route are left out and the rest solved again."""

_MOST_MOVES = 3
"""Times that purchases are made smaller because losses move the targets; the second loss is much like the first."""

_MORE = 1e-2
"""By this part more than they do now, targets are taken to move."""

_FEW = 8
"""Swaps up to which a plan is compared with single routes to the unit, whatever its bound says."""

_CLOSE = 10**6
"""One part in this many of what is sold is not looked at: a plan that is proved to be this near its bound is the best."""

_MOST_DROPS = 6
"""Times that it is tried to do without the swaps that earn least."""

_FAR_BELOW = 1 / 3
"""The part of its gas below which a swap's profit is far below it."""


@dataclass(frozen=True, slots=True)
class Trades:
    """Legs in order and what they come to; `optimum` and `market` are what they were made from, if they were."""

    legs: tuple[Leg, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]
    net_e18: int
    """What is planned for, less the gas of the legs."""
    optimum: Optimum | None = None
    market: Market | None = None


def best_trades(asked: PlanInput) -> tuple[Trades | None, Optimum | None]:
    """The best trades there are within all limits, and the optimum over all pools."""
    market = market_of(asked.pools)
    if not len(market):
        return None, None
    if market.may_jump:  # the others take next to no time, whether or not they can be of use
        market = market.between(asked.tokens)
    terms = asked_of(asked, market)
    best = optimum(market, terms)
    for _ in range(_MOST_MOVES):
        nearer = _short_of_targets(asked, terms, best.solution) if best else None
        if best is None or nearer is None:
            break
        terms = nearer
        best = optimum(market, terms, best.solution)
    if best is None:
        return None, None
    settled = _settled(asked, terms, market, best)
    shared = _rows_that_share(market, best.solution)
    if len(shared):
        fewer = market.without(shared)
        again = optimum(fewer, terms, best.solution)
        apart = None if again is None else _settled(asked, terms, fewer, again)
        if apart is not None and (settled is None or apart.net_e18 > settled.net_e18):
            settled = apart
    found = settled
    if found is not None:
        found = _earning(asked, terms, found)
    if found is not None and _is_proved(asked, found, best):
        return found, best
    alone = _alone(asked, terms, best)
    if alone is None or (found is not None and alone.net_e18 <= found.net_e18):
        return found, best
    benefit_e18 = asked.benefit_e18(alone.sales_raw, alone.buys_raw)
    if found is None and benefit_e18 <= 0:
        return None, best  # the optimum trades nothing because nothing is worth what it loses
    used = settled.optimum if settled is not None else None
    # What cannot be part of any route bounds single routes no more than others, unless they find a way.
    if settled is not None and used is not None and bound_e18(used.bound) >= benefit_e18:
        alone = replace(alone, optimum=used, market=settled.market)
    return alone, best


def _rows_that_share(market: Market, solution: Solution) -> NDArray[np.intp]:
    """All rows but the best of pools, of more than two tokens, that trade more than one pair at once.

    The dual takes their pairs for pools of their own, but each pair's trade leaves less for the others.
    """
    rows = trading_rows(market, solution)
    pools, counts = np.unique(market.pool[rows], return_counts=True)
    profits = _profits(market, solution)
    found: list[int] = []
    for pool in pools[counts > 1]:
        best = max(rows[market.pool[rows] == pool], key=lambda row: float(profits[row]))
        found += [row for row in np.flatnonzero(market.pool == pool).tolist() if row != best]
    return np.array(found, dtype=np.intp)


def _is_proved(asked: PlanInput, found: Trades, best: Optimum) -> bool:
    """Whether the bound alone says that no single routes are better by more than is looked at.

    Where there are only a few swaps, single routes are soon quoted, and can be as good to the unit.
    """
    if len(found.legs) <= _FEW:
        return False
    sold_e18, _ = asked.values_e18(found.sales_raw, found.buys_raw)
    return bound_e18(best.bound) - found.net_e18 <= sold_e18 // _CLOSE


def _short_of_targets(asked: PlanInput, terms: Asked, solution: Solution) -> Asked | None:
    """Terms under which no asset crosses its target, None if none does.

    What trades lose or gain moves all targets a little, and what was just enough is then too much.
    Up to half of the dust it is let be: the vault allows all of it.
    """
    if not asked.targets_e18:
        return None
    places = list(terms.places)
    units = [10.0 ** asked.decimals[i] * E18 for i in terms.assets]
    prices = np.array([asked.prices_e18[i] for i in terms.assets]) / np.array(units)
    targets = np.array([asked.targets_e18[i] for i in terms.assets]) / E18
    sold, bought = solution.sold[places] * prices, solution.bought[places] * prices
    lost = float(sold.sum() - bought.sum())
    dust = asked.dust_e18 / E18
    sales, needs = list(terms.sales_raw), list(terms.needs_raw)
    crossed = False
    for at, i in enumerate(terms.assets):
        # Sold assets are crossed by a target that rises, bought ones by one that falls.
        moved = targets[at] * abs(lost) * (1 + _MORE)
        traded, limits, maxima = (
            (bought[at], needs, asked.needs_max_raw)
            if lost > 0
            else (sold[at], sales, asked.sales_max_raw)
        )
        most = float(maxima[i]) * prices[at]
        if traded > 0 and traded + moved - most > dust / 2 + prices[at]:
            limits[i] = min(limits[i], int((most - max(0.0, moved - dust / 4)) / prices[at]))
            crossed = True
    return terms.within(sales, needs) if crossed else None


def _settled(asked: PlanInput, terms: Asked, market: Market, best: Optimum) -> Trades | None:
    """The optimum in whole units; swaps that cannot be part of a route are left out."""
    for _ in range(_MOST_STUCK):
        rows = ordered_rows(market, best.solution)
        if not isinstance(rows, Stuck):
            if not rows:
                return None
            done = _within_limits(asked, terms, market, best, rows)
            if not isinstance(done, Stuck):
                return done
            rows = done
        market = market.without(rows.rows)
        again = optimum(market, terms, best.solution)
        if again is None:
            return None
        best = again
    return None


def _within_limits(
    asked: PlanInput, terms: Asked, market: Market, best: Optimum, rows: Sequence[int]
) -> Trades | Stuck | None:
    """The optimum's flow in whole units, made smaller until exact quotes are within all limits."""
    sold, sell_max = best.solution.sold, terms.offer.sell_max
    for less in _SMALLER:
        sales: dict[str, int] = {}
        for i, place in zip(terms.assets, terms.places, strict=True):
            if not sold[place]:
                continue
            most = terms.sales_raw[i]
            raw = most if sold[place] >= sell_max[place] else min(most, int(sold[place]))
            sales[asked.tokens[i]] = raw if not less else int(raw * (1 - less))
        done = fill(market, best.solution, rows, sales, 1 - less)
        if isinstance(done, Stuck):
            return done
        trades = _trades(asked, done.legs, done.sold, done.bought)
        if not any(trades.sales_raw) or not any(trades.buys_raw):
            return None
        if asked.allows(trades.sales_raw, trades.buys_raw):
            return replace(trades, optimum=best, market=market)
    return None


def _trades(
    asked: PlanInput, legs: Sequence[Leg], sold: Mapping[str, int], bought: Mapping[str, int]
) -> Trades:
    sales_raw = tuple(sold.get(token, 0) for token in asked.tokens)
    buys_raw = tuple(bought.get(token, 0) for token in asked.tokens)
    net_e18 = asked.benefit_e18(sales_raw, buys_raw) - asked.hop_cost_e18 * len(legs)
    return Trades(tuple(legs), sales_raw, buys_raw, net_e18)


def _earning(asked: PlanInput, terms: Asked, found: Trades) -> Trades:
    """Without the swaps that do not earn their gas.

    A pool's profit at the dual's prices is the least that doing without it loses, so a pool whose
    profit pays for its gas stays. Of the others those go together whose profit is far below it; where
    that loses more than it saves, only half of them, and so on.
    """
    cost = asked.hop_cost_e18 / E18
    if not cost:
        return found
    count = 0
    for _ in range(_MOST_DROPS):
        market, best = found.market, found.optimum
        if market is None or best is None or len(found.legs) < 2:
            break
        rows = trading_rows(market, best.solution)
        profits = _profits(market, best.solution)[rows]
        cheap = rows[np.argsort(profits, kind="stable")][: int((profits < cost).sum())]
        if not len(cheap):
            break
        count = count or int((profits < cost * _FAR_BELOW).sum()) or len(cheap)
        fewer = market.without(cheap[:count])
        again = optimum(fewer, terms, best.solution)
        smaller = None
        if again is not None and _could_be(asked, fewer, again) > found.net_e18:
            smaller = _settled(asked, terms, fewer, again)
        if smaller is not None and smaller.net_e18 > found.net_e18:
            found, count = smaller, 0
        elif count == 1:
            break
        else:
            count //= 2
    return found


def _profits(market: Market, solution: Solution) -> NDArray[np.float64]:
    """What an arbitrageur earns on every row at the dual's prices."""
    flows, prices = solution.flows, np.exp(solution.log_prices)
    given = prices[market.token_out] * flows.amounts_out
    return np.asarray(given - prices[market.token_in] * flows.amounts_in, dtype=np.float64)


def _could_be(asked: PlanInput, market: Market, best: Optimum) -> int:
    """What an optimum is worth after the gas of its swaps, before it is settled in whole units."""
    swaps = len(trading_rows(market, best.solution))
    return bound_e18(best.solution.value) - asked.hop_cost_e18 * swaps


def _alone(asked: PlanInput, terms: Asked, best: Optimum) -> Trades | None:
    """One route a trade, on as much as the optimum sells; None where that breaks a limit."""
    sales = list(terms.sales_raw)
    for i, place in zip(terms.assets, terms.places, strict=True):
        if best.bound_by is not None:
            sales[i] = min(sales[i], int(best.solution.sold[place]))
    routes = SingleRoutes(market_of(asked.pools))
    routes.trade(asked, sales, terms.needs_raw)
    legs = routes.legs
    sold_raw: dict[str, int] = {}
    bought_raw: dict[str, int] = {}
    for leg in legs:
        sold_raw[leg.token_in] = sold_raw.get(leg.token_in, 0) + leg.amount_in_raw
        bought_raw[leg.token_out] = bought_raw.get(leg.token_out, 0) + leg.amount_out_raw
    for token in set(sold_raw) & set(bought_raw):
        passed = min(sold_raw[token], bought_raw[token])
        sold_raw[token] -= passed
        bought_raw[token] -= passed
    trades = _trades(asked, legs, sold_raw, bought_raw)
    if not any(trades.buys_raw) or not asked.allows(trades.sales_raw, trades.buys_raw):
        return None
    return trades


def bound_e18(value: float) -> int:
    """USD times 1e18 of a float; a bound that is none is as large as no basket is."""
    return int(value * E18) if np.isfinite(value) else 1 << 200
