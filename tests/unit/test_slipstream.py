"""Slipstream, whose code is on no registry: what its public source paid on a local chain, and what its pools are here.

tests/vectors/slipstream.json: 244 swaps on 24 random pools of CLPool (velodrome-finance/slipstream, commit 193a6b8), compiled by solc
0.7.6 and traded through RouteExecutor: [token0 is sold, amount in, amount out, sqrt price, tick and liquidity afterwards].
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rebalancer.venues import UniswapV3Pool, load, of_class
from rebalancer.venues.slipstream import SlipstreamPool

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "slipstream.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["pool"]["name"])
def test_swaps_pay_and_leave_what_the_source_did(vector: dict[str, Any]) -> None:
    pool = of_class(load(vector["pool"]), SlipstreamPool)
    sold, bought = pool.token0.address, pool.token1.address

    assert vector["swaps"]
    for down, amount, paid, sqrt_price_x96, tick, liquidity in vector["swaps"]:
        ends = (sold, bought) if down else (bought, sold)
        out, after = pool.swapped(*ends, int(amount))
        state = after.sqrt_price_x96, after.tick, after.liquidity
        assert (out, state) == (int(paid), (int(sqrt_price_x96), tick, int(liquidity)))
        assert pool.quote_in(*ends, int(amount)) == out


def test_pool_is_read_at_every_block_for_its_fee() -> None:
    pool = of_class(load(VECTORS[0]["pool"]), SlipstreamPool)

    assert pool.moves
    assert {"profile"} == pool.MAY_DRIFT
    assert load(pool.to_json()) == pool
    assert pool.ref.venue == "slipstream"
    dearer = replace(pool, profile=replace(pool.profile, fee_pips=pool.fee_pips + 1))
    assert dearer.ref.key == pool.ref.key


def test_hop_is_that_of_uniswap_v3() -> None:
    pool = of_class(load(VECTORS[0]["pool"]), SlipstreamPool)
    ends = pool.token0.address, pool.token1.address
    names = ("address", "token0", "token1", "profile", "sqrt_price_x96", "tick", "liquidity")
    twin = UniswapV3Pool(**{name: getattr(pool, name) for name in names})

    assert pool.hop(*ends, 7, to_caller=True) == twin.hop(*ends, 7, to_caller=True)
    assert pool.hop(*ends, 7, to_caller=True).venue == 1
