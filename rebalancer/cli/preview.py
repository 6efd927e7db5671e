"""Previews and positions for people and programs, and the confirmation before a transaction."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click
from rich.console import Console
from rich.text import Text

from rebalancer.cli.format import amount, console, pairs, percent, print_json, usd
from rebalancer.cli.session import Session
from rebalancer.errors import InsufficientEther
from rebalancer.operations.actions import Confirm
from rebalancer.operations.preview import Position, Preview
from rebalancer.units import E18, SHARE_DECIMALS
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = ["OnlyPreviewed", "confirmer", "show_position"]

_ETHER_DECIMALS = 18
_UNKNOWN = "unknown: a price is not sound (`rebalancer prices`)"


class OnlyPreviewed(Exception):  # noqa: N818 (not an error: the dry run is complete)
    """End of a dry run, after its preview."""


def confirmer(session: Session, dry_run: bool, yes: bool, as_json: bool) -> Confirm:
    """A function that receives each preview before a transaction: it shows it, asks to confirm, or ends a dry run.

    Raises:
        UsageError: a confirmation is necessary, and standard input is not a terminal.
    """
    sends = not (dry_run or session.unsigned)
    due = sends and not yes and session.settings.chain_id != DEVNET_CHAIN_ID
    if due and not sys.stdin.isatty():
        raise click.UsageError(
            f"Chain {session.settings.chain_id} is not a devnet: add --yes, or run this in a terminal to confirm. "
            "--dry-run shows the preview."
        )

    def confirm(preview: Preview) -> None:
        if as_json and dry_run:
            print_json(preview)
        elif not as_json or due:
            _show(
                session,
                preview,
                Console(stderr=True, markup=False, emoji=False) if as_json else console(),
            )
        if preview.lacks_ether:
            lack = InsufficientEther(preview.account, preview.needed_wei, preview.ether_wei)
            if sends:
                raise lack
            click.echo(f"Warning: {lack}", err=True)
        if dry_run:
            raise OnlyPreviewed
        if due:
            click.confirm("Send the transactions?", abort=True, err=True)

    return confirm


def _show(session: Session, preview: Preview, out: Console) -> None:
    rows = pairs()
    lines = [
        ("pays", _amounts(session, preview.vault, preview.gives_raw)),
        ("", _bound("at most", session, preview, preview.at_most_raw, preview.gives_raw)),
        ("receives", _amounts(session, preview.vault, preview.gets_raw)),
        ("", _bound("at least", session, preview, preview.at_least_raw, preview.gets_raw)),
        ("at oracle prices", _against_oracle(preview)),
    ]
    if preview.swap_cost_e18 is not None and preview.swap_cost_e18:
        lines.append(("cost of swaps", usd(preview.swap_cost_e18)))
    for one in preview.approvals:
        what = _amounts(session, preview.vault, {one.token: one.amount_raw})
        gas = "" if one.gas is None else f" ({one.gas:,} gas)"
        lines.append(("approval", f"{what} to {one.spender}{gas}"))
    gas = "unknown until the approval" if preview.gas is None else f"{preview.gas:,}"
    lines.append(("gas", gas))
    if preview.cost_wei is not None:
        lines.append(("gas cost now", _cost(preview.cost_wei, preview.rollup_wei)))
    for label, value in lines:
        if value:
            rows.add_row(Text(label, style="dim"), value)
    out.print(rows)


def _bound(
    word: str,
    session: Session,
    preview: Preview,
    bound_raw: Mapping[str, int],
    raw: Mapping[str, int],
) -> str:
    return "" if bound_raw == raw else f"{word} {_amounts(session, preview.vault, bound_raw)}"


def _cost(cost_wei: int, rollup_wei: int | None) -> str:
    ether = f"{amount(cost_wei, _ETHER_DECIMALS, 12)} ether"
    if rollup_wei is None:
        return f"{ether}, plus the L1 data fee, which the chain does not report"
    if not rollup_wei:
        return ether
    part = amount(rollup_wei, _ETHER_DECIMALS, 12)
    return f"{ether}, including up to {part} of L1 data and operator fees"


def _against_oracle(preview: Preview) -> str:
    given, got = preview.given_e18, preview.got_e18
    if given is None or got is None:
        return _UNKNOWN
    part = f" ({percent(abs(got - given) * E18 // given)})" if given else ""
    which = "less" if got < given else "more"
    difference = f"{usd(abs(got - given))} {which}{part}" if got != given else "equal"
    return f"{usd(given)} for {usd(got)}: {difference}"


def _amounts(session: Session, vault: str, amounts_raw: Mapping[str, int]) -> str:
    return ", ".join(
        f"{amount(raw, SHARE_DECIMALS)} shares"
        if token == vault
        else f"{amount(raw, session.decimals(token))} {session.symbol(token)}"
        for token, raw in amounts_raw.items()
    )


def show_position(session: Session, found: Position) -> None:
    """Print what an account owns in a vault."""
    worth = _UNKNOWN if found.worth_e18 is None else usd(found.worth_e18)
    claims = _amounts(session, found.vault, found.claims_raw)
    if claims:
        value = "" if found.claims_e18 is None else f", value {usd(found.claims_e18)}"
        claims += f"{value}: `rebalancer vault claim` collects them"
    rows = pairs()
    for label, text in (
        ("holder", found.holder),
        ("vault", found.vault),
        ("shares", f"{amount(found.shares, SHARE_DECIMALS)}, {percent(found.part_e18, 4)} of the supply"),
        ("redeem for", _amounts(session, found.vault, found.content_raw)),
        ("value", worth),
        ("claims", claims or "none"),
        ("block", f"{found.block.number} ({found.block.hash})"),
    ):
        rows.add_row(Text(label, style="dim"), text)
    console().print(rows)
