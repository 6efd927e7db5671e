"""Reads by web3 of contracts on a chain, as each node answers them."""

from __future__ import annotations

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import ChainError, ContractMissing
from tests.contract.world import refused

pytestmark = pytest.mark.both_chains  # each node has its own shapes of answers and errors


@pytest.fixture
def coin(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 7)


def test_refusal_names_its_error_and_numbers(chain: LocalChain, coin: BoundContract) -> None:
    holder, other = (account.lower() for account in chain.accounts[5:7])
    chain.transact(coin, "mint", holder, 4)

    with refused("ERC20InsufficientBalance", sender=holder, balance=4, needed=5):
        coin.call("transfer", other, 5, sender=holder)
    assert coin.call("transfer", other, 4, sender=holder) is True
    assert coin.call("balanceOf", holder) == 4


def test_nothing_at_an_address_is_a_missing_contract(chain: LocalChain) -> None:
    before = chain.rpc.requests
    with pytest.raises(ContractMissing):
        contract_at(chain.rpc, "MockToken", "0x" + "99" * 20).call("totalSupply")

    assert chain.rpc.requests == before + 1


def test_block_that_was_dropped_is_refused_and_not_read_by_its_number(chain: LocalChain, coin: BoundContract) -> None:
    holder, before = chain.accounts[5], chain.snapshot()
    dropped = chain.transact(coin, "mint", holder, 42).block_hash
    assert coin.call("balanceOf", holder, block=dropped) == 42
    chain.revert(before)
    chain.mine(2)

    with pytest.raises(ChainError):
        coin.call("balanceOf", holder, block=dropped)
    assert coin.call("balanceOf", holder, block=chain.block()["hash"]) == 0
