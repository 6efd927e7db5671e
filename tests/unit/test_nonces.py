"""Nonces that stand in the way of an account: found, left alone or filled, on a chain that is a list."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rebalancer.errors import FeeAboveCap, ForeignPending, NonceGap, RpcRejected, TooManyGaps
from rebalancer.send.attempt import AttemptState, Intent, Kind
from rebalancer.send.fees import GasFees, replacement_of
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.nonces import NonceFault, StuckNonce, clear, clear_on_start, survey
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from tests.property.test_outbox_property import CHAIN, ME, RULES, UNIT, VAULT, FakeChain, Pen

OFFER = GasFees(40 * UNIT, UNIT)
CAP = RULES.fee_cap_wei


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite", RULES) as made:
        yield made


@pytest.fixture
def chain() -> FakeChain:
    made = FakeChain()
    made.journalled = lambda _: True
    return made


def sent(outbox: Outbox, chain: FakeChain, epoch: int) -> None:
    """One transaction more of the keeper's own."""
    intent = Intent(CHAIN, VAULT, epoch, VAULT, f"0x{epoch + 1:08x}", 50_000, "")
    outbox.submit(chain, [Pen()], intent, OFFER)


def foreign(chain: FakeChain, nonce: int, fee: int, tip: int = UNIT // 100) -> None:
    """A transaction with the same key that is in no outbox waits at a nonce."""
    name = f"0xforeign{nonce}"
    chain.known[name] = {
        "nonce": nonce,
        "data": "0xdead",
        "maxFeePerGas": fee,
        "maxPriorityFeePerGas": tip,
    }
    chain.pool[nonce] = name


def lost(chain: FakeChain, *nonces: int) -> None:
    """The node forgets what waits at these nonces."""
    for nonce in nonces:
        del chain.known[chain.pool.pop(nonce)]


def sent_after(outbox: Outbox, chain: FakeChain, nonces: list[int]) -> None:
    """One of the keeper's own behind foreign transactions, which the node then forgets."""
    for nonce in nonces:
        foreign(chain, nonce, 50 * UNIT)
    sent(outbox, chain, 99)
    lost(chain, *nonces)


def at(chain: FakeChain, nonce: int) -> dict[str, Any]:
    """What waits at a nonce."""
    return chain.known[chain.pool[nonce]]


def offers(outbox: Outbox) -> list[int]:
    """What was offered a unit of gas, in the order of offers."""
    return [version.fees.max_fee_per_gas_wei for attempt in outbox.attempts(CHAIN) for version in attempt.versions]


# What stands in the way


def test_nothing_stands_in_the_way_of_what_the_chain_has(outbox: Outbox, chain: FakeChain) -> None:
    assert survey(outbox, chain, ME) == []
    for epoch in range(3):
        sent(outbox, chain, epoch)
    assert survey(outbox, chain, ME) == []
    chain.mine(0, heard=False)
    assert survey(outbox, chain, ME) == []


def test_a_nonce_of_ours_that_the_node_forgot_holds_up_no_other(outbox: Outbox, chain: FakeChain) -> None:
    """It is journalled: the outbox sends it again."""
    for epoch in range(3):
        sent(outbox, chain, epoch)
    lost(chain, 0)

    assert survey(outbox, chain, ME) == []


def test_nonces_below_a_journalled_one_that_nobody_has_are_gaps(outbox: Outbox, chain: FakeChain) -> None:
    sent(outbox, chain, 0)
    chain.mine(0, heard=False)
    sent_after(outbox, chain, [1, 2, 3])

    assert survey(outbox, chain, ME) == [StuckNonce(ME, n, NonceFault.GAP) for n in (1, 2, 3)]


def test_what_is_pending_and_in_no_outbox_is_foreign_and_comes_before_gaps(outbox: Outbox, chain: FakeChain) -> None:
    sent(outbox, chain, 0)
    sent_after(outbox, chain, [1, 2, 3])
    foreign(chain, 1, 50 * UNIT)
    foreign(chain, 2, 50 * UNIT)

    assert survey(outbox, chain, ME) == [
        *(StuckNonce(ME, 1, NonceFault.FOREIGN), StuckNonce(ME, 2, NonceFault.FOREIGN)),
        StuckNonce(ME, 3, NonceFault.GAP),
    ]


def test_a_chain_behind_what_is_final_is_another_chain(outbox: Outbox, chain: FakeChain) -> None:
    for epoch in range(2):
        sent(outbox, chain, epoch)
    chain.mine(0, heard=False)
    assert isinstance(RULES.confirmations, int)
    chain.blocks += [[]] * (RULES.confirmations + 1)
    for _ in range(2):  # mined, then final
        outbox.advance(chain, [Pen()], len(chain.blocks) - 1)
    (first, last) = outbox.attempts(CHAIN)
    assert first.is_final
    assert last.is_final
    assert survey(outbox, chain, ME) == []

    fork = FakeChain()
    fork.blocks = [["0x"]]
    with pytest.raises(NonceGap) as caught:
        survey(outbox, fork, ME)

    assert caught.value.nonce == 1
    assert caught.value.next_nonce == 1
    assert caught.value.transaction_hash == last.mined_hash
    with pytest.raises(NonceGap) as caught:
        survey(outbox, FakeChain(), ME)
    assert (caught.value.nonce, caught.value.next_nonce) == (1, 0)


# What is done on start


def test_few_gaps_are_filled_on_start_so_that_what_waits_is_mined(outbox: Outbox, chain: FakeChain) -> None:
    sent_after(outbox, chain, list(range(8)))

    filled = clear_on_start(outbox, chain, [Pen()])

    assert [attempt.nonce for attempt in filled] == list(range(8))
    assert {attempt.intent.reason for attempt in filled} == {"fills a nonce that the chain lacked"}
    nothing = {"to": ME, "data": "0x", "value": 0, "gas": 21_000}
    assert all(at(chain, n) | nothing == at(chain, n) for n in range(8))
    assert survey(outbox, chain, ME) == []
    chain.mine(0, heard=False)
    assert chain.count == 9


def test_many_gaps_are_left_to_the_operator(outbox: Outbox, chain: FakeChain) -> None:
    sent_after(outbox, chain, list(range(9)))
    before = offers(outbox)

    with pytest.raises(TooManyGaps) as caught:
        clear_on_start(outbox, chain, [Pen()])

    assert caught.value.nonces == tuple(range(9))
    assert caught.value.most == 8
    assert offers(outbox) == before


def test_foreign_transactions_are_left_alone_on_start(outbox: Outbox, chain: FakeChain) -> None:
    sent_after(outbox, chain, [0, 1])
    foreign(chain, 0, 50 * UNIT)
    before = offers(outbox)

    with pytest.raises(ForeignPending) as caught:
        clear_on_start(outbox, chain, [Pen()])

    assert caught.value.nonces == (0,)
    assert offers(outbox) == before
    assert chain.pool[0] == "0xforeign0"


# What an offer takes


def stuck(trouble: NonceFault = NonceFault.FOREIGN) -> list[StuckNonce]:
    return [StuckNonce(ME, 0, trouble)]


def test_a_gap_is_filled_at_the_markets_price(outbox: Outbox, chain: FakeChain) -> None:
    (filled,) = clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))

    assert offers(outbox) == [2 * chain.base_fee + UNIT // 10]
    assert (filled.nonce, filled.state) == (0, AttemptState.SENT)
    assert filled.newest.kind is Kind.ORIGINAL


def test_a_foreign_transaction_is_outbid_in_few_steps(outbox: Outbox, chain: FakeChain) -> None:
    foreign(chain, 0, 400 * UNIT, 2 * UNIT)

    (filled,) = clear(outbox, chain, SenderAccount(Pen()), stuck())

    taken = at(chain, 0)
    assert (taken["to"], taken["data"]) == (ME, "0x")
    assert filled.intent.reason == "replaces a transaction that is not in the outbox"
    assert filled.newest.fees.max_fee_per_gas_wei == taken["maxFeePerGas"]
    assert 440 * UNIT <= taken["maxFeePerGas"] <= CAP
    assert 2 * UNIT < taken["maxPriorityFeePerGas"] <= taken["maxFeePerGas"]
    steps = offers(outbox)
    assert len(steps) <= 6
    assert all(2 * low <= high <= 2.26 * low for low, high in pairwise(steps))
    tips = [version.fees.max_priority_fee_per_gas_wei for version in filled.versions]
    assert all(2 * low <= high <= 2.26 * low for low, high in pairwise(tips))


def test_an_offer_never_passes_the_cap_and_comes_near_it_before_it_gives_up(outbox: Outbox, chain: FakeChain) -> None:
    foreign(chain, 0, 10 * CAP)

    with pytest.raises(RpcRejected, match="underpriced"):
        clear(outbox, chain, SenderAccount(Pen()), stuck())

    assert CAP * 8 // 9 < max(offers(outbox)) <= CAP
    assert len(offers(outbox)) <= 8
    assert chain.pool[0] == "0xforeign0"


def test_an_offer_keeps_to_the_limit_of_its_account(outbox: Outbox, chain: FakeChain) -> None:
    foreign(chain, 0, 400 * UNIT)
    limited = SenderAccount(Pen(), KeyLimits(max_fee_per_gas_wei=100 * UNIT))

    with pytest.raises(RpcRejected, match="underpriced"):
        clear(outbox, chain, limited, stuck())

    assert 100 * UNIT * 8 // 9 < max(offers(outbox)) <= 100 * UNIT


def test_gas_above_the_cap_sends_nothing(tmp_path: Path, chain: FakeChain) -> None:
    rules = SendRules(fee_cap_wei=chain.base_fee - 1)
    with Outbox(tmp_path / "outbox.sqlite", rules) as outbox, pytest.raises(FeeAboveCap) as caught:
        clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))

    assert (caught.value.base_fee_wei, caught.value.cap_wei) == (chain.base_fee, chain.base_fee - 1)
    assert not chain.pool


