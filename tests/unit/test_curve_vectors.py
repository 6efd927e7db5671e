"""Curve on paper against figures of Curve's own contracts: what they paid, kept and refused, unit for unit.

tests/vectors/curve.json holds random states, some far off balance, with random swaps. The figures are what the
public sources of 3pool (StableSwap3Pool.vy) and of tricrypto (mainnet's 0x80466c64… up to the new D, and its
mathematics 0x656Dd75d…) answered, compiled by Vyper 0.2.12 and run on Anvil. Each swap is [i, j, raw in,
answer] with an answer of null where the contract reverted; the stable one's is [raw out, balance i, balance j]
and get_dy's follows, tricrypto's is [raw out, D].
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rebalancer.errors import LiquidityExhausted
from rebalancer.pools import CurveCryptoPool, CurveStablePool, Token

POOL = "0x" + "11" * 20


def tokens(*decimals: int) -> tuple[Token, ...]:
    return tuple(Token(f"0x{k:040x}", f"C{k}", d) for k, d in enumerate(decimals, 1))


@pytest.fixture(scope="module")
def vectors(repo_root: Path) -> Any:
    return json.loads((repo_root / "tests" / "vectors" / "curve.json").read_text())


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
