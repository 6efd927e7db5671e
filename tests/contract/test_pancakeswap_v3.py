"""PancakeSwap V3 against the published factory and pool: what hops take and pay, to the very ends, and the state they leave.

What every venue keeps is in test_conformance.py; here is what only this one's mathematics and fees can show.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from rebalancer.chain.pools import find_venue, read_pools
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
from rebalancer.venues import InitializedTick, PoolRef, TickProfile, UniswapV3Pool, load, of_class
from rebalancer.venues.pancakeswap_v3 import PancakeSwapV3Pool
from rebalancer.venues.uniswap_v3 import v3_hop
from rebalancer.venues.uniswap_v3_math import MAX_TICK, sqrt_at_tick
from tests.contract.built import bare, in_pieces
from tests.contract.desk import MAX_HOP_RAW, Desk, Way, most
from tests.contract.pools import rebuild
from tests.contract.pools_pancake import PANCAKE_TIERS, PancakeSwapV3, as_pancake
from tests.contract.test_conformance import check_quotes
from tests.contract.test_uniswap_v3_quotes import TOO_MANY_STEPS, random_pool, token_pair

pytestmark = pytest.mark.both_chains

CHAIN_ID = 31_337


@pytest.fixture
def pancake(market: DevMarket) -> PancakeSwapV3:
    return PancakeSwapV3.install(market.chain, market.chain.accounts[2])


def drawn(market: DevMarket, seed: int) -> PancakeSwapV3Pool:
    """A random pool on paper, its liquidity in the pieces that `rebuild` provides."""
    pool = random_pool(seed, token_pair(market.chain), PANCAKE_TIERS)
    return as_pancake(replace(pool, profile=in_pieces(pool.profile)))


def way_of(pool: UniswapV3Pool, *, down: bool) -> Way:
    ends = pool.token0.address, pool.token1.address
    return ends if down else ends[::-1]


@pytest.mark.parametrize("seed", range(14))
def test_random_pool_quotes_and_moves_as_the_published_one(
    market: DevMarket, pancake: PancakeSwapV3, records_steps: bool, seed: int
) -> None:
    """Of every tier, with the protocol's part of the fee that the pool begins with."""
    if records_steps and PANCAKE_TIERS[seed % len(PANCAKE_TIERS)][1] < 50:
        pytest.skip(TOO_MANY_STEPS)
    pool, desk, rng = (
        pancake.rebuild(drawn(market, seed)),
        Desk.open(market.chain),
        random.Random(seed),
    )
    assert check_quotes(pool, desk, rng) > 30

    for _ in range(4):
        # To the very end of a whole step where there is one, else somewhere on the way.
        way = way_of(pool, down=rng.random() < 0.5)
        most_in = min(most(pool, way), MAX_HOP_RAW)
        if most_in == 0:
            continue
        amount = rng.choice([most_in, rng.randint(1, most_in), 1])
        expected, after = pool.swapped(*way, amount)
        assert desk.trade(pool, way, amount) == expected
        pancake.check_state(after)
        pool = after
    check_quotes(pool, desk, rng)


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
def test_swap_to_the_end_of_each_step_leaves_the_contracts_state(
    market: DevMarket, pancake: PancakeSwapV3, down: bool
) -> None:
    """On initialised ticks and on word edges, where the tick of a falling swap is one lower; then all is exhausted."""
    liquidity, end = 10**15, 50 * 300
    ticks = (
        *(InitializedTick(-end, 7, 7), InitializedTick(-50, liquidity, liquidity)),
        *(InitializedTick(50, liquidity, -liquidity), InitializedTick(end, 7, -7)),
    )
    profile = TickProfile(2_500, 50, ticks)
    start = UniswapV3Pool("0x" + "0" * 40, *token_pair(market.chain), profile, sqrt_at_tick(5), 5, liquidity + 7)
    pool, desk = pancake.rebuild(as_pancake(start)), Desk.open(market.chain)
    way, visited = way_of(pool, down=down), []
    ladder = pool.profile.down if down else pool.profile.up
    for k in range(ladder.first(pool.tick), len(ladder.order)):
        amount, _ = ladder.whole(pool.sqrt_price_x96, ladder.sqrt_x96[k], pool.liquidity)
        if amount:
            expected, after = pool.swapped(*way, amount)
            assert desk.trade(pool, way, amount) == expected
            pancake.check_state(after)
            pool = after
        visited.append((pool.tick, pool.liquidity))

    assert visited[-1] == (-end - 1 if down else end, 0)
    assert most(pool, way) == 0
    check_quotes(pool, desk, random.Random(1))


@pytest.mark.parametrize("tick", [850_000, -850_000], ids=["high", "low"])
def test_pool_over_all_prices_quotes_and_ends_as_the_contract(
    market: DevMarket, pancake: PancakeSwapV3, tick: int
) -> None:
    """Over steps so wide that the contract's own products overflow."""
    end, liquidity = MAX_TICK // 16_383 * 16_383, 1 << 90
    profile = TickProfile(
        3_000,
        16_383,
        (InitializedTick(-end, liquidity, liquidity), InitializedTick(end, liquidity, -liquidity)),
    )
    start = UniswapV3Pool(
        "0x" + "0" * 40,
        *token_pair(market.chain),
        profile,
        sqrt_at_tick(tick) + 1,
        tick,
        liquidity,
    )
    pool, desk, rng = (
        pancake.rebuild(as_pancake(start)),
        Desk.open(market.chain),
        random.Random(tick),
    )
    check_quotes(pool, desk, rng)
    for down in (True, False):
        way = way_of(pool, down=down)
        amount = min(most(pool, way), MAX_HOP_RAW)
        expected, after = pool.swapped(*way, amount)
        assert desk.trade(pool, way, amount) == expected
        pancake.check_state(after)
        pool = after


