"""Collects compiled contracts into rebalancer/artifacts/<Name>.json; `make build` runs it.

Ours come from forge's `out/`, outside ones as their authors published them on npm. Each file holds
`abi`, `bytecode` and `deployedBytecode` (0x-hex; "0x" for an interface), `linkReferences` and
`immutableReferences` (where in the deployed code, by the compiler's id of the variable; {} for outside
contracts, whose authors publish none). The folder is ignored by git and shipped in the wheel, so that the
installed package needs neither forge nor Node.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
FORGE_CACHE = ROOT / "cache" / "forge" / "solidity-files-cache.json"
MODULES = ROOT / "node_modules"
TARGET = ROOT / "rebalancer" / "artifacts"

Artifact = dict[str, Any]

PUBLISHED = {
    "AccessManager": "@openzeppelin/contracts/build/contracts",
    "ERC1967Proxy": "@openzeppelin/contracts/build/contracts",
    "IERC20Metadata": "@openzeppelin/contracts/build/contracts",
    "NonfungiblePositionManager": "@uniswap/v3-periphery/artifacts/contracts/{name}.sol",
    "PoolManager": "@uniswap/v4-core/out/{name}.sol",
    "PoolModifyLiquidityTest": "@uniswap/v4-core/out/{name}.sol",
    "QuoterV2": "@uniswap/swap-router-contracts/artifacts/contracts/lens/{name}.sol",
    "SwapRouter": "@uniswap/v3-periphery/artifacts/contracts/{name}.sol",
    "SwapRouter02": "@uniswap/swap-router-contracts/artifacts/contracts/{name}.sol",
    "TickLens": "@uniswap/v3-periphery/artifacts/contracts/lens/{name}.sol",
    "UniswapV2Factory": "@uniswap/v2-core/build",
    "UniswapV2Pair": "@uniswap/v2-core/build",
    "UniswapV3Factory": "@uniswap/v3-core/artifacts/contracts/{name}.sol",
    "UniswapV3Pool": "@uniswap/v3-core/artifacts/contracts/{name}.sol",
    "Vault": "@balancer-labs/v2-deployments/dist/tasks/20210418-vault/artifact",
    "WETH9": "@uniswap/v2-periphery/build",
    "WeightedPoolFactory": "@balancer-labs/v2-deployments/dist/tasks/deprecated/20210418-weighted-pool/artifact",
}
"""Folder below node_modules that holds <name>.json, by contract."""

MULTICALL3 = """
const { multicall3Bytecode } = require('./node_modules/viem/_cjs/constants/contracts.js');
const { multicall3Abi } = require('viem');
console.log(JSON.stringify({ abi: multicall3Abi, bytecode: multicall3Bytecode }));
"""
"""Prints Multicall3, which only viem publishes: its creation code, as a constant in JavaScript."""

PERMIT2 = MODULES / "@uniswap/v4-periphery"
"""Ships Permit2 (MIT) as its source, its interface and, for tests, its runtime code as a constant in Solidity."""

PERMIT2_DOMAIN = {
    f"{31337:064x}": f"{1:064x}",
    "d5a17abc3865df5c1400c0299bd4ce2eefc8114aec5f9d3dded1745783e57b98": "866a5aba21966af95d6c7ab78eb2b2fc913915c28be3b9aa07cc04ff903e3f28",
}
"""That constant is of a Permit2 made at another address, on a local chain: its two immutables, the chain and the signing domain there,
and mainnet's. On any chain but the one it keeps, Permit2 works its domain out."""

CREATION_PREFIX_BYTES = 32
"""Length of the constructor solc puts before the runtime code of a contract without arguments."""


HALVES = {"BasketVault": "VaultExtension"}
"""Contracts that run another's code as their own, by name: the ABI of the first is that of both."""


