"""Which vaults of a chain need something at a block, and what? The books behind every decision; nothing is sent here.

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

from rebalancer.chain.heads import Head
from rebalancer.chain.poolbook import PoolBook
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import Block, VaultSnapshot, read_vaults
from rebalancer.chain.vaultbook import VaultBook
from rebalancer.errors import PolicyRefused
from rebalancer.keeper.decide import Conditions, Verdict, as_traded, decide, wants_plan
from rebalancer.keeper.planners import Planners
from rebalancer.keeper.site import Site
from rebalancer.policy import weigh_basket
from rebalancer.pools import AnyPool, Pool
from rebalancer.reasons import Reason
from rebalancer.units import BPS, E18

__all__ = ["Evaluates", "Evaluation", "Evaluator", "EvaluatorOptions", "out_of_place_e18"]

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
    `differing_vaults` are alarms, by key and by address.
    """

    block: Block
    verdicts: tuple[Verdict, ...]
    reasons: Mapping[str, Reason]
    epochs: Mapping[str, int]
    drifts_bps: Mapping[str, int]
    planned: int = 0
    diverged_pools: tuple[str, ...] = ()
    differing_vaults: tuple[str, ...] = ()
    pools: tuple[AnyPool, ...] = ()


class Evaluates(Protocol):
    """Whoever can say what the vaults of a chain need: one evaluator, or many at once."""

    options: EvaluatorOptions

    def evaluate(
        self, head: Head, conditions: Conditions, under_way: Collection[str] = ()
    ) -> Evaluation:
        """All vaults at a head. For those `under_way`, or left alone for another reason, no trades are sought.

        Raises:
            ChainError: the chain could not be read. What was known stays, and the head's news is still needed.
        """


class Evaluator:
    """Evaluates the vaults of a site by one endpoint. Not to be shared by threads."""

    def __init__(self, rpc: Rpc, site: Site, options: EvaluatorOptions | None = None) -> None:
        self.rpc = rpc
        self.site = site
        self.options = options or EvaluatorOptions()
        many = len(site.vaults) > self.options.exact_vaults
        self.planners = Planners()
        self._book = VaultBook(rpc, site.system.lens, site.vaults) if many else None
        self._pools: PoolBook | None = None
        self._checked_at = 0
        self._differing: tuple[str, ...] = ()
        self._late: set[str] = set()
        self._place_of = {vault: place for place, vault in enumerate(site.vaults)}

    def close(self) -> None:
        """End what was begun to plan with; the endpoint stays open."""
        self.planners.close()

    def evaluate(
        self, head: Head, conditions: Conditions, under_way: Collection[str] = ()
    ) -> Evaluation:
        """See `Evaluates.evaluate`."""
        block = Block(head.header.number, head.header.hash, head.header.timestamp)
        reasons: dict[str, Reason] = {}
        epochs: dict[str, int] = {}
        drifts_bps: dict[str, int] = {}
        if self._book is None:
            snapshots = (
                read_vaults(self.rpc, self.site.system.lens, self.site.vaults, block)
                if self.site.vaults
                else ()
            )
        else:
            self._book.advance(head)
            judged = self._book.judge(block)
            snapshots = self._book.look(judged.candidates, block)
            reasons = dict(zip(self._book.vaults, judged.reasons, strict=True))
            epochs = self._book.epochs
            rounded = (judged.drift * BPS).astype(int).tolist()
            drifts_bps = dict(zip(self._book.vaults, rounded, strict=True))
            differing = [
                found.vault for found in self._book.audit(block, self.options.audit_vaults)
            ]
            self._differing = tuple(dict.fromkeys((*self._differing, *differing)))
        ranked = sorted(
            snapshots, key=lambda one: (-out_of_place_e18(one), self._place_of[one.address])
        )
        verdicts, planned = self._verdicts(ranked, block, conditions, under_way)
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
            pools.pools if pools and planned else (),
        )

    def _verdicts(
        self,
        snapshots: Sequence[VaultSnapshot],
        block: Block,
        conditions: Conditions,
        under_way: Collection[str],
    ) -> tuple[tuple[Verdict, ...], int]:
        """What is to be done about each of these vaults, and for how many trades were sought."""
        due = [
            snapshot
            for snapshot in snapshots
            if wants_plan(snapshot)
            and snapshot.address not in under_way
            and self._has_turn(snapshot, block)
        ]
        # Those for which no time was left come first now, or they might wait for ever.
        due.sort(key=lambda snapshot: snapshot.address not in self._late)
        pools = self._pools_at(block) if due else ()
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

    def _pools_at(self, block: Block) -> tuple[Pool, ...]:
        site = self.site
        if self._pools is None:
            known = {token.address: token for token in site.tokens}
            self._pools = PoolBook(
                self.rpc,
                site.places,
                block,
                site.chain_id,
                tokens=known,
                lens=site.system.uniswap_v3_lens,
            )
            self._checked_at = block.number
        elif self._pools.block.hash != block.hash:
            diverged = self._pools.update(block)
            if block.number - self._checked_at >= self.options.check_pools_blocks:
                diverged += self._pools.check()
                self._checked_at = block.number
            for one in diverged:
                log.error("pool_diverged", pool=one.pool, block=one.block, why=one.why)
        return as_traded(self._pools.pools, site.tokens, site.wrapped_native)


def out_of_place_e18(snapshot: VaultSnapshot) -> int:
    """The value beyond the bands of a vault's weights, in USD times 1e18, rounded down; 0 where it cannot be weighed."""
    basket = snapshot.basket
    try:
        weighed = weigh_basket(basket)
    except PolicyRefused:
        return 0
    return sum(
        max(0, abs(distance) - band_e18 * weighed.total_e18 // E18)
        for asset, distance, band_e18 in zip(
            basket.assets, weighed.distances_e18, basket.bands_e18, strict=True
        )
        if not asset.excluded
    )
