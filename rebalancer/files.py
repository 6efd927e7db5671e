"""File access with safe permissions and size limits.

Files are written for the current user only, and never through a symbolic link. An outbox holds raw private
transactions, and any account that can open its lock can stop a keeper from starting. So new files get mode 0600 and new
folders 0700, whatever the umask is. Existing files keep their mode; `rebalancer doctor` reports those that others can
read.

An input file may come from anybody. A file that is larger, or JSON that is nested deeper, than anything this program
writes raises `Excess`.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from rebalancer.texts import nests_deeper

__all__ = ["MEGABYTE", "Excess", "is_wide", "make_folder", "open_file", "open_own", "parse_json", "read_text"]

MEGABYTE = 10**6

_MOST_DEPTH = 32
"""Nesting limit of objects and lists in a file. Files of this program have at most ten levels."""

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_OTHERS = 0o077

_FLAGS = {"r+b": os.O_RDWR, "ab": os.O_WRONLY | os.O_APPEND}


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents, with access for this user only.

    Raises:
        OSError: a folder cannot be created.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(_FOLDER_MODE, exist_ok=True)
        one.chmod(_FOLDER_MODE)  # the umask may have removed permissions that this program needs


def open_own(path: Path, flags: int) -> int:
    """Open a regular file, creating it for this user only if it is missing; returns the descriptor. `flags` are those
    of `os.open`.

    Raises:
        OSError: the file is a symbolic link, is not a regular file, or cannot be opened; `strerror` has the reason.
    """
    # O_NONBLOCK: otherwise opening a FIFO waits for a reader.
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        found = os.open(path, flags | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        os.fchmod(found, _FILE_MODE)
    except FileExistsError:
        found = _opened(path, flags)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return found


def open_file(path: Path, mode: Literal["r+b", "ab"]) -> IO[bytes]:
    """As `open_own`, returning a file object.

    Raises:
        OSError: as `open_own`.
    """
    return os.fdopen(open_own(path, _FLAGS[mode]), mode)


class Excess(ValueError):  # noqa: N818 (as all errors here are named)
    """A file is larger, or nested deeper, than any file this program writes. Its text completes a sentence that begins
    with "the file"."""


def read_text(path: Path, most_bytes: int) -> str:
    """Text of a UTF-8 file.

    Raises:
        Excess: the file has more than `most_bytes` bytes.
        OSError, UnicodeDecodeError: the file cannot be read, or is not UTF-8.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise Excess(f"it has more than {most_bytes / MEGABYTE:g} MB")
    return data.decode()


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        Excess: the text is nested too deeply.
        ValueError: the text is not valid JSON. NaN and Infinity are not valid.
    """
    if nests_deeper(text.encode(errors="replace"), _MOST_DEPTH):
        raise Excess(f"it is nested more than {_MOST_DEPTH} deep")
    return json.loads(text, parse_constant=_refuse)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def is_wide(path: Path) -> bool:
    """Whether users other than its owner can open an existing file. A link is followed."""
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
