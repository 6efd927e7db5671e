"""Signed transactions, and the protocol of signers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

__all__ = ["SignedTransaction", "Signer", "read_signed"]


@dataclass(frozen=True)
class SignedTransaction:
    """The signed bytes to send, and the transaction hash."""

    raw: bytes
    hash: str


class Signer(Protocol):
    """Signs for one account."""

    @property
    def address(self) -> str:
        """The account, lower case."""

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction with eth-account's fields (`chainId`, `nonce`, `maxFeePerGas` …)."""


def read_signed(raw: bytes) -> tuple[Mapping[str, Any], str]:
    """Fields of a signed EIP-1559 transaction, bytes as bytes, and its sender in lower case.

    Raises:
        ValueError: it is not a signed EIP-1559 transaction.
    """
    try:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        return fields, Account.recover_transaction(raw).lower()
    except Exception as error:  # untrusted bytes: the libraries raise many types
        raise ValueError("it is not a signed EIP-1559 transaction") from error
