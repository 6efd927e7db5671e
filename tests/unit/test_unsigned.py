"""Calls that are written down: Safe's checksum, and what a call's bytes mean."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from rebalancer.abi import Call
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import NoLogs
from rebalancer.chain.rpc import Rpc
from rebalancer.cli.main import root
from rebalancer.errors import (
    ContractReverted,
    InsufficientEther,
    NotByContract,
    RpcRejected,
)
from rebalancer.send.safe_batch import checksum, safe_batch
from rebalancer.send.unsigned import CallOperation, CallRecorder, Reading, UnsignedCall, read_call

SAFE = "0xA77DE01e157f9f57C7c4A326eeE9C4874D0598b6"
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
SPENDER = "0x474e5Ded6b5D078163BFB8F6dBa355C3aA5478C8"

EXPORTED: dict[str, Any] = {
    "version": "1.0",
    "chainId": "1",
    "createdAt": 1761326849944,
    "meta": {
        "name": "Transactions Batch",
        "description": "",
        "txBuilderVersion": "1.18.2",
        "createdFromSafeAddress": SAFE,
        "createdFromOwnerAddress": "",
        "checksum": "0x8b5032f716845c8b08bab3d63dbd9ba92e056f3557793cd041e59b84e16aa989",
    },
    "transactions": [
        {
            "to": USDC,
            "value": "0",
            "data": None,
            "contractMethod": {
                "inputs": [
                    {"internalType": "address", "name": "spender", "type": "address"},
                    {"internalType": "uint256", "name": "value", "type": "uint256"},
                ],
                "name": "approve",
                "payable": False,
            },
            "contractInputsValues": {"spender": SPENDER, "value": "100000000000"},
        }
    ],
}
"""What Safe's Transaction Builder 1.18.2 exported, as github.com/5afe/safe-cli-nodejs shows it (TRANSACTION_BUILDER_FORMAT_ANALYSIS.md)."""


def test_checksum_is_the_one_that_safe_exports() -> None:
    assert checksum(EXPORTED) == EXPORTED["meta"]["checksum"]


@pytest.mark.parametrize("name", ["Other", "Zürich “↯”"])
def test_checksum_does_not_change_with_the_name_or_the_order_of_fields(name: str) -> None:
    renamed = {**EXPORTED, "meta": {**EXPORTED["meta"], "name": name}}
    assert checksum(dict(reversed(renamed.items()))) == EXPORTED["meta"]["checksum"]


def test_checksum_of_letters_beyond_ascii_is_that_of_the_builder() -> None:
    """Computed with the copy of Safe's algorithm in the npm package @eth-optimism/core-utils 0.13.2."""
    odd = 'a\nb\t"q" \\ é 😀 \u2028 \u007f <>&'
    batch = {
        **EXPORTED,
        "meta": {**EXPORTED["meta"], "description": odd},
        "transactions": [
            *({"to": USDC, "value": "0", "data": "0x1234", "contractMethod": None} | {"contractInputsValues": None},)
        ],
    }
    assert checksum(batch) == "0xb144a1e8aaaaf5ea7611484b3609e34effeb96a722ff15f12aa0059cba6e0d98"


def test_batch_changes_its_checksum_with_any_byte_of_a_call() -> None:
    data = interface("IERC20Metadata").at(USDC).data("approve", SPENDER, 7)
    calls = [UnsignedCall(USDC.lower(), 0, data, read_call(data), None, "succeeds")]
    about = {"chain_id": 1, "safe": SAFE.lower(), "made_at": 1, "name": "n", "description": "d"}
    batch = safe_batch(calls, **about)  # type: ignore[arg-type]  # a dict of mixed values
    assert batch["meta"]["checksum"] == checksum(json.loads(json.dumps(batch)))
    assert (batch["transactions"][0]["to"], batch["createdAt"]) == (USDC, 1_000)
    batch["transactions"][0]["data"] = data[:-1] + "8"
    assert batch["meta"]["checksum"] != checksum(batch)


