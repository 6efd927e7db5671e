"""The best trades within the vault's limits, in whole units, of swaps that earn their gas, beside single routes.

Between the optimum, which is in floats and knows no gas (`optimum.py`), and the plan. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rebalancer.plan.baseline import Gathered, SingleRoutes
from rebalancer.plan.dispense import dispensable
from rebalancer.plan.dual import Solution, solve
from rebalancer.plan.effort import Effort
from rebalancer.plan.flow_to_swaps import Unsettled, fill, ordered_rows, trading_rows
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.optimum import MOST_FOCUSES, Optimum, Terms, optimum, terms_of
from rebalancer.plan.order import order_of_flows, order_of_swaps, orders_beside
from rebalancer.plan.problem import Problem
from rebalancer.plan.swap import Swap
from rebalancer.units import E18

__all__ = ["Search", "Trades", "bound_e18"]

_SMALLER = (0.0, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""By which part less is sold where whole units break a limit that floats held."""

_MUCH_LESS = 1e-3
"""The part of what was meant to be bought by which less is too little."""

_MOST_NEARER = 5
"""Times that the way between what fits and what does not is halved."""

_NEARER = 1e-7
"""The part of what fits that this way is worth it for."""

_MOST_STUCK = 16
"""Times that swaps that cannot take their part are left out and the rest solved again."""

_SURE_STUCK = 4
"""Of these, so many whatever the effort is: the optimum is nothing until it is carried out."""

_KEPT_FOR_SWAPS = 0.5
"""Part of the effort that is not for orders."""

_KEPT_FOR_SINGLES = 0.3
"""Part of the effort that is not for the second order of tokens in whole units."""

_MOST_ORDERS = 6
"""Times that tokens are put in another order, each better than the last."""

_MOST_BESIDE = 4
"""Orders beside one that are tried."""

_MORE_BY_ORDER = 1e-7
"""Part by which another order must be worth more."""

_MOST_MOVES = 3
"""Times that purchases are made smaller because losses move the targets; the second loss is much like the first."""

_MORE = 1e-2
"""By this part more than they do now, targets are taken to move."""

_STEPS_OF_A_QUOTE = 1
"""Steps that comparing a quote takes the time of."""

_STEPS_OF_A_SWAP = 1
"""Steps that settling a swap in whole units takes the time of."""

_CLOSE = 10**6
"""One part in this many of what is sold is not looked at: a plan that is proved to be this near its bound is the best."""

_NEAR_BEST = 0.75
"""Part of what a plan is worth from which single routes are a start for a better one, where gas counts."""

_MUCH_GAS = 1e-2
"""Part of what a plan is worth that its gas is at least where fewer swaps are sought from single routes on."""

_LITTLE_GAS = 1e-4
"""The same below which it is not sought what may go."""

_MOST_ADDED = 4
"""Times that pools are added to few, so many at once."""

_ADDED_AT_ONCE = 3

_MOST_DROPS = 6
"""Times that it is tried to do without the swaps that earn least."""

_FAR_BELOW = 1 / 3
"""The part of its gas below which a swap's profit is far below it."""


@dataclass(frozen=True, slots=True)
class Trades:
    """Legs in order and what they come to.

    `optimum` is what they were made from, `whole` that of all pools in the same order; single routes have neither (`Search.certified`).
    """

    swaps: tuple[Swap, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]
    net_e18: int
    """What is planned for, less the gas of the legs."""
    optimum: Optimum | None = None
    whole: Optimum | None = None


