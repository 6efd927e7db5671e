"""Command that runs the attacks: `python -m scripts.attacks`, or `make attacks`.

Prints a table: what the attacker gained, what holders lost, and the most that a promise allows. Draws the largest theft
into .attacks/, and with `--write` writes the table into docs/security.md. Exits with 1 if a promise is broken.
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
@click.option("--only", multiple=True, type=click.Choice(list(ATTACKS)), help="Run only these attacks; repeatable.")
@click.option("--write", "writes", is_flag=True, help="Put the whole table into docs/security.md.")
def main(*, only: tuple[str, ...], writes: bool) -> None:
    """Attack a vault in every known way and report gain and loss."""
    if only and writes:
        raise click.UsageError("--write needs the whole table: remove --only")
    results = []
    with open_env() as env:
        for name, found in play(env, only or ATTACKS):
            _console.print(f"done: {name}")
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
        _console.print("[yellow]docs/security.md has other figures; run: make attacks ARGS=--write[/]")
    broken = [result.attack for result in results if result.verdict == "BEYOND"]
    for attack in broken:
        _console.print(f"[red]Promise broken: {attack}[/]")
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
