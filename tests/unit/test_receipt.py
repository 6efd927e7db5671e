"""Receipts as nodes give them, what rollups add to them, why a transaction was refused, and how one is waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from rebalancer.abi import Call
from rebalancer.chain import l1_fees
from rebalancer.chain import receipt as module
from rebalancer.chain.l1_fees import L1Fees, Rollup, transaction_bytes
from rebalancer.chain.receipt import (
    Receipt,
    find_receipt,
    read_receipt,
    refusal,
    settled,
    wait_for_receipt,
)
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ContractReverted,
    L1FeeUnknown,
    RpcMalformed,
    RpcRejected,
    TransactionNotMined,
)

HASH, BLOCK_HASH, MADE = "0x" + "ab" * 32, "0x" + "cd" * 32, "0x" + "ef" * 20
SENDER = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
MINED: dict[str, Any] = {
    "transactionHash": HASH,
    "blockHash": BLOCK_HASH,
    "blockNumber": "0x5",
    "status": "0x1",
    "logs": [{"data": "0x"}],
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x7",
    "contractAddress": None,
}
SENT: dict[str, Any] = {
    "hash": HASH,
    "nonce": "0x2",
    "input": "0x1234",
    "from": SENDER,
    "to": MADE,
    "value": "0x9",
    "gas": "0xffff",
    "gasPrice": "0x8",
}
REVERT = bytes.fromhex("08c379a0") + b"".join(
    (32).to_bytes(32) if n == 0 else (2).to_bytes(32) if n == 1 else b"no" + bytes(30) for n in range(3)
)


class Node(Rpc):
    """Answers by method, with a value or what a function of the parameters says."""

    def __init__(self, **answers: Any) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answers = answers
        self.requested: list[Call] = []

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.requested += calls
        return [answer(*params) if callable(answer := self.answers[method]) else answer for method, params in calls]

    def voters(self) -> list[Rpc]:
        return [self]


def receipt(**changes: Any) -> Receipt:
    found = read_receipt(Node(), {**MINED, **changes})
    assert found is not None
    return found


# Reading


def test_whole_receipt_is_read_without_asking() -> None:
    assert receipt() == Receipt(HASH, 5, BLOCK_HASH, 21_000, None, ({"data": "0x"},), 7, True)
    assert receipt(status="0x0").succeeded is False
    assert receipt(status="0x2").succeeded is False
    assert receipt(contractAddress=MADE).contract_address == MADE


@pytest.mark.parametrize("found", [None, {**MINED, "blockHash": None}, {**MINED, "blockNumber": None}])
def test_what_has_no_block_is_not_mined(found: Any) -> None:
    assert read_receipt(Node(), found) is None
    assert find_receipt(Node(eth_getTransactionReceipt=lambda requested: {HASH: found}[requested]), HASH) is None


@pytest.mark.parametrize("missing", ["status", "logs"])
def test_outcome_that_is_not_told_names_the_endpoint(missing: str) -> None:
    with pytest.raises(RpcMalformed) as raised:
        read_receipt(Node(), {**MINED, missing: None})

    assert raised.value.endpoint == "http://127.0.0.1:1"
    assert raised.value.reason == "a mined receipt without status or logs"


@pytest.mark.parametrize("missing", ["gasUsed", "effectiveGasPrice", "contractAddress"])
@pytest.mark.parametrize("price", [{}, {"gasPrice": None, "maxFeePerGas": "0x8"}])
def test_what_is_missing_is_the_transactions_and_the_rest_the_receipts(missing: str, price: dict[str, Any]) -> None:
    node = Node(eth_getTransactionByHash=SENT | price)
    short = {name: value for name, value in MINED.items() if name != missing}

    found = read_receipt(node, short)

    assert found is not None
    assert (found.gas_used, found.gas_price_wei) == (
        0xFFFF if missing == "gasUsed" else 21_000,
        8 if missing == "effectiveGasPrice" else 7,
    )
    assert found.contract_address is None
    assert node.requested == [("eth_getTransactionByHash", (HASH,))]


def test_contract_that_is_not_told_follows_from_sender_and_nonce() -> None:
    short = {name: value for name, value in MINED.items() if name != "contractAddress"}
    # Ethereum's own example: nonces 0, 1 and 2 of this sender.
    known = (
        "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d",
        "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8",
        "0xf778b86fa74e846c4f0a1fbd1335fe81c00a0c91",
    )
    for nonce, address in enumerate(known):
        found = read_receipt(Node(eth_getTransactionByHash=SENT | {"to": None, "nonce": hex(nonce)}), short)
        assert found is not None
        assert found.contract_address == address


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (None, "it has a mined receipt, but not its transaction"),
        *(
            (SENT | odd, "neither the receipt nor the transaction contains the gas")
            for odd in ({"gas": None}, {"gasPrice": None}, {"from": None})
        ),
    ],
)
def test_what_neither_tells_names_the_endpoint(sent: Any, reason: str) -> None:
    with pytest.raises(RpcMalformed) as raised:
        read_receipt(Node(eth_getTransactionByHash=sent), {**MINED, "gasUsed": None})

    assert (raised.value.endpoint, raised.value.reason) == ("http://127.0.0.1:1", reason)


# What rollups add


def test_fees_beside_gas_are_told_by_the_receipt() -> None:
    found = receipt(l1Fee="0x64", operatorFeeScalar="0x3", operatorFeeConstant="0xb", gasUsedForL1="0x10")

    # 21,000 * 3 millionths are less than one: rounded up.
    assert (found.l1_fee_wei, found.operator_fee_wei, found.l1_gas_used) == (100, 1 + 11, 16)
    assert found.beside_gas_wei == 112
    assert found.cost_wei == 21_000 * 7 + 112
    assert found.rollup_wei == 112 + 16 * 7
    exact = receipt(gasUsed=hex(2_000_000), operatorFeeScalar="0x3")
    assert exact.operator_fee_wei == 6
    assert receipt(gasUsed=hex(2_000_001), operatorFeeScalar="0x3").operator_fee_wei == 7
    jovian = receipt(operatorFeeScalar="0x3", daFootprintGasScalar="0x0")
    assert jovian.operator_fee_wei == 100 * 21_000 * 3
    plain = receipt()
    assert (plain.l1_fee_wei, plain.operator_fee_wei, plain.l1_gas_used) == (0, 0, 0)
    assert plain.cost_wei == 21_000 * 7
    assert plain.rollup_wei == 0


def test_fee_that_an_op_stack_node_leaves_out_is_bounded_by_its_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fees = L1Fees(least_wei=50, wei_per_byte=3)
    monkeypatch.setattr(module, "read_l1_fees", lambda rpc: fees)
    kind = [Rollup.OP_STACK]
    monkeypatch.setattr(module, "known_rollup", lambda rpc: kind[0])
    long = "0x" + "11" * 500
    for data in (long, "0x"):
        node = Node(eth_getTransactionByHash={"input": data})
        found = read_receipt(node, MINED)
        assert found is not None
        assert found.l1_fee_wei == fees.data_wei(transaction_bytes(data))
        assert node.requested == [("eth_getTransactionByHash", (HASH,))]
    unknown = read_receipt(Node(eth_getTransactionByHash=None), MINED)
    assert unknown is not None
    assert unknown.l1_fee_wei == fees.data_wei(110)
    for kind[0] in (Rollup.NONE, Rollup.ARBITRUM):
        assert receipt().l1_fee_wei == 0

    def refuses(rpc: Rpc) -> L1Fees:
        raise L1FeeUnknown(10, "it does not tell")

    kind[0] = Rollup.OP_STACK
    monkeypatch.setattr(module, "read_l1_fees", refuses)
    lost = read_receipt(Node(eth_getTransactionByHash={"input": "0x"}), MINED)
    assert lost is not None
    assert lost.l1_fee_wei == 0


# What a rollup charges, before it is paid


@pytest.mark.parametrize("is_gas", [False, True])
def test_fees_are_a_line_over_the_bytes_above_a_hundred(is_gas: bool) -> None:
    fees = L1Fees(is_gas, 50, 3, 11, 2_000_001)

    assert [fees.data_wei(size) for size in (0, 99, 100, 101, 200)] == [50, 50, 50, 53, 350]
    assert [fees.operator_fee_wei(gas) for gas in (0, 1, 10**6)] == [11, 14, 2_000_012]
    assert fees.operator_wei_per_gas == 3
    assert L1Fees(operator_wei_per_million_gas=2_000_000).operator_wei_per_gas == 2
    assert fees.beside_gas_wei(101, 0) == 11 + (0 if is_gas else 53)
    assert fees.line_wei == (50 - 300 + 11, 3)
    assert transaction_bytes("0x") == 110
    assert transaction_bytes("0x" + "00" * 33) == 143


def words(*values: int) -> str:
    return "0x" + b"".join(value.to_bytes(32) for value in values).hex()


class Rolled(Rpc):
    """An endpoint of a rollup, whose contracts answer as told."""

    def __init__(self, chain: int, oracle: Callable[[str, int], Any], code: str = "0x") -> None:
        super().__init__("http://127.0.0.1:1")
        self.chain, self.oracle, self.code = chain, oracle, code
        self.sys = "0x"
        self.requested: list[str] = []

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        found: list[Any] = []
        for method, params in calls:
            self.requested.append(method)
            if method == "eth_chainId":
                found.append(hex(self.chain))
            elif method == "eth_getCode":
                at_oracle = params[0] == l1_fees.GAS_PRICE_ORACLE
                found.append(self.code if at_oracle else self.sys)
            else:
                found.append(self._oracle(params[0]["data"]))
        return found

    def chain_id(self) -> int:
        return self.chain

    def _oracle(self, data: str) -> Any:
        for each in (l1_fees._ORACLE, l1_fees._NODE):
            for name, function in each.interface.functions.items():
                if function.is_called_by(data) and "(" not in name:
                    last = function.arguments(data)[-1]
                    return self.oracle(name, len(last) if isinstance(last, bytes) else last)
        raise AssertionError(data)


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l1_fees, "_KNOWN", WeakKeyDictionary())


REFUSED = RpcRejected("eth_call", 3, "execution reverted")


def op_stack(name: str, requested: int) -> Any:
    if name == "getL1FeeUpperBound":
        return words(1_000 + 7 * requested)
    if name == "getOperatorFee":
        return words(5 + requested * 3)
    return REFUSED


@pytest.mark.usefixtures("nothing_known")
def test_oracle_tells_the_line_and_the_operators_part() -> None:
    rpc = Rolled(10, op_stack)

    fees = l1_fees.read_l1_fees(rpc, 5)

    # Through 100 and 2,100 bytes, one byte's worth above it.
    assert fees == L1Fees(False, 1_000 + 700 + 7, 7, 5, 3_000_000)
    assert l1_fees.known_rollup(rpc) is Rollup.OP_STACK
    requested = len(rpc.requested)
    assert l1_fees.read_l1_fees(rpc, 5) is fees
    assert len(rpc.requested) == requested
    assert l1_fees.read_l1_fees(rpc, 6) == fees
    assert len(rpc.requested) == 2 * requested, "the kind of the chain is known, and its fees are not"
    l1_fees.read_l1_fees(rpc)
    assert len(rpc.requested) == 3 * requested


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("chain", [10, 42161])
def test_price_of_a_byte_is_told_to_the_wei(chain: int) -> None:
    def dear(name: str, requested: int) -> Any:
        if name == "gasEstimateL1Component":
            return words(10**6 * requested, 10**9, 1)
        return REFUSED if name == "getOperatorFee" else words(10**15 * requested)

    fees = l1_fees.read_l1_fees(Rolled(chain, dear))

    assert (fees.wei_per_byte, fees.least_wei) == (10**15, 101 * 10**15)


@pytest.mark.usefixtures("nothing_known")
def test_oracle_of_before_fjord_tells_by_the_bytes_and_has_no_operator() -> None:
    def ecotone(name: str, requested: int) -> Any:
        return words(11 * requested) if name == "getL1Fee" else REFUSED

    assert l1_fees.read_l1_fees(Rolled(10, ecotone)) == L1Fees(False, 1_111, 11)

    def empty(name: str, requested: int) -> Any:
        return words(11 * requested) if name == "getL1Fee" else "0x"

    assert l1_fees.read_l1_fees(Rolled(10, empty)) == L1Fees(False, 1_111, 11)


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("silent", ["getL1FeeUpperBound", "getOperatorFee"])
def test_oracle_that_refuses_with_a_reason_is_not_taken_for_an_older_one(silent: str) -> None:
    def refuses(name: str, requested: int) -> Any:
        if name in (silent, "getL1Fee"):
            return RpcRejected("eth_call", 3, "no", REVERT)
        return op_stack(name, requested)

    with pytest.raises(L1FeeUnknown) as raised:
        l1_fees.read_l1_fees(Rolled(10, refuses))

    assert raised.value.chain_id == 10
    assert "Error(message=no)" in raised.value.why


@pytest.mark.usefixtures("nothing_known")
def test_node_that_does_not_answer_for_the_operator_is_not_taken_for_an_older_chain() -> None:
    def busy(name: str, requested: int) -> Any:
        refused = RpcRejected("eth_call", -32000, "nobody knows why")
        return refused if name == "getOperatorFee" else op_stack(name, requested)

    with pytest.raises(L1FeeUnknown, match="nobody knows why"):
        l1_fees.read_l1_fees(Rolled(10, busy))


@pytest.mark.usefixtures("nothing_known")
def test_operators_fee_that_only_one_answer_tells_is_not_known() -> None:
    def half(name: str, requested: int) -> Any:
        return REFUSED if name == "getOperatorFee" and requested else op_stack(name, requested)

    with pytest.raises(L1FeeUnknown):
        l1_fees.read_l1_fees(Rolled(10, half))


@pytest.mark.usefixtures("nothing_known")
def test_fee_that_falls_with_the_size_is_a_flat_one() -> None:
    def falls(name: str, requested: int) -> Any:
        if name == "getOperatorFee":
            return words(9 if requested == 0 else 4)
        return words(1_000 if requested == 100 else 900)

    assert l1_fees.read_l1_fees(Rolled(10, falls)) == L1Fees(False, 1_000, 0, 9, 0)


@pytest.mark.usefixtures("nothing_known")
def test_arbitrum_tells_gas_at_its_base_fee() -> None:
    def node(name: str, requested: int) -> Any:
        assert name == "gasEstimateL1Component"
        return words(2 * requested, 5, 1)

    fees = l1_fees.read_l1_fees(Rolled(42161, node))

    assert fees == L1Fees(True, 2 * 100 * 5 + 10, 10)
    assert fees.beside_gas_wei(1_000, 1_000) == 0


@pytest.mark.usefixtures("nothing_known")
def test_chain_that_shows_arbitrums_own_code_is_one() -> None:
    rpc = Rolled(1, lambda name, requested: words(1, 1, 1))
    rpc.sys = "0xfe"

    assert l1_fees.read_l1_fees(rpc).is_gas
    assert l1_fees.known_rollup(rpc) is Rollup.ARBITRUM


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize(
    ("chain", "code", "kind"),
    [
        (1, "0x", Rollup.NONE),
        (1, "0x0", Rollup.NONE),
        (1, "0xfe", Rollup.OP_STACK),
        (8453, "0x", Rollup.OP_STACK),
        (42161, "0x", Rollup.ARBITRUM),
    ],
)
def test_kind_of_a_chain_is_listed_or_told_by_its_code(chain: int, code: str, kind: Rollup) -> None:
    def reported(name: str, requested: int) -> Any:
        return words(1, 1, 1) if name == "gasEstimateL1Component" else op_stack(name, requested)

    rpc = Rolled(chain, reported, code)
    l1_fees.read_l1_fees(rpc)

    assert l1_fees.known_rollup(rpc) is kind
    if kind is Rollup.NONE:
        requested = len(rpc.requested)
        assert l1_fees.read_l1_fees(rpc, 9) is l1_fees.NO_L1_FEES
        assert len(rpc.requested) == requested


class Voters(Rolled):
    """Several that must agree."""

    voting: list[Rpc]

    @property
    def votes(self) -> int:
        return len(self.voting)

    def voters(self) -> list[Rpc]:
        return self.voting


@pytest.mark.usefixtures("nothing_known")
def test_of_several_the_median_is_taken_of_each_part_and_of_two_the_higher() -> None:
    def scaled(by: int) -> Rolled:
        def reported(name: str, requested: int) -> Any:
            if name == "getOperatorFee":
                return words(10 * by + by * requested)
            return words(by * 1_000 + by * requested)

        return Rolled(10, reported)

    def refuses(name: str, requested: int) -> Any:
        return RpcRejected("eth_call", 3, "no", REVERT)

    requested = Voters(10, op_stack)
    for voting, by in (((1, 9, 2), 2), ((3, 4), 4), ((5,), 5)):
        requested.voting = [scaled(each) for each in voting]
        # One that does not tell stops nobody.
        requested.voting.insert(1, Rolled(10, refuses))
        assert l1_fees.read_l1_fees(requested) == L1Fees(False, by * 1_000 + by * 100 + by, by, 10 * by, by * 10**6)
    requested.voting = [Rolled(10, refuses)]
    with pytest.raises(L1FeeUnknown, match="Error"):
        l1_fees.read_l1_fees(requested)
    requested.voting = []
    with pytest.raises(L1FeeUnknown, match="no endpoint was read") as raised:
        l1_fees.read_l1_fees(requested)
    assert raised.value.chain_id == 10


@pytest.mark.usefixtures("nothing_known")
def test_kind_of_the_chain_is_what_most_of_several_say() -> None:
    plain, other = Rolled(1, op_stack), Rolled(1, op_stack)
    rollup = Rolled(1, op_stack, "0xfe")
    requested = Voters(1, op_stack)
    requested.voting = [rollup, plain, other]

    assert l1_fees.read_l1_fees(requested) == l1_fees.NO_L1_FEES
    assert l1_fees.known_rollup(requested) is Rollup.NONE


# Refusals


def test_settled_is_the_receipt_or_why_it_failed() -> None:
    assert settled(Node(), receipt()) == receipt()
    with pytest.raises(ContractReverted, match="no"):
        settled(Node(debug_traceTransaction={"output": "0x" + REVERT.hex()}), receipt(status="0x0"))


def test_refusal_is_what_the_tracer_tells() -> None:
    node = Node(debug_traceTransaction={"output": "0x" + REVERT.hex()})

    found = refusal(node, receipt(status="0x0"))

    assert (found.error, found.values, found.data) == ("Error", {"message": "no"}, REVERT)
    tracer = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
    assert node.requested == [("debug_traceTransaction", (HASH, tracer))]


@pytest.mark.parametrize("trace", [{}, {"output": "0x"}, RpcRejected("debug", -32601, "no")])
def test_all_gas_used_is_out_of_gas_where_no_data_tells_otherwise(trace: Any) -> None:
    node = Node(debug_traceTransaction=trace, eth_getTransactionByHash=SENT)

    found = refusal(node, receipt(status="0x0", gasUsed="0xffff"))

    assert (found.error, found.values) == ("OutOfGas", {"gas_limit": 0xFFFF})


def test_refusal_is_replayed_where_nothing_traces() -> None:
    node = Node(
        debug_traceTransaction=RpcRejected("debug", -32601, "no"),
        eth_getTransactionByHash={**SENT, "nonce": "0x2", "value": None},
        eth_call=RpcRejected("eth_call", 3, "reverted", REVERT),
    )

    assert refusal(node, receipt(status="0x0")).values == {"message": "no"}

    message = {"from": SENDER, "to": MADE, "data": "0x1234", "gas": "0xffff"}
    assert node.requested[-1] == ("eth_call", (message, "0x5"))
    node.answers["eth_call"] = "0x"
    found = refusal(node, receipt(status="0x0"))
    assert (found.error, found.data) == ("NoReason", b"")


def test_a_trace_without_data_is_believed() -> None:
    node = Node(debug_traceTransaction={"output": "0x"}, eth_getTransactionByHash=SENT)

    assert refusal(node, receipt(status="0x0")).error == "NoReason"
    assert [method for method, _ in node.requested] == [
        "debug_traceTransaction",
        "eth_getTransactionByHash",
    ]


# Waiting


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_receipt_is_asked_for_less_and_less_often_up_to_once_a_second(clock: Clock) -> None:
    answers = [None] * 12 + [MINED]
    node = Node(eth_getTransactionReceipt=lambda _: answers.pop(0))

    assert wait_for_receipt(node, HASH, 60.0) == receipt()

    assert clock.slept == [*(0.001 * 2**n for n in range(10)), 1.0, 1.0]


@pytest.mark.parametrize(("timeout", "slept"), [(0.0, []), (0.001, [0.001]), (0.0029, [0.001])])
def test_no_pause_is_begun_that_ends_after_the_time(clock: Clock, timeout: float, slept: list[float]) -> None:
    clock.now = 0.0
    with pytest.raises(TransactionNotMined) as raised:
        wait_for_receipt(Node(eth_getTransactionReceipt=None), HASH, timeout)

    assert (raised.value.transaction_hash, raised.value.timeout_s) == (HASH, timeout)
    assert clock.slept == slept
