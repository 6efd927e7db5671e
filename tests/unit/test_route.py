"""Routes by hand: the bytes RouteExecutor reads, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rebalancer.errors import BadRoute
from rebalancer.plan.route import (
    BalancerHop,
    BuyHop,
    CallHop,
    CurveHop,
    Hop,
    PairHop,
    PoolHop,
    RouterHop,
    V4Hop,
    decode,
    encode,
)

A, B, C = ("0x" + digit * 40 for digit in "abc")
POOL, ROUTER = "0x" + "1" * 40, "0x" + "2" * 40

POOL_HOP = PoolHop(1, A, POOL, zero_for_one=True, to_caller=False)
ROUTER_HOP = RouterHop(0, ROUTER, (A, B, C), (500, 10_000), to_caller=True)

PAIR_HOP = PairHop(2, A, POOL, zero_for_one=True, to_caller=True)
V4_HOP = V4Hop(3, A, ROUTER, B, 500, -10, C, to_caller=False, ether_in=True)
BALANCER_HOP = BalancerHop(4, A, ROUTER, B, "0x" + "5" * 64, to_caller=True)
CURVE_HOP = CurveHop(5, A, POOL, B, 2, 0, unsigned=True)
BUY_HOP = BuyHop(7, A, POOL, zero_for_one=True, to_caller=True)
CALL_HOP = CallHop(6, A, ROUTER, C, B, 4, b"\xee" * 36, to_caller=False)

HOPS: dict[str, Hop] = {
    "pool": POOL_HOP,
    "router": ROUTER_HOP,
    "pair": PAIR_HOP,
    "v4": V4_HOP,
    "balancer": BALANCER_HOP,
    "curve": CURVE_HOP,
    "call": CALL_HOP,
    "buy": BUY_HOP,
}


def test_encode_a_pool_hop_by_hand() -> None:
    assert encode([POOL_HOP]).hex() == "01" + "00" * 15 + "01" + "a" * 40 + "1" * 40 + "01"
    kept = replace(POOL_HOP, zero_for_one=False, to_caller=True)
    assert encode([kept]).hex().endswith("1" * 40 + "02")


def test_encode_a_router_hop_by_hand() -> None:
    head = "02" + "00" * 16 + "a" * 40 + "2" * 40 + "02" + "02"
    assert encode([ROUTER_HOP]).hex() == head + "a" * 40 + "0001f4" + "b" * 40 + "002710" + "c" * 40


@pytest.mark.parametrize(
    ("name", "target", "flags", "body"),
    [
        ("pair", "1", "03", "001e"),
        ("v4", "2", "04", "b" * 40 + "0001f4" + "fffff6" + "c" * 40),
        ("balancer", "2", "02", "b" * 40 + "5" * 64),
        ("curve", "1", "10", "b" * 40 + "02" + "00"),
        ("call", "2", "00", "c" * 40 + "b" * 40 + "0004" + "0024" + "ee" * 36),
        ("buy", "1", "03", ""),
    ],
)
def test_encode_other_hops_by_hand(name: str, target: str, flags: str, body: str) -> None:
    venue = list(HOPS).index(name) + 1
    hop = HOPS[name]
    amount = hop.amount_out_raw if isinstance(hop, BuyHop) else hop.amount_in_raw
    head = f"{venue:02x}{amount:032x}" + "a" * 40 + target * 40 + flags
    assert encode([HOPS[name]]).hex() == head + body


def test_encode_both_sides_in_ether_and_nobody_to_spend() -> None:
    assert encode([replace(V4_HOP, ether_out=True, to_caller=True)])[57] == 0b1110
    fixed = replace(CALL_HOP, spender=None, amount_offset=None, data=b"")
    assert encode([fixed])[58:].hex() == "0" * 40 + "b" * 40 + "ffff" + "0000"
    assert decode(encode([fixed])) == (fixed,)


def test_encode_a_call_whose_target_is_paid_first() -> None:
    paid = replace(CALL_HOP, paid_first=True, to_caller=True)
    assert encode([paid])[57] == 0b100010
    assert decode(encode([paid])) == (paid,)
    with pytest.raises(BadRoute, match="nobody is named who is to be paid first"):
        encode([replace(paid, spender=None)])
    route = bytearray(encode([paid]))
    route[58:78] = bytes(20)
    with pytest.raises(BadRoute, match="nobody is named who is to be paid first"):
        decode(bytes(route))


def test_encode_a_call_that_takes_and_brings_ether() -> None:
    both = replace(CALL_HOP, spender=None, ether_in=True, ether_out=True)
    assert encode([both])[57] == 0b1100
    assert decode(encode([both])) == (both,)
    with pytest.raises(BadRoute, match="paid in ether has no spender"):
        encode([replace(both, spender=C)])
    route = bytearray(encode([both]))
    route[77] = 1
    with pytest.raises(BadRoute, match="paid in ether has no spender"):
        decode(bytes(route))


def test_encode_hops_one_after_another() -> None:
    assert encode([POOL_HOP, ROUTER_HOP]) == encode([POOL_HOP]) + encode([ROUTER_HOP])
    assert encode([]) == b""
    assert decode(b"") == ()


def test_encode_addresses_in_any_case_reads_back_lower() -> None:
    shouting = replace(POOL_HOP, token_in="0x" + "A" * 40)
    assert decode(encode([shouting])) == (POOL_HOP,)


@pytest.mark.parametrize(
    ("hop", "why"),
    [
        (replace(POOL_HOP, amount_in_raw=-1), "amount -1 does not fit"),
        (replace(POOL_HOP, amount_in_raw=2**128), "does not fit 16 bytes"),
        (replace(POOL_HOP, pool="0x12"), "'0x12' is not an address"),
        (replace(POOL_HOP, token_in="WETH"), "'WETH' is not an address"),
        (replace(ROUTER_HOP, router=""), "'' is not an address"),
        (replace(ROUTER_HOP, path=(A, "B", C)), "'B' is not an address"),
        (replace(ROUTER_HOP, path=(A, B)), "2 fees do not lie between 2 tokens"),
        (replace(ROUTER_HOP, fees_pips=()), "not 0"),
        (replace(ROUTER_HOP, path=(A,) * 257, fees_pips=(1,) * 256), "not 256"),
        (replace(ROUTER_HOP, fees_pips=(500, 2**24)), "fee 16777216 does not fit"),
        (replace(ROUTER_HOP, fees_pips=(500, -1)), "fee -1 does not fit"),
        (replace(PAIR_HOP, fee_bps=10_000), "fee 10000 is not below"),
        (replace(PAIR_HOP, fee_bps=-1), "fee -1 is not below"),
        (replace(V4_HOP, fee_pips=2**24), "fee 16777216 does not fit 3 bytes"),
        (replace(V4_HOP, tick_spacing=2**23), "tick spacing 8388608 does not fit 3 bytes"),
        (replace(V4_HOP, hooks="none"), "'none' is not an address"),
        (replace(BALANCER_HOP, pool_id=A), "is not a pool's id"),
        (replace(CURVE_HOP, i=256), "coin 256 does not fit 1 bytes"),
        (replace(CURVE_HOP, j=-1), "coin -1 does not fit 1 bytes"),
        (replace(CALL_HOP, amount_offset=5), "36 bytes have no room for an amount at 5"),
        (replace(CALL_HOP, amount_offset=-1), "no room for an amount at -1"),
        (replace(CALL_HOP, data=b"1" * 2**16), "length of the data 65536 does not fit"),
    ],
)
def test_encode_what_does_not_fit_is_refused(hop: Hop, why: str) -> None:
    with pytest.raises(BadRoute, match=why) as refusal:
        encode([POOL_HOP, hop])
    assert refusal.value.position == 1


def flipped(route: bytes, at: int, value: int) -> bytes:
    """The route with one byte replaced."""
    return route[:at] + bytes([value]) + route[at + 1 :]


@pytest.mark.parametrize(
    ("route", "position", "why"),
    [
        (flipped(encode([POOL_HOP]), 0, 99), 0, "venue 99"),
        (encode([POOL_HOP]) + b"\x00", 58, "venue 0"),
        (flipped(encode([POOL_HOP]), 57, 4), 57, "flags 0x04"),
        (flipped(encode([ROUTER_HOP]), 57, 3), 57, "flags 0x03"),
        (flipped(encode([ROUTER_HOP]), 58, 0), 58, "at least one pool"),
        (flipped(encode([ROUTER_HOP]), 59, 0), 0, "the path starts with 0x00aaaa"),
        (flipped(encode([PAIR_HOP]), 58, 0x27), 58, "fee 10014 is not below"),
        (flipped(encode([CURVE_HOP]), 57, 2), 57, "flags 0x02"),
        (flipped(encode([CALL_HOP]), 99, 5), 98, "36 bytes have no room for an amount at 5"),
    ],
)
def test_decode_what_no_executor_reads_is_refused(route: bytes, position: int, why: str) -> None:
    with pytest.raises(BadRoute, match=why) as refusal:
        decode(route)
    assert refusal.value.position == position


@pytest.mark.parametrize("hop", HOPS.values(), ids=HOPS)
def test_decode_a_route_cut_anywhere_is_refused(hop: Any) -> None:
    whole = encode([hop])
    for length in range(1, len(whole)):
        with pytest.raises(BadRoute, match=f"ends after {length} bytes"):
            decode(whole[:length])
