"""What a plan is made of, in fractions: what trades are worth, which of them the limits allow, and what gas and waiting cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor
from random import Random
from typing import Any

import pytest

from rebalancer.errors import BadPlanInput
from rebalancer.plan.effort import Effort
from rebalancer.plan.problem import UNSTATED_WORTH_E18, Problem, Rules, destination_limits
from rebalancer.plan.result import Certificate, PlanCost, costs_of, dollars, sentence
from rebalancer.plan.swap import Swap
from rebalancer.policy import deficit_raw, surplus_raw, to_destination
from rebalancer.settlement import Asset, Basket, Policy, Price, State, weigh_basket
from rebalancer.units import BPS, E18
from tests.unit.pairs import RAW, A, B, C, pair

PLAIN = Problem(
    tokens=("0xA", "0xB", "0xC"),
    decimals=(18, 6, 0),
    sales_max_raw=(10**20, 0, 0),
    needs_max_raw=(0, 10**10, 10**4),
    prices_e18=(2_000 * E18, E18, 7 * E18 + 1),
    lo_e18=(1_990 * E18 + 3, E18 - 1, 7 * E18),
    hi_e18=(2_010 * E18 + 7, E18, 7 * E18 + 5),
    pools=(),
)


def drawn(rng: Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Trades of any size up to what each asset may sell and take, and a unit more now and then."""
    sales, buys = (
        tuple(rng.choice((0, most, rng.randint(0, most), most + 1)) if most else 0 for most in limits)
        for limits in (PLAIN.sales_max_raw, PLAIN.needs_max_raw)
    )
    return sales, buys


def limited(name: str, value: Any) -> Problem:
    """The plain input with one field set."""
    fields: dict[str, Any] = {name: value}
    return replace(PLAIN, **fields)


def worth(amounts: tuple[int, ...], prices: tuple[int, ...], rounded: Any) -> int:
    """Of all of them; each is rounded."""
    return sum(
        rounded(Fraction(raw * price, 10**positions))
        for raw, price, positions in zip(amounts, prices, PLAIN.decimals, strict=True)
    )


def test_trades_are_worth_what_fractions_say() -> None:
    rng = Random(3)
    for _ in range(60):
        sales, buys = drawn(rng)
        problem = replace(PLAIN, worth_e18=rng.choice((0, 1, 17 * 10**14 + 3, E18 - 1)))
        sold, bought = worth(sales, PLAIN.hi_e18, ceil), worth(buys, PLAIN.lo_e18, floor)
        assert problem.values_e18(sales, buys) == (sold, bought)
        brought = Fraction(problem.worth_e18, E18) * sold - (sold - bought)
        assert problem.benefit_e18(sales, buys) == floor(brought)
        for i, (sale, buy) in enumerate(zip(sales, buys, strict=True)):
            unit = 10 ** PLAIN.decimals[i]
            assert problem.value_e18(i, sale) == floor(Fraction(sale * PLAIN.prices_e18[i], unit))
            assert problem.sold_e18(i, buy) == ceil(Fraction(buy * PLAIN.hi_e18[i], unit))


def test_trades_are_allowed_up_to_each_limit_and_not_a_unit_further() -> None:
    """Each limit is set to just what the trades need, and to a unit less; all others are open."""
    rng, counted = Random(4), 0
    for _ in range(60):
        sales, buys = drawn(rng)
        sold, bought = worth(sales, PLAIN.hi_e18, ceil), worth(buys, PLAIN.lo_e18, floor)
        fits = all(map(int.__le__, sales, PLAIN.sales_max_raw))
        fits &= all(map(int.__le__, buys, PLAIN.needs_max_raw))
        assert PLAIN.allows(sales, buys) is fits
        if not fits or not sold:
            continue
        counted += 1
        at_price = worth(sales, PLAIN.prices_e18, ceil)
        slippage = max(0, ceil((1 - Fraction(bought, sold)) * E18))
        for name, least in (
            ("sold_max_e18", sold),
            ("need_max_e18", at_price),
            ("loss_max_e18", sold - bought),
            ("slippage_limit_e18", slippage),
        ):
            assert limited(name, least).allows(sales, buys) is True, name
            # Of the slippage a unit may round away.
            under = limited(name, least - 1)
            least_bought = ceil(sold * (1 - Fraction(under.slippage_limit_e18, E18)))
            assert under.allows(sales, buys) is (bought >= least_bought and name[:4] == "slip"), name
    assert counted > 15


