"""Command line: it turns options into calls. This module holds what all commands share."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path

import click

__all__ = ["JSON_REQUESTED", "Group", "Options"]

JSON_REQUESTED = "rebalancer.json"
"""Key of a context's `meta`: whether the command was called with --json."""


@dataclass(frozen=True)
class Options:
    """Options before the command. They override the environment, `.env` and the TOML file."""

    config: Path | None = None
    rpc_url: str | None = None
    chain_id: int | None = None
    deployment: Path | None = None
    debug: bool = False


class Group(click.Group):
    """A command group whose help shows the full first paragraph of each command's help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._purpose(ctx, name)) for name in self.list_commands(ctx)])

    def _purpose(self, ctx: click.Context, name: str) -> str:
        """The first paragraph of a command's help, in one line."""
        command = self.get_command(ctx, name)
        shown = cleandoc((command and command.help) or "")
        return " ".join(shown.partition("\n\n")[0].split())
