"""Who may change what, how long it waits, and how it is stopped: AccessManager in front of the vault."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import Any

import pytest

from rebalancer.chain.abi import Contract
from rebalancer.deploy import Role, grant_roles
from rebalancer.policy import Policy
from rebalancer.units import E18
from tests.contract.world import Wallet, World, basket_spec, refused

DAY = 86_400
EXPIRY = 7 * DAY
"""How long AccessManager keeps an operation that is ready."""


@pytest.fixture
def slow(world: World) -> World:
    """The same people, but what alice does as owner and bob as curator waits a day."""
    members = {Role.OWNER: [world.alice.address], Role.CURATOR: [world.bob.address]}
    grant_roles(world.admin, world.system.authority, members, delay_seconds=DAY)
    return world


def call_data(vault: Contract, function: str, *args: Any) -> bytes:
    return bytes.fromhex(vault.data(function, *args)[2:])


def schedule(world: World, sender: Wallet, vault: Contract, data: bytes, when: int = 0) -> bytes:
    """Schedules a call; the operation's id."""
    receipt = sender.transact(world.authority, "schedule", vault.address, data, when)
    (event,) = world.events(receipt, world.authority)
    assert event.name == "OperationScheduled"
    return bytes(event.values["operationId"])


def fee_of(world: World, vault: Contract) -> int:
    return int(world.read(vault, "fee")[2])


# Delays


def test_owner_with_a_delay_cannot_act_at_once(slow: World, vault: Contract) -> None:
    recipient = slow.treasury.address
    data = call_data(vault, "setFee", 100, recipient)
    operation = slow.read(slow.authority, "hashOperation", slow.alice.address, vault.address, data)

    with refused("AccessManagerNotScheduled", operationId=operation):
        slow.alice.transact(vault, "setFee", 100, recipient)
    with refused("AccessManagerNotScheduled", operationId=operation):
        slow.alice.transact(slow.authority, "execute", vault.address, data)


def test_owner_cannot_schedule_sooner_than_the_delay(slow: World, vault: Contract) -> None:
    data = call_data(vault, "setFee", 100, slow.treasury.address)

    with refused(
        "AccessManagerUnauthorizedCall",
        caller=slow.alice.address,
        target=vault.address,
        selector=data[:4],
    ):
        slow.alice.transact(
            slow.authority, "schedule", vault.address, data, slow.chain.now() + DAY - 60
        )


def test_scheduled_change_runs_after_its_delay_and_once(slow: World, vault: Contract) -> None:
    data = call_data(vault, "setFee", 100, slow.treasury.address)
    operation = schedule(slow, slow.alice, vault, data)
    ready_at = slow.chain.now() + DAY

    slow.chain.set_next_timestamp(ready_at - 1)
    with refused("AccessManagerNotReady", operationId=operation):
        slow.alice.transact(slow.authority, "execute", vault.address, data)
    assert fee_of(slow, vault) == 0

    slow.chain.set_next_timestamp(ready_at)
    slow.alice.transact(slow.authority, "execute", vault.address, data)
    assert fee_of(slow, vault) == 100

    with refused("AccessManagerNotScheduled", operationId=operation):
        slow.alice.transact(slow.authority, "execute", vault.address, data)


def test_scheduled_change_runs_as_a_call_of_the_vault_too(slow: World, vault: Contract) -> None:
    data = call_data(vault, "setFee", 100, slow.treasury.address)
    schedule(slow, slow.alice, vault, data)
    slow.chain.mine(at=slow.chain.now() + DAY)

    slow.alice.transact(vault, "setFee", 100, slow.treasury.address)

    assert fee_of(slow, vault) == 100


def test_scheduled_change_expires(slow: World, vault: Contract) -> None:
    data = call_data(vault, "setFee", 100, slow.treasury.address)
    operation = schedule(slow, slow.alice, vault, data)
    slow.chain.mine(at=slow.chain.now() + DAY + EXPIRY)

    with refused("AccessManagerExpired", operationId=operation):
        slow.alice.transact(slow.authority, "execute", vault.address, data)


