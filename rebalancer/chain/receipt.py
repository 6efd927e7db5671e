"""Receipts of transactions, and the reasons of reverted ones.

Nothing is sent here. A receipt is the node's current view: a reorg may still remove it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rlp
import structlog
from eth_utils.crypto import keccak

from rebalancer.abi import at_block
from rebalancer.chain.interfaces import decode_revert
from rebalancer.chain.l1_fees import Rollup, known_rollup, read_l1_fees, transaction_bytes
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ContractReverted, L1FeeUnknown, RpcMalformed, RpcRejected, TransactionNotMined
from rebalancer.units import div_up

__all__ = ["NoLogs", "Receipt", "find_receipt", "read_receipt", "refusal", "settled", "wait_for_receipt"]

log = structlog.get_logger("rebalancer.receipt")

_FIRST_POLL_SECONDS = 0.001  # Anvil mines immediately after its answer
_LONGEST_POLL_SECONDS = 1.0

# Fields of a transaction's JSON, and their names in an eth_call.
_REPLAYED_FIELDS = {"from": "from", "to": "to", "input": "data", "value": "value", "gas": "gas"}


class NoLogs(Exception):  # noqa: N818 (no error: what was asked for is done)
    """A call was recorded instead of sent, and its effect is unknown, so there are no logs. Never raised for a mined
    transaction."""


@dataclass(frozen=True)
class Receipt:
    """A mined transaction. `logs` are in JSON-RPC form; a reverted transaction has no logs."""

    transaction_hash: str
    block_number: int
    block_hash: str
    gas_used: int
    contract_address: str | None
    """In lower case."""
    logs: tuple[Mapping[str, Any], ...]
    gas_price_wei: int
    succeeded: bool
    l1_fee_wei: int = 0
    """Fee of an OP-stack chain for the data on L1, in addition to gas."""
    operator_fee_wei: int = 0
    """Fee of an OP-stack chain's operator, in addition to gas."""
    l1_gas_used: int = 0
    """The part of `gas_used` that an Arbitrum chain charged for the data on L1."""

    @property
    def beside_gas_wei(self) -> int:
        """Cost that is not gas times its price."""
        return self.l1_fee_wei + self.operator_fee_wei

    @property
    def cost_wei(self) -> int:
        """Total cost: gas, and the rollup's fees in addition to it."""
        return self.gas_used * self.gas_price_wei + self.beside_gas_wei

    @property
    def rollup_wei(self) -> int:
        """The part of the cost that is for L1 data and the operator."""
        return self.beside_gas_wei + self.l1_gas_used * self.gas_price_wei


def read_receipt(rpc: Rpc, found: Mapping[str, Any] | None) -> Receipt | None:
    """A JSON-RPC receipt as `Receipt`; None for a transaction that is not mined.

    Missing fields are derived from the transaction: the contract address, and upper bounds of gas used and gas price.

    Raises:
        RpcMalformed: status or logs are missing, or the missing fields cannot be derived.
    """
    if found is None or found.get("blockHash") is None or found.get("blockNumber") is None:
        return None
    if found.get("status") is None or found.get("logs") is None:
        raise RpcMalformed(rpc.endpoint, "a mined receipt without status or logs")
    if any(found.get(name) is None for name in ("gasUsed", "effectiveGasPrice")) or ("contractAddress" not in found):
        found = _completed(rpc, found)
    contract = found["contractAddress"]
    return Receipt(
        found["transactionHash"],
        int(found["blockNumber"], 16),
        found["blockHash"],
        int(found["gasUsed"], 16),
        contract,
        tuple(found["logs"]),
        int(found["effectiveGasPrice"], 16),
        int(found["status"], 16) == 1,
        _l1_fee_wei(rpc, found),
        _operator_fee_wei(found),
        int(found.get("gasUsedForL1") or "0x0", 16),
    )


def _l1_fee_wei(rpc: Rpc, found: Mapping[str, Any]) -> int:
    """The L1 data fee in a receipt. If an OP-stack chain's node omits it: the current upper bound."""
    if found.get("l1Fee") is not None:
        return int(found["l1Fee"], 16)
    if known_rollup(rpc) is not Rollup.OP_STACK:
        return 0
    sent = rpc.call("eth_getTransactionByHash", found["transactionHash"])
    try:
        bound_wei = read_l1_fees(rpc).data_wei(transaction_bytes(sent["input"] if sent else "0x"))
    except L1FeeUnknown as unknown:
        log.warning("l1_fee_not_counted", tx=found["transactionHash"], why=str(unknown))
        return 0
    log.warning("l1_fee_not_in_receipt", tx=found["transactionHash"], at_most_wei=bound_wei)
    return bound_wei


