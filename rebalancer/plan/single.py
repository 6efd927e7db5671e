"""What would one route a trade do? The ordinary way, beside which a plan is never worse.

Pure. The largest surplus is sold for the largest deficit, as much as both allow, on the one pool, or the
two pools in a row, that pay most for all of it; then what is left, the same way, at the prices that the
trades before left behind. Exact quotes decide. What a pool pays is at most the amount at its spot price
less the fee, so pools that cannot win by that are not asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.ask import PlanInput
from rebalancer.plan.leg import Leg
from rebalancer.plan.market import Market
from rebalancer.pools import Pool

__all__ = ["SingleRoutes"]

_GENEROUS = 1 + 1e-9
"""Spot prices are floats: what a pool pays at most is taken to be this much more."""


class SingleRoutes:
    """Trades one route after another on paper; keeps what the trades so far have left of the pools."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._places = {pool.key: number for number, pool in enumerate(market.pools)}
        self._last: dict[int, Leg] = {}
        self._after: dict[int, Pool] = {}
        self.legs: list[Leg] = []
        self._ways = market.ways

    def trade(self, asked: PlanInput, sales_raw: Sequence[int], needs_raw: Sequence[int]) -> None:
        """Sell these amounts for at most those; what has no route stays."""
        to_sell, to_buy = list(sales_raw), list(needs_raw)
        offered = [asked.value_e18(i, raw) for i, raw in enumerate(to_sell)]
        wanted = [asked.value_e18(j, raw) for j, raw in enumerate(to_buy)]
        closed: set[tuple[int, int]] = set()
        while pair := _largest(offered, wanted, closed):
            i, j = pair
            closed.add(pair)
            # {raw i} = {raw j} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
            over = to_buy[j] * asked.prices_e18[j] * 10 ** asked.decimals[i]
            worth = over // (10 ** asked.decimals[j] * asked.prices_e18[i])
            amount = min(to_sell[i], worth)
            route = self.best(asked.tokens[i], asked.tokens[j], amount)
            while route and route[-1].amount_out_raw > to_buy[j]:
                amount = min(amount - 1, amount * to_buy[j] // route[-1].amount_out_raw)
                route = self.best(asked.tokens[i], asked.tokens[j], amount)
            if not route:
                continue
            self.take(route)
            to_sell[i] -= amount
            to_buy[j] -= route[-1].amount_out_raw
            offered[i] = asked.value_e18(i, to_sell[i])
            wanted[j] = asked.value_e18(j, to_buy[j])

    def best(self, token_in: str, token_out: str, amount_raw: int) -> list[Leg]:
        """The one or two legs that pay most for the whole amount; none where no route can take it."""
        if amount_raw <= 0:
            return []
        firsts = self._ways.get(token_in, {})
        best = self._best_pool(firsts.get(token_out, ()), token_in, token_out, amount_raw, 0)
        found = [best] if best else []
        middles = []
        for middle, ways in firsts.items():
            seconds = self._ways[middle].get(token_out)
            if middle != token_out and seconds:
                middles.append((self._most(ways) * self._most(seconds), middle, ways, seconds))
        for most, middle, ways, seconds in sorted(middles, key=lambda one: (-one[0], one[1])):
            least = found[-1].amount_out_raw if found else 0
            if amount_raw * most * _GENEROUS <= least:
                break
            # More of the middle token never buys less, so the best first pool is one of the best route.
            first = self._best_pool(ways, token_in, middle, amount_raw, 0)
            if first is None or not first.amount_out_raw:
                continue
            others = [way for way in seconds if self._market.pools[way[1]].key != first.pool.key]
            second = self._best_pool(others, middle, token_out, first.amount_out_raw, least)
            if second is not None:
                found = [first, second]
        return found

    def _most(self, ways: Sequence[tuple[float, int]]) -> float:
        """Units out for a unit in, at most; pools that have traded may pay anything."""
        return max(math.inf if number in self._last else most for most, number in ways)

    def _best_pool(
        self,
        ways: Sequence[tuple[float, int]],
        token_in: str,
        token_out: str,
        amount_raw: int,
        least: int,
    ) -> Leg | None:
        """The leg on the pool that pays most, if that is more than `least`."""
        best: Leg | None = None
        for most, number in ways:
            if number not in self._last and amount_raw * most * _GENEROUS <= least:
                continue
            pool = self._pool(number)
            try:
                out = pool.quote_in(token_in, token_out, amount_raw)
            except (LiquidityExhausted, BadAmount):
                continue
            if out > least:
                best, least = Leg(pool, token_in, token_out, amount_raw, out), out
        return best

    def _pool(self, number: int) -> Pool:
        if number not in self._last:
            return self._market.pools[number]
        if number not in self._after:
            self._after[number] = self._last[number].pool_after
        return self._after[number]

    def take(self, route: Sequence[Leg]) -> None:
        """Make these swaps, which `best` found: later ones are quoted on what they leave."""
        for leg in route:
            place = self._places[leg.pool.key]
            self._last[place] = leg
            self._after.pop(place, None)
            self.legs.append(leg)


def _largest(
    offered: Sequence[int], wanted: Sequence[int], closed: set[tuple[int, int]]
) -> tuple[int, int] | None:
    """The pair that can trade most value, None if none can."""
    i = max(range(len(offered)), key=offered.__getitem__)
    j = max(range(len(wanted)), key=wanted.__getitem__)
    if offered[i] and wanted[j] and (i, j) not in closed:
        return i, j
    pairs = [
        (min(sale, need), a, b)
        for a, sale in enumerate(offered)
        if sale
        for b, need in enumerate(wanted)
        if need and (a, b) not in closed
    ]
    if not pairs:
        return None
    _, a, b = max(pairs)
    return a, b
