"""Powers in Balancer V2's fixed-point arithmetic, with identical results, including each rounding.

`pow_e18` and `pow_up` equal LogExpMath.pow and FixedPoint.powUp of Balancer's solidity-utils for all inputs that do not
revert; `tests/contract/test_balancer_quotes.py` compares pools that use them with the published bytecode. The constants
are e^(2^k) with the contract's number of digits, which is lower than exact; they and the number of terms of each series
determine the last units.

Inputs and outputs have 18 decimals. Solidity divides toward zero, Python downward. So signs are removed first, which
gives the same result because every step is odd in its argument.
"""

from __future__ import annotations

from rebalancer.units import E18, div_up

__all__ = ["div_up_e18", "mul_down_e18", "mul_up_e18", "pow_e18", "pow_up"]

_E20, _E36 = 10**20, 10**36

_WHOLE_POWERS = (
    (128 * E18, 38877084059945950922200000000000000000000000000000000000),
    (64 * E18, 6235149080811616882910000000),
)
"""(x, e^x without decimals); x has 18 decimals."""

_POWERS = (
    (32 * _E20, 7896296018268069516100000000000000),
    (16 * _E20, 888611052050787263676000000),
    (8 * _E20, 298095798704172827474000),
    (4 * _E20, 5459815003314423907810),
    (2 * _E20, 738905609893065022723),
    (_E20, 271828182845904523536),
    (_E20 // 2, 164872127070012814685),
    (_E20 // 4, 128402541668774148407),
    (_E20 // 8, 113314845306682631683),
    (_E20 // 16, 106449445891785942956),
)
"""(x, e^x), both with 20 decimals; `_exp` needs only the first eight."""

_EXP_POWERS = _POWERS[:8]
_EXP_TERMS = range(2, 13)
_LN_ODDS = (3, 5, 7, 9, 11)
_LN_NEAR_ONE_ODDS = (3, 5, 7, 9, 11, 13, 15)

_NEAR_ONE = (E18 - 10**17, E18 + 10**17)
"""Between these, the logarithm is computed with 36 decimals."""

_LARGEST_EXPONENT, _SMALLEST_EXPONENT = 130 * E18, -41 * E18

_POW_RELATIVE_ERROR_E18 = 10_000
"""FixedPoint.MAX_POW_RELATIVE_ERROR."""

_TWO, _FOUR = 2 * E18, 4 * E18


def mul_down_e18(a: int, b: int) -> int:
    """a * b, rounded down."""
    return a * b // E18


def mul_up_e18(a: int, b: int) -> int:
    """a * b, rounded up."""
    return div_up(a * b, E18)


def div_up_e18(a: int, b: int) -> int:
    """a / b, rounded up."""
    return div_up(a * E18, b)


def pow_up(x_e18: int, y_e18: int, *, shortcuts: bool) -> int:
    """x^y plus the maximum error of `pow_e18`. Swaps use only this power.

    `shortcuts`: exponents of 1, 2 and 4 are computed by multiplication, as in libraries since 2022.
    """
    if shortcuts and y_e18 in (E18, _TWO, _FOUR):
        if y_e18 == E18:
            return x_e18
        square = mul_up_e18(x_e18, x_e18)
        return square if y_e18 == _TWO else mul_up_e18(square, square)
    raw = pow_e18(x_e18, y_e18)
    return raw + mul_up_e18(raw, _POW_RELATIVE_ERROR_E18) + 1


def pow_e18(x_e18: int, y_e18: int) -> int:
    """x^y, as e^(y * ln x).

    Raises:
        OverflowError: the contract reverts, because y * ln x is outside -41 … 130.
    """
    if y_e18 == 0:
        return E18
    if x_e18 == 0:
        return 0
    negative = x_e18 < E18
    if _NEAR_ONE[0] < x_e18 < _NEAR_ONE[1]:
        log_e36 = _ln_near_one(abs(x_e18 - E18) * E18, (x_e18 + E18) * E18)
        whole, part = divmod(log_e36, E18)
        exponent = (whole * y_e18 + part * y_e18 // E18) // E18
    else:
        exponent = _ln(_E36 // x_e18 if negative else x_e18) * y_e18 // E18
    if negative:
        exponent = -exponent
    if not _SMALLEST_EXPONENT <= exponent <= _LARGEST_EXPONENT:
        raise OverflowError(f"{x_e18} to the power of {y_e18} is out of range")
    return _E36 // _exp(-exponent) if exponent < 0 else _exp(exponent)


def _exp(x: int) -> int:
    """e^x for x ≥ 0."""
    first = 1
    for power, value in _WHOLE_POWERS:
        if x >= power:
            x -= power
            first = value
            break
    x *= 100
    product = _E20
    for power, value in _EXP_POWERS:
        if x >= power:
            x -= power
            product = product * value // _E20
    total = term = x
    for n in _EXP_TERMS:
        term = term * x // _E20 // n
        total += term
    return product * (_E20 + total) // _E20 * first // 100


def _ln(a: int) -> int:
    """ln a for a ≥ 1."""
    total = 0
    for power, value in _WHOLE_POWERS:
        if a >= value * E18:
            a //= value
            total += power
    total *= 100
    a *= 100
    for power, value in _POWERS:
        if a >= value:
            a = a * _E20 // value
            total += power
    z = (a - _E20) * _E20 // (a + _E20)
    return (total + 2 * _odd_series(z, _E20, _LN_ODDS)) // 100


def _ln_near_one(difference_e36: int, sum_e36: int) -> int:
    """|ln x| with 36 decimals, from |x - 1| and x + 1."""
    z = difference_e36 * _E36 // sum_e36
    return 2 * _odd_series(z, _E36, _LN_NEAR_ONE_ODDS)


def _odd_series(z: int, one: int, odds: tuple[int, ...]) -> int:
    """z + z^3 / 3 + z^5 / 5 + … over the given odd exponents: half of ln((1 + z) / (1 - z))."""
    square = z * z // one
    total = power = z
    for odd in odds:
        power = power * square // one
        total += power // odd
    return total
