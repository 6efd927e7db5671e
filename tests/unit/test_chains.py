"""The keepers of one process: what ends one, what ends all, and what signals do, with keepers that do as they are told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.errors import AllChainsUnavailable, LedgerMismatch, RpcTimeout
from rebalancer.keeper import supervisor as module
from rebalancer.keeper.supervisor import Supervisor
from rebalancer.keeper.systemd import Systemd
from tests.ticks import breaker, decision, tick

PATIENCE_SECONDS = 20.0


class Pauses(threading.Event):
    """A signal to stop that hurries everybody who waits for it, and keeps how long they meant to."""

    def __init__(self) -> None:
        super().__init__()
        self.meant: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.meant.append(timeout or 0)
        return super().wait(0.001)


class Keeper:
    """Does what it is told to when it starts and when it runs."""

    def __init__(
        self,
        runs: Callable[[Any, Callable[[], None]], None] = lambda *_: None,
        starts: Callable[[], None] = lambda: None,
    ) -> None:
        self.runs, self.starts = runs, starts
        self.stopped = threading.Event()
        self.tuned: list[Any] = []
        self.retried = 0

    def start(self) -> None:
        self.starts()

    def run(self, on_decision: Any, alive: Callable[[], None]) -> None:
        self.runs(on_decision, alive)

    def stop(self) -> None:
        self.stopped.set()

    def tune(self, tuning: Any) -> None:
        self.tuned.append(tuning)

    def retry_pools(self) -> None:
        self.retried += 1

    def until_stopped(self, *_: Any) -> None:
        assert self.stopped.wait(PATIENCE_SECONDS)


def supervisor_of(chains: dict[int, Any], **more: Any) -> Supervisor:
    made = Supervisor(
        {chain: one if callable(one) else _opened(one) for chain, one in chains.items()},
        systemd=Systemd({}),
        **more,
    )
    made._stopping = Pauses()
    return made


def _opened(keeper: Keeper) -> Any:
    return lambda _stack, _observers: keeper


def raises(failure: BaseException) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise failure

    return fail


def test_a_chain_alone_that_fails_ends_the_station_and_what_it_opened_is_closed() -> None:
    closed: list[str] = []

    def made(stack: ExitStack, _observers: Sequence[Any]) -> Any:
        stack.callback(closed.append, "closed")
        return Keeper(starts=raises(RpcTimeout("node", 3)))

    with pytest.raises(RpcTimeout):
        supervisor_of({1: made}).run()

    assert closed == ["closed"]


def test_a_chain_of_several_is_tried_again_in_growing_pauses_and_the_others_go_on() -> None:
    tries = []
    good = Keeper()
    good.runs = good.until_stopped
    supervisor = supervisor_of({1: good})

    def bad(_stack: ExitStack, _observers: Sequence[Any]) -> Any:
        tries.append(1)
        if len(tries) == 9:
            supervisor.stop()
        raise RpcTimeout("node", 3)

    supervisor.chains[10] = bad
    supervisor.run()

    assert len(tries) == 9
    assert good.stopped.is_set()
    pauses = supervisor._stopping.meant  # type: ignore[attr-defined]  # a Pauses
    assert 0.2 in pauses, "who looks after them pauses, too"
    grown = [one for one in pauses if one != 0.2]
    assert grown == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0]


def test_when_every_chain_of_several_could_not_begin_so_often_the_station_ends() -> None:
    with capture_logs() as logs, pytest.raises(AllChainsUnavailable) as caught:
        supervisor_of({1: raises(RpcTimeout("one", 3)), 10: raises(RpcTimeout("ten", 3))}).run()

    assert "one" in str(caught.value)
    assert "ten" in str(caught.value)
    tries = {
        chain: [one["tries"] for one in logs if one["event"] == "chain_not_started" and one["chain_id"] == chain]
        for chain in (1, 10)
    }
    assert all(seen[:5] == [1, 2, 3, 4, 5] for seen in tries.values())


def test_a_chain_counts_as_one_that_rests_after_five_tries() -> None:
    tries: list[int] = []

    def bad(*_: Any) -> Any:
        tries.append(1)
        raise RpcTimeout("node", 3)

    supervisor = supervisor_of({1: bad, 10: Keeper()})
    supervisor._backing_off = {10: "it rests"}
    supervisor._keep(1)

    assert len(tries) == 5


def test_whatever_else_ends_one_chain_ends_all() -> None:
    good = Keeper()
    good.runs = good.until_stopped
    failure = LedgerMismatch("0x", "0x", (1,), (2,))

    with pytest.raises(LedgerMismatch):
        supervisor_of({1: good, 10: Keeper(runs=raises(failure))}).run()

    assert good.stopped.is_set()


def test_a_station_of_keepers_that_come_to_their_end_ends() -> None:
    decided: list[Any] = []
    made = decision()

    def runs(reported: Callable[[Any], None], alive: Callable[[], None]) -> None:
        alive()
        reported(made)

    supervisor = supervisor_of({1: Keeper(runs=runs)}, on_decision=decided.append)
    supervisor.run()
    assert decided == [made]
    supervisor = supervisor_of({1: Keeper(runs=runs)})
    supervisor.run()


def test_a_station_that_stops_goes_on_telling_that_it_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported = []
    keeper = Keeper()
    done = threading.Event()

    def runs(*_: Any) -> None:
        assert threading.current_thread().daemon, "a second signal waits for nobody"
        keeper.until_stopped()
        assert done.wait(PATIENCE_SECONDS)

    def report(*, stopping: bool = False) -> None:
        reported.append(stopping)
        if stopping:
            done.set()

    keeper.runs = runs
    pauses: list[float | None] = []
    plain = threading.Thread.join

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        pauses.append(timeout)
        plain(self, 0.001)

    monkeypatch.setattr(threading.Thread, "join", join)
    supervisor = supervisor_of({1: keeper})
    supervisor._report_alive = report  # type: ignore[method-assign]  # to see it
    supervisor._signal = signal.SIGTERM
    supervisor.run()

    assert set(pauses) == {0.2}
    assert reported[-1] is True
    assert False in reported


def test_a_station_that_is_stopped_before_a_keeper_is_opened_does_not_begin_it() -> None:
    begun: list[int] = []

    def made(_stack: ExitStack, _observers: Sequence[Any]) -> Any:
        supervisor.stop()
        return Keeper(starts=lambda: begun.append(1))

    supervisor = supervisor_of({1: made})
    supervisor.run()

    assert begun == []


# Resting


def test_chains_that_rest_all_at_once_end_the_station_and_one_that_looks_again_rests_no_more() -> None:
    reported: list[Any] = []
    supervisor = supervisor_of({1: Keeper(), 10: Keeper()}, observers=[reported.append])
    backing_off = [tick(chain_id=chain, failure=f"{chain} fails", breakers=(breaker(),)) for chain in (1, 10)]
    vaults_own = tick(chain_id=10, breakers=(breaker("0xaa"),))
    supervisor._watch(backing_off[0])
    supervisor._watch(tick(chain_id=1))
    supervisor._watch(backing_off[1])
    supervisor._watch(vaults_own)
    supervisor._watch(backing_off[0])
    assert supervisor._failed == []
    assert not supervisor._stopping.is_set()

    supervisor._watch(backing_off[1])

    (failure,) = supervisor._failed
    assert isinstance(failure, AllChainsUnavailable)
    assert "1 fails" in str(failure)
    assert "10 fails" in str(failure)
    assert supervisor._stopping.is_set()
    assert len(reported) == 6


def test_a_chain_alone_that_rests_ends_nothing() -> None:
    supervisor = supervisor_of({1: Keeper()})
    supervisor._watch(tick(chain_id=1, failure="it fails", breakers=(breaker(),)))

    assert not supervisor._stopping.is_set()


# Settings, and signals


def test_settings_hold_for_who_runs_and_for_who_begins_later() -> None:
    running, later = Keeper(), Keeper()
    supervisor = supervisor_of({1: running, 10: later}, reload=lambda: {1: "one", 10: "ten"})
    supervisor._keepers = {1: running}  # type: ignore[dict-item]  # all that is asked of it here
    supervisor._reload()
    assert (running.tuned, running.retried) == (["one"], 1)
    assert later.tuned == []

    supervisor._keep(10)

    assert later.tuned == ["ten"]
    assert running.tuned == ["one"]


def test_the_first_signal_stops_the_second_abandons_and_a_third_kind_reloads() -> None:
    supervisor = supervisor_of({})
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(kind) for kind in kinds]
    with supervisor._signals():
        signal.raise_signal(signal.SIGHUP)
        assert (supervisor._reloading, supervisor._signal) == (True, None)
        signal.raise_signal(signal.SIGTERM)
        assert supervisor._signal is signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(kind) for kind in kinds] == before
    ending = supervisor_of({})
    ending.stop()
    with ending._signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_ends_the_station_after_its_looks_and_is_logged_by_name() -> None:
    keeper = Keeper()

    def runs(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        keeper.until_stopped()

    keeper.runs = runs
    with capture_logs() as logs:
        supervisor_of({1: keeper}).run()

    assert [one["signal"] for one in logs if one["event"] == "stopping"] == ["SIGTERM"]


def test_a_signal_to_reload_has_settings_read_once() -> None:
    read = []
    keeper = Keeper()

    def reload() -> dict[int, Any]:
        read.append(1)
        supervisor.stop()
        return {}

    def runs(*_: Any) -> None:
        signal.raise_signal(signal.SIGHUP)
        keeper.until_stopped()

    keeper.runs = runs
    supervisor = supervisor_of({1: keeper}, reload=reload)
    supervisor.run()

    assert read == [1]
    assert keeper.retried == 1
    assert not supervisor._reloading


def test_looks_that_come_to_no_end_are_abandoned_and_that_is_no_clean_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.0)
    for_ever = threading.Event()
    keeper = Keeper(runs=lambda *_: (for_ever.wait(PATIENCE_SECONDS), None)[1])
    supervisor = supervisor_of({7: keeper})
    supervisor._signal = signal.SIGTERM
    with capture_logs() as logs, pytest.raises(KeyboardInterrupt):
        supervisor.run()
    for_ever.set()

    assert [one["chains"] for one in logs if one["event"] == "ticks_aborted"] == [["chain-7"]]
    assert keeper.stopped.is_set()
