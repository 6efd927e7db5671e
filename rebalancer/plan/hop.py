"""Which hop of a route swaps on a pool? One case a protocol; a new venue is one case more.

Pure. Tokens are the basket's, in lower case.
"""

from __future__ import annotations

from rebalancer.errors import UnsupportedPool
from rebalancer.plan.route import PoolHop, SellHop
from rebalancer.pools import Pool, UniswapV3Pool

__all__ = ["hop_of"]


def hop_of(
    pool: Pool, token_in: str, token_out: str, amount_in_raw: int, *, to_caller: bool
) -> SellHop:
    """The hop that sells `amount_in_raw` (0: all the executor holds) of one token for another.

    `to_caller`: the result goes straight to the caller, where the venue can send it; otherwise the executor keeps it.

    Raises:
        UnsupportedPool: no venue of RouteExecutor trades on such a pool.
    """
    match pool:
        case UniswapV3Pool():
            zero_for_one = token_in == pool.token0.address
            return PoolHop(amount_in_raw, token_in, pool.address, zero_for_one, to_caller)
        case _:
            raise UnsupportedPool(f"{type(pool).__name__} with {token_in} for {token_out}")
