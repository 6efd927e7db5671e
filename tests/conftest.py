"""Fixtures every test may ask for; none of them acts unasked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest_plugins = ["tests.fixtures_chain"]

REPO_ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Leaves Ape out of a plain pytest run, where its plugin would start a chain of its own for every test."""
    if Path(sys.argv[0]).stem != "ape":
        pluginmanager.set_blocked("ape_test")


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