def test_a_node_that_takes_nothing_is_told_of_as_it_says(outbox: Outbox, chain: FakeChain) -> None:
    chain.refuses = True

    with pytest.raises(RpcRejected, match="overloaded"):
        clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))

    assert not chain.pool


def test_tip_that_is_high_already_stops_no_offer_below_the_cap(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = {
        "baseFeePerGas": [hex(chain.base_fee)],
        "reward": [[hex(500 * UNIT)] * 2],
        "gasUsedRatio": [0.5],
    }
    monkeypatch.setattr(chain, "eth_feeHistory", lambda *_: history, raising=False)
    foreign(chain, 0, 800 * UNIT, 600 * UNIT)

    clear(outbox, chain, SenderAccount(Pen()), stuck())

    near = replacement_of(CAP * 8 // 9)
    assert (at(chain, 0)["maxPriorityFeePerGas"], at(chain, 0)["maxFeePerGas"]) == (near, CAP)
    assert at(chain, 0)["data"] == "0x"


def test_gap_that_is_filled_again_at_the_same_price_is_sent_again_and_not_signed_again(
    outbox: Outbox, chain: FakeChain
) -> None:
    """The node lost what filled it, and gas costs what it did: it would be the same transaction."""
    (first,) = clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))
    lost(chain, 0)

    (again,) = clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))

    assert again.transaction_hash == first.transaction_hash == chain.pool[0]
    assert len(again.versions) == 1


