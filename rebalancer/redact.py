"""Removal of secrets from texts before they are shown.

This program names an endpoint without its path and never prints a password. But a node may repeat the key of the
request's URL in its answer, and a library may print the address of a failed connection. So every text that is logged,
served or sent passes through here: each secret of the settings, and each part of a secret that could be a key, becomes
`(secret)`.
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
"""Replacement of a secret."""

_LEAST_WHOLE = 4
"""Minimum length of a secret to hide. Shorter ones equal common words and numbers, and protect nothing."""

_LEAST_KEY = 8
"""Minimum length of a part of a URL that may be a key. A part made only of `_WORDS` is not a key."""

_HOST_SHOWN = frozenset(("http", "https", "ws", "wss", "redis", "rediss", "unix"))
"""URL schemes whose host may be shown as the endpoint's name. In other URLs, every part may be a secret."""

_WORDS = frozenset(
    "access account api apikey app arb arbitrum archival archive auth avalanche avax base beacon berachain blast block "  # noqa: SIM905 (a list of one word per line would be unreadable)
    "blockchain bnb bsc celo cert certs chain chains client consensus db dedicated endpoint eth ethereum evm execution fast "
    "flashbots free full gateway gnosis goerli holesky hoodi http https ink json jsonrpc key keys linea live main mainnet "
    "mantle matic net network node nodes none nova one op opt optimism optimistic optional polygon private pro project "
    "projects protect provider public relay reqs required rpc sandbox scroll secure sepolia service sonic ssl staging stream "
    "test testnet token unichain user v0 v1 v2 v3 v4 web3 websocket world worldchain ws wss xdai zkevm zksync zora".split()
)
"""Words in endpoint paths that are not secret. Only this list distinguishes a word from a key in lower case."""


class Redactor:
    """Function that removes secrets from texts. Immutable, so all threads may share it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        hidden = {form for secret in secrets for form in _forms(secret)}
        # The longest first: a whole URL goes before its parts.
        ordered = sorted(hidden, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    @classmethod
    def of(cls, *settings: Any) -> Redactor:
        """Redactor of all secrets in settings: passwords, and URLs except the hosts of endpoints."""
        return cls(secret for value in _secrets(settings) for secret in _parts(value))

    @classmethod
    def of_url(cls, url: str) -> Redactor:
        """Redactor of one endpoint's URL, except its host."""
        return cls(_parts(url))

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


def endpoint_name(url: str) -> str:
    """The part of an RPC URL that may be shown: scheme://host:port, without credentials, path or query."""
    return _shown(url, "http")


def socket_name(url: str) -> str:
    """The part of a WebSocket URL that may be shown."""
    return _shown(url, "ws")


def redis_name(url: str) -> str:
    """A Redis URL without credentials and query."""
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
    """Every secret in a value at any depth: the secrets of pydantic in its models."""
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
    """A secret, and those of its parts that could be secrets by themselves."""
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
    """User name and password as HTTP basic authentication encodes them, with and without padding."""
    if ":" in user:
        for plain in {user, unquote(user)}:
            sent = b64encode(plain.encode()).decode()
            yield from (sent, sent.rstrip("="))


def _may_be_key(part: str) -> bool:
    """Whether a part of a URL could be a key: long enough, and not made only of words (`mainnet`, `eth-sepolia`)."""
    return len(part) >= _LEAST_KEY and not _is_of_words(part)


def _is_of_words(part: str) -> bool:
    return all(piece in _WORDS for piece in re.split("[-_]", part.lower()))


def _forms(secret: str) -> set[str]:
    """Spellings of a secret: plain, percent-decoded, percent-encoded, and escaped as JSON."""
    plain = {secret, unquote(secret), quote(secret, safe="/:@?&="), quote(secret, safe="")}
    return plain | {json.dumps(one)[1:-1] for one in plain}
