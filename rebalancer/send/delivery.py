"""How does the keeper hand over a transaction? Priced, simulated, and through the outbox."""

from __future__ import annotations

from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.send.fees import suggest
from rebalancer.send.outbox import Intent, Outbox
from rebalancer.send.signer import Signer
from rebalancer.send.wallet import estimate_gas

__all__ = ["OutboxDelivery"]


class OutboxDelivery:
    """One signer's deliveries on one chain, none of which pays more than `fee_cap_wei` per gas."""

    def __init__(
        self, rpc: Rpc, signer: Signer, outbox: Outbox, fee_cap_wei: int, timeout_s: float
    ) -> None:
        self.rpc = rpc
        self.signer = signer
        self.outbox = outbox
        self.fee_cap_wei = fee_cap_wei
        self.timeout_s = timeout_s

    @property
    def address(self) -> str:
        """The account that sends, lower case."""
        return self.signer.address

    def resume(self) -> int:
        """Settle what an earlier run left unfinished; returns how many there were.

        Raises:
            NonceGap: one of them cannot be mined on this chain.
        """
        return len(self.outbox.resume(self.rpc))

    def deliver(self, vault: str, epoch: int, to: str, data: str, reason: str) -> Receipt:
        """Send, once for this epoch of this vault, and wait.

        What was sent before for the epoch is settled first, because it would be mistaken for a
        reason to refuse when the new one is simulated.

        Raises:
            ContractReverted: it would be refused, or was.
            FeeAboveCap, InsufficientEther: it is too dear; nothing was sent.
            As `Outbox.deliver`.
        """
        chain_id = self.rpc.chain_id()
        earlier = self.outbox.settle(self.rpc, chain_id, vault, epoch, self.timeout_s)
        if earlier is not None:
            return earlier
        fees = suggest(self.rpc, self.fee_cap_wei)
        gas_limit = estimate_gas(self.rpc, self.address, to, data)
        intent = Intent(chain_id, vault, epoch, to, data, gas_limit, reason)
        return self.outbox.deliver(self.rpc, self.signer, intent, fees, self.timeout_s)
