"""Common part of Curve's stable and crypto pools: fields, hop, and what follows from a simulated `exchange`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rebalancer.route import Hop, address_bytes, number_bytes, to_caller_flag
from rebalancer.venues.curve_flow import Curve
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

    Subclasses define the methods below, and their other mathematics.
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

    @property
    @abstractmethod
    def _is_empty(self) -> bool:
        """Whether the pool cannot trade."""

    @abstractmethod
    def _curve(self, i: int, j: int) -> Curve:
        """The curve of a direction, created once per state."""

    @abstractmethod
    def _scale(self, k: int) -> float:
        """Scaled units of a curve per raw unit of a coin."""

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals the payment of `exchange`."""
        return int(self._swap(token_in, token_out, amount_raw)[2].out_raw)

    def points(self, token_in: str, token_out: str, growths: Sequence[float]) -> list[tuple[float, float, float]]:
        """See `Pool.points`. Points beyond the pool's limit are omitted. The marginal output may first rise, because
        the fee falls."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if self._is_empty:
            return []
        curve, scale_in, scale_out = self._curve(i, j), self._scale(i), self._scale(j)
        found = []
        for growth in growths:
            x = curve.x0 * (1 + growth)
            if x > curve.furthest:
                break
            out, marginal = curve.at(x)
            ends = curve.x0 * growth / scale_in, out / scale_out
            found.append((*ends, marginal * scale_in / scale_out))
        return found

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
