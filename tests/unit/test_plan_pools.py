"""Pools that a plan cannot use, or not for all: what becomes of the plan then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rebalancer.errors import LiquidityExhausted
from rebalancer.plan import Plan, Problem, Swap, best_sale, plan_rebalance
from rebalancer.plan.baseline import SingleRoutes
from rebalancer.plan.market import market_of
from rebalancer.units import E18
from rebalancer.venues import BalancerWeightedPool, Pool, Token
from tests.unit.test_plan import BITCOIN, DOLLAR, ETHER, ETHER_HIGH, POOLS, USD, planned


def thin(number: int, token: Token, usd: int, percent: int) -> BalancerWeightedPool:
    """A pool of ether and a token, so many dollars of each; it pays so many percent more for ether than others do.

    It takes no more than 30 % of what it holds of a token.
    """
    address = f"0x{number:040x}"
    tokens = tuple(sorted((token, ETHER), key=lambda one: one.address))
    worth = {token.address: usd * (100 + percent), ETHER.address: usd * 100}
    return BalancerWeightedPool(
        address=address,
        vault="0x" + "ba" * 20,
        pool_id=address + "00" * 12,
        tokens=tokens,
        balances=tuple(worth[t.address] * 10**t.decimals // (100 * USD[t]) for t in tokens),
        weights_e18=(E18 // 2, E18 // 2),
        fee_e18=10**15,
    )


THIN = (thin(11, DOLLAR, 1_000, 10), thin(12, BITCOIN, 1_500, 10))


def bought_e18(plan: Plan) -> int:
    return Problem.of(ETHER_HIGH, ()).values_e18(plan.sales_raw, plan.expected_buys_raw)[1]


def test_thin_pool_that_pays_best_cannot_take_all() -> None:
    with pytest.raises(LiquidityExhausted):
        THIN[0].quote_in(ETHER.address, DOLLAR.address, 10**18)


@pytest.mark.parametrize("extra", [THIN[:1], THIN[1:], THIN])
def test_thin_pool_that_pays_best_spoils_no_plan(extra: tuple[Pool, ...]) -> None:
    without, found = planned(), planned(pools=POOLS + extra)

    assert found.certificate.value_e18 >= without.certificate.value_e18
    assert sum(found.sales_raw) == pytest.approx(sum(without.sales_raw), rel=0.01)


def test_one_route_leaves_a_pool_out_that_cannot_take_so_much() -> None:
    routes = SingleRoutes(market_of([*POOLS, *THIN]))

    (small,) = routes.best(ETHER.address, DOLLAR.address, 10**15)
    (large,) = routes.best(ETHER.address, DOLLAR.address, 10**18)

    assert small.pool == THIN[0]
    assert large.pool == POOLS[1]
    assert large.amount_out_raw == POOLS[1].quote_in(ETHER.address, DOLLAR.address, 10**18)


def test_one_route_where_no_pool_can_take_it_is_none() -> None:
    routes = SingleRoutes(market_of(THIN[:1]))

    assert routes.best(ETHER.address, DOLLAR.address, 10**18) == []
    assert routes.best(ETHER.address, DOLLAR.address, 0) == []
    assert routes.best(ETHER.address, BITCOIN.address, 10**15) == []


def test_swaps_that_were_made_move_the_price_of_the_next() -> None:
    routes = SingleRoutes(market_of(THIN[:1]))
    first = routes.best(ETHER.address, DOLLAR.address, 10**16)
    routes.take(first)
    second = routes.best(ETHER.address, DOLLAR.address, 10**16)

    both = THIN[0].quote_in(ETHER.address, DOLLAR.address, 2 * 10**16)
    assert second[0].amount_out_raw < first[0].amount_out_raw
    assert first[0].amount_out_raw + second[0].amount_out_raw == pytest.approx(both, rel=1e-4)
    assert routes.swaps == [*first, *second][:1]


def test_two_pools_in_a_row_are_taken_where_they_pay_more() -> None:
    """The pool of dollars and ether pays 2 % too little."""
    poor = replace(THIN[0], balances=tuple(1_000 * raw for raw in THIN[0].balances))
    poor = replace(poor, fee_e18=2 * 10**17)
    pools = (POOLS[0], POOLS[2], poor)
    amount = 10**18

    found = SingleRoutes(market_of(pools)).best(ETHER.address, DOLLAR.address, amount)

    middle = POOLS[0].quote_in(ETHER.address, BITCOIN.address, amount)
    out = POOLS[2].quote_in(BITCOIN.address, DOLLAR.address, middle)
    assert [swap.pool for swap in found] == [POOLS[0], POOLS[2]]
    assert [swap.amount_out_raw for swap in found] == [middle, out]
    assert out > poor.quote_in(ETHER.address, DOLLAR.address, amount)


def test_sale_of_more_than_a_thin_pool_takes_goes_where_there_is_room() -> None:
    amount = 10**18
    alone = best_sale(POOLS[1:2], {ETHER.address: amount}, DOLLAR.address)
    swaps = best_sale([POOLS[1], THIN[0]], {ETHER.address: amount}, DOLLAR.address)

    def out(swaps: tuple[Swap, ...]) -> int:
        return sum(swap.amount_out_raw for swap in swaps)

    assert sum(swap.amount_in_raw for swap in swaps) == amount
    assert {swap.pool.key for swap in swaps} == {POOLS[1].key, THIN[0].key}
    assert out(swaps) > out(alone)


def test_limit_that_makes_a_plan_smaller_is_named() -> None:
    def by(**limits: Any) -> str | None:
        found = plan_rebalance(replace(Problem.of(ETHER_HIGH, POOLS), **limits))
        assert isinstance(found, Plan)
        return found.bound_by

    assert by() is None
    assert by(sold_max_e18=50_000 * E18) == "turnover"
    assert by(loss_max_e18=200 * E18) == "loss"
    assert by(slippage_limit_e18=E18 * 31 // 10_000) == "slippage"
    assert by(worth_e18=E18 * 31 // 10_000) == "worth"
    assert by(sold_max_e18=10**6 * E18, loss_max_e18=10**5 * E18) is None
