"""Search for the best trades in whole units within the vault's limits: swaps that earn their gas, compared with single
routes.

The step between the optimum, which is in floats and without gas (`optimum.py`), and the plan. Pure.
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
"""Reductions of the sales to try if whole units exceed a limit that floats satisfied."""

_MUCH_LESS = 1e-3
"""Shortfall of purchases that is too large, as a fraction of the intended ones."""

_MOST_NEARER = 5
"""Bisection steps between the largest part that fits and the smallest that does not."""

_NEARER = 1e-7
"""Interval below which this bisection ends, as a fraction of the part that fits."""

_MOST_STUCK = 16
"""Maximum number of times that swaps which cannot take their part are removed and the rest is solved again."""

_SURE_STUCK = 4
"""Number of these that are made even without effort left: an optimum is useless until it is in whole units."""

_KEPT_FOR_SWAPS = 0.5
"""Fraction of the effort reserved for work other than orders of tokens."""

_KEPT_FOR_SINGLES = 0.3
"""Fraction of the effort reserved for work other than the second order of tokens in whole units."""

_MOST_ORDERS = 6
"""Maximum number of improvements of the order of tokens."""

_MOST_BESIDE = 4
"""Number of neighbouring orders that are tried."""

_MORE_BY_ORDER = 1e-7
"""Minimum gain of another order, as a fraction."""

_MOST_MOVES = 3
"""Maximum number of times that purchases are reduced because losses move the targets; later losses are almost equal."""

_MORE = 1e-2
"""Safety margin of the assumed move of targets, as a fraction."""

_STEPS_OF_A_QUOTE = 1
"""Effort of a quote in steps."""

_STEPS_OF_A_SWAP = 1
"""Effort of settling a swap in whole units, in steps."""

_CLOSE = 10**6
"""Part of the value sold that is ignored (one in this many): a plan proved to be this near its bound is the best."""

_NEAR_BEST = 0.75
"""Fraction of a plan's worth from which single routes are a starting point for a better plan, if gas matters."""

_MUCH_GAS = 1e-2
"""Fraction of a plan's worth that gas must exceed for a search for fewer swaps to start from single routes."""

_LITTLE_GAS = 1e-4
"""Fraction of a plan's worth below which gas is too small to remove swaps."""

_MOST_ADDED = 4
"""Maximum number of times that pools are added to a few."""

_ADDED_AT_ONCE = 3
"""Number of pools added each time."""

_MOST_DROPS = 6
"""Maximum number of attempts to remove the swaps that earn least."""

_FAR_BELOW = 1 / 3
"""Fraction of its gas below which a swap's profit is far too small."""


@dataclass(frozen=True, slots=True)
class Trades:
    """Swaps in order, and their totals.

    `optimum` is their source, `whole` the optimum over all pools in the same order; single routes have neither (see
    `Search.certified`).
    """

    swaps: tuple[Swap, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]
    net_e18: int
    """The objective less the gas of the swaps."""
    optimum: Optimum | None = None
    whole: Optimum | None = None


