"""Plans over random markets, baskets and limits: exact, allowed, accepted by the policy, and never beaten."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from math import isqrt

from hypothesis import given, settings
from hypothesis import strategies as st

from rebalancer.plan import NoPlan, Plan, Problem, plan_rebalance
from rebalancer.reasons import Reason
from rebalancer.settlement import Asset, Basket, Policy, Price, State, weigh_basket
from rebalancer.units import BPS, E18
from rebalancer.venues import Token, UniswapV3Pool, synthetic
from scripts.benchmarks.markets import greedy, is_worse, market

BITCOIN = Token("0x" + "1" * 40, "WBTC", 8)
DOLLAR = Token("0x" + "2" * 40, "USDC", 6)
ETHER = Token("0x" + "3" * 40, "WETH", 18)
EURO = Token("0x" + "4" * 40, "EURC", 6)
SHIBA = Token("0x" + "5" * 40, "SHIB", 18)
USD_E18 = {
    BITCOIN: 30_000 * E18,
    DOLLAR: E18,
    ETHER: 2_000 * E18,
    EURO: 11 * E18 // 10,
    SHIBA: E18 // 100_000,
}
TOKENS = tuple(USD_E18)
BASKET = (BITCOIN, DOLLAR, ETHER, SHIBA)
TIERS = ((500, 10), (3_000, 60), (10_000, 200))

POLICY = Policy(
    start_slippage_bps=150,
    max_slippage_bps=150,
    slippage_ramp_seconds=1,
    min_progress_bps=1,
    dust_bps=10,
    cooldown_seconds=0,
    loss_budget_bps=200,
    loss_period_seconds=86_400,
    turnover_budget_bps=10_000,
    turnover_period_seconds=86_400,
)


@st.composite
def pools_of(draw: st.DrawFn, number: int) -> UniswapV3Pool:
    """A pool up to 1 % off the fair price, with $10,000 to $10m on each side."""
    token0, token1 = sorted(
        draw(st.lists(st.sampled_from(TOKENS), min_size=2, max_size=2, unique=True)),
        key=lambda token: token.address,
    )
    fee_pips, spacing = draw(st.sampled_from(TIERS))
    off = draw(st.integers(9_900, 10_100))
    depth_usd = int(10 ** draw(st.floats(4, 7)))
    over = USD_E18[token0] * 10**token1.decimals * off << 192
    under = USD_E18[token1] * 10**token0.decimals * BPS
    return synthetic(
        token0,
        token1,
        fee_pips=fee_pips,
        tick_spacing=spacing,
        sqrt_price_x96=isqrt(over // under),
        depth1_raw=depth_usd * E18 * 10**token1.decimals // USD_E18[token1],
        address=f"0x{number:040x}",
    )


@st.composite
def asks(draw: st.DrawFn) -> Problem:
    """A basket of a million dollars out of its bands, pools, and limits that may bind."""
    count = draw(st.integers(1, 9))
    pools = tuple(draw(pools_of(number)) for number in range(1, count + 1))
    parts = draw(st.lists(st.integers(1, 100), min_size=4, max_size=4))
    spread = draw(st.sampled_from((0, 10)))
    basket = Basket(
        tuple(Asset(t.address, E18 // 4, 100, t.decimals) for t in BASKET),
        tuple(part * 10_000 * E18 * 10**t.decimals // USD_E18[t] for t, part in zip(BASKET, parts, strict=True)),
        tuple(
            Price(USD_E18[t] * (BPS - spread) // BPS, USD_E18[t] * (BPS + spread) // BPS, USD_E18[t]) for t in BASKET
        ),
        timestamp=1_000,
        dust_bps=POLICY.dust_bps,
    )
    policy = replace(POLICY, destination_bps=draw(st.sampled_from((0, 0, 5_000))))
    limits = {
        name: draw(st.sampled_from((None, None, E18 // 10_000, E18 // 1_000, E18 // 50)))
        for name in ("loss_left_e18", "turnover_left_e18")
    }
    policy = replace(
        policy,
        loss_budget_bps=(limits["loss_left_e18"] or E18 // 50) * BPS // E18,
        turnover_budget_bps=(limits["turnover_left_e18"] or E18) * BPS // E18,
    )
    limit_bps = draw(st.sampled_from((40, 150)))
    policy = replace(policy, start_slippage_bps=limit_bps)
    if limit_bps == 40:  # the ramp has not begun
        policy = replace(policy, slippage_ramp_seconds=100)
    problem = Problem.of(
        basket,
        pools,
        policy=policy,
        state=State(),
        slippage_limit_e18=limit_bps * E18 // BPS,
        loss_left_e18=limits["loss_left_e18"],
        turnover_left_e18=limits["turnover_left_e18"],
        destination_bps=policy.destination_bps,
        gas_price_wei=draw(st.sampled_from((0, 10**9, 10**11))),
        native_price_e18=2_000 * E18,
    )
    return replace(problem, tip_wei=draw(st.sampled_from((0, 10**15))))


@given(asks())
def test_plan_of_any_market_is_exact_allowed_accepted_and_never_beaten(problem: Problem) -> None:
    found = plan_rebalance(problem)
    weighed = weigh_basket(problem.rules.basket if problem.rules else Basket((), (), ()))
    if isinstance(found, NoPlan):
        assert (found.reason is Reason.IN_BAND) == (weighed.broken is None)
        assert found.text
        return

    check_legs(problem, found)
    assert problem.allows(found.sales_raw, found.expected_buys_raw)
    assert found.settlement is not None
    assert found.settlement.after.distance_e18 < found.settlement.before.distance_e18
    lost_e18 = found.settlement.sold_e18 - found.settlement.bought_e18
    assert lost_e18 + found.cost.gas_e18 + found.cost.tip_e18 <= found.worth_e18 or (
        found.cost.gas_e18 + found.cost.tip_e18 == 0
    )
    check_never_beaten(problem, found)
    certificate = found.certificate
    # Floats bound it, to the rounding of floats.
    slack_e18 = certificate.sold_e18 // 10**9 + 10**12
    assert certificate.value_e18 <= certificate.bound_e18 + slack_e18
    assert certificate.value_e18 <= certificate.all_pools_bound_e18 + slack_e18


def check_legs(problem: Problem, plan: Plan) -> None:
    """Every leg is its pool's exact quote on what has arrived, each pool trades once, and nothing is left over."""
    held = defaultdict(int, zip(problem.tokens, plan.sales_raw, strict=True))
    after = {pool.key: pool for pool in problem.pools}
    for swap in plan.swaps:
        assert swap.pool == after[swap.pool.key]
        assert swap.amount_out_raw == swap.pool.quote_in(swap.token_in, swap.token_out, swap.amount_in_raw)
        after[swap.pool.key] = swap.pool_after
        held[swap.token_in] -= swap.amount_in_raw
        assert held[swap.token_in] >= 0
        held[swap.token_out] += swap.amount_out_raw
    bought = dict(zip(problem.tokens, plan.expected_buys_raw, strict=True))
    assert {token: raw for token, raw in held.items() if raw} == {token: raw for token, raw in bought.items() if raw}
    assert sum(cost.fee_e18 for cost in plan.swap_costs) == plan.cost.fee_e18
    assert sum(cost.impact_e18 for cost in plan.swap_costs) == plan.cost.impact_e18


def check_never_beaten(problem: Problem, plan: Plan) -> None:
    """The best single routes, found without any of the planner's code, are worth no more after gas."""
    single = greedy(problem)
    assert single is None or not is_worse(problem, plan, single.net_e18)


@settings(max_examples=max(10, settings().max_examples // 5))
@given(seed=st.integers(0, 10**9), stormy=st.booleans(), pools=st.integers(3, 16))
def test_plan_over_pools_of_all_kinds_is_never_beaten_nor_refused_for_nothing(
    seed: int, pools: int, *, stormy: bool
) -> None:
    problem = market(seed, stormy=stormy)
    problem = replace(problem, pools=problem.pools[:pools])
    single = greedy(problem)

    found = plan_rebalance(problem)

    if isinstance(found, NoPlan):
        assert single is None
        return
    check_legs(problem, found)
    assert problem.allows(found.sales_raw, found.expected_buys_raw)
    assert single is None or not is_worse(problem, found, single.net_e18)
