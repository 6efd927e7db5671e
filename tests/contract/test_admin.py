"""What the admins of the AccessManager can do, after how long, and who can stop it.

The system here is as `rebalancer deploy` leaves it; see governed.py.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.system import Role
from rebalancer.errors import (
    ArgumentsUnreadable,
    ContractReverted,
    LastAdmin,
    NotPermitted,
    OperationUnknown,
)
from rebalancer.operations.deploy import VaultSpec, assign_vault_roles, create_vault
from rebalancer.operations.governance import (
    CANCELLABLE,
    act,
    cancel,
    check_revocation,
    execute,
    parse_arguments,
)
from tests.contract.governed import DAY, DELAY, SETBACK, Governed, call_data
from tests.contract.world import World, basket_spec, refused


@pytest.fixture
def spec(world: World) -> VaultSpec:
    return basket_spec(world)


def admin_calls(governed: Governed) -> dict[str, tuple[Any, ...]]:
    """Everything that AccessManager reserves to its admins."""
    hub, stranger = governed.system.oracle, governed["stranger"].address
    return {
        "labelRole": (Role.OWNER.value, "NOBODY"),
        "grantRole": (Role.OWNER.value, stranger, 0),
        "revokeRole": (Role.GUARDIAN.value, governed["guardian"].address),
        "setRoleAdmin": (Role.OWNER.value, Role.KEEPER.value),
        "setRoleGuardian": (Role.OWNER.value, Role.KEEPER.value),
        "setGrantDelay": (Role.OWNER.value, 0),
        "setTargetAdminDelay": (hub, 0),
        "setTargetClosed": (hub, True),
        "setTargetFunctionRole": (hub, [b"\x01\x02\x03\x04"], Role.KEEPER.value),
        "updateAuthority": (hub, governed.system.lens),
    }


# What a deployment leaves


def test_deployment_leaves_every_role_with_its_delay(governed: Governed) -> None:
    found = governed.permissions()
    held = {(holder.role.name, holder.contract or holder.account): holder.delay_seconds for holder in found.holders}
    assert held == {
        ("ADMIN", governed["admin"].address): DELAY,
        ("ADMIN", "VaultRoles"): 0,
        ("OWNER", governed["owner"].address): DELAY,
        ("CURATOR", governed["curator"].address): DELAY,
        ("GUARDIAN", governed["guardian"].address): 0,
        ("KEEPER", governed["keeper"].address): 0,
        ("KEEPER", "KeeperGate"): 0,
    }
    assert {rules.role.name: rules.admin.name for rules in found.rules} == {
        **dict.fromkeys(("ADMIN", "OWNER", "CURATOR", "GUARDIAN"), "ADMIN"),
        **dict.fromkeys(("KEEPER", "AUTOMATION"), "GUARDIAN"),
    }
    assert {rules.role.name: rules.guardian.name for rules in found.rules} == {
        **dict.fromkeys(("OWNER", "CURATOR"), "GUARDIAN"),
        **dict.fromkeys(("ADMIN", "GUARDIAN", "KEEPER", "AUTOMATION"), "ADMIN"),
    }
    assert found.hasty_admins() == ()
    assert found.operations == ()


def test_delays_of_roles_and_targets_begin_after_five_days(governed: Governed) -> None:
    def delays() -> list[int]:
        grants = [rules.grant_delay_seconds for rules in governed.permissions().rules]
        targets = [
            governed.read(governed.manager, "getTargetAdminDelay", target)
            for target in (governed.system.authority, governed.system.oracle, governed.system.gate)
        ]
        return grants + targets

    assert delays() == [0] * 9
    governed.wait(SETBACK)
    # ADMIN, OWNER, CURATOR, GUARDIAN, KEEPER, AUTOMATION, manager, hub, gate
    assert delays() == [DELAY, DELAY, DELAY, 0, *[DELAY] * 5]


# Admins wait


@pytest.mark.parametrize("function", [*CANCELLABLE, "revokeRole"])
def test_admin_waits_for_everything(governed: Governed, function: str) -> None:
    args = admin_calls(governed)[function]
    manager, admin = governed.manager, governed["admin"]
    with pytest.raises(ContractReverted, match="AccessManagerNotScheduled"):
        admin.transact(manager, function, *args)
    with pytest.raises(ContractReverted, match="AccessManagerNotScheduled"):
        admin.transact(manager, "execute", manager.address, call_data(manager, function, *args))
    governed.schedule("admin", manager, function, *args)
    with pytest.raises(ContractReverted, match="AccessManagerNotReady"):
        admin.transact(manager, function, *args)
    governed.wait(DELAY)

    admin.transact(manager, function, *args)

    assert governed.permissions().operations == ()


@pytest.mark.parametrize("function", [*CANCELLABLE, "revokeRole"])
@pytest.mark.parametrize("name", ["owner", "curator", "guardian", "keeper", "stranger"])
def test_nobody_else_may_what_admins_may(governed: Governed, name: str, function: str) -> None:
    args = admin_calls(governed)[function]
    with pytest.raises(ContractReverted, match="AccessManagerUnauthorizedAccount"):
        governed[name].transact(governed.manager, function, *args)


@pytest.mark.parametrize("function", CANCELLABLE)
def test_guardian_cancels_what_an_admin_scheduled(governed: Governed, function: str) -> None:
    manager, args = governed.manager, admin_calls(governed)[function]
    data = governed.schedule("admin", manager, function, *args)
    cancelled = (governed["admin"].address, manager.address, data)
    with pytest.raises(ContractReverted, match="AccessManagerUnauthorizedCancel"):
        governed["stranger"].transact(manager, "cancel", *cancelled)

    governed["guardian"].transact(manager, "cancel", *cancelled)

    governed.wait(DELAY)
    with pytest.raises(ContractReverted, match="AccessManagerNotScheduled"):
        governed["admin"].transact(manager, function, *args)


def test_guardian_has_no_veto_against_its_dismissal(governed: Governed) -> None:
    manager, guardian = governed.manager, governed["guardian"]
    args = admin_calls(governed)["revokeRole"]
    data = governed.schedule("admin", manager, "revokeRole", *args)
    with pytest.raises(ContractReverted, match="AccessManagerUnauthorizedCancel"):
        guardian.transact(manager, "cancel", governed["admin"].address, manager.address, data)
    governed.wait(DELAY)

    governed["admin"].transact(manager, "revokeRole", *args)

    assert governed.read(manager, "hasRole", Role.GUARDIAN.value, guardian.address)[0] is False


def test_no_call_within_a_call_avoids_the_delay_or_the_guardian(governed: Governed) -> None:
    """A batch, or an execution, is itself an operation of the manager; what is in it is done by nobody who may."""
    manager, admin = governed.manager, governed["admin"]
    grant = call_data(manager, "grantRole", *admin_calls(governed)["grantRole"])
    for function, args in (("multicall", ([grant],)), ("execute", (manager.address, grant))):
        data = governed.schedule("admin", manager, function, *args)
        governed.wait(DELAY)
        with pytest.raises(ContractReverted, match="AccessManager"):
            admin.transact(manager, "execute", manager.address, data)
    with pytest.raises(ContractReverted, match="AccessManagerNotScheduled"):
        admin.transact(manager, "multicall", [grant])


def test_admin_without_a_delay_is_held_by_roles_and_targets(governed: Governed, spec: VaultSpec) -> None:
    """The second lock: should an admin ever be granted without a delay, what matters waits all the same."""
    vault = governed.make_vault(spec)
    governed.wait(SETBACK)
    manager, hasty = governed.manager, governed["newcomer"]
    args = (Role.ADMIN.value, hasty.address, 0)
    governed.schedule("admin", manager, "grantRole", *args)
    governed.wait(DELAY)
    governed["admin"].transact(manager, "grantRole", *args)
    governed.wait(DELAY)

    (found,) = governed.permissions().hasty_admins()
    assert (found.account, found.delay_seconds) == (hasty.address, 0)
    calls: list[tuple[str, Any]] = [
        ("updateAuthority", (vault.address, governed.system.lens)),
        ("setTargetFunctionRole", (vault.address, [b"\x01\x02\x03\x04"], Role.KEEPER.value)),
        ("setTargetFunctionRole", (governed.system.oracle, [b"\x01\x02\x03\x04"], 4)),
        ("setTargetFunctionRole", (manager.address, [b"\x01\x02\x03\x04"], 4)),
        ("setTargetClosed", (vault.address, True)),
    ]
    for function, given in calls:
        with pytest.raises(ContractReverted, match="AccessManagerNotScheduled"):
            hasty.transact(manager, function, *given)
    hasty.transact(manager, "grantRole", Role.OWNER.value, hasty.address, 0)
    assert governed.read(manager, "hasRole", Role.OWNER.value, hasty.address)[0] is False
    hasty.transact(manager, "setGrantDelay", Role.OWNER.value, 0)
    hasty.transact(manager, "setTargetAdminDelay", vault.address, 0)
    governed.wait(DAY)
    assert governed.read(manager, "getRoleGrantDelay", Role.OWNER.value) == DELAY
    assert governed.read(manager, "getTargetAdminDelay", vault.address) == DELAY


# Keepers


def test_stolen_keeper_is_revoked_at_once_and_rebalances_no_more(governed: Governed, spec: VaultSpec) -> None:
    vault, keeper = governed.make_vault(spec), governed["keeper"]
    trade = (0, [1, 0, 0], [0, 0, 1], governed.system.executor, b"")
    with pytest.raises(ContractReverted, match="NoBandBroken"):
        keeper.transact(vault, "rebalance", *trade)

    governed["guardian"].transact(governed.manager, "revokeRole", Role.KEEPER.value, keeper.address)

    with refused("AccessManagedUnauthorized", caller=keeper.address):
        keeper.transact(vault, "rebalance", *trade)


def test_keeper_whom_the_guardian_appoints_begins_after_the_delay(governed: Governed) -> None:
    governed.wait(SETBACK)
    manager, newcomer = governed.manager, governed["newcomer"].address
    governed["guardian"].transact(manager, "grantRole", Role.KEEPER.value, newcomer, 0)

    def is_keeper() -> bool:
        return bool(governed.read(manager, "hasRole", Role.KEEPER.value, newcomer)[0])

    governed.wait(DELAY - 60)
    assert is_keeper() is False
    governed.wait(60)
    assert is_keeper() is True


def test_network_gone_bad_is_revoked_at_once_and_triggers_no_more(governed: Governed) -> None:
    manager, network = governed.manager, governed["newcomer"]
    gate = contract_at(governed.chain.rpc, "KeeperGate", governed.system.gate)
    governed["guardian"].transact(manager, "grantRole", Role.AUTOMATION.value, network.address, 0)
    data = encode(["address", "bytes"], [governed.system.lens, b""])
    with pytest.raises(ContractReverted) as reached:
        network.transact(gate, "performUpkeep", data)
    assert reached.value.error != "AccessManagedUnauthorized"

    governed["guardian"].transact(manager, "revokeRole", Role.AUTOMATION.value, network.address)

    with refused("AccessManagedUnauthorized", caller=network.address):
        network.transact(gate, "performUpkeep", data)


def test_guardian_grants_no_role_but_keeper_and_automation(governed: Governed) -> None:
    guardian = governed["guardian"]
    for role in (Role.ADMIN, Role.OWNER, Role.CURATOR, Role.GUARDIAN):
        with refused("AccessManagerUnauthorizedAccount", msgsender=guardian.address, roleId=Role.ADMIN.value):
            guardian.transact(governed.manager, "grantRole", role.value, guardian.address, 0)


# New vaults


def test_new_vault_has_its_roles_at_once_though_admins_wait(governed: Governed, spec: VaultSpec) -> None:
    vault = governed.make_vault(spec, by="stranger")

    governed["guardian"].transact(vault, "pauseRebalance")
    assert governed.read(vault, "state")[5] is True
    with refused("AccessManagedUnauthorized", caller=governed["stranger"].address):
        governed["stranger"].transact(vault, "pauseRebalance")
    governed.wait(SETBACK)
    assert governed.read(governed.manager, "getTargetAdminDelay", vault.address) == DELAY


def test_vault_is_handed_over_once(governed: Governed, spec: VaultSpec) -> None:
    vault = governed.make_vault(spec)
    roles = contract_at(governed.chain.rpc, "VaultRoles", governed.system.vault_roles)

    with refused("AlreadyAssigned", vault=vault.address):
        governed["stranger"].transact(roles, "assign", vault.address)


def test_what_is_no_vault_of_this_system_is_not_handed_over(governed: Governed, world: World, spec: VaultSpec) -> None:
    stranger, roles = (
        governed["stranger"],
        contract_at(world.chain.rpc, "VaultRoles", governed.system.vault_roles),
    )
    for other in (governed.system.oracle, world.open_vault(spec).address):
        with refused("NotOfFactory", vault=other):
            stranger.transact(roles, "assign", other)
    # A vault of this factory that obeys another authority.
    foreign = replace(governed.system, authority=world.system.authority)
    for asset, seed in zip(spec.assets, spec.seed_amounts, strict=True):
        governed.market.deal(asset.token, stranger.address, seed)
    vault = create_vault(stranger, foreign, spec)
    with refused("OtherAuthority", vault=vault, authority=world.system.authority):
        stranger.transact(roles, "assign", vault)


def test_the_only_admin_without_a_delay_can_do_one_thing() -> None:
    functions = {shape.name for shape in interface("VaultRoles").functions.values()}

    views = {"AUTHORITY", "FACTORY", "ADMIN_DELAY_SECONDS", "FIRST_VAULT", "assigned", "table"}
    assert functions == {"assign", *views}


def test_next_table_serves_only_vaults_made_after_it(governed: Governed, spec: VaultSpec) -> None:
    manager, admin, stranger = governed.manager, governed["admin"], governed["stranger"]
    first = contract_at(governed.chain.rpc, "VaultRoles", governed.system.vault_roles)
    older = governed.make_vault(spec)
    pause = older.interface.functions["pauseRebalance"].selector
    table = [(Role.KEEPER.value, [pause])]
    factory = governed.system.factory
    second = stranger.deploy("VaultRoles", manager.address, factory, DELAY, table)
    for data in (
        manager.data("grantRole", Role.ADMIN.value, second.address, 0),
        manager.data("revokeRole", Role.ADMIN.value, first.address),
    ):
        act(admin, manager.address, manager.address, data)
        governed.wait(DELAY)
        assert act(admin, manager.address, manager.address, data).in_force

    with refused("VaultOlder", vault=older.address, number=1, first=2):
        stranger.transact(second, "assign", older.address)
    assert governed.read(manager, "getTargetFunctionRole", older.address, pause) == Role.GUARDIAN
    for asset, seed in zip(spec.assets, spec.seed_amounts, strict=True):
        governed.market.deal(asset.token, stranger.address, seed)
    newer = create_vault(stranger, governed.system, replace(spec, salt=1))
    with pytest.raises(ContractReverted, match="AccessManagerUnauthorizedAccount"):
        assign_vault_roles(stranger, governed.system, newer)
    assign_vault_roles(stranger, replace(governed.system, vault_roles=second.address), newer)

    assert governed.read(manager, "getTargetFunctionRole", newer, pause) == Role.KEEPER


# Two steps


def test_whoever_deployed_is_nobody_afterwards(governed: Governed) -> None:
    found, deployer = governed.permissions(), governed["deployer"]
    assert found.deployer == deployer.address
    assert [holder.account for holder in found.admins()] == [governed["admin"].address]
    assert deployer.address not in [holder.account for holder in found.holders]
    for function, args in admin_calls(governed).items():
        with pytest.raises(ContractReverted, match="AccessManagerUnauthorizedAccount"):
            deployer.transact(governed.manager, function, *args)


def test_admin_is_handed_over_in_two_steps(governed: Governed) -> None:
    manager, old, new = governed.manager, governed["admin"], governed["newcomer"]
    grant = manager.data("grantRole", Role.ADMIN.value, new.address, DELAY)
    act(old, manager.address, manager.address, grant)
    with pytest.raises(LastAdmin, match=f"{old.address} is the only admin"):
        check_revocation(governed.permissions(), Role.ADMIN, old.address)
    governed.wait(DELAY)
    act(old, manager.address, manager.address, grant)
    check_revocation(governed.permissions(), Role.ADMIN, old.address)
    revoke = manager.data("revokeRole", Role.ADMIN.value, old.address)

    scheduled = act(new, manager.address, manager.address, revoke)
    assert not scheduled.in_force
    governed.wait(DELAY)
    done = act(new, manager.address, manager.address, revoke)

    assert done.in_force
    assert [holder.account for holder in governed.permissions().admins()] == [new.address]
    with pytest.raises(LastAdmin):
        check_revocation(governed.permissions(), Role.ADMIN, new.address)


def test_mistyped_admin_is_taken_back(governed: Governed) -> None:
    manager, admin = governed.manager, governed["admin"]
    mistyped = "0x" + "12" * 20
    grant = manager.data("grantRole", Role.ADMIN.value, mistyped, DELAY)
    revoke = manager.data("revokeRole", Role.ADMIN.value, mistyped)
    act(admin, manager.address, manager.address, grant)
    governed.wait(DELAY)
    assert act(admin, manager.address, manager.address, grant).in_force
    assert governed.read(manager, "hasRole", 0, mistyped)[0] is True

    act(admin, manager.address, manager.address, revoke)
    governed.wait(DELAY)
    assert act(admin, manager.address, manager.address, revoke).in_force

    assert governed.read(manager, "hasRole", 0, mistyped)[0] is False
    assert governed.read(manager, "hasRole", 0, admin.address)[0] is True


# Nothing changes under a holder's feet


def test_authority_of_a_vault_changes_only_through_its_authority_and_waits(governed: Governed, spec: VaultSpec) -> None:
    vault, manager, next_one = governed.make_vault(spec), governed.manager, governed.system.lens
    for name, person in governed.people.items():
        with refused("AccessManagedUnauthorized", caller=person.address):
            person.transact(vault, "setAuthority", next_one)
        if name not in ("deployer", "admin"):
            with pytest.raises(ContractReverted, match="AccessManagerUnauthorizedAccount"):
                person.transact(manager, "updateAuthority", vault.address, next_one)
    data = call_data(vault, "setAuthority", next_one)
    with pytest.raises(ContractReverted, match="AccessManagerNotScheduled"):
        governed["admin"].transact(manager, "execute", vault.address, data)
    with pytest.raises(ContractReverted, match="AccessManagerNotScheduled"):
        governed["admin"].transact(manager, "updateAuthority", vault.address, next_one)

    governed.schedule("admin", manager, "updateAuthority", vault.address, next_one)
    governed.wait(DELAY)
    governed["admin"].transact(manager, "updateAuthority", vault.address, next_one)
    assert governed.read(vault, "authority") == next_one


def test_code_of_a_vault_never_changes(governed: Governed, spec: VaultSpec) -> None:
    """A vault is a clone of EIP-1167, which delegates to one address that is in its code; that code delegates to one address that is
    an immutable of it; and that one delegates to nobody."""
    vault, rpc = governed.make_vault(spec), governed.chain.rpc
    implementation, extension = governed.system.implementation, governed.system.extension
    code = rpc.call("eth_getCode", vault.address, "latest")
    assert code == "0x363d3d373d3d3d363d73" + implementation[2:] + "5af43d82803e903d91602b57fd5bf3"
    assert governed.read(vault, "EXTENSION") == extension

    core, rest = (
        operations(bytes.fromhex(rpc.call("eth_getCode", address, "latest")[2:]))
        for address in (implementation, extension)
    )

    delegate_call, call_code, self_destruct, call, static_call = 0xF4, 0xF2, 0xFF, 0xF1, 0xFA
    assert core[delegate_call] == 1
    assert rest[delegate_call] == 0
    for found in (core, rest):
        assert found[call_code] == found[self_destruct] == 0
        assert min(found[call], found[static_call]) > 0, "so that is code that was looked at"


def test_what_a_vault_delegates_to_is_no_storage_of_anybody(repo_root: Path) -> None:
    """The one delegate call there is goes to an immutable."""
    calls = {
        path.name: re.findall(
            r"(\w+)\.functionDelegateCall\(|\bdelegatecall\(gas\(\), (\w+),|(\w+)\.delegatecall",
            path.read_text(),
        )
        for path in (repo_root / "contracts").glob("*.sol")
    }
    source = (repo_root / "contracts" / "BasketVault.sol").read_text()

    assert {name: found for name, found in calls.items() if found} == {"BasketVault.sol": [("", "extension", "")]}
    assert re.findall(r"\bextension = (\w+);", source) == ["EXTENSION"]
    assert "address public immutable EXTENSION;" in source


def operations(code: bytes) -> Counter[int]:
    """The operations that some code can reach, counted: what follows an end or a jump counts from the next place to jump to."""
    ends, jump_to = {0x00, 0x56, 0xF3, 0xFD, 0xFE}, 0x5B
    found: Counter[int] = Counter()
    at, reached = 0, True
    while at < len(code):
        operation = code[at]
        reached = operation == jump_to or reached
        if reached:
            found[operation] += 1
        reached = reached and operation not in ends
        at += 1 + (operation - 0x5F if 0x60 <= operation <= 0x7F else 0)
    return found


# The functions behind the command


def test_call_at_once_is_made_at_once(governed: Governed) -> None:
    guardian, token = governed["guardian"], governed.market.deployment.listed("USDC").address

    done = act(
        guardian,
        governed.manager.address,
        governed.hub.address,
        governed.hub.data("removeFeed", token),
    )

    assert (done.in_force, done.executable_at) == (True, None)
    assert governed.read(governed.hub, "feedOf", token)[0] == "0x" + "0" * 40


def test_call_that_waits_is_scheduled_listed_and_finished_by_the_same_call(
    governed: Governed,
) -> None:
    owner, hub = governed["owner"], governed.hub
    token = governed.market.deployment.listed("USDC").address
    data = hub.data("removeSource", token)
    scheduled = act(owner, governed.manager.address, hub.address, data)
    again = act(owner, governed.manager.address, hub.address, data)
    assert scheduled.transaction_hash is not None
    assert (again.executable_at, again.transaction_hash) == (scheduled.executable_at, None)
    (operation,) = governed.permissions().operations
    assert operation.id == scheduled.operation
    assert operation.call == f"OracleHub.removeSource(token {token})"
    assert operation.executable_at == scheduled.executable_at
    assert operation.expires_at == operation.executable_at + 7 * DAY
    with pytest.raises(ContractReverted, match="AccessManagerNotReady"):
        execute(owner, governed.permissions(), operation.id)
    governed.wait(DELAY)

    done = execute(owner, governed.permissions(), operation.id[:10])

    assert done.in_force
    assert governed.permissions().operations == ()


def test_scheduled_call_is_cancelled_by_its_id(governed: Governed) -> None:
    hub, token = governed.hub, governed.market.deployment.listed("USDC").address
    act(governed["owner"], governed.manager.address, hub.address, hub.data("removeSource", token))
    found = governed.permissions()

    cancel(governed["guardian"], found, governed.manager.address, found.operations[0].id)

    assert governed.permissions().operations == ()
    with pytest.raises(OperationUnknown, match="scheduled: none"):
        cancel(governed["guardian"], governed.permissions(), governed.manager.address, "0x12")


def test_call_without_the_right_is_refused_before_anything_is_sent(governed: Governed) -> None:
    hub, stranger = governed.hub, governed["stranger"]
    token = governed.market.deployment.listed("USDC").address
    before = governed.chain.block()["hash"]
    with pytest.raises(NotPermitted, match=f"{stranger.address} may not call removeFeed"):
        act(stranger, governed.manager.address, hub.address, hub.data("removeFeed", token))
    grant = governed.manager.data("grantRole", 1, stranger.address, 0)
    with pytest.raises(NotPermitted, match="may not call grantRole"):
        act(stranger, governed.manager.address, governed.manager.address, grant)
    assert governed.chain.block()["hash"] == before


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["0x12"], "1 argument was given, and the function has 2 parameters"),
        (["0x12", "5"], "'0x12' is not a valid address"),
        (["0x" + "12" * 20, "five"], "'five' is not a valid uint16"),
        (["0x" + "12" * 20, "70000"], "70000"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(texts: list[str], why: str) -> None:
    function = interface("OracleHub").functions["tightenSource"]
    with pytest.raises(ArgumentsUnreadable, match=why):
        parse_arguments(function, texts)


def test_arguments_of_every_kind_are_read() -> None:
    address = "0x" + "Ab" * 20
    set_source = interface("OracleHub").functions["setSource"]
    source = f'["{address}", 1, 100, "{address}", "0x1212"]'
    assert parse_arguments(set_source, [address, source]) == [
        address.lower(),
        (address.lower(), 1, 100, address.lower(), b"\x12\x12"),
    ]
    close = interface("AccessManager").functions["setTargetClosed"]
    assert parse_arguments(close, [address, "true"]) == [address.lower(), True]
    assign = interface("AccessManager").functions["setTargetFunctionRole"]
    assert parse_arguments(assign, [address, '["0x01020304"]', "1_0"]) == [
        address.lower(),
        [b"\x01\x02\x03\x04"],
        10,
    ]


def test_every_call_of_an_admin_is_in_the_list(governed: Governed) -> None:
    """AccessManager's restricted functions are those that refuse a stranger for want of a role."""
    calls = admin_calls(governed)
    assert {*CANCELLABLE, "revokeRole"} == set(calls)
    free = {"schedule", "execute", "cancel", "consumeScheduledOp", "multicall", "renounceRole"}
    state_changing = {
        entry["name"]
        for entry in load_artifact("AccessManager").abi
        if entry["type"] == "function" and entry["stateMutability"] in ("nonpayable", "payable")
    }
    assert state_changing == {*calls, *free}
