"""Who holds which role, what waits, and how is a restricted call made, watched and stopped?

Everything here is OpenZeppelin's AccessManager. `lock_calls` end a deployment: from then on

- owner and curator wait for their delay; so do the manager's admins, whatever they do, and the guardian may cancel it, but for the
  revoking of a role: nobody has a veto against being dismissed;
- the guardian revokes a keeper or an automation network at once, and appoints one who begins after the delay;
- VaultRoles alone is an admin without a delay, and can do nothing but hand a new vault to its roles.

Whoever deploys is no admin afterwards where another is named. Later, admins come by two steps: an admin grants the role, and the new one
proves itself by revoking the old one. Until then the old one can take back what was mistyped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from eth_abi.exceptions import EncodingError
from eth_utils.address import is_hex_address

from rebalancer.abi import Event, Function, decode_logs
from rebalancer.block import Block
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface, named_arguments
from rebalancer.chain.logs import LogSearch
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.chain.system import Role, System
from rebalancer.errors import (
    ArgumentsUnreadable,
    ContractMissing,
    ContractReverted,
    LastAdmin,
    NotPermitted,
    OperationUnknown,
    RpcRejected,
)
from rebalancer.files import parse_json
from rebalancer.operations.deploy import Call, Transactor
from rebalancer.send.wallet import Wallet
from rebalancer.units import E18
from rebalancer.words import counted, span

__all__ = [
    "Acted",
    "Holder",
    "Operation",
    "Permissions",
    "RoleRules",
    "act",
    "argument_words",
    "cancel",
    "check_revocation",
    "describe",
    "execute",
    "is_locked",
    "lock_admin",
    "lock_calls",
    "parse_arguments",
    "read_permissions",
]

CANCELLABLE = (
    *("labelRole", "grantRole", "setRoleAdmin", "setRoleGuardian", "setGrantDelay"),
    *("setTargetAdminDelay", "setTargetClosed", "setTargetFunctionRole", "updateAuthority"),
)
"""What an admin does and the guardian may cancel: all but `revokeRole`. AccessManager asks for the guardian of the role that a function
belongs to, so its own functions are put down as the owner's; that lets no owner call them, because for these it asks for an admin."""

_SHORTEST_ID = len("0x0123")
"""So much of an operation's id must be said: nobody cancels by a slip what happens to be the only one."""

_GRANTS_WAIT = (Role.ADMIN, Role.OWNER, Role.CURATOR, Role.KEEPER, Role.AUTOMATION)
"""Roles that a new member holds only after the delay, whoever grants them."""


def lock_calls(system: System, deployer: str, admin: str, delay_seconds: int) -> list[Call]:
    """AccessManager's calls, by a deployer who is an admin without a delay, after which `admin` is the only one beside VaultRoles.

    It waits for `delay_seconds` in all it does. The last call ends the deployer's power. Delays of roles and targets begin after
    AccessManager's five days, which protects from shortening them; until then the admin's own delay alone holds.
    """
    functions = interface("AccessManager").functions
    selectors = [functions[name].selector for name in CANCELLABLE]
    calls: list[Call] = [("setTargetFunctionRole", (system.authority, selectors, Role.OWNER.value))]
    calls += [("setRoleAdmin", (role.value, Role.GUARDIAN.value)) for role in (Role.KEEPER, Role.AUTOMATION)]
    if delay_seconds:
        calls += [("setGrantDelay", (role.value, delay_seconds)) for role in _GRANTS_WAIT]
        calls += [
            ("setTargetAdminDelay", (target, delay_seconds))
            for target in (system.authority, system.oracle, system.gate)
        ]
    calls.append(("grantRole", (Role.ADMIN.value, admin, delay_seconds)))
    if admin.lower() != deployer.lower():
        calls.append(("renounceRole", (Role.ADMIN.value, deployer)))
    return calls


def lock_admin(wallet: Transactor, system: System, admin: str, delay_seconds: int) -> None:
    """Make `admin` the manager's only admin beside VaultRoles; see `lock_calls`. The wallet must be an admin without a delay."""
    manager = contract_at(wallet.rpc, "AccessManager", system.authority)
    for function, arguments in lock_calls(system, wallet.address, admin, delay_seconds):
        wallet.transact(manager, function, *arguments)


def is_locked(rpc: Rpc, system: System) -> bool:
    """Whether the calls of `lock_calls` were made: what no deployment does before, and nobody undoes without a guardian's knowing."""
    manager = contract_at(rpc, "AccessManager", system.authority)
    selector = manager.interface.functions["labelRole"].selector
    role = manager.call("getTargetFunctionRole", manager.address, selector)
    return bool(role == Role.OWNER.value)


# Looking


@dataclass(frozen=True, slots=True)
class Holder:
    """An account in a role: from when on, and how long it waits for what it does. `contract` names one of the system's."""

    role: Role
    account: str
    since: int
    delay_seconds: int
    contract: str | None = None


