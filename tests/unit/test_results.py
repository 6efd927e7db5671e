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
SENT = {"hash": HASH, "nonce": "0x0", "input": "0x"}
FEES = {"baseFeePerGas": ["0x7", "0x8"]}
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
def test_error_in_place_of_a_result_is_refused_and_the_method_named(method: str, error: Any) -> None:
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


# Every field of every method, by a table that says what nodes promise of it

KINDS: dict[str, tuple[list[Any], list[Any]]] = {
    "count": (["0x0", "0x01", hex(2**63 - 1)], ["0x", "0x-1", hex(2**63), "1", 1, True]),
    "quantity": (["0x0", hex(2**256 - 1)], ["0x", "0x1" + "0" * 64, "0xg", "10", 10]),
    "data": (["0x", "0xAbcdEF"], ["0xabc", "ab", "0x0g", 0, ["0x"]]),
    "hash": ([HASH], [HASH + "0", HASH[:-1], "ab" * 33, HASH[:-1] + "g"]),
    "address": (["0x" + "Ab" * 20], ["0x" + "ab" * 20 + "0", "0x" + "a" * 39, "ab" * 21]),
    "hashes": ([[], [HASH], [HASH] * 2], [[HASH, "0x"], ["0x", HASH], [None], {}, HASH]),
    "logs": ([[], [LOG], [LOG | {"blockHash": None}]], [[LOG, {}], [LOG, None], LOG]),
    "fees": ([["0x1", None], []], [["0x1", "much"], ["much", "0x1"], "0x1", {}]),
    "rewards": ([[["0x1", None], None], []], [[["0x1"], ["much"]], ["0x1"], [["much"], []]]),
    "list": ([[], [0.5, None]], [0.5, {}, "0x"]),
}
IN_BLOCK = {
    "blockNumber": "count",
    "logIndex": "count",
    "blockHash": "hash",
    "transactionHash": "hash",
}
FIELDS: dict[str, tuple[Any, dict[str, str], dict[str, str]]] = {
    "eth_getBlockByNumber": (
        BLOCK,
        {"number": "count", "hash": "hash", "parentHash": "hash", "timestamp": "count"},
        {"baseFeePerGas": "quantity"},
    ),
    "eth_getTransactionReceipt": (
        RECEIPT,
        {"transactionHash": "hash"},
        {
            "blockNumber": "count",
            "blockHash": "hash",
            "status": "count",
            "gasUsed": "count",
            "effectiveGasPrice": "quantity",
            "contractAddress": "address",
            "logs": "logs",
            "l1Fee": "quantity",
            "operatorFeeConstant": "quantity",
            "operatorFeeScalar": "count",
            "gasUsedForL1": "count",
        },
    ),
    "eth_getTransactionByHash": (
        SENT,
        {"hash": "hash", "nonce": "count", "input": "data"},
        {"gas": "count", "value": "quantity", "to": "address", "from": "address"},
    ),
    "eth_feeHistory": (
        FEES,
        {"baseFeePerGas": "fees"},
        {"reward": "rewards", "gasUsedRatio": "list"},
    ),
    "eth_getLogs": (
        LOG,
        {"address": "address", "topics": "hashes", "data": "data", **IN_BLOCK},
        {},
    ),
}
FIELDS["eth_getBlockByHash"] = FIELDS["eth_getBlockByNumber"]
PLAIN = {
    **dict.fromkeys(("eth_blockNumber", "eth_getTransactionCount", "eth_estimateGas"), "count"),
    **dict.fromkeys(("eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_getBalance"), "quantity"),
    **dict.fromkeys(("eth_call", "eth_getCode", "eth_getStorageAt"), "data"),
    **dict.fromkeys(("eth_sendRawTransaction", "eth_sendTransaction"), "hash"),
}


@pytest.mark.parametrize("method", PLAIN)
def test_lone_value_is_taken_up_to_its_bounds_and_not_beyond(method: str) -> None:
    right, wrong = KINDS[PLAIN[method]]

    assert [wrong_result(method, (), each) for each in right] == [""] * len(right)
    assert all(wrong_result(method, (), each) for each in [*wrong, None])


@pytest.mark.parametrize("method", FIELDS)
def test_each_field_of_a_result_is_held_to_its_kind(method: str) -> None:
    """What must be there is; what may be lacking may be null, too; neither may be of another kind."""
    whole, needed, optional = FIELDS[method]

    def refused(result: Any) -> bool:
        # Logs come in a list, and one that is sound does not excuse another.
        reported = [[LOG, result], [result, LOG]] if method == "eth_getLogs" else [result]
        reasons = {bool(wrong_result(method, ("latest", False), each)) for each in reported}
        assert len(reasons) == 1
        return reasons.pop()

    for name, kind in (needed | optional).items():
        right, wrong = KINDS[kind]
        assert not any(refused(whole | {name: each}) for each in right), name
        assert all(refused(whole | {name: each}) for each in wrong), name
        without = {key: value for key, value in whole.items() if key != name}
        assert refused(without) == refused(whole | {name: None}) == (name in needed), name


@pytest.mark.parametrize("number", ["latest", "0x1", None])
def test_only_a_pending_block_may_lack_its_number_and_hash(number: str | None) -> None:
    waiting = {"number": None, "hash": None, "timestamp": "0x5", "baseFeePerGas": "0x7"}
    params = () if number is None else (number, False)

    assert wrong_result("eth_getBlockByNumber", ("pending", False), waiting) == ""
    assert wrong_result("eth_getBlockByNumber", ("pending", False), None) == ""
    assert wrong_result("eth_getBlockByNumber", params, waiting)
    for odd in ({"number": "?"}, {"timestamp": "soon"}, {"baseFeePerGas": "much"}):
        assert wrong_result("eth_getBlockByNumber", ("pending", False), waiting | odd)
