"""Endpoints on a clock of the test's: shares of time, rests, pauses, latencies and order, all exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.abi import Call
from rebalancer.chain import endpoints as module
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ChainError,
    EndpointsDisagree,
    QuorumTooSmall,
    RpcBusy,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
)

ONE, TWO, THREE = "http://one.example", "http://two.example", "http://three.example"
READ: Call = ("eth_call", ())
UNCLEAR = RpcRejected("eth_call", -32000, "nobody knows why")
MISSING = RpcRejected("eth_call", -32601, "the method does not exist")
OWN = RpcRejected("eth_call", -32603, "internal error")
BUSY = object()
"""An endpoint at a limit that does not say for how long."""
SILENT = object()
"""An endpoint that says nothing until the time it is given is over."""


class Clock:
    """Time that passes only while somebody sleeps or waits for an answer."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Reported(Rpc):
    """An endpoint that answers every call with `word`, or fails as `word` says, and takes `seconds` for it."""

    clock: Clock

    def __init__(self, url: str, *settings: Any) -> None:
        super().__init__(url, *settings)
        self.word: Any = "0x01"
        self.height: Any = "0x64"
        self.seconds = 0.0
        self.requested: list[list[str]] = []
        self.given: list[float] = []
        """How many seconds it was given, question by question."""
        self.closed = 0

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        assert self.deadline is not None
        self._requests += 1
        self.requested.append([method for method, _ in calls])
        self.given.append(self.deadline - self.clock.now)
        if self.word is SILENT:
            self.clock.now = self.deadline
            raise RpcTimeout(self.endpoint, self.given[-1])
        self.clock.now += self.seconds
        if self.word is BUSY:
            raise RpcBusy(self.endpoint, "limit")
        if isinstance(self.word, ChainError) and not isinstance(self.word, RpcRejected):
            raise self.word
        word = self.word if callable(self.word) else lambda method: self.word
        return [self.height if method == "eth_blockNumber" else word(method) for method, _ in calls]

    def chain_id(self) -> int:
        return int(self.batch_settled([("eth_chainId", ())])[0], 16)

    def close(self) -> None:
        self.closed += 1
        super().close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "Rpc", type("Told", (Reported,), {"clock": made}))
    return made


Make = Callable[..., tuple[Endpoints, list[Reported]]]


@pytest.fixture
def make(clock: Clock) -> Make:
    """Endpoints, and each of them; they are asked one after the other, also where all are asked at once."""

    def made(*urls: str, **settings: Any) -> tuple[Endpoints, list[Reported]]:
        given: dict[str, Any] = {"timeout_s": 16.0, "clock": clock.monotonic} | settings
        rpc = Endpoints(urls, **given)
        rpc._threads.shutdown()
        rpc._threads = type("OneByOne", (), {"map": staticmethod(map)})()
        return rpc, [each.rpc for each in rpc._ranked]  # type: ignore[misc] # as made above

    return made


def busy_for(reported: Reported, seconds: float) -> RpcBusy:
    return RpcBusy(reported.endpoint, "limit", seconds)


# The time of one question


@pytest.mark.parametrize(
    ("deadline", "given"),
    [(None, [8.0, 4.0, 4.0]), (4.0, [2.0, 1.0, 1.0]), (99.0, [8.0, 4.0, 4.0])],
)
def test_each_but_the_last_is_given_half_of_what_is_left(
    clock: Clock, make: Make, deadline: float | None, given: list[float]
) -> None:
    rpc, reported = make(ONE, TWO, THREE)
    rpc.deadline = None if deadline is None else clock.now + deadline
    for each in reported:
        each.word = SILENT

    with pytest.raises(RpcTimeout, match=f"three.example did not answer within {given[2]:g} s"):
        rpc.call("eth_call")

    assert [each.given for each in reported] == [[seconds] for seconds in given]


def test_a_lone_endpoint_is_given_all_the_time(make: Make) -> None:
    rpc, [one] = make(ONE)
    rpc.call("eth_call")
    assert rpc.chain_id() == 1

    assert one.given == [16.0, 16.0]


