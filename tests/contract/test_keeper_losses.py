"""A keeper and tokens that lose balance: it has the loss written down once, says what was lost, and buys nothing of it after that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment
from rebalancer.keeper import (
    Decision,
    Evaluator,
    EvaluatorOptions,
    Keeper,
    KeeperContext,
    KeeperOptions,
    Tick,
)
from rebalancer.keeper.recording import Recorder, replay
from rebalancer.reasons import Reason
from rebalancer.send.attempt import AttemptState
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.units import BPS
from tests.contract.test_keeper import UP_10_PERCENT, is_as_foreseen, move, nonce

WETH, WBTC, USDC = range(3)
DUST_BPS = DEMO_POLICY.dust_bps


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite") as journal:
        yield journal


def keeper_of(
    environment: DevEnvironment,
    outbox: Outbox | None,
    *vaults: str,
    ticks: list[Tick] | None = None,
    receipt_seconds: float = 30,
    options: EvaluatorOptions | None = None,
) -> Keeper:
    context = KeeperContext.of(environment.deployment, vaults or (environment.vault,))
    return Keeper(
        environment.chain.rpc,
        context,
        [devnet_signer(Actor.KEEPER)],
        outbox,
        KeeperOptions(dry_run=outbox is None, fee_cap_wei=10_000 * 10**9, receipt_seconds=receipt_seconds),
        evaluator=Evaluator(environment.chain.rpc, context, options),
        observers=[] if ticks is None else [ticks.append],
    )


def snapshot_of(environment: DevEnvironment, vault: str = "") -> VaultSnapshot:
    rpc = environment.chain.rpc
    return read_vaults(rpc, environment.system.lens, [vault or environment.vault], read_block(rpc))[0]


def lose(environment: DevEnvironment, bps: int, asset: int = USDC, vault: str = "") -> int:
    """The vault has so much less of an asset; how much, in raw units."""
    seen = snapshot_of(environment, vault)
    lost = seen.basket.held[asset] * bps // BPS
    left = seen.basket.held[asset] - lost
    token = seen.basket.assets[asset].token
    environment.chain.set_token_balance(token, vault or environment.vault, left)
    return lost


def tick(keeper: Keeper) -> Decision:
    (decision,) = keeper.tick()
    return decision


def test_loss_above_dust_is_written_down_once_and_told(environment: DevEnvironment, outbox: Outbox) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, outbox, ticks=ticks)
    before = snapshot_of(environment)
    lost = lose(environment, 2_000)
    usdc = before.basket.assets[USDC].token
    assert snapshot_of(environment).reason is Reason.LOSS_NOT_WRITTEN_DOWN

    synced = tick(keeper)
    after = tick(keeper)
    again = tick(keeper)

    assert synced.reason is Reason.SYNCED
    assert synced.text == f"{lost} raw units of {usdc} are missing, and the loss is not written down yet"
    assert after.reason is again.reason is Reason.PAUSED
    assert after.text == (
        f"rebalancing is paused because {usdc} lost balance; the owner must allow purchases and resume"
    )
    assert nonce(environment) == 1
    (attempt,) = outbox.attempts(environment.deployment.chain_id)
    assert attempt.state is AttemptState.MINED
    assert attempt.intent.epoch < 0
    now = snapshot_of(environment)
    assert now.basket.held[USDC] == before.basket.held[USDC] - lost
    assert now.basket.barred == (False, False, True)
    assert now.missing_raw == (0, 0, 0)
    reported = [one.losses for one in ticks]
    assert reported[0] == {environment.vault: synced.text}
    assert reported[1] == reported[2]
    assert "allowPurchases" in reported[1][environment.vault]
    assert "resumeRebalance" in reported[1][environment.vault]


def test_loss_within_dust_is_written_down_and_alarms_nobody(environment: DevEnvironment, outbox: Outbox) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(environment, outbox, ticks=ticks)
    lose(environment, DUST_BPS)

    assert tick(keeper).reason is Reason.SYNCED
    assert tick(keeper).reason is Reason.IN_BAND
    assert [one.losses for one in ticks] == [{}, {}]


def test_losses_of_two_tokens_are_written_down_one_after_the_other(environment: DevEnvironment, outbox: Outbox) -> None:
    keeper = keeper_of(environment, outbox)
    lose(environment, 1_000, USDC)
    lose(environment, 1_000, WBTC)

    assert [tick(keeper).reason for _ in range(3)] == [Reason.SYNCED, Reason.SYNCED, Reason.PAUSED]
    assert nonce(environment) == 2
    assert snapshot_of(environment).missing_raw == (0, 0, 0)


def test_loss_of_a_paused_vault_is_written_down(environment: DevEnvironment, outbox: Outbox) -> None:
    vault = contract_at(environment.chain.rpc, "BasketVault", environment.vault)
    environment.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")
    lose(environment, 500)
    assert snapshot_of(environment).reason is Reason.PAUSED

    assert tick(keeper_of(environment, outbox)).reason is Reason.SYNCED


def test_dry_run_says_that_it_would_write_the_loss_down(environment: DevEnvironment) -> None:
    lose(environment, 500)

    decision = tick(keeper_of(environment, None))

    assert decision.reason is Reason.DRY_RUN
    assert decision.text.startswith("would sync: ")
    assert nonce(environment) == 0


def test_restart_with_a_sync_under_way_sends_no_second(environment: DevEnvironment, outbox: Outbox) -> None:
    lose(environment, 500)
    environment.chain.rpc.call("evm_setAutomine", False)
    try:
        first = keeper_of(environment, outbox, receipt_seconds=0)
        first.start()
        assert tick(first).reason is Reason.IN_FLIGHT

        second = keeper_of(environment, outbox, receipt_seconds=0)
        second.start()
        assert tick(second).reason is Reason.IN_FLIGHT
        environment.chain.mine()
        reported = [one.reason for one in second.tick()]
    finally:
        environment.chain.rpc.call("evm_setAutomine", True)

    assert Reason.SYNCED in reported
    assert nonce(environment) == 1
    assert len(outbox.attempts(environment.deployment.chain_id)) == 1


@pytest.mark.parametrize("exact_vaults", [50, 0])
def test_of_many_vaults_the_one_that_lost_is_found_and_served(
    environment: DevEnvironment, outbox: Outbox, exact_vaults: int
) -> None:
    """Without a log of any vault: the book finds it when its turn comes to be read again."""
    vaults = (environment.vault, *(environment.open_vault(salt) for salt in (1, 2)))
    options = EvaluatorOptions(exact_vaults=exact_vaults, audit_vaults=1)
    keeper = keeper_of(environment, outbox, *vaults, options=options)
    keeper.start()
    move(environment, {})
    assert {one.reason for one in keeper.tick()} <= {Reason.IN_BAND}
    lose(environment, 2_000, vault=vaults[2])

    reported: list[Decision] = []
    for _ in range(6):
        move(environment, {}, seconds=12)
        reported += [one for one in keeper.tick() if one.vault == vaults[2]]

    assert [one.reason for one in reported].count(Reason.SYNCED) == 1
    assert reported[-1].reason is Reason.PAUSED
    assert snapshot_of(environment, vaults[2]).basket.barred == (False, False, True)
    assert nonce(environment) == 1
    # The others are as they were.
    for vault in vaults[:2]:
        assert snapshot_of(environment, vault).reason is Reason.IN_BAND


def test_barred_asset_is_not_bought_and_others_are(environment: DevEnvironment, outbox: Outbox) -> None:
    """WETH is too much, WBTC and USDC too little; USDC has lost a fiftieth, and its purchases are barred."""
    keeper, vault = (
        keeper_of(environment, outbox),
        contract_at(environment.chain.rpc, "BasketVault", environment.vault),
    )
    lose(environment, 200)
    assert tick(keeper).reason is Reason.SYNCED
    environment.wallet(Actor.OWNER).transact(vault, "resumeRebalance")
    move(environment, UP_10_PERCENT)
    before = snapshot_of(environment)
    assert before.reason is Reason.BAND_BROKEN

    decision = tick(keeper)

    assert decision.reason is Reason.REBALANCED
    assert decision.outcome is not None
    assert is_as_foreseen(decision.outcome)
    held = snapshot_of(environment).basket.held
    assert held[WETH] < before.basket.held[WETH]
    assert held[WBTC] > before.basket.held[WBTC]
    assert held[USDC] == before.basket.held[USDC]


def test_vault_that_lacks_nothing_but_what_is_barred_waits_for_its_owner(
    environment: DevEnvironment, outbox: Outbox
) -> None:
    keeper, vault = (
        keeper_of(environment, outbox),
        contract_at(environment.chain.rpc, "BasketVault", environment.vault),
    )
    owner = environment.wallet(Actor.OWNER)
    lose(environment, 5_000)
    assert tick(keeper).reason is Reason.SYNCED
    owner.transact(vault, "resumeRebalance")

    waiting = tick(keeper)
    owner.transact(vault, "allowPurchases", USDC)
    move(environment, {})
    bought = tick(keeper)

    usdc = snapshot_of(environment).basket.assets[USDC].token
    assert waiting.reason is Reason.PURCHASES_BARRED
    assert waiting.text == (f"the only token to buy is {usdc}, which lost balance; the owner must allow its purchases")
    assert bought.reason is Reason.REBALANCED


def test_recorded_loss_is_decided_the_same_again(environment: DevEnvironment, outbox: Outbox, tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    lose(environment, 500)
    with Recorder(path) as recorder:
        keeper = keeper_of(environment, outbox)
        keeper.reporter.observers = (recorder,)
        tick(keeper)
        tick(keeper)

    ticks = list(replay(path))

    assert [each.differences for each in ticks] == [(), ()]
    assert [each.decided for each in ticks] == [1, 1]


def test_calendar_that_finds_no_trades_is_stamped(environment: DevEnvironment, outbox: Outbox) -> None:
    """From the stamp on the limit climbs: without one it would stay at its start."""
    vault, day = contract_at(environment.chain.rpc, "BasketVault", environment.vault), 86_400
    policy = replace(DEMO_POLICY, calendar_seconds=day, start_slippage_bps=0)
    fields = tuple(getattr(policy, name) for name in policy.__slots__)
    environment.wallet(Actor.OWNER).transact(vault, "setPolicy", fields)
    move(environment, {"ETH/USD": 2_020_00000000}, seconds=day)
    assert snapshot_of(environment).reason is Reason.CALENDAR_DUE

    decision = tick(keeper_of(environment, outbox))

    assert decision.reason is Reason.POKED
    assert snapshot_of(environment).state.due_since == environment.chain.now()
