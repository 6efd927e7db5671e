"""Sanitization of texts from untrusted authors.

A token's symbol, a node's message or the name of a pool file may control a terminal (ESC), reverse or hide parts of a
line (bidirectional and zero-width marks), or begin a line of its own in a log. `safe_text` is applied at the input: to
each string that a contract returns (`abi`), to text from files, to every error message and to each logged value. The
result may still look like markup, so no console of this program interprets markup (`cli.show.console`), and no chart
interprets formulas.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["LONGEST_SYMBOL", "LONGEST_TEXT", "MOST_DEPTH", "nests_deeper", "safe_json", "safe_text"]

LONGEST_TEXT = 300
"""Length limit of a sentence from an untrusted author, in characters."""

LONGEST_SYMBOL = 32
"""Length limit of a token's symbol or a name, in characters. A vault's symbol has at most 31 bytes."""

MOST_DEPTH = 64
"""Nesting limit of objects and lists in a node's answer. Real answers have about ten levels."""

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters and marks that are invisible although Unicode counts them as printable."""
_FIRST_SELECTOR, _LAST_SELECTOR = "\ufe00", "\ufe0f"


def safe_text(text: str, most: int = LONGEST_TEXT) -> str:
    """The text as one line of at most `most` characters, without invisible characters; … marks a cut.

    Each run of white space and line ends becomes one space. Control characters, bidirectional and zero-width marks,
    surrogates and unassigned code points are removed. Printable ASCII without runs of spaces is unchanged.
    """
    if len(text) <= most and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    # Only the needed part: a text may have megabytes.
    drawn = "".join(each for each in text[: 4 * most] if each.isspace() or _is_drawn(each))
    line = " ".join(drawn.split())
    return line if len(line) <= most and len(text) <= 4 * most else line[: most - 1] + "…"


def safe_json(value: Any, most: int = LONGEST_TEXT) -> Any:
    """A JSON value with each of its strings, including keys, made safe."""
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
    """Whether objects and lists of a JSON text are nested more than `most` levels deep.

    Call this before parsing. The standard library's parser recurses on the C stack. If a package in the process has
    raised Python's recursion limit (py_ecc sets it to 100,000), deep nesting overflows that stack and ends the process.
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
