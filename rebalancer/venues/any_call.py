"""Swaps by an arbitrary call, such as an aggregator's: a hop without a pool."""

from __future__ import annotations

from rebalancer.route import Flags, Hop, address_bytes, number_bytes, to_caller_flag

__all__ = ["call_hop"]

_VENUE, _PAID_FIRST = 7, 32
"""Venue number in RouteExecutor, and the flag of a spender that is paid before the call."""

_NOWHERE = 0xFFFF
_NO_SPENDER = "0x" + "0" * 40
_WORD = 32


def call_hop(
    target: str,
    data: bytes,
    amount_raw: int,
    token_in: str,
    token_out: str,
    *,
    to_caller: bool,
    spender: str | None = None,
    amount_offset: int | None = None,
    paid_first: bool = False,
    ether_in: bool = False,
    ether_out: bool = False,
) -> Hop:
    """One call to `target`. `spender` may take the amount during the call, or receives it before the call; None: no
    spender.

    If the call is paid in ether, its token is WETH, `ether_in` is true and there is no spender; `ether_out` applies to
    the output. The amount overwrites the 32 bytes of `data` from `amount_offset`; None leaves the data unchanged. Body:
    target (20), spender (20), offset (2), data.

    Raises:
        ValueError: the arguments contradict each other.
    """
    if amount_offset is not None and not 0 <= amount_offset <= len(data) - _WORD:
        raise ValueError(f"{len(data)} bytes have no room for an amount at {amount_offset}")
    if paid_first and spender is None:
        raise ValueError("paid_first requires a spender")
    if ether_in and spender is not None:
        raise ValueError("a call that is paid in ether has no spender")
    offset = _NOWHERE if amount_offset is None else amount_offset
    body = address_bytes(target) + address_bytes(spender or _NO_SPENDER)
    body += number_bytes(offset, 2, "offset") + data
    flags = to_caller_flag(to_caller) | (_PAID_FIRST if paid_first else 0)
    flags |= (Flags.ETHER_IN if ether_in else 0) | (Flags.ETHER_OUT if ether_out else 0)
    return Hop(_VENUE, amount_raw, token_in, token_out, body, flags)
