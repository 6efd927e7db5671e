"""Quotes on paper against the real Uniswap V3: QuoterV2's answers and the state that swaps leave behind.

Pools are rebuilt on chain from what `rebalancer.venues` holds: one position per adjacent pair of
initialised ticks. Random ones cover every kind of gap, tier and corner; the real one is mainnet's.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import ContractReverted, LiquidityExhausted
from rebalancer.pool_files import load_pool
from rebalancer.route import encode
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    InitializedTick,
    TickProfile,
    Token,
    UniswapV3Pool,
    of_class,
)
from rebalancer.venues.uniswap_v3_math import MAX_SQRT_X96, MAX_TICK, MIN_SQRT_X96, sqrt_at_tick
from tests.contract.pools import check_state, rebuild

TIERS = ((100, 1), (500, 10), (3_000, 60), (10_000, 200), (0, 60), (999_999, 7), (2_500, 16_383))
"""Fee and spacing: mainnet's, and the ends of what the factory's owner may add."""


TOO_MANY_STEPS = "This chain records every step it executes: a walk through thousands of empty words fells it."


def token_pair(chain: LocalChain) -> tuple[Token, Token]:
    """Two new tokens, in the order of their addresses."""
    made = [chain.deploy("MockToken", "Coin", "COIN", 18).address for _ in range(2)]
    low, high = sorted(made, key=lambda address: int(address, 16))
    return Token(low, "COIN", 18), Token(high, "COIN", 18)


def random_pool(seed: int, tokens: tuple[Token, Token], tiers: Sequence[tuple[int, int]] = TIERS) -> UniswapV3Pool:
    """One to six positions of any size, around, above or below a price anywhere."""
    rng = random.Random(seed)
    fee_pips, spacing = tiers[seed % len(tiers)]
    end = MAX_TICK // spacing
    centre = rng.randint(-end * 9 // 10, end * 9 // 10)
    reach = rng.choice([5, 60, 700])
    moves: dict[int, list[int]] = {}
    for _ in range(rng.randint(1, 6)):
        liquidity = rng.getrandbits(rng.randint(1, 100)) + 1
        low, high = (rng.randint(max(-end, centre - reach), min(end, centre + reach)) for _ in "lh")
        low, high = sorted((low, high if high != low else low + (1 if low < end else -1)))
        if rng.random() < 0.3 and spacing > 1:
            low, high = -end, end
        for at, net in ((low * spacing, liquidity), (high * spacing, -liquidity)):
            move = moves.setdefault(at, [0, 0])
            move[0] += liquidity
            move[1] += net
    profile = TickProfile(fee_pips, spacing, tuple(InitializedTick(at, *moves[at]) for at in sorted(moves)))
    tick = rng.choice([*profile.indices, centre * spacing]) + rng.choice([-1, 0, 0, 1, spacing // 2])
    tick = min(max(tick, -MAX_TICK), MAX_TICK - 1)
    sqrt_x96 = rng.choice([sqrt_at_tick(tick), rng.randrange(sqrt_at_tick(tick), sqrt_at_tick(tick + 1))])
    return UniswapV3Pool(
        address="0x" + "0" * 40,
        token0=tokens[0],
        token1=tokens[1],
        profile=profile,
        sqrt_price_x96=sqrt_x96,
        tick=tick,
        liquidity=profile.liquidity_at(tick),
        chain_id=31_337,
    )


def amounts_for(rng: random.Random, possible: int, landmarks: Iterable[int]) -> list[int]:
    """One, the edge of what is possible, both sides of landmarks, and a spread in between."""
    amounts = {1, 2, 1_000, possible - 1, possible, possible + 1, 2 * possible, MAX_AMOUNT_RAW}
    amounts |= {mark + step for mark in landmarks for step in (-1, 0, 1)}
    amounts |= {rng.getrandbits(rng.randint(1, possible.bit_length() + 1)) for _ in range(20)}
    return sorted(amount for amount in amounts if 0 < amount <= MAX_AMOUNT_RAW)


def check_quotes(market: DevMarket, pool: UniswapV3Pool, rng: random.Random) -> int:
    """Every quote of the pool on paper is the quoter's; how many were compared."""
    compared = 0
    for down in (True, False):
        token_in, token_out = (token.address for token in (pool.tokens if down else pool.tokens[::-1]))
        most_in, most_out = most(pool, token_in, token_out)
        ladder = pool.profile.down if down else pool.profile.up
        steps = range(ladder.first(pool.tick), len(ladder.order))
        ins = [ends_at(pool, token_in, token_out, ladder.sqrt_x96[k])[0] for k in steps[:5]]
        outs = [ends_at(pool, token_in, token_out, ladder.sqrt_x96[k])[1] for k in steps[:5]]
        ins, outs = amounts_for(rng, most_in, ins), amounts_for(rng, most_out, outs)
        check_exact_in(market, pool, (token_in, token_out), ins)
        check_exact_out(market, pool, (token_in, token_out), outs)
        compared += len(ins) + len(outs)
    return compared


