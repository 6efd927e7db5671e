"""Pools at one block, whichever venue they are of.

All pools' readers are asked together, step by step: the number of HTTP requests is that of the deepest reader's
steps (five), not of the pools, as long as they fit `_BATCH` calls. Everything is read by block hash, so that a
reorg fails the read instead of mixing two chains.
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
from rebalancer.errors import (
    BadPoolSnapshot,
    ContractMissing,
    ContractReverted,
    PoolError,
    UnsupportedPool,
)
from rebalancer.units import PIPS_PER_BPS
from rebalancer.venues import (
    VENUES,
    PoolRef,
    PoolState,
    Token,
    UniswapV3Pool,
    of_class,
    venue_named,
)
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
"""Calls in one HTTP request; endpoints refuse many more."""


PoolFailure = PoolError | ContractMissing | ContractReverted
"""Why one pool cannot be read while others can; what fails at the endpoint is none of these."""


def read_pools(
    rpc: Rpc,
    refs: Sequence[PoolRef],
    block: Block,
    chain_id: int,
    *,
    tokens: Mapping[str, Token] | None = None,
    lens: str | None = None,
) -> tuple[PoolState, ...]:
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
    """As `read_pools`, but a pool that cannot be read yields why in place of its state.

    Raises:
        RpcError: a read failed for a reason that is no pool's.
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
    """Each group of pools of a venue by one reader; the failure of a group is that of each of its pools."""
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
    refs = [PoolRef(pool) for pool in pools]
    found = read_pools(rpc, refs, block, chain_id, tokens=tokens, lens=lens)
    return tuple(of_class(pool, UniswapV3Pool) for pool in found)


def find_venue(rpc: Rpc, address: str, block: Block) -> Venue:
    """Which venue the contract at an address is a pool of, by what it answers.

    Raises:
        UnsupportedPool: none that is known here.
        RpcError: the endpoint did not answer.
    """
    marked = [(venue, *venue.mark) for venue in VENUES if venue.mark is not None]
    calls = [known.at(address).request(name, block=block.hash) for _, known, name in marked]
    for (venue, known, name), answer in zip(marked, rpc.batch_settled(calls), strict=True):
        if answered(known.at(address), name, answer) is not None:
            return venue
    raise UnsupportedPool(f"{address} is of no known venue")


def fee_pips_of(venue: Venue, fee_bps: int | None) -> int:
    """What a reference to a pool says of its fee, in millionths: 0 where pools tell it, 30 basis points where nobody does."""
    return 0 if venue.fee_text else (30 if fee_bps is None else fee_bps) * PIPS_PER_BPS


def find_v4_ref(rpc: Rpc, manager: str, its_id: str, *, from_block: int = 0) -> PoolRef:
    """A Uniswap V4 pool, whose id does not tell its key, from the log of its beginning.

    Raises:
        UnsupportedPool: there is no such pool, or it has hooks.
        RpcRejected: the endpoint does not search so many blocks at once.
    """
    (begun,) = (shape for shape in MANAGER.events.values() if shape.name == "Initialize")
    requested = {
        "address": manager,
        "topics": [begun.topic, its_id],
        "fromBlock": hex(from_block),
        "toBlock": "latest",
    }
    for event in decode_logs(rpc.call("eth_getLogs", requested), MANAGER):
        values = event.values
        ends = values["currency0"], values["currency1"]
        ref = v4_ref(manager, *ends, values["fee"], values["tickSpacing"])
        if ref.key == its_id.lower():
            return ref
        raise UnsupportedPool(f"Uniswap V4 with hooks or a dynamic fee, {its_id}")
    raise UnsupportedPool(f"Uniswap V4 that {manager} does not know, {its_id}")


def _together(rpc: Rpc, readings: Sequence[Reading[Result]]) -> list[Result | PoolFailure]:
    """Run all readers in step: one batch a step for all of them. The failure of one stops no other."""
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
            # A pool may answer anything, and only what was thought of has an error of its own.
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
