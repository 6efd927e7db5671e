"""What a relay is told beside the transaction: an account of no other use, which signs each request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from rebalancer.chain.rpc import Rpc
from rebalancer.send.relay import RelayRpc
from tests.unit.test_rpc import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.results(lambda _: "0x1")
    scripted.start()
    yield scripted
    scripted.stop()


def test_every_request_to_a_relay_is_signed_over_its_very_bytes(server: ScriptedServer) -> None:
    with RelayRpc(server.url) as relay:
        relay.call("eth_sendPrivateTransaction", {"tx": "0x02"})
        relay.call("eth_sendPrivateTransaction", {"tx": "0x03"})

    accounts = set()
    for header, body in server.signatures:
        assert header is not None
        account, signature = header.split(":")
        digest = "0x" + keccak(text=body).hex()
        found = Account.recover_message(encode_defunct(text=digest), signature=signature)
        assert found == account
        accounts.add(account)
    assert len(accounts) == 1
    assert len({header for header, _ in server.signatures}) == 2


def test_each_relay_is_told_of_another_account_and_a_node_of_none(server: ScriptedServer) -> None:
    for rpc in (RelayRpc(server.url), RelayRpc(server.url), Rpc(server.url)):
        with rpc:
            rpc.call("eth_blockNumber")

    first, second, node = (header for header, _ in server.signatures)
    assert first is not None
    assert second is not None
    assert first.split(":")[0] != second.split(":")[0]
    assert node is None
