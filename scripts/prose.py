"""Check of user-facing prose, part of `make check`: no archaic word, no question as a module's first line.

It reads docstrings and strings of `rebalancer/`, NatSpec of `contracts/`, and all text of documents, example settings
and `deploy/`. Code and code comments are not read. Prints one line a finding, and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BANNED = {
    "anew": "again",
    "are asked": "name the request: 'the endpoint receives', 'read from'",
    "are told": "reported, logged, notified",
    "beside that": "in addition",
    "betimes": "early",
    "by and by": "later",
    "dealings": "transactions",
    "dearer": "with a higher fee, more expensive",
    "ere": "before",
    "flesh and blood": "a person's account",
    "foreseen": "expected, predicted",
    "forthwith": "immediately",
    "hence": "so, therefore",
    "henceforth": "from now on",
    "hitherto": "until now",
    "in a row": "consecutive",
    "is asked": "name the request: 'the endpoint receives', 'read from'",
    "is told": "reported, logged, notified",
    "lest": "so that ... not",
    "looked at": "checked, read",
    "mend": "fix",
    "mended": "fixed",
    "naught": "nothing",
    "shall": "must, will",
    "so many": "this many, at most N",
    "so often": "this many times",
    "taken back": "reorged, revoked, returned",
    "thereby": "by this",
    "thereof": "of it",
    "unto": "to",
    "upon": "on",
    "whence": "from where",
    "whereof": "of which",
    "whoever": "name the role: an operator, an account, a caller",
    "whomever": "name the role",
}
"""Word or phrase, in any case, and what to write instead."""

_PATTERN = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(BANNED, key=len, reverse=True)))})\b", re.IGNORECASE)
_NATSPEC = re.compile(r"^\s*(?:///|/?\*)")
_TEXTS = ("*.md", "docs/*.md", "*.example.toml", ".env.example", "deploy/*")
_GENERATED = ("docs/mutation.md", "docs/proofs.md")

Finding = tuple[str, int, str]
"""Path, line, and what is wrong."""


def main() -> None:
    """Print all findings and exit with 1 if there is one."""
    found = sorted({*python(), *solidity(), *texts()})
    for path, line, problem in found:
        print(f"{path}:{line}: {problem}")
    sys.exit(bool(found))


def python(folder: Path = ROOT / "rebalancer") -> Iterator[Finding]:
    """Findings in strings and docstrings of a package."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        name = _name(path)
        title = (ast.get_docstring(tree) or "").split("\n")[0]
        if "?" in title:
            yield name, 1, f"the first line of a module is a noun phrase, not a question: {title!r}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from words(name, node.value, node.lineno)


def solidity(folder: Path = ROOT / "contracts") -> Iterator[Finding]:
    """Findings in NatSpec."""
    for path in sorted(folder.rglob("*.sol")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if _NATSPEC.match(line):
                yield from words(_name(path), line, number)


def texts(folder: Path = ROOT) -> Iterator[Finding]:
    """Findings in documents, example settings and deployment files."""
    for path in sorted({path for pattern in _TEXTS for path in folder.glob(pattern)}):
        if path.is_file() and _name(path) not in _GENERATED:
            yield from words(_name(path), path.read_text(), 1)


def words(name: str, text: str, first_line: int) -> Iterator[Finding]:
    """Banned words of a text that begins at a line of a file. A phrase is found across a line's end too."""
    flat = re.sub(r"\s", " ", text)
    for match in _PATTERN.finditer(flat):
        line = first_line + text.count("\n", 0, match.start())
        yield name, line, f"{match.group()!r}: write {BANNED[match.group().lower()]}"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


if __name__ == "__main__":
    main()
