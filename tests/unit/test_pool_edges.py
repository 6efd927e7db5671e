"""Pools at their edges: exact bounds, floats that must lie on the curve of the integers, and what snapshots hold back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from rebalancer import pool_files as files
from rebalancer.errors import (
    BadAmount,
    BadPoolSnapshot,
    LiquidityExhausted,
    UnknownToken,
    UnsupportedPool,
)
from rebalancer.pool_files import load_pool, save_pool
from rebalancer.units import E18
from rebalancer.venues import (
    CurveCryptoPool,
    CurveStablePool,
    Token,
    UniswapV2Pool,
    WrappedEtherPool,
    load,
    of_class,
    recentred,
)
from rebalancer.venues import curve_math as maths
from rebalancer.venues import uniswap_v3_math as v3_math
from rebalancer.venues.curve_cubic import cube_root, cubic_y, over, signed, wrapped
from rebalancer.venues.curve_math import Refused, least_in, most_in
from rebalancer.venues.curve_two import TWO_LIMITS, two_d, two_y
from rebalancer.venues.model import ETHER_ADDRESS
from rebalancer.venues.uniswap_v2 import MAX_RESERVE_RAW
from rebalancer.venues.uniswap_v3_math import MAX_SQRT_X96, MIN_SQRT_X96, Q96, sqrt_at_tick
from rebalancer.venues.uniswap_v4 import pool_id
from tests.unit.test_pool_protocols import (
    A,
    B,
    C,
    crypto,
    crypto_ng,
    ether_pool,
    stable,
    stable_ng,
    two_later,
    two_ng,
    v2,
)
from tests.unit.test_pool_protocols import (
    token as quoted,
)
from tests.unit.test_pools import LIQUIDITY, make_synthetic, snapshot, v3, v4, v4_snapshot

CRYPTO: dict[str, Callable[..., Any]] = {
    "crypto": crypto,
    "crypto_ng": crypto_ng,
    "two_ng": two_ng,
    "two_later": two_later,
}


def crypto_pool(name: str, **changes: Any) -> CurveCryptoPool:
    return of_class(load(CRYPTO[name](**changes)), CurveCryptoPool)


def stable_pool(**changes: Any) -> CurveStablePool:
    return of_class(load(stable(**changes)), CurveStablePool)


def uneven(name: str) -> CurveCryptoPool:
    """A third off balance, at its own D."""
    pool = crypto_pool(name)
    balances = tuple(b * (100 + 30 * (k == 1)) // 100 for k, b in enumerate(pool.balances))
    off = replace(pool, balances=balances)
    return replace(off, d=off.fresh_d)


# Uniswap V2


def test_flow_of_a_pair_is_its_closed_form() -> None:
    """(sqrt(k * in * out / price) - in) / k, with k what the fee leaves."""
    pool = of_class(load(v2(reserves=[10**18, 4 * 10**18])), UniswapV2Pool)
    for fee_bps in (0, 1, 30, 9_999):
        one = replace(pool, fee_bps=fee_bps)
        kept = 1 - fee_bps / 10_000
        for share in (0.999, 0.9, 0.3, 0.001):
            price = 4 * kept * share
            amount = (math.sqrt(kept * 4e36 / price) - 1e18) / kept
            found, out = one.flow_to(A, B, price)
            assert found == pytest.approx(min(amount, MAX_RESERVE_RAW - 1e18), rel=1e-9)
            assert out == one.quote_in(A, B, found)
        assert one.flow_to(A, B, 4 * kept) == (0, 0)
        most = MAX_RESERVE_RAW - 10**18
        assert one.flow_to(A, B, 0.0) == (most, one.quote_in(A, B, most))
        assert one.flow_to(A, B, -1.0) == one.flow_to(A, B, 0.0)


@pytest.mark.parametrize("reserves", [[0, 5], [5, 0], [0, 0]])
def test_pair_that_lacks_a_token_refuses_both_ways(reserves: list[int]) -> None:
    pool = load(v2(reserves=reserves))
    for way in ((A, B), (B, A)):
        for quote in (pool.quote_in, pool.quote_out):
            with pytest.raises(LiquidityExhausted) as refusal:
                quote(*way, 1)
            assert refusal.value.possible_raw == 0
        assert pool.flow_to(*way, 0.0) == (0, 0)


def test_pair_holds_so_much_and_no_more_and_keeps_a_unit() -> None:
    pool = of_class(load(v2(reserves=[MAX_RESERVE_RAW - 7, 50])), UniswapV2Pool)
    assert pool.quote_in(A, B, 7) == 0
    for amount in (8, 9):
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_in(A, B, amount)
        assert refusal.value.possible_raw == 7
    full = of_class(load(v2(reserves=[MAX_RESERVE_RAW, 50])), UniswapV2Pool)
    with pytest.raises(LiquidityExhausted) as refusal:
        full.quote_out(A, B, 1)
    assert refusal.value.possible_raw == 0
    small = of_class(load(v2(reserves=[10, 10], fee_bps=0)), UniswapV2Pool)
    assert small.quote_out(A, B, 9) == 91
    with pytest.raises(LiquidityExhausted) as refusal:
        small.quote_out(A, B, 10)
    assert refusal.value.possible_raw == small.quote_in(A, B, MAX_RESERVE_RAW - 10) == 9


# Uniswap V3, V4, ether, and local markets


def test_v4_pool_is_told_by_its_id_and_reads_back_equal() -> None:
    fees = {"protocol_fee_zero_for_one": 3, "protocol_fee_one_for_zero": 4}
    pool = v4(v4_snapshot(**fees))

    its_id = pool_id(pool.token0.address, pool.token1.address, 3_000, 60)
    assert (pool.key, pool.pool_id) == (its_id, its_id)
    quoted = pool.to_json()
    assert v4(quoted) == pool
    assert v4(quoted).protocol_fees_pips == (3, 4)
    assert (pool.tick_spacing, quoted["block"], quoted["chain_id"]) == (60, 7, 1)
    # Off its middle, so that its two ways differ; without a protocol's fee it is its twin of V3.
    off = {"sqrt_price_x96": sqrt_at_tick(31) + 5, "tick": 31}
    later, twin = v4(v4_snapshot(**off)), v3(snapshot(**off))
    for way in ((A, B), (B, A)):
        assert later.quote_in(*way, 10**15) == twin.quote_in(*way, 10**15)
        assert later.quote_out(*way, 10**15) == twin.quote_out(*way, 10**15)
        assert later.swapped(*way, 10**14)[0] == twin.swapped(*way, 10**14)[0]
        assert later.spot_price(*way) == twin.spot_price(*way)
        for share in (0.0, 0.999):
            assert later.flow_to(*way, share) == twin.flow_to(*way, share)


@pytest.mark.parametrize("fees", [(1_000, 1_000), (0, 0)])
def test_v4_protocol_fee_is_a_thousandth_at_most(fees: tuple[int, int]) -> None:
    names = ("protocol_fee_zero_for_one", "protocol_fee_one_for_zero")
    assert v4(v4_snapshot(**dict(zip(names, fees, strict=True)))).protocol_fees_pips == fees
    for name in names:
        for wrong in (1_001, -1):
            with pytest.raises(BadPoolSnapshot, match=f"protocol fee {wrong}"):
                v4(v4_snapshot(**{name: wrong}))


def test_pool_of_ether_is_seen_as_one_of_the_token_that_wraps_it() -> None:
    weth = Token(B, "WETH", 18)
    pool = ether_pool()
    view = pool.as_traded(weth)

    assert isinstance(view, WrappedEtherPool)
    assert view == WrappedEtherPool(pool, weth)
    assert (view.key, view.address, view.fee_pips) == (pool.key, pool.address, pool.fee_pips)
    assert view.tokens == (weth, pool.token1)
    with pytest.raises(UnsupportedPool, match="without a known wrapped token"):
        pool.as_traded(None)
    for plain in (v4(v4_snapshot()), v3(snapshot()), load(v2())):
        assert plain.as_traded(weth) is plain
        assert plain.as_traded(None) is plain
    other = pool.token1.address
    for way in ((ETHER_ADDRESS, other), (other, ETHER_ADDRESS), (B, B), (other, other), (B, C)):
        with pytest.raises(UnknownToken) as raised:
            view.spot_price(*way)
        assert (raised.value.token_in, raised.value.token_out) == way
    assert view.flow_to(B, other, 0.0) == pool.flow_to(ETHER_ADDRESS, other, 0.0)
    assert view.flow_to(other, B, 0.0) == pool.flow_to(other, ETHER_ADDRESS, 0.0)


@pytest.mark.parametrize("price", [MIN_SQRT_X96, MAX_SQRT_X96 - 1])
def test_prices_of_a_local_market_lie_in_the_range_of_ticks(price: int) -> None:
    assert recentred(v3(snapshot()), price).sqrt_price_x96 == price
    with pytest.raises(BadPoolSnapshot, match="leaves no room"):
        make_synthetic(sqrt_price_x96=price)
    beyond = MIN_SQRT_X96 - 1 if price == MIN_SQRT_X96 else MAX_SQRT_X96
    with pytest.raises(BadPoolSnapshot, match=f"sqrt_price_x96 {beyond} is out of range"):
        recentred(v3(snapshot()), beyond)
    with pytest.raises(BadPoolSnapshot, match=f"sqrt_price_x96 {beyond} is out of range"):
        make_synthetic(sqrt_price_x96=beyond)


@pytest.mark.parametrize(("tick", "depth"), [(0, 10**36), (-200_000, 10**31), (123_456, 10**38)])
@pytest.mark.parametrize("spacing", [1, 10, 200])
def test_local_market_has_each_band_by_its_part_of_the_depth(tick: int, depth: int, spacing: int) -> None:
    """Ticks rounded outward, liquidity down: exactly, as deep as a pool can be."""
    price = sqrt_at_tick(tick) + 7
    pool = make_synthetic(sqrt_price_x96=price, tick_spacing=spacing, depth1_raw=depth)

    end = 887_272 // spacing * spacing
    moves: dict[int, list[int]] = {}
    for half, part in ((200, 8), (1_000, 8), (2_600, 4), (7_000, 2), (2 * 887_272, 1)):
        low = max(-(-(half - tick) // spacing) * -spacing, -end)
        high = min(-(-(tick + half) // spacing) * spacing, end)
        liquidity = depth * part * Q96 // (23 * (price - sqrt_at_tick(low)))
        for at, net in ((low, liquidity), (high, -liquidity)):
            there = moves.setdefault(at, [0, 0])
            there[0] += liquidity
            there[1] += net
    assert [tuple(each) for each in pool.profile.ticks] == [(at, *moves[at]) for at in sorted(moves)]
    assert (pool.tick, pool.chain_id, pool.address) == (tick, 31_337, "0x" + "0" * 40)
    assert pool.liquidity == sum(net for at, (_, net) in moves.items() if at <= tick)


@pytest.mark.parametrize(
    ("ticks", "shift"),
    # To the nearest multiple of 60; the half goes up.
    [(29, 0), (30, 60), (89, 60), (90, 120), (-30, 0), (-31, -60), (-90, -60), (-91, -120)],
)
def test_recentred_liquidity_moves_by_the_nearest_multiple_of_the_spacing(ticks: int, shift: int) -> None:
    moved = recentred(v3(snapshot()), sqrt_at_tick(ticks))

    assert [each.at for each in moved.profile.ticks] == [shift - 60, shift + 60]
    inside = shift - 60 <= ticks < shift + 60
    assert moved.liquidity == (LIQUIDITY if inside else 0)
    assert (moved.tick, moved.sqrt_price_x96) == (ticks, sqrt_at_tick(ticks))


def test_powers_of_the_tick_are_those_of_the_contract() -> None:
    """TickMath's constants for bits 0, 1, 2 and 19, of 128 bits."""
    powers = v3_math._half_powers()
    assert len(powers) == 20
    assert [powers[k] for k in (0, 1, 2, 19)] == [
        0xFFFCB933BD6FAD37AA2D162D1A594001,
        0xFFF97272373D413259A46990580E213A,
        0xFFF2E50F5F656932EF12357CF3C7FDCC,
        0x48A170391F7DC42444E8FA2,
    ]


