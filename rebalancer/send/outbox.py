"""How is a keeper's transaction sent exactly once, whatever is killed in between?

Every intent is journalled before anything is signed, and every signed transaction before it is
sent, so that at any moment the file says what may be under way:

    planned → signed → sent → mined | failed

An epoch of a vault has at most one attempt that is not failed. Whoever asks for an epoch that has
one gets that one: the same bytes are sent again, or its receipt is read. A new attempt is made
only after the old one failed for good, and takes the old nonce as long as no block has used it, so
that of the two at most one can ever be mined.

An attempt fails when it was never signed, when the node refuses it, when a block holds it as
refused by a contract, or when a block holds another transaction with its nonce. A silent node or a
deadline that passed fails nothing: the attempt stays, and is settled later.

The journal is SQLite in WAL mode with full synchronisation: what a method has returned from
survives a loss of power. A lock beside it keeps every other process out.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from rebalancer.chain.receipt import Receipt, find_receipt, refusal, wait_for_receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    ContractReverted,
    NonceGap,
    OutboxError,
    OutboxInUse,
    OutboxUnreadable,
    OutboxUnwritable,
    RpcRejected,
    TransactionNotMined,
    WrongChain,
)
from rebalancer.send.fees import Fees
from rebalancer.send.signer import Signer
from rebalancer.send.wallet import check_ether

__all__ = ["Attempt", "Intent", "Outbox", "State"]

log = structlog.get_logger("rebalancer.outbox")

_APPLICATION_ID = 0x52424F42  # "RBOB": tells our file from another program's
_SCHEMA_VERSION = 1
_BUSY_SECONDS = 1.0  # only foreign programs can hold the file: ours are kept out by the lock
_LATE_RECEIPT_SECONDS = 3.0  # nodes may count a nonce before they have indexed its receipt


class State(StrEnum):
    """How far an attempt has come."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    FAILED = "failed"


