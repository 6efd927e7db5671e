"""A fleet in one process comes to what one evaluator says, whatever its workers do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from rebalancer.chain.heads import Head, Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.environment import DevEnvironment
from rebalancer.errors import ChainError, LeaseLost, RpcUnreachable
from rebalancer.fleet.evaluator import FleetEvaluator
from rebalancer.fleet.placement import place
from rebalancer.fleet.redis_state import LocalState
from rebalancer.fleet.transport import local_transport
from rebalancer.fleet.worker import Heartbeat, Worker, group_of
from rebalancer.keeper import Evaluator, EvaluatorOptions, KeeperContext
from rebalancer.keeper.decide import Conditions, Verdict
from rebalancer.keeper.evaluator import Evaluation, misallocated_e18
from rebalancer.reasons import Reason
from tests.clocks import wait_for
from tests.contract.test_keeper import move

CONDITIONS = Conditions(10**9)
UP_10_PERCENT = {"ETH/USD": 2_200_00000000}
NAMES = ("anna", "bert", "carl", "dora")


class Fleet:
    """Workers in this process, the evaluator that asks them, and a plain one to hold it against."""

    def __init__(self, environment: DevEnvironment, vaults: tuple[str, ...], stack: ExitStack) -> None:
        self.rpc = environment.chain.rpc
        self.context = KeeperContext.of(environment.deployment, vaults)
        self.state = LocalState()
        self.workers = {
            name: Worker(
                name,
                stack.enter_context(Rpc(self.rpc.endpoint)),
                replace(self.context, vaults=()),
                self.state,
            )
            for name in NAMES
        }
        self.beats = {name: stack.enter_context(Heartbeat(worker, 30.0)) for name, worker in self.workers.items()}
        self.transport = stack.enter_context(local_transport(list(self.workers.values()), "test"))
        self.heads = Heads(self.rpc)

    def evaluator(self, *, exact_vaults: int = 50, worker_timeout_seconds: float = 120.0) -> FleetEvaluator:
        options = EvaluatorOptions(exact_vaults=exact_vaults)
        return FleetEvaluator(self.rpc, self.context, self.state, self.transport, worker_timeout_seconds, options)

    def alone(self, *, exact_vaults: int = 50) -> Evaluator:
        return Evaluator(self.rpc, self.context, EvaluatorOptions(exact_vaults=exact_vaults))

    def head(self) -> Head:
        head = self.heads.next(0)
        assert head is not None
        return head

    def say_again(self, name: str) -> None:
        """What a heartbeat does."""
        text = str(self.workers[name].handled)
        self.state.announce(group_of(self.context.chain_id), name, text, 3_600.0)


@pytest.fixture
def vaults(environment: DevEnvironment) -> tuple[str, ...]:
    return environment.vault, *(environment.open_vault(salt) for salt in range(1, 6))


@pytest.fixture
def fleet(environment: DevEnvironment, vaults: tuple[str, ...]) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(environment, vaults, stack)


def reported(verdict: Verdict) -> object:
    """All of a verdict but the states of pools."""
    plan = verdict.plan
    swaps = plan and [
        (
            swap.pool.key,
            swap.pool.fee_pips,
            swap.pool.tokens,
            swap.token_in,
            swap.token_out,
            swap.amount_in_raw,
            swap.amount_out_raw,
        )
        for swap in plan.swaps
    ]
    return replace(verdict, plan=plan and replace(plan, swaps=())), swaps


def same(one: Evaluation, other: Evaluation) -> None:
    assert [reported(verdict) for verdict in one.verdicts] == [reported(v) for v in other.verdicts]
    assert dict(one.reasons) == dict(other.reasons)
    assert dict(one.epochs) == dict(other.epochs)
    assert dict(one.drifts_bps) == dict(other.drifts_bps)
    assert one.block == other.block
    assert one.planned == other.planned


@pytest.mark.parametrize("exact_vaults", [50, 0], ids=["read exactly", "by the books"])
def test_fleet_of_four_says_what_one_says_block_after_block(
    environment: DevEnvironment, fleet: Fleet, exact_vaults: int
) -> None:
    many, one = fleet.evaluator(exact_vaults=exact_vaults), fleet.alone(exact_vaults=exact_vaults)
    found = []
    for price in (2_000, 2_010, 2_200, 2_190, 2_400, 2_000):
        move(environment, {"ETH/USD": price * 10**8})
        head = fleet.head()
        found.append(one.evaluate(head, CONDITIONS))
        same(many.evaluate(head, CONDITIONS), found[-1])

    shares = place(fleet.context.vaults, NAMES)
    assert len([share for share in shares.values() if share]) > 1
    assert {n: w.handled for n, w in fleet.workers.items()} == {n: 6 if shares[n] else 0 for n in NAMES}
    assert sum(each.planned for each in found) >= 12
    assert any(verdict.plan for verdict in found[2].verdicts)


def test_shares_together_are_all_vaults_and_each_worker_has_its_own(environment: DevEnvironment, fleet: Fleet) -> None:
    fleet.evaluator().evaluate(fleet.head(), CONDITIONS)

    shares = place(fleet.context.vaults, NAMES)
    for name, worker in fleet.workers.items():
        known = [vault for one in worker._evaluators for vault in one.vaults]
        assert sorted(known) == sorted(shares[name])


def test_no_trades_are_sought_for_what_is_under_way(environment: DevEnvironment, fleet: Fleet) -> None:
    move(environment, UP_10_PERCENT)
    head, busy = fleet.head(), fleet.context.vaults[:2]

    found = fleet.evaluator().evaluate(head, CONDITIONS, busy)

    same(found, fleet.alone().evaluate(head, CONDITIONS, busy))
    assert found.planned == 4
    assert all(found.reasons[vault] is Reason.IN_FLIGHT for vault in busy)


def test_settlement_is_the_leaders_own(environment: DevEnvironment, fleet: Fleet) -> None:
    move(environment, UP_10_PERCENT)
    found = fleet.evaluator().evaluate(fleet.head(), CONDITIONS)

    for verdict in found.verdicts:
        assert verdict.plan is not None
        assert verdict.plan.settlement is not None
        assert verdict.plan.settlement.after.drift_bps < verdict.snapshot.drift_bps


# Workers that fail


def without_workers(fleet: Fleet) -> None:
    for name in NAMES:
        fleet.state.leave(group_of(fleet.context.chain_id), name)


def test_without_workers_the_leader_evaluates_everything_itself(environment: DevEnvironment, fleet: Fleet) -> None:
    without_workers(fleet)
    move(environment, UP_10_PERCENT)
    head = fleet.head()

    same(fleet.evaluator().evaluate(head, CONDITIONS), fleet.alone().evaluate(head, CONDITIONS))
    assert all(worker.handled == 0 for worker in fleet.workers.values())


Failing = Callable[[Worker, pytest.MonkeyPatch], None]


def hangs(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    answer = worker.answer

    def late(text: str) -> str:
        time.sleep(0.6)
        return answer(text)

    patch.setattr(worker, "answer", late)


def breaks(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def broken(order: object) -> None:
        raise RuntimeError("a mistake of this program")

    patch.setattr(worker, "evaluate", broken)


def loses_its_node(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def unreachable(order: object) -> None:
        raise RpcUnreachable("http://127.0.0.1:1", "refused")

    patch.setattr(worker, "evaluate", unreachable)


def talks_nonsense(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker, "answer", lambda text: "nonsense")


def lied(worker: Worker, patch: pytest.MonkeyPatch, change: Callable[[dict[str, object]], None]) -> None:
    """Have a worker's answers changed on their way."""
    answer = worker.answer

    def lying(text: str) -> str:
        reported = json.loads(answer(text))
        change(reported)
        return json.dumps(reported)

    patch.setattr(worker, "answer", lying)


