"""Attacks a vault in every way of the attack lab and says what came of it; `make attacks` runs it.

Prints a table: what the attacker gained, what holders lost, and what a promise allows at most. Writes a picture of the worst
thief's loot under .attacks/, and with `--write` the table into docs/security.md. Ends with 1 if a promise was broken.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from scripts.attacks.picture import draw
from scripts.attacks.play import ATTACKS, notes, open_env, play
from scripts.attacks.table import committed, markdown, screen, write

_PICTURE = Path(__file__).resolve().parents[2] / ".attacks" / "stolen-keeper.png"

_console = Console()


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(ATTACKS)), help="Play these alone; repeatable.")
@click.option("--write", "writes", is_flag=True, help="Put the whole table into docs/security.md.")
def main(*, only: tuple[str, ...], writes: bool) -> None:
    """Attack a vault in every way there is here, and tell what came of it."""
    if only and writes:
        raise click.UsageError("--write needs the whole table; leave out --only")
    results = []
    with open_env() as env:
        for name, found in play(env, only or ATTACKS):
            _console.print(f"played: {name}")
            results += found
        message = markdown(results, notes(env))
        loot = env.loot
    if loot is not None:
        _console.print(f"Written: {draw(loot, _PICTURE)}", soft_wrap=True)
    for line in screen(results):
        _console.print(line, soft_wrap=True, highlight=False)
    if writes:
        write(message)
        _console.print("Written: docs/security.md")
    elif not only and message != committed():
        _console.print("[yellow]docs/security.md says otherwise; make attacks ARGS=--write[/]")
    broken = [result.attack for result in results if result.verdict == "BEYOND"]
    for attack in broken:
        _console.print(f"[red]Beyond its promise: {attack}[/]")
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
