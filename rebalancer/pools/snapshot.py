"""Pools from and to snapshot files: which protocol a snapshot is of, and whether it is whole.

A snapshot is JSON: one pool's complete state at one block. Each protocol is told by the key that
only its snapshots have; `_PROTOCOLS` is the one place that knows them all. Only `load` of a path
and `save` touch the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TypeVar

from rebalancer.errors import BadPoolSnapshot, UnsupportedPool
from rebalancer.files import MEGABYTE, Excess, parse_json, read_text
from rebalancer.pools.balancer_weighted import BalancerWeightedPool
from rebalancer.pools.curve_crypto import CurveCryptoPool
from rebalancer.pools.curve_stable import CurveStablePool
from rebalancer.pools.model import Token
from rebalancer.pools.uniswap_v2 import UniswapV2Pool
from rebalancer.pools.uniswap_v3 import Tick, TickProfile, UniswapV3Pool
from rebalancer.pools.uniswap_v4 import UniswapV4Pool, pool_id
from rebalancer.texts import LONGEST_SYMBOL, safe_text
from rebalancer.units import E18

__all__ = ["KINDS", "AnyPool", "kind_of", "load", "of_kind", "save"]

_MOST_BYTES = 64 * MEGABYTE
"""Of a pool's file: half a million ticks."""

Snapshot = Mapping[str, object]

AnyPool = (
    UniswapV2Pool
    | UniswapV3Pool
    | UniswapV4Pool
    | BalancerWeightedPool
    | CurveStablePool
    | CurveCryptoPool
)
"""A pool of any protocol that snapshots are read of."""

OnePool = TypeVar("OnePool", bound=AnyPool)

KINDS = (
    *("Uniswap V2", "Uniswap V3", "Uniswap V4", "Balancer V2 weighted", "Curve 3pool"),
    *("Curve stableswap-ng", "Curve tricrypto", "Curve tricrypto-ng", "Curve twocrypto-ng"),
)
"""All that is served, by the names that people know."""


def load(source: str | PathLike[str] | Snapshot) -> AnyPool:
    """The pool in a snapshot, given as the path of a JSON file or as its parsed content.

    Raises:
        BadPoolSnapshot: unreadable, incomplete, or contradicting itself.
        UnsupportedPool: of a kind that cannot be quoted.
    """
    if isinstance(source, Mapping):
        return _read(source)
    try:
        content = parse_json(read_text(Path(source), _MOST_BYTES))
        if not isinstance(content, dict):
            raise BadPoolSnapshot("the file does not hold a JSON object")
        return _read(content)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BadPoolSnapshot(f"the file cannot be read ({why})", str(source)) from error
    except Excess as excess:
        raise BadPoolSnapshot(str(excess), str(source)) from None
    except ValueError as error:
        raise BadPoolSnapshot(f"the file is not JSON ({error})", str(source)) from error
    except BadPoolSnapshot as error:
        raise BadPoolSnapshot(error.why, str(source)) from error


def of_kind(pool: AnyPool, kind: type[OnePool]) -> OnePool:
    """The pool itself, where only one protocol's will do.

    Raises:
        UnsupportedPool: it is of another.
    """
    if not isinstance(pool, kind):
        raise UnsupportedPool(pool.PROTOCOL)
    return pool


def kind_of(pool: AnyPool) -> str:
    """Which of `KINDS` a pool is of."""
    match pool:
        case UniswapV2Pool():
            return "Uniswap V2"
        case UniswapV3Pool():
            return "Uniswap V3"
        case UniswapV4Pool():
            return "Uniswap V4"
        case BalancerWeightedPool():
            return "Balancer V2 weighted"
        case CurveStablePool():
            return "Curve 3pool" if pool.math_version == "v1" else "Curve stableswap-ng"
        case _:
            name = "twocrypto" if len(pool.tokens) == 2 else "tricrypto"
            return f"Curve {name}" if pool.math_version == "v1" else f"Curve {name}-ng"


