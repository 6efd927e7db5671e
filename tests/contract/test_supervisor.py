"""Keepers of several chains in one process: one that is away holds up no other, and nothing stops unnoticed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment
from rebalancer.errors import (
    AllChainsUnavailable,
    KeeperNotAuthorized,
    RpcUnreachable,
    TooManyFailures,
)
from rebalancer.keeper import (
    Decision,
    EvaluatorOptions,
    Keeper,
    KeeperContext,
    KeeperOptions,
    Observer,
    Tick,
)
from rebalancer.keeper.keeper import Tuning
from rebalancer.keeper.supervisor import Opened, Supervisor
from rebalancer.reasons import Reason
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from tests.clocks import LONGEST_SECONDS, wait_for
from tests.contract.test_keeper import UP_10_PERCENT, move, set_policy

OPTIONS = KeeperOptions(
    poll_seconds=0.02,
    max_consecutive_failures=2,
    backoff_seconds=3_600.0,
    fee_cap_wei=10_000 * 10**9,
    receipt_seconds=0,
    tick_timeout_seconds=LONGEST_SECONDS,
)


def opened(
    environment: DevEnvironment,
    journal: Path,
    options: KeeperOptions = OPTIONS,
    *,
    actor: Actor = Actor.KEEPER,
    rpc: Callable[[], Rpc] | None = None,
) -> Opened:
    """How a keeper of the stage's vault is made, in whatever thread it is to run in."""

    def make(stack: ExitStack, observers: Sequence[Observer]) -> Keeper:
        endpoint = stack.enter_context(rpc() if rpc else Rpc(environment.chain.rpc.endpoint, 30.0))
        return Keeper(
            endpoint,
            KeeperContext.of(environment.deployment, [environment.vault]),
            [devnet_signer(actor)],
            stack.enter_context(Outbox(journal)),
            options,
            observers=observers,
        )

    return make


def away() -> Rpc:
    return Rpc("http://127.0.0.1:1", 0.2)


class Failing(Rpc):
    """Answers so many requests, and then no more."""

    def __init__(self, url: str, answers: int) -> None:
        super().__init__(url, 30.0)
        self.answers = answers

    def _post(self, payload: object) -> tuple[int, Any, float | None]:
        self.answers -= 1
        if self.answers < 0:
            raise RpcUnreachable(self.endpoint, "it went away")
        return super()._post(payload)


def test_a_chain_that_is_away_holds_up_no_other(environment: DevEnvironment, tmp_path: Path) -> None:
    move(environment, UP_10_PERCENT)
    reported: list[Decision] = []

    def on_decision(decision: Decision) -> None:
        reported.append(decision)
        if decision.reason is Reason.REBALANCED:
            supervisor.stop()

    gives_up = replace(OPTIONS, gives_up=False)
    supervisor = Supervisor(
        {
            31337: opened(environment, tmp_path / "a.sqlite", gives_up),
            10: opened(environment, tmp_path / "b.sqlite", gives_up, rpc=away),
        },
        on_decision=on_decision,
    )
    supervisor.run()

    assert [one.reason for one in reported][:2] == [Reason.IN_FLIGHT, Reason.REBALANCED]


def test_a_chain_alone_that_is_away_ends_the_station_with_its_error(
    environment: DevEnvironment, tmp_path: Path
) -> None:
    with pytest.raises(RpcUnreachable):
        Supervisor({31337: opened(environment, tmp_path / "a.sqlite", rpc=away)}).run()


def test_a_chain_alone_that_goes_away_ends_the_station_after_so_many_failures(
    environment: DevEnvironment, tmp_path: Path
) -> None:
    ticks: list[Tick] = []
    keeper = opened(environment, tmp_path / "a.sqlite", rpc=lambda: Failing(environment.chain.rpc.endpoint, 20))
    with pytest.raises(TooManyFailures) as ended:
        Supervisor({31337: keeper}, [ticks.append]).run()

    assert ended.value.failures == 2
    assert ticks[-1].breakers[0].scope == "chain"
    assert ticks[-1].consecutive_failures == 2


def test_when_all_chains_rest_the_station_ends(environment: DevEnvironment, tmp_path: Path) -> None:
    options = replace(OPTIONS, gives_up=False)

    def fails() -> Rpc:
        return Failing(environment.chain.rpc.endpoint, 20)

    chains = {
        31337: opened(environment, tmp_path / "a.sqlite", options, rpc=fails),
        31338: _elsewhere(opened(environment, tmp_path / "b.sqlite", options, rpc=fails)),
    }
    with pytest.raises(AllChainsUnavailable) as ended:
        Supervisor(chains).run()

    assert len(ended.value.failures) == 2
    assert "it went away" in str(ended.value)


def test_what_ends_one_chain_for_good_ends_all(environment: DevEnvironment, tmp_path: Path) -> None:
    set_policy(environment, replace(DEMO_POLICY, open_after_seconds=0))
    chains = {
        31337: opened(environment, tmp_path / "a.sqlite"),
        31338: opened(environment, tmp_path / "b.sqlite", actor=Actor.DEPOSITOR),
    }
    with pytest.raises(KeeperNotAuthorized):
        Supervisor(chains).run()
    assert threading.active_count() < 20
    Outbox(tmp_path / "a.sqlite").close()  # nobody holds it any more


