"""How much may be done for one plan? Counted in steps, so that the same input makes the same plan everywhere.

Pure: a clock, where there is one, is passed in.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Effort"]

_MOST_STEPS = 900
"""Steps of one plan, of some 0.12 ms on a quiet core: what takes other time is counted as so many. A market of 60 pools that disagree may take them all, one whose bound proves its plan 50."""


def _never() -> bool:
    return False


class Effort:
    """Steps that are left for a plan; what was found by then is the plan.

    With `is_late` a clock may end it sooner: then two machines may plan differently, so what is to be replayed
    has none.
    """

    def __init__(self, most_steps: int = _MOST_STEPS, is_late: Callable[[], bool] = _never) -> None:
        self._most = self._left = most_steps
        self._is_late = is_late
        self.was_cut = False
        """Whether something was left untried."""

    def spend(self, steps: int) -> None:
        """Count steps that were made."""
        self._left -= steps

    def is_over(self, kept: float = 0.0) -> bool:
        """Whether to stop here, where that part of all is kept for what follows; asking before something is tried notes that it was not."""
        is_over = self._left <= kept * self._most or self._is_late()
        self.was_cut |= is_over
        return is_over
