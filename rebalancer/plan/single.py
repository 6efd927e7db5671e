"""What would one route a trade do? The ordinary way, beside which a plan is never worse.

Pure. The pair of a surplus and a deficit that may gain most is traded on the one pool, or the two pools in a row,
that pay most; then what is left, the same way, at the prices that the trades before left behind. Of each pair as much is
traded as both allow, or half of that, or half again, for as long as that gains more after gas and all limits hold.
No token comes back to where it was sold. Exact quotes decide. What a pool pays is at most the amount at its spot price
less the fee, so pools that cannot win by that are not asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import nlargest

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.ask import PlanInput
from rebalancer.plan.leg import Leg
from rebalancer.plan.market import Market
from rebalancer.plan.order import makes_circle
from rebalancer.pools import Pool
from rebalancer.units import E18

__all__ = ["SingleRoutes"]

_PARTS = (1, 2, 4, 8, 16, 32, 64)
"""One part in so many of what a pair may trade is tried, until less gains less."""

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

    def trade(
        self,
        asked: PlanInput,
        sales_raw: Sequence[int],
        needs_raw: Sequence[int],
        compared: int = 1,
    ) -> None:
        """Sell up to these amounts for up to those; what has no route, breaks a limit or loses more than it is worth stays.

        Where one trade leaves less room for others, of so many pairs that may gain most the one that does is traded first.
        """
        to_sell, to_buy = list(sales_raw), list(needs_raw)
        sold, bought = [0] * len(to_sell), [0] * len(to_buy)
        # The first trade need not earn its gas: whether all of it is worth that is for others to say.
        worth_e18 = -2 * asked.hop_cost_e18
        gains = self._gains(asked, to_sell, to_buy)
        offered = [asked.sold_e18(i, raw) / E18 for i, raw in enumerate(to_sell)]
        wanted = [asked.sold_e18(j, raw) / E18 for j, raw in enumerate(to_buy)]
        while True:
            gains = {(i, j): gain for (i, j), gain in gains.items() if to_sell[i] and to_buy[j]}
            if not gains:
                break
            best: tuple[int, int, int, list[Leg]] | None = None
            most = math.inf
            if asked.sold_max_e18 is not None:
                most = (asked.sold_max_e18 - asked.values_e18(sold, bought)[0]) / E18
            room = {(i, j): g * min(offered[i], wanted[j], most) for (i, j), g in gains.items()}
            for i, j in nlargest(compared, room, key=room.__getitem__):
                if best and room[i, j] * _GENEROUS <= (best[0] - worth_e18) / E18:
                    break
                found = self._traded(asked, (i, j), (to_sell[i], to_buy[j]), (sold, bought))
                if found is None or found[0] <= worth_e18:
                    del gains[i, j]
                elif best is None or found[0] > best[0]:
                    best = found[0], i, j, found[1]
            if best is None:
                continue
            worth_e18, i, j, route = best
            del gains[i, j]
            self.take(route)
            amount, out = route[0].amount_in_raw, route[-1].amount_out_raw
            sold, bought = _plus(sold, i, amount), _plus(bought, j, out)
            to_sell[i] -= amount
            to_buy[j] -= out
            offered[i] = asked.sold_e18(i, to_sell[i]) / E18
            wanted[j] = asked.sold_e18(j, to_buy[j]) / E18

    def _traded(
        self,
        asked: PlanInput,
        pair: tuple[int, int],
        most_raw: tuple[int, int],
        before: tuple[Sequence[int], Sequence[int]],
    ) -> tuple[int, list[Leg]] | None:
        """What all is worth after gas with the best trade of a pair, and its route; None where limits allow none."""
        (i, j), (to_sell, to_buy), (sold, bought) = pair, most_raw, before
        # {raw i} = {raw j} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
        over = to_buy * asked.prices_e18[j] * 10 ** asked.decimals[i]
        most = min(to_sell, over // (10 ** asked.decimals[j] * asked.prices_e18[i]))
        if asked.sold_max_e18 is not None:
            spent_e18, _ = asked.values_e18(sold, bought)
            room_e18 = max(0, asked.sold_max_e18 - spent_e18 - 1)
            most = min(most, room_e18 * 10 ** asked.decimals[i] // asked.hi_e18[i])
        found: tuple[int, list[Leg]] | None = None
        for part in _PARTS:
            route = self._fitting(asked.tokens[i], asked.tokens[j], most // part, to_buy)
            if not route:
                continue
            sales = _plus(sold, i, route[0].amount_in_raw)
            buys = _plus(bought, j, route[-1].amount_out_raw)
            legs = len(self.legs) + len(route)
            worth_e18 = asked.benefit_e18(sales, buys) - asked.hop_cost_e18 * legs
            if (found is None or worth_e18 > found[0]) and asked.allows(sales, buys):
                found = worth_e18, route
            elif found:
                break
        return found

    def _fitting(self, token_in: str, token_out: str, amount_raw: int, most_raw: int) -> list[Leg]:
        """The best route for so much, or for as much less as buys no more than is wanted, that makes no circle."""
        route = self.best(token_in, token_out, amount_raw, self.legs)
        while route and route[-1].amount_out_raw > most_raw:
            amount_raw = min(amount_raw - 1, amount_raw * most_raw // route[-1].amount_out_raw)
            route = self.best(token_in, token_out, amount_raw, self.legs)
        return route

    def _gains(
        self, asked: PlanInput, sales_raw: Sequence[int], needs_raw: Sequence[int]
    ) -> dict[tuple[int, int], float]:
        """What a unit of value sold of one asset for another gains at most, at spot prices; only what gains anything."""
        least = 1 - asked.worth_e18 / E18
        found = {}
        for i, sale in enumerate(sales_raw):
            firsts = self._ways.get(asked.tokens[i], {}) if sale else {}
            mosts = {middle: ways[0][0] for middle, ways in firsts.items()}
            for j, need in enumerate(needs_raw):
                if not need or not firsts:
                    continue
                end = asked.tokens[j]
                rate = mosts.get(end, 0.0)
                for middle, most in mosts.items():
                    if middle != end and end in self._ways[middle]:
                        rate = max(rate, most * self._ways[middle][end][0][0])
                # {usd/usd} = {raw j/raw i} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
                scale = 10.0 ** (asked.decimals[i] - asked.decimals[j])
                gain = rate * scale * asked.lo_e18[j] / asked.hi_e18[i] - least
                if gain > 0:
                    found[i, j] = gain
        return found

    def best(
        self, token_in: str, token_out: str, amount_raw: int, beside: Sequence[Leg] = ()
    ) -> list[Leg]:
        """The one or two legs that pay most for the whole amount; none where no route can take it.

        Through no token that would make a circle with the legs `beside`, which must not lead from the end to the start.
        """
        if amount_raw <= 0:
            return []
        firsts = self._ways.get(token_in, {})
        best = self._best_pool(firsts.get(token_out, ()), token_in, token_out, amount_raw, 0)
        found = [best] if best else []
        middles = []
        for middle, ways in firsts.items():
            seconds = self._ways[middle].get(token_out)
            if (
                middle != token_out
                and seconds
                and not _circles(beside, token_in, middle, token_out)
            ):
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


def _circles(legs: Sequence[Leg], token_in: str, middle: str, token_out: str) -> bool:
    return bool(legs) and (
        makes_circle(legs, token_in, middle) or makes_circle(legs, middle, token_out)
    )


def _plus(amounts: Sequence[int], place: int, more: int) -> list[int]:
    return [raw + more if at == place else raw for at, raw in enumerate(amounts)]
