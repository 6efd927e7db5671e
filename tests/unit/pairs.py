"""Pools whose answers can be worked out by hand: one stretch of liquidity over all prices, x · y = k."""

from __future__ import annotations

from math import isqrt

from rebalancer.venues import InitializedTick, TickProfile, Token, UniswapV3Pool
from rebalancer.venues.uniswap_v3_math import MAX_TICK, Q96, tick_at_sqrt

A, B, C = (Token(f"0x{i:040x}", name, 18) for i, name in enumerate("ABC", 1))
RAW = 10**18
FEE_PIPS = 3_000


def pair(token0: Token, token1: Token, number: int, reserve0: int, reserve1: int, fee: int = FEE_PIPS) -> UniswapV3Pool:
    """A pool with reserves of whole tokens."""
    sqrt_x96 = isqrt(reserve1 * Q96 * Q96 // reserve0)
    liquidity = isqrt(reserve0 * reserve1 * RAW * RAW)
    end = MAX_TICK // 60 * 60
    ticks = (
        InitializedTick(-end, liquidity, liquidity),
        InitializedTick(end, liquidity, -liquidity),
    )
    profile = TickProfile(fee, 60, ticks)
    return UniswapV3Pool(f"0x{number:040x}", token0, token1, profile, sqrt_x96, tick_at_sqrt(sqrt_x96), liquidity)