def test_call_is_read_with_the_names_of_structs_and_the_call_inside_it() -> None:
    vault, manager = interface("BasketVault"), interface("AccessManager")
    fees = vault.functions["setFees"].encode((50, 0, 5, 5), SPENDER)
    data = manager.functions["schedule"].encode(USDC, bytes.fromhex(fees[2:]), 0)

    found = read_call(data)

    assert found is not None
    assert (found.contract, found.function) == ("AccessManager", "schedule(address,bytes,uint48)")
    inner = found.arguments["data"]
    assert isinstance(inner, Reading)
    named = {"streamingBps": 50, "performanceBps": 0, "entryBps": 5, "exitBps": 5}
    assert list(inner.arguments.values()) == [named, SPENDER.lower()]
    assert read_call("0xdeadbeef") is None
    assert read_call("0x") is None


def test_commands_of_the_page_on_multisigs_are_those_there_are(repo_root: Path) -> None:
    text = (repo_root / "docs" / "multisig.md").read_text()
    whole = re.sub(r"\\\n\s*", "", text)  # a command may go on in the next line
    lines = [line for line in whole.splitlines() if line.startswith("rebalancer ")]
    assert len(lines) > 9
    for line in lines:
        words, ctx = shlex.split(line)[1:], click.Context(root)
        command: click.Command | None = root
        while isinstance(command, click.Group):
            command = command.get_command(ctx, words.pop(0))
        assert command is not None, line
        known = {name for param in command.params for name in param.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


# Calls written down, on a node that is a script


ME, MANAGER, HUB = SAFE.lower(), "0x" + "ac" * 20, "0x" + "0b" * 20
MANAGED = interface("AccessManager")
NOW, AT, LASTS = 1_700_000_000, 1_700_086_400, 604_800
REFUSED = RpcRejected("eth_call", 3, "execution reverted", b"\xde\xad\xbe\xef")
OPERATION = b"\x0f" * 32


class Node(Rpc):
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self, code: str = "0x", simulates: bool = True) -> None:
        super().__init__("http://127.0.0.1:1")
        self.code, self.simulates = code, simulates
        self.balance = 10
        self.logs: list[Any] = []
        self.returned = "0x"
        self.refuses: set[str] = set()
        self.requested: list[tuple[str, tuple[Any, ...]]] = []
        self.when_due: Any = "0x"
        self.authority: Any = "0x" + encode(["address"], [MANAGER]).hex()

    def call(self, method: str, *params: Any) -> Any:
        self.requested.append((method, params))
        found = getattr(self, method)(*params)
        if isinstance(found, Exception):
            raise found
        return found

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        found: list[Any] = []
        for method, params in calls:
            try:
                found.append(self.call(method, *params))
            except RpcRejected as rejected:
                found.append(rejected)
        return found

    def eth_getCode(self, who: str, tag: str) -> str:  # noqa: N802 (the node's names)
        assert (who, tag) == (ME, "latest")
        return self.code

    def eth_getBalance(self, *_: Any) -> str:  # noqa: N802
        return hex(self.balance)

    def eth_getBlockByNumber(self, *_: Any) -> Any:  # noqa: N802
        return {"number": "0x9", "hash": "0xb", "timestamp": hex(NOW)}

    def eth_simulateV1(self, wanted: Any, _tag: str) -> Any:  # noqa: N802
        if not self.simulates:
            return RpcRejected("eth_simulateV1", -32601, "no such method")
        calls = wanted["blockStateCalls"][0]["calls"]
        done = [
            {"status": "0x0", "returnData": "0xdeadbeef"}
            if one["data"] in self.refuses
            else {"status": "0x1", "logs": self.logs, "returnData": self.returned}
            for one in calls
        ]
        return [{"calls": done}]

    def eth_call(self, message: Any, _tag: str, state: Any = None) -> Any:
        data = message["data"]
        if state is not None:
            return self.when_due
        if MANAGED.functions["hashOperation"].is_called_by(data):
            return "0x" + OPERATION.hex()
        if MANAGED.functions["expiration"].is_called_by(data):
            return "0x" + encode(["uint32"], [LASTS]).hex()
        if interface("OracleHub").functions["authority"].is_called_by(data):
            return self.authority
        return REFUSED if data in self.refuses else self.returned

    @property
    def tried(self) -> list[Any]:
        """The calls of the last simulation."""
        requested = [reported for method, reported in self.requested if method == "eth_simulateV1"]
        calls: list[Any] = requested[-1][0]["blockStateCalls"][0]["calls"]
        return calls


