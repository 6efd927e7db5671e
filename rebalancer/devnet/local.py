"""Control of a local chain, beyond what a real chain allows.

`LocalChain` sends from accounts whose keys the node holds, sets clock, balances, code and storage, and reverts to
snapshots. It works the same way on Anvil and Hardhat: both support the `hardhat_` and `evm_` methods that it calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_utils.crypto import keccak

from rebalancer.abi import at_block
from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface, reverted
from rebalancer.chain.receipt import Receipt, settled, wait_for_receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import BalanceNotFound, RpcRejected

__all__ = ["LocalAccount", "LocalChain"]

_GAS = 30_000_000
_POOL_SECONDS = 2.0
_POOL_POLL_SECONDS = 0.001
_RECEIPT_SECONDS = 30.0
_BALANCE_SLOTS = 64  # USDC keeps its balances in slot 9; proxies with many base contracts use later slots


class LocalChain:
    """A local chain. Without `sender`, transactions come from the node's first account."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc

    @cached_property
    def accounts(self) -> tuple[str, ...]:
        """The funded accounts whose keys the node holds, lower-case."""
        return tuple(self.rpc.call("eth_accounts"))

    @cached_property
    def is_anvil(self) -> bool:
        """Whether the node is Anvil; any other node is treated as Hardhat."""
        return str(self.rpc.call("web3_clientVersion")).lower().startswith("anvil")

    def account(self, address: str) -> LocalAccount:
        """An account whose key the node holds."""
        return LocalAccount(self, address)

    # Transactions

    def transact(
        self,
        contract: BoundContract,
        function: str,
        *args: Any,
        sender: str | None = None,
        value_wei: int = 0,
        gas: int = _GAS,
    ) -> Receipt:
        """Call a function in a transaction and wait for its receipt.

        Raises:
            ContractReverted: the contract reverted; with the error's name and values.
        """
        data = contract.data(function, *args)
        return self.send(contract.address, data, sender=sender, value_wei=value_wei, gas=gas)

    def deploy(
        self,
        name: str,
        *args: Any,
        sender: str | None = None,
        libraries: Mapping[str, str] | None = None,
        value_wei: int = 0,
        gas: int = _GAS,
    ) -> BoundContract:
        """Deploy a packaged contract.

        Raises:
            ContractReverted: its constructor reverted.
            ArtifactMissing: there is no such contract, or a library's address is missing.
        """
        code = load_artifact(name).creation_code(libraries)
        code += interface(name).constructor.encode(args)
        receipt = self.send(None, "0x" + code.hex(), sender=sender, value_wei=value_wei, gas=gas)
        # The receipt of a deployment always contains the address.
        return contract_at(self.rpc, name, str(receipt.contract_address))

    def send(
        self,
        to: str | None,
        data: str = "0x",
        *,
        sender: str | None = None,
        value_wei: int = 0,
        gas: int = _GAS,
    ) -> Receipt:
        """Send a transaction and wait for its receipt. `to` is None for a deployment.

        Raises:
            ContractReverted: a contract reverted.
            RpcRejected: the node refused the transaction.
        """
        message = {
            "from": sender or self.accounts[0],
            "data": data,
            "value": hex(value_wei),
            "gas": hex(gas),
        }
        if to is not None:
            message["to"] = to
        try:
            transaction_hash = self.rpc.call("eth_sendTransaction", message)
        except RpcRejected as rejection:
            raise reverted(rejection) from None
        return self.receipt(transaction_hash)

    def receipt(self, transaction_hash: str) -> Receipt:
        """Wait for a transaction to be mined.

        Raises:
            ContractReverted: a contract reverted.
            TransactionNotMined: the transaction is not mined in time.
        """
        return settled(self.rpc, wait_for_receipt(self.rpc, transaction_hash, _RECEIPT_SECONDS))

    # Blocks and time

    def block(self, block: int | str | bytes = "latest") -> Mapping[str, Any]:
        """A block's header and transaction hashes, in the form of JSON-RPC."""
        pinned = at_block(block)
        if isinstance(pinned, dict):
            found: Mapping[str, Any] = self.rpc.call("eth_getBlockByHash", pinned["blockHash"], False)
        else:
            found = self.rpc.call("eth_getBlockByNumber", pinned, False)
        return found

    def now(self) -> int:
        """Time of the latest block, unix seconds."""
        return int(self.block()["timestamp"], 16)

    def set_next_timestamp(self, at: int) -> None:
        """Set the next block's time, which must be later than that of the latest block.

        Raises:
            RpcRejected: the time is not later.
        """
        self.rpc.call("evm_setNextBlockTimestamp", hex(at))

    def run_steadily(self) -> None:
        """Make each block one second later than the last, unless its time is set, so that runs are reproducible.

        Only Anvil supports this; Hardhat continues to use the machine's clock.
        """
        if self.is_anvil:
            self.rpc.call("anvil_setBlockTimestampInterval", 1)

    def mine(self, blocks: int = 1, at: int | None = None) -> None:
        """Mine empty blocks, the first one at the time `at`."""
        if at is not None:
            self.set_next_timestamp(at)
        self.rpc.call("hardhat_mine", hex(blocks))

    def snapshot(self) -> str:
        """Take a snapshot of the whole state, and return its ID for `revert`."""
        name: str = self.rpc.call("evm_snapshot")
        return name

    def revert(self, snapshot: str) -> None:
        """Revert to a snapshot. This deletes the snapshot and all later ones."""
        if self.is_anvil:
            # Anvil removes mined transactions from its pool shortly after it has mined them. If it does so after the
            # revert, it removes the next transaction with the same nonce instead.
            deadline = time.monotonic() + _POOL_SECONDS
            while self.rpc.call("txpool_status")["pending"] != "0x0":
                if time.monotonic() > deadline:
                    break  # a transaction really is pending
                time.sleep(_POOL_POLL_SECONDS)
        if not self.rpc.call("evm_revert", snapshot):
            raise RpcRejected("evm_revert", 0, f"there is no snapshot {snapshot}")

    # State

    def balance_wei(self, account: str) -> int:
        """Ether of an account, in wei."""
        return int(self.rpc.call("eth_getBalance", account, "latest"), 16)

    def code(self, address: str) -> bytes:
        """Runtime code at an address; empty if there is none."""
        return bytes.fromhex(self.rpc.call("eth_getCode", address, "latest").removeprefix("0x"))

    def set_balance(self, account: str, amount_wei: int) -> None:
        """Set an account's ether, in wei."""
        self.rpc.call("hardhat_setBalance", account, hex(amount_wei))

    def set_code(self, address: str, code: bytes) -> None:
        """Set the runtime code at an address; its storage does not change."""
        self.rpc.call("hardhat_setCode", address, "0x" + code.hex())

    def set_storage(self, address: str, slot: int, word: bytes) -> None:
        """Set one 32-byte word of storage."""
        # Hardhat requires the slot as a quantity without leading zeros, and the word at full length.
        self.rpc.call("hardhat_setStorageAt", address, hex(slot), "0x" + word.rjust(32, b"\0").hex())

    def set_token_balance(self, token: str, holder: str, amount_raw: int) -> None:
        """Write an ERC-20 balance into storage, for tokens that cannot be minted here.

        It searches the layout of a Solidity mapping: one word at keccak(holder . slot). The total supply does not
        change.

        Raises:
            BalanceNotFound: the token stores its balances in another layout.
        """
        contract = contract_at(self.rpc, "MockToken", token)
        owner = bytes.fromhex(holder.removeprefix("0x")).rjust(32, b"\0")
        for slot in range(_BALANCE_SLOTS):
            word = int.from_bytes(keccak(owner + slot.to_bytes(32)))
            before = self.rpc.call("eth_getStorageAt", token, hex(word), "latest")
            self.set_storage(token, word, amount_raw.to_bytes(32))
            if contract.call("balanceOf", holder) == amount_raw:
                return
            self.set_storage(token, word, bytes.fromhex(before.removeprefix("0x")))
        raise BalanceNotFound(token)

    def set_nonce(self, account: str, nonce: int) -> None:
        """Set an account's nonce, which cannot decrease."""
        self.rpc.call("hardhat_setNonce", account, hex(nonce))

    @contextmanager
    def impersonating(self, account: str) -> Iterator[str]:
        """Allow sending from an account without its key."""
        self.rpc.call("hardhat_impersonateAccount", account)
        try:
            yield account
        finally:
            self.rpc.call("hardhat_stopImpersonatingAccount", account)


@dataclass(frozen=True, slots=True)
class LocalAccount:
    """An account whose key the node holds: a `deploy.Transactor`."""

    chain: LocalChain
    address: str

    @property
    def rpc(self) -> Rpc:
        """The endpoints of its chain."""
        return self.chain.rpc

    def transact(self, contract: BoundContract, function: str, *args: Any, value_wei: int = 0) -> Receipt:
        """Call a function in a transaction and wait for its receipt."""
        return self.chain.transact(contract, function, *args, sender=self.address, value_wei=value_wei)

    def deploy(self, name: str, *args: Any) -> BoundContract:
        """Deploy a packaged contract."""
        return self.chain.deploy(name, *args, sender=self.address)
