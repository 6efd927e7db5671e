"""Any fault of a price stops rebalancing with its code, and nothing else: every fault, every other thing a holder can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.errors import ContractReverted
from rebalancer.operations.deploy import (
    FeedSpec,
    SourceSpec,
    VaultFees,
    set_feed,
    set_source,
)
from rebalancer.operations.prices import read_prices
from rebalancer.oracle import Fault
from rebalancer.reasons import Reason
from rebalancer.units import E18
from tests.contract.world import World, basket_spec, refused

DAY = 86_400
GRACE = 3_600
HEARTBEAT = 30 * DAY
WETH = 0
WBTC_SKIPPED = 1 << 1


@dataclass(frozen=True)
class Scene:
    """A vault with WETH out of its band, and every source of its prices at hand."""

    world: World
    vault: BoundContract
    hub: BoundContract
    feed: BoundContract
    second: BoundContract
    uptime: BoundContract

    def push(self, feed: BoundContract, answer: int, age: int = 0) -> None:
        """A feed's next round, that old in the next block."""
        chain = self.world.chain
        at = chain.now() + 1
        chain.set_next_timestamp(at)
        self.world.stranger.transact(feed, "pushAt", answer, at - age)

    def remove_feed(self) -> None:
        """What the guardian does; of this hub, nothing is assigned to anybody but the admin."""
        self.world.admin.transact(self.hub, "removeFeed", self.world.weth.address)

    def pause(self) -> None:
        """WETH's feed is read beside a flag, which is set."""
        admin, row = self.world.admin, PRICE_SOURCES["pausable_feed"]
        pauser = admin.deploy("MockPauser")
        params = row.params(self.feed.address, 8, pauser.address)
        bounds = (HEARTBEAT, 1, 10_000 * E18)
        spec = FeedSpec(self.feed.address, 18, *bounds, adapter=row.adapter, params=params)
        set_feed(
            *(admin, self.hub.address, self.world.weth.address, spec),
            self.world.system.price_sources,
        )
        self.world.stranger.transact(pauser, "setOraclePaused", True)

    def fail(self, feed: BoundContract) -> None:
        """From now on the feed reverts."""
        self.world.stranger.transact(feed, "setFailing", True)


FAULTS: Mapping[Fault, Callable[[Scene], None]] = {
    Fault.NO_FEED: lambda s: s.remove_feed(),
    Fault.CALL_FAILED: lambda s: s.fail(s.feed),
    Fault.NOT_POSITIVE: lambda s: s.push(s.feed, 0),
    Fault.STALE: lambda s: s.push(s.feed, 2_400 * 10**8, age=HEARTBEAT + 1),
    Fault.OUT_OF_RANGE: lambda s: s.push(s.feed, 10_001 * 10**8),
    Fault.DIVERGED: lambda s: s.push(s.second, 2_425 * 10**8),
    Fault.SEQUENCER_DOWN: lambda s: s.push(s.uptime, 1),
    Fault.GRACE_PERIOD: lambda s: s.push(s.uptime, 0),
    Fault.SECOND_UNSOUND: lambda s: s.fail(s.second),
    Fault.PAUSED: lambda s: s.pause(),
}


