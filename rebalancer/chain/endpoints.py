"""One `Rpc` over several endpoints: choice of the best endpoint, failover and quorum.

A request goes to the best endpoint: the fastest of those that are not backing off after a failure and not behind the
others. If that endpoint fails (no connection, a timeout, a body that is not JSON-RPC, or an error of the endpoint's
own, see `refusals`), the next one receives the request, until the time for the whole request is over. An error about
the request itself (a revert, a nonce too low) is an answer, so no other endpoint is tried. An ambiguous error is
accepted after every endpoint has returned one.

An endpoint that reports a rate limit gets no request for the time it names. If this applies to all endpoints, the
request waits while time is left.

Repeated requests must be safe. Reads are safe, and so is sending a signed transaction: it can be mined only once.
Methods that control a local node (`anvil_`, `evm_`, `hardhat_`) go to the first endpoint only.

`check` reads the newest block of all endpoints at once; it also runs before a request if the last check is too old.
`confirm` sends the same calls to several endpoints and requires equal answers; the keeper uses it before it moves
money.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from rebalancer.abi import Call
from rebalancer.chain.refusals import Blame, blame
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
    WrongChain,
)

__all__ = ["EndpointHealth", "Endpoints"]

log = structlog.get_logger("rebalancer.endpoints")

_T = TypeVar("_T")

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 60.0
"""Backoff after the first failure of an endpoint, doubled with each further failure up to the maximum."""

_LATENCY_WEIGHT = 0.2
"""Weight of the newest latency in the moving average."""

_ONE_NODE_ONLY = ("anvil_", "evm_", "hardhat_")

_FIRST_PAUSE_SECONDS = 0.25
"""Pause before a retry if all endpoints report a limit without a time; doubled with each further retry."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """State of an endpoint. `height` is its newest block, None before the first check; latency is a moving average."""

    endpoint: str
    height: int | None
    latency_seconds: float | None
    consecutive_failures: int
    backing_off: bool
    behind: bool
    why: str
    """Reason of the last failure; empty if the endpoint works."""


class _Ranked:
    """One endpoint with its measurements."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.height: int | None = None
        self.latency: float | None = None
        self.failures = 0
        self.backoff_until = 0.0
        self.waits_until = 0.0
        """End of the pause that the endpoint requested."""
        self.why = ""

    def answered(self, seconds: float) -> None:
        self.failures, self.backoff_until, self.waits_until, self.why = 0, 0.0, 0.0, ""
        old = seconds if self.latency is None else self.latency
        self.latency = old + _LATENCY_WEIGHT * (seconds - old)

    def failed(self, failure: ChainError, now: float) -> None:
        self.failures += 1
        backoff = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** min(self.failures - 1, 20))
        if isinstance(failure, RpcBusy) and failure.retry_seconds is not None:
            self.waits_until = now + failure.retry_seconds
            backoff = max(backoff, failure.retry_seconds)
        self.backoff_until, self.why = now + backoff, str(failure)


