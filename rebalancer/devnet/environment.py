"""Environment on a local chain: market, system, and a vault of WETH, WBTC and USDC.

`rebalancer devnet`, `rebalancer demo` and tests use it. All accounts are test accounts whose keys are public: `Actor`
lists them, and the market sends its own transactions from the node's last account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import Role, System
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.devnet.profile import opening_pools
from rebalancer.operations.deploy import (
    FeedSpec,
    VaultFees,
    VaultSpec,
    assign_vault_roles,
    create_vault,
    deploy_system,
    grant_roles,
    set_feed,
)
from rebalancer.operations.governance import lock_admin
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet
from rebalancer.settlement import Asset, Policy
from rebalancer.units import BPS, E18
from rebalancer.venues import UniswapV3Pool

__all__ = [
    "DEMO_BAND_BPS",
    "DEMO_POLICY",
    "Actor",
    "DevEnvironment",
    "build_environment",
    "set_up_environment",
]


class Actor(IntEnum):
    """Index of the node's test account for each role."""

    OWNER = 0
    CURATOR = 1
    GUARDIAN = 2
    KEEPER = 3
    DEPOSITOR = 4
    FEE_RECIPIENT = 5

    @property
    def address(self) -> str:
        """The actor's account."""
        return devnet_signer(self).address


DEMO_BAND_BPS = 100
"""With this band, WETH and WBTC leave their bands about 65 times on the real rounds of April 2023 to January 2024."""

DEMO_POLICY = Policy(
    start_slippage_bps=60,  # a pool's price may differ by one fee (0.3 %) from the oracle's, and the swap costs another
    max_slippage_bps=120,
    slippage_ramp_seconds=3_600,
    min_progress_bps=2_000,
    dust_bps=2,
    cooldown_seconds=600,
    loss_budget_bps=50,
    loss_period_seconds=86_400,
    turnover_budget_bps=3_000,
    turnover_period_seconds=86_400,
    open_after_seconds=3_600,  # any account may rebalance a vault whose keepers have stopped
)

