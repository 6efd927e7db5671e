"""Compilation of Balancer V3 for tests, by `make build`: its npm packages contain only sources.

Each contract becomes one file in the form of scripts/build/artifacts.py, below .build/balancer-v3 and a digest of all
inputs, so that it is compiled once. The sources are under GPL-3.0: no wheel contains them or their compiled code.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["compiled"]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".build" / "balancer-v3"
MODULES = ROOT / "node_modules"

CONTRACTS = {
    "BalancerV3Vault": "@balancer-labs/v3-vault/contracts/Vault.sol",
    "BalancerV3VaultAdmin": "@balancer-labs/v3-vault/contracts/VaultAdmin.sol",
    "BalancerV3VaultExtension": "@balancer-labs/v3-vault/contracts/VaultExtension.sol",
    "BalancerV3ProtocolFeeController": "@balancer-labs/v3-vault/contracts/ProtocolFeeController.sol",
    "BalancerV3Router": "@balancer-labs/v3-vault/contracts/Router.sol",
    "BalancerV3WeightedPoolFactory": "@balancer-labs/v3-pool-weighted/contracts/WeightedPoolFactory.sol",
}
"""Sources by contract name in tests; their own names equal names of Balancer V2."""

HALVES = ("BalancerV3VaultExtension", "BalancerV3VaultAdmin")
"""Contracts to which the Vault delegates: its ABI includes both."""

ELSEWHERE = {"permit2/": "@uniswap/v4-periphery/lib/permit2/"}
"""Folders of imports whose package has another name."""

SETTINGS = {
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": "cancun",
    "metadata": {"bytecodeHash": "none"},
}

_IMPORT = re.compile(r'\bimport\s+(?:[^"\';]*?from\s+)?["\']([^"\']+)["\']')


def compiled() -> Path:
    """The folder of the artifacts. If missing, they are compiled first, which takes a minute."""
    sources: dict[str, str] = {}
    for source in CONTRACTS.values():
        _collect(source, sources)
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sorted(sources.items())},
        "settings": {
            **SETTINGS,
            "outputSelection": {
                source: {_name_in(source): ["abi", "evm.bytecode", "evm.deployedBytecode"]}
                for source in CONTRACTS.values()
            },
        },
    }
    version = json.loads((ROOT / "package.json").read_text())["devDependencies"]["solc"]
    digest = hashlib.sha256(json.dumps([version, request], sort_keys=True).encode()).hexdigest()
    folder = FOLDER / digest[:16]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not folder.exists():
            _compile(request, folder)
    return folder


def _collect(source: str, sources: dict[str, str]) -> None:
    """Add a source and all its imports to `sources`."""
    if source in sources:
        return
    path = source
    for start, folder in ELSEWHERE.items():
        path = path.replace(start, folder) if path.startswith(start) else path
    sources[source] = (MODULES / path).read_text()
    for found in _IMPORT.findall(sources[source]):
        relative = posixpath.normpath(posixpath.join(posixpath.dirname(source), found))
        _collect(relative if found.startswith(".") else found, sources)


def _compile(request: dict[str, Any], folder: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "build" / "solc", "--standard-json"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    errors = [e["formattedMessage"] for e in answer.get("errors", ()) if e["severity"] == "error"]
    if errors:
        raise RuntimeError("\n".join(errors))
    made = {name: answer["contracts"][source][_name_in(source)] for name, source in CONTRACTS.items()}
    for half in HALVES:
        known = [json.dumps(entry) for entry in made["BalancerV3Vault"]["abi"]]
        made["BalancerV3Vault"]["abi"] += [
            entry
            for entry in made[half]["abi"]
            if entry["type"] in ("function", "event", "error") and json.dumps(entry) not in known
        ]
    unfinished = folder.with_suffix(".unfinished")
    unfinished.mkdir(exist_ok=True)
    for name, contract in made.items():
        created, deployed = contract["evm"]["bytecode"], contract["evm"]["deployedBytecode"]
        artifact = {
            "abi": contract["abi"],
            "bytecode": "0x" + created["object"],
            "deployedBytecode": "0x" + deployed["object"],
            "linkReferences": created["linkReferences"],
            "immutableReferences": deployed["immutableReferences"],
        }
        (unfinished / f"{name}.json").write_text(json.dumps(artifact) + "\n")
    unfinished.rename(folder)


def _name_in(source: str) -> str:
    """The contract that a source is named after."""
    return posixpath.basename(source).removesuffix(".sol")


if __name__ == "__main__":
    compiled()