@pytest.mark.parametrize("liquidity", [1, 10**18, 2**128 - 1])
@pytest.mark.parametrize("price", [MIN_SQRT_X96, Q96, MAX_SQRT_X96 - 1])
def test_price_after_more_than_a_word_holds_is_found_the_shorter_way(liquidity: int, price: int) -> None:
    """SqrtPriceMath: L / (L / price + amount) up, where L * 2^96 + amount * price does not fit a word."""
    scaled = liquidity << 96
    edge = (2**256 - 1 - scaled) // price
    for net in (0, 1, 10**18, edge, edge + 1, 2**255 - 1):
        whole = scaled + net * price
        if net == 0:
            expected = price
        elif whole < 2**256:
            expected = -(-scaled * price // whole)
        else:
            expected = -(-scaled // (scaled // price + net))
        assert v3_math._price_after_token0_in(price, liquidity, net) == expected


@pytest.mark.parametrize(("decimals", "right"), [(0, True), (255, True), (256, False), (-1, False)])
def test_token_has_as_many_decimals_as_a_byte_holds(decimals: int, right: bool) -> None:
    if right:
        assert Token(A, "AAA", decimals).decimals == decimals
        return
    with pytest.raises(BadPoolSnapshot, match=f"AAA cannot have {decimals} decimals"):
        Token(A, "AAA", decimals)


# Curve: the arithmetic of the machine


def test_machine_words_with_a_sign() -> None:
    top = 2**255
    assert [signed(value) for value in (-top, 0, top - 1)] == [-top, 0, top - 1]
    for beyond in (-top - 1, top):
        with pytest.raises(Refused):
            signed(beyond)
    assert [wrapped(value) for value in (top - 1, top, -top, -top - 1, 2**256 + 5)] == [
        top - 1,
        -top,
        -top,
        top - 1,
        5,
    ]
    assert [over(*each) for each in ((7, 2), (-7, 2), (7, -2), (-7, -2), (7, 0), (-7, 0))] == [
        3,
        -3,
        -3,
        3,
        0,
        0,
    ]
    assert [maths.word(value) for value in (0, 2**256 - 1)] == [0, 2**256 - 1]
    for beyond in (-1, 2**256):
        with pytest.raises(Refused):
            maths.word(beyond)


def test_cube_root_takes_fewer_decimals_from_its_two_bounds_on() -> None:
    """The largest number that 10^36 times fits a word, and that times 10^18."""
    bound = (2**256 - 1) // 10**36
    assert cube_root(0) == 0
    assert cube_root(E18) == E18
    assert cube_root(bound - 1) % 10**6
    for x, decimals in ((bound, 6), (bound * E18 - 1, 6), (bound * E18, 12)):
        root = cube_root(x)
        assert root % 10**decimals == 0
        assert root == pytest.approx((x * 10**36) ** (1 / 3), rel=1e-9)
    assert cube_root(bound * E18 - 1) % 10**12


@pytest.mark.parametrize("version", ["ng", "ng-v2.1.0"])
def test_two_coins_are_refused_just_beyond_the_bounds_of_their_version(version: str) -> None:
    limits = TWO_LIMITS[version]
    top = 2 * 10**15 if version == "ng" else 199 * 10**15
    xp, d = (10**24, 10**24), 2 * 10**24

    def served(ann: int = 400_000, gamma: int = 10**14, d: int = d, x: int = xp[0]) -> bool:
        try:
            two_y((x, xp[1]), ann, gamma, d, 1, limits)
        except Refused:
            return False
        return True

    assert served()
    for ann, is_served in ((3_999, False), (40_000_001, False)):
        assert served(ann=ann) is is_served
    for gamma in (10**10 - 1, top + 1):
        assert not served(gamma=gamma)
    assert served(gamma=top)
    # D itself, with as much of the coin: from 10^17 to 10^33.
    assert served(d=10**17, x=10**17 // 2)
    assert not served(d=10**17 - 1, x=10**17 // 2)
    assert served(d=10**33, x=10**33 // 2)
    assert not served(d=10**33 + 1, x=10**33 // 2)
    least, most = limits.shares(10**14)
    assert (least, most) == ((2 * 10**16, 200 * E18) if version == "ng" else (10**16, 100 * E18))
    for share in (least - 1, most + 1):
        assert not served(x=-(-share * d // (2 * E18)))


def test_bounds_of_version_two_one_narrow_as_gamma_grows() -> None:
    narrow, wide = TWO_LIMITS["ng-v2.1.0"], TWO_LIMITS["ng"]
    assert narrow.shares(2 * 10**16) == (10**16, 100 * E18)
    assert narrow.shares(4 * 10**16) == (E18 * E18 // (50 * E18), 50 * E18)
    most = 100 * E18 * 2 * 10**16 // (2 * 10**16 + 1)
    assert narrow.shares(2 * 10**16 + 1) == (10**36 // most, most)
    assert narrow.bought(4 * 10**16) == (10**36 // 2 // (50 * E18), 25 * E18)
    assert wide.bought(10**15) == (10**16 - 1, 100 * E18)
    assert (narrow.after, wide.after) == ((5 * 10**15, 50 * E18), (10**16 - 1, 100 * E18))


@pytest.mark.parametrize(("first", "second"), [(10**9 - 1, 10**9 - 1), (10**20, 10**16 - 1), (10**33 + 1, 10**33)])
def test_d_of_two_coins_that_are_out_of_range_is_refused(first: int, second: int) -> None:
    for xp in ((first, second), (second, first)):
        with pytest.raises(Refused):
            two_d(xp, 400_000, 10**14, TWO_LIMITS["ng"])


def test_prices_that_stableswap_ng_cannot_note_are_refused() -> None:
    xp = [10**24, 10**24, 10**24]
    d = 3 * 10**24
    maths.check_ng_prices(xp, 30_000, d)
    for wrong in ([0, 1, 1], [1, 1, 0]):
        with pytest.raises(Refused):
            maths.check_ng_prices([10**24 * w for w in wrong], 30_000, d)
    maths.check_ng_prices([2**127] * 2, 20_000, 2**128 - 1)
    with pytest.raises(Refused):
        maths.check_ng_prices([2**127] * 2, 20_000, 2**128)


@pytest.mark.parametrize("guess", [0, 1, 36, 37, 38, 500, 10**6])
@pytest.mark.parametrize("wanted", [1, 7, 8, 100])
def test_least_amount_is_found_from_any_guess(guess: int, wanted: int) -> None:
    """Of a quote of a fifth that is refused from 600 on."""

    def quote(amount: int) -> int:
        if amount >= 600:
            raise Refused
        return amount // 5

    assert least_in(quote, wanted, guess) == 5 * wanted
    assert least_in(quote, 10**9, guess) == 600
    assert most_in(quote, 10**6) == 599
    assert most_in(quote, 600) == 599
    assert most_in(quote, 300) == 299
    assert most_in(lambda _: quote(600), 50) == 0


def test_least_amount_is_found_in_few_quotes() -> None:
    """Where the quote is a line, two secants are there; what is asked does not grow with the amount."""
    requested: list[int] = []

    def quote(amount: int) -> int:
        requested.append(amount)
        return amount * 3 // 7

    assert least_in(quote, 3 * 10**30, 7) == 7 * 10**30
    assert len(requested) < 12


# Curve: pools of coins of different worth


@pytest.mark.parametrize("name", CRYPTO)
def test_floats_lie_on_the_curve_of_the_integers(name: str) -> None:
    """In, out and the next unit's yield, on the way and from the start, in balance and off it."""
    growths = (1e-6, 0.001, 0.01, 0.1, 0.5, 1.0, 3.0)
    for pool in (crypto_pool(name), uneven(name)):
        for sold, bought in permutations(range(len(pool.tokens)), 2):
            way = pool.tokens[sold].address, pool.tokens[bought].address
            points = pool.points(*way, growths)
            assert len(points) >= 5
            for growth, (put_in, out, marginal) in zip(growths, points, strict=False):
                amount = round(put_in)
                assert put_in == pytest.approx(pool.balances[sold] * growth, rel=1e-9)
                unit = 2.0 + 2 * marginal
                assert pool.get_dy(*way, amount) == pytest.approx(out, rel=1e-7, abs=unit)
                if growth >= 0.001:
                    step = max(amount // 1_000, 1)
                    rise = pool.get_dy(*way, amount + step) - pool.get_dy(*way, amount - step)
                    assert rise / (2 * step) == pytest.approx(marginal, rel=1e-3)
            first = float(pool.spot_price(*way)) * (1 - pool.fee_e10 / 1e10)
            assert pool.first_unit(*way) == pytest.approx(first, rel=1e-8)
            assert points[0][2] == pytest.approx(first, rel=1e-3)
    empty = replace(crypto_pool(name), balances=(0,) * len(crypto_pool(name).tokens), d=0)
    assert empty.points(A, B, growths) == []
    assert empty.first_unit(A, B) == 0.0


@pytest.mark.parametrize("name", CRYPTO)
def test_points_end_where_the_contract_lets_no_more_in(name: str) -> None:
    """Or where a pool, as far as it is served, has next to nothing left to give."""
    pool = crypto_pool(name)
    growths = [0.1 * 1.5**n for n in range(40)]

    points = pool.points(A, B, growths)

    assert 0 < len(points) < len(growths)
    most, _ = pool.flow_to(A, B, 0.0)
    beyond = pool.balances[0] * growths[len(points)]
    assert points[-1][0] <= most * (1 + 1e-6)
    assert beyond > most * (1 - 1e-6)
    with pytest.raises(LiquidityExhausted):
        pool.quote_in(A, B, most + 1)
    far, out = pool.flow_to(A, B, 1e-30)
    assert far == pytest.approx(most, rel=1e-6)
    assert out == pytest.approx(pool.quote_in(A, B, most), rel=1e-6)


@pytest.mark.parametrize("name", CRYPTO)
def test_view_takes_no_amount_that_is_none_and_no_pair_that_is_none(name: str) -> None:
    pool = crypto_pool(name)
    for amount in (0, -1, 1.5):
        with pytest.raises(BadAmount):
            pool.get_dy(A, B, amount)  # type: ignore[arg-type] # what a caller may get wrong
    for ask in (
        lambda: pool.get_dy(A, A, 1),
        lambda: pool.points(A, A, [1.0]),
        lambda: pool.first_unit(A, A),
    ):
        with pytest.raises(UnknownToken):
            ask()
    assert pool.get_dy(A, B, 10**30) == 0


def test_stored_d_may_be_off_by_a_step_of_newtons_and_a_hundred_units_of_each_coin() -> None:
    pool = crypto_pool("crypto")
    # A hundred raw units at 10^12 of 18 decimals, at 10^10 and 50,000, and at 2,500.
    units = 100 * 10**12 + 100 * 10**10 * 50_000 + 100 * 2_500
    assert pool.d_slack == pool.d // 10**12 + units
    fine = replace(
        pool,
        tokens=tuple(replace(token, decimals=18) for token in pool.tokens),
        price_scale_e18=(1, 1),
    )
    assert fine.d_slack == pool.d // 10**12 + 100


def test_empty_crypto_pool_has_no_fee() -> None:
    with pytest.raises(BadPoolSnapshot, match="an empty pool has no fee"):
        _ = replace(crypto_pool("crypto"), balances=(0, 0, 0)).fee_e10


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"mid_fee_e10": 10**10 - 1, "out_fee_e10": 10**10 - 1}, True),
        ({"mid_fee_e10": 0, "out_fee_e10": 0}, True),
        ({"mid_fee_e10": 5, "out_fee_e10": 5}, True),
        ({"mid_fee_e10": 5, "out_fee_e10": 4}, False),
        ({"mid_fee_e10": 5, "out_fee_e10": 10**10}, False),
        ({"mid_fee_e10": -1}, False),
        ({"d": 0}, True),
        ({"d": -1}, False),
        ({"fee_gamma": 0}, True),
        ({"fee_gamma": -1}, False),
        ({"gamma": 1}, True),
        ({"gamma": 0}, False),
        ({"a_coefficient": 0}, False),
        ({"a_multiplier": 0}, False),
        ({"price_scale_e18": (1, 1)}, True),
        ({"price_scale_e18": (1, 0)}, False),
        ({"balances": (0, 0, 0)}, True),
        ({"balances": (0, 0, -1)}, False),
        ({"virtual_price_e18": -1}, False),
        ({"total_supply": -1}, False),
    ],
)
def test_crypto_pool_is_checked_at_its_exact_bounds(changes: dict[str, Any], right: bool) -> None:
    pool = crypto_pool("crypto")
    if right:
        assert replace(pool, **changes).key == pool.key
        return
    with pytest.raises(BadPoolSnapshot):
        replace(pool, **changes)


def test_swap_is_refused_if_shares_gain_nothing_or_are_worth_less_than_half() -> None:
    pool = crypto_pool("two_ng")
    amount = 10**9
    out, after = pool.swapped(A, B, amount)
    price = after.virtual_price_e18
    assert price > E18 - 1
    assert out > 0

    assert replace(pool, virtual_price_e18=price - 1).swapped(A, B, amount)[0] == out
    for before in (price, price + 1):
        stays = replace(pool, virtual_price_e18=before)
        assert stays.swapped(A, B, amount) == (0, stays)
        assert replace(stays, is_ramping=True).swapped(A, B, amount)[0] == out
    # As many shares as make each worth half, and more.
    for supply, is_paid in (
        (pool.total_supply * 2 * 99 // 100, True),
        (pool.total_supply * 3, False),
    ):
        thin = replace(pool, total_supply=supply, virtual_price_e18=0)
        assert (thin.swapped(A, B, amount)[0] == out) is is_paid
    unknown = replace(pool, total_supply=0)
    assert unknown.swapped(A, B, amount)[0] == out
    assert unknown.swapped(A, B, amount)[1].virtual_price_e18 == 0


# Curve: stable pools


def stables() -> list[CurveStablePool]:
    plain = stable_pool()
    ng = of_class(load(stable_ng()), CurveStablePool)
    off = replace(ng, balances=(1_700 * E18, 500 * 10**6, 600 * E18))
    flat = replace(off, offpeg_fee_multiplier_e10=0)
    third = Token(C, "CCC", 8)
    three = replace(
        plain,
        tokens=(*plain.tokens, third),
        balances=(900 * E18, 1_200 * 10**6, 800 * 10**8),
        rates=(*plain.rates, 10**28),
    )
    return [plain, ng, off, flat, three]


@pytest.mark.parametrize("pool", stables(), ids=["plain", "ng", "off", "flat", "three"])
def test_floats_of_a_stable_pool_lie_on_the_curve_of_the_integers(pool: CurveStablePool) -> None:
    growths = (1e-3, 0.01, 0.1, 0.5, 0.9, 2.0)
    for sold, bought in permutations(range(len(pool.tokens)), 2):
        way = pool.tokens[sold].address, pool.tokens[bought].address
        points = pool.points(*way, growths)
        assert len(points) == len(growths)
        for growth, (put_in, out, marginal) in zip(growths, points, strict=True):
            amount = round(put_in)
            assert put_in == pytest.approx(pool.balances[sold] * growth, rel=1e-9)
            assert pool.quote_in(*way, amount) == pytest.approx(out, rel=1e-6, abs=2 + 2 * marginal)
            step = max(amount // 200, 1)
            if growth <= 0.5:
                rise = pool.quote_in(*way, amount + step) - pool.quote_in(*way, amount - step)
                assert rise / (2 * step) == pytest.approx(marginal, rel=1e-3)
        best = float(pool.spot_price(*way)) * (1 - pool.fee_e10 / 1e10)
        for share in (0.999, 0.99, 0.8):
            amount, out = pool.flow_to(*way, best * share)
            if amount > 10**4:
                assert pool.quote_in(*way, amount) == pytest.approx(out, rel=1e-6, abs=2 + 2 * best)
                step = amount // 100
                after = pool.quote_in(*way, amount + step) - pool.quote_in(*way, amount)
                assert after <= step * best * share * (1 + 1e-4) + 2 + 2 * best
        assert pool.flow_to(*way, best * 1.0001) == (0, 0)
    empty = replace(pool, balances=(0,) * len(pool.tokens))
    assert empty.points(A, B, growths) == []


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"a_coefficient": 1}, True),
        ({"a_coefficient": 10**6}, True),
        ({"a_coefficient": 10**6 + 1}, False),
        ({"a_coefficient": 0}, False),
        ({"fee_e10": 0}, True),
        ({"fee_e10": 10**10}, True),
        ({"fee_e10": 10**10 + 1}, False),
        ({"admin_fee_e10": 10**10}, True),
        ({"admin_fee_e10": 10**10 + 1}, False),
        ({"balances": (0, 0)}, True),
        ({"balances": (0, -1)}, False),
        ({"rates": (1, 1)}, True),
        ({"rates": (1, 0)}, False),
        ({"math_version": "ng", "a_coefficient": 100}, True),
        ({"math_version": "ng", "a_coefficient": 99}, False),
        ({"math_version": "ng", "a_coefficient": 10**8}, True),
        ({"math_version": "ng", "a_coefficient": 10**8 + 1}, False),
        ({"offpeg_fee_multiplier_e10": 1}, False),
        ({"math_version": "ng", "offpeg_fee_multiplier_e10": 25 * 10**12}, True),
        ({"math_version": "ng", "offpeg_fee_multiplier_e10": 25 * 10**12 + 1}, False),
    ],
)
def test_stable_pool_is_checked_at_its_exact_bounds(changes: dict[str, Any], right: bool) -> None:
    """The fee is 4 * 10^6 of 10^10, so that 2,500 times it is all."""
    pool = stable_pool()
    if right:
        assert replace(pool, **changes).key == pool.key
        return
    with pytest.raises(BadPoolSnapshot):
        replace(pool, **changes)


@pytest.mark.parametrize(("count", "right"), [(1, False), (2, True), (8, True), (9, False)])
def test_stable_pool_has_two_to_eight_coins(count: int, right: bool) -> None:
    coins = tuple(Token(f"0x{n:040x}", f"T{n}", 18) for n in range(1, count + 1))

    def make() -> CurveStablePool:
        return CurveStablePool(C, coins, (E18,) * count, 100, 0, 0)

    if right:
        assert make().rates == (E18,) * count
        assert make().invariant == count * E18
    else:
        with pytest.raises(BadPoolSnapshot, match="2 to 8 different coins"):
            make()


def test_stable_pool_moves_without_a_log_by_a_ramp_or_by_rates_from_outside() -> None:
    pool = stable_pool()
    assert not pool.moves
    assert replace(pool, is_ramping=True).moves
    assert replace(pool, rates=(pool.rates[0] + 1, pool.rates[1])).moves
    fine = Token(A, "FINE", 36)
    assert not replace(pool, tokens=(fine, pool.tokens[1]), rates=()).moves
    assert replace(pool, tokens=(fine, pool.tokens[1]), rates=()).rates == (1, 10**30)


def test_spot_price_of_a_stable_pool_is_the_slope_of_its_invariant() -> None:
    """By the change of what the other holds for a small part in, which both directions agree on."""
    for pool in stables():
        for sold, bought in permutations(range(len(pool.tokens)), 2):
            way = pool.tokens[sold].address, pool.tokens[bought].address
            spot = pool.spot_price(*way)
            assert spot * pool.spot_price(*way[::-1]) == 1
            free = replace(pool, fee_e10=0, offpeg_fee_multiplier_e10=0)
            amount = pool.balances[sold] // 10**4
            assert free.quote_in(*way, amount) / amount == pytest.approx(float(spot), rel=1e-3)
    assert stable_pool(balances=[0, 0]).spot_price(A, B) == Fraction(0)


def test_d_of_three_coins_is_served_within_its_bounds_alone() -> None:
    """For the closed form and for Newton's method alike: D from 10^17 to 10^33, balances a hundredth of it to a hundred times it."""
    ways = (
        lambda xp, d: cubic_y(xp, 1_707_629, 11_809_167_828_997, d, 2),
        lambda xp, d: maths.crypto_y(xp, 3_645, 1, 7 * 10**13, d, 2),
    )
    for find in ways:

        def served(d: int, one: int, other: int, find: Any = find) -> bool:
            try:
                find((one, other, 0), d)
            except Refused:
                return False
            return True

        for d in (10**17, 3 * 10**24, 10**33):
            assert served(d, d // 3, d // 3)
        for d in (10**17 - 1, 10**33 + 1):
            assert not served(d, d // 3, d // 3)
        d = 3 * 10**24
        for far in (d // 100 - 1, 0, 100 * d + d // 10**17):
            assert not served(d, far, d // 3)
            assert not served(d, d // 3, far)
    for share, is_share in (
        (10**16 - 1, False),
        (10**16, True),
        (10**20, True),
        (10**20 + 1, False),
    ):
        assert maths.is_share(share, E18) is is_share


def test_words_that_a_reader_is_told_are_those_of_the_pool() -> None:
    raised = C.upper().replace("X", "x")
    assert replace(v4(v4_snapshot()), manager=raised).manager == C
    assert replace(v4(v4_snapshot()), manager=raised) == v4(v4_snapshot())
    with pytest.raises(BadPoolSnapshot, match="must be below"):
        load(v2(tokens=[quoted(A), quoted(A)]))
    for tokens in ([quoted(A), 7], [7, quoted(A)]):
        with pytest.raises(BadPoolSnapshot, match="tokens is not a list of objects"):
            load(v2(tokens=tokens))


def test_recentred_pool_keeps_what_covers_the_very_ends() -> None:
    ends = {"-887272": [5, 5, 0], "887272": [5, -5, 0]}
    pool = v3(snapshot(tick_spacing=1, tick_data=ends, liquidity=5))

    moved = recentred(pool, sqrt_at_tick(1_000))

    assert [each.at for each in moved.profile.ticks] == [-887_272, 887_272]
    assert moved.liquidity == 5


def test_file_of_a_pool_is_read_up_to_its_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pool.json"
    save_pool(v3(snapshot()), path)
    size = path.stat().st_size
    monkeypatch.setattr(files, "_MOST_BYTES", size)
    assert load_pool(path) == v3(snapshot())
    monkeypatch.setattr(files, "_MOST_BYTES", size - 1)
    with pytest.raises(BadPoolSnapshot) as refusal:
        load_pool(path)
    assert refusal.value.source == str(path)


@pytest.mark.parametrize("name", ["crypto", "crypto_ng"])
def test_swap_too_small_for_a_unit_out_is_kept_whole(name: str) -> None:
    """A millionth of a dollar is no unit of bitcoin, and the contract takes it."""
    pool = replace(crypto_pool(name), virtual_price_e18=0)

    out, after = pool.swapped(A, B, 1)

    assert out == 0
    assert after.balances == (pool.balances[0] + 1, *pool.balances[1:])
    assert after.d >= pool.d


@pytest.mark.parametrize("name", CRYPTO)
def test_crypto_pool_that_lacks_a_coin_refuses_all_swaps_of_every_pair(name: str) -> None:
    pool = crypto_pool(name)
    for missing in range(len(pool.tokens)):
        balances = tuple(0 if k == missing else b for k, b in enumerate(pool.balances))
        lacking = replace(pool, balances=balances)
        for sold, bought in permutations(pool.tokens, 2):
            with pytest.raises(LiquidityExhausted) as refusal:
                lacking.quote_in(sold.address, bought.address, 10**6)
            assert refusal.value.possible_raw == 0
            assert lacking.flow_to(sold.address, bought.address, 0.0) == (0, 0)
            assert lacking.flow_to(sold.address, bought.address, 1e-9) == (0, 0)
            assert lacking.spot_price(sold.address, bought.address) == 0


def test_share_may_be_worth_exactly_a_half() -> None:
    pool = replace(crypto_pool("two_ng"), virtual_price_e18=0)
    alone = replace(pool, total_supply=1).swapped(A, B, 10**9)[1]
    mean = alone.virtual_price_e18 // E18

    half = replace(pool, total_supply=2 * mean).swapped(A, B, 10**9)
    less = replace(pool, total_supply=2 * mean + 1)

    assert half[1].virtual_price_e18 == E18 // 2
    assert half[0] > 0
    assert less.swapped(A, B, 10**9) == (0, less)


def test_every_pool_has_its_key() -> None:
    for pool in (v3(snapshot()), load(v2()), crypto_pool("crypto"), stable_pool()):
        assert pool.key == pool.address
    assert v3(snapshot()).key == C


def test_d_of_tricrypto_is_worked_out_of_balances_within_its_bounds() -> None:
    """The largest from 10^9 to 10^33."""

    def served(x: int) -> bool:
        try:
            return maths.crypto_d((x, x, x), 3_645, 1, 7 * 10**13) > 0
        except Refused:
            return False

    for x, is_served in ((10**9 - 1, False), (10**9, True), (10**33, True), (10**33 + 1, False)):
        assert served(x) is is_served
    assert crypto_pool("crypto").a_multiplier == 1, "where a file does not tell it"


@pytest.mark.parametrize(("tick", "has_room"), [(-887_270, False), (-887_269, True), (887_269, True), (887_270, False)])
def test_local_market_has_room_on_both_sides_of_its_price(tick: int, has_room: bool) -> None:
    """Of a spacing of 10 the last ticks are 887,270 away."""
    why = ""
    try:
        make_synthetic(sqrt_price_x96=sqrt_at_tick(tick), depth1_raw=10**6)
    except BadPoolSnapshot as refusal:
        why = str(refusal)
    assert ("leaves no room" not in why) is has_room


def test_amount_and_its_rate_fill_half_a_word_at_most() -> None:
    for pool in (stable_pool(), stable_pool(rates=[2 * E18, 10**30])):
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_in(A, B, 2**255 - 1)
        held = pool.balances[0] * pool.rates[0] // E18
        assert refusal.value.possible_raw == (2**256 - 1 - held) // pool.rates[0] // 2
    # Of a coin so fine that its rate is one, with what is there an amount no longer than any may be.
    fine = stable_pool(tokens=[quoted(A, 36), quoted(B, 6)], balances=[10**39, 10**9])
    with pytest.raises(LiquidityExhausted) as refusal:
        fine.quote_in(A, B, 2**255 - 1)
    assert refusal.value.possible_raw == 2**255 - 1 - 10**39


def test_crypto_swap_that_buys_less_than_nothing_pays_nothing_and_changes_nothing() -> None:
    """A unit worth less than one of the first coin's scaled units moves no balance, and rounding is the pool's."""
    pool = crypto_pool("crypto")
    cheap = replace(
        pool,
        price_scale_e18=(pool.price_scale_e18[0], E18 // 10),
        balances=(*pool.balances[:2], 10**7 * E18),
    )
    cheap = replace(cheap, d=cheap.fresh_d)

    assert cheap.d > 0
    for bought in (A, B):
        assert cheap.quote_in(C, bought, 1) == 0
        assert cheap.get_dy(C, bought, 1) == 0
        assert cheap.swapped(C, bought, 1) == (0, cheap)


@pytest.mark.parametrize("name", ["crypto", "crypto_ng"])
def test_nothing_flows_out_of_a_coin_that_is_too_small_a_part_of_d_already(name: str) -> None:
    pool = crypto_pool(name)
    thin = replace(pool, balances=(pool.balances[0], pool.balances[1] // 60, pool.balances[2]))

    assert thin.flow_to(A, B, 1e-12) == (0, 0)
    assert thin.points(A, B, [0.001, 1.0]) == []
    assert thin.flow_to(B, A, 1e-12)[0] > 0


@pytest.mark.parametrize("name", CRYPTO)
def test_flow_at_no_price_is_the_most_to_the_unit(name: str) -> None:
    pool = crypto_pool(name)
    with pytest.raises(LiquidityExhausted) as refusal:
        pool.quote_in(A, B, 10**60)
    most = refusal.value.possible_raw

    assert pool.flow_to(A, B, 0.0) == pool.flow_to(A, B, -1.0) == (most, pool.quote_in(A, B, most))
