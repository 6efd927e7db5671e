"""The dual problem on pools whose answers can be worked out by hand, and what a market says of its pools."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from rebalancer.errors import BadAmount, LiquidityExhausted
from rebalancer.plan.dual import Offer, Solution, solve
from rebalancer.plan.effort import Effort
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.optimum import optimum, terms_of
from rebalancer.plan.sale import prices_in
from rebalancer.units import E18, PIPS
from rebalancer.venues import (
    BalancerWeightedPool,
    InitializedTick,
    Pool,
    TickProfile,
    Token,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
    WrappedEtherPool,
    synthetic,
)
from rebalancer.venues.model import ETHER_ADDRESS
from rebalancer.venues.uniswap_v3_math import MAX_TICK, Q96, tick_at_sqrt
from scripts.benchmarks.markets import market as market_of_seed
from tests.unit.pairs import FEE_PIPS, RAW, A, B, C, pair
from tests.unit.test_flow_to_swaps import ThreeTokens

KEPT = 1 - FEE_PIPS / PIPS


def solved(pools: tuple[Pool, ...], sell: float, buy: float, cost: float, gain: float = 1.0) -> tuple[Market, Solution]:
    """A is sold at `cost`, B bought at `gain`; every token is worth a dollar a whole one. Amounts in whole tokens."""
    market = Market(pools)
    size = len(market.tokens)
    sell_max, buy_max = np.zeros((2, size))
    sell_max[market.index[A.address]] = sell * RAW
    buy_max[market.index[B.address]] = buy * RAW
    prices = np.full(size, 1 / RAW)
    return market, solve(market, Offer(sell_max, buy_max, cost * prices, gain * prices, prices))


def whole(market: Market, amounts: NDArray[np.float64], token: Token) -> float:
    """An amount of a token in whole ones."""
    return float(amounts[market.index[token.address]]) / RAW


def is_at_bound(market: Market, found: Solution) -> dict[str, bool]:
    """Of A and B, whether all is traded that may be."""
    return {token.symbol: bool(found.is_at_bound[market.index[token.address]]) for token in (A, B)}


def test_dual_sells_all_where_the_last_unit_is_still_worth_it() -> None:
    market, found = solved((pair(A, B, 9, 1_000, 1_000),), sell=10, buy=100, cost=0.9)

    # x · y = k: 9.97 of 10 move the price, and 1000 · 9.97 / 1009.97 come out.
    assert whole(market, found.sold, A) == pytest.approx(10, rel=1e-12)
    assert whole(market, found.bought, B) == pytest.approx(9_970 / 1_009.97, rel=1e-10)
    assert found.value == pytest.approx(9_970 / 1_009.97 - 9, rel=1e-9)
    assert abs(found.bound - found.value) < 1e-9
    # The price of A is what its last unit yields: 0.997 · 10⁶ / 1009.97².
    price = math.exp(found.log_prices[market.index[A.address]]) * RAW
    assert price == pytest.approx(0.997e6 / 1_009.97**2, rel=1e-9)
    assert is_at_bound(market, found) == {"A": True, "B": False}


def test_dual_stops_where_the_last_unit_is_worth_its_cost() -> None:
    market, found = solved((pair(A, B, 9, 1_000, 1_000),), sell=100, buy=1_000, cost=0.95)

    # 0.997 · 10⁶ / (1000 + 0.997 x)² = 0.95
    last = (math.sqrt(KEPT * 1e6 / 0.95) - 1_000) / KEPT
    assert whole(market, found.sold, A) == pytest.approx(last, rel=1e-9)
    assert found.bound - found.value < 1e-8 * last


def test_dual_stops_where_as_much_is_bought_as_may_be() -> None:
    market, found = solved((pair(A, B, 9, 1_000, 1_000),), sell=100, buy=10, cost=0.9)

    # 1000 · 0.997 x / (1000 + 0.997 x) = 10
    assert whole(market, found.bought, B) == pytest.approx(10, rel=1e-10)
    assert whole(market, found.sold, A) == pytest.approx(10_000 / 990 / KEPT, rel=1e-9)
    assert is_at_bound(market, found) == {"A": False, "B": True}


def test_dual_trades_nothing_that_loses_and_is_sure_of_it() -> None:
    market, found = solved((pair(A, B, 9, 1_000, 1_000),), sell=10, buy=10, cost=0.998)

    assert whole(market, found.sold, A) == whole(market, found.bought, B) == 0
    assert found.bound == pytest.approx(0, abs=1e-9)


def test_dual_divides_a_sale_by_depth() -> None:
    """Pools alike but for their depth: each takes in proportion, and all end at one price."""
    pools = tuple(pair(A, B, 9 + i, 1_000 * i, 1_000 * i) for i in (1, 2, 5))
    market, found = solved(pools, sell=80, buy=1_000, cost=0.5)

    into_a = found.flows.amounts_in[market.token_in == market.index[A.address]] / RAW
    assert into_a == pytest.approx([10, 20, 50], rel=1e-9)
    assert whole(market, found.bought, B) == pytest.approx(8 * 9_970 / 1_009.97, rel=1e-9)


def test_dual_passes_through_a_third_token_and_leaves_none_of_it() -> None:
    market, found = solved((pair(A, C, 9, 1_000, 1_000), pair(B, C, 10, 1_000, 1_000)), sell=10, buy=100, cost=0.5)

    middle = 9_970 / 1_009.97
    out = 1_000 * KEPT * middle / (1_000 + KEPT * middle)
    assert whole(market, found.bought, B) == pytest.approx(out, rel=1e-9)
    assert whole(market, market.net(found.flows), C) == pytest.approx(0, abs=1e-8)


def test_dual_goes_on_until_balances_are_met_even_where_its_bound_is_met_before() -> None:
    """Three pools, one of them dear and one small: nothing of any token is left or lacking."""
    pools = (pair(A, C, 9, 1_000, 1_000), pair(B, C, 10, 100, 1_000), pair(A, B, 11, 50, 60))
    market, found = solved(pools, sell=30, buy=100, cost=0.5)

    missed = market.net(found.flows) + found.sold - found.bought
    assert np.abs(missed).max() < 1e-9 * RAW


def test_dual_takes_what_mispriced_pools_give_away() -> None:
    """A circle of swaps that gains is part of the best there could be, though no route can begin it."""
    pools = (pair(A, B, 9, 1_000, 1_000), pair(A, B, 10, 1_000, 1_050))
    market, found = solved(pools, sell=1, buy=100, cost=0.9)

    assert found.value > 1.05 - 0.9
    assert market.net(found.flows)[market.index[A.address]] == pytest.approx(-RAW, rel=1e-6)


def test_dual_that_goes_beyond_what_is_laid_out_lays_out_more() -> None:
    """Sixty positions one above the other, and a sale that crosses most of them."""
    ticks = tuple(InitializedTick(60 * i, 10**21, 10**21 if i < 31 else -(10**21)) for i in range(1, 61))
    base = 10**22
    end = MAX_TICK // 60 * 60
    profile = TickProfile(FEE_PIPS, 60, (InitializedTick(-end, base, base), *ticks, InitializedTick(end, base, -base)))
    pool = (
        UniswapV3Pool(f"0x{9:040x}", B, A, profile, Q96, 0, base)
        if B.address < A.address
        else (UniswapV3Pool(f"0x{9:040x}", A, B, profile, Q96, 0, base))
    )
    market = Market((pool,))
    size = len(market.tokens)
    sell_max, buy_max = np.zeros((2, size))
    sell_max[market.index[B.address]], buy_max[market.index[A.address]] = 3_000 * RAW, 1e9 * RAW
    prices = np.full(size, 1 / RAW)
    found = solve(market, Offer(sell_max, buy_max, prices * 0.1, prices, prices))

    exact = pool.quote_in(B.address, A.address, 3_000 * RAW)
    _, after = pool.swapped(B.address, A.address, 3_000 * RAW)
    assert after.tick > 60 * 10
    assert found.bought.max() == pytest.approx(exact, rel=1e-9)
    assert found.bound - found.value < 1e-8 * 3_000


def many_ticks(rng: random.Random, number: int) -> UniswapV3Pool:
    """A pool of random positions; some prices have no liquidity at all."""
    nets: dict[int, list[int]] = {}
    for _ in range(12):
        low = rng.randint(-60, 50) * 60
        high = low + rng.randint(1, 30) * 60
        liquidity = rng.randint(10**18, 10**22)
        for at, net in ((low, liquidity), (high, -liquidity)):
            gross_net = nets.setdefault(at, [0, 0])
            gross_net[0] += liquidity
            gross_net[1] += net
    profile = TickProfile(
        rng.choice((500, 3_000)),
        60,
        tuple(InitializedTick(at, *gn) for at, gn in sorted(nets.items())),
    )
    sqrt_x96 = int(1.0001 ** (rng.uniform(-3_000, 3_000) / 2) * Q96)
    tick = tick_at_sqrt(sqrt_x96)
    return UniswapV3Pool(f"0x{number:040x}", A, B, profile, sqrt_x96, tick, profile.liquidity_at(tick))


@pytest.mark.parametrize("seed", range(20))
def test_market_says_of_every_pool_what_the_pool_says_itself(seed: int) -> None:
    rng = random.Random(seed)
    pools = tuple(many_ticks(rng, 9 + i) for i in range(5))
    market = Market(pools, window=40)
    a, b = market.index[A.address], market.index[B.address]
    for _ in range(20):
        prices = np.ones(2)
        prices[a] = 1.0001 ** rng.uniform(-5_000, 5_000)
        found = market.flows(prices)
        assert not market.is_beyond(prices)
        for row in range(len(market)):
            token_in, token_out = (A, B) if market.token_in[row] == a else (B, A)
            marginal = prices[a] / prices[b] if token_in is A else prices[b] / prices[a]
            pool = market.pools[market.pool[row]]
            amount_in, amount_out = pool.flow_to(token_in.address, token_out.address, marginal)
            assert found.amounts_in[row] == pytest.approx(amount_in, rel=1e-9, abs=1e6)
            assert found.amounts_out[row] == pytest.approx(amount_out, rel=1e-9, abs=1e6)


def test_market_says_what_an_amount_brings_and_what_the_next_unit_would() -> None:
    pools = tuple(many_ticks(random.Random(seed), 9 + seed) for seed in range(5))
    market = Market(pools, window=40)
    for price in (0.93, 1.0001, 1.11):
        prices = np.array([price, 1.0])
        flows = market.flows(prices)
        flowing = np.flatnonzero((flows.amounts_in > 0) & (flows.amounts_in < market.most * 0.999))
        out, marginal, bend = market.trade(flows.amounts_in)
        _, before, _ = market.trade(flows.amounts_in * (1 - 1e-7))

        assert out[flowing] == pytest.approx(flows.amounts_out[flowing], rel=1e-9)
        ratio = (prices[market.token_in] / prices[market.token_out])[flowing]
        # Where nothing lies between two stretches, the price may stand anywhere between them.
        assert (marginal[flowing] >= ratio * (1 - 1e-9)).all()
        measured = (before - marginal)[flowing] / (flows.amounts_in[flowing] * 1e-7)
        assert bend[flowing] == pytest.approx(measured, rel=1e-3, abs=1e-9 / RAW)


def test_market_takes_a_pool_of_v4_with_both_its_fees() -> None:
    profile = synthetic(A, B, fee_pips=3_000, tick_spacing=60, sqrt_price_x96=Q96, depth1_raw=1_000 * RAW).profile
    pool = UniswapV4Pool(f"0x{7:040x}", A, B, profile, Q96, 0, profile.liquidity_at(0), protocol_fees_pips=(1_000, 0))
    market = Market((pool,))
    prices = np.array([0.99, 1.0]) if market.tokens[0] == A.address else np.array([1.0, 0.99])
    found = market.flows(prices)
    row = int(np.flatnonzero(found.amounts_in)[0])

    amount_in, amount_out = pool.flow_to(A.address, B.address, 0.99)
    assert market.token_in[row] == market.index[A.address]
    assert found.amounts_in[row] == pytest.approx(amount_in, rel=1e-9)
    assert found.amounts_out[row] == pytest.approx(amount_out, rel=1e-9)


def test_market_of_the_same_pools_is_made_once() -> None:
    pools = (pair(A, B, 9, 1_000, 1_000),)
    other = (pair(A, B, 9, 1_000, 1_000),)

    assert market_of(pools) is market_of(pools)
    assert market_of(other) is not market_of(pools)


def test_market_finds_prices_of_other_tokens_by_their_deepest_pools() -> None:
    market = Market((pair(A, C, 9, 1_000, 2_000), pair(A, C, 10, 10, 5)))
    known = np.full(2, np.nan)
    known[market.index[A.address]] = 0.0

    # Two C for one A in the deep pool.
    assert market.near(known)[market.index[C.address]] == pytest.approx(-math.log(2))


def test_market_takes_a_pool_of_ether_as_one_of_the_wrapped_token() -> None:
    ether = Token(ETHER_ADDRESS, "ETH", 18)
    profile = synthetic(A, B, fee_pips=500, tick_spacing=10, sqrt_price_x96=Q96, depth1_raw=1_000 * RAW).profile
    inner = UniswapV4Pool(f"0x{7:040x}", ether, B, profile, Q96, 0, profile.liquidity_at(0))
    # The wrapped token's address is above the other's: the pool's order is still ether's.
    wrapped = WrappedEtherPool(inner, Token("0x" + "ff" * 20, "WETH", 18))
    market = Market((wrapped,))

    for row in range(2):
        sold, bought = market.tokens[market.token_in[row]], market.tokens[market.token_out[row]]
        prices = np.ones(2)
        prices[market.index[sold]] = 0.99
        found = market.flows(prices)
        expected = wrapped.flow_to(sold, bought, 0.99)
        assert (found.amounts_in[row], found.amounts_out[row]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("seed", "stormy"), [(42, True), (90, False), (37, True), (47, False), (79, True), (28, True)])
def test_dual_of_a_market_is_solved_in_few_steps_whichever_limits_bind(seed: int, *, stormy: bool) -> None:
    """Curves, kinks, pools that disagree, budgets: steps are few and the bound is met."""
    problem = market_of_seed(seed, stormy=stormy)
    market = market_of(problem.pools)
    terms = terms_of(problem, market)

    found = solve(market, terms.offer)

    traded = max(float(found.sold @ terms.hi), float(found.bought @ terms.lo))
    assert traded > 100
    assert 8 <= found.steps < 60
    assert found.laid == 0
    assert found.bound - found.value <= 1e-8 * traded
    for limit in terms.offer.limits:
        over = float(limit.sold @ found.sold - limit.bought @ found.bought) - limit.most
        assert over <= 1e-8 * traded


def test_dual_leaves_out_what_no_pool_that_may_trade_leads_to() -> None:
    """C could be sold but for its pool being closed: no steps are spent on how little of it, and no more is laid out for it."""
    market = Market((pair(A, B, 9, 1_000, 1_000), pair(B, C, 8, 1_000, 1_000)))
    size = len(market.tokens)
    sell_max, buy_max = np.zeros((2, size))
    sell_max[[market.index[A.address], market.index[C.address]]] = 10 * RAW
    buy_max[market.index[B.address]] = 100 * RAW
    prices = np.full(size, 1 / RAW)
    offer = Offer(sell_max, buy_max, 0.9 * prices, prices, prices)
    alone = market.only(np.flatnonzero(market.pool == 0).tolist())

    found = solve(alone, offer)

    assert found.steps <= 20
    assert whole(market, found.sold, C) == 0
    assert whole(market, found.sold, A) == pytest.approx(10, rel=1e-12)
    assert abs(found.bound - found.value) < 1e-9
    far = np.exp(found.log_prices)
    far[market.index[C.address]] *= 1e-12
    assert not alone.is_beyond(far)


@pytest.mark.parametrize("seed", range(30))
def test_dual_of_a_sale_too_large_for_its_pools_still_ends_at_its_bound(seed: int) -> None:
    """Pools with kinks, of which most or all is bought: balances are met late, and not before the optimum is.

    A sale for a token that is sold at any price, over two pools of the pair and three in two steps.
    """
    rng = random.Random(seed)
    ether, bitcoin, dollar = (
        Token(f"0x{place:040x}", name, decimals)
        for place, name, decimals in ((3, "WETH", 18), (1, "WBTC", 8), (2, "USDC", 6))
    )
    usd = {ether: 2_000, bitcoin: 30_000, dollar: 1}
    pools = []
    for number, (one, other) in enumerate(
        ((bitcoin, ether), (bitcoin, ether), (dollar, ether), (bitcoin, dollar), (bitcoin, dollar))
    ):
        fee_pips, spacing = rng.choice(((500, 10), (3_000, 60), (10_000, 200)))
        ratio = usd[one] * 10**other.decimals * rng.randint(9_900, 10_100) << 192
        pools.append(
            synthetic(
                one,
                other,
                fee_pips=fee_pips,
                tick_spacing=spacing,
                sqrt_price_x96=math.isqrt(ratio // (usd[other] * 10**one.decimals * 10_000)),
                depth1_raw=10 ** rng.randint(3, 7) * 10**other.decimals // usd[other],
                address=f"0x{number + 1:040x}",
            )
        )
    market = market_of(pools)
    market = market.without(np.flatnonzero(market.token_in == market.index[bitcoin.address]))
    sell, buy = np.zeros((2, len(market.tokens)))
    sell[market.index[ether.address]] = rng.uniform(10, 800) * 1e18
    prices = np.ones(len(market.tokens))
    for token, price in usd.items():
        prices[market.index[token.address]] = price / 10.0**token.decimals
    buy[market.index[bitcoin.address]] = 8 * float(sell @ prices) / prices[market.index[bitcoin.address]]
    found = solve(market, Offer(sell, buy, 0 * prices, prices, prices))
    assert found.value <= found.bound
    assert found.bound - found.value < 1e-8 * found.bound


def test_dual_goes_on_where_kinks_let_balances_come_nearer_slowly() -> None:
    """$1.7m into pools of some $10,000 to $100,000, far beyond their ticks: each step only misses a third less."""
    bitcoin, dollar, ether = (
        Token("0x" + digit * 40, name, decimals)
        for digit, name, decimals in (("1", "WBTC", 8), ("2", "USDC", 6), ("3", "WETH", 18))
    )
    in_ether, in_dollars = 30531125228280108271768676993984147, 1365393428799862134029346604280
    pools = tuple(
        synthetic(
            *pair,
            fee_pips=fee_pips,
            tick_spacing=spacing,
            sqrt_price_x96=sqrt_x96,
            depth1_raw=depth1_raw,
            address=f"0x{number:040x}",
        )
        for number, (pair, fee_pips, spacing, sqrt_x96, depth1_raw) in enumerate(
            (
                ((bitcoin, ether), 500, 10, in_ether, 4_750_000_000_000_000_000),
                ((bitcoin, ether), 10_000, 200, in_ether, 67_050_000_000_000_000_000),
                ((dollar, ether), 500, 10, 1762715336920969488079194588261907, 5_450 * 10**15),
                ((bitcoin, dollar), 500, 10, in_dollars, 947_400_000_000),
                ((bitcoin, dollar), 500, 10, in_dollars, 5_400_000_000),
            ),
            1,
        )
    )
    market = Market(pools)
    prices = prices_in(market, bitcoin.address)
    sell_max, buy_max, cost = np.zeros((3, 3))
    sell_max[market.index[ether.address]] = 826_414 * 10**15
    buy_max[market.index[bitcoin.address]] = 10**11

    found = solve(market, Offer(sell_max, buy_max, cost, prices, prices))

    assert found.bound - found.value < 1e-9 * found.bound


@dataclass(frozen=True)
class ByPoints(ThreeTokens):
    """A for B along the points that are given, however many are asked for; nothing the other way."""

    tokens: tuple[Token, ...] = (A, B)
    given: tuple[tuple[float, float, float], ...] = ()

    def points(self, token_in: str, token_out: str, growths: Sequence[float]) -> list[tuple[float, float, float]]:
        return list(self.given) if token_in == A.address and growths else []


@pytest.mark.parametrize(
    ("given", "flows", "most"),
    [
        pytest.param(
            ((0, 0, 0.8), (10, 7, 0.6), (40, 22, 0.4)),
            ((0.81, 0, 0), (0.6, 10, 7), (0.4, 40, 22), (0.1, 40, 22)),
            40,
            id="falls",
        ),
        # 6 of 10 is more than the first unit's half.
        pytest.param(
            ((0, 0, 0.5), (10, 6, 0.5), (40, 18, 0.3)),
            ((0.61, 0, 0), (0.5, 10, 6), (0.3, 40, 18)),
            40,
            id="rises at first",
        ),
        # 15 of 20 is the best of all averages.
        pytest.param(
            ((0, 0, 0.5), (10, 6, 0.8), (20, 15, 0.7), (40, 27, 0.5), (80, 40, 0.2)),
            ((0.76, 0, 0), (0.7, 20, 15), (0.5, 40, 27), (0.2, 80, 40)),
            80,
            id="rises for two points",
        ),
        pytest.param(
            ((0, 0, 0.5), (10, 6, 0.8), (20, 15, 0.9), (40, 34, 0.8), (80, 60, 0.5)),
            ((0.86, 0, 0), (0.8, 40, 34), (0.5, 80, 60)),
            80,
            id="rises for three points",
        ),
        pytest.param(((0, 0, 0.5), (10, 4, 0.0)), ((0.4, 0, 0), (0.01, 0, 0)), 0, id="ends at once"),
        pytest.param((), ((0.01, 0, 0),), 0, id="empty"),
    ],
)
def test_market_goes_through_the_points_of_a_curve_once_the_whole_way_there_pays(
    given: tuple[tuple[float, float, float], ...],
    flows: tuple[tuple[float, float, float], ...],
    most: float,
) -> None:
    pool: Pool = ByPoints((1, 1, 1), given=given)
    market = Market((pool,))
    (row,) = np.flatnonzero(market.token_in == market.index[A.address])

    assert market.most[row] == pytest.approx(most, rel=1e-12)
    for marginal, amount_in, amount_out in flows:
        prices = np.ones(2)
        prices[market.index[A.address]] = marginal * (1 - 1e-9)  # just behind the point
        found = market.flows(prices)
        assert found.amounts_in[row] == pytest.approx(amount_in, rel=1e-6)
        assert found.amounts_out[row] == pytest.approx(amount_out, rel=1e-6)
        assert found.amounts_in.sum() == pytest.approx(amount_in, rel=1e-6)


@dataclass(frozen=True)
class ByFlow(ThreeTokens):
    """1,000 (1 - exp(-x / 1,000)) B for x A, and the same back; it tells where that leads by `flow_to` alone."""

    tokens: tuple[Token, ...] = (A, B)

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        part = min(max(marginal, 1e-6), 1.0)
        return int(-1_000 * RAW * math.log(part)), int(1_000 * RAW * (1 - part))


def test_points_laid_closer_are_on_a_curve_that_is_told_by_its_flows() -> None:
    pool: Pool = ByFlow((1, 1, 1))
    market = Market((pool,))
    prices = np.ones(2)
    prices[market.index[A.address]] = 0.7654
    (row,) = np.flatnonzero(market.token_in == market.index[A.address])
    amount_in, amount_out = pool.flow_to(A.address, B.address, 0.7654)

    far, near = market.flows(prices), market.focused(prices).flows(prices)

    assert near.amounts_in[row] == pytest.approx(amount_in, rel=1e-7)
    assert near.amounts_out[row] == pytest.approx(amount_out, rel=1e-7)
    assert abs(far.amounts_in[row] / amount_in - 1) > 1e-4


def test_market_takes_nothing_into_a_weighted_pool_that_is_empty() -> None:
    half = E18 // 2
    empty = BalancerWeightedPool(
        address=f"0x{9:040x}",
        vault=f"0x{8:040x}",
        pool_id=f"0x{9:040x}" + "00" * 12,
        tokens=(A, B),
        balances=(0, 0),
        weights_e18=(half, half),
        fee_e18=10**15,
    )
    market = Market((empty,))

    assert market.most.tolist() == [0.0, 0.0]
    flows = market.flows(np.array([0.5, 1.0]))
    assert flows.amounts_in.tolist() == flows.amounts_out.tolist() == [0.0, 0.0]


def test_points_laid_closer_find_what_a_curve_trades_at_these_prices() -> None:
    """By one step of Newton's method to a thousandth in most rows, by two to a hundred thousandth."""
    missed: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(4):
        problem = market_of_seed(seed, stormy=False, every_kind=True)
        market = Market(problem.pools)
        prices = np.exp(solve(market, terms_of(problem, market).offer).log_prices)
        for times, some in missed.items():
            market = market.focused(prices)
            flows = market.flows(prices)
            for row in np.flatnonzero(flows.amounts_in).tolist():
                pool, into, out = (
                    market.pools[market.pool[row]],
                    market.token_in[row],
                    market.token_out[row],
                )
                ends = market.tokens[into], market.tokens[out]
                if pool.points(*ends, ()) is None:
                    continue
                amount_in, _ = pool.flow_to(*ends, float(prices[into] / prices[out]))
                if amount_in:
                    some.append(abs(flows.amounts_in[row] / amount_in - 1))
            assert len(some) > times

    assert np.median(missed[1]) < 1e-3
    assert np.median(missed[2]) < 1e-5


