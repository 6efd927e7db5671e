"""Random markets with pools of all kinds, and a greedy trader to compare plans with.

Markets follow from a seed and are equal on all machines. `market` has a basket out of its bands with its policy and
limits, 2 to 12 tokens, and 3 to 60 pools of all protocols, whose depths differ by five orders of magnitude; in a stormy
market every seventh pool is up to 3 % off. `greedy` knows nothing of the planner: it takes the pool, or the two pools
in sequence, and the amount with the largest gain by exact quotes, makes that swap, and repeats, each pair of assets
once, while the vault would accept the trades so far. `measure_markets` counts plans that are worse than that, and
`bound_usd` is an upper bound of every gain.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import isqrt

import numpy as np

from rebalancer.errors import BadAmount, LiquidityExhausted, PolicyRefused
from rebalancer.plan import Plan, Problem, Swap, plan_rebalance
from rebalancer.plan.dual import solve
from rebalancer.plan.market import market_of
from rebalancer.plan.optimum import terms_of
from rebalancer.settlement import Asset, Basket, Fill, Policy, Price, State, settle
from rebalancer.units import BPS, E18
from rebalancer.venues import (
    BalancerWeightedPool,
    CurveCryptoPool,
    CurveStablePool,
    Pool,
    Token,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
    synthetic,
)
from rebalancer.venues.curve_cubic import A_MULTIPLIER
from rebalancer.venues.curve_math import A_PRECISION, crypto_d

__all__ = [
    "Greedy",
    "MarketFigures",
    "Planned",
    "bound_usd",
    "greedy",
    "is_worse",
    "market",
    "measure_markets",
    "net_e18",
    "rich_pairs",
]

_POLICY = Policy(
    start_slippage_bps=100,
    max_slippage_bps=100,
    slippage_ramp_seconds=1,
    min_progress_bps=1,
    dust_bps=10,
    cooldown_seconds=0,
    loss_budget_bps=200,
    loss_period_seconds=86_400,
    turnover_budget_bps=10_000,
    turnover_period_seconds=86_400,
)

_TIERS = ((100, 1), (500, 10), (3_000, 60), (10_000, 200))
_KINDS = ("V2", "V2", "V2", "V3", "V3", "V3", "V4", "weighted", "stable", "crypto")
_PARTS = (1, 2, 4, 8, 16, 32, 64)
"""Step of the greedy trader: the tradable amount of a pair divided by this."""


def market(seed: int, *, stormy: bool = True, every_kind: bool = False) -> Problem:
    """The market of a seed. In half of the markets a budget may bind, and in half gas has a price.

    With `every_kind`, Curve's pools with an even number are the current ones: stableswap-ng, tricrypto-ng and
    twocrypto-ng.
    """
    rng = random.Random(f"{seed} {stormy}")  # noqa: S311 - a scenario, guards nothing
    count = rng.randint(2, 12)
    tokens = [Token(f"0x{i + 1:040x}", f"T{i}", rng.choice((6, 8, 18, 18))) for i in range(count)]
    usd_e18 = [int(10 ** rng.uniform(-1, 4.5) * E18) for _ in tokens]
    coins = list(zip(tokens, usd_e18, strict=True))
    made = (_pool(rng, number, coins, stormy) for number in range(1, rng.randint(3, 60) + 1))
    if every_kind:
        made = (_ng(pool) if number % 2 == 0 else pool for number, pool in enumerate(made, 1))
    # V4 has at most one pool per pair and fee, also if more are drawn.
    pools = tuple({pool.key: pool for pool in made}.values())

    worth = 10 ** rng.uniform(5, 7)
    targets = [rng.uniform(0.5, 1.5) for _ in tokens]
    parts = [one * rng.uniform(0.6, 1.4) for one in targets]
    spread = rng.choice((0, 2, 10))
    targets_e18 = [int(one / sum(targets) * E18) for one in targets]
    targets_e18[0] += E18 - sum(targets_e18)
    loss_bps = rng.choice((200, 200, 200, 10, 2))
    turnover_bps = rng.choice((10_000, 10_000, 500, 100))
    policy = replace(
        _POLICY,
        loss_budget_bps=loss_bps,
        turnover_budget_bps=turnover_bps,
        destination_bps=rng.choice((0, 0, 5_000)),
        min_progress_bps=rng.choice((1, 1, 1, 500)),
    )
    basket = Basket(
        tuple(Asset(t.address, target, 100, t.decimals) for t, target in zip(tokens, targets_e18, strict=True)),
        tuple(
            int(worth * part / sum(parts) * 10**t.decimals * E18) // price
            for (t, price), part in zip(coins, parts, strict=True)
        ),
        tuple(Price(p * (BPS - spread) // BPS, p * (BPS + spread) // BPS, p) for p in usd_e18),
        timestamp=1_000,
        dust_bps=policy.dust_bps,
    )
    return Problem.of(
        basket,
        pools,
        policy=policy,
        state=State(),
        slippage_limit_e18=E18 // 100,
        loss_left_e18=loss_bps * E18 // BPS,
        turnover_left_e18=turnover_bps * E18 // BPS,
        destination_bps=policy.destination_bps,
        gas_price_wei=rng.choice((0, 10**9, 10**10)),
        native_price_e18=2_000 * E18,
    )


def rich_pairs(count: int) -> Problem:
    """Two tokens, equal pairs of $5m at 5 bps, of which every second is 1.5 % above the oracle, and $100,000 to
    sell."""
    token0, token1 = tokens = [Token(f"0x{i:040x}", f"T{i}", 18) for i in (1, 2)]
    reserve = 5 * 10**24
    pools = tuple(
        UniswapV2Pool(
            f"0x{number:040x}",
            token0,
            token1,
            (reserve, reserve * (1_000 + 15 * (number % 2)) // 1_000),
            5,
        )
        for number in range(1, count + 1)
    )
    return Problem(
        tokens=tuple(token.address for token in tokens),
        decimals=(18, 18),
        sales_max_raw=(10**23, 0),
        needs_max_raw=(0, 2 * 10**23),
        prices_e18=(E18, E18),
        lo_e18=(E18, E18),
        hi_e18=(E18, E18),
        pools=pools,
    )


def _pool(rng: random.Random, number: int, coins: Sequence[tuple[Token, int]], stormy: bool) -> Pool:
    """A pool of any kind, $2,000 to $200m deep, up to half its fee away from the oracle, or much further."""
    kind = rng.choice(_KINDS)
    depth_usd = int(10 ** rng.uniform(3.3, 8.3))
    fee_pips = int(10 ** rng.uniform(2, 4)) // 100 * 100
    off = 1 + rng.uniform(-0.5, 0.5) * fee_pips / 10**6
    if stormy and rng.randrange(7) == 0:
        off = 1 + rng.uniform(-0.03, 0.03)
    some = 3 if kind == "crypto" else rng.randint(2, 4) if kind in ("weighted", "stable") else 2
    if some > len(coins):
        some, kind = 2, "V2" if kind == "crypto" else kind
    # Most other tokens trade against the first two.
    chosen = sorted(
        {rng.randrange(2), *rng.sample(range(len(coins)), len(coins))[:some]},
        key=lambda _: rng.random(),
    )[:some]
    while len(chosen) < some:
        chosen.append(next(i for i in range(len(coins)) if i not in chosen))
    own = [coins[i] for i in sorted(chosen)]
    tokens = tuple(token for token, _ in own)
    address = f"0x{number:040x}"
    # Raw units worth the depth, of each token; the first one is shifted by the pool's distance from the oracle.
    balances = [max(1, depth_usd * E18 * 10**t.decimals // price) for t, price in own]
    balances[0] = max(1, int(balances[0] * off))
    match kind:
        case "V2":
            return UniswapV2Pool(address, tokens[0], tokens[1], (balances[0], balances[1]), max(1, fee_pips // 100))
        case "V3" | "V4":
            fee_pips, spacing = rng.choice(_TIERS)
            pool = synthetic(
                tokens[0],
                tokens[1],
                fee_pips=fee_pips,
                tick_spacing=spacing,
                sqrt_price_x96=isqrt((balances[1] << 192) // balances[0]),
                depth1_raw=balances[1],
                address=address,
            )
            return pool if kind == "V3" else _v4(pool)
        case "weighted":
            weights = [rng.choice((1, 2, 4)) for _ in own]
            weights_e18 = [weight * E18 // sum(weights) for weight in weights]
            weights_e18[0] += E18 - sum(weights_e18)
            balances = [max(1, b * w // E18) for b, w in zip(balances, weights_e18, strict=True)]
            id_ = address + f"{number:024x}"
            return BalancerWeightedPool(
                address,
                address,
                id_,
                tokens,
                tuple(balances),
                tuple(weights_e18),
                fee_pips * 10**12,
            )
        case "stable":
            rates = tuple(10 ** (36 - t.decimals) * price // E18 for t, price in own)
            a = rng.choice((50, 200, 2_000))
            fee = max(1, fee_pips // 10) * 10**4
            return CurveStablePool(address, tokens, tuple(balances), a, fee, 5 * 10**9, rates)
        case _:
            prices = tuple(price * E18 // own[0][1] for _, price in own[1:])
            crypto = CurveCryptoPool(
                address, tokens, tuple(balances), 1_707_629, 11_809_167_828_997, 0, prices, fee_pips * 10**3,
                fee_pips * 2 * 10**3, 5 * 10**14,
            )  # fmt: skip
            return replace(crypto, d=crypto_d(crypto._xp, crypto.a_coefficient, 1, crypto.gamma))


def _ng(pool: Pool) -> Pool:
    """A Curve pool as one of the kinds since 2023, of two coins if its address is a multiple of four; any other pool
    unchanged."""
    if isinstance(pool, CurveStablePool):
        a, off_peg = pool.a_coefficient * A_PRECISION, 2 * 10**10
        return replace(pool, a_coefficient=a, math_version="ng", offpeg_fee_multiplier_e10=off_peg)
    if not isinstance(pool, CurveCryptoPool):
        return pool
    coins = 2 if int(pool.address, 16) % 4 == 0 else 3
    found = replace(
        pool,
        tokens=pool.tokens[:coins],
        balances=pool.balances[:coins],
        price_scale_e18=pool.price_scale_e18[: coins - 1],
        a_coefficient=pool.a_coefficient if coins == 3 else 400_000,
        a_multiplier=A_MULTIPLIER,
        gamma=pool.gamma if coins == 3 else 145 * 10**12,
        math_version="ng",
    )
    return replace(found, d=found.fresh_d)


def _v4(pool: UniswapV3Pool) -> UniswapV4Pool:
    return UniswapV4Pool(
        pool.address,
        pool.token0,
        pool.token1,
        pool.profile,
        pool.sqrt_price_x96,
        pool.tick,
        pool.liquidity,
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """One market: time of its plan, and value of the plan and of its alternatives, in USD after the gas of the swaps.

    Values are None where there is no plan, or no single route. `bound_usd` is an upper bound of every value, also with
    circular trades.
    """

    stormy: bool
    seconds: float
    plan_usd: float | None
    single_usd: float | None
    bound_usd: float
    sold_usd: float
    gap: float
    is_worse: bool
    was_cut: bool


@dataclass(frozen=True, slots=True)
class MarketFigures:
    """Plans over random markets, half of them stormy: their times, and how many are worse than the best single routes.

    Seconds are processor time. `wrongly_refused` counts markets without a plan where single routes would trade, `cut`
    plans that stopped early. A gap is a plan's distance from the bound on all plans in its order of tokens, gas of each
    swap included, as a part of the sale.
    """

    markets: int
    plans: int
    random_p50_ms: float
    random_p99_ms: float
    calm_p99_ms: float
    stormy_p99_ms: float
    worse_than_single_pools: int
    wrongly_refused: int
    cut: int
    median_gap: float
    largest_gap: float
    gain_over_single_pools: float
    """Value of all plans divided by the value of all single routes."""


def measure_markets(count: int = 200) -> tuple[MarketFigures, list[Planned]]:
    """Plan every market with pools that the planner has not seen, except for their tick tables, as in a new block."""
    rows = [_planned(number // 2, stormy=number % 2 == 0) for number in range(count)]
    plans = [row for row in rows if row.plan_usd is not None]
    both = [row for row in plans if row.single_usd is not None]
    ours, theirs = sum(row.plan_usd or 0 for row in both), sum(row.single_usd or 0 for row in both)
    times = _hundredths(rows)
    figures = MarketFigures(
        markets=count,
        plans=len(plans),
        random_p50_ms=times[49],
        random_p99_ms=times[98],
        calm_p99_ms=_hundredths([row for row in rows if not row.stormy])[98],
        stormy_p99_ms=_hundredths([row for row in rows if row.stormy])[98],
        worse_than_single_pools=sum(row.is_worse for row in plans),
        wrongly_refused=sum(row.plan_usd is None and row.single_usd is not None for row in rows),
        cut=sum(row.was_cut for row in rows),
        median_gap=statistics.median(row.gap for row in plans),
        largest_gap=max(row.gap for row in plans),
        gain_over_single_pools=ours / max(1, theirs),
    )
    return figures, rows


def _hundredths(rows: Sequence[Planned]) -> list[float]:
    """Milliseconds within which 1, 2, … of 100 markets are planned."""
    return statistics.quantiles((row.seconds * 1e3 for row in rows), n=100)


def _planned(seed: int, *, stormy: bool) -> Planned:
    problem = market(seed, stormy=stormy, every_kind=True)
    plan_rebalance(problem)
    fresh = replace(problem, pools=tuple(replace(pool) for pool in problem.pools))  # type: ignore[type-var]  # every pool is a dataclass
    started = time.process_time()
    plan = plan_rebalance(fresh)
    seconds = time.process_time() - started
    single = greedy(problem)
    single_usd = single.net_e18 / E18 if single else None
    if not isinstance(plan, Plan):
        return Planned(stormy, seconds, None, single_usd, bound_usd(problem), 0.0, 0.0, False, False)
    sure = plan.certificate
    return Planned(
        *(stormy, seconds, net_e18(problem, plan) / E18, single_usd, bound_usd(problem)),
        sold_usd=sure.sold_e18 / E18,
        gap=(sure.all_pools_bound_e18 - sure.value_e18) / sure.sold_e18,
        is_worse=single is not None and is_worse(problem, plan, single.net_e18),
        was_cut=plan.was_cut,
    )


def bound_usd(problem: Problem) -> float:
    """Upper bound of every value after gas, at the dual's prices: the sum of each pool's best trade at these prices.

    The prices are the planner's; it is a bound at any prices. In pools of more than two tokens each pair counts as a
    pool.
    """
    pools = market_of(problem.pools)
    offer = terms_of(problem, pools).offer
    if not offer.sell_max.any() or not offer.buy_max.any():
        return 0.0
    found = solve(pools, offer)
    prices = np.exp(found.log_prices)
    cost, gain, bound = offer.cost, offer.gain, 0.0
    for multiplier, limit in zip(found.multipliers, offer.limits, strict=True):
        cost, gain = cost + multiplier * limit.sold, gain + multiplier * limit.bought
        bound += multiplier * limit.most
    bound += offer.sell_max @ np.maximum(prices - cost, 0)
    bound += offer.buy_max @ np.maximum(gain - prices, 0)
    for pool in problem.pools:
        for sold, bought in permutations((token.address for token in pool.tokens), 2):
            price_in, price_out = prices[pools.index[sold]], prices[pools.index[bought]]
            into, out = pool.flow_to(sold, bought, price_in / price_out)
            bound += max(0.0, price_out * out - price_in * into - problem.hop_cost_e18 / E18)
    return float(bound)


@dataclass(frozen=True, slots=True)
class Greedy:
    """Result of the greedy trader: swaps in order, sales and purchases (raw, in basket order), and their value less
    gas."""

    swaps: tuple[Swap, ...]
    sales_raw: tuple[int, ...]
    buys_raw: tuple[int, ...]
    net_e18: int


def net_e18(problem: Problem, plan: Plan) -> int:
    """Value of a plan less the gas of its swaps; USD * 1e18."""
    benefit_e18 = problem.benefit_e18(plan.sales_raw, plan.expected_buys_raw)
    return benefit_e18 - problem.hop_cost_e18 * len(plan.swaps)


def is_worse(problem: Problem, plan: Plan, worth_e18: int) -> bool:
    """Whether a plan is worth less than other trades by more than a millionth of its sale.

    A plan that ends inside all bands may be worth less by the cost of another rebalance.
    """
    slack_e18 = plan.certificate.sold_e18 // 10**6
    if plan.settlement is not None and plan.settlement.after.broken is None:
        slack_e18 += problem.sending_cost_e18(1)
    return net_e18(problem, plan) + slack_e18 < worth_e18


def greedy(problem: Problem) -> Greedy | None:
    """The best single routes, one after another, within all limits and accepted by the vault; None if no route is worth
    its gas."""
    problem = _within_need(problem)
    nothing = (0,) * len(problem.tokens)
    found = Greedy((), nothing, nothing, 0)
    accepted: Greedy | None = None
    pools = {pool.key: pool for pool in problem.pools}
    pairs = [
        (i, j)
        for i, sale in enumerate(problem.sales_max_raw)
        for j, need in enumerate(problem.needs_max_raw)
        if sale and need
    ]
    while True:
        best, used = found, None
        for pair in pairs:
            for route in _routes(problem, pools, found, pair):
                more = _with(problem, found, route)
                if more.net_e18 > best.net_e18 and problem.allows(more.sales_raw, more.buys_raw):
                    best, used = more, pair
        if used is None:
            return accepted
        pairs.remove(used)
        for swap in best.swaps[len(found.swaps) :]:
            pools[swap.pool.key] = swap.pool_after
        found = best
        if _accepted(problem, found):
            accepted = found


def _within_need(problem: Problem) -> Problem:
    """Sales and purchases scaled down together where the basket must move only a part of the distance, as in the
    planner."""
    if problem.need_max_e18 is None:
        return problem
    most = problem.need_max_e18 - len(problem.tokens)
    limits = []
    for amounts in (problem.sales_max_raw, problem.needs_max_raw):
        offered = sum(problem.value_e18(i, raw) + 1 for i, raw in enumerate(amounts) if raw)
        limits.append(tuple(raw * min(most, offered) // offered for raw in amounts))
    return replace(problem, sales_max_raw=limits[0], needs_max_raw=limits[1])


def _routes(
    problem: Problem, pools: Mapping[str, Pool], found: Greedy, pair: tuple[int, int]
) -> Iterator[tuple[Swap, ...]]:
    """One pool or two in sequence, at every size, without a circle with the present swaps."""
    i, j = pair
    ahead: dict[str, set[str]] = {}
    for swap in found.swaps:
        ahead.setdefault(swap.token_in, set()).add(swap.token_out)
    left = problem.sales_max_raw[i] - found.sales_raw[i]
    lacks = problem.needs_max_raw[j] - found.buys_raw[j]
    worth = lacks * problem.prices_e18[j] * 10 ** problem.decimals[i]
    most = min(left, worth // (10 ** problem.decimals[j] * problem.prices_e18[i]))
    if problem.sold_max_e18 is not None:
        spent, _ = problem.values_e18(found.sales_raw, found.buys_raw)
        room = (problem.sold_max_e18 - spent - 2) * 10 ** problem.decimals[i]
        most = min(most, room // problem.hi_e18[i])
    for path in _paths(pools, problem.tokens[i], problem.tokens[j], ahead) if most > 0 else ():
        for part in _PARTS:
            route = _along(path, problem.tokens[i], most // part)
            if route:
                yield route


def _paths(
    pools: Mapping[str, Pool], start: str, end: str, ahead: Mapping[str, set[str]]
) -> Iterator[tuple[tuple[Pool, str], ...]]:
    for pool in pools.values():
        names = [token.address for token in pool.tokens]
        if start not in names:
            continue
        for middle in names:
            if middle == start or _leads(ahead, middle, start):
                continue
            if middle == end:
                yield ((pool, end),)
                continue
            if _leads(ahead, end, middle):
                continue
            for other in pools.values():
                ends = [token.address for token in other.tokens]
                if other.key != pool.key and middle in ends and end in ends:
                    yield ((pool, middle), (other, end))


def _leads(ahead: Mapping[str, set[str]], start: str, end: str) -> bool:
    seen, open_ = {start}, [start]
    while open_:
        for token in ahead.get(open_.pop(), ()):
            if token not in seen:
                seen.add(token)
                open_.append(token)
    return end in seen


def _along(path: tuple[tuple[Pool, str], ...], start: str, amount: int) -> tuple[Swap, ...]:
    swaps: list[Swap] = []
    at = start
    for pool, to in path:
        try:
            out = pool.quote_in(at, to, amount)
        except (BadAmount, LiquidityExhausted):
            return ()
        if not out:
            return ()
        swaps.append(Swap(pool, at, to, amount, out))
        at, amount = to, out
    return tuple(swaps)


def _with(problem: Problem, found: Greedy, route: tuple[Swap, ...]) -> Greedy:
    sales, buys = list(found.sales_raw), list(found.buys_raw)
    sales[problem.tokens.index(route[0].token_in)] += route[0].amount_in_raw
    buys[problem.tokens.index(route[-1].token_out)] += route[-1].amount_out_raw
    swaps = found.swaps + route
    worth_e18 = problem.benefit_e18(sales, buys) - problem.hop_cost_e18 * len(swaps)
    return Greedy(swaps, tuple(sales), tuple(buys), worth_e18)


def _accepted(problem: Problem, found: Greedy) -> bool:
    """Whether the vault would accept the trades, and they are worth their gas."""
    for i, least in enumerate(problem.min_trades_raw):
        bought_raw = found.buys_raw[i] * (BPS - problem.tolerance_bps) // BPS
        if 0 < found.sales_raw[i] < least or (found.buys_raw[i] and bought_raw < least):
            return False
    sold_e18, bought_e18 = problem.values_e18(found.sales_raw, found.buys_raw)
    total_e18 = problem.worth_e18 if problem.total_worth_e18 is None else problem.total_worth_e18
    gas_e18 = problem.sending_cost_e18(len(found.swaps))
    if gas_e18 and sold_e18 - bought_e18 + gas_e18 > sold_e18 * total_e18 // E18:
        return False
    if problem.rules is None:
        return True
    rules = problem.rules
    least_raw = [max(1, raw * (BPS - problem.tolerance_bps) // BPS) if raw else 0 for raw in found.buys_raw]
    try:
        settle(
            *(rules.policy, rules.state, rules.basket, Fill(found.sales_raw, found.buys_raw)),
            *(least_raw, rules.timestamp),
            epoch=rules.state.epoch,
            sales=found.sales_raw,
        )
    except PolicyRefused:
        return False
    return True
