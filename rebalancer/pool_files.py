"""Files of pool snapshots: one JSON object each, for all venues."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from rebalancer.errors import BadPoolSnapshot
from rebalancer.files import MEGABYTE, Excess, parse_json, read_text
from rebalancer.venues import PoolState, load

__all__ = ["load_pool", "save_pool"]

_MOST_BYTES = 64 * MEGABYTE
"""Size limit of a pool file: half a million ticks."""


def load_pool(path: str | PathLike[str]) -> PoolState:
    """The pool in a snapshot file.

    Raises:
        BadPoolSnapshot: the file is unreadable, incomplete or inconsistent.
        UnsupportedPool: pools of this kind cannot be quoted.
    """
    try:
        content = parse_json(read_text(Path(path), _MOST_BYTES))
        if not isinstance(content, dict):
            raise BadPoolSnapshot("the file does not hold a JSON object")
        return load(content)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BadPoolSnapshot(f"the file cannot be read ({why})", str(path)) from error
    except Excess as excess:
        raise BadPoolSnapshot(str(excess), str(path)) from None
    except ValueError as error:
        raise BadPoolSnapshot(f"the file is not JSON ({error})", str(path)) from error
    except BadPoolSnapshot as error:
        raise BadPoolSnapshot(error.why, str(path)) from error


def save_pool(pool: PoolState, path: str | PathLike[str]) -> None:
    """Write a snapshot that `load_pool` reads back as an equal pool."""
    Path(path).write_text(json.dumps(pool.to_json(), indent=2) + "\n", encoding="utf-8")
