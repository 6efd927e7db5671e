"""An external signer, which holds the key where this process does not (`eth_signTransaction`, as Clef and Web3Signer serve it).

It is not believed: what it returns is decoded and held against what was asked, field by field, and so is whose signature it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, SignedOtherwise, SignerUnavailable
from rebalancer.send.signed import SignedTransaction, read_signed

__all__ = ["ExternalSigner", "checked", "open_external"]

_FIELDS = (
    *("type", "chainId", "nonce", "to", "data", "value"),
    *("gas", "maxFeePerGas", "maxPriorityFeePerGas"),
)


class ExternalSigner:
    """An account whose key another program holds and signs with over JSON-RPC."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        self._rpc = rpc
        self.address = address.lower()

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Have a transaction signed, and check what comes back.

        Raises:
            SignerUnavailable: the signer does not answer, refuses, or answers what is no transaction.
            SignedOtherwise: it signed something else, or with another key.
        """
        message = {
            name: hex(transaction[name])
            for name in _FIELDS
            if name in transaction and isinstance(transaction[name], int)
        }
        message |= {"from": self.address, "data": transaction["data"]}
        if transaction.get("to"):
            message["to"] = transaction["to"]
        try:
            answer = self._rpc.call("eth_signTransaction", message)
        except ChainError as failure:
            raise SignerUnavailable(self._rpc.endpoint, str(failure)) from None
        # Web3Signer answers with the bytes, Clef and nodes with an object that holds them.
        raw = answer.get("raw") if isinstance(answer, dict) else answer
        try:
            return checked(bytes.fromhex(str(raw).removeprefix("0x")), transaction, self.address)
        except ValueError as undecodable:
            raise SignerUnavailable(self._rpc.endpoint, str(undecodable)) from None

    def __repr__(self) -> str:
        return f"ExternalSigner({self.address} at {self._rpc.endpoint})"


def open_external(url: str, address: str | None) -> ExternalSigner:
    """The external signer at a URL, for an account, or for the only one that it has.

    Raises:
        SignerUnavailable: it does not answer, or has another number of accounts than one.
    """
    rpc = Rpc(url)
    if address is None:
        try:
            accounts = rpc.call("eth_accounts")
        except ChainError as failure:
            raise SignerUnavailable(rpc.endpoint, str(failure)) from None
        if not isinstance(accounts, list) or len(accounts) != 1:
            raise SignerUnavailable(rpc.endpoint, "it has not one account alone: name signer_address")
        address = str(accounts[0])
    return ExternalSigner(rpc, address)


def checked(raw: bytes, requested: Mapping[str, Any], address: str) -> SignedTransaction:
    """A signed transaction, if it is exactly what was asked, by exactly who was asked.

    Raises:
        SignedOtherwise: it is not; names the first field that differs.
        ValueError: it is no signed EIP-1559 transaction.
    """
    found, sender = read_signed(raw)
    for name in _FIELDS:
        wanted, signed = _comparable(requested.get(name)), _comparable(found.get(name))
        if wanted != signed:
            raise SignedOtherwise(name, wanted, signed)
    if found.get("accessList"):
        raise SignedOtherwise("accessList", "empty", "not empty")
    if sender != address:
        raise SignedOtherwise("the sender", address, sender)
    return SignedTransaction(raw, "0x" + keccak(raw).hex())


def _comparable(value: Any) -> Any:
    """A field of a transaction however it is spelt: whole numbers, and bytes as lower-case hex."""
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value).lower() if value else "0x"
