"""How much the next unit may lose, and when better prices are waited for instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.keeper.decide import Action, Conditions, decide
from rebalancer.lab.backtest import BacktestFeed, BacktestMarket, BacktestVault
from rebalancer.plan import NoPlan, Plan, Problem, plan_rebalance
from rebalancer.plan.wait_rule import WaitRule, wait_rule
from rebalancer.policy import slippage_e18
from rebalancer.reasons import Reason
from rebalancer.settlement import Basket, Policy, State, weigh_basket
from rebalancer.units import BPS, E18
from tests.unit.test_plan import BITCOIN, DOLLAR, ETHER, POOLS, USD, basket

RAMP = 3_600
POLICY = Policy(
    start_slippage_bps=90,
    max_slippage_bps=150,
    slippage_ramp_seconds=RAMP,
    min_progress_bps=2_000,
    dust_bps=2,
    cooldown_seconds=600,
    loss_budget_bps=500,
    loss_period_seconds=86_400,
    turnover_budget_bps=10_000,
    turnover_period_seconds=86_400,
)
SEEN_AT = 1_000_000
ALMOST_FAR = basket(ether=226, bitcoin=13.1, dollar=200_000)
"""WETH is 3.3 % above its target, with a band of 2 %."""
FAR = basket(ether=240, bitcoin=12.8, dollar=200_000)
"""WETH is 5.1 % above its target, with a band of 2 %."""


def paid(held: Basket, seconds: int, policy: Policy = POLICY) -> WaitRule:
    """What is paid so many seconds after the break was seen."""
    at = SEEN_AT + seconds
    held = replace(held, timestamp=at)
    state = State(due_since=SEEN_AT)
    return wait_rule(policy, state, held, weigh_basket(held), limit(policy, at))


def limit(policy: Policy, at: int) -> int:
    """The vault's limit then."""
    slopes = policy.start_slippage_bps, policy.max_slippage_bps, policy.slippage_ramp_seconds
    return slippage_e18(*slopes, SEEN_AT, at)


def problem(held: Basket, seconds: int, policy: Policy = POLICY) -> Problem:
    """What a plan is made of so many seconds after the break was seen."""
    at = SEEN_AT + seconds
    return Problem.of(
        replace(held, timestamp=at, dust_bps=policy.dust_bps),
        POOLS,
        policy=policy,
        state=State(due_since=SEEN_AT),
        slippage_limit_e18=limit(policy, at),
    )


