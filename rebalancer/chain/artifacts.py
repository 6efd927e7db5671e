"""Packaged compiled contracts: names, ABIs and code.

`rebalancer/artifacts/<Name>.json` holds one contract each: our own as compiled by forge, others (Uniswap V3, WETH9,
Multicall3) as their npm packages publish them. scripts/build/artifacts.py writes that folder at build time; this module only
reads it, and any folder that is added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from rebalancer.errors import ArtifactMissing

__all__ = ["Artifact", "add_artifacts_folder", "artifact_names", "load_artifact"]

LinkReferences = Mapping[str, tuple[int, ...]]
"""Library name → byte offsets in the creation code where its 20-byte address belongs."""

_ADDRESS_BYTES = 20

_more_folders: list[Path] = []


@dataclass(frozen=True)
class Artifact:
    """One compiled contract. `abi` is the JSON ABI. Code is hex without `0x`, with unlinked libraries."""

    name: str
    abi: tuple[Mapping[str, Any], ...]
    creation_hex: str
    runtime_hex: str
    links: LinkReferences

    def creation_code(self, libraries: Mapping[str, str] | None = None) -> bytes:
        """Creation code with the addresses of all libraries filled in.

        Raises:
            ArtifactMissing: a required library has no address.
        """
        code = self.creation_hex
        for library, offsets in self.links.items():
            if libraries is None or library not in libraries:
                raise ArtifactMissing(f"{self.name} (its library {library} has no address)")
            address = libraries[library].removeprefix("0x").lower()
            for offset in offsets:
                code = code[: 2 * offset] + address + code[2 * (offset + _ADDRESS_BYTES) :]
        return bytes.fromhex(code)

    def runtime_code(self) -> bytes:
        """Runtime code as compiled. Immutables are zero, so it is valid only for contracts without immutables."""
        return bytes.fromhex(self.runtime_hex)


def add_artifacts_folder(folder: Path) -> None:
    """Search this folder too, after the packaged ones. Call it before the first contract is loaded.

    Tests use it for contracts that the package must not contain.
    """
    if folder not in _more_folders:
        _more_folders.append(folder)


def artifact_names() -> tuple[str, ...]:
    """Names of all contracts that can be loaded, sorted."""
    files = (file.name for folder in _folders() if folder.is_dir() for file in folder.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in files if name.endswith(".json")))


@cache
def load_artifact(name: str) -> Artifact:
    """The contract of that name.

    Raises:
        ArtifactMissing: there is no contract of that name.
    """
    for folder in _folders():
        try:
            return _read(name, folder.joinpath(f"{name}.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise ArtifactMissing(name)


def _read(name: str, text: str) -> Artifact:
    raw = json.loads(text)
    links = {
        library: tuple(place["start"] for place in places)
        for libraries in raw["linkReferences"].values()
        for library, places in libraries.items()
    }
    return Artifact(
        name, tuple(raw["abi"]), raw["bytecode"].removeprefix("0x"), raw["deployedBytecode"].removeprefix("0x"), links
    )


def _folders() -> tuple[Traversable, ...]:
    return resources.files("rebalancer").joinpath("artifacts"), *_more_folders
