"""Who may change what, how long it waits, and how it is stopped: AccessManager in front of the vault."""

from __future__ import annotations

import re
from dataclasses import astuple, fields, replace
from typing import Any

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import Role
from rebalancer.devnet.local import LocalAccount
from rebalancer.operations.deploy import _VAULT_FUNCTIONS, grant_roles
from rebalancer.settlement import Policy
from rebalancer.units import E18
from tests.contract.world import SEEDS, World, basket_spec, refused

DAY = 86_400
EXPIRY = 7 * DAY
"""How long AccessManager keeps an operation that is ready."""


@pytest.fixture
def slow(world: World) -> World:
    """The same people, but what alice does as owner and bob as curator waits a day."""
    members = {Role.OWNER: [world.alice.address], Role.CURATOR: [world.bob.address]}
    grant_roles(world.admin, world.system.authority, members, delay_seconds=DAY)
    return world


def call_data(vault: BoundContract, function: str, *args: Any) -> bytes:
    return bytes.fromhex(vault.data(function, *args)[2:])


def schedule(world: World, sender: LocalAccount, vault: BoundContract, data: bytes, when: int = 0) -> bytes:
    """Schedules a call; the operation's id."""
    receipt = sender.transact(world.authority, "schedule", vault.address, data, when)
    (event,) = world.events(receipt, world.authority)
    assert event.name == "OperationScheduled"
    return bytes(event.values["operationId"])


def snapshot_of(world: World, vault: BoundContract) -> VaultSnapshot:
    block = read_block(world.chain.rpc)
    return read_vaults(world.chain.rpc, world.system.lens, [vault.address], block)[0]


def fee_of(world: World, vault: BoundContract) -> int:
    return int(world.read(vault, "fee")[2])


# Delays


def test_owner_with_a_delay_cannot_act_at_once(slow: World, vault: BoundContract) -> None:
    recipient = slow.treasury.address
    data = call_data(vault, "setFees", (100, 0, 0, 0), recipient)
    operation = slow.read(slow.authority, "hashOperation", slow.alice.address, vault.address, data)

    with refused("AccessManagerNotScheduled", operationId=operation):
        slow.alice.transact(vault, "setFees", (100, 0, 0, 0), recipient)
    with refused("AccessManagerNotScheduled", operationId=operation):
        slow.alice.transact(slow.authority, "execute", vault.address, data)


def test_owner_cannot_schedule_sooner_than_the_delay(slow: World, vault: BoundContract) -> None:
    data = call_data(vault, "setFees", (100, 0, 0, 0), slow.treasury.address)

    with refused(
        "AccessManagerUnauthorizedCall",
        caller=slow.alice.address,
        target=vault.address,
        selector=data[:4],
    ):
        slow.alice.transact(slow.authority, "schedule", vault.address, data, slow.chain.now() + DAY - 60)


def test_scheduled_change_runs_after_its_delay_and_once(slow: World, vault: BoundContract) -> None:
    data = call_data(vault, "setFees", (100, 0, 0, 0), slow.treasury.address)
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


def test_scheduled_change_runs_as_a_call_of_the_vault_too(slow: World, vault: BoundContract) -> None:
    data = call_data(vault, "setFees", (100, 0, 0, 0), slow.treasury.address)
    schedule(slow, slow.alice, vault, data)
    slow.chain.mine(at=slow.chain.now() + DAY)

    slow.alice.transact(vault, "setFees", (100, 0, 0, 0), slow.treasury.address)

    assert fee_of(slow, vault) == 100


def test_scheduled_change_expires(slow: World, vault: BoundContract) -> None:
    data = call_data(vault, "setFees", (100, 0, 0, 0), slow.treasury.address)
    operation = schedule(slow, slow.alice, vault, data)
    slow.chain.mine(at=slow.chain.now() + DAY + EXPIRY)

    with refused("AccessManagerExpired", operationId=operation):
        slow.alice.transact(slow.authority, "execute", vault.address, data)


def test_guardian_cancels_what_waits(slow: World, vault: BoundContract) -> None:
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


