"""View of one block: nonces and receipts of all attempts in few requests, or of one attempt.

This module neither uses the journal, nor signs or sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rebalancer.abi import Call
from rebalancer.chain.receipt import Receipt, find_receipt, read_receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.send.attempt import Attempt
from rebalancer.send.fees import GasMarket, read_market

__all__ = ["BlockView", "find_mined", "newest_height", "nonce_count"]

_CALLS_PER_BATCH = 100


class BlockView:
    """State of all attempts on the chain at one block."""

    def __init__(self, rpc: Rpc, height: int, epochs: Mapping[str, int]) -> None:
        """`height` is the newest block. `epochs` has the current epochs of vaults, where known."""
        self.rpc = rpc
        self.height = height
        self.counts: dict[str, int] = {}
        """Number of used nonces by sender."""
        self.hashes: dict[int, str | None] = {}
        """Hash by block number, for the blocks that are recorded as holding an attempt; None if there is no such
        block."""
        self._epochs = epochs
        self._receipts: dict[str, Receipt] = {}
        self._market: GasMarket | None = None

    def read(self, attempts: Sequence[Attempt]) -> None:
        """Read the nonce counts of all senders, the receipts of all versions that are open or mined, and the blocks of
        the mined ones."""
        senders = sorted({one.sender for one in attempts})
        numbers = sorted({one.block_number for one in attempts if one.block_number is not None})
        # A set: a second attempt at an epoch can have the same signed bytes.
        hashes = sorted(
            {
                version.transaction_hash
                for one in attempts
                for version in one.versions
                if one.mined_hash in (None, version.transaction_hash)
            }
        )
        # Counts first, so that a count is never newer than the receipts.
        calls: list[Call] = [("eth_getTransactionCount", [a, "latest"]) for a in senders]
        calls += [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        calls += [("eth_getTransactionReceipt", [tx]) for tx in hashes]
        answers: list[Any] = []
        for first in range(0, len(calls), _CALLS_PER_BATCH):
            answers += self.rpc.batch(calls[first : first + _CALLS_PER_BATCH])
        remaining = iter(answers)
        self.counts = {sender: int(next(remaining), 16) for sender in senders}
        self.hashes = {number: (next(remaining) or {}).get("hash") for number in numbers}
        found = {tx: read_receipt(self.rpc, next(remaining)) for tx in hashes}
        self._receipts = {tx: one for tx, one in found.items() if one is not None}

    def receipt(self, attempt: Attempt) -> Receipt | None:
        """Receipt of the mined version, if there is one."""
        for version in attempt.versions:
            if version.transaction_hash in self._receipts:
                return self._receipts[version.transaction_hash]
        return None

    def obsolete(self, attempt: Attempt) -> str:
        """Why an attempt that is not mined is obsolete; "" if it is not."""
        intent = attempt.intent
        if intent.deadline_block is not None and self.height > intent.deadline_block:
            return f"its deadline, block {intent.deadline_block}, has passed"
        now = self._epochs.get(intent.vault)
        if now is not None and now > intent.epoch >= 0:
            return f"the vault's epoch is now {now}"
        return ""

    @property
    def market(self) -> GasMarket:
        """Current gas prices, read once and only when needed."""
        if self._market is None:
            self._market = read_market(self.rpc)
        return self._market


def newest_height(rpc: Rpc) -> int:
    """The number of the newest block."""
    return int(rpc.call("eth_blockNumber"), 16)


def nonce_count(rpc: Rpc, sender: str, block: str) -> int:
    """Number of used nonces of an account at a block, which is the next nonce; at "pending", including pending
    transactions."""
    return int(rpc.call("eth_getTransactionCount", sender, block), 16)


def find_mined(rpc: Rpc, attempt: Attempt) -> Receipt | None:
    """Receipt of the mined version of an attempt, if there is one."""
    for version in reversed(attempt.versions):
        receipt = find_receipt(rpc, version.transaction_hash)
        if receipt is not None:
            return receipt
    return None
