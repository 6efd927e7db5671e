"""Mutants of contracts, tried one after another: a copy of the project, the forge suites, and the order in which they
run.

All mutants are compiled once, switched off (see `solidity_mutants.py`), without the optimizer, in a copy of the
project; all other contracts come from the build of the checkout. Each mutant is then switched on in turn, and the
suites run until a test fails: first the suites that caught most mutants of the same function, then those that caught
most of all, then the others, then the invariants.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.mutation.results import (
    ROOT,
    WORK,
    Journal,
    Outcome,
    announce,
)
from scripts.mutation.solidity_mutants import SENTINEL, Mutant, misfits, mutants, mutate_alone, schema

TARGETS = {
    "RebalancePolicy": "contracts/libraries/RebalancePolicy.sol",
    "OracleHub": "contracts/OracleHub.sol",
    "BasketVault": "contracts/BasketVault.sol",
    "VaultBase": "contracts/VaultBase.sol",
    "VaultExtension": "contracts/VaultExtension.sol",
    "Holdings": "contracts/libraries/Holdings.sol",
    "PackedFees": "contracts/libraries/PackedFee.sol",
}
FIRST_SUITES = {
    "RebalancePolicy": "Policy",
    "OracleHub": "Oracle",
    "BasketVault": "Rebalance",
    "VaultBase": "Rebalance",
    "VaultExtension": "Governance",
    "Holdings": "Losses",
    "PackedFees": "Fee",
}
LAST_SUITE = "Invariants"
ANY_FUNCTION = ""
GROUPS = (
    ("OracleHub",),
    ("RebalancePolicy", "Holdings", "PackedFees", "BasketVault", "VaultBase", "VaultExtension"),
)
"""Targets that are compiled together, with the contracts that contain them; others come from the build of the
checkout."""
INSIDE = {"RebalancePolicy": ("contracts/ConfigStore.sol", "contracts/VaultLens.sol")}
LIGHT = {"RebalancePolicy": ("Policy", "PolicyEdges")}
"""Suites that need only the contract and its harness: they compile in seconds and kill most of its mutants."""
CORE = sorted((ROOT / "contracts").glob("*.sol"))
GAS_TESTS = "fits_in_a_block"
"""Tests of gas limits: code with mutants and without the optimizer uses more gas."""
TEST_SECONDS = 900  # an endless loop ends by running out of gas, long before

# For contracts whose stack is too deep for the legacy code generator: via IR, with as few optimizer steps as possible.
PROFILE = """
[profile.mutate]
optimizer = true
via_ir = true
gas_limit = 4294967296 # of one test: code that is not optimised takes twice the usual, and an endless loop ends
[profile.mutate.optimizer_details]
peephole = false
inliner = false
jumpdestRemover = false
orderLiterals = false
deduplicate = false
cse = false
constantOptimizer = false
yul = true
[profile.mutate.optimizer_details.yulDetails]
stackAllocation = true
optimizerSteps = "u:"
[profile.mutate.fuzz]
seed = "0x5eed"
runs = 32
"""

# For the legacy code generator, which is faster.
PLAIN_PROFILE = """
[profile.mutate]
optimizer = false
via_ir = false
additional_compiler_profiles = []
compilation_restrictions = []
[profile.mutate.fuzz]
seed = "0x5eed"
runs = 32
"""

# The same, and only the suites and what they import.
LIGHT_PROFILE = PLAIN_PROFILE.replace("via_ir = false", 'via_ir = false\nsrc = "tests/solidity"')


class Workspace:
    """A copy of the project whose contracts contain the mutants."""

    def __init__(self, root: Path, suites: Sequence[str] = (), group: Sequence[str] = ()) -> None:
        self.root = root
        self.suites = suites  # all, if none is named
        inside = [name for target in group for name in (TARGETS[target], *INSIDE.get(target, ()))]
        # What suites import they need to see, whatever it holds.
        seen = "".join(path.read_text() for path in (ROOT / "tests" / "solidity").rglob("*.sol"))
        self.stubs = [
            path.name
            for path in CORE
            if group and f"contracts/{path.name}" not in inside and f"/contracts/{path.name}" not in seen
        ]
        self.plain = "OracleHub" in group or bool(suites)
        self.codes: dict[Path, str] = {}

    def lay(self) -> None:
        """Copy the sources again; build results of unchanged sources stay."""
        self.root.mkdir(parents=True, exist_ok=True)
        for name in ("contracts", "tests/solidity", "tests/vectors"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            shutil.copytree(ROOT / name, self.root / name)
        for path in (self.root / "tests" / "solidity").rglob("*.sol") if self.suites else ():
            if path.name.removesuffix(".t.sol") not in self.suites:
                path.unlink()
        for name in self.stubs:
            # An empty stub: `build` replaces its code by the checkout's.
            path = self.root / "contracts" / name
            head = "// SPDX-License-Identifier: MIT\npragma solidity 0.8.30;\n"
            names = re.findall(r"^(?:abstract )?contract (\w+)", path.read_text(), re.MULTILINE)
            path.write_text(head + "".join(f"contract {name} {{ }}\n" for name in names))
        compiler = self.root / "scripts" / "build"
        compiler.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "package.json", self.root)
        shutil.copy(ROOT / "scripts" / "build" / "solc", compiler / "compiler")
        version = subprocess.run(
            [ROOT / "scripts" / "build" / "solc", "--version"], capture_output=True, text=True, check=True
        )
        # Forge requests the version at every start, and Node is slow to answer.
        wrapper = compiler / "solc"
        wrapper.write_text(
            f"#!/bin/sh\n[ \"$1\" = --version ] && exec echo '{version.stdout.strip()}'\n"
            'exec "$(dirname "$0")/compiler" "$@"\n'
        )
        wrapper.chmod(0o755)
        (self.root / "foundry.toml").write_text(
            (ROOT / "foundry.toml").read_text() + (LIGHT_PROFILE if self.suites else PROFILE)
        )
        if not (self.root / "node_modules").exists():
            (self.root / "node_modules").symlink_to(ROOT / "node_modules")

    def _profile(self) -> str:
        if self.suites:
            return LIGHT_PROFILE
        return PLAIN_PROFILE if self.plain else PROFILE

    def forge(self, *arguments: str, seconds: int = 1800) -> subprocess.CompletedProcess[str]:
        """Run forge in this copy, without the caller's FOUNDRY_ settings."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FOUNDRY_")}
        environment["FOUNDRY_PROFILE"] = "mutate"
        for cache in ("fuzz", "invariant"):
            shutil.rmtree(self.root / "cache" / cache, ignore_errors=True)
        return subprocess.run(
            [ROOT / ".build" / "bin" / "forge", *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def build(self) -> None:
        """Compile contracts and tests, and keep the code of everything that contains a switch."""
        asleep = self.root / "asleep"
        if asleep.exists():  # the state without a mutant switched on, whatever an earlier run left
            shutil.copytree(asleep, self.root / "out", dirs_exist_ok=True)
            shutil.rmtree(asleep)
        run = self.forge("build", "--quiet")
        if run.returncode != 0:
            sys.exit(f"The mutants do not compile together:\n{run.stdout}{run.stderr}")
        for name in self.stubs:
            for made in (ROOT / "out" / name).glob("*.json"):
                for stub in (self.root / "out" / name).glob(f"{made.name.split('.')[0]}*.json"):
                    shutil.copy(made, stub)
        for path in (self.root / "out").rglob("*.json"):
            text = path.read_text()
            if SENTINEL in text:
                self.codes[path] = text
                copy = asleep / path.relative_to(self.root / "out")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text)
        if not self.codes:
            sys.exit("the compiled contracts hold no switch; remove .build/mutate and run again")

    def wake(self, number: int) -> None:
        """Switch one mutant on in the compiled code; 0 is the original."""
        for path, text in self.codes.items():
            path.write_text(text.replace(SENTINEL, f"{number:064x}"))

    def failure(self, suites: Sequence[str]) -> str:
        """Name of a failing test of these suites; empty if all pass. Raises TimeoutExpired if forge does not end."""
        paths = "{" + ",".join([*suites, "none"]) + "}"
        arguments = (
            "test",
            "--json",
            "--fail-fast",
            "--match-path",
            f"tests/solidity/{paths}.t.sol",
            "--no-match-test",
            GAS_TESTS,
        )
        run = self.forge(*arguments, seconds=TEST_SECONDS)
        if not run.stdout.startswith("{"):
            raise RuntimeError(f"forge did not get as far as testing:\n{run.stdout}{run.stderr}")
        for suite, found in json.loads(run.stdout).items():
            for test, result in found["test_results"].items():
                if result["status"] == "Failure":
                    return f"{Path(suite.split(':')[0]).name.removesuffix('.t.sol')}.{test.split('(')[0]}"
        return ""


def compile_json(files: dict[str, bytes], select: str) -> dict[str, Any]:
    """The compiler's answer for these files of the project."""
    with (ROOT / "foundry.toml").open("rb") as settings:
        default = tomllib.load(settings)["profile"]["default"]
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text.decode()} for name, text in files.items()},
        "settings": {
            "remappings": default["remappings"],
            "evmVersion": default["evm_version"],
            "outputSelection": {name: {"": [select]} for name in files},
        },
    }
    run = subprocess.run(
        [ROOT / "scripts" / "build" / "solc", "--standard-json"],
        cwd=ROOT,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def errors_of(answer: dict[str, Any], name: str) -> list[tuple[int, int]]:
    """Positions of the compiler's errors in a file, in bytes."""
    return [
        (error["sourceLocation"]["start"], error["sourceLocation"]["end"])
        for error in answer.get("errors", [])
        if error["severity"] == "error" and error["sourceLocation"]["file"] == name
    ]


def find(targets: Sequence[str]) -> dict[str, list[Mutant]]:
    """All mutants by contract, with consecutive numbers."""
    found: dict[str, list[Mutant]] = {}
    first = 1
    for target in targets:
        name = TARGETS[target]
        source = (ROOT / name).read_bytes()
        tree = compile_json({name: source}, "ast")["sources"][name]["ast"]
        found[target] = mutants(source, tree, first, target)
        first += len(found[target])
    return found


def switched(target: str, found: Sequence[Mutant]) -> tuple[bytes, set[int]]:
    """The file of a contract with its mutants switched off, and the numbers of those that must be compiled alone."""
    name = TARGETS[target]
    source = (ROOT / name).read_bytes()
    alone = {mutant.number for mutant in found if mutant.alone}
    numbers = {mutant.number for mutant in found if mutant.operator == "LIR"}
    while True:
        text = schema(source, [mutant for mutant in found if mutant.number not in alone])
        errors = errors_of(compile_json({name: text}, "ast"), name)
        if not errors:
            return text, alone
        blamed = misfits(text, errors, numbers - alone)
        if not blamed:
            sys.exit(f"{name}: cannot find the mutant that does not compile, at {errors[0]}")
        alone |= blamed


def suites_of(target: str) -> list[str]:
    """The forge suites without the invariants, the contract's own suite first."""
    names = sorted(path.name.removesuffix(".t.sol") for path in (ROOT / "tests/solidity").glob("*.t.sol"))
    first = FIRST_SUITES[target]
    return [first, *(name for name in names if name not in {first, LAST_SUITE, "Base"})]


def changed_lines(path: str, since: str | None) -> set[int]:
    """Lines of a file that changed since a commit."""
    if since is None:
        return set()
    command = ["git", "diff", "--unified=0", since, "--", path]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    hunks = re.findall(r"^@@ \S+ \+(\d+)(?:,(\d+))? @@", run.stdout, re.MULTILINE)
    return {line for first, count in hunks for line in range(int(first), int(first) + int(count or 1))}


def environments(target: str, function: str, killers: dict[str, Counter[str]], *, quick: bool) -> Iterator[list[str]]:
    """Lists of suites to run together, one list after another."""
    suites = suites_of(target)

    def best(of: str, most: int) -> list[str]:
        return [name for name, _ in killers[of].most_common() if name in suites][:most]

    first = best(function, 2) or suites[:1]
    second = [name for name in best(ANY_FUNCTION, 6) if name not in first]
    yield first
    if second:
        yield second
    yield [name for name in suites if name not in {*first, *second}]
    if not quick:
        yield [LAST_SUITE]


def run_one(
    space: Workspace,
    mutant: Mutant,
    killers: dict[str, Counter[str]],
    suites: Iterable[Sequence[str]],
) -> Outcome:
    """Run one list of suites after another until a test fails."""
    for together in suites:
        try:
            by = space.failure(together)
        except subprocess.TimeoutExpired:
            return Outcome("time-out")
        if by:
            suite = by.split(".")[0]
            if suite in together:
                killers[mutant.function][suite] += 1
                killers[ANY_FUNCTION][suite] += 1
            return Outcome("killed", by)
    return Outcome("survived")


def check_original(space: Workspace, *stages_: Sequence[str]) -> None:
    """Exit unless every suite passes on the original contracts, compiled like the mutants."""
    space.wake(0)
    for suites in stages_:
        failed = space.failure(suites)
        if failed:
            sys.exit(f"{failed} fails on the original contracts; fix it first")


class Campaign:
    """One run over the mutants that are not in the journal."""

    def __init__(
        self,
        sampled: dict[str, list[Mutant]],
        wanted: Sequence[str],
        journal: Journal,
        options: argparse.Namespace,
    ) -> None:
        self.sampled = sampled
        self.journal = journal
        self.quick: bool = options.quick
        self.until = time.monotonic() + 60 * options.minutes
        self.killers: dict[str, Counter[str]] = defaultdict(Counter)  # suites by function
        changed = {target: changed_lines(TARGETS[target], options.since) for target in wanted}
        self.todo = [
            (target, mutant)
            for target in wanted
            for mutant in sampled[target]
            if options.since is None or mutant.line in changed[target]
        ]
        # Shuffled, so that the part that fits into the time is a sample.
        random.Random(options.seed).shuffle(self.todo)  # noqa: S311 - chooses what to test, guards nothing

    def left(self, targets: Iterable[str]) -> Iterator[tuple[str, Mutant]]:
        """Remaining mutants of these contracts, while there is time."""
        for target, mutant in self.todo:
            if time.monotonic() > self.until:
                return
            if target in targets and self.journal.get(target, mutant) is None:
                yield target, mutant

    def run(self) -> None:
        """Run the light suites first, then all suites, then the mutants that must be compiled alone."""
        for target, suites in LIGHT.items():
            if any(self.left([target])):
                self.run_light(target, suites)
        for group in GROUPS:
            if any(self.left(group)):
                self.run_group(group)

    def run_light(self, target: str, suites: Sequence[str]) -> None:
        space = Workspace(WORK / target, suites)
        space.lay()
        text, alone = switched(target, self.sampled[target])
        (space.root / TARGETS[target]).write_bytes(text)
        print(f"mutate: compiling {target} with {len(suites)} suites", flush=True)
        space.build()
        check_original(space, suites)
        for _, mutant in self.left([target]):
            if mutant.number in alone:
                continue
            space.wake(mutant.number)
            outcome = run_one(space, mutant, self.killers, [suites])
            if outcome.verdict == "killed":
                announce(target, mutant, self.journal, outcome)

    def run_group(self, group: Sequence[str]) -> None:
        space = Workspace(WORK / group[-1], group=group)
        space.lay()
        alone: set[int] = set()
        # All sampled mutants, also those not to be run now, so that earlier builds can be used again.
        for target in group:
            text, apart = switched(target, self.sampled[target])
            (space.root / TARGETS[target]).write_bytes(text)
            alone |= apart
        print(f"mutate: compiling {', '.join(group)}", flush=True)
        space.build()
        check_original(space, suites_of(group[0]), *([] if self.quick else [[LAST_SUITE]]))
        for target, mutant in self.left(group):
            if mutant.number not in alone:
                space.wake(mutant.number)
                self.judge(space, target, mutant)
        space = Workspace(WORK / f"{group[-1]}.alone", group=group)
        space.lay()
        for target, mutant in self.left(group):
            if mutant.number in alone:
                self.run_alone(space, target, mutant)

    def judge(self, space: Workspace, target: str, mutant: Mutant) -> None:
        suites = environments(target, mutant.function, self.killers, quick=self.quick)
        announce(target, mutant, self.journal, run_one(space, mutant, self.killers, suites))

    def run_alone(self, space: Workspace, target: str, mutant: Mutant) -> None:
        """Compile and run a mutant that fits behind no switch."""
        name = TARGETS[target]
        source = (ROOT / name).read_bytes()
        text = mutate_alone(source, mutant)
        stillborn = bool(errors_of(compile_json({name: text}, "ast"), name))
        (space.root / name).write_bytes(text)
        try:
            if not stillborn:
                self.judge(space, target, mutant)
        except RuntimeError as error:
            if "Compiler" not in str(error):
                raise
            stillborn = True
        finally:
            (space.root / name).write_bytes(source)
        if stillborn:
            announce(target, mutant, self.journal, Outcome("stillborn"))
