"""From the optimum to trades: which swaps earn their gas, how much whole units hold, and what a bound proves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rebalancer.plan.baseline import Gathered, SingleRoutes
from rebalancer.plan.dual import solve
from rebalancer.plan.effort import Effort
from rebalancer.plan.flow_to_swaps import Unsettled, ordered_rows, trading_rows
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.optimum import MOST_FOCUSES, terms_of
from rebalancer.plan.order import order_of_flows
from rebalancer.plan.problem import Problem
from rebalancer.plan.swap import Swap
from rebalancer.plan.trades import Search, _rows_that_share
from rebalancer.units import E18
from rebalancer.venues import Pool
from scripts.benchmarks.markets import market as market_of_seed
from tests.unit.pairs import RAW, A, B, C, pair
from tests.unit.test_flow_to_swaps import ThreeTokens

FOUR_ALIKE = tuple(pair(A, B, number, 10_000, 10_000) for number in (1, 2, 3, 4))


class Counted(Effort):
    """Remembers what was spent."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: list[int] = []

    def spend(self, steps: int) -> None:
        self.spent.append(steps)
        super().spend(steps)


def asked_for(pools: tuple[Pool, ...], sell_raw: int = 100 * RAW, buy_raw: int = 200 * RAW) -> Problem:
    """A is sold for B; all are worth a dollar."""
    return Problem(
        tokens=(A.address, B.address, C.address),
        decimals=(18, 18, 18),
        sales_max_raw=(sell_raw, 0, 0),
        needs_max_raw=(0, buy_raw, 0),
        prices_e18=(E18,) * 3,
        lo_e18=(E18,) * 3,
        hi_e18=(E18,) * 3,
        pools=pools,
    )


def test_swaps_that_do_not_earn_their_gas_go_one_after_another() -> None:
    """Of four pools alike one saves its gas of $0.12, as its share costs the others $0.08; a second would cost them $0.16."""
    dear = replace(asked_for(FOUR_ALIKE), gas_price_wei=10**9, native_price_e18=E18)
    dear = replace(dear, gas_per_hop=120_000_000)
    assert dear.hop_cost_e18 == 12 * E18 // 100
    search = Search(dear, Effort())
    (whole,) = search.whole()
    settled = search.settled(whole)

    assert settled is not None
    assert len(settled.swaps) == 4
    fewer = search.earning(settled)
    assert len(fewer.swaps) == 3
    assert 3 * E18 // 100 < fewer.net_e18 - settled.net_e18 < 5 * E18 // 100
    lean = search.lean(whole)
    assert len(trading_rows(lean.market, lean.solution)) == 3


def test_pools_that_earn_their_gas_are_added_to_those_of_a_single_route() -> None:
    """The first of four pools alike pays most; of the others each earns its gas of $0.03 beside it."""
    problem = replace(asked_for(FOUR_ALIKE), gas_price_wei=10**9, native_price_e18=E18)
    problem = replace(problem, gas_per_hop=30_000_000)
    search = Search(problem, Effort())
    (whole,) = search.whole()
    alone = SingleRoutes(search.market).best(A.address, B.address, 100 * RAW)

    found = search.from_few(whole, alone)

    assert [len(one.swaps) for one in found] == [1, 4]
    assert found[0].net_e18 < found[1].net_e18
    assert all(one.whole is whole for one in found)


@pytest.mark.parametrize("seed", [22, 38, 40, 42])
def test_order_of_tokens_is_made_better_by_others_beside_it(seed: int) -> None:
    """Pools that disagree, so that circles gain: the order that lets most pass is not the best."""
    search = Search(market_of_seed(seed), Effort())
    first = solve(search.market, search.terms.offer, MOST_FOCUSES)
    assert isinstance(ordered_rows(first.market, first), Unsettled)

    start = search.in_order(order_of_flows(search.market, first, search.terms.offer))
    best = search.in_some_order(first, set())

    assert start is not None
    assert best is not None
    assert search.worth(best) > 1.04 * search.worth(start)
    assert search.better(best, start)


@pytest.mark.parametrize("seed", [5, 57])
def test_both_orders_of_tokens_are_carried_out(seed: int) -> None:
    problem = market_of_seed(seed)
    bounds = [one.bound for one in Search(problem, Effort()).whole()]
    found = Search(problem, Effort()).found()

    assert len(set(bounds)) == 2
    assert set(bounds) <= {one.whole.bound for one in found if one.whole is not None}


def test_second_order_is_left_out_where_little_effort_is_left() -> None:
    problem = market_of_seed(5)
    first = Search(problem, Effort()).whole()
    effort = Effort(20)

    found = Search(problem, effort).whole()

    assert len(first) == 2
    assert len(found) == 1
    assert effort.was_cut


def test_each_of_several_pools_of_three_tokens_trades_one_pair() -> None:
    """Both are wanted by both pairs: what is solved again leaves every pair but one of either out."""
    reserves = (1_000 * RAW, 1_000 * RAW, 1_000 * RAW)
    pools = tuple(ThreeTokens(reserves, key="0x" + digit * 40) for digit in "ef")
    problem = replace(asked_for(pools, 80 * RAW), needs_max_raw=(0, 50 * RAW, 50 * RAW))
    search = Search(problem, Effort())
    (whole,) = search.whole()

    shared = _rows_that_share(whole)

    assert len(trading_rows(whole.market, whole.solution)) == 4
    for number in (0, 1):
        rows = np.flatnonzero(whole.market.pool == number)
        assert len(np.setdiff1d(rows, shared)) == 1


