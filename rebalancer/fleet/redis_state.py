"""What do the machines of a fleet share, and how is it changed by one at a time?

Three things, in Redis or, without Redis, in this process: **leases**, each held by one at most and taken under a token that only ever
grows; **ledgers**, which take an entry only from the newest token of their lease; and who is **here**, as far as their heartbeats say.

A token is newer than every one given out before, also after Redis has lost its data: a count that is missing begins at the
microseconds since 1970, which are more than anybody has taken leases by then. Whoever holds an old token is refused by the ledger from the moment
a newer one is given out, whatever that machine believes of its lease (Kleppmann 2016, "How to do distributed locking").

Every change of leases and ledgers is one Lua script, which Redis runs alone. All may be repeated when an answer was lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from rebalancer.errors import SharedStateUnreachable, TokenStale
from rebalancer.redact import redis_name

__all__ = ["LocalState", "RedisState", "SharedState"]

_RETRIES = 6
_RETRY_BASE_SECONDS, _RETRY_CAP_SECONDS = 0.02, 0.5
_SOCKET_SECONDS = 2.0


class SharedState(Protocol):
    """What a fleet shares. Keys are names of leases; tokens grow; times are in seconds."""

    def take(self, lease: str, holder: str, seconds: float) -> int | None:
        """Take a lease that nobody holds; the token, None if another holds it. Whoever has it already gets its token again.

        Raises:
            SharedStateUnreachable: nobody can tell; it may have been taken.
        """

    def renew(self, lease: str, holder: str, token: int, seconds: float) -> bool:
        """Hold a lease for so long from now; False if it is not held under this token any more.

        Raises:
            SharedStateUnreachable: nobody can tell; it may have been renewed.
        """

    def release(self, lease: str, holder: str, token: int) -> None:
        """Let others take a lease, if it is still held under this token.

        Raises:
            SharedStateUnreachable: nobody can tell; it ends by itself.
        """

    def put(self, lease: str, token: int, entries: Mapping[str, str]) -> None:
        """Write entries into a lease's ledger, all or none. One that it has under the same key stays, and stays in its place.

        Raises:
            TokenStale: a newer token was given out, or none is known any more; nothing was written.
            SharedStateUnreachable: nobody can tell; it may have been written.
        """

    def drop(self, lease: str, token: int, keys: Sequence[str]) -> None:
        """Remove entries from a lease's ledger.

        Raises:
            As `put`.
        """

    def entries(self, lease: str) -> list[tuple[str, str]]:
        """Keys and entries of a lease's ledger, in the order in which they were first written.

        Raises:
            SharedStateUnreachable: it cannot be read.
        """

    def announce(self, group: str, member: str, text: str, seconds: float) -> None:
        """Say that a member of a group is here for so long, and something else with it.

        Raises:
            SharedStateUnreachable: it could not be said.
        """

    def leave(self, group: str, member: str) -> None:
        """Say that a member is here no more.

        Raises:
            SharedStateUnreachable: it could not be said; it will be forgotten by itself.
        """

    def members(self, group: str) -> dict[str, str]:
        """Who is here, and what each said last.

        Raises:
            SharedStateUnreachable: it cannot be read.
        """

    def now(self) -> float:
        """Unix seconds by the clock that all share.

        Raises:
            SharedStateUnreachable: it cannot be asked.
        """

    def close(self) -> None:
        """Let go of connections."""


_TAKE = """
local held = redis.call('GET', KEYS[1])
if held then
  local holder, token = string.match(held, '^(.*) (%d+)$')
  if holder ~= ARGV[1] then return '' end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return token
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  local now = redis.call('TIME')
  redis.call('SET', KEYS[2], now[1] .. string.format('%06d', now[2]))
end
redis.call('INCR', KEYS[2])
local token = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. token, 'NX', 'PX', ARGV[2])
return token
"""

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

_PUT = """
local newest = redis.call('GET', KEYS[1])
if newest ~= ARGV[1] then return newest or 'none' end
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then
    redis.call('HSET', KEYS[2], ARGV[i], redis.call('INCR', KEYS[3]) .. ' ' .. ARGV[i + 1])
  end
