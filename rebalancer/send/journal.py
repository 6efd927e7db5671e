"""Journal of all attempts: what was planned, signed and sent, and the outcome. The file of the outbox.

SQLite in WAL mode with full synchronisation: once a method returns, its change survives a power failure. A lock file
keeps other processes out; `read_attempts` reads without the lock. The journal does not use the chain;
`rebalancer.send.attempt` defines the transitions between states.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from rebalancer.chain.receipt import Receipt
from rebalancer.errors import OutboxMissing, OutboxUnreadable
from rebalancer.send.adoption import TAKEN_OVER, adopt
from rebalancer.send.attempt import (
    OPEN,
    SIGNED,
    Attempt,
    AttemptState,
    HandedOver,
    Intent,
    Kind,
    Sending,
    SignedVersion,
    Version,
    check_transition,
    state_once_signed,
)
from rebalancer.send.fees import GasFees
from rebalancer.send.journal_file import (
    APPLICATION_ID,
    BUSY_SECONDS,
    SCHEMA_VERSION,
    begin,
    journal_error,
    lock,
    pragma,
    prepare,
    transaction,
)
from rebalancer.texts import safe_text

__all__ = ["Journal", "read_attempts"]

log = structlog.get_logger("rebalancer.outbox")

_DAY_SECONDS = 86_400
_LONGEST_NOTE = 1_000
"""Most characters of a note, which can contain the message of a node."""


class Journal:
    """The file of one outbox, open in one process at a time. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open the journal, create it, or migrate it from an older version.

        Raises:
            OutboxInUse: another process has it open.
            OutboxUnreadable: the file is damaged, or not an outbox of a known version.
            OutboxUnwritable: it cannot be created or written.
        """
        self.path = path
        self._lock = lock(path)
        try:
            self.connection = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close the journal and release its lock."""
        self.connection.close()
        os.close(self._lock)

    def get(self, attempt_id: int) -> Attempt:
        """An attempt as it is now."""
        (found,) = self.select("id = ?", attempt_id)
        return found

    def find(self, attempt_id: int) -> Attempt | None:
        """An attempt by its id; None if there is none."""
        return next(iter(self.select("id = ?", attempt_id)), None)

    def attempts(self, chain_id: int) -> list[Attempt]:
        """Every attempt on a chain, oldest first."""
        return self.select("chain_id = ?", chain_id)

    def unsettled(self, chain_id: int, sender: str | None = None) -> list[Attempt]:
        """Attempts that no block holds and that have not failed, in the order of their nonces."""
        found = self.select(
            f"chain_id = ? AND state IN ({_quoted(OPEN)}) AND (? IS NULL OR sender = ?)", *(chain_id, sender, sender)
        )
        return sorted(found, key=lambda attempt: (attempt.nonce or 0, attempt.id))

    def watched(self, chain_id: int) -> list[Attempt]:
        """Attempts that new blocks can still change, in the order of their nonces.

        These are all signed attempts that are not final: another node may have accepted one that a node rejected.
        """
        found = self.select("chain_id = ? AND is_final = 0 AND (state = 'planned' OR nonce IS NOT NULL)", chain_id)
        return sorted(found, key=lambda attempt: (attempt.nonce or 0, attempt.id))

    def of_epoch(self, chain_id: int, vault: str, epoch: int) -> list[Attempt]:
        """Attempts of an epoch, the newest first: all but the newest failed or were cancelled."""
        key = "chain_id = ? AND vault = ? AND epoch = ?"
        return self.select(key, chain_id, vault.lower(), epoch)[::-1]

    def of_nonce(self, chain_id: int, sender: str, nonce: int) -> list[Attempt]:
        """A nonce's attempts, the oldest first: all but one of them failed."""
        return self.select("chain_id = ? AND sender = ? AND nonce = ?", chain_id, sender, nonce)

    def known_nonces(self, chain_id: int, sender: str, least: int) -> set[int]:
        """Nonces of a sender from `least` on that any attempt was signed with, whatever its outcome."""
        with self.guarded():
            rows = self.connection.execute(
                "SELECT DISTINCT nonce FROM attempts WHERE chain_id = ? AND sender = ? AND nonce >= ?",
                (chain_id, sender, least),
            ).fetchall()
        return {row["nonce"] for row in rows}

    def highest_nonce(self, chain_id: int, sender: str) -> Attempt | None:
        """The attempt of a sender with the highest nonce, of those that were signed and have not failed."""
        found = self.select(
            "id = (SELECT id FROM attempts WHERE chain_id = ? AND sender = ?"  # noqa: S608 (ours)
            f" AND state IN ({_quoted(SIGNED)}) ORDER BY nonce DESC LIMIT 1)",
            *(chain_id, sender),
        )
        return found[0] if found else None

    def spent_wei(self, chain_id: int, sender: str, now: int) -> int:
        """Gas costs of a sender in the last 24 hours, including pending transactions.

        Mined transactions count at their cost. Pending ones, and those rejected within the 24 hours, count at their
        maximum cost. Of all transactions with the same nonce, the mined one or the most expensive one counts.
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
            highest = max((version.worst_cost_wei for version in attempt.versions), default=0)
            if attempt.block_number is not None:
                cost = attempt.cost_wei
                mined[nonce] = highest if cost is None else cost
            else:
                worst[nonce] = max(worst.get(nonce, 0), highest)
        return sum((worst | mined).values())

    def plan(self, intent: Intent, sender: str) -> Attempt:
        """Journal an intent before anything is signed."""
        with self.guarded():
            attempt_id = self._insert(intent, sender, AttemptState.PLANNED, None, "")
        return _logged(self.get(attempt_id))

    def add_version(
        self, attempt: Attempt, kind: Kind, nonce: int, height: int, version: SignedVersion, note: str = ""
    ) -> Attempt:
        """Journal a signed transaction, and the attempt's new state, before it is sent."""
        with self.guarded(), transaction(self.connection):
            self._insert_version(attempt.id, kind, version, height)
            self._update(attempt, state_once_signed(kind), nonce=nonce, note=note)
        return _logged(self.get(attempt.id))

    def advance(self, attempt: Attempt, state: AttemptState, **columns: Any) -> Attempt:
        """Journal an attempt's next state; it is on disk when this returns."""
        with self.guarded():
            self._update(attempt, state, **columns)
        return _logged(self.get(attempt.id))

    def hold(self, attempt: Attempt, state: AttemptState, receipt: Receipt, note: str = "") -> Attempt:
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

    def take_back(self, attempt: Attempt, state: AttemptState, note: str) -> Attempt:
        """Journal that no block holds an attempt any more, after a reorg."""
        nothing = dict.fromkeys(("mined_hash", "block_number", "block_hash", "gas_used", "gas_price_wei", "mined_at"))
        return self.advance(attempt, state, **nothing, beside_gas_wei="0", is_final=0, note=note)

    def finalise(self, attempt: Attempt) -> Attempt:
        """Journal that an attempt's block is final."""
        if attempt.state is AttemptState.MINED:
            return self.advance(attempt, AttemptState.FINAL, is_final=1)
        with self.guarded():
            self.connection.execute("UPDATE attempts SET is_final = 1 WHERE id = ?", (attempt.id,))
        return self.get(attempt.id)

    def annotate(self, attempt: Attempt, note: str) -> Attempt:
        """Journal why an attempt waits. The reason is logged once, not again while it lasts."""
        if attempt.note == note:
            return attempt
        with self.guarded():
            self.connection.execute("UPDATE attempts SET note = ? WHERE id = ?", (note, attempt.id))
        return _logged(self.get(attempt.id))

    def record_sending(self, version: Version, endpoint: str, answer: str) -> None:
        """Journal an endpoint's answer to a version; "" if it was accepted."""
        if any((one.endpoint, one.answer) == (endpoint, answer) for one in version.sendings):
            return
        with self.guarded():
            self.connection.execute(
                "INSERT INTO sendings (version_id, endpoint, answer, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET answer = excluded.answer, at = excluded.at",
                (version.id, endpoint, answer, int(time.time())),
            )

    def adopt(self, handed: Sequence[HandedOver]) -> list[Attempt]:
        """Journal attempts that another machine signed for an account that this machine uses now, oldest first; return
        the changed ones.

        Each counts as sent, unless this journal knows better. Of several at one nonce or epoch the last one is live.
        Other attempts of this journal at the same nonce or epoch were never sent, and fail.
        """
        changed = []
        for at, one in enumerate(handed):
            replaced = any(one.competes_with(later) for later in handed[at + 1 :])
            followed = any(other.nonce > one.nonce for other in handed)
            with self.guarded(), transaction(self.connection):
                attempt_id = self._adopt(one, replaced=replaced, followed=followed)
            if attempt_id is not None:
                changed.append(_logged(self.get(attempt_id)))
        return changed

    def _adopt(self, one: HandedOver, *, replaced: bool, followed: bool) -> int | None:
        """Id of the attempt that changed; None if nothing changed."""
        intent = one.intent
        key = "chain_id = ? AND sender = ? AND nonce = ?"
        adoption = adopt(
            one,
            self.select(key, intent.chain_id, one.sender, one.nonce),
            self.of_epoch(intent.chain_id, intent.vault, intent.epoch),
            replaced=replaced,
            followed=followed,
        )
        for other in adoption.giving_way:
            self._update(other, AttemptState.FAILED, note=TAKEN_OVER)
        note = TAKEN_OVER if adoption.state is AttemptState.FAILED else ""
        if adoption.mine is None:
            attempt_id = self._insert(intent, one.sender, adoption.state, one.nonce, note)
        else:
            attempt_id = adoption.mine.id
            if not adoption.missing and not adoption.changes_state:
                return None
            if adoption.changes_state:
                self._write(adoption.mine, adoption.state, note=note)
        for version in adoption.unsent:
            self.connection.execute("DELETE FROM versions WHERE id = ?", (version.id,))
        for version in adoption.missing:
            self._insert_version(attempt_id, version.kind, version, version.height)
        return attempt_id

    def _insert(self, intent: Intent, sender: str, state: AttemptState, nonce: int | None, note: str) -> int:
        now = int(time.time())
        (row,) = self.connection.execute(
            "INSERT INTO attempts (chain_id, vault, epoch, recipient, data, gas_limit, reason,"
            " deadline_block, sender, state, nonce, note, planned_at, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                *(intent.chain_id, intent.vault.lower(), intent.epoch, intent.to, intent.data),
                *(intent.gas_limit, intent.reason, intent.deadline_block, sender, state.value),
                *(nonce, note, now, now),
            ),
        ).fetchall()
        return int(row["id"])

    def _insert_version(self, attempt_id: int, kind: Kind, version: SignedVersion | Version, height: int) -> None:
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
        """The attempts that match an SQL condition of this program, oldest first."""
        with self.guarded():
            return _select(self.connection, condition, values)

    def _update(self, attempt: Attempt, state: AttemptState, **columns: Any) -> None:
        check_transition(attempt.state, state)
        self._write(attempt, state, **columns)

    def _write(self, attempt: Attempt, state: AttemptState, **columns: Any) -> None:
        columns |= {"state": state.value, "changed_at": int(time.time())}
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self.connection.execute(
            f"UPDATE attempts SET {assignments} WHERE id = ?",  # noqa: S608 (our own names)
            (*columns.values(), attempt.id),
        )

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
        """Raise errors of SQLite as errors of the outbox.

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


def read_attempts(path: Path, chain_id: int) -> list[Attempt]:
    """All attempts on a chain, oldest first; another process may have the outbox open.

    Raises:
        OutboxMissing: there is no such file.
        OutboxUnreadable: it is not an outbox of this version.
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
        GasFees(row["max_fee_per_gas_wei"], row["max_priority_fee_per_gas_wei"]),
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
        AttemptState(row["state"]),
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


def _quoted(states: Iterable[AttemptState]) -> str:
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
