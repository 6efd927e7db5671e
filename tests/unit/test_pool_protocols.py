"""Snapshots of every protocol but V3's: what is refused and why, hand-checked quotes, and mainnet's own figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
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
from rebalancer.units import E18
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    BalancerWeightedPool,
    CurveCryptoPool,
    CurveStablePool,
    Pool,
    PoolState,
    Token,
    UniswapV2Pool,
    UniswapV4Pool,
    WrappedEtherPool,
    load,
    of_class,
)
from rebalancer.venues.balancer_math import pow_e18, pow_up
from rebalancer.venues.model import ETHER_ADDRESS
from rebalancer.venues.uniswap_v2 import MAX_RESERVE_RAW

A, B, C = ("0x" + digit * 40 for digit in "abc")
POOL = "0x" + "12" * 20

Json = dict[str, Any]


def token(address: str, decimals: int = 18) -> Json:
    return {"address": address, "symbol": address[-3:].upper(), "decimals": decimals}


def v2(**changes: Any) -> Json:
    """A pair of 10^6 and 4 * 10^6 at 30 bps."""
    whole = {
        "chain_id": 1,
        "block": 7,
        "address": POOL,
        "name": "pair",
        "tokens": [token(A), token(B)],
        "reserves": [10**6, 4 * 10**6],
        "fee_bps": 30,
    }
    return {**whole, **changes}


def balancer(**changes: Any) -> Json:
    """80 % of A and 20 % of B, of 6 and 18 decimals, with equal worth a weight."""
    whole = {
        "chain_id": 1,
        "block": 7,
        "address": POOL,
        "pool_id": POOL + "0" * 24,
        "vault": C,
        "name": "weighted",
        "tokens": [token(A, 6), token(B)],
        "balances": [80 * 10**6, 20 * E18],
        "fee": "1/100",
        "weights": [8 * E18 // 10, 2 * E18 // 10],
        "pow_version": "v2",
    }
    return {**whole, **changes}


def stable(**changes: Any) -> Json:
    """A thousand of each of two coins, A of 100, 4 bps."""
    whole = {
        "chain_id": 1,
        "block": 7,
        "address": POOL,
        "name": "stable",
        "tokens": [token(A), token(B, 6)],
        "balances": [1_000 * E18, 1_000 * 10**6],
        "a_coefficient": 100,
        "fee": 4_000_000,
        "admin_fee": 5 * 10**9,
    }
    return {**whole, **changes}


def crypto(**changes: Any) -> Json:
    """Three coins of equal worth at 1, 50,000 and 2,500."""
    whole = {
        "chain_id": 1,
        "block": 7,
        "address": POOL,
        "name": "tricrypto",
        "tokens": [token(A, 6), token(B, 8), token(C)],
        "balances": [10**12, 20 * 10**8, 400 * E18],
        "a_coefficient": 3_645,
        "gamma": 7 * 10**13,
        "d": 3 * 10**24,
        "price_scale": [50_000 * E18, 2_500 * E18],
        "mid_fee": 4_000_000,
        "out_fee": 40_000_000,
        "fee_gamma": 10**16,
    }
    return {**whole, **changes}


def stable_ng(**changes: Any) -> Json:
    """Three coins, the second one worth two, A of 100, 1 bp in balance and five off it."""
    whole = stable(
        name="stable of 2023",
        tokens=[token(A), token(B, 6), token(C)],
        balances=[1_000 * E18, 500 * 10**6, 1_000 * E18],
        rates=[E18, 2 * 10**30, E18],
        a_coefficient=10_000,
        fee=1_000_000,
        math_version="ng",
        offpeg_fee_multiplier=5 * 10**10,
    )
    return {**whole, **changes}


def crypto_ng(**changes: Any) -> Json:
    """`crypto` by the mathematics of 2023; a share is worth one."""
    whole = crypto(
        name="tricrypto of 2023",
        a_coefficient=1_707_629,
        a_multiplier=10_000,
        gamma=11_809_167_828_997,
        math_version="ng",
        virtual_price=E18 - 1,
        total_supply=2_000 * E18,
    )
    return {**whole, **changes}


def two_ng(**changes: Any) -> Json:
    """Two coins of equal worth at 1 and 50,000; a share is worth one."""
    whole = crypto_ng(
        name="twocrypto",
        tokens=[token(A, 6), token(B, 8)],
        balances=[10**12, 20 * 10**8],
        price_scale=[50_000 * E18],
        d=2 * 10**24,
        a_coefficient=400_000,
        gamma=145_000_000_000_000,
        # The root of 10^24 and 20 * 10^18.
        total_supply=4_472 * E18,
    )
    return {**whole, **changes}


def two_later(**changes: Any) -> Json:
    """The same by version v2.1.0 of its mathematics."""
    return two_ng(**{"math_version": "ng-v2.1.0", "gamma": 3 * 10**16, **changes})


SNAPSHOTS: dict[str, Callable[..., Json]] = {
    "v2": v2,
    "balancer": balancer,
    "stable": stable,
    "crypto": crypto,
    "stable_ng": stable_ng,
    "crypto_ng": crypto_ng,
    "two_ng": two_ng,
    "two_later": two_later,
}


@pytest.fixture(params=SNAPSHOTS)
def snapshot(request: pytest.FixtureRequest) -> Callable[..., Json]:
    """Each protocol's snapshot in turn."""
    return SNAPSHOTS[request.param]


