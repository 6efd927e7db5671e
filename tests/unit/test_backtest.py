"""A market on paper: arbitrageurs, feeds that age, ordinary ways to trade, and the figures that are made of them."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from rebalancer.devnet.market import USDC, WBTC, WETH
from rebalancer.devnet.profile import opening_pools
from rebalancer.devnet.tape import DEFAULT_MARKET, synthetic
from rebalancer.keeper.decide import Action, Conditions
from rebalancer.lab.arbitrage import arbitraged, at_prices
from rebalancer.lab.backtest import BacktestFeed, BacktestMarket, BacktestVault
from rebalancer.lab.baselines import BASELINES, Baseline, best_pool, by_depth, ordinary, trade
from rebalancer.plan import Problem
from rebalancer.pool_files import save_pool
from rebalancer.reasons import Reason
from rebalancer.settlement import State
from rebalancer.units import BPS, E18
from rebalancer.venues import (
    BalancerWeightedPool,
    CurveCryptoPool,
    Pool,
    Token,
    UniswapV2Pool,
    UniswapV4Pool,
    WrappedEtherPool,
)
from rebalancer.venues.model import ETHER_ADDRESS
from rebalancer.wellknown import DEVNET_CHAIN_ID
from scripts.benchmarks.quality import measure_quality
from scripts.benchmarks.quality_chart import draw
from scripts.benchmarks.quality_figures import KEEPER
from tests.unit.test_plan import BITCOIN, DOLLAR, ETHER, POOLS, USD
from tests.unit.test_wait_rule import ALMOST_FAR, FAR, POLICY, RAMP, SEEN_AT

FIRST_E8 = {"ETH/USD": 2_000 * 10**8, "BTC/USD": 30_000 * 10**8, "USDC/USD": 10**8}
USDT = Token("0x" + "dd" * 20, "USDT", 6)
PRICES_E8 = {
    WETH.address: 2_000 * 10**8,
    WBTC.address: 30_000 * 10**8,
    USDC.address: 10**8,
    USDT.address: 10**8,
}
ETHER_ITSELF = Token(ETHER_ADDRESS, "ETH", 18)


def crypto() -> CurveCryptoPool:
    """Tricrypto in balance at half the prices: 3 million dollars."""
    return CurveCryptoPool(
        address="0x" + "c1" * 20,
        tokens=(USDT, WBTC, WETH),
        balances=(10**12, 10**8 * 10**6 // 15_000, 10**18 * 10**6 // 1_000),
        a_coefficient=1_707_629,
        gamma=11_809_167_828_997,
        d=3 * 10**24,
        price_scale_e18=(15_000 * E18, 1_000 * E18),
        mid_fee_e10=3_000_000,
        out_fee_e10=30_000_000,
        fee_gamma=500_000_000_000_000,
    )


def every_pool() -> list[Pool]:
    """One of every protocol that prices can move, all at PRICES_E8."""
    ticked = opening_pools(FIRST_E8)
    v3 = replace(ticked[1], address="0x" + "a1" * 20)
    v4 = UniswapV4Pool(
        "0x" + "a4" * 20,
        ETHER_ITSELF,
        USDC,
        *(v3.profile, v3.sqrt_price_x96, v3.tick, v3.liquidity),
    )
    balancer = BalancerWeightedPool(
        address="0x" + "b1" * 20,
        vault="0x" + "ba" * 20,
        pool_id="0x" + "b1" * 20 + "00" * 12,
        tokens=(USDC, WETH),
        balances=(10**12, 7 * 10**20),
        weights_e18=(E18 // 2, E18 // 2),
        fee_e18=3 * 10**15,
    )
    pair = UniswapV2Pool("0x" + "a2" * 20, USDC, WETH, (10**12, 5 * 10**20))
    found = [at_prices(pool, PRICES_E8) for pool in (v3, WrappedEtherPool(v4, WETH), balancer, crypto())]
    return [*found, pair]


@pytest.mark.parametrize("change", [(9, 10), (10, 9), (1_001, 1_000)])
@pytest.mark.parametrize("number", range(5))
def test_arbitrage_leaves_no_unit_that_pays(number: int, change: tuple[int, int]) -> None:
    pool = every_pool()[number]
    prices = PRICES_E8 | {WETH.address: PRICES_E8[WETH.address] * change[0] // change[1]}
    after = arbitraged(arbitraged(pool, prices), prices)

    for token_in, token_out in permutations(pool.tokens, 2):
        worth = prices[token_in.address] / 10**token_in.decimals
        worth /= prices[token_out.address] / 10**token_out.decimals
        ten_dollars = 10 * 10**8 * 10**token_in.decimals // prices[token_in.address]
        out = after.quote_in(token_in.address, token_out.address, ten_dollars)
        # Tricrypto's fee falls as it comes into balance: further on a little may pay that at first does not.
        spare = 1e-4 if isinstance(pool, CurveCryptoPool) else 1e-6
        assert out <= ten_dollars * worth * (1 + spare)


@pytest.mark.parametrize("number", range(4))
def test_pool_of_another_time_stands_at_the_prices_asked_for(number: int) -> None:
    prices = PRICES_E8 | {WETH.address: 3_000 * 10**8, WBTC.address: 90_000 * 10**8}
    pool = at_prices(every_pool()[number], prices)

    assert arbitraged(pool, prices) is pool
    for token, other in permutations(pool.tokens, 2):
        worth = prices[token.address] * 10**other.decimals
        worth /= prices[other.address] * 10**token.decimals
        assert float(pool.spot_price(token.address, other.address)) == pytest.approx(worth, rel=1e-6)


def paper(held: int = 0) -> tuple[BacktestVault, BacktestMarket]:
    """A vault with a weight out of its band, and three pools."""
    names = {ETHER: "ETH/USD", BITCOIN: "BTC/USD", DOLLAR: "USDC/USD"}
    prices_e8 = {name: USD[token] * 10**8 for token, name in names.items()}
    feeds = [
        BacktestFeed(name, token.address, RAMP, prices_e8[name] // 2, prices_e8[name] * 2)
        for token, name in names.items()
    ]
    basket = (FAR, ALMOST_FAR)[held]
    vault = BacktestVault("0x" + "ee" * 20, basket.assets, basket.held, POLICY)
    return vault, BacktestMarket(feeds, POOLS, prices_e8, SEEN_AT)


def test_feed_that_is_too_old_blinds_the_vault_until_it_answers() -> None:
    vault, market = paper()

    assert vault.snapshot(market, SEEN_AT + RAMP).reason is Reason.BAND_BROKEN
    assert vault.snapshot(market, SEEN_AT + RAMP + 1).reason is Reason.ORACLE_FAULT
    market.step({"ETH/USD": 2_000 * 10**8, "BTC/USD": 30_000 * 10**8}, SEEN_AT + RAMP + 1)
    market.step({"USDC/USD": 10**8}, SEEN_AT + RAMP + 1)
    assert vault.snapshot(market, SEEN_AT + RAMP + 1).reason is Reason.BAND_BROKEN


def test_feed_out_of_its_range_blinds_the_vault() -> None:
    vault, market = paper()
    market.step({"ETH/USD": 4_001 * 10**8}, SEEN_AT)

    found = vault.snapshot(market, SEEN_AT)

    assert found.reason is Reason.ORACLE_FAULT
    assert [price.fault for price in found.basket.prices] == ["OutOfRange", "None", "None"]
    assert found.total_e18 == 0


def test_vault_that_is_paused_or_rests_says_so() -> None:
    vault, market = paper()
    paused = replace(vault, state=State(paused=True))
    backs_off = replace(vault, state=State(rebalanced_at=SEEN_AT - 1))

    assert paused.snapshot(market, SEEN_AT).reason is Reason.PAUSED
    assert backs_off.snapshot(market, SEEN_AT).reason is Reason.COOLDOWN
    assert backs_off.snapshot(market, SEEN_AT + POLICY.cooldown_seconds - 1).reason is Reason.BAND_BROKEN


def test_vault_worth_nothing_cannot_be_weighed() -> None:
    vault, market = paper()

    empty = replace(vault, held=(0, 0, 0))

    assert empty.snapshot(market, SEEN_AT).reason is Reason.TOTAL_OUT_OF_RANGE


def test_best_single_pool_is_the_one_that_pays_most() -> None:
    dear = replace(POOLS[0], address="0x" + "99" * 20, profile=replace(POOLS[0].profile, fee_pips=9_000))
    swaps = best_pool([dear, *POOLS], ETHER.address, BITCOIN.address, 10**18)

    assert swaps is not None
    assert [swap.pool.key for swap in swaps] == [POOLS[0].key]
    assert swaps[0].amount_out_raw > dear.quote_in(ETHER.address, BITCOIN.address, 10**18)


def test_proportional_split_gives_equal_pools_equal_parts() -> None:
    twin = replace(POOLS[0], address="0x" + "99" * 20)
    swaps = by_depth([twin, *POOLS], ETHER.address, BITCOIN.address, 10**18)

    assert swaps is not None
    assert [swap.amount_in_raw for swap in swaps] == [10**18 // 2] * 2


@pytest.mark.parametrize("baseline", BASELINES.values(), ids=list(BASELINES))
def test_pair_without_a_pool_goes_through_the_token_most_pools_trade(baseline: Baseline) -> None:
    requested = Problem.of(ALMOST_FAR, POOLS[:2])
    done = trade(requested, baseline, (0, 10**7, 0), (0, 0, 10**10))

    assert done is not None
    assert [(swap.token_in, swap.token_out) for swap in done.swaps] == [
        (BITCOIN.address, ETHER.address),
        (ETHER.address, DOLLAR.address),
    ]
    assert done.sales_raw == (0, 10**7, 0)
    assert 0 < done.buys_raw[2] < 3_000 * 10**6


def test_ordinary_way_trades_at_once_what_the_vault_allows() -> None:
    vault, market = paper()
    snapshot = vault.snapshot(market, SEEN_AT)

    order = ordinary(snapshot, market.pools, Conditions(0), best_pool)

    assert order.step is Action.REBALANCE
    assert order.plan is not None
    sold = sum(raw * price for raw, price in zip(order.plan.sales_raw, snapshot.basket.prices_e18, strict=True))
    allowed = sum(raw * price for raw, price in zip(snapshot.sales_allowed, snapshot.basket.prices_e18, strict=True))
    assert sold == pytest.approx(allowed, rel=1e-3)


def test_ordinary_way_stamps_a_break_that_the_vault_does_not_let_it_mend() -> None:
    vault, market = paper()
    tight = replace(vault, policy=replace(POLICY, start_slippage_bps=1))
    unseen = tight.snapshot(market, SEEN_AT)
    seen = tight.poked(market, SEEN_AT).snapshot(market, SEEN_AT)

    assert ordinary(unseen, market.pools, Conditions(0), best_pool).step is Action.POKE
    assert ordinary(seen, market.pools, Conditions(0), best_pool).step is Action.NOTHING


def test_ordinary_way_that_costs_too_much_gas_is_none() -> None:
    vault, market = paper()
    snapshot = vault.snapshot(market, SEEN_AT)
    dear = Conditions(10**14, ETHER.address)

    order = ordinary(snapshot, market.pools, dear, best_pool)

    assert (order.step, order.reason) == (Action.NOTHING, Reason.NOT_WORTH_GAS)


def test_quality_of_a_short_tape_keeps_to_its_bound_and_draws_it(tmp_path: Path) -> None:
    wild = [replace(model, volatility=3 * model.volatility) for model in DEFAULT_MARKET]
    tape = synthetic(3, 4, wild)
    for base in ("eth", "btc"):
        with (tmp_path / f"{base}_usd_rounds.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["updated_at", "round_id", "answer_e8"])
            rounds = [one for one in tape.rounds if one.feed == f"{base.upper()}/USD"]
            rows.writerows([one.at, number, one.answer_e8] for number, one in enumerate(rounds))
    pools = tmp_path / "pools"
    pools.mkdir()
    for number, pool in enumerate(opening_pools(tape.first_prices_e8)):
        named = replace(pool, address=f"0x{number + 1:040x}", chain_id=DEVNET_CHAIN_ID)
        save_pool(named, pools / f"{number}.json")
    reported: list[float] = []

    found = measure_quality(tmp_path, pools, lambda _, done: reported.append(done), [1_000_000])
    picture = draw(found, tmp_path / "quality.png")

    (rows_found,) = found.rebalances.values()
    assert [run.baseline for run in found.runs] == [KEEPER, *BASELINES]
    assert len(rows_found) == found.runs[0].rebalances > 0
    for one in rows_found:
        assert one.bound_usd <= one.loss_usd + 1e-9
        for baseline in one.baselines.values():
            assert baseline.loss_usd is not None
            assert baseline.loss_usd >= one.bound_usd - 2 * one.sold_usd / BPS / 10
    assert reported == sorted(reported)
    assert picture.stat().st_size > 10_000
