"""Pools of every protocol but V3, in random states: no gift, no surprise, and flows that lie on the curve.

P-RT  selling what was just bought brings no more than was paid
P-MO  more in never brings less out
P-IN  what `quote_out` asks for brings what was wanted
P-FL  flows fall as prices rise; after one, the next unit yields about its price
P-K   a V2 pair's own check of its product passes what is quoted, and not a unit more
P-D   no swap lowers Curve's D
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rebalancer.errors import LiquidityExhausted
from rebalancer.units import BPS, E18
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    BalancerWeightedPool,
    CurveCryptoPool,
    CurveStablePool,
    Token,
    UniswapV2Pool,
    load,
)
from rebalancer.venues.balancer_math import pow_e18
from rebalancer.venues.uniswap_v2 import MAX_RESERVE_RAW

Backtest = UniswapV2Pool | BalancerWeightedPool | CurveStablePool | CurveCryptoPool

POOL = "0x" + "11" * 20
ADDRESSES = tuple(f"0x{n:040x}" for n in range(1, 5))


def tokens(draw: st.DrawFn, count: int) -> tuple[Token, ...]:
    decimals = [draw(st.sampled_from([6, 8, 18])) for _ in range(count)]
    return tuple(Token(ADDRESSES[k], f"T{k}", d) for k, d in enumerate(decimals))


@st.composite
def pairs(draw: st.DrawFn) -> UniswapV2Pool:
    sizes = st.integers(10, 111).flatmap(lambda bits: st.integers(1 << bits, (2 << bits) - 1))
    fee = draw(st.sampled_from([30, 25, 0, 100, 9_999]))
    coins = tokens(draw, 2)
    return UniswapV2Pool(POOL, coins[0], coins[1], (draw(sizes), draw(sizes)), fee)


@st.composite
def weighted(draw: st.DrawFn) -> BalancerWeightedPool:
    coins = tokens(draw, draw(st.integers(2, 4)))
    rest = 10**18
    weights = []
    for left in range(len(coins) - 1, 0, -1):
        share = draw(st.one_of(st.just(rest // (left + 1)), st.integers(10**16, rest - left * 10**16)))
        weights.append(share)
        rest -= share
    balances = tuple(draw(st.integers(10**5, 10 ** (coin.decimals + 9))) for coin in coins)
    return BalancerWeightedPool(
        POOL,
        POOL,
        POOL + "0" * 24,
        coins,
        balances,
        (*weights, rest),
        draw(st.sampled_from([10**12, 3 * 10**15, 10**17])),
        draw(st.sampled_from(["v1", "v2"])),
    )


@st.composite
def stable(draw: st.DrawFn) -> CurveStablePool:
    coins = tokens(draw, draw(st.integers(2, 4)))
    middle = draw(st.integers(3, 9))
    balances = tuple(draw(st.integers(10 ** (middle - 1), 10 ** (middle + 1))) * 10**coin.decimals for coin in coins)
    amplification = draw(st.sampled_from([1, 10, 200, 4_000, 10**5]))
    fee = draw(st.sampled_from([0, 1_500_000, 40_000_000]))
    pool = CurveStablePool(POOL, coins, balances, amplification, fee, draw(st.sampled_from([0, 5 * 10**9, 10**10])))
    if draw(st.booleans()):
        return pool
    rates = tuple(rate * draw(st.sampled_from([100, 101, 140])) // 100 for rate in pool.rates)
    return replace(
        pool,
        a_coefficient=100 * amplification,
        rates=rates,
        math_version="ng",
        offpeg_fee_multiplier_e10=draw(st.sampled_from([0, 2 * 10**10, 10**11])),
    )


@st.composite
def crypto(draw: st.DrawFn) -> CurveCryptoPool:
    """Up to a factor of two off balance."""
    version, count = draw(st.sampled_from([("v1", 3), ("ng", 3), ("ng", 2), ("ng-v2.1.0", 2)]))
    coins = tuple(Token(ADDRESSES[k], f"T{k}", d) for k, d in enumerate((6, 8, 18)[:count]))
    worth = 10 ** draw(st.integers(4, 9))
    scale = draw(st.integers(10**3, 10**5)) * E18, draw(st.integers(10, 10**4)) * E18
    prices = (E18, *scale[: count - 1])
    balances = tuple(
        worth * draw(st.integers(70, 140)) * 10**coin.decimals * E18 // (100 * price)
        for coin, price in zip(coins, prices, strict=True)
    )
    multiplier = 1 if version == "v1" else 10_000
    pool = CurveCryptoPool(
        POOL,
        coins,
        balances,
        draw(st.sampled_from([3_645, 170_763])) * (1 if version == "v1" else 100),
        draw(st.sampled_from([7 * 10**13, 11_809_167_828_997])),
        0,
        prices[1:],
        3_000_000,
        draw(st.sampled_from([3_000_000, 30_000_000])),
        draw(st.sampled_from([5 * 10**14, 10**16])),
        a_multiplier=multiplier,
        math_version=version,
    )
    assume(pool.fresh_d)
    return replace(pool, d=pool.fresh_d)


pools = st.one_of(pairs(), weighted(), stable(), crypto())
parts = st.integers(1, 10**6)


def way_of(pool: Backtest, draw: st.DataObject) -> tuple[str, str]:
    drawn = draw.draw(st.permutations([token.address for token in pool.tokens]))
    return drawn[0], drawn[1]


def most_in(pool: Backtest, way: tuple[str, str]) -> int:
    """The most that can go in, or as much again as a pool of any size could hold."""
    with pytest.raises(LiquidityExhausted) as refusal:
        pool.quote_in(*way, MAX_AMOUNT_RAW)
    return min(refusal.value.possible_raw, 10**36)


def amount_of(pool: Backtest, way: tuple[str, str], draw: st.DataObject) -> int:
    """Any amount up to what brings the most out, as often of any size as near to it."""
    most = min(most_in(pool, way), pool.flow_to(*way, 0.0)[0])
    assume(most > 0)
    bits = draw.draw(st.integers(0, most.bit_length() - 1))
    return min(draw.draw(st.integers(1 << bits, (2 << bits) - 1)), most)


@given(pools, st.data())
def test_round_trip_gains_nothing(pool: Backtest, data: st.DataObject) -> None:
    """P-RT: but for the units that Curve's rounding gives away where nothing is charged, as the contract does."""
    way = way_of(pool, data)
    amount = amount_of(pool, way, data)
    try:
        out, after = pool.swapped(*way, amount)
        back = after.quote_in(*way[::-1], out) if out else 0
    except LiquidityExhausted:
        assume(False)

    given_away = 3 if isinstance(pool, CurveStablePool) and pool.fee_e10 == 0 else 0
    assert back <= amount + given_away
    assert after.spot_price(*way) <= pool.spot_price(*way) * (1 + 10**-9)


