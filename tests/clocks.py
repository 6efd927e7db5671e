"""What tests do about time: they set it, they wait for what must happen, and they never judge by how long that took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

__all__ = ["LONGEST_SECONDS", "SkippingClock", "calls_made", "wait_for"]

LONGEST_SECONDS = 120.0
"""What has not happened by then never will, however busy the machine is: it ends a wait and decides no test that passes."""


def wait_for(what: str, found: Callable[[], Any], seconds: float = LONGEST_SECONDS) -> Any:
    """What a question answers once it answers with something."""
    until = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < until, f"{what} never came"
        time.sleep(0.02)
    return answer


class SkippingClock:
    """The monotonic clock of the whole process, from which a test skips time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._plain = time.monotonic
        self._skipped = 0.0
        patch.setattr("time.monotonic", lambda: self._plain() + self._skipped)

    def skip(self, seconds: float) -> None:
        """From now on it is later by so much."""
        self._skipped += seconds


def calls_made(work: Callable[[], object]) -> int:
    """How many functions a piece of work calls, of Python's and of C's: its cost, where a clock would tell the machine's load."""
    count = 0

    def counted(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
