"""A person's transactions, on every kind of node, with the node's own keys never used."""

from __future__ import annotations

import pytest

from rebalancer.abi import decode_logs
from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import find_receipt, refusal
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import (
    ArtifactMissing,
    ContractReverted,
    DevnetKeyOnRealChain,
    FeeAboveCap,
    InsufficientEther,
    RpcRejected,
    RpcUnreachable,
    SendUncertain,
    TransactionNotMined,
)
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet

pytestmark = pytest.mark.both_chains  # nodes word refusals, and mine, in their own way

CAP_WEI = 10**12
STRANGER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"


@pytest.fixture
def wallet(chain: LocalChain) -> Wallet:
    return Wallet(chain.rpc, devnet_signer(3), CAP_WEI)


@pytest.fixture
def token(wallet: Wallet) -> BoundContract:
    return wallet.deploy("MockToken", "Coin", "COIN", 6)


def nonce(wallet: Wallet) -> int:
    return int(wallet.rpc.call("eth_getTransactionCount", wallet.address, "pending"), 16)


def test_transact_that_would_be_refused_is_not_sent(wallet: Wallet, token: BoundContract) -> None:
    before = nonce(wallet)
    with pytest.raises(ContractReverted, match="ERC20InsufficientBalance") as caught:
        wallet.transact(token, "transfer", STRANGER, 7)
    assert caught.value.values["needed"] == 7
    assert nonce(wallet) == before


def test_deploy_refused_by_the_constructor_is_not_sent(wallet: Wallet) -> None:
    before = nonce(wallet)
    with pytest.raises(ContractReverted, match="StringTooLong"):
        wallet.deploy("MockToken", "a name of thirty-two characters!", "LONG", 6)
    with pytest.raises(ArtifactMissing):
        wallet.deploy("NoSuchContract")
    assert nonce(wallet) == before


def test_send_more_than_there_is_tells_what_is_missing(chain: LocalChain, wallet: Wallet) -> None:
    chain.set_balance(wallet.address, 10**18)
    with pytest.raises(InsufficientEther, match=r"at least 0\.5 more") as caught:
        wallet.send(STRANGER, value_wei=15 * 10**17)
    assert caught.value.needed_wei == 15 * 10**17
    assert caught.value.balance_wei == 10**18


def test_send_without_ether_for_gas_tells_what_it_may_cost(
    chain: LocalChain, wallet: Wallet, token: BoundContract
) -> None:
    chain.set_balance(wallet.address, 1000)
    before = nonce(wallet)
    with pytest.raises(InsufficientEther) as caught:
        wallet.transact(token, "mint", STRANGER, 1)
    assert caught.value.balance_wei == 1000
    assert caught.value.needed_wei > 21_000 * 10**6
    assert nonce(wallet) == before


def test_send_when_gas_is_too_dear_is_refused(chain: LocalChain, wallet: Wallet) -> None:
    wallet.fee_cap_wei = 1
    with pytest.raises(FeeAboveCap) as caught:
        wallet.send(STRANGER, value_wei=1)
    assert caught.value.base_fee_wei > 1


def test_send_for_a_real_chain_with_a_test_key_is_refused(wallet: Wallet, token: BoundContract) -> None:
    before = nonce(wallet)
    wallet.chain_id = 1
    with pytest.raises(DevnetKeyOnRealChain):
        wallet.transact(token, "mint", STRANGER, 1)
    assert nonce(wallet) == before


def test_send_that_is_not_mined_in_time_says_so(chain: LocalChain, wallet: Wallet) -> None:
    wallet.receipt_timeout_s = 0.05
    chain.rpc.call("evm_setAutomine", False)
    try:
        with pytest.raises(TransactionNotMined) as caught:
            wallet.send(STRANGER, value_wei=1)
        chain.mine()
    finally:
        chain.rpc.call("evm_setAutomine", True)

    receipt = find_receipt(chain.rpc, caught.value.transaction_hash)
    assert receipt is not None
    assert receipt.succeeded


def test_send_cut_off_names_the_transaction_to_look_for(
    chain: LocalChain, wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = chain.rpc.call

    def cut_off(method: str, *params: object) -> object:
        answer = call(method, *params)
        if method == "eth_sendRawTransaction":
            raise RpcUnreachable(chain.rpc.endpoint, "the connection was lost")
        return answer

    monkeypatch.setattr(chain.rpc, "call", cut_off)
    with pytest.raises(SendUncertain, match="the connection was lost") as caught:
        wallet.send(STRANGER, value_wei=5)
    assert call("eth_getTransactionByHash", caught.value.transaction_hash) is not None


def test_refused_on_chain_is_told_with_and_without_a_tracer(
    chain: LocalChain, wallet: Wallet, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet.transact(token, "mint", wallet.address, 10)
    message = {"from": chain.accounts[0], "gas": hex(10**6), "to": token.address}
    chain.rpc.call("evm_setAutomine", False)
    try:
        burn = token.data("transferFrom", wallet.address, STRANGER, 10)
        tx_hash = chain.rpc.call("eth_sendTransaction", message | {"data": burn})
        chain.mine()
    finally:
        chain.rpc.call("evm_setAutomine", True)
    receipt = find_receipt(chain.rpc, tx_hash)
    assert receipt is not None
    traced = refusal(chain.rpc, receipt)

    call = chain.rpc.call

    def without_tracer(method: str, *params: object) -> object:
        if method.startswith("debug_"):
            raise RpcRejected(method, -32601, "method not found")
        return call(method, *params)

    monkeypatch.setattr(chain.rpc, "call", without_tracer)
    replayed = refusal(chain.rpc, receipt)

    assert not receipt.succeeded
    assert traced.error == replayed.error == "ERC20InsufficientAllowance"
    assert traced.values == replayed.values
    assert traced.values["needed"] == 10


def test_refused_for_lack_of_gas_is_told_so(chain: LocalChain, wallet: Wallet, token: BoundContract) -> None:
    message = {
        "from": chain.accounts[0],
        "gas": hex(30_000),
        "to": token.address,
        "data": token.data("mint", STRANGER, 1),
    }
    chain.rpc.call("evm_setAutomine", False)
    try:
        tx_hash = chain.rpc.call("eth_sendTransaction", message)
        chain.mine()
    finally:
        chain.rpc.call("evm_setAutomine", True)
    receipt = find_receipt(chain.rpc, tx_hash)
    assert receipt is not None
    reported = refusal(chain.rpc, receipt)
    assert reported.error == "OutOfGas"
    assert reported.values == {"gas_limit": 30_000}


def test_transact_is_signed_here_mined_and_paid(chain: LocalChain, wallet: Wallet) -> None:
    token = wallet.deploy("MockToken", "Coin", "COIN", 6)
    before_wei, before_nonce = chain.balance_wei(wallet.address), nonce(wallet)
    receipt = wallet.transact(token, "mint", STRANGER, 123)

    assert token.call("balanceOf", STRANGER) == 123
    (event,) = decode_logs(receipt.logs, interface("MockToken"))
    assert event.values["value"] == 123
    assert nonce(wallet) == before_nonce + 1
    assert chain.balance_wei(wallet.address) == before_wei - receipt.cost_wei
    assert 0 < receipt.gas_price_wei <= CAP_WEI
    assert wallet.address == chain.accounts[3]


def test_send_ether_arrives(chain: LocalChain, wallet: Wallet) -> None:
    before = chain.balance_wei(STRANGER)
    receipt = wallet.send(STRANGER, value_wei=10**15)

    assert chain.balance_wei(STRANGER) == before + 10**15
    assert receipt.gas_used == 21_000
