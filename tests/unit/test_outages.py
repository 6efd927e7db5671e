"""What is left out of planning: for how long, how far, and until when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rebalancer.keeper.outages import Outages, Scope
from rebalancer.venues import BalancerWeightedPool
from tests.unit.test_plan import POOLS

POOL, OTHER, MANAGER = "0xaa", "0xbb", "0xee"
WETH, USDC, WBTC = "0x01", "0x02", "0x03"


def test_a_pool_is_left_out_for_a_minute_and_twice_as_long_each_time_up_to_an_hour() -> None:
    outages, now, backs_off = Outages(), 1_000.0, []
    for _ in range(8):
        reported = outages.failed(Scope(POOL), "TF", now)
        backs_off.append(reported.until - now)
        now = reported.until

    assert backs_off == [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]


def test_what_works_again_is_forgotten_and_begins_anew() -> None:
    outages = Outages()
    outages.failed(Scope(POOL), "TF", 0.0)
    outages.failed(Scope(POOL), "TF", 60.0)

    assert outages.worked(POOL, POOL, WETH, USDC) == [Scope(POOL)]
    assert outages.worked(POOL, POOL, WETH, USDC) == []
    assert outages.failed(Scope(POOL), "TF", 100.0).until == 160.0


def test_what_has_not_failed_for_an_hour_is_forgotten() -> None:
    outages = Outages()
    for now in (0.0, 60.0):
        outages.failed(Scope(POOL), "TF", now)

    assert outages.scopes(180.0 + 3_600.0) == frozenset()
    assert outages.failed(Scope(POOL), "TF", 4_000.0).until == 4_060.0


@given(st.lists(st.floats(0, 5_000), min_size=1, max_size=60))
def test_nobody_has_a_pool_left_out_for_long_without_making_it_fail_at_every_try(
    pauses: list[float],
) -> None:
    """So many failures, however they lie in time, buy no more than an hour each, and an hour after the last nothing is left."""
    outages, now, out = Outages(), 0.0, 0.0
    for pause in pauses:
        now += pause
        if not outages.scopes(now):  # it is only ever asked of while it is not left out
            reported = outages.failed(Scope(POOL), "TF", now)
            assert 60 <= reported.until - now <= 3_600
            out = reported.until

    assert outages.scopes(out) == frozenset()


def test_two_pools_of_one_holder_that_refuse_a_token_have_all_its_pools_of_the_token_left_out() -> None:
    outages = Outages()
    outages.refused(POOL, MANAGER, (WETH, USDC), "blocked", 0.0)
    assert outages.scopes(1.0) == {Scope(POOL)}
    outages.refused(OTHER, MANAGER, (USDC, WBTC), "blocked", 1.0)

    assert outages.scopes(2.0) == {Scope(POOL), Scope(OTHER), Scope(MANAGER, USDC)}
    third = next(one for one in outages.scopes(2.0) if one.token)
    assert third.covers("0xcc", MANAGER, (USDC, "0x04"))
    assert not third.covers("0xcc", MANAGER, (WETH, WBTC))
    assert not third.covers("0xcc", "0xdd", (USDC, WBTC))
    assert str(third) == f"{USDC} in {MANAGER}"


def test_pools_with_holders_of_their_own_say_nothing_of_a_token() -> None:
    outages = Outages()
    for pool in (POOL, OTHER):
        outages.refused(pool, pool, (WETH, USDC), "TF", 0.0)

    assert outages.scopes(1.0) == {Scope(POOL), Scope(OTHER)}


def test_a_token_that_the_executor_cannot_have_works_again_once_it_was_sold() -> None:
    outages = Outages()
    outages.failed(Scope("", USDC), "blocked", 0.0)

    assert outages.worked(POOL, POOL, WETH, USDC) == [], "it went from the pool to the vault"
    assert outages.worked(POOL, POOL, USDC, WETH) == [Scope("", USDC)]


def test_having_all_tried_again_forgets_whose_tokens_were_refused_too() -> None:
    """Else one refusal after it would leave out all pools of a contract, as if it were the second."""
    outages = Outages()
    outages.refused(POOL, MANAGER, (WETH, USDC), "blocked", 0.0)
    outages.forget()
    assert outages.scopes(1.0) == frozenset()
    outages.refused(OTHER, MANAGER, (USDC, WBTC), "blocked", 1.0)

    assert outages.scopes(2.0) == {Scope(OTHER)}


def test_what_is_left_out_is_told_by_name_since_when_why_and_until_when() -> None:
    outages = Outages()
    outages.failed(Scope(OTHER, WETH), "no", 5.0)
    outages.failed(Scope(POOL), "TF", 10.0)
    outages.failed(Scope(POOL), "TF again", 70.0)

    reported = outages.reported([Scope(OTHER, WETH), Scope(POOL), Scope("0xcc")])

    assert [(one.subject, one.why, one.since, one.until) for one in reported] == [
        (f"{WETH} in {OTHER}", "no", 5.0, 65.0),
        (POOL, "TF again", 10.0, 190.0),
    ]
    assert outages.is_open(Scope(POOL), 189.0)
    assert not outages.is_open(Scope(POOL), 190.0)
    assert not outages.is_open(Scope("0xcc"), 0.0)


def test_a_token_that_a_contract_moves_again_works_whichever_way_it_went() -> None:
    for token_in, token_out in ((USDC, WETH), (WETH, USDC)):
        outages = Outages()
        outages.failed(Scope(MANAGER, USDC), "blocked", 0.0)
        assert outages.worked(POOL, MANAGER, WETH, WBTC) == []
        assert outages.worked(POOL, MANAGER, token_in, token_out) == [Scope(MANAGER, USDC)]


def test_a_pool_that_works_again_counts_no_more_against_its_contract() -> None:
    outages = Outages()
    outages.refused(POOL, MANAGER, (WETH, USDC), "blocked", 0.0)
    outages.worked(POOL, MANAGER, WETH, USDC)
    outages.refused(OTHER, MANAGER, (USDC, WBTC), "blocked", 1.0)

    assert outages.scopes(2.0) == {Scope(OTHER)}


def test_the_contract_that_holds_a_pools_tokens_is_its_own_or_the_one_it_shares() -> None:
    shared = object.__new__(BalancerWeightedPool)
    object.__setattr__(shared, "vault", "0xv")

    assert shared.holder == "0xv"
    assert POOLS[0].holder == POOLS[0].address
    assert str(Scope("", USDC)) == f"{USDC} anywhere"
    assert str(Scope(POOL)) == POOL
