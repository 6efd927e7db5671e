"""Checks of the addresses file before a transaction: it is not overwritten by mistake, and it can be written.

`chain.deployment` reads and writes the file. These checks use only the file system, no chain.
"""

from __future__ import annotations

import os
from pathlib import Path

from rebalancer.chain.deployment import Deployment
from rebalancer.errors import AddressesKept, DeploymentMalformed, SystemRefused
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = ["check_devnets", "present", "prove_writable"]

_ROOM_BYTES = 1 << 18
"""Free space to check for: an addresses file of 100 pools and 50 vaults has 40 KB."""


def present(path: Path, chain_id: int) -> Deployment | None:
    """The addresses file at a path that will be written; None if there is no file.

    Raises:
        AddressesKept: the file is for another chain, or is not an addresses file.
    """
    if not path.exists():
        return None
    try:
        found = Deployment.load(path)
    except DeploymentMalformed as problem:
        raise AddressesKept(path, f"it is not an addresses file ({problem.reason})") from None
    if found.chain_id != chain_id:
        raise AddressesKept(path, f"it is for chain {found.chain_id}, not {chain_id}")
    return found


def check_devnets(path: Path) -> None:
    """Check that a devnet may write its addresses to a path: there is no file, or another devnet wrote it.

    Raises:
        AddressesKept: the file is not from a devnet.
    """
    found = present(path, DEVNET_CHAIN_ID)
    if found is not None and found.rpc_url is None:
        raise AddressesKept(path, "no devnet wrote it")


def prove_writable(path: Path) -> None:
    """Rewrite the file at a path unchanged, with space for a larger one. If there is no file, none is left.

    Like `Deployment.save`, it writes a draft next to the file and moves it into place.

    Raises:
        SystemRefused: there is no space or no permission, or the path is not a file.
    """
    draft = path.with_name(path.name + ".new")
    try:
        if path.exists() and not path.is_file():
            raise SystemRefused(f"{path} cannot be written", "it is not a regular file")
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.exists() else None
        try:
            with draft.open("wb") as file:
                file.write(bytes(_ROOM_BYTES))
                os.fsync(file.fileno())
                if before is not None:
                    file.seek(0)
                    file.truncate()
                    file.write(before)
            if before is not None:
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as problem:
        raise SystemRefused(f"{path} cannot be written", problem.strerror or str(problem)) from None
