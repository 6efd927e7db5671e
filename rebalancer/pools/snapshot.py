"""Pools from and to snapshot files: which protocol a snapshot is of, and whether it is whole.

A snapshot is JSON: one pool's complete state at one block. Each protocol is told by the key that
only its snapshots have; `_PROTOCOLS` is the one place that knows them all. Only `load` of a path
and `save` touch the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import overload

from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
from rebalancer.pools.model import Token
from rebalancer.pools.uniswap_v3 import Tick, TickProfile, UniswapV3Pool
from rebalancer.pools.uniswap_v4 import UniswapV4Pool, pool_id

__all__ = ["load", "save"]

Snapshot = Mapping[str, object]


@overload
def load(source: str | PathLike[str] | Snapshot) -> UniswapV3Pool: ...
@overload
def load(source: str | PathLike[str] | Snapshot, kind: type[UniswapV4Pool]) -> UniswapV4Pool: ...


def load(
    source: str | PathLike[str] | Snapshot,
    kind: type[UniswapV3Pool | UniswapV4Pool] = UniswapV3Pool,
) -> UniswapV3Pool | UniswapV4Pool:
    """The pool of that kind in a snapshot, given as the path of a JSON file or as its parsed content.

    Raises:
        BadPoolSnapshot: unreadable, incomplete, or contradicting itself.
        UnsupportedPool: of another protocol, or of one that cannot be quoted.
    """
    if isinstance(source, Mapping):
        return _read(source, kind)
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise BadPoolSnapshot("the file does not hold a JSON object")
        return _read(content, kind)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BadPoolSnapshot(f"the file cannot be read ({why})", str(source)) from error
    except ValueError as error:
        raise BadPoolSnapshot(f"the file is not JSON ({error})", str(source)) from error
    except BadPoolSnapshot as error:
        raise BadPoolSnapshot(error.why, str(source)) from error


def save(pool: UniswapV3Pool, path: str | PathLike[str]) -> None:
    """Write the snapshot that `load` reads back as an equal pool."""
    Path(path).write_text(json.dumps(pool.to_json(), indent=2) + "\n", encoding="utf-8")


def _read(
    snapshot: Snapshot, kind: type[UniswapV3Pool | UniswapV4Pool]
) -> UniswapV3Pool | UniswapV4Pool:
    for key, protocol, its_kind, read in _PROTOCOLS:
        if key in snapshot:
            if read is None or its_kind is not kind:
                raise UnsupportedPool(protocol)
            return read(snapshot)
    keys = ", ".join(key for key, *_ in _PROTOCOLS)
    raise BadPoolSnapshot(f"no protocol is told by its keys; one of {keys} is expected")


def _uniswap_v3(snapshot: Snapshot) -> UniswapV3Pool:
    scalars = _object(snapshot, "scalars")
    return UniswapV3Pool(
        address=_text(snapshot, "pool"),
        token0=_token(snapshot, "token0"),
        token1=_token(snapshot, "token1"),
        profile=_profile(
            _int(scalars, "fee"),
            _int(scalars, "tick_spacing"),
            _ticks(_object(snapshot, "tick_data")),
        ),
        sqrt_price_x96=_int(scalars, "sqrt_price_x96"),
        tick=_int(scalars, "tick"),
        liquidity=_int(scalars, "liquidity"),
        chain_id=_int(snapshot, "chain_id"),
        block=_int(snapshot, "block"),
        name=_text(snapshot, "name"),
    )


def _uniswap_v4(snapshot: Snapshot) -> UniswapV4Pool:
    scalars = _object(snapshot, "scalars")
    token0, token1 = _token(snapshot, "token0"), _token(snapshot, "token1")
    fee_pips, spacing = _int(scalars, "fee"), _int(scalars, "tick_spacing")
    # Hooks and fees that change are part of the id, so it tells that there are none.
    bare = pool_id(token0.address, token1.address, fee_pips, spacing)
    if _text(snapshot, "pool_id").lower() != bare:
        raise BadPoolSnapshot(
            f"pool_id {snapshot['pool_id']} is not {bare}, that of such a pool without hooks"
        )
    return UniswapV4Pool(
        manager=_text(snapshot, "pool_manager"),
        token0=token0,
        token1=token1,
        profile=_profile(fee_pips, spacing, _ticks(_object(snapshot, "tick_data"))),
        sqrt_price_x96=_int(scalars, "sqrt_price_x96"),
        tick=_int(scalars, "tick"),
        liquidity=_int(scalars, "liquidity"),
        protocol_fees_pips=(
            _int(scalars, "protocol_fee_zero_for_one"),
            _int(scalars, "protocol_fee_one_for_zero"),
        ),
        chain_id=_int(snapshot, "chain_id"),
        block=_int(snapshot, "block"),
        name=_text(snapshot, "name"),
    )


@lru_cache(maxsize=64)
def _profile(fee_pips: int, tick_spacing: int, ticks: tuple[Tick, ...]) -> TickProfile:
    """Snapshots of a pool block after block mostly share their ticks, and so all that follows."""
    return TickProfile(fee_pips, tick_spacing, ticks)


_Reader = Callable[[Snapshot], UniswapV3Pool | UniswapV4Pool]

_PROTOCOLS: tuple[tuple[str, str, type | None, _Reader | None], ...] = (
    ("pool_manager", "Uniswap V4", UniswapV4Pool, _uniswap_v4),
    ("weights", "Balancer", None, None),
    ("a_coefficient", "Curve", None, None),
    ("pool", "Uniswap V3", UniswapV3Pool, _uniswap_v3),
)
"""(the key that tells it, protocol, its class, reader); a protocol without them is known but not quoted."""


def _ticks(tick_data: Snapshot) -> tuple[Tick, ...]:
    """Tick → [liquidity_gross, liquidity_net, block], in any order."""
    ticks = []
    for index, row in tick_data.items():
        match row:
            case [int(gross), int(net), *_]:
                pass
            case _:
                raise BadPoolSnapshot(f"tick {index} is not [liquidity_gross, liquidity_net, …]")
        try:
            ticks.append(Tick(int(index), gross, net))
        except ValueError as error:
            raise BadPoolSnapshot(f"{index!r} is not a tick") from error
    return tuple(sorted(ticks))


def _token(snapshot: Snapshot, key: str) -> Token:
    token = _object(snapshot, key)
    return Token(_text(token, "address"), _text(token, "symbol"), _int(token, "decimals"))


def _field(snapshot: Snapshot, key: str) -> object:
    if key not in snapshot:
        raise BadPoolSnapshot(f"{key} is missing")
    return snapshot[key]


def _object(snapshot: Snapshot, key: str) -> Snapshot:
    value = _field(snapshot, key)
    if not isinstance(value, Mapping):
        raise BadPoolSnapshot(f"{key} is not an object")
    return value


def _int(snapshot: Snapshot, key: str) -> int:
    value = _field(snapshot, key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadPoolSnapshot(f"{key} is not a whole number")
    return value


def _text(snapshot: Snapshot, key: str) -> str:
    value = _field(snapshot, key)
    if not isinstance(value, str):
        raise BadPoolSnapshot(f"{key} is not a text")
    return value
