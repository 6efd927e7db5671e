"""Names at hand in `ape console`: `vault`, `lens` and `plan()` of the addresses file, and `system` for all else (docs/ape.md)."""

from __future__ import annotations

from typing import Any

import ape
from ape.managers.networks import NetworkManager

import rebalancer
from rebalancer.chain.artifacts import load_artifact
from rebalancer.settings import load_settings


def ape_init_extras(networks: NetworkManager) -> dict[str, Any]:
    """The first vault of the addresses file that the settings name, on the chain that Ape is connected to. Where there is none, it says so."""
    try:
        system = rebalancer.connect(networks.active_provider.web3, load_settings().deployment)
        names: dict[str, Any] = {"rebalancer": rebalancer, "system": system}
        # The ABI that is shipped: `project.VaultLens` would compile every contract first.
        abi = list(load_artifact("VaultLens").abi)
        names["lens"] = ape.Contract(system.deployment.contracts["VaultLens"], abi=abi)
        if system.vaults:
            vault = system.vault(system.vaults[0])
            names |= {"vault": vault, "plan": vault.plan}
    except rebalancer.RebalancerError as why:
        print(f"No vault, lens and plan(): {why}")  # noqa: T201 (a console)
        return {"rebalancer": rebalancer}
    return names
