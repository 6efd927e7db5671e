"""Who is given a version, in which words, and what their answers come to: endpoints that keep what they get, and a journal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, RpcRejected, RpcTimeout
from rebalancer.send.attempt import Attempt, Intent, Kind, SignedVersion
from rebalancer.send.fees import GasFees
from rebalancer.send.journal import Journal
from rebalancer.send.relay import PRIVATE_METHOD, RAW_METHOD, Relays

ME, VAULT = "0x" + "11" * 20, "0x" + "aa" * 20
SIGNED_AT, HEIGHT = 1_700_000_000, 100
TAKES, REFUSES, SILENT = "takes", "refuses", "is silent"


class Endpoint(Rpc):
    """Keeps what it gets, and answers as it is told."""

    def __init__(self, name: str, does: str = TAKES) -> None:
        super().__init__(f"https://{name}.example/a-secret-path")
        self.does = does
        self.got: list[tuple[str, tuple[Any, ...]]] = []

    def call(self, method: str, *params: Any) -> Any:
        self.got.append((method, params))
        if self.does == REFUSES:
            raise RpcRejected(method, -32000, f"refused by {self.endpoint}")
        if self.does == SILENT:
            raise RpcTimeout(self.endpoint, 10)
        return "0x"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "outbox.sqlite")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, which a test sets."""
    now = [float(SIGNED_AT)]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


def signed(journal: Journal, *kinds: Kind, deadline_block: int | None = None, first_height: int = HEIGHT) -> Attempt:
    """An attempt with a version of each kind, each signed a block after the one before."""
    intent = Intent(1, VAULT, 0, VAULT, "0x", 50_000, "a test", deadline_block)
    attempt = journal.plan(intent, ME)
    for at, kind in enumerate(kinds):
        name = f"0x{at:064x}"
        version = SignedVersion(bytes([2, at]), name, 50_000, GasFees(10 + at, 1 + at))
        attempt = journal.add_version(attempt, kind, 7, first_height + at, version)
    return attempt


def answers(journal: Journal, attempt: Attempt) -> dict[str, str]:
    """What endpoints said to the newest version, by name."""
    found = journal.get(attempt.id).newest.sendings
    return {one.endpoint.removeprefix("https://").split(".")[0]: one.answer for one in found}


@pytest.mark.parametrize("first_height", [0, HEIGHT])
@pytest.mark.parametrize("most", [0, 1, 4])
def test_what_is_private_goes_public_after_so_many_blocks_and_never_for_none(
    journal: Journal, most: int, first_height: int
) -> None:
    """Counted from the first version on: a dearer one does not begin anew."""
    attempt = signed(journal, Kind.ORIGINAL, Kind.BUMP, first_height=first_height)
    relays = Relays([Endpoint("one")], public_after_blocks=most)

    public = [relays.go_public(attempt, first_height + later) for later in range(8)]

    assert public == [bool(most) and later >= most for later in range(8)]


def test_nothing_goes_public_sooner_than_the_least_wait_however_fast_blocks_come(
    journal: Journal, clock: list[float]
) -> None:
    attempt = signed(journal, Kind.ORIGINAL)
    clock[0] += 600
    attempt = replace(attempt, versions=(*attempt.versions, attempt.newest))
    relays = Relays([Endpoint("one")], public_after_blocks=1, min_pending_seconds=12.0)
    seen = []
    for wait in (0.0, 11.9, 12.0, 13.0):
        clock[0] = SIGNED_AT + wait
        seen.append(relays.go_public(attempt, HEIGHT + 50))

    assert seen == [False, False, True, True]


def test_without_relays_all_is_public_and_with_them_a_cancellation_is(journal: Journal) -> None:
    private = Relays([Endpoint("one")])
    attempt = signed(journal, Kind.ORIGINAL)
    assert Relays().go_public(attempt, HEIGHT)
    assert not private.go_public(attempt, HEIGHT)

    assert private.go_public(signed_again(journal, attempt, Kind.CANCELLATION), HEIGHT)


def signed_again(journal: Journal, attempt: Attempt, kind: Kind) -> Attempt:
    version = SignedVersion(b"\x02\xff", "0x" + "ff" * 32, 21_000, GasFees(20, 20))
    return journal.add_version(attempt, kind, 7, HEIGHT, version)


def test_what_is_private_is_given_to_every_relay_and_to_nobody_else(journal: Journal) -> None:
    attempt = signed(journal, Kind.ORIGINAL)
    relays, public = [Endpoint("one"), Endpoint("two")], Endpoint("public")

    Relays(relays).send(journal, public, attempt, HEIGHT)

    assert [len(one.got) for one in relays] == [1, 1]
    assert public.got == []
    Relays().send(journal, public, attempt, HEIGHT)
    assert len(public.got) == 1


