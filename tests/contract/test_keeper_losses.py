"""A keeper and tokens that lose balance: it has the loss written down once, says what was lost, and buys nothing of it after that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.stage import DEMO_POLICY, Actor, Stage
from rebalancer.keeper import (
    Decision,
    Evaluator,
    EvaluatorOptions,
    Keeper,
    KeeperOptions,
    Site,
    Tick,
)
from rebalancer.keeper.recording import Recorder, replay
from rebalancer.reasons import Reason
from rebalancer.send.attempt import State
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
    stage: Stage,
    outbox: Outbox | None,
    *vaults: str,
    ticks: list[Tick] | None = None,
    receipt_seconds: float = 30,
    options: EvaluatorOptions | None = None,
) -> Keeper:
    site = Site.of(stage.deployment, vaults or (stage.vault,))
    return Keeper(
        stage.chain.rpc,
        site,
        [devnet_signer(Actor.KEEPER)],
        outbox,
        KeeperOptions(
            dry_run=outbox is None, fee_cap_wei=10_000 * 10**9, receipt_seconds=receipt_seconds
        ),
        evaluator=Evaluator(stage.chain.rpc, site, options),
        watchers=[] if ticks is None else [ticks.append],
    )


def look(stage: Stage, vault: str = "") -> VaultSnapshot:
    rpc = stage.chain.rpc
    return read_vaults(rpc, stage.system.lens, [vault or stage.vault], read_block(rpc))[0]


def lose(stage: Stage, bps: int, asset: int = USDC, vault: str = "") -> int:
    """The vault has so much less of an asset; how much, in raw units."""
    seen = look(stage, vault)
    lost = seen.basket.held[asset] * bps // BPS
    left = seen.basket.held[asset] - lost
    token = seen.basket.assets[asset].token
    stage.chain.set_token_balance(token, vault or stage.vault, left)
    return lost


def tick(keeper: Keeper) -> Decision:
    (decision,) = keeper.tick()
    return decision


def test_loss_above_dust_is_written_down_once_and_told(stage: Stage, outbox: Outbox) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(stage, outbox, ticks=ticks)
    before = look(stage)
    lost = lose(stage, 2_000)
    usdc = before.basket.assets[USDC].token
    assert look(stage).reason is Reason.LOSS_NOT_WRITTEN_DOWN

    synced = tick(keeper)
    after = tick(keeper)
    again = tick(keeper)

    assert synced.reason is Reason.SYNCED
    assert (
        synced.text
        == f"{lost} raw units of {usdc} are missing, and the loss is not written down yet"
    )
    assert after.reason is again.reason is Reason.PAUSED
    assert after.text == (
        f"rebalancing is paused, and {usdc} lost balance: the owner allows its purchases and resumes"
    )
    assert nonce(stage) == 1
    (attempt,) = outbox.attempts(stage.deployment.chain_id)
    assert attempt.state is State.MINED
    assert attempt.intent.epoch < 0
    now = look(stage)
    assert now.basket.held[USDC] == before.basket.held[USDC] - lost
    assert now.basket.barred == (False, False, True)
    assert now.missing_raw == (0, 0, 0)
    told = [one.losses for one in ticks]
    assert told[0] == {stage.vault: synced.text}
    assert told[1] == told[2]
    assert "allowPurchases" in told[1][stage.vault]
    assert "resumeRebalance" in told[1][stage.vault]


def test_loss_within_dust_is_written_down_and_alarms_nobody(stage: Stage, outbox: Outbox) -> None:
    ticks: list[Tick] = []
    keeper = keeper_of(stage, outbox, ticks=ticks)
    lose(stage, DUST_BPS)

    assert tick(keeper).reason is Reason.SYNCED
    assert tick(keeper).reason is Reason.IN_BAND
    assert [one.losses for one in ticks] == [{}, {}]


def test_losses_of_two_tokens_are_written_down_one_after_the_other(
    stage: Stage, outbox: Outbox
) -> None:
    keeper = keeper_of(stage, outbox)
    lose(stage, 1_000, USDC)
    lose(stage, 1_000, WBTC)

    assert [tick(keeper).reason for _ in range(3)] == [Reason.SYNCED, Reason.SYNCED, Reason.PAUSED]
    assert nonce(stage) == 2
    assert look(stage).missing_raw == (0, 0, 0)


def test_loss_of_a_paused_vault_is_written_down(stage: Stage, outbox: Outbox) -> None:
    vault = contract_at(stage.chain.rpc, "BasketVault", stage.vault)
    stage.wallet(Actor.GUARDIAN).transact(vault, "pauseRebalance")
    lose(stage, 500)
    assert look(stage).reason is Reason.PAUSED

    assert tick(keeper_of(stage, outbox)).reason is Reason.SYNCED


def test_dry_run_says_that_it_would_write_the_loss_down(stage: Stage) -> None:
    lose(stage, 500)

    decision = tick(keeper_of(stage, None))

    assert decision.reason is Reason.DRY_RUN
    assert decision.text.startswith("would sync: ")
    assert nonce(stage) == 0


def test_restart_with_a_sync_under_way_sends_no_second(stage: Stage, outbox: Outbox) -> None:
    lose(stage, 500)
    stage.chain.rpc.call("evm_setAutomine", False)
    try:
        first = keeper_of(stage, outbox, receipt_seconds=0)
        first.start()
        assert tick(first).reason is Reason.UNDER_WAY

        second = keeper_of(stage, outbox, receipt_seconds=0)
        second.start()
        assert tick(second).reason is Reason.UNDER_WAY
        stage.chain.mine()
        told = [one.reason for one in second.tick()]
    finally:
        stage.chain.rpc.call("evm_setAutomine", True)

    assert Reason.SYNCED in told
    assert nonce(stage) == 1
    assert len(outbox.attempts(stage.deployment.chain_id)) == 1


@pytest.mark.parametrize("exact_vaults", [50, 0])
def test_of_many_vaults_the_one_that_lost_is_found_and_served(
    stage: Stage, outbox: Outbox, exact_vaults: int
) -> None:
    """Without a log of any vault: the book finds it when its turn comes to be read again."""
    vaults = (stage.vault, *(stage.open_vault(salt) for salt in (1, 2)))
    options = EvaluatorOptions(exact_vaults=exact_vaults, audit_vaults=1)
    keeper = keeper_of(stage, outbox, *vaults, options=options)
    keeper.start()
    move(stage, {})
    assert {one.reason for one in keeper.tick()} <= {Reason.IN_BAND}
    lose(stage, 2_000, vault=vaults[2])

    told: list[Decision] = []
    for _ in range(6):
        move(stage, {}, seconds=12)
        told += [one for one in keeper.tick() if one.vault == vaults[2]]

    assert [one.reason for one in told].count(Reason.SYNCED) == 1
    assert told[-1].reason is Reason.PAUSED
    assert look(stage, vaults[2]).basket.barred == (False, False, True)
    assert nonce(stage) == 1
    # The others are as they were.
    for vault in vaults[:2]:
        assert look(stage, vault).reason is Reason.IN_BAND


def test_barred_asset_is_not_bought_and_others_are(stage: Stage, outbox: Outbox) -> None:
    """WETH is too much, WBTC and USDC too little; USDC has lost a fiftieth, and its purchases are barred."""
    keeper, vault = (
        keeper_of(stage, outbox),
        contract_at(stage.chain.rpc, "BasketVault", stage.vault),
    )
    lose(stage, 200)
    assert tick(keeper).reason is Reason.SYNCED
    stage.wallet(Actor.OWNER).transact(vault, "resumeRebalance")
    move(stage, UP_10_PERCENT)
    before = look(stage)
    assert before.reason is Reason.BAND_BROKEN

    decision = tick(keeper)

    assert decision.reason is Reason.REBALANCED
    assert decision.outcome is not None
    assert is_as_foreseen(decision.outcome)
    held = look(stage).basket.held
    assert held[WETH] < before.basket.held[WETH]
    assert held[WBTC] > before.basket.held[WBTC]
    assert held[USDC] == before.basket.held[USDC]


def test_vault_that_lacks_nothing_but_what_is_barred_waits_for_its_owner(
    stage: Stage, outbox: Outbox
) -> None:
    keeper, vault = (
        keeper_of(stage, outbox),
        contract_at(stage.chain.rpc, "BasketVault", stage.vault),
    )
    owner = stage.wallet(Actor.OWNER)
    lose(stage, 5_000)
    assert tick(keeper).reason is Reason.SYNCED
    owner.transact(vault, "resumeRebalance")

    waiting = tick(keeper)
    owner.transact(vault, "allowPurchases", USDC)
    move(stage, {})
    bought = tick(keeper)

    usdc = look(stage).basket.assets[USDC].token
    assert waiting.reason is Reason.PURCHASES_BARRED
    assert waiting.text == (
        f"all that lacks is {usdc}, which lost balance and may not be bought until the owner allows it"
    )
    assert bought.reason is Reason.REBALANCED


def test_recorded_loss_is_decided_the_same_again(
    stage: Stage, outbox: Outbox, tmp_path: Path
) -> None:
    path = tmp_path / "day.jsonl"
    lose(stage, 500)
    with Recorder(path) as recorder:
        keeper = keeper_of(stage, outbox)
        keeper.reporter.watchers = (recorder,)
        tick(keeper)
        tick(keeper)

    looks = list(replay(path))

    assert [look.differences for look in looks] == [(), ()]
    assert [look.decided for look in looks] == [1, 1]


def test_calendar_that_finds_no_trades_is_stamped(stage: Stage, outbox: Outbox) -> None:
    """From the stamp on the limit climbs: without one it would stay at its start."""
    vault, day = contract_at(stage.chain.rpc, "BasketVault", stage.vault), 86_400
    policy = replace(DEMO_POLICY, calendar_seconds=day, start_slippage_bps=0)
    fields = tuple(getattr(policy, name) for name in policy.__slots__)
    stage.wallet(Actor.OWNER).transact(vault, "setPolicy", fields)
    move(stage, {"ETH/USD": 2_020_00000000}, seconds=day)
    assert look(stage).reason is Reason.CALENDAR_DUE

    decision = tick(keeper_of(stage, outbox))

    assert decision.reason is Reason.POKED
    assert look(stage).state.due_since == stage.chain.now()
