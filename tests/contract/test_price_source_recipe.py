"""A price source is one Solidity file and one row of PRICE_SOURCES: shown by adding one to a copy, and held by reading what the rest knows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rebalancer.chain.price_sources import PRICE_SOURCES
from tests.contract.world import World

ADAPTER = """
// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import { IOracleHub } from "../interfaces/IOracleHub.sol";
import { IPriceSource } from "../interfaces/IPriceSource.sol";
import { PriceSource } from "./PriceSource.sol";

/// @title PegFeed
/// @notice A price that is always the same. Params: the price times 1e18 (16).
contract PegFeed is PriceSource {
    /// @inheritdoc IPriceSource
    function read(address, bytes calldata params) external view returns (uint256, uint256, IOracleHub.Fault) {
        return (uint128(bytes16(params[0:16])), block.timestamp, IOracleHub.Fault.None);
    }

    /// @inheritdoc IPriceSource
    function check(address, address, bytes calldata params) external pure {
        _checkLength(params, 16);
    }

    /// @inheritdoc IPriceSource
    function readsFrom(address, bytes calldata) external pure returns (address[] memory) { }
}
"""

READER = """
def _read_peg(rpc: Rpc, named: Named, block: Block) -> Found:
    return Found((named.values["peg"],), named.values["peg"], named.quote, ())


"""
ROW = '    PriceSource("peg", "PegFeed", ("uint128",), {"peg": _rate}, _read_peg),\n'

USE = """
import json
import sys
from pathlib import Path

from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.operations.deploy import Role, set_feed, set_source
from rebalancer.devnet.environment import set_up_system
from rebalancer.devnet.local import LocalChain
from rebalancer.operations.prices import read_prices
from rebalancer.operations.spec import load_chain_spec
from rebalancer.operations.survey import read_feeds, read_sources

folder, endpoint, weth = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
chain = LocalChain(Rpc(endpoint))
owner = chain.account(chain.accounts[0])
system = set_up_system(owner, weth, {Role.OWNER: [owner.address]})
feed = owner.deploy("MockAggregator", 8, "USD")
owner.transact(feed, "push", 2_001 * 10**8)
path = folder / "chain.toml"
path.write_text(f'''
wrapped_native = "{weth}"
tokens = ["{weth}"]
pools = []

[[feeds]]
token = "{weth}"
address = "{feed.address}"
heartbeat_seconds = 3600

[[sources]]
token = "{weth}"
kind = "peg"
peg = 2000
max_divergence_bps = 100
''')
spec = load_chain_spec(path)
feeds = read_feeds(chain.rpc, spec.feeds)
sources = read_sources(chain.rpc, spec.sources, feeds)
((token, priced),) = feeds.items()
set_feed(owner, system.oracle, token, priced.spec)
set_source(owner, system, token, sources[token])
(reading,) = read_prices(
    chain.rpc, system.oracle, [token], read_block(chain.rpc), system.contracts()
)
print(json.dumps([reading.second, reading.second_e18, reading.lo_e18, reading.hi_e18, reading.fault]))
"""


def compiled(repo_root: Path, source: str) -> dict[str, Any]:
    """The artifact of an adapter that would be in contracts/feeds, as `make build` writes them."""
    contracts = repo_root / "contracts"
    openzeppelin = "@openzeppelin/contracts/token/ERC20"
    names = ("interfaces/IOracleHub.sol", "interfaces/IPriceSource.sol", "feeds/PriceSource.sol")
    sources = {f"contracts/{name}": (contracts / name).read_text() for name in names}
    for name in (f"{openzeppelin}/extensions/IERC20Metadata.sol", f"{openzeppelin}/IERC20.sol"):
        sources[name] = (repo_root / "node_modules" / name).read_text()
    sources["contracts/feeds/PegFeed.sol"] = source
    wanted = ["abi", "evm.bytecode", "evm.deployedBytecode"]
    given = {
        "language": "Solidity",
        "sources": {name: {"content": content} for name, content in sources.items()},
        "settings": {
            "evmVersion": "cancun",
            "outputSelection": {"contracts/feeds/PegFeed.sol": {"PegFeed": wanted}},
        },
    }
    done = subprocess.run(
        [str(repo_root / "scripts" / "build" / "solc"), "--standard-json"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        cwd=repo_root,
        timeout=300,
    )
    answer = json.loads(done.stdout)
    assert not [one for one in answer.get("errors", []) if one["severity"] == "error"], answer
    made = answer["contracts"]["contracts/feeds/PegFeed.sol"]["PegFeed"]
    return {
        "abi": made["abi"],
        "bytecode": "0x" + made["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + made["evm"]["deployedBytecode"]["object"],
        "linkReferences": {},
        "immutableReferences": {},
    }


def test_a_price_source_is_a_solidity_file_and_a_row(world: World, repo_root: Path, tmp_path: Path) -> None:
    """Named in a chain file, deployed with the system, set in a hub that knows nothing of it, and shown by its word."""
    copy = tmp_path / "rebalancer"
    shutil.copytree(repo_root / "rebalancer", copy, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    artifact = compiled(repo_root, ADAPTER.lstrip())
    (copy / "artifacts" / "PegFeed.json").write_text(json.dumps(artifact))
    registry = copy / "chain" / "price_sources.py"
    text = registry.read_text()
    assert text.count("_ROWS = (\n") == 1
    registry.write_text(text.replace("_ROWS = (\n", f"{READER}_ROWS = (\n{ROW}"))

    done = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path), world.chain.rpc.endpoint, world.weth.address],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=300,
    )

    assert done.returncode == 0, done.stderr[-3_000:]
    low, high = 2_000 * 10**18, 2_001 * 10**18
    assert json.loads(done.stdout) == ["peg", low, low, high, "None"]


def test_nothing_but_its_own_file_and_row_names_an_adapter(repo_root: Path) -> None:
    adapters = {row.adapter for row in PRICE_SOURCES.values()}
    assert adapters == {path.stem for path in (repo_root / "contracts" / "feeds").glob("*Feed.sol")}
    allowed = {f"contracts/feeds/{adapter}.sol" for adapter in adapters}
    allowed.add("rebalancer/chain/price_sources.py")
    files = [
        *(repo_root / "contracts").rglob("*.sol"),
        *(repo_root / "rebalancer").rglob("*.py"),
    ]
    found = [
        str(path.relative_to(repo_root))
        for path in files
        if re.search(rf"\b({'|'.join(sorted(adapters))})\b", path.read_text())
    ]

    assert set(found) <= allowed
    assert len(found) == len(allowed)
