"""Shape checks of JSON-RPC results.

An endpoint may return an error, or a page of HTML, in place of a result, or omit fields. A result without the method's
shape is rejected here, so that callers need no checks. Block numbers, nonces and gas are below 2^63, all other
quantities below 2^256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import hexdigits
from typing import Any

__all__ = ["wrong_result"]

_HEX = frozenset(hexdigits)
_Check = Callable[[Any], bool]


def _is_hex(result: Any) -> bool:
    return isinstance(result, str) and result.startswith("0x") and _HEX.issuperset(result[2:])


def _is_quantity(result: Any) -> bool:
    return _is_hex(result) and len("0x") < len(result) <= len("0x") + 64


def _is_count(result: Any) -> bool:
    return _is_quantity(result) and int(result, 16) >> 63 == 0


def _is_data(result: Any) -> bool:
    return _is_hex(result) and len(result) % 2 == 0


def _is_hash(result: Any) -> bool:
    return _is_hex(result) and len(result) == len("0x") + 64


def _is_address(result: Any) -> bool:
    return _is_hex(result) and len(result) == len("0x") + 40


@dataclass(frozen=True)
class _Maybe:
    """Null, or a value that passes the check."""

    check: _Check

    def __call__(self, result: Any) -> bool:
        return result is None or self.check(result)


@dataclass(frozen=True)
class _ListOf:
    check: _Check

    def __call__(self, result: Any) -> bool:
        return isinstance(result, list) and all(map(self.check, result))


@dataclass(frozen=True)
class _Record:
    """An object with the fields `given`. The fields `perhaps` may be missing or null."""

    given: Mapping[str, _Check]
    perhaps: Mapping[str, _Check] = field(default_factory=dict)

    def __call__(self, result: Any) -> bool:
        return (
            isinstance(result, dict)
            and all(name in result and check(result[name]) for name, check in self.given.items())
            and all(result.get(name) is None or check(result[name]) for name, check in self.perhaps.items())
        )


_LOG = _Record(
    {"address": _is_address, "topics": _ListOf(_is_hash), "data": _is_data},
    {"blockNumber": _is_count, "logIndex": _is_count, "blockHash": _is_hash, "transactionHash": _is_hash},
)
_MINED_LOG = _Record(
    {
        "address": _is_address,
        "topics": _ListOf(_is_hash),
        "data": _is_data,
        "blockNumber": _is_count,
        "logIndex": _is_count,
        "blockHash": _is_hash,
        "transactionHash": _is_hash,
    }
)
_FEE = {"baseFeePerGas": _is_quantity}
_BLOCK = _Record({"number": _is_count, "hash": _is_hash, "parentHash": _is_hash, "timestamp": _is_count}, _FEE)
_PENDING_BLOCK = _Record({}, {"number": _is_count, "timestamp": _is_count} | _FEE)
# Some nodes return a receipt of nulls for a pending transaction.
_RECEIPT = _Record(
    {"transactionHash": _is_hash},
    {
        "blockNumber": _is_count,
        "blockHash": _is_hash,
        "status": _is_count,
        "gasUsed": _is_count,
        "effectiveGasPrice": _is_quantity,
        "contractAddress": _is_address,
        "logs": _ListOf(_LOG),
        **dict.fromkeys(("l1Fee", "operatorFeeConstant"), _is_quantity),
        **dict.fromkeys(("operatorFeeScalar", "gasUsedForL1"), _is_count),
    },
)
_TRANSACTION = _Record(
    {"hash": _is_hash, "nonce": _is_count, "input": _is_data},
    {"gas": _is_count, "value": _is_quantity, "to": _is_address, "from": _is_address},
)
_FEE_HISTORY = _Record(
    {"baseFeePerGas": _ListOf(_Maybe(_is_quantity))},
    {"reward": _ListOf(_Maybe(_ListOf(_Maybe(_is_quantity)))), "gasUsedRatio": _ListOf(lambda _: True)},
)

_SHAPES: Mapping[str, tuple[_Check, str]] = {
    **dict.fromkeys(("eth_blockNumber", "eth_getTransactionCount", "eth_estimateGas"), (_is_count, "a number")),
    **dict.fromkeys(("eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_getBalance"), (_is_quantity, "a number")),
    **dict.fromkeys(("eth_call", "eth_getCode", "eth_getStorageAt"), (_is_data, "data")),
    **dict.fromkeys(("eth_sendRawTransaction", "eth_sendTransaction"), (_is_hash, "a hash")),
    **dict.fromkeys(("eth_getBlockByNumber", "eth_getBlockByHash"), (_Maybe(_BLOCK), "a block")),
    "eth_getTransactionReceipt": (_Maybe(_RECEIPT), "a receipt"),
    "eth_getTransactionByHash": (_Maybe(_TRANSACTION), "a transaction"),
    "eth_getLogs": (_ListOf(_MINED_LOG), "a list of logs"),
    "eth_feeHistory": (_FEE_HISTORY, "a fee history"),
}
"""Shape and description of the results of the methods in use. Results of other methods are not checked."""


def wrong_result(method: str, params: Sequence[Any], result: Any) -> str:
    """Why a result cannot be an answer to its method; "" if it can."""
    fits, name = _SHAPES.get(method, (None, ""))
    if method == "eth_getBlockByNumber" and params and params[0] == "pending":
        fits = _Maybe(_PENDING_BLOCK)
    return "" if fits is None or fits(result) else f"its answer to {method} is not {name}"
