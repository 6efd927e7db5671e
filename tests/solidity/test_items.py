"""Every test of forge is an item of pytest's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.solidity.conftest import RUN_SECONDS, contracts, suites


@pytest.mark.timeout(RUN_SECONDS)
def test_forge_has_no_test_that_is_no_item(repo_root: Path) -> None:
    run = subprocess.run(
        ["forge", "test", "--list", "--json"], cwd=repo_root, capture_output=True, text=True
    )
    assert run.stdout.startswith("{"), run.stdout + run.stderr
    listed = {
        Path(path).name: {suite: sorted(set(tests)) for suite, tests in found.items()}
        for path, found in json.loads(run.stdout).items()
    }
    ours = {
        path.name: {suite: sorted(tests) for suite, tests in suites(path).items()}
        for path in {one.path for one in contracts().values()}
        if suites(path)
    }

    assert ours == listed
    assert sum(len(tests) for found in ours.values() for tests in found.values()) > 800
