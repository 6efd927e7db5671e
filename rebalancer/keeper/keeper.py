"""The keeper of the vaults of one chain: one tick per block, one decision per vault, at most one transaction per vault.

`start → tick → stop`. A tick advances earlier transactions (`rebalancer.keeper.inflight`), evaluates the vaults at the
newest block (`rebalancer.keeper.evaluator`), hands new transactions to the outbox (`rebalancer.keeper.dispatch`), and
reports to observers (`rebalancer.keeper.reporting`). "Do nothing" is a decision too, and every decision has a reason.
After a rebalance is mined, the vault's ledger is verified against the policy. A difference of one unit is a
`LedgerMismatch`, which stops the vault until a restart, because either the keeper or the chain is wrong.

The keeper chooses the time and the route. The vault decides what may be sold, how much, and at what loss.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog
from structlog.contextvars import bind_contextvars

from rebalancer.block import Block
from rebalancer.chain.heads import Head, Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.errors import ChainError, LedgerMismatch, SignerUnavailable, TooManyFailures
from rebalancer.keeper.authority import Authority
from rebalancer.keeper.breaker import Breaker, VaultBreakers
from rebalancer.keeper.conditions import ConditionsReader
from rebalancer.keeper.context import KeeperContext, KeeperOptions
from rebalancer.keeper.decision import Decision
from rebalancer.keeper.dispatch import Dispatch, DispatchInputs
from rebalancer.keeper.evaluator import Evaluates, Evaluator, EvaluatorOptions
from rebalancer.keeper.feed_watch import FeedWatch
from rebalancer.keeper.inflight import InFlight
from rebalancer.keeper.pool_faults import PoolFaults
from rebalancer.keeper.report import Observer, TickInputs
from rebalancer.keeper.reporting import DecisionQueue, Reporter
from rebalancer.keeper.resources import KeeperResources
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import SenderAccount
from rebalancer.send.signed import Signer
from rebalancer.send.simulate import Simulator

__all__ = ["Keeper", "Tuning"]

log = structlog.get_logger("rebalancer.keeper")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings that can change while a keeper runs."""

    options: KeeperOptions
    rules: SendRules
    evaluation: EvaluatorOptions
    max_spend_per_day_wei: int