def test_curators_targets_wait_too(slow: World, vault: BoundContract) -> None:
    targets = [5 * E18 // 10, 3 * E18 // 10, 2 * E18 // 10]
    data = call_data(vault, "setTargets", targets, 0)
    operation = schedule(slow, slow.bob, vault, data)
    with refused("AccessManagerNotReady", operationId=operation):
        slow.bob.transact(slow.authority, "execute", vault.address, data)
    # No price is asked for, so it does not matter that all feeds are stale by now.
    slow.chain.mine(at=slow.chain.now() + DAY)

    slow.bob.transact(slow.authority, "execute", vault.address, data)

    assert [asset[1] for asset in slow.read(vault, "assets")] == targets


# At once


def test_guardian_pauses_at_once_and_only_an_owner_resumes(slow: World, vault: BoundContract) -> None:
    receipt = slow.guardian.transact(vault, "pauseRebalance")
    assert slow.read(vault, "state")[5] is True
    assert [event.name for event in slow.events(receipt, vault)] == ["RebalancePaused"]

    with refused("AccessManagedUnauthorized", caller=slow.guardian.address):
        slow.guardian.transact(vault, "resumeRebalance")
    receipt = slow.owner.transact(vault, "resumeRebalance")
    assert slow.read(vault, "state")[5] is False
    assert [event.name for event in slow.events(receipt, vault)] == ["RebalanceResumed", "Poked"]


def test_nobody_does_what_another_role_may(world: World, vault: BoundContract) -> None:
    policy = astuple(basket_spec(world).policy)
    auction = (1, 1, 1, 0, 0, 1, 0, 1 << 39, 0, 0, 0)
    calls: dict[str, tuple[Any, ...]] = {
        "setPolicy": (policy,),
        "setOracle": (world.oracle.address,),
        "setFees": ((0, 0, 0, 0), world.treasury.address),
        "resumeRebalance": (),
        "allowPurchases": (0,),
        "absorb": (0, 0),
        "startAuction": (0, 1, auction),
        "addAsset": (world.weth.address, 18, (200, 0, 0)),
        "excludeAsset": (0,),
        "includeAsset": (0,),
        "removeAsset": (0,),
        "setTargets": ([E18, 0, 0], 0),
        "setBands": ([(200, 0, 0)] * 3,),
        "pauseRebalance": (),
        "tightenPolicy": (policy,),
        "lowerFees": ((0, 0, 0, 0),),
        "stopAuction": (0, 1),
        "rebalance": (0, [0] * 3, [0] * 3, world.executor.address, b""),
    }
    allowed = {
        "setTargets": world.curator,
        "setBands": world.curator,
        **dict.fromkeys(_VAULT_FUNCTIONS[Role.GUARDIAN], world.guardian),
        "rebalance": world.keeper,
    }
    assert set(calls) == {name for names in _VAULT_FUNCTIONS.values() for name in names}
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


def test_policy_out_of_range_is_refused_with_the_range(world: World, vault: BoundContract) -> None:
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
    with refused("BudgetBelowProgress", field="turnoverBudgetBps", budgetBps=999, neededBps=1_000):
        attempt(replace(good, turnover_budget_bps=999))
    with refused("BudgetBelowProgress", field="lossBudgetBps", budgetBps=19, neededBps=20):
        attempt(replace(good, loss_budget_bps=19))
    with refused("PeriodOutOfRange", periodSeconds=3_599, minimum=3_600):
        attempt(replace(good, loss_period_seconds=3_599))
    with refused("PeriodOutOfRange", periodSeconds=3_599, minimum=3_600):
        attempt(replace(good, turnover_period_seconds=3_599))
    with refused("BandOutOfRange", asset=0, bandBps=200, minimum=201, maximum=5_000):
        attempt(replace(good, dust_bps=200))
    with refused("DestinationOutOfRange", destinationBps=10_001, maximum=10_000):
        attempt(replace(good, destination_bps=10_001))
    with refused("PeriodOutOfRange", periodSeconds=3_599, minimum=3_600):
        attempt(replace(good, calendar_seconds=3_599))

    changed = replace(
        good,
        cooldown_seconds=0,
        loss_budget_bps=500,
        dust_bps=199,
        destination_bps=10_000,
        calendar_seconds=3_600,
        open_after_seconds=1,
    )
    attempt(changed)
    assert world.read(vault, "policy") == astuple(changed)


def test_policy_that_is_looser_in_one_respect_is_not_tighter(world: World, vault: BoundContract) -> None:
    """Each field one step the wrong way, all others as they are."""
    good = replace(
        basket_spec(world).policy,
        destination_bps=5_000,
        calendar_seconds=86_400,
        open_after_seconds=7_200,
    )
    world.owner.transact(vault, "setPolicy", astuple(good))
    smaller_is_looser = (
        *("slippage_ramp_seconds", "min_progress_bps", "cooldown_seconds", "loss_period_seconds"),
        *("turnover_period_seconds", "open_after_seconds"),
    )
    # Less and more of these each let something pass; another calendar has its periods elsewhere and can only be dropped.
    stays = ("dust_bps", "destination_bps", "calendar_seconds")
    for field in fields(good):
        now = getattr(good, field.name)
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), field.name)
        if field.name in stays:
            error, wrongs = "PolicyDiffers", [now - 1, now + 1]
        else:
            error = "PolicyLooser"
            wrongs = [now - 1 if field.name in smaller_is_looser else now + 1]
        for wrong in wrongs:
            with refused(error, field=camel, value=wrong, current=now):
                world.guardian.transact(vault, "tightenPolicy", astuple(replace(good, **{field.name: wrong})))

    tight = replace(good, max_slippage_bps=150, calendar_seconds=0, open_after_seconds=0)
    world.guardian.transact(vault, "tightenPolicy", astuple(tight))
    assert world.read(vault, "policy") == astuple(tight)
    with refused("PolicyLooser", field="openAfterSeconds", value=7_200, current=0):
        world.guardian.transact(vault, "tightenPolicy", astuple(replace(tight, open_after_seconds=7_200)))


