"""Reads of contracts by web3: what is sent, what comes back, and what a hostile contract or node can do with them."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.abi import abi_to_signature
from web3 import HTTPProvider, Web3
from web3.exceptions import OffchainLookup

from rebalancer.abi import Call
from rebalancer.chain.artifacts import artifact_names, load_artifact
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.provider import FailoverProvider, rpc_of
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ContractMissing,
    ContractReverted,
    RpcMalformed,
    RpcRejected,
    RpcTimeout,
    RpcUnreachable,
)
from tests.unit.test_endpoints import Node, over
from tests.unit.test_rpc import SECRET, ScriptedServer

VAULT = "0x" + "Ab" * 20
HOLDER = "0x" + "cD" * 20
HASH = b"\x07" * 32
OFFCHAIN_LOOKUP = "0x556f1830"


def word(value: int) -> str:
    return value.to_bytes(32).hex()


def sample(parameter: Mapping[str, Any], chance: random.Random) -> Any:
    """Any value of a parameter of an ABI; addresses in any spelling."""
    kind = parameter["type"]
    if kind.endswith("]"):
        inner, _, count = kind[:-1].rpartition("[")
        many = int(count) if count else chance.randrange(3)
        return tuple(sample({**parameter, "type": inner}, chance) for _ in range(many))
    if kind == "tuple":
        return tuple(sample(part, chance) for part in parameter["components"])
    if kind == "address":
        address = chance.randbytes(20).hex()
        return "0x" + (address if chance.random() < 0.5 else address.upper())
    if kind == "bool":
        return chance.random() < 0.5
    if kind == "string":
        return chance.choice(["", "plain", HOLDER, "ünïcødé", "a" * 70])
    if kind.startswith("bytes"):
        return chance.randbytes(int(kind[5:]) if kind[5:] else chance.randrange(70))
    if kind.startswith("uint"):
        return chance.randrange(1 << int(kind[4:]))
    half = 1 << int(kind[3:]) - 1
    return chance.randrange(-half, half)


def lowered(parameter: Mapping[str, Any], value: Any) -> Any:
    """A sample as it must come out: addresses in lower case, and nothing else changed."""
    kind = parameter["type"]
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return tuple(lowered(inner, one) for one in value)
    if kind == "tuple":
        return tuple(map(lowered, parameter["components"], value))
    return value.lower() if kind == "address" else value


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def rpc(node: Node) -> Iterator[Rpc]:
    with Rpc(node.url) as client:
        yield client


@pytest.fixture
def vault(rpc: Rpc) -> BoundContract:
    return contract_at(rpc, "BasketVault", VAULT)


# What is sent


def test_a_read_is_one_eth_call_and_no_other_request(node: Node, rpc: Rpc, vault: BoundContract) -> None:
    node.word = "0x" + word(5)

    assert vault.call("totalSupply", block=HASH) == 5
    assert vault.call("balanceOf", HOLDER, sender=HOLDER) == 5

    assert node.methods() == ["eth_call", "eth_call"]
    assert rpc.requests == 2


def test_the_chains_id_is_asked_once_a_connection_as_ever(node: Node) -> None:
    node.word = "0x" + word(5)
    with Rpc(node.url, expected_chain_id=1) as rpc:
        for _ in range(2):
            contract_at(rpc, "BasketVault", VAULT).call("totalSupply")

    assert node.methods() == ["eth_chainId", "eth_call", "eth_call"]


@pytest.mark.parametrize(
    ("block", "sent"),
    [
        (HASH, {"blockHash": "0x" + "07" * 32, "requireCanonical": True}),
        ("0x" + "07" * 32, {"blockHash": "0x" + "07" * 32, "requireCanonical": True}),
        (0, "0x0"),
        (300, "0x12c"),
        ("latest", "latest"),
        ("finalized", "finalized"),
    ],
)
def test_a_read_names_its_block_as_it_was_given(
    node: Node, vault: BoundContract, block: int | str | bytes, sent: Any
) -> None:
    """web3 would turn a hash into the number that it has now, and a reorg could change what is read."""
    node.word = "0x" + word(5)
    vault.call("totalSupply", block=9)
    vault.call("totalSupply", block=block)

    assert node.bodies[-1]["params"][1] == sent


def test_a_read_names_contract_sender_and_arguments(node: Node, vault: BoundContract) -> None:
    node.word = "0x" + word(1)
    vault.call("balanceOf", HOLDER, sender=HOLDER.upper().replace("X", "x"))

    (message, block) = node.bodies[-1]["params"]
    assert {key: value.lower() for key, value in message.items()} == {
        "to": VAULT.lower(),
        "from": HOLDER.lower(),
        "data": "0x70a08231" + "00" * 12 + "cd" * 20,
    }
    assert block == "latest"


class InProcess(Rpc):
    """Answers each question with one word, in this process."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answer = ""
        self.requested: list[Call] = []

    def _settle(self, calls: Sequence[Call]) -> list[Any]:
        self.requested += calls
        return [self.answer for _ in calls]


