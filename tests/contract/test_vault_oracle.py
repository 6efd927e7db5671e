"""Prices and the rules they must pass; what a feed does wrong is a fault, never a revert."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.units import E18
from tests.contract.world import World, refused

NONE, NO_FEED, CALL_FAILED, NOT_POSITIVE, STALE, OUT_OF_RANGE = range(6)
HEARTBEAT = 3_600
LEAST_E18, MOST_E18 = E18, 10_000 * E18
"""The range asked for; below, what holds: the nearest floats of 17 bits inside it."""
LEAST_STORED_E18, MOST_STORED_E18 = 113_687 << 43, 69_388 << 57
TOKEN = "0x" + "70" * 20
NOBODY = "0x" + "00" * 20


@dataclass(frozen=True)
class Feed:
    """A feed of a token of its own, in the hub."""

    world: World
    aggregator: BoundContract

    def price(self) -> tuple[int, int, int, int]:
        """lo, hi, primary and fault, as the hub says."""
        (price,) = self.world.read(self.world.oracle, "prices", [TOKEN])
        return tuple(price)

    def push(self, answer: int) -> None:
        self.world.stranger.transact(self.aggregator, "push", answer)

    def set(
        self,
        decimals: int = 8,
        heartbeat: int = HEARTBEAT,
        least_e18: int = LEAST_E18,
        most_e18: int = MOST_E18,
    ) -> None:
        self.world.owner.transact(
            *(self.world.oracle, "setFeed", TOKEN, self.aggregator.address),
            *(decimals, heartbeat, least_e18, most_e18),
        )


@pytest.fixture
def feed(world: World) -> Feed:
    """Eight decimals; says 2,000 dollars."""
    made = Feed(world, world.admin.deploy("MockAggregator", 8, "TOKEN / USD"))
    made.push(2_000 * 10**8)
    return made


# Setting


def test_feed_of_other_decimals_than_expected_is_refused(feed: Feed) -> None:
    with refused("FeedDecimals", feed=feed.aggregator.address, expected=18, actual=8):
        feed.set(decimals=18)


def test_feed_of_more_than_18_decimals_is_refused(feed: Feed) -> None:
    with refused("FeedDecimalsTooMany", decimals=19, maximum=18):
        feed.set(decimals=19)


def test_feed_rules_that_allow_nothing_are_refused(feed: Feed) -> None:
    with refused("HeartbeatZero", token=TOKEN):
        feed.set(heartbeat=0)
    with refused("BadPriceRange", minPriceE18=0, maxPriceE18=MOST_E18):
        feed.set(least_e18=0)
    with refused("BadPriceRange", minPriceE18=2, maxPriceE18=1):
        feed.set(least_e18=2, most_e18=1)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (0, NOT_POSITIVE),
        (-1, NOT_POSITIVE),
        (-(1 << 191), NOT_POSITIVE),
        (10**8 - 1, OUT_OF_RANGE),
        (10_000 * 10**8 + 1, OUT_OF_RANGE),
        ((1 << 128), OUT_OF_RANGE),
        ((1 << 191) - 1, OUT_OF_RANGE),
    ],
)
def test_feed_whose_answer_is_unsound_is_refused_and_later_a_fault(feed: Feed, answer: int, fault: int) -> None:
    feed.set()
    feed.push(answer)

    assert feed.price()[3] == fault
    with refused("UnsoundFeed", feed=feed.aggregator.address, fault=fault):
        feed.set()


def test_feed_that_is_stale_or_fails_is_refused(feed: Feed) -> None:
    world, address = feed.world, feed.aggregator.address
    world.stranger.transact(feed.aggregator, "setFailing", True)
    with refused("UnsoundFeed", feed=address, fault=CALL_FAILED):
        feed.set()
    world.stranger.transact(feed.aggregator, "setFailing", False)

    world.stranger.transact(feed.aggregator, "pushAt", 10**10, world.chain.now() - HEARTBEAT - 60)
    with refused("UnsoundFeed", feed=address, fault=STALE):
        feed.set()
    world.stranger.transact(feed.aggregator, "pushAt", 10**10, world.chain.now() + HEARTBEAT)
    with refused("UnsoundFeed", feed=address, fault=STALE):
        feed.set()


# Reading


def test_price_is_scaled_to_18_decimals(feed: Feed) -> None:
    feed.set()
    assert feed.price() == (2_000 * E18, 2_000 * E18, 2_000 * E18, NONE)
    assert feed.world.read(feed.world.oracle, "feedOf", TOKEN) == (
        *(feed.aggregator.address, HEARTBEAT, 8),
        *(LEAST_STORED_E18, MOST_STORED_E18, NOBODY, b""),
    )
    assert LEAST_E18 < LEAST_STORED_E18 < LEAST_E18 * 65_537 // 65_536
    assert MOST_E18 * 65_535 // 65_536 < MOST_STORED_E18 < MOST_E18


@pytest.mark.parametrize(
    ("decimals", "answer", "price_e18"),
    [(0, 3, 3 * E18), (6, 1, 10**12), (18, 7, 7), (18, E18, E18)],
)
def test_price_of_any_decimals_is_exact(world: World, decimals: int, answer: int, price_e18: int) -> None:
    feed = Feed(world, world.admin.deploy("MockAggregator", decimals, "TOKEN / USD"))
    feed.push(answer)
    feed.set(decimals=decimals, least_e18=1)

    assert feed.price() == (price_e18, price_e18, price_e18, NONE)


def test_price_at_the_ends_of_its_range_and_age_is_sound(feed: Feed) -> None:
    feed.set()
    # The least and the greatest answers of 8 decimals inside the stored range.
    least, most = LEAST_STORED_E18 // 10**10 + 1, MOST_STORED_E18 // 10**10
    for answer, fault in (
        *((least, NONE), (least - 1, OUT_OF_RANGE)),
        *((most + 1, OUT_OF_RANGE), (most, NONE)),
    ):
        feed.push(answer)
        assert feed.price()[3] == fault
    answered_at = feed.world.chain.now()

    feed.world.chain.mine(at=answered_at + HEARTBEAT)
    assert feed.price()[3] == NONE
    feed.world.chain.mine(at=answered_at + HEARTBEAT + 1)
    most_e18 = most * 10**10
    assert feed.price() == (most_e18, most_e18, most_e18, STALE)


def test_price_without_a_feed_is_a_fault(world: World) -> None:
    assert world.read(world.oracle, "prices", [TOKEN]) == ((0, 0, 0, NO_FEED),)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("", id="no code"),
        pytest.param("fe", id="burns all gas"),
        pytest.param("60806000f3", id="four words"),
        pytest.param("620f42405ffd", id="a megabyte of refusal"),
    ],
)
def test_feed_gone_wrong_is_a_fault_and_harms_nobody_else(feed: Feed, code: str) -> None:
    feed.set()
    world = feed.world
    world.chain.set_code(feed.aggregator.address, bytes.fromhex(code))

    wrong, right = world.read(world.oracle, "prices", [TOKEN, world.usdc.address])

    assert wrong == (0, 0, 0, CALL_FAILED)
    assert right == (E18, E18, E18, NONE)


def test_feed_with_a_dirty_or_long_answer_is_read_all_the_same(feed: Feed) -> None:
    """Returns 1,000 words; the second is the price and the fourth the time, as in any feed."""
    feed.set()
    # PUSH5 price, PUSH1 32, MSTORE, TIMESTAMP, PUSH1 96, MSTORE, PUSH2 32000, PUSH0, RETURN
    code = f"64{3_000 * 10**8:010x}60205242606052617d005ff3"
    feed.world.chain.set_code(feed.aggregator.address, bytes.fromhex(code))

    assert feed.price()[2:] == (3_000 * E18, NONE)
