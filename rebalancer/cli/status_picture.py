"""Picture of a running keeper's `/status` for a terminal.

Text of other programs is shown as plain text and cannot control the terminal. Ages use the keeper's clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rebalancer.cli.format import NOTHING, WholeTable, amount, bps_text
from rebalancer.reasons import Reason
from rebalancer.words import counted, span

__all__ = ["State", "picture"]

_ETHER_DECIMALS = 18
_DAY = 86_400
_WIDE = 140
"""Width in columns from which two tables are drawn side by side."""

_COLOURS: Mapping[str, str] = {
    Reason.IN_BAND: "green",
    Reason.REBALANCED: "bold green",
    Reason.IN_FLIGHT: "cyan",
    Reason.POKED: "cyan",
    Reason.SYNCED: "cyan",
    Reason.BAND_BROKEN: "yellow",
    Reason.CALENDAR_DUE: "yellow",
    Reason.BUDGET_SPENT: "yellow",
    Reason.NOT_SENT: "red",
    Reason.REVERTED: "red",
    Reason.HALTED: "red",
    Reason.PLAN_FAILED: "red",
    Reason.ORACLE_FAULT: "red",
    Reason.LOSS_NOT_WRITTEN_DOWN: "red",
    Reason.PURCHASES_BARRED: "red",
    Reason.SIMULATION_REFUSED: "red",
    Reason.TOTAL_OUT_OF_RANGE: "red",
    "critical": "bold red",
    "warning": "yellow",
    "info": "cyan",
}

State = Mapping[str, Any]
"""The JSON object of `/status`, or a part of it."""


def picture(state: State, where: str, rows: int, width: int) -> RenderableType:
    """The status of a keeper, drawn `width` columns wide, with at most `rows` rows per table."""
    now = float(state["at"])
    head = Text.assemble(
        ("rebalancer ", "bold"),
        f"{state['version']}  {where}  up {span(now - state['started_at'])}  ",
        time.strftime("%H:%M:%S UTC", time.gmtime(now)),
        "  ",
        ("not ready", "bold red") if state["problems"] else ("ready", "bold green"),
    )
    parts: list[RenderableType] = [head]
    parts += [Text(problem, style="red") for problem in state["problems"]]
    if state["alarms"]:
        parts.append(_alarms(state, now))
    parts += [_chain(chain, now, rows, width) for chain in state["chains"]]
    return Group(*parts)


def _alarms(state: State, now: float) -> RenderableType:
    table = _table("alarm", "chain", "subject", "for", "detail", title=None)
    for one in state["alarms"]:
        table.add_row(
            _coloured(one["alarm"], one["severity"]),
            str(one["chain_id"]),
            one["subject"] or NOTHING,
            span(now - one["since"]),
            one["text"],
        )
    more = state["alarms_on"] - len(state["alarms"])
    title = "Alarms" + (f" ({more} more)" if more > 0 else "")
    return Panel(table, title=Text(title), title_align="left", border_style="red", box=box.ROUNDED)


def _chain(chain: State, now: float, rows: int, width: int) -> RenderableType:
    if not chain["ticks"]:
        waiting = Text("no tick yet", style="yellow")
        return Panel(waiting, title=Text(f"Chain {chain['chain_id']}"), title_align="left")
    block = chain["block"]
    title = f"Chain {chain['chain_id']}"
    if block:
        title += f" · block {block['number']:,} · {_age(block['timestamp'], now)}"
    parts: list[RenderableType] = [_tick(chain, now)]
    if chain["failure"]:
        parts.append(Text(f"last failure: {chain['failure']}", style="red"))
    parts.append(_vaults(chain))
    parts.append(_in_flight(chain))
    endpoints, signers = _endpoints(chain), _signers(chain)
    if width >= _WIDE:
        side_by_side = Table.grid(padding=(0, 4))
        side_by_side.add_row(endpoints, signers)
        parts.append(side_by_side)
    else:
        parts += [endpoints, signers]
    if chain["breakers"]:
        parts.append(_breakers(chain, now))
    if chain["left_out"]:
        parts.append(_left_out(chain, now))
    for name, key, count in (
        ("Pools left out because their cached state differs from the chain", "diverged_pools", "pools_diverged"),
        ("Vaults whose cached state differed from the chain", "differing_vaults", "vaults_differing"),
    ):
        if chain[count]:
            listed = ", ".join(chain[key][:rows])
            more = f" and {chain[count] - rows} more" if chain[count] > rows else ""
            parts.append(Text(f"{name}: {listed}{more}", style="red"))
    if chain["furthest"]:
        parts.append(_furthest(chain["furthest"][:rows]))
    if chain["decisions"]:
        parts.append(_decisions(chain["decisions"][:rows], now))
    return Panel(
        Group(*parts),
        title=Text(title),
        title_align="left",
        border_style="red" if chain["failure"] else "dim",
        box=box.ROUNDED,
    )


def _tick(chain: State, now: float) -> Text:
    parts = [
        f"last tick {span(now - chain['at'])} ago, took {chain['seconds']:.2f} s",
        counted(chain["requests"], "request"),
        f"{counted(chain['candidates'], 'vault')} read, {chain['planned']:,} planned",
        "WebSocket" if chain["subscribed"] else "polling",
    ]
    text = Text("  ".join(parts))
    if chain["consecutive_failures"]:
        text.append(f"  {counted(chain['consecutive_failures'], 'consecutive failure')}", style="red")
    return text


def _vaults(chain: State) -> Text:
    text = Text(f"{counted(chain['vaults'], 'vault')}: ")
    counts = sorted(chain["reasons"].items(), key=lambda item: -item[1])
    for at, (reason, count) in enumerate(counts):
        text.append("  " if at else "").append(f"{count:,} ").append(_coloured(reason, reason))
    return text


def _in_flight(chain: State) -> Text:
    in_flight = {state: count for state, count in chain["attempts"].items() if count}
    if not in_flight:
        return Text("no transaction in flight", style="dim")
    listed = ", ".join(f"{count} {state}" for state, count in in_flight.items())
    text = Text(f"transactions: {listed}")
    if chain["waiting_blocks"]:
        text.append(f"  the oldest is pending for {counted(chain['waiting_blocks'], 'block')}")
    return text


def _endpoints(chain: State) -> WholeTable:
    table = _table("endpoint", "head", "latency", "state", right=(1, 2))
    for one in chain["endpoints"]:
        latency = one["latency_seconds"]
        table.add_row(
            one["name"],
            NOTHING if one["height"] is None else f"{one['height']:,}",
            NOTHING if latency is None else f"{latency * 1_000:.0f} ms",
            Text("healthy", style="green") if one["usable"] else Text("not used", style="red"),
        )
    return table


def _signers(chain: State) -> WholeTable:
    table = _table("signer", "ether", right=(1,))
    for one in chain["signers"]:
        table.add_row(one["address"], amount(int(one["balance_wei"]), _ETHER_DECIMALS, 4))
    return table


def _breakers(chain: State, now: float) -> WholeTable:
    more = chain["breakers_open"] - len(chain["breakers"])
    title = "Open circuit breakers" + (f" ({more} more)" if more > 0 else "")
    table = _table("scope", "retry", "reason", title=title)
    for one in chain["breakers"]:
        again = "at a restart of the keeper" if one["until"] is None else f"in {span(one['until'] - now)}"
        scope = "the chain" if one["scope"] == "chain" else one["scope"]
        table.add_row(Text(scope, style="red"), again, one["why"])
    return table


def _left_out(chain: State, now: float) -> WholeTable:
    more = chain["pools_left_out"] - len(chain["left_out"])
    title = "Pools left out" + (f" ({more} more)" if more > 0 else "")
    table = _table("pool", "retry", "reason", title=title)
    for one in chain["left_out"]:
        left = one["until"] - now
        again = f"in {span(left)}" if left > 0 else "when next needed"
        table.add_row(Text(one["subject"], style="yellow"), again, one["why"])
    return table


def _furthest(vaults: Iterable[State]) -> WholeTable:
    table = _table("vault", "drift", "reason", "detail", title="Largest drift", right=(1,))
    for one in vaults:
        drift = one["drift_bps"]
        table.add_row(
            one["vault"],
            NOTHING if drift is None else bps_text(drift),
            _coloured(one["reason"], one["reason"]),
            one["text"],
        )
    return table


def _decisions(decisions: Sequence[State], now: float) -> WholeTable:
    table = _table("ago", "vault", "decision", "detail", title="Decisions", right=(0,))
    for one in decisions:
        why = Text(one["text"])
        if one["times"] > 1:
            why.append(f" ({one['times']} times)", style="dim")
        if "loss_bps" in one:
            why = Text(
                f"sold ${one['sold_usd']:,.2f}, lost ${one['loss_usd']:,.2f} "
                f"({one['loss_bps']:.1f} bps); drift {bps_text(one['drift_bps'])} before, "
                f"{bps_text(one['drift_after_bps'])} after"
            )
        table.add_row(
            span(now - one["at"]),
            one["vault"],
            _coloured(one["reason"], one["reason"]),
            why,
        )
    return table


def _table(*headings: str, title: str | None = None, right: Sequence[int] = ()) -> WholeTable:
    table = WholeTable(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    last = len(headings) - 1
    for at, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if at in right else "left",
            no_wrap=at != last,
            overflow="fold" if at == last else "ellipsis",
        )
    return table


def _age(timestamp: int, now: float) -> str:
    """The age of a block; on a local chain with another clock, its time."""
    if 0 <= now - timestamp < _DAY:
        return f"{span(now - timestamp)} old"
    return time.strftime("of %Y-%m-%d %H:%M UTC", time.gmtime(timestamp))


def _coloured(text: str, kind: str) -> Text:
    return Text(text, style=_COLOURS.get(kind, ""))
