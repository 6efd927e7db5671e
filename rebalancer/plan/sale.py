"""Which swaps bring most of one token for some amounts of others?

Pure. The planner's convex problem (`dual.py`) without a vault's limits: all of these amounts are sold, and
what counts is how much of one token comes of them. Gas is left to who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rebalancer.errors import NoRoute
from rebalancer.plan.baseline import SingleRoutes
from rebalancer.plan.dual import Offer, Solution, solve
from rebalancer.plan.exact_flow import Circle, pushed
from rebalancer.plan.flow_to_swaps import Unsettled
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.swap import Swap
from rebalancer.venues import Pool
from rebalancer.venues.model import check_amount

__all__ = ["apart", "best_sale", "prices_in", "settled", "sum_out", "unreached"]

_MOST_STUCK = 16
"""Times that swaps that cannot be part of a route are left out and the rest solved again."""

_MOST_FOCUSES = 8
"""Times that points of curves are laid closer around a solution."""

_CLOSE = 1e-9
"""Part of what a solution is worth by which that must still change it."""

_PLENTY = 8.0
"""How many times what is expected may be bought, so that it never binds."""

_DUST_RAW = 10
"""What would fetch fewer raw units than this is not swapped, but paid out as it is."""


def best_sale(pools: Sequence[Pool], sales_raw: Mapping[str, int], token_out: str) -> tuple[Swap, ...]:
    """The swaps, in order, that bring most of a token for all of these amounts of others, but dust.

    Never less than one route after another brings.

    Raises:
        BadAmount: an amount is not in 1 … 2^255 - 1.
        NoRoute: no pools lead from a token to that one, or they cannot take that much.
    """
    for amount_raw in sales_raw.values():
        check_amount(amount_raw)
    token_out = token_out.lower()
    sales = {token.lower(): raw for token, raw in sales_raw.items()}
    market = market_of(pools)
    if lost := unreached(market, sales, token_out):
        raise NoRoute(lost, token_out, sales[lost])
    prices = prices_in(market, token_out)
    worth = {token: raw * float(prices[market.index[token]]) for token, raw in sales.items()}
    sales = {token: raw for token, raw in sales.items() if worth[token] >= _DUST_RAW}
    if not sales:
        return ()
    market = market.without(np.flatnonzero(market.token_in == market.index[token_out]))
    sell_max, buy_max, cost = np.zeros((3, len(prices)))
    for token, raw in sales.items():
        sell_max[market.index[token]] = raw
    buy_max[market.index[token_out]] = _PLENTY * sum(worth.values())
    offer = Offer(sell_max, buy_max, cost, prices, prices)

    def push(market: Market, solution: Solution) -> tuple[Swap, ...] | Unsettled | Circle:
        return pushed(market, solution, sales, token_out)

    found = []
    together = settled(market, offer, push)
    if together is not None:
        found.append(together[0])
        fewer = apart(market, *together)
        other = settled(fewer, offer, push) if fewer else None
        found += [other[0]] if other else []
    routes = SingleRoutes(market)
    for token in sorted(sales, key=lambda token: -worth[token]):
        route = routes.best(token, token_out, sales[token])
        if not route:
            if not found:
                raise NoRoute(token, token_out, sales[token])
            break
        routes.take(route)
    else:
        found.append(tuple(routes.swaps))
    return max(found, key=lambda swaps: sum_out(swaps, token_out))


def settled(
    market: Market,
    offer: Offer,
    flow: Callable[[Market, Solution], tuple[Swap, ...] | Unsettled | Circle],
) -> tuple[tuple[Swap, ...], Solution] | None:
    """The best swaps within an offer in whole units; those that cannot be part of a route are left out."""
    for _ in range(_MOST_STUCK):
        market, found = _solved(market, offer)
        done = flow(market, found)
        if isinstance(done, tuple):
            return done, found
        if not len(done.rows):
            break
        rows = done.rows
        if isinstance(done, Circle):
            # Whatever else it is worth, a circle is none that the chain can make: do without the row that costs least.
            ways = [market.without(rows[at : at + 1]) for at in range(len(rows))]
            market = max(ways, key=lambda way: solve(way, offer).value)
        else:
            market = market.without(rows)
    return None


def _solved(market: Market, offer: Offer) -> tuple[Market, Solution]:
    """The solution, and the market with the points of curves laid where they trade."""
    found = solve(market, offer)
    for _ in range(_MOST_FOCUSES):
        closer = market.focused(np.exp(found.log_prices))
        if closer is market:
            break
        market, before = closer, found
        found = solve(market, offer)
        if abs(found.bound - before.bound) <= _CLOSE * abs(found.bound):
            break
    return market, found


def apart(market: Market, swaps: Sequence[Swap], solution: Solution) -> Market | None:
    """The market with one pair for each pool that these swaps use for more, None if there is no such pool.

    The dual takes the pairs of a pool for pools of their own, but each pair's trade leaves less for the others.
    """
    worth = solution.flows.amounts_in * np.exp(solution.log_prices[market.token_in])
    keys = [swap.pool.key for swap in swaps]
    closed: list[int] = []
    for number, pool in enumerate(market.pools):
        if keys.count(pool.key) > 1:
            rows = np.flatnonzero(market.pool == number)
            closed += np.delete(rows, np.argmax(worth[rows])).tolist()
    return market.without(np.array(closed, dtype=np.intp)) if closed else None


def prices_in(market: Market, token: str) -> NDArray[np.float64]:
    """About what a raw unit of each token is worth in raw units of one of them."""
    known = np.full(len(market.tokens), np.nan)
    known[market.index[token]] = 0.0
    return np.exp(market.near(known))


def unreached(market: Market, tokens: Iterable[str], end: str) -> str | None:
    """The first of some tokens that no pools connect with one, if there is such."""
    links = coo_array((np.ones(len(market)), (market.token_in, market.token_out)), (len(market.tokens),) * 2)
    _, island = connected_components(links, directed=False)
    for token in tokens:
        if not {token, end} <= market.index.keys():
            return token
        if island[market.index[token]] != island[market.index[end]]:
            return token
    return None


def sum_out(swaps: Sequence[Swap], token: str) -> int:
    return sum(swap.amount_out_raw for swap in swaps if swap.token_out == token)