class Search:
    """Single routes, the optimum, whole units and gas, one after another for as long as effort is left."""

    def __init__(self, problem: Problem, effort: Effort) -> None:
        market = market_of(problem.pools)
        self.problem, self.market, self.effort = problem, market, effort
        self.terms = terms_of(problem, market)

    def found(self) -> list[Trades]:
        """Trades within all limits, the best first. Single routes are always among them, or proved to be no better.

        What is proved to be no better may still be accepted where the best is not: `alone` without a `top` finds it.
        """
        if not len(self.market):
            return []
        found: list[Trades] = []
        optima = self.whole()
        best = optima[0] if optima else None
        for one in optima:
            if found and self.effort.is_over(_KEPT_FOR_SINGLES):
                break
            found = sorted(found + self.carried_out(one), key=lambda trades: -trades.net_e18)
            if found and _is_proved(self.problem, found[0]):
                return found
        found += self.alone(best, found[0] if found else None)
        singles = [trades for trades in found if trades.whole is None]
        if singles:
            alone = max(singles, key=lambda one: one.net_e18)
            top = max(found, key=lambda one: one.net_e18)
            # Where single routes are the best so far, their order of tokens is better than the optimum's was.
            if alone is top or not self.effort.is_over():
                found += self.from_single(alone, top)
        return sorted(found, key=lambda one: -one.net_e18)

    def alone(self, best: Optimum | None, top: Trades | None = None) -> list[Trades]:
        """All that single routes gather, trade by trade; also of what an optimum sells, where targets or budgets make that less.

        Beside the `top` of what was found they may end early, where they can neither be better nor a start for what is.
        """
        ways = [self.terms.sales_raw]
        if best is not None:
            ways.append(best.terms.sales_raw)
        beat_e18 = None
        if top is not None:
            start_e18 = int(top.net_e18 * _NEAR_BEST) if self.is_dear(top.net_e18, len(top.swaps)) else top.net_e18
            beat_e18 = min(start_e18, top.net_e18)
        found: list[Trades] = []
        for sales in dict.fromkeys(ways):
            for fitting in (False, True):
                routes, environments = self.routes(sales, fitting=fitting, beat_e18=beat_e18)
                found += environments
                if not routes.was_capped:
                    break  # fitted, they would be the same
        return found

    def is_dear(self, net_e18: int, swaps: int) -> bool:
        """Whether gas is so much of what trades are worth that fewer swaps may be worth more."""
        return self.problem.hop_cost_e18 * swaps > _MUCH_GAS * net_e18

    def routes(
        self,
        sales_raw: Sequence[int],
        begun: Trades | None = None,
        *,
        fitting: bool = True,
        beat_e18: int | None = None,
    ) -> tuple[SingleRoutes, list[Trades]]:
        """Single routes one after another, behind what has begun."""
        routes = SingleRoutes(self.market)
        first = None
        if begun is not None:
            first = Gathered(begun.swaps, begun.sales_raw, begun.buys_raw, begun.net_e18)
        needs_raw = self.terms.needs_raw
        environments = routes.trade(self.problem, sales_raw, needs_raw, first, fitting=fitting, beat_e18=beat_e18)
        self.effort.spend(_STEPS_OF_A_QUOTE * routes.quotes)
        found = [Trades(one.swaps, one.sales_raw, one.buys_raw, one.net_e18) for one in environments]
        return routes, found

    def from_single(self, alone: Trades, top: Trades) -> list[Trades]:
        """What can be made of the pools of single routes, where those are the best or come near it."""
        cost_e18 = self.problem.hop_cost_e18
        is_best = alone is top
        is_near = cost_e18 > 0 and (
            is_best or (alone.net_e18 > _NEAR_BEST * top.net_e18 and self.is_dear(top.net_e18, len(top.swaps)))
        )
        if not is_best and not is_near:
            return []
        whole = self.certified(alone).whole
        found = self.carried_out(whole) if is_best and whole else []
        return found + (self.from_few(whole, alone.swaps) if is_near and whole else [])

    def certified(self, trades: Trades) -> Trades:
        """The trades with what bounds them."""
        if trades.whole is not None:
            return trades
        order = order_of_swaps(self.market, trades.swaps, self.terms.offer)
        whole = self.in_order(order) or self.without_limits(order)
        return replace(trades, optimum=whole, whole=whole)

    def from_few(self, whole: Optimum, swaps: Sequence[Swap]) -> list[Trades]:
        """The best on the pools of some legs alone, and on those with what more earns its gas beside them."""
        market, found = whole.market, list[Trades]()
        pools = {pool.key: number for number, pool in enumerate(market.pools)}
        used = {(pools[swap.pool.key], market.index[swap.token_in], market.index[swap.token_out]) for swap in swaps}
        ends = zip(market.pool.tolist(), market.token_in.tolist(), market.token_out.tolist(), strict=True)
        rows = [row for row, end in enumerate(ends) if end in used]
        cost = self.problem.hop_cost_e18 / E18
        for _ in range(_MOST_ADDED):
            if self.effort.is_over():
                break
            best = self.near_targets(market.only(rows))
            settled = self.settled(best) if best else None
            if best is None or settled is None or (found and settled.net_e18 <= found[-1].net_e18):
                break
            found.append(replace(settled, whole=whole))
            prices = np.exp(best.solution.log_prices)
            profits = market.profits(prices)
            profits[rows] = 0
            tokens = list({*market.token_in[rows].tolist(), *market.token_out[rows].tolist()})
            known = np.isin(market.token_in, tokens) & np.isin(market.token_out, tokens)
            more = np.flatnonzero(known & (profits > cost))
            if not len(more):
                break
            rows += more[np.argsort(-profits[more], kind="stable")][:_ADDED_AT_ONCE].tolist()
        return found

    def whole(self) -> list[Optimum]:
        """The optimum over all pools that is no circle; where there are circles, those of two orders of tokens, the one that could be worth more first."""
        offer = self.terms.offer
        if not offer.sell_max.any() or not offer.buy_max.any() or self.terms.sold_max <= 0:
            return []
        first = solve(self.market, offer, MOST_FOCUSES)
        self.effort.spend(first.steps)
        if not isinstance(ordered_rows(first.market, first), Unsettled):
            best = self.near_targets(first.market, first)
            if best is None:
                return []
            if not isinstance(ordered_rows(best.market, best.solution), Unsettled):
                return [best]
            first = best.solution
        seen: set[bytes] = set()
        best = self.in_some_order(first, seen)
        if best is None or self.effort.is_over(_KEPT_FOR_SWAPS):
            return [best] if best else []
        # The orders beside one are not all: what pools would trade at the basket's own prices leads to others.
        flows = self.market.flows(offer.prices)
        other = self.in_some_order(replace(first, flows=flows), seen)
        return sorted([best, other] if other else [best], key=lambda one: -self.could_be(one))

    def in_some_order(self, first: Solution, seen: set[bytes]) -> Optimum | None:
        """The optimum in an order of tokens that keeps most of what flows, made better by others beside it; `seen` are the markets tried."""
        order = order_of_flows(self.market, first, self.terms.offer)
        start = self.market.in_order(order).open_rows
        best = None if start in seen else self.in_order(order)
        if best is None:
            return None
        seen.add(start)
        value = best.solution.value
        for _ in range(_MOST_ORDERS):
            beside = orders_beside(self.market, order, best.solution)
            for other in islice(beside, _MOST_BESIDE):
                market = best.market.in_order(other)
                if market.open_rows in seen:
                    continue
                if self.effort.is_over(_KEPT_FOR_SWAPS):
                    return best
                seen.add(market.open_rows)
                way = solve(market, best.terms.offer)
                self.effort.spend(way.steps)
                if way.value > value + _MORE_BY_ORDER * abs(value):
                    again = self.near_targets(market, way)
                    if again is not None and self.better(again, best):
                        best, order, value = again, other, again.solution.value
                        break
            else:
                break
        return best

    def better(self, one: Optimum, other: Optimum) -> bool:
        """Whether one optimum is worth more than another, limits held."""
        return self.worth(one) > self.worth(other)

    def worth(self, best: Optimum) -> float:
        """What an optimum is worth at the first value of sales, whatever it was solved at."""
        offer, solution = self.terms.offer, best.solution
        return float(offer.gain @ solution.bought - offer.cost @ solution.sold)

    def in_order(self, order: Sequence[int]) -> Optimum | None:
        """The optimum over all pools in an order of tokens."""
        return self.near_targets(self.market.in_order(order))

    def without_limits(self, order: Sequence[int]) -> Optimum:
        """The optimum in an order of tokens but for budgets and slippage: no plan within them is worth more."""
        market = self.market.in_order(order)
        found = solve(market, replace(self.terms.offer, limits=()), focuses=1)
        self.effort.spend(found.steps)
        return Optimum(found, found.bound, None, found.market, self.terms)

    def near_targets(self, market: Market, first: Solution | None = None) -> Optimum | None:
        """The optimum under which no asset crosses its target; `first` where it has been solved as it stands."""
        terms = self.terms
        best = optimum(market, terms, self.effort, first=first)
        for _ in range(_MOST_MOVES):
            nearer = _short_of_targets(self.problem, terms, best.solution) if best else None
            if best is None or nearer is None:
                break
            terms = nearer
            best = optimum(best.market, terms, self.effort, focuses=1)
        return best

    def carried_out(self, best: Optimum) -> list[Trades]:
        """An optimum in whole units, without what does not earn its gas; none where that cannot be."""
        shared = _rows_that_share(best)
        could_be_e18 = self.could_be(best)
        if not len(shared) and not self.is_dear(could_be_e18, _swaps(best)):
            lean = self.lean(best)
            done = self.settled(lean) if lean is not best else None
            if done is not None and done.net_e18 > could_be_e18:
                return [replace(done, whole=best)]
        settled = self.settled(best)
        if len(shared):
            again = self.again(best, shared)
            apart = None if again is None else self.settled(again)
            if apart is not None and (settled is None or apart.net_e18 > settled.net_e18):
                settled = apart
        if settled is None:
            return []
        fewer = self.earning(settled)
        found = [replace(one, whole=best) for one in ((fewer,) if fewer is settled else (fewer, settled))]
        if len(shared) and not self.effort.is_over():
            # What is left may go by the other pairs of pools that several want.
            _, more = self.routes(best.terms.sales_raw, fewer)
            found += [replace(one, optimum=best, whole=best) for one in more[-1:]]
        return sorted(found, key=lambda one: -one.net_e18)

    def again(self, best: Optimum, rows: NDArray[np.intp]) -> Optimum | None:
        """The optimum without some rows."""
        return optimum(best.market.without(rows), best.terms, self.effort, focuses=1)

    def settled(self, best: Optimum) -> Trades | None:
        """The optimum in whole units; swaps that cannot take their part are left out."""
        for tries in range(_MOST_STUCK):
            rows = ordered_rows(best.market, best.solution)
            if not isinstance(rows, Unsettled):
                if not rows:
                    return None
                self.effort.spend(_STEPS_OF_A_SWAP * len(rows))
                done = _within_limits(self.problem, best, rows)
                if not isinstance(done, Unsettled):
                    return done
                rows = done
            if tries >= _SURE_STUCK and self.effort.is_over():
                return None
            again = self.again(best, rows.rows)
            if again is None:
                return None
            best = again
        return None

    def earning(self, found: Trades) -> Trades:
        """Without the swaps that do not earn their gas.

        A pool's profit at the dual's prices is the least that doing without it loses, so a pool whose
        profit pays for its gas stays. Of the others those go together whose profit is far below it; where
        that loses more than it saves, only half of them, and so on. Where gas is little, what was not worth a swap
        before is not worth one now: the rest is solved alone, which is quicker.
        """
        cost, best = self.problem.hop_cost_e18 / E18, found.optimum
        if not cost or best is None:
            return found
        worth_e18, fewer, count = self.could_be(best), list[Optimum](), 0
        is_dear = self.is_dear(found.net_e18, len(found.swaps))
        for _ in range(_MOST_DROPS):
            rows = trading_rows(best.market, best.solution)
            if len(rows) < 2:
                break
            profits = _profits(best.market, best.solution)[rows]
            cheap = rows[np.argsort(profits, kind="stable")][: int((profits < cost).sum())]
            if cost * len(cheap) <= _LITTLE_GAS * worth_e18 / E18 or self.effort.is_over():
                break
            count = count or int((profits < cost * _FAR_BELOW).sum()) or len(cheap)
            if is_dear:
                again = self.again(best, cheap[:count])
            else:
                kept = best.market.only(np.setdiff1d(rows, cheap[:count]).tolist())
                again = optimum(kept, best.terms, self.effort, focuses=0)
            if again is not None and self.could_be(again) > worth_e18:
                best, worth_e18, count = again, self.could_be(again), 0
                fewer.append(again)
            elif count == 1:
                break
            else:
                count //= 2
        for again in reversed(fewer):
            smaller = self.settled(again)
            if smaller is not None and smaller.net_e18 > found.net_e18:
                return smaller
        return found

    def lean(self, best: Optimum) -> Optimum:
        """An optimum without the swaps that do not earn their gas, where gas is little: by `dispensable`, solved once more."""
        cost = self.problem.hop_cost_e18 / E18
        for _ in range(_MOST_DROPS if cost else 0):
            rows = trading_rows(best.market, best.solution)
            drop = dispensable(best.market, best.solution, rows, cost)
            again = None
            while drop and again is None and not self.effort.is_over():
                kept = best.market.only(np.setdiff1d(rows, drop))
                fewer = optimum(kept, best.terms, self.effort, focuses=0)
                if fewer is not None and self.could_be(fewer) > self.could_be(best):
                    again = fewer
                drop = drop[: len(drop) // 2]
            if again is None:
                break
            best = again
        return best

    def could_be(self, best: Optimum) -> int:
        """What an optimum is worth after the gas of its swaps, before it is settled in whole units."""
        return bound_e18(self.worth(best)) - self.problem.hop_cost_e18 * _swaps(best)


def _swaps(best: Optimum) -> int:
    return len(trading_rows(best.market, best.solution))


def _rows_that_share(best: Optimum) -> NDArray[np.intp]:
    """All rows but the best of pools, of more than two tokens, that trade more than one pair at once.

    The dual takes their pairs for pools of their own, but each pair's trade leaves less for the others.
    """
    market, solution = best.market, best.solution
    rows = trading_rows(market, solution)
    pools, counts = np.unique(market.pool[rows], return_counts=True)
    profits = _profits(market, solution)
    found: list[int] = []
    for pool in pools[counts > 1]:
        best = max(rows[market.pool[rows] == pool], key=lambda row: float(profits[row]))
        found += [row for row in np.flatnonzero(market.pool == pool).tolist() if row != best]
    return np.array(found, dtype=np.intp)


def _is_proved(problem: Problem, found: Trades) -> bool:
    """Whether the bound alone says that nothing else, in whatever order, is worth more by what is looked at."""
    whole = found.whole
    if whole is None or not whole.market.is_whole:
        return False
    sold_e18, _ = problem.values_e18(found.sales_raw, found.buys_raw)
    bound = whole.bound_after_gas(problem.hop_cost_e18 / E18)
    return bound_e18(bound) - found.net_e18 <= sold_e18 // _CLOSE


def _short_of_targets(problem: Problem, terms: Terms, solution: Solution) -> Terms | None:
    """Terms under which no asset crosses its target, None if none does.

    What trades lose or gain moves all targets a little, and what was just enough is then too much.
    Up to half of the dust it is let be: the vault allows all of it.
    """
    if not problem.targets_e18:
        return None
    positions = list(terms.positions)
    units = [10.0 ** problem.decimals[i] * E18 for i in terms.assets]
    prices = np.array([problem.prices_e18[i] for i in terms.assets]) / np.array(units)
    targets = np.array([problem.targets_e18[i] for i in terms.assets]) / E18
    sold, bought = solution.sold[positions] * prices, solution.bought[positions] * prices
    lost = float(sold.sum() - bought.sum())
    dust = problem.dust_e18 / E18
    sales, needs = list(terms.sales_raw), list(terms.needs_raw)
    crossed = False
    for at, i in enumerate(terms.assets):
        # Sold assets are crossed by a target that rises, bought ones by one that falls.
        moved = targets[at] * abs(lost) * (1 + _MORE)
        traded, limits, maxima = (
            (bought[at], needs, problem.needs_max_raw) if lost > 0 else (sold[at], sales, problem.sales_max_raw)
        )
        most = float(maxima[i]) * prices[at]
        if traded > 0 and traded + moved - most > dust / 2 + prices[at]:
            limits[i] = min(limits[i], int((most - max(0.0, moved - dust / 4)) / prices[at]))
            crossed = True
    return terms.within(sales, needs) if crossed else None


def _within_limits(problem: Problem, best: Optimum, rows: Sequence[int]) -> Trades | Unsettled | None:
    """The optimum's flow in whole units, as much of it as exact quotes find within all limits."""
    fits: tuple[float, Trades] | None = None
    too_much = np.inf
    sold = float(best.solution.sold @ best.terms.hi)
    room = min(1.0, best.terms.sold_max / sold) if sold else 1.0
    for less in _SMALLER:
        part = room * (1 - less)
        done = _in_whole_units(problem, best, rows, part)
        if isinstance(done, Unsettled):
            return done
        if done is None:
            return None
        if problem.allows(done.sales_raw, done.buys_raw):
            fits = part, done
            break
        too_much = part
    if fits is None:
        return None
    # Of next to nothing, floats know balances less exactly than exact quotes do.
    short = _short_of(best, fits[1])
    if not np.isfinite(too_much) and short > 1 + _MUCH_LESS:
        too_much = fits[0] * short**2
    for _ in range(_MOST_NEARER):
        if not _NEARER * fits[0] < too_much - fits[0] < np.inf:
            break
        part = (fits[0] + too_much) / 2
        done = _in_whole_units(problem, best, rows, part)
        if isinstance(done, Trades) and problem.allows(done.sales_raw, done.buys_raw):
            fits = part, done
        else:
            too_much = part
    return replace(fits[1], optimum=best)


def _short_of(best: Optimum, trades: Trades) -> float:
    """How many times what is bought of an asset an optimum meant to buy of it, at most."""
    bought = best.solution.bought
    positions = zip(best.terms.assets, best.terms.positions, strict=True)
    return max(int(bought[position]) / max(1, trades.buys_raw[i]) for i, position in positions)


def _in_whole_units(problem: Problem, best: Optimum, rows: Sequence[int], part: float) -> Trades | Unsettled | None:
    """That part of an optimum's flow; None where it is nothing."""
    terms, sold = best.terms, best.solution.sold
    sales: dict[str, int] = {}
    for i, position in zip(terms.assets, terms.positions, strict=True):
        if not sold[position]:
            continue
        most = terms.sales_raw[i]
        is_all = sold[position] >= terms.offer.sell_max[position]
        raw = most if is_all else min(most, int(sold[position]))
        sales[problem.tokens[i]] = raw if part == 1 else int(raw * part)
    done = fill(best.market, best.solution, rows, sales, part)
    if isinstance(done, Unsettled):
        return done
    trades = _trades(problem, done.swaps, done.sold, done.bought)
    return trades if any(trades.sales_raw) and any(trades.buys_raw) else None


def _trades(problem: Problem, swaps: Sequence[Swap], sold: Mapping[str, int], bought: Mapping[str, int]) -> Trades:
    sales_raw = tuple(sold.get(token, 0) for token in problem.tokens)
    buys_raw = tuple(bought.get(token, 0) for token in problem.tokens)
    net_e18 = problem.benefit_e18(sales_raw, buys_raw) - problem.hop_cost_e18 * len(swaps)
    return Trades(tuple(swaps), sales_raw, buys_raw, net_e18)


def _profits(market: Market, solution: Solution) -> NDArray[np.float64]:
    """What an arbitrageur earns on every row at the dual's prices."""
    return market.profits(np.exp(solution.log_prices))


def bound_e18(value: float) -> int:
    """USD times 1e18 of a float; a bound that is none is as large as no basket is."""
    return int(value * E18) if np.isfinite(value) else 1 << 200
