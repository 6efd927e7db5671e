"""Mutation testing: `make mutate` makes one small mistake at a time in a contract and sees whether any test notices.

    --contract NAME     only these (again for more); by default RebalancePolicy, OracleHub, BasketVault with its two halves, and their libraries
    --since COMMIT      only mutants of lines that changed since then
    --sample N          at most N mutants a contract, spread over its functions; by default all
    --seed N            which ones
    --minutes N         stop after so long
    --quick             without the invariants, which take longest; what survives is run again next time without this
    --fresh             forget what earlier runs found

All mutants are compiled at once and asleep (see `_mutants.py`), plainly, in a copy of the project, with the checkout's build of all other contracts; each is woken in turn, and the
forge suites run until one fails: first those that caught most mutants of the same function, then those that caught most of all, then the
others, then the invariants.
What was found is kept in .build/mutate/journal.jsonl: a caught mutant is not run again while its file and the mutant are
the same, a survivor not while all tests and contracts are, or if it is known to be no mistake. Writes tests/vectors/mutation.json, and docs/mutation.md from it.

Exits 1 if, of a contract's mutants that compile and were run, tests caught below 95 % of those that are mistakes: a survivor counts unless
tests/vectors/equivalent_mutants.toml says why it changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts._mutants import SENTINEL, Mutant, misfits, mutants, mutate_alone, schema

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".build" / "mutate"
JOURNAL = WORK / "journal.jsonl"
RESULT = ROOT / "tests" / "vectors" / "mutation.json"
REPORT = ROOT / "docs" / "mutation.md"
EQUIVALENT = ROOT / "tests" / "vectors" / "equivalent_mutants.toml"

GOAL = 0.95

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
"""What is compiled together, with what has it inside; all other contracts come from the build of the checkout."""
INSIDE = {"RebalancePolicy": ("contracts/ConfigStore.sol", "contracts/VaultLens.sol")}
LIGHT = {"RebalancePolicy": ("Policy", "PolicyEdges")}
"""Suites that need nothing but the contract and its harness: compiled apart, in seconds, they catch most mutants of it."""
CORE = sorted((ROOT / "contracts").glob("*.sol"))
GAS_TESTS = "fits_in_a_block"
"""Tests of how much gas something takes: code that holds its mutants and is not optimised takes more."""
TEST_SECONDS = 900  # an endless loop ends by running out of gas, long before

# As light as the compiler allows for contracts that the plain code generator finds too deep: nothing is optimised.
PROFILE = """
[profile.mutate]
optimizer = true
via_ir = true
gas_limit = 9223372036854775807 # of one test: code that is not optimised takes twice the usual
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

# Shallow enough for the plain code generator, which is faster still.
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


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: `killed` by a test, `survived`, `stillborn` (it does not compile), or `time-out`: nothing is known."""

    verdict: str
    by: str = ""


class Workspace:
    """A copy of the project whose contracts carry the mutants."""

    def __init__(self, root: Path, suites: Sequence[str] = (), group: Sequence[str] = ()) -> None:
        self.root = root
        self.suites = suites  # all, if none is named
        inside = [name for target in group for name in (TARGETS[target], *INSIDE.get(target, ()))]
        # What suites import they need to see, whatever it holds.
        seen = "".join(path.read_text() for path in (ROOT / "tests" / "solidity").rglob("*.sol"))
        self.stubs = [
            path.name
            for path in CORE
            if group
            and f"contracts/{path.name}" not in inside
            and f"/contracts/{path.name}" not in seen
        ]
        self.plain = "OracleHub" in group or bool(suites)
        self.codes: dict[Path, str] = {}

    def lay(self) -> None:
        """Copies what is compiled, afresh; what was compiled stays where nothing changed."""
        self.root.mkdir(parents=True, exist_ok=True)
        for name in ("contracts", "tests/solidity", "tests/vectors"):
            shutil.rmtree(self.root / name, ignore_errors=True)
            shutil.copytree(ROOT / name, self.root / name)
        for path in (self.root / "tests" / "solidity").rglob("*.sol") if self.suites else ():
            if path.name.removesuffix(".t.sol") not in self.suites:
                path.unlink()
        for name in self.stubs:
            # As good as no source: `build` lays the checkout's code over it.
            path = self.root / "contracts" / name
            head = "// SPDX-License-Identifier: MIT\npragma solidity 0.8.30;\n"
            names = re.findall(r"^(?:abstract )?contract (\w+)", path.read_text(), re.MULTILINE)
            path.write_text(head + "".join(f"contract {name} {{ }}\n" for name in names))
        (self.root / "scripts").mkdir(exist_ok=True)
        shutil.copy(ROOT / "package.json", self.root)
        shutil.copy(ROOT / "scripts" / "solc", self.root / "scripts" / "compiler")
        version = subprocess.run(
            [ROOT / "scripts" / "solc", "--version"], capture_output=True, text=True, check=True
        )
        # Forge asks for the version at every start, and Node takes its time to answer.
        wrapper = self.root / "scripts" / "solc"
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
        """Runs forge here, without the caller's settings."""
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
        """Compiles contracts and tests, and keeps the code of everything that holds a switch."""
        asleep = self.root / "asleep"
        if asleep.exists():  # as an earlier run found them, whatever it left awake
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
        """Has the compiled code be that of one mutant; 0 is the original."""
        for path, text in self.codes.items():
            path.write_text(text.replace(SENTINEL, f"{number:064x}"))

    def failure(self, suites: Sequence[str]) -> str:
        """Name of a test of these suites that fails, or nothing. Raises TimeoutExpired if forge does not answer."""
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
        [ROOT / "scripts" / "solc", "--standard-json"],
        cwd=ROOT,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def errors_of(answer: dict[str, Any], name: str) -> list[tuple[int, int]]:
    """Where in a file the compiler finds errors, in bytes."""
    return [
        (error["sourceLocation"]["start"], error["sourceLocation"]["end"])
        for error in answer.get("errors", [])
        if error["severity"] == "error" and error["sourceLocation"]["file"] == name
    ]


