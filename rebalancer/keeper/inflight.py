"""Transactions in flight: the outcomes of attempts that this run of the keeper or an earlier one sent.

Each outcome is reported once, and again if a reorg moves the transaction to another block. After a rebalance is mined,
the vault's ledger is verified against the policy (`rebalancer.keeper.verify`). This module sends nothing new: the
outbox replaces and cancels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence

import structlog

from rebalancer.block import Block
from rebalancer.chain.receipt import find_receipt
from rebalancer.chain.snapshot import VaultSnapshot, read_vaults
from rebalancer.errors import LedgerMismatch
from rebalancer.keeper.breaker import VaultBreakers
from rebalancer.keeper.decide import Verdict
from rebalancer.keeper.decision import Decision, Outcome
from rebalancer.keeper.evaluator import Evaluation
from rebalancer.keeper.reporting import DecisionQueue
from rebalancer.keeper.resources import KeeperResources
from rebalancer.keeper.verify import verify
from rebalancer.reasons import Reason
from rebalancer.send.attempt import Attempt, AttemptState
from rebalancer.send.nonces import clear_on_start
from rebalancer.send.outbox import Outbox

__all__ = ["InFlight"]

log = structlog.get_logger("rebalancer.keeper")

_CLOSED = frozenset({AttemptState.MINED, AttemptState.FAILED, AttemptState.CANCELLED})
_FIRST_POLL_SECONDS = 0.001  # Anvil mines immediately
_LONGEST_POLL_SECONDS = 1.0

_ReportKey = tuple[int, AttemptState, str | None, str | None]


class InFlight:
    """The attempts of one chain in an outbox; without an outbox there are none. Not thread-safe."""

    def __init__(self, resources: KeeperResources, breakers: VaultBreakers, queue: DecisionQueue) -> None:
        self._rpc, self._context = resources.rpc, resources.context
        self._signers, self._outbox = resources.signers, resources.outbox
        self._breakers = breakers
        self._queue = queue
        self._reported: set[_ReportKey] = set()
        self._sent: dict[int, Verdict] = {}
        """The verdict that each attempt of this run executes."""
        self._epochs: dict[str, int] = {}
        self._evaluated_at = 0

    def resume(self) -> None:
        """Settle the attempts of an earlier run, and verify its mined rebalances again: it may have ended before it
        did.

        Raises:
            ForeignPending, TooManyGaps: an account's nonces are not in order.
            LedgerMismatch: of a rebalance that is not final yet, if there is no other vault.
        """
        if self._outbox is None:
            return
        before = self._outbox.journal.watched(self._context.chain_id)
        self._reported = {_report_key(attempt) for attempt in before if attempt.state in _CLOSED}
        clear_on_start(self._outbox, self._rpc, self._signers)
        for attempt in self._outbox.resume(self._rpc):
            intent = attempt.intent
            log.info("resumed", vault=intent.vault, kind=intent.kind, state=attempt.state.value)
        self._verify_again(before)

    def vaults(self) -> frozenset[str]:
        """The vaults with an attempt that is not in a block yet."""
        if self._outbox is None:
            return frozenset()
        unsettled = self._outbox.unsettled(self._context.chain_id)
        return frozenset(attempt.intent.vault for attempt in unsettled)

    def advance(self, block: Block) -> None:
        """Advance the attempts at a new block, and queue the outcomes of those that ended.

        Raises:
            ChainError: the chain could not be read.
            LedgerMismatch: the ledger of the last vault does not match the policy.
        """
        if self._outbox is not None:
            self._catch_up(block)
            self._outbox.advance(self._rpc, self._signers, block.number, self._epochs)
            self._queue_outcomes(block, self._outbox)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Note the vaults' epochs: an attempt of an earlier epoch is obsolete."""
        self._epochs, self._evaluated_at = dict(evaluation.epochs), evaluation.block.number

    def sent(self, attempt: Attempt, verdict: Verdict) -> None:
        """Note the verdict that an attempt executes."""
        self._sent[attempt.id] = verdict

    def rejected(self, vault: str, epoch: int) -> None:
        """Note that the decision of this tick reports the rejection by the node, so that it is not reported again."""
        if self._outbox is not None:
            failed = self._outbox.journal.of_epoch(self._context.chain_id, vault, epoch)
            self._reported |= {_report_key(attempt) for attempt in failed}

    def wait(self, block: Block, vaults: Collection[str], seconds: float, stopping: threading.Event) -> None:
        """Wait for receipts of this tick's transactions of some vaults, at most `seconds`.

        Raises:
            As `advance`.
        """
        if self._outbox is None:
            return
        until = time.monotonic() + seconds
        pause, left = _FIRST_POLL_SECONDS, set(vaults)
        while True:
            time.sleep(pause)
            height = int(self._rpc.call("eth_blockNumber"), 16)
            self._outbox.advance(self._rpc, self._signers, height)
            left -= self._queue_outcomes(block, self._outbox)
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)
            if not left or time.monotonic() + pause > until or stopping.is_set():
                return

    def _verify_again(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            if attempt.state is not AttemptState.MINED or attempt.intent.epoch < 0:
                continue
            receipt = find_receipt(self._rpc, str(attempt.mined_hash))
            if receipt is None or attempt.intent.vault == attempt.sender:
                continue
            try:
                verify(self._rpc, self._context.system.lens, attempt.intent, receipt)
            except LedgerMismatch as differ:
                self._breakers.ledger_mismatch(differ)

    def _catch_up(self, block: Block) -> None:
        """Read the epochs of vaults with attempts in flight again after a start or a pause.

        Others may have rebalanced these vaults meanwhile; obsolete attempts are cancelled, not replaced.
        """
        vaults = sorted(self.vaults() & set(self._context.vaults))
        if vaults and block.number > self._evaluated_at + 1:
            read = read_vaults(self._rpc, self._context.system.lens, vaults, block)
            self._epochs |= {vault.address: vault.state.epoch for vault in read}

    def _queue_outcomes(self, block: Block, outbox: Outbox) -> set[str]:
        """Queue the outcome of each attempt that is not reported yet; return the vaults concerned."""
        queued: set[str] = set()
        watched = outbox.journal.watched(self._context.chain_id)
        for attempt in watched:
            if attempt.state not in _CLOSED or _report_key(attempt) in self._reported:
                continue
            if attempt.intent.vault != attempt.sender:  # otherwise it only consumed a nonce
                decision = self._decision(block, attempt)
                if decision is None:
                    continue  # during a reorg; a later block reports it
                self._queue.log(decision)
                self._queue.put(decision)
                queued.add(decision.vault)
            self._reported.add(_report_key(attempt))
        # Final attempts are not watched any more and are forgotten here.
        self._reported &= {_report_key(attempt) for attempt in watched}
        self._sent = {one.id: self._sent[one.id] for one in watched if one.id in self._sent}
        return queued

    def _decision(self, block: Block, attempt: Attempt) -> Decision | None:
        """The decision that reports the outcome of an attempt; None if its receipt is not available."""
        intent = attempt.intent
        verdict = self._sent.get(attempt.id)
        breaker = self._breakers.of(intent.vault)

        def decision(reason: Reason, text: str, outcome: Outcome | None = None) -> Decision:
            # Read at this block if nothing else is known: the decision must be the same after a restart.
            seen = outcome.before if outcome else self._read(intent.vault, block)
            return Decision(
                block,
                intent.vault,
                reason,
                text,
                seen.state.epoch if intent.epoch < 0 else intent.epoch,
                seen.drift_bps if seen.total_e18 else None,
                verdict.snapshot if verdict else seen,
                verdict.plan if verdict else None,
                outcome,
                attempt.mined_hash,
                intent.kind,
            )

        if attempt.state is AttemptState.MINED:
            if intent.epoch < 0:
                breaker.succeeded()
                reason = Reason.SYNCED if intent.kind == "sync" else Reason.POKED
                return decision(reason, intent.reason)
            receipt = find_receipt(self._rpc, str(attempt.mined_hash))
            if receipt is None:
                return None
            try:
                plan = verdict.plan if verdict else None
                outcome = verify(self._rpc, self._context.system.lens, intent, receipt, plan)
            except LedgerMismatch as differ:
                return self._ledger_mismatch(differ, decision)
            breaker.succeeded()
            return decision(Reason.REBALANCED, intent.reason, outcome)
        reverted = attempt.state is AttemptState.FAILED and attempt.block_number is not None
        if reverted:
            self._breakers.failed(intent.vault, attempt.note)
        return decision(Reason.REVERTED if reverted else Reason.CANCELLED, attempt.note)

    def _read(self, vault: str, block: Block) -> VaultSnapshot:
        (snapshot,) = read_vaults(self._rpc, self._context.system.lens, [vault], block)
        return snapshot

    def _ledger_mismatch(self, differ: LedgerMismatch, decision: Callable[[Reason, str], Decision]) -> Decision:
        """Stop trading the vault, and report that even if it ends the keeper."""
        halted = decision(Reason.HALTED, str(differ))
        try:
            self._breakers.ledger_mismatch(differ)
        except LedgerMismatch:
            self._queue.put(halted)
            raise
        return halted


def _report_key(attempt: Attempt) -> _ReportKey:
    """Key of what is reported once: an attempt, its state, and the block that holds one of its versions."""
    return attempt.id, attempt.state, attempt.mined_hash, attempt.block_hash
