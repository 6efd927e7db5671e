"""Which worker looks after which vault?

Rendezvous hashing (Thaler and Ravishankar 1998): a vault goes to the worker with the highest weight, which is a hash of the two
names. Everybody who knows the same workers places the same way without asking anybody, shares are equal but for chance, a worker
that leaves moves only its own vaults, and one that comes takes its share from all others alike. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

__all__ = ["Placement", "place"]


def place(vaults: Iterable[str], workers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Each worker's vaults, in the order given; every worker has an entry. Without workers, nothing is placed."""
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
    """The same for the same vaults block after block: hashed again only when workers come or go."""

    def __init__(self, vaults: Sequence[str]) -> None:
        self.vaults = tuple(vaults)
        self._workers: frozenset[str] | None = None
        self._shares: dict[str, tuple[str, ...]] = {}

    def among(self, workers: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Each worker's vaults."""
        now = frozenset(workers)
        if now != self._workers:
            self._workers, self._shares = now, place(self.vaults, now)
        return self._shares
