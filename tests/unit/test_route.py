"""Routes by hand: the bytes RouteExecutor reads, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.errors import BadRoute
from rebalancer.route import HEAD_BYTES, Flags, Hop, decode, encode

A, B = ("0x" + digit * 40 for digit in "ab")
HOP = Hop(1, 5, A, B, b"\x11\x22", Flags.TO_CALLER)
BARE = Hop(7, 0, B, A, b"")


def test_encode_a_hop_by_hand() -> None:
    head = "01" + f"{5:032x}" + "a" * 40 + "b" * 40 + "02" + "0002"

    assert encode([HOP]).hex() == head + "1122"
    assert len(encode([BARE])) == HEAD_BYTES == 60
    assert encode([HOP.buying(9)]).hex() == "01" + f"{9:032x}" + "a" * 40 + "b" * 40 + "0300021122"


def test_encode_hops_one_after_another() -> None:
    assert encode([HOP, BARE]) == encode([HOP]) + encode([BARE])
    assert decode(encode([HOP, BARE])) == (HOP, BARE)
    assert encode([]) == b""
    assert decode(b"") == ()


def test_encode_addresses_in_any_case_reads_back_lower() -> None:
    assert decode(encode([replace(HOP, token_in="0x" + "A" * 40)])) == (HOP,)


@pytest.mark.parametrize(
    ("hop", "why"),
    [
        (replace(HOP, amount_raw=-1), "amount -1 does not fit 16 bytes"),
        (replace(HOP, amount_raw=2**128), "does not fit 16 bytes"),
        (replace(HOP, token_in="WETH"), "'WETH' is not an address"),
        (replace(HOP, token_out="0x12"), "'0x12' is not an address"),
        (replace(HOP, token_out=""), "'' is not an address"),
        (replace(HOP, venue=256), "venue 256 does not fit 1 bytes"),
        (replace(HOP, flags=256), "flags 256 does not fit 1 bytes"),
        (replace(HOP, body=b"1" * 2**16), "body length 65536 does not fit 2 bytes"),
    ],
)
def test_encode_what_does_not_fit_is_refused(hop: Hop, why: str) -> None:
    with pytest.raises(BadRoute, match=why) as refusal:
        encode([HOP, hop])
    assert refusal.value.position == 1


def test_the_largest_of_everything_fits() -> None:
    largest = Hop(255, 2**128 - 1, A, B, b"1" * (2**16 - 1), 255)

    assert decode(encode([largest])) == (largest,)


def test_decode_a_route_cut_anywhere_is_refused() -> None:
    whole = encode([BARE, HOP])
    for length in range(1, len(whole)):
        if length == HEAD_BYTES:
            continue
        with pytest.raises(BadRoute, match=f"ends after {length} bytes") as refusal:
            decode(whole[:length])
        assert refusal.value.position == (HEAD_BYTES if length > HEAD_BYTES else 0)