@dataclass(frozen=True, slots=True)
class RoleRules:
    """Who grants and revokes a role, who cancels what its members scheduled, and how long a new member waits to be one."""

    role: Role
    admin: Role
    guardian: Role
    grant_delay_seconds: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A scheduled call: who may make it, of whom, from when on, until when."""

    id: str
    caller: str
    target: str
    call: str
    data: str
    executable_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Permissions:
    """Everything about who may do what, at one block. `deployer` is the AccessManager's first admin, "" where no event tells."""

    block: Block
    holders: tuple[Holder, ...]
    rules: tuple[RoleRules, ...]
    operations: tuple[Operation, ...]
    deployer: str = ""

    def held(self, role: Role) -> tuple[Holder, ...]:
        """Who holds a role, now or soon."""
        return tuple(holder for holder in self.holders if holder.role is role)

    def admins(self) -> tuple[Holder, ...]:
        """Admins of flesh and blood: all but VaultRoles."""
        return tuple(holder for holder in self.held(Role.ADMIN) if holder.contract is None)

    def hasty_admins(self) -> tuple[Holder, ...]:
        """Admins of flesh and blood who wait less than some owner or curator does: their delay would protect nobody."""
        patient = [h.delay_seconds for r in (Role.OWNER, Role.CURATOR) for h in self.held(r)]
        longest = max(patient, default=0)
        return tuple(holder for holder in self.admins() if holder.delay_seconds < longest)


def read_permissions(rpc: Rpc, system: System, from_block: int = 0) -> Permissions:
    """Who holds which role and what is scheduled. `from_block` is any block before the system's deployment.

    Raises:
        As `Rpc.call`; a node may refuse to search that many blocks for events, in one piece and in many.
    """
    block = read_block(rpc)
    manager = contract_at(rpc, "AccessManager", system.authority)
    logs = _logs(rpc, manager.address, from_block, block.number)
    events = decode_logs(logs, manager.interface)
    first = (one for one in events if one.name == "RoleGranted" and not one.values["roleId"])
    return Permissions(
        block,
        tuple(_holders(manager, events, block, system)),
        tuple(_rules(manager, role, block) for role in Role),
        tuple(_operations(manager, events, block, system)),
        next((str(one.values["account"]) for one in first), ""),
    )


def _logs(rpc: Rpc, address: str, first: int, last: int) -> Sequence[Mapping[str, Any]]:
    """All logs of a contract in their order, at once or, where the node refuses that, in pieces."""
    wanted = {"address": address, "fromBlock": hex(first), "toBlock": hex(last)}
    try:
        found: list[Mapping[str, Any]] = rpc.call("eth_getLogs", wanted)
    except RpcRejected:
        _, pieces = LogSearch().find(rpc, [{"address": address}], first, last)
        if pieces is None:
            raise
        return sorted(pieces, key=lambda log: (int(log["blockNumber"], 16), int(log["logIndex"], 16)))
    return found


def _holders(manager: BoundContract, events: Sequence[Event], block: Block, system: System) -> Iterator[Holder]:
    known = {role.value: role for role in Role}
    granted = {
        (event.values["roleId"], event.values["account"]): None
        for event in events
        if event.name == "RoleGranted" and event.values["roleId"] in known
    }
    for role_id, account in sorted(granted):
        since, delay, _, _ = manager.call("getAccess", role_id, account, block=block.hash)
        if since:
            contract = {system.vault_roles: "VaultRoles", system.gate: "KeeperGate"}.get(account)
            yield Holder(known[role_id], account, since, delay, contract)


def _rules(manager: BoundContract, role: Role, block: Block) -> RoleRules:
    def ask(function: str) -> int:
        return int(manager.call(function, role.value, block=block.hash))

    return RoleRules(role, Role(ask("getRoleAdmin")), Role(ask("getRoleGuardian")), ask("getRoleGrantDelay"))


def _operations(manager: BoundContract, events: Sequence[Event], block: Block, system: System) -> Iterator[Operation]:
    expiration = manager.call("expiration", block=block.hash)
    scheduled = {event.values["operationId"]: event.values for event in events if event.name == "OperationScheduled"}
    for operation, values in scheduled.items():
        executable_at = manager.call("getSchedule", operation, block=block.hash)
        if executable_at:
            yield Operation(
                "0x" + operation.hex(),
                values["caller"],
                values["target"],
                describe(
                    system,
                    values["target"],
                    values["data"],
                    _vault_name(manager.rpc, system, values),
                ),
                "0x" + values["data"].hex(),
                executable_at,
                executable_at + expiration,
            )


