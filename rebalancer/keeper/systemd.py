"""Messages to systemd from a process of `Type=notify`: ready, alive, stopping (sd_notify(3)).

Without NOTIFY_SOCKET nothing is sent. A message that cannot be sent is logged and stops nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

__all__ = ["ALIVE", "ENDING", "READY", "Systemd"]

log = structlog.get_logger("rebalancer.systemd")

READY, ALIVE, ENDING = "READY=1", "WATCHDOG=1", "STOPPING=1"


class Systemd:
    """The service manager of this process, if it has one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # An address that begins with @ is in the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.alive_seconds = self._alive_seconds(environment) if address else None
        """Interval of watchdog messages, half of what systemd allows; None without a watchdog."""

    def report(self, message: str) -> None:
        """Send one message, without waiting."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as problem:
            log.warning("systemd_unreachable", message=message, why=str(problem))

    @staticmethod
    def _alive_seconds(environment: Mapping[str, str]) -> float | None:
        if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        try:
            microseconds = int(environment.get("WATCHDOG_USEC", ""))
        except ValueError:
            return None
        return microseconds / 2_000_000 if microseconds > 0 else None
