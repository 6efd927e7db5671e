"""Conversion of the dual's flow to exact swaps: their order and their whole-unit amounts.

The dual gives a trade for each pool; together they are a flow from sales to purchases. The swaps are ordered so that
every token has arrived before it is sold. Amounts are in whole units: the amount of a token that is sold or passed
through is split by the shares of the flow, the last swap takes the remainder, and every output is the pool's exact
quote. Only purchased tokens are left over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.dual import Solution
from rebalancer.plan.market import Market
from rebalancer.plan.swap import Swap
from rebalancer.route import Hop
from rebalancer.venues import Pool

__all__ = ["FilledFlow", "Unsettled", "fill", "ordered_rows", "route_hops", "trading_rows"]

_NOTHING = 1e-7
"""A flow below this fraction of the total traded value is ignored: it is worth less than the rounding."""


_DIGITS = 10
"""Decimals of shares. The solver's last digits are noise; without rounding, pools that do not trade would change the
shares."""


@dataclass(frozen=True, slots=True)
class FilledFlow:
    """Swaps in order, exact if nobody else trades, and the raw amounts they sell and buy by token."""

    swaps: tuple[Swap, ...]
    sold: Mapping[str, int]
    bought: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Rows that cannot be part of a route: they form a circle, or return nothing for their share."""

    rows: NDArray[np.intp]


def ordered_rows(market: Market, solution: Solution) -> list[int] | Unsettled:
    """Trading rows, each after all rows that supply its token; of the rows of one token, the largest last."""
    worth = solution.flows.amounts_in * np.exp(solution.log_prices[market.token_in])
    rows = trading_rows(market, solution)
    waiting = np.bincount(market.token_out[rows], minlength=len(market.tokens)).tolist()
    leaving: dict[int, list[int]] = {}
    for row in rows[np.argsort(worth[rows], kind="stable")].tolist():
        leaving.setdefault(int(market.token_in[row]), []).append(row)
    ready = [token for token in leaving if not waiting[token]]
    found: list[int] = []
    while ready:
        token = ready.pop()
        for row in leaving.pop(token, ()):
            found.append(row)
            to = int(market.token_out[row])
            waiting[to] -= 1
            if not waiting[to]:
                ready.append(to)
    if leaving:
        circling = [row for some in leaving.values() for row in some if _returns(market, row, leaving)]
        return Unsettled(np.array([min(circling, key=lambda row: float(worth[row]))], dtype=np.intp))
    return found


def trading_rows(market: Market, solution: Solution) -> NDArray[np.intp]:
    """Rows whose flow is large enough for a swap."""
    worth = solution.flows.amounts_in * np.exp(solution.log_prices[market.token_in])
    return np.flatnonzero(worth > _NOTHING * float(solution.sold @ np.exp(solution.log_prices)))


def _returns(market: Market, row: int, leaving: Mapping[int, Sequence[int]]) -> bool:
    """Whether the remaining rows lead from the end of a row back to its beginning."""
    seen: set[int] = set()
    ahead = [int(market.token_out[row])]
    while ahead:
        token = ahead.pop()
        if token == market.token_in[row]:
            return True
        if token not in seen:
            seen.add(token)
            ahead += [int(market.token_out[other]) for other in leaving.get(token, ())]
    return False


def fill(
    market: Market, solution: Solution, rows: Sequence[int], sales_raw: Mapping[str, int], part: float = 1.0
) -> FilledFlow | Unsettled:
    """Swaps that sell these amounts along the flow, or rows that cannot take their part.

    `part` is the fraction of the flow that the sales are. It also scales the flow through a token that is bought as
    well.
    """
    amounts = solution.flows.amounts_in
    bought_tokens = {market.tokens[i] for i in np.flatnonzero(solution.bought).tolist()}
    remaining: dict[int, float] = {}
    last: dict[int, int] = {}
    for row in rows:
        token = int(market.token_in[row])
        remaining[token] = remaining.get(token, 0.0) + float(amounts[row])
        last[token] = row
    held = dict(sales_raw)
    counts: dict[int, int] = {}
    for row in rows:
        counts[int(market.pool[row])] = counts.get(int(market.pool[row]), 0) + 1
    after: dict[int, Pool] = {}
    swaps: list[Swap] = []
    for row in rows:
        number, token = int(market.pool[row]), int(market.token_in[row])
        token_in, token_out = market.tokens[token], market.tokens[int(market.token_out[row])]
        has, wanted = held.get(token_in, 0), float(amounts[row])
        if token_in in bought_tokens:
            amount = min(has, int(wanted * part))
        else:
            share = wanted / remaining[token]
            share = round(share, _DIGITS) or share
            amount = has if last[token] == row else int(has * share)
            remaining[token] -= wanted
        if amount <= 0:
            return Unsettled(np.array([row], dtype=np.intp))
        pool = after.get(number) or market.pools[number]
        try:
            out = pool.quote_in(token_in, token_out, amount)
        except (LiquidityExhausted, BadAmount):
            return Unsettled(np.array([row], dtype=np.intp))
        if not out:
            return Unsettled(np.array([row], dtype=np.intp))
        swaps.append(Swap(pool, token_in, token_out, amount, out))
        if counts[number] > 1:
            after[number] = swaps[-1].pool_after
        held[token_in] = has - amount
        held[token_out] = held.get(token_out, 0) + out
    bought = {token: held[token] for token in bought_tokens if held.get(token)}
    left = {token: raw for token, raw in held.items() if raw and token not in bought_tokens}
    sold = {token: raw - left.pop(token, 0) for token, raw in sales_raw.items()}
    if left:  # no row takes this token on, because its flow was below the rounding
        lost = [row for row in rows if market.tokens[int(market.token_out[row])] in left]
        return Unsettled(np.array(lost, dtype=np.intp))
    return FilledFlow(tuple(swaps), {token: raw for token, raw in sold.items() if raw}, bought)


def route_hops(swaps: Sequence[Swap], bought: Mapping[str, int]) -> list[Hop]:
    """Hops of swaps, in their order.

    Purchased tokens go directly to the caller, unless a later hop sells some of them: then they stay, that hop names
    its amount, and the executor sends the remainder at the end. For all other tokens, the last hop sells the whole
    balance, so the route also works if slightly more or less arrives than planned.
    """
    last = {swap.token_in: at for at, swap in enumerate(swaps)}
    found: list[Hop] = []
    for at, swap in enumerate(swaps):
        is_kept = last.get(swap.token_out, -1) > at
        hop = swap.pool.hop(
            swap.token_in, swap.token_out, swap.amount_in_raw, to_caller=swap.token_out in bought and not is_kept
        )
        takes_all = last[swap.token_in] == at and swap.token_in not in bought
        found.append(replace(hop, amount_raw=0) if takes_all else hop)
    return found
