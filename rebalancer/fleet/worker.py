"""Worker of a fleet: it evaluates the shares of vaults that it receives, and sends no transactions.

It runs the same evaluator as a single keeper, so its verdicts are the same. Its caches stay warm from block to block:
new vaults of its share get an additional evaluator; vaults outside the share are evaluated but not returned. It follows
the chain by the headers in its requests, and reads the blocks in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import structlog

from rebalancer.chain.heads import Head, Header, Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import BlockVanished, ChainError, RebalancerError
from rebalancer.fleet.messages import Answer, EvaluationRequest, as_message
from rebalancer.fleet.redis_state import SharedState
from rebalancer.fleet.standing import Standing
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.evaluator import Evaluation, Evaluator, EvaluatorOptions
from rebalancer.keeper.planners import Planners

__all__ = ["Heartbeat", "Worker", "group_of"]

log = structlog.get_logger("rebalancer.fleet")

_MOST_EVALUATORS = 4
"""Above this number, one new evaluator replaces all."""

_IDLE_BLOCKS = 3
"""An evaluator without requests for this many blocks is dropped."""

_BEATS = 3
"""A worker is gone after this many missed heartbeats."""


def group_of(chain_id: int) -> str:
    """Name of the group of a chain's workers."""
    return f"workers:{chain_id}"


class _Follower(Heads):
    """Heads from the headers of requests."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__(rpc)
        self._last: Header | None = None

    def to(self, header: Header) -> Head:
        """The head of a header, linked to the last one; the same header again gives a head without news.

        Raises:
            ChainError: the blocks in between could not be read.
            BlockVanished: it is older than the last one, or reorged meanwhile.
        """
        if self._last is not None and self._last.hash == header.hash:
            return Head(header)
        head = self._follow(header)
        if head is None:
            raise BlockVanished(header.number, header.hash)
        self._last = header
        return head


@dataclass
class _ShareEvaluator:
    """An evaluator with its vaults, the blocks that it has not processed yet, and the block of its last request."""

    evaluator: Evaluator
    vaults: frozenset[str]
    unread: Head | None
    used_at: int


class Worker:
    """Evaluates vaults of one chain on request. Thread-safe; it answers one request after another."""

    def __init__(self, name: str, rpc: Rpc, context: KeeperContext, state: SharedState) -> None:
        """`context` has everything except the vaults, which come with each request."""
        self.name = name
        self.rpc = rpc
        self.context = context
        self.state = state
        self.handled = 0
        """Number of requests, whatever their outcome."""
        self._planners = Planners()
        self._heads = _Follower(rpc)
        self._evaluators: list[_ShareEvaluator] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the planner processes; the endpoint stays open."""
        self._planners.close()

    def retry_pools(self) -> None:
        """Retry pools that could not be read at the next planning. Thread-safe."""
        with self._lock:
            for one in self._evaluators:
                one.evaluator.retry_pools()

    def answer(self, text: str) -> str:
        """Answer a request, both as JSON. Errors are part of the answer."""
        with self._lock:
            try:
                return self._answer(EvaluationRequest.of_json(text)).to_json()
            except RebalancerError as failure:
                why, chain_id = str(failure), self.context.chain_id
                log.warning("request_failed", chain_id=chain_id, worker=self.name, why=why)
                return Answer("", failure=why).to_json()
            finally:
                self.handled += 1

    def _answer(self, request: EvaluationRequest) -> Answer:
        block = request.header
        if request.chain_id != self.context.chain_id:
            why = f"this worker serves chain {self.context.chain_id}, the request is for {request.chain_id}"
            return Answer(block.hash, failure=why)
        left = min(request.expires_at - self.state.now(), request.worker_timeout_seconds)
        if left <= 0:
            return Answer(block.hash, failure="the request has expired")
        try:
            self.rpc.deadline = time.monotonic() + left
            found = self.evaluate(request)
        finally:
            self.rpc.deadline = None
        log.debug(
            "answered", chain_id=request.chain_id, worker=self.name, block=block.number, vaults=len(request.share)
        )
        return found

    def evaluate(self, request: EvaluationRequest) -> Answer:
        """Evaluate the share of a request, whatever its time limit.

        Raises:
            ChainError: the chain could not be read, or the block is not the newest. Cached state stays valid.
        """
        head = self._head(request.header)
        share = frozenset(request.share)
        found = []
        for one in self._evaluators_for(share, request, head):
            options = one.evaluator.options
            one.evaluator.options = replace(options, replan_blocks=request.replan_blocks)
            others = one.vaults - share
            evaluation = one.evaluator.evaluate(
                one.unread or Head(request.header),
                request.conditions,
                others | frozenset(request.in_flight),
                request.without,
            )
            one.unread, one.used_at = None, request.header.number
            found.append(evaluation)
        return _answer(request, found)

    def _head(self, header: Header) -> Head:
        """The head of a header, which every evaluator will process."""
        oldest = header.number - _IDLE_BLOCKS
        self._evaluators = [one for one in self._evaluators if one.used_at >= oldest]
        if not self._evaluators:
            self._heads = _Follower(self.rpc)  # no evaluator needs the blocks in between
        head = self._heads.to(header)
        for one in self._evaluators:
            if one.unread is None:
                one.unread = head
            elif one.unread.header.hash != header.hash:
                one.unread = head.after(one.unread)
        return head

    def _evaluators_for(self, share: frozenset[str], request: EvaluationRequest, head: Head) -> list[_ShareEvaluator]:
        """The evaluators that together have a share."""
        covered = frozenset[str]().union(*(one.vaults for one in self._evaluators))
        new = tuple(vault for vault in request.share if vault not in covered)
        if new and len(self._evaluators) == _MOST_EVALUATORS:
            self._evaluators, new = [], request.share
        if new:
            options = EvaluatorOptions(exact_vaults=len(new) if request.exact else 0)
            evaluator = Evaluator(self.rpc, replace(self.context, vaults=new), options)
            evaluator.planners = self._planners
            unlinked = Head.at(head.header.number, head.header.hash, head.header.timestamp)
            self._evaluators.append(_ShareEvaluator(evaluator, frozenset(new), unlinked, request.header.number))
        return [one for one in self._evaluators if one.vaults & share]


