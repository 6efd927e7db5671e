"""`rebalancer doctor`: what is wrong with the settings, and how to mend it."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from rebalancer.cli.session import json_option, read_settings
from rebalancer.cli.show import console, print_json
from rebalancer.config import Settings
from rebalancer.doctor import diagnose
from rebalancer.errors import ConfigError

__all__ = ["doctor"]


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look through the settings and what they point at. Changes nothing; exits 1 if something is wrong."""
    findings = diagnose(_settings(ctx.obj))
    if as_json:
        print_json(findings)
    else:
        out = console()
        for finding in findings:
            mark = ("✓", "green") if finding.ok else ("✗", "red")
            line = Text.assemble(mark, " ", (finding.check, "bold"), f"  {finding.sentence}")
            out.print(line, soft_wrap=True)
            if finding.remedy:
                out.print(f"    → {finding.remedy}", soft_wrap=True, style="yellow")
    if not all(finding.ok for finding in findings):
        ctx.exit(1)


def _settings(options: Any) -> Settings | ConfigError:
    try:
        return read_settings(options)
    except ConfigError as error:
        return error
