"""Deciding on many processes at once: the same verdicts, in time, and one vault's trouble is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.chain.pools import read_pools
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.environment import DevEnvironment
from rebalancer.keeper import KeeperContext
from rebalancer.keeper.decide import Action, Conditions
from rebalancer.keeper.planners import Planners
from rebalancer.reasons import Reason
from rebalancer.venues import PoolState
from tests.clocks import wait_for
from tests.contract.test_keeper import UP_10_PERCENT, move

CONDITIONS = Conditions(10**9)


@pytest.fixture
def vaults(environment: DevEnvironment) -> list[VaultSnapshot]:
    """Sixty vaults out of band, which differ in what they hold."""
    move(environment, UP_10_PERCENT)
    rpc = environment.chain.rpc
    (found,) = read_vaults(rpc, environment.system.lens, [environment.vault], read_block(rpc))

    def other(number: int) -> VaultSnapshot:
        held = tuple(raw * (1_000 + number) // 1_000 for raw in found.basket.held)
        return replace(found, address=f"0x{number:040x}", basket=replace(found.basket, held=held))

    return [other(number) for number in range(1, 61)]


@pytest.fixture
def pools(environment: DevEnvironment) -> tuple[PoolState, ...]:
    context = KeeperContext.of(environment.deployment, [])
    rpc = environment.chain.rpc
    return read_pools(rpc, context.pools, read_block(rpc), context.chain_id)


def test_processes_inherit_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "REBALANCER_KEEPER__KEYSTORE_PASSWORD"
    monkeypatch.setenv(name, "hunter22")
    with closing(Planners(2)) as planners:
        planners.warm()
        for _ in range(4):
            assert planners._begun().submit(os.getenv, name).result() is None

    assert os.environ[name] == "hunter22"


def test_many_processes_decide_what_one_does(vaults: list[VaultSnapshot], pools: tuple[PoolState, ...]) -> None:
    with closing(Planners(2)) as many, closing(Planners(1)) as one:
        many.warm()
        found, alone = (each.decide(vaults, pools, CONDITIONS) for each in (many, one))

    assert list(found) == [vault.address for vault in vaults]
    assert {verdict.step for verdict in found.values()} == {Action.REBALANCE}
    for vault, verdict in found.items():
        mine = alone[vault]
        assert verdict.plan is not None
        assert mine.plan is not None
        assert (verdict.text, verdict.plan.route) == (mine.text, mine.plan.route)
        assert verdict.plan.settlement == mine.plan.settlement


def test_what_is_not_reached_in_time_is_left_out(vaults: list[VaultSnapshot], pools: tuple[PoolState, ...]) -> None:
    with closing(Planners(2)) as many, closing(Planners(1)) as one:
        many.warm()
        for planners in (many, one):
            assert planners.decide(vaults, pools, CONDITIONS, 0.0) == {}
            assert len(planners.decide(vaults, pools, CONDITIONS)) == len(vaults)


def test_processes_that_are_killed_are_done_without_and_replaced(
    vaults: list[VaultSnapshot], pools: tuple[PoolState, ...]
) -> None:
    with closing(Planners(2)) as planners:
        planners.warm()
        assert planners._pool is not None
        for process in list(planners._pool._processes):
            os.kill(process, signal.SIGKILL)
        found = planners.decide(vaults, pools, CONDITIONS)
        again = planners.decide(vaults, pools, CONDITIONS)

    assert list(found) == list(again) == [vault.address for vault in vaults]


def test_processes_that_die_before_they_read_what_they_were_given_are_done_without(
    vaults: list[VaultSnapshot], pools: tuple[PoolState, ...]
) -> None:
    """The pools alone are longer than a pipe holds, so that they are still being written when the processes die."""
    with closing(Planners(2)) as planners:
        planners.warm()
        assert planners._pool is not None
        processes = list(planners._pool._processes)
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        threading.Timer(0.5, _kill, [processes]).start()
        found = planners.decide(vaults, pools, CONDITIONS)

    assert list(found) == [vault.address for vault in vaults]


def test_processes_that_died_between_two_blocks_are_replaced(
    vaults: list[VaultSnapshot], pools: tuple[PoolState, ...]
) -> None:
    with closing(Planners(2)) as planners:
        planners.warm()
        pool = planners._pool
        assert pool is not None
        for process in list(pool._processes):
            os.kill(process, signal.SIGKILL)
        wait_for("the end of the pool", lambda: pool._broken)
        found = planners.decide(vaults, pools, CONDITIONS)

        assert planners._pool is not pool
    assert list(found) == [vault.address for vault in vaults]


def test_a_vault_that_cannot_be_planned_for_is_said_so_and_holds_up_no_other(
    vaults: list[VaultSnapshot], pools: tuple[PoolState, ...]
) -> None:
    broken = replace(vaults[3].basket, held=vaults[3].basket.held[:-1])
    vaults[3] = replace(vaults[3], basket=broken)
    with closing(Planners(1)) as planners:
        found = planners.decide(vaults, pools, CONDITIONS)

    reasons = [verdict.reason for verdict in found.values()]
    assert reasons[3] is Reason.PLAN_FAILED
    assert "an internal error" in found[vaults[3].address].text
    assert reasons.count(Reason.BAND_BROKEN) == len(vaults) - 1


_A_KEEPER = """
import time
from rebalancer.keeper.planners import Planners
if __name__ == "__main__":
    planners = Planners(2)
    planners.warm()
    print(*planners._pool._processes, flush=True)
    time.sleep(600)
"""


def test_processes_end_with_a_keeper_that_is_killed_and_not_by_ctrl_c(tmp_path: Path) -> None:
    script = tmp_path / "keeper.py"
    script.write_text(_A_KEEPER)
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": root}
    ) as keeper:
        try:
            assert keeper.stdout is not None
            planners = [int(pid) for pid in keeper.stdout.readline().split()]
            assert len(planners) == 2
            # One process may have done the work of both while the other was still beginning.
            wait_for("both planners", lambda: all(_ignores(pid, signal.SIGINT) for pid in planners))
            for pid in planners:
                os.kill(pid, signal.SIGINT)
            assert all(_runs(pid) for pid in planners)
        finally:
            keeper.kill()
    try:
        wait_for("the end of the planners", lambda: not any(_runs(pid) for pid in planners))
    finally:
        for pid in filter(_runs, planners):
            os.kill(pid, signal.SIGKILL)


def _kill(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)


def _ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a signal does nothing to a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (ignored,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> (number - 1) & 1)


def _runs(pid: int) -> bool:
    """Whether a process is there, and not merely waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False
