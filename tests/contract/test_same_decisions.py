"""By the book of many vaults, too, a keeper decides the same on one tape whether it runs on or is started again ten times.

tests/fleet/test_same_decisions.py holds the same where all vaults are read exactly, and of a fleet of four.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from rebalancer.block import Block
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.keeper import (
    Decision,
    Evaluator,
    EvaluatorOptions,
    Keeper,
    KeeperContext,
    KeeperOptions,
)
from rebalancer.reasons import LENS_REASONS, Reason
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer

STEPS = 24
RESTARTS = tuple(range(3, 43, 4))
"""Looks before which the keeper is started anew: two a step, one of them while what it sent is not mined."""

Said = tuple[int, str, str, int, int | None, str]


def tape(environment: DevEnvironment, step: int) -> dict[str, int]:
    """Prices of a step: two waves and a jump, so that bands break again and again."""
    opening = {"ETH/USD": 2_000_00000000, "BTC/USD": 30_000_00000000}
    wave = math.sin(step / 3) * 0.09 + (0.12 if step > STEPS // 2 else 0.0)
    other = math.cos(step / 5) * 0.05
    moved = {
        "ETH/USD": int(opening["ETH/USD"] * (1 + wave)),
        "BTC/USD": int(opening["BTC/USD"] * (1 + other)),
    }
    return environment.market.prices_e8 | moved


def play(
    environment: DevEnvironment,
    vaults: tuple[str, ...],
    journal: Path,
    restarts: Collection[int],
) -> list[Said]:
    """Everything that is decided on the tape, by a keeper that is started anew before some of its looks."""
    rpc, chain = environment.chain.rpc, environment.chain
    before, prices = chain.snapshot(), dict(environment.market.prices_e8)
    began = chain.now()
    reported: list[Decision] = []
    ticks = 0
    with ExitStack() as all_of_it:
        stack = all_of_it.enter_context(ExitStack())

        def begun() -> Keeper:
            context = KeeperContext.of(environment.deployment, vaults)
            keeper = Keeper(
                rpc,
                context,
                [devnet_signer(Actor.KEEPER)],
                stack.enter_context(Outbox(journal)),
                KeeperOptions(fee_cap_wei=10_000 * 10**9, receipt_seconds=0),
                evaluator=Evaluator(rpc, context, EvaluatorOptions(exact_vaults=0)),
            )
            keeper.start()
            return keeper

        keeper = begun()

        def tick_at(block: Block) -> None:
            nonlocal keeper, ticks
            if ticks in restarts:
                stack.close()
                keeper = begun()
            ticks += 1
            reported.extend(keeper.tick(block))

        rpc.call("evm_setAutomine", False)
        all_of_it.callback(rpc.call, "evm_setAutomine", True)
        for step in range(STEPS):
            at = began + 1_800 * (step + 1)
            rpc.call("evm_setAutomine", True)
            mined = environment.market.step(tape(environment, step), at)
            rpc.call("evm_setAutomine", False)
            tick_at(Block(mined.number, mined.hash, mined.timestamp))
            chain.mine(at=at + 60)
            tick_at(read_block(rpc))
    chain.revert(before)
    environment.market.prices_e8 = prices
    # Of vaults that the book finds quiet only changes are told, and what was told before is not kept over a restart.
    return [
        (one.block.number, one.vault, one.reason.value, one.epoch, one.drift_bps, one.text)
        for one in reported
        if one.reason not in LENS_REASONS
    ]


def test_ten_restarts_in_the_middle_change_no_decision(environment: DevEnvironment, tmp_path: Path) -> None:
    vaults = (environment.vault, environment.open_vault(1))
    alone = play(environment, vaults, tmp_path / "alone.sqlite", ())
    restarted = play(environment, vaults, tmp_path / "restarted.sqlite", RESTARTS)

    assert len(RESTARTS) == 10
    done = [message for message in alone if message[2] == Reason.REBALANCED]
    assert len(done) > 6, "the tape must break bands often"
    assert {message[1] for message in done} == set(vaults)
    assert restarted == alone
