"""Planner of a rebalance: what to sell and buy, on which pools, and whether it is worth it.

Pure. Inputs are the maximum sale and purchase of each asset, prices, and pools at one block. The result is a `Plan`,
whose expected amounts are exactly what the chain pays if nobody trades in between, or a `NoPlan` with its reason.

Method:

1. `optimum.py`, `dual.py`: all pools and tokens as one convex problem, with the vault's limits among its multipliers.
It gives prices, flows
   and a bound. If pools disagree by more than their fees, `order.py` chooses an order of tokens without circles.
2. `trades.py`: the flows as ordered swaps in whole units, by exact quotes (`flow_to_swaps.py`), as large as all limits
allow. 3. `trades.py`: without the swaps that do not earn their gas.
4. `baseline.py`: single routes within the same limits, trade by trade, and improvements on their pools.
5. Here: the best of all trades that pass the vault's checks (`settlement.settle`) and are worth their cost. A plan that
ends inside all bands is
   preferred to a better one that does not, if another rebalance would cost more than the difference.

Single routes are skipped only if the bound proves that no trades are worth more by a millionth of the value sold. So no
plan is worth less than the single routes, whatever its number of swaps and whichever limits bind, and no plan is lost
because of the result of a larger problem.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rebalancer.errors import PolicyRefused
from rebalancer.plan.dual import Solution
from rebalancer.plan.effort import Effort
from rebalancer.plan.flow_to_swaps import route_hops
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.problem import UNSTATED_WORTH_E18, Problem
from rebalancer.plan.result import Certificate, NoPlan, Plan, costs_of, dollars, sentence
from rebalancer.plan.trades import Search, Trades, bound_e18
from rebalancer.policy import is_calendar_open
from rebalancer.reasons import Reason
from rebalancer.route import encode
from rebalancer.settlement import Fill, Settlement, settle, weigh_basket
from rebalancer.units import BPS, E18

__all__ = ["plan_rebalance"]

_PROGRESS_PERCENT = (102, 110, 140)
"""Sales to try, as percentages of what progress requires: losses and destinations require slightly more."""


def plan_rebalance(problem: Problem, effort: Effort | None = None) -> Plan | NoPlan:
    """The trades that bring the basket nearest to its targets at little cost, within all limits.

    If waiting for better prices is allowed (`wait_rule.py`) and no plan fits the current price limit, the plan without
    waiting is computed, too. It is returned if waiting has not begun yet and would cost more gas than it could save;
    otherwise it is the `refused` plan of the result.

    If `effort` ends before everything was tried, the result is the best plan so far, with `Plan.was_cut`.
    """
    effort = effort or Effort()
    idle = _nothing_due(problem)
    if idle is not None:
        return idle
    found = _best_plan(problem, effort)
    if problem.at_most_e18 is None or isinstance(found, Plan):
        return found or _no_plan(problem)
    at_once = _best_plan(problem.at_once, effort)
    if not isinstance(at_once, Plan):
        return at_once or _no_plan(problem.at_once)
    sold_e18, bought_e18 = problem.values_e18(at_once.sales_raw, at_once.expected_buys_raw)
    is_seen = problem.rules is not None and problem.rules.state.due_since
    if not is_seen and problem.benefit_e18(at_once.sales_raw, at_once.expected_buys_raw) + problem.wait_cost_e18 >= 0:
        return at_once  # waiting would cost more gas than it could save
    return NoPlan(
        Reason.AWAITS_PRICE,
        f"a rebalance of {dollars(sold_e18)} would lose {dollars(sold_e18 - bought_e18)} now, and too small a part of it loses "
        f"at most {problem.worth_e18 * BPS / E18:.1f} bps per unit: the keeper waits for better prices while the limit rises",
        refused=at_once,
    )


def _best_plan(problem: Problem, effort: Effort) -> Plan | NoPlan | None:
    """The plan, or why the best trades are not acceptable; None if there are no trades."""
    remaining, candidates = problem, list[tuple[Trades, Search]]()
    while True:
        search = Search(remaining, effort)
        found = search.found()
        candidates += [(trades, search) for trades in found if not _too_small(remaining, trades)]
        too_small = _too_small(remaining, found[0]) if found else set()
        if not too_small:
            break
        # Without the assets whose trades are too small, the others may trade more.
        remaining = replace(
            remaining,
            sales_max_raw=_without(remaining.sales_max_raw, too_small),
            needs_max_raw=_without(remaining.needs_max_raw, too_small),
        )
    best, refused = _accepted(problem, candidates)
    if best is None and any(why.reason is Reason.POLICY_REFUSES for _, _, why in refused):
        # The vault refuses the better trades, so single routes are tried without comparing with them.
        more = [(trades, search) for trades in search.alone(None) if not _too_small(remaining, trades)]
        best, again = _accepted(problem, more)
        refused += again
    if best is not None:
        trades, search, settlement = best
        return replace(_plan(problem, search.certified(trades), effort), settlement=settlement)
    if refused:
        return _refused(problem, refused, effort)
    if remaining is not problem:
        return NoPlan(Reason.POLICY_REFUSES, "every trade would be below the minimum trade of its asset")
    return None


def _accepted(
    problem: Problem, candidates: list[tuple[Trades, Search]]
) -> tuple[tuple[Trades, Search, Settlement | None] | None, list[tuple[Trades, Search, NoPlan]]]:
    """The best acceptable trades, if any, and the better ones that are not acceptable."""
    best: tuple[Trades, Search, Settlement | None] | None = None
    refused: list[tuple[Trades, Search, NoPlan]] = []
    # Trades that leave a band broken require another rebalance: its cost may be paid to end inside all bands.
    least_e18 = -problem.sending_cost_e18(1)
    for trades, search in sorted(candidates, key=lambda one: -one[0].net_e18):
        if best is not None and trades.net_e18 < least_e18:
            break
        judged = _judged(problem, trades)
        if isinstance(judged, NoPlan):
            refused.append((trades, search, judged))
        elif judged is None or judged.after.broken is None:
            best = trades, search, judged
            break
        elif best is None:
            best, least_e18 = (trades, search, judged), least_e18 + trades.net_e18
    return best, refused


def _refused(
    problem: Problem, refused: Sequence[tuple[Trades, Search, NoPlan]], effort: Effort
) -> Plan | NoPlan | None:
    """More trades if only progress is too small; otherwise the refusal of the trades with the largest sales."""
    for _, _, why in refused:
        is_little = why.refusal is not None and why.refusal.error == "TooLittleProgress"
        may_lose_more = not problem.is_patient and problem.worth_e18 < UNSTATED_WORTH_E18
        if is_little and may_lose_more and why.refusal and problem.rules:
            distance_e18 = int(why.refusal.numbers[0])
            return _with_progress(problem, problem.rules.policy.min_progress_bps, distance_e18, effort)
    trades, search, why = max(refused, key=lambda one: problem.values_e18(one[0].sales_raw, ())[0])
    return replace(why, refused=_plan(problem, search.certified(trades), effort))


def _nothing_due(problem: Problem) -> NoPlan | None:
    """The result if the vault allows no trade now, without solving."""
    rules = problem.rules
    if rules is not None:
        weighed = weigh_basket(rules.basket)
        called = is_calendar_open(rules.state.rebalanced_at, rules.policy.calendar_seconds, rules.timestamp)
        if weighed.broken is None and not called:
            return NoPlan(
                Reason.IN_BAND, f"every weight is inside its band; the furthest is {weighed.drift_bps} bps off"
            )
    if not any(problem.sales_max_raw) or not any(problem.needs_max_raw):
        return NoPlan(Reason.NO_ROUTE, "no asset is in surplus, or no asset is in deficit")
    return None


def _too_small(problem: Problem, found: Trades) -> set[int]:
    """Assets whose sale or guaranteed purchase would be below their minimum trade."""
    return {
        i
        for i, least in enumerate(problem.min_trades_raw)
        if 0 < found.sales_raw[i] < least
        or (found.buys_raw[i] and found.buys_raw[i] * (BPS - problem.tolerance_bps) // BPS < least)
    }


def _without(amounts_raw: Sequence[int], assets: set[int]) -> tuple[int, ...]:
    return tuple(0 if i in assets else raw for i, raw in enumerate(amounts_raw))


def _plan(problem: Problem, found: Trades, effort: Effort) -> Plan:
    sales_raw, buys_raw = found.sales_raw, found.buys_raw
    market = market_of(problem.pools)
    used, best = found.optimum, found.whole
    if used is None or best is None:
        raise AssertionError("trades without a bound")
    prices = _middle_prices(problem, market, used.solution)
    swap_costs, cost = costs_of(problem, found.swaps, prices)
    sold_e18, _ = problem.values_e18(sales_raw, buys_raw)
    solved, gas_e18 = best.solution, problem.hop_cost_e18
    certificate = Certificate(
        problem.benefit_e18(sales_raw, buys_raw),
        bound_e18(used.bound),
        bound_e18(best.bound_after_gas(gas_e18 / E18)) + gas_e18 * len(found.swaps),
        sold_e18,
        max(0.0, solved.bound - solved.value) / (sold_e18 / E18),
        solved.steps,
    )
    bought = {t: raw for t, raw in zip(problem.tokens, buys_raw, strict=True) if raw}
    return Plan(
        sales_raw,
        _min_buys_raw(problem, found),
        buys_raw,
        encode(route_hops(found.swaps, bought)),
        found.swaps,
        swap_costs,
        cost,
        _worth_e18(problem, sold_e18),
        certificate,
        sentence(problem, sales_raw, buys_raw, len(found.swaps), cost),
        used.bound_by,
        was_cut=effort.was_cut,
    )


def _middle_prices(problem: Problem, market: Market, solution: Solution) -> dict[str, float]:
    """The dual's prices in USD per raw unit, scaled to the oracle's prices of the basket. By themselves they have no
    scale."""
    prices = np.exp(solution.log_prices)
    oracle = np.zeros(len(prices))
    for i, token in enumerate(problem.tokens):
        if token in market.index:
            oracle[market.index[token]] = problem.prices_e18[i] / 10.0 ** problem.decimals[i] / E18
    scales = [
        float(traded @ oracle) / float(traded @ prices) for traded in (solution.sold, solution.bought) if traded.any()
    ]
    scale = math.prod(scales) ** (1 / len(scales)) if scales else 1.0
    return dict(zip(market.tokens, (prices * scale).tolist(), strict=True))


def _judged(problem: Problem, trades: Trades) -> Settlement | NoPlan | None:
    """The settlement that the vault will compute, if its rules are given; or why the trades are refused or not worth
    their cost."""
    settlement: Settlement | None = None
    if problem.rules is not None:
        rules = problem.rules
        try:
            settlement = settle(
                *(rules.policy, rules.state, rules.basket),
                Fill(trades.sales_raw, trades.buys_raw),
                *(_min_buys_raw(problem, trades), rules.timestamp),
                epoch=rules.state.epoch,
                sales=trades.sales_raw,
            )
        except PolicyRefused as refusal:
            return NoPlan(Reason.POLICY_REFUSES, str(refusal), refusal)
    sold_e18, bought_e18 = problem.values_e18(trades.sales_raw, trades.buys_raw)
    hops = len(trades.swaps)
    paid_e18 = problem.sending_cost_e18(hops) + problem.tip_e18
    worth_e18 = _worth_e18(problem, sold_e18)
    if paid_e18 and sold_e18 - bought_e18 + paid_e18 > worth_e18:
        return NoPlan(
            Reason.NOT_WORTH_GAS,
            f"a rebalance of {dollars(sold_e18)} is worth {dollars(worth_e18)}, but would lose "
            f"{dollars(sold_e18 - bought_e18)} and cost {dollars(paid_e18)} in "
            f"{'gas, L1 data and tip' if problem.l1_cost_e18(hops) else 'gas and tip'}",
        )
    return settlement


def _worth_e18(problem: Problem, sold_e18: int) -> int:
    """What a rebalance of this value is worth."""
    part_e18 = problem.worth_e18 if problem.total_worth_e18 is None else problem.total_worth_e18
    return sold_e18 * part_e18 // E18


def _min_buys_raw(problem: Problem, trades: Trades) -> tuple[int, ...]:
    """Minimum amounts to receive."""
    least = BPS - problem.tolerance_bps
    return tuple(max(1, raw * least // BPS) if raw else 0 for raw in trades.buys_raw)


def _with_progress(problem: Problem, min_progress_bps: int, distance_e18: int, effort: Effort) -> Plan | NoPlan | None:
    """The cheapest trades with sufficient progress, for a vault that requires more progress than the last unit is
    worth, and whose limit will not rise. A sold unit and the unit bought for it reduce the distance by one each.
    """
    free = replace(problem, worth_e18=UNSTATED_WORTH_E18)
    for percent in _PROGRESS_PERCENT:
        sold_e18 = distance_e18 * min_progress_bps * percent // (2 * BPS * 100)
        if problem.sold_max_e18 is not None and sold_e18 >= problem.sold_max_e18:
            break
        found = _best_plan(replace(free, sold_max_e18=sold_e18), effort)
        if isinstance(found, Plan):
            return replace(found, bound_by="worth")
        if found is None or found.reason is not Reason.POLICY_REFUSES:
            return found
    return _best_plan(free, effort)


def _no_plan(problem: Problem) -> NoPlan:
    """The limit that prevents every trade: the pools, the budgets, or the slippage."""
    free = replace(problem, sold_max_e18=None, loss_max_e18=None)
    if Search(free, Effort()).found():
        return NoPlan(
            Reason.BUDGET_SPENT, "the remaining turnover or loss budget allows no trade: wait until it refills"
        )
    free = replace(free, slippage_limit_e18=E18, worth_e18=UNSTATED_WORTH_E18)
    if Search(free, Effort()).found():
        limit_bps = min(problem.slippage_limit_e18, problem.worth_e18) * BPS // E18
        return NoPlan(
            Reason.POLICY_REFUSES, f"every trade would lose more than the {limit_bps} bps that the vault allows now"
        )
    return NoPlan(
        Reason.NO_ROUTE,
        "no known pool connects an asset in surplus to one in deficit, or the amount is too small to buy a raw unit",
    )
