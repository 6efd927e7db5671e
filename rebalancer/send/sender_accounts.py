"""Sender accounts: the accounts that send, what each may sign, and which one sends an intent.

A sender account is one account with its own nonce sequence and limits. It is a signer itself, so that it can replace
any signer; it signs nothing that its limits forbid. The outbox counts its daily spending from the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rebalancer.errors import CallNotAllowed, FeeAboveLimit, NoFreeSender, SpendLimitReached
from rebalancer.send.signed import SignedTransaction, Signer

__all__ = ["KeyLimits", "SenderAccount", "as_sender", "choose"]

_SELECTOR_CHARACTERS = 10  # 0x and four bytes


@dataclass(frozen=True)
class KeyLimits:
    """Limits of a key. None means no limit; addresses and selectors (0x and 8 digits) are lower case."""

    max_fee_per_gas_wei: int | None = None
    max_spend_per_day_wei: int | None = None
    targets: frozenset[str] | None = None
    selectors: frozenset[str] | None = None

    def check_call(self, address: str, to: str | None, data: str) -> None:
        """Check that an account may make a call. An empty transaction to itself, which cancels, is always allowed.

        Raises:
            CallNotAllowed: the target or the function is not on the key's list.
        """
        selector = data[:_SELECTOR_CHARACTERS].lower() if data != "0x" else ""
        if to is not None and to.lower() == address and not selector:
            return
        known = self.targets is None or (to or "").lower() in self.targets
        if not known or not (self.selectors is None or selector in self.selectors):
            raise CallNotAllowed(address, to or "a new contract", selector)

    def check_fee(self, address: str, max_fee_per_gas_wei: int) -> None:
        """Check that an account may offer a fee.

        Raises:
            FeeAboveLimit: it may not.
        """
        limit_wei = self.max_fee_per_gas_wei
        if limit_wei is not None and max_fee_per_gas_wei > limit_wei:
            raise FeeAboveLimit(address, max_fee_per_gas_wei, limit_wei)

    def check_spend(self, address: str, spent_wei: int, more_wei: int) -> None:
        """Check that an account may spend more, after what it spent within 24 hours.

        Raises:
            SpendLimitReached: it may not.
        """
        limit_wei = self.max_spend_per_day_wei
        if limit_wei is not None and spent_wei + more_wei > limit_wei:
            raise SpendLimitReached(address, spent_wei, more_wei, limit_wei)


class SenderAccount:
    """An account and its limits. At most `max_open` of its transactions are in flight at the same time."""

    def __init__(self, signer: Signer, limits: KeyLimits | None = None, max_open: int = 16) -> None:
        self.signer = signer
        self.limits = limits or KeyLimits()
        self.max_open = max_open

    @property
    def address(self) -> str:
        """The account, lower case."""
        return self.signer.address

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction within the limits.

        Raises:
            FeeAboveLimit, CallNotAllowed: the limits forbid it.
            SignerError: as the signer raises it.
        """
        self.limits.check_call(self.address, transaction.get("to"), transaction["data"])
        self.limits.check_fee(self.address, transaction["maxFeePerGas"])
        return self.signer.sign(transaction)

    def may(self, to: str, data: str) -> bool:
        """Whether the limits allow a call."""
        try:
            self.limits.check_call(self.address, to, data)
        except CallNotAllowed:
            return False
        return True

    def __repr__(self) -> str:
        return f"SenderAccount({self.signer!r})"


def as_sender(signer: Signer) -> SenderAccount:
    """A signer as a sender account, without limits unless it is one already."""
    return signer if isinstance(signer, SenderAccount) else SenderAccount(signer)


def choose(
    senders: Sequence[SenderAccount], open_by_address: Mapping[str, int], vault: str, to: str, data: str
) -> SenderAccount:
    """The sender account for a call: of those whose limits allow it, the one with the fewest transactions in flight.

    With a single account, its own refusal is raised, which says more.

    Raises:
        CallNotAllowed: the only account may not make this call.
        NoFreeSender: no account may make this call, or all that may have reached their limit of transactions in flight.
    """
    if len(senders) == 1:
        senders[0].limits.check_call(senders[0].address, to, data)
    allowed = [sender for sender in senders if sender.may(to, data)]
    free = [sender for sender in allowed if open_by_address.get(sender.address, 0) < sender.max_open]
    if not free:
        raise NoFreeSender(vault, len(allowed), len(allowed))
    return min(free, key=lambda sender: open_by_address.get(sender.address, 0))
