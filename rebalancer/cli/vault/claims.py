"""`rebalancer vault position` and `claim`: an account's shares, and tokens that the vault owes it."""

from __future__ import annotations

from typing import Any

import click

from rebalancer.chain.receipt import NoLogs
from rebalancer.cli.format import amount, print_json
from rebalancer.cli.options import (
    account_option,
    address_option,
    json_option,
    sending_options,
    vault_option,
)
from rebalancer.cli.preview import show_position
from rebalancer.cli.session import Session
from rebalancer.cli.vault.output import print_done
from rebalancer.errors import ContractReverted, NothingToClaim
from rebalancer.operations import actions
from rebalancer.operations.preview import Position, read_position
from rebalancer.operations.spec import parse_amount

__all__ = ["claim", "position"]


@click.command()
@vault_option
@address_option("--address", "Account whose shares and claims are shown.", "the account in the settings")
@account_option
@json_option
@click.pass_obj
def position(options: Any, vault: str | None, address: str | None, account: int | None, as_json: bool) -> None:
    """Show an account's shares in a vault, the assets they redeem for, their value, and open claims. Needs no key."""
    with Session.open(options) as session:
        holder = address or session.observer(session.settings.wallet, account).address
        found = _position(session, session.vault(vault), holder)
        if as_json:
            print_json(found)
        else:
            show_position(session, found)


@click.command()
@vault_option
@click.option(
    "--token",
    show_default="all tokens with a claim",
    help="Symbol or address of the token to collect.",
)
@click.option(
    "--amount",
    "wanted",
    show_default="all",
    help="Maximum amount to collect, in whole tokens. Only with --token.",
)
@address_option(
    "--holder",
    "Owner of the claim. Any account may collect a claim for its owner.",
    "the sending account",
)
@address_option(
    "--receiver",
    "Account that receives the tokens. Only the holder may name another account.",
    "the holder",
)
@sending_options
@json_option
@click.pass_obj
def claim(
    options: Any,
    vault: str | None,
    token: str | None,
    wanted: str | None,
    holder: str | None,
    receiver: str | None,
    account: int | None,
    as_json: bool,
) -> None:
    """Collect tokens that could not be transferred when shares were redeemed. `rebalancer vault position` lists them.

    If a token still cannot be transferred, the command collects the others and ends with that token's error.
    """
    if token is None and wanted is not None:
        raise click.UsageError("--amount needs --token.")
    with Session.open(options) as session:
        wallet, address = session.wallet(account), session.vault(vault)
        known = None if token is None else session.token(token)
        if known is None:
            owed = list(_position(session, address, holder or wallet.address).claims_raw)
            if not owed:
                raise NothingToClaim(holder or wallet.address, "any token")
        else:
            owed = [known.address]
        most = None if known is None or wanted is None else parse_amount(wanted, known.decimals)
        claimed, refusals = [], []
        for each in owed:
            try:
                one = actions.claim(wallet, address, each, holder=holder, receiver=receiver, amount_raw=most)
                claimed.append(one)
            except ContractReverted as refused:
                refusals.append(refused)
            except NoLogs:
                continue  # the call was recorded for --unsigned
        session.notes += [f"A claim is omitted because it would revert now: {str(one).rstrip('.')}" for one in refusals]
        session.end_if_unsigned()
        if as_json:
            if token is None or claimed:
                print_json(claimed if token is None else claimed[0])
        else:
            for one in claimed:
                symbol, decimals = session.symbol(one.token), session.decimals(one.token)
                collected = f"{amount(one.amount_raw, decimals)} {symbol}"
                print_done(f"Collected {collected} for {one.receiver}.", one)
        if refusals:
            raise refusals[0]


def _position(session: Session, vault: str, holder: str) -> Position:
    others = [token.address for token in session.deployment.tokens]
    return read_position(session.rpc, vault, holder, others)
