"""Placement of vaults on workers.

Rendezvous hashing (Thaler and Ravishankar 1998): a vault goes to the worker with the highest weight, a hash of the two
names. All machines with the same list of workers compute the same placement without communication. Shares are equal on
average; a worker that leaves moves only its own vaults, and a new worker takes the same part of every share. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

__all__ = ["Placement", "place"]


def place(vaults: Iterable[str], workers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each worker's vaults, in the given order; every worker has an entry. Without workers the result is empty."""
    seeds = {worker: blake2b(worker.encode() + b"\0", digest_size=8) for worker in sorted(workers)}
    shares: dict[str, list[str]] = {worker: [] for worker in seeds}
    if not seeds:
        return {}
    for vault in vaults:
        name, best, owner = vault.lower().encode(), b"", ""
        for worker, seed in seeds.items():
            hashed = seed.copy()
            hashed.update(name)
            weight = hashed.digest()
            if weight > best:
                best, owner = weight, worker
        shares[owner].append(vault)
    return {worker: tuple(share) for worker, share in shares.items()}


class Placement:
    """Placement of a fixed set of vaults; computed again only when workers come or go."""

    def __init__(self, vaults: Sequence[str]) -> None:
        self.vaults = tuple(vaults)
        self._workers: frozenset[str] | None = None
        self._shares: dict[str, tuple[str, ...]] = {}

    def among(self, workers: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Vaults of each worker."""
        now = frozenset(workers)
        if now != self._workers:
            self._workers, self._shares = now, place(self.vaults, now)
        return self._shares
