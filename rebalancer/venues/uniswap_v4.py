"""Uniswap V4 pool without hooks: state, exact quotes of any swap, and the resulting state.

PoolManager of v4-core 1.0.2 processes ticks exactly as a Uniswap V3 pool, so `uniswap_v3` does all computations.
Differences: a pool has no address, only an id in the PoolManager. A token may be ether, at address zero. The protocol
may take a fee of its own for each direction, before the providers' fee. No amount of a swap may exceed 2^127 - 1
(`BadAmount`).

Pools with hooks are never read, because hooks can change anything. Of the pools without hooks, two kinds that only V4
allows are rejected: a spacing above 16,383 ticks, and a fee of 100 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from eth_utils.crypto import keccak

from rebalancer.abi import Contract, Event
from rebalancer.errors import BadAmount, BadPoolSnapshot, UnknownToken, UnsupportedPool
from rebalancer.route import Flags, Hop, address_bytes, number_bytes, to_caller_flag
from rebalancer.units import PIPS
from rebalancer.venues.fields import Snapshot, int_of, object_of, text_of, token_of
from rebalancer.venues.model import (
    ETHER_ADDRESS,
    LogSource,
    Pool,
    PoolDefaults,
    PoolRef,
    Stretches,
    Token,
    address_key,
    refs_of,
)
from rebalancer.venues.reading import At, Reading, Venue, each, interface_of, tokens_read
from rebalancer.venues.uniswap_v3 import (
    RangePool,
    TickProfile,
    UniswapV3Pool,
    moved_range,
    range_fields,
    range_pool_of,
)
from rebalancer.venues.uniswap_v3_math import MAX_TICK

__all__ = ["MANAGER", "VENUE", "UniswapV4Pool", "WrappedEtherPool", "pool_id", "v4_hop", "v4_ref"]

_BOOKED_BITS = 127
"""PoolManager stores the amounts of a swap as int128."""

_MAX_PROTOCOL_FEE_PIPS = 1_000

_NUMBER = 4
"""Venue number in RouteExecutor."""

_SLOTS = 1_000
"""Slots per extsload: about two million gas and 32 kB of call data."""

_POOLS_SLOT = 6
_LIQUIDITY_AT, _TICKS_AT, _BITMAP_AT = 3, 4, 5
"""Slot of PoolManager._pools, and slots of members of Pool.State."""

_WORD_BITS = 256
_FEE_KEYS = ("protocol_fee_zero_for_one", "protocol_fee_one_for_zero")
"""Snapshot keys of the protocol's fees."""

MANAGER = interface_of(
    "Uniswap V4 PoolManager",
    (
        "extsload(bytes32[]) -> bytes32[]",
        "event Initialize(bytes32 indexed id, address indexed currency0, address indexed currency1, uint24 fee, int24 tickSpacing, address hooks, uint160 sqrtPriceX96, int24 tick)",
        "event Swap(bytes32 indexed id, address indexed sender, int128 amount0, int128 amount1, uint160 sqrtPriceX96, uint128 liquidity, int24 tick, uint24 fee)",
        "event ModifyLiquidity(bytes32 indexed id, address indexed sender, int24 tickLower, int24 tickUpper, int256 liquidityDelta, bytes32 salt)",
        "event ProtocolFeeUpdated(bytes32 indexed id, uint24 protocolFee)",
    ),
)

_NO_HOOKS = "0x" + "0" * 40


def pool_id(token0: str, token1: str, fee_pips: int, tick_spacing: int) -> str:
    """Id of a pool without hooks in PoolManager: keccak of its key, 0x and 64 digits (PoolId.toId)."""
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
    """A swap on a Uniswap V4 pool. If the pool holds ether, its token here is WETH and `ether_in` or `ether_out` is
    true.

    Body: PoolManager (20), fee (3), tick spacing (3, signed), hooks (20).
    """
    body = address_bytes(manager) + number_bytes(fee_pips, 3, "fee")
    body += number_bytes(tick_spacing, 3, "tick spacing", signed=True) + address_bytes(hooks)
    flags = to_caller_flag(to_caller)
    flags |= (Flags.ETHER_IN if ether_in else 0) | (Flags.ETHER_OUT if ether_out else 0)
    return Hop(_NUMBER, amount_raw, token_in, token_out, body, flags)


def v4_ref(manager: str, token0: str, token1: str, fee_pips: int, tick_spacing: int) -> PoolRef:
    """Reference to a pool without hooks; ether is address zero."""
    key = pool_id(token0, token1, fee_pips, tick_spacing)
    return PoolRef(manager, (token0, token1), fee_pips, VENUE.name, tick_spacing, key)


