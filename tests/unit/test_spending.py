"""What keys spend in a day, over all outboxes, against a plain account of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rebalancer.errors import SpendingUnwritable
from rebalancer.send.attempt import Attempt, AttemptState, Intent, Kind, Version
from rebalancer.send.fees import GasFees
from rebalancer.send.spending import Spending

ME, OTHER, VAULT = "0x" + "11" * 20, "0x" + "22" * 20, "0x" + "aa" * 20
NOW, DAY = 1_700_000_000, 86_400


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time of day, which a test sets."""
    now = [NOW]
    monkeypatch.setattr("time.time", lambda: float(now[0]))
    return now


@pytest.fixture
def spending(tmp_path: Path, clock: list[int]) -> Iterator[Spending]:
    assert clock
    made = Spending(tmp_path / "deep" / "spending.sqlite")
    yield made
    made.close()


def attempt(
    nonce: int,
    *worst_wei: int,
    cost_wei: int | None = None,
    sender: str = ME,
    chain_id: int = 1,
) -> Attempt:
    """An attempt whose versions may cost so much; a gas of one wei is its price."""
    versions = tuple(
        Version(at, Kind.ORIGINAL, b"", f"0x{at}", wei, GasFees(1, 1), 0, 0) for at, wei in enumerate(worst_wei)
    )
    intent = Intent(chain_id, VAULT, nonce, VAULT, "0x", 1, "")
    mined = cost_wei is not None
    return Attempt(
        id=nonce,
        intent=intent,
        sender=sender,
        state=AttemptState.MINED if mined else AttemptState.SENT,
        nonce=nonce,
        versions=versions,
        mined_hash="0x0" if mined else None,
        block_number=5 if mined else None,
        block_hash="0xb" if mined else None,
        gas_used=cost_wei,
        gas_price_wei=1 if mined else None,
        mined_at=None,
        is_final=mined,
        note="",
        planned_at=0,
        changed_at=0,
    )


def spent(spending: Spending, at: int, *mine: int, sender: str = ME, chain_id: int = 1) -> int:
    return spending.elsewhere_wei(chain_id, sender, at, mine)


def test_the_dearest_version_counts_until_the_cost_is_known(spending: Spending) -> None:
    spending.store(attempt(0, 50, 90, 70))
    assert spent(spending, NOW) == 90
    spending.store(attempt(0, 60))  # of another outbox, at the same nonce
    assert spent(spending, NOW) == 90
    spending.store(attempt(0, 60, 100))
    spending.store(attempt(1, 7))
    assert spent(spending, NOW) == 107

    spending.settle([attempt(0, 100, cost_wei=42), attempt(1, 7)])

    assert spent(spending, NOW) == 49


def test_each_key_counts_on_each_chain_apart_and_ones_own_nonces_not_at_all(
    spending: Spending,
) -> None:
    for one in (
        attempt(0, 1),
        attempt(1, 10),
        attempt(1, 100, sender=OTHER),
        attempt(1, 1_000, chain_id=10),
    ):
        spending.store(one)
    assert spent(spending, NOW) == 11
    assert spent(spending, NOW, 0) == 10
    assert spent(spending, NOW, 0, 1) == 0
    assert spent(spending, NOW, sender=OTHER) == 100
    assert spent(spending, NOW, chain_id=10) == 1_000

    spending.settle([attempt(1, cost_wei=3, chain_id=10)])

    assert spent(spending, NOW) == 11
    assert spent(spending, NOW, chain_id=10) == 3


def test_what_was_sent_a_day_ago_counts_no_more_and_a_second_less_does(spending: Spending) -> None:
    spending.store(attempt(0, 5))

    assert spent(spending, NOW + DAY - 1) == 5
    assert spent(spending, NOW + DAY) == 0


def test_the_file_forgets_what_is_a_day_old_and_nothing_sooner(spending: Spending, clock: list[int]) -> None:
    spending.store(attempt(0, 5))
    clock[0] += DAY - 1
    spending.store(attempt(1, 7))
    assert spent(spending, NOW) == 12
    clock[0] += 1
    spending.store(attempt(2, 9))

    # Asked as of then, what was forgotten would still count.
    assert spent(spending, NOW) == 16


def test_what_is_sent_again_counts_from_then_on(spending: Spending, clock: list[int]) -> None:
    spending.store(attempt(0, 5))
    clock[0] += 100
    spending.store(attempt(0, 5))

    assert spent(spending, NOW + DAY + 99) == 5
    assert spent(spending, NOW + DAY + 100) == 0


def test_a_file_that_is_closed_is_let_go_of(spending: Spending) -> None:
    spending.close()

    with pytest.raises(SpendingUnwritable, match="closed"):
        spending.store(attempt(0, 5))


def test_a_note_that_sqlite_itself_takes_back_is_said_as_sqlite_says_it(spending: Spending) -> None:
    reader = sqlite3.connect(spending.path)
    reader.execute("CREATE TRIGGER full BEFORE INSERT ON spent BEGIN SELECT raise(ROLLBACK, 'full'); END")
    reader.close()

    with pytest.raises(SpendingUnwritable, match="full"):
        spending.store(attempt(1, 7))


def test_a_note_that_fails_half_way_leaves_what_was_there(spending: Spending, clock: list[int]) -> None:
    spending.store(attempt(0, 5))
    reader = sqlite3.connect(spending.path)
    reader.execute("CREATE TRIGGER full BEFORE INSERT ON spent BEGIN SELECT raise(FAIL, 'full'); END")
    reader.close()
    clock[0] += DAY + 1

    with pytest.raises(SpendingUnwritable, match="full") as caught:
        spending.store(attempt(1, 7))

    assert caught.value.path == spending.path
    assert spent(spending, NOW) == 5, "what was deleted in the same change is back"
    other = sqlite3.connect(spending.path)
    other.execute("DROP TRIGGER full")
    other.close()
    spending.store(attempt(1, 7))
    assert spent(spending, clock[0]) == 7


def test_a_file_that_another_program_holds_is_said_with_its_path(
    spending: Spending, monkeypatch: pytest.MonkeyPatch
) -> None:
    spending._connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(spending.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpendingUnwritable, match="locked"):
        spending.store(attempt(0, 5))
    spending.settle([])  # nothing is to be noted
    spending.settle([attempt(0, 5)])
    other.execute("ROLLBACK")
    other.close()
    monkeypatch.undo()

    spending.store(attempt(0, 5))
    assert spending.elsewhere_wei(1, ME, 0, ()) == 5


def test_a_file_that_cannot_be_made_is_said_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "spending.sqlite"
    path.mkdir()
    with pytest.raises(SpendingUnwritable) as caught:
        Spending(path)

    assert (caught.value.path, caught.value.why) == (path, "Is a directory")
