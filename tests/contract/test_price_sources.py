"""Every row of PRICE_SOURCES against its adapter on a chain: its parameters pass, and what it foretells is what the adapter answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.price_sources import COMPUTED_HEARTBEAT_SECONDS, PRICE_SOURCES, Named, word_of
from rebalancer.chain.snapshot import read_block
from rebalancer.errors import FeedUnsound, SourceUnsound
from rebalancer.operations.deploy import FeedSpec, SourceSpec, set_feed, set_source
from rebalancer.operations.prices import read_prices
from rebalancer.oracle import Fault
from rebalancer.units import E18
from tests.contract.world import World, refused

HEARTBEAT = 86_400
USD = "0x" + "00" * 20
ROUNDS = 6


def feed_of(world: World, decimals: int, answer: int) -> BoundContract:
    feed = world.admin.deploy("MockAggregator", decimals, "feed")
    world.admin.transact(feed, "push", answer)
    return feed


def named(token: str, quote: str | None = None, timed: bool = False, **values: Any) -> Named:
    return Named(token, quote, HEARTBEAT if timed else COMPUTED_HEARTBEAT_SECONDS, values)


def plain(world: World, rng: Random) -> Named:
    decimals = rng.randrange(19)
    feed = feed_of(world, decimals, rng.randrange(1, 10 ** (decimals + 5)))
    return named(world.weth.address, timed=True, address=feed.address, decimals=decimals)


def pausable(world: World, rng: Random) -> Named:
    pauser = world.admin.deploy("MockPauser")
    found = plain(world, rng)
    values = {**found.values, "decimals": None, "paused_by": pauser.address}
    return named(found.token, timed=True, **values)


def exchanged(world: World, rng: Random) -> Named:
    decimals = rng.randrange(28)
    rate = rng.randrange(10**decimals, 3 * 10**decimals + 1)
    staked = world.admin.deploy("MockStakedToken", rate)
    return named(
        staked.address,
        timed=True,
        **{**plain(world, rng).values, "rate_address": None, "rate_function": "stEthPerToken()"},
        rate_decimals=decimals,
        min_rate=E18 // 2,
        max_rate=3 * E18,
    )


def share(world: World, rng: Random) -> BoundContract:
    """Shares of an ERC-4626 vault of USDC that has made gains."""
    made, admin, amount = (
        world.admin.deploy("MockShareVault", world.usdc.address, 7),
        world.admin,
        10**9,
    )
    world.give(admin, [0, 0, 2 * amount])
    admin.transact(world.usdc, "approve", made.address, amount)
    admin.transact(made, "deposit", amount, admin.address)
    admin.transact(world.usdc, "transfer", made.address, rng.randrange(amount))
    return made


def exchanged_share(world: World, rng: Random) -> Named:
    return named(
        share(world, rng).address,
        timed=True,
        **{**plain(world, rng).values, "rate_address": None, "rate_decimals": 6},
        rate_function="convertToAssets(uint256)",
        min_rate=E18 // 2,
        max_rate=3 * E18,
    )


def vault(world: World, rng: Random) -> Named:
    return named(share(world, rng).address)


def getter(world: World, rng: Random) -> Named:
    decimals = rng.randrange(28)
    staked = world.admin.deploy("MockStakedToken", rng.randrange(1, 3 * 10**decimals + 1))
    values = {"address": None, "function": "stEthPerToken()", "decimals": decimals}
    return Named(staked.address, world.weth.address, COMPUTED_HEARTBEAT_SECONDS, values)


def average(world: World, rng: Random) -> Named:
    pool = contract_at(world.chain.rpc, "UniswapV3Pool", world.pool(world.weth, world.usdc))
    world.stranger.transact(pool, "increaseObservationCardinalityNext", 16)
    world.chain.mine(at=world.chain.now() + 3_600)
    token = (world.weth, world.usdc)[rng.randrange(2)]
    return named(token.address, pool=pool.address, window_seconds=rng.randrange(600, 1_800))


SOURCES: Mapping[str, tuple[Callable[[World, Random], Named], ...]] = {
    "feed": (plain,),
    "uniswap_v3_twap": (average,),
    "erc4626": (vault,),
    "getter": (getter,),
    "pausable_feed": (pausable,),
    "exchange_rate_feed": (exchanged, exchanged_share),
}


def test_every_price_source_is_held_against_its_adapter() -> None:
    assert list(SOURCES) == list(PRICE_SOURCES)
    adapters = [row.adapter for row in PRICE_SOURCES.values()]
    assert len(set(adapters)) == len(adapters)


@pytest.mark.parametrize("word", SOURCES)
def test_what_a_row_reads_is_what_its_adapter_answers(world: World, word: str) -> None:
    row, rng = PRICE_SOURCES[word], Random(word)
    adapter = contract_at(world.chain.rpc, "IPriceSource", world.system.price_sources[row.adapter])
    for make in SOURCES[word] * ROUNDS:
        source = make(world, rng)
        block = read_block(world.chain.rpc)

        found = row.read(world.chain.rpc, source, block)

        params = row.params(*found.params)
        adapter.call("check", source.token, found.quote or USD, params)
        price_e18, updated_at, fault = adapter.call("read", source.token, params)
        assert (price_e18, fault) == (found.price_e18, 0)
        assert block.timestamp - source.heartbeat_seconds <= updated_at
        assert tuple(adapter.call("readsFrom", source.token, params)) == found.reads


def test_an_adapted_feed_and_source_are_named_by_their_words(world: World) -> None:
    """And by their addresses where the addresses file does not know them."""
    rng, rpc, rows = Random(1), world.chain.rpc, PRICE_SOURCES
    own, other = exchanged(world, rng), plain(world, rng)
    block = read_block(rpc)
    found = rows["exchange_rate_feed"].read(rpc, own, block)
    params = rows["exchange_rate_feed"].params(*found.params)
    spec = FeedSpec(
        *(found.reads[0], 18, HEARTBEAT, 1, (1 << 128) - 1, USD),
        *("ExchangeRateFeed", params),
    )
    set_feed(world.owner, world.system.oracle, own.token, spec, world.system.price_sources)
    push = contract_at(rpc, "MockAggregator", other.values["address"])
    world.admin.transact(push, "push", max(1, found.price_e18 // 10 ** (18 - int(other.values["decimals"]))))
    second = SourceSpec.of(
        rows["feed"],
        *(other.values["address"], other.values["decimals"]),
        heartbeat_seconds=HEARTBEAT,
        max_divergence_bps=2_000,
    )
    set_source(world.owner, world.system, own.token, second)
    block, adapters = read_block(rpc), world.system.price_sources

    (known,) = read_prices(rpc, world.system.oracle, [own.token], block, adapters)
    (unknown,) = read_prices(rpc, world.system.oracle, [own.token], block, {})

    assert (known.kind, known.second, known.fault) == ("exchange_rate_feed", "feed", Fault.NONE)
    assert known.primary_e18 == found.price_e18
    assert unknown.kind == adapters["ExchangeRateFeed"]
    assert unknown.second == adapters["ChainlinkFeed"]
    assert word_of(USD, adapters) == USD


def test_a_paused_price_is_refused_before_anything_is_sent_and_by_the_hub(world: World) -> None:
    source = pausable(world, Random(2))
    row = PRICE_SOURCES["pausable_feed"]
    found = row.read(world.chain.rpc, source, read_block(world.chain.rpc))
    pauser = contract_at(world.chain.rpc, "MockPauser", source.values["paused_by"])
    world.stranger.transact(pauser, "setOraclePaused", True)

    with pytest.raises(SourceUnsound, match="its price is paused"):
        row.read(world.chain.rpc, source, read_block(world.chain.rpc))

    spec = FeedSpec(
        *(found.reads[0], 18, HEARTBEAT, 1, (1 << 128) - 1, USD),
        *(row.adapter, row.params(*found.params)),
    )
    adapters = world.system.price_sources
    paused = list(Fault).index(Fault.PAUSED)
    with refused("UnsoundFeed", feed=adapters[row.adapter], fault=paused):
        set_feed(world.owner, world.system.oracle, source.token, spec, adapters)


@pytest.mark.parametrize(("low", "high"), [(3 * E18, 4 * E18), (1, E18 // 3)])
def test_a_rate_outside_its_range_is_refused(world: World, low: int, high: int) -> None:
    source = exchanged(world, Random(3))
    values = {**source.values, "min_rate": low + 1, "max_rate": high}
    changed = named(source.token, timed=True, **values)

    with pytest.raises(SourceUnsound, match="its rate times 1e18 is"):
        PRICE_SOURCES["exchange_rate_feed"].read(world.chain.rpc, changed, read_block(world.chain.rpc))


def test_a_stale_feed_behind_an_adapter_is_refused(world: World) -> None:
    source = exchanged(world, Random(4))
    world.chain.mine(at=world.chain.now() + HEARTBEAT + 60)

    with pytest.raises(FeedUnsound, match="old, and its heartbeat is"):
        PRICE_SOURCES["exchange_rate_feed"].read(world.chain.rpc, source, read_block(world.chain.rpc))
