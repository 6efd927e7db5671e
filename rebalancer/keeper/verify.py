"""Verification of a rebalance that was mined: the vault's ledger must be what the policy makes of it, to the unit.

Everything is read from the chain: the vault at the block before and at the block that holds the transaction, and the changes that its
`Rebalanced` event tells. So a rebalance that an earlier run sent is verified like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from rebalancer.abi import Contract
from rebalancer.block import Block
from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_vaults
from rebalancer.errors import LedgerMismatch, PolicyRefused, RpcMalformed, RpcRejected
from rebalancer.keeper.decision import Outcome
from rebalancer.plan import Plan
from rebalancer.send.attempt import Intent
from rebalancer.settlement import Fill, Settlement, settle

__all__ = ["verify"]

log = structlog.get_logger("rebalancer.keeper")

_BESIDE_BOOKS = frozenset({"Transfer", "Approval", "FeeCollected", "PerformanceFeeCollected", "Claimed"})


def verify(rpc: Rpc, lens: str, intent: Intent, receipt: Receipt, plan: Plan | None = None) -> Outcome | None:
    """Hold the vault's books against the policy. None where the node does not know the state around that block any more.

    Where the vault had other transactions in the same block, or a price changed in it, books that differ prove nothing: the
    outcome is without a settlement then, which the log says.

    Raises:
        LedgerMismatch: they are not what the policy makes of the measured fill.
        ChainError: the chain could not be read.
    """
    vault = interface("BasketVault").at(intent.vault)
    try:
        parent, mined = _blocks(rpc, receipt)
        (before,) = read_vaults(rpc, lens, [intent.vault], parent)
        (after,) = read_vaults(rpc, lens, [intent.vault], mined)
        requests_before = {"blockHash": mined.hash, "address": intent.vault}
        logs = rpc.call("eth_getLogs", requests_before)
    except RpcRejected as rejection:
        log.warning("not_verified", tx=receipt.transaction_hash, why=str(rejection))
        return None
    changes = next(
        (
            event.values["changes"]
            for each in receipt.logs
            if each["address"].lower() == intent.vault
            and (event := vault.interface.decode_log(each)) is not None
            and event.name == "Rebalanced"
        ),
        None,
    )
    if changes is None:
        why = f"its receipt of {receipt.transaction_hash} has no Rebalanced event"
        raise RpcMalformed(rpc.endpoint, why)
    fill = Fill(
        sold=tuple(max(0, -change) for change in changes),
        bought=tuple(max(0, change) for change in changes),
    )
    if plan is not None and (fill.bought, fill.sold) != (plan.expected_buys_raw, plan.sales_raw):
        log.warning(
            "filled_otherwise",
            vault=intent.vault,
            expected=plan.expected_buys_raw,
            bought=fill.bought,
        )
    alone = all(each["transactionHash"] == receipt.transaction_hash or _is_beside_books(vault, each) for each in logs)
    settled = _settled(before, after, fill, intent, mined.timestamp)
    if settled is None and alone and before.basket.prices == after.basket.prices:
        expected = _settle(before, after, fill, intent, mined.timestamp)
        held = expected.held if expected else before.basket.held
        raise LedgerMismatch(intent.vault, receipt.transaction_hash, held, after.basket.held)
    if settled is None:
        why = "a price changed in its block" if alone else "its block has others of the vault's"
        log.warning("books_not_compared", tx=receipt.transaction_hash, why=why)
    predicted = plan.settlement if plan else None
    return Outcome(receipt, fill, before, after, plan, predicted, settled)


def _is_beside_books(vault: Contract, entry: Mapping[str, Any]) -> bool:
    """Whether a log tells of nothing that changes holdings or state, such as a share that changes hands."""
    event = vault.interface.decode_log(entry)
    return event is not None and event.name in _BESIDE_BOOKS


def _blocks(rpc: Rpc, receipt: Receipt) -> tuple[Block, Block]:
    """The block before a receipt's, and its own."""
    mined = _header(rpc, receipt.block_hash)
    parent = _header(rpc, mined["parentHash"])
    return _block(parent), _block(mined)


def _header(rpc: Rpc, block_hash: str) -> Any:
    found = rpc.call("eth_getBlockByHash", block_hash, False)
    if found is None:
        raise RpcMalformed(rpc.endpoint, f"there is no block {block_hash}")
    return found


def _block(header: Any) -> Block:
    return Block(int(header["number"], 16), header["hash"], int(header["timestamp"], 16))


def _settled(
    before: VaultSnapshot, after: VaultSnapshot, fill: Fill, intent: Intent, timestamp: int
) -> Settlement | None:
    """The settlement that agrees with the vault's books, at the prices after the block or before it; None if neither does."""
    for priced in (after, before):
        found = _settle(before, priced, fill, intent, timestamp)
        if found and (found.held, found.state) == (after.basket.held, after.state):
            return found
    return None


def _settle(
    before: VaultSnapshot, priced: VaultSnapshot, fill: Fill, intent: Intent, timestamp: int
) -> Settlement | None:
    """What the policy makes of it at another block's prices, None if it would have refused."""
    rebalance = interface("BasketVault").functions["rebalance"]
    epoch, sales_raw, min_buys_raw, _, _ = rebalance.arguments(intent.data)
    try:
        return settle(
            before.policy,
            before.state,
            replace(before.basket, prices=priced.basket.prices),
            fill,
            min_buys_raw,
            timestamp,
            epoch=epoch,
            sales=sales_raw,
        )
    except PolicyRefused:
        return None
