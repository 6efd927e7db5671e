"""Common part of weighted pools of Balancer V2 and V3: prices and the planner's curve."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Self

from rebalancer.units import E18, PIPS
from rebalancer.venues.model import PoolBase, PowerCurve, Token, raw_price, refs_of

__all__ = ["MAX_DECIMALS", "MAX_RATIO_E18", "MIN_WEIGHT_E18", "NO_CURVE", "BalancerPoolBase"]

MAX_RATIO_E18 = 3 * 10**17
"""WeightedMath's _MAX_IN_RATIO and _MAX_OUT_RATIO."""

MIN_WEIGHT_E18 = 10**16
"""The pools' _MIN_WEIGHT; it keeps every power within the range of LogExpMath."""

MAX_DECIMALS = 18

NO_CURVE = PowerCurve(0.0, 0.0, 0.0, 0.0, 0.0)
"""Curve of a pool that cannot trade."""


class BalancerPoolBase(PoolBase):
    """A weighted pool whose tokens the Vault holds.

    Subclasses define the fields below, `_is_open` and `_most_in`.
    """

    address: str
    vault: str
    tokens: tuple[Token, ...]
    balances: tuple[int, ...]
    weights_e18: tuple[int, ...]
    fee_e18: int

    @abstractmethod
    def _is_open(self, i: int, j: int) -> bool:
        """Whether any swap is possible, as far as the input is concerned."""

    @abstractmethod
    def _most_in(self, i: int, j: int) -> int:
        """Largest raw input; 0 if the pool is not open."""

    @property
    def holder(self) -> str:
        """The Vault."""
        return self.vault

    @property
    def fee_pips(self) -> int:
        """Fee on the input, in millionths, rounded down."""
        return self.fee_e18 * PIPS // E18

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`. Balances divided by weights; 0 if the pool cannot trade."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if not self._is_open(i, j):
            return Fraction(0)
        return Fraction(self.balances[j] * self.weights_e18[i], self.balances[i] * self.weights_e18[j])

    def _flow(self, i: int, j: int, marginal: float, most: int, cap: int) -> tuple[int, int]:
        """The result of `flow_to`: `most` for a marginal output of 0, and at most `cap` otherwise. In closed form, with
        e = weight in / weight out and k = 1 - fee (rates cancel out):

        out(x) = out * (1 - (in / (in + k x))^e), so (in + k x) / in = (price * k / marginal)^(1 / (1 + e)).
        """
        balance_in, balance_out = self.balances[i], self.balances[j]
        exponent = self.weights_e18[i] / self.weights_e18[j]
        kept = 1 - self.fee_e18 / E18
        amount_raw = most
        if marginal > 0:
            best = balance_out / balance_in * exponent * kept
            if best <= marginal:
                return 0, 0
            growth = math.expm1(math.log(best / marginal) / (1 + exponent))
            # Limited to twice the maximum: a growth beyond the float range must not become an int.
            amount_raw = min(int(min(balance_in * growth / kept, 2.0 * cap)), cap)
        out = -balance_out * math.expm1(-exponent * math.log1p(amount_raw * kept / balance_in))
        return amount_raw, int(out)

    def _power_curve(self, i: int, j: int, most: float) -> PowerCurve:
        """The curve of `_flow` up to an input."""
        exponent, kept = self.weights_e18[i] / self.weights_e18[j], 1 - self.fee_e18 / E18
        return PowerCurve(float(self.balances[i]), float(self.balances[j]), exponent, kept, most)

    def at_prices(self, prices_e8: Sequence[int]) -> Self:
        """See `Pool.at_prices`. Each balance gets the value of its weight relative to the first token, rounded down."""
        balances = _balances_at_prices(self.tokens, self.balances, self.weights_e18, prices_e8)
        return replace(self, balances=balances)  # type: ignore[call-arg]  # a field of every subclass


def _balances_at_prices(
    tokens: Sequence[Token], balances: Sequence[int], weights_e18: Sequence[int], prices_e8: Sequence[int]
) -> tuple[int, ...]:
    """Raw balances of a weighted pool at these prices, for an unchanged balance of the first token; rounded down."""
    found = [balances[0]]
    for token, weight, price_e8 in zip(tokens[1:], weights_e18[1:], prices_e8[1:], strict=True):
        price = raw_price(tokens[0], token, prices_e8[0], price_e8)
        found.append(int(balances[0] * price * Fraction(weight, weights_e18[0])))
    return tuple(found)
