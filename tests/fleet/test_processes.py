"""Machines of a fleet that are killed, stopped and continued at any moment, with a real Redis and a real chain.

After each: every vault was rebalanced once an epoch, and no account's nonce was used by anything else.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import find_receipt
from rebalancer.chain.snapshot import read_block, read_vaults
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.reasons import Reason
from tests.clocks import LONGEST_SECONDS, wait_for
from tests.contract.test_keeper import move
from tests.fixtures_redis import RedisServer
from tests.fleet.processes import Fleet, Gate, Machine

UP = {"ETH/USD": 2_200_00000000}


@pytest.fixture
def vaults(environment: DevEnvironment) -> tuple[str, ...]:
    return environment.vault, *(environment.open_vault(number) for number in range(1, 4))


@pytest.fixture
def fleet(
    environment: DevEnvironment, vaults: tuple[str, ...], redis_server: RedisServer, tmp_path: Path
) -> Iterator[Fleet]:
    found = Fleet(environment, vaults, redis_server.url, tmp_path)
    yield found
    found.close()


@pytest.fixture
def gate(environment: DevEnvironment) -> Iterator[Gate]:
    found = Gate(environment.chain.rpc.endpoint)
    yield found
    found.stop()


def with_blocks(environment: DevEnvironment, do: Callable[[], object]) -> None:
    """Do something while blocks come by themselves."""
    environment.chain.rpc.call("evm_setAutomine", True)
    do()
    environment.chain.rpc.call("evm_setAutomine", False)


def pending(environment: DevEnvironment) -> dict[str, Any]:
    """The keeper's transactions that no block holds, by nonce."""
    content = environment.chain.rpc.call("txpool_content")["pending"]
    found: dict[str, Any] = next(
        (some for account, some in content.items() if account.lower() == Actor.KEEPER.address), {}
    )
    return found


def epochs(environment: DevEnvironment, vaults: tuple[str, ...]) -> list[int]:
    rpc = environment.chain.rpc
    return [one.state.epoch for one in read_vaults(rpc, environment.system.lens, vaults, read_block(rpc))]


@dataclass(frozen=True)
class Mined:
    """A transaction of the keeper's account that a block holds. `epoch` is None of a poke."""

    vault: str
    epoch: int | None
    nonce: int
    succeeded: bool


def mined(environment: DevEnvironment) -> list[Mined]:
    """All of them, in order."""
    rpc, vault = environment.chain.rpc, interface("BasketVault")
    rebalance = vault.functions["rebalance"]
    found = []
    for number in range(read_block(rpc).number + 1):
        for each in rpc.call("eth_getBlockByNumber", hex(number), True)["transactions"]:
            if each["from"].lower() != Actor.KEEPER.address:
                continue
            is_rebalance = each["input"].startswith("0x" + rebalance.selector.hex())
            epoch = rebalance.arguments(each["input"])[0] if is_rebalance else None
            receipt = find_receipt(rpc, each["hash"])
            assert receipt is not None
            found.append(Mined(each["to"].lower(), epoch, int(each["nonce"], 16), receipt.succeeded))
    return found


def check_once(environment: DevEnvironment, vaults: tuple[str, ...], epoch: int = 1) -> None:
    """Every vault was rebalanced in each epoch, by one transaction, and no other was ever made for it."""
    rebalances = Counter((one.vault, one.epoch) for one in mined(environment) if one.epoch is not None)
    assert rebalances == dict.fromkeys(((v, e) for v in vaults for e in range(epoch)), 1)
    assert all(one.succeeded for one in mined(environment) if one.epoch is not None)


def rebalanced(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    epoch: int = 1,
    seconds: float = LONGEST_SECONDS,
) -> None:
    """Wait until every vault was rebalanced so often, letting blocks come; each was once an epoch."""

    def done() -> bool:
        environment.chain.mine()
        time.sleep(0.1)
        return epochs(environment, vaults) == [epoch] * len(vaults)

    wait_for("the rebalance of every vault", done, seconds)
    check_once(environment, vaults, epoch)


def looking(environment: DevEnvironment, leader: Machine) -> None:
    """Wait until a leader has looked at a block."""
    environment.chain.mine()
    wait_for(f"a look of {leader.name}", lambda: leader.decisions)


@contextmanager
def no_blocks(environment: DevEnvironment) -> Iterator[None]:
    """Blocks come only when they are mined."""
    environment.chain.rpc.call("evm_setAutomine", False)
    try:
        yield
    finally:
        environment.chain.rpc.call("evm_setAutomine", True)


