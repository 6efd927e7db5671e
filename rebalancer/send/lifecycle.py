"""Lifecycle of signed attempts: mined, replaced, cancelled, reorged, and finally final.

An attempt fails if it was never signed, if the node rejects its first sending, if it reverts in a block, or if a block
holds another transaction with its nonce. A silent node or a passed deadline fails nothing: the attempt stays and is
settled later.

This module makes no new attempt, and an attempt keeps its nonce.
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

_LATE_RECEIPT_SECONDS = 3.0  # nodes may count a nonce before they index its receipt
_LATE_RECEIPT_BLOCKS = 2
_FIRST_POLL_SECONDS = 0.001  # Anvil mines immediately
_LONGEST_POLL_SECONDS = 1.0
_NO_BLOCK = -1
"""A height below every block."""


@dataclass(frozen=True)
class SendRules:
    """Rules of an outbox for replacements and finality."""

    fee_cap_wei: int = 200 * 10**9
    """Highest offer per gas for a replacement; the caller gives the first offer."""
    bump_after_blocks: int = 3
    """Replace an unmined transaction after this many blocks, raising its fee by 12.5 %."""
    confirmations: int | Literal["safe", "finalized"] = 12
    """Confirmations required before a transaction is final, or the block tag below which it is final."""
    min_pending_seconds: float = 12.0
    """Minimum age of a transaction before it is replaced or given up, however fast blocks come."""


class Lifecycle:
    """Advances the attempts of a journal by the rules."""

    def __init__(self, journal: Journal, delivery: Delivery, rules: SendRules) -> None:
        self.journal = journal
        self.delivery = delivery
        self.rules = rules
        self._lost_at: dict[int, tuple[int, float]] = {}
        """By attempt, the block and the time (`time.monotonic`) at which its nonce was first seen used without its
        receipt."""
        self._has_tag = True

    def cap_wei(self, sender: SenderAccount) -> int:
        """Highest offer per gas of an account for a replacement."""
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
        """Advance several attempts of one chain at the newest block, without waiting.

        Raises:
            RpcUnreachable, RpcTimeout: the chain could not be read.
            NonceGap: an attempt cannot be mined on this chain.
            OutboxError: the journal cannot be written.
        """
        view = BlockView(rpc, height, epochs)
        settled_height = self._settled_height(rpc, height, attempts)
        view.read(attempts)
        return [self._advance(view, settled_height, senders, attempt) for attempt in attempts]

    def resolve(self, rpc: Rpc, attempt: Attempt) -> Attempt:
        """Advance an attempt of an earlier call, without waiting for a block."""
        if attempt.state is AttemptState.PLANNED:
            return self._give_up(attempt)
        decided = self.decided(rpc, attempt)
        return self._sent_again(rpc, attempt) if decided is None else decided

    def decided(self, rpc: Rpc, attempt: Attempt) -> Attempt | None:
        """Outcome of an attempt in a block, by one of its versions or by another transaction with its nonce; None if
        there is none yet."""
        receipt = find_mined(rpc, attempt)
        if receipt is None and nonce_count(rpc, attempt.sender, "latest") > attempt.signed_nonce:
            receipt = self._found_late(rpc, attempt)
            if receipt is None:
                return self._fail_nonce_lost(attempt)
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
            note = "replaced by another attempt"
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
        """Fail the other attempts with an attempt's nonce: a block holds it, so no other can be mined."""
        for other in self.journal.of_nonce(mined.intent.chain_id, mined.sender, mined.signed_nonce):
            if other.id != mined.id and other.state is not AttemptState.FAILED:
                self._fail_nonce_lost(other)

    # One attempt, one block

    def _advance(
        self, view: BlockView, settled_height: int, senders: Mapping[str, SenderAccount], attempt: Attempt
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
            # The receipt may be late: after some blocks and some time, another transaction must have used the nonce.
            if failed:
                lost = self._is_lost_for(attempt, view.height, 0)
                final = lost and self._lost_at[attempt.id][0] <= settled_height
                return self.journal.finalise(attempt) if final else attempt
            lost = self._is_lost_for(attempt, view.height, _LATE_RECEIPT_BLOCKS)
            return self._fail_nonce_lost(attempt) if lost else attempt
        if failed:
            blocks_others = attempt.fills_its_nonce and self.delivery.precedes_others(attempt)
            return self._sent_again(view.rpc, attempt, view.height) if blocks_others else attempt
        if attempt.state is AttemptState.SIGNED:
            return self._sent_again(view.rpc, attempt, view.height)
        return self._maybe_replace(view, senders.get(attempt.sender), attempt)

    def _advance_held(self, view: BlockView, settled_height: int, attempt: Attempt) -> Attempt:
        """Advance an attempt that a block holds."""
        number = attempt.block_number or 0
        if view.hashes[number] == attempt.block_hash:
            if view.receipt(attempt) is None:
                # The block is there and the receipt is not: the node lags, or reported a block wrongly.
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
        return self._sent_again(view.rpc, self._reorged(attempt), view.height)

    def _maybe_replace(self, view: BlockView, sender: SenderAccount | None, attempt: Attempt) -> Attempt:
        """Cancel or replace an attempt that is not mined, if it is time."""
        if sender is None:
            return attempt  # this machine does not have its key
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
            return self._replace(view, sender, attempt, Kind.BUMP, "its offer is below the base fee")
        return attempt

    def _replace(self, view: BlockView, sender: SenderAccount, attempt: Attempt, kind: Kind, why: str) -> Attempt:
        """Replace an attempt's newest version, or note why that is not possible; then send the newest version again."""
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
        """Send an attempt again; a rejection is noted in it. `height` is read if it is None."""
        try:
            height = newest_height(rpc) if height is None else height
            return self.delivery.send(rpc, attempt, height)
        except RpcRejected:
            log.warning("attempt_refused", tx=attempt.transaction_hash)
        return self.journal.get(attempt.id)

    def _give_up(self, attempt: Attempt) -> Attempt:
        return self.journal.advance(attempt, AttemptState.FAILED, note="it was never signed")

    def _fail_nonce_lost(self, attempt: Attempt) -> Attempt:
        note = "a block holds another transaction with its nonce"
        return self.journal.advance(attempt, AttemptState.FAILED, note=note)

    def _reorged(self, attempt: Attempt) -> Attempt:
        """Journal a reorg."""
        log.warning("reorged", tx=attempt.mined_hash, block=attempt.block_number)
        state = attempt.state_without_block(superseded=self._superseded(attempt))
        return self.journal.take_back(attempt, state, "a reorg removed its block")

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
        """Whether the nonce is used and the receipt has been missing for a number of blocks and for
        `min_pending_seconds`."""
        now = time.monotonic()
        at, since = self._lost_at.setdefault(attempt.id, (height, now))
        return height - at >= blocks and now - since >= self.rules.min_pending_seconds

    def _settled_height(self, rpc: Rpc, height: int, watched: Sequence[Attempt]) -> int:
        """Height of the newest final block. Below all blocks if the node has no block with the tag: then nothing
        becomes final.

        A tag has no number of confirmations as a substitute: an operator who sets a tag has rejected numbers.
        """
        tag = self.rules.confirmations
        if isinstance(tag, int):
            return height - tag
        if all(one.block_number is None and one.state is not AttemptState.FAILED for one in watched):
            return _NO_BLOCK  # nothing is mined, so no request is needed
        try:
            block = rpc.call("eth_getBlockByNumber", tag, False)
            why = "it has no such block" if block is None else ""
        except (RpcRejected, RpcMalformed) as refused:
            block, why = None, str(refused)
        if block is None:
            if self._has_tag:
                log.warning("no_block_with_tag", tag=tag, endpoint=rpc.endpoint, why=why)
            self._has_tag = False
            return _NO_BLOCK
        self._has_tag = True
        return int(block["number"], 16)
