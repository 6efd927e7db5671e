"""Circuit breakers of the vaults of one chain: which vaults a keeper leaves alone, and why.

A vault whose transactions keep failing is left alone for a while. A vault whose ledger differs from the policy is left alone until a
restart. Where no other vault is left, or a second one differs as well, the difference ends the keeper.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

import structlog

from rebalancer.errors import BooksDiffer
from rebalancer.keeper.breaker import Breaker

__all__ = ["VaultBreakers"]

log = structlog.get_logger("rebalancer.keeper")


class VaultBreakers:
    """A breaker for each vault that has failed. Not to be shared by threads."""

    def __init__(self, vaults: Collection[str], failures: int, backoff_seconds: float) -> None:
        """`failures` in a row open a breaker, for `backoff_seconds` the first time."""
        self._vaults = vaults
        self._failures = failures
        self._backoff_seconds = backoff_seconds
        self._breakers: dict[str, Breaker] = {}
        self._differing: set[str] = set()

    def tune(self, failures: int, backoff_seconds: float) -> None:
        """Change when breakers open, and for how long, for all of them."""
        self._failures, self._backoff_seconds = failures, backoff_seconds
        for breaker in self._breakers.values():
            breaker.failures, breaker.rest_seconds = failures, backoff_seconds

    def of(self, vault: str) -> Breaker:
        """The breaker of a vault."""
        return self._breakers.setdefault(vault, Breaker(self._failures, self._backoff_seconds))

    def items(self) -> Iterable[tuple[str, Breaker]]:
        """The breakers by vault, in the order in which they were made."""
        return self._breakers.items()

    def halted(self) -> dict[str, str]:
        """The vaults to leave alone now, each with the reason."""
        now = time.time()
        return {vault: one.why for vault, one in self._breakers.items() if one.is_open(now)}

    def failed(self, vault: str, why: str) -> None:
        """Count a failure of a vault."""
        if self.of(vault).failed(why, time.time()):
            log.error("vault_halted", vault=vault, why=why)

    def books_differ(self, differ: BooksDiffer) -> None:
        """Leave a vault alone until a restart.

        Raises:
            BooksDiffer: there is no other vault, or another one differs as well.
        """
        log.error("books_differ", vault=differ.vault, tx=differ.transaction_hash, why=str(differ))
        self.of(differ.vault).trip(str(differ), time.time())
        self._differing.add(differ.vault)
        if len(self._vaults) == 1 or len(self._differing) > 1:
            raise differ
