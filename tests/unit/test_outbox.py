"""The outbox step by step, on a chain that is a list: what is signed when, at which price, and what is made of the chain's answers.

What it does in any order of events, killed at any question, is told in tests/property/test_outbox_property.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.abi import Call
from rebalancer.chain.l1_fees import L1Fees, transaction_bytes
from rebalancer.errors import (
    CallNotAllowed,
    ContractReverted,
    FeeAboveCap,
    InsufficientEther,
    NonceGap,
    NotCancellable,
    RpcRejected,
    RpcTimeout,
    SimulationRefused,
    SpendLimitReached,
    WrongChain,
)
from rebalancer.send import delivery, lifecycle
from rebalancer.send.attempt import Attempt, AttemptState, Intent, Kind
from rebalancer.send.fees import GasFees, replacement_of
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.relay import Relays
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from rebalancer.send.signed import Signer
from rebalancer.send.spending import Spending
from tests.property.test_outbox_property import CHAIN, ME, UNIT, VAULT, FakeChain, Pen
from tests.unit.test_relays import REFUSES, Endpoint

OTHER = "0x" + "22" * 20
RULES = SendRules(fee_cap_wei=1_000 * UNIT, bump_after_blocks=3, confirmations=4, min_pending_seconds=12.0)
OFFER = GasFees(40 * UNIT, UNIT)
GAS = 50_000


class OtherPen(Pen):
    address = OTHER


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Clock:
    """Both clocks of the process, which a test turns; whoever sleeps turns them, too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_700_000_000.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None
        monkeypatch.setattr("time.time", lambda: self.now)
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.on_sleep()


@pytest.fixture
def outbox(tmp_path: Path, clock: Clock) -> Iterator[Outbox]:
    assert clock.now
    with Outbox(tmp_path / "outbox.sqlite", RULES) as made:
        yield made


@pytest.fixture
def chain() -> FakeChain:
    made = FakeChain()
    made.journalled = lambda _: True
    return made


def intent(epoch: int = 0, deadline: int | None = None, **changes: Any) -> Intent:
    made = Intent(CHAIN, VAULT, epoch, VAULT, f"0x{epoch % 2**32 + 1:08x}", GAS, "a test", deadline)
    return replace(made, **changes)


def submit(outbox: Outbox, chain: FakeChain, epoch: int = 0, **changes: Any) -> Attempt:
    return outbox.submit(chain, [Pen()], intent(epoch, **changes), OFFER)


def advance(outbox: Outbox, chain: FakeChain, senders: Sequence[Signer] | None = None, **epochs: int) -> list[Attempt]:
    by_vault = {VAULT: epochs["epoch"]} if epochs else None
    return outbox.advance(chain, senders or [Pen()], len(chain.blocks) - 1, by_vault)


def empty(chain: FakeChain, blocks: int = 1) -> None:
    chain.blocks += [[] for _ in range(blocks)]


def only(outbox: Outbox) -> Attempt:
    (attempt,) = outbox.attempts(CHAIN)
    return attempt


def waiting(chain: FakeChain, nonce: int = 0) -> dict[str, Any]:
    return chain.known[chain.pool[nonce]]


# What is signed


def test_what_is_signed_is_the_intent_at_the_price_offered_and_nothing_else(outbox: Outbox, chain: FakeChain) -> None:
    empty(chain, 7)

    attempt = submit(outbox, chain, deadline=90)

    assert waiting(chain) == {
        "type": 2,
        "chainId": CHAIN,
        "nonce": 0,
        "to": VAULT,
        "data": "0x00000001",
        "value": 0,
        "gas": GAS,
        "maxFeePerGas": 40 * UNIT,
        "maxPriorityFeePerGas": UNIT,
    }
    assert (attempt.state, attempt.nonce, attempt.sender) == (AttemptState.SENT, 0, ME)
    assert (attempt.newest.height, attempt.newest.fees) == (7, OFFER)
    assert attempt.intent == intent(deadline=90)
    assert outbox.submit(chain, [Pen()], intent(1), OFFER, height=3).newest.height == 3


def test_an_epoch_is_sent_once_and_another_takes_the_next_nonce(outbox: Outbox, chain: FakeChain) -> None:
    first = submit(outbox, chain)
    assert submit(outbox, chain) == first
    assert submit(outbox, chain, 1).nonce == 1
    chain.mine(0, heard=False)
    advance(outbox, chain)

    again = submit(outbox, chain)

    assert (again.id, again.state) == (first.id, AttemptState.MINED)
    assert submit(outbox, chain, 2).nonce == 2
    assert len(outbox.attempts(CHAIN)) == 3


def test_an_endpoint_of_another_chain_is_given_nothing(outbox: Outbox, chain: FakeChain) -> None:
    with pytest.raises(WrongChain) as caught:
        submit(outbox, chain, chain_id=1)

    assert (caught.value.expected, caught.value.actual) == (1, CHAIN)
    assert outbox.attempts(1) == []


