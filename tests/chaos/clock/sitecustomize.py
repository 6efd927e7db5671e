"""Python imports this at its start where it is on the path: a machine whose clock is wrong.

CHAOS_CLOCK is by how many seconds, or "drunk": then by another error of up to a day at every look.
Monotonic clocks are right, as they are where somebody sets the time of day.
"""

from __future__ import annotations

import os
import random
import time

_true_time = time.time
_wrong = os.environ.get("CHAOS_CLOCK", "0")
_chance = random.Random(0)


def _reported() -> float:
    if _wrong == "drunk":
        return _true_time() + _chance.uniform(-86_400, 86_400)
    return _true_time() + float(_wrong)


time.time = _reported