@pytest.fixture
def pool(snapshot: Callable[..., Json]) -> PoolState:
    return load(snapshot())


# What all have in common


def test_load_with_any_key_missing_is_refused(snapshot: Callable[..., Json]) -> None:
    for key in snapshot():
        if key in ("reserves", "weights", "a_coefficient", "gamma", "math_version"):
            continue  # these tell the protocol
        if key in ("rates", "a_multiplier"):
            continue  # these are told by decimals, or are 1
        less = snapshot()
        del less[key]
        with pytest.raises(BadPoolSnapshot, match=f"{key} is missing"):
            load(less)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"address": "0x12"}, "not an address"),
        ({"tokens": [{"address": A}]}, "symbol is missing"),
        ({"tokens": "AB"}, "not a list of objects"),
        ({"tokens": [token(A)]}, "two|2|three|3"),
        ({"tokens": [token(A), token(A), token(A)]}, "two|different|of 3 coins"),
        ({"block": "7"}, "block is not a whole number"),
        ({"name": 7}, "name is not a text"),
    ],
)
def test_load_what_no_pool_can_be_is_refused(snapshot: Callable[..., Json], changes: Json, why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(snapshot(**changes))


def test_saved_pool_reads_back_equal(pool: PoolState, tmp_path: Path) -> None:
    save_pool(pool, tmp_path / "pool.json")

    assert load_pool(tmp_path / "pool.json") == pool
    assert load(pool.to_json()) == pool
    checked: Pool = pool
    assert checked.key == pool.address == POOL


def test_a_pool_is_refused_where_another_kind_is_wanted(pool: PoolState) -> None:
    with pytest.raises(UnsupportedPool, match=pool.kind):
        of_class(pool, UniswapV4Pool)
    assert of_class(pool, type(pool)) is pool


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT_RAW + 1, 1.5])
def test_quote_of_no_tradable_amount_is_refused(pool: PoolState, amount: Any) -> None:
    for quote in (pool.quote_in, pool.quote_out, pool.swapped):
        with pytest.raises(BadAmount):
            quote(A, B, amount)