@pytest.mark.parametrize("limit", [None, 25 * UNIT, 5_000 * UNIT])
def test_without_a_price_the_markets_is_offered_up_to_the_lowest_cap(
    outbox: Outbox, chain: FakeChain, limit: int | None
) -> None:
    chain.base_fee = 20 * UNIT
    sender = SenderAccount(Pen(), KeyLimits(max_fee_per_gas_wei=limit))

    attempt = outbox.submit(chain, [sender], intent())

    market = 2 * chain.base_fee + UNIT // 10
    assert attempt.newest.fees.max_fee_per_gas_wei == min(market, limit or market, 1_000 * UNIT)
    chain.base_fee = 1_001 * UNIT
    with pytest.raises(FeeAboveCap) as caught:
        outbox.submit(chain, [sender], intent(1))
    cap = min(limit or RULES.fee_cap_wei, RULES.fee_cap_wei)
    assert caught.value.cap_wei == cap
    assert [one.state for one in outbox.attempts(CHAIN)] == [AttemptState.SENT, AttemptState.FAILED]


def test_what_is_refused_before_it_is_signed_has_failed_and_takes_no_nonce(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = SimulationRefused(ContractReverted("CooldownActive"))
    requested = []

    def check(sender: str) -> None:
        requested.append(sender)
        raise refusal

    with pytest.raises(SimulationRefused):
        outbox.submit(chain, [Pen()], intent(), OFFER, check=check)
    assert requested == [ME]
    poor = SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=GAS * 40 * UNIT - 1))
    with pytest.raises(SpendLimitReached) as caught:
        outbox.submit(chain, [poor], intent(), OFFER)
    assert (caught.value.spent_wei, caught.value.more_wei) == (0, GAS * 40 * UNIT)
    monkeypatch.setattr(chain, "eth_getBalance", lambda *_: hex(GAS * 40 * UNIT - 1), raising=False)
    with pytest.raises(InsufficientEther) as lacking:
        submit(outbox, chain)
    assert lacking.value.needed_wei == GAS * 40 * UNIT

    failed = outbox.attempts(CHAIN)
    assert [(one.nonce, one.versions) for one in failed] == [(None, ())] * 3
    assert [one.state for one in failed[:2]] == [AttemptState.FAILED] * 2
    assert failed[0].note == str(refusal)
    assert not chain.known
    monkeypatch.setattr(chain, "eth_getBalance", lambda *_: hex(GAS * 40 * UNIT), raising=False)
    rich = SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=GAS * 40 * UNIT))
    assert outbox.submit(chain, [rich], intent(), OFFER).nonce == 0


def test_what_a_rollup_charges_beside_gas_is_counted_twice_over(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may double until the transaction is mined: the account must have it, and the day's limit must hold it."""
    fees = L1Fees(least_wei=1_000, wei_per_byte=10, operator_wei=7)
    requested = []

    def reported(_rpc: object, height: int) -> L1Fees:
        requested.append(height)
        return fees

    monkeypatch.setattr(delivery, "read_l1_fees", reported)
    empty(chain, 5)
    beside = 2 * fees.beside_gas_wei(transaction_bytes("0x00000001"), GAS)
    most = GAS * 40 * UNIT + beside
    monkeypatch.setattr(chain, "eth_getBalance", lambda *_: hex(most), raising=False)

    attempt = outbox.submit(chain, [SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=most))], intent(), OFFER)

    assert set(requested) == {5}
    assert (attempt.newest.beside_gas_wei, attempt.newest.worst_cost_wei) == (beside, most)
    monkeypatch.setattr(chain, "eth_getBalance", lambda *_: hex(most - 1), raising=False)
    with pytest.raises(InsufficientEther):
        submit(outbox, chain, 1)
    limits = KeyLimits(max_spend_per_day_wei=2 * most - 1)
    monkeypatch.setattr(chain, "eth_getBalance", lambda *_: hex(10 * most), raising=False)
    with pytest.raises(SpendLimitReached) as caught:
        outbox.submit(chain, [SenderAccount(Pen(), limits)], intent(1), OFFER)
    assert (caught.value.spent_wei, caught.value.more_wei) == (most, most)


def test_a_replacement_spends_only_what_it_costs_more(outbox: Outbox, chain: FakeChain) -> None:
    attempt = submit(outbox, chain)
    empty(chain, 3)
    clock_passes(outbox)
    more = GAS * (replacement_of(40 * UNIT) - 40 * UNIT)
    for limit, state in ((more - 1, AttemptState.SENT), (more, AttemptState.BUMPED)):
        limits = KeyLimits(max_spend_per_day_wei=GAS * 40 * UNIT + limit)
        advance(outbox, chain, [SenderAccount(Pen(), limits)])
        assert outbox.journal.get(attempt.id).state is state
    empty(chain, 3)
    dearest = only(outbox).newest.worst_cost_wei
    most = GAS * replacement_of(replacement_of(40 * UNIT))
    for limit, count in ((most - 1, 2), (most, 3)):
        assert most > dearest
        advance(outbox, chain, [SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=limit))])
        assert len(only(outbox).versions) == count
    empty(chain)
    # A cancellation uses less gas, so it costs nothing more.
    limits = KeyLimits(max_spend_per_day_wei=outbox.journal.spent_wei(CHAIN, ME, 1_700_000_000))
    advance(outbox, chain, [SenderAccount(Pen(), limits)], epoch=1)
    assert outbox.journal.get(attempt.id).state is AttemptState.CANCELLING