class Somebody:
    """An account whose key is not here."""

    address = ME

    def sign(self, _transaction: Any) -> Any:
        raise AssertionError("nothing is signed")


def recorder(node: Node) -> CallRecorder:
    return CallRecorder(node, Somebody(), 10**9, 77)


@pytest.mark.parametrize(
    ("code", "has_code", "pays"),
    [("0x", False, True), ("0x6001", True, False), ("0xEF0100" + "aa" * 20, True, True)],
)
def test_an_account_with_code_pays_no_gas_unless_it_only_lends_its_code(code: str, has_code: bool, pays: bool) -> None:
    made = recorder(Node(code))

    assert (made.has_code, made.pays_gas, made.deadline_seconds) == (has_code, pays, 77)


def test_each_call_is_tried_after_those_written_down_before_it() -> None:
    node = Node()
    made = recorder(node)
    node.logs = ["a log"]
    receipt = made.send("0x" + "AA" * 20, "0x01", value_wei=4)
    (log,) = receipt.logs
    assert log is node.logs[0]
    assert (receipt.succeeded, receipt.block_number) == (True, 9)
    assert (receipt.transaction_hash, receipt.block_hash, receipt.gas_used) == ("", "0xb", 0)
    assert receipt.gas_price_wei == 0
    made.send(HUB, "0x02")
    first = {"from": ME, "to": "0x" + "aa" * 20, "data": "0x01", "value": "0x4"}
    second = {"from": ME, "to": HUB, "data": "0x02", "value": "0x0"}
    assert node.tried == [first, second]
    assert [(one.to, one.value_wei, one.data, one.outcome) for one in made.now] == [
        ("0x" + "aa" * 20, 4, "0x01", "succeeds"),
        (HUB, 0, "0x02", "succeeds"),
    ]
    node.returned = "0x" + encode(["address"], [MANAGER]).hex()
    assert made.read(contract_at(made.rpc, "OracleHub", HUB), "authority") == MANAGER
    assert node.tried[:2] == [first, second]
    assert node.tried[2]["data"] == contract_at(made.rpc, "OracleHub", HUB).data("authority")
    node.refuses = {"0x03"}
    with pytest.raises(ContractReverted, match="deadbeef"):
        made.send(HUB, "0x03")
    assert len(made.now) == 2
    with pytest.raises(InsufficientEther):
        made.send(HUB, "0x04", value_wei=11)
    with pytest.raises(NotByContract, match="the a test"):
        made.send(None, what="a test")
    assert made.then == []


def test_what_a_node_cannot_try_after_others_is_not_tried() -> None:
    node = Node(simulates=False)
    made = recorder(node)
    contract = contract_at(made.rpc, "OracleHub", HUB)
    assert made.read(contract, "authority") == MANAGER
    receipt = made.send(HUB, "0x01")
    assert receipt.logs == ()
    made.send(HUB, "0x02")
    assert [one.outcome for one in made.now] == ["succeeds", "not simulated: the node cannot"]
    called = [reported[0]["data"] for method, reported in node.requested if method == "eth_call"]
    assert "0x01" in called
    assert "0x02" not in called, "it may depend on the first"
    with pytest.raises(NoLogs):
        made.read(contract, "authority")
    lonely = recorder(Node(simulates=False))
    lonely.rpc.refuses = {"0x01"}  # type: ignore[attr-defined]  # it is a Node
    with pytest.raises(ContractReverted, match="deadbeef"):
        lonely.send(HUB, "0x01")


def test_reading_after_a_refusal_tells_the_refusal() -> None:
    node = Node()
    made = recorder(node)
    made.send(HUB, "0x01")
    contract = contract_at(made.rpc, "OracleHub", HUB)
    node.refuses = {contract.data("authority")}

    with pytest.raises(ContractReverted, match="deadbeef"):
        made.read(contract, "authority")


def scheduled(at: int) -> dict[str, Any]:
    """The log of an operation that was scheduled."""
    topic = next(one for one, event in MANAGED.events.items() if event.name == "OperationScheduled")
    data = encode(["uint48", "address", "address", "bytes"], [at, ME, HUB, b"\x05"])
    return {
        "address": MANAGER,
        "topics": [topic, "0x" + OPERATION.hex(), "0x" + (1).to_bytes(32, "big").hex()],
        "data": "0x" + data.hex(),
        "blockNumber": "0x9",
        "transactionHash": "0x" + "00" * 32,
        "logIndex": "0x0",
    }


