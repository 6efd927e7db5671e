"""What should a basket sell and buy, on which pools, and is it worth it?

Pure. In go what each asset may sell and may take, prices, and pools at one block; out comes a `Plan`,
whose expected amounts are what the chain pays to the unit as long as nobody trades in between, or a
`NoPlan` with its reason.

How: 1. all pools and tokens as one convex problem within the vault's limits (`optimum.py`, `dual.py`),
which names prices, flows and a bound; 2. the flows as swaps in order, in whole units, by exact quotes
(`legs.py`), made smaller by a hair where a limit would be broken; 3. swaps that do not earn their gas
are left out, the least first, and the rest solved again; 4. what one route a trade would do
(`single.py`), kept if it is better; 5. what the vault's checks will compute, by `policy.settle`, and
whether all of it is worth its gas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rebalancer.errors import PolicyRefused
from rebalancer.plan.ask import UNSTATED_WORTH_E18, PlanInput
from rebalancer.plan.dual import Solution
from rebalancer.plan.legs import Stuck, fill, ordered_rows, route_hops, trading_rows
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.optimum import Asked, Optimum, asked_of, optimum
from rebalancer.plan.result import Certificate, NoPlan, Plan, costs_of, dollars, sentence
from rebalancer.plan.route import encode
from rebalancer.plan.single import SingleRoutes
from rebalancer.plan.split import Leg
from rebalancer.policy import Fill, Settlement, calendar_since, settle, weigh_basket
from rebalancer.reasons import Reason
from rebalancer.units import BPS, E18

__all__ = ["plan_rebalance"]

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
class _Trades:
    """Legs in order and what they come to; `optimum` and `market` are what they were made from, if they were."""

    legs: tuple[Leg, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]
    net_e18: int
    """What is planned for, less the gas of the legs."""
    optimum: Optimum | None = None
    market: Market | None = None


def plan_rebalance(asked: PlanInput) -> Plan | NoPlan:
    """The trades that bring the basket nearest to its targets for little, within all limits."""
    idle = _nothing_due(asked)
    if idle is not None:
        return idle
    rest = asked
    while True:
        found, best = _best(rest)
        too_small = _too_small(rest, found) if found else set()
        if not too_small:
            break
        # Without the assets of which too little would be traded, the others may trade more.
        rest = replace(
            rest,
            sales_max_raw=_without(rest.sales_max_raw, too_small),
            needs_max_raw=_without(rest.needs_max_raw, too_small),
        )
    if found is not None and best is not None:
        return _judged(rest, _plan(rest, found, best))
    if rest is not asked:
        return NoPlan(
            Reason.POLICY_REFUSES, "every trade would be below the minimum trade of its asset"
        )
    return _no_plan(asked)


def _nothing_due(asked: PlanInput) -> NoPlan | None:
    """What needs no solving: the vault would not let anything be traded now."""
    rules = asked.rules
    if rules is not None:
        weighed = weigh_basket(rules.basket)
        called = calendar_since(
            rules.state.rebalanced_at, rules.policy.calendar_seconds, rules.timestamp
        )
        if weighed.broken is None and not called:
            return NoPlan(
                Reason.IN_BAND,
                f"every weight is inside its band; the furthest is {weighed.drift_bps} bps off",
            )
    if not any(asked.sales_max_raw) or not any(asked.needs_max_raw):
        return NoPlan(Reason.NO_ROUTE, "nothing is in surplus, or nothing in deficit, to trade for")
    return None


def _too_small(asked: PlanInput, found: _Trades) -> set[int]:
    """Assets of which less than their minimum would be sold, or arrive for sure."""
    return {
        i
        for i, least in enumerate(asked.min_trades_raw)
        if 0 < found.sales_raw[i] < least
        or (found.buys_raw[i] and found.buys_raw[i] * (BPS - asked.tolerance_bps) // BPS < least)
    }


def _without(amounts_raw: Sequence[int], assets: set[int]) -> tuple[int, ...]:
    return tuple(0 if i in assets else raw for i, raw in enumerate(amounts_raw))


def _best(asked: PlanInput) -> tuple[_Trades | None, Optimum | None]:
    """The best trades there are within all limits, and the optimum over all pools."""
    market = market_of(asked.pools)
    if not len(market):
        return None, None
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
    settled = found = _settled(asked, terms, market, best)
    if found is not None:
        found = _earning(asked, terms, found)
    if found is not None and _is_proved(asked, found, best):
        return found, best
    alone = _alone(asked, terms, best)
    if alone is None or (found is not None and alone.net_e18 <= found.net_e18):
        return found, best
    if settled is not None and settled.optimum is not None:
        # What cannot be part of any route bounds single routes no more than others, unless they find a way.
        benefit_e18 = asked.benefit_e18(alone.sales_raw, alone.buys_raw)
        if _e18(settled.optimum.bound) >= benefit_e18:
            alone = replace(alone, optimum=settled.optimum, market=settled.market)
    return alone, best


def _is_proved(asked: PlanInput, found: _Trades, best: Optimum) -> bool:
    """Whether the bound alone says that no single routes are better by more than is looked at.

    Where there are only a few swaps, single routes are soon quoted, and can be as good to the unit.
    """
    if len(found.legs) <= _FEW:
        return False
    sold_e18, _ = asked.values_e18(found.sales_raw, found.buys_raw)
    return _e18(best.bound) - found.net_e18 <= sold_e18 // _CLOSE


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


def _settled(asked: PlanInput, terms: Asked, market: Market, best: Optimum) -> _Trades | None:
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
) -> _Trades | Stuck | None:
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
) -> _Trades:
    sales_raw = tuple(sold.get(token, 0) for token in asked.tokens)
    buys_raw = tuple(bought.get(token, 0) for token in asked.tokens)
    net_e18 = asked.benefit_e18(sales_raw, buys_raw) - asked.hop_cost_e18 * len(legs)
    return _Trades(tuple(legs), sales_raw, buys_raw, net_e18)


def _earning(asked: PlanInput, terms: Asked, found: _Trades) -> _Trades:
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
    return _e18(best.solution.value) - asked.hop_cost_e18 * swaps


def _alone(asked: PlanInput, terms: Asked, best: Optimum) -> _Trades | None:
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


def _plan(asked: PlanInput, found: _Trades, best: Optimum) -> Plan:
    sales_raw, buys_raw = found.sales_raw, found.buys_raw
    min_buys_raw = tuple(
        max(1, raw * (BPS - asked.tolerance_bps) // BPS) if raw else 0 for raw in buys_raw
    )
    market = market_of(asked.pools)
    used = found.optimum or best
    prices = _middle_prices(asked, market, used.solution)
    leg_costs, cost = costs_of(asked, found.legs, prices)
    sold_e18, _ = asked.values_e18(sales_raw, buys_raw)
    solved = best.solution
    certificate = Certificate(
        asked.benefit_e18(sales_raw, buys_raw),
        _e18(used.bound),
        _e18(best.bound),
        sold_e18,
        max(0.0, solved.bound - solved.value) / (sold_e18 / E18),
        solved.steps,
    )
    bought = {t: raw for t, raw in zip(asked.tokens, buys_raw, strict=True) if raw}
    return Plan(
        sales_raw,
        min_buys_raw,
        buys_raw,
        encode(route_hops(found.legs, bought)),
        found.legs,
        leg_costs,
        cost,
        sold_e18 * asked.worth_e18 // E18,
        certificate,
        sentence(asked, sales_raw, buys_raw, len(found.legs), cost),
        used.bound_by,
    )


def _middle_prices(asked: PlanInput, market: Market, solution: Solution) -> dict[str, float]:
    """The dual's prices in USD a raw unit. Alone they have no scale: all are set to that of the basket's."""
    prices = np.exp(solution.log_prices)
    oracle = np.zeros(len(prices))
    for i, token in enumerate(asked.tokens):
        if token in market.index:
            oracle[market.index[token]] = asked.prices_e18[i] / 10.0 ** asked.decimals[i] / E18
    scales = [
        float(traded @ oracle) / float(traded @ prices)
        for traded in (solution.sold, solution.bought)
        if traded.any()
    ]
    scale = math.prod(scales) ** (1 / len(scales)) if scales else 1.0
    return dict(zip(market.tokens, (prices * scale).tolist(), strict=True))


def _e18(value: float) -> int:
    """USD times 1e18 of a float; a bound that is none is as large as no basket is."""
    return int(value * E18) if np.isfinite(value) else 1 << 200


def _judged(asked: PlanInput, plan: Plan) -> Plan | NoPlan:
    """The plan with what the vault will compute, unless the vault refuses it or it is not worth it."""
    settlement: Settlement | None = None
    if asked.rules is not None:
        rules = asked.rules
        try:
            settlement = settle(
                *(rules.policy, rules.state, rules.basket),
                Fill(plan.sales_raw, plan.expected_buys_raw),
                *(plan.min_buys_raw, rules.timestamp),
                epoch=rules.state.epoch,
                sales=plan.sales_raw,
            )
        except PolicyRefused as refusal:
            if refusal.error == "TooLittleProgress" and asked.worth_e18 < UNSTATED_WORTH_E18:
                # The vault wants more at a time than the last unit is worth.
                return plan_rebalance(replace(asked, worth_e18=UNSTATED_WORTH_E18))
            return NoPlan(Reason.POLICY_REFUSES, str(refusal), refusal, plan)
    sold_e18, bought_e18 = asked.values_e18(plan.sales_raw, plan.expected_buys_raw)
    paid_e18 = plan.cost.gas_e18 + plan.cost.tip_e18
    if paid_e18 and sold_e18 - bought_e18 + paid_e18 > plan.worth_e18:
        return NoPlan(
            Reason.NOT_WORTH_GAS,
            f"bringing {dollars(sold_e18)} home is worth {dollars(plan.worth_e18)}; it would lose "
            f"{dollars(sold_e18 - bought_e18)} and cost {dollars(paid_e18)} of gas and tip",
            refused=plan,
        )
    return replace(plan, settlement=settlement)


def _no_plan(asked: PlanInput) -> NoPlan:
    """Which limit it was: the pools, the budgets, or the slippage."""
    free = replace(asked, sold_max_e18=None, loss_max_e18=None)
    if _best(free)[0]:
        return NoPlan(
            Reason.BUDGET_SPENT,
            "what is left of the turnover or loss budget allows no trade: wait for it to refill",
        )
    free = replace(free, slippage_limit_e18=E18, worth_e18=UNSTATED_WORTH_E18)
    if _best(free)[0]:
        limit_bps = min(asked.slippage_limit_e18, asked.worth_e18) * BPS // E18
        return NoPlan(
            Reason.POLICY_REFUSES,
            f"every trade would lose more than the {limit_bps} bps that the vault allows now",
        )
    return NoPlan(
        Reason.NO_ROUTE,
        "no known pool leads from what is in surplus to what is in deficit, or it is too little to "
        "buy a raw unit",
    )
