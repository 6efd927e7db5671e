"""Environment variables of this process: those that are settings, and what child processes inherit.

Passwords may be among the settings, so no child process gets one. A neutral module: whoever starts
processes imports it and learns nothing of the settings.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["LOCK", "PREFIX", "child_environment", "hidden_from_children", "is_setting"]

PREFIX = "REBALANCER_"
"""Of every variable that is a setting, in capital or small letters."""

LOCK = threading.RLock()
"""Held while settings are read from the environment, and while they are hidden from it."""


def is_setting(name: str) -> bool:
    """Whether a variable of this name is a setting, known or not."""
    return name.upper().startswith(PREFIX)


def child_environment() -> dict[str, str]:
    """The environment without any setting, for a program that this one starts."""
    return {name: value for name, value in os.environ.items() if not is_setting(name)}


@contextmanager
def hidden_from_children() -> Iterator[None]:
    """While it lasts, processes that Python itself starts inherit no setting."""
    with LOCK:
        ours = {name: value for name, value in os.environ.items() if is_setting(name)}
        try:
            for name in ours:
                del os.environ[name]
            yield
        finally:
            os.environ.update(ours)
