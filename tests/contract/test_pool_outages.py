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
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment
from rebalancer.devnet.market import USDC, WBTC, WETH
from rebalancer.fleet.evaluator import FleetEvaluator
from rebalancer.fleet.redis_state import LocalState
from rebalancer.fleet.transport import local_transport
from rebalancer.fleet.worker import Heartbeat, Worker
from rebalancer.keeper import Decision, EvaluatorOptions, Keeper, KeeperContext, Tick
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


def pool_of(environment: DevEnvironment, *tokens: str) -> str:
    (found,) = [one for one in environment.deployment.pools if set(one.tokens) == set(tokens)]
    return found.address


def drain(environment: DevEnvironment, pool: str, token: str) -> int:
    """Take a token's whole balance from a pool, which its state does not tell; how much it was."""
    coin = contract_at(environment.chain.rpc, "MockToken", token)
    balance = int(coin.call("balanceOf", pool))
    environment.chain.transact(coin, "burn", pool, balance)
    return balance


def refill(environment: DevEnvironment, pool: str, token: str, amount_raw: int) -> None:
    environment.chain.transact(contract_at(environment.chain.rpc, "MockToken", token), "mint", pool, amount_raw)


def set_code(environment: DevEnvironment, address: str, code: str) -> None:
    environment.chain.rpc.call("hardhat_setCode", address, code)


def pools_of(decision: Decision) -> set[str]:
    assert decision.plan is not None
    return {swap.pool.key for swap in decision.plan.swaps}


@contextmanager
def logged(event: str) -> Iterator[list[str]]:
    """The pools of log lines of that event."""
    found: list[str] = []
    with structlog.testing.capture_logs() as lines:
        yield found
    found += [str(line["pool"]) for line in lines if line["event"] == event]