def answers_for_others(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def change(reported: dict[str, object]) -> None:
        reported["epochs"] = [0, 0]
        reported["reasons"] = ["InBand", "InBand"]

    lied(worker, patch, change)


def contradicts_itself(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def change(reported: dict[str, object]) -> None:
        reasons = reported["reasons"]
        assert isinstance(reasons, list)
        reported["reasons"] = ["InBand"] * len(reasons)

    lied(worker, patch, change)


def speaks_of_another_vault(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def change(reported: dict[str, object]) -> None:
        verdicts = reported["verdicts"]
        assert isinstance(verdicts, list)
        verdicts[0]["snapshot"]["address"] = "0x" + "12" * 20

    lied(worker, patch, change)


def sells_too_much(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def change(reported: dict[str, object]) -> None:
        verdicts = reported["verdicts"]
        assert isinstance(verdicts, list)
        for verdict in verdicts:
            verdict["plan"]["sales_raw"] = [3 * raw for raw in verdict["plan"]["sales_raw"]]

    lied(worker, patch, change)


def plans_nothing_to_send(worker: Worker, patch: pytest.MonkeyPatch) -> None:
    def change(reported: dict[str, object]) -> None:
        verdicts = reported["verdicts"]
        assert isinstance(verdicts, list)
        for verdict in verdicts:
            verdict["plan"] = None

    lied(worker, patch, change)


@pytest.mark.parametrize(
    "failing",
    [
        hangs,
        breaks,
        loses_its_node,
        talks_nonsense,
        answers_for_others,
        contradicts_itself,
        speaks_of_another_vault,
        sells_too_much,
        plans_nothing_to_send,
    ],
)
@pytest.mark.parametrize("count", [1, 3, 4], ids=["one", "three", "all"])
def test_what_workers_fail_to_say_others_say(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    failing: Failing,
    count: int,
) -> None:
    with ExitStack() as stack:
        fleet = Fleet(environment, vaults, stack)
        shares = place(vaults, NAMES)
        for name in sorted(NAMES, key=lambda name: -len(shares[name]))[:count]:
            failing(fleet.workers[name], monkeypatch)
        move(environment, UP_10_PERCENT)
        head = fleet.head()

        found = fleet.evaluator(worker_timeout_seconds=0.4).evaluate(head, CONDITIONS)

        same(found, fleet.alone().evaluate(head, CONDITIONS))


def test_silent_worker_is_asked_again_when_it_is_heard_of(
    environment: DevEnvironment, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalancer.fleet.evaluator._SILENT_SECONDS", 3_600.0)
    evaluator = fleet.evaluator(worker_timeout_seconds=0.3)
    busy = place(fleet.context.vaults, NAMES)
    name = max(NAMES, key=lambda name: len(busy[name]))
    worker = fleet.workers[name]
    with worker._lock:  # it is busy
        evaluator.evaluate(fleet.head(), CONDITIONS)
        assert name not in evaluator._available()
    wait_for("all answers", lambda: all(fleet.workers[each].handled for each in NAMES if busy[each]))
    for each in NAMES:  # on a busy machine others were silent for so long, too
        fleet.say_again(each)

    assert set(evaluator._available()) == set(NAMES)


def test_worker_that_comes_takes_a_part_and_one_that_leaves_gives_it_back(
    environment: DevEnvironment, fleet: Fleet
) -> None:
    many, one = fleet.evaluator(exact_vaults=0), fleet.alone(exact_vaults=0)
    group = group_of(fleet.context.chain_id)
    for gone in ((), ("anna",), ("anna", "bert", "carl"), ("anna",), ()):
        for name in NAMES:
            fleet.say_again(name) if name not in gone else fleet.state.leave(group, name)
        move(environment, {"ETH/USD": (2_000 + 50 * len(gone)) * 10**8})
        head = fleet.head()
        same(many.evaluate(head, CONDITIONS), one.evaluate(head, CONDITIONS))

    assert all(len(worker._evaluators) <= 4 for worker in fleet.workers.values())


def test_worker_that_missed_blocks_reads_what_was_in_between(environment: DevEnvironment, fleet: Fleet) -> None:
    many, one = fleet.evaluator(exact_vaults=0), fleet.alone(exact_vaults=0)
    head = fleet.head()
    same(many.evaluate(head, CONDITIONS), one.evaluate(head, CONDITIONS))
    unread: Head | None = None
    for price in (2_050, 2_150):
        move(environment, {"ETH/USD": price * 10**8})
        head = fleet.head()
        unread = head if unread is None else head.after(unread)
    assert unread is not None

    same(many.evaluate(unread, CONDITIONS), one.evaluate(unread, CONDITIONS))


def test_leader_that_lost_its_lease_asks_nobody(environment: DevEnvironment, fleet: Fleet) -> None:
    def lost() -> None:
        raise LeaseLost("1:0x", "it was not renewed")

    evaluator = fleet.evaluator()
    evaluator.guard = lost

    with pytest.raises(LeaseLost):
        evaluator.evaluate(fleet.head(), CONDITIONS)
    assert all(worker.handled == 0 for worker in fleet.workers.values())


# When the leader's own node fails


def test_vaults_that_nobody_can_judge_keep_what_is_known_and_fall_behind_aloud(
    environment: DevEnvironment, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = fleet.evaluator()
    first = evaluator.evaluate(fleet.head(), CONDITIONS)
    began = first.block.number
    lost = max(place(fleet.context.vaults, NAMES).values(), key=len)

    def unreachable(order: object) -> None:
        raise RpcUnreachable("http://127.0.0.1:1", "refused")

    # Whoever is asked about these vaults cannot read them.
    for worker in (*fleet.workers.values(), evaluator._own):
        plain = worker.evaluate
        monkeypatch.setattr(
            worker,
            "evaluate",
            lambda order, plain=plain: unreachable(order) if set(order.share) & set(lost) else plain(order),
        )
    for _ in range(6):
        environment.chain.mine()
        found = evaluator.evaluate(fleet.head(), CONDITIONS)
        for vault in fleet.context.vaults:
            missed = vault in lost
            assert (found.reasons[vault] is Reason.NOT_YET) == missed
            assert evaluator.judged_at[vault] == (began if missed else found.block.number)
            assert found.epochs[vault] == first.epochs[vault]
    assert evaluator._behind == set(lost)
    monkeypatch.undo()
    environment.chain.mine()
    evaluator.evaluate(fleet.head(), CONDITIONS)

    assert evaluator._behind == frozenset()


def test_look_fails_when_nobody_can_read_anything(
    environment: DevEnvironment, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_workers(fleet)
    evaluator = fleet.evaluator()

    def unreachable(order: object) -> None:
        raise RpcUnreachable("http://127.0.0.1:1", "refused")

    monkeypatch.setattr(evaluator._own, "evaluate", unreachable)

    with pytest.raises(ChainError):
        evaluator.evaluate(fleet.head(), CONDITIONS)


def test_order_of_verdicts_is_by_what_is_out_of_place(environment: DevEnvironment, fleet: Fleet) -> None:
    move(environment, UP_10_PERCENT)
    found = fleet.evaluator(exact_vaults=0).evaluate(fleet.head(), CONDITIONS)

    ranks = [misallocated_e18(verdict.snapshot) for verdict in found.verdicts]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[-1] > 0
