"""Signed transactions, and whoever can sign one."""

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
    """What is sent, byte for byte, and the hash it will be known by."""

    raw: bytes
    hash: str


class Signer(Protocol):
    """Whoever can sign for one account."""

    @property
    def address(self) -> str:
        """The account, lower case."""

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction with eth-account's fields (`chainId`, `nonce`, `maxFeePerGas` …)."""


def read_signed(raw: bytes) -> tuple[Mapping[str, Any], str]:
    """A signed EIP-1559 transaction's fields, bytes as bytes, and who signed it, lower case.

    Raises:
        ValueError: it is none.
    """
    try:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        return fields, Account.recover_transaction(raw).lower()
    except Exception as error:  # bytes of a stranger: the libraries below raise many kinds
        raise ValueError("it is no signed EIP-1559 transaction") from error
