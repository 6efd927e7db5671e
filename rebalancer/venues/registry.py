"""All venues, and what is found by them: the pool in a snapshot, the venue of a name. Adding a venue is one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
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

__all__ = ["KINDS", "VENUES", "check_ref", "load", "of_class", "venue_named"]

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
        raise UnsupportedPool(f"no venue is named '{name}'") from None


def check_ref(ref: PoolRef) -> PoolRef:
    """The reference itself, if it tells a pool.

    Raises:
        ValueError: no pool of its venue is told so, or there is no such venue.
    """
    venue = _BY_NAME.get(ref.venue)
    if venue is None or not venue.takes(ref) or (venue.mark and ref.key != ref.address):
        raise ValueError(f"{ref.address} is not told as a pool of {ref.venue}")
    return ref


def load(snapshot: Snapshot) -> PoolState:
    """The pool in a snapshot, which is a JSON object.

    Raises:
        BadPoolSnapshot: incomplete, or contradicting itself.
        UnsupportedPool: of a kind that cannot be quoted.
    """
    for venue in VENUES:
        if venue.snapshot_key in snapshot:
            return venue.load(snapshot)
    keys = ", ".join(venue.snapshot_key for venue in VENUES)
    raise BadPoolSnapshot(f"no venue is told by its keys; one of {keys} is expected")


def of_class(pool: PoolState, kind: type[PoolClass]) -> PoolClass:
    """The pool itself, where only one class will do.

    Raises:
        UnsupportedPool: it is of another.
    """
    if not isinstance(pool, kind):
        raise UnsupportedPool(pool.kind)
    return pool
