"""Swaps along a path of Uniswap V3 pools through SwapRouter02: a hop without a pool object."""

from __future__ import annotations

from collections.abc import Sequence

from rebalancer.route import Hop, address_bytes, number_bytes, to_caller_flag

__all__ = ["router_hop"]

_VENUE = 2
"""Venue number in RouteExecutor."""


def router_hop(router: str, amount_raw: int, path: Sequence[str], fees_pips: Sequence[int], *, to_caller: bool) -> Hop:
    """A swap along k + 1 tokens, the first of which is sold, and the fees of the k pools between them.

    Body: router (20), packed path (20 + 23 k).

    Raises:
        ValueError: the numbers of fees and tokens do not match.
    """
    if not fees_pips or len(path) != len(fees_pips) + 1:
        raise ValueError(f"{len(fees_pips)} fees do not match {len(path)} tokens")
    body = address_bytes(router) + address_bytes(path[0])
    for fee_pips, token in zip(fees_pips, path[1:], strict=True):
        body += number_bytes(fee_pips, 3, "fee") + address_bytes(token)
    return Hop(_VENUE, amount_raw, path[0], path[-1], body, to_caller_flag(to_caller))
