"""One token into shares and back over pools of Uniswap V2, V3, V4 (of ether) and Balancer at once: what was planned arrives, to the unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.pools import read_pools
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.environment import Actor, DevEnvironment, raw_for_usd
from rebalancer.devnet.market import USDC, WBTC, WETH
from rebalancer.operations.actions import ETH, deposit_token, withdraw_token
from rebalancer.plan.zap import VaultLedger, plan_zap_in, plan_zap_out
from rebalancer.send.wallet import Wallet
from rebalancer.units import E18
from rebalancer.venues import (
    BalancerWeightedPool,
    InitializedTick,
    Pool,
    PoolRef,
    TickProfile,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
    WrappedEtherPool,
)
from rebalancer.venues.uniswap_v3_math import MAX_TICK, sqrt_price_x96, tick_at_sqrt
from tests.contract.pools_balancer import NOBODY, BalancerV2, coins
from tests.contract.pools_v4 import ETHER, UniswapV4

KINDS: dict[str, set[type]] = {
    "USDC": {UniswapV2Pool, UniswapV3Pool, WrappedEtherPool, BalancerWeightedPool},
    "ETH": {UniswapV3Pool, WrappedEtherPool, BalancerWeightedPool},
    "WBTC": {UniswapV2Pool, UniswapV3Pool, BalancerWeightedPool},
}
"""What at least is traded on when it is paid or wanted: some ways through a third token are too dear."""


@dataclass(frozen=True)
class Scene:
    """The stage with a vault that charges nothing, more pools, and somebody with a million dollars of each token."""

    environment: DevEnvironment
    deployment: Deployment
    depositor: Wallet

    def pools(self) -> tuple[Pool, ...]:
        """All pools as they are now, as a command reads them."""
        rpc, weth = self.environment.chain.rpc, WETH
        lens = self.environment.system.uniswap_v3_lens
        block = read_block(rpc)
        found = read_pools(rpc, self.deployment.pools, block, 31_337, lens=lens)
        return tuple(pool.as_traded(weth) for pool in found)

    def books(self) -> VaultLedger:
        vault = contract_at(self.environment.chain.rpc, "BasketVault", self.environment.vault)
        tokens = tuple(asset[0] for asset in vault.call("assets"))
        return VaultLedger(tokens, tuple(vault.call("held")), vault.call("totalSupply"))

    def shares(self) -> int:
        vault = contract_at(self.environment.chain.rpc, "BasketVault", self.environment.vault)
        return int(vault.call("balanceOf", self.depositor.address))


@pytest.fixture
def scene(environment: DevEnvironment) -> Scene:
    chain = environment.chain
    chain.mine(at=chain.now() + 60)
    vault = contract_at(chain.rpc, "BasketVault", environment.vault)
    environment.wallet(Actor.OWNER).transact(vault, "setFees", (0, 0, 0, 0), Actor.FEE_RECIPIENT.address)
    depositor = environment.wallet(Actor.DEPOSITOR)
    for token in environment.deployment.tokens:
        amount = raw_for_usd(environment.market, token.symbol, 10**6)
        environment.market.deal(token.address, depositor.address, amount)
    ours = (pair_of(environment), ether_pool_of(environment), weighted_of(environment))
    return Scene(
        environment,
        replace(environment.deployment, pools=(*environment.deployment.pools, *ours)),
        depositor,
    )


def pair_of(environment: DevEnvironment) -> PoolRef:
    """A hundred bitcoins and their worth of dollars in Uniswap V2."""
    chain = environment.chain
    factory = chain.deploy("UniswapV2Factory", chain.accounts[0])
    ends = (WBTC.address, USDC.address)
    chain.transact(factory, "createPair", *ends)
    pair = contract_at(chain.rpc, "UniswapV2Pair", factory.call("getPair", *ends))
    for token, amount in ((WBTC, 100 * 10**8), (USDC, 3_000_000 * 10**6)):
        environment.market.deal(token.address, pair.address, amount)
    chain.transact(pair, "mint", chain.accounts[0])
    return PoolRef(pair.address, ends, 3_000, "uniswap-v2")


def ether_pool_of(environment: DevEnvironment) -> PoolRef:
    """A thousand ether and their worth of dollars in Uniswap V4, at 0.05 %."""
    sqrt_x96 = sqrt_price_x96(2_000, 1, 18, 6)
    end, liquidity = MAX_TICK // 10 * 10, isqrt(1_000 * E18 * 2_000_000 * 10**6)
    ticks = (
        InitializedTick(-end, liquidity, liquidity),
        InitializedTick(end, liquidity, -liquidity),
    )
    profile = TickProfile(500, 10, ticks)
    paper = UniswapV4Pool(NOBODY, *(ETHER, USDC, profile), *(sqrt_x96, tick_at_sqrt(sqrt_x96), liquidity))
    made = UniswapV4.install(environment.chain, environment.chain.accounts[2]).rebuild(paper)
    return made.ref


def weighted_of(environment: DevEnvironment) -> PoolRef:
    """Bitcoins, dollars and a third token in Balancer, 0.1 %."""
    (coin,) = coins(environment.chain, [18])
    held = {WBTC: (100 * 10**8, 40), USDC: (3_000_000 * 10**6, 40), coin: (10**24, 20)}
    tokens = tuple(sorted(held, key=lambda token: int(token.address, 16)))
    paper = BalancerWeightedPool(
        address=NOBODY,
        vault=NOBODY,
        pool_id="0x" + "0" * 64,
        tokens=tokens,
        balances=tuple(held[token][0] for token in tokens),
        weights_e18=tuple(held[token][1] * E18 // 100 for token in tokens),
        fee_e18=10**15,
        pow_version="v2",
    )
    made = BalancerV2.install(environment.chain, environment.chain.accounts[2]).rebuild(paper)
    ends = tuple(token.address for token in tokens)
    return PoolRef(made.address, ends, venue="balancer")


@pytest.mark.parametrize("symbol", ["USDC", "WBTC", "ETH"])
def test_deposit_over_all_protocols_mints_what_was_promised_to_the_unit(scene: Scene, symbol: str) -> None:
    paid = ETH if symbol == "ETH" else scene.deployment.listed(symbol).address
    amount = raw_for_usd(scene.environment.market, "WETH" if symbol == "ETH" else symbol, 500_000)
    seen, wrapped = scene.pools(), WETH.address if symbol == "ETH" else paid
    found = plan_zap_in(scene.books(), seen, wrapped, amount, 50)
    v3_alone = plan_zap_in(scene.books(), seen[:3], wrapped, amount, 50)

    system = scene.environment.system
    done = deposit_token(scene.depositor, system, scene.environment.vault, paid, amount, seen, 50)

    assert {type(swap.pool) for swap in found.swaps} >= KINDS[symbol]
    assert done.shares == done.expected_shares == found.shares == scene.shares()
    assert done.amounts == found.minted_raw
    left = dict(zip(scene.books().tokens, found.left_raw, strict=True))
    assert done.returned == {
        ETH if token == wrapped and symbol == "ETH" else token: raw for token, raw in left.items() if raw
    }
    assert found.shares > v3_alone.shares


@pytest.mark.parametrize("symbol", ["USDC", "WBTC", "ETH"])
def test_withdrawal_over_all_protocols_pays_what_was_promised_to_the_unit(scene: Scene, symbol: str) -> None:
    system, vault = scene.environment.system, scene.environment.vault
    dollars = 600_000 * 10**6
    deposit_token(scene.depositor, system, vault, USDC.address, dollars, scene.pools(), 50)
    paid = ETH if symbol == "ETH" else scene.deployment.listed(symbol).address
    shares, seen, books = scene.shares(), scene.pools(), scene.books()
    wanted = WETH.address if symbol == "ETH" else paid
    found = plan_zap_out(books.tokens, books.given_raw(shares), seen, wanted)

    done = withdraw_token(scene.depositor, system, vault, paid, shares, seen, 50)

    assert {type(swap.pool) for swap in found.swaps} >= KINDS[symbol]
    assert done.amount_raw == done.expected_raw == found.amount_out_raw
    assert done.returned == {}
    assert scene.shares() == 0
