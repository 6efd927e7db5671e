"""Shared state of a fleet, changed atomically.

It holds three things, in Redis or, without Redis, in this process: **leases**, each held by one machine at most and
taken under a fencing token that only increases; **ledgers**, which accept an entry only under the newest token of their
lease; and the **members** of groups, by their heartbeats.

A token is newer than every earlier one, even after Redis has lost its data: a missing counter starts at the
microseconds since 1970, which exceeds the number of leases ever taken. The ledger rejects an old token as soon as a
newer one exists, whatever its machine believes of its lease (Kleppmann 2016, "How to do distributed locking").

Every change of leases and ledgers is one Lua script, which Redis runs atomically. All can be repeated if an answer was
lost.
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
    """State that the machines of a fleet share. Keys are names of leases; tokens increase; times are in seconds."""

    def take(self, lease: str, holder: str, seconds: float) -> int | None:
        """Take a lease that no machine holds; return its token, or None if another machine holds it. The current holder
        gets its token again.

        Raises:
            SharedStateUnreachable: no answer; it may have been taken.
        """

    def renew(self, lease: str, holder: str, token: int, seconds: float) -> bool:
        """Hold a lease for `seconds` from now; False if it is not held under this token any more.

        Raises:
            SharedStateUnreachable: no answer; it may have been renewed.
        """

    def release(self, lease: str, holder: str, token: int) -> None:
        """Let others take a lease, if it is still held under this token.

        Raises:
            SharedStateUnreachable: no answer; the lease expires by itself.
        """

    def put(self, lease: str, token: int, entries: Mapping[str, str]) -> None:
        """Add entries to a lease's ledger, all or none. An existing key keeps its entry and its position.

        Raises:
            TokenStale: there is a newer token, or no token is known any more; nothing was written.
            SharedStateUnreachable: no answer; the entries may have been written.
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
        """Announce a member of a group for `seconds`, with a text.

        Raises:
            SharedStateUnreachable: no answer.
        """

    def leave(self, group: str, member: str) -> None:
        """Remove a member from a group.

        Raises:
            SharedStateUnreachable: no answer; the announcement expires by itself.
        """

    def members(self, group: str) -> dict[str, str]:
        """Members of a group, each with its last text.

        Raises:
            SharedStateUnreachable: it cannot be read.
        """

    def now(self) -> float:
        """Unix seconds on the clock that all machines share.

        Raises:
            SharedStateUnreachable: it cannot be read.
        """

    def close(self) -> None:
        """Close the connections."""


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
    """A `SharedState` in Redis, under names that begin with the fleet's, on Redis's clock. Thread-safe."""

    def __init__(self, url: str, fleet: str) -> None:
        """Makes no request yet. `url` is Redis's (redis://, rediss://, unix://)."""
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
        with self._reached():
            keys = [self._key("lease", lease), self._key("token", lease)]
            token = self._take(keys, [holder, _milliseconds(seconds)])
        return int(token) if token else None

    def renew(self, lease: str, holder: str, token: int, seconds: float) -> bool:
        with self._reached():
            keys = [self._key("lease", lease)]
            return bool(self._renew(keys, [f"{holder} {token}", _milliseconds(seconds)]))

    def release(self, lease: str, holder: str, token: int) -> None:
        with self._reached():
            self._release([self._key("lease", lease)], [f"{holder} {token}"])

    def put(self, lease: str, token: int, entries: Mapping[str, str]) -> None:
        with self._reached():
            keys = [self._key(kind, lease) for kind in ("token", "ledger", "order")]
            flat = [text for key_and_entry in entries.items() for text in key_and_entry]
            newest = self._put(keys, [token, *flat])
        _refuse(lease, token, newest)

    def drop(self, lease: str, token: int, keys: Sequence[str]) -> None:
        if not keys:
            return
        with self._reached():
            names = [self._key(kind, lease) for kind in ("token", "ledger")]
            newest = self._drop(names, [token, *keys])
        _refuse(lease, token, newest)

    def entries(self, lease: str) -> list[tuple[str, str]]:
        with self._reached():
            found = self._redis.hgetall(self._key("ledger", lease))
        numbered = [(str(key), *str(value).split(" ", 1)) for key, value in found.items()]
        return [(key, entry) for key, _, entry in sorted(numbered, key=lambda one: int(one[1]))]

    def announce(self, group: str, member: str, text: str, seconds: float) -> None:
        with self._reached():
            self._redis.set(self._key("here", group, member), text, px=_milliseconds(seconds))

    def leave(self, group: str, member: str) -> None:
        with self._reached():
            self._redis.delete(self._key("here", group, member))

    def members(self, group: str) -> dict[str, str]:
        prefix = self._key("here", group, "")
        with self._reached():
            keys = sorted({str(key) for key in self._redis.scan_iter(match=prefix + "*")})
            texts = self._redis.mget(keys) if keys else []
        return {key[len(prefix) :]: str(text) for key, text in zip(keys, texts, strict=True) if text is not None}

    def now(self) -> float:
        with self._reached():
            seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def close(self) -> None:
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
    """A `SharedState` in this process only, on this machine's clock. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._leases: dict[str, tuple[str, int, float]] = {}
        self._tokens: dict[str, int] = {}
        self._ledgers: dict[str, dict[str, str]] = {}
        self._here: dict[str, dict[str, tuple[str, float]]] = {}

    def take(self, lease: str, holder: str, seconds: float) -> int | None:
        with self._lock:
            held = self._held(lease)
            if held is not None and held[0] != holder:
                return None
            token = held[1] if held else self._tokens.get(lease, 0) + 1
            self._tokens[lease] = token
            self._leases[lease] = (holder, token, time.monotonic() + seconds)
            return token

    def renew(self, lease: str, holder: str, token: int, seconds: float) -> bool:
        with self._lock:
            if self._held(lease) != (holder, token):
                return False
            self._leases[lease] = (holder, token, time.monotonic() + seconds)
            return True

    def release(self, lease: str, holder: str, token: int) -> None:
        with self._lock:
            if self._held(lease) == (holder, token):
                del self._leases[lease]

    def put(self, lease: str, token: int, entries: Mapping[str, str]) -> None:
        with self._lock:
            self._check(lease, token)
            ledger = self._ledgers.setdefault(lease, {})
            for key, entry in entries.items():
                ledger.setdefault(key, entry)

    def drop(self, lease: str, token: int, keys: Sequence[str]) -> None:
        with self._lock:
            self._check(lease, token)
            for key in keys:
                self._ledgers.get(lease, {}).pop(key, None)

    def entries(self, lease: str) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._ledgers.get(lease, {}).items())

    def announce(self, group: str, member: str, text: str, seconds: float) -> None:
        with self._lock:
            self._here.setdefault(group, {})[member] = (text, time.monotonic() + seconds)

    def leave(self, group: str, member: str) -> None:
        with self._lock:
            self._here.get(group, {}).pop(member, None)

    def members(self, group: str) -> dict[str, str]:
        now = time.monotonic()
        with self._lock:
            here = self._here.get(group, {})
            return {member: text for member, (text, until) in sorted(here.items()) if until > now}

    def now(self) -> float:
        return time.time()

    def close(self) -> None:
        """Nothing to close."""

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
