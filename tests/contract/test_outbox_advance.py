"""Block by block: what the outbox does with what is not mined, on every kind of node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.receipt import find_receipt, wait_for_receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import (
    CallNotAllowed,
    ContractReverted,
    FeeAboveLimit,
    ForeignPending,
    NoFreeSender,
    NonceGap,
    NotCancellable,
    SignerUnavailable,
    SpendLimitReached,
    TooManyGaps,
)
from rebalancer.send.attempt import Attempt, AttemptState, Intent, Kind
from rebalancer.send.fees import GasFees, suggest
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.nonces import NonceFault, clear, clear_on_start, survey
from rebalancer.send.open_signer import open_signer
from rebalancer.send.outbox import Outbox
from rebalancer.send.remote import ExternalSigner, open_external
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet
from rebalancer.settings import AccountSettings, RpcUrl
from tests.outboxes import deliver, no_blocks

pytestmark = pytest.mark.both_chains  # nodes differ in what they keep, mine, replace and refuse

CHAIN = 31337
GWEI = 10**9
CAP_WEI = 1_000 * GWEI
RECEIVER = "0x6c9fc64a53c1b71fb3f9af64d1ae3a4931a5f4e9"
VAULT = "0x" + "aa" * 20
OTHER_VAULT = "0x" + "bb" * 20
SIGNER = devnet_signer(7)
OTHER = devnet_signer(8)
RULES = SendRules(fee_cap_wei=CAP_WEI, bump_after_blocks=2, confirmations=3, min_pending_seconds=0)


@pytest.fixture
def token(chain: LocalChain) -> BoundContract:
    return chain.deploy("MockToken", "Coin", "COIN", 6)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", RULES) as box:
        yield box


@pytest.fixture
def held(chain: LocalChain, token: BoundContract) -> Iterator[None]:
    """No block comes unless a test mines one, once the token is there."""
    assert token.address
    chain.rpc.call("hardhat_setNextBlockBaseFeePerGas", hex(GWEI))
    with no_blocks(chain):
        yield


def mint(token: BoundContract, epoch: int = 0, vault: str = VAULT) -> Intent:
    data = token.data("mint", RECEIVER, 1)
    return Intent(CHAIN, vault, epoch, token.address, data, 200_000, "a band is broken")


def height(chain: LocalChain) -> int:
    return int(chain.rpc.call("eth_blockNumber"), 16)


def only(outbox: Outbox) -> Attempt:
    (attempt,) = outbox.attempts(CHAIN)
    return attempt


def states(outbox: Outbox) -> list[AttemptState]:
    return [attempt.state for attempt in outbox.attempts(CHAIN)]


def kinds(attempt: Attempt) -> list[Kind]:
    return [version.kind for version in attempt.versions]


def supply(chain: LocalChain, token: BoundContract) -> int:
    return int(token.call("totalSupply"))


def nonce(chain: LocalChain, address: str = SIGNER.address) -> int:
    return int(chain.rpc.call("eth_getTransactionCount", address, "latest"), 16)


def submit(chain: LocalChain, outbox: Outbox, intent: Intent, fees: GasFees | None = None) -> Attempt:
    return outbox.submit(chain.rpc, [SIGNER], intent, fees)


def advance(chain: LocalChain, outbox: Outbox, at: int, epochs: dict[str, int] | None = None) -> list[Attempt]:
    """As if the newest block had this number: blocks of others, in which ours is not."""
    return outbox.advance(chain.rpc, [SIGNER], at, epochs)


# Without waiting


def test_advance_with_nothing_under_way_asks_nothing(
    chain: LocalChain, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def requested(*_: object) -> None:
        raise AssertionError("the node was asked")

    chain_id = chain.rpc.chain_id()
    monkeypatch.setattr(chain.rpc, "expected_chain_id", chain_id)
    monkeypatch.setattr(chain.rpc, "batch", requested)
    monkeypatch.setattr(chain.rpc, "call", requested)
    assert outbox.advance(chain.rpc, [SIGNER], 1) == []


@pytest.mark.usefixtures("held")
def test_submit_returns_before_a_block_and_asked_again_signs_nothing(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    first = submit(chain, outbox, mint(token))
    again = submit(chain, outbox, mint(token))

    assert first.state is AttemptState.SENT
    assert again == first
    assert [(one.endpoint, one.answer) for one in only(outbox).newest.sendings] == [(chain.rpc.endpoint, "")]
    chain.mine()
    (mined,) = advance(chain, outbox, height(chain))
    assert (mined.state, mined.mined_hash) == (AttemptState.MINED, first.transaction_hash)
    receipt = find_receipt(chain.rpc, str(first.transaction_hash))
    assert receipt is not None
    assert mined.cost_wei == receipt.cost_wei
    assert supply(chain, token) == 1


@pytest.mark.usefixtures("held")
def test_many_vaults_are_advanced_in_one_request(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    vaults = [f"0x{i:040x}" for i in range(1, 21)]
    sender = SenderAccount(SIGNER, max_open=20)
    for vault in vaults:
        outbox.submit(chain.rpc, [sender], mint(token, 0, vault), GasFees(100 * GWEI, GWEI))
    chain.mine()
    at = height(chain)
    requests = 0
    post = chain.rpc._post

    def counting(payload: object) -> object:
        nonlocal requests
        requests += 1
        return post(payload)

    monkeypatch.setattr(chain.rpc, "_post", counting)
    monkeypatch.setattr(chain.rpc, "expected_chain_id", CHAIN)
    changed = outbox.advance(chain.rpc, [sender], at)

    assert [attempt.state for attempt in changed] == [AttemptState.MINED] * 20
    assert requests == 1
    assert supply(chain, token) == 20


# Bumps


@pytest.mark.usefixtures("held")
def test_not_mined_for_some_blocks_is_bumped_with_the_same_nonce_and_mined_once(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    before = nonce(chain)
    first = submit(chain, outbox, mint(token))
    at = height(chain)
    assert advance(chain, outbox, at + 1) == []
    (bumped,) = advance(chain, outbox, at + 2)
    assert advance(chain, outbox, at + 3) == []
    (again,) = advance(chain, outbox, at + 4)

    assert (bumped.state, again.state) == (AttemptState.BUMPED, AttemptState.BUMPED)
    assert kinds(again) == [Kind.ORIGINAL, Kind.BUMP, Kind.BUMP]
    assert again.nonce == first.nonce == before
    for cheap, dear in zip(again.versions[:-1], again.versions[1:], strict=True):
        assert 8 * dear.fees.max_fee_per_gas_wei >= 9 * cheap.fees.max_fee_per_gas_wei
        tips = [version.fees.max_priority_fee_per_gas_wei for version in (cheap, dear)]
        assert 8 * tips[1] >= 9 * tips[0]
    assert "not mined within 2 blocks" in again.note
    chain.mine()
    advance(chain, outbox, height(chain))
    assert (only(outbox).state, only(outbox).mined_hash) == (
        AttemptState.MINED,
        again.newest.transaction_hash,
    )
    assert (supply(chain, token), nonce(chain)) == (1, before + 1)


@pytest.mark.usefixtures("held")
def test_gas_dearer_than_the_offer_is_bumped_at_the_next_block(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    submit(chain, outbox, mint(token), GasFees(5 * GWEI, GWEI))
    chain.rpc.call("hardhat_setNextBlockBaseFeePerGas", hex(80 * GWEI))
    chain.mine()
    assert supply(chain, token) == 0
    (bumped,) = advance(chain, outbox, height(chain))

    base_fee = int(chain.block()["baseFeePerGas"], 16)
    assert base_fee == 80 * GWEI
    assert bumped.newest.fees.max_fee_per_gas_wei > base_fee
    assert "its offer is below" in bumped.note
    chain.mine()
    advance(chain, outbox, height(chain))
    assert (only(outbox).state, supply(chain, token)) == (AttemptState.MINED, 1)


@pytest.mark.usefixtures("held")
def test_at_the_cap_it_stays_says_so_once_and_is_sent_again(
    chain: LocalChain, token: BoundContract, tmp_path: Path
) -> None:
    rules = replace(RULES, fee_cap_wei=10 * GWEI, bump_after_blocks=1)
    with Outbox(tmp_path / "capped.sqlite", rules) as outbox:
        submit(chain, outbox, mint(token), GasFees(8 * GWEI, GWEI))
        at = height(chain)
        (bumped,) = advance(chain, outbox, at + 1)
        assert bumped.newest.fees.max_fee_per_gas_wei <= 10 * GWEI
        (capped,) = advance(chain, outbox, at + 2)
        assert capped.versions[:-1] == bumped.versions[:-1]
        assert len(capped.versions) == 2
        assert f"at the cap of {10 * GWEI} wei per gas" in capped.note
        forget(chain)
        advance(chain, outbox, at + 3)
        chain.mine()
        advance(chain, outbox, height(chain))
        assert (only(outbox).state, supply(chain, token)) == (AttemptState.MINED, 1)


@pytest.mark.usefixtures("held")
def test_older_version_that_a_block_holds_decides(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submit(chain, outbox, mint(token))
    call = chain.rpc.call

    def swallowed(method: str, *params: object) -> object:
        return None if method == "eth_sendRawTransaction" else call(method, *params)

    with monkeypatch.context() as patch:
        patch.setattr(chain.rpc, "call", swallowed)
        (bumped,) = advance(chain, outbox, height(chain) + 2)
    assert bumped.transaction_hash != first.transaction_hash
    chain.mine()
    (mined,) = advance(chain, outbox, height(chain))

    assert (mined.state, mined.mined_hash) == (AttemptState.MINED, first.transaction_hash)
    assert supply(chain, token) == 1


# Cancellations


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("cause", ["deadline", "epoch"])
def test_obsolete_is_replaced_by_nothing_and_its_epoch_may_be_tried_anew(
    chain: LocalChain, outbox: Outbox, token: BoundContract, cause: str
) -> None:
    before, at = nonce(chain), height(chain)
    deadline = at + 1 if cause == "deadline" else None
    submit(chain, outbox, replace(mint(token), deadline_block=deadline))
    assert advance(chain, outbox, at + 1, {VAULT: 0}) == []
    (cancelling,) = advance(chain, outbox, at + 2, {VAULT: 1} if cause == "epoch" else {})

    assert cancelling.state is AttemptState.CANCELLING
    assert ("deadline" in cancelling.note) == (cause == "deadline")
    chain.mine()
    (cancelled,) = advance(chain, outbox, height(chain), {VAULT: 1})
    assert cancelled.state is AttemptState.CANCELLED
    assert (supply(chain, token), nonce(chain)) == (0, before + 1)
    anew = submit(chain, outbox, mint(token))
    assert (anew.id, anew.nonce) != (cancelled.id, cancelled.nonce)
    chain.mine()
    advance(chain, outbox, height(chain))
    assert states(outbox) == [AttemptState.CANCELLED, AttemptState.MINED]
    assert supply(chain, token) == 1


@pytest.mark.usefixtures("held")
def test_cancellation_that_waits_too_is_bumped_and_stays_a_cancellation(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    at = height(chain)
    attempt = submit(chain, outbox, mint(token))
    outbox.cancel(chain.rpc, SIGNER, attempt, "the operator said so")
    (again,) = advance(chain, outbox, at + 2)

    assert kinds(again) == [Kind.ORIGINAL, Kind.CANCELLATION, Kind.CANCELLATION]
    assert again.note == "the operator said so"
    chain.mine()
    advance(chain, outbox, height(chain))
    assert (only(outbox).state, supply(chain, token)) == (AttemptState.CANCELLED, 0)


@pytest.mark.usefixtures("held")
def test_original_mined_despite_its_cancellation_counts_as_mined(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = submit(chain, outbox, mint(token))
    call = chain.rpc.call

    def swallowed(method: str, *params: object) -> object:
        return None if method == "eth_sendRawTransaction" else call(method, *params)

    with monkeypatch.context() as patch:
        patch.setattr(chain.rpc, "call", swallowed)
        outbox.cancel(chain.rpc, SIGNER, attempt, "too late")
    chain.mine()
    (mined,) = advance(chain, outbox, height(chain))

    assert (mined.state, mined.mined_hash) == (AttemptState.MINED, attempt.transaction_hash)
    assert supply(chain, token) == 1


@pytest.mark.usefixtures("held")
def test_cancel_what_is_mined_or_at_the_cap_is_refused(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    attempt = submit(chain, outbox, mint(token), GasFees(CAP_WEI, GWEI))
    with pytest.raises(NotCancellable, match="no room"):
        outbox.cancel(chain.rpc, SIGNER, attempt, "a test")
    chain.mine()
    with pytest.raises(NotCancellable, match="it is mined") as caught:
        outbox.cancel(chain.rpc, SIGNER, attempt, "a test")
    assert caught.value.attempt_id == attempt.id


def test_past_its_deadline_it_is_cancelled_and_says_so(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    at = height(chain)
    intent = replace(mint(token), deadline_block=at)
    with no_blocks(chain):
        submit(chain, outbox, intent)
        advance(chain, outbox, at + 1)
        assert submit(chain, outbox, intent) == only(outbox)
        chain.mine()
        advance(chain, outbox, height(chain))
    assert only(outbox).state is AttemptState.CANCELLED
    assert "deadline" in only(outbox).note
    assert supply(chain, token) == 0


# Depth and reorgs


def test_final_only_so_many_blocks_deep_and_then_never_asked_about(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    submit(chain, outbox, mint(token))
    wait_for_receipt(chain.rpc, str(only(outbox).transaction_hash), 10)
    advance(chain, outbox, height(chain))
    chain.mine(2)
    assert advance(chain, outbox, height(chain)) == []
    assert only(outbox).state is AttemptState.MINED
    chain.mine()
    (final,) = advance(chain, outbox, height(chain))

    assert (final.state, final.is_final) == (AttemptState.FINAL, True)
    assert outbox.journal.watched(CHAIN) == []
    again = submit(chain, outbox, mint(token))
    assert again == final
    assert supply(chain, token) == 1


def test_reorg_takes_mined_back_to_sent_and_sends_it_again(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    fork = chain.snapshot()
    first = submit(chain, outbox, mint(token))
    wait_for_receipt(chain.rpc, str(first.transaction_hash), 10)
    (mined,) = advance(chain, outbox, height(chain))
    assert mined.state is AttemptState.MINED
    chain.revert(fork)
    with no_blocks(chain):
        chain.mine(3)
        (back,) = advance(chain, outbox, height(chain))
        assert (back.state, back.block_hash) == (AttemptState.SENT, None)
        assert "reorg" in back.note
        chain.mine()
    (again,) = advance(chain, outbox, height(chain))

    assert (again.state, again.mined_hash) == (AttemptState.MINED, first.transaction_hash)
    assert again.block_hash != mined.block_hash
    assert supply(chain, token) == 1


class Forgetful(Rpc):
    """Has no receipt of anything."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__(rpc.endpoint)

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        answers = super().batch(calls)
        return [
            None if method == "eth_getTransactionReceipt" else answer
            for (method, _), answer in zip(calls, answers, strict=True)
        ]


