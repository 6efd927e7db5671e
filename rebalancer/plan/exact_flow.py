"""Exact swaps along a flow of the dual: sales of exact input amounts, and purchases of exact output amounts.

The flow gives the split of each token over pools. Here the parts are whole units and every amount is the pool's exact
quote. A sale is pushed: the amount of a token that has arrived is split by the flow, and the last swap takes the
remainder. A purchase is pulled: the required amount of a token is split over the pools, and their costs are required in
turn, until only the paid token is left.

`flow_to_swaps.py` omits flows that are negligible in the total. Here a token counts however small its amount is,
because a basket needs every asset. The paid token is never bought, and a required token is never sold: close such rows
beforehand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.dual import Solution
from rebalancer.plan.flow_to_swaps import Unsettled
from rebalancer.plan.market import Market
from rebalancer.plan.swap import Swap
from rebalancer.venues import Pool

__all__ = ["Circle", "pulled", "pushed", "run"]

_NOTHING = 1e-6
"""A flow below this fraction of the total flow through its token is ignored."""

_PASSES = 6
"""Passes over purchases that use a pool more than once, each with the pool state that the other swaps leave."""


_MOST_TRIED = 6
"""Number of swaps of a circle that are removed on trial, the smallest first."""


@dataclass(frozen=True, slots=True)
class Circle:
    """Rows that form circles, limited to those to try: one of them must be removed."""

    rows: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Parts:
    """A token, and the rows it is split over with their weights, the largest last."""

    token: str
    rows: tuple[tuple[int, float], ...]


def pushed(
    market: Market, solution: Solution, sales_raw: Mapping[str, int], token_out: str
) -> tuple[Swap, ...] | Unsettled | Circle:
    """Swaps that sell all of these amounts for a token, in order; or rows that cannot take their part."""
    parts = _ordered(market, solution, sales_raw, token_out, pull=False)
    if not isinstance(parts, list):
        return parts
    held = dict(sales_raw)
    after: dict[int, Pool] = {}
    swaps: list[Swap] = []
    for part in parts:
        for row, amount in _divided(part, held.pop(part.token)):
            number, to = int(market.pool[row]), market.tokens[int(market.token_out[row])]
            swap = _sold(after.get(number, market.pools[number]), part.token, to, amount)
            if swap is None:
                return _stuck(row)
            after[number] = swap.pool_after
            held[to] = held.get(to, 0) + swap.amount_out_raw
            swaps.append(swap)
    return tuple(swaps)


def pulled(
    market: Market, solution: Solution, required_raw: Mapping[str, int], token_in: str
) -> tuple[Swap, ...] | Unsettled | Circle:
    """Swaps that buy these amounts with a token, in order; or rows that cannot give their part.

    A pool that trades more than one pair quotes each pair in the state that the others leave.
    """
    parts = _ordered(market, solution, required_raw, token_in, pull=True)
    if not isinstance(parts, list):
        return parts
    states: dict[int, Pool] = {}
    for _ in range(_PASSES):
        found = _required_swaps(market, parts, required_raw, states)
        if isinstance(found, Unsettled):
            return found
        swaps = [swap for _, swap in found]
        if len({swap.pool.key for swap in swaps}) == len(swaps):
            break
        made = run(market, swaps)
        if made is None:
            return _stuck(found[-1][0])
        states = {row: swap.pool for (row, _), swap in zip(found, made, strict=True)}
    return tuple(swaps)


def run(
    market: Market, swaps: Sequence[Swap], takes_all: Collection[str] = (), by_out: Collection[str] = ()
) -> tuple[Swap, ...] | None:
    """The same swaps as the chain executes them, one after another; None if a pool cannot take its amount.

    For tokens in `takes_all`, the last swap that sells the token sells all that has arrived. Pools in `by_out` (keys)
    trade once, with an exact output.
    """
    start = {pool.key: pool for pool in market.pools}
    last = {swap.token_in: at for at, swap in enumerate(swaps) if swap.token_in in takes_all}
    after: dict[str, Pool] = {}
    arrived: dict[str, int] = {}
    made: list[Swap] = []
    for at, swap in enumerate(swaps):
        amount = swap.amount_in_raw
        if last.get(swap.token_in) == at:
            amount = arrived.get(swap.token_in, 0)
        pool = after.get(swap.pool.key, start[swap.pool.key])
        if pool.key in by_out:
            done: Swap | None = swap
        else:
            done = _sold(pool, swap.token_in, swap.token_out, amount)
            after[pool.key] = done.pool_after if done else pool
        if done is None:
            return None
        arrived[swap.token_in] = arrived.get(swap.token_in, 0) - amount
        arrived[swap.token_out] = arrived.get(swap.token_out, 0) + done.amount_out_raw
        made.append(done)
    return tuple(made)


def _required_swaps(
    market: Market, parts: Sequence[_Parts], required_raw: Mapping[str, int], states: Mapping[int, Pool]
) -> list[tuple[int, Swap]] | Unsettled:
    """Rows and their swaps, in the order of execution."""
    needed = dict(required_raw)
    groups: list[list[tuple[int, Swap]]] = []
    for part in parts:
        group: list[tuple[int, Swap]] = []
        for row, out in _divided(part, needed.pop(part.token)):
            pool = states.get(row, market.pools[int(market.pool[row])])
            sold = market.tokens[int(market.token_in[row])]
            try:
                cost = pool.quote_out(sold, part.token, out)
            except (LiquidityExhausted, BadAmount):
                return _stuck(row)
            needed[sold] = needed.get(sold, 0) + cost
            group.append((row, Swap(pool, sold, part.token, cost, out)))
        groups.append(group)
    return [one for group in reversed(groups) for one in group]


def _ordered(
    market: Market, solution: Solution, starts: Iterable[str], end: str, *, pull: bool
) -> list[_Parts] | Unsettled | Circle:
    """Tokens from the starts to the end, each after all tokens that lead to it, with their parts.

    In a pull, the starts are the purchases, and edges lead from a token to the tokens that pay for it. The result has
    no stuck row if a token has no edge at all.
    """
    flows, size = solution.flows, len(market.tokens)
    froms, tos, amounts = market.token_in, market.token_out, flows.amounts_in
    if pull:
        froms, tos, amounts = tos, froms, flows.amounts_out
    totals = np.bincount(froms, amounts, size)
    rows = np.flatnonzero(amounts > _NOTHING * totals[froms])
    leaving: dict[int, list[int]] = {}
    for row in rows[np.argsort(amounts[rows], kind="stable")].tolist():
        leaving.setdefault(int(froms[row]), []).append(row)
    last = market.index[end]
    reached: set[int] = set()
    ahead = [market.index[token] for token in starts]
    while ahead:
        token = ahead.pop()
        if token != last and token not in reached:
            reached.add(token)
            ahead += [int(tos[row]) for row in leaving.get(token, ())]
    rows = np.array([row for token in reached for row in leaving.get(token, ())], dtype=np.intp)
    graph = coo_array((np.ones(len(rows)), (froms[rows], tos[rows])), (size, size))
    _, ring = connected_components(graph, connection="strong")
    circling = rows[ring[froms[rows]] == ring[tos[rows]]]
    if len(circling):
        worth = amounts[circling] * np.exp(solution.log_prices[froms[circling]])
        return Circle(circling[np.argsort(worth, kind="stable")][:_MOST_TRIED])
    waiting = np.bincount(tos[rows], minlength=size)
    found: list[_Parts] = []
    ready = [token for token in reached if not waiting[token]]
    while ready:
        token = ready.pop()
        mine = leaving.get(token, [])
        if not mine:
            return Unsettled(np.array([], dtype=np.intp))
        found.append(_Parts(market.tokens[token], tuple((r, float(amounts[r])) for r in mine)))
        for row in mine:
            waiting[tos[row]] -= 1
            if not waiting[tos[row]] and tos[row] != last:
                ready.append(int(tos[row]))
    return found


def _divided(part: _Parts, amount_raw: int) -> list[tuple[int, int]]:
    """An amount split over a token's rows; parts that round to zero are omitted."""
    remaining, left, found = sum(weight for _, weight in part.rows), amount_raw, []
    for row, weight in part.rows:
        share = left if row == part.rows[-1][0] else min(left, int(left * (weight / remaining)))
        remaining -= weight
        left -= share
        if share:
            found.append((row, share))
    return found


def _sold(pool: Pool, token_in: str, token_out: str, amount_raw: int) -> Swap | None:
    try:
        out = pool.quote_in(token_in, token_out, amount_raw)
    except (LiquidityExhausted, BadAmount):
        return None
    return Swap(pool, token_in, token_out, amount_raw, out) if out else None


def _stuck(row: int) -> Unsettled:
    return Unsettled(np.array([row], dtype=np.intp))