def main() -> None:
    """Brings rebalancer/artifacts up to date; files that would not change are left alone."""
    artifacts: dict[str, Artifact] = {}
    outside = [("Multicall3", _multicall3()), ("Permit2", _permit2())]
    for name, artifact in [*_ours(), *_published(), *outside]:
        if name in artifacts:
            sys.exit(
                f"Two contracts are called {name}; artifacts are named by contract, so rename one."
            )
        artifacts[name] = artifact
    for whole, half in HALVES.items():
        known = artifacts[whole]["abi"]
        known += [
            entry for entry in artifacts[half]["abi"] if entry not in known and _callable(entry)
        ]
    TARGET.mkdir(exist_ok=True)
    for stale in TARGET.glob("*.json"):
        if stale.stem not in artifacts:
            stale.unlink()
    for name, artifact in artifacts.items():
        text = json.dumps(artifact, separators=(",", ":"), sort_keys=True) + "\n"
        path = TARGET / f"{name}.json"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _callable(entry: Artifact) -> bool:
    return entry["type"] in ("function", "event", "error")


def _ours() -> Iterator[tuple[str, Artifact]]:
    """Everything forge's cache says it compiled from contracts/ in the default profile.

    The folder alone does not tell: forge compiles some contracts a second time, plainly, for tests,
    and leaves behind what is no longer in any source.
    """
    for source, entry in json.loads(FORGE_CACHE.read_text())["files"].items():
        if not source.startswith("contracts/") or not (ROOT / source).exists():
            continue
        for name, versions in entry["artifacts"].items():
            for profiles in versions.values():
                if "default" in profiles:
                    compiled = json.loads((OUT / profiles["default"]["path"]).read_text())
                    if "bytecode" not in compiled:  # what `forge lint` leaves when run by hand
                        sys.exit(
                            f"out/ holds {name} without its code; run `forge clean` and again."
                        )
                    yield (
                        name,
                        _artifact(compiled, compiled["bytecode"], compiled["deployedBytecode"]),
                    )


def _published() -> Iterator[tuple[str, Artifact]]:
    """Outside contracts, in the three shapes npm packages use: Hardhat's (flat), solc's (under `evm`) and forge's."""
    for name, folder in PUBLISHED.items():
        found = json.loads((MODULES / folder.format(name=name) / f"{name}.json").read_text())
        if "evm" in found:
            yield name, _artifact(found, found["evm"]["bytecode"], found["evm"]["deployedBytecode"])
        elif isinstance(found["bytecode"], dict):
            yield name, _artifact(found, found["bytecode"], found["deployedBytecode"])
        else:
            created = {"object": found["bytecode"], "linkReferences": found["linkReferences"]}
            yield name, _artifact(found, created, {"object": found["deployedBytecode"]})


def _multicall3() -> Artifact:
    """Multicall3 from viem; the runtime code is what its constructor copies."""
    node = ["node", "--eval", MULTICALL3]
    found = json.loads(subprocess.run(node, cwd=ROOT, check=True, capture_output=True).stdout)
    code = bytes.fromhex(found["bytecode"].removeprefix("0x"))
    runtime = code[CREATION_PREFIX_BYTES:]
    if b"\x61" + len(runtime).to_bytes(2) + b"\x80\x61\x00\x20" not in code[:CREATION_PREFIX_BYTES]:
        sys.exit(
            "viem's Multicall3 has another constructor than expected; find its runtime code anew."
        )
    return _artifact(found, {"object": found["bytecode"]}, {"object": runtime.hex()})


def _permit2() -> Artifact:
    """Permit2 as it is on every chain; it has a fixed address there, so nobody needs what creates it."""
    found = json.loads(
        (PERMIT2 / "foundry-out/ISignatureTransfer.sol/ISignatureTransfer.json").read_text()
    )
    source = (PERMIT2 / "lib/permit2/test/utils/DeployPermit2.sol").read_text()
    codes = re.findall(r'hex"([0-9a-f]+)"', source)
    if len(codes) != 1 or [codes[0].count(word) for word in PERMIT2_DOMAIN] != [1, 1]:
        sys.exit("v4-periphery no longer ships the Permit2 that is expected; find its code anew.")
    code = codes[0]
    for theirs, mainnets in PERMIT2_DOMAIN.items():
        code = code.replace(theirs, mainnets)
    return _artifact(found, {"object": "0x"}, {"object": code})


def _artifact(source: Artifact, created: Artifact, deployed: Artifact) -> Artifact:
    return {
        "abi": source["abi"],
        "bytecode": "0x" + created["object"].removeprefix("0x"),
        "deployedBytecode": "0x" + deployed["object"].removeprefix("0x"),
        "linkReferences": created.get("linkReferences", {}),
        "immutableReferences": deployed.get("immutableReferences", {}),
    }


if __name__ == "__main__":
    main()