class Inventor(Rpc):
    """Has a receipt of everything, in the newest block, as long as it invents."""

    invents = True

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        answers = super().batch(calls)
        return [self._reported(call, answer) for call, answer in zip(calls, answers, strict=True)]

    def _reported(self, call: Call, answer: Any) -> Any:
        method, params = call
        if method != "eth_getTransactionReceipt" or answer is not None or not self.invents:
            return answer
        head = super().batch([("eth_getBlockByNumber", ("latest", False))])[0]
        place = {"blockNumber": head["number"], "blockHash": head["hash"], "contractAddress": None}
        costs = {"gasUsed": "0x5208", "effectiveGasPrice": "0x1", "status": "0x1", "logs": []}
        return {"transactionHash": params[0]} | place | costs


@pytest.mark.usefixtures("held")
def test_mined_whose_receipt_is_gone_is_sent_again_after_two_blocks(
    chain: LocalChain, node_url: str, outbox: Outbox, token: BoundContract
) -> None:
    submit(chain, outbox, mint(token))
    forget(chain)
    chain.mine()
    with Inventor(node_url) as inventor:
        (believed,) = outbox.advance(inventor, [SIGNER], height(chain))
        inventor.invents = False
        for _ in range(2):
            chain.mine()
            assert outbox.advance(inventor, [SIGNER], height(chain)) == []
        chain.mine()
        (again,) = outbox.advance(inventor, [SIGNER], height(chain))
        chain.mine()
        (mined,) = outbox.advance(inventor, [SIGNER], height(chain))

    assert [one.state for one in (believed, again, mined)] == [
        AttemptState.MINED,
        AttemptState.SENT,
        AttemptState.MINED,
    ]
    assert mined.mined_hash == believed.mined_hash
    assert supply(chain, token) == 1


