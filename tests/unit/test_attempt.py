"""The states of an attempt: which may follow which, and where it stands by its versions and without its block."""

from __future__ import annotations

from itertools import product

import pytest

from rebalancer.send.attempt import (
    LIVE,
    OPEN,
    SIGNED,
    Attempt,
    AttemptState,
    HandedOver,
    Intent,
    Kind,
    Version,
    check_transition,
    standing,
    state_once_signed,
)
from rebalancer.send.fees import GasFees

ME, OTHER, VAULT = "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "aa" * 20

ALLOWED = {
    "planned": "signed failed",
    "signed": "sent bumped cancelling mined failed",
    "sent": "bumped cancelling mined failed",
    "bumped": "bumped cancelling mined failed",
    "cancelling": "cancelling mined cancelled failed",
    "mined": "sent bumped cancelling mined cancelled final failed",
    "cancelled": "cancelling cancelled mined failed",
    "final": "sent bumped cancelling mined",
    "failed": "sent bumped cancelling mined cancelled failed",
}


def version(name: str, kind: Kind) -> Version:
    return Version(0, kind, name.encode(), f"0x{name}", 10, GasFees(3, 1), 40, 0)


def intent(epoch: int = 0, chain_id: int = 1, vault: str = VAULT) -> Intent:
    return Intent(chain_id, vault, epoch, vault, "0x01", 10, "a test")


def attempt(state: AttemptState, *kinds: Kind, nonce: int | None = 4) -> Attempt:
    versions = tuple(version(f"a{at}", kind) for at, kind in enumerate(kinds))
    nothing = (None, None, None, None, None, None)
    return Attempt(7, intent(), ME, state, nonce, versions, *nothing, False, "", 0, 0)


def handed(epoch: int, nonce: int, sender: str = ME, chain_id: int = 1) -> HandedOver:
    return HandedOver(intent(epoch, chain_id), sender, nonce, (version("a", Kind.ORIGINAL),))


@pytest.mark.parametrize(("before", "after"), product(AttemptState, AttemptState))
def test_state_follows_only_those_that_lead_to_it(before: AttemptState, after: AttemptState) -> None:
    if after in ALLOWED[before].split():
        check_transition(before, after)
        return
    with pytest.raises(AssertionError, match=f"cannot go from {before} to {after}"):
        check_transition(before, after)


def test_sets_of_states_are_what_their_names_say() -> None:
    assert {"planned", "signed", "sent", "bumped", "cancelling"} == OPEN
    assert {*OPEN, "mined", "final"} == LIVE
    assert {*LIVE, "cancelled"} - {"planned"} == SIGNED


@pytest.mark.parametrize(
    ("kind", "once_signed", "once_sent"),
    [
        (Kind.ORIGINAL, AttemptState.SIGNED, AttemptState.SENT),
        (Kind.BUMP, AttemptState.BUMPED, AttemptState.BUMPED),
        (Kind.CANCELLATION, AttemptState.CANCELLING, AttemptState.CANCELLING),
    ],
)
def test_newest_version_says_where_an_attempt_stands(
    kind: Kind, once_signed: AttemptState, once_sent: AttemptState
) -> None:
    assert state_once_signed(kind) is once_signed
    assert standing(kind) is once_sent
    assert attempt(AttemptState.SIGNED, Kind.ORIGINAL, kind).standing is once_sent
    assert HandedOver(intent(), ME, 0, (version("a", kind),)).state is once_sent


@pytest.mark.parametrize(
    ("kind", "succeeded", "alone", "superseded"),
    [
        (Kind.ORIGINAL, True, AttemptState.MINED, AttemptState.FAILED),
        (Kind.ORIGINAL, False, AttemptState.FAILED, AttemptState.FAILED),
        (Kind.BUMP, True, AttemptState.MINED, AttemptState.FAILED),
        (Kind.BUMP, False, AttemptState.FAILED, AttemptState.FAILED),
        (Kind.CANCELLATION, True, AttemptState.CANCELLED, AttemptState.CANCELLED),
        (Kind.CANCELLATION, False, AttemptState.CANCELLED, AttemptState.CANCELLED),
    ],
)
def test_version_in_a_block_decides_what_the_attempt_came_to(
    kind: Kind, succeeded: bool, alone: AttemptState, superseded: AttemptState
) -> None:
    # The newest version is another one: a block may hold any of them.
    one = attempt(AttemptState.BUMPED, kind, Kind.BUMP)
    (mined, _) = one.versions

    assert one.state_in_block(mined, succeeded=succeeded, superseded=False) is alone
    assert one.state_in_block(mined, succeeded=succeeded, superseded=True) is superseded


@pytest.mark.parametrize(
    ("state", "kinds", "alone", "superseded"),
    [
        (AttemptState.MINED, (Kind.ORIGINAL,), AttemptState.SENT, AttemptState.SENT),
        (AttemptState.FINAL, (Kind.ORIGINAL, Kind.BUMP), AttemptState.BUMPED, AttemptState.BUMPED),
        (AttemptState.FAILED, (Kind.ORIGINAL,), AttemptState.SENT, AttemptState.FAILED),
        (AttemptState.FAILED, (Kind.ORIGINAL, Kind.BUMP), AttemptState.BUMPED, AttemptState.FAILED),
        (
            AttemptState.CANCELLED,
            (Kind.ORIGINAL, Kind.CANCELLATION),
            AttemptState.CANCELLING,
            AttemptState.FAILED,
        ),
    ],
)
def test_attempt_whose_block_is_taken_back_stands_by_its_versions_unless_superseded(
    state: AttemptState, kinds: tuple[Kind, ...], alone: AttemptState, superseded: AttemptState
) -> None:
    one = attempt(state, *kinds)

    assert one.state_without_block(superseded=False) is alone
    assert one.state_without_block(superseded=True) is superseded
    check_transition(state, alone)
    check_transition(state, superseded)


def test_nonce_of_what_was_never_signed_is_a_mistake_of_the_program() -> None:
    assert attempt(AttemptState.SIGNED, Kind.ORIGINAL, nonce=0).signed_nonce == 0
    with pytest.raises(AssertionError, match="attempt 7 is planned and has no nonce"):
        _ = attempt(AttemptState.PLANNED, nonce=None).signed_nonce


@pytest.mark.parametrize(
    ("other", "competes"),
    [
        (handed(1, 5), True),
        (handed(2, 4), True),
        (handed(1, 5, OTHER), True),
        (handed(2, 4, OTHER), False),
        (handed(2, 5), False),
        (handed(1, 4, chain_id=10), False),
    ],
)
def test_attempts_of_one_chain_compete_for_a_nonce_or_an_epoch(other: HandedOver, competes: bool) -> None:
    assert handed(1, 4).competes_with(other) is competes
    assert other.competes_with(handed(1, 4)) is competes


def test_vaults_are_the_same_however_they_are_spelled() -> None:
    spelled = HandedOver(intent(1, vault="0x" + "AA" * 20), ME, 9, ())

    assert handed(1, 4).competes_with(spelled)
    assert spelled.competes_with(handed(1, 4))