def _operator_fee_wei(found: Mapping[str, Any]) -> int:
    """Fee of an OP-stack chain's operator, rounded up.

    The scalar is in millionths before Jovian and in hundreds since. The receipt of a Jovian block has
    `daFootprintGasScalar` (op-geth's types.Receipt).
    """
    scalar = int(found.get("operatorFeeScalar") or "0x0", 16)
    constant_wei = int(found.get("operatorFeeConstant") or "0x0", 16)
    scaled = int(found["gasUsed"], 16) * scalar
    is_jovian = found.get("daFootprintGasScalar") is not None
    return (100 * scaled if is_jovian else div_up(scaled, 10**6)) + constant_wei


def _completed(rpc: Rpc, found: Mapping[str, Any]) -> dict[str, Any]:
    """A mined receipt, with missing fields derived from its transaction."""
    sent = rpc.call("eth_getTransactionByHash", found["transactionHash"])
    if sent is None:
        raise RpcMalformed(rpc.endpoint, "it has a mined receipt, but not its transaction")
    price = sent.get("gasPrice") or sent.get("maxFeePerGas")
    if sent.get("gas") is None or price is None or sent.get("from") is None:
        raise RpcMalformed(rpc.endpoint, "neither the receipt nor the transaction contains the gas")
    creator = bytes.fromhex(sent["from"][2:])
    made = keccak(rlp.encode([creator, int(sent["nonce"], 16)]))[-20:]
    known = {name: value for name, value in found.items() if value is not None}
    return {
        "gasUsed": sent["gas"],
        "effectiveGasPrice": price,
        "contractAddress": None if sent.get("to") else "0x" + made.hex(),
        **known,
    }


def find_receipt(rpc: Rpc, transaction_hash: str) -> Receipt | None:
    """The receipt of a transaction, or None while it is not mined."""
    return read_receipt(rpc, rpc.call("eth_getTransactionReceipt", transaction_hash))


def wait_for_receipt(rpc: Rpc, transaction_hash: str, timeout_s: float) -> Receipt:
    """Wait for a transaction to be mined, whether it succeeds or not.

    Raises:
        TransactionNotMined: it is not mined within the timeout; it may be mined later.
    """
    deadline = time.monotonic() + timeout_s
    pause = _FIRST_POLL_SECONDS
    while True:
        receipt = find_receipt(rpc, transaction_hash)
        if receipt is not None:
            return receipt
        if time.monotonic() + pause > deadline:
            raise TransactionNotMined(transaction_hash, timeout_s)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_POLL_SECONDS)


def settled(rpc: Rpc, receipt: Receipt) -> Receipt:
    """The receipt, if the transaction succeeded.

    Raises:
        ContractReverted: the transaction reverted.
    """
    if not receipt.succeeded:
        raise refusal(rpc, receipt)
    return receipt


def refusal(rpc: Rpc, receipt: Receipt) -> ContractReverted:
    """Why a mined transaction reverted, as far as the node can show.

    A node without a tracer replays the call on the block's final state. A later transaction in the block may have
    changed that result.
    """
    data = _traced(rpc, receipt)
    if data:
        return decode_revert(data)
    transaction = rpc.call("eth_getTransactionByHash", receipt.transaction_hash)
    gas_limit = int(transaction["gas"], 16)
    if receipt.gas_used == gas_limit:
        return ContractReverted("OutOfGas", {"gas_limit": gas_limit})
    if data is None:
        data = _replayed(rpc, receipt, transaction)
    return decode_revert(data)


def _traced(rpc: Rpc, receipt: Receipt) -> bytes | None:
    """Revert data from the node's tracer, or None if the node has no tracer."""
    tracer = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
    try:
        trace = rpc.call("debug_traceTransaction", receipt.transaction_hash, tracer)
    except RpcRejected:
        return None
    return bytes.fromhex(trace.get("output", "0x").removeprefix("0x"))


def _replayed(rpc: Rpc, receipt: Receipt, transaction: Mapping[str, Any]) -> bytes:
    message = {
        there: transaction[here] for here, there in _REPLAYED_FIELDS.items() if transaction.get(here) is not None
    }
    try:
        rpc.call("eth_call", message, at_block(receipt.block_number))
    except RpcRejected as rejection:
        return rejection.data
    return b""
