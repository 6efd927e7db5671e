"""Effort limit of one plan, counted in steps, so that the same input gives the same plan on every machine.

Pure: an optional clock is passed in.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Effort"]

_MOST_STEPS = 900
"""Default number of steps, of about 0.12 ms on an idle core; other work is converted to steps. A market of 60
disagreeing pools may use all of them, a market whose bound proves the plan about 50."""


def _never() -> bool:
    return False


class Effort:
    """Remaining steps for a plan. When none is left, the best plan so far is used.

    With `is_late`, a clock may end the search sooner. Two machines may then plan differently, so a replay has no clock.
    """

    def __init__(self, most_steps: int = _MOST_STEPS, is_late: Callable[[], bool] = _never) -> None:
        self._most = self._left = most_steps
        self._is_late = is_late
        self.was_cut = False
        """Whether something was left untried."""

    def spend(self, steps: int) -> None:
        """Count completed steps."""
        self._left -= steps

    def is_over(self, kept: float = 0.0) -> bool:
        """Whether to stop, while the fraction `kept` is reserved for later work. A True result records that something
        was not tried."""
        is_over = self._left <= kept * self._most or self._is_late()
        self.was_cut |= is_over
        return is_over
