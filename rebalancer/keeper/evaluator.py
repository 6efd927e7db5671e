"""Evaluation of the vaults of a chain at a block: which vaults need a transaction, and which one. Sends nothing.

A small number of vaults is read in full at every block, by one call. Otherwise the vault index selects the candidates,
and only those are read. Pools are read when a vault is first planned; after that their logs keep them current, and at
intervals all are compared with the chain. The verdict about a vault does not depend on the machine or on the other
vaults.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

import structlog

from rebalancer.block import Block
from rebalancer.chain.heads import Head
from rebalancer.chain.pool_cache import PoolCache
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot, read_vaults
from rebalancer.chain.vault_index import VaultIndex
from rebalancer.errors import ContractMissing, ContractReverted, PolicyRefused, PoolError
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.decide import Conditions, Verdict, as_traded, decide, wants_plan
from rebalancer.keeper.outages import LeftOut, Outages, Scope
from rebalancer.keeper.planners import Planners
from rebalancer.reasons import Reason
from rebalancer.settlement import weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import Pool, PoolState
from rebalancer.venues.model import ETHER_ADDRESS

__all__ = ["Evaluates", "Evaluation", "Evaluator", "EvaluatorOptions", "misallocated_e18"]

log = structlog.get_logger("rebalancer.keeper")


@dataclass(frozen=True, slots=True)
class EvaluatorOptions:
    """How thorough an evaluator is."""

    exact_vaults: int = 50
    """Up to this number, all vaults are read in full at every block; they fit one call."""
    audit_vaults: int = 10
    """Above that number, vaults that are read again in turn at each block, whether or not anything happened to them."""
    check_pools_blocks: int = 300
    """Interval in blocks at which all pools are compared with the chain."""
    replan_blocks: int = 1
    """Interval in blocks at which a vault without a plan is planned again; each vault has its own turn."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All vaults at one block. `verdicts` are of the vaults that were read in full, the largest misallocation first;
    the mappings have all vaults.

    `planned` vaults were planned with `pools`, which are empty if other machines planned. `diverged_pools`,
    `differing_vaults` and `left_out` (pools that could not be read) are alarms, by key and address.
    """

    block: Block
    verdicts: tuple[Verdict, ...]
    reasons: Mapping[str, Reason]
    epochs: Mapping[str, int]
    drifts_bps: Mapping[str, int]
    planned: int = 0
    diverged_pools: tuple[str, ...] = ()
    differing_vaults: tuple[str, ...] = ()
    pools: tuple[PoolState, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class Evaluates(Protocol):
    """Evaluates the vaults of a chain: one evaluator, or many machines at once."""

    options: EvaluatorOptions

    def evaluate(
        self, head: Head, conditions: Conditions, in_flight: Collection[str] = (), without: Collection[Scope] = ()
    ) -> Evaluation:
        """Evaluate all vaults at a head. No trades are planned for vaults `in_flight` (or halted), nor on
        pools in `without`.

        Raises:
            ChainError: the chain could not be read. Cached state stays valid; the next head must include the logs of
                this one.
        """

    def again(self, snapshot: VaultSnapshot, conditions: Conditions, without: Collection[Scope]) -> Verdict | None:
        """Decide again about a vault of the newest evaluation, without some pools; None if this machine cannot do that
        at once."""

    def retry_pools(self) -> None:
        """Try pools that could not be read again at the next planning."""

    def doubt(self, vault: str) -> None:
        """Note that a quorum of endpoints contradicts the newest evaluation of a vault."""


class Evaluator:
    """Evaluates the vaults of a context by one endpoint. Not thread-safe."""

    def __init__(self, rpc: Rpc, context: KeeperContext, options: EvaluatorOptions | None = None) -> None:
        self.rpc = rpc
        self.context = context
        self.options = options or EvaluatorOptions()
        many = len(context.vaults) > self.options.exact_vaults
        self.planners = Planners()
        self._vault_index = VaultIndex(rpc, context.system.lens, context.vaults) if many else None
        self._pools: PoolCache | None = None
        self._outages = Outages()
        self._out: set[Scope] = set()
        """Pools that the cache cannot give, as far as the outages know."""
        self._checked_at = 0
        self._differing: tuple[str, ...] = ()
        self._late: set[str] = set()
        self._index_of = {vault: index for index, vault in enumerate(context.vaults)}

    def close(self) -> None:
        """End the planner processes; the endpoint stays open."""
        self.planners.close()

    def evaluate(
        self, head: Head, conditions: Conditions, in_flight: Collection[str] = (), without: Collection[Scope] = ()
    ) -> Evaluation:
        """See `Evaluates.evaluate`."""
        block = Block(head.header.number, head.header.hash, head.header.timestamp)
        reasons: dict[str, Reason] = {}
        epochs: dict[str, int] = {}
        drifts_bps: dict[str, int] = {}
        if self._vault_index is None:
            snapshots = (
                read_vaults(self.rpc, self.context.system.lens, self.context.vaults, block)
                if self.context.vaults
                else ()
            )
        else:
            self._vault_index.advance(head)
            judged = self._vault_index.judge(block)
            snapshots = self._vault_index.read(judged.candidates, block)
            reasons = dict(zip(self._vault_index.vaults, judged.reasons, strict=True))
            epochs = self._vault_index.epochs
            rounded = (judged.drift * BPS).astype(int).tolist()
            drifts_bps = dict(zip(self._vault_index.vaults, rounded, strict=True))
            differing = [found.vault for found in self._vault_index.audit(block, self.options.audit_vaults)]
            self._differing = tuple(dict.fromkeys((*self._differing, *differing)))
        ranked = sorted(snapshots, key=lambda one: (-misallocated_e18(one), self._index_of[one.address]))
        verdicts, planned = self._verdicts(ranked, block, conditions, in_flight, without)
        pools = self._pools
        return Evaluation(
            block,
            verdicts,
            reasons | {verdict.vault: verdict.reason for verdict in verdicts},
            epochs | {one.address: one.state.epoch for one in snapshots},
            drifts_bps | {one.address: one.drift_bps for one in snapshots},
            planned,
            tuple(pools.diverged) if pools else (),
            self._differing,
            self._usable(without) if planned else (),
            self._outages.reported(Scope(key) for key in (pools.unread if pools else ())),
        )

    def again(self, snapshot: VaultSnapshot, conditions: Conditions, without: Collection[Scope]) -> Verdict | None:
        """See `Evaluates.again`."""
        if self._pools is None or self._pools.block.timestamp != snapshot.basket.timestamp:
            return None
        found = self.planners.decide([snapshot], self._traded(without), conditions, self.rpc.deadline)
        return found.get(snapshot.address)

    def retry_pools(self) -> None:
        """See `Evaluates.retry_pools`."""
        self._outages.forget()

    def doubt(self, vault: str) -> None:
        """See `Evaluates.doubt`: with its own endpoints, this evaluator can only fail the tick."""

    def _verdicts(
        self,
        snapshots: Sequence[VaultSnapshot],
        block: Block,
        conditions: Conditions,
        in_flight: Collection[str],
        without: Collection[Scope],
    ) -> tuple[tuple[Verdict, ...], int]:
        """The verdicts about these vaults, and how many of them were planned."""
        due = [
            snapshot
            for snapshot in snapshots
            if wants_plan(snapshot) and snapshot.address not in in_flight and self._has_turn(snapshot, block)
        ]
        # The vaults that the last block had no time for come first; otherwise they could wait for ever.
        due.sort(key=lambda snapshot: snapshot.address not in self._late)
        if due:
            self._read_pools(block)
        pools = self._traded(without) if due else ()
        decided = self.planners.decide(due, pools, conditions, self.rpc.deadline)
        wanted = {snapshot.address for snapshot in due}
        self._late = wanted - decided.keys()
        verdicts = []
        for snapshot in snapshots:
            found = decided.get(snapshot.address)
            if found is None:
                found = self._without_plan(snapshot, conditions, in_flight, wanted)
            verdicts.append(found)
        return tuple(verdicts), len(decided)

    def _without_plan(
        self, snapshot: VaultSnapshot, conditions: Conditions, in_flight: Collection[str], wanted: Collection[str]
    ) -> Verdict:
        """The verdict about a vault that was not planned."""
        if snapshot.address in in_flight:
            text = "its transaction is in flight"
            return Verdict(snapshot, Reason.IN_FLIGHT, text)
        if not wants_plan(snapshot):
            return decide(snapshot, (), conditions)
        if snapshot.address in wanted:
            text = "the tick had no time left to plan it"
        else:
            text = f"it is planned again at intervals of {self.options.replan_blocks} blocks"
        return Verdict(snapshot, Reason.NOT_YET, text)

    def _has_turn(self, snapshot: VaultSnapshot, block: Block) -> bool:
        """Whether to plan a vault at a block: at once when its band breaks, then in turn. It depends on the chain only,
        so that all machines agree, also after a restart."""
        every = self.options.replan_blocks
        if not snapshot.state.due_since or snapshot.state.due_since == block.timestamp:
            return True
        return (block.number + crc32(snapshot.address.encode())) % every == 0

    # Pools

    def _read_pools(self, block: Block) -> None:
        """Update the pool cache to a block, and retry pools that it cannot give when they are due."""
        context = self.context
        if self._pools is None:
            known = {token.address: token for token in context.tokens}
            self._pools = PoolCache(
                self.rpc, context.pools, block, context.chain_id, tokens=known, lens=context.system.uniswap_v3_lens
            )
            self._checked_at = block.number
        elif self._pools.block.hash != block.hash:
            diverged = self._pools.update(block)
            if block.number - self._checked_at >= self.options.check_pools_blocks:
                diverged += self._pools.check()
                self._checked_at = block.number
            for one in diverged:
                log.error("pool_diverged", pool=one.pool, block=one.block, why=one.why)
        self._try_again(self._pools)

    def _try_again(self, pool_cache: PoolCache) -> None:
        now = float(pool_cache.block.timestamp)
        for key, failure in {**pool_cache.unread, **pool_cache.diverged}.items():
            scope = Scope(key)
            why = str(failure).rstrip(".")
            if scope in self._out:
                if self._outages.is_open(scope, now):
                    continue
                try:
                    pool_cache.read_again(key)
                except (PoolError, ContractMissing, ContractReverted) as still:
                    why = str(still).rstrip(".")
                else:
                    self._out.discard(scope)
                    log.info("pool_read_again", pool=key, block=pool_cache.block.number)
                    continue
            self._out.add(scope)
            reported = self._outages.failed(scope, why, now)
            log.warning("pool_left_out", pool=key, why=why, seconds=reported.until - now)
        self._outages.scopes(now)  # forgets pools without a recent failure

    def _usable(self, without: Collection[Scope]) -> tuple[PoolState, ...]:
        """The pools to plan with, in full."""
        if self._pools is None:
            return ()
        if not without:
            return self._pools.pools
        found = []
        for pool in self._pools.pools:
            tokens = {token.address for token in pool.tokens}
            if ETHER_ADDRESS in tokens:
                tokens.add(self.context.wrapped_native)
            if not any(scope.covers(pool.key, pool.holder, tokens) for scope in without):
                found.append(pool)
        return tuple(found)

    def _traded(self, without: Collection[Scope]) -> tuple[Pool, ...]:
        """The same pools as the planner sees them."""
        return as_traded(self._usable(without), self.context.tokens, self.context.wrapped_native)


def misallocated_e18(snapshot: VaultSnapshot) -> int:
    """Value outside the bands of a vault's weights, in USD times 1e18, rounded down; 0 if there is no valid
    valuation."""
    basket = snapshot.basket
    try:
        weighed = weigh_basket(basket)
    except PolicyRefused:
        return 0
    return sum(
        max(0, abs(distance) - band_e18 * weighed.total_e18 // E18)
        for asset, distance, band_e18 in zip(basket.assets, weighed.distances_e18, basket.bands_e18, strict=True)
        if not asset.excluded
    )
