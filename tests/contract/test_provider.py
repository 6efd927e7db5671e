"""The provider under an ordinary `Web3`, and an ordinary `Web3` under what reads vaults."""

from __future__ import annotations

from typing import Any, cast

import pytest
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.interfaces import decode_revert
from rebalancer.chain.provider import FailoverProvider, rpc_of
from rebalancer.chain.snapshot import read_block, read_vaults
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import RpcUnreachable, WrongChain
from rebalancer.send.signer import devnet_signer
from tests.contract.world import World, basket_spec

pytestmark = pytest.mark.both_chains  # each node has its own shapes of answers and errors

DEAD = "http://127.0.0.1:1/s3cret-k3y-0123456789"


@pytest.fixture
def w3(chain: LocalChain, node_url: str) -> Web3:
    """Of two endpoints, the first of which never answers."""
    return Web3(FailoverProvider([DEAD, node_url], expected_chain_id=chain.rpc.chain_id()))


@pytest.fixture
def vault(world: World) -> BoundContract:
    return world.open_vault(basket_spec(world))


def test_blocks_balances_and_batches_are_read_past_a_dead_endpoint(w3: Web3, chain: LocalChain) -> None:
    block = w3.eth.get_block("latest")
    with w3.batch_requests() as batch:
        batch.add(w3.eth.get_block(block["number"]))
        batch.add(w3.eth.get_balance(Web3.to_checksum_address(chain.accounts[0])))
        again, balance = cast("tuple[Any, Any]", tuple(batch.execute()))

    assert again["hash"] == block["hash"]
    assert balance == w3.eth.get_balance(Web3.to_checksum_address(chain.accounts[0]))
    assert w3.is_connected()


def test_a_contract_is_read_and_its_refusal_decoded(w3: Web3, world: World, vault: BoundContract) -> None:
    contract = w3.eth.contract(Web3.to_checksum_address(vault.address), abi=load_artifact("BasketVault").abi)

    assert tuple(contract.functions.held().call()) == vault.call("held")
    with pytest.raises(ContractLogicError) as refused:
        contract.functions.mintInKind(0, Web3.to_checksum_address(world.admin.address), []).call()
    assert decode_revert(bytes.fromhex(str(refused.value.data)[2:])).error == "ZeroShares"


def test_a_transaction_is_signed_sent_and_waited_for(w3: Web3, chain: LocalChain) -> None:
    signer = devnet_signer(0)
    address = Web3.to_checksum_address(signer.address)
    signed = signer.sign(
        {
            "type": 2,
            "chainId": w3.eth.chain_id,
            "to": address,
            "data": "0x",
            "value": 1,
            "nonce": w3.eth.get_transaction_count(address),
            "gas": 21_000,
            "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": 10**9,
        }
    )
    sent = w3.eth.send_raw_transaction(signed.raw)

    assert w3.eth.wait_for_transaction_receipt(sent, timeout=120)["status"] == 1
    with pytest.raises(Web3RPCError, match="nonce"):
        w3.eth.send_raw_transaction(signed.raw)


def test_no_endpoint_is_one_failure_without_a_secret() -> None:
    w3 = Web3(FailoverProvider([DEAD, DEAD]))

    assert not w3.is_connected()
    with pytest.raises(RpcUnreachable) as failure:
        w3.eth.get_block("latest")
    assert "s3cret" not in str(failure.value)


def test_another_chain_is_refused(node_url: str) -> None:
    with pytest.raises(WrongChain):
        _ = Web3(FailoverProvider(node_url, expected_chain_id=5)).eth.block_number


@pytest.mark.parametrize("provider", [HTTPProvider, FailoverProvider])
def test_vaults_are_read_over_anybodys_web3(
    world: World, vault: BoundContract, node_url: str, provider: type[HTTPProvider]
) -> None:
    rpc = rpc_of(Web3(provider(node_url)))
    block = read_block(world.chain.rpc)

    found = read_vaults(rpc, world.system.lens, [vault.address], read_block(rpc))

    assert read_block(rpc) == block
    assert found == read_vaults(world.chain.rpc, world.system.lens, [vault.address], block)


def test_anybodys_provider_that_fails_is_an_endpoint_that_fails() -> None:
    with pytest.raises(RpcUnreachable, match="ConnectionError") as failure:
        rpc_of(Web3(HTTPProvider(DEAD))).call("eth_blockNumber")
    assert "s3cret" not in str(failure.value)
