"""Contracts of the system, their roles, and the creation of vaults.

`assemble` defines the contracts and their constructor arguments, `role_calls` the roles. `rebalancer.operations.launch`
sends both to a chain, `deploy_system` to a local chain. `create_vault` creates a vault, and `assign_vault_roles`
assigns its functions to the roles. One OpenZeppelin AccessManager holds all roles: calls that loosen limits wait for
the owner's or curator's delay, and the guardian can cancel them; calls that stop trading take effect at once. Until a
vault's functions are assigned, only the manager's admins may call them. The deployer is such an admin, without a delay,
until the calls of `governance.lock_calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from types import MappingProxyType
from typing import Any, Protocol, Self

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.price_sources import COMPUTED_HEARTBEAT_SECONDS, PriceSource
from rebalancer.chain.receipt import NoLogs, Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.system import ADAPTERS, Role, System
from rebalancer.settlement import Asset, Policy

__all__ = [
    "Call",
    "FeedSpec",
    "SourceSpec",
    "Transactor",
    "VaultFees",
    "VaultSpec",
    "assemble",
    "assign_vault_roles",
    "create_vault",
    "deploy_system",
    "feed_call",
    "grant_calls",
    "grant_roles",
    "role_calls",
    "set_feed",
    "set_source",
    "source_call",
]


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
    Role.OWNER: ("setFeed", "setQuotedFeed", "setAdaptedFeed", "setSource", "removeSource"),
    Role.GUARDIAN: ("tightenFeed", "tightenSource", "removeFeed"),
}

_GATE_FUNCTIONS: Mapping[Role, tuple[str, ...]] = {
    Role.OWNER: ("setWorkflowOwner",),
    Role.GUARDIAN: ("removeForwarder",),
    Role.AUTOMATION: ("performUpkeep",),
}


_NOBODY = "0x" + "00" * 20


class Transactor(Protocol):
    """Sender of transactions that waits for their receipts: a wallet, or an unlocked account of a local chain."""

    @property
    def rpc(self) -> Rpc:
        """The endpoints of its chain."""

    @property
    def address(self) -> str:
        """The account that sends."""

    def transact(self, contract: BoundContract, function: str, *args: Any, value_wei: int = 0) -> Receipt:
        """Call a function in a transaction and wait for its receipt."""

    def deploy(self, name: str, *args: Any) -> BoundContract:
        """Deploy a packaged contract."""


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """Price feed of a token: IOracleHub.Feed. Prices are USD per whole token times 1e18.

    `quote` is the token that the feed answers in; the zero address is USD. The range always limits the price in USD.
    `adapter` is the name of the contract that reads `params`; `feed` is then the feed behind the adapter.
    """

    feed: str
    decimals: int
    heartbeat_seconds: int
    min_price_e18: int
    max_price_e18: int
    quote: str = _NOBODY
    adapter: str = ""
    params: bytes = b""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A token's second source: IOracleHub.Source. `adapter` is a contract's name; `quote` zero is USD."""

    adapter: str
    heartbeat_seconds: int
    max_divergence_bps: int
    quote: str
    params: bytes

    @classmethod
    def of(
        cls,
        kind: PriceSource,
        *params: object,
        max_divergence_bps: int,
        heartbeat_seconds: int = COMPUTED_HEARTBEAT_SECONDS,
        quote: str | None = None,
    ) -> Self:
        """The specification for a row of `PRICE_SOURCES` and its parameters; `quote` None is USD."""
        packed = kind.params(*params)
        return cls(kind.adapter, heartbeat_seconds, max_divergence_bps, quote or _NOBODY, packed)


@dataclass(frozen=True, slots=True)
class VaultFees:
    """IBasketVault.Fees, field for field."""

    streaming_bps: int = 0
    performance_bps: int = 0
    entry_bps: int = 0
    exit_bps: int = 0


@dataclass(frozen=True, slots=True)
class VaultSpec:
    """Initial configuration of a vault. `seed_amounts` are raw units in the order of `assets`."""

    name: str
    symbol: str
    assets: tuple[Asset, ...]
    policy: Policy
    seed_amounts: tuple[int, ...]
    initial_shares: int
    fees: VaultFees
    fee_recipient: str
    salt: int = 0


