"""The policy in Python by itself: numbers computed by hand, then properties of any basket.

tests/contract/test_policy_differential.py holds the same functions equal to the contract's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from math import ceil, floor
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rebalancer import policy, settlement
from rebalancer.errors import PolicyRefused
from rebalancer.policy import MAX_TOTAL_E18
from rebalancer.settlement import (
    Asset,
    Basket,
    Fill,
    Policy,
    Price,
    Settlement,
    State,
    settle,
    weigh_basket,
)
from rebalancer.units import BPS, E18
from tests.baskets import (
    Trade,
    fill_of,
    lent_by,
    log_uniform,
    moved,
    random_basket,
    random_policy,
    random_trade,
)

USD = E18
NOW = 1_700_000_000
DAY = 86_400

RULES = Policy(
    start_slippage_bps=100,
    max_slippage_bps=200,
    slippage_ramp_seconds=1_000,
    min_progress_bps=1_000,
    dust_bps=10,
    cooldown_seconds=600,
    loss_budget_bps=50,
    loss_period_seconds=DAY,
    turnover_budget_bps=2_000,
    turnover_period_seconds=DAY,
)

BASKET = Basket(
    assets=(Asset("A", E18 // 2, 500, 18), Asset("B", E18 // 2, 500, 6)),
    held=(60 * 10**18, 80 * 10**6),
    prices=(Price(2 * USD, 2 * USD, 2 * USD), Price(USD, USD, USD)),
)
"""120 dollars of A and 80 of B, half and half wanted: A is 20 too much, 10 % of 200, with a band of 5 %."""


@contextmanager
def refused(error: str, *numbers: int | str) -> Iterator[None]:
    """The block must be refused with exactly this."""
    with pytest.raises(PolicyRefused) as caught:
        yield
    assert (caught.value.error, caught.value.numbers) == (error, numbers)


# Value, by hand


def test_value_rounds_down_and_up() -> None:
    """One unit of six decimals at a dollar is a millionth of a dollar; of 27 decimals at 3 dollars, 3e-27."""
    assert policy.value_down(1, USD, 10**6) == policy.value_up(1, USD, 10**6) == 10**12
    assert policy.value_down(1, 3 * USD, 10**27) == 0
    assert policy.value_up(1, 3 * USD, 10**27) == 1
    assert policy.value_down(0, USD, 1) == policy.value_up(0, USD, 1) == 0


def test_fraction_rounds_up() -> None:
    assert policy.fraction_up(1, 3) == 333_333_333_333_333_334
    assert policy.fraction_up(1, 2) == 5 * 10**17
    assert policy.fraction_up(0, 7) == 0


def test_weigh_refuses_nothing_and_too_much() -> None:
    assert policy.weigh([MAX_TOTAL_E18, 0], [1, 1], [1, 1]) == ([MAX_TOTAL_E18, 0], MAX_TOTAL_E18)
    with refused("TotalOutOfRange", 0, MAX_TOTAL_E18):
        policy.weigh([0, 0], [1, 1], [1, 1])
    with refused("TotalOutOfRange", MAX_TOTAL_E18 + 1, MAX_TOTAL_E18):
        policy.weigh([MAX_TOTAL_E18, 1], [1, 1], [1, 1])
    with refused("TotalOutOfRange", MAX_TOTAL_E18 + 1, MAX_TOTAL_E18):
        policy.weigh([1, MAX_TOTAL_E18 + 1], [1, 1], [1, 1])


def test_distances_are_from_targets_rounded_down() -> None:
    assert policy.distances([60, 40], 100, [E18 // 2, E18 // 2]) == ([10, -10], 20)
    assert policy.distances([2, 1], 3, [E18 // 2, E18 // 2]) == ([1, 0], 1)


def test_band_breaks_only_beyond_its_edge() -> None:
    bands = [2 * E18 // 100] * 2
    assert policy.first_broken([200, -200], 10_000, bands) is None
    assert policy.first_broken([200, -201], 10_000, bands) == 1
    assert policy.first_broken([201, -201], 10_000, bands) == 0


def test_target_glides_in_a_straight_line_and_stays_at_its_ends() -> None:
    def at(timestamp: int) -> int:
        return policy.target_e18(4 * E18 // 10, E18 // 10, NOW, NOW + 300, timestamp)

    assert at(NOW - 1) == at(NOW) == 4 * E18 // 10
    assert at(NOW + 100) == 3 * E18 // 10
    assert at(NOW + 299) == E18 // 10 + E18 // 1_000
    assert at(NOW + 300) == at(NOW + 10**9) == E18 // 10
    # Of three parts of one, the first has gone: two thirds of a unit round down.
    assert policy.target_e18(1, 0, NOW, NOW + 3, NOW + 1) == 0


def test_asset_without_a_glide_has_been_at_its_target_all_along() -> None:
    assert Asset("A", E18 // 4, 500, 18).start_target_e18 == E18 // 4
    for start in (0, 1, E18):
        assert Asset("A", E18 // 4, 500, 18, start_target_e18=start).start_target_e18 == start


def test_band_is_the_narrower_and_never_as_narrow_as_dust() -> None:
    """2 % of the basket; a tenth of a target of 10 % is 1 %; a hundredth of it would be dust."""
    bp = E18 // BPS
    assert policy.band_e18(200, 0, E18 // 10, 20) == 200 * bp
    assert policy.band_e18(200, 1_000, E18 // 10, 20) == 100 * bp
    assert policy.band_e18(200, 5_000, E18 // 10, 20) == 200 * bp
    assert policy.band_e18(200, 100, E18 // 10, 20) == 21 * bp
    assert policy.band_e18(200, 100, 0, 20) == 21 * bp
    assert policy.band_e18(15, 100, 0, 20) == 15 * bp


def test_calendar_asks_once_a_period() -> None:
    day = NOW - NOW % DAY
    assert policy.is_calendar_open(day - 1, DAY, NOW)
    assert not policy.is_calendar_open(day, DAY, NOW)
    assert not policy.is_calendar_open(0, 0, NOW)
    assert policy.is_calendar_open(day, DAY, day + DAY)


def test_execution_opens_a_while_after_a_rebalance_was_seen_due() -> None:
    assert policy.is_open(NOW, 60, NOW + 60)
    assert not policy.is_open(NOW, 60, NOW + 59)
    assert not policy.is_open(0, 60, NOW)
    assert not policy.is_open(NOW, 0, NOW + 10**9)


def test_destination_lies_between_the_target_and_the_edge_of_the_band() -> None:
    """Of 10,000, bands are 200: halfway is within 100 of the target."""
    off, bands = [500, -300, -200], [2 * E18 // 100] * 3
    assert policy.to_destination(off, 10_000, bands, 0, 0) == (1_000, 500)
    assert policy.to_destination(off, 10_000, bands, 5_000, 0) == (700, 400)
    assert policy.to_destination(off, 10_000, bands, BPS, 0) == (400, 300)
    # What trades lose may be sold besides, up to dust.
    assert policy.to_destination(off, 10_000, bands, BPS, 20) == (400, 320)
    # What lacks most decides, where that is more than what is too much.
    assert policy.to_destination([250, 250, -500], 10_000, bands, BPS, 0) == (400, 300)
    # A unit above is above.
    assert policy.to_destination([1, 1, -1], 10_000, bands, 0, 0) == (3, 2)


def test_sales_are_lowered_to_surplus_need_and_turnover() -> None:
    """300 and 400 at one and two dollars, a tenth dearer where it is sold; all that is allowed stays as it is."""
    primary, higher, one = [USD, 2 * USD], [11 * USD // 10, 22 * USD // 10], [1, 1]

    def fitted(sales: list[int], need: int, turnover: int) -> list[int]:
        return policy.fit_sales(sales, [300, 400], primary, higher, one, need * USD, turnover * USD)

    assert fitted([300, 400], 1_100, 1_210) == [300, 400]
    assert fitted([301, 10**40], 1_100, 1_210) == [300, 400]
    # Rounding each value up may add one, so a unit less than half is sold.
    assert fitted([300, 400], 550, 1_210) == [149, 199]
    assert fitted([300, 400], 1_100, 605) == [149, 199]
    assert fitted([300, 0], 550, 1_210) == [300, 0]


def test_what_must_come_back_shrinks_with_the_sales() -> None:
    """Half is sold, so half of what was asked for must come, in worth; what no basket could hold is asked for whole."""
    higher, lower, one = [2 * USD, USD, USD], [USD, USD, 3 * USD], [1, 1, 1]

    def least(min_buys: list[int], sales: int, fitted: int) -> int:
        return policy.fitted_minimum_e18(min_buys, lower, [sales, 0, 0], [fitted, 0, 0], higher, one)

    assert least([0, 101, 1], 10, 5) == 52 * USD
    assert least([0, 101, 0], 10, 10) == 101 * USD
    assert least([0, 2, 0], 10**9, 1) == 2 * 10**9
    assert least([0, 1 << 128, 0], 2, 1) == policy.MAX_HELD_RAW * USD
    # Of a sale that no ledger could hold, all is as if the largest were asked for.
    assert least([0, 10**10, 0], 2**200, 1) == 10**10 * USD // policy.MAX_HELD_RAW
    # To the unit, at prices of 1e-18 dollars, and from the largest amount on alike.
    most, part, plain = policy.MAX_HELD_RAW, 7 << 117, ([1, 1], [1, 1])
    for required_raw, least_raw in ((most, most), (most + 1, 2**200), (2**200, most)):
        for fitted in (part, most):
            cut = policy.fitted_minimum_e18([0, least_raw], [1, 1], [required_raw, 0], [fitted, 0], *plain)
            assert cut == fitted
    below = policy.fitted_minimum_e18([0, most], [1, 1], [most - 1, 0], [part, 0], *plain)
    assert below == most * part // (most - 1)
    # What the largest basket could hold shrinks with the sales, a unit more does not.
    for units, cut in ((1, 1 << 119), (2, (1 << 120) + 1)):
        buys, three = [0, most, units], [1, 1, 1]
        assert policy.fitted_minimum_e18(buys, three, [2, 0, 0], [1, 0, 0], three, three) == cut
    # Nothing is left of a sale worth a unit, so nothing need come for it.
    assert policy.fitted_minimum_e18([0, 5], [1, 1], [1, 0], [0, 0], [1, 1], [1, 1]) == 0
    assert policy.fitted_minimum_e18([0, 5], [1, 1], [0, 0], [0, 0], [1, 1], [1, 1]) == 5


def test_trade_of_nothing_or_of_the_minimum_is_large_enough() -> None:
    policy.check_trade_size(1, 0, 7)
    policy.check_trade_size(1, 7, 7)
    with refused("TradeTooSmall", 1, 6, 7):
        policy.check_trade_size(1, 6, 7)


def test_allowed_sales_fit_the_need_the_budget_and_the_minimum_trades() -> None:
    """100 of each at a dollar: all, half by the need, a tenth by the budget, and none of what is then too little."""
    usd, one = [USD, USD], [1, 1]

    def allowed(need: int, left_e18: int, least: tuple[int, int] = (0, 0)) -> list[int]:
        return policy.allowed_sales([100, 100], usd, usd, one, least, need * USD, left_e18, 1_000 * USD)

    assert allowed(200, E18) == [100, 100]
    # Rounding each value up may add one, so a unit less than half is asked for.
    assert allowed(100, E18) == [49, 49]
    assert allowed(200, E18 // 50) == [9, 9]
    assert allowed(200, E18 // 50, (9, 10)) == [9, 0]
    assert allowed(0, E18) == [0, 0]
    # To the unit: half of 1e30 units of 1e-18 dollars each, less the one that rounding may add.
    most, unit = 10**30, [10**18]
    assert policy.allowed_sales([most], [USD], [USD], unit, [0], most, 5 * 10**11, 10**36) == [most // 2 - 1]


def test_level_carried_to_another_policy_forgives_and_charges_nothing() -> None:
    """Half of 50 bps is left after half a day; at 100 bps a day that half day would drain 50 more."""
    carried = policy.carry_level(50 * 10**14, 50, DAY, 100, DAY, DAY // 2)
    assert carried == 75 * 10**14
    assert policy.leak(carried, 100, DAY, DAY // 2) == 25 * 10**14
    assert policy.carry_level(50 * 10**14, 50, DAY, 100, DAY, DAY) == 0


def test_level_carried_to_a_slower_rate_never_reads_less_than_it_would_have() -> None:
    """34,999,999 units drain to 1 in 35 s; rounded down after 26 of them, at a rate lower by 1e-8, they would drain to 0."""
    level, old, new = 34_999_999, (1, 100_000_003), (1, 100_000_004)
    carried = policy.carry_level(level, *old, *new, 26)
    assert policy.leak(level, *old, 35) == 1
    assert policy.leak(carried, *new, 35) == 1


def test_auction_falls_to_its_floor_and_rounds_up() -> None:
    assert policy.auction_pay_raw(100, 40, 60, 0) == 100
    assert policy.auction_pay_raw(100, 40, 60, 15) == 85
    assert policy.auction_pay_raw(100, 97, 2, 1) == 99
    assert policy.auction_pay_raw(100, 40, 60, 60) == policy.auction_pay_raw(100, 40, 1, 99) == 40


def test_drift_is_the_largest_distance_rounded_up() -> None:
    assert policy.drift_bps([1, -1], 10_000) == 1
    assert policy.drift_bps([1, -1], 10_001) == 1
    assert policy.drift_bps([3, -20_001], 30_000) == 6_667
    assert policy.drift_bps([], 1) == 0


def test_surplus_and_deficit_are_rounded_down() -> None:
    """7 dollars at 2 dollars a piece: three and a half pieces, or three where a piece is the unit."""
    assert policy.surplus_raw(7 * USD, 2 * USD, 10**6) == 3_500_000
    assert policy.surplus_raw(7 * USD, 2 * USD, 1) == 3
    assert policy.surplus_raw(0, USD, 1) == policy.surplus_raw(-7 * USD, USD, 1) == 0
    assert policy.deficit_raw(-7 * USD, 2 * USD, 1) == 3
    assert policy.deficit_raw(0, USD, 1) == policy.deficit_raw(7 * USD, USD, 1) == 0


def test_sales_end_at_the_surplus_and_buys_need_a_deficit() -> None:
    distances, prices, units = [7 * USD, -7 * USD, 0], [2 * USD] * 3, [1, 1, 1]
    assert policy.check_sales([3, 0, 0], [0, 1_000, 0], distances, prices, units)
    assert not policy.check_sales([4, 0, 0], [0, 0, 0], distances, prices, units)
    for i in (1, 2):
        with refused("SaleWithoutSurplus", i):
            policy.check_sales([int(j == i) for j in range(3)], [0, 0, 0], distances, prices, units)
    for i in (0, 2):
        with refused("BuyWithoutDeficit", i):
            policy.check_sales([0, 0, 0], [int(j == i) for j in range(3)], distances, prices, units)


def test_slippage_climbs_from_start_to_max() -> None:
    """10 to 110 basis points over 1,000 seconds: a basis point each ten seconds."""

    def at(elapsed: int, due_since: int = NOW) -> int:
        return policy.slippage_e18(10, 110, 1_000, due_since, NOW + elapsed)

    assert at(0) == 10 * 10**14
    assert at(500) == 60 * 10**14
    assert at(999) == 10**14 * 1_099 // 10
    assert at(1_000) == at(1_000_000) == 110 * 10**14
    assert at(1_000_000, due_since=0) == 10 * 10**14
    # A third of a basis point of 3: 1e14 / 3, rounded down.
    assert policy.slippage_e18(0, 1, 3, NOW, NOW + 1) == 33_333_333_333_333


def test_least_bought_rounds_up() -> None:
    assert policy.minimum_bought_e18(1_000 * USD, 10**16) == 990 * USD
    assert policy.minimum_bought_e18(1, 10**16) == 1
    assert policy.minimum_bought_e18(0, 10**16) == 0
    assert policy.minimum_bought_e18(7, E18) == 0


def test_toward_target_allows_dust_and_no_more() -> None:
    """Of a total of 10,000 and ten basis points, dust is 10."""
    policy.check_toward_target([100, -100], [-10, 10], 10_000, 10)
    policy.check_toward_target([5, -5], [15, -15], 10_000, 10)
    with refused("AwayFromTarget", 0, 100, -11, 10):
        policy.check_toward_target([100, -100], [-11, 11], 10_000, 10)
    with refused("AwayFromTarget", 1, -5, -16, 10):
        policy.check_toward_target([5, -5], [15, -16], 10_000, 10)
    # From exactly on target there is no crossing, only leaving it.
    policy.check_toward_target([0, 0], [10, -10], 10_000, 10)


def test_progress_ends_at_its_fraction_or_in_dust() -> None:
    """A fifth less of 100 is 80; dust of 10,000 at 10 basis points is 10."""
    policy.check_progress(100, 10_000, 80, 10_000, 2_000, 10)
    with refused("TooLittleProgress", 100, 10_000, 81, 10_000):
        policy.check_progress(100, 10_000, 81, 10_000, 2_000, 10)
    policy.check_progress(10, 10_000, 10, 10_000, 2_000, 10)
    # To the unit, also where dust is many.
    policy.check_progress(10**6, 10**9, 10**6, 10**9, 2_000, 10)
    with refused("TooLittleProgress", 10**6 + 1, 10**9, 10**6 + 1, 10**9):
        policy.check_progress(10**6 + 1, 10**9, 10**6 + 1, 10**9, 2_000, 10)
    # Relative to the total: 80 of 8,000 is as far as 100 of 10,000.
    with refused("TooLittleProgress", 100, 10_000, 80, 8_000):
        policy.check_progress(100, 10_000, 80, 8_000, 2_000, 0)


def test_bucket_drains_its_budget_in_its_period() -> None:
    full = 50 * 10**14
    assert policy.leak(full, 50, DAY, 0) == full
    assert policy.leak(full, 50, DAY, DAY // 2) == full // 2
    assert policy.leak(full, 50, DAY, DAY) == policy.leak(full, 50, DAY, 100 * DAY) == 0
    # A second drains 5e15 / 86,400, rounded down.
    assert policy.leak(full, 50, DAY, 1) == full - 57_870_370_370


def test_bucket_takes_to_its_brim() -> None:
    """A budget of 50 basis points of 200 dollars is one dollar."""
    assert policy.spend_loss(0, USD, 200 * USD, 50) == 50 * 10**14
    with refused("LossBudgetExceeded", 50 * 10**14 + 1, 50 * 10**14):
        policy.spend_loss(0, USD + 1, 200 * USD, 50)
    with refused("TurnoverBudgetExceeded", 50 * 10**14 + 1, 50 * 10**14):
        policy.spend_turnover(1, USD, 200 * USD, 50)


# A whole rebalance, by hand

TEN_A = (10 * 10**18, 0)
"""All of A's surplus: 20 dollars."""


