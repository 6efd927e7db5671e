"""Governance: roles, scheduled operations, and restricted calls: make, schedule, execute and cancel them.

All of it uses OpenZeppelin's AccessManager. `lock_calls` end a deployment. After them:

- Owner, curator and the manager's admins have a delay for all their calls. The guardian can cancel them, except the
  revocation of a role, so that no member can block its own removal.
- The guardian revokes a keeper or an automation network at once. A new one that it grants starts after the delay.
- Only VaultRoles is an admin without a delay. It can only assign a new vault's functions to the roles.

If the deployment names another admin, the deployer is not an admin afterwards. Later, admins change in two steps: an
admin grants the role, and the new admin revokes the old one. Until then the old admin can undo a mistyped address.
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
"""Admin functions that the guardian may cancel: all except `revokeRole`.

AccessManager uses the guardian of the role that a function is assigned to, so these functions are assigned to the
owner. The owner still cannot call them, because AccessManager requires an admin for them.
"""

_SHORTEST_ID = len("0x0123")
"""Minimum length of an operation's ID prefix, which prevents cancelling the only operation by mistake."""

_GRANTS_WAIT = (Role.ADMIN, Role.OWNER, Role.CURATOR, Role.KEEPER, Role.AUTOMATION)
"""Roles that a new member holds only after the delay, independent of the granting account."""


def lock_calls(system: System, deployer: str, admin: str, delay_seconds: int) -> list[Call]:
    """AccessManager's calls that make `admin` the only admin besides VaultRoles. A deployer without a delay sends them.

    `admin` has a delay of `delay_seconds` for all its calls. The last call removes the deployer's admin role. Delays of
    roles and targets take effect after AccessManager's setback of five days; until then, only the admin's own delay
    applies.
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
    """Send the calls of `lock_calls`. The wallet must be an admin without a delay."""
    manager = contract_at(wallet.rpc, "AccessManager", system.authority)
    for function, arguments in lock_calls(system, wallet.address, admin, delay_seconds):
        wallet.transact(manager, function, *arguments)


def is_locked(rpc: Rpc, system: System) -> bool:
    """Whether the calls of `lock_calls` were made. Undoing them needs a delay, in which the guardian can cancel."""
    manager = contract_at(rpc, "AccessManager", system.authority)
    selector = manager.interface.functions["labelRole"].selector
    role = manager.call("getTargetFunctionRole", manager.address, selector)
    return bool(role == Role.OWNER.value)


# Reading


@dataclass(frozen=True, slots=True)
class Holder:
    """Member of a role: start of membership and delay of its calls. `contract` is the name of a system contract."""

    role: Role
    account: str
    since: int
    delay_seconds: int
    contract: str | None = None


@dataclass(frozen=True, slots=True)
class RoleRules:
    """Rules of a role: the role that grants it, the role that cancels its members' calls, and the delay of a grant."""

    role: Role
    admin: Role
    guardian: Role
    grant_delay_seconds: int


@dataclass(frozen=True, slots=True)
class Operation:
    """A scheduled call: its caller, target and content, and the period in which it can be executed."""

    id: str
    caller: str
    target: str
    call: str
    data: str
    executable_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Permissions:
    """All roles and scheduled operations at one block. `deployer` is AccessManager's first admin, "" if unknown."""

    block: Block
    holders: tuple[Holder, ...]
    rules: tuple[RoleRules, ...]
    operations: tuple[Operation, ...]
    deployer: str = ""

    def held(self, role: Role) -> tuple[Holder, ...]:
        """Members of a role, including those whose membership has not started."""
        return tuple(holder for holder in self.holders if holder.role is role)

    def admins(self) -> tuple[Holder, ...]:
        """Admins except VaultRoles."""
        return tuple(holder for holder in self.held(Role.ADMIN) if holder.contract is None)

    def hasty_admins(self) -> tuple[Holder, ...]:
        """Admins, except VaultRoles, whose delay is shorter than the longest delay of an owner or curator."""
        delays = [h.delay_seconds for r in (Role.OWNER, Role.CURATOR) for h in self.held(r)]
        longest = max(delays, default=0)
        return tuple(holder for holder in self.admins() if holder.delay_seconds < longest)


