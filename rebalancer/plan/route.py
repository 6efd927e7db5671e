"""Routes as RouteExecutor reads them: typed hops to bytes and back.

A route is its hops one after another, without a length in front. Each hop is

    venue (1 byte) ‖ amount in (16; 0 means all the executor holds of it) ‖ token in (20) ‖ target (20) ‖ flags (1) ‖ body

    venue 1, a Uniswap V3 pool itself:  nothing
    venue 2, SwapRouter02:              number of pools k (1) ‖ path (20 + 23 k)
    venue 3, a Uniswap V2 pair itself:  fee in basis points (2)
    venue 4, Uniswap V4's PoolManager:  token out (20) ‖ fee (3) ‖ tick spacing (3, signed) ‖ hooks (20)
    venue 5, Balancer V2's Vault:       token out (20) ‖ pool id (32)
    venue 6, a Curve pool:              token out (20) ‖ i (1) ‖ j (1)
    venue 7, any call:                  spender (20) ‖ token out (20) ‖ offset of the amount (2) ‖ length (2) ‖ data
    venue 8, a Uniswap V3 pool, by out: nothing; the amount is what comes out of it

Flag bit 0: token0 is sold for token1 (venues 1, 3 and 8). Flag bit 1: the output goes straight to the
caller; otherwise the executor keeps it for a later hop (always, at venue 6). Bits 2 and 3: token in
and token out are WETH, but the pool holds, or the call takes and brings, ether (venues 4 and 7). Bit 4: the pool counts its coins with
uint256 (venue 6). Bit 5: the spender is paid ahead of the call instead of being allowed to take the
amount (venue 7). All numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rebalancer.errors import BadRoute

__all__ = [
    "BalancerHop",
    "BuyHop",
    "CallHop",
    "CurveHop",
    "Hop",
    "PairHop",
    "PoolHop",
    "RouterHop",
    "SellHop",
    "V4Hop",
    "decode",
    "encode",
]

_POOL, _ROUTER, _PAIR, _V4, _BALANCER, _CURVE, _CALL, _POOL_OUT = range(1, 9)
_ZERO_FOR_ONE, _TO_CALLER, _ETHER_IN, _ETHER_OUT, _UNSIGNED, _PAID_FIRST = (
    1 << bit for bit in range(6)
)
_FLAGS = {
    _POOL: _ZERO_FOR_ONE | _TO_CALLER,
    _POOL_OUT: _ZERO_FOR_ONE | _TO_CALLER,
    _ROUTER: _TO_CALLER,
    _PAIR: _ZERO_FOR_ONE | _TO_CALLER,
    _V4: _TO_CALLER | _ETHER_IN | _ETHER_OUT,
    _BALANCER: _TO_CALLER,
    _CURVE: _UNSIGNED,
    _CALL: _TO_CALLER | _ETHER_IN | _ETHER_OUT | _PAID_FIRST,
}
"""The flags each venue knows."""

_ADDRESS, _AMOUNT, _FEE, _POOL_ID, _WORD = 20, 16, 3, 32, 32
_MAX_AMOUNT_RAW = (1 << 8 * _AMOUNT) - 1
_MAX_POOLS = 255
_NOWHERE = 0xFFFF
_NOBODY = "0x" + "0" * 40
_BPS = 10_000


@dataclass(frozen=True, slots=True)
class PoolHop:
    """One swap on a Uniswap V3 pool. Addresses are lower-case; an amount of 0 means all of it."""

    amount_in_raw: int
    token_in: str
    pool: str
    zero_for_one: bool
    to_caller: bool


@dataclass(frozen=True, slots=True)
class BuyHop:
    """One purchase on a Uniswap V3 pool: exactly this comes out, and as much goes in as it costs."""

    amount_out_raw: int
    token_in: str
    pool: str
    zero_for_one: bool
    to_caller: bool


@dataclass(frozen=True, slots=True)
class RouterHop:
    """One swap along a path by SwapRouter02: k + 1 tokens, the first of them sold, and k fees."""

    amount_in_raw: int
    router: str
    path: tuple[str, ...]
    fees_pips: tuple[int, ...]
    to_caller: bool

    @property
    def token_in(self) -> str:
        """The token that is sold."""
        return self.path[0]


@dataclass(frozen=True, slots=True)
class PairHop:
    """One swap on a pair of Uniswap V2 (30 bps) or of a fork, whose fee is below 10,000 bps."""

    amount_in_raw: int
    token_in: str
    pair: str
    zero_for_one: bool
    to_caller: bool
    fee_bps: int = 30


@dataclass(frozen=True, slots=True)
class V4Hop:
    """One swap on a pool of Uniswap V4. Where the pool holds ether, its token is WETH and `ether_…` is true."""

    amount_in_raw: int
    token_in: str
    manager: str
    token_out: str
    fee_pips: int
    tick_spacing: int
    hooks: str
    to_caller: bool
    ether_in: bool = False
    ether_out: bool = False


@dataclass(frozen=True, slots=True)
class BalancerHop:
    """One swap on a pool of Balancer V2; `pool_id` is 0x and 64 digits."""

    amount_in_raw: int
    token_in: str
    vault: str
    token_out: str
    pool_id: str
    to_caller: bool


@dataclass(frozen=True, slots=True)
class CurveHop:
    """One swap of coin i for coin j on a Curve pool; `unsigned` for those of the crypto kind. The executor keeps the result."""

    amount_in_raw: int
    token_in: str
    pool: str
    token_out: str
    i: int
    j: int
    unsigned: bool

    @property
    def to_caller(self) -> bool:
        """Never: not all of Curve's pools can pay anybody but who asks."""
        return False


