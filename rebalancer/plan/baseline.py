"""Baseline of the planner: single-route trades, one after another. A plan is never worth less.

Pure. Candidates are all pairs of a surplus and a deficit, all routes of one pool or two consecutive pools, and a few
sizes. The trade with the largest gain after gas within all limits is made; then the next one, at the prices that the
earlier trades leave, each pair once, while the gain grows. No token returns to where it was sold. Exact quotes decide,
but only candidates that could win are quoted. Upper bounds of a pool's output are the spot price less the fee, and the
pool's curve (`Market.most_out`) while the pool is untouched. The search ends when all pairs together could not gain
what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.market import Market
from rebalancer.plan.order import makes_circle
from rebalancer.plan.problem import Problem
from rebalancer.plan.swap import Swap
from rebalancer.units import E18
from rebalancer.venues import Pool

__all__ = ["Gathered", "SingleRoutes"]

_PARTS = (1, 2, 4, 8, 16, 32, 64)
"""Divisors of a pair's maximum amount that are tried, until a smaller part gains less."""

_GENEROUS = 1 + 1e-9
"""Safety factor of upper bounds, because spot prices are floats."""


_Middle = tuple[float, str, list[tuple[float, int]], list[tuple[float, int]]]
"""Maximum output per unit through a token, the token, and the pools to it and from it."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Swaps in order, the amounts they sell and buy (raw, in basket order), and the objective less their gas."""

    swaps: tuple[Swap, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]
    net_e18: int