def read_permissions(rpc: Rpc, system: System, from_block: int = 0) -> Permissions:
    """Roles and scheduled operations. `from_block` is a block before the system's deployment.

    Raises:
        As `Rpc.call`. A node may refuse to search that many blocks for events, even in several requests.
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
    """All logs of a contract, in order: in one request or, if the node refuses that, in several."""
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
    def read(function: str) -> int:
        return int(manager.call(function, role.value, block=block.hash))

    return RoleRules(role, Role(read("getRoleAdmin")), Role(read("getRoleGuardian")), read("getRoleGrantDelay"))


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
    """The name and address of the called vault; "" for system contracts."""
    target = str(call["target"]).lower()
    if target in system.contracts().values():
        return ""
    try:
        name = str(contract_at(rpc, "BasketVault", target).call("name"))
    except (ContractMissing, ContractReverted):
        return target
    return f"{name} {target}"


def describe(system: System, target: str, data: bytes, vault: str = "") -> str:
    """A call as text: contract or vault, function and arguments; for an unknown function, the bytes."""
    names = {address: name for name, address in system.contracts().items()}
    known = interface(names.get(target.lower(), "BasketVault"))
    function = next((f for f in known.functions.values() if f.selector == data[:4]), None)
    if function is None:
        return "0x" + data.hex()
    arguments = named_arguments(known, function, "0x" + data.hex())
    listed = ", ".join(argument_words(name, value) for name, value in arguments.items())
    return f"{vault or known.name}.{function.name}({listed})"


_ROLES = ("roleId", "admin", "guardian")
"""AccessManager's arguments that are role IDs."""


def argument_words(name: str, value: Any) -> str:
    """An argument with its name, converted by the unit in it: weights in percent, prices in USD, durations in hours."""
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
    return f"{name} {_value_text(value)}"


def _decimal(value_e18: int) -> str:
    """A number with 18 decimals, exactly."""
    text = f"{Decimal(value_e18).scaleb(-18):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _value_text(value: Any) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return "{" + ", ".join(argument_words(name, one) for name, one in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_value_text(part) for part in value) + "]"
    return str(value)


# Calls


@dataclass(frozen=True, slots=True)
class Acted:
    """Outcome of a restricted call. From `executable_at` (unix seconds) on, a scheduled call can be executed.

    Without a transaction hash nothing was sent: the call was already scheduled.
    """

    in_force: bool
    operation: str
    executable_at: int | None
    transaction_hash: str | None
    gas_used: int


def act(wallet: Wallet, authority: str, target: str, data: str) -> Acted:
    """Make a restricted call; an account with a delay schedules it, and the same call executes it after the delay.

    Raises:
        NotPermitted: the account may not make the call; nothing was sent.
        ContractReverted: the target reverted.
        As `Wallet.send`.
    """
    manager = contract_at(wallet.rpc, "AccessManager", authority)
    raw = bytes.fromhex(data.removeprefix("0x"))
    call = target.lower(), raw
    operation: bytes = manager.call("hashOperation", wallet.address, *call)
    name = "0x" + operation.hex()
    executable_at = manager.call("getSchedule", operation)
    # The newest block's time, which the node's gas estimate also uses.
    if executable_at > read_block(wallet.rpc).timestamp:
        wallet.later(target, data, executable_at)
        return Acted(False, name, executable_at, None, 0)
    if not executable_at and _must_wait(wallet, manager, *call):
        receipt = wallet.transact(manager, "schedule", *call, 0)
        executable_at = _scheduled_at(receipt, manager)
        return Acted(False, name, executable_at, receipt.transaction_hash, receipt.gas_used)
    # A direct call, so the target sees the caller. The target makes the manager consume the schedule.
    receipt = wallet.send(target, data, what=f"{_name(raw)} to {target.lower()}")
    return Acted(True, name, None, receipt.transaction_hash, receipt.gas_used)


