"""Fixtures every test may ask for; none of them acts unasked. And the amount of chance a run takes.

Plain runs draw the same examples every time. HYPOTHESIS_PROFILE=deep draws many and new ones (nightly: fewer, in an hour or
two), and prints how to draw a failing one again; FOUNDRY_PROFILE=deep is its twin for forge's suites.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from rebalancer.chain.artifacts import look_also_in
from tests.fixtures_chain import chain  # noqa: F401 (defined here, it goes before Ape's fixture of that name)

pytest_plugins = ["tests.fixtures_chain", "tests.fixtures_redis"]

REPO_ROOT = Path(__file__).resolve().parent.parent

# Outside contracts that tests meet and the wheel does not carry.
look_also_in(REPO_ROOT / ".build" / "test-artifacts")

# Slow examples are no failures here: two cores may be busy with a chain.
settings.register_profile(
    "quick", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "deep", settings.get_profile("quick"), derandomize=False, max_examples=5_000, print_blob=True
)
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
