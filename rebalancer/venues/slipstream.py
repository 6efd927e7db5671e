"""Pool of Slipstream (Aerodrome, Velodrome): Uniswap V3's mathematics with a fee from its factory.

The fee may change at any block without a log, because a module of the factory computes it, so the pool is read at every
block. Staked liquidity earns rewards instead of fees; no quote depends on it. The callback and the hop are those of
Uniswap V3.

No registry has Slipstream's code: tests/vectors/slipstream.json contains results of swaps on its public source, commit
193a6b8 compiled by solc 0.7.6, on a local chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rebalancer.abi import Interface
from rebalancer.venues.reading import interface_of
from rebalancer.venues.uniswap_v3 import V3_POOL, UniswapV3Pool, v3_venue

__all__ = ["VENUE", "SlipstreamPool"]

_POOL = interface_of("Slipstream pool", ("stakedLiquidity() -> uint128",))


@dataclass(frozen=True)
class SlipstreamPool(UniswapV3Pool):
    """One state of one pool, at the fee of its block; as `UniswapV3Pool`."""

    KIND: ClassVar[str] = "Slipstream"
    VENUE_NAME: ClassVar[str] = "slipstream"
    EVENTS: ClassVar[Interface] = V3_POOL
    SNAPSHOT_KEY: ClassVar[str] = "slipstream_pool"
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset({"profile"})

    @property
    def moves(self) -> bool:
        """Always: the fee may change."""
        return True


VENUE = v3_venue(SlipstreamPool, (_POOL, "stakedLiquidity"))
