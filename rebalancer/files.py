"""Files of this program: written for its user alone and never through a symbolic link, read no further than they can sensibly go.

An outbox holds raw private transactions, and whoever can open its lock can keep a keeper from starting. So files are made with mode 0600 and
folders with 0700, whatever the umask is. Files that are there keep their mode: `rebalancer doctor` speaks of those that others can read.

A file that is read may be anybody's: one that is larger, or whose JSON is nested deeper, than anything this program writes is `Excess`.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from rebalancer.texts import nests_deeper

__all__ = [
    "MEGABYTE",
    "Excess",
    "is_wide",
    "make_folder",
    "open_file",
    "open_own",
    "parse_json",
    "read_text",
]

MEGABYTE = 10**6

_MOST_DEPTH = 32
"""Objects and lists inside each other: what this program writes has ten at most."""


_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_OTHERS = 0o077

_FLAGS = {"r+b": os.O_RDWR, "ab": os.O_WRONLY | os.O_APPEND}


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, for this user alone.

    Raises:
        OSError: one cannot be made.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(_FOLDER_MODE, exist_ok=True)
        one.chmod(_FOLDER_MODE)  # the umask may have taken away what we need ourselves


def open_own(path: Path, flags: int) -> int:
    """Open a regular file, made for this user alone where there is none; the descriptor. `flags` are those of `os.open`.

    Raises:
        OSError: it is a symbolic link, or no regular file, or cannot be opened; `strerror` says so.
    """
    # Not to block: a FIFO would wait for somebody to read it.
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        found = os.open(path, flags | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        os.fchmod(found, _FILE_MODE)
    except FileExistsError:
        found = _opened(path, flags)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "it is no regular file")
    return found


def open_file(path: Path, mode: Literal["r+b", "ab"]) -> IO[bytes]:
    """The same as a file object.

    Raises:
        OSError: as `open_own`.
    """
    return os.fdopen(open_own(path, _FLAGS[mode]), mode)


class Excess(ValueError):  # noqa: N818 (as all errors here are named)
    """A file has more, or is nested deeper, than anything that is meant. Its text follows "the file …"."""


def read_text(path: Path, most_bytes: int) -> str:
    """A file's text, UTF-8.

    Raises:
        Excess: it has more bytes.
        OSError, UnicodeDecodeError: it cannot be read, or is no text.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise Excess(f"it has more than {most_bytes / MEGABYTE:g} MB")
    return data.decode()


def parse_json(text: str) -> Any:
    """What JSON says.

    Raises:
        Excess: it is nested too deeply.
        ValueError: it is no JSON; NaN and Infinity are none.
    """
    if nests_deeper(text.encode(errors="replace"), _MOST_DEPTH):
        raise Excess(f"it is nested more than {_MOST_DEPTH} deep")
    return json.loads(text, parse_constant=_refuse)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def is_wide(path: Path) -> bool:
    """Whether anybody but its owner can open a file that is there; of a link, what it leads to."""
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link; name the file itself") from None
        raise