def _vault_name(rpc: Rpc, system: System, call: Mapping[str, Any]) -> str:
    """The name of the vault that is called, as it calls itself, with its address; "" for the system's own contracts."""
    target = str(call["target"]).lower()
    if target in system.contracts().values():
        return ""
    try:
        name = str(contract_at(rpc, "BasketVault", target).call("name"))
    except (ContractMissing, ContractReverted):
        return target
    return f"{name} {target}"


def describe(system: System, target: str, data: bytes, vault: str = "") -> str:
    """A call in words: the function of the system's contract, or of a vault, with its arguments; else the bytes."""
    names = {address: name for name, address in system.contracts().items()}
    known = interface(names.get(target.lower(), "BasketVault"))
    function = next((f for f in known.functions.values() if f.selector == data[:4]), None)
    if function is None:
        return "0x" + data.hex()
    arguments = named_arguments(known, function, "0x" + data.hex())
    message = ", ".join(argument_words(name, value) for name, value in arguments.items())
    return f"{vault or known.name}.{function.name}({message})"


_ROLES = ("roleId", "admin", "guardian")
"""AccessManager's arguments that are a role's number."""


def argument_words(name: str, value: Any) -> str:
    """An argument by its name, without the unit that the name ends with: weights in percent, prices in dollars, times in hours."""
    if name == "targetsE18":
        return f"targets [{', '.join(f'{_decimal(100 * one)} %' for one in value)}]"
    if name == "targetE18":
        return f"target {_decimal(100 * value)} %"
    if name in _ROLES and value in iter(Role):
        return f"{name.removesuffix('Id')} {Role(value).name}"
    if name == "selectors":
        return f"functions [{', '.join(map(_name, value))}]"
    if name.endswith("Bps"):
        return f"{name.removesuffix('Bps')} {_decimal(value * E18 // 100)} %"
    if name.endswith("E18"):
        return f"{name.removesuffix('E18')} {_decimal(value)}"
    if name.endswith("Seconds"):
        return f"{name.removesuffix('Seconds')} {span(value)}"
    return f"{name} {_last_reason(value)}"


def _decimal(value_e18: int) -> str:
    """An 18-decimals number, exact."""
    text = f"{Decimal(value_e18).scaleb(-18):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _last_reason(value: Any) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return "{" + ", ".join(argument_words(name, one) for name, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_last_reason(part) for part in value) + "]"
    return str(value)


