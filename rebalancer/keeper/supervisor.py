"""Supervisor of the keepers of one process, one a chain: it starts them, keeps them going, and ends them.

Each chain has a thread of its own, with its own endpoints, journal and books, so that one that does not answer holds up no other. A
chain alone gives up after so many failures, and the process ends; of many, one rests and is tried again, and the process ends when all
rest at once. Whatever else ends one, ends all: nothing stops unnoticed. A chain whose thread comes to no end of what it does is
not alive: the process then tells systemd so no more, and is started again.
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

log = structlog.get_logger("rebalancer.station")

_TICK_SECONDS = 0.2
_STOP_SECONDS = 300.0
_LONGEST_REST_SECONDS = 60.0
"""Between two tries to begin with a chain that does not answer."""
_HUNG_SECONDS = 240.0
"""A thread that has come to no end of a look, a start or a pause for so long hangs: each has at most some tens of seconds."""
_TRIES = 5
"""After so many of them the chain counts as one that rests."""

Opened = Callable[[ExitStack, Sequence[Observer]], Keeper]
"""Makes a chain's keeper in the thread that it will run in; what is to be closed goes on the stack."""


class Supervisor:
    """The keepers of one process. `watchers` are told of every look by one keeper at a time, from its thread."""

    def __init__(
        self,
        chains: Mapping[int, Opened],
        observers: Sequence[Observer] = (),
        on_decision: Callable[[Decision], None] | None = None,
        reload: Callable[[], Mapping[int, Tuning]] | None = None,
        systemd: Systemd | None = None,
    ) -> None:
        """`chains` by their id. `reload` reads the settings again, for whoever sends SIGHUP. `systemd` is that of this process."""
        self.chains = dict(chains)
        self.observers = tuple(observers)
        self.on_decision = on_decision
        self.reload = reload
        self.systemd = systemd or Systemd()
        self._alive_at: dict[int, float] = {}
        """When each chain's thread last came to an end of something (`time.monotonic`)."""
        self._told_at = -math.inf
        self._keepers: dict[int, Keeper] = {}
        self._failed: list[BaseException] = []
        self._backing_off: dict[int, str] = {}
        self._tunings: dict[int, Tuning] = {}
        self._stopping = threading.Event()
        self._telling = threading.Lock()
        # Plain values: a signal that comes while an event's own lock is held would wait for itself for ever.
        self._signal: signal.Signals | None = None
        self._reloading = False

    def run(self) -> None:
        """Keep all chains going until a signal stops them; the second signal abandons what is under way.

        Raises:
            RebalancerError: what ended one of them, and so all.
            AllChainsUnavailable: after failures of each.
            KeyboardInterrupt: looks were abandoned, by a second signal or because they came to no end.
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
            log.error("abandoned", chains=abandoned, after_seconds=_STOP_SECONDS)
            raise KeyboardInterrupt
        log.info("stopped")

    def stop(self) -> None:
        """Let the present looks finish, and no other begin."""
        self._stopping.set()
        for keeper in tuple(self._keepers.values()):
            keeper.stop()

    def _alive(self, chain_id: int) -> None:
        self._alive_at[chain_id] = time.monotonic()

    def _report_alive(self, *, stopping: bool = False) -> None:
        """Tell systemd, as often as it wants to know, that no chain's thread hangs; while stopping, time is limited otherwise."""
        every, now = self.systemd.alive_seconds, time.monotonic()
        if every is None or now < self._told_at + every:
            return
        hung = [chain for chain, at in self._alive_at.items() if now > at + _HUNG_SECONDS]
        if hung and not stopping:
            log.error("hangs", chains=hung, seconds=_HUNG_SECONDS)
        else:
            self.systemd.report(ALIVE)
        self._told_at = now

    def _keep(self, chain_id: int) -> None:
        """One chain's thread: its keeper from beginning to end, again and again where it can be tried again."""
        rest, tries = _TICK_SECONDS, 0
        while not self._stopping.is_set():
            self._alive(chain_id)
            try:
                with ExitStack() as stack:
                    keeper = self.chains[chain_id](stack, [self._watch])
                    self._keepers[chain_id] = keeper
                    if chain_id in self._tunings:  # read since the chain was first tried
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
                    with self._telling:
                        self._rests(chain_id, str(failure))
                rest = min(2 * rest, _LONGEST_REST_SECONDS)
                self._stopping.wait(rest)
            except BaseException as failure:  # noqa: BLE001 (it is raised again by `run`)
                self._end(failure)
                return

    def _end(self, failure: BaseException) -> None:
        with self._telling:
            self._failed.append(failure)
        self._stopping.set()

    def _watch(self, tick: Tick) -> None:
        with self._telling:
            self._backing_off.pop(tick.chain_id, None)
            if any(breaker.scope == "chain" for breaker in tick.breakers):
                self._rests(tick.chain_id, tick.failure)
            for observer in self.observers:
                observer(tick)

    def _rests(self, chain_id: int, why: str) -> None:
        """Nothing comes from a chain for a while; of several, that is the end once it is so of all."""
        self._backing_off[chain_id] = why
        if len(self._backing_off) == len(self.chains) and len(self.chains) > 1:
            self._failed.append(AllChainsUnavailable(list(self._backing_off.values())))
            self._stopping.set()

    def _decided(self, decision: Decision) -> None:
        if self.on_decision is not None:
            with self._telling:
                self.on_decision(decision)

    def _reload(self) -> None:
        """Take over what of the settings may change while keepers run, and have pools that are left out tried again.

        What is wrong with the settings changes nothing.
        """
        for running in tuple(self._keepers.values()):
            running.retry_pools()
        if self.reload is None:
            return
        try:
            tunings = self.reload()
        except Exception:  # whatever a file says must not end what runs
            log.exception("settings_refused")
            return
        for chain_id, tuning in tunings.items():
            self._tunings[chain_id] = tuning
            keeper = self._keepers.get(chain_id)
            if keeper is not None:
                keeper.tune(tuning)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first SIGINT or SIGTERM stops after the looks under way, the second abandons them; SIGHUP has settings read and pools tried again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        # Neither takes a lock, nor logs: the thread that they interrupt may be at just that.
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
