"""When is something that keeps failing left alone, and when is it tried again?

Closed, it lets everything through. After so many failures in a row it opens and lets nothing through for a while; then one try decides:
a success closes it, a failure opens it for twice as long, up to a longest rest. What must not be tried again is tripped: only a person,
by a restart, closes that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Breaker"]

_MOST_DOUBLINGS = 64
"""More than any rest needs to become the longest; a float has room for 1,023."""


@dataclass
class Breaker:
    """A circuit breaker. Times are seconds on any one clock; `failures` and `backoff_seconds` are when and for how long it first opens."""

    failures: int
    backoff_seconds: float
    longest_seconds: float = 3_600.0
    failed_in_a_row: int = 0
    why: str = ""
    since: float = 0.0
    until: float = 0.0
    _opened: int = 0

    @property
    def is_tripped(self) -> bool:
        """Whether it stays open for good."""
        return math.isinf(self.until)

    def is_open(self, now: float) -> bool:
        """Whether nothing may be tried now."""
        return now < self.until

    def failed(self, why: str, now: float) -> bool:
        """Count a failure, and say whether that opened it."""
        self.failed_in_a_row += 1
        if self.is_tripped or self.failed_in_a_row < self.failures:
            return False
        rest = self.backoff_seconds * 2.0 ** min(self._opened, _MOST_DOUBLINGS)
        self._open(why, now, min(self.longest_seconds, rest))
        self._opened += 1
        return True

    def trip(self, why: str, now: float) -> None:
        """Open it for good."""
        self.failed_in_a_row += 1
        self._open(why, now, math.inf)

    def succeeded(self) -> None:
        """Close it, unless it is tripped, and forget all failures."""
        if not self.is_tripped:
            self.failed_in_a_row, self._opened, self.why, self.until = 0, 0, "", 0.0

    def _open(self, why: str, now: float, rest: float) -> None:
        if not self.why:
            self.since = now
        self.why, self.until = why, now + rest
