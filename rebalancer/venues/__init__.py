"""Venues: exact quotes of their pools from snapshots, and all venue-specific knowledge (reading, logs, hops, files),
without I/O."""

from __future__ import annotations

from rebalancer.venues.balancer_weighted import BalancerWeightedPool
from rebalancer.venues.curve_crypto import CurveCryptoPool
from rebalancer.venues.curve_stable import CurveStablePool
from rebalancer.venues.model import MAX_AMOUNT_RAW, Pool, PoolRef, PoolState, Token
from rebalancer.venues.registry import KINDS, VENUES, check_ref, load, of_class, venue_named
from rebalancer.venues.shapes import recentred, synthetic
from rebalancer.venues.uniswap_v2 import UniswapV2Pool
from rebalancer.venues.uniswap_v3 import InitializedTick, TickProfile, UniswapV3Pool
from rebalancer.venues.uniswap_v4 import UniswapV4Pool, WrappedEtherPool

__all__ = [
    "KINDS",
    "MAX_AMOUNT_RAW",
    "VENUES",
    "BalancerWeightedPool",
    "CurveCryptoPool",
    "CurveStablePool",
    "InitializedTick",
    "Pool",
    "PoolRef",
    "PoolState",
    "TickProfile",
    "Token",
    "UniswapV2Pool",
    "UniswapV3Pool",
    "UniswapV4Pool",
    "WrappedEtherPool",
    "check_ref",
    "load",
    "of_class",
    "recentred",
    "synthetic",
    "venue_named",
]
