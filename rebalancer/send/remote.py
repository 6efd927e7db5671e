"""External signer: another program holds the key and signs by `eth_signTransaction`, as Clef and Web3Signer do.

Its answer is not trusted: the signed transaction is decoded and compared with the request field by field, and so is its
sender.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ChainError, SignedOtherwise, SignerUnavailable
from rebalancer.send.signed import SignedTransaction, read_signed

__all__ = ["ExternalSigner", "checked", "open_external"]

_FIELDS = (*("type", "chainId", "nonce", "to", "data", "value"), *("gas", "maxFeePerGas", "maxPriorityFeePerGas"))


class ExternalSigner:
    """An account whose key another program holds; it signs over JSON-RPC."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        self._rpc = rpc
        self.address = address.lower()

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Have a transaction signed, and verify the answer.

        Raises:
            SignerUnavailable: the signer does not answer, refuses, or returns no transaction.
            SignedOtherwise: it signed another transaction, or with another key.
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
    """The external signer at a URL, for an account, or for its only account.

    Raises:
        SignerUnavailable: it does not answer, or does not have exactly one account.
    """
    rpc = Rpc(url)
    if address is None:
        try:
            accounts = rpc.call("eth_accounts")
        except ChainError as failure:
            raise SignerUnavailable(rpc.endpoint, str(failure)) from None
        if not isinstance(accounts, list) or len(accounts) != 1:
            raise SignerUnavailable(rpc.endpoint, "it does not have exactly one account: set signer_address")
        address = str(accounts[0])
    return ExternalSigner(rpc, address)


def checked(raw: bytes, requested: Mapping[str, Any], address: str) -> SignedTransaction:
    """Verify that a signed transaction is exactly the requested one, signed by `address`.

    Raises:
        SignedOtherwise: it is not; names the first field that differs.
        ValueError: it is not a signed EIP-1559 transaction.
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
    """A field of a transaction in normal form: integers, and bytes as lower-case hex."""
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value).lower() if value else "0x"
