"""Plans for small baskets: which limit bound them, what they cost, and what is refused."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace
from math import isqrt
from typing import Any

import pytest

from rebalancer.chain.interfaces import interface
from rebalancer.errors import BadPlanInput, NoRoute, PolicyRefused
from rebalancer.plan import NoPlan, Plan, Problem, best_sale, plan_rebalance
from rebalancer.plan.flow_to_swaps import route_hops
from rebalancer.reasons import Reason
from rebalancer.route import decode, encode
from rebalancer.send.signer import devnet_signer
from rebalancer.settlement import Asset, Basket, Fill, Policy, Price, State, settle, weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import Pool, Token, UniswapV3Pool, synthetic
from rebalancer.venues.uniswap_v3 import v3_hop

BITCOIN = Token("0x" + "1" * 40, "WBTC", 8)
DOLLAR = Token("0x" + "2" * 40, "USDC", 6)
ETHER = Token("0x" + "3" * 40, "WETH", 18)
EURO = Token("0x" + "4" * 40, "EURC", 6)
USD = {BITCOIN: 30_000, DOLLAR: 1, ETHER: 2_000, EURO: 1}

POLICY = Policy(
    start_slippage_bps=100,
    max_slippage_bps=100,
    slippage_ramp_seconds=1,
    min_progress_bps=1_000,
    dust_bps=10,
    cooldown_seconds=0,
    loss_budget_bps=100,
    loss_period_seconds=86_400,
    turnover_budget_bps=10_000,
    turnover_period_seconds=86_400,
)


def make_pool(token0: Token, token1: Token, number: int, *, depth_usd: int = 10**7, off_bps: int = 0) -> UniswapV3Pool:
    """A 0.3 % pool; token0 is worth `off_bps` more in it than outside."""
    # {raw1/raw0} = {usd/token0} / {usd/token1} * 10^decimals1 / 10^decimals0
    over = USD[token0] * 10**token1.decimals * (BPS + off_bps) << 192
    under = USD[token1] * 10**token0.decimals * BPS
    return synthetic(
        token0,
        token1,
        fee_pips=3_000,
        tick_spacing=60,
        sqrt_price_x96=isqrt(over // under),
        depth1_raw=depth_usd * 10**token1.decimals // USD[token1],
        address=f"0x{number:040x}",
    )


POOLS = (
    make_pool(BITCOIN, ETHER, 1),
    make_pool(DOLLAR, ETHER, 2),
    make_pool(BITCOIN, DOLLAR, 3),
)


def basket(**held: float) -> Basket:
    """Whole tokens held of WETH, WBTC, USDC; targets 40, 40 and 20 %; a million dollars' worth and more."""
    tokens = {"ether": ETHER, "bitcoin": BITCOIN, "dollar": DOLLAR}
    targets = {"ether": 4, "bitcoin": 4, "dollar": 2}
    return Basket(
        tuple(Asset(t.address, targets[n] * E18 // 10, 200, t.decimals) for n, t in tokens.items()),
        tuple(int(held[n] * 10**t.decimals) for n, t in tokens.items()),
        tuple(Price(USD[t] * E18, USD[t] * E18, USD[t] * E18) for t in tokens.values()),
    )


ETHER_HIGH = basket(ether=300, bitcoin=10, dollar=200_000)
"""Worth 1.1m; WETH is 160,000 USD above its target, WBTC 140,000 and USDC 20,000 below theirs."""


def planned(held: Basket = ETHER_HIGH, pools: tuple[Pool, ...] = POOLS, **limits: Any) -> Plan:
    """The plan for a basket; there must be one."""
    found = plan_rebalance(replace(Problem.of(held, pools), **limits))
    assert isinstance(found, Plan), found
    return found


def refused(held: Basket = ETHER_HIGH, pools: tuple[Pool, ...] = POOLS, **limits: Any) -> NoPlan:
    """Why there is no plan for a basket."""
    found = plan_rebalance(replace(Problem.of(held, pools), **limits))
    assert isinstance(found, NoPlan), found
    return found


def value(amounts_raw: tuple[int, ...]) -> float:
    """Worth of amounts of WETH, WBTC and USDC in USD."""
    prices = zip((ETHER, BITCOIN, DOLLAR), amounts_raw, strict=True)
    return float(sum(raw * USD[token] / 10**token.decimals for token, raw in prices))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"decimals": (18, 8)}, "decimals has 2 entries, not 3"),
        ({"sales_max_raw": (1,)}, "sales_max_raw has 1 entries"),
        ({"hi_e18": ()}, "hi_e18 has 0 entries"),
        ({"tokens": (ETHER.address,) * 3}, "named twice"),
        ({"sales_max_raw": (-1, 0, 0)}, "asset 0 has a negative amount"),
        ({"needs_max_raw": (0, 0, -5)}, "asset 2 has a negative amount"),
        ({"sales_max_raw": (5, 5, 0)}, "asset 1 is both in surplus and in deficit"),
        ({"prices_e18": (0, 0, 0)}, "the prices of asset 0 are not"),
        ({"lo_e18": (E18, 0, E18)}, "the prices of asset 1 are not"),
        ({"hi_e18": (1, 1, 1)}, "the prices of asset 0 are not"),
    ],
)
def test_plan_of_input_that_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPlanInput, match=why):
        replace(Problem.of(ETHER_HIGH, POOLS), **changes)


