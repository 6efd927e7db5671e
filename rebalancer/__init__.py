"""Rebalancer: vaults that hold a basket of tokens at target weights, and the keeper that trades them back.

The names below are the Python API, for notebooks and scripts; `docs/python.md` shows it at work. Everything else is private to the program.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rebalancer.api import Chain, Simulation, Vault, connect
    from rebalancer.block import Block
    from rebalancer.chain.snapshot import VaultSnapshot
    from rebalancer.errors import RebalancerError
    from rebalancer.keeper.decide import Verdict
    from rebalancer.operations.preview import Position, Preview
    from rebalancer.plan import Plan
    from rebalancer.reasons import Reason
    from rebalancer.send.signed import Signer
    from rebalancer.send.signer import devnet_signer
    from rebalancer.venues import Pool, PoolState

__all__ = [
    "Block",
    "Chain",
    "Plan",
    "Pool",
    "PoolState",
    "Position",
    "Preview",
    "Reason",
    "RebalancerError",
    "Signer",
    "Simulation",
    "Vault",
    "VaultSnapshot",
    "Verdict",
    "connect",
    "devnet_signer",
    "open_keystore",
]

_HOMES = {
    "Block": "chain.snapshot",
    "Chain": "api",
    "Plan": "plan",
    "Pool": "venues",
    "PoolState": "venues",
    "Position": "operations.preview",
    "Preview": "operations.preview",
    "Reason": "reasons",
    "RebalancerError": "errors",
    "Signer": "send.signed",
    "Simulation": "api",
    "Vault": "api",
    "VaultSnapshot": "chain.snapshot",
    "Verdict": "keeper.decide",
    "connect": "api",
    "devnet_signer": "send.signer",
    "open_keystore": "api",
}
"""Module of each name: imported when the name is first used, so that the command line starts quickly."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"rebalancer.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
