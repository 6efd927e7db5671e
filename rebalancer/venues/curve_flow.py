"""How far a swap on one of Curve's pools pays, in floats, where its fee changes with the balances.

The fee falls while a swap brings the pool into balance, so that its price may first rise. Then nothing flows
until the whole of that way pays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from scipy.optimize import brentq

__all__ = ["Curve"]

_FIRST_STEP = 1 / 64
"""Prices are looked for this far ahead first, then each time twice as far."""

_SAMPLES = 24
"""Better prices may lie ahead: looked for at so many places."""


class Curve(ABC):
    """What comes out over what is in, both scaled, with all other coins fixed; the pool has `x0` of what goes in.

    `most_marginal` is no less than what a unit yields on average, however much goes in.
    """

    x0: float
    most_marginal: float

    @property
    @abstractmethod
    def furthest(self) -> float:
        """The largest balance that the pool can be brought to; `x0` where it takes nothing."""

    @abstractmethod
    def out(self, x: float) -> float:
        """What comes out between the start and x, after the fee."""

    @abstractmethod
    def marginal(self, x: float) -> float:
        """What the next unit yields at x, with what it does to the fee of all."""

    def flow(self, target: float) -> tuple[float, float]:
        """(x, what has come out) after the swap whose yield above `target` a unit is largest; the start where none pays."""
        if self.most_marginal <= target or self.furthest <= self.x0:
            return self.x0, 0.0
        x = self._x_where(target)
        out = self.out(x)
        return (self.x0, 0.0) if out <= target * (x - self.x0) else (x, out)

    def _x_where(self, target: float) -> float:
        """The furthest x at which the next unit still yields `target`; the start where there is none."""

        def excess(x: float) -> float:
            return self.marginal(x) - target

        low, step = self.x0, 1 + _FIRST_STEP
        if excess(low) < 0:
            step = (self.furthest / low) ** (1 / _SAMPLES)
            ahead = (low * step**n for n in range(_SAMPLES - 1, 0, -1))
            low = next((x for x in ahead if excess(x) >= 0), 0.0)
            if low == 0:
                return self.x0
        while True:
            high = min(low * step, self.furthest)
            if excess(high) < 0:
                return float(brentq(excess, low, high, xtol=1e-300, rtol=1e-14))
            if high == self.furthest:
                return high
            low, step = high, step * step
