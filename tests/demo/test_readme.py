"""The README's commands do what it says, its links lead somewhere, and its words for settings and commands exist."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import click
import pytest

from rebalancer.cli.main import root


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


def test_readme_paths_exist(readme: str, repo_root: Path) -> None:
    named = set(re.findall(r"`((?:contracts|rebalancer|docs|tests|scripts)/[\w./-]*)`", readme))

    assert len(named) > 8
    assert not [path for path in sorted(named) if not (repo_root / path).exists()]


def test_readme_commands_exist(readme: str) -> None:
    lines = re.findall(r"^rebalancer ([a-z].*?)(?:\s+#.*)?$", readme, re.MULTILINE)

    assert len(lines) >= 6
    for line in lines:
        command: click.Command | None = root
        words = line.split()
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        requested = set(re.findall(r"--[a-z-]+", line))
        assert requested <= known, line
