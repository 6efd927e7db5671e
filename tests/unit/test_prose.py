"""The check of prose: it finds what it bans, where it stands, and nothing in code."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.prose import BANNED, python, solidity, texts, words


@pytest.mark.parametrize("word", BANNED)
def test_every_banned_word_is_found_in_any_case(word: str) -> None:
    assert [line for _, line, _ in words("a", f"One.\nTwo {word.upper()}, three.", 7)] == [8]
    assert list(words("a", f"x{word}x and un{word}ed", 1)) == []


def test_a_phrase_over_the_end_of_a_line_is_found() -> None:
    assert [line for _, line, _ in words("a", "It\nis\nasked.", 1)] == [2]


def test_docstrings_and_strings_are_read_and_names_are_not(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        '"""What is it?"""\n\nanew = 1  # anew\n\n\ndef mend() -> str:\n    return "plan anew"\n'
    )

    found = [(line, problem.split(":")[0]) for _, line, problem in python(tmp_path)]

    assert found == [(1, "the first line of a module is a noun phrase, not a question"), (7, "'anew'")]


def test_natspec_is_read_and_code_is_not(tmp_path: Path) -> None:
    (tmp_path / "A.sol").write_text("/// @notice Made anew.\nuint256 anew; // anew\n/**\n * anew\n */\n")

    assert [line for _, line, _ in solidity(tmp_path)] == [1, 4]


def test_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("# A\n\nWhoever runs it.\n")
    (tmp_path / "b.example.toml").write_text("# so many\n")

    assert sorted(line for _, line, _ in texts(tmp_path)) == [1, 3]
