"""Ape compiles and tests from the checkout, with nothing set and nothing downloaded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def ape(repo_root: Path, home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The finished `ape`, in an environment that holds nothing but an empty home and the system's PATH."""
    program = Path(sys.executable).with_name("ape")
    node = Path(shutil.which("node") or "node").parent
    return subprocess.run(
        [program, *args],
        cwd=repo_root,
        env={"HOME": str(home), "PATH": f"{node}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_ape_compiles_with_openzeppelin_from_node_modules(repo_root: Path, tmp_path: Path) -> None:
    source = "contracts/ConfigStore.sol"
    assert "@openzeppelin/contracts" in (repo_root / source).read_text()

    run = ape(repo_root, tmp_path, "compile", "--force", source)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "0.8.30+commit.73712a01" in run.stdout + run.stderr
    assert list(tmp_path.iterdir()) == []


def test_ape_runs_contract_tests_on_its_own_anvil(repo_root: Path, tmp_path: Path) -> None:
    suite = "tests/contract/test_local_chain.py"

    run = ape(
        repo_root,
        tmp_path,
        *("test", "--network", "ethereum:local:foundry", "--chain", "anvil", "-q", suite),
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert " failed" not in run.stdout
