"""Which swaps are not worth their gas, by a network that stands for a solution: held against solving again without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rebalancer.plan import Plan, plan_rebalance
from rebalancer.plan.dispense import dispensable
from rebalancer.plan.dual import Offer, Solution, solve
from rebalancer.plan.flow_to_swaps import trading_rows
from rebalancer.plan.market import Market
from rebalancer.units import E18
from rebalancer.venues import UniswapV3Pool
from scripts.benchmarks.markets import net_e18
from scripts.benchmarks.plan import out_of_band
from tests.unit.pairs import RAW, A, B, C, pair


def solved(*pools: UniswapV3Pool) -> tuple[Market, Offer, Solution]:
    """100 A for as much B as comes of it, all worth a dollar."""
    market = Market(pools)
    prices = np.full(len(market.tokens), 1 / RAW)
    sell_max, buy_max = np.zeros((2, len(prices)))
    sell_max[market.index[A.address]] = 100 * RAW
    buy_max[market.index[B.address]] = 200 * RAW
    offer = Offer(sell_max, buy_max, np.zeros_like(prices), prices.copy(), prices)
    return market, offer, solve(market, offer)


def test_dispensable_says_what_doing_without_a_pool_loses() -> None:
    market, offer, found = solved(pair(A, B, 1, 10_000, 10_000), pair(A, B, 2, 9_000, 9_000), pair(A, B, 3, 400, 400))
    rows = trading_rows(market, found)
    assert len(rows) == 3
    smallest = int(rows[np.argmin(found.flows.amounts_in[rows])])
    lost = found.value - solve(market.without(np.array([smallest])), offer).value

    assert dispensable(market, found, rows, lost * 1.05) == [smallest]
    assert dispensable(market, found, rows, lost * 0.95) == []


@pytest.mark.parametrize(
    "pools",
    [
        [pair(A, B, i, 100_000 * depth, 100_000 * depth) for i, depth in enumerate((10, 8, 6, 5), 1)],
        [
            pair(
                one,
                other,
                i,
                100_000 * depth,
                100_000 * depth,
                2_000 if other is B and one is A else 1_000,
            )
            for i, (one, other, depth) in enumerate(((A, B, 10), (A, C, 8), (A, C, 5), (B, C, 9), (B, C, 6)), 1)
        ],
    ],
    ids=["beside one another", "two in a row"],
)
def test_dispensable_adds_up_what_one_pool_after_another_loses(pools: list[UniswapV3Pool]) -> None:
    """The flow of those that are left out is on the others, so each next one loses more than it did at first."""
    market, offer, _ = solved(*pools)
    if C.address in market.index:  # it may be bought, but is worth too little
        at = market.index[C.address]
        offer.buy_max[at], offer.gain[at] = RAW, offer.gain[at] / 2
    found = solve(market, offer)
    rows = trading_rows(market, found)
    left, lost, value = rows.tolist(), dict[int, float](), found.value
    for _ in range(3):
        without = {row: solve(market.only([r for r in left if r != row]), offer).value for row in left}
        least = max(without, key=without.__getitem__)
        lost[least], value = value - without[least], without[least]
        left.remove(least)

    order = list(lost)
    for cost in (part * one for one in lost.values() for part in (0.995, 1.005)):
        first_kept = next((at for at, row in enumerate(order) if lost[row] > cost), 3)
        # A fourth may be what leads on from those and has nothing to trade.
        assert dispensable(market, found, rows, cost)[:3] == order[:first_kept]


def test_dispensable_leaves_out_one_of_two_equal_pools_and_not_the_other() -> None:
    market, offer, found = solved(pair(A, B, 1, 1_000, 1_000), pair(A, B, 2, 1_000, 1_000))
    rows = trading_rows(market, found)
    lost = found.value - solve(market.without(rows[:1]), offer).value

    dropped = dispensable(market, found, rows, lost * 1.3)

    assert len(dropped) == 1


def test_dispensable_keeps_what_everything_goes_by() -> None:
    market, _, found = solved(pair(A, C, 1, 1_000, 1_000), pair(B, C, 2, 1_000, 1_000))

    assert dispensable(market, found, trading_rows(market, found), 1.0) == []


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_plan_with_little_gas_is_no_worse_than_the_one_that_weighs_none(seed: int) -> None:
    problem = replace(out_of_band(seed), gas_price_wei=10**9, native_price_e18=2_000 * E18)
    plan, free = plan_rebalance(problem), plan_rebalance(replace(problem, gas_price_wei=0))

    assert isinstance(plan, Plan)
    assert isinstance(free, Plan)
    assert len(plan.swaps) < len(free.swaps)
    assert net_e18(problem, plan) > net_e18(problem, free)
