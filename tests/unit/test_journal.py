"""The outbox's journal: what it counts, what it takes over from another machine, and what it refuses to write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import Receipt
from rebalancer.errors import OutboxMissing, OutboxUnreadable, OutboxUnwritable
from rebalancer.send.attempt import (
    Attempt,
    AttemptState,
    HandedOver,
    Intent,
    Kind,
    SignedVersion,
    Version,
)
from rebalancer.send.fees import GasFees
from rebalancer.send.journal import Journal, read_attempts

ME, OTHER, VAULT = "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "aa" * 20
NOW, DAY = 1_700_000_000, 86_400
TAKEN_OVER = "replaced by an attempt of another machine"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [NOW]
    monkeypatch.setattr("time.time", lambda: float(now[0]))
    return now


@pytest.fixture
def journal(tmp_path: Path, clock: list[int]) -> Iterator[Journal]:
    assert clock
    made = Journal(tmp_path / "outbox.sqlite")
    yield made
    made.close()


def intent(epoch: int = 0, chain_id: int = 1, data: str = "0x01") -> Intent:
    return Intent(chain_id, VAULT, epoch, VAULT, data, 10, "a test", 77)


def signed(name: str, fee: int = 3, beside: int = 0) -> SignedVersion:
    return SignedVersion(name.encode(), f"0x{name}", 10, GasFees(fee, 1), beside)


def attempt(journal: Journal, epoch: int, nonce: int, *names: str, sender: str = ME, fee: int = 3) -> Attempt:
    """An attempt with a version of each name, signed and not sent."""
    found = journal.plan(intent(epoch), sender)
    for at, name in enumerate(names):
        kind = Kind.BUMP if at else Kind.ORIGINAL
        found = journal.add_version(found, kind, nonce, 5 + at, signed(name, fee + at))
    return found


def held(journal: Journal, one: Attempt, state: AttemptState, gas: int = 7, beside: int = 0) -> Attempt:
    receipt = Receipt(str(one.newest.transaction_hash), 9, "0xblock", gas, None, (), 2, True, beside)
    return journal.hold(one, state, receipt)


def handed(epoch: int, nonce: int, *names: str, kind: Kind = Kind.BUMP, chain_id: int = 1) -> HandedOver:
    """What another machine signed: an original, and what follows it of a kind."""
    versions = tuple(
        Version(0, kind if at else Kind.ORIGINAL, name.encode(), f"0x{name}", 10, GasFees(3, 1), 40, 0)
        for at, name in enumerate(names)
    )
    return HandedOver(replace(intent(epoch, chain_id), vault="0x" + "AA" * 20), ME, nonce, versions)


def names(one: Attempt) -> list[str]:
    return [version.transaction_hash[2:] for version in one.versions]


# What is taken over


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (None, AttemptState.SENT),
        (Kind.BUMP, AttemptState.BUMPED),
        (Kind.CANCELLATION, AttemptState.CANCELLING),
    ],
)
def test_what_another_machine_signed_counts_as_sent_and_once(
    journal: Journal, kind: Kind | None, state: AttemptState
) -> None:
    one = handed(4, 2, "a", kind=Kind.BUMP) if kind is None else handed(4, 2, "a", "b", kind=kind)

    (found,) = journal.adopt([one])

    assert (found.state, found.nonce, found.sender, found.note) == (state, 2, ME, "")
    assert one.state is state
    assert found.intent == replace(intent(4), vault=VAULT)
    assert [(v.kind, v.raw, v.height) for v in found.versions] == [(v.kind, v.raw, 40) for v in one.versions]
    assert (found.planned_at, found.changed_at) == (NOW, NOW)
    assert journal.adopt([one]) == []
    assert journal.attempts(1) == [found]


def test_of_several_at_one_nonce_or_one_epoch_the_last_lives(journal: Journal) -> None:
    found = journal.adopt(
        [
            *(handed(0, 0, "a"), handed(1, 0, "b"), handed(1, 1, "c"), handed(2, 2, "d")),
            handed(1, 1, "e", chain_id=10),
        ]
    )

    assert [(names(one), one.state, one.note) for one in found] == [
        (["a"], AttemptState.FAILED, TAKEN_OVER),
        (["b"], AttemptState.FAILED, TAKEN_OVER),
        (["c"], AttemptState.SENT, ""),
        (["d"], AttemptState.SENT, ""),
        (["e"], AttemptState.SENT, ""),
    ]


@pytest.mark.parametrize(("epoch", "nonce"), [(0, 5), (5, 0), (0, 0)])
def test_what_this_journal_alone_has_at_its_nonce_or_epoch_was_never_sent(
    journal: Journal, epoch: int, nonce: int
) -> None:
    mine = attempt(journal, 0, 0, "mine")
    elsewhere = attempt(journal, 9, 9, "elsewhere")

    (found,) = journal.adopt([handed(epoch, nonce, "theirs")])

    assert found.state is AttemptState.SENT
    lost = journal.get(mine.id)
    assert (lost.state, lost.note) == (AttemptState.FAILED, TAKEN_OVER)
    assert journal.get(elsewhere.id) == elsewhere


@pytest.mark.parametrize("state", [AttemptState.MINED, AttemptState.FINAL, AttemptState.CANCELLED])
@pytest.mark.parametrize(("epoch", "nonce"), [(0, 5), (5, 0), (0, 0)])
def test_what_a_block_holds_here_gives_way_to_nothing(
    journal: Journal, state: AttemptState, epoch: int, nonce: int
) -> None:
    """A cancelled epoch alone may be tried anew, at another nonce."""
    mine = attempt(journal, 0, 0, "mine")
    if state is AttemptState.CANCELLED:
        mine = journal.add_version(mine, Kind.CANCELLATION, 0, 6, signed("no"))
        mine = held(journal, mine, state)
    else:
        mine = held(journal, mine, AttemptState.MINED)
        mine = journal.finalise(mine) if state is AttemptState.FINAL else mine

    (found,) = journal.adopt([handed(epoch, nonce, "theirs")])

    lives = state is AttemptState.CANCELLED and nonce == 5
    assert (found.state, found.note) == ((AttemptState.SENT, "") if lives else (AttemptState.FAILED, TAKEN_OVER))
    assert journal.get(mine.id) == mine


def test_what_both_signed_counts_as_sent_and_takes_what_the_other_went_on_with(
    journal: Journal,
) -> None:
    mine = attempt(journal, 0, 0, "a")
    (found,) = journal.adopt([handed(0, 0, "a")])
    assert (found.id, found.state) == (mine.id, AttemptState.SENT)

    (found,) = journal.adopt([handed(0, 0, "a", "b", "c")])
    assert (found.id, names(found), found.state) == (mine.id, ["a", "b", "c"], AttemptState.BUMPED)
    (found,) = journal.adopt([handed(0, 0, "a", "b", "c", "d", kind=Kind.CANCELLATION)])
    assert (names(found), found.state, found.note) == (
        ["a", "b", "c", "d"],
        AttemptState.CANCELLING,
        "",
    )
    assert journal.adopt([handed(0, 0, "a", "b")]) == []


def test_a_version_that_was_never_sent_goes_where_another_machine_went_on_without_it(
    journal: Journal,
) -> None:
    """Sent now, it would undo what that one did. One that was sent stays; and where nobody went on, all stay."""
    mine = attempt(journal, 0, 0, "a", "sent", "unsent")
    journal.record_sending(mine.versions[1], "https://node", "")
    assert journal.adopt([handed(0, 0, "a")]) == []
    assert names(journal.get(mine.id)) == ["a", "sent", "unsent"]

    (found,) = journal.adopt([handed(0, 0, "a", "theirs")])

    assert names(found) == ["a", "sent", "theirs"]
    assert found.state is AttemptState.BUMPED


@pytest.mark.parametrize(
    ("more", "followed", "state"),
    [
        (False, False, AttemptState.FAILED),
        (True, False, AttemptState.BUMPED),
        (False, True, AttemptState.SENT),
        (True, True, AttemptState.BUMPED),
    ],
)
def test_what_was_refused_here_lives_again_where_another_machine_made_more_of_it_or_after_it(
    journal: Journal, more: bool, followed: bool, state: AttemptState
) -> None:
    mine = attempt(journal, 0, 0, "a")
    journal.advance(mine, AttemptState.FAILED, note="refused")
    news = [handed(0, 0, "a", *(["b"] if more else []))]
    news += [handed(1, 1, "after")] if followed else []

    changed = journal.adopt(news)

    found = journal.get(mine.id)
    assert found.state is state
    assert found.note == ("refused" if state is AttemptState.FAILED else "")
    assert (mine.id in [one.id for one in changed]) is (more or followed)


def test_what_a_contract_refused_in_a_block_stays_refused(journal: Journal) -> None:
    mine = held(journal, attempt(journal, 0, 0, "a"), AttemptState.FAILED)

    (found, _) = journal.adopt([handed(0, 0, "a", "b"), handed(1, 1, "after")])

    assert (found.state, names(found)) == (AttemptState.FAILED, ["a", "b"])
    assert journal.get(mine.id).block_number == 9


def test_what_both_signed_gives_way_where_a_later_one_took_its_nonce(journal: Journal) -> None:
    mine = attempt(journal, 0, 0, "a")

    found = journal.adopt([handed(0, 0, "a"), handed(1, 0, "b")])

    assert [(names(one), one.state) for one in found] == [
        (["a"], AttemptState.FAILED),
        (["b"], AttemptState.SENT),
    ]
    assert journal.get(mine.id).note == TAKEN_OVER


def test_what_lives_again_has_what_took_its_nonce_here_give_way(journal: Journal) -> None:
    mine = journal.advance(attempt(journal, 0, 0, "a"), AttemptState.FAILED, note="refused")
    rival = attempt(journal, 1, 0, "rival")

    (found,) = journal.adopt([handed(0, 0, "a", "b")])

    assert (found.id, found.state) == (mine.id, AttemptState.BUMPED)
    assert journal.get(rival.id).state is AttemptState.FAILED


def test_what_lives_again_has_what_took_its_epoch_here_give_way(journal: Journal) -> None:
    mine = journal.advance(attempt(journal, 0, 0, "a"), AttemptState.FAILED, note="refused")
    rival = attempt(journal, 0, 1, "rival")

    (found,) = journal.adopt([handed(0, 0, "a", "b")])

    assert (found.id, found.state) == (mine.id, AttemptState.BUMPED)
    assert journal.get(rival.id).state is AttemptState.FAILED


def test_of_two_attempts_signed_to_the_same_bytes_the_later_is_meant(journal: Journal) -> None:
    first = journal.advance(attempt(journal, 0, 0, "a"), AttemptState.FAILED, note="refused")
    second = attempt(journal, 0, 0, "a")

    (found,) = journal.adopt([handed(0, 0, "a")])

    assert (found.id, found.state) == (second.id, AttemptState.SENT)
    assert journal.get(first.id).note == "refused"


# What is counted


def test_what_a_day_costs_is_what_was_mined_and_the_worst_of_what_was_not(journal: Journal, clock: list[int]) -> None:
    attempt(journal, 0, 0, "a", "b", fee=3)  # 10 gas at 4
    assert journal.spent_wei(1, ME, NOW) == 40
    mined = held(journal, attempt(journal, 1, 1, "c"), AttemptState.MINED, gas=7, beside=5)
    assert mined.cost_wei == 7 * 2 + 5
    assert journal.spent_wei(1, ME, NOW) == 40 + 19
    refused = attempt(journal, 2, 2, "d", fee=100)
    journal.advance(refused, AttemptState.FAILED, note="refused")
    attempt(journal, 2, 2, "e", fee=50)
    assert journal.spent_wei(1, ME, NOW) == 40 + 19 + 1_000, "of one nonce the dearest"
    journal.plan(intent(3), ME)
    assert journal.spent_wei(1, OTHER, NOW) == journal.spent_wei(10, ME, NOW) == 0

    for later in (DAY - 1, DAY):
        open_wei, recent_wei = 40 + 500, 19 + 500
        assert journal.spent_wei(1, ME, NOW + later) == open_wei + (recent_wei if later < DAY else 0)
    clock[0] += 50
    held(journal, journal.of_epoch(1, VAULT, 2)[0], AttemptState.MINED, gas=1)
    assert journal.spent_wei(1, ME, NOW + DAY + 49) == 42
    assert journal.spent_wei(1, ME, NOW + DAY + 50) == 40


def test_a_mined_transaction_whose_cost_nobody_told_counts_at_its_worst(journal: Journal) -> None:
    one = held(journal, attempt(journal, 0, 0, "a"), AttemptState.MINED)
    journal.connection.execute("UPDATE attempts SET gas_used = NULL WHERE id = ?", (one.id,))
    assert journal.get(one.id).cost_wei is None
    assert journal.spent_wei(1, ME, NOW) == 30
    # Where it shares its nonce with what was refused, it is the one that counts.
    journal.connection.execute("UPDATE attempts SET gas_used = 0 WHERE id = ?", (one.id,))
    assert journal.spent_wei(1, ME, NOW) == 0


def test_nonces_are_known_by_account_whatever_became_of_them(journal: Journal) -> None:
    journal.advance(attempt(journal, 0, 3, "a"), AttemptState.FAILED)
    attempt(journal, 1, 4, "b")
    attempt(journal, 2, 9, "c", sender=OTHER)
    journal.plan(intent(3), ME)

    assert journal.known_nonces(1, ME, 0) == {3, 4}
    assert journal.known_nonces(1, ME, 4) == {4}
    assert journal.known_nonces(10, ME, 0) == set()
    highest = journal.highest_nonce(1, ME)
    assert highest is not None
    assert highest.nonce == 4
    assert journal.highest_nonce(1, "0x") is None
    assert [one.nonce for one in journal.unsettled(1)] == [None, 4, 9]
    assert [one.nonce for one in journal.unsettled(1, OTHER)] == [9]
    assert [one.nonce for one in journal.watched(1)] == [None, 3, 4, 9]
    attempt(journal, 4, 0, "d")
    assert [one.nonce for one in journal.unsettled(1)] == [None, 0, 4, 9]
    assert [one.nonce for one in journal.watched(1)] == [None, 0, 3, 4, 9]


def test_an_attempt_is_found_by_its_number_or_not_at_all(journal: Journal) -> None:
    one = attempt(journal, 0, 0, "a")

    assert journal.find(one.id) == one
    assert journal.find(one.id + 1) is None


def test_an_attempt_shows_the_version_that_a_block_holds_or_else_its_newest(
    journal: Journal,
) -> None:
    planned = journal.plan(intent(), ME)
    assert (planned.transaction_hash, planned.raw, planned.cost_wei) == (None, None, None)
    with pytest.raises(AssertionError, match="never signed"):
        _ = planned.newest
    one = journal.add_version(planned, Kind.ORIGINAL, 0, 5, signed("a"))
    one = journal.add_version(one, Kind.BUMP, 0, 6, signed("b", 4))
    assert (one.transaction_hash, one.raw, one.standing) == ("0xb", b"b", AttemptState.BUMPED)
    receipt = Receipt("0xa", 9, "0xblock", 7, None, (), 2, True)
    mined = journal.hold(one, AttemptState.MINED, receipt, "held")
    assert (mined.transaction_hash, mined.raw, mined.note) == ("0xa", b"a", "held")
    assert (mined.mined_at, mined.gas_price_wei, mined.block_hash) == (NOW, 2, "0xblock")

    back = journal.take_back(mined, AttemptState.BUMPED, "a reorg")

    assert (back.mined_hash, back.block_number, back.gas_used, back.mined_at) == (None,) * 4
    assert (back.transaction_hash, back.state, back.note) == ("0xb", AttemptState.BUMPED, "a reorg")


def test_when_a_block_first_held_it_stays_and_what_is_final_may_be_taken_back(
    journal: Journal, clock: list[int]
) -> None:
    one = held(journal, attempt(journal, 0, 0, "a"), AttemptState.MINED, beside=3)
    clock[0] += 100
    again = journal.hold(one, AttemptState.MINED, Receipt("0xa", 10, "0xother", 7, None, (), 2, True))
    assert (again.mined_at, again.changed_at, again.block_number) == (NOW, NOW + 100, 10)
    final = journal.finalise(again)
    assert (final.state, final.is_final) == (AttemptState.FINAL, True)
    assert journal.watched(1) == []
    back = journal.take_back(final, AttemptState.SENT, "")
    assert (back.is_final, back.beside_gas_wei) == (False, 0)
    assert journal.watched(1) == [back]
    failed = journal.finalise(journal.advance(back, AttemptState.FAILED))
    assert (failed.state, failed.is_final) == (AttemptState.FAILED, True)


def test_a_state_that_cannot_follow_is_refused(journal: Journal) -> None:
    one = attempt(journal, 0, 0, "a")
    with pytest.raises(AssertionError, match="from signed to final"):
        journal.advance(one, AttemptState.FINAL)
    assert journal.get(one.id) == one


def test_answers_of_an_endpoint_replace_each_other_and_are_kept_by_version(journal: Journal, clock: list[int]) -> None:
    one = attempt(journal, 0, 0, "a", "b")
    assert not one.newest.is_refused
    journal.record_sending(one.newest, "https://x", "no")
    journal.record_sending(one.newest, "https://y", "no")
    assert journal.get(one.id).newest.is_refused
    clock[0] += 5
    journal.record_sending(journal.get(one.id).newest, "https://y", "no")
    journal.record_sending(journal.get(one.id).newest, "https://x", "")

    found = journal.get(one.id)

    assert [(each.endpoint, each.answer, each.at - NOW) for each in found.newest.sendings] == [
        ("https://y", "no", 0),
        ("https://x", "", 5),
    ]
    assert found.versions[0].sendings == ()
    assert not found.newest.is_refused


def test_a_note_is_logged_once_and_kept_short(journal: Journal) -> None:
    one = attempt(journal, 0, 0, "a")
    with capture_logs() as logs:
        one = journal.annotate(one, "n" * 2_000)
        journal.annotate(journal.get(one.id), "x")
        again = journal.annotate(journal.get(one.id), "x")

    assert [entry["event"] for entry in logs] == ["attempt", "attempt"]
    assert again.note == "x"
    assert one.note.startswith("n" * 999)
    assert len(one.note) == 1_000


@pytest.mark.parametrize("epoch", [0, 7, -5])
def test_what_is_logged_of_an_attempt_names_its_epoch_unless_it_has_none(journal: Journal, epoch: int) -> None:
    data = interface("BasketVault").at(VAULT).data("poke")
    with capture_logs() as logs:
        journal.plan(intent(epoch, data=data), ME)

    assert logs == [
        {
            "event": "attempt",
            "log_level": "info",
            "state": "planned",
            "vault": VAULT,
            "epoch": epoch if epoch >= 0 else None,
            "nonce": None,
            "tx": None,
            "note": None,
            "kind": "poke",
            "chain_id": 1,
        }
    ]


# The file


def test_who_only_looks_sees_all_while_the_outbox_is_open(journal: Journal) -> None:
    attempt(journal, 0, 0, "a", "b")
    journal.plan(intent(0, chain_id=10), ME)

    assert read_attempts(journal.path, 1) == journal.attempts(1)
    assert len(read_attempts(journal.path, 10)) == 1
    assert read_attempts(journal.path, 5) == []


def test_who_only_looks_is_told_what_is_no_outbox(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    with pytest.raises(OutboxMissing) as missing:
        read_attempts(path, 1)
    assert missing.value.path == path
    assert not path.exists()
    sqlite3.connect(path).executescript("CREATE TABLE theirs (id); PRAGMA user_version = 3;")
    with pytest.raises(OutboxUnreadable, match="another program") as caught:
        read_attempts(path, 1)
    assert caught.value.path == path
    Journal(tmp_path / "old.sqlite").close()
    old = sqlite3.connect(tmp_path / "old.sqlite")
    old.execute("PRAGMA user_version = 2")
    old.close()
    with pytest.raises(OutboxUnreadable, match="its version 2 is not 3") as caught:
        read_attempts(tmp_path / "old.sqlite", 1)
    assert caught.value.path == tmp_path / "old.sqlite"


def test_errors_that_only_a_mistake_causes_stay_what_they_are(journal: Journal) -> None:
    attempt(journal, 0, 0, "a")
    with pytest.raises(sqlite3.IntegrityError):
        attempt(journal, 0, 1, "b")
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        journal.select("nobody = 1")


def test_a_version_that_cannot_be_written_changes_nothing(journal: Journal) -> None:
    one = attempt(journal, 0, 0, "a")
    other = attempt(journal, 1, 1, "b")
    with pytest.raises(sqlite3.IntegrityError):
        journal.add_version(other, Kind.BUMP, 0, 5, signed("c"))  # the nonce is the other's
    assert journal.attempts(1) == [one, other]
    journal.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OutboxUnwritable):
        journal.add_version(one, Kind.BUMP, 0, 5, signed("c"))
    journal.connection.execute("PRAGMA query_only = OFF")
    assert journal.attempts(1) == [one, other]


def test_a_change_that_sqlite_itself_takes_back_is_said_as_it_is(journal: Journal) -> None:
    one = attempt(journal, 0, 0, "a")
    journal.connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON versions BEGIN SELECT raise(ROLLBACK, 'full'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        journal.add_version(one, Kind.BUMP, 0, 5, signed("b"))
