"""Auctions of what no oracle prices: their terms, what a bid pays to the unit, and what a bid is refused for."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.errors import ContractReverted
from rebalancer.policy import auction_pay_raw
from rebalancer.units import E18, mul_div_down, mul_div_up
from tests.contract.world import INITIAL_SHARES, SEEDS, World, refused

E6 = USD = 10**6
WETH, WBTC, USDC = range(3)
DAY = 86_400
UNPRICED_SECONDS = 6 * 3_600
UNPRICED_GAP_SECONDS = 30 * 60


@dataclass(frozen=True)
class Terms:
    """IBasketVault.Auction, field for field: 10 WETH a lot, from 22,000 down to 18,000 USDC within an hour. The vault sets the clock and
    what follows `ends_at`."""

    lot_raw: int = 10 * E18
    start_pay_raw: int = 22_000 * USD
    floor_pay_raw: int = 18_000 * USD
    keep_raw: int = 0
    fill_raw: int = (1 << 128) - 1
    decay_seconds: int = 3_600
    clock_e6: int = 0
    ends_at: int = 1 << 39
    started_at: int = 0
    unpriced_since: int = 0
    unpriced_at: int = 0


TERMS = Terms()


@pytest.fixture
def bidder(world: World, vault: BoundContract) -> World:
    """The same world, in which bob has a million USDC for the vault to take, and more WBTC than it."""
    world.give(world.bob, [0, 100 * 10**8, 1_000_000 * USD])
    world.approve(world.bob, vault, [1 << 255] * 3)
    return world


@pytest.fixture
def dead(bidder: World) -> World:
    """WETH has lost its feed."""
    bidder.guardian.transact(bidder.oracle, "removeFeed", bidder.weth.address)
    return bidder


def start(world: World, vault: BoundContract, terms: Terms = TERMS) -> int:
    """Starts an auction of WETH for USDC; its time."""
    world.owner.transact(vault, "startAuction", WETH, USDC, astuple(terms))
    return world.chain.now()


def start_open(world: World, vault: BoundContract, terms: Terms = TERMS) -> int:
    """Starts an auction and has it seen unpriced until bids begin; when that is."""
    at = start(world, vault, terms)
    for _ in range(UNPRICED_SECONDS // UNPRICED_GAP_SECONDS):
        at += UNPRICED_GAP_SECONDS
        world.chain.set_next_timestamp(at)
        world.stranger.transact(vault, "pokeAuction", WETH, USDC)
    return at


def bid(world: World, vault: BoundContract, amount: int, most: int = 1 << 255, at: int = 0) -> None:
    """Bob buys WETH."""
    world.chain.set_next_timestamp(at or world.chain.now() + 1)
    world.bob.transact(vault, "bid", WETH, USDC, amount, most)


def test_auction_without_sense_is_refused(world: World, vault: BoundContract) -> None:
    def attempt(terms: Terms, sell: int = WETH, buy: int = USDC) -> None:
        world.owner.transact(vault, "startAuction", sell, buy, astuple(terms))

    for senseless in (
        replace(TERMS, lot_raw=0),
        replace(TERMS, floor_pay_raw=0),
        replace(TERMS, start_pay_raw=TERMS.floor_pay_raw - 1),
        replace(TERMS, decay_seconds=0),
        replace(TERMS, ends_at=world.chain.now() + UNPRICED_SECONDS),
    ):
        with refused("BadAuction", sell=WETH, buy=USDC):
            attempt(senseless)
    with refused("BadAuction", sell=WBTC, buy=WBTC):
        attempt(TERMS, WBTC, WBTC)
    with refused("NoSuchAsset", asset=3, count=3):
        attempt(TERMS, 3, WETH)
    with refused("NoSuchAsset", asset=3, count=3):
        attempt(TERMS, WETH, 3)
    assert world.read(vault, "auctions", world.weth.address, world.usdc.address) == (0,) * 11


def test_auction_of_what_the_oracle_prices_does_not_start(world: World, vault: BoundContract) -> None:
    with refused("OracleIsSound", sell=WETH, buy=USDC):
        start(world, vault)


def test_bid_where_no_auction_is_refused(dead: World, vault: BoundContract) -> None:
    with refused("NoAuction", sell=WETH, buy=USDC):
        bid(dead, vault, E18)
    ends_at = start(dead, vault, replace(TERMS, ends_at=dead.chain.now() + DAY)) + DAY
    with refused("NoAuction", sell=WETH, buy=USDC):
        bid(dead, vault, E18, at=ends_at)
    with refused("NoAuction", sell=USDC, buy=WETH):
        dead.bob.transact(vault, "bid", USDC, WETH, 1, 1)

    start(dead, vault)
    receipt = dead.guardian.transact(vault, "stopAuction", WETH, USDC)
    assert [event.name for event in dead.events(receipt, vault)] == ["AuctionStopped"]
    with refused("NoAuction", sell=WETH, buy=USDC):
        bid(dead, vault, E18)


def test_bid_while_the_oracle_prices_both_is_refused(bidder: World, vault: BoundContract) -> None:
    """Nor where it is the bidder who leaves the oracle too little gas to answer. Whoever sees it ends the auction."""
    bidder.chain.mine(at=bidder.chain.now() + 2 * DAY)  # every feed is late
    start_open(bidder, vault)
    bidder.move_market()
    with refused("OracleIsSound", sell=WETH, buy=USDC):
        bid(bidder, vault, E18)
    args = (WETH, USDC, E18, 1 << 255)
    with pytest.raises(ContractReverted) as caught:
        bidder.chain.transact(vault, "bid", *args, sender=bidder.bob.address, gas=2_000_000)
    assert caught.value.error == "NotEnoughGas"
    assert caught.value.values["needed"] == 2_500_000 * 64 // 63 + 50_000

    receipt = bidder.stranger.transact(vault, "pokeAuction", WETH, USDC)
    assert [event.name for event in bidder.events(receipt, vault)] == ["AuctionStopped"]
    with refused("NoAuction", sell=WETH, buy=USDC):
        bid(bidder, vault, E18)


def test_bids_begin_once_the_pair_was_seen_unpriced_for_six_hours(dead: World, vault: BoundContract) -> None:
    """A gap of more than two hours begins them anew, by whoever sees the pair then."""
    started = start(dead, vault)
    with refused("AuctionNotOpen", sell=WETH, buy=USDC, opensAt=started + UNPRICED_SECONDS):
        bid(dead, vault, E18)
    late = started + UNPRICED_GAP_SECONDS + 1
    dead.chain.set_next_timestamp(late)
    receipt = dead.stranger.transact(vault, "pokeAuction", WETH, USDC)
    (poked,) = dead.events(receipt, vault)
    assert (poked.name, poked.values["unpricedSince"]) == ("AuctionPoked", late)
    assert poked.values["opensAt"] == late + UNPRICED_SECONDS
    with refused("AuctionNotOpen", sell=WETH, buy=USDC, opensAt=late + UNPRICED_SECONDS):
        bid(dead, vault, E18, at=late + UNPRICED_GAP_SECONDS)


def test_change_of_a_price_source_ends_an_auction(dead: World, vault: BoundContract) -> None:
    """Whoever may change a feed at once cannot open an auction by it."""
    started = start_open(dead, vault) - UNPRICED_SECONDS
    dead.guardian.transact(dead.oracle, "removeFeed", dead.usdc.address)
    changed = dead.chain.now()
    terms = {"startedAt": started, "changedAt": changed}
    with refused("AuctionTermsVoid", sell=WETH, buy=USDC, **terms):
        bid(dead, vault, E18)

    dead.stranger.transact(vault, "pokeAuction", WETH, USDC)
    with refused("NoAuction", sell=WETH, buy=USDC):
        bid(dead, vault, E18)


def test_bid_beyond_the_terms_is_refused(dead: World, vault: BoundContract) -> None:
    """Of each share, 150 of 200 WETH in a million must stay, and no more than 210,000 USDC may be had."""
    started = start_open(dead, vault, replace(TERMS, keep_raw=150 * 10**12, fill_raw=210_000))
    for amount in (0, TERMS.lot_raw + 1):
        with refused("LotTooLarge", amountRaw=amount, lotRaw=TERMS.lot_raw):
            bid(dead, vault, amount)
    at = started + 1_800
    before = dead.chain.snapshot()
    with refused("PayAboveMaximum", payRaw=2_000 * USD, maximumRaw=2_000 * USD - 1):
        bid(dead, vault, E18, 2_000 * USD - 1, at=at)
    dead.chain.revert(before)  # Hardhat mines what is refused, and no two blocks at one time
    fill, held = 210_000 * USD, 200_000 * USD
    with refused("BoughtAboveFill", heldAfter=held + 12_000 * USD, fillRaw=fill):
        bid(dead, vault, 6 * E18, at=at)

    start_open(dead, vault, replace(TERMS, keep_raw=195 * 10**12))
    with refused("SoldBelowKeep", heldAfter=194 * E18, keepRaw=195 * E18):
        bid(dead, vault, 6 * E18)
    dead.guardian.transact(vault, "pauseRebalance")
    with refused("RebalanceIsPaused"):
        bid(dead, vault, E18)


def test_bids_pay_what_the_clock_says_to_the_unit(dead: World, vault: BoundContract) -> None:
    """A whole lot starts the price anew, a part of one takes that part of its fall back; after an hour the floor holds."""
    at = start_open(dead, vault)
    opened = at
    clock_e6, held = at * E6, list(SEEDS)
    before = dead.balances(dead.bob)
    lots = ((1, 10 * E18), (1_234, 7 * E18 + 1), (0, 3), (3_600, 3), (7_000, 10 * E18), (0, 1))
    for seconds, amount in lots:
        bid_at = at + seconds + 1
        while bid_at - at > UNPRICED_GAP_SECONDS:
            at += UNPRICED_GAP_SECONDS
            dead.chain.set_next_timestamp(at)
            dead.stranger.transact(vault, "pokeAuction", WETH, USDC)
        at = bid_at
        elapsed_e6 = min(at * E6 - clock_e6, 3_600 * E6)
        terms = (TERMS.start_pay_raw, TERMS.floor_pay_raw, 3_600 * E6)
        pay = mul_div_up(auction_pay_raw(*terms, elapsed_e6), amount, TERMS.lot_raw)
        dead.chain.set_next_timestamp(at)
        receipt = dead.bob.transact(vault, "bid", WETH, USDC, amount, pay)

        (event,) = dead.events(receipt, vault)
        assert (event.name, event.values) == (
            "AuctionFilled",
            {
                "sold": dead.weth.address,
                "bought": dead.usdc.address,
                "bidder": dead.bob.address,
                "soldRaw": amount,
                "boughtRaw": pay,
            },
        )
        held = [held[0] - amount, held[1], held[2] + pay]
        assert list(dead.read(vault, "held")) == held == dead.balances(vault)
        clock_e6 = at * E6 - elapsed_e6 * (TERMS.lot_raw - amount) // TERMS.lot_raw
        auction = dead.read(vault, "auctions", dead.weth.address, dead.usdc.address)
        seen = replace(TERMS, started_at=opened - UNPRICED_SECONDS, unpriced_at=at)
        seen = replace(seen, unpriced_since=seen.started_at, clock_e6=clock_e6)
        assert auction == astuple(seen)
    gained = [a - b for a, b in zip(dead.balances(dead.bob), before, strict=True)]
    assert gained == [SEEDS[0] - held[0], 0, SEEDS[2] - held[2]]


def test_excluded_asset_is_sold_though_others_are_priced(bidder: World, vault: BoundContract) -> None:
    bidder.owner.transact(vault, "excludeAsset", WETH)
    start_open(bidder, vault)

    bid(bidder, vault, TERMS.lot_raw, TERMS.start_pay_raw)

    assert bidder.read(vault, "held")[WETH] == SEEDS[WETH] - TERMS.lot_raw


# The performance fee


PERFORMANCE_BPS = 1_000
MONTH = 30 * DAY


@pytest.fixture
def ambitious(world: World, vault: BoundContract) -> BoundContract:
    """The vault with a tenth of all gains for the treasury."""
    world.owner.transact(vault, "setFees", (0, PERFORMANCE_BPS, 0, 0), world.treasury.address)
    return vault


def settle(world: World, vault: BoundContract, ether_usd: int = 2_000, seconds: int = MONTH) -> int:
    """A month later, at another price of ether; the shares that were minted."""
    world.move_market({"ETH": ether_usd}, seconds)
    before = world.balance(vault, world.treasury)
    receipt = world.stranger.transact(vault, "collectPerformanceFee")
    minted = world.balance(vault, world.treasury) - before
    event = world.events(receipt, vault)[-1]
    assert event.values["recipient"] == world.treasury.address
    assert (event.name, event.values["shares"]) == ("PerformanceFeeCollected", minted)
    return minted


def test_performance_is_settled_once_in_thirty_days(world: World, ambitious: BoundContract) -> None:
    settle(world, ambitious)
    settled_at = world.chain.now()

    world.chain.set_next_timestamp(settled_at + MONTH - 1)
    with refused("SettledTooRecently", until=settled_at + MONTH):
        world.stranger.transact(ambitious, "collectPerformanceFee")


def test_performance_without_sound_prices_is_not_settled(world: World, ambitious: BoundContract) -> None:
    world.move_market(seconds=MONTH)
    world.guardian.transact(world.oracle, "removeFeed", world.usdc.address)
    with refused("OracleFault", asset=USDC, fault=1):
        world.stranger.transact(ambitious, "collectPerformanceFee")


def test_performance_with_an_asset_left_out_is_not_settled(world: World, ambitious: BoundContract) -> None:
    world.move_market(seconds=MONTH)
    world.owner.transact(ambitious, "excludeAsset", WBTC)
    with refused("AssetExcluded", asset=WBTC):
        world.stranger.transact(ambitious, "collectPerformanceFee")


def test_performance_fee_is_its_part_of_what_a_share_gained(world: World, ambitious: BoundContract) -> None:
    """80,000 dollars of gain make 8,000 dollars' worth of shares, but for the locked ones; a loss and its recovery none."""
    assert settle(world, ambitious) == 0
    seed_usd = 200 * 2_000 + mul_div_down(13_33333333, 30_000, 10**8) + 200_000
    high = world.read(ambitious, "performance")[0]
    assert abs(high * INITIAL_SHARES - seed_usd * E18 * E18) < E18 * E18

    minted = settle(world, ambitious, ether_usd=2_400)
    value = mul_div_down(_worth_e18(2_400), E18, INITIAL_SHARES)
    locked = world.read(ambitious, "balanceOf", "0x" + "dead".rjust(40, "0"))
    least = INITIAL_SHARES >> 48 << 48  # the vault keeps 32 bits of it
    charged = mul_div_down(PERFORMANCE_BPS * (value - high), least - locked, INITIAL_SHARES)
    assert minted == mul_div_down(INITIAL_SHARES, charged, value * 10_000 - charged) > 0
    mark = mul_div_up(_worth_e18(2_400), E18, INITIAL_SHARES)
    assert world.read(ambitious, "performance")[0] == mark
    worth_usd = minted * _worth_e18(2_400) // (INITIAL_SHARES + minted) // E18
    assert 7_999 <= worth_usd <= 8_000

    assert settle(world, ambitious, ether_usd=1_800) == 0
    assert settle(world, ambitious, ether_usd=2_390) == 0
    assert world.read(ambitious, "performance")[0] == mark


def test_raised_performance_fee_does_not_reach_back(world: World, ambitious: BoundContract) -> None:
    settle(world, ambitious)
    world.owner.transact(ambitious, "setFees", (0, 2_000, 0, 0), world.treasury.address)
    assert world.read(ambitious, "performance")[2:] == (PERFORMANCE_BPS, 2_000)

    minted = settle(world, ambitious, ether_usd=2_400)

    assert minted * _worth_e18(2_400) // (INITIAL_SHARES + minted) // E18 <= 8_000
    assert world.read(ambitious, "performance")[2:] == (2_000, 2_000)


def _worth_e18(ether_usd: int) -> int:
    """What the seeds are worth, in USD times 1e18."""
    return SEEDS[0] * ether_usd + SEEDS[1] * 30_000 * 10**10 + SEEDS[2] * 10**12
