"""What does a keeper work on? The vaults of one chain, and what they are traded on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import System
from rebalancer.venues import PoolRef, Token

__all__ = ["Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """One chain's vaults, the contracts that serve them, and the pools they are traded on. Addresses are lower case.

    `wrapped_native` is the token whose price weighs gas, "" where gas is not to be weighed.
    """

    chain_id: int
    system: System
    vaults: tuple[str, ...]
    pools: tuple[PoolRef, ...]
    tokens: tuple[Token, ...]
    wrapped_native: str = ""

    @classmethod
    def of(cls, deployment: Deployment, vaults: Sequence[str]) -> Self:
        """These vaults, each once, with everything else as an addresses file has it.

        Raises:
            SystemMissing: it names not all of the system.
        """
        return cls(
            deployment.chain_id,
            System.of(deployment),
            tuple(dict.fromkeys(vault.lower() for vault in vaults)),
            deployment.pools,
            tuple(Token(t.address, t.symbol, t.decimals) for t in deployment.tokens),
            deployment.wrapped_native,
        )
