"""Mutants: what is made of a file, what the file with all of them asleep says, and whose fault an error is."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.mutation.results import sample
from scripts.mutation.solidity_campaign import compile_json, errors_of
from scripts.mutation.solidity_mutants import SENTINEL, Mutant, misfits, mutants, mutate_alone, schema

NAME = "contracts/Small.sol"
SOURCE = b"""// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

contract Small {
    uint256 constant MOST = 7;
    int256 public level;

    modifier quiet() {
        _;
    }

    function f(uint256 a, uint256 b, int256 c) external quiet returns (uint256) {
        if (a > b && c != 0) return;
        level += c;
        for (uint256 i; i < a; ++i) {
            level = -c;
        }
        return a - b - MOST;
    }
}
""".replace(b"return;", b"return a * 2;")


@pytest.fixture(scope="module")
def found() -> list[Mutant]:
    return mutants(SOURCE, compile_json({NAME: SOURCE}, "ast")["sources"][NAME]["ast"])


def changes(found: list[Mutant], operator: str) -> set[tuple[str, str]]:
    return {(each.old, each.new) for each in found if each.operator == operator}


def test_mutants_are_one_place_changes_of_every_kind(found: list[Mutant]) -> None:
    assert changes(found, "ROR") == {
        *(("a > b", "(a) >= (b)"), ("a > b", "(a) <= (b)"), ("c != 0", "(c) == (0)")),
        *(("i < a", "(i) <= (a)"), ("i < a", "(i) >= (a)")),
    }
    assert changes(found, "LOR") == {("a > b && c != 0", "(a > b) || (c != 0)")}
    assert changes(found, "MIA") == {("a > b && c != 0", "true"), ("a > b && c != 0", "false")}
    assert changes(found, "MWA") == {("i < a", "false")}
    assert changes(found, "UOR") == {("++i", "--i"), ("-c", "c")}
    assert changes(found, "ASOR") == {("level += c", "level -= c"), ("level += c", "level = c")}
    assert changes(found, "AOR") == {
        *(("a - b - MOST", "(a - b) + (MOST)"), ("a - b", "(a) + (b)"), ("a * 2", "(a) / (2)")),
    }
    assert changes(found, "LIR") == {
        *(
            ("0", "0 + 1"),
            ("2", "2 + 1"),
            ("2", "2 - 1"),
            ("MOST", "MOST + 1"),
            ("MOST", "MOST - 1"),
        ),
    }
    assert {old for old, _ in changes(found, "CR")} == {
        *("return a * 2", "level += c", "level = -c", "return a - b - MOST"),
    }
    assert changes(found, "FHR") == {("quiet", "")}
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    assert {each.function for each in found} == {"f"}


def test_the_file_with_all_mutants_asleep_compiles_and_holds_each_once(found: list[Mutant]) -> None:
    switched = [each for each in found if not each.alone]
    text = schema(SOURCE, switched)

    assert errors_of(compile_json({NAME: text}, "ast"), NAME) == []
    assert text.decode().count(SENTINEL) == 1
    for each in switched:
        assert text.decode().count(f"_mutant({each.number})") == 1, each


def test_every_mutant_alone_changes_its_place_and_nothing_else(found: list[Mutant]) -> None:
    for each in found:
        text = mutate_alone(SOURCE, each)
        assert len(text) == len(SOURCE) - len(each.old) + len(each.new)
        assert text.startswith(SOURCE[: each.start] + each.new.encode())
        assert text.endswith(SOURCE[each.end :])


def test_an_error_is_blamed_on_the_mutant_it_is_in() -> None:
    bad = Mutant(5, "AOR", "f", 1, SOURCE.index(b"a - b - MOST"), SOURCE.index(b" - MOST"), "a - b", "a.b")
    text = schema(SOURCE, [bad])

    errors = errors_of(compile_json({NAME: text}, "ast"), NAME)

    assert errors
    assert misfits(text, errors, set()) == {5}


def test_a_sample_gives_each_function_its_part(repo_root: Path) -> None:
    many = [Mutant(i, "AOR", "big" if i < 90 else "small", 1, i, i, "", "") for i in range(100)]

    chosen = sample(many, 20, seed=1)

    assert len(chosen) == 20
    assert sum(each.function == "small" for each in chosen) == 2
    assert chosen == sample(many, 20, seed=1)
    assert chosen != sample(many, 20, seed=2)
    assert sample(many, 100, seed=1) == many