@dataclass(frozen=True)
class UniswapV4Pool(RangePool):
    """One state of one pool; implements `PoolState`.

    `profile` has the providers' fee; `protocol_fees_pips` are the protocol's fees for sales of token0 and of token1.
    The rest is as in `UniswapV3Pool`.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    KIND: ClassVar[str] = "Uniswap V4"
    VENUE_NAME: ClassVar[str] = "uniswap-v4"
    SNAPSHOT_KEY: ClassVar[str] = "pool_manager"

    manager: str
    token0: Token
    token1: Token
    profile: TickProfile
    sqrt_price_x96: int
    tick: int
    liquidity: int
    protocol_fees_pips: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "manager", address_key(self.manager))
        for fee_pips in self.protocol_fees_pips:
            if not 0 <= fee_pips <= _MAX_PROTOCOL_FEE_PIPS:
                raise BadPoolSnapshot(f"protocol fee {fee_pips} is not in 0 … {_MAX_PROTOCOL_FEE_PIPS} millionths")
        _ = self._down, self._up  # they check the other fields

    @property
    def address(self) -> str:  # type: ignore[override]  # the field is `manager`
        """The PoolManager, which holds all pools; `pool_id` identifies the pool."""
        return self.manager

    @property
    def key(self) -> str:
        """The pool's id."""
        return self.pool_id

    @cached_property
    def pool_id(self) -> str:
        """The pool's id: 0x and 64 digits."""
        tokens = self.token0.address, self.token1.address
        return pool_id(*tokens, self.profile.fee_pips, self.tick_spacing)

    @property
    def fee_pips(self) -> int:
        """Total fee on the input, in millionths; the smaller one if directions differ."""
        return min(self._down.fee_pips, self._up.fee_pips)

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals V4Quoter.quoteExactInputSingle."""
        return _booked(amount_raw, self._side(token_in).quote_in(token_in, token_out, amount_raw))

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. Equals V4Quoter.quoteExactOutputSingle."""
        return _booked(amount_raw, self._side(token_in).quote_out(token_in, token_out, amount_raw))

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, UniswapV4Pool]:
        """See `Pool.swapped`."""
        out, end = self._side(token_in).swapped(token_in, token_out, amount_raw)
        after = replace(self, sqrt_price_x96=end.sqrt_price_x96, tick=end.tick, liquidity=end.liquidity)
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
            UnsupportedPool: the pool holds ether, which routes support only in wrapped form (see `WrappedEtherPool`).
        """
        ends = self._ends(token_in, token_out)
        if self.token0.address == ETHER_ADDRESS:
            raise UnsupportedPool(f"{self.kind} with unwrapped ether")
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
        """The hop with the token names of routes."""
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

    @property
    def _fees_pips(self) -> tuple[int, int]:
        """Total fees of a falling and of a rising swap, including the protocol's (ProtocolFeeLibrary), in
        millionths."""
        fee_pips = self.profile.fee_pips
        down, up = (protocol + fee_pips - protocol * fee_pips // PIPS for protocol in self.protocol_fees_pips)
        return down, up

    @property
    def ref(self) -> PoolRef:
        """See `PoolState.ref`."""
        tokens = self.token0.address, self.token1.address
        return v4_ref(self.manager, *tokens, self.profile.fee_pips, self.tick_spacing)

    @property
    def log_sources(self) -> tuple[LogSource, ...]:
        """The PoolManager, filtered by the pool's id."""
        return (LogSource(self.manager, MANAGER, self.pool_id),)

    def moved(self, events: Sequence[Event]) -> UniswapV4Pool:
        """See `PoolState.moved`."""
        fees = self.protocol_fees_pips
        for event in events:
            if event.name == "ProtocolFeeUpdated":
                packed = event.values["protocolFee"]
                fees = packed & 0xFFF, packed >> 12
        return replace(self, **moved_range(self, events), protocol_fees_pips=fees)

    def as_traded(self, weth: Token | None) -> Pool:  # type: ignore[override]  # another class if it holds ether
        """See `PoolState.as_traded`."""
        if self.token0.address != ETHER_ADDRESS:
            return self
        if weth is None:
            raise UnsupportedPool(f"{self.kind} with ether, without a known wrapped token")
        return WrappedEtherPool(self, weth)

    def to_json(self) -> dict[str, Any]:
        """See `PoolState.to_json`."""
        found = super().to_json()
        found["scalars"] |= dict(zip(_FEE_KEYS, self.protocol_fees_pips, strict=True))
        return found | {"pool_id": self.pool_id}

    @cached_property
    def _down(self) -> UniswapV3Pool:
        return self._twin(self.protocol_fees_pips[0])

    @cached_property
    def _up(self) -> UniswapV3Pool:
        return self._twin(self.protocol_fees_pips[1])

    def _twin(self, protocol_fee_pips: int) -> UniswapV3Pool:
        """The V3 pool with the same behaviour in the direction of that protocol fee."""
        return UniswapV3Pool(
            self.manager,
            self.token0,
            self.token1,
            _with_protocol_fee(self.profile, protocol_fee_pips) if protocol_fee_pips else self.profile,
            self.sqrt_price_x96,
            self.tick,
            self.liquidity,
        )

    def _side(self, token_in: str) -> UniswapV3Pool:
        return self._down if token_in.lower() == self.token0.address else self._up


