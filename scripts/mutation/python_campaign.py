"""Run of the mutants of Python files, one at a time, against the tests that reach them.

One process imports everything and collects the tests once. For each mutant it forks a child, which replaces the code of
the loaded functions (see `functions_of`) and runs the tests that reach the changed statement, quickest first, until one
fails. Nothing is copied or restarted, so a mutant that a unit test kills takes some hundredths of a second. Which test
reaches which statement is recorded beforehand, in a child, by code that notes each statement it runs: per test what its
body runs, per test file what its fixtures run. A recording is valid while the test file and the sources that it reached
stay the same.

A test that loops is ended after several times its usual processor time, a test that waits after a long time on the
clock; both count as killed. Programs that tests start, and code that runs only during an import, run unchanged: mutants
that only they reach survive, with the remark that no test runs them.

mutmut 3.8 forks in the same way. It skips functions with a decorator (112 of 1,051 here, all properties among them) and
copies the sources; cosmic-ray starts Python with its imports, about four seconds here, for every mutant.
"""

from __future__ import annotations

import ast
import builtins
import gc
import hashlib
import importlib
import json
import os
import select
import signal
import sys
import time
import types
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from scripts.mutation.python_mutants import mutants, woven
from scripts.mutation.results import ROOT, Journal, Outcome, announce
from scripts.mutation.solidity_mutants import Mutant

__all__ = ["Campaign", "Recording", "find", "functions_of", "hold", "python_files"]

PYTHON = (
    "policy.py",
    "settlement.py",
    "abi.py",
    "oracle.py",
    "route.py",
    "plan",
    "venues",
    "send",
    "keeper",
    "chain",
)
"""Files and folders below rebalancer/ that are mutated."""

MARK = "_mutation_reached"
LEAST_CPU_SECONDS, CPU_TIMES = 3.0, 8
LEAST_SECONDS, TIMES = 30.0, 60
NO_TEST = "no test runs it"

Functions = Mapping[tuple[str, int], list[types.FunctionType]]
Write = Callable[[str], None]


def module_name(file: str) -> str:
    """Module name of a file of the checkout."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def python_files() -> list[str]:
    """The files that are mutated, relative to the checkout, in the order of the page."""
    paths = [ROOT / "rebalancer" / name for name in PYTHON]
    files = [file for path in paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return [str(file.relative_to(ROOT)) for file in files]


def find(root: Path, files: Sequence[str]) -> dict[str, list[Mutant]]:
    """All mutants by file."""
    found: dict[str, list[Mutant]] = {}
    for file in files:
        module = importlib.import_module(module_name(file))
        if module.__file__ != str(root / file):
            sys.exit(f"{module.__file__} is imported, not {root / file}: use `python -m`")
        numbers = {name for name, value in vars(module).items() if name.isupper() and type(value) is int}
        found[file] = mutants((root / file).read_bytes(), numbers)
    return found


# Code in live functions


def functions_of(
    paths: Iterable[str],
) -> dict[str, dict[tuple[str, int], list[types.FunctionType]]]:
    """The loaded functions of each file, by name and first line, also wrapped or decorated ones."""
    made: dict[str, dict[tuple[str, int], list[types.FunctionType]]] = {path: {} for path in paths}
    for each in gc.get_objects():
        if type(each) is types.FunctionType and each.__code__.co_filename in made:
            code = each.__code__
            place = (code.co_qualname, code.co_firstlineno)
            made[code.co_filename].setdefault(place, []).append(each)
    return made


def hold(functions: Functions, tree: ast.Module | bytes, path: str) -> None:
    """Replace the code of a file's loaded functions by that of another version with the same lines.

    Raises:
        SyntaxError, ValueError: Python cannot load that version.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        codes = list(_codes(compile(tree, path, "exec")))
    for code in codes:
        for function in functions.get((code.co_qualname, code.co_firstlineno), ()):
            if function.__code__.co_freevars == code.co_freevars:
                function.__code__ = code


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


# Which test reaches which statement


