"""Leadership of a fleet: one machine at a time signs for an account; the others stand by.

A leader takes the leases of all its accounts, always in the same order, so that two machines cannot wait for each
other. It then adopts the ledgers' transactions, and only after that becomes a keeper. It stops as soon as it notices
the loss of a lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import structlog

from rebalancer.errors import ChainError
from rebalancer.fleet.lease import Lease
from rebalancer.fleet.ledger import Ledger
from rebalancer.fleet.names import lease_name
from rebalancer.fleet.redis_state import SharedState
from rebalancer.fleet.standing import Standing

__all__ = ["Leadership", "leading"]

log = structlog.get_logger("rebalancer.fleet")

_TRIES = 5
"""Attempts to take a lease within its duration."""


class Leadership:
    """The leases that this machine holds."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self.leases = {lease.name: lease for lease in leases}

    def ledger(self, chain_id: int, senders: Iterable[str]) -> Ledger:
        """The fence for the outbox of one chain's accounts."""
        names = [lease_name(chain_id, sender) for sender in senders]
        return Ledger({name: self.leases[name] for name in names})

    def when_lost(self, do: Callable[[], None]) -> None:
        """Call a function once when the loss of a lease is noticed, within a third of its duration."""
        for lease in self.leases.values():
            lease.on_lost = do

    def check(self) -> None:
        """Check that all leases are held.

        Raises:
            LeaseLost: a lease is not held, or not any more.
        """
        for lease in self.leases.values():
            lease.check()


@contextmanager
def leading(
    state: SharedState,
    accounts: Iterable[tuple[int, str]],
    holder: str,
    seconds: float,
    stopping: threading.Event,
    standing: Standing | None = None,
) -> Iterator[Leadership | None]:
    """Wait for the leases of accounts (chain and address), and hold them; None if stopped before all are held.

    `standing` is notified of every attempt and its outcome.
    """
    names = sorted({lease_name(chain_id, sender) for chain_id, sender in accounts})
    with ExitStack() as stack:
        leases = [stack.enter_context(Lease(state, name, holder, seconds)) for name in names]
        for lease in leases:
            if not _waited(lease, stopping, standing):
                yield None
                return
        yield Leadership(leases)


def _waited(lease: Lease, stopping: threading.Event, standing: Standing | None) -> bool:
    """Take a lease as soon as no other machine holds it; False if stopped before."""
    is_logged = False
    while not stopping.is_set():
        failed = ""
        try:
            if lease.take():
                return True
        except ChainError as failure:
            failed = str(failure)
            log.warning("lease_attempt_failed", lease=lease.name, why=failed)
        else:
            if not is_logged:
                log.info("standing_by", lease=lease.name)
                is_logged = True
        if standing is not None:
            standing.tried(f"The lease {lease.name}", failed)
        stopping.wait(lease.seconds / _TRIES)
    return False
