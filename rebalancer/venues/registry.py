"""Registry of all venues, with lookups by snapshot and by name. A new venue needs one line here."""

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
    balancer_v3.VENUE,  # before V2, because its pools also have V2's mark
    balancer_weighted.VENUE,
    curve.VENUE,
    erc4626.VENUE,
    wsteth.VENUE,
)

KINDS = tuple(kind for venue in VENUES for kind in venue.kinds)
"""Names of all supported kinds of pools, for people."""

_BY_NAME: Mapping[str, Venue] = {venue.name: venue for venue in VENUES}

PoolClass = TypeVar("PoolClass", bound=PoolState)


def venue_named(name: str) -> Venue:
    """The venue of a name.

    Raises:
        UnsupportedPool: there is no such venue.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UnsupportedPool(f"no venue is named '{name}'") from None


def check_ref(ref: PoolRef) -> PoolRef:
    """The reference, if it identifies a pool.

    Raises:
        ValueError: it does not identify a pool of its venue, or there is no such venue.
    """
    venue = _BY_NAME.get(ref.venue)
    if venue is None or not venue.takes(ref) or (venue.mark and ref.key != ref.address):
        raise ValueError(f"{ref.address} is not a valid reference to a pool of {ref.venue}")
    return ref


def load(snapshot: Snapshot) -> PoolState:
    """The pool in a snapshot (a JSON object).

    Raises:
        BadPoolSnapshot: the snapshot is incomplete or inconsistent.
        UnsupportedPool: pools of this kind cannot be quoted.
    """
    for venue in VENUES:
        if venue.snapshot_key in snapshot:
            return venue.load(snapshot)
    keys = ", ".join(venue.snapshot_key for venue in VENUES)
    raise BadPoolSnapshot(f"no venue has its keys; one of {keys} is required")


def of_class(pool: PoolState, kind: type[PoolClass]) -> PoolClass:
    """The pool, checked to be of one class.

    Raises:
        UnsupportedPool: it is of another class.
    """
    if not isinstance(pool, kind):
        raise UnsupportedPool(pool.kind)
    return pool
