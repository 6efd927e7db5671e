"""Leases: one holder at a time, a token that only grows, and a holder that notices. In Redis and in process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rebalancer.errors import ChainError, LeaseLost, SharedStateUnreachable, TokenStale
from rebalancer.fleet.lease import Lease, boot_seconds
from rebalancer.fleet.names import instance_name
from rebalancer.fleet.shared import LocalShared, RedisShared, Shared
from rebalancer.redact import redis_name
from tests.clocks import wait_for
from tests.fixtures_redis import RedisServer

NAME = "31337:0x1111"


@pytest.fixture(params=["local", "redis"])
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    if request.param == "local":
        yield LocalShared()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    found = RedisShared(server.url, "test")
    yield found
    found.close()


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def lease(shared: Shared, holder: str, seconds: float = 60.0, clock: Clock | None = None) -> Lease:
    return Lease(shared, NAME, holder, seconds, clock or boot_seconds)


def counted_renewals(shared: Shared, patch: pytest.MonkeyPatch) -> list[int]:
    """Have leases renewed every few milliseconds, whatever their length; how often that succeeded."""
    patch.setattr("rebalancer.fleet.lease._RENEWALS", 3_000)
    count = [0]
    renew = shared.renew

    def counted(lease: str, holder: str, token: int, seconds: float) -> bool:
        held = renew(lease, holder, token, seconds)
        count[0] += held
        return held

    patch.setattr(shared, "renew", counted)
    return count


def ended(shared: Shared, holder: str, token: int) -> None:
    """Wait for the end of a lease that nobody else takes."""
    wait_for("the end of a lease", lambda: not shared.renew(NAME, holder, token, 0.001))


# Refusals


def test_lease_never_taken_refuses(shared: Shared) -> None:
    with pytest.raises(LeaseLost, match="never taken"):
        lease(shared, "anna").check()


def test_lease_held_by_another_is_not_taken(shared: Shared) -> None:
    with lease(shared, "anna") as first:
        assert first.take()
        assert not lease(shared, "bert").take()
        first.check()


def test_lease_is_over_for_its_holder_before_it_is_for_others(shared: Shared) -> None:
    clock = Clock()
    with lease(shared, "anna", 60.0, clock) as first:
        assert first.take()
        clock.now += 44.9
        first.check()
        clock.now += 0.2

        with pytest.raises(LeaseLost, match="not renewed in time"):
            first.check()
        assert not lease(
            shared, "bert"
        ).take()  # Redis goes on holding it for a quarter of its time


def test_lease_that_was_lost_stays_lost(shared: Shared) -> None:
    clock = Clock()
    with lease(shared, "anna", 60.0, clock) as first:
        first.take()
        clock.now += 50
        for ask in (first.check, first.renew, first.take, lambda: first.token):
            with pytest.raises(LeaseLost):
                ask()
        clock.now -= 50
        with pytest.raises(LeaseLost):
            first.check()


def test_lease_taken_over_by_another_is_not_renewed(shared: Shared) -> None:
    first, second = lease(shared, "anna", 0.3), lease(shared, "bert")
    token = shared.take(NAME, "anna", 0.3)
    assert token is not None
    assert first.take()
    first._ending.set()  # its renewing thread dies, as in a process that is stopped
    wait_for("the end of anna's lease", second.take)

    assert not shared.renew(NAME, "anna", token, 60.0)
    with pytest.raises(LeaseLost):
        first.renew()
    second.check()
    second.release()


def test_lease_given_up_refuses(shared: Shared) -> None:
    first = lease(shared, "anna")
    first.take()
    first.release()

    with pytest.raises(LeaseLost, match="given up"):
        first.check()


# What holds


def test_tokens_only_grow(shared: Shared) -> None:
    tokens = []
    for holder in ("anna", "bert", "anna"):
        with lease(shared, holder) as one:
            assert one.take()
            tokens.append(one.token)

    assert tokens == [tokens[0], tokens[0] + 1, tokens[0] + 2]


def test_taking_again_after_a_lost_answer_gives_the_same_token(shared: Shared) -> None:
    assert shared.take(NAME, "anna", 60.0) == shared.take(NAME, "anna", 60.0)


def test_leases_of_other_names_are_apart(shared: Shared) -> None:
    assert shared.take("a", "anna", 60.0) is not None
    assert shared.take("b", "bert", 60.0) is not None


def test_lease_is_renewed_for_as_long_as_its_holder_lives(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    renewals = counted_renewals(shared, monkeypatch)
    with lease(shared, "anna", 60.0, clock) as first:
        assert first.take()
        for _ in range(5):
            clock.now += 40
            before = renewals[0]
            wait_for("a renewal that began now", lambda: renewals[0] > before + 1)  # noqa: B023 (called before the loop goes on)
            first.check()
            assert not lease(shared, "bert").take()


def test_lease_of_a_dead_holder_ends(shared: Shared) -> None:
    shared.take(NAME, "anna", 0.2)

    with lease(shared, "bert") as second:
        wait_for("the end of anna's lease", second.take)


def test_instance_names_are_never_the_same() -> None:
    names = {instance_name("anna") for _ in range(100)}

    assert len(names) == 100
    assert all(name.startswith("anna-") for name in names)


# The ledger of a lease


def test_ledger_refuses_a_stale_token_and_takes_nothing(shared: Shared) -> None:
    old = shared.take(NAME, "anna", 0.05)
    new = wait_for("the end of anna's lease", lambda: shared.take(NAME, "bert", 60.0))
    assert old is not None

    with pytest.raises(TokenStale) as caught:
        shared.put(NAME, old, {"a": "1", "b": "2"})
    assert (caught.value.token, caught.value.newest) == (old, new)
    with pytest.raises(TokenStale):
        shared.drop(NAME, old, ["a"])
    assert shared.entries(NAME) == []


def test_ledger_without_a_token_refuses(shared: Shared) -> None:
    with pytest.raises(TokenStale, match="Redis knows no token") as caught:
        shared.put(NAME, 7, {"a": "1"})
    assert caught.value.newest is None


def test_ledger_of_a_lease_that_ended_takes_entries_until_another_has_it(shared: Shared) -> None:
    token = shared.take(NAME, "anna", 0.05)
    assert token is not None
    ended(shared, "anna", token)

    shared.put(NAME, token, {"a": "1"})

    assert shared.take(NAME, "bert", 60.0) == token + 1
    assert shared.entries(NAME) == [("a", "1")]


def test_ledger_keeps_the_first_entry_of_a_key_and_the_order(shared: Shared) -> None:
    token = shared.take(NAME, "anna", 60.0)
    assert token is not None
    shared.put(NAME, token, {"z": "first of all", "b": "2 words"})
    shared.put(NAME, token, {"a": "3", "z": "again"})

    assert shared.entries(NAME) == [("z", "first of all"), ("b", "2 words"), ("a", "3")]
    shared.drop(NAME, token, ["b", "unknown"])
    shared.drop(NAME, token, [])
    assert [key for key, _ in shared.entries(NAME)] == ["z", "a"]


# Who is here


def test_members_are_those_whose_word_still_holds(shared: Shared) -> None:
    shared.announce("workers", "anna", "one", 60.0)
    shared.announce("workers", "bert", "two", 60.0)
    shared.announce("others", "carl", "three", 60.0)
    assert shared.members("workers") == {"anna": "one", "bert": "two"}
    shared.announce("workers", "bert", "two", 0.05)

    wait_for("the end of bert's word", lambda: shared.members("workers") == {"anna": "one"})
    shared.announce("workers", "anna", "four", 60.0)
    assert shared.members("workers") == {"anna": "four"}
    shared.leave("workers", "anna")
    assert shared.members("workers") == {}


# Redis alone


def test_redis_that_is_gone_is_said_without_its_password(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis://", "redis://user:secret@")
    redis_server.kill()
    shared = RedisShared(url, "test")

    with pytest.raises(SharedStateUnreachable) as caught:
        shared.take(NAME, "anna", 60.0)

    assert isinstance(caught.value, ChainError)  # a keeper's look fails, and is tried again
    assert "secret" not in str(caught.value)
    assert str(redis_server.port) in str(caught.value)


def test_lease_outlives_a_redis_that_keeps_its_data(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = RedisShared(redis_server.url, "test")
    renewals = counted_renewals(shared, monkeypatch)
    with lease(shared, "anna") as first:
        assert first.take()
        token = first.token
        shared.put(NAME, token, {"a": "1"})
        redis_server.kill()
        first.check()
        redis_server.start()
        before = renewals[0]
        wait_for("a renewal", lambda: renewals[0] > before)

        assert first.token == token
        assert shared.entries(NAME) == [("a", "1")]
        assert not lease(shared, "bert").take()


def test_lease_is_lost_with_redis_data_and_the_next_token_is_newer(
    redis_server: RedisServer,
) -> None:
    redis_server.durable = False
    redis_server.kill()
    redis_server.start()
    shared = RedisShared(redis_server.url, "test")
    first, second = lease(shared, "anna"), lease(shared, "bert")
    assert first.take()
    old = first.token
    redis_server.kill()
    redis_server.start()

    with pytest.raises(TokenStale):
        shared.put(NAME, old, {"a": "1"})
    assert second.take()
    assert second.token > old
    with pytest.raises(TokenStale):
        shared.put(NAME, old, {"a": "1"})
    with pytest.raises(LeaseLost, match="another has taken it"):
        first.renew()
    second.release()
    first.release()


def test_redis_name_hides_credentials_and_options() -> None:
    assert redis_name("redis://me:secret@host:6379/3?client=x") == "redis://host:6379/3"
    assert redis_name("unix:///run/redis.sock") == "unix:///run/redis.sock"
