"""Fence of an outbox: the permission to sign, where more than one machine may send for an account.

An outbox asks its fence before every signing whether it still may, and gives it every signed version before sending it, so that
whoever takes over has it. Without a fleet there is one outbox an account, and nothing to ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rebalancer.send.attempt import Attempt

__all__ = ["Fence", "NoFence"]


class Fence(Protocol):
    """Stands between an outbox and the chain."""

    def check(self, chain_id: int, sender: str) -> None:
        """Make sure that this machine may sign for an account.

        Raises:
            FleetError: it may not, or not any more.
        """

    def store(self, attempt: Attempt) -> None:
        """Keep an attempt's newest version where every other machine finds it, before it is sent for the first time or again.

        Raises:
            FleetError: this machine may not send any more, or nobody can tell.
        """

    def forget(self, attempts: Sequence[Attempt]) -> None:
        """Nobody needs to take these over any more: they are final.

        Raises:
            FleetError: as `store`.
        """

    def spent_elsewhere_wei(self, chain_id: int, sender: str, now: int) -> int:
        """What an account spent on gas in the 24 hours before `now` (unix seconds) that is in no journal of this machine."""


class NoFence:
    """Where one machine sends for an account, nothing is in its way."""

    def check(self, chain_id: int, sender: str) -> None:
        """It may."""

    def store(self, attempt: Attempt) -> None:
        """The journal has it."""

    def forget(self, attempts: Sequence[Attempt]) -> None:
        """The journal keeps it."""

    def spent_elsewhere_wei(self, chain_id: int, sender: str, now: int) -> int:  # noqa: ARG002 (nobody else spends)
        """Nothing."""
        return 0
