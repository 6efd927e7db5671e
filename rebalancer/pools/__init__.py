"""Wei-exact quoting of pools from snapshots, without I/O: one module a protocol."""

from __future__ import annotations

from rebalancer.pools.model import MAX_AMOUNT_RAW, Pool, Token
from rebalancer.pools.shapes import recentred, synthetic
from rebalancer.pools.snapshot import load, save
from rebalancer.pools.uniswap_v3 import Segment, Tick, TickProfile, UniswapV3Pool
from rebalancer.pools.uniswap_v4 import UniswapV4Pool

__all__ = [
    "MAX_AMOUNT_RAW",
    "Pool",
    "Segment",
    "Tick",
    "TickProfile",
    "Token",
    "UniswapV3Pool",
    "UniswapV4Pool",
    "load",
    "recentred",
    "save",
    "synthetic",
]
