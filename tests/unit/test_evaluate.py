"""Which vaults are planned for, in which order, on which pools, where a book of pools and the search for plans are scripts."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from rebalancer.block import Block
from rebalancer.chain.heads import Head
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.chain.system import System
from rebalancer.errors import ContractMissing
from rebalancer.keeper import evaluator as module
from rebalancer.keeper import planners as planners_module
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.decide import Action, Conditions, Verdict, decide
from rebalancer.keeper.evaluator import Evaluator, EvaluatorOptions, misallocated_e18
from rebalancer.keeper.outages import Scope
from rebalancer.keeper.planners import Planners
from rebalancer.reasons import Reason
from rebalancer.settlement import Price, State, weigh_basket
from rebalancer.units import E18
from rebalancer.venues import Pool, Token
from rebalancer.venues.model import ETHER_ADDRESS
from tests.ticks import vault
from tests.unit.test_decide import seen
from tests.unit.test_keeper import SYSTEM
from tests.unit.test_outbox import Clock
from tests.unit.test_plan import BITCOIN, DOLLAR, ETHER, POOLS, basket

FREE = Conditions(0)
VAULTS = tuple(vault(number) for number in (1, 2, 3))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Book:
    """A book of pools that says what it is told to."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.pools: tuple[Any, ...] = POOLS
        self.unread: dict[str, Exception] = {}
        self.diverged: dict[str, Exception] = {}
        self.updated: list[int] = []
        self.checked: list[int] = []
        self.again: list[str] = []
        self.news: tuple[Any, ...] = ()
        self.found: tuple[Any, ...] = ()
        self.still: set[str] = set()

    def update(self, block: Block) -> tuple[Any, ...]:
        self.block = block
        self.updated.append(block.number)
        return self.news

    def check(self) -> tuple[Any, ...]:
        self.checked.append(self.block.number)
        return self.found

    def read_again(self, key: str) -> None:
        self.again.append(key)
        if key in self.still:
            raise ContractMissing("Pool", key)
        self.unread.pop(key, None)


class Bench:
    """An evaluator with its vaults, its book, and what it planned for."""

    def __init__(self, patch: pytest.MonkeyPatch, **options: Any) -> None:
        self.snapshots = {one: replace(seen(), address=one) for one in VAULTS}
        self.cache: Book | None = None
        self.planned: list[tuple[list[str], tuple[str, ...]]] = []
        self.time_for = 99
        patch.setattr(module, "read_vaults", self.read)
        patch.setattr(module, "PoolCache", self.opened)
        places: Any = ("a place",)
        context = KeeperContext(1, SYSTEM, VAULTS, places, (BITCOIN, ETHER, DOLLAR), ETHER.address)
        self.evaluator = Evaluator(Rpc("http://127.0.0.1:1"), context, EvaluatorOptions(**options))
        patch.setattr(self.evaluator.planners, "decide", self.decide)

    def read(self, _rpc: Rpc, lens: str, vaults: Sequence[str], _block: Block) -> tuple[VaultSnapshot, ...]:
        assert lens == SYSTEM.lens
        return tuple(self.snapshots[one] for one in vaults)

    def opened(self, _rpc: Rpc, places: Any, block: Block, chain_id: int, **more: Any) -> Book:
        assert (places, chain_id) == (("a place",), 1)
        assert more["tokens"] == {one.address: one for one in (BITCOIN, ETHER, DOLLAR)}
        assert more["lens"] == SYSTEM.uniswap_v3_lens
        self.cache = Book(block)
        return self.cache

    def decide(
        self,
        vaults: Sequence[VaultSnapshot],
        pools: Sequence[Pool],
        _conditions: Conditions,
        until: float | None = None,
    ) -> dict[str, Verdict]:
        assert until is None
        self.planned.append(([one.address for one in vaults], tuple(one.key for one in pools)))
        return {one.address: Verdict(one, one.reason, "a plan", Action.REBALANCE) for one in vaults[: self.time_for]}

    def tick(self, number: int = 100, **more: Any) -> module.Evaluation:
        at = 1_000_000 + number
        return self.evaluator.evaluate(Head.at(number, hex(number), at), FREE, **more)

    def due(self, *names: str, since: int = 5) -> None:
        """These alone are to be planned for."""
        for one, snapshot in self.snapshots.items():
            is_due = one in names
            self.snapshots[one] = replace(
                snapshot,
                reason=Reason.BAND_BROKEN if is_due else Reason.COOLDOWN,
                state=State(due_since=since),
            )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_the_furthest_out_of_place_comes_first_and_of_equals_the_first_of_the_settings(
    bench: Bench,
) -> None:
    far = basket(ether=400, bitcoin=8, dollar=200_000)
    bench.snapshots[VAULTS[2]] = replace(bench.snapshots[VAULTS[2]], basket=far)
    found = bench.tick()

    assert [one.vault for one in found.verdicts] == [VAULTS[2], VAULTS[0], VAULTS[1]]
    assert found.planned == 3
    assert found.pools == POOLS
    assert found.block == Block(100, "0x64", 1_000_100)
    assert found.reasons == dict.fromkeys(VAULTS, Reason.BAND_BROKEN)
    assert found.epochs == {one: bench.snapshots[one].state.epoch for one in VAULTS}
    assert found.drifts_bps == {one: bench.snapshots[one].drift_bps for one in VAULTS}