def find(targets: Sequence[str]) -> dict[str, list[Mutant]]:
    """All mutants by contract, numbered through."""
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
    """The file of a contract with its mutants asleep, and the numbers of those that must be compiled alone."""
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
            sys.exit(f"{name}: cannot tell which mutant does not fit, at {errors[0]}")
        alone |= blamed


def suites_of(target: str) -> list[str]:
    """The forge suites, the one that knows the contract best first; the invariants come apart."""
    names = sorted(
        path.name.removesuffix(".t.sol") for path in (ROOT / "tests/solidity").glob("*.t.sol")
    )
    first = FIRST_SUITES[target]
    return [first, *(name for name in names if name not in {first, LAST_SUITE, "Base"})]


def digest(*paths: str) -> str:
    """What these files and folders hold, as 16 hexadecimal digits."""
    files = sorted(
        file
        for path in paths
        for file in ([ROOT / path] if (ROOT / path).is_file() else (ROOT / path).rglob("*.sol"))
    )
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


class Excuses:
    """Why a survivor is no mistake at all."""

    def __init__(self) -> None:
        listed = tomllib.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
        self.lines = {
            name: (ROOT / file).read_text().splitlines() for name, file in TARGETS.items()
        }
        self.reasons: dict[tuple[str, str, str, str, str], str] = {
            (contract, entry["function"], entry["at"], entry["old"], entry["new"]): entry["reason"]
            for contract, entries in listed.items()
            for entry in entries
        }

    def line(self, target: str, mutant: Mutant) -> str:
        """The line of source it is in."""
        return self.lines[target][mutant.line - 1].strip()

    def of(self, target: str, mutant: Mutant) -> str:
        """The reason, empty if there is none."""
        at = self.line(target, mutant)
        return self.reasons.get((target, mutant.function, at, mutant.old, mutant.new), "")


class Journal:
    """What earlier runs found, by mutant and by what was tested."""

    def __init__(self, quick: bool) -> None:
        self.world = digest("contracts", "tests/solidity") + (" quick" if quick else "")
        self.files = {target: digest(name) for target, name in TARGETS.items()}
        self.known: dict[tuple[str, str], Outcome] = {}
        self.excuses = Excuses()
        self.survived: set[tuple[str, str]] = set()
        for line in JOURNAL.read_text().splitlines() if JOURNAL.exists() else []:
            entry = json.loads(line)
            outcome = Outcome(entry["verdict"], entry["by"])
            final = outcome.verdict in {"killed", "stillborn"}
            if final or (outcome.verdict == "survived" and entry["world"] == self.world):
                self.known[entry["file"], entry["name"]] = outcome
            else:
                self.known.pop((entry["file"], entry["name"]), None)
            if outcome.verdict == "survived":
                self.survived.add((entry["file"], entry["name"]))

    def key(self, target: str, mutant: Mutant) -> tuple[str, str]:
        return self.files[target], f"{mutant.start}:{mutant.name}"

    def get(self, target: str, mutant: Mutant) -> Outcome | None:
        key = self.key(target, mutant)
        if key not in self.known and key in self.survived and self.excuses.of(target, mutant):
            return Outcome("survived")
        return self.known.get(key)

    def put(self, target: str, mutant: Mutant, outcome: Outcome) -> None:
        file, name = self.key(target, mutant)
        if outcome.verdict == "time-out":
            return  # to be tried again
        self.known[file, name] = outcome
        entry = {
            "file": file,
            "name": name,
            "world": self.world,
            "verdict": outcome.verdict,
            "by": outcome.by,
        }
        with JOURNAL.open("a") as journal:
            journal.write(json.dumps(entry) + "\n")


