"""Outcomes of mutants, kept between runs, and docs/mutation.md: for contracts and for Python."""

from __future__ import annotations

import hashlib
import json
import random
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.mutation.solidity_mutants import Mutant

__all__ = [
    "EQUIVALENT",
    "PYTHON_EQUIVALENT",
    "PYTHON_RESULT",
    "RESULT",
    "ROOT",
    "WORK",
    "Excuses",
    "Journal",
    "Outcome",
    "announce",
    "digest",
    "percent",
    "report",
    "sample",
    "score",
    "summary",
]

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".build" / "mutate"
RESULT = ROOT / "tests" / "vectors" / "mutation.json"
EQUIVALENT = ROOT / "tests" / "vectors" / "equivalent_mutants.toml"
PYTHON_RESULT = ROOT / "tests" / "vectors" / "mutation_python.json"
PYTHON_EQUIVALENT = ROOT / "tests" / "vectors" / "equivalent_mutants_python.toml"


@dataclass(frozen=True)
class Outcome:
    """Outcome of a mutant: `killed` by a test, `survived`, `stillborn` (it does not compile), or `time-out`
    (unknown)."""

    verdict: str
    by: str = ""


def digest(*paths: str) -> str:
    """Digest of the sources in these files and folders, 16 hexadecimal digits."""
    files = sorted(
        file
        for path in paths
        for file in ([ROOT / path] if (ROOT / path).is_file() else (ROOT / path).rglob("*"))
        if file.suffix in {".sol", ".py"}
    )
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


class Excuses:
    """Reasons why survivors are equivalent to the original, from the file that lists them."""

    def __init__(self, targets: Mapping[str, str], path: Path) -> None:
        listed = tomllib.loads(path.read_text()) if path.exists() else {}
        self.lines = {name: (ROOT / file).read_text().splitlines() for name, file in targets.items()}
        self.reasons: dict[tuple[str, str, str, str, str], str] = {
            (target, entry["function"], entry["at"], entry["old"], entry["new"]): entry["reason"]
            for target, entries in listed.items()
            for entry in entries
        }

    def line(self, target: str, mutant: Mutant) -> str:
        """The mutant's line of source."""
        return self.lines[target][mutant.line - 1].strip()

    def of(self, target: str, mutant: Mutant) -> str:
        """The reason; empty if there is no reason."""
        at = self.line(target, mutant)
        return self.reasons.get((target, mutant.function, at, mutant.old, mutant.new), "")


class Journal:
    """Outcomes of earlier runs by mutant. A survivor is valid while `world`, the digest of sources and tests, is the
    same."""

    def __init__(self, path: Path, targets: Mapping[str, str], excuses: Excuses, world: str) -> None:
        self.path = path
        self.world = world
        self.files = {target: digest(name) for target, name in targets.items()}
        self.known: dict[tuple[str, str], Outcome] = {}
        self.excuses = excuses
        self.survived: set[tuple[str, str]] = set()
        for line in path.read_text().splitlines() if path.exists() else []:
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
        with self.path.open("a") as journal:
            journal.write(json.dumps(entry) + "\n")


def sample(found: Sequence[Mutant], most: int, seed: int) -> list[Mutant]:
    """At most this many mutants, spread over the functions in proportion."""
    if len(found) <= most:
        return list(found)
    rng = random.Random(seed)  # noqa: S311 - chooses what to test, guards nothing
    by_function: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in found:
        by_function[mutant.function].append(mutant)
    # Even distribution: the k-th of m mutants of a function has the position (k + a random part) / m.
    dealt = [
        ((k + rng.random()) / len(group), mutant)
        for group in by_function.values()
        for k, mutant in enumerate(rng.sample(group, len(group)))
    ]
    chosen = {mutant.number for _, mutant in sorted(dealt, key=lambda pair: pair[0])[:most]}
    return [mutant for mutant in found if mutant.number in chosen]


def announce(target: str, mutant: Mutant, journal: Journal, outcome: Outcome) -> None:
    journal.put(target, mutant, outcome)
    print(f"{outcome.verdict:9} {target}.{mutant.name}  {outcome.by}", flush=True)


def summary(found: Mapping[str, Sequence[Mutant]], journal: Journal) -> dict[str, Any]:
    """Figures of each target, and its survivors, with the reason if there is one."""
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


def score(figures: Mapping[str, Any]) -> float:
    """Fraction of run mutants that a test killed; equivalent mutants do not count."""
    tried = figures["killed"] + figures["survived"] - figures["equivalent"]
    return float(figures["killed"] / tried) if tried else 0.0


def percent(figures: Mapping[str, Any]) -> str:
    """The score as a percentage."""
    return f"{100 * score(figures):.1f} %" if figures["killed"] + figures["survived"] else "-"


def report(contracts: Mapping[str, Any], python: Mapping[str, Any]) -> str:
    """The content of docs/mutation.md."""
    made = contracts["contracts"]
    lines = [
        "# Mutation testing",
        "",
        "`make mutate` makes one small mistake at a time in a contract and runs the forge suites. A mistake that no test notices has survived.",
        "The command writes this page. Method: `scripts/mutation/solidity_campaign.py`, `scripts/mutation/solidity_mutants.py`.",
        f"Contracts as of commit {contracts['commit']}.",
        "",
        *_table("contract", made),
        *_survivors(made),
        "",
        "# Python",
        "",
        "The same for the Python modules that decide, plan, quote, send and read the chain, with pytest. Method:",
        "`scripts/mutation/python_campaign.py`, `scripts/mutation/python_mutants.py`. A row is a file, or a folder with the sum of its files.",
        f"Python as of commit {python['commit']}, against {python['tests']}.",
        "",
        *_table("file", _with_packages(python["files"])),
        *_survivors(python["files"]),
    ]
    return "\n".join(lines) + "\n"


def _table(head: str, made: Mapping[str, Any]) -> list[str]:
    lines = [
        f"| {head} | mutants | do not compile | killed | survived | of these equivalent | not run | killed of the mistakes run |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for target, f in made.items():
        lines.append(
            f"| {target} | {f['mutants']} | {f['stillborn']} | {f['killed']} | {f['survived']} | {f['equivalent']} |"
            f" {f['notRun']} | {percent(f)} |"
        )
    return lines


def _with_packages(files: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of each file, with those of each package before its files."""
    packages: dict[str, Counter[str]] = defaultdict(Counter)
    for name, figures in files.items():
        counts = {key: value for key, value in figures.items() if isinstance(value, int)}
        for whole in {"all", str(Path(name).parent) + "/"} - {"rebalancer/"}:
            packages[whole].update(counts)
    made: dict[str, Any] = {"all": packages["all"]}
    for name, figures in files.items():
        package = str(Path(name).parent) + "/"
        if package in packages:
            made.setdefault(package, packages[package])
        made[name] = figures
    return made


def _survivors(made: Mapping[str, Any]) -> list[str]:
    lines = []
    for target, f in made.items():
        if f["survivors"]:
            lines += [
                "",
                f"## {target}: survivors",
                "",
                "| function | line of source | became | why it survives |",
                "|---|---|---|---|",
            ]
        for s in f["survivors"]:
            old, new, at = (" ".join(s[key].split()).replace("|", "\\|") for key in ("old", "new", "at"))
            change = f"`{old}` → `{new}`" if new else f"without `{old}`"
            lines.append(f"| {s['function']} | `{at}` | {change} | {s['reason'] or '**not yet caught**'} |")
    return lines
