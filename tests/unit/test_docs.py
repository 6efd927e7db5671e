"""README and pages of docs/: figures are the committed ones; commands, paths and links exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from rebalancer.cli.main import root

ROOT = Path(__file__).parents[2]
GENERATED = {"mutation.md", "proofs.md"}
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in GENERATED)]

OF_EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

GAS = {
    "rebalance": "rebalance from A to B, complete",
    "mint_in_kind": "in-kind deposit, new holder",
    "redeem_in_kind": "in-kind redemption, half",
    "zap_in": "one-token deposit with swaps",
}
"""Figure in gas.json → first cell of its row in docs/figures.md."""


@pytest.fixture(scope="module")
def gas() -> dict[str, int]:
    """The committed figures, which tests/contract/test_gas.py holds to the contracts."""
    figures: dict[str, int] = json.loads((ROOT / "tests/vectors/gas.json").read_text())
    return figures


def cells(page: str, first: str) -> list[str]:
    """The cells of the table row that begins with a cell."""
    (row,) = [
        line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if line.startswith(f"| {first} |")
    ]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_gas_figure_is_in_the_table(gas: dict[str, int]) -> None:
    assert {figure.split(", ")[0] for figure in gas} == set(GAS)


@pytest.mark.parametrize("figure", GAS)
def test_gas_in_the_figures_is_the_committed_one(gas: dict[str, int], figure: str) -> None:
    assert cells("docs/figures.md", GAS[figure])[1:4] == [f"{gas[f'{figure}, {n} assets']:,}" for n in (3, 5, 10)]


def test_gas_in_the_readme_is_the_committed_one(gas: dict[str, int]) -> None:
    rebalances = " / ".join(f"{gas[f'rebalance, {n} assets']:,}" for n in (3, 5, 10))
    redemption = f"{gas['redeem_in_kind, 3 assets']:,}"

    assert cells("README.md", "gas of a rebalance of 3, 5, 10 assets, all checks on")[1] == rebalances
    assert cells("README.md", "gas of an in-kind redemption, 3 assets")[1] == redemption
    architecture = " ".join((ROOT / "docs/architecture.md").read_text(encoding="utf-8").split())
    assert f"a redemption of three assets costs {redemption} gas" in architecture


def paths(page: Path) -> set[str]:
    """Files and folders that a page names."""
    text = page.read_text(encoding="utf-8")
    return set(re.findall(r"`((?:contracts|deploy|docs|rebalancer|scripts|tests)/[\w./-]*)`", text))


def commands(page: Path) -> list[str]:
    """Command lines of a page's blocks, without `rebalancer` and comment."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    text = "".join(blocks).replace("\\\n", "")
    return re.findall(r"^rebalancer (.*?)(?:\s+#.*)?$", text, re.MULTILINE)


def test_paths_and_commands_are_found() -> None:
    for page, least_paths, least_commands in (
        ("README.md", 8, 5),
        ("docs/operating.md", 8, 15),
        ("docs/commands.md", 0, 20),
    ):
        assert len(paths(ROOT / page)) >= least_paths
        assert len(commands(ROOT / page)) >= least_commands


@OF_EVERY_PAGE
def test_paths_exist(page: Path) -> None:
    assert not [path for path in sorted(paths(page)) if not (ROOT / path).exists()]


@OF_EVERY_PAGE
def test_commands_exist_with_their_options(page: Path) -> None:
    for line in commands(page):
        command: click.Command | None = root
        words = line.split()
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line


@OF_EVERY_PAGE
def test_links_lead_to_headings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}

    assert not [anchor for anchor in re.findall(r"\]\(#([^)]*)\)", text) if anchor not in headings]