# Acting


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of a restricted call. `executable_at` is when a scheduled one may be made, in unix seconds; no transaction was sent
    where it had been scheduled before."""

    in_force: bool
    operation: str
    executable_at: int | None
    transaction_hash: str | None
    gas_used: int


def act(wallet: Wallet, authority: str, target: str, data: str) -> Acted:
    """Make a restricted call at once or, for whoever must wait, by a schedule; asked again when the delay is over, finish it.

    Raises:
        NotPermitted: the account may not make it; nothing was sent.
        ContractReverted: the target refuses it.
        As `Wallet.send`.
    """
    manager = contract_at(wallet.rpc, "AccessManager", authority)
    raw = bytes.fromhex(data.removeprefix("0x"))
    call = target.lower(), raw
    operation: bytes = manager.call("hashOperation", wallet.address, *call)
    name = "0x" + operation.hex()
    executable_at = manager.call("getSchedule", operation)
    # By the newest block's time, as the node's estimate of the gas also judges.
    if executable_at > read_block(wallet.rpc).timestamp:
        wallet.later(target, data, executable_at)
        return Acted(False, name, executable_at, None, 0)
    if not executable_at and _must_wait(wallet, manager, *call):
        receipt = wallet.transact(manager, "schedule", *call, 0)
        executable_at = _scheduled_at(receipt, manager)
        return Acted(False, name, executable_at, receipt.transaction_hash, receipt.gas_used)
    # As a call of the target itself, which so sees who makes it; it has the manager take the schedule off its list.
    receipt = wallet.send(target, data, what=f"{_name(raw)} to {target.lower()}")
    return Acted(True, name, None, receipt.transaction_hash, receipt.gas_used)


def _must_wait(wallet: Wallet, manager: BoundContract, target: str, data: bytes) -> bool:
    """Whether the wallet must schedule this call. The manager tells it by what it refuses, of calls to itself, too.

    Raises:
        NotPermitted: it would never let the wallet make the call.
    """
    try:
        manager.call("schedule", target, data, 0, sender=wallet.address)
    except ContractReverted as refusal:
        if refusal.error != "AccessManagerUnauthorizedCall":
            raise
    else:
        return True
    # What need not wait cannot be scheduled; neither can what is not permitted, nor that be executed.
    try:
        manager.call("execute", target, data, sender=wallet.address)
    except ContractReverted as refusal:
        if refusal.error == "AccessManagerUnauthorizedCall":
            raise NotPermitted(wallet.address, _name(data), target) from None
        raise
    return False


def execute(wallet: Wallet, permissions: Permissions, operation: str) -> Acted:
    """Make a scheduled call that is due. The wallet must be who scheduled it.

    Raises:
        OperationUnknown: nothing of that id is scheduled.
        ContractReverted: AccessManagerNotReady, or the target refuses.
    """
    found = _operation(permissions, operation)
    is_early = found.executable_at > permissions.block.timestamp
    if is_early and wallet.later(found.target, found.data, found.executable_at):
        return Acted(False, found.id, found.executable_at, None, 0)
    name = _name(bytes.fromhex(found.data.removeprefix("0x")))
    receipt = wallet.send(found.target, found.data, what=f"{name} to {found.target}")
    return Acted(True, found.id, None, receipt.transaction_hash, receipt.gas_used)


def cancel(wallet: Wallet, permissions: Permissions, authority: str, operation: str) -> Acted:
    """Withdraw a scheduled call: whoever scheduled it, the guardian where it may, or an admin.

    Raises:
        OperationUnknown: nothing of that id is scheduled.
        ContractReverted: AccessManagerUnauthorizedCancel.
    """
    found = _operation(permissions, operation)
    manager = contract_at(wallet.rpc, "AccessManager", authority)
    raw = bytes.fromhex(found.data.removeprefix("0x"))
    receipt = wallet.transact(manager, "cancel", found.caller, found.target, raw)
    return Acted(False, found.id, None, receipt.transaction_hash, receipt.gas_used)


def check_revocation(permissions: Permissions, role: Role, account: str) -> None:
    """Make sure that a role has an admin left who may hand it out again.

    Raises:
        LastAdmin: the account is the only admin beside VaultRoles.
    """
    others = [one for one in permissions.admins() if one.account != account.lower()]
    if role is Role.ADMIN and not others:
        raise LastAdmin(account)


def _operation(permissions: Permissions, operation: str) -> Operation:
    wanted = operation.lower()
    found = [one for one in permissions.operations if one.id.startswith(wanted)]
    if len(found) != 1 or len(wanted) < _SHORTEST_ID:
        raise OperationUnknown(operation, [one.id for one in permissions.operations])
    return found[0]


def _scheduled_at(receipt: Receipt, manager: BoundContract) -> int | None:
    """When a call that was just scheduled may be made; None where it is only written down, and the node could not try it."""
    events = decode_logs(receipt.logs, manager.interface)
    return next((e.values["schedule"] for e in events if e.name == "OperationScheduled"), None)


def _name(data: bytes) -> str:
    for known in ("AccessManager", "OracleHub", "BasketVault", "KeeperGate"):
        for function in interface(known).functions.values():
            if function.selector == data[:4]:
                return function.name
    return "0x" + data[:4].hex()


# Words


def parse_arguments(function: Function, texts: Sequence[str]) -> list[Any]:
    """A person's arguments as the function takes them: whole numbers, addresses, `true`, 0x…, and JSON for lists.

    Raises:
        ArgumentsUnreadable: there are more or fewer than the function takes, or one is of another kind.
    """
    wants = function.signature
    if len(texts) != len(function.inputs.types):
        given = f"{counted(len(texts), 'argument')} {'was' if len(texts) == 1 else 'were'} given"
        why = f"{given} and it takes {len(function.inputs.types)}"
        raise ArgumentsUnreadable(wants, why)
    values = []
    for kind, text in zip(function.inputs.types, texts, strict=True):
        try:
            value = parse_json(text) if kind.endswith(("]", ")")) else text
            values.append(_parsed(kind, value))
        except (ValueError, TypeError):
            raise ArgumentsUnreadable(wants, f"{text!r} is no {kind}") from None
    try:
        function.encode(*values)
    except (EncodingError, ValueError, TypeError) as error:
        raise ArgumentsUnreadable(wants, str(error).rstrip(".")) from None
    return values


def _parsed(kind: str, value: Any) -> Any:
    if kind.endswith("]"):
        return [_parsed(kind[: kind.rindex("[")], part) for part in value]
    if kind.startswith("("):
        parts = _split(kind[1:-1])
        if len(parts) != len(value):
            raise ValueError(value)
        return tuple(_parsed(part, one) for part, one in zip(parts, value, strict=True))
    text = str(value)
    if kind == "address":
        if not (text.startswith("0x") and is_hex_address(text)):
            raise ValueError(text)
        return text.lower()
    if kind == "bool":
        return ("false", "true").index(text.lower()) == 1
    if kind.startswith("bytes"):
        return bytes.fromhex(text.removeprefix("0x"))
    return int(text.replace("_", "")) if kind.startswith(("uint", "int")) else text


def _split(kinds: str) -> list[str]:
    """The types of a tuple, by the commas outside of inner ones."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(kinds):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            parts.append(kinds[start:at])
            start = at + 1
    return [*parts, kinds[start:]]
