"""Names: a public class means one thing in the whole package, and words that were replaced stay away."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import rebalancer

PACKAGE = Path(rebalancer.__file__).parent

REPLACED = {
    "books": "ledger, cache or index",
    "crew": "transport",
    "foreseen": "predicted",
    "lane": "sender",
    "leg": "swap",
    "legs": "swaps",
    "look": "tick",
    "looked": "inputs",
    "looks": "ticks",
    "puppet": "impersonated account",
    "resting": "backing off",
    "stage": "environment",
    "station": "supervisor",
    "told": "reported",
    "unforeseen": "mismatches",
}
"""Part of a name, and what the package says instead."""


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), path.read_text()


def parts(name: str) -> set[str]:
    return {part.lower() for part in re.split(r"_|(?<=[a-z])(?=[A-Z])", name)}


def test_a_public_class_means_one_thing() -> None:
    homes = defaultdict(list)
    for path, text in modules():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(path)

    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_no_name_has_a_word_that_was_replaced() -> None:
    found = {
        (path, token.string): REPLACED[part]
        for path, text in modules()
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME
        for part in parts(token.string) & REPLACED.keys()
    }

    assert found == {}


@pytest.mark.parametrize(("name", "its"), [("look_seconds", {"look", "seconds"}), ("_TookLegs", {"", "took", "legs"})])
def test_names_are_taken_apart(name: str, its: set[str]) -> None:
    assert parts(name) == its
