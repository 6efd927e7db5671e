"""Uniswap V4 pools on paper and through RouteExecutor, against the real PoolManager, V4Quoter and StateView."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import BadAmount, ContractReverted, LiquidityExhausted
from rebalancer.pool_files import load_pool
from rebalancer.route import Hop, encode
from rebalancer.units import E18
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    InitializedTick,
    TickProfile,
    Token,
    UniswapV3Pool,
    UniswapV4Pool,
    WrappedEtherPool,
    of_class,
)
from rebalancer.venues.uniswap_v3_math import MAX_TICK, sqrt_at_tick, sqrt_price_x96, tick_at_sqrt
from tests.contract.pools_v4 import ETHER, UniswapV4, key_of
from tests.contract.routes import USDC, WBTC, WETH, pool_hop, quote
from tests.contract.test_uniswap_v3_quotes import (
    TIERS,
    TOO_MANY_STEPS,
    amounts_for,
    random_pool,
    token_pair,
)
from tests.contract.world import World

SNAPSHOT = "mainnet-24407242/uniswap_v4_eth_usdc_500.json"


def as_v4(pool: UniswapV3Pool, protocol_fees_pips: tuple[int, int]) -> UniswapV4Pool:
    """A pool of V4 with the liquidity of one of V3."""
    return UniswapV4Pool(
        "0x" + "0" * 40,
        *pool.tokens,
        pool.profile,
        pool.sqrt_price_x96,
        pool.tick,
        pool.liquidity,
        protocol_fees_pips,
    )


def token_at(chain: LocalChain, address: str) -> BoundContract:
    return contract_at(chain.rpc, "MockToken", address)


def ask_quoter(
    v4: UniswapV4, function: str, pool: UniswapV4Pool, down: bool, amounts: Sequence[int]
) -> list[int | None]:
    """V4Quoter's amount for each amount; None where it refuses."""
    calls = [v4.quoter.batched.request(function, (key_of(pool), down, a, b"")) for a in amounts]
    answers: list[int | None] = []
    for answer in v4.chain.rpc.batch_settled(calls):
        try:
            answers.append(v4.quoter.batched.result(function, answer)[0])
        except ContractReverted:
            answers.append(None)
    return answers


def check_quotes(v4: UniswapV4, pool: UniswapV4Pool, rng: random.Random) -> int:
    """Every quote of the pool on paper is the quoter's; how many of them were amounts."""
    compared = 0
    for down in (True, False):
        way = [token.address for token in (pool.tokens if down else pool.tokens[::-1])]
        for function, on_paper in (
            ("quoteExactInputSingle", pool.quote_in),
            ("quoteExactOutputSingle", pool.quote_out),
        ):
            with pytest.raises(LiquidityExhausted) as refusal:
                on_paper(way[0], way[1], MAX_AMOUNT_RAW)
            most = refusal.value.possible_raw
            amounts = [a for a in amounts_for(rng, most, []) if a >> 127 == 0] if most else [1]
            answers = ask_quoter(v4, function, pool, down, amounts)
            for amount, answer in zip(amounts, answers, strict=True):
                if answer is None:
                    with pytest.raises((LiquidityExhausted, BadAmount)):
                        on_paper(way[0], way[1], amount)
                else:
                    assert on_paper(way[0], way[1], amount) == answer, f"{function} {amount}"
                    compared += 1
    return compared


# The third holds more than 2^127 of a token, which PoolManager cannot book.
@pytest.mark.parametrize("seed", sorted({*range(15)} - {3}))
def test_random_pool_quotes_and_moves_as_pool_manager(market: DevMarket, records_steps: bool, seed: int) -> None:
    """With a protocol fee of its own in each direction, in every other pool."""
    if records_steps and (seed >= len(TIERS) or TIERS[seed][1] < 60):
        pytest.skip(TOO_MANY_STEPS)
    rng = random.Random(seed)
    chain = market.chain
    v4 = UniswapV4.install(chain, chain.accounts[2])
    on_v3 = random_pool(seed, token_pair(chain))
    fees = (rng.randint(0, 1_000), 1_000) if seed % 2 and on_v3.fee_pips < 10_001 else (0, 0)
    pool = v4.rebuild(as_v4(on_v3, fees))
    executor = chain.deploy("RouteExecutor")
    assert check_quotes(v4, pool, rng) > 20

    for _ in range(3):
        down = rng.random() < 0.5
        sold, bought = pool.tokens if down else pool.tokens[::-1]
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_in(sold.address, bought.address, MAX_AMOUNT_RAW)
        if refusal.value.possible_raw == 0:
            continue
        amount = rng.randint(1, min(refusal.value.possible_raw, 1 << 120))
        expected, after = pool.swapped(sold.address, bought.address, amount)
        token = token_at(chain, sold.address)
        chain.transact(token, "mint", executor.address, amount)
        before = token_at(chain, bought.address).call("balanceOf", chain.accounts[3])
        route = encode([v4.hop(pool, "", down=down)])
        chain.transact(executor, "executeRoute", route, sender=chain.accounts[3], gas=100_000_000)
        held = token_at(chain, bought.address).call("balanceOf", chain.accounts[3])
        assert held - before == expected
        pool = after
        v4.check_state(pool)
    check_quotes(v4, pool, rng)