def save(pool: AnyPool, path: str | PathLike[str]) -> None:
    """Write the snapshot that `load` reads back as an equal pool."""
    Path(path).write_text(json.dumps(pool.to_json(), indent=2) + "\n", encoding="utf-8")


def _read(snapshot: Snapshot) -> AnyPool:
    for key, read in _PROTOCOLS:
        if key in snapshot:
            return read(snapshot)
    keys = ", ".join(key for key, _ in _PROTOCOLS)
    raise BadPoolSnapshot(f"no protocol is told by its keys; one of {keys} is expected")


def _uniswap_v2(snapshot: Snapshot) -> UniswapV2Pool:
    tokens, reserves = _tokens(snapshot), _ints(snapshot, "reserves")
    if len(tokens) != 2 or len(reserves) != 2:
        raise BadPoolSnapshot("a pair has two tokens and two reserves")
    return UniswapV2Pool(
        address=_text(snapshot, "address"),
        token0=tokens[0],
        token1=tokens[1],
        reserves=(reserves[0], reserves[1]),
        fee_bps=_int(snapshot, "fee_bps"),
        chain_id=_int(snapshot, "chain_id"),
        block=_int(snapshot, "block"),
        name=_text(snapshot, "name"),
    )


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


def _balancer(snapshot: Snapshot) -> BalancerWeightedPool:
    return BalancerWeightedPool(
        address=_text(snapshot, "address"),
        vault=_text(snapshot, "vault"),
        pool_id=_text(snapshot, "pool_id"),
        tokens=_tokens(snapshot),
        balances=_ints(snapshot, "balances"),
        weights_e18=_ints(snapshot, "weights"),
        fee_e18=_fee_e18(_text(snapshot, "fee")),
        pow_version=_text(snapshot, "pow_version"),
        chain_id=_int(snapshot, "chain_id"),
        block=_int(snapshot, "block"),
        name=_text(snapshot, "name"),
    )


def _fee_e18(text: str) -> int:
    """A fee written as a fraction, "3/1000"."""
    try:
        fee = Fraction(text) * E18
    except (ValueError, ZeroDivisionError):
        raise BadPoolSnapshot(f"fee {text!r} is not a fraction") from None
    if fee.denominator != 1:
        raise BadPoolSnapshot(f"fee {text} has more than 18 decimals")
    return fee.numerator


def _curve(snapshot: Snapshot) -> CurveStablePool | CurveCryptoPool:
    """Of the two kinds only one has a gamma. What the contract said of itself must be so."""
    lending, version = snapshot.get("use_lending"), _math_version(snapshot)
    if isinstance(lending, list) and any(lending):
        raise UnsupportedPool("Curve that lend their coins")
    if snapshot.get("offpeg_fee_multiplier") and version == "v1":
        raise UnsupportedPool("Curve older than stableswap-ng that charge more off the peg")
    if snapshot.get("gamma") is not None:
        return _curve_crypto(snapshot)
    pool = CurveStablePool(
        address=_text(snapshot, "address"),
        tokens=_tokens(snapshot),
        balances=_ints(snapshot, "balances"),
        a_coefficient=_int(snapshot, "a_coefficient"),
        fee_e10=_int(snapshot, "fee"),
        admin_fee_e10=_int(snapshot, "admin_fee"),
        rates=_ints(snapshot, "rates") if "rates" in snapshot else (),
        math_version=version,
        offpeg_fee_multiplier_e10=_int(snapshot, "offpeg_fee_multiplier") if version == "ng" else 0,
        is_ramping=_flag(snapshot, "is_ramping"),
        chain_id=_int(snapshot, "chain_id"),
        block=_int(snapshot, "block"),
        name=_text(snapshot, "name"),
    )
    if "virtual_price" in snapshot and "lp_token_total_supply" in snapshot:
        told, supply = _int(snapshot, "virtual_price"), _int(snapshot, "lp_token_total_supply")
        if pool.invariant * E18 // max(supply, 1) != told:
            raise BadPoolSnapshot(f"virtual_price {told} is not that of these balances")
    return pool