def changed_lines(target: str, since: str | None) -> set[int]:
    """Which lines of a contract are other than at a commit."""
    if since is None:
        return set()
    command = ["git", "diff", "--unified=0", since, "--", TARGETS[target]]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    hunks = re.findall(r"^@@ \S+ \+(\d+)(?:,(\d+))? @@", run.stdout, re.MULTILINE)
    return {
        line for first, count in hunks for line in range(int(first), int(first) + int(count or 1))
    }


def sample(found: Sequence[Mutant], most: int, seed: int) -> list[Mutant]:
    """At most so many, each function with its part of them."""
    if len(found) <= most:
        return list(found)
    rng = random.Random(seed)  # noqa: S311 - chooses what to test, guards nothing
    by_function: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in found:
        by_function[mutant.function].append(mutant)
    # Dealt out evenly: the k-th of m mutants of a function stands at (k + a random part) / m.
    dealt = [
        ((k + rng.random()) / len(group), mutant)
        for group in by_function.values()
        for k, mutant in enumerate(rng.sample(group, len(group)))
    ]
    chosen = {mutant.number for _, mutant in sorted(dealt, key=lambda pair: pair[0])[:most]}
    return [mutant for mutant in found if mutant.number in chosen]


def stages(
    target: str, function: str, killers: dict[str, Counter[str]], *, quick: bool
) -> Iterator[list[str]]:
    """Which suites to run together, one stage after another."""
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
    """Runs one list of suites after another until a test fails."""
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
    """Every suite passes on the contracts as they are, compiled as the mutants are."""
    space.wake(0)
    for suites in stages_:
        failed = space.failure(suites)
        if failed:
            sys.exit(f"{failed} fails on the contracts as they are; no mutant can be judged by it")


class Campaign:
    """One run over the mutants that the journal does not know."""

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
        changed = {target: changed_lines(target, options.since) for target in wanted}
        self.todo = [
            (target, mutant)
            for target in wanted
            for mutant in sampled[target]
            if options.since is None or mutant.line in changed[target]
        ]
        # Shuffled, so that whatever part of them there is time for is a sample.
        random.Random(options.seed).shuffle(self.todo)  # noqa: S311 - chooses what to test, guards nothing

    def left(self, targets: Iterable[str]) -> Iterator[tuple[str, Mutant]]:
        """What is still to be run of these contracts, while there is time."""
        for target, mutant in self.todo:
            if time.monotonic() > self.until:
                return
            if target in targets and self.journal.get(target, mutant) is None:
                yield target, mutant

    def run(self) -> None:
        """First what few suites can catch, then everything, then what must be compiled alone."""
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
                tell(target, mutant, self.journal, outcome)

    def run_group(self, group: Sequence[str]) -> None:
        space = Workspace(WORK / group[-1], group=group)
        space.lay()
        alone: set[int] = set()
        # All that are sampled, wanted now or not, known or not: what was compiled before need not be again.
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
        suites = stages(target, mutant.function, self.killers, quick=self.quick)
        tell(target, mutant, self.journal, run_one(space, mutant, self.killers, suites))

    def run_alone(self, space: Workspace, target: str, mutant: Mutant) -> None:
        """A mutant that fits behind no switch is compiled by itself."""
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
            tell(target, mutant, self.journal, Outcome("stillborn"))


def tell(target: str, mutant: Mutant, journal: Journal, outcome: Outcome) -> None:
    journal.put(target, mutant, outcome)
    print(f"{outcome.verdict:9} {target}.{mutant.name}  {outcome.by}", flush=True)


