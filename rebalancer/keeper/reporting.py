"""Reporting: the decisions that are news, and the report that each observer receives.

`DecisionQueue` holds decisions until a report includes them: transactions and outcomes of a failed tick are in the next
report. `Reporter` makes one report a tick, and a few a minute while the chain makes no blocks, so that a silent chain
is not mistaken for a dead keeper.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain.endpoints import Endpoints
from rebalancer.errors import ChainError
from rebalancer.keeper.breaker import Breaker, VaultBreakers
from rebalancer.keeper.decision import Decision, loss_text
from rebalancer.keeper.evaluator import Evaluation
from rebalancer.keeper.pool_faults import PoolFaults
from rebalancer.keeper.report import EndpointState, Observer, OpenBreaker, Tick, TickInputs
from rebalancer.keeper.resources import KeeperResources
from rebalancer.reasons import Reason
from rebalancer.send.attempt import OPEN

__all__ = ["DecisionQueue", "Reporter"]

log = structlog.get_logger("rebalancer.keeper")

_NOT_WEIGHED = frozenset({Reason.ORACLE_FAULT, Reason.TOTAL_OUT_OF_RANGE})
"""Reasons of vaults without a valid valuation: their drift is unknown."""
_BALANCE_SECONDS = 60.0
_IDLE_SECONDS = 15.0
"""Interval of reports while a chain makes no blocks."""


class DecisionQueue:
    """Decisions that are not in a report yet, and the last reason of every vault. Not thread-safe."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id
        self._pending: list[Decision] = []
        self._last: dict[str, Reason] = {}
        self.reasons: Mapping[str, Reason] = {}
        """The reason of every vault at the newest tick that did not fail."""

    def put(self, decision: Decision) -> None:
        """Queue a decision for the next report."""
        self._pending.append(decision)

    def take(self) -> tuple[Decision, ...]:
        """All decisions that are not in a report yet, of this tick and of failed ticks before it."""
        decisions, self._pending = tuple(self._pending), []
        return decisions

    @contextmanager
    def deciding(self, evaluation: Evaluation) -> Iterator[dict[str, Decision]]:
        """Collect the decisions of one tick; the caller adds them to the returned mapping by vault.

        Outcomes of transactions that are queued meanwhile follow the other decisions, and replace the decision about
        the same vault. If the tick fails, decisions with a transaction are in a later report; the other vaults are
        decided again.
        """
        decided: dict[str, Decision] = {}
        before = len(self._pending)
        try:
            yield decided
        except BaseException:
            sent = [one for one in decided.values() if one.transaction_hash is not None]
            self._pending[before:before] = sent
            raise
        outcomes = self._pending[before:]
        settled = {one.vault for one in outcomes}
        self._pending[before:] = [one for one in decided.values() if one.vault not in settled]
        self._pending += outcomes
        newest = {one.vault: one.reason for one in self._pending[before:]}
        self._last |= newest
        self.reasons = {**evaluation.reasons, **newest}

    def quiet(self, evaluation: Evaluation) -> list[Decision]:
        """Decisions about vaults that were not read in full, if their reason has changed."""
        read = {verdict.vault for verdict in evaluation.verdicts}
        drifts_bps = _drifts_bps(evaluation)
        news = []
        for vault, reason in evaluation.reasons.items():
            before = self._last.get(vault, Reason.IN_BAND)
            if vault in read or reason is before:
                continue
            drift_bps = drifts_bps.get(vault)
            text = f"the furthest weight is {drift_bps} bps off its target"
            if drift_bps is None:
                text = "it has no valuation: a price is not valid, or the basket is worth nothing"
            news.append(Decision(*(evaluation.block, vault, reason, text), *(evaluation.epochs[vault], drift_bps)))
        return news

    def log(self, decision: Decision) -> None:
        """Log a decision: at level info if it is news, otherwise at level debug."""
        is_news = self._last.get(decision.vault) is not decision.reason
        (log.info if is_news or decision.transaction_hash else log.debug)(
            "decided",
            chain_id=self._chain_id,
            block=decision.block.number,
            vault=decision.vault,
            epoch=decision.epoch,
            reason=decision.reason.value,
            drift_bps=decision.drift_bps,
            why=decision.text,
            tx=decision.transaction_hash,
            kind=decision.kind or None,
        )


