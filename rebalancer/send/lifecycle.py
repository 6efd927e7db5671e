"""Lifecycle of attempts that were signed: mined, replaced, cancelled, taken back by a reorg, and at last final.

An attempt fails when it was never signed, when the node refuses it at first, when a block holds it
as refused by a contract, or when a block holds another transaction with its nonce. A silent node or
a deadline that passed fails nothing: the attempt stays, and is settled later.

No new attempt is made here, and an attempt keeps its nonce.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from rebalancer.chain.receipt import Receipt, refusal
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import LimitError, RpcMalformed, RpcRejected
from rebalancer.send.attempt import LIVE, Attempt, AttemptState, Kind
from rebalancer.send.block_view import BlockView, find_mined, newest_height, nonce_count
from rebalancer.send.delivery import Delivery
from rebalancer.send.fees import bumped
from rebalancer.send.journal import Journal
from rebalancer.send.sender_accounts import SenderAccount

__all__ = ["Lifecycle", "SendRules"]

log = structlog.get_logger("rebalancer.outbox")

_LATE_RECEIPT_SECONDS = 3.0  # nodes may count a nonce before they have indexed its receipt
_LATE_RECEIPT_BLOCKS = 2
_FIRST_POLL_SECONDS = 0.001  # Anvil mines right after it has answered
_LONGEST_POLL_SECONDS = 1.0
_NOT_ONE = -1
"""A height below every block."""


@dataclass(frozen=True)
class SendRules:
    """How an outbox goes about its work."""

    fee_cap_wei: int = 200 * 10**9
    """Most to offer per gas for a version that replaces another; what is offered first is given."""
    bump_after_blocks: int = 3
    """After so many blocks without it a transaction is replaced by a dearer one."""
    confirmations: int | Literal["safe", "finalized"] = 12
    """So many blocks on top of its own make a transaction final, or that its block is not above the one of this tag."""
    min_pending_seconds: float = 12.0
    """However fast blocks come, no transaction is replaced or given up sooner."""


class Lifecycle:
    """Brings a journal's attempts as far as they go, by the rules."""

    def __init__(self, journal: Journal, delivery: Delivery, rules: SendRules) -> None:
        self.journal = journal
        self.delivery = delivery
        self.rules = rules
        self._lost_at: dict[int, tuple[int, float]] = {}
        """By attempt, at which block and when (`time.monotonic`) its nonce was first seen used without its receipt."""
        self._has_tag = True

    def cap_wei(self, sender: SenderAccount) -> int:
        """Most that an account may offer per gas for a version that replaces another."""
        limit_wei = sender.limits.max_fee_per_gas_wei
        cap_wei = self.rules.fee_cap_wei
        return cap_wei if limit_wei is None else min(cap_wei, limit_wei)

    def advance(
        self,
        rpc: Rpc,
        senders: Mapping[str, SenderAccount],
        height: int,
        epochs: Mapping[str, int],
        attempts: Sequence[Attempt],
    ) -> list[Attempt]:
        """Each of several attempts, all of one chain, as far as it goes at the newest block, without waiting.

        Raises:
            RpcUnreachable, RpcTimeout: the chain cannot be asked.
            NonceGap: one of them cannot be mined on this chain.
            OutboxError: the journal cannot be written.
        """
        view = BlockView(rpc, height, epochs)
        settled_height = self._settled_height(rpc, height, attempts)
        view.read(attempts)
        return [self._advance(view, settled_height, senders, attempt) for attempt in attempts]

    def resolve(self, rpc: Rpc, attempt: Attempt) -> Attempt:
        """Bring an attempt of an earlier call as far as it goes without waiting for a block."""
        if attempt.state is AttemptState.PLANNED:
            return self._give_up(attempt)
        decided = self.decided(rpc, attempt)
        return self._sent_again(rpc, attempt) if decided is None else decided

    def decided(self, rpc: Rpc, attempt: Attempt) -> Attempt | None:
        """What a block made of an attempt, by one of its versions or by another's transaction; None if none did."""
        receipt = find_mined(rpc, attempt)
        if receipt is None and nonce_count(rpc, attempt.sender, "latest") > attempt.signed_nonce:
            receipt = self._found_late(rpc, attempt)
            if receipt is None:
                return self._void(attempt)
        return None if receipt is None else self.record_receipt(rpc, attempt, receipt)

    def record_receipt(self, rpc: Rpc, attempt: Attempt, receipt: Receipt) -> Attempt:
        """Journal that a block holds one of an attempt's versions."""
        (version,) = (one for one in attempt.versions if one.transaction_hash == receipt.transaction_hash)
        state = attempt.state_in_block(version, succeeded=receipt.succeeded, superseded=self._superseded(attempt))
        if state is AttemptState.CANCELLED:
            note = attempt.note
        elif state is AttemptState.MINED:
            note = ""
        elif receipt.succeeded:
            note = "another attempt has taken its place"
        else:
            note = str(refusal(rpc, receipt))
        held = (attempt.state, attempt.block_hash, attempt.mined_hash)
        if held in (
            (state, receipt.block_hash, receipt.transaction_hash),
            (AttemptState.FINAL, receipt.block_hash, receipt.transaction_hash),
        ):
            return attempt
        if state is not AttemptState.FAILED:
            self._void_rivals(attempt)
        return self.journal.hold(attempt, state, receipt, note)

    def _void_rivals(self, mined: Attempt) -> None:
        """Give up the other attempts with an attempt's nonce: a block holds it, so none of them can be mined."""
        for other in self.journal.of_nonce(mined.intent.chain_id, mined.sender, mined.signed_nonce):
            if other.id != mined.id and other.state is not AttemptState.FAILED:
                self._void(other)

    # One attempt, one block

    def _advance(
        self,
        view: BlockView,
        settled_height: int,
        senders: Mapping[str, SenderAccount],
        attempt: Attempt,
    ) -> Attempt:
        if attempt.state is AttemptState.PLANNED:
            return self._give_up(attempt)
        if attempt.block_number is not None:
            return self._advance_held(view, settled_height, attempt)
        receipt = view.receipt(attempt)
        if receipt is not None:
            self._lost_at.pop(attempt.id, None)
            return self.record_receipt(view.rpc, attempt, receipt)
        failed = attempt.state is AttemptState.FAILED
        if view.counts[attempt.sender] > attempt.signed_nonce:
            # Its receipt may only be late: some blocks and some time more, and it is somebody else's.
            if failed:
                lost = self._is_lost_for(attempt, view.height, 0)
                final = lost and self._lost_at[attempt.id][0] <= settled_height
                return self.journal.finalise(attempt) if final else attempt
            lost = self._is_lost_for(attempt, view.height, _LATE_RECEIPT_BLOCKS)
            return self._void(attempt) if lost else attempt
        if failed:
            blocks_others = attempt.fills_its_nonce and self.delivery.precedes_others(attempt)
            return self._sent_again(view.rpc, attempt, view.height) if blocks_others else attempt
        if attempt.state is AttemptState.SIGNED:
            return self._sent_again(view.rpc, attempt, view.height)
        return self._maybe_replace(view, senders.get(attempt.sender), attempt)

    def _advance_held(self, view: BlockView, settled_height: int, attempt: Attempt) -> Attempt:
        """What becomes of an attempt that a block holds."""
        number = attempt.block_number or 0
        if view.hashes[number] == attempt.block_hash:
            if view.receipt(attempt) is None:
                # The block stays and its receipt is gone: a node that lags, or one that told of what never was.
                if not self._is_lost_for(attempt, view.height, _LATE_RECEIPT_BLOCKS):
                    return attempt
            else:
                self._lost_at.pop(attempt.id, None)
                if number <= settled_height:
                    return self.journal.finalise(attempt)
                return attempt
        receipt = find_mined(view.rpc, attempt)
        if receipt is not None:
            return self.record_receipt(view.rpc, attempt, receipt)
        self._lost_at.pop(attempt.id, None)
        return self._sent_again(view.rpc, self._taken_back(attempt), view.height)

    def _maybe_replace(self, view: BlockView, sender: SenderAccount | None, attempt: Attempt) -> Attempt:
        """Cancel, replace, or send again what is not mined, if it is time."""
        if sender is None:
            return attempt  # its key is not here
        why = view.obsolete(attempt)
        newest = attempt.newest
        cancelling = newest.kind is Kind.CANCELLATION
        if why and not cancelling:
            return self._replace(view, sender, attempt, Kind.CANCELLATION, why)
        if newest.height >= view.height:
            return attempt
        if time.time() < newest.signed_at + self.rules.min_pending_seconds:
            return attempt
        if view.height - newest.height >= self.rules.bump_after_blocks:
            why = f"not mined within {view.height - newest.height} blocks"
            return self._replace(view, sender, attempt, Kind.BUMP, why)
        if newest.fees.max_fee_per_gas_wei < view.market.base_fee_wei:
            return self._replace(view, sender, attempt, Kind.BUMP, "gas costs more than it offers")
        return attempt

    def _replace(self, view: BlockView, sender: SenderAccount, attempt: Attempt, kind: Kind, why: str) -> Attempt:
        """Replace an attempt's newest version, or say why that cannot be and send it again."""
        cap_wei = self.cap_wei(sender)
        fees = bumped(attempt.newest.fees, view.market, cap_wei)
        if fees is None:
            note = f"{why}, and its fee is at the cap of {cap_wei} wei per gas"
            return self._sent_again(view.rpc, self.journal.annotate(attempt, note), view.height)
        try:
            attempt = self.delivery.replace(view.rpc, sender, attempt, kind, fees, view.height, why)
        except LimitError as limit:
            return self._sent_again(view.rpc, self.journal.annotate(attempt, str(limit)), view.height)
        return self._sent_again(view.rpc, attempt, view.height)

    def _sent_again(self, rpc: Rpc, attempt: Attempt, height: int | None = None) -> Attempt:
        """An attempt sent again, or why the node refuses it; `height` is requested if it is None."""
        try:
            height = newest_height(rpc) if height is None else height
            return self.delivery.send(rpc, attempt, height)
        except RpcRejected:
            log.warning("attempt_refused", tx=attempt.transaction_hash)
        return self.journal.get(attempt.id)

    # What became of it

    def _give_up(self, attempt: Attempt) -> Attempt:
        return self.journal.advance(attempt, AttemptState.FAILED, note="it was never signed")

    def _void(self, attempt: Attempt) -> Attempt:
        note = "a block holds another transaction with its nonce"
        return self.journal.advance(attempt, AttemptState.FAILED, note=note)

    def _taken_back(self, attempt: Attempt) -> Attempt:
        """Journal a reorg."""
        log.warning("reorged", tx=attempt.mined_hash, block=attempt.block_number)
        state = attempt.state_without_block(superseded=self._superseded(attempt))
        return self.journal.take_back(attempt, state, "a reorg took its block back")

    def _superseded(self, attempt: Attempt) -> bool:
        """Whether a later attempt at the same epoch is live."""
        key = (attempt.intent.chain_id, attempt.intent.vault, attempt.intent.epoch)
        return any(other.id != attempt.id and other.state in LIVE for other in self.journal.of_epoch(*key))

    def _found_late(self, rpc: Rpc, attempt: Attempt) -> Receipt | None:
        deadline = time.monotonic() + _LATE_RECEIPT_SECONDS
        pause = _FIRST_POLL_SECONDS
        while time.monotonic() + pause < deadline:
            time.sleep(pause)
            receipt = find_mined(rpc, attempt)
            if receipt is not None:
                return receipt
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)
        return None

    def _is_lost_for(self, attempt: Attempt, height: int, blocks: int) -> bool:
        """Whether an attempt's nonce is used and its receipt has been missing for that many blocks, and for `min_pending_seconds`."""
        now = time.monotonic()
        at, since = self._lost_at.setdefault(attempt.id, (height, now))
        return height - at >= blocks and now - since >= self.rules.min_pending_seconds

    def _settled_height(self, rpc: Rpc, height: int, watched: Sequence[Attempt]) -> int:
        """The highest block that is final by the rules; below all where the node has no block of the tag: then nothing becomes final.

        No number of blocks stands in for a tag: whoever asks for one has said that numbers will not do.
        """
        tag = self.rules.confirmations
        if isinstance(tag, int):
            return height - tag
        if all(one.block_number is None and one.state is not AttemptState.FAILED for one in watched):
            return _NOT_ONE  # nothing is held, so nobody asks
        try:
            block = rpc.call("eth_getBlockByNumber", tag, False)
            why = "it has none" if block is None else ""
        except (RpcRejected, RpcMalformed) as refused:
            block, why = None, str(refused)
        if block is None:
            if self._has_tag:
                log.warning("no_block_of_tag", tag=tag, endpoint=rpc.endpoint, why=why)
            self._has_tag = False
            return _NOT_ONE
        self._has_tag = True
        return int(block["number"], 16)
