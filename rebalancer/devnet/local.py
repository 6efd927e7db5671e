"""What can be done to a local chain that cannot be done to a real one?

`LocalChain` sends from accounts whose keys the node holds, sets clocks, balances, code and
storage, and goes back in time. It works alike on Anvil and Hardhat, on nodes started here or
elsewhere; both know the `hardhat_` and `evm_` methods used.
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
_BALANCE_SLOTS = 64  # USDC keeps its balances in slot 9; proxies that inherit much, further down


class LocalChain:
    """The powers over a local chain. Sends go from the first account unless told otherwise."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc

    @cached_property
    def accounts(self) -> tuple[str, ...]:
        """The funded accounts whose keys the node holds, lower-case."""
        return tuple(self.rpc.call("eth_accounts"))

    @cached_property
    def is_anvil(self) -> bool:
        """Whether Anvil runs it; anything else is treated as Hardhat."""
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
            ContractReverted: the contract refused; with the error's name and numbers.
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
            ContractReverted: its constructor refused.
            ArtifactMissing: there is no such contract, or a library's address is not given.
        """
        code = load_artifact(name).creation_code(libraries)
        code += interface(name).constructor.encode(args)
        receipt = self.send(None, "0x" + code.hex(), sender=sender, value_wei=value_wei, gas=gas)
        # The receipt of a deployment always names the address.
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
        """Send a transaction, to nobody for a deployment, and wait for its receipt.

        Raises:
            ContractReverted: a contract refused.
            RpcRejected: the node did not take the transaction.
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
            ContractReverted: a contract refused.
            TransactionNotMined: it is not mined in time.
        """
        return settled(self.rpc, wait_for_receipt(self.rpc, transaction_hash, _RECEIPT_SECONDS))

    # Blocks and time

    def block(self, block: int | str | bytes = "latest") -> Mapping[str, Any]:
        """A block's header and transaction hashes, as JSON-RPC has them."""
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
        """Fix the next block's time, which must be after the latest block's.

        Raises:
            RpcRejected: it is not.
        """
        self.rpc.call("evm_setNextBlockTimestamp", hex(at))

    def run_steadily(self) -> None:
        """From now on every block comes one second after the last, unless told otherwise, so that runs repeat exactly.

        Only Anvil can; Hardhat's clock goes on with the machine's.
        """
        if self.is_anvil:
            self.rpc.call("anvil_setBlockTimestampInterval", 1)

    def mine(self, blocks: int = 1, at: int | None = None) -> None:
        """Mine empty blocks, the first of them at a given time."""
        if at is not None:
            self.set_next_timestamp(at)
        self.rpc.call("hardhat_mine", hex(blocks))

    def snapshot(self) -> str:
        """Remember the whole state; the answer names it for `revert`."""
        name: str = self.rpc.call("evm_snapshot")
        return name

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot, which is thereby used up with all that came after it."""
        if self.is_anvil:
            # Anvil takes mined transactions out of its pool a moment after it has mined them; if that comes after the
            # revert, it takes the next transaction of the same nonce instead.
            deadline = time.monotonic() + _POOL_SECONDS
            while self.rpc.call("txpool_status")["pending"] != "0x0":
                if time.monotonic() > deadline:
                    break  # somebody's transaction really waits; that is for them to know
                time.sleep(_POOL_POLL_SECONDS)
        if not self.rpc.call("evm_revert", snapshot):
            raise RpcRejected("evm_revert", 0, f"there is no snapshot {snapshot}")

    # State

    def balance_wei(self, account: str) -> int:
        """Ether of an account."""
        return int(self.rpc.call("eth_getBalance", account, "latest"), 16)

    def code(self, address: str) -> bytes:
        """Runtime code at an address, empty if none."""
        return bytes.fromhex(self.rpc.call("eth_getCode", address, "latest").removeprefix("0x"))

    def set_balance(self, account: str, amount_wei: int) -> None:
        """Set an account's ether."""
        self.rpc.call("hardhat_setBalance", account, hex(amount_wei))

    def set_code(self, address: str, code: bytes) -> None:
        """Put runtime code at an address; its storage stays."""
        self.rpc.call("hardhat_setCode", address, "0x" + code.hex())

    def set_storage(self, address: str, slot: int, word: bytes) -> None:
        """Set one 32-byte word of storage."""
        # Hardhat wants the slot as a quantity, without leading zeros, and the word at full length.
        self.rpc.call("hardhat_setStorageAt", address, hex(slot), "0x" + word.rjust(32, b"\0").hex())

    def set_token_balance(self, token: str, holder: str, amount_raw: int) -> None:
        """Write an ERC-20 balance into storage, for tokens that nobody here may mint.

        Balances are looked for as Solidity keeps a mapping: one word at keccak(holder . slot). The
        total supply does not follow.

        Raises:
            BalanceNotFound: the token keeps its balances some other way.
        """
        contract = contract_at(self.rpc, "MockToken", token)
        owner = bytes.fromhex(holder.removeprefix("0x")).rjust(32, b"\0")
        for slot in range(_BALANCE_SLOTS):
            place = int.from_bytes(keccak(owner + slot.to_bytes(32)))
            before = self.rpc.call("eth_getStorageAt", token, hex(place), "latest")
            self.set_storage(token, place, amount_raw.to_bytes(32))
            if contract.call("balanceOf", holder) == amount_raw:
                return
            self.set_storage(token, place, bytes.fromhex(before.removeprefix("0x")))
        raise BalanceNotFound(token)

    def set_nonce(self, account: str, nonce: int) -> None:
        """Set an account's nonce, never below what it is."""
        self.rpc.call("hardhat_setNonce", account, hex(nonce))

    @contextmanager
    def impersonating(self, account: str) -> Iterator[str]:
        """Within it the node sends from an account whose key nobody here has."""
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
