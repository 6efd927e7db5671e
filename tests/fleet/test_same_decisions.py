"""The keeper's decisions on a tape are the same whether it runs alone, restarts in the middle ten times, or runs as a fleet of four.

Each is played on the same chain from the same block. Workers are processes of their own, one of them is killed on the way and another
comes; whoever sends is in the test's own process, so that each block is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rebalancer.chain.heads import Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block, read_vaults
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.fleet.evaluator import FleetEvaluator
from rebalancer.fleet.lease import Lease
from rebalancer.fleet.ledger import Ledger
from rebalancer.fleet.names import lease_name
from rebalancer.fleet.redis_state import RedisState
from rebalancer.fleet.transport import redis_transport
from rebalancer.keeper import (
    Decision,
    Evaluator,
    EvaluatorOptions,
    Keeper,
    KeeperContext,
    KeeperOptions,
)
from rebalancer.keeper.evaluator import Evaluates
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from tests.contract.test_keeper import move
from tests.contract.test_keeper_losses import lose
from tests.fixtures_redis import RedisServer
from tests.fleet.processes import Fleet, Machine

CHAIN = 31337
STEPS = 33
RESTARTS = 10
LOSS_AT = 12
"""Before this look a vault loses less than dust of a token, which nothing but its balance tells."""


def tape(step: int) -> dict[str, int]:
    """Prices that leave the bands again and again, and come back."""
    ether = 2_000 + (137 * step * step) % 400 - 200
    bitcoin = 30_000 + (911 * step) % 3_000 - 1_500
    return {"ETH/USD": ether * 10**8, "BTC/USD": bitcoin * 10**8}


Made = Callable[[ExitStack, int], Keeper]
"""The keeper for a look; another one after a restart."""


def play(
    environment: DevEnvironment, vaults: tuple[str, ...], made: Made
) -> tuple[list[list[tuple[object, ...]]], list[object]]:
    """What is decided look by look, and what becomes of the vaults; the chain is put back afterwards."""
    rpc = environment.chain.rpc
    before, prices = environment.chain.snapshot(), dict(environment.market.prices_e8)
    rpc.call("anvil_setBlockTimestampInterval", 1)  # or blocks would come by this machine's clock
    decided = []
    try:
        with ExitStack() as stack:
            heads = Heads(rpc)
            for step in range(STEPS):
                rpc.call("evm_setAutomine", True)
                rpc.call("hardhat_setNextBlockBaseFeePerGas", hex(10**9))  # no revert puts it back
                if step == LOSS_AT:
                    lose(environment, 10, vault=vaults[0])
                move(environment, tape(step))
                head = heads.next(0)
                assert head is not None
                rpc.call("evm_setAutomine", False)  # what a look sends is in one block after it
                decided.append([reported(one) for one in made(stack, step).tick(head)])
                environment.chain.mine()
        after = read_vaults(rpc, environment.system.lens, vaults, read_block(rpc))
        return decided, [(one.address, one.basket.held, one.state) for one in after]
    finally:
        rpc.call("evm_setAutomine", True)
        rpc.call("anvil_removeBlockTimestampInterval")
        environment.chain.revert(before)
        environment.market.prices_e8 = prices


def reported(decision: Decision) -> tuple[object, ...]:
    """Everything of a decision but pools, and what of an older decision only its own maker knows: after a restart that is not told."""
    plan, outcome, drift_bps = decision.plan, decision.outcome, decision.drift_bps
    if decision.reason in (Reason.REBALANCED, Reason.POKED, Reason.SYNCED):
        plan, drift_bps = None, 0
    return (
        *(decision.block, decision.vault, decision.reason, decision.text, decision.epoch),
        *(drift_bps, decision.transaction_hash),
        plan and (plan.sales_raw, plan.min_buys_raw, plan.expected_buys_raw, plan.route),
        plan and (plan.cost, plan.certificate, plan.bound_by, plan.settlement),
        outcome and (outcome.receipt, outcome.fill, outcome.settled, outcome.after),
    )


def keeper(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    outbox: Outbox,
    evaluator: Evaluates | None = None,
) -> Keeper:
    made = Keeper(
        environment.chain.rpc,
        KeeperContext.of(environment.deployment, vaults),
        [devnet_signer(Actor.KEEPER)],
        outbox,
        KeeperOptions(fee_cap_wei=10_000 * 10**9, receipt_seconds=0, tick_timeout_seconds=60),
        evaluator=evaluator,
    )
    made.start()
    return made


class Alone:
    """One keeper, with a new one in its place before each of some looks."""

    def __init__(
        self,
        environment: DevEnvironment,
        vaults: tuple[str, ...],
        path: Path,
        restarts: frozenset[int],
    ) -> None:
        self.environment, self.vaults, self.path, self.restarts = (
            environment,
            vaults,
            path,
            restarts,
        )
        self.keeper: Keeper | None = None
        self.run = ExitStack()
        self.begun = 0

    def __call__(self, stack: ExitStack, step: int) -> Keeper:
        if self.keeper is None or step in self.restarts:
            if self.keeper is None:
                stack.push(lambda *_: self.run.close())
            self.run.close()
            outbox = self.run.enter_context(Outbox(self.path))
            rpc, context = (
                self.environment.chain.rpc,
                KeeperContext.of(self.environment.deployment, self.vaults),
            )
            evaluator = Evaluator(rpc, context, EvaluatorOptions(exact_vaults=EXACT))
            self.keeper = keeper(self.environment, self.vaults, outbox, evaluator)
            self.begun += 1
        return self.keeper


EXACT = 50


class Four:
    """A leader of four workers, one of which is killed and replaced on the way."""

    def __init__(self, environment: DevEnvironment, vaults: tuple[str, ...], fleet: Fleet, path: Path) -> None:
        self.environment, self.vaults, self.fleet, self.path = environment, vaults, fleet, path
        self.keeper: Keeper | None = None
        self.workers: list[Machine] = []

    def __call__(self, stack: ExitStack, step: int) -> Keeper:
        if self.keeper is None:
            self.keeper = self._begun(stack)
        if step == STEPS // 3:
            self.workers[0].kill()
        if step == STEPS // 2:
            self.workers += self.fleet.workers(["emil"])
        return self.keeper

    def _begun(self, stack: ExitStack) -> Keeper:
        self.workers = self.fleet.workers(["anna", "bert", "carl", "dora"])
        state = RedisState(self.fleet.redis_url, "test")
        stack.callback(state.close)
        name = lease_name(CHAIN, Actor.KEEPER.address)
        lease = stack.enter_context(Lease(state, name, "leader", 60.0))
        assert lease.take()
        ledger = Ledger({name: lease})
        outbox = stack.enter_context(Outbox(self.path, fence=ledger))
        ledger.adopt_into(outbox.journal)
        evaluator = FleetEvaluator(
            stack.enter_context(Rpc(self.environment.chain.rpc.endpoint)),
            KeeperContext.of(self.environment.deployment, self.vaults),
            state,
            stack.enter_context(redis_transport(self.fleet.redis_url, "test")),
            5.0,
            EvaluatorOptions(exact_vaults=EXACT),
            lease.check,
        )
        return keeper(self.environment, self.vaults, outbox, evaluator)


@pytest.fixture
def vaults(environment: DevEnvironment) -> tuple[str, ...]:
    return environment.vault, *(environment.open_vault(number) for number in range(1, 6))


@pytest.fixture
def fleet(
    environment: DevEnvironment, vaults: tuple[str, ...], redis_server: RedisServer, tmp_path: Path
) -> Iterator[Fleet]:
    found = Fleet(environment, vaults, redis_server.url, tmp_path)
    yield found
    found.close()


def test_decisions_are_the_same_alone_restarted_ten_times_and_as_a_fleet_of_four(
    environment: DevEnvironment, vaults: tuple[str, ...], fleet: Fleet, tmp_path: Path
) -> None:
    alone = Alone(environment, vaults, tmp_path / "alone.sqlite", frozenset())
    restarts = frozenset(range(3, STEPS, STEPS // RESTARTS))
    restarted = Alone(environment, vaults, tmp_path / "restarted.sqlite", restarts)
    four = Four(environment, vaults, fleet, tmp_path / "four.sqlite")

    decided, after = play(environment, vaults, alone)
    decided_restarted, after_restarted = play(environment, vaults, restarted)
    decided_by_four, after_four = play(environment, vaults, four)

    for step in range(STEPS):
        assert decided_restarted[step] == decided[step]
        assert decided_by_four[step] == decided[step]
    assert after == after_restarted == after_four
    assert restarted.begun == 1 + RESTARTS
    rebalances = sum(one[2] is Reason.REBALANCED for each in decided for one in each)
    assert rebalances > 2 * len(vaults)
    assert sum("event=answered" in worker.log for worker in four.workers) > 2
