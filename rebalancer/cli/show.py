"""How are numbers and results shown, to people and to programs?

For programs: JSON with stable keys, every whole number as a string, because JSON's own lose digits
above 2^53. For people: exact decimals, tables, colour where there is a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import click
from rich.console import Console

from rebalancer.units import BPS, E18

__all__ = ["NOTHING", "amount", "bps_text", "console", "percent", "plain", "print_json", "usd"]

NOTHING = "-"
"""What stands where there is no number."""

_PLAIN_WIDTH = 140
"""Columns where there is no terminal: wide enough for a transaction hash beside its name."""


def console() -> Console:
    """Standard output, for people. Strings are shown as they are: what has a style is a `Text`."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def plain(value: Any) -> Any:
    """A result as JSON has it: dataclasses as objects, whole numbers as strings."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value)


def print_json(value: Any) -> None:
    """A result on standard output, for programs."""
    click.echo(json.dumps(plain(value), indent=2))


def amount(raw: int, decimals: int, most_decimals: int | None = None) -> str:
    """Raw units as whole tokens: exact, or cut after `most_decimals` (a cut is marked)."""
    sign = "-" if raw < 0 else ""
    whole, rest = divmod(abs(raw), 10**decimals)
    text = f"{rest:0{decimals}d}".rstrip("0") if decimals else ""
    if most_decimals is not None and len(text) > most_decimals:
        text = text[:most_decimals] + "…"
    return f"{sign}{whole:,}" + (f".{text}" if text else "")


def usd(value_e18: int, decimals: int = 2) -> str:
    """USD times 1e18, rounded to the nearest cent or what else is asked for."""
    return f"{_sign(value_e18)}${_rounded(value_e18, decimals)}"


def percent(fraction_e18: int, decimals: int = 2) -> str:
    """Parts of 1e18 as a percentage, rounded to the nearest."""
    return f"{_sign(fraction_e18)}{_rounded(100 * fraction_e18, decimals)} %"


def _sign(number: int) -> str:
    return "-" if number < 0 else ""


def _rounded(number_e18: int, decimals: int) -> str:
    scaled = (abs(number_e18) * 10**decimals * 2 + E18) // (2 * E18)
    whole, rest = divmod(scaled, 10**decimals)
    return f"{whole:,}.{rest:0{decimals}d}"


def bps_text(bps: int) -> str:
    """Basis points as a percentage."""
    return percent(bps * E18 // BPS)
