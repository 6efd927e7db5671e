"""From flows to swaps: their order, circles, whole units, and pools of more than two tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import numpy as np
import pytest

from rebalancer.plan.baseline import SingleRoutes
from rebalancer.plan.dual import Offer, Solution, solve
from rebalancer.plan.effort import Effort
from rebalancer.plan.flow_to_swaps import FilledFlow, Unsettled, fill, ordered_rows, trading_rows
from rebalancer.plan.market import Market
from rebalancer.plan.problem import Problem
from rebalancer.plan.trades import Search
from rebalancer.route import Hop, to_caller_flag
from rebalancer.units import E18
from rebalancer.venues import Pool, Token
from rebalancer.venues.model import PoolBase, check_amount
from tests.unit.pairs import RAW, A, B, C, pair


@dataclass(frozen=True)
class ThreeTokens(PoolBase):
    """Three reserves, any two of which trade as x · y = k without a fee."""

    reserves: tuple[int, int, int]
    key: str = "0x" + "f" * 40
    tokens: tuple[Token, ...] = (A, B, C)
    fee_pips: int = 0

    @property
    def address(self) -> str:
        return self.key

    @property
    def holder(self) -> str:
        return self.key

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        return Hop(0, amount_raw, token_in, token_out, b"", to_caller_flag(to_caller))

    def _indices(self, token_in: str, token_out: str) -> tuple[int, int]:
        addresses = [token.address for token in self.tokens]
        return addresses.index(token_in), addresses.index(token_out)

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        check_amount(amount_raw)
        i, j = self._indices(token_in, token_out)
        return self.reserves[j] * amount_raw // (self.reserves[i] + amount_raw)

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        raise NotImplementedError

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, Self]:
        i, j = self._indices(token_in, token_out)
        out = self.quote_in(token_in, token_out, amount_raw)
        after = list(self.reserves)
        after[i] += amount_raw
        after[j] -= out
        return out, replace(self, reserves=(after[0], after[1], after[2]))

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        i, j = self._indices(token_in, token_out)
        return Fraction(self.reserves[j], self.reserves[i])

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        i, j = self._indices(token_in, token_out)
        amount = int(math.sqrt(self.reserves[i] * self.reserves[j] / marginal)) - self.reserves[i]
        return (amount, self.quote_in(token_in, token_out, amount)) if amount > 0 else (0, 0)


def solved(
    pools: tuple[Pool, ...], sales: dict[Token, float], needs: dict[Token, float], cost: float = 0.5
) -> tuple[Market, Solution]:
    """The solution where every token is worth a dollar a whole one; amounts in whole tokens."""
    market = Market(pools)
    sell_max, buy_max = np.zeros((2, len(market.tokens)))
    for token, amount in sales.items():
        sell_max[market.index[token.address]] = amount * RAW
    for token, amount in needs.items():
        buy_max[market.index[token.address]] = amount * RAW
    prices = np.full(len(market.tokens), 1 / RAW)
    return market, solve(market, Offer(sell_max, buy_max, cost * prices, prices, prices))


def filled(market: Market, found: Solution, sales: dict[Token, int]) -> FilledFlow:
    """The legs of these sales in raw units; there must be some."""
    rows = ordered_rows(market, found)
    assert not isinstance(rows, Unsettled)
    done = fill(market, found, rows, {token.address: raw for token, raw in sales.items()})
    assert isinstance(done, FilledFlow)
    return done


def test_swaps_that_go_in_a_circle_are_named() -> None:
    """Ether is cheap in one pool and dear in the other: in by one, out by the other, for ever."""
    pools = (pair(A, B, 9, 1_000, 1_000), pair(A, B, 10, 1_000, 1_200))
    market, found = solved(pools, {A: 1}, {B: 100})

    stuck = ordered_rows(market, found)

    assert isinstance(stuck, Unsettled)
    (row,) = stuck.rows
    assert found.flows.amounts_in[row] > 0
    # Without it there is a way, and it uses the pool that pays more.
    again = solve(market.without(stuck.rows), offer_of(market))
    rows = ordered_rows(market, again)
    assert isinstance(rows, list)
    assert [int(market.pool[one]) for one in rows] == [1]


def offer_of(market: Market) -> Offer:
    """A is sold for B once more."""
    sell_max, buy_max = np.zeros((2, len(market.tokens)))
    sell_max[market.index[A.address]], buy_max[market.index[B.address]] = RAW, 100 * RAW
    prices = np.full(len(market.tokens), 1 / RAW)
    return Offer(sell_max, buy_max, prices / 2, prices, prices)


def test_nothing_trades_where_nothing_is_sold() -> None:
    """The pool keeps more than the token is worth less."""
    market, found = solved((pair(A, B, 9, 1_000, 1_000),), {A: 1}, {B: 100}, cost=0.998)

    assert not found.sold.any()
    found = replace(found, flows=replace(found.flows, amounts_in=0 * found.flows.amounts_in))
    assert trading_rows(market, found).tolist() == []
    assert ordered_rows(market, found) == []


def test_swap_that_buys_no_whole_unit_is_named() -> None:
    market, found = solved((pair(A, B, 9, 1_000, 1_000),), {A: 1}, {B: 100})
    rows = ordered_rows(market, found)
    assert isinstance(rows, list)

    done = fill(market, found, rows, {A.address: 1})

    assert isinstance(done, Unsettled)
    assert done.rows.tolist() == rows


def test_swaps_sell_to_the_last_unit_what_is_sold_and_what_is_passed_through() -> None:
    pools = (
        pair(A, C, 9, 1_000, 1_000),
        pair(A, C, 10, 3_000, 3_000),
        pair(B, C, 11, 2_000, 2_000),
        pair(A, B, 12, 500, 500),
    )
    market, found = solved(pools, {A: 10}, {B: 100})
    done = filled(market, found, {A: 10 * RAW})

    held = {A.address: 10 * RAW, B.address: 0, C.address: 0}
    for swap in done.swaps:
        held[swap.token_in] -= swap.amount_in_raw
        assert held[swap.token_in] >= 0, "a token is sold before it has come"
        held[swap.token_out] += swap.amount_out_raw
    assert held == {A.address: 0, B.address: done.bought[B.address], C.address: 0}
    assert len(done.swaps) == 4
    assert done.bought[B.address] == pytest.approx(float(found.bought.max()), rel=1e-9)


def test_swaps_on_one_pool_of_three_tokens_follow_one_another() -> None:
    """Both of what is bought comes out of one pool: the second swap finds it as the first left it."""
    pool = ThreeTokens((1_000 * RAW, 1_000 * RAW, 1_000 * RAW))
    market, found = solved((pool,), {A: 20}, {B: 10, C: 10})
    done = filled(market, found, {A: 20 * RAW})

    first, second = done.swaps
    assert first.pool == pool
    assert second.pool == first.pool_after != pool
    assert {first.token_out, second.token_out} == {B.address, C.address}
    for swap in done.swaps:
        quoted = swap.pool.quote_in(swap.token_in, swap.token_out, swap.amount_in_raw)
        assert swap.amount_out_raw == quoted


def test_single_route_is_the_best_of_all_pools_and_pairs_of_pools() -> None:
    pools = (
        pair(A, B, 9, 1_000, 990),
        pair(A, C, 10, 9_000, 9_000, fee=500),
        pair(A, C, 11, 100, 120, fee=500),
        pair(B, C, 12, 9_000, 9_000, fee=500),
    )
    market = Market(pools)
    for amount in (RAW, 10 * RAW, 100 * RAW):
        swaps = SingleRoutes(market).best(A.address, B.address, amount)
        outs = [pools[0].quote_in(A.address, B.address, amount)]
        for first in pools[1:3]:
            middle = first.quote_in(A.address, C.address, amount)
            outs.append(pools[3].quote_in(C.address, B.address, middle))
        assert swaps[-1].amount_out_raw == max(outs)
        assert swaps[0].amount_in_raw == amount


def test_pool_of_three_tokens_trades_one_pair_where_several_get_in_each_others_way() -> None:
    """Alone it is a pool of each pair; together they are one, so most of it trades one pair, exactly."""
    pool = ThreeTokens((1_000 * RAW, 1_000 * RAW, 1_000 * RAW))
    problem = Problem(
        tokens=(A.address, B.address, C.address),
        decimals=(18, 18, 18),
        sales_max_raw=(80 * RAW, 0, 0),
        needs_max_raw=(0, 70 * RAW, 10 * RAW),
        prices_e18=(E18,) * 3,
        lo_e18=(E18,) * 3,
        hi_e18=(E18,) * 3,
        pools=(pool,),
    )
    found = next(iter(Search(problem, Effort()).found()), None)

    assert found is not None
    state: Pool = pool
    for swap in found.swaps:
        assert swap.pool == state
        assert swap.amount_out_raw == state.quote_in(swap.token_in, swap.token_out, swap.amount_in_raw)
        state = swap.pool_after
    # All of A for B alone would buy 80 / 1080 of it.
    alone = pool.quote_in(A.address, B.address, 80 * RAW)
    assert sum(found.buys_raw) >= min(alone, 70 * RAW)
    assert problem.allows(found.sales_raw, found.buys_raw)
