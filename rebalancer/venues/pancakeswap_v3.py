"""Pool of PancakeSwap V3: Uniswap V3's mathematics with another callback, another `slot0` and a longer Swap event.

The protocol's part of the fee is larger than on Uniswap and may differ by direction, but no quote depends on it. Tests
compare it with the published pool (npm `@pancakeswap/v3-core` 1.0.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rebalancer.abi import Interface
from rebalancer.venues.reading import interface_of
from rebalancer.venues.uniswap_v3 import UniswapV3Pool, v3_venue

__all__ = ["PANCAKE_POOL", "VENUE", "PancakeSwapV3Pool"]

PANCAKE_POOL = interface_of(
    "PancakeSwap V3 pool",
    (
        "lmPool() -> address",
        "event Swap(address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 sqrtPriceX96, uint128 liquidity, int24 tick, uint128 protocolFeesToken0, uint128 protocolFeesToken1)",
        "event Mint(address sender, address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1)",
        "event Burn(address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1)",
    ),
)


@dataclass(frozen=True)
class PancakeSwapV3Pool(UniswapV3Pool):
    """One state of one pool; as `UniswapV3Pool`."""

    KIND: ClassVar[str] = "PancakeSwap V3"
    VENUE_NAME: ClassVar[str] = "pancakeswap-v3"
    EVENTS: ClassVar[Interface] = PANCAKE_POOL
    SNAPSHOT_KEY: ClassVar[str] = "pancakeswap_pool"


VENUE = v3_venue(PancakeSwapV3Pool, (PANCAKE_POOL, "lmPool"))
