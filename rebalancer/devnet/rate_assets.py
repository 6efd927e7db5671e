"""Market and vault of wrapped tokens with an exchange rate: wstETH, and a staked dollar that behaves like sUSDe.

The vault holds WETH, wstETH, USDe and sUSDe. Both wrapped tokens are priced by rate times feed: an exchange-rate feed,
quoted in ether or USDe. Their second source is the market: the average price of wstETH's pool with USDe, and a market
feed of sUSDe. Every token has a pool. The keeper can also wrap and unwrap: USDe to sUSDe, and WETH to stETH (on a
Uniswap V2 pair) to wstETH.

`rebalancer devnet --rate-assets`, tests and attacks use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.environment import (
    DEMO_BAND_BPS,
    DEMO_POLICY,
    Actor,
    DevEnvironment,
    set_up_environment,
)
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import WETH, DevMarket
from rebalancer.devnet.market import DevFeedSpec as MarketFeed
from rebalancer.operations.deploy import FeedSpec, SourceSpec, set_feed, set_source
from rebalancer.settlement import Policy
from rebalancer.units import BPS, E18
from rebalancer.venues import PoolRef, Token, UniswapV3Pool, synthetic
from rebalancer.venues.uniswap_v3_math import sqrt_price_x96

__all__ = ["DIVERGENCE_BPS", "RATE_PRICES_E8", "RateEnvironment", "build_rate_environment"]

RATE_PRICES_E8 = {
    "ETH/USD": 2_000 * 10**8,
    "USDE/USD": 10**8,
    "WSTETH/USD": 2_400 * 10**8,
    "SUSDE/USD": 125 * 10**6,
}
"""Opening prices of the market. The rates are 1.2 stETH per wstETH and 1.25 USDe per sUSDe."""

DIVERGENCE_BPS = 200
_WINDOW_SECONDS = 1_800
_COOLDOWN_SECONDS = 7 * 86_400
_TARGETS_E18 = {
    "WETH": 3 * E18 // 10,
    "wstETH": 3 * E18 // 10,
    "USDe": 2 * E18 // 10,
    "sUSDe": 2 * E18 // 10,
}
_DEPTH_USD = 10**7
"""Value of the token1 in each Uniswap V3 pool, and of each side of the stETH pair."""
_STETH_SHARES = 8 * 10**6 * E18
_STAKED_USD = 10**9
_STETH_YIELD_BPS_PER_YEAR = 300
_STAKED_YIELD_BPS_PER_YEAR = 1_000
_PAIR_FEE_PIPS = 3_000
_HEARTBEAT_SECONDS = 86_400
_SANE_FACTOR = 20


@dataclass(frozen=True)
class RateEnvironment:
    """The environment, and the external contracts that define its rates."""

    environment: DevEnvironment
    steth: BoundContract
    wsteth: BoundContract
    usde: BoundContract
    susde: BoundContract
    pair: str
    """Address of the Uniswap V2 pair of stETH and WETH."""

    @property
    def vault(self) -> BoundContract:
        """The vault of the four tokens."""
        return contract_at(self.environment.chain.rpc, "BasketVault", self.environment.vault)

    def pool(self, one: str, other: str) -> str:
        """Address of the Uniswap V3 pool of two tokens, which are named by symbol."""
        listed = self.environment.deployment.listed
        ends = {listed(one).address, listed(other).address}
        (found,) = [p for p in self.environment.market.deployment.pools if set(p.tokens) == ends]
        return found.address

    def snapshot(self) -> VaultSnapshot:
        """The vault at the newest block."""
        rpc, system = self.environment.chain.rpc, self.environment.system
        return read_vaults(rpc, system.lens, [self.environment.vault], read_block(rpc))[0]

    def move(self, prices_e8: Mapping[str, int] | None = None, seconds: int = 900) -> None:
        """Advance the time and set these prices; arbitrage moves the pools."""
        market = self.environment.market
        market.step({**market.prices_e8, **(prices_e8 or {})}, self.environment.chain.now() + seconds)

    def settle(self, prices_e8: Mapping[str, int] | None = None) -> None:
        """Like `move`, then wait until the average prices equal the market's."""
        self.move(prices_e8)
        self.move(seconds=_WINDOW_SECONDS + 60)

    def prices_at_rates_e8(self, eth_usd_e8: int) -> dict[str, int]:
        """Prices of a market that values both wrapped tokens by their current rates, rounded down, by feed name."""
        wrapped_e18 = int(self.wsteth.call("stEthPerToken"))
        staked_e18 = int(self.susde.call("convertToAssets", E18))
        usde_e8 = RATE_PRICES_E8["USDE/USD"]
        return {
            "ETH/USD": eth_usd_e8,
            "USDE/USD": usde_e8,
            "WSTETH/USD": eth_usd_e8 * wrapped_e18 // E18,
            "SUSDE/USD": usde_e8 * staked_e18 // E18,
        }

    def earn(self, days: int = 1) -> None:
        """Both wrapped tokens earn their yield of `days` days: stETH at once, the staked dollar over eight hours."""
        steth_raw = int(self.steth.call("ownEther")) * _STETH_YIELD_BPS_PER_YEAR
        staked_raw = int(self.susde.call("totalAssets")) * _STAKED_YIELD_BPS_PER_YEAR
        self.send(self.steth, "reward", steth_raw * days // (BPS * 365))
        self.reward(staked_raw * days // (BPS * 365))

    def reward(self, amount_raw: int) -> None:
        """The staked dollar earns this amount of USDe, which it recognises over eight hours."""
        self.give(amount_raw)
        self.send(self.susde, "reward", amount_raw)

    def change_staked(self, change_bps: int) -> None:
        """Change the assets of the staked dollar at once: a donation if positive, a slashing if negative."""
        amount_raw = int(self.susde.call("totalAssets")) * abs(change_bps) // BPS
        function = "mint" if change_bps > 0 else "burn"
        self.send(self.usde, function, self.susde.address, amount_raw)

    def give(self, amount_raw: int) -> None:
        """Donate this amount of USDe to the staked dollar's vault."""
        self.environment.chain.transact(self.usde, "mint", self.susde.address, amount_raw)

    def send(self, contract: BoundContract, function: str, *args: Any) -> None:
        """Send a transaction from an unrelated account; the mocks have no access control."""
        self.environment.chain.transact(contract, function, *args, sender=self.environment.chain.accounts[12])


def build_rate_environment(
    chain: LocalChain,
    policy: Policy = DEMO_POLICY,
    band_bps: int = DEMO_BAND_BPS,
    eth_usd_e8: int = RATE_PRICES_E8["ETH/USD"],
) -> RateEnvironment:
    """Build market, system and vault. The staked dollar has a cooldown, so it cannot be redeemed at once.

    Raises:
        As `build_environment`.
    """
    steth = chain.deploy("MockStETH")
    whale = chain.accounts[11]
    chain.transact(steth, "mintShares", whale, _STETH_SHARES, _STETH_SHARES * 12 // 10)
    wsteth = chain.deploy("MockWstETH", steth.address)
    usde = chain.deploy("MockToken", "USDe", "USDe", 18)
    susde = chain.deploy("MockStakedDollar", usde.address, _COOLDOWN_SECONDS)
    chain.transact(usde, "mint", whale, _STAKED_USD * E18 * 5 // 4)
    chain.transact(usde, "approve", susde.address, 2**255, sender=whale)
    chain.transact(susde, "deposit", _STAKED_USD * E18, whale, sender=whale)
    chain.transact(usde, "transfer", susde.address, _STAKED_USD * E18 // 4, sender=whale)

    wrapper, dollar = Token(wsteth.address, "wstETH", 18), Token(usde.address, "USDe", 18)
    staked = Token(susde.address, "sUSDe", 18)
    priced = {"ETH/USD": WETH, "USDE/USD": dollar, "WSTETH/USD": wrapper, "SUSDE/USD": staked}
    feeds = [MarketFeed(name, token, _HEARTBEAT_SECONDS) for name, token in priced.items()]
    prices_e8 = RATE_PRICES_E8 | {"ETH/USD": eth_usd_e8, "WSTETH/USD": eth_usd_e8 * 12 // 10}
    usd_e8 = {token.address: prices_e8[name] for name, token in priced.items()}
    pools = [
        _pool(one, other, fee_pips, tick_spacing, usd_e8)
        for one, other, fee_pips, tick_spacing in (
            (dollar, WETH, 500, 10),
            (wrapper, WETH, 500, 10),
            (wrapper, dollar, 3_000, 60),
            (staked, dollar, 500, 10),
        )
    ]
    market = DevMarket.build(chain, pools, prices_e8, feeds)
    for pool in market.deployment.pools:
        contract = contract_at(chain.rpc, "UniswapV3Pool", pool.address)
        chain.transact(contract, "increaseObservationCardinalityNext", 128, gas=10_000_000)
    pair = _pair(market, steth, whale)
    environment = set_up_environment(market, policy, band_bps, _TARGETS_E18)
    edges = (
        PoolRef(susde.address, (usde.address, susde.address), venue="erc4626"),
        PoolRef(wsteth.address, (steth.address, wsteth.address), venue="wsteth"),
        PoolRef(pair, _sorted(steth.address, WETH.address), _PAIR_FEE_PIPS, "uniswap-v2"),
    )
    known = environment.deployment
    # These two price the wrappers too, by a rate, so their descriptions name another token.
    described = {"ETH/USD": "ETH / USD", "USDE/USD": "USDE / USD"}
    named = tuple(replace(feed, description=described.get(feed.name)) for feed in known.feeds)
    deployment = replace(known, pools=(*known.pools, *edges), feeds=named)
    made = RateEnvironment(replace(environment, deployment=deployment), steth, wsteth, usde, susde, pair)
    made.move(seconds=_WINDOW_SECONDS + 60)
    _price_by_rates(made)
    return made


def _price_by_rates(made: RateEnvironment) -> None:
    """Set rate times feed as the primary source of both wrapped tokens, and the market as the second."""
    environment = made.environment
    system, owner = environment.system, environment.wallet(Actor.OWNER)
    feeds = {feed.name: feed for feed in environment.deployment.feeds}
    getter = made.wsteth.interface.functions["stEthPerToken"].selector
    rates = (
        ("wstETH", "ETH/USD", (made.wsteth.address, getter, 0, 18), "WSTETH/USD"),
        ("sUSDe", "USDE/USD", (made.susde.address, bytes(4), 18, 18), "SUSDE/USD"),
    )
    for symbol, base, rate, market_feed in rates:
        token, feed = environment.deployment.listed(symbol), feeds[base]
        price_e18 = environment.market.prices_e8[market_feed] * 10**10
        rate_e18 = price_e18 * 10**8 // environment.market.prices_e8[base]
        exchanged = PRICE_SOURCES["exchange_rate_feed"]
        params = exchanged.params(feed.address, feed.decimals, *rate, *_sane(rate_e18))
        spec = FeedSpec(
            *(feed.address, 18, _HEARTBEAT_SECONDS, *_sane(price_e18)),
            adapter=exchanged.adapter,
            params=params,
        )
        set_feed(owner, system.oracle, token.address, spec, system.price_sources)
    average = SourceSpec.of(
        PRICE_SOURCES["uniswap_v3_twap"],
        *(made.pool("wstETH", "USDe"), _WINDOW_SECONDS, 18, 18),
        int(made.wsteth.address, 16) < int(made.usde.address, 16),
        quote=made.usde.address,
        max_divergence_bps=DIVERGENCE_BPS,
    )
    set_source(owner, system, made.wsteth.address, average)
    market = feeds["SUSDE/USD"]
    direct = SourceSpec.of(
        PRICE_SOURCES["feed"],
        *(market.address, market.decimals),
        heartbeat_seconds=_HEARTBEAT_SECONDS,
        max_divergence_bps=DIVERGENCE_BPS,
    )
    set_source(owner, system, made.susde.address, direct)


def _sane(value_e18: int) -> tuple[int, int]:
    return value_e18 // _SANE_FACTOR, value_e18 * _SANE_FACTOR


def _sorted(one: str, other: str) -> tuple[str, str]:
    """Two addresses in the order of a pool's tokens."""
    low, high = sorted((one.lower(), other.lower()), key=lambda address: int(address, 16))
    return low, high


def _pool(one: Token, other: Token, fee_pips: int, tick_spacing: int, usd_e8: Mapping[str, int]) -> UniswapV3Pool:
    """A pool of two tokens at the market's prices."""
    low, high = sorted((one, other), key=lambda token: int(token.address, 16))
    prices = usd_e8[low.address], usd_e8[high.address]
    return synthetic(
        low,
        high,
        fee_pips=fee_pips,
        tick_spacing=tick_spacing,
        sqrt_price_x96=sqrt_price_x96(*prices, low.decimals, high.decimals),
        # {raw} = {usd} * {raw/token} / {usd/token}
        depth1_raw=_DEPTH_USD * 10**8 * 10**high.decimals // prices[1],
    )


def _pair(market: DevMarket, steth: BoundContract, whale: str) -> str:
    """Create a Uniswap V2 pair of stETH and WETH at 1:1. A transfer of stETH may deliver 1 wei less."""
    chain = market.chain
    factory = chain.deploy("UniswapV2Factory", chain.accounts[0])
    chain.transact(factory, "createPair", steth.address, WETH.address)
    pair: str = factory.call("getPair", steth.address, WETH.address)
    side_raw = _DEPTH_USD * 10**8 * E18 // market.prices_e8["ETH/USD"]
    chain.transact(steth, "transfer", pair, side_raw, sender=whale)
    market.deal("WETH", pair, side_raw)
    chain.transact(contract_at(chain.rpc, "UniswapV2Pair", pair), "mint", whale)
    return pair
