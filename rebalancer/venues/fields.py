"""Typed access to the fields of a pool snapshot.

A snapshot is JSON: one pool's complete state at one block. Every function raises BadPoolSnapshot if a field is missing
or has another type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

from rebalancer.errors import BadPoolSnapshot
from rebalancer.texts import LONGEST_SYMBOL, safe_text
from rebalancer.venues.model import PoolBase, Token

__all__ = [
    "Snapshot",
    "field_of",
    "flag_of",
    "int_of",
    "ints_of",
    "object_of",
    "pool_of",
    "text_of",
    "token_of",
    "tokens_of",
]

Snapshot = Mapping[str, object]

P = TypeVar("P", bound=PoolBase)


def token_of(snapshot: Snapshot, key: str) -> Token:
    token = object_of(snapshot, key)
    return Token(
        text_of(token, "address"), safe_text(text_of(token, "symbol"), LONGEST_SYMBOL), int_of(token, "decimals")
    )


def tokens_of(snapshot: Snapshot) -> tuple[Token, ...]:
    rows = field_of(snapshot, "tokens")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise BadPoolSnapshot("tokens is not a list of objects")
    return tuple(token_of({"token": row}, "token") for row in rows)


def field_of(snapshot: Snapshot, key: str) -> object:
    if key not in snapshot:
        raise BadPoolSnapshot(f"{key} is missing")
    return snapshot[key]


def object_of(snapshot: Snapshot, key: str) -> Snapshot:
    value = field_of(snapshot, key)
    if not isinstance(value, Mapping):
        raise BadPoolSnapshot(f"{key} is not an object")
    return value


def int_of(snapshot: Snapshot, key: str) -> int:
    value = field_of(snapshot, key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadPoolSnapshot(f"{key} is not a whole number")
    return value


def ints_of(snapshot: Snapshot, key: str) -> tuple[int, ...]:
    value = field_of(snapshot, key)
    if not isinstance(value, list):
        raise BadPoolSnapshot(f"{key} is not a list")
    return tuple(int_of({key: one}, key) for one in value)


def text_of(snapshot: Snapshot, key: str) -> str:
    value = field_of(snapshot, key)
    if not isinstance(value, str):
        raise BadPoolSnapshot(f"{key} is not a text")
    return value


def flag_of(snapshot: Snapshot, key: str) -> bool:
    """A boolean field; False if it is missing."""
    value = snapshot.get(key, False)
    if not isinstance(value, bool):
        raise BadPoolSnapshot(f"{key} is neither true nor false")
    return value


_READERS: Final[Mapping[str, Callable[[Snapshot, str], object]]] = {
    "int": int_of,
    "str": text_of,
    "bool": flag_of,
    "Token": token_of,
    "tuple[int, ...]": ints_of,
    "tuple[int, int]": ints_of,
    "tuple[Token, ...]": lambda snapshot, _: tokens_of(snapshot),
    "tuple[Token, Token]": lambda snapshot, _: tokens_of(snapshot),
}
"""Type of a pool's field → its reader."""


def pool_of(pools: type[P], snapshot: Snapshot, **given: Any) -> P:
    """A pool from a snapshot: each field by its type, except those in `given`. The inverse of `PoolBase.to_json`."""
    for one in fields(pools):
        if one.name not in given:
            given[one.name] = _READERS[str(one.type)](snapshot, pools.KEYS.get(one.name, one.name))
    return pools(**given)