Call = tuple[str, tuple[Any, ...]]
"""A function and its arguments."""


def assemble(
    create: Callable[..., str],
    admin: str,
    weth: str,
    sequencer_feed: str = _NOBODY,
    grace_seconds: int = 0,
    admin_delay_seconds: int = 0,
) -> System:
    """Create all contracts except vaults, in the order of their dependencies.

    `create(name, *arguments)` creates a contract and returns its address. `admin` is AccessManager's first admin.
    `sequencer_feed` is the uptime feed of an L2's sequencer; after an outage, prices are not used for `grace_seconds`.
    `admin_delay_seconds` is the target admin delay that VaultRoles sets for every new vault.
    """
    authority = create("AccessManager", admin)
    oracle = create("OracleHub", authority, sequencer_feed, grace_seconds)
    store = create("ConfigStore")
    extension = create("VaultExtension", store)
    implementation = create("BasketVault", extension)
    factory = create("VaultFactory", implementation)
    vault_functions = interface("BasketVault").functions
    table = [
        (role.value, [vault_functions[name].selector for name in names]) for role, names in _VAULT_FUNCTIONS.items()
    ]
    vault_roles = create("VaultRoles", authority, factory, admin_delay_seconds, table)
    executor = create("RouteExecutor")
    zap = create("Zap", weth, factory)
    lens = create("VaultLens")
    gate = create("KeeperGate", authority, lens, executor)
    uniswap_v3_lens = create("UniswapV3Lens")
    price_sources = {name: create(name) for name in ADAPTERS}
    return System(
        authority=authority,
        oracle=oracle,
        config_store=store,
        extension=extension,
        implementation=implementation,
        factory=factory,
        vault_roles=vault_roles,
        executor=executor,
        zap=zap,
        lens=lens,
        gate=gate,
        uniswap_v3_lens=uniswap_v3_lens,
        price_sources=price_sources,
    )


def role_calls(system: System) -> list[Call]:
    """AccessManager's calls that assign functions to roles, and make VaultRoles an admin and KeeperGate a keeper.

    No account can use KeeperGate until the admin grants AUTOMATION or the owner sets a forwarder.
    """
    calls: list[Call] = [("labelRole", (role.value, role.name)) for role in Role if role is not Role.ADMIN]
    calls += [("setRoleGuardian", (role.value, Role.GUARDIAN.value)) for role in (Role.OWNER, Role.CURATOR)]
    for name, target, functions in (
        ("OracleHub", system.oracle, _HUB_FUNCTIONS),
        ("KeeperGate", system.gate, _GATE_FUNCTIONS),
    ):
        known = interface(name).functions
        for role, names in functions.items():
            selectors = [known[function].selector for function in names]
            calls.append(("setTargetFunctionRole", (target, selectors, role.value)))
    calls.append(("grantRole", (Role.ADMIN.value, system.vault_roles, 0)))
    calls.append(("grantRole", (Role.KEEPER.value, system.gate, 0)))
    return calls


def deploy_system(
    wallet: Transactor,
    weth: str,
    sequencer_feed: str = _NOBODY,
    grace_seconds: int = 0,
    admin_delay_seconds: int = 0,
) -> System:
    """Deploy all contracts except vaults, one transaction per contract and call. Wallet and VaultRoles become admins.

    For local chains only: unlike `rebalancer.operations.launch`, it cannot resume. Arguments as in `assemble`.
    """

    def create(name: str, *arguments: Any) -> str:
        return wallet.deploy(name, *arguments).address

    rest = (weth, sequencer_feed, grace_seconds, admin_delay_seconds)
    system = assemble(create, wallet.address, *rest)
    authority = contract_at(wallet.rpc, "AccessManager", system.authority)
    for function, arguments in role_calls(system):
        wallet.transact(authority, function, *arguments)
    return system


