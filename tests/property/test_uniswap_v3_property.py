"""Uniswap V3 quotes over random pools: equal to a literal walk of the contract, and never a gift.

`walk` below follows `UniswapV3Pool.swap` of v3-core line by line, one bitmap word at a time and
with no precomputed sums; the pool must agree with it on amounts and on the state left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rebalancer.errors import LiquidityExhausted
from rebalancer.units import PIPS, div_up
from rebalancer.venues import InitializedTick, TickProfile, Token, UniswapV3Pool, load, recentred
from rebalancer.venues.uniswap_v3_math import (
    MAX_SQRT_X96,
    MAX_TICK,
    MIN_SQRT_X96,
    MIN_TICK,
    amount0_delta,
    amount1_delta,
    sqrt_at_tick,
    tick_at_sqrt,
)

TOKEN0 = Token("0x" + "00" * 19 + "0a", "AAA", 18)
TOKEN1 = Token("0x" + "00" * 19 + "0b", "BBB", 6)

amounts = st.one_of(
    st.integers(1, 10),
    st.integers(0, 190).flatmap(lambda bits: st.integers(1 << bits, (2 << bits) - 1)),
)


@st.composite
def pools(draw: st.DrawFn, min_bits: int = 0) -> UniswapV3Pool:
    """One to six overlapping or separate positions around, above or below the price."""
    fee_pips, spacing = draw(
        st.sampled_from([(100, 1), (500, 10), (3_000, 60), (10_000, 200), (0, 60), (999_999, 60), (500, 16_383)])
    )
    end = MAX_TICK // spacing
    center = draw(st.integers(-end, end))
    reach = draw(st.sampled_from([3, 40, 900]))
    near = st.integers(max(center - reach, -end), min(center + reach, end))
    moves: dict[int, tuple[int, int]] = {}
    for _ in range(draw(st.integers(1, 6))):
        bits = draw(st.integers(min_bits, 120))
        liquidity = draw(st.integers(1 << bits, (2 << bits) - 1))
        low, high = sorted((draw(near), draw(near)))
        if low == high:
            low, high = (low - 1, high) if low > -end else (low, high + 1)
        if spacing >= 60 and draw(st.booleans()):
            low, high = -end, end
        for at, net in ((low * spacing, liquidity), (high * spacing, -liquidity)):
            gross_there, net_there = moves.get(at, (0, 0))
            moves[at] = (gross_there + liquidity, net_there + net)
    profile = TickProfile(fee_pips, spacing, tuple(InitializedTick(at, *moves[at]) for at in sorted(moves)))
    tick = max(min(draw(near) * spacing + draw(st.integers(-1, 1)), MAX_TICK - 1), MIN_TICK)
    low_x96, high_x96 = sqrt_at_tick(tick), sqrt_at_tick(tick + 1)
    sqrt_x96 = draw(st.one_of(st.just(low_x96), st.integers(low_x96, high_x96 - 1)))
    if sqrt_x96 == low_x96 and tick > MIN_TICK and draw(st.booleans()):
        tick -= 1  # as a falling swap leaves it
    return UniswapV3Pool(
        address="0x" + "11" * 20,
        token0=TOKEN0,
        token1=TOKEN1,
        profile=profile,
        sqrt_price_x96=sqrt_x96,
        tick=tick,
        liquidity=profile.liquidity_at(tick),
    )


@st.composite
def pools_and_pairs(draw: st.DrawFn, min_bits: int = 0) -> tuple[UniswapV3Pool, str, str]:
    """A pool and its two tokens in the order of a swap."""
    tokens = draw(st.permutations([TOKEN0.address, TOKEN1.address]))
    return draw(pools(min_bits)), tokens[0], tokens[1]


@dataclass
class Walked:
    """What `UniswapV3Pool.swap` leaves; `remaining` is what it could not trade."""

    remaining: int
    paid: int
    received: int
    sqrt_x96: int
    tick: int
    liquidity: int


def walk(pool: UniswapV3Pool, *, down: bool, amount: int, exact_in: bool) -> Walked:
    """UniswapV3Pool.swap with the extreme price as its limit."""
    spacing, fee = pool.tick_spacing, pool.fee_pips
    net_at = {tick.at: tick.net for tick in pool.profile.ticks}
    limit = MIN_SQRT_X96 + 1 if down else MAX_SQRT_X96 - 1
    state = Walked(amount, 0, 0, pool.sqrt_price_x96, pool.tick, pool.liquidity)
    while state.remaining and state.sqrt_x96 != limit:
        start = state.sqrt_x96
        next_tick = next_tick_within_one_word(net_at, state.tick, spacing, down=down)
        next_tick = max(min(next_tick, MAX_TICK), MIN_TICK)
        next_x96 = sqrt_at_tick(next_tick)
        target = max(next_x96, limit) if down else min(next_x96, limit)
        state.sqrt_x96, step_in, step_out, step_fee = swap_step(
            start, target, state.liquidity, state.remaining, fee, down=down, exact_in=exact_in
        )
        state.remaining -= step_in + step_fee if exact_in else step_out
        state.paid += step_in + step_fee
        state.received += step_out
        if state.sqrt_x96 == next_x96:
            state.liquidity += net_at.get(next_tick, 0) * (-1 if down else 1)
            state.tick = next_tick - 1 if down else next_tick
        elif state.sqrt_x96 != start:
            state.tick = tick_at_sqrt(state.sqrt_x96)
    return state


def next_tick_within_one_word(net_at: dict[int, int], tick: int, spacing: int, *, down: bool) -> int:
    """TickBitmap.nextInitializedTickWithinOneWord."""
    compressed = tick // spacing
    if down:
        word = range(compressed, compressed - compressed % 256 - 1, -1)
    else:
        compressed += 1
        word = range(compressed, compressed - compressed % 256 + 256)
    for position in word:
        if position * spacing in net_at:
            return position * spacing
    return word[-1] * spacing


def swap_step(
    current: int,
    target: int,
    liquidity: int,
    remaining: int,
    fee: int,
    *,
    down: bool,
    exact_in: bool,
) -> tuple[int, int, int, int]:
    """SwapMath.computeSwapStep: (next price, in, out, fee)."""

    def amount_in(end: int) -> int:
        delta = amount0_delta if down else amount1_delta
        return delta(current, end, liquidity, up=True)

    def amount_out(end: int) -> int:
        delta = amount1_delta if down else amount0_delta
        return delta(current, end, liquidity, up=False)

    if exact_in:
        net = remaining * (1_000_000 - fee) // 1_000_000
        if net >= amount_in(target):
            reached = target
        elif down:
            reached = price_after_amount0(current, liquidity, net)
        else:
            reached = current + (net << 96) // liquidity
    elif remaining >= amount_out(target):
        reached = target
    elif down:
        reached = current + -(remaining << 96) // liquidity
    else:
        reached = price_after_amount0(current, liquidity, -remaining)
    step_in, step_out = amount_in(reached), amount_out(reached)
    if not exact_in:
        step_out = min(step_out, remaining)
    if exact_in and reached != target:
        return reached, step_in, step_out, remaining - step_in
    return reached, step_in, step_out, -(-step_in * fee // (1_000_000 - fee))


def price_after_amount0(current: int, liquidity: int, amount: int) -> int:
    """SqrtPriceMath.getNextSqrtPriceFromAmount0RoundingUp; a negative amount is taken out."""
    if amount == 0:
        return current
    scaled = liquidity << 96
    if scaled + amount * current < 1 << 256:
        return -(-scaled * current // (scaled + amount * current))
    return -(-scaled // (scaled // current + amount))


@given(pools_and_pairs(), amounts)
def test_quote_in_any_pool_is_what_the_contract_pays(case: tuple[UniswapV3Pool, str, str], amount: int) -> None:
    pool, token_in, token_out = case
    walked = walk(pool, down=token_in == TOKEN0.address, amount=amount, exact_in=True)

    if walked.remaining:
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_in(token_in, token_out, amount)
        assert refusal.value.required_raw == amount
        assert refusal.value.possible_raw == walked.paid
        assert refusal.value.token == token_in
    else:
        received, after = pool.swapped(token_in, token_out, amount)
        assert pool.quote_in(token_in, token_out, amount) == received == walked.received
        assert walked.paid == amount
        assert after.sqrt_price_x96 == walked.sqrt_x96
        assert after.tick == walked.tick
        assert after.liquidity == walked.liquidity
        assert after.profile is pool.profile


@given(pools_and_pairs(), amounts)
def test_quote_out_any_pool_is_what_the_contract_takes(case: tuple[UniswapV3Pool, str, str], amount: int) -> None:
    pool, token_in, token_out = case
    walked = walk(pool, down=token_in == TOKEN0.address, amount=amount, exact_in=False)

    if walked.remaining:
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_out(token_in, token_out, amount)
        assert refusal.value.possible_raw == walked.received
        assert refusal.value.token == token_out
    else:
        assert pool.quote_out(token_in, token_out, amount) == walked.paid
        assert walked.received == amount


@given(pools_and_pairs(), amounts)
def test_quote_in_of_quote_out_covers_the_wish(case: tuple[UniswapV3Pool, str, str], amount: int) -> None:
    pool, token_in, token_out = case
    needed = quote_or_assume(pool.quote_out, token_in, token_out, amount)
    assume(needed > 0)

    assert quote_or_assume(pool.quote_in, token_in, token_out, needed) >= amount


@given(pools_and_pairs(min_bits=90), amounts)
def test_quote_out_of_quote_in_needs_no_more_than_rounding(case: tuple[UniswapV3Pool, str, str], amount: int) -> None:
    """`quote_out` is the least amount that is enough, but for the contract's own rounding.

    An exact-out swap ends one unit of sqrt price further than it must and pays for it, after a
    raw unit for each boundary on the way. In a pool of a few units of liquidity, where whole
    steps give nothing out, that can be any factor; hence the liquidity here.
    """
    pool, token_in, token_out = case
    received = quote_or_assume(pool.quote_in, token_in, token_out, amount)
    assume(received > 0)
    end_x96 = pool.swapped(token_in, token_out, amount)[1].sqrt_price_x96
    ladder = pool._ladder(token_in, token_out)
    liquidity = max(pool.liquidity, *ladder.liquidity[ladder.first(pool.tick) :])
    if token_in == TOKEN0.address:
        unit = amount0_delta(end_x96, max(end_x96 - 1, MIN_SQRT_X96), liquidity, up=True)
    else:
        unit = amount1_delta(end_x96, end_x96 + 1, liquidity, up=True)
    boundaries = 1 + len(pool.profile.down.order)
    rounding = boundaries * div_up((unit + 1) * PIPS, PIPS - pool.fee_pips)

    assert pool.quote_out(token_in, token_out, received) <= amount + rounding


@given(pools_and_pairs(), amounts, amounts)
def test_quotes_with_more_in_never_pay_less(case: tuple[UniswapV3Pool, str, str], amount: int, more: int) -> None:
    pool, token_in, token_out = case
    of_both = quote_or_assume(pool.quote_in, token_in, token_out, amount + more)

    assert pool.quote_in(token_in, token_out, amount) <= of_both


@given(pools_and_pairs(), amounts, amounts)
def test_a_swap_in_two_parts_never_pays_more_than_in_one(
    case: tuple[UniswapV3Pool, str, str], first: int, second: int
) -> None:
    pool, token_in, token_out = case
    of_both = quote_or_assume(pool.quote_in, token_in, token_out, first + second)
    of_first, after = pool.swapped(token_in, token_out, first)

    assert of_first + quote_or_assume(after.quote_in, token_in, token_out, second) <= of_both


@given(pools_and_pairs(), amounts)
def test_a_swap_there_and_back_never_profits(case: tuple[UniswapV3Pool, str, str], amount: int) -> None:
    pool, token_in, token_out = case
    received = quote_or_assume(pool.quote_in, token_in, token_out, amount)
    assume(received > 0)
    _, after = pool.swapped(token_in, token_out, amount)

    assert quote_or_assume(after.quote_in, token_out, token_in, received) <= amount


@given(pools_and_pairs(), st.floats(1e-3, 1.5), amounts)
def test_no_swap_beats_flow_to_at_its_marginal_price(
    case: tuple[UniswapV3Pool, str, str], ratio: float, amount: int
) -> None:
    """Valuing the output at `marginal` input each, no amount gains more than the flow's does."""
    pool, token_in, token_out = case
    keep = 1 - pool.fee_pips / 1e6
    marginal = float(pool.spot_price(token_in, token_out)) * keep * ratio
    paid, received = pool.flow_to(token_in, token_out, marginal)
    out = quote_or_assume(pool.quote_in, token_in, token_out, amount)

    if ratio > 1.001:
        assert (paid, received) == (0, 0)
    # Each boundary passed rounds by up to two raw units in and one out; floats by 1e-12.
    boundaries = 2 + len(pool.profile.down.order)
    rounding = boundaries * (1 + 2 * marginal / keep) + 1e-12 * (out + received + marginal * paid)
    assert out - marginal * amount <= received - marginal * paid + rounding