def test_every_packaged_function_is_encoded_and_decoded_as_the_keeper_does() -> None:
    """Of structs, arrays, overloads, strings and all: web3's coders and those of `abi` are one."""
    rpc = InProcess()
    chance = random.Random(1)
    seen = set()
    for name in artifact_names():
        for entry in load_artifact(name).abi:
            shape = json.dumps([entry.get("inputs"), entry.get("outputs")], sort_keys=True)
            if entry["type"] != "function" or shape in seen:
                continue
            seen.add(shape)
            function = abi_to_signature(entry)  # type: ignore[arg-type]  # a mapping of the ABI's
            ours, theirs = interface(name).at(VAULT), contract_at(rpc, name, VAULT)
            given = tuple(sample(part, chance) for part in entry["inputs"])
            outputs = interface(name).functions[function].outputs
            values = tuple(sample(part, chance) for part in entry["outputs"])
            rpc.answer = "0x" + encode(outputs.types, values).hex()

            assert theirs.data(function, *given) == ours.data(function, *given), function
            found = theirs.call(function, *given)

            assert found == ours.result(function, rpc.answer), function
            wanted = tuple(map(lowered, entry["outputs"], values))
            assert found == (wanted if len(wanted) > 1 else wanted[0] if wanted else None)
            assert rpc.requested[-1][1][0]["data"] == ours.data(function, *given)
    assert len(seen) > 300


@pytest.fixture
def server_rpc() -> Iterator[tuple[ScriptedServer, Rpc]]:
    server = ScriptedServer()
    server.start()
    with Rpc(server.url) as client:
        yield server, client
    server.stop()


def test_an_overloaded_function_is_found_by_signature_the_first_by_name(rpc: Rpc) -> None:
    pool = contract_at(rpc, "MockCurvePool", VAULT)
    kinds = [
        abi_to_signature(entry)  # type: ignore[arg-type]  # a mapping of the ABI's
        for entry in load_artifact("MockCurvePool").abi
        if entry.get("name") == "exchange"
    ]

    starts = [pool.data(kind, 0, 1, 10, 0)[:10] for kind in kinds]

    assert len(set(starts)) == len(kinds) == 2
    assert pool.data("exchange", 0, 1, 10, 0)[:10] == starts[0]