def test_fleet_rebalances_every_vault_once_and_stops_when_told(environment: DevEnvironment, fleet: Fleet) -> None:
    workers = fleet.workers(["anna", "bert"])
    leader = fleet.start("leader", "lena")
    looking(environment, leader)
    move(environment, UP)

    rebalanced(environment, fleet.vaults)

    leader.signal(signal.SIGTERM)
    assert leader.end() == 0
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.end() == 0
    assert "lease_released" in leader.log
    assert "evaluated_here" not in leader.log
    reported = [one for one in leader.decisions if one["reason"] == Reason.REBALANCED]
    assert sorted(one["vault"] for one in reported) == sorted(fleet.vaults)


# Workers


def test_worker_killed_in_the_middle_of_its_task_is_made_good(
    environment: DevEnvironment, fleet: Fleet, gate: Gate
) -> None:
    fleet.worker_timeout_seconds = 2.0
    anna = fleet.start("worker", "anna", url=gate.url)
    anna.says("working")
    fleet.workers(["bert"])
    leader = fleet.start("leader", "lena")
    looking(environment, leader)
    gate.close_for("eth_call")  # of whatever it reads a vault by
    move(environment, UP)
    assert gate.held.wait(LONGEST_SECONDS)
    anna.kill()

    rebalanced(environment, fleet.vaults)

    assert "worker_silent" in leader.log


def test_all_workers_killed_leave_the_leader_to_do_it(environment: DevEnvironment, fleet: Fleet) -> None:
    fleet.worker_timeout_seconds = 2.0
    workers = fleet.workers(["anna", "bert"])
    leader = fleet.start("leader", "lena")
    looking(environment, leader)
    for worker in workers:
        worker.kill()
    move(environment, UP)

    rebalanced(environment, fleet.vaults)


def test_worker_stopped_and_continued_is_asked_again(environment: DevEnvironment, fleet: Fleet) -> None:
    fleet.worker_timeout_seconds = 2.0
    anna, _ = fleet.workers(["anna", "bert"])
    leader = fleet.start("leader", "lena")
    looking(environment, leader)
    anna.signal(signal.SIGSTOP)
    move(environment, UP)
    rebalanced(environment, fleet.vaults)
    handled = anna.log.count("event=answered")
    anna.signal(signal.SIGCONT)

    def asked_again() -> bool:
        environment.chain.mine()
        time.sleep(0.1)
        return anna.log.count("event=answered") > handled + 2

    wait_for("an order for a worker that is back", asked_again)


# Leaders

STEPS = {
    "before it signs": ("eth_feeHistory", False),
    "signed, not in the ledger": ("REDIS", False),
    "in the ledger, not sent": ("eth_sendRawTransaction", False),
    "sent, not journalled": ("eth_sendRawTransaction", True),
    "mined, not journalled": ("eth_getTransactionReceipt", False),
}


def some(*quick: str) -> list[Any]:
    """All steps; those that are not named are left to slow runs."""
    return [step if step in quick else pytest.param(step, marks=pytest.mark.slow) for step in STEPS]


@pytest.mark.parametrize("step", some("in the ledger, not sent", "signed, not in the ledger"))
def test_leader_killed_at_any_step_is_followed_by_another_that_does_nothing_twice(
    environment: DevEnvironment, fleet: Fleet, redis_server: RedisServer, gate: Gate, step: str
) -> None:
    fleet.workers(["anna"])
    first = fleet.start("leader", "lena", url=gate.url)
    looking(environment, first)
    second = fleet.start("leader", "mona")
    second.says("standing_by")
    method, after = STEPS[step]
    with no_blocks(environment):
        if method == "REDIS":
            gate.close_for("eth_getTransactionCount")
        else:
            gate.close_for(method, after=after)
        with_blocks(environment, lambda: move(environment, UP))
        if method == "eth_getTransactionReceipt":
            wait_for("all that it sends", lambda: len(pending(environment)) == len(fleet.vaults))
            environment.chain.mine()
        assert gate.held.wait(LONGEST_SECONDS)
        if method == "REDIS":
            # What is then written to Redis waits in its socket, and is done after the writer's death.
            redis_server.stop()
            gate.open()
            wait_for("a signature", lambda: "state=signed" in first.log)
            time.sleep(0.1)
        first.kill()
        if method == "REDIS":
            redis_server.go_on()
        fleet.end_leases()
        gate.open()
        second.says("started")

    rebalanced(environment, fleet.vaults)