def test_settling_counts_as_a_step_for_each_swap() -> None:
    effort = Counted()
    search = Search(asked_for(FOUR_ALIKE), effort)
    (whole,) = search.whole()
    effort.spent.clear()

    search.settled(whole)

    assert effort.spent == [4]


def test_single_routes_end_where_all_that_is_wanted_is_worth_less_than_what_is_known() -> None:
    """At most $10 can be bought, however much there is to sell: nothing is quoted to gain $8."""
    problem = asked_for(FOUR_ALIKE, 100 * RAW, 10 * RAW)
    routes = SingleRoutes(Market(FOUR_ALIKE))

    assert routes.trade(problem, problem.sales_max_raw, problem.needs_max_raw, beat_e18=8 * E18) == []
    assert routes.quotes == 0
    assert routes.trade(problem, problem.sales_max_raw, problem.needs_max_raw, beat_e18=4 * E18)


def test_swaps_without_gas_all_stay() -> None:
    search = Search(asked_for(FOUR_ALIKE), Effort())
    (whole,) = search.whole()
    settled = search.settled(whole)

    assert settled is not None
    assert search.earning(settled) is settled
    assert search.lean(whole) is whole


@pytest.mark.parametrize("raw", [10**20 + 1, 7 * 10**18 + 3])
def test_sale_of_all_is_to_the_last_raw_unit(raw: int) -> None:
    """A float would not hold it."""
    best = Search(asked_for(FOUR_ALIKE, raw, 4 * raw), Effort()).found()[0]

    assert best.sales_raw == (raw, 0, 0)
    assert sum(swap.amount_in_raw for swap in best.swaps) == raw


@pytest.mark.parametrize("dollars", [0.02, 20.0, 2_000.0])
def test_turnover_that_is_left_is_used_up_however_little_it_is(dollars: float) -> None:
    most_e18 = int(dollars / 2 * E18)
    problem = replace(asked_for(FOUR_ALIKE, int(dollars * RAW), 10**4 * RAW), sold_max_e18=most_e18)

    search = Search(problem, Effort())
    for best in (search.settled(search.whole()[0]), search.found()[0]):
        assert best is not None
        assert most_e18 * (1 - 1e-6) < best.sales_raw[0] <= most_e18


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 100.0])
def test_purchases_stay_short_of_targets_that_losses_move(scale: float) -> None:
    """As much as is lacking would be too much once the basket is worth less: half of what is lost, B's weight being a half."""
    reserve = int(10_000 * scale)
    pools = tuple(pair(A, B, number, max(reserve, 1), max(reserve, 1)) for number in (1, 2))
    lacks = int(100 * max(reserve, 1) / 10_000 * RAW)
    problem = replace(asked_for(pools, 2 * lacks, lacks), targets_e18=(E18 // 2, E18 // 2, 0))

    search = Search(problem, Effort())
    best = search.near_targets(search.market)

    assert best is not None
    sold, bought = float(best.solution.sold.max()), float(best.solution.bought.max())
    assert bought < lacks
    # What is lost is counted a hundredth higher.
    assert lacks - bought == pytest.approx((sold - bought) / 2 * 1.01, rel=1e-2)


def test_bound_that_knows_not_all_proves_nothing_so_single_routes_are_tried() -> None:
    """Of a pool of three tokens the pairs are solved as pools of their own; where a circle gains, the bound is that of an order."""
    three = (ThreeTokens((1_000 * RAW, 1_000 * RAW, 1_000 * RAW)), pair(A, B, 9, 50, 50))
    circle = (pair(A, B, 9, 1_000, 1_000), pair(A, B, 10, 1_000, 1_200))
    for pools, raw in ((three, 100 * RAW), (circle, RAW)):
        found = Search(asked_for(pools, raw), Effort()).found()
        assert any(one.whole is None for one in found)
        assert any(one.whole is not None and not one.whole.market.is_whole for one in found)
    # Where every pool has two tokens and no circle gains the bound is proof enough.
    assert all(one.whole is not None for one in Search(asked_for(FOUR_ALIKE), Effort()).found())
    assert not market_of(three).is_whole


def test_need_of_just_what_may_be_sold_makes_nothing_smaller() -> None:
    """Values are rounded up, here by one for each asset and one more for when they are checked."""
    problem = asked_for(FOUR_ALIKE, 100 * RAW, 100 * RAW)
    market = Market(FOUR_ALIKE)
    most_e18 = 100 * E18 + 1 + len(problem.tokens)

    whole = terms_of(replace(problem, need_max_e18=most_e18), market)
    less = terms_of(replace(problem, need_max_e18=most_e18 - 1), market)

    assert (whole.sales_raw, whole.needs_raw) == (problem.sales_max_raw, problem.needs_max_raw)
    assert 0 < problem.sales_max_raw[0] - less.sales_raw[0] <= 2
    assert 0 < problem.needs_max_raw[1] - less.needs_raw[1] <= 2


def test_single_route_against_what_has_begun_would_be_a_circle() -> None:
    """B was swapped for A before: neither straight back nor through C."""
    pools = (
        pair(A, B, 9, 1_000, 1_000),
        pair(A, C, 10, 1_000, 1_000),
        pair(B, C, 11, 1_000, 1_000),
    )
    problem = asked_for(pools)
    needs = problem.needs_max_raw
    out = pools[0].quote_in(B.address, A.address, RAW)
    before = Gathered(
        (Swap(pools[0], B.address, A.address, RAW, out),),
        (0, 0, 0),
        (0, 0, 0),
        -problem.hop_cost_e18,
    )

    assert SingleRoutes(Market(pools)).trade(problem, problem.sales_max_raw, needs)
    assert SingleRoutes(Market(pools)).trade(problem, problem.sales_max_raw, needs, before) == []
