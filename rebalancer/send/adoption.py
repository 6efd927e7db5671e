"""Adoption of what another machine signed for an account that is this one's now: what a journal has to change.

Each attempt that is handed over counts as sent, unless the journal knows better. What the journal alone has at its nonce or epoch was
never sent, and gives way. Nothing here reads or writes the journal: it is given what stands there, and says what is to stand there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rebalancer.send.attempt import LIVE, OPEN, Attempt, AttemptState, HandedOver, Version, standing

__all__ = ["TAKEN_OVER", "Adoption", "adopt"]

TAKEN_OVER = "another machine's attempt has taken its place"
"""The note of whatever gives way."""


@dataclass(frozen=True)
class Adoption:
    """The changes by which a journal comes to hold what another machine signed."""

    mine: Attempt | None
    """The journal's own attempt that was signed to the same bytes; None where a new one is made."""
    state: AttemptState
    """The state that it, or the new one, has afterwards."""
    missing: tuple[Version, ...]
    """Versions that are added, oldest first."""
    unsent: tuple[Version, ...] = ()
    """Versions that are removed: another machine went on without them, and sent now they would undo what it did."""
    giving_way: tuple[Attempt, ...] = ()
    """Attempts that fail, because this one takes their place."""

    @property
    def changes_state(self) -> bool:
        """Whether the journal's own attempt has another state afterwards."""
        return self.mine is not None and self.state is not self.mine.state


def adopt(
    one: HandedOver,
    at_nonce: Sequence[Attempt],
    at_epoch: Sequence[Attempt],
    *,
    replaced: bool,
    followed: bool,
) -> Adoption:
    """What the journal changes for an attempt that is handed over.

    `at_nonce` and `at_epoch` are the journal's attempts at its nonce, oldest first, and at its epoch. It is `replaced` if a later one that
    is handed over competes with it, and `followed` if one has a higher nonce.
    """
    hashes = {version.transaction_hash for version in one.versions}
    # Two attempts may be signed to the very same bytes: the later one is meant.
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
    return Adoption(
        mine,
        state,
        missing,
        tuple(unsent) if missing else (),
        () if state is mine.state else giving_way,
    )


def _merged_state(mine: Attempt, missing: Sequence[Version], *, gives_way: bool, followed: bool) -> AttemptState:
    """Where an attempt stands with the versions that another machine made of it.

    What was refused here is live again if another machine made more of it, or made something that comes after it.
    """
    refused = mine.state is AttemptState.FAILED and mine.block_number is None
    if mine.state not in OPEN and not (refused and (missing or followed)):
        return mine.state
    if gives_way:
        return AttemptState.FAILED
    if missing:
        return standing(missing[-1].kind)
    # Where nobody went on, what this journal alone has stands, though it was never sent.
    return mine.standing if mine.state in (AttemptState.SIGNED, AttemptState.FAILED) else mine.state
