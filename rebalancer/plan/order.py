"""Orders of tokens without circles, so that a plan sells only tokens that it already has.

Pure. If pools disagree by more than their fees, the dual also trades in circles. A plan cannot take their gain, because
no swap of a circle can be first. If all tokens are ordered and swaps lead only from earlier to later tokens, there are
no circles, and the problem is convex again: its optimum is the best of all plans in that order, and its bound proves
it. No bound shows which order is best. This module provides an order that keeps most of the flow, and neighbouring
orders to try.
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
"""Profits below this fraction of the total sales are ignored."""


def order_of_flows(market: Market, solution: Solution, offer: Offer) -> list[int]:
    """All tokens of a market in an order that keeps most of the flow, by value.

    Tokens with only outgoing flows come first, tokens with only incoming flows last; between them, the largest net
    output first (Eades, Lin, Smyth,
    "A fast and effective heuristic for the feedback arc set problem", 1993).
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
    """All tokens of a market in an order that fits these swaps, which form no circle."""
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
    """Orders in which one token has moved, to open the pair with the largest gain at the solution's prices, the largest
    first.

    All rows of `market` must be open.
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
    """Whether a further swap would close a circle with these swaps."""
    seen, ahead = {token_out}, [token_out]
    while ahead:
        token = ahead.pop()
        for swap in swaps:
            if swap.token_in == token and swap.token_out not in seen:
                seen.add(swap.token_out)
                ahead.append(swap.token_out)
    return token_in in seen


def _filled(order: list[int], market: Market, offer: Offer) -> list[int]:
    """The order completed with all other tokens: sold ones first, bought ones last, the others between."""
    others: NDArray[np.intp] = np.setdiff1d(np.arange(len(market.tokens)), order)
    sold = [token for token in others.tolist() if offer.sell_max[token] > 0]
    bought = [token for token in others.tolist() if offer.buy_max[token] > 0]
    middle = [token for token in others.tolist() if token not in sold and token not in bought]
    at = max((n + 1 for n, token in enumerate(order) if offer.sell_max[token] > 0), default=0)
    return [*sold, *order[:at], *middle, *order[at:], *bought]
