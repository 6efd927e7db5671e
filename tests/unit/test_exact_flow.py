"""Flows carried out in whole units: pushed from what is sold, pulled from what is bought, and run again on the pools as they then are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest

from rebalancer.errors import BadAmount, LiquidityExhausted, NoRoute
from rebalancer.plan.dual import Offer, Solution
from rebalancer.plan.exact_flow import Circle, pulled, pushed, run
from rebalancer.plan.flow_to_swaps import (
    FilledFlow,
    Unsettled,
    fill,
    ordered_rows,
    route_hops,
    trading_rows,
)
from rebalancer.plan.market import Flows, Market
from rebalancer.plan.sale import apart, best_sale, prices_in, settled, unreached
from rebalancer.plan.swap import Swap, pools_after
from rebalancer.venues import Pool, Token
from tests.unit.pairs import RAW, A, B, C, pair
from tests.unit.test_flow_to_swaps import ThreeTokens
from tests.unit.test_zap import stable

D = Token(f"0x{4:040x}", "D", 18)
Weights = Mapping[tuple[int, Token], float]
"""What flows into a pool, by its number and the token sold; what comes out is as much."""

POOLS: tuple[Pool, ...] = (
    pair(A, B, 10, 1_000, 1_000),
    pair(A, B, 11, 3_000, 3_000, fee=500),
    pair(A, C, 12, 2_000, 2_000),
    pair(B, C, 13, 1_000, 1_000),
    pair(B, C, 14, 4_000, 4_000, fee=100),
)


def flowing(
    market: Market,
    weights: Weights,
    prices: Mapping[Token, float] | None = None,
    bought: tuple[Token, ...] = (),
) -> Solution:
    """A solution in which this much flows; every raw unit is worth the same unless `prices` says otherwise."""
    amounts = np.zeros(len(market))
    for (number, token), weight in weights.items():
        (row,) = np.flatnonzero((market.pool == number) & (market.token_in == market.index[token.address]))
        amounts[row] = weight
    logs, sold, buys = np.zeros((3, len(market.tokens)))
    for token, price in (prices or {}).items():
        logs[market.index[token.address]] = np.log(price)
    for token in bought:
        buys[market.index[token.address]] = 1.0
    sold[market.index[A.address]] = sum(w for (_, token), w in weights.items() if token == A)
    return Solution(
        *(logs, np.zeros(0), Flows(amounts, amounts), sold, buys, 0.0, 0.0, 0),
        *(market, 0, sold > 0),
    )


def row_of(market: Market, number: int, token: Token) -> int:
    at = (market.pool == number) & (market.token_in == market.index[token.address])
    return int(np.flatnonzero(at)[0])


def key(number: int) -> str:
    return POOLS[number].key


@pytest.mark.parametrize("seed", range(8))
def test_sale_continued_in_the_parts_of_the_flow_to_the_last_unit(seed: int) -> None:
    rng = Random(seed)
    market = Market(POOLS)
    weights = {(0, A): 1.0, (1, A): 3.0, (2, A): 2.0, (3, C): 0.5, (4, C): 1.5}
    weights = {at: weight * rng.uniform(0.2, 5) for at, weight in weights.items()}
    sales = {A.address: rng.randint(1, 50) * RAW + 7, C.address: rng.randint(0, 9) * RAW + 3}

    swaps = pushed(market, flowing(market, weights), sales, B.address)

    assert isinstance(swaps, tuple)
    held = dict(sales)
    for token in (A, C):
        mine = sorted((weight, number) for (number, sold), weight in weights.items() if sold == token)
        some = [swap for swap in swaps if swap.token_in == token.address]
        # The largest part goes last, and takes what is left.
        assert [swap.pool.key for swap in some] == [key(number) for _, number in mine]
        whole, total = held[token.address], sum(weight for weight, _ in mine)
        for swap, (weight, _) in zip(some, mine, strict=True):
            assert abs(swap.amount_in_raw - Fraction(weight) / Fraction(total) * whole) < 3 + whole / 10**14
            held[swap.token_out] = held.get(swap.token_out, 0) + swap.amount_out_raw
        assert sum(swap.amount_in_raw for swap in some) == whole
    assert all(
        swap.amount_out_raw == swap.pool.quote_in(swap.token_in, swap.token_out, swap.amount_in_raw) for swap in swaps
    )
    assert [swap.token_in for swap in swaps] == [A.address] * 3 + [C.address] * 2


def test_parts_next_to_nothing_of_what_flows_through_a_token_are_left_out() -> None:
    market = Market(POOLS)
    for part, used in ((0.9e-6, 1), (1.1e-6, 2)):
        solution = flowing(market, {(0, A): 1.0 - part, (1, A): part})
        swaps = pushed(market, solution, {A.address: RAW}, B.address)
        assert isinstance(swaps, tuple)
        assert len(swaps) == used
    # What is worth no unit of its own is left out too.
    swaps = pushed(market, flowing(market, {(0, A): 1.0, (1, A): 0.1}), {A.address: 5}, B.address)
    assert isinstance(swaps, tuple)
    assert [(swap.pool.key, swap.amount_in_raw) for swap in swaps] == [(key(0), 5)]


@pytest.mark.parametrize("seed", range(8))
def test_purchase_buys_exactly_what_is_wanted_for_what_the_pools_ask(seed: int) -> None:
    rng = Random(seed)
    market = Market(POOLS)
    weights = {(0, A): 1.0, (1, A): 3.0, (2, A): 2.0, (3, C): 0.5, (4, C): 1.5}
    weights = {at: weight * rng.uniform(0.2, 5) for at, weight in weights.items()}
    wanted = {B.address: rng.randint(1, 50) * RAW + 7, C.address: rng.randint(0, 9) * RAW + 3}

    swaps = pulled(market, flowing(market, weights), wanted, A.address)

    assert isinstance(swaps, tuple)
    needed = dict(wanted)
    for token in (B, C):
        some = [swap for swap in swaps if swap.token_out == token.address]
        assert sum(swap.amount_out_raw for swap in some) == needed[token.address]
        for swap in some:
            cost = swap.pool.quote_out(swap.token_in, swap.token_out, swap.amount_out_raw)
            assert swap.amount_in_raw == cost
            needed[swap.token_in] = needed.get(swap.token_in, 0) + cost
    # In the order in which they can be made: what is passed on has come.
    assert [swap.token_out for swap in swaps] == [C.address] + [B.address] * 4
    assert sum(swap.amount_in_raw for swap in swaps if swap.token_in == A.address) == needed[A.address]


def test_row_that_cannot_take_or_give_its_part_is_named() -> None:
    market = Market(POOLS)
    solution = flowing(market, {(0, A): 1.0, (1, A): 3.0})
    sold = pushed(market, solution, {A.address: 1}, B.address)
    assert isinstance(sold, Unsettled)
    assert sold.rows.tolist() == [row_of(market, 1, A)]
    bought = pulled(market, solution, {B.address: 4_001 * RAW}, A.address)
    assert isinstance(bought, Unsettled)
    assert bought.rows.tolist() == [row_of(market, 0, A)]
    nowhere = pushed(market, flowing(market, {(2, A): 1.0}), {A.address: RAW}, B.address)
    assert isinstance(nowhere, Unsettled)
    assert nowhere.rows.tolist() == []


def test_circle_is_named_by_its_swaps_the_least_worth_first_and_six_of_them() -> None:
    """Eight swaps go round A, B and C; one leads out of it to D."""
    pools = (*POOLS, pair(A, C, 15, 500, 500), pair(A, C, 16, 500, 500), pair(C, D, 17, 900, 900))
    market = Market(pools)
    weights = {
        (0, A): 8.0,
        (1, A): 7.0,
        (3, B): 6.0,
        (4, B): 5.0,
        (2, C): 40.0,
        (5, C): 3.0,
        (6, C): 2.0,
        (7, C): 1.0,
    }
    solution = flowing(market, weights, {C: 0.1})
    found = pushed(market, solution, {A.address: RAW}, D.address)
    assert isinstance(found, Circle)
    worth = {at: weight * (0.1 if at[1] == C else 1) for at, weight in weights.items() if at[0] != 7}
    least = sorted(worth, key=lambda at: worth[at])[:6]
    assert found.rows.tolist() == [row_of(market, *at) for at in least]


def test_purchases_of_two_tokens_from_one_pool_are_asked_on_what_each_other_leaves() -> None:
    pool: Pool = stable(A, B, C)
    market = Market((pool,))
    wanted = {B.address: 30_000 * RAW, C.address: 50_000 * RAW}
    amounts = np.zeros(len(market))
    for row in range(len(market)):
        if market.tokens[int(market.token_in[row])] == A.address:
            amounts[row] = 1.0
    zeros = np.zeros(len(market.tokens))
    solution = Solution(
        *(zeros, np.zeros(0), Flows(amounts, amounts), zeros, zeros, 0.0, 0.0, 0),
        *(market, 0, zeros > 0),
    )
    found = pulled(market, solution, wanted, A.address)
    assert isinstance(found, tuple)
    state, got = pool, dict.fromkeys(wanted, 0)
    for swap in found:
        out, state = state.swapped(swap.token_in, swap.token_out, swap.amount_in_raw)
        got[swap.token_out] += out
    for token, raw in wanted.items():
        # To a millionth of a millionth, after the passes there are.
        assert abs(got[token] - raw) < raw // 10**9


class Small(ThreeTokens):
    """So few units of each that what is left after a swap may pay nothing for the next."""

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        i, j = self._indices(token_in, token_out)
        if amount_raw >= self.reserves[j]:
            raise LiquidityExhausted(self.key, token_out, amount_raw, self.reserves[j] - 1)
        return -(-self.reserves[i] * amount_raw // (self.reserves[j] - amount_raw))


def test_purchase_that_one_pool_cannot_give_twice_names_its_last_row() -> None:
    """Alone either is to be had; after the first, what the second costs buys no unit."""
    rows = []
    for reserve, wanted in ((10**9, 10**6), (10, 5)):
        pool: Any = Small((reserve,) * 3)
        market = Market((pool,))
        amounts = np.where(market.token_in == market.index[A.address], 1.0, 0.0)
        zeros = np.zeros(len(market.tokens))
        solution = Solution(
            *(zeros, np.zeros(0), Flows(amounts, amounts), zeros, zeros, 0.0, 0.0, 0),
            *(market, 0, zeros > 0),
        )
        problem = {B.address: wanted, C.address: max(1, wanted // 10**3)}
        rows.append(pulled(market, solution, problem, A.address))
    done, stuck = rows
    assert isinstance(done, tuple)
    assert isinstance(stuck, Unsettled)
    (row,) = stuck.rows.tolist()
    assert market.tokens[int(market.token_out[row])] == done[-1].token_out


# The same swaps again


def test_swaps_run_again_are_quoted_on_the_pools_as_they_leave_them() -> None:
    pool: Pool = ThreeTokens((1_000 * RAW, 1_000 * RAW, 1_000 * RAW))
    market = Market((pool, POOLS[3]))
    swaps = (
        Swap(pool, A.address, B.address, 10 * RAW, 1),
        Swap(pool, A.address, C.address, 20 * RAW, 1),
        Swap(POOLS[3], C.address, B.address, 5, 1),
    )
    made = run(market, swaps)
    assert made is not None
    first, second, third = made
    assert first == replace(swaps[0], amount_out_raw=pool.quote_in(A.address, B.address, 10 * RAW))
    assert second.pool == first.pool_after
    assert second.amount_out_raw == second.pool.quote_in(A.address, C.address, 20 * RAW)
    assert third.amount_in_raw == 5
    # What has arrived of C is all sold by the last that sells it.
    all_of_it = run(market, swaps, takes_all={C.address})
    assert all_of_it is not None
    assert all_of_it[2].amount_in_raw == second.amount_out_raw
    assert all_of_it[:2] == made[:2]
    # Twice sold: the first takes its own, the last the rest.
    two = (*swaps[:2], replace(swaps[2], amount_in_raw=7 * RAW), swaps[2])
    rest = run(market, two, takes_all={C.address})
    assert rest is not None
    assert [swap.amount_in_raw for swap in rest[2:]] == [7 * RAW, second.amount_out_raw - 7 * RAW]
    assert rest[3].pool == rest[2].pool_after


def test_swaps_run_again_keep_what_is_asked_by_amount_out_and_end_where_a_pool_cannot_trade() -> None:
    market = Market(POOLS)
    bought = Swap(POOLS[0], A.address, B.address, 999, 7)
    assert run(market, (bought,), by_out={key(0)}) == (bought,)
    on = (bought, Swap(POOLS[3], B.address, C.address, 1, 1))
    made = run(market, on, takes_all={B.address}, by_out={key(0)})
    assert made is not None
    assert made[1].amount_in_raw == 7
    assert run(market, (replace(bought, amount_in_raw=1),)) is None
    assert run(market, (replace(bought, amount_in_raw=0),)) is None
    nothing_came = (Swap(POOLS[3], B.address, C.address, 5, 1),)
    assert run(market, nothing_came, takes_all={B.address}) is None


# Sales


def test_first_token_that_no_pool_connects_is_named() -> None:
    market = Market((POOLS[0], pair(C, D, 20, 100, 100)))
    assert unreached(market, [A.address], B.address) is None
    assert unreached(market, [A.address, C.address, D.address], B.address) == C.address
    assert unreached(market, [B.address, "0x99"], A.address) == "0x99"
    assert unreached(market, [A.address], "0x99") == A.address
    for token, other in ((C, B), (B, C)):
        with pytest.raises(NoRoute) as refusal:
            best_sale(market.pools, {token.address: 70 * RAW}, other.address)
        error = refusal.value
        assert (error.token_in, error.token_out) == (token.address, other.address)
        assert error.amount_raw == 70 * RAW


def test_sale_that_no_pool_takes_names_the_token_and_its_amount() -> None:
    amounts = {A.address: RAW, C.address: 10**60}
    with pytest.raises(NoRoute) as refusal:
        best_sale(POOLS, amounts, B.address)
    assert (refusal.value.token_in, refusal.value.amount_raw) == (C.address, 10**60)


def test_sale_of_nothing_or_too_much_is_refused_and_of_dust_does_nothing() -> None:
    for wrong in (0, 1 << 255):
        with pytest.raises(BadAmount):
            best_sale(POOLS, {A.address: wrong}, B.address)
    assert best_sale(POOLS, {A.address: 9}, B.address) == ()
    assert sum(swap.amount_in_raw for swap in best_sale(POOLS, {A.address: 11}, B.address)) == 11
    mixed = best_sale(POOLS, {A.address: RAW, C.address: 9}, B.address.upper().replace("X", "x"))
    assert {swap.token_in for swap in mixed} >= {A.address}
    assert sum(swap.amount_in_raw for swap in mixed if swap.token_in == A.address) == RAW


def test_prices_are_about_what_the_pools_say_in_any_token() -> None:
    pools = (pair(A, B, 10, 1_000, 3_000), pair(B, C, 11, 500, 1_000))
    market = Market(pools)
    prices = prices_in(market, B.address)
    assert prices[market.index[B.address]] == pytest.approx(1)
    assert prices[market.index[A.address]] == pytest.approx(3, rel=0.01)
    assert prices[market.index[C.address]] == pytest.approx(0.5, rel=0.01)


def test_pool_used_for_several_pairs_is_left_the_one_that_is_worth_most() -> None:
    pool: Pool = ThreeTokens((1_000 * RAW, 1_000 * RAW, 1_000 * RAW))
    market = Market((POOLS[0], pool))
    rows = [row for row in range(len(market)) if market.pool[row] == 1]
    amounts = np.zeros(len(market))
    for weight, row in enumerate(rows):
        amounts[row] = 1.0 + weight
    logs = np.zeros(len(market.tokens))
    zeros = np.zeros(len(market.tokens))
    least = market.token_in[rows[0]]
    logs[least] = 5.0  # what sells this token is worth most
    solution = Solution(
        *(logs, zeros, Flows(amounts, amounts), zeros, zeros, 0.0, 0.0, 0),
        *(market, 0, zeros > 0),
    )
    dear = max((row for row in rows if market.token_in[row] == least), key=lambda row: amounts[row])
    twice = (
        Swap(POOLS[0], A.address, B.address, 1, 1),
        Swap(pool, A.address, B.address, 1, 1),
        Swap(pool, A.address, C.address, 1, 1),
    )
    assert apart(market, twice[:2], solution) is None
    fewer = apart(market, twice, solution)
    assert fewer is not None
    open_rows = np.flatnonzero(fewer.most > 0).tolist()
    assert open_rows == [row for row in range(len(market)) if market.pool[row] == 0 or row == dear]


def test_rows_that_are_stuck_are_left_out_until_the_rest_is_carried_out() -> None:
    """The carrier refuses one row after another; and a circle loses the row without which most is left."""
    market = Market(POOLS)
    sell, buy = np.zeros((2, len(market.tokens)))
    sell[market.index[A.address]], buy[market.index[B.address]] = 20.0 * RAW, 100.0 * RAW
    prices = np.ones(len(market.tokens))
    offer = Offer(sell, buy, 0 * prices, prices, prices)
    refused = [row_of(market, 1, A), row_of(market, 0, A)]
    seen: list[int] = []

    def flow(now: Market, solution: Solution) -> tuple[Swap, ...] | Unsettled:
        seen.append(len(seen))
        if len(seen) <= len(refused):
            assert solution.flows.amounts_in[refused[len(seen) - 1]] > 0
            return Unsettled(np.array(refused[len(seen) - 1 :][:1], dtype=np.intp))
        assert not solution.flows.amounts_in[refused].any()
        return ()

    found = settled(market, offer, flow)
    assert found is not None
    assert len(seen) == 3
    assert found[1].flows.amounts_in[row_of(market, 2, A)] > 0
    assert settled(market, offer, lambda *_: Unsettled(np.array([], dtype=np.intp))) is None

    def circle(now: Market, solution: Solution) -> tuple[Swap, ...] | Circle:
        if all(solution.flows.amounts_in[row] for row in refused):
            return Circle(np.array(refused, dtype=np.intp))
        return ()

    kept = settled(market, offer, circle)
    assert kept is not None
    # Without the shallow pool less is lost than without the deep one.
    assert kept[1].flows.amounts_in[refused[0]] > 0
    assert kept[1].flows.amounts_in[refused[1]] == 0


# What is left of pools, and hops


def test_pools_after_some_swaps_are_as_the_last_of_each_left_them() -> None:
    pool: Pool = ThreeTokens((1_000 * RAW, 1_000 * RAW, 1_000 * RAW))
    first = Swap(pool, A.address, B.address, RAW, pool.quote_in(A.address, B.address, RAW))
    second = Swap(first.pool_after, A.address, C.address, RAW, 1)
    assert pools_after((POOLS[0], pool), (first, second)) == (POOLS[0], second.pool_after)


@pytest.mark.parametrize("unit", [RAW, 1])
def test_flow_is_carried_out_in_order_with_the_largest_part_of_each_token_last(unit: int) -> None:
    """In the parts of the flow, also of a flow of a few units."""
    market = Market(POOLS)
    weights = {
        (0, A): 5.0 * unit,
        (1, A): 3.0 * unit,
        (2, A): 2.0 * unit,
        (3, C): 1.5 * unit,
        (4, C): 0.5 * unit,
    }
    solution = flowing(market, weights, bought=(B,))
    rows = ordered_rows(market, solution)
    assert isinstance(rows, list)
    assert rows == [row_of(market, *at) for at in ((2, A), (1, A), (0, A), (4, C), (3, C))]
    done = fill(market, solution, rows, {A.address: 10 * RAW + 1})
    assert isinstance(done, FilledFlow)
    assert [swap.amount_in_raw for swap in done.swaps[:3]] == [2 * RAW, 3 * RAW, 5 * RAW + 1]
    came = done.swaps[0].amount_out_raw
    assert done.swaps[3].amount_in_raw + done.swaps[4].amount_in_raw == came
    assert abs(done.swaps[3].amount_in_raw - came // 4) <= 1 + came // 10**14
    assert done.sold == {A.address: 10 * RAW + 1}
    assert done.bought == {B.address: sum(swap.amount_out_raw for swap in done.swaps if swap.token_out == B.address)}


def test_rows_trade_from_a_ten_millionth_of_all_that_is_sold_on() -> None:
    market = Market(POOLS)
    for part, is_row in ((0.9e-7, False), (1.2e-7, True)):
        solution = flowing(market, {(0, A): 1.0 - part, (1, A): part})
        assert (row_of(market, 1, A) in trading_rows(market, solution).tolist()) is is_row
    # By worth, not by amount.
    dear = flowing(market, {(0, A): 1.0, (4, C): 0.5e-7}, {C: 4.0})
    assert row_of(market, 4, C) in trading_rows(market, dear).tolist()


def test_of_a_circle_the_swap_worth_least_is_named_and_none_that_only_leads_away() -> None:
    pools = (*POOLS, pair(C, D, 17, 900, 900))
    market = Market(pools)
    weights = {(0, A): 8.0, (3, B): 6.0, (2, C): 2.0, (5, C): 1.0}
    for prices, at in (({}, (2, C)), ({C: 100.0}, (3, B))):
        stuck = ordered_rows(market, flowing(market, weights, prices))
        assert isinstance(stuck, Unsettled)
        assert stuck.rows.tolist() == [row_of(market, *at)]


def test_token_that_is_bought_and_passed_on_gives_on_the_part_of_the_flow_that_is_sold() -> None:
    market = Market(POOLS)
    weights = {(0, A): 10.0 * RAW, (3, B): 4.0 * RAW}
    solution = flowing(market, weights, bought=(B, C))
    rows = ordered_rows(market, solution)
    assert isinstance(rows, list)
    for part, sold in ((1.0, 10 * RAW), (0.5, 5 * RAW)):
        done = fill(market, solution, rows, {A.address: sold}, part)
        assert isinstance(done, FilledFlow)
        first, second = done.swaps
        assert second.amount_in_raw == int(4.0 * RAW * part)
        assert done.bought == {
            B.address: first.amount_out_raw - second.amount_in_raw,
            C.address: second.amount_out_raw,
        }
    # No more goes on than has come.
    little = fill(market, solution, rows, {A.address: 2 * RAW})
    assert isinstance(little, FilledFlow)
    assert little.swaps[1].amount_in_raw == little.swaps[0].amount_out_raw
    assert little.bought == {C.address: little.swaps[1].amount_out_raw}


def test_what_comes_of_a_token_that_nothing_sells_on_names_the_rows_that_bring_it() -> None:
    market = Market(POOLS)
    solution = flowing(market, {(0, A): 3.0 * RAW, (2, A): 1.0 * RAW}, bought=(B,))
    rows = ordered_rows(market, solution)
    assert isinstance(rows, list)
    stuck = fill(market, solution, rows, {A.address: 4 * RAW})
    assert isinstance(stuck, Unsettled)
    assert stuck.rows.tolist() == [row_of(market, 2, A)]


def test_row_whose_pool_is_drained_is_named() -> None:
    market = Market(POOLS)
    solution = flowing(market, {(0, A): 1.0 * RAW}, bought=(B,))
    for raw in (1, 1 << 250):
        stuck = fill(market, solution, [row_of(market, 0, A)], {A.address: raw})
        assert isinstance(stuck, Unsettled)
        assert stuck.rows.tolist() == [row_of(market, 0, A)]


def test_hops_name_what_they_take_of_a_token_that_is_kept() -> None:
    swaps = (
        Swap(POOLS[0], A.address, B.address, 100, 90),
        Swap(POOLS[3], B.address, C.address, 40, 30),
        Swap(POOLS[2], A.address, C.address, 11, 9),
    )
    kept = route_hops(swaps, {B.address: 50, C.address: 39})
    assert [(hop.amount_raw, hop.to_caller) for hop in kept] == [
        (100, False),
        (40, True),
        (0, True),
    ]
    passed = route_hops(swaps, {C.address: 39})
    assert [(hop.amount_raw, hop.to_caller) for hop in passed] == [
        (100, False),
        (0, True),
        (0, True),
    ]
    # What is sold before it is bought is not kept for that.
    early = route_hops((swaps[1], swaps[0]), {B.address: 90, C.address: 30})
    assert [(hop.amount_raw, hop.to_caller) for hop in early] == [(40, True), (0, True)]
