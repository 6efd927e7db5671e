"""Routes as RouteExecutor reads them: typed hops to bytes and back.

A route is its hops one after another, without a length in front. Each hop is

    venue (1 byte) ‖ amount in (16; 0 means all the executor holds of it) ‖ token in (20) ‖ body

    venue 1, a Uniswap V3 pool itself:  pool (20) ‖ flags (1)
    venue 2, SwapRouter02:              router (20) ‖ flags (1) ‖ number of pools k (1) ‖ path (20 + 23 k)

Flag bit 0: token0 is sold for token1 (venue 1 only). Flag bit 1: the output goes straight to the
caller; otherwise the executor keeps it for a later hop. All numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rebalancer.errors import BadRoute

__all__ = ["Hop", "PoolHop", "RouterHop", "decode", "encode"]

_POOL, _ROUTER = 0x01, 0x02
_ZERO_FOR_ONE, _TO_CALLER = 0x01, 0x02
_ADDRESS, _AMOUNT, _FEE = 20, 16, 3
_MAX_AMOUNT_RAW = (1 << 8 * _AMOUNT) - 1
_MAX_POOLS = 255


@dataclass(frozen=True, slots=True)
class PoolHop:
    """One swap on a Uniswap V3 pool. Addresses are lower-case; an amount of 0 means all of it."""

    amount_in_raw: int
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


Hop = PoolHop | RouterHop


def encode(hops: Sequence[Hop]) -> bytes:
    """The bytes of a route.

    Raises:
        BadRoute: a hop does not fit the encoding; `position` is its index.
    """
    route = bytearray()
    for position, hop in enumerate(hops):
        if not 0 <= hop.amount_in_raw <= _MAX_AMOUNT_RAW:
            raise BadRoute(position, f"amount {hop.amount_in_raw} does not fit 16 bytes")
        flags = _TO_CALLER if hop.to_caller else 0
        if isinstance(hop, PoolHop):
            route.append(_POOL)
            body = _address(hop.pool, position)
            body += bytes([flags | (_ZERO_FOR_ONE if hop.zero_for_one else 0)])
        else:
            route.append(_ROUTER)
            packed = _pack_path(hop, position)
            body = _address(hop.router, position) + bytes([flags, len(hop.fees_pips)]) + packed
        route += hop.amount_in_raw.to_bytes(_AMOUNT)
        route += _address(hop.token_in, position)
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
        if venue not in (_POOL, _ROUTER):
            raise BadRoute(start, f"venue {venue} is not known")
        amount_in_raw = reader.number(_AMOUNT)
        token_in = reader.address()
        target = reader.address()
        flags_at = reader.at
        flags = reader.number(1)
        if flags & ~(_TO_CALLER | (_ZERO_FOR_ONE if venue == _POOL else 0)):
            raise BadRoute(flags_at, f"flags {flags:#04x} are not known")
        to_caller = bool(flags & _TO_CALLER)
        if venue == _POOL:
            zero_for_one = bool(flags & _ZERO_FOR_ONE)
            hops.append(PoolHop(amount_in_raw, token_in, target, zero_for_one, to_caller))
        else:
            path, fees_pips = _read_path(reader)
            if path[0] != token_in:
                raise BadRoute(start, f"the path starts with {path[0]}, not with {token_in}")
            hops.append(RouterHop(amount_in_raw, target, path, fees_pips, to_caller))
    return tuple(hops)


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
    try:
        raw = bytes.fromhex(address.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != _ADDRESS:
        raise BadRoute(position, f"{address!r} is not an address")
    return raw


class _Reader:
    """A cursor over the bytes of a route."""

    def __init__(self, route: bytes) -> None:
        self._route = route
        self.at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size))

    def address(self) -> str:
        return "0x" + self._take(_ADDRESS).hex()

    def _take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self._route):
            raise BadRoute(start, f"the route ends after {len(self._route)} bytes, inside a hop")
        return self._route[start : self.at]
