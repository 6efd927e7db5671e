"""Baselines for the planner: the costs of two common routing methods. Pure.

Both trade pair after pair, the largest surplus against the largest deficit. "Best single pool" trades a pair on one
pool. "Proportional split" trades on every pool of the pair, in proportion to its depth: the amount that moves its price
by one percent. If no pool trades the pair, both route through the token that most pools trade. Costs come from exact
quotes, each after the trades before it.

Amounts are raw units in basket order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import BadAmount, LiquidityExhausted, PolicyRefused
from rebalancer.keeper.decide import Action, Conditions, decide, plan_input, wants_plan
from rebalancer.plan import Problem, Swap
from rebalancer.reasons import Reason
from rebalancer.settlement import Fill, settle
from rebalancer.units import E18, PIPS
from rebalancer.venues import Pool

__all__ = ["BASELINES", "Baseline", "Order", "Traded", "ordinary", "trade"]

_DEPTH = 0.99
"""A pool's depth is the amount that lowers its price to this fraction."""

_PARTS = (1, 2, 4)
"""Divisors of the trade. If the vault refuses the whole trade, half of it is tried, then a quarter."""

_WORTH_TRADING_E18 = E18
"""Minimum trade of a pair, in USD times 1e18: one dollar."""

Baseline = Callable[[Sequence[Pool], str, str, int], list[Swap] | None]
"""Swaps that sell an amount of one token for another; None if the pools cannot."""


@dataclass(frozen=True, slots=True)
class Traded:
    """Trades of a baseline: its swaps in order, and their total sales and purchases."""

    swaps: tuple[Swap, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]

    @property
    def min_buys_raw(self) -> tuple[int, ...]:
        """The expected purchases: a baseline allows no slippage."""
        return self.buys_raw


@dataclass(frozen=True, slots=True)
class Order:
    """The next action for a vault under a baseline, like `keeper.decide.Verdict`."""

    step: Action
    reason: Reason
    text: str
    plan: Traded | None = None


def best_pool(pools: Sequence[Pool], token_in: str, token_out: str, amount_raw: int) -> list[Swap] | None:
    """Trade the whole amount on the pool that pays most."""
    found = [
        swap
        for pool in _of_pair(pools, token_in, token_out)
        if (swap := _quoted(pool, token_in, token_out, amount_raw))
    ]
    return [max(found, key=lambda swap: swap.amount_out_raw)] if found else None