def example(
    bought_raw: int = 19_900_000,
    *,
    rules: Policy = RULES,
    state: State = State(),  # noqa: B008 (frozen)
    basket: Basket = BASKET,
    sales: tuple[int, int] = TEN_A,
    at: int = NOW,
    epoch: int = 0,
) -> Settlement:
    """Sells ten A for some B."""
    return settle(rules, state, basket, Fill(sales, (0, bought_raw)), (0, bought_raw), at, epoch=epoch)


def test_rebalance_by_hand() -> None:
    """20 dollars of A for 19.90 of B: 100 and 99.90 are left of 200, five cents either way from half."""
    settled = example()

    assert settled.before.values_e18 == (120 * USD, 80 * USD)
    assert settled.before.distances_e18 == (20 * USD, -20 * USD)
    assert (settled.before.broken, settled.before.drift_bps) == (0, 1_000)
    assert settled.held == (50 * 10**18, 99_900_000)
    assert (settled.sold_e18, settled.bought_e18) == (20 * USD, 199 * USD // 10)
    assert settled.slippage_limit_e18 == 10**16
    assert settled.loss_e18 == USD // 10
    assert settled.after.distances_e18 == (5 * USD // 100, -5 * USD // 100)
    assert settled.after.broken is None
    # Ten cents and twenty dollars of two hundred.
    assert settled.state == State(5 * 10**14, 10**17, NOW, 0, 1, False)


def test_rebalance_in_two_halves_stays_broken_in_between() -> None:
    """Five A for 9.95: 110 and 89.95 of 199.95 are still 5.01 % apart. The second half is a cooldown later."""
    first = example(9_950_000, sales=(5 * 10**18, 0))
    assert first.after.broken == 0
    assert first.state == State(25 * 10**13, 5 * 10**16, NOW, NOW, 1, False)

    with refused("CooldownActive", NOW + 600):
        example(9_950_000, state=first.state, sales=(5 * 10**18, 0), at=NOW + 599, epoch=1)
    then = replace(BASKET, held=first.held)
    second = example(
        9_950_000,
        state=first.state,
        basket=then,
        sales=(5 * 10**18 - 10**16, 0),
        at=NOW + 600,
        epoch=1,
    )

    # By now the limit has climbed by 60 of the 100 basis points.
    assert second.slippage_limit_e18 == 16 * 10**15
    # 600 of 86,400 seconds drain 1/144 of the budgets of 5e15 and 2e17, rounded down.
    left = 25 * 10**13 - 34_722_222_222_222
    loss_e18 = second.sold_e18 - second.bought_e18
    assert loss_e18 == 998 * USD // 100 - 995 * USD // 100
    assert second.state.loss_level_e18 == left + policy.fraction_up(loss_e18, second.before.total_e18)
    assert (second.state.due_since, second.state.epoch) == (0, 2)


def test_rebalance_values_each_side_at_its_worse_price() -> None:
    """A sold at 2.02 and B bought at 0.99: 20.20 must be answered by 19.998, and 20.2 B are worth just that."""
    prices = (Price(2 * USD, 202 * USD // 100, 2 * USD), Price(99 * USD // 100, USD, USD))
    spread = replace(BASKET, prices=prices)

    settled = example(20_200_000, basket=spread, rules=replace(RULES, dust_bps=20))

    assert settled.sold_e18 == 2_020 * USD // 100
    assert settled.bought_e18 == 19_998 * USD // 1_000
    assert settled.after.values_e18 == (100 * USD, 1_002 * USD // 10)
    with refused("PriceTooPoor", 20_199_999 * 99 * 10**10, 19_998 * USD // 1_000):
        example(20_199_999, basket=spread, rules=replace(RULES, dust_bps=20))


def test_rebalance_of_a_sale_that_comes_back_counts_what_stayed_away() -> None:
    settled = settle(
        RULES,
        State(),
        BASKET,
        Fill((6 * 10**18, 0), (0, 12 * 10**6)),
        (0, 12 * 10**6),
        NOW,
        epoch=0,
        sales=TEN_A,
    )

    assert settled.held == (54 * 10**18, 92 * 10**6)
    assert (settled.sold_e18, settled.loss_e18) == (12 * USD, 0)


@pytest.mark.parametrize(
    ("changes", "error", "numbers"),
    [
        ({"state": State(paused=True)}, "RebalanceIsPaused", ()),
        ({"epoch": 3}, "WrongEpoch", (3, 0)),
        ({"state": State(rebalanced_at=NOW - 599)}, "CooldownActive", (NOW + 1,)),
        (
            {"basket": replace(BASKET, prices=(BASKET.prices[0], Price(0, 0, 0, "Stale")))},
            "OracleFault",
            (1, "Stale"),
        ),
        ({"basket": replace(BASKET, held=(55 * 10**18, 99 * 10**6))}, "NoBandBroken", ()),
        ({"sales": (0, 1)}, "SaleWithoutSurplus", (1,)),
        ({"basket": replace(BASKET, barred=(False, True))}, "PurchaseBarred", (1,)),
        ({"sales": (0, 0)}, "NothingSold", ()),
        ({"bought_raw": 19_799_999}, "PriceTooPoor", (19_799_999 * 10**12, 198 * USD // 10)),
        ({"bought_raw": 1 << 120}, "HoldingTooLarge", (1, (1 << 120) + 80 * 10**6, (1 << 120) - 1)),
        # The largest holding itself is too much for another reason.
        ({"bought_raw": (1 << 120) - 80 * 10**6}, "HoldingTooLarge", (1, 1 << 120, (1 << 120) - 1)),
        ({"bought_raw": (1 << 120) - 1 - 80 * 10**6}, "TotalOutOfRange", (((1 << 120) - 1) * 10**12, MAX_TOTAL_E18)),
        # 21 dollars for 20: of 201, half is 100.50; B is 101 and has crossed it by 50 cents, with dust of 20.1.
        (
            {"bought_raw": 21_000_000},
            "AwayFromTarget",
            (0, 20 * USD, -USD // 2, 201 * USD // 1_000),
        ),
        (
            {"sales": (9 * 10**17, 0), "bought_raw": 1_800_000},
            "TooLittleProgress",
            (40 * USD, 200 * USD, 364 * USD // 10, 200 * USD),
        ),
        (
            {"rules": replace(RULES, loss_budget_bps=4)},
            "LossBudgetExceeded",
            (5 * 10**14, 4 * 10**14),
        ),
        (
            {"state": State(turnover_level_e18=2 * 10**17, rebalanced_at=NOW), "rules": replace(RULES, cooldown_seconds=0)},
            "TurnoverBudgetExceeded",
            (2 * 10**17, 2 * 10**17),
        ),
    ],
)  # fmt: skip
def test_rebalance_is_refused_with_the_numbers(
    changes: dict[str, object], error: str, numbers: tuple[int | str, ...]
) -> None:
    with refused(error, *numbers):
        example(**changes)  # type: ignore[arg-type]


def test_rebalance_that_brings_less_than_the_keeper_asked_is_refused() -> None:
    with refused("BoughtTooLittle", 1, 19_900_000, 19_900_001):
        settle(RULES, State(), BASKET, Fill(TEN_A, (0, 19_900_000)), (0, 19_900_001), NOW, epoch=0)


def test_budgets_left_are_the_budgets_less_what_has_not_drained() -> None:
    spent = State(loss_level_e18=20 * 10**14, turnover_level_e18=10**17, rebalanced_at=NOW)
    assert settlement.budgets_left_e18(RULES, spent, NOW) == (30 * 10**14, 10**17)
    assert settlement.budgets_left_e18(RULES, spent, NOW + DAY) == (50 * 10**14, 2 * 10**17)
    # A budget tightened below the level leaves nothing, and never less.
    tight = replace(RULES, loss_budget_bps=10, turnover_budget_bps=0)
    assert settlement.budgets_left_e18(tight, spent, NOW) == (0, 0)


def test_weights_are_for_people() -> None:
    assert settlement.weights_e18(weigh_basket(BASKET)) == (6 * 10**17, 4 * 10**17)
    assert settlement.weights_e18(settlement.Weighed((3, 0), 3, (0, 0), 0, None)) == (E18, 0)
    assert settlement.weights_e18(settlement.Weighed((2, 1), 3, (0, 0), 0, None)) == (
        2 * E18 // 3,
        E18 // 3,
    )


# Properties of any basket

ANY_RANDOM = st.randoms(use_true_random=False)


@given(ANY_RANDOM)
def test_v1_values_round_apart_by_at_most_a_unit(rng: Random) -> None:
    """V1: what is sold counts up and what is bought counts down, never by more than 1e-18 dollars."""
    amount, price, unit = log_uniform(rng, 128), log_uniform(rng, 128), 10 ** rng.randint(0, 27)

    down, up = policy.value_down(amount, price, unit), policy.value_up(amount, price, unit)

    assert down * unit <= amount * price <= up * unit
    assert up - down <= 1


@given(ANY_RANDOM)
def test_v2_distances_sum_to_less_than_a_unit_an_asset(rng: Random) -> None:
    """V2: surpluses and deficits are one thing seen from two sides, but for the rounding of targets."""
    basket = random_basket(rng)
    weighed = _weighed(basket)

    assert 0 <= sum(weighed.distances_e18) < len(basket.assets)
    assert weighed.distance_e18 == sum(map(abs, weighed.distances_e18))
    assert (weighed.broken is None) == (
        all(
            abs(d) * E18 <= band * weighed.total_e18
            for d, band in zip(weighed.distances_e18, basket.bands_e18, strict=True)
        )
    )


@given(ANY_RANDOM)
def test_p1_surplus_and_deficit_end_at_the_target(rng: Random) -> None:
    """P1: selling all of a surplus leaves no less than the target, buying all of a deficit no more."""
    basket = random_basket(rng)
    weighed = _weighed(basket)
    targets = [v - d for v, d in zip(weighed.values_e18, weighed.distances_e18, strict=True)]
    for held, distance, target, price, unit in zip(
        basket.held, weighed.distances_e18, targets, basket.prices_e18, basket.units, strict=True
    ):
        sale = policy.surplus_raw(distance, price, unit)
        purchase = policy.deficit_raw(distance, price, unit)
        assert sale == 0 or purchase == 0
        assert sale <= held
        if sale:
            assert policy.value_down(held - sale, price, unit) >= target
            # And one more would be worth more than the distance.
            assert (sale + 1) * price > distance * unit
        if purchase:
            assert policy.value_down(held + purchase, price, unit) <= target


@given(ANY_RANDOM)
def test_p2_slippage_only_climbs_and_the_minimum_follows(rng: Random) -> None:
    """P2: waiting never makes a rebalance harder, and selling more never asks for less."""
    start, top = sorted((rng.randint(0, 300), rng.randint(0, 300)))
    ramp = rng.randint(1, 100_000)
    early, late = sorted((rng.randint(0, 200_000), rng.randint(0, 200_000)))
    less, more = sorted((log_uniform(rng, 120), log_uniform(rng, 120)))

    before = policy.slippage_e18(start, top, ramp, NOW, NOW + early)
    after = policy.slippage_e18(start, top, ramp, NOW, NOW + late)

    assert start * 10**14 <= before <= after <= top * 10**14
    assert policy.minimum_bought_e18(less, before) <= policy.minimum_bought_e18(more, before)
    assert policy.minimum_bought_e18(less, after) <= policy.minimum_bought_e18(less, before) <= less


@given(ANY_RANDOM)
def test_p5_bucket_drains_alike_in_one_go_or_two(rng: Random) -> None:
    """P5, P6: draining never gains by being looked at in between, and loses at most a unit by it."""
    budget, period = rng.randint(0, BPS), rng.randint(1, 10**6)
    level = rng.randint(0, 2 * E18)
    first, second = rng.randint(0, 10**6), rng.randint(0, 10**6)

    at_once = policy.leak(level, budget, period, first + second)
    in_two = policy.leak(policy.leak(level, budget, period, first), budget, period, second)

    assert 0 <= at_once <= in_two <= at_once + 1
    assert policy.leak(level, budget, period, first) <= level


@given(ANY_RANDOM)
def test_p6_bucket_holds_its_budget_over_any_window(rng: Random) -> None:
    """P5, P6: over a window W at most budget * (1 + W / period) is spent, however it is tried."""
    budget, period = rng.randint(1, 2_000), rng.randint(3_600, 10**6)
    total, level, spent_e18, elapsed = log_uniform(rng, 100), 0, 0, 0
    for _ in range(20):
        wait = rng.choice((0, 1, 600, period // 3))
        elapsed += wait
        try_e18 = total * rng.randint(0, budget) // BPS
        leaked = policy.leak(level, budget, period, wait)
        try:
            level = policy.spend_loss(leaked, try_e18, total, budget)
        except PolicyRefused:
            level = leaked
            continue
        spent_e18 += try_e18

    # Exactly: spent / total <= budget * (1 + elapsed / period), and rounding only ever takes.
    assert spent_e18 * BPS * period <= total * budget * (period + elapsed)


@given(st.randoms(use_true_random=True))  # too many draws for hypothesis to hold each
def test_c_whatever_settles_only_goes_toward_the_target(rng: Random) -> None:
    """Promise C and B: no asset further away or across, less distance, no loss beyond the limit, nothing else moved."""
    rules, state, basket, trade, settled = _settled(rng)
    before, after = settled.before, settled.after
    dust_e18 = rules.dust_bps * after.total_e18 // BPS

    for b, a in zip(before.distances_e18, after.distances_e18, strict=True):
        assert abs(a) <= abs(b) + dust_e18
        assert a * b >= 0 or abs(a) <= dust_e18
    far, rest = (_to_destination(rules, basket, weighed) for weighed in (before, after))
    near = rest * BPS <= rules.dust_bps * after.total_e18
    shrunk = rest * before.total_e18 * BPS <= (BPS - rules.min_progress_bps) * far * after.total_e18
    assert near or shrunk
    limit_e18 = rules.max_slippage_bps * 10**14
    assert settled.loss_e18 * E18 <= settled.sold_e18 * limit_e18
    # At primary prices the basket loses no more than the trade did at the worse ones, but for rounding.
    assert after.total_e18 >= before.total_e18 - settled.loss_e18 - len(basket.assets)
    lent = lent_by(rules, state, basket, trade, NOW)
    sold = trade.fill(lent).sold
    for i, (held, now) in enumerate(zip(basket.held, settled.held, strict=True)):
        assert now == held - sold[i] + (trade.min_buys[i] > 0) * trade.fill().bought[i]
    assert settled.state.epoch == state.epoch + 1
    assert settled.state.loss_level_e18 <= rules.loss_budget_bps * 10**14
    assert settled.state.turnover_level_e18 <= rules.turnover_budget_bps * 10**14
    assert (settled.state.due_since == 0) == (after.broken is None)


@given(ANY_RANDOM)
def test_b_nothing_settles_while_no_band_is_broken(rng: Random) -> None:
    """Promise B: whatever is asked for and given, a whole basket is left alone."""
    basket = random_basket(rng)
    weighed = _weighed(basket)
    drift_bps = policy.drift_bps(weighed.distances_e18, weighed.total_e18)
    wide = tuple(replace(asset, band_bps=drift_bps, relative_band_bps=0) for asset in basket.assets)
    rules = replace(random_policy(rng), cooldown_seconds=0, calendar_seconds=0)
    trade = random_trade(rng, rules, State(), basket, weighed, NOW)

    with refused("NoBandBroken"):
        settle(
            *(rules, State(), replace(basket, assets=wide), trade.fill(), trade.min_buys, NOW),
            epoch=0,
            sales=trade.sales,
        )


@given(ANY_RANDOM)
def test_c_fair_halves_bring_any_basket_home(rng: Random) -> None:
    """C: selling half of every surplus at the oracle's price again and again ends inside the bands."""
    rules = replace(RULES, dust_bps=20, cooldown_seconds=0, turnover_budget_bps=20_000, min_progress_bps=1_000)
    # Many units of everything, so that no rounding is larger than dust.
    n = rng.randint(2, 16)
    targets = [E18 // n] * n
    targets[0] += E18 - sum(targets)
    basket = Basket(
        tuple(Asset(f"T{i}", targets[i], 100, rng.choice((8, 18, 27))) for i in range(n)),
        (),
        tuple(Price(p, p, p) for p in (rng.randint(USD, 10**4 * USD) for _ in range(n))),
    )
    worth = [rng.randint(10**5, 10**6) * USD for _ in range(n)]
    held = [v * u // p for v, u, p in zip(worth, basket.units, basket.prices_e18, strict=True)]
    basket, state, at = replace(basket, held=tuple(held)), State(), NOW
    distance_e18 = weigh_basket(basket).distance_e18

    for _ in range(40):
        weighed = weigh_basket(basket)
        if weighed.broken is None:
            break
        trade = _half_way(basket, weighed.distances_e18)
        at += DAY
        settled = settle(
            *(rules, state, basket, trade.fill(), trade.min_buys, at),
            epoch=state.epoch,
            sales=trade.sales,
        )
        assert settled.after.distance_e18 < distance_e18
        distance_e18 = settled.after.distance_e18
        basket, state = replace(basket, held=settled.held), settled.state

    assert weigh_basket(basket).broken is None
    assert state.due_since == 0


@given(ANY_RANDOM)
def test_budgets_left_only_grow_with_time(rng: Random) -> None:
    rules = random_policy(rng)
    state = State(
        rng.randint(0, rules.loss_budget_bps * 10**14),
        rng.randint(0, rules.turnover_budget_bps * 10**14),
        NOW,
    )
    early, late = sorted((rng.randint(0, 10**6), rng.randint(0, 10**6)))

    soon = settlement.budgets_left_e18(rules, state, NOW + early)
    later = settlement.budgets_left_e18(rules, state, NOW + late)

    brim = (rules.loss_budget_bps * 10**14, rules.turnover_budget_bps * 10**14)
    assert all(0 <= a <= b <= c for a, b, c in zip(soon, later, brim, strict=True))


@given(ANY_RANDOM)
def test_allowed_sales_are_what_fractions_say(rng: Random) -> None:
    """All lowered alike to the need and then to what is left of the budget, of each no more than leaves room to round up."""
    n, total = rng.randint(1, 5), log_uniform(rng, 118)
    surpluses = [rng.randint(0, 10 ** rng.randint(1, 30)) for _ in range(n)]
    units = [10 ** rng.choice((0, 6, 18, 27)) for _ in range(n)]
    prices = [log_uniform(rng, 90) for _ in range(n)]
    his = [price * rng.randint(1_000, 1_200) // 1_000 for price in prices]
    minimums = [rng.choice((0, surplus // 2)) for surplus in surpluses]
    sums = [
        sum(ceil(Fraction(s * p, u)) for s, p, u in zip(surpluses, some, units, strict=True)) for some in (prices, his)
    ]
    need = sums[0] * rng.randint(1, 110) // 100 + rng.randint(-1, 1)
    left = rng.choice((E18, E18 + 1, min(3 * E18, sums[1] * rng.randint(1, 110) * E18 // (100 * total))))
    total += rng.randint(0, 1)

    expected = surpluses
    for some, limit in ((prices, need), (his, floor(Fraction(left, E18) * total))):
        worth = sum(ceil(Fraction(s * p, u)) for s, p, u in zip(expected, some, units, strict=True))
        if worth > limit:
            expected = [floor(s * Fraction(max(0, limit - n), worth)) for s in expected]
    kept = [s if s >= least else 0 for s, least in zip(expected, minimums, strict=True)]
    assert policy.allowed_sales(surpluses, prices, his, units, minimums, need, left, total) == kept


def _weighed(basket: Basket) -> settlement.Weighed:
    """The basket weighed; examples of baskets that cannot be are passed over."""
    try:
        return weigh_basket(basket)
    except PolicyRefused:
        assume(False)
        raise


def _settled(rng: Random) -> tuple[Policy, State, Basket, Trade, Settlement]:
    """The first of some random rebalances that passes."""
    for _ in range(100):
        rules = random_policy(rng)
        basket = moved(rng, random_basket(rng, rules.dust_bps))
        state = State(due_since=rng.choice((0, NOW - 500)), epoch=rng.randint(0, 5))
        try:
            trade = random_trade(rng, rules, state, basket, weigh_basket(basket), NOW)
            settled = settle(
                *(rules, state, basket, fill_of(rules, state, basket, trade, NOW), trade.min_buys),
                NOW,
                epoch=state.epoch,
                sales=trade.sales,
            )
        except PolicyRefused:
            continue
        return rules, state, basket, trade, settled
    raise AssertionError("none of a hundred random rebalances passes")


def _to_destination(rules: Policy, basket: Basket, weighed: settlement.Weighed) -> int:
    """The total distance to the destinations, in USD times 1e18."""
    return policy.to_destination(
        weighed.distances_e18,
        weighed.total_e18,
        basket.bands_e18,
        rules.destination_bps,
        rules.dust_bps,
    )[0]


def _half_way(basket: Basket, distances_e18: tuple[int, ...]) -> Trade:
    """Half of every surplus for the same value of every deficit, in its proportion."""
    facts = list(zip(distances_e18, basket.prices_e18, basket.units, strict=True))
    sales = [policy.surplus_raw(d, p, u) // 2 for d, p, u in facts]
    sold_e18 = sum(policy.value_up(s, p, u) for s, (_, p, u) in zip(sales, facts, strict=True))
    missing_e18 = sum(-d for d in distances_e18 if d < 0)
    bought = [-d * sold_e18 * u // (missing_e18 * p) if d < 0 else 0 for d, p, u in facts]
    return Trade(tuple(sales), tuple(bought), tuple(bought))


@given(ANY_RANDOM)
def test_what_is_beside_a_rebalance_is_what_fractions_say(rng: Random) -> None:
    """Levels carried to another policy, the auction's price, calendars, windows and weights, at their limits and anywhere."""
    (budget, period), (other, others) = ((rng.randint(1, 2_000), rng.randint(1, 10**6)) for _ in range(2))
    level = rng.randint(0, budget * 10**14)
    empty = ceil(Fraction(level * period, budget * 10**14))
    for elapsed in (0, max(0, empty - 1), empty, rng.randint(0, 10**6)):
        left = max(0, level - floor(Fraction(elapsed, period) * budget * 10**14))
        assert policy.leak(level, budget, period, elapsed) == left
        carried = left and left + ceil(Fraction(elapsed, others) * other * 10**14)
        assert policy.carry_level(level, budget, period, other, others, elapsed) == carried
        start, low = rng.randint(1, 1 << 100), rng.randint(0, 1 << 100)
        gone = min(Fraction(1), Fraction(elapsed, others))
        pay = ceil(low + start - start * gone)
        assert policy.auction_pay_raw(low + start, low, others, elapsed) == pay
        opens = rng.choice((0, elapsed, elapsed + 1, max(1, elapsed - 1)))
        since = rng.choice((0, NOW))
        is_open = bool(opens and since) and elapsed >= opens
        assert policy.is_open(since, opens, NOW + elapsed) == is_open
        spent = State(level, rng.randint(0, other * 10**14), NOW)
        rules = replace(RULES, loss_budget_bps=budget, loss_period_seconds=period)
        rules = replace(rules, turnover_budget_bps=other, turnover_period_seconds=others)
        used = floor(Fraction(elapsed, others) * other * 10**14)
        room = other * 10**14 - max(0, spent.turnover_level_e18 - used)
        assert settlement.budgets_left_e18(rules, spent, NOW + elapsed) == (
            budget * 10**14 - left,
            room,
        )
    for at in (NOW - NOW % period, NOW - NOW % period - 1, rng.randrange(NOW)):
        assert policy.is_calendar_open(at, period, NOW) == (at // period < NOW // period)