@pytest.mark.parametrize("step", some("signed, not in the ledger"))
def test_leader_stopped_past_its_lease_sends_nothing_when_it_goes_on(
    environment: DevEnvironment, fleet: Fleet, redis_server: RedisServer, gate: Gate, step: str
) -> None:
    fleet.lease_seconds = 10.0
    fleet.workers(["anna"])
    first = fleet.start("leader", "lena", url=gate.url)
    looking(environment, first)
    second = fleet.start("leader", "mona")
    second.says("standing_by")
    method, after = STEPS[step]
    if method == "REDIS":
        method = "eth_getTransactionCount"
    gate.close_for(method, after=after)
    move(environment, UP)
    if method == "eth_getTransactionReceipt":
        wait_for("all that it sends", lambda: len(mined(environment)) >= len(fleet.vaults))
        environment.chain.mine()
    assert gate.held.wait(LONGEST_SECONDS)
    first.signal(signal.SIGSTOP)
    gate.open()
    second.says("started")
    rebalanced(environment, fleet.vaults)
    before = mined(environment)

    first.signal(signal.SIGCONT)

    assert first.end() == 25
    assert "lease_lost" in first.log or "event=attempt" in first.log
    environment.chain.mine(2)
    assert mined(environment) == before
    check_once(environment, fleet.vaults)


def test_former_leader_that_comes_back_adopts_what_the_other_did(
    environment: DevEnvironment, fleet: Fleet, gate: Gate
) -> None:
    fleet.workers(["anna"])
    first = fleet.start("leader", "lena", url=gate.url)
    looking(environment, first)
    gate.close_for("eth_sendRawTransaction")
    with no_blocks(environment):
        with_blocks(environment, lambda: move(environment, UP))
        assert gate.held.wait(LONGEST_SECONDS)
        first.kill()
        fleet.end_leases()
        gate.open()
        second = fleet.start("leader", "mona")
        second.says("started")
        wait_for("what the second sends", lambda: len(pending(environment)) == len(fleet.vaults))
        second.kill()
        fleet.end_leases()
        again = fleet.start("leader", "lena")
        again.says("started")
        assert len(pending(environment)) == len(fleet.vaults)
    rebalanced(environment, fleet.vaults)

    assert "event=adopted" in second.log
    assert "event=adopted" in again.log


# Redis


def test_redis_killed_and_started_again_with_its_data_is_gone_on_with(
    environment: DevEnvironment, fleet: Fleet, redis_server: RedisServer
) -> None:
    workers = fleet.workers(["anna", "bert"])
    leader = fleet.start("leader", "lena")
    looking(environment, leader)
    redis_server.kill()
    time.sleep(0.5)
    redis_server.start()
    move(environment, UP)

    rebalanced(environment, fleet.vaults)

    assert leader.process.poll() is None
    assert all(worker.process.poll() is None for worker in workers)
    handled = [worker.log.count("event=answered") for worker in workers]

    def both_asked() -> bool:
        environment.chain.mine()
        time.sleep(0.1)
        now = [worker.log.count("event=answered") for worker in workers]
        return all(one > before for one, before in zip(now, handled, strict=True))

    wait_for("orders for both workers", both_asked)


def test_redis_that_lost_its_data_stops_the_leader_and_the_next_does_nothing_twice(
    environment: DevEnvironment, fleet: Fleet, redis_server: RedisServer
) -> None:
    fleet.lease_seconds = 10.0
    redis_server.durable = False
    redis_server.kill()
    redis_server.start()
    fleet.workers(["anna"])
    leader = fleet.start("leader", "lena")
    looking(environment, leader)
    with no_blocks(environment):
        with_blocks(environment, lambda: move(environment, UP))
        wait_for("all that it sends", lambda: len(pending(environment)) == len(fleet.vaults))
        redis_server.kill()
        redis_server.start()
        assert leader.end() == 25
        stranger = fleet.start("leader", "mona")  # knows nothing of what is pending
        assert stranger.end() != 0
        assert "stop the other program that uses this key" in stranger.log
        again = fleet.start("leader", "lena")
        again.says("started")

    rebalanced(environment, fleet.vaults)


def test_redis_that_is_gone_for_good_stops_leader_before_its_lease_is_over(
    environment: DevEnvironment, fleet: Fleet, redis_server: RedisServer
) -> None:
    fleet.lease_seconds = 10.0
    worker = fleet.workers(["anna"])[0]
    leader = fleet.start("leader", "lena")
    looking(environment, leader)
    redis_server.kill()

    def ended() -> bool:
        environment.chain.mine()
        time.sleep(0.1)
        return leader.process.poll() is not None

    wait_for("the leader's end", ended)
    assert leader.end() == 25
    assert worker.process.poll() is None  # it waits for Redis to come back
    worker.signal(signal.SIGTERM)
    assert worker.end() == 0
