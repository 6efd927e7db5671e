"""What do pools look like at one block, whichever protocol they speak?

All pools' readers (`pool_readers`) are asked together, step by step: the number of HTTP requests is that of
the deepest reader's steps (five), not of the pools, as long as they fit `_BATCH` calls. Everything is read
by block hash, so that a reorg fails the read instead of mixing two chains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rebalancer.chain.abi import Interface, decode_logs
from rebalancer.chain.pool_readers import (
    At,
    Reading,
    Result,
    V4Key,
    answered,
    balancer_pool,
    curve_pool,
    v2_pool,
    v3_pools,
    v4_pool,
)
from rebalancer.chain.pool_views import BALANCER_POOL, CURVE, MANAGER, PAIR, V3_POOL
from rebalancer.chain.rpc import Call, Rpc
from rebalancer.chain.snapshot import Block
from rebalancer.errors import (
    BadPoolSnapshot,
    ContractMissing,
    ContractReverted,
    PoolError,
    UnsupportedPool,
)
from rebalancer.pools import AnyPool, Token, UniswapV3Pool, of_kind

__all__ = [
    "PoolFailure",
    "PoolPlace",
    "Protocol",
    "V4Key",
    "find_pool",
    "find_v4_key",
    "read_pools",
    "read_pools_settled",
    "read_v3_pools",
]

_BATCH = 500
"""Calls in one HTTP request; endpoints refuse many more."""


PoolFailure = PoolError | ContractMissing | ContractReverted
"""Why one pool cannot be read while others can; what fails at the endpoint is none of these."""


class Protocol(StrEnum):
    """How a pool is read."""

    UNISWAP_V2 = "uniswap-v2"
    UNISWAP_V3 = "uniswap-v3"
    UNISWAP_V4 = "uniswap-v4"
    BALANCER = "balancer"
    CURVE = "curve"


@dataclass(frozen=True, slots=True)
class PoolPlace:
    """Where a pool is: its address, or PoolManager's and a key. `fee_bps` is a Uniswap V2 pair's, which it does not tell."""

    protocol: Protocol
    address: str
    v4: V4Key | None = None
    fee_bps: int = 30

    @property
    def key(self) -> str:
        """The key of the pool that is there: see `rebalancer.pools.Pool.key`."""
        return self.address.lower() if self.v4 is None else self.v4.pool_id


def read_pools(
    rpc: Rpc,
    places: Sequence[PoolPlace],
    block: Block,
    chain_id: int,
    *,
    tokens: Mapping[str, Token] | None = None,
    lens: str | None = None,
) -> tuple[AnyPool, ...]:
    """Pools of any protocol at a block, whole, in the order given.

    `tokens` knows tokens by lower-case address; others are asked for their symbol and decimals. `lens` is
    UniswapV3Lens, where the chain has one.

    Raises:
        BadPoolSnapshot: what the chain says of a pool contradicts itself.
        UnsupportedPool: a pool is of a kind that cannot be quoted, or answers otherwise than on paper.
        ContractMissing: there is no such pool at an address.
        ContractReverted, RpcError: a read failed.
    """
    found = []
    for one in read_pools_settled(rpc, places, block, chain_id, tokens=tokens, lens=lens):
        if isinstance(one, PoolFailure):
            raise one
        found.append(one)
    return tuple(found)


def read_pools_settled(
    rpc: Rpc,
    places: Sequence[PoolPlace],
    block: Block,
    chain_id: int,
    *,
    tokens: Mapping[str, Token] | None = None,
    lens: str | None = None,
) -> tuple[AnyPool | PoolFailure, ...]:
    """As `read_pools`, but a pool that cannot be read yields why in place of its state.

    Raises:
        RpcError: a read failed for a reason that is no pool's.
    """
    at = At(block, chain_id, tokens or {}, lens)
    v3 = [place.address for place in places if place.protocol is Protocol.UNISWAP_V3]
    readings = [_one(at, place) for place in places if place.protocol is not Protocol.UNISWAP_V3]
    together = [_listed(v3_pools(at, v3))] if v3 else []
    answers = _together(rpc, [*together, *map(_listed, readings)])
    of_v3 = answers[: len(together)]
    if any(isinstance(each, PoolFailure) for each in of_v3):
        # One call reads them all, so that one which cannot be read hides the others.
        of_v3 = _together(rpc, [_listed(v3_pools(at, [address])) for address in v3])
    first, others = iter(_flat(of_v3)), iter(_flat(answers[len(together) :]))
    return tuple(
        next(first if place.protocol is Protocol.UNISWAP_V3 else others) for place in places
    )


def read_v3_pools(
    rpc: Rpc,
    lens: str | None,
    pools: Sequence[str],
    tokens: Mapping[str, Token],
    block: Block,
    chain_id: int,
) -> tuple[UniswapV3Pool, ...]:
    """Uniswap V3 pools at a block with all their ticks, by one call, in the order given.

    Raises:
        as `read_pools`.
    """
    places = [PoolPlace(Protocol.UNISWAP_V3, pool) for pool in pools]
    found = read_pools(rpc, places, block, chain_id, tokens=tokens, lens=lens)
    return tuple(of_kind(pool, UniswapV3Pool) for pool in found)


def find_pool(rpc: Rpc, address: str, block: Block) -> Protocol:
    """Which protocol the contract at an address speaks, by what it answers.

    Raises:
        UnsupportedPool: none that is known here.
        RpcError: the endpoint did not answer.
    """
    asked: list[tuple[Protocol, Interface, str]] = [
        (Protocol.UNISWAP_V3, V3_POOL, "slot0"),
        (Protocol.UNISWAP_V2, PAIR, "getReserves"),
        (Protocol.BALANCER, BALANCER_POOL, "getNormalizedWeights"),
        (Protocol.CURVE, CURVE, "A"),
    ]
    calls = [known.at(address).request(name, block=block.hash) for _, known, name in asked]
    for (protocol, known, name), answer in zip(asked, rpc.batch_settled(calls), strict=True):
        if answered(known.at(address), name, answer) is not None:
            return protocol
    raise UnsupportedPool(f"what is at {address}, if anything is,")


def find_v4_key(rpc: Rpc, manager: str, its_id: str, *, from_block: int = 0) -> V4Key:
    """The key of a Uniswap V4 pool, which its id does not tell, from the log of its beginning.

    Raises:
        UnsupportedPool: there is no such pool, or it has hooks.
        RpcRejected: the endpoint does not search so many blocks at once.
    """
    (begun,) = (shape for shape in MANAGER.events.values() if shape.name == "Initialize")
    asked = {
        "address": manager,
        "topics": [begun.topic, its_id],
        "fromBlock": hex(from_block),
        "toBlock": "latest",
    }
    for event in decode_logs(rpc.call("eth_getLogs", asked), MANAGER):
        values = event.values
        ends = values["currency0"], values["currency1"]
        key = V4Key(*ends, values["fee"], values["tickSpacing"])
        if key.pool_id == its_id.lower():
            return key
        raise UnsupportedPool(f"Uniswap V4 with hooks, or a fee that changes, ({its_id})")
    raise UnsupportedPool(f"Uniswap V4 that {manager} does not know ({its_id})")


def _one(at: At, place: PoolPlace) -> Reading[AnyPool]:
    match place.protocol:
        case Protocol.UNISWAP_V2:
            return v2_pool(at, place.address, place.fee_bps)
        case Protocol.UNISWAP_V4:
            if place.v4 is None:
                raise BadPoolSnapshot("a pool of Uniswap V4 is told by its key, not by an address")
            return v4_pool(at, place.address, place.v4)
        case Protocol.BALANCER:
            return balancer_pool(at, place.address)
        case _:
            return curve_pool(at, place.address)


def _listed(reading: Reading[Any]) -> Reading[list[AnyPool]]:
    found = yield from reading
    return list(found) if isinstance(found, tuple) else [found]


def _flat(found: Sequence[list[AnyPool] | PoolFailure]) -> list[AnyPool | PoolFailure]:
    """One entry a pool: what a reader of several found, or the failure of a reader of one."""
    return [one for each in found for one in ([each] if isinstance(each, PoolFailure) else each)]


def _together(rpc: Rpc, readings: Sequence[Reading[Result]]) -> list[Result | PoolFailure]:
    """Run all readers in step: one batch a step for all of them. The failure of one stops no other."""
    results: dict[int, Result | PoolFailure] = {}
    waiting: dict[int, list[Call]] = {}

    def advance(place: int, answers: list[Any] | None) -> None:
        try:
            if answers is None:
                waiting[place] = next(readings[place])
            else:
                waiting[place] = readings[place].send(answers)
        except StopIteration as done:
            results[place] = done.value
        except (PoolError, ContractMissing, ContractReverted) as failure:
            results[place] = failure
        except (ArithmeticError, LookupError, TypeError, ValueError) as mistake:
            # A pool may answer anything, and only what was thought of has an error of its own.
            results[place] = BadPoolSnapshot(f"its answers cannot be read: {mistake!r}")

    for place in range(len(readings)):
        advance(place, None)
    while waiting:
        asked, waiting = waiting, {}
        calls = [call for some in asked.values() for call in some]
        answers: list[Any] = []
        for start in range(0, len(calls), _BATCH):
            answers += rpc.batch_settled(calls[start : start + _BATCH])
        for place, some in asked.items():
            mine, answers = answers[: len(some)], answers[len(some) :]
            advance(place, mine)
    return [results[place] for place in range(len(readings))]
