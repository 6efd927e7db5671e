"""Formats of numbers, times and durations for people. Programs use unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from rebalancer.oracle import Fault

__all__ = ["counted", "named_number", "span", "utc"]

_FAULTS = tuple(Fault)

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def utc(at: int) -> str:
    """A unix time: `2023-04-05 22:35:11 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 vault`, `1,200 vaults`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def span(seconds: float) -> str:
    """A duration, rounded down to seconds, or to minutes from one hour on: 172,798 seconds are `1 d 23 h 59 min`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    parts = (
        (whole // _DAY, "d"),
        (whole % _DAY // _HOUR, "h"),
        (whole % _HOUR // _MINUTE, "min"),
        (whole % _MINUTE if whole < _HOUR else 0, "s"),
    )
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


_INSTANTS = ("At", "ntil", "deadline", "timestamp", "nowSeconds", "glideStart", "glideEnd")
"""Endings of names of contract fields that hold a time, in unix seconds."""
_LATEST = 2**34
"""Larger numbers are not times."""


def named_number(name: str, value: object) -> str:
    """A named contract value. A time, a duration or a price fault is also shown in readable form, recognized by its
    name."""
    if isinstance(value, int) and _MINUTE <= value < _LATEST:
        if name.endswith(_INSTANTS):
            return f"{name}={value} ({utc(value)})"
        if name.endswith("Seconds"):
            return f"{name}={value} ({span(value)})"
    if name == "fault" and isinstance(value, int) and value < len(_FAULTS):
        return f"{name}={value} ({_FAULTS[value].value})"
    if isinstance(value, bytes):
        return f"{name}=0x{value.hex()}"
    return f"{name}={value}"
