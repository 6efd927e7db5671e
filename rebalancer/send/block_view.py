"""View of one block: what it says of nonces and receipts, for all attempts in a few requests, or for one attempt.

Nothing here reads or writes the journal, and nothing is signed or sent.
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
    """What the chain says of all attempts at one block."""

    def __init__(self, rpc: Rpc, height: int, epochs: Mapping[str, int]) -> None:
        """`height` is the newest block, and `epochs` has the epoch now of each vault that is known."""
        self.rpc = rpc
        self.height = height
        self.counts: dict[str, int] = {}
        """By sender, how many of its nonces blocks have used."""
        self.hashes: dict[int, str | None] = {}
        """By number, the hash of each block that was said to hold an attempt; None where there is no such block."""
        self._epochs = epochs
        self._receipts: dict[str, Receipt] = {}
        self._market: GasMarket | None = None

    def read(self, attempts: Sequence[Attempt]) -> None:
        """Request the counts of all senders, the receipts of all that is open or held, and the blocks that hold it."""
        senders = sorted({one.sender for one in attempts})
        numbers = sorted({one.block_number for one in attempts if one.block_number is not None})
        # A set: an epoch that is tried anew may be signed to the very same bytes.
        hashes = sorted(
            {
                version.transaction_hash
                for one in attempts
                for version in one.versions
                if one.mined_hash in (None, version.transaction_hash)
            }
        )
        # Counts first: a count that was read before the receipts never outruns them.
        calls: list[Call] = [("eth_getTransactionCount", [a, "latest"]) for a in senders]
        calls += [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        calls += [("eth_getTransactionReceipt", [tx]) for tx in hashes]
        answers: list[Any] = []
        for first in range(0, len(calls), _CALLS_PER_BATCH):
            answers += self.rpc.batch(calls[first : first + _CALLS_PER_BATCH])
        rest = iter(answers)
        self.counts = {sender: int(next(rest), 16) for sender in senders}
        self.hashes = {number: (next(rest) or {}).get("hash") for number in numbers}
        found = {tx: read_receipt(self.rpc, next(rest)) for tx in hashes}
        self._receipts = {tx: one for tx, one in found.items() if one is not None}

    def receipt(self, attempt: Attempt) -> Receipt | None:
        """The receipt of whichever version a block holds."""
        for version in attempt.versions:
            if version.transaction_hash in self._receipts:
                return self._receipts[version.transaction_hash]
        return None

    def obsolete(self, attempt: Attempt) -> str:
        """Why an attempt that is not mined is no longer wanted, "" if it is."""
        intent = attempt.intent
        if intent.deadline_block is not None and self.height > intent.deadline_block:
            return f"its deadline, block {intent.deadline_block}, has passed"
        now = self._epochs.get(intent.vault)
        if now is not None and now > intent.epoch >= 0:
            return f"the vault's epoch is {now} by now"
        return ""

    @property
    def market(self) -> GasMarket:
        """What gas costs now, requested once and only if somebody wants to know."""
        if self._market is None:
            self._market = read_market(self.rpc)
        return self._market


def newest_height(rpc: Rpc) -> int:
    """The number of the newest block."""
    return int(rpc.call("eth_blockNumber"), 16)


def nonce_count(rpc: Rpc, sender: str, block: str) -> int:
    """How many nonces of an account are used at a block, which is the next nonce; "pending" counts what waits, too."""
    return int(rpc.call("eth_getTransactionCount", sender, block), 16)


def find_mined(rpc: Rpc, attempt: Attempt) -> Receipt | None:
    """The receipt of whichever version of an attempt a block holds."""
    for version in reversed(attempt.versions):
        receipt = find_receipt(rpc, version.transaction_hash)
        if receipt is not None:
            return receipt
    return None
