"""How is a keeper's transaction sent exactly once, whatever is killed in between?

Every intent is journalled before anything is signed, and every signed transaction before it is
sent (`rebalancer.send.journal`), so that at any moment the file says what may be under way.

An epoch of a vault has at most one live attempt, over all accounts. Whoever asks for an epoch that
has one gets that one. An attempt holds one nonce: what is not mined is sent again, or replaced by a
dearer version, or by a cancellation (nothing, sent to oneself), always with the same nonce, so that
of all its versions at most one can ever be mined. A new attempt is made only after the old one
failed for good or was cancelled, and takes the old nonce as long as no block has used it.

An attempt fails when it was never signed, when the node refuses it at first, when a block holds it
as refused by a contract, or when a block holds another transaction with its nonce. A silent node or
a deadline that passed fails nothing: the attempt stays, and is settled later.

Nothing here waits for a block: with one call of `advance` a block, any number of vaults can be served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import structlog

from rebalancer.abi import Call
from rebalancer.chain.l1_fees import read_l1_fees, transaction_bytes
from rebalancer.chain.receipt import Receipt, find_receipt, read_receipt, refusal
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    FeeAboveCap,
    LimitError,
    NonceGap,
    NotCancellable,
    RpcMalformed,
    RpcRejected,
    SimulationDiffers,
    SimulationRefused,
    WrongChain,
)
from rebalancer.send.fees import Fees, Market, bumped, offer, read_market
from rebalancer.send.fence import Fence, NoFence
from rebalancer.send.journal import (
    LIVE,
    OPEN,
    Attempt,
    Intent,
    Journal,
    Kind,
    SignedVersion,
    State,
)
from rebalancer.send.lanes import Lane, as_lane, choose
from rebalancer.send.relay import Relays
from rebalancer.send.signed import Signer
from rebalancer.send.spending import Spending
from rebalancer.send.wallet import check_ether

__all__ = ["Attempt", "Intent", "Outbox", "SendRules", "State"]

log = structlog.get_logger("rebalancer.outbox")

_LATE_RECEIPT_SECONDS = 3.0  # nodes may count a nonce before they have indexed its receipt
_LATE_RECEIPT_BLOCKS = 2
_FIRST_POLL_SECONDS = 0.001  # Anvil mines right after it has answered
_LONGEST_POLL_SECONDS = 1.0
_TRANSFER_GAS = 21_000
_CALLS_A_BATCH = 100
_NOT_ONE = -1
"""A height below every block."""
_ROLLUP_HEADROOM = 2
"""What a rollup charges beside gas may rise until a transaction is mined: an L1 base fee by (9/8)^5 in a minute."""

Check = Callable[[str], None]
"""Asked with the sender right before signing; it raises what is wrong."""


@dataclass(frozen=True)
class SendRules:
    """How an outbox goes about its work."""

    fee_cap_wei: int = 200 * 10**9
    """Most to offer per gas for a version that replaces another; what is offered first is given."""
    bump_after_blocks: int = 3
    """After so many blocks without it a transaction is replaced by a dearer one."""
    confirmations: int | Literal["safe", "finalized"] = 12
    """So many blocks on top of its own make a transaction final, or that its block is not above the one of this tag."""
    least_wait_seconds: float = 12.0
    """However fast blocks come, no transaction is replaced or given up sooner."""


class Outbox:
    """The outbox of one keeper, open in one process at a time. Not to be shared by threads."""

    def __init__(
        self,
        path: Path,
        rules: SendRules | None = None,
        relays: Relays | None = None,
        fence: Fence | None = None,
        spending: Spending | None = None,
    ) -> None:
        """Open the journal, or begin one. `fence` is asked where more than one machine may send, and `spending` where
        the accounts may be another outbox's, too; it is closed with the journal.

        Raises:
            OutboxInUse: another process has it open.
            OutboxUnreadable: the file is damaged, or no outbox of this version.
            OutboxUnwritable: it cannot be made or written.
        """
        self.path = path
        self.rules = rules or SendRules()
        self.relays = relays or Relays()
        self.fence = fence or NoFence()
        self.journal = Journal(path)
        self.spending = spending
        self._lost_at: dict[int, tuple[int, float]] = {}
        """By attempt, at which block and when (`time.monotonic`) its nonce was first seen used without its receipt."""
        self._has_tag = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal and let others have it."""
        self.journal.close()
        if self.spending is not None:
            self.spending.close()

    # What is known

    def attempts(self, chain_id: int) -> list[Attempt]:
        """Every attempt on a chain, oldest first."""
        return self.journal.attempts(chain_id)

    def unsettled(self, chain_id: int) -> list[Attempt]:
        """Attempts on a chain that no block holds and that have not failed, in the order of their nonces."""
        return self.journal.unsettled(chain_id)

    # What is done

    def submit(
        self,
        rpc: Rpc,
        signers: Sequence[Signer],
        intent: Intent,
        fees: Fees | None = None,
        *,
        check: Check | None = None,
        height: int | None = None,
    ) -> Attempt:
        """Plan, sign and send an intent by one of several accounts, and do not wait for it.

        If its epoch has a live attempt, that one is the answer and nothing is signed. `fees` are
        the market's without; `check` is asked right before signing; `height` is the newest block.

        Raises:
            WrongChain: the endpoint serves another chain than the intent is for.
            CallNotAllowed, NoFreeLane: no account may send it now; nothing was journalled.
            LimitError: it would exceed a limit of its key; nothing was signed.
            InsufficientEther: the signer cannot pay for it; nothing was signed.
            SimulationRefused, SimulationDiffers: as `check` raises them; nothing was signed.
            FeeAboveCap: gas is too dear; nothing was signed.
            RpcRejected: the node did not take it.
            RpcUnreachable, RpcTimeout: it may be under way.
            NonceGap: an earlier transaction cannot be mined on this chain.
            OutboxError: the journal cannot be written; nothing was sent.
            FleetError: another machine may send by now; nothing was sent.
        """
        self._check_chain(rpc, intent)
        for attempt in self.unsettled(intent.chain_id):
            if attempt.state in (State.PLANNED, State.SIGNED):
                self._resolve(rpc, attempt)
        earlier = self._earlier(rpc, intent)
        if earlier is not None:
            return earlier
        lane = self._lane(rpc, [as_lane(signer) for signer in signers], intent)
        attempt = self.journal.plan(intent, lane.address)
        try:
            fees = fees or offer(read_market(rpc), self._cap_wei(lane))
            attempt = self._sign_first(rpc, lane, attempt, fees, height, check)
        except (LimitError, SimulationRefused, SimulationDiffers, FeeAboveCap) as refused:
            self.journal.advance(attempt, State.FAILED, note=str(refused))
            raise
        return self._send(rpc, attempt, attempt.newest.height)

    def advance(
        self,
        rpc: Rpc,
        signers: Sequence[Signer],
        height: int,
        epochs: Mapping[str, int] | None = None,
    ) -> list[Attempt]:
        """Bring every attempt on the chain as far as it goes, once a block, without waiting.

        Finds what was mined, makes final what lies deep enough, sends again what a reorg took
        back, replaces what waits too long or pays too little, and cancels what is past its
        deadline or whose epoch, by `epochs` (vault → epoch now), is over. `height` is the newest
        block. Returns those that changed.

        Raises:
            RpcUnreachable, RpcTimeout: the chain cannot be asked; call it again later.
            NonceGap: one of them cannot be mined on this chain.
            OutboxError: the journal cannot be written.
        """
        watched = self.journal.watched(rpc.expected_chain_id or rpc.chain_id())
        if not watched:
            return []
        tour = _Tour(
            rpc, {lane.address: lane for lane in map(as_lane, signers)}, height, epochs or {}
        )
        tour.settled_height = self._settled_height(tour, watched)
        tour.look(watched)
        after = [self._advance(tour, attempt) for attempt in watched]
        final = [attempt for attempt in after if attempt.is_final]
        self.fence.forget(final)
        if self.spending is not None:
            self.spending.settle(final)
        return [now for now, before in zip(after, watched, strict=True) if now != before]

    def cancel(self, rpc: Rpc, signer: Signer, attempt: Attempt, why: str) -> Attempt:
        """Replace an attempt that is under way by nothing, sent to oneself. Does not wait for a block.

        Raises:
            NotCancellable: it is not under way, or another's, or the fee cap leaves no room.
            LimitError: a limit of the key forbids it.
            RpcUnreachable, RpcTimeout: the cancellation may be under way.
        """
        if attempt.state is State.PLANNED:
            return self._resolve(rpc, attempt)
        if attempt.sender != signer.address:
            raise NotCancellable(attempt.id, f"it is {attempt.sender}'s, not {signer.address}'s")
        height = _height(rpc)
        attempt = self._decided(rpc, attempt) or attempt
        if attempt.state not in OPEN:
            raise NotCancellable(attempt.id, f"it is {attempt.state}")
        fees = bumped(attempt.newest.fees, read_market(rpc), self._cap_wei(as_lane(signer)))
        if fees is None:
            raise NotCancellable(attempt.id, "the fee cap leaves no room to replace it")
        attempt = self._replace(rpc, as_lane(signer), attempt, Kind.CANCELLATION, fees, height, why)
        return self._send(rpc, attempt, height)

    def fill(self, rpc: Rpc, signer: Signer, nonce: int, fees: Fees, why: str) -> Attempt:
        """Use a nonce up with nothing, sent to oneself: under the account's own name, with the nonce as epoch.

        Raises:
            As `submit`.
        """
        lane, height = as_lane(signer), _height(rpc)
        address = lane.address
        intent = Intent(rpc.chain_id(), address, nonce, address, "0x", _TRANSFER_GAS, why)
        for attempt in self.journal.of_epoch(intent.chain_id, address, nonce):
            if attempt.state is State.PLANNED:
                self._resolve(rpc, attempt)
            elif attempt.state in OPEN:
                # The same offer would be the same transaction, which is sent again as it is.
                if fees not in {version.fees for version in attempt.versions}:
                    attempt = self._replace(rpc, lane, attempt, Kind.BUMP, fees, height, why)  # noqa: PLW2901 (the same one)
                return self._send(rpc, attempt, height)
        attempt = self.journal.plan(intent, address)
        attempt = self._sign(rpc, lane, attempt, Kind.ORIGINAL, nonce, fees, height)
        return self._send(rpc, attempt, height)

    def resume(self, rpc: Rpc) -> list[Attempt]:
        """Settle what an earlier run left unsettled on this chain, without waiting for a block.

        What was planned and not signed is given up, what was signed is sent again unless a block
        has it. Returns what was unsettled, as it stands now.

        Raises:
            NonceGap: one of them cannot be mined on this chain.
        """
        return [self._resolve(rpc, attempt) for attempt in self.unsettled(rpc.chain_id())]

    # One step each

    def _earlier(self, rpc: Rpc, intent: Intent) -> Attempt | None:
        """The live attempt of an epoch, None if there is none or all came to nothing."""
        for attempt in self.journal.of_epoch(intent.chain_id, intent.vault, intent.epoch):
            if attempt.state in LIVE:
                return attempt
            if attempt.state is State.FAILED and attempt.block_number is None:
                # One node refused it: another may have taken it.
                receipt = self._found(rpc, attempt)
                if receipt is not None:
                    closed = self._close(rpc, attempt, receipt)
                    if closed.state in LIVE:
                        return closed
        return None

    def _lane(self, rpc: Rpc, lanes: Sequence[Lane], intent: Intent) -> Lane:
        """Who sends an intent: whoever tried before and may still be mined, else who has the least to do."""
        for failed in self.journal.of_epoch(intent.chain_id, intent.vault, intent.epoch):
            if failed.nonce is None or failed.block_number is not None:
                continue
            again = [lane for lane in lanes if lane.address == failed.sender]
            if again and self._count(rpc, failed.sender, "latest") <= failed.nonce:
                again[0].limits.check_call(failed.sender, intent.to, intent.data)
                return again[0]
        under_way: dict[str, int] = {}
        for attempt in self.unsettled(intent.chain_id):
            under_way[attempt.sender] = under_way.get(attempt.sender, 0) + 1
        return choose(lanes, under_way, intent.vault, intent.to, intent.data)

    def _sign_first(
        self,
        rpc: Rpc,
        lane: Lane,
        attempt: Attempt,
        fees: Fees,
        height: int | None,
        check: Check | None,
    ) -> Attempt:
        intent = attempt.intent
        height = _height(rpc) if height is None else height
        beside_wei = _beside_gas_wei(rpc, height, intent.data, intent.gas_limit)
        check_ether(rpc, lane.address, intent.gas_limit * fees.max_fee_per_gas_wei + beside_wei)
        nonce = self._next_nonce(rpc, attempt)
        if check is not None:
            check(lane.address)
        return self._sign(rpc, lane, attempt, Kind.ORIGINAL, nonce, fees, height)

    def _sign(
        self,
        rpc: Rpc,
        lane: Lane,
        attempt: Attempt,
        kind: Kind,
        nonce: int,
        fees: Fees,
        height: int,
        why: str = "",
    ) -> Attempt:
        """Sign one version within the key's limits, and journal it and why."""
        intent = attempt.intent
        cancels = kind is Kind.CANCELLATION
        gas_limit = _TRANSFER_GAS if cancels else intent.gas_limit
        data = "0x" if cancels else intent.data
        beside_wei = _beside_gas_wei(rpc, height, data, gas_limit)
        counted = max((version.worst_cost_wei for version in attempt.versions), default=0)
        account, now = (intent.chain_id, lane.address), int(time.time())
        lane.limits.check_spend(
            lane.address,
            self._spent_wei(*account, now),
            max(0, gas_limit * fees.max_fee_per_gas_wei + beside_wei - counted),
        )
        self.fence.check(intent.chain_id, lane.address)
        signed = lane.sign(
            {
                "type": 2,
                "chainId": intent.chain_id,
                "nonce": nonce,
                "to": lane.address if cancels else intent.to,
                "data": data,
                "value": 0,
                "gas": gas_limit,
                "maxFeePerGas": fees.max_fee_per_gas_wei,
                "maxPriorityFeePerGas": fees.max_priority_fee_per_gas_wei,
            }
        )
        version = SignedVersion(signed.raw, signed.hash, gas_limit, fees, beside_wei)
        return self.journal.add_version(attempt, kind, nonce, height, version, why)

    def _spent_wei(self, chain_id: int, sender: str, now: int) -> int:
        """What an account spent within 24 hours, and may yet: from here, from other machines, and from other outboxes here."""
        spent_wei = self.journal.spent_wei(chain_id, sender, now)
        spent_wei += self.fence.spent_elsewhere_wei(chain_id, sender, now)
        if self.spending is not None:
            mine = self.journal.known_nonces(chain_id, sender, 0)
            spent_wei += self.spending.elsewhere_wei(chain_id, sender, now, mine)
        return spent_wei

    def _replace(
        self, rpc: Rpc, lane: Lane, attempt: Attempt, kind: Kind, fees: Fees, height: int, why: str
    ) -> Attempt:
        """Sign a version that replaces the others; a cancellation is replaced by nothing else."""
        if attempt.newest.kind is Kind.CANCELLATION:
            kind, why = Kind.CANCELLATION, attempt.note
        return self._sign(rpc, lane, attempt, kind, _nonce(attempt), fees, height, why)

    def _send(self, rpc: Rpc, attempt: Attempt, height: int) -> Attempt:
        """Send an attempt's newest version, for the first time or again: for the node it is the same.

        Raises:
            NonceGap: transactions before it are missing, and nobody here has them.
            RpcRejected: it was refused at first, nobody has it, and it has failed.
        """
        expected = self._count(rpc, attempt.sender, "pending")
        nonce = _nonce(attempt)
        if nonce > expected and not self._covered(attempt, expected):
            raise NonceGap(str(attempt.transaction_hash), nonce, expected)
        self.fence.store(attempt)
        if self.spending is not None:
            self.spending.store(attempt)
        try:
            self.relays.send(self.journal, rpc, attempt, height)
        except RpcRejected as rejection:
            # Nodes word "I have it already" in many ways, so they are asked instead of read.
            if rpc.call("eth_getTransactionByHash", attempt.newest.transaction_hash) is None:
                if attempt.state is State.SIGNED and not self._precedes_others(attempt):
                    self.journal.advance(attempt, State.FAILED, note=str(rejection))
                    raise
                return self.journal.annotate(attempt, str(rejection))
        if attempt.state is State.SIGNED:
            return self.journal.advance(attempt, State.SENT)
        return self.journal.get(attempt.id)

    def _found(self, rpc: Rpc, attempt: Attempt) -> Receipt | None:
        """The receipt of whichever version a block holds."""
        for version in reversed(attempt.versions):
            receipt = find_receipt(rpc, version.transaction_hash)
            if receipt is not None:
                return receipt
        return None

    def _close(self, rpc: Rpc, attempt: Attempt, receipt: Receipt) -> Attempt:
        """Journal that a block holds one of an attempt's versions."""
        (version,) = (
            one for one in attempt.versions if one.transaction_hash == receipt.transaction_hash
        )
        if version.kind is Kind.CANCELLATION:
            state, note = State.CANCELLED, attempt.note
        elif receipt.succeeded:
            state, note = State.MINED, ""
        else:
            state, note = State.FAILED, str(refusal(rpc, receipt))
        if state is State.MINED and self._superseded(attempt):
            state, note = State.FAILED, "another attempt has taken its place"
        held = (attempt.state, attempt.block_hash, attempt.mined_hash)
        if held in (
            (state, receipt.block_hash, receipt.transaction_hash),
            (State.FINAL, receipt.block_hash, receipt.transaction_hash),
        ):
            return attempt
        return self.journal.hold(attempt, state, receipt, note)

    def _superseded(self, attempt: Attempt) -> bool:
        """Whether a later attempt at the same epoch is live."""
        key = (attempt.intent.chain_id, attempt.intent.vault, attempt.intent.epoch)
        return any(
            other.id != attempt.id and other.state in LIVE for other in self.journal.of_epoch(*key)
        )

    def _resolve(self, rpc: Rpc, attempt: Attempt) -> Attempt:
        """Bring an attempt of an earlier call as far as it goes without waiting for a block."""
        if attempt.state is State.PLANNED:
            return self.journal.advance(attempt, State.FAILED, note="it was never signed")
        decided = self._decided(rpc, attempt)
        if decided is not None:
            return decided
        try:
            return self._send(rpc, attempt, _height(rpc))
        except RpcRejected:
            log.warning("attempt_refused", tx=attempt.transaction_hash)
        return self.journal.get(attempt.id)

    def _decided(self, rpc: Rpc, attempt: Attempt) -> Attempt | None:
        """What a block made of an attempt, by one of its versions or by another's transaction; None if none did."""
        receipt = self._found(rpc, attempt)
        if receipt is None and self._count(rpc, attempt.sender, "latest") > _nonce(attempt):
            receipt = self._found_late(rpc, attempt)
            if receipt is None:
                return self._void(attempt)
        return None if receipt is None else self._close(rpc, attempt, receipt)

    def _found_late(self, rpc: Rpc, attempt: Attempt) -> Receipt | None:
        deadline = time.monotonic() + _LATE_RECEIPT_SECONDS
        pause = _FIRST_POLL_SECONDS
        while time.monotonic() + pause < deadline:
            time.sleep(pause)
            receipt = self._found(rpc, attempt)
            if receipt is not None:
                return receipt
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)
        return None

    def _void(self, attempt: Attempt) -> Attempt:
        note = "a block holds another transaction with its nonce"
        return self.journal.advance(attempt, State.FAILED, note=note)

    def _taken_back(self, attempt: Attempt) -> Attempt:
        """Journal a reorg. What failed or was cancelled stays so if another attempt took its place."""
        log.warning("taken_back", tx=attempt.mined_hash, block=attempt.block_number)
        note = "a reorg took its block back"
        state = attempt.standing
        if attempt.state is State.FAILED and self._superseded(attempt):
            state = State.FAILED
        elif attempt.state is State.CANCELLED:
            state = State.CANCELLING if not self._superseded(attempt) else State.FAILED
        return self.journal.take_back(attempt, state, note)

    # One attempt, one block

    def _advance(self, tour: _Tour, attempt: Attempt) -> Attempt:
        if attempt.state is State.PLANNED:
            return self.journal.advance(attempt, State.FAILED, note="it was never signed")
        if attempt.block_number is not None:
            return self._advance_held(tour, attempt)
        receipt = tour.receipt(attempt)
        if receipt is not None:
            self._lost_at.pop(attempt.id, None)
            return self._close(tour.rpc, attempt, receipt)
        failed = attempt.state is State.FAILED
        if tour.counts[attempt.sender] > _nonce(attempt):
            # Its receipt may only be late: some blocks and some time more, and it is somebody else's.
            if failed:
                lost = self._is_lost_for(attempt, tour.height, 0)
                final = lost and self._lost_at[attempt.id][0] <= tour.settled_height
                return self.journal.finalise(attempt) if final else attempt
            lost = self._is_lost_for(attempt, tour.height, _LATE_RECEIPT_BLOCKS)
            return self._void(attempt) if lost else attempt
        if failed:
            return attempt
        if attempt.state is State.SIGNED:
            return self._sent_again(tour, attempt)
        return self._urged(tour, attempt)

    def _settled_height(self, tour: _Tour, watched: Sequence[Attempt]) -> int:
        """The highest block that is final by the rules; below all where the node has no block of the tag: then nothing becomes final.

        No number of blocks stands in for a tag: whoever asks for one has said that numbers will not do.
        """
        tag = self.rules.confirmations
        if isinstance(tag, int):
            return tour.height - tag
        if all(one.block_number is None and one.state is not State.FAILED for one in watched):
            return _NOT_ONE  # nothing is held, so nobody asks
        try:
            block = tour.rpc.call("eth_getBlockByNumber", tag, False)
            why = "it has none" if block is None else ""
        except (RpcRejected, RpcMalformed) as refused:
            block, why = None, str(refused)
        if block is None:
            if self._has_tag:
                log.warning("no_block_of_tag", tag=tag, endpoint=tour.rpc.endpoint, why=why)
            self._has_tag = False
            return _NOT_ONE
        self._has_tag = True
        return int(block["number"], 16)

    def _is_lost_for(self, attempt: Attempt, height: int, blocks: int) -> bool:
        """Whether an attempt's nonce is used and its receipt has been missing for that many blocks, and for `least_wait_seconds`."""
        now = time.monotonic()
        at, since = self._lost_at.setdefault(attempt.id, (height, now))
        return height - at >= blocks and now - since >= self.rules.least_wait_seconds

    def _advance_held(self, tour: _Tour, attempt: Attempt) -> Attempt:
        """What becomes of an attempt that a block holds."""
        number = attempt.block_number or 0
        if tour.hashes[number] == attempt.block_hash:
            if tour.receipt(attempt) is None:
                # The block stays and its receipt is gone: a node that lags, or one that told of what never was.
                if not self._is_lost_for(attempt, tour.height, _LATE_RECEIPT_BLOCKS):
                    return attempt
            else:
                self._lost_at.pop(attempt.id, None)
                if number <= tour.settled_height:
                    return self.journal.finalise(attempt)
                return attempt
        receipt = self._found(tour.rpc, attempt)
        if receipt is not None:
            return self._close(tour.rpc, attempt, receipt)
        self._lost_at.pop(attempt.id, None)
        return self._sent_again(tour, self._taken_back(attempt))

    def _sent_again(self, tour: _Tour, attempt: Attempt) -> Attempt:
        try:
            return self._send(tour.rpc, attempt, tour.height)
        except RpcRejected:
            log.warning("attempt_refused", tx=attempt.transaction_hash)
        return self.journal.get(attempt.id)

    def _urged(self, tour: _Tour, attempt: Attempt) -> Attempt:
        """Cancel, replace, or send again what is not mined, if it is time."""
        lane = tour.lanes.get(attempt.sender)
        if lane is None:
            return attempt  # its key is not here
        why = tour.obsolete(attempt)
        newest = attempt.newest
        cancelling = newest.kind is Kind.CANCELLATION
        if why and not cancelling:
            return self._outbid(tour, lane, attempt, Kind.CANCELLATION, why)
        if newest.height >= tour.height:
            return attempt
        if time.time() < newest.signed_at + self.rules.least_wait_seconds:
            return attempt
        if tour.height - newest.height >= self.rules.bump_after_blocks:
            why = f"not mined within {tour.height - newest.height} blocks"
            return self._outbid(tour, lane, attempt, Kind.BUMP, why)
        if newest.fees.max_fee_per_gas_wei < tour.market.base_fee_wei:
            return self._outbid(tour, lane, attempt, Kind.BUMP, "gas costs more than it offers")
        return attempt

    def _outbid(self, tour: _Tour, lane: Lane, attempt: Attempt, kind: Kind, why: str) -> Attempt:
        """Replace an attempt's newest version, or say why that cannot be and send it again."""
        cap_wei = self._cap_wei(lane)
        fees = bumped(attempt.newest.fees, tour.market, cap_wei)
        if fees is None:
            note = f"{why}, and its fee is at the cap of {cap_wei} wei per gas"
            return self._sent_again(tour, self.journal.annotate(attempt, note))
        try:
            attempt = self._replace(tour.rpc, lane, attempt, kind, fees, tour.height, why)
        except LimitError as limit:
            return self._sent_again(tour, self.journal.annotate(attempt, str(limit)))
        return self._sent_again(tour, attempt)

    def _cap_wei(self, lane: Lane) -> int:
        limit_wei = lane.limits.max_fee_per_gas_wei
        cap_wei = self.rules.fee_cap_wei
        return cap_wei if limit_wei is None else min(cap_wei, limit_wei)

    # Nonces

    def _next_nonce(self, rpc: Rpc, attempt: Attempt) -> int:
        """The nonce for a new attempt: the chain's next one, or that of a failed one it replaces.

        Raises:
            NonceGap: the journal has a later one as mined, so this is not the chain it was mined on.
        """
        sender, chain_id = attempt.sender, attempt.intent.chain_id
        under_way = {
            other.nonce
            for other in self.journal.unsettled(chain_id, sender)
            if other.nonce is not None
        }
        nonce = max(self._count(rpc, sender, "pending"), 1 + max(under_way, default=-1))
        highest = self.journal.highest_nonce(chain_id, sender)
        if highest is not None and _nonce(highest) >= nonce:
            raise NonceGap(str(highest.transaction_hash), _nonce(highest), nonce)
        # Some node may still have an earlier attempt: it must not be mined beside this one.
        unused = range(self._count(rpc, sender, "latest"), nonce)
        for failed in self.journal.of_epoch(chain_id, attempt.intent.vault, attempt.intent.epoch):
            replaceable = failed.sender == sender and failed.nonce not in under_way
            if replaceable and failed.nonce is not None and failed.nonce in unused:
                return failed.nonce
        return nonce

    def _covered(self, attempt: Attempt, expected: int) -> bool:
        """Whether all nonces from the chain's next one up to an attempt's are journalled as sent."""
        sent = {
            other.nonce
            for other in self.journal.unsettled(attempt.intent.chain_id, attempt.sender)
            if other.state not in (State.PLANNED, State.SIGNED)
        }
        return sent.issuperset(range(expected, _nonce(attempt)))

    def _precedes_others(self, attempt: Attempt) -> bool:
        """Whether later nonces wait for this one."""
        return any(
            (other.nonce or 0) > _nonce(attempt)
            for other in self.journal.unsettled(attempt.intent.chain_id, attempt.sender)
        )

    def _count(self, rpc: Rpc, sender: str, block: str) -> int:
        return int(rpc.call("eth_getTransactionCount", sender, block), 16)

    @staticmethod
    def _check_chain(rpc: Rpc, intent: Intent) -> None:
        actual = rpc.chain_id()
        if actual != intent.chain_id:
            raise WrongChain(intent.chain_id, actual)