def test_gaps_of_all_accounts_are_filled_and_told_of(
    outbox: Outbox, chain: FakeChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Pen):
        address = "0x" + "22" * 20

    count = chain.eth_getTransactionCount
    monkeypatch.setattr(
        chain,
        "eth_getTransactionCount",
        lambda who, tag: count(who, tag) if who == ME else "0x0",
        raising=False,
    )
    sent_after(outbox, chain, [0, 1])

    filled = clear_on_start(outbox, chain, [Pen(), Other()])

    assert [(attempt.sender, attempt.nonce) for attempt in filled] == [(ME, 0), (ME, 1)]


def test_version_of_ours_that_is_refused_is_raised_until_it_is_taken(outbox: Outbox, chain: FakeChain) -> None:
    """The nonce was filled before; the node lost that, and has a dearer one of somebody else's."""
    clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))
    lost(chain, 0)
    foreign(chain, 0, 400 * UNIT, 2 * UNIT)
    chain.base_fee *= 2

    (filled,) = clear(outbox, chain, SenderAccount(Pen()), stuck())

    assert (at(chain, 0)["to"], at(chain, 0)["data"]) == (ME, "0x")
    assert filled.newest.fees.max_fee_per_gas_wei == at(chain, 0)["maxFeePerGas"] >= 440 * UNIT
    assert len(outbox.attempts(CHAIN)) == 1


