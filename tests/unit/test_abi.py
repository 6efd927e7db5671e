"""Encoding and decoding against hand-made ABIs and hand-made words."""

from __future__ import annotations

import pytest
from eth_abi.exceptions import EncodingError
from eth_utils.crypto import keccak

from rebalancer.abi import Interface, decode_logs
from rebalancer.chain.artifacts import artifact_names, load_artifact
from rebalancer.chain.interfaces import decode_revert, interface, named_arguments, reverted
from rebalancer.errors import (
    ArtifactMissing,
    ContractMissing,
    ContractReverted,
    RpcRejected,
)

SOMEONE = "0x" + "Ab" * 20
SWAP = {
    "name": "leg",
    "type": "tuple[]",
    "components": [
        {"name": "token", "type": "address"},
        {"name": "ticks", "type": "int24[2]"},
    ],
}
ABI = (
    {
        "type": "function",
        "name": "route",
        "inputs": [{"name": "amount", "type": "uint256"}, SWAP],
        "outputs": [{"name": "", "type": "uint256"}, SWAP],
    },
    {
        "type": "function",
        "name": "pick",
        "inputs": [{"name": "i", "type": "uint8"}],
        "outputs": [{"name": "", "type": "address"}],
    },
    {
        "type": "function",
        "name": "pick",
        "inputs": [{"name": "b", "type": "bytes32"}],
        "outputs": [],
    },
    {
        "type": "event",
        "name": "Moved",
        "inputs": [
            {"name": "amount", "type": "uint256", "indexed": False},
            {"name": "who", "type": "address", "indexed": True},
            {"name": "why", "type": "string", "indexed": True},
            {"name": "", "type": "bool", "indexed": False},
        ],
    },
)


def word(value: int) -> str:
    return value.to_bytes(32).hex()


@pytest.fixture
def routes() -> Interface:
    return Interface.of("Routes", ABI)


def test_function_with_structs_encodes_word_by_word(routes: Interface) -> None:
    route = routes.functions["route"]
    assert route.signature == "route(uint256,(address,int24[2])[])"

    data = route.encode(5, [(SOMEONE, (-1, 60))])
    assert data[10:] == (word(5) + word(64) + word(1) + word(int("ab" * 20, 16)) + "f" * 64 + word(60))
    back = route.decode("0x" + data[10:])
    assert back == (5, ((SOMEONE.lower(), (-1, 60)),))


def test_overloads_are_found_by_signature_the_first_by_name(routes: Interface) -> None:
    assert routes.functions["pick"] is routes.functions["pick(uint8)"]
    assert routes.functions["pick(bytes32)"].selector != routes.functions["pick"].selector


def test_results_single_as_itself_none_as_none(routes: Interface) -> None:
    assert routes.functions["pick"].decode("0x" + word(int("ab" * 20, 16))) == SOMEONE.lower()
    assert routes.functions["pick(bytes32)"].decode("0x") is None


def test_encode_number_too_large_is_refused(routes: Interface) -> None:
    with pytest.raises(EncodingError):
        routes.functions["pick"].encode(256)


def test_selector_of_a_known_function() -> None:
    assert interface("MockToken").functions["transfer"].selector.hex() == "a9059cbb"


def test_event_keeps_the_order_of_its_fields(routes: Interface) -> None:
    topic = next(iter(routes.events))
    log = {
        "address": SOMEONE,
        "topics": [topic, "0x" + word(7), "0x" + "cd" * 32],
        "data": "0x" + word(9) + word(1),
        "blockNumber": "0x10",
        "transactionHash": "0x01",
    }
    (event,) = decode_logs([{**log, "topics": ["0x" + "00" * 32]}, log], routes)
    assert list(event.values.items()) == [
        ("amount", 9),
        ("who", "0x" + word(7)[24:]),
        ("why", b"\xcd" * 32),
        ("arg3", True),
    ]
    assert (event.address, event.block_number) == (SOMEONE.lower(), 16)
    # The same signature with one field indexed less is another contract's event.
    assert decode_logs([{**log, "topics": log["topics"][:2]}], routes) == []


def test_revert_with_a_message_is_named_error() -> None:
    refusal = decode_revert(bytes.fromhex("08c379a0" + word(32) + word(2) + "6e6f".ljust(64, "0")))
    assert (refusal.error, refusal.values) == ("Error", {"message": "no"})
    assert str(refusal) == "The contract refused with Error(message=no)."


def test_revert_by_panic_says_what_it_means() -> None:
    refusal = decode_revert(bytes.fromhex("4e487b71" + word(0x11)))
    assert refusal.values == {"code": 0x11, "meaning": "arithmetic overflow"}


def test_revert_with_a_custom_error_carries_its_numbers() -> None:
    refusal = decode_revert(bytes.fromhex("e450d38c" + word(int("ab" * 20, 16)) + word(3) + word(4)))
    assert refusal.error == "ERC20InsufficientBalance"
    assert refusal.values == {"sender": SOMEONE.lower(), "balance": 3, "needed": 4}


