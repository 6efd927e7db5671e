"""Who leads, and for how long? One machine at a time for each account that signs; the others stand by.

A leader takes the leases of all its accounts, always in the same order so that two cannot wait for each other; adopts what the ledgers
have; and only then becomes a keeper. It stops as soon as it notices that it lost one.
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
"""Times that a lease is tried to be taken within its length."""


class Leadership:
    """The leases that one machine holds."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self.leases = {lease.name: lease for lease in leases}

    def ledger(self, chain_id: int, senders: Iterable[str]) -> Ledger:
        """The fence of the outbox of one chain's accounts."""
        names = [lease_name(chain_id, sender) for sender in senders]
        return Ledger({name: self.leases[name] for name in names})

    def when_lost(self, do: Callable[[], None]) -> None:
        """Have something done, once, as soon as one of them is found lost: within a third of its length."""
        for lease in self.leases.values():
            lease.on_lost = do

    def check(self) -> None:
        """Make sure that all leases are held.

        Raises:
            LeaseLost: one is not, or not any more.
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
    """Wait for the leases of accounts (chain and address), and hold them; None if it was stopped before it had them all.

    `standing` hears of every try, and whether Redis answered.
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
    """Take a lease as soon as nobody else holds it; False if stopped before."""
    text = False
    while not stopping.is_set():
        failed = ""
        try:
            if lease.take():
                return True
        except ChainError as failure:
            failed = str(failure)
            log.warning("lease_not_taken", lease=lease.name, why=failed)
        else:
            if not text:
                log.info("standing_by", lease=lease.name)
                text = True
        if standing is not None:
            standing.tried(f"The lease {lease.name}", failed)
        stopping.wait(lease.seconds / _TRIES)
    return False
