"""Fixtures of the contract suite: the system deployed once a chain, and a fresh copy of it for every test."""

from __future__ import annotations

import pytest

from rebalancer.deploy import Role, deploy_system, grant_roles
from rebalancer.devnet.local import LocalChain
from tests.contract.world import Wallet, World


@pytest.fixture(scope="session")
def session_world(session_chain: LocalChain) -> World:
    """The system on the session's chain, with everybody in their role and without delays."""
    admin, owner, curator, guardian, keeper, alice, bob, treasury, stranger = (
        Wallet(session_chain, address) for address in session_chain.accounts[:9]
    )
    weth = admin.deploy("WETH9")
    system = deploy_system(admin, weth.address)
    members = {
        Role.OWNER: [owner.address],
        Role.CURATOR: [curator.address],
        Role.GUARDIAN: [guardian.address],
        Role.KEEPER: [keeper.address],
    }
    grant_roles(admin, system.authority, members, delay_seconds=0)
    return World(
        chain=session_chain,
        system=system,
        weth=weth,
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
def world(session_world: World, chain: LocalChain) -> World:
    """The system; all that a test does to it is undone."""
    return session_world
