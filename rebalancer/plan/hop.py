"""Which hop of a route swaps on a pool? One case a protocol; a new venue is one case more.

Pure. Tokens are the basket's, in lower case; where a pool holds ether, that is the wrapped token.
"""

from __future__ import annotations

from rebalancer.errors import UnsupportedPool
from rebalancer.plan.route import BalancerHop, CurveHop, PairHop, PoolHop, SellHop, V4Hop
from rebalancer.pools import (
    BalancerWeightedPool,
    CurveCryptoPool,
    CurveStablePool,
    Pool,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
    WrappedEtherPool,
)
from rebalancer.pools.model import places_of
from rebalancer.pools.wrapped_ether import ETHER_ADDRESS

__all__ = ["hop_of"]

_NO_HOOKS = "0x" + "0" * 40


def hop_of(
    pool: Pool, token_in: str, token_out: str, amount_in_raw: int, *, to_caller: bool
) -> SellHop:
    """The hop that sells `amount_in_raw` (0: all the executor holds) of one token for another.

    `to_caller`: the result goes straight to the caller, where the venue can send it; otherwise the executor keeps it.

    Raises:
        UnknownToken: the pool does not trade the pair.
        UnsupportedPool: no venue of RouteExecutor trades on such a pool.
    """
    i, j = places_of(pool.key, pool.tokens, token_in, token_out)
    match pool:
        case UniswapV3Pool():
            return PoolHop(amount_in_raw, token_in, pool.address, i == 0, to_caller)
        case UniswapV2Pool():
            return PairHop(amount_in_raw, token_in, pool.address, i == 0, to_caller, pool.fee_bps)
        case WrappedEtherPool():
            return _v4(pool.pool, token_in, token_out, amount_in_raw, to_caller, ether=i)
        case UniswapV4Pool():
            if ETHER_ADDRESS in (token_in, token_out):
                raise UnsupportedPool(f"{pool.PROTOCOL} with ether, before they are wrapped,")
            return _v4(pool, token_in, token_out, amount_in_raw, to_caller)
        case BalancerWeightedPool():
            ends = token_in, pool.vault, token_out, pool.pool_id
            return BalancerHop(amount_in_raw, *ends, to_caller)
        case CurveStablePool() | CurveCryptoPool():
            unsigned = isinstance(pool, CurveCryptoPool)
            return CurveHop(amount_in_raw, token_in, pool.address, token_out, i, j, unsigned)
        case _:
            raise UnsupportedPool(f"{type(pool).__name__} with {token_in} for {token_out}")


def _v4(
    pool: UniswapV4Pool,
    token_in: str,
    token_out: str,
    amount_in_raw: int,
    to_caller: bool,
    ether: int | None = None,
) -> V4Hop:
    """`ether`: 0 where what is sold is ether to the pool, 1 where what is bought is, None where neither."""
    return V4Hop(
        amount_in_raw,
        token_in,
        pool.manager,
        token_out,
        pool.profile.fee_pips,
        pool.tick_spacing,
        _NO_HOOKS,
        to_caller,
        ether_in=ether == 0,
        ether_out=ether == 1,
    )
