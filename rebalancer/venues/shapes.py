"""Uniswap V3 pools for a local market: a real pool moved to another price, and synthetic pools.

Pure. The result is an ordinary `UniswapV3Pool`, which the devnet builds on its chain.
"""

from __future__ import annotations

from dataclasses import replace

from rebalancer.errors import BadPoolSnapshot
from rebalancer.units import div_up
from rebalancer.venues.model import Token, check_amount
from rebalancer.venues.uniswap_v3 import InitializedTick, TickProfile, UniswapV3Pool, check_price, recentred_range
from rebalancer.venues.uniswap_v3_math import MAX_TICK, Q96, sqrt_at_tick, tick_at_sqrt

__all__ = ["recentred", "synthetic"]

_BANDS = ((200, 8), (1_000, 8), (2_600, 4), (7_000, 2), (2 * MAX_TICK, 1))
"""Half-width in ticks → part of the depth: 2 %, 10 %, 30 %, a factor of 2, and all prices.

Most of the depth is near the price, as in pools of liquid pairs; some is everywhere, so that no price is without
liquidity.
"""


def recentred(pool: UniswapV3Pool, sqrt_price_x96: int) -> UniswapV3Pool:
    """The pool moved to exactly this price; see `recentred_range`."""
    return replace(pool, **recentred_range(pool, sqrt_price_x96))


def synthetic(
    token0: Token,
    token1: Token,
    *,
    fee_pips: int,
    tick_spacing: int,
    sqrt_price_x96: int,
    depth1_raw: int,
    address: str = "0x" + 40 * "0",
    chain_id: int = 31_337,
    name: str = "",
) -> UniswapV3Pool:
    """A pool at this price, concentrated around it, with about the same depth below the price as above.

    `depth1_raw` is its balance of token1, all below the price; the token0 above it has about the same value. Bands end
    on multiples of the tick spacing, rounded outward.

    Raises:
        BadAmount: `depth1_raw` is not in 1 … 2^255 - 1.
        BadPoolSnapshot: the price is out of range, or the depth is too small for any liquidity.
    """
    check_amount(depth1_raw)
    check_price(sqrt_price_x96)
    if tick_spacing <= 0:
        raise BadPoolSnapshot(f"tick spacing {tick_spacing} is not positive")
    end = MAX_TICK // tick_spacing * tick_spacing
    tick = tick_at_sqrt(sqrt_price_x96)
    if not -end < tick < end:
        raise BadPoolSnapshot(f"tick {tick} leaves no room for liquidity on both sides")
    parts = sum(part for _, part in _BANDS)
    moves: dict[int, tuple[int, int]] = {}
    for half_width, part in _BANDS:
        low = max((tick - half_width) // tick_spacing * tick_spacing, -end)
        high = min(div_up(tick + half_width, tick_spacing) * tick_spacing, end)
        span_x96 = sqrt_price_x96 - sqrt_at_tick(low)
        # {L} = {token1} * 2^96 / {sqrt price * 2^96}. Down: the pool holds at most the given depth.
        liquidity = depth1_raw * part * Q96 // (parts * span_x96)
        if liquidity:
            _add(moves, low, liquidity, liquidity)
            _add(moves, high, liquidity, -liquidity)
    if not moves:
        raise BadPoolSnapshot(f"a depth of {depth1_raw} raw units is too small for any liquidity")
    ticks = tuple(InitializedTick(at, gross, net) for at, (gross, net) in sorted(moves.items()))
    profile = TickProfile(fee_pips, tick_spacing, ticks)
    return UniswapV3Pool(
        address=address,
        token0=token0,
        token1=token1,
        profile=profile,
        sqrt_price_x96=sqrt_price_x96,
        tick=tick,
        liquidity=profile.liquidity_at(tick),
        chain_id=chain_id,
        name=name,
    )


def _add(moves: dict[int, tuple[int, int]], at: int, gross: int, net: int) -> None:
    gross_there, net_there = moves.get(at, (0, 0))
    moves[at] = (gross_there + gross, net_there + net)
