"""Mutants of Python: what is made of a file, what each changes, and what becomes of them in a project of one file."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.mutation.python_campaign import functions_of, hold, python_files, statements
from scripts.mutation.python_mutants import mutants, woven
from scripts.mutation.results import ROOT
from scripts.mutation.solidity_mutants import Mutant

SOURCE = b'''"""A file."""
LIMIT = 7


def part(whole: int, parts: int = 2) -> int:
    """A part."""
    if whole > LIMIT and not parts:
        raise ValueError(f"{whole + 1}", whole, parts)
    log.info("nothing", more=whole - 1)
    total = [
        each * 2  # one
        for each in range(whole, parts)
        if each != 3
    ]
    whole += max(
        parts,
        1,
    )
    return -whole // len(total)


class Box:
    size = 3

    @property
    def held(self) -> bool:
        try:
            self.seen = True
        except OSError:
            return False
        while self.seen:
            break
        return all(zip(self.a, self.b, strict=True))
'''


@pytest.fixture(scope="module")
def found() -> list[Mutant]:
    return mutants(SOURCE, {"LIMIT"})


def changes(found: list[Mutant], operator: str) -> set[tuple[str, str]]:
    return {(" ".join(each.old.split()), each.new) for each in found if each.operator == operator}


def test_mutants_are_one_place_changes_of_every_kind(found: list[Mutant]) -> None:
    assert changes(found, "ROR") == {
        *(("whole > LIMIT", "whole >= LIMIT"), ("whole > LIMIT", "whole <= LIMIT")),
        ("each != 3", "each == 3"),
    }
    assert changes(found, "LOR") == {
        ("whole > LIMIT and not parts", "whole > LIMIT or not parts"),
    }
    assert changes(found, "MIA") == {
        *(("whole > LIMIT and not parts", "True"), ("whole > LIMIT and not parts", "False")),
        *(("each != 3", "True"), ("each != 3", "False")),
    }
    assert changes(found, "MWA") == {("self.seen", "False")}
    assert changes(found, "UOR") == {("not parts", "parts"), ("-whole", "whole")}
    assert changes(found, "AOR") == {
        *(("each * 2", "each // 2"), ("-whole // len(total)", "-whole * len(total)")),
    }
    assert changes(found, "LIR") == {
        *(("LIMIT", "LIMIT + 1"), ("LIMIT", "LIMIT - 1"), ("2", "2 + 1"), ("2", "2 - 1")),
        *(("3", "3 + 1"), ("3", "3 - 1"), ("1", "1 + 1"), ("1", "1 - 1")),
        *(("True", "False"), ("False", "True")),
    }
    assert changes(found, "CSR") == {
        ("max( parts, 1, )", "min(parts, 1)"),
        ("all(zip(self.a, self.b, strict=True))", "any(zip(self.a, self.b, strict=True))"),
    }
    assert {new for _, new in changes(found, "ASOR")} == {
        "whole -= (max(parts, 1))",
        "whole = (max(parts, 1))",
    }
    assert {old.split("(")[0] for old, _ in changes(found, "CR")} == {
        *("raise ValueError", "return -whole // len", "self.seen = True"),
        *("return False", "return all"),
    }
    assert {new for _, new in changes(found, "ARS")} == {
        "ValueError(whole, f'{whole + 1}', parts)",
        "ValueError(f'{whole + 1}', parts, whole)",
        "range(parts, whole)",
        "zip(self.b, self.a, strict=True)",
    }
    assert changes(found, "LCR") == {("break", "continue")}
    assert changes(found, "EHR") == {("return False", "raise; return False")}
    assert {each.function for each in found} == {"part", "Box.held"}
    assert [each.number for each in found] == list(range(1, len(found) + 1))


def test_each_mutant_compiles_with_every_line_in_its_place(found: list[Mutant]) -> None:
    for each in found:
        text = woven(SOURCE, each)
        ast.parse(text)
        assert text.count(b"\n") == SOURCE.count(b"\n"), each.name
        assert text != SOURCE
        assert text.startswith(SOURCE[: each.start])
        assert text.endswith(SOURCE[each.end :])


def test_a_line_belongs_to_the_innermost_statement_that_it_is_part_of() -> None:
    lines = SOURCE.decode().splitlines()
    begins = statements(SOURCE)

    def first(text: str) -> str:
        at = next(number for number, line in enumerate(lines, 1) if text in line)
        return lines[begins[at] - 1].strip()

    assert first("each != 3") == "total = ["
    assert first("        1,") == "whole += max("
    assert first("raise ValueError") == 'raise ValueError(f"{whole + 1}", whole, parts)'


def test_code_is_put_into_functions_wherever_they_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.py"
    text = "from functools import cache\n@cache\ndef f(x):\n    return x + 1\nclass C:\n    @property\n    def p(self):\n        return super().__init__() or f(1)\n"
    space: dict[str, object] = {}
    exec(compile(text, str(path), "exec"), space)  # noqa: S102 - a module that nobody else sees
    kept = functions_of([str(path)])[str(path)]
    (one, *_) = [each for each in mutants(text.encode()) if each.new == "x - 1"]

    hold(kept, woven(text.encode(), one), str(path))

    made = space["C"]()  # type: ignore[operator] # the class
    assert made.p == 0


PROJECT = {
    "pytest.ini": "[pytest]\n",
    "tiny.py": """def most(values):
    best = 0
    for each in values:
        if each > best:
            best = each
    return best


