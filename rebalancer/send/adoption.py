"""Adoption of attempts that another machine signed for an account that this machine uses now: the changes to the
journal.

Each adopted attempt counts as sent, unless the journal knows better. Any other attempt of the journal at the same nonce
or epoch was never sent, and fails. This module neither reads nor writes the journal: it computes the changes from what
the journal holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rebalancer.send.attempt import LIVE, OPEN, Attempt, AttemptState, HandedOver, Version, standing

__all__ = ["TAKEN_OVER", "Adoption", "adopt"]

TAKEN_OVER = "replaced by an attempt of another machine"
"""Note of an attempt that fails because of an adopted one."""


@dataclass(frozen=True)
class Adoption:
    """The changes to a journal for one attempt of another machine."""

    mine: Attempt | None
    """The journal's own attempt with a version signed to the same bytes; None if the attempt is new to the journal."""
    state: AttemptState
    """State of the attempt afterwards."""
    missing: tuple[Version, ...]
    """Versions to add, oldest first."""
    unsent: tuple[Version, ...] = ()
    """Versions to delete: the other machine continued without them, and they would undo its work if sent now."""
    giving_way: tuple[Attempt, ...] = ()
    """Attempts that fail because of this one."""

    @property
    def changes_state(self) -> bool:
        """Whether the state of the journal's own attempt changes."""
        return self.mine is not None and self.state is not self.mine.state


def adopt(
    one: HandedOver, at_nonce: Sequence[Attempt], at_epoch: Sequence[Attempt], *, replaced: bool, followed: bool
) -> Adoption:
    """Compute the changes to the journal for an attempt that is handed over.

    `at_nonce` are the journal's attempts at its nonce, oldest first; `at_epoch` those at its epoch. `replaced`: a later
    attempt that is handed over competes with it. `followed`: one of those has a higher nonce.
    """
    hashes = {version.transaction_hash for version in one.versions}
    # Two attempts can have the same signed bytes; the later one is meant.
    mine = next((own for own in reversed(at_nonce) if hashes & own.hashes), None)
    if mine is not None:
        at_nonce = [other for other in at_nonce if other.id != mine.id]
        at_epoch = [other for other in at_epoch if other.id != mine.id]
    held = any(other.state not in OPEN | {AttemptState.FAILED} for other in at_nonce)
    held |= any(other.state in LIVE - OPEN for other in at_epoch)
    gives_way = replaced or held
    rivals: dict[int, Attempt] = {}
    if not gives_way:
        rivals = {other.id: other for other in (*at_nonce, *at_epoch) if other.state in OPEN}
    giving_way = tuple(rivals.values())
    if mine is None:
        state = AttemptState.FAILED if gives_way else one.state
        return Adoption(None, state, one.versions, giving_way=giving_way)
    missing = tuple(v for v in one.versions if v.transaction_hash not in mine.hashes)
    unsent = (v for v in mine.versions if v.transaction_hash not in hashes and not v.sendings)
    state = _merged_state(mine, missing, gives_way=gives_way, followed=followed)
    return Adoption(mine, state, missing, tuple(unsent) if missing else (), () if state is mine.state else giving_way)


def _merged_state(mine: Attempt, missing: Sequence[Version], *, gives_way: bool, followed: bool) -> AttemptState:
    """State of an attempt with the versions that another machine added.

    An attempt that was rejected here is live again if another machine added versions, or sent a later nonce.
    """
    refused = mine.state is AttemptState.FAILED and mine.block_number is None
    if mine.state not in OPEN and not (refused and (missing or followed)):
        return mine.state
    if gives_way:
        return AttemptState.FAILED
    if missing:
        return standing(missing[-1].kind)
    # If no machine continued, the journal's own newest version counts, although it was never sent.
    return mine.standing if mine.state in (AttemptState.SIGNED, AttemptState.FAILED) else mine.state