def test_optimum_known_with_points_far_apart_is_solved_again_with_closer_ones() -> None:
    """The same as from the start, nearly; and the time that takes is counted."""
    problem = market_of_seed(2, stormy=False, every_kind=True)
    market = Market(problem.pools)
    terms = terms_of(problem, market)
    first = solve(market, terms.offer)
    effort = Effort(1_000)

    found = optimum(market, terms, effort, first=first)
    direct = optimum(market, terms)

    assert found is not None
    assert direct is not None
    assert found.solution.laid == 1
    assert found.market is not market
    assert abs(found.solution.value - direct.solution.value) < abs(first.value - direct.solution.value)
    # Points were laid twice, each as long as twelve steps.
    spent = found.solution.steps + 2 * 12
    assert not effort.is_over((1_000 - spent - 1) / 1_000)
    assert effort.is_over((1_000 - spent) / 1_000)
    # What is closer already is the answer.
    again = optimum(market, terms, first=found.solution)
    assert again is not None
    assert again.solution is found.solution


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_points_laid_on_the_way_are_those_laid_around_the_solution(seed: int) -> None:
    problem = market_of_seed(seed, stormy=False, every_kind=True)
    market = Market(problem.pools)
    offer = terms_of(problem, market).offer
    far = solve(market, offer)
    closer = far
    for _ in range(4):
        closer = solve(closer.market.focused(np.exp(closer.log_prices)), offer)

    found = solve(market, offer, focuses=2)

    assert found.laid == 2
    assert found.value == pytest.approx(closer.value, rel=1e-6)
    assert abs(found.value - closer.value) < abs(far.value - closer.value)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_most_out_is_no_less_than_any_quote_and_near_it_where_there_is_a_formula(
    seed: int,
) -> None:
    problem = market_of_seed(seed, every_kind=True)
    market = Market(problem.pools)
    for number, pool in enumerate(problem.pools):
        for sold, bought in permutations((token.address for token in pool.tokens), 2):
            most, _ = pool.flow_to(sold, bought, 0.0)
            for part in (10**6, 1_000, 100, 10, 3, 2):
                if not (amount := most // part):
                    continue
                ceiling = market.most_out(number, sold, bought, amount)
                try:
                    out = pool.quote_in(sold, bought, amount)
                except (LiquidityExhausted, BadAmount):
                    continue
                assert out <= ceiling * (1 + 1e-9) + 1
                if part == 100 and isinstance(pool, UniswapV2Pool | BalancerWeightedPool):
                    # A weighted pool rounds its powers up.
                    assert out >= ceiling * (1 - 1e-3) - 2