def test_who_refused_a_version_before_and_does_so_again_has_it_no_more_than_then(
    journal: Journal,
) -> None:
    attempt = signed(journal, Kind.ORIGINAL)
    relays = Relays([Endpoint("one", REFUSES)])
    for _ in range(2):
        with pytest.raises(RpcRejected):
            relays.send(journal, Endpoint("public"), journal.get(attempt.id), HEIGHT)


def test_failure_of_a_relay_is_logged_and_that_of_the_public_is_raised_or_journalled(
    journal: Journal,
) -> None:
    attempt = signed(journal, Kind.ORIGINAL, Kind.CANCELLATION)
    with capture_logs() as logs:
        Relays([Endpoint("one", REFUSES), Endpoint("two")]).send(journal, Endpoint("public", SILENT), attempt, HEIGHT)

    assert [one["relay"] for one in logs if one["event"] == "relay_failed"] == ["https://one.example"]


@pytest.mark.parametrize("deadline_block", [None, 0, 300])
@pytest.mark.parametrize("method", [RAW_METHOD, PRIVATE_METHOD])
def test_relays_are_asked_in_their_words_and_the_public_in_every_nodes(
    journal: Journal, method: str, deadline_block: int | None
) -> None:
    attempt = signed(journal, Kind.ORIGINAL, Kind.CANCELLATION, deadline_block=deadline_block)
    relay, public = Endpoint("one"), Endpoint("public")

    Relays([relay], method).send(journal, public, attempt, HEIGHT)

    raw = "0x0201"  # the newest version's bytes
    wanted: dict[str, Any] = {"tx": raw}
    if deadline_block is not None:
        wanted["maxBlockNumber"] = hex(deadline_block)
    assert relay.got == [(method, (raw,) if method == RAW_METHOD else (wanted,))]
    assert json.dumps(wanted)  # it can be sent
    assert public.got == [(RAW_METHOD, (raw,))]
    assert answers(journal, attempt) == {"one": "", "public": ""}


@pytest.mark.parametrize("does", list(product((TAKES, REFUSES, SILENT), repeat=3)))
def test_every_endpoint_is_asked_every_answer_kept_and_one_that_takes_it_is_enough(
    journal: Journal, does: tuple[str, ...]
) -> None:
    """Where none takes it, silence outweighs a refusal: who is silent may have it."""
    attempt = signed(journal, Kind.ORIGINAL, Kind.CANCELLATION)
    endpoints = [Endpoint(name, what) for name, what in zip("abc", does, strict=True)]
    *relays, public = endpoints
    failure: ChainError | None = None
    try:
        Relays(relays).send(journal, public, attempt, HEIGHT)
    except ChainError as raised:
        failure = raised

    assert all(len(one.got) == 1 for one in endpoints)
    message = answers(journal, attempt)
    assert [bool(message[name]) for name in "abc"] == [what != TAKES for what in does]
    for one in endpoints:
        if one.does == REFUSES:
            assert f"refused by {one.endpoint}" in message[one.endpoint[8]]
        if one.does == SILENT:
            assert "10 s" in message[one.endpoint[8]]
    if TAKES in does:
        assert failure is None
    elif SILENT in does:
        assert isinstance(failure, RpcTimeout)
        assert failure.endpoint == endpoints[does.index(SILENT)].endpoint
    else:
        assert isinstance(failure, RpcRejected)
        assert failure.message == f"refused by {endpoints[0].endpoint}"


def test_who_took_a_version_and_refuses_it_now_has_it(journal: Journal) -> None:
    """Nodes word "I have it already" in many ways: their answer of before stands, and the others are asked all the same."""
    attempt = signed(journal, Kind.ORIGINAL, Kind.CANCELLATION)
    first, second, public = Endpoint("first"), Endpoint("second", REFUSES), Endpoint("public")
    relays = Relays([first, second])
    relays.send(journal, public, attempt, HEIGHT)
    first.does, second.does, public.does = REFUSES, TAKES, REFUSES

    relays.send(journal, public, journal.get(attempt.id), HEIGHT)

    assert answers(journal, attempt) == {"first": "", "second": "", "public": ""}
    assert [len(one.got) for one in (first, second, public)] == [2, 2, 2]


def test_who_took_a_version_and_is_silent_now_may_have_lost_it(journal: Journal) -> None:
    attempt = signed(journal, Kind.ORIGINAL, Kind.CANCELLATION)
    relay, public = Endpoint("one"), Endpoint("public")
    relays = Relays([relay])
    relays.send(journal, public, attempt, HEIGHT)
    relay.does = public.does = SILENT

    with pytest.raises(RpcTimeout):
        relays.send(journal, public, journal.get(attempt.id), HEIGHT)

    assert all("10 s" in message for message in answers(journal, attempt).values())
