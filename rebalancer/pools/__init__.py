"""Wei-exact quoting of pools from snapshots, without I/O: one module a protocol."""

from __future__ import annotations

from rebalancer.pools.balancer_weighted import BalancerWeightedPool
from rebalancer.pools.curve_crypto import CurveCryptoPool
from rebalancer.pools.curve_stable import CurveStablePool
from rebalancer.pools.model import MAX_AMOUNT_RAW, Pool, Token
from rebalancer.pools.shapes import recentred, synthetic
from rebalancer.pools.snapshot import KINDS, AnyPool, kind_of, load, of_kind, save
from rebalancer.pools.uniswap_v2 import UniswapV2Pool
from rebalancer.pools.uniswap_v3 import Tick, TickProfile, UniswapV3Pool
from rebalancer.pools.uniswap_v4 import UniswapV4Pool
from rebalancer.pools.wrapped_ether import WrappedEtherPool, in_wrapped_ether

__all__ = [
    "KINDS",
    "MAX_AMOUNT_RAW",
    "AnyPool",
    "BalancerWeightedPool",
    "CurveCryptoPool",
    "CurveStablePool",
    "Pool",
    "Tick",
    "TickProfile",
    "Token",
    "UniswapV2Pool",
    "UniswapV3Pool",
    "UniswapV4Pool",
    "WrappedEtherPool",
    "in_wrapped_ether",
    "kind_of",
    "load",
    "of_kind",
    "recentred",
    "save",
    "synthetic",
]
