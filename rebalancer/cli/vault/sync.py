"""`rebalancer vault sync`: recording of a token's loss in the vault."""

from __future__ import annotations

from typing import Any

import click

from rebalancer.cli.format import amount, print_json
from rebalancer.cli.options import json_option, sending_options, vault_option
from rebalancer.cli.session import Session
from rebalancer.cli.vault.output import print_done
from rebalancer.operations import actions

__all__ = ["sync"]


@click.command()
@vault_option
@click.option("--token", required=True, help="Symbol or address of the token that lost balance.")
@sending_options
@json_option
@click.pass_obj
def sync(options: Any, vault: str | None, token: str, account: int | None, as_json: bool) -> None:
    """Record a loss of a token: holdings and open claims shrink in proportion.

    Any account may do this; a keeper does it by itself. A loss above the dust threshold blocks purchases of the token
    and pauses trading, until the owner calls allowPurchases and resumeRebalance (`rebalancer admin call`).
    """
    with Session.open(options) as session:
        known = session.token(token)
        written = actions.sync(session.wallet(account), session.vault(vault), known.address)
    if as_json:
        print_json(written)
        return
    lost = f"{amount(written.lost_raw, known.decimals)} {known.symbol}"
    barred = " Purchases of it are blocked, and trading is paused." if written.is_barred else ""
    print_done(f"Recorded a loss of {lost}.{barred}", written)