def test_who_answers_is_given_a_whole_question_again(clock: Clock, make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word = SILENT
    rpc.call("eth_call")
    one.word = "0x01"
    clock.now += 60
    rpc.check()
    assert (one.given, two.given) == ([8.0, 16.0], [8.0, 16.0])
    clock.now += 60
    list(rpc.voters())


def test_nothing_is_asked_where_nothing_is_wanted(make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO, tick_seconds=0.0)

    assert rpc.batch_settled([]) == []

    assert one.requested == two.requested == []


# Rests after a failure


def test_each_rest_is_twice_the_last_and_at_most_a_minute(clock: Clock, make: Make) -> None:
    rpc, [one, _] = make(ONE, TWO)
    one.word = RpcUnreachable(ONE, "down")
    backs_off = []
    for failures in range(1, 40):
        rpc.check()
        ends = rpc._ranked[0].backoff_until
        backs_off.append(ends - clock.now)
        clock.now = math.nextafter(ends, 0)
        assert rpc.health()[0].backing_off
        clock.now = ends
        health = rpc.health()[0]
        assert (health.backing_off, health.consecutive_failures) == (False, failures)
        assert "down" in health.why

    assert backs_off == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 32]
    one.word = "0x01"
    rpc.check()
    health = rpc.health()[0]
    assert (health.consecutive_failures, health.backing_off, health.why) == (0, False, "")
    one.word = RpcUnreachable(ONE, "down")
    rpc.check()
    assert rpc._ranked[0].backoff_until == clock.now + 0.5


@pytest.mark.parametrize(("asks", "rest"), [(0.25, 0.5), (3.0, 3.0), (7_200.0, 7_200.0)])
def test_an_endpoint_at_a_limit_rests_as_long_as_it_asks_and_no_less_than_others(
    clock: Clock, make: Make, asks: float, rest: float
) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word = busy_for(one, asks)
    rpc.call("eth_call")

    assert rpc._ranked[0].backoff_until == clock.now + rest
    assert rpc._ranked[0].waits_until == clock.now + asks
    two.word = RpcUnreachable(TWO, "down")
    clock.now = math.nextafter(clock.now + asks, 0)
    with pytest.raises(ChainError):
        rpc.call("eth_call")
    assert len(one.requested) == 1, "it is not asked before its time, whoever else fails"
    clock.now = math.nextafter(clock.now, math.inf)
    one.word = "0x01"
    assert rpc.call("eth_call") == "0x01"
    assert rpc._ranked[0].waits_until == 0.0


def test_an_endpoint_that_fails_is_told_of_unless_it_is_the_only_one(make: Make) -> None:
    for urls, most in (((ONE,), 0), ((ONE, TWO), 1)):
        rpc, reported = make(*urls)
        reported[0].word = RpcUnreachable(ONE, "down")
        with capture_logs() as logs:
            rpc.check()

        assert [(each["endpoint"], each["failures"]) for each in logs] == [(ONE, 1)] * most


# Waiting where all are at a limit


def test_pauses_double_while_all_are_at_a_limit_and_end_in_time(clock: Clock, make: Make) -> None:
    rpc, reported = make(ONE, TWO)
    for each in reported:
        each.word = BUSY

    with pytest.raises(RpcBusy):
        rpc.call("eth_call")

    assert clock.slept == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert len(reported[0].requested) == len(reported[1].requested) == 7
    left = [16 - seconds for seconds in (0.0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75)]
    assert reported[0].given == [seconds / 2 for seconds in left], "the question's time is not begun anew"
    assert reported[1].given == left


@pytest.mark.parametrize(
    ("timeout", "slept"),
    [(0.25, []), (0.75, [0.25]), (0.7500001, [0.25, 0.5]), (8.0, [0.25, 0.5, 1.0, 2.0, 4.0])],
)
def test_a_pause_that_lasts_to_the_end_is_not_begun(
    clock: Clock, make: Make, timeout: float, slept: list[float]
) -> None:
    rpc, [one] = make(ONE, timeout_s=timeout)
    one.word = BUSY

    with pytest.raises(RpcBusy):
        rpc.call("eth_call")

    assert clock.slept == slept