class SingleRoutes:
    """Simulates trades one route after another, and keeps the pool states they leave."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._numbers = {pool.key: number for number, pool in enumerate(market.pools)}
        self._after: dict[int, Pool] = {}
        self._quotes: dict[int, dict[tuple[str, str, int], int]] = {}
        self.swaps: list[Swap] = []
        self.quotes = 0
        """Number of quotes computed."""
        self.was_capped = False
        """Whether a trade would have bought more than needed: only then can `fitting` find other trades."""
        self._edges = dict(market.edges)
        self._middles: dict[tuple[str, str, bool], list[_Middle]] = {}
        self._rates = np.zeros((len(market.tokens), len(market.tokens)))
        for sold, outs in self._edges.items():
            for bought, edges in outs.items():
                self._rates[market.index[sold], market.index[bought]] = edges[0][0]

    def trade(
        self,
        problem: Problem,
        sales_raw: Sequence[int],
        needs_raw: Sequence[int],
        begun: Gathered | None = None,
        *,
        fitting: bool = False,
        beat_e18: int | None = None,
    ) -> list[Gathered]:
        """States after each trade, selling and buying at most these amounts. Each state is worth more than the one
        before.

        `begun` is the starting state. `fitting`: a trade that would buy too much is reduced to buy just enough, instead
        of to the next smaller part. With `beat_e18`, the search ends when the remaining trades could not bring the
        total above it.
        """
        chances = _Chances.of(problem, self._market, sales_raw, needs_raw)
        if any(len(pool.tokens) > 2 for pool in self._market.pools):
            beat_e18 = None  # a trade may make another pair of its pool better
        nothing = (0,) * len(problem.tokens)
        found: list[Gathered] = []
        # The first trade need not cover its gas: the caller judges the total.
        last = begun or Gathered((), nothing, nothing, -2 * problem.hop_cost_e18)
        self.take(last.swaps)
        while True:
            left = tuple(map(int.__sub__, sales_raw, last.sales_raw))
            lacks = tuple(map(int.__sub__, needs_raw, last.buys_raw))
            most, in_all = chances.most_gained(problem, self._rates, left, lacks, last)
            best, used = last, None
            before_e18 = last.net_e18 if last.swaps else 0
            if beat_e18 is not None and before_e18 + in_all * E18 < beat_e18:
                return found
            for pair in sorted(most, key=most.__getitem__, reverse=True):
                if most[pair] * E18 <= best.net_e18 - before_e18:
                    break
                room = left[pair[0]], lacks[pair[1]]
                more = self._traded(problem, pair, room, last, best, fitting=fitting)
                if more is not best:
                    best, used = more, pair
            if used is None:
                return found
            chances.close(*used)
            self.take(best.swaps[len(last.swaps) :])
            last = best
            found.append(last)

    def _traded(
        self,
        problem: Problem,
        pair: tuple[int, int],
        most_raw: tuple[int, int],
        last: Gathered,
        best: Gathered,
        *,
        fitting: bool,
    ) -> Gathered:
        """The state with the best trade of a pair, if it is worth more than `best`; otherwise `best`."""
        (i, j), (to_sell, to_buy) = pair, most_raw
        token_in, token_out = problem.tokens[i], problem.tokens[j]
        # {raw i} = {raw j} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
        over = to_buy * problem.prices_e18[j] * 10 ** problem.decimals[i]
        most = min(to_sell, over // (10 ** problem.decimals[j] * problem.prices_e18[i]))
        if problem.sold_max_e18 is not None:
            spent_e18, _ = problem.values_e18(last.sales_raw, last.buys_raw)
            room_e18 = max(0, problem.sold_max_e18 - spent_e18 - 1)
            most = min(most, room_e18 * 10 ** problem.decimals[i] // problem.hi_e18[i])
        cap = None if fitting else to_buy
        for edge, swaps in ((self._direct, 1), (self._through, 2)):
            for part in _PARTS:
                amount = most // part
                least = min(_least_out(problem, pair, amount, last, best, swaps), to_buy)
                route = edge(token_in, token_out, amount, self.swaps, least, cap)
                while route and route[-1].amount_out_raw > to_buy:
                    self.was_capped = True
                    amount = min(amount - 1, amount * to_buy // route[-1].amount_out_raw)
                    route = edge(token_in, token_out, amount, self.swaps)
                if not route:
                    continue
                more = _with(problem, last, pair, route)
                if more.net_e18 > best.net_e18 and problem.allows(more.sales_raw, more.buys_raw):
                    best = more
        return best

    def best(self, token_in: str, token_out: str, amount_raw: int) -> list[Swap]:
        """The one or two swaps that pay most for the whole amount; empty if no route can take it."""
        edges = (edge(token_in, token_out, amount_raw) for edge in (self._direct, self._through))
        return max(edges, key=lambda route: route[-1].amount_out_raw if route else 0)

    def _direct(
        self,
        token_in: str,
        token_out: str,
        amount_raw: int,
        beside: Sequence[Swap] = (),
        least: int = 0,
        most_raw: int | None = None,
    ) -> list[Swap]:
        """The pool of the pair that pays most for the whole amount, more than `least` and at most `most_raw`; empty if
        it would close a circle with the swaps `beside` it."""
        if amount_raw <= 0 or (beside and makes_circle(beside, token_in, token_out)):
            return []
        edges = self._edges.get(token_in, {}).get(token_out, ())
        best = self._best_pool(edges, token_in, token_out, amount_raw, least, most_raw)
        return [best] if best else []

    def _through(
        self,
        token_in: str,
        token_out: str,
        amount_raw: int,
        beside: Sequence[Swap] = (),
        least: int = 0,
        most_raw: int | None = None,
    ) -> list[Swap]:
        """As `_direct`, through two consecutive pools."""
        found: list[Swap] = []
        for most, middle, edges, seconds in self._between(token_in, token_out, beside) if amount_raw > 0 else ():
            if amount_raw * most * _GENEROUS <= least:
                break
            arrives = self._most_out(edges, token_in, middle, amount_raw)
            if self._most_out(seconds, middle, token_out, arrives) <= least:
                continue
            # More of the middle token never buys less. So the first pool is the best one, unless the route uses it as
            # the second.
            first = self._best_pool(edges, token_in, middle, amount_raw, 0)
            if first is None:
                continue
            number = self._numbers[first.pool.key]
            others = [edge for edge in seconds if edge[1] != number]
            tried = [(first, others)]
            again = [edge for edge in seconds if edge[1] == number]
            if again:
                rest = [edge for edge in edges if edge[1] != number]
                other = self._best_pool(rest, token_in, middle, amount_raw, 0)
                tried += [(other, again)] if other else []
            for first, ends in tried:
                second = self._best_pool(ends, middle, token_out, first.amount_out_raw, least, most_raw)
                if second is not None:
                    found, least = [first, second], second.amount_out_raw
        return found

    def _between(self, token_in: str, token_out: str, beside: Sequence[Swap]) -> list[_Middle]:
        """Middle tokens of routes over two pools that close no circle, the highest output first."""
        key = token_in, token_out, bool(beside)
        found = self._middles.get(key)
        if found is None:
            found = []
            if not beside or not makes_circle(beside, token_in, token_out):
                for middle, edges in self._edges.get(token_in, {}).items():
                    seconds = self._edges[middle].get(token_out)
                    if middle == token_out or not seconds:
                        continue
                    if not _circles(beside, token_in, middle, token_out):
                        found.append((edges[0][0] * seconds[0][0], middle, edges, seconds))
            self._middles[key] = found = sorted(found, key=lambda one: (-one[0], one[1]))
        return found

    def _most_out(self, edges: Sequence[tuple[float, int]], token_in: str, token_out: str, amount: float) -> float:
        """Maximum output of these pools for an amount on one of them."""
        best = 0.0
        for most, number in edges:
            if amount * most <= best:
                break
            best = max(best, self._ceiling(most, number, token_in, token_out, amount))
        return best * _GENEROUS

    def _ceiling(self, most: float, number: int, token_in: str, token_out: str, amount: float) -> float:
        """Maximum output of a pool for an amount; `most` is its maximum per unit."""
        if number in self._after:
            return amount * most
        return self._market.most_out(number, token_in, token_out, amount)

    def _best_pool(
        self,
        edges: Sequence[tuple[float, int]],
        token_in: str,
        token_out: str,
        amount_raw: int,
        least: int,
        most_raw: int | None = None,
    ) -> Swap | None:
        """The swap on the pool that pays most, more than `least` and at most `most_raw`."""
        best: Swap | None = None
        tops: list[tuple[float, int]] = []
        for most, number in edges:
            if amount_raw * most * _GENEROUS <= least:
                break
            tops.append((self._ceiling(most, number, token_in, token_out, amount_raw), number))
        for top, number in sorted(tops, reverse=True):
            if top * _GENEROUS <= least:
                break
            out = self._quoted(number, token_in, token_out, amount_raw)
            if most_raw is not None and out > most_raw:
                self.was_capped = True
            elif out > least:
                best, least = Swap(self._pool(number), token_in, token_out, amount_raw, out), out
        return best

    def _quoted(self, number: int, token_in: str, token_out: str, amount_raw: int) -> int:
        """Output of a pool, 0 if it cannot take the amount. Cached until the pool is traded."""
        known = self._quotes.setdefault(number, {})
        key = token_in, token_out, amount_raw
        if key not in known:
            self.quotes += 1
            try:
                known[key] = self._pool(number).quote_in(token_in, token_out, amount_raw)
            except (LiquidityExhausted, BadAmount):
                known[key] = 0
        return known[key]

    def _pool(self, number: int) -> Pool:
        return self._after.get(number, self._market.pools[number])

    def take(self, route: Sequence[Swap]) -> None:
        """Apply these swaps; later quotes use the pool states they leave."""
        for swap in route:
            number = self._numbers[swap.pool.key]
            pool = self._after[number] = swap.pool_after
            self._quotes.pop(number, None)
            self.swaps.append(swap)
            self._middles.clear()
            for sold, bought in permutations((token.address for token in pool.tokens), 2):
                most = pool.most_per_unit(sold, bought)
                others = [edge for edge in self._edges[sold][bought] if edge[1] != number]
                edges = sorted([*others, (most, number)], reverse=True)
                self._edges[sold] = {**self._edges[sold], bought: edges}
                index = self._market.index
                self._rates[index[sold], index[bought]] = edges[0][0]


@dataclass(frozen=True, slots=True)
class _Chances:
    """Pairs of assets to sell and to buy that are not traded yet, with upper bounds of their gains.

    `sells` and `buys` are indices in the basket, `tokens_in` and `tokens_out` the corresponding indices in the market.
    `scale` converts raw output per raw input to USD per USD; `is_open` has a row for each sale and a column for each
    purchase.
    """

    sells: tuple[int, ...]
    buys: tuple[int, ...]
    tokens_in: tuple[int, ...]
    tokens_out: tuple[int, ...]
    scale: NDArray[np.float64]
    is_open: NDArray[np.bool_]

    @staticmethod
    def of(problem: Problem, market: Market, sales_raw: Sequence[int], needs_raw: Sequence[int]) -> _Chances:
        """All pairs of tokens in the market."""
        sells, buys = (
            tuple(i for i, raw in enumerate(amounts) if raw and problem.tokens[i] in market.index)
            for amounts in (sales_raw, needs_raw)
        )
        # {usd/usd} = {raw j/raw i} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
        units_in = [10.0 ** problem.decimals[i] / problem.hi_e18[i] for i in sells]
        units_out = [problem.lo_e18[j] / 10.0 ** problem.decimals[j] for j in buys]
        return _Chances(
            sells,
            buys,
            tuple(market.index[problem.tokens[i]] for i in sells),
            tuple(market.index[problem.tokens[j]] for j in buys),
            np.outer(units_in, units_out),
            np.ones((len(sells), len(buys)), dtype=np.bool_),
        )

    def close(self, i: int, j: int) -> None:
        """Mark a pair as traded."""
        self.is_open[self.sells.index(i), self.buys.index(j)] = False

    def most_gained(
        self, problem: Problem, rates: NDArray[np.float64], left: Sequence[int], lacks: Sequence[int], last: Gathered
    ) -> tuple[dict[tuple[int, int], float], float]:
        """Maximum gain of each pair in USD at spot prices, without pairs that cannot gain; and the maximum of all pairs
        together."""
        if not self.is_open.any():
            return {}, 0.0
        direct = rates[np.ix_(self.tokens_in, self.tokens_out)]
        firsts, seconds = rates[list(self.tokens_in)], rates[:, list(self.tokens_out)]
        through = (firsts[:, :, None] * seconds[None]).max(axis=1)
        least, gas = 1 - problem.worth_e18 / E18, problem.hop_cost_e18 / E18
        gains = np.maximum(direct, through) * self.scale * _GENEROUS - least
        offered = np.array([problem.sold_e18(i, left[i]) / E18 for i in self.sells])
        wanted = np.array([problem.sold_e18(j, lacks[j]) / E18 for j in self.buys])
        room = np.inf
        if problem.sold_max_e18 is not None:
            sold_e18 = problem.values_e18(last.sales_raw, last.buys_raw)[0]
            room = (problem.sold_max_e18 - sold_e18) / E18
        traded = np.minimum(np.minimum.outer(offered, wanted), room)
        most = np.where(self.is_open, gains * traded - gas, -np.inf)
        found = {
            (self.sells[row], self.buys[column]): float(most[row, column])
            for row, column in zip(*(at.tolist() for at in np.nonzero(most > -2 * gas)), strict=True)
        }
        gains = np.where(self.is_open, np.maximum(gains, 0), 0)
        in_all = min(float(offered @ gains.max(axis=1)), float(wanted @ gains.max(axis=0)))
        return found, in_all


def _circles(swaps: Sequence[Swap], token_in: str, middle: str, token_out: str) -> bool:
    return bool(swaps) and (makes_circle(swaps, token_in, middle) or makes_circle(swaps, middle, token_out))


def _least_out(
    problem: Problem, pair: tuple[int, int], amount_raw: int, last: Gathered, best: Gathered, swaps: int
) -> int:
    """Minimum output with which a pair's trade can be worth more than `best`, rounded down a little."""
    i, j = pair
    gained_e18 = best.net_e18 - (last.net_e18 if last.swaps else 0) + swaps * problem.hop_cost_e18
    # {raw j} = {usd} * {raw j/j} / {usd/j}
    cost_e18 = amount_raw * problem.hi_e18[i] // 10 ** problem.decimals[i] * (E18 - problem.worth_e18)
    least_e18 = gained_e18 + cost_e18 // E18
    least = least_e18 * 10 ** problem.decimals[j] // problem.lo_e18[j]
    return max(0, int(least / _GENEROUS) - 1)


def _with(problem: Problem, last: Gathered, pair: tuple[int, int], route: Sequence[Swap]) -> Gathered:
    sales, buys = list(last.sales_raw), list(last.buys_raw)
    sales[pair[0]] += route[0].amount_in_raw
    buys[pair[1]] += route[-1].amount_out_raw
    swaps = (*last.swaps, *route)
    net_e18 = problem.benefit_e18(sales, buys) - problem.hop_cost_e18 * len(swaps)
    return Gathered(swaps, tuple(sales), tuple(buys), net_e18)
