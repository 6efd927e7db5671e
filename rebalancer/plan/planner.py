"""What should a basket sell and buy, on which pools, and is it worth it?

Pure. In go what each asset may sell and may take, prices, and pools at one block; out comes a `Plan`,
whose expected amounts are what the chain pays to the unit as long as nobody trades in between, or a
`NoPlan` with its reason.

How: 1. all pools and tokens as one convex problem within the vault's limits (`optimum.py`, `dual.py`),
which names prices, flows and a bound; then, in `trades.py`, 2. the flows as swaps in order, in whole
units, by exact quotes (`legs.py`), made smaller by a hair where a limit would be broken; 3. without the
swaps that do not earn their gas; 4. or what one route a trade would do (`single.py`), if that is better;
and here 5. what the vault's checks will compute, by `policy.settle`, and whether all of it is worth it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rebalancer.errors import PolicyRefused
from rebalancer.plan.ask import UNSTATED_WORTH_E18, PlanInput
from rebalancer.plan.dual import Solution
from rebalancer.plan.legs import route_hops
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.optimum import Optimum
from rebalancer.plan.result import Certificate, NoPlan, Plan, costs_of, dollars, sentence
from rebalancer.plan.route import encode
from rebalancer.plan.trades import Trades, best_trades, bound_e18
from rebalancer.policy import Fill, Settlement, calendar_since, settle, weigh_basket
from rebalancer.reasons import Reason
from rebalancer.units import BPS, E18

__all__ = ["plan_rebalance"]


def plan_rebalance(asked: PlanInput) -> Plan | NoPlan:
    """The trades that bring the basket nearest to its targets for little, within all limits."""
    idle = _nothing_due(asked)
    if idle is not None:
        return idle
    rest = asked
    while True:
        found, best = best_trades(rest)
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


def _too_small(asked: PlanInput, found: Trades) -> set[int]:
    """Assets of which less than their minimum would be sold, or arrive for sure."""
    return {
        i
        for i, least in enumerate(asked.min_trades_raw)
        if 0 < found.sales_raw[i] < least
        or (found.buys_raw[i] and found.buys_raw[i] * (BPS - asked.tolerance_bps) // BPS < least)
    }


def _without(amounts_raw: Sequence[int], assets: set[int]) -> tuple[int, ...]:
    return tuple(0 if i in assets else raw for i, raw in enumerate(amounts_raw))


def _plan(asked: PlanInput, found: Trades, best: Optimum) -> Plan:
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
        bound_e18(used.bound),
        bound_e18(best.bound),
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
        sold_e18
        * (asked.worth_e18 if asked.total_worth_e18 is None else asked.total_worth_e18)
        // E18,
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
            may_lose_more = not asked.is_patient and asked.worth_e18 < UNSTATED_WORTH_E18
            if refusal.error == "TooLittleProgress" and may_lose_more:
                # The vault wants more at a time than the last unit is worth, and waiting brings no more.
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
    if best_trades(free)[0]:
        return NoPlan(
            Reason.BUDGET_SPENT,
            "what is left of the turnover or loss budget allows no trade: wait for it to refill",
        )
    free = replace(free, slippage_limit_e18=E18, worth_e18=UNSTATED_WORTH_E18)
    if best_trades(free)[0]:
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
