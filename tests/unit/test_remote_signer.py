"""Signers whose key is elsewhere: they are held to exactly what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import RpcRejected, RpcTimeout, SignedOtherwise, SignerUnavailable
from rebalancer.send.remote import ExternalSigner, checked, open_external
from rebalancer.send.signed import Signer

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = bytes.fromhex("0123456789abcdef" * 4)
ADDRESS = "0xfcad0b19bb29d4674531d6f115237e16afce377c"  # of that key
OTHER_KEY = bytes.fromhex("fedcba9876543210" * 4)

ASKED: dict[str, Any] = {
    "type": 2,
    "chainId": 1,
    "nonce": 7,
    "to": "0x" + "ab" * 20,
    "data": "0x1234",
    "value": 0,
    "gas": 50_000,
    "maxFeePerGas": 10**10,
    "maxPriorityFeePerGas": 10**9,
}


def signed(transaction: Mapping[str, Any], key: bytes = KEY) -> str:
    message = dict(transaction) | {"to": to_checksum_address(transaction["to"])}
    return "0x" + bytes(Account.sign_transaction(message, key).raw_transaction).hex()


class SignerRpc(Rpc):
    """Answers eth_signTransaction with what it was given, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__("http://127.0.0.1:1/secret-path")
        self.answer = answer
        self.requested: Any = None

    def call(self, method: str, *params: Any) -> Any:
        if method == "eth_accounts":
            assert not params
        else:
            assert method == "eth_signTransaction"
            (self.requested,) = params
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("chainId", 10),
        ("nonce", 8),
        ("to", "0x" + "cd" * 20),
        ("data", "0x1235"),
        ("data", "0x"),
        ("value", 1),
        ("gas", 50_001),
        ("maxFeePerGas", 10**10 + 1),
        ("maxPriorityFeePerGas", 10**9 + 1),
        ("accessList", [{"address": "0x" + "00" * 20, "storageKeys": []}]),
    ],
)
def test_external_signer_that_signs_another_transaction_is_refused(field: str, value: Any) -> None:
    signer = ExternalSigner(SignerRpc({"raw": signed(ASKED | {field: value})}), ADDRESS)
    with pytest.raises(SignedOtherwise) as caught:
        signer.sign(ASKED)
    assert caught.value.field == field
    if field in ASKED:
        assert (caught.value.requested, caught.value.signed) == (ASKED[field], value)
    else:
        assert (caught.value.requested, caught.value.signed) == ("empty", "not empty")


def test_external_signer_that_signs_with_another_key_is_refused() -> None:
    signer = ExternalSigner(SignerRpc(signed(ASKED, OTHER_KEY)), ADDRESS)
    with pytest.raises(SignedOtherwise, match="the sender is 0x") as caught:
        signer.sign(ASKED)
    assert caught.value.requested == ADDRESS


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        "0x",
        "not hex",
        "0x02",
        "0x" + "ff" * 90,
        signed(ASKED) + "00",
        RpcRejected("eth_signTransaction", -32000, "denied by rule"),
        RpcTimeout("http://127.0.0.1:1", 3),
    ],
)
def test_external_signer_without_a_transaction_is_unavailable(answer: Any) -> None:
    with pytest.raises(SignerUnavailable) as caught:
        ExternalSigner(SignerRpc(answer), ADDRESS).sign(ASKED)
    assert caught.value.endpoint == "http://127.0.0.1:1"
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize("wrapped", [False, True], ids=["Web3Signer", "Clef"])
def test_external_signer_is_asked_for_everything_and_believed_when_it_is_that(
    wrapped: bool,
) -> None:
    raw = signed(ASKED)
    rpc = SignerRpc({"raw": raw, "tx": {}} if wrapped else raw)
    signer: Signer = ExternalSigner(rpc, to_checksum_address(ADDRESS))
    found = signer.sign(ASKED)

    assert found.raw == bytes.fromhex(raw[2:])
    assert found.hash == "0x" + keccak(found.raw).hex()
    assert signer.address == ADDRESS
    assert rpc.requested == {
        "type": "0x2",
        "chainId": "0x1",
        "nonce": "0x7",
        "from": ADDRESS,
        "to": ASKED["to"],
        "data": "0x1234",
        "value": "0x0",
        "gas": hex(50_000),
        "maxFeePerGas": hex(10**10),
        "maxPriorityFeePerGas": hex(10**9),
    }
    assert "secret-path" not in repr(signer)


def test_deployment_is_asked_without_a_receiver_and_held_to_having_none() -> None:
    requested = {name: value for name, value in ASKED.items() if name != "to"}
    raw = "0x" + bytes(Account.sign_transaction(requested, KEY).raw_transaction).hex()
    rpc = SignerRpc(raw)

    assert ExternalSigner(rpc, ADDRESS).sign(requested).raw == bytes.fromhex(raw[2:])

    assert "to" not in rpc.requested
    with pytest.raises(SignedOtherwise) as caught:
        checked(bytes.fromhex(signed(ASKED)[2:]), requested, ADDRESS)
    assert (caught.value.field, caught.value.signed) == ("to", ASKED["to"])


def opened(monkeypatch: pytest.MonkeyPatch, answer: Any, address: str | None = None) -> Signer:
    rpc = SignerRpc(answer)

    def made(url: str) -> Rpc:
        assert url == "http://signer"
        return rpc

    monkeypatch.setattr("rebalancer.send.remote.Rpc", made)
    found = open_external("http://signer", address)
    assert "127.0.0.1" in repr(found)
    return found


def test_external_signer_is_opened_for_the_account_named_or_its_only_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert opened(monkeypatch, [to_checksum_address(ADDRESS)]).address == ADDRESS
    silent = RpcTimeout("http://127.0.0.1:1", 3)
    assert opened(monkeypatch, silent, to_checksum_address(ADDRESS)).address == ADDRESS
    with pytest.raises(SignerUnavailable, match="3 s") as caught:
        opened(monkeypatch, silent)
    assert caught.value.endpoint == "http://127.0.0.1:1"


@pytest.mark.parametrize("answer", [None, [], [ADDRESS, ADDRESS], ADDRESS[:1], {"0": ADDRESS}])
def test_external_signer_with_another_number_of_accounts_needs_a_name(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    with pytest.raises(SignerUnavailable, match="set signer_address") as caught:
        opened(monkeypatch, answer)
    assert caught.value.endpoint == "http://127.0.0.1:1"
