"""What has been planned, signed and sent, and what became of it? The outbox's file.

An attempt is one try at an intent and holds one nonce. Its versions are the transactions signed
for that nonce: the original, dearer ones (bumps), a cancellation. At most one of them is ever
mined, and whichever a block holds decides what the attempt came to:

    planned → signed → sent → bumped ┬→ mined → final
                          └→ cancelling ┴→ cancelled        (or failed)

An epoch of a vault has at most one attempt that is neither failed nor cancelled.

SQLite in WAL mode with full synchronisation: what a method has returned from survives a loss of
power. A lock beside the file keeps every other process out; to look at it, `read_attempts` needs
no lock. Nothing here speaks to a chain.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import Receipt
from rebalancer.errors import OutboxMissing, OutboxUnreadable
from rebalancer.send.fees import Fees
from rebalancer.send.journal_file import (
    APPLICATION_ID,
    BUSY_SECONDS,
    SCHEMA_VERSION,
    begin,
    journal_error,
    lock,
    pragma,
    prepare,
)
from rebalancer.texts import safe_text

__all__ = [
    "LIVE",
    "OPEN",
    "Attempt",
    "HandedOver",
    "Intent",
    "Journal",
    "Kind",
    "Sending",
    "SignedVersion",
    "State",
    "Version",
    "read_attempts",
]

log = structlog.get_logger("rebalancer.outbox")

_DAY_SECONDS = 86_400
_LONGEST_NOTE = 1_000
"""Characters of a note: a node's words may be in it."""
_TAKEN_OVER = "another machine's attempt has taken its place"


class State(StrEnum):
    """How far an attempt has come."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    BUMPED = "bumped"
    CANCELLING = "cancelling"
    MINED = "mined"
    CANCELLED = "cancelled"
    FINAL = "final"
    FAILED = "failed"


class Kind(StrEnum):
    """What a version of an attempt is."""

    ORIGINAL = "original"
    BUMP = "bump"
    CANCELLATION = "cancellation"


OPEN = frozenset({State.PLANNED, State.SIGNED, State.SENT, State.BUMPED, State.CANCELLING})
"""No block holds it yet, as far as the journal knows."""

_STANDING: Mapping[Kind, State] = {
    Kind.ORIGINAL: State.SENT,
    Kind.BUMP: State.BUMPED,
    Kind.CANCELLATION: State.CANCELLING,
}
"""An attempt whose newest version is of that kind, and may have been sent."""

LIVE = OPEN | {State.MINED, State.FINAL}
"""No other attempt at its epoch may be made."""

_SIGNED = LIVE - {State.PLANNED}
_AFTER_SIGNING = frozenset({State.BUMPED, State.CANCELLING, State.MINED, State.FAILED})

_NEXT: Mapping[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.SIGNED, State.FAILED}),
    State.SIGNED: _AFTER_SIGNING | {State.SENT},
    State.SENT: _AFTER_SIGNING,
    State.BUMPED: _AFTER_SIGNING,
    State.CANCELLING: frozenset(
        {State.CANCELLING, State.MINED, State.CANCELLED, State.FAILED},
    ),
    # A reorg takes a block back: to the state before, or to another version in another block.
    State.MINED: _AFTER_SIGNING | {State.SENT, State.CANCELLED, State.FINAL},
    State.CANCELLED: frozenset({State.CANCELLING, State.CANCELLED, State.MINED, State.FAILED}),
    State.FINAL: frozenset({State.SENT, State.BUMPED, State.CANCELLING, State.MINED}),
    # What one node refused another may have taken; what was refused in a block is only taken back.
    State.FAILED: frozenset(
        {State.MINED, State.SENT, State.BUMPED, State.CANCELLING, State.CANCELLED, State.FAILED}
    ),
}


@dataclass(frozen=True)
class Intent:
    """What is to be sent, why, and under which key it is sent only once. Addresses are lower case.

    Once a block above `deadline_block` has come it is no longer wanted, and is cancelled. What belongs to no epoch has the number of
    the block it answers, below zero.
    """

    chain_id: int
    vault: str
    epoch: int
    to: str
    data: str
    gas_limit: int
    reason: str
    deadline_block: int | None = None

    @property
    def kind(self) -> str:
        """The vault's function that is called: "rebalance", "poke" or "sync"; "" for what only uses a nonce up."""
        functions = interface("BasketVault").functions
        names = ("rebalance", "poke", "sync")
        return next((name for name in names if functions[name].is_called_by(self.data)), "")


