"""Use of a transaction's gas, by contract and kind of opcode.

The transaction is replayed on its parent block, at its own block's time, and the node's struct log is read: one line
per opcode, with the gas left before it. (Anvil keeps no such log of mined transactions.) A calling opcode is charged
its own cost, without the gas of the called code. The base cost with calldata and the refund are separate rows, so that
the sum equals the receipt.
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
    """A call in progress: the code's contract, the kind of opcode, the caller's gas before it and its own gas at the
    start."""

    contract: str
    called_by: str = ""
    caller_had: int = 0
    entered_with: int = 0


_MOST_BYTES = 1 << 30
"""Size limit of an answer: a trace of a large rebalance has some hundred megabytes, and the node is local."""

_END: Mapping[str, Any] = {"depth": 0, "gas": 0}
"""A step after the last one, so that every step has a successor."""


def spent(rpc: Rpc, receipt: Receipt, names: Mapping[str, str]) -> list[Spent]:
    """Gas of each contract by kind of work, largest first; the sum equals the receipt's gas.

    `names` maps lower-case addresses to names; other contracts appear by address.
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
            if running:  # the caller's cost of the call, without the gas used inside
                inside = frame.entered_with - (step["gas"] - step["gasCost"])
                costs[running[-1].contract, frame.called_by] += frame.caller_had - following["gas"] - inside

    intrinsic = int(transaction["gas"], 16) - steps[0]["gas"]
    refund = receipt.gas_used - intrinsic - sum(costs.values())
    costs[_TRANSACTION, "base and calldata"] = intrinsic
    if refund:
        costs[_TRANSACTION, "refund"] = refund
    return [Spent(*what, gas) for what, gas in costs.most_common()]
