"""Evaluation by a fleet: many workers give the same verdicts as one evaluator.

At every block the vaults are placed on the available workers (`rebalancer.fleet.placement`), and each worker receives a
request for its share. Shares without an answer in time go to the workers that answered, and finally to this process. So
no vault is skipped because a worker died; the block only takes longer. A silent worker gets no requests until it sends
a heartbeat again.

`FleetEvaluator` can replace `rebalancer.keeper.evaluator.Evaluator`: the verdicts are the same, in the same order. A
vault without a verdict at a block keeps its last known state, with the reason `NotYet`; vaults that fall behind are
logged.

Workers are not trusted with money: before the keeper signs, a quorum of the leader's own endpoints (`rpc_quorum`) must
agree on the vault. A worker that contradicts the quorum gets no requests for some time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from rebalancer.block import Block
from rebalancer.chain.heads import Head
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import ChainError, MessageUnreadable
from rebalancer.fleet.messages import Answer, EvaluationRequest
from rebalancer.fleet.placement import Placement, place
from rebalancer.fleet.redis_state import SharedState
from rebalancer.fleet.transport import Transport
from rebalancer.fleet.worker import Worker, group_of
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.decide import Conditions, Verdict
from rebalancer.keeper.evaluator import Evaluation, EvaluatorOptions, misallocated_e18
from rebalancer.keeper.outages import LeftOut, Scope
from rebalancer.reasons import Reason

__all__ = ["FleetEvaluator"]

log = structlog.get_logger("rebalancer.fleet")

_BEHIND_BLOCKS = 5
"""A vault without a verdict for more than this many blocks is behind."""

_DOUBTED_SECONDS = 600.0
"""A worker that contradicted a quorum of the leader's endpoints gets no requests for this long."""

_SILENT_SECONDS = 30.0
"""A silent worker gets requests again after this long even without a heartbeat: its last request may have been lost."""


@dataclass
class _Gathered:
    """Results for a block so far."""

    reasons: dict[str, Reason] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    drifts_bps: dict[str, int] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    planned: int = 0
    diverged_pools: set[str] = field(default_factory=set)
    differing_vaults: set[str] = field(default_factory=set)
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    def take(self, share: Sequence[str], answer: Answer) -> None:
        """Add the answer for a share.

        Raises:
            MessageUnreadable: it does not match the share, or a plan does not match its vault; nothing was added.
        """
        self.verdicts += answer.verdicts_of(share)
        self.reasons |= dict(zip(share, answer.reasons, strict=True))
        self.epochs |= dict(zip(share, answer.epochs, strict=True))
        self.drifts_bps |= dict(zip(share, answer.drifts_bps, strict=True))
        self.planned += answer.planned
        self.diverged_pools |= set(answer.diverged_pools)
        self.differing_vaults |= set(answer.differing_vaults)
        self.left_out |= {one.subject: one for one in answer.left_out}


