"""What are the pools now? One book for all vaults, kept current from logs and checked against the chain.

A book is read whole once. From then on a new block costs one HTTP request, whatever the number of pools:
the logs since the last block, and the headers that tell whether both blocks are still on the chain. After
a reorg everything is read again. Pools of Curve, whose logs do not tell enough, are read again when they
log anything, and at every block while they move without a log: where a rate comes from outside, or A is
being changed.

A pool whose logs do not add up, or that a fresh read shows to be another, has DIVERGED: that is a defect,
of the endpoint or of this program. A pool that cannot be read, or answers otherwise than on paper, is UNREAD:
that is its own trouble (a pause, a ramp of its amplification). The book gives neither to anybody, and says
why in `diverged` and `unread` until `read_again` succeeds. Nothing heals silently, a reorg neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from rebalancer.abi import Event
from rebalancer.block import Block
from rebalancer.chain.logs import LogSearch
from rebalancer.chain.pools import PoolFailure, read_pools_settled
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import BlockVanished, PoolDiverged, PoolError
from rebalancer.venues import PoolRef, PoolState, Token
from rebalancer.venues.model import LogSource

__all__ = ["PoolCache"]

_NOT_STATE = ("block", "name")
"""What two reads of the same pool may differ in."""

_MOST_BLOCKS = 2_000
"""After a longer absence everything is read again."""


class PoolCache:
    """Pools by their key, at `block`. Not shared by threads, as its endpoint is not."""

    def __init__(
        self,
        rpc: Rpc,
        refs: Sequence[PoolRef],
        block: Block,
        chain_id: int,
        *,
        tokens: Mapping[str, Token] | None = None,
        lens: str | None = None,
    ) -> None:
        """Reads them all.

        Raises:
            as `rebalancer.chain.pools.read_pools_settled`.
        """
        self.rpc, self.chain_id, self.lens = rpc, chain_id, lens
        self.block = block
        self.diverged: dict[str, PoolDiverged] = {}
        self.unread: dict[str, PoolFailure] = {}
        self._tokens = dict(tokens or {})
        self._pools: dict[str, PoolState] = {}
        self._search = LogSearch()
        self._refs = {ref.key: ref for ref in refs}
        self._keep(self._read(list(self._refs), block))

    @property
    def pools(self) -> tuple[PoolState, ...]:
        """Those that can be relied on, in the order they were named."""
        return tuple(self._pools[key] for key in self._refs if not self._is_out(key))

    def pool(self, key: str) -> PoolState:
        """One of them.

        Raises:
            PoolDiverged, PoolError, ContractMissing, ContractReverted: it cannot be relied on.
            KeyError: the book does not have it.
        """
        if key in self.diverged:
            raise self.diverged[key]
        if key in self.unread:
            raise self.unread[key]
        return self._pools[key]

    def update(self, block: Block) -> tuple[PoolDiverged, ...]:
        """Bring the book to a block, which may be older than its own after a reorg; what diverged on the way.

        Raises:
            BlockVanished: the block is not on the endpoint's chain. The book stays where it was.
            RpcError: the endpoint did not answer. The book stays where it was.
        """
        if block.hash == self.block.hash:
            return ()
        if not self._refs:
            self.block = block
            return ()
        if not 0 < block.number - self.block.number <= _MOST_BLOCKS:
            return self._read_anew(block)
        logs = self._logs(block)
        if logs is None:
            return self._read_anew(block)
        return self._apply(logs, block)

    def check(self, keys: Iterable[str] | None = None) -> tuple[PoolDiverged, ...]:
        """Compare pools (all, where none are named) with a fresh read at the book's own block; those that newly diverged.

        Raises:
            as `rebalancer.chain.pools.read_pools_settled`.
        """
        wanted = [key for key in (keys or self._refs) if not self._is_out(key)]
        found = []
        for key, pool in self._read(wanted, self.block).items():
            if isinstance(pool, PoolFailure):
                self.unread[key] = pool
                continue
            differences = _differences(self._pools[key], pool)
            if pool.MAY_DRIFT.issuperset(differences):
                self._pools[key] = pool
            else:
                why = f"{', '.join(differences)} differ"
                found.append(self._diverge(key, self.block, why))
        return tuple(found)

    def read_again(self, key: str) -> PoolState:
        """Take one pool as the chain has it at the book's block, and rely on it from now on.

        Raises:
            PoolError, ContractMissing, ContractReverted: it cannot be read, and stays out.
            RpcError: the endpoint did not answer; nothing is known of the pool.
        """
        fresh = self._read([key], self.block)
        found = fresh[key]
        if isinstance(found, PoolFailure):
            raise found
        self.diverged.pop(key, None)
        self.unread.pop(key, None)
        self._keep(fresh)
        return found

    def _is_out(self, key: str) -> bool:
        return key in self.diverged or key in self.unread

    def _read(self, keys: Sequence[str], block: Block) -> dict[str, PoolState | PoolFailure]:
        refs = [self._refs[key] for key in keys]
        found = read_pools_settled(self.rpc, refs, block, self.chain_id, tokens=self._tokens, lens=self.lens)
        return dict(zip(keys, found, strict=True))

    def _keep(self, fresh: Mapping[str, PoolState | PoolFailure]) -> None:
        for key, pool in fresh.items():
            if isinstance(pool, PoolFailure):
                self.unread[key] = pool
                continue
            self._pools[key] = pool
            self._tokens |= {token.address: token for token in pool.tokens}

    def _read_anew(self, block: Block) -> tuple[PoolDiverged, ...]:
        """Every pool that is relied on, after a reorg."""
        self._keep(self._read([key for key in self._refs if not self._is_out(key)], block))
        self.block = block
        return ()

    def _logs(self, block: Block) -> list[Mapping[str, Any]] | None:
        """What happened since the book's block, in order; None where that block is not on the chain any more, or logs cannot be had.

        Raises:
            BlockVanished: the block asked for is not.
        """
        (before, now), logs = self._search.find(
            self.rpc,
            self._filters(),
            self.block.number + 1,
            block.number,
            [
                ("eth_getBlockByNumber", (hex(self.block.number), False)),
                ("eth_getBlockByNumber", (hex(block.number), False)),
            ],
        )
        if now is None or now["hash"] != block.hash:
            raise BlockVanished(block.number, block.hash)
        if logs is None or before is None or before["hash"] != self.block.hash:
            return None
        found = [log for log in logs if not log.get("removed")]
        return sorted(found, key=lambda log: (int(log["blockNumber"], 16), int(log["logIndex"], 16)))

    def _apply(self, logs: Sequence[Mapping[str, Any]], block: Block) -> tuple[PoolDiverged, ...]:
        events: dict[str, list[Event]] = {}
        touched = [key for key, pool in self._pools.items() if pool.moves]
        sources = self._sources
        for log in logs:
            address, topics = log["address"].lower(), log["topics"]
            named = topics[1] if len(topics) > 1 else None
            for key, source in (
                *sources.get((address, None), ()),
                *sources.get((address, named), ()),
            ):
                if not self._pools[key].LOGS_ARE_COMPLETE:
                    touched.append(key)
                elif event := source.interface.decode_log(log):
                    events.setdefault(key, []).append(event)
        again = [key for key in dict.fromkeys(touched) if not self._is_out(key)]
        # Read before anything is changed: a failure of the endpoint leaves the book where it was.
        self._keep(self._read(again, block) if again else {})
        found = []
        for key, some in events.items():
            if self._is_out(key):
                continue
            try:
                after = self._pools[key].moved(some)
            except PoolError as error:
                found.append(self._diverge(key, block, getattr(error, "why", str(error))))
            else:
                self._pools[key] = _at_block(after, block.number)
        self.block = block
        return tuple(found)

    def _diverge(self, key: str, block: Block, why: str) -> PoolDiverged:
        self.diverged[key] = PoolDiverged(key, block.number, why)
        return self.diverged[key]

    def _filters(self) -> list[dict[str, Any]]:
        """What to search for: all logs of contracts that are one pool, and of those that hold many the logs that name ours."""
        alone: set[str] = set()
        named: dict[str, set[str]] = {}
        for address, topic in self._sources:
            if topic is None:
                alone.add(address)
            else:
                named.setdefault(address, set()).add(topic)
        filters: list[dict[str, Any]] = [{"address": sorted(alone)}] if alone else []
        return filters + [
            {"address": holder, "topics": [None, sorted(topics)]} for holder, topics in sorted(named.items())
        ]

    @property
    def _sources(self) -> dict[tuple[str, str | None], list[tuple[str, LogSource]]]:
        """Whose logs move which pools: by address, and by the topic that names a pool where many share a contract."""
        found: dict[tuple[str, str | None], list[tuple[str, LogSource]]] = {}
        for key, pool in self._pools.items():
            for source in pool.log_sources:
                found.setdefault((source.address, source.topic), []).append((key, source))
        return found


def _differences(kept: Any, fresh: Any) -> list[str]:
    """The fields in which two states of a pool differ, as far as they matter."""
    names = [field.name for field in fields(kept) if field.name not in _NOT_STATE]
    return [name for name in names if getattr(kept, name) != getattr(fresh, name)]


def _at_block(pool: Any, number: int) -> Any:
    return replace(pool, block=number)
