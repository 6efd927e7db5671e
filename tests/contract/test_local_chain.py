"""The powers over a local chain, on every kind of node."""

from __future__ import annotations

import pytest

from rebalancer.abi import decode_logs
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import (
    ArtifactMissing,
    BalanceNotFound,
    ContractMissing,
    ContractReverted,
    RpcRejected,
)

pytestmark = pytest.mark.both_chains  # every power over a local chain is a method of the node's own

STRANGER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


def test_transact_refused_names_the_error_and_its_numbers(chain: LocalChain, token: BoundContract) -> None:
    with pytest.raises(ContractReverted, match="ERC20InsufficientBalance") as caught:
        chain.transact(token, "transfer", STRANGER, 7)
    assert caught.value.values["needed"] == 7
    assert caught.value.values["balance"] == 0


def test_call_refused_names_the_error_and_its_numbers(chain: LocalChain, token: BoundContract) -> None:
    owner = chain.accounts[1]
    with pytest.raises(ContractReverted) as caught:
        token.call("transferFrom", owner, STRANGER, 9, sender=chain.accounts[0])
    assert caught.value.error == "ERC20InsufficientAllowance"
    assert caught.value.values["needed"] == 9


def test_deploy_refused_constructor_names_the_error(chain: LocalChain) -> None:
    with pytest.raises(ContractReverted) as caught:
        chain.deploy("MockToken", "a name of thirty-two characters!", "LONG", 6)
    assert caught.value.error == "StringTooLong"


def test_deploy_unknown_contract_is_missing() -> None:
    with pytest.raises(ArtifactMissing, match="NoSuchContract"):
        interface("NoSuchContract")


def test_call_where_nothing_lives_is_missing(chain: LocalChain) -> None:
    nowhere = contract_at(chain.rpc, "MockToken", STRANGER)
    with pytest.raises(ContractMissing, match=STRANGER):
        nowhere.call("decimals")


def test_call_another_contract_is_missing(chain: LocalChain, token: BoundContract) -> None:
    # Answers whatever is asked with the number 300, which is no uint8.
    chain.set_code(STRANGER, bytes.fromhex("61012c60005260206000f3"))
    with pytest.raises(ContractMissing):
        contract_at(chain.rpc, "MockToken", STRANGER).call("decimals")


def test_transact_done_returns_gas_and_events(chain: LocalChain, token: BoundContract) -> None:
    receipt = chain.transact(token, "mint", STRANGER, 10**30)

    assert 21_000 < receipt.gas_used < 100_000
    (event,) = decode_logs(receipt.logs, interface("MockAggregator"), token.interface)
    assert (event.name, event.address) == ("Transfer", token.address)
    assert event.values == {"from": "0x" + "0" * 40, "to": STRANGER, "value": 10**30}
    assert event.block_number == receipt.block_number
    assert event.transaction_hash == receipt.transaction_hash


def test_call_pinned_by_hash_reads_the_past(chain: LocalChain, token: BoundContract) -> None:
    before = chain.transact(token, "mint", STRANGER, 5)
    chain.transact(token, "mint", STRANGER, 6)

    assert token.call("balanceOf", STRANGER, block=before.block_hash) == 5
    assert token.call("balanceOf", STRANGER, block=before.block_number) == 5
    assert token.call("balanceOf", STRANGER) == 11


def test_call_pinned_to_a_reverted_block_is_rejected(chain: LocalChain, token: BoundContract) -> None:
    snapshot = chain.snapshot()
    gone = chain.transact(token, "mint", STRANGER, 5)
    chain.revert(snapshot)
    chain.transact(token, "mint", STRANGER, 6)

    with pytest.raises(RpcRejected):
        token.call("balanceOf", STRANGER, block=gone.block_hash)


def test_snapshot_then_revert_restores_state_and_height(chain: LocalChain, token: BoundContract) -> None:
    height = chain.block()["number"]
    snapshot = chain.snapshot()
    chain.transact(token, "mint", STRANGER, 5)
    chain.revert(snapshot)

    assert token.call("balanceOf", STRANGER) == 0
    assert chain.block()["number"] == height
    with pytest.raises(RpcRejected, match="no snapshot"):
        chain.revert(snapshot)


def test_next_timestamp_is_taken_and_must_grow(chain: LocalChain, token: BoundContract) -> None:
    at = chain.now() + 12_345
    chain.set_next_timestamp(at)
    chain.transact(token, "mint", STRANGER, 5)
    assert chain.now() == at

    chain.mine(3, at=at + 60)
    assert chain.now() >= at + 60
    with pytest.raises(RpcRejected):
        chain.set_next_timestamp(at)


def test_state_is_set_as_told(chain: LocalChain, token: BoundContract) -> None:
    code = chain.code(token.address)
    chain.set_code(STRANGER, code)
    copied = contract_at(chain.rpc, "MockToken", STRANGER)
    assert copied.call("name") == "Coin"
    assert copied.call("symbol") == "COIN"
    assert copied.call("decimals") == 6

    chain.set_balance(STRANGER, 3 * 10**18)
    assert chain.balance_wei(STRANGER) == 3 * 10**18

    # OpenZeppelin's ERC-20 keeps its total supply in slot 2.
    chain.set_storage(STRANGER, 2, (77).to_bytes(32))
    assert copied.call("totalSupply") == 77


def test_token_balance_is_found_and_set(chain: LocalChain, token: BoundContract) -> None:
    weth = chain.deploy("WETH9")
    for contract in (token, weth):
        chain.set_token_balance(contract.address, STRANGER, 123)
        assert contract.call("balanceOf", STRANGER) == 123
    assert token.call("totalSupply") == 0


def test_token_balance_kept_elsewhere_is_not_found(chain: LocalChain) -> None:
    # Twice the stored number is what this one shows, so no word can be its balance.
    token = chain.deploy("RebasingToken", "Coin", "COIN", 6)
    chain.transact(token, "setFactor", 2 * 10**18)
    with pytest.raises(BalanceNotFound, match=token.address):
        chain.set_token_balance(token.address, STRANGER, 123)
    assert token.call("balanceOf", STRANGER) == 0


def test_impersonating_sends_as_somebody_else(bare_chain: LocalChain) -> None:
    bare_chain.set_balance(STRANGER, 10**18)
    bare_chain.set_nonce(STRANGER, 4)
    with bare_chain.impersonating(STRANGER) as sender:
        # CREATE addresses follow from sender and nonce: this is Uniswap's SwapRouter's.
        made = bare_chain.deploy("MockToken", "Coin", "COIN", 6, sender=sender)
    assert made.address == "0xe592427a0aece92de3edee1f18e0157c05861564"
    with pytest.raises(RpcRejected):
        bare_chain.send(STRANGER, sender=STRANGER)
