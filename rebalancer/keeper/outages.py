"""Pools that are left out of planning for a while, because they cannot be traded on or cannot be read.

A pool is left out for a minute at first, then twice that each time it fails again, up to an hour; then one try decides. What
works again is forgotten, and so is what has not failed for an hour. So nobody can have a sound pool left out for long
without making it fail again at every try. Instants are unix seconds, by the chain's blocks.

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
    """Which pools are meant: that of a key, those whose tokens a contract holds, or, where `place` is "", all; of one token where named."""

    place: str
    token: str = ""

    def covers(self, key: str, holder: str, tokens: Collection[str]) -> bool:
        """Whether a pool is meant: by its key, who holds its tokens, and which they are."""
        return self.place in ("", key, holder) and (not self.token or self.token in tokens)

    def __str__(self) -> str:
        if not self.token:
            return self.place
        return f"{self.token} in {self.place}" if self.place else f"{self.token} anywhere"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is left out: a pool's key, or a token and where it cannot be moved; since when, and when it is tried again."""

    subject: str
    why: str
    since: float
    until: float


class Outages:
    """What is left out, and until when. Not to be shared by threads."""

    def __init__(self) -> None:
        self._breakers: dict[Scope, Breaker] = {}
        self._swaps: dict[Scope, tuple[str, frozenset[str]]] = {}
        """By pool that refused a swap: who holds its tokens, and which it was asked to swap."""

    def failed(self, scope: Scope, why: str, now: float) -> LeftOut:
        """Leave out what failed, for twice as long as the last time."""
        breaker = self._breakers.setdefault(scope, Breaker(1, _FIRST_SECONDS, _LONGEST_SECONDS))
        breaker.failed(why, now)
        return self._left_out(scope)

    def refused(self, key: str, holder: str, tokens: Iterable[str], why: str, now: float) -> list[LeftOut]:
        """Leave out a pool that refused a swap. Where the contract that holds its tokens holds another's that refused the same token,
        it is that contract which cannot move the token: all its pools of the token are left out."""
        scope, requests_before = Scope(key), frozenset(tokens)
        found = [self.failed(scope, why, now)]
        if holder != key:
            self._swaps[scope] = holder, requests_before
            for token in sorted(requests_before):
                alike = [one for one, seen in self._swaps.items() if seen[0] == holder and token in seen[1]]
                if len(alike) > 1:
                    found.append(self.failed(Scope(holder, token), why, now))
        return found

    def worked(self, key: str, holder: str, token_in: str, token_out: str) -> list[Scope]:
        """Forget what a swap shows to work again; that is returned."""
        found = [
            scope
            for scope in self._breakers
            # What comes out of a pool need not have gone by the executor.
            if scope.covers(key, holder, (token_in, token_out) if scope.place else (token_in,))
        ]
        for scope in found:
            self._forget(scope)
        return found

    def _forget(self, scope: Scope) -> None:
        self._swaps.pop(scope, None)
        del self._breakers[scope]

    def forget(self) -> None:
        """Have everything tried again at once."""
        self._breakers.clear()
        self._swaps.clear()

    def is_open(self, scope: Scope, now: float) -> bool:
        """Whether something is left out."""
        return scope in self._breakers and self._breakers[scope].is_open(now)

    def scopes(self, now: float) -> frozenset[Scope]:
        """All that is left out."""
        for scope, breaker in list(self._breakers.items()):
            if now >= breaker.until + _LONGEST_SECONDS:
                self._forget(scope)
        return frozenset(scope for scope, one in self._breakers.items() if one.is_open(now))

    def reported(self, scopes: Iterable[Scope]) -> tuple[LeftOut, ...]:
        """What there is to tell of these, by name; nothing of what is not known."""
        known = [self._left_out(scope) for scope in scopes if scope in self._breakers]
        return tuple(sorted(known, key=lambda one: one.subject))

    def _left_out(self, scope: Scope) -> LeftOut:
        breaker = self._breakers[scope]
        return LeftOut(str(scope), breaker.why, breaker.since, breaker.until)
