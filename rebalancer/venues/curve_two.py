"""Integer arithmetic of twocrypto-ng, Curve's two-coin pools since 2023, with identical results.

`two_y` and `two_d` equal get_y and newton_D of the mathematics contracts, versions v2.0.0 and v2.1.0
(CurveCryptoMathOptimized2.vy of curvefi/twocrypto-ng). `two_mean` and `two_reduction_e18` equal the geometric mean and
the part of the fee that the pool computes. As with three coins (`curve_cubic`), K0 is the root of a cubic. The two
versions differ in how far from balance a pool may go.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

from rebalancer.units import E18
from rebalancer.venues.curve_cubic import A_MULTIPLIER, cube_root, over, signed, wrapped
from rebalancer.venues.curve_math import MAX_D, MIN_D, Refused, newton_y, word

__all__ = ["TWO_LIMITS", "Limits", "two_d", "two_mean", "two_reduction_e18", "two_y"]

_MIN_GAMMA = 10**10
_MIN_ANN, _MAX_ANN = 4 * A_MULTIPLIER // 10, 4 * A_MULTIPLIER * 1_000
_NARROW_GAMMA = 2 * 10**16
"""Above this gamma, version v2.1.0 restricts the range of balances."""

_SCALE = 10**32
_ROUNDS = 255

_DIVIDERS = (*((10**above, 10 ** (above - 18)) for above in range(48, 23, -2)), (10**20, 100))
"""(Lower limit of the smallest of three terms, divisor of the coefficients above it), largest first."""


class Limits(NamedTuple):
    """Limits of a version: the largest gamma, and the ranges of a scaled balance relative to D, with 18 decimals."""

    max_gamma: int
    is_narrow: bool

    def shares(self, gamma: int) -> tuple[int, int]:
        """Range of twice the sold balance over D."""
        most = 100 * E18
        if not self.is_narrow:
            return 2 * 10**16, 2 * most
        if gamma > _NARROW_GAMMA:
            most = most * _NARROW_GAMMA // gamma
        return E18 * E18 // most, most

    def bought(self, gamma: int) -> tuple[int, int]:
        """Range of the bought balance over D, after the closed form."""
        if not self.is_narrow:
            return 10**16 - 1, 100 * E18
        _, most = self.shares(gamma)
        return E18 * E18 // 2 // most, most // 2

    @property
    def after(self) -> tuple[int, int]:
        """Range of all balances over the new D."""
        return (5 * 10**15, 50 * E18) if self.is_narrow else (10**16 - 1, 100 * E18)


TWO_LIMITS = {"ng": Limits(2 * 10**15, False), "ng-v2.1.0": Limits(199 * 10**15, True)}
"""Limits by the version of the mathematics, as in snapshots."""


def two_y(xp: Sequence[int], ann: int, gamma: int, d: int, j: int, limits: Limits) -> tuple[int, int]:
    """(The scaled balance of coin j that gives the invariant `d` with the other balance, K0 there).

    K0 is 0 if Newton's method found the balance.

    Raises:
        Refused: a parameter or a balance is out of the contract's range, or a word overflows.
    """
    _check(ann, gamma, limits)
    x = xp[1 - j]
    if not MIN_D <= d <= MAX_D:
        raise Refused
    least, most = limits.shares(gamma)
    share = 2 * E18 * x // d
    if not least <= share <= most:
        raise Refused
    a, b, c, last, first, second = _terms(x, ann, gamma, d)
    divider = next((by for above, by in _DIVIDERS if min(abs(first), abs(second), a) > above), 1)
    a //= divider
    b, c, last = (over(term, divider) for term in (b, c, last))
    first = signed(over(3 * a * c, b) - b)
    second = signed(3 * first + b - over(wrapped(over(wrapped(27 * a * a), b) * last), b))
    fourth = over(signed(4 * first * first), b)
    under = signed(signed(second * second) + wrapped(fourth * first))
    if under <= 0:
        limit = max(x // 10**14, d // 10**14, 100)
        start = d * d // (4 * x)
        return newton_y(start, x, share, 2, (ann, A_MULTIPLIER, gamma), d, limit), 0
    root = isqrt(under)
    half = cube_root(signed(second + root if second > 0 else root - second) // 2)
    root_b = cube_root(abs(b))
    turned = signed(root_b * root_b) // E18 * (half if second > 0 else -half)
    turned = over(wrapped(turned), E18)
    if turned == 0:
        raise Refused
    scaled_b = wrapped(E18 * b)
    pulled = signed(over(scaled_b, turned) * first)
    k0 = over(signed(wrapped(E18 * turned) - scaled_b - pulled), 3 * a)
    y = over(over(wrapped(d * d // x * k0), 4), E18)
    if y < 0 or k0 < 0:
        raise Refused
    least, most = limits.bought(gamma)
    if not least <= word(y * E18) // d <= most:
        raise Refused
    return y, k0


def _terms(x: int, ann: int, gamma: int, d: int) -> tuple[int, int, int, int, int, int]:
    """Coefficients of the cubic in K0, and the terms that determine the divisor."""
    weight = signed(ann * gamma * gamma)
    b = signed(d * weight) // (4 * 10**8) // x - 3 * _SCALE - 2 * gamma * 10**14
    c = (
        3 * _SCALE
        + 4 * gamma * 10**14
        + gamma * gamma // 10**4
        + signed(4 * weight // (4 * 10**8) * x) // d
        - 4 * weight // (4 * 10**8)
    )
    last = -((E18 + gamma) ** 2 // 10**4)
    if b == 0:
        raise Refused
    first = signed(over(signed(3 * _SCALE * c), b) - b)
    second = signed(3 * first + b - over(signed(over(27 * _SCALE**2, b) * last), b))
    return _SCALE, b, c, last, first, second


def two_d(xp: Sequence[int], ann: int, gamma: int, limits: Limits, k0: int = 0) -> int:
    """D of scaled balances. `k0` is the K0 from `two_y`, from which the contract begins.

    Raises:
        Refused: the balances are too far apart, a word overflows, or the iteration does not converge.
    """
    _check(ann, gamma, limits)
    x, y = max(xp), min(xp)
    if not 10**9 <= x <= MAX_D or y * E18 // x < 10**14:
        raise Refused
    total = x + y
    d = min(isqrt(4 * x * y // k0 * E18 % 2**256), total) if k0 else 2 * isqrt(x * y)
    for _ in range(_ROUNDS):
        before = d
        if d == 0:
            raise Refused
        share = word(word(4 * E18 * x // d * y) // d)
        if share == 0:
            raise Refused
        off = abs(gamma + E18 - share) + 1
        mul1 = word(word(E18 * d // gamma * off) // gamma * off * A_MULTIPLIER) // ann
        mul2 = 4 * E18 * share // off
        slope = total + word(total * mul2) // E18 + mul1 * 2 // share - word(mul2 * d) // E18
        if slope <= 0:
            raise Refused
        plus = word(d * (slope + total)) // slope
        minus = d * d // slope
        pull = word(d * (mul1 // slope)) // E18
        if share < E18:
            minus += pull * (E18 - share) // share
        else:
            minus = word(minus - pull * (share - E18) // share)
        d = plus - minus if plus > minus else (minus - plus) // 2
        if abs(d - before) * 10**14 < max(10**16, d):
            least, most = limits.after
            if d == 0 or not (least <= x * E18 // d <= most and least <= y * E18 // d <= most):
                raise Refused
            return d
    raise Refused


def two_mean(values: Sequence[int]) -> int:
    """The geometric mean of two scaled amounts.

    Raises:
        Refused: a word overflows.
    """
    x, y = values
    return isqrt(word(x * y))


def two_reduction_e18(xp: Sequence[int], fee_gamma: int) -> int:
    """Distance of the pool from balance: 1e18 if balanced, toward 0 otherwise.

    Raises:
        Refused: a divisor is 0.
    """
    total = sum(xp)
    if total == 0:
        raise Refused
    below = fee_gamma + E18 - 4 * E18 * xp[0] // total * xp[1] // total
    if below == 0:
        raise Refused
    return fee_gamma * E18 // below


def _check(ann: int, gamma: int, limits: Limits) -> None:
    if not (_MIN_ANN <= ann <= _MAX_ANN and _MIN_GAMMA <= gamma <= limits.max_gamma):
        raise Refused