@given(pools_and_pairs())
def test_flow_at_a_price_of_nothing_is_all_that_the_pool_can_pay(
    case: tuple[UniswapV3Pool, str, str],
) -> None:
    pool, token_in, token_out = case
    down = token_in == TOKEN0.address
    delta = amount1_delta if down else amount0_delta
    ladder = pool._ladder(token_in, token_out)
    ahead = ladder.first(pool.tick)
    marks = (pool.sqrt_price_x96, *ladder.sqrt_x96[ahead:])
    between = (pool.liquidity, *ladder.liquidity[ahead:])

    total = sum(
        delta(start, end, liquidity, up=False)
        for (start, end), liquidity in zip(pairwise(marks), between, strict=False)
    )
    _, possible = pool.flow_to(token_in, token_out, 0.0)
    # Each boundary the contract stops at, and each tick, rounds one raw unit away.
    boundaries = len((pool.profile.down if down else pool.profile.up).order)
    assert possible - len(marks) <= total <= possible + boundaries


@given(pools())
def test_snapshot_of_any_pool_loads_back_equal(pool: UniswapV3Pool) -> None:
    assert load(pool.to_json()) == pool


@given(pools(), st.integers(-100_000, 100_000))
def test_recentred_pool_has_the_price_and_the_shape(pool: UniswapV3Pool, move: int) -> None:
    assume(abs(pool.tick + move) < 800_000)
    wanted_x96 = sqrt_at_tick(pool.tick + move) + 1
    moved = recentred(pool, wanted_x96)

    assert moved.sqrt_price_x96 == wanted_x96
    end = MAX_TICK // pool.tick_spacing * pool.tick_spacing
    inner = [tick for tick in pool.profile.ticks if abs(tick.at) < end]
    assume(all(abs(tick.at) + abs(move) + 200 < end for tick in inner))
    shift = round_half_up(move, pool.tick_spacing)
    assert [tick for tick in moved.profile.ticks if abs(tick.at) < end] == [
        InitializedTick(tick.at + shift, tick.gross, tick.net) for tick in inner
    ]


def round_half_up(value: int, step: int) -> int:
    """The multiple of `step` nearest to `value`, the upper one of two."""
    return (value + step // 2) // step * step


@given(st.integers(MIN_SQRT_X96, MAX_SQRT_X96 - 1))
def test_tick_of_any_price_is_the_greatest_not_above_it(sqrt_x96: int) -> None:
    tick = tick_at_sqrt(sqrt_x96)

    assert sqrt_at_tick(tick) <= sqrt_x96 < sqrt_at_tick(tick + 1)


@given(st.integers(MIN_TICK, MAX_TICK - 1))
def test_tick_at_its_own_price_and_just_below(tick: int) -> None:
    assert tick_at_sqrt(sqrt_at_tick(tick)) == tick
    if tick > MIN_TICK:
        assert tick_at_sqrt(sqrt_at_tick(tick) - 1) == tick - 1


def quote_or_assume(quote: object, token_in: str, token_out: str, amount: int) -> int:
    """The quote; the case is set aside where the pool cannot trade that much."""
    assert callable(quote)
    try:
        result = quote(token_in, token_out, amount)
    except LiquidityExhausted:
        assume(False)
        raise
    assert isinstance(result, int)
    return result