@pytest.mark.parametrize(
    ("function", "given"),
    [
        ("balanceOf", ("vitalik.eth",)),  # no name service is asked
        ("balanceOf", ("0x1234",)),
        ("balanceOf", (5,)),
        ("balanceOf", ()),
        ("previewMintInKind", (-1,)),
        ("previewMintInKind", (1 << 256,)),
        ("previewMintInKind", ("1",)),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_asked(
    node: Node, vault: BoundContract, function: str, given: tuple[Any, ...]
) -> None:
    with pytest.raises(ValueError, match=function):
        vault.call(function, *given)
    with pytest.raises(ValueError, match=function):
        vault.data(function, *given)

    assert node.bodies == []


# What comes back


def test_addresses_come_out_in_lower_case_and_structs_as_plain_tuples(node: Node, rpc: Rpc) -> None:
    words = (32, int(HOLDER, 16), 1, 2, 3, 4, int(VAULT, 16), 7 * 32, 1, 0x12 << 248)
    node.word = "0x" + "".join(map(word, words))

    found = contract_at(rpc, "OracleHub", VAULT).call("feedOf", HOLDER)

    assert found == (HOLDER.lower(), 1, 2, 3, 4, VAULT.lower(), b"\x12")
    assert type(found) is tuple


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"BIG3", "BIG3"),
        (b"\x1b[31mred\x1b[0m\nINFO done", "[31mred[0m INFO done"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("a\u202eb".encode(), "ab"),
        (b"x" * 400, "x" * 299 + "…"),
    ],
)
def test_a_string_comes_out_safe_to_show(node: Node, vault: BoundContract, raw: bytes, shown: str) -> None:
    node.word = "0x" + encode(["bytes"], [raw]).hex()

    assert vault.call("symbol") == shown


@pytest.mark.parametrize(
    ("data", "error", "values"),
    [
        ("0x", "NoReason", {}),
        ("0x9811e0c7", "ZeroShares", {}),
        ("0xe450d38c" + word(1) + word(3) + word(4), "ERC20InsufficientBalance", None),
        ("0x08c379a0" + word(32) + word(2) + "6e6f".ljust(64, "0"), "Error", {"message": "no"}),
        ("0x4e487b71" + word(0x11), "Panic", {"code": 17, "meaning": "arithmetic overflow"}),
        ("0x4e487b71" + word(0x99), "Panic", {"code": 0x99, "meaning": "unknown"}),
        ("0xdeadbeef", "UnknownError", {"data": "0xdeadbeef"}),
        ("0x4e", "UnknownError", {"data": "0x4e"}),
        (OFFCHAIN_LOOKUP, "UnknownError", {"data": OFFCHAIN_LOOKUP}),
    ],
)
def test_a_refusal_carries_its_name_and_numbers(
    node: Node, vault: BoundContract, data: str, error: str, values: Mapping[str, Any] | None
) -> None:
    node.refuses(3, "execution reverted", data=data)

    with pytest.raises(ContractReverted) as refused:
        vault.call("totalSupply")

    assert refused.value.error == error
    if values is not None:
        assert refused.value.values == values
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def offchain_lookup(url: str) -> str:
    """The revert by which a contract has a client fetch a URL of its choice (EIP-3668)."""
    types = ["address", "string[]", "bytes", "bytes4", "bytes"]
    return OFFCHAIN_LOOKUP + encode(types, [VAULT, [url], b"", b"\1\2\3\4", b""]).hex()


def test_a_contract_cannot_have_a_url_fetched(node: Node, vault: BoundContract) -> None:
    stranger = ScriptedServer()
    stranger.start()
    try:
        node.refuses(3, "execution reverted", data=offchain_lookup(stranger.url))

        with pytest.raises(ContractReverted, match="UnknownError"):
            vault.call("totalSupply")
        # Under anybody's Web3 neither, unless its owner says so.
        w3 = Web3(FailoverProvider(node.url), middleware=[])
        with pytest.raises(OffchainLookup):
            w3.eth.call({"to": Web3.to_checksum_address(VAULT)})
    finally:
        stranger.stop()

    assert stranger.bodies == []


@pytest.mark.parametrize(
    "answer",
    [
        "0x",
        "0x01",
        "0x" + word(1 << 200),  # the array begins far outside
        "0x" + word(32) + word(1 << 64),
        "0x" + word(32) + word(2) + word(5),
    ],
)
def test_an_answer_that_is_none_of_this_contracts_is_a_missing_contract(
    node: Node, vault: BoundContract, answer: str
) -> None:
    node.word = answer
    with pytest.raises(ContractMissing) as missing:
        vault.call("held")

    assert (missing.value.name, missing.value.address) == ("BasketVault", VAULT.lower())
    assert node.methods() == ["eth_call"]