def by_depth(pools: Sequence[Pool], token_in: str, token_out: str, amount_raw: int) -> list[Swap] | None:
    """Split the amount over all pools of the pair, in proportion to their depth."""
    direct = _of_pair(pools, token_in, token_out)
    depths = [_depth(pool, token_in, token_out) for pool in direct]
    if not sum(depths):
        return None
    shares = [amount_raw * depth // sum(depths) for depth in depths]
    shares[depths.index(max(depths))] += amount_raw - sum(shares)
    swaps = [_quoted(pool, token_in, token_out, share) for pool, share in zip(direct, shares, strict=True) if share]
    found = [swap for swap in swaps if swap]
    return found if len(found) == len(swaps) else None


BASELINES: dict[str, Baseline] = {"best single pool": best_pool, "proportional split": by_depth}


def trade(problem: Problem, baseline: Baseline, sales_raw: Sequence[int], needs_raw: Sequence[int]) -> Traded | None:
    """Sell `sales_raw` for at most `needs_raw`, less the trading losses. None if a pair cannot be traded."""
    pools = {pool.key: pool for pool in problem.pools}
    to_sell, to_buy = list(sales_raw), list(needs_raw)
    sold, bought, swaps = [0] * len(to_sell), [0] * len(to_buy), list[Swap]()
    while True:
        worth = [problem.value_e18(i, raw) for i, raw in enumerate(to_sell)]
        wanted = [problem.value_e18(j, raw) for j, raw in enumerate(to_buy)]
        i, j = worth.index(max(worth)), wanted.index(max(wanted))
        if min(worth[i], wanted[j]) < _WORTH_TRADING_E18:
            return Traded(tuple(swaps), tuple(sold), tuple(bought)) if swaps else None
        all_of_it = worth[i] <= wanted[j]
        amount = to_sell[i] if all_of_it else to_sell[i] * wanted[j] // worth[i]
        found = _routed(list(pools.values()), problem.tokens[i], problem.tokens[j], amount, baseline)
        if found is None:
            return None
        pools |= {swap.pool.key: swap.pool_after for swap in found}
        swaps += found
        out = sum(swap.amount_out_raw for swap in found if swap.token_out == problem.tokens[j])
        sold[i] += amount
        bought[j] += out
        to_sell[i] -= amount
        # The loss of this trade is not bought by another trade.
        to_buy[j] = to_buy[j] * (wanted[j] - worth[i]) // wanted[j] if all_of_it else 0


def ordinary(snapshot: VaultSnapshot, pools: Sequence[Pool], conditions: Conditions, baseline: Baseline) -> Order:
    """Decision of a keeper that uses a baseline: it trades as much and as early as possible, if worth the gas."""
    if not wants_plan(snapshot):
        verdict = decide(snapshot, pools, conditions)
        return Order(verdict.step, verdict.reason, verdict.text)
    problem = plan_input(snapshot, pools, conditions).at_once
    why = "no pools trade these tokens"
    for part in _PARTS:
        sales = [raw // part for raw in snapshot.sales_allowed]
        sold_e18 = sum(problem.value_e18(i, raw) for i, raw in enumerate(sales))
        offered = [problem.value_e18(j, raw) for j, raw in enumerate(problem.needs_max_raw)]
        share = min(1.0, sold_e18 / max(1, sum(offered)))
        done = trade(problem, baseline, sales, [int(raw * share) for raw in problem.needs_max_raw])
        if done is None:
            continue
        try:
            settled = settle(
                *(snapshot.policy, snapshot.state, snapshot.basket),
                *(Fill(done.sales_raw, done.buys_raw), done.buys_raw, snapshot.basket.timestamp),
                epoch=snapshot.state.epoch,
                sales=done.sales_raw,
            )
        except PolicyRefused as refusal:
            why = str(refusal)
            continue
        paid_e18 = problem.sending_cost_e18(len(done.swaps))
        worth_e18 = settled.sold_e18 * (problem.total_worth_e18 or 0) // E18
        if settled.sold_e18 - settled.bought_e18 + paid_e18 > worth_e18:
            return Order(Action.NOTHING, Reason.NOT_WORTH_GAS, "the trade is not worth its gas")
        return Order(Action.REBALANCE, snapshot.reason, "", done)
    unseen = not snapshot.state.due_since
    return Order(Action.POKE if unseen else Action.NOTHING, Reason.POLICY_REFUSES, why)


def _routed(
    pools: Sequence[Pool], token_in: str, token_out: str, amount_raw: int, baseline: Baseline
) -> list[Swap] | None:
    """The swaps on pools of the pair, or else through the token that most pools trade."""
    if _of_pair(pools, token_in, token_out):
        return baseline(pools, token_in, token_out, amount_raw)
    counts = Counter(token.address for pool in pools for token in pool.tokens)
    middle = max(counts, key=lambda token: (counts[token], token))
    if middle in (token_in, token_out):
        return None
    first = baseline(pools, token_in, middle, amount_raw)
    if not first:
        return None
    moved = {swap.pool.key: swap.pool_after for swap in first}
    after = [moved.get(pool.key, pool) for pool in pools]
    second = baseline(after, middle, token_out, sum(swap.amount_out_raw for swap in first))
    return first + second if second else None


def _of_pair(pools: Sequence[Pool], token_in: str, token_out: str) -> list[Pool]:
    return [p for p in pools if {token_in, token_out} <= {token.address for token in p.tokens}]


def _quoted(pool: Pool, token_in: str, token_out: str, amount_raw: int) -> Swap | None:
    try:
        out = pool.quote_in(token_in, token_out, amount_raw)
    except (LiquidityExhausted, BadAmount):
        return None
    return Swap(pool, token_in, token_out, amount_raw, out) if out else None


def _depth(pool: Pool, token_in: str, token_out: str) -> int:
    """Amount in, in raw units, after which the next unit pays one percent less than at the spot price."""
    spot = float(pool.spot_price(token_in, token_out))
    kept = 1 - pool.fee_pips / PIPS
    return pool.flow_to(token_in, token_out, spot * kept * _DEPTH)[0]
