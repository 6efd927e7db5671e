"""How is one sale best divided over pools, directly and through one other token?

The best split of a sale gives every path that is used the same marginal output: if the last unit
sold on one path bought less than it would on another, it should have gone there. So there is one
price λ (units out for the last unit in) at which each path's flow is known, and the flows rise as
λ falls; the split is where they add up to the amount.

Paths that share a pool are never treated as independent. All pools of one pair are one `bundle`,
whose flow at a price is the sum of its pools'. A sale through a middle token is a bundle into it
followed by a bundle out of it: at λ, the middle token's own price settles where the first yields
what the second takes. Two middle tokens never share a pool, because a pool trades one pair.
Each pool is therefore used at most once, and its exact quote is what the chain will pay.

The prices are floats and only aim. The amounts are ints that add up exactly, and every amount out
is the pool's exact quote. The result is compared with every single path by exact quotes, so it is
never worse than the best of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol

from scipy.optimize import brentq

from rebalancer.errors import LiquidityExhausted, NoRoute
from rebalancer.plan.hop import hop_of
from rebalancer.plan.route import SellHop
from rebalancer.pools import Pool
from rebalancer.pools.model import check_amount
from rebalancer.pools.uniswap_v3_math import PIPS

__all__ = ["Leg", "Split", "best_split", "hops", "pools_after"]

_WORST_FALL = 1e-30
"""Prices are looked for down to this part of the best one; what cannot be sold there cannot be sold."""

_FIRST_FALL = 1 / 256
"""Most sales move a price by less than this; the next guesses are each twice as far."""

_PRICE_TOLERANCE = 1e-12
"""Prices are solved for to this relative precision: a sale near its best split yields the same to
the square of it."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One swap on one pool; amounts are raw and exact as long as nobody else trades there."""

    pool: Pool
    """As the legs before left it."""
    token_in: str
    token_out: str
    amount_in_raw: int
    amount_out_raw: int

    @property
    def pool_after(self) -> Pool:
        """The pool as this leg leaves it."""
        return self.pool.swapped(self.token_in, self.token_out, self.amount_in_raw)[1]


@dataclass(frozen=True, slots=True)
class Split:
    """One sale: its legs in an order in which they can be executed, and what it yields."""

    token_in: str
    token_out: str
    amount_in_raw: int
    amount_out_raw: int
    legs: tuple[Leg, ...]


def best_split(
    pools: Sequence[Pool],
    token_in: str,
    token_out: str,
    amount_in_raw: int,
    *,
    gas_cost_out_raw: int = 0,
) -> Split:
    """The split of `amount_in_raw` that yields most, after `gas_cost_out_raw` for each leg.

    Only direct paths and paths through one other token are considered. Legs that do not earn
    their gas are left out, the least first.

    Raises:
        BadAmount: `amount_in_raw` is not in 1 … 2^255 - 1.
        NoRoute: no pools lead from one token to the other, or they cannot take that much.
    """
    check_amount(amount_in_raw)
    token_in, token_out = token_in.lower(), token_out.lower()
    paths = _single_paths(pools, token_in, token_out)
    candidates = paths if len(paths) == 1 else [tuple(pools), *paths]
    found = [
        split
        for candidate in candidates
        if (split := _fill(candidate, token_in, token_out, amount_in_raw)) is not None
    ]
    if not found:
        raise NoRoute(token_in, token_out, amount_in_raw)

    def net(split: Split) -> int:
        return split.amount_out_raw - gas_cost_out_raw * len(split.legs)

    best = max(found, key=net)
    while gas_cost_out_raw:
        smaller = max(_with_a_leg_less(best), key=net, default=best)
        if net(smaller) <= net(best):
            break
        best = smaller
    return best


def pools_after(pools: Sequence[Pool], legs: Sequence[Leg]) -> tuple[Pool, ...]:
    """The pools once these legs have traded on them."""
    traded = {leg.pool.key: leg.pool_after for leg in legs}
    return tuple(traded.get(pool.key, pool) for pool in pools)


