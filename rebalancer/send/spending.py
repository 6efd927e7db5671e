"""Daily spending of each key of this user, over all outboxes that it sends from.

An outbox counts what its own journal has. A key that is used from another folder, or after its outbox was removed, would begin its day anew.
So every version is noted here, too, before it is sent: by chain, account and nonce, at the most that it may cost, and at what it did cost once
that is final. One file for all outboxes of a user (`keeper.spending_file`); nothing in it is secret, and what is older than a day goes.

Two outboxes that sign for one key in the same moment may exceed its limit by one transaction.
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
    """The file of what keys spend, open in any number of processes. Not to be shared by threads."""

    def __init__(self, path: Path) -> None:
        """Open it, or begin one.

        Raises:
            SpendingUnwritable: it cannot be made or written, or is something else.
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
        """Close it."""
        self._connection.close()

    def store(self, attempt: Attempt) -> None:
        """Note what an attempt may cost at most, before its newest version is sent.

        Raises:
            SpendingUnwritable: it cannot be noted, so nothing may be sent.
        """
        chain_id, sender, nonce = _key(attempt)
        now = int(time.time())
        worst_wei = max(version.worst_cost_wei for version in attempt.versions)
        with self._changing():
            self._connection.execute("DELETE FROM spent WHERE at <= ?", (now - _DAY_SECONDS,))
            before = self._connection.execute(
                "SELECT wei FROM spent WHERE chain_id = ? AND sender = ? AND nonce = ?",
                (chain_id, sender, nonce),
            ).fetchone()
            most_wei = max(worst_wei, int(before[0]) if before else 0)
            self._connection.execute(
                "INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)",
                (chain_id, sender, nonce, str(most_wei), now),
            )

    def settle(self, attempts: Sequence[Attempt]) -> None:
        """Note what attempts did cost that are final.

        Raises:
            SpendingUnwritable: it cannot be noted.
        """
        paid = [one for one in attempts if one.cost_wei is not None]
        if not paid:
            return
        with self._changing():
            for one in paid:
                self._connection.execute(
                    "UPDATE spent SET wei = ? WHERE chain_id = ? AND sender = ? AND nonce = ?",
                    (str(one.cost_wei), *_key(one)),
                )

    def elsewhere_wei(self, chain_id: int, sender: str, now: int, mine: Collection[int]) -> int:
        """What an account spent, or may yet, in the 24 hours before `now` (unix seconds), but for the nonces in `mine`.

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
    def _changing(self) -> Iterator[None]:
        with self._guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SpendingUnwritable(self.path, str(error)) from error


def _key(attempt: Attempt) -> tuple[int, str, int]:
    assert attempt.nonce is not None  # it was signed  # noqa: S101
    return attempt.intent.chain_id, attempt.sender, attempt.nonce