class Endpoints(Rpc):
    """Several JSON-RPC endpoints of one chain. The order is the preference before the first measurement. Not
    thread-safe."""

    def __init__(
        self,
        urls: Sequence[str],
        timeout_s: float = 10.0,
        expected_chain_id: int | None = None,
        *,
        max_lag_blocks: int = 3,
        quorum: int = 1,
        tick_seconds: float = math.inf,
        max_tip_wei: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to endpoints.

        `max_lag_blocks`: largest distance of an endpoint's newest block from the highest one. `quorum`: number of
        endpoints that must agree in `confirm`. `tick_seconds`: maximum age of the last check when a request is made.
        `max_tip_wei`: see `Rpc`.

        Raises:
            QuorumTooSmall: there are fewer endpoints than the quorum.
            RpcUnreachable: a URL is not valid.
        """
        if not 1 <= quorum <= len(urls):
            raise QuorumTooSmall(quorum, len(urls))
        super().__init__(urls[0], timeout_s, expected_chain_id)
        self.endpoint = self.endpoint if len(urls) == 1 else f"{self.endpoint} and {len(urls) - 1} more"
        self.max_lag_blocks = max_lag_blocks
        self.max_tip_wei = max_tip_wei
        self.quorum = quorum
        self.tick_seconds = tick_seconds
        self._clock = clock
        self._checked_at = -math.inf
        self._ranked = [_Ranked(Rpc(url, timeout_s, expected_chain_id)) for url in urls]
        self._threads = ThreadPoolExecutor(len(urls), thread_name_prefix="endpoint")

    @property
    def requests(self) -> int:
        """Number of HTTP requests so far, of all endpoints together."""
        return sum(each.rpc.requests for each in self._ranked)

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        for each in self._ranked:
            each.rpc.close()

    def chain_id(self) -> int:
        """Chain id of the endpoint that answers.

        Raises:
            WrongChain: every endpoint that answers serves another chain than expected.
        """
        return self._patiently(lambda until: self._first_of(lambda each: each.rpc.chain_id(), self._order(), until))

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """See `Rpc.batch_settled`. Raises the error of the last endpoint when no endpoint or no time is left."""
        if not calls:
            return []
        if self._clock() - self._checked_at > self.tick_seconds:
            self.check()
        steers = any(method.startswith(_ONE_NODE_ONLY) for method, _ in calls)
        return self._patiently(lambda until: self._answers(calls, self._ranked[:1] if steers else self._order(), until))

    def check(self) -> list[EndpointHealth]:
        """Read the newest block of every endpoint, all at once. Returns the state of each, in the order given."""

        def height(each: _Ranked) -> tuple[int, float] | ChainError:
            began = time.monotonic()
            try:
                found = int(each.rpc.call("eth_blockNumber"), 16)
            except ChainError as failure:
                return failure
            except (TypeError, ValueError):
                return RpcMalformed(each.rpc.endpoint, "its height is not a number")
            return found, time.monotonic() - began

        self._set_deadline(self._request_until())
        self._checked_at = self._clock()
        for each, found in zip(self._ranked, self._threads.map(height, self._ranked), strict=True):
            if isinstance(found, ChainError):
                self._failed(each, found)
            else:
                each.height, seconds = found
                each.answered(seconds)
        return self.health()

    def health(self) -> list[EndpointHealth]:
        """Known state of each endpoint, in the order given."""
        now = self._clock()
        return [
            EndpointHealth(
                each.rpc.endpoint,
                each.height,
                each.latency,
                each.failures,
                each.backoff_until > now,
                self._is_behind(each),
                each.why,
            )
            for each in self._ranked
        ]

    @property
    def votes(self) -> int:
        """The quorum."""
        return self.quorum

    def voters(self) -> Iterator[Rpc]:
        """Each endpoint alone, best first, for requests whose answers are compared; all endpoints as one if the quorum
        is 1.

        Each endpoint may use half of the time left for a request, and the last one all of it.
        """
        if self.quorum == 1:
            yield self
            return
        until, ranked = self._request_until(), self._order()
        for at, each in enumerate(ranked):
            now = time.monotonic()
            is_last = at == len(ranked) - 1
            each.rpc.deadline = until if is_last else now + (until - now) / 2
            yield each.rpc

    def confirm(self, calls: Sequence[Call]) -> list[Any]:
        """Results of calls on which `quorum` endpoints agree. Name blocks by hash: otherwise endpoints may be at
        different blocks.

        Raises:
            EndpointsDisagree: two endpoints gave different answers to one call.
            QuorumTooSmall: fewer endpoints answered.
            RpcRejected: the endpoints agree that a call is rejected.
        """
        if self.quorum == 1:
            return self.batch(calls)

        def answer(each: _Ranked) -> list[Any] | ChainError:
            try:
                return _sound(each.rpc, calls)
            except ChainError as failure:
                return failure

        self._set_deadline(self._request_until())
        agreed: list[Any] | None = None
        first = ""
        count = 0
        waiting = self._order()
        while waiting and count < self.quorum:
            requested, waiting = waiting[: self.quorum - count], waiting[self.quorum - count :]
            for each, found in zip(requested, self._threads.map(answer, requested), strict=True):
                if isinstance(found, ChainError):
                    self._failed(each, found)
                    continue
                count += 1
                if agreed is None:
                    agreed, first = found, each.rpc.endpoint
                    continue
                for (method, _), one, other in zip(calls, agreed, found, strict=True):
                    if not _same(one, other):
                        raise EndpointsDisagree(method, first, each.rpc.endpoint)
        if agreed is None or count < self.quorum:
            raise QuorumTooSmall(self.quorum, count)
        for one in agreed:
            if isinstance(one, RpcRejected):
                raise one
        return agreed

    # Choosing

    def _order(self) -> list[_Ranked]:
        """Endpoints in order of use: working ones by latency, then those behind, then those in backoff by its end."""
        now = self._clock()

        def rank(each: _Ranked) -> tuple[int, float]:
            if each.backoff_until > now:
                return 2, each.backoff_until
            latency = math.inf if each.latency is None else each.latency
            return int(self._is_behind(each)), latency

        return sorted(self._ranked, key=rank)

    def _is_behind(self, each: _Ranked) -> bool:
        heights = [other.height for other in self._ranked if other.height is not None]
        if each.height is None:
            return False
        return each.height < max(heights) - self.max_lag_blocks

    def _patiently(self, attempt: Callable[[float], _T]) -> _T:
        """Try until a deadline. While all endpoints only report a limit, wait and try again."""
        until = self._request_until()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return attempt(until)
            except RpcBusy as busy:
                left = until - time.monotonic()
                seconds = self._seconds_to_wait()
                seconds = pause if seconds is None else max(seconds, _FIRST_PAUSE_SECONDS)
                if seconds >= left:
                    raise
                log.info("endpoints_busy", seconds=round(seconds, 3), why=str(busy))
                time.sleep(seconds)
                pause *= 2

    def _seconds_to_wait(self) -> float | None:
        """Shortest pause that an endpoint requested; None unless all endpoints requested one."""
        now = self._clock()
        waits = [each.waits_until - now for each in self._ranked if each.waits_until > now]
        return min(waits) if len(waits) == len(self._ranked) else None

    def _answers(self, calls: Sequence[Call], ranked: Sequence[_Ranked], until: float) -> list[Any]:
        """The first valid answers to calls. If a rejection may be the endpoint's own, the next endpoint is tried."""
        unclear: tuple[_Ranked, list[Any]] | None = None

        def ask(each: _Ranked) -> list[Any] | None:
            nonlocal unclear
            found = _sound(each.rpc, calls)
            if not _blames(found) & {Blame.UNCLEAR, Blame.METHOD}:
                if unclear is not None and Blame.UNCLEAR in _blames(unclear[1]):
                    refused = next(e for e in unclear[1] if isinstance(e, RpcRejected))
                    self._failed(unclear[0], refused)
                return found
            if unclear is None:
                unclear = each, found
            return None

        try:
            return self._first_of(ask, ranked, until)
        except ChainError:
            if unclear is None:
                raise
            return unclear[1]

    def _first_of(self, ask: Callable[[_Ranked], _T | None], ranked: Sequence[_Ranked], until: float) -> _T:
        """Result of the first endpoint for which `ask` succeeds. After a None result the next endpoint is tried.

        Raises:
            ChainError: the last failure, when no endpoint or no time is left.
            RpcBusy: every endpoint requested a pause that has not ended.
        """
        self._set_deadline(until)
        now = self._clock()
        free = [each for each in ranked if each.waits_until <= now]
        failure: ChainError = RpcUnreachable(self.endpoint, "no endpoint is left to try")
        if not free:
            wait = min(each.waits_until for each in ranked) - now
            failure = RpcBusy(self.endpoint, "it requested a pause", round(wait, 1))
        for at, each in enumerate(free):
            began = time.monotonic()
            if at < len(free) - 1:
                # Half of the remaining time, so that a silent endpoint leaves time for the next.
                each.rpc.deadline = began + (until - began) / 2
            try:
                found = ask(each)
            except (RpcUnreachable, RpcTimeout, RpcMalformed, WrongChain) as lost:
                failure = lost
                self._failed(each, failure)
                continue
            each.answered(time.monotonic() - began)
            if found is not None:
                return found
        raise failure

    def _failed(self, each: _Ranked, failure: ChainError) -> None:
        each.failed(failure, self._clock())
        if len(self._ranked) == 1:
            return  # the caller reports the failure
        log.warning("endpoint_failed", endpoint=each.rpc.endpoint, failures=each.failures, why=each.why)

    def _request_until(self) -> float:
        """Deadline of one request: `timeout_s` for all endpoints together, and never later than `deadline`."""
        until = time.monotonic() + self.timeout_s
        return until if self.deadline is None else min(until, self.deadline)

    def _set_deadline(self, until: float) -> None:
        for each in self._ranked:
            each.rpc.deadline = until


def _sound(rpc: Rpc, calls: Sequence[Call]) -> list[Any]:
    """An endpoint's answers, if none of them reports a failure of the endpoint.

    Raises:
        RpcBusy, RpcUnreachable: an error of the endpoint's own.
    """
    answers = rpc.batch_settled(calls)
    for answer in answers:
        if isinstance(answer, RpcRejected) and blame(answer) is Blame.ENDPOINT:
            raise rpc.own_failure(answer)
    return answers


def _blames(answers: Sequence[Any]) -> set[Blame]:
    return {blame(each) for each in answers if isinstance(each, RpcRejected)}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, RpcRejected) and isinstance(other, RpcRejected):
        return one.data == other.data  # nodes use different messages for the same refusal
    return bool(one == other)
