"""Where did the gas of a transaction go? By the contract whose code ran and by what the opcodes did.

The transaction is replayed on its parent block at its own block's time, and the node's struct log is
read: one line an opcode, with the gas left before it. (Anvil keeps no such log of what it mined.) An
opcode that calls is charged what it cost itself, without what the called code used. The base cost with
calldata and the refund stand as rows of their own, so that the rows add up to the receipt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc

__all__ = ["Spent", "spent"]

_CALLS = frozenset({"CALL", "STATICCALL", "DELEGATECALL", "CALLCODE"})
_CLASSES = {
    "SLOAD": "read slot",
    "SSTORE": "write slot",
    "TLOAD": "transient",
    "TSTORE": "transient",
    **dict.fromkeys(("EXTCODESIZE", "EXTCODECOPY", "EXTCODEHASH", "BALANCE"), "reach account"),
    **dict.fromkeys(_CALLS, "reach account"),
    **{f"LOG{topics}": "log" for topics in range(5)},
}
_REPLAYED = ("from", "to", "input", "value", "gas")
_REST = "compute"
_TRANSACTION = "transaction"


@dataclass(frozen=True, slots=True)
class Spent:
    """Gas of one kind of work in one contract; negative for the refund."""

    contract: str
    kind: str
    gas: int


@dataclass(frozen=True, slots=True)
class _Frame:
    """A call under way: whose code, by what kind of opcode, the gas its caller had and the gas it began with."""

    contract: str
    called_by: str = ""
    caller_had: int = 0
    entered_with: int = 0


_MOST_BYTES = 1 << 30
"""A trace of a large rebalance is some hundred megabytes, and the node is our own."""

_END: Mapping[str, Any] = {"depth": 0, "gas": 0}
"""Stands behind the last step, so that every step has one that follows."""


def spent(rpc: Rpc, receipt: Receipt, names: Mapping[str, str]) -> list[Spent]:
    """What each contract spent on each kind of work, largest first; adds up to the receipt's gas.

    `names` maps lower-case addresses to what they are called; others are shown by their address.
    """
    transaction = rpc.call("eth_getTransactionByHash", receipt.transaction_hash)
    block = rpc.call("eth_getBlockByHash", receipt.block_hash, False)
    message = {"data" if key == "input" else key: transaction[key] for key in _REPLAYED}
    rpc.most_bytes = _MOST_BYTES
    trace = rpc.call(
        "debug_traceCall",
        message,
        hex(receipt.block_number - 1),
        {
            "disableStorage": True,
            "disableMemory": True,
            "blockOverrides": {"time": block["timestamp"]},
        },
    )
    if trace["gas"] != receipt.gas_used:
        raise AssertionError(f"the replay used {trace['gas']} gas, the transaction {receipt.gas_used}")
    steps: list[Mapping[str, Any]] = trace["structLogs"]
    costs: Counter[tuple[str, str]] = Counter()
    running = [_Frame(names.get(transaction["to"], transaction["to"]))]
    for step, following in pairwise([*steps, _END]):
        kind = _CLASSES.get(step["op"], _REST)
        frame = running[-1]
        if following["depth"] == step["depth"]:
            costs[frame.contract, kind] += step["gas"] - following["gas"]
        elif following["depth"] > step["depth"]:
            callee = f"0x{int(step['stack'][-2], 16) % 2**160:040x}"
            inner = _Frame(names.get(callee, callee), kind, step["gas"], following["gas"])
            running.append(inner)
        else:
            costs[frame.contract, kind] += step["gasCost"]
            running.pop()
            if running:  # what the call took from its caller, less what ran inside
                inside = frame.entered_with - (step["gas"] - step["gasCost"])
                costs[running[-1].contract, frame.called_by] += frame.caller_had - following["gas"] - inside

    intrinsic = int(transaction["gas"], 16) - steps[0]["gas"]
    refund = receipt.gas_used - intrinsic - sum(costs.values())
    costs[_TRANSACTION, "base and calldata"] = intrinsic
    if refund:
        costs[_TRANSACTION, "refund"] = refund
    return [Spent(*what, gas) for what, gas in costs.most_common()]
