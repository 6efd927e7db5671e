"""The place of a block in its chain."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Block"]


@dataclass(frozen=True, slots=True)
class Block:
    """A block's place: number, hash, unix time."""

    number: int
    hash: str
    timestamp: int
