"""A pool of ether as routes see it: as one of the wrapped token.

Routes, vaults and plans know tokens only. RouteExecutor unwraps exactly what such a pool takes and wraps
what it pays, one for one, so the pool quotes WETH as it quotes ether.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from rebalancer.errors import UnknownToken, UnsupportedPool
from rebalancer.pools.model import ETHER_ADDRESS, Pool, Token, places_of
from rebalancer.pools.uniswap_v4 import UniswapV4Pool
from rebalancer.route import Hop

__all__ = ["WrappedEtherPool", "in_wrapped_ether"]


@dataclass(frozen=True)
class WrappedEtherPool:
    """A Uniswap V4 pool that holds ether, traded for `weth`; satisfies `rebalancer.pools.Pool`.

    It does not know ether itself: asking for it is `UnknownToken`.

    Raises:
        UnsupportedPool: the pool holds no ether, or holds the wrapped token beside it.
    """

    BUYS_EXACTLY: ClassVar[bool] = False

    pool: UniswapV4Pool
    weth: Token

    def __post_init__(self) -> None:
        if self.pool.token0.address != ETHER_ADDRESS:
            raise UnsupportedPool(f"{self.pool.PROTOCOL} without ether")
        if self.pool.token1.address == self.weth.address:
            raise UnsupportedPool(f"{self.pool.PROTOCOL} that wrap ether")

    @property
    def address(self) -> str:
        """The PoolManager."""
        return self.pool.address

    @property
    def key(self) -> str:
        """The pool's id."""
        return self.pool.key

    @property
    def tokens(self) -> tuple[Token, Token]:
        """The wrapped token in ether's place, which is the first, and the other."""
        return self.weth, self.pool.token1

    @property
    def holder(self) -> str:
        """The PoolManager."""
        return self.address

    @property
    def fee_pips(self) -> int:
        """As of the pool."""
        return self.pool.fee_pips

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`."""
        return self.pool.quote_in(*self._way(token_in, token_out), amount_raw)

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`."""
        return self.pool.quote_out(*self._way(token_in, token_out), amount_raw)

    def swapped(
        self, token_in: str, token_out: str, amount_raw: int
    ) -> tuple[int, WrappedEtherPool]:
        """See `Pool.swapped`."""
        out, after = self.pool.swapped(*self._way(token_in, token_out), amount_raw)
        return out, replace(self, pool=after)

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`."""
        return self.pool.spot_price(*self._way(token_in, token_out))

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`."""
        return self.pool.flow_to(*self._way(token_in, token_out), marginal)

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`."""
        i, j = places_of(self.key, self.tokens, token_in, token_out)
        ends = self.tokens[i].address, self.tokens[j].address
        return self.pool.hop_as(
            *ends, amount_raw, to_caller=to_caller, ether_in=i == 0, ether_out=j == 0
        )

    def _way(self, token_in: str, token_out: str) -> tuple[str, str]:
        """The two as the pool names them."""
        sold, bought, other = token_in.lower(), token_out.lower(), self.pool.token1.address
        if sold == self.weth.address and bought == other:
            return ETHER_ADDRESS, other
        if sold == other and bought == self.weth.address:
            return other, ETHER_ADDRESS
        raise UnknownToken(self.key, token_in, token_out)


def in_wrapped_ether(pool: Pool, weth: Token | None) -> Pool:
    """The pool as routes see it: of the wrapped token where it holds ether, otherwise itself.

    Raises:
        UnsupportedPool: it holds ether, and no wrapped token is known or it trades that for ether.
    """
    if not isinstance(pool, UniswapV4Pool) or pool.token0.address != ETHER_ADDRESS:
        return pool
    if weth is None:
        raise UnsupportedPool(f"{pool.PROTOCOL} with ether, which no known token wraps,")
    return WrappedEtherPool(pool, weth)