@lru_cache(maxsize=64)
def _with_protocol_fee(profile: TickProfile, protocol_fee_pips: int) -> TickProfile:
    """A profile with the total fee. Cached, so that all states of a pool share it."""
    # ProtocolFeeLibrary.calculateSwapFee: the providers' fee applies to what the protocol leaves. Up.
    fees_pips = protocol_fee_pips + profile.fee_pips
    return replace(profile, fee_pips=fees_pips - protocol_fee_pips * profile.fee_pips // PIPS)


def _booked(amount_raw: int, other_raw: int) -> int:
    """The other amount of a swap, if both fit into PoolManager's int128."""
    for raw in (amount_raw, other_raw):
        if raw >> _BOOKED_BITS:
            raise BadAmount(raw, _BOOKED_BITS)
    return other_raw


@dataclass(frozen=True)
class WrappedEtherPool(PoolDefaults):
    """A Uniswap V4 pool that holds ether, traded with `weth`; implements `Pool`.

    Routes, vaults and plans use only tokens. RouteExecutor unwraps the pool's input and wraps its output, one for one,
    so the pool quotes WETH as it quotes ether. The pool does not accept ether itself: it raises `UnknownToken`.

    Raises:
        UnsupportedPool: the pool holds no ether, or its other token is the wrapped token.
    """

    pool: UniswapV4Pool
    weth: Token

    def __post_init__(self) -> None:
        if self.pool.token0.address != ETHER_ADDRESS:
            raise UnsupportedPool(f"{self.pool.kind} without ether")
        if self.pool.token1.address == self.weth.address:
            raise UnsupportedPool(f"{self.pool.kind} of ether and wrapped ether")

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
        """The wrapped token in place of ether, and the other token."""
        return self.weth, self.pool.token1

    @property
    def holder(self) -> str:
        """The PoolManager."""
        return self.address

    @property
    def fee_pips(self) -> int:
        """See `Pool.fee_pips`."""
        return self.pool.fee_pips

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`."""
        return self.pool.quote_in(*self._inner(token_in, token_out), amount_raw)

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`."""
        return self.pool.quote_out(*self._inner(token_in, token_out), amount_raw)

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, WrappedEtherPool]:
        """See `Pool.swapped`."""
        out, after = self.pool.swapped(*self._inner(token_in, token_out), amount_raw)
        return out, replace(self, pool=after)

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`."""
        return self.pool.spot_price(*self._inner(token_in, token_out))

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`."""
        return self.pool.flow_to(*self._inner(token_in, token_out), marginal)

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`."""
        i, j = refs_of(self.key, self.tokens, token_in, token_out)
        ends = self.tokens[i].address, self.tokens[j].address
        return self.pool.hop_as(*ends, amount_raw, to_caller=to_caller, ether_in=i == 0, ether_out=j == 0)

    def shape(self, token_in: str, token_out: str) -> Stretches:
        """See `Pool.shape`."""
        return self.pool.shape(*self._inner(token_in, token_out))

    def at_prices(self, prices_e8: Sequence[int]) -> WrappedEtherPool:
        """See `Pool.at_prices`."""
        return replace(self, pool=self.pool.at_prices(prices_e8))

    def arbitraged(self, prices_e8: Sequence[int]) -> WrappedEtherPool:
        """See `Pool.arbitraged`."""
        inner = self.pool.arbitraged(prices_e8)
        return self if inner is self.pool else replace(self, pool=inner)

    def _inner(self, token_in: str, token_out: str) -> tuple[str, str]:
        """The two tokens with the pool's own addresses."""
        sold, bought, other = token_in.lower(), token_out.lower(), self.pool.token1.address
        if sold == self.weth.address and bought == other:
            return ETHER_ADDRESS, other
        if sold == other and bought == self.weth.address:
            return other, ETHER_ADDRESS
        raise UnknownToken(self.key, token_in, token_out)


def _load(snapshot: Snapshot) -> UniswapV4Pool:
    scalars = object_of(snapshot, "scalars")
    token0, token1 = (token_of(snapshot, key).address for key in ("token0", "token1"))
    # Hooks and dynamic fees are part of the id, so a matching id proves that there are none.
    bare = pool_id(token0, token1, int_of(scalars, "fee"), int_of(scalars, "tick_spacing"))
    if text_of(snapshot, "pool_id").lower() != bare:
        raise BadPoolSnapshot(f"pool_id {snapshot['pool_id']} is not {bare}, the id of such a pool without hooks")
    fees = tuple(int_of(scalars, key) for key in _FEE_KEYS)
    return range_pool_of(UniswapV4Pool, snapshot, manager=text_of(snapshot, "pool_manager"), protocol_fees_pips=fees)


def _read(at: At, ref: PoolRef) -> Reading[UniswapV4Pool]:
    """Read a pool without hooks, by its key in its manager."""
    if not _takes(ref):
        raise BadPoolSnapshot("a Uniswap V4 pool is identified by its key, not by an address")
    manager, spacing = MANAGER.at(ref.address), ref.tick_spacing
    state = int.from_bytes(keccak(bytes.fromhex(ref.key[2:]) + _POOLS_SLOT.to_bytes(32)))
    slot0, liquidity = yield from _slots(at, manager, [state, state + _LIQUIDITY_AT])
    if slot0 == 0:
        raise UnsupportedPool(f"Uniswap V4 pool that {ref.address} does not know, {ref.key}")
    last = MAX_TICK // spacing // _WORD_BITS + 1
    refs = range(-last, last + 1)
    words = yield from _slots(at, manager, [_mapped(word, state + _BITMAP_AT) for word in refs])
    ticks = [
        (word * _WORD_BITS + bit) * spacing
        for word, map_ in zip(refs, words, strict=True)
        for bit in range(_WORD_BITS)
        if map_ >> bit & 1
    ]
    values = yield from _slots(at, manager, [_mapped(tick, state + _TICKS_AT) for tick in ticks])
    tokens = yield from tokens_read(at, ref.tokens)
    protocol_fees = slot0 >> 184 & 0xFFFFFF
    ranged = (ref.fee_pips, spacing, slot0 & (1 << 160) - 1, _signed(slot0 >> 160, 24), liquidity & (1 << 128) - 1)
    rows = (
        (tick, value & (1 << 128) - 1, _signed(value >> 128, 128)) for tick, value in zip(ticks, values, strict=True)
    )
    fields = range_fields(ranged, rows, tokens, at.block.number)
    fields["scalars"] |= dict(zip(_FEE_KEYS, (protocol_fees & 0xFFF, protocol_fees >> 12), strict=True))
    head = at.head(f"Uniswap V4 {tokens[0].symbol}/{tokens[1].symbol} {ref.fee_pips / 10_000:g}%")
    return _load({**head, "pool_id": ref.key, "pool_manager": ref.address, **fields})


def _slots(at: At, manager: Contract, slots: Sequence[int]) -> Reading[list[int]]:
    """Words of PoolManager's storage."""
    if not slots:
        return []
    parts = [slots[start : start + _SLOTS] for start in range(0, len(slots), _SLOTS)]
    answers = yield [at.ask(manager, "extsload", [slot.to_bytes(32) for slot in part]) for part in parts]
    words = [manager.result("extsload", answer) for answer in answers]
    return [int.from_bytes(word) for part in words for word in part]


def _mapped(key: int, slot: int) -> int:
    """Storage slot of a Solidity mapping's value, by an integer key."""
    return int.from_bytes(keccak(key.to_bytes(32, signed=True) + slot.to_bytes(32)))


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _takes(ref: PoolRef) -> bool:
    if len(ref.tokens) != 2 or not 0 <= ref.fee_pips < PIPS or ref.tick_spacing <= 0:
        return False
    token0, token1 = ref.tokens
    return ref.key == pool_id(token0, token1, ref.fee_pips, ref.tick_spacing)


VENUE = Venue(
    name=UniswapV4Pool.VENUE_NAME,
    kinds=(UniswapV4Pool.KIND,),
    snapshot_key=UniswapV4Pool.SNAPSHOT_KEY,
    load=_load,
    read=each(_read),
    mark=None,
    takes=_takes,
)
