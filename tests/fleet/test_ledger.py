"""What a machine that takes over adopts from the ledger, and what its journal then says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.chain import l1_fees
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import LeaseLost, LedgerUnreadable, SpendLimitReached, TokenStale
from rebalancer.fleet.lease import Lease
from rebalancer.fleet.ledger import Ledger
from rebalancer.fleet.names import lease_name
from rebalancer.fleet.redis_state import LocalState, SharedState
from rebalancer.send.attempt import Attempt, AttemptState, Intent, Kind, SignedVersion
from rebalancer.send.fees import GasFees
from rebalancer.send.journal import Journal
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from rebalancer.send.signer import devnet_signer

CHAIN = 31337
SIGNER = devnet_signer(6)
OTHER = devnet_signer(7)
VAULT = "0x" + "aa" * 20
OTHER_VAULT = "0x" + "bb" * 20
GWEI = 10**9
BESIDE_GAS_WEI = 10**20
"""What a rollup may charge beside gas: more than SQLite's integers hold."""


class Machine:
    """A journal, and a lease when it has one."""

    def __init__(self, folder: Path, state: SharedState, name: str) -> None:
        self.journal = Journal(folder / f"{name}.sqlite")
        self.state = state
        self.name = name
        self.lives = 0

    def lead(self) -> list[Attempt]:
        """Take the lease as a new process does, and adopt."""
        self.lives += 1
        self.lease = Lease(self.state, lease_name(CHAIN, SIGNER.address), f"{self.name}-{self.lives}", 60.0)
        assert self.lease.take()
        self.ledger = Ledger({self.lease.name: self.lease})
        return self.ledger.adopt_into(self.journal)

    def end(self) -> None:
        self.lease.release()

    def sign(
        self,
        nonce: int,
        epoch: int,
        *,
        vault: str = VAULT,
        kind: Kind = Kind.ORIGINAL,
        attempt: Attempt | None = None,
        gwei: int = 1,
    ) -> Attempt:
        """Journal a signed version, as the outbox does before it stores it."""
        intent = Intent(CHAIN, vault, epoch, vault, "0x1234", 100_000, "a band is broken", 77)
        attempt = attempt or self.journal.plan(intent, SIGNER.address)
        fees = GasFees(gwei * GWEI, gwei * GWEI)
        signed = SIGNER.sign(
            {
                "type": 2,
                "chainId": CHAIN,
                "nonce": nonce,
                "to": SIGNER.address if kind is Kind.CANCELLATION else intent.to,
                "data": "0x" if kind is Kind.CANCELLATION else intent.data,
                "value": 0,
                "gas": intent.gas_limit,
                "maxFeePerGas": fees.max_fee_per_gas_wei,
                "maxPriorityFeePerGas": fees.max_priority_fee_per_gas_wei,
            }
        )
        version = SignedVersion(signed.raw, signed.hash, intent.gas_limit, fees, BESIDE_GAS_WEI)
        return self.journal.add_version(attempt, kind, nonce, 5, version)

    def send(self, nonce: int, epoch: int, *, vault: str = VAULT, gwei: int = 1) -> Attempt:
        """Sign, store and send, as far as the journal knows."""
        attempt = self.sign(nonce, epoch, vault=vault, gwei=gwei)
        self.ledger.store(attempt)
        return self.journal.advance(attempt, AttemptState.SENT)

    def bump(self, attempt: Attempt, kind: Kind = Kind.BUMP, gwei: int = 2) -> Attempt:
        attempt = self.sign(attempt.nonce or 0, attempt.intent.epoch, kind=kind, attempt=attempt, gwei=gwei)
        self.ledger.store(attempt)
        return attempt

    @property
    def said(self) -> list[tuple[int | None, int, AttemptState]]:
        """Nonce, epoch and state of every attempt."""
        return [(a.nonce, a.intent.epoch, a.state) for a in self.journal.attempts(CHAIN)]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    state = LocalState()
    anna, bert = Machine(tmp_path, state, "anna"), Machine(tmp_path, state, "bert")
    yield anna, bert
    anna.journal.close()
    bert.journal.close()


def held(attempt: Attempt) -> Receipt:
    """A block that holds an attempt's newest version."""
    return Receipt(
        transaction_hash=attempt.newest.transaction_hash,
        block_number=9,
        block_hash="0x" + "99" * 32,
        succeeded=True,
        gas_used=21_000,
        gas_price_wei=GWEI,
        logs=(),
        contract_address=None,
    )


# Refusals


