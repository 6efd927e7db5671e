"""Reads of pools at one block, for all venues.

The readers of all pools run together, step by step. The number of HTTP requests is the number of steps of the longest
reader (five), not the number of pools, as long as the calls fit into `_BATCH`. Everything is read by block hash, so a
reorg fails the read and two chains are never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from rebalancer.abi import Call, decode_logs
from rebalancer.block import Block
from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.interfaces import named_refusal
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import BadPoolSnapshot, ContractMissing, ContractReverted, PoolError, UnsupportedPool
from rebalancer.units import PIPS_PER_BPS
from rebalancer.venues import VENUES, PoolRef, PoolState, Token, UniswapV3Pool, of_class, venue_named
from rebalancer.venues.reading import At, Reading, Result, Venue, answered
from rebalancer.venues.uniswap_v4 import MANAGER, v4_ref

__all__ = [
    "PoolFailure",
    "fee_pips_of",
    "find_v4_ref",
    "find_venue",
    "read_pools",
    "read_pools_settled",
    "read_v3_pools",
]

_BATCH = 500
"""Calls per HTTP request; endpoints reject much larger batches."""


PoolFailure = PoolError | ContractMissing | ContractReverted
"""Errors of one pool that do not affect others. Failures of the endpoint are not among them."""


def read_pools(
    rpc: Rpc,
    refs: Sequence[PoolRef],
    block: Block,
    chain_id: int,
    *,
    tokens: Mapping[str, Token] | None = None,
    lens: str | None = None,
) -> tuple[PoolState, ...]:
    """Complete states of pools of any venue at a block, in the order given.

    `tokens` are known tokens by lower-case address; symbol and decimals of other tokens are read. `lens` is
    UniswapV3Lens, if the chain has it.

    Raises:
        BadPoolSnapshot: the state of a pool is inconsistent.
        UnsupportedPool: pools of this kind cannot be quoted, or a pool's quotes differ from ours.
        ContractMissing: an address has no such pool.
        ContractReverted, RpcError: a read failed.
    """
    found = []
    for one in read_pools_settled(rpc, refs, block, chain_id, tokens=tokens, lens=lens):
        if isinstance(one, PoolFailure):
            raise one
        found.append(one)
    return tuple(found)


def read_pools_settled(
    rpc: Rpc,
    refs: Sequence[PoolRef],
    block: Block,
    chain_id: int,
    *,
    tokens: Mapping[str, Token] | None = None,
    lens: str | None = None,
) -> tuple[PoolState | PoolFailure, ...]:
    """As `read_pools`, but a pool that cannot be read yields its error in place of its state.

    Raises:
        RpcError: a read failed because of the endpoint.
    """
    at = At(block, chain_id, tokens or {}, lens, _lens_code())
    groups: list[list[int]] = []
    together: dict[str, list[int]] = {}
    for index, ref in enumerate(refs):
        if venue_named(ref.venue).reads_together:
            together.setdefault(ref.venue, []).append(index)
        else:
            groups.append([index])
    groups += together.values()
    found = dict(_read_groups(rpc, at, refs, groups))
    hidden = [[index] for group in together.values() if group[1:] for index in group]
    again = [[index] for [index] in hidden if isinstance(found[index], PoolFailure)]
    if again:
        found.update(_read_groups(rpc, at, refs, again))
    return tuple(found[index] for index in range(len(refs)))


def _read_groups(
    rpc: Rpc, at: At, refs: Sequence[PoolRef], groups: Sequence[Sequence[int]]
) -> list[tuple[int, PoolState | PoolFailure]]:
    """Read each group of pools with one reader. A failure of a group applies to each of its pools."""
    readings = []
    for group in groups:
        venue = venue_named(refs[group[0]].venue)
        readings.append(venue.read(at, [refs[index] for index in group]))
    found: list[tuple[int, PoolState | PoolFailure]] = []
    for group, pools in zip(groups, _together(rpc, readings), strict=True):
        if isinstance(pools, PoolFailure):
            found += [(index, pools) for index in group]
        else:
            found += zip(group, pools, strict=True)
    return found


@cache
def _lens_code() -> str:
    return "0x" + load_artifact("UniswapV3Lens").runtime_code().hex()


def read_v3_pools(
    rpc: Rpc, lens: str | None, pools: Sequence[str], tokens: Mapping[str, Token], block: Block, chain_id: int
) -> tuple[UniswapV3Pool, ...]:
    """Uniswap V3 pools at a block with all their ticks, by one call, in the order given.

    Raises:
        See `read_pools`.
    """
    refs = [PoolRef(pool) for pool in pools]
    found = read_pools(rpc, refs, block, chain_id, tokens=tokens, lens=lens)
    return tuple(of_class(pool, UniswapV3Pool) for pool in found)


def find_venue(rpc: Rpc, address: str, block: Block) -> Venue:
    """The venue of the pool at an address, recognized by the functions it answers.

    Raises:
        UnsupportedPool: the contract is not a pool of a known venue.
        RpcError: the endpoint did not answer.
    """
    marked = [(venue, *venue.mark) for venue in VENUES if venue.mark is not None]
    calls = [known.at(address).request(name, block=block.hash) for _, known, name in marked]
    for (venue, known, name), answer in zip(marked, rpc.batch_settled(calls), strict=True):
        if answered(known.at(address), name, answer) is not None:
            return venue
    raise UnsupportedPool(f"{address} does not belong to a known venue")


def fee_pips_of(venue: Venue, fee_bps: int | None) -> int:
    """Fee for a pool reference, in millionths: 0 if the pool returns its fee, otherwise `fee_bps` (by default 30)."""
    return 0 if venue.fee_text else (30 if fee_bps is None else fee_bps) * PIPS_PER_BPS


def find_v4_ref(rpc: Rpc, manager: str, pool_id: str, *, from_block: int = 0) -> PoolRef:
    """Reference to a Uniswap V4 pool: its key is read from the log of its initialization, because the id is only a
    hash.

    Raises:
        UnsupportedPool: there is no such pool, or it has hooks.
        RpcRejected: the endpoint rejects a search over this many blocks.
    """
    (initialize,) = (shape for shape in MANAGER.events.values() if shape.name == "Initialize")
    requested = {
        "address": manager,
        "topics": [initialize.topic, pool_id],
        "fromBlock": hex(from_block),
        "toBlock": "latest",
    }
    for event in decode_logs(rpc.call("eth_getLogs", requested), MANAGER):
        values = event.values
        ends = values["currency0"], values["currency1"]
        ref = v4_ref(manager, *ends, values["fee"], values["tickSpacing"])
        if ref.key == pool_id.lower():
            return ref
        raise UnsupportedPool(f"Uniswap V4 pool with hooks or a dynamic fee, {pool_id}")
    raise UnsupportedPool(f"Uniswap V4 pool that {manager} does not know, {pool_id}")


def _together(rpc: Rpc, readings: Sequence[Reading[Result]]) -> list[Result | PoolFailure]:
    """Run all readers in step: one batch of all readers per step. A failure of one does not stop the others."""
    results: dict[int, Result | PoolFailure] = {}
    waiting: dict[int, list[Call]] = {}

    def advance(index: int, answers: list[Any] | None) -> None:
        try:
            if answers is None:
                waiting[index] = next(readings[index])
            else:
                waiting[index] = readings[index].send(answers)
        except StopIteration as done:
            results[index] = done.value
        except (PoolError, ContractMissing, ContractReverted) as failure:
            results[index] = failure
        except (ArithmeticError, LookupError, TypeError, ValueError) as mistake:
            # A pool may return anything; errors that no reader expects end here.
            results[index] = BadPoolSnapshot(f"its answers cannot be read: {mistake!r}")

    for index in range(len(readings)):
        advance(index, None)
    while waiting:
        requested, waiting = waiting, {}
        calls = [call for some in requested.values() for call in some]
        answers: list[Any] = []
        for start in range(0, len(calls), _BATCH):
            answers += map(named_refusal, rpc.batch_settled(calls[start : start + _BATCH]))
        for index, some in requested.items():
            mine, answers = answers[: len(some)], answers[len(some) :]
            advance(index, mine)
    return [results[index] for index in range(len(readings))]
