"""A person's transactions on a node that is a script: what is signed, what it must be able to pay, and what is said when it goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.l1_fees import L1Fees, transaction_bytes
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ContractReverted,
    InsufficientEther,
    L1FeeUnknown,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
    SendUncertain,
    TransactionNotMined,
)
from rebalancer.send import costs
from rebalancer.send import wallet as module
from rebalancer.send.costs import Cost, check_ether, cost_now, estimate_gas
from rebalancer.send.signed import SignedTransaction
from rebalancer.send.wallet import Wallet
from tests.unit.test_outbox import Clock

ME, TO = "0x" + "11" * 20, "0x" + "aa" * 20
GWEI = 10**9
NAME = "0x" + "77" * 32
OFFER = 2 * 10 * GWEI + GWEI
TOO_SOON = RpcRejected("m", 3, "execution reverted", b"\xde\xad\xbe\xef")


class Pen:
    """Keeps what it signs."""

    address = ME

    def __init__(self) -> None:
        self.signed: list[dict[str, Any]] = []

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        self.signed.append(dict(transaction))
        return SignedTransaction(b"\x02\x03", NAME)


class Node(Rpc):
    """Answers as it is told to."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.balance = 10**30
        self.estimate: Any = 40_001
        self.sends: Any = NAME
        self.counts = {"latest": [7], "pending": [9]}
        self.requested: list[tuple[str, tuple[Any, ...]]] = []
        self.status = "0x1"
        self.contract: str | None = None

    def chain_id(self) -> int:
        self.requested.append(("eth_chainId", ()))
        return 5

    def call(self, method: str, *params: Any) -> Any:
        self.requested.append((method, params))
        found = getattr(self, method)(*params)
        if isinstance(found, Exception):
            raise found
        return found

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        return [self.call(method, *params) for method, params in calls]

    def eth_getBalance(self, who: str, tag: str) -> str:  # noqa: N802 (the node's names)
        assert (who, tag) == (ME, "latest")
        return hex(self.balance)

    def eth_estimateGas(self, _message: Any, tag: str) -> Any:  # noqa: N802
        assert tag == "latest"
        return hex(self.estimate) if isinstance(self.estimate, int) else self.estimate

    def eth_feeHistory(self, *_: Any) -> Any:  # noqa: N802
        reward = [[hex(GWEI), hex(GWEI)]]
        return {"baseFeePerGas": [hex(10 * GWEI)], "reward": reward, "gasUsedRatio": [0.5]}

    def eth_getCode(self, *_: Any) -> str:  # noqa: N802
        return "0x"

    def eth_getTransactionCount(self, who: str, tag: str) -> str:  # noqa: N802
        assert who == ME
        found = self.counts[tag]
        return hex(found.pop(0) if len(found) > 1 else found[0])

    def eth_sendRawTransaction(self, raw: str) -> Any:  # noqa: N802
        assert raw == "0x0203"
        return self.sends

    def eth_getTransactionReceipt(self, name: str) -> Any:  # noqa: N802
        assert name == NAME
        return {
            "transactionHash": NAME,
            "blockNumber": "0x9",
            "blockHash": "0xb",
            "gasUsed": "0x1",
            "contractAddress": self.contract,
            "logs": [],
            "effectiveGasPrice": "0x2",
            "status": self.status,
        }

    def debug_traceTransaction(self, *_: Any) -> Any:  # noqa: N802
        return {"output": "0xdeadbeef"}


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def pen() -> Pen:
    return Pen()


@pytest.fixture
def wallet(node: Node, pen: Pen) -> Wallet:
    return Wallet(node, pen, 100 * GWEI)


@pytest.mark.parametrize("to", [TO, None])
def test_what_is_signed_is_what_was_asked_at_the_markets_price(
    wallet: Wallet, node: Node, pen: Pen, to: str | None
) -> None:
    reported = []
    wallet.on_sent = lambda *words: reported.append(words)

    receipt = wallet.send(to, "0x1234", value_wei=6, what="a test")

    wanted = {
        "type": 2,
        "chainId": 5,
        "nonce": 9,
        "data": "0x1234",
        "value": 6,
        "gas": 50_001,  # a quarter more, rounded down
        "maxFeePerGas": OFFER,
        "maxPriorityFeePerGas": GWEI,
    }
    assert pen.signed == [wanted | ({} if to is None else {"to": to})]
    assert (receipt.transaction_hash, receipt.block_number) == (NAME, 9)
    assert reported == [("a test", NAME)]
    message = {"from": ME, "data": "0x1234", "value": "0x6"}
    assert ("eth_estimateGas", (message | ({} if to is None else {"to": to}), "latest")) in (node.requested)
    assert wallet.chain_id is wallet.chain_id


@pytest.mark.parametrize("fees", [None, L1Fees(least_wei=900, wei_per_byte=3, operator_wei=5)])
def test_an_account_must_have_the_most_that_it_may_cost(
    wallet: Wallet, node: Node, pen: Pen, monkeypatch: pytest.MonkeyPatch, fees: L1Fees | None
) -> None:
    def reported(_rpc: Rpc) -> L1Fees:
        if fees is None:
            raise L1FeeUnknown(5, "it does not say")
        return fees

    monkeypatch.setattr(module, "read_l1_fees", reported)
    most = 6 + 50_001 * OFFER
    if fees is not None:
        most += fees.beside_gas_wei(transaction_bytes("0x1234"), 50_001)
    node.balance = most - 1
    with pytest.raises(InsufficientEther) as caught:
        wallet.send(TO, "0x1234", value_wei=6)
    error = caught.value
    assert (error.address, error.needed_wei, error.balance_wei) == (ME, most, most - 1)
    assert pen.signed == []
    node.balance = most
    wallet.send(TO, "0x1234", value_wei=6)
    assert len(pen.signed) == 1


