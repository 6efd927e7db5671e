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
from typing import Any, TypeGuard

from rebalancer.chain.abi import Event, Interface
from rebalancer.chain.logs import LogSearch
from rebalancer.chain.pool_logs import moved
from rebalancer.chain.pool_views import BALANCER_POOL, BALANCER_VAULT, MANAGER, PAIR, V3_POOL
from rebalancer.chain.pools import PoolFailure, PoolPlace, read_pools_settled
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import Block
from rebalancer.errors import BlockVanished, PoolDiverged, PoolError
from rebalancer.pools import (
    AnyPool,
    BalancerWeightedPool,
    CurveCryptoPool,
    CurveStablePool,
    Token,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
)

__all__ = ["PoolBook"]

_NOT_STATE = ("block", "name")
"""What two reads of the same pool may differ in."""

_FROM_OUTSIDE = "rates"
"""What a pool of Curve may differ in without a log, from the first time a rate of one moves on."""

_MOST_BLOCKS = 2_000
"""After a longer absence everything is read again."""


class PoolBook:
    """Pools by their key, at `block`. Not shared by threads, as its endpoint is not."""

    def __init__(
        self,
        rpc: Rpc,
        places: Sequence[PoolPlace],
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
        self._pools: dict[str, AnyPool] = {}
        self._search = LogSearch()
        self._places = {place.key: place for place in places}
        self._keep(self._read(list(self._places), block))

    @property
    def pools(self) -> tuple[AnyPool, ...]:
        """Those that can be relied on, in the order they were named."""
        return tuple(self._pools[key] for key in self._places if not self._is_out(key))

    def pool(self, key: str) -> AnyPool:
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
        if not self._places:
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
        wanted = [key for key in (keys or self._places) if not self._is_out(key)]
        found = []
        for key, pool in self._read(wanted, self.block).items():
            if isinstance(pool, PoolFailure):
                self.unread[key] = pool
                continue
            differences = _differences(self._pools[key], pool)
            if differences == _FROM_OUTSIDE:
                self._pools[key] = pool
            elif differences:
                found.append(self._diverge(key, self.block, f"{differences} differ"))
        return tuple(found)

    def read_again(self, key: str) -> AnyPool:
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

    def _read(self, keys: Sequence[str], block: Block) -> dict[str, AnyPool | PoolFailure]:
        places = [self._places[key] for key in keys]
        found = read_pools_settled(
            self.rpc, places, block, self.chain_id, tokens=self._tokens, lens=self.lens
        )
        return dict(zip(keys, found, strict=True))

    def _keep(self, fresh: Mapping[str, AnyPool | PoolFailure]) -> None:
        for key, pool in fresh.items():
            if isinstance(pool, PoolFailure):
                self.unread[key] = pool
                continue
            self._pools[key] = pool
            self._tokens |= {token.address: token for token in pool.tokens}

    def _read_anew(self, block: Block) -> tuple[PoolDiverged, ...]:
        """Every pool that is relied on, after a reorg."""
        self._keep(self._read([key for key in self._places if not self._is_out(key)], block))
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
        return sorted(
            found, key=lambda log: (int(log["blockNumber"], 16), int(log["logIndex"], 16))
        )

    def _apply(self, logs: Sequence[Mapping[str, Any]], block: Block) -> tuple[PoolDiverged, ...]:
        events: dict[str, list[Event]] = {}
        touched = [key for key, pool in self._pools.items() if _is_curve(pool) and pool.moves]
        for log in logs:
            address = log["address"].lower()
            if address in self._pools and _is_curve(self._pools[address]):
                touched.append(address)
                continue
            for known in self._interfaces[address]:
                if event := known.decode_log(log):
                    events.setdefault(_key_of(event), []).append(event)
        again = [key for key in dict.fromkeys(touched) if not self._is_out(key)]
        # Read before anything is changed: a failure of the endpoint leaves the book where it was.
        self._keep(self._read(again, block) if again else {})
        found = []
        for key, some in events.items():
            if key not in self._pools or self._is_out(key):
                continue
            try:
                after = moved(self._pools[key], some)
            except PoolError as error:
                found.append(self._diverge(key, block, getattr(error, "why", str(error))))
            else:
                self._pools[key] = replace(after, block=block.number)
        self.block = block
        return tuple(found)

    def _diverge(self, key: str, block: Block, why: str) -> PoolDiverged:
        self.diverged[key] = PoolDiverged(key, block.number, why)
        return self.diverged[key]

    def _filters(self) -> list[dict[str, Any]]:
        """What to search for: all logs of contracts that are one pool, and of those that hold many the logs that name ours."""
        alone: set[str] = set()
        ids: dict[str, set[str]] = {}
        for pool in self._pools.values():
            match pool:
                case UniswapV4Pool():
                    ids.setdefault(pool.manager, set()).add(pool.key)
                case BalancerWeightedPool():
                    alone.add(pool.address)
                    ids.setdefault(pool.vault, set()).add(pool.pool_id)
                case _:
                    alone.add(pool.address)
        filters: list[dict[str, Any]] = [{"address": sorted(alone)}] if alone else []
        return filters + [
            {"address": holder, "topics": [None, sorted(named)]}
            for holder, named in sorted(ids.items())
        ]

    @property
    def _interfaces(self) -> dict[str, tuple[Interface, ...]]:
        """Whose logs move a pool, and what they may say."""
        found: dict[str, tuple[Interface, ...]] = {}
        for pool in self._pools.values():
            match pool:
                case UniswapV2Pool():
                    found[pool.address] = (PAIR,)
                case UniswapV3Pool():
                    found[pool.address] = (V3_POOL,)
                case UniswapV4Pool():
                    found[pool.manager] = (MANAGER,)
                case BalancerWeightedPool():
                    found[pool.address] = (BALANCER_POOL,)
                    found[pool.vault] = (BALANCER_VAULT,)
                case _:
                    found[pool.address] = ()
        return found


def _key_of(event: Event) -> str:
    """The key of the pool that an event is of: by its id where pools share a contract, else by who spoke."""
    if "id" in event.values:
        return "0x" + bytes(event.values["id"]).hex()
    if "poolId" in event.values:
        # A Balancer pool's id begins with its address.
        return "0x" + bytes(event.values["poolId"]).hex()[:40]
    return event.address


def _is_curve(pool: AnyPool) -> TypeGuard[CurveStablePool | CurveCryptoPool]:
    return isinstance(pool, CurveStablePool | CurveCryptoPool)


def _differences(kept: AnyPool, fresh: AnyPool) -> str:
    """What two states of a pool differ in, by name; empty where in nothing that matters."""
    names = [field.name for field in fields(kept) if field.name not in _NOT_STATE]
    return ", ".join(name for name in names if getattr(kept, name) != getattr(fresh, name))
