"""What the planner makes of the trades that are found: which it takes, at which limit it takes none, and what it says then."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from rebalancer.errors import PolicyRefused
from rebalancer.plan import NoPlan, Plan, Problem, plan_rebalance
from rebalancer.plan.effort import Effort
from rebalancer.plan.trades import Search, Trades
from rebalancer.reasons import Reason
from rebalancer.settlement import Basket, Fill, Policy, Settlement, State, settle, weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import Pool
from tests.unit.test_plan import (
    BITCOIN,
    DOLLAR,
    ETHER,
    ETHER_HIGH,
    EURO,
    POLICY,
    POOLS,
    basket,
    changed,
    judged,
    make_pool,
    planned,
    value,
)

NOW = 1_000


def any_ask(rng: Random) -> Problem:
    """A million dollars' worth somewhere off its targets, pools of any depth, gas, and budgets that now and then are too small."""
    policy = replace(
        POLICY,
        max_slippage_bps=rng.choice((100, 300)),
        min_progress_bps=rng.choice((100, 3_000)),
        loss_budget_bps=rng.choice((5, 20, 200)),
        turnover_budget_bps=rng.choice((500, 10_000)),
        destination_bps=rng.choice((0, 5_000)),
    )
    held = basket(
        ether=rng.choice((200, 215, 300)),
        bitcoin=rng.choice((10, 12.5, 17)),
        dollar=rng.choice((150_000, 200_000, 300_000)),
    )
    held = replace(held, timestamp=NOW, dust_bps=policy.dust_bps)
    pools: list[Pool] = [
        make_pool(one, other, 10 + i, depth_usd=10 ** rng.randint(4, 7), off_bps=rng.randint(-40, 40))
        for i, (one, other) in enumerate(((BITCOIN, ETHER), (BITCOIN, ETHER), (DOLLAR, ETHER), (BITCOIN, DOLLAR)))
    ]
    return Problem.of(
        held,
        pools,
        policy=policy,
        state=State(),
        slippage_limit_e18=policy.max_slippage_bps * E18 // BPS,
        destination_bps=policy.destination_bps,
        tolerance_bps=rng.choice((0, 10, 50)),
        gas_price_wei=rng.choice((0, 10**9, 3 * 10**11)),
        native_price_e18=2_000 * E18,
    )