def _must_wait(wallet: Wallet, manager: BoundContract, target: str, data: bytes) -> bool:
    """Whether the wallet must schedule this call, found by simulation. This also works for calls to the manager itself.

    Raises:
        NotPermitted: the wallet may not make the call at all.
    """
    try:
        manager.call("schedule", target, data, 0, sender=wallet.address)
    except ContractReverted as refusal:
        if refusal.error != "AccessManagerUnauthorizedCall":
            raise
    else:
        return True
    # Calls without a delay cannot be scheduled but executed; forbidden calls can be neither.
    try:
        manager.call("execute", target, data, sender=wallet.address)
    except ContractReverted as refusal:
        if refusal.error == "AccessManagerUnauthorizedCall":
            raise NotPermitted(wallet.address, _name(data), target) from None
        raise
    return False


def execute(wallet: Wallet, permissions: Permissions, operation: str) -> Acted:
    """Execute a scheduled call after its delay. The wallet must be the account that scheduled it.

    Raises:
        OperationUnknown: no operation with this ID is scheduled.
        ContractReverted: AccessManagerNotReady, or the target reverted.
    """
    found = _operation(permissions, operation)
    is_early = found.executable_at > permissions.block.timestamp
    if is_early and wallet.later(found.target, found.data, found.executable_at):
        return Acted(False, found.id, found.executable_at, None, 0)
    name = _name(bytes.fromhex(found.data.removeprefix("0x")))
    receipt = wallet.send(found.target, found.data, what=f"{name} to {found.target}")
    return Acted(True, found.id, None, receipt.transaction_hash, receipt.gas_used)


def cancel(wallet: Wallet, permissions: Permissions, authority: str, operation: str) -> Acted:
    """Cancel a scheduled call. Its caller, the guardian of the role, or an admin may do this.

    Raises:
        OperationUnknown: no operation with this ID is scheduled.
        ContractReverted: AccessManagerUnauthorizedCancel.
    """
    found = _operation(permissions, operation)
    manager = contract_at(wallet.rpc, "AccessManager", authority)
    raw = bytes.fromhex(found.data.removeprefix("0x"))
    receipt = wallet.transact(manager, "cancel", found.caller, found.target, raw)
    return Acted(False, found.id, None, receipt.transaction_hash, receipt.gas_used)


def check_revocation(permissions: Permissions, role: Role, account: str) -> None:
    """Check that a revocation leaves an admin.

    Raises:
        LastAdmin: the account is the only admin besides VaultRoles.
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
    """The time from which a new scheduled call can be executed; None if it was only recorded and not simulated."""
    events = decode_logs(receipt.logs, manager.interface)
    return next((e.values["schedule"] for e in events if e.name == "OperationScheduled"), None)


def _name(data: bytes) -> str:
    for known in ("AccessManager", "OracleHub", "BasketVault", "KeeperGate"):
        for function in interface(known).functions.values():
            if function.selector == data[:4]:
                return function.name
    return "0x" + data[:4].hex()


# Arguments


def parse_arguments(function: Function, texts: Sequence[str]) -> list[Any]:
    """Arguments for a function from texts: integers, addresses, `true` or `false`, 0x…, and JSON for lists.

    Raises:
        ArgumentsUnreadable: the number of arguments or the type of one is wrong.
    """
    wants = function.signature
    if len(texts) != len(function.inputs.types):
        given = f"{counted(len(texts), 'argument')} {'was' if len(texts) == 1 else 'were'} given"
        why = f"{given}, and the function has {counted(len(function.inputs.types), 'parameter')}"
        raise ArgumentsUnreadable(wants, why)
    values = []
    for kind, text in zip(function.inputs.types, texts, strict=True):
        try:
            value = parse_json(text) if kind.endswith(("]", ")")) else text
            values.append(_parsed(kind, value))
        except (ValueError, TypeError):
            raise ArgumentsUnreadable(wants, f"{text!r} is not a valid {kind}") from None
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
    """The types of a tuple, split at the commas outside of inner tuples."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(kinds):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            parts.append(kinds[start:at])
            start = at + 1
    return [*parts, kinds[start:]]
