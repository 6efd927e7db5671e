"""In which order do tokens follow one another? A plan is no circle: what it sells of a token has come before.

Pure. Where pools disagree by more than their fees, the dual also trades round circles, whose gain no plan can take: nothing
could begin them. With an order of all tokens, and swaps only from earlier ones to later ones, there are none, and the
problem is convex again: its optimum is the best of all plans in that order, and its bound says so. Which order is best is
a question that no bound answers; here is one that lets most of what flows pass, and others like it to try.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rebalancer.plan.dual import Offer, Solution
from rebalancer.plan.market import Market
from rebalancer.plan.swap import Swap

__all__ = ["makes_circle", "order_of_flows", "order_of_swaps", "orders_beside"]

_NOTHING = 1e-9
"""A profit below this part of all that is sold is none."""


def order_of_flows(market: Market, solution: Solution, offer: Offer) -> list[int]:
    """All tokens of a market in an order that keeps most of what flows, by value.

    Tokens from which all flows away come first, those to which all flows last, then what gives most more than it takes
    (Eades, Lin, Smyth, "A fast and effective heuristic for the feedback arc set problem", 1993).
    """
    size = len(market.tokens)
    worth = solution.flows.amounts_in * np.exp(solution.log_prices[market.token_in])
    pairs = market.token_in * size + market.token_out
    flow = np.bincount(pairs, worth, size * size).reshape(size, size)
    flow = np.maximum(flow - flow.T, 0)
    flow[flow <= _NOTHING * flow.max()] = 0
    left = np.flatnonzero(flow.any(axis=0) | flow.any(axis=1)).tolist()
    first: list[int] = []
    last: list[int] = []
    while left:
        out = flow[np.ix_(left, left)].sum(axis=1)
        into = flow[np.ix_(left, left)].sum(axis=0)
        if not out.all():
            at = int(np.argmin(out > 0))
            last.insert(0, left.pop(at))
        else:
            at = int(np.argmax(out - into)) if into.all() else int(np.argmin(into > 0))
            first.append(left.pop(at))
    return _filled(first + last, market, offer)


def order_of_swaps(market: Market, swaps: Sequence[Swap], offer: Offer) -> list[int]:
    """All tokens of a market in an order that these swaps, which make no circle, are in."""
    left = [(market.index[swap.token_in], market.index[swap.token_out]) for swap in swaps]
    tokens = list(dict.fromkeys(token for pair in left for token in pair))
    found: list[int] = []
    while tokens:
        ends = {end for _, end in left}
        free = next((token for token in tokens if token not in ends), tokens[0])
        found.append(free)
        tokens.remove(free)
        left = [pair for pair in left if pair[0] != free]
    return _filled(found, market, offer)


def orders_beside(market: Market, order: Sequence[int], solution: Solution) -> Iterator[list[int]]:
    """Orders in which one token has moved, to open what would gain most at the solution's prices, most first.

    `market` is the one in which every row is open.
    """
    prices = np.exp(solution.log_prices)
    flows = market.flows(prices)
    gains = prices[market.token_out] * flows.amounts_out - prices[market.token_in] * flows.amounts_in
    size = len(market.tokens)
    rank = np.empty(size, dtype=np.intp)
    rank[list(order)] = np.arange(size)
    is_closed = rank[market.token_in] > rank[market.token_out]
    pairs = market.token_in * size + market.token_out
    by_pair = np.bincount(pairs[is_closed], gains[is_closed], size * size)
    least = _NOTHING * float(solution.sold @ prices)
    for pair in np.argsort(-by_pair, kind="stable").tolist():
        if by_pair[pair] <= least:
            return
        before, after = divmod(pair, size)
        for moved, beside, step in ((before, after, 0), (after, before, 1)):
            found = [token for token in order if token != moved]
            found.insert(found.index(beside) + step, moved)
            yield found


def makes_circle(swaps: Sequence[Swap], token_in: str, token_out: str) -> bool:
    """Whether swaps lead from where another ends back to where it begins."""
    seen, ahead = {token_out}, [token_out]
    while ahead:
        token = ahead.pop()
        for swap in swaps:
            if swap.token_in == token and swap.token_out not in seen:
                seen.add(swap.token_out)
                ahead.append(swap.token_out)
    return token_in in seen


def _filled(order: list[int], market: Market, offer: Offer) -> list[int]:
    """With all other tokens: what is sold first, what is bought last, the rest between."""
    others: NDArray[np.intp] = np.setdiff1d(np.arange(len(market.tokens)), order)
    sold = [token for token in others.tolist() if offer.sell_max[token] > 0]
    bought = [token for token in others.tolist() if offer.buy_max[token] > 0]
    middle = [token for token in others.tolist() if token not in sold and token not in bought]
    at = max((n + 1 for n, token in enumerate(order) if offer.sell_max[token] > 0), default=0)
    return [*sold, *order[:at], *middle, *order[at:], *bought]
