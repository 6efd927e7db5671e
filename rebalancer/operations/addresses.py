"""The addresses file: never lost, and proved writable before anything is paid for.

`chain.deployment` reads and writes the file. These checks come first. They look at the file system alone, and ask no chain.
"""

from __future__ import annotations

import os
from pathlib import Path

from rebalancer.chain.deployment import Deployment
from rebalancer.errors import AddressesKept, DeploymentMalformed, SystemRefused
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = ["check_devnets", "present", "prove_writable"]

_ROOM_BYTES = 1 << 18
"""Free space that a new addresses file is sure to fit into: one of 100 pools and 50 vaults takes 40 KB."""


def present(path: Path, chain_id: int) -> Deployment | None:
    """The addresses file at a path that is to be written; None where there is nothing.

    Raises:
        AddressesKept: what is there is of another chain, or no addresses file.
    """
    if not path.exists():
        return None
    try:
        found = Deployment.load(path)
    except DeploymentMalformed as problem:
        raise AddressesKept(path, f"it is no addresses file ({problem.reason})") from None
    if found.chain_id != chain_id:
        raise AddressesKept(path, f"it is of chain {found.chain_id}, not {chain_id}")
    return found


def check_devnets(path: Path) -> None:
    """Make sure that a devnet may write its addresses at a path: nothing is there, or what another devnet wrote.

    Raises:
        AddressesKept: something else is there.
    """
    found = present(path, DEVNET_CHAIN_ID)
    if found is not None and found.rpc_url is None:
        raise AddressesKept(path, "no devnet made it")


def prove_writable(path: Path) -> None:
    """Write what is at a path anew, with room to grow; nothing is left where nothing was.

    The draft beside the file and its move into place are those of `Deployment.save`.

    Raises:
        SystemRefused: there is no space, no permission, no such folder, or something other than a file is there.
    """
    draft = path.with_name(path.name + ".new")
    try:
        if path.exists() and not path.is_file():
            raise SystemRefused(f"{path} cannot be written", "it is no regular file")
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
