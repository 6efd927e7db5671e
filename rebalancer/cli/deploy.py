"""`rebalancer deploy`: deployment of the contracts to the configured chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from rebalancer.chain.deployment import DeployedFeed, Deployment
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.chain.system import System
from rebalancer.cli.format import WholeTable, console, print_json
from rebalancer.cli.options import account_option, address_option, json_option
from rebalancer.cli.session import Session
from rebalancer.cli.unsigned import refuses_unsigned
from rebalancer.errors import (
    AlreadyDeployed,
    ConfigError,
    LaunchOfAnother,
    LaunchStopped,
    RebalancerError,
    SystemRefused,
)
from rebalancer.operations.addresses import present, prove_writable
from rebalancer.operations.deploy import SourceSpec
from rebalancer.operations.feeds import check_feeds, priced_pools
from rebalancer.operations.launch import (
    Governance,
    Launch,
    LaunchStep,
    check_admin,
    first_salt,
    gas_of,
    launch,
    prepare,
)
from rebalancer.operations.spec import FeedLine, SequencerLine, load_chain_spec
from rebalancer.operations.survey import (
    Priced,
    feed_claims,
    read_chain,
    read_feeds,
    read_sequencer,
    read_sources,
)
from rebalancer.send.fees import read_market
from rebalancer.units import E18
from rebalancer.wellknown import DEVNET_CHAIN_ID
from rebalancer.words import counted

__all__ = ["deploy"]

_DELAY_HOURS = 48


@click.command()
@click.option(
    "--chain",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="the addresses file",
    help="TOML file with the chain's tokens, pools and price sources, in the form of chain.example.toml.",
)
@address_option("--admin", "Account that grants and revokes roles.", "the deploying account")
@address_option("--owner", "Account that sets policy, oracle, feeds and fees.", "the deploying account")
@address_option("--curator", "Account that sets targets and bands.", "the owner")
@address_option(
    "--guardian",
    "Account that pauses, tightens limits, grants and revokes keepers, and cancels scheduled calls.",
    "the owner",
)
@address_option("--keeper", "Account that rebalances.", "the owner")
@click.option(
    "--delay-hours",
    type=click.FloatRange(min=0, max=24 * 365),
    show_default=f"{_DELAY_HOURS}, or 0 on a local chain",
    help="Delay between scheduling and executing a call of owner, curator and admin, in hours.",
)
@click.option("--redeploy", is_flag=True, help="Deploy again, even if the addresses file contains a deployment.")
@click.option("--plan", "only_plan", is_flag=True, help="Show all calls and their gas. Send nothing.")
@account_option
@refuses_unsigned(
    "the deployment of contracts",
    "deploy with an account that has a key, and name the Safe with --admin, --owner, --curator and --guardian; "
    "the Safe is the only admin after the deployment",
)
@json_option
@click.pass_obj
def deploy(
    options: Any,
    path: Path | None,
    admin: str | None,
    owner: str | None,
    curator: str | None,
    guardian: str | None,
    keeper: str | None,
    delay_hours: float | None,
    redeploy: bool,
    only_plan: bool,
    account: int | None,
    as_json: bool,
) -> None:
    """Deploy the contracts, with price sources and roles, to the configured chain.

    The wallet account pays. The last transaction transfers control to the admin; the account keeps only the roles that
    the options give it. The addresses file is written before each transaction, so the same command resumes after an
    interruption. One account deploys to the same addresses on every chain, except for contracts that depend on the
    chain.
    """
    with Session.open(options) as session:
        wallet = session.wallet(account, signs=not only_plan)
        file = session.settings.deployment
        world = _survey(session, path, redeploy)
        found = world.found
        hours = delay_hours
        if hours is None:
            hours = 0 if session.settings.chain_id == DEVNET_CHAIN_ID else _DELAY_HOURS
        default = owner or wallet.address
        governance = Governance(
            admin or wallet.address,
            default,
            curator or default,
            guardian or default,
            keeper or default,
            int(hours * 3_600),
        )
        if governance.admin != wallet.address:
            check_admin(session.rpc, governance.admin)
        plan = prepare(
            *(wallet.address, found.wrapped_native, world.feeds, governance, world.sources),
            world.sequencer,
            _salt(session.rpc, found, file, wallet.address, redeploy),
        )
        if only_plan:
            _show_plan(session, plan, as_json)
            return
        prove_writable(file)
        kept: list[Deployment] = []

        def keep(state: Deployment) -> None:
            session.save(state)
            kept.append(state)

        try:
            made = launch(wallet, found, plan, keep)
        except SystemRefused:
            raise
        except RebalancerError as cause:
            if not kept:
                raise
            raise LaunchStopped(cause, len(kept) - 1, file) from cause
    system = System.of(made)
    if as_json:
        print_json({"chain_id": made.chain_id, "contracts": system.contracts(), "roles": governance})
        return
    table = WholeTable(title=f"Deployed on chain {made.chain_id}", title_justify="left")
    table.add_column("contract")
    table.add_column("address")
    for name, address in system.contracts().items():
        table.add_row(name, address)
    out = console()
    out.print(table)
    if world.unseen:
        out.print(f"No listed pool confirms the price of {', '.join(world.unseen)}.")
    if governance.admin != wallet.address:
        out.print(f"{governance.admin} is now the only admin; {wallet.address} is no longer an admin.")
    out.print(f"{file} contains all addresses. Next: rebalancer vault create --spec vault.toml")


@dataclass(frozen=True, slots=True)
class _World:
    """Tokens, pools and price sources of the chain. `unseen` holds the symbols whose prices no pool confirms."""

    found: Deployment
    feeds: dict[str, Priced]
    sources: dict[str, SourceSpec]
    sequencer: SequencerLine | None
    unseen: tuple[str, ...]


def _survey(session: Session, path: Path | None, redeploy: bool) -> _World:
    """The parts that the chain file names, or the addresses file of a local chain, checked one by one and together.

    Raises:
        AlreadyDeployed: the addresses file names a system, and `redeploy` is false.
        ConfigError, ContractMissing, PoolUnsound, FeedUnsound, SourceUnsound, SequencerUnwatched: a check failed.
    """
    file, rpc = session.settings.deployment, session.rpc
    if path is None:
        if not file.exists():
            why = (
                "give a TOML file with this chain's tokens, pools and price sources, as in chain.example.toml; "
                f"there is no addresses file at {file} to read them from"
            )
            raise ConfigError("--chain", "", why)
        found = session.deployment
        if any(feed.aggregator is None for feed in found.feeds):
            # The addresses file lacks ranges, quotes and second sources, which must not be lost.
            raise ConfigError("--chain", "", "give the TOML file with this chain's price sources")
        spec = None
        lines = [_line(found, feed) for feed in found.feeds]
    else:
        spec = load_chain_spec(path)
        found = read_chain(rpc, spec)
        lines = list(spec.feeds)
        before = present(file, found.chain_id)
        if before is not None:
            found = replace(
                found,
                contracts=before.contracts,
                block=before.block,
                unfinished=before.unfinished,
            )
    if "VaultFactory" in found.contracts and found.unfinished is None and not redeploy:
        raise AlreadyDeployed(file)
    feeds = read_feeds(rpc, lines)
    sources = read_sources(rpc, spec.sources if spec else (), feeds)
    sequencer = spec.sequencer if spec else None
    read_sequencer(rpc, sequencer)
    prices_e18 = {token: priced.price_e18 for token, priced in feeds.items()}
    pools = priced_pools(rpc, found, read_block(rpc))
    claims = feed_claims(lines, found)
    unseen = check_feeds(rpc, claims, prices_e18, pools)
    symbols = tuple(claim.symbol for claim in claims if claim.token in unseen)
    return _World(found, feeds, sources, sequencer, symbols)


def _salt(rpc: Rpc, found: Deployment, file: Path, deployer: str, redeploy: bool) -> int:
    """The salt of the unfinished launch; without one, that of the account's first launch, or with `redeploy` its next.

    Raises:
        LaunchOfAnother: another account started the unfinished launch.
    """
    begun = found.unfinished
    if begun is not None and begun.deployer == deployer:
        return begun.salt
    if redeploy:
        return first_salt(rpc, deployer)
    if begun is not None:
        raise LaunchOfAnother(file, begun.deployer, deployer)
    return 0


def _show_plan(session: Session, plan: Launch, as_json: bool) -> None:
    """Show all transactions with their calls and gas, and their total cost at the current gas price."""
    rpc = session.rpc
    left = plan.left(rpc)
    used = dict(zip(left, gas_of(rpc, plan.deployer, left), strict=True))
    total = sum(gas or 0 for gas in used.values())
    cost_wei = total * read_market(rpc).usual_price_wei
    steps = (*plan.creations, *plan.handing_over)
    if as_json:
        print_json(
            {
                "deployer": plan.deployer,
                "salt": plan.salt,
                "contracts": plan.system.contracts(),
                "transactions": [
                    {
                        "to": step.to,
                        "what": step.what,
                        "calls": step.calls,
                        "gas": used.get(step),
                        "done": step not in used,
                    }
                    for step in steps
                ],
                "gas": total,
                "cost_wei": cost_wei,
            }
        )
        return
    out = console()
    out.print(_plan_table(steps, used))
    unknown = sum(gas is None for gas in used.values())
    more = f" without {counted(unknown, 'transaction')} that the node cannot estimate" if unknown else ""
    out.print(f"Total: {total:,} gas{more}, {cost_wei / E18:.6f} ether at the current gas price. Nothing was sent.")


def _plan_table(steps: Sequence[LaunchStep], used: dict[LaunchStep, int | None]) -> WholeTable:
    table = WholeTable(title="Transactions, in order", title_justify="left")
    table.add_column("transaction")
    table.add_column("contract or calls", overflow="fold")
    table.add_column("gas", justify="right")
    for step in steps:
        gas = used.get(step)
        status = "done" if step not in used else "unknown" if gas is None else f"{gas:,}"
        table.add_row(step.what, step.makes[1] if step.makes else step.calls[0], status)
        for call in step.calls[1:]:
            table.add_row("", call, "")
    return table


def _line(found: Deployment, feed: DeployedFeed) -> FeedLine:
    """A feed of the addresses file, in the form of the chain file."""
    token = found.listed(feed.token).address
    return FeedLine(
        *(token, feed.address, feed.heartbeat_seconds, feed.decimals, None, None),
        description=feed.description,
    )
