"""Table of the attacks: in the terminal, and between two markers in docs/security.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.attacks.field import Result, dollars

__all__ = ["PAGE", "committed", "markdown", "screen", "write"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"

_BEGIN, _END = "<!-- attacks:begin -->", "<!-- attacks:end -->"
_HEAD = (
    "attack",
    "the best its search found",
    "attacker gained",
    "holders lost",
    "bound",
    "promise",
    "verdict",
)
_NEW_PAGE = f"# Security\n\n## Attacks, measured\n\n{_BEGIN}\n{_END}\n"


def _cells(result: Result) -> tuple[str, ...]:
    found = f"{result.best}; {result.remark}" if result.remark else result.best
    return (
        result.attack,
        found,
        dollars(result.gained_e18),
        dollars(result.lost_e18),
        "—" if result.bound_e18 is None else dollars(result.bound_e18),
        result.promise,
        result.verdict,
    )


def screen(results: Sequence[Result]) -> Iterator[str]:
    """The table for a terminal: a line of figures for each attack, with the parameters that its search found below."""
    colours = {"within": "green", "BEYOND": "bold red", "no promise": "yellow"}
    yield f"{'':10} {'gained':>16} {'lost':>12} {'at most':>12}  USD on a vault of a million dollars"
    for result in results:
        attack, found, gained, lost, bound, promise, verdict = _cells(result)
        colour = colours[verdict]
        yield f"[{colour}]{verdict:10}[/] {gained:>16} {lost:>12} {bound:>12}  {attack} ({promise})"
        yield f"{'':54}[dim]{found}[/]"


def markdown(results: Sequence[Result], notes: Sequence[str]) -> str:
    """The table and its notes, as in docs/security.md between the markers."""
    rows: list[tuple[str, ...]] = [_HEAD, ("---", "---", "---:", "---:", "---:", "---", "---")]
    rows += [_cells(result) for result in results]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def committed(page: Path = PAGE) -> str:
    """The text between the markers now."""
    return page.read_text().partition(_BEGIN)[2].partition(_END)[0].strip()


def write(table: str, page: Path = PAGE) -> None:
    """Write the table between the markers, in a new page if there is no page."""
    text = page.read_text() if page.exists() else _NEW_PAGE
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks {_BEGIN} or {_END}, between which the table goes")
    page.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}")