def summary(found: dict[str, list[Mutant]], journal: Journal) -> dict[str, Any]:
    """The figures of each contract and its survivors, each with its reason where one is known."""
    made: dict[str, Any] = {}
    for target, all_ in found.items():
        outcomes = {mutant: journal.get(target, mutant) for mutant in all_}
        counts = Counter(o.verdict if o else "not run" for o in outcomes.values())
        survivors = []
        for mutant, outcome in outcomes.items():
            if outcome is None or outcome.verdict != "survived":
                continue
            at = journal.excuses.line(target, mutant)
            reason = journal.excuses.of(target, mutant)
            survivors.append(
                {
                    "function": mutant.function,
                    "line": mutant.line,
                    "at": at,
                    "operator": mutant.operator,
                }
                | {"old": mutant.old, "new": mutant.new, "reason": reason}
            )
        functions: dict[str, Counter[str]] = defaultdict(Counter)
        for mutant, outcome in outcomes.items():
            functions[mutant.function][outcome.verdict if outcome else "not run"] += 1
        made[target] = {
            "mutants": len(all_),
            "stillborn": counts["stillborn"],
            "killed": counts["killed"],
            "survived": counts["survived"],
            "equivalent": sum(bool(survivor["reason"]) for survivor in survivors),
            "notRun": counts["not run"],
            "functions": {name: dict(sorted(count.items())) for name, count in functions.items()},
            "survivors": survivors,
        }
    return made


def score(figures: dict[str, Any]) -> float:
    """Part of the mutants run that a test caught, of those that are mistakes: not of the equivalent."""
    tried = figures["killed"] + figures["survived"] - figures["equivalent"]
    return float(figures["killed"] / tried) if tried else 0.0


def percent(figures: dict[str, Any]) -> str:
    """The score as people say it."""
    return f"{100 * score(figures):.1f} %" if figures["killed"] + figures["survived"] else "-"


def contracts_commit() -> str:
    """The commit that last changed the contracts."""
    command = ["git", "log", "-1", "--format=%h", "--", "contracts"]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def report(found: dict[str, Any]) -> str:
    """docs/mutation.md."""
    made = found["contracts"]
    lines = [
        "# Mutation testing",
        "",
        "`make mutate` makes one small mistake at a time in a contract and runs the forge suites; a mistake that no test notices has",
        "survived. This page is written by the command. How it works: `scripts/mutate.py`, `scripts/_mutants.py`.",
        f"Contracts as of commit {found['commit']}.",
        "",
        "| contract | mutants | do not compile | killed | survived | of these equivalent | not run | caught of the mistakes run |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for target, f in made.items():
        lines.append(
            f"| {target} | {f['mutants']} | {f['stillborn']} | {f['killed']} | {f['survived']} | {f['equivalent']} |"
            f" {f['notRun']} | {percent(f)} |"
        )
    for target, f in made.items():
        if f["survivors"]:
            lines += [
                "",
                f"## {target}: survivors",
                "",
                "| function | line of source | became | why it lives |",
                "|---|---|---|---|",
            ]
        for s in f["survivors"]:
            old, new, at = (
                " ".join(s[key].split()).replace("|", "\\|") for key in ("old", "new", "at")
            )
            change = f"`{old}` → `{new}`" if new else f"without `{old}`"
            lines.append(
                f"| {s['function']} | `{at}` | {change} | {s['reason'] or '**not yet caught**'} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contract", action="append", choices=TARGETS)
    parser.add_argument("--since", metavar="COMMIT")
    parser.add_argument("--sample", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()

    WORK.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        JOURNAL.unlink(missing_ok=True)
    found = find(list(TARGETS))
    journal = Journal(options.quick)
    sampled = {target: sample(found[target], options.sample, options.seed) for target in TARGETS}
    wanted = options.contract or list(TARGETS)
    Campaign(sampled, wanted, journal, options).run()
    made = summary(found, journal)
    RESULT.write_text(
        json.dumps({"commit": contracts_commit(), "contracts": made}, indent=1) + "\n"
    )
    REPORT.write_text(report(json.loads(RESULT.read_text())))
    for target, f in made.items():
        print(
            f"{target}: {f['killed']} killed, {f['survived']} survived ({f['equivalent']} equivalent),"
            f" {f['stillborn']} do not compile, {f['notRun']} not run: {percent(f)}"
        )
    return int(any(score(made[target]) < GOAL for target in wanted))


if __name__ == "__main__":
    sys.exit(main())
