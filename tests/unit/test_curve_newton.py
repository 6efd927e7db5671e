"""Curve's Newton steps, digit for digit against one plain statement of them: also where pools are far off balance.

Where a step is small enough to stop decides the last digits, which vectors of pools near balance do not show.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from math import isqrt
from typing import Any

import pytest

from rebalancer.units import E18
from rebalancer.venues.curve_cubic import cubic_d, cubic_mean, cubic_y
from rebalancer.venues.curve_math import (
    Refused,
    crypto_d,
    crypto_y,
    geometric_mean,
    ng_stable_d,
    ng_stable_y,
    reduction_e18,
    stable_d,
    stable_y,
)
from rebalancer.venues.curve_two import TWO_LIMITS, Limits, two_d, two_reduction_e18, two_y

Parameters = tuple[int, int, int]
"""A n^n times a multiplier, that multiplier, gamma."""

V1: tuple[Parameters, ...] = ((3_645, 1, 7 * 10**13), (1_707_629, 100, 11_809_167_828_997))
NG: tuple[Parameters, ...] = ((1_707_629, 10_000, 11_809_167_828_997), (2_700_000, 10_000, 10**15))
TWO: tuple[Parameters, ...] = ((400_000, 10_000, 145 * 10**12), (40_000, 10_000, 2 * 10**15))


def states(coins: int, count: int = 400, spread: float = 2.5) -> Iterator[list[int]]:
    """Scaled balances of any size, up to some thousands of times apart."""
    rng = random.Random(7)
    for _ in range(count):
        size = 10 ** rng.uniform(18, 27)
        yield [int(size * 10 ** rng.uniform(-spread, spread)) for _ in range(coins)]


def newton_d(start: int, xp: Sequence[int], k0_at: Callable[[int], int], parameters: Parameters) -> int:
    """D of crypto pools of any number of coins; what K0 is at a D each mathematics rounds in its own way."""
    ann, multiplier, gamma = parameters
    n, total, d = len(xp), sum(xp), start
    for _ in range(255):
        k0 = k0_at(d)
        off = abs(gamma + E18 - k0) + 1
        one = E18 * d // gamma * off // gamma * off * multiplier // ann
        two = 2 * n * E18 * k0 // off
        slope = total + total * two // E18 + one * n // k0 - two * d // E18
        plus = d * (slope + total) // slope
        pull = d * (one // slope) // E18
        if k0 < E18:
            minus = d * d // slope + pull * (E18 - k0) // k0
        else:
            minus = d * d // slope - pull * (k0 - E18) // k0
        after = plus - minus if plus > minus else (minus - plus) // 2
        if abs(after - d) * 10**14 < max(10**16, after):
            break
        d = after
    return after


def newton_y(start: int, others: Sequence[int], k0_others: int, parameters: Parameters, d: int, limit: int) -> int:
    """A balance of crypto pools of any number of coins."""
    ann, multiplier, gamma = parameters
    n, y = len(others) + 1, start
    for _ in range(255):
        k0, total = k0_others * y * n // d, sum(others) + y
        off = abs(gamma + E18 - k0) + 1
        one = E18 * d // gamma * off // gamma * off * multiplier // ann
        two = E18 + 2 * E18 * k0 // off
        force, taken = E18 * y + total * two + one, d * two
        if force < taken:
            y //= 2
            continue
        slope = (force - taken) // y
        minus = one // slope
        plus = (force - taken + E18 * d) // slope + minus * E18 // k0
        minus += E18 * total // slope
        after = plus - minus if plus >= minus else y // 2
        if abs(after - y) < max(limit, after // 10**14):
            break
        y = after
    return after


def held(function: Callable[..., int], *args: Any) -> int | None:
    """What a function answers, None where the contract reverts."""
    try:
        return function(*args)
    except Refused:
        return None


@pytest.mark.parametrize("parameters", V1)
def test_d_of_tricrypto_is_that_of_the_plain_steps(parameters: Parameters) -> None:
    compared = 0
    for xp in states(3):
        ordered = sorted(xp, reverse=True)

        def k0_at(d: int, ordered: list[int] = ordered) -> int:
            k0 = E18
            for x in ordered:
                k0 = k0 * x * 3 // d
            return k0

        found = held(crypto_d, xp, *parameters[:2], parameters[2])
        if found is not None:
            assert found == newton_d(3 * geometric_mean(ordered), ordered, k0_at, parameters)
            compared += 1
    assert compared > 200


@pytest.mark.parametrize("parameters", NG)
def test_d_of_tricrypto_ng_is_that_of_the_plain_steps(parameters: Parameters) -> None:
    compared = 0
    for xp in states(3):
        x, y, z = ordered = sorted(xp, reverse=True)

        def k0_at(d: int, x: int = x, y: int = y, z: int = z) -> int:
            return 3 * E18 * x // d * y * 3 // d * z * 3 // d

        found = held(cubic_d, xp, parameters[0], parameters[2])
        if found is not None:
            assert found == newton_d(3 * cubic_mean(ordered), ordered, k0_at, parameters)
            compared += 1
    assert compared > 200


@pytest.mark.parametrize("parameters", TWO)
def test_d_of_twocrypto_is_that_of_the_plain_steps(parameters: Parameters) -> None:
    compared, limits = 0, TWO_LIMITS["ng"]
    for xp in states(2):
        x, y = ordered = sorted(xp, reverse=True)

        def k0_at(d: int, x: int = x, y: int = y) -> int:
            return 4 * E18 * x // d * y // d

        found = held(two_d, xp, parameters[0], parameters[2], limits)
        if found is not None:
            assert found == newton_d(2 * isqrt(x * y), ordered, k0_at, parameters)
            compared += 1
    assert compared > 200


@pytest.mark.parametrize("parameters", V1)
def test_balance_of_tricrypto_is_that_of_the_plain_steps(parameters: Parameters) -> None:
    compared = 0
    for xp in states(3, spread=1.5):
        d = held(crypto_d, xp, *parameters[:2], parameters[2])
        if d is None:
            continue
        xp[0] = xp[0] * 11 // 10
        for j in (1, 2):
            small, large = sorted(x for k, x in enumerate(xp) if k != j)
            start = d // 3 * d // (small * 3) * d // (large * 3)
            k0_others = E18 * large * 3 // d * small * 3 // d
            limit = max(large // 10**14, d // 10**14, 100)
            found = held(crypto_y, xp, *parameters, d, j)
            if found is not None:
                expected = newton_y(start, (small, large), k0_others, parameters, d, limit)
                assert found == expected
                compared += 1
    assert compared > 200


@pytest.mark.parametrize("parameters", [*NG, (200_000_000, 10_000, 3 * 10**16)])
def test_balance_in_closed_form_is_on_the_invariant(parameters: Parameters) -> None:
    """The closed form is no Newton's method: it must lie where D is what it was, to the digits that it has."""
    ann, _, gamma = parameters
    compared = 0
    for xp in states(3, 150, spread=1.0):
        d = held(cubic_d, xp, ann, gamma)
        if d is None:
            continue
        xp[0] = xp[0] * 11 // 10
        try:
            y, k0 = cubic_y(xp, ann, gamma, d, 2)
        except Refused:
            continue
        again = cubic_d((xp[0], xp[1], y), ann, gamma)
        assert again == pytest.approx(d, rel=1e-9)
        if k0:
            share = 27 * E18 * xp[0] * xp[1] * y // d**3
            assert k0 == pytest.approx(share, rel=1e-9)
            assert cubic_d((xp[0], xp[1], y), ann, gamma, k0) == pytest.approx(d, rel=1e-9)
        compared += 1
    assert compared > 80


