"""Formats of numbers and results, for people and for programs.

Programs get JSON with stable keys and every integer as a string, because many JSON readers lose digits above 2^53.
People get exact decimals and tables, in color on a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Column, Table
from rich.text import Text

from rebalancer.units import BPS, E18

__all__ = [
    "NOTHING",
    "WholeTable",
    "amount",
    "bps_text",
    "console",
    "pairs",
    "percent",
    "plain",
    "print_json",
    "usd",
]

NOTHING = "-"
"""Shown in place of a missing number."""

_PLAIN_WIDTH = 140
"""Columns if the output is not a terminal: enough for a transaction hash and its label."""


class _WholeConsole(Console):
    """A console that breaks lines only between words: a hash longer than a line stays whole and can be copied."""

    def print(self, *objects: Any, **options: Any) -> None:
        options.setdefault("crop", False)
        if any(_longest_word(_text(one)) > self.width for one in objects if isinstance(one, str | Text)):
            options.setdefault("overflow", "ignore")  # the terminal wraps it
        super().print(*objects, **options)


def console() -> Console:
    """Standard output, for people. Strings print unchanged; styled text is a `Text`."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return _WholeConsole(width=width, highlight=False, markup=False, emoji=False)


class WholeTable(Table):
    """A table that never cuts a number or an address, however narrow the terminal is.

    Cells wrap only between words. If the table still does not fit, each row prints as lines of heading and cell.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        if self._fits(options.max_width):
            yield from super().__rich_console__(console, options)
        else:
            yield from self._lines(options.max_width)

    def _fits(self, width: int) -> bool:
        """Whether every column can be as wide as its longest word. Sets the columns' widths if space is short."""
        _, right, _, left = self.padding
        borders = len(self.columns) + 1 if self.box else 0
        edges = 0 if self.pad_edge else left + right
        room = width - borders - len(self.columns) * (left + right) + edges
        most = [max(map(cell_len, _texts(column)), default=0) for column in self.columns]
        least = [
            wanted if column.no_wrap else max((cell_len(w) for t in _texts(column) for w in t.split()), default=0)
            for column, wanted in zip(self.columns, most, strict=True)
        ]
        if sum(least) > room:
            return False
        lacking = sum(most) - sum(least)
        if sum(most) > room:
            for column, narrow, wide in zip(self.columns, least, most, strict=True):
                column.width = narrow + (room - sum(least)) * (wide - narrow) // lacking
        return True

    def _lines(self, width: int) -> Iterator[RenderableType]:
        if self.title is not None:
            yield Text(str(self.title), style="italic")
        headings = [_text(column.header) if self.show_header else Text() for column in self.columns]
        for row in zip(*(column.cells for column in self.columns), strict=True):
            cells = [_text(cell) for cell in row]
            if not self.show_header:
                yield _whole(Text(": ").join(cell for cell in cells if cell.plain), width)
                continue
            for at, (heading, cell) in enumerate(zip(headings, cells, strict=True)):
                if cell.plain:
                    line = Text.assemble("" if at == 0 else "  ", (f"{heading.plain}: ", "dim"), cell)
                    yield _whole(line, width)
        if self.caption is not None:
            yield Text(str(self.caption), style="dim")


def pairs() -> WholeTable:
    """A table of labels and values without a frame."""
    table = WholeTable(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    return table


def _whole(line: Text, width: int) -> Text:
    """A line whose words stay whole. If a word is longer than the terminal is wide, the terminal wraps it."""
    if _longest_word(line) > width:
        line.overflow, line.no_wrap = "ignore", True
    return line


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=0)


def _texts(column: Column) -> list[str]:
    """All lines of text in a column."""
    cells = [_text(cell).plain for cell in (column.header, *column.cells)]
    return [line for cell in cells for line in cell.splitlines()]


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))


def plain(value: Any) -> Any:
    """A result as JSON values: dataclasses as objects, integers as strings, integer enums by name."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, Enum):
        return value.name if isinstance(value, int) else value.value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value)


def print_json(value: Any) -> None:
    """Print a result as JSON on standard output."""
    click.echo(json.dumps(plain(value), indent=2))


def amount(raw: int, decimals: int, most_decimals: int | None = None) -> str:
    """Raw units as whole tokens: exact, or cut after `most_decimals` decimals and marked with …"""
    sign = "-" if raw < 0 else ""
    whole, rest = divmod(abs(raw), 10**decimals)
    text = f"{rest:0{decimals}d}".rstrip("0") if decimals else ""
    if most_decimals is not None and len(text) > most_decimals:
        text = text[:most_decimals] + "…"
    return f"{sign}{whole:,}" + (f".{text}" if text else "")


def usd(value_e18: int, decimals: int = 2) -> str:
    """USD times 1e18 as dollars, rounded to the nearest cent, or to `decimals`."""
    text = _rounded(value_e18, decimals)
    return f"{_sign(value_e18, text)}${text}"


def percent(fraction_e18: int, decimals: int = 2, *, plus: bool = False) -> str:
    """A fraction of 1e18 as a percentage, rounded to the nearest. `plus` adds a sign to positive values."""
    text = _rounded(100 * fraction_e18, decimals)
    return f"{_sign(fraction_e18, text, plus=plus)}{text} %"


def _sign(number: int, rounded: str, *, plus: bool = False) -> str:
    """The sign to show; a value that rounds to 0 has none."""
    if not rounded.strip("0.,"):
        return ""
    return "-" if number < 0 else "+" if plus else ""


def _rounded(number_e18: int, decimals: int) -> str:
    scaled = (abs(number_e18) * 10**decimals * 2 + E18) // (2 * E18)
    whole, rest = divmod(scaled, 10**decimals)
    return f"{whole:,}.{rest:0{decimals}d}"


def bps_text(bps: int) -> str:
    """Basis points as a percentage."""
    return percent(bps * E18 // BPS)
