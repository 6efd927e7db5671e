"""No test judges by how long something took; and what tests do about time does what it says."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clocks import SkippingClock, calls_made, wait_for

MEASURING = {
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "process_time",
    "thread_time",
}

MAY_MEASURE = {
    "tests/clocks.py",  # waits and skips for all others
    "tests/chaos/arena.py",  # waits too, and starts keepers again meanwhile
    "tests/chaos/conftest.py",  # reports how long a run took
    "tests/proofs/_claims.py",  # the same
    "tests/proofs/overflow.py",  # the same
    "tests/unit/test_clocks.py",  # tests the clock itself
}

MAY_SLEEP = {
    "tests/fleet/test_processes.py",  # lets a signature reach a Redis that is stopped; it passes without
}


def found_in(name: str, source: str) -> Iterator[str]:
    """Where a test reads a clock that measures, or sleeps and goes on as if something had happened."""
    tree = ast.parse(source)
    from_time = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = node.attr if node.value.id == "time" else ""
        else:
            used = from_time.get(node.id, "") if isinstance(node, ast.Name) else ""
        if used in MEASURING and name not in MAY_MEASURE:
            yield f"{name}:{getattr(node, 'lineno', 0)} reads time.{used}"
    for test in ast.walk(tree):
        if not isinstance(test, ast.FunctionDef) or not test.name.startswith("test_"):
            continue
        for statement in test.body:
            called = ast.unparse(statement)
            if called.startswith("time.sleep(") and name not in MAY_SLEEP:
                yield f"{name}:{statement.lineno} sleeps"


def test_no_test_judges_by_a_clock(repo_root: Path) -> None:
    found = [
        line
        for path in sorted((repo_root / "tests").rglob("*.py"))
        for line in found_in(path.relative_to(repo_root).as_posix(), path.read_text())
    ]

    assert not found, (
        "Set a clock (SkippingClock), wait for what must happen (wait_for), "
        "or count calls (calls_made), all of tests/clocks.py:\n" + "\n".join(found)
    )


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef test_x():\n    began = time.monotonic()\n    work()\n    assert time.monotonic() - began < 1",
        "from time import perf_counter as now\nbegan = now()",
        "import time\ndef test_x():\n    start()\n    time.sleep(0.3)\n    assert done",
    ],
)
def test_what_judges_by_a_clock_is_found(source: str) -> None:
    assert list(found_in("tests/unit/test_x.py", source))


def test_time_that_is_skipped_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SkippingClock(monkeypatch)
    before = time.monotonic()
    clock.skip(3_600)

    assert time.monotonic() >= before + 3_600


def test_what_never_comes_ends_a_wait() -> None:
    with pytest.raises(AssertionError, match="it never came"):
        wait_for("it", lambda: None, 0.01)
    assert wait_for("it", lambda: 7) == 7


def test_calls_are_counted() -> None:
    assert calls_made(lambda: [abs(each) for each in range(10)]) >= 10
    assert calls_made(lambda: None) < 5
