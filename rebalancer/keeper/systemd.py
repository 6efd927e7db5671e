"""Notices to systemd from a process that it started as `Type=notify`: ready, alive, or about to end (sd_notify(3)).

Where no systemd asks (NOTIFY_SOCKET), nothing is told. What cannot be told is logged, and stops nothing.
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
        # A name that begins with @ is in no file system.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.alive_seconds = self._alive_seconds(environment) if address else None
        """How often it wants to be told that the process is alive, with as much again to spare; None if it does not."""

    def report(self, message: str) -> None:
        """Send one message, and wait for nothing."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as problem:
            log.warning("systemd_not_told", message=message, why=str(problem))

    @staticmethod
    def _alive_seconds(environment: Mapping[str, str]) -> float | None:
        if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        try:
            microseconds = int(environment.get("WATCHDOG_USEC", ""))
        except ValueError:
            return None
        return microseconds / 2_000_000 if microseconds > 0 else None
