"""Command of mutation testing: `python -m scripts.mutation`, or `make mutate`.

    --contract NAME     mutate only this contract; repeatable. Default: RebalancePolicy, OracleHub, BasketVault with both halves
                        and libraries
    --python PATH       mutate only this file or folder; repeatable. Default: policy, settlement, abi, oracle, route, plan,
                        venues, send, keeper and chain. With --contract or --python alone, the other language is not run
    --since COMMIT      only mutants of lines that changed since this commit
    --sample N          at most N mutants per contract or file, spread over its functions; default: all
    --seed N            seed of the sample
    --minutes N         stop after this time, for each language
    --quick             skip the slow parts: the invariants, and tests on a local chain. Survivors run again in the next full
                        run
    --tests PATH        Python: run only these tests; repeatable. Survivors run again in the next full run
    --fresh             ignore results of earlier runs

Outcomes are kept in .build/mutate/journal.jsonl (Python: python.jsonl). A killed mutant runs again only if its file or
the mutant changes. A survivor runs again if a test or contract changes, unless it is listed as equivalent in
tests/vectors/equivalent_mutants.toml (equivalent_mutants_python.toml) with a reason. Figures are in
tests/vectors/mutation.json (mutation_python.json); docs/mutation.md is made from them.

Exits with 1 if tests kill less than 95 % of a contract's mutants, 95 % of all Python mutants or 90 % of a file's. Only
mutants that compile, were run and are not equivalent count.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.mutation.python_campaign import Campaign as PythonCampaign
from scripts.mutation.python_campaign import find as find_python
from scripts.mutation.python_campaign import python_files
from scripts.mutation.results import (
    EQUIVALENT,
    PYTHON_EQUIVALENT,
    PYTHON_RESULT,
    RESULT,
    ROOT,
    WORK,
    Excuses,
    Journal,
    digest,
    percent,
    report,
    sample,
    score,
    summary,
)
from scripts.mutation.solidity_campaign import TARGETS, Campaign, changed_lines, find

JOURNAL = WORK / "journal.jsonl"
PYTHON_JOURNAL = WORK / "python.jsonl"
REPORT = ROOT / "docs" / "mutation.md"

GOAL = 0.95
FILE_GOAL = 0.90

FAST_TESTS = ("tests/unit", "tests/property", "tests/fault")
CHAIN_TESTS = ("tests/contract", "tests/fleet")


def commit_of(*paths: str) -> str:
    """The commit that last changed these files."""
    command = ["git", "log", "-1", "--format=%h", "--", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def mutate_contracts(options: argparse.Namespace) -> bool:
    """Whether tests kill enough mutants of the contracts."""
    found = find(list(TARGETS))
    world = digest("contracts", "tests/solidity") + (" quick" if options.quick else "")
    journal = Journal(JOURNAL, TARGETS, Excuses(TARGETS, EQUIVALENT), world)
    sampled = {target: sample(found[target], options.sample, options.seed) for target in TARGETS}
    wanted = options.contract or list(TARGETS)
    Campaign(sampled, wanted, journal, options).run()
    made = summary(found, journal)
    RESULT.write_text(json.dumps({"commit": commit_of("contracts"), "contracts": made}, indent=1) + "\n")
    show(made)
    return all(score(made[target]) >= GOAL for target in wanted)


def mutate_python(options: argparse.Namespace) -> bool:
    """Whether tests kill enough mutants of the Python files."""
    files = python_files()
    wanted = [
        file for file in files if not options.python or any(Path(file).is_relative_to(path) for path in options.python)
    ]
    if not wanted:
        sys.exit(f"no file to mutate in: {', '.join(options.python)}")
    found = find_python(ROOT, files)
    tests = options.tests or [*FAST_TESTS, *([] if options.quick else CHAIN_TESTS)]
    world = digest("rebalancer", *tests) + " ".join(["", *tests])
    targets = {file: file for file in files}
    journal = Journal(PYTHON_JOURNAL, targets, Excuses(targets, PYTHON_EQUIVALENT), world)
    sampled = {file: sample(found[file], options.sample, options.seed) for file in wanted}
    todo = [(file, mutant) for file in wanted for mutant in sampled[file]]
    random.Random(options.seed).shuffle(todo)  # noqa: S311 - as above
    # Earlier survivors come first: a new test may kill them.
    again = [
        (file, mutant) for file in wanted for mutant in found[file] if journal.key(file, mutant) in journal.survived
    ]
    changed = {file: changed_lines(file, options.since) for file in wanted}
    unknown = [
        (file, mutant)
        for file, mutant in dict.fromkeys([*again, *todo])
        if journal.get(file, mutant) is None and (options.since is None or mutant.line in changed[file])
    ]
    if unknown:
        cache = WORK / "python_coverage.json"
        PythonCampaign(ROOT, files, unknown, journal, cache, CHAIN_TESTS, options.minutes).run("--chain=anvil", *tests)
    made = summary(found, journal)
    for figures in made.values():
        del figures["functions"]
    commit = commit_of(*files)
    PYTHON_RESULT.write_text(json.dumps({"commit": commit, "tests": ", ".join(tests), "files": made}, indent=1) + "\n")
    show({file: made[file] for file in wanted})
    run = [made[file] for file in wanted if made[file]["killed"] + made[file]["survived"]]
    whole = {name: sum(f[name] for f in run) for name in ("killed", "survived", "equivalent")}
    return score(whole) >= GOAL and all(score(figures) >= FILE_GOAL for figures in run)


def show(made: Mapping[str, Any]) -> None:
    for target, f in made.items():
        print(
            f"{target}: {f['killed']} killed, {f['survived']} survived ({f['equivalent']} equivalent),"
            f" {f['stillborn']} do not compile, {f['notRun']} not run: {percent(f)}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contract", action="append", choices=TARGETS)
    parser.add_argument("--python", action="append", metavar="PATH")
    parser.add_argument("--since", metavar="COMMIT")
    parser.add_argument("--sample", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tests", action="append", metavar="PATH")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()

    WORK.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        JOURNAL.unlink(missing_ok=True)
        PYTHON_JOURNAL.unlink(missing_ok=True)
    enough = True
    if options.contract or not options.python:
        enough &= mutate_contracts(options)
    if options.python or not options.contract:
        enough &= mutate_python(options)
    REPORT.write_text(report(json.loads(RESULT.read_text()), json.loads(PYTHON_RESULT.read_text())))
    return int(not enough)


if __name__ == "__main__":
    sys.exit(main())