def test_pool_whose_swap_reverts_is_left_out_and_others_trade_in_the_same_look(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, (environment.vault,), outbox, observers=(ticks,), receipt_seconds=30)
    bad = pool_of(environment, WBTC.address, USDC.address)
    move(environment, UP_10_PERCENT)
    drain(environment, bad, WBTC.address)

    with logged("pool_left_out") as left_out:
        (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert bad not in pools_of(decision)
    assert left_out == [bad]
    (reported,) = ticks[-1].left_out
    assert reported.subject == bad
    assert reported.why
    assert ticks[-1].breakers == ()


def test_pool_that_goes_on_failing_is_tried_again_at_growing_intervals(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30)
    bad = pool_of(environment, WBTC.address, USDC.address)
    backs_off: list[float] = []
    for price in (2_200, 2_420, 2_662):
        move(environment, {"ETH/USD": price * 10**8})
        if not backs_off:
            drain(environment, bad, WBTC.address)
        (decision,) = keeper.tick()
        (reported,) = keeper._pool_faults.left_out(decision.block)
        backs_off.append(reported.until - decision.block.timestamp)
        assert decision.reason is Reason.REBALANCED
        assert bad not in pools_of(decision)

    assert backs_off == [60, 120, 240]


def test_pool_that_works_again_is_traded_on_again_and_said(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30)
    bad = pool_of(environment, WBTC.address, USDC.address)
    move(environment, UP_10_PERCENT)
    gone = drain(environment, bad, WBTC.address)
    (first,) = keeper.tick()
    refill(environment, bad, WBTC.address, gone)

    move(environment, {"ETH/USD": 2_420_00000000})
    with logged("pool_recovered") as again:
        (second,) = keeper.tick()

    assert first.reason is second.reason is Reason.REBALANCED
    assert bad in pools_of(second)
    assert again == [bad]
    assert keeper._pool_faults.left_out(second.block) == ()


def test_where_the_pools_that_work_are_too_dear_the_vault_is_not_halted_and_the_sentence_names_the_others(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    bad = pool_of(environment, WETH.address, USDC.address)
    move(environment, UP_10_PERCENT)
    drain(environment, bad, USDC.address)

    reported = [one for _ in range(4) for one in keeper.tick()]

    assert reported[-1].reason is Reason.POLICY_REFUSES
    assert f"pools left out: {bad}" in reported[-1].text
    assert keeper.reporter.open_breakers(0.0) == ()


def test_token_that_the_executor_cannot_have_is_left_out_and_the_rest_is_traded(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    set_policy(environment, replace(DEMO_POLICY, start_slippage_bps=120))
    keeper = keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30)
    move(environment, DOWN_10_PERCENT)
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", USDC.address)
    environment.chain.transact(usdc, "blacklist", environment.system.executor)

    (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert {swap.token_in for swap in decision.plan.swaps} == {WBTC.address}
    (reported,) = keeper._pool_faults.left_out(decision.block)
    assert reported.subject == f"{USDC.address} anywhere for {environment.vault}"
    assert keeper._pool_faults.outages.scopes(decision.block.timestamp) == frozenset()


def test_token_that_a_vault_cannot_be_sent_is_no_pools_fault_and_others_trade_it(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    vaults = environment.vault, environment.open_vault(1)
    keeper = keeper_of(environment, vaults, outbox)
    move(environment, UP_10_PERCENT)
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", USDC.address)
    environment.chain.transact(usdc, "blacklist", environment.vault)
    reported = [one for _ in range(3) for one in keeper.tick()]

    left_out = keeper._pool_faults.left_out(reported[-1].block)
    assert [one.subject for one in left_out] == [f"{USDC.address} anywhere for {environment.vault}"]
    sold = {one.vault for one in reported if one.kind == "rebalance"}
    assert vaults[1] in sold
    assert USDC.address in {
        swap.token_out for one in reported if one.vault == vaults[1] and one.plan is not None for swap in one.plan.swaps
    }


def test_what_the_vault_itself_refuses_is_no_pools_fault(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    evaluate = keeper.evaluator.evaluate

    def paused_meanwhile(*given: object) -> object:
        found = evaluate(*given)  # type: ignore[arg-type]  # as the keeper calls it
        environment.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")
        return found

    keeper.evaluator.evaluate = paused_meanwhile  # type: ignore[method-assign, assignment]
    (decision,) = keeper.tick()

    assert decision.reason in (Reason.NOT_YET, Reason.SIMULATION_REFUSED)
    assert "RebalanceIsPaused" in decision.text
    assert keeper._pool_faults.left_out(decision.block) == ()


def test_pool_that_pays_less_than_its_quote_is_left_out(environment: DevEnvironment, outbox: Outbox) -> None:
    """A token that begins to take a fee of each transfer shows in no pool's state."""
    keeper = keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30)
    move(environment, UP_10_PERCENT)
    taxed = environment.chain.deploy("FeeToken", "Wrapped BTC", "WBTC", 8, 100)
    code = environment.chain.rpc.call("eth_getCode", taxed.address, "latest")
    set_code(environment, WBTC.address, code)

    (decision,) = keeper.tick()

    (reported,) = keeper._pool_faults.left_out(decision.block)
    assert reported.subject == pool_of(environment, WBTC.address, USDC.address)
    assert "but its quote is" in reported.why
    assert decision.reason is Reason.REBALANCED
    assert decision.plan is not None
    assert {swap.token_out for swap in decision.plan.swaps} == {USDC.address}


def test_node_that_does_not_simulate_finds_the_pool_by_planning_with_each_alone(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30)
    keeper._dispatch._simulator._has_simulate = False
    bad = pool_of(environment, WBTC.address, USDC.address)
    move(environment, UP_10_PERCENT)
    drain(environment, bad, WBTC.address)

    (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert bad not in pools_of(decision)


def test_vaults_after_the_first_are_planned_without_the_pool_before_they_are_simulated(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    vaults = environment.vault, environment.open_vault(1)
    keeper = keeper_of(environment, vaults, outbox, receipt_seconds=30)
    bad = pool_of(environment, WBTC.address, USDC.address)
    move(environment, UP_10_PERCENT)
    drain(environment, bad, WBTC.address)

    with logged("pool_left_out") as left_out:
        decisions = by_vault(keeper.tick())

    assert left_out == [bad]
    reasons = {one.reason for one in decisions.values()}
    assert Reason.REBALANCED in reasons
    assert reasons <= {Reason.REBALANCED, Reason.NOT_YET}, "the second may wait for the first"


def test_fleet_leaves_the_pool_out_and_plans_anew_in_the_same_look(environment: DevEnvironment, outbox: Outbox) -> None:
    bad = pool_of(environment, WBTC.address, USDC.address)
    with ExitStack() as stack:
        keeper = led(environment, outbox, stack)
        move(environment, UP_10_PERCENT)
        drain(environment, bad, WBTC.address)
        (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert bad not in pools_of(decision)


def led(environment: DevEnvironment, outbox: Outbox, stack: ExitStack, url: str = "") -> Keeper:
    """A leader's keeper with a worker in this process, which asks the endpoint at a URL."""
    context, shared = KeeperContext.of(environment.deployment, (environment.vault,)), LocalState()
    rpc = stack.enter_context(Rpc(url or environment.chain.rpc.endpoint))
    worker = Worker("anna", rpc, replace(context, vaults=()), shared)
    stack.enter_context(Heartbeat(worker, 30.0))
    transport = stack.enter_context(local_transport([worker], "test"))
    evaluator = FleetEvaluator(environment.chain.rpc, context, shared, transport, 20.0, EvaluatorOptions())
    return keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30, evaluator=evaluator)


# Pools that cannot be read


@pytest.mark.parametrize("venue", ["uniswap-v3", "curve", "balancer"])
def test_pool_that_cannot_be_read_is_left_out_and_the_keeper_goes_on(
    environment: DevEnvironment, outbox: Outbox, venue: str
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, (environment.vault,), outbox, observers=(ticks,), receipt_seconds=30)
    nothing = "0x" + "ab" * 20
    context = replace(keeper.context, pools=(PoolRef(nothing, venue=venue), *keeper.context.pools))
    keeper.evaluator.context = context  # type: ignore[attr-defined]  # it is an Evaluator
    move(environment, UP_10_PERCENT)

    (decision,) = keeper.tick()

    assert decision.reason is Reason.REBALANCED
    assert [one.subject for one in ticks[-1].left_out] == [nothing]


def test_pool_that_stops_answering_as_on_paper_comes_back_once_it_does(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30)
    keeper.evaluator.options = EvaluatorOptions(check_pools_blocks=1)
    bad = pool_of(environment, WBTC.address, USDC.address)
    move(environment, UP_10_PERCENT)
    (first,) = keeper.tick()
    code = environment.chain.rpc.call("eth_getCode", bad, "latest")
    move(environment, {"ETH/USD": 2_420_00000000})
    set_code(environment, bad, "0x")
    (second,) = keeper.tick()
    set_code(environment, bad, code)
    move(environment, {"ETH/USD": 2_662_00000000})
    with logged("pool_read_again") as again:
        (third,) = keeper.tick()

    assert bad in pools_of(first)
    assert bad not in pools_of(second)
    assert bad in pools_of(third)
    assert again == [bad]
    assert {one.reason for one in (first, second, third)} == {Reason.REBALANCED}


def test_a_person_has_all_pools_tried_again_at_once(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, (environment.vault,), outbox)
    move(environment, UP_10_PERCENT)
    bad = pool_of(environment, WETH.address, USDC.address)
    gone = drain(environment, bad, USDC.address)
    keeper.tick()
    refill(environment, bad, USDC.address, gone)
    environment.chain.mine()
    *_, second = keeper.tick()
    keeper.retry_pools()
    environment.chain.mine()
    *_, third = keeper.tick()

    assert second.reason is Reason.POLICY_REFUSES
    assert third.reason is Reason.IN_FLIGHT