def _answer(request: EvaluationRequest, found: Iterable[Evaluation]) -> Answer:
    share = frozenset(request.share)
    evaluations = tuple(found)
    reasons = {v: r for each in evaluations for v, r in each.reasons.items() if v in share}
    epochs = {v: e for each in evaluations for v, e in each.epochs.items()}
    drifts_bps = {v: d for each in evaluations for v, d in each.drifts_bps.items()}
    return Answer(
        request.header.hash,
        "",
        tuple(reasons[vault] for vault in request.share),
        tuple(epochs[vault] for vault in request.share),
        tuple(drifts_bps[vault] for vault in request.share),
        tuple(as_message(verdict) for each in evaluations for verdict in each.verdicts if verdict.vault in share),
        sum(each.planned for each in evaluations),
        tuple(sorted({pool for each in evaluations for pool in each.diverged_pools})),
        tuple(sorted({vault for each in evaluations for vault in each.differing_vaults})),
        tuple({one.subject: one for each in evaluations for one in each.left_out}.values()),
    )


class Heartbeat:
    """Announces a worker at intervals, in a thread of its own. A context manager."""

    def __init__(self, worker: Worker, seconds: float, standing: Standing | None = None) -> None:
        """`standing` is notified of every heartbeat and its outcome."""
        self.worker = worker
        self.seconds = seconds
        self.standing = standing
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._announce()
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ending.set()
        self._thread.join()
        try:
            self.worker.state.leave(group_of(self.worker.context.chain_id), self.worker.name)
        except ChainError as failure:
            log.warning("heartbeat_failed", worker=self.worker.name, why=str(failure))

    def _beat(self) -> None:
        while not self._ending.wait(self.seconds):
            try:
                self._announce()
            except ChainError as failure:
                log.warning("heartbeat_failed", worker=self.worker.name, why=str(failure))
                self._note(str(failure))

    def _note(self, failure: str) -> None:
        if self.standing is not None:
            chain_id = self.worker.context.chain_id
            self.standing.tried(f"The heartbeat of chain {chain_id}", failure)

    def _announce(self) -> None:
        worker = self.worker
        worker.state.announce(
            group_of(worker.context.chain_id), worker.name, str(worker.handled), self.seconds * _BEATS
        )
        self._note("")
