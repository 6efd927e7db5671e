"""Makes a pytest item of every test in `*.t.sol`, and runs forge once for all that are asked for.

Names are read from the sources, so that nothing is compiled to collect them; test_items.py holds them against forge's own list.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RUN_SECONDS = 1_800  # a first run compiles the suites, beside whatever else the machine does

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
CONTRACT = re.compile(r"\b(abstract\s+)?contract\s+(\w+)(?:\s+is\s+([^{]*))?\s*\{")
TEST = re.compile(r"\bfunction\s+((?:test|table|invariant|statefulFuzz)\w*)\s*\([^)]*\)[^{;]*\b(?:public|external)\b")
ARGUMENTS = re.compile(r"\bconstructor\s*\(\s*\w")
BASE = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*(?:,|$)")


@dataclass(frozen=True)
class Contract:
    """What a contract's source says of its tests. It is a suite if forge can deploy it: whole, and without arguments."""

    path: Path
    name: str
    is_suite: bool
    bases: tuple[str, ...]
    own_tests: tuple[str, ...]


@cache
def contracts() -> Mapping[str, Contract]:
    """All contracts below this folder, by name."""
    found = {}
    for path in sorted(HERE.rglob("*.sol")):
        source = COMMENT.sub("", path.read_text(encoding="utf-8"))
        heads = list(CONTRACT.finditer(source))
        for number, head in enumerate(heads, 1):
            end = heads[number].start() if number < len(heads) else len(source)
            abstract, name, bases = head.groups()
            assert name not in found, f"two contracts below tests/solidity are called {name}"
            found[name] = Contract(
                path,
                name,
                abstract is None and not ARGUMENTS.search(source, head.end(), end),
                tuple(BASE.findall(" ".join((bases or "").split()))),
                tuple(TEST.findall(source, head.end(), end)),
            )
    return found


def tests_of(contract: Contract) -> list[str]:
    """Its tests and those it inherits, in the order of the sources, bases first."""
    names: dict[str, None] = {}
    for base in contract.bases:
        if base in contracts():
            names |= dict.fromkeys(tests_of(contracts()[base]))
    return list(names | dict.fromkeys(contract.own_tests))


def suites(path: Path) -> dict[str, list[str]]:
    """The tests that forge would run of a file, by contract."""
    own = [one for one in contracts().values() if one.path == path and one.is_suite]
    return {one.name: names for one in own if (names := tests_of(one))}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Takes the suites for what they are."""
    if file_path.name.endswith(".t.sol"):
        return SolidityFile.from_parent(parent, path=file_path)
    return None


class SolidityFile(pytest.File):
    """A file of suites."""

    def collect(self) -> Iterator[pytest.Collector]:
        for name, tests in suites(self.path).items():
            yield Suite.from_parent(self, name=name, tests=tests)


class Suite(pytest.Collector):
    """A contract with tests."""

    def __init__(self, *, tests: Sequence[str], **given: Any) -> None:
        super().__init__(**given)
        self.tests = tests

    def collect(self) -> Iterator[pytest.Item]:
        for name in self.tests:
            yield SolidityTest.from_parent(self, name=name)


class SolidityTest(pytest.Item):
    """A test of forge."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.add_marker(pytest.mark.timeout(RUN_SECONDS))  # whichever comes first has forge run

    @property
    def suite(self) -> str:
        """As forge names it."""
        assert self.parent is not None
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.parent.name}"

    def runtest(self) -> None:
        found = ran(self.session).get(self.suite, [])
        mine = [case for case in found if case.name in (self.name, "setUp")]
        if not mine:
            raise SolidityFailure(f"forge ran no {self.name} of {self.suite}")
        for case in mine:
            if case.failed:
                raise SolidityFailure(case.text)
        if all(case.skipped for case in mine):
            pytest.skip(mine[0].text)

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Any = None,
    ) -> Any:
        if isinstance(excinfo.value, SolidityFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.suite} {self.name}"


class SolidityFailure(Exception):  # noqa: N818 (it is one)
    """A test of forge failed, or forge did not get as far as testing."""


@dataclass(frozen=True)
class Case:
    """What forge says of one test. `text` holds its reason, counterexample and logs."""

    name: str
    failed: bool
    skipped: bool
    text: str


RESULTS = pytest.StashKey[dict[str, list[Case]] | str]()


def ran(session: pytest.Session) -> dict[str, list[Case]]:
    """What forge says of all tests that this session is asked for, by suite; it runs once, when the first of them comes.

    As JUnit's XML: what forge says in JSON holds the traces of every invariant's calls, a gigabyte of them.

    Raises:
        SolidityFailure: it did not get as far as testing.
    """
    if RESULTS not in session.stash:
        items = [item for item in session.items if isinstance(item, SolidityTest)]
        run = subprocess.run(
            ["forge", "test", "--junit", *narrowed(items)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        session.stash[RESULTS] = (
            cases(run.stdout)
            if run.stdout.startswith("<")
            else f"forge did not get as far as testing:\n{run.stdout}{run.stderr}"
        )
    results = session.stash[RESULTS]
    if isinstance(results, str):
        raise SolidityFailure(results)
    return results


def cases(report: str) -> dict[str, list[Case]]:
    """The tests of a JUnit report, by suite."""
    return {
        suite.get("name", ""): [
            Case(
                case.get("name", "").partition("(")[0],
                case.find("failure") is not None,
                case.find("skipped") is not None,
                case.findtext("system-out", ""),
            )
            for case in suite.iter("testcase")
        ]
        for suite in ElementTree.fromstring(report).iter("testsuite")  # noqa: S314 (forge wrote it)
    }


def narrowed(items: Sequence[SolidityTest]) -> list[str]:
    """What has forge run these tests, and few others."""
    chosen = {item.path for item in items}
    every = {one.path for one in contracts().values() if suites(one.path)}
    options = []
    if chosen != every:
        names = ",".join(sorted(path.name for path in chosen))
        options += ["--match-path", f"tests/solidity/{{{names},none}}"]
    if len(items) < sum(len(tests) for path in chosen for tests in suites(path).values()):
        names = "|".join(sorted({item.name for item in items}))
        options += ["--match-test", rf"^({names})\("]
    return options
