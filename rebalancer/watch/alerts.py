"""Delivery of alerts to the configured destinations, through Apprise (mail, chat and pagers, one URL each).

Each destination has a thread and a bounded queue of its own: a destination that is slow, hangs or is gone delays
neither a tick nor another destination. An alert that fails several times is counted and logged with the number and kind
of its destination. The URL of a destination is a secret, so no answer of a destination or of Apprise is logged.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from rebalancer.closing import Closing
from rebalancer.errors import ConfigError
from rebalancer.settings import AlertSettings, AlertUrl
from rebalancer.watch.alarm_state import Notice, Phase
from rebalancer.watch.alarms import Severity

__all__ = ["Alerts"]

log = structlog.get_logger("rebalancer.alerts")

_QUEUE = 100
"""Most alerts that wait for one destination; further alerts are dropped."""

_PAUSES_SECONDS = (2.0, 15.0)
"""Pauses between the attempts to send one alert to one destination."""

_LAST_SECONDS = 5.0
"""Time at shutdown to send the alerts that wait."""


@dataclass(frozen=True, slots=True)
class _Message:
    title: str
    body: str
    kind: str
    """Apprise's: info, success, warning or failure."""


class Alerts(Closing):
    """Sends alerts to all destinations. A context manager; `report` never waits."""

    def __init__(
        self,
        settings: AlertSettings,
        clean: Callable[[str], str] = str,
        count: Callable[[str], None] = lambda _: None,
        pauses_seconds: Sequence[float] = _PAUSES_SECONDS,
    ) -> None:
        """`clean` removes secrets from texts. `count` is called with "sent", "failed" or "dropped" for each alert and
        destination.

        Raises:
            ConfigError: Apprise does not support the kind of a URL, or the URL is incomplete.
        """
        self._least = Severity(settings.min_severity)
        self._clean = clean
        self._destinations = [
            _Destination(number, url, count, tuple(pauses_seconds)) for number, url in enumerate(settings.urls, start=1)
        ]
        for destination in self._destinations:
            destination.start()

    def report(self, notices: Sequence[Notice]) -> None:
        """Queue notices for all destinations, except those below `min_severity`."""
        for notice in notices:
            if notice.alarm.severity.reaches(self._least):
                message = _Message(self._clean(notice.title), self._clean(notice.body), _kind(notice))
                for destination in self._destinations:
                    destination.put(message)

    def close(self) -> None:
        """Send the alerts that wait, for a few seconds at most."""
        until = time.monotonic() + _LAST_SECONDS
        for destination in self._destinations:
            destination.end()
        for destination in self._destinations:
            destination.join(until - time.monotonic())


class _Destination:
    """A destination with its queue and its thread."""

    def __init__(
        self, number: int, url: AlertUrl, count: Callable[[str], None], pauses_seconds: tuple[float, ...]
    ) -> None:
        self.name = f"{number} ({url.get_secret_value().partition('://')[0]})"
        self._apprise = _apprise(number, url)
        self._count = count
        self._pauses = pauses_seconds
        self._queue: queue.Queue[_Message | None] = queue.Queue(_QUEUE)
        self._ending = threading.Event()
        # A daemon thread does not keep the program alive when it hangs.
        self._thread = threading.Thread(target=self._run, name=f"watch-alerts-{number}")
        self._thread.daemon = True

    def start(self) -> None:
        self._thread.start()

    def put(self, message: _Message) -> None:
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self._count("dropped")
            log.warning("alert_dropped", destination=self.name, alert=message.title)

    def end(self) -> None:
        self._ending.set()
        with suppress(queue.Full):  # the thread ends with its queue or the process
            self._queue.put_nowait(None)

    def join(self, seconds: float) -> None:
        self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        while True:
            try:
                message = self._queue.get(timeout=0 if self._ending.is_set() else None)
            except queue.Empty:
                return
            if message is None:
                return
            self._report(message)

    def _report(self, message: _Message) -> None:
        for pause in (*self._pauses, 0.0):
            if self._sent(message):
                self._count("sent")
                return
            # Jittered, so that many keepers do not retry at the same time. At shutdown there is no pause.
            self._ending.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311 (no secret)
        self._count("failed")
        log.warning("alert_failed", destination=self.name, alert=message.title)

    def _sent(self, message: _Message) -> bool:
        try:
            return bool(
                self._apprise.notify(
                    body=message.body, title=message.title, notify_type=message.kind, body_format="text"
                )
            )
        except Exception:  # noqa: BLE001 (a plugin may raise anything, and its text may hold the URL)
            return False


def _kind(notice: Notice) -> str:
    if notice.phase is Phase.ENDED:
        return "success"
    return {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}[notice.alarm.severity]


def _apprise(number: int, url: AlertUrl) -> Any:
    """Apprise for one destination; it runs in the calling thread.

    Raises:
        ConfigError: Apprise cannot use the URL.
    """
    import apprise  # slow to import, and only needed where a URL is set

    # Its log may hold URLs.
    logger = logging.getLogger(apprise.LOGGER_NAME)
    logger.propagate = False
    asset = apprise.AppriseAsset(async_mode=False, service_timeout=0, app_id="Rebalancer")
    made = apprise.Apprise(asset=asset)
    if not made.add(url.get_secret_value()):
        why = f"Apprise cannot use number {number} ({url!s}): see Apprise's manual for URLs of this kind"
        raise ConfigError("alerts.urls", "in the settings", why)
    return made
