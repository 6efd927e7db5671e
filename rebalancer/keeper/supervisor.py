"""Supervisor of the keepers of one process, one per chain: it starts, watches and ends them.

Each chain has a thread with its own endpoints, journal and caches, so that a chain that does not answer does not delay
the others. With one chain, the process ends after the limit of consecutive failures. With several, a failing chain is
retried after a backoff, and the process ends when all chains are unavailable. Any other error of one keeper ends the
process, so that nothing stops unnoticed. If the thread of a chain hangs, the process sends no more watchdog messages,
and systemd restarts it.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType

import structlog

from rebalancer.errors import AllChainsUnavailable, ChainError
from rebalancer.keeper.decision import Decision
from rebalancer.keeper.keeper import Keeper, Tuning
from rebalancer.keeper.report import Observer, Tick
from rebalancer.keeper.systemd import ALIVE, ENDING, READY, Systemd

__all__ = ["Supervisor"]

log = structlog.get_logger("rebalancer.supervisor")

_TICK_SECONDS = 0.2
_STOP_SECONDS = 300.0
_MAX_BACKOFF_SECONDS = 60.0
"""Longest pause between two attempts to start a chain that does not answer."""
_HUNG_SECONDS = 240.0
"""A thread hangs if a tick, a start or a pause takes longer; each takes less than a minute."""
_TRIES = 5
"""Failed starts before a chain counts as unavailable."""

Opened = Callable[[ExitStack, Sequence[Observer]], Keeper]
"""Makes a chain's keeper in the thread that runs it; resources to close go on the stack."""


