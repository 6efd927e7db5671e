"""Leases: one holder at a time, a token that only grows, and a holder that notices. In Redis and in process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rebalancer.errors import ChainError, LeaseLost, SharedStateUnreachable, TokenStale
from rebalancer.fleet.lease import Lease, boot_seconds
from rebalancer.fleet.names import instance_name
from rebalancer.fleet.redis_state import LocalState, RedisState, SharedState
from rebalancer.redact import redis_name
from tests.clocks import wait_for
from tests.fixtures_redis import RedisServer

NAME = "31337:0x1111"


@pytest.fixture(params=["local", "redis"])
def state(request: pytest.FixtureRequest) -> Iterator[SharedState]:
    if request.param == "local":
        yield LocalState()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    found = RedisState(server.url, "test")
    yield found
    found.close()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def lease(state: SharedState, holder: str, seconds: float = 60.0, clock: Clock | None = None) -> Lease:
    return Lease(state, NAME, holder, seconds, clock or boot_seconds)


def counted_renewals(state: SharedState, patch: pytest.MonkeyPatch) -> list[int]:
    """Have leases renewed every few milliseconds, whatever their length; how often that succeeded."""
    patch.setattr("rebalancer.fleet.lease._RENEWALS", 3_000)
    count = [0]
    renew = state.renew

    def counted(lease: str, holder: str, token: int, seconds: float) -> bool:
        held = renew(lease, holder, token, seconds)
        count[0] += held
        return held

    patch.setattr(state, "renew", counted)
    return count


def ended(state: SharedState, holder: str, token: int) -> None:
    """Wait for the end of a lease that nobody else takes."""
    wait_for("the end of a lease", lambda: not state.renew(NAME, holder, token, 0.001))


# Refusals


def test_lease_never_taken_refuses(state: SharedState) -> None:
    with pytest.raises(LeaseLost, match="never taken"):
        lease(state, "anna").check()


def test_lease_held_by_another_is_not_taken(state: SharedState) -> None:
    with lease(state, "anna") as first:
        assert first.take()
        assert not lease(state, "bert").take()
        first.check()


def test_lease_is_over_for_its_holder_before_it_is_for_others(state: SharedState) -> None:
    clock = Clock()
    with lease(state, "anna", 60.0, clock) as first:
        assert first.take()
        clock.now += 44.9
        first.check()
        clock.now += 0.2

        with pytest.raises(LeaseLost, match="not renewed in time"):
            first.check()
        assert not lease(state, "bert").take()  # Redis goes on holding it for a quarter of its time


def test_lease_that_was_lost_stays_lost(state: SharedState) -> None:
    clock = Clock()
    with lease(state, "anna", 60.0, clock) as first:
        first.take()
        clock.now += 50
        for ask in (first.check, first.renew, first.take, lambda: first.token):
            with pytest.raises(LeaseLost):
                ask()
        clock.now -= 50
        with pytest.raises(LeaseLost):
            first.check()


def test_lease_taken_over_by_another_is_not_renewed(state: SharedState) -> None:
    first, second = lease(state, "anna", 0.3), lease(state, "bert")
    token = state.take(NAME, "anna", 0.3)
    assert token is not None
    assert first.take()
    first._ending.set()  # its renewing thread dies, as in a process that is stopped
    wait_for("the end of anna's lease", second.take)

    assert not state.renew(NAME, "anna", token, 60.0)
    with pytest.raises(LeaseLost):
        first.renew()
    second.check()
    second.release()


def test_lease_given_up_refuses(state: SharedState) -> None:
    first = lease(state, "anna")
    first.take()
    first.release()

    with pytest.raises(LeaseLost, match="released"):
        first.check()


# What holds


def test_tokens_only_grow(state: SharedState) -> None:
    tokens = []
    for holder in ("anna", "bert", "anna"):
        with lease(state, holder) as one:
            assert one.take()
            tokens.append(one.token)

    assert tokens == [tokens[0], tokens[0] + 1, tokens[0] + 2]


def test_taking_again_after_a_lost_answer_gives_the_same_token(state: SharedState) -> None:
    assert state.take(NAME, "anna", 60.0) == state.take(NAME, "anna", 60.0)


def test_leases_of_other_names_are_apart(state: SharedState) -> None:
    assert state.take("a", "anna", 60.0) is not None
    assert state.take("b", "bert", 60.0) is not None


def test_lease_is_renewed_for_as_long_as_its_holder_lives(state: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    renewals = counted_renewals(state, monkeypatch)
    with lease(state, "anna", 60.0, clock) as first:
        assert first.take()
        for _ in range(5):
            clock.now += 40
            before = renewals[0]
            wait_for("a renewal that began now", lambda: renewals[0] > before + 1)  # noqa: B023 (called before the loop goes on)
            first.check()
            assert not lease(state, "bert").take()


def test_lease_of_a_dead_holder_ends(state: SharedState) -> None:
    state.take(NAME, "anna", 0.2)

    with lease(state, "bert") as second:
        wait_for("the end of anna's lease", second.take)


def test_instance_names_are_never_the_same() -> None:
    names = {instance_name("anna") for _ in range(100)}

    assert len(names) == 100
    assert all(name.startswith("anna-") for name in names)


# The ledger of a lease


def test_ledger_refuses_a_stale_token_and_takes_nothing(state: SharedState) -> None:
    old = state.take(NAME, "anna", 0.05)
    new = wait_for("the end of anna's lease", lambda: state.take(NAME, "bert", 60.0))
    assert old is not None

    with pytest.raises(TokenStale) as caught:
        state.put(NAME, old, {"a": "1", "b": "2"})
    assert (caught.value.token, caught.value.newest) == (old, new)
    with pytest.raises(TokenStale):
        state.drop(NAME, old, ["a"])
    assert state.entries(NAME) == []


def test_ledger_without_a_token_refuses(state: SharedState) -> None:
    with pytest.raises(TokenStale, match="Redis knows no token") as caught:
        state.put(NAME, 7, {"a": "1"})
    assert caught.value.newest is None


def test_ledger_of_a_lease_that_ended_takes_entries_until_another_has_it(
    state: SharedState,
) -> None:
    token = state.take(NAME, "anna", 0.05)
    assert token is not None
    ended(state, "anna", token)

    state.put(NAME, token, {"a": "1"})

    assert state.take(NAME, "bert", 60.0) == token + 1
    assert state.entries(NAME) == [("a", "1")]


def test_ledger_keeps_the_first_entry_of_a_key_and_the_order(state: SharedState) -> None:
    token = state.take(NAME, "anna", 60.0)
    assert token is not None
    state.put(NAME, token, {"z": "first of all", "b": "2 words"})
    state.put(NAME, token, {"a": "3", "z": "again"})

    assert state.entries(NAME) == [("z", "first of all"), ("b", "2 words"), ("a", "3")]
    state.drop(NAME, token, ["b", "unknown"])
    state.drop(NAME, token, [])
    assert [key for key, _ in state.entries(NAME)] == ["z", "a"]


# Who is here


def test_members_are_those_whose_word_still_holds(state: SharedState) -> None:
    state.announce("workers", "anna", "one", 60.0)
    state.announce("workers", "bert", "two", 60.0)
    state.announce("others", "carl", "three", 60.0)
    assert state.members("workers") == {"anna": "one", "bert": "two"}
    state.announce("workers", "bert", "two", 0.05)

    wait_for("the end of bert's word", lambda: state.members("workers") == {"anna": "one"})
    state.announce("workers", "anna", "four", 60.0)
    assert state.members("workers") == {"anna": "four"}
    state.leave("workers", "anna")
    assert state.members("workers") == {}


# Redis alone


def test_redis_that_is_gone_is_said_without_its_password(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis://", "redis://user:secret@")
    redis_server.kill()
    state = RedisState(url, "test")

    with pytest.raises(SharedStateUnreachable) as caught:
        state.take(NAME, "anna", 60.0)

    assert isinstance(caught.value, ChainError)  # a keeper's look fails, and is tried again
    assert "secret" not in str(caught.value)
    assert str(redis_server.port) in str(caught.value)


def test_lease_outlives_a_redis_that_keeps_its_data(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    state = RedisState(redis_server.url, "test")
    renewals = counted_renewals(state, monkeypatch)
    with lease(state, "anna") as first:
        assert first.take()
        token = first.token
        state.put(NAME, token, {"a": "1"})
        redis_server.kill()
        first.check()
        redis_server.start()
        before = renewals[0]
        wait_for("a renewal", lambda: renewals[0] > before)

        assert first.token == token
        assert state.entries(NAME) == [("a", "1")]
        assert not lease(state, "bert").take()


def test_lease_is_lost_with_redis_data_and_the_next_token_is_newer(
    redis_server: RedisServer,
) -> None:
    redis_server.durable = False
    redis_server.kill()
    redis_server.start()
    state = RedisState(redis_server.url, "test")
    first, second = lease(state, "anna"), lease(state, "bert")
    assert first.take()
    old = first.token
    redis_server.kill()
    redis_server.start()

    with pytest.raises(TokenStale):
        state.put(NAME, old, {"a": "1"})
    assert second.take()
    assert second.token > old
    with pytest.raises(TokenStale):
        state.put(NAME, old, {"a": "1"})
    with pytest.raises(LeaseLost, match="another machine has taken it"):
        first.renew()
    second.release()
    first.release()


def test_redis_name_hides_credentials_and_options() -> None:
    assert redis_name("redis://me:secret@host:6379/3?client=x") == "redis://host:6379/3"
    assert redis_name("unix:///run/redis.sock") == "unix:///run/redis.sock"