@pytest.mark.parametrize("version", ["ng", "ng-v2.1.0"])
@pytest.mark.parametrize("parameters", TWO)
def test_balance_of_two_coins_is_on_the_invariant(parameters: Parameters, version: str) -> None:
    ann, _, gamma = parameters
    limits = TWO_LIMITS[version]
    compared = 0
    for xp in states(2, 150, spread=0.8):
        d = held(two_d, xp, ann, gamma, limits)
        if d is None:
            continue
        xp[0] = xp[0] * 11 // 10
        try:
            y, k0 = two_y(xp, ann, gamma, d, 1, limits)
        except Refused:
            continue
        again = two_d((xp[0], y), ann, gamma, limits)
        assert again == pytest.approx(d, rel=1e-9)
        if k0:
            assert k0 == pytest.approx(4 * E18 * xp[0] * y // d**2, rel=1e-9)
            assert two_d((xp[0], y), ann, gamma, limits, k0) == pytest.approx(d, rel=1e-9)
        compared += 1
    assert compared > 80


# Stable pools


def plain_stable_d(xp: Sequence[int], ann: int, precision: int, *, is_ng: bool) -> int:
    """The steps of both kinds, which round the product in another order."""
    n, total, d = len(xp), sum(xp), sum(xp)
    for _ in range(255):
        product = d
        for x in xp:
            product = product * d // (x if is_ng else x * n)
        if is_ng:
            product //= n**n
        top = (ann * total // precision + product * n) * d
        after = top // ((ann - precision) * d // precision + (n + 1) * product)
        if abs(after - d) <= 1:
            break
        d = after
    return after


def plain_stable_y(xp: Sequence[int], j: int, ann: int, precision: int, d: int) -> int:
    n = len(xp)
    c, total = d, 0
    for k, x in enumerate(xp):
        if k != j:
            c, total = c * d // (x * n), total + x
    c = c * d * precision // (ann * n)
    b, y = total + d * precision // ann, d
    for _ in range(255):
        after = (y * y + c) // (2 * y + b - d)
        if abs(after - y) <= 1:
            break
        y = after
    return after


@pytest.mark.parametrize("coins", [2, 3, 4, 8])
@pytest.mark.parametrize("a", [1, 7, 200, 20_000])
def test_stable_pools_are_those_of_the_plain_steps(coins: int, a: int) -> None:
    for xp in states(coins, 60):
        d = stable_d(xp, a)
        assert d == plain_stable_d(xp, a * coins, 1, is_ng=False)
        ng = held(ng_stable_d, xp, a * coins * 100)
        assert ng is None or ng == plain_stable_d(xp, a * coins * 100, 100, is_ng=True)
        moved = [xp[0] * 6 // 5, *xp[1:]]
        for j in range(1, coins):
            assert stable_y(xp, 0, j, moved[0], a, d) == plain_stable_y(moved, j, a * coins, 1, d)
            if ng is not None:
                found = held(ng_stable_y, xp, 0, j, moved[0], a * coins * 100, ng)
                assert found in (None, plain_stable_y(moved, j, a * coins * 100, 100, ng))
    assert stable_d([0] * coins, a) == ng_stable_d([0] * coins, 100 * a) == 0
    for lacks in ([0, *[E18] * (coins - 1)], [*[E18] * (coins - 1), 0]):
        with pytest.raises(Refused):
            stable_d(lacks, a)
        with pytest.raises(Refused):
            ng_stable_d(lacks, 100 * a)


@pytest.mark.parametrize("fee_gamma", [0, 5 * 10**14, 10**16, 10**18])
def test_reduction_of_the_fee_is_by_how_far_the_product_is_from_the_mean(fee_gamma: int) -> None:
    for three in states(3, 50):
        near = E18
        for x in three:
            near = near * 3 * x // sum(three)
        expected = near if fee_gamma == 0 else fee_gamma * E18 // (fee_gamma + E18 - near)
        assert reduction_e18(three, fee_gamma) == expected
    for two in states(2, 50):
        total = sum(two)
        below = fee_gamma + E18 - 4 * E18 * two[0] // total * two[1] // total
        assert two_reduction_e18(two, fee_gamma) == fee_gamma * E18 // below
    assert reduction_e18([E18] * 3, fee_gamma) == pytest.approx(E18, abs=3)
    with pytest.raises(Refused):
        two_reduction_e18([0, 0], fee_gamma)


@pytest.mark.parametrize(
    ("find", "rest", "share"),
    [
        (lambda xp: crypto_d(xp, 3_645, 1, 7 * 10**13), [10**24, 10**24], 10**16),
        (lambda xp: cubic_d(xp, 1_707_629, 11_809_167_828_997), [10**24, 10**24], 10**16),
        (lambda xp: two_d(xp, 400_000, 10**14, TWO_LIMITS["ng"]), [10**24], 10**16),
        (lambda xp: two_d(xp, 400_000, 10**14, TWO_LIMITS["ng-v2.1.0"]), [10**24], 5 * 10**15),
    ],
    ids=["v1", "ng", "two", "two later"],
)
def test_d_is_refused_once_a_balance_is_too_small_a_part_of_it(
    find: Callable[[Sequence[int]], int], rest: list[int], share: int
) -> None:
    """The least balance that is served is that part of D."""
    low, high = 1, 10**24
    while high - low > 1:
        middle = (low + high) // 2
        if held(find, [*rest, middle]) is None:
            low = middle
        else:
            high = middle

    assert high * E18 / find([*rest, high]) == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("xp", [(9 * 10**23, 10**23), (10**23 + 7, 9 * 10**23 + 1)])
def test_balances_may_be_exactly_the_least_and_the_most_part_of_d(xp: tuple[int, int]) -> None:
    d = two_d(xp, 400_000, 10**14, TWO_LIMITS["ng"])
    least, most = sorted(x * E18 // d for x in xp)

    def served(low: int, high: int) -> bool:
        exact: Any = type("Exact", (Limits,), {"after": (low, high)})
        return held(two_d, xp, 400_000, 10**14, exact(2 * 10**15, False)) == d

    assert served(least, most)
    assert not served(least + 1, most)
    assert not served(least, most - 1)
