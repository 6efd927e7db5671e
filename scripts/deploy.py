"""Deploys the system with `ape run deploy --network …` and writes the addresses file.

The chain is the one Ape is connected to. Keys never pass through here: `--account N` is one of the local node's own accounts,
anything else is signed by the keystore that `--keystore` names, its password read from the file that `--password-file` names.
"""

from __future__ import annotations

from pathlib import Path

import ape
import click
from ape.cli import ConnectedProviderCommand

from rebalancer.addresses import present, prove_writable
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.rpc import Rpc
from rebalancer.deploy import Role, deploy_system, grant_roles
from rebalancer.errors import AddressesKept
from rebalancer.governance import lock_admin
from rebalancer.send.signer import KeystoreSigner, Signer, devnet_signer, password_from_file
from rebalancer.send.wallet import Wallet

GWEI = 10**9


@click.command(cls=ConnectedProviderCommand)
@click.option("--weth", help="Wrapped native token; on a local chain one is deployed when absent.")
@click.option("--account", type=int, default=0, show_default=True, help="Local node's account.")
@click.option(
    "--keystore", type=click.Path(path_type=Path), help="Encrypted key, instead of --account."
)
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="Its password, on the first line."
)
@click.option(
    "--delay-seconds",
    type=int,
    default=0,
    show_default=True,
    help="Owner's, curator's and admin's delay.",
)
@click.option(
    "--fee-cap-gwei", type=int, default=200, show_default=True, help="Most to pay per gas."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("deployment.json"),
    show_default=True,
    help="Addresses file to write.",
)
def cli(
    weth: str | None,
    account: int,
    keystore: Path | None,
    password_file: Path | None,
    delay_seconds: int,
    fee_cap_gwei: int,
    out: Path,
) -> None:
    """Deploy the system; the signing account becomes admin, owner, curator, guardian and keeper."""
    rpc = Rpc(str(ape.networks.active_provider.uri), timeout_s=60)
    wallet = Wallet(rpc, _signer(rpc, account, keystore, password_file), fee_cap_gwei * GWEI)
    if present(out, rpc.chain_id()) is not None:
        raise AddressesKept(out, "it names a deployment")
    prove_writable(out)
    native = weth or wallet.deploy("WETH9").address
    system = deploy_system(wallet, native, admin_delay_seconds=delay_seconds)
    roles = (Role.OWNER, Role.CURATOR, Role.GUARDIAN, Role.KEEPER)
    members = {role: [wallet.address] for role in roles}
    grant_roles(wallet, system.authority, members, delay_seconds)
    lock_admin(wallet, system, wallet.address, delay_seconds)
    Deployment(rpc.chain_id(), contracts=system.contracts()).save(out)
    for name, address in system.contracts().items():
        click.echo(f"{name:15} {address}")
    click.echo(f"addresses written to {out}")


def _signer(rpc: Rpc, account: int, keystore: Path | None, password_file: Path | None) -> Signer:
    if keystore is None:
        return devnet_signer(account, rpc.chain_id())
    if password_file is None:
        raise click.UsageError("--keystore needs --password-file")
    return KeystoreSigner.load(keystore, password_from_file(password_file))
