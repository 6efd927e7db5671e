"""Circuit breakers: when they open, for how long, and what closes them."""

from __future__ import annotations

from rebalancer.keeper.breaker import Breaker, VaultBreakers


def test_a_breaker_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(3, 60.0)
    assert [breaker.failed("no answer", now) for now in (0.0, 1.0)] == [False, False]
    breaker.succeeded()
    assert [breaker.failed("no answer", now) for now in (2.0, 3.0)] == [False, False]
    assert not breaker.is_open(3.0)

    assert breaker.failed("no answer at all", 4.0)

    assert breaker.is_open(63.9)
    assert not breaker.is_open(64.0)
    assert (breaker.why, breaker.since, breaker.until) == ("no answer at all", 4.0, 64.0)


def test_each_failure_after_a_rest_doubles_it_up_to_the_longest_and_a_success_forgets() -> None:
    breaker = Breaker(1, 60.0, longest_seconds=200.0)
    backs_off = []
    for _ in range(4):
        now = breaker.until
        assert breaker.failed("refused", now)
        backs_off.append(breaker.until - now)
    assert backs_off == [60.0, 120.0, 200.0, 200.0]
    assert breaker.since == 0.0, "it is the same trouble since it first opened"

    breaker.succeeded()

    assert breaker.failed("refused", 5_000.0)
    assert breaker.until == 5_060.0
    assert breaker.since == 5_000.0


def test_a_tripped_breaker_is_closed_by_nothing() -> None:
    breaker = Breaker(3, 60.0)
    breaker.failed("no answer", 6.0)
    breaker.trip("the books differ", 7.0)
    assert (breaker.consecutive_failures, breaker.since) == (2, 7.0)
    breaker.succeeded()
    breaker.failed("something else", 8.0)

    assert breaker.is_tripped
    assert breaker.is_open(1e12)
    assert breaker.why == "the books differ"


def test_a_breaker_that_fails_for_months_still_rests_the_longest() -> None:
    breaker = Breaker(failures=1, backoff_seconds=60.0, longest_seconds=3_600.0)
    for hour in range(2_000):
        assert breaker.failed("away", hour * 3_600.0)

    assert breaker.until == 2_000 * 3_600.0


def test_changed_limits_hold_for_vaults_that_failed_before_and_for_those_that_fail_later() -> None:
    breakers = VaultBreakers(["one", "two"], 3, 60.0)
    breakers.of("one").failed("no", 0.0)

    breakers.tune(2, 7.0)

    for vault, failures in (("one", 1), ("two", 2)):
        opened = [breakers.of(vault).failed("no", 100.0) for _ in range(failures)]
        assert opened[-1] is True
        assert breakers.of(vault).until == 107.0
