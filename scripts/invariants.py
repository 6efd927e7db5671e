"""Long runs of the invariants of tests/solidity/Invariants.t.sol: `make invariants ARGS="--calls 1000000"`.

Each batch of calls has the next seed, so that a run can be repeated, resumed and added up. Each line prints the total
number of calls and the speed. A broken promise ends the run with forge's report and exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SUITE = "tests/solidity/Invariants.t.sol"

BATCH_RUNS = 80

SETTINGS = {
    # The deep profile compiles tests with the optimizer, which makes them twice as fast; it has its own folders.
    "FOUNDRY_PROFILE": "deep",
    "FOUNDRY_OUT": ".build/invariants/out",
    "FOUNDRY_CACHE_PATH": ".build/invariants/cache",
    "FOUNDRY_INVARIANT_RUNS": str(BATCH_RUNS),
    # Every call is checked against the promises; sums over all holders are checked at every tenth call.
    "FOUNDRY_INVARIANT_CHECK_INTERVAL": "10",
    # Arguments are seeds for hashes, so words from storage would not help.
    "FOUNDRY_INVARIANT_INCLUDE_STORAGE": "false",
    "FOUNDRY_INVARIANT_INCLUDE_PUSH_BYTES": "false",
    "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "500",
}


def main() -> int:
    """Run batches until the requested number of calls, or until a promise is broken."""
    parser = argparse.ArgumentParser(description="Long campaigns of the invariants.")
    parser.add_argument("--calls", type=int, default=1_000_000, help="total number of calls")
    parser.add_argument("--depth", type=int, default=250, help="calls per run, from a new initial state")
    parser.add_argument("--seed", type=int, default=1, help="of the first batch")
    arguments = parser.parse_args()

    calls, seed, began = 0, arguments.seed, time.monotonic()
    while calls < arguments.calls:
        run = campaign(seed, arguments.depth)
        results = results_of(run.stdout)
        made = sum(int(result["kind"]["Invariant"]["calls"]) for result in results)
        failed = [result for result in results if result["status"] != "Success"]
        if not made or failed:
            print(f"seed {seed}: {[result['reason'] for result in failed] or 'no call was made'}")
            print(json.dumps([result["counterexample"] for result in failed], indent=1) or run.stderr)
            print(f"stopped after {calls + made:,} calls", flush=True)
            return 1
        calls, seed = calls + made, seed + 1
        seconds = time.monotonic() - began
        print(
            f"seed {seed - 1}: {calls:,} calls without a broken promise,"
            f" {calls / seconds:,.0f} a second, {seconds / 60:.0f} minutes",
            flush=True,
        )
    return 0


def campaign(seed: int, depth: int) -> subprocess.CompletedProcess[str]:
    """Run one batch; forge's output."""
    return subprocess.run(
        [
            *("forge", "test", "--json", "--match-path", SUITE),
            *("--match-test", "invariant_every_promise", "--fuzz-seed", str(seed)),
        ],
        cwd=ROOT,
        check=False,
        env=os.environ | SETTINGS | {"FOUNDRY_INVARIANT_DEPTH": str(depth)},
        stdout=subprocess.PIPE,
        text=True,
    )


def results_of(output: str) -> list[dict[str, Any]]:
    """Result of every test in forge's output; empty if forge stopped before the tests."""
    found = re.search(r"^\{.*\}$", output, re.MULTILINE)
    if found is None:
        return []
    suites = json.loads(found[0])
    return [result for suite in suites.values() for result in suite["test_results"].values()]


if __name__ == "__main__":
    sys.exit(main())
