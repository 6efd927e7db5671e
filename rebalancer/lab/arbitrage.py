"""Where arbitrageurs leave a pool, once the world's price has moved. Pure.

A pool whose next unit pays more than it is worth elsewhere is traded with until it does not: it ends
within its fee of the outside price, at the near end. Ticked pools end there to the unit, as
`devnet.market` and its MarketDriver leave them on a chain; other pools are traded with by exact
quotes, for the amount that `Pool.flow_to` names.

Prices are USD * 1e8 per whole token, by token address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import combinations

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.venues import Pool, Token
from rebalancer.venues.model import raw_price

__all__ = ["arbitraged", "at_prices"]

Prices = Mapping[str, int]

_BOUNDS_KEPT = 256
"""Pairs of pools remembered."""


def arbitraged(pool: Pool, prices_e8: Prices) -> Pool:
    """The pool after arbitrage at these prices; itself where none pays."""
    found = pool.arbitraged([prices_e8[token.address] for token in pool.tokens])
    return _traded(pool, prices_e8) if found is None else found


def at_prices(pool: Pool, prices_e8: Prices) -> Pool:
    """A pool of another time as it would stand at these prices, as deep in USD as it was.

    Raises:
        BadPoolSnapshot: the prices are out of a pool's range.
    """
    return pool.at_prices([prices_e8[token.address] for token in pool.tokens])


def _traded(pool: Pool, prices_e8: Prices) -> Pool:
    """By exact quotes, one pair after another: the fee leaves each a little room."""
    for token, other in combinations(pool.tokens, 2):
        prices = prices_e8[token.address], prices_e8[other.address]
        worth = float(raw_price(token, other, *prices))
        most, least = _bounds(pool, token.address, other.address)
        if most > worth:
            pool = _sold(pool, token, other, worth)
        elif least < worth:
            pool = _sold(pool, other, token, 1 / worth)
    return pool


_BOUNDS: OrderedDict[tuple[int, str, str], tuple[Pool, float, float]] = OrderedDict()


def _bounds(pool: Pool, token: str, other: str) -> tuple[float, float]:
    """What the first unit of a token sold to the pool brings, and what the first one bought of it costs, of the other.

    Remembered: where no arbitrage pays, a pool stays the same for many rounds.
    """
    key = id(pool), token, other  # what is kept keeps its pool, so none of their ids is another's
    found = _BOUNDS.get(key)
    if found is None:
        bounds = pool.first_unit(token, other), 1 / pool.first_unit(other, token)
        found = _BOUNDS[key] = pool, *bounds
        if len(_BOUNDS) > _BOUNDS_KEPT:
            _BOUNDS.popitem(last=False)
    return found[1:]


def _sold(pool: Pool, token_in: Token, token_out: Token, worth: float) -> Pool:
    """The pool after so much of a token was sold to it that the next unit brings what it is worth."""
    amount, _ = pool.flow_to(token_in.address, token_out.address, worth)
    if not amount:
        return pool
    try:
        return pool.swapped(token_in.address, token_out.address, amount)[1]
    except (BadAmount, LiquidityExhausted):
        return pool  # further away than the pool can go at once
