"""All attacks, each on a copy of the same field, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain as joined

from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.units import E18
from scripts._attacks import griefing, prices, shares, stolen_keeper
from scripts._attacks.field import Attack, Field, Result, Tally, bound_b_e18, dollars

__all__ = ["ATTACKS", "Played", "play"]

_GENESIS_AT = 1_680_652_800

ATTACKS: dict[str, Attack] = {
    "stolen-keeper": stolen_keeper.stolen_keeper,
    "wash-trading": stolen_keeper.wash_trading,
    "rounding": shares.in_and_out,
    "retargeting": shares.retargeting,
    "stale-prices": prices.stale_prices,
    "moved-average": prices.moved_average,
    "first-depositor": shares.first_depositor,
    "read-only-reentrancy": shares.read_only_reentrancy,
    "griefing": griefing.griefing,
    "barred-tokens": griefing.barred_tokens,
    "losses": griefing.losses_shared,
}
"""By the name under which the command plays one alone."""