def test_fees_are_lowered_at_once_and_raised_only_by_the_owner(world: World, vault: BoundContract) -> None:
    now = (100, 1_000, 30, 40)
    world.owner.transact(vault, "setFees", now, world.treasury.address)
    for place, bps in enumerate(now):
        raised = [*now[:place], bps + 1, *now[place + 1 :]]
        with refused("FeeNotLower", feeBps=bps + 1, currentBps=bps):
            world.guardian.transact(vault, "lowerFees", raised)

    world.guardian.transact(vault, "lowerFees", (50, 500, 0, 40))

    assert world.read(vault, "fee")[2:5] == (50, 0, 40)
    assert world.read(vault, "performance")[2:] == (500, 500)
    assert world.read(vault, "feeRecipient") == world.treasury.address


def test_targets_that_are_no_targets_are_refused(world: World, vault: BoundContract) -> None:
    def attempt(targets: list[int], glide_seconds: int = 0) -> None:
        world.curator.transact(vault, "setTargets", targets, glide_seconds)

    with refused("TargetsDoNotSumToOne", sumE18=E18 - 1):
        attempt([E18 // 3] * 3)
    with refused("SafeCastOverflowedUintDowncast", bits=64, value=1 << 64):
        attempt([1 << 64, 0, 0])
    with refused("LengthMismatch", length=2, expected=3):
        attempt([E18, 0])
    longest = 3 * 365 * DAY
    at = world.chain.now() + 10
    world.chain.set_next_timestamp(at)
    with refused("GlideOutOfRange", glideStart=at, glideEnd=longest + 1, maximumSeconds=longest):
        attempt([E18, 0, 0], longest + 1)


def test_bands_that_are_no_bands_are_refused(world: World, vault: BoundContract) -> None:
    good = (200, 0, 0)

    def attempt(*bands: tuple[int, int, int]) -> None:
        world.curator.transact(vault, "setBands", bands)

    with refused("BandOutOfRange", asset=1, bandBps=20, minimum=21, maximum=5_000):
        attempt(good, (20, 0, 0), good)
    with refused("BandOutOfRange", asset=2, bandBps=5_001, minimum=21, maximum=5_000):
        attempt(good, good, (5_001, 0, 0))
    with refused("RelativeBandOutOfRange", asset=0, relativeBandBps=10_001, maximum=10_000):
        attempt((200, 10_001, 0), good, good)
    with refused("LengthMismatch", length=2, expected=3):
        attempt(good, good)

    attempt((300, 1_000, 5), good, (5_000, 10_000, (1 << 128) - 1))
    assert [(a[2], a[4], a[5]) for a in world.read(vault, "assets")] == [
        *((300, 1_000, 5), good, (5_000, 10_000, (1 << 128) - 1))
    ]


def test_assets_come_are_left_out_and_go_again(world: World, vault: BoundContract) -> None:
    token = world.new_token(6)
    with refused("DecimalsDiffer", token=token.address, expected=18, actual=6):
        world.owner.transact(vault, "addAsset", token.address, 18, (200, 0, 0))
    world.owner.transact(vault, "addAsset", token.address, 6, (200, 0, 7))
    assert world.read(vault, "assets")[3] == (token.address, 0, 200, 6, 0, 7, 0, False)
    assert list(world.read(vault, "held")) == [*SEEDS, 0]

    with refused("AssetNotExcluded", asset=0):
        world.owner.transact(vault, "removeAsset", 0)
    with refused("NoSuchAsset", asset=4, count=4):
        world.owner.transact(vault, "excludeAsset", 4)
    world.owner.transact(vault, "excludeAsset", 0)
    with refused("AssetExcluded", asset=0):
        world.owner.transact(vault, "excludeAsset", 0)
    # 40 and 20 of what were 60 % of the targets.
    assert [asset[1] for asset in world.read(vault, "assets")] == [
        *(0, 666_666_666_666_666_667, 333_333_333_333_333_333, 0)
    ]

    receipt = world.owner.transact(vault, "removeAsset", 0)

    (removed,) = [e for e in world.events(receipt, vault) if e.name == "AssetRemoved"]
    assert removed.values == {"token": world.weth.address, "heldRaw": SEEDS[0]}
    assert [asset[0] for asset in world.read(vault, "assets")] == [
        *(token.address, world.wbtc.address, world.usdc.address)
    ]
    assert list(world.read(vault, "held")) == [0, *SEEDS[1:]]


def test_glide_moves_the_targets_in_a_straight_line(world: World, vault: BoundContract) -> None:
    ends = [2 * E18 // 10, 5 * E18 // 10, 3 * E18 // 10]
    start = world.chain.now() + 10
    world.chain.set_next_timestamp(start)
    world.curator.transact(vault, "setTargets", ends, 10 * DAY)

    for days, weth in ((0, 40), (1, 38), (5, 30), (10, 20), (11, 20)):
        world.chain.mine(at=start + days * DAY + 1)
        basket = snapshot_of(world, vault).basket
        assert basket.targets_e18[0] * 100 // E18 in (weth - 1, weth)
        assert 0 <= E18 - sum(basket.targets_e18) < 3
        assert (basket.glide_start, basket.glide_end) == (start, start + 10 * DAY)


def test_new_targets_start_the_slippage_anew(world: World, vault: BoundContract) -> None:
    world.move_market({"ETH": 2_400})
    world.stranger.transact(vault, "poke")
    assert world.read(vault, "state")[3] == world.chain.now()

    world.curator.transact(vault, "setTargets", [E18 // 2, E18 // 2, 0], 0)

    assert world.read(vault, "state")[3] == 0


def test_oracle_that_does_not_price_an_asset_is_refused(world: World, vault: BoundContract) -> None:
    ignorant = world.admin.deploy("OracleHub", world.system.authority, "0x" + "00" * 20, 0)

    with refused("UnpricedAsset", token=world.weth.address, fault=1):
        world.owner.transact(vault, "setOracle", ignorant.address)

    world.owner.transact(vault, "setOracle", world.oracle.address)
    assert world.read(vault, "oracle") == world.oracle.address