class Keeper:
    """A keeper of the vaults of one chain. Not thread-safe, except for `stop`, `tune` and `retry_pools`."""

    def __init__(
        self,
        rpc: Rpc,
        context: KeeperContext,
        signers: Sequence[Signer],
        outbox: Outbox | None,
        options: KeeperOptions | None = None,
        *,
        evaluator: Evaluates | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """`signers` may be sender accounts. `observers` receive the report of every tick. Only a dry run works without
        an outbox."""
        self.rpc = rpc
        self.context = context
        self.signers = tuple(signers)
        self.outbox = outbox
        self.options = options or KeeperOptions()
        self.evaluator = evaluator or Evaluator(rpc, context)
        self.feed_watch = FeedWatch(rpc, context)
        resources = KeeperResources(rpc, context, self.signers, outbox, self.evaluator, Simulator(rpc))
        failures, backoff_seconds = self.options.max_consecutive_failures, self.options.backoff_seconds
        self._breaker = Breaker(failures, backoff_seconds)
        self._vault_breakers = VaultBreakers(context.vaults, failures, backoff_seconds)
        self._authority = Authority(rpc, context, self.signers)
        self._conditions = ConditionsReader(rpc, context)
        self._pool_faults = PoolFaults(resources)
        self._queue = DecisionQueue(context.chain_id)
        self._in_flight = InFlight(resources, self._vault_breakers, self._queue)
        self._dispatch = Dispatch(resources, self._authority, self._vault_breakers, self._pool_faults, self._in_flight)
        self.reporter = Reporter(
            resources, self._queue, self._breaker, self._vault_breakers, self._pool_faults, observers
        )
        self._stopping = threading.Event()
        self._tuning: Tuning | None = None
        self._retrying = False
        self._unread: Head | None = None
        """The newest head whose tick failed."""

    def start(self) -> None:
        """Check the permissions of this keeper, and settle what an earlier run left unfinished.

        A vault that the keeper may not rebalance is not traded; if it may rebalance no vault, that is an error. A vault
        whose policy opens execution to anyone is traded after the exclusive time of its own keepers.

        Raises:
            WrongChain, ChainError: the node serves another chain, or does not answer.
            UnknownVault: an address is not a vault.
            KeeperNotAuthorized: an account does not have the keeper role.
            ForeignPending, TooManyGaps: an account's nonces are not in order.
            LedgerMismatch: of a rebalance that is not final yet, if there is no other vault.
        """
        bind_contextvars(chain_id=self.context.chain_id)
        self.rpc.chain_id()
        sends = self.outbox is not None and not self.options.dry_run
        refused = self._authority.check(sends=sends)
        if refused and len({each.vault for each in refused}) == len(self.context.vaults):
            raise refused[0]
        for refusal in refused:
            log.error("not_authorized", vault=refusal.vault, account=refusal.account)
            self._vault_breakers.of(refusal.vault).trip(str(refusal), time.time())
        self._in_flight.resume()
        log.info(
            "started",
            chain_id=self.context.chain_id,
            vaults=len(self.context.vaults),
            signers=[signer.address for signer in self.signers],
            pools=len(self.context.pools),
        )

    def run(
        self, on_decision: Callable[[Decision], None] | None = None, alive: Callable[[], None] = lambda: None
    ) -> None:
        """Tick at every new block until stopped. `alive` is called before each tick and each pause.

        Raises:
            TooManyFailures: the limit of consecutive failed ticks is reached and the options say to give up; carries
                the last failure.
            LedgerMismatch: the ledger of the last vault does not match the policy.
        """
        with Heads(self.rpc, self.options.socket_url, poll_seconds=self.options.poll_seconds) as heads:
            while not self._stopping.is_set():
                alive()
                if self._breaker.is_open(time.time()):
                    self._stopping.wait(min(1.0, self.options.poll_seconds))
                    continue
                self._turn(heads, on_decision)
                if self._breaker.consecutive_failures or not heads.subscribed:
                    self._stopping.wait(self.options.poll_seconds)

    def stop(self) -> None:
        """Finish the current tick and begin no other."""
        self._stopping.set()

    def retry_pools(self) -> None:
        """Retry all left-out pools at the next tick."""
        self._retrying = True

    def tune(self, tuning: Tuning) -> None:
        """Use other settings from the next tick on."""
        self._tuning = tuning

    def _turn(self, heads: Heads, on_decision: Callable[[Decision], None] | None) -> None:
        """One iteration of the loop: wait for a head, and tick."""
        bind_contextvars(chain_id=self.context.chain_id)
        options = self.options
        began, requests_before = time.monotonic(), self.rpc.requests
        try:
            waits = heads.subscribed and self._unread is None
            head = heads.next(options.poll_seconds if waits else 0) or self._unread
            self.reporter.is_subscribed = heads.subscribed
            if head is None:
                self.reporter.idle()
                return
            decisions = self.tick(head)
        except (ChainError, SignerUnavailable) as failure:
            opened = self._breaker.failed(str(failure), time.time())
            failures = self._breaker.consecutive_failures
            log.warning("tick_failed", failures=failures, why=str(failure))
            # Decisions without a report wait for the next tick, unless it will not come soon.
            decisions = self._queue.take() if opened else ()
            self._report_failure(began, requests_before, decisions, failure)
            self._hand(decisions, on_decision)
            if opened and options.gives_up:
                raise TooManyFailures(failures, failure) from failure
        except LedgerMismatch as differ:
            decisions = self._queue.take()
            self._report_failure(began, requests_before, decisions, differ)
            self._hand(decisions, on_decision)
            raise
        else:
            self._hand(decisions, on_decision)

    def _report_failure(
        self, began: float, requests_before: int, decisions: tuple[Decision, ...], failure: Exception
    ) -> None:
        requests = self.rpc.requests - requests_before
        self.reporter.report(began, None, decisions, requests=requests, failure=str(failure))

    @staticmethod
    def _hand(decisions: Sequence[Decision], on_decision: Callable[[Decision], None] | None) -> None:
        for decision in decisions:
            if on_decision:
                on_decision(decision)

    def tick(self, at: Head | Block | None = None) -> tuple[Decision, ...]:
        """Run one tick; return the decisions that are news, those about earlier transactions first.

        `at` is the newest block; it is read if not given. A head whose tick failed is not lost: the next tick includes
        its logs, and reports the transactions and outcomes from before the failure.

        Raises:
            ChainError: the chain could not be read or a transaction not sent; a later tick completes what is
                unfinished.
            LedgerMismatch: the ledger of the last vault does not match the policy.
        """
        bind_contextvars(chain_id=self.context.chain_id)  # for all log lines below
        began, requests_before = time.monotonic(), self.rpc.requests
        self._apply_requests()
        try:
            self.rpc.deadline = began + self.options.tick_timeout_seconds
            block = read_block(self.rpc) if at is None else at
            if isinstance(block, Block):
                head = Head.at(block.number, block.hash, block.timestamp)
            else:
                head = block
            if self._unread is not None and self._unread is not head:
                head = head.after(self._unread)
            self._unread = head
            block = Block(head.header.number, head.header.hash, head.header.timestamp)
            inputs = self._tick(head, block)
        finally:
            self.rpc.deadline = None
        self._unread = None
        if self._breaker.consecutive_failures:
            log.info("tick_recovered", failures=self._breaker.consecutive_failures, block=block.number)
        self._breaker.succeeded()
        decisions = self._queue.take()
        requests = self.rpc.requests - requests_before
        self.reporter.report(began, block, decisions, requests=requests, inputs=inputs)
        return decisions

    def _apply_requests(self) -> None:
        """Apply what other threads requested since the last tick: new settings, a retry of pools."""
        tuning, self._tuning = self._tuning, None
        if tuning is not None:
            self._tune(tuning)
        if self._retrying:
            self._retrying = False
            self._pool_faults.forget()
            self.evaluator.retry_pools()
            log.info("pools_retried")

    def _tune(self, tuning: Tuning) -> None:
        self.options = tuning.options
        self._breaker.failures = tuning.options.max_consecutive_failures
        self._breaker.backoff_seconds = tuning.options.backoff_seconds
        self._vault_breakers.tune(self._breaker.failures, self._breaker.backoff_seconds)
        for signer in self.signers:
            if isinstance(signer, SenderAccount):
                signer.limits = replace(
                    signer.limits,
                    max_fee_per_gas_wei=tuning.options.fee_cap_wei,
                    max_spend_per_day_wei=tuning.max_spend_per_day_wei,
                )
        if self.outbox is not None:
            self.outbox.rules = tuning.rules
        self.evaluator.options = tuning.evaluation
        log.info("settings_applied", chain_id=self.context.chain_id)

    def _tick(self, head: Head, block: Block) -> TickInputs:
        """Advance earlier transactions, evaluate all vaults, and execute the verdicts."""
        self._in_flight.advance(block)
        conditions = self._conditions.read(block, self.options.native_price_e18)
        halted = self._vault_breakers.halted()
        left_alone = self._in_flight.vaults().union(halted)
        without = self._pool_faults.outages.scopes(block.timestamp)
        evaluation = self.evaluator.evaluate(head, conditions, left_alone, without)
        self._in_flight.evaluated(evaluation)
        self._pool_faults.unread = evaluation.left_out
        self.reporter.evaluation = evaluation
        inputs = DispatchInputs(block, conditions, self.options, halted)
        with self._queue.deciding(evaluation) as decided:
            for decision in self._dispatch.decisions(inputs, evaluation.verdicts):
                decided[decision.vault] = decision
                self._queue.log(decision)
            for decision in self._queue.quiet(evaluation):
                decided[decision.vault] = decision
                self._queue.log(decision)
            sent = {one.vault for one in decided.values() if one.transaction_hash is not None}
            if self.options.receipt_seconds and sent:
                self.rpc.deadline = None
                self._in_flight.wait(block, sent, self.options.receipt_seconds, self._stopping)
        if self.reporter.observers:
            vaults = [verdict.snapshot for verdict in evaluation.verdicts]
            self.reporter.off_market = self.feed_watch.check(block, vaults)
        return TickInputs(evaluation.verdicts, evaluation.pools, conditions, self.context.tokens, left_alone)
