"""Instants and durations as people read them. Programs get unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["span", "utc"]

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def utc(at: int) -> str:
    """A unix second: `2023-04-05 22:35:11 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """A duration in its largest unit or two, rounded down: `47 h 59 min` is `1 d 23 h`."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def _two(whole: int, large: int, name: str, small: int, other: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {name}" + (f" {rest} {other}" if rest else "")
