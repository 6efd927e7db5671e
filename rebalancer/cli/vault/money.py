"""`rebalancer vault deposit` and `withdraw`: tokens for shares and back, in kind or through the zap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import click

from rebalancer.chain.contracts import contract_at
from rebalancer.chain.snapshot import read_block
from rebalancer.cli.format import amount, console, print_json
from rebalancer.cli.options import F, json_option, sending_options, vault_option
from rebalancer.cli.preview import OnlyPreviewed, confirmer
from rebalancer.cli.session import Session
from rebalancer.cli.unsigned import valid_option
from rebalancer.cli.vault.output import print_done
from rebalancer.errors import NoShares
from rebalancer.operations import actions
from rebalancer.operations.spec import parse_amount
from rebalancer.units import BPS, SHARE_DECIMALS

__all__ = ["deposit", "withdraw"]


def _slippage_option(help_text: str) -> Callable[[F], F]:
    return click.option("--slippage-bps", type=click.IntRange(0, BPS), default=50, help=help_text)


_tolerance_option = click.option(
    "--tolerance-bps",
    type=click.IntRange(0, BPS),
    default=10,
    help="How much worse than in the preview the amounts in kind may be, in basis points.",
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="Show the preview and send nothing.")
_yes_option = click.option("--yes", is_flag=True, help="Send without asking for confirmation.")


@click.command()
@vault_option
@click.option("--shares", help="Number of shares to mint, paid with every asset in kind.")
@click.option("--token", help="Symbol or address of the one token to pay with, or ETH; the zap swaps it.")
@click.option(
    "--amount",
    "paid",
    help="Maximum amount of --token to pay, in whole tokens. max pays the whole balance, less the gas cost if it is "
    "ETH.",
)
@_slippage_option("Maximum slippage of the swaps, in basis points. Unused tokens are returned. Only with --token.")
@_tolerance_option
@_dry_run_option
@_yes_option
@valid_option
@sending_options
@json_option
@click.pass_obj
def deposit(
    options: Any,
    vault: str | None,
    shares: str | None,
    token: str | None,
    paid: str | None,
    slippage_bps: int,
    tolerance_bps: int,
    dry_run: bool,
    yes: bool,
    account: int | None,
    as_json: bool,
) -> None:
    """Deposit tokens for shares: every asset in kind (--shares), or one token (--token, --amount).

    Shows a preview, and on a chain other than a devnet asks for confirmation before it sends a transaction.
    """
    if (shares is None) == (token is None) or (token is None) != (paid is None):
        raise click.UsageError("Give either --shares N, or --token SYMBOL and --amount X.")
    with suppress(OnlyPreviewed), Session.open(options) as session:
        wallet, address = session.wallet(account, signs=not dry_run), session.vault(vault)
        confirm = confirmer(session, dry_run, yes, as_json)
        if shares is not None:
            minted = parse_amount(shares, SHARE_DECIMALS)
            in_kind = actions.deposit_in_kind(wallet, address, minted, tolerance_bps, confirm)
            session.end_if_unsigned()
            if as_json:
                print_json(in_kind)
                return
            given = _in_kind(session, address, in_kind.amounts)
            print_done(f"Minted {amount(in_kind.shares, SHARE_DECIMALS)} shares for {given}.", in_kind)
            return
        known = session.token(str(token))
        zapped = actions.deposit_token(
            wallet,
            session.system,
            address,
            known.address,
            None if paid == "max" else parse_amount(str(paid), known.decimals),
            session.pools(read_block(session.rpc)),
            slippage_bps,
            confirm,
        )
        session.end_if_unsigned()
        if as_json:
            print_json(zapped)
            return
        print_done(
            f"Minted {amount(zapped.shares, SHARE_DECIMALS)} shares for "
            f"{amount(zapped.amount_raw, known.decimals)} {known.symbol}"
            f"{_returned(session, zapped.returned)}.",
            zapped,
        )


@click.command()
@vault_option
@click.option("--shares", help="Number of shares to redeem.")
@click.option("--all", "everything", is_flag=True, help="Redeem all shares of the account.")
@click.option(
    "--token",
    show_default="every asset in kind",
    help="Symbol or address of the one token to receive, or ETH; the zap swaps the assets.",
)
@_slippage_option("Maximum slippage of the swaps, in basis points. Only with --token.")
@_tolerance_option
@_dry_run_option
@_yes_option
@valid_option
@sending_options
@json_option
@click.pass_obj
def withdraw(
    options: Any,
    vault: str | None,
    shares: str | None,
    everything: bool,
    token: str | None,
    slippage_bps: int,
    tolerance_bps: int,
    dry_run: bool,
    yes: bool,
    account: int | None,
    as_json: bool,
) -> None:
    """Redeem shares for tokens: every asset in kind, or one token (--token).

    Shows a preview, and on a chain other than a devnet asks for confirmation before it sends a transaction. Redeeming
    in kind depends on no price, role or exchange. An asset that cannot be transferred becomes a claim, which
    `rebalancer vault claim` collects.
    """
    if (shares is None) != everything:
        raise click.UsageError("Give either --shares N or --all.")
    with suppress(OnlyPreviewed), Session.open(options) as session:
        wallet, address = session.wallet(account, signs=not dry_run), session.vault(vault)
        confirm = confirmer(session, dry_run, yes, as_json)
        redeemed = (
            contract_at(session.rpc, "BasketVault", address).call("balanceOf", wallet.address)
            if shares is None
            else parse_amount(shares, SHARE_DECIMALS)
        )
        if everything and not redeemed:
            raise NoShares(wallet.address, address)
        if token is None:
            in_kind = actions.withdraw_in_kind(wallet, address, redeemed, tolerance_bps, confirm)
            session.end_if_unsigned()
            if as_json:
                print_json(in_kind)
                return
            got = _in_kind(session, address, in_kind.sent)
            print_done(f"Redeemed {amount(redeemed, SHARE_DECIMALS)} shares for {got}.", in_kind)
            for claimed, raw in in_kind.claims.items():
                owed = f"{amount(raw, session.decimals(claimed))} {session.symbol(claimed)}"
                console().print(
                    f"{owed} could not be transferred; collect it with `rebalancer vault claim`.",
                    style="yellow",
                )
            return
        known = session.token(token)
        zapped = actions.withdraw_token(
            wallet,
            session.system,
            address,
            known.address,
            redeemed,
            session.pools(read_block(session.rpc)),
            slippage_bps,
            confirm,
        )
        session.end_if_unsigned()
        if as_json:
            print_json(zapped)
            return
        print_done(
            f"Redeemed {amount(redeemed, SHARE_DECIMALS)} shares for "
            f"{amount(zapped.amount_raw, known.decimals)} {known.symbol}"
            f"{_returned(session, zapped.returned)}.",
            zapped,
        )


def _in_kind(session: Session, vault: str, amounts: Sequence[int]) -> str:
    assets = contract_at(session.rpc, "BasketVault", vault).call("assets")
    return ", ".join(
        f"{amount(raw, asset[3])} {session.symbol(asset[0])}" for asset, raw in zip(assets, amounts, strict=True)
    )


def _returned(session: Session, returned: Any) -> str:
    if not returned:
        return ""
    back = ", ".join(
        f"{amount(raw, session.decimals(token))} {session.symbol(token)}" for token, raw in returned.items()
    )
    return f"; {back} returned"
