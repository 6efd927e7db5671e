"""`rebalancer deploy`: the system onto the chain in the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from rebalancer.addresses import present, prove_writable
from rebalancer.chain.deployment import DeployedFeed, Deployment
from rebalancer.chain.wellknown import DEVNET_CHAIN_ID
from rebalancer.cli.session import Session, account_option, address_option, json_option
from rebalancer.cli.show import WholeTable, console, print_json
from rebalancer.cli.unsigned import refuses_unsigned
from rebalancer.deploy import System
from rebalancer.errors import AlreadyDeployed, ConfigError
from rebalancer.launch import (
    Governance,
    launch,
    read_chain,
    read_feeds,
    read_sequencer,
    read_sources,
)
from rebalancer.spec import FeedLine, load_chain_spec

__all__ = ["deploy"]

_DELAY_HOURS = 48


@click.command()
@click.option(
    "--chain",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="the addresses file",
    help="TOML file of the chain's tokens, pools and price sources, as chain.example.toml has them.",
)
@address_option("--admin", "Hands out roles and functions.", "who deploys")
@address_option("--owner", "Sets policy, oracle, feeds and fee.", "who deploys")
@address_option("--curator", "Sets targets and bands.", "the owner")
@address_option(
    "--guardian", "Pauses, tightens, revokes keepers, cancels what is scheduled.", "the owner"
)
@address_option("--keeper", "Rebalances.", "the owner")
@click.option(
    "--delay-hours",
    type=click.FloatRange(min=0, max=24 * 365),
    show_default=f"{_DELAY_HOURS}, on a local chain 0",
    help="How long owner, curator and admin wait for what they do.",
)
@click.option("--anew", is_flag=True, help="Deploy even if the addresses file names a system.")
@account_option
@refuses_unsigned(
    "the deployment of contracts",
    "deploy with an account that has a key, naming the Safe with --admin, --owner, --curator and --guardian; "
    "then `rebalancer admin accept --unsigned FILE --from SAFE` makes it the only admin",
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
    anew: bool,
    account: int | None,
    as_json: bool,
) -> None:
    """Deploy the system onto the chain in the settings, with its price sources and roles.

    The account in the settings pays, and stays an admin, who waits as the owner does, until the admin
    that is named accepts with `rebalancer admin accept`. The addresses file is written, or completed.
    """
    with Session.open(options) as session:
        wallet = session.wallet(account)
        file = session.settings.deployment
        if path is None:
            if not file.exists():
                why = (
                    "name the TOML file of this chain's tokens, pools and price sources (as chain.example.toml has them); "
                    f"there is no addresses file at {file} to take them from"
                )
                raise ConfigError("--chain", "", why)
            found = session.deployment
            if any(feed.aggregator is None for feed in found.feeds):
                # It does not hold ranges, quotes and second sources, and they must not be lost.
                raise ConfigError("--chain", "", "name the TOML file of this chain's price sources")
            spec = None
            lines = [_line(found, feed) for feed in found.feeds]
        else:
            spec = load_chain_spec(path)
            found = read_chain(session.rpc, spec)
            lines = list(spec.feeds)
            before = present(file, found.chain_id)
            if before is not None:
                found = replace(found, contracts=before.contracts)
        if not anew and "VaultFactory" in found.contracts:
            raise AlreadyDeployed(file)
        feeds = read_feeds(session.rpc, lines)
        sources = read_sources(session.rpc, spec.sources if spec else (), feeds)
        sequencer = spec.sequencer if spec else None
        read_sequencer(session.rpc, sequencer)

        boss = owner or wallet.address
        hours = delay_hours
        if hours is None:
            hours = 0 if session.settings.chain_id == DEVNET_CHAIN_ID else _DELAY_HOURS
        governance = Governance(
            admin or wallet.address,
            boss,
            curator or boss,
            guardian or boss,
            keeper or boss,
            int(hours * 3_600),
        )
        prove_writable(file)
        made = launch(wallet, found, feeds, governance, sources, sequencer)
        session.save(made)
    system = System.of(made)
    if as_json:
        print_json(
            {"chain_id": made.chain_id, "contracts": system.contracts(), "roles": governance}
        )
        return
    table = WholeTable(title=f"Deployed on chain {made.chain_id}", title_justify="left")
    table.add_column("contract")
    table.add_column("address")
    for name, address in system.contracts().items():
        table.add_row(name, address)
    out = console()
    out.print(table)
    out.print(f"{file} names them. Next: rebalancer vault create --spec vault.toml")
    if governance.admin != wallet.address:
        out.print(f"{governance.admin} becomes the only admin by: rebalancer admin accept")


def _line(found: Deployment, feed: DeployedFeed) -> FeedLine:
    """A feed of an addresses file, as a person would have named it."""
    token = found.listed(feed.token).address
    return FeedLine(token, feed.address, feed.heartbeat_seconds, feed.decimals, None, None)
