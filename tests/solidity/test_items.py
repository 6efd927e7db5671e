"""Every test of forge is an item of pytest's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.solidity.conftest import RUN_SECONDS, Case, cases, contracts, suites

REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="Test run" tests="3" failures="1">
    <testsuite name="tests/solidity/A.t.sol:ATest" tests="3" failures="1">
        <testcase name="testFuzz_fails(uint256)" time="0.002">
            <failure message="4236 &gt;= 5"/>
            <system-out>[FAIL: 4236 &gt;= 5; counterexample: args=[4236]] testFuzz_fails(uint256)</system-out>
        </testcase>
        <testcase name="test_passes()" time="0.000">
            <system-out>[PASS] test_passes() (gas: 253)</system-out>
        </testcase>
        <testcase name="test_skips()" time="0.000">
            <skipped message="no reason"/>
            <system-out>[SKIP: no reason] test_skips() (gas: 0)</system-out>
        </testcase>
        <system-out>Suite result: FAILED. 1 passed; 1 failed; 1 skipped</system-out>
    </testsuite>
</testsuites>
"""


def test_report_of_forge_is_read_with_what_failed_and_why() -> None:
    text = "[FAIL: 4236 >= 5; counterexample: args=[4236]] testFuzz_fails(uint256)"
    assert cases(REPORT) == {
        "tests/solidity/A.t.sol:ATest": [
            Case("testFuzz_fails", True, False, text),
            Case("test_passes", False, False, "[PASS] test_passes() (gas: 253)"),
            Case("test_skips", False, True, "[SKIP: no reason] test_skips() (gas: 0)"),
        ]
    }


@pytest.mark.timeout(RUN_SECONDS)
def test_forge_has_no_test_that_is_no_item(repo_root: Path) -> None:
    run = subprocess.run(["forge", "test", "--list", "--json"], cwd=repo_root, capture_output=True, text=True)
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
