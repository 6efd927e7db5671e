"""How does the system get onto a chain, and who may do what there?

`deploy_system` puts the contracts in place once a chain; `create_vault` makes a vault and hands its functions to the roles.
Roles live in one OpenZeppelin AccessManager: what loosens waits for the owner's or curator's delay and can be cancelled by the
guardian; what stops trading is immediate. Until a vault's functions are assigned, only the manager's admins may call them. Whoever
deploys is such an admin, without a delay, until `governance.lock_admin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from enum import IntEnum
from typing import Any, Protocol, Self

from rebalancer.chain.abi import Contract, interface
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.receipt import NoLogs, Receipt
from rebalancer.errors import SystemMissing
from rebalancer.policy import Asset, Policy

__all__ = [
    "FeedSpec",
    "Fees",
    "Role",
    "SourceKind",
    "SourceSpec",
    "System",
    "Transactor",
    "VaultSpec",
    "assign_vault_roles",
    "create_vault",
    "deploy_system",
    "grant_roles",
    "set_feed",
    "set_source",
]


class Role(IntEnum):
    """Roles of the AccessManager. 0 is its own ADMIN_ROLE, which hands out the others.

    AUTOMATION is for networks that trigger the KeeperGate. It is not KEEPER: that is the gate's own, so a network can name no executor.
    """

    ADMIN = 0
    OWNER = 1
    CURATOR = 2
    GUARDIAN = 3
    KEEPER = 4
    AUTOMATION = 5


_VAULT_FUNCTIONS: Mapping[Role, tuple[str, ...]] = {
    Role.OWNER: (
        *("setPolicy", "setOracle", "setFees", "absorb", "startAuction"),
        *("resumeRebalance", "allowPurchases"),
        *("addAsset", "excludeAsset", "includeAsset", "removeAsset"),
    ),
    Role.CURATOR: ("setTargets", "setBands"),
    Role.GUARDIAN: ("pauseRebalance", "tightenPolicy", "lowerFees", "stopAuction"),
    Role.KEEPER: ("rebalance",),
}

_HUB_FUNCTIONS: Mapping[Role, tuple[str, ...]] = {
    Role.OWNER: ("setFeed", "setQuotedFeed", "setSource", "removeSource"),
    Role.GUARDIAN: ("tightenFeed", "tightenSource", "removeFeed"),
}

_GATE_FUNCTIONS: Mapping[Role, tuple[str, ...]] = {
    Role.OWNER: ("setWorkflowOwner",),
    Role.GUARDIAN: ("removeForwarder",),
    Role.AUTOMATION: ("performUpkeep",),
}


_NOBODY = "0x" + "00" * 20


class Transactor(Protocol):
    """Whoever sends transactions and waits for them: a wallet, or a local chain's unlocked account."""

    @property
    def address(self) -> str:
        """The account that sends."""

    def transact(
        self, contract: Contract, function: str, *args: Any, value_wei: int = 0
    ) -> Receipt:
        """Call a function in a transaction and wait for its receipt."""

    def deploy(self, name: str, *args: Any) -> Contract:
        """Deploy a packaged contract."""


_CONTRACTS = {
    "authority": "AccessManager",
    "oracle": "OracleHub",
    "config_store": "ConfigStore",
    "extension": "VaultExtension",
    "implementation": "BasketVault",
    "factory": "VaultFactory",
    "vault_roles": "VaultRoles",
    "executor": "RouteExecutor",
    "zap": "Zap",
    "lens": "VaultLens",
    "gate": "KeeperGate",
    "uniswap_v3_lens": "UniswapV3Lens",
}
"""Field of `System` → name of the contract."""