# Ether


def opened(v4: UniswapV4, token: Token, ends: int) -> UniswapV4Pool:
    """A deep pool of ether and a token at 0.3 %, one raw unit of which is 10^`ends` wei."""
    sqrt_x96 = sqrt_price_x96(1, 10**ends, 0, 0)
    end = MAX_TICK // 60 * 60
    liquidity = isqrt(10**22 * 10 ** (22 - ends))  # ten thousand ether, and as much of the token
    ticks = (
        InitializedTick(-end, liquidity, liquidity),
        InitializedTick(end, liquidity, -liquidity),
    )
    profile = TickProfile(3_000, 60, ticks)
    return v4.rebuild(
        UniswapV4Pool(
            "0x" + "0" * 40,
            *(ETHER, token, profile),
            *(sqrt_x96, tick_at_sqrt(sqrt_x96), liquidity),
        )
    )


def test_ether_is_wrapped_between_two_pools_that_hold_it(world: World) -> None:
    """WBTC to ether on one, ether to USDC on the other; a part of the WETH between them stays WETH."""
    v4 = UniswapV4.install(world.chain, world.admin.address)
    of_wbtc = opened(v4, Token(world.wbtc.address, "WBTC", 8), 11)
    of_usdc = opened(v4, Token(world.usdc.address, "USDC", 6), 9)
    ether, wbtc, usdc = ETHER.address, world.wbtc.address, world.usdc.address
    wei = of_wbtc.quote_in(wbtc, ether, 10**8)
    dollars = of_usdc.quote_in(ether, usdc, 4 * E18)
    world.give(world.executor, [0, 10**8, 0])

    execute(
        world,
        v4,
        [
            v4.hop(of_wbtc, world.weth.address, down=False, to_caller=False),
            v4.hop(of_usdc, world.weth.address, down=True, amount_in=4 * E18),
        ],
    )

    assert 4 * E18 < wei < 10 * E18
    assert world.balances(world.alice) == [wei - 4 * E18, 0, dollars]


def test_pool_of_ether_that_takes_only_a_part_leaves_the_rest_as_weth(world: World) -> None:
    """Its liquidity ends: what it did not take was never unwrapped."""
    v4 = UniswapV4.install(world.chain, world.admin.address)
    pool = opened(v4, Token(world.usdc.address, "USDC", 6), 9)
    profile = TickProfile(
        500,
        10,
        (InitializedTick(-207_300, 10**14, 10**14), InitializedTick(-207_200, 10**14, -(10**14))),
    )
    narrow = v4.rebuild(
        replace(
            pool,
            profile=profile,
            sqrt_price_x96=sqrt_at_tick(-207_250),
            tick=-207_250,
            liquidity=10**14,
        )
    )
    with pytest.raises(LiquidityExhausted) as refusal:
        narrow.quote_in(ETHER.address, world.usdc.address, 100 * E18)
    taken = refusal.value.possible_raw
    bought = narrow.quote_in(ETHER.address, world.usdc.address, taken)
    world.give(world.executor, [100 * E18, 0, 0])

    hop = encode([v4.hop(narrow, world.weth.address, down=True)])
    world.alice.transact(world.executor, "executeRoute", hop)

    assert 0 < taken < 100 * E18
    assert world.balances(world.alice) == [100 * E18 - taken, 0, bought]
    assert world.chain.balance_wei(world.executor.address) == 0


@pytest.mark.parametrize("sells_weth", [True, False], ids=["sells", "buys"])
def test_view_of_a_pool_of_ether_says_what_weth_brings(world: World, sells_weth: bool) -> None:
    """Quoted, planned and executed by WETH's address alone."""
    v4 = UniswapV4.install(world.chain, world.admin.address)
    pool = opened(v4, Token(world.usdc.address, "USDC", 6), 9)
    view = WrappedEtherPool(pool, Token(world.weth.address, "WETH", 18))
    ends = world.weth.address, world.usdc.address
    way = ends if sells_weth else ends[::-1]
    amount = 3 * E18 if sells_weth else 3_000 * 10**6
    out, after = view.swapped(*way, amount)
    world.give(world.executor, [amount, 0, 0] if sells_weth else [0, 0, amount])

    execute(world, v4, [view.hop(*way, 0, to_caller=True)])

    assert world.balances(world.alice) == ([0, 0, out] if sells_weth else [out, 0, 0])
    v4.check_state(after.pool)


# Mainnet's pool of ether and USDC


