"""The local market: mainnet's contracts in their places, pools as told, prices that follow the tape."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet import uniswap
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import (
    USDC,
    WBTC,
    WETH,
    DevMarket,
)
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.devnet.profile import opening_pools
from rebalancer.errors import ContractReverted, MarketMismatch
from rebalancer.pool_files import load_pool
from rebalancer.venues import Token, UniswapV3Pool, of_class, recentred, synthetic
from rebalancer.venues.uniswap_v3_math import arbitrage_bounds, sqrt_at_tick, sqrt_price_x96
from tests.fixtures_chain import GENESIS_AT, OPENING_PRICES_E8

pytestmark = pytest.mark.both_chains  # it is built by methods of the node's own

SNAPSHOT = Path("mainnet-24407242", "uniswap_v3_wbtc_weth_3000.json")

MAINNET = {
    "UniswapV3Factory": "0x1F98431c8aD98523631AE4a59f267346ea31F984",
    "SwapRouter": "0xE592427A0AEce92De3Edee1F18E0157C05861564",
    "SwapRouter02": "0x68b3465833fb72A70ecDF485E0e4C7bD8665Fc45",
    "NonfungiblePositionManager": "0xC36442b4a4522E871399CD717aBDD847Ab11FE88",
    "QuoterV2": "0x61fFE014bA17989E743c5F6cB21bF9697530B21e",
    "WETH9": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",
    "Multicall3": "0xcA11bde05977b3631167028862bE2a173976CA11",
}
WBTC_WETH_3000 = "0xCBCdF9626bC03E24f779434178A73a0B4bad62eD"
USDC_WETH_500 = "0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640"


def pool_state(chain: LocalChain, address: str) -> tuple[int, int, int]:
    pool = contract_at(chain.rpc, "UniswapV3Pool", address)
    sqrt_x96, tick, *_ = pool.call("slot0")
    return sqrt_x96, tick, pool.call("liquidity")


def quoter(market: DevMarket) -> BoundContract:
    return contract_at(market.chain.rpc, "QuoterV2", market.deployment.uniswap["QuoterV2"])


def quote_in(market: DevMarket, token_in: str, token_out: str, fee: int, amount_raw: int) -> int:
    question = (token_in, token_out, amount_raw, fee, 0)
    answer: tuple[int, ...] = quoter(market).call("quoteExactInputSingle", question)
    return answer[0]


# In place


def test_market_stands_at_mainnet_addresses(market: DevMarket) -> None:
    chain = market.chain
    assert market.deployment.uniswap == {name: at.lower() for name, at in MAINNET.items()}
    assert all(chain.code(address) for address in market.deployment.uniswap.values())
    pools = {pool.address for pool in market.deployment.pools}
    assert {WBTC_WETH_3000.lower(), USDC_WETH_500.lower()} <= pools

    factory = contract_at(chain.rpc, "UniswapV3Factory", MAINNET["UniswapV3Factory"])
    tiers = [factory.call("feeAmountTickSpacing", fee) for fee in (100, 500, 3000, 10000)]
    assert tiers == [1, 10, 60, 200]
    for name in ("SwapRouter", "SwapRouter02", "NonfungiblePositionManager", "QuoterV2"):
        contract = contract_at(chain.rpc, name, MAINNET[name])
        assert contract.call("factory") == MAINNET["UniswapV3Factory"].lower()
        assert contract.call("WETH9") == MAINNET["WETH9"].lower()


def test_install_twice_changes_nothing(market: DevMarket) -> None:
    height = market.chain.block()["number"]
    assert uniswap.install(market.chain).addresses() == dict(market.deployment.uniswap)
    assert market.chain.block()["number"] == height


@pytest.mark.parametrize(("token", "name"), [(WETH, "Wrapped Ether"), (WBTC, "Wrapped BTC"), (USDC, "USD Coin")])
def test_token_says_what_mainnet_says(market: DevMarket, token: Token, name: str) -> None:
    contract = contract_at(market.chain.rpc, "MockToken", token.address)
    assert contract.call("name") == name
    assert contract.call("symbol") == token.symbol
    assert contract.call("decimals") == token.decimals


def test_weth_wraps_and_unwraps(market: DevMarket) -> None:
    chain, weth = market.chain, contract_at(market.chain.rpc, "WETH9", WETH.address)
    owner = chain.accounts[3]
    chain.transact(weth, "deposit", sender=owner, value_wei=10**18)
    before = chain.balance_wei(owner)
    chain.transact(weth, "withdraw", 10**18, sender=owner)

    assert weth.call("balanceOf", owner) == 0
    assert 10**18 - 10**16 < chain.balance_wei(owner) - before < 10**18


def test_multicall3_collects_answers(market: DevMarket) -> None:
    multicall = contract_at(market.chain.rpc, "Multicall3", MAINNET["Multicall3"])
    token = contract_at(market.chain.rpc, "MockToken", USDC.address)
    calls = [(USDC.address, False, bytes.fromhex(token.data("decimals")[2:]))] * 2
    answers = multicall.call("aggregate3", calls)
    assert [(done, int.from_bytes(data)) for done, data in answers] == [(True, 6), (True, 6)]


def test_router_swaps_what_the_quoter_says(market: DevMarket) -> None:
    chain, trader = market.chain, market.chain.accounts[3]
    market.deal("USDC", trader, 50_000 * 10**6)
    usdc, router = (
        contract_at(chain.rpc, "MockToken", USDC.address),
        contract_at(chain.rpc, "SwapRouter02", MAINNET["SwapRouter02"]),
    )
    chain.transact(usdc, "approve", router.address, 2**256 - 1, sender=trader)
    amount = 50_000 * 10**6
    expected = quote_in(market, USDC.address, WETH.address, 500, amount)
    order = (USDC.address, WETH.address, 500, trader, amount, expected, 0)
    chain.transact(router, "exactInputSingle", order, sender=trader)

    weth = contract_at(chain.rpc, "WETH9", WETH.address)
    assert weth.call("balanceOf", trader) == expected
    assert 24 * 10**18 < expected < 25 * 10**18
    assert usdc.call("balanceOf", trader) == 0


def test_position_manager_mints_a_position(market: DevMarket) -> None:
    chain, owner = market.chain, market.chain.accounts[3]
    manager = contract_at(chain.rpc, "NonfungiblePositionManager", MAINNET["NonfungiblePositionManager"])
    for token, amount in ((USDC, 10**10), (WETH, 10**19)):
        market.deal(token.symbol, owner, amount)
        contract = contract_at(chain.rpc, "MockToken", token.address)
        chain.transact(contract, "approve", manager.address, amount, sender=owner)
    order = (USDC.address, WETH.address, 500, -887270, 887270, 10**10, 10**19, 0, 0, owner, 2**40)
    chain.transact(manager, "mint", order, sender=owner)

    assert manager.call("ownerOf", 1) == owner


def test_deal_gives_exactly_that_much(market: DevMarket) -> None:
    someone = "0x00000000000000000000000000000000000a11ce"
    for token in (WETH, WBTC, USDC):
        amount = 123 * 10**token.decimals + 1
        market.deal(token.address, someone, amount)
        contract = contract_at(market.chain.rpc, "MockToken", token.address)
        assert contract.call("balanceOf", someone) == amount
    with pytest.raises(MarketMismatch, match="DOGE"):
        market.deal("DOGE", someone, 1)


# Pools


def test_pools_open_exactly_as_told(market: DevMarket) -> None:
    for reported, made in zip(opening_pools(OPENING_PRICES_E8), market.deployment.pools, strict=True):
        state = pool_state(market.chain, made.address)
        assert state == (reported.sqrt_price_x96, reported.tick, reported.liquidity)


def test_quotes_on_paper_equal_the_quoters(market: DevMarket) -> None:
    chance = random.Random(7)
    for reported, made in zip(opening_pools(OPENING_PRICES_E8), market.deployment.pools, strict=True):
        for _ in range(6):
            token_in, token_out = chance.sample(made.tokens, 2)
            held = contract_at(market.chain.rpc, "MockToken", token_in).call("balanceOf", made.address)
            amount = chance.randrange(1, 10 ** chance.randrange(3, len(str(held))))
            on_paper = reported.quote_in(token_in, token_out, amount)
            assert on_paper == quote_in(market, token_in, token_out, made.fee_pips, amount)


@pytest.mark.real
def test_mainnet_pool_is_rebuilt_at_its_own_address(bare_chain: LocalChain, shared_data: Path) -> None:
    snapshot = of_class(load_pool(shared_data / SNAPSHOT), UniswapV3Pool)
    prices = {"ETH/USD": 2_000_00000000, "BTC/USD": 70_000_00000000}
    market = DevMarket.build(bare_chain, [snapshot], prices)

    (pool,) = market.deployment.pools
    assert pool.address == WBTC_WETH_3000.lower() == snapshot.address
    assert pool_state(bare_chain, pool.address) == (
        snapshot.sqrt_price_x96,
        snapshot.tick,
        snapshot.liquidity,
    )
    contract = contract_at(bare_chain.rpc, "UniswapV3Pool", pool.address)
    for tick in random.Random(3).sample(snapshot.profile.ticks, 25):
        _, net, *_ = contract.call("ticks", tick.at)
        assert net == tick.net
    for token_in, token_out in ((WBTC, WETH), (WETH, WBTC)):
        for whole in (1, 40):
            amount = whole * 10**token_in.decimals
            assert snapshot.quote_in(token_in.address, token_out.address, amount) == quote_in(
                market, token_in.address, token_out.address, 3000, amount
            )


def test_build_pool_that_exists_is_refused(market: DevMarket) -> None:
    with pytest.raises(ContractReverted):
        DevMarket.build(market.chain, opening_pools(OPENING_PRICES_E8), OPENING_PRICES_E8)


def test_build_token_without_feed_is_refused(bare_chain: LocalChain) -> None:
    coin = Token("0x" + "ee" * 20, "COIN", 18)
    pool = synthetic(WETH, coin, fee_pips=3000, tick_spacing=60, sqrt_price_x96=2**96, depth1_raw=10**20)
    with pytest.raises(MarketMismatch, match="feed of COIN"):
        DevMarket.build(bare_chain, [pool], {"ETH/USD": 2_000_00000000})


def test_build_fee_without_that_spacing_is_refused(bare_chain: LocalChain) -> None:
    pool = synthetic(WBTC, WETH, fee_pips=3000, tick_spacing=10, sqrt_price_x96=2**112, depth1_raw=10**20)
    with pytest.raises(MarketMismatch, match="is 60 and should be 10"):
        DevMarket.build(bare_chain, [pool], OPENING_PRICES_E8)


def test_build_price_just_crossed_is_refused(bare_chain: LocalChain) -> None:
    # A pool that stands on a tick a falling swap has crossed cannot be initialised into that state.
    base = synthetic(WBTC, WETH, fee_pips=3000, tick_spacing=60, sqrt_price_x96=2**112, depth1_raw=10**20)
    edge = base.profile.ticks[2].at
    crossed = UniswapV3Pool(
        base.address,
        base.token0,
        base.token1,
        base.profile,
        sqrt_at_tick(edge),
        edge - 1,
        base.profile.liquidity_at(edge - 1),
    )
    with pytest.raises(MarketMismatch, match="tick of pool"):
        DevMarket.build(bare_chain, [crossed], OPENING_PRICES_E8)


# On a fork


def test_market_on_a_fork_moves_what_it_cannot_mint() -> None:
    genesis = NodeSettings(genesis_at=GENESIS_AT)
    pairs = [(WBTC, WETH, 3000), (USDC, WETH, 500)]
    with Node.start(genesis) as origin:
        upstream = DevMarket.build(LocalChain(origin.rpc()), opening_pools(OPENING_PRICES_E8), OPENING_PRICES_E8)
        liquidity = [pool_state(upstream.chain, p.address)[2] for p in upstream.deployment.pools]
        with Node.start(NodeSettings(fork_url=origin.url)) as node:
            chain = LocalChain(node.rpc())
            prices = {**OPENING_PRICES_E8, "ETH/USD": 2_400_00000000}
            supplies = [supply(chain, token) for token in (WBTC, USDC)]
            market = DevMarket.on_fork(chain, prices, pairs)
            market.step({"ETH/USD": 1_900_00000000}, chain.now() + 60)

            assert [pool.address for pool in market.deployment.pools] == [
                pool.address for pool in upstream.deployment.pools[:2]
            ]
            assert dict(market.deployment.uniswap) == dict(upstream.deployment.uniswap)
            for pool in market.deployment.pools:
                lowest, highest = market.bounds(pool)
                assert lowest <= pool_state(chain, pool.address)[0] <= highest
            assert [supply(chain, token) for token in (WBTC, USDC)] == supplies
            with pytest.raises(MarketMismatch, match="pool WBTC/WETH"):
                DevMarket.on_fork(chain, prices, [(WBTC, WETH, 500)])
        after = [pool_state(upstream.chain, p.address)[2] for p in upstream.deployment.pools]
        assert after == liquidity


def supply(chain: LocalChain, token: Token) -> int:
    amount: int = contract_at(chain.rpc, "MockToken", token.address).call("totalSupply")
    return amount


# Moving


def test_step_publishes_rounds_at_its_time(market: DevMarket) -> None:
    at = market.chain.now() + 600
    block = market.step({"ETH/USD": 2_100_00000000, "BTC/USD": 30_300_00000000}, at)

    assert block.timestamp == at
    assert market.chain.block(block.hash)["number"] == hex(block.number)
    feeds = {feed.name: feed for feed in market.deployment.feeds}
    for name, answer in (("ETH/USD", 2_100_00000000), ("BTC/USD", 30_300_00000000)):
        proxy = contract_at(market.chain.rpc, "MockFeedProxy", feeds[name].address)
        round_id = (6 << 64) + 2
        expected = (round_id, answer, at, at, round_id)
        assert proxy.call("latestRoundData") == expected
    untouched = contract_at(market.chain.rpc, "MockFeedProxy", feeds["USDC/USD"].address)
    assert untouched.call("latestRoundData")[0] == (6 << 64) + 1


@pytest.mark.parametrize("factor", [50, 90, 99, 101, 110, 200])
def test_step_leaves_every_pool_on_its_bound(market: DevMarket, factor: int) -> None:
    eth = 2_000_00000000 * factor // 100
    market.step({"ETH/USD": eth}, market.chain.now() + 60)

    for pool in market.deployment.pools:
        lowest, highest = market.bounds(pool)
        price = pool_state(market.chain, pool.address)[0]
        if WETH.address in pool.tokens:
            # WETH is token1 in both its pools: a dearer one lowers the price.
            assert price == (highest if factor > 100 else lowest)
        assert lowest <= price <= highest


def test_step_within_the_fee_moves_no_pool(market: DevMarket) -> None:
    before = [pool_state(market.chain, pool.address) for pool in market.deployment.pools]
    # 4 bp, below the 5 bp of the cheapest pool.
    market.step({"ETH/USD": 2_000_80000000}, market.chain.now() + 60)

    assert [pool_state(market.chain, pool.address) for pool in market.deployment.pools] == before


def test_step_ends_where_the_pool_on_paper_does(market: DevMarket) -> None:
    reported, made = opening_pools(OPENING_PRICES_E8)[1], market.deployment.pools[1]
    usdc = contract_at(market.chain.rpc, "MockToken", USDC.address)
    before = usdc.call("balanceOf", made.address)
    market.step({"ETH/USD": 1_950_00000000}, market.chain.now() + 60)

    # WETH, token1, got cheaper: the arbitrageur sells it, so USDC leaves the pool.
    bought = before - usdc.call("balanceOf", made.address)
    sold = reported.quote_out(WETH.address, USDC.address, bought)
    _, on_paper = reported.swapped(WETH.address, USDC.address, sold)
    price, tick, liquidity = pool_state(market.chain, made.address)
    assert (tick, liquidity) == (on_paper.tick, on_paper.liquidity)
    assert price == pytest.approx(on_paper.sqrt_price_x96, rel=1e-12)


def test_step_in_the_past_takes_the_chains_time(market: DevMarket) -> None:
    now = market.chain.now()
    block = market.step({"ETH/USD": 2_100_00000000}, now - 1000)

    assert now <= block.timestamp <= market.chain.now()
    feed = market.deployment.feeds[0]
    aggregator = contract_at(market.chain.rpc, "MockAggregator", str(feed.aggregator))
    assert aggregator.call("latestRoundData")[1] == 2_100_00000000


def test_step_that_fails_says_why(market: DevMarket) -> None:
    market.chain.transact(contract_at(market.chain.rpc, "PausableToken", WBTC.address), "pause")
    with pytest.raises(ContractReverted):
        market.step({"BTC/USD": 33_000_00000000}, market.chain.now() + 60)


def test_market_found_by_its_addresses_goes_on(market: DevMarket) -> None:
    market.step({"ETH/USD": 2_200_00000000}, market.chain.now() + 60)
    again = DevMarket(market.chain, market.deployment)
    assert again.prices_e8 == {**OPENING_PRICES_E8, "ETH/USD": 2_200_00000000}
    again.step({"BTC/USD": 31_000_00000000}, market.chain.now() + 60)

    for pool in again.deployment.pools:
        lowest, highest = again.bounds(pool)
        assert lowest <= pool_state(market.chain, pool.address)[0] <= highest


# Bounds on paper


def test_arbitrage_bounds_by_hand() -> None:
    # One WETH (18 decimals) is worth 2,000 USDC (6): 1 raw USDC is 5e8 raw WETH, whose root is
    # 22360.679774997896964…; times 2^96.
    assert sqrt_price_x96(1, 2_000, 6, 18) == 1771595571142957102961017161607260
    low, high = arbitrage_bounds(1_00000000, 2_000_00000000, 6, 18, 10_000)
    # At a fee of 1 % the bounds are sqrt(0.99) and 1 / sqrt(0.99) of that.
    middle = sqrt_price_x96(1, 2_000, 6, 18)
    assert low / middle == pytest.approx(0.994987437106620, rel=1e-14)
    assert high / middle == pytest.approx(1.005037815259212, rel=1e-14)


def test_recentred_pool_opens_at_the_tapes_price() -> None:
    pools = opening_pools(OPENING_PRICES_E8)
    moved = recentred(pools[0], sqrt_price_x96(40_000, 2_000, 8, 18))
    opened = opening_pools({**OPENING_PRICES_E8, "BTC/USD": 40_000_00000000}, [pools[0]])
    assert opened[0] == moved
    assert [pool.tokens for pool in opened] == [pool.tokens for pool in pools]
