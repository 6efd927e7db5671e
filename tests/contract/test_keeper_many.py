"""A keeper of several vaults: each has its own decision, its own transaction and its own trouble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.heads import Heads
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment
from rebalancer.errors import KeeperNotAuthorized, LedgerMismatch, RpcUnreachable, UnknownVault
from rebalancer.keeper import (
    Decision,
    Evaluator,
    EvaluatorOptions,
    Keeper,
    KeeperContext,
    KeeperOptions,
    Tick,
)
from rebalancer.keeper.evaluator import Evaluates
from rebalancer.reasons import Reason
from rebalancer.send.attempt import AttemptState
from rebalancer.send.outbox import Outbox
from rebalancer.send.signed import Signer
from rebalancer.send.signer import devnet_signer
from rebalancer.settlement import Settlement, settle
from tests.clocks import LONGEST_SECONDS
from tests.contract.test_keeper import UP_10_PERCENT, is_as_foreseen, move, set_policy

pytestmark = pytest.mark.both_chains  # nodes differ in mining and in what they keep pending

GWEI = 10**9


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


@pytest.fixture
def vaults(environment: DevEnvironment) -> tuple[str, ...]:
    return environment.vault, environment.open_vault(1)


def keeper_of(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    outbox: Outbox | None,
    *,
    exact_vaults: int = 50,
    observers: tuple[list[Tick], ...] = (),
    receipt_seconds: float = 0,
    fee_cap_wei: int = 10_000 * GWEI,
    rpc: Rpc | None = None,
    context: KeeperContext | None = None,
    signer: Signer | None = None,
    evaluator: Evaluates | None = None,
) -> Keeper:
    """A keeper of vaults of the stage. It evaluates by the stage's node, unless it has another evaluator."""
    context = context or KeeperContext.of(environment.deployment, vaults)
    evaluates = EvaluatorOptions(exact_vaults=exact_vaults)
    return Keeper(
        rpc or environment.chain.rpc,
        context,
        [signer or devnet_signer(Actor.KEEPER)],
        outbox,
        KeeperOptions(
            dry_run=outbox is None,
            fee_cap_wei=fee_cap_wei,
            receipt_seconds=receipt_seconds,
            max_consecutive_failures=3,
            tick_timeout_seconds=LONGEST_SECONDS,
        ),
        evaluator=evaluator or Evaluator(environment.chain.rpc, context, evaluates),
        observers=[ticks.append for ticks in observers],
    )


def by_vault(decisions: tuple[Decision, ...]) -> dict[str, Decision]:
    return {decision.vault: decision for decision in decisions}


def snapshot_of(environment: DevEnvironment, vaults: tuple[str, ...]) -> dict[str, VaultSnapshot]:
    rpc = environment.chain.rpc
    found = read_vaults(rpc, environment.system.lens, vaults, read_block(rpc))
    return {snapshot.address: snapshot for snapshot in found}


def nonce(environment: DevEnvironment) -> int:
    account = Actor.KEEPER.address
    return int(environment.chain.rpc.call("eth_getTransactionCount", account, "latest"), 16)


@pytest.mark.parametrize("exact_vaults", [50, 0])
def test_all_vaults_out_of_band_are_rebalanced_by_one_look(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox, exact_vaults: int
) -> None:
    keeper = keeper_of(environment, vaults, outbox, exact_vaults=exact_vaults, receipt_seconds=30)
    keeper.start()
    move(environment, UP_10_PERCENT)

    decisions = by_vault(keeper.tick())

    assert set(decisions) == set(vaults)
    after = snapshot_of(environment, vaults)
    for vault, decision in decisions.items():
        assert decision.reason is Reason.REBALANCED
        outcome = decision.outcome
        assert outcome is not None
        assert outcome.settled is not None
        assert outcome.settled.held == after[vault].basket.held
        assert after[vault].state.epoch == 1
    # The second trades in pools that the first has moved, and still as the policy says; the first is as foreseen.
    foreseen = [is_as_foreseen(one.outcome) for one in decisions.values() if one.outcome]
    assert True in foreseen
    assert nonce(environment) == 2


