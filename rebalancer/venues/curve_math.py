"""Integer arithmetic of Curve: the invariants of its two kinds of pools and their solvers, with identical results.

`stable_d` and `stable_y` equal get_D and get_y of the pool of DAI, USDC and USDT (3pool), and of all pools with a
whole-number A. `crypto_d`, `crypto_y`, `geometric_mean` and `reduction_e18` equal newton_D, newton_y, geometric_mean
and reduction_coefficient of tricrypto's mathematics contract (mainnet 0x656Dd75d…, three coins). `ng_stable_d` and
`ng_stable_y` equal get_D and get_y of CurveStableSwapNG.vy (curvefi/stableswap-ng). The sources are public, but no npm
package has them compiled. So tests do not run them; see `curve_stable` and `curve_crypto` for the evidence of equality.

The iterations are part of the result: each ends where the contract's does, even one unit off the true root. Words have
256 bits: an overflow, or a failed check of the contract, raises `Refused`. Balances here are scaled to a common unit of
18 decimals (xp in the contracts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rebalancer.units import E18

__all__ = [
    "A_PRECISION",
    "MATH_VERSIONS",
    "MAX_D",
    "MIN_D",
    "Refused",
    "check_ng_prices",
    "crypto_d",
    "crypto_y",
    "geometric_mean",
    "is_share",
    "least_in",
    "most_in",
    "newton_y",
    "ng_stable_d",
    "ng_stable_y",
    "reduction_e18",
    "stable_d",
    "stable_y",
    "word",
]

MATH_VERSIONS = ("v1", "ng")
"""Mathematics of stable pools: 3pool's, and that of 2023. Crypto pools use the same names."""

A_PRECISION = 100
"""Multiplier of A in stableswap-ng."""

_MAX_HALF_WORD = 2**128 - 1

_MAX_WORD = 2**256 - 1
_ROUNDS = 255
"""Newton iterations after which the contracts give up (tricrypto) or use the last value (3pool)."""

_SECANTS = 12
"""Maximum number of secant steps that improve a guess before the search."""

_MIN_SHARE_E18, _MAX_SHARE_E18 = 10**16, 10**20
"""Range of a scaled balance in tricrypto: a hundredth of D to a hundred times D."""

MIN_D, MAX_D = 10**17, 10**33


class Refused(Exception):  # noqa: N818 - it is what the contract would have done
    """The contract reverts on these numbers; never leaves `rebalancer.venues`."""


def word(value: int) -> int:
    """The value, checked as an unsigned word of 256 bits.

    Raises:
        Refused: it does not fit.
    """
    if not 0 <= value <= _MAX_WORD:
        raise Refused
    return value


def stable_d(xp: Sequence[int], amplification: int) -> int:
    """D of scaled balances; 0 for an empty pool.

    Raises:
        Refused: one coin is missing, or a word overflows.
    """
    total = sum(xp)
    if total == 0:
        return 0
    if 0 in xp:
        raise Refused
    count = len(xp)
    ann = amplification * count
    d = total
    for _ in range(_ROUNDS):
        product = d
        for x in xp:
            product = word(product * d) // (x * count)
        before = d
        d = word((ann * total + product * count) * d) // ((ann - 1) * d + (count + 1) * product)
        if -1 <= d - before <= 1:
            break
    return d


def stable_y(xp: Sequence[int], i: int, j: int, x: int, amplification: int, d: int) -> int:
    """The scaled balance of coin j that keeps D when the balance of coin i becomes `x`.

    Raises:
        Refused: a word overflows.
    """
    count = len(xp)
    ann = amplification * count
    c, total = d, 0
    for k, balance in enumerate(xp):
        if k == j:
            continue
        held = x if k == i else balance
        total += held
        c = word(c * d) // (held * count)
    c = word(c * d) // (ann * count)
    b = total + d // ann
    y = d
    for _ in range(_ROUNDS):
        before = y
        y = word(y * y + c) // word(2 * y + b - d)
        if -1 <= y - before <= 1:
            break
    return y


def ng_stable_d(xp: Sequence[int], ann: int) -> int:
    """D of scaled balances in stableswap-ng; 0 for an empty pool. `ann` is A times the number of coins times
    `A_PRECISION`.

    Raises:
        Refused: a coin is missing, a word overflows, or the iteration does not converge.
    """
    total = sum(xp)
    if total == 0:
        return 0
    if 0 in xp:
        raise Refused
    count = len(xp)
    power = count**count
    weighed = word(ann * total) // A_PRECISION
    d = total
    for _ in range(_ROUNDS):
        product = d
        for x in xp:
            product = word(product * d) // x
        product //= power
        before = d
        below = word((ann - A_PRECISION) * d) // A_PRECISION + (count + 1) * product
        d = word((weighed + product * count) * d) // word(below)
        if -1 <= d - before <= 1:
            return d
    raise Refused


