"""Any route survives the way to bytes and back, and any bytes are a route or a refusal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rebalancer.errors import BadRoute
from rebalancer.route import Hop, decode, encode

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
hops = st.builds(
    Hop,
    venue=st.integers(0, 255),
    amount_raw=st.integers(0, 2**128 - 1),
    token_in=addresses,
    token_out=addresses,
    body=st.binary(max_size=100),
    flags=st.integers(0, 255),
)


@given(st.lists(hops, max_size=6))
def test_route_encoded_then_decoded_is_the_same(route: list[Hop]) -> None:
    assert decode(encode(route)) == tuple(route)


@given(
    st.lists(hops, max_size=3).map(encode).flatmap(lambda route: st.binary().map(route.__add__))
    | st.binary(max_size=300)
)
def test_bytes_decoded_then_encoded_are_the_same_or_refused(route: bytes) -> None:
    try:
        found = decode(route)
    except BadRoute:
        return
    assert encode(found) == route
