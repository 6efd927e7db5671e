"""A single swap of a plan, and pool states after swaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rebalancer.venues import Pool

__all__ = ["Swap", "pools_after"]


@dataclass(frozen=True)
class Swap:
    """One swap on one pool; amounts are raw, and exact if nobody else trades there."""

    pool: Pool
    """State after the earlier swaps."""
    token_in: str
    token_out: str
    amount_in_raw: int
    amount_out_raw: int

    @cached_property
    def pool_after(self) -> Pool:
        """State after this swap."""
        return self.pool.swapped(self.token_in, self.token_out, self.amount_in_raw)[1]


def pools_after(pools: Sequence[Pool], swaps: Sequence[Swap]) -> tuple[Pool, ...]:
    """The pools after these swaps."""
    traded = {swap.pool.key: swap.pool_after for swap in swaps}
    return tuple(traded.get(pool.key, pool) for pool in pools)