def clock_passes(outbox: Outbox) -> None:
    """Nothing has to wait any more."""
    outbox.rules = replace(outbox.rules, min_pending_seconds=0)


# By which account


def test_an_intent_that_failed_goes_by_the_account_that_may_still_be_mined(outbox: Outbox, chain: FakeChain) -> None:
    """Else two transactions of one epoch could be mined, by two accounts."""
    chain.refuses = True
    with pytest.raises(RpcRejected):
        outbox.submit(chain, [OtherPen()], intent(), OFFER)
    chain.refuses = False

    barred = SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=1))
    stopped = SenderAccount(OtherPen(), KeyLimits(max_spend_per_day_wei=1))
    with pytest.raises(SpendLimitReached):
        outbox.submit(chain, [barred, stopped], intent(), OFFER)  # fails before it has a nonce

    again = outbox.submit(chain, [Pen(), OtherPen()], intent(), replace_fees(OFFER))

    assert (again.sender, again.nonce) == (OTHER, 0)
    barred = SenderAccount(OtherPen(), KeyLimits(targets=frozenset({ME})))
    chain.refuses = True
    with pytest.raises(RpcRejected):
        outbox.submit(chain, [Pen()], intent(5), OFFER)
    with pytest.raises(CallNotAllowed):
        outbox.submit(
            chain,
            [barred, SenderAccount(Pen(), KeyLimits(targets=frozenset({ME})))],
            intent(5),
            OFFER,
        )


def replace_fees(fees: GasFees) -> GasFees:
    return GasFees(replacement_of(fees.max_fee_per_gas_wei), replacement_of(fees.max_priority_fee_per_gas_wei))


def test_an_intent_whose_account_went_on_without_it_may_go_by_another(outbox: Outbox, chain: FakeChain) -> None:
    chain.refuses = True
    with pytest.raises(RpcRejected):
        outbox.submit(chain, [OtherPen()], intent(), OFFER)
    chain.refuses = False
    foreign(chain, 0)
    chain.mine(0, heard=False)  # a block holds somebody else's at its nonce
    for epoch in (1, 2):
        outbox.submit(chain, [OtherPen()], intent(epoch), OFFER)

    again = outbox.submit(chain, [OtherPen(), Pen()], intent(), OFFER)

    assert again.sender == ME, "the other has more to do"


def foreign(chain: FakeChain, nonce: int) -> None:
    """Somebody else's transaction with the same key."""
    chain.known[f"0xforeign{nonce}"] = {
        "nonce": nonce,
        "data": "0x",
        "maxFeePerGas": 900 * UNIT,
        "maxPriorityFeePerGas": 900 * UNIT,
    }
    chain.pool[nonce] = f"0xforeign{nonce}"


def test_an_attempt_that_was_refused_leaves_its_nonce_to_the_next_of_its_epoch(
    outbox: Outbox, chain: FakeChain
) -> None:
    chain.refuses = True
    with pytest.raises(RpcRejected):
        submit(outbox, chain)
    chain.refuses = False
    assert only(outbox).state is AttemptState.FAILED

    again = outbox.submit(chain, [Pen()], intent(), replace_fees(OFFER))

    assert (again.nonce, again.state) == (0, AttemptState.SENT)


def test_what_one_node_refused_and_a_block_holds_is_the_epochs_attempt(outbox: Outbox, chain: FakeChain) -> None:
    chain.refuses = True
    with pytest.raises(RpcRejected):
        submit(outbox, chain)
    chain.mine(0, heard=True)  # another node had taken it
    chain.refuses = False

    found = submit(outbox, chain)

    assert (found.state, found.block_number) == (AttemptState.MINED, 1)
    assert len(outbox.attempts(CHAIN)) == 1


def test_a_chain_behind_the_journal_is_another(outbox: Outbox, chain: FakeChain) -> None:
    for epoch in range(2):
        submit(outbox, chain, epoch)
    chain.mine(0, heard=False)
    advance(outbox, chain)
    fork = FakeChain()
    fork.journalled = lambda _: True

    for count in (0, 1):
        fork.blocks = [["0x"] * count]
        with pytest.raises(NonceGap) as caught:
            submit(outbox, fork, 2)
        assert (caught.value.nonce, caught.value.next_nonce) == (1, count)
        assert caught.value.transaction_hash == outbox.attempts(CHAIN)[1].mined_hash
    fork.blocks = [["0x"] * 2]
    assert submit(outbox, fork, 3).nonce == 2


def test_a_transaction_behind_one_that_nobody_has_is_not_sent(outbox: Outbox, chain: FakeChain) -> None:
    foreign(chain, 0)
    submit(outbox, chain)
    del chain.known[chain.pool.pop(0)]
    chain.pool.clear()

    with pytest.raises(NonceGap) as caught:
        outbox.resume(chain)

    assert (caught.value.nonce, caught.value.next_nonce) == (1, 0)


