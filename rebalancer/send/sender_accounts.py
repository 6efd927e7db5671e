"""Lanes: the accounts that send, what each of them may sign, and which one takes an intent.

A lane is one account with its own sequence of nonces and its own limits. It is a signer itself, so
whatever takes a signer can be given a lane, and then signs nothing that the limits forbid. What a
lane spends in a day is counted by the outbox, from its journal.
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
    """What a key may sign. None is no limit; addresses and selectors (0x and 8 digits) are lower case."""

    max_fee_per_gas_wei: int | None = None
    max_spend_per_day_wei: int | None = None
    targets: frozenset[str] | None = None
    selectors: frozenset[str] | None = None

    def check_call(self, address: str, to: str | None, data: str) -> None:
        """Make sure an account may make a call. Sending nothing to itself is always allowed: that cancels.

        Raises:
            CallNotAllowed: the target or the function is not on its list.
        """
        selector = data[:_SELECTOR_CHARACTERS].lower() if data != "0x" else ""
        if to is not None and to.lower() == address and not selector:
            return
        known = self.targets is None or (to or "").lower() in self.targets
        if not known or not (self.selectors is None or selector in self.selectors):
            raise CallNotAllowed(address, to or "a new contract", selector)

    def check_fee(self, address: str, max_fee_per_gas_wei: int) -> None:
        """Make sure an account may offer so much for gas.

        Raises:
            FeeAboveLimit: it may not.
        """
        limit_wei = self.max_fee_per_gas_wei
        if limit_wei is not None and max_fee_per_gas_wei > limit_wei:
            raise FeeAboveLimit(address, max_fee_per_gas_wei, limit_wei)

    def check_spend(self, address: str, spent_wei: int, more_wei: int) -> None:
        """Make sure an account may spend more within the 24 hours in which it spent so much.

        Raises:
            SpendLimitReached: it may not.
        """
        limit_wei = self.max_spend_per_day_wei
        if limit_wei is not None and spent_wei + more_wei > limit_wei:
            raise SpendLimitReached(address, spent_wei, more_wei, limit_wei)


class SenderAccount:
    """An account and its limits. At most `max_open` of its transactions are under way at once."""

    def __init__(self, signer: Signer, limits: KeyLimits | None = None, max_open: int = 16) -> None:
        self.signer = signer
        self.limits = limits or KeyLimits()
        self.max_open = max_open

    @property
    def address(self) -> str:
        """The account, lower case."""
        return self.signer.address

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction that the limits allow.

        Raises:
            FeeAboveLimit, CallNotAllowed: they do not.
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
        return f"Lane({self.signer!r})"


def as_sender(signer: Signer) -> SenderAccount:
    """A signer as a lane; one that is none already has no limits."""
    return signer if isinstance(signer, SenderAccount) else SenderAccount(signer)


def choose(
    senders: Sequence[SenderAccount],
    open_by_address: Mapping[str, int],
    vault: str,
    to: str,
    data: str,
) -> SenderAccount:
    """The lane for a call: of those whose limits allow it, the one with the least under way.

    Of one lane alone its own refusal is the answer, which says more.

    Raises:
        CallNotAllowed: the only lane may not make this call.
        NoFreeSender: no lane may, or all that may have as much under way as they may.
    """
    if len(senders) == 1:
        senders[0].limits.check_call(senders[0].address, to, data)
    allowed = [sender for sender in senders if sender.may(to, data)]
    free = [sender for sender in allowed if open_by_address.get(sender.address, 0) < sender.max_open]
    if not free:
        raise NoFreeSender(vault, len(allowed), len(allowed))
    return min(free, key=lambda sender: open_by_address.get(sender.address, 0))
