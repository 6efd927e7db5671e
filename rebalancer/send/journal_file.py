"""File of a journal: its lock, its tables, its migrations, and the errors of SQLite."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from rebalancer.errors import OutboxError, OutboxInUse, OutboxUnreadable, OutboxUnwritable
from rebalancer.files import make_folder, open_own
from rebalancer.send.fees import GasFees

__all__ = [
    "APPLICATION_ID",
    "BESIDE",
    "BUSY_SECONDS",
    "SCHEMA_VERSION",
    "begin",
    "fees_of",
    "holder_of",
    "journal_error",
    "lock",
    "pragma",
    "prepare",
    "transaction",
]

BESIDE = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a journal."""

APPLICATION_ID = 0x52424F42  # "RBOB": identifies our files
SCHEMA_VERSION = 3
_MOST_DIGITS = 20
"""Most digits of a process id."""
BUSY_SECONDS = 1.0  # only other programs can hold the file; the lock keeps ours out

_SCHEMA = """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    chain_id INTEGER NOT NULL,
    vault TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    data TEXT NOT NULL,
    gas_limit INTEGER NOT NULL,
    reason TEXT NOT NULL,
    deadline_block INTEGER,
    sender TEXT NOT NULL,
    state TEXT NOT NULL,
    nonce INTEGER,
    mined_hash TEXT,
    block_number INTEGER,
    block_hash TEXT,
    gas_used INTEGER,
    gas_price_wei INTEGER,
    beside_gas_wei TEXT NOT NULL DEFAULT '0',
    mined_at INTEGER,
    is_final INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT '',
    planned_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    CHECK (state IN ('planned', 'failed') OR nonce IS NOT NULL),
    CHECK (state NOT IN ('mined', 'final', 'cancelled') OR block_hash IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX one_live_attempt ON attempts (chain_id, vault, epoch)
    WHERE state NOT IN ('failed', 'cancelled');
CREATE UNIQUE INDEX one_live_nonce ON attempts (chain_id, sender, nonce)
    WHERE state <> 'failed';
CREATE INDEX watched_attempts ON attempts (chain_id, id)
    WHERE is_final = 0;
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    attempt_id INTEGER NOT NULL REFERENCES attempts (id),
    kind TEXT NOT NULL,
    raw BLOB NOT NULL,
    transaction_hash TEXT NOT NULL,
    gas_limit INTEGER NOT NULL,
    max_fee_per_gas_wei INTEGER NOT NULL,
    max_priority_fee_per_gas_wei INTEGER NOT NULL,
    beside_gas_wei TEXT NOT NULL DEFAULT '0',
    height INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    UNIQUE (attempt_id, transaction_hash)
) STRICT;
CREATE TABLE sendings (
    version_id INTEGER NOT NULL REFERENCES versions (id),
    endpoint TEXT NOT NULL,
    answer TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (version_id, endpoint)
) STRICT, WITHOUT ROWID;
"""


def prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Check that an open file is a journal of this version; create its tables, or migrate it.

    Raises:
        OutboxUnreadable: it is damaged, belongs to another program, or has an unknown version.
    """
    application = pragma(connection, "application_id")
    version = pragma(connection, "user_version")
    begun = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if begun and application != APPLICATION_ID:
        raise OutboxUnreadable(path, "it belongs to another program")
    if begun and version not in (1, 2, SCHEMA_VERSION):
        raise OutboxUnreadable(path, f"its version {version} is not {SCHEMA_VERSION}")
    if pragma(connection, "quick_check") != "ok":
        raise OutboxUnreadable(path, "it is damaged")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if not begun:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    elif version == 1:
        _migrate_from_1(connection)
    elif version == 2:
        _migrate_from_2(connection)


def _migrate_from_2(connection: sqlite3.Connection) -> None:
    """Version 2 did not count a rollup's fees. In one transaction."""
    connection.executescript(
        "BEGIN IMMEDIATE;"
        "ALTER TABLE attempts ADD COLUMN beside_gas_wei TEXT NOT NULL DEFAULT '0';"
        "ALTER TABLE versions ADD COLUMN beside_gas_wei TEXT NOT NULL DEFAULT '0';"
        f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def _migrate_from_1(connection: sqlite3.Connection) -> None:
    """Version 1 held one transaction per attempt, in the attempt. In one transaction."""
    with transaction(connection):
        connection.execute("ALTER TABLE attempts RENAME TO attempts_1")
        connection.execute("DROP INDEX one_live_attempt")
        connection.execute("DROP INDEX one_live_nonce")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO attempts (id, chain_id, vault, epoch, recipient, data, gas_limit, reason,"
            " sender, state, nonce, mined_hash, block_number, block_hash, mined_at, note,"
            " planned_at, changed_at)"
            " SELECT id, chain_id, vault, epoch, recipient, data, gas_limit, reason, sender, state,"
            " nonce, iif(block_hash IS NULL, NULL, transaction_hash), block_number, block_hash,"
            " iif(block_hash IS NULL, NULL, changed_at), note, planned_at, changed_at"
            " FROM attempts_1"
        )
        for row in connection.execute("SELECT * FROM attempts_1 WHERE raw IS NOT NULL").fetchall():
            fees = fees_of(row["raw"])
            connection.execute(
                "INSERT INTO versions (attempt_id, kind, raw, transaction_hash, gas_limit,"
                " max_fee_per_gas_wei, max_priority_fee_per_gas_wei, height, signed_at)"
                " VALUES (?, 'original', ?, ?, ?, ?, ?, 0, ?)",
                (
                    *(row["id"], row["raw"], row["transaction_hash"], row["gas_limit"]),
                    *(fees.max_fee_per_gas_wei, fees.max_priority_fee_per_gas_wei),
                    row["planned_at"],
                ),
            )
        connection.execute("DROP TABLE attempts_1")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One SQLite transaction: committed at the end of the block, or rolled back on an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def fees_of(raw: bytes) -> GasFees:
    """Fee offer of a signed EIP-1559 transaction."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return GasFees(fields["maxFeePerGas"], fields["maxPriorityFeePerGas"])


def lock(path: Path) -> int:
    """Lock the lock file of a journal; the system releases the lock when the process ends."""
    try:
        make_folder(path.parent)
        lock = open_own(path.with_name(path.name + ".lock"), os.O_RDWR)
    except OSError as error:
        why = error.strerror or "it cannot be opened"
        raise OutboxUnwritable(path, f"its lock or folder: {why}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise OutboxInUse(path, f"process {holder}" if holder else "another process") from None
    except OSError as error:
        os.close(lock)
        raise OutboxUnwritable(path, error.strerror or "its lock cannot be written") from None
    return lock


def holder_of(path: Path) -> int | None:
    """Id of the process that has a journal open; None if no process has, or it is not recorded."""
    try:
        with path.with_name(path.name + ".lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read(_MOST_DIGITS))
    except (OSError, ValueError):
        pass
    return None


def begin(path: Path) -> None:
    """Create the file if it is missing, private to this user, and check that SQLite will follow no link from it.

    SQLite creates its other files with the same mode.

    Raises:
        OutboxUnwritable: a file is not a regular file, or cannot be created.
    """
    try:
        os.close(open_own(path, os.O_RDWR))
        for beside in (path.with_name(path.name + ending) for ending in BESIDE):
            if os.path.lexists(beside):
                os.close(open_own(beside, os.O_RDWR))
    except OSError as error:
        raise OutboxUnwritable(path, error.strerror or "it cannot be opened") from None


def journal_error(path: Path, error: sqlite3.Error) -> OutboxError | None:
    """The outbox error for an error of SQLite; None for errors that only a bug can cause."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return OutboxInUse(path, "another program that has locked it")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return OutboxUnreadable(path, str(error))
    if primary in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    ):
        return OutboxUnwritable(path, str(error))
    return None


def pragma(connection: sqlite3.Connection, name: str) -> Any:
    """Value of an SQLite pragma."""
    return connection.execute(f"PRAGMA {name}").fetchone()[0]
