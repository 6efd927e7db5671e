"""Opening pools of a local market, and their depth. Pure.

Three pools trade the three default tokens against each other. A snapshot of a real pool replaces the pool with the same
tokens and fee, and is moved to the tape's first prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rebalancer.devnet.market import DEFAULT_FEEDS, USDC, WBTC, WETH
from rebalancer.errors import MarketMismatch
from rebalancer.venues import Token, UniswapV3Pool, recentred, synthetic
from rebalancer.venues.uniswap_v3_math import sqrt_price_x96

__all__ = ["DEFAULT_POOLS", "PoolSpec", "opening_pools"]


@dataclass(frozen=True)
class PoolSpec:
    """A synthetic pool: tokens in address order, and the token1 that it holds below its price, in raw units."""

    token0: Token
    token1: Token
    fee_pips: int
    tick_spacing: int
    depth1_raw: int


DEFAULT_POOLS = (
    PoolSpec(WBTC, WETH, 3_000, 60, 10_000 * 10**18),
    PoolSpec(USDC, WETH, 500, 10, 15_000 * 10**18),
    PoolSpec(WBTC, USDC, 3_000, 60, 15_000_000 * 10**6),
)
"""Fee tiers with the largest volume of these pairs on mainnet, and depths of the same order."""


def opening_pools(prices_e8: Mapping[str, int], snapshots: Sequence[UniswapV3Pool] = ()) -> tuple[UniswapV3Pool, ...]:
    """The pools of a market that opens at these prices (USD * 1e8 by feed name).

    The snapshots come first, moved to these prices; synthetic pools complete the set.

    Raises:
        MarketMismatch: the market has no feed for a snapshot's token.
        BadPoolSnapshot: the prices are outside a pool's range.
    """
    real = [recentred(pool, _opening(pool.tokens, prices_e8)) for pool in snapshots]
    known = {(pool.token0.address, pool.token1.address, pool.fee_pips) for pool in real}
    made = [
        synthetic(
            spec.token0,
            spec.token1,
            fee_pips=spec.fee_pips,
            tick_spacing=spec.tick_spacing,
            sqrt_price_x96=_opening((spec.token0, spec.token1), prices_e8),
            depth1_raw=spec.depth1_raw,
        )
        for spec in DEFAULT_POOLS
        if (spec.token0.address, spec.token1.address, spec.fee_pips) not in known
    ]
    return (*real, *made)


def _opening(tokens: tuple[Token, Token], prices_e8: Mapping[str, int]) -> int:
    feed_of = {feed.token.address: feed.name for feed in DEFAULT_FEEDS}
    for token in tokens:
        if feed_of.get(token.address) not in prices_e8:
            raise MarketMismatch(f"feed of {token.symbol}", "a feed of the tape", None)
    price0, price1 = (prices_e8[feed_of[token.address]] for token in tokens)
    return sqrt_price_x96(price0, price1, *(token.decimals for token in tokens))
