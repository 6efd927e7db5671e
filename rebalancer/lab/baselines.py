"""What would an ordinary keeper pay? Two usual ways to route, beside which a plan is measured. Pure.

Both trade pair after pair, the largest surplus against the largest deficit, and know one pool at a time: the best
single pool takes all of a pair's trade; the proportional split gives every pool of the pair a part as large as its
depth, which is what moves its price by one percent. Where no pool has the pair they go through the token that most pools
trade. Exact quotes decide what is paid, each after the trades before.

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
"""A pool's depth is what it takes until its price has fallen to this part."""

_PARTS = (1, 2, 4)
"""Where the vault refuses the whole trade, a half of it is tried, then a quarter; less is seldom progress enough."""

_WORTH_TRADING_E18 = E18
"""A dollar: what is left of a pair below it is not traded."""

Baseline = Callable[[Sequence[Pool], str, str, int], list[Swap] | None]
"""The legs that sell an amount of one token for another; None where the pools cannot."""


@dataclass(frozen=True, slots=True)
class Traded:
    """What a way does: its swaps in order, and what they come to."""

    swaps: tuple[Swap, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]

    @property
    def min_buys_raw(self) -> tuple[int, ...]:
        """Exactly what is expected."""
        return self.buys_raw


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done about a vault, as `keeper.decide.Verdict` says it, for any way."""

    step: Action
    reason: Reason
    text: str
    plan: Traded | None = None


def best_pool(pools: Sequence[Pool], token_in: str, token_out: str, amount_raw: int) -> list[Swap] | None:
    """All on the pool that pays most."""
    found = [
        swap
        for pool in _of_pair(pools, token_in, token_out)
        if (swap := _quoted(pool, token_in, token_out, amount_raw))
    ]
    return [max(found, key=lambda swap: swap.amount_out_raw)] if found else None


def by_depth(pools: Sequence[Pool], token_in: str, token_out: str, amount_raw: int) -> list[Swap] | None:
    """A part on every pool, in proportion to its depth."""
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
    """Sell these amounts for at most those, a little less where trading loses; None where a pair cannot be traded."""
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
        # What the trade lost stays missing: it is not bought by another.
        to_buy[j] = to_buy[j] * (wanted[j] - worth[i]) // wanted[j] if all_of_it else 0


def ordinary(snapshot: VaultSnapshot, pools: Sequence[Pool], conditions: Conditions, baseline: Baseline) -> Order:
    """What a keeper decides who routes that way: as much as the vault lets it, as soon as it does, if it is worth the gas."""
    if not wants_plan(snapshot):
        verdict = decide(snapshot, pools, conditions)
        return Order(verdict.step, verdict.reason, verdict.text)
    problem = plan_input(snapshot, pools, conditions).at_once
    why = "no pools for it"
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
            return Order(Action.NOTHING, Reason.NOT_WORTH_GAS, "it is not worth its gas")
        return Order(Action.REBALANCE, snapshot.reason, "", done)
    unseen = not snapshot.state.due_since
    return Order(Action.POKE if unseen else Action.NOTHING, Reason.POLICY_REFUSES, why)


def _routed(
    pools: Sequence[Pool], token_in: str, token_out: str, amount_raw: int, baseline: Baseline
) -> list[Swap] | None:
    """Directly, or through the token that most pools trade."""
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
    """Raw units in until the next one pays a percent less than the first would at the spot price."""
    spot = float(pool.spot_price(token_in, token_out))
    kept = 1 - pool.fee_pips / PIPS
    return pool.flow_to(token_in, token_out, spot * kept * _DEPTH)[0]
