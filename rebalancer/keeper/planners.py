"""Planner processes: with a large number of vaults, one process per core decides about them within a block.

Decisions are pure, so each process receives the pools and a batch of vaults. A small number of vaults is decided in
this process, which is faster. Vaults that are not decided in time are missing from the result; a late batch is dropped.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool

import structlog

from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.environment import hidden_from_children
from rebalancer.keeper.decide import Conditions, Verdict, decide
from rebalancer.reasons import Reason
from rebalancer.venues import Pool

__all__ = ["Planners"]

log = structlog.get_logger("rebalancer.keeper")

_FEW = 24
"""Below this number of vaults, other processes are not worth their overhead."""
_WARM_SECONDS = 0.3
_RUNS_EACH = 4
"""Batches of vaults for each process, so that the last process to finish is not late by much."""


class Planners:
    """Decides about vaults, by default with one process per core. Not thread-safe."""

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def warm(self) -> None:
        """Start the processes and wait for them. This takes seconds, so do it before the first block."""
        if self.processes > 1:
            with hidden_from_children():  # a task starts a process if none is idle
                ready = [self._begun().submit(_be_ready) for _ in range(self.processes)]
            for one in ready:
                one.result()

    def decide(
        self, vaults: Sequence[VaultSnapshot], pools: Sequence[Pool], conditions: Conditions, until: float | None = None
    ) -> dict[str, Verdict]:
        """The verdicts by vault, without the vaults that were not reached by `until` (`time.monotonic`)."""
        if self.processes == 1 or len(vaults) < _FEW:
            return _decide_all(vaults, pools, conditions, until)
        pool = self._begun()
        size = -(-len(vaults) // (_RUNS_EACH * self.processes))
        runs: list[Future[dict[str, Verdict]]] = []
        found: dict[str, Verdict] = {}
        try:
            with hidden_from_children():
                for at in range(0, len(vaults), size):
                    part = vaults[at : at + size]
                    runs.append(pool.submit(_decide_all, part, tuple(pools), conditions))
            for run in runs:
                left = None if until is None else max(0.0, until - time.monotonic())
                found |= run.result(left)
        except Late:
            for run in runs:
                run.cancel()
        except BrokenProcessPool:
            log.error("planners_died", processes=self.processes)
            _stop_feeding(pool)
            self.close()
            return _decide_all(vaults, pools, conditions, until)
        return found

    def _begun(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Not forked: the keeper has threads.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.processes, mp_context=context, initializer=_live_as_long_as_the_keeper
            )
        return self._pool


def _stop_feeding(broken: ProcessPoolExecutor) -> None:
    """Let the thread end that feeds dead processes: it would wait for ever, because nobody reads its full pipe.

    Python does this itself since 3.11.5 (CPython issue 94777).
    """
    if sys.version_info[:3] < (3, 11, 5):
        broken._call_queue._reader.close()  # type: ignore[attr-defined]  # no public name


def _live_as_long_as_the_keeper() -> None:
    """End with the keeper, even if it is killed, and ignore Ctrl-C, which a terminal sends to all processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_keeper, daemon=True).start()


def _end_with_the_keeper() -> None:
    keeper = multiprocessing.parent_process()
    if keeper is not None:
        keeper.join()
    os._exit(1)


def _be_ready() -> None:
    """Take long enough that every process gets one of these tasks; a process loads this module for it."""
    time.sleep(_WARM_SECONDS)


def _decide_all(
    vaults: Sequence[VaultSnapshot], pools: Sequence[Pool], conditions: Conditions, until: float | None = None
) -> dict[str, Verdict]:
    found = {}
    for snapshot in vaults:
        if until is not None and time.monotonic() > until:
            break
        try:
            found[snapshot.address] = decide(snapshot, pools, conditions)
        except Exception as error:  # must not affect the other vaults
            log.exception("plan_failed", vault=snapshot.address)
            text = f"the planner failed with an internal error: {error!r}"
            found[snapshot.address] = Verdict(snapshot, Reason.PLAN_FAILED, text)
    return found
