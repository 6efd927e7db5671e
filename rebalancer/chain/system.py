"""System contracts of a chain, which serve all vaults, and the roles that may call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.errors import LaunchUnfinished, SystemMissing

__all__ = ["ADAPTERS", "Role", "System"]


class Role(IntEnum):
    """Roles of the AccessManager. 0 is its ADMIN_ROLE, which grants the others.

    AUTOMATION is for networks that trigger the KeeperGate. It differs from KEEPER, which only the gate has, so such a
    network cannot choose an executor.
    """

    ADMIN = 0
    OWNER = 1
    CURATOR = 2
    GUARDIAN = 3
    KEEPER = 4
    AUTOMATION = 5


_CONTRACTS = {
    "authority": "AccessManager",
    "oracle": "OracleHub",
    "config_store": "ConfigStore",
    "extension": "VaultExtension",
    "implementation": "BasketVault",
    "factory": "VaultFactory",
    "vault_roles": "VaultRoles",
    "executor": "RouteExecutor",
    "zap": "Zap",
    "lens": "VaultLens",
    "gate": "KeeperGate",
    "uniswap_v3_lens": "UniswapV3Lens",
}
"""Field of `System` → contract name."""


ADAPTERS = tuple(dict.fromkeys(row.adapter for row in PRICE_SOURCES.values()))
"""Names of the price source adapters."""


@dataclass(frozen=True, slots=True)
class System:
    """Addresses of the contracts that serve all vaults of a chain.

    `price_sources` are the adapters by name; adapters that are newer than the launch are missing.
    """

    authority: str
    oracle: str
    config_store: str
    extension: str
    implementation: str
    factory: str
    vault_roles: str
    executor: str
    zap: str
    lens: str
    gate: str
    uniswap_v3_lens: str
    price_sources: Mapping[str, str]

    def contracts(self) -> dict[str, str]:
        """Contract name → address, as in an addresses file."""
        named = {name: getattr(self, field) for field, name in _CONTRACTS.items()}
        return {**named, **self.price_sources}

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """The system in an addresses file.

        Raises:
            LaunchUnfinished: a launch is not finished.
            SystemMissing: contracts are missing.
        """
        known = deployment.contracts
        needed = [*_CONTRACTS.values(), *(ADAPTERS if deployment.unfinished else ())]
        missing = [name for name in needed if name not in known]
        if missing and deployment.unfinished is not None:
            raise LaunchUnfinished(deployment.unfinished.deployer)
        if missing:
            raise SystemMissing(missing)
        fixed = {field: known[name] for field, name in _CONTRACTS.items()}
        return cls(**fixed, price_sources={name: known[name] for name in ADAPTERS if name in known})
