"""Balancer's powers, digit for digit against a plain statement of LogExpMath's steps, and its pools at their edges."""

from __future__ import annotations

import random
from dataclasses import astuple
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalancer.errors import LiquidityExhausted, UnknownToken
from rebalancer.units import E18
from rebalancer.venues import BalancerWeightedPool, load, of_class
from rebalancer.venues import balancer_math as module
from rebalancer.venues.balancer_math import pow_e18, pow_up
from rebalancer.venues.model import PowerCurve
from tests.unit.test_pool_protocols import A, B, C, balancer, token

ONE_20, ONE_36 = 10**20, 10**36


def cut(a: int, b: int) -> int:
    """a / b towards zero, as the machine divides words with a sign."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def exponential(x: int) -> int:
    """e^x of 18 decimals with a sign: whole powers, then eight of 20 decimals, then twelve terms of the series."""
    if x < 0:
        return cut(ONE_36, exponential(-x))
    factor = 1
    for power, value in module._WHOLE_POWERS:
        if x >= power:
            x, factor = x - power, value
            break
    x, product = 100 * x, ONE_20
    for power, value in module._POWERS[:8]:
        if x >= power:
            x, product = x - power, cut(product * value, ONE_20)
    term, terms = ONE_20, ONE_20
    for n in range(1, 13):
        term = cut(cut(term * x, ONE_20), n)
        terms += term
    return cut(cut(product * terms, ONE_20) * factor, 100)


def logarithm(a: int) -> int:
    """ln a of 18 decimals with a sign, by all twelve powers and six terms of the series of the inverse tangent."""
    if a < E18:
        return -logarithm(cut(ONE_36, a))
    total = 0
    for power, value in module._WHOLE_POWERS:
        if a >= value * E18:
            a, total = cut(a, value), total + power
    a, total = 100 * a, 100 * total
    for power, value in module._POWERS:
        if a >= value:
            a, total = cut(a * ONE_20, value), total + power
    z = cut((a - ONE_20) * ONE_20, a + ONE_20)
    return cut(total + 2 * series(z, ONE_20, 11), 100)


def series(z: int, one: int, last: int) -> int:
    """z + z^3 / 3 + … + z^last / last."""
    squared = cut(z * z, one)
    power = terms = z
    for odd in range(3, last + 1, 2):
        power = cut(power * squared, one)
        terms += cut(power, odd)
    return terms


def power(x: int, y: int) -> int | None:
    """x^y, both of 18 decimals; None where the contract reverts."""
    if y == 0:
        return E18
    if x == 0:
        return 0
    if 9 * 10**17 < x < 11 * 10**17:
        log_36 = 2 * series(cut((x * E18 - ONE_36) * ONE_36, x * E18 + ONE_36), ONE_36, 15)
        whole = cut(log_36, E18)
        exponent = whole * y + cut((log_36 - whole * E18) * y, E18)
    else:
        exponent = logarithm(x) * y
    exponent = cut(exponent, E18)
    return exponential(exponent) if -41 * E18 <= exponent <= 130 * E18 else None


BASES = [
    *(0, 1, 2, 10**9, E18 // 10, E18 - 1, E18, E18 + 1, 2 * E18, 10 * E18, 10**30, 2**255),
    *(9 * 10**17, 9 * 10**17 + 1, 11 * 10**17 - 1, 11 * 10**17),
    *(n * value // (100 if value < 10**60 else 1) for _, value in module._POWERS for n in (1, 2)),
    *(value * E18 + off for _, value in module._WHOLE_POWERS for off in (-1, 0, 1)),
    *(-(-value // 100) + off for _, value in module._POWERS for off in (-1, 0, 1)),
]
EXPONENTS = [
    *(0, 1, 10**16, E18 // 99, E18 // 3, E18 - 1, E18, E18 + 1, 2 * E18, 4 * E18, 99 * E18),
    *(power // 100 for power, _ in module._POWERS),
    *(power for power, _ in module._WHOLE_POWERS),
]


def check(x: int, y: int) -> None:
    expected = power(x, y)
    if expected is None:
        with pytest.raises(OverflowError, match=f"{x} to the power of {y} is out of range"):
            pow_e18(x, y)
    else:
        assert pow_e18(x, y) == expected, f"{x} to the power of {y}"


@pytest.mark.parametrize("x", BASES)
def test_power_is_that_of_the_plain_steps_at_every_edge(x: int) -> None:
    for y in EXPONENTS:
        check(x, y)


def test_power_of_a_half_is_one_over_that_of_two_exactly_where_it_divides() -> None:
    assert pow_e18(E18 // 2, E18 + 2) == E18 // 2
    check(E18 // 2, E18 + 2)


@given(
    st.integers(0, 255).flatmap(lambda bits: st.integers(1 << bits, (2 << bits) - 1)),
    st.integers(0, 66).flatmap(lambda bits: st.integers(1 << bits, (2 << bits) - 1)),
)
def test_power_is_that_of_the_plain_steps_of_any_size(x: int, y: int) -> None:
    check(x, y)


@given(st.integers(E18 * 85 // 100, E18 * 115 // 100), st.integers(10**15, 99 * E18))
def test_power_is_that_of_the_plain_steps_near_one(x: int, y: int) -> None:
    """Where swaps are: between 0.9 and 1.1 the logarithm has 36 decimals."""
    check(x, y)


def test_logarithms_are_those_of_the_plain_steps_to_their_last_digit() -> None:
    """Most of which no power shows."""
    rng = random.Random(1)
    for _ in range(20_000):
        a = rng.randint(E18, 4 * E18)
        assert module._ln(a) == logarithm(a)
    for _ in range(2_000):
        x = rng.randint(9 * 10**17, 11 * 10**17)
        z = cut(abs(x - E18) * E18 * ONE_36, (x + E18) * E18)
        found = module._ln_near_one(abs(x - E18) * E18, (x + E18) * E18)
        assert found == 2 * series(z, ONE_36, 15)


@pytest.mark.parametrize(("end", "sign"), [(130, 1), (41, -1)])
def test_power_ends_where_the_contract_reverts(end: int, sign: int) -> None:
    """y ln x of the last one that is served, and of the first that is not."""
    x = 3 * E18 if sign > 0 else E18 // 3
    low, high = E18, 200 * E18
    while high - low > 1:
        y = (low + high) // 2
        low, high = (y, high) if power(x, y) is not None else (low, y)

    assert abs(logarithm(x)) * low // E18 <= end * E18 < abs(logarithm(x)) * high // E18
    check(x, low)
    check(x, high)


@given(st.integers(1, 5 * E18), st.integers(10**16, 5 * E18))
def test_power_up_adds_the_largest_error_and_a_unit(x: int, y: int) -> None:
    """A hundredth of a billionth of a thousandth, up; but for what is multiplied out."""
    found = power(x, y)
    if found is None:
        return
    expected = found + -(-found * 10_000 // E18) + 1
    assert pow_up(x, y, shortcuts=False) == expected
    if y not in (E18, 2 * E18, 4 * E18):
        assert pow_up(x, y, shortcuts=True) == expected
    square = -(-x * x // E18)
    assert pow_up(x, E18, shortcuts=True) == x
    assert pow_up(x, 2 * E18, shortcuts=True) == square
    assert pow_up(x, 4 * E18, shortcuts=True) == -(-square * square // E18)


# Pools


def pool(**changes: object) -> BalancerWeightedPool:
    return of_class(load(balancer(**changes)), BalancerWeightedPool)


@pytest.mark.parametrize("fee", ["0", "1/2", "0.01", "0.003", "0.999999999999999999", "0.000000000000000001"])
@pytest.mark.parametrize("way", [(A, B), (B, A)])
def test_most_that_goes_in_is_thirty_per_cent_once_its_fee_is_off(fee: str, way: tuple[str, str]) -> None:
    """The last amount that is quoted, by trying the one after it."""
    one = pool(fee=fee, balances=[1_007, 100_003 * 10**12 + 7], tokens=[token(A, 6), token(B)])
    with pytest.raises(LiquidityExhausted) as refusal:
        one.quote_in(*way, 10**40)
    most = refusal.value.possible_raw

    def left(amount: int) -> Fraction:
        return Fraction(amount - -(-amount * one.fee_e18 // E18))

    holds = one.balances[0 if way[0] == A else 1]
    limit = Fraction(3, 10) * holds
    assert left(most) <= limit < left(most + 1)
    one.quote_in(*way, most)
    with pytest.raises(LiquidityExhausted):
        one.quote_in(*way, most + 1)
    assert one.flow_to(*way, 0.0)[0] == most


@pytest.mark.parametrize("way", [(A, B), (B, A)])
def test_curve_is_what_flows_are_made_of(way: tuple[str, str]) -> None:
    one = pool(fee="0.003")
    i, j = (0, 1) if way[0] == A else (1, 0)

    holds_in, holds_out, exponent, kept, most = astuple(one.shape(*way))

    assert (holds_in, holds_out) == (float(one.balances[i]), float(one.balances[j]))
    assert exponent == one.weights_e18[i] / one.weights_e18[j]
    assert kept == pytest.approx(0.997, rel=1e-15)
    assert most == float(one.flow_to(*way, 0.0)[0])
    best = holds_out / holds_in * exponent * kept
    assert one.flow_to(*way, best) == (0, 0)
    for share in (0.99, 0.9, 0.7):
        amount = (share ** (-1 / (1 + exponent)) - 1) * holds_in / kept
        found = one.flow_to(*way, best * share)
        out = holds_out * (1 - (holds_in / (holds_in + found[0] * kept)) ** exponent)
        assert found[0] == pytest.approx(min(amount, most), rel=1e-6, abs=1)
        assert found[1] == pytest.approx(out, rel=1e-9, abs=1)
    with pytest.raises(UnknownToken):
        one.shape(A, C)


def test_flow_far_beyond_all_prices_is_the_most() -> None:
    one = pool(fee="0")
    most = one.flow_to(A, B, 0.0)

    assert one.flow_to(A, B, 1e-300) == one.flow_to(A, B, -1.0) == most
    assert most[1] == pytest.approx(one.quote_in(A, B, most[0]), rel=1e-9)


@pytest.mark.parametrize("balances", [[0, 5], [5, 0], [0, 0]])
def test_pool_that_lacks_a_token_is_closed_and_one_with_a_unit_is_not(balances: list[int]) -> None:
    closed = pool(balances=balances)

    assert closed.shape(A, B) == closed.shape(B, A) == PowerCurve(0.0, 0.0, 0.0, 0.0, 0.0)
    assert closed.flow_to(A, B, 0.0) == (0, 0)
    assert closed.spot_price(A, B) == 0 or balances[0]
    one = pool(balances=[1, 1], tokens=[token(A), token(B)], fee="0")
    shape = one.shape(A, B)
    assert (shape.balance_in, shape.balance_out) == (1.0, 1.0)
    assert one.spot_price(A, B) == 4


@given(st.integers(1, 300), st.integers(0, 10**17))
def test_amount_out_asks_for_its_weighted_power_and_the_fee_on_top(part: int, fee: int) -> None:
    """By the plain steps: base and exponent up, the power up, the difference up, to raw units up, the fee on top up."""
    one = pool(fee=str(Fraction(fee, E18)), pow_version="v1")
    balance_in, balance_out = 80 * E18, 20 * E18
    out = balance_out * part // 1_000
    base = -(-balance_out * E18 // (balance_out - out))
    raised = power(base, -(-E18 * one.weights_e18[1] // one.weights_e18[0]))
    assert raised is not None
    raised += -(-raised * 10_000 // E18) + 1
    net = -(-balance_in * (raised - E18) // E18)
    net_raw = -(-net // 10**12)

    assert one.quote_out(A, B, out) == -(-net_raw * E18 // (E18 - fee))

    # And the other way, where what goes in has the digits to show the last unit of the power.
    wanted = 80 * 10**6 * part // 1_000
    base = -(-balance_in * E18 // (balance_in - wanted * 10**12))
    raised = power(base, -(-E18 * one.weights_e18[0] // one.weights_e18[1]))
    assert raised is not None
    raised += -(-raised * 10_000 // E18) + 1
    net_raw = -(-balance_out * (raised - E18) // E18)
    assert one.quote_out(B, A, wanted) == -(-net_raw * E18 // (E18 - fee))


@given(st.integers(1, 24 * 10**6), st.integers(0, 10**17))
def test_amount_in_pays_its_weighted_power_after_the_fee(amount: int, fee: int) -> None:
    """By the plain steps: the fee up, base up, exponent down, the power up, what is left down."""
    one = pool(fee=str(Fraction(fee, E18)), pow_version="v1")
    net = (amount - -(-amount * fee // E18)) * 10**12
    base = -(-80 * E18 * E18 // (80 * E18 + net))
    raised = power(base, one.weights_e18[0] * E18 // one.weights_e18[1])
    assert raised is not None
    raised += -(-raised * 10_000 // E18) + 1

    assert one.quote_in(A, B, amount) == 20 * E18 * max(0, E18 - raised) // E18
