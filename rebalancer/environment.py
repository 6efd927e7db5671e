"""Environment variables of this process: which ones are settings, and which ones child processes inherit.

Settings may hold passwords, so no child process inherits one. This module does not import the settings: any module that
starts processes can use it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["LOCK", "PREFIX", "child_environment", "hidden_from_children", "is_setting"]

PREFIX = "REBALANCER_"
"""Prefix of every variable that is a setting, in upper or lower case."""

LOCK = threading.RLock()
"""Held while settings are read from the environment, and while they are removed from it."""


def is_setting(name: str) -> bool:
    """Whether a variable of this name is a setting, even an unknown one."""
    return name.upper().startswith(PREFIX)


def child_environment() -> dict[str, str]:
    """The environment without settings, for a child process."""
    return {name: value for name, value in os.environ.items() if not is_setting(name)}


@contextmanager
def hidden_from_children() -> Iterator[None]:
    """Remove all settings from the environment inside the `with` block, for processes that Python itself starts."""
    with LOCK:
        ours = {name: value for name, value in os.environ.items() if is_setting(name)}
        try:
            for name in ours:
                del os.environ[name]
            yield
        finally:
            os.environ.update(ours)