@pytest.mark.parametrize(
    ("data", "error"),
    [("", "NoReason"), ("deadbeef01", "UnknownError"), ("e450d38c00", "UnknownError")],
)
def test_revert_that_cannot_be_read_keeps_its_data(data: str, error: str) -> None:
    refusal = decode_revert(bytes.fromhex(data))
    assert refusal.error == error
    assert refusal.data == bytes.fromhex(data)


def test_refusal_shows_bytes_as_hexadecimal_digits_and_a_fault_by_name() -> None:
    not_ready = keccak(text="AccessManagerNotReady(bytes32)")[:4] + bytes(30) + b"\xde\x18"
    no_price = keccak(text="OracleFault(uint256,uint8)")[:4] + (0).to_bytes(32) + (4).to_bytes(32)

    assert f"operationId=0x{60 * '0'}de18)" in str(decode_revert(not_ready))
    assert "(asset=0, fault=4 (Stale))" in str(decode_revert(no_price))


def test_rejection_is_a_refusal_only_if_a_contract_refused() -> None:
    assert isinstance(reverted(RpcRejected("eth_call", 3, "execution reverted")), ContractReverted)
    assert isinstance(reverted(RpcRejected("eth_call", -1, "no", b"\1")), ContractReverted)
    for message in ("VM Exception: invalid opcode", "EVM error InvalidFEOpcode", "out of gas"):
        assert isinstance(reverted(RpcRejected("eth_call", -32603, message)), ContractReverted)
    busy = RpcRejected("eth_call", -32005, "limit exceeded")
    assert reverted(busy) is busy


def test_result_of_nothing_is_a_missing_contract() -> None:
    token = interface("MockToken").at(SOMEONE)
    with pytest.raises(ContractMissing) as caught:
        token.result("decimals", "0x")
    assert (caught.value.name, caught.value.address) == ("MockToken", SOMEONE.lower())
    assert token.result("decimals", "0x" + word(6)) == 6


def test_request_names_contract_and_block() -> None:
    token = interface("MockToken").at(SOMEONE)
    method, (message, block) = token.request("decimals", block=5)
    assert (method, block) == ("eth_call", "0x5")
    assert message == {"to": SOMEONE.lower(), "data": "0x313ce567"}


def test_every_artifact_parses() -> None:
    names = artifact_names()
    assert {"BasketVault", "UniswapV3Pool", "WETH9", "Multicall3", "MockToken"} <= set(names)
    for name in names:
        assert interface(name).name == name


def test_creation_code_links_libraries_or_names_the_missing() -> None:
    linked = [name for name in artifact_names() if load_artifact(name).links]
    for name in linked:
        artifact = load_artifact(name)
        with pytest.raises(ArtifactMissing, match="library"):
            artifact.creation_code()
        code = artifact.creation_code(dict.fromkeys(artifact.links, SOMEONE))
        assert code.count(b"\xab" * 20) >= len(artifact.links)


def test_request_names_the_block_it_is_asked_at(routes: Interface) -> None:
    contract = routes.at(SOMEONE)
    data = contract.data("pick(uint8)", 5)
    message = {"to": SOMEONE.lower(), "data": data}

    assert contract.request("pick(uint8)", 5) == ("eth_call", (message, "latest"))
    assert contract.request("pick(uint8)", 5, block=16) == ("eth_call", (message, "0x10"))


def test_arguments_of_a_call_are_named_and_so_are_the_fields_of_structs() -> None:
    vault = interface("BasketVault")
    function = vault.functions["redeemInKind"]
    data = function.encode(5, SOMEONE, SOMEONE, [1, 2])

    named = named_arguments(vault, function, data)

    assert list(named.values()) == [5, SOMEONE.lower(), SOMEONE.lower(), [1, 2]]
    assert list(named) == ["shares", "receiver", "owner", "minAmounts"]


def test_structs_of_a_call_are_mappings_alone_and_in_lists() -> None:
    vault = interface("BasketVault")
    fees, bands = vault.functions["setFees"], vault.functions["setBands"]

    named = named_arguments(vault, fees, fees.encode((1, 2, 3, 4), SOMEONE))
    assert named == {
        "fees": {"streamingBps": 1, "performanceBps": 2, "entryBps": 3, "exitBps": 4},
        "recipient": SOMEONE.lower(),
    }
    assert named_arguments(vault, bands, bands.encode([(1, 2, 3), (4, 5, 6)])) == {
        "bands": [
            {"bandBps": 1, "relativeBandBps": 2, "minTradeRaw": 3},
            {"bandBps": 4, "relativeBandBps": 5, "minTradeRaw": 6},
        ]
    }


def test_event_is_known_by_its_topic_and_has_its_name(routes: Interface) -> None:
    topic = "0x" + keccak(text="Moved(uint256,address,string,bool)").hex()

    assert {known: event.name for known, event in routes.events.items()} == {topic: "Moved"}
