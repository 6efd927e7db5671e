"""Fixtures of a local chain: one node for the whole run, every test on its own copy of the state.

Tests run on Anvil; those marked `both_chains` on Hardhat, too. `--chain` runs all that use a chain on one of them, or on both.
Under `ape test` Ape's own node takes Anvil's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.rpc import Rpc
from rebalancer.devnet.environment import DevEnvironment, build_environment
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from rebalancer.devnet.profile import opening_pools
from tests.clocks import LONGEST_SECONDS

# A session's chain starts here, so that tests may use dates; 2023-04-05 00:00 UTC.
GENESIS_AT = 1_680_652_800

OPENING_PRICES_E8 = {
    "ETH/USD": 2_000_00000000,
    "BTC/USD": 30_000_00000000,
    "USDC/USD": 1_00000000,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --chain."""
    parser.addoption(
        "--chain",
        choices=["both", *NodeKind],
        help="the chain that every test of a chain runs on (default: anvil, and hardhat too where a test is marked so)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Tells Ape, where it runs the tests, that they put the state back themselves.

    Its own isolation reorders fixtures, so that what a session builds once would be undone.
    """
    if hasattr(config.option, "disable_isolation"):
        config.option.disable_isolation = True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test once on each chain asked for, or that it is marked for."""
    if "node_kind" not in metafunc.fixturenames:
        return
    marked = metafunc.definition.get_closest_marker("both_chains") is not None
    requested = metafunc.config.getoption("--chain") or ("both" if marked else NodeKind.ANVIL)
    kinds = list(NodeKind) if requested == "both" else [NodeKind(requested)]
    # Indirect: only then does pytest know that two tests with the same kind may share a node.
    metafunc.parametrize("node_kind", kinds, ids=str, scope="session", indirect=True)


@pytest.fixture(scope="session")
def node_kind(request: pytest.FixtureRequest) -> NodeKind:
    """Which program runs the chain of this test."""
    return NodeKind(request.param)


@pytest.fixture(scope="session")
def node_url(node_kind: NodeKind, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of the session's node."""
    ape_url = _ape_node_url(request.config) if node_kind is NodeKind.ANVIL else None
    if ape_url is not None:
        yield ape_url
        return
    with Node.start(NodeSettings(kind=node_kind, genesis_at=GENESIS_AT, ready_timeout_s=LONGEST_SECONDS)) as node:
        yield node.url


@pytest.fixture(scope="session")
def records_steps(node_kind: NodeKind, pytestconfig: pytest.Config) -> bool:
    """Whether the node keeps every step it executes, as Hardhat does and Ape bids its Anvil to."""
    return node_kind is NodeKind.HARDHAT or _ape_node_url(pytestconfig) is not None


@pytest.fixture(scope="session")
def session_chain(node_url: str) -> Iterator[LocalChain]:
    """The session's chain, shared by all tests: for what is built once and then only read."""
    with Rpc(node_url, timeout_s=LONGEST_SECONDS) as rpc:
        yield LocalChain(rpc)


@pytest.fixture(scope="session")
def session_bare_chain(node_kind: NodeKind) -> Iterator[LocalChain]:
    """A second chain, on which nothing is ever built that outlasts a test."""
    with (
        Node.start(NodeSettings(kind=node_kind, genesis_at=GENESIS_AT, ready_timeout_s=LONGEST_SECONDS)) as node,
        node.rpc(timeout_s=LONGEST_SECONDS) as rpc,
    ):
        yield LocalChain(rpc)


@pytest.fixture
def bare_chain(session_bare_chain: LocalChain) -> Iterator[LocalChain]:
    """An empty chain: for tests that build a market of their own."""
    before = session_bare_chain.snapshot()
    yield session_bare_chain
    session_bare_chain.revert(before)


@pytest.fixture
def chain(session_chain: LocalChain) -> Iterator[LocalChain]:
    """The session's chain; all that a test does to it is undone."""
    before = session_chain.snapshot()
    yield session_chain
    session_chain.revert(before)


@pytest.fixture(scope="session")
def session_market(session_chain: LocalChain) -> Deployment:
    """A market of WETH, WBTC and USDC at `OPENING_PRICES_E8`, built once a chain."""
    pools = opening_pools(OPENING_PRICES_E8)
    return DevMarket.build(session_chain, pools, OPENING_PRICES_E8).deployment


@pytest.fixture
def market(session_market: Deployment, chain: LocalChain) -> DevMarket:
    """The session's market; all that a test does to it is undone."""
    return DevMarket(chain, session_market)


def _ape_node_url(config: pytest.Config) -> str | None:
    """The node `ape test` started, or None when Ape does not run the tests."""
    if not config.pluginmanager.hasplugin("ape_test"):
        return None
    import ape

    provider: Any = ape.networks.active_provider
    return None if provider is None else str(provider.uri)


@pytest.fixture(scope="session")
def session_environment(node_kind: NodeKind) -> Iterator[DevEnvironment]:
    """A chain of its own with market, system and demo vault at `OPENING_PRICES_E8`."""
    settings = NodeSettings(kind=node_kind, genesis_at=GENESIS_AT, ready_timeout_s=LONGEST_SECONDS)
    with Node.start(settings) as node, node.rpc(timeout_s=LONGEST_SECONDS) as rpc:
        yield build_environment(LocalChain(rpc), OPENING_PRICES_E8)


@pytest.fixture
def environment(session_environment: DevEnvironment) -> Iterator[DevEnvironment]:
    """The session's stage, its prices back at the opening; all that a test does to it is undone."""
    before = session_environment.chain.snapshot()
    session_environment.market.prices_e8 = dict(OPENING_PRICES_E8)
    yield session_environment
    session_environment.chain.revert(before)
