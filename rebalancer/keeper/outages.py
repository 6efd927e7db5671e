"""Outages: pools that are left out of planning for some time, because the chain rejects swaps on them or their state
cannot be read.

A pool is left out for a minute at first, and for twice as long after each further failure, up to an hour; then one
attempt decides. A pool that works again is forgotten, and so is a pool without a failure for an hour. So nobody can
keep a sound pool out without making it fail at every attempt. Instants are unix seconds of the chain's blocks.

Pure: no chain, no clock, no logs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rebalancer.keeper.breaker import Breaker

__all__ = ["LeftOut", "Outages", "Scope"]

_FIRST_SECONDS = 60.0
_LONGEST_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of pools: the pool with a key, the pools whose tokens a contract holds, or all pools if `owner` is ""; if
    `token` is given, only those that trade it.
    """

    owner: str
    token: str = ""

    def covers(self, key: str, holder: str, tokens: Collection[str]) -> bool:
        """Whether a pool belongs to the set, by its key, the contract that holds its tokens, and its tokens."""
        return self.owner in ("", key, holder) and (not self.token or self.token in tokens)

    def __str__(self) -> str:
        if not self.token:
            return self.owner
        return f"{self.token} in {self.owner}" if self.owner else f"{self.token} anywhere"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A left-out pool by its key, or a token and the contract that cannot move it; since when, and until the next
    attempt."""

    subject: str
    why: str
    since: float
    until: float


class Outages:
    """The left-out pools, and until when. Not thread-safe."""

    def __init__(self) -> None:
        self._breakers: dict[Scope, Breaker] = {}
        self._swaps: dict[Scope, tuple[str, frozenset[str]]] = {}
        """By pool that rejected a swap: the contract that holds its tokens, and the tokens of the swap."""

    def failed(self, scope: Scope, why: str, now: float) -> LeftOut:
        """Leave out a set of pools, for twice as long as the last time."""
        breaker = self._breakers.setdefault(scope, Breaker(1, _FIRST_SECONDS, _LONGEST_SECONDS))
        breaker.failed(why, now)
        return self._left_out(scope)

    def refused(self, key: str, holder: str, tokens: Iterable[str], why: str, now: float) -> list[LeftOut]:
        """Leave out a pool that rejected a swap.

        If two pools of the same holder rejected swaps of the same token, that contract cannot move the token: all its
        pools of the token are left out.
        """
        scope, traded = Scope(key), frozenset(tokens)
        found = [self.failed(scope, why, now)]
        if holder != key:
            self._swaps[scope] = holder, traded
            for token in sorted(traded):
                alike = [one for one, seen in self._swaps.items() if seen[0] == holder and token in seen[1]]
                if len(alike) > 1:
                    found.append(self.failed(Scope(holder, token), why, now))
        return found

    def worked(self, key: str, holder: str, token_in: str, token_out: str) -> list[Scope]:
        """Forget the sets that a successful swap proves to work again, and return them."""
        found = [
            scope
            for scope in self._breakers
            # The output of a swap can bypass the executor.
            if scope.covers(key, holder, (token_in, token_out) if scope.owner else (token_in,))
        ]
        for scope in found:
            self._forget(scope)
        return found

    def _forget(self, scope: Scope) -> None:
        self._swaps.pop(scope, None)
        del self._breakers[scope]

    def forget(self) -> None:
        """Retry everything at once."""
        self._breakers.clear()
        self._swaps.clear()

    def is_open(self, scope: Scope, now: float) -> bool:
        """Whether a set is left out now."""
        return scope in self._breakers and self._breakers[scope].is_open(now)

    def scopes(self, now: float) -> frozenset[Scope]:
        """All sets that are left out now."""
        for scope, breaker in list(self._breakers.items()):
            if now >= breaker.until + _LONGEST_SECONDS:
                self._forget(scope)
        return frozenset(scope for scope, one in self._breakers.items() if one.is_open(now))

    def reported(self, scopes: Iterable[Scope]) -> tuple[LeftOut, ...]:
        """Those of these sets that have an entry, sorted by name."""
        known = [self._left_out(scope) for scope in scopes if scope in self._breakers]
        return tuple(sorted(known, key=lambda one: one.subject))

    def _left_out(self, scope: Scope) -> LeftOut:
        breaker = self._breakers[scope]
        return LeftOut(str(scope), breaker.why, breaker.since, breaker.until)
