"""Sale of several tokens for one token, as swaps with the largest total output.

Pure. The planner's convex problem (`dual.py`) without a vault's limits: the amounts are sold completely, and the
objective is the amount of one token. Gas is the caller's concern.
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
"""Maximum number of times that swaps which cannot be part of a route are removed and the rest is solved again."""

_MOST_FOCUSES = 8
"""Maximum number of times that points of curves are placed more closely around a solution."""

_CLOSE = 1e-9
"""Change of the bound below which no further placement is made, as a fraction."""

_PLENTY = 8.0
"""Factor of the expected purchase that may be bought, so that the limit never binds."""

_DUST_RAW = 10
"""Amounts worth fewer raw units of the output token are not swapped, but paid out unchanged."""


def best_sale(pools: Sequence[Pool], sales_raw: Mapping[str, int], token_out: str) -> tuple[Swap, ...]:
    """Swaps, in order, with the largest output of a token for all of these amounts of others, except dust.

    The output is never less than that of single routes, one after another.

    Raises:
        BadAmount: an amount is not in 1 … 2^255 - 1.
        NoRoute: no pools connect a token to the output token, or they cannot take the amount.
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
    market: Market, offer: Offer, flow: Callable[[Market, Solution], tuple[Swap, ...] | Unsettled | Circle]
) -> tuple[tuple[Swap, ...], Solution] | None:
    """The best swaps within an offer, in whole units; rows that cannot be part of a route are closed."""
    for _ in range(_MOST_STUCK):
        market, found = _solved(market, offer)
        done = flow(market, found)
        if isinstance(done, tuple):
            return done, found
        if not len(done.rows):
            break
        rows = done.rows
        if isinstance(done, Circle):
            # The chain cannot execute a circle, whatever it earns: close the row that costs least.
            fewer = [market.without(rows[at : at + 1]) for at in range(len(rows))]
            market = max(fewer, key=lambda one: solve(one, offer).value)
        else:
            market = market.without(rows)
    return None


def _solved(market: Market, offer: Offer) -> tuple[Market, Solution]:
    """The solution, and the market with points of curves placed around its trades."""
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
    """The market with only one open pair for each pool that these swaps use more than once; None if there is no such
    pool.

    The dual treats the pairs of a pool as separate pools, but a trade of one pair leaves less for the others.
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
    """Approximate value of a raw unit of each token, in raw units of one token."""
    known = np.full(len(market.tokens), np.nan)
    known[market.index[token]] = 0.0
    return np.exp(market.near(known))


def unreached(market: Market, tokens: Iterable[str], end: str) -> str | None:
    """The first token that no pools connect to `end`, or None."""
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
