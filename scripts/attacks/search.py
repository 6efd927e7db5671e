"""Search for an attacker's best parameters: a grid on the chain itself, refined around the best point so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

__all__ = ["Gain", "best", "best_of"]

_POINTS = 7
_ROUNDS = 3

Gain = Callable[[tuple[int, ...]], int | None]
"""Gain of a set of parameters; None where the attack is refused."""


def best(
    gain: Gain,
    ranges: Sequence[tuple[int, int]],
    points: int = _POINTS,
    rounds: int = _ROUNDS,
) -> tuple[int, ...]:
    """The parameters with the largest gain that the search finds, each in its range (both ends included).

    One parameter after another is tried at `points` even distances. Every round repeats this between the neighbours of
    the best point. The search starts at the lowest value of each parameter; that point should be allowed.

    Raises:
        ValueError: every point that was tried is refused.
    """
    known: dict[tuple[int, ...], int | None] = {}

    def earned(parameters: tuple[int, ...]) -> int | None:
        if parameters not in known:
            known[parameters] = gain(parameters)
        return known[parameters]

    spans = list(ranges)
    at = tuple(low for low, _ in ranges)
    for _ in range(rounds):
        for axis, (low, high) in enumerate(spans):
            tried = sorted({low + (high - low) * k // (points - 1) for k in range(points)})
            places = [(*at[:axis], value, *at[axis + 1 :]) for value in tried]
            allowed = [place for place in places if earned(place) is not None]
            if not allowed:
                continue
            at = max(allowed, key=lambda place: earned(place) or 0)
            here = tried.index(at[axis])
            spans[axis] = (tried[max(0, here - 1)], tried[min(len(tried) - 1, here + 1)])
    if earned(at) is None:
        raise ValueError(f"everything in {list(ranges)} is refused")
    return at


def best_of(gain: Gain, places: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """The parameters with the largest gain among those listed: for switches, which have no values in between.

    Raises:
        ValueError: every point is refused.
    """
    earned = {place: found for place in places if (found := gain(place)) is not None}
    return max(earned, key=lambda place: earned[place])