def test_a_nonce_that_a_node_counts_though_it_refused_it_is_taken_again(outbox: Outbox, chain: FakeChain) -> None:
    """Else the refused one could be mined beside the next of its epoch."""
    chain.refuses = True
    with pytest.raises(RpcRejected):
        submit(outbox, chain)
    chain.refuses = False
    chain.pool[0] = str(only(outbox).transaction_hash)

    again = outbox.submit(chain, [Pen()], intent(), replace_fees(OFFER))

    assert (again.nonce, again.state) == (0, AttemptState.SENT)
    assert outbox.submit(chain, [Pen()], intent(1), OFFER).nonce == 1


def test_what_only_relays_have_is_followed_by_the_next_nonce(outbox: Outbox, chain: FakeChain) -> None:
    """The public node counts none of them: the journal does."""
    outbox.delivery.relays = Relays([Endpoint("one")])
    sent = [submit(outbox, chain, epoch) for epoch in range(3)]

    assert [one.nonce for one in sent] == [0, 1, 2]
    assert [one.state for one in outbox.resume(chain)] == [AttemptState.SENT] * 3
    assert not chain.pool


def test_of_two_attempts_at_one_epoch_the_one_that_a_later_one_replaced_has_failed_even_if_mined(
    outbox: Outbox, chain: FakeChain
) -> None:
    chain.refuses = True
    with pytest.raises(RpcRejected):
        submit(outbox, chain)
    first = only(outbox)
    chain.refuses = False
    second = outbox.submit(chain, [Pen()], intent(), replace_fees(OFFER))
    chain.pool[0] = str(first.transaction_hash)  # another node had taken the first
    chain.mine(0, heard=False)

    advance(outbox, chain)

    found = outbox.journal.get(first.id)
    assert (found.state, found.note) == (AttemptState.FAILED, "replaced by another attempt")
    assert found.block_number == 1
    assert outbox.journal.get(second.id).state is AttemptState.SENT


# When it is replaced, and when given up


def test_it_is_replaced_after_so_many_blocks_and_so_much_time_and_not_before(
    outbox: Outbox, chain: FakeChain, clock: Clock
) -> None:
    empty(chain, 2)
    submit(outbox, chain)
    seen = []
    for blocks, seconds in ((0, 0), (2, 30), (1, 0), (0, 0), (2, 11.0), (1, 0.9), (0, 0.1)):
        empty(chain, blocks)
        clock.now += seconds
        advance(outbox, chain)
        seen.append(len(only(outbox).versions))

    assert seen == [1, 1, 2, 2, 2, 2, 3]
    first, second, third = only(outbox).versions
    assert [one.kind for one in (first, second, third)] == [Kind.ORIGINAL, Kind.BUMP, Kind.BUMP]
    assert second.fees.max_fee_per_gas_wei == replacement_of(40 * UNIT)
    assert [one.height for one in (first, second, third)] == [2, 5, 8]
    assert only(outbox).note == "not mined within 3 blocks"
    assert waiting(chain)["maxFeePerGas"] == third.fees.max_fee_per_gas_wei


def test_it_is_replaced_at_once_where_the_base_fee_passes_its_offer(
    outbox: Outbox, chain: FakeChain, clock: Clock
) -> None:
    submit(outbox, chain)
    chain.base_fee = 40 * UNIT + 1
    clock.now += 12
    advance(outbox, chain)
    assert len(only(outbox).versions) == 1, "its own block is no other"
    empty(chain)
    chain.base_fee = 40 * UNIT
    advance(outbox, chain)
    assert len(only(outbox).versions) == 1
    chain.base_fee += 1

    advance(outbox, chain)

    assert len(only(outbox).versions) == 2
    assert only(outbox).note == "its offer is below the base fee"


@pytest.mark.parametrize("deadline", [0, 3])
def test_it_is_cancelled_once_its_deadline_has_passed_and_only_once(
    outbox: Outbox, chain: FakeChain, deadline: int
) -> None:
    submit(outbox, chain, deadline=deadline)
    empty(chain, deadline)
    advance(outbox, chain)
    assert all(one.kind is not Kind.CANCELLATION for one in only(outbox).versions)
    empty(chain)

    for _ in range(2):
        advance(outbox, chain)

    attempt = only(outbox)
    assert [one.kind for one in attempt.versions].count(Kind.CANCELLATION) == 1
    assert attempt.note == f"its deadline, block {deadline}, has passed"
    sent = waiting(chain)
    assert (sent["to"], sent["data"], sent["value"], sent["gas"]) == (ME, "0x", 0, 21_000)
    chain.mine(0, heard=False)
    (done,) = advance(outbox, chain)
    assert (done.state, done.note) == (AttemptState.CANCELLED, attempt.note)