_NEXT: Mapping[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.SIGNED, State.FAILED}),
    State.SIGNED: frozenset({State.SENT, State.MINED, State.FAILED}),
    State.SENT: frozenset({State.MINED, State.FAILED}),
    State.MINED: frozenset({State.SENT, State.FAILED}),  # a reorg took its block back
    State.FAILED: frozenset({State.MINED}),  # one node refused what another had taken
}

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
    sender TEXT NOT NULL,
    state TEXT NOT NULL,
    nonce INTEGER,
    raw BLOB,
    transaction_hash TEXT,
    block_number INTEGER,
    block_hash TEXT,
    note TEXT NOT NULL DEFAULT '',
    planned_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    CHECK (state IN ('planned', 'failed') OR raw IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX one_live_attempt ON attempts (chain_id, vault, epoch)
    WHERE state <> 'failed';
CREATE UNIQUE INDEX one_live_nonce ON attempts (chain_id, sender, nonce)
    WHERE state <> 'failed';
"""


@dataclass(frozen=True)
class Intent:
    """What is to be sent, why, and under which key it is sent only once. Addresses are lower case."""

    chain_id: int
    vault: str
    epoch: int
    to: str
    data: str
    gas_limit: int
    reason: str


@dataclass(frozen=True)
class Attempt:
    """One journalled try at an intent. `note` says why it failed; times are unix seconds."""

    id: int
    intent: Intent
    sender: str
    state: State
    nonce: int | None
    raw: bytes | None
    transaction_hash: str | None
    block_number: int | None
    block_hash: str | None
    note: str
    planned_at: int
    changed_at: int


class Outbox:
    """The journal of one keeper, open in one process at a time. Not to be shared by threads."""

    def __init__(self, path: Path) -> None:
        """Open the journal, or begin one.

        Raises:
            OutboxInUse: another process has it open.
            OutboxUnreadable: the file is damaged, or no outbox of this version.
            OutboxUnwritable: it cannot be made or written.
        """
        self.path = path
        self._lock = _lock(path)
        try:
            self._journal = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal and let others have it."""
        self._journal.close()
        os.close(self._lock)

    # What is known

    def attempts(self, chain_id: int) -> list[Attempt]:
        """Every attempt on a chain, oldest first."""
        return self._select("chain_id = ?", chain_id)

    def unsettled(self, chain_id: int) -> list[Attempt]:
        """Attempts on a chain that are neither mined nor failed, in the order of their nonces."""
        found = self._select("chain_id = ? AND state IN ('planned', 'signed', 'sent')", chain_id)
        return sorted(found, key=lambda attempt: (attempt.nonce or 0, attempt.id))

    # What is done

    def resume(self, rpc: Rpc) -> list[Attempt]:
        """Settle what an earlier run left unsettled on this chain, without waiting for a block.

        What was planned and not signed is given up, what was signed is sent again unless a block
        has it. Returns what was unsettled, as it stands now.

        Raises:
            NonceGap: one of them cannot be mined on this chain.
        """
        return [self._resolve(rpc, attempt) for attempt in self.unsettled(rpc.chain_id())]

    def settle(
        self, rpc: Rpc, chain_id: int, vault: str, epoch: int, timeout_s: float
    ) -> Receipt | None:
        """The receipt of the attempt that was made at an epoch, None if there is none or it failed.

        Raises:
            TransactionNotMined: it is under way and not mined in time.
            NonceGap: it cannot be mined on this chain.
        """
        for attempt in self._of_epoch(chain_id, vault, epoch):
            receipt = self._settled(rpc, attempt, timeout_s)
            if receipt is not None:
                return receipt
        return None

    def deliver(
        self, rpc: Rpc, signer: Signer, intent: Intent, fees: Fees, timeout_s: float
    ) -> Receipt:
        """Send an intent, once, and wait for its receipt.

        If its epoch was sent before, by this or an earlier run, that transaction's receipt is
        returned and nothing new is signed, unless it failed.

        Raises:
            WrongChain: the endpoint serves another chain than the intent is for.
            InsufficientEther: the signer cannot pay for it; nothing was signed.
            ContractReverted: it was mined, and refused by a contract.
            RpcRejected: the node did not take it.
            TransactionNotMined: it is not mined in time. It is still under way.
            RpcUnreachable, RpcTimeout: it may be under way.
            NonceGap: an earlier transaction cannot be mined on this chain.
            OutboxError: the journal cannot be written; nothing was sent.
        """
        actual = rpc.chain_id()
        if actual != intent.chain_id:
            raise WrongChain(intent.chain_id, actual)
        for unsettled in self.unsettled(actual):
            self._resolve(rpc, unsettled)
        earlier = self.settle(rpc, intent.chain_id, intent.vault, intent.epoch, timeout_s)
        if earlier is not None:
            return earlier
        attempt = self._plan(intent, signer.address)
        attempt = self._sign(rpc, signer, attempt, fees)
        attempt = self._send(rpc, attempt)
        receipt = wait_for_receipt(rpc, _hash(attempt), timeout_s)
        refused = self._close(rpc, attempt, receipt)
        if refused is not None:
            raise refused
        return receipt

    # One step each

    def _plan(self, intent: Intent, sender: str) -> Attempt:
        now = int(time.time())
        with self._guarded():
            (row,) = self._journal.execute(
                "INSERT INTO attempts (chain_id, vault, epoch, recipient, data, gas_limit, reason,"
                " sender, state, planned_at, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'planned', ?, ?) RETURNING *",
                (
                    intent.chain_id,
                    intent.vault.lower(),
                    intent.epoch,
                    intent.to,
                    intent.data,
                    intent.gas_limit,
                    intent.reason,
                    sender,
                    now,
                    now,
                ),
            ).fetchall()
        return _logged(_attempt(row))

    def _sign(self, rpc: Rpc, signer: Signer, attempt: Attempt, fees: Fees) -> Attempt:
        intent = attempt.intent
        check_ether(rpc, signer.address, intent.gas_limit * fees.max_fee_per_gas_wei)
        nonce = self._next_nonce(rpc, attempt)
        signed = signer.sign(
            {
                "type": 2,
                "chainId": intent.chain_id,
                "nonce": nonce,
                "to": intent.to,
                "data": intent.data,
                "value": 0,
                "gas": intent.gas_limit,
                "maxFeePerGas": fees.max_fee_per_gas_wei,
                "maxPriorityFeePerGas": fees.max_priority_fee_per_gas_wei,
            }
        )
        return self._advance(
            attempt, State.SIGNED, nonce=nonce, raw=signed.raw, transaction_hash=signed.hash
        )

    def _send(self, rpc: Rpc, attempt: Attempt) -> Attempt:
        """Send an attempt's bytes, for the first time or again: for the node it is the same.

        Raises:
            NonceGap: transactions before it are missing, and nobody here has them.
            RpcRejected: the node refused it and does not have it.
        """
        expected = self._count(rpc, attempt.sender, "pending")
        nonce = _nonce(attempt)
        if nonce > expected and not self._covered(attempt, expected):
            raise NonceGap(_hash(attempt), nonce, expected)
        try:
            rpc.call("eth_sendRawTransaction", "0x" + bytes(attempt.raw or b"").hex())
        except RpcRejected as rejection:
            # Nodes word "I have it already" in many ways, so they are asked instead of read.
            if rpc.call("eth_getTransactionByHash", _hash(attempt)) is None:
                self._advance(attempt, State.FAILED, note=str(rejection))
                raise
        if attempt.state is State.SENT:
            return attempt
        return self._advance(attempt, State.SENT)

    def _close(self, rpc: Rpc, attempt: Attempt, receipt: Receipt) -> ContractReverted | None:
        """Journal a receipt; the answer is a contract's refusal, None if there was none."""
        block = {"block_number": receipt.block_number, "block_hash": receipt.block_hash}
        if receipt.succeeded:
            if attempt.state is not State.MINED:
                self._advance(attempt, State.MINED, **block)
            return None
        refused = refusal(rpc, receipt)
        if attempt.state is not State.FAILED:
            self._advance(attempt, State.FAILED, note=str(refused), **block)
        return refused

    def _resolve(self, rpc: Rpc, attempt: Attempt) -> Attempt:
        """Bring an attempt of an earlier call as far as it goes without waiting for a block."""
        if attempt.state is State.PLANNED:
            return self._advance(attempt, State.FAILED, note="it was never signed")
        transaction_hash = _hash(attempt)
        receipt = find_receipt(rpc, transaction_hash)
        if receipt is None and self._count(rpc, attempt.sender, "latest") > _nonce(attempt):
            try:
                receipt = wait_for_receipt(rpc, transaction_hash, _LATE_RECEIPT_SECONDS)
            except TransactionNotMined:
                note = "a block holds another transaction with its nonce"
                return self._advance(attempt, State.FAILED, note=note)
        if receipt is not None:
            self._close(rpc, attempt, receipt)
        else:
            try:
                self._send(rpc, attempt)
            except RpcRejected:
                log.warning("attempt_refused", tx=transaction_hash)
        return self._select("id = ?", attempt.id)[0]

    def _settled(self, rpc: Rpc, attempt: Attempt, timeout_s: float) -> Receipt | None:
        """Wait until an attempt of an earlier call is mined; None once it failed."""
        if attempt.state is State.FAILED and attempt.block_number is not None:
            return None
        receipt = find_receipt(rpc, attempt.transaction_hash) if attempt.transaction_hash else None
        if attempt.state is not State.FAILED and receipt is None:
            attempt = self._resolve(rpc, attempt)
            if attempt.state is not State.FAILED:
                receipt = wait_for_receipt(rpc, _hash(attempt), timeout_s)
        if receipt is None or self._close(rpc, attempt, receipt) is not None:
            return None
        return receipt

    # Nonces

    def _next_nonce(self, rpc: Rpc, attempt: Attempt) -> int:
        """The nonce for a new attempt: the chain's next one, or that of a failed one it replaces.

        Raises:
            NonceGap: the journal has a later one as mined, so this is not the chain it was mined on.
        """
        sender, chain_id = attempt.sender, attempt.intent.chain_id
        signed = [
            other
            for other in self._select("chain_id = ? AND sender = ?", chain_id, sender)
            if other.state in (State.SIGNED, State.SENT, State.MINED)
        ]
        under_way = {_nonce(other) for other in signed if other.state is not State.MINED}
        nonce = max(self._count(rpc, sender, "pending"), 1 + max(under_way, default=-1))
        for other in signed:
            if _nonce(other) >= nonce:
                raise NonceGap(_hash(other), _nonce(other), nonce)
        # Some node may still have an earlier attempt: it must not be mined beside this one.
        unused = range(self._count(rpc, sender, "latest"), nonce)
        for failed in self._of_epoch(chain_id, attempt.intent.vault, attempt.intent.epoch):
            replaceable = failed.sender == sender and failed.nonce not in under_way
            if replaceable and failed.nonce is not None and failed.nonce in unused:
                return failed.nonce
        return nonce

    def _covered(self, attempt: Attempt, expected: int) -> bool:
        """Whether all nonces from the chain's next one up to an attempt's are journalled as sent."""
        sent = {
            other.nonce
            for other in self.unsettled(attempt.intent.chain_id)
            if other.sender == attempt.sender and other.state is State.SENT
        }
        return sent.issuperset(range(expected, _nonce(attempt)))

    def _count(self, rpc: Rpc, sender: str, block: str) -> int:
        return int(rpc.call("eth_getTransactionCount", sender, block), 16)

    # The journal

    def _of_epoch(self, chain_id: int, vault: str, epoch: int) -> list[Attempt]:
        """An epoch's attempts, the newest first: all but the first of them have failed."""
        key = "chain_id = ? AND vault = ? AND epoch = ?"
        return self._select(key, chain_id, vault.lower(), epoch)[::-1]

    def _select(self, condition: str, *values: Any) -> list[Attempt]:
        with self._guarded():
            rows = self._journal.execute(
                f"SELECT * FROM attempts WHERE {condition} ORDER BY id",  # noqa: S608 (our own text)
                values,
            ).fetchall()
        return [_attempt(row) for row in rows]

    def _advance(self, attempt: Attempt, state: State, **columns: Any) -> Attempt:
        """Journal an attempt's next state; when this returns, it is on disk."""
        if state not in _NEXT[attempt.state]:
            raise AssertionError(f"an attempt cannot go from {attempt.state} to {state}")
        columns |= {"state": state.value, "changed_at": int(time.time())}
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with self._guarded():
            (row,) = self._journal.execute(
                f"UPDATE attempts SET {assignments} WHERE id = ? RETURNING *",  # noqa: S608 (ours)
                (*columns.values(), attempt.id),
            ).fetchall()
        return _logged(_attempt(row))

    def _open(self) -> sqlite3.Connection:
        with self._guarded():
            journal = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            with self._guarded():
                journal.row_factory = sqlite3.Row
                self._prepare(journal)
        except BaseException:
            journal.close()
            raise
        return journal

    def _prepare(self, journal: sqlite3.Connection) -> None:
        application = _pragma(journal, "application_id")
        version = _pragma(journal, "user_version")
        begun = journal.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if begun and application != _APPLICATION_ID:
            raise OutboxUnreadable(self.path, "it belongs to another program")
        if begun and version != _SCHEMA_VERSION:
            raise OutboxUnreadable(self.path, f"its version {version} is not {_SCHEMA_VERSION}")
        if _pragma(journal, "quick_check") != "ok":
            raise OutboxUnreadable(self.path, "it is damaged")
        journal.execute("PRAGMA journal_mode = WAL")
        journal.execute("PRAGMA synchronous = FULL")
        if not begun:
            journal.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            expected = _journal_error(self.path, error)
            if expected is None:
                raise
            raise expected from error


def _lock(path: Path) -> int:
    """Hold the file beside the journal that says whose it is; the system lets go when we end."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutboxUnwritable(path, error.strerror or "its folder cannot be made") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise OutboxInUse(path, f"process {holder}" if holder else "another process") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _journal_error(path: Path, error: sqlite3.Error) -> OutboxError | None:
    """SQLite's error as ours, None for what only a mistake of this program can cause."""
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


def _pragma(journal: sqlite3.Connection, name: str) -> Any:
    return journal.execute(f"PRAGMA {name}").fetchone()[0]


def _attempt(row: sqlite3.Row) -> Attempt:
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
        ),
        row["sender"],
        State(row["state"]),
        row["nonce"],
        row["raw"],
        row["transaction_hash"],
        row["block_number"],
        row["block_hash"],
        row["note"],
        row["planned_at"],
        row["changed_at"],
    )


def _nonce(attempt: Attempt) -> int:
    """The nonce of an attempt that was signed."""
    if attempt.nonce is None:
        raise AssertionError(f"attempt {attempt.id} is {attempt.state} and has no nonce")
    return attempt.nonce


def _hash(attempt: Attempt) -> str:
    """The transaction hash of an attempt that was signed."""
    if attempt.transaction_hash is None:
        raise AssertionError(f"attempt {attempt.id} is {attempt.state} and has no hash")
    return attempt.transaction_hash


def _logged(attempt: Attempt) -> Attempt:
    log.info(
        "attempt",
        state=attempt.state.value,
        vault=attempt.intent.vault,
        epoch=attempt.intent.epoch,
        nonce=attempt.nonce,
        tx=attempt.transaction_hash,
        note=attempt.note or None,
    )
    return attempt
