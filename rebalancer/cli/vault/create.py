"""`rebalancer vault create`: creation of a vault from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from rebalancer.chain.contracts import contract_at
from rebalancer.cli.format import amount, console, print_json
from rebalancer.cli.options import json_option, sending_options
from rebalancer.cli.session import Session
from rebalancer.cli.vault.output import warn_of_minimums
from rebalancer.operations import actions
from rebalancer.operations.addresses import prove_writable
from rebalancer.operations.spec import load_vault_spec
from rebalancer.oracle import Fault
from rebalancer.settlement import Basket, Price
from rebalancer.units import SHARE_DECIMALS

__all__ = ["create"]


_FAULTS = tuple(Fault)


@click.command()
@click.option(
    "--spec",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file that describes the vault, in the form of vault.example.toml.",
)
@sending_options
@json_option
@click.pass_obj
def create(options: Any, path: Path, account: int | None, as_json: bool) -> None:
    """Create a vault from a file, make the first deposit, and transfer control to its roles.

    Any account may do this. The account pays the first deposit and receives the first shares, except for the part that
    is locked forever.
    """
    with Session.open(options) as session:
        wallet = session.wallet(account)
        factory = contract_at(session.rpc, "VaultFactory", session.system.factory)
        spec = load_vault_spec(
            path,
            session.deployment,
            fee_recipient=wallet.address,
            salt=factory.call("vaultCount"),
        )
        if session.unsigned:
            address = actions.vault_address(wallet, session.system, spec)
            session.notes.append(
                f"The vault will be at {address}; after its creation, add this address to `vaults` in the settings"
            )
        else:
            prove_writable(session.settings.deployment)
        oracle = contract_at(session.rpc, "OracleHub", session.system.oracle)
        prices = oracle.call("prices", [asset.token for asset in spec.assets])
        priced = tuple(Price(lo, hi, primary, _FAULTS[fault].value) for lo, hi, primary, fault in prices)
        basket = Basket(spec.assets, spec.seed_amounts, priced, dust_bps=spec.policy.dust_bps)
        warn_of_minimums(session, basket, spec.policy)
        made = actions.new_vault(wallet, session.system, spec)
        session.end_if_unsigned()
        session.save(session.deployment.with_vault(made.vault))
    if as_json:
        print_json(made)
        return
    out = console()
    out.print(Text.assemble("Created the vault ", (spec.name, "bold"), f" at {made.vault}."))
    out.print(
        f"{wallet.address} holds {amount(made.shares, SHARE_DECIMALS)} {spec.symbol}. "
        f"The address was added to {session.settings.deployment}."
    )
