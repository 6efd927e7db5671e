"""Which scenarios run, and the report of what was survived.

`make test` runs one of each kind, at its first strength; `make chaos` runs every one at every strength with `--seeds` seeds, prints the
table and writes .bench/chaos.json.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.chaos.arena import Ground, build_ground
from tests.chaos.scenarios import SCENARIOS

_SEEDS = 1


@dataclass
class Report:
    """What was done, by kind."""

    in_full: bool = False
    began: float = field(default_factory=time.monotonic)
    faults: Counter[str] = field(default_factory=Counter)
    played: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)

    def table(self) -> Table:
        """For people."""
        table = Table(title="Faults and who survived them", title_justify="left")
        for heading in ("kind", "faults", "scenarios", "survived"):
            table.add_column(heading, justify="left" if heading == "kind" else "right")
        for kind in self.kinds:
            counts = (self.faults[kind], self.played[kind], self.survived[kind])
            table.add_row(kind, *(f"{count:,}" for count in counts))
        totals = (self.faults.total(), self.played.total(), self.survived.total())
        table.add_section()
        table.add_row("all", *(f"{total:,}" for total in totals))
        return table

    @property
    def kinds(self) -> list[str]:
        """In the order of the scenarios."""
        order = dict.fromkeys(scenario.kind for scenario in SCENARIOS)
        return [*(k for k in order if self.played[k]), *(k for k in self.faults if k not in order)]

    def save(self, path: Path) -> None:
        """For programs."""
        kinds = {
            kind: {
                "faults": self.faults[kind],
                "scenarios": self.played[kind],
                "survived": self.survived[kind],
            }
            for kind in self.kinds
        }
        seconds = round(time.monotonic() - self.began)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"seconds": seconds, "kinds": kinds}, indent=1) + "\n")


REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --seeds and --first-seed; seen only where this folder is named, as `make chaos` does."""
    parser.addoption("--seeds", type=int, default=_SEEDS, help="how many seeds of each scenario")
    parser.addoption("--first-seed", type=int, default=0, help="the first of these seeds")


def pytest_configure(config: pytest.Config) -> None:
    """Begins the report."""
    config.stash[REPORT] = Report()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each scenario at each strength and seed it is to run with."""
    if "scenario" not in metafunc.fixturenames:
        return
    in_full = metafunc.definition.get_closest_marker("chaos") is not None
    first = metafunc.config.getoption("--first-seed", default=0)
    seeds = range(first, first + metafunc.config.getoption("--seeds", default=_SEEDS))
    chosen = [
        (scenario, strength, seed)
        for scenario in SCENARIOS
        if in_full or scenario.quick
        for strength in (scenario.strengths if in_full else scenario.strengths[:1])
        for seed in (seeds if in_full else (0,))
    ]
    names = [f"{s.kind}, {s.name}, {strength:g}, seed {seed}" for s, strength, seed in chosen]
    metafunc.parametrize(("scenario", "strength", "seed"), chosen, ids=names)


@pytest.fixture(scope="session")
def ground() -> Ground:
    """A chain with a market and a vault, built once."""
    return build_ground()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """What this run has survived so far."""
    return request.config.stash[REPORT]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, and the file, of a full run."""
    config = terminalreporter.config
    report = config.stash.get(REPORT, Report())
    if not report.in_full:
        return
    Console(width=100).print(report.table())
    report.save(config.rootpath / ".bench" / "chaos.json")
