"""The keeper: at every block one look at all vaults of a chain, a decision for each, and at most one transaction a vault.

`start → tick → stop`. A tick brings forward what was sent before, verifies what was mined, evaluates the vaults at the newest block
(`rebalancer.keeper.evaluate`), and hands what is to be sent to the outbox after a simulation. "Do nothing" is a decision too, and
every decision has a reason. After a rebalance is mined, the vault's books are held against the policy: a difference of one unit is
`LedgerMismatch`, which stops that vault for good, because then either this program or the chain is not what it seems.

The keeper chooses when and by which route. What it may sell, how much and at what loss, the vault decides.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from structlog.contextvars import bind_contextvars

from rebalancer.chain.abi import interface
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.heads import Head, Heads
from rebalancer.chain.l1_fees import NO_L1_FEES, L1Fees, read_l1_fees
from rebalancer.chain.receipt import find_receipt
from rebalancer.chain.rpc import Call, Rpc
from rebalancer.chain.snapshot import Block, VaultSnapshot, decode_vaults, read_block, read_vaults
from rebalancer.deploy import Role
from rebalancer.errors import (
    ChainError,
    ContractMissing,
    ContractReverted,
    EndpointsDisagree,
    FeeAboveCap,
    InsufficientEther,
    KeeperNotAuthorized,
    L1FeeUnknown,
    LedgerMismatch,
    LimitError,
    RpcRejected,
    SignerUnavailable,
    SimulationDiffers,
    SimulationRefused,
    TooManyFailures,
    UnknownVault,
)
from rebalancer.keeper.breaker import Breaker
from rebalancer.keeper.decide import Conditions, Step, Verdict, wants_plan
from rebalancer.keeper.decision import Decision, Outcome, tell_loss
from rebalancer.keeper.evaluate import Evaluates, Evaluation, Evaluator, EvaluatorOptions
from rebalancer.keeper.feed_watch import FeedWatch
from rebalancer.keeper.outages import LeftOut, Outages, Scope
from rebalancer.keeper.site import Site
from rebalancer.keeper.swaps import FailedSwap, failed_swaps, swaps_of
from rebalancer.keeper.tick import EndpointState, Looked, OpenBreaker, Tick, Watcher
from rebalancer.keeper.verify import verify
from rebalancer.plan import Plan
from rebalancer.reasons import Reason
from rebalancer.send.fees import Fees, read_market, suggest
from rebalancer.send.journal import OPEN, Attempt, Intent, State
from rebalancer.send.lanes import Lane
from rebalancer.send.nonces import clear_on_start
from rebalancer.send.outbox import Check, Outbox, SendRules
from rebalancer.send.relay import PRIVATE_METHOD, RAW_METHOD
from rebalancer.send.signer import Signer
from rebalancer.send.simulate import Simulator, message
from rebalancer.send.wallet import estimate_gas
from rebalancer.words import utc

__all__ = ["Keeper", "KeeperOptions", "Tuning"]

log = structlog.get_logger("rebalancer.keeper")

_BATCH = 500
_PAGE = 50
_NOT_WEIGHED = frozenset({Reason.ORACLE_FAULT, Reason.TOTAL_OUT_OF_RANGE})
"""A vault's weights are unknown, whatever stands in their place."""
_SHOWN = 5
"""Pools that are left out and named in a decision."""
_MOST_REPLANS = 5
"""So often a look plans for a vault again, each time without more pools."""
_MOST_POOLS_APART = 8
"""Of a plan with more pools none is found by planning with each alone, where the node does not simulate."""
_POKE_BLOCKS = 20
"""After so many blocks a poke or a sync that was not mined is cancelled: whether it is still wanted is looked at anew."""
_CLOSED = frozenset({State.MINED, State.FAILED, State.CANCELLED})
_FIRST_POLL_SECONDS = 0.001  # Anvil mines right after it has answered
_LONGEST_POLL_SECONDS = 1.0
_LONGEST_REST_SECONDS = 3_600.0
_BALANCE_SECONDS = 60.0
_NATIVE_PRICE_SECONDS = 60.0
_IDLE_SECONDS = 15.0
"""How often watchers are told of a chain that makes no blocks: what is silent is taken for dead."""


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """How a keeper goes about its work. Times are in seconds."""

    dry_run: bool = False
    poll_seconds: float = 2.0
    max_failures_in_a_row: int = 5
    """After so many failed looks the chain's breaker opens, and after so many refusals a vault's."""
    gives_up: bool = True
    """Whether `run` ends when the chain's breaker opens; otherwise it rests and tries again."""
    rest_seconds: float = 60.0
    """For how long a breaker stays open at first; twice that the next time, up to an hour."""
    fee_cap_wei: int = 200 * 10**9
    """Most to pay per gas; above it nothing is sent."""
    receipt_seconds: float = 180.0
    """How long a look waits for what it sent to be mined; what is not is settled by a later one. 0 is not at all."""
    look_seconds: float = 12.0
    """How old a block may become while it is looked at; then the look fails."""
    socket_url: str | None = None
    """WebSocket endpoint that announces blocks, if there is one."""
    native_price_e18: int = 0
    """What a token of gas is worth where the chain's oracle does not price it, USD times 1e18; 0: gas then weighs nothing."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be changed while a keeper runs."""

    options: KeeperOptions
    rules: SendRules
    evaluation: EvaluatorOptions
    max_spend_per_day_wei: int


