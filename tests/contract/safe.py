"""A Safe of three owners, two of whom must sign: the contracts that Safe publishes, on a local chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

from rebalancer.abi import decode_logs
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.receipt import Receipt
from rebalancer.devnet.local import LocalChain
from rebalancer.wellknown import TEST_MNEMONIC

__all__ = ["Safe", "make_safe"]

_NOBODY = "0x" + "00" * 20
_CALL, _DELEGATECALL = 0, 1
_OWNERS = (15, 16, 17)
"""Which of the node's accounts own it; whoever relays what they signed is another."""


@dataclass(frozen=True)
class Safe:
    """A Safe, with what its web app would do."""

    chain: LocalChain
    contract: BoundContract
    multi_send: BoundContract

    @property
    def address(self) -> str:
        """Its address, lower case."""
        return self.contract.address

    def execute(self, batch: Mapping[str, Any], relay: str | None = None) -> Receipt:
        """Make the calls of a Transaction Builder's file: one as it is, several atomically through MultiSend, signed by two owners."""
        calls = [(one["to"], int(one["value"]), bytes.fromhex(one["data"][2:])) for one in batch["transactions"]]
        if len(calls) == 1:
            to, value, data = calls[0]
            operation = _CALL
        else:
            packed = b"".join(
                bytes([_CALL]) + bytes.fromhex(to[2:]) + value.to_bytes(32) + len(data).to_bytes(32) + data
                for to, value, data in calls
            )
            to, value, operation = self.multi_send.address, 0, _DELEGATECALL
            data = bytes.fromhex(self.multi_send.data("multiSend", packed)[2:])
        details = (to, value, data, operation, 0, 0, 0, _NOBODY, _NOBODY)
        nonce = self.contract.call("nonce")
        digest = self.contract.call("getTransactionHash", *details, nonce)
        receipt = self.chain.transact(self.contract, "execTransaction", *details, _signatures(digest), sender=relay)
        events = decode_logs(receipt.logs, self.contract.interface)
        assert [e.name for e in events if e.address == self.address][-1] == "ExecutionSuccess"
        return receipt


def make_safe(chain: LocalChain) -> Safe:
    """Deploy Safe's contracts, and a Safe of the node's accounts 15, 16 and 17."""
    singleton, factory = chain.deploy("Safe"), chain.deploy("SafeProxyFactory")
    handler, multi_send = chain.deploy("CompatibilityFallbackHandler"), chain.deploy("MultiSend")
    owners = [Account.from_key(_key(number)).address for number in _OWNERS]
    setup = singleton.data(*("setup", owners, 2, _NOBODY, b"", handler.address, _NOBODY, 0, _NOBODY))
    receipt = chain.transact(factory, "createProxyWithNonce", singleton.address, bytes.fromhex(setup[2:]), 0)
    (made,) = (e.values["proxy"] for e in decode_logs(receipt.logs, factory.interface) if e.name == "ProxyCreation")
    return Safe(chain, contract_at(chain.rpc, singleton.name, made), multi_send)


def _signatures(digest: bytes) -> bytes:
    """Of the first two owners, in the order of their addresses, as the Safe asks for them."""
    accounts = sorted(
        (Account.from_key(_key(number)) for number in _OWNERS[:2]),
        key=lambda account: int(account.address, 16),
    )
    return b"".join(bytes(one.unsafe_sign_hash(digest).signature) for one in accounts)


def _key(number: int) -> bytes:
    return bytes(key_from_seed(seed_from_mnemonic(TEST_MNEMONIC, ""), f"m/44'/60'/0'/0/{number}"))
