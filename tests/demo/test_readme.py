"""The two commands of the README, run with make. tests/unit/test_docs.py holds its other commands, its paths and figures."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def readme(repo_root: Path) -> str:
    """The README's text."""
    return (repo_root / "README.md").read_text(encoding="utf-8")


def make(repo_root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user would, with nothing of this run's environment that it would notice."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=repo_root, env=clean, capture_output=True, text=True, timeout=800)


def test_readme_names_the_two_commands(readme: str) -> None:
    block = readme.split("## Two commands", 1)[1].split("```")[1]

    assert re.findall(r"^make (\w+)", block, re.MULTILINE) == ["demo", "test"]


def test_make_demo_does_its_whole_job(repo_root: Path, tmp_path: Path) -> None:
    ran = make(repo_root, "demo", f"ARGS=--out {tmp_path}")

    assert ran.returncode == 0, ran.stderr
    assert "Results of the run" in ran.stdout
    assert {"chart.png", "chart.svg", "record.jsonl", "keeper.log"} <= {path.name for path in tmp_path.iterdir()}


def test_make_test_collects_every_suite(repo_root: Path) -> None:
    ran = make(repo_root, "test", "ARGS=--collect-only -q")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    for suite in ("unit", "property", "contract", "fault", "demo"):
        assert f"tests/{suite}/" in ran.stdout


def test_make_setup_says_nothing_when_nothing_is_to_be_done(repo_root: Path) -> None:
    make(repo_root, "setup")

    again = make(repo_root, "setup")

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
