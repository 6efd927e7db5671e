"""Circuit breakers: after repeated failures of a chain, a pool or a vault, nothing is tried there for a backoff.

A closed breaker lets everything through. After a number of consecutive failures it opens and lets nothing through. When
the backoff ends, one attempt decides: a success closes the breaker, a failure opens it for twice as long, up to a
limit. Only a restart closes a tripped breaker.

Repeated failures of a vault's transactions open its breaker. A ledger mismatch trips the vault's breaker; if there is
no other vault, or a second vault mismatches, the keeper ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import structlog

from rebalancer.errors import LedgerMismatch

__all__ = ["Breaker", "VaultBreakers"]

log = structlog.get_logger("rebalancer.keeper")

_MOST_DOUBLINGS = 64
"""Any backoff has reached its limit before; a float has room for 1,023 doublings."""


@dataclass
class Breaker:
    """A circuit breaker. Times are seconds on any one clock. It first opens after `failures`, for `backoff_seconds`."""

    failures: int
    backoff_seconds: float
    longest_seconds: float = 3_600.0
    consecutive_failures: int = 0
    why: str = ""
    since: float = 0.0
    until: float = 0.0
    _opened: int = 0

    @property
    def is_tripped(self) -> bool:
        """Whether only a restart closes it."""
        return math.isinf(self.until)

    def is_open(self, now: float) -> bool:
        """Whether it lets nothing through now."""
        return now < self.until

    def failed(self, why: str, now: float) -> bool:
        """Count a failure; return whether that opened the breaker."""
        self.consecutive_failures += 1
        if self.is_tripped or self.consecutive_failures < self.failures:
            return False
        backoff = self.backoff_seconds * 2.0 ** min(self._opened, _MOST_DOUBLINGS)
        self._open(why, now, min(self.longest_seconds, backoff))
        self._opened += 1
        return True

    def trip(self, why: str, now: float) -> None:
        """Open the breaker until a restart."""
        self.consecutive_failures += 1
        self._open(why, now, math.inf)

    def succeeded(self) -> None:
        """Close the breaker, unless it is tripped, and forget all failures."""
        if not self.is_tripped:
            self.consecutive_failures, self._opened, self.why, self.until = 0, 0, "", 0.0

    def _open(self, why: str, now: float, backoff: float) -> None:
        if not self.why:
            self.since = now
        self.why, self.until = why, now + backoff


class VaultBreakers:
    """A breaker for each vault that has failed. Not thread-safe."""

    def __init__(self, vaults: Collection[str], failures: int, backoff_seconds: float) -> None:
        """A breaker opens after `failures` consecutive failures, for `backoff_seconds` the first time."""
        self._vaults = vaults
        self._failures = failures
        self._backoff_seconds = backoff_seconds
        self._breakers: dict[str, Breaker] = {}
        self._differing: set[str] = set()

    def tune(self, failures: int, backoff_seconds: float) -> None:
        """Change `failures` and `backoff_seconds` of all breakers."""
        self._failures, self._backoff_seconds = failures, backoff_seconds
        for breaker in self._breakers.values():
            breaker.failures, breaker.backoff_seconds = failures, backoff_seconds

    def of(self, vault: str) -> Breaker:
        """The breaker of a vault."""
        return self._breakers.setdefault(vault, Breaker(self._failures, self._backoff_seconds))

    def items(self) -> Iterable[tuple[str, Breaker]]:
        """The breakers by vault, in order of their creation."""
        return self._breakers.items()

    def halted(self) -> dict[str, str]:
        """The vaults whose breakers are open, each with the cause."""
        now = time.time()
        return {vault: one.why for vault, one in self._breakers.items() if one.is_open(now)}

    def failed(self, vault: str, why: str) -> None:
        """Count a failure of a vault."""
        if self.of(vault).failed(why, time.time()):
            log.error("vault_halted", vault=vault, why=why)

    def ledger_mismatch(self, differ: LedgerMismatch) -> None:
        """Stop trading a vault until a restart.

        Raises:
            LedgerMismatch: there is no other vault, or another vault has mismatched too.
        """
        log.error("ledger_mismatch", vault=differ.vault, tx=differ.transaction_hash, why=str(differ))
        self.of(differ.vault).trip(str(differ), time.time())
        self._differing.add(differ.vault)
        if len(self._vaults) == 1 or len(self._differing) > 1:
            raise differ
