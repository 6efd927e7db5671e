"""Plans over random markets of all kinds of pools: no single route is missed, none is refused for the others, and more pools are no worse.

The markets are those of `make bench`, which looks at more of them; all comparisons are of whole numbers.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.plan import Plan, Problem, plan_rebalance
from rebalancer.plan.baseline import SingleRoutes
from rebalancer.plan.effort import Effort
from rebalancer.plan.market import market_of
from rebalancer.plan.optimum import terms_of
from rebalancer.plan.trades import Search
from rebalancer.units import BPS, E18
from scripts.benchmarks.markets import greedy, is_worse, market, net_e18, rich_pairs
from scripts.benchmarks.plan import out_of_band

SLACK = 10**6
"""One part in so many of what is sold is the rounding of floats that propose."""


def planned(problem: Problem, effort: Effort | None = None) -> Plan:
    """The plan; there must be one."""
    found = plan_rebalance(problem, effort)
    assert isinstance(found, Plan), found
    return found


@pytest.mark.parametrize("stormy", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 5, 12, 13, 24])
def test_plan_of_a_random_market_is_allowed_and_no_worse_than_single_routes(seed: int, *, stormy: bool) -> None:
    """Seeds in which, before, plans were worse or refused, or took minutes."""
    problem = market(seed, stormy=stormy)
    problem = replace(problem, pools=problem.pools[:24])
    single = greedy(problem)
    assert single is not None

    plan = planned(problem)

    assert problem.allows(plan.sales_raw, plan.expected_buys_raw)
    assert not is_worse(problem, plan, single.net_e18)
    certificate = plan.certificate
    if len({swap.pool.key for swap in plan.swaps}) == len(plan.swaps):
        # Pairs of one pool may make each other better, which the bound takes for pools of their own.
        assert certificate.value_e18 <= certificate.bound_e18 + certificate.sold_e18 // SLACK
    # What no plan can take is no part of the bound.
    assert certificate.all_pools_bound_e18 - certificate.value_e18 < certificate.sold_e18 // 100


@pytest.mark.parametrize(("seed", "stormy"), [(18, False), (51, True), (51, False), (65, False), (35, False)])
def test_plan_of_a_whole_random_market_is_no_worse_than_single_routes(seed: int, *, stormy: bool) -> None:
    """Seeds in which, before, single routes were chosen by what they pay before gas, or left out where many swaps were found."""
    problem = market(seed, stormy=stormy)
    single = greedy(problem)
    assert single is not None

    plan = planned(problem)

    assert not is_worse(problem, plan, single.net_e18)


@pytest.mark.parametrize(
    ("seed", "stormy"), [(18, False), (48, True), (51, False), (62, True), (74, True), (80, False)]
)
def test_single_routes_are_those_of_the_greedy_hand(seed: int, *, stormy: bool) -> None:
    """All pairs, pools and sizes compared by exact quotes, with far fewer of them."""
    problem = market(seed, stormy=stormy)
    problem = replace(problem, pools=problem.pools[:24])
    theirs = greedy(problem)
    assert theirs is not None
    pools = market_of(problem.pools)
    terms = terms_of(problem, pools)

    found = SingleRoutes(pools).trade(problem, terms.sales_raw, terms.needs_raw)

    worths = [one.net_e18 for one in found]
    assert worths == sorted(worths)
    assert worths[-1] >= theirs.net_e18 - theirs.net_e18 // 10**9


def test_single_routes_end_where_all_that_is_to_come_cannot_gain_what_is_missing() -> None:
    problem = replace(out_of_band(), gas_price_wei=10**9, native_price_e18=2_000 * E18)
    pools = market_of(problem.pools)
    terms = terms_of(problem, pools)
    whole, same, short = (SingleRoutes(pools) for _ in range(3))
    environments = whole.trade(problem, terms.sales_raw, terms.needs_raw)
    worth_e18 = environments[-1].net_e18

    again = same.trade(problem, terms.sales_raw, terms.needs_raw, beat_e18=worth_e18)
    less = short.trade(problem, terms.sales_raw, terms.needs_raw, beat_e18=worth_e18 * 11 // 10)

    assert again == environments
    assert less == environments[: len(less)]
    assert short.quotes < whole.quotes * 2 // 3


def test_plan_over_pools_that_disagree_is_never_worse_with_one_more() -> None:
    """Every second pool is 1.5 % rich: it sells there alone, and on none that leads back."""
    before_e18 = None
    for count in range(1, 25):
        problem = rich_pairs(count)
        plan = planned(problem)
        worth_e18 = net_e18(problem, plan)
        assert before_e18 is None or worth_e18 >= before_e18
        before_e18 = worth_e18
        rich = {pool.address for pool in problem.pools[::2]}
        if count > 4:
            assert {swap.pool.address for swap in plan.swaps} == rich
        assert plan.certificate.gap < 1e-9
    assert plan.expected_buys_raw[1] - plan.sales_raw[0] > 1_219 * E18


@pytest.mark.parametrize("seed", [2, 5, 6, 10, 12, 15])
@pytest.mark.parametrize("left_out", [1, 4])
def test_plan_with_more_pools_is_no_worse(seed: int, left_out: int) -> None:
    problem = market(seed, stormy=True)
    problem = replace(problem, pools=problem.pools[:20])
    fewer = plan_rebalance(replace(problem, pools=problem.pools[:-left_out]))
    if not isinstance(fewer, Plan):
        return

    plan = planned(problem)

    assert not is_worse(problem, plan, net_e18(problem, fewer))


def test_plan_beside_a_pool_that_does_not_trade_is_the_same() -> None:
    """Shares do not hang on the solver's last digits."""
    for count in range(5, 14, 2):
        plan, other = planned(rich_pairs(count)), planned(rich_pairs(count + 1))

        assert other.sales_raw == plan.sales_raw
        assert other.expected_buys_raw == plan.expected_buys_raw


