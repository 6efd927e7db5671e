"""What would one route a trade do? The ordinary way, beside which a plan is never worse.

Pure. The largest surplus is sold for the largest deficit, as much as both allow, on the one pool, or the
two pools in a row, that pay most for all of it; then what is left, the same way, at the prices that the
trades before left behind. Exact quotes throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.ask import PlanInput
from rebalancer.plan.split import Leg
from rebalancer.pools import Pool

__all__ = ["best_single", "single_routes"]


def single_routes(
    asked: PlanInput, sales_raw: Sequence[int], needs_raw: Sequence[int]
) -> list[Leg]:
    """The legs of selling these amounts for at most those, a route a trade; what has no route stays."""
    to_sell, to_buy = list(sales_raw), list(needs_raw)
    pools = {pool.key: pool for pool in asked.pools}
    by_pair = _by_pair(asked.pools)
    legs: list[Leg] = []
    tried: set[tuple[int, int]] = set()
    while True:
        open_pairs = [
            (min(asked.value_e18(i, sale), asked.value_e18(j, need)), i, j)
            for i, sale in enumerate(to_sell)
            if sale
            for j, need in enumerate(to_buy)
            if need and (i, j) not in tried
        ]
        if not open_pairs:
            return legs
        _, i, j = max(open_pairs)
        tried.add((i, j))
        # {raw i} = {raw j} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
        over = to_buy[j] * asked.prices_e18[j] * 10 ** asked.decimals[i]
        worth = over // (10 ** asked.decimals[j] * asked.prices_e18[i])
        amount = min(to_sell[i], worth)
        route = best_single(pools, by_pair, asked.tokens[i], asked.tokens[j], amount)
        while route and route[-1].amount_out_raw > to_buy[j]:
            amount = min(amount - 1, amount * to_buy[j] // route[-1].amount_out_raw)
            route = best_single(pools, by_pair, asked.tokens[i], asked.tokens[j], amount)
        if not route:
            continue
        legs += route
        pools |= {leg.pool.key: leg.pool_after for leg in route}
        to_sell[i] -= amount
        to_buy[j] -= route[-1].amount_out_raw


def best_single(
    pools: dict[str, Pool],
    by_pair: dict[tuple[str, str], list[str]],
    token_in: str,
    token_out: str,
    amount_raw: int,
) -> list[Leg]:
    """The one or two legs that pay most for the whole amount; none where no route can take it."""
    if amount_raw <= 0:
        return []
    routes = [[(key, token_in, token_out)] for key in by_pair.get((token_in, token_out), ())]
    middles = {to for at, to in by_pair if at == token_in and to != token_out}
    for middle in sorted(middles):
        firsts = by_pair[token_in, middle]
        for first, second in product(firsts, by_pair.get((middle, token_out), ())):
            if first != second:
                routes.append([(first, token_in, middle), (second, middle, token_out)])
    best: list[Leg] = []
    for route in routes:
        legs: list[Leg] = []
        amount = amount_raw
        try:
            for key, at, to in route:
                out = pools[key].quote_in(at, to, amount)
                legs.append(Leg(pools[key], at, to, amount, out))
                amount = out
        except (LiquidityExhausted, BadAmount):
            continue
        if amount and (not best or amount > best[-1].amount_out_raw):
            best = legs
    return best


def _by_pair(pools: Sequence[Pool]) -> dict[tuple[str, str], list[str]]:
    """Keys of the pools of each ordered pair of tokens."""
    found: dict[tuple[str, str], list[str]] = {}
    for pool in pools:
        traded = [token.address for token in pool.tokens]
        for at, to in product(traded, traded):
            if at != to:
                found.setdefault((at, to), []).append(pool.key)
    return found