def hops(splits: Sequence[Split]) -> list[SellHop]:
    """Sales one after another as the executor makes them, every result sent on at once.

    Of all hops that sell a token, the last sells all that is left of it, so that the route also
    holds when a little more or less has arrived than was planned. A token that is only passed
    through is used up within its own sale.
    """
    sold = {split.token_in for split in splits}
    found: list[SellHop] = []
    last: dict[tuple[int, str], int] = {}
    for number, split in enumerate(splits):
        for leg in split.legs:
            last[-1 if leg.token_in in sold else number, leg.token_in] = len(found)
            found.append(
                hop_of(
                    leg.pool,
                    leg.token_in,
                    leg.token_out,
                    leg.amount_in_raw,
                    to_caller=leg.token_out == split.token_out,
                )
            )
    for at in last.values():
        found[at] = replace(found[at], amount_in_raw=0)
    return found


def _with_a_leg_less(split: Split) -> list[Split]:
    """The best splits over all but one of the pools that this one uses."""
    pools = [leg.pool for leg in split.legs]
    rest = ([other for other in pools if other is not pool] for pool in pools)
    smaller = (_fill(some, split.token_in, split.token_out, split.amount_in_raw) for some in rest)
    return [found for found in smaller if found is not None]


def _single_paths(pools: Sequence[Pool], token_in: str, token_out: str) -> list[tuple[Pool, ...]]:
    """Every pool of the pair alone, and every two pools that meet in another token."""
    direct, through = _by_middle(pools, token_in, token_out)
    paths: list[tuple[Pool, ...]] = [(pool,) for pool in direct]
    for firsts, seconds in through.values():
        paths += product(firsts, seconds)
    return paths


def _fill(pools: Sequence[Pool], token_in: str, token_out: str, amount_in_raw: int) -> Split | None:
    """The best split over all of these pools, gas aside; None if they cannot make the sale."""
    direct, through = _by_middle(pools, token_in, token_out)
    branches: list[_Branch] = [_Direct(pool, token_in, token_out) for pool in direct]
    branches += [
        _Through(
            _Bundle([_Direct(pool, token_in, middle) for pool in firsts]),
            _Bundle([_Direct(pool, middle, token_out) for pool in seconds]),
        )
        for middle, (firsts, seconds) in through.items()
    ]
    if not branches:
        return None
    try:
        legs = _Bundle(branches).fill(amount_in_raw)
    except (LiquidityExhausted, _Exhausted):
        return None
    out = sum(leg.amount_out_raw for leg in legs if leg.token_out == token_out)
    return Split(token_in, token_out, amount_in_raw, out, tuple(legs))


def _by_middle(
    pools: Sequence[Pool], token_in: str, token_out: str
) -> tuple[list[Pool], dict[str, tuple[list[Pool], list[Pool]]]]:
    """Pools of the pair, and for each middle token the pools into it and out of it.

    Pools of more than two tokens are used for the pair alone, so that none is used twice.
    """
    direct: list[Pool] = []
    through: dict[str, tuple[list[Pool], list[Pool]]] = {}
    for pool in pools:
        traded = {token.address for token in pool.tokens}
        if {token_in, token_out} <= traded:
            direct.append(pool)
        elif len(traded) > 2:
            continue
        elif token_in in traded:
            (middle,) = traded - {token_in}
            through.setdefault(middle, ([], []))[0].append(pool)
        elif token_out in traded:
            (middle,) = traded - {token_out}
            through.setdefault(middle, ([], []))[1].append(pool)
    whole = {middle: ways for middle, ways in through.items() if ways[0] and ways[1]}
    return direct, whole


class _Branch(Protocol):
    """One of the ways that an amount can be divided over."""

    best: float
    """Units out for the first unit in: no flow at this price or above."""

    def flow(self, marginal: float) -> tuple[int, int]:
        """Raw (in, out) of trading until a unit in yields `marginal` units out."""

    def fill(self, amount_in_raw: int) -> list[Leg]:
        """The legs of trading exactly that much.

        Raises:
            LiquidityExhausted, _Exhausted: it cannot be done.
        """


class _Direct:
    """One pool, in one direction."""

    def __init__(self, pool: Pool, token_in: str, token_out: str) -> None:
        self.pool, self.token_in, self.token_out = pool, token_in, token_out
        self.best = float(pool.spot_price(token_in, token_out)) * (1 - pool.fee_pips / PIPS)

    def flow(self, marginal: float) -> tuple[int, int]:
        return self.pool.flow_to(self.token_in, self.token_out, marginal)

    def fill(self, amount_in_raw: int) -> list[Leg]:
        out = self.pool.quote_in(self.token_in, self.token_out, amount_in_raw)
        return [Leg(self.pool, self.token_in, self.token_out, amount_in_raw, out)]

    def least_for_the_same(self, amount_in_raw: int) -> int:
        """The least amount in that yields as much: the rest would buy no whole unit more."""
        out = self.pool.quote_in(self.token_in, self.token_out, amount_in_raw)
        if out == 0:
            return 0
        return min(amount_in_raw, self.pool.quote_out(self.token_in, self.token_out, out))


