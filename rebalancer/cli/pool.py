"""`rebalancer pool`: snapshots of pools as files, and retries of pools that the keeper leaves out."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import click

from rebalancer.block import Block
from rebalancer.chain.pools import (
    PoolFailure,
    fee_pips_of,
    find_v4_ref,
    find_venue,
    read_pools,
    read_pools_settled,
)
from rebalancer.chain.snapshot import read_block
from rebalancer.cli import Group
from rebalancer.cli.format import WholeTable, console, print_json
from rebalancer.cli.options import address_option, json_option
from rebalancer.cli.session import Session
from rebalancer.errors import DeploymentMissing, SystemMissing, SystemRefused
from rebalancer.pool_files import save_pool
from rebalancer.send.journal_file import holder_of
from rebalancer.venues import PoolRef, PoolState
from rebalancer.venues.uniswap_v4 import v4_ref

__all__ = ["pool"]

_ADDRESS = r"0x[0-9a-fA-F]{40}"
_ID = re.compile(r"0x[0-9a-fA-F]{64}")
_KEY = re.compile(rf"({_ADDRESS})/({_ADDRESS})/(\d+)/(\d+)")


@click.group(cls=Group)
def pool() -> None:
    """Save a pool's state to a file, or make the keeper retry pools that are left out."""


@pool.command()
@click.argument("which", metavar="POOL")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Output file. An existing file is replaced.",
)
@click.option(
    "--block",
    "number",
    type=click.IntRange(min=0),
    show_default="the latest",
    help="Block number. Old blocks need an archive node.",
)
@address_option("--manager", "PoolManager of a Uniswap V4 pool.", "none")
@click.option(
    "--from-block",
    type=click.IntRange(min=0),
    default=0,
    help="First block to search for the ID of a Uniswap V4 pool.",
)
@click.option(
    "--fee-bps",
    type=click.IntRange(0, 9_999),
    default=30,
    help="Fee of a Uniswap V2 pair, in basis points. Forks differ, and a pair does not report its fee.",
)
@json_option
@click.pass_obj
def snapshot(
    options: Any,
    which: str,
    out: Path,
    number: int | None,
    manager: str | None,
    from_block: int,
    fee_bps: int,
    as_json: bool,
) -> None:
    """Save the full state of a pool at one block, read by block hash. Sends nothing.

    POOL is the address of a Uniswap V2 or V3, Balancer or Curve pool; its type is detected. docs/venues.md lists the supported
    types. A Uniswap V4 pool is named by its ID or by TOKEN0/TOKEN1/FEE/SPACING, with --manager; ether is 0x00…00. For
    Balancer and Curve pools, the quotes of the contract are compared with the computed ones before the file is written.
    """
    with Session.open(options) as session:
        session.rpc.chain_id()
        block = read_block(session.rpc, "latest" if number is None else number)
        ref = _ref(session, which, block, manager, from_block, fee_bps)
        (found,) = read_pools(session.rpc, [ref], block, session.settings.chain_id, lens=_lens(session))
        save_pool(found, out)
        if as_json:
            print_json({"pool": found.key, "name": found.name, "kind": found.kind, "block": block, "file": out})
            return
        console().print(f"{_described(found)}, at block {block.number}: {out}")


@pool.command()
@json_option
@click.pass_obj
def retry(options: Any, as_json: bool) -> None:
    """Read every pool in the addresses file, and make the keeper on this machine retry the pools that it leaves out.

    A keeper leaves a pool out while its swaps revert, while its state cannot be read, and after its state differed from
    its event logs. The keeper retries it at growing intervals; this command makes it retry in the next tick. For a
    keeper on another machine, or a fleet worker, send SIGHUP (`systemctl reload rebalancer`). Sends no transaction.
    """
    with Session.open(options) as session:
        block, refs = read_block(session.rpc), session.deployment.pools
        known = {token.address: token for token in session.tokens}
        found = read_pools_settled(
            session.rpc, refs, block, session.settings.chain_id, tokens=known, lens=_lens(session)
        )
        process = _request_retry(session.settings.keeper.outbox_file)
    reported = [
        (ref.key, "" if isinstance(one, PoolFailure) else _described(one), _why(one))
        for ref, one in zip(refs, found, strict=True)
    ]
    if as_json:
        pools = [{"pool": key, "name": name, "failure": why} for key, name, why in reported]
        print_json({"block": block, "pools": pools, "keeper_process": process})
        return
    table = WholeTable()
    for heading in ("pool", "description", "failure"):
        table.add_column(heading)
    for row in reported:
        table.add_row(*row)
    console().print(table)
    if process is None:
        console().print("No keeper runs on this machine. On another machine, send SIGHUP to the keeper there.")
    else:
        console().print(f"The keeper (process {process}) retries all pools in its next tick.")


def _why(found: PoolState | PoolFailure) -> str:
    return str(found) if isinstance(found, PoolFailure) else ""


def _request_retry(outbox: Path) -> int | None:
    """Send SIGHUP to the keeper that has an outbox open. Returns its process ID, or None if no such keeper runs.

    Raises:
        SystemRefused: the process belongs to another user.
    """
    process = holder_of(outbox)
    if process is None or not _takes_hangup(process):
        return None
    try:
        os.kill(process, signal.SIGHUP)
    except OSError as problem:
        why = problem.strerror or str(problem)
        advice = "run this as the user of the keeper, or run `systemctl reload rebalancer`"
        raise SystemRefused(f"The keeper (process {process}) cannot be signalled", why, advice) from None
    return process


def _takes_hangup(process: int) -> bool:
    """Whether a process handles SIGHUP. The signal would end any other command that has the outbox open."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (signal.SIGHUP - 1) & 1)


def _ref(
    session: Session,
    which: str,
    block: Block,
    manager: str | None,
    from_block: int,
    fee_bps: int,
) -> PoolRef:
    key = _KEY.fullmatch(which)
    if key or _ID.fullmatch(which):
        if manager is None:
            raise click.UsageError("A Uniswap V4 pool needs --manager, its PoolManager.")
        if key:
            return v4_ref(manager, key[1].lower(), key[2].lower(), int(key[3]), int(key[4]))
        return find_v4_ref(session.rpc, manager, which.lower(), from_block=from_block)
    if not re.fullmatch(_ADDRESS, which):
        raise click.UsageError(f"{which!r} is neither an address nor the ID or key of a Uniswap V4 pool.")
    address = which.lower()
    venue = find_venue(session.rpc, address, block)
    return PoolRef(address, fee_pips=fee_pips_of(venue, fee_bps), venue=venue.name)


def _lens(session: Session) -> str | None:
    """Address of UniswapV3Lens, or None if no addresses file names it."""
    try:
        return session.system.uniswap_v3_lens
    except (DeploymentMissing, SystemMissing):
        return None


def _described(found: PoolState) -> str:
    coins = ", ".join(token.symbol for token in found.tokens)
    return f"{found.name or found.kind} ({coins}; {found.kind})"
