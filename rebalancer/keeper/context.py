"""Context of a keeper: the vaults of one chain, what they are traded on, and the options by which it works."""

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


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """How a keeper goes about its work. Times are in seconds."""

    dry_run: bool = False
    poll_seconds: float = 2.0
    max_consecutive_failures: int = 5
    """After so many failed looks the chain's breaker opens, and after so many refusals a vault's."""
    gives_up: bool = True
    """Whether `run` ends when the chain's breaker opens; otherwise it rests and tries again."""
    backoff_seconds: float = 60.0
    """For how long a breaker stays open at first; twice that the next time, up to an hour."""
    fee_cap_wei: int = 200 * 10**9
    """Most to pay per gas; above it nothing is sent."""
    receipt_seconds: float = 180.0
    """How long a look waits for what it sent to be mined; what is not is settled by a later one. 0 is not at all."""
    tick_timeout_seconds: float = 12.0
    """How old a block may become while it is looked at; then the look fails."""
    socket_url: str | None = None
    """WebSocket endpoint that announces blocks, if there is one."""
    native_price_e18: int = 0
    """What a token of gas is worth where the chain's oracle does not price it, USD times 1e18; 0: gas then weighs nothing."""
