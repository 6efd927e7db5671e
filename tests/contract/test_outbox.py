"""What the outbox does with what a chain can do to a transaction, on every kind of node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.receipt import Receipt, wait_for_receipt
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import (
    ContractReverted,
    InsufficientEther,
    NonceGap,
    RpcRejected,
    RpcUnreachable,
    TransactionNotMined,
    WrongChain,
)
from rebalancer.send.attempt import AttemptState, Intent
from rebalancer.send.fees import GasFees, suggest
from rebalancer.send.outbox import Outbox
from rebalancer.send.signed import SignedTransaction
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet
from tests import outboxes
from tests.outboxes import no_blocks

pytestmark = pytest.mark.both_chains  # nodes differ in what they keep, mine, replace and refuse

CHAIN = 31337
CAP_WEI = 10**12
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
VAULT = "0x" + "aa" * 20
OTHER_VAULT = "0x" + "bb" * 20
SIGNER = devnet_signer(6)


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as box:
        yield box


def mint(token: BoundContract, epoch: int, vault: str = VAULT, amount_raw: int = 1) -> Intent:
    data = token.data("mint", RECEIVER, amount_raw)
    return Intent(CHAIN, vault, epoch, token.address, data, 200_000, "a band is broken")


def deliver(chain: LocalChain, outbox: Outbox, intent: Intent, timeout_s: float = 10.0) -> Receipt:
    fees = suggest(chain.rpc, CAP_WEI)
    return outboxes.deliver(outbox, chain.rpc, SIGNER, intent, fees, timeout_s)


def states(outbox: Outbox) -> list[AttemptState]:
    return [attempt.state for attempt in outbox.attempts(CHAIN)]


def nonce(chain: LocalChain) -> int:
    return int(chain.rpc.call("eth_getTransactionCount", SIGNER.address, "latest"), 16)


def supply(chain: LocalChain, token: BoundContract) -> int:
    return int(token.call("totalSupply"))


def answering(monkeypatch: pytest.MonkeyPatch, chain: LocalChain, answers: Mapping[str, Exception | None]) -> None:
    """Makes the endpoint answer some methods so, without asking the node; until undone."""
    call = chain.rpc.call

    def scripted(method: str, *params: Any) -> Any:
        if method not in answers:
            return call(method, *params)
        answer = answers[method]
        if answer is not None:
            raise answer
        return None

    monkeypatch.setattr(chain.rpc, "call", scripted)


# Refusals: nothing is sent


def test_deliver_to_another_chain_is_refused(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    wrong = Intent(1, VAULT, 0, token.address, "0x", 21_000, "a test")
    with pytest.raises(WrongChain) as caught:
        deliver(chain, outbox, wrong)
    assert (caught.value.expected, caught.value.actual) == (1, CHAIN)
    assert outbox.attempts(1) == []


def test_deliver_without_ether_signs_nothing(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.set_balance(SIGNER.address, 10**9)

    def signed(self: object, transaction: object) -> SignedTransaction:
        raise AssertionError("it was signed")

    monkeypatch.setattr(type(SIGNER), "sign", signed)
    with pytest.raises(InsufficientEther) as caught:
        deliver(chain, outbox, mint(token, 0))
    assert caught.value.balance_wei == 10**9
    assert states(outbox) == [AttemptState.PLANNED]

    monkeypatch.undo()
    chain.set_balance(SIGNER.address, 10**18)
    deliver(chain, outbox, mint(token, 0))
    assert states(outbox) == [AttemptState.FAILED, AttemptState.MINED]


def test_deliver_refused_by_the_node_fails_and_its_nonce_is_used_again(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    with pytest.raises(RpcRejected):
        outbox.submit(chain.rpc, [SIGNER], mint(token, 0), GasFees(1, 1))
    (refused,) = outbox.attempts(CHAIN)
    assert refused.state is AttemptState.FAILED
    assert "refused eth_sendRawTransaction" in refused.note

    receipt = deliver(chain, outbox, mint(token, 0))
    _, mined = outbox.attempts(CHAIN)
    assert mined.nonce == refused.nonce
    assert mined.transaction_hash == receipt.transaction_hash != refused.transaction_hash
    assert supply(chain, token) == 1


# Under way


def test_deliver_not_mined_in_time_stays_under_way_and_is_not_sent_twice(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    before = nonce(chain)
    with no_blocks(chain):
        for amount_raw in (1, 2, 3):  # later looks at the market plan something else
            with pytest.raises(TransactionNotMined):
                deliver(chain, outbox, mint(token, 0, amount_raw=amount_raw), timeout_s=0.01)
        assert states(outbox) == [AttemptState.SENT]
        chain.mine()
    receipt = deliver(chain, outbox, mint(token, 0, amount_raw=4))

    assert states(outbox) == [AttemptState.MINED]
    assert outbox.attempts(CHAIN)[0].transaction_hash == receipt.transaction_hash
    assert supply(chain, token) == 1
    assert nonce(chain) == before + 1


@pytest.mark.parametrize("arrived", [False, True])
def test_deliver_cut_off_while_sending_is_sent_again_byte_for_byte(
    chain: LocalChain,
    outbox: Outbox,
    token: BoundContract,
    monkeypatch: pytest.MonkeyPatch,
    arrived: bool,
) -> None:
    call = chain.rpc.call

    def cut_off(method: str, *params: Any) -> Any:
        if method != "eth_sendRawTransaction":
            return call(method, *params)
        if arrived:
            call(method, *params)
        raise RpcUnreachable(chain.rpc.endpoint, "the connection was lost")

    monkeypatch.setattr(chain.rpc, "call", cut_off)
    with pytest.raises(RpcUnreachable):
        deliver(chain, outbox, mint(token, 0))
    (signed,) = outbox.attempts(CHAIN)
    assert signed.state is AttemptState.SIGNED
    monkeypatch.undo()
    receipt = deliver(chain, outbox, mint(token, 0, amount_raw=2))

    (mined,) = outbox.attempts(CHAIN)
    assert mined.state is AttemptState.MINED
    assert (mined.raw, mined.transaction_hash) == (signed.raw, receipt.transaction_hash)
    assert supply(chain, token) == 1


def test_deliver_two_vaults_under_way_take_two_nonces(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    first = nonce(chain)
    with no_blocks(chain):
        for vault in (VAULT, OTHER_VAULT):
            with pytest.raises(TransactionNotMined):
                deliver(chain, outbox, mint(token, 0, vault), timeout_s=0.01)
        chain.mine()
    resumed = outbox.resume(chain.rpc)

    assert [attempt.nonce for attempt in resumed] == [first, first + 1]
    assert states(outbox) == [AttemptState.MINED, AttemptState.MINED]
    assert supply(chain, token) == 2


def test_deliver_sends_what_was_signed_before_it_first(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nonce(chain)
    down = RpcUnreachable(chain.rpc.endpoint, "it is down")
    with monkeypatch.context() as patch:
        answering(patch, chain, {"eth_sendRawTransaction": down})
        with pytest.raises(RpcUnreachable):
            deliver(chain, outbox, mint(token, 0))
    deliver(chain, outbox, mint(token, 0, OTHER_VAULT))
    outbox.resume(chain.rpc)

    assert [attempt.nonce for attempt in outbox.attempts(CHAIN)] == [first, first + 1]
    assert states(outbox) == [AttemptState.MINED, AttemptState.MINED]
    assert supply(chain, token) == 2


def test_deliver_when_the_node_does_not_count_pending_ones_takes_the_next_nonce(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nonce(chain)
    call = chain.rpc.call

    def only_latest(method: str, *params: Any) -> Any:
        if method == "eth_getTransactionCount":
            params = (params[0], "latest")
        return call(method, *params)

    monkeypatch.setattr(chain.rpc, "call", only_latest)
    with no_blocks(chain):
        for vault in (VAULT, OTHER_VAULT):
            with pytest.raises(TransactionNotMined):
                deliver(chain, outbox, mint(token, 0, vault), timeout_s=0.01)
        chain.mine()
    assert [attempt.nonce for attempt in outbox.resume(chain.rpc)] == [first, first + 1]
    assert supply(chain, token) == 2


# Failed


def test_deliver_refused_on_chain_is_raised_and_may_be_tried_again(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    steal = token.data("transferFrom", RECEIVER, SIGNER.address, 7)
    doomed = Intent(CHAIN, VAULT, 0, token.address, steal, 200_000, "a test")
    with pytest.raises(ContractReverted, match="ERC20InsufficientAllowance"):
        deliver(chain, outbox, doomed)
    receipt = deliver(chain, outbox, mint(token, 0))

    failed, mined = outbox.attempts(CHAIN)
    assert (failed.state, mined.state) == (AttemptState.FAILED, AttemptState.MINED)
    assert "ERC20InsufficientAllowance" in failed.note
    assert failed.block_number == receipt.block_number - 1
    assert mined.nonce == (failed.nonce or 0) + 1
    assert supply(chain, token) == 1


def test_deliver_refused_on_chain_while_away_is_found_and_tried_anew(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    steal = token.data("transferFrom", RECEIVER, SIGNER.address, 7)
    doomed = Intent(CHAIN, VAULT, 0, token.address, steal, 200_000, "a test")
    with no_blocks(chain):
        with pytest.raises(TransactionNotMined):
            deliver(chain, outbox, doomed, timeout_s=0.01)
        chain.mine()
    deliver(chain, outbox, mint(token, 0))

    assert states(outbox) == [AttemptState.FAILED, AttemptState.MINED]
    assert supply(chain, token) == 1


def test_nonce_used_by_somebody_else_with_the_key_fails_and_is_tried_anew(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalancer.send.lifecycle._LATE_RECEIPT_SECONDS", 0.01)
    down = RpcUnreachable(chain.rpc.endpoint, "it is down")
    with monkeypatch.context() as patch:
        answering(patch, chain, {"eth_sendRawTransaction": down})
        with pytest.raises(RpcUnreachable):
            deliver(chain, outbox, mint(token, 0))
    Wallet(chain.rpc, SIGNER, CAP_WEI).send(RECEIVER, value_wei=1)
    receipt = deliver(chain, outbox, mint(token, 0))

    lost, mined = outbox.attempts(CHAIN)
    assert (lost.state, mined.state) == (AttemptState.FAILED, AttemptState.MINED)
    assert "another transaction with its nonce" in lost.note
    assert mined.transaction_hash == receipt.transaction_hash
    assert mined.nonce == (lost.nonce or 0) + 1
    assert supply(chain, token) == 1


def test_refused_by_one_node_but_mined_by_another_is_not_sent_again(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = RpcRejected("eth_sendRawTransaction", -32000, "overloaded")
    answers = {"eth_sendRawTransaction": refused, "eth_getTransactionByHash": None}
    with monkeypatch.context() as patch:
        answering(patch, chain, answers)
        with pytest.raises(RpcRejected, match="overloaded"):
            deliver(chain, outbox, mint(token, 0))
    (attempt,) = outbox.attempts(CHAIN)
    assert attempt.state is AttemptState.FAILED
    elsewhere = chain.rpc.call("eth_sendRawTransaction", "0x" + (attempt.raw or b"").hex())
    wait_for_receipt(chain.rpc, elsewhere, 10)
    receipt = deliver(chain, outbox, mint(token, 0))

    assert receipt.transaction_hash == attempt.transaction_hash
    assert states(outbox) == [AttemptState.MINED]
    assert supply(chain, token) == 1


def test_refused_by_one_node_but_pending_at_another_is_replaced_not_joined(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = nonce(chain)
    refused = RpcRejected("eth_sendRawTransaction", -32000, "overloaded")
    answers = {"eth_sendRawTransaction": refused, "eth_getTransactionByHash": None}
    with monkeypatch.context() as patch:
        answering(patch, chain, answers)
        with pytest.raises(RpcRejected, match="overloaded"):
            deliver(chain, outbox, mint(token, 0))
    (attempt,) = outbox.attempts(CHAIN)
    fees = suggest(chain.rpc, CAP_WEI)
    dearer = GasFees(2 * fees.max_fee_per_gas_wei, 2 * fees.max_priority_fee_per_gas_wei)
    with no_blocks(chain):
        chain.rpc.call("eth_sendRawTransaction", "0x" + (attempt.raw or b"").hex())
        with pytest.raises(TransactionNotMined):
            outboxes.deliver(outbox, chain.rpc, SIGNER, mint(token, 0), dearer, 0.01)
        chain.mine(2)
    deliver(chain, outbox, mint(token, 0))

    assert states(outbox) == [AttemptState.FAILED, AttemptState.MINED]
    assert supply(chain, token) == 1
    assert nonce(chain) == before + 1


# The chain goes back


def test_mined_and_taken_back_by_a_reorg_is_sent_again(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    fork = chain.snapshot()
    first = deliver(chain, outbox, mint(token, 0))
    chain.revert(fork)
    chain.mine(2)
    assert supply(chain, token) == 0
    second = deliver(chain, outbox, mint(token, 0))

    assert first.transaction_hash == second.transaction_hash
    assert first.block_hash != second.block_hash
    (attempt,) = outbox.attempts(CHAIN)
    assert (attempt.state, attempt.block_hash) == (AttemptState.MINED, second.block_hash)
    assert supply(chain, token) == 1


def test_a_chain_started_anew_is_not_mistaken_for_the_old_one(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    fresh = chain.snapshot()
    for epoch in range(3):
        deliver(chain, outbox, mint(token, epoch))
    chain.revert(fresh)
    with pytest.raises(NonceGap, match="new outbox file") as caught:
        deliver(chain, outbox, mint(token, 3))

    assert caught.value.nonce == caught.value.next_nonce + 2
    assert supply(chain, token) == 0


# The whole


def test_deliver_keeps_why_what_and_where(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    wanted = mint(token, 7)
    receipt = deliver(chain, outbox, wanted)

    (attempt,) = outbox.attempts(CHAIN)
    assert attempt.intent == wanted
    assert attempt.sender == SIGNER.address
    assert (attempt.block_number, attempt.block_hash) == (receipt.block_number, receipt.block_hash)
    assert outbox.unsettled(CHAIN) == outbox.resume(chain.rpc) == []
