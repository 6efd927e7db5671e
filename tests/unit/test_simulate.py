"""What a node's answer to a simulation comes to, of each shape that nodes give it."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from structlog.testing import capture_logs

from rebalancer.chain.interfaces import interface
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ContractReverted,
    RpcMalformed,
    RpcRejected,
    RpcUnreachable,
    SimulationDiffers,
    SimulationRefused,
)
from rebalancer.send.simulate import Simulated, Simulator, check_changes, gas_in_turn, message

ME, VAULT = "0x" + "11" * 20, "0x" + "aa" * 20
TOO_RECENT = (keccak(text="CooldownActive(uint256)")[:4] + (77).to_bytes(32, "big")).hex()
REBALANCED = next(topic for topic, event in interface("BasketVault").events.items() if event.name == "Rebalanced")


class Node(Rpc):
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self, simulated: Any, called: Any = "0x") -> None:
        super().__init__("http://127.0.0.1:1")
        self.answers = {
            "eth_getBlockByNumber": {"timestamp": "0x64"},
            "eth_simulateV1": simulated,
            "eth_call": called,
        }
        self.requested: list[tuple[str, tuple[Any, ...]]] = []

    def call(self, method: str, *params: Any) -> Any:
        self.requested.append((method, params))
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.requested]


def done(*calls: dict[str, Any]) -> Any:
    return [{"calls": list(calls)}]


GOOD = {"status": "0x1", "logs": ["a log"]}


def test_simulation_is_of_the_next_second_and_what_comes_first_comes_first() -> None:
    node = Node(done({"status": "0x0"}, GOOD))
    before = message(ME, ME, "0xaa", 1)

    logs = Simulator(node).logs(ME, VAULT, "0xbb", 50_000, [before])

    assert logs == ["a log"]
    (wanted, at) = node.requested[-1][1]
    (block,) = wanted["blockStateCalls"]
    assert at == "latest"
    assert block["blockOverrides"] == {"time": "0x65"}
    assert block["calls"] == [
        before,
        {"from": ME, "to": VAULT, "data": "0xbb", "gas": "0xc350"},
    ]
    assert wanted["validation"] is False
    assert wanted["traceTransfers"] is False
    assert node.requested[0] == ("eth_getBlockByNumber", ("latest", False))
    assert "eth_call" not in node.methods


@pytest.mark.parametrize(
    "failed",
    [
        {"status": "0x0", "error": {"data": "0x" + TOO_RECENT}},
        {"status": "0x0", "error": {"code": 3}, "returnData": "0x" + TOO_RECENT},
        {"status": "0x0", "returnData": "0x" + TOO_RECENT},
    ],
)
def test_refusal_is_named_wherever_a_node_says_it(failed: dict[str, Any]) -> None:
    with pytest.raises(SimulationRefused) as caught:
        Simulator(Node(done(failed))).logs(ME, VAULT, "0x", 1)

    assert caught.value.refusal.error == "CooldownActive"
    assert list(caught.value.refusal.values.values()) == [77]


def test_refusal_without_a_word_is_one_all_the_same() -> None:
    with pytest.raises(SimulationRefused, match="NoReason"):
        Simulator(Node(done({"status": "0x0"}))).logs(ME, VAULT, "0x", 1)


@pytest.mark.parametrize("answer", [None, [], {}, done(), "?", done({"logs": []}), done({"status": "0x1"})])
def test_answer_that_is_none_has_the_call_itself_asked_each_time(answer: Any) -> None:
    node = Node(answer)
    simulator = Simulator(node)

    assert simulator.logs(ME, VAULT, "0xbb", 2) is None
    assert simulator.logs(ME, VAULT, "0xbb", 2) is None

    assert node.methods == ["eth_getBlockByNumber", "eth_simulateV1", "eth_call"] * 2
    assert node.requested[-1][1] == (message(ME, VAULT, "0xbb", 2), "latest")


@pytest.mark.parametrize(("code", "times"), [(-32601, 1), (-32004, 1), (-32000, 2), (3, 2)])
def test_only_a_node_that_lacks_the_method_is_not_asked_for_it_again(code: int, times: int) -> None:
    node = Node(RpcRejected("eth_simulateV1", code, "no"))
    simulator = Simulator(node)

    assert simulator.logs(ME, VAULT, "0x", 1) is None
    assert simulator.logs(ME, VAULT, "0x", 1) is None

    assert node.methods.count("eth_simulateV1") == times
    assert node.methods.count("eth_call") == 2


def test_answer_without_all_its_logs_is_none() -> None:
    for calls in ((GOOD, {"status": "0x1"}), ({"status": "0x1"}, GOOD)):
        node = Node(done(*calls))
        assert Simulator(node).logs(ME, VAULT, "0x", 1, [message(ME, ME, "0x", 1)]) is None


def test_node_that_answers_nonsense_is_named_in_the_log() -> None:
    with capture_logs() as logs:
        Simulator(Node([])).logs(ME, VAULT, "0x", 1)

    assert [one["event"] for one in logs] == ["simulation_unavailable"]
    assert "http://127.0.0.1:1 sent an answer" in logs[0]["why"]


def test_call_that_a_contract_refuses_is_refused_and_other_failures_stay_what_they_are() -> None:
    reverted = RpcRejected("eth_call", 3, "execution reverted", bytes.fromhex(TOO_RECENT))
    with pytest.raises(SimulationRefused, match="CooldownActive"):
        Simulator(Node(None, reverted)).logs(ME, VAULT, "0x", 1)
    with pytest.raises(RpcRejected, match="overloaded"):
        Simulator(Node(None, RpcRejected("eth_call", -32000, "overloaded"))).logs(ME, VAULT, "0x", 1)
    with pytest.raises(RpcUnreachable):
        Simulator(Node(RpcUnreachable("node", "gone"))).logs(ME, VAULT, "0x", 1)


def rebalanced(vault: str, changes: list[int], topic: str = REBALANCED) -> dict[str, Any]:
    """The log of a rebalance: of its numbers only the changes matter here."""
    word = "0x" + "00" * 32
    data = encode(["int256[]", *["uint256"] * 5], [changes, 1, 2, 3, 4, 5])
    return {
        "address": vault.upper().replace("X", "x"),
        "topics": [topic, word, word, word],
        "data": "0x" + data.hex(),
        "blockNumber": "0x1",
        "transactionHash": word,
        "logIndex": "0x0",
    }


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ([-5, 3, 0], None),
        ([-5, 4, 0], None),  # more than the least is bought
        ([-5, 2, 0], (1, 3, 2)),
        ([-6, 3, 0], (0, -5, -6)),
        ([-4, 3, 0], (0, -5, -4)),  # less is sold than planned: another trade
        ([-5, 3, 1], (2, 0, 1)),
        ([-5, 3, -1], (2, 0, -1)),
    ],
)
def test_simulated_rebalance_sells_exactly_and_buys_at_least_what_is_planned(
    changes: list[int], differs: tuple[int, int, int] | None
) -> None:
    others = [rebalanced(ME, [0, 0, 9]), rebalanced(VAULT, [7], "0x" + "77" * 32)]
    logs = [*others, rebalanced(VAULT, changes), *others]
    check = Simulator(Node(done({"status": "0x1", "logs": logs}))).check_rebalance(VAULT, "0x", 1, [5, 0, 0], [0, 3, 0])

    if differs is None:
        check(ME)
        return
    with pytest.raises(SimulationDiffers) as caught:
        check(ME)
    error = caught.value
    assert (error.asset, error.planned_raw, error.simulated_raw) == differs


@pytest.mark.parametrize(
    ("change", "differs"),
    [(-50_000, False), (-49_995, False), (-49_994, True), (-50_001, True), (0, True)],
)
def test_sale_that_the_vault_lowers_by_a_basis_point_is_as_planned(change: int, differs: bool) -> None:
    """A price that grows by the second makes a surplus smaller one block later."""
    logs = [rebalanced(VAULT, [change, 3])]
    check = Simulator(Node(done({"status": "0x1", "logs": logs}))).check_rebalance(VAULT, "0x", 1, [50_000, 0], [0, 3])

    if not differs:
        check(ME)
        return
    with pytest.raises(SimulationDiffers) as caught:
        check(ME)
    assert (caught.value.planned_raw, caught.value.simulated_raw) == (-50_000, change)


def test_check_of_a_rebalance_passes_over_a_node_that_cannot_tell() -> None:
    check = Simulator(Node(None)).check_rebalance(VAULT, "0x", 1, [5, 0], [0, 3])

    check(ME)


def test_vault_that_does_not_say_what_it_did_differs_by_all_that_is_planned() -> None:
    check = Simulator(Node(done({"status": "0x1", "logs": []}))).check_rebalance(VAULT, "0x", 1, [0, 5], [3, 0])

    with pytest.raises(SimulationDiffers) as caught:
        check(ME)

    assert (caught.value.asset, caught.value.planned_raw, caught.value.simulated_raw) == (0, 3, 0)
    check_changes([], VAULT, [0, 0], [0, 0])


def test_rebalance_is_simulated_as_sent_by_whoever_signs_it() -> None:
    node = Node(done(GOOD, {"status": "0x1", "logs": [rebalanced(VAULT, [-5, 3])]}))
    before = message(ME, ME, "0xaa", 1)

    Simulator(node).check_rebalance(VAULT, "0xbb", 9, [5, 0], [0, 3], [before])(ME)

    (wanted, _) = node.requested[-1][1]
    assert wanted["blockStateCalls"][0]["calls"] == [before, message(ME, VAULT, "0xbb", 9)]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("0x08c379a0" + encode(["string"], ["too early"]).hex(), "too early"),
        ("0xdeadbeef", "deadbeef"),
        ("0x", "NoReason"),
    ],
)
def test_refusal_is_told_as_the_contract_words_it(data: str, error: str) -> None:
    with pytest.raises(SimulationRefused, match=error):
        Simulator(Node(done({"status": "0x0", "returnData": data}))).logs(ME, VAULT, "0x", 1)


def test_outcomes_tell_of_each_call_its_refusal_or_what_it_returned() -> None:
    node = Node(
        done(
            {**GOOD, "returnData": "0x0102"},
            {"status": "0x0", "returnData": "0x" + TOO_RECENT},
            GOOD,
        )
    )

    found = Simulator(node).outcomes([message(ME, VAULT, "0x", 1)] * 3)

    assert found is not None
    assert found[0] == Simulated(None, b"\x01\x02")
    assert found[1].refusal is not None
    assert found[1].refusal.error == "CooldownActive"
    assert found[1].returned == bytes.fromhex(TOO_RECENT)
    assert found[2] == Simulated(None, b"")
    assert Simulator(Node(None)).outcomes([message(ME, VAULT, "0x", 1)]) is None


# Gas of transactions in turn


def block_of(gas: Any, status: str = "0x1", **more: Any) -> dict[str, Any]:
    return {"calls": [{"status": status, "gasUsed": gas, **more}]}


def test_gas_in_turn_is_of_one_transaction_a_block_each_a_second_later() -> None:
    node = Node([block_of("0x5208"), block_of("0x100")])
    messages = [message(ME, VAULT, "0xaa", 1), message(ME, VAULT, "0xbb", 2)]

    assert gas_in_turn(node, messages) == [21_000, 256]

    assert node.requested[0] == ("eth_getBlockByNumber", ("latest", False))
    method, (wanted, at) = node.requested[-1]
    assert (method, at) == ("eth_simulateV1", "latest")
    assert wanted == {
        "blockStateCalls": [
            {"blockOverrides": {"time": "0x65"}, "calls": messages[:1]},
            {"blockOverrides": {"time": "0x66"}, "calls": messages[1:]},
        ],
        "validation": False,
        "traceTransfers": False,
    }


def test_gas_in_turn_of_a_refused_transaction_is_its_refusal() -> None:
    failed = block_of("0x1", "0x0", returnData="0x" + TOO_RECENT)
    with pytest.raises(ContractReverted, match="CooldownActive"):
        gas_in_turn(Node([block_of("0x1"), failed]), [message(ME, VAULT, "0x", 1)] * 2)
    with pytest.raises(ContractReverted, match="NoReason"):
        gas_in_turn(Node([block_of("0x1", "0x2")]), [message(ME, VAULT, "0x", 1)])


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], [{}], [{"calls": []}], [{"calls": [{"status": "0x1"}]}], [block_of("gas")]),
        *([block_of("0x1")] * 2, RpcMalformed("node", "no"), RpcRejected("m", -32601, "no")),
    ],
)
def test_gas_in_turn_is_none_where_the_node_cannot_tell(answer: Any) -> None:
    assert gas_in_turn(Node(answer), [message(ME, VAULT, "0x", 1)]) is None


def test_gas_in_turn_of_a_silent_node_is_its_silence() -> None:
    with pytest.raises(RpcUnreachable):
        gas_in_turn(Node(RpcUnreachable("node", "gone")), [message(ME, VAULT, "0x", 1)])
