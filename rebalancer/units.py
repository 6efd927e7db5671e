"""Number scales and roundings. No I/O, and no floats for money."""

from __future__ import annotations

__all__ = [
    "BPS",
    "E18",
    "PIPS",
    "PIPS_PER_BPS",
    "SHARE_DECIMALS",
    "YEAR_SECONDS",
    "div_up",
    "mul_div_down",
    "mul_div_up",
]

BPS = 10_000
PIPS = 1_000_000
"""Millionths, the unit of venue fees."""

PIPS_PER_BPS = PIPS // BPS

E18 = 10**18
"""One as a fixed-point number with 18 decimals."""

SHARE_DECIMALS = 18
"""Decimals of the shares of every vault."""

YEAR_SECONDS = 365 * 86_400
"""Year of the streaming fee: 365 days, as in BasketVault."""


def div_up(numerator: int, denominator: int) -> int:
    """Quotient of two non-negative integers, rounded up."""
    return -(-numerator // denominator)


def mul_div_down(a: int, b: int, denominator: int) -> int:
    """a * b / denominator, rounded down; all non-negative."""
    return a * b // denominator


def mul_div_up(a: int, b: int, denominator: int) -> int:
    """a * b / denominator, rounded up; all non-negative."""
    return -(-a * b // denominator)
