"""Which hop trades on which pool: one of each protocol, both ways, and what no venue serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from rebalancer.errors import UnknownToken, UnsupportedPool
from rebalancer.plan.hop import hop_of
from rebalancer.plan.route import (
    BalancerHop,
    CurveHop,
    PairHop,
    PoolHop,
    V4Hop,
    decode,
    encode,
)
from rebalancer.pools import Token, UniswapV3Pool, UniswapV4Pool, WrappedEtherPool, load
from rebalancer.pools.uniswap_v3 import TickProfile
from rebalancer.pools.uniswap_v3_math import Q96
from tests.unit.test_pool_protocols import (
    POOL,
    A,
    B,
    C,
    balancer,
    crypto,
    ether_pool,
    stable,
    v2,
)

NO_HOOKS = "0x" + "0" * 40
COINS = Token(A, "AAA", 18), Token(B, "BBB", 18)
EMPTY = TickProfile(3_000, 60, ())
V3 = UniswapV3Pool(POOL, *COINS, EMPTY, Q96, 0, 0)
V4 = UniswapV4Pool(C, *COINS, EMPTY, Q96, 0, 0, (1_000, 250))
WRAPPED = WrappedEtherPool(ether_pool(), Token(B, "WETH", 18))


@pytest.mark.parametrize(
    ("pool", "way", "hop"),
    [
        (V3, (A, B), PoolHop(7, A, POOL, True, True)),
        (V3, (B, A), PoolHop(7, B, POOL, False, True)),
        (load(v2()), (A, B), PairHop(7, A, POOL, True, True, 30)),
        (load(v2(fee_bps=25)), (B, A), PairHop(7, B, POOL, False, True, 25)),
        # The key's fee is the providers'; the protocol's is PoolManager's own affair.
        (V4, (A, B), V4Hop(7, A, C, B, 3_000, 60, NO_HOOKS, True)),
        (V4, (B, A), V4Hop(7, B, C, A, 3_000, 60, NO_HOOKS, True)),
        (WRAPPED, (B, A), V4Hop(7, B, C, A, 3_000, 60, NO_HOOKS, True, ether_in=True)),
        (WRAPPED, (A, B), V4Hop(7, A, C, B, 3_000, 60, NO_HOOKS, True, ether_out=True)),
        (load(balancer()), (B, A), BalancerHop(7, B, C, A, POOL + "0" * 24, True)),
        (load(stable()), (A, B), CurveHop(7, A, POOL, B, 0, 1, unsigned=False)),
        (load(crypto()), (C, B), CurveHop(7, C, POOL, B, 2, 1, unsigned=True)),
    ],
)
def test_hop_of_a_pool_swaps_there_and_survives_encoding(
    pool: Any, way: tuple[str, str], hop: Any
) -> None:
    made = hop_of(pool, *way, 7, to_caller=True)

    assert made == hop
    assert decode(encode([made])) == (made,)


def test_hop_on_curve_keeps_its_result_whatever_is_asked() -> None:
    assert not hop_of(load(stable()), A, B, 0, to_caller=True).to_caller


def test_hop_on_a_pool_of_ether_that_is_not_wrapped_is_unsupported() -> None:
    with pytest.raises(UnsupportedPool, match="with ether"):
        hop_of(ether_pool(), NO_HOOKS, A, 0, to_caller=True)


def test_hop_of_a_pair_the_pool_does_not_trade_is_refused() -> None:
    with pytest.raises(UnknownToken):
        hop_of(V3, A, C, 0, to_caller=True)


def test_hop_on_a_pool_of_no_venue_is_unsupported() -> None:
    @dataclass
    class Strange:
        key: str = POOL
        tokens: tuple[Token, ...] = COINS

    with pytest.raises(UnsupportedPool, match="Strange"):
        hop_of(Strange(), A, B, 0, to_caller=True)  # type: ignore[arg-type]
