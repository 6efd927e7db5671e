"""`rebalancer admin`: roles and restricted calls: show, call, schedule, execute, cancel."""

from __future__ import annotations

from typing import Any

import click

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.system import Role
from rebalancer.cli import Group
from rebalancer.cli.format import WholeTable, console, print_json
from rebalancer.cli.options import address_option, json_option, sending_options
from rebalancer.cli.session import Session
from rebalancer.errors import FunctionUnknown, RoleNotHeld
from rebalancer.operations.feeds import check_setting
from rebalancer.operations.governance import (
    Acted,
    Operation,
    Permissions,
    act,
    cancel,
    check_revocation,
    execute,
    parse_arguments,
    read_permissions,
)
from rebalancer.send.wallet import Wallet
from rebalancer.words import span, utc

__all__ = ["admin"]

from_block_option = click.option(
    "--from-block",
    type=click.IntRange(0),
    show_default="from the addresses file, or 0",
    help="First block to search for role events. Set it to a block before the deployment if the node limits the "
    "range of log queries.",
)

role_option = click.option(
    "--role",
    type=click.Choice([role.name for role in Role], case_sensitive=False),
    required=True,
    help="The role.",
)

operation_option = click.option(
    "--operation",
    required=True,
    help="Operation ID, or a unique prefix of at least four digits after 0x.",
)


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def admin(ctx: click.Context) -> None:
    """Show roles and scheduled calls; make, schedule or cancel a change. Without a command, it only shows them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@admin.command()
@from_block_option
@json_option
@click.pass_obj
def show(options: Any, from_block: int | None = None, as_json: bool = False) -> None:
    """Show the holders of each role with their delays, and the scheduled calls."""
    with Session.open(options) as session:
        found = _permissions(session, from_block)
    if as_json:
        print_json(found)
        return
    _show(found)


def _permissions(session: Session, from_block: int | None) -> Permissions:
    start = session.deployment.block or 0 if from_block is None else from_block
    return read_permissions(session.rpc, session.system, start)


def _show(found: Permissions) -> None:
    out = console()
    table = WholeTable(title="Roles", title_justify="left")
    for heading in ("role", "holder", "delay", "granted by", "grant delay", "guardian"):
        table.add_column(heading)
    now = found.block.timestamp
    for rules in found.rules:
        held = found.held(rules.role)
        for row, holder in enumerate(held or (None,)):
            first = row == 0
            soon = "" if holder is None or holder.since <= now else f", from {utc(holder.since)}"
            table.add_row(
                rules.role.name if first else "",
                "nobody" if holder is None else (holder.contract or holder.account) + soon,
                "" if holder is None else span(holder.delay_seconds),
                rules.admin.name if first else "",
                span(rules.grant_delay_seconds) if first else "",
                rules.guardian.name if first else "",
            )
    out.print(table)
    if not found.operations:
        out.print("No calls are scheduled.")
        return
    table = WholeTable(title="Scheduled", title_justify="left")
    for heading in ("operation", "scheduled by", "executable", "call"):
        table.add_column(heading, overflow="fold")
    for one in found.operations:
        table.add_row(one.id, one.caller, _when(one, now), one.call)
    out.print(table)


def _when(one: Operation, now: int) -> str:
    if one.executable_at <= now:
        return "now"
    return f"{utc(one.executable_at)} (in {span(one.executable_at - now)})"


@admin.command()
@click.option("--contract", required=True, help="Contract name from the addresses file, or an address.")
@click.option("--function", required=True, help="Name or signature of the function to call.")
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    help="Argument of the function; repeat it in order. Write a list as JSON.",
)
@click.option(
    "--description",
    metavar="TEXT",
    show_default="the token's symbol and the unit",
    help="Expected description() of a price feed that the call sets.",
)
@sending_options
@json_option
@click.pass_obj
def call(
    options: Any,
    contract: str,
    function: str,
    arguments: tuple[str, ...],
    description: str | None,
    account: int | None,
    as_json: bool,
) -> None:
    """Call a restricted function: at once, or scheduled if the account has a delay.

    After the delay, the same command executes the call. An address that the addresses file does not name must be a
    vault. Before a call that sets a price feed, the command compares the feed's description with --description, and its
    price with the listed pools.
    """
    with Session.open(options) as session:
        target = _contract(session, contract)
        known = target.interface.functions.get(function)
        if known is None:
            raise FunctionUnknown(target.interface.name, function)
        values = parse_arguments(known, arguments)
        if target.address == session.system.oracle:
            check_setting(*(session.rpc, session.deployment, target.address, known.name, values), description)
        data = known.encode(*values)
        done = act(session.wallet(account), session.system.authority, target.address, data)
    _report(done, as_json)


def _contract(session: Session, named: str) -> BoundContract:
    """A system contract by name or address, or a vault by address."""
    for name, address in session.system.contracts().items():
        if named.lower() in (name.lower(), address):
            return contract_at(session.rpc, name, address)
    return contract_at(session.rpc, "BasketVault", session.vault(_address(named)))


def _address(text: str) -> str:
    from eth_utils.address import is_hex_address

    if not (text.startswith("0x") and is_hex_address(text)):
        raise click.UsageError(f"{text!r} is neither the name of a contract in the addresses file nor an address.")
    return text.lower()


def _grant(session: Session, wallet: Wallet, role: Role, to: str, delay_seconds: int) -> Acted:
    manager = contract_at(session.rpc, "AccessManager", session.system.authority)
    data = manager.data("grantRole", role.value, to, delay_seconds)
    return act(wallet, manager.address, manager.address, data)


def _revoke(session: Session, wallet: Wallet, role: Role, account: str) -> Acted:
    manager = contract_at(session.rpc, "AccessManager", session.system.authority)
    since, *_ = manager.call("getAccess", role.value, account)
    if not since:
        raise RoleNotHeld(account, role.name)
    data = manager.data("revokeRole", role.value, account)
    return act(wallet, manager.address, manager.address, data)


@admin.command()
@role_option
@address_option("--to", "Account that receives the role.")
@click.option(
    "--delay-hours",
    type=click.FloatRange(min=0, max=24 * 365),
    show_default="the longest delay of its holders",
    help="Delay of the account's calls in this role, in hours.",
)
@from_block_option
@sending_options
@json_option
@click.pass_obj
def grant(
    options: Any,
    role: str,
    to: str,
    delay_hours: float | None,
    from_block: int | None,
    account: int | None,
    as_json: bool,
) -> None:
    """Grant a role to an account, or change its delay. Guardians grant KEEPER; admins grant all other roles."""
    with Session.open(options) as session:
        wanted = Role[role.upper()]
        if delay_hours is None:
            found = _permissions(session, from_block)
            held = [h.delay_seconds for h in found.held(wanted) if h.contract is None]
            delay_seconds = max(held, default=0)
        else:
            delay_seconds = int(delay_hours * 3_600)
        done = _grant(session, session.wallet(account), wanted, to, delay_seconds)
    _report(done, as_json)


@admin.command()
@role_option
@address_option("--holder", "Account that loses the role.")
@sending_options
@json_option
@click.pass_obj
def revoke(options: Any, role: str, holder: str, account: int | None, as_json: bool) -> None:
    """Revoke a role from an account. Guardians revoke KEEPER at once; admins revoke other roles after their delay."""
    with Session.open(options) as session:
        wanted = Role[role.upper()]
        if wanted is Role.ADMIN:
            check_revocation(_permissions(session, None), wanted, holder)
        done = _revoke(session, session.wallet(account), wanted, holder)
    _report(done, as_json)


@admin.command("hand-over")
@address_option("--to", "The new admin.")
@from_block_option
@sending_options
@json_option
@click.pass_obj
def hand_over(options: Any, to: str, from_block: int | None, account: int | None, as_json: bool) -> None:
    """Make another account an admin. You stay admin until the new admin revokes you, so you can undo a wrong address.

    If you have a delay, run the same command again when the delay is over.
    """
    with Session.open(options) as session:
        wallet = session.wallet(account)
        found = _permissions(session, from_block)
        own = [h.delay_seconds for h in found.held(Role.ADMIN) if h.contract is None]
        done = _grant(session, wallet, Role.ADMIN, to, max(own, default=0))
    _report(done, as_json)
    if done.in_force and not as_json:
        console().print(
            f"{to} becomes the only admin when it runs: rebalancer admin revoke --role ADMIN --holder {wallet.address}",
            soft_wrap=True,
        )


@admin.command("execute")
@operation_option
@from_block_option
@sending_options
@json_option
@click.pass_obj
def execute_command(options: Any, operation: str, from_block: int | None, account: int | None, as_json: bool) -> None:
    """Execute a scheduled call whose delay is over, with the account that scheduled it."""
    with Session.open(options) as session:
        found = _permissions(session, from_block)
        done = execute(session.wallet(account), found, operation)
    _report(done, as_json)


@admin.command("cancel")
@operation_option
@from_block_option
@sending_options
@json_option
@click.pass_obj
def cancel_command(options: Any, operation: str, from_block: int | None, account: int | None, as_json: bool) -> None:
    """Cancel a scheduled call, with the guardian or the account that scheduled it."""
    with Session.open(options) as session:
        found = _permissions(session, from_block)
        done = cancel(session.wallet(account), found, session.system.authority, operation)
    if as_json:
        print_json(done)
    else:
        console().print("Cancelled.")
        console().print(f"transaction {done.transaction_hash}", style="dim")


def _report(done: Acted, as_json: bool) -> None:
    if as_json:
        print_json(done)
    elif done.in_force:
        console().print("Done.")
        console().print(f"transaction {done.transaction_hash}, gas {done.gas_used:,}", style="dim")
    else:
        status = "Scheduled" if done.transaction_hash else "Already scheduled"
        console().print(
            f"{status} as operation {done.operation}. To execute it, run the same command again after "
            f"{utc(done.executable_at or 0)}, unless it is cancelled."
        )