@pytest.mark.usefixtures("held")
def test_mined_whose_receipt_is_late_stays_mined(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    submit(chain, outbox, mint(token))
    chain.mine()
    (mined,) = advance(chain, outbox, height(chain))
    with Forgetful(chain.rpc) as forgetful:
        chain.mine()
        assert outbox.advance(forgetful, [SIGNER], height(chain)) == []
    for _ in range(2):
        chain.mine()
        advance(chain, outbox, height(chain))

    assert only(outbox).state is AttemptState.FINAL
    assert only(outbox).mined_hash == mined.mined_hash
    assert only(outbox).versions == mined.versions


def test_anvils_own_reorg_is_survived(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    if not chain.is_anvil:
        pytest.skip("only Anvil makes reorgs")
    submit(chain, outbox, mint(token))
    wait_for_receipt(chain.rpc, str(only(outbox).transaction_hash), 10)
    chain.mine()
    (mined,) = advance(chain, outbox, height(chain))
    chain.rpc.call("anvil_reorg", 2, [])
    assert supply(chain, token) == 0
    for _ in range(3):
        chain.mine()
        advance(chain, outbox, height(chain))

    assert only(outbox).state is AttemptState.MINED
    assert only(outbox).block_hash != mined.block_hash
    assert supply(chain, token) == 1


def test_reorg_of_a_cancellation_sends_the_cancellation_again(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    fork = chain.snapshot()
    with no_blocks(chain):
        outbox.cancel(chain.rpc, SIGNER, submit(chain, outbox, mint(token)), "a test")
        chain.mine()
    advance(chain, outbox, height(chain))
    assert only(outbox).state is AttemptState.CANCELLED
    chain.revert(fork)
    with no_blocks(chain):
        chain.mine(2)
        (back,) = advance(chain, outbox, height(chain))
        assert back.state is AttemptState.CANCELLING
        chain.mine()
    advance(chain, outbox, height(chain))

    assert (only(outbox).state, supply(chain, token)) == (AttemptState.CANCELLED, 0)


def test_reorg_of_a_refused_one_lets_it_succeed(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    steal = token.data("transferFrom", RECEIVER, SIGNER.address, 7)
    fork = chain.snapshot()
    with pytest.raises(ContractReverted):
        deliver(
            outbox,
            chain.rpc,
            SIGNER,
            replace(mint(token), data=steal),
            suggest(chain.rpc, CAP_WEI),
        )
    assert only(outbox).state is AttemptState.FAILED
    chain.revert(fork)
    with chain.impersonating(RECEIVER):
        chain.set_balance(RECEIVER, 10**18)
        chain.transact(token, "mint", RECEIVER, 7)
        chain.transact(token, "approve", SIGNER.address, 7, sender=RECEIVER, gas=100_000)
    with no_blocks(chain):
        advance(chain, outbox, height(chain))
        assert only(outbox).state is AttemptState.SENT
        chain.mine()
    advance(chain, outbox, height(chain))

    assert only(outbox).state is AttemptState.MINED
    assert token.call("balanceOf", SIGNER.address) == 7


# Nonces


def test_nonce_spent_by_another_voids_the_attempt_after_two_blocks(
    chain: LocalChain, outbox: Outbox, token: BoundContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = chain.rpc.call

    def swallowed(method: str, *params: object) -> object:
        return None if method == "eth_sendRawTransaction" else call(method, *params)

    with monkeypatch.context() as patch:
        patch.setattr(chain.rpc, "call", swallowed)
        attempt = submit(chain, outbox, mint(token))
    Wallet(chain.rpc, SIGNER, CAP_WEI).send(RECEIVER, value_wei=1)
    at = height(chain)
    assert advance(chain, outbox, at) == advance(chain, outbox, at + 1) == []
    (void,) = advance(chain, outbox, at + 2)

    assert (void.state, void.block_number) == (AttemptState.FAILED, None)
    assert void.nonce == attempt.nonce
    deliver(outbox, chain.rpc, SIGNER, mint(token), suggest(chain.rpc, CAP_WEI))
    assert supply(chain, token) == 1


def gapped(chain: LocalChain, outbox: Outbox, token: BoundContract, missing: int) -> Attempt:
    """An attempt of ours behind others' transactions that the node then forgot."""
    before = nonce(chain)
    for i in range(missing):
        send_foreign(chain, before + i)
    attempt = submit(chain, outbox, mint(token))
    forget(chain)
    return attempt


def send_foreign(chain: LocalChain, at_nonce: int, fee_wei: int = 20 * GWEI) -> str:
    """Another program with the same key sends something."""
    signed = SIGNER.sign(
        {
            "type": 2,
            "chainId": CHAIN,
            "nonce": at_nonce,
            "to": RECEIVER,
            "data": "0x",
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": fee_wei,
            "maxPriorityFeePerGas": GWEI,
        }
    )
    sent: str = chain.rpc.call("eth_sendRawTransaction", "0x" + signed.raw.hex())
    return sent


def forget(chain: LocalChain) -> None:
    """The node loses what is pending, as it does when it is restarted."""
    if chain.is_anvil:
        chain.rpc.call("anvil_dropAllTransactions")
        return
    for pending in chain.rpc.call("eth_getBlockByNumber", "pending", False)["transactions"]:
        chain.rpc.call("hardhat_dropTransaction", pending)


@pytest.mark.usefixtures("held")
def test_gap_is_found_and_filled_on_start_and_what_waited_is_mined(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    before = nonce(chain)
    waiting = gapped(chain, outbox, token, missing=2)
    assert [(s.nonce, s.fault) for s in survey(outbox, chain.rpc, SIGNER.address)] == [
        (before, NonceFault.GAP),
        (before + 1, NonceFault.GAP),
    ]
    with pytest.raises(NonceGap) as caught:
        outbox.resume(chain.rpc)
    assert caught.value.nonce == waiting.nonce
    filled = clear_on_start(outbox, chain.rpc, [SIGNER])
    outbox.resume(chain.rpc)
    chain.mine()
    advance(chain, outbox, height(chain))

    assert [attempt.nonce for attempt in filled] == [before, before + 1]
    assert states(outbox) == [AttemptState.MINED] * 3
    assert (supply(chain, token), nonce(chain)) == (1, before + 3)
    assert clear_on_start(outbox, chain.rpc, [SIGNER]) == []


@pytest.mark.usefixtures("held")
def test_wide_gap_is_not_filled_unasked(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    gapped(chain, outbox, token, missing=9)
    with pytest.raises(TooManyGaps, match="rebalancer tx clear") as caught:
        clear_on_start(outbox, chain.rpc, [SIGNER])
    assert (len(caught.value.nonces), caught.value.most) == (9, 8)
    assert len(outbox.attempts(CHAIN)) == 1


@pytest.mark.usefixtures("held")
def test_foreign_pending_is_refused_on_start_and_replaced_when_asked(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    before = nonce(chain)
    foreign = send_foreign(chain, before, fee_wei=50 * GWEI)
    with pytest.raises(ForeignPending) as caught:
        clear_on_start(outbox, chain.rpc, [SIGNER])
    assert caught.value.nonces == (before,)
    assert outbox.attempts(CHAIN) == []
    stuck = survey(outbox, chain.rpc, SIGNER.address)
    (filled,) = clear(outbox, chain.rpc, SenderAccount(SIGNER), stuck)
    chain.mine()
    advance(chain, outbox, height(chain))

    assert filled.newest.fees.max_fee_per_gas_wei > 50 * GWEI
    assert find_receipt(chain.rpc, foreign) is None
    assert nonce(chain) == before + 1
    assert outbox.attempts(CHAIN)[-1].state is AttemptState.MINED


# Lanes and limits


@pytest.mark.usefixtures("held")
def test_two_lanes_share_the_work_and_an_epoch_has_one_attempt_over_both(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    senders = [SenderAccount(SIGNER, max_open=1), SenderAccount(OTHER, max_open=1)]
    one = outbox.submit(chain.rpc, senders, mint(token, 0, VAULT))
    two = outbox.submit(chain.rpc, senders, mint(token, 0, OTHER_VAULT))
    assert {one.sender, two.sender} == {SIGNER.address, OTHER.address}
    assert outbox.submit(chain.rpc, senders[::-1], mint(token, 0, VAULT)) == one
    with pytest.raises(NoFreeSender) as caught:
        outbox.submit(chain.rpc, senders, mint(token, 0, RECEIVER))
    assert (caught.value.allowed, caught.value.busy) == (2, 2)
    chain.mine()
    outbox.advance(chain.rpc, senders, height(chain))

    assert states(outbox) == [AttemptState.MINED, AttemptState.MINED]
    assert supply(chain, token) == 2


@pytest.mark.usefixtures("held")
def test_lane_that_may_not_call_the_vault_is_passed_over(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    elsewhere = SenderAccount(SIGNER, KeyLimits(targets=frozenset({OTHER_VAULT})))
    attempt = outbox.submit(chain.rpc, [elsewhere, SenderAccount(OTHER)], mint(token))
    assert attempt.sender == OTHER.address
    with pytest.raises(CallNotAllowed) as caught:
        outbox.submit(chain.rpc, [elsewhere], mint(token, 1))
    assert (caught.value.to, caught.value.selector) == (token.address, mint(token).data[:10])


@pytest.mark.usefixtures("held")
def test_what_one_node_refused_is_tried_anew_by_the_same_lane(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    """Another lane could not replace it, and both might be mined."""
    senders = [SenderAccount(SIGNER), SenderAccount(OTHER)]
    failed = outbox.journal.plan(mint(token), OTHER.address)
    outbox.delivery.sign(
        chain.rpc,
        SenderAccount(OTHER),
        failed,
        Kind.ORIGINAL,
        nonce(chain, OTHER.address),
        GasFees(1, 1),
        0,
    )
    outbox.journal.advance(outbox.journal.get(failed.id), AttemptState.FAILED, note="refused")
    attempt = outbox.submit(chain.rpc, senders, mint(token))

    assert (attempt.sender, attempt.nonce) == (OTHER.address, nonce(chain, OTHER.address))


@pytest.mark.usefixtures("held")
def test_spend_of_a_day_is_counted_at_its_worst_until_it_is_mined(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    fees = GasFees(10 * GWEI, GWEI)
    worst_wei = 200_000 * 10 * GWEI
    sender = SenderAccount(SIGNER, KeyLimits(max_spend_per_day_wei=2 * worst_wei - 1))
    outbox.submit(chain.rpc, [sender], mint(token, 0), fees)
    with pytest.raises(SpendLimitReached) as caught:
        outbox.submit(chain.rpc, [sender], mint(token, 1), fees)
    assert (caught.value.spent_wei, caught.value.more_wei) == (worst_wei, worst_wei)
    refused = outbox.attempts(CHAIN)[-1]
    assert (refused.state, refused.note) == (AttemptState.FAILED, str(caught.value))
    assert refused.versions == ()

    chain.mine()
    outbox.advance(chain.rpc, [sender], height(chain))
    outbox.submit(chain.rpc, [sender], mint(token, 1), fees)
    chain.mine()
    outbox.advance(chain.rpc, [sender], height(chain))
    spent = outbox.journal.spent_wei(CHAIN, SIGNER.address, 2**40)
    actual = [one.cost_wei or 0 for one in outbox.attempts(CHAIN)]
    assert spent == 0
    assert outbox.journal.spent_wei(CHAIN, SIGNER.address, 0) == sum(actual) < 2 * worst_wei
    assert supply(chain, token) == 2


@pytest.mark.usefixtures("held")
def test_bump_beyond_the_days_limit_is_not_signed_and_says_so(
    chain: LocalChain, outbox: Outbox, token: BoundContract
) -> None:
    fees = GasFees(10 * GWEI, GWEI)
    sender = SenderAccount(SIGNER, KeyLimits(max_spend_per_day_wei=200_000 * 11 * GWEI))
    outbox.submit(chain.rpc, [sender], mint(token), fees)
    (waiting,) = outbox.advance(chain.rpc, [sender], height(chain) + 2)

    assert (waiting.state, len(waiting.versions)) == (AttemptState.SENT, 1)
    assert "the limit is" in waiting.note


def test_fee_above_the_keys_limit_signs_nothing(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    sender = SenderAccount(SIGNER, KeyLimits(max_fee_per_gas_wei=GWEI))
    with pytest.raises(FeeAboveLimit) as caught:
        outbox.submit(chain.rpc, [sender], mint(token), GasFees(GWEI + 1, 1))
    assert (caught.value.offered_wei, caught.value.limit_wei) == (GWEI + 1, GWEI)
    assert (only(outbox).state, only(outbox).versions) == (AttemptState.FAILED, ())


def test_external_signer_delivers_what_it_signs(chain: LocalChain, outbox: Outbox, token: BoundContract) -> None:
    if not chain.is_anvil:
        pytest.skip("Hardhat serves no eth_signTransaction")
    signer = ExternalSigner(chain.rpc, chain.accounts[5])
    receipt = deliver(outbox, chain.rpc, signer, mint(token), suggest(chain.rpc, CAP_WEI))

    assert only(outbox).sender == signer.address
    assert receipt.transaction_hash == only(outbox).mined_hash
    assert supply(chain, token) == 1


def test_external_signer_with_many_accounts_must_be_told_which(chain: LocalChain, node_url: str) -> None:
    with pytest.raises(SignerUnavailable, match="set signer_address"):
        open_external(node_url, None)
    named = AccountSettings(signer_url=RpcUrl(node_url), signer_address=chain.accounts[2])
    assert open_signer(named, 1).address == chain.accounts[2]


PATIENT = replace(RULES, min_pending_seconds=600)


def test_however_fast_blocks_come_a_receipt_may_be_late_for_a_while(
    chain: LocalChain, token: BoundContract, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes behind one address: one has counted the nonce, and the other has no receipt yet."""
    plain = chain.rpc.batch

    def without_receipts(calls: Sequence[Call]) -> list[Any]:
        return [
            None if method == "eth_getTransactionReceipt" else found
            for (method, _), found in zip(calls, plain(calls), strict=True)
        ]

    outbox.rules = PATIENT
    submit(chain, outbox, mint(token))
    chain.mine()
    monkeypatch.setattr(chain.rpc, "batch", without_receipts)
    for blocks in range(20):
        advance(chain, outbox, height(chain) + blocks)
    assert states(outbox) == [AttemptState.SENT]

    monkeypatch.undo()
    advance(chain, outbox, height(chain))
    assert states(outbox) == [AttemptState.MINED]


def test_however_fast_blocks_come_nothing_is_replaced_at_once(
    chain: LocalChain, token: BoundContract, outbox: Outbox, held: None
) -> None:
    outbox.rules = PATIENT
    submit(chain, outbox, mint(token))

    advance(chain, outbox, height(chain) + 50)
    assert kinds(only(outbox)) == [Kind.ORIGINAL]

    outbox.rules = RULES
    advance(chain, outbox, height(chain) + 51)
    assert kinds(only(outbox)) == [Kind.ORIGINAL, Kind.BUMP]
