"""`rebalancer vault status`: the status of a vault as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from rich.text import Text

from rebalancer.block import Block
from rebalancer.cli.format import (
    NOTHING,
    WholeTable,
    amount,
    bps_text,
    console,
    pairs,
    percent,
    print_json,
    usd,
)
from rebalancer.cli.options import json_option, vault_option
from rebalancer.cli.session import Session
from rebalancer.cli.vault.status_report import AssetStatus, VaultStatus, read_status
from rebalancer.operations.deploy import VaultFees
from rebalancer.units import SHARE_DECIMALS
from rebalancer.words import span, utc

__all__ = ["status"]


@click.command()
@vault_option
@json_option
@click.pass_obj
def status(options: Any, vault: str | None, as_json: bool) -> None:
    """Show a vault's holdings, its drift from the targets, and why it does or does not trade."""
    with Session.open(options) as session:
        found = read_status(session, session.vault(vault))
    if as_json:
        print_json(found)
    else:
        _show_status(found)


def _show_status(found: VaultStatus) -> None:
    table = WholeTable(title=f"{found.name} ({found.symbol})", title_justify="left")
    table.add_column("asset")
    for heading in ("held", "price", "value", "weight", "target", "band", "drift"):
        table.add_column(heading, justify="right")
    for asset in found.assets:
        held = amount(asset.held_raw, asset.decimals, 8)
        if asset.excluded:
            table.add_row(asset.symbol, held, Text("excluded", style="yellow"), *[NOTHING] * 5)
            continue
        sound = asset.value_e18 is not None
        table.add_row(
            asset.symbol,
            held,
            Text(asset.fault, style="red") if asset.price_e18 is None else usd(asset.price_e18),
            usd(asset.value_e18 or 0) if sound else NOTHING,
            percent(asset.weight_e18 or 0) if sound else NOTHING,
            _target(asset),
            f"± {percent(asset.band_e18)}",
            _drift(asset.drift_e18, asset.band_e18),
        )
    out = console()
    out.print(table)
    for asset in found.assets:
        for note in _losses(asset):
            out.print(note)
    colours = {"InBand": "green", "BandBroken": "yellow", "CalendarDue": "yellow"}
    colour = colours.get(found.reason, "red")
    out.print(Text.assemble((found.reason, colour), f": {found.sentence}."))
    gliding = found.block.timestamp < found.glide_end
    lines = (
        ("vault", found.vault),
        ("value", _value(found)),
        ("supply", f"{amount(found.total_supply, SHARE_DECIMALS, 6)} {found.symbol}"),
        ("slippage allowed now", percent(found.slippage_limit_e18)),
        ("loss budget left", f"{percent(found.loss_left_e18)} of the basket"),
        ("turnover budget left", f"{percent(found.turnover_left_e18)} of the basket"),
        ("epoch", f"{found.epoch} (rebalances and configuration changes so far)"),
        ("targets glide until", _moment(found.block, found.glide_end) if gliding else ""),
        ("due since", _moment(found.block, found.due_since)),
        ("open to any account from", _moment(found.block, found.opens_at)),
        ("fees", f"{_fees(found.fees)}, to {found.fee_recipient}"),
        ("block", f"{found.block.number} ({found.block.hash})"),
    )
    rows = pairs()
    for label, value in lines:
        if value:
            rows.add_row(Text(label, style="dim"), value)
    out.print(rows)


def _value(found: VaultStatus) -> str | Text:
    if found.total_e18 is None or found.share_price_e18 is None:
        return Text.assemble(("unknown", "red"), f": {found.unknown}")
    return f"{usd(found.total_e18)}, {usd(found.share_price_e18, 6)} per share"


def _losses(asset: AssetStatus) -> Iterator[Text]:
    """Notes on an asset: missing balance, blocked purchases, open claims."""
    if asset.missing_raw:
        missing = f"{amount(asset.missing_raw, asset.decimals)} {asset.symbol}"
        why = f"{missing} is missing from the vault: record the loss with `rebalancer vault sync`."
        yield Text(why, style="red")
    if asset.barred:
        why = f"{asset.symbol} lost balance: purchases are blocked until the owner calls allowPurchases."
        yield Text(why, style="red")
    if asset.claims_raw:
        claims = f"{amount(asset.claims_raw, asset.decimals)} {asset.symbol}"
        why = f"{claims} is owed to former holders: `rebalancer vault claim` pays it."
        yield Text(why, style="yellow")


def _target(asset: AssetStatus) -> str:
    """The current target, and the final target while it glides."""
    if asset.target_e18 == asset.end_target_e18:
        return percent(asset.target_e18)
    return f"{percent(asset.target_e18)} → {percent(asset.end_target_e18)}"


def _moment(block: Block, at: int) -> str:
    """A time and its distance from the block; "" for 0."""
    if at == 0:
        return ""
    seconds = at - block.timestamp
    when = f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"
    return f"{utc(at)} ({when})"


def _fees(fees: VaultFees) -> str:
    parts = [f"{bps_text(fees.streaming_bps)} per year"]
    for bps, what in (
        (fees.performance_bps, "of gains"),
        (fees.entry_bps, "on entry"),
        (fees.exit_bps, "on exit"),
    ):
        if bps:
            parts.append(f"{bps_text(bps)} {what}")
    return ", ".join(parts)


def _drift(drift_e18: int | None, band_e18: int) -> str | Text:
    if drift_e18 is None:
        return NOTHING
    outside = abs(drift_e18) > band_e18
    style = "yellow" if outside else "green"
    return Text(percent(drift_e18, plus=True), style=style)