def test_guardian_cancels_what_waits(slow: World, vault: Contract) -> None:
    """An oracle that lies is what an owner could do worst; this is the way to stop it."""
    lying = slow.stranger.deploy("MockOracle")
    data = call_data(vault, "setOracle", lying.address)
    operation = schedule(slow, slow.alice, vault, data)
    cancel = (slow.alice.address, vault.address, data)

    with refused(
        "AccessManagerUnauthorizedCancel",
        msgsender=slow.stranger.address,
        caller=slow.alice.address,
        target=vault.address,
        selector=data[:4],
    ):
        slow.stranger.transact(slow.authority, "cancel", *cancel)
    slow.guardian.transact(slow.authority, "cancel", *cancel)

    slow.chain.mine(at=slow.chain.now() + DAY)
    with refused("AccessManagerNotScheduled", operationId=operation):
        slow.alice.transact(slow.authority, "execute", vault.address, data)
    assert slow.read(vault, "oracle") == slow.oracle.address


def test_curators_targets_wait_too(slow: World, vault: Contract) -> None:
    targets, bands = [5 * E18 // 10, 3 * E18 // 10, 2 * E18 // 10], [100, 200, 300]
    data = call_data(vault, "setTargets", targets, bands)
    operation = schedule(slow, slow.bob, vault, data)
    with refused("AccessManagerNotReady", operationId=operation):
        slow.bob.transact(slow.authority, "execute", vault.address, data)
    # A change of targets is checked like a new vault, sound prices included.
    slow.move_market(seconds=DAY)

    slow.bob.transact(slow.authority, "execute", vault.address, data)

    assets = slow.read(vault, "assets")
    assert [(target, band) for _, target, band, _ in assets] == list(
        zip(targets, bands, strict=True)
    )


# At once


def test_guardian_pauses_at_once_and_only_an_owner_resumes(slow: World, vault: Contract) -> None:
    receipt = slow.guardian.transact(vault, "pauseRebalance")
    assert slow.read(vault, "state")[5] is True
    assert [event.name for event in slow.events(receipt, vault)] == ["RebalancePaused"]

    with refused("AccessManagedUnauthorized", caller=slow.guardian.address):
        slow.guardian.transact(vault, "resumeRebalance")
    receipt = slow.owner.transact(vault, "resumeRebalance")
    assert slow.read(vault, "state")[5] is False
    assert [event.name for event in slow.events(receipt, vault)] == ["RebalanceResumed"]


def test_nobody_does_what_another_role_may(world: World, vault: Contract) -> None:
    policy = astuple(basket_spec(world).policy)
    targets = ([E18, 0, 0], [200] * 3)
    calls: dict[str, tuple[Any, ...]] = {
        "setPolicy": (policy,),
        "setOracle": (world.oracle.address,),
        "setFee": (0, world.treasury.address),
        "resumeRebalance": (),
        "setTargets": targets,
        "pauseRebalance": (),
        "rebalance": (0, [0] * 3, [0] * 3, world.executor.address, b""),
    }
    allowed = {
        "setTargets": world.curator,
        "pauseRebalance": world.guardian,
        "rebalance": world.keeper,
    }
    people = (world.owner, world.curator, world.guardian, world.keeper, world.stranger)
    for function, args in calls.items():
        for person in people:
            if person == allowed.get(function, world.owner):
                continue
            with refused("AccessManagedUnauthorized", caller=person.address):
                person.transact(vault, function, *args)


def test_feeds_are_the_owners_to_set_and_the_guardians_to_remove(world: World) -> None:
    token = world.usdc.address
    with refused("AccessManagedUnauthorized", caller=world.guardian.address):
        world.guardian.transact(world.oracle, "setFeed", token, token, 8, 1, 1, 1)
    with refused("AccessManagedUnauthorized", caller=world.owner.address):
        world.owner.transact(world.oracle, "removeFeed", token)

    receipt = world.guardian.transact(world.oracle, "removeFeed", token)

    (event,) = world.events(receipt, world.oracle)
    assert (event.name, event.values) == ("FeedRemoved", {"token": token})
    ((_, _, _, fault),) = world.read(world.oracle, "prices", [token])
    assert fault == 1


# What a change must obey


def test_policy_out_of_range_is_refused_with_the_range(world: World, vault: Contract) -> None:
    good = basket_spec(world).policy

    def attempt(policy: Policy) -> None:
        world.owner.transact(vault, "setPolicy", astuple(policy))

    with refused("SlippageOutOfRange", startBps=101, maxBps=100, maximum=300):
        attempt(replace(good, start_slippage_bps=101, max_slippage_bps=100))
    with refused("SlippageOutOfRange", startBps=100, maxBps=301, maximum=300):
        attempt(replace(good, max_slippage_bps=301))
    with refused("RampOutOfRange", rampSeconds=0, minimum=1):
        attempt(replace(good, slippage_ramp_seconds=0))
    for progress in (0, 10_001):
        with refused("ProgressOutOfRange", minProgressBps=progress, minimum=1, maximum=10_000):
            attempt(replace(good, min_progress_bps=progress))
    with refused("BudgetOutOfRange", budgetBps=501, maximum=500):
        attempt(replace(good, loss_budget_bps=501))
    with refused("BudgetOutOfRange", budgetBps=20_001, maximum=20_000):
        attempt(replace(good, turnover_budget_bps=20_001))
    with refused("PeriodOutOfRange", periodSeconds=3_599, minimum=3_600):
        attempt(replace(good, loss_period_seconds=3_599))
    with refused("PeriodOutOfRange", periodSeconds=3_599, minimum=3_600):
        attempt(replace(good, turnover_period_seconds=3_599))
    with refused("BandOutOfRange", asset=0, bandBps=200, minimum=201, maximum=5_000):
        attempt(replace(good, dust_bps=200))

    changed = replace(good, cooldown_seconds=0, loss_budget_bps=500, dust_bps=199)
    attempt(changed)
    assert world.read(vault, "policy") == astuple(changed)


def test_targets_that_are_no_targets_are_refused(world: World, vault: Contract) -> None:
    def attempt(targets: list[int], bands: list[int]) -> None:
        world.curator.transact(vault, "setTargets", targets, bands)

    thirds = [E18 // 3] * 3
    with refused("TargetsDoNotSumToOne", sumE18=E18 - 1):
        attempt(thirds, [200] * 3)
    with refused("BandOutOfRange", asset=1, bandBps=20, minimum=21, maximum=5_000):
        attempt([E18, 0, 0], [200, 20, 200])
    with refused("BandOutOfRange", asset=2, bandBps=5_001, minimum=21, maximum=5_000):
        attempt([E18, 0, 0], [200, 200, 5_001])
    with refused("SafeCastOverflowedUintDowncast", bits=64, value=1 << 64):
        attempt([1 << 64, 0, 0], [200] * 3)
    with refused("SafeCastOverflowedUintDowncast", bits=16, value=1 << 16):
        attempt([E18, 0, 0], [200, 200, 1 << 16])
    with refused("LengthMismatch", length=2, expected=3):
        attempt([E18, 0], [200] * 3)
    with refused("LengthMismatch", length=4, expected=3):
        attempt([E18, 0, 0], [200] * 4)


def test_new_targets_start_the_slippage_anew(world: World, vault: Contract) -> None:
    world.move_market({"ETH": 2_400})
    world.stranger.transact(vault, "poke")
    assert world.read(vault, "state")[3] == world.chain.now()

    world.curator.transact(vault, "setTargets", [E18 // 2, E18 // 2, 0], [100] * 3)

    assert world.read(vault, "state")[3] == 0


def test_oracle_that_does_not_price_an_asset_is_refused(world: World, vault: Contract) -> None:
    ignorant = world.admin.deploy("OracleHub", world.system.authority, "0x" + "00" * 20, 0)

    with refused("UnpricedAsset", token=world.weth.address, fault=1):
        world.owner.transact(vault, "setOracle", ignorant.address)

    world.owner.transact(vault, "setOracle", world.oracle.address)
    assert world.read(vault, "oracle") == world.oracle.address