class Keeper:
    """A keeper of the vaults of one chain. Not to be shared by threads, but for `stop` and `tune`."""

    def __init__(
        self,
        rpc: Rpc,
        site: Site,
        signers: Sequence[Signer],
        outbox: Outbox | None,
        options: KeeperOptions | None = None,
        *,
        evaluator: Evaluates | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        """`signers` may be lanes; `watchers` are told of every look. Only a dry run can do without an outbox."""
        self.rpc = rpc
        self.site = site
        self.signers = tuple(signers)
        self.outbox = outbox
        self.options = options or KeeperOptions()
        self.evaluator = evaluator or Evaluator(rpc, site)
        self.watchers = tuple(watchers)
        self.feed_watch = FeedWatch(rpc, site)
        self._off_market: Mapping[str, str] = {}
        self._vaults = interface("BasketVault")
        self._simulator = Simulator(rpc)
        self._stopping = threading.Event()
        self._tuning: Tuning | None = None
        self._unread: Head | None = None
        self._epochs: dict[str, int] = {}
        self._said: dict[str, Reason] = {}
        self._reasons: dict[str, Reason] = {}
        self._told: set[_News] = set()
        self._untold: list[Decision] = []
        self._sent: dict[int, Verdict] = {}
        self._sent_now = 0
        self._native_price, self._native_price_at = 0, -math.inf
        self._l1_unknown = False
        self._overtaken: dict[str, int] = {}
        """By vault, how many refusals in a row a newer block has overtaken."""
        self._breaker = self._new_breaker()
        self._breakers: dict[str, Breaker] = {}
        self._outages = Outages()
        self._outages_of: dict[str, Outages] = {}
        """What is left out for one vault alone, because the fault may be the vault's."""
        self._retrying = False
        self._halted: set[str] = set()
        self._guest_of: set[str] = set()
        self._differing: set[str] = set()
        self._subscribed = False
        self._evaluation: Evaluation | None = None
        self._conditions = Conditions(0)
        self._looked: Looked | None = None
        self._balances_wei: dict[str, int] = {}
        self._balances_at = 0.0
        self._at: Block | None = None
        self._told_at = 0.0

    # Life

    def start(self) -> None:
        """Check that this keeper may act, and settle what an earlier run left unfinished.

        A vault that it may not rebalance is left alone, unless there is no other; one whose policy opens execution to anyone is
        served once its keepers' time is over.

        Raises:
            WrongChain, ChainError: the node is not the right one, or does not answer.
            UnknownVault: an address is not a vault's.
            KeeperNotAuthorized: an account does not hold the keeper's role.
            ForeignPending, TooManyGaps: an account's nonces are not in order.
            LedgerMismatch: after a rebalance that is not final yet, and no other vault is left.
        """
        bind_contextvars(chain_id=self.site.chain_id)
        self.rpc.chain_id()
        refused = self._unauthorized()
        if self.outbox is not None:
            refused = self._without_open(refused)
            if refused and len({each.vault for each in refused}) == len(self.site.vaults):
                raise refused[0]
            for refusal in refused:
                log.error("not_authorized", vault=refusal.vault, account=refusal.account)
                self._breaker_of(refusal.vault).trip(str(refusal), time.time())
            before = self.outbox.journal.watched(self.site.chain_id)
            self._told = {_news(attempt) for attempt in before if attempt.state in _CLOSED}
            clear_on_start(self.outbox, self.rpc, self.signers)
            for attempt in self.outbox.resume(self.rpc):
                intent = attempt.intent
                log.info("resumed", vault=intent.vault, kind=intent.kind, state=attempt.state.value)
            self._verify_again(before)
        log.info(
            "started",
            chain_id=self.site.chain_id,
            vaults=len(self.site.vaults),
            signers=[signer.address for signer in self.signers],
            pools=len(self.site.pools),
        )

    def _verify_again(self, attempts: Sequence[Attempt]) -> None:
        """Hold the books once more against the rebalances that an earlier run saw mined: it may have been killed before it did."""
        for attempt in attempts:
            if attempt.state is not State.MINED or attempt.intent.epoch < 0:
                continue
            receipt = find_receipt(self.rpc, str(attempt.mined_hash))
            if receipt is None or attempt.intent.vault == attempt.sender:
                continue
            try:
                verify(self.rpc, self.site.system.lens, attempt.intent, receipt)
            except LedgerMismatch as differ:
                self._halt_for_good(differ)

    def run(
        self,
        on_decision: Callable[[Decision], None] | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Tick at every new block until stopped; `alive` is called before each look and each pause.

        Raises:
            TooManyFailures: that many ticks in a row failed, and the options say to give up; carries the last failure.
            LedgerMismatch: no vault is left whose books are what the policy says.
        """
        with Heads(
            self.rpc, self.options.socket_url, poll_seconds=self.options.poll_seconds
        ) as heads:
            while not self._stopping.is_set():
                alive()
                if self._breaker.is_open(time.time()):
                    self._stopping.wait(min(1.0, self.options.poll_seconds))
                    continue
                self._turn(heads, on_decision)
                if self._breaker.failed_in_a_row or not heads.subscribed:
                    self._stopping.wait(self.options.poll_seconds)

    def stop(self) -> None:
        """Let the present tick finish, and no other begin."""
        self._stopping.set()

    def retry_pools(self) -> None:
        """Have all pools that are left out tried again, at the next tick."""
        self._retrying = True

    def tune(self, tuning: Tuning) -> None:
        """Go on with other settings from the next tick on."""
        self._tuning = tuning

    def _tune(self, tuning: Tuning) -> None:
        self.options = tuning.options
        for breaker in (self._breaker, *self._breakers.values()):
            breaker.failures = tuning.options.max_failures_in_a_row
            breaker.rest_seconds = tuning.options.rest_seconds
        for signer in self.signers:
            if isinstance(signer, Lane):
                signer.limits = replace(
                    signer.limits,
                    max_fee_per_gas_wei=tuning.options.fee_cap_wei,
                    max_spend_per_day_wei=tuning.max_spend_per_day_wei,
                )
        if self.outbox is not None:
            self.outbox.rules = tuning.rules
        self.evaluator.options = tuning.evaluation
        log.info("tuned", chain_id=self.site.chain_id)

    def _turn(self, heads: Heads, on_decision: Callable[[Decision], None] | None) -> None:
        """One round of the loop: wait for a head, and look."""
        bind_contextvars(chain_id=self.site.chain_id)
        options = self.options
        began, asked = time.monotonic(), self.rpc.requests
        try:
            waits = heads.subscribed and self._unread is None
            head = heads.next(options.poll_seconds if waits else 0)
            self._subscribed = heads.subscribed
            if head is not None:
                decisions = self.tick(head)
            elif self._unread is not None:
                decisions = self.tick(self._unread)
            else:
                self._idle()
                return
        except (ChainError, SignerUnavailable) as failure:
            opened = self._breaker.failed(str(failure), time.time())
            failures = self._breaker.failed_in_a_row
            log.warning("tick_failed", failures=failures, why=str(failure))
            # What is not told yet waits for the next look, unless none is to come soon.
            decisions = self._taken() if opened else ()
            self._tell(began, None, decisions, str(failure), self.rpc.requests - asked)
            self._hand(decisions, on_decision)
            if opened and options.gives_up:
                raise TooManyFailures(failures, failure) from failure
        except LedgerMismatch as differ:
            decisions = self._taken()
            self._tell(began, None, decisions, str(differ), self.rpc.requests - asked)
            self._hand(decisions, on_decision)
            raise
        else:
            self._hand(decisions, on_decision)

    @staticmethod
    def _hand(
        decisions: Sequence[Decision], on_decision: Callable[[Decision], None] | None
    ) -> None:
        for decision in decisions:
            if on_decision:
                on_decision(decision)

    def _idle(self) -> None:
        """Tell watchers, now and then, that there is no new block."""
        if self._at is not None and time.monotonic() - self._told_at >= _IDLE_SECONDS:
            self._looked = None
            self._tell(time.monotonic(), self._at, (), "")

    def _taken(self) -> tuple[Decision, ...]:
        """The decisions that nobody was told of, of this look and of failed ones before it."""
        decisions, self._untold = tuple(self._untold), []
        return decisions

    # Work

    def tick(self, at: Head | Block | None = None) -> tuple[Decision, ...]:
        """Look once and do what is to be done; the decisions that are news, those about what was sent earlier first.

        `at` is the newest block, which is asked for where it is not given. A head whose tick failed is not lost: the next tick
        takes its news, too, and tells what was sent or came to an end before it failed.

        Raises:
            ChainError: the chain could not be read or a transaction not sent; nothing is half done that a later tick does not settle.
            LedgerMismatch: a vault's books are not what the policy says, and no other vault is left.
        """
        bind_contextvars(chain_id=self.site.chain_id)  # whoever logs below says of which chain
        began, asked = time.monotonic(), self.rpc.requests
        tuning, self._tuning = self._tuning, None
        if tuning is not None:
            self._tune(tuning)
        if self._retrying:
            self._retrying = False
            self._outages.forget()
            self._outages_of.clear()
            self.evaluator.retry_pools()
            log.info("pools_tried_again")
        try:
            self.rpc.deadline = began + self.options.look_seconds
            block = read_block(self.rpc) if at is None else at
            if isinstance(block, Block):
                head = Head.at(block.number, block.hash, block.timestamp)
            else:
                head = block
            if self._unread is not None and self._unread is not head:
                head = head.after(self._unread)
            self._unread = head
            self._look(head)
        finally:
            self.rpc.deadline = None
        self._unread = None
        if self._breaker.failed_in_a_row:
            failures, number = self._breaker.failed_in_a_row, head.header.number
            log.info("tick_recovered", failures=failures, block=number)
        self._breaker.succeeded()
        decisions = self._taken()
        self._at = Block(head.header.number, head.header.hash, head.header.timestamp)
        self._tell(began, self._at, decisions, "", self.rpc.requests - asked)
        return decisions

    def _look(self, head: Head) -> None:
        block = Block(head.header.number, head.header.hash, head.header.timestamp)
        self._advance(block)
        l1_fees = self._l1_fees(block)
        conditions = Conditions(
            read_market(self.rpc).usual_price_wei + l1_fees.operator_wei_per_gas,
            self.site.wrapped_native,
            self._native_price_e18(block),
            *l1_fees.line_wei,
        )
        now = time.time()
        self._halted = {vault for vault, one in self._breakers.items() if one.is_open(now)}
        left_alone = self._under_way() | self._halted
        without = self._outages.scopes(block.timestamp)
        evaluation = self.evaluator.evaluate(head, conditions, left_alone, without)
        self._conditions = conditions
        self._evaluation, self._epochs = evaluation, dict(evaluation.epochs)
        self._looked = Looked(
            evaluation.verdicts, evaluation.pools, conditions, self.site.tokens, left_alone
        )
        decided: dict[str, Decision] = {}
        before = len(self._untold)
        try:
            self._act_on_all(block, evaluation, decided)
        except BaseException:
            # What was sent is told by a later look; what was only decided is decided anew.
            sent = [one for one in decided.values() if one.transaction_hash is not None]
            self._untold[before:before] = sent
            raise
        settled = self._untold[before:]
        told = {one.vault for one in settled}
        self._untold[before:] = [one for one in decided.values() if one.vault not in told]
        self._untold += settled
        said = {one.vault: one.reason for one in self._untold[before:]}
        self._said |= said
        self._reasons = {**evaluation.reasons, **said}
        if self.watchers:
            vaults = [verdict.snapshot for verdict in evaluation.verdicts]
            self._off_market = self.feed_watch.look(block, vaults)

    def _act_on_all(
        self, block: Block, evaluation: Evaluation, decided: dict[str, Decision]
    ) -> None:
        """Do what is to be done about every vault, and put down what it came to, by vault."""
        self._sent_now = 0
        until = self.rpc.deadline
        for verdict in evaluation.verdicts:
            now = time.monotonic()
            if until is None or now <= until:
                # What is begun in time may be brought to its end.
                self.rpc.deadline = until and max(until, now + self.rpc.timeout_s)
                decided[verdict.vault] = self._act(block, verdict)
            else:
                decided[verdict.vault] = self._too_late(block, verdict)
            self._log(decided[verdict.vault])
        for decision in self._quiet(evaluation):
            decided[decision.vault] = decision
            self._log(decision)
        sent = {vault for vault, one in decided.items() if one.transaction_hash is not None}
        if self.options.receipt_seconds and self.outbox and sent:
            self.rpc.deadline = None
            self._await(block, sent)

    # What was sent before

    def _advance(self, block: Block) -> None:
        """Bring forward what is under way, and tell what came of what a block now holds."""
        if self.outbox is not None:
            self._catch_up(block)
            self.outbox.advance(self.rpc, self.signers, block.number, self._epochs)
            self._put_news(block, self.outbox)

    def _catch_up(self, block: Block) -> None:
        """After a start or a pause, read again at which epochs those vaults are that something is under way for.

        Others may have rebalanced them meanwhile: what is obsolete by that is cancelled, not replaced by a dearer version.
        """
        before = self._evaluation.block.number if self._evaluation else 0
        vaults = sorted(self._under_way() & set(self.site.vaults))
        if vaults and block.number > before + 1:
            read = read_vaults(self.rpc, self.site.system.lens, vaults, block)
            self._epochs |= {vault.address: vault.state.epoch for vault in read}

    def _put_news(self, block: Block, outbox: Outbox) -> None:
        """Put what came of attempts with what is to be told: once, and again if a reorg has another block hold one."""
        watched = outbox.journal.watched(self.site.chain_id)
        for attempt in watched:
            if attempt.state not in _CLOSED or _news(attempt) in self._told:
                continue
            if attempt.intent.vault != attempt.sender:  # else it only used a nonce up
                decision = self._closed(block, attempt)
                if decision is None:
                    continue  # a reorg is under way: the next look tells
                self._log(decision)
                self._untold.append(decision)
            self._told.add(_news(attempt))
        # What is final is not watched any more, and needs no memory.
        self._told &= {_news(attempt) for attempt in watched}
        self._sent = {one.id: self._sent[one.id] for one in watched if one.id in self._sent}

    def _closed(self, block: Block, attempt: Attempt) -> Decision | None:
        """What came of an attempt; None if its receipt is not to be had."""
        intent = attempt.intent
        verdict = self._sent.get(attempt.id)
        breaker = self._breaker_of(intent.vault)

        def decision(reason: Reason, text: str, outcome: Outcome | None = None) -> Decision:
            # Read at this block where nothing else tells: it must be the same after a restart.
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

        if attempt.state is State.MINED:
            if intent.epoch < 0:
                breaker.succeeded()
                reason = Reason.SYNCED if self._is_sync(intent.data) else Reason.POKED
                return decision(reason, intent.reason)
            receipt = find_receipt(self.rpc, str(attempt.mined_hash))
            if receipt is None:
                return None
            try:
                plan = verdict.plan if verdict else None
                outcome = verify(self.rpc, self.site.system.lens, intent, receipt, plan)
            except LedgerMismatch as differ:
                return self._books_differ(differ, decision)
            breaker.succeeded()
            return decision(Reason.REBALANCED, intent.reason, outcome)
        reverted = attempt.state is State.FAILED and attempt.block_number is not None
        if reverted:
            self._failed(intent.vault, attempt.note)
        return decision(Reason.REVERTED if reverted else Reason.CANCELLED, attempt.note)

    def _read(self, vault: str, block: Block) -> VaultSnapshot:
        (snapshot,) = read_vaults(self.rpc, self.site.system.lens, [vault], block)
        return snapshot

    def _books_differ(
        self, differ: LedgerMismatch, decision: Callable[[Reason, str], Decision]
    ) -> Decision:
        """Leave that vault alone, and say so even if it ends the keeper."""
        halted = decision(Reason.HALTED, str(differ))
        try:
            self._halt_for_good(differ)
        except LedgerMismatch:
            self._untold.append(halted)
            raise
        return halted

    def _halt_for_good(self, differ: LedgerMismatch) -> None:
        """Leave a vault alone until a restart; and all, where there is no other, or where another differs as well."""
        log.error("books_differ", vault=differ.vault, tx=differ.transaction_hash, why=str(differ))
        self._breaker_of(differ.vault).trip(str(differ), time.time())
        self._differing.add(differ.vault)
        if len(self.site.vaults) == 1 or len(self._differing) > 1:
            raise differ

    def _await(self, block: Block, vaults: set[str]) -> None:
        """Wait for what came of what was just sent, as long as the options say."""
        if self.outbox is None:
            return
        until = time.monotonic() + self.options.receipt_seconds
        pause, before = _FIRST_POLL_SECONDS, len(self._untold)
        while True:
            time.sleep(pause)
            height = int(self.rpc.call("eth_blockNumber"), 16)
            self.outbox.advance(self.rpc, self.signers, height)
            self._put_news(block, self.outbox)
            left = vaults - {decision.vault for decision in self._untold[before:]}
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)
            if not left or time.monotonic() + pause > until or self._stopping.is_set():
                return

    def _under_way(self) -> frozenset[str]:
        if self.outbox is None:
            return frozenset()
        unsettled = self.outbox.unsettled(self.site.chain_id)
        return frozenset(attempt.intent.vault for attempt in unsettled)

    # What is to be sent now

    def _act(self, block: Block, verdict: Verdict) -> Decision:
        if verdict.vault in self._halted:
            return _decision(block, verdict, Reason.HALTED, self._breakers[verdict.vault].why)
        match verdict.step:
            case Step.REBALANCE if self._must_wait(block, verdict):
                if not verdict.snapshot.state.due_since:
                    return self._poke(block, verdict)  # from the stamp on its keepers' time runs
                until = utc(verdict.snapshot.opens_at)
                text = f"its keepers have it to themselves until {until}"
                return _decision(block, verdict, Reason.NOT_YET, text)
            case Step.REBALANCE:
                return self._trade(block, verdict)
            case Step.POKE:
                return self._poke(block, verdict)
            case Step.SYNC:
                return self._sync(block, verdict)
            case _:
                return _decision(block, verdict, verdict.reason, self._explained(block, verdict))

    def _explained(self, block: Block, verdict: Verdict) -> str:
        """Why nothing is traded, with the pools that are left out where trades were sought."""
        left_out = [one.subject for one in self._left_out(block)]
        if not left_out or not wants_plan(verdict.snapshot):
            return verdict.text
        more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        return f"{verdict.text}; left out for now: {', '.join(left_out[:_SHOWN])}{more}"

    def _too_late(self, block: Block, verdict: Verdict) -> Decision:
        """What is said of a vault that the look did not come to. Those that it came to are under way when the next one begins."""
        if verdict.step is Step.NOTHING:
            return self._act(block, verdict)
        text = "there was no time left to send it at this block"
        return _decision(block, verdict, Reason.NOT_YET, text)

    def _must_wait(self, block: Block, verdict: Verdict) -> bool:
        """Whether only the vault's keepers may rebalance it now, and this is none of them."""
        opens_at = verdict.snapshot.opens_at
        return verdict.vault in self._guest_of and (not opens_at or block.timestamp < opens_at)

    def _trade(self, block: Block, verdict: Verdict) -> Decision:
        """Rebalance; where pools are found that refuse their swaps, at once without them, as often as there is time."""
        until = self.rpc.deadline
        for _ in range(_MOST_REPLANS):
            without = self._without(block, verdict.vault)
            if verdict.plan is not None and _uses(verdict.plan, without):
                if until is not None and time.monotonic() > until:
                    break
                found = self.evaluator.again(verdict.snapshot, self._conditions, without)
                if found is None:
                    break
                verdict = found
                if verdict.step is not Step.REBALANCE:
                    return self._act(block, verdict)
            try:
                decision = self._rebalance(block, verdict)
            except _RefusedError as refused:
                if not refused.is_alone or not self._blame(block, verdict, refused):
                    return self._refused(block, verdict, refused.why)
            else:
                self._worked(verdict)
                return decision
            self.rpc.deadline = until
        text = "it is planned again at the next block, without pools that refused their swaps"
        return _decision(block, verdict, Reason.NOT_YET, text)

    def _rebalance(self, block: Block, verdict: Verdict) -> Decision:
        plan, snapshot = verdict.plan, verdict.snapshot
        if plan is None or plan.settlement is None:
            raise AssertionError("a plan made without the vault's rules was to be sent")
        data = self._rebalance_data(snapshot, plan)
        sale = (plan.sales_raw, plan.min_buys_raw)
        return self._send(block, verdict, snapshot.state.epoch, data, None, sale)

    def _rebalance_data(self, snapshot: VaultSnapshot, plan: Plan) -> str:
        return self._vaults.at(snapshot.address).data(
            "rebalance",
            snapshot.state.epoch,
            plan.sales_raw,
            plan.min_buys_raw,
            self.site.system.executor,
            plan.route,
        )

    def _poke(self, block: Block, verdict: Verdict) -> Decision:
        """Have the vault stamp or clear since when a rebalance is due."""
        return self._send_beside(block, verdict, self._vaults.at(verdict.vault).data("poke"))

    def _sync(self, block: Block, verdict: Verdict) -> Decision:
        """Have the vault write the loss of the first asset down of which anything is missing; of others, at later blocks."""
        missing_raw = verdict.snapshot.missing_raw
        asset = next(i for i, missing in enumerate(missing_raw) if missing)
        return self._send_beside(block, verdict, self._vaults.at(verdict.vault).data("sync", asset))

    def _is_sync(self, data: str) -> bool:
        return self._vaults.functions["sync"].is_called_by(data)

    def _send_beside(self, block: Block, verdict: Verdict, data: str) -> Decision:
        """Send what ends no epoch: it is journalled under minus the block's number."""
        deadline = block.number + _POKE_BLOCKS
        try:
            return self._send(block, verdict, -block.number, data, deadline, None)
        except _RefusedError as refused:
            return self._refused(block, verdict, refused.why)

    def _send(
        self,
        block: Block,
        verdict: Verdict,
        epoch: int,
        data: str,
        deadline_block: int | None,
        sale: tuple[Sequence[int], Sequence[int]] | None,
    ) -> Decision:
        """Send a transaction, or say why not.

        Raises:
            _RefusedError: the chain would refuse it.
        """
        vault, text = verdict.vault, verdict.text
        try:
            gas_limit = estimate_gas(self.rpc, self.signers[0].address, vault, data)
        except ContractReverted as refusal:
            raise _RefusedError(f"the chain would refuse it: {refusal}") from None
        if self.options.dry_run or self.outbox is None:
            told = text if sale else f"would {'sync' if self._is_sync(data) else 'poke'}: {text}"
            return _decision(block, verdict, Reason.DRY_RUN, told)
        if sale:
            self._confirm(verdict.snapshot, block)
        self.rpc.deadline = None  # sending has a time of its own
        intent = Intent(
            *(self.site.chain_id, vault, epoch, vault, data, gas_limit, text, deadline_block)
        )
        check: Check | None = None
        others: list[dict[str, str]] = []
        if sale:
            others = [
                message(one.sender, one.intent.to, one.intent.data, one.intent.gas_limit)
                for one in self.outbox.unsettled(self.site.chain_id)
            ]
            check = self._simulator.check_rebalance(vault, data, gas_limit, *sale, others)
        try:
            attempt = self.outbox.submit(
                self.rpc, self.signers, intent, self._fees(), check=check, height=block.number
            )
        except (SimulationRefused, SimulationDiffers) as refused:
            raise _RefusedError(str(refused), is_alone=not others) from None
        except (LimitError, FeeAboveCap, InsufficientEther, SignerUnavailable) as limit:
            return _decision(block, verdict, Reason.NOT_SENT, str(limit))
        except RpcRejected as rejected:
            if rejected.method not in (RAW_METHOD, PRIVATE_METHOD):
                raise  # not the vault's trouble, but the endpoint's
            failed = self.outbox.journal.of_epoch(self.site.chain_id, vault, epoch)
            self._told |= {_news(attempt) for attempt in failed}  # it is told here
            self._failed(vault, str(rejected))
            return _decision(block, verdict, Reason.NOT_SENT, str(rejected))
        self._overtaken.pop(vault, None)
        self._sent[attempt.id] = verdict
        self._sent_now += 1
        return replace(
            _decision(block, verdict, Reason.UNDER_WAY, text, attempt.transaction_hash),
            kind=intent.kind,
        )

    def _refused(self, block: Block, verdict: Verdict, why: str) -> Decision:
        """A simulation did not do what is planned. Where others' trades or a newer block have come first, nothing is wrong with that."""
        if self._sent_now or (
            self.outbox is not None and self.outbox.unsettled(self.site.chain_id)
        ):
            text = f"after what was sent for other vaults it is to be planned again: {why}"
            return _decision(block, verdict, Reason.NOT_YET, text)
        if read_block(self.rpc).number != block.number:
            overtaken = self._overtaken.get(verdict.vault, 0) + 1
            self._overtaken[verdict.vault] = overtaken
            # Where blocks come faster than looks end, every refusal is overtaken: after some it is the plan's.
            if overtaken < self.options.max_failures_in_a_row:
                text = f"a newer block has come, at which it is to be planned again: {why}"
                return _decision(block, verdict, Reason.NOT_YET, text)
        self._failed(verdict.vault, why)
        return _decision(block, verdict, Reason.SIMULATION_REFUSED, why)

    # Pools that refuse

    def _blame(self, block: Block, verdict: Verdict, refused: _RefusedError) -> bool:
        """Leave out the pools whose swaps are why the chain refuses a plan; whether there are any."""
        plan = verdict.plan
        if plan is None:
            return False
        try:
            failed = self._failed_swaps(block, verdict, plan)
        except RpcRejected as rejected:
            log.warning("swaps_not_simulated", vault=verdict.vault, why=str(rejected))
            return False
        now = float(block.timestamp)
        for one in failed:
            leg, key = one.swap.leg, one.swap.leg.pool.key
            if one.token or one.may_be_the_vaults:
                scope = Scope("" if one.token else key, one.token)
                outages = self._outages_of.setdefault(verdict.vault, Outages())
                told = [outages.failed(scope, one.why, now)]
            else:
                ends = leg.token_in, leg.token_out
                told = self._outages.refused(key, one.swap.holder, ends, one.why, now)
            for each in told:
                log.warning(
                    "pool_left_out",
                    pool=each.subject,
                    vault=verdict.vault,
                    block=block.number,
                    why=each.why,
                    seconds=each.until - now,
                    refusal=refused.why,
                )
        return bool(failed)

    def _failed_swaps(self, block: Block, verdict: Verdict, plan: Plan) -> Sequence[FailedSwap]:
        executor = self.site.system.executor
        other = self.signers[0].address
        failed = failed_swaps(self._simulator, verdict.vault, executor, other, plan)
        if failed is None:
            return self._failed_apart(block, verdict, plan)
        if any(one.is_short for one in failed) and read_block(self.rpc).hash != block.hash:
            return [one for one in failed if not one.is_short]  # others may have traded since
        return failed

    def _failed_apart(self, block: Block, verdict: Verdict, plan: Plan) -> list[FailedSwap]:
        """Without a simulation of single swaps: the pools that are in no plan that passes, while plans without them do.

        Where no plan passes, it may be the vault that refuses, and no pool is at fault.
        """
        swaps = {swap.leg.pool.key: swap for swap in swaps_of(plan)}
        if not 1 < len(swaps) <= _MOST_POOLS_APART:
            return []
        left_out = self._without(block, verdict.vault)

        def sound(without: Collection[str]) -> set[str]:
            """The pools of the plan without some, if the chain takes that."""
            scopes = left_out | {Scope(key) for key in without}
            found = self.evaluator.again(verdict.snapshot, self._conditions, scopes)
            if found is None or found.plan is None or found.step is not Step.REBALANCE:
                return set()
            data = self._rebalance_data(found.snapshot, found.plan)
            try:
                estimate_gas(self.rpc, self.signers[0].address, verdict.vault, data)
            except ContractReverted:
                return set()
            return {leg.pool.key for leg in found.plan.legs}

        passed = [sound([key]) for key in swaps]
        suspects = [key for key, found in zip(swaps, passed, strict=True) if found]
        if not suspects:  # several at once may be at fault
            passed = [sound(swaps.keys() - {key}) for key in swaps]
            suspects = list(swaps) if any(passed) else []
        innocent = set().union(*passed)
        why = "plans without it pass"
        return [
            FailedSwap(swaps[key], why, may_be_the_vaults=True)
            for key in suspects
            if key not in innocent
        ]

    def _worked(self, verdict: Verdict) -> None:
        """The chain takes a plan: what was left out before, and is in it, works again."""
        if verdict.plan is None:
            return
        for swap in swaps_of(verdict.plan):
            pool, ends = (swap.leg.pool.key, swap.holder), (swap.leg.token_in, swap.leg.token_out)
            its_own = self._outages_of.get(verdict.vault, Outages())
            for scope in (*self._outages.worked(*pool, *ends), *its_own.worked(*pool, *ends)):
                log.info("pool_trades_again", pool=str(scope), vault=verdict.vault)

    def _left_out(self, block: Block | None) -> tuple[LeftOut, ...]:
        """The pools that are not traded on at a block, because they refused or cannot be read."""
        read = self._evaluation.left_out if self._evaluation else ()
        now = block.timestamp if block else 0
        of_vaults = [
            replace(one, subject=f"{one.subject} for {vault}")
            for vault, outages in self._outages_of.items()
            for one in outages.told(outages.scopes(now))
        ]
        return (*self._outages.told(self._outages.scopes(now)), *of_vaults, *read)

    def _without(self, block: Block, vault: str) -> frozenset[Scope]:
        """What is not to be traded on for a vault."""
        of_all, of_it = self._outages.scopes(block.timestamp), self._outages_of.get(vault)
        return of_all if of_it is None else of_all | of_it.scopes(block.timestamp)

    def _fees(self) -> Fees:
        return suggest(self.rpc, self.options.fee_cap_wei)

    def _native_price_e18(self, block: Block) -> int:
        """What the chain's oracle says a token of gas is worth, asked once a minute; where it says nothing, what the settings say."""
        if not self.site.wrapped_native:
            return 0
        if time.monotonic() - self._native_price_at < _NATIVE_PRICE_SECONDS:
            return self._native_price
        hub = interface("OracleHub").at(self.site.system.oracle)
        found = 0
        try:
            ((_, _, primary_e18, fault),) = hub.call(
                self.rpc, "prices", [self.site.wrapped_native], block=block.hash
            )
            found = 0 if fault else primary_e18
        except (ContractReverted, ContractMissing):
            pass
        if not found and not self.options.native_price_e18 and self._native_price_at == -math.inf:
            log.warning("gas_not_weighed", token=self.site.wrapped_native)
        self._native_price = found or self.options.native_price_e18
        self._native_price_at = time.monotonic()
        return self._native_price

    def _l1_fees(self, block: Block) -> L1Fees:
        """What the chain charges for data on L1. Where it does not tell, it is not weighed, and nothing will be sent (`Outbox.submit`)."""
        try:
            found = read_l1_fees(self.rpc, block.number)
        except L1FeeUnknown as unknown:
            if not self._l1_unknown:
                log.warning("l1_fee_not_weighed", why=str(unknown))
            self._l1_unknown = True
            return NO_L1_FEES
        self._l1_unknown = False
        return found

    def _confirm(self, snapshot: VaultSnapshot, block: Block) -> None:
        """Have as many endpoints as the settings ask for say of the vault and its prices what was planned from.

        Raises:
            EndpointsDisagree, QuorumTooSmall: they do not.
        """
        if not isinstance(self.rpc, Endpoints) or self.rpc.quorum == 1:
            return
        lens = interface("VaultLens").at(self.site.system.lens)
        (answer,) = self.rpc.confirm([lens.request("read", [snapshot.address], block=block.hash)])
        (confirmed,) = decode_vaults(lens.result("read", answer), block.timestamp)
        if confirmed != snapshot:
            self.evaluator.doubt(snapshot.address)
            raise EndpointsDisagree(
                "VaultLens.read", "one that was planned from", f"{self.rpc.quorum} others"
            )

    # What is told

    def _quiet(self, evaluation: Evaluation) -> list[Decision]:
        """The vaults that need nothing and were not read, if that is news."""
        read = {verdict.vault for verdict in evaluation.verdicts}
        drifts_bps = _drifts_bps(evaluation)
        news = []
        for vault, reason in evaluation.reasons.items():
            before = self._said.get(vault, Reason.IN_BAND)
            if vault in read or reason is before:
                continue
            drift_bps = drifts_bps.get(vault)
            text = f"the furthest weight is {drift_bps} bps off its target"
            if drift_bps is None:
                text = "it cannot be weighed: a price is not sound, or the basket is worth nothing"
            news.append(
                Decision(
                    *(evaluation.block, vault, reason, text),
                    *(evaluation.epochs[vault], drift_bps),
                )
            )
        return news

    def _log(self, decision: Decision) -> None:
        is_news = self._said.get(decision.vault) is not decision.reason
        (log.info if is_news or decision.transaction_hash else log.debug)(
            "decided",
            chain_id=self.site.chain_id,
            block=decision.block.number,
            vault=decision.vault,
            epoch=decision.epoch,
            reason=decision.reason.value,
            drift_bps=decision.drift_bps,
            why=decision.text,
            tx=decision.transaction_hash,
            kind=decision.kind or None,
        )

    def _tell(
        self,
        began: float,
        block: Block | None,
        decisions: tuple[Decision, ...],
        failure: str,
        requests: int = 0,
    ) -> None:
        self._told_at = time.monotonic()
        if not self.watchers:
            return
        evaluation, now = self._evaluation, time.time()
        attempts: dict[str, int] = {}
        waiting = 0
        if self.outbox is not None:
            for attempt in self.outbox.journal.watched(self.site.chain_id):
                attempts[attempt.state.value] = attempts.get(attempt.state.value, 0) + 1
                if block is not None and attempt.state in OPEN and attempt.versions:
                    waiting = max(waiting, block.number - attempt.versions[0].height)
        tick = Tick(
            self.site.chain_id,
            now,
            time.monotonic() - began,
            block,
            decisions,
            self._reasons,
            len(evaluation.verdicts) if evaluation else 0,
            evaluation.planned if evaluation else 0,
            failure,
            self._breaker.failed_in_a_row,
            requests,
            self.open_breakers(now),
            attempts,
            waiting,
            self._balances() if not failure else self._balances_wei,
            self._endpoints(block),
            evaluation.diverged_pools if evaluation else (),
            evaluation.differing_vaults if evaluation else (),
            self._subscribed,
            _drifts_bps(evaluation) if evaluation else {},
            _losses(evaluation) if evaluation else {},
            self._off_market,
            self._looked if not failure else None,
            self._left_out(block),
        )
        for watcher in self.watchers:
            try:
                watcher(tick)
            except Exception:  # whoever only watches must not stop what is watched
                log.exception("watcher_failed", watcher=repr(watcher))

    def open_breakers(self, now: float) -> tuple[OpenBreaker, ...]:
        """All breakers that let nothing through at a unix time, the chain's first."""
        return tuple(
            OpenBreaker(
                scope, breaker.why, breaker.since, None if breaker.is_tripped else breaker.until
            )
            for scope, breaker in (("chain", self._breaker), *self._breakers.items())
            if breaker.is_open(now)
        )

    def _balances(self) -> dict[str, int]:
        """Ether of every signer, asked once a minute."""
        if time.monotonic() - self._balances_at > _BALANCE_SECONDS or not self._balances_wei:
            calls: list[Call] = [
                ("eth_getBalance", [signer.address, "latest"]) for signer in self.signers
            ]
            try:
                found = self.rpc.batch(calls)
            except ChainError as failure:
                log.warning("balances_unknown", why=str(failure))
                return self._balances_wei
            self._balances_wei = {
                signer.address: int(wei, 16)
                for signer, wei in zip(self.signers, found, strict=True)
            }
            self._balances_at = time.monotonic()
        return self._balances_wei

    def _endpoints(self, block: Block | None) -> tuple[EndpointState, ...]:
        if isinstance(self.rpc, Endpoints):
            return tuple(
                EndpointState(
                    one.endpoint, one.height, one.latency_seconds, not (one.resting or one.behind)
                )
                for one in self.rpc.health()
            )
        height = block.number if block else None
        return (EndpointState(self.rpc.endpoint, height, None, block is not None),)

    # What is left alone

    def _new_breaker(self) -> Breaker:
        options = self.options
        return Breaker(options.max_failures_in_a_row, options.rest_seconds, _LONGEST_REST_SECONDS)

    def _breaker_of(self, vault: str) -> Breaker:
        return self._breakers.setdefault(vault, self._new_breaker())

    def _failed(self, vault: str, why: str) -> None:
        if self._breaker_of(vault).failed(why, time.time()):
            log.error("vault_halted", vault=vault, why=why)

    def _without_open(self, refused: list[KeeperNotAuthorized]) -> list[KeeperNotAuthorized]:
        """Those of the refusals whose vaults never open execution to anyone."""
        vaults = sorted({refusal.vault for refusal in refused})
        if not vaults:
            return []
        block = read_block(self.rpc)
        for at in range(0, len(vaults), _PAGE):
            page = vaults[at : at + _PAGE]
            for snapshot in read_vaults(self.rpc, self.site.system.lens, page, block):
                if snapshot.policy.open_after_seconds:
                    log.info("served_once_open", vault=snapshot.address)
                    self._guest_of.add(snapshot.address)
        return [refusal for refusal in refused if refusal.vault not in self._guest_of]

    def _unauthorized(self) -> list[KeeperNotAuthorized]:
        """The vaults that one of the accounts may not rebalance, with the account.

        Raises:
            UnknownVault: an address is not a vault's.
        """
        found, managers = [], interface("AccessManager")
        selector = self._vaults.functions["rebalance"].selector
        for at in range(0, len(self.site.vaults), _BATCH):
            vaults = self.site.vaults[at : at + _BATCH]
            answers = self.rpc.batch_settled(
                [self._vaults.at(vault).request("authority") for vault in vaults]
            )
            for vault, answer in zip(vaults, answers, strict=True):
                if isinstance(answer, RpcRejected) or answer == "0x":
                    raise UnknownVault(vault)
            if self.options.dry_run or self.outbox is None:
                continue
            authorities = [self._vaults.functions["authority"].decode(one) for one in answers]
            pairs = [
                (vault, authority, signer.address)
                for vault, authority in zip(vaults, authorities, strict=True)
                for signer in self.signers
            ]
            for first in range(0, len(pairs), _BATCH):
                some = pairs[first : first + _BATCH]
                allowed = self.rpc.batch(
                    [
                        managers.at(authority).request("canCall", account, vault, selector)
                        for vault, authority, account in some
                    ]
                )
                for (vault, _, account), answer in zip(some, allowed, strict=True):
                    immediate, _ = managers.functions["canCall"].decode(answer)
                    if not immediate:
                        found.append(KeeperNotAuthorized(account, vault, Role.KEEPER.name))
        return found


class _RefusedError(Exception):
    """The chain would refuse a transaction. `is_alone`: on the newest block, not after others that are under way."""

    def __init__(self, why: str, *, is_alone: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.is_alone = is_alone


def _uses(plan: Plan, without: Collection[Scope]) -> bool:
    """Whether a plan swaps on a pool that is left out."""
    return bool(without) and any(
        scope.covers(
            swap.leg.pool.key, swap.holder, [token.address for token in swap.leg.pool.tokens]
        )
        for swap in swaps_of(plan)
        for scope in without
    )


def _losses(evaluation: Evaluation) -> dict[str, str]:
    """What is to be said of each vault that lost more than dust of a token."""
    told = {one.vault: tell_loss(one.snapshot) for one in evaluation.verdicts}
    return {vault: text for vault, text in told.items() if text}


def _drifts_bps(evaluation: Evaluation) -> Mapping[str, int]:
    """How far the furthest weight of each vault is off, of those that can be weighed."""
    unknown = {vault for vault, reason in evaluation.reasons.items() if reason in _NOT_WEIGHED}
    unknown |= {one.vault for one in evaluation.verdicts if not one.snapshot.total_e18}
    if not unknown:
        return evaluation.drifts_bps
    return {vault: bps for vault, bps in evaluation.drifts_bps.items() if vault not in unknown}


_News = tuple[int, State, str | None, str | None]


def _news(attempt: Attempt) -> _News:
    """What there is to tell of an attempt, once: its state, and which block holds which of its versions."""
    return attempt.id, attempt.state, attempt.mined_hash, attempt.block_hash


def _decision(
    block: Block, verdict: Verdict, reason: Reason, text: str, transaction_hash: str | None = None
) -> Decision:
    snapshot = verdict.snapshot
    return Decision(
        block,
        verdict.vault,
        reason,
        text,
        snapshot.state.epoch,
        snapshot.drift_bps if snapshot.total_e18 else None,
        snapshot,
        verdict.plan,
        None,
        transaction_hash,
    )