@pytest.mark.parametrize("fees", [(0, 0), (4_000, 1_000), (1_000, 4_000)])
def test_protocols_part_of_the_fee_changes_no_quote(
    market: DevMarket, pancake: PancakeSwapV3, fees: tuple[int, int]
) -> None:
    """By direction, in ten-thousandths; the Swap event tells it, and the fold does not care."""
    chain, rng = market.chain, random.Random(sum(fees))
    pool, desk = pancake.rebuild(drawn(market, 9)), Desk.open(chain)
    quoted = [pool.quote_in(*way_of(pool, down=down), 10**9) for down in (True, False)]

    chain.transact(pancake.factory, "setFeeProtocol", pool.address, *fees, sender=pancake.owner)

    assert [
        fill and fill.paid_raw for down in (True, False) for fill in desk.sells(pool, way_of(pool, down=down), [10**9])
    ] == quoted
    assert check_quotes(pool, desk, rng) > 40
    way = way_of(pool, down=True)
    desk.trade(pool, way, most(pool, way) // 3)
    kept = pancake.contract(pool.address).call("protocolFees")
    assert (kept[0] > 0) is (fees[0] > 0)


def test_pools_of_both_forks_are_read_with_a_lens_and_with_one_lent(market: DevMarket, pancake: PancakeSwapV3) -> None:
    """And each is told from the other, though they hold the same liquidity."""
    chain = market.chain
    on_paper = drawn(market, 9)
    mine = pancake.rebuild(on_paper)
    fields = {name: getattr(on_paper, name) for name in ("token0", "token1", "profile")}
    theirs = rebuild(
        market,
        UniswapV3Pool(
            "0x" + "0" * 40,
            **fields,
            sqrt_price_x96=on_paper.sqrt_price_x96,
            tick=on_paper.tick,
            liquidity=on_paper.liquidity,
        ),
    )
    block, refs = read_block(chain.rpc), [mine.ref, theirs.ref]
    lens = chain.deploy("UniswapV3Lens").address
    later = read_block(chain.rpc)

    lent = read_pools(chain.rpc, refs, block, CHAIN_ID)
    own = read_pools(chain.rpc, refs, later, CHAIN_ID, lens=lens)

    assert [bare(pool) for pool in lent] == [bare(mine), bare(theirs)]
    assert [bare(pool) for pool in own] == [bare(mine), bare(theirs)]
    assert [type(pool) for pool in lent] == [PancakeSwapV3Pool, UniswapV3Pool]
    assert [pool.name.split(" COIN")[0] for pool in lent] == ["PancakeSwap V3", "Uniswap V3"]
    assert [find_venue(chain.rpc, ref.address, block).name for ref in refs] == [
        "pancakeswap-v3",
        "uniswap-v3",
    ]
    for pool in lent:
        assert load(pool.to_json()) == pool


def test_hop_is_that_of_uniswap_v3_and_sells_and_buys(market: DevMarket, pancake: PancakeSwapV3) -> None:
    """One swap under two callbacks: who pays checks who asks, not by which name."""
    pool, desk = pancake.rebuild(drawn(market, 9)), Desk.open(market.chain)
    way = way_of(pool, down=True)
    hop = pool.hop(*way, 10**9, to_caller=True)

    assert hop == v3_hop(pool.address, 10**9, *way, to_caller=True)
    (sold,) = desk.sells(pool, way, [10**9])
    (bought,) = desk.buys(pool, way, [10**3], [10**12])
    assert sold == (10**9, pool.quote_in(*way, 10**9))
    assert bought == (pool.quote_out(*way, 10**3), 10**3)


def test_snapshot_of_one_fork_is_none_of_the_other() -> None:
    snapshot: dict[str, Any] = {
        "chain_id": 56,
        "block": 1,
        "pancakeswap_pool": "0x" + "12" * 20,
        "name": "",
        "scalars": {
            "fee": 2_500,
            "tick_spacing": 50,
            "sqrt_price_x96": 1 << 96,
            "tick": 0,
            "liquidity": 0,
        },
        "tick_data": {},
        "token0": {"address": "0x" + "0a" * 20, "symbol": "A", "decimals": 18},
        "token1": {"address": "0x" + "0b" * 20, "symbol": "B", "decimals": 18},
    }
    pool = of_class(load(snapshot), PancakeSwapV3Pool)
    assert pool.ref == PoolRef("0x" + "12" * 20, ("0x" + "0a" * 20, "0x" + "0b" * 20), 2_500, "pancakeswap-v3")
    snapshot["pool"] = snapshot.pop("pancakeswap_pool")
    with pytest.raises(UnsupportedPool):
        of_class(load(snapshot), PancakeSwapV3Pool)
    del snapshot["pool"]
    with pytest.raises(BadPoolSnapshot, match="pancakeswap_pool"):
        load(snapshot)
