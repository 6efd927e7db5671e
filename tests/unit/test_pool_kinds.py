"""Venues that docs/venues.md lists are those that can be loaded, quoted and traded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rebalancer.venues import KINDS, PoolState, check_ref, load, venue_named
from tests.unit import test_pool_protocols as made
from tests.unit.test_balancer_v3 import weighted_v3
from tests.unit.test_pools import pancake_snapshot
from tests.unit.test_pools import snapshot as v3
from tests.unit.test_pools import v4_snapshot as v4
from tests.unit.test_slipstream import VECTORS as SLIPSTREAM
from tests.unit.test_wrap_venues import share_vault, wsteth


def pools() -> list[PoolState]:
    """At least one of every kind."""
    whole = (
        v3(),
        pancake_snapshot(),
        v4(),
        weighted_v3(),
        *(snapshot() for snapshot in made.SNAPSHOTS.values()),
    )
    wraps = share_vault().to_json(), wsteth().to_json()
    (slipstream,) = (one["pool"] for one in SLIPSTREAM if one["pool"]["name"] == "Slipstream 11")
    return [load(snapshot) for snapshot in (*whole, *wraps, slipstream)]


def test_venues_page_lists_what_is_served_and_no_more(repo_root: Path) -> None:
    page = (repo_root / "docs/venues.md").read_text(encoding="utf-8")
    table = page.split("\n## ", 1)[0]

    assert tuple(re.findall(r"^\| ((?:[A-Z]|wst)[^|]*?) \|", table, re.MULTILINE)) == KINDS


def test_there_is_a_pool_of_every_kind() -> None:
    assert {pool.kind for pool in pools()} == set(KINDS)


@pytest.mark.parametrize("pool", pools(), ids=lambda pool: pool.kind)
def test_pool_of_every_kind_is_told_by_its_reference(pool: PoolState) -> None:
    """Its fee is Uniswap's and its forks' alone: pools of Balancer and Curve tell theirs when they are read."""
    ref = pool.ref

    assert check_ref(ref) is ref
    assert (ref.address, ref.key) == (pool.address, pool.key)
    assert ref.tokens == tuple(token.address for token in pool.tokens)
    assert pool.kind in venue_named(ref.venue).kinds
    assert ref.fee_pips == (0 if ref.venue in ("balancer", "balancer-v3", "curve") else pool.fee_pips)


@pytest.mark.parametrize("pool", pools(), ids=lambda pool: pool.kind)
def test_pool_of_every_kind_is_quoted_and_traded(pool: PoolState) -> None:
    ends = [token.address for token in pool.tokens]
    for token_in, token_out in ((ends[0], ends[-1]), (ends[-1], ends[0])):
        amount = 10**6
        out = pool.quote_in(token_in, token_out, amount)
        while out < 1_000:
            amount *= 1_000
            out = pool.quote_in(token_in, token_out, amount)

        paid, after = pool.swapped(token_in, token_out, amount)
        hop = pool.hop(token_in, token_out, amount, to_caller=False)

        assert paid == out
        assert after.quote_in(token_in, token_out, amount) <= out
        needed = pool.quote_out(token_in, token_out, out)
        # Balancer charges its largest error both ways.
        assert pool.quote_in(token_in, token_out, needed) >= out - out // 10**5
        assert hop.amount_raw == amount
