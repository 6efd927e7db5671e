"""The hub's arithmetic in Python by itself: each number against the same in fractions or in a hundred digits.

tests/contract/test_oracle_differential.py holds the same functions equal to the contract's.
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from math import ceil, floor
from random import Random

import pytest

from rebalancer import oracle
from rebalancer.oracle import FAULT_REMEDIES, MAX_TICK, MAX_TOKEN_DECIMALS, Fault
from rebalancer.units import BPS, E18

DIGITS = Context(prec=120)
TICK = Decimal("1.0001")
MAX_UINT256 = (1 << 256) - 1


def test_every_fault_has_words_and_a_remedy() -> None:
    assert len({fault.words for fault in Fault}) == len(Fault)
    assert set(FAULT_REMEDIES) == set(Fault) - {Fault.NONE}


def test_answers_and_rates_are_scaled_by_their_decimals_and_round_down() -> None:
    rng = Random(1)
    for decimals in range(MAX_TOKEN_DECIMALS + 1):
        rate, quote = rng.randrange(10**20, 10**40), rng.randrange(10**14, 10**30)
        ratio_e18 = oracle.rate_e18(rate, decimals)
        assert ratio_e18 == floor(Fraction(rate, 10**decimals) * E18)
        assert oracle.in_usd_e18(ratio_e18, quote) == floor(Fraction(ratio_e18, E18) * quote)
        assert oracle.in_usd_e18(ratio_e18, None) == ratio_e18
        if decimals <= oracle.MAX_FEED_DECIMALS:
            assert oracle.feed_price_e18(rate, decimals) == Fraction(rate, 10**decimals) * E18


@pytest.mark.parametrize("window", [1, 600, 1_801])
def test_mean_tick_of_sums_that_wrap_around_rounds_down(window: int) -> None:
    """Sums are stored in 56 bits with a sign: their difference is right wherever either stands."""
    rng, half = Random(window), 1 << 55
    gains = [
        0,
        1,
        -1,
        window,
        -window,
        half - 1,
        -half,
        *(rng.randrange(-half, half) for _ in "1234"),
    ]
    for gain in gains:
        for before in (0, half - 1, -half, rng.randrange(-half, half)):
            after = (before + gain + half) % (1 << 56) - half
            assert oracle.mean_tick(before, after, window) == floor(Fraction(gain, window))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 9_999, 65_536, 200_001, 524_287, MAX_TICK])
@pytest.mark.parametrize("sign", [-1, 1])
def test_price_of_a_tick_is_its_power_but_for_the_root_s_rounding(size: int, sign: int) -> None:
    """The root of 1.0001**-size has 128 bits behind the point and is rounded down, by at most 1.1 of its last unit for each tick."""
    for base, quote in ((0, 0), (18, 6), (6, 18), (27, 0), (0, 27), (27, 27)):
        scale = Decimal(10) ** (18 + base - quote)
        exact = DIGITS.multiply(scale, DIGITS.power(TICK, sign * size))
        found = oracle.tick_price_e18(sign * size, base, quote)
        if exact * 10**quote >= 1 << 256:
            assert found == MAX_UINT256
            continue
        root = DIGITS.power(TICK, Decimal(-size) / 2)
        by_root = DIGITS.multiply(exact, Decimal("2.2") * size / (root * (1 << 128)))
        # What is behind the point is dropped at the end and, before the quote's decimals are taken off, after either step.
        by_steps = 1 + (1 + 1 / root) / 10**quote
        if sign < 0:
            assert -by_root - by_steps < found - exact <= 0
        else:
            assert -by_steps < found - exact <= by_root


@pytest.mark.parametrize("base", range(21, MAX_TOKEN_DECIMALS + 1))
def test_price_above_256_bits_is_the_largest_number(base: int) -> None:
    """Compared before the quote's decimals are taken off; a base of fewer decimals does not get there at any tick."""
    first = next(
        tick
        for tick in range(floor((256 * 0.693147 - (18 + base) * 2.302585) * 10_000), MAX_TICK)
        if DIGITS.power(TICK, tick) * 10 ** (18 + base) >= 1 << 256
    )
    assert oracle.tick_price_e18(first, base, 6) == MAX_UINT256
    below = oracle.tick_price_e18(first - 1, base, 6)
    assert Fraction(9_998, BPS) < Fraction(below * 10**6, MAX_UINT256) <= 1


def test_divergence_is_of_the_lower_price_whichever_comes_first() -> None:
    rng = Random(5)
    for low in (1, 3, BPS, *(rng.randrange(10**12, 10**24) for _ in range(20))):
        for limit in (1, 50, 2_000, 30_000):
            at_limit = low + floor(Fraction(low * limit, BPS))
            for high in (low, at_limit, at_limit + 1):
                apart = Fraction(high - low, low) * BPS
                for pair in ((low, high), (high, low)):
                    assert oracle.divergence_bps(*pair) == ceil(apart)
                    assert oracle.diverges(*pair, limit) == (apart > limit)
    assert oracle.divergence_bps(0, 5) == oracle.divergence_bps(0, 0) == 0
    assert oracle.diverges(0, 1, 2_000)
    assert not oracle.diverges(0, 0, 2_000)
