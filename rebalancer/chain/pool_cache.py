"""Cache of pool states, shared by all vaults, updated from logs and checked against the chain.

All pools are read once. After that, each block costs one HTTP request, whatever the number of pools: the logs since the
last block, and the headers that show whether both blocks are on the chain. After a reorg all pools are read again. Logs
of Curve pools do not contain their new state, so these pools are read again when they emit any log. While a pool
changes without logs (a rate from another contract, a ramp of A), it is read at every block.

A pool whose logs are inconsistent, or differ from a fresh read, has DIVERGED: this is a defect of the endpoint or of
this program. A pool that cannot be read, or whose quotes differ from ours, is UNREAD: the cause lies in the pool (a
pause, a ramp of its amplification). The cache returns neither, and gives the reason in `diverged` and `unread` until
`read_again` succeeds. A pool never returns to use automatically, not even after a reorg.
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
"""Fields in which two reads of the same pool may differ."""

_MOST_BLOCKS = 2_000
"""After a longer gap all pools are read again."""


class PoolCache:
    """Pools by key, at `block`. Not thread-safe, as its endpoint is not."""

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
        """Read all pools.

        Raises:
            See `rebalancer.chain.pools.read_pools_settled`.
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
        """All usable pools, in the order of `refs`."""
        return tuple(self._pools[key] for key in self._refs if not self._is_out(key))

    def pool(self, key: str) -> PoolState:
        """One usable pool.

        Raises:
            PoolDiverged, PoolError, ContractMissing, ContractReverted: the pool is not usable.
            KeyError: the cache has no such pool.
        """
        if key in self.diverged:
            raise self.diverged[key]
        if key in self.unread:
            raise self.unread[key]
        return self._pools[key]

    def update(self, block: Block) -> tuple[PoolDiverged, ...]:
        """Update the cache to a block, which may be older than the last one after a reorg. Returns the newly diverged
        pools.

        Raises:
            BlockVanished: the block is not on the endpoint's chain. The cache is unchanged.
            RpcError: the endpoint did not answer. The cache is unchanged.
        """
        if block.hash == self.block.hash:
            return ()
        if not self._refs:
            self.block = block
            return ()
        if not 0 < block.number - self.block.number <= _MOST_BLOCKS:
            return self._reload(block)
        logs = self._logs(block)
        if logs is None:
            return self._reload(block)
        return self._apply(logs, block)

    def check(self, keys: Iterable[str] | None = None) -> tuple[PoolDiverged, ...]:
        """Compare pools (by default all) with a fresh read at the cache's block. Returns the newly diverged pools.

        Raises:
            See `rebalancer.chain.pools.read_pools_settled`.
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
        """Read one pool again at the cache's block, and make it usable.

        Raises:
            PoolError, ContractMissing, ContractReverted: the pool cannot be read, and stays unusable.
            RpcError: the endpoint did not answer.
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

    def _reload(self, block: Block) -> tuple[PoolDiverged, ...]:
        """Read every usable pool again."""
        self._keep(self._read([key for key in self._refs if not self._is_out(key)], block))
        self.block = block
        return ()

    def _logs(self, block: Block) -> list[Mapping[str, Any]] | None:
        """Logs since the cache's block, in order. None if that block has left the chain, or if logs are unavailable.

        Raises:
            BlockVanished: `block` is not on the endpoint's chain.
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
            for key, source in (*sources.get((address, None), ()), *sources.get((address, named), ())):
                if not self._pools[key].LOGS_ARE_COMPLETE:
                    touched.append(key)
                elif event := source.interface.decode_log(log):
                    events.setdefault(key, []).append(event)
        again = [key for key in dict.fromkeys(touched) if not self._is_out(key)]
        # Read before any change: if the endpoint fails, the cache is unchanged.
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
        """Log filters: all logs of single-pool contracts, and for contracts with many pools the logs that name our
        pools."""
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
        """Pools that depend on each log source: by address, and by the topic that identifies a pool in a shared
        contract."""
        found: dict[tuple[str, str | None], list[tuple[str, LogSource]]] = {}
        for key, pool in self._pools.items():
            for source in pool.log_sources:
                found.setdefault((source.address, source.topic), []).append((key, source))
        return found


def _differences(kept: Any, fresh: Any) -> list[str]:
    """Names of the relevant fields in which two states of a pool differ."""
    names = [field.name for field in fields(kept) if field.name not in _NOT_STATE]
    return [name for name in names if getattr(kept, name) != getattr(fresh, name)]


def _at_block(pool: Any, number: int) -> Any:
    return replace(pool, block=number)
