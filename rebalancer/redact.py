"""What must never be shown, kept out of texts that others wrote.

This program names an endpoint without its path and never prints a password. A node may still repeat the key in
the URL it was asked at, and a library the address it could not reach. So whatever is logged, served or sent is
passed through here: every secret of the settings, and every part of one that could be a key, becomes `(secret)`.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

__all__ = ["HIDDEN", "Redactor", "endpoint_name", "redis_name", "socket_name"]

HIDDEN = "(secret)"
"""What stands where a secret was."""

_LEAST_WHOLE = 4
"""Shorter secrets are words or numbers that texts hold anyway; nothing is safe behind them."""

_LEAST_KEY = 8
"""A part of a URL may be a key if it has so many characters, and is not made of `_WORDS` alone."""

_HOST_SHOWN = frozenset(("http", "https", "ws", "wss", "redis", "rediss", "unix"))
"""Whose hosts are how an endpoint is named to people. What other addresses name may be a secret all through."""

_WORDS = frozenset(
    "access account api apikey app arb arbitrum archival archive auth avalanche avax base beacon berachain blast block "  # noqa: SIM905 (a word a line is read by nobody)
    "blockchain bnb bsc celo cert certs chain chains client consensus db dedicated endpoint eth ethereum evm execution fast "
    "flashbots free full gateway gnosis goerli holesky hoodi http https ink json jsonrpc key keys linea live main mainnet "
    "mantle matic net network node nodes none nova one op opt optimism optimistic optional polygon private pro project "
    "projects protect provider public relay reqs required rpc sandbox scroll secure sepolia service sonic ssl staging stream "
    "test testnet token unichain user v0 v1 v2 v3 v4 web3 websocket world worldchain ws wss xdai zkevm zksync zora".split()
)
"""What paths of endpoints are made of that is no secret. A key in lower case is told from a word by this list alone."""


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


def endpoint_name(url: str) -> str:
    """What may be shown of an RPC URL: scheme://host:port, without credentials, path or query."""
    return _shown(url, "http")


def socket_name(url: str) -> str:
    """The same of a WebSocket's URL."""
    return _shown(url, "ws")


def redis_name(url: str) -> str:
    """Redis's address without credentials."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _shown(url: str, scheme: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "(unreadable address)"
    if parts.scheme not in (scheme, scheme + "s") or not parts.hostname:
        return f"(no {scheme} address)"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


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
        yield from _long_enough(secret)
        return
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user = authority.rpartition("@")[0]
    path = rest[len(authority) :]
    values = [part.partition("=")[2] for part in re.split("[?&]", path)[1:]]
    yield from _long_enough(user, *user.split(":"))
    yield from _long_enough(*(value for value in values if not _is_of_words(value)))
    yield from _basic(user)
    if scheme in _HOST_SHOWN:
        whole = path if scheme != "unix" else path.partition("?")[2]
        yield from _long_enough(whole, whole.lstrip("/"))
        searched = f"{user} {whole}"
    else:
        yield from _long_enough(rest)
        searched = rest
    yield from filter(_may_be_key, re.split(r"[^\w~%+-]", searched))


def _long_enough(*texts: str) -> Iterator[str]:
    return (text for text in texts if len(text.strip("/")) >= _LEAST_WHOLE)


def _basic(user: str) -> Iterator[str]:
    """A name and a password as HTTP's basic authentication sends them, with and without padding."""
    if ":" in user:
        for plain in {user, unquote(user)}:
            sent = b64encode(plain.encode()).decode()
            yield from (sent, sent.rstrip("="))


def _may_be_key(part: str) -> bool:
    """Whether a part of a URL could be a key, and is not made of words: `mainnet`, `eth-sepolia`."""
    return len(part) >= _LEAST_KEY and not _is_of_words(part)


def _is_of_words(part: str) -> bool:
    return all(piece in _WORDS for piece in re.split("[-_]", part.lower()))


def _forms(secret: str) -> set[str]:
    """A secret as it may be written: plain, with % undone or put in, and quoted."""
    plain = {secret, unquote(secret), quote(secret, safe="/:@?&="), quote(secret, safe="")}
    return plain | {json.dumps(one)[1:-1] for one in plain}
