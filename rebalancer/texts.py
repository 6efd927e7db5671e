"""Texts that strangers wrote, made safe to show.

A token's symbol, a node's message, a pool file's name: whoever wrote it may steer a terminal (ESC), turn a line around or hide a part
of it (bidirectional and zero-width marks), or begin a line of its own in a log. `safe_text` is applied where such a text comes in: to each
string that a contract answers with (`abi`), to what is read from files, to every error's sentence and to each value that is logged.
What is left may still look like markup, so no console of this program reads any (`cli.show.console`), and no chart any mathematics.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["LONGEST_SYMBOL", "LONGEST_TEXT", "MOST_DEPTH", "nests_deeper", "safe_json", "safe_text"]

LONGEST_TEXT = 300
"""Characters of a sentence that somebody else wrote."""

LONGEST_SYMBOL = 32
"""Characters of a token's symbol or a name: a vault's has at most 31 bytes."""

MOST_DEPTH = 64
"""Objects and lists inside each other in an answer of a node: theirs have some ten."""

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters and marks that are drawn as nothing, and count as printable."""
_FIRST_SELECTOR, _LAST_SELECTOR = "\ufe00", "\ufe0f"


def safe_text(text: str, most: int = LONGEST_TEXT) -> str:
    """The text in one line of at most `most` characters, without any that are not drawn; … marks a cut.

    White space and line ends become one space each run; control characters, bidirectional and zero-width marks, surrogates and code
    points without a meaning are left out. Printable ASCII without runs of spaces stays as it is.
    """
    if len(text) <= most and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    # No more than is needed: a text may have megabytes.
    drawn = "".join(each for each in text[: 4 * most] if each.isspace() or _is_drawn(each))
    line = " ".join(drawn.split())
    return line if len(line) <= most and len(text) <= 4 * most else line[: most - 1] + "…"


def safe_json(value: Any, most: int = LONGEST_TEXT) -> Any:
    """A value of JSON with each of its strings, keys too, made safe."""
    if isinstance(value, str):
        return safe_text(value, most)
    if isinstance(value, list):
        return [safe_json(inner, most) for inner in value]
    if isinstance(value, dict):
        return {safe_text(key, most): safe_json(inner, most) for key, inner in value.items()}
    return value


_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_OPENS = b"[{"


def nests_deeper(json_text: bytes, most: int) -> bool:
    """Whether objects and lists of a JSON text stand more than `most` deep inside each other.

    To be asked before it is parsed: the standard library's parser recurses on the stack of C, and where a package in the process has raised
    Python's limit (py_ecc does, to 100,000), it overruns that stack and ends the process.
    """
    if json_text.count(b"[") + json_text.count(b"{") <= most:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", json_text)):
        depth += 1 if bracket in _OPENS else -1
        if depth > most:
            return True
    return False


def _is_drawn(character: str) -> bool:
    return character.isprintable() and character not in _BLANK and not _FIRST_SELECTOR <= character <= _LAST_SELECTOR