def test_ledger_refuses_an_account_it_has_no_lease_for(machines: tuple[Machine, Machine]) -> None:
    anna, _ = machines
    anna.lead()
    with pytest.raises(LeaseLost, match="never taken"):
        anna.ledger.check(CHAIN, OTHER.address)
    with pytest.raises(LeaseLost, match="never taken"):
        anna.ledger.check(1, SIGNER.address)


def test_ledger_refuses_what_a_former_leader_signed(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    attempt = anna.sign(0, 1)
    anna.state.release(anna.lease.name, anna.lease.holder, anna.lease.token)  # behind its back
    bert.lead()

    with pytest.raises(TokenStale):
        anna.ledger.store(attempt)
    assert anna.state.entries(anna.lease.name) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda entry: entry | {"raw": entry["raw"][:-2] + "00"}, "signed it|another"),
        (lambda entry: entry | {"gas_limit": 1}, "its gas differs from the signed transaction"),
        (lambda entry: entry | {"intent": entry["intent"] | {"chain_id": 1}}, "another chain"),
        (lambda entry: {"raw": entry["raw"]}, "an unknown format"),
        (lambda entry: entry | {"raw": "0x"}, "cannot be read"),
        (lambda entry: entry | {"kind": "cancellation"}, "its call differs from its intent"),
        (lambda entry: entry | {"intent": entry["intent"] | {"data": "0x99"}}, "its call differs"),
        (lambda entry: entry | {"beside_gas_wei": -1}, "its rollup fee is negative"),
    ],
)
def test_entry_that_lies_is_refused(machines: tuple[Machine, Machine], change: object, why: str) -> None:
    anna, bert = machines
    anna.lead()
    anna.send(0, 1)
    ((key, text),) = anna.state.entries(anna.lease.name)
    assert callable(change)
    anna.state.drop(anna.lease.name, anna.lease.token, [key])
    lie = json.dumps(change(json.loads(text)))
    anna.state.put(anna.lease.name, anna.lease.token, {key: lie})
    anna.end()

    with pytest.raises(LedgerUnreadable, match=why):
        bert.lead()
    assert bert.said == []