class Supervisor:
    """The keepers of one process. `observers` receive reports from one thread at a time."""

    def __init__(
        self,
        chains: Mapping[int, Opened],
        observers: Sequence[Observer] = (),
        on_decision: Callable[[Decision], None] | None = None,
        reload: Callable[[], Mapping[int, Tuning]] | None = None,
        systemd: Systemd | None = None,
    ) -> None:
        """`chains` by chain id. `reload` reads the settings again on SIGHUP. `systemd` is the service manager of this
        process."""
        self.chains = dict(chains)
        self.observers = tuple(observers)
        self.on_decision = on_decision
        self.reload = reload
        self.systemd = systemd or Systemd()
        self._alive_at: dict[int, float] = {}
        """Last sign of life of each chain's thread (`time.monotonic`)."""
        self._reported_at = -math.inf
        self._keepers: dict[int, Keeper] = {}
        self._failed: list[BaseException] = []
        self._backing_off: dict[int, str] = {}
        self._tunings: dict[int, Tuning] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        # Plain values: a handler that interrupts a thread inside an event's lock would wait for itself for ever.
        self._signal: signal.Signals | None = None
        self._reloading = False

    def run(self) -> None:
        """Run all keepers until a signal stops them. A second signal aborts the current ticks.

        Raises:
            RebalancerError: the error of a keeper, which ends all of them.
            AllChainsUnavailable: all chains failed.
            KeyboardInterrupt: ticks were aborted, by a second signal or because they did not end in time.
        """
        threads = [
            threading.Thread(target=self._keep, args=(chain_id,), name=f"chain-{chain_id}") for chain_id in self.chains
        ]
        for thread in threads:
            thread.daemon = True  # a second signal must not wait for them
        with self._signals():
            for chain_id, thread in zip(self.chains, threads, strict=True):
                self._alive(chain_id)
                thread.start()
            self.systemd.report(READY)
            while any(thread.is_alive() for thread in threads) and not self._stopping.is_set():
                self._stopping.wait(_TICK_SECONDS)
                self._report_alive()
                if self._signal is not None:
                    log.info("stopping", signal=self._signal.name)
                    break
                if self._reloading:
                    self._reloading = False
                    self._reload()
            self.stop()
            self.systemd.report(ENDING)
            until = time.monotonic() + _STOP_SECONDS
            for thread in threads:
                while thread.is_alive() and time.monotonic() < until:
                    thread.join(_TICK_SECONDS)
                    self._report_alive(stopping=True)
        if self._failed:
            raise self._failed[0]
        abandoned = [thread.name for thread in threads if thread.is_alive()]
        if abandoned:
            log.error("ticks_aborted", chains=abandoned, after_seconds=_STOP_SECONDS)
            raise KeyboardInterrupt
        log.info("stopped")

    def stop(self) -> None:
        """Finish the current ticks and begin no others."""
        self._stopping.set()
        for keeper in tuple(self._keepers.values()):
            keeper.stop()

    def _alive(self, chain_id: int) -> None:
        self._alive_at[chain_id] = time.monotonic()

    def _report_alive(self, *, stopping: bool = False) -> None:
        """Send systemd its watchdog message at the interval it requires, unless a chain's thread hangs; stopping has a
        time limit of its own."""
        every, now = self.systemd.alive_seconds, time.monotonic()
        if every is None or now < self._reported_at + every:
            return
        hung = [chain for chain, at in self._alive_at.items() if now > at + _HUNG_SECONDS]
        if hung and not stopping:
            log.error("chains_hang", chains=hung, seconds=_HUNG_SECONDS)
        else:
            self.systemd.report(ALIVE)
        self._reported_at = now

    def _keep(self, chain_id: int) -> None:
        """The thread of one chain: it runs the keeper, and starts it again after errors of the chain."""
        backoff, tries = _TICK_SECONDS, 0
        while not self._stopping.is_set():
            self._alive(chain_id)
            try:
                with ExitStack() as stack:
                    keeper = self.chains[chain_id](stack, [self._watch])
                    self._keepers[chain_id] = keeper
                    if chain_id in self._tunings:  # settings were read again before this start
                        keeper.tune(self._tunings[chain_id])
                    if self._stopping.is_set():
                        return
                    keeper.start()
                    keeper.run(self._decided, partial(self._alive, chain_id))
                return
            except ChainError as failure:
                if len(self.chains) == 1:
                    self._end(failure)
                    return
                tries += 1
                log.warning("chain_not_started", chain_id=chain_id, tries=tries, why=str(failure))
                if tries >= _TRIES:
                    with self._lock:
                        self._unavailable(chain_id, str(failure))
                backoff = min(2 * backoff, _MAX_BACKOFF_SECONDS)
                self._stopping.wait(backoff)
            except BaseException as failure:  # noqa: BLE001 (`run` raises it again)
                self._end(failure)
                return

    def _end(self, failure: BaseException) -> None:
        with self._lock:
            self._failed.append(failure)
        self._stopping.set()

    def _watch(self, tick: Tick) -> None:
        with self._lock:
            self._backing_off.pop(tick.chain_id, None)
            if any(breaker.scope == "chain" for breaker in tick.breakers):
                self._unavailable(tick.chain_id, tick.failure)
            for observer in self.observers:
                observer(tick)

    def _unavailable(self, chain_id: int, why: str) -> None:
        """Note that a chain is unavailable; if all of several chains are, the process ends."""
        self._backing_off[chain_id] = why
        if len(self._backing_off) == len(self.chains) and len(self.chains) > 1:
            self._failed.append(AllChainsUnavailable(list(self._backing_off.values())))
            self._stopping.set()

    def _decided(self, decision: Decision) -> None:
        if self.on_decision is not None:
            with self._lock:
                self.on_decision(decision)

    def _reload(self) -> None:
        """Apply settings that can change while keepers run, and retry left-out pools.

        If the settings are not valid, nothing changes.
        """
        for running in tuple(self._keepers.values()):
            running.retry_pools()
        if self.reload is None:
            return
        try:
            tunings = self.reload()
        except Exception:  # a bad file must not stop the keepers
            log.exception("settings_refused")
            return
        for chain_id, tuning in tunings.items():
            self._tunings[chain_id] = tuning
            keeper = self._keepers.get(chain_id)
            if keeper is not None:
                keeper.tune(tuning)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """First SIGINT or SIGTERM finishes the current ticks, a second one aborts them. SIGHUP reloads the settings and
        retries pools."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        # The handlers take no lock and do not log: the interrupted thread may hold the lock.
        def on_stop(number: int, _frame: FrameType | None) -> None:
            if self._signal is not None or self._stopping.is_set():
                raise KeyboardInterrupt
            self._signal = signal.Signals(number)

        def on_reload(_number: int, _frame: FrameType | None) -> None:
            self._reloading = True

        handlers = {signal.SIGINT: on_stop, signal.SIGTERM: on_stop, signal.SIGHUP: on_reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