def test_gas_data_and_waiting_cost_what_fractions_say_rounded_up() -> None:
    rng = Random(5)
    for fixed in (0, -(10**9), -(10**15), 10**13, 7):
        problem = replace(
            PLAIN,
            gas_price_wei=rng.randint(1, 10**11),
            native_price_e18=rng.randint(1, 3_000 * E18),
            l1_fixed_wei=fixed,
            l1_wei_per_byte=rng.randint(1, 10**8),
            gas_per_rebalance=rng.randint(1, 10**6),
            gas_per_hop=rng.randint(1, 10**6),
            gas_per_wait=rng.randint(1, 10**6),
            bytes_per_rebalance=rng.randint(1, 500),
            bytes_per_hop=rng.randint(1, 500),
            bytes_per_wait=rng.randint(1, 500),
            tip_wei=rng.randint(1, 10**16),
        )

        def usd(wei: int, problem: Problem = problem) -> int:
            return ceil(Fraction(wei * problem.native_price_e18, E18))

        price, byte = problem.gas_price_wei, problem.l1_wei_per_byte
        assert problem.tip_e18 == usd(problem.tip_wei)
        assert problem.hop_cost_e18 == usd(problem.gas_per_hop * price + problem.bytes_per_hop * byte)
        reported = max(0, fixed + problem.bytes_per_wait * byte)
        assert problem.wait_cost_e18 == usd(problem.gas_per_wait * price + 2 * reported)
        for hops in (0, 1, 7):
            gas = usd((problem.gas_per_rebalance + hops * problem.gas_per_hop) * price)
            size = problem.bytes_per_rebalance + hops * problem.bytes_per_hop
            data = usd(max(0, fixed + size * byte))
            assert problem.gas_cost_e18(hops) == gas
            assert problem.l1_cost_e18(hops) == data
            assert problem.sending_cost_e18(hops) == gas + data


def test_input_at_the_edge_of_what_makes_sense_is_taken() -> None:
    for worth_e18 in (0, E18 - 1):
        assert replace(PLAIN, worth_e18=worth_e18).worth_e18 == worth_e18
    for worth_e18 in (-1, E18):
        with pytest.raises(BadPlanInput, match="not a part of one"):
            replace(PLAIN, worth_e18=worth_e18)
    assert PLAIN.tokens == ("0xa", "0xb", "0xc")
    replace(PLAIN, lo_e18=(1, 1, 1), hi_e18=PLAIN.prices_e18)
    replace(PLAIN, lo_e18=PLAIN.prices_e18, sales_max_raw=(0, 0, 0), needs_max_raw=(0, 0, 0))
    for wrong in (
        {"sales_max_raw": (1, 1, 0)},
        {"needs_max_raw": (0, -1, 0)},
        {"lo_e18": (1, 1, 0)},
    ):
        with pytest.raises(BadPlanInput):
            replace(PLAIN, **wrong)  # type: ignore[arg-type]
    for above in ("lo_e18", "hi_e18"):
        off = 1 if above == "lo_e18" else -1
        moved = tuple(price + off for price in PLAIN.prices_e18)
        with pytest.raises(BadPlanInput, match="lo ≤ price ≤ hi"):
            limited(above, moved)


# From a basket

RULES = Policy(
    start_slippage_bps=20,
    max_slippage_bps=90,
    slippage_ramp_seconds=600,
    min_progress_bps=1_000,
    dust_bps=7,
    cooldown_seconds=0,
    loss_budget_bps=100,
    loss_period_seconds=86_400,
    turnover_budget_bps=10_000,
    turnover_period_seconds=86_400,
)


