"""How does the system come to a chain that already has tokens, feeds and pools?

Everything that can be wrong is looked for before anything is sent: code at every address, feeds that
answer as they should. Then the system is deployed, feeds are set, and the roles handed out; whoever
deploys stays the AccessManager's admin and keeps no other role unless named for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rebalancer.chain.abi import interface
from rebalancer.chain.deployment import DeployedFeed, DeployedPool, DeployedToken, Deployment
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.deploy import FeedSpec, Role, deploy_system, grant_roles, set_feed
from rebalancer.errors import FeedUnsound
from rebalancer.send.wallet import Wallet
from rebalancer.spec import ChainSpec, FeedLine
from rebalancer.units import BPS

__all__ = ["Governance", "launch", "read_chain", "read_feeds"]

_SANE_FACTOR = 20
"""A price this many times above or below the one at launch is taken for a broken feed, unless told otherwise."""

_HEARTBEAT_MARGIN_BPS = 2_500
"""An answer takes some time to be mined after its heartbeat."""

_MAX_FEED_DECIMALS = 18


@dataclass(frozen=True, slots=True)
class Governance:
    """Who holds which role, and how long owner and curator wait for what they do."""

    owner: str
    curator: str
    guardian: str
    keeper: str
    delay_seconds: int


def read_chain(rpc: Rpc, spec: ChainSpec) -> Deployment:
    """What the chain says of the tokens, feeds and pools that a person named.

    Raises:
        ContractMissing: one of them is not there, or something else is.
    """
    tokens = {address: _read_token(rpc, address) for address in spec.tokens}
    pools = [_read_pool(rpc, address) for address in spec.pools]
    for address in (*(feed.token for feed in spec.feeds), *_traded(pools), spec.wrapped_native):
        if address not in tokens:
            tokens[address] = _read_token(rpc, address)
    feeds = []
    for line in spec.feeds:
        contract = interface("AggregatorV3Interface").at(line.address)
        symbol = tokens[line.token].symbol
        decimals = contract.call(rpc, "decimals")
        feeds.append(
            DeployedFeed(f"{symbol}/USD", symbol, line.address, decimals, line.heartbeat_seconds)
        )
    return Deployment(
        rpc.chain_id(),
        tokens=tuple(tokens.values()),
        feeds=tuple(feeds),
        pools=tuple(pools),
        uniswap={"WETH9": spec.wrapped_native},
    )


def read_feeds(rpc: Rpc, lines: Sequence[FeedLine]) -> dict[str, FeedSpec]:
    """How each token will be priced, by its address. Every feed must answer soundly now.

    Raises:
        FeedUnsound: other decimals than said, or an answer that is not positive, stale, or outside its range.
        ContractMissing: there is no feed at an address.
    """
    now = read_block(rpc).timestamp
    found = {}
    for line in lines:
        contract = interface("AggregatorV3Interface").at(line.address)
        decimals = contract.call(rpc, "decimals")
        if line.decimals is not None and decimals != line.decimals:
            raise FeedUnsound(line.address, f"it has {decimals} decimals, not {line.decimals}")
        if decimals > _MAX_FEED_DECIMALS:
            raise FeedUnsound(line.address, f"it has {decimals} decimals, above 18")
        _, answer, _, updated_at, _ = contract.call(rpc, "latestRoundData")
        heartbeat = line.heartbeat_seconds * (BPS + _HEARTBEAT_MARGIN_BPS) // BPS
        if answer <= 0:
            raise FeedUnsound(line.address, f"its answer is {answer}, which is no price")
        if now - updated_at > heartbeat:
            why = f"its answer is {now - updated_at} s old and may be {heartbeat} s"
            raise FeedUnsound(line.address, why)
        price_e18 = answer * 10 ** (_MAX_FEED_DECIMALS - decimals)
        low = line.min_price_e18 or max(1, price_e18 // _SANE_FACTOR)
        high = line.max_price_e18 or price_e18 * _SANE_FACTOR
        if not low <= price_e18 <= high:
            why = f"its price times 1e18 is {price_e18}, outside {low} to {high}"
            raise FeedUnsound(line.address, why)
        found[line.token] = FeedSpec(line.address, decimals, heartbeat, low, high)
    return found


def launch(
    wallet: Wallet, deployment: Deployment, feeds: Mapping[str, FeedSpec], governance: Governance
) -> Deployment:
    """Deploy the system, set its feeds, hand out the roles; the addresses with the system's.

    Raises:
        ContractReverted: something is refused; what was deployed until then is used by nobody.
        As `Wallet.send`.
    """
    system = deploy_system(wallet, deployment.uniswap["WETH9"])
    # Feeds are set by an owner who need not wait, which the deployer is for as long as that takes.
    grant_roles(wallet, system.authority, {Role.OWNER: [wallet.address]}, delay_seconds=0)
    for token, feed in feeds.items():
        set_feed(wallet, system.oracle, token, feed)
    members = {
        Role.OWNER: [governance.owner],
        Role.CURATOR: [governance.curator],
        Role.GUARDIAN: [governance.guardian],
        Role.KEEPER: [governance.keeper],
    }
    grant_roles(wallet, system.authority, members, governance.delay_seconds)
    if governance.owner != wallet.address:
        authority = interface("AccessManager").at(system.authority)
        wallet.transact(authority, "revokeRole", Role.OWNER.value, wallet.address)
    return deployment.with_contracts(system.contracts())


def _read_token(rpc: Rpc, address: str) -> DeployedToken:
    contract = interface("IERC20Metadata").at(address)
    return DeployedToken(contract.call(rpc, "symbol"), address, contract.call(rpc, "decimals"))


def _read_pool(rpc: Rpc, address: str) -> DeployedPool:
    contract = interface("UniswapV3Pool").at(address)
    token0, token1, fee = (contract.call(rpc, name) for name in ("token0", "token1", "fee"))
    return DeployedPool(address, token0, token1, fee)


def _traded(pools: Sequence[DeployedPool]) -> list[str]:
    return [token for pool in pools for token in (pool.token0, pool.token1)]
