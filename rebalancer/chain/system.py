"""The system on a chain: the contracts that serve every vault, and the roles that may call them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Self

from rebalancer.chain.deployment import Deployment
from rebalancer.errors import LaunchUnfinished, SystemMissing

__all__ = ["Role", "System"]


class Role(IntEnum):
    """Roles of the AccessManager. 0 is its own ADMIN_ROLE, which hands out the others.

    AUTOMATION is for networks that trigger the KeeperGate. It is not KEEPER: that is the gate's own, so a network can name no executor.
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
"""Field of `System` → name of the contract."""


@dataclass(frozen=True, slots=True)
class System:
    """Addresses of the contracts that serve every vault of a chain."""

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

    def contracts(self) -> dict[str, str]:
        """Name of each contract → its address, as an addresses file has them."""
        return {_CONTRACTS[name]: address for name, address in asdict(self).items()}

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """The system an addresses file names.

        Raises:
            LaunchUnfinished: a launch has not come to its end.
            SystemMissing: it names not all of it.
        """
        missing = [name for name in _CONTRACTS.values() if name not in deployment.contracts]
        if missing and deployment.unfinished is not None:
            raise LaunchUnfinished(deployment.unfinished.deployer)
        if missing:
            raise SystemMissing(missing)
        return cls(**{field: deployment.contracts[name] for field, name in _CONTRACTS.items()})