@dataclass(frozen=True, slots=True)
class CallHop:
    """One call to anywhere, while `spender` (None: nobody) may take the amount, or once it was paid that.

    Where the call is paid in ether, its token is WETH, `ether_in` is true and nobody spends; the same with what it brings.
    The amount is written over the 32 bytes of `data` from `amount_offset` on; None leaves the data as it is.
    """

    amount_in_raw: int
    token_in: str
    target: str
    spender: str | None
    token_out: str
    amount_offset: int | None
    data: bytes
    to_caller: bool
    paid_first: bool = False
    ether_in: bool = False
    ether_out: bool = False


SellHop = PoolHop | RouterHop | PairHop | V4Hop | BalancerHop | CurveHop | CallHop
Hop = SellHop | BuyHop


def encode(hops: Sequence[Hop]) -> bytes:
    """The bytes of a route.

    Raises:
        BadRoute: a hop does not fit the encoding; `position` is its index.
    """
    route = bytearray()
    for position, hop in enumerate(hops):
        amount_raw = hop.amount_out_raw if isinstance(hop, BuyHop) else hop.amount_in_raw
        if not 0 <= amount_raw <= _MAX_AMOUNT_RAW:
            raise BadRoute(position, f"amount {amount_raw} does not fit 16 bytes")
        venue, target, flags, body = _parts(hop, position)
        route.append(venue)
        route += amount_raw.to_bytes(_AMOUNT)
        route += _address(hop.token_in, position)
        route += _address(target, position)
        route.append(flags)
        route += body
    return bytes(route)


def decode(route: bytes) -> tuple[Hop, ...]:
    """The hops of a route.

    Raises:
        BadRoute: the bytes are not a route; `position` is the byte where that shows.
    """
    hops: list[Hop] = []
    reader = _Reader(route)
    while reader.at < len(route):
        start = reader.at
        venue = reader.number(1)
        if venue not in _FLAGS:
            raise BadRoute(start, f"venue {venue} is not known")
        amount_in_raw = reader.number(_AMOUNT)
        token_in = reader.address()
        target = reader.address()
        flags_at = reader.at
        flags = reader.number(1)
        if flags & ~_FLAGS[venue]:
            raise BadRoute(flags_at, f"flags {flags:#04x} are not known")
        hops.append(_read_hop(reader, start, venue, amount_in_raw, token_in, target, flags))
    return tuple(hops)