@pytest.mark.parametrize(
    ("epoch", "now", "cancelled"),
    [(0, 0, False), (0, 1, True), (1, 1, False), (1, 5, True), (2, 1, False), (-7, 9, False)],
)
def test_it_is_cancelled_once_its_epoch_is_over(
    outbox: Outbox, chain: FakeChain, epoch: int, now: int, cancelled: bool
) -> None:
    submit(outbox, chain, epoch)

    advance(outbox, chain, epoch=now)

    attempt = only(outbox)
    assert (attempt.state is AttemptState.CANCELLING) is cancelled
    assert attempt.note == (f"the vault's epoch is now {now}" if cancelled else "")


def test_a_cancellation_is_replaced_by_a_dearer_one_that_says_why_it_began(
    outbox: Outbox, chain: FakeChain, clock: Clock
) -> None:
    submit(outbox, chain)
    advance(outbox, chain, epoch=1)
    empty(chain, 3)
    clock.now += 12
    advance(outbox, chain, epoch=1)

    attempt = only(outbox)
    assert [one.kind for one in attempt.versions][1:] == [Kind.CANCELLATION] * 2
    assert attempt.note == "the vault's epoch is now 1"
    assert waiting(chain)["data"] == "0x"


def test_what_cannot_be_outbid_is_sent_again_and_says_why(outbox: Outbox, chain: FakeChain, clock: Clock) -> None:
    submit(outbox, chain)
    empty(chain, 3)
    clock.now += 12
    chain.pool.clear()
    sender = SenderAccount(Pen(), KeyLimits(max_fee_per_gas_wei=44 * UNIT))

    (changed,) = advance(outbox, chain, [sender])

    assert len(changed.versions) == 1
    assert changed.note == (f"not mined within 3 blocks, and its fee is at the cap of {44 * UNIT} wei per gas")
    assert waiting(chain)["maxFeePerGas"] == 40 * UNIT
    chain.pool.clear()
    barred = SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=1))
    (changed,) = advance(outbox, chain, [barred])
    assert "24 hours" in changed.note or "day" in changed.note
    assert waiting(chain)["maxFeePerGas"] == 40 * UNIT


def test_what_an_absent_key_signed_is_watched_and_not_touched(outbox: Outbox, chain: FakeChain, clock: Clock) -> None:
    submit(outbox, chain)
    empty(chain, 9)
    clock.now += 99

    assert advance(outbox, chain, [OtherPen()], epoch=5) == []

    chain.mine(0, heard=False)
    assert [one.state for one in advance(outbox, chain, [OtherPen()])] == [AttemptState.MINED]


# What blocks make of it


def test_it_is_final_with_so_many_blocks_on_top_and_not_one_less(outbox: Outbox, chain: FakeChain) -> None:
    submit(outbox, chain)
    chain.mine(0, heard=False)
    assert [one.state for one in advance(outbox, chain)] == [AttemptState.MINED]
    assert (only(outbox).block_number, only(outbox).gas_used) == (1, 1)
    empty(chain, 3)
    assert advance(outbox, chain) == []
    empty(chain)

    (final,) = advance(outbox, chain)

    assert (final.state, final.is_final) == (AttemptState.FINAL, True)
    assert advance(outbox, chain) == []


