"""Runs the Solidity suites of tests/solidity with forge, so that pytest is the one runner to watch."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest


@pytest.mark.timeout(900)  # compiles the suites first when they or the contracts changed
def test_solidity_suites_pass(repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = subprocess.run(["forge", "test", "--json"], cwd=repo_root, capture_output=True, text=True)
    assert run.stdout.startswith("{"), (
        f"forge did not get as far as testing:\n{run.stdout}{run.stderr}"
    )

    suites = json.loads(run.stdout)
    results = {
        f"{suite}.{test}": result
        for suite, found in suites.items()
        for test, result in found["test_results"].items()
    }
    failures = {
        name: result["reason"] for name, result in results.items() if result["status"] == "Failure"
    }
    skipped = sum(result["status"] == "Skipped" for result in results.values())
    passed = len(results) - len(failures) - skipped
    with capsys.disabled():
        print(
            f"\nforge: {len(suites)} suites, {passed} tests passed,"
            f" {len(failures)} failed, {skipped} skipped"
        )

    assert not failures
    assert run.returncode == 0
    assert passed > 0, "forge ran no test"