@dataclass(frozen=True, slots=True)
class System:
    """Addresses of the contracts that serve every vault of a chain."""

    authority: str
    oracle: str
    config_store: str
    extension: str
    implementation: str
    factory: str
    vault_roles: str
    executor: str
    zap: str
    lens: str
    gate: str
    uniswap_v3_lens: str

    def contracts(self) -> dict[str, str]:
        """Name of each contract → its address, as an addresses file has them."""
        return {_CONTRACTS[name]: address for name, address in asdict(self).items()}

    @classmethod
    def of(cls, deployment: Deployment) -> Self:
        """The system an addresses file names.

        Raises:
            SystemMissing: it names not all of it.
        """
        missing = [name for name in _CONTRACTS.values() if name not in deployment.contracts]
        if missing:
            raise SystemMissing(missing)
        return cls(**{field: deployment.contracts[name] for field, name in _CONTRACTS.items()})


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """How a token is priced: IOracleHub.Feed. Prices are USD per whole token times 1e18; a feed that answers in a `quote` has its
    range of the product, and the zero address is USD."""

    feed: str
    decimals: int
    heartbeat_seconds: int
    min_price_e18: int
    max_price_e18: int
    quote: str = _NOBODY


class SourceKind(IntEnum):
    """IOracleHub.Kind: what a second source is."""

    NONE = 0
    FEED = 1
    UNISWAP_V3_TWAP = 2
    ERC4626 = 3
    GETTER = 4


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A token's second source: IOracleHub.Source. `quote` is the zero address for USD."""

    kind: SourceKind
    target: str
    span_seconds: int
    decimals: int
    token_decimals: int
    selector: bytes
    quote: str
    max_divergence_bps: int


@dataclass(frozen=True, slots=True)
class Fees:
    """IBasketVault.Fees, field for field."""

    streaming_bps: int = 0
    performance_bps: int = 0
    entry_bps: int = 0
    exit_bps: int = 0


@dataclass(frozen=True, slots=True)
class VaultSpec:
    """Everything a vault starts with; `seed_amounts` are raw units in the order of `assets`."""

    name: str
    symbol: str
    assets: tuple[Asset, ...]
    policy: Policy
    seed_amounts: tuple[int, ...]
    initial_shares: int
    fees: Fees
    fee_recipient: str
    salt: int = 0


def deploy_system(
    wallet: Transactor,
    weth: str,
    sequencer_feed: str = _NOBODY,
    grace_seconds: int = 0,
    admin_delay_seconds: int = 0,
) -> System:
    """Deploy everything but vaults; the wallet becomes the AccessManager's admin, and so does VaultRoles for new vaults.

    KeeperGate becomes a keeper; nobody can use it until the admin grants AUTOMATION, or the owner names a forwarder.
    `sequencer_feed` is the uptime feed of an L2's sequencer; prices are not used until `grace_seconds` after its return.
    `admin_delay_seconds` is the target admin delay that VaultRoles gives every new vault.
    """
    authority = wallet.deploy("AccessManager", wallet.address)
    oracle = wallet.deploy("OracleHub", authority.address, sequencer_feed, grace_seconds)
    store = wallet.deploy("ConfigStore")
    extension = wallet.deploy("VaultExtension", store.address)
    implementation = wallet.deploy("BasketVault", extension.address)
    factory = wallet.deploy("VaultFactory", implementation.address)
    vault_functions = interface("BasketVault").functions
    table = [
        (role.value, [vault_functions[name].selector for name in names])
        for role, names in _VAULT_FUNCTIONS.items()
    ]
    vault_roles = wallet.deploy(
        "VaultRoles", authority.address, factory.address, admin_delay_seconds, table
    )
    executor = wallet.deploy("RouteExecutor")
    zap = wallet.deploy("Zap", weth, factory.address)
    lens = wallet.deploy("VaultLens")
    gate = wallet.deploy("KeeperGate", authority.address, lens.address, executor.address)
    uniswap_v3_lens = wallet.deploy("UniswapV3Lens")

    for role in Role:
        if role is not Role.ADMIN:
            wallet.transact(authority, "labelRole", role.value, role.name)
    for role in (Role.OWNER, Role.CURATOR):
        wallet.transact(authority, "setRoleGuardian", role.value, Role.GUARDIAN.value)
    for target, functions in ((oracle, _HUB_FUNCTIONS), (gate, _GATE_FUNCTIONS)):
        for role, names in functions.items():
            selectors = [target.interface.functions[name].selector for name in names]
            wallet.transact(
                authority, "setTargetFunctionRole", target.address, selectors, role.value
            )
    wallet.transact(authority, "grantRole", Role.ADMIN.value, vault_roles.address, 0)
    wallet.transact(authority, "grantRole", Role.KEEPER.value, gate.address, 0)
    return System(
        authority=authority.address,
        oracle=oracle.address,
        config_store=store.address,
        extension=extension.address,
        implementation=implementation.address,
        factory=factory.address,
        vault_roles=vault_roles.address,
        executor=executor.address,
        zap=zap.address,
        lens=lens.address,
        gate=gate.address,
        uniswap_v3_lens=uniswap_v3_lens.address,
    )