@pytest.mark.parametrize("nowhere", ["", "0x12", "0x" + "zz" * 20, "vitalik.eth", "0x" + "00" * 21])
def test_what_is_no_address_has_no_contract(node: Node, rpc: Rpc, nowhere: str) -> None:
    with pytest.raises(ContractMissing):
        contract_at(rpc, "BasketVault", nowhere).call("held")

    assert node.bodies == []


def test_a_function_without_results_answers_none(node: Node, vault: BoundContract) -> None:
    node.word = "0x"

    assert vault.call("poke") is None


# Trouble with nodes


def test_what_an_endpoint_cannot_answer_the_next_is_asked() -> None:
    nodes = [Node(), Node(word="0x" + word(7))]
    for each in nodes:
        each.start()
    try:
        nodes[0].refuses(-32005, "rate limit exceeded", 429)
        with over(nodes) as endpoints:
            assert contract_at(endpoints, "BasketVault", VAULT).call("totalSupply") == 7
    finally:
        for each in nodes:
            each.stop()

    assert [each.methods() for each in nodes] == [["eth_call"], ["eth_call"]]


def test_a_contract_is_read_over_anybodys_provider(node: Node) -> None:
    node.word = "0x" + word(5)
    rpc = rpc_of(Web3(HTTPProvider(node.url)))

    assert contract_at(rpc, "BasketVault", VAULT).call("totalSupply", block=HASH) == 5
    assert node.methods() == ["eth_call"]


@pytest.mark.parametrize("code", [-32000, 3, 4444])
def test_a_nodes_own_refusal_stays_one(node: Node, vault: BoundContract, code: int) -> None:
    node.refuses(code, f"header not found at http://node/{SECRET}")

    with pytest.raises(RpcRejected) as refused:
        vault.call("totalSupply", block=HASH)

    assert refused.value.code == code
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("result", [None, 5, "no hex", "0xzz", ["0x01"], {"data": "0x01"}, "0x1"])
def test_a_result_that_no_call_has_is_malformed(server_rpc: tuple[ScriptedServer, Rpc], result: Any) -> None:
    server, rpc = server_rpc
    server.results(lambda _: result)

    with pytest.raises(RpcMalformed) as refused:
        contract_at(rpc, "BasketVault", VAULT).call("totalSupply")

    assert SECRET not in str(refused.value)


def test_a_node_that_is_gone_is_one_failure_without_a_secret() -> None:
    gone = contract_at(Rpc(f"http://127.0.0.1:1/{SECRET}"), "BasketVault", VAULT)

    with pytest.raises(RpcUnreachable) as failure:
        gone.call("totalSupply")

    assert SECRET not in str(failure.value)


def test_after_the_deadline_nothing_is_asked(node: Node, rpc: Rpc, vault: BoundContract) -> None:
    rpc.deadline = 0.0  # long ago, on the clock that counts from a start of the machine

    with pytest.raises(RpcTimeout):
        vault.call("totalSupply")

    assert node.methods() == []


# What it keeps


def test_endpoints_that_are_dropped_are_not_kept(node: Node) -> None:
    node.word = "0x" + word(5)
    rpc = Rpc(node.url)
    assert contract_at(rpc, "BasketVault", VAULT).call("totalSupply") == 5
    rpc.close()

    gone = weakref.ref(rpc)
    del rpc
    gc.collect()

    assert gone() is None


def test_web3_is_loaded_by_the_first_read_alone() -> None:
    code = (
        "import sys, pkgutil, importlib, rebalancer.cli as cli\n"
        "for each in pkgutil.iter_modules(cli.__path__):\n"
        "    importlib.import_module(f'rebalancer.cli.{each.name}')\n"
        "print('rebalancer.chain.contracts' in sys.modules, 'web3' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)

    assert (ran.stdout, ran.stderr) == ("True False\n", "")
