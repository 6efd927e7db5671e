"""OracleHub against rebalancer/oracle.py, to the unit: real ERC-4626 vaults, a wstETH-like token, real Uniswap V3 pools, fuzzed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.operations.deploy import FeedSpec, SourceSpec, set_feed, set_source
from rebalancer.oracle import (
    MAX_TICK,
    Fault,
    diverges,
    feed_price_e18,
    in_usd_e18,
    mean_tick,
    rate_e18,
    tick_price_e18,
)
from rebalancer.units import E18
from tests.contract.world import World

RATE = bytes.fromhex("035faf82")
"""stEthPerToken()"""

WINDOW = 1_800
MAX_UINT128 = (1 << 128) - 1
MANTISSA_BITS = 17
ROUNDS = 40


def price(world: World, token: str) -> tuple[int, int, int, Fault]:
    """lo, hi, primary and fault."""
    ((lo, hi, primary, fault),) = world.read(world.oracle, "prices", [token])
    return lo, hi, primary, list(Fault)[fault]


def second(world: World, token: str) -> tuple[int, Fault]:
    """What the second source says by itself."""
    _, (price_e18, fault) = world.read(world.oracle, "readings", token)
    return price_e18, list(Fault)[fault]


def foretold(price_e18: int) -> tuple[int, Fault]:
    """What the hub must make of a price."""
    if price_e18 == 0:
        return 0, Fault.NOT_POSITIVE
    return (price_e18, Fault.NONE) if price_e18 <= MAX_UINT128 else (0, Fault.OUT_OF_RANGE)


def feed_at(world: World, token: str, price_e18: int) -> BoundContract:
    """A feed of 18 decimals for a token; any price is sane."""
    feed = world.admin.deploy("MockAggregator", 18, "USD")
    world.admin.transact(feed, "push", price_e18)
    set_feed(world.owner, world.system.oracle, token, FeedSpec(feed.address, 18, 1 << 30, 1, MAX_UINT128))
    return feed


def new_token(world: World, decimals: int) -> BoundContract:
    return world.admin.deploy("MockToken", f"Coin {decimals}", "COIN", decimals)


def set_average(world: World, base: str, quote: str, pool: str, decimals: Sequence[int], window: int) -> None:
    spec = SourceSpec.of(
        PRICE_SOURCES["uniswap_v3_twap"],
        *(pool, window, *decimals, int(base, 16) < int(quote, 16)),
        quote=quote,
        max_divergence_bps=2_000,
    )
    set_source(world.owner, world.system, base, spec)


# Rates


@pytest.mark.parametrize(("asset_decimals", "offset"), [(6, 7), (18, 0), (8, 11), (0, 3), (27, 0)])
def test_real_erc4626_share_is_priced_to_the_unit(world: World, asset_decimals: int, offset: int) -> None:
    rng, admin = Random(asset_decimals), world.admin
    asset = new_token(world, asset_decimals)
    shares = admin.deploy("MockShareVault", asset.address, offset)
    asset_e18 = rng.randrange(E18 // 2, 5_000 * E18)
    feed_at(world, asset.address, asset_e18)
    admin.transact(asset, "mint", admin.address, 1 << 120)
    admin.transact(asset, "approve", shares.address, 1 << 120)
    unit = 10**asset_decimals
    deposited = 1_000 * unit + rng.randrange(unit)
    admin.transact(shares, "deposit", deposited, admin.address)
    feed_at(world, shares.address, asset_e18)
    spec = SourceSpec.of(
        PRICE_SOURCES["erc4626"],
        *(asset_decimals + offset, asset_decimals),
        quote=asset.address,
        max_divergence_bps=100,
    )
    set_source(world.owner, world.system, shares.address, spec)

    for _ in range(ROUNDS // 8):
        # Gains and odd amounts move the rate. OpenZeppelin: assets = shares * (total + 1) / (supply + 10^offset), down.
        admin.transact(asset, "transfer", shares.address, rng.randrange(1, 20 * unit + 7))
        admin.transact(shares, "deposit", rng.randrange(1, 50 * unit + 3), admin.address)
        total = world.read(asset, "balanceOf", shares.address)
        supply = world.read(shares, "totalSupply")
        one_share = 10 ** (asset_decimals + offset)
        rate = one_share * (total + 1) // (supply + 10**offset)
        expected = in_usd_e18(rate_e18(rate, asset_decimals), asset_e18)
        assert second(world, shares.address) == foretold(expected)


def test_staked_token_is_priced_by_its_own_rate_to_the_unit(world: World) -> None:
    rng, admin = Random(4), world.admin
    ether_e18 = 2_000 * E18
    for decimals in (0, 6, 18, 27):
        staked = admin.deploy("MockStakedToken", 10**decimals)
        feed_at(world, staked.address, ether_e18)
        spec = SourceSpec.of(
            PRICE_SOURCES["getter"],
            *(staked.address, RATE, decimals),
            quote=world.weth.address,
            max_divergence_bps=100,
        )
        set_source(world.owner, world.system, staked.address, spec)
        for _ in range(ROUNDS // 4):
            rate = rng.randrange(1, 2 ** rng.randrange(1, 128))
            admin.transact(staked, "setRate", rate)
            ratio_e18 = rate_e18(rate, decimals)
            expected = foretold(in_usd_e18(ratio_e18, ether_e18))
            if ratio_e18 > MAX_UINT128:
                expected = 0, Fault.OUT_OF_RANGE
            assert second(world, staked.address) == expected, (decimals, rate)


# Averages


def test_average_of_real_pools_is_exact_in_both_directions(world: World) -> None:
    """WETH, WBTC and USDC have 18, 8 and 6 decimals; each pool prices either of its tokens in the other, by the other's feed."""
    decimals = dict(zip((t.address for t in world.tokens), (18, 8, 6), strict=True))
    world.move_market()
    router, pools = world.uniswap("SwapRouter02"), []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        token, paid = world.tokens[i], world.tokens[j]
        pool = contract_at(world.chain.rpc, "UniswapV3Pool", world.pool(token, paid))
        pools.append((token.address, paid.address, pool))
        world.stranger.transact(pool, "increaseObservationCardinalityNext", 16)
        amounts = [0, 0, 0]
        amounts[j] = 10 ** decimals[paid.address]
        world.give(world.bob, amounts)
        world.bob.transact(paid, "approve", router.address, 1 << 200)
        fee = world.read(pool, "fee")
        order = (paid.address, token.address, fee, world.bob.address, amounts[j] // 100, 0, 0)
        world.bob.transact(router, "exactInputSingle", order)
    world.move_market(seconds=WINDOW)
    world.move_market(seconds=WINDOW)

    compared = 0
    for one, other, pool in pools:
        for base, quote in ((one, other), (other, one)):
            set_average(world, base, quote, pool.address, (decimals[base], decimals[quote]), WINDOW)
            quote_e18 = world.read(world.oracle, "readings", quote)[0][0]
            sums, _ = world.read(pool, "observe", [WINDOW, 0])
            tick = mean_tick(sums[0], sums[1], WINDOW)
            first = world.read(pool, "token0") == base
            ratio_e18 = tick_price_e18(tick if first else -tick, decimals[base], decimals[quote])
            expected = in_usd_e18(ratio_e18, quote_e18)
            assert second(world, base) == (expected, Fault.NONE)
            lo, hi, primary, fault = price(world, base)
            assert (lo, hi) == (min(primary, expected), max(primary, expected))
            assert fault is (Fault.DIVERGED if diverges(lo, hi, 2_000) else Fault.NONE)
            world.owner.transact(world.oracle, "removeSource", base)
            compared += 1
    assert compared == 6


@pytest.mark.parametrize(("base", "quote"), [(18, 6), (6, 18), (8, 18), (18, 8), (0, 27), (27, 0)])
def test_average_of_any_ticks_and_decimals_is_exact(world: World, base: int, quote: int) -> None:
    rng = Random(base * 31 + quote)
    one, other = new_token(world, base), new_token(world, quote)
    pool = world.admin.deploy("MockObservations", one.address, other.address)
    first = int(one.address, 16) < int(other.address, 16)
    # A tick at which a whole one is worth about a whole other.
    level = next(t for t in range(-700_000, 700_000, 1_000) if tick_price_e18(t, base, quote) >= E18)
    quote_e18 = 3 * E18 + 7
    feed_at(world, other.address, quote_e18)
    feed_at(world, one.address, in_usd_e18(tick_price_e18(level, base, quote), quote_e18))
    world.admin.transact(pool, "setSums", 0, (level if first else -level) * WINDOW)
    set_average(world, one.address, other.address, pool.address, (base, quote), WINDOW)

    for _ in range(ROUNDS):
        spread = rng.choice([10, 1_000, 100_000, MAX_TICK])
        wanted = max(-MAX_TICK, min(MAX_TICK, level + rng.randrange(-spread, spread + 1)))
        total = (wanted if first else -wanted) * WINDOW
        total = max(-MAX_TICK * WINDOW, min(MAX_TICK * WINDOW, total + rng.randrange(WINDOW)))
        before = rng.randrange(-(1 << 55), 1 << 55)
        after = (before + total + (1 << 55)) % (1 << 56) - (1 << 55)
        world.admin.transact(pool, "setSums", before, after)
        tick = mean_tick(before, after, WINDOW)
        assert tick == total // WINDOW
        ratio_e18 = tick_price_e18(tick if first else -tick, base, quote)
        expected = foretold(in_usd_e18(ratio_e18, quote_e18))
        if ratio_e18 > MAX_UINT128:
            expected = 0, Fault.OUT_OF_RANGE
        assert second(world, one.address) == expected, (before, after)


# Feeds


def stored_range_e18(min_e18: int, max_e18: int) -> tuple[int, int]:
    """The sane range that PackedFeed keeps of this one: each end a mantissa of 17 bits, rounded inward."""
    low_shift = max(0, min_e18.bit_length() - MANTISSA_BITS)
    high_shift = max(0, max_e18.bit_length() - MANTISSA_BITS)
    return -(-min_e18 >> low_shift) << low_shift, max_e18 >> high_shift << high_shift


def test_quoted_feed_and_its_stored_range_are_exact(world: World) -> None:
    """WBTC/BTC times BTC/USD, with the range of the product."""
    rng, admin, hub = Random(9), world.admin, world.system.oracle
    bitcoin = "0x" + "bb" * 20
    for decimals in (6, 8, 18):
        dollars = admin.deploy("MockAggregator", decimals, "BTC / USD")
        ratio = admin.deploy("MockAggregator", 18, "WBTC / BTC")
        for _ in range(ROUNDS // 4):
            dollars_answer = rng.randrange(10**decimals, 10 ** (decimals + 6))
            ratio_answer = rng.randrange(E18 // 2, 2 * E18)
            admin.transact(dollars, "push", dollars_answer)
            admin.transact(ratio, "push", ratio_answer)
            expected = in_usd_e18(ratio_answer, feed_price_e18(dollars_answer, decimals))
            low = expected - rng.randrange(expected // 10_000, expected // 2)
            high = expected + rng.randrange(expected // 10_000, expected)
            set_feed(
                world.owner,
                hub,
                bitcoin,
                FeedSpec(dollars.address, decimals, 1 << 30, 1, MAX_UINT128),
            )
            set_feed(
                world.owner,
                hub,
                world.wbtc.address,
                FeedSpec(ratio.address, 18, 1 << 30, low, high, bitcoin),
            )
            assert price(world, world.wbtc.address) == (expected, expected, expected, Fault.NONE)
            *_, stored_low, stored_high, quote, _ = world.read(world.oracle, "feedOf", world.wbtc.address)
            assert (stored_low, stored_high) == stored_range_e18(low, high)
            assert quote == bitcoin


def test_divergence_limit_is_exact(world: World) -> None:
    rng, token = Random(5), world.weth.address
    one = feed_at(world, token, 2_000 * E18)
    other = world.admin.deploy("MockAggregator", 18, "USD too")
    world.admin.transact(other, "push", 2_000 * E18)
    spec = SourceSpec.of(
        PRICE_SOURCES["feed"],
        *(other.address, 18),
        heartbeat_seconds=1 << 30,
        max_divergence_bps=2_000,
    )
    set_source(world.owner, world.system, token, spec)
    limit, seen = 2_000, set()
    for _ in range(ROUNDS):
        limit = max(1, limit - rng.randrange(90))
        world.guardian.transact(world.oracle, "tightenSource", token, limit)
        low = rng.randrange(E18, 1 << 90)
        edge = low + low * limit // 10_000
        high = edge + rng.choice([0, 1, -1, rng.randrange(low // 10)])
        first, later = rng.sample([low, high], 2)
        for feed, answer in ((one, first), (other, later)):
            world.admin.transact(feed, "push", answer)
        apart = diverges(first, later, limit)
        seen.add(apart)
        expected = Fault.DIVERGED if apart else Fault.NONE
        assert price(world, token) == (min(first, later), max(first, later), first, expected)
    assert seen == {True, False}
