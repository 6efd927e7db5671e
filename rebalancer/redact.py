"""What must never be shown, kept out of texts that others wrote.

This program names an endpoint without its path and never prints a password. A node may still repeat the key in
the URL it was asked at, and a library the address it could not reach. So whatever is logged, served or sent is
passed through here: every secret of the settings, and every part of one that could be a key, becomes `(secret)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["HIDDEN", "Redactor"]

HIDDEN = "(secret)"
"""What stands where a secret was."""

_LEAST_WHOLE = 4
"""Shorter secrets are words or numbers that texts hold anyway; nothing is safe behind them."""

_LEAST_KEY = 8
_LEAST_LONG_KEY = 20
"""A part of a URL may be a key if it has so many characters and digits or both cases; or very many of any kind."""


class Redactor:
    """Takes secrets out of texts. Immutable, so any thread may use it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        hidden = {form for secret in secrets for form in _forms(secret)}
        # The longest first: a whole URL goes before its parts.
        ordered = sorted(hidden, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    @classmethod
    def of(cls, *settings: Any) -> Redactor:
        """Of all secrets in settings: passwords, and URLs but for the hosts of endpoints."""
        return cls(secret for value in _secrets(settings) for secret in _parts(value))

    @classmethod
    def of_url(cls, url: str) -> Redactor:
        """Of all but the host of one endpoint's URL."""
        return cls(_parts(url))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


def _secrets(value: Any) -> Iterator[str]:
    """Every secret in a value, however deep: pydantic's, in its models."""
    reveal = getattr(value, "get_secret_value", None)
    if reveal is not None:
        yield str(reveal())
    elif hasattr(type(value), "model_fields"):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _secrets(inner)


def _parts(secret: str) -> Iterator[str]:
    """A secret, and what of it could be a secret by itself."""
    scheme, separator, rest = secret.partition("://")
    if not separator:
        wholes = [secret]
    elif scheme in ("http", "https", "ws", "wss"):
        # The host is how an endpoint is named to people.
        split = urlsplit(secret)
        user = split.netloc.rpartition("@")[0]
        path = split.path + (f"?{split.query}" if split.query else "")
        wholes = [user, *user.split(":"), path, path.lstrip("/")]
    else:
        wholes = [rest]
    yield from (whole for whole in wholes if len(whole.strip("/")) >= _LEAST_WHOLE)
    if separator:
        yield from filter(_may_be_key, re.split(r"[^\w~%+-]", " ".join(wholes)))


def _may_be_key(part: str) -> bool:
    """Whether a part of a URL could be a key, and is not a word: `mainnet`, `ethereum`, `api-key`."""
    if len(part) >= _LEAST_LONG_KEY:
        return True
    mixed = part != part.lower() and part != part.upper()
    return len(part) >= _LEAST_KEY and (mixed or any(each.isdigit() for each in part))


def _forms(secret: str) -> set[str]:
    """A secret as it may be written: plain, with % undone, and quoted."""
    plain = {secret, unquote(secret)}
    return plain | {json.dumps(one)[1:-1] for one in plain}
