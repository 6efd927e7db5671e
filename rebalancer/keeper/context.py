"""Context of a keeper: the vaults of one chain, the pools that they trade on, and the options of the keeper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import System
from rebalancer.venues import PoolRef, Token

__all__ = ["KeeperContext", "KeeperOptions"]


@dataclass(frozen=True, slots=True)
class KeeperContext:
    """The vaults of one chain, the contracts that serve them, and the pools that they trade on. Addresses are lower
    case.

    `wrapped_native` is the token whose price values gas; where it is "", gas costs count as 0.
    """

    chain_id: int
    system: System
    vaults: tuple[str, ...]
    pools: tuple[PoolRef, ...]
    tokens: tuple[Token, ...]
    wrapped_native: str = ""

    @classmethod
    def of(cls, deployment: Deployment, vaults: Sequence[str]) -> Self:
        """The context of some vaults, with everything else from an addresses file. Duplicate vaults are removed.

        Raises:
            SystemMissing: the file does not name all contracts of the system.
        """
        return cls(
            deployment.chain_id,
            System.of(deployment),
            tuple(dict.fromkeys(vault.lower() for vault in vaults)),
            deployment.pools,
            tuple(Token(t.address, t.symbol, t.decimals) for t in deployment.tokens),
            deployment.wrapped_native,
        )


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """Options of a keeper. Times are in seconds."""

    dry_run: bool = False
    poll_seconds: float = 2.0
    max_consecutive_failures: int = 5
    """Consecutive failures before a circuit breaker opens: failed ticks for the chain's, refusals for a vault's."""
    gives_up: bool = True
    """Whether `run` ends when the chain's breaker opens; otherwise it retries after the backoff."""
    backoff_seconds: float = 60.0
    """Initial backoff of a circuit breaker; doubles up to 1 hour."""
    fee_cap_wei: int = 200 * 10**9
    """Highest price per gas; above it nothing is sent."""
    receipt_seconds: float = 180.0
    """Longest wait of a tick for receipts of its transactions; a later tick settles the rest. 0 does not wait."""
    tick_timeout_seconds: float = 12.0
    """A tick that takes longer fails."""
    socket_url: str | None = None
    """WebSocket endpoint that announces new blocks, if there is one."""
    native_price_e18: int = 0
    """Price of the native token where the oracle has none, USD times 1e18; 0: gas costs count as 0."""
