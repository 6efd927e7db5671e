"""Proofs that the promises hold for all numbers, by Halmos and Z3: `make prove`, which writes docs/proofs.md.

    --seconds N     time limit of the solver for one claim (default 60)
    --only NAME     `halmos` or `z3`; docs/proofs.md is not written then

Halmos runs the functions `check_...` of tests/proofs/*.t.sol on the compiled contracts, with the shipped settings, for
all arguments at once. tests/proofs/*.py use Z3. Both are installed in .build/prove. A claim without an answer in time
is reported as a time-out. Exits with 1 unless all claims are proved and all false claims are refuted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROVERS = ROOT / ".build" / "prove" / "bin"
WORK = ROOT / ".build" / "prove.project"
REPORT = ROOT / "docs" / "proofs.md"

VERDICTS = {
    0: "proved",
    1: "refuted",
    2: "time-out",
    3: "not decided",
    4: "no path returns",
    5: "error",
}
"""Meaning of Halmos' exit codes."""


@dataclass(frozen=True)
class Proof:
    """One claim and its result."""

    place: str
    claim: str
    widths: str
    seconds: float
    verdict: str
    false: bool = False
    """Whether the claim is false and must be refuted."""


def lay() -> None:
    """Create a project for Halmos: the shipped settings, and only the files that the proofs need."""
    WORK.mkdir(parents=True, exist_ok=True)
    for name in ("contracts", "tests/proofs"):
        shutil.rmtree(WORK / name, ignore_errors=True)
        shutil.copytree(ROOT / name, WORK / name)
    (WORK / "scripts" / "build").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "package.json", WORK)
    shutil.copy(ROOT / "scripts" / "build" / "solc", WORK / "scripts" / "build")
    if not (WORK / "node_modules").exists():
        (WORK / "node_modules").symlink_to(ROOT / "node_modules")
    shipped = tomllib.loads((ROOT / "foundry.toml").read_text())["profile"]["default"]
    kept = (
        "auto_detect_remappings",
        "remappings",
        "offline",
        "solc",
        "evm_version",
        "via_ir",
        "optimizer",
    )
    settings = {name: shipped[name] for name in (*kept, "optimizer_runs", "bytecode_hash", "libs")}
    settings |= {"src": "tests/proofs", "test": "tests/proofs"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (WORK / "foundry.toml").write_text("\n".join(["[profile.default]", *lines, "[lint]", "lint_on_build = false", ""]))


def halmos(contracts: str, prefix: str, seconds: int) -> list[Proof]:
    """Results of Halmos for all functions of these contracts with this prefix."""
    reported = WORK / "results.json"
    reported.unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FOUNDRY_")}
    environment["PATH"] = f"{ROOT / '.build' / 'bin'}{os.pathsep}{environment['PATH']}"
    run = subprocess.run(
        [
            *(PROVERS / "halmos", "--match-contract", f"^({contracts})$", "--function", prefix),
            # The default of a millisecond is too short to see that a path is impossible; Halmos would follow all paths.
            *("--solver-timeout-assertion", f"{seconds}s", "--solver-timeout-branching", "50ms"),
            *("--no-status", "--json-output", reported),
        ],
        cwd=WORK,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if not reported.exists():
        sys.exit(f"Halmos stopped before the proofs:\n{run.stdout}{run.stderr}")
    proofs = []
    for place, results in json.loads(reported.read_text())["test_results"].items():
        for result in results:
            name, widths = re.fullmatch(r"\w+?_(\w+)\((.*)\)", result["name"]).groups()  # type: ignore[union-attr]  # Halmos names its results so
            seconds_taken = result["time"][0]
            proofs.append(
                Proof(
                    place.split(":")[1],
                    name.replace("_", " "),
                    widths,
                    seconds_taken,
                    VERDICTS[result["exitcode"]],
                )
            )
    return proofs


def z3() -> list[Proof]:
    """Results of Z3."""
    run = subprocess.run(
        [PROVERS / "python", "-m", "tests.proofs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for claim in (reported := json.loads(run.stdout)):
        if claim["counterexample"] and not claim["false"]:
            print(f"{claim['name']}: {claim['counterexample']}", file=sys.stderr)
    return [
        Proof(
            *(claim["file"], claim["name"], "any", claim["seconds"], claim["verdict"]),
            claim["false"],
        )
        for claim in reported
    ]


def contracts_commit() -> str:
    """The commit that last changed the contracts."""
    command = ["git", "log", "-1", "--format=%h", "--", "contracts"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def report(symbolic: list[Proof], over_numbers: list[Proof], must_fail: list[Proof], commit: str) -> str:
    """The content of docs/proofs.md."""
    lines = [
        "# Proofs",
        "",
        "Written by `make prove`. What each claim takes for granted stands beside it in `tests/proofs`.",
        f"Contracts as of commit {commit}.",
        "",
        "## Of the code, by Halmos",
        "",
        "The compiled code with the settings it is shipped with, for every value of the arguments' types at once. A call that reverts is",
        "no counterexample; gas is taken to suffice. Loops run over two assets.",
        "",
        "| contract | claim | arguments | seconds | verdict |",
        "|---|---|---|---:|---|",
        *(f"| {p.place} | {p.claim} | `{p.widths}` | {p.seconds:.0f} | {p.verdict} |" for p in symbolic),
        "",
        "Claims that are false, to see that the traps are not blind:",
        "",
        "| contract | claim | arguments | seconds | verdict |",
        "|---|---|---|---:|---|",
        *(f"| {p.place} | {p.claim} | `{p.widths}` | {p.seconds:.0f} | {p.verdict} |" for p in must_fail),
        "",
        "## Of the arithmetic, by Z3",
        "",
        "Of real numbers of any size, and of integers through what rounding may add; each file states its hypotheses, its claim and its",
        "rounding argument. `tests/unit/test_proofs_in_integers.py` holds `rebalancer/settlement.py` against the same claims in exact fractions.",
        "",
        "| file | claim | seconds | verdict |",
        "|---|---|---:|---|",
        *(
            f"| {p.place}.py | {p.claim.replace('|', chr(92) + '|')} | {p.seconds:.1f} | {p.verdict} |"
            for p in over_numbers
            if not p.false
        ),
        "",
        "Claims that are false, and must be refuted:",
        "",
        "| file | claim | seconds | verdict |",
        "|---|---|---:|---|",
        *(f"| {p.place}.py | {p.claim} | {p.seconds:.1f} | {p.verdict} |" for p in over_numbers if p.false),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", choices=("halmos", "z3"))
    options = parser.parse_args()

    symbolic: list[Proof] = []
    must_fail: list[Proof] = []
    if options.only != "z3":
        lay()
        symbolic = halmos("PolicyProofs|CodeProofs|VaultProofs", "check_", options.seconds)
        must_fail = halmos("MustFail", "checkBad_", options.seconds)
    over_numbers = z3() if options.only != "halmos" else []
    for proof in (*symbolic, *must_fail, *over_numbers):
        print(f"{proof.verdict:10} {proof.seconds:7.1f} s  {proof.place}: {proof.claim}")
    if not options.only:
        REPORT.write_text(report(symbolic, over_numbers, must_fail, contracts_commit()))
    true = [*symbolic, *(proof for proof in over_numbers if not proof.false)]
    false = [*must_fail, *(proof for proof in over_numbers if proof.false)]
    sound = all(proof.verdict == "proved" for proof in true)
    return int(not sound or any(proof.verdict != "refuted" for proof in false))


if __name__ == "__main__":
    sys.exit(main())
