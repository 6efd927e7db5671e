"""`rebalancer replay`: repetition of the decisions of a recorded run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.text import Text

from rebalancer.cli.format import NOTHING, WholeTable, console, print_json
from rebalancer.cli.options import address_option, json_option
from rebalancer.errors import BadRecords
from rebalancer.keeper.recording import Replayed, Reported, replay
from rebalancer.lab.chart import check_chart
from rebalancer.lab.timeline_chart import day_chart
from rebalancer.words import counted

__all__ = ["replay_command"]

_MOST_DIFFERENCES = 20


@click.command("replay")
@click.argument("record", metavar="RECORD", type=click.Path(dir_okay=False, path_type=Path))
@address_option("--vault", "Show only this vault's decisions.", "all")
@click.option("--all", "show_all", is_flag=True, help="Show every tick, not only changes.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also draw a timeline to this .png or .svg file.",
)
@json_option
@click.pass_context
def replay_command(
    context: click.Context,
    record: Path,
    vault: str | None,
    show_all: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Repeat the decisions of a recorded run, and show whether this version decides the same.

    RECORD is a file that a keeper wrote because `keeper.record_file` was set. Needs no node. Exits with 1 if a decision
    differs, or if the record is damaged; the part before the damage is still repeated and shown.
    """
    if picture is not None:
        check_chart(picture)
    ticks, damage = _readable(record)
    differences = [(tick.block.number, difference) for tick in ticks for difference in tick.differences]
    reported = list(_reported(ticks, vault, show_all=show_all))
    if as_json:
        print_json(
            {
                "ticks": len(ticks),
                "ends_at_line": None if damage is None else damage.line,
                "decided_again": sum(tick.decided for tick in ticks),
                "differences": [{"block": n, "what": what} for n, what in differences],
                "decisions": [
                    {"chain_id": tick.chain_id, "block": tick.block, "decision": one} for tick, one in reported
                ],
            }
        )
    else:
        _show(ticks, reported, differences)
    if picture is not None:
        path = day_chart(ticks, picture)
        if not as_json:
            console().print(f"The picture was written to {path}.")
    if damage is not None:
        raise damage
    if differences:
        context.exit(1)


def _readable(record: Path) -> tuple[list[Replayed], BadRecords | None]:
    """The ticks of a record up to its end, or up to the damaged line.

    Raises:
        RecordsMissing: there is no such file.
        BadRecords: the first line cannot be read.
    """
    ticks: list[Replayed] = []
    try:
        ticks.extend(replay(record))  # keeps the ticks before a failure
    except BadRecords as damage:
        if not ticks:
            raise
        return ticks, damage
    return ticks, None


def _reported(ticks: list[Replayed], vault: str | None, *, show_all: bool) -> list[tuple[Replayed, Reported]]:
    """The decisions to show, each with its tick."""
    last_reason: dict[tuple[int, str], str] = {}
    found = []
    for tick in ticks:
        for one in tick.decisions:
            key = (tick.chain_id, one.vault)
            is_new = last_reason.get(key) != one.reason or one.transaction_hash is not None
            last_reason[key] = one.reason
            if (is_new or show_all) and vault in (None, one.vault):
                found.append((tick, one))
    return found


def _show(
    ticks: list[Replayed],
    reported: list[tuple[Replayed, Reported]],
    differences: list[tuple[int, str]],
) -> None:
    out = console()
    table = WholeTable(title="Decisions", title_justify="left")
    table.add_column("time", no_wrap=True)
    table.add_column("block", justify="right", no_wrap=True)
    table.add_column("vault", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    table.add_column("drift", justify="right", no_wrap=True)
    table.add_column("detail")
    for tick, one in reported:
        at = datetime.fromtimestamp(tick.block.timestamp, UTC).strftime("%m-%d %H:%M:%S")
        table.add_row(
            *(at, str(tick.block.number), one.vault, one.reason.value),
            *(NOTHING if one.drift_bps is None else f"{one.drift_bps} bps", Text(one.text)),
        )
    out.print(table)
    again = sum(tick.decided for tick in ticks)
    if not differences:
        out.print(f"{counted(len(ticks), 'tick')}, {counted(again, 'decision')} repeated: all equal the record.")
        return
    out.print(
        f"{len(differences):,} of {again:,} repeated decisions differ from the record:",
        style="bold red",
    )
    for block, what in differences[:_MOST_DIFFERENCES]:
        out.print(Text(f"  block {block}: {what}"))
    if len(differences) > _MOST_DIFFERENCES:
        out.print(f"  and {len(differences) - _MOST_DIFFERENCES:,} more; --json shows all")
