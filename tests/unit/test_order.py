"""Orders of tokens: no plan goes round in a circle, and most of what flows passes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import Random

import numpy as np
import pytest

from rebalancer.plan.dual import Offer, Solution
from rebalancer.plan.market import Flows, Market
from rebalancer.plan.order import makes_circle, order_of_flows, order_of_swaps, orders_beside
from rebalancer.plan.swap import Swap
from rebalancer.venues import Token
from tests.unit.pairs import A, B, C, pair

D, E = Token(f"0x{4:040x}", "D", 18), Token(f"0x{5:040x}", "E", 18)
TOKENS = (A, B, C, D, E)
POOLS = tuple(
    pair(one, other, 10 + i, *(2 * (4_000 if D in (one, other) else 1_000,)))
    for i, (one, other) in enumerate(
        (one, other) for one in TOKENS for other in TOKENS if int(one.address, 16) < int(other.address, 16)
    )
)
MARKET = Market(POOLS)
PLACES = [MARKET.index[token.address] for token in TOKENS]


def swap(start: Token, end: Token) -> Swap:
    return Swap(POOLS[0], start.address, end.address, 1, 1)


def offer_of(sold: Sequence[Token] = (A,), bought: Sequence[Token] = (E,)) -> Offer:
    """Some tokens sold, some bought, all worth the same."""
    sell, buy = np.zeros((2, len(TOKENS)))
    for amounts, tokens in ((sell, sold), (buy, bought)):
        amounts[[MARKET.index[token.address] for token in tokens]] = 1.0
    ones = np.ones(len(TOKENS))
    return Offer(sell, buy, 0 * ones, ones, ones)


def flowing(weights: dict[tuple[Token, Token], float], log_prices: Sequence[float] | None = None) -> Solution:
    """A solution in which this much flows from token to token."""
    amounts = np.zeros(len(MARKET))
    for (start, end), weight in weights.items():
        at = (MARKET.token_in == MARKET.index[start.address]) & (MARKET.token_out == MARKET.index[end.address])
        amounts[np.flatnonzero(at)[0]] = weight
    zeros = np.zeros(len(TOKENS))
    sold = zeros.copy()
    sold[MARKET.index[A.address]] = 1.0
    logs = zeros if log_prices is None else np.array(log_prices)
    return Solution(
        *(logs, np.zeros(0), Flows(amounts, amounts), sold, zeros, 0.0, 0.0, 0),
        *(MARKET, 0, zeros > 0),
    )


def places(*tokens: Token) -> list[int]:
    return [MARKET.index[token.address] for token in tokens]


@pytest.mark.parametrize("seed", range(20))
def test_swap_makes_a_circle_where_others_lead_back(seed: int) -> None:
    rng = Random(seed)
    pairs = [rng.sample(TOKENS, 2) for _ in range(rng.randint(0, 6))]
    swaps = [swap(*one) for one in pairs]
    reach = {(a.address, b.address) for a, b in pairs}
    for _ in TOKENS:
        reach |= {(a, d) for a, b in reach for c, d in reach if b == c}
    for start, end in permutations(TOKENS, 2):
        leads_back = (end.address, start.address) in reach
        assert makes_circle(swaps, start.address, end.address) is leads_back


@pytest.mark.parametrize("seed", range(20))
def test_order_of_legs_has_each_swap_lead_on(seed: int) -> None:
    rng = Random(seed)
    line = rng.sample(TOKENS, len(TOKENS))
    pairs = [sorted(rng.sample(range(len(TOKENS)), 2)) for _ in range(rng.randint(1, 6))]
    swaps = [swap(line[i], line[j]) for i, j in pairs]
    rng.shuffle(swaps)
    order = order_of_swaps(MARKET, swaps, offer_of())
    assert sorted(order) == sorted(PLACES)
    for one in swaps:
        assert order.index(MARKET.index[one.token_in]) < order.index(MARKET.index[one.token_out])


def test_order_of_legs_puts_others_where_they_are_of_use() -> None:
    """What is sold comes first, what is bought last, and what is neither after the last that is sold."""
    chain = [swap(B, C), swap(C, D)]
    assert order_of_swaps(MARKET, chain, offer_of((A,), (E,))) == places(A, B, C, D, E)
    assert order_of_swaps(MARKET, chain, offer_of((A, B), (E,))) == places(A, B, C, D, E)
    assert order_of_swaps(MARKET, [swap(B, C)], offer_of((B,), (C,))) == places(B, A, D, E, C)
    assert order_of_swaps(MARKET, [swap(B, C)], offer_of((D,), (E,))) == places(D, A, B, C, E)


@pytest.mark.parametrize("seed", range(20))
def test_order_of_flows_without_a_circle_lets_all_of_them_pass(seed: int) -> None:
    rng = Random(seed)
    unit = rng.choice((1e-3, 1.0, 1e3))
    line = rng.sample(TOKENS, len(TOKENS))
    weights = {
        (line[i], line[j]): rng.uniform(0.1, 9) * unit for i in range(5) for j in range(i + 1, 5) if rng.random() < 0.6
    } or {(line[0], line[1]): 1.0}
    order = order_of_flows(MARKET, flowing(weights), offer_of())
    assert sorted(order) == sorted(PLACES)
    for start, end in weights:
        assert order.index(MARKET.index[start.address]) < order.index(MARKET.index[end.address])


def test_order_of_flows_breaks_a_circle_where_least_is_worth_most() -> None:
    """A gives most more than it takes, so it comes first; by value, not by amount."""
    ring = {(A, B): 9.0, (B, C): 5.0, (C, A): 1.0}
    order = order_of_flows(MARKET, flowing(ring), offer_of((D,), (E,)))
    assert order == places(D, A, B, C, E)
    dear = [0.0] * len(TOKENS)
    dear[MARKET.index[C.address]] = 4.0  # a unit of C is worth 55 of the others
    order = order_of_flows(MARKET, flowing(ring, dear), offer_of((D,), (E,)))
    assert order == places(D, C, A, B, E)
    # What flows both ways counts by what is more one way.
    both = {(A, B): 9.0, (B, A): 8.0, (B, C): 5.0, (C, A): 3.0}
    assert order_of_flows(MARKET, flowing(both), offer_of((D,), (E,))) == places(D, B, C, A, E)
    # Next to nothing is no flow: A is not in the order by it, and goes first because it is sold.
    little = {(B, C): 1.0, (C, A): 1e-10}
    assert order_of_flows(MARKET, flowing(little), offer_of((A,), (E,))) == places(A, D, B, C, E)
    enough = {(B, C): 1.0, (C, A): 1e-8}
    assert order_of_flows(MARKET, flowing(enough), offer_of((A,), (E,)))[:3] == places(B, C, A)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_order_of_flows_has_what_only_gives_first_and_what_only_takes_last(unit: float) -> None:
    """However little that is, and whatever goes round in a circle between them."""
    ring = {(A, B): 9 * unit, (B, C): 5 * unit, (C, A): unit}

    # By what it gives more than it takes, A would be first.
    from_d = order_of_flows(MARKET, flowing({**ring, (D, A): 0.5 * unit}), offer_of((E,), ()))
    assert from_d == places(E, D, A, B, C)
    # With what D takes, C would be first.
    to_d = order_of_flows(MARKET, flowing({**ring, (C, D): 20 * unit}), offer_of((E,), ()))
    assert to_d == places(E, A, B, C, D)


def test_orders_beside_move_one_token_to_open_what_gains_most_first() -> None:
    """At prices at which E is dear everything for E gains; in this order E comes first, so nothing of it passes."""
    logs = [0.0] * len(TOKENS)
    logs[MARKET.index[E.address]], logs[MARKET.index[D.address]] = 0.05, 0.02
    solution = flowing({}, logs)
    order = places(E, D, C, B, A)
    found = list(orders_beside(MARKET, order, solution))
    prices = np.exp(solution.log_prices)
    flows = MARKET.flows(prices)
    gains = prices[MARKET.token_out] * flows.amounts_out - prices[MARKET.token_in] * flows.amounts_in
    closed: dict[tuple[int, int], float] = {}
    for row, gain in enumerate(gains.tolist()):
        start, end = int(MARKET.token_in[row]), int(MARKET.token_out[row])
        if order.index(start) > order.index(end):
            closed[start, end] = closed.get((start, end), 0.0) + gain
    # Nothing that gains no more than a part of what is sold, here a raw unit, in 1e9.
    wanted = sorted((pair for pair in closed if closed[pair] > 1e-9), key=lambda pair: -closed[pair])
    expected: list[list[int]] = []
    for start, end in wanted:
        before = [token for token in order if token != start]
        before.insert(before.index(end), start)
        after = [token for token in order if token != end]
        after.insert(after.index(start) + 1, end)
        expected += [before, after]
    assert len(wanted) > 2
    assert [set(map(tuple, found[i : i + 2])) for i in range(0, len(found), 2)] == [
        set(map(tuple, expected[i : i + 2])) for i in range(0, len(expected), 2)
    ]
    assert list(orders_beside(MARKET, order[::-1], flowing({}, logs))) == []