def test_what_is_sent_is_told_at_once_and_what_became_of_it_by_a_later_look(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    keeper = keeper_of(environment, vaults[:1], outbox)
    move(environment, UP_10_PERCENT)
    environment.chain.rpc.call("evm_setAutomine", False)
    try:
        (sent,) = keeper.tick()
        (waiting,) = keeper.tick()
    finally:
        environment.chain.rpc.call("evm_setAutomine", True)
    environment.chain.mine()
    settled, after = keeper.tick()

    assert sent.reason is waiting.reason is Reason.IN_FLIGHT
    assert sent.plan is not None
    assert sent.transaction_hash is not None
    assert waiting.plan is None
    assert settled.reason is Reason.REBALANCED
    assert settled.transaction_hash == sent.transaction_hash
    assert settled.outcome is not None
    assert is_as_foreseen(settled.outcome)
    assert after.reason in (Reason.IN_BAND, Reason.COOLDOWN)
    assert nonce(environment) == 1


def test_a_trade_that_others_under_way_would_spoil_waits_for_them(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    keeper = keeper_of(environment, vaults, outbox)
    move(environment, {"ETH/USD": 2_600_00000000})
    if not environment.chain.is_anvil:
        pytest.skip("Hardhat has no eth_simulateV1: it tells once the others are mined.")
    environment.chain.rpc.call("evm_setAutomine", False)
    try:
        first = [one.reason for one in keeper.tick()]
    finally:
        environment.chain.rpc.call("evm_setAutomine", True)
    environment.chain.mine()
    then = [one.reason for one in keeper.tick()]

    assert first == [Reason.IN_FLIGHT, Reason.NOT_YET]
    assert then[0] is Reason.REBALANCED
    assert then[1] is Reason.IN_FLIGHT, "the vault out of place comes before the one that is not"
    assert keeper.reporter.open_breakers(0.0) == ()


def test_what_an_earlier_run_sent_is_verified_by_the_next(
    environment: DevEnvironment, vaults: tuple[str, ...], tmp_path: Path
) -> None:
    move(environment, UP_10_PERCENT)
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        (sent,) = keeper_of(environment, vaults[:1], outbox).tick()
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        again = keeper_of(environment, vaults[:1], outbox)
        again.start()
        settled = again.tick()[0]
        third = keeper_of(environment, vaults[:1], outbox)
        third.start()
        told_again = third.tick()

    assert sent.reason is Reason.IN_FLIGHT
    assert settled.reason is Reason.REBALANCED
    outcome = settled.outcome
    assert outcome is not None
    assert outcome.plan is None
    assert outcome.predicted is None
    assert outcome.settled is not None
    assert outcome.settled.held == snapshot_of(environment, vaults)[environment.vault].basket.held
    assert Reason.REBALANCED not in [decision.reason for decision in told_again]


def test_by_the_book_a_quiet_vault_is_told_only_when_its_reason_changes(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    keeper = keeper_of(environment, vaults, outbox, exact_vaults=0)
    heads = Heads(environment.chain.rpc, poll_seconds=0.01)
    vault = contract_at(environment.chain.rpc, "BasketVault", vaults[1])
    assert keeper.tick(heads.next(0)) == ()

    environment.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")
    (paused,) = keeper.tick(heads.next(0))
    environment.chain.mine()
    still = keeper.tick(heads.next(0))

    assert (paused.vault, paused.reason, paused.snapshot) == (vaults[1], Reason.PAUSED, None)
    assert still == ()


def test_by_the_book_a_look_that_fails_loses_no_news(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper = keeper_of(environment, vaults, outbox, exact_vaults=0)
    heads = Heads(environment.chain.rpc, poll_seconds=0.01)
    keeper.tick(heads.next(0))
    vault = contract_at(environment.chain.rpc, "BasketVault", vaults[1])
    environment.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")
    plain = environment.chain.rpc.batch_settled

    def broken(calls: list[tuple[str, tuple[object, ...]]]) -> list[object]:
        if calls[0][0] == "eth_getLogs":
            raise RpcUnreachable("node", "it went away")
        return plain(calls)

    with monkeypatch.context() as patch:
        patch.setattr(environment.chain.rpc, "batch_settled", broken)
        with pytest.raises(RpcUnreachable):
            keeper.tick(heads.next(0))
    environment.chain.mine()

    (paused,) = keeper.tick(heads.next(0))

    assert (paused.vault, paused.reason) == (vaults[1], Reason.PAUSED)


def test_a_transaction_that_a_contract_refuses_in_its_block_is_told_and_tried_anew(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    keeper = keeper_of(environment, vaults[:1], outbox)
    move(environment, UP_10_PERCENT)
    rpc = environment.chain.rpc
    vault = contract_at(rpc, "BasketVault", environment.vault)
    guardian = {"from": Actor.GUARDIAN.address, "to": environment.vault}
    tip = hex(500 * GWEI)
    rpc.call("evm_setAutomine", False)
    try:
        pause = guardian | {"data": vault.data("pauseRebalance"), "maxPriorityFeePerGas": tip}
        rpc.call("eth_sendTransaction", pause | {"maxFeePerGas": hex(2_000 * GWEI)})
        keeper.tick()
        environment.chain.mine()
    finally:
        rpc.call("evm_setAutomine", True)

    refused, paused = keeper.tick()

    assert (refused.reason, paused.reason) == (Reason.REVERTED, Reason.PAUSED)
    assert "RebalanceIsPaused" in refused.text
    environment.wallet(Actor.OWNER).transact(vault, "resumeRebalance")
    (again,) = keeper.tick()
    assert again.reason is Reason.IN_FLIGHT


def test_books_beside_other_transactions_in_the_same_block_are_not_compared(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    keeper = keeper_of(environment, vaults[:1], outbox)
    move(environment, UP_10_PERCENT)
    rpc = environment.chain.rpc
    vault = contract_at(rpc, "BasketVault", environment.vault)
    held = snapshot_of(environment, vaults)[environment.vault].basket.held
    shares = snapshot_of(environment, vaults)[environment.vault].total_supply // 100
    owner = {"from": Actor.OWNER.address, "to": environment.vault, "gas": hex(1_000_000)}
    redeem = vault.data("redeemInKind", shares, Actor.OWNER.address, Actor.OWNER.address, [0] * len(held))
    rpc.call("evm_setAutomine", False)
    try:
        keeper.tick()
        fees = {"maxPriorityFeePerGas": hex(1), "maxFeePerGas": hex(2_000 * GWEI)}
        rpc.call("eth_sendTransaction", owner | fees | {"data": redeem})
        environment.chain.mine()
    finally:
        rpc.call("evm_setAutomine", True)

    settled = keeper.tick()[0]

    assert settled.reason is Reason.REBALANCED
    assert settled.outcome is not None
    assert settled.outcome.settled is None
    assert is_as_foreseen(settled.outcome) is None


def _other_books(settlement: Settlement) -> Settlement:
    return replace(settlement, held=tuple(amount + 1 for amount in settlement.held))


def test_a_vault_whose_books_differ_is_left_alone_and_the_other_is_not(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper = keeper_of(environment, vaults, outbox, receipt_seconds=30)
    move(environment, UP_10_PERCENT)
    seen: list[Settlement] = []

    def wrong_once(*given: object, **named: object) -> Settlement:
        settlement = settle(*given, **named)  # type: ignore[arg-type] # handed through
        seen.append(settlement)
        return _other_books(settlement) if len(seen) <= 3 else settlement

    monkeypatch.setattr("rebalancer.keeper.verify.settle", wrong_once)

    decisions = by_vault(keeper.tick())
    move(environment, {"ETH/USD": 2_600_00000000}, seconds=7_200)
    again = by_vault(keeper.tick())

    reasons = {vault: decision.reason for vault, decision in decisions.items()}
    assert sorted(reasons.values()) == [Reason.HALTED, Reason.REBALANCED]
    (halted,) = (vault for vault, reason in reasons.items() if reason is Reason.HALTED)
    assert again[halted].reason is Reason.HALTED
    assert "stop, and find the cause" in again[halted].text
    assert [one.reason for vault, one in again.items() if vault != halted] == [Reason.REBALANCED]


def test_books_of_the_only_vault_that_differ_end_the_keeper(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "rebalancer.keeper.verify.settle",
        lambda *given, **named: _other_books(settle(*given, **named)),
    )
    keeper = keeper_of(environment, vaults[:1], outbox, receipt_seconds=30)
    move(environment, UP_10_PERCENT)

    with pytest.raises(LedgerMismatch) as differ:
        keeper.tick()

    assert differ.value.vault == environment.vault


def test_books_that_an_earlier_run_may_not_have_compared_are_compared_at_the_start(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    move(environment, UP_10_PERCENT)
    keeper_of(environment, vaults[:1], outbox, receipt_seconds=30).tick()
    keeper_of(environment, vaults[:1], outbox).start()
    monkeypatch.setattr(
        "rebalancer.keeper.verify.settle",
        lambda *given, **named: _other_books(settle(*given, **named)),
    )

    with pytest.raises(LedgerMismatch):
        keeper_of(environment, vaults[:1], outbox).start()
    both = keeper_of(environment, vaults, outbox)
    both.start()
    assert [one.scope for one in both.reporter.open_breakers(1e12)] == [environment.vault]


def test_a_limit_of_the_keepers_own_is_the_reason_when_nothing_is_sent(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    move(environment, UP_10_PERCENT)

    (decision,) = keeper_of(environment, vaults[:1], outbox, fee_cap_wei=1).tick()

    assert decision.reason is Reason.NOT_SENT
    assert "1 wei" in decision.text or "cap" in decision.text
    assert nonce(environment) == 0


def test_a_vault_that_keeps_being_refused_rests(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    move(environment, UP_10_PERCENT)
    elsewhere = replace(environment.system, executor=environment.system.lens)  # which swaps nothing
    context = replace(KeeperContext.of(environment.deployment, vaults[:1]), system=elsewhere)
    keeper = keeper_of(environment, vaults[:1], outbox, context=context)
    refused = [keeper.tick()[-1] for _ in range(4)]

    assert [one.reason for one in refused[:3]] == [Reason.SIMULATION_REFUSED] * 3
    assert refused[3].reason is Reason.HALTED
    (breaker,) = keeper.reporter.open_breakers(0.0)
    assert breaker.scope == environment.vault
    assert breaker.until is not None


def test_a_vault_without_the_keepers_role_is_left_alone_unless_it_is_the_only_one(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    stranger = environment.open_vault(2, with_roles=False)
    closed = astuple(replace(DEMO_POLICY, open_after_seconds=0))
    environment.wallet(Actor.OWNER).transact(
        contract_at(environment.chain.rpc, "BasketVault", stranger), "setPolicy", closed
    )
    alone = keeper_of(environment, (stranger,), outbox)
    with pytest.raises(KeeperNotAuthorized) as refusal:
        alone.start()
    assert refusal.value.vault == stranger

    both = keeper_of(environment, (environment.vault, stranger), outbox, receipt_seconds=30)
    both.start()
    move(environment, UP_10_PERCENT)
    decisions = by_vault(both.tick())

    assert decisions[environment.vault].reason is Reason.REBALANCED
    assert decisions[stranger].reason is Reason.HALTED
    assert "KEEPER" in decisions[stranger].text


def test_a_vault_that_opens_to_anyone_is_served_by_who_is_no_keeper_of_it_once_it_is_open(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    set_policy(environment, replace(DEMO_POLICY, open_after_seconds=600))
    stranger = devnet_signer(Actor.DEPOSITOR)
    keeper = keeper_of(environment, (environment.vault,), outbox, receipt_seconds=30, signer=stranger)
    keeper.start()
    move(environment, UP_10_PERCENT)

    (poked,) = keeper.tick()
    (waits,) = keeper.tick()
    move(environment, {}, seconds=700)
    (served,) = keeper.tick()

    assert poked.reason is Reason.POKED
    assert waits.reason is Reason.NOT_YET
    assert "only the vault's own keepers may rebalance it until" in waits.text
    assert served.reason is Reason.REBALANCED


def test_start_refuses_what_is_no_vault(environment: DevEnvironment, outbox: Outbox) -> None:
    with pytest.raises(UnknownVault):
        keeper_of(environment, (environment.vault, environment.system.lens), outbox).start()


def test_watchers_are_told_of_looks_that_succeed_and_of_those_that_fail(
    environment: DevEnvironment, vaults: tuple[str, ...], outbox: Outbox
) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, vaults, outbox, observers=(ticks,))
    keeper.options = replace(keeper.options, poll_seconds=0.01, gives_up=False, backoff_seconds=0.01)
    move(environment, UP_10_PERCENT)
    dead = Rpc("http://127.0.0.1:1", 0.2)

    def watch(tick: Tick) -> None:
        if not tick.failure and tick.decisions:
            keeper.stop()

    keeper.reporter.observers = (ticks.append, watch)
    keeper.run()
    (tick,) = ticks

    assert tick.block is not None
    assert {one.reason for one in tick.decisions} == {Reason.IN_FLIGHT}
    assert set(tick.reasons) == set(vaults)
    assert (tick.candidates, tick.planned, tick.consecutive_failures) == (2, 2, 0)
    assert sum(tick.attempts.values()) == 2
    assert set(tick.attempts) <= {AttemptState.SENT.value, AttemptState.MINED.value}
    assert tick.balances_wei[Actor.KEEPER.address] > 0
    assert tick.endpoints[0].usable
    assert tick.requests > 5

    environment.chain.mine()
    with Heads(dead, poll_seconds=0.01) as heads:
        keeper._turn(heads, None)
    assert ticks[-1].failure
    assert ticks[-1].consecutive_failures == 1
    assert ticks[-1].block is None
