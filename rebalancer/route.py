"""Encoding of routes for RouteExecutor: hops to bytes and back.

A route is the concatenation of its hops, without a length prefix. Each hop has a head of 60 bytes and a body:

    venue (1 byte) ‖ amount (16) ‖ token in (20) ‖ token out (20) ‖ flags (1) ‖ length of the body (2) ‖ body

The amount is the input, where 0 means the executor's whole balance; with EXACT_OUT it is the output. All numbers are
big-endian. Only its venue knows the format of a body: see `contracts/venues` and `rebalancer/venues`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rebalancer.errors import BadRoute

__all__ = ["HEAD_BYTES", "Flags", "Hop", "address_bytes", "decode", "encode", "number_bytes", "to_caller_flag"]

_AMOUNT, _ADDRESS, _LENGTH = 16, 20, 2
HEAD_BYTES = 1 + _AMOUNT + 2 * _ADDRESS + 1 + _LENGTH
"""Size of the fixed part of a hop."""


class Flags:
    """Flag bits of a hop. The four bits without a name here belong to the venue."""

    EXACT_OUT = 1
    """The amount is the output; the swap takes the input it needs."""
    TO_CALLER = 2
    """The output goes directly to the caller; otherwise the executor keeps it for a later hop."""
    ETHER_IN = 4
    """The input token is WETH, and the venue takes ether."""
    ETHER_OUT = 8
    """The output token is WETH, and the venue pays ether."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One swap. Addresses are lower-case; `venue` is its number in RouteExecutor."""

    venue: int
    amount_raw: int
    token_in: str
    token_out: str
    body: bytes
    flags: int = 0

    @property
    def to_caller(self) -> bool:
        """Whether the output goes directly to the caller."""
        return bool(self.flags & Flags.TO_CALLER)

    @property
    def is_exact_out(self) -> bool:
        """Whether `amount_raw` is the output."""
        return bool(self.flags & Flags.EXACT_OUT)

    def buying(self, amount_out_raw: int) -> Hop:
        """The same swap with an exact output; only for pools with `Pool.BUYS_EXACTLY`."""
        return replace(self, amount_raw=amount_out_raw, flags=self.flags | Flags.EXACT_OUT)


def to_caller_flag(to_caller: bool) -> int:
    """`Flags.TO_CALLER` or 0."""
    return Flags.TO_CALLER if to_caller else 0


def address_bytes(address: str) -> bytes:
    """The 20 bytes of an address.

    Raises:
        ValueError: the text is not 0x and 40 hexadecimal digits.
    """
    try:
        raw = bytes.fromhex(address.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != _ADDRESS:
        raise ValueError(f"{address!r} is not an address")
    return raw


def number_bytes(value: int, size: int, name: str, *, signed: bool = False) -> bytes:
    """A number in `size` bytes, big-endian.

    Raises:
        ValueError: the number does not fit. The message begins with `name`.
    """
    try:
        return value.to_bytes(size, signed=signed)
    except OverflowError:
        raise ValueError(f"{name} {value} does not fit {size} bytes") from None


def encode(hops: Sequence[Hop]) -> bytes:
    """The bytes of a route.

    Raises:
        BadRoute: a hop does not fit the encoding; `position` is its index.
    """
    route = bytearray()
    for position, hop in enumerate(hops):
        try:
            route += number_bytes(hop.venue, 1, "venue")
            route += number_bytes(hop.amount_raw, _AMOUNT, "amount")
            route += address_bytes(hop.token_in) + address_bytes(hop.token_out)
            route += number_bytes(hop.flags, 1, "flags")
            route += number_bytes(len(hop.body), _LENGTH, "body length")
        except ValueError as error:
            raise BadRoute(position, str(error)) from None
        route += hop.body
    return bytes(route)


def decode(route: bytes) -> tuple[Hop, ...]:
    """The hops of a route.

    Raises:
        BadRoute: the route ends inside a hop; `position` is the byte where that hop begins.
    """
    hops: list[Hop] = []
    at = 0
    while at < len(route):
        head = route[at : at + HEAD_BYTES]
        body_at = at + HEAD_BYTES
        end = body_at + int.from_bytes(head[-_LENGTH:])
        if len(head) < HEAD_BYTES or end > len(route):
            raise BadRoute(at, f"the route ends after {len(route)} bytes, inside a hop")
        token_in, token_out = ("0x" + head[k : k + _ADDRESS].hex() for k in (17, 37))
        amount_raw = int.from_bytes(head[1 : 1 + _AMOUNT])
        hops.append(Hop(head[0], amount_raw, token_in, token_out, route[body_at:end], head[57]))
        at = end
    return tuple(hops)
