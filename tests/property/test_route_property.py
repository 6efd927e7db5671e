"""Any route survives the way to bytes and back, and any bytes are a route or a refusal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
raw_amounts = st.integers(0, 2**128 - 1)


@st.composite
def router_hops(draw: st.DrawFn) -> RouterHop:
    fees = draw(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=4))
    path = [draw(addresses) for _ in range(len(fees) + 1)]
    return RouterHop(
        draw(raw_amounts), draw(addresses), tuple(path), tuple(fees), draw(st.booleans())
    )


pool_hops = st.builds(
    PoolHop,
    amount_in_raw=raw_amounts,
    token_in=addresses,
    pool=addresses,
    zero_for_one=st.booleans(),
    to_caller=st.booleans(),
)

buy_hops = st.builds(
    BuyHop,
    amount_out_raw=raw_amounts,
    token_in=addresses,
    pool=addresses,
    zero_for_one=st.booleans(),
    to_caller=st.booleans(),
)

pair_hops = st.builds(
    PairHop,
    amount_in_raw=raw_amounts,
    token_in=addresses,
    pair=addresses,
    zero_for_one=st.booleans(),
    to_caller=st.booleans(),
    fee_bps=st.integers(0, 9_999),
)
v4_hops = st.builds(
    V4Hop,
    amount_in_raw=raw_amounts,
    token_in=addresses,
    manager=addresses,
    token_out=addresses,
    fee_pips=st.integers(0, 2**24 - 1),
    tick_spacing=st.integers(-(2**23), 2**23 - 1),
    hooks=addresses,
    to_caller=st.booleans(),
    ether_in=st.booleans(),
    ether_out=st.booleans(),
)
balancer_hops = st.builds(
    BalancerHop,
    amount_in_raw=raw_amounts,
    token_in=addresses,
    vault=addresses,
    token_out=addresses,
    pool_id=st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex()),
    to_caller=st.booleans(),
)
curve_hops = st.builds(
    CurveHop,
    amount_in_raw=raw_amounts,
    token_in=addresses,
    pool=addresses,
    token_out=addresses,
    i=st.integers(0, 255),
    j=st.integers(0, 255),
    unsigned=st.booleans(),
)


@st.composite
def call_hops(draw: st.DrawFn) -> CallHop:
    data = draw(st.binary(max_size=100))
    offsets = st.integers(0, len(data) - 32) if len(data) >= 32 else st.nothing()
    spender = draw(st.none() | addresses.filter(lambda address: int(address, 16) != 0))
    return CallHop(
        draw(raw_amounts),
        draw(addresses),
        draw(addresses),
        spender,
        draw(addresses),
        draw(st.none() | offsets),
        data,
        draw(st.booleans()),
        paid_first=spender is not None and draw(st.booleans()),
        ether_in=spender is None and draw(st.booleans()),
        ether_out=draw(st.booleans()),
    )


hops_of_all_venues = st.one_of(
    pool_hops, buy_hops, router_hops(), pair_hops, v4_hops, balancer_hops, curve_hops, call_hops()
)


@given(st.lists(hops_of_all_venues, max_size=6))
def test_route_encoded_then_decoded_is_the_same(hops: list[Hop]) -> None:
    assert decode(encode(hops)) == tuple(hops)


@given(
    st.tuples(st.integers(1, 8), st.binary(max_size=200)).map(lambda p: bytes([p[0]]) + p[1])
    | st.binary(max_size=200)
)
def test_bytes_decoded_then_encoded_are_the_same_or_refused(route: bytes) -> None:
    try:
        hops = decode(route)
    except BadRoute:
        return
    assert encode(hops) == route
