"""Collection of compiled contracts into one JSON file each, by `make build`.

Our contracts come from forge's `out/`, outside contracts from their authors' npm packages. Each file holds `abi`,
`bytecode` and `deployedBytecode` (0x-hex; "0x" for an interface), `linkReferences` and `immutableReferences` (positions
in the deployed code by the compiler's id of the variable; {} for outside contracts, whose authors publish none).

The wheel ships rebalancer/artifacts, so that the installed package needs neither forge nor Node: our contracts without
test doubles, and the outside contracts of a devnet. Artifacts for tests are in .build/test-artifacts, under their
authors' licences. Git ignores both folders.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out"
FORGE_CACHE = ROOT / "cache" / "forge" / "solidity-files-cache.json"
MODULES = ROOT / "node_modules"
SHIPPED_FOLDER = ROOT / "rebalancer" / "artifacts"
TESTS_FOLDER = ROOT / ".build" / "test-artifacts"

Artifact = dict[str, Any]

SHIPPED = {
    "AccessManager": "@openzeppelin/contracts/build/contracts",
    "IERC20Metadata": "@openzeppelin/contracts/build/contracts",
    "IERC4626": "@openzeppelin/contracts/build/contracts",
    "NonfungiblePositionManager": "@uniswap/v3-periphery/artifacts/contracts/{name}.sol",
    "QuoterV2": "@uniswap/swap-router-contracts/artifacts/contracts/lens/{name}.sol",
    "SwapRouter": "@uniswap/v3-periphery/artifacts/contracts/{name}.sol",
    "SwapRouter02": "@uniswap/swap-router-contracts/artifacts/contracts/{name}.sol",
    "UniswapV2Factory": "@uniswap/v2-core/build",
    "UniswapV2Pair": "@uniswap/v2-core/build",
    "UniswapV3Factory": "@uniswap/v3-core/artifacts/contracts/{name}.sol",
    "UniswapV3Pool": "@uniswap/v3-core/artifacts/contracts/{name}.sol",
    "WETH9": "@uniswap/v2-periphery/build",
}
"""Outside contracts of a devnet: folder below node_modules with <name>.json, by contract.