class Reporter:
    """Makes the reports of one chain and hands them to the observers. Not thread-safe."""

    def __init__(
        self,
        resources: KeeperResources,
        queue: DecisionQueue,
        breaker: Breaker,
        vault_breakers: VaultBreakers,
        pool_faults: PoolFaults,
        observers: Sequence[Observer],
    ) -> None:
        """`breaker` is the circuit breaker of the chain."""
        self.observers = tuple(observers)
        self.is_subscribed = False
        """Whether a WebSocket subscription announces new blocks."""
        self.off_market: Mapping[str, str] = {}
        """A sentence for each token whose feed is off the market."""
        self.evaluation: Evaluation | None = None
        """The newest evaluation."""
        self._rpc, self._context = resources.rpc, resources.context
        self._signers, self._outbox = resources.signers, resources.outbox
        self._queue = queue
        self._breaker = breaker
        self._vault_breakers = vault_breakers
        self._pool_faults = pool_faults
        self._balances_wei: dict[str, int] = {}
        self._balances_at = 0.0
        self._block: Block | None = None
        self._reported_at = 0.0

    def report(
        self,
        began: float,
        block: Block | None,
        decisions: tuple[Decision, ...],
        *,
        requests: int = 0,
        failure: str = "",
        inputs: TickInputs | None = None,
    ) -> None:
        """Report a tick that `began` at a time of `time.monotonic`; `block` is None if the tick failed."""
        self._reported_at = time.monotonic()
        if block is not None:
            self._block = block
        if not self.observers:
            return
        evaluation, now = self.evaluation, time.time()
        attempts, waiting = self._pending(block)
        tick = Tick(
            self._context.chain_id,
            now,
            time.monotonic() - began,
            block,
            decisions,
            self._queue.reasons,
            len(evaluation.verdicts) if evaluation else 0,
            evaluation.planned if evaluation else 0,
            failure,
            self._breaker.consecutive_failures,
            requests,
            self.open_breakers(now),
            attempts,
            waiting,
            self._balances() if not failure else self._balances_wei,
            self._endpoints(block),
            evaluation.diverged_pools if evaluation else (),
            evaluation.differing_vaults if evaluation else (),
            self.is_subscribed,
            _drifts_bps(evaluation) if evaluation else {},
            _losses(evaluation) if evaluation else {},
            self.off_market,
            inputs,
            self._pool_faults.left_out(block),
        )
        for observer in self.observers:
            try:
                observer(tick)
            except Exception:  # an observer must not stop the keeper
                log.exception("observer_failed", observer=repr(observer))

    def idle(self) -> None:
        """Report at intervals that there is no new block."""
        if self._block is not None and time.monotonic() - self._reported_at >= _IDLE_SECONDS:
            self.report(time.monotonic(), self._block, ())

    def open_breakers(self, now: float) -> tuple[OpenBreaker, ...]:
        """All breakers that are open at a unix time, the chain's first."""
        return tuple(
            OpenBreaker(scope, breaker.why, breaker.since, None if breaker.is_tripped else breaker.until)
            for scope, breaker in (("chain", self._breaker), *self._vault_breakers.items())
            if breaker.is_open(now)
        )

    def _pending(self, block: Block | None) -> tuple[dict[str, int], int]:
        """Attempts that are not final, counted by state, and the age of the oldest pending transaction in blocks."""
        attempts: dict[str, int] = {}
        waiting = 0
        if self._outbox is not None:
            for attempt in self._outbox.journal.watched(self._context.chain_id):
                attempts[attempt.state.value] = attempts.get(attempt.state.value, 0) + 1
                if block is not None and attempt.state in OPEN and attempt.versions:
                    waiting = max(waiting, block.number - attempt.versions[0].height)
        return attempts, waiting

    def _balances(self) -> dict[str, int]:
        """Ether balance of every signer, read once a minute."""
        if time.monotonic() - self._balances_at > _BALANCE_SECONDS or not self._balances_wei:
            calls: list[Call] = [("eth_getBalance", [signer.address, "latest"]) for signer in self._signers]
            try:
                found = self._rpc.batch(calls)
            except ChainError as failure:
                log.warning("balances_unknown", why=str(failure))
                return self._balances_wei
            self._balances_wei = {
                signer.address: int(wei, 16) for signer, wei in zip(self._signers, found, strict=True)
            }
            self._balances_at = time.monotonic()
        return self._balances_wei

    def _endpoints(self, block: Block | None) -> tuple[EndpointState, ...]:
        if isinstance(self._rpc, Endpoints):
            return tuple(
                EndpointState(one.endpoint, one.height, one.latency_seconds, not (one.backing_off or one.behind))
                for one in self._rpc.health()
            )
        height = block.number if block else None
        return (EndpointState(self._rpc.endpoint, height, None, block is not None),)


def _losses(evaluation: Evaluation) -> dict[str, str]:
    """Message to the owner of each vault that lost more than dust of a token."""
    losses = {one.vault: loss_text(one.snapshot) for one in evaluation.verdicts}
    return {vault: text for vault, text in losses.items() if text}


def _drifts_bps(evaluation: Evaluation) -> Mapping[str, int]:
    """Drift of the furthest weight of each vault with a valid valuation."""
    unknown = {vault for vault, reason in evaluation.reasons.items() if reason in _NOT_WEIGHED}
    unknown |= {one.vault for one in evaluation.verdicts if not one.snapshot.total_e18}
    if not unknown:
        return evaluation.drifts_bps
    return {vault: bps for vault, bps in evaluation.drifts_bps.items() if vault not in unknown}