@pytest.fixture
def mainnet(world: World, records_steps: bool, shared_data: Path) -> tuple[UniswapV4, UniswapV4Pool]:
    """The real pool with all its ticks, at its mainnet tokens, and what it is asked through."""
    if records_steps:
        pytest.skip(TOO_MANY_STEPS)
    file = shared_data / SNAPSHOT
    if not file.is_file():
        pytest.skip("Mainnet's pool of Uniswap V4 is not here: ../shared/data has no such file.")
    v4 = UniswapV4.install(world.chain, world.admin.address)
    return v4, v4.rebuild(of_class(load_pool(file), UniswapV4Pool))


def execute(world: World, v4: UniswapV4, hops: Sequence[Hop]) -> int:
    """Run a route for Alice; the gas it took. Nothing may stay behind."""
    receipt = world.alice.transact(world.executor, "executeRoute", encode(hops))
    assert world.balances(world.executor) == [0, 0, 0]
    assert world.chain.balance_wei(world.executor.address) == 0
    for token in world.tokens:
        assert world.read(token, "allowance", world.executor.address, v4.manager.address) == 0
    return receipt.gas_used


@pytest.mark.real
def test_real_pool_rebuilt_quotes_as_pool_manager(
    mainnet: tuple[UniswapV4, UniswapV4Pool],
) -> None:
    """Mainnet's ETH/USDC 0.05 % with all 499 ticks."""
    v4, pool = mainnet

    assert len(pool.profile.ticks) == 499
    assert check_quotes(v4, pool, random.Random(24_407_242)) > 80
    ether, usdc = (token.address for token in pool.tokens)
    for amount in (10**12, E18, 100 * E18, 20_000 * E18):
        assert [pool.quote_in(ether, usdc, amount)] == ask_quoter(v4, "quoteExactInputSingle", pool, True, [amount])


@pytest.mark.real
def test_real_pool_of_ether_trades_weth_both_ways(world: World, mainnet: tuple[UniswapV4, UniswapV4Pool]) -> None:
    """WETH is unwrapped on its way in and wrapped on its way out; the pool moves as on paper."""
    v4, pool = mainnet
    ether, usdc = (token.address for token in pool.tokens)
    dollars, pool_after = pool.swapped(ether, usdc, 50 * E18)
    back, pool_last = pool_after.swapped(usdc, ether, dollars)
    world.give(world.executor, [50 * E18, 0, 0])

    execute(world, v4, [v4.hop(pool, world.weth.address, down=True)])

    assert world.balances(world.alice) == [0, 0, dollars]
    v4.check_state(pool_after)
    world.alice.transact(world.usdc, "transfer", world.executor.address, dollars)
    execute(world, v4, [v4.hop(pool, world.weth.address, down=False)])
    assert world.balances(world.alice) == [back, 0, 0]
    assert 0 < back < 50 * E18
    v4.check_state(pool_last)


@pytest.mark.real
def test_real_pool_of_ether_serves_in_the_middle_of_a_route(
    world: World, mainnet: tuple[UniswapV4, UniswapV4Pool]
) -> None:
    """WBTC to WETH on V3, to USDC on V4's ether, back to WBTC on V3."""
    v4, pool = mainnet
    ether, usdc = (token.address for token in pool.tokens)
    first = quote(world, 10**8, (WBTC, WETH))
    second = pool.quote_in(ether, usdc, first)
    third = quote(world, second, (USDC, WBTC))
    world.give(world.executor, [0, 10**8, 0])

    execute(
        world,
        v4,
        [
            pool_hop(world, 0, WBTC, WETH, False),
            v4.hop(pool, world.weth.address, down=True, to_caller=False),
            pool_hop(world, 0, USDC, WBTC, True),
        ],
    )

    assert world.balances(world.alice) == [0, third, 0]


@pytest.mark.real
def test_real_pool_of_ether_is_one_leg_of_a_split(world: World, mainnet: tuple[UniswapV4, UniswapV4Pool]) -> None:
    """Six tenths on V4, the rest on V3; of USDC bought, a part goes back to WETH through V4's ether."""
    v4, pool = mainnet
    ether, usdc = (token.address for token in pool.tokens)
    on_v4, pool_after = pool.swapped(ether, usdc, 6 * E18)
    on_v3 = quote(world, 4 * E18, (WETH, USDC))
    back = pool_after.quote_in(usdc, ether, 1_000 * 10**6)
    world.give(world.executor, [10 * E18, 0, 0])

    execute(
        world,
        v4,
        [
            v4.hop(pool, world.weth.address, down=True, amount_in=6 * E18, to_caller=False),
            pool_hop(world, 0, WETH, USDC, False),
            v4.hop(pool, world.weth.address, down=False, amount_in=1_000 * 10**6, to_caller=False),
        ],
    )

    assert world.balances(world.alice) == [back, 0, on_v4 + on_v3 - 1_000 * 10**6]