def most(pool: UniswapV3Pool, token_in: str, token_out: str) -> tuple[int, int]:
    """The most that can go in and come out."""
    found = []
    for quote in (pool.quote_in, pool.quote_out):
        with pytest.raises(LiquidityExhausted) as refusal:
            quote(token_in, token_out, MAX_AMOUNT_RAW)
        found.append(refusal.value.possible_raw)
    return found[0], found[1]


def ends_at(pool: UniswapV3Pool, token_in: str, token_out: str, sqrt_x96: int) -> tuple[int, int]:
    """What goes in and comes out until about that price."""
    price = (sqrt_x96 / 2**96) ** 2
    keep = 1 - pool.fee_pips / 1e6
    marginal = keep * (price if token_in == pool.token0.address else 1 / price)
    return pool.flow_to(token_in, token_out, marginal)


def ask_quoter(
    market: DevMarket,
    function: str,
    pool: UniswapV3Pool,
    way: tuple[str, str],
    amounts: Sequence[int],
) -> list[tuple[int, int] | None]:
    """QuoterV2's (amount, price after) without a limit for each amount; None where it reverts."""
    quoter = contract_at(market.chain.rpc, "QuoterV2", market.deployment.uniswap["QuoterV2"]).batched
    calls = [quoter.request(function, (*way, amount, pool.fee_pips, 0)) for amount in amounts]
    answers: list[tuple[int, int] | None] = []
    for answer in market.chain.rpc.batch_settled(calls):
        try:
            amount, price_after, *_ = quoter.result(function, answer)
            answers.append((amount, price_after))
        except ContractReverted:
            answers.append(None)
    return answers


def check_exact_in(market: DevMarket, pool: UniswapV3Pool, way: tuple[str, str], amounts: Sequence[int]) -> None:
    answers = ask_quoter(market, "quoteExactInputSingle", pool, way, amounts)
    for amount, answer in zip(amounts, answers, strict=True):
        if answer is None:
            # The quoter does not answer for a swap through nothing but gaps.
            with pytest.raises(LiquidityExhausted) as nothing:
                pool.quote_in(*way, amount)
            assert nothing.value.possible_raw == 0
            continue
        out, price_after = answer
        try:
            assert pool.quote_in(*way, amount) == out, f"{amount} in"
            assert pool.swapped(*way, amount)[1].sqrt_price_x96 == price_after, f"{amount} in"
        except LiquidityExhausted as refusal:
            # The quoter answers for the part that could be traded, and stands at the last price.
            assert price_after in (MIN_SQRT_X96 + 1, MAX_SQRT_X96 - 1), f"{amount} in"
            possible = refusal.possible_raw
            assert possible < amount
            assert (pool.quote_in(*way, possible) if possible else 0) == out, f"{amount} in"


def check_exact_out(market: DevMarket, pool: UniswapV3Pool, way: tuple[str, str], amounts: Sequence[int]) -> None:
    answers = ask_quoter(market, "quoteExactOutputSingle", pool, way, amounts)
    for amount, answer in zip(amounts, answers, strict=True):
        if answer is None:
            with pytest.raises(LiquidityExhausted) as refusal:
                pool.quote_out(*way, amount)
            assert refusal.value.possible_raw < amount
        else:
            assert pool.quote_out(*way, amount) == answer[0], f"{amount} out"


def swap(market: DevMarket, executor: BoundContract, pool: UniswapV3Pool, down: bool, amount: int) -> int:
    """Swap on chain through the executor; what came out."""
    token_in, token_out = (
        contract_at(market.chain.rpc, "MockToken", token.address)
        for token in (pool.tokens if down else pool.tokens[::-1])
    )
    chain, trader = market.chain, market.chain.accounts[3]
    before = token_out.call("balanceOf", trader)
    chain.transact(token_in, "mint", executor.address, amount)
    hop = pool.hop(token_in.address, token_out.address, 0, to_caller=True)
    # A walk over all prices reads some 7,000 words of the bitmap.
    chain.transact(executor, "executeRoute", encode([hop]), sender=trader, gas=100_000_000)
    return int(token_out.call("balanceOf", trader)) - int(before)


