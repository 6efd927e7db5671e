"""Calls of a vault that a keeper sends, as data: rebalance, poke and sync."""

from __future__ import annotations

from rebalancer.chain.abi import interface
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.plan import Plan

__all__ = ["is_sync", "poke_data", "rebalance_data", "sync_data"]


def rebalance_data(snapshot: VaultSnapshot, plan: Plan, executor: str) -> str:
    """Trade as planned, by the route executor at an address."""
    return (
        interface("BasketVault")
        .at(snapshot.address)
        .data(
            "rebalance",
            snapshot.state.epoch,
            plan.sales_raw,
            plan.min_buys_raw,
            executor,
            plan.route,
        )
    )


def poke_data(snapshot: VaultSnapshot) -> str:
    """Stamp, or clear, since when a rebalance is due."""
    return interface("BasketVault").at(snapshot.address).data("poke")


def sync_data(snapshot: VaultSnapshot) -> str:
    """Write down the loss of the first asset of which anything is missing; other assets follow at later blocks."""
    asset = next(i for i, missing_raw in enumerate(snapshot.missing_raw) if missing_raw)
    return interface("BasketVault").at(snapshot.address).data("sync", asset)


def is_sync(data: str) -> bool:
    """Whether a call is a sync; what ends no epoch is otherwise a poke."""
    return interface("BasketVault").functions["sync"].is_called_by(data)
