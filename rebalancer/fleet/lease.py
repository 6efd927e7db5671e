"""Who may sign and send for an account now, and how does a holder notice that it no longer may?

A lease is held by one machine at a time and ends by itself. Its holder counts from before it asked, on a clock that goes on while the
machine sleeps, and regards the lease as over a margin before Redis does; a thread renews it at thirds of its time. Who was stopped in
between (SIGSTOP, a suspended machine, a long collection) finds it over at the next `check`, which is made before every signing and
every sending. What that cannot see, because the stop came right after the check, the ledger refuses: it knows the newest token
(`rebalancer.fleet.redis_state`). A lease that was lost is lost for good: whoever lost it ends, and may come back as a new holder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from rebalancer.errors import LeaseLost, SharedStateUnreachable
from rebalancer.fleet.redis_state import SharedState

__all__ = ["Lease", "boot_seconds"]

log = structlog.get_logger("rebalancer.fleet")

_MARGIN = 0.25
"""The part of a lease that its holder does not use: for clocks that run at different speeds, and for a check that comes late."""

_RENEWALS = 3
"""Times that a lease is renewed within its length."""


def boot_seconds() -> float:
    """Seconds on a clock that only goes forward, and that goes on while the machine sleeps where there is such a clock (Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lease:
    """One lease as one holder sees it. `check` may be called from any thread."""

    def __init__(
        self,
        state: SharedState,
        name: str,
        holder: str,
        seconds: float,
        clock: Callable[[], float] = boot_seconds,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`seconds`: its length; `holder` must be no other's name. `on_lost` is called once, from any thread, when it is found lost."""
        self.state = state
        self.name = name
        self.holder = holder
        self.seconds = seconds
        self.on_lost = on_lost
        self._clock = clock
        self._token: int | None = None
        self._over_at = 0.0
        self._why_lost = ""
        self._ending = threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def token(self) -> int:
        """The fencing token that it is held under.

        Raises:
            LeaseLost: it is not held, or not any more.
        """
        self.check()
        if self._token is None:
            raise AssertionError("a lease that holds has a token")
        return self._token

    def take(self) -> bool:
        """Take it if nobody holds it, and have it renewed from now on.

        Raises:
            SharedStateUnreachable: nobody can tell.
        """
        if self._why_lost:
            raise LeaseLost(self.name, self._why_lost)
        asked_at = self._clock()
        token = self.state.take(self.name, self.holder, self.seconds)
        if token is None:
            return False
        self._token = token
        self._over_at = asked_at + self.seconds * (1 - _MARGIN)
        log.info("lease_taken", lease=self.name, token=token)
        self._renewing = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._renewing.start()
        return True

    def check(self) -> None:
        """Make sure that it is held, as far as this machine can tell by itself. Asks nobody.

        Raises:
            LeaseLost: it is not held, or not any more.
        """
        if self._token is None and not self._why_lost:
            raise LeaseLost(self.name, "it was never taken")
        late = self._clock() - self._over_at
        if not self._why_lost and late >= 0:
            self._lose(f"it was not renewed in time, by {late:.1f} s")
        if self._why_lost:
            raise LeaseLost(self.name, self._why_lost)

    def renew(self) -> None:
        """Hold it for its whole length from now.

        Raises:
            LeaseLost: it is over, or another holds it.
            SharedStateUnreachable: nobody can tell; it holds as long as it did.
        """
        self.check()
        asked_at = self._clock()
        if not self.state.renew(self.name, self.holder, self._token or 0, self.seconds):
            self._lose("it ended, or another has taken it")
            raise LeaseLost(self.name, self._why_lost)
        self._over_at = asked_at + self.seconds * (1 - _MARGIN)

    def release(self) -> None:
        """Stop renewing it and let others take it. What cannot be said to Redis ends by itself."""
        self._ending.set()
        if self._renewing is not None:
            self._renewing.join()
            self._renewing = None
        token, self._token = self._token, None
        if token is None or self._why_lost:
            return
        self._why_lost = "it was given up"
        try:
            self.state.release(self.name, self.holder, token)
        except SharedStateUnreachable as failure:
            log.warning("lease_not_released", lease=self.name, why=str(failure))
        else:
            log.info("lease_released", lease=self.name, token=token)

    def _renew_on(self) -> None:
        while not self._ending.wait(self.seconds / _RENEWALS):
            try:
                self.renew()
            except LeaseLost:
                return
            except SharedStateUnreachable as failure:
                log.warning("lease_not_renewed", lease=self.name, why=str(failure))

    def _lose(self, why: str) -> None:
        self._why_lost = why
        log.error("lease_lost", lease=self.name, token=self._token, why=why)
        self.on_lost()
