"""All venues, and what is found by them: the pool in a snapshot, the venue of a name. Adding a venue is one line here.

Only `load` of a path and `save` touch the disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TypeVar

from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
from rebalancer.files import MEGABYTE, Excess, parse_json, read_text
from rebalancer.venues import (
    balancer_v3,
    balancer_weighted,
    curve,
    erc4626,
    pancakeswap_v3,
    slipstream,
    uniswap_v2,
    uniswap_v3,
    uniswap_v4,
    wsteth,
)
from rebalancer.venues.fields import Snapshot
from rebalancer.venues.model import PoolRef, PoolState
from rebalancer.venues.reading import Venue

__all__ = ["KINDS", "VENUES", "check_ref", "load", "of_class", "save", "venue_named"]

VENUES: tuple[Venue, ...] = (
    uniswap_v2.VENUE,
    pancakeswap_v3.VENUE,
    slipstream.VENUE,
    uniswap_v3.VENUE,
    uniswap_v4.VENUE,
    balancer_v3.VENUE,  # before V2, whose mark its pools answer, too
    balancer_weighted.VENUE,
    curve.VENUE,
    erc4626.VENUE,
    wsteth.VENUE,
)

KINDS = tuple(kind for venue in VENUES for kind in venue.kinds)
"""All that is served, by the names that people know."""

_MOST_BYTES = 64 * MEGABYTE
"""Of a pool's file: half a million ticks."""

_BY_NAME: Mapping[str, Venue] = {venue.name: venue for venue in VENUES}

PoolClass = TypeVar("PoolClass", bound=PoolState)


def venue_named(name: str) -> Venue:
    """The venue of a name.

    Raises:
        UnsupportedPool: there is none.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UnsupportedPool(f"the venue {name!r}") from None


def check_ref(ref: PoolRef) -> PoolRef:
    """The reference itself, if it tells a pool.

    Raises:
        ValueError: no pool of its venue is told so, or there is no such venue.
    """
    venue = _BY_NAME.get(ref.venue)
    if venue is None or not venue.takes(ref) or (venue.mark and ref.key != ref.address):
        raise ValueError(f"{ref.address} is not told as a pool of {ref.venue}")
    return ref


def load(source: str | PathLike[str] | Snapshot) -> PoolState:
    """The pool in a snapshot, given as the path of a JSON file or as its parsed content.

    Raises:
        BadPoolSnapshot: unreadable, incomplete, or contradicting itself.
        UnsupportedPool: of a kind that cannot be quoted.
    """
    if isinstance(source, Mapping):
        return _read(source)
    try:
        content = parse_json(read_text(Path(source), _MOST_BYTES))
        if not isinstance(content, dict):
            raise BadPoolSnapshot("the file does not hold a JSON object")
        return _read(content)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BadPoolSnapshot(f"the file cannot be read ({why})", str(source)) from error
    except Excess as excess:
        raise BadPoolSnapshot(str(excess), str(source)) from None
    except ValueError as error:
        raise BadPoolSnapshot(f"the file is not JSON ({error})", str(source)) from error
    except BadPoolSnapshot as error:
        raise BadPoolSnapshot(error.why, str(source)) from error


def of_class(pool: PoolState, kind: type[PoolClass]) -> PoolClass:
    """The pool itself, where only one class will do.

    Raises:
        UnsupportedPool: it is of another.
    """
    if not isinstance(pool, kind):
        raise UnsupportedPool(pool.kind)
    return pool


def save(pool: PoolState, path: str | PathLike[str]) -> None:
    """Write the snapshot that `load` reads back as an equal pool."""
    Path(path).write_text(json.dumps(pool.to_json(), indent=2) + "\n", encoding="utf-8")


def _read(snapshot: Snapshot) -> PoolState:
    for venue in VENUES:
        if venue.snapshot_key in snapshot:
            return venue.load(snapshot)
    keys = ", ".join(venue.snapshot_key for venue in VENUES)
    raise BadPoolSnapshot(f"no venue is told by its keys; one of {keys} is expected")
