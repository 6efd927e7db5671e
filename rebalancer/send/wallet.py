"""Wallet of a person: each action becomes a transaction that is mined.

It estimates (which also simulates, so that a call that would revert is never sent), signs, sends, waits and checks. A
wallet keeps no journal: after an interruption, the user checks the chain. Automatic senders use the outbox instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface, reverted
from rebalancer.chain.l1_fees import read_l1_fees, transaction_bytes
from rebalancer.chain.receipt import Receipt, settled, wait_for_receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    L1FeeUnknown,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    SendUncertain,
    TransactionNotMined,
)
from rebalancer.send.costs import check_ether, estimate_gas
from rebalancer.send.fees import suggest
from rebalancer.send.signed import SignedTransaction, Signer

__all__ = ["OnSent", "Wallet"]

_RECEIPT_SECONDS = 180.0
_SETTLE_POLL_SECONDS = 0.5

OnSent = Callable[[str, str], None]
"""Called with a description and the transaction hash, before the wait for the receipt."""


class Wallet:
    """Actions of one account on one chain, at most `fee_cap_wei` per gas.

    If the wait for a receipt is interrupted, a note of the `KeyboardInterrupt` has the transaction's hash.
    """

    def __init__(
        self,
        rpc: Rpc,
        signer: Signer,
        fee_cap_wei: int,
        receipt_timeout_s: float = _RECEIPT_SECONDS,
        on_sent: OnSent | None = None,
    ) -> None:
        self.on_sent = on_sent
        self.rpc = rpc
        self.signer = signer
        self.fee_cap_wei = fee_cap_wei
        self.receipt_timeout_s = receipt_timeout_s

    pays_gas = True
    """Whether the account pays for its actions with its own ether."""
    deadline_seconds = 1_200
    """Time limit of swaps: after that, their prices are too old."""

    @property
    def address(self) -> str:
        """The account in lower case."""
        return self.signer.address

    @cached_property
    def chain_id(self) -> int:
        """Id of the chain."""
        return self.rpc.chain_id()

    def transact(self, contract: BoundContract, function: str, *args: Any, value_wei: int = 0) -> Receipt:
        """Call a function in a transaction and wait for its receipt.

        Raises:
            As `send`.
        """
        what = f"{function} to {contract.address}"
        data = contract.data(function, *args)
        return self.send(contract.address, data, value_wei=value_wei, what=what)

    def read(self, contract: BoundContract, function: str, *args: Any) -> Any:
        """Read from a contract, after all actions of this wallet.

        Raises:
            As `BoundContract.call`.
        """
        return contract.call(function, *args)

    def later(self, target: str, data: str, executable_at: int) -> bool:  # noqa: ARG002 (a Recorder's)
        """Whether a scheduled call that is not due yet is recorded. A wallet that signs records nothing."""
        return False

    def deploy(self, name: str, *args: Any, libraries: Mapping[str, str] | None = None) -> BoundContract:
        """Deploy a packaged contract, linked to libraries by name.

        Raises:
            ArtifactMissing: there is no such contract, or a library's address is missing.
            As `send`.
        """
        code = load_artifact(name).creation_code(libraries)
        code += interface(name).constructor.encode(args)
        receipt = self.send(None, "0x" + code.hex(), what=f"deployment of {name}")
        # The receipt of a deployment always has the address.
        return contract_at(self.rpc, name, str(receipt.contract_address))

    def send(self, to: str | None, data: str = "0x", *, value_wei: int = 0, what: str = "a transaction") -> Receipt:
        """Send a transaction (`to` is None for a deployment) and wait for its receipt. `what` describes it for
        `on_sent`.

        Raises:
            ContractReverted: it reverts, either in the estimate or when mined.
            InsufficientEther: the account cannot pay for it; nothing was sent.
            FeeAboveCap: gas is too expensive; nothing was sent.
            SendUncertain: the connection broke while it was sent.
            TransactionNotMined: it was sent, but not mined in time.
            DevnetKeyOnRealChain: a test key would sign for a real chain.
        """
        check_ether(self.rpc, self.address, value_wei)
        gas_limit = estimate_gas(self.rpc, self.address, to, data, value_wei)
        fees = suggest(self.rpc, self.fee_cap_wei)
        most_wei = value_wei + gas_limit * fees.max_fee_per_gas_wei
        # If the chain does not report its L1 fees, the node still rejects what the account cannot pay.
        with suppress(L1FeeUnknown):
            most_wei += read_l1_fees(self.rpc).beside_gas_wei(transaction_bytes(data), gas_limit)
        check_ether(self.rpc, self.address, most_wei)
        transaction = {
            "type": 2,
            "chainId": self.chain_id,
            "nonce": int(self.rpc.call("eth_getTransactionCount", self.address, "pending"), 16),
            "data": data,
            "value": value_wei,
            "gas": gas_limit,
            "maxFeePerGas": fees.max_fee_per_gas_wei,
            "maxPriorityFeePerGas": fees.max_priority_fee_per_gas_wei,
        }
        if to is not None:
            transaction["to"] = to
        signed = self.signer.sign(transaction)
        try:
            self._hand_over(signed)
            if self.on_sent:
                self.on_sent(what, signed.hash)
            receipt = wait_for_receipt(self.rpc, signed.hash, self.receipt_timeout_s)
        except KeyboardInterrupt as stop:
            stop.add_note(f"It may still be mined: {what}, transaction {signed.hash}.")
            raise
        return settled(self.rpc, receipt)

    def settle(self) -> None:
        """Wait until no transaction of this account is pending, as far as the node knows.

        Raises:
            TransactionNotMined: one is still pending after the time for a receipt.
        """
        deadline = time.monotonic() + self.receipt_timeout_s
        while True:
            mined, sent = (
                int(self.rpc.call("eth_getTransactionCount", self.address, at), 16) for at in ("latest", "pending")
            )
            if sent <= mined:
                return
            if time.monotonic() > deadline:
                name = f"{mined} of {self.address}"
                raise TransactionNotMined(name, self.receipt_timeout_s)
            time.sleep(_SETTLE_POLL_SECONDS)

    def _hand_over(self, signed: SignedTransaction) -> None:
        try:
            self.rpc.call("eth_sendRawTransaction", "0x" + signed.raw.hex())
        except RpcRejected as rejection:
            raise reverted(rejection) from None
        except (RpcTimeout, RpcUnreachable, RpcMalformed) as lost:
            raise SendUncertain(signed.hash, str(lost)) from lost