@pytest.mark.parametrize("tells", [True, False])
def test_what_a_call_schedules_is_written_down_to_be_made_then(tells: bool) -> None:
    node = Node()
    made = recorder(node)
    node.logs = [scheduled(AT)] if tells else []
    manager = contract_at(made.rpc, "AccessManager", MANAGER)
    inner = bytes.fromhex("05")

    made.send(USDC, "0x09")
    made.transact(manager, "schedule", HUB, inner, 0)
    made.transact(contract_at(made.rpc, "IERC20Metadata", USDC), "approve", SPENDER, 7)
    assert made.now.pop(0).operation is None

    operation = CallOperation("0x" + OPERATION.hex(), False, AT if tells else None, AT + LASTS if tells else None)
    assert [one.operation for one in made.now] == [operation, None]
    assert made.now[0].to == MANAGER
    assert made.now[0].data == manager.data("schedule", HUB, inner, 0)
    assert made.now[0].reading is not None
    assert made.now[0].outcome == "succeeds"
    (then,) = made.then
    assert (then.to, then.value_wei, then.data) == (HUB, 0, "0x05")
    assert (then.operation, then.outcome) == (operation, "succeeds")
    hashed = next(
        reported[0]["data"]
        for method, reported in node.requested
        if method == "eth_call" and MANAGED.functions["hashOperation"].is_called_by(reported[0]["data"])
    )
    assert hashed == manager.data("hashOperation", ME, HUB, inner)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("0x", "succeeds"),
        (REFUSED, "would revert now: "),
        (RpcRejected("eth_call", -32602, "no state overrides"), "not simulated: the node cannot"),
    ],
)
def test_what_waits_for_its_operation_is_tried_as_if_that_were_due(answer: Any, outcome: str) -> None:
    node = Node()
    node.when_due = answer
    made = recorder(node)

    assert made.later(HUB, "0x0506", AT)

    (then,) = made.then
    assert then.outcome.startswith(outcome)
    assert not then.outcome.endswith(".")
    assert then.operation == CallOperation("0x" + OPERATION.hex(), True, AT, AT + LASTS)
    (message, tag, state) = next(
        reported for method, reported in node.requested if method == "eth_call" and len(reported) == 3
    )
    assert (message, tag) == ({"from": ME, "to": HUB, "data": "0x0506", "value": "0x0"}, "latest")
    slot = keccak(OPERATION + (2).to_bytes(32, "big"))  # _schedules, in OpenZeppelin 5
    value = ((1 << 48) + NOW).to_bytes(32, "big")
    assert state == {MANAGER: {"stateDiff": {"0x" + slot.hex(): "0x" + value.hex()}}}


@pytest.mark.parametrize("answer", ["0x", REFUSED])
def test_what_obeys_nobody_is_its_own_authority(answer: Any) -> None:
    node = Node()
    node.authority = answer
    made = recorder(node)
    made.later(MANAGER, "0x0506", AT)

    state = next(reported[2] for method, reported in node.requested if method == "eth_call" and len(reported) == 3)
    assert list(state) == [MANAGER]


def test_batch_says_all_that_the_builder_shows() -> None:
    data = interface("IERC20Metadata").at(USDC).data("approve", SPENDER, 7)
    calls = [UnsignedCall(USDC.lower(), 5, data, None, None, "succeeds")]
    batch = safe_batch(calls, chain_id=10, safe=SAFE.lower(), made_at=3, name="n", description="d")
    message = batch["meta"].pop("checksum")
    assert message.startswith("0x")
    assert batch == {
        "version": "1.0",
        "chainId": "10",
        "createdAt": 3_000,
        "meta": {
            "name": "n",
            "description": "d",
            "createdFromSafeAddress": SAFE,
            "createdFromOwnerAddress": "",
        },
        "transactions": [
            {
                "to": USDC,
                "value": "5",
                "data": data,
                "contractMethod": None,
                "contractInputsValues": None,
            }
        ],
    }
