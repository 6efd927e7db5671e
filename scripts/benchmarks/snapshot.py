"""Committed figures of gas and code size, and the comparison with measured ones.

tests/vectors/gas.json holds the exact gas of the benchmark's scenario, size.json the bytes of every contract of ours on
chain. `python -m scripts.benchmarks --write-snapshot` writes both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rebalancer.chain.artifacts import artifact_names, load_artifact

__all__ = ["GAS", "MAX_CODE_BYTES", "ROOT", "SIZE", "changes", "code_sizes", "read", "write"]

ROOT = Path(__file__).resolve().parents[2]
GAS = ROOT / "tests" / "vectors" / "gas.json"
SIZE = ROOT / "tests" / "vectors" / "size.json"

MAX_CODE_BYTES = 24_576
"""EIP-170."""

_NOT_DEPLOYED = ("interfaces", "libraries", "mocks")
_EMPTY_BYTES = 16  # of a library with only internal functions
_COMMIT_IT = "commit the new figure: python -m scripts.benchmarks --write-snapshot"


def code_sizes() -> dict[str, int]:
    """Bytes of runtime code of every deployed contract in contracts/, by name."""
    folder = ROOT / "contracts"
    names = {
        file.stem for file in folder.rglob("*.sol") if not set(file.relative_to(folder).parts[:-1]) & set(_NOT_DEPLOYED)
    }
    sizes = {name: len(load_artifact(name).runtime_code()) for name in sorted(names.intersection(artifact_names()))}
    # An abstract contract has no code.
    return {name: size for name, size in sizes.items() if size > _EMPTY_BYTES}


def changes(unit: str, committed: Mapping[str, int], measured: Mapping[str, int]) -> list[str]:
    """A sentence for every figure that differs from the committed one, by name; empty if all are equal."""
    sentences = []
    for name in sorted(committed.keys() | measured.keys()):
        before, now = committed.get(name), measured.get(name)
        if before is None:
            sentences.append(f"{name} is {now} {unit} and nothing is committed: {_COMMIT_IT}")
        elif now is None:
            sentences.append(f"{name} is committed with {before} {unit} and no longer exists: {_COMMIT_IT}")
        elif now > before:
            sentences.append(
                f"{name} grew from {before} to {now} {unit}: make it smaller, "
                f"or say in the commit why it is worth it and {_COMMIT_IT}"
            )
        elif now < before:
            sentences.append(f"{name} shrank from {before} to {now} {unit}: {_COMMIT_IT}")
    return sentences


def read(path: Path) -> dict[str, int]:
    """A committed snapshot: figures by name; empty if the file is missing."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


def write(path: Path, figures: Mapping[str, int]) -> None:
    """Replace a snapshot."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(figures), indent=2) + "\n")