@pytest.mark.parametrize("tag", ["safe", "finalized"])
def test_by_a_tag_it_is_final_once_its_block_is_not_above_the_tags(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    outbox.rules = replace(RULES, confirmations=tag)  # type: ignore[arg-type]  # one of the two
    plain, at, requested = chain.eth_getBlockByNumber, [0], 0

    def reported(number: str, full: bool) -> Any:
        nonlocal requested
        if number.startswith("0x"):
            return plain(number, full)
        assert (number, full) == (tag, False)
        requested += 1
        return {"number": hex(at[0])}

    monkeypatch.setattr(chain, "eth_getBlockByNumber", reported, raising=False)
    submit(outbox, chain)
    advance(outbox, chain)
    assert requested == 0, "nothing is held, so nobody asks"
    empty(chain, 10)
    chain.mine(0, heard=False)
    advance(outbox, chain)
    states = []
    for at[0] in (10, 11):
        advance(outbox, chain)
        states.append(only(outbox).state)

    assert states == [AttemptState.MINED, AttemptState.FINAL]


def test_a_node_without_a_block_of_the_tag_makes_nothing_final_and_is_told_of_once(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.rules = replace(RULES, confirmations="safe")
    plain = chain.eth_getBlockByNumber
    answers: list[Any] = [
        *(None, RpcRejected("eth_getBlockByNumber", -32602, "unknown tag")),
        *({"number": "0x0"}, None),
    ]

    def reported(number: str, full: bool) -> Any:
        if number.startswith("0x"):
            return plain(number, full)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(chain, "eth_getBlockByNumber", reported, raising=False)
    submit(outbox, chain)
    chain.mine(0, heard=False)
    outbox.journal.advance(only(outbox), AttemptState.MINED, block_hash="0x00", block_number=1)
    empty(chain, 50)
    with capture_logs() as logs:
        for _ in range(4):
            advance(outbox, chain)

    assert not only(outbox).is_final
    told_of = [(one["why"], one["tag"]) for one in logs if one["event"] == "no_block_with_tag"]
    assert told_of == [("it has no such block", "safe")] * 2
    assert answers == []


def test_a_nonce_used_without_a_receipt_is_lost_after_two_blocks_and_the_least_wait(
    outbox: Outbox, chain: FakeChain, clock: Clock
) -> None:
    """Nodes may count a nonce before they have indexed its receipt."""
    submit(outbox, chain)
    foreign(chain, 0)
    chain.mine(0, heard=False)
    seen = []
    for blocks, seconds in ((0, 0), (1, 12), (0, 12), (1, 0)):
        empty(chain, blocks)
        clock.now += seconds
        advance(outbox, chain)
        seen.append(only(outbox).state)
    assert seen == [AttemptState.SENT] * 3 + [AttemptState.FAILED]
    assert only(outbox).note == "a block holds another transaction with its nonce"
    assert not only(outbox).is_final
    empty(chain, 10)
    clock.now += 99
    advance(outbox, chain)
    assert only(outbox).is_final


def test_a_receipt_that_is_late_is_waited_for_in_growing_pauses(outbox: Outbox, chain: FakeChain, clock: Clock) -> None:
    attempt = submit(outbox, chain)
    foreign(chain, 0)
    chain.mine(0, heard=False)
    began = clock.now

    (settled,) = outbox.resume(chain)

    assert settled.state is AttemptState.FAILED
    assert 2.0 <= clock.now - began <= 3.0
    assert clock.slept[:4] == [0.001, 0.002, 0.004, 0.008]
    assert len(clock.slept) < 15
    assert max(clock.slept) <= 1.0
    assert attempt.id == settled.id


def test_a_receipt_that_comes_late_is_believed(
    outbox: Outbox, chain: FakeChain, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(outbox, chain)
    chain.mine(0, heard=False)
    plain, hidden = chain.eth_getTransactionReceipt, [True]
    monkeypatch.setattr(
        chain,
        "eth_getTransactionReceipt",
        lambda name: None if hidden[0] else plain(name),
        raising=False,
    )

    def after_a_while() -> None:
        hidden[0] = len(clock.slept) < 3

    clock.on_sleep = after_a_while

    (settled,) = outbox.resume(chain)

    assert (settled.state, settled.block_number) == (AttemptState.MINED, 1)
    assert len(clock.slept) == 3


def test_what_a_contract_refused_in_a_block_says_why_and_is_final_like_any_other(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "succeeded", lambda _: False, raising=False)
    monkeypatch.setattr(lifecycle, "refusal", lambda *_: ContractReverted("CooldownActive"))
    submit(outbox, chain)
    chain.mine(0, heard=False)

    (failed,) = advance(outbox, chain)

    assert (failed.state, failed.block_number) == (AttemptState.FAILED, 1)
    assert "CooldownActive" in failed.note
    empty(chain, 4)
    (final,) = advance(outbox, chain)
    assert (final.state, final.is_final) == (AttemptState.FAILED, True)


def test_what_a_reorg_took_back_is_sent_again_as_it_was(outbox: Outbox, chain: FakeChain) -> None:
    submit(outbox, chain)
    empty(chain)
    chain.mine(0, heard=False)
    advance(outbox, chain)
    chain.reorg(1)
    chain.pool.clear()

    (back,) = advance(outbox, chain)

    assert (back.state, back.mined_hash, back.block_number) == (AttemptState.SENT, None, None)
    assert back.note == "a reorg removed its block"
    assert waiting(chain)["data"] == "0x00000001"
    chain.mine(0, heard=False)
    assert [one.state for one in advance(outbox, chain)] == [AttemptState.MINED]


def test_what_a_reorg_put_into_another_block_is_held_by_that(outbox: Outbox, chain: FakeChain) -> None:
    submit(outbox, chain)
    empty(chain)
    chain.mine(0, heard=False)
    advance(outbox, chain)
    chain.reorg(1)
    chain.pool[0] = str(only(outbox).transaction_hash)
    chain.mine(0, heard=False)

    (found,) = advance(outbox, chain)

    assert (found.state, found.block_number) == (AttemptState.MINED, 4)
    assert found.block_hash == chain.block_hash(4)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_cancellation_that_a_reorg_took_back_goes_on_unless_another_attempt_took_its_place(
    outbox: Outbox, chain: FakeChain, replaced: bool
) -> None:
    attempt = submit(outbox, chain)
    outbox.cancel(chain, Pen(), attempt, "by hand")
    empty(chain)
    chain.mine(0, heard=False)
    advance(outbox, chain)
    assert only(outbox).state is AttemptState.CANCELLED
    if replaced:
        assert submit(outbox, chain).nonce == 1
    chain.reorg(1)
    advance(outbox, chain)

    found = outbox.journal.get(attempt.id)
    assert found.state is (AttemptState.FAILED if replaced else AttemptState.CANCELLING)
    assert found.note == "a reorg removed its block"


def test_what_is_held_is_asked_for_by_a_tag_whatever_else_is_under_way(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.rules = replace(RULES, confirmations="safe")
    plain = chain.eth_getBlockByNumber
    monkeypatch.setattr(
        chain,
        "eth_getBlockByNumber",
        lambda number, full: plain(number, full) if number[:2] == "0x" else {"number": "0x63"},
        raising=False,
    )
    first = submit(outbox, chain)
    chain.mine(0, heard=False)
    submit(outbox, chain, 1)
    for _ in range(2):
        advance(outbox, chain)

    assert outbox.journal.get(first.id).state is AttemptState.FINAL


def test_what_a_block_holds_is_not_sent_again_by_a_start(outbox: Outbox, chain: FakeChain) -> None:
    submit(outbox, chain)
    chain.mine(0, heard=False)
    chain.journalled = None  # nothing may be sent

    (found,) = outbox.resume(chain)

    assert found.state is AttemptState.MINED


def test_what_other_outboxes_of_a_key_spent_counts_beside_ones_own(
    tmp_path: Path, clock: Clock, chain: FakeChain
) -> None:
    assert clock.now
    spending = Spending(tmp_path / "spending.sqlite")
    with Outbox(tmp_path / "one.sqlite", RULES, spending=spending) as outbox:
        submit(outbox, chain)
        theirs = replace(submit(outbox, chain, 1), nonce=9)
        spending.store(theirs)
        own_wei = 2 * GAS * 40 * UNIT
        limits = KeyLimits(max_spend_per_day_wei=own_wei)
        with pytest.raises(SpendLimitReached) as caught:
            outbox.submit(chain, [SenderAccount(Pen(), limits)], intent(2), OFFER)
        assert caught.value.spent_wei == own_wei + GAS * 40 * UNIT
        chain.mine(0, heard=False)
        empty(chain, 4)
        for _ in range(2):
            advance(outbox, chain)
        now = int(clock.now)
        assert spending.elsewhere_wei(CHAIN, ME, now, [9]) == 2 * 10 * UNIT


def test_a_block_that_stays_without_its_receipt_is_believed_for_two_blocks_and_the_least_wait(
    outbox: Outbox, chain: FakeChain, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(outbox, chain)
    chain.mine(0, heard=False)
    advance(outbox, chain)
    with monkeypatch.context() as patch:
        patch.setattr(chain, "eth_getTransactionReceipt", lambda _: None, raising=False)
        seen = []
        for blocks, seconds in ((0, 0), (1, 12), (1, 0)):
            empty(chain, blocks)
            clock.now += seconds
            advance(outbox, chain)
            seen.append(only(outbox).state)
        assert seen == [AttemptState.MINED, AttemptState.MINED, AttemptState.SENT]
    (found,) = advance(outbox, chain)
    assert (found.state, found.block_number) == (AttemptState.MINED, 1)


def test_many_attempts_are_asked_about_in_batches(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = SenderAccount(Pen(), max_open=200)
    for epoch in range(120):
        outbox.submit(chain, [sender], intent(epoch), OFFER)
    sizes: list[int] = []
    plain = chain.batch

    def counted(calls: Sequence[Call]) -> list[Any]:
        sizes.append(len(calls))
        return plain(calls)

    chain.mine(0, heard=False)
    monkeypatch.setattr(chain, "batch", counted, raising=False)
    changed = advance(outbox, chain)

    assert [one.state for one in changed] == [AttemptState.MINED] * 120
    assert sizes == [100, 21]


# By hand


def test_it_is_cancelled_by_its_own_account_while_it_is_under_way(outbox: Outbox, chain: FakeChain) -> None:
    attempt = submit(outbox, chain)
    with pytest.raises(NotCancellable, match=OTHER) as theirs:
        outbox.cancel(chain, OtherPen(), attempt, "by hand")
    assert theirs.value.attempt_id == attempt.id
    tight = SenderAccount(Pen(), KeyLimits(max_fee_per_gas_wei=44 * UNIT))
    with pytest.raises(NotCancellable, match="no room") as caught:
        outbox.cancel(chain, tight, attempt, "by hand")
    assert caught.value.attempt_id == attempt.id

    cancelling = outbox.cancel(chain, Pen(), attempt, "by hand")

    assert (cancelling.state, cancelling.note) == (AttemptState.CANCELLING, "by hand")
    assert cancelling.newest.fees.max_fee_per_gas_wei == replacement_of(40 * UNIT)
    assert (waiting(chain)["to"], waiting(chain)["data"]) == (ME, "0x")
    chain.mine(0, heard=False)
    with pytest.raises(NotCancellable, match="cancelled"):
        outbox.cancel(chain, Pen(), cancelling, "by hand")


def test_what_was_mined_meanwhile_is_not_cancelled(outbox: Outbox, chain: FakeChain) -> None:
    attempt = submit(outbox, chain)
    chain.mine(0, heard=False)

    with pytest.raises(NotCancellable, match="it is mined"):
        outbox.cancel(chain, Pen(), attempt, "by hand")

    planned = outbox.journal.plan(intent(1), ME)
    assert outbox.cancel(chain, OtherPen(), planned, "by hand").note == "it was never signed"


def test_what_was_left_unsettled_is_settled_in_the_order_of_its_nonces(outbox: Outbox, chain: FakeChain) -> None:
    sent = [submit(outbox, chain, epoch) for epoch in range(3)]
    planned = outbox.journal.plan(intent(9), ME)
    chain.pool.clear()

    found = outbox.resume(chain)

    assert {one.id: one.state for one in found} == {
        **{one.id: AttemptState.SENT for one in sent},
        planned.id: AttemptState.FAILED,
    }
    assert sorted(chain.pool) == [0, 1, 2]
    assert outbox.journal.get(planned.id).note == "it was never signed"
    assert [one.epoch for one in (each.intent for each in outbox.unsettled(CHAIN))] == [0, 1, 2]


def test_a_silent_node_fails_nothing_and_a_refusal_of_what_is_known_neither(outbox: Outbox, chain: FakeChain) -> None:
    public = Endpoint("public", REFUSES)
    outbox.delivery.relays = Relays([public])
    chain.journalled = None  # nothing goes to the public
    with pytest.raises(RpcRejected):
        submit(outbox, chain)
    assert only(outbox).state is AttemptState.FAILED
    public.does = "is silent"
    with pytest.raises(RpcTimeout):
        submit(outbox, chain, 1)
    (_, silent) = outbox.attempts(CHAIN)
    assert silent.state is AttemptState.SIGNED
    public.does = REFUSES
    chain.pool[1] = str(silent.transaction_hash)  # the node has it all the same
    outbox.resume(chain)
    assert outbox.journal.get(silent.id).state is AttemptState.SENT
    public.does = "is silent"
    with pytest.raises(RpcTimeout):
        submit(outbox, chain, 2)
    public.does = REFUSES

    assert [one.state for one in outbox.resume(chain)] == [AttemptState.SENT, AttemptState.FAILED]


def test_a_dearer_version_that_is_refused_says_why_and_the_attempt_stays(
    outbox: Outbox, chain: FakeChain, clock: Clock
) -> None:
    submit(outbox, chain)
    empty(chain, 3)
    clock.now += 12
    chain.refuses = True

    (found,) = advance(outbox, chain)

    assert found.state is AttemptState.BUMPED
    assert "overloaded" in found.note


def test_what_was_planned_by_who_was_killed_has_failed_at_the_next_block(outbox: Outbox, chain: FakeChain) -> None:
    outbox.journal.plan(intent(), ME)

    (failed,) = advance(outbox, chain)

    assert (failed.state, failed.note) == (AttemptState.FAILED, "it was never signed")


def test_a_receipt_that_was_late_once_is_waited_for_anew_when_it_is_gone_again(
    outbox: Outbox, chain: FakeChain, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(outbox, chain)
    chain.mine(0, heard=False)
    for seconds, state in ((0, AttemptState.SENT), (60, AttemptState.MINED)):
        clock.now += seconds
        with monkeypatch.context() as patch:
            if state is AttemptState.SENT:
                patch.setattr(chain, "eth_getTransactionReceipt", lambda _: None, raising=False)
            advance(outbox, chain)
        assert only(outbox).state is state
    monkeypatch.setattr(chain, "eth_getTransactionReceipt", lambda _: None, raising=False)
    empty(chain, 3)

    assert advance(outbox, chain) == [], "it is missed since this block, not since that one"


def test_the_fence_is_asked_before_a_signature_and_given_what_is_signed_before_it_is_sent(
    outbox: Outbox, chain: FakeChain, clock: Clock
) -> None:
    message: list[Any] = []

    class Fence:
        def check(self, chain_id: int, sender: str) -> None:
            assert not chain.pool
            message.append((chain_id, sender))

        def store(self, attempt: Attempt) -> None:
            assert not chain.pool
            message.append(attempt.newest.kind)

        def forget(self, attempts: Sequence[Attempt]) -> None:
            message.append([one.id for one in attempts])

        def spent_elsewhere_wei(self, chain_id: int, sender: str, now: int) -> int:
            assert (chain_id, sender, now) == (CHAIN, ME, int(clock.now))
            return 5

    outbox.delivery.fence = Fence()
    attempt = submit(outbox, chain)
    assert message == [(CHAIN, ME), Kind.ORIGINAL]
    limit = SenderAccount(Pen(), KeyLimits(max_spend_per_day_wei=2 * GAS * 40 * UNIT + 4))
    with pytest.raises(SpendLimitReached) as caught:
        outbox.submit(chain, [limit], intent(1), OFFER)
    assert caught.value.spent_wei == GAS * 40 * UNIT + 5
    chain.mine(0, heard=False)
    empty(chain, 4)
    advance(outbox, chain)
    advance(outbox, chain)
    assert message[2:] == [[], [attempt.id]]


def test_a_pen_signs_what_it_is_given(chain: FakeChain) -> None:
    """The chain of these tests reads what it signs."""
    transaction: Mapping[str, Any] = {"nonce": 1}
    assert json.loads(Pen().sign(transaction).raw) == transaction
    assert chain.count == 0