class Search:
    """Search over single routes, the optimum, whole units and gas, while effort is left."""

    def __init__(self, problem: Problem, effort: Effort) -> None:
        market = market_of(problem.pools)
        self.problem, self.market, self.effort = problem, market, effort
        self.terms = terms_of(problem, market)

    def found(self) -> list[Trades]:
        """Trades within all limits, the best first. They include single routes, unless those are proved to be no
        better.

        Trades that are no better may still be accepted when the best are not: `alone` without a `top` finds them.
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
            # If single routes are the best so far, their order of tokens is better than the optimum's.
            if alone is top or not self.effort.is_over():
                found += self.from_single(alone, top)
        return sorted(found, key=lambda one: -one.net_e18)

    def alone(self, best: Optimum | None, top: Trades | None = None) -> list[Trades]:
        """All states of single routes, trade by trade; also for the sales of an optimum, if targets or budgets reduce
        them.

        With the `top` of the trades found, the search ends early if single routes can be neither better nor a starting
        point.
        """
        all_sales = [self.terms.sales_raw]
        if best is not None:
            all_sales.append(best.terms.sales_raw)
        beat_e18 = None
        if top is not None:
            start_e18 = int(top.net_e18 * _NEAR_BEST) if self.is_dear(top.net_e18, len(top.swaps)) else top.net_e18
            beat_e18 = min(start_e18, top.net_e18)
        found: list[Trades] = []
        for sales in dict.fromkeys(all_sales):
            for fitting in (False, True):
                routes, gathered = self.routes(sales, fitting=fitting, beat_e18=beat_e18)
                found += gathered
                if not routes.was_capped:
                    break  # with fitting, the trades would be the same
        return found

    def is_dear(self, net_e18: int, swaps: int) -> bool:
        """Whether gas is so large compared with the worth of trades that fewer swaps may be better."""
        return self.problem.hop_cost_e18 * swaps > _MUCH_GAS * net_e18

    def routes(
        self,
        sales_raw: Sequence[int],
        begun: Trades | None = None,
        *,
        fitting: bool = True,
        beat_e18: int | None = None,
    ) -> tuple[SingleRoutes, list[Trades]]:
        """Single routes one after another, after the swaps of `begun`."""
        routes = SingleRoutes(self.market)
        first = None
        if begun is not None:
            first = Gathered(begun.swaps, begun.sales_raw, begun.buys_raw, begun.net_e18)
        needs_raw = self.terms.needs_raw
        gathered = routes.trade(self.problem, sales_raw, needs_raw, first, fitting=fitting, beat_e18=beat_e18)
        self.effort.spend(_STEPS_OF_A_QUOTE * routes.quotes)
        found = [Trades(one.swaps, one.sales_raw, one.buys_raw, one.net_e18) for one in gathered]
        return routes, found

    def from_single(self, alone: Trades, top: Trades) -> list[Trades]:
        """Improvements on the pools of single routes, if those are the best or nearly the best."""
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
        """The trades with their bounds."""
        if trades.whole is not None:
            return trades
        order = order_of_swaps(self.market, trades.swaps, self.terms.offer)
        whole = self.in_order(order) or self.without_limits(order)
        return replace(trades, optimum=whole, whole=whole)

    def from_few(self, whole: Optimum, swaps: Sequence[Swap]) -> list[Trades]:
        """The best trades on only the pools of some swaps, and with further pools that earn their gas."""
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
        """Optima over all pools without circles. If there are circles: those in two orders of tokens, the higher
        potential first."""
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
        # Neighbouring orders are not all: the flows at the basket's own prices lead to others.
        flows = self.market.flows(offer.prices)
        other = self.in_some_order(replace(first, flows=flows), seen)
        return sorted([best, other] if other else [best], key=lambda one: -self.could_be(one))

    def in_some_order(self, first: Solution, seen: set[bytes]) -> Optimum | None:
        """The optimum in an order of tokens that keeps most of the flow, improved by neighbouring orders; `seen` are
        the markets tried."""
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
                candidate = solve(market, best.terms.offer)
                self.effort.spend(candidate.steps)
                if candidate.value > value + _MORE_BY_ORDER * abs(value):
                    again = self.near_targets(market, candidate)
                    if again is not None and self.better(again, best):
                        best, order, value = again, other, again.solution.value
                        break
            else:
                break
        return best

    def better(self, one: Optimum, other: Optimum) -> bool:
        """Whether one optimum, within its limits, is worth more than another."""
        return self.worth(one) > self.worth(other)

    def worth(self, best: Optimum) -> float:
        """Worth of an optimum at the original value of sales, whatever value it was solved with."""
        offer, solution = self.terms.offer, best.solution
        return float(offer.gain @ solution.bought - offer.cost @ solution.sold)

    def in_order(self, order: Sequence[int]) -> Optimum | None:
        """The optimum over all pools in an order of tokens."""
        return self.near_targets(self.market.in_order(order))

    def without_limits(self, order: Sequence[int]) -> Optimum:
        """The optimum in an order of tokens without budgets and slippage limit: an upper bound for plans within
        them."""
        market = self.market.in_order(order)
        found = solve(market, replace(self.terms.offer, limits=()), focuses=1)
        self.effort.spend(found.steps)
        return Optimum(found, found.bound, None, found.market, self.terms)

    def near_targets(self, market: Market, first: Solution | None = None) -> Optimum | None:
        """The optimum in which no asset crosses its target; `first` is a known solution of the market."""
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
        """An optimum in whole units, without swaps that do not earn their gas; empty if impossible."""
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
            # The remaining sales may use other pairs of pools that several swaps need.
            _, more = self.routes(best.terms.sales_raw, fewer)
            found += [replace(one, optimum=best, whole=best) for one in more[-1:]]
        return sorted(found, key=lambda one: -one.net_e18)

    def again(self, best: Optimum, rows: NDArray[np.intp]) -> Optimum | None:
        """The optimum without some rows."""
        return optimum(best.market.without(rows), best.terms, self.effort, focuses=1)

    def settled(self, best: Optimum) -> Trades | None:
        """The optimum in whole units; swaps that cannot take their part are removed."""
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
        """The trades without swaps that do not earn their gas.

        A pool's profit at the dual's prices is a lower bound of the loss without it, so a pool whose profit covers its
        gas stays. Of the others, those with a profit far below their gas are removed together. If that loses more than
        it saves, only half of them are removed, and so on. If gas is small, rows that were not worth a swap before stay
        closed: the remaining rows are solved alone, which is faster.
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
        """An optimum without swaps that do not earn their gas, for small gas: chosen by `dispensable` and solved
        again."""
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
        """Worth of an optimum after the gas of its swaps, before it is settled in whole units."""
        return bound_e18(self.worth(best)) - self.problem.hop_cost_e18 * _swaps(best)


