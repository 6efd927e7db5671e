"""Fixtures every test may ask for; none of them acts unasked. And the amount of chance a run takes.

Plain runs draw the same examples every time. HYPOTHESIS_PROFILE=deep draws many and new ones (nightly: fewer, in an hour or
two), and prints how to draw a failing one again; FOUNDRY_PROFILE=deep is its twin for forge's suites.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rebalancer.chain.artifacts import add_artifacts_folder
from tests.fixtures_chain import chain  # noqa: F401 (defined here, it goes before Ape's fixture of that name)

pytest_plugins = ["tests.fixtures_chain", "tests.fixtures_redis"]

REPO_ROOT = Path(__file__).resolve().parent.parent

# Outside contracts that tests meet and the wheel does not carry.
for folder in (REPO_ROOT / ".build" / "test-artifacts", *sorted((REPO_ROOT / ".build" / "balancer-v3").glob("*/"))):
    add_artifacts_folder(folder)

# Slow examples are no failures here: two cores may be busy with a chain.
settings.register_profile("quick", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("quick"), derandomize=False, max_examples=5_000, print_blob=True)
settings.register_profile("nightly", settings.get_profile("deep"), max_examples=1_000)
HYPOTHESIS_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(HYPOTHESIS_PROFILE)


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Leaves Ape out of a plain pytest run, where its plugin would start a chain of its own for every test."""
    if Path(sys.argv[0]).stem != "ape":
        pluginmanager.set_blocked("ape_test")


def pytest_report_header() -> str:
    """Says which chance this run takes."""
    chance = "the same in every run" if HYPOTHESIS_PROFILE == "quick" else "new in every run"
    forge = os.environ.get("FOUNDRY_PROFILE", "default")
    return f"seeds: hypothesis {HYPOTHESIS_PROFILE} ({chance}), forge {forge} (0x5eed)"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives each worker whole files, the longest first; the tests of forge, and those on Hardhat, are one worker's each.

    So forge runs once, and what a session builds on a chain is built but a few times.
    """
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False  # by what takes long, not by how many they are
    return ByFile(config, log)


def unit_of(nodeid: str) -> str:
    """What a test is given to a worker with: its file, or all tests of forge, or all of a chain on Hardhat."""
    path, _, name = nodeid.partition("::")
    if path.startswith("tests/solidity/"):
        return "tests/solidity"
    if path.startswith("tests/contract/") and re.search(r"[-\[]hardhat[-\]]", name):
        return "tests/contract on hardhat"
    return path


LONG_UNITS = (
    "tests/solidity",
    "tests/contract on hardhat",
    "tests/property/test_mutants.py",
    "tests/chaos/test_chaos.py",
)
"""What takes longest, begun first: else one worker would end long after the others."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts what takes long first, where several workers share the tests."""
    if hasattr(config, "workerinput"):
        rank = {unit: number for number, unit in enumerate(LONG_UNITS)}
        items.sort(key=lambda item: rank.get(unit_of(item.nodeid), len(rank)))


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real market data beside the checkout, read in place; the test skips where there is none."""
    folder = REPO_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("Real market data is not here: ../shared/data beside the checkout is missing.")
    return folder


@pytest.fixture
def only_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs in its own folder, without the settings of the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("REBALANCER_")]:
        monkeypatch.delenv(name)
