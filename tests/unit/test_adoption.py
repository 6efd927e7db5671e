"""Adoption of what another machine signed: which state it has here, which versions come and go, and what gives way. No journal is open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.send.adoption import Adoption, adopt
from rebalancer.send.attempt import (
    Attempt,
    AttemptState,
    HandedOver,
    Intent,
    Kind,
    Sending,
    Version,
)
from rebalancer.send.fees import GasFees

ME, VAULT = "0x" + "11" * 20, "0x" + "aa" * 20
INTENT = Intent(1, VAULT, 0, VAULT, "0x01", 10, "a test")


def version(name: str, kind: Kind = Kind.ORIGINAL) -> Version:
    return Version(0, kind, name.encode(), f"0x{name}", 10, GasFees(3, 1), 40, 0)


def mine(state: AttemptState, *versions: Version) -> Attempt:
    nothing = (None, None, None, None, None, None)
    return Attempt(1, INTENT, ME, state, 0, versions, *nothing, False, "", 0, 0)


def handed(*versions: Version) -> HandedOver:
    return HandedOver(INTENT, ME, 0, versions)


def adopted(one: HandedOver, *attempts: Attempt, replaced: bool = False, followed: bool = False) -> Adoption:
    """Adopted by a journal that has all its attempts at that nonce and that epoch."""
    return adopt(one, attempts, attempts[::-1], replaced=replaced, followed=followed)


RIVAL = replace(mine(AttemptState.SIGNED, version("rival")), id=2)


def test_what_is_new_takes_the_place_of_a_rival_once() -> None:
    one = handed(version("a"))

    assert adopted(one, RIVAL) == Adoption(None, AttemptState.SENT, one.versions, (), (RIVAL,))


def test_what_is_replaced_itself_takes_nobodys_place() -> None:
    one = handed(version("a"))

    assert adopted(one, RIVAL, replaced=True) == Adoption(None, AttemptState.FAILED, one.versions)


@pytest.mark.parametrize("state", [AttemptState.FAILED, AttemptState.SIGNED])
def test_own_attempt_whose_state_changes_takes_the_place_of_a_rival_and_not_its_own(
    state: AttemptState,
) -> None:
    own = mine(state, version("a"))

    adoption = adopted(handed(version("a"), version("b", Kind.BUMP)), own, RIVAL)

    assert (adoption.mine, adoption.state) == (own, AttemptState.BUMPED)
    assert adoption.giving_way == (RIVAL,)
    assert adoption.changes_state


def test_own_attempt_whose_state_stays_takes_nobodys_place() -> None:
    own = mine(AttemptState.SENT, version("a"))

    adoption = adopted(handed(version("a")), own, RIVAL)

    assert adoption == Adoption(own, AttemptState.SENT, ())
    assert not adoption.changes_state


def test_own_attempt_that_a_block_holds_stays_as_it_is() -> None:
    own = mine(AttemptState.MINED, version("a"))

    adoption = adopted(handed(version("a"), version("b", Kind.BUMP)), own)

    assert (adoption.state, adoption.giving_way) == (AttemptState.MINED, ())
    assert not adoption.changes_state


def test_newest_of_several_missing_versions_says_where_the_attempt_stands() -> None:
    own = mine(AttemptState.SENT, version("a"))
    more = (version("b", Kind.BUMP), version("c", Kind.CANCELLATION))

    adoption = adopted(handed(version("a"), *more), own)

    assert (adoption.state, adoption.missing) == (AttemptState.CANCELLING, more)


def test_version_that_was_never_sent_is_removed_only_where_another_machine_went_on() -> None:
    sent = replace(version("sent", Kind.BUMP), sendings=(Sending("https://node", "", 0),))
    unsent = version("unsent", Kind.BUMP)
    own = mine(AttemptState.SIGNED, version("a"), sent, unsent)

    alone = adopted(handed(version("a")), own)
    assert (alone.state, alone.unsent) == (AttemptState.BUMPED, ())

    went_on = adopted(handed(version("a"), version("theirs", Kind.BUMP)), own)
    assert (went_on.state, went_on.unsent) == (AttemptState.BUMPED, (unsent,))
