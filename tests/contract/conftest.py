"""Fixtures of the contract suite: market and system once a chain, and a fresh copy of both for every test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import Role
from rebalancer.devnet.environment import set_up_system
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.operations.deploy import set_feed
from tests.contract.governed import Governed, govern
from tests.contract.world import SEEDS, World, basket_spec, feed_spec


@pytest.fixture(scope="session")
def session_world(session_chain: LocalChain, session_market: Deployment) -> World:
    """The system beside the session's market, everybody in their role; the market itself is as others find it."""
    admin, owner, curator, guardian, keeper, alice, bob, treasury, stranger = map(
        session_chain.account, session_chain.accounts[:9]
    )
    members = {
        Role.OWNER: [owner.address],
        Role.CURATOR: [curator.address],
        Role.GUARDIAN: [guardian.address],
        Role.KEEPER: [keeper.address],
    }
    return World(
        chain=session_chain,
        market=DevMarket(session_chain, session_market),
        system=set_up_system(admin, session_market.uniswap["WETH9"], members),
        admin=admin,
        owner=owner,
        curator=curator,
        guardian=guardian,
        keeper=keeper,
        alice=alice,
        bob=bob,
        treasury=treasury,
        stranger=stranger,
    )


@pytest.fixture
def world(session_world: World, market: DevMarket) -> World:
    """The system with fresh prices, and the seeds of four vaults with the admin; all that a test does is undone."""
    fresh = replace(session_world, market=market)
    fresh.move_market()
    for token, name in zip(fresh.tokens, ("ETH/USD", "BTC/USD", "USDC/USD"), strict=True):
        set_feed(fresh.owner, fresh.system.oracle, token.address, feed_spec(fresh, name))
    fresh.give(fresh.admin, [4 * seed for seed in SEEDS])
    return fresh


@pytest.fixture(scope="session")
def session_governed(session_chain: LocalChain, session_market: Deployment) -> Governed:
    """A second system beside the session's market, as `rebalancer deploy` leaves it."""
    return govern(DevMarket(session_chain, session_market))


@pytest.fixture
def governed(session_governed: Governed, market: DevMarket) -> Governed:
    """The system whose people must wait, with fresh prices; all that a test does is undone."""
    fresh = replace(session_governed, market=market)
    fresh.wait(1)
    return fresh


@pytest.fixture
def vault(world: World) -> BoundContract:
    """A million dollars of WETH, WBTC and USDC at their targets; all shares but the locked ones are the admin's."""
    return world.open_vault(basket_spec(world))