def _marked(source: bytes, base: int) -> ast.Module:
    """The file with a call before each statement of a function, which notes `base` and its line."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.Lambda | ast.IfExp):
            continue
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if block:
                setattr(node, name, [line for each in block for line in (_mark(each, base), each)])
    return tree


def _mark(statement: ast.stmt, base: int) -> ast.stmt:
    call = ast.Call(ast.Name(MARK, ast.Load()), [ast.Constant(base + statement.lineno)], [])
    return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), statement))


def statements(source: bytes) -> list[int]:
    """For each line, the first line of its innermost statement; 0 without a statement."""
    tree = ast.parse(source)
    made = [0] * (source.count(b"\n") + 2)
    # Outer statements first: inner ones overwrite them.
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            end = node.end_lineno or node.lineno
            made[node.lineno : end + 1] = [node.lineno] * (end + 1 - node.lineno)
    return made


@dataclass
class Recording:
    """Reach of the tests of one file: by test, its time and the lines of each source."""

    tests: str
    """Digest of the test file."""
    sources: dict[str, str]
    """Digests of the sources that it reached."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Processor time of each test that passed."""
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """Test, then source, then lines."""


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass(eq=False)
class Campaign:
    """A pytest plugin that replaces the loop over the tests.

    `todo` are the mutants to run, of `files` below `root`; tests in the folders `slow` run only on survivors of all
    other tests.
    """

    root: Path
    files: Sequence[str]
    todo: Sequence[tuple[str, Mutant]]
    journal: Journal
    cache: Path
    slow: Sequence[str] = ()
    minutes: float = float("inf")

    def __post_init__(self) -> None:
        self.sources = {file: (self.root / file).read_bytes() for file in self.files}
        self.statements = {file: statements(source) for file, source in self.sources.items()}
        self.killers: dict[str, Counter[str]] = defaultdict(Counter)
        self.failed = ""
        self.reached: set[int] = set()
        self.in_fixtures: set[int] = set()
        self.until = time.monotonic() + 60 * self.minutes

    def run(self, *arguments: str) -> None:
        """Collect the tests for these pytest arguments, and run the mutants against them."""
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads do not survive a fork
        # Any failing example is enough.
        settings.register_profile(
            "mutation",
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        os.environ["HYPOTHESIS_PROFILE"] = "mutation"
        for file in self.files:
            importlib.import_module(module_name(file))
        plain = ["-q", "--capture=no", "-p", "no:cacheprovider", "--no-header", "--no-summary"]
        code = pytest.main([*plain, *arguments], plugins=[self])
        if code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            sys.exit("the tests cannot be collected")

    # Hooks

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Record what is missing, then run one mutant after another."""
        if session.testsfailed:
            sys.exit("the tests cannot be collected")
        self.items = {item.nodeid: item for item in session.items}
        self.functions = functions_of(str(self.root / file) for file in self.files)
        gc.freeze()  # what is shared with the children stays shared
        self.recordings = self._load()
        self._record()
        self.seconds = {nodeid: each for r in self.recordings.values() for nodeid, each in r.seconds.items()}
        for file, mutant in self.todo:
            if time.monotonic() > self.until:
                break
            if self.journal.get(file, mutant) is None:
                announce(file, mutant, self.journal, self._judge(file, mutant))
        return True

    # Recordings

    def _by_file(self) -> dict[str, list[pytest.Item]]:
        made: dict[str, list[pytest.Item]] = defaultdict(list)
        for nodeid, item in self.items.items():
            made[nodeid.split("::")[0]].append(item)
        return made

    def _load(self) -> dict[str, Recording]:
        stored = json.loads(self.cache.read_text()) if self.cache.exists() else {}
        made = {}
        for name, entry in stored.items():
            recording = Recording(**entry)
            sources = {file: _hash(self.root / file) for file in self.files}
            known = recording.sources
            if (
                (self.root / name).exists()
                and recording.tests == _hash(self.root / name)
                and all(known.get(file) in {"", digest} for file, digest in sources.items())
            ):
                made[name] = recording
        return made

    def _record(self) -> None:
        """Record the test files without a valid recording, each in its own child, so that each sets its fixtures up."""
        missing = {name: items for name, items in self._by_file().items() if name not in self.recordings}
        if not missing:
            return
        print(f"mutate: recording the reach of {len(missing)} test files", flush=True)
        for number, (name, items) in enumerate(missing.items(), 1):
            answer = self._child(partial(self._record_file, items), [1_800.0])
            found: dict[str, Any] = {"tests": {}, "lost": ["all of it"]}
            if answer.endswith("}"):
                found = json.loads(answer)
            if found["lost"]:
                print(f"mutate: skipped in {name}: {', '.join(found['lost'])}", flush=True)
            recording = Recording(_hash(self.root / name), dict.fromkeys(self.files, ""))
            for nodeid, (seconds, lines) in found["tests"].items():
                recording.seconds[nodeid] = seconds
                recording.lines[nodeid] = lines
                for file in lines:
                    recording.sources[file] = _hash(self.root / file)
            self.recordings[name] = recording
            if number % 8 == 0 or number == len(missing):
                stored = {key: vars(value) for key, value in self.recordings.items()}
                self.cache.write_text(json.dumps(stored, separators=(",", ":")))

    def _record_file(self, items: Sequence[pytest.Item], write: Write) -> None:
        reached = self.reached
        setattr(builtins, MARK, reached.add)
        for number, file in enumerate(self.files):
            path = str(self.root / file)
            hold(self.functions[path], _marked(self.sources[file], number << 20), path)
        tests: dict[str, tuple[float, set[int]]] = {}
        lost = []
        for item, following in _pairs(items):
            reached.clear()
            started = _cpu_seconds()
            self.failed = ""
            _run(item, following)
            if self.failed:
                lost.append(item.name)
            else:
                tests[item.nodeid] = (_cpu_seconds() - started, set(reached))
        found = {
            nodeid: (round(seconds, 3), self._named(lines | self.in_fixtures))
            for nodeid, (seconds, lines) in tests.items()
        }
        write(json.dumps({"tests": found, "lost": lost}))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        """Hook between the fixtures of a test and its body."""
        self.in_fixtures |= self.reached

    def _named(self, reached: set[int]) -> dict[str, list[int]]:
        made: dict[str, list[int]] = defaultdict(list)
        for number in sorted(reached):
            made[self.files[number >> 20]].append(number & 0xFFFFF)
        return made

    # Mutants

    def _chosen(self, file: str, mutant: Mutant) -> list[str]:
        """The tests that reach a mutant: first those that killed others of its function, then file by file, quickest
        first."""
        line = self.statements[file][mutant.line]
        reach = {
            nodeid: (recording.seconds[nodeid], name)
            for name, recording in self.recordings.items()
            for nodeid, lines in recording.lines.items()
            if line in lines.get(file, ()) and nodeid in self.items
        }
        whole: dict[str, float] = defaultdict(float)
        for seconds, name in reach.values():
            whole[name] += seconds
        first = [
            nodeid for nodeid, _ in self.killers[f"{file}:{mutant.function}"].most_common(3)
            if nodeid in reach
        ]  # fmt: skip
        others = sorted(
            (name.startswith(tuple(self.slow)), whole[name], name, seconds, nodeid)
            for nodeid, (seconds, name) in reach.items()
            if nodeid not in first
        )
        return [*first, *(each[-1] for each in others)]

    def _judge(self, file: str, mutant: Mutant) -> Outcome:
        chosen = self._chosen(file, mutant)
        if not chosen:
            return Outcome("survived", NO_TEST)
        answer = self._child(
            partial(self._try, file, mutant, chosen),
            [LEAST_SECONDS + TIMES * self.seconds[nodeid] for nodeid in chosen],
        )
        last = answer.rsplit("\n", 1)[-1]
        if last == "stillborn" or last == "survived":
            return Outcome(last)
        if last.startswith("error"):
            raise RuntimeError(answer)
        nodeid, _, how = last.partition(" // ")
        self.killers[f"{file}:{mutant.function}"][nodeid] += 1
        return Outcome("killed", nodeid if how else f"{nodeid} (does not end)")

    def _try(self, file: str, mutant: Mutant, chosen: Sequence[str], write: Write) -> None:
        path = str(self.root / file)
        try:
            hold(self.functions[path], woven(self.sources[file], mutant), path)
        except (SyntaxError, ValueError):
            write("\nstillborn")
            return
        for item, following in _pairs([self.items[nodeid] for nodeid in chosen]):
            write(f"\n{item.nodeid}")
            # Ends this process, but no process that the test starts.
            most = LEAST_CPU_SECONDS + CPU_TIMES * self.seconds[item.nodeid]
            signal.setitimer(signal.ITIMER_PROF, most)
            try:
                _run(item, following)
            except (KeyboardInterrupt, SystemExit):
                self.failed = item.nodeid  # it would end a run of the tests
            if self.failed:
                write(" // failed")
                return
        write("\nsurvived")

    def _child(self, work: Callable[[Write], None], seconds: Sequence[float]) -> str:
        """Lines that a forked child writes. The child is ended if it is silent for the n-th timeout after n lines."""
        reading, writing = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setsid()
                os.close(reading)
                nowhere = os.open(os.devnull, os.O_RDWR)
                for each in (0, 1, 2):
                    os.dup2(nowhere, each)
                work(lambda text: _write(writing, text))
                code = 0
            except BaseException as error:  # noqa: BLE001 - whatever it is, the parent says it
                _write(writing, f"\nerror: {error!r}")
            finally:
                os._exit(code)
        os.close(writing)
        text = ""
        try:
            while True:
                started = min(max(text.count("\n") - 1, 0), len(seconds) - 1)
                ready, _, _ = select.select([reading], [], [], seconds[started])
                piece = os.read(reading, 1 << 20) if ready else b""
                if not piece:
                    return text
                text += piece.decode()
        finally:
            os.close(reading)
            try:
                os.killpg(child, signal.SIGKILL)  # and what it started
            except ProcessLookupError:
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _write(pipe: int, text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(pipe, data) :]


def _pairs(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def _run(item: pytest.Item, following: pytest.Item | None) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