OpenZeppelin's are under MIT, WETH9 and Uniswap V2's under GPL-3.0-or-later, Uniswap V3's under GPL-2.0-or-later
(v3-core's BUSL-1.1 turned into that on 2023-04-01, as its licence says).
"""

DEVNET_MOCKS = {
    *("BlocklistToken", "LocalToken", "MarketDriver", "MockAggregator", "MockFeedProxy"),
    *("MockStakedDollar", "MockStETH", "MockToken", "MockWstETH", "PausableToken"),
}
"""Contracts of contracts/mocks that an installed devnet needs; the others are for tests, attacks and benchmarks."""

FOR_TESTS = {
    "CompatibilityFallbackHandler": "@safe-global/safe-smart-account/build/artifacts/contracts/handler/{name}.sol",
    "MultiSend": "@safe-global/safe-smart-account/build/artifacts/contracts/libraries/{name}.sol",
    "PancakeV3Factory": "@pancakeswap/v3-core/artifacts/contracts/{name}.sol",
    "PancakeV3Pool": "@pancakeswap/v3-core/artifacts/contracts/{name}.sol",
    "PoolManager": "@uniswap/v4-core/out/{name}.sol",
    "PoolModifyLiquidityTest": "@uniswap/v4-core/out/{name}.sol",
    "ProtocolFeePercentagesProvider": "@balancer-labs/v2-deployments/dist/tasks/20220725-protocol-fee-percentages-provider/artifact",
    "Safe": "@safe-global/safe-smart-account/build/artifacts/contracts/{name}.sol",
    "SafeProxyFactory": "@safe-global/safe-smart-account/build/artifacts/contracts/proxies/{name}.sol",
    "StateView": "@uniswap/v4-periphery/foundry-out/{name}.sol",
    "UniversalRouter": "@uniswap/universal-router/artifacts/contracts/{name}.sol",
    "V4Quoter": "@uniswap/v4-periphery/foundry-out/{name}.sol",
    "Vault": "@balancer-labs/v2-deployments/dist/tasks/20210418-vault/artifact",
    "WeightedPoolFactory": "@balancer-labs/v2-deployments/dist/tasks/deprecated/20210418-weighted-pool/artifact",
    "WeightedPoolFactoryV2": "@balancer-labs/v2-deployments/dist/tasks/deprecated/20220908-weighted-pool-v2/artifact/WeightedPoolFactory.json",
}
"""Outside contracts for tests: folder, or file if its name differs; PoolManager is under BUSL-1.1 until 2027."""

MULTICALL3 = """
const { multicall3Bytecode } = require('./node_modules/viem/_cjs/constants/contracts.js');
const { multicall3Abi } = require('viem');
console.log(JSON.stringify({ abi: multicall3Abi, bytecode: multicall3Bytecode }));
"""
"""Prints Multicall3, which only viem publishes: its creation code, as a constant in JavaScript."""

PERMIT2 = MODULES / "@uniswap/v4-periphery"
"""Package with Permit2 (MIT): source, interface and, for tests, runtime code as a constant in Solidity."""

PERMIT2_DOMAIN = {
    f"{31337:064x}": f"{1:064x}",
    "d5a17abc3865df5c1400c0299bd4ce2eefc8114aec5f9d3dded1745783e57b98": "866a5aba21966af95d6c7ab78eb2b2fc913915c28be3b9aa07cc04ff903e3f28",
}
"""Immutables in that constant and on mainnet: chain id and signing domain. The constant comes from another address on a
local chain. On any other chain than the stored one, Permit2 computes its domain."""

CREATION_PREFIX_BYTES = 32
"""Length of solc's constructor before the runtime code of a contract without arguments."""


HALVES = {"BasketVault": ("IBasketVault", "VaultExtension")}
"""Contracts that delegate to another contract's code: the ABI of the first includes the second's.

The interface of both comes before the second, because its parameters have names.
"""


def main() -> None:
    """Update both folders; unchanged files are not written."""
    outside = [("Multicall3", _multicall3()), ("Permit2", _permit2())]
    ours = list(_ours())
    doubles = [
        (name, made)
        for source, name, made in ours
        if source.startswith("contracts/mocks/") and name not in DEVNET_MOCKS
    ]
    kept = {name for name, _ in doubles}
    shipped = [(name, made) for _, name, made in ours if name not in kept]
    shipped += [*_published(SHIPPED), *outside]
    for_tests = [*doubles, *_published(FOR_TESTS)]
    names = [name for name, _ in (*shipped, *for_tests)]
    for name in names:
        if names.count(name) > 1:
            sys.exit(f"Two contracts are called {name}; artifacts are named by contract, so rename one.")
    packaged = dict(shipped)
    for whole, parts in HALVES.items():
        for part in parts:
            _take_in(packaged[whole]["abi"], packaged[part]["abi"])
    _write(SHIPPED_FOLDER, packaged)
    _write(TESTS_FOLDER, dict(for_tests))


def _write(folder: Path, artifacts: dict[str, Artifact]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.json"):
        if stale.stem not in artifacts:
            stale.unlink()
    for name, artifact in artifacts.items():
        text = json.dumps(artifact, separators=(",", ":"), sort_keys=True) + "\n"
        path = folder / f"{name}.json"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _take_in(abi: list[Artifact], other: list[Artifact]) -> None:
    """Add missing functions, events and errors to `abi`, and missing names of parameters."""
    offered = {_shape(entry): entry for entry in other if entry["type"] in ("function", "event", "error")}
    for place, entry in enumerate(abi):
        if any(not part["name"] for part in entry.get("inputs", ())):
            abi[place] = offered.get(_shape(entry), entry)
    known = {_shape(entry) for entry in abi}
    abi += [entry for shape, entry in offered.items() if shape not in known]


def _shape(entry: Artifact) -> str:
    """Identity of an ABI entry: everything except parameter names."""
    return json.dumps([entry["type"], entry.get("name"), _types(entry.get("inputs", []))])


def _types(parameters: list[Artifact]) -> list[Any]:
    return [[part["type"], _types(part.get("components", []))] for part in parameters]


def _ours() -> Iterator[tuple[str, str, Artifact]]:
    """Source, name and artifact of everything that forge compiled from contracts/ in the default profile, by its cache.

    The folder alone is not enough: forge compiles some contracts a second time for tests, without the optimizer,
    and keeps artifacts of removed sources.
    """
    for source, entry in json.loads(FORGE_CACHE.read_text())["files"].items():
        if not source.startswith("contracts/") or not (ROOT / source).exists():
            continue
        for name, versions in entry["artifacts"].items():
            for profiles in versions.values():
                if "default" in profiles:
                    compiled = json.loads((OUT / profiles["default"]["path"]).read_text())
                    if "bytecode" not in compiled:  # what `forge lint` leaves when run by hand
                        sys.exit(f"out/ holds {name} without its code; run `forge clean` and again.")
                    yield (
                        source,
                        name,
                        _artifact(compiled, compiled["bytecode"], compiled["deployedBytecode"]),
                    )


def _published(folders: dict[str, str]) -> Iterator[tuple[str, Artifact]]:
    """Outside contracts, in the three shapes npm packages use: Hardhat's (flat), solc's (under `evm`) and forge's."""
    for name, folder in folders.items():
        place = MODULES / folder.format(name=name)
        file = place if place.suffix == ".json" else place / f"{name}.json"
        found = json.loads(file.read_text())
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
        sys.exit("viem's Multicall3 has another constructor than expected; update how its runtime code is found.")
    return _artifact(found, {"object": found["bytecode"]}, {"object": runtime.hex()})


def _permit2() -> Artifact:
    """Permit2 as on every chain. It has a fixed address, so creation code is not needed."""
    found = json.loads((PERMIT2 / "foundry-out/ISignatureTransfer.sol/ISignatureTransfer.json").read_text())
    source = (PERMIT2 / "lib/permit2/test/utils/DeployPermit2.sol").read_text()
    codes = re.findall(r'hex"([0-9a-f]+)"', source)
    if len(codes) != 1 or [codes[0].count(word) for word in PERMIT2_DOMAIN] != [1, 1]:
        sys.exit("v4-periphery no longer ships the Permit2 that is expected; update how its code is found.")
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
