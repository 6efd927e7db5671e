"""The book of pools against a chain: real trades, mints and burns, lost logs, reorgs, and what it does when they disagree."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.pool_cache import PoolCache
from rebalancer.chain.pools import read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import BlockVanished, LiquidityExhausted, PoolDiverged
from rebalancer.route import encode
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    PoolRef,
    PoolState,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
)
from tests.contract.pools import rebuild
from tests.contract.pools_balancer import BalancerV2
from tests.contract.pools_v4 import UniswapV4, key_of
from tests.contract.test_balancer_quotes import random_pool as random_weighted
from tests.contract.test_read_pools import v4_place
from tests.contract.test_uniswap_v2_quotes import Pair
from tests.contract.test_uniswap_v3_quotes import random_pool, token_pair
from tests.contract.test_uniswap_v4 import as_v4

pytestmark = pytest.mark.both_chains  # nodes differ in how they search for logs and record steps

CHAIN_ID = 31_337
SEED = 9
"""Of a random V3 pool that has liquidity on both sides of its price."""


class Endpoint(Rpc):
    """Counts its HTTP requests, and may lose logs."""

    requests = 0
    loses_logs = False

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.requests += 1
        answers = super().batch_settled(calls)
        return [
            [] if method == "eth_getLogs" and self.loses_logs else answer
            for (method, _), answer in zip(calls, answers, strict=True)
        ]


@pytest.fixture
def endpoint(node_url: str) -> Endpoint:
    return Endpoint(node_url, timeout_s=60)


def now(chain: LocalChain) -> Block:
    return read_block(chain.rpc)


def trade(chain: LocalChain, pool: PoolState, rng: random.Random) -> None:
    """A swap of a random part of what the pool can take, through the executor; nothing where it can take nothing."""
    i, j = rng.sample(range(len(pool.tokens)), 2)
    way = pool.tokens[i].address, pool.tokens[j].address
    with pytest.raises(LiquidityExhausted) as refusal:
        pool.quote_in(*way, MAX_AMOUNT_RAW)
    most = min(refusal.value.possible_raw, 1 << 100)
    amount = rng.randint(1, most) if most else 0
    if amount == 0 or pool.quote_in(*way, amount) == 0:
        return
    executor = chain.deploy("RouteExecutor")
    chain.transact(contract_at(chain.rpc, "MockToken", way[0]), "mint", executor.address, amount)
    hop = pool.hop(*way, 0, to_caller=True)
    chain.transact(executor, "executeRoute", encode([hop]), gas=100_000_000)


def provide_and_withdraw(market: DevMarket, pool: UniswapV3Pool, rng: random.Random) -> None:
    """A new position around a random tick; a part of it, or all, is taken out again two times of three."""
    spacing = pool.tick_spacing
    centre = pool.tick // spacing + rng.randint(-30, 30)
    low, high = (centre - rng.randint(1, 20)) * spacing, (centre + rng.randint(1, 20)) * spacing
    liquidity = rng.randint(10**6, 10**15)
    market.chain.transact(market.driver, "provide", pool.address, [(low, high, liquidity)])
    leaves = rng.choice([0, liquidity // 3, liquidity])
    if leaves:
        withdraw(market, pool, low, high, leaves)


def withdraw(market: DevMarket, pool: UniswapV3Pool, low: int, high: int, liquidity: int) -> None:
    chain, driver = market.chain, market.driver.address
    chain.set_balance(driver, 10**18)
    with chain.impersonating(driver) as sender:
        contract = contract_at(chain.rpc, "UniswapV3Pool", pool.address)
        chain.transact(contract, "burn", low, high, liquidity, sender=sender)


def test_pools_of_all_protocols_follow_a_range_of_blocks_by_one_request(market: DevMarket, endpoint: Endpoint) -> None:
    chain = market.chain
    v4, rng = UniswapV4.install(chain, chain.accounts[2]), random.Random(2)
    balancer = BalancerV2.install(chain, chain.accounts[2])
    pair = Pair.opened(chain, (10**12, 10**15)).paper
    of_v4 = v4.rebuild(as_v4(random_pool(SEED, token_pair(chain)), (500, 0)))
    weighted = [balancer.rebuild(random_weighted(chain, 3, version)) for version in ("v1", "v2")]
    v3 = rebuild(market, random_pool(SEED, token_pair(chain)))
    refs = [
        PoolRef(pair.address, fee_pips=3_000, venue="uniswap-v2"),
        PoolRef(v3.address, venue="uniswap-v3"),
        v4_place(of_v4),
        *(PoolRef(pool.address, venue="balancer") for pool in weighted),
    ]
    cache = PoolCache(endpoint, refs, now(chain), CHAIN_ID)
    start = cache.pools
    made: list[PoolState] = [pair, v3, of_v4, *weighted]

    for _ in range(2):
        for pool in made:
            trade(chain, cache.pool(pool.key), rng)
            cache.update(now(chain))
    provide_and_withdraw(market, v3, rng)
    at, deep = of_v4.tick // of_v4.tick_spacing * of_v4.tick_spacing, 10**9
    position = (at - of_v4.tick_spacing, at + of_v4.tick_spacing, deep, b"\0" * 32)
    chain.transact(
        v4.provider,
        "modifyLiquidity",
        *(key_of(of_v4), position, b"", False, False),
        sender=chain.accounts[2],
    )
    down, up = 250, 900
    chain.transact(v4.manager, "setProtocolFee", key_of(of_v4), up << 12 | down, sender=chain.accounts[2])
    balancer.join(weighted[0], [amount // 7 for amount in weighted[0].balances])
    endpoint.requests = 0
    assert cache.update(now(chain)) == ()

    assert endpoint.requests == 1
    assert cache.check() == ()
    assert [pool.key for pool in cache.pools] == [pool.key for pool in made]
    kept = cache.pool(of_v4.key)
    assert isinstance(kept, UniswapV4Pool)
    assert kept.protocol_fees_pips == (down, up)
    assert all(before != after for before, after in zip(start, cache.pools, strict=True))
    assert isinstance(cache.pool(pair.address), UniswapV2Pool)


# Divergence


def lost(market: DevMarket, endpoint: Endpoint) -> tuple[PoolCache, str, str]:
    """A book of two pools, of which the endpoint lost a mint of the first; their keys."""
    chain = market.chain
    pools = [rebuild(market, random_pool(SEED, token_pair(chain))) for _ in range(2)]
    refs = [PoolRef(pool.address, venue="uniswap-v3") for pool in pools]
    cache = PoolCache(endpoint, refs, now(chain), CHAIN_ID)
    low = (pools[0].tick // pools[0].tick_spacing - 3) * pools[0].tick_spacing
    high = low + 6 * pools[0].tick_spacing
    endpoint.loses_logs = True
    chain.transact(market.driver, "provide", pools[0].address, [(low, high, 10**12)])
    assert cache.update(now(chain)) == ()
    endpoint.loses_logs = False
    return cache, pools[0].address, pools[1].address


def test_lost_log_shows_at_the_next_swap_and_stops_that_pool_alone(market: DevMarket, endpoint: Endpoint) -> None:
    cache, bad, good = lost(market, endpoint)
    fresh = read_pools(endpoint, [PoolRef(bad, venue="uniswap-v3")], cache.block, CHAIN_ID)[0]
    way = [token.address for token in fresh.tokens]
    executor = market.chain.deploy("RouteExecutor")
    market.chain.transact(contract_at(market.chain.rpc, "MockToken", way[0]), "mint", executor.address, 1_000)
    hop = fresh.hop(way[0], way[1], 0, to_caller=True)
    market.chain.transact(executor, "executeRoute", encode([hop]))

    (diverged,) = cache.update(now(market.chain))

    assert (diverged.pool, diverged.block) == (bad, cache.block.number)
    assert "is not the sum of liquidity_net" in diverged.why
    assert [pool.key for pool in cache.pools] == [good]
    with pytest.raises(PoolDiverged, match="does not trade on it") as refusal:
        cache.pool(bad)
    assert refusal.value is diverged


def test_lost_log_shows_in_a_check_and_nothing_heals_it_but_a_person(market: DevMarket, endpoint: Endpoint) -> None:
    cache, bad, good = lost(market, endpoint)
    assert cache.check([good]) == ()
    assert len(cache.pools) == 2

    (diverged,) = cache.check()

    assert diverged.pool == bad
    assert "profile" in diverged.why
    assert cache.check() == ()  # it is known by now
    rng = random.Random(3)
    trade(market.chain, cache.pool(good), rng)
    cache.update(now(market.chain))
    before = market.chain.snapshot()
    trade(market.chain, cache.pool(good), rng)
    cache.update(now(market.chain))
    market.chain.revert(before)
    market.chain.mine()
    cache.update(now(market.chain))  # a reorg
    assert [pool.key for pool in cache.pools] == [good]
    assert cache.read_again(bad).key == bad
    assert [pool.key for pool in cache.pools] == [bad, good]
    assert cache.check() == ()


# Reorgs


def test_reorg_is_noticed_and_read_anew(market: DevMarket, endpoint: Endpoint) -> None:
    chain, rng = market.chain, random.Random(4)
    pool = rebuild(market, random_pool(SEED, token_pair(chain)))
    cache = PoolCache(endpoint, [PoolRef(pool.address, venue="uniswap-v3")], now(chain), CHAIN_ID)
    before = chain.snapshot()
    low = (pool.tick // pool.tick_spacing - 3) * pool.tick_spacing
    chain.transact(market.driver, "provide", pool.address, [(low, low + 600, 10**9)])
    cache.update(now(chain))
    gone = cache.block
    chain.revert(before)
    chain.mine(at=chain.now() + 100)
    trade(chain, pool, rng)

    with pytest.raises(BlockVanished) as refusal:
        cache.update(Block(gone.number + 1, "0x" + "12" * 32, 0))
    assert (refusal.value.number, refusal.value.block_hash) == (gone.number + 1, "0x" + "12" * 32)
    assert cache.block == gone
    assert cache.update(now(chain)) == ()

    assert cache.block == now(chain)
    assert cache.check() == ()
    (kept,) = cache.pools
    assert isinstance(kept, UniswapV3Pool)
    assert low not in kept.profile.indices
    assert cache.update(cache.block) == ()
