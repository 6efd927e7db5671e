"""A system as `rebalancer deploy` leaves it: everybody in their role, owner, curator and admins bound to a delay of two days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.system import System
from rebalancer.devnet.environment import open_vault
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.operations.deploy import VaultSpec
from rebalancer.operations.governance import Permissions, read_permissions
from rebalancer.operations.launch import Governance, launch, prepare
from rebalancer.operations.spec import FeedLine
from rebalancer.operations.survey import read_feeds
from rebalancer.send.signer import devnet_signer
from rebalancer.send.wallet import Wallet
from tests.contract.world import SEEDS

__all__ = ["DAY", "DELAY", "SETBACK", "Governed", "govern"]

DAY = 86_400
DELAY = 2 * DAY
SETBACK = 5 * DAY
"""AccessManager's minSetback: after so long, delays of roles and targets begin."""

PEOPLE = (*("deployer", "admin", "owner", "curator", "guardian", "keeper", "stranger", "newcomer"),)


@dataclass(frozen=True)
class Governed:
    """The system, and its people by what they are."""

    chain: LocalChain
    market: DevMarket
    deployment: Deployment
    people: Mapping[str, Wallet]

    @property
    def system(self) -> System:
        """The contracts."""
        return System.of(self.deployment)

    @property
    def manager(self) -> BoundContract:
        """The AccessManager."""
        return contract_at(self.chain.rpc, "AccessManager", self.system.authority)

    @property
    def hub(self) -> BoundContract:
        """The OracleHub."""
        return contract_at(self.chain.rpc, "OracleHub", self.system.oracle)

    def __getitem__(self, name: str) -> Wallet:
        return self.people[name]

    def read(self, contract: BoundContract, function: str, *args: Any) -> Any:
        """Call a view."""
        return contract.call(function, *args)

    def permissions(self) -> Permissions:
        """Who may do what now."""
        return read_permissions(self.chain.rpc, self.system)

    def wait(self, seconds: int) -> None:
        """Time passes, and every feed answers anew."""
        self.market.step(self.market.prices_e8, self.chain.now() + seconds)

    def schedule(self, name: str, target: BoundContract, function: str, *args: Any) -> bytes:
        """Somebody schedules a call; the call's bytes."""
        data = call_data(target, function, *args)
        self[name].transact(self.manager, "schedule", target.address, data, 0)
        return data

    def make_vault(self, spec: VaultSpec, by: str = "stranger") -> BoundContract:
        """A vault with its roles, by anybody."""
        for asset, seed in zip(spec.assets, SEEDS, strict=True):
            self.market.deal(asset.token, self[by].address, seed)
        return contract_at(self.chain.rpc, "BasketVault", open_vault(self[by], self.system, spec))


def call_data(contract: BoundContract, function: str, *args: Any) -> bytes:
    """A call's bytes."""
    return bytes.fromhex(contract.data(function, *args)[2:])


def govern(market: DevMarket) -> Governed:
    """Launch a system beside a market, from the node's first accounts."""
    chain = market.chain
    people = {name: Wallet(chain.rpc, devnet_signer(number), 10**13) for number, name in enumerate(PEOPLE)}
    lines = [
        FeedLine(
            market.deployment.listed(feed.token).address,
            feed.address,
            feed.heartbeat_seconds,
            feed.decimals,
            1,
            (1 << 128) - 1,
        )
        for feed in market.deployment.feeds
    ]
    roles = ("admin", "owner", "curator", "guardian", "keeper")
    admin, owner, curator, guardian, keeper = (people[name].address for name in roles)
    governance = Governance(admin, owner, curator, guardian, keeper, DELAY)
    feeds = read_feeds(chain.rpc, lines)
    deployer, found = people["deployer"], market.deployment
    made = launch(deployer, found, prepare(deployer.address, found.wrapped_native, feeds, governance))
    return Governed(chain, market, made, people)