def test_value_beyond_the_bands_is_summed_over_what_is_not_excluded_and_rounded_down() -> None:
    one = seen()
    whole = one.basket
    total = sum(
        held * price.primary_e18 // 10**asset.decimals
        for held, price, asset in zip(whole.held, whole.prices, whole.assets, strict=True)
    )
    beyond = 0
    for held, price, asset in zip(whole.held, whole.prices, whole.assets, strict=True):
        value = held * price.primary_e18 // 10**asset.decimals
        off = abs(value - total * asset.target_e18 // E18)
        beyond += max(0, off - total * asset.band_bps // 10_000)
    assert misallocated_e18(one) == pytest.approx(beyond, abs=1_000)
    assert misallocated_e18(one) > 0
    assets = tuple(replace(each, excluded=True) for each in whole.assets)
    assert misallocated_e18(replace(one, basket=replace(whole, assets=assets))) == 0
    some = replace(whole, assets=(replace(whole.assets[0], excluded=True), *whole.assets[1:]))
    weighed = weigh_basket(some)
    rest = [
        max(0, abs(distance) - band * weighed.total_e18 // E18)
        for distance, band in zip(weighed.distances_e18, some.bands_e18, strict=True)
    ]
    assert misallocated_e18(replace(one, basket=some)) == sum(rest[1:])
    assert rest[0] > 0
    unsound = replace(whole, prices=(Price(0, 0, 0, "Stale"), *whole.prices[1:]))
    assert misallocated_e18(replace(one, basket=unsound)) == 0


def test_pools_are_read_once_somebody_is_due_then_kept_current_and_compared_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, check_pools_blocks=10)
    bench.due()
    assert (bench.tick().pools, bench.cache) == ((), None)
    assert bench.planned == [([], ())]
    bench.due(VAULTS[0])
    bench.tick(101)
    assert bench.cache is not None
    assert bench.cache.updated == []
    for number in (101, 102, 110, 111, 112, 120, 121):
        bench.tick(number)
    assert bench.cache.updated == [102, 110, 111, 112, 120, 121]
    assert bench.cache.checked == [111, 121]
    bench.cache.news = (SimpleNamespace(pool="0xaa", block=131, why="one"),)
    bench.cache.found = (SimpleNamespace(pool="0xbb", block=131, why="two"),)
    with capture_logs() as logs:
        bench.tick(131)
    assert [one["pool"] for one in logs if one["event"] == "pool_diverged"] == ["0xaa", "0xbb"]


def test_of_vaults_that_are_left_alone_or_need_nothing_the_reason_is_told(bench: Bench) -> None:
    bench.due(VAULTS[0], VAULTS[1])
    found = {one.vault: one for one in bench.tick(in_flight={VAULTS[0]}).verdicts}

    assert found[VAULTS[0]].reason is Reason.IN_FLIGHT
    assert found[VAULTS[1]].step is Action.REBALANCE
    assert found[VAULTS[2]] == decide(bench.snapshots[VAULTS[2]], (), FREE)
    assert bench.planned == [([VAULTS[1]], tuple(pool.key for pool in POOLS))]


def test_who_had_no_time_left_comes_first_the_next_time(bench: Bench) -> None:
    bench.time_for = 1
    firsts = []
    for number in range(100, 104):
        found = {one.vault: one for one in bench.tick(number).verdicts}
        firsts.append(bench.planned[-1][0][0])
        late = [one for one in found.values() if one.reason is Reason.NOT_YET]
        assert len(late) == 2
        assert all("no time left" in one.text for one in late)
        assert found[firsts[-1]].step is Action.REBALANCE

    assert firsts == [VAULTS[0], VAULTS[1], VAULTS[0], VAULTS[1]]


def test_a_vault_is_planned_for_when_its_band_breaks_and_then_once_in_so_many_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, replan_blocks=4)
    bench.due(VAULTS[0])
    turns = []
    for number in range(200, 212):
        found = {one.vault: one for one in bench.tick(number).verdicts}[VAULTS[0]]
        if found.step is Action.REBALANCE:
            turns.append(number)
        else:
            assert (found.reason, found.text) == (*(Reason.NOT_YET, "it is planned again at intervals of 4 blocks"),)
    assert len(turns) == 3
    assert {after - before for before, after in pairwise(turns)} == {4}
    away = turns[-1] + 1
    for since in (0, 1_000_000 + away):
        bench.due(VAULTS[0], since=since)
        assert bench.tick(away).planned == 1
    bench.due(VAULTS[0], since=1_000_000 + away - 1)
    assert bench.tick(away).planned == 0


def test_a_plan_is_sought_again_on_other_pools_of_the_same_block_alone(bench: Bench) -> None:
    snapshot = bench.snapshots[VAULTS[0]]
    assert bench.evaluator.again(snapshot, FREE, ()) is None, "no pools are read"
    bench.tick()
    now = replace(snapshot, basket=replace(snapshot.basket, timestamp=1_000_100))
    late = replace(snapshot, basket=replace(snapshot.basket, timestamp=1_000_101))

    found = bench.evaluator.again(now, FREE, {Scope(POOLS[1].key)})

    assert found is not None
    assert found.snapshot == now
    assert bench.planned[-1] == ([VAULTS[0]], (POOLS[0].key, POOLS[2].key))
    assert bench.evaluator.again(late, FREE, ()) is None
    without = {Scope(POOLS[0].key, ETHER.address), Scope("", DOLLAR.address)}
    assert bench.tick(101, without=without).pools == ()
    bench.tick(102, without={Scope(POOLS[0].key, DOLLAR.address)})
    assert bench.planned[-1][1] == tuple(pool.key for pool in POOLS)


def test_a_pool_that_cannot_be_read_is_told_of_and_tried_again_after_a_minute_and_then_two(
    bench: Bench,
) -> None:
    bench.tick(100)
    assert bench.cache is not None
    bench.cache.unread = {
        "0xaa": ContractMissing("Pool", "0xaa"),
        "0xbb": ContractMissing("P", "b"),
    }
    bench.cache.still = {"0xaa"}
    reported = {one.subject: one for one in bench.tick(101).left_out}
    assert set(reported) == {"0xaa", "0xbb"}
    assert not reported["0xaa"].why.endswith(".")
    assert reported["0xaa"].until == 1_000_101 + 60
    tried = []
    for number in (102, 160, 161, 162, 280, 281):
        bench.tick(number)
        tried.append(list(bench.cache.again))
        bench.cache.again.clear()
    assert tried == [[], [], ["0xaa", "0xbb"], [], [], ["0xaa"]]
    (left,) = bench.tick(282).left_out
    assert left.subject == "0xaa"
    bench.cache.unread["0xcc"] = ContractMissing("Pool", "0xcc")
    assert [one.subject for one in bench.tick(283).left_out] == ["0xaa", "0xcc"]
    bench.evaluator.retry_pools()
    bench.tick(284)
    assert bench.cache.again == ["0xaa", "0xcc"]


def test_a_pool_that_did_well_for_an_hour_begins_anew(bench: Bench) -> None:
    bench.tick(100)
    assert bench.cache is not None
    for number, until in ((101, 161), (161, 281), (281 + 3_600, 281 + 3_600 + 60)):
        bench.cache.unread = {"0xaa": ContractMissing("Pool", "0xaa")}
        bench.cache.still = {"0xaa"}
        (reported,) = bench.tick(number).left_out
        assert reported.until == 1_000_000 + until
        if until == 281:
            bench.cache.unread = {}
            bench.tick(number + 121)
            bench.tick(281 + 3_600)


def test_a_pool_of_ether_is_left_out_by_the_wrapped_token_too(bench: Bench) -> None:
    bench.tick()
    assert bench.cache is not None
    ether, other = (
        SimpleNamespace(key=key, holder=key, tokens=[SimpleNamespace(address=token)])
        for key, token in (("0xe", ETHER_ADDRESS), ("0xd", DOLLAR.address))
    )
    bench.cache.pools = (ether, other)
    for scope, left in (
        (Scope("", ETHER.address), (other,)),
        (Scope("", ETHER_ADDRESS), (other,)),
        (Scope("", DOLLAR.address), (ether,)),
        (Scope("0xd"), (ether,)),
    ):
        assert list(bench.evaluator._usable([scope])) == list(left)
    assert list(bench.evaluator._usable([])) == [ether, other]


class VaultsBook:
    """A book of very many vaults that says which to read."""

    def __init__(self, rpc: Rpc, lens: str, vaults: Any) -> None:
        assert isinstance(rpc, Rpc)
        assert (lens, vaults) == (SYSTEM.lens, VAULTS)
        self.vaults = VAULTS
        self.epochs = dict(zip(VAULTS, (7, 8, 9), strict=True))
        self.heads: list[int] = []
        self.differing = [VAULTS[2], VAULTS[1]]
        self.bench: Bench | None = None

    def advance(self, head: Head) -> None:
        self.heads.append(head.header.number)

    def judge(self, block: Block) -> SimpleNamespace:
        assert self.heads[-1] == block.number
        return SimpleNamespace(
            candidates=[VAULTS[1]],
            reasons=[Reason.IN_BAND, Reason.COOLDOWN, Reason.PAUSED],
            drift=np.array([0.00456, 0.01, 1.0]),
        )

    def read(self, candidates: Any, _block: Block) -> tuple[VaultSnapshot, ...]:
        return tuple(replace(seen(), address=one) for one in candidates)

    def audit(self, _block: Block, most: int) -> list[SimpleNamespace]:
        assert most == 10
        return [SimpleNamespace(vault=self.differing.pop())] if self.differing else []


def test_of_very_many_vaults_the_book_tells_which_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VaultIndex", VaultsBook)
    bench = Bench(monkeypatch, exact_vaults=2)
    found = bench.tick()

    assert [one.vault for one in found.verdicts] == [VAULTS[1]]
    exact = seen()
    assert found.reasons == {
        VAULTS[0]: Reason.IN_BAND,
        VAULTS[1]: Reason.BAND_BROKEN,
        VAULTS[2]: Reason.PAUSED,
    }
    assert found.epochs == {VAULTS[0]: 7, VAULTS[1]: exact.state.epoch, VAULTS[2]: 9}
    assert found.drifts_bps == {VAULTS[0]: 45, VAULTS[1]: exact.drift_bps, VAULTS[2]: 10_000}
    assert found.differing_vaults == (VAULTS[1],)
    assert bench.tick(101).differing_vaults == (VAULTS[1], VAULTS[2])
    assert bench.tick(102).differing_vaults == (VAULTS[1], VAULTS[2])
    assert Bench(monkeypatch, exact_vaults=3).evaluator._vault_index is None


def test_a_site_has_each_vault_once_and_what_an_addresses_file_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(System, "of", lambda _deployment: SYSTEM)
    token = SimpleNamespace(address=ETHER.address, symbol="T", decimals=6)
    deployment: Any = SimpleNamespace(chain_id=5, pools=("a",), tokens=[token], wrapped_native="0xw")

    found = KeeperContext.of(deployment, ["0xAB", "0xab", "0xcd"])

    wanted = (5, SYSTEM, ("0xab", "0xcd"), ("a",), (Token(ETHER.address, "T", 6),), "0xw")
    assert tuple(getattr(found, name) for name in KeeperContext.__slots__) == wanted


# Planning on several processes


class Pool_:  # noqa: N801 (a pool of processes, not of tokens)
    """Runs what it is given at once, or fails as it is told."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.cancelled: list[int] = []
        self.fails_at: int | None = None
        self.failure: Exception = Late()
        self.closed = 0
        reader = SimpleNamespace(close=lambda: None)
        self._call_queue = SimpleNamespace(_reader=reader)  # its reader is closed where the processes died

    def submit(self, work: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        number = len(self.runs)
        if args:
            self.runs.append(len(args[0]))
        if number == self.fails_at:
            future.set_exception(self.failure)
        else:
            future.set_result(work(*args) if args else None)
        plain = future.cancel

        def cancel() -> bool:
            self.cancelled.append(number)
            return plain()

        future.cancel = cancel  # type: ignore[method-assign]  # to see it
        return future

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        assert wait
        assert cancel_futures
        self.closed += 1


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Pool_:
    made = Pool_()
    monkeypatch.setattr(planners_module, "ProcessPoolExecutor", lambda *_, **__: made)
    return made


def many(count: int) -> list[VaultSnapshot]:
    one = replace(seen(), reason=Reason.COOLDOWN)
    return [replace(one, address=vault(number)) for number in range(count)]


@pytest.mark.parametrize(("count", "runs"), [(23, []), (24, [3] * 8), (50, [7] * 7 + [1])])
def test_many_vaults_are_shared_out_in_runs_and_few_are_decided_here(
    processes: Pool_, count: int, runs: list[int]
) -> None:
    vaults = many(count)
    vaults[1] = replace(seen(), address=vaults[1].address)
    found = Planners(2).decide(vaults, POOLS, FREE)

    assert processes.runs == runs
    assert found == {one.address: decide(one, POOLS, FREE) for one in vaults}
    alone = Planners(1)
    assert alone.decide(vaults, POOLS, FREE) == found
    assert processes.runs == runs


def test_what_is_not_decided_in_time_is_left_out_and_thrown_away(processes: Pool_) -> None:
    processes.fails_at = 1

    found = Planners(2).decide(many(24), POOLS, FREE, until=0.0)

    assert len(found) == 3
    assert len(processes.cancelled) == 8


def test_vaults_are_decided_here_where_the_processes_died(processes: Pool_) -> None:
    processes.fails_at, processes.failure = 2, BrokenProcessPool()
    planners = Planners(2)
    with capture_logs() as logs:
        found = planners.decide(many(24), POOLS, FREE)

    assert len(found) == 24
    assert processes.closed == 1
    assert [one["event"] for one in logs] == ["planners_died"]
    planners.close()
    assert processes.closed == 1
    processes.fails_at = None
    planners.warm()
    planners.close()
    assert processes.closed == 2


def test_no_vault_is_begun_after_the_time_is_over(clock: Clock) -> None:
    vaults = many(5)
    assert Planners(1).decide(vaults, POOLS, FREE, until=clock.now - 0.1) == {}
    assert len(Planners(1).decide(vaults, POOLS, FREE, until=clock.now)) == 5


def test_a_mistake_about_one_vault_is_that_vaults_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(snapshot: VaultSnapshot, *_: Any) -> Verdict:
        if snapshot.address == vault(1):
            raise ZeroDivisionError("of nothing")
        return Verdict(snapshot, snapshot.reason, "well")

    monkeypatch.setattr(planners_module, "decide", mistaken)
    found = Planners(1).decide(many(3), POOLS, FREE)

    assert [one.reason for one in found.values()] == [
        *(Reason.COOLDOWN, Reason.PLAN_FAILED, Reason.COOLDOWN),
    ]
    assert "ZeroDivisionError('of nothing')" in found[vault(1)].text
    assert Planners(3).processes == 3
    monkeypatch.undo()
    due = [replace(seen(), address=vault(number)) for number in range(2)]
    assert Planners(1).decide(due, POOLS, FREE) == {one.address: decide(one, POOLS, FREE) for one in due}


def test_processes_are_begun_each_once_and_waited_for_where_there_are_several(
    processes: Pool_,
) -> None:
    planners = Planners(1)
    planners.warm()
    planners.close()
    assert processes.closed == 0
    processes.failure, processes.fails_at = BrokenProcessPool(), 0
    with pytest.raises(BrokenProcessPool):
        Planners(2).warm()


@pytest.mark.parametrize(("until", "left"), [(None, None), (5.0, 5.0), (0.0, 0.0), (-3.0, 0.0)])
def test_runs_are_waited_for_as_long_as_there_is_time(
    processes: Pool_, clock: Clock, until: float | None, left: float | None
) -> None:
    waited: list[float | None] = []
    plain = Future.result

    def result(self: Future[Any], timeout: float | None = None) -> Any:
        waited.append(timeout)
        return plain(self, timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Future, "result", result)
        Planners(2).decide(many(24), POOLS, FREE, None if until is None else clock.now + until)

    assert waited == [left] * 8


def test_a_process_of_planners_ends_with_the_keeper_and_not_by_ctrl_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[Any] = []
    monkeypatch.setattr("signal.signal", lambda *reported: done.append(reported))
    monkeypatch.setattr(
        "threading.Thread",
        lambda target, daemon: SimpleNamespace(start=lambda: done.append((target, daemon))),
    )
    planners_module._live_as_long_as_the_keeper()
    assert done == [
        (signal.SIGINT, signal.SIG_IGN),
        (planners_module._end_with_the_keeper, True),
    ]
    done.clear()
    monkeypatch.setattr("os._exit", done.append)
    for parent in (None, SimpleNamespace(join=lambda: done.append("joined"))):
        monkeypatch.setattr("multiprocessing.parent_process", lambda one=parent: one)
        planners_module._end_with_the_keeper()
    assert done == [1, "joined", 1]


def test_how_many_processes_there_are_is_told_or_counted(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    planners_module._be_ready()
    assert clock.slept == [0.3]
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(3 + process)))
    assert Planners().processes == 3
    monkeypatch.undo()
    assert Planners().processes >= 1