class _Bundle:
    """Ways side by side from one token to another; at one price all of them flow at once."""

    def __init__(self, branches: Sequence[_Branch]) -> None:
        self.branches = branches
        self.best = max((branch.best for branch in branches), default=0.0)

    def flow(self, marginal: float) -> tuple[int, int]:
        flows = [branch.flow(marginal) for branch in self.branches]
        return sum(flow[0] for flow in flows), sum(flow[1] for flow in flows)

    def fill(self, amount_in_raw: int) -> list[Leg]:
        shares = self._shares(amount_in_raw)
        largest = max(range(len(shares)), key=shares.__getitem__)
        for i, branch in enumerate(self.branches):
            if i != largest and shares[i] and isinstance(branch, _Direct):
                shares[i] = branch.least_for_the_same(shares[i])
        # What no share can turn into a whole unit out is the largest one's, with the rounding.
        shares[largest] += amount_in_raw - sum(shares)
        legs: list[Leg] = []
        for branch, share in zip(self.branches, shares, strict=True):
            if share:
                legs += branch.fill(share)
        return legs

    def _shares(self, amount_in_raw: int) -> list[int]:
        """Raw amounts in of the branches at the one price where they add up; never above in sum.

        Raises:
            _Exhausted: they do not add up to it at any price.
        """
        if len(self.branches) == 1:
            return [amount_in_raw]
        low, high = self._around(amount_in_raw)
        more = [branch.flow(low)[0] for branch in self.branches]
        less = [branch.flow(high)[0] for branch in self.branches]
        spread = sum(more) - sum(less)
        if spread <= 0:
            return less
        # Between the two prices every flow is straight, as near as floats can tell.
        part = amount_in_raw - sum(less)
        return [a + (b - a) * part // spread for a, b in zip(less, more, strict=True)]

    def _around(self, amount_in_raw: int) -> tuple[float, float]:
        """Two prices close together: at the lower one at least the amount flows, at the higher no more.

        Raises:
            _Exhausted: less flows even at the worst price.
        """
        low = high = self.best
        fall = _FIRST_FALL
        while self.flow(low)[0] < amount_in_raw:
            if low < self.best * _WORST_FALL:
                raise _Exhausted
            low, high = low * (1 - fall), low
            fall = min(2 * fall, 0.5)
        if low == high:
            return low, high

        root = _root(lambda price: self.flow(price)[0] - amount_in_raw, low, high)
        width = _PRICE_TOLERANCE
        while True:
            width *= 8
            below, above = max(low, root * (1 - width)), min(high, root * (1 + width))
            if self.flow(below)[0] >= amount_in_raw >= self.flow(above)[0]:
                return below, above


class _Through:
    """A bundle into a middle token, then a bundle out of it."""

    def __init__(self, first: _Bundle, second: _Bundle) -> None:
        self.first, self.second = first, second
        self.best = first.best * second.best

    def flow(self, marginal: float) -> tuple[int, int]:
        """The middle token's price settles where the first bundle yields what the second takes."""
        low, high = marginal / self.first.best, self.second.best
        if low >= high:
            return 0, 0

        def surplus(price: float) -> int:
            return self.first.flow(marginal / price)[1] - self.second.flow(price)[0]

        if surplus(low) >= 0 or surplus(high) <= 0:
            return 0, 0  # liquidity begins only at worse prices than these
        middle = _root(surplus, low, high)
        return self.first.flow(marginal / middle)[0], self.second.flow(middle)[1]

    def fill(self, amount_in_raw: int) -> list[Leg]:
        legs = self.first.fill(amount_in_raw)
        middle_raw = sum(leg.amount_out_raw for leg in legs)
        return legs + self.second.fill(middle_raw) if middle_raw else legs


def _root(function: Callable[[float], int], low: float, high: float) -> float:
    """Where a monotone function changes its sign between the two prices."""
    near = low * _PRICE_TOLERANCE
    return brentq(lambda price: float(function(price)), low, high, xtol=near, rtol=_PRICE_TOLERANCE)


class _Exhausted(Exception):  # noqa: N818 - it is a noun, as all of ours are
    """More than a bundle can trade at any price; never leaves this module."""