@dataclass(frozen=True)
class Sending:
    """What an endpoint answered to a version: empty if it took it. The endpoint is shown without its path."""

    endpoint: str
    answer: str
    at: int


@dataclass(frozen=True)
class Version:
    """One signed transaction of an attempt. `height` is the newest block when it was signed, 0 if unknown."""

    id: int
    kind: Kind
    raw: bytes
    transaction_hash: str
    gas_limit: int
    fees: Fees
    height: int
    signed_at: int
    sendings: tuple[Sending, ...] = ()
    beside_gas_wei: int = 0
    """The most that a rollup was expected to charge beside its gas."""

    @property
    def is_refused(self) -> bool:
        """Whether every endpoint that it was sent to refused it or did not answer."""
        return bool(self.sendings) and all(sending.answer for sending in self.sendings)

    @property
    def worst_cost_wei(self) -> int:
        """The most that it can cost."""
        return self.gas_limit * self.fees.max_fee_per_gas_wei + self.beside_gas_wei


@dataclass(frozen=True)
class Attempt:
    """One journalled try at an intent. `note` says why it failed or waits; times are unix seconds.

    `mined_hash` is of the version that block `block_number` holds, None while none does.
    """

    id: int
    intent: Intent
    sender: str
    state: State
    nonce: int | None
    versions: tuple[Version, ...]
    mined_hash: str | None
    block_number: int | None
    block_hash: str | None
    gas_used: int | None
    gas_price_wei: int | None
    mined_at: int | None
    is_final: bool
    note: str
    planned_at: int
    changed_at: int
    beside_gas_wei: int = 0
    """What a rollup charged beside its gas, once a block holds it."""

    @property
    def newest(self) -> Version:
        """The dearest version, which is the one to send; only of an attempt that was signed."""
        if not self.versions:
            raise AssertionError(f"attempt {self.id} is {self.state} and was never signed")
        return self.versions[-1]

    @property
    def transaction_hash(self) -> str | None:
        """Of the version that a block holds, else of the newest; None before it is signed."""
        if self.mined_hash is not None or not self.versions:
            return self.mined_hash
        return self.newest.transaction_hash

    @property
    def raw(self) -> bytes | None:
        """The transaction of that hash."""
        found = [v.raw for v in self.versions if v.transaction_hash == self.transaction_hash]
        return found[0] if found else None

    @property
    def cost_wei(self) -> int | None:
        """What it cost, its gas and what a rollup charged beside it; None while no block holds it."""
        if self.gas_used is None or self.gas_price_wei is None:
            return None
        return self.gas_used * self.gas_price_wei + self.beside_gas_wei

    @property
    def standing(self) -> State:
        """Its state as its versions have it, wherever blocks went."""
        return _STANDING[self.newest.kind]


@dataclass(frozen=True)
class HandedOver:
    """What another journal signed for one nonce and one epoch, the oldest version first."""

    intent: Intent
    sender: str
    nonce: int
    versions: tuple[Version, ...]

    @property
    def state(self) -> State:
        """How far it may have come: each of its versions may have been sent."""
        return _STANDING[self.versions[-1].kind]


