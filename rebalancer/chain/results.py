"""Is a result what its method returns?

An endpoint may put an error where a result belongs, or a page of its own. Nobody who asked looks for that, so whatever has not the shape
that the method's result has is refused here, at the door: it is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from string import hexdigits
from typing import Any

__all__ = ["wrong_result"]

_HEX = frozenset(hexdigits)


def _is_hex(result: Any) -> bool:
    return isinstance(result, str) and result.startswith("0x") and _HEX.issuperset(result[2:])


def _is_quantity(result: Any) -> bool:
    return _is_hex(result) and len(result) > len("0x")


def _is_data(result: Any) -> bool:
    return _is_hex(result) and len(result) % 2 == 0


def _is_hash(result: Any) -> bool:
    return _is_hex(result) and len(result) == len("0x") + 64


def _has(*fields: str) -> Callable[[Any], bool]:
    """Whether there is nothing, or an object with these fields."""

    def holds(result: Any) -> bool:
        return result is None or (isinstance(result, dict) and set(fields) <= result.keys())

    return holds


def _is_logs(result: Any) -> bool:
    return isinstance(result, list) and all(
        isinstance(log, dict) and {"address", "topics", "data"} <= log.keys() for log in result
    )


_BLOCK = _has("number", "hash", "parentHash", "timestamp")

_SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("eth_blockNumber", "eth_gasPrice", "eth_getTransactionCount", "eth_getBalance"),
        (_is_quantity, "a number"),
    ),
    "eth_estimateGas": (_is_quantity, "a number"),
    **dict.fromkeys(("eth_call", "eth_getCode", "eth_getStorageAt"), (_is_data, "data")),
    **dict.fromkeys(("eth_sendRawTransaction", "eth_sendTransaction"), (_is_hash, "a hash")),
    **dict.fromkeys(("eth_getBlockByNumber", "eth_getBlockByHash"), (_BLOCK, "a block")),
    "eth_getTransactionReceipt": (
        _has("transactionHash", "blockNumber", "blockHash", "status", "logs"),
        "a receipt",
    ),
    "eth_getTransactionByHash": (_has("hash", "nonce", "input"), "a transaction"),
    "eth_getLogs": (_is_logs, "a list of logs"),
    "eth_feeHistory": (_has("baseFeePerGas", "reward", "gasUsedRatio"), "a fee history"),
}
"""What the methods that are asked for return, and what that is called. Of others everything is taken."""


def wrong_result(method: str, result: Any) -> str:
    """Why a result cannot be its method's, "" if it can."""
    fits, name = _SHAPES.get(method, (None, ""))
    return "" if fits is None or fits(result) else f"its answer to {method} is not {name}"
