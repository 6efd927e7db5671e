"""`rebalancer doctor`: check of the settings, with a fix for each problem."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
from rich.text import Text

from rebalancer.cli.format import console, print_json
from rebalancer.cli.options import json_option
from rebalancer.cli.session import read_chains
from rebalancer.errors import ConfigError
from rebalancer.operations.doctor import diagnose
from rebalancer.settings import Settings

__all__ = ["doctor"]

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the settings, and the files and contracts that they name, for each chain.

    Changes nothing. Exits with 1 if a check fails or cannot run.
    """
    found = _chains(ctx.obj)
    if isinstance(found, ConfigError):
        findings = diagnose(found)
    else:
        findings = [replace(one, chain_id=settings.chain_id) for settings in found for one in diagnose(settings)]
    if as_json:
        print_json(findings)
    else:
        out = console()
        chain_id = None
        for finding in findings:
            if finding.chain_id != chain_id and len({one.chain_id for one in findings}) > 1:
                out.print(Text(f"Chain {finding.chain_id}", style="bold"))
            chain_id = finding.chain_id
            mark = _MARKS[finding.ok]
            line = Text.assemble(mark, " ", (finding.check, "bold"), f"  {finding.sentence}")
            out.print(line, soft_wrap=True)
            if finding.remedy:
                out.print(f"    → {finding.remedy}", soft_wrap=True, style="yellow")
    if not all(finding.ok for finding in findings):
        ctx.exit(1)


def _chains(options: Any) -> tuple[Settings, ...] | ConfigError:
    try:
        return read_chains(options)
    except ConfigError as error:
        return error