def test_plan_of_a_basket_with_an_unsound_price_is_refused() -> None:
    prices = (Price(0, 0, 0, "Stale"), *ETHER_HIGH.prices[1:])
    with pytest.raises(PolicyRefused, match="OracleFault"):
        Problem.of(replace(ETHER_HIGH, prices=prices), POOLS)


@pytest.mark.parametrize("pools", [(), POOLS[2:], (make_pool(DOLLAR, EURO, 9),)], ids=["none", "others", "elsewhere"])
def test_plan_without_a_way_says_no_route(pools: tuple[Pool, ...]) -> None:
    found = refused(pools=pools)

    assert found.reason is Reason.NO_ROUTE
    assert "no known pool connects" in found.text


def test_plan_with_nothing_to_trade_for_says_so() -> None:
    on_target = basket(ether=200, bitcoin=40 / 3, dollar=200_000)
    found = refused(on_target, needs_max_raw=(0, 0, 0))

    assert found.reason is Reason.NO_ROUTE
    assert "no asset is in surplus" in found.text


@pytest.mark.parametrize("budget", [{"sold_max_e18": 0}, {"loss_max_e18": 0}], ids=str)
def test_plan_with_a_budget_spent_says_so(budget: dict[str, Any]) -> None:
    found = refused(**budget)

    assert found.reason is Reason.BUDGET_SPENT