def _parts(hop: Hop, position: int) -> tuple[int, str, int, bytes]:
    """Venue, target, flags and body of a hop."""

    def address(text: str) -> bytes:
        return _address(text, position)

    def number(value: int, size: int, name: str, *, signed: bool = False) -> bytes:
        try:
            return value.to_bytes(size, signed=signed)
        except OverflowError:
            raise BadRoute(position, f"{name} {value} does not fit {size} bytes") from None

    match hop:
        case PoolHop():
            return _POOL, hop.pool, _swap_flags(hop), b""
        case BuyHop():
            return _POOL_OUT, hop.pool, _swap_flags(hop), b""
        case RouterHop():
            packed = _pack_path(hop, position)
            body = bytes([len(hop.fees_pips)]) + packed
            return _ROUTER, hop.router, _to_caller(hop.to_caller), body
        case PairHop():
            if not 0 <= hop.fee_bps < _BPS:
                raise BadRoute(position, f"fee {hop.fee_bps} is not below {_BPS} bps")
            return _PAIR, hop.pair, _swap_flags(hop), hop.fee_bps.to_bytes(2)
        case V4Hop():
            flags = _to_caller(hop.to_caller) | _ether_flags(hop)
            body = address(hop.token_out) + number(hop.fee_pips, _FEE, "fee")
            body += number(hop.tick_spacing, _FEE, "tick spacing", signed=True)
            return _V4, hop.manager, flags, body + address(hop.hooks)
        case BalancerHop():
            body = address(hop.token_out) + _hex(hop.pool_id, _POOL_ID, "a pool's id", position)
            return _BALANCER, hop.vault, _to_caller(hop.to_caller), body
        case CurveHop():
            body = address(hop.token_out) + number(hop.i, 1, "coin") + number(hop.j, 1, "coin")
            return _CURVE, hop.pool, _UNSIGNED if hop.unsigned else 0, body
        case CallHop():
            offset = _NOWHERE if hop.amount_offset is None else hop.amount_offset
            if offset != _NOWHERE and not 0 <= offset <= len(hop.data) - _WORD:
                raise BadRoute(
                    position, f"{len(hop.data)} bytes have no room for an amount at {offset}"
                )
            body = address(hop.spender or _NOBODY) + address(hop.token_out)
            body += offset.to_bytes(2) + number(len(hop.data), 2, "length of the data") + hop.data
            _check_spender(hop, position)
            flags = _to_caller(hop.to_caller) | (_PAID_FIRST if hop.paid_first else 0)
            flags |= _ether_flags(hop)
            return _CALL, hop.target, flags, body


def _read_hop(
    reader: _Reader,
    start: int,
    venue: int,
    amount_in_raw: int,
    token_in: str,
    target: str,
    flags: int,
) -> Hop:
    """What follows the head of a hop."""
    zero_for_one, to_caller = bool(flags & _ZERO_FOR_ONE), bool(flags & _TO_CALLER)
    if venue == _POOL:
        return PoolHop(amount_in_raw, token_in, target, zero_for_one, to_caller)
    if venue == _POOL_OUT:
        return BuyHop(amount_in_raw, token_in, target, zero_for_one, to_caller)
    if venue == _ROUTER:
        path, fees_pips = _read_path(reader)
        if path[0] != token_in:
            raise BadRoute(start, f"the path starts with {path[0]}, not with {token_in}")
        return RouterHop(amount_in_raw, target, path, fees_pips, to_caller)
    if venue == _PAIR:
        fee_at = reader.at
        fee_bps = reader.number(2)
        if fee_bps >= _BPS:
            raise BadRoute(fee_at, f"fee {fee_bps} is not below {_BPS} bps")
        return PairHop(amount_in_raw, token_in, target, zero_for_one, to_caller, fee_bps)
    if venue == _CALL:
        spender_at = reader.at
        spender = reader.address()
        token_out = reader.address()
        offset_at = reader.at
        offset, length = reader.number(2), reader.number(2)
        if offset != _NOWHERE and offset + _WORD > length:
            raise BadRoute(offset_at, f"{length} bytes have no room for an amount at {offset}")
        call = CallHop(
            amount_in_raw,
            token_in,
            target,
            None if spender == _NOBODY else spender,
            token_out,
            None if offset == _NOWHERE else offset,
            reader.take(length),
            to_caller,
            paid_first=bool(flags & _PAID_FIRST),
            ether_in=bool(flags & _ETHER_IN),
            ether_out=bool(flags & _ETHER_OUT),
        )
        _check_spender(call, spender_at)
        return call
    token_out = reader.address()
    if venue == _V4:
        fee_pips = reader.number(_FEE)
        tick_spacing = int.from_bytes(reader.take(_FEE), signed=True)
        hooks = reader.address()
        return V4Hop(
            amount_in_raw,
            token_in,
            target,
            token_out,
            fee_pips,
            tick_spacing,
            hooks,
            to_caller,
            ether_in=bool(flags & _ETHER_IN),
            ether_out=bool(flags & _ETHER_OUT),
        )
    if venue == _BALANCER:
        pool_id = "0x" + reader.take(_POOL_ID).hex()
        return BalancerHop(amount_in_raw, token_in, target, token_out, pool_id, to_caller)
    i, j = reader.number(1), reader.number(1)
    return CurveHop(amount_in_raw, token_in, target, token_out, i, j, bool(flags & _UNSIGNED))


