"""Where do arbitrageurs leave a pool, once the world's price has moved? Pure.

A pool whose next unit pays more than it is worth elsewhere is traded with until it does not: it ends
within its fee of the outside price, at the near end. Uniswap pools end there to the unit, as
`devnet.market` and its MarketDriver leave them on a chain; pools of other protocols are traded with by exact
quotes, for the amount that `Pool.flow_to` names.

Prices are USD * 1e8 per whole token, by token address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import TypeVar

from rebalancer.devnet.market import arbitrage_bounds, sqrt_price_x96
from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.venues import (
    BalancerWeightedPool,
    CurveCryptoPool,
    Pool,
    Token,
    UniswapV3Pool,
    UniswapV4Pool,
    WrappedEtherPool,
    recentred,
)
from rebalancer.venues.uniswap_v3 import TickProfile
from rebalancer.venues.uniswap_v3_math import PIPS, sqrt_at_tick, tick_at_sqrt

__all__ = ["arbitraged", "at_prices"]

Prices = Mapping[str, int]

_BOUNDS_KEPT = 256
"""Pairs of pools remembered."""

_Ticked = TypeVar("_Ticked", UniswapV3Pool, UniswapV4Pool)


def arbitraged(pool: Pool, prices_e8: Prices) -> Pool:
    """The pool after arbitrage at these prices; itself where none pays."""
    match pool:
        case UniswapV3Pool():
            fees = pool.fee_pips, pool.fee_pips
            return _pushed(pool, pool.tokens, fees, prices_e8)
        case UniswapV4Pool():
            return _pushed(pool, pool.tokens, _fees(pool), prices_e8)
        case WrappedEtherPool():
            inner = _pushed(pool.pool, pool.tokens, _fees(pool.pool), prices_e8)
            return pool if inner is pool.pool else replace(pool, pool=inner)
        case _:
            return _traded(pool, prices_e8)


def at_prices(pool: Pool, prices_e8: Prices) -> Pool:
    """A pool of another time as it would stand at these prices, as deep in USD as it was.

    Ticked pools keep their liquidity's place around the price; the others' balances keep their values.
    Pools of coins that are worth the same (Curve's stable ones) stay as they are.

    Raises:
        BadPoolSnapshot: the prices are out of a pool's range.
    """
    match pool:
        case UniswapV3Pool():
            return recentred(pool, _outside_x96(pool.tokens, prices_e8))
        case UniswapV4Pool():
            return _recentred_v4(pool, pool.tokens, prices_e8)
        case WrappedEtherPool():
            return replace(pool, pool=_recentred_v4(pool.pool, pool.tokens, prices_e8))
        case BalancerWeightedPool():
            balances = [
                balance if not place else _worth(pool, place, prices_e8)
                for place, balance in enumerate(pool.balances)
            ]
            return replace(pool, balances=tuple(balances))
        case CurveCryptoPool():
            return _rescaled(pool, prices_e8)
        case _:
            return pool


def _fees(pool: UniswapV4Pool) -> tuple[int, int]:
    """What a swap down and a swap up cost, the protocol's part included (ProtocolFeeLibrary), in millionths."""
    fee_pips = pool.profile.fee_pips
    down, up = (
        protocol + fee_pips - protocol * fee_pips // PIPS for protocol in pool.protocol_fees_pips
    )
    return down, up


def _pushed(
    pool: _Ticked, tokens: Sequence[Token], fees_pips: tuple[int, int], prices_e8: Prices
) -> _Ticked:
    """MarketDriver._push: one swap that ends at the price where the next unit earns nothing."""
    price0, price1 = (prices_e8[token.address] for token in tokens)
    decimals = tokens[0].decimals, tokens[1].decimals
    _, most_x96 = arbitrage_bounds(price0, price1, *decimals, fees_pips[0])
    if pool.sqrt_price_x96 > most_x96:
        return _moved(pool, most_x96, down=True)
    least_x96, _ = arbitrage_bounds(price0, price1, *decimals, fees_pips[1])
    if pool.sqrt_price_x96 < least_x96:
        return _moved(pool, least_x96, down=False)
    return pool


def _moved(pool: _Ticked, sqrt_x96: int, *, down: bool) -> _Ticked:
    """The pool after a swap that ends at exactly this price, which is none of its range's ends."""
    tick = tick_at_sqrt(sqrt_x96)
    if down and sqrt_x96 == sqrt_at_tick(tick) and _is_boundary(pool.profile, tick):
        tick -= 1  # a falling swap that ends on a tick has crossed it
    liquidity = pool.profile.liquidity_at(tick)
    return replace(pool, sqrt_price_x96=sqrt_x96, tick=tick, liquidity=liquidity)


def _is_boundary(profile: TickProfile, tick: int) -> bool:
    ladder = profile.down
    place = ladder.first(tick)
    return place < len(ladder.order) and ladder.order[place] == -tick


def _traded(pool: Pool, prices_e8: Prices) -> Pool:
    """By exact quotes, one pair after another: the fee leaves each a little room."""
    for token, other in combinations(pool.tokens, 2):
        worth = float(_raw_price(token, other, prices_e8))
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
        if isinstance(pool, CurveCryptoPool):
            bounds = pool.first_unit(token, other), 1 / pool.first_unit(other, token)
        else:
            spot, kept = float(pool.spot_price(token, other)), 1 - pool.fee_pips / PIPS
            bounds = spot * kept, spot / kept
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


def _raw_price(token: Token, other: Token, prices_e8: Prices) -> Fraction:
    """Raw units of `other` that a raw unit of `token` is worth."""
    # {raw other/raw} = {usd/token} / {raw/token} * {raw other/other} / {usd/other}
    return Fraction(
        prices_e8[token.address] * 10**other.decimals,
        prices_e8[other.address] * 10**token.decimals,
    )


def _outside_x96(tokens: Sequence[Token], prices_e8: Prices) -> int:
    price0, price1 = (prices_e8[token.address] for token in tokens)
    return sqrt_price_x96(price0, price1, tokens[0].decimals, tokens[1].decimals)


def _recentred_v4(pool: UniswapV4Pool, tokens: Sequence[Token], prices_e8: Prices) -> UniswapV4Pool:
    """As its twin of V3, which has the same ticks."""
    twin = UniswapV3Pool(
        *(pool.manager, pool.token0, pool.token1, pool.profile),
        *(pool.sqrt_price_x96, pool.tick, pool.liquidity),
    )
    moved = recentred(twin, _outside_x96(tokens, prices_e8))
    return replace(
        pool,
        profile=moved.profile,
        sqrt_price_x96=moved.sqrt_price_x96,
        tick=moved.tick,
        liquidity=moved.liquidity,
    )


def _worth(pool: BalancerWeightedPool, place: int, prices_e8: Prices) -> int:
    """The balance of a token that is worth its weight beside the first token's, rounded down."""
    first, token = pool.tokens[0], pool.tokens[place]
    beside = Fraction(pool.weights_e18[place], pool.weights_e18[0])
    return int(pool.balances[0] * _raw_price(first, token, prices_e8) * beside)


def _rescaled(pool: CurveCryptoPool, prices_e8: Prices) -> CurveCryptoPool:
    """Its price scale moved as the prices have; scaled balances, and so D and fee, stay. What a share was worth is another price's."""
    balances, scales = list(pool.balances), list(pool.price_scale_e18)
    for place, token in enumerate(pool.tokens[1:], start=1):
        inside = pool.spot_price(token.address, pool.tokens[0].address)
        grown = _raw_price(token, pool.tokens[0], prices_e8) / inside
        scales[place - 1] = int(scales[place - 1] * grown)
        balances[place] = int(balances[place] / grown)
    return replace(
        pool, balances=tuple(balances), price_scale_e18=tuple(scales), virtual_price_e18=0
    )
