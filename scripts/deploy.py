"""`rebalancer deploy` on the chain that Ape is connected to: `ape run deploy --network … --chain FILE`, with all options of that command.

Only the endpoint and the chain come from Ape. Everything else, the account that signs among it, comes from the settings.
"""

from __future__ import annotations

import ape
import click
from ape.cli import ConnectedProviderCommand

from rebalancer.chain.rpc import Rpc
from rebalancer.cli.main import root


@click.command(cls=ConnectedProviderCommand, context_settings={"ignore_unknown_options": True})
@click.option("--deployment", metavar="FILE", help="Addresses file, if not the settings'.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def cli(deployment: str | None, options: tuple[str, ...]) -> None:
    """Deploy the system: the options are those of `rebalancer deploy`; see `rebalancer deploy --help`."""
    url = str(ape.networks.active_provider.uri)
    with Rpc(url, timeout_s=60) as rpc:  # Ape calls every local chain 1337
        where = ["--rpc-url", url, "--chain-id", str(rpc.chain_id())]
    if deployment is not None:
        where += ["--deployment", deployment]
    root.main(args=[*where, "deploy", *options], prog_name="rebalancer")
