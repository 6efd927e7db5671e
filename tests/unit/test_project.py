"""The set-up itself: locks, versions that must agree, artifacts, and what the wheel carries and needs."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from rebalancer.reasons import Reason

MAX_CODE_BYTES = 24_576
"""EIP-170."""

OTHERS_IN_WHEEL = {
    "AccessManager",  # MIT
    "IERC20Metadata",  # MIT
    "IERC4626",  # MIT
    "Multicall3",  # MIT
    "Permit2",  # MIT
    "NonfungiblePositionManager",  # GPL-2.0-or-later, as all of Uniswap V3
    "QuoterV2",
    "SwapRouter",
    "SwapRouter02",
    "UniswapV3Factory",
    "UniswapV3Pool",
    "UniswapV2Factory",  # GPL-3.0-or-later
    "UniswapV2Pair",
    "WETH9",  # GPL-3.0-or-later
}
"""Contracts of other authors that the package ships, with their licences."""

POOL_INIT_CODE_HASH = "e34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54"
"""Uniswap v3-periphery, PoolAddress.sol: with it, pools land on their mainnet addresses."""

DEVELOPMENT_ONLY = (
    "ape",
    "ape_foundry",
    "ape_solidity",
    "solcx",
    "pytest",
    "hypothesis",
    "matplotlib",
)
"""Modules the installed package imports without; matplotlib comes with the extra `devnet`."""

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"{name} is for development alone")

sys.meta_path.insert(0, Blocked())
import rebalancer
names = [m.name for m in pkgutil.walk_packages(rebalancer.__path__, "rebalancer.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(rebalancer.__file__, len(names))
"""


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def release(repo_root: Path, folder: Path) -> tuple[Path, Path]:
    """Wheel and sdist, built as for a release, with nothing asked of a package index."""
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(build, cwd=repo_root, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def built(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A release."""
    return release(repo_root, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Path:
    """Its wheel."""
    return built[0]


# Set-up


def make(folder: Path, *args: str, path: str) -> subprocess.CompletedProcess[str]:
    """The finished `make` with only `path` to find programs in."""
    make_itself = shutil.which("make")
    assert make_itself is not None
    return subprocess.run([make_itself, *args], cwd=folder, env={"PATH": path}, capture_output=True, text=True)


def test_setup_says_and_does_nothing_when_all_is_there(repo_root: Path) -> None:
    run = make(repo_root, "setup", path=os.environ["PATH"])

    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        ({}, "Python 3.11 or newer is needed and none was found"),
        ({"python3": "exit 1"}, "Python 3.11 or newer is needed and none was found"),
        ({"python3": "exit 0"}, "Node 20 or newer and npm are needed and were not found"),
        (
            {
                "python3": "exit 0",
                "npm": "exit 0",
                "node": "[ $1 = --version ] && echo v18.9.1 || exit 1",
            },
            "Node 20 or newer is needed and v18.9.1 was found",
        ),
    ],
    ids=["no python", "old python", "no node", "old node"],
)
def test_setup_names_the_program_that_is_missing(
    repo_root: Path, tmp_path: Path, programs: dict[str, str], sentence: str
) -> None:
    for name in ("find", "mkdir", "sed", "touch"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "contracts").mkdir()
    shutil.copy(repo_root / "Makefile", tmp_path)

    run = make(tmp_path, ".build/tools", path=str(tmp_path))

    assert run.returncode != 0
    assert run.stderr.startswith(sentence)
    assert not (tmp_path / ".build").exists()


@pytest.mark.parametrize("tool", ["anvil", "cast", "forge"])
def test_foundry_says_when_it_failed(tool: str) -> None:
    run = subprocess.run([tool, "--no-such-option"], capture_output=True)

    assert run.returncode != 0


# Locks


@pytest.mark.parametrize(("name", "least"), [("", 50), ("-build", 1), ("-prove", 5)])
def test_python_locks_hold_hashes_and_no_address(repo_root: Path, name: str, least: int) -> None:
    lock = (repo_root / f"requirements{name}.lock").read_text()
    requirements = re.split(r"\n(?=\w)", lock.strip())

    assert len(requirements) >= least
    assert [r for r in requirements if "--hash=sha256:" not in r] == []
    assert re.findall(r"\S*(?:://|index-url|find-links|file:)\S*", lock) == []


def test_python_lock_holds_every_direct_dependency(repo_root: Path) -> None:
    pyproject = toml(repo_root / "pyproject.toml")
    project = pyproject["project"]
    wanted = [
        *pyproject["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"]["devnet"],
        *pyproject["dependency-groups"]["dev"],
    ]
    locked = set(re.findall(r"^([\w.-]+)==", (repo_root / "requirements.lock").read_text(), re.MULTILINE))

    assert {re.split(r"[=<>\[ ]", requirement)[0] for requirement in wanted} <= locked
    assert pyproject["build-system"]["requires"][0] in pyproject["dependency-groups"]["dev"]


def test_what_is_imported_is_declared_and_what_is_declared_is_imported(repo_root: Path) -> None:
    project = toml(repo_root / "pyproject.toml")["project"]
    declared = {
        name: {re.split(r"[=<>\[ ]", each)[0].replace("-", "_") for each in requirements}
        for name, requirements in {
            "always": project["dependencies"],
            **project["optional-dependencies"],
        }.items()
    }
    everything = set().union(*declared.values())
    renamed = {"dotenv": "python_dotenv"}
    imported = {
        renamed.get(name, name) for path in (repo_root / "rebalancer").rglob("*.py") for name in _imported(path)
    } - {"rebalancer", *sys.stdlib_module_names}

    assert imported - everything == set()
    assert everything - imported == set()


def _imported(path: Path) -> set[str]:
    """The packages that a module imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def test_node_lock_holds_hashes_and_no_address(repo_root: Path) -> None:
    packages = json.loads((repo_root / "package-lock.json").read_text())["packages"]
    wanted = json.loads((repo_root / "package.json").read_text())["devDependencies"]
    del packages[""]

    assert {name for name, package in packages.items() if "resolved" in package} == set()
    assert {name for name, package in packages.items() if "integrity" not in package} == set()
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


# Versions that must agree


def test_compiler_settings_are_the_same_for_forge_and_ape(repo_root: Path) -> None:
    forge = toml(repo_root / "foundry.toml")["profile"]["default"]
    ape = dict(re.findall(r"^  (\w+): (\S+)", (repo_root / "ape-config.yaml").read_text(), re.MULTILINE))
    node = json.loads((repo_root / "package.json").read_text())["devDependencies"]

    assert ape["version"] == node["solc"]
    assert ape["evm_version"] == forge["evm_version"]
    assert ape["via_ir"] == str(forge["via_ir"]).lower()
    assert ape["optimize"] == str(forge["optimizer"]).lower()
    assert int(ape["optimization_runs"]) == forge["optimizer_runs"]


def test_every_contract_names_the_exact_compiler(repo_root: Path) -> None:
    version = json.loads((repo_root / "package.json").read_text())["devDependencies"]["solc"]
    sources = list((repo_root / "contracts").rglob("*.sol"))

    assert sources
    assert [s for s in sources if f"pragma solidity {version};" not in s.read_text()] == []


# Artifacts


def artifact(repo_root: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((repo_root / "rebalancer" / "artifacts" / f"{name}.json").read_text())
    return loaded


def test_every_contract_has_an_artifact(repo_root: Path) -> None:
    wanted = {path.stem for path in (repo_root / "contracts").glob("*.sol")}

    assert wanted
    assert wanted <= {path.stem for path in (repo_root / "rebalancer" / "artifacts").glob("*.json")}


def test_artifacts_hold_code_in_one_shape(repo_root: Path) -> None:
    for path in (repo_root / "rebalancer" / "artifacts").glob("*.json"):
        found = artifact(repo_root, path.stem)
        assert set(found) == {
            "abi",
            "bytecode",
            "deployedBytecode",
            "immutableReferences",
            "linkReferences",
        }
        assert re.fullmatch(r"0x(?:[0-9a-f]{2})*", found["bytecode"]), path.name
        assert re.fullmatch(r"0x(?:[0-9a-f]{2})*", found["deployedBytecode"]), path.name
        assert found["linkReferences"] == {}, path.name


def test_every_contract_fits_the_chain(repo_root: Path) -> None:
    sizes = {
        path.stem: len(artifact(repo_root, path.stem)["deployedBytecode"]) // 2 - 1
        for path in (repo_root / "rebalancer" / "artifacts").glob("*.json")
    }

    assert {name: size for name, size in sizes.items() if size > MAX_CODE_BYTES} == {}


def test_uniswap_pool_code_is_mainnets(repo_root: Path) -> None:
    code = artifact(repo_root, "UniswapV3Pool")["bytecode"]

    assert keccak(hexstr=code).hex() == POOL_INIT_CODE_HASH


def test_multicall3_runtime_is_what_its_constructor_copies(repo_root: Path) -> None:
    found = artifact(repo_root, "Multicall3")

    assert found["bytecode"].endswith(found["deployedBytecode"].removeprefix("0x"))
    assert keccak(text="aggregate3((address,bool,bytes)[])")[:4].hex() in found["deployedBytecode"]


# The wheel


def test_wheel_carries_the_package_its_types_and_the_artifacts(repo_root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        carried = set(archive.namelist())
    made = {
        path.relative_to(repo_root).as_posix()
        for pattern in ("*.py", "py.typed", "*.json")
        for path in (repo_root / "rebalancer").rglob(pattern)
    }

    assert made <= carried
    assert "rebalancer/artifacts/UniswapV3Pool.json" in carried
    assert {name.split("/")[0] for name in carried} == {"rebalancer", "rebalancer-0.1.0.dist-info"}


def test_wheel_carries_of_others_only_what_a_devnet_is_built_from(repo_root: Path, wheel: Path) -> None:
    """Uniswap V4 is under BUSL-1.1, Balancer under GPL-3.0-only: tests alone meet them, and few others."""
    sources = [path.read_text() for path in (repo_root / "contracts").rglob("*.sol")]
    ours = set(re.findall(r"^(?:abstract )?(?:contract|interface|library) (\w+)", "\n".join(sources), re.MULTILINE))
    with zipfile.ZipFile(wheel) as archive:
        carried = {Path(name).stem for name in archive.namelist() if "/artifacts/" in name}
    api = {repo_root / "rebalancer" / name for name in ("__init__.py", "api.py")}  # their `Vault` is ours
    files = [path for path in (repo_root / "rebalancer").rglob("*.py") if path not in api]
    package = "\n".join(path.read_text() for path in files)
    for_tests = {path.stem for path in (repo_root / ".build" / "test-artifacts").glob("*.json")}

    assert carried - ours == OTHERS_IN_WHEEL
    assert {name for name in OTHERS_IN_WHEEL if f'"{name}"' not in package} == set()
    assert {"PoolManager", "Vault"} <= for_tests
    assert {name for name in for_tests if f'"{name}"' in package} == set()
    assert carried & for_tests == set()


def test_a_release_built_twice_is_equal_byte_for_byte(
    repo_root: Path, built: tuple[Path, Path], tmp_path: Path
) -> None:
    for once, again in zip(built, release(repo_root, tmp_path), strict=True):
        assert once.name == again.name
        assert once.read_bytes() == again.read_bytes()


def test_sdist_carries_sources_licences_and_what_was_compiled(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "contracts/BasketVault.sol"} <= names
    assert "rebalancer/artifacts/BasketVault.json" in names
    assert not [name for name in names if name.startswith(("tests/", "node_modules/", ".build/"))]


def test_wheel_carries_no_test_double_and_the_licences_of_what_it_carries(repo_root: Path, wheel: Path) -> None:
    mocks = {path.stem for path in (repo_root / "contracts" / "mocks").glob("*.sol")}
    package = "\n".join(path.read_text() for path in (repo_root / "rebalancer").rglob("*.py"))
    notice = (repo_root / "NOTICE").read_text()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        carried = {Path(name).stem for name in names if "/artifacts/" in name}
        licences = {Path(name).name for name in names if "/licenses/" in name}

    assert {name for name in carried & mocks if f'"{name}"' not in package} == set()
    assert {"BadShare", "PolicyHarness", "ImpersonatedAccount"} & carried == set()
    assert licences == {"LICENSE", "NOTICE"}
    assert {name for name in OTHERS_IN_WHEEL if name not in notice} == set()


def test_wheel_asks_for_nothing_of_development(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("rebalancer-0.1.0.dist-info/METADATA").decode()
        entry_points = archive.read("rebalancer-0.1.0.dist-info/entry_points.txt").decode()
    needed = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", metadata, re.MULTILINE)

    assert "web3" in needed
    assert not {name for name in needed if name.replace("-", "_") in DEVELOPMENT_ONLY}
    assert not {name for name in needed if "ape" in name.split("-")}
    assert "rebalancer = rebalancer.cli.main:main" in entry_points


def test_wheel_imports_without_development_packages(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # noqa: S202 (our own wheel)

    run = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_EVERYTHING, ",".join(DEVELOPMENT_ONLY)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stderr
    where, count = run.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert int(count) > 5


def test_the_operators_manual_explains_every_reason(repo_root: Path) -> None:
    text = (repo_root / "docs" / "operating.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    explained = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert {reason.value for reason in Reason} <= explained
