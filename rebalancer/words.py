"""Numbers, instants and durations as people read them. Programs get unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from rebalancer.oracle import Fault

__all__ = ["counted", "named_number", "span", "utc"]

_FAULTS = tuple(Fault)

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def utc(at: int) -> str:
    """A unix second: `2023-04-05 22:35:11 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def counted(number: int, noun: str) -> str:
    """So many of something: `1 vault`, `1,200 vaults`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def span(seconds: float) -> str:
    """A duration without its seconds from an hour on, rounded down: 172,798 seconds are `1 d 23 h 59 min`."""
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
"""How contracts' names of instants end, in unix seconds."""
_LATEST = 2**34
"""Later is no instant that anybody means."""


def named_number(name: str, value: object) -> str:
    """A value as a contract has it, and what people read in it where its name says that it is an instant, a duration or a price's fault."""
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