def test_plan_above_the_slippage_from_the_first_unit_on_says_so() -> None:
    # The fee alone is 30 bps.
    found = refused(slippage_limit_e18=29 * E18 // BPS)

    assert found.reason is Reason.POLICY_REFUSES
    assert "29 bps" in found.text


def changed(held: Basket, **fields: tuple[Any, ...]) -> Basket:
    """The basket with a field of each asset replaced."""
    assets = held.assets
    for name, values in fields.items():
        assets = tuple(replace(a, **{name: v}) for a, v in zip(assets, values, strict=True))
    return replace(held, assets=assets)


def test_plan_without_what_is_below_its_minimum_trade_fills_the_rest() -> None:
    """20,000 USDC lack, and no less than 25,000 may be bought: all of it is bought as WBTC, up to what lacks of that."""
    plan = planned(changed(ETHER_HIGH, min_trade_raw=(0, 0, 25_000 * 10**6)))

    assert plan.min_buys_raw[2] == plan.expected_buys_raw[2] == 0
    assert value((0, plan.expected_buys_raw[1], 0)) == pytest.approx(140_000, abs=300)
    assert 140_000 < value(plan.sales_raw) < 141_000
    assert {split.token_out for split in plan.swaps} == {BITCOIN.address}


def test_plan_whose_sale_is_below_its_minimum_sells_the_others() -> None:
    """1,000 dollars too much of USDC must stay; half of WETH's 100,000 goes."""
    held = basket(ether=250, bitcoin=10, dollar=201_000)
    problem = Problem.of(held, POOLS)
    assert problem.sales_max_raw[2] > 0
    least = problem.sales_max_raw[2] + 1

    plan = planned(changed(held, min_trade_raw=(0, 0, least)))

    assert (plan.sales_raw[2], plan.sales_raw[1]) == (0, 0)
    assert value(plan.sales_raw) == pytest.approx(value((problem.sales_max_raw[0], 0, 0)), rel=0.001)


def test_plan_of_trades_that_are_all_too_small_is_refused() -> None:
    found = refused(changed(ETHER_HIGH, min_trade_raw=(10**21, 0, 0)))

    assert found.reason is Reason.POLICY_REFUSES
    assert "below the minimum trade" in found.text


def test_purchase_that_might_arrive_below_its_minimum_is_left_out() -> None:
    """What the pools pay is enough; what the keeper insists on is ten basis points less, and not."""
    free = planned()
    for short, traded in ((1, False), (-1, True)):
        least = free.min_buys_raw[2] + short
        plan = planned(changed(ETHER_HIGH, min_trade_raw=(0, 0, least)))
        assert (plan.expected_buys_raw[2] > 0) is traded


@pytest.mark.parametrize(("destination_bps", "sold_usd"), [(0, 160_000), (5_000, 149_000), (BPS, 138_000)])
def test_plan_sells_no_more_than_brings_every_asset_to_its_destination(destination_bps: int, sold_usd: int) -> None:
    """Bands are 2 % of 1.1 million: 22,000 of WETH's 160,000 may stay, or half of that.

    Below its target WBTC lacks 140,000; USDC is inside its band from the start.
    """
    problem = Problem.of(ETHER_HIGH, POOLS, destination_bps=destination_bps)
    plan = plan_rebalance(problem)

    assert isinstance(plan, Plan)
    assert value(plan.sales_raw) == pytest.approx(sold_usd, abs=0.01)
    assert plan.bound_by is None
    rules = replace(POLICY, destination_bps=destination_bps)
    settle(
        *(rules, State(), ETHER_HIGH, Fill(plan.sales_raw, plan.expected_buys_raw)),
        *(plan.min_buys_raw, 1),
        epoch=0,
    )


def test_plan_bound_by_both_need_and_turnover_names_the_budget() -> None:
    problem = Problem.of(ETHER_HIGH, POOLS, destination_bps=BPS, turnover_left_e18=E18 // 20)
    plan = plan_rebalance(problem)

    assert isinstance(plan, Plan)
    assert plan.bound_by == "turnover"
    assert value(plan.sales_raw) == pytest.approx(55_000, abs=0.01)


def test_plan_leaves_an_excluded_asset_alone_and_needs_no_price_of_it() -> None:
    """Without its USDC the basket is half WETH and half WBTC, of 900,000 dollars."""
    targets = (E18 // 2, E18 // 2, 0)
    held = changed(ETHER_HIGH, target_e18=targets, start_target_e18=targets)
    held = changed(held, excluded=(False, False, True))
    held = replace(held, prices=(*held.prices[:2], Price(0, 0, 0, "Stale")))

    plan = planned(held)

    assert (plan.sales_raw[2], plan.expected_buys_raw[2]) == (0, 0)
    assert value(plan.sales_raw) == pytest.approx(150_000, abs=0.01)


def test_plan_on_gliding_targets_is_still_allowed_two_minutes_later() -> None:
    """WETH's target climbs, so less of it may be sold soon; USDC's falls, so more may be, but not yet."""
    ends = (6 * E18 // 10, 4 * E18 // 10, 0)
    held = changed(ETHER_HIGH, target_e18=ends)
    held = replace(held, glide_start=1_000, glide_end=2_000, timestamp=1_100)

    problem = Problem.of(held, POOLS)

    # 22 % of the way WETH's target is 44.4 %; USDC's was 18 %, of 1.1 million, when the plan was made.
    assert problem.sales_max_raw == (558 * E18 // 10, 0, 2_000 * 10**6)
    plan = planned(held)
    for at in (1_100, 1_160, 1_220):
        settle(
            *(POLICY, State(), held, Fill(plan.sales_raw, plan.expected_buys_raw)),
            *(plan.min_buys_raw, at),
            epoch=0,
        )


def test_plan_for_one_surplus_fills_both_deficits_by_their_worth() -> None:
    problem = Problem.of(ETHER_HIGH, POOLS)
    plan = planned()

    assert problem.needs_max_raw == (0, 466_666_666, 20_000 * 10**6)
    assert plan.sales_raw[1:] == (0, 0)
    assert value(plan.sales_raw) == pytest.approx(160_000, abs=0.01)
    assert plan.expected_buys_raw[0] == 0
    assert 138_000 < value((0, plan.expected_buys_raw[1], 0)) < 140_000
    assert 19_800 < value((0, 0, plan.expected_buys_raw[2])) < 20_000
    assert plan.bound_by is None
    assert plan.text.startswith("sell 80.000000 WETH for 4.6")


def test_plan_is_what_its_legs_add_up_to() -> None:
    shallow = (
        make_pool(BITCOIN, ETHER, 1, depth_usd=2 * 10**6),
        make_pool(DOLLAR, ETHER, 2),
        make_pool(BITCOIN, DOLLAR, 3),
    )
    plan = planned(pools=shallow)
    sold = sum(swap.amount_in_raw for swap in plan.swaps if swap.token_in == ETHER.address)
    by_pool: dict[str, Pool] = {pool.address: pool for pool in shallow}
    used = [swap.pool.address for swap in plan.swaps]
    assert len(used) == len(set(used)) == 3, "every pool is used, and once"

    assert plan.sales_raw == (sold, 0, 0)
    for swap in plan.swaps:
        # Each leg starts where the one before left the pool.
        assert swap.pool == by_pool[swap.pool.address]
        assert swap.pool.quote_in(swap.token_in, swap.token_out, swap.amount_in_raw) == swap.amount_out_raw
        by_pool[swap.pool.address] = swap.pool_after
    route = decode(plan.route)
    assert [hop.body for hop in route] == [bytes.fromhex(swap.pool.address[2:]) for swap in plan.swaps]


def test_plan_costs_add_up_to_what_the_basket_loses() -> None:
    plan = planned(gas_price_wei=10**10, native_price_e18=2_000 * E18)
    lost = value(plan.sales_raw) - value(plan.expected_buys_raw)
    swaps = len(plan.swaps)

    assert (plan.cost.fee_e18 + plan.cost.impact_e18) / E18 == pytest.approx(lost, abs=1e-3)
    assert plan.cost.fee_e18 / E18 >= 0.003 * 160_000 * 0.999
    assert plan.cost.impact_e18 > 0
    # {usd} = {gas} * {wei/gas} * {usd/native} / {wei/native}
    assert plan.cost.gas_e18 == (200_000 + 90_000 * swaps) * 10**10 * 2_000
    assert plan.cost.total_e18 == plan.cost.fee_e18 + plan.cost.impact_e18 + plan.cost.gas_e18


def test_plan_for_two_surpluses_and_one_deficit_buys_from_both() -> None:
    held = basket(ether=260, bitcoin=18, dollar=10_000)
    plan = planned(held)

    assert plan.sales_raw[0] > 0
    assert plan.sales_raw[1] > 0
    assert plan.expected_buys_raw[:2] == (0, 0)
    assert plan.expected_buys_raw[2] <= Problem.of(held, POOLS).needs_max_raw[2]


@pytest.mark.parametrize(
    "held",
    [
        ETHER_HIGH,
        basket(ether=150, bitcoin=17, dollar=200_000),
        basket(ether=260, bitcoin=18, dollar=10_000),
        basket(ether=100, bitcoin=8, dollar=500_000),
        basket(ether=0, bitcoin=0, dollar=1_000_000),
    ],
    ids=["ether-high", "ether-low", "dollars-low", "dollars-high", "all-dollars"],
)
@pytest.mark.parametrize("off_bps", [-90, 0, 60])
def test_plan_carried_out_is_what_the_policy_accepts(held: Basket, off_bps: int) -> None:
    """Also where pools pay better or worse than the oracle."""
    pools = (make_pool(BITCOIN, ETHER, 1, off_bps=off_bps), *POOLS[1:])
    plan = planned(held, pools, slippage_limit_e18=E18 // 100)

    settled = settle(
        POLICY,
        State(),
        held,
        Fill(plan.sales_raw, plan.expected_buys_raw),
        plan.min_buys_raw,
        1_000,
        epoch=0,
    )
    assert settled.after.distance_e18 < settled.before.distance_e18 // 5


def test_plan_with_poor_pools_trades_as_much_as_the_slippage_allows() -> None:
    shallow = (make_pool(BITCOIN, ETHER, 1, depth_usd=400_000), make_pool(DOLLAR, ETHER, 2))
    limit_e18 = 80 * E18 // BPS
    free = planned(pools=shallow)
    plan = planned(pools=shallow, slippage_limit_e18=limit_e18)

    assert value(free.expected_buys_raw) < value(free.sales_raw) * 0.992
    assert value(plan.expected_buys_raw) >= value(plan.sales_raw) * 0.992
    assert value(plan.sales_raw) > 60_000
    # Not all of the trade's size is given up: a little more would be too much.
    assert value(plan.expected_buys_raw) < value(plan.sales_raw) * 0.992 + 0.01
    assert plan.bound_by == "slippage"


def test_plan_with_pools_that_pay_too_well_never_overshoots_the_need() -> None:
    # A bitcoin is 3 % cheaper in this pool than outside.
    generous = (make_pool(BITCOIN, ETHER, 1, off_bps=-300), *POOLS[1:])
    problem = Problem.of(ETHER_HIGH, generous)
    plan = planned(pools=generous)

    assert plan.expected_buys_raw[1] <= problem.needs_max_raw[1]
    assert plan.expected_buys_raw[1] >= problem.needs_max_raw[1] - 10
    assert plan.cost.impact_e18 < 0


@pytest.mark.parametrize("usd", [1_000, 50_000])
def test_plan_with_little_turnover_left_sells_no_more(usd: int) -> None:
    plan = planned(sold_max_e18=usd * E18)

    assert usd * 0.999 < value(plan.sales_raw) <= usd
    assert plan.bound_by == "turnover"


@pytest.mark.parametrize("usd", [5, 300])
def test_plan_with_little_loss_left_loses_no_more(usd: int) -> None:
    plan = planned(loss_max_e18=usd * E18)

    lost = value(plan.sales_raw) - value(plan.expected_buys_raw)
    assert usd * 0.5 < lost <= usd
    assert plan.bound_by == "loss"


def test_plan_counts_sold_at_the_higher_and_bought_at_the_lower_price() -> None:
    wide = tuple(
        Price(p.primary_e18 * 995 // 1000, p.primary_e18 * 1005 // 1000, p.primary_e18) for p in ETHER_HIGH.prices
    )
    held = replace(ETHER_HIGH, prices=wide)
    # 1 % between the prices and 0.3 % fee: 100 bps of slippage is not enough, 200 is.
    assert refused(held, slippage_limit_e18=E18 // 100).reason is Reason.POLICY_REFUSES
    plan = planned(held, slippage_limit_e18=2 * E18 // 100)
    assert value(plan.expected_buys_raw) * 0.995 >= value(plan.sales_raw) * 1.005 * 0.98


def test_plan_leaves_a_margin_below_what_it_expects() -> None:
    plan = planned(tolerance_bps=25)

    for least, expected in zip(plan.min_buys_raw, plan.expected_buys_raw, strict=True):
        assert least == expected * 9_975 // 10_000
    assert planned(tolerance_bps=0).min_buys_raw == plan.expected_buys_raw


def test_plan_of_a_raw_unit_still_asks_for_one() -> None:
    plan = planned(needs_max_raw=(0, 0, 2), tolerance_bps=100)

    assert plan.expected_buys_raw == (0, 0, 2)
    assert plan.min_buys_raw == (0, 0, 1)


def test_plan_too_small_to_buy_a_raw_unit_says_so() -> None:
    found = refused(sales_max_raw=(10**8, 0, 0), needs_max_raw=(0, 0, 1))
    assert "too small to buy a raw unit" in found.text


def test_plan_budgets_of_a_vault_are_parts_of_its_worth() -> None:
    problem = Problem.of(ETHER_HIGH, POOLS, loss_left_e18=E18 // 1_000, turnover_left_e18=E18 // 10)
    total_e18 = weigh_basket(ETHER_HIGH).total_e18

    assert problem.loss_max_e18 == total_e18 // 1_000
    assert problem.sold_max_e18 == total_e18 // 10


def test_split_through_a_token_that_is_no_asset_is_counted_with_its_fee() -> None:
    through = (make_pool(ETHER, EURO, 5), make_pool(BITCOIN, EURO, 6))
    plan = planned(pools=through)

    assert plan.expected_buys_raw[2] == 0
    assert len(plan.swaps) == 2
    # Two fees of 0.3 %.
    assert plan.cost.fee_e18 / E18 == pytest.approx(0.006 * value(plan.sales_raw), rel=0.02)


@pytest.mark.parametrize("amount", [10**18, 10**23])
def test_sale_beyond_all_pools_is_refused(amount: int) -> None:
    with pytest.raises(NoRoute) as refusal:
        best_sale(POOLS, {ETHER.address: amount}, EURO.address)
    assert refusal.value.amount_raw == amount


def test_hops_sell_the_rest_with_the_last_of_each_token() -> None:
    """Also where a token is sold for itself and passed through on another sale's way."""
    sales = {ETHER.address: 10**18, DOLLAR.address: 10**9}
    swaps = best_sale(POOLS[1:], sales, BITCOIN.address)
    assert [swap.token_out for swap in swaps] == [DOLLAR.address, BITCOIN.address]
    assert swaps[1].amount_in_raw == 10**9 + swaps[0].amount_out_raw
    apart = (swaps[0], replace(swaps[1], amount_in_raw=10**9), replace(swaps[1], amount_in_raw=5))

    route = route_hops(apart, {BITCOIN.address: 1})

    assert [(hop.token_in, hop.amount_raw) for hop in route] == [
        (ETHER.address, 0),
        (DOLLAR.address, 10**9),
        (DOLLAR.address, 0),
    ]
    assert [hop.to_caller for hop in route] == [False, True, True]


# What a plan says of itself


def judged(held: Basket = ETHER_HIGH, policy: Policy = POLICY, **changes: Any) -> Problem:
    """The input for a vault with its rules."""
    held = replace(held, timestamp=1_000, dust_bps=policy.dust_bps)
    problem = Problem.of(held, POOLS, policy=policy, state=State(), slippage_limit_e18=E18 // 100)
    return replace(problem, **changes)


def test_plan_predicts_to_the_unit_what_the_vault_will_compute() -> None:
    problem = judged()
    plan = plan_rebalance(problem)

    assert isinstance(plan, Plan)
    assert problem.rules is not None
    expected = settle(
        *(POLICY, State(), problem.rules.basket, Fill(plan.sales_raw, plan.expected_buys_raw)),
        *(plan.min_buys_raw, 1_000),
        epoch=0,
    )
    assert plan.settlement == expected
    assert plan.drift_bps == (expected.before.drift_bps, expected.after.drift_bps)
    assert plan.drift_bps[1] < plan.drift_bps[0] // 10
    # Bringing a dollar home is worth what the policy ever lets be lost of it.
    assert plan.worth_e18 == expected.sold_e18 * POLICY.max_slippage_bps // BPS


def test_plan_of_a_vault_in_band_is_none_and_says_so() -> None:
    found = plan_rebalance(judged(basket(ether=200, bitcoin=13.3, dollar=200_000)))

    assert isinstance(found, NoPlan)
    assert found.reason is Reason.IN_BAND


def test_plan_that_the_vault_would_refuse_is_none_and_carries_why() -> None:
    budget = replace(POLICY, loss_budget_bps=0)
    found = plan_rebalance(judged(policy=budget))

    assert isinstance(found, NoPlan)
    assert found.reason is Reason.POLICY_REFUSES
    assert found.refusal is not None
    assert found.refusal.error == "LossBudgetExceeded"
    assert found.refused is not None
    assert value(found.refused.sales_raw) == pytest.approx(160_000, abs=1)


def test_plan_too_small_for_its_last_unit_to_be_worth_it_goes_on_until_it_is_progress() -> None:
    """Pools so shallow that one percent is lost before a third is sold; the vault wants half in one go."""
    policy = replace(POLICY, min_progress_bps=5_000, loss_budget_bps=10_000, max_slippage_bps=300)
    policy = replace(policy, start_slippage_bps=300)
    shallow = (make_pool(BITCOIN, ETHER, 1, depth_usd=300_000), POOLS[1])
    held = replace(ETHER_HIGH, timestamp=1_000, dust_bps=policy.dust_bps)
    problem = Problem.of(held, shallow, policy=policy, state=State(), slippage_limit_e18=3 * E18 // 100)
    little = plan_rebalance(replace(problem, rules=None, worth_e18=E18 // 100))
    plan = plan_rebalance(replace(problem, worth_e18=E18 // 100))
    climbing = replace(problem, worth_e18=E18 // 100, slippage_limit_e18=2 * E18 // 100)
    patient = plan_rebalance(climbing)

    assert isinstance(patient, NoPlan), "more will be allowed later"
    assert patient.refusal is not None
    assert patient.refusal.error == "TooLittleProgress"
    assert isinstance(little, Plan)
    assert isinstance(plan, Plan)
    assert little.bound_by == "worth"
    assert value(little.sales_raw) < 80_000
    # Half of what is out of place, and no more: every further unit loses more than it is worth.
    assert 80_000 < value(plan.sales_raw) < 85_000
    assert plan.bound_by == "worth"


@pytest.mark.parametrize(("gas_price_wei", "tip_wei"), [(2 * 10**13, 0), (0, 10**18)])
def test_plan_that_costs_more_than_bringing_home_is_worth_is_none(gas_price_wei: int, tip_wei: int) -> None:
    """One percent of 160,000 dollars is 1,600; half a percent is lost on the way."""
    dear = judged(gas_price_wei=gas_price_wei, tip_wei=tip_wei, native_price_e18=2_000 * E18)
    found = plan_rebalance(dear)

    assert isinstance(found, NoPlan)
    assert found.reason is Reason.NOT_WORTH_GAS
    assert "is worth $1,600.00" in found.text
    assert found.refused is not None
    paid_e18 = found.refused.cost.gas_e18 + found.refused.cost.tip_e18
    assert paid_e18 > 1_000 * E18


def test_plan_with_a_tip_counts_it_and_says_so() -> None:
    plan = plan_rebalance(judged(tip_wei=10**15, native_price_e18=2_000 * E18))

    assert isinstance(plan, Plan)
    assert plan.cost.tip_e18 == 2 * E18
    assert plan.text.endswith("$0.00 gas, $2.00 tip")


def test_plan_with_data_on_l1_counts_it_and_says_so() -> None:
    charged = judged(l1_fixed_wei=-(10**13), l1_wei_per_byte=10**12, native_price_e18=2_000 * E18)
    plan = plan_rebalance(charged)

    assert isinstance(plan, Plan)
    size = charged.bytes_per_rebalance + charged.bytes_per_hop * len(plan.swaps)
    assert plan.cost.l1_e18 == (size * 10**12 - 10**13) * 2_000
    assert plan.text.endswith(f"$0.00 gas, ${plan.cost.l1_e18 / E18:.2f} L1 data")
    dear = plan_rebalance(replace(charged, l1_wei_per_byte=10**16))
    assert isinstance(dear, NoPlan)
    assert dear.reason is Reason.NOT_WORTH_GAS
    assert dear.text.endswith("in gas, L1 data and tip")


def test_plan_leaves_out_the_swap_that_does_not_earn_its_bytes_on_l1() -> None:
    pools = (*POOLS, make_pool(BITCOIN, ETHER, 4, depth_usd=10_000))
    dear = planned(pools=pools, l1_wei_per_byte=10**14, native_price_e18=2_000 * E18)

    assert "4" in {swap.pool.address[-1] for swap in planned(pools=pools).swaps}
    assert "4" not in {swap.pool.address[-1] for swap in dear.swaps}


@pytest.mark.parametrize("hops", [1, 2, 3, 5])
@pytest.mark.parametrize("assets", [2, 3, 10, 16])
def test_bytes_that_are_weighed_are_what_a_rebalance_has_compressed(assets: int, hops: int) -> None:
    """DEFLATE stands for FastLZ and Brotli, by which rollups count; of such calldata FastLZ makes 2 % more."""
    rng = random.Random(assets * 100 + hops)
    token = ["0x" + rng.randbytes(20).hex() for _ in range(assets)]
    swaps = [
        v3_hop(
            "0x" + rng.randbytes(20).hex(),
            rng.randrange(10**9, 10**21),
            *rng.sample(token, 2),
            to_caller=True,
        )
        for _ in range(hops)
    ]
    amounts = [[0] * assets, [0] * assets]
    amounts[0][0], amounts[1][-1] = (rng.randrange(10**9, 10**21) for _ in range(2))
    vault = interface("BasketVault").at("0x" + rng.randbytes(20).hex())
    data = vault.data("rebalance", 41, *amounts, token[0], encode(swaps))
    signed = devnet_signer(0).sign(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": 1_234,
            "to": vault.address,
            "data": data,
            "value": 0,
            "gas": 523_411,
            "maxFeePerGas": 7 * 10**6 + 3,
            "maxPriorityFeePerGas": 10**6 + 1,
        }
    )
    signature_bytes = 67
    compressed = len(zlib.compress(signed.raw[:-signature_bytes], 9))
    weighed = judged().bytes_per_rebalance + judged().bytes_per_hop * hops

    assert 0.7 * weighed < compressed < 1.15 * weighed


def test_plan_sells_where_pools_of_one_pair_are_cheapest_and_proves_it() -> None:
    """Three pools of a pair: what is sold divides by depth, and the bound says that no plan is better."""
    pools = (
        make_pool(BITCOIN, ETHER, 1, depth_usd=10**6),
        make_pool(BITCOIN, ETHER, 4, depth_usd=3 * 10**6),
        make_pool(DOLLAR, ETHER, 2),
    )
    plan = planned(pools=pools)
    shares = {
        swap.pool.address[-1]: share
        for swap, share in zip(plan.swaps, plan.shares, strict=True)
        if swap.token_out == BITCOIN.address
    }

    assert shares["4"] / shares["1"] == pytest.approx(3, rel=1e-3)
    assert sum(plan.shares) == pytest.approx(1)
    certificate = plan.certificate
    assert certificate.gap_before_rounding < 1e-8
    assert certificate.gap < 1e-6
    assert certificate.value_e18 <= certificate.bound_e18 <= certificate.all_pools_bound_e18


def test_plan_leaves_out_the_swap_that_does_not_earn_its_gas() -> None:
    pools = (*POOLS, make_pool(BITCOIN, ETHER, 4, depth_usd=10_000))
    free = planned(pools=pools)
    dear = planned(pools=pools, gas_price_wei=10**11, native_price_e18=2_000 * E18)

    assert "4" in {swap.pool.address[-1] for swap in free.swaps}
    assert "4" not in {swap.pool.address[-1] for swap in dear.swaps}
    # What it gave up is less than the gas of a swap, and the bound of all pools shows how much.
    given_up_e18 = dear.certificate.all_pools_bound_e18 - dear.certificate.value_e18
    assert 0 < given_up_e18 < 90_000 * 10**11 * 2_000
    assert dear.certificate.gap < 1e-6


def test_plan_costs_of_legs_add_up_to_those_of_the_plan() -> None:
    plan = planned(
        pools=(make_pool(ETHER, EURO, 5), make_pool(BITCOIN, EURO, 6), *POOLS[1:]),
        gas_price_wei=10**9,
        native_price_e18=2_000 * E18,
    )

    assert sum(cost.fee_e18 for cost in plan.swap_costs) == plan.cost.fee_e18
    assert sum(cost.impact_e18 for cost in plan.swap_costs) == plan.cost.impact_e18
    assert {cost.gas_e18 for cost in plan.swap_costs} == {90_000 * 10**9 * 2_000}
    # Three parts in a thousand of what goes in, on every pool.
    for cost in plan.swap_costs:
        assert cost.fee_e18 == cost.value_e18 * 3 // 1_000


def test_plan_through_an_asset_that_is_bought_too_keeps_what_it_needs() -> None:
    """No pool of WETH and WBTC: dollars pay for bitcoins, and some stay."""
    plan = planned(pools=POOLS[1:])
    route = decode(plan.route)

    assert plan.expected_buys_raw[1] > 0 < plan.expected_buys_raw[2]
    assert [swap.token_out for swap in plan.swaps] == [DOLLAR.address, BITCOIN.address]
    first, second = route
    # The dollars stay with the executor, which sells so many of them and sends on the rest.
    assert (first.to_caller, first.amount_raw) == (False, 0)
    assert (second.to_caller, second.amount_raw) == (True, plan.swaps[1].amount_in_raw)
    assert plan.expected_buys_raw[2] == plan.swaps[0].amount_out_raw - plan.swaps[1].amount_in_raw


def test_plan_where_pools_disagree_makes_no_circles() -> None:
    """A pool in which ether is 3 % dearer: what goes round by it gains, but nothing could begin it."""
    pools = (*POOLS, make_pool(DOLLAR, ETHER, 4, off_bps=-300, depth_usd=50_000))
    plan = planned(pools=pools)
    seen: set[str] = set()
    for swap in plan.swaps:
        assert swap.token_out not in seen, "a token comes after it was sold"
        seen.add(swap.token_in)