def grant_calls(members: Mapping[Role, Sequence[str]], delay_seconds: int) -> list[Call]:
    """AccessManager's calls that grant roles: owners and curators with a delay of `delay_seconds`, others without."""
    return [
        (
            "grantRole",
            (role.value, account, delay_seconds if role in (Role.OWNER, Role.CURATOR) else 0),
        )
        for role, accounts in members.items()
        for account in accounts
    ]


def grant_roles(wallet: Transactor, authority: str, members: Mapping[Role, Sequence[str]], delay_seconds: int) -> None:
    """Send the calls of `grant_calls`."""
    manager = contract_at(wallet.rpc, "AccessManager", authority)
    for function, arguments in grant_calls(members, delay_seconds):
        wallet.transact(manager, function, *arguments)


def feed_call(token: str, spec: FeedSpec, adapters: Mapping[str, str]) -> Call:
    """OracleHub's call that sets a token's price feed; `adapters` are a system's `price_sources`."""
    rules = (spec.heartbeat_seconds, spec.min_price_e18, spec.max_price_e18)
    if spec.adapter:
        adapter = adapters[spec.adapter]
        return "setAdaptedFeed", (token, adapter, *rules, spec.quote, spec.params)
    if spec.quote == _NOBODY:
        return "setFeed", (token, spec.feed, spec.decimals, *rules)
    return "setQuotedFeed", (token, spec.feed, spec.decimals, *rules, spec.quote)


def set_feed(
    wallet: Transactor,
    oracle: str,
    token: str,
    spec: FeedSpec,
    adapters: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Set a token's price feed. The wallet must hold OWNER without a delay, or have scheduled this call.

    Raises:
        ContractReverted: FeedDecimals, UnsoundFeed, BadPriceRange …, with their values.
    """
    function, arguments = feed_call(token, spec, adapters)
    wallet.transact(contract_at(wallet.rpc, "OracleHub", oracle), function, *arguments)


def source_call(token: str, spec: SourceSpec, adapters: Mapping[str, str]) -> Call:
    """OracleHub's call that sets a token's second source, whose price must be sound; `adapters` as in `feed_call`."""
    values = {**asdict(spec), "adapter": adapters[spec.adapter]}
    return "setSource", (token, tuple(values.values()))


def set_source(wallet: Transactor, system: System, token: str, spec: SourceSpec) -> None:
    """Set a token's second source, whose price must then be sound. The wallet needs the same role as in `set_feed`.

    Raises:
        ContractReverted: UnsoundSource, SourceOfOthers, SharedSource, WindowTooShort …, with their values.
    """
    function, arguments = source_call(token, spec, system.price_sources)
    wallet.transact(contract_at(wallet.rpc, "OracleHub", system.oracle), function, *arguments)


def create_vault(wallet: Transactor, system: System, spec: VaultSpec) -> str:
    """Create a vault, seed it from the wallet's tokens, and return its address.

    The wallet receives the initial shares. `assign_vault_roles` must follow.

    Raises:
        ContractReverted: the configuration, a balance or an allowance was refused, with its values.
        NoLogs: the calls were only recorded, and the node could not simulate them.
    """
    factory = contract_at(wallet.rpc, "VaultFactory", system.factory)
    for asset, amount in zip(spec.assets, spec.seed_amounts, strict=True):
        if amount:
            wallet.transact(
                contract_at(wallet.rpc, "IERC20Metadata", asset.token),
                "approve",
                system.factory,
                amount,
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
        event for log in receipt.logs if (event := factory.interface.decode_log(log)) and event.name == "VaultCreated"
    ]
    if not created:
        raise NoLogs
    return str(created[-1].values["vault"])


def assign_vault_roles(wallet: Transactor, system: System, vault: str) -> None:
    """Assign a new vault's restricted functions to the roles, once. Any account may do this.

    Only an admin can do this for a vault that is older than the role table, or that an admin has changed by hand.

    Raises:
        ContractReverted: NotOfFactory, VaultOlder, OtherAuthority, AlreadyAssigned, VaultClosed, HasAdminDelay,
        HasRoles, with the vault.
    """
    wallet.transact(contract_at(wallet.rpc, "VaultRoles", system.vault_roles), "assign", vault)