@given(pools, st.data())
def test_more_in_never_brings_less_out(pool: Backtest, data: st.DataObject) -> None:
    """P-MO: but for the last unit of Curve's own Newton steps, and of Balancer's powers."""
    way = way_of(pool, data)
    less, more = sorted(amount_of(pool, way, data) for _ in "ab")

    slack = {"uniswap-v2": 0, "balancer": 1, "curve": 2}[pool.ref.venue]
    slack += pool.quote_in(*way, more) * (0 if slack < 2 else 1) // 10**12
    slack += pool.balances[_place(pool, way[1])] // 10**14 if isinstance(pool, BalancerWeightedPool) else 0
    assert pool.quote_in(*way, more) >= pool.quote_in(*way, less) - slack


def _place(pool: Backtest, address: str) -> int:
    return [token.address for token in pool.tokens].index(address)


@given(pools, st.data())
def test_what_quote_out_asks_for_brings_what_was_wanted(pool: Backtest, data: st.DataObject) -> None:
    """P-IN: exactly, but for Balancer, which charges its largest error both ways."""
    way = way_of(pool, data)
    try:
        wanted = pool.quote_in(*way, amount_of(pool, way, data))
        assume(wanted > 0)
        needed = pool.quote_out(*way, wanted)
        brought = pool.quote_in(*way, needed)
    except LiquidityExhausted:
        assume(False)

    if isinstance(pool, BalancerWeightedPool):
        error = pool.balances[_place(pool, way[1])] // 10**12 + 1
        assert brought >= wanted - error
    else:
        assert brought >= wanted
        # And one unit less does not.
        assert needed == 1 or pool.quote_in(*way, needed - 1) < wanted or isinstance(pool, UniswapV2Pool)