def test_settings_read_again_take_effect_at_the_next_look(environment: DevEnvironment, tmp_path: Path) -> None:
    move(environment, UP_10_PERCENT)
    reported: list[Decision] = []
    cheap = replace(OPTIONS, fee_cap_wei=1)
    tuning = Tuning(OPTIONS, SendRules(fee_cap_wei=OPTIONS.fee_cap_wei), EvaluatorOptions(), 10**18)

    def reload() -> Mapping[int, Tuning]:
        return {31337: tuning}

    def on_decision(decision: Decision) -> None:
        reported.append(decision)
        if decision.reason is Reason.NOT_SENT:
            supervisor._reloading = True  # as SIGHUP does
            environment.chain.rpc.call("evm_mine")
        if decision.reason is Reason.REBALANCED:
            supervisor.stop()

    supervisor = Supervisor(
        {31337: opened(environment, tmp_path / "a.sqlite", cheap)},
        on_decision=on_decision,
        reload=reload,
    )
    supervisor.run()

    reasons = [one.reason for one in reported]
    assert reasons[0] is Reason.NOT_SENT
    assert Reason.IN_FLIGHT in reasons


def test_chains_that_never_begin_end_the_station_too(
    environment: DevEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalancer.keeper.supervisor._MAX_BACKOFF_SECONDS", 0.01)
    options = replace(OPTIONS, gives_up=False)

    def fails() -> Rpc:
        return Failing(environment.chain.rpc.endpoint, 20)

    chains = {
        31337: opened(environment, tmp_path / "a.sqlite", options, rpc=fails),
        10: opened(environment, tmp_path / "b.sqlite", options, rpc=away),
    }
    with pytest.raises(AllChainsUnavailable) as ended:
        Supervisor(chains).run()

    assert len(ended.value.failures) == 2


def test_settings_that_are_read_while_a_chain_is_away_hold_once_it_begins(
    environment: DevEnvironment, tmp_path: Path
) -> None:
    move(environment, UP_10_PERCENT)
    cheap = replace(OPTIONS, fee_cap_wei=1)
    tuning = Tuning(OPTIONS, SendRules(fee_cap_wei=OPTIONS.fee_cap_wei), EvaluatorOptions(), 10**18)
    make = opened(environment, tmp_path / "a.sqlite", cheap)
    reported: list[Decision] = []
    tries: list[int] = []

    def once_settings_were_read(stack: ExitStack, observers: Sequence[Observer]) -> Keeper:
        tries.append(1)
        if len(tries) < 3:
            supervisor._reloading = True  # as SIGHUP does
            raise RpcUnreachable("node", "it is away")
        return make(stack, observers)

    def never(_stack: ExitStack, _observers: Sequence[Observer]) -> Keeper:
        raise RpcUnreachable("node", "it is away")

    def on_decision(decision: Decision) -> None:
        reported.append(decision)
        supervisor.stop()

    supervisor = Supervisor(
        {31337: once_settings_were_read, 10: never},
        on_decision=on_decision,
        reload=lambda: {31337: tuning},
    )
    supervisor.run()

    assert reported[0].reason is Reason.IN_FLIGHT


def test_settings_that_cannot_be_read_at_all_change_nothing(environment: DevEnvironment, tmp_path: Path) -> None:
    read: list[int] = []
    reported: list[Tick] = []

    def reload() -> Mapping[int, Tuning]:
        read.append(1)
        raise TypeError("argument of type 'int' is not iterable")

    def watch(tick: Tick) -> None:
        reported.append(tick)
        supervisor._reloading = not read
        if read:
            supervisor.stop()
        environment.chain.rpc.call("evm_mine")

    supervisor = Supervisor({31337: opened(environment, tmp_path / "a.sqlite")}, [watch], reload=reload)
    supervisor.run()

    assert read == [1]
    assert reported[-1].failure == ""


def test_a_look_that_comes_to_no_end_is_abandoned_and_that_is_no_clean_stop(
    environment: DevEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalancer.keeper.supervisor._STOP_SECONDS", 0.1)
    free = threading.Event()

    def hangs(_tick: Tick) -> None:
        supervisor.stop()
        free.wait(600)

    supervisor = Supervisor({31337: opened(environment, tmp_path / "a.sqlite")}, [hangs])
    with pytest.raises(KeyboardInterrupt):
        supervisor.run()
    free.set()
    for thread in threading.enumerate():
        if thread.name == "chain-31337":
            thread.join(LONGEST_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_after_the_look_and_the_second_abandons_it(
    environment: DevEnvironment, tmp_path: Path, number: signal.Signals
) -> None:
    ticks: list[Tick] = []
    free = threading.Event()

    def signals(tick: Tick) -> None:
        ticks.append(tick)
        os.kill(os.getpid(), number)

    Supervisor({31337: opened(environment, tmp_path / "a.sqlite")}, [signals]).run()
    assert len(ticks) == 1

    def twice(_tick: Tick) -> None:
        os.kill(os.getpid(), number)
        # Only then is no further look begun, whose signals nobody would expect any more.
        wait_for("the stop", supervisor._keepers[31337]._stopping.is_set)
        os.kill(os.getpid(), number)
        free.wait(600)

    supervisor = Supervisor({31337: opened(environment, tmp_path / "b.sqlite")}, [twice])
    with pytest.raises(KeyboardInterrupt):
        supervisor.run()
    free.set()
    for thread in threading.enumerate():
        if thread.name == "chain-31337":
            thread.join(LONGEST_SECONDS)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def _elsewhere(make: Opened) -> Opened:
    """The same keeper under another chain's number, as far as its ticks tell."""

    def made(stack: ExitStack, observers: Sequence[Observer]) -> Keeper:
        def watch(tick: Tick) -> None:
            for observer in observers:
                observer(replace(tick, chain_id=31338))

        return make(stack, [watch])

    return made
