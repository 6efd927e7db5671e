"""One swap of a plan."""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.pools import Pool

__all__ = ["Leg"]


@dataclass(frozen=True, slots=True)
class Leg:
    """One swap on one pool; amounts are raw and exact as long as nobody else trades there."""

    pool: Pool
    """As the legs before left it."""
    token_in: str
    token_out: str
    amount_in_raw: int
    amount_out_raw: int

    @property
    def pool_after(self) -> Pool:
        """The pool as this leg leaves it."""
        return self.pool.swapped(self.token_in, self.token_out, self.amount_in_raw)[1]
