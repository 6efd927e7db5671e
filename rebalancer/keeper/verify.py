"""Verification of a mined rebalance: the vault's ledger must equal the policy's settlement, to the unit.

All inputs are read from the chain: the vault before and after the block of the transaction, and the changes in its
`Rebalanced` event. So a rebalance of an earlier run is verified in the same way.
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

_OFF_LEDGER = frozenset({"Transfer", "Approval", "FeeCollected", "PerformanceFeeCollected", "Claimed"})


def verify(rpc: Rpc, lens: str, intent: Intent, receipt: Receipt, plan: Plan | None = None) -> Outcome | None:
    """Verify the vault's ledger after a rebalance. None if the node has pruned the state around that block.

    If the vault had other transactions in the same block, or a price changed in it, a difference proves nothing: the
    outcome then has no settlement, and the log says so.

    Raises:
        LedgerMismatch: the ledger does not equal the policy's settlement of the measured fill.
        ChainError: the chain could not be read.
    """
    vault = interface("BasketVault").at(intent.vault)
    try:
        parent, mined = _blocks(rpc, receipt)
        (before,) = read_vaults(rpc, lens, [intent.vault], parent)
        (after,) = read_vaults(rpc, lens, [intent.vault], mined)
        query = {"blockHash": mined.hash, "address": intent.vault}
        logs = rpc.call("eth_getLogs", query)
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
        why = f"the receipt of {receipt.transaction_hash} has no Rebalanced event"
        raise RpcMalformed(rpc.endpoint, why)
    fill = Fill(sold=tuple(max(0, -change) for change in changes), bought=tuple(max(0, change) for change in changes))
    if plan is not None and (fill.bought, fill.sold) != (plan.expected_buys_raw, plan.sales_raw):
        log.warning("filled_differently", vault=intent.vault, expected=plan.expected_buys_raw, bought=fill.bought)
    alone = all(each["transactionHash"] == receipt.transaction_hash or _is_off_ledger(vault, each) for each in logs)
    settled = _settled(before, after, fill, intent, mined.timestamp)
    if settled is None and alone and before.basket.prices == after.basket.prices:
        expected = _settle(before, after, fill, intent, mined.timestamp)
        held = expected.held if expected else before.basket.held
        raise LedgerMismatch(intent.vault, receipt.transaction_hash, held, after.basket.held)
    if settled is None:
        why = "a price changed in its block" if alone else "its block has other transactions of the vault"
        log.warning("ledger_not_compared", tx=receipt.transaction_hash, why=why)
    predicted = plan.settlement if plan else None
    return Outcome(receipt, fill, before, after, plan, predicted, settled)


def _is_off_ledger(vault: Contract, entry: Mapping[str, Any]) -> bool:
    """Whether an event changes neither holdings nor state, such as a transfer of shares."""
    event = vault.interface.decode_log(entry)
    return event is not None and event.name in _OFF_LEDGER


def _blocks(rpc: Rpc, receipt: Receipt) -> tuple[Block, Block]:
    """The parent block of a receipt's block, and that block."""
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
    """The settlement that equals the vault's ledger, at the prices after the block or before it; None if neither
    does."""
    for priced in (after, before):
        found = _settle(before, priced, fill, intent, timestamp)
        if found and (found.held, found.state) == (after.basket.held, after.state):
            return found
    return None


def _settle(
    before: VaultSnapshot, priced: VaultSnapshot, fill: Fill, intent: Intent, timestamp: int
) -> Settlement | None:
    """The policy's settlement at another block's prices; None if the policy refuses."""
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
