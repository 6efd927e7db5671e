"""What the README says is served is what can be loaded, quoted and traded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rebalancer.venues import KINDS, PoolState, load
from tests.unit import test_pool_protocols as made
from tests.unit.test_pools import snapshot as v3
from tests.unit.test_pools import v4_snapshot as v4


def pools() -> list[PoolState]:
    """At least one of every kind."""
    return [load(v3()), load(v4()), *(load(snapshot()) for snapshot in made.SNAPSHOTS.values())]


def test_readme_lists_what_is_served_and_no_more(repo_root: Path) -> None:
    readme = (repo_root / "README.md").read_text(encoding="utf-8")
    table = readme.split("\n## Pools\n", 1)[1].split("\n## ", 1)[0]

    assert tuple(re.findall(r"^\| ([A-Z][^|]*?) \|", table, re.MULTILINE)) == KINDS


def test_there_is_a_pool_of_every_kind() -> None:
    assert {pool.kind for pool in pools()} == set(KINDS)


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
