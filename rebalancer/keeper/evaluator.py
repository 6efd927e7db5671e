"""Evaluation of the vaults of a chain at a block: which need something, and what. Nothing is sent here.

Few vaults are all read exactly at every block, by one call. Of very many, the book of vaults tells which need a look, and only those
are read. Pools are read when trades are first sought, and from then on kept current from their logs; every so many blocks all are
compared with the chain. Whoever evaluates a share of the vaults, on whatever machine, comes to the same verdicts for them.
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
    """Up to so many vaults are all read exactly at every block; they fit one call."""
    audit_vaults: int = 10
    """Of more, so many a block are read again in turn, whether or not anything happened to them."""
    check_pools_blocks: int = 300
    """After so many blocks all pools are compared with the chain."""
    replan_blocks: int = 1
    """A vault for which no trades were found when its band broke is planned again every so many blocks, each at a turn of its own."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All vaults at one block. `verdicts` are of those that were read exactly, the most out of place first; the mappings are of all.

    `planned` is for how many trades were sought, in `pools`, which are empty where another machine did it. `diverged_pools` and
    `differing_vaults` are alarms, by key and by address, and so is `left_out`: pools that could not be read.
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
    """Whoever can say what the vaults of a chain need: one evaluator, or many at once."""

    options: EvaluatorOptions

    def evaluate(
        self,
        head: Head,
        conditions: Conditions,
        under_way: Collection[str] = (),
        without: Collection[Scope] = (),
    ) -> Evaluation:
        """All vaults at a head. For those `under_way`, or left alone for another reason, no trades are sought, and none on pools
        that are to be done `without`.

        Raises:
            ChainError: the chain could not be read. What was known stays, and the head's news is still needed.
        """

    def again(self, snapshot: VaultSnapshot, conditions: Conditions, without: Collection[Scope]) -> Verdict | None:
        """What is to be done about a vault of the newest evaluation, on other pools; None where that is not told at once."""

    def retry_pools(self) -> None:
        """Have pools that could not be read tried again when trades are next sought."""

    def doubt(self, vault: str) -> None:
        """Take note that what the newest evaluation has of a vault is not what a quorum of endpoints says."""


class Evaluator:
    """Evaluates the vaults of a site by one endpoint. Not to be shared by threads."""

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
        """Pools that the book cannot give, as far as that is noted in the outages."""
        self._checked_at = 0
        self._differing: tuple[str, ...] = ()
        self._late: set[str] = set()
        self._index_of = {vault: index for index, vault in enumerate(context.vaults)}

    def close(self) -> None:
        """End what was begun to plan with; the endpoint stays open."""
        self.planners.close()

    def evaluate(
        self,
        head: Head,
        conditions: Conditions,
        under_way: Collection[str] = (),
        without: Collection[Scope] = (),
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
        verdicts, planned = self._verdicts(ranked, block, conditions, under_way, without)
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
        """See `Evaluates.doubt`: who reads by one's own endpoints can do no more than fail the look."""

    def _verdicts(
        self,
        snapshots: Sequence[VaultSnapshot],
        block: Block,
        conditions: Conditions,
        under_way: Collection[str],
        without: Collection[Scope],
    ) -> tuple[tuple[Verdict, ...], int]:
        """What is to be done about each of these vaults, and for how many trades were sought."""
        due = [
            snapshot
            for snapshot in snapshots
            if wants_plan(snapshot) and snapshot.address not in under_way and self._has_turn(snapshot, block)
        ]
        # Those for which no time was left come first now, or they might wait for ever.
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
                found = self._without_plan(snapshot, conditions, under_way, wanted)
            verdicts.append(found)
        return tuple(verdicts), len(decided)

    def _without_plan(
        self,
        snapshot: VaultSnapshot,
        conditions: Conditions,
        under_way: Collection[str],
        wanted: Collection[str],
    ) -> Verdict:
        """What is to be said of a vault for which no trades were sought."""
        if snapshot.address in under_way:
            text = "a transaction for it is under way"
            return Verdict(snapshot, Reason.UNDER_WAY, text)
        if not wants_plan(snapshot):
            return decide(snapshot, (), conditions)
        if snapshot.address in wanted:
            text = "there was no time left to plan for it at this block"
        else:
            text = f"it is planned again every {self.options.replan_blocks} blocks"
        return Verdict(snapshot, Reason.NOT_YET, text)

    def _has_turn(self, snapshot: VaultSnapshot, block: Block) -> bool:
        """Whether to plan for a vault now: at once when its band breaks, and then in turn. By the chain alone, so that it is the
        same for whoever looks, and after every restart."""
        every = self.options.replan_blocks
        if not snapshot.state.due_since or snapshot.state.due_since == block.timestamp:
            return True
        return (block.number + crc32(snapshot.address.encode())) % every == 0

    # Pools

    def _read_pools(self, block: Block) -> None:
        """Bring the book of pools to a block, and try again what it cannot give where that is due."""
        context = self.context
        if self._pools is None:
            known = {token.address: token for token in context.tokens}
            self._pools = PoolCache(
                self.rpc,
                context.pools,
                block,
                context.chain_id,
                tokens=known,
                lens=context.system.uniswap_v3_lens,
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
        self._outages.scopes(now)  # what has done well for long is forgotten

    def _usable(self, without: Collection[Scope]) -> tuple[PoolState, ...]:
        """The pools to seek trades on, whole."""
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
        """The same as routes see them."""
        return as_traded(self._usable(without), self.context.tokens, self.context.wrapped_native)


def misallocated_e18(snapshot: VaultSnapshot) -> int:
    """The value beyond the bands of a vault's weights, in USD times 1e18, rounded down; 0 where it cannot be weighed."""
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
