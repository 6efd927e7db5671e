"""Resources of one chain's keeper: what its parts share."""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.chain.rpc import Rpc
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.evaluator import Evaluates
from rebalancer.send.outbox import Outbox
from rebalancer.send.signed import Signer
from rebalancer.send.simulate import Simulator

__all__ = ["KeeperResources"]


@dataclass(frozen=True, slots=True)
class KeeperResources:
    """The endpoint, the vaults and the accounts of one chain's keeper. Without an outbox, the keeper sends nothing."""

    rpc: Rpc
    context: KeeperContext
    signers: tuple[Signer, ...]
    outbox: Outbox | None
    evaluator: Evaluates
    simulator: Simulator
