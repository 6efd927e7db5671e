"""Snapshots that are refused and why, hand-checked quotes, and the real WBTC/WETH pool."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from rebalancer.errors import (
    BadAmount,
    BadPoolSnapshot,
    LiquidityExhausted,
    UnknownToken,
    UnsupportedPool,
)
from rebalancer.pool_files import load_pool, save_pool
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    VENUES,
    InitializedTick,
    Pool,
    TickProfile,
    Token,
    UniswapV3Pool,
    UniswapV4Pool,
    load,
    of_class,
    recentred,
    synthetic,
)
from rebalancer.venues.pancakeswap_v3 import PancakeSwapV3Pool
from rebalancer.venues.uniswap_v3_math import (
    MAX_SQRT_X96,
    MAX_TICK,
    MIN_SQRT_X96,
    MIN_TICK,
    Q96,
    sqrt_at_tick,
    tick_at_sqrt,
)
from rebalancer.venues.uniswap_v4 import pool_id

A = "0x" + "Aa" * 20
B = "0x" + "bB" * 20
C = "0x" + "cc" * 20
TOKEN0, TOKEN1 = Token(A, "AAA", 18), Token(B, "BBB", 18)
LIQUIDITY = 10**18


def snapshot(**changes: Any) -> dict[str, Any]:
    """One position of 10^18 over ticks -60 … 60 with the price at 1."""
    whole: dict[str, Any] = {
        "chain_id": 1,
        "block": 7,
        "pool": C,
        "name": "AAA/BBB",
        "scalars": {
            "fee": 3_000,
            "tick_spacing": 60,
            "sqrt_price_x96": Q96,
            "tick": 0,
            "liquidity": LIQUIDITY,
        },
        "tick_data": {
            "60": [LIQUIDITY, -LIQUIDITY, 7],
            "-60": [LIQUIDITY, LIQUIDITY, 7],
        },
        "token0": {"address": A, "name": "Token A", "symbol": "AAA", "decimals": 18},
        "token1": {"address": B, "name": "Token B", "symbol": "BBB", "decimals": 18},
    }
    for key, value in changes.items():
        if key in whole["scalars"]:
            whole["scalars"][key] = value
        else:
            whole[key] = value
    return whole


def pancake_snapshot(**changes: Any) -> dict[str, Any]:
    """The same of PancakeSwap V3."""
    whole = snapshot(**changes)
    return whole | {"pancakeswap_pool": whole.pop("pool")}


def without(*path: str) -> dict[str, Any]:
    """The snapshot with one key taken out."""
    whole = snapshot()
    place = whole
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return whole


def v3(source: Any) -> UniswapV3Pool:
    """The V3 pool in a snapshot."""
    return of_class(load(source), UniswapV3Pool)


def v4(source: Any) -> UniswapV4Pool:
    """The V4 pool in a snapshot."""
    return of_class(load(source), UniswapV4Pool)


@pytest.fixture
def pool() -> UniswapV3Pool:
    return v3(snapshot())


@pytest.mark.parametrize(
    "path",
    [
        ("scalars",),
        ("tick_data",),
        ("token0",),
        ("token1",),
        ("chain_id",),
        ("block",),
        ("name",),
        ("scalars", "fee"),
        ("scalars", "tick_spacing"),
        ("scalars", "sqrt_price_x96"),
        ("scalars", "tick"),
        ("scalars", "liquidity"),
        ("token0", "address"),
        ("token0", "symbol"),
        ("token1", "decimals"),
    ],
    ids="/".join,
)
def test_load_with_a_key_missing_is_refused(path: tuple[str, ...]) -> None:
    with pytest.raises(BadPoolSnapshot, match=f"{path[-1]} is missing"):
        load(without(*path))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"liquidity": LIQUIDITY + 1}, "is not the sum of liquidity_net"),
        ({"tick": 1}, "tick 1 is not that of the price, 0"),
        ({"tick": -2}, "tick -2 is not that of the price, 0"),
        ({"sqrt_price_x96": Q96 + 1, "tick": -1}, "tick -1 is not that of the price, 0"),
        ({"sqrt_price_x96": MIN_SQRT_X96 - 1}, "out of range"),
        ({"sqrt_price_x96": MAX_SQRT_X96}, "out of range"),
        ({"fee": 1_000_000}, "fee 1000000 is not in"),
        ({"fee": -1}, "fee -1 is not in"),
        ({"fee": "3000"}, "fee is not a whole number"),
        ({"fee": True}, "fee is not a whole number"),
        ({"fee": 0.3}, "fee is not a whole number"),
        ({"tick_spacing": 0}, "tick spacing 0"),
        ({"tick_spacing": 16_384}, "tick spacing 16384"),
        ({"tick_spacing": 50}, "tick -60 is not a multiple of spacing 50"),
        ({"tick_data": {"-60": [1, 1, 0]}}, "sums to 1, not to 0"),
        ({"tick_data": {"-60": [1, -1, 0], "60": [1, 1, 0]}}, "above tick -60 would be -1"),
        ({"tick_data": {"-60": [1, 2, 0], "60": [2, -2, 0]}}, "gross 1, net 2"),
        ({"tick_data": {"-60": [0, 0, 0]}}, "gross 0, net 0"),
        ({"tick_data": {"-60": [3, 2, 0], "60": [2, -2, 0]}}, "gross 3, net 2"),
        ({"tick_data": {"-60": [2**128, 2**128, 0]}}, "would be"),
        ({"tick_data": {"-887280": [1, 1, 0], "60": [1, -1, 0]}}, "tick -887280 is out of"),
        ({"tick_data": {"60": [1, 1, 0], "887280": [1, -1, 0]}}, "tick 887280 is out of"),
        ({"tick_data": {"x": [1, 1, 0]}}, "'x' is not a tick"),
        ({"tick_data": {"-60": [1]}}, "tick -60 is not"),
        ({"tick_data": {"-60": ["1", "1", 0]}}, "tick -60 is not"),
        ({"tick_data": {"-60": None}}, "tick -60 is not"),
        ({"tick_data": []}, "tick_data is not an object"),
        ({"tick_data": {"60": [1, 1, 0], "060": [3, -1, 0]}}, "tick 60 is out of order"),
        ({"scalars": 7}, "scalars is not an object"),
        ({"name": 7}, "name is not a text"),
        ({"pool": "0x12"}, "not an address"),
        ({"token0": {"address": "AAA", "symbol": "A", "decimals": 1}}, "not an address"),
        ({"token0": {"address": B, "symbol": "A", "decimals": 1}}, "must be below"),
        ({"token0": {"address": C, "symbol": "A", "decimals": 1}}, "must be below"),
        ({"token0": {"address": A, "symbol": "A", "decimals": 256}}, "256 decimals"),
    ],
)
def test_load_what_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(snapshot(**changes))


@pytest.mark.parametrize(("text", "why"), [("", "is not JSON"), ("{", "is not JSON"), ("[1]", "JSON object")])
def test_load_a_file_that_is_no_snapshot_names_the_file(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(BadPoolSnapshot, match=why) as refusal:
        load_pool(path)
    assert refusal.value.source == str(path)
    assert str(path) in str(refusal.value)


def test_load_a_file_that_contradicts_itself_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    path.write_text(json.dumps(snapshot(liquidity=1)))
    with pytest.raises(BadPoolSnapshot, match="sum of liquidity_net") as refusal:
        load_pool(str(path))
    assert refusal.value.source == str(path)


def test_load_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPoolSnapshot, match="No such file"):
        load_pool(tmp_path / "nowhere.json")


def test_load_an_unknown_shape_says_what_is_expected() -> None:
    with pytest.raises(
        BadPoolSnapshot,
        match=f"one of {', '.join(venue.snapshot_key for venue in VENUES)} is expected",
    ):
        load({"liquidity": [1, 2]})


# PancakeSwap V3


def test_pool_of_pancakeswap_is_one_of_uniswap_v3_by_another_name(tmp_path: Path) -> None:
    twin, one = v3(snapshot()), v3(pancake_snapshot())

    assert type(one) is PancakeSwapV3Pool
    assert one != twin
    for way in ((A, B), (B, A)):
        assert one.quote_in(*way, 10**15) == twin.quote_in(*way, 10**15)
        assert one.quote_out(*way, 10**15) == twin.quote_out(*way, 10**15)
        out, after = one.swapped(*way, 10**15)
        assert (out, type(after)) == (twin.swapped(*way, 10**15)[0], PancakeSwapV3Pool)
        assert one.flow_to(*way, 0.99) == twin.flow_to(*way, 0.99)
    assert (one.kind, twin.kind) == ("PancakeSwap V3", "Uniswap V3")
    assert one.ref == replace(twin.ref, venue="pancakeswap-v3")
    save_pool(one, tmp_path / "one.json")
    assert load_pool(tmp_path / "one.json") == one


# Uniswap V4


def v4_snapshot(**changes: Any) -> dict[str, Any]:
    """The same position as `snapshot`, in PoolManager."""
    fees = {"protocol_fee_zero_for_one": 0, "protocol_fee_one_for_zero": 0}
    whole = {**snapshot(), "pool_manager": C, "pool_id": pool_id(A, B, 3_000, 60)}
    whole["scalars"] |= fees
    del whole["pool"]
    for key, value in changes.items():
        place = whole["scalars"] if key in whole["scalars"] else whole
        place[key] = value
    return whole


def test_id_of_a_v4_pool_is_mainnets() -> None:
    """Ether and USDC at 0.05 %, as the Uniswap V4 pool of most volume is known on mainnet."""
    usdc = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
    known = "0x21c67e77068de97969ba93d4aab21826d33ca12bb9f565d8496e8fda8a82ca27"

    assert pool_id("0x" + "0" * 40, usdc, 500, 10) == known


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pool_id": "0x" + "12" * 32}, "without hooks"),
        ({"fee": 0x800000}, "without hooks"),
        ({"protocol_fee_zero_for_one": 1_001}, "protocol fee 1001 is not in 0 … 1000"),
        ({"protocol_fee_one_for_zero": -1}, "protocol fee -1 is not in 0 … 1000"),
        ({"liquidity": 1}, "liquidity 1 is not the sum"),
        ({"pool_manager": "0x12"}, "is not an address"),
    ],
)
def test_load_a_v4_pool_that_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(v4_snapshot(**changes))


def test_load_a_pool_of_v3_where_one_of_v4_is_wanted_is_refused() -> None:
    with pytest.raises(UnsupportedPool, match="Uniswap V3"):
        v4(snapshot())


def test_v4_pool_quotes_and_moves_as_one_of_v3() -> None:
    pool, twin = v4(v4_snapshot()), v3(snapshot())
    checked: Pool = pool
    assert (checked.address, pool.tokens, pool.fee_pips) == (C, twin.tokens, 3_000)

    for way in ((A, B), (B, A)):
        out, after = pool.swapped(*way, 10**15)
        twins_out, twin_after = twin.swapped(*way, 10**15)
        assert out == pool.quote_in(*way, 10**15) == twins_out
        assert (after.sqrt_price_x96, after.tick) == (twin_after.sqrt_price_x96, twin_after.tick)
        assert pool.quote_out(*way, 10**15) == twin.quote_out(*way, 10**15)
        assert pool.flow_to(*way, 0.99) == twin.flow_to(*way, 0.99)
        assert pool.spot_price(*way) == 1
    with pytest.raises(UnknownToken):
        pool.quote_in(A, C, 1)


def test_v4_protocol_fee_comes_off_first_in_its_direction() -> None:
    fees = {"protocol_fee_zero_for_one": 1_000, "protocol_fee_one_for_zero": 250}
    pool = v4(v4_snapshot(**fees))
    # 1000 + 3000 - 1000 * 3000 / 10^6, and 250 + 3000 - 250 * 3000 / 10^6, in millionths
    down, up = (
        UniswapV3Pool(C, *pool.tokens, replace(pool.profile, fee_pips=fee), Q96, 0, LIQUIDITY) for fee in (3_997, 3_250)
    )

    assert pool.quote_in(A, B, 10**15) == down.quote_in(A, B, 10**15)
    assert pool.quote_in(B, A, 10**15) == up.quote_in(B, A, 10**15)
    assert pool.fee_pips == 3_250


def test_v4_amount_that_pool_manager_cannot_book_is_refused() -> None:
    ends = (
        InitializedTick(-887_220, 1 << 127, 1 << 127),
        InitializedTick(887_220, 1 << 127, -(1 << 127)),
    )
    profile = TickProfile(3_000, 60, ends)
    pool = UniswapV4Pool(C, TOKEN0, TOKEN1, profile, Q96, 0, 1 << 127)

    with pytest.raises(BadAmount, match=r"1 to 2\^127 - 1"):
        pool.quote_in(A, B, 1 << 127)
    # 2^126 out would want twice as much in and a fee.
    with pytest.raises(BadAmount, match=r"1 to 2\^127 - 1"):
        pool.quote_out(A, B, 1 << 126)
    assert pool.quote_in(A, B, (1 << 127) - 1) < 1 << 127


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT_RAW + 1, 1.5, None])
def test_quote_no_tradable_amount_is_refused(pool: UniswapV3Pool, amount: Any) -> None:
    for quote in (pool.quote_in, pool.quote_out, pool.swapped):
        with pytest.raises(BadAmount) as refusal:
            quote(A, B, amount)
        assert refusal.value.amount_raw == amount


@pytest.mark.parametrize(("token_in", "token_out"), [(A, A), (B, B), (A, C), (C, B), ("", A)])
def test_quote_a_pair_of_no_pool_is_refused(pool: UniswapV3Pool, token_in: str, token_out: str) -> None:
    asks: list[Callable[[], object]] = [
        lambda: pool.quote_in(token_in, token_out, 1),
        lambda: pool.quote_out(token_in, token_out, 1),
        lambda: pool.spot_price(token_in, token_out),
        lambda: pool.flow_to(token_in, token_out, 1.0),
        lambda: pool.swapped(token_in, token_out, 1),
    ]
    for ask in asks:
        with pytest.raises(UnknownToken) as refusal:
            ask()
        assert (refusal.value.token_in, refusal.value.token_out) == (token_in, token_out)


@pytest.mark.parametrize(("token_in", "token_out"), [(A, B), (B, A)])
def test_quote_more_than_there_is_says_how_much_there_is(pool: UniswapV3Pool, token_in: str, token_out: str) -> None:
    with pytest.raises(LiquidityExhausted) as asked_in:
        pool.quote_in(token_in, token_out, MAX_AMOUNT_RAW)
    possible = asked_in.value.possible_raw
    assert asked_in.value.token == token_in.lower()
    assert asked_in.value.required_raw == MAX_AMOUNT_RAW
    most_out = pool.quote_in(token_in, token_out, possible)
    with pytest.raises(LiquidityExhausted):
        pool.quote_in(token_in, token_out, possible + 1)

    with pytest.raises(LiquidityExhausted) as asked_out:
        pool.quote_out(token_in, token_out, most_out + 1)
    assert asked_out.value.token == token_out.lower()
    assert asked_out.value.possible_raw == most_out
    assert pool.quote_out(token_in, token_out, most_out) == possible
    # To the end of the position: L * (1 - 1.0001^-30), by hand from the definition of a tick.
    assert most_out == LIQUIDITY * (Q96 - sqrt_at_tick(-60)) // Q96 == 2_995_354_955_910_780


def test_quote_in_a_pool_without_liquidity_is_exhausted() -> None:
    empty = v3(snapshot(liquidity=0, tick_data={}))
    for ask in (empty.quote_in, empty.quote_out):
        with pytest.raises(LiquidityExhausted) as refusal:
            ask(A, B, 1)
        assert refusal.value.possible_raw == 0
    assert empty.flow_to(A, B, 0.0) == (0, 0)


def whole_range(sqrt_x96: int, tick: int) -> UniswapV3Pool:
    """Liquidity up to the very last ticks, which only a spacing of 1 has."""
    ticks = {str(MIN_TICK): [1, 1, 0], str(MAX_TICK): [1, -1, 0]}
    return v3(snapshot(sqrt_price_x96=sqrt_x96, tick=tick, tick_spacing=1, liquidity=1, tick_data=ticks))


@pytest.mark.parametrize("at_end", [MIN_SQRT_X96, MAX_SQRT_X96 - 1])
def test_quote_from_an_end_of_the_range_is_exhausted_beyond_it(at_end: int) -> None:
    """The price can be at the very end, from where the contract swaps only back."""
    ended = whole_range(at_end, tick_at_sqrt(at_end))
    beyond = (A, B) if at_end == MIN_SQRT_X96 else (B, A)
    with pytest.raises(LiquidityExhausted) as refusal:
        ended.quote_in(*beyond, 10**40)
    assert refusal.value.possible_raw == 0
    assert ended.quote_in(*beyond[::-1], 10**18) > 0


@pytest.mark.parametrize(
    ("way", "end_x96", "end_tick"),
    [((A, B), MIN_SQRT_X96 + 1, MIN_TICK), ((B, A), MAX_SQRT_X96 - 1, MAX_TICK - 1)],
    ids=["down", "up"],
)
def test_swap_to_an_end_of_the_range_stops_before_its_tick(way: tuple[str, str], end_x96: int, end_tick: int) -> None:
    pool = whole_range(Q96, 0)
    possible, _ = pool.flow_to(*way, 0.0)
    _, ended = pool.swapped(*way, possible)

    assert (ended.sqrt_price_x96, ended.tick, ended.liquidity) == (end_x96, end_tick, 1)
    with pytest.raises(LiquidityExhausted):
        ended.quote_in(*way, 1)


def test_quote_in_by_hand(pool: UniswapV3Pool) -> None:
    # 10^15 in; 997 * 10^12 after the fee; x' = L / (1 + net / L); out = L * (1 - 1 / 1.000997).
    assert pool.quote_in(A, B, 10**15) == 996_006_981_039_903
    assert pool.quote_in(B, A, 10**15) == 996_006_981_039_903


def test_quote_out_by_hand(pool: UniswapV3Pool) -> None:
    # L / (1 - 10^15 / L) - L = 1001001001001001.001…, up; / 0.997 = 1004013040121366.1, up.
    assert pool.quote_out(A, B, 10**15) == 1_004_013_040_121_367
    assert pool.quote_out(B, A, 10**15) == 1_004_013_040_121_367


def test_quote_one_raw_unit_is_all_fee(pool: UniswapV3Pool) -> None:
    assert pool.quote_in(A, B, 1) == 0
    assert pool.swapped(A, B, 1)[1].sqrt_price_x96 == Q96
    # A little more than 1 net of the fee, up: 2; its fee of 0.006, up: 1.
    assert pool.quote_out(A, B, 1) == 3


def test_tokens_in_any_case_mean_the_same(pool: UniswapV3Pool) -> None:
    assert pool.quote_in(A.lower(), B.upper().replace("X", "x"), 10**15) == pool.quote_in(A, B, 10**15)
    assert pool.tokens == (TOKEN0, TOKEN1)
    assert pool.token0.address == A.lower()


def test_swap_to_the_very_end_of_a_position_crosses_its_tick(pool: UniswapV3Pool) -> None:
    possible, _ = pool.flow_to(A, B, 0.0)
    _, after = pool.swapped(A, B, possible)

    assert after.sqrt_price_x96 == sqrt_at_tick(-60)
    assert after.tick == -61
    assert after.liquidity == 0
    assert load(after.to_json()) == after
    received, back = after.swapped(B, A, 10**12)
    assert received > 0
    assert back.liquidity == LIQUIDITY


def test_swap_down_from_a_word_edge_takes_the_tick_below_even_if_the_price_stays(
    pool: UniswapV3Pool,
) -> None:
    """Tick 0 starts a word of the bitmap, where a falling swap stops, crosses and goes on."""
    _, after = pool.swapped(A, B, 1)

    assert (after.sqrt_price_x96, after.tick) == (Q96, -1)
    assert after.quote_in(B, A, 10**15) == pool.quote_in(B, A, 10**15)


def test_swap_leaves_the_pool_it_started_from_alone(pool: UniswapV3Pool) -> None:
    before = pool.to_json()
    _, after = pool.swapped(A, B, 10**15)

    assert after != pool
    assert after.sqrt_price_x96 < pool.sqrt_price_x96
    assert pool.to_json() == before


def test_spot_price_is_exact_and_inverts(pool: UniswapV3Pool) -> None:
    _, moved = pool.swapped(B, A, 10**15)

    assert pool.spot_price(A, B) == 1
    assert moved.spot_price(A, B) == Fraction(moved.sqrt_price_x96**2, 2**192)
    assert moved.spot_price(B, A) == 1 / moved.spot_price(A, B)


def test_save_then_load_gives_the_same_pool(pool: UniswapV3Pool, tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    save_pool(pool, path)

    assert load_pool(path) == pool
    assert load_pool(str(path)).quote_in(A, B, 10**15) == pool.quote_in(A, B, 10**15)


def test_snapshots_with_the_same_ticks_share_their_sums(pool: UniswapV3Pool) -> None:
    assert v3(snapshot(block=8)).profile is pool.profile


def test_a_pool_on_paper_is_a_pool(pool: UniswapV3Pool) -> None:
    as_pool: Pool = pool
    assert as_pool.fee_pips == 3_000


@pytest.mark.parametrize(
    ("tick", "sqrt_x96"),
    [
        (MIN_TICK, 4_295_128_739),
        (-1, 79_224_201_403_219_477_170_569_942_574),
        (0, 2**96),
        (1, 79_232_123_823_359_799_118_286_999_568),
        (MAX_TICK, 1_461_446_703_485_210_103_287_273_052_203_988_822_378_723_970_342),
    ],
)
def test_sqrt_at_tick_is_the_contracts_constant(tick: int, sqrt_x96: int) -> None:
    sqrt_at_tick.cache_clear()
    assert sqrt_at_tick(tick) == sqrt_x96


@pytest.mark.parametrize("tick", [MIN_TICK - 1, MAX_TICK + 1])
def test_sqrt_at_tick_out_of_range_is_a_mistake(tick: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        sqrt_at_tick(tick)


@pytest.mark.parametrize("sqrt_x96", [MIN_SQRT_X96 - 1, MAX_SQRT_X96])
def test_tick_at_sqrt_out_of_range_is_a_mistake(sqrt_x96: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        tick_at_sqrt(sqrt_x96)


def make_synthetic(**changes: Any) -> UniswapV3Pool:
    settings: dict[str, Any] = {
        "fee_pips": 500,
        "tick_spacing": 10,
        "sqrt_price_x96": sqrt_at_tick(-200_000) + 12_345,
        "depth1_raw": 10**15,
    }
    return synthetic(TOKEN0, TOKEN1, **{**settings, **changes})


def test_synthetic_pool_holds_the_depth_on_both_sides() -> None:
    pool = make_synthetic()
    price = pool.spot_price(A, B)
    _, most1 = pool.flow_to(A, B, 0.0)
    _, most0 = pool.flow_to(B, A, 0.0)

    assert 10**15 * 999 // 1000 <= most1 <= 10**15
    assert 0.9 < most0 * price / most1 < 1.2
    # Most of the depth lies within a tenth of the price.
    _, near1 = pool.flow_to(A, B, float(price) * 0.9)
    assert near1 > 0.5 * most1
    assert len(pool.profile.ticks) == 10


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"depth1_raw": 0}, BadAmount, "not an amount"),
        ({"depth1_raw": 1, "sqrt_price_x96": sqrt_at_tick(400_000)}, BadPoolSnapshot, "too small"),
        ({"sqrt_price_x96": 1}, BadPoolSnapshot, "out of range"),
        ({"sqrt_price_x96": MIN_SQRT_X96}, BadPoolSnapshot, "no room"),
        ({"tick_spacing": 0}, BadPoolSnapshot, "tick spacing 0"),
        ({"fee_pips": 1_000_000}, BadPoolSnapshot, "fee 1000000"),
        ({"depth1_raw": 2**200}, BadPoolSnapshot, "liquidity above tick"),
    ],
)
def test_synthetic_pool_of_bad_settings_is_refused(changes: dict[str, Any], error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        make_synthetic(**changes)


def test_recentred_to_the_same_price_changes_nothing(pool: UniswapV3Pool) -> None:
    assert recentred(pool, pool.sqrt_price_x96) == pool


def test_recentred_to_a_price_out_of_range_is_refused(pool: UniswapV3Pool) -> None:
    with pytest.raises(BadPoolSnapshot, match="out of range"):
        recentred(pool, MAX_SQRT_X96)


def test_recentred_keeps_what_covers_all_prices_and_drops_what_leaves_them() -> None:
    pool = v3(
        snapshot(
            tick_data={
                "-887220": [3, 3, 0],
                "-60": [LIQUIDITY, LIQUIDITY, 0],
                "60": [LIQUIDITY, -LIQUIDITY, 0],
                "800040": [9, 9, 0],
                "800100": [9, -9, 0],
                "887220": [3, -3, 0],
            },
            liquidity=LIQUIDITY + 3,
        )
    )
    moved = recentred(pool, sqrt_at_tick(120_010))

    assert moved.tick == 120_010
    assert moved.liquidity == LIQUIDITY + 3
    assert [tuple(tick) for tick in moved.profile.ticks] == [
        (-887_220, 3, 3),
        (119_940, LIQUIDITY, LIQUIDITY),
        (120_060, LIQUIDITY, -LIQUIDITY),
        (887_220, 3, -3),
    ]


@pytest.fixture
def real_pool(shared_data: Path) -> UniswapV3Pool:
    """WBTC/WETH 0.3 % as it was on mainnet."""
    path = shared_data / "mainnet-24407242" / "uniswap_v3_wbtc_weth_3000.json"
    return of_class(load_pool(path), UniswapV3Pool)


@pytest.mark.real
def test_real_pool_quotes_both_ways(real_pool: UniswapV3Pool) -> None:
    wbtc, weth = (token.address for token in real_pool.tokens)

    assert len(real_pool.profile.ticks) == 458
    for amount in (1, 10**4, 10**8, 10**10, 3 * 10**11):
        received = real_pool.quote_in(wbtc, weth, amount)
        if received:
            assert real_pool.quote_out(wbtc, weth, received) <= amount
            _, after = real_pool.swapped(wbtc, weth, amount)
            assert after.quote_in(weth, wbtc, received) <= amount
    one_bitcoin = real_pool.quote_in(wbtc, weth, 10**8)
    spot = real_pool.spot_price(wbtc, weth) * 10**8
    assert spot * Fraction(994, 1000) < one_bitcoin < spot * Fraction(997, 1000)


@pytest.mark.real
def test_real_pool_saved_reads_back_equal(real_pool: UniswapV3Pool, tmp_path: Path) -> None:
    save_pool(real_pool, tmp_path / "pool.json")

    assert load_pool(tmp_path / "pool.json") == real_pool


@pytest.mark.real
def test_real_pool_recentred_quotes_alike_around_the_new_price(
    real_pool: UniswapV3Pool,
) -> None:
    """In units of the new price, a swap is hindered by the same liquidity as before."""
    wbtc, weth = (token.address for token in real_pool.tokens)
    target = sqrt_at_tick(real_pool.tick - 12_000) + 1
    moved = recentred(real_pool, target)

    assert moved.sqrt_price_x96 == target
    assert moved.liquidity == real_pool.liquidity
    for amount in (10**6, 10**8, 10**10):
        before = real_pool.quote_in(wbtc, weth, amount) / float(real_pool.spot_price(wbtc, weth))
        scaled = int(amount * 1.0001**6_000)  # the same move of price takes this much more token0
        after = moved.quote_in(wbtc, weth, scaled) / float(moved.spot_price(wbtc, weth))
        assert after / scaled == pytest.approx(before / amount, rel=1e-3)


@pytest.mark.real
def test_real_pool_with_a_wrong_price_is_refused(real_pool: UniswapV3Pool) -> None:
    with pytest.raises(BadPoolSnapshot, match="is not that of the price"):
        replace(real_pool, sqrt_price_x96=real_pool.sqrt_price_x96 * 2)