def test_a_chain_short_of_one_final_transaction_is_another_and_no_shorter_is(outbox: Outbox, chain: FakeChain) -> None:
    """The chain must have counted past the highest nonce that is final, be that 0."""
    sent(outbox, chain, 0)
    chain.mine(0, heard=False)
    assert isinstance(RULES.confirmations, int)
    chain.blocks += [[]] * (RULES.confirmations + 1)
    for _ in range(2):
        outbox.advance(chain, [Pen()], len(chain.blocks) - 1)
    assert survey(outbox, chain, ME) == []

    with pytest.raises(NonceGap) as caught:
        survey(outbox, FakeChain(), ME)

    assert (caught.value.nonce, caught.value.next_nonce) == (0, 0)


def test_what_was_planned_and_never_signed_stands_in_no_way(outbox: Outbox, chain: FakeChain) -> None:
    outbox.journal.plan(Intent(CHAIN, VAULT, 0, VAULT, "0x01", 1, ""), ME)

    assert survey(outbox, chain, ME) == []


def test_cap_that_leaves_no_room_for_any_offer_is_said_with_both_numbers(outbox: Outbox, chain: FakeChain) -> None:
    """A version that is refused leaves its attempt open: at the end it is the cap that is in the way."""
    clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))
    lost(chain, 0)
    chain.base_fee *= 2
    chain.refuses = True

    with pytest.raises(FeeAboveCap) as caught:
        clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))

    assert (caught.value.base_fee_wei, caught.value.cap_wei) == (chain.base_fee, CAP)


def test_gap_is_filled_by_a_keeper_that_was_killed_before_it_had_signed(outbox: Outbox, chain: FakeChain) -> None:
    class Killed(Pen):
        def sign(self, _transaction: Any) -> Any:
            raise KeyboardInterrupt

    sent_after(outbox, chain, [0])
    with pytest.raises(KeyboardInterrupt):
        clear_on_start(outbox, chain, [Killed()])
    assert [one.state for one in outbox.journal.of_epoch(CHAIN, ME, 0)] == [AttemptState.PLANNED]

    (filled,) = clear_on_start(outbox, chain, [Pen()])

    assert (filled.nonce, filled.state) == (0, AttemptState.SENT)
    assert survey(outbox, chain, ME) == []
    assert [one.state for one in outbox.journal.of_epoch(CHAIN, ME, 0)] == [
        *(AttemptState.SENT, AttemptState.FAILED),
    ]


def test_nonce_that_is_filled_twice_at_one_price_is_sent_twice_and_signed_once(
    outbox: Outbox, chain: FakeChain
) -> None:
    (first,) = clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))
    lost(chain, 0)

    (again,) = clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))

    assert again.versions[0].raw == first.newest.raw
    assert len(again.versions) == len(outbox.attempts(CHAIN)) == 1
    assert at(chain, 0)["data"] == "0x"


def test_offers_double_until_the_cap_is_near_and_their_tips_with_them(outbox: Outbox, chain: FakeChain) -> None:
    chain.refuses = True
    chain.base_fee = 20 * UNIT
    with pytest.raises(RpcRejected):
        clear(outbox, chain, SenderAccount(Pen()), stuck(NonceFault.GAP))

    steps = [version.fees for attempt in outbox.attempts(CHAIN) for version in attempt.versions]
    for low, high in pairwise(steps):
        doubled = min(2 * low.max_fee_per_gas_wei, max(CAP * 8 // 9, low.max_fee_per_gas_wei))
        assert high.max_fee_per_gas_wei == doubled + -(-doubled // 8)
        tip = 2 * low.max_priority_fee_per_gas_wei
        assert high.max_priority_fee_per_gas_wei == tip + -(-tip // 8)
    assert len(steps) > 3
