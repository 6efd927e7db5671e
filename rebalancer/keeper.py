"""The keeper: one block, one look, one decision, and at most one transaction.

`start → tick → stop`. A tick takes the newest block, reads the vault at that block's hash, and returns a `Decision` with a reason;
"do nothing" is a decision too. When a band is broken it reads the pools at the same block, plans, predicts what the vault will
do with `policy.settle`, simulates, and only then hands the transaction to the outbox. After it is mined, the vault's books are
compared with the prediction: a difference to the unit is `BooksDiffer`, which stops the keeper, because then either this
program or the chain is not what it seems.

The keeper chooses when and by which route. What it may sell, how much and at what loss, the vault decides.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

import structlog

from rebalancer.chain.abi import interface
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.heads import Heads
from rebalancer.chain.pools import read_v3_pools
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import Block, VaultSnapshot, read_block, read_vaults
from rebalancer.deploy import Role, System
from rebalancer.errors import (
    BooksDiffer,
    ChainError,
    ContractReverted,
    KeeperNotAuthorized,
    PolicyRefused,
    SimulationDiffers,
    SimulationRefused,
    TooManyFailures,
)
from rebalancer.plan import Plan, PlanInput, plan_rebalance
from rebalancer.policy import Fill, Settlement, settle
from rebalancer.pools import Token, UniswapV3Pool
from rebalancer.reasons import Reason
from rebalancer.send.fees import suggest
from rebalancer.send.nonces import clear_on_start
from rebalancer.send.outbox import Intent, Outbox
from rebalancer.send.signer import Signer
from rebalancer.send.simulate import Simulator
from rebalancer.send.wallet import Wallet, estimate_gas
from rebalancer.units import BPS, E18

__all__ = ["Decision", "Keeper", "KeeperOptions", "Outcome", "explain"]

log = structlog.get_logger("rebalancer.keeper")

_BUDGET_REFUSALS = frozenset({"LossBudgetExceeded", "TurnoverBudgetExceeded"})
_BUDGETS = frozenset({"loss", "turnover"})


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """How a keeper goes about its work. Times are in seconds."""

    dry_run: bool = False
    poll_seconds: float = 2.0
    max_failures_in_a_row: int = 5
    fee_cap_wei: int = 200 * 10**9
    """Most to pay per gas; above it the tick fails and nothing is sent."""
    receipt_seconds: float = 180.0
    """How long to wait for a transaction to be mined."""
    look_seconds: float = 12.0
    """How old a block may become while it is looked at; then the tick fails."""
    socket_url: str | None = None
    """WebSocket endpoint that announces blocks, if there is one."""
    wrapped_native: str = ""
    """The wrapped native token: if the basket holds it, its price weighs the gas of a plan."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a mined rebalance did. `predicted` is from before it was sent, `settled` from what was measured."""

    plan: Plan
    receipt: Receipt
    fill: Fill
    settled: Settlement
    predicted: Settlement
    loss_left_e18: int
    turnover_left_e18: int
    after: VaultSnapshot


@dataclass(frozen=True, slots=True)
class Decision:
    """What a tick came to, and why: `text` is one sentence for people."""

    block: Block
    vault: str
    reason: Reason
    text: str
    snapshot: VaultSnapshot
    plan: Plan | None = None
    outcome: Outcome | None = None