def basket(glide_end: int = 0, **fields: Any) -> Basket:
    """Three assets of 18, 6 and no decimals, the first far above its target."""
    assets = (
        Asset("0xAa", 5 * E18 // 10, 200, 18, min_trade_raw=11, start_target_e18=3 * E18 // 10),
        Asset("0xBb", 3 * E18 // 10, 200, 6, min_trade_raw=12, start_target_e18=4 * E18 // 10),
        Asset("0xCc", 2 * E18 // 10, 200, 0, min_trade_raw=13, start_target_e18=3 * E18 // 10),
    )
    prices = tuple(
        Price(lo, hi, price) for lo, price, hi in zip(PLAIN.lo_e18, PLAIN.prices_e18, PLAIN.hi_e18, strict=True)
    )
    held = (400 * E18 + 1, 180_000 * 10**6 + 1, 17_001)
    made = Basket(assets, held, prices, 1_000, glide_end, 1_500, RULES.dust_bps)
    return replace(made, **fields)


def moments(held: Basket) -> Iterator[Basket]:
    """Now and, while targets glide, two minutes later."""
    yield held
    if held.glide_end > held.timestamp:
        yield replace(held, timestamp=held.timestamp + 120)


@pytest.mark.parametrize("glide_end", [0, 1_499, 1_500, 1_501, 1_560, 3_000])
@pytest.mark.parametrize("destination_bps", [0, 5_000, BPS])
@pytest.mark.parametrize("barred", [(), (False, True, False)])
def test_what_may_be_traded_is_allowed_now_and_two_minutes_later(
    glide_end: int, destination_bps: int, barred: tuple[bool, ...]
) -> None:
    held = basket(glide_end, barred=barred)
    sales, needs, need_e18 = destination_limits(held, destination_bps)

    all_sales, all_needs, all_e18 = [], [], []
    for moment in moments(held):
        weighed = weigh_basket(moment)
        facts = zip(weighed.distances_e18, moment.prices_e18, moment.units, strict=True)
        both = [(surplus_raw(*one), deficit_raw(*one)) for one in facts]
        all_sales.append([sale for sale, _ in both])
        all_needs.append([buy * (not any(barred) or i != 1) for i, (_, buy) in enumerate(both)])
        all_e18.append(
            to_destination(
                *(weighed.distances_e18, weighed.total_e18, moment.bands_e18),
                *(destination_bps, held.dust_bps),
            )[1]
        )
    assert sales == tuple(map(min, *all_sales, [1 << 200] * 3))
    assert needs == tuple(map(min, *all_needs, [1 << 200] * 3))
    assert need_e18 == min(all_e18)


def test_input_of_a_basket_carries_what_the_vault_judges_by() -> None:
    held = basket()
    total_e18 = weigh_basket(held).total_e18
    pool = pair(A, B, 9, 1_000, 1_000)
    problem = Problem.of(
        held,
        [pool],
        slippage_limit_e18=5,
        loss_left_e18=E18 // 7,
        turnover_left_e18=E18 // 3,
        destination_bps=4_000,
        tolerance_bps=13,
        gas_price_wei=14,
        native_price_e18=15,
        l1_fixed_wei=16,
        l1_wei_per_byte=17,
    )
    sales, needs, need_e18 = destination_limits(held, 4_000)
    assert problem == Problem(
        tokens=("0xaa", "0xbb", "0xcc"),
        decimals=(18, 6, 0),
        sales_max_raw=sales,
        needs_max_raw=needs,
        prices_e18=PLAIN.prices_e18,
        lo_e18=PLAIN.lo_e18,
        hi_e18=PLAIN.hi_e18,
        pools=(pool,),
        slippage_limit_e18=5,
        min_trades_raw=(11, 12, 13),
        need_max_e18=need_e18,
        sold_max_e18=floor(Fraction(E18 // 3, E18) * total_e18),
        loss_max_e18=floor(Fraction(E18 // 7, E18) * total_e18),
        targets_e18=tuple(held.targets_e18),
        dust_e18=floor(Fraction(RULES.dust_bps, BPS) * total_e18),
        tolerance_bps=13,
        gas_price_wei=14,
        native_price_e18=15,
        l1_fixed_wei=16,
        l1_wei_per_byte=17,
    )
    free = Problem.of(held, [])
    assert (free.sold_max_e18, free.loss_max_e18, free.need_max_e18) == (None, None, None)
    assert (free.worth_e18, free.slippage_limit_e18, free.rules) == (UNSTATED_WORTH_E18, E18, None)
    assert free.at_once is free
    assert not free.is_patient


def test_input_with_a_policy_waits_while_the_limit_climbs() -> None:
    held = basket(held=(260 * E18, 150_000 * 10**6, 17_000), timestamp=2_000)
    state = State(due_since=1_900)

    def of(limit_bps: int, held: Basket = held, state: State | None = state) -> Problem:
        limit_e18 = limit_bps * E18 // BPS
        return Problem.of(held, [], policy=RULES, state=state, slippage_limit_e18=limit_e18)

    climbing = of(30)
    assert climbing.rules == Rules(RULES, state, held, 2_000)
    assert (climbing.total_worth_e18, climbing.is_patient) == (90 * E18 // BPS, True)
    assert weigh_basket(held).drift_bps > 400
    assert (climbing.worth_e18, climbing.at_most_e18) == (30 * E18 // BPS, None)
    near = of(30, basket(held=(225 * E18, 300_000 * 10**6, 28_000), timestamp=2_000))
    assert (near.worth_e18, near.at_most_e18) == (10 * E18 // BPS, 30 * E18 // BPS)
    assert near.at_once == replace(near, worth_e18=30 * E18 // BPS, at_most_e18=None)
    for top in (of(90), of(91)):
        assert (top.worth_e18, top.at_most_e18, top.is_patient) == (90 * E18 // BPS, None, False)
    assert of(30, state=None).rules is None


def test_input_of_an_excluded_asset_has_any_price_for_it() -> None:
    held = basket()
    assets = (
        *held.assets[:2],
        replace(held.assets[2], excluded=True, target_e18=0, start_target_e18=0),
    )
    prices = (*held.prices[:2], Price(0, 0, 0, "Stale"))
    problem = Problem.of(replace(held, assets=assets, prices=prices), [])
    assert (problem.prices_e18[2], problem.lo_e18[2], problem.hi_e18[2]) == (1, 1, 1)
    assert (problem.sales_max_raw[2], problem.needs_max_raw[2]) == (0, 0)


# What a plan says of itself


def test_costs_of_legs_add_up_to_what_each_loses() -> None:
    pools = (pair(A, B, 9, 1_000, 1_000), pair(B, C, 10, 1_000, 1_000, fee=500))
    problem = Problem(
        tokens=(A.address, C.address),
        decimals=(18, 18),
        sales_max_raw=(RAW, 0),
        needs_max_raw=(0, RAW),
        prices_e18=(2 * E18, 3 * E18),
        lo_e18=(E18, E18),
        hi_e18=(9 * E18, 9 * E18),
        pools=pools,
        gas_price_wei=10**9,
        native_price_e18=2_000 * E18,
        tip_wei=10**12,
        l1_fixed_wei=10**10,
        l1_wei_per_byte=10**7,
    )
    swaps = (
        Swap(pools[0], A.address, B.address, RAW, RAW // 2),
        Swap(pools[1], B.address, C.address, RAW // 2, RAW // 4),
    )
    found, total = costs_of(problem, swaps, {B.address: 2.5 / RAW})

    # Two dollars of A for 1.25 of B, for 0.75 of C.
    assert [cost.value_e18 for cost in found] == [2 * E18, 125 * E18 // 100]
    assert [cost.fee_e18 for cost in found] == [6 * E18 // 1_000, 125 * E18 // 100 * 5 // 10_000]
    lost = [75 * E18 // 100, 50 * E18 // 100]
    assert [cost.fee_e18 + cost.impact_e18 for cost in found] == lost
    assert {cost.gas_e18 for cost in found} == {problem.hop_cost_e18}
    assert total == PlanCost(
        sum(cost.fee_e18 for cost in found),
        sum(cost.impact_e18 for cost in found),
        problem.gas_cost_e18(2),
        problem.tip_e18,
        problem.l1_cost_e18(2),
    )
    assert total.total_e18 == sum(lost) + problem.sending_cost_e18(2) + problem.tip_e18
    assert min(total.fee_e18, total.impact_e18, total.gas_e18, total.tip_e18, total.l1_e18) > 0
    message = sentence(problem, (RAW, 0), (0, RAW // 4), 2, total)
    assert message == (
        "sell 1.000000 A for 0.250000 C in 2 swaps, at a cost of $2.01: $0.01 fees, $1.24 price, "
        "$0.76 gas, $0.00 L1 data, $0.00 tip"
    )
    plain = PlanCost(10**16, -(10**16), 0)
    assert sentence(problem, (RAW, 1_500 * RAW), (0, 0), 1, plain) == (
        "sell 1.000000 A and 1,500.000000 C for  in 1 swap, at a cost of $0.00: $0.01 fees, -$0.01 price, $0.00 gas"
    )


def test_dollars_are_in_cents_with_the_sign_in_front() -> None:
    assert [dollars(cents * 10**16) for cents in (0, 1, -1, 123_456)] == [*("$0.00", "$0.01", "-$0.01", "$1,234.56")]


def test_gap_is_what_is_short_of_the_bound_and_never_below_nothing() -> None:
    assert Certificate(70, 100, 0, 1_000, 0.0, 1).gap == 0.03
    assert Certificate(100, 100, 0, 1_000, 0.0, 1).gap == 0.0
    assert Certificate(101, 100, 0, 1_000, 0.0, 1).gap == 0.0


# Effort


def test_effort_is_over_at_its_last_step_and_remembers_what_was_left_untried() -> None:
    effort = Effort(10)
    effort.spend(9)
    assert (effort.is_over(), effort.was_cut) == (False, False)
    # A tenth is kept for what follows: of that there is nothing to spare.
    assert (effort.is_over(0.1), effort.was_cut) == (True, True)
    assert (effort.is_over(0.05), effort.was_cut) == (False, True)
    spent = Effort(10)
    spent.spend(10)
    assert spent.is_over()
    late = Effort(10, lambda: True)
    assert (late.is_over(), late.was_cut) == (True, True)
    assert not Effort().is_over(0.99)