@pytest.fixture
def scene(world: World) -> Scene:
    """A vault of 40/40/20 with a hub of its own, all prices sound, and bob with shares and a claim."""
    admin, owner = world.admin, world.owner
    spec = replace(basket_spec(world), fees=VaultFees(streaming_bps=100))
    vault = world.open_vault(spec)
    uptime = admin.deploy("MockAggregator", 0, "sequencer")
    admin.transact(uptime, "pushAt", 0, world.chain.now() - GRACE - DAY)
    hub = admin.deploy("OracleHub", world.authority.address, uptime.address, GRACE)
    prices = (2_000, 30_000, 1)
    feeds = []
    for token, usd in zip(world.tokens, prices, strict=True):
        feed = admin.deploy("MockAggregator", 8, "USD")
        admin.transact(feed, "push", usd * 10**8)
        rules = FeedSpec(feed.address, 8, HEARTBEAT, 1, 10_000 * E18 if usd == 2_000 else 1 << 127)
        set_feed(admin, hub.address, token.address, rules)
        feeds.append(feed)
    second = admin.deploy("MockAggregator", 8, "USD too")
    admin.transact(second, "push", 2_000 * 10**8)
    source = SourceSpec.of(
        PRICE_SOURCES["feed"],
        *(second.address, 8),
        heartbeat_seconds=HEARTBEAT,
        max_divergence_bps=100,
    )
    set_source(admin, replace(world.system, oracle=hub.address), world.weth.address, source)
    owner.transact(vault, "setOracle", hub.address)
    # Bob holds shares, and a claim on WBTC.
    shares = 1_000 * E18
    amounts = world.read(vault, "previewMintInKind", 2 * shares)
    world.give(world.bob, [amount + 10 for amount in amounts])
    world.approve(world.bob, vault, [amount + 10 for amount in amounts])
    world.bob.transact(vault, "mintInKind", shares, world.bob.address, [1 << 127] * 3)
    leave = (shares // 10, world.bob.address, world.bob.address, [0] * 3, WBTC_SKIPPED)
    world.bob.transact(vault, "redeemInKindExcept", *leave)
    found = Scene(world, vault, hub, feeds[WETH], second, uptime)
    for source_feed in (feeds[WETH], second):
        found.push(source_feed, 2_400 * 10**8)
    return found


def rebalance(scene: Scene) -> None:
    epoch = scene.world.read(scene.vault, "state")[4]
    trade = (epoch, [6 * E18, 0, 0], [0, 1, 0], scene.world.executor.address, b"")
    scene.world.keeper.transact(scene.vault, "rebalance", *trade)


def snapshot_of(scene: Scene) -> VaultSnapshot:
    rpc, lens = scene.world.chain.rpc, scene.world.system.lens
    return read_vaults(rpc, lens, [scene.vault.address], read_block(rpc))[0]


def test_every_fault_is_in_the_matrix() -> None:
    assert list(FAULTS) == [fault for fault in Fault if fault is not Fault.NONE]


def test_without_a_fault_a_rebalance_fails_only_for_its_route(scene: Scene) -> None:
    """So that what is refused below is refused for the fault alone."""
    with pytest.raises(ContractReverted) as caught:
        rebalance(scene)
    assert caught.value.error != "OracleFault"
    snapshot = snapshot_of(scene)
    assert snapshot.reason is Reason.BAND_BROKEN


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_stops_rebalancing_with_its_code_and_nothing_else(scene: Scene, fault: Fault) -> None:
    world, vault, bob = scene.world, scene.vault, scene.world.bob
    FAULTS[fault](scene)
    number = list(Fault).index(fault)

    with refused("OracleFault", asset=WETH, fault=number):
        rebalance(scene)
    snapshot = snapshot_of(scene)
    assert snapshot.reason is Reason.ORACLE_FAULT
    assert snapshot.basket.prices[WETH].fault == fault
    block = read_block(world.chain.rpc)
    (reading,) = read_prices(world.chain.rpc, scene.hub.address, [world.weth.address], block, {})
    assert reading.fault is fault
    assert reading.sentence.startswith("its two sources differ by 105 bps" if fault is Fault.DIVERGED else fault.words)

    # In and out again, and what was left before, as if nothing were wrong.
    shares, before = 100 * E18, world.balances(bob)
    held = world.read(vault, "held")
    supply = world.read(vault, "balanceOf", bob.address)
    bob.transact(vault, "mintInKind", shares, bob.address, [1 << 127] * 3)
    assert world.read(vault, "balanceOf", bob.address) == supply + shares
    paid = [a - b for a, b in zip(before, world.balances(bob), strict=True)]
    grown = [a - b for a, b in zip(world.read(vault, "held"), held, strict=True)]
    assert paid == grown
    assert all(amount > 0 for amount in paid)

    rest = world.balances(bob)
    bob.transact(vault, "redeemInKind", shares, bob.address, bob.address, [0] * 3)
    assert all(now > then for now, then in zip(world.balances(bob), rest, strict=True))

    rest, claimable = (
        world.balances(bob),
        world.read(vault, "claimable", bob.address, world.wbtc.address),
    )
    leave = (shares, bob.address, bob.address, [0] * 3, WBTC_SKIPPED)
    bob.transact(vault, "redeemInKindExcept", *leave)
    now = world.balances(bob)
    assert (now[0] > rest[0], now[1] == rest[1], now[2] > rest[2]) == (True, True, True)
    owed = world.read(vault, "claimable", bob.address, world.wbtc.address)
    assert owed > claimable > 0

    bob.transact(vault, "claim", bob.address, world.wbtc.address, bob.address, owed)
    assert world.balances(bob)[1] == now[1] + owed

    treasury = world.read(vault, "balanceOf", world.treasury.address)
    world.stranger.transact(vault, "collectFee")
    assert world.read(vault, "balanceOf", world.treasury.address) > treasury


def test_prices_without_a_hub_of_their_own_say_so(scene: Scene) -> None:
    """What a token without a feed and a second source has: no price, no quote, no divergence."""
    world = scene.world
    block = read_block(world.chain.rpc)
    (reading,) = read_prices(world.chain.rpc, scene.hub.address, [world.stranger.address], block, {})

    assert (reading.fault, reading.second, reading.quote) == (Fault.NO_FEED, None, None)
    assert (reading.divergence_bps, reading.max_divergence_bps) == (None, None)
    assert reading.sentence == "no feed is set for it"


def test_unsound_second_source_is_named_with_its_own_fault(scene: Scene) -> None:
    scene.push(scene.second, -1)
    world, block = scene.world, read_block(scene.world.chain.rpc)
    (reading,) = read_prices(world.chain.rpc, scene.hub.address, [world.weth.address], block, {})

    assert reading.sentence == "its second source has a fault: its source returns zero or a negative number"
    assert (reading.primary_fault, reading.second_fault) == (Fault.NONE, Fault.NOT_POSITIVE)
    assert reading.divergence_bps is None