def test_entry_under_another_key_is_refused(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    anna.send(0, 1)
    ((_, text),) = anna.state.entries(anna.lease.name)
    anna.state.put(anna.lease.name, anna.lease.token, {"1:0x12": text})
    anna.end()

    with pytest.raises(LedgerUnreadable, match="its key is of another transaction"):
        bert.lead()


# Taking over


def test_new_leader_adopts_what_was_sent_to_the_byte(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    assert anna.lead() == []
    sent = anna.bump(anna.send(0, 1))
    anna.end()

    (adopted,) = bert.lead()

    assert adopted.state is AttemptState.BUMPED
    assert (adopted.intent, adopted.sender, adopted.nonce) == (sent.intent, sent.sender, 0)
    assert [v.raw for v in adopted.versions] == [v.raw for v in sent.versions]
    assert [v.transaction_hash for v in adopted.versions] == [v.transaction_hash for v in sent.versions]
    assert [v.kind for v in adopted.versions] == [Kind.ORIGINAL, Kind.BUMP]
    assert [v.fees for v in adopted.versions] == [v.fees for v in sent.versions]
    assert adopted.newest.height == 5


def test_adopting_twice_changes_nothing_more(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    anna.send(0, 1)
    anna.end()
    assert len(bert.lead()) == 1
    bert.end()

    assert bert.lead() == []
    bert.end()
    assert anna.lead() == []
    assert anna.said == bert.said == [(0, 1, AttemptState.SENT)]


def test_cancellation_of_another_machine_goes_on_as_one(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    anna.send(0, 1)
    anna.end()
    (adopted,) = bert.lead()
    bert.bump(adopted, Kind.CANCELLATION)
    bert.end()

    (changed,) = anna.lead()

    assert changed.state is AttemptState.CANCELLING
    assert len(changed.versions) == 2
    assert anna.said == [(0, 1, AttemptState.CANCELLING)]


def test_version_that_was_never_stored_gives_way_to_the_one_that_was(
    machines: tuple[Machine, Machine],
) -> None:
    anna, bert = machines
    anna.lead()
    anna.sign(0, 1)  # killed between its journal and the ledger
    anna.end()
    assert bert.lead() == []
    bert.send(0, 1, vault=OTHER_VAULT, gwei=3)
    bert.send(1, 1, gwei=3)
    bert.end()

    anna.lead()

    assert anna.said == [
        (0, 1, AttemptState.FAILED),
        (0, 1, AttemptState.SENT),
        (1, 1, AttemptState.SENT),
    ]
    assert "another machine" in anna.journal.attempts(CHAIN)[0].note


def test_version_that_was_never_stored_stays_where_nobody_took_its_place(
    machines: tuple[Machine, Machine],
) -> None:
    anna, bert = machines
    anna.lead()
    anna.sign(0, 1)
    anna.end()
    bert.lead()
    bert.end()

    assert anna.lead() == []
    assert anna.said == [(0, 1, AttemptState.SIGNED)]


def test_of_two_at_one_nonce_the_later_is_live(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    first = anna.sign(0, 1)
    anna.ledger.store(first)
    anna.journal.advance(first, AttemptState.FAILED, note="refused")  # by one node; another may have it
    anna.send(0, 1, vault=OTHER_VAULT, gwei=2)
    anna.end()

    bert.lead()

    assert bert.said == [(0, 1, AttemptState.FAILED), (0, 1, AttemptState.SENT)]
    assert [one.nonce for one in bert.journal.watched(CHAIN)] == [0, 0]


def test_of_two_at_one_epoch_the_later_is_live(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    cancelled = anna.bump(anna.send(0, 1), Kind.CANCELLATION)
    anna.journal.hold(cancelled, AttemptState.CANCELLED, held(cancelled))
    anna.send(1, 1, gwei=3)
    anna.end()

    bert.lead()
    bert.end()
    assert bert.said == [(0, 1, AttemptState.FAILED), (1, 1, AttemptState.SENT)]

    anna.lead()
    assert anna.said == [(0, 1, AttemptState.CANCELLED), (1, 1, AttemptState.SENT)]


def test_refused_here_and_replaced_there_is_live_again(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    attempt = anna.sign(0, 1)
    anna.ledger.store(attempt)
    anna.journal.advance(attempt, AttemptState.FAILED, note="refused")
    anna.end()
    (adopted,) = bert.lead()
    bert.bump(adopted)
    bert.end()

    (changed,) = anna.lead()

    assert changed.state is AttemptState.BUMPED
    assert anna.said == [(0, 1, AttemptState.BUMPED)]


def test_mined_here_stays_mined_whatever_the_ledger_has(
    machines: tuple[Machine, Machine],
) -> None:
    anna, bert = machines
    anna.lead()
    attempt = anna.send(0, 1)
    anna.end()
    (adopted,) = bert.lead()
    bert.bump(adopted)
    bert.end()
    anna.journal.hold(attempt, AttemptState.MINED, held(attempt))

    (changed,) = anna.lead()

    assert changed.state is AttemptState.MINED
    assert len(changed.versions) == 2


def test_final_entries_are_removed_also_by_who_was_killed_before_it_could(
    machines: tuple[Machine, Machine],
) -> None:
    anna, _ = machines
    anna.lead()
    mined = anna.send(0, 1)
    anna.send(1, 2)
    mined = anna.journal.hold(mined, AttemptState.MINED, held(mined))
    anna.journal.finalise(mined)
    assert len(anna.state.entries(anna.lease.name)) == 2
    anna.end()

    anna.lead()

    keys = [key for key, _ in anna.state.entries(anna.lease.name)]
    assert [key.partition(":")[0] for key in keys] == ["1", "spent"]
    assert anna.said == [(0, 1, AttemptState.FINAL), (1, 2, AttemptState.SENT)]


def test_lost_ledger_fills_again_with_every_version(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    attempt = anna.bump(anna.send(0, 1))
    anna.end()
    anna.state = bert.state = LocalState()
    anna.lead()
    assert anna.state.entries(anna.lease.name) == []
    anna.ledger.store(attempt)
    anna.end()

    (adopted,) = bert.lead()

    assert [v.raw for v in adopted.versions] == [v.raw for v in attempt.versions]


def test_adopted_intent_keeps_its_deadline(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    sent = anna.send(0, 1)
    anna.end()

    (adopted,) = bert.lead()

    assert adopted.intent == replace(sent.intent, deadline_block=77)


def test_bump_that_was_never_stored_stays_the_newest_of_who_signed_it(
    machines: tuple[Machine, Machine],
) -> None:
    anna, _ = machines
    anna.lead()
    sent = anna.send(0, 1)
    anna.sign(0, 1, kind=Kind.BUMP, attempt=sent, gwei=2)  # killed before it was stored
    anna.end()

    assert anna.lead() == []
    assert anna.said == [(0, 1, AttemptState.BUMPED)]


def test_cancellation_that_was_never_stored_gives_way_to_a_bump_that_was(
    machines: tuple[Machine, Machine],
) -> None:
    anna, bert = machines
    anna.lead()
    sent = anna.send(0, 1)
    anna.sign(0, 1, kind=Kind.CANCELLATION, attempt=sent, gwei=2)
    anna.end()
    (adopted,) = bert.lead()
    bert.bump(adopted, gwei=3)
    bert.end()

    (changed,) = anna.lead()

    assert changed.state is AttemptState.BUMPED
    assert [version.kind for version in changed.versions] == [Kind.ORIGINAL, Kind.BUMP]


# What an account may spend in a day


def finished(machine: Machine, nonce: int, epoch: int, days_ago: int = 0) -> int:
    """Have a transaction mined and final; what it cost, in wei."""
    sent = machine.send(nonce, epoch)
    mined = machine.journal.hold(sent, AttemptState.MINED, held(sent))
    final = machine.journal.finalise(mined)
    at = int(time.time()) - days_ago * 86_400
    machine.ledger.forget([replace(final, mined_at=at)])
    assert final.cost_wei is not None
    return final.cost_wei


def elsewhere(machine: Machine) -> int:
    return machine.ledger.spent_elsewhere_wei(CHAIN, SIGNER.address, int(time.time()))


def test_what_another_machine_spent_counts_for_a_day(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    cost = finished(anna, 0, 1)
    finished(anna, 1, 2, days_ago=1)
    assert elsewhere(anna) == 0
    anna.end()
    bert.lead()
    assert elsewhere(bert) == cost
    assert bert.ledger.spent_elsewhere_wei(CHAIN, SIGNER.address, int(time.time()) + 86_401) == 0
    more = finished(bert, 2, 3)
    bert.end()

    anna.lead()

    assert elsewhere(anna) == more
    keys = [key for key, _ in anna.state.entries(anna.lease.name)]
    assert keys == ["spent:0", "spent:2"]


def test_key_does_not_spend_more_in_a_day_for_changing_hands(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    anna, bert = machines
    anna.lead()
    cost = finished(anna, 0, 1)
    anna.end()
    bert.lead()
    bert.journal.close()
    sender = SenderAccount(SIGNER, KeyLimits(max_spend_per_day_wei=cost + 100_000 * GWEI - 1))
    rpc = Rpc("http://127.0.0.1:1")
    l1_fees._KNOWN[rpc] = l1_fees._Known(l1_fees.Rollup.NONE)
    with Outbox(tmp_path / "bert.sqlite", fence=bert.ledger) as outbox:
        intent = Intent(CHAIN, VAULT, 2, VAULT, "0x1234", 100_000, "a band is broken")
        attempt = outbox.journal.plan(intent, SIGNER.address)

        with pytest.raises(SpendLimitReached) as caught:
            outbox.delivery.sign(rpc, sender, attempt, Kind.ORIGINAL, 1, GasFees(GWEI, GWEI), 7)
    bert.journal = Journal(tmp_path / "bert.sqlite")

    assert caught.value.spent_wei == cost


@pytest.mark.parametrize("entry", [("spent:9", "{now} -1"), ("spent:9", "-1 5"), ("spent:-9", "{now} 5")])
def test_cost_below_nothing_is_refused_and_lifts_no_limit(
    machines: tuple[Machine, Machine], entry: tuple[str, str]
) -> None:
    anna, bert = machines
    anna.lead()
    key, text = entry
    said = {key: text.format(now=int(time.time()))}
    anna.state.put(anna.lease.name, anna.lease.token, said)
    anna.end()

    with pytest.raises(LedgerUnreadable, match="negative"):
        bert.lead()


def test_what_a_rollup_may_charge_counts_for_whoever_takes_over(
    machines: tuple[Machine, Machine],
) -> None:
    anna, bert = machines
    anna.lead()
    worst_wei = anna.send(0, 1).newest.worst_cost_wei
    anna.end()
    bert.lead()

    assert worst_wei == 100_000 * GWEI + BESIDE_GAS_WEI
    assert bert.journal.spent_wei(CHAIN, SIGNER.address, int(time.time())) == worst_wei


def test_cost_that_cannot_be_read_is_refused(machines: tuple[Machine, Machine]) -> None:
    anna, bert = machines
    anna.lead()
    anna.state.put(anna.lease.name, anna.lease.token, {"spent:one": "much"})
    anna.end()

    with pytest.raises(LedgerUnreadable, match="an unknown format"):
        bert.lead()