@pytest.mark.parametrize("seed", range(14))
def test_random_pool_quotes_and_moves_as_the_contract(market: DevMarket, records_steps: bool, seed: int) -> None:
    if records_steps and (seed >= len(TIERS) or TIERS[seed][1] < 60):
        pytest.skip(TOO_MANY_STEPS)
    pool = rebuild(market, random_pool(seed, token_pair(market.chain)))
    executor = market.chain.deploy("RouteExecutor")
    rng = random.Random(seed)
    assert check_quotes(market, pool, rng) > 40

    for _ in range(4):
        # To the very end of a whole step where there is one, else somewhere on the way.
        down = rng.random() < 0.5
        token_in, token_out = (t.address for t in (pool.tokens if down else pool.tokens[::-1]))
        most_in = most(pool, token_in, token_out)[0]
        if most_in == 0:
            continue
        amount = rng.choice([most_in, rng.randint(1, most_in), 1])
        expected, after = pool.swapped(token_in, token_out, amount)
        assert swap(market, executor, pool, down, amount) == expected
        check_state(market.chain, after)
        pool = after
    check_quotes(market, pool, rng)


@pytest.mark.parametrize(
    ("tier", "liquidity", "tick"),
    [
        ((100, 1), 10**15, 0),
        ((2_500, 16_383), 1 << 120, 850_000),
        ((2_500, 16_383), 1 << 120, -850_000),
    ],
    ids=["last-ticks", "wide-high", "wide-low"],
)
def test_pool_over_all_prices_quotes_and_ends_as_the_contract(
    market: DevMarket, records_steps: bool, tier: tuple[int, int], liquidity: int, tick: int
) -> None:
    """To the very last ticks, and over steps so wide that the contract's own products overflow."""
    if records_steps and tier[1] < 60:
        pytest.skip(TOO_MANY_STEPS)
    end = MAX_TICK // tier[1] * tier[1]
    profile = TickProfile(
        *tier,
        (InitializedTick(-end, liquidity, liquidity), InitializedTick(end, liquidity, -liquidity)),
    )
    start = UniswapV3Pool("0x" + "0" * 40, *token_pair(market.chain), profile, sqrt_at_tick(tick) + 1, tick, liquidity)
    pool = rebuild(market, start)
    executor = market.chain.deploy("RouteExecutor")
    rng = random.Random(tick)
    check_quotes(market, pool, rng)

    for down in (True, False):
        token_in, token_out = (t.address for t in (pool.tokens if down else pool.tokens[::-1]))
        for part in (2, 1):
            amount = most(pool, token_in, token_out)[0] // part
            expected, after = pool.swapped(token_in, token_out, amount)
            assert swap(market, executor, pool, down, amount) == expected
            check_state(market.chain, after)
            pool = after


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
def test_swap_to_the_end_of_each_step_leaves_the_contracts_state(market: DevMarket, down: bool) -> None:
    """On initialised ticks and on word edges, where the tick of a falling swap is one lower."""
    tokens = token_pair(market.chain)
    liquidity = 10**15
    ticks = (
        InitializedTick(-60 * 300, 7, 7),
        InitializedTick(-60, liquidity, liquidity),
        InitializedTick(60, liquidity, -liquidity),
        InitializedTick(60 * 300, 7, -7),
    )
    profile = TickProfile(3_000, 60, ticks)
    pool = rebuild(
        market,
        UniswapV3Pool("0x" + "0" * 40, *tokens, profile, sqrt_at_tick(5), 5, profile.liquidity_at(5)),
    )
    executor = market.chain.deploy("RouteExecutor")
    token_in, token_out = (t.address for t in (tokens if down else tokens[::-1]))
    ladder = pool.profile.down if down else pool.profile.up
    visited = []
    for k in range(ladder.first(pool.tick), len(ladder.order)):
        amount, _ = ladder.whole(pool.sqrt_price_x96, ladder.sqrt_x96[k], pool.liquidity)
        if amount:
            expected, pool_after = pool.swapped(token_in, token_out, amount)
            assert swap(market, executor, pool, down, amount) == expected
            check_state(market.chain, pool_after)
            pool = pool_after
        visited.append((pool.tick, pool.liquidity))

    sign = -1 if down else 1
    assert visited[-1] == (sign * 60 * 300 - (1 if down else 0), 0)
    assert len(visited) == (4 if down else 3)


@pytest.mark.real
def test_real_pool_rebuilt_quotes_as_the_contract(market: DevMarket, records_steps: bool, shared_data: Path) -> None:
    """Mainnet's WBTC/WETH 0.3 % with all 458 ticks, between tokens that can be minted here."""
    if records_steps:
        pytest.skip(TOO_MANY_STEPS)
    file = shared_data / "mainnet-24407242" / "uniswap_v3_wbtc_weth_3000.json"
    snapshot = of_class(load_pool(file), UniswapV3Pool)
    token0, token1 = token_pair(market.chain)
    pool = rebuild(market, replace(snapshot, token0=token0, token1=token1))
    rng = random.Random(24_407_242)

    assert check_quotes(market, pool, rng) > 150
    way = (token0.address, token1.address)
    check_exact_in(market, pool, way, [10**4, 10**6, 10**8, 10**10, 3 * 10**11])
    check_exact_out(market, pool, way[::-1], [10**4, 10**6, 10**8, 10**10])
