"""Time of a plan over 100 pools of 20 tokens, its distance from the optimum, and the cost of other methods.

No chain is involved: depths of pools and distances from the oracle follow from a seed, with as many ticks as real pools
have. Three other methods trade the same basket with exact quotes: each pair in its best single pool; each pair over all
its pools by depth; and pair after pair, each with its best split.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isqrt

from rebalancer.errors import BadAmount, LiquidityExhausted, NoRoute
from rebalancer.plan import NoPlan, Plan, Problem, best_sale, plan_rebalance
from rebalancer.plan.swap import Swap, pools_after
from rebalancer.settlement import Asset, Basket, Policy, Price, State
from rebalancer.units import BPS, E18
from rebalancer.venues import InitializedTick, Pool, TickProfile, Token, UniswapV3Pool, synthetic

__all__ = ["POLICY", "PlanFigures", "in_band", "measure_plan", "out_of_band", "ways"]

_SEED = 4
_TOKENS, _POOLS = 20, 100
_TIERS = ((500, 10), (3_000, 60), (3_000, 60), (10_000, 200))
_POSITIONS = 40
_SAMPLES = 200

POLICY = Policy(
    start_slippage_bps=100,
    max_slippage_bps=100,
    slippage_ramp_seconds=1,
    min_progress_bps=1_000,
    dust_bps=10,
    cooldown_seconds=0,
    loss_budget_bps=100,
    loss_period_seconds=86_400,
    turnover_budget_bps=10_000,
    turnover_period_seconds=86_400,
)


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """Processor seconds of a plan with new pools, with known pools, with a gas price, and in band.

    `gap_before` and `gap` are fractions of the sale, before and after rounding to whole units. `cost_bps` is the loss
    of the plan and of other methods, by name, without gas.
    """

    new_block_median_s: float
    new_block_p99_s: float
    same_block_median_s: float
    same_block_p99_s: float
    with_gas_median_s: float
    with_gas_p99_s: float
    in_band_median_s: float
    in_band_p99_s: float
    swaps: int
    steps: int
    sold_usd: float
    gap_before: float
    gap: float
    cost_bps: dict[str, float]


def measure_plan(samples: int = _SAMPLES) -> PlanFigures:
    """Measure one scenario."""
    problem = out_of_band()
    plan = plan_rebalance(problem)
    if isinstance(plan, NoPlan):
        raise AssertionError(f"the scenario must have a plan: {plan.text}")
    idle = in_band()
    if not isinstance(plan_rebalance(idle), NoPlan):
        raise AssertionError("the scenario must be in band")
    states = [_new_block(problem) for _ in range(samples)]
    fresh = _times([partial(plan_rebalance, one) for one in states])
    again = _times([lambda: plan_rebalance(problem)] * samples)
    dear = replace(problem, gas_price_wei=10**9, native_price_e18=2_000 * E18)
    weighed = _times([lambda: plan_rebalance(dear)] * samples)
    nothing = _times([lambda: plan_rebalance(idle)] * samples)
    return PlanFigures(
        *fresh,
        *again,
        *weighed,
        *nothing,
        len(plan.swaps),
        plan.certificate.steps,
        plan.certificate.sold_e18 / E18,
        plan.certificate.gap_before_rounding,
        plan.certificate.gap,
        ways(problem, plan),
    )


def out_of_band(seed: int = _SEED) -> Problem:
    """A basket of 20 tokens worth 10 million dollars, far out of its bands, and 100 pools."""
    rng = random.Random(seed)  # noqa: S311 - a scenario, guards nothing
    tokens, usd = _tokens(rng)
    basket = _basket(tokens, usd, [1 + rng.uniform(-0.25, 0.25) for _ in tokens])
    return Problem.of(basket, _pools(rng, tokens, usd), policy=POLICY, state=State())


def in_band(seed: int = _SEED) -> Problem:
    """The same vault with every weight inside its band."""
    rng = random.Random(seed)  # noqa: S311 - a scenario, guards nothing
    tokens, usd = _tokens(rng)
    basket = _basket(tokens, usd, [1 + rng.uniform(-0.01, 0.01) for _ in tokens])
    return Problem.of(basket, _pools(rng, tokens, usd), policy=POLICY, state=State())


def ways(problem: Problem, plan: Plan) -> dict[str, float]:
    """Loss of the plan and of other methods, in basis points of the sale."""
    found = {"plan": _cost_bps(problem, plan.sales_raw, plan.expected_buys_raw)}
    pair_ways: dict[str, _Way] = {
        "pair after pair, each at its best": _best_way,
        "best single pool": _best_pool,
        "proportional to depth": _by_depth,
    }
    for name, way in pair_ways.items():
        found[name] = _cost_bps(problem, *_pair_after_pair(problem, way))
    return found


_Way = Callable[[Sequence[Pool], str, str, int], list[Swap]]


def _pair_after_pair(problem: Problem, way: _Way) -> tuple[list[int], list[int]]:
    """Trade the largest surplus against the largest deficit until one side is used up."""
    to_sell, to_buy = list(problem.sales_max_raw), list(problem.needs_max_raw)
    sold, bought = [0] * len(to_sell), [0] * len(to_buy)
    pools: Sequence[Pool] = problem.pools
    while True:
        worth = [problem.value_e18(i, raw) for i, raw in enumerate(to_sell)]
        wanted = [problem.value_e18(j, raw) for j, raw in enumerate(to_buy)]
        i, j = worth.index(max(worth)), wanted.index(max(wanted))
        if min(worth[i], wanted[j]) < E18:
            return sold, bought
        amount = to_sell[i] * min(worth[i], wanted[j]) // worth[i]
        swaps = way(pools, problem.tokens[i], problem.tokens[j], amount)
        if not swaps:
            to_buy[j] = 0
            continue
        pools = pools_after(pools, swaps)
        out = sum(swap.amount_out_raw for swap in swaps if swap.token_out == problem.tokens[j])
        sold[i] += amount
        bought[j] += out
        to_sell[i] -= amount
        to_buy[j] = max(0, to_buy[j] - max(out, 1))
        if wanted[j] <= worth[i]:
            to_buy[j] = 0


def _best_way(pools: Sequence[Pool], token_in: str, token_out: str, amount: int) -> list[Swap]:
    try:
        return list(best_sale(pools, {token_in: amount}, token_out))
    except NoRoute:
        return []


def _direct(pools: Sequence[Pool], token_in: str, token_out: str) -> list[Pool]:
    return [p for p in pools if {t.address for t in p.tokens} == {token_in, token_out}]


def _quoted(pool: Pool, token_in: str, token_out: str, amount: int) -> Swap | None:
    try:
        return Swap(pool, token_in, token_out, amount, pool.quote_in(token_in, token_out, amount))
    except (LiquidityExhausted, BadAmount):
        return None


def _best_pool(pools: Sequence[Pool], token_in: str, token_out: str, amount: int) -> list[Swap]:
    """The pool of the pair that pays most; by an intermediate token if the pair has no pool."""
    found = [
        swap for pool in _direct(pools, token_in, token_out) if (swap := _quoted(pool, token_in, token_out, amount))
    ]
    if found:
        return [max(found, key=lambda swap: swap.amount_out_raw)]
    return _through(pools, token_in, token_out, amount, _best_pool)


def _by_depth(pools: Sequence[Pool], token_in: str, token_out: str, amount: int) -> list[Swap]:
    """All pools of the pair, in proportion to their liquidity."""
    direct = [p for p in _direct(pools, token_in, token_out) if isinstance(p, UniswapV3Pool)]
    if not direct:
        return _through(pools, token_in, token_out, amount, _by_depth)
    depth = sum(pool.liquidity for pool in direct)
    shares = [amount * pool.liquidity // depth for pool in direct]
    shares[0] += amount - sum(shares)
    swaps = [_quoted(p, token_in, token_out, s) for p, s in zip(direct, shares, strict=True) if s]
    found = [swap for swap in swaps if swap]
    return found if len(found) == len(swaps) else []


def _through(pools: Sequence[Pool], token_in: str, token_out: str, amount: int, way: _Way) -> list[Swap]:
    """By the token that most pools trade, as intermediate token."""
    counts: dict[str, int] = {}
    for pool in pools:
        for token in pool.tokens:
            counts[token.address] = counts.get(token.address, 0) + 1
    middle = max(counts, key=lambda token: counts[token])
    if middle in (token_in, token_out) or not _direct(pools, middle, token_out):
        return []
    if not _direct(pools, token_in, middle):
        return []
    first = way(pools, token_in, middle, amount)
    got = sum(swap.amount_out_raw for swap in first)
    return first + way(pools_after(pools, first), middle, token_out, got) if got else []


def _cost_bps(problem: Problem, sales: Sequence[int], buys: Sequence[int]) -> float:
    sold = sum(problem.value_e18(i, raw) for i, raw in enumerate(sales))
    bought = sum(problem.value_e18(j, raw) for j, raw in enumerate(buys))
    return (sold - bought) * BPS / sold


def _tokens(rng: random.Random) -> tuple[list[Token], list[int]]:
    """Tokens and their prices, USD * 1e18."""
    tokens = [Token(f"0x{i + 1:040x}", f"T{i}", rng.choice((6, 8, 18, 18))) for i in range(_TOKENS)]
    return tokens, [int(10 ** rng.uniform(-1, 4.5) * E18) for _ in tokens]


def _basket(tokens: Sequence[Token], usd: Sequence[int], parts: Sequence[float]) -> Basket:
    return Basket(
        tuple(Asset(t.address, E18 // _TOKENS, 100, t.decimals) for t in tokens),
        tuple(
            int(500_000 * part * 10**t.decimals * E18) // price
            for t, price, part in zip(tokens, usd, parts, strict=True)
        ),
        tuple(Price(price * 9_995 // BPS, price * 10_005 // BPS, price) for price in usd),
        timestamp=1_000,
        dust_bps=POLICY.dust_bps,
    )


def _pools(rng: random.Random, tokens: Sequence[Token], usd: Sequence[int]) -> tuple[UniswapV3Pool, ...]:
    """Every token against the first two, and pairs at random, each up to half its fee off the oracle."""
    pairs = [(0, i) for i in range(1, _TOKENS)] + [(1, i) for i in range(2, _TOKENS)]
    while len(pairs) < _POOLS:
        i, j = sorted(rng.sample(range(_TOKENS), 2))
        pairs.append((i, j))
    return tuple(_pool(rng, number, (tokens[i], tokens[j]), (usd[i], usd[j])) for number, (i, j) in enumerate(pairs, 1))


def _pool(rng: random.Random, number: int, pair: tuple[Token, Token], usd: tuple[int, int]) -> UniswapV3Pool:
    fee_pips, spacing = rng.choice(_TIERS)
    off = BPS**2 + rng.randint(-fee_pips, fee_pips) * 50
    # {raw1/raw0} = {usd/token0} / {usd/token1} * 10^decimals1 / 10^decimals0
    over = usd[0] * 10 ** pair[1].decimals * off << 192
    under = usd[1] * 10 ** pair[0].decimals * BPS**2
    depth_usd = int(10 ** rng.uniform(5.5, 7.5))
    pool = synthetic(
        *pair,
        fee_pips=fee_pips,
        tick_spacing=spacing,
        sqrt_price_x96=isqrt(over // under),
        depth1_raw=depth_usd * E18 * 10 ** pair[1].decimals // usd[1],
        address=f"0x{number:040x}",
    )
    return _with_positions(rng, pool)


def _with_positions(rng: random.Random, pool: UniswapV3Pool) -> UniswapV3Pool:
    """The pool with random positions around its price, so that it has as many ticks as real pools."""
    moves = {tick.at: [tick.gross, tick.net] for tick in pool.profile.ticks}
    spacing = pool.tick_spacing
    for _ in range(_POSITIONS):
        low = (pool.tick + rng.randint(-2_000, 1_500)) // spacing * spacing
        high = low + rng.randint(1, 40) * spacing
        amount = pool.liquidity // rng.randint(20, 200)
        for at, net in ((low, amount), (high, -amount)):
            gross_there, net_there = moves.setdefault(at, [0, 0])
            moves[at] = [gross_there + amount, net_there + net]
    ticks = tuple(InitializedTick(at, gross, net) for at, (gross, net) in sorted(moves.items()) if gross)
    profile = TickProfile(pool.fee_pips, spacing, ticks)
    return replace(pool, profile=profile, liquidity=profile.liquidity_at(pool.tick))


def _new_block(problem: Problem) -> Problem:
    """The same states in new objects, as in a new block: only the tick tables are shared."""
    return replace(problem, pools=tuple(replace(p) for p in problem.pools if isinstance(p, UniswapV3Pool)))


def _times(works: Sequence[Callable[[], object]]) -> tuple[float, float]:
    """Median and 99th percentile, in processor seconds."""
    for work in works[:10]:
        work()
    seconds = []
    for work in works:
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[-1]