class Keeper:
    """A keeper of one vault."""

    def __init__(
        self,
        rpc: Rpc,
        system: System,
        vault: str,
        pools: Sequence[str],
        tokens: Sequence[Token],
        chain_id: int,
        signer: Signer,
        outbox: Outbox | None,
        options: KeeperOptions | None = None,
    ) -> None:
        """`pools` are Uniswap V3 pools to trade on, `tokens` those they trade. Only a dry run can do without an outbox."""
        self.rpc = rpc
        self.system = system
        self.vault = vault
        self.pools = tuple(pools)
        self.tokens = {token.address: token for token in tokens}
        self.chain_id = chain_id
        self.signer = signer
        self.outbox = outbox
        self.options = options or KeeperOptions()
        self._vault = interface("BasketVault").at(vault)
        self._simulator = Simulator(rpc)
        self._stopping = threading.Event()

    # Life

    def start(self) -> None:
        """Check that this keeper may act, and settle what an earlier run left unfinished.

        Raises:
            WrongChain, ChainError: the node is not the right one, or does not answer.
            KeeperNotAuthorized: the account does not hold the keeper's role.
            ForeignPending, TooManyGaps: the account's nonces are not in order.
        """
        self.rpc.chain_id()
        if self.outbox is not None:
            authority = interface("AccessManager").at(self._vault.call(self.rpc, "authority"))
            selector = self._vault.interface.functions["rebalance"].selector
            immediate, _ = authority.call(
                self.rpc, "canCall", self.signer.address, self.vault, selector
            )
            if not immediate:
                raise KeeperNotAuthorized(self.signer.address, self.vault, Role.KEEPER.name)
            clear_on_start(self.outbox, self.rpc, [self.signer])
            for attempt in self.outbox.resume(self.rpc):
                log.info("resumed", epoch=attempt.intent.epoch, state=attempt.state.value)
        log.info("started", vault=self.vault, keeper=self.signer.address, pools=len(self.pools))

    def run(self, on_decision: Callable[[Decision], None] | None = None) -> None:
        """Tick at every new block until stopped. The first signal lets the tick finish, a second one abandons it.

        Raises:
            TooManyFailures: that many ticks in a row failed; carries the last failure.
            BooksDiffer: the vault's books are not what the policy says.
        """
        failures = 0
        waiting: Block | None = None
        options = self.options
        heads = Heads(self.rpc, options.socket_url, poll_seconds=options.poll_seconds)
        with self._signals(), heads:
            while not self._stopping.is_set():
                try:
                    listens = heads.subscribed and waiting is None
                    head = heads.next(options.poll_seconds if listens else 0)
                    if head is not None:
                        waiting = Block(head.header.number, head.header.hash, head.header.timestamp)
                    if waiting is not None:
                        decision = self.tick(waiting)
                        waiting = None
                        if on_decision:
                            on_decision(decision)
                    failures = 0
                except ChainError as failure:
                    failures += 1
                    log.warning("tick_failed", failures=failures, why=str(failure))
                    if failures >= options.max_failures_in_a_row:
                        raise TooManyFailures(failures, failure) from failure
                if failures or not heads.subscribed:
                    self._stopping.wait(options.poll_seconds)

    def stop(self) -> None:
        """Let the present tick finish, and no other begin."""
        self._stopping.set()

    # Work

    def tick(self, block: Block | None = None) -> Decision:
        """Look once and do what is to be done.

        Raises:
            ChainError: the chain could not be read or the transaction not sent; nothing is half done that `start` does not settle.
            BooksDiffer: the vault's books are not what the policy says.
        """
        try:
            self.rpc.deadline = time.monotonic() + self.options.look_seconds
            return self._tick(block or read_block(self.rpc))
        finally:
            self.rpc.deadline = None

    def _tick(self, block: Block) -> Decision:
        (snapshot,) = read_vaults(self.rpc, self.system.lens, [self.vault], block)
        if self.outbox is not None:
            epochs = {self.vault: snapshot.state.epoch}
            self.outbox.advance(self.rpc, [self.signer], block.number, epochs)
        decision = self._decide(block, snapshot)
        log.info(
            "decided",
            block=block.number,
            vault=self.vault,
            epoch=snapshot.state.epoch,
            reason=decision.reason.value,
            drift_bps=snapshot.drift_bps,
            why=decision.text,
            tx=decision.outcome.receipt.transaction_hash if decision.outcome else None,
        )
        return decision

    def _decide(self, block: Block, snapshot: VaultSnapshot) -> Decision:
        if snapshot.reason not in (Reason.BAND_BROKEN, Reason.CALENDAR_DUE):
            if snapshot.reason is Reason.IN_BAND and snapshot.state.broken_since:
                return self._poke(block, snapshot, "every weight is back inside its band")
            return Decision(block, self.vault, snapshot.reason, explain(snapshot), snapshot)
        pools = read_v3_pools(
            self.rpc,
            self.system.uniswap_v3_lens,
            self.pools,
            self.tokens,
            block,
            self.chain_id,
        )
        found = plan_rebalance(self._plan_input(snapshot, pools))
        if isinstance(found, Plan):
            return self._act(block, snapshot, found)
        if found.refused is not None and found.refusal is not None:
            return self._refused(block, snapshot, found.refused, found.refusal)
        if found.reason is Reason.POLICY_REFUSES and self._unseen(snapshot):
            return self._poke(block, snapshot, found.text)
        return Decision(block, self.vault, found.reason, found.text, snapshot, found.refused)

    def _plan_input(self, snapshot: VaultSnapshot, pools: Sequence[UniswapV3Pool]) -> PlanInput:
        native_price_e18 = next(
            (
                price.primary_e18
                for asset, price in zip(snapshot.basket.assets, snapshot.basket.prices, strict=True)
                if asset.token == self.options.wrapped_native
            ),
            0,
        )
        return PlanInput.of(
            snapshot.basket,
            pools,
            policy=snapshot.policy,
            state=snapshot.state,
            slippage_limit_e18=snapshot.slippage_limit_e18,
            loss_left_e18=snapshot.loss_left_e18,
            turnover_left_e18=snapshot.turnover_left_e18,
            destination_bps=snapshot.policy.destination_bps,
            gas_price_wei=int(self.rpc.call("eth_gasPrice"), 16),
            native_price_e18=native_price_e18,
        )

    @staticmethod
    def _unseen(snapshot: VaultSnapshot) -> bool:
        """Whether a band is broken and the vault does not know."""
        return snapshot.reason is Reason.BAND_BROKEN and not snapshot.state.broken_since

    def _poke(self, block: Block, snapshot: VaultSnapshot, why: str) -> Decision:
        """Stamp or clear the moment a band broke. Sent without a journal: losing it loses nothing."""
        if self.options.dry_run:
            return Decision(block, self.vault, Reason.DRY_RUN, f"would poke: {why}", snapshot)
        self.rpc.deadline = None
        wallet = Wallet(
            self.rpc, self.signer, self.options.fee_cap_wei, self.options.receipt_seconds
        )
        wallet.transact(self._vault, "poke")
        return Decision(block, self.vault, Reason.POKED, why, snapshot)

    def _act(self, block: Block, snapshot: VaultSnapshot, found: Plan) -> Decision:
        predicted = found.settlement
        if predicted is None:
            raise AssertionError("a plan made without the vault's rules was to be sent")
        data = self._vault.data(
            "rebalance",
            snapshot.state.epoch,
            found.sales_raw,
            found.min_buys_raw,
            self.system.executor,
            found.route,
        )
        try:
            gas_limit = estimate_gas(self.rpc, self.signer.address, self.vault, data)
        except ContractReverted as refusal:
            text = f"the chain would refuse it: {refusal}"
            return Decision(block, self.vault, Reason.SIMULATION_REFUSED, text, snapshot, found)
        if self.options.dry_run or self.outbox is None:
            return Decision(block, self.vault, Reason.DRY_RUN, found.text, snapshot, found)
        self._confirm(block)
        self.rpc.deadline = None  # sending and waiting have times of their own
        intent = Intent(
            self.chain_id,
            self.vault,
            snapshot.state.epoch,
            self.vault,
            data,
            gas_limit,
            found.text,
        )
        fees = suggest(self.rpc, self.options.fee_cap_wei)
        check = self._simulator.check_rebalance(
            self.vault, data, gas_limit, found.sales_raw, found.min_buys_raw
        )
        try:
            receipt = self.outbox.deliver(
                self.rpc, self.signer, intent, fees, self.options.receipt_seconds, check
            )
        except (SimulationRefused, SimulationDiffers) as refusal:
            text = str(refusal)
            return Decision(block, self.vault, Reason.SIMULATION_REFUSED, text, snapshot, found)
        outcome = self._verify(receipt, snapshot, found, predicted)
        return Decision(block, self.vault, Reason.REBALANCED, found.text, snapshot, found, outcome)

    def _confirm(self, block: Block) -> None:
        """Have as many endpoints as the settings ask for say the same of the vault and its prices.

        Raises:
            EndpointsDisagree, QuorumTooSmall: they do not.
        """
        if isinstance(self.rpc, Endpoints):
            lens = interface("VaultLens").at(self.system.lens)
            self.rpc.confirm([lens.request("read", [self.vault], block=block.hash)])

    def _refused(
        self, block: Block, snapshot: VaultSnapshot, found: Plan, refusal: PolicyRefused
    ) -> Decision:
        """What follows when the vault would refuse the best plan there is."""
        why = _why_refused(snapshot, refusal)
        if refusal.error in _BUDGET_REFUSALS or found.bound_by in _BUDGETS:
            reason = Reason.BUDGET_SPENT
        elif self._unseen(snapshot):
            # Once the break is stamped, the slippage limit climbs and lets a larger trade through.
            return self._poke(block, snapshot, why)
        else:
            reason = Reason.POLICY_REFUSES
        return Decision(block, self.vault, reason, why, snapshot, found)

    def _settle(
        self, snapshot: VaultSnapshot, found: Plan, fill: Fill, timestamp: int
    ) -> Settlement:
        return settle(
            snapshot.policy,
            snapshot.state,
            snapshot.basket,
            fill,
            found.min_buys_raw,
            timestamp,
            epoch=snapshot.state.epoch,
            sales=found.sales_raw,
        )

    def _verify(
        self, receipt: Receipt, snapshot: VaultSnapshot, found: Plan, predicted: Settlement
    ) -> Outcome:
        """Hold the vault's books against the policy, to the unit.

        Raises:
            BooksDiffer: they are not what the policy makes of the measured fill.
        """
        mined = read_block(self.rpc, receipt.block_number)
        (after,) = read_vaults(self.rpc, self.system.lens, [self.vault], mined)
        event = next(
            event
            for log_ in receipt.logs
            if (event := self._vault.interface.decode_log(log_)) and event.name == "Rebalanced"
        )
        changes = event.values["changes"]
        fill = Fill(
            sold=tuple(max(0, -change) for change in changes),
            bought=tuple(max(0, change) for change in changes),
        )
        # Prices may have moved between the look and the block it was mined in; the vault used those of the block.
        judged = replace(snapshot, basket=replace(snapshot.basket, prices=after.basket.prices))
        settled = self._settle(judged, found, fill, mined.timestamp)
        if settled.held != after.basket.held or settled.state != after.state:
            raise BooksDiffer(self.vault, receipt.transaction_hash, settled.held, after.basket.held)
        if fill.bought != found.expected_buys_raw or fill.sold != found.sales_raw:
            log.warning(
                "filled_otherwise",
                vault=self.vault,
                expected=found.expected_buys_raw,
                bought=fill.bought,
            )
        return Outcome(
            found,
            receipt,
            fill,
            settled,
            predicted,
            after.loss_left_e18,
            after.turnover_left_e18,
            after,
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM stops after the tick, the second abandons it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(number: int, _frame: FrameType | None) -> None:
            if self._stopping.is_set():
                raise KeyboardInterrupt
            log.info("stopping", signal=signal.Signals(number).name, vault=self.vault)
            self._stopping.set()

        before = {
            number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def explain(snapshot: VaultSnapshot) -> str:
    """What the lens says of a vault, in one sentence."""
    match snapshot.reason:
        case Reason.BAND_BROKEN:
            return f"a weight is {snapshot.drift_bps} bps off its target; a rebalance may run"
        case Reason.CALENDAR_DUE:
            return "the calendar asks for a rebalance, though every weight is inside its band"
        case Reason.IN_BAND:
            return f"every weight is inside its band; the furthest is {snapshot.drift_bps} bps off"
        case Reason.PAUSED:
            return "the guardian has paused rebalancing"
        case Reason.COOLDOWN:
            until = snapshot.state.rebalanced_at + snapshot.policy.cooldown_seconds
            return f"the last rebalance was too recent; the next may run at {until}"
        case Reason.ORACLE_FAULT:
            faults = ", ".join(
                f"{asset.token} {price.fault}"
                for asset, price in zip(snapshot.basket.assets, snapshot.basket.prices, strict=True)
                if price.fault != "None"
            )
            return f"no sound price for {faults}"
        case _:
            return "the basket is worth nothing, or more than can be computed"


def _why_refused(snapshot: VaultSnapshot, refusal: PolicyRefused) -> str:
    """Why the vault would refuse the best plan, in one sentence."""
    if refusal.error != "TooLittleProgress":
        return str(refusal)
    limit_bps = snapshot.slippage_limit_e18 * BPS // E18
    return (
        f"the trades that lose no more than the {limit_bps} bps allowed now, within what is left "
        "of the budgets, are too small to count as progress"
    )