def _to_caller(to_caller: bool) -> int:
    return _TO_CALLER if to_caller else 0


def _ether_flags(hop: V4Hop | CallHop) -> int:
    return (_ETHER_IN if hop.ether_in else 0) | (_ETHER_OUT if hop.ether_out else 0)


def _check_spender(hop: CallHop, position: int) -> None:
    if hop.paid_first and hop.spender is None:
        raise BadRoute(position, "nobody is named who is to be paid first")
    if hop.ether_in and hop.spender is not None:
        raise BadRoute(position, "a call that is paid in ether has no spender")


def _swap_flags(hop: PoolHop | BuyHop | PairHop) -> int:
    return _to_caller(hop.to_caller) | (_ZERO_FOR_ONE if hop.zero_for_one else 0)


def _pack_path(hop: RouterHop, position: int) -> bytes:
    """Uniswap's packed path: token, fee, token, fee, …, token."""
    if not 1 <= len(hop.fees_pips) <= _MAX_POOLS:
        raise BadRoute(position, f"a path has 1 to {_MAX_POOLS} pools, not {len(hop.fees_pips)}")
    if len(hop.path) != len(hop.fees_pips) + 1:
        raise BadRoute(
            position, f"{len(hop.fees_pips)} fees do not lie between {len(hop.path)} tokens"
        )
    packed = bytearray(_address(hop.path[0], position))
    for fee_pips, token in zip(hop.fees_pips, hop.path[1:], strict=True):
        if not 0 <= fee_pips < 1 << 8 * _FEE:
            raise BadRoute(position, f"fee {fee_pips} does not fit 3 bytes")
        packed += fee_pips.to_bytes(_FEE) + _address(token, position)
    return bytes(packed)


def _read_path(reader: _Reader) -> tuple[tuple[str, ...], tuple[int, ...]]:
    count_at = reader.at
    count = reader.number(1)
    if count == 0:
        raise BadRoute(count_at, "a path has at least one pool")
    path, fees_pips = [reader.address()], []
    for _ in range(count):
        fees_pips.append(reader.number(_FEE))
        path.append(reader.address())
    return tuple(path), tuple(fees_pips)


def _address(address: str, position: int) -> bytes:
    return _hex(address, _ADDRESS, "an address", position)


def _hex(text: str, size: int, name: str, position: int) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise BadRoute(position, f"{text!r} is not {name}")
    return raw


class _Reader:
    """A cursor over the bytes of a route."""

    def __init__(self, route: bytes) -> None:
        self._route = route
        self.at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def address(self) -> str:
        return "0x" + self.take(_ADDRESS).hex()

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self._route):
            raise BadRoute(start, f"the route ends after {len(self._route)} bytes, inside a hop")
        return self._route[start : self.at]