@pytest.mark.parametrize(("seconds", "limit_bps"), [(0, 90), (RAMP // 2, 120)])
def test_next_unit_may_lose_a_third_of_a_limit_that_climbs(seconds: int, limit_bps: int) -> None:
    found = paid(ALMOST_FAR, seconds)

    assert found == WaitRule(limit_bps * E18 // (3 * BPS), limit_bps * E18 // BPS)


@pytest.mark.parametrize("seconds", [RAMP, RAMP + 1, 100 * RAMP])
def test_next_unit_may_lose_all_of_a_limit_that_has_climbed(seconds: int) -> None:
    assert paid(ALMOST_FAR, seconds) == WaitRule(150 * E18 // BPS, 150 * E18 // BPS)


def test_a_weight_two_bands_from_its_target_is_not_waited_with() -> None:
    found = paid(FAR, 0)

    assert found == WaitRule(90 * E18 // BPS, 90 * E18 // BPS)


def test_two_bands_are_far_to_the_unit() -> None:
    """WETH at 44 % with a target of 40 % and a band of 2 %, and a wei below that."""
    at_two = basket(ether=220, bitcoin=12, dollar=200_000)
    below = replace(at_two, held=(at_two.held[0] - 1, *at_two.held[1:]))

    assert paid(at_two, 0).now_e18 == 90 * E18 // BPS
    assert paid(below, 0).now_e18 == 30 * E18 // BPS


def test_a_vault_that_is_open_to_anyone_is_not_waited_with() -> None:
    opens = replace(POLICY, open_after_seconds=RAMP // 2)
    kept, open_now = paid(ALMOST_FAR, RAMP // 2 - 1, opens), paid(ALMOST_FAR, RAMP // 2, opens)

    assert kept.now_e18 == kept.at_most_e18 // 3
    assert open_now == WaitRule(120 * E18 // BPS, 120 * E18 // BPS)


def test_a_flat_limit_asks_for_no_patience() -> None:
    flat = replace(POLICY, start_slippage_bps=150)

    assert paid(ALMOST_FAR, 0, flat) == WaitRule(150 * E18 // BPS, 150 * E18 // BPS)


def test_plan_that_costs_too_much_now_awaits_a_price_and_names_what_it_would_be() -> None:
    """Each of these pools keeps 0.3 %, so that nothing can lose less than 25 bps."""
    early = replace(POLICY, start_slippage_bps=75)
    found = plan_rebalance(problem(ALMOST_FAR, 0, early))

    assert isinstance(found, NoPlan)
    assert found.reason is Reason.AWAITS_PRICE
    assert "25.0 bps per unit" in found.text
    assert found.refusal is None
    assert found.refused == plan_rebalance(problem(ALMOST_FAR, 0, early).at_once)


def test_plan_that_awaited_a_price_is_made_once_the_limit_has_climbed() -> None:
    early = replace(POLICY, start_slippage_bps=75)
    found = plan_rebalance(problem(ALMOST_FAR, RAMP, early))

    assert isinstance(found, Plan)
    assert found.settlement is not None
    assert found.settlement.after.broken is None


def test_plan_while_waiting_takes_what_is_cheap_and_leaves_the_rest() -> None:
    """A limit of 93 bps lets the next unit lose 31: a fee of 30, and 1 for moving a pool."""
    policy = replace(POLICY, start_slippage_bps=93)
    held_out = problem(ALMOST_FAR, 0, policy)
    some, every = plan_rebalance(held_out), plan_rebalance(held_out.at_once)

    assert isinstance(some, Plan)
    assert isinstance(every, Plan)
    assert some.bound_by == "worth"
    assert some.certificate.sold_e18 < every.certificate.sold_e18
    assert (some.cost.total_e18 - some.cost.gas_e18) * BPS <= 31 * some.certificate.sold_e18


def test_what_no_patience_helps_is_told_as_it_is() -> None:
    """Without a pool there is no route, now or later."""
    lonely = replace(problem(ALMOST_FAR, 0), pools=())
    found = plan_rebalance(lonely)

    assert isinstance(found, NoPlan)
    assert found.reason is Reason.NO_ROUTE


def test_a_break_nobody_has_seen_is_stamped_so_that_patience_ends() -> None:
    early = replace(POLICY, start_slippage_bps=75)
    names = {ETHER: "ETH/USD", BITCOIN: "BTC/USD", DOLLAR: "USDC/USD"}
    prices_e8 = {name: USD[token] * 10**8 for token, name in names.items()}
    feeds = [BacktestFeed(name, token.address, RAMP) for token, name in names.items()]
    market = BacktestMarket(feeds, POOLS, prices_e8, SEEN_AT)
    vault = BacktestVault("0x" + "ee" * 20, ALMOST_FAR.assets, ALMOST_FAR.held, early)
    nothing_for_gas = Conditions(0)

    first = decide(vault.snapshot(market, SEEN_AT), POOLS, nothing_for_gas)
    stamped = vault.poked(market, SEEN_AT)
    second = decide(stamped.snapshot(market, SEEN_AT + 60), POOLS, nothing_for_gas)
    third = decide(stamped.snapshot(market, SEEN_AT + RAMP), POOLS, nothing_for_gas)

    assert first.step is Action.POKE
    assert stamped.state.due_since == SEEN_AT
    assert (second.step, second.reason) == (Action.NOTHING, Reason.AWAITS_PRICE)
    assert third.step is Action.REBALANCE


@pytest.mark.parametrize("is_seen", [False, True])
def test_waiting_begins_only_where_it_can_save_its_gas(is_seen: bool) -> None:
    """68,000 dollars lose 300 at once; a third of the limit would be 170. Waiting costs 216,000 gas."""
    early = problem(ALMOST_FAR, 0, replace(POLICY, start_slippage_bps=75))
    assert early.rules is not None
    rules = replace(early.rules, state=State(due_since=SEEN_AT if is_seen else 0))
    early = replace(early, rules=rules, native_price_e18=2_000 * E18, gas_per_hop=0)
    cheap = plan_rebalance(replace(early, gas_price_wei=10**9))
    dear = plan_rebalance(replace(early, gas_price_wei=3 * 10**11))

    assert isinstance(cheap, NoPlan)
    assert cheap.reason is Reason.AWAITS_PRICE
    assert isinstance(dear, NoPlan) is is_seen
