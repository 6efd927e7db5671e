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
from rebalancer.policy import Fill, Settlement, is_calendar_open, settle, weigh_basket
from rebalancer.reasons import Reason
from rebalancer.units import BPS, E18

__all__ = ["plan_rebalance"]

_PROGRESS_PERCENT = (102, 110, 140)
"""Parts of what progress takes that are tried: what trades lose, and destinations, make it a little more."""


def plan_rebalance(asked: PlanInput) -> Plan | NoPlan:
    """The trades that bring the basket nearest to its targets for little, within all limits.

    Where better prices are waited for (`patience.py`) and what may be paid now comes to nothing, it is told whether there
    would be a plan otherwise; that one it is, where waiting would have to begin and costs more gas than it could save.
    """
    idle = _nothing_due(asked)
    if idle is not None:
        return idle
    found = _best_plan(asked)
    if asked.at_most_e18 is None or isinstance(found, Plan):
        return found or _no_plan(asked)
    at_once = _best_plan(asked.at_once)
    if not isinstance(at_once, Plan):
        return at_once or _no_plan(asked.at_once)
    sold_e18, bought_e18 = asked.values_e18(at_once.sales_raw, at_once.expected_buys_raw)
    is_seen = asked.rules is not None and asked.rules.state.due_since
    if (
        not is_seen
        and asked.benefit_e18(at_once.sales_raw, at_once.expected_buys_raw)
        + asked.gas_cost_e18(asked.gas_per_wait)
        >= 0
    ):
        return at_once  # waiting would cost more gas than there is to be saved
    return NoPlan(
        Reason.AWAITS_PRICE,
        f"bringing {dollars(sold_e18)} home would lose {dollars(sold_e18 - bought_e18)} now, and too little of it loses "
        f"no more than {asked.worth_e18 * BPS / E18:.1f} bps a unit: better prices are waited for while the limit climbs",
        refused=at_once,
    )


def _best_plan(asked: PlanInput) -> Plan | NoPlan | None:
    """The plan, or why the best there is will not do; None where there are no trades at all."""
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
    return None


def _nothing_due(asked: PlanInput) -> NoPlan | None:
    """What needs no solving: the vault would not let anything be traded now."""
    rules = asked.rules
    if rules is not None:
        weighed = weigh_basket(rules.basket)
        called = is_calendar_open(
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


def _judged(asked: PlanInput, plan: Plan) -> Plan | NoPlan | None:
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
                return _with_progress(asked, rules.policy.min_progress_bps, int(refusal.numbers[0]))
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


def _with_progress(
    asked: PlanInput, min_progress_bps: int, distance_e18: int
) -> Plan | NoPlan | None:
    """The cheapest trades that the vault takes for progress: it wants more at a time than the last unit is worth, and waiting
    brings no more. A unit that is sold, and what is bought for it, come home by one each."""
    free = replace(asked, worth_e18=UNSTATED_WORTH_E18)
    for percent in _PROGRESS_PERCENT:
        sold_e18 = distance_e18 * min_progress_bps * percent // (2 * BPS * 100)
        if asked.sold_max_e18 is not None and sold_e18 >= asked.sold_max_e18:
            break
        found = _best_plan(replace(free, sold_max_e18=sold_e18))
        if isinstance(found, Plan):
            return replace(found, bound_by="worth")
        if found is None or found.reason is not Reason.POLICY_REFUSES:
            return found
    return _best_plan(free)


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