class _Tour:
    """One block's round of all attempts: what the chain says of them, asked in a few requests."""

    def __init__(
        self, rpc: Rpc, lanes: Mapping[str, Lane], height: int, epochs: Mapping[str, int]
    ) -> None:
        self.rpc = rpc
        self.lanes = lanes
        self.height = height
        self.settled_height = _NOT_ONE
        self.counts: dict[str, int] = {}
        self.hashes: dict[int, str | None] = {}
        self._epochs = epochs
        self._receipts: dict[str, Receipt] = {}
        self._market: Market | None = None

    def look(self, attempts: Sequence[Attempt]) -> None:
        """Ask for the counts of all senders, the receipts of all that is open or held, the blocks that hold it."""
        senders = sorted({one.sender for one in attempts})
        numbers = sorted({one.block_number for one in attempts if one.block_number is not None})
        # A set: an epoch that is tried anew may be signed to the very same bytes.
        hashes = sorted(
            {
                version.transaction_hash
                for one in attempts
                for version in one.versions
                if one.mined_hash in (None, version.transaction_hash)
            }
        )
        # Counts first: a count that was read before the receipts never outruns them.
        calls: list[Call] = [("eth_getTransactionCount", [a, "latest"]) for a in senders]
        calls += [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        calls += [("eth_getTransactionReceipt", [tx]) for tx in hashes]
        answers: list[Any] = []
        for first in range(0, len(calls), _CALLS_A_BATCH):
            answers += self.rpc.batch(calls[first : first + _CALLS_A_BATCH])
        rest = iter(answers)
        self.counts = {sender: int(next(rest), 16) for sender in senders}
        self.hashes = {number: (next(rest) or {}).get("hash") for number in numbers}
        found = {tx: read_receipt(self.rpc, next(rest)) for tx in hashes}
        self._receipts = {tx: one for tx, one in found.items() if one is not None}

    def receipt(self, attempt: Attempt) -> Receipt | None:
        """The receipt of whichever version a block holds."""
        for version in attempt.versions:
            if version.transaction_hash in self._receipts:
                return self._receipts[version.transaction_hash]
        return None

    def obsolete(self, attempt: Attempt) -> str:
        """Why an attempt that is not mined is no longer wanted, "" if it is."""
        intent = attempt.intent
        if intent.deadline_block is not None and self.height > intent.deadline_block:
            return f"its deadline, block {intent.deadline_block}, has passed"
        now = self._epochs.get(intent.vault)
        if now is not None and now > intent.epoch >= 0:
            return f"the vault's epoch is {now} by now"
        return ""

    @property
    def market(self) -> Market:
        """What gas costs now, asked once and only if somebody wants to know."""
        if self._market is None:
            self._market = read_market(self.rpc)
        return self._market


def _beside_gas_wei(rpc: Rpc, height: int, data: str, gas: int) -> int:
    """The most that a rollup may charge a transaction beside its gas.

    Raises:
        L1FeeUnknown: the chain does not tell.
    """
    fees = read_l1_fees(rpc, height)
    return _ROLLUP_HEADROOM * fees.beside_gas_wei(transaction_bytes(data), gas)


def _height(rpc: Rpc) -> int:
    return int(rpc.call("eth_blockNumber"), 16)


def _nonce(attempt: Attempt) -> int:
    """The nonce of an attempt that was signed."""
    if attempt.nonce is None:
        raise AssertionError(f"attempt {attempt.id} is {attempt.state} and has no nonce")
    return attempt.nonce
