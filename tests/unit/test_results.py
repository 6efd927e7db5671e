"""What an endpoint may not pass off as a result."""

from __future__ import annotations

from typing import Any

import pytest

from rebalancer.chain.results import wrong_result

HASH = "0x" + "ab" * 32
BLOCK = {"number": "0x1", "hash": HASH, "parentHash": HASH, "timestamp": "0x2"}
LOG = {
    "address": "0x" + "00" * 20,
    "topics": [],
    "data": "0x",
    "blockNumber": "0x1",
    "blockHash": HASH,
    "transactionHash": HASH,
    "logIndex": "0x0",
}
RECEIPT = {
    "transactionHash": HASH,
    "blockNumber": "0x1",
    "blockHash": HASH,
    "status": "0x1",
    "logs": [],
}

ERRORS = [
    {"code": -32000, "message": "upstream error"},
    {"error": {"code": -32603, "message": "internal error"}},
    "error: header not found",
    "Too Many Requests",
    {},
    ["0x1"],
    7,
    True,
]

METHODS = [
    *("eth_blockNumber", "eth_gasPrice", "eth_getTransactionCount", "eth_getBalance"),
    *("eth_estimateGas", "eth_call", "eth_getCode", "eth_getStorageAt", "eth_sendRawTransaction"),
    *("eth_getBlockByNumber", "eth_getBlockByHash", "eth_getTransactionReceipt"),
    *("eth_getTransactionByHash", "eth_getLogs", "eth_feeHistory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_error_in_place_of_a_result_is_refused_and_the_method_named(
    method: str, error: Any
) -> None:
    assert method in wrong_result(method, (), error)


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("eth_blockNumber", None),
        ("eth_blockNumber", "0x"),
        ("eth_call", "0x123"),
        ("eth_call", "0xgg"),
        ("eth_sendRawTransaction", "0x1234"),
        ("eth_getLogs", None),
    ],
)
def test_result_of_another_shape_is_refused(method: str, result: Any) -> None:
    assert method in wrong_result(method, (), result)


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("eth_blockNumber", "0x0"),
        ("eth_call", "0x"),
        ("eth_getCode", "0x6080"),
        ("eth_sendRawTransaction", HASH),
        ("eth_getBlockByNumber", BLOCK | {"size": "0x9"}),
        ("eth_getBlockByHash", None),
        ("eth_getTransactionReceipt", RECEIPT),
        ("eth_getTransactionReceipt", None),
        ("eth_getLogs", []),
        ("eth_getLogs", [LOG]),
        ("a_methodNobodyKnows", {"anything": 1}),
    ],
)
def test_result_as_nodes_give_it_is_taken(method: str, result: Any) -> None:
    assert wrong_result(method, (), result) == ""