@pytest.mark.parametrize("seed", [78, 11, 13])
def test_plan_where_two_orders_of_tokens_are_near_is_that_of_the_better_in_whole_units(
    seed: int,
) -> None:
    """Which of them shares pools better only exact quotes say; before, the one was chosen that could be worth more."""
    problem = market(seed, stormy=True)
    search = Search(problem, Effort())
    worths = []
    for best in search.whole():
        worths += [trades.net_e18 for trades in search.carried_out(best)]
    assert worths

    plan = planned(problem)

    slack_e18 = plan.certificate.sold_e18 // SLACK + problem.sending_cost_e18(1)
    assert net_e18(problem, plan) + slack_e18 >= max(worths)


@pytest.mark.parametrize(("seed", "stormy"), [(1, True), (4, False), (9, True)])
def test_plan_over_todays_pools_of_curve_is_no_worse_than_single_routes(seed: int, *, stormy: bool) -> None:
    problem = market(seed, stormy=stormy, every_kind=True)
    problem = replace(problem, pools=problem.pools[:24])
    single = greedy(problem)
    assert single is not None

    plan = planned(problem)

    assert not is_worse(problem, plan, single.net_e18)


@pytest.mark.parametrize(("sold_max_usd", "loss_max_usd"), [(18_000, None), (None, 0)])
def test_plan_within_a_budget_where_pools_disagree_trades_on_the_rich_one(
    sold_max_usd: int | None, loss_max_usd: int | None
) -> None:
    sold_max_e18 = None if sold_max_usd is None else sold_max_usd * E18
    problem = replace(rich_pairs(18), sold_max_e18=sold_max_e18, loss_max_e18=loss_max_usd)

    plan = planned(problem)

    sold_e18, bought_e18 = problem.values_e18(plan.sales_raw, plan.expected_buys_raw)
    assert sold_e18 >= 17_999 * E18
    assert bought_e18 > sold_e18 * (BPS + 100) // BPS


def test_plan_of_the_same_market_is_the_same() -> None:
    problem = market(3)
    again = replace(problem, pools=tuple(replace(pool) for pool in problem.pools))  # type: ignore[type-var]  # every pool is a dataclass

    assert plan_rebalance(again) == plan_rebalance(problem)


@pytest.mark.parametrize("effort", [Effort(0), Effort(is_late=lambda: True)], ids=["steps", "clock"])
def test_plan_that_is_cut_short_says_so_and_is_no_worse_than_single_routes(effort: Effort) -> None:
    problem = market(0, stormy=False)
    problem = replace(problem, pools=problem.pools[:20])
    single = greedy(problem)
    assert single is not None

    plan = planned(problem, effort)

    assert plan.was_cut
    assert not planned(problem).was_cut
    assert not is_worse(problem, plan, single.net_e18)