def test_what_an_account_has_not_is_said_before_anything_is_estimated(wallet: Wallet, node: Node) -> None:
    node.balance = 5
    with pytest.raises(InsufficientEther) as caught:
        wallet.send(TO, value_wei=6)

    assert caught.value.needed_wei == 6
    assert [method for method, _ in node.requested] == ["eth_getBalance"]
    check_ether(node, ME, 5)


def test_a_refusal_is_the_contracts_whenever_it_is_told(wallet: Wallet, node: Node, pen: Pen) -> None:
    node.estimate = TOO_SOON
    with pytest.raises(ContractReverted, match="deadbeef"):
        wallet.send(TO)
    assert pen.signed == []
    node.estimate, node.sends = 1, TOO_SOON
    with pytest.raises(ContractReverted, match="deadbeef"):
        wallet.send(TO)
    node.sends = RpcRejected("eth_sendRawTransaction", -32000, "nonce too low")
    with pytest.raises(RpcRejected, match="nonce too low"):
        wallet.send(TO)
    node.sends, node.status = NAME, "0x0"
    with pytest.raises(ContractReverted):
        wallet.send(TO)


@pytest.mark.parametrize("lost", [RpcTimeout("node", 3), RpcUnreachable("node", "gone"), RpcMalformed("node", "?")])
def test_what_may_have_been_sent_is_said_with_its_hash(wallet: Wallet, node: Node, lost: Exception) -> None:
    node.sends = lost
    with pytest.raises(SendUncertain) as caught:
        wallet.send(TO)

    assert caught.value.transaction_hash == NAME
    assert caught.value.__cause__ is lost
    assert str(lost).rstrip(".") in str(caught.value)


def test_who_interrupts_is_told_what_may_still_be_mined(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def interrupted(_rpc: Rpc, name: str, seconds: float) -> Any:
        waited.append((name, seconds))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "wait_for_receipt", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        wallet.send(TO, what="a test")

    assert caught.value.__notes__ == [f"It may still be mined: a test, transaction {NAME}."]
    assert waited == [(NAME, 180.0)]


def test_a_call_is_encoded_and_named_and_a_contract_made_from_its_code(
    wallet: Wallet, node: Node, pen: Pen, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    wallet.on_sent = lambda *words: reported.append(words)
    token = contract_at(wallet.rpc, "IERC20Metadata", TO)
    wallet.transact(token, "transfer", ME, 7, value_wei=1)
    assert (pen.signed[0]["to"], pen.signed[0]["data"], pen.signed[0]["value"]) == (
        *(TO, token.data("transfer", ME, 7), 1),
    )

    class Artifact:
        def creation_code(self, libraries: Any) -> bytes:
            assert libraries == {"L": TO}
            return b"\xc0\xde"

    monkeypatch.setattr(module, "load_artifact", lambda name: Artifact() if name else None)
    node.contract = "0x" + "cc" * 20
    made = wallet.deploy("IERC20Metadata", libraries={"L": TO})
    assert made.address == node.contract
    assert "to" not in pen.signed[1]
    assert pen.signed[1]["data"] == "0xc0de"
    assert [words for words, _ in reported] == [f"transfer to {TO}", "deployment of IERC20Metadata"]
    assert wallet.later(TO, "0x", 5) is False
    assert wallet.address == ME


def test_a_wallet_is_settled_once_nothing_is_pending(
    wallet: Wallet, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    node.counts = {"latest": [7, 8, 9], "pending": [9]}
    wallet.settle()
    assert clock.slept == [0.5, 0.5]
    node.counts = {"latest": [9], "pending": [8]}
    wallet.settle()
    assert len(clock.slept) == 2
    node.counts = {"latest": [7], "pending": [9]}
    wallet.receipt_timeout_s = 2.0
    began = clock.now
    with pytest.raises(TransactionNotMined) as caught:
        wallet.settle()
    assert clock.now - began == 2.5
    assert (caught.value.transaction_hash, caught.value.timeout_s) == (f"7 of {ME}", 2.0)


@pytest.mark.parametrize(
    ("fees", "beside", "rollup"),
    [
        (L1Fees(), 0, 0),
        (L1Fees(least_wei=900, operator_wei=5), 905, 905),
        (L1Fees(wei_per_byte=3, operator_wei_per_million_gas=10**9), 1_000_030, 1_000_030),
        (L1Fees(is_gas=True, least_wei=900, operator_wei=5), 5, 905),
        (None, 0, None),
    ],
)
def test_what_a_transaction_costs_now_names_the_part_for_a_rollup(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    fees: L1Fees | None,
    beside: int,
    rollup: int | None,
) -> None:
    def reported(_rpc: Rpc) -> L1Fees:
        if fees is None:
            raise L1FeeUnknown(5, "it does not say")
        return fees

    monkeypatch.setattr(costs, "read_l1_fees", reported)

    assert cost_now(node, 1_000, "0x") == Cost(1_000 * 11 * GWEI + beside, rollup)


@pytest.mark.parametrize(("estimate", "limit"), [(4, 5), (5, 6), (7, 8), (100_000, 125_000)])
def test_a_gas_limit_is_a_quarter_above_the_estimate_rounded_down(node: Node, estimate: int, limit: int) -> None:
    node.estimate = estimate

    assert estimate_gas(node, ME, TO, "0x") == limit
    assert estimate_gas(node, ME, TO, "0x", margin_bps=0) == estimate
