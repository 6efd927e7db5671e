"""The same convex problem, put to cvxpy: what it finds is what the dual finds, and so are its prices.

Pools of one stretch of liquidity are pairs of Uniswap V2 (x · y = k after the fee), weighted pools a
geometric mean; both are cones that Clarabel takes. Amounts are in dollars' worth of each token, so that
numbers are alike in size.
"""

from __future__ import annotations

import random
import warnings
from math import isqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rebalancer.plan.dual import Offer, Solution, solve
from rebalancer.plan.market import Market
from rebalancer.units import PIPS
from rebalancer.venues import (
    BalancerWeightedPool,
    InitializedTick,
    Pool,
    TickProfile,
    Token,
    UniswapV3Pool,
)
from rebalancer.venues.uniswap_v3_math import MAX_TICK, Q96, tick_at_sqrt

Floats = NDArray[np.float64]
RAW = 10**18
"""Raw units of every token, each of which is worth a dollar."""

UNIT = 10**5 * RAW
"""What cvxpy counts in, so that no number is far from one."""


def weighted(
    number: int,
    pair: tuple[Token, Token],
    balances: tuple[float, float],
    first: float,
    fee_pips: int,
) -> BalancerWeightedPool:
    """A weighted pool of two tokens; the first weighs that part."""
    address = f"0x{number:040x}"
    weight_e18 = round(first * 10) * 10**17
    return BalancerWeightedPool(
        *(address, address, address + f"{number:024x}", pair),
        *((int(balances[0]), int(balances[1])), (weight_e18, 10**18 - weight_e18)),
        fee_pips * 10**12,
    )


def pair_pool(number: int, pair: tuple[Token, Token], reserves: tuple[float, float], fee_pips: int) -> UniswapV3Pool:
    """One stretch over all prices: a pair with these reserves of x and y."""
    sqrt_x96 = isqrt(int(reserves[1]) * Q96 * Q96 // int(reserves[0]))
    end = MAX_TICK // 60 * 60
    liquidity = isqrt(int(reserves[0]) * int(reserves[1]))
    profile = TickProfile(
        fee_pips,
        60,
        (InitializedTick(-end, liquidity, liquidity), InitializedTick(end, liquidity, -liquidity)),
    )
    return UniswapV3Pool(f"0x{number:040x}", *pair, profile, sqrt_x96, tick_at_sqrt(sqrt_x96), liquidity)


def problem(seed: int) -> tuple[Market, Offer]:
    """Eight tokens, twenty pools of both kinds, three assets to sell and three to buy."""
    rng = random.Random(seed)
    tokens = [Token(f"0x{i + 1:040x}", f"T{i}", 18) for i in range(8)]
    pools: list[Any] = []
    pairs = [(i, i + 1) for i in range(7)]
    pairs += [tuple(sorted(rng.sample(range(8), 2))) for _ in range(13)]  # type: ignore[misc]
    for number, (i, j) in enumerate(pairs, 100):
        pair = tokens[i], tokens[j]
        depth = 10 ** rng.uniform(5, 6.5) * RAW
        fee_pips = rng.choice((500, 3_000, 10_000))
        off = 1 + rng.uniform(-1, 1) * fee_pips / PIPS
        if rng.random() < 0.5:
            pools.append(pair_pool(number, pair, (depth, depth * off), fee_pips))
        else:
            first = rng.choice((0.2, 0.5, 0.8))
            balances = depth * first, depth * (1 - first) * off
            pools.append(weighted(number, pair, balances, first, fee_pips))
    market = Market(pools)
    sell_max, buy_max = np.zeros((2, 8))
    for at in range(3):
        sell_max[market.index[tokens[at].address]] = rng.uniform(2e3, 5e4) * RAW
        buy_max[market.index[tokens[at + 4].address]] = rng.uniform(2e3, 5e4) * RAW
    prices = np.full(8, 1 / RAW)
    return market, Offer(sell_max, buy_max, prices * 0.985, prices * 0.9995, prices)


def by_cvxpy(market: Market, offer: Offer) -> tuple[float, Floats, Floats, Floats]:
    """The optimum, what is sold and bought, and the prices of all tokens, in units and dollars."""
    import cvxpy as cp

    size = len(market.tokens)
    sold, bought = cp.Variable(size, nonneg=True), cp.Variable(size, nonneg=True)
    net: Any = sold - bought
    constraints: list[Any] = [
        sold <= offer.sell_max / UNIT,
        bought <= offer.buy_max / UNIT,
    ]
    for pool in market.pools:
        places = [market.index[token.address] for token in pool.tokens]
        into, out = cp.Variable(2, nonneg=True), cp.Variable(2, nonneg=True)
        reserves, weights = curve_of(pool)
        # In units of the reserves, so that every pool is as large as the others.
        after = 1 + cp.multiply(1 / reserves, (1 - pool.fee_pips / PIPS) * into - out)
        constraints.append(cp.geo_mean(after, list(weights)) >= 1)
        spread = np.zeros((size, 2))
        spread[places[0], 0] = spread[places[1], 1] = 1
        net = net + spread @ (out - into)
    constraints.append(net == 0)
    value = (offer.gain * UNIT) @ bought - (offer.cost * UNIT) @ sold
    whole = cp.Problem(cp.Maximize(value), constraints)
    with warnings.catch_warnings():
        # Asked for more digits than it promises; how many are right is what the test looks at.
        warnings.simplefilter("ignore", UserWarning)
        whole.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    scale = UNIT / RAW
    prices = np.abs(constraints[-1].dual_value) / scale
    return float(whole.value), sold.value * scale, bought.value * scale, prices


def curve_of(pool: Pool) -> tuple[Floats, tuple[int, int]]:
    """Reserves in units, and weights in tenths."""
    if isinstance(pool, BalancerWeightedPool):
        first = pool.weights_e18[0] // 10**17
        return np.array(pool.balances, dtype=np.float64) / UNIT, (first, 10 - first)
    assert isinstance(pool, UniswapV3Pool)
    price = pool.sqrt_price_x96 / Q96
    return np.array([pool.liquidity / price, pool.liquidity * price]) / UNIT, (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_dual_finds_what_cvxpy_finds(seed: int) -> None:
    market, offer = problem(seed)

    ours: Solution = solve(market, offer)
    value, sold, bought, prices = by_cvxpy(market, offer)

    traded = float(ours.sold.sum()) / RAW
    assert traded > 1_000, "nothing is traded here"
    assert ours.bound - ours.value <= 1e-8 * traded
    assert ours.value == pytest.approx(value, rel=1e-6, abs=1e-6 * traded)
    assert ours.bound == pytest.approx(value, rel=1e-6, abs=1e-6 * traded)
    assert ours.sold / RAW == pytest.approx(sold, rel=1e-3, abs=1e-4 * traded)
    assert ours.bought / RAW == pytest.approx(bought, rel=1e-3, abs=1e-4 * traded)
    used = (ours.sold > 0) | (ours.bought > 0)
    assert np.exp(ours.log_prices[used]) * RAW == pytest.approx(prices[used], rel=1e-6)
