"""Dispatch of verdicts: transactions for the vaults, handed to the outbox.

Every transaction is simulated first. If the chain rejects a rebalance because of pools, the vault is planned again at
once without these pools, while the tick has time. Every vault gets a decision with a reason, whether or not anything is
sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rebalancer.abi import Contract
from rebalancer.block import Block
from rebalancer.chain.endpoints import Endpoints
from rebalancer.chain.interfaces import interface
from rebalancer.chain.snapshot import VaultSnapshot, decode_vaults, read_block
from rebalancer.errors import (
    ContractReverted,
    EndpointsDisagree,
    FeeAboveCap,
    InsufficientEther,
    LimitError,
    RpcRejected,
    SignerUnavailable,
    SimulationDiffers,
    SimulationRefused,
)
from rebalancer.keeper.authority import Authority
from rebalancer.keeper.breaker import VaultBreakers
from rebalancer.keeper.context import KeeperOptions
from rebalancer.keeper.decide import Action, Conditions, Verdict, wants_plan
from rebalancer.keeper.decision import Decision
from rebalancer.keeper.inflight import InFlight
from rebalancer.keeper.pool_faults import PoolFaults, uses
from rebalancer.keeper.resources import KeeperResources
from rebalancer.keeper.swaps import rebalance_data
from rebalancer.reasons import Reason
from rebalancer.send.attempt import Intent
from rebalancer.send.costs import estimate_gas
from rebalancer.send.delivery import Check
from rebalancer.send.fees import suggest
from rebalancer.send.relay import PRIVATE_METHOD, RAW_METHOD
from rebalancer.send.simulate import message
from rebalancer.words import utc

__all__ = ["Dispatch", "DispatchInputs", "call_data"]

_SHOWN = 5
"""Most left-out pools that a decision lists."""
_MOST_REPLANS = 5
"""Most plans for a vault in one tick, each with more pools left out."""
_POKE_BLOCKS = 20
"""A poke or sync that is not mined after this many blocks is cancelled; a later tick decides again."""


@dataclass(frozen=True, slots=True)
class DispatchInputs:
    """Inputs that all vaults of a tick share. `halted` are the vaults with open breakers, each with the cause."""

    block: Block
    conditions: Conditions
    options: KeeperOptions
    halted: Mapping[str, str]


class Dispatch:
    """Hands transactions for the vaults of one chain to an outbox; without an outbox it sends nothing. Not
    thread-safe."""

    def __init__(
        self,
        resources: KeeperResources,
        authority: Authority,
        breakers: VaultBreakers,
        pool_faults: PoolFaults,
        in_flight: InFlight,
    ) -> None:
        self._rpc, self._context = resources.rpc, resources.context
        self._signers, self._outbox = resources.signers, resources.outbox
        self._evaluator, self._simulator = resources.evaluator, resources.simulator
        self._authority = authority
        self._breakers = breakers
        self._pool_faults = pool_faults
        self._in_flight = in_flight
        self._sent_now = 0
        self._overtaken: dict[str, int] = {}
        """Consecutive refusals that a newer block has overtaken, by vault."""

    def decisions(self, at: DispatchInputs, verdicts: Sequence[Verdict]) -> Iterator[Decision]:
        """Execute the verdicts one after another until the RPC deadline of the tick.

        Raises:
            ChainError: the chain could not be read or a transaction not sent; a later tick completes what is
                unfinished.
        """
        self._sent_now = 0
        until = self._rpc.deadline
        for verdict in verdicts:
            now = time.monotonic()
            if until is None or now <= until:
                # A vault that is begun in time may finish.
                self._rpc.deadline = until and max(until, now + self._rpc.timeout_s)
                yield self._act(at, verdict)
            else:
                yield self._too_late(at, verdict)

    def _act(self, at: DispatchInputs, verdict: Verdict) -> Decision:
        """Execute one verdict."""
        if verdict.vault in at.halted:
            return _decision(at.block, verdict, Reason.HALTED, at.halted[verdict.vault])
        match verdict.step:
            case Action.REBALANCE if self._authority.must_wait(verdict.snapshot, at.block):
                if not verdict.snapshot.state.due_since:
                    return self._poke(at, verdict)  # the stamp starts the exclusive time of its keepers
                until = utc(verdict.snapshot.opens_at)
                text = f"only the vault's own keepers may rebalance it until {until}"
                return _decision(at.block, verdict, Reason.NOT_YET, text)
            case Action.REBALANCE:
                return self._trade(at, verdict)
            case Action.POKE:
                return self._poke(at, verdict)
            case Action.SYNC:
                return self._sync(at, verdict)
            case _:
                text = self._explained(at.block, verdict)
                return _decision(at.block, verdict, verdict.reason, text)

    def _explained(self, block: Block, verdict: Verdict) -> str:
        """Why nothing is traded, with the left-out pools if the vault was planned."""
        left_out = [one.subject for one in self._pool_faults.left_out(block)]
        if not left_out or not wants_plan(verdict.snapshot):
            return verdict.text
        more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        return f"{verdict.text}; pools left out: {', '.join(left_out[:_SHOWN])}{more}"

    def _too_late(self, at: DispatchInputs, verdict: Verdict) -> Decision:
        """Decision for a vault the tick had no time to process. The next tick takes it first, because the others are in
        flight."""
        if verdict.step is Action.NOTHING:
            return self._act(at, verdict)
        text = "the tick had no time left to send it"
        return _decision(at.block, verdict, Reason.NOT_YET, text)

    def _trade(self, at: DispatchInputs, verdict: Verdict) -> Decision:
        """Rebalance. If pools reject their swaps, plan again without these pools, while there is time."""
        until = self._rpc.deadline
        for _ in range(_MOST_REPLANS):
            without = self._pool_faults.without(at.block, verdict.vault)
            if verdict.plan is not None and uses(verdict.plan, without):
                if until is not None and time.monotonic() > until:
                    break
                found = self._evaluator.again(verdict.snapshot, at.conditions, without)
                if found is None:
                    break
                verdict = found
                if verdict.step is not Action.REBALANCE:
                    return self._act(at, verdict)
            try:
                decision = self._rebalance(at, verdict)
            except _RefusedError as refused:
                if not refused.is_alone or not self._pool_faults.blame(at.block, at.conditions, verdict, refused.why):
                    return self._refused(at, verdict, refused.why)
            else:
                self._pool_faults.worked(verdict)
                return decision
            self._rpc.deadline = until
        text = "some pools rejected their swaps; the vault is planned again at the next block without these pools"
        return _decision(at.block, verdict, Reason.NOT_YET, text)

    def _rebalance(self, at: DispatchInputs, verdict: Verdict) -> Decision:
        plan, snapshot = verdict.plan, verdict.snapshot
        if plan is None or plan.settlement is None:
            raise AssertionError("a plan without a settlement must not be sent")
        data = rebalance_data(snapshot, plan, self._context.system.executor)
        sale = (plan.sales_raw, plan.min_buys_raw)
        return self._send(at, verdict, snapshot.state.epoch, data, None, sale)

    def _poke(self, at: DispatchInputs, verdict: Verdict) -> Decision:
        """Send a poke: the vault stamps, or clears, the time since when a rebalance is due."""
        return self._send_beside(at, verdict, _poke_data(verdict))

    def _sync(self, at: DispatchInputs, verdict: Verdict) -> Decision:
        """Send a sync: the vault writes down the loss of the first asset with one. Other assets follow at later
        blocks."""
        return self._send_beside(at, verdict, _sync_data(verdict))

    def _send_beside(self, at: DispatchInputs, verdict: Verdict, data: str) -> Decision:
        """Send a transaction that ends no epoch; it is journalled under the negative block number."""
        deadline = at.block.number + _POKE_BLOCKS
        try:
            return self._send(at, verdict, -at.block.number, data, deadline, None)
        except _RefusedError as refused:
            return self._refused(at, verdict, refused.why)

    def _send(
        self,
        at: DispatchInputs,
        verdict: Verdict,
        epoch: int,
        data: str,
        deadline_block: int | None,
        sale: tuple[Sequence[int], Sequence[int]] | None,
    ) -> Decision:
        """Hand a transaction to the outbox; return the decision, also if a limit blocks it.

        Raises:
            _RefusedError: the chain would reject the transaction.
        """
        block, vault, text = at.block, verdict.vault, verdict.text
        try:
            gas_limit = estimate_gas(self._rpc, self._signers[0].address, vault, data)
        except ContractReverted as refusal:
            raise _RefusedError(f"the chain would reject it: {refusal}") from None
        intent = Intent(*(self._context.chain_id, vault, epoch, vault, data, gas_limit, text, deadline_block))
        if at.options.dry_run or self._outbox is None:
            would = text if sale else f"would {intent.kind}: {text}"
            return _decision(block, verdict, Reason.DRY_RUN, would)
        if sale:
            self._confirm(verdict.snapshot, block)
        self._rpc.deadline = None  # sending has its own time limit
        check: Check | None = None
        others: list[dict[str, str]] = []
        if sale:
            others = [
                message(one.sender, one.intent.to, one.intent.data, one.intent.gas_limit)
                for one in self._outbox.unsettled(self._context.chain_id)
            ]
            check = self._simulator.check_rebalance(vault, data, gas_limit, *sale, others)
        try:
            fees = suggest(self._rpc, at.options.fee_cap_wei)
            attempt = self._outbox.submit(self._rpc, self._signers, intent, fees, check=check, height=block.number)
        except (SimulationRefused, SimulationDiffers) as refused:
            raise _RefusedError(str(refused), is_alone=not others) from None
        except (LimitError, FeeAboveCap, InsufficientEther, SignerUnavailable) as limit:
            return _decision(block, verdict, Reason.NOT_SENT, str(limit))
        except RpcRejected as rejected:
            if rejected.method not in (RAW_METHOD, PRIVATE_METHOD):
                raise  # a problem of the endpoint, not of the vault
            self._in_flight.rejected(vault, epoch)
            self._breakers.failed(vault, str(rejected))
            return _decision(block, verdict, Reason.NOT_SENT, str(rejected))
        self._overtaken.pop(vault, None)
        self._in_flight.sent(attempt, verdict)
        self._sent_now += 1
        return replace(_decision(block, verdict, Reason.IN_FLIGHT, text, attempt.transaction_hash), kind=intent.kind)

    def _confirm(self, snapshot: VaultSnapshot, block: Block) -> None:
        """Check that a quorum of endpoints has the vault and prices that the plan was made from.

        Raises:
            EndpointsDisagree, QuorumTooSmall: there is no such quorum.
        """
        if not isinstance(self._rpc, Endpoints) or self._rpc.quorum == 1:
            return
        lens = interface("VaultLens").at(self._context.system.lens)
        (answer,) = self._rpc.confirm([lens.request("read", [snapshot.address], block=block.hash)])
        (confirmed,) = decode_vaults(lens.result("read", answer), block.timestamp)
        if confirmed != snapshot:
            self._evaluator.doubt(snapshot.address)
            raise EndpointsDisagree(
                "VaultLens.read", "the endpoint that the plan is from", f"{self._rpc.quorum} others"
            )

    def _refused(self, at: DispatchInputs, verdict: Verdict, why: str) -> Decision:
        """Decision after a failed simulation. It counts as a failure only on the newest block and without other
        transactions."""
        if self._sent_now or (self._outbox is not None and self._outbox.unsettled(self._context.chain_id)):
            text = f"it is planned again after the transactions of other vaults: {why}"
            return _decision(at.block, verdict, Reason.NOT_YET, text)
        if read_block(self._rpc).number != at.block.number:
            overtaken = self._overtaken.get(verdict.vault, 0) + 1
            self._overtaken[verdict.vault] = overtaken
            # If blocks arrive faster than ticks end, every refusal is overtaken; after several, the plan is to blame.
            if overtaken < at.options.max_consecutive_failures:
                text = f"it is planned again at the newer block that arrived: {why}"
                return _decision(at.block, verdict, Reason.NOT_YET, text)
        self._breakers.failed(verdict.vault, why)
        return _decision(at.block, verdict, Reason.SIMULATION_REFUSED, why)


class _RefusedError(Exception):
    """The chain would reject a transaction. `is_alone`: on the newest block, without other transactions in flight."""

    def __init__(self, why: str, *, is_alone: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.is_alone = is_alone


def call_data(verdict: Verdict, executor: str) -> str | None:
    """Call data for the vault of a verdict, with the route executor at an address; None if the verdict sends
    nothing."""
    match verdict.step:
        case Action.REBALANCE if verdict.plan is not None:
            return rebalance_data(verdict.snapshot, verdict.plan, executor)
        case Action.POKE:
            return _poke_data(verdict)
        case Action.SYNC:
            return _sync_data(verdict)
        case _:
            return None


def _poke_data(verdict: Verdict) -> str:
    return _vault(verdict).data("poke")


def _sync_data(verdict: Verdict) -> str:
    missing_raw = verdict.snapshot.missing_raw
    return _vault(verdict).data("sync", next(i for i, missing in enumerate(missing_raw) if missing))


def _vault(verdict: Verdict) -> Contract:
    return interface("BasketVault").at(verdict.vault)


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