@given(pools, st.data())
def test_flows_fall_as_prices_rise_and_end_at_their_price(pool: Backtest, data: st.DataObject) -> None:
    """P-FL"""
    way = way_of(pool, data)
    best = float(pool.spot_price(*way)) * (1 - pool.fee_pips / 1e6)
    flows = [pool.flow_to(*way, best * share) for share in (2.0, 1.001, 0.999, 0.9, 0.5, 0.1, 0.0)]

    assert flows[0] == (0, 0)
    for (less_in, less_out), (more_in, more_out) in pairwise(flows):
        assert less_in <= more_in * (1 + 1e-9) + 1
        assert less_out <= more_out * (1 + 1e-9) + 1
    for amount, out in flows[2:]:
        if 0 < amount <= most_in(pool, way):
            paid = pool.quote_in(*way, amount)
            holds = pool.reserves if isinstance(pool, UniswapV2Pool) else pool.balances
            # The last unit in, or its fee, may be worth many units out.
            unit = 2 + 2 * float(pool.spot_price(*way))
            assert abs(out - paid) <= holds[_place(pool, way[1])] * 2e-9 + unit


@given(pools, st.floats(0.2, 0.98), st.data())
def test_after_a_flow_the_next_part_yields_its_price(pool: Backtest, share: float, data: st.DataObject) -> None:
    """P-FL, where the pool is large enough for a thousandth of the flow to be many units."""
    way = way_of(pool, data)
    price = float(pool.spot_price(*way)) * (1 - pool.fee_pips / 1e6) * share
    amount, _ = pool.flow_to(*way, price)
    assume(10**6 < amount < most_in(pool, way) * 99 // 100)
    step = amount // 1_000

    next_part = pool.quote_in(*way, amount + step) - pool.quote_in(*way, amount)
    last_part = pool.quote_in(*way, amount) - pool.quote_in(*way, amount - step)

    assume(last_part > 10**6)
    assert next_part <= step * price * (1 + 1e-3) + 1
    assert last_part >= step * price * (1 - 1e-3) - 1


@given(pairs(), st.data())
def test_pair_passes_what_is_quoted_and_not_a_unit_more(pool: UniswapV2Pool, data: st.DataObject) -> None:
    """P-K: the pair's check, with its fee taken off what came in."""
    way = way_of(pool, data)
    amount = amount_of(pool, way, data)
    out = pool.quote_in(*way, amount)
    i = _place(pool, way[0])
    reserve_in, reserve_out = pool.reserves[i], pool.reserves[1 - i]

    def passes(taken: int) -> bool:
        kept_in = (reserve_in + amount) * BPS - amount * pool.fee_bps
        return kept_in * (reserve_out - taken) >= reserve_in * reserve_out * BPS

    assert passes(out)
    assert not passes(out + 1)
    assert reserve_in + amount <= MAX_RESERVE_RAW


@given(st.one_of(stable(), crypto()), st.data())
def test_no_swap_lowers_d(pool: CurveStablePool | CurveCryptoPool, data: st.DataObject) -> None:
    """P-D: but for the units that rounding takes from a pool that charges nothing."""
    way = way_of(pool, data)
    try:
        _, after = pool.swapped(*way, amount_of(pool, way, data))
    except LiquidityExhausted:
        assume(False)

    if isinstance(pool, CurveCryptoPool) and isinstance(after, CurveCryptoPool):
        assert after.d >= pool.d - pool.d // 10**13
    elif isinstance(pool, CurveStablePool) and isinstance(after, CurveStablePool):
        assert after.invariant >= pool.invariant - 3 or after.invariant == 0


@given(pools)
def test_snapshot_of_any_pool_reads_back_equal(pool: Backtest) -> None:
    assert load(pool.to_json()) == pool


@given(st.integers(1, 5 * 10**18), st.integers(10**16, 8 * 10**18))
def test_powers_are_right_to_their_stated_error(x_e18: int, y_e18: int) -> None:
    try:
        found = pow_e18(x_e18, y_e18) / E18
    except OverflowError:
        assume(False)

    true = (x_e18 / E18) ** (y_e18 / E18)
    assert found == pytest.approx(true, rel=1e-13, abs=3e-18)
