"""State of a pool after arbitrage, when the market price has moved. Pure.

Arbitrageurs trade with a pool until its next unit pays no more than the market: its price ends within its fee of the
market price, at the nearer end. Pools with ticks end there bit-exactly, as `devnet.market` and its MarketDriver leave
them on a chain. Other pools are traded by exact quotes, with the amount that `Pool.flow_to` returns.

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
"""Number of cached pool pairs."""


def arbitraged(pool: Pool, prices_e8: Prices) -> Pool:
    """The pool after arbitrage at these prices; the same object if no arbitrage pays."""
    found = pool.arbitraged([prices_e8[token.address] for token in pool.tokens])
    return _traded(pool, prices_e8) if found is None else found


def at_prices(pool: Pool, prices_e8: Prices) -> Pool:
    """A pool of another time, moved to these prices with the same depth in USD.

    Raises:
        BadPoolSnapshot: the prices are outside a pool's range.
    """
    return pool.at_prices([prices_e8[token.address] for token in pool.tokens])


def _traded(pool: Pool, prices_e8: Prices) -> Pool:
    """Arbitrage by exact quotes, one pair of tokens after another."""
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
    """Price of the first unit of a token sold to the pool, and of the first unit bought from it, in the other token.

    Cached: a pool without a profitable arbitrage does not change for many rounds.
    """
    key = id(pool), token, other  # the cache holds the pool, so its id is not reused
    found = _BOUNDS.get(key)
    if found is None:
        bounds = pool.first_unit(token, other), 1 / pool.first_unit(other, token)
        found = _BOUNDS[key] = pool, *bounds
        if len(_BOUNDS) > _BOUNDS_KEPT:
            _BOUNDS.popitem(last=False)
    return found[1:]


def _sold(pool: Pool, token_in: Token, token_out: Token, worth: float) -> Pool:
    """The pool after a sale of a token to it, up to the amount at which the next unit brings the price `worth`."""
    amount, _ = pool.flow_to(token_in.address, token_out.address, worth)
    if not amount:
        return pool
    try:
        return pool.swapped(token_in.address, token_out.address, amount)[1]
    except (BadAmount, LiquidityExhausted):
        return pool  # the price is further away than the pool can move in one swap