class Journal:
    """The file of one outbox, open in one process at a time. Not to be shared by threads."""

    def __init__(self, path: Path) -> None:
        """Open the journal, or begin one, or bring an older one up to date.

        Raises:
            OutboxInUse: another process has it open.
            OutboxUnreadable: the file is damaged, or no outbox of a known version.
            OutboxUnwritable: it cannot be made or written.
        """
        self.path = path
        self._lock = lock(path)
        try:
            self.connection = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close the journal and let others have it."""
        self.connection.close()
        os.close(self._lock)

    # What is known

    def get(self, attempt_id: int) -> Attempt:
        """An attempt, as it stands."""
        (found,) = self.select("id = ?", attempt_id)
        return found

    def find(self, attempt_id: int) -> Attempt | None:
        """An attempt by its number, None if there is none."""
        return next(iter(self.select("id = ?", attempt_id)), None)

    def attempts(self, chain_id: int) -> list[Attempt]:
        """Every attempt on a chain, oldest first."""
        return self.select("chain_id = ?", chain_id)

    def unsettled(self, chain_id: int, sender: str | None = None) -> list[Attempt]:
        """Attempts that no block holds and that have not failed, in the order of their nonces."""
        found = self.select(
            f"chain_id = ? AND state IN ({_quoted(OPEN)}) AND (? IS NULL OR sender = ?)",
            *(chain_id, sender, sender),
        )
        return sorted(found, key=lambda attempt: (attempt.nonce or 0, attempt.id))

    def watched(self, chain_id: int) -> list[Attempt]:
        """Attempts that blocks may still change, in the order of their nonces.

        All that were signed and are not final: one that a node refused may have been taken by
        another.
        """
        found = self.select(
            "chain_id = ? AND is_final = 0 AND (state = 'planned' OR nonce IS NOT NULL)", chain_id
        )
        return sorted(found, key=lambda attempt: (attempt.nonce or 0, attempt.id))

    def of_epoch(self, chain_id: int, vault: str, epoch: int) -> list[Attempt]:
        """An epoch's attempts, the newest first: all but the first of them failed or were cancelled."""
        key = "chain_id = ? AND vault = ? AND epoch = ?"
        return self.select(key, chain_id, vault.lower(), epoch)[::-1]

    def known_nonces(self, chain_id: int, sender: str, least: int) -> set[int]:
        """Nonces from `least` on that any attempt of a sender was signed with, whatever became of it."""
        with self.guarded():
            rows = self.connection.execute(
                "SELECT DISTINCT nonce FROM attempts"
                " WHERE chain_id = ? AND sender = ? AND nonce >= ?",
                (chain_id, sender, least),
            ).fetchall()
        return {row["nonce"] for row in rows}

    def highest_nonce(self, chain_id: int, sender: str) -> Attempt | None:
        """The signed, not failed attempt of a sender with the highest nonce."""
        found = self.select(
            "id = (SELECT id FROM attempts WHERE chain_id = ? AND sender = ?"  # noqa: S608 (ours)
            f" AND state IN ({_quoted(_SIGNED | {State.CANCELLED})}) ORDER BY nonce DESC LIMIT 1)",
            *(chain_id, sender),
        )
        return found[0] if found else None

    def spent_wei(self, chain_id: int, sender: str, now: int) -> int:
        """What a sender spent on gas in the last 24 hours, and may yet spend.

        What is mined counts as what it cost; what is not, and what was refused within the 24
        hours, as the most it may cost. Of what shares a nonce only the dearest counts, or the one
        that is mined.
        """
        since = now - _DAY_SECONDS
        considered = self.select(
            f"chain_id = ? AND sender = ? AND nonce IS NOT NULL AND (state IN ({_quoted(OPEN)})"
            " OR coalesce(mined_at, changed_at) > ?)",
            *(chain_id, sender, since),
        )
        mined: dict[int, int] = {}
        worst: dict[int, int] = {}
        for attempt in considered:
            nonce = attempt.nonce or 0
            dearest = max((version.worst_cost_wei for version in attempt.versions), default=0)
            if attempt.block_number is not None:
                cost = attempt.cost_wei
                mined[nonce] = dearest if cost is None else cost
            else:
                worst[nonce] = max(worst.get(nonce, 0), dearest)
        return sum((worst | mined).values())

    # What is done

    def plan(self, intent: Intent, sender: str) -> Attempt:
        """Journal an intent, before anything is signed for it."""
        now = int(time.time())
        with self.guarded():
            (row,) = self.connection.execute(
                "INSERT INTO attempts (chain_id, vault, epoch, recipient, data, gas_limit, reason,"
                " deadline_block, sender, state, planned_at, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'planned', ?, ?) RETURNING id",
                (
                    *(intent.chain_id, intent.vault.lower(), intent.epoch, intent.to, intent.data),
                    *(intent.gas_limit, intent.reason, intent.deadline_block, sender, now, now),
                ),
            ).fetchall()
        return _logged(self.get(row["id"]))

    def add_version(
        self,
        attempt: Attempt,
        kind: Kind,
        nonce: int,
        height: int,
        version: SignedVersion,
        note: str = "",
    ) -> Attempt:
        """Journal a signed transaction, before it is sent, and the state that goes with it."""
        state = {
            Kind.ORIGINAL: State.SIGNED,
            Kind.BUMP: State.BUMPED,
            Kind.CANCELLATION: State.CANCELLING,
        }[kind]
        with self._transaction():
            self._insert_version(attempt.id, kind, version, height)
            self._update(attempt, state, nonce=nonce, note=note)
        return _logged(self.get(attempt.id))

    def advance(self, attempt: Attempt, state: State, **columns: Any) -> Attempt:
        """Journal an attempt's next state; when this returns, it is on disk."""
        with self.guarded():
            self._update(attempt, state, **columns)
        return _logged(self.get(attempt.id))

    def hold(self, attempt: Attempt, state: State, receipt: Receipt, note: str = "") -> Attempt:
        """Journal the block that holds one of an attempt's versions."""
        return self.advance(
            attempt,
            state,
            mined_hash=receipt.transaction_hash,
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            gas_used=receipt.gas_used,
            gas_price_wei=receipt.gas_price_wei,
            beside_gas_wei=str(receipt.beside_gas_wei),
            mined_at=attempt.mined_at or int(time.time()),
            is_final=0,
            note=note,
        )

    def take_back(self, attempt: Attempt, state: State, note: str) -> Attempt:
        """Journal that no block of the chain holds an attempt any more."""
        nothing = dict.fromkeys(
            ("mined_hash", "block_number", "block_hash", "gas_used", "gas_price_wei", "mined_at")
        )
        return self.advance(attempt, state, **nothing, beside_gas_wei="0", is_final=0, note=note)

    def finalise(self, attempt: Attempt) -> Attempt:
        """Journal that an attempt's block is deep enough to stay."""
        if attempt.state is State.MINED:
            return self.advance(attempt, State.FINAL, is_final=1)
        with self.guarded():
            self.connection.execute("UPDATE attempts SET is_final = 1 WHERE id = ?", (attempt.id,))
        return self.get(attempt.id)

    def annotate(self, attempt: Attempt, note: str) -> Attempt:
        """Journal why an attempt waits; said in the log once, not again while it stays true."""
        if attempt.note == note:
            return attempt
        with self.guarded():
            self.connection.execute("UPDATE attempts SET note = ? WHERE id = ?", (note, attempt.id))
        return _logged(self.get(attempt.id))

    def record_sending(self, version: Version, endpoint: str, answer: str) -> None:
        """Journal what an endpoint answered to a version, "" if it took it."""
        if any((one.endpoint, one.answer) == (endpoint, answer) for one in version.sendings):
            return
        with self.guarded():
            self.connection.execute(
                "INSERT INTO sendings (version_id, endpoint, answer, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET answer = excluded.answer, at = excluded.at",
                (version.id, endpoint, answer, int(time.time())),
            )

    def adopt(self, handed: Sequence[HandedOver]) -> list[Attempt]:
        """Journal what another machine signed for an account that is this one's now, oldest first; what that changed.

        Each counts as sent, unless this journal knows better. Of several at one nonce or one epoch the last is the live one; what this
        journal alone has at its nonce or epoch was never sent, and has failed.
        """
        changed = []
        for at, one in enumerate(handed):
            replaced = any(_compete(one, later) for later in handed[at + 1 :])
            followed = any(other.nonce > one.nonce for other in handed)
            with self._transaction():
                attempt_id = self._adopt(one, replaced, followed)
            if attempt_id is not None:
                changed.append(_logged(self.get(attempt_id)))
        return changed

    def _adopt(self, one: HandedOver, replaced: bool, followed: bool) -> int | None:
        intent = one.intent
        at_nonce = self.select(
            "chain_id = ? AND sender = ? AND nonce = ?", intent.chain_id, one.sender, one.nonce
        )
        at_epoch = self.of_epoch(intent.chain_id, intent.vault, intent.epoch)
        hashes = {version.transaction_hash for version in one.versions}
        # Two attempts may be signed to the very same bytes: the later one is meant.
        mine = next((own for own in reversed(at_nonce) if hashes & set(_hashes(own))), None)
        if mine is not None:
            at_nonce = [other for other in at_nonce if other.id != mine.id]
            at_epoch = [other for other in at_epoch if other.id != mine.id]
        held = any(other.state not in OPEN | {State.FAILED} for other in at_nonce)
        held |= any(other.state in LIVE - OPEN for other in at_epoch)
        rivals = None if replaced or held else at_nonce + at_epoch
        if mine is not None:
            return self._merge(mine, one, rivals, followed)
        state = State.FAILED if rivals is None else one.state
        self._give_way(rivals or ())
        now = int(time.time())
        (row,) = self.connection.execute(
            "INSERT INTO attempts (chain_id, vault, epoch, recipient, data, gas_limit, reason,"
            " deadline_block, sender, state, nonce, note, planned_at, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(intent.chain_id, intent.vault.lower(), intent.epoch, intent.to, intent.data),
                *(intent.gas_limit, intent.reason, intent.deadline_block, one.sender, state.value),
                *(one.nonce, _TAKEN_OVER if state is State.FAILED else "", now, now),
            ),
        ).fetchall()
        for version in one.versions:
            self._insert_version(row["id"], version.kind, version, version.height)
        return int(row["id"])

    def _merge(
        self, mine: Attempt, one: HandedOver, rivals: Sequence[Attempt] | None, followed: bool
    ) -> int | None:
        """Add to an attempt the versions that another machine made of it, and where it stands with them.

        `rivals` give way to it; None if it gives way. What was refused here is live again if another machine made more of it, or
        made something that comes after it.
        """
        missing = [v for v in one.versions if v.transaction_hash not in _hashes(mine)]
        theirs = {version.transaction_hash for version in one.versions}
        for version in mine.versions if missing else ():
            # Another machine went on without it, so it was never sent; sent now, it would undo what that one did.
            if version.transaction_hash not in theirs and not version.sendings:
                self.connection.execute("DELETE FROM versions WHERE id = ?", (version.id,))
        for version in missing:
            self._insert_version(mine.id, version.kind, version, version.height)
        refused = mine.state is State.FAILED and mine.block_number is None
        state = mine.state
        if mine.state in OPEN or (refused and (missing or followed)):
            # Where nobody went on, what this journal alone has stands, though it was never sent.
            if rivals is None:
                state = State.FAILED
            elif missing:
                state = _STANDING[missing[-1].kind]
            elif state in (State.SIGNED, State.FAILED):
                state = mine.standing
        if state is mine.state:
            return mine.id if missing else None
        if state is not State.FAILED:
            self._give_way(rivals or ())
        self._write(mine, state, note=_TAKEN_OVER if state is State.FAILED else "")
        return mine.id

    def _give_way(self, attempts: Iterable[Attempt]) -> None:
        for other in {attempt.id: attempt for attempt in attempts}.values():
            if other.state in OPEN:
                self._update(other, State.FAILED, note=_TAKEN_OVER)

    # The file

    def _insert_version(
        self, attempt_id: int, kind: Kind, version: SignedVersion | Version, height: int
    ) -> None:
        self.connection.execute(
            "INSERT INTO versions (attempt_id, kind, raw, transaction_hash, gas_limit,"
            " max_fee_per_gas_wei, max_priority_fee_per_gas_wei, beside_gas_wei, height, signed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(attempt_id, kind.value, version.raw, version.transaction_hash),
                *(version.gas_limit, version.fees.max_fee_per_gas_wei),
                *(version.fees.max_priority_fee_per_gas_wei, str(version.beside_gas_wei)),
                *(height, int(time.time())),
            ),
        )

    def select(self, condition: str, *values: Any) -> list[Attempt]:
        """The attempts of a condition that this program wrote, oldest first."""
        with self.guarded():
            return _select(self.connection, condition, values)

    def _update(self, attempt: Attempt, state: State, **columns: Any) -> None:
        if state not in _NEXT[attempt.state]:
            raise AssertionError(f"an attempt cannot go from {attempt.state} to {state}")
        self._write(attempt, state, **columns)

    def _write(self, attempt: Attempt, state: State, **columns: Any) -> None:
        columns |= {"state": state.value, "changed_at": int(time.time())}
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self.connection.execute(
            f"UPDATE attempts SET {assignments} WHERE id = ?",  # noqa: S608 (our own names)
            (*columns.values(), attempt.id),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.guarded():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        begin(self.path)
        with self.guarded():
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            with self.guarded():
                connection.row_factory = sqlite3.Row
                prepare(self.path, connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """SQLite's errors as ours.

        Raises:
            OutboxError: the file cannot be read or written.
        """
        try:
            yield
        except sqlite3.Error as error:
            expected = journal_error(self.path, error)
            if expected is None:
                raise
            raise expected from error


@dataclass(frozen=True)
class SignedVersion:
    """A signed transaction that is not yet in the journal."""

    raw: bytes
    transaction_hash: str
    gas_limit: int
    fees: Fees
    beside_gas_wei: int = 0


def read_attempts(path: Path, chain_id: int) -> list[Attempt]:
    """Every attempt on a chain, oldest first, while another process may have the outbox open.

    Raises:
        OutboxMissing: there is no such file.
        OutboxUnreadable: it is no outbox of this version.
    """
    if not path.exists():
        raise OutboxMissing(path)
    try:
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)
        try:
            connection.row_factory = sqlite3.Row
            if pragma(connection, "application_id") != APPLICATION_ID:
                raise OutboxUnreadable(path, "it belongs to another program")
            version = pragma(connection, "user_version")
            if version != SCHEMA_VERSION:
                raise OutboxUnreadable(path, f"its version {version} is not {SCHEMA_VERSION}")
            return _select(connection, "chain_id = ?", (chain_id,))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise OutboxUnreadable(path, str(error)) from None


def _select(connection: sqlite3.Connection, condition: str, values: Sequence[Any]) -> list[Attempt]:
    rows = connection.execute(
        f"SELECT * FROM attempts WHERE {condition} ORDER BY id",  # noqa: S608 (our own text)
        values,
    ).fetchall()
    if not rows:
        return []
    versions: dict[int, list[Version]] = {row["id"]: [] for row in rows}
    chosen = f"SELECT id FROM attempts WHERE {condition}"  # noqa: S608 (our own text)
    sendings: dict[int, list[Sending]] = {}
    for row in connection.execute(
        "SELECT sendings.* FROM sendings JOIN versions ON versions.id = version_id"  # noqa: S608 (our own text)
        f" WHERE attempt_id IN ({chosen}) ORDER BY at, endpoint",
        values,
    ):
        sending = Sending(row["endpoint"], row["answer"], row["at"])
        sendings.setdefault(row["version_id"], []).append(sending)
    for row in connection.execute(
        f"SELECT * FROM versions WHERE attempt_id IN ({chosen}) ORDER BY id",  # noqa: S608
        values,
    ):
        versions[row["attempt_id"]].append(_version(row, sendings.get(row["id"], ())))
    return [_attempt(row, versions[row["id"]]) for row in rows]


def _version(row: sqlite3.Row, sendings: Iterable[Sending]) -> Version:
    return Version(
        row["id"],
        Kind(row["kind"]),
        row["raw"],
        row["transaction_hash"],
        row["gas_limit"],
        Fees(row["max_fee_per_gas_wei"], row["max_priority_fee_per_gas_wei"]),
        row["height"],
        row["signed_at"],
        tuple(sendings),
        int(row["beside_gas_wei"]),
    )


def _attempt(row: sqlite3.Row, versions: Iterable[Version]) -> Attempt:
    return Attempt(
        row["id"],
        Intent(
            row["chain_id"],
            row["vault"],
            row["epoch"],
            row["recipient"],
            row["data"],
            row["gas_limit"],
            row["reason"],
            row["deadline_block"],
        ),
        row["sender"],
        State(row["state"]),
        row["nonce"],
        tuple(versions),
        row["mined_hash"],
        row["block_number"],
        row["block_hash"],
        row["gas_used"],
        row["gas_price_wei"],
        row["mined_at"],
        bool(row["is_final"]),
        safe_text(row["note"], _LONGEST_NOTE),
        row["planned_at"],
        row["changed_at"],
        int(row["beside_gas_wei"]),
    )


def _hashes(attempt: Attempt) -> list[str]:
    return [version.transaction_hash for version in attempt.versions]


def _compete(one: HandedOver, other: HandedOver) -> bool:
    """Whether at most one of two can be live."""
    mine, theirs = one.intent, other.intent
    same_nonce = (one.sender, one.nonce) == (other.sender, other.nonce)
    same_epoch = (mine.vault.lower(), mine.epoch) == (theirs.vault.lower(), theirs.epoch)
    return mine.chain_id == theirs.chain_id and (same_nonce or same_epoch)


def _quoted(states: Iterable[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


def _logged(attempt: Attempt) -> Attempt:
    log.info(
        "attempt",
        state=attempt.state.value,
        vault=attempt.intent.vault,
        epoch=attempt.intent.epoch if attempt.intent.epoch >= 0 else None,
        nonce=attempt.nonce,
        tx=attempt.transaction_hash,
        note=attempt.note or None,
        kind=attempt.intent.kind or None,
        chain_id=attempt.intent.chain_id,
    )
    return attempt
