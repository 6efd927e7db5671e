"""What an operator sees of a running keeper: metrics, health, status and alerts.

Every part of this package is an observer: the keeper passes a report of each tick (`rebalancer.keeper.report.Tick`) to
it, and an observer cannot change what the keeper does. An observer that fails is logged and misses that tick.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog

from rebalancer.keeper.report import Observer, Tick
from rebalancer.redact import Redactor
from rebalancer.settings import Settings
from rebalancer.watch.alarm_state import Alarms
from rebalancer.watch.alarms import AlarmLimits
from rebalancer.watch.alerts import Alerts
from rebalancer.watch.metrics import Metrics
from rebalancer.watch.server import Server, is_loopback
from rebalancer.watch.status import StatusStore

__all__ = ["observers_of"]

log = structlog.get_logger("rebalancer.watch")

_CLOCK_SECONDS = 15.0
"""Interval between two checks for silent chains."""


@contextmanager
def observers_of(settings: Settings, *others: Settings) -> Iterator[list[Observer]]:
    """The observers that the settings configure, with their server and threads, until the context ends.

    `others` are the settings of further chains: the server and the alerts are configured by the first. The observers
    may be called from any thread, by one tick of one chain at a time.

    Raises:
        ListenFailed: the server cannot listen at the configured address.
        ConfigError: an alert URL is not valid.
    """
    chain_ids = [each.chain_id for each in (settings, *others)]
    clean = Redactor.of(settings, *others)
    alarms = Alarms(AlarmLimits.of(settings.alerts), settings.alerts.repeat_minutes * 60, chain_ids)
    metrics = Metrics(alarms)
    status_store = StatusStore(chain_ids, alarms, clean)
    with ExitStack() as stack:
        alerts = stack.enter_context(Alerts(settings.alerts, clean, metrics.alert))
        if settings.keeper.listens_at is not None:
            at = settings.keeper.listens_at
            if not is_loopback(at[0]):
                log.warning("listens_beyond_this_machine", at=settings.keeper.listen)
            stack.enter_context(Server(at, status_store, metrics, settings.keeper.allowed_hosts))
        stack.enter_context(_clock(alarms, alerts))

        def alarm(tick: Tick) -> None:
            alerts.report(alarms.observe(tick))

        yield [_harmless(observer) for observer in (metrics, status_store, alarm)]


def _harmless(observer: Observer) -> Observer:
    """Wrap an observer: its exceptions are logged and do not stop the keeper."""

    def watch(tick: Tick) -> None:
        try:
            observer(tick)
        except Exception as error:  # noqa: BLE001 (an observer may raise anything; the keeper continues)
            name = getattr(observer, "__name__", type(observer).__name__)
            log.error("observer_failed", observer=name, chain_id=tick.chain_id, why=repr(error))

    return watch


@contextmanager
def _clock(alarms: Alarms, alerts: Alerts) -> Iterator[None]:
    """Check for silent chains in a thread of its own: a chain without ticks gives no reports."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_CLOCK_SECONDS):
            alerts.report(alarms.silence(time.time()))

    thread = threading.Thread(target=run, name="watch-clock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