def down(n):
    while n > 0:
        n -= 1
    return n


def unseen():
    return 1 + 1
""",
    "test_tiny.py": """import pytest

import tiny


@pytest.fixture(scope="module")
def largest():
    return tiny.most([1, 3, 2])


def test_first():
    pass


def test_most(largest):
    assert largest == 3


def test_down():
    assert tiny.down(5) == 0
""",
}
RUN = """
import json, sys
from pathlib import Path
from scripts.mutation import python_campaign as campaign
from scripts.mutation.results import Excuses, Journal
root = Path.cwd()
campaign.LEAST_CPU_SECONDS = 0.7
found = campaign.find(root, ["tiny.py"])
targets = {"tiny.py": str(root / "tiny.py")}
journal = Journal(root / "journal.jsonl", targets, Excuses(targets, root / "none.toml"), "here")
wanted = ("each <= best", "each >= best", "n += (1)", "1 - 1")
todo = [("tiny.py", each) for each in found["tiny.py"] if each.new in wanted]
campaign.Campaign(root, ["tiny.py"], todo, journal, root / "cache.json").run(str(root))
"""


def test_a_campaign_says_of_each_mutant_whether_a_test_notices(tmp_path: Path, repo_root: Path) -> None:
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)
    environment = os.environ | {
        "PYTHONPATH": f"{repo_root}{os.pathsep}{tmp_path}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }

    run = subprocess.run(
        [sys.executable, "-P", "-c", RUN],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    outcomes = {}
    for line in (tmp_path / "journal.jsonl").read_text().splitlines():
        entry = json.loads(line)
        outcomes[entry["name"].partition(":")[2]] = (entry["verdict"], entry["by"])
    assert outcomes["most:4: ROR `each > best` -> `each <= best`"] == (*("killed", "test_tiny.py::test_most"),)
    assert outcomes["most:4: ROR `each > best` -> `each >= best`"] == ("survived", "")
    assert outcomes["down:11: ASOR `n -= 1` -> `n += (1)`"] == (*("killed", "test_tiny.py::test_down (does not end)"),)
    assert outcomes["unseen:16: AOR `1 + 1` -> `1 - 1`"] == ("survived", "no test runs it")
    assert len(outcomes) == 6


def test_files_that_are_tried_by_default_are_there() -> None:
    """A folder that has another name now would be taken for a file."""
    files = python_files()

    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert {"rebalancer/route.py", "rebalancer/venues/registry.py"} < set(files)
