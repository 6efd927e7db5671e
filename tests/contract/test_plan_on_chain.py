"""Sales and plans carried out by the executor on Uniswap's own code: what was planned arrives, to the unit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.market import USDC, WBTC, WETH, DevMarket
from rebalancer.devnet.profile import opening_pools
from rebalancer.plan import Plan, Problem, Swap, best_sale, plan_rebalance
from rebalancer.plan.flow_to_swaps import route_hops
from rebalancer.plan.swap import pools_after
from rebalancer.route import encode
from rebalancer.settlement import Asset, Basket, Price
from rebalancer.units import E18
from rebalancer.venues import Pool, Token, UniswapV3Pool, synthetic
from rebalancer.venues.uniswap_v3_math import sqrt_price_x96
from tests.contract.pools import check_state, rebuild
from tests.fixtures_chain import OPENING_PRICES_E8

USD = {WETH: 2_000, WBTC: 30_000, USDC: 1}


@pytest.fixture
def pools(market: DevMarket) -> tuple[Pool, ...]:
    """The market's three pools and two more, a little off the price: every pair has two ways, some five."""
    theirs = opening_pools(OPENING_PRICES_E8)
    more = [
        synthetic(
            WBTC,
            WETH,
            fee_pips=500,
            tick_spacing=10,
            sqrt_price_x96=sqrt_price_x96(30_030, 2_000, 8, 18),
            depth1_raw=300 * 10**18,
        ),
        synthetic(
            USDC,
            WETH,
            fee_pips=3_000,
            tick_spacing=60,
            sqrt_price_x96=sqrt_price_x96(1_000, 2_003_000, 6, 18),
            depth1_raw=900 * 10**18,
        ),
    ]
    deployed = [
        replace(pool, address=deployed.address) for pool, deployed in zip(theirs, market.deployment.pools, strict=True)
    ]
    return (*deployed, *(rebuild(market, pool) for pool in more))


@pytest.fixture
def executor(market: DevMarket) -> BoundContract:
    """A route executor."""
    return market.chain.deploy("RouteExecutor")


def balance(market: DevMarket, token: str, holder: str) -> int:
    """A balance, raw."""
    return int(contract_at(market.chain.rpc, "MockToken", token).call("balanceOf", holder))


def execute(market: DevMarket, executor: BoundContract, sales: dict[str, int], route: bytes) -> dict[str, int]:
    """Lend the sales to the executor and let it run; what came back, by token."""
    trader = market.chain.accounts[5]
    before = {token.address: balance(market, token.address, trader) for token in USD}
    for sold, amount in sales.items():
        market.deal(sold, executor.address, amount)
    market.chain.transact(executor, "executeRoute", route, sender=trader)
    for token in USD:
        assert balance(market, token.address, executor.address) == 0
    return {token: balance(market, token, trader) - held for token, held in before.items()}


def route_of(sale: Sequence[Swap], bought: Token) -> bytes:
    return encode(route_hops(sale, {bought.address: 1}))


def brought(sale: Sequence[Swap], bought: Token) -> int:
    """What a sale ends in, raw."""
    return sum(swap.amount_out_raw for swap in sale if swap.token_out == bought.address)


def test_sale_after_sale_pays_what_was_planned(
    market: DevMarket, executor: BoundContract, pools: tuple[Pool, ...]
) -> None:
    rng = random.Random(7)
    swaps = []
    for _ in range(8):
        sold, bought = rng.sample(list(USD), 2)
        usd = 10 ** rng.uniform(2, 7)
        amount = int(usd * 10**sold.decimals / USD[sold])
        sale = best_sale(pools, {sold.address: amount}, bought.address)

        came = execute(market, executor, {sold.address: amount}, route_of(sale, bought))

        assert came[bought.address] == brought(sale, bought)
        assert [came[token.address] for token in USD if token is not bought] == [0, 0]
        pools = pools_after(pools, sale)
        for pool in pools:
            assert isinstance(pool, UniswapV3Pool)
            check_state(market.chain, pool)
        swaps.append(len(sale))
    assert max(swaps) >= 4, "no sale was large enough to use every way"


def test_sale_carried_out_after_another_trade_still_sells_all(
    market: DevMarket, executor: BoundContract, pools: tuple[Pool, ...]
) -> None:
    """The last hop of every token takes what is there: a moved price changes the result, never the sale."""
    amount = 400 * 10**18
    sale = best_sale(pools, {WETH.address: amount}, WBTC.address)
    assert {swap.token_in for swap in sale} == {WETH.address, USDC.address}
    first = best_sale(pools, {WETH.address: 10 * 10**18}, USDC.address)
    execute(market, executor, {WETH.address: 10 * 10**18}, route_of(first, USDC))

    came = execute(market, executor, {WETH.address: amount}, route_of(sale, WBTC))

    assert came[WETH.address] == came[USDC.address] == 0
    assert brought(sale, WBTC) * 99 // 100 < came[WBTC.address] < brought(sale, WBTC)


def basket(weth: int, wbtc: int, usdc: int) -> Basket:
    """Whole tokens held, with targets of 40, 40 and 20 %."""
    held = {WETH: weth, WBTC: wbtc, USDC: usdc}
    targets = {WETH: 4 * E18 // 10, WBTC: 4 * E18 // 10, USDC: 2 * E18 // 10}
    return Basket(
        tuple(Asset(t.address, targets[t], 200, t.decimals) for t in USD),
        tuple(held[t] * 10**t.decimals for t in USD),
        tuple(Price(usd * E18, usd * E18, usd * E18) for usd in USD.values()),
    )


@pytest.mark.parametrize(
    "held",
    [(300, 10, 200_000), (150, 17, 200_000), (250, 15, 10_000), (100, 8, 500_000)],
    ids=["ether-high", "ether-low", "dollars-low", "dollars-high"],
)
def test_plan_carried_out_brings_what_it_expects(
    market: DevMarket, executor: BoundContract, pools: tuple[Pool, ...], held: tuple[int, int, int]
) -> None:
    problem = Problem.of(basket(*held), pools, slippage_limit_e18=E18 // 100)
    plan = plan_rebalance(problem)
    assert isinstance(plan, Plan)
    sales = {t: raw for t, raw in zip(problem.tokens, plan.sales_raw, strict=True) if raw}

    came = execute(market, executor, sales, plan.route)

    assert tuple(came[token] for token in problem.tokens) == plan.expected_buys_raw
    assert all(bought <= need for bought, need in zip(plan.expected_buys_raw, problem.needs_max_raw, strict=True))
