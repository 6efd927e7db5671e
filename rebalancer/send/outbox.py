"""Outbox of a keeper: every intent is sent exactly once, even if the process is killed at any moment.

Every intent is journalled before anything is signed, and every signed transaction before it is sent
(`rebalancer.send.journal`), so that the file always names everything that may be in flight.

An epoch of a vault has at most one live attempt, over all accounts; a second submission for the epoch returns that
attempt. An attempt holds one nonce. An unmined transaction is sent again, or replaced by a version with a higher fee,
or by a cancellation (an empty transaction), always with the same nonce, so that at most one version can ever be mined.
A new attempt is made only after the old one failed for good or was cancelled, and takes the old nonce as long as no
block has used it.

`rebalancer.send.attempt` defines the states of an attempt, `rebalancer.send.delivery` signs and sends a version, and
`rebalancer.send.lifecycle` handles the attempt afterwards.

The outbox never waits for a block: with one call of `advance` per block, it serves any number of vaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rebalancer.chain.rpc import Rpc
from rebalancer.closing import Closing
from rebalancer.errors import FeeAboveCap, LimitError, NotCancellable, SimulationDiffers, SimulationRefused, WrongChain
from rebalancer.send.attempt import LIVE, OPEN, Attempt, AttemptState, Intent, Kind
from rebalancer.send.block_view import find_mined, newest_height, nonce_count
from rebalancer.send.delivery import TRANSFER_GAS, Check, Delivery
from rebalancer.send.fees import GasFees, bumped, offer, read_market
from rebalancer.send.fence import Fence, NoFence
from rebalancer.send.journal import Journal
from rebalancer.send.lifecycle import Lifecycle, SendRules
from rebalancer.send.relay import Relays
from rebalancer.send.sender_accounts import SenderAccount, as_sender, choose
from rebalancer.send.signed import Signer
from rebalancer.send.spending import Spending

__all__ = ["Outbox"]


class Outbox(Closing):
    """The outbox of one keeper, open in one process at a time. Not thread-safe."""

    def __init__(
        self,
        path: Path,
        rules: SendRules | None = None,
        relays: Relays | None = None,
        fence: Fence | None = None,
        spending: Spending | None = None,
    ) -> None:
        """Open the journal or create it. `fence` is needed if several machines may send, `spending` if other outboxes
        use the same accounts; it is closed with the journal.

        Raises:
            OutboxInUse: another process has it open.
            OutboxUnreadable: the file is damaged, or not an outbox of this version.
            OutboxUnwritable: it cannot be created or written.
        """
        self.path = path
        self.journal = Journal(path)
        self.delivery = Delivery(self.journal, relays or Relays(), fence or NoFence(), spending)
        self._lifecycle = Lifecycle(self.journal, self.delivery, rules or SendRules())

    def close(self) -> None:
        """Close the journal and release its lock."""
        self.journal.close()
        self.delivery.close()

    @property
    def rules(self) -> SendRules:
        """Rules for replacements and finality; can be changed at any time."""
        return self._lifecycle.rules

    @rules.setter
    def rules(self, rules: SendRules) -> None:
        self._lifecycle.rules = rules

    def attempts(self, chain_id: int) -> list[Attempt]:
        """All attempts on a chain, oldest first."""
        return self.journal.attempts(chain_id)

    def unsettled(self, chain_id: int) -> list[Attempt]:
        """Attempts on a chain that no block holds and that have not failed, in the order of their nonces."""
        return self.journal.unsettled(chain_id)

    def submit(
        self,
        rpc: Rpc,
        signers: Sequence[Signer],
        intent: Intent,
        fees: GasFees | None = None,
        *,
        check: Check | None = None,
        height: int | None = None,
    ) -> Attempt:
        """Plan, sign and send an intent by one of several accounts, without waiting for a block.

        If its epoch has a live attempt, that attempt is returned and nothing is signed. Without `fees` the market's are
        used. `check` is called right before signing. `height` is the newest block.

        Raises:
            WrongChain: the endpoint serves another chain than the intent's.
            CallNotAllowed, NoFreeSender: no account may send it now; nothing was journalled.
            LimitError: it would exceed a limit of its key; nothing was signed.
            InsufficientEther: the signer cannot pay for it; nothing was signed.
            SimulationRefused, SimulationDiffers: raised by `check`; nothing was signed.
            FeeAboveCap: gas is too expensive; nothing was signed.
            RpcRejected: the node rejected it.
            RpcUnreachable, RpcTimeout: it may be in flight.
            NonceGap: an earlier transaction cannot be mined on this chain.
            OutboxError: the journal cannot be written; nothing was sent.
            FleetError: another machine may send now; nothing was sent.
        """
        self._check_chain(rpc, intent)
        for attempt in self.unsettled(intent.chain_id):
            if attempt.state in (AttemptState.PLANNED, AttemptState.SIGNED):
                self._lifecycle.resolve(rpc, attempt)
        earlier = self._earlier(rpc, intent)
        if earlier is not None:
            return earlier
        sender = self._sender(rpc, [as_sender(signer) for signer in signers], intent)
        attempt = self.journal.plan(intent, sender.address)
        try:
            fees = fees or offer(read_market(rpc), self._lifecycle.cap_wei(sender))
            attempt = self.delivery.sign_first(rpc, sender, attempt, fees, height, check)
        except (LimitError, SimulationRefused, SimulationDiffers, FeeAboveCap) as refused:
            self.journal.advance(attempt, AttemptState.FAILED, note=str(refused))
            raise
        return self.delivery.send(rpc, attempt, attempt.newest.height)

    def advance(
        self, rpc: Rpc, signers: Sequence[Signer], height: int, epochs: Mapping[str, int] | None = None
    ) -> list[Attempt]:
        """Advance every attempt on the chain, once a block, without waiting; return the attempts that changed.

        Records mined transactions, finalises deep ones, sends reorged ones again, and replaces those that wait too long
        or offer too little. Cancels an attempt after its deadline, or if `epochs` (vault → current epoch) show that its
        epoch is over. `height` is the newest block.

        Raises:
            RpcUnreachable, RpcTimeout: the chain could not be read; call it again later.
            NonceGap: an attempt cannot be mined on this chain.
            OutboxError: the journal cannot be written.
        """
        watched = self.journal.watched(rpc.expected_chain_id or rpc.chain_id())
        if not watched:
            return []
        senders = {sender.address: sender for sender in map(as_sender, signers)}
        after = self._lifecycle.advance(rpc, senders, height, epochs or {}, watched)
        self.delivery.settle([attempt for attempt in after if attempt.is_final])
        return [now for now, before in zip(after, watched, strict=True) if now != before]

    def cancel(self, rpc: Rpc, signer: Signer, attempt: Attempt, why: str) -> Attempt:
        """Replace an attempt in flight by an empty transaction. Does not wait for a block.

        Raises:
            NotCancellable: it is not in flight, belongs to another account, or the fee cap is too low.
            LimitError: a limit of the key forbids it.
            RpcUnreachable, RpcTimeout: the cancellation may be in flight.
        """
        if attempt.state is AttemptState.PLANNED:
            return self._lifecycle.resolve(rpc, attempt)
        if attempt.sender != signer.address:
            raise NotCancellable(attempt.id, f"it is {attempt.sender}'s, not {signer.address}'s")
        height = newest_height(rpc)
        attempt = self._lifecycle.decided(rpc, attempt) or attempt
        if attempt.state not in OPEN:
            raise NotCancellable(attempt.id, f"it is {attempt.state}")
        fees = bumped(attempt.newest.fees, read_market(rpc), self._lifecycle.cap_wei(as_sender(signer)))
        if fees is None:
            raise NotCancellable(attempt.id, "the fee cap leaves no room to replace it")
        attempt = self.delivery.replace(rpc, as_sender(signer), attempt, Kind.CANCELLATION, fees, height, why)
        return self.delivery.send(rpc, attempt, height)

    def fill(self, rpc: Rpc, signer: Signer, nonce: int, fees: GasFees, why: str) -> Attempt:
        """Consume a nonce with an empty transaction. Its intent has the account as the vault and the nonce as the
        epoch.

        Raises:
            As `submit`.
        """
        sender, height = as_sender(signer), newest_height(rpc)
        address = sender.address
        intent = Intent(rpc.chain_id(), address, nonce, address, "0x", TRANSFER_GAS, why)
        for earlier in self.journal.of_epoch(intent.chain_id, address, nonce):
            if earlier.state is AttemptState.PLANNED:
                self._lifecycle.resolve(rpc, earlier)
            elif earlier.state in OPEN:
                attempt = earlier
                # The same fees would give the same transaction, which is only sent again.
                if fees not in {version.fees for version in earlier.versions}:
                    attempt = self.delivery.replace(rpc, sender, earlier, Kind.BUMP, fees, height, why)
                return self.delivery.send(rpc, attempt, height)
        attempt = self.journal.plan(intent, address)
        attempt = self.delivery.sign(rpc, sender, attempt, Kind.ORIGINAL, nonce, fees, height)
        return self.delivery.send(rpc, attempt, height)

    def resume(self, rpc: Rpc) -> list[Attempt]:
        """Settle the attempts of an earlier run on this chain, without waiting for a block; return them as they are
        now.

        Planned attempts that were not signed fail; signed ones are sent again unless a block has them.

        Raises:
            NonceGap: an attempt cannot be mined on this chain.
        """
        return [self._lifecycle.resolve(rpc, attempt) for attempt in self.unsettled(rpc.chain_id())]

    def _earlier(self, rpc: Rpc, intent: Intent) -> Attempt | None:
        """The live attempt of an epoch; None if there is none, or all failed or were cancelled."""
        for attempt in self.journal.of_epoch(intent.chain_id, intent.vault, intent.epoch):
            if attempt.state in LIVE:
                return attempt
            if attempt.state is AttemptState.FAILED and attempt.block_number is None:
                # Another node may have accepted what one node rejected.
                receipt = find_mined(rpc, attempt)
                if receipt is not None:
                    closed = self._lifecycle.record_receipt(rpc, attempt, receipt)
                    if closed.state in LIVE:
                        return closed
        return None

    def _sender(self, rpc: Rpc, senders: Sequence[SenderAccount], intent: Intent) -> SenderAccount:
        """The sender of an intent: an account with an earlier attempt that may still be mined, otherwise the least busy
        one."""
        for failed in self.journal.of_epoch(intent.chain_id, intent.vault, intent.epoch):
            if failed.nonce is None or failed.block_number is not None:
                continue
            again = [sender for sender in senders if sender.address == failed.sender]
            if again and nonce_count(rpc, failed.sender, "latest") <= failed.nonce:
                again[0].limits.check_call(failed.sender, intent.to, intent.data)
                return again[0]
        in_flight: dict[str, int] = {}
        for attempt in self.unsettled(intent.chain_id):
            in_flight[attempt.sender] = in_flight.get(attempt.sender, 0) + 1
        return choose(senders, in_flight, intent.vault, intent.to, intent.data)

    @staticmethod
    def _check_chain(rpc: Rpc, intent: Intent) -> None:
        actual = rpc.chain_id()
        if actual != intent.chain_id:
            raise WrongChain(intent.chain_id, actual)
