"""Record of a run: one line of JSON per event.

Arrays are in basket order, instants are unix seconds. This module uses no chain and no clock. Token amounts and
fractions of 1e18 are written as decimal strings, because most readers of JSON lose digits above 2^53; other integers
are JSON numbers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rebalancer.closing import Closing
from rebalancer.errors import BadRecords, RecordsMissing
from rebalancer.files import MEGABYTE, parse_json, read_text
from rebalancer.texts import LONGEST_SYMBOL, safe_text
from rebalancer.units import BPS, E18

_IN_USD = {
    "prices_e18",
    "value_e18",
    "share_price_e18",
    "hold_price_e18",
    "sold_value_e18",
    "loss_e18",
}
"""Fields in USD times 1e18; the other `_e18` fields are fractions of 1."""

_MOST_BYTES = 256 * MEGABYTE
"""Maximum size of a record: about half a million ticks."""

__all__ = [
    "RebalanceRecord",
    "RecordWriter",
    "Records",
    "RunRecord",
    "TickRecord",
    "read_records",
    "write_tables",
]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Constants of a run: the first line of every record."""

    vault: str
    chain_id: int
    tape: str
    symbols: tuple[str, ...]
    decimals: tuple[int, ...]
    targets_e18: tuple[int, ...]
    bands_bps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TickRecord:
    """The vault in one tick, at the oracle's prices in USD.

    `prices_e18` are USD per whole token. `value_e18` is the value of the vault, `share_price_e18` that of one share,
    and `hold_price_e18` that of the assets of one share at the first tick, without any trade since.
    """

    block: int
    at: int
    prices_e18: tuple[int, ...]
    weights_e18: tuple[int, ...]
    value_e18: int
    share_price_e18: int
    hold_price_e18: int


@dataclass(frozen=True, slots=True)
class RebalanceRecord:
    """One mined rebalance: its reason, its trades and its cost.

    Drift is weight minus target, rounded away from zero. `loss_e18` is the USD value sold minus the value bought, both
    at the oracle's prices; it is negative if the vault gained. `limit_e18` is the slippage limit at that time, as a
    fraction of the value sold. `loss_left_e18` and `turnover_left_e18` are the remaining budgets, as fractions of the
    vault's value. `predicted_held_raw` is the ledger that settlement.py predicts, `actual_held_raw` that of the vault.
    `bound_by` names the budget that kept a weight outside its band; None if all weights are inside.
    """

    block: int
    at: int
    tx_hash: str
    epoch: int
    reason: str
    drift_before_bps: tuple[int, ...]
    drift_after_bps: tuple[int, ...]
    sold_raw: tuple[int, ...]
    bought_raw: tuple[int, ...]
    value_e18: int
    sold_value_e18: int
    loss_e18: int
    limit_e18: int
    loss_left_e18: int
    turnover_left_e18: int
    gas_used: int
    predicted_held_raw: tuple[int, ...]
    actual_held_raw: tuple[int, ...]
    bound_by: str | None = None

    @property
    def loss_bps(self) -> float:
        """Loss in basis points of the value sold, which `limit_e18` limits."""
        return self.loss_e18 * BPS / self.sold_value_e18 if self.sold_value_e18 else 0.0

    @property
    def within_limit(self) -> bool:
        """Whether the loss is within the limit, exactly."""
        return self.loss_e18 * E18 <= self.limit_e18 * self.sold_value_e18

    @property
    def is_predicted(self) -> bool:
        """Whether the policy in Python predicted the vault's ledger bit-exactly."""
        return self.predicted_held_raw == self.actual_held_raw


Record = RunRecord | TickRecord | RebalanceRecord


@dataclass(frozen=True, slots=True)
class Records:
    """All records of a run, in their order."""

    run: RunRecord
    ticks: tuple[TickRecord, ...] = ()
    rebalances: tuple[RebalanceRecord, ...] = ()


# JSON LINES

KINDS: dict[str, type[Record]] = {
    "run": RunRecord,
    "tick": TickRecord,
    "rebalance": RebalanceRecord,
}

_AnyRecord = TypeVar("_AnyRecord", RunRecord, TickRecord, RebalanceRecord)