def _curve_crypto(snapshot: Snapshot) -> CurveCryptoPool:
    version, tokens = _math_version(snapshot), _tokens(snapshot)
    if version == "v1" and len(tokens) == 2:
        raise UnsupportedPool("Curve of two coins older than twocrypto-ng")
    shares = () if version == "v1" else ("virtual_price", "total_supply")
    virtual_price_e18, total_supply = (_int(snapshot, key) for key in shares) if shares else (0, 0)
    pool = CurveCryptoPool(
        address=_text(snapshot, "address"),
        tokens=tokens,
        balances=_ints(snapshot, "balances"),
        a_coefficient=_int(snapshot, "a_coefficient"),
        gamma=_int(snapshot, "gamma"),
        d=_int(snapshot, "d"),
        price_scale_e18=_ints(snapshot, "price_scale"),
        mid_fee_e10=_int(snapshot, "mid_fee"),
        out_fee_e10=_int(snapshot, "out_fee"),
        fee_gamma=_int(snapshot, "fee_gamma"),
        a_multiplier=_int(snapshot, "a_multiplier") if "a_multiplier" in snapshot else 1,
        math_version=version,
        virtual_price_e18=virtual_price_e18,
        total_supply=total_supply,
        is_ramping=_flag(snapshot, "is_ramping"),
        chain_id=_int(snapshot, "chain_id"),
        block=_int(snapshot, "block"),
        name=_text(snapshot, "name"),
    )
    if "fee" in snapshot and _int(snapshot, "fee") != pool.fee_e10:
        raise BadPoolSnapshot(
            f"fee {snapshot['fee']} is not {pool.fee_e10}, that of these balances"
        )
    if pool.is_ramping:
        # The contract works D out anew before every swap, whatever it has stored.
        return replace(pool, d=pool.fresh_d)
    if abs(pool.d - pool.fresh_d) > pool.d_slack:
        raise BadPoolSnapshot(f"d {pool.d} is not that of these balances, {pool.fresh_d}")
    return pool


def _math_version(snapshot: Snapshot) -> str:
    return _text(snapshot, "math_version") if "math_version" in snapshot else "v1"


def _flag(snapshot: Snapshot, key: str) -> bool:
    """Whether something is so; it is not where nothing is said."""
    value = snapshot.get(key, False)
    if not isinstance(value, bool):
        raise BadPoolSnapshot(f"{key} is neither true nor false")
    return value


@lru_cache(maxsize=64)
def _profile(fee_pips: int, tick_spacing: int, ticks: tuple[Tick, ...]) -> TickProfile:
    """Snapshots of a pool block after block mostly share their ticks, and so all that follows."""
    return TickProfile(fee_pips, tick_spacing, ticks)


_PROTOCOLS: tuple[tuple[str, Callable[[Snapshot], AnyPool]], ...] = (
    ("pool_manager", _uniswap_v4),
    ("weights", _balancer),
    ("a_coefficient", _curve),
    ("reserves", _uniswap_v2),
    ("pool", _uniswap_v3),
)
"""(the key that tells a protocol, its reader)."""


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
    return Token(
        _text(token, "address"),
        safe_text(_text(token, "symbol"), LONGEST_SYMBOL),
        _int(token, "decimals"),
    )


def _tokens(snapshot: Snapshot) -> tuple[Token, ...]:
    rows = _field(snapshot, "tokens")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise BadPoolSnapshot("tokens is not a list of objects")
    return tuple(_token({"token": row}, "token") for row in rows)


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


def _ints(snapshot: Snapshot, key: str) -> tuple[int, ...]:
    value = _field(snapshot, key)
    if not isinstance(value, list):
        raise BadPoolSnapshot(f"{key} is not a list")
    return tuple(_int({key: one}, key) for one in value)


def _text(snapshot: Snapshot, key: str) -> str:
    value = _field(snapshot, key)
    if not isinstance(value, str):
        raise BadPoolSnapshot(f"{key} is not a text")
    return value
