"""Pools that cannot be traded on, or cannot be read, stop no vault: they are left out, tried again, and said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.market import USDC, WBTC, WETH
from rebalancer.devnet.stage import DEMO_POLICY, Actor, Stage
from rebalancer.fleet.crew import local_crew
from rebalancer.fleet.evaluator import FleetEvaluator
from rebalancer.fleet.shared import LocalShared
from rebalancer.fleet.worker import Heartbeat, Worker
from rebalancer.keeper import Decision, EvaluatorOptions, Keeper, Site, Tick
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from rebalancer.venues import PoolRef
from tests.contract.test_keeper import UP_10_PERCENT, move, set_policy
from tests.contract.test_keeper_many import by_vault, keeper_of

DOWN_10_PERCENT = {"ETH/USD": 1_800_00000000}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


def pool_of(stage: Stage, *tokens: str) -> str:
    (found,) = [one for one in stage.deployment.pools if set(one.tokens) == set(tokens)]
    return found.address


def drain(stage: Stage, pool: str, token: str) -> int:
    """Take a token's whole balance from a pool, which its state does not tell; how much it was."""
    coin = contract_at(stage.chain.rpc, "MockToken", token)
    balance = int(coin.call("balanceOf", pool))
    stage.chain.transact(coin, "burn", pool, balance)
    return balance


def refill(stage: Stage, pool: str, token: str, amount_raw: int) -> None:
    stage.chain.transact(contract_at(stage.chain.rpc, "MockToken", token), "mint", pool, amount_raw)


def set_code(stage: Stage, address: str, code: str) -> None:
    stage.chain.rpc.call("hardhat_setCode", address, code)


def pools_of(decision: Decision) -> set[str]:
    assert decision.plan is not None
    return {leg.pool.key for leg in decision.plan.legs}


@contextmanager
def logged(event: str) -> Iterator[list[str]]:
    """The pools of log lines of that event."""
    found: list[str] = []
    with structlog.testing.capture_logs() as lines:
        yield found
    found += [str(line["pool"]) for line in lines if line["event"] == event]