def test_all_that_ask_for_a_time_are_waited_for_by_the_shortest(clock: Clock, make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word, two.word = busy_for(one, 5.0), busy_for(two, 3.0)

    def answers(method: str) -> str:
        return "0x02"

    def sleep(seconds: float) -> None:
        clock.slept.append(seconds)
        clock.now += seconds
        one.word = two.word = answers

    clock.sleep = sleep  # type: ignore[method-assign] # they answer once they were waited for
    assert rpc.call("eth_call") == "0x02"

    assert clock.slept == [3.0]
    assert (len(one.requested), len(two.requested)) == (1, 2)


def test_a_time_below_the_first_pause_is_not_taken_at_its_word(clock: Clock, make: Make) -> None:
    rpc, [one] = make(ONE, timeout_s=0.6)
    one.word = busy_for(one, 0.01)

    with pytest.raises(RpcBusy):
        rpc.call("eth_call")

    assert clock.slept == pytest.approx([0.25, 0.25])


def test_one_that_names_no_time_has_all_waited_for_by_pauses(clock: Clock, make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO, timeout_s=1.0)
    one.word, two.word = busy_for(one, 0.9), BUSY

    with pytest.raises(RpcBusy):
        rpc.call("eth_call")

    assert clock.slept == [0.25, 0.5]
    assert len(one.requested) == 1


def test_who_asked_to_be_left_alone_is_not_asked_and_the_time_is_named(clock: Clock, make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word, two.word = busy_for(one, 50.04), busy_for(two, 70.0)
    rpc.check()
    one.word = two.word = "0x01"

    with pytest.raises(RpcBusy) as raised:
        rpc.call("eth_call")

    assert raised.value.endpoint == f"{ONE} and 1 more"
    assert raised.value.reason == "it requested a pause"
    assert raised.value.retry_seconds == 50.0
    assert len(one.requested) == len(two.requested) == 1
    assert clock.slept == []


# Looking, and what is known


def test_a_look_tells_height_latency_and_failure_of_each(clock: Clock, make: Make) -> None:
    rpc, [one, two, three] = make(ONE, TWO, THREE, max_lag_blocks=3)
    one.height, one.seconds = hex(97), 2.0
    two.height, two.seconds = hex(96), 3.0
    health = rpc.check()
    assert [each.height for each in health] == [97, 96, 100]
    assert [each.latency_seconds for each in health] == [2.0, 3.0, 0.0]
    assert [each.behind for each in health] == [False, True, False]
    assert [each.endpoint for each in health] == [ONE, TWO, THREE]

    one.seconds, two.seconds, three.height = 4.0, 1.0, "soon"
    health = rpc.check()

    assert [each.latency_seconds for each in health] == pytest.approx([2.4, 2.6, 0.0])
    assert [each.height for each in health] == [97, 96, 100], "the last that is known"
    assert [each.consecutive_failures for each in health] == [0, 0, 1]
    assert health[2].why == str(RpcMalformed(THREE, "its height is not a number"))
    assert [each.backing_off for each in health] == [False, False, True]


@pytest.mark.parametrize("height", [None, 7, "?"])
def test_a_height_that_is_no_number_is_a_failure_and_no_height(make: Make, height: Any) -> None:
    rpc, [one, _] = make(ONE, TWO)
    one.height = height

    health = rpc.check()

    assert (health[0].height, health[0].latency_seconds) == (None, None)
    assert not health[0].behind
    assert health[0].consecutive_failures == 1
    assert health[1].height == 100


def test_a_look_is_taken_before_a_question_once_the_last_is_too_old(clock: Clock, make: Make) -> None:
    rpc, [one] = make(ONE, tick_seconds=10.0)
    rpc.call("eth_call")
    clock.now += 10.0
    rpc.call("eth_call")
    clock.now = math.nextafter(clock.now, math.inf)
    rpc.call("eth_call")

    checked, requested = ["eth_blockNumber"], ["eth_call"]
    assert one.requested == [checked, requested, requested, checked, requested]


def test_the_latency_is_that_of_answers_and_not_of_what_was_asked_before(clock: Clock, make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word, one.seconds = RpcUnreachable(ONE, "down"), 5.0
    two.seconds = 2.0
    rpc.call("eth_call")
    two.seconds = 1.0
    rpc.call("eth_call")

    health = rpc.health()
    assert health[0].latency_seconds is None
    assert health[1].latency_seconds == pytest.approx(1.8)


def test_requests_are_counted_and_connections_dropped_of_all(make: Make) -> None:
    rpc, reported = make(ONE, TWO, THREE)
    rpc.check()
    rpc.call("eth_call")
    rpc.close()

    assert rpc.requests == 4
    assert [each.closed for each in reported] == [1, 1, 1]


# Whom to ask


def test_sound_ones_come_first_then_those_behind_then_the_longest_rested(clock: Clock, make: Make) -> None:
    urls = [f"http://{name}.example" for name in ("a", "b", "c", "d", "e", "f")]
    rpc, [a, b, c, d, e, f] = make(*urls, quorum=6)
    c.height, c.seconds = hex(90), 0.001
    e.seconds, f.seconds = 0.003, 0.002
    a.word = RpcUnreachable(a.endpoint, "down")
    b.word = busy_for(b, 30.0)
    d.word = BUSY
    rpc.check()
    # d fails a second time, so a rests less long.
    rpc._failed(rpc._ranked[3], RpcUnreachable(d.endpoint, "down"))

    assert list(rpc.voters()) == [f, e, c, a, d, b]


def test_voters_are_all_endpoints_in_turn_each_with_half_of_the_time_that_is_left(clock: Clock, make: Make) -> None:
    rpc, reported = make(ONE, TWO, THREE, quorum=2)
    until, given = clock.now + rpc.timeout_s, []

    for voter in rpc.voters():
        given.append((voter, voter.deadline))
        clock.now += 1.0

    assert rpc.votes == 2
    assert [voter for voter, _ in given] == reported
    starts = (until - rpc.timeout_s, until - rpc.timeout_s + 1.0)
    halves = [start + (until - start) / 2 for start in starts]
    assert [deadline for _, deadline in given] == pytest.approx([*halves, until])


def test_where_one_endpoint_is_enough_all_stand_for_it(make: Make) -> None:
    rpc, _ = make(ONE, TWO, THREE)

    assert (rpc.votes, list(rpc.voters())) == (1, [rpc])


@pytest.mark.parametrize("method", ["anvil_mine", "evm_mine", "hardhat_setBalance"])
def test_what_steers_a_node_goes_to_the_first_with_all_that_is_asked_beside(make: Make, method: str) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.seconds = 5.0
    rpc.check()

    rpc.batch_settled([READ, (method, ())])
    rpc.batch_settled([READ])

    assert one.requested[1:] == [["eth_call", method]]
    assert two.requested[1:] == [["eth_call"]]


# Errors that may be the endpoint's or the question's


def test_an_unclear_error_is_the_endpoints_once_another_answers(make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word = lambda method: UNCLEAR if method == "b" else "0x01"
    two.word = "0x02"

    assert rpc.batch_settled([("a", ()), ("b", ())]) == ["0x02", "0x02"]

    health = rpc.health()
    assert [each.consecutive_failures for each in health] == [1, 0]
    assert health[0].why == str(UNCLEAR)
    assert health[0].backing_off


def test_an_unclear_error_is_the_answer_once_everybody_gives_one_or_none(make: Make) -> None:
    rpc, [one, two, three] = make(ONE, TWO, THREE)
    one.word = RpcUnreachable(ONE, "down")
    two.word = lambda method: UNCLEAR if method == "b" else "0x02"
    three.word = lambda method: UNCLEAR

    assert rpc.batch_settled([("a", ()), ("b", ())]) == ["0x02", UNCLEAR]
    assert [each.consecutive_failures for each in rpc.health()] == [1, 0, 0]
    assert [len(each.requested) for each in (one, two, three)] == [1, 1, 1]


def test_a_method_that_is_lacked_is_no_failure_whoever_else_serves_it(make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word = MISSING

    assert rpc.call("eth_call") == "0x01"
    assert [each.consecutive_failures for each in rpc.health()] == [0, 0]
    two.word = MISSING
    with pytest.raises(RpcRejected, match="does not exist"):
        rpc.call("eth_call")
    assert [each.consecutive_failures for each in rpc.health()] == [0, 0]


def test_an_error_of_its_own_is_a_failure_wherever_it_stands_among_answers(make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO)
    one.word = lambda method: OWN if method == "b" else "0x01"
    two.word = "0x02"

    assert rpc.batch_settled([("a", ()), ("b", ())]) == ["0x02", "0x02"]
    assert rpc.health()[0].why == str(RpcUnreachable(ONE, "internal error (code -32603)"))
    assert len(two.requested) == 1


# Agreeing


def test_one_that_is_enough_is_asked_as_always(make: Make) -> None:
    """With all that means: an error that may be its own is not believed before another was asked."""
    rpc, [one, two] = make(ONE, TWO, quorum=1)
    one.word, two.word = UNCLEAR, "0x02"

    assert rpc.confirm([READ]) == ["0x02"]


def test_only_as_many_are_asked_as_must_agree_and_one_more_for_each_that_fails(make: Make) -> None:
    rpc, [one, two, three] = make(ONE, TWO, THREE, quorum=2)
    assert rpc.confirm([READ]) == ["0x01"]
    assert [len(each.requested) for each in (one, two, three)] == [1, 1, 0]

    two.word = OWN
    assert rpc.confirm([READ]) == ["0x01"]
    assert [len(each.requested) for each in (one, two, three)] == [2, 2, 1]
    assert [each.consecutive_failures for each in rpc.health()] == [0, 1, 0]
    assert set(one.given) == {16.0}


@pytest.mark.parametrize("each", [0, 1, 2])
def test_any_answer_in_any_place_that_differs_is_named(make: Make, each: int) -> None:
    rpc, [_, _, three] = make(ONE, TWO, THREE, quorum=3)
    methods = ["a", "b", "c"]
    three.word = lambda method: "0x02" if method == methods[each] else "0x01"

    with pytest.raises(EndpointsDisagree) as raised:
        rpc.confirm([(method, ()) for method in methods])

    assert (raised.value.method, raised.value.first, raised.value.second) == (
        methods[each],
        ONE,
        THREE,
    )


def test_refusals_agree_by_their_data_and_with_nothing_else(make: Make) -> None:
    rpc, [one, two] = make(ONE, TWO, quorum=2)
    one.word = lambda method: RpcRejected(method, 3, "reverted", b"\1") if method == "b" else "0x"
    two.word = lambda method: RpcRejected(method, 0, "VM revert", b"\1") if method == "b" else "0x"
    with pytest.raises(RpcRejected, match="refused b"):
        rpc.confirm([("a", ()), ("b", ())])

    for other in (RpcRejected("b", 3, "reverted", b"\2"), RpcRejected("b", 3, "reverted"), "0x"):
        two.word = lambda method, other=other: other if method == "b" else "0x"
        with pytest.raises(EndpointsDisagree):
            rpc.confirm([("a", ()), ("b", ())])


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_fewer_that_answer_than_must_agree_confirm_nothing(make: Make, failing: int) -> None:
    rpc, reported = make(ONE, TWO, THREE, quorum=3)
    for each in reported[:failing]:
        each.word = RpcUnreachable(each.endpoint, "down")

    with pytest.raises(QuorumTooSmall) as raised:
        rpc.confirm([READ])

    assert (raised.value.needed, raised.value.count) == (3, 3 - failing)
    assert [len(each.requested) for each in reported] == [1, 1, 1]


@pytest.mark.parametrize(("quorum", "right"), [(0, False), (1, True), (2, True), (3, False)])
def test_at_least_one_must_agree_and_at_most_all(make: Make, quorum: int, right: bool) -> None:
    if right:
        assert make(ONE, TWO, quorum=quorum)[0].quorum == quorum
        return
    with pytest.raises(QuorumTooSmall) as raised:
        make(ONE, TWO, quorum=quorum)
    assert (raised.value.needed, raised.value.count) == (quorum, 2)


def test_one_that_rests_comes_after_one_behind_however_slow_that_is(make: Make) -> None:
    rpc, [one, two, three] = make(ONE, TWO, THREE, quorum=3, clock=lambda: 0.0)
    one.word = RpcUnreachable(ONE, "down")
    two.height, two.seconds = hex(90), 5.0
    rpc.check()

    assert list(rpc.voters()) == [three, two, one]


def test_one_whose_wait_is_over_does_not_ask_to_be_left_alone(clock: Clock, make: Make) -> None:
    rpc, [one] = make(ONE, timeout_s=1.5)
    one.word = busy_for(one, 0.25)

    def sleep(seconds: float) -> None:
        clock.slept.append(seconds)
        clock.now += seconds
        one.word = BUSY

    clock.sleep = sleep  # type: ignore[method-assign] # from then on it names no time
    with pytest.raises(RpcBusy):
        rpc.call("eth_call")

    assert clock.slept == [0.25, 0.5]


def test_of_many_no_more_are_asked_than_still_must_agree(make: Make) -> None:
    urls = [f"http://{name}.example" for name in "abcde"]
    rpc, reported = make(*urls, quorum=2)
    reported[1].word = reported[2].word = OWN

    assert rpc.confirm([READ]) == ["0x01"]

    assert [len(each.requested) for each in reported] == [1, 1, 1, 1, 0]
    rpc, reported = make(*urls, quorum=3)
    reported[0].word = OWN
    assert rpc.confirm([READ]) == ["0x01"]
    assert [len(each.requested) for each in reported] == [1, 1, 1, 1, 0]
