"""A Uniswap V4 pool without hooks on paper: what any swap pays, to the unit, and the pool it leaves behind.

PoolManager of v4-core 1.0.2 walks ticks exactly as a pool of Uniswap V3 does, so that module's
mathematics is used for all of it. What differs: pools have no address, only an id in the one
PoolManager; a token may be ether itself, at address zero; the protocol may take a fee of its own,
one a direction, ahead of the providers'; and no amount of a swap may pass 2^127 - 1 (`BadAmount`).

A pool with hooks can do anything, so none is ever read as one of these. Of pools without, two kinds
that V4 alone allows are refused: a spacing above 16,383 ticks, and a fee of 100 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import ClassVar

from eth_utils.crypto import keccak

from rebalancer.errors import BadAmount, BadPoolSnapshot, UnsupportedPool
from rebalancer.pools.model import ETHER_ADDRESS, Token, address_key, places_of
from rebalancer.pools.uniswap_v3 import TickProfile, UniswapV3Pool
from rebalancer.pools.uniswap_v3_math import PIPS
from rebalancer.route import Flags, Hop, address_bytes, number_bytes, to_caller_flag

__all__ = ["UniswapV4Pool", "pool_id", "v4_hop"]

_BOOKED_BITS = 127
"""PoolManager books what a swap takes and gives as int128."""

_MAX_PROTOCOL_FEE_PIPS = 1_000

_VENUE = 4
"""Its number in RouteExecutor."""

_NO_HOOKS = "0x" + "0" * 40


def pool_id(token0: str, token1: str, fee_pips: int, tick_spacing: int) -> str:
    """What PoolManager calls a pool without hooks: keccak of its key, 0x and 64 digits (PoolId.toId)."""
    words = int(token0, 16), int(token1, 16), fee_pips, tick_spacing, 0
    return "0x" + keccak(b"".join(word.to_bytes(32) for word in words)).hex()


def v4_hop(
    manager: str,
    amount_raw: int,
    token_in: str,
    token_out: str,
    fee_pips: int,
    tick_spacing: int,
    *,
    to_caller: bool,
    hooks: str = _NO_HOOKS,
    ether_in: bool = False,
    ether_out: bool = False,
) -> Hop:
    """A swap on a pool of Uniswap V4; where the pool holds ether, its token here is WETH and `ether_…` is true.

    Body: PoolManager (20), fee (3), tick spacing (3, signed), hooks (20).
    """
    body = address_bytes(manager) + number_bytes(fee_pips, 3, "fee")
    body += number_bytes(tick_spacing, 3, "tick spacing", signed=True) + address_bytes(hooks)
    flags = to_caller_flag(to_caller)
    flags |= (Flags.ETHER_IN if ether_in else 0) | (Flags.ETHER_OUT if ether_out else 0)
    return Hop(_VENUE, amount_raw, token_in, token_out, body, flags)


@dataclass(frozen=True)
class UniswapV4Pool:
    """One state of one pool; satisfies `rebalancer.pools.Pool`.

    `profile` carries the providers' fee; `protocol_fees_pips` are the protocol's when token0 is
    sold and when token1 is. The rest is as in `UniswapV3Pool`.

    Raises:
        BadPoolSnapshot: the state contradicts itself.
    """

    PROTOCOL: ClassVar[str] = "Uniswap V4"
    BUYS_EXACTLY: ClassVar[bool] = False

    manager: str
    token0: Token
    token1: Token
    profile: TickProfile
    sqrt_price_x96: int
    tick: int
    liquidity: int
    protocol_fees_pips: tuple[int, int] = (0, 0)
    chain_id: int = 1
    block: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "manager", address_key(self.manager))
        for fee_pips in self.protocol_fees_pips:
            if not 0 <= fee_pips <= _MAX_PROTOCOL_FEE_PIPS:
                raise BadPoolSnapshot(
                    f"protocol fee {fee_pips} is not in 0 … {_MAX_PROTOCOL_FEE_PIPS} millionths"
                )
        _ = self._down, self._up  # which check the rest

    @property
    def address(self) -> str:
        """The PoolManager, where all pools are; `pool_id` tells them apart."""
        return self.manager

    @property
    def key(self) -> str:
        """The pool's id."""
        return self.pool_id

    @cached_property
    def pool_id(self) -> str:
        """0x and 64 digits."""
        tokens = self.token0.address, self.token1.address
        return pool_id(*tokens, self.profile.fee_pips, self.tick_spacing)

    @property
    def tokens(self) -> tuple[Token, Token]:
        """token0 and token1; ether, at address zero, can only be the first."""
        return self.token0, self.token1

    @property
    def holder(self) -> str:
        """The PoolManager."""
        return self.manager

    @property
    def fee_pips(self) -> int:
        """The part of the input that stays behind, in millionths; the smaller where directions differ."""
        return min(self._down.fee_pips, self._up.fee_pips)

    @property
    def tick_spacing(self) -> int:
        """Ticks between two that can hold liquidity."""
        return self.profile.tick_spacing

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals V4Quoter.quoteExactInputSingle."""
        return _booked(amount_raw, self._side(token_in).quote_in(token_in, token_out, amount_raw))

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. Equals V4Quoter.quoteExactOutputSingle."""
        return _booked(amount_raw, self._side(token_in).quote_out(token_in, token_out, amount_raw))

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, UniswapV4Pool]:
        """See `Pool.swapped`."""
        out, end = self._side(token_in).swapped(token_in, token_out, amount_raw)
        after = replace(
            self, sqrt_price_x96=end.sqrt_price_x96, tick=end.tick, liquidity=end.liquidity
        )
        return _booked(amount_raw, out), after

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`."""
        return self._down.spot_price(token_in, token_out)

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`."""
        return self._side(token_in).flow_to(token_in, token_out, marginal)

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`.

        Raises:
            UnsupportedPool: it holds ether, which routes know wrapped alone (see `WrappedEtherPool`).
        """
        i, j = places_of(self.key, self.tokens, token_in, token_out)
        if self.token0.address == ETHER_ADDRESS:
            raise UnsupportedPool(f"{self.PROTOCOL} with ether, before they are wrapped,")
        ends = self.tokens[i].address, self.tokens[j].address
        return self.hop_as(*ends, amount_raw, to_caller=to_caller)

    def hop_as(
        self,
        token_in: str,
        token_out: str,
        amount_raw: int,
        *,
        to_caller: bool,
        ether_in: bool = False,
        ether_out: bool = False,
    ) -> Hop:
        """The hop for tokens by the names that routes have for them."""
        return v4_hop(
            self.manager,
            amount_raw,
            token_in,
            token_out,
            self.profile.fee_pips,
            self.tick_spacing,
            to_caller=to_caller,
            ether_in=ether_in,
            ether_out=ether_out,
        )

    def to_json(self) -> dict[str, object]:
        """The snapshot that `rebalancer.pools.load` reads back as an equal pool."""
        return {
            "chain_id": self.chain_id,
            "block": self.block,
            "pool_id": self.pool_id,
            "name": self.name,
            "pool_manager": self.manager,
            "scalars": {
                "fee": self.profile.fee_pips,
                "tick_spacing": self.tick_spacing,
                "sqrt_price_x96": self.sqrt_price_x96,
                "tick": self.tick,
                "liquidity": self.liquidity,
                "protocol_fee_zero_for_one": self.protocol_fees_pips[0],
                "protocol_fee_one_for_zero": self.protocol_fees_pips[1],
            },
            "tick_data": self.profile.to_json(self.block),
            "token0": self.token0.to_json(),
            "token1": self.token1.to_json(),
        }

    @cached_property
    def _down(self) -> UniswapV3Pool:
        return self._twin(self.protocol_fees_pips[0])

    @cached_property
    def _up(self) -> UniswapV3Pool:
        return self._twin(self.protocol_fees_pips[1])

    def _twin(self, protocol_fee_pips: int) -> UniswapV3Pool:
        """The pool of V3 that moves as this one does in a direction with that protocol fee."""
        return UniswapV3Pool(
            self.manager,
            self.token0,
            self.token1,
            _with_protocol_fee(self.profile, protocol_fee_pips)
            if protocol_fee_pips
            else self.profile,
            self.sqrt_price_x96,
            self.tick,
            self.liquidity,
        )

    def _side(self, token_in: str) -> UniswapV3Pool:
        return self._down if token_in.lower() == self.token0.address else self._up


@lru_cache(maxsize=64)
def _with_protocol_fee(profile: TickProfile, protocol_fee_pips: int) -> TickProfile:
    """Shared by all states of a pool, as the profile itself is."""
    # ProtocolFeeLibrary.calculateSwapFee: the providers' fee is of what the protocol leaves. Up.
    fees_pips = protocol_fee_pips + profile.fee_pips
    return replace(profile, fee_pips=fees_pips - protocol_fee_pips * profile.fee_pips // PIPS)


def _booked(amount_raw: int, other_raw: int) -> int:
    """The other side of a swap that PoolManager can book."""
    for raw in (amount_raw, other_raw):
        if raw >> _BOOKED_BITS:
            raise BadAmount(raw, _BOOKED_BITS)
    return other_raw
