"""Delivery of one version of an attempt: signed within the key's limits, journalled, and only then sent.

The order is the guarantee. The fence and the daily limit are checked before each signature. A version is in the
journal, in the fence and in the daily spending before it is sent for the first time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rebalancer.chain.l1_fees import read_l1_fees, transaction_bytes
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import NonceGap, RpcRejected
from rebalancer.send.attempt import Attempt, AttemptState, Kind, SignedVersion
from rebalancer.send.block_view import newest_height, nonce_count
from rebalancer.send.costs import check_ether
from rebalancer.send.fees import GasFees
from rebalancer.send.fence import Fence
from rebalancer.send.journal import Journal
from rebalancer.send.relay import Relays
from rebalancer.send.sender_accounts import SenderAccount
from rebalancer.send.spending import Spending

__all__ = ["TRANSFER_GAS", "Check", "Delivery"]

TRANSFER_GAS = 21_000
"""Gas of an empty transaction."""
_ROLLUP_HEADROOM = 2
"""Factor for a rollup's fees until a transaction is mined: an L1 base fee can rise by (9/8)^5 in a minute."""

Check = Callable[[str], None]
"""Called with the sender right before signing; raises if the transaction must not be signed."""


class Delivery:
    """Signs and sends versions of a journal's attempts."""

    def __init__(self, journal: Journal, relays: Relays, fence: Fence, spending: Spending | None) -> None:
        self.journal = journal
        self.relays = relays
        self.fence = fence
        self.spending = spending

    def sign_first(
        self, rpc: Rpc, sender: SenderAccount, attempt: Attempt, fees: GasFees, height: int | None, check: Check | None
    ) -> Attempt:
        """Sign an attempt's first version, if the account can pay for it and `check` raises nothing.

        `height` is the newest block; it is read if it is None.

        Raises:
            InsufficientEther: the account cannot pay for it.
            NonceGap: the journal has a later nonce as mined, so this is another chain.
            As `check` and `sign`.
        """
        intent = attempt.intent
        height = newest_height(rpc) if height is None else height
        beside_wei = _beside_gas_wei(rpc, height, intent.data, intent.gas_limit)
        check_ether(rpc, sender.address, intent.gas_limit * fees.max_fee_per_gas_wei + beside_wei)
        nonce = self._next_nonce(rpc, attempt)
        if check is not None:
            check(sender.address)
        return self.sign(rpc, sender, attempt, Kind.ORIGINAL, nonce, fees, height)

    def sign(
        self,
        rpc: Rpc,
        sender: SenderAccount,
        attempt: Attempt,
        kind: Kind,
        nonce: int,
        fees: GasFees,
        height: int,
        why: str = "",
    ) -> Attempt:
        """Sign one version within the key's limits, and journal it with the reason."""
        intent = attempt.intent
        cancels = kind is Kind.CANCELLATION
        gas_limit = TRANSFER_GAS if cancels else intent.gas_limit
        data = "0x" if cancels else intent.data
        beside_wei = _beside_gas_wei(rpc, height, data, gas_limit)
        counted = max((version.worst_cost_wei for version in attempt.versions), default=0)
        account, now = (intent.chain_id, sender.address), int(time.time())
        sender.limits.check_spend(
            sender.address,
            self.spent_wei(*account, now),
            max(0, gas_limit * fees.max_fee_per_gas_wei + beside_wei - counted),
        )
        self.fence.check(intent.chain_id, sender.address)
        signed = sender.sign(
            {
                "type": 2,
                "chainId": intent.chain_id,
                "nonce": nonce,
                "to": sender.address if cancels else intent.to,
                "data": data,
                "value": 0,
                "gas": gas_limit,
                "maxFeePerGas": fees.max_fee_per_gas_wei,
                "maxPriorityFeePerGas": fees.max_priority_fee_per_gas_wei,
            }
        )
        version = SignedVersion(signed.raw, signed.hash, gas_limit, fees, beside_wei)
        return self.journal.add_version(attempt, kind, nonce, height, version, why)

    def replace(
        self, rpc: Rpc, sender: SenderAccount, attempt: Attempt, kind: Kind, fees: GasFees, height: int, why: str
    ) -> Attempt:
        """Sign a version that replaces the others; only a cancellation can replace a cancellation."""
        if attempt.newest.kind is Kind.CANCELLATION:
            kind, why = Kind.CANCELLATION, attempt.note
        return self.sign(rpc, sender, attempt, kind, attempt.signed_nonce, fees, height, why)

    def send(self, rpc: Rpc, attempt: Attempt, height: int) -> Attempt:
        """Send an attempt's newest version, for the first time or again.

        Raises:
            NonceGap: earlier transactions are missing, and the journal does not have them.
            RpcRejected: the first sending was rejected and no node has the transaction; the attempt has failed.
        """
        expected = nonce_count(rpc, attempt.sender, "pending")
        nonce = attempt.signed_nonce
        if nonce > expected and not self._covered(attempt, expected):
            raise NonceGap(str(attempt.transaction_hash), nonce, expected)
        self.fence.store(attempt)
        if self.spending is not None:
            self.spending.store(attempt)
        try:
            self.relays.send(self.journal, rpc, attempt, height)
        except RpcRejected as rejection:
            # Nodes word "already known" in many ways, so look the transaction up instead of parsing the message.
            if rpc.call("eth_getTransactionByHash", attempt.newest.transaction_hash) is None:
                if attempt.state is AttemptState.SIGNED and not self.precedes_others(attempt):
                    self.journal.advance(attempt, AttemptState.FAILED, note=str(rejection))
                    raise
                return self.journal.annotate(attempt, str(rejection))
        if attempt.state is AttemptState.SIGNED:
            return self.journal.advance(attempt, AttemptState.SENT)
        return self.journal.get(attempt.id)

    def spent_wei(self, chain_id: int, sender: str, now: int) -> int:
        """Spending of an account within 24 hours, including pending transactions, from this journal, other machines and
        other outboxes."""
        spent_wei = self.journal.spent_wei(chain_id, sender, now)
        spent_wei += self.fence.spent_elsewhere_wei(chain_id, sender, now)
        if self.spending is not None:
            mine = self.journal.known_nonces(chain_id, sender, 0)
            spent_wei += self.spending.elsewhere_wei(chain_id, sender, now, mine)
        return spent_wei

    def settle(self, final: Sequence[Attempt]) -> None:
        """Note that attempts are final: no other machine needs them, and their cost is known.

        Raises:
            FleetError: this machine may not send any more, or the fleet cannot be reached.
            SpendingUnwritable: the spending file cannot be written.
        """
        self.fence.forget(final)
        if self.spending is not None:
            self.spending.settle(final)

    def close(self) -> None:
        """Close the spending file; the caller closes the journal."""
        if self.spending is not None:
            self.spending.close()

    def _next_nonce(self, rpc: Rpc, attempt: Attempt) -> int:
        """The nonce for a new attempt: the chain's next one, or that of the failed attempt that it replaces.

        Raises:
            NonceGap: the journal has a later nonce as mined, so this is another chain.
        """
        sender, chain_id = attempt.sender, attempt.intent.chain_id
        in_flight = {other.nonce for other in self.journal.unsettled(chain_id, sender) if other.nonce is not None}
        nonce = max(nonce_count(rpc, sender, "pending"), 1 + max(in_flight, default=-1))
        highest = self.journal.highest_nonce(chain_id, sender)
        if highest is not None and highest.signed_nonce >= nonce:
            raise NonceGap(str(highest.transaction_hash), highest.signed_nonce, nonce)
        # A node may still have an earlier attempt. The same nonce keeps both from being mined.
        unused = range(nonce_count(rpc, sender, "latest"), nonce)
        for failed in self.journal.of_epoch(chain_id, attempt.intent.vault, attempt.intent.epoch):
            replaceable = failed.sender == sender and failed.nonce not in in_flight
            if replaceable and failed.nonce is not None and failed.nonce in unused:
                return failed.nonce
        return nonce

    def _covered(self, attempt: Attempt, expected: int) -> bool:
        """Whether all nonces from the chain's next one up to an attempt's are journalled as sent, and are sent again until they are mined."""
        sent = {
            other.nonce
            for other in self.journal.watched(attempt.intent.chain_id)
            if other.sender == attempt.sender and (other.is_pending or other.fills_its_nonce)
        }
        return sent.issuperset(range(expected, attempt.signed_nonce))

    def precedes_others(self, attempt: Attempt) -> bool:
        """Whether later nonces depend on this one."""
        return any(
            (other.nonce or 0) > attempt.signed_nonce
            for other in self.journal.unsettled(attempt.intent.chain_id, attempt.sender)
        )


def _beside_gas_wei(rpc: Rpc, height: int, data: str, gas: int) -> int:
    """Upper bound of a rollup's fees in addition to gas.

    Raises:
        L1FeeUnknown: the chain does not report its fees.
    """
    fees = read_l1_fees(rpc, height)
    return _ROLLUP_HEADROOM * fees.beside_gas_wei(transaction_bytes(data), gas)
