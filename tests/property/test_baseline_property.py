"""Single routes against every route there is: no bound and no order of trying loses one that is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from random import Random

import pytest

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.baseline import Gathered, SingleRoutes
from rebalancer.plan.market import Market
from rebalancer.plan.problem import Problem
from rebalancer.plan.swap import Swap
from rebalancer.units import BPS, E18
from rebalancer.venues import BalancerWeightedPool, Pool, Token, UniswapV3Pool
from tests.unit.pairs import RAW, A, B, C, pair
from tests.unit.test_flow_to_swaps import ThreeTokens
from tests.unit.test_order import D, E

TOKENS = (A, B, C)
DECIMALS = (18, 6, 27)
WORTH = (1, 2, 1)
"""Of 1e18 raw units of each, in dollars."""
SEEDS = range(12)
MARKETS = 8
"""For each seed."""


def market_of_pairs(rng: Random) -> tuple[UniswapV3Pool, ...]:
    """Up to three pools a pair of three tokens, up to 3 % off one another, from shallow to deep; fees from none to 1 %."""
    pools, number = list[UniswapV3Pool](), 10
    for i, j in ((0, 1), (0, 2), (1, 2)):
        for _ in range(rng.choice((0, 1, 2, 3))):
            depth = rng.choice((30, 300, 3_000))
            off = rng.randint(97, 103)
            fee = rng.choice((100, 500, 3_000, 10_000))
            reserves = depth * 100 // WORTH[i], depth * off // WORTH[j]
            pools.append(pair(TOKENS[i], TOKENS[j], number, *reserves, fee))
            number += 1
    return tuple(pools)


@dataclass
class Route:
    """Swaps of a whole amount, and the pools after them."""

    amount_raw: int
    out_raw: int
    steps: tuple[tuple[str, str], ...]
    after: dict[str, Pool]


def quoted(pool: Pool, token_in: str, token_out: str, amount_raw: int) -> int:
    try:
        return pool.quote_in(token_in, token_out, amount_raw) if amount_raw else 0
    except (LiquidityExhausted, BadAmount):
        return 0


def best_pool(
    pools: dict[str, Pool], start: str, end: str, amount_raw: int, most_raw: int | None = None
) -> tuple[int, str]:
    """What the pool that pays most pays, of those that pay no more than `most_raw`."""
    paid = [
        (quoted(pool, start, end, amount_raw), key)
        for key, pool in pools.items()
        if {start, end} <= {token.address for token in pool.tokens}
    ]
    return max((one for one in paid if most_raw is None or one[0] <= most_raw), default=(0, ""))


def routes(
    pools: dict[str, Pool], start: str, end: str, amount_raw: int, most_raw: int | None = None
) -> Iterator[tuple[bool, Route]]:
    """The best pool of the pair; and the best first pool and then the best second, through each other token."""
    for middle in (None, *(token.address for token in TOKENS if token.address not in (start, end))):
        left, held, steps = dict(pools), amount_raw, list[tuple[str, str]]()
        ends = [(start, end)] if middle is None else [(start, middle), (middle, end)]
        for at, to in ends:
            out, key = best_pool(left, at, to, held, most_raw if to == end else None)
            if not out:
                break
            left[key] = left[key].swapped(at, to, held)[1]
            held = out
            steps.append((at, to))
        else:
            yield middle is not None, Route(amount_raw, held, tuple(steps), left)


@pytest.mark.parametrize("seed", SEEDS)
def test_best_single_route_is_the_best_of_all(seed: int) -> None:
    rng = Random(seed)
    pools: tuple[UniswapV3Pool, ...] = ()
    while not pools:
        pools = market_of_pairs(rng)
    for start, end in permutations(TOKENS, 2):
        amount = rng.choice((1, RAW // 7, 20 * RAW, 10**6 * RAW))
        swaps = SingleRoutes(Market(pools)).best(start.address, end.address, amount)
        by_key: dict[str, Pool] = {pool.key: pool for pool in pools}
        every = [r for _, r in routes(by_key, start.address, end.address, amount)]
        assert (swaps[-1].amount_out_raw if swaps else 0) == max((r.out_raw for r in every), default=0)
        for swap, before in zip(swaps[1:], swaps, strict=False):
            assert swap.amount_in_raw == before.amount_out_raw


def test_two_pairs_of_one_pool_are_no_route() -> None:
    """A pool of three tokens pays best for either step, but as the first left it the second is not what was quoted."""
    pool: Pool = ThreeTokens((100 * RAW, 100 * RAW, 100 * RAW))
    others: tuple[Pool, ...] = (pair(A, C, 9, 1_000, 900), pair(B, C, 10, 900, 1_000))
    for amount in (RAW, 50 * RAW):
        swaps = SingleRoutes(Market((pool, *others))).best(A.address, B.address, amount)
        direct = pool.quote_in(A.address, B.address, amount)
        outs = [direct]
        for first, second in product([pool, *others], repeat=2):
            if first is not second:
                middle = quoted_or_none(first, A, C, amount)
                outs.append(quoted_or_none(second, C, B, middle))
        assert swaps[-1].amount_out_raw == max(outs)
        assert len({swap.pool.key for swap in swaps}) == len(swaps)


def quoted_or_none(pool: Pool, start: Token, end: Token, amount_raw: int) -> int:
    """0 where the pool does not trade the pair."""
    has = {start.address, end.address} <= {token.address for token in pool.tokens}
    return quoted(pool, start.address, end.address, amount_raw) if has else 0


def test_route_is_found_behind_one_that_pays_most_at_first_and_little_in_all() -> None:
    """Through C it pays 2 % more for the first unit, through D 1 %, through E nothing; but of 100 most arrives by E's deep pools."""
    pools = tuple(
        pair(end, middle, number, *reserves, 100)
        for number, (end, middle, reserves) in enumerate(
            (
                (A, C, (1_000, 1_020)),
                (B, C, (1_000, 1_000)),
                (A, D, (50, 50 * 101 // 100)),
                (B, D, (50, 50)),
                (A, E, (10**6, 10**6)),
                (B, E, (10**6, 10**6)),
            ),
            10,
        )
    )
    paid = {
        middle.symbol: second.quote_in(middle.address, B.address, first.quote_in(A.address, middle.address, 100 * RAW))
        for middle, first, second in zip((C, D, E), pools[::2], pools[1::2], strict=True)
    }
    assert paid["D"] < paid["C"] < paid["E"]

    swaps = SingleRoutes(Market(pools)).best(A.address, B.address, 100 * RAW)

    assert [swap.token_out for swap in swaps] == [E.address, B.address]
    assert swaps[-1].amount_out_raw == paid["E"]


def test_route_is_found_behind_one_whose_pool_cannot_take_the_amount() -> None:
    """Through C it would pay twice as much, but that pool takes no more than 30 % of what it holds."""
    thin = BalancerWeightedPool(
        address=f"0x{9:040x}",
        vault=f"0x{8:040x}",
        pool_id=f"0x{9:040x}" + "00" * 12,
        tokens=(A, C),
        balances=(100 * RAW, 200 * RAW),
        weights_e18=(E18 // 2, E18 // 2),
        fee_e18=10**15,
    )
    pools = (
        thin,
        pair(B, C, 10, 10**6, 10**6),
        pair(A, D, 11, 10**6, 10**6),
        pair(B, D, 12, 10**6, 10**6),
    )
    for amount, middle in ((RAW, C), (50 * RAW, D)):
        swaps = SingleRoutes(Market(pools)).best(A.address, B.address, amount)
        assert [swap.token_out for swap in swaps] == [middle.address, B.address]


def test_pool_pays_more_for_what_it_has_been_sold_out_of() -> None:
    """At first the other pool pays more for B; after A was swapped for B in this one, this one does."""
    this, other = pair(A, B, 10, 1_000, 1_000), pair(A, B, 11, 1_030, 1_000)
    routes = SingleRoutes(Market((this, other)))
    (before,) = routes.best(B.address, A.address, RAW)
    assert before.pool == other

    swap = Swap(this, A.address, B.address, 200 * RAW, this.quote_in(A.address, B.address, 200 * RAW))
    routes.take([swap])
    (after,) = routes.best(B.address, A.address, RAW)

    assert after.pool == swap.pool_after
    assert after.amount_out_raw == swap.pool_after.quote_in(B.address, A.address, RAW)


def test_route_that_pays_a_single_unit_is_one() -> None:
    edge = (pair(A, C, 9, 1_000, 1_000), pair(B, C, 10, 1_000, 1_000))
    for pools in (edge, (pair(A, B, 11, 1_000, 1_000),)):
        paid, by_key = list[int](), dict[str, Pool]((pool.key, pool) for pool in pools)
        for amount in range(1, 9):
            swaps = SingleRoutes(Market(pools)).best(A.address, B.address, amount)
            every = [r.out_raw for _, r in routes(by_key, A.address, B.address, amount)]
            paid.append(swaps[-1].amount_out_raw if swaps else 0)
            assert paid[-1] == max(every, default=0)
        assert {0, 1, 2} <= set(paid)


# Trades one after another


def terms_of(rng: Random, pools: tuple[UniswapV3Pool, ...]) -> Problem:
    """A and sometimes C sold for B, or A for both; with limits now and then."""
    sells = rng.choice(((1, 0, 0), (1, 0, 1), (0, 1, 1)))
    amounts = [rng.randint(1, 60) * RAW + rng.randint(0, 9) for _ in TOKENS]
    prices_e18 = tuple(worth * 10**places for worth, places in zip(WORTH, DECIMALS, strict=True))
    problem = Problem(
        tokens=tuple(token.address for token in TOKENS),
        decimals=DECIMALS,
        sales_max_raw=tuple(a * s for a, s in zip(amounts, sells, strict=True)),
        needs_max_raw=tuple(a * (1 - s) for a, s in zip(amounts, sells, strict=True)),
        prices_e18=prices_e18,
        lo_e18=(prices_e18[0] * 999 // 1_000, *prices_e18[1:]),
        hi_e18=(*prices_e18[:2], prices_e18[2] * 1_001 // 1_000),
        pools=pools,
        worth_e18=rng.choice((E18 // 2, 2 * E18 // 100, 8 * E18 // 1_000)),
        gas_price_wei=rng.choice((0, 10**9, 10**10)),
        native_price_e18=200 * E18,
        slippage_limit_e18=rng.choice((E18, 3 * E18 // 100)),
    )
    most_e18 = sum(problem.sold_e18(i, raw) for i, raw in enumerate(problem.sales_max_raw))
    if rng.random() < 0.4:
        problem = replace(problem, sold_max_e18=most_e18 * rng.randint(1, 99) // 100)
    if rng.random() < 0.3:
        problem = replace(problem, loss_max_e18=most_e18 * rng.randint(1, 300) // BPS)
    return problem


def reaches(steps: Sequence[tuple[str, str]], start: str, end: str) -> bool:
    """Whether swaps lead from one token to another."""
    seen = {start}
    for _ in steps:
        seen |= {b for a, b in steps if a in seen}
    return end in seen


def stated(problem: Problem, *, fitting: bool) -> list[tuple[int, int]]:
    """What is planned for less gas after each trade, and its swaps: the best of all pairs, ways and sizes, each time, as long as that is more."""
    pools: dict[str, Pool] = {pool.key: pool for pool in problem.pools}
    sales, buys, steps = [0] * 3, [0] * 3, list[tuple[str, str]]()
    open_ = {(i, j) for i in range(3) for j in range(3) if problem.sales_max_raw[i] and problem.needs_max_raw[j]}
    nets, last = list[tuple[int, int]](), -2 * problem.hop_cost_e18
    while True:
        best: tuple[int, tuple[int, int], Route] | None = None
        for i, j in sorted(open_):
            lacks = problem.needs_max_raw[j] - buys[j]
            most = min(problem.sales_max_raw[i] - sales[i], lacks * WORTH[j] // WORTH[i])
            if problem.sold_max_e18 is not None:
                room = max(0, problem.sold_max_e18 - problem.values_e18(sales, buys)[0] - 1)
                most = min(most, room * 10 ** DECIMALS[i] // problem.hi_e18[i])
            for is_through in (False, True):
                found: tuple[int, tuple[int, int], Route] | None = None
                for part in (1, 2, 4, 8, 16, 32, 64):
                    route = fitted(
                        (pools, steps, is_through),
                        (problem.tokens[i], problem.tokens[j]),
                        (most // part, lacks),
                        fitting=fitting,
                    )
                    if route is None:
                        continue
                    sold, bought = list(sales), list(buys)
                    sold[i] += route.amount_raw
                    bought[j] += route.out_raw
                    if not problem.allows(sold, bought):
                        continue
                    gas = problem.hop_cost_e18 * (len(steps) + len(route.steps))
                    net = problem.benefit_e18(sold, bought) - gas
                    if found is not None and net <= found[0]:
                        break
                    found = net, (i, j), route
                if found is not None and (best is None or found[0] > best[0]):
                    best = found
        if best is None or best[0] <= last:
            return nets
        last, (i, j), route = best
        open_.remove((i, j))
        sales[i] += route.amount_raw
        buys[j] += route.out_raw
        pools, steps = route.after, [*steps, *route.steps]
        nets.append((last, len(steps)))


def fitted(
    market: tuple[dict[str, Pool], list[tuple[str, str]], bool],
    ends: tuple[str, str],
    amounts: tuple[int, int],
    *,
    fitting: bool,
) -> Route | None:
    """The best route of a kind that makes no circle; where it buys too much, of as much less as does not."""
    (pools, before, is_through), (amount, lacks) = market, amounts
    cap = None if fitting else lacks
    while amount > 0:
        every = [
            route
            for through, route in routes(pools, *ends, amount, cap)
            if through is is_through
            and not reaches(before, ends[1], ends[0])
            and not any(reaches(before, b, a) for a, b in route.steps)
        ]
        best = max(every, key=lambda route: route.out_raw, default=None)
        if best is None or best.out_raw <= lacks:
            return best
        cap, amount = None, min(amount - 1, amount * lacks // best.out_raw)
    return None


@pytest.mark.parametrize("fitting", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_trades_are_the_best_of_all_one_after_another(seed: int, *, fitting: bool) -> None:
    rng = Random(seed)
    for _ in range(MARKETS):
        problem = terms_of(rng, market_of_pairs(rng))
        if problem.pools:
            check_trades(problem, fitting=fitting)


def check_trades(problem: Problem, *, fitting: bool) -> None:
    single = SingleRoutes(Market(problem.pools))

    found = single.trade(problem, problem.sales_max_raw, problem.needs_max_raw, fitting=fitting)

    wanted = stated(problem, fitting=fitting)
    if found or not wanted or wanted[0][0] + problem.hop_cost_e18 * wanted[0][1] > 0:
        assert [(one.net_e18, len(one.swaps)) for one in found] == wanted
    # Otherwise even the best of all loses before its gas, and need not be looked for.
    other = SingleRoutes(Market(problem.pools)).trade(
        *(problem, problem.sales_max_raw, problem.needs_max_raw), fitting=not fitting
    )
    assert single.was_capped or other == found
    check(problem, found)
    assert single.swaps == list(found[-1].swaps if found else ())
    for beaten in (-(10**30), *(one.net_e18 for one in found), 10**30):
        again = SingleRoutes(Market(problem.pools)).trade(
            *(problem, problem.sales_max_raw, problem.needs_max_raw),
            fitting=fitting,
            beat_e18=beaten,
        )
        assert again == found[: len(again)]
        # It may end early only where nothing that comes is worth more.
        assert all(one.net_e18 <= beaten for one in found[len(again) :])
    if len(found) > 1:
        # What has begun is gone on with alike.
        rest = SingleRoutes(Market(problem.pools)).trade(
            *(problem, problem.sales_max_raw, problem.needs_max_raw), found[0], fitting=fitting
        )
        assert rest[-1].net_e18 >= found[-1].net_e18


def test_pools_and_pairs_that_cannot_win_are_not_asked() -> None:
    """A little of C is wanted, and it is dear; of the pools for B one is far poorer than the other."""
    good, poor = pair(A, B, 10, 3_000, 1_500), pair(A, B, 11, 3_000, 1_200)
    dear = pair(A, C, 12, 3_000, 2_999)
    plain = replace(terms_of(Random(0), (good,)), sold_max_e18=None, loss_max_e18=None)
    plain = replace(plain, worth_e18=E18 // 20, slippage_limit_e18=E18, gas_price_wei=0)
    plain = replace(plain, sales_max_raw=(20 * RAW, 0, 0), needs_max_raw=(0, 20 * RAW, 0))
    quotes = []
    for pools, lacks in (
        ((good,), 0),
        ((good, poor), 0),
        ((good, poor, dear), RAW // 10**6),
    ):
        problem = replace(plain, pools=pools, needs_max_raw=(0, 20 * RAW, lacks))
        single = SingleRoutes(Market(pools))
        found = single.trade(problem, problem.sales_max_raw, problem.needs_max_raw, beat_e18=10**12)
        assert found
        quotes.append(single.quotes)
        ended = SingleRoutes(Market(pools))
        assert not ended.trade(problem, problem.sales_max_raw, problem.needs_max_raw, beat_e18=10**20)
        assert ended.quotes == 0
    assert quotes[0] > 0
    assert quotes == quotes[:1] * 3


def check(problem: Problem, found: Sequence[Gathered]) -> None:
    """Each is exact on what the swaps before it left, worth what it says, and worth more than the one before."""
    worth = None
    for one in found:
        pools: dict[str, Pool] = {pool.key: pool for pool in problem.pools}
        flow = dict.fromkeys(problem.tokens, 0)
        for swap in one.swaps:
            out, pools[swap.pool.key] = pools[swap.pool.key].swapped(swap.token_in, swap.token_out, swap.amount_in_raw)
            assert out == swap.amount_out_raw
            flow[swap.token_in] -= swap.amount_in_raw
            flow[swap.token_out] += out
        moved = [b - s for s, b in zip(one.sales_raw, one.buys_raw, strict=True)]
        assert list(flow.values()) == moved
        gas = problem.hop_cost_e18 * len(one.swaps)
        assert one.net_e18 == problem.benefit_e18(one.sales_raw, one.buys_raw) - gas
        assert worth is None or one.net_e18 > worth
        worth = one.net_e18
