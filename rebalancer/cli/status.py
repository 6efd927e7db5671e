"""`rebalancer status`: the state of a running keeper, redrawn every few seconds.

It requests only the keeper's `/status`: no node, no file, no secret. Ages use the keeper's clock.
"""

from __future__ import annotations

import json
import sys
import time
from http import HTTPStatus
from typing import Any

import click
import urllib3
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rebalancer.cli.format import console
from rebalancer.cli.options import json_option
from rebalancer.cli.session import read_chains
from rebalancer.cli.status_picture import State, picture
from rebalancer.errors import NoKeeperAnswers
from rebalancer.redact import endpoint_name
from rebalancer.texts import safe_json

__all__ = ["status"]

_ANSWER_SECONDS = 5.0


@click.command()
@click.option("--url", show_default="keeper.listen", help="URL of the keeper's HTTP server.")
@click.option(
    "--once",
    is_flag=True,
    help="Print the state once and exit. This is the default if the output is not a terminal.",
)
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(min=0.2, max=3_600),
    default=2.0,
    help="Update interval, in seconds.",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1, max=50),
    default=8,
    help="Maximum number of vaults and of decisions shown per chain.",
)
@json_option
@click.pass_obj
def status(options: Any, url: str | None, once: bool, seconds: float, rows: int, as_json: bool) -> None:
    """Show the state of a running keeper: chains, vaults, decisions, transactions, alarms.

    Ctrl-C ends this command; the keeper continues. `--json` prints the keeper's status once.
    """
    where = url or _where(read_chains(options)[0].keeper.listen)
    state = _ask(where)
    if as_json:
        click.echo(json.dumps(state, indent=2))
        return
    out = console()
    if once or not sys.stdout.isatty():
        out.print(picture(state, endpoint_name(where), rows, out.width))
        return
    try:
        _watch(out, where, state, seconds, rows)
    except KeyboardInterrupt:
        return


def _where(listen: str) -> str:
    if not listen:
        raise NoKeeperAnswers("any address", "keeper.listen is off in the settings")
    host, _, port = listen.rpartition(":")
    # A keeper that listens on all addresses also listens on loopback.
    return f"http://{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104 (no bind)


def _ask(where: str) -> State:
    """The keeper's status.

    Raises:
        NoKeeperAnswers: there is no answer, or the answer is not from a keeper.
    """
    shown = endpoint_name(where)
    try:
        answer = urllib3.request(
            "GET",
            where.rstrip("/") + "/status",
            retries=False,
            timeout=_ANSWER_SECONDS,
        )
        if answer.status == HTTPStatus.MISDIRECTED_REQUEST:
            why = "it refuses requests for this host name; add the name to keeper.allowed_hosts"
            raise NoKeeperAnswers(shown, why)
        state = safe_json(answer.json())
    except urllib3.exceptions.NewConnectionError:  # also a TimeoutError
        raise NoKeeperAnswers(shown, "the connection was refused") from None
    except urllib3.exceptions.TimeoutError:
        raise NoKeeperAnswers(shown, f"no answer within {_ANSWER_SECONDS:g} s") from None
    except (urllib3.exceptions.HTTPError, ValueError):
        raise NoKeeperAnswers(shown, "the answer is not JSON") from None
    if not isinstance(state, dict) or not isinstance(state.get("chains"), list):
        raise NoKeeperAnswers(shown, "the answer is not from a keeper")
    return state


def _watch(out: Console, where: str, state: State, seconds: float, rows: int) -> None:
    """Redraw until interrupted. If the keeper does not answer, show the error above the last picture and retry."""
    name = endpoint_name(where)
    with Live(console=out, screen=True, auto_refresh=False) as live:
        gone = ""
        while True:
            drawn = _fitting(out, state, name, rows)
            if gone:
                drawn = Group(Text(gone, style="bold red"), drawn)
            live.update(drawn, refresh=True)
            time.sleep(seconds)
            try:
                state, gone = _ask(where), ""
            except NoKeeperAnswers as lost:
                gone = str(lost)


def _fitting(out: Console, state: State, where: str, rows: int) -> RenderableType:
    """The picture with as many rows as fit on the terminal, at most `rows`."""
    while True:
        drawn = picture(state, where, rows, out.width)
        if rows == 1 or len(out.render_lines(drawn)) <= out.height:
            return drawn
        rows -= 1