_TARGETS_E18 = {"WETH": 4 * E18 // 10, "WBTC": 4 * E18 // 10, "USDC": 2 * E18 // 10}
_SEED_USD = 500_000
_FEE_BPS = 50
_FEE_CAP_WEI = 10_000 * 10**9  # ether of a local chain has no value
_SANE_FACTOR = 20
_HEARTBEAT_MARGIN_BPS = 2_500
"""Added to a feed's heartbeat, because its answer is mined some time later: on the real rounds up to a few minutes."""


@dataclass(frozen=True)
class DevEnvironment:
    """Market, system and vault on a local chain."""

    chain: LocalChain
    market: DevMarket
    system: System
    deployment: Deployment
    vault: str

    def wallet(self, actor: Actor) -> Wallet:
        """The wallet of an actor."""
        return _wallet(self.chain, actor)

    def open_vault(self, number: int, *, with_roles: bool = True) -> str:
        """Create another vault like the first, at the newest prices. `number` is its salt; the first vault has 0."""
        return _make_vault(
            *(self.market, self.wallet(Actor.OWNER), self.system, DEMO_POLICY, DEMO_BAND_BPS),
            number=number,
            with_roles=with_roles,
        )


def build_environment(
    chain: LocalChain,
    prices_e8: Mapping[str, int],
    snapshots: Sequence[UniswapV3Pool] = (),
    policy: Policy = DEMO_POLICY,
    band_bps: int = DEMO_BAND_BPS,
) -> DevEnvironment:
    """Build market, system and vault at these prices (USD * 1e8 by feed name).

    Raises:
        MarketMismatch, BadPoolSnapshot: the market cannot be built from these prices and pools.
        ContractReverted: the vault refuses the policy or the band.
    """
    market = DevMarket.build(chain, opening_pools(prices_e8, snapshots), prices_e8)
    return set_up_environment(market, policy, band_bps)


def set_up_environment(
    market: DevMarket,
    policy: Policy = DEMO_POLICY,
    band_bps: int = DEMO_BAND_BPS,
    targets_e18: Mapping[str, int] = _TARGETS_E18,
) -> DevEnvironment:
    """Deploy system and vault on an existing market: a new one, or that of a fork (see `DevMarket.on_fork`).

    `targets_e18` are the vault's target weights by symbol.

    Raises:
        ContractReverted: the vault refuses the policy or the band.
    """
    chain, prices_e8 = market.chain, market.prices_e8
    owner = _wallet(chain, Actor.OWNER)
    block = int(chain.block()["number"], 16)
    system = deploy_system(owner, market.deployment.listed("WETH").address)
    grant_roles(
        owner,
        system.authority,
        {
            Role.OWNER: [Actor.OWNER.address],
            Role.CURATOR: [Actor.CURATOR.address],
            Role.GUARDIAN: [Actor.GUARDIAN.address],
            Role.KEEPER: [Actor.KEEPER.address],
        },
        delay_seconds=0,
    )
    for feed in market.deployment.feeds:
        token = market.deployment.listed(feed.token)
        price_e18 = prices_e8[feed.name] * 10**10
        heartbeat_seconds = feed.heartbeat_seconds * (BPS + _HEARTBEAT_MARGIN_BPS) // BPS
        spec = FeedSpec(
            feed.address,
            feed.decimals,
            heartbeat_seconds,
            price_e18 // _SANE_FACTOR,
            price_e18 * _SANE_FACTOR,
        )
        set_feed(owner, system.oracle, token.address, spec)
    vault = _make_vault(market, owner, system, policy, band_bps, targets_e18)
    lock_admin(owner, system, owner.address, delay_seconds=0)
    named = market.deployment.with_contracts(system.contracts()).with_vault(vault)
    deployment = replace(named, block=block)
    return DevEnvironment(chain, market, system, deployment, vault)


def _make_vault(
    market: DevMarket,
    owner: Wallet,
    system: System,
    policy: Policy,
    band_bps: int,
    targets_e18: Mapping[str, int] = _TARGETS_E18,
    *,
    number: int = 0,
    with_roles: bool = True,
) -> str:
    """Create a vault that the owner seeds at its target weights. A share is worth one dollar at first."""
    assets, seeds = [], []
    for symbol, target_e18 in targets_e18.items():
        token = market.deployment.listed(symbol)
        assets.append(Asset(token.address, target_e18, band_bps, token.decimals))
        seeds.append(raw_for_usd(market, symbol, _SEED_USD * target_e18 // E18))
        market.deal(symbol, owner.address, seeds[-1])
    spec = VaultSpec(
        name="Rebalancer demo basket",
        symbol="DEMO",
        assets=tuple(assets),
        policy=policy,
        seed_amounts=tuple(seeds),
        initial_shares=_SEED_USD * E18,
        fees=VaultFees(streaming_bps=_FEE_BPS),
        fee_recipient=Actor.FEE_RECIPIENT.address,
        salt=number,
    )
    vault = create_vault(owner, system, spec)
    if with_roles:
        assign_vault_roles(owner, system, vault)
    return vault


def raw_for_usd(market: DevMarket, symbol: str, usd: int) -> int:
    """Raw units of a token for `usd` whole dollars at the newest prices, rounded down."""
    feed = next(feed for feed in market.deployment.feeds if feed.token == symbol)
    token = market.deployment.listed(symbol)
    # {raw} = {usd} * {e8} * {raw/token} / {usd * e8 / token}
    usd_e8_per_token: int = market.prices_e8[feed.name]
    return int(usd * 10**8 * 10**token.decimals // usd_e8_per_token)


def _wallet(chain: LocalChain, actor: Actor) -> Wallet:
    return Wallet(chain.rpc, devnet_signer(actor), _FEE_CAP_WEI)
