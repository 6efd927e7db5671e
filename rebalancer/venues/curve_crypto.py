"""Pool of Curve for coins of different values: state, exact quotes of any swap, and the resulting state.

Supported are three coins with the mathematics of tricrypto and tricrypto2 (`math_version` "v1") and of tricrypto-ng
("ng"), and two coins with those of twocrypto-ng, versions v2.0.0 ("ng") and v2.1.0 ("ng-v2.1.0"). The state has A,
gamma, a price scale for every coin except the first, and a fee that rises from `mid_fee_e10` to `out_fee_e10` as the
pool leaves its balance. `quote_in` is the payment of `exchange`. Pools of 2023 revert if the value of their shares does
not grow, which `get_dy` does not show: `quote_in` returns 0 for such a swap.

Evidence: 240 swaps of each kind in random states give the same payments, refusals and D as the public sources compiled
by Vyper (tests/vectors/curve.json and curve_ng.json; no compiled pool is published, so no test runs one). newton_D, the
fee and the virtual price at the block of a mainnet snapshot of the first tricrypto match the contract. A snapshot with
a fee or D that contradicts it is rejected. `rebalancer pool snapshot` compares get_dy with the chain before it saves.
Round trips gain nothing, D never falls, quotes rise with the amount.

After a swap, the contract may also move its price scale toward its moving average, if it has earned enough. Snapshots
do not contain that average: `swapped` keeps the scale, so a second swap in the same block is quoted as if the scale had
not moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import ClassVar, NamedTuple

from scipy.optimize import brentq

from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted
from rebalancer.units import E18, PIPS
from rebalancer.venues.curve_cubic import A_MULTIPLIER, cubic_d, cubic_mean, cubic_y
from rebalancer.venues.curve_flow import Curve
from rebalancer.venues.curve_math import MAX_D, MIN_D, Refused, crypto_d, crypto_y, least_in, most_in, reduction_e18
from rebalancer.venues.curve_pool import FEE_ONE, CurvePoolBase
from rebalancer.venues.curve_two import TWO_LIMITS, Limits, two_d, two_mean, two_reduction_e18, two_y
from rebalancer.venues.model import (
    MAX_AMOUNT_RAW,
    address_key,
    raw_price,
    refs_of,
    traded,
)

__all__ = ["CurveCryptoPool"]

_KINDS = ((3, "v1"), (3, "ng"), (2, "ng"), (2, "ng-v2.1.0"))
"""Number of coins and mathematics: tricrypto, tricrypto-ng, and two versions of twocrypto-ng."""

_MAX_DECIMALS = 18
_LARGEST_SHARE = 100
"""Largest ratio of a scaled balance to D."""

_ROUNDS = 60

_WITHDRAWALS = 100
"""Number of consecutive withdrawals without a swap whose rounding of D is tolerated."""


class _Swap(NamedTuple):
    """Result of `exchange`: raw output, and the new D and share price. `reverts`: the output would be negative, or the
    value of shares would not grow."""

    out_raw: int
    d: int
    virtual_price_e18: int = 0
    reverts: bool = False


@dataclass(frozen=True)
class CurveCryptoPool(CurvePoolBase):
    """One state of one pool; implements `PoolState`.

    `balances` are raw, in the pool's order of `tokens`. `price_scale_e18` are the prices of the other coins in the
    first one. `a_coefficient` is A times 27 (two coins: 4) times `a_multiplier`. `gamma` and `fee_gamma` are of 1e18,
    fees of 1e10, `d` has 18 decimals. `virtual_price_e18` is the share price at the pool's last update, and
    `total_supply` the number of shares: both only of pools of 2023, 0 if unknown. While `is_ramping`, A and gamma
    change with time.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    IS_UNSIGNED: ClassVar[bool] = True
    KEYS: ClassVar[Mapping[str, str]] = {
        "price_scale_e18": "price_scale",
        "mid_fee_e10": "mid_fee",
        "out_fee_e10": "out_fee",
        "virtual_price_e18": "virtual_price",
    }

    a_coefficient: int
    gamma: int
    d: int
    price_scale_e18: tuple[int, ...]
    mid_fee_e10: int
    out_fee_e10: int
    fee_gamma: int
    a_multiplier: int = 1
    math_version: str = "v1"
    virtual_price_e18: int = 0
    total_supply: int = 0
    is_ramping: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        count = len(self.tokens)
        if (count, self.math_version) not in _KINDS:
            raise BadPoolSnapshot(
                f"math_version {self.math_version!r} of {count} coins is not one of "
                + ", ".join(f"{version} of {coins}" for coins, version in _KINDS)
            )
        if len({token.address for token in self.tokens}) != count:
            raise BadPoolSnapshot("coins must be different")
        if len(self.balances) != count or len(self.price_scale_e18) != count - 1:
            raise BadPoolSnapshot("there must be one balance per coin, and one price less")
        if any(token.decimals > _MAX_DECIMALS for token in self.tokens):
            raise BadPoolSnapshot(f"a coin has more than {_MAX_DECIMALS} decimals")
        if min(self.balances) < 0 or min(self.price_scale_e18) <= 0 or self.d < 0:
            raise BadPoolSnapshot("balances and d must be 0 or more, and prices above 0")
        if min(self.a_coefficient, self.a_multiplier, self.gamma) <= 0 or self.fee_gamma < 0:
            raise BadPoolSnapshot("a_coefficient, a_multiplier and gamma must be above 0")
        if self._is_ng and self.a_multiplier != A_MULTIPLIER:
            raise BadPoolSnapshot(f"a_multiplier of such a pool must be {A_MULTIPLIER}")
        if min(self.virtual_price_e18, self.total_supply) < 0:
            raise BadPoolSnapshot("virtual_price and total_supply must be 0 or more")
        if not 0 <= self.mid_fee_e10 <= self.out_fee_e10 < FEE_ONE:
            raise BadPoolSnapshot(
                f"fees {self.mid_fee_e10} and {self.out_fee_e10} are not in ascending order below 10^10"
            )

    @property
    def fee_pips(self) -> int:
        """Minimum fee on the output, in millionths, rounded down."""
        return self.mid_fee_e10 * PIPS // FEE_ONE

    @property
    def fee_e10(self) -> int:
        """Current fee, as fee() of the contract.

        Raises:
            BadPoolSnapshot: the pool is empty.
        """
        if sum(self._xp) == 0:
            raise BadPoolSnapshot("an empty pool has no fee")
        return self._fee(self._xp)

    def get_dy(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """Result of the pool's view get_dy; 0 if it reverts.

        Raises:
            BadAmount, UnknownToken: as `quote_in`.
        """
        i, j = self._trade(token_in, token_out, amount_raw)
        try:
            return max(self._sold(i, j, amount_raw)[0], 0) if self.d else 0
        except (Refused, ZeroDivisionError):
            return 0

    @property
    def moves(self) -> bool:
        """Whether the state changes without a log: while A or gamma change."""
        return self.is_ramping

    @cached_property
    def fresh_d(self) -> int:
        """D computed by the contract's method from the balances, regardless of the stored D; 0 if they are out of its
        range."""
        try:
            return self._invariant(self._xp)
        except (Refused, ZeroDivisionError):
            return 0

    @property
    def d_slack(self) -> int:
        """Maximum distance of the contract's stored D from `fresh_d`.

        Newton's method ends at steps below a part of 10^14. Withdrawals reduce D in proportion, and round their amounts
        by a unit of each coin.
        """
        units = sum(self._scaled(k, _WITHDRAWALS) for k in range(len(self.tokens)))
        return self.d // 10**12 + max(100, units)

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. The pool has no exact-output swap: this is the least amount whose `quote_in`
        suffices."""
        i, j = self._trade(token_in, token_out, amount_raw)
        xp = list(self._xp)
        xp[j] -= self._scaled(j, amount_raw) * FEE_ONE // (FEE_ONE - self.mid_fee_e10)
        try:
            guess = self._raw(i, max(self._balance(xp, i)[0] - self._xp[i], 0))
            found = least_in(lambda dx: self._exchange(i, j, dx).out_raw, amount_raw, guess)
            if self._exchange(i, j, found).out_raw >= amount_raw:
                return found
        except (Refused, ZeroDivisionError):
            pass
        most = self._most_in(i, j)
        possible = self._exchange(i, j, most).out_raw if most else 0
        raise LiquidityExhausted(self.address, self.tokens[j].address, amount_raw, possible)

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, CurveCryptoPool]:
        """See `Pool.swapped`. D grows by the fee, and the price scale does not change."""
        i, j, swap = self._swap(token_in, token_out, amount_raw)
        if swap.reverts:
            return 0, self
        balances = traded(self.balances, i, amount_raw, j, swap.out_raw)
        price = swap.virtual_price_e18
        after = replace(self, balances=balances, d=swap.d, virtual_price_e18=price)
        return swap.out_raw, after

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`. Exact for the stored D; 0 if the pool is empty."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if self._is_empty:
            return Fraction(0)
        x = [Fraction(value) for value in self._xp]
        d, gamma = Fraction(self.d), Fraction(self.gamma, E18)
        k = math.prod((len(x) * one / d for one in x), start=Fraction(1))
        off = gamma + 1 - k
        weight = Fraction(self.a_coefficient, self.a_multiplier) * k * gamma**2 / off**2
        pull = 1 + (weight / k + 2 * weight / off) * (sum(x) / d - 1)
        slope = (weight / d + pull * k / x[i]) / (weight / d + pull * k / x[j])
        return slope * self._scales[i] / self._scales[j]

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`: the amount with the largest yield above `marginal` per unit.

        The fee falls while a swap balances the pool, so the marginal output may first rise. Then nothing flows until
        the whole rising part pays.
        """
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if self._is_empty:
            return 0, 0
        if marginal <= 0:
            most = self._most_in(i, j)
            return most, self._exchange(i, j, most).out_raw if most else 0
        curve = self._curve(i, j)
        x, out = curve.flow(marginal * self._scales_f[j] / self._scales_f[i])
        return int((x - curve.x0) / self._scales_f[i]), int(out / self._scales_f[j])

    def first_unit(self, token_in: str, token_out: str) -> float:
        """Approximate output of the first raw unit after the fee: `spot_price` less the fee, in floats. 0 if the pool
        is empty."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if self._is_empty:
            return 0.0
        curve = self._curve(i, j)
        slope = curve.most_marginal / (1 - self.mid_fee_e10 / FEE_ONE)
        return slope * (1 - self.fee_e10 / FEE_ONE) * self._scales_f[i] / self._scales_f[j]

    def most_per_unit(self, token_in: str, token_out: str) -> float:
        """Upper bound of the output per raw input unit after the fee, in floats. 0 if the pool is empty."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        if self._is_empty:
            return 0.0
        return self._curve(i, j).most_marginal * self._scales_f[i] / self._scales_f[j]

    @property
    def kind(self) -> str:
        """See `PoolState.kind`."""
        name = "twocrypto" if len(self.tokens) == 2 else "tricrypto"
        return f"Curve {name}" if self.math_version == "v1" else f"Curve {name}-ng"

    def at_prices(self, prices_e8: Sequence[int]) -> CurveCryptoPool:
        """See `Pool.at_prices`.

        The price scale moves with the prices; scaled balances, and so D and the fee, stay. The share price is reset,
        because it belongs to other prices.
        """
        balances, scales = list(self.balances), list(self.price_scale_e18)
        for k, token in enumerate(self.tokens[1:], start=1):
            inside = self.spot_price(token.address, self.tokens[0].address)
            outside = raw_price(token, self.tokens[0], prices_e8[k], prices_e8[0])
            grown = outside / inside
            scales[k - 1] = int(scales[k - 1] * grown)
            balances[k] = int(balances[k] / grown)
        return replace(self, balances=tuple(balances), price_scale_e18=tuple(scales), virtual_price_e18=0)

    @cached_property
    def _precisions(self) -> tuple[int, ...]:
        return tuple(10 ** (_MAX_DECIMALS - token.decimals) for token in self.tokens)

    @cached_property
    def _scales(self) -> tuple[Fraction, ...]:
        """Scaled units of the first coin per raw unit of each coin."""
        prices = (E18, *self.price_scale_e18)
        return tuple(
            Fraction(precision * price, E18) for precision, price in zip(self._precisions, prices, strict=True)
        )

    @cached_property
    def _scales_f(self) -> tuple[float, ...]:
        return tuple(map(float, self._scales))

    @cached_property
    def _xp(self) -> tuple[int, ...]:
        """Balances scaled to the value of the first coin (xp)."""
        return tuple(self._scaled(k, balance) for k, balance in enumerate(self.balances))

    @cached_property
    def _curves(self) -> dict[tuple[int, int], _Curve]:
        return {}

    @cached_property
    def _mosts(self) -> dict[tuple[int, int], int]:
        return {}

    @property
    def _is_empty(self) -> bool:
        return self.d == 0 or 0 in self._xp

    def _scale(self, k: int) -> float:
        return self._scales_f[k]

    def _curve(self, i: int, j: int) -> _Curve:
        """The curve of a direction, created once per state."""
        if (i, j) not in self._curves:
            self._curves[i, j] = _Curve(self, i, j)
        return self._curves[i, j]

    @property
    def _is_ng(self) -> bool:
        return self.math_version != "v1"

    @property
    def _two_limits(self) -> Limits | None:
        return TWO_LIMITS[self.math_version] if len(self.tokens) == 2 else None

    def _balance(self, xp: Sequence[int], j: int) -> tuple[int, int]:
        """Balance of coin j at which the invariant holds, and the starting value for D after it."""
        if limits := self._two_limits:
            return two_y(xp, self.a_coefficient, self.gamma, self.d, j, limits)
        if self._is_ng:
            return cubic_y(xp, self.a_coefficient, self.gamma, self.d, j)
        return crypto_y(xp, self.a_coefficient, self.a_multiplier, self.gamma, self.d, j), 0

    def _invariant(self, xp: Sequence[int], k0: int = 0) -> int:
        if limits := self._two_limits:
            return two_d(xp, self.a_coefficient, self.gamma, limits, k0)
        if self._is_ng:
            return cubic_d(xp, self.a_coefficient, self.gamma, k0)
        return crypto_d(xp, self.a_coefficient, self.a_multiplier, self.gamma)

    @property
    def _shares(self) -> tuple[float, float]:
        """Least and largest ratio of a scaled balance to D."""
        if limits := self._two_limits:
            least, most = limits.shares(self.gamma)
            return least / (2 * E18), most / (2 * E18)
        return 1 / _LARGEST_SHARE, float(_LARGEST_SHARE)

    def _scaled(self, k: int, raw: int) -> int:
        precise = raw * self._precisions[k]
        return precise * self.price_scale_e18[k - 1] // E18 if k else precise

    def _raw(self, k: int, scaled: int) -> int:
        if k:
            scaled = scaled * E18 // self.price_scale_e18[k - 1]
        return scaled // self._precisions[k]

    def _fee(self, xp: tuple[int, ...] | list[int]) -> int:
        near = (two_reduction_e18 if len(xp) == 2 else reduction_e18)(xp, self.fee_gamma)
        return (self.mid_fee_e10 * near + self.out_fee_e10 * (E18 - near)) // E18

    def _swap(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, int, _Swap]:
        i, j = self._trade(token_in, token_out, amount_raw)
        try:
            return i, j, self._exchange(i, j, amount_raw)
        except Refused:
            most = self._most_in(i, j)
            raise LiquidityExhausted(
                self.address, self.tokens[i].address, amount_raw, min(most, amount_raw - 1)
            ) from None

    def _most_in(self, i: int, j: int) -> int:
        """Largest input before a balance is too far from D; 0 if the pool refuses every swap."""
        if self._is_empty:
            return 0
        if (i, j) not in self._mosts:
            beyond = min(self._raw(i, _LARGEST_SHARE * self.d) + 2, MAX_AMOUNT_RAW)
            curve = self._curve(i, j)
            guess = int((curve.furthest - curve.x0) / self._scales_f[i])
            self._mosts[i, j] = most_in(lambda dx: self._exchange(i, j, dx), beyond, guess)
        return self._mosts[i, j]

    def _exchange(self, i: int, j: int, amount_raw: int) -> _Swap:
        """CurveCryptoSwap.exchange without a minimum output, and tweak_price as far as D.

        Raises:
            Refused: it reverts, because the pool has not enough left.
        """
        if self._is_empty:
            raise Refused
        out, xp, k0 = self._sold(i, j, amount_raw)
        if out < 0:
            return _Swap(0, self.d, self.virtual_price_e18, reverts=True)
        xp[j] = self._scaled(j, self.balances[j] - out)
        d = self._invariant(xp, k0)
        price = self._virtual_price_e18(d) if self._is_ng and self.total_supply else 0
        is_loss = price <= self.virtual_price_e18 and not self.is_ramping
        if price and (is_loss or 2 * price < E18):
            return _Swap(0, self.d, self.virtual_price_e18, reverts=True)
        return _Swap(out, d, price)

    def _sold(self, i: int, j: int, amount_raw: int) -> tuple[int, list[int], int]:
        """Output (negative if less than nothing comes out), scaled balances before the fee, and the starting value for
        D."""
        xp = list(self._xp)
        xp[i] = self._scaled(i, self.balances[i] + amount_raw)
        y, k0 = self._balance(xp, j)
        gross = xp[j] - y - 1
        if gross < 0:
            return -1, xp, k0
        xp[j] = y
        out = self._raw(j, gross)
        return out - self._fee(xp) * out // FEE_ONE, xp, k0

    def _virtual_price_e18(self, d: int) -> int:
        """Value of a share at this D, for `total_supply` shares."""
        if not MIN_D <= d <= MAX_D:
            raise Refused
        count = len(self.tokens)
        fair = [d // count] + [d * E18 // (count * price) for price in self.price_scale_e18]
        return E18 * (two_mean if count == 2 else cubic_mean)(fair) // self.total_supply


class _Curve(Curve):
    """y as a function of x with the other coins fixed, in floats of scaled units."""

    def __init__(self, pool: CurveCryptoPool, i: int, j: int) -> None:
        fixed = [float(x) for k, x in enumerate(pool._xp) if k not in (i, j)]
        self._d, self._fixed = float(pool.d), sum(fixed)
        self._least, self._most = (share * self._d for share in pool._shares)
        self._count = len(pool._xp)
        # K0 = this * (x / D) * (y / D).
        self._others = self._count**2 * math.prod(self._count * x / self._d for x in fixed)
        self._ann = pool.a_coefficient / pool.a_multiplier
        self._gamma = pool.gamma / E18
        self._mid, self._out_fee = pool.mid_fee_e10 / FEE_ONE, pool.out_fee_e10 / FEE_ONE
        self._fee_gamma = pool.fee_gamma / E18
        self.x0, self.y0 = float(pool._xp[i]), float(pool._xp[j])
        self._near = self.x0, self.y0
        _, by_x, by_y = self._forces(self.x0, self.y0)
        self.most_marginal = by_x / by_y * self.y0 / self.x0 * (1 - self._mid)

    @cached_property
    def furthest(self) -> float:
        """Largest x at which the contract accepts the distances of x and y from D."""
        least, high = self._least, self._most
        if self._y(high) >= least:
            return high
        if self.y0 <= least:
            return self.x0
        return float(brentq(lambda x: math.log(self._y(x) / least), self.x0, high, rtol=1e-13))

    def out(self, x: float) -> float:
        """See `Curve.out`."""
        y = self._y(x)
        return (self.y0 - y) * (1 - self._fee(x, y)[0])

    def _forces(self, x: float, y: float) -> tuple[float, float, float]:
        """(F, x dF/dx, y dF/dy) of the invariant F = a(k) (S / D - 1) + k - 1, where k is K0."""
        d = self._d
        k = self._others * (x / d) * (y / d)
        off = self._gamma + 1 - k
        part = self._gamma / off
        weight = self._ann * k * part * part
        over = (x + y + self._fixed) / d - 1
        pull = weight * (1 + 2 * k / off) * over + k
        return weight * over + k - 1, weight * x / d + pull, weight * y / d + pull

    def _y(self, x: float) -> float:
        """The root of F by Newton's method from the last point, within bounds that contain it.

        Where S = D, F is below 0. Where k = 1, S is at least D and F is at least 0. F rises in between.
        """
        d, ann, gamma = self._d, self._ann, self._gamma
        low = max(d - x - self._fixed, 0.0)
        high = d / self._others * (d / x)
        y = self._near[1] * self._near[0] / x
        k_by_y, beside = self._others * (x / d) / d, (x + self._fixed) / d - 1
        for _ in range(_ROUNDS):
            if not low < y < high:
                y = (low + high) / 2
            # Inlined `_forces`, because the call would take twice as long.
            k = k_by_y * y
            off = gamma + 1 - k
            weight = ann * k * (gamma / off) ** 2
            over = beside + y / d
            force = weight * over + k - 1
            slope = weight * y / d + weight * (1 + 2 * k / off) * over + k
            if force < 0:
                low = y
            else:
                high = y
            step = y * force / slope if slope > 0 else 0.0
            # Bisection replaces a step of zero, or one that leaves the bounds.
            after = y - step
            if not low <= after <= high or step == 0:
                after = y if force == 0 else (low + high) / 2
            if abs(after - y) <= 1e-15 * y:
                break
            y = after
        self._near = x, y
        return y

    def _fee(self, x: float, y: float) -> tuple[float, float, float]:
        """The fee, the distance from balance (1: balanced), and the product over the mean it is computed from."""
        total = x + y + self._fixed
        k = self._others * (x / total) * (y / total) * (self._d / total) ** (self._count - 2)
        near = self._fee_gamma / (self._fee_gamma + 1 - k) if self._fee_gamma else k
        return self._mid * near + self._out_fee * (1 - near), near, k

    def marginal(self, x: float) -> float:
        """See `Curve.marginal`."""
        return self.at(x)[1]

    def at(self, x: float) -> tuple[float, float]:
        """(output, marginal output) at x."""
        y = self._y(x)
        _, by_x, by_y = self._forces(x, y)
        slope = by_x / by_y * y / x
        fee, near, k = self._fee(x, y)
        total = x + y + self._fixed
        k_by_x = k * (1 / x - slope / y - self._count * (1 - slope) / total)
        near_by_x = near * near / self._fee_gamma * k_by_x if self._fee_gamma else k_by_x
        gross, fee_by_x = self.y0 - y, (self._mid - self._out_fee) * near_by_x
        return gross * (1 - fee), (1 - fee) * slope - gross * fee_by_x
