"""Curve on paper against figures of Curve's own contracts: what they paid, kept and refused, unit for unit.

tests/vectors/curve.json holds random states, some far off balance, with random swaps. The figures are what the
public sources of 3pool (StableSwap3Pool.vy) and of tricrypto (mainnet's 0x80466c64… up to the new D, and its
mathematics 0x656Dd75d…) answered, compiled by Vyper 0.2.12 and run on Anvil. Each swap is [i, j, raw in,
answer] with an answer of null where the contract reverted; the stable one's is [raw out, balance i, balance j]
and get_dy's follows, tricrypto's is [raw out, D].

tests/vectors/curve_ng.json holds the same of the pools of 2023: CurveStableSwapNG.vy of curvefi/stableswap-ng with 2 to
8 coins at rates of oracles, CurveTricryptoOptimizedWETH.vy with CurveCryptoMathOptimized3.vy of curvefi/tricrypto-ng,
and CurveTwocryptoOptimized.vy with CurveCryptoMathOptimized2.vy of curvefi/twocrypto-ng as of 2023-12-24 (v2.0.0) and
2024-06-04 (v2.1.0), all of each, compiled by Vyper 0.3.10 and run on Anvil. Each swap ends with what the view contract's
get_dy said, 0 where it reverted. An answer of a crypto pool is [raw out, D, virtual price], or [raw out] alone where
the swap moved the price scale, and D with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rebalancer.errors import LiquidityExhausted
from rebalancer.venues import CurveCryptoPool, CurveStablePool, Token

POOL = "0x" + "11" * 20


def tokens(*decimals: int) -> tuple[Token, ...]:
    return tuple(Token(f"0x{k:040x}", f"C{k}", d) for k, d in enumerate(decimals, 1))


@pytest.fixture(scope="module")
def vectors(repo_root: Path) -> Any:
    return json.loads((repo_root / "tests" / "vectors" / "curve.json").read_text())


@pytest.fixture(scope="module")
def ng_vectors(repo_root: Path) -> Any:
    return json.loads((repo_root / "tests" / "vectors" / "curve_ng.json").read_text())


def stable_pools(states: Any) -> Iterator[tuple[CurveStablePool, Any]]:
    for state in states:
        fees = state["fee"], state["admin_fee"]
        coins, balances = tokens(18, 6, 6), tuple(state["balances"])
        yield CurveStablePool(POOL, coins, balances, state["a"], *fees), state["swaps"]


def crypto_pools(states: Any) -> Iterator[tuple[CurveCryptoPool, Any]]:
    for state in states:
        curve = state["a"], state["gamma"], state["d"], tuple(state["price_scale"])
        fees = state["mid_fee"], state["out_fee"], state["fee_gamma"]
        yield (
            CurveCryptoPool(POOL, tokens(6, 8, 18), tuple(state["balances"]), *curve, *fees),
            state["swaps"],
        )


def test_stable_pool_pays_and_keeps_what_the_contract_did(vectors: Any) -> None:
    compared = 0
    for pool, swaps in stable_pools(vectors["stable"]):
        for i, j, amount, answer, get_dy in swaps:
            way = pool.tokens[i].address, pool.tokens[j].address
            out, after = pool.swapped(*way, amount)
            assert [out, after.balances[i], after.balances[j]] == answer
            assert pool.quote_in(*way, amount) == out
            assert pool.get_dy(*way, amount) == get_dy
            compared += 1
    assert compared == 240


def test_tricrypto_pool_pays_and_refuses_as_the_contract_did(vectors: Any) -> None:
    paid = refused = 0
    for pool, swaps in crypto_pools(vectors["crypto"]):
        for i, j, amount, answer in swaps:
            way = pool.tokens[i].address, pool.tokens[j].address
            if answer is not None:
                out, after = pool.swapped(*way, amount)
                assert [out, after.d] == answer
                paid += 1
                continue
            possible = None
            try:
                assert pool.swapped(*way, amount) == (0, pool)
            except LiquidityExhausted as refusal:
                possible = refusal.possible_raw
            assert possible is None or possible < amount
            refused += possible is not None
    assert paid > 120
    assert refused > 40


def is_refused(pool: CurveStablePool | CurveCryptoPool, way: tuple[str, str], amount: int) -> bool:
    """Whether a swap reverts: it would gain somebody nothing, or the pool cannot take so much."""
    try:
        return pool.swapped(*way, amount) == (0, pool)
    except LiquidityExhausted as refusal:
        return refusal.possible_raw < amount


def ng_stable_pools(states: Any) -> Iterator[tuple[CurveStablePool, Any]]:
    for state in states:
        yield (
            CurveStablePool(
                POOL,
                tokens(*state["decimals"]),
                tuple(state["balances"]),
                state["a"],
                state["fee"],
                5 * 10**9,
                tuple(state["rates"]),
                "ng",
                state["offpeg_fee_multiplier"],
            ),
            state["swaps"],
        )


def ng_crypto_pools(states: Any) -> Iterator[tuple[CurveCryptoPool, Any]]:
    for state in states:
        yield (
            CurveCryptoPool(
                POOL,
                tokens(*state["decimals"]),
                tuple(state["balances"]),
                state["a"],
                state["gamma"],
                state["d"],
                tuple(state["price_scale"]),
                state["mid_fee"],
                state["out_fee"],
                state["fee_gamma"],
                10_000,
                state.get("math_version", "ng"),
                state["virtual_price"],
                state["total_supply"],
            ),
            state["swaps"],
        )


def test_stableswap_ng_pool_pays_keeps_and_refuses_as_the_contract_did(ng_vectors: Any) -> None:
    paid = refused = viewed = 0
    for pool, swaps in ng_stable_pools(ng_vectors["stable"]):
        for i, j, amount, answer, get_dy in swaps:
            way = pool.tokens[i].address, pool.tokens[j].address
            if answer is not None:
                out, after = pool.swapped(*way, amount)
                assert [out, after.balances[i], after.balances[j]] == answer
                assert pool.quote_in(*way, amount) == out
                assert pool.get_dy(*way, amount) == get_dy
                paid += 1
                continue
            assert is_refused(pool, way, amount)
            refused += 1
            viewed += get_dy > 0
    assert (paid, refused, viewed) == (209, 31, 17)


@pytest.mark.parametrize(("kind", "counts"), [("crypto", (174, 66, 33)), ("two", (180, 60, 18))])
def test_crypto_pool_of_2023_pays_and_refuses_as_the_contract_did(
    ng_vectors: Any, kind: str, counts: tuple[int, int, int]
) -> None:
    paid = refused = lost = 0
    for pool, swaps in ng_crypto_pools(ng_vectors[kind]):
        for i, j, amount, answer, get_dy in swaps:
            way = pool.tokens[i].address, pool.tokens[j].address
            assert pool.get_dy(*way, amount) == get_dy
            if answer is not None:
                out, after = pool.swapped(*way, amount)
                assert [out, after.d, after.virtual_price_e18][: len(answer)] == answer
                assert pool.quote_in(*way, amount) == out
                paid += 1
                continue
            assert is_refused(pool, way, amount)
            refused += 1
            lost += get_dy > 0
    assert (paid, refused, lost) == counts
