"""StableSwap pool of Curve: state, exact quotes of any swap, and the resulting state.

Supported are plain pools of the kind of 3pool (`math_version` "v1"), with a whole-number A and fixed rates of the
coins, and pools of stableswap-ng ("ng"), whose fee rises as two coins diverge and whose rates may come from other
contracts. `quote_in` is the payment of `exchange`; 3pool's `get_dy` takes the fee after scaling down instead of before,
and may differ by a unit.

Evidence: 240 swaps of 3pool and as many of stableswap-ng in random states give the same payments, refusals and new
states as the public sources compiled by Vyper (tests/vectors/curve.json and curve_ng.json; no compiled pool is
published, so no test runs one). D at the block of a mainnet snapshot matches get_virtual_price, and a snapshot that
contradicts it is rejected. `rebalancer pool snapshot` compares get_dy with the chain before it saves. Round trips gain
nothing, D never falls, quotes rise with the amount.

A swap whose output would be negative because of rounding reverts; a swap with an output of zero is executed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import ClassVar, NamedTuple

from scipy.optimize import brentq

from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted
from rebalancer.units import E18, PIPS
from rebalancer.venues.curve_flow import Curve
from rebalancer.venues.curve_math import (
    A_PRECISION,
    MATH_VERSIONS,
    Refused,
    check_ng_prices,
    least_in,
    most_in,
    ng_stable_d,
    ng_stable_y,
    stable_d,
    stable_y,
    word,
)
from rebalancer.venues.curve_pool import FEE_ONE, CurvePoolBase
from rebalancer.venues.model import (
    MAX_AMOUNT_RAW,
    address_key,
    refs_of,
    traded,
)

__all__ = ["CurveStablePool"]

_MAX_WORD = 2**256 - 1
_MAX_COINS = 8
_MAX_A = 10**6
_FIRST_GROWTH, _FURTHEST_GROWTH = 1 / 64, 32.0
"""Search range of prices: balances from e to the first number, to e to the second, times the current balance. Almost
nothing is left to buy beyond."""

_LARGEST_GROWTH = 2.0**20
"""Search limit if the fee changes with the balances, as a multiple of the balance."""


class _Swap(NamedTuple):
    """Result of `exchange`: raw output, and the owner's part of the fee, which leaves the balances; or that it
    reverts."""

    out_raw: int
    admin_raw: int
    reverts: bool = False


@dataclass(frozen=True)
class CurveStablePool(CurvePoolBase):
    """One state of one pool; implements `PoolState`.

    `balances` are raw, in the pool's order of `tokens`. Fees are of 1e10; `admin_fee_e10` is a part of the fee. `rates`
    scale a raw amount to 18 decimals, times 1e18; by default they follow from decimals. In stableswap-ng,
    `a_coefficient` is A times 100, and the fee rises to `offpeg_fee_multiplier_e10` times the fee when two coins are
    far apart. While `is_ramping`, A changes with time.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    IS_UNSIGNED: ClassVar[bool] = False
    KEYS: ClassVar[Mapping[str, str]] = {
        "fee_e10": "fee",
        "admin_fee_e10": "admin_fee",
        "offpeg_fee_multiplier_e10": "offpeg_fee_multiplier",
    }
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset({"rates"})

    a_coefficient: int
    fee_e10: int
    admin_fee_e10: int
    rates: tuple[int, ...] = ()
    math_version: str = "v1"
    offpeg_fee_multiplier_e10: int = 0
    is_ramping: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        count = len(self.tokens)
        if not 2 <= count <= _MAX_COINS or len({t.address for t in self.tokens}) != count:
            raise BadPoolSnapshot(f"a pool must have 2 to {_MAX_COINS} different coins")
        if not self.rates:
            rates = tuple(10 ** (36 - token.decimals) for token in self.tokens if token.decimals <= 36)
            object.__setattr__(self, "rates", rates)
        if len(self.balances) != count or len(self.rates) != count or min(self.rates) <= 0:
            raise BadPoolSnapshot(f"there must be one balance and one rate above 0 for each of {count} coins")
        if min(self.balances) < 0:
            raise BadPoolSnapshot(f"balance {min(self.balances)} is negative")
        if self.math_version not in MATH_VERSIONS:
            raise BadPoolSnapshot(f"math_version {self.math_version!r} is not one of {MATH_VERSIONS}")
        scale = A_PRECISION if self._is_ng else 1
        if not scale <= self.a_coefficient <= _MAX_A * scale:
            raise BadPoolSnapshot(f"a_coefficient {self.a_coefficient} is not in {scale} … {_MAX_A * scale}")
        if self.offpeg_fee_multiplier_e10 and not self._is_ng:
            raise BadPoolSnapshot("only pools of stableswap-ng have a higher fee off the peg")
        if not 0 <= self.offpeg_fee_multiplier_e10 * self.fee_e10 <= FEE_ONE * FEE_ONE:
            raise BadPoolSnapshot(f"with offpeg_fee_multiplier {self.offpeg_fee_multiplier_e10}, the fee exceeds 100 %")
        for fee in (self.fee_e10, self.admin_fee_e10):
            if not 0 <= fee <= FEE_ONE:
                raise BadPoolSnapshot(f"fee {fee} is not in 0 … 10^10")

    @property
    def fee_pips(self) -> int:
        """Fee on the output, in millionths, rounded down; the minimum if it rises off the peg."""
        return self.fee_e10 * PIPS // FEE_ONE

    @cached_property
    def invariant(self) -> int:
        """D with 18 decimals (get_D); 0 if the pool is empty or out of range."""
        try:
            return self._d(self.a_coefficient)
        except Refused:
            return 0

    @property
    def moves(self) -> bool:
        """Whether the state changes without a log: while A changes, or if rates come from other contracts."""
        return self.is_ramping or self.rates != self._plain_rates

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. The pool has no exact-output swap: this is the least amount whose `quote_in`
        suffices."""
        i, j = self._trade(token_in, token_out, amount_raw)
        most = self._best_in(i, j)
        possible = self._exchange(i, j, most).out_raw if most else 0
        if amount_raw > possible:
            raise LiquidityExhausted(self.address, self.tokens[j].address, amount_raw, possible)

        def quote(dx: int) -> int:
            return self._exchange(i, j, dx).out_raw if dx < most else possible

        scaled_out = amount_raw * self.rates[j] * FEE_ONE // ((FEE_ONE - self.fee_e10) * E18)
        left = max(self._xp[j] - scaled_out - 1, 1)
        try:
            y = self._y(j, i, left, self.a_coefficient, self.invariant)
        except Refused:
            y = self._xp[i]
        guess = max(y - self._xp[i], 0) * E18 // self.rates[i]
        found = least_in(quote, amount_raw, min(guess, most))
        return found if quote(found) >= amount_raw else most

    def get_dy(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """Result of the pool's view get_dy; 0 if it reverts because the output is zero.

        Raises:
            as `quote_in`.
        """
        i, j, _ = self._swap(token_in, token_out, amount_raw)
        x = self._xp[i] + amount_raw * self.rates[i] // E18
        if self._is_ng:
            # The view rounds A down.
            a = self.a_coefficient // A_PRECISION * A_PRECISION
            y = self._y(i, j, x, a, self._d(a))
            gross = max(self._xp[j] - y - 1, 0)
            return (gross - self._fee_e10(i, j, x, y) * gross // FEE_ONE) * E18 // self.rates[j]
        y = self._y(i, j, x, self.a_coefficient, self.invariant)
        gross = max(self._xp[j] - y - 1, 0) * E18 // self.rates[j]
        return gross - self.fee_e10 * gross // FEE_ONE

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, CurveStablePool]:
        """See `Pool.swapped`. The owner's part of the fee leaves the balances."""
        i, j, swap = self._swap(token_in, token_out, amount_raw)
        if swap.reverts:
            return 0, self
        balances = traded(self.balances, i, amount_raw, j, swap.out_raw + swap.admin_raw)
        return swap.out_raw, replace(self, balances=balances)

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`. Exact for the whole-number D; 0 if the pool is empty."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        d = self.invariant
        if d == 0:
            return Fraction(0)
        count = len(self._xp)
        product = Fraction(d)
        for x in self._xp:
            product = product * d / (x * count)
        ann = Fraction(self.a_coefficient * count, A_PRECISION if self._is_ng else 1)
        slope = (ann + product / self._xp[i]) / (ann + product / self._xp[j])
        return slope * self.rates[i] / self.rates[j]

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`. The slope of the curve is solved numerically; the output has a closed form."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if self.invariant == 0:
            return 0, 0
        if marginal <= 0:
            most = self._best_in(i, j)
            return most, self._exchange(i, j, most).out_raw if most else 0
        if self._fee_varies:
            fees = self._curve(i, j)
            x, out = fees.flow(marginal * self.rates[j] / self.rates[i])
            return int((x - fees.x0) * E18 / self.rates[i]), int(out * E18 / self.rates[j])
        kept = 1 - self.fee_e10 / FEE_ONE
        scale_in, scale_out = self.rates[i] / E18, self.rates[j] / E18
        curve = _Curve.of(self, i, j)
        x0 = float(self._xp[i])
        y0 = curve.y(x0)
        target = marginal * scale_out / (scale_in * kept)
        if curve.slope(x0, y0) <= target:
            return 0, 0

        def excess(log_growth: float) -> float:
            x = x0 * math.exp(log_growth)
            return math.log(curve.slope(x, curve.y(x)) / target)

        most = self._limit(i)
        low, high = 0.0, _FIRST_GROWTH
        while excess(high) > 0:
            low, high = high, 4 * high
            if high > _FURTHEST_GROWTH:
                return most, self._exchange(i, j, most).out_raw
        growth = math.expm1(brentq(excess, low, high, xtol=1e-15, rtol=1e-14))
        x = x0 * (1 + growth)
        return min(int(x0 * growth / scale_in), most), int((y0 - curve.y(x)) * kept / scale_out)

    def most_per_unit(self, token_in: str, token_out: str) -> float:
        """Upper bound of the output per raw input unit after the fee, in floats. 0 if the pool is empty."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if self.invariant == 0:
            return 0.0
        return self._curve(i, j).most_marginal * self.rates[i] / self.rates[j]

    @property
    def kind(self) -> str:
        """See `PoolState.kind`."""
        return "Curve 3pool" if self.math_version == "v1" else "Curve stableswap-ng"

    @cached_property
    def _xp(self) -> tuple[int, ...]:
        """Balances scaled to 18 decimals (_xp)."""
        return tuple(b * rate // E18 for b, rate in zip(self.balances, self.rates, strict=True))

    @property
    def _is_ng(self) -> bool:
        return self.math_version == "ng"

    @property
    def _fee_varies(self) -> bool:
        return self.offpeg_fee_multiplier_e10 > FEE_ONE

    @property
    def _plain_rates(self) -> tuple[int, ...]:
        """The rates that follow from decimals alone."""
        return tuple(10 ** (36 - token.decimals) for token in self.tokens if token.decimals <= 36)

    def _d(self, a_coefficient: int) -> int:
        if self._is_ng:
            return ng_stable_d(self._xp, a_coefficient * len(self._xp))
        return stable_d(self._xp, a_coefficient)

    def _y(self, i: int, j: int, x: int, a_coefficient: int, d: int) -> int:
        if self._is_ng:
            return ng_stable_y(self._xp, i, j, x, a_coefficient * len(self._xp), d)
        return stable_y(self._xp, i, j, x, a_coefficient, d)

    def _fee_e10(self, i: int, j: int, x: int, y: int) -> int:
        """Fee of a swap from the current balances to x and y (_dynamic_fee).

        Raises:
            Refused: a word overflows.
        """
        if not self._fee_varies:
            return self.fee_e10
        multiplier = self.offpeg_fee_multiplier_e10
        one, other = (self._xp[i] + x) // 2, (self._xp[j] + y) // 2
        near = word((multiplier - FEE_ONE) * 4 * one * other) // word((one + other) ** 2)
        return multiplier * self.fee_e10 // (near + FEE_ONE)

    def _limit(self, i: int) -> int:
        """Largest input whose own value does not overflow a word; 0 if the pool refuses every swap."""
        if self.invariant == 0:
            return 0
        return min((_MAX_WORD - self._xp[i]) // self.rates[i] // 2, MAX_AMOUNT_RAW - self.balances[i])

    def _most_in(self, i: int, j: int) -> int:
        """Largest input without an overflow of a word; 0 if the pool refuses every swap."""
        limit = self._limit(i)
        if not self._is_ng or limit == 0:
            return limit
        return most_in(lambda dx: self._exchange(i, j, dx), limit)

    def _best_in(self, i: int, j: int) -> int:
        """The input with the largest output: the largest input, unless the fee rises by more than the output."""
        if (i, j) not in self._bests:
            best = most = self._most_in(i, j)
            if self._fee_varies and most:
                curve = self._curve(i, j)
                best = min(int((curve.peak - curve.x0) * E18 / self.rates[i]), most)
            self._bests[i, j] = best
        return self._bests[i, j]

    @cached_property
    def _bests(self) -> dict[tuple[int, int], int]:
        return {}

    @cached_property
    def _fee_curves(self) -> dict[tuple[int, int], _FeeCurve]:
        return {}

    @property
    def _is_empty(self) -> bool:
        return self.invariant == 0

    def _scale(self, k: int) -> float:
        return self.rates[k] / E18

    def _curve(self, i: int, j: int) -> _FeeCurve:
        """The curve of a direction, created once per state."""
        if (i, j) not in self._fee_curves:
            self._fee_curves[i, j] = _FeeCurve(self, i, j)
        return self._fee_curves[i, j]

    def _swap(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, int, _Swap]:
        i, j = self._trade(token_in, token_out, amount_raw)
        if amount_raw <= self._limit(i):
            try:
                return i, j, self._exchange(i, j, amount_raw)
            except Refused:
                pass
        most = min(self._most_in(i, j), amount_raw - 1)
        raise LiquidityExhausted(self.address, self.tokens[i].address, amount_raw, most)

    def _exchange(self, i: int, j: int, amount_raw: int) -> _Swap:
        """`exchange` without a minimum output.

        Raises:
            Refused: a word overflows.
        """
        x = self._xp[i] + amount_raw * self.rates[i] // E18
        y = self._y(i, j, x, self.a_coefficient, self.invariant)
        gross = self._xp[j] - y - 1
        if gross < 0:
            return _Swap(0, 0, reverts=True)
        fee = gross * self._fee_e10(i, j, x, y) // FEE_ONE
        admin = fee * self.admin_fee_e10 // FEE_ONE
        if self._is_ng:
            xp = list(self._xp)
            xp[i], xp[j] = x, y
            check_ng_prices(xp, self.a_coefficient * len(xp), self.invariant)
        return _Swap((gross - fee) * E18 // self.rates[j], admin * E18 // self.rates[j])


class _Curve(NamedTuple):
    """y as a function of x with all other coins fixed, in floats of scaled units."""

    ann: float
    linear: float
    constant: float
    product: float

    @classmethod
    def of(cls, pool: CurveStablePool, i: int, j: int) -> _Curve:
        count = len(pool.tokens)
        d = float(pool.invariant)
        ann = pool.a_coefficient * count / (A_PRECISION if pool._is_ng else 1)
        others = [float(x) for k, x in enumerate(pool._xp) if k not in (i, j)]
        product = d * d / count * d / count
        for x in others:
            product = product * d / (x * count)
        return cls(ann, sum(others) + d / ann - d, product / ann, product)

    def y(self, x: float) -> float:
        """The positive root of y^2 + b y = c / x, in the form without cancellation."""
        b, c = self.linear + x, self.constant / x
        root = math.sqrt(b * b + 4 * c)
        return 2 * c / (b + root) if b > 0 else (root - b) / 2

    def slope(self, x: float, y: float) -> float:
        """-dy/dx; D^(n+1) / (n^n times all balances) is `product` / (x y)."""
        share = self.product / (x * y)
        return (self.ann + share / x) / (self.ann + share / y)


class _FeeCurve(Curve):
    """The curve with the fee, which rises as the two coins diverge."""

    def __init__(self, pool: CurveStablePool, i: int, j: int) -> None:
        self._curve = _Curve.of(pool, i, j)
        self._least_fee = pool.fee_e10 / FEE_ONE
        self._most_fee = self._least_fee * max(pool.offpeg_fee_multiplier_e10 / FEE_ONE, 1.0)
        self._steep = max(pool.offpeg_fee_multiplier_e10 / FEE_ONE - 1, 0.0)
        self.x0 = float(pool._xp[i])
        self.y0 = self._curve.y(self.x0)
        self.most_marginal = self._curve.slope(self.x0, self.y0) * (1 - self._least_fee)

    @property
    def furthest(self) -> float:
        """Almost nothing is left to buy beyond."""
        return self.x0 * _LARGEST_GROWTH

    @property
    def peak(self) -> float:
        """The x with the largest output."""
        return self._x_where(0.0)

    def out(self, x: float) -> float:
        """See `Curve.out`."""
        return self.at(x)[0]

    def marginal(self, x: float) -> float:
        """See `Curve.marginal`."""
        return self.at(x)[1]

    def at(self, x: float) -> tuple[float, float]:
        """(output, marginal output) at x."""
        y = self._curve.y(x)
        slope = self._curve.slope(x, y)
        fee, fee_by_x = self._fee(x, y, slope)
        gross = self.y0 - y
        return gross * (1 - fee), slope * (1 - fee) - gross * fee_by_x

    def _fee(self, x: float, y: float, slope: float) -> tuple[float, float]:
        """The fee of a swap to x and y, and its derivative by x."""
        if not self._steep:
            return self._least_fee, 0.0
        one, other = self.x0 + x, self.y0 + y
        total = one + other
        below = self._steep * 4 * one * other / (total * total) + 1
        near_by_x = 4 * (other - one) * (other + slope * one) / total**3
        fee = self._most_fee / below
        return fee, -fee * self._steep * near_by_x / below