def judge(problem: Problem, trades: Trades) -> Settlement | None:
    """What the vault computes; None where it refuses, or gas and losses are more than it is worth."""
    assert problem.rules is not None
    least = tuple(max(1, raw * (BPS - problem.tolerance_bps) // BPS) if raw else 0 for raw in trades.buys_raw)
    try:
        done = settle(
            *(problem.rules.policy, State(), problem.rules.basket),
            *(Fill(trades.sales_raw, trades.buys_raw), least, NOW),
            epoch=0,
            sales=trades.sales_raw,
        )
    except PolicyRefused:
        return None
    paid = problem.sending_cost_e18(len(trades.swaps)) + problem.tip_e18
    worth = done.sold_e18 * problem.rules.policy.max_slippage_bps // BPS
    return None if paid and done.sold_e18 - done.bought_e18 + paid > worth else done


def test_plan_is_the_best_that_will_do_or_one_that_ends_at_home_for_less_than_another_costs() -> None:
    rng, seen = Random(6), Counter[str]()
    for _ in range(70):
        problem = any_ask(rng)
        plan = plan_rebalance(problem)
        if isinstance(plan, NoPlan) and plan.reason is Reason.IN_BAND:
            continue
        found = Search(problem, Effort()).found()
        good = [(one, done) for one in found if (done := judge(problem, one)) is not None]
        if not good:
            seen["none will do"] += 1
            continue
        best, first = good[0]
        least = best.net_e18 - problem.sending_cost_e18(1)
        if first.after.broken is not None:
            home = [one for one in good if one[1].after.broken is None and one[0].net_e18 >= least]
            seen["home for more"] += bool(home)
            best, first = (home or good)[0]
        seen["not the first"] += best is not found[0]
        assert isinstance(plan, Plan)
        assert plan.settlement == first
        assert (plan.sales_raw, plan.expected_buys_raw) == (best.sales_raw, best.buys_raw)
        assert plan.certificate.value_e18 - problem.hop_cost_e18 * len(plan.swaps) == best.net_e18
    assert min(seen["none will do"], seen["not the first"], seen["home for more"]) > 0, seen


def test_plan_is_of_single_routes_where_the_vault_refuses_all_that_is_worth_more() -> None:
    rng, seen = Random(101), 0
    for _ in range(23):
        problem = any_ask(rng)
        search = Search(problem, Effort())
        if any(judge(problem, one) for one in search.found()):
            continue
        good = [one for one in search.alone(None) if judge(problem, one)]
        if good:
            plan = plan_rebalance(problem)
            assert isinstance(plan, Plan)
            assert plan.sales_raw == max(good, key=lambda one: one.net_e18).sales_raw
            seen += 1
            # What might arrive below its minimum is left out of these too.
            least = plan.expected_buys_raw
            again = plan_rebalance(with_minimums(problem, least))
            arrives = again.min_buys_raw if isinstance(again, Plan) else ()
            assert not any(0 < raw < most for raw, most in zip(arrives, least, strict=False))
    assert seen > 0


def with_minimums(problem: Problem, least_raw: tuple[int, ...]) -> Problem:
    """The same with minimum trades, where a little less than expected may arrive."""
    assert problem.rules is not None
    held = changed(problem.rules.basket, min_trade_raw=least_raw)
    rules = replace(problem.rules, basket=held)
    return replace(problem, min_trades_raw=least_raw, rules=rules, tolerance_bps=10)


def test_plan_may_cost_all_that_bringing_home_is_worth_and_not_a_unit_more() -> None:
    """With a native token of a dollar, a tip of a wei is a unit of value."""
    free = plan_rebalance(judged())
    assert isinstance(free, Plan)
    assert free.settlement is not None
    spare = free.worth_e18 - free.settlement.loss_e18
    for tip_wei, is_worth_it in ((spare, True), (spare + 1, False)):
        found = plan_rebalance(judged(tip_wei=tip_wei, native_price_e18=E18))
        assert isinstance(found, Plan) is is_worth_it
        if isinstance(found, NoPlan):
            assert found.reason is Reason.NOT_WORTH_GAS
            assert found.refused is not None
            assert found.refused.sales_raw == free.sales_raw
            assert found.text.endswith("in gas and tip")
            assert f"would lose ${free.settlement.loss_e18 / E18:,.2f} and cost" in found.text


# Waiting

CLIMBING = replace(POLICY, start_slippage_bps=90, max_slippage_bps=150, slippage_ramp_seconds=3_600)
ALMOST_FAR = basket(ether=226, bitcoin=13.1, dollar=200_000)
"""WETH is 3.3 % above its target, with a band of 2 %: worth waiting for better prices."""


def waiting(due_since: int = 0, **changes: Any) -> Problem:
    """The limit is 90 bps now and 150 later, and a third of it is what is paid: less than the pools' fee and what they lose."""
    held = replace(ALMOST_FAR, timestamp=NOW, dust_bps=CLIMBING.dust_bps)
    pools = tuple(make_pool(*pair, i, depth_usd=10**6) for i, pair in enumerate(
        ((BITCOIN, ETHER), (DOLLAR, ETHER), (BITCOIN, DOLLAR)), 1
    ))  # fmt: skip
    problem = Problem.of(
        held,
        pools,
        policy=CLIMBING,
        state=State(due_since=due_since),
        slippage_limit_e18=90 * E18 // BPS,
    )
    return replace(problem, **changes)


def test_better_prices_are_waited_for_unless_that_costs_all_there_is_to_be_saved() -> None:
    """Where nobody has told the vault, telling it costs gas; at a wei for a unit of gas and a dollar for a token, each is a unit."""
    found = plan_rebalance(waiting())
    at_once = plan_rebalance(waiting().at_once)
    assert isinstance(found, NoPlan)
    assert isinstance(at_once, Plan)
    assert found.reason is Reason.AWAITS_PRICE
    assert found.refused == at_once
    assert at_once.settlement is not None
    sold, loss = at_once.settlement.sold_e18 / E18, at_once.settlement.loss_e18 / E18
    assert f"a rebalance of ${sold:,.2f} would lose ${loss:,.2f} now" in found.text
    assert "30.0 bps per unit" in found.text

    cheap = {"gas_price_wei": 1, "native_price_e18": E18}
    to_save = -waiting().benefit_e18(at_once.sales_raw, at_once.expected_buys_raw)
    assert to_save > 0
    for gas, is_at_once in ((to_save, True), (to_save - 1, False)):
        again = plan_rebalance(waiting(gas_per_wait=gas, **cheap))
        assert isinstance(again, Plan) is is_at_once
        # Told already, waiting costs nothing more.
        assert isinstance(plan_rebalance(waiting(NOW - 10, gas_per_wait=gas, **cheap)), NoPlan)


def test_nothing_is_waited_for_where_nothing_could_be_traded_at_once_either() -> None:
    for limits, reason in (
        ({"sold_max_e18": 0}, Reason.BUDGET_SPENT),
        (
            {"slippage_limit_e18": 29 * E18 // BPS, "at_most_e18": 29 * E18 // BPS},
            Reason.POLICY_REFUSES,
        ),
        ({"pools": ()}, Reason.NO_ROUTE),
    ):
        found = plan_rebalance(waiting(**limits))
        assert isinstance(found, NoPlan)
        assert found.reason is reason


@pytest.mark.parametrize(("limit_bps", "worth_bps"), [(29, 50), (50, 29)])
def test_plan_that_every_trade_is_too_dear_for_names_the_narrower_limit(limit_bps: int, worth_bps: int) -> None:
    problem = Problem.of(ETHER_HIGH, POOLS, slippage_limit_e18=limit_bps * E18 // BPS)
    found = plan_rebalance(replace(problem, worth_e18=worth_bps * E18 // BPS))
    assert isinstance(found, NoPlan)
    assert found.reason is Reason.POLICY_REFUSES
    assert "more than the 29 bps that" in found.text


# Due or not


def test_plan_inside_the_bands_is_made_where_the_calendar_asks() -> None:
    inside = replace(basket(ether=206, bitcoin=13.2, dollar=200_000), timestamp=NOW)
    off = weigh_basket(inside).drift_bps
    for calendar, rebalanced_at, is_due in ((0, 0, False), (600, 0, True), (600, 700, False)):
        policy = replace(POLICY, calendar_seconds=calendar)
        state = State(rebalanced_at=rebalanced_at)
        problem = Problem.of(
            replace(inside, dust_bps=10), POOLS, policy=policy, state=state, slippage_limit_e18=E18 // 100
        )  # fmt: skip
        found = plan_rebalance(problem)
        assert isinstance(found, Plan) is is_due
        if isinstance(found, NoPlan):
            assert found.reason is Reason.IN_BAND
            assert f"the furthest is {off} bps off" in found.text


@pytest.mark.parametrize("empty", ["sales_max_raw", "needs_max_raw"])
def test_plan_with_one_side_empty_has_nothing_to_trade_for(empty: str) -> None:
    problem = Problem.of(ETHER_HIGH, POOLS)
    nothing: dict[str, Any] = {empty: (0, 0, 0)}
    found = plan_rebalance(replace(problem, **nothing))
    assert isinstance(found, NoPlan)
    assert "no asset is in surplus" in found.text


def test_sale_of_just_its_minimum_is_made_and_of_less_is_not() -> None:
    problem = Problem.of(ETHER_HIGH, POOLS[1:2])
    sold = planned(pools=POOLS[1:2]).sales_raw[0]
    assert sold < problem.sales_max_raw[0]
    for least, is_made in ((sold, True), (sold + 1, False)):
        held = changed(ETHER_HIGH, min_trade_raw=(least, 0, 0))
        found = plan_rebalance(Problem.of(held, POOLS[1:2]))
        assert isinstance(found, Plan) is is_made


# Progress

PROGRESS = replace(
    POLICY,
    min_progress_bps=5_000,
    loss_budget_bps=10_000,
    start_slippage_bps=300,
    max_slippage_bps=300,
)
SHALLOW = (make_pool(BITCOIN, ETHER, 1, depth_usd=300_000), POOLS[1])


def progressing(policy: Policy = PROGRESS, **changes: Any) -> Problem:
    """The next unit is worth a percent, and half of 160,000 dollars is to be brought home in one go."""
    held: Basket = replace(ETHER_HIGH, timestamp=NOW, dust_bps=policy.dust_bps)
    limit_e18 = 3 * E18 // 100
    problem = Problem.of(held, SHALLOW, policy=policy, state=State(), slippage_limit_e18=limit_e18)
    return replace(problem, worth_e18=E18 // 100, **changes)


def test_plan_for_progress_sells_a_little_more_than_progress_takes() -> None:
    plan = plan_rebalance(progressing())
    assert isinstance(plan, Plan)
    assert plan.bound_by == "worth"
    assert value(plan.sales_raw) == pytest.approx(80_000 * 1.02, rel=1e-6)


def test_plan_for_progress_stays_within_what_is_left_of_the_turnover() -> None:
    """Half a percent more than progress takes, which is more than losses take of it; and less than progress takes."""
    for usd, is_plan in ((81_200, True), (81_600, True), (79_000, False)):
        found = plan_rebalance(progressing(sold_max_e18=usd * E18))
        assert isinstance(found, Plan) is is_plan, usd
        if isinstance(found, Plan):
            assert value(found.sales_raw) == pytest.approx(usd, rel=1e-6)
        else:
            assert found.refusal is not None
            assert found.refusal.error == "TooLittleProgress"


def test_plan_for_progress_that_is_not_worth_its_tip_says_that() -> None:
    found = plan_rebalance(progressing(tip_wei=3_000 * E18, native_price_e18=E18))
    assert isinstance(found, NoPlan)
    assert found.reason is Reason.NOT_WORTH_GAS
    assert found.refused is not None
    assert value(found.refused.sales_raw) == pytest.approx(80_000 * 1.02, rel=1e-6)


# What a plan says of how good it is


def test_certificate_bounds_a_plan_closely_from_above() -> None:
    rng, gaps = Random(23), list[float]()
    for _ in range(30):
        problem = replace(any_ask(rng), rules=None, total_worth_e18=None)
        plan = plan_rebalance(problem)
        if isinstance(plan, NoPlan):
            continue
        found, gas_e18 = plan.certificate, problem.hop_cost_e18
        sold_e18 = problem.values_e18(plan.sales_raw, ())[0]
        assert found.sold_e18 == sold_e18
        assert found.value_e18 == problem.benefit_e18(plan.sales_raw, plan.expected_buys_raw)
        assert plan.worth_e18 == sold_e18 * problem.worth_e18 // E18
        slack_e18 = sold_e18 // 10**9 + 10**12
        assert found.value_e18 <= found.bound_e18 + slack_e18
        assert found.value_e18 <= found.all_pools_bound_e18 + slack_e18
        # No pool is left out for its gas alone where there is none.
        if not gas_e18:
            assert abs(found.bound_e18 - found.all_pools_bound_e18) <= max(slack_e18, sold_e18 // 1_000)
        assert 0 <= found.gap_before_rounding < 1e-6
        assert found.steps > 0
        gaps.append(found.gap_before_rounding)
    assert len(gaps) > 15
    assert max(gaps) > 0


def test_leg_through_a_token_outside_the_basket_is_worth_what_it_is() -> None:
    through = (make_pool(ETHER, EURO, 5), make_pool(BITCOIN, EURO, 6))
    plan = planned(pools=through)
    first, second = plan.swap_costs
    assert first.value_e18 / E18 == pytest.approx(value(plan.sales_raw), rel=1e-9)
    # A euro is a dollar here.
    assert second.value_e18 / E18 == pytest.approx(plan.swaps[1].amount_in_raw / 10**6, rel=0.01)
    assert second.value_e18 < first.value_e18
    assert min(first.impact_e18, second.impact_e18) > 0


def test_shares_of_a_token_are_parts_of_all_that_is_sold_of_it() -> None:
    plan = planned()
    one, other = plan.swaps[0], replace(plan.swaps[0], token_in=EURO.address)
    swaps = (
        replace(one, amount_in_raw=1),
        replace(other, amount_in_raw=7),
        replace(one, amount_in_raw=3),
    )
    assert replace(plan, swaps=swaps).shares == (0.25, 1.0, 0.75)
