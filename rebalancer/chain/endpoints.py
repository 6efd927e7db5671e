"""How do many endpoints answer as one, and which of them is to be asked?

`Endpoints` is an `Rpc` over several of them. A question goes to the best: of those that are not resting after a failure and not
behind the others, the one that answers fastest. Where no answer comes (no connection, no time, a body that is not JSON-RPC or is an
error of the endpoint's own, whatever its HTTP status says), the next is asked, until the time for the whole question is over. What a
node says about the question itself (a revert, a nonce too low) is an answer, and nobody else is asked.

Asking twice must be safe. Reads are, and so is sending a signed transaction: it can be mined once. Methods that steer a local node
(`anvil_`, `evm_`, `hardhat_`) go to the first endpoint alone.

`look` measures: it asks all at once for their newest block, by itself once in a while before a question. `confirm` asks several the same and takes no answer on which they do not
agree, for what moves money.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from rebalancer.chain.rpc import Call, Rpc
from rebalancer.errors import (
    ChainError,
    EndpointsDisagree,
    QuorumTooSmall,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    WrongChain,
)

__all__ = ["EndpointHealth", "Endpoints"]

log = structlog.get_logger("rebalancer.endpoints")

_T = TypeVar("_T")

_FIRST_REST_SECONDS = 0.5
_LONGEST_REST_SECONDS = 60.0
"""After a failure an endpoint is left alone for the first, twice that after the next, up to the last."""

_LATENCY_WEIGHT = 0.2
"""Of the newest answer in the average."""

_ONE_NODE_ONLY = ("anvil_", "evm_", "hardhat_")

_ENDPOINTS_OWN = frozenset({-32005, -32603, -32002, -32016, 429})
"""Error codes of endpoints that are at a limit, broken inside, or without the data: another may answer."""

_ENDPOINTS_OWN_WORDS = (
    "rate limit",
    "too many requests",
    "header not found",
    "unknown block",
    "block not found",
    "missing trie node",
)
"""The same in words, for nodes that give them all one code."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """How an endpoint does. `height` is its newest block, None before the first look; latency is an average."""

    endpoint: str
    height: int | None
    latency_seconds: float | None
    failures_in_a_row: int
    resting: bool
    behind: bool
    why: str
    """What its last failure was; empty if it does well."""


class _Place:
    """One endpoint and what is known of it."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.height: int | None = None
        self.latency: float | None = None
        self.failures = 0
        self.rests_until = 0.0
        self.why = ""

    def answered(self, seconds: float) -> None:
        self.failures, self.rests_until, self.why = 0, 0.0, ""
        old = seconds if self.latency is None else self.latency
        self.latency = old + _LATENCY_WEIGHT * (seconds - old)

    def failed(self, why: str, now: float) -> None:
        self.failures += 1
        rest = min(_LONGEST_REST_SECONDS, _FIRST_REST_SECONDS * 2 ** min(self.failures - 1, 20))
        self.rests_until, self.why = now + rest, why


