"""The hop of a pool: one of each venue, both ways, and what no route can have."""

from __future__ import annotations

from typing import Any

import pytest

from rebalancer.errors import UnknownToken, UnsupportedPool
from rebalancer.route import Flags, Hop, decode, encode
from rebalancer.venues import Token, UniswapV3Pool, UniswapV4Pool, WrappedEtherPool, load
from rebalancer.venues.any_call import call_hop
from rebalancer.venues.pancakeswap_v3 import PancakeSwapV3Pool
from rebalancer.venues.swap_router_02 import router_hop
from rebalancer.venues.uniswap_v3 import TickProfile
from rebalancer.venues.uniswap_v3_math import Q96
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
PANCAKE = PancakeSwapV3Pool(POOL, *COINS, EMPTY, Q96, 0, 0)
V4 = UniswapV4Pool(C, *COINS, EMPTY, Q96, 0, 0, (1_000, 250))
WRAPPED = WrappedEtherPool(ether_pool(), Token(B, "WETH", 18))

AT_POOL, AT_C = POOL[2:], C[2:]
V4_BODY = AT_C + "000bb8" + "00003c" + NO_HOOKS[2:]
SENT = Flags.TO_CALLER
UNSIGNED, PAID_FIRST = 16, 32


def hop(venue: int, way: tuple[str, str], body: str, flags: int = SENT) -> Hop:
    return Hop(venue, 7, *way, bytes.fromhex(body), flags)


@pytest.mark.parametrize(
    ("pool", "way", "expected"),
    [
        (V3, (A, B), hop(1, (A, B), AT_POOL)),
        (V3, (B, A), hop(1, (B, A), AT_POOL)),
        (PANCAKE, (A, B), hop(1, (A, B), AT_POOL)),
        (PANCAKE, (B, A), hop(1, (B, A), AT_POOL)),
        (load(v2()), (A, B), hop(3, (A, B), AT_POOL + "001e")),
        (load(v2(fee_bps=25)), (B, A), hop(3, (B, A), AT_POOL + "0019")),
        # The key's fee is the providers'; the protocol's is PoolManager's own affair.
        (V4, (A, B), hop(4, (A, B), V4_BODY)),
        (V4, (B, A), hop(4, (B, A), V4_BODY)),
        (WRAPPED, (B, A), hop(4, (B, A), V4_BODY, SENT | Flags.ETHER_IN)),
        (WRAPPED, (A, B), hop(4, (A, B), V4_BODY, SENT | Flags.ETHER_OUT)),
        (load(balancer()), (B, A), hop(5, (B, A), AT_C + AT_POOL + "0" * 24)),
        # What Curve pays stays with the executor.
        (load(stable()), (A, B), hop(6, (A, B), AT_POOL + "0001", 0)),
        (load(crypto()), (C, B), hop(6, (C, B), AT_POOL + "0201", UNSIGNED)),
    ],
)
def test_hop_of_a_pool_swaps_there_and_survives_encoding(pool: Any, way: tuple[str, str], expected: Hop) -> None:
    made = pool.hop(*way, 7, to_caller=True)

    assert made == expected
    assert pool.hop(way[0].upper().replace("X", "x"), way[1], 7, to_caller=True) == expected
    assert pool.hop(*way, 7, to_caller=False).flags == expected.flags & ~SENT
    assert decode(encode([made])) == (made,)


def test_only_pools_of_uniswap_v3_and_its_fork_are_bought_from_exactly() -> None:
    others = (V4, WRAPPED, load(v2()), load(balancer()), load(stable()), load(crypto()))

    assert V3.BUYS_EXACTLY
    assert PANCAKE.BUYS_EXACTLY
    assert not any(pool.BUYS_EXACTLY for pool in others)
    bought = V3.hop(A, B, 7, to_caller=True).buying(9)
    assert (bought.amount_raw, bought.is_exact_out, bought.to_caller) == (9, True, True)


def test_hop_on_a_pool_of_ether_that_is_not_wrapped_is_unsupported() -> None:
    with pytest.raises(UnsupportedPool, match="with unwrapped ether"):
        ether_pool().hop(NO_HOOKS, A, 0, to_caller=True)


def test_hop_of_a_pair_the_pool_does_not_trade_is_refused() -> None:
    for pool in (V3, PANCAKE, V4, WRAPPED, load(v2()), load(balancer()), load(stable())):
        with pytest.raises(UnknownToken):
            pool.hop(A, "0x" + "9" * 40, 0, to_caller=True)


def test_hop_by_the_router_names_the_ends_of_its_path() -> None:
    made = router_hop(C, 7, (A, POOL, B), (500, 10_000), to_caller=True)

    body = AT_C + A[2:] + "0001f4" + AT_POOL + "002710" + B[2:]
    assert made == hop(2, (A, B), body)


@pytest.mark.parametrize(
    ("path", "fees", "why"),
    [
        ((A, "0xB", C), (500, 500), "'0xB' is not an address"),
        ((A, B), (500, 500), "2 fees do not match 2 tokens"),
        ((A,), (), "0 fees do not match 1 tokens"),
        ((A, B), (2**24,), "fee 16777216 does not fit 3 bytes"),
        ((A, B), (-1,), "fee -1 does not fit 3 bytes"),
    ],
)
def test_a_path_that_is_none_is_refused(path: tuple[str, ...], fees: tuple[int, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        router_hop(C, 7, path, fees, to_caller=True)


def test_hop_by_a_call_says_who_spends_and_where_the_amount_goes() -> None:
    data = b"\xee" * 36

    taken = call_hop(C, data, 7, A, B, to_caller=True, spender=POOL, amount_offset=4)
    assert taken == hop(7, (A, B), AT_C + AT_POOL + "0004" + data.hex())
    paid = call_hop(C, data, 7, A, B, to_caller=False, spender=POOL, paid_first=True)
    assert paid == hop(7, (A, B), AT_C + AT_POOL + "ffff" + data.hex(), PAID_FIRST)
    both = call_hop(C, b"", 7, A, B, to_caller=False, ether_in=True, ether_out=True)
    ether = Flags.ETHER_IN | Flags.ETHER_OUT
    assert both == hop(7, (A, B), AT_C + NO_HOOKS[2:] + "ffff", ether)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"amount_offset": 5}, "36 bytes have no room for an amount at 5"),
        ({"amount_offset": -1}, "no room for an amount at -1"),
        ({"paid_first": True}, "paid_first requires a spender"),
        ({"ether_in": True, "spender": POOL}, "paid in ether has no spender"),
        ({"spender": "nobody"}, "'nobody' is not an address"),
    ],
)
def test_a_call_that_contradicts_itself_is_refused(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        call_hop(C, b"\xee" * 36, 7, A, B, to_caller=True, **parts)
