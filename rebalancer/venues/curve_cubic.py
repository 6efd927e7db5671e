"""Integer arithmetic of tricrypto-ng, Curve's three-coin pools since 2023, with identical results.

`cubic_y`, `cubic_d`, `cube_root` and `cubic_mean` equal get_y, newton_D, cbrt and geometric_mean of the mathematics
contract, version v2.0.0 (CurveCryptoMathOptimized3.vy of curvefi/tricrypto-ng). With K0 as the unknown, the invariant
is a cubic a K0^3 + b K0^2 + c K0 + d = 0. The contract solves it in closed form, scaled so that every step fits into
words of 256 bits, and uses Newton's method if the closed form has no root.

Every division truncates as in the contract, and every product that the contract checks is checked here: where it
reverts, `Refused` is raised. Unchecked divisions by 0 give 0, as in the EVM.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from rebalancer.units import E18
from rebalancer.venues.curve_math import MAX_D, MIN_D, Refused, crypto_y, is_share, word

__all__ = ["A_MULTIPLIER", "cube_root", "cubic_d", "cubic_mean", "cubic_y", "over", "signed", "wrapped"]

A_MULTIPLIER = 10_000
_COINS = 3
_ONE_E36 = 10**36

_MIN_GAMMA, _MAX_GAMMA = 10**10, 5 * 10**16
_MIN_ANN, _MAX_ANN = 27 * A_MULTIPLIER // 100, 27 * A_MULTIPLIER * 1_000

_WORD = 2**256
_MAX_SIGNED = 2**255 - 1
_LARGEST_UNSCALED = 115792089237316195423570985008687907853269
"""The largest number that fits into a word after multiplication by 10^36; roots of larger numbers have fewer
decimals."""

_ROOT_ROUNDS = 7
_NEWTON_ROUNDS = 255

_DIVIDERS = (*((10**above, 10 ** (above - 18)) for above in range(48, 23, -4)), (10**20, 100))
"""(Lower limit of |3ac/b - b|, divisor of all four coefficients above it), largest first."""


def cube_root(x: int) -> int:
    """The cube root of x, both with 18 decimals, after the contract's seven Newton iterations."""
    if x >= _LARGEST_UNSCALED * E18:
        scaled, factor = x, 10**12
    elif x >= _LARGEST_UNSCALED:
        scaled, factor = x * E18, 10**6
    else:
        scaled, factor = x * _ONE_E36, 1
    third, left = divmod(max(scaled.bit_length() - 1, 0), 3)
    root: int = (1 << third) * 1_260**left // 1_000**left
    for _ in range(_ROOT_ROUNDS):
        root = (2 * root + (scaled // (root * root) if root else 0)) // 3
    return root * factor


def cubic_mean(values: Sequence[int]) -> int:
    """The geometric mean of three scaled amounts.

    Raises:
        Refused: a word overflows.
    """
    x, y, z = values
    product = word(word(x * y) // E18 * z) // E18
    return cube_root(product) if product else 0


def cubic_y(xp: Sequence[int], ann: int, gamma: int, d: int, j: int) -> tuple[int, int]:
    """(The scaled balance of coin j that gives the invariant `d` with the other balances, K0 there).

    K0 is 0 if Newton's method found the balance.

    Raises:
        Refused: a parameter or a balance is out of the contract's range, or a word overflows.
    """
    if not (_MIN_ANN <= ann <= _MAX_ANN and _MIN_GAMMA <= gamma <= _MAX_GAMMA):
        raise Refused
    one, other = (x for k, x in enumerate(xp) if k != j)
    if not MIN_D <= d <= MAX_D or not (is_share(one, d) and is_share(other, d)):
        raise Refused
    a, b, c, last = _coefficients(one, other, ann, gamma, d)
    triple = signed(3 * a * c)
    first = signed(over(triple, b) - b)
    product = signed(over(27 * a * a, b) * last)
    second = signed(over(signed(3 * triple), b) - 2 * b - over(product, b))
    under = signed(signed(second * second) + signed(over(signed(4 * first * first), b) * first))
    if under <= 0:
        return crypto_y(xp, ann, A_MULTIPLIER, gamma, d, j), 0
    root = isqrt(under)
    half = cube_root(signed(second + root if second > 0 else root - second) // 2)
    root_b = cube_root(abs(b))
    turned = over(signed(root_b * root_b // E18 * (half if second > 0 else -half)), E18)
    if turned == 0:
        raise Refused
    k0 = over(signed(b + over(signed(b * first), turned) - turned), 3)
    balance = over(signed(signed(d * d // 27 // other * d) // one * k0), a)
    k0 = over(signed(E18 * k0), a)
    if balance < 0 or k0 < 0:
        raise Refused
    if not 10**16 - 1 <= word(balance * E18) // d <= 10**20:
        raise Refused
    return balance, k0


def _coefficients(one: int, other: int, ann: int, gamma: int, d: int) -> tuple[int, int, int, int]:
    """Coefficients of the cubic in K0, scaled to the contract's precision."""
    squared = gamma * gamma
    a = _ONE_E36 // 27
    b = _ONE_E36 // 9 + 2 * E18 * gamma // 27 - signed(d * d // one * squared * ann) // 729 // A_MULTIPLIER // other
    c = (
        _ONE_E36 // 9
        + gamma * (gamma + 4 * E18) // 27
        + over(over(over(squared * (one + other - d), d) * ann, 27), A_MULTIPLIER)
    )
    last = (E18 + gamma) ** 2 // 27
    if b == 0:
        raise Refused
    size = abs(over(signed(3 * a * c), b) - b)
    divider = next((by for above, by in _DIVIDERS if size > above), 1)
    if a > abs(b):
        precision = a // abs(b)
        return (
            a * precision // divider,
            over(signed(b * precision), divider),
            over(signed(c * precision), divider),
            signed(last * precision) // divider,
        )
    precision = abs(b) // a
    return (
        a // precision // divider,
        over(over(b, precision), divider),
        over(over(c, precision), divider),
        last // precision // divider,
    )


def cubic_d(xp: Sequence[int], ann: int, gamma: int, k0: int = 0) -> int:
    """D of scaled balances. `k0` is the K0 from `cubic_y`, from which the contract begins.

    Raises:
        Refused: the balances are too far apart, a word overflows, or the iteration does not converge.
    """
    x, y, z = ordered = sorted(xp, reverse=True)
    if not 0 < x < (_WORD - 1) // E18 * 27:
        raise Refused
    total = x + y + z
    d = _first_d(ordered, k0)
    for _ in range(_NEWTON_ROUNDS):
        before = d
        share = _bare(_bare(_bare(3 * E18 * x, d) * y * 3, d) * z * 3, d)
        off = abs(gamma + E18 - share) + 1
        mul1 = E18 * d // gamma * off // gamma * off * A_MULTIPLIER // ann
        mul2 = 6 * E18 * share // off
        slope = (total + total * mul2 // E18 + _bare(3 * mul1, share) - mul2 * d // E18) % _WORD
        plus = _bare(word(d * ((slope + total) % _WORD)), slope)
        minus = _bare(word(d * d), slope)
        pull = word(d * _bare(mul1, slope)) // E18
        if share < E18:
            minus = word(minus + _bare(pull * (E18 - share), share))
        else:
            minus = word(minus - pull * (share - E18) // share)
        d = plus - minus if plus > minus else (minus - plus) // 2
        if abs(d - before) * 10**14 < max(10**16, d):
            if not all(10**16 - 1 <= _bare(one * E18, d) <= 10**20 for one in ordered):
                raise Refused
            return d
    raise Refused


def _first_d(ordered: Sequence[int], k0: int) -> int:
    if k0 == 0:
        return _COINS * cubic_mean(ordered)
    x, y, z = ordered
    total = x + y + z
    down, up = (36, 12) if total > _ONE_E36 else (24, 6) if total > 10**24 else (18, 0)
    return cube_root(word(word(word(x * y) // 10**down * z) // k0 * 27 * 10**up))


def signed(value: int) -> int:
    """The value, checked as a signed word of 256 bits.

    Raises:
        Refused: it does not fit.
    """
    if not -_MAX_SIGNED - 1 <= value <= _MAX_SIGNED:
        raise Refused
    return value


def over(value: int, by: int) -> int:
    """The quotient rounded toward 0, as in the EVM's signed division; 0 if the divisor is 0."""
    quotient = abs(value) // abs(by) if by else 0
    return quotient if (value < 0) == (by < 0) else -quotient


def wrapped(value: int) -> int:
    """The signed word that the EVM keeps of an unchecked product."""
    return (value + _MAX_SIGNED + 1) % _WORD - _MAX_SIGNED - 1


def _bare(value: int, by: int) -> int:
    """The quotient of words in an unchecked division; 0 if the divisor is 0."""
    return value // by if by else 0