def ng_stable_y(xp: Sequence[int], i: int, j: int, x: int, ann: int, d: int) -> int:
    """`stable_y` of stableswap-ng; `ann` as in `ng_stable_d`.

    Raises:
        Refused: a coin is missing, a word overflows, or the iteration does not converge.
    """
    count = len(xp)
    c, total = d, 0
    for k, balance in enumerate(xp):
        if k == j:
            continue
        held = x if k == i else balance
        if held == 0:
            raise Refused
        total += held
        c = word(c * d) // (held * count)
    c = word(word(c * d) * A_PRECISION) // (ann * count)
    b = total + word(d * A_PRECISION) // ann
    y = d
    for _ in range(_ROUNDS):
        before = y
        below = word(2 * y + b - d)
        if below == 0:
            raise Refused
        y = word(y * y + c) // below
        if -1 <= y - before <= 1:
            return y
    raise Refused


def check_ng_prices(xp: Sequence[int], ann: int, d: int) -> None:
    """Refuse a swap after which stableswap-ng cannot compute its prices (_get_p), although it could pay.

    Raises:
        Refused: a word overflows.
    """
    count = len(xp)
    share = d // count**count
    for x in xp:
        if x == 0:
            raise Refused
        share = word(share * d) // x
    first = word(ann * xp[0]) // A_PRECISION
    scaled = word(share * xp[0])
    for x in xp[1:]:
        word(E18 * word(first + scaled // x))
    if first + share == 0 or d > _MAX_HALF_WORD:
        raise Refused


def geometric_mean(values: Sequence[int]) -> int:
    """The geometric mean of three scaled amounts.

    Raises:
        Refused: the iteration does not converge.
    """
    ordered = sorted(values, reverse=True)
    count, d = len(ordered), ordered[0]
    for _ in range(_ROUNDS):
        before, product = d, E18
        for value in ordered:
            product = product * value // d
        d = d * ((count - 1) * E18 + product) // (count * E18)
        off = abs(d - before)
        if off <= 1 or off * E18 < d:
            return d
    raise Refused


def reduction_e18(xp: Sequence[int], fee_gamma: int) -> int:
    """Distance of the pool from balance: 1e18 if balanced, toward 0 otherwise."""
    total, count = sum(xp), len(xp)
    near = E18
    for x in xp:
        near = near * count * x // total
    return fee_gamma * E18 // (fee_gamma + E18 - near) if fee_gamma else near


def crypto_d(xp: Sequence[int], ann: int, multiplier: int, gamma: int) -> int:
    """D of scaled balances; `ann` is A times 3^3 times `multiplier`, `gamma` has 18 decimals.

    Raises:
        Refused: the balances are too far apart, or the iteration does not converge.
    """
    ordered = sorted(xp, reverse=True)
    if not 10**9 <= ordered[0] <= MAX_D or ordered[-1] * E18 // ordered[0] < 10**11:
        raise Refused
    count, total = len(ordered), sum(ordered)
    d = count * geometric_mean(ordered)
    for _ in range(_ROUNDS):
        before = d
        k0 = E18
        for x in ordered:
            k0 = k0 * x * count // d
        off = _distance(gamma, k0)
        mul1 = E18 * d // gamma * off // gamma * off * multiplier // ann
        mul2 = 2 * E18 * count * k0 // off
        slope = total + total * mul2 // E18 + mul1 * count // k0 - mul2 * d // E18
        if slope <= 0:
            raise Refused
        plus = d * (slope + total) // slope
        minus = d * d // slope
        if k0 < E18:
            minus += d * (mul1 // slope) // E18 * (E18 - k0) // k0
        else:
            minus = word(minus - d * (mul1 // slope) // E18 * (k0 - E18) // k0)
        d = plus - minus if plus > minus else (minus - plus) // 2
        if abs(d - before) * 10**14 < max(10**16, d):
            if not all(is_share(x, d) for x in ordered):
                raise Refused
            return d
    raise Refused


def crypto_y(xp: Sequence[int], ann: int, multiplier: int, gamma: int, d: int, j: int) -> int:
    """The scaled balance of coin j that gives the invariant `d` with the balances of the others.

    Raises:
        Refused: a balance is too far from D, or the iteration does not converge.
    """
    count = len(xp)
    others = sorted((x for k, x in enumerate(xp) if k != j), reverse=True)
    if not MIN_D <= d <= MAX_D or not all(is_share(x, d) for x in others):
        raise Refused
    limit = max(others[0] // 10**14, d // 10**14, 100)
    y = d // count
    for x in reversed(others):
        y = y * d // (x * count)
    k0_others = E18
    for x in others:
        k0_others = k0_others * x * count // d
    y = newton_y(y, sum(others), k0_others, count, (ann, multiplier, gamma), d, limit)
    if not is_share(y, d):
        raise Refused
    return y


def newton_y(
    start: int, others: int, k0_others: int, count: int, parameters: tuple[int, int, int], d: int, limit: int
) -> int:
    """A scaled balance by Newton's method from a start, until steps are below `limit` or a part of 10^14.

    `others` is the sum of all other balances, `k0_others` their factor of K0, and `parameters` are (A times `count` to
    the power `count` times a multiplier, that multiplier, gamma).

    Raises:
        Refused: the iteration does not converge.
    """
    ann, multiplier, gamma = parameters
    y = start
    for _ in range(_ROUNDS):
        before = y
        k0 = k0_others * y * count // d
        if k0 == 0:
            raise Refused
        total = others + y
        off = _distance(gamma, k0)
        mul1 = E18 * d // gamma * off // gamma * off * multiplier // ann
        mul2 = E18 + 2 * E18 * k0 // off
        slope = E18 * y + total * mul2 + mul1 - d * mul2
        if slope < 0:
            y = before // 2
            continue
        slope_per_y = slope // y
        if slope_per_y == 0:
            raise Refused
        minus = mul1 // slope_per_y
        plus = (slope + E18 * d) // slope_per_y + minus * E18 // k0
        minus += E18 * total // slope_per_y
        y = before // 2 if plus < minus else plus - minus
        if abs(y - before) < max(limit, y // 10**14):
            return y
    raise Refused


def _distance(gamma: int, k0: int) -> int:
    """|gamma + 1 - K0| plus one unit, so that it is never 0."""
    return abs(gamma + E18 - k0) + 1


def is_share(x: int, d: int) -> bool:
    """Whether a scaled balance is in the allowed range around D."""
    return _MIN_SHARE_E18 <= x * E18 // d <= _MAX_SHARE_E18


def least_in(quote: Callable[[int], int], wanted_raw: int, guess_raw: int) -> int:
    """The least amount that is `Refused` or whose quote is at least `wanted_raw`. There must be such an amount.

    Curve pools have no quotes for exact outputs, so the amount is found by trial, outward from a guess. Quotes rise
    except for single units: the result is the least among the amounts around it.
    """

    def is_enough(amount_raw: int) -> bool:
        try:
            return quote(amount_raw) >= wanted_raw
        except Refused:
            return True

    high = _nearer(quote, wanted_raw, max(guess_raw, 1))
    step, low = 1, 0
    if is_enough(high):
        while high > step and is_enough(high - step):
            high, step = high - step, 2 * step
        low = max(high - step, 0)
    else:
        while not is_enough(high):
            low, high, step = high, high + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle
    return high


def _nearer(quote: Callable[[int], int], wanted_raw: int, guess_raw: int) -> int:
    """A guess improved by secant steps while they help."""
    before, quoted_before = 0, 0
    for _ in range(_SECANTS):
        try:
            quoted = quote(guess_raw)
        except Refused:
            return (before + guess_raw) // 2 or 1
        rise = quoted - quoted_before
        run = guess_raw - before
        if quoted == wanted_raw or rise * run <= 0:
            break
        before, quoted_before = guess_raw, quoted
        guess_raw = max(guess_raw + (wanted_raw - quoted) * run // rise, 1)
    return guess_raw


def most_in(quote: Callable[[int], object], refused_raw: int, guess_raw: int = 0) -> int:
    """The largest amount below `refused_raw` that is not `Refused`, by bisection, starting near a guess; 0 if there is
    none."""

    def is_taken(amount_raw: int) -> bool:
        try:
            quote(amount_raw)
        except Refused:
            return False
        return True

    low, high = 0, refused_raw
    step = max(guess_raw // 10**9, 1)
    if 0 < guess_raw < refused_raw and is_taken(guess_raw):
        low = guess_raw
        while low + step < high and is_taken(low + step):
            low, step = low + step, step * 8
        high = min(high, low + step)
    elif 0 < guess_raw < refused_raw:
        high = guess_raw
        while high - step > low and not is_taken(high - step):
            high, step = high - step, step * 8
        low = max(low, high - step)
    while high - low > 1:
        middle = (low + high) // 2
        if is_taken(middle):
            low = middle
        else:
            high = middle
    return low
