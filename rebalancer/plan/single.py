"""What would one route a trade do? The ordinary way, beside which a plan is never worse.

Pure. Of all pairs of a surplus and a deficit, all routes of one pool or two in a row and a few sizes, the trade that gains
most after gas within all limits is made; then the next, at the prices that the trades before left behind, each pair
once, for as long as that gains more. No token comes back to where it was sold. Exact quotes decide. What a pool pays is at most the
amount at its spot price less the fee, so pools and pairs that cannot win by that are not asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.ask import PlanInput
from rebalancer.plan.leg import Leg
from rebalancer.plan.market import Market
from rebalancer.plan.order import makes_circle
from rebalancer.pools import Pool
from rebalancer.units import E18

__all__ = ["Gathered", "SingleRoutes"]

_PARTS = (1, 2, 4, 8, 16, 32, 64)
"""One part in so many of what a pair may trade is tried, until less gains less."""

_GENEROUS = 1 + 1e-9
"""Spot prices are floats: what a pool pays at most is taken to be this much more."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Swaps in order, what they sell and buy (raw, in basket order), and what is planned for less their gas."""

    legs: tuple[Leg, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]
    net_e18: int


class SingleRoutes:
    """Trades one route after another on paper; keeps what the trades so far have left of the pools."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._places = {pool.key: number for number, pool in enumerate(market.pools)}
        self._last: dict[int, Leg] = {}
        self._after: dict[int, Pool] = {}
        self._quotes: dict[int, dict[tuple[str, str, int], int]] = {}
        self.legs: list[Leg] = []
        self._ways = market.ways

    def trade(
        self, asked: PlanInput, sales_raw: Sequence[int], needs_raw: Sequence[int]
    ) -> list[Gathered]:
        """What is gathered after each trade, of up to these amounts sold for up to those. Each is worth more than the one before."""
        gains = self._gains(asked, sales_raw, needs_raw)
        nothing = (0,) * len(asked.tokens)
        found: list[Gathered] = []
        # The first trade need not earn its gas: whether all of it is worth that is for others to say.
        last = Gathered((), nothing, nothing, -2 * asked.hop_cost_e18)
        while True:
            left = tuple(map(int.__sub__, sales_raw, last.sales_raw))
            lacks = tuple(map(int.__sub__, needs_raw, last.buys_raw))
            most = self._most_gained(asked, gains, left, lacks, last)
            best, used = last, None
            before_e18 = last.net_e18 if found else 0
            for pair in sorted(most, key=most.__getitem__, reverse=True):
                if most[pair] * E18 <= best.net_e18 - before_e18:
                    break
                more = self._traded(asked, pair, (left[pair[0]], lacks[pair[1]]), last)
                if more is not None and more.net_e18 > best.net_e18:
                    best, used = more, pair
            if used is None:
                return found
            del gains[used]
            route = best.legs[len(last.legs) :]
            self.take(route)
            if any(len(leg.pool.tokens) > 2 for leg in route):
                # A trade of one pair may make another pay more than it did.
                gains = dict.fromkeys(gains, math.inf)
            last = best
            found.append(last)

    def _most_gained(
        self,
        asked: PlanInput,
        gains: dict[tuple[int, int], float],
        left: Sequence[int],
        lacks: Sequence[int],
        last: Gathered,
    ) -> dict[tuple[int, int], float]:
        """What each pair may add at most, in USD; only pairs that may add anything."""
        offered = [asked.sold_e18(i, raw) / E18 for i, raw in enumerate(left)]
        wanted = [asked.sold_e18(j, raw) / E18 for j, raw in enumerate(lacks)]
        room = math.inf
        if asked.sold_max_e18 is not None:
            room = (asked.sold_max_e18 - asked.values_e18(last.sales_raw, last.buys_raw)[0]) / E18
        gas = asked.hop_cost_e18 / E18
        return {
            (i, j): gain * min(offered[i], wanted[j], room) - gas
            for (i, j), gain in gains.items()
            if offered[i] and wanted[j] and room > 0
        }

    def _traded(
        self, asked: PlanInput, pair: tuple[int, int], most_raw: tuple[int, int], last: Gathered
    ) -> Gathered | None:
        """All with the best trade of a pair; None where limits allow none."""
        (i, j), (to_sell, to_buy) = pair, most_raw
        # {raw i} = {raw j} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
        over = to_buy * asked.prices_e18[j] * 10 ** asked.decimals[i]
        most = min(to_sell, over // (10 ** asked.decimals[j] * asked.prices_e18[i]))
        if asked.sold_max_e18 is not None:
            spent_e18, _ = asked.values_e18(last.sales_raw, last.buys_raw)
            room_e18 = max(0, asked.sold_max_e18 - spent_e18 - 1)
            most = min(most, room_e18 * 10 ** asked.decimals[i] // asked.hi_e18[i])
        best: Gathered | None = None
        for way in (self._direct, self._through):
            found: Gathered | None = None
            for part in _PARTS:
                route = self._fitting(way, asked.tokens[i], asked.tokens[j], most // part, to_buy)
                more = _with(asked, last, pair, route) if route else None
                if more is None or not asked.allows(more.sales_raw, more.buys_raw):
                    continue
                if found is not None and more.net_e18 <= found.net_e18:
                    break
                found = more
            if found is not None and (best is None or found.net_e18 > best.net_e18):
                best = found
        return best

    def _fitting(
        self, way: _Way, token_in: str, token_out: str, amount_raw: int, most_raw: int
    ) -> list[Leg]:
        """The best route for so much, or for as much less as buys no more than is wanted, that makes no circle."""
        route = way(token_in, token_out, amount_raw, self.legs)
        while route and route[-1].amount_out_raw > most_raw:
            amount_raw = min(amount_raw - 1, amount_raw * most_raw // route[-1].amount_out_raw)
            route = way(token_in, token_out, amount_raw, self.legs)
        return route

    def _gains(
        self, asked: PlanInput, sales_raw: Sequence[int], needs_raw: Sequence[int]
    ) -> dict[tuple[int, int], float]:
        """What a unit of value sold of one asset for another gains at most, at spot prices, where there is a route."""
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
                if rate:
                    most = rate * scale * asked.lo_e18[j] / asked.hi_e18[i]
                    found[i, j] = most * _GENEROUS - least
        return found

    def best(self, token_in: str, token_out: str, amount_raw: int) -> list[Leg]:
        """The one or two legs that pay most for the whole amount; none where no route can take it."""
        direct = self._direct(token_in, token_out, amount_raw)
        least = direct[-1].amount_out_raw if direct else 0
        return self._through(token_in, token_out, amount_raw, least=least) or direct

    def _direct(
        self, token_in: str, token_out: str, amount_raw: int, beside: Sequence[Leg] = ()
    ) -> list[Leg]:
        """The pool of the pair that pays most for the whole amount, if that makes no circle with the legs `beside`."""
        if amount_raw <= 0 or (beside and makes_circle(beside, token_in, token_out)):
            return []
        ways = self._ways.get(token_in, {}).get(token_out, ())
        best = self._best_pool(ways, token_in, token_out, amount_raw, 0)
        return [best] if best else []

    def _through(
        self,
        token_in: str,
        token_out: str,
        amount_raw: int,
        beside: Sequence[Leg] = (),
        least: int = 0,
    ) -> list[Leg]:
        """The two pools in a row that pay most, if that is more than `least`."""
        if amount_raw <= 0 or (beside and makes_circle(beside, token_in, token_out)):
            return []
        found: list[Leg] = []
        middles = []
        for middle, ways in self._ways.get(token_in, {}).items():
            seconds = self._ways[middle].get(token_out)
            if (
                middle != token_out
                and seconds
                and not _circles(beside, token_in, middle, token_out)
            ):
                middles.append((self._most(ways) * self._most(seconds), middle, ways, seconds))
        for most, middle, ways, seconds in sorted(middles, key=lambda one: (-one[0], one[1])):
            if amount_raw * most * _GENEROUS <= least:
                break
            # More of the middle token never buys less, so the best first pool is one of the best route, unless it is the second.
            first = self._best_pool(ways, token_in, middle, amount_raw, 0)
            if first is None:
                continue
            number = self._places[first.pool.key]
            second = self._best_pool(
                [way for way in seconds if way[1] != number],
                *(middle, token_out, first.amount_out_raw, least),
            )
            if second is not None:
                found, least = [first, second], second.amount_out_raw
            again = [way for way in seconds if way[1] == number]
            others = [way for way in ways if way[1] != number] if again else ()
            first = self._best_pool(others, token_in, middle, amount_raw, 0)
            if first is not None:
                second = self._best_pool(again, middle, token_out, first.amount_out_raw, least)
                if second is not None:
                    found, least = [first, second], second.amount_out_raw
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
            out = self._quoted(number, token_in, token_out, amount_raw)
            if out > least:
                best, least = Leg(self._pool(number), token_in, token_out, amount_raw, out), out
        return best

    def _quoted(self, number: int, token_in: str, token_out: str, amount_raw: int) -> int:
        """What a pool pays, 0 where it cannot take the amount; asked once for as long as nothing is traded on it."""
        known = self._quotes.setdefault(number, {})
        key = token_in, token_out, amount_raw
        if key not in known:
            try:
                known[key] = self._pool(number).quote_in(token_in, token_out, amount_raw)
            except (LiquidityExhausted, BadAmount):
                known[key] = 0
        return known[key]

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
            self._quotes.pop(place, None)
            self.legs.append(leg)


_Way = Callable[[str, str, int, Sequence[Leg]], list[Leg]]


def _circles(legs: Sequence[Leg], token_in: str, middle: str, token_out: str) -> bool:
    return bool(legs) and (
        makes_circle(legs, token_in, middle) or makes_circle(legs, middle, token_out)
    )


def _with(
    asked: PlanInput, last: Gathered, pair: tuple[int, int], route: Sequence[Leg]
) -> Gathered:
    sales, buys = list(last.sales_raw), list(last.buys_raw)
    sales[pair[0]] += route[0].amount_in_raw
    buys[pair[1]] += route[-1].amount_out_raw
    legs = (*last.legs, *route)
    net_e18 = asked.benefit_e18(sales, buys) - asked.hop_cost_e18 * len(legs)
    return Gathered(legs, tuple(sales), tuple(buys), net_e18)