def _swaps(best: Optimum) -> int:
    return len(trading_rows(best.market, best.solution))


def _rows_that_share(best: Optimum) -> NDArray[np.intp]:
    """All rows except the best one of each pool that trades more than one of its pairs at once.

    The dual treats the pairs of a pool as separate pools, but a trade of one pair leaves less for the others.
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
    """Whether the bound proves that no other trades, in any order, are worth significantly more."""
    whole = found.whole
    if whole is None or not whole.market.is_whole:
        return False
    sold_e18, _ = problem.values_e18(found.sales_raw, found.buys_raw)
    bound = whole.bound_after_gas(problem.hop_cost_e18 / E18)
    return bound_e18(bound) - found.net_e18 <= sold_e18 // _CLOSE


def _short_of_targets(problem: Problem, terms: Terms, solution: Solution) -> Terms | None:
    """Terms under which no asset crosses its target; None if no asset does.

    Losses and gains of trades move all targets slightly, so an exact trade is then too large. Up to half of the dust is
    tolerated; the vault tolerates all of it.
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
        # A rising target crosses sold assets, a falling one crosses bought assets.
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
    """The optimum's flow in whole units, as large as exact quotes find within all limits."""
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
    # For tiny amounts, floats know balances less precisely than exact quotes.
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
    """Largest ratio of an asset's intended purchase to its actual one."""
    bought = best.solution.bought
    positions = zip(best.terms.assets, best.terms.positions, strict=True)
    return max(int(bought[position]) / max(1, trades.buys_raw[i]) for i, position in positions)


def _in_whole_units(problem: Problem, best: Optimum, rows: Sequence[int], part: float) -> Trades | Unsettled | None:
    """A fraction of an optimum's flow in whole units; None if it is zero."""
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
    """Profit of an arbitrageur on every row at the dual's prices."""
    return market.profits(np.exp(solution.log_prices))


def bound_e18(value: float) -> int:
    """A float in USD as USD times 1e18. An infinite bound becomes larger than any basket."""
    return int(value * E18) if np.isfinite(value) else 1 << 200