class FleetEvaluator:
    """Evaluates the vaults of a context by workers. Not thread-safe."""

    def __init__(
        self,
        rpc: Rpc,
        context: KeeperContext,
        state: SharedState,
        transport: Transport,
        worker_timeout_seconds: float,
        options: EvaluatorOptions | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """`worker_timeout_seconds` limits the wait for workers. `guard` is called before each block, and raises if the
        leader must stop."""
        self.rpc = rpc
        self.context = context
        self.state = state
        self.transport = transport
        self.worker_timeout_seconds = worker_timeout_seconds
        self.options = options or EvaluatorOptions()
        self.guard = guard
        self.judged_at: dict[str, int] = {}
        """The last block with a verdict by vault; at first, the block at which this evaluator began."""
        self._placement = Placement(context.vaults)
        self._index_of = {vault: index for index, vault in enumerate(context.vaults)}
        self._silent: dict[str, tuple[str, float]] = {}
        self._doubted: dict[str, float] = {}
        """Untrusted workers, and until when they stay so (`time.monotonic`)."""
        self._worker_of: dict[str, str] = {}
        """The worker of each vault's newest verdict."""
        self._behind: frozenset[str] = frozenset()
        self._known: Evaluation | None = None
        self._blank: EvaluationRequest | None = None
        """The request of the newest block, without vaults."""
        self._own = Worker("leader", rpc, context, state)

    def close(self) -> None:
        """End the planner processes; the endpoint stays open."""
        self._own.close()

    def evaluate(
        self, head: Head, conditions: Conditions, in_flight: Collection[str] = (), without: Collection[Scope] = ()
    ) -> Evaluation:
        """See `Evaluates.evaluate`.

        Raises:
            LeaseLost: as `guard` raises it.
        """
        self.guard()
        header, options = head.header, self.options
        blank = EvaluationRequest(
            self.context.chain_id,
            header,
            conditions,
            (),
            tuple(sorted(in_flight)),
            len(self.context.vaults) <= options.exact_vaults,
            options.replan_blocks,
            0.0,
            0.0,
            _sorted(without),
        )
        self._blank = blank
        gathered = _Gathered()
        self._worker_of = {}
        available = self._available()
        answered = self._request(blank, self._placement.among(available), available, gathered)
        missing = [vault for vault in self.context.vaults if vault not in gathered.reasons]
        if missing and answered:
            self._request(blank, place(missing, answered), available, gathered)
            missing = [vault for vault in missing if vault not in gathered.reasons]
        if missing:
            if available:
                log.warning("evaluated_here", block=header.number, vaults=len(missing))
            self._evaluate_here(blank, missing, gathered)
        block = Block(header.number, header.hash, header.timestamp)
        self._note(block, gathered)
        self._known = self._evaluation(block, gathered)
        return self._known

    def again(self, snapshot: VaultSnapshot, conditions: Conditions, without: Collection[Scope]) -> Verdict | None:
        """See `Evaluates.again`: one worker with the pools receives the request."""
        blank, vault = self._blank, snapshot.address
        if blank is None or blank.header.timestamp != snapshot.basket.timestamp:
            return None
        blank = replace(blank, conditions=conditions, without=_sorted(without))
        gathered, available = _Gathered(), self._available()
        self._request(blank, place([vault], available), available, gathered)
        found = next((one for one in gathered.verdicts if one.vault == vault), None)
        return found if found is not None and found.snapshot == snapshot else None

    def retry_pools(self) -> None:
        """See `Evaluates.retry_pools`: only pools that this process reads; workers have their own SIGHUP."""
        self._own.retry_pools()

    def doubt(self, vault: str) -> None:
        """See `Evaluates.doubt`: the vault's worker gets no requests for some time; others get its vaults."""
        worker = self._worker_of.get(vault)
        if worker is not None:
            self._doubted[worker] = time.monotonic() + _DOUBTED_SECONDS
            log.error("worker_untrusted", worker=worker, vault=vault, seconds=_DOUBTED_SECONDS)

    def _available(self) -> dict[str, str]:
        """The available workers with their last announcement, without silent and untrusted ones."""
        try:
            members = self.state.members(group_of(self.context.chain_id))
        except ChainError as failure:
            log.warning("workers_unknown", why=str(failure))
            return {}
        now = time.monotonic()
        self._silent = {
            worker: (text, until)
            for worker, (text, until) in self._silent.items()
            if members.get(worker) == text and now < until
        }
        self._doubted = {one: until for one, until in self._doubted.items() if now < until}
        left_out = self._silent.keys() | self._doubted.keys()
        return {worker: text for worker, text in members.items() if worker not in left_out}

    def _request(
        self,
        blank: EvaluationRequest,
        shares: Mapping[str, Sequence[str]],
        available: Mapping[str, str],
        gathered: _Gathered,
    ) -> list[str]:
        """Send requests for shares, and gather the answers; return the workers whose answers are valid."""
        wanted = {worker: tuple(share) for worker, share in shares.items() if share}
        if not wanted:
            return []
        seconds = self._seconds()
        try:
            expires_at = self.state.now() + seconds
        except ChainError as failure:
            log.warning("workers_not_requested", why=str(failure))
            return []
        requests = {worker: _for_share(blank, share, expires_at, seconds).to_json() for worker, share in wanted.items()}
        answers, silent = self.transport.request(requests, seconds)
        until = time.monotonic() + _SILENT_SECONDS
        self._silent |= {worker: (available[worker], until) for worker in silent}
        good = []
        for worker, share in wanted.items():
            if worker not in answers:
                continue
            try:
                answer = Answer.of_json(answers[worker])
                if answer.failure:
                    log.warning("worker_failed", worker=worker, why=answer.failure)
                    continue
                gathered.take(share, answer)
            except MessageUnreadable as wrong:
                log.error("worker_answer_invalid", worker=worker, why=str(wrong))
                continue
            good.append(worker)
            self._worker_of |= dict.fromkeys(share, worker)
        return good

    def _evaluate_here(self, blank: EvaluationRequest, missing: Sequence[str], gathered: _Gathered) -> None:
        """Evaluate shares without an answer in this process, by the same code.

        Raises:
            ChainError: the chain could not be read, and no worker has answered for any vault.
        """
        try:
            answer = self._own.evaluate(_for_share(blank, tuple(missing), 0.0, 0.0))
        except ChainError as failure:
            if not gathered.reasons:
                raise
            log.warning("vaults_not_evaluated", vaults=len(missing), why=str(failure))
            return
        gathered.take(missing, answer)

    def _seconds(self) -> float:
        """Time limit of workers: at most a third of the time left for the tick, so that there is time for the two
        fallbacks."""
        if self.rpc.deadline is None:
            return self.worker_timeout_seconds
        return max(0.05, min(self.worker_timeout_seconds, (self.rpc.deadline - time.monotonic()) / 3))

    def _note(self, block: Block, gathered: _Gathered) -> None:
        """Note the last block with a verdict of each vault, and log when vaults fall behind or catch up."""
        for vault in self.context.vaults:
            if vault in gathered.reasons:
                self.judged_at[vault] = block.number
            else:
                self.judged_at.setdefault(vault, block.number)
        behind = frozenset(
            vault for vault, judged_at in self.judged_at.items() if block.number - judged_at > _BEHIND_BLOCKS
        )
        if behind != self._behind:
            level = log.error if behind else log.info
            level("vaults_behind", block=block.number, vaults=len(behind), some=sorted(behind)[:3])
            self._behind = behind

    def _evaluation(self, block: Block, gathered: _Gathered) -> Evaluation:
        vaults, known = self.context.vaults, self._known
        verdicts = sorted(
            gathered.verdicts, key=lambda one: (-misallocated_e18(one.snapshot), self._index_of[one.vault])
        )
        return Evaluation(
            block,
            tuple(verdicts),
            {vault: gathered.reasons.get(vault, Reason.NOT_YET) for vault in vaults},
            {**(known.epochs if known else dict.fromkeys(vaults, 0)), **gathered.epochs},
            {**(known.drifts_bps if known else dict.fromkeys(vaults, 0)), **gathered.drifts_bps},
            gathered.planned,
            tuple(sorted(gathered.diverged_pools)),
            tuple(sorted(gathered.differing_vaults)),
            left_out=tuple(sorted(gathered.left_out.values(), key=lambda one: one.subject)),
        )


def _sorted(without: Collection[Scope]) -> tuple[Scope, ...]:
    return tuple(sorted(without, key=str))


def _for_share(
    blank: EvaluationRequest, share: tuple[str, ...], expires_at: float, seconds: float
) -> EvaluationRequest:
    """The request for a share, with its time limit."""
    wanted = set(share)
    in_flight = tuple(vault for vault in blank.in_flight if vault in wanted)
    return replace(blank, share=share, in_flight=in_flight, expires_at=expires_at, worker_timeout_seconds=seconds)
