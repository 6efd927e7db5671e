"""Fence of an outbox: the permission to sign, if more than one machine may send for an account.

An outbox checks its fence before every signature, and stores every signed version in it before sending, so that the
next lease holder has it. Without a fleet, an account has one outbox, and the fence does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rebalancer.send.attempt import Attempt

__all__ = ["Fence", "NoFence"]


class Fence(Protocol):
    """Controls what an outbox may sign and send."""

    def check(self, chain_id: int, sender: str) -> None:
        """Check that this machine may sign for an account.

        Raises:
            FleetError: it may not, or not any more.
        """

    def store(self, attempt: Attempt) -> None:
        """Store an attempt's newest version where other machines find it, before each sending.

        Raises:
            FleetError: this machine may not send any more, or the fleet cannot be reached.
        """

    def forget(self, attempts: Sequence[Attempt]) -> None:
        """Remove attempts that are final: no other machine needs them.

        Raises:
            FleetError: as `store`.
        """

    def spent_elsewhere_wei(self, chain_id: int, sender: str, now: int) -> int:
        """Gas costs of an account in the 24 hours before `now` (unix seconds) that no journal of this machine has."""


class NoFence:
    """Fence of the only machine that sends for an account: it permits everything."""

    def check(self, chain_id: int, sender: str) -> None:
        """Permitted."""

    def store(self, attempt: Attempt) -> None:
        """Nothing: the journal has it."""

    def forget(self, attempts: Sequence[Attempt]) -> None:
        """Nothing: the journal keeps it."""

    def spent_elsewhere_wei(self, chain_id: int, sender: str, now: int) -> int:  # noqa: ARG002 (none spends)
        """0."""
        return 0