def grant_roles(
    wallet: Transactor, authority: str, members: Mapping[Role, Sequence[str]], delay_seconds: int
) -> None:
    """Give accounts their roles. Owners and curators wait `delay_seconds` for all they do; guardians and keepers do not."""
    manager = interface("AccessManager").at(authority)
    for role, accounts in members.items():
        delay = delay_seconds if role in (Role.OWNER, Role.CURATOR) else 0
        for account in accounts:
            wallet.transact(manager, "grantRole", role.value, account, delay)


def set_feed(wallet: Transactor, oracle: str, token: str, spec: FeedSpec) -> None:
    """Set a token's price feed. The wallet must hold OWNER without a delay, or have scheduled this.

    Raises:
        ContractReverted: FeedDecimals, UnsoundFeed, BadPriceRange …, with their numbers.
    """
    rules = (
        spec.feed,
        spec.decimals,
        spec.heartbeat_seconds,
        spec.min_price_e18,
        spec.max_price_e18,
    )
    hub = interface("OracleHub").at(oracle)
    if spec.quote == _NOBODY:
        wallet.transact(hub, "setFeed", token, *rules)
    else:
        wallet.transact(hub, "setQuotedFeed", token, *rules, spec.quote)


def set_source(wallet: Transactor, oracle: str, token: str, spec: SourceSpec) -> None:
    """Set a token's second source; its price must then be sound. The wallet as in `set_feed`.

    Raises:
        ContractReverted: UnsoundSource, SourceOfOthers, SharedSource, WindowTooShort …, with their numbers.
    """
    values = tuple(getattr(spec, field.name) for field in fields(spec))
    wallet.transact(interface("OracleHub").at(oracle), "setSource", token, values)


def create_vault(wallet: Transactor, system: System, spec: VaultSpec) -> str:
    """Make a vault, seed it from the wallet's tokens, and return its address.

    The initial shares go to the wallet. Somebody must still `assign_vault_roles`.

    Raises:
        ContractReverted: anything about the configuration, a balance or an allowance, with its numbers.
        NoLogs: the calls are only written down, and the node could not try them.
    """
    factory = interface("VaultFactory").at(system.factory)
    for asset, amount in zip(spec.assets, spec.seed_amounts, strict=True):
        if amount:
            wallet.transact(
                interface("IERC20Metadata").at(asset.token), "approve", system.factory, amount
            )
    assets = [astuple(asset) for asset in spec.assets]
    params = (
        spec.name,
        spec.symbol,
        system.authority,
        (system.oracle, astuple(spec.policy), 0, 0, assets),
        astuple(spec.fees),
        spec.fee_recipient,
        list(spec.seed_amounts),
        spec.initial_shares,
        wallet.address,
        spec.salt.to_bytes(32),
    )
    receipt = wallet.transact(factory, "createVault", params)
    created = [
        event
        for log in receipt.logs
        if (event := factory.interface.decode_log(log)) and event.name == "VaultCreated"
    ]
    if not created:
        raise NoLogs
    return str(created[-1].values["vault"])


def assign_vault_roles(wallet: Transactor, system: System, vault: str) -> None:
    """Hand a new vault's restricted functions to the roles, once. Any wallet may.

    A vault that is older than the system's table, or that an admin has arranged by hand, is for admins to hand over.

    Raises:
        ContractReverted: NotOfFactory, VaultOlder, OtherAuthority, AlreadyAssigned, VaultClosed, HasAdminDelay, HasRoles, with the vault.
    """
    wallet.transact(interface("VaultRoles").at(system.vault_roles), "assign", vault)