@pytest.mark.parametrize("way", [(A, A), (A, "0x" + "ee" * 20), ("", B)])
def test_pair_of_no_pool_is_refused(pool: PoolState, way: tuple[str, str]) -> None:
    asks: list[Callable[[], object]] = [
        lambda: pool.quote_in(*way, 1),
        lambda: pool.quote_out(*way, 1),
        lambda: pool.swapped(*way, 1),
        lambda: pool.spot_price(*way),
        lambda: pool.flow_to(*way, 1.0),
    ]
    for ask in asks:
        with pytest.raises(UnknownToken):
            ask()


def test_tokens_in_any_case_mean_the_same(pool: PoolState) -> None:
    raised = A.upper().replace("X", "x"), B.upper().replace("X", "x")
    assert pool.quote_in(*raised, 10**5) == pool.quote_in(A, B, 10**5)


@pytest.mark.parametrize("way", [(A, B), (B, A)])
def test_quote_more_than_there_is_says_how_much_there_is(pool: PoolState, way: tuple[str, str]) -> None:
    with pytest.raises(LiquidityExhausted) as asked_in:
        pool.quote_in(*way, MAX_AMOUNT_RAW)
    possible = asked_in.value.possible_raw
    assert (asked_in.value.token, asked_in.value.required_raw) == (way[0], MAX_AMOUNT_RAW)
    most_out = pool.quote_in(*way, possible)
    with pytest.raises(LiquidityExhausted) as again:
        pool.quote_in(*way, possible + 1)
    assert again.value.possible_raw == possible

    with pytest.raises(LiquidityExhausted) as asked_out:
        pool.quote_out(*way, MAX_AMOUNT_RAW)
    assert asked_out.value.token == way[1]
    most = asked_out.value.possible_raw
    # Balancer gives no more than 30 % for an amount asked, however much that of an amount sold is.
    assert most >= most_out or pool.kind.startswith("Balancer")
    assert pool.quote_out(*way, most) > 0
    with pytest.raises(LiquidityExhausted):
        pool.quote_out(*way, most + 1)


def test_swap_that_the_chain_refuses_for_nothing_leaves_the_pool_as_it_is() -> None:
    """A pair pays no nothing; Curve's rounding can make less than nothing, which reverts."""
    pair = load(v2())
    assert pair.swapped(B, A, 1) == (0, pair)
    off = load(stable(balances=[10**30, 10**6]))
    assert off.quote_in(A, B, 1) == 0
    assert off.swapped(A, B, 1) == (0, off)


def test_empty_pools_are_exhausted_and_flow_nowhere() -> None:
    empties: list[PoolState] = [
        load(v2(reserves=[0, 0])),
        load(balancer(balances=[0, 5])),
        load(balancer(balances=[5, 0])),
        load(stable(balances=[0, 0])),
        load(stable(balances=[0, 5])),
        load(crypto(balances=[0, 0, 0], d=0)),
        replace(of_class(load(crypto()), CurveCryptoPool), balances=(0, 5, 5)),
        replace(of_class(load(crypto_ng()), CurveCryptoPool), balances=(0, 5, 5)),
        load(stable_ng(balances=[0, 0, 0])),
        load(stable_ng(balances=[5, 5, 0])),
    ]
    for pool in empties:
        for quote in (pool.quote_in, pool.quote_out):
            with pytest.raises(LiquidityExhausted) as refusal:
                quote(A, B, 10)
            assert refusal.value.possible_raw == 0
        assert pool.flow_to(A, B, 0.0) == pool.flow_to(A, B, 1e-9) == (0, 0)
        assert pool.spot_price(A, B) == 0 or pool.kind.startswith("Balancer")


