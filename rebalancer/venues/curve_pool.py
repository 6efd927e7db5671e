"""Common part of Curve's stable and crypto pools: fields, hop, and what follows from a simulated `exchange`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from rebalancer.route import Hop, address_bytes, number_bytes, to_caller_flag
from rebalancer.venues.model import PoolBase, Token, refs_of

__all__ = ["FEE_ONE", "CurvePoolBase", "curve_hop"]

FEE_ONE = 10**10
"""The fee of 100 % in Curve's units."""

_NUMBER, _UNSIGNED = 6, 16
"""Venue number in RouteExecutor, and the flag of pools that index their coins with uint256."""


def curve_hop(
    pool: str,
    amount_raw: int,
    token_in: str,
    token_out: str,
    i: int,
    j: int,
    *,
    unsigned: bool,
    to_caller: bool = False,
) -> Hop:
    """A swap of coin i for coin j on a Curve pool; `unsigned` for crypto pools. Body: pool (20), i (1), j (1)."""
    body = address_bytes(pool) + number_bytes(i, 1, "coin") + number_bytes(j, 1, "coin")
    flags = to_caller_flag(to_caller) | (_UNSIGNED if unsigned else 0)
    return Hop(_NUMBER, amount_raw, token_in, token_out, body, flags)


@dataclass(frozen=True)
class CurvePoolBase(PoolBase):
    """A pool of several coins.

    Subclasses define `_swap`, which simulates `exchange` and raises as `quote_in`, and their other mathematics.
    """

    LOGS_ARE_COMPLETE: ClassVar[bool] = False
    VENUE_NAME: ClassVar[str] = "curve"
    IS_UNSIGNED: ClassVar[bool]
    """Whether the pool indexes its coins with uint256."""

    address: str
    tokens: tuple[Token, ...]
    balances: tuple[int, ...]

    @abstractmethod
    def _swap(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, int, Any]:
        """Indices of the tokens, and the result of `exchange`, which has `out_raw`."""

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals the payment of `exchange`."""
        return int(self._swap(token_in, token_out, amount_raw)[2].out_raw)

    def balance_of(self, token: str) -> float:
        """See `Pool.balance_of`."""
        held = zip(self.tokens, self.balances, strict=True)
        return next(float(balance) for one, balance in held if one.address == token)

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:  # noqa: ARG002 (protocol)
        """See `Pool.hop`. The executor keeps the result: the pool pays only its caller, and a further transfer costs
        more."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        ends = self.tokens[i].address, self.tokens[j].address
        return curve_hop(self.address, amount_raw, *ends, i, j, unsigned=self.IS_UNSIGNED)

    def _traded(self, i: int, amount_raw: int, j: int, out_raw: int) -> tuple[int, ...]:
        """Balances after an input and an output."""
        balances = list(self.balances)
        balances[i] += amount_raw
        balances[j] -= out_raw
        return tuple(balances)
