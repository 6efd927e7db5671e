"""What are the pools now? One book for all vaults, kept current from logs and checked against the chain.

A book is read whole once. From then on a new block costs one HTTP request, whatever the number of pools:
the logs since the last block, and the headers that tell whether both blocks are still on the chain. After
a reorg everything is read again. Pools of Curve, whose logs do not tell enough, are read again when they
log anything, and at every block while they move without a log: where a rate comes from outside, or A is
being changed. One that cannot be quoted any more is left out and tried again at every block; the others go on.

A pool whose logs do not add up, or that a fresh read shows to be another, has DIVERGED: that is a defect,
of the endpoint or of this program. The book keeps what it held, gives the pool to nobody any more, and says
so by a `PoolDiverged` for as long as nobody asks for it to be read again. Nothing heals it silently, a
reorg neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeGuard

from rebalancer.chain.abi import Event, Interface
from rebalancer.chain.logs import LogSearch
from rebalancer.chain.pool_logs import moved
from rebalancer.chain.pool_views import BALANCER_POOL, BALANCER_VAULT, MANAGER, PAIR, V3_POOL
from rebalancer.chain.pools import PoolPlace, read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import Block
from rebalancer.errors import BadPoolSnapshot, BlockVanished, PoolDiverged, UnsupportedPool
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
            as `rebalancer.chain.pools.read_pools`.
        """
        self.rpc, self.chain_id, self.lens = rpc, chain_id, lens
        self.block = block
        self.diverged: dict[str, PoolDiverged] = {}
        self._unreadable: set[str] = set()
        self._tokens = dict(tokens or {})
        self._pools: dict[str, AnyPool] = {}
        self._places: dict[str, PoolPlace] = {}
        self._search = LogSearch()
        for place, pool in zip(places, self._read(places, block), strict=True):
            self._pools[pool.key], self._places[pool.key] = pool, place
            self._tokens |= {token.address: token for token in pool.tokens}

    @property
    def pools(self) -> tuple[AnyPool, ...]:
        """Those that can be relied on, in the order they were named."""
        return tuple(pool for key, pool in self._pools.items() if key not in self.diverged)

    def pool(self, key: str) -> AnyPool:
        """One of them.

        Raises:
            PoolDiverged: it cannot be relied on.
            KeyError: the book does not have it.
        """
        if key in self.diverged:
            raise self.diverged[key]
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
            as `rebalancer.chain.pools.read_pools`.
        """
        wanted = [key for key in (keys or self._pools) if key not in self.diverged]
        fresh, unreadable = self._read_each(wanted, self.block)
        found = self._taken({}, unreadable, self.block)
        for key, pool in fresh.items():
            differences = _differences(self._pools[key], pool)
            if differences == _FROM_OUTSIDE:
                self._pools[key] = pool
            elif differences:
                found.append(self._diverge(key, self.block, f"{differences} differ"))
        return tuple(found)

    def read_again(self, key: str) -> AnyPool:
        """Take one pool as the chain has it at the book's block, and rely on it from now on: for people, once they know why.

        Raises:
            as `rebalancer.chain.pools.read_pools`.
        """
        (self._pools[key],) = self._read([self._places[key]], self.block)
        self.diverged.pop(key, None)
        self._unreadable.discard(key)
        return self._pools[key]

    def _read(self, places: Sequence[PoolPlace], block: Block) -> tuple[AnyPool, ...]:
        return read_pools(
            self.rpc, places, block, self.chain_id, tokens=self._tokens, lens=self.lens
        )

    def _read_each(
        self, keys: Sequence[str], block: Block
    ) -> tuple[dict[str, AnyPool], dict[str, str]]:
        """Pools by key as they are now, but for those that diverged, and why others cannot be quoted any more."""
        keys = [key for key in keys if key not in self.diverged or key in self._unreadable]
        if not keys:
            return {}, {}
        try:
            fresh = self._read([self._places[key] for key in keys], block)
            return dict(zip(keys, fresh, strict=True)), {}
        except (BadPoolSnapshot, UnsupportedPool) as error:
            if len(keys) == 1:
                return {}, {keys[0]: str(error)}
        found: dict[str, AnyPool] = {}
        unreadable: dict[str, str] = {}
        for key in keys:
            pools, why = self._read_each([key], block)
            found |= pools
            unreadable |= why
        return found, unreadable

    def _read_anew(self, block: Block) -> tuple[PoolDiverged, ...]:
        """Every pool that is relied on, after a reorg."""
        fresh, unreadable = self._read_each(list(self._pools), block)
        self.block = block
        return tuple(self._taken(fresh, unreadable, block))

    def _taken(
        self, fresh: Mapping[str, AnyPool], unreadable: Mapping[str, str], block: Block
    ) -> list[PoolDiverged]:
        """Take pools as they were read again; those that newly cannot be quoted."""
        self._pools |= fresh
        for key in self._unreadable & fresh.keys():
            self._unreadable.discard(key)
            del self.diverged[key]
        new = {key: why for key, why in unreadable.items() if key not in self.diverged}
        self._unreadable |= new.keys()
        return [self._diverge(key, block, why) for key, why in new.items()]

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
        touched += self._unreadable
        for log in logs:
            address = log["address"].lower()
            if address in self._pools and _is_curve(self._pools[address]):
                touched.append(address)
                continue
            for known in self._interfaces[address]:
                if event := known.decode_log(log):
                    events.setdefault(_key_of(event), []).append(event)
        # Read before anything is changed: a failure leaves the book where it was.
        fresh, unreadable = self._read_each(list(dict.fromkeys(touched)), block)
        found = self._taken(fresh, unreadable, block)
        for key, some in events.items():
            if key not in self._pools or key in self.diverged:
                continue
            try:
                after = moved(self._pools[key], some)
            except BadPoolSnapshot as error:
                found.append(self._diverge(key, block, error.why))
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
