"""scripts/build/solc: the compiler as forge and py-solc-x call it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

INPUT = {
    "language": "Solidity",
    "sources": {"A.sol": {"content": 'pragma solidity 0.8.30; import "b/B.sol"; contract A is B {}'}},
    "settings": {"outputSelection": {"*": {"*": ["evm.bytecode.object"]}}},
}
B_SOURCE = "pragma solidity 0.8.30; contract B { uint256 public b = 1; }"


def solc(repo_root: Path, *args: str | Path, given: object = "", **env: str) -> Any:
    """The finished process of scripts/build/solc; `given` goes to its standard input as JSON."""
    return subprocess.run(
        [repo_root / "scripts" / "build" / "solc", *args],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )


def pretender(folder: Path, version: str) -> Path:
    """A program that says it is solc of that version and answers everything else with its arguments."""
    path = folder / "solc"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Version: {version}+commit.00000000.Linux.g++" || echo "native $*"\n'
    )
    path.chmod(0o755)
    return path


def test_version_reads_like_the_native_compilers(repo_root: Path) -> None:
    run = solc(repo_root, "--version", SOLC="")

    assert run.returncode == 0
    assert "solidity compiler" in run.stdout
    assert "Version: 0.8.30+commit.73712a01" in run.stdout


def test_version_is_the_same_under_the_name_py_solc_x_uses(repo_root: Path) -> None:
    link = repo_root / ".build" / "solcx" / "solc-v0.8.30"
    run = subprocess.run([link, "--version"], capture_output=True, text=True)

    assert run.returncode == 0
    assert "Version: 0.8.30+" in run.stdout


@pytest.mark.parametrize("option", ["--base-path", "--include-path"])
def test_import_is_read_from_a_named_folder(repo_root: Path, tmp_path: Path, option: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "B.sol").write_text(B_SOURCE)

    run = solc(repo_root, "--standard-json", option, tmp_path, given=INPUT)

    output = json.loads(run.stdout)
    assert "errors" not in output or all(e["severity"] != "error" for e in output["errors"])
    assert output["contracts"]["A.sol"]["A"]["evm"]["bytecode"]["object"]
    assert run.returncode == 0


def test_import_is_read_from_the_checkout_when_nothing_else_has_it(repo_root: Path, tmp_path: Path) -> None:
    source = 'pragma solidity 0.8.30; import "node_modules/@openzeppelin/contracts/utils/Strings.sol";'
    given = {**INPUT, "sources": {"A.sol": {"content": source}}}

    run = solc(repo_root, "--standard-json", "--base-path", tmp_path, given=given)

    assert all(e["severity"] != "error" for e in json.loads(run.stdout).get("errors", []))


def test_import_that_is_nowhere_names_the_folders_searched(repo_root: Path, tmp_path: Path) -> None:
    run = solc(repo_root, "--standard-json", "--base-path", tmp_path, given=INPUT)

    (error,) = [e for e in json.loads(run.stdout)["errors"] if e["severity"] == "error"]
    assert "b/B.sol" in error["message"]
    assert str(tmp_path) in error["message"]


def test_import_by_a_link_out_of_the_folder_is_refused(repo_root: Path, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "B.sol").write_text(B_SOURCE)
    (inside / "b").symlink_to(outside)

    refused = solc(repo_root, "--standard-json", "--base-path", inside, given=INPUT)
    allowed = solc(repo_root, "--standard-json", "--base-path", inside, f"--allow-paths={outside}", given=INPUT)

    assert "outside of allowed directories" in refused.stdout
    assert "outside of allowed directories" not in allowed.stdout
    assert json.loads(allowed.stdout)["contracts"]["A.sol"]["A"]


def test_unknown_option_is_refused_in_one_sentence(repo_root: Path) -> None:
    run = solc(repo_root, "--gas")

    assert run.returncode == 1
    assert run.stdout == ""
    assert "unknown option --gas" in run.stderr
    assert run.stderr.count("\n") == 1


def test_native_compiler_of_the_version_is_used(repo_root: Path, tmp_path: Path) -> None:
    native = pretender(tmp_path, "0.8.30")

    plain = solc(repo_root, "--standard-json", SOLC=str(native))
    based = solc(repo_root, "--standard-json", "--base-path", "x", SOLC=str(native))

    assert plain.stdout == "native --standard-json\n"
    assert based.stdout == f"native --standard-json --base-path x --include-path {repo_root}\n"


def test_native_compiler_of_another_version_is_passed_over(repo_root: Path, tmp_path: Path) -> None:
    native = pretender(tmp_path, "0.8.29")

    run = solc(repo_root, "--version", PATH=f"{native.parent}{os.pathsep}{os.environ['PATH']}")

    assert "Version: 0.8.30+commit.73712a01" in run.stdout