class Endpoints(Rpc):
    """Several JSON-RPC endpoints of one chain, in order of preference where nothing is measured yet. Not to be shared by threads."""

    def __init__(
        self,
        urls: Sequence[str],
        timeout_s: float = 10.0,
        expected_chain_id: int | None = None,
        *,
        max_lag_blocks: int = 3,
        quorum: int = 1,
        look_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_lag_blocks`: how far behind the highest an endpoint may be; `quorum`: how many must agree in `confirm`; `look_seconds`:
        how old a look may be when a question is asked.

        Raises:
            QuorumTooSmall: there are fewer endpoints than must agree.
            RpcUnreachable: a URL is none.
        """
        if not 1 <= quorum <= len(urls):
            raise QuorumTooSmall(quorum, len(urls))
        super().__init__(urls[0], timeout_s, expected_chain_id)
        self.endpoint = (
            self.endpoint if len(urls) == 1 else f"{self.endpoint} and {len(urls) - 1} more"
        )
        self.max_lag_blocks = max_lag_blocks
        self.quorum = quorum
        self.look_seconds = look_seconds
        self._clock = clock
        self._looked_at = -math.inf
        self._places = [_Place(Rpc(url, timeout_s, expected_chain_id)) for url in urls]
        self._threads = ThreadPoolExecutor(len(urls), thread_name_prefix="endpoint")

    @property
    def requests(self) -> int:
        """HTTP requests made so far, of all endpoints together."""
        return sum(place.rpc.requests for place in self._places)

    def close(self) -> None:
        """Drop all connections; the next question opens new ones."""
        for place in self._places:
            place.rpc.close()

    def chain_id(self) -> int:
        """The chain id that the endpoint that answers serves.

        Raises:
            WrongChain: every endpoint that answers serves another chain than expected.
        """
        return self._first(lambda rpc: rpc.chain_id(), self._order())

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        """See `Rpc.batch_settled`; raises what the last endpoint raised once none is left to ask, or no time."""
        if not calls:
            return []
        if self._clock() - self._looked_at > self.look_seconds:
            self.look()
        steers = any(method.startswith(_ONE_NODE_ONLY) for method, _ in calls)
        places = self._places[:1] if steers else self._order()
        return self._first(lambda rpc: _answers(rpc, calls), places)

    def look(self) -> list[EndpointHealth]:
        """Ask every endpoint for its newest block, all at once, and say how each does, in the order they were given."""

        def height(place: _Place) -> tuple[int | ChainError, float]:
            began = time.monotonic()
            try:
                found = int(place.rpc.call("eth_blockNumber"), 16)
            except ChainError as failure:
                return failure, 0.0
            except (TypeError, ValueError):
                return RpcMalformed(place.rpc.endpoint, "its height is not a number"), 0.0
            return found, time.monotonic() - began

        self._set_deadline()
        self._looked_at = self._clock()
        for place, (found, seconds) in zip(
            self._places, self._threads.map(height, self._places), strict=True
        ):
            if isinstance(found, int):
                place.height = found
                place.answered(seconds)
            else:
                self._failed(place, found)
        return self.health()

    def health(self) -> list[EndpointHealth]:
        """How each endpoint does, as far as is known, in the order they were given."""
        now = self._clock()
        return [
            EndpointHealth(
                place.rpc.endpoint,
                place.height,
                place.latency,
                place.failures,
                place.rests_until > now,
                self._is_behind(place),
                place.why,
            )
            for place in self._places
        ]

    def confirm(self, calls: Sequence[Call]) -> list[Any]:
        """The results of calls on which `quorum` endpoints agree. Ask for a block by its hash, or they need not.

        Raises:
            EndpointsDisagree: two gave different answers to one call.
            QuorumTooSmall: fewer answered.
            RpcRejected: they agree that a call is refused.
        """
        if self.quorum == 1:
            return self.batch(calls)

        def answer(place: _Place) -> list[Any] | ChainError:
            try:
                return _answers(place.rpc, calls)
            except ChainError as failure:
                return failure

        self._set_deadline()
        agreed: list[Any] | None = None
        first = ""
        count = 0
        waiting = self._order()
        while waiting and count < self.quorum:
            asked, waiting = waiting[: self.quorum - count], waiting[self.quorum - count :]
            for place, found in zip(asked, self._threads.map(answer, asked), strict=True):
                if isinstance(found, ChainError):
                    self._failed(place, found)
                    continue
                count += 1
                if agreed is None:
                    agreed, first = found, place.rpc.endpoint
                    continue
                for (method, _), one, other in zip(calls, agreed, found, strict=True):
                    if not _same(one, other):
                        raise EndpointsDisagree(method, first, place.rpc.endpoint)
        if agreed is None or count < self.quorum:
            raise QuorumTooSmall(self.quorum, count)
        for one in agreed:
            if isinstance(one, RpcRejected):
                raise one
        return agreed

    # Choosing

    def _order(self) -> list[_Place]:
        """Whom to ask first: the sound by latency, then those behind, then those that rest, the longest rested first."""
        now = self._clock()

        def rank(place: _Place) -> tuple[int, float]:
            if place.rests_until > now:
                return 2, place.rests_until
            latency = math.inf if place.latency is None else place.latency
            return int(self._is_behind(place)), latency

        return sorted(self._places, key=rank)

    def _is_behind(self, place: _Place) -> bool:
        heights = [other.height for other in self._places if other.height is not None]
        if place.height is None:
            return False
        return place.height < max(heights) - self.max_lag_blocks

    def _first(self, ask: Callable[[Rpc], _T], places: Sequence[_Place]) -> _T:
        until = self._set_deadline()
        failure: ChainError = RpcUnreachable(self.endpoint, "no endpoint is left to ask")
        for at, place in enumerate(places):
            began = time.monotonic()
            if at < len(places) - 1:
                # Half of what is left, so that a silent endpoint leaves time for the next.
                place.rpc.deadline = began + (until - began) / 2
            try:
                found = ask(place.rpc)
            except (RpcUnreachable, RpcTimeout, RpcMalformed, WrongChain) as lost:
                failure = lost
            except RpcRejected as rejected:
                if not _is_endpoints_own(rejected):
                    raise
                failure = rejected
            else:
                place.answered(time.monotonic() - began)
                return found
            self._failed(place, failure)
        raise failure

    def _failed(self, place: _Place, failure: ChainError) -> None:
        place.failed(str(failure), self._clock())
        log.warning(
            "endpoint_failed", endpoint=place.rpc.endpoint, failures=place.failures, why=place.why
        )

    def _set_deadline(self) -> float:
        """One question has `timeout_s` in all, however many are asked, and never longer than `deadline`."""
        until = time.monotonic() + self.timeout_s
        if self.deadline is not None:
            until = min(until, self.deadline)
        for place in self._places:
            place.rpc.deadline = until
        return until


def _answers(rpc: Rpc, calls: Sequence[Call]) -> list[Any]:
    """An endpoint's answers, unless one of them is that it cannot answer.

    Raises:
        RpcRejected: an error of the endpoint's own.
    """
    answers = rpc.batch_settled(calls)
    for answer in answers:
        if isinstance(answer, RpcRejected) and _is_endpoints_own(answer):
            raise answer
    return answers


def _is_endpoints_own(rejected: RpcRejected) -> bool:
    """Whether an error says something of the endpoint, and nothing of the question."""
    if rejected.data:
        return False
    words = rejected.message.lower()
    return rejected.code in _ENDPOINTS_OWN or any(each in words for each in _ENDPOINTS_OWN_WORDS)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, RpcRejected) and isinstance(other, RpcRejected):
        return one.data == other.data  # nodes word their refusals differently
    return bool(one == other)
