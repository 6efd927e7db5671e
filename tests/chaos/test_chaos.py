"""Whatever goes wrong around a keeper: at most one rebalance an epoch, books equal to the chain, the reason in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.arena import Arena, Ground
from tests.chaos.conftest import Report
from tests.chaos.judge import violations
from tests.chaos.scenarios import Scenario


def survives(scenario: Scenario, strength: float, seed: int, ground: Ground, folder: Path, report: Report) -> None:
    """Play a scenario and judge what it left."""
    report.played[scenario.kind] += 1
    with Arena(ground, folder) as arena:
        try:
            scenario.play(arena, strength, seed)
            assert violations(arena) == [], arena.report()
        finally:
            report.faults.update(arena.faults)
    report.survived[scenario.kind] += 1


def test_a_keeper_survives(
    scenario: Scenario,
    strength: float,
    seed: int,
    ground: Ground,
    tmp_path: Path,
    report: Report,
) -> None:
    survives(scenario, strength, seed, ground, tmp_path, report)


@pytest.mark.chaos
def test_a_keeper_survives_everything(
    scenario: Scenario,
    strength: float,
    seed: int,
    ground: Ground,
    tmp_path: Path,
    report: Report,
) -> None:
    report.in_full = True
    survives(scenario, strength, seed, ground, tmp_path, report)