# Uniswap V2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reserves": [1]}, "two tokens and two reserves"),
        ({"reserves": 1}, "reserves is not a list"),
        ({"reserves": [1, "2"]}, "reserves is not a whole number"),
        ({"reserves": [1, -1]}, "reserve -1 is not in"),
        ({"reserves": [1, MAX_RESERVE_RAW + 1]}, "is not in 0 … 2\\^112 - 1"),
        ({"fee_bps": 10_000}, "fee 10000 is not in"),
        ({"fee_bps": -1}, "fee -1 is not in"),
        ({"tokens": [token(B), token(A)]}, "must be below"),
    ],
)
def test_load_a_pair_that_contradicts_itself_is_refused(changes: Json, why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(v2(**changes))


def test_pair_quotes_by_hand() -> None:
    pool = of_class(load(v2()), UniswapV2Pool)

    # 1000 * 997 * 4e6 / (1e6 * 1000 + 1000 * 997) = 3984.03
    assert pool.quote_in(A, B, 1_000) == 3_984
    # 1e6 * 3984 * 1000 / ((4e6 - 3984) * 997) = 999.99, and one
    assert pool.quote_out(A, B, 3_984) == 1_000
    assert pool.swapped(A, B, 1_000)[1].reserves == (1_001_000, 3_996_016)
    assert pool.swapped(B, A, 4_000)[1].reserves == (10**6 - 996, 4_004_000)
    assert pool.spot_price(A, B) == 4
    assert pool.fee_pips == 3_000
    # sqrt(0.997 * 4e12 / 3) = 1,153,000.0 of 1e6 * 1.153
    amount, _ = pool.flow_to(A, B, 3.0)
    assert amount == pytest.approx((1_152_966.9 - 10**6) / 0.997, rel=1e-3)


def test_pair_of_a_fork_takes_its_own_fee() -> None:
    pool = of_class(load(v2(fee_bps=0)), UniswapV2Pool)
    assert pool.quote_in(A, B, 10**6) == 2 * 10**6
    assert load(v2(fee_bps=9_999)).quote_in(A, B, 10**6) == 399


# Balancer


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pool_id": "0x" + "0" * 64}, "does not begin with the pool's address"),
        ({"pool_id": POOL}, "does not begin with the pool's address"),
        ({"vault": "0x1"}, "not an address"),
        ({"tokens": [token(A, 19), token(B)]}, "more than 18 decimals"),
        ({"balances": [1]}, "one balance and weight"),
        ({"balances": [1, 2**112]}, "is not in 0 … 2\\^112 - 1"),
        ({"weights": [E18, 0]}, "must be 1 % or more"),
        ({"weights": [E18 // 2, E18 // 2 - 1]}, "and their sum 1e18"),
        ({"fee": "1"}, "is not below 1e18"),
        ({"fee": "-1/2"}, "is not below 1e18"),
        ({"fee": "a"}, "is not a fraction"),
        ({"fee": "1/0"}, "is not a fraction"),
        ({"fee": "1/3"}, "more than 18 decimals"),
        ({"fee": 3}, "fee is not a text"),
        ({"pow_version": "v3"}, "pow_version v3 is not v1 or v2"),
    ],
)
def test_load_a_weighted_pool_that_contradicts_itself_is_refused(changes: Json, why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(balancer(**changes))


def test_weighted_pool_quotes_by_hand() -> None:
    pool = load(balancer(fee="0"))

    # A tenth more of the A there is, by the fourth power: 20 * (1 - (1 / 1.1)^4) = 6.339730…
    out = pool.quote_in(A, B, 8 * 10**6)
    assert out == pytest.approx(20 * (1 - 1.1**-4) * E18, rel=1e-15)
    assert out < 20 * (E18 - E18 * 10**4 // 11**4)
    assert pool.spot_price(A, B) == Fraction(10**12)
    # B to A by the fourth root.
    back = pool.quote_in(B, A, 2 * E18)
    assert back == int(80 * (1 - 1.1**-0.25) * 10**6)
    assert pool.fee_pips == 0
    assert load(balancer(fee="1/100")).fee_pips == 10_000


def test_weighted_pool_takes_the_fee_off_what_goes_in() -> None:
    free, dear = load(balancer(fee="0")), load(balancer(fee="1/100"))
    assert dear.quote_in(A, B, 10**6) == free.quote_in(A, B, 990_000)
    # Rounded up in the pool's favour, so that the last unit buys nothing.
    assert dear.quote_in(A, B, 1) == 0
    # On top of what must go in, up.
    assert dear.quote_out(A, B, E18) == -(-free.quote_out(A, B, E18) * 100 // 99)


def test_powers_by_hand() -> None:
    assert pow_e18(7, 0) == E18
    assert pow_e18(0, 7) == 0
    assert pow_up(3 * E18, 2 * E18, shortcuts=True) == 9 * E18
    assert pow_up(3 * E18, 4 * E18, shortcuts=True) == 81 * E18
    assert pow_up(5, E18, shortcuts=True) == 5
    # One part in 10^14 more.
    assert pow_up(3 * E18, 2 * E18, shortcuts=False) == pytest.approx(9 * E18 + 90_000, abs=100)
    for x_e18 in (10 * E18, E18 // 10):
        with pytest.raises(OverflowError, match="out of range"):
            pow_e18(x_e18, 100 * E18)


# Curve


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"balances": [1]}, "one balance and one rate"),
        ({"balances": [1, -1]}, "balance -1 is negative"),
        ({"rates": [E18]}, "one balance and one rate"),
        ({"rates": [E18, 0]}, "one rate above 0"),
        ({"a_coefficient": 0}, "a_coefficient 0 is not in"),
        ({"fee": 10**10 + 1}, "fee 10000000001 is not in"),
        ({"admin_fee": -1}, "fee -1 is not in"),
        ({"virtual_price": E18 + 1, "lp_token_total_supply": 2_000 * E18}, "does not match these"),
    ],
)
def test_load_a_stable_pool_that_contradicts_itself_is_refused(changes: Json, why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(stable(**changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"use_lending": [True]}, "lends its coins"),
        ({"offpeg_fee_multiplier": 2}, "a higher fee off the peg"),
        (two_ng(math_version="v1"), "two coins older than twocrypto-ng"),
    ],
)
def test_load_a_curve_pool_of_another_kind_is_unsupported(changes: Json, why: str) -> None:
    with pytest.raises(UnsupportedPool, match=why):
        load(stable(**changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"math_version": "v9"}, "math_version 'v9' is not one of"),
        ({"a_coefficient": 99}, "a_coefficient 99 is not in 100"),
        ({"offpeg_fee_multiplier": -1}, "the fee exceeds 100 %"),
        ({"offpeg_fee_multiplier": 10**14 + 1}, "the fee exceeds 100 %"),
        ({"is_ramping": 1}, "is_ramping is neither true nor false"),
    ],
)
def test_load_a_pool_of_stableswap_ng_that_contradicts_itself_is_refused(changes: Json, why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(stable_ng(**changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"balances": [1, 2]}, "one balance per coin"),
        ({"price_scale": [1]}, "and one price less"),
        ({"tokens": [token(A, 19), token(B), token(C)]}, "more than 18 decimals"),
        ({"balances": [1, 1, -1]}, "must be 0 or more"),
        ({"d": -1}, "must be 0 or more"),
        ({"price_scale": [1, 0]}, "and prices above 0"),
        ({"gamma": 0}, "gamma must be above 0"),
        ({"a_multiplier": 0}, "a_multiplier"),
        ({"out_fee": 1}, "not in ascending order"),
        ({"fee": 4_000_001}, "fee 4000001 does not match these balances, 4000000"),
        ({"balances": [0, 5, 5]}, "does not match these balances, 0"),
        ({"math_version": "v9", "virtual_price": 1, "total_supply": 1}, "'v9' of 3 coins is not"),
        ({"math_version": "ng", "virtual_price": 1, "total_supply": 1}, "a_multiplier of such a"),
    ],
)
def test_load_a_tricrypto_pool_that_contradicts_itself_is_refused(changes: Json, why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(crypto(**changes))


@pytest.mark.parametrize("kind", [crypto, crypto_ng, two_ng])
def test_tricrypto_with_a_d_that_is_not_that_of_its_balances_is_refused(
    kind: Callable[..., Json],
) -> None:
    """A file with 999 thousandths of D would pay 13 % more on paper than the pool does."""
    d = kind()["d"]
    for wrong in (d * 999 // 1_000, d * 1_001 // 1_000, d - d // 10**6, 0):
        with pytest.raises(BadPoolSnapshot, match=f"d {wrong} does not match these balances"):
            load(kind(d=wrong))


@pytest.mark.parametrize("kind", [crypto, crypto_ng, two_ng])
def test_tricrypto_whose_d_withdrawals_rounded_is_taken(kind: Callable[..., Json]) -> None:
    """A provider's withdrawal shrinks D in proportion, and the balances by whole units."""
    whole = of_class(load(kind()), CurveCryptoPool)
    d, balances = whole.d, list(whole.balances)
    for part in range(7, 27):
        d -= d // part
        balances = [balance - balance // part for balance in balances]

    left = of_class(load(kind(d=d, balances=balances)), CurveCryptoPool)

    assert 0 < left.fresh_d - left.d <= left.d_slack


@pytest.mark.parametrize("kind", [crypto, crypto_ng])
def test_tricrypto_works_d_out_anew_while_a_is_ramped(kind: Callable[..., Json]) -> None:
    off = kind(balances=[10**12, 30 * 10**8, 400 * E18])
    pool = of_class(load({**off, "is_ramping": True}), CurveCryptoPool)

    assert pool.d == pool.fresh_d > off["d"]
    assert pool.moves
    assert not of_class(load(kind()), CurveCryptoPool).moves


def test_tricrypto_of_2023_refuses_a_swap_by_which_its_shares_gain_nothing() -> None:
    pool = of_class(load(crypto_ng(virtual_price=2 * E18 + 10**5, total_supply=1_000 * E18)), CurveCryptoPool)
    kept = pool.get_dy(A, C, 10)
    assert kept > 0
    assert pool.quote_in(A, C, 10) == 0
    assert pool.swapped(A, C, 10) == (0, pool)
    assert replace(pool, is_ramping=True).quote_in(A, C, 10) == kept
    out, after = pool.swapped(A, C, 10**9)
    assert out == pool.get_dy(A, C, 10**9)
    assert after.virtual_price_e18 > 2 * E18


def test_pool_of_stableswap_ng_charges_more_off_the_peg() -> None:
    pool = of_class(load(stable_ng()), CurveStablePool)
    assert pool.moves
    assert not of_class(load(stable()), CurveStablePool).moves
    assert pool.invariant == 3_000 * E18
    # One of A is half of B; the price falls by a 2 / 1000 / 101 a coin, and 1 bp goes.
    assert pool.quote_in(A, B, E18) == pytest.approx(500_000 * 0.9999, rel=3e-5)
    half = pool.swapped(A, C, 900 * E18)[1]
    # Balances of 1,900 and about 115: the fee is 5 / (1 + 4 * 4 * 1900 * 115 / 2015^2), 2.69 bps.
    x, y = half.balances[0] / E18, half.balances[2] / E18
    near = 4 * x * y / (x + y) ** 2
    paid = half.quote_in(A, C, 10**12)
    free = replace(half, fee_e10=0).quote_in(A, C, 10**12)
    assert 1 - paid / free == pytest.approx(5e-4 / (4 * near + 1), rel=1e-3)
    # And of what was sold at once, as far as both coins were apart on the way.
    assert pool.fee_pips == 100


def test_balanced_stable_pool_quotes_by_hand() -> None:
    pool = of_class(load(stable()), CurveStablePool)

    assert pool.invariant == 2_000 * E18
    assert pool.spot_price(A, B) == Fraction(1, 10**12)
    # The price falls by 4 / 1000 / 202 a coin: 999,990 of 10^6 come out, and then the fee of 4 bps goes.
    out = pool.quote_in(A, B, E18)
    assert out == 999_590
    assert pool.fee_pips == 400
    # The fee is 399.996; half of it is the owner's and leaves, rounded down.
    after = pool.swapped(A, B, E18)[1]
    assert after.balances == (1_001 * E18, 1_000 * 10**6 - out - 199)


def test_stable_pool_of_other_rates_counts_by_them() -> None:
    """Coin A is worth two."""
    pool = of_class(load(stable(rates=[2 * E18, 10**30], balances=[500 * E18, 10**9])), CurveStablePool)
    assert pool.invariant == 2_000 * E18
    assert pool.quote_in(A, B, E18 // 2) == 999_590


def test_balanced_tricrypto_pool_quotes_by_hand() -> None:
    pool = of_class(load(crypto()), CurveCryptoPool)

    assert pool.fee_e10 == 4_000_000
    assert pool.spot_price(B, A) == pytest.approx(500)
    # A ten-thousandth of a coin: its price less 4 bps.
    assert pool.quote_in(B, A, 10_000) == pytest.approx(5_000_000 * 0.9996, rel=2e-4)
    assert pool.quote_in(C, B, E18) == pytest.approx(5_000_000 * 0.9996, rel=2e-3)
    assert pool.fee_pips == 400
    after = pool.swapped(A, C, 10**10)[1]
    assert after.d > pool.d
    assert after.fee_e10 > pool.fee_e10


# Mainnet's own figures


@pytest.mark.real
def test_mainnets_3pool_is_worth_what_it_said(shared_data: Path) -> None:
    """get_D is get_virtual_price times the supply; what was recorded is that to the unit."""
    file = shared_data / "mainnet-24407242" / "curve_tripool.json"
    quoted = json.loads(file.read_text())
    pool = of_class(load_pool(file), CurveStablePool)

    assert pool.invariant * E18 // quoted["lp_token_total_supply"] == quoted["virtual_price"]
    assert pool.rates == (E18, 10**30, 10**30)
    with pytest.raises(BadPoolSnapshot, match="virtual_price"):
        load({**quoted, "a_coefficient": quoted["a_coefficient"] + 1})


@pytest.mark.real
def test_mainnets_tricrypto_charges_and_is_worth_what_it_said(shared_data: Path) -> None:
    """fee() and D as recorded; the mathematics' newton_D of the balances gives that very D."""
    from rebalancer.venues.curve_math import crypto_d, geometric_mean

    file = shared_data / "mainnet-24407242" / "curve_tricrypto.json"
    quoted = json.loads(file.read_text())
    pool = of_class(load_pool(file), CurveCryptoPool)

    assert pool.fee_e10 == quoted["fee"]
    scaled = [
        balance * 10 ** (18 - token["decimals"]) * price // E18
        for balance, token, price in zip(
            quoted["balances"], quoted["tokens"], [E18, *quoted["price_scale"]], strict=True
        )
    ]
    assert crypto_d(scaled, pool.a_coefficient, 1, pool.gamma) == pool.d == quoted["d"]
    parts = [pool.d // 3, *(pool.d * E18 // (3 * price) for price in quoted["price_scale"])]
    worth = E18 * geometric_mean(parts) // quoted["lp_token_total_supply"]
    assert worth == quoted["virtual_price"]


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("uniswap_v4_eth_usdc_500.json", UniswapV4Pool),
        ("balancer_weighted_usdc_weth_50_50.json", BalancerWeightedPool),
        ("curve_tripool.json", CurveStablePool),
        ("curve_tricrypto.json", CurveCryptoPool),
    ],
)
def test_mainnets_pools_load_save_and_quote(
    shared_data: Path, tmp_path: Path, file: str, kind: type[PoolState]
) -> None:
    pool = of_class(load_pool(shared_data / "mainnet-24407242" / file), kind)
    save_pool(pool, tmp_path / file)
    assert load_pool(tmp_path / file) == pool

    for token_in in pool.tokens:
        for token_out in pool.tokens:
            if token_in == token_out:
                continue
            way = token_in.address, token_out.address
            amount = 10 ** (token_in.decimals - 2)
            out = pool.quote_in(*way, amount)
            spot = pool.spot_price(*way) * amount
            assert spot * Fraction(98, 100) - 1 < out < spot
            needed = pool.quote_out(*way, out)
            # Balancer charges the largest error of its powers both ways, and may then be a unit short.
            assert pool.quote_in(*way, needed) >= out - (pool.kind.startswith("Balancer"))
            assert needed <= amount * (1 + 1e-7) + 2


# Ether as WETH


def ether_pool() -> UniswapV4Pool:
    """Ether against A, at one for one, over two ticks."""
    from rebalancer.venues import InitializedTick, TickProfile
    from rebalancer.venues.uniswap_v3_math import Q96

    ticks = InitializedTick(-60, E18, E18), InitializedTick(60, E18, -E18)
    ether = Token(ETHER_ADDRESS, "ETH", 18)
    return UniswapV4Pool(C, ether, Token(A, "AAA", 18), TickProfile(3_000, 60, ticks), Q96, 0, E18)


def test_pool_of_ether_trades_weth_as_it_trades_ether() -> None:
    inner = ether_pool()
    view: Pool = WrappedEtherPool(inner, Token(B, "WETH", 18))

    assert [token.address for token in view.tokens] == [B, A]
    assert (view.key, view.address, view.fee_pips) == (inner.pool_id, C, 3_000)
    for way, within in (((B, A), (ETHER_ADDRESS, A)), ((A, B), (A, ETHER_ADDRESS))):
        assert view.quote_in(*way, 10**15) == inner.quote_in(*within, 10**15)
        assert view.quote_out(*way, 10**15) == inner.quote_out(*within, 10**15)
        assert view.spot_price(*way) == 1
        assert view.flow_to(*way, 0.99) == inner.flow_to(*within, 0.99)
        out, after = view.swapped(*way, 10**15)
        assert out == inner.quote_in(*within, 10**15)
        assert after.quote_in(*way, 10**15) < out
        assert after.tokens == view.tokens


def test_pool_of_ether_knows_only_weth() -> None:
    view = WrappedEtherPool(ether_pool(), Token(B, "WETH", 18))
    for way in ((ETHER_ADDRESS, A), (A, ETHER_ADDRESS), (B, B), (B, C)):
        with pytest.raises(UnknownToken):
            view.quote_in(*way, 1)


def test_pool_without_ether_or_of_ether_and_weth_has_no_such_view() -> None:
    plain = replace(ether_pool(), token0=Token("0x" + "0" * 39 + "1", "ONE", 18))
    with pytest.raises(UnsupportedPool, match="without ether"):
        WrappedEtherPool(plain, Token(B, "WETH", 18))
    with pytest.raises(UnsupportedPool, match="of ether and wrapped ether"):
        WrappedEtherPool(ether_pool(), Token(A, "WETH", 18))


def test_first_unit_of_tricrypto_pays_the_spot_price_less_the_fee_of_its_state() -> None:
    pool = of_class(load(crypto()), CurveCryptoPool)
    for sold, bought in permutations(pool.tokens, 2):
        spot = float(pool.spot_price(sold.address, bought.address))
        expected = spot * (1 - pool.fee_e10 / 10**10)
        assert pool.first_unit(sold.address, bought.address) == pytest.approx(expected, rel=1e-9)
    empty = replace(pool, balances=(0, 0, 0), d=0)
    assert empty.first_unit(pool.tokens[0].address, pool.tokens[1].address) == 0.0
