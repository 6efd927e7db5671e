"""Extent of a swap on a Curve pool whose fee changes with the balances, in floats.

The fee falls while a swap balances the pool, so the marginal output may first rise. Then nothing flows until the whole
rising part pays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from scipy.optimize import brentq

__all__ = ["Curve"]

_FIRST_STEP = 1 / 64
"""First search step, as a fraction of the balance; each further step is twice as long."""

_SAMPLES = 24
"""Number of samples in the search for better prices further ahead."""


class Curve(ABC):
    """Output as a function of the input balance, both scaled, with all other coins fixed. The initial input balance is
    `x0`.

    `most_marginal` is an upper bound of the average output per unit, for every input.
    """

    x0: float
    most_marginal: float

    @property
    @abstractmethod
    def furthest(self) -> float:
        """The largest balance that the pool can reach; `x0` if it accepts no input."""

    @abstractmethod
    def out(self, x: float) -> float:
        """Output between the start and x, after the fee."""

    @abstractmethod
    def marginal(self, x: float) -> float:
        """Marginal output at x, including its effect on the fee of the whole swap."""

    def at(self, x: float) -> tuple[float, float]:
        """(output, marginal output) at x."""
        return self.out(x), self.marginal(x)

    def flow(self, target: float) -> tuple[float, float]:
        """(x, output) of the swap with the largest yield above `target` per unit; the start if no swap pays."""
        if self.most_marginal <= target or self.furthest <= self.x0:
            return self.x0, 0.0
        x = self._x_where(target)
        out = self.out(x)
        return (self.x0, 0.0) if out <= target * (x - self.x0) else (x, out)

    def _x_where(self, target: float) -> float:
        """The largest x with a marginal output of at least `target`; the start if there is none."""

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
