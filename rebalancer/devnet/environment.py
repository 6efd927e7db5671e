"""Local chains with market, system and vault, for the devnet, the demo, tests, attacks and benchmarks.

`build_environment` builds everything, by default with a vault of WETH, WBTC and USDC; `set_up_environment` does so on a market that
exists. Who needs only a part calls one of the parts: `set_up_system` (contracts, roles, feeds), `basket` (assets of a vault)
and `open_vault` (a vault whose functions belong to the roles). The keys of all accounts are public: `Actor` names the accounts, and the
market's own transactions come from the node's last account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import Role, System
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.devnet.profile import opening_pools
from rebalancer.operations.deploy import (
    FeedSpec,
    Transactor,
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
    "basket",
    "build_environment",
    "equal_targets_e18",
    "market_feeds",
    "open_vault",
    "raw_for_usd",
    "set_up_environment",
    "set_up_system",
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


_ROLES = {
    Role.OWNER: [Actor.OWNER.address],
    Role.CURATOR: [Actor.CURATOR.address],
    Role.GUARDIAN: [Actor.GUARDIAN.address],
    Role.KEEPER: [Actor.KEEPER.address],
}


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
    chain = market.chain
    owner = _wallet(chain, Actor.OWNER)
    block = int(chain.block()["number"], 16)
    system = set_up_system(owner, market.deployment.listed("WETH").address, _ROLES, market_feeds(market))
    vault = _make_vault(market, owner, system, policy, band_bps, targets_e18)
    lock_admin(owner, system, owner.address, delay_seconds=0)
    named = market.deployment.with_contracts(system.contracts()).with_vault(vault)
    deployment = replace(named, block=block)
    return DevEnvironment(chain, market, system, deployment, vault)


def set_up_system(
    owner: Transactor,
    weth: str,
    members: Mapping[Role, Sequence[str]],
    feeds: Mapping[str, FeedSpec] = MappingProxyType({}),
) -> System:
    """Deploy all contracts but vaults, give accounts their roles without a delay, and set feeds by token.

    `owner` becomes the AccessManager's admin. With `feeds` it must be among the members of OWNER.

    Raises:
        ContractReverted: a feed is refused.
    """
    system = deploy_system(owner, weth)
    grant_roles(owner, system.authority, members, delay_seconds=0)
    for token, spec in feeds.items():
        set_feed(owner, system.oracle, token, spec)
    return system


def market_feeds(market: DevMarket) -> dict[str, FeedSpec]:
    """The market's feeds by token, for `set_up_system`. A price is sane between a 20th and 20 times the newest one."""
    feeds = {}
    for feed in market.deployment.feeds:
        price_e18 = market.prices_e8[feed.name] * 10**10
        heartbeat_seconds = feed.heartbeat_seconds * (BPS + _HEARTBEAT_MARGIN_BPS) // BPS
        sane = price_e18 // _SANE_FACTOR, price_e18 * _SANE_FACTOR
        token = market.deployment.listed(feed.token).address
        feeds[token] = FeedSpec(feed.address, feed.decimals, heartbeat_seconds, *sane)
    return feeds


def equal_targets_e18(n: int) -> list[int]:
    """Targets of n assets, as equal as they can be: the last one gets the remainder."""
    each_e18 = E18 // n
    return [each_e18] * (n - 1) + [E18 - each_e18 * (n - 1)]


def basket(decimals: Mapping[str, int], targets_e18: Iterable[int], band_bps: int) -> tuple[Asset, ...]:
    """Assets of a vault that all have the same band. `decimals` are those of each token, by address and in the vault's order."""
    rows = zip(decimals.items(), targets_e18, strict=True)
    return tuple(Asset(token, target_e18, band_bps, places) for (token, places), target_e18 in rows)


def open_vault(owner: Transactor, system: System, spec: VaultSpec) -> str:
    """Create a vault, seeded from the owner's tokens, and give its functions to the roles; its address.

    Raises:
        As `create_vault` and `assign_vault_roles`.
    """
    vault = create_vault(owner, system, spec)
    assign_vault_roles(owner, system, vault)
    return vault


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
    """A vault seeded at its target weights by the owner, worth one dollar a share at first."""
    decimals, seeds = {}, []
    for symbol, target_e18 in targets_e18.items():
        token = market.deployment.listed(symbol)
        decimals[token.address] = token.decimals
        seeds.append(raw_for_usd(market, symbol, _SEED_USD * target_e18 // E18))
        market.deal(symbol, owner.address, seeds[-1])
    spec = VaultSpec(
        name="Rebalancer demo basket",
        symbol="DEMO",
        assets=basket(decimals, targets_e18.values(), band_bps),
        policy=policy,
        seed_amounts=tuple(seeds),
        initial_shares=_SEED_USD * E18,
        fees=VaultFees(streaming_bps=_FEE_BPS),
        fee_recipient=Actor.FEE_RECIPIENT.address,
        salt=number,
    )
    return (open_vault if with_roles else create_vault)(owner, system, spec)


def raw_for_usd(market: DevMarket, symbol: str, usd: int) -> int:
    """Raw units of a token for `usd` whole dollars at the newest prices, rounded down."""
    feed = next(feed for feed in market.deployment.feeds if feed.token == symbol)
    token = market.deployment.listed(symbol)
    # {raw} = {usd} * {e8} * {raw/token} / {usd * e8 / token}
    usd_e8_per_token: int = market.prices_e8[feed.name]
    return int(usd * 10**8 * 10**token.decimals // usd_e8_per_token)


def _wallet(chain: LocalChain, actor: Actor) -> Wallet:
    return Wallet(chain.rpc, devnet_signer(actor), _FEE_CAP_WEI)