def test_pool_whose_swap_reverts_is_left_out_and_others_trade_in_the_same_look(
    stage: Stage, outbox: Outbox
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(stage, (stage.vault,), outbox, watchers=(ticks,), receipt_seconds=30)
    bad = pool_of(stage, WBTC.address, USDC.address)
    move(stage, UP_10_PERCENT)
    drain(stage, bad, WBTC.address)

    with logged("pool_left_out") as left_out:
        (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert bad not in pools_of(decision)
    assert left_out == [bad]
    (told,) = ticks[-1].left_out
    assert told.subject == bad
    assert told.why
    assert ticks[-1].breakers == ()


def test_pool_that_goes_on_failing_is_tried_again_at_growing_intervals(
    stage: Stage, outbox: Outbox
) -> None:
    keeper = keeper_of(stage, (stage.vault,), outbox, receipt_seconds=30)
    bad = pool_of(stage, WBTC.address, USDC.address)
    rests: list[float] = []
    for price in (2_200, 2_420, 2_662):
        move(stage, {"ETH/USD": price * 10**8})
        if not rests:
            drain(stage, bad, WBTC.address)
        (decision,) = keeper.tick()
        (told,) = keeper._pool_faults.left_out(decision.block)
        rests.append(told.until - decision.block.timestamp)
        assert decision.reason is Reason.REBALANCED
        assert bad not in pools_of(decision)

    assert rests == [60, 120, 240]


def test_pool_that_works_again_is_traded_on_again_and_said(stage: Stage, outbox: Outbox) -> None:
    keeper = keeper_of(stage, (stage.vault,), outbox, receipt_seconds=30)
    bad = pool_of(stage, WBTC.address, USDC.address)
    move(stage, UP_10_PERCENT)
    gone = drain(stage, bad, WBTC.address)
    (first,) = keeper.tick()
    refill(stage, bad, WBTC.address, gone)

    move(stage, {"ETH/USD": 2_420_00000000})
    with logged("pool_trades_again") as again:
        (second,) = keeper.tick()

    assert first.reason is second.reason is Reason.REBALANCED
    assert bad in pools_of(second)
    assert again == [bad]
    assert keeper._pool_faults.left_out(second.block) == ()


def test_where_the_pools_that_work_are_too_dear_the_vault_is_not_halted_and_the_sentence_names_the_others(
    stage: Stage, outbox: Outbox
) -> None:
    keeper = keeper_of(stage, (stage.vault,), outbox)
    bad = pool_of(stage, WETH.address, USDC.address)
    move(stage, UP_10_PERCENT)
    drain(stage, bad, USDC.address)

    told = [one for _ in range(4) for one in keeper.tick()]

    assert told[-1].reason is Reason.POLICY_REFUSES
    assert f"left out for now: {bad}" in told[-1].text
    assert keeper.reporter.open_breakers(0.0) == ()


def test_token_that_the_executor_cannot_have_is_left_out_and_the_rest_is_traded(
    stage: Stage, outbox: Outbox
) -> None:
    set_policy(stage, replace(DEMO_POLICY, start_slippage_bps=120))
    keeper = keeper_of(stage, (stage.vault,), outbox, receipt_seconds=30)
    move(stage, DOWN_10_PERCENT)
    usdc = contract_at(stage.chain.rpc, "BlocklistToken", USDC.address)
    stage.chain.transact(usdc, "blacklist", stage.system.executor)

    (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert {leg.token_in for leg in decision.plan.legs} == {WBTC.address}
    (told,) = keeper._pool_faults.left_out(decision.block)
    assert told.subject == f"{USDC.address} anywhere for {stage.vault}"
    assert keeper._pool_faults.outages.scopes(decision.block.timestamp) == frozenset()


def test_token_that_a_vault_cannot_be_sent_is_no_pools_fault_and_others_trade_it(
    stage: Stage, outbox: Outbox
) -> None:
    vaults = stage.vault, stage.open_vault(1)
    keeper = keeper_of(stage, vaults, outbox)
    move(stage, UP_10_PERCENT)
    usdc = contract_at(stage.chain.rpc, "BlocklistToken", USDC.address)
    stage.chain.transact(usdc, "blacklist", stage.vault)
    told = [one for _ in range(3) for one in keeper.tick()]

    left_out = keeper._pool_faults.left_out(told[-1].block)
    assert [one.subject for one in left_out] == [f"{USDC.address} anywhere for {stage.vault}"]
    sold = {one.vault for one in told if one.kind == "rebalance"}
    assert vaults[1] in sold
    assert USDC.address in {
        leg.token_out
        for one in told
        if one.vault == vaults[1] and one.plan is not None
        for leg in one.plan.legs
    }


def test_what_the_vault_itself_refuses_is_no_pools_fault(stage: Stage, outbox: Outbox) -> None:
    keeper = keeper_of(stage, (stage.vault,), outbox)
    move(stage, UP_10_PERCENT)
    vault = contract_at(stage.chain.rpc, "BasketVault", stage.vault)
    evaluate = keeper.evaluator.evaluate

    def paused_meanwhile(*given: object) -> object:
        found = evaluate(*given)  # type: ignore[arg-type]  # as the keeper calls it
        stage.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")
        return found

    keeper.evaluator.evaluate = paused_meanwhile  # type: ignore[method-assign, assignment]
    (decision,) = keeper.tick()

    assert decision.reason in (Reason.NOT_YET, Reason.SIMULATION_REFUSED)
    assert "RebalanceIsPaused" in decision.text
    assert keeper._pool_faults.left_out(decision.block) == ()


def test_pool_that_pays_less_than_its_quote_is_left_out(stage: Stage, outbox: Outbox) -> None:
    """A token that begins to take a fee of each transfer shows in no pool's state."""
    keeper = keeper_of(stage, (stage.vault,), outbox, receipt_seconds=30)
    move(stage, UP_10_PERCENT)
    taxed = stage.chain.deploy("FeeToken", "Wrapped BTC", "WBTC", 8, 100)
    code = stage.chain.rpc.call("eth_getCode", taxed.address, "latest")
    set_code(stage, WBTC.address, code)

    (decision,) = keeper.tick()

    (told,) = keeper._pool_faults.left_out(decision.block)
    assert told.subject == pool_of(stage, WBTC.address, USDC.address)
    assert "where its quote is" in told.why
    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert {leg.token_out for leg in decision.plan.legs} == {USDC.address}


def test_node_that_does_not_simulate_finds_the_pool_by_planning_with_each_alone(
    stage: Stage, outbox: Outbox
) -> None:
    keeper = keeper_of(stage, (stage.vault,), outbox, receipt_seconds=30)
    keeper._dispatch._simulator._has_simulate = False
    bad = pool_of(stage, WBTC.address, USDC.address)
    move(stage, UP_10_PERCENT)
    drain(stage, bad, WBTC.address)

    (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert bad not in pools_of(decision)


def test_vaults_after_the_first_are_planned_without_the_pool_before_they_are_simulated(
    stage: Stage, outbox: Outbox
) -> None:
    vaults = stage.vault, stage.open_vault(1)
    keeper = keeper_of(stage, vaults, outbox, receipt_seconds=30)
    bad = pool_of(stage, WBTC.address, USDC.address)
    move(stage, UP_10_PERCENT)
    drain(stage, bad, WBTC.address)

    with logged("pool_left_out") as left_out:
        decisions = by_vault(keeper.tick())

    assert left_out == [bad]
    reasons = {one.reason for one in decisions.values()}
    assert Reason.REBALANCED in reasons
    assert reasons <= {Reason.REBALANCED, Reason.NOT_YET}, "the second may wait for the first"


def test_fleet_leaves_the_pool_out_and_plans_anew_in_the_same_look(
    stage: Stage, outbox: Outbox
) -> None:
    bad = pool_of(stage, WBTC.address, USDC.address)
    with ExitStack() as stack:
        keeper = led(stage, outbox, stack)
        move(stage, UP_10_PERCENT)
        drain(stage, bad, WBTC.address)
        (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert bad not in pools_of(decision)


def led(stage: Stage, outbox: Outbox, stack: ExitStack, url: str = "") -> Keeper:
    """A leader's keeper with a worker in this process, which asks the endpoint at a URL."""
    site, shared = Site.of(stage.deployment, (stage.vault,)), LocalShared()
    rpc = stack.enter_context(Rpc(url or stage.chain.rpc.endpoint))
    worker = Worker("anna", rpc, replace(site, vaults=()), shared)
    stack.enter_context(Heartbeat(worker, 30.0))
    crew = stack.enter_context(local_crew([worker], "test"))
    evaluator = FleetEvaluator(stage.chain.rpc, site, shared, crew, 20.0, EvaluatorOptions())
    return keeper_of(stage, (stage.vault,), outbox, receipt_seconds=30, evaluator=evaluator)


# Pools that cannot be read


@pytest.mark.parametrize("venue", ["uniswap-v3", "curve", "balancer"])
def test_pool_that_cannot_be_read_is_left_out_and_the_keeper_goes_on(
    stage: Stage, outbox: Outbox, venue: str
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(stage, (stage.vault,), outbox, watchers=(ticks,), receipt_seconds=30)
    nothing = "0x" + "ab" * 20
    site = replace(keeper.site, pools=(PoolRef(nothing, venue=venue), *keeper.site.pools))
    keeper.evaluator.site = site  # type: ignore[attr-defined]  # it is an Evaluator
    move(stage, UP_10_PERCENT)

    (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert [one.subject for one in ticks[-1].left_out] == [nothing]


def test_pool_that_stops_answering_as_on_paper_comes_back_once_it_does(
    stage: Stage, outbox: Outbox
) -> None:
    keeper = keeper_of(stage, (stage.vault,), outbox, receipt_seconds=30)
    keeper.evaluator.options = EvaluatorOptions(check_pools_blocks=1)
    bad = pool_of(stage, WBTC.address, USDC.address)
    move(stage, UP_10_PERCENT)
    (first,) = keeper.tick()
    code = stage.chain.rpc.call("eth_getCode", bad, "latest")
    move(stage, {"ETH/USD": 2_420_00000000})
    set_code(stage, bad, "0x")
    (second,) = keeper.tick()
    set_code(stage, bad, code)
    move(stage, {"ETH/USD": 2_662_00000000})
    with logged("pool_read_again") as again:
        (third,) = keeper.tick()

    assert bad in pools_of(first)
    assert bad not in pools_of(second)
    assert bad in pools_of(third)
    assert again == [bad]
    assert {one.reason for one in (first, second, third)} == {Reason.REBALANCED}


def test_a_person_has_all_pools_tried_again_at_once(stage: Stage, outbox: Outbox) -> None:
    keeper = keeper_of(stage, (stage.vault,), outbox)
    move(stage, UP_10_PERCENT)
    bad = pool_of(stage, WETH.address, USDC.address)
    gone = drain(stage, bad, USDC.address)
    keeper.tick()
    refill(stage, bad, USDC.address, gone)
    stage.chain.mine()
    *_, second = keeper.tick()
    keeper.retry_pools()
    stage.chain.mine()
    *_, third = keeper.tick()

    assert second.reason is Reason.POLICY_REFUSES
    assert third.reason is Reason.UNDER_WAY
