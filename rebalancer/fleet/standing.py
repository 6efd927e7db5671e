"""Health and status of a fleet process without a chain of its own: a worker, or a standby that waits for a lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import structlog

from rebalancer.errors import ListenFailed
from rebalancer.redact import Redactor
from rebalancer.settings import Settings
from rebalancer.texts import safe_text
from rebalancer.watch.server import Server
from rebalancer.words import span

__all__ = ["SILENT_SECONDS", "Standing", "served"]

SILENT_SECONDS = 120.0
"""A process that makes no request to Redis for this long hangs."""

log = structlog.get_logger("rebalancer.fleet")


class Standing:
    """State of a process at /healthz, /readyz and /status. Thread-safe."""

    def __init__(
        self,
        role: str,
        name: str,
        chain_ids: Sequence[int],
        clean: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`role` is "worker" or "standby"; `clean` removes secrets from texts."""
        self.role = role
        self.name = name
        self.chain_ids = tuple(sorted(chain_ids))
        self._clean = clean
        self._clock = clock
        self._started_at = clock()
        self._tried_at: dict[str, float] = {}
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()

    def tried(self, what: str, failure: str = "") -> None:
        """Note a request to Redis for `what`, a lease or a heartbeat; `failure` is a sentence, or "" if it
        succeeded."""
        with self._lock:
            self._tried_at[what] = self._clock()
            self._failures[what] = failure

    def unhealthy(self) -> tuple[str, ...]:
        """Problems that a restart can fix: one sentence for each request that was not repeated in time."""
        now = self._clock()
        with self._lock:
            tried = self._tried_at or {self.role: self._started_at}
            return tuple(
                f"{what} was last tried {span(now - at)} ago."
                for what, at in sorted(tried.items())
                if now - at > SILENT_SECONDS
            )

    def unready(self) -> tuple[str, ...]:
        """Problems that keep the process from its work, one sentence each."""
        problems = list(self.unhealthy())
        with self._lock:
            failures = [(what, why) for what, why in sorted(self._failures.items()) if why]
        return (*problems, *(f"{what}: {safe_text(self._clean(why))}" for what, why in failures))

    def status(self) -> dict[str, Any]:
        """The whole status, in the format of a keeper's, with chains without ticks."""
        return {
            "at": self._clock(),
            "started_at": self._started_at,
            "version": version("rebalancer"),
            "role": self.role,
            "name": self.name,
            "problems": list(self.unready()),
            "alarms_on": 0,
            "alarms": [],
            "chains": [{"chain_id": chain_id, "ticks": 0} for chain_id in self.chain_ids],
        }


@contextmanager
def served(role: str, name: str, chains: Sequence[Settings]) -> Iterator[Standing]:
    """The state of this process, served at the first chain's `keeper.listen` until the context ends.

    If the port is taken, for instance by another process of the fleet on this machine, the log says so, and nothing is
    served.
    """
    standing = Standing(role, name, [each.chain_id for each in chains], Redactor.of(*chains))
    keeper = chains[0].keeper
    server = None
    if keeper.listens_at is not None:
        try:
            server = Server(keeper.listens_at, standing, None, keeper.allowed_hosts)
        except ListenFailed as failure:
            log.warning("health_not_served", why=str(failure))
    try:
        yield standing
    finally:
        if server is not None:
            server.close()
