"""Leases: the permission to sign and send for an account, and how a holder notices its loss.

One machine at a time holds a lease, which expires by itself. The holder measures it from before its request, on a clock
that continues while the machine sleeps, and treats it as expired a margin before Redis does. A thread renews it three
times per duration. A process that was paused (SIGSTOP, a suspended machine, garbage collection) finds the lease expired
at the next `check`, which is made before every signature and every sending. A pause right after the check is caught by
the ledger, which knows the newest token (`rebalancer.fleet.redis_state`). A lost lease is lost for good: the holder
ends, and may come back as a new holder.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import structlog

from rebalancer.errors import LeaseLost, SharedStateUnreachable
from rebalancer.fleet.redis_state import SharedState

__all__ = ["Lease", "boot_seconds"]

log = structlog.get_logger("rebalancer.fleet")

_MARGIN = 0.25
"""Part of a lease that its holder does not use: a margin for clocks of different speeds, and for late checks."""

_RENEWALS = 3
"""Renewals within the duration of a lease."""


def boot_seconds() -> float:
    """Seconds on a monotonic clock that continues while the machine sleeps, where there is such a clock (Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lease:
    """A lease from the view of one holder. `check` is thread-safe."""

    def __init__(
        self,
        state: SharedState,
        name: str,
        holder: str,
        seconds: float,
        clock: Callable[[], float] = boot_seconds,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`seconds` is its duration. `holder` must be a unique name. `on_lost` is called once, from any thread, when
        the loss is noticed."""
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

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def token(self) -> int:
        """The fencing token of the held lease.

        Raises:
            LeaseLost: it is not held, or not any more.
        """
        self.check()
        if self._token is None:
            raise AssertionError("a held lease has a token")
        return self._token

    def take(self) -> bool:
        """Take the lease if no machine holds it, and renew it from now on.

        Raises:
            SharedStateUnreachable: Redis does not answer.
        """
        if self._why_lost:
            raise LeaseLost(self.name, self._why_lost)
        requested_at = self._clock()
        token = self.state.take(self.name, self.holder, self.seconds)
        if token is None:
            return False
        self._token = token
        self._over_at = requested_at + self.seconds * (1 - _MARGIN)
        log.info("lease_taken", lease=self.name, token=token)
        self._renewing = threading.Thread(target=self._renew_on, name="lease", daemon=True)
        self._renewing.start()
        return True

    def check(self) -> None:
        """Check that the lease is held, as far as this machine knows. Makes no request.

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
        """Hold the lease for its whole duration from now.

        Raises:
            LeaseLost: it has expired, or another machine holds it.
            SharedStateUnreachable: Redis does not answer; the lease keeps its old end.
        """
        self.check()
        requested_at = self._clock()
        if not self.state.renew(self.name, self.holder, self._token or 0, self.seconds):
            self._lose("it expired, or another machine has taken it")
            raise LeaseLost(self.name, self._why_lost)
        self._over_at = requested_at + self.seconds * (1 - _MARGIN)

    def release(self) -> None:
        """Stop the renewals and let others take the lease. If Redis does not answer, the lease expires by itself."""
        self._ending.set()
        if self._renewing is not None:
            self._renewing.join()
            self._renewing = None
        token, self._token = self._token, None
        if token is None or self._why_lost:
            return
        self._why_lost = "it was released"
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
