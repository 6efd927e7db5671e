"""Any route survives the way to bytes and back, and any bytes are a route or a refusal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rebalancer.errors import BadRoute
from rebalancer.plan.route import Hop, PoolHop, RouterHop, decode, encode

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


@given(st.lists(st.one_of(pool_hops, router_hops()), max_size=6))
def test_route_encoded_then_decoded_is_the_same(hops: list[Hop]) -> None:
    assert decode(encode(hops)) == tuple(hops)


@given(st.binary(max_size=200).map(lambda tail: b"\x01" + tail) | st.binary(max_size=200))
def test_bytes_decoded_then_encoded_are_the_same_or_refused(route: bytes) -> None:
    try:
        hops = decode(route)
    except BadRoute:
        return
    assert encode(hops) == route
