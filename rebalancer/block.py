"""Identity of a block: number, hash and time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Block"]


@dataclass(frozen=True, slots=True)
class Block:
    """A block's number, hash and time (unix seconds)."""

    number: int
    hash: str
    timestamp: int