class RecordWriter(Closing):
    """Writer of the record of one run, a context manager. It replaces the file at `path`.

    `write` returns after the operating system has the line, so a killed run loses no line.
    """

    def __init__(self, path: Path | str, run: RunRecord) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", encoding="utf-8")
        self.write(run)

    def write(self, record: Record) -> None:
        """Append one record."""
        self._file.write(_line(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()


def read_records(path: Path | str) -> Records:
    """Read the record of a `RecordWriter`. An incomplete last line is ignored.

    Raises:
        RecordsMissing: there is no such file.
        BadRecords: the first line is not a run, or a line is not a record; the error has path, line and reason.
    """
    try:
        text = read_text(Path(path), _MOST_BYTES)
    except (FileNotFoundError, IsADirectoryError):
        raise RecordsMissing(str(path)) from None
    except ValueError as wrong:
        raise BadRecords(str(path), 1, str(wrong)) from None

    *lines, _torn = text.split("\n")
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(line)
        except (ValueError, TypeError) as wrong:
            raise BadRecords(str(path), number, str(wrong)) from None
        if isinstance(record, RunRecord) != (number == 1):
            raise BadRecords(str(path), number, "the first line, and no other, must be a run")
        records.append(record)
        wrong_length = _wrong_length(record, records[0])
        if wrong_length:
            raise BadRecords(str(path), number, f"{wrong_length} does not have one entry per asset")
    if not records or not isinstance(records[0], RunRecord):
        raise BadRecords(str(path), 1, "the file is empty")
    return Records(records[0], _only(TickRecord, records), _only(RebalanceRecord, records))


# TABLES


def write_tables(records: Records, folder: Path) -> tuple[Path, Path]:
    """Write a run as two tables for a spreadsheet, `ticks.csv` and `rebalances.csv`, and return their paths.

    A column is named after its field and unit; for an array, the asset's symbol follows (`price_usd WETH`). Fractions
    of 1e18 and raw amounts are exact decimals (USD, whole tokens, or fractions of 1). Instants are unix seconds and ISO
    8601 in UTC.
    """
    return (
        _write_table(folder / "ticks.csv", records.ticks, TickRecord, records.run),
        _write_table(folder / "rebalances.csv", records.rebalances, RebalanceRecord, records.run),
    )


def _write_table(path: Path, rows: Sequence[Record], kind: type[Record], run: RunRecord) -> Path:
    symbols = [safe_text(symbol, LONGEST_SYMBOL) for symbol in run.symbols]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            heading
            for field in fields(kind)
            for heading in _headings(field.name, field.type == "tuple[int, ...]", symbols)
        )
        for row in rows:
            cells = ((field.name, getattr(row, field.name)) for field in fields(kind))
            writer.writerow(cell for name, value in cells for cell in _cells(name, value, run))
    return path


def _headings(name: str, is_array: bool, symbols: Sequence[str]) -> list[str]:
    if name == "at":
        return ["at", "time_utc"]
    column = name.removesuffix("_raw").removesuffix("_e18")
    if name in _IN_USD:
        column += "_usd"
    return [f"{column} {symbol}" for symbol in symbols] if is_array else [column]


def _cells(name: str, value: Any, run: RunRecord) -> list[Any]:
    if name == "at":
        return [value, datetime.fromtimestamp(value, UTC).isoformat()]
    if name.endswith("_raw"):
        return [_decimal(one, decimals) for one, decimals in zip(value, run.decimals, strict=True)]
    if name.endswith("_e18"):
        return [_decimal(one, 18) for one in (value if isinstance(value, tuple) else [value])]
    if isinstance(value, tuple):
        return list(value)
    # A quote keeps spreadsheets from reading a sentence as a formula.
    return ["'" + value if isinstance(value, str) and value[:1] in "=+-@" and value else value]


def _decimal(raw: int, decimals: int) -> str:
    """`raw` / 10**decimals, exactly."""
    sign, (whole, rest) = "-" if raw < 0 else "", divmod(abs(raw), 10**decimals)
    return f"{sign}{whole}.{rest:0{decimals}}".rstrip("0").rstrip(".") if decimals else str(raw)


def _only(kind: type[_AnyRecord], records: Sequence[Record]) -> tuple[_AnyRecord, ...]:
    return tuple(record for record in records if isinstance(record, kind))


def _line(record: Record) -> str:
    kind = next(name for name, made in KINDS.items() if isinstance(record, made))
    written = {name: _written(name, value) for name, value in asdict(record).items()}
    return json.dumps({"kind": kind} | written, separators=(",", ":"), ensure_ascii=False)


def _written(name: str, value: Any) -> Any:
    if not name.endswith(("_raw", "_e18")):
        return value
    return [str(one) for one in value] if isinstance(value, tuple) else str(value)


def _record(line: str) -> Record:
    raw = parse_json(line)
    if not isinstance(raw, dict) or raw.get("kind") not in KINDS:
        raise ValueError(f"it is not an object whose kind is one of {', '.join(KINDS)}")
    made = KINDS[raw.pop("kind")]
    types = {field.name: str(field.type) for field in fields(made)}
    return made(**{name: _read(types.get(name, ""), value) for name, value in raw.items()})


def _read(annotation: str, value: Any) -> Any:
    match annotation:
        case "tuple[int, ...]":
            return tuple(_integer(one) for one in value)
        case "tuple[str, ...]":
            return tuple(_word(one) for one in value)
        case "int":
            return _integer(value)
        case "str":
            return _word(value)
        case _:  # a string or null; the constructor refuses unknown fields
            return None if value is None else _word(value)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is not an integer")
    return int(value)


def _wrong_length(record: Record, run: Record) -> str | None:
    """Name of the first array whose length differs from the number of the run's symbols."""
    count = len(run.symbols) if isinstance(run, RunRecord) else 0
    arrays = ((name, value) for name, value in asdict(record).items() if isinstance(value, tuple))
    return next((name for name, value in arrays if len(value) != count), None)
