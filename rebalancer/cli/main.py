"""Program `rebalancer`: its commands, the options before the command, error messages and exit codes.

Commands are imported when they run, so that help and shell completion are fast. Every expected failure, including an
error of the operating system, prints one sentence on standard error (an object with --json) and exits with the code of
its error class. 130 means that the user aborted the command, 70 that this program has a bug.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import click

from rebalancer.cli import JSON_REQUESTED, Group, Options
from rebalancer.texts import safe_text

__all__ = ["main", "root"]

EXIT_BUG = 70
"""EX_SOFTWARE of sysexits.h."""

_LONGEST_ERROR = 5_000
"""Maximum length of an error sentence, in characters."""

EXIT_ABANDONED = 130
"""128 + SIGINT, as in shells."""


@dataclass(frozen=True)
class _Lazy:
    """Location of a command, and its help in one line."""

    module: str
    name: str
    help: str


_COMMANDS: Mapping[str, _Lazy] = {
    "demo": _Lazy("demo", "demo", "Run a vault from deposit to withdrawal on a local chain, and report it."),
    "devnet": _Lazy("devnet", "devnet", "Run a local chain with a market and a vault."),
    "deploy": _Lazy("deploy", "deploy", "Deploy the contracts to the configured chain."),
    "prices": _Lazy("prices", "prices", "Show the price of each token from each of its sources."),
    "admin": _Lazy("admin", "admin", "Show roles and scheduled calls; make, schedule or cancel a change."),
    "vault": _Lazy("vault", "vault", "Create vaults, show them, deposit, withdraw, set targets and bands."),
    "plan": _Lazy("plan", "plan", "Show the trades that the keeper would make now. Sends nothing."),
    "pool": _Lazy("pool", "pool", "Save a pool's state to a file, or make the keeper retry pools that are left out."),
    "keeper": _Lazy("keeper", "keeper", "Run the keeper, which rebalances vaults."),
    "replay": _Lazy(
        "replay",
        "replay_command",
        "Repeat the decisions of a recorded run and show the differences.",
    ),
    "status": _Lazy("status", "status", "Show the state of a running keeper, updated live."),
    "fleet": _Lazy("fleet", "fleet", "Run the keeper on several machines: workers evaluate, one leader sends."),
    "tx": _Lazy("tx", "tx", "List the keeper's transactions, cancel one, or clear stuck nonces."),
    "doctor": _Lazy("doctor", "doctor", "Check the settings, and show how to fix each problem."),
}


class _Root(Group):
    """The root command. It alone turns failures into sentences and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's)
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's)
        lazy = _COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        found: click.Command = getattr(import_module(f"rebalancer.cli.{lazy.module}"), lazy.name)
        return found

    def _purpose(self, ctx: click.Context, name: str) -> str:  # noqa: ARG002 (no command is imported for it)
        return _COMMANDS[name].help

    def invoke(self, ctx: click.Context) -> Any:
        from rebalancer.errors import RebalancerError, SystemRefused

        try:
            return super().invoke(ctx)
        except (RebalancerError, OSError) as error:
            from rebalancer.cli.remedies import sentence

            # The reader of a pipe has closed it: click then exits quietly.
            if ctx.params["debug"] or isinstance(error, BrokenPipeError):
                raise
            reported = SystemRefused.of(error) if isinstance(error, OSError) else error
            _print_error(ctx, type(reported).__name__, sentence(reported), reported.exit_code)
            ctx.exit(reported.exit_code)
        except KeyboardInterrupt as stop:
            # Notes of the interrupted code: a pending transaction, an allowance.
            notes = [_without_secrets(ctx, note) for note in getattr(stop, "__notes__", ())]
            click.echo(" ".join(("Aborted.", *notes)), err=True)
            ctx.exit(EXIT_ABANDONED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            what = (
                f"This is a bug in rebalancer ({type(error).__name__}: {error}): "
                "run the command again as `rebalancer --debug …` and report the traceback."
            )
            _print_error(ctx, type(error).__name__, what, EXIT_BUG)
            ctx.exit(EXIT_BUG)


def _print_error(ctx: click.Context, kind: str, text: str, exit_code: int) -> None:
    """Print one line on standard error: a sentence, or with --json an object."""
    text = safe_text(_without_secrets(ctx, text), _LONGEST_ERROR)
    if ctx.meta.get(JSON_REQUESTED):
        text = json.dumps({"error": kind, "sentence": text, "exit_code": exit_code})
        click.echo(text, err=True)
    else:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True)


def _without_secrets(ctx: click.Context, text: str) -> str:
    """A text without the secrets of the settings, which a node or a library may have put into it."""
    from rebalancer.cli.session import read_chains
    from rebalancer.errors import RebalancerError
    from rebalancer.redact import Redactor

    if ctx.obj is None:
        return text  # no settings were read yet
    try:
        return Redactor.of(*read_chains(ctx.obj))(text)
    except RebalancerError:
        return text  # invalid settings were never used


@click.group(
    cls=_Root,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
        "auto_envvar_prefix": None,
    },
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="rebalancer.toml, if it exists",
    help="TOML file with settings.",
)
@click.option(
    "--rpc-url",
    show_default="from the settings",
    help="JSON-RPC endpoint. Other users can see command lines: put a URL that contains a key in .env.",
)
@click.option(
    "--chain-id",
    type=int,
    show_default="from the settings",
    help="Chain ID that the endpoint must serve.",
)
@click.option(
    "--deployment",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="from the settings",
    help="Addresses file of the deployed contracts.",
)
@click.option("--debug", is_flag=True, help="Show the Python traceback of an error.")
@click.version_option(package_name="rebalancer", message="%(prog)s %(version)s")
@click.pass_context
def root(
    ctx: click.Context,
    config: Path | None,
    rpc_url: str | None,
    chain_id: int | None,
    deployment: Path | None,
    debug: bool,
) -> None:
    """Vaults that hold tokens at target weights, and the keeper that rebalances them.

    Settings come from these options, the environment (REBALANCER_…), .env and rebalancer.toml, in this order of
    precedence. `rebalancer doctor` checks them.
    """
    # No core dumps, of this process or of its children: they could contain a key or a password.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctx.obj = Options(config, rpc_url, chain_id, deployment, debug)


def main() -> NoReturn:
    """The program `rebalancer`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # replaces characters that the terminal cannot show
    root.main(args=sys.argv[1:], prog_name="rebalancer")
    raise AssertionError("click ends the program")
