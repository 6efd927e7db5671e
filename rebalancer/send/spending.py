"""Daily spending of each key of this user, over all outboxes that use it.

An outbox counts only its own journal. If a key is used from another folder, or its outbox is deleted, that count would
start again from zero. So every version is recorded here before it is sent: by chain, account and nonce, at its maximum
cost, and at its actual cost once that is final. There is one file for all outboxes of a user (`keeper.spending_file`);
it holds no secrets, and entries older than a day are deleted.

Two outboxes that sign for one key at the same moment may exceed its limit by one transaction.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rebalancer.errors import SpendingUnwritable
from rebalancer.files import make_folder, open_own
from rebalancer.send.attempt import Attempt
from rebalancer.send.journal_file import transaction

__all__ = ["Spending"]

_DAY_SECONDS = 86_400
_BUSY_SECONDS = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    chain_id INTEGER NOT NULL,
    sender TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    wei TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (chain_id, sender, nonce)
) STRICT, WITHOUT ROWID
"""


class Spending:
    """The spending file, open in any number of processes. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it.

        Raises:
            SpendingUnwritable: it cannot be created or written, or is not a spending file.
        """
        self.path = path
        try:
            make_folder(path.parent)
            os.close(open_own(path, os.O_RDWR))
        except OSError as error:
            raise SpendingUnwritable(path, error.strerror or "it cannot be opened") from None
        with self._guarded():
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._connection.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def store(self, attempt: Attempt) -> None:
        """Record an attempt's maximum cost, before its newest version is sent.

        Raises:
            SpendingUnwritable: it cannot be recorded, so nothing may be sent.
        """
        chain_id, sender, nonce = _key(attempt)
        now = int(time.time())
        worst_wei = max(version.worst_cost_wei for version in attempt.versions)
        with self._guarded(), transaction(self._connection):
            self._connection.execute("DELETE FROM spent WHERE at <= ?", (now - _DAY_SECONDS,))
            before = self._connection.execute(
                "SELECT wei FROM spent WHERE chain_id = ? AND sender = ? AND nonce = ?", (chain_id, sender, nonce)
            ).fetchone()
            most_wei = max(worst_wei, int(before[0]) if before else 0)
            self._connection.execute(
                "INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)", (chain_id, sender, nonce, str(most_wei), now)
            )

    def settle(self, attempts: Sequence[Attempt]) -> None:
        """Record the actual cost of final attempts.

        Raises:
            SpendingUnwritable: it cannot be recorded.
        """
        paid = [one for one in attempts if one.cost_wei is not None]
        if not paid:
            return
        with self._guarded(), transaction(self._connection):
            for one in paid:
                self._connection.execute(
                    "UPDATE spent SET wei = ? WHERE chain_id = ? AND sender = ? AND nonce = ?",
                    (str(one.cost_wei), *_key(one)),
                )

    def elsewhere_wei(self, chain_id: int, sender: str, now: int, mine: Collection[int]) -> int:
        """Spending of an account in the 24 hours before `now` (unix seconds), including pending transactions, without
        the nonces in `mine`.

        Raises:
            SpendingUnwritable: it cannot be read.
        """
        with self._guarded():
            rows = self._connection.execute(
                "SELECT nonce, wei FROM spent WHERE chain_id = ? AND sender = ? AND at > ?",
                (chain_id, sender, now - _DAY_SECONDS),
            ).fetchall()
        return sum(int(wei) for nonce, wei in rows if nonce not in mine)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SpendingUnwritable(self.path, str(error)) from error


def _key(attempt: Attempt) -> tuple[int, str, int]:
    assert attempt.nonce is not None  # it was signed  # noqa: S101
    return attempt.intent.chain_id, attempt.sender, attempt.nonce
