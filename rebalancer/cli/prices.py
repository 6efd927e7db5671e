"""`rebalancer prices`: each token's price in the OracleHub, from each of its sources."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from rebalancer.chain.snapshot import read_block
from rebalancer.cli.format import NOTHING, WholeTable, bps_text, console, print_json, usd
from rebalancer.cli.options import json_option
from rebalancer.cli.session import Session
from rebalancer.operations.prices import PriceReading, read_prices
from rebalancer.oracle import Fault

__all__ = ["prices"]

_DECIMALS = 4


@click.command()
@click.option(
    "--token",
    "named",
    multiple=True,
    show_default="all in the addresses file",
    help="Symbol or address of a token. May be repeated.",
)
@json_option
@click.pass_obj
def prices(options: Any, named: tuple[str, ...], as_json: bool) -> None:
    """Show each token's price from its feed and its second source, and any fault.

    Changes nothing. A faulty price stops only rebalancing.
    """
    with Session.open(options) as session:
        known = session.deployment
        tokens = [known.listed(one) for one in named] if named else list(known.tokens)
        block = read_block(session.rpc)
        requested = [token.address for token in tokens]
        found = read_prices(session.rpc, session.system.oracle, requested, block, known.contracts)
        if as_json:
            print_json({"block": block, "prices": [_plain(reading) for reading in found]})
            return
        table = WholeTable(title=f"Prices at block {block.number}", title_justify="left")
        for heading in ("token", "feed", "second source", "divergence", "limit", "state"):
            table.add_column(heading, justify="right" if heading in ("divergence", "limit") else "left")
        for token, reading in zip(tokens, found, strict=True):
            table.add_row(token.symbol, *_row(reading))
        console().print(table)


def _plain(reading: PriceReading) -> dict[str, Any]:
    fields = {name: getattr(reading, name) for name in PriceReading.__slots__}
    sound = {
        "lo_e18": reading.fault,
        "hi_e18": reading.fault,
        "primary_e18": reading.primary_fault,
        "second_e18": reading.second_fault,
    }
    unknown = {name: None for name, fault in sound.items() if fault is not Fault.NONE}
    if reading.second is None:
        unknown["second_e18"] = None
    return {
        **fields,
        **unknown,
        "kind": reading.kind or "feed",
        "second": reading.second or "none",
        "sentence": reading.sentence,
    }


def _row(reading: PriceReading) -> tuple[str | Text, ...]:
    apart, limit = reading.divergence_bps, reading.max_divergence_bps
    colour = "green" if reading.fault is Fault.NONE else "red"
    return (
        _source(reading.kind, reading.primary_e18, reading.primary_fault),
        NOTHING if reading.second is None else _source(reading.second, reading.second_e18, reading.second_fault),
        NOTHING if apart is None else bps_text(apart),
        NOTHING if limit is None else bps_text(limit),
        Text(reading.sentence, style=colour),
    )


def _source(kind: str | None, price_e18: int, fault: Fault) -> Text:
    sound, head = fault is Fault.NONE, f"{kind} " if kind else ""
    return Text.assemble(head, usd(price_e18, _DECIMALS) if sound else (str(fault), "red"))