end
return ''
"""

_DROP = """
local newest = redis.call('GET', KEYS[1])
if newest ~= ARGV[1] then return newest or 'none' end
for i = 2, #ARGV do redis.call('HDEL', KEYS[2], ARGV[i]) end
return ''
"""


class RedisState:
    """In Redis, under names that begin with the fleet's. May be shared by threads."""

    def __init__(self, url: str, fleet: str) -> None:
        """Nothing is asked yet. `url` is Redis's (redis://, rediss://, unix://)."""
        self.fleet = fleet
        self._redis_name = redis_name(url)
        retry = Retry(ExponentialBackoff(_RETRY_CAP_SECONDS, _RETRY_BASE_SECONDS), _RETRIES)
        self._redis = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=_SOCKET_SECONDS,
            socket_connect_timeout=_SOCKET_SECONDS,
            retry=retry,
            retry_on_error=[BusyLoadingError],
        )
        run = self._redis.register_script
        self._take, self._renew, self._release = run(_TAKE), run(_RENEW), run(_RELEASE)
        self._put, self._drop = run(_PUT), run(_DROP)

    def take(self, lease: str, holder: str, seconds: float) -> int | None:
        """As `Shared` has it."""
        with self._reached():
            keys = [self._key("lease", lease), self._key("token", lease)]
            token = self._take(keys, [holder, _milliseconds(seconds)])
        return int(token) if token else None

    def renew(self, lease: str, holder: str, token: int, seconds: float) -> bool:
        """As `Shared` has it."""
        with self._reached():
            keys = [self._key("lease", lease)]
            return bool(self._renew(keys, [f"{holder} {token}", _milliseconds(seconds)]))

    def release(self, lease: str, holder: str, token: int) -> None:
        """As `Shared` has it."""
        with self._reached():
            self._release([self._key("lease", lease)], [f"{holder} {token}"])

    def put(self, lease: str, token: int, entries: Mapping[str, str]) -> None:
        """As `Shared` has it."""
        with self._reached():
            keys = [self._key(kind, lease) for kind in ("token", "ledger", "order")]
            text = [text for key_and_entry in entries.items() for text in key_and_entry]
            newest = self._put(keys, [token, *text])
        _refuse(lease, token, newest)

    def drop(self, lease: str, token: int, keys: Sequence[str]) -> None:
        """As `Shared` has it."""
        if not keys:
            return
        with self._reached():
            places = [self._key(kind, lease) for kind in ("token", "ledger")]
            newest = self._drop(places, [token, *keys])
        _refuse(lease, token, newest)

    def entries(self, lease: str) -> list[tuple[str, str]]:
        """As `Shared` has it."""
        with self._reached():
            found = self._redis.hgetall(self._key("ledger", lease))
        numbered = [(str(key), *str(value).split(" ", 1)) for key, value in found.items()]
        return [(key, entry) for key, _, entry in sorted(numbered, key=lambda one: int(one[1]))]

    def announce(self, group: str, member: str, text: str, seconds: float) -> None:
        """As `Shared` has it."""
        with self._reached():
            self._redis.set(self._key("here", group, member), text, px=_milliseconds(seconds))

    def leave(self, group: str, member: str) -> None:
        """As `Shared` has it."""
        with self._reached():
            self._redis.delete(self._key("here", group, member))

    def members(self, group: str) -> dict[str, str]:
        """As `Shared` has it."""
        prefix = self._key("here", group, "")
        with self._reached():
            keys = sorted({str(key) for key in self._redis.scan_iter(match=prefix + "*")})
            text = self._redis.mget(keys) if keys else []
        return {key[len(prefix) :]: str(text) for key, text in zip(keys, text, strict=True) if text is not None}

    def now(self) -> float:
        """As `Shared` has it: by Redis's clock."""
        with self._reached():
            seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def close(self) -> None:
        """As `Shared` has it."""
        self._redis.close()

    def _key(self, *parts: str) -> str:
        return ":".join((self.fleet, *parts))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except RedisError as failure:
            raise SharedStateUnreachable(self._redis_name, type(failure).__name__) from failure


class LocalState:
    """In this process alone: the same rules by this machine's own clock. May be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[str, tuple[str, int, float]] = {}
        self._tokens: dict[str, int] = {}
        self._ledgers: dict[str, dict[str, str]] = {}
        self._here: dict[str, dict[str, tuple[str, float]]] = {}

    def take(self, lease: str, holder: str, seconds: float) -> int | None:
        """As `Shared` has it."""
        with self._lock:
            held = self._held(lease)
            if held is not None and held[0] != holder:
                return None
            token = held[1] if held else self._tokens.get(lease, 0) + 1
            self._tokens[lease] = token
            self._leases[lease] = (holder, token, time.monotonic() + seconds)
            return token

    def renew(self, lease: str, holder: str, token: int, seconds: float) -> bool:
        """As `Shared` has it."""
        with self._lock:
            if self._held(lease) != (holder, token):
                return False
            self._leases[lease] = (holder, token, time.monotonic() + seconds)
            return True

    def release(self, lease: str, holder: str, token: int) -> None:
        """As `Shared` has it."""
        with self._lock:
            if self._held(lease) == (holder, token):
                del self._leases[lease]

    def put(self, lease: str, token: int, entries: Mapping[str, str]) -> None:
        """As `Shared` has it."""
        with self._lock:
            self._check(lease, token)
            ledger = self._ledgers.setdefault(lease, {})
            for key, entry in entries.items():
                ledger.setdefault(key, entry)

    def drop(self, lease: str, token: int, keys: Sequence[str]) -> None:
        """As `Shared` has it."""
        with self._lock:
            self._check(lease, token)
            for key in keys:
                self._ledgers.get(lease, {}).pop(key, None)

    def entries(self, lease: str) -> list[tuple[str, str]]:
        """As `Shared` has it."""
        with self._lock:
            return list(self._ledgers.get(lease, {}).items())

    def announce(self, group: str, member: str, text: str, seconds: float) -> None:
        """As `Shared` has it."""
        with self._lock:
            self._here.setdefault(group, {})[member] = (text, time.monotonic() + seconds)

    def leave(self, group: str, member: str) -> None:
        """As `Shared` has it."""
        with self._lock:
            self._here.get(group, {}).pop(member, None)

    def members(self, group: str) -> dict[str, str]:
        """As `Shared` has it."""
        now = time.monotonic()
        with self._lock:
            here = self._here.get(group, {})
            return {member: text for member, (text, until) in sorted(here.items()) if until > now}

    def now(self) -> float:
        """As `Shared` has it."""
        return time.time()

    def close(self) -> None:
        """As `Shared` has it."""

    def _held(self, lease: str) -> tuple[str, int] | None:
        holder, token, until = self._leases.get(lease, ("", 0, 0.0))
        return (holder, token) if until > time.monotonic() else None

    def _check(self, lease: str, token: int) -> None:
        newest = self._tokens.get(lease)
        _refuse(lease, token, "" if newest == token else str(newest or "none"))


def _refuse(lease: str, token: int, newest: str) -> None:
    if newest:
        raise TokenStale(lease, token, None if newest == "none" else int(newest))


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1_000))
