"""Launch of a system: all transactions are known in advance, and each is sent once, even after an interruption.

CREATE2 (`chain.create2`) creates the contracts, so their addresses are known in advance, and existing contracts are not
created again. Then one `multicall` of AccessManager grants the roles, sets feeds and second sources, and transfers
control to the admin, all or nothing. With very many feeds there are several multicalls, and the last one contains the
whole transfer of control. Afterwards the deployer holds only the roles that the options give it. The addresses file
records each step before the next transaction is sent.

For one deployer and salt, these contracts have the same addresses on every chain: AccessManager, KeeperGate, and all
contracts without chain-specific arguments. OracleHub's address depends on the sequencer's feed and grace period, Zap's
on the wrapped token, and VaultRoles' on the delay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.create2 import (
    FACTORY,
    PRESIGNED,
    PRESIGNED_COST_WEI,
    PRESIGNER,
    address_of,
    has_factory,
    request,
)
from rebalancer.chain.deployment import Deployment, Unfinished
from rebalancer.chain.interfaces import interface
from rebalancer.chain.receipt import wait_for_receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.chain.system import Role, System
from rebalancer.errors import (
    AdminUnknown,
    ContractReverted,
    FactoryMissing,
    LaunchDiffers,
    RpcRejected,
)
from rebalancer.operations.deploy import (
    Call,
    SourceSpec,
    assemble,
    feed_call,
    grant_calls,
    role_calls,
    source_call,
)
from rebalancer.operations.governance import describe, is_locked, lock_calls
from rebalancer.operations.spec import SequencerLine
from rebalancer.operations.survey import Priced
from rebalancer.send.costs import check_ether, estimate_gas
from rebalancer.send.fees import read_market
from rebalancer.send.simulate import gas_in_turn
from rebalancer.send.wallet import Wallet
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = [
    "Governance",
    "Launch",
    "LaunchStep",
    "check_admin",
    "first_salt",
    "gas_of",
    "launch",
    "prepare",
]

_USD = "0x" + "00" * 20
_MOST_CALLS = 40
"""Maximum number of calls in a multicall: below 7 million gas, where the limit is 16.7 million (EIP-7825)."""


@dataclass(frozen=True, slots=True)
class Governance:
    """The account of each role, and the delay of owner, curator and admin."""

    admin: str
    owner: str
    curator: str
    guardian: str
    keeper: str
    delay_seconds: int

    def members(self) -> dict[Role, tuple[str, ...]]:
        """The accounts of each role, without the admin."""
        return {
            Role.OWNER: (self.owner,),
            Role.CURATOR: (self.curator,),
            Role.GUARDIAN: (self.guardian,),
            Role.KEEPER: (self.keeper,),
        }


@dataclass(frozen=True, slots=True)
class LaunchStep:
    """One transaction: a deployment (`makes`: the contract's name and address), or a multicall (`calls` as text)."""

    what: str
    to: str
    data: str
    makes: tuple[str, str] | None = None
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """All transactions of a launch, in order, and the resulting system."""

    deployer: str
    salt: int
    system: System
    governance: Governance
    feeds: Mapping[str, Priced]
    creations: tuple[LaunchStep, ...]
    handing_over: tuple[LaunchStep, ...]

    def left(self, rpc: Rpc) -> tuple[LaunchStep, ...]:
        """The transactions that are not done yet."""
        made = [step.makes[1] for step in self.creations if step.makes]
        codes = rpc.batch([("eth_getCode", (address, "latest")) for address in made])
        left = [step for step, code in zip(self.creations, codes, strict=True) if code == "0x"]
        if codes[0] != "0x" and is_locked(rpc, self.system):
            return tuple(left)
        return (*left, *self.handing_over)


def prepare(
    deployer: str,
    weth: str,
    feeds: Mapping[str, Priced],
    governance: Governance,
    sources: Mapping[str, SourceSpec] | None = None,
    sequencer: SequencerLine | None = None,
    salt: int = 0,
) -> Launch:
    """The launch by a deployer. It reads nothing from the chain.

    Raises:
        ArtifactMissing: a contract is not compiled.
    """
    deployer = deployer.lower()
    creations: list[LaunchStep] = []

    def create(name: str, *arguments: Any) -> str:
        code = load_artifact(name).creation_code() + interface(name).constructor.encode(arguments)
        address = address_of(salt, code)
        creations.append(LaunchStep(f"deployment of {name}", FACTORY, request(salt, code), (name, address)))
        return address

    uptime = (sequencer.feed, sequencer.grace_seconds) if sequencer else (_USD, 0)
    delay_seconds = governance.delay_seconds
    system = assemble(create, deployer, weth, *uptime, delay_seconds)
    hub = interface("OracleHub")
    adapters = system.price_sources
    set_prices = [feed_call(token, priced.spec, adapters) for token, priced in feeds.items()]
    set_prices += [source_call(token, one, adapters) for token, one in (sources or {}).items()]
    calls = role_calls(system)
    # Setting feeds needs an owner without a delay: the deployer is one for the duration of the transaction.
    calls += grant_calls({Role.OWNER: [deployer]}, delay_seconds=0)
    calls += [
        ("execute", (system.oracle, bytes.fromhex(hub.functions[name].encode(*arguments)[2:])))
        for name, arguments in set_prices
    ]
    calls += grant_calls(governance.members(), delay_seconds)
    if governance.owner.lower() != deployer:
        calls.append(("revokeRole", (Role.OWNER.value, deployer)))
    lock = lock_calls(system, deployer, governance.admin, delay_seconds)
    batches = [calls[at : at + _MOST_CALLS] for at in range(0, len(calls), _MOST_CALLS)]
    if len(batches[-1]) + len(lock) <= _MOST_CALLS or len(batches) == 1:
        batches[-1] += lock
    else:
        batches.append(lock)
    steps = [_batch(system, batch) for batch in batches]
    return Launch(deployer, salt, system, governance, feeds, tuple(creations), tuple(steps))


def _batch(system: System, calls: Sequence[Call]) -> LaunchStep:
    manager = interface("AccessManager").at(system.authority)
    data = [bytes.fromhex(manager.data(name, *arguments)[2:]) for name, arguments in calls]
    texts = []
    for (name, arguments), one in zip(calls, data, strict=True):
        target, inner = arguments if name == "execute" else (manager.address, one)
        texts.append(describe(system, target, inner))
    what = f"multicall of {len(calls)} AccessManager calls"
    return LaunchStep(what, manager.address, manager.data("multicall", data), calls=tuple(texts))


def first_salt(rpc: Rpc, deployer: str, at_least: int = 0) -> int:
    """The smallest salt from `at_least` on that the deployer has not used on this chain."""
    code = load_artifact("AccessManager").creation_code()
    code += interface("AccessManager").constructor.encode((deployer,))
    salt = at_least
    while rpc.call("eth_getCode", address_of(salt, code), "latest") != "0x":
        salt += 1
    return salt


def check_admin(rpc: Rpc, admin: str) -> None:
    """Check that the address of the future only admin is in use: it has code, ether or sent transactions.

    Raises:
        AdminUnknown: the address is unused; it may be mistyped, or belong to a Safe on another chain.
    """
    code, count, balance = rpc.batch(
        [
            ("eth_getCode", (admin, "latest")),
            ("eth_getTransactionCount", (admin, "latest")),
            ("eth_getBalance", (admin, "latest")),
        ]
    )
    if code == "0x" and not int(count, 16) and not int(balance, 16):
        raise AdminUnknown("admin", admin)


def gas_of(rpc: Rpc, deployer: str, steps: Sequence[LaunchStep]) -> list[int | None]:
    """The gas of consecutive transactions; None if the node cannot estimate one that depends on those before it.

    All are None on a local chain without the factory.

    Raises:
        FactoryMissing: the chain is not local and has no factory.
        ContractReverted: one of them would revert.
    """
    if not has_factory(rpc):
        if rpc.chain_id() != DEVNET_CHAIN_ID:
            raise FactoryMissing(rpc.chain_id(), FACTORY, PRESIGNER, PRESIGNED_COST_WEI)
        return [None] * len(steps)
    messages = [{"from": deployer, "to": step.to, "data": step.data} for step in steps]
    found = gas_in_turn(rpc, messages)
    if found is not None:
        return [*found]
    return [_gas_now(rpc, deployer, step) for step in steps]


def _gas_now(rpc: Rpc, deployer: str, step: LaunchStep) -> int | None:
    try:
        return estimate_gas(rpc, deployer, step.to, step.data, margin_bps=0)
    except (ContractReverted, RpcRejected):
        return None


def launch(
    wallet: Wallet,
    deployment: Deployment,
    plan: Launch,
    save: Callable[[Deployment], None] = lambda _: None,
) -> Deployment:
    """Send the remaining transactions of a launch. Returns the addresses with the new system. `save` stores each state.

    Raises:
        FactoryMissing: the chain has no factory for contracts at known addresses.
        LaunchDiffers: the launch was finished before, with other roles or feeds.
        InsufficientEther: the account cannot pay for all transactions at current prices. Sent transactions are saved.
        ContractReverted: a transaction would revert; nothing was sent.
        As `Wallet.send`; sent transactions are saved.
    """
    rpc = wallet.rpc
    wallet.settle()  # pending transactions of an interrupted run would be sent again
    _ensure_factory(wallet)
    left = plan.left(rpc)
    begun = deployment.unfinished
    if begun is None or (begun.deployer, begun.salt) != (plan.deployer, plan.salt):
        # If the addresses file was lost, the first block of the launch is unknown.
        block = read_block(rpc).number if plan.creations[0] in left else None
        begun = Unfinished(plan.deployer, plan.salt, block)
    _check_means(rpc, plan.deployer, left)
    contracts: dict[str, str] = {}
    for step in (*plan.creations, *plan.handing_over):
        if step in left:
            save(replace(deployment, unfinished=replace(begun, contracts=dict(contracts))))
            wallet.send(step.to, step.data, what=step.what)
        if step.makes is not None:
            contracts[step.makes[0]] = step.makes[1]
    if plan.handing_over[0] not in left:
        _check_same(rpc, plan)
    # Vaults in the file belong to the previous system.
    made = replace(
        deployment.with_contracts(plan.system.contracts()),
        block=begun.block,
        vaults=(),
        unfinished=None,
    )
    save(made)
    return made


def _ensure_factory(wallet: Wallet) -> None:
    """Check that the factory exists; on a local chain, create it with its presigned transaction."""
    rpc = wallet.rpc
    if has_factory(rpc):
        return
    missing = FactoryMissing(wallet.chain_id, FACTORY, PRESIGNER, PRESIGNED_COST_WEI)
    if wallet.chain_id != DEVNET_CHAIN_ID:
        raise missing
    wallet.send(PRESIGNER, value_wei=PRESIGNED_COST_WEI, what="cost of the factory")
    try:
        sent = rpc.call("eth_sendRawTransaction", PRESIGNED)
    except RpcRejected:
        raise missing from None
    wait_for_receipt(rpc, sent, wallet.receipt_timeout_s)
    if not has_factory(rpc):
        raise missing


def _check_means(rpc: Rpc, deployer: str, left: Sequence[LaunchStep]) -> None:
    """Check that no transaction would revert, and that the account can pay for all of them at current prices."""
    if not left:
        return
    gas = sum(one or 0 for one in gas_of(rpc, deployer, left))
    check_ether(rpc, deployer, gas * read_market(rpc).usual_price_wei)


def _check_same(rpc: Rpc, plan: Launch) -> None:
    """Compare a finished launch with the request.

    Raises:
        LaunchDiffers: a role or a feed differs.
    """
    manager = contract_at(rpc, "AccessManager", plan.system.authority)
    hub = contract_at(rpc, "OracleHub", plan.system.oracle)
    delay_seconds = plan.governance.delay_seconds
    wanted = grant_calls(plan.governance.members(), delay_seconds)
    wanted.append(("grantRole", (Role.ADMIN.value, plan.governance.admin, delay_seconds)))
    for _, (role, account, delay) in wanted:
        since, waits, _, _ = manager.call("getAccess", role, account)
        if not since or waits != delay:
            name = Role(role).name
            raise LaunchDiffers(f"{account} does not hold {name} with a delay of {delay} s")
    for token, priced in plan.feeds.items():
        found, *_, params = hub.call("feedOf", token)
        spec = priced.spec
        wanted_feed = plan.system.price_sources[spec.adapter] if spec.adapter else spec.feed
        if found != wanted_feed.lower():
            raise LaunchDiffers(f"the feed of {token} is {found}, not {wanted_feed}")
        if params != spec.params:
            raise LaunchDiffers(f"the feed of {token} is read with other parameters")
