"""Record of the inputs of each decision, and its replay: whether this version of the program decides the same.

A record has one line per tick: the block, the vaults that were read, the pools that they were planned with, and the
decisions. A pool is written when it has changed. Decisions are pure, so a replay needs neither chain nor keeper. It
checks a new version of the program against yesterday's decisions.

The lines are JSON, compressed with gzip if the file's name ends in .gz. A keeper that is killed leaves at worst an
incomplete last line: readers skip it, and the next keeper removes it before it appends to the file. One process writes
a file and holds a lock on it. A file that is damaged, or is not a record, is left as it is, and a new file follows it:
`day-2.jsonl.gz` after `day.jsonl.gz`. If a file cannot be written, the log says so, the keeper continues to trade, and
the next attempt follows a minute later.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import IO, Any, Self, cast

import structlog
from pydantic import TypeAdapter, ValidationError

from rebalancer.block import Block
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import BadPoolSnapshot, BadRecords, RecordInUse, RecordsMissing, UnsupportedPool
from rebalancer.files import MEGABYTE, make_folder, open_file, open_own
from rebalancer.keeper.decide import Action, Conditions, Verdict, as_traded, decide
from rebalancer.keeper.report import Tick, TickInputs
from rebalancer.reasons import Reason
from rebalancer.texts import safe_text
from rebalancer.venues import PoolState, Token, load

__all__ = ["Recorder", "Replayed", "Reported", "read_day", "replay"]

log = structlog.get_logger("rebalancer.recording")

_BACKOFF_SECONDS = 60.0
"""Pause before a file that could not be written is tried again."""
_MEMBER_LINES = 500
"""Lines in one gzip member; at most this number is read again after a kill."""
_MOST_LINE_BYTES = 64 * MEGABYTE
"""Limit for a line as it is read: the first line has all pools with all their ticks."""
_MOST_MEMBER_BYTES = 256 * MEGABYTE
_MOST_RATIO = 500
"""Largest compression ratio of a valid record: ticks repeat each other, but hashes do not compress. Gzip's own limit is
about 1,000. Checked only above the size of the longest line.
"""
_BLOCK = 1 << 16
_GZIP = 16 + zlib.MAX_WBITS
_BEGINNING = b'{"chain_id":'
_ONE_BYTE = "(b'\\x1f')"
"""End of the error message of gzip for a member with only one byte."""

_NOT_REPEATED = frozenset({Reason.NOT_YET, Reason.IN_FLIGHT})
"""Reasons that depend on when and where the tick ran."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A verdict, with the parts of its plan that are sent."""

    snapshot: VaultSnapshot
    reason: Reason
    step: Action
    text: str
    sales_raw: tuple[int, ...] = ()
    min_buys_raw: tuple[int, ...] = ()
    route: str = ""

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        plan = verdict.plan if verdict.step is Action.REBALANCE else None
        sent = (plan.sales_raw, plan.min_buys_raw, plan.route.hex()) if plan else ((), (), "")
        return cls(verdict.snapshot, verdict.reason, verdict.step, verdict.text, *sent)


@dataclass(frozen=True, slots=True)
class Reported:
    """A decision as it was reported; see `Decision`."""

    vault: str
    reason: Reason
    text: str
    epoch: int
    drift_bps: int | None
    transaction_hash: str | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class _RecordedTick:
    """One line. `pools` are the pools that changed since the last line, as snapshots; `in_use` the keys of all pools
    that were planned with."""

    chain_id: int
    block: Block
    conditions: Conditions
    tokens: tuple[Token, ...]
    verdicts: tuple[_Written, ...]
    decisions: tuple[Reported, ...]
    pools: dict[str, dict[str, Any]]
    in_use: tuple[str, ...]


_LINE = TypeAdapter(_RecordedTick)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded tick, and a sentence for each decision that would be different now."""

    chain_id: int
    block: Block
    decisions: tuple[Reported, ...]
    decided: int
    differences: tuple[str, ...]


class Recorder:
    """An observer that records every tick that did not fail; a context manager. Existing lines of a file are kept.

    The file's name may contain fields of strftime, such as %Y-%m-%d; they stand for the time of a tick, in UTC.
    """

    def __init__(self, path: Path, chain_ids: Collection[int] = ()) -> None:
        """`chain_ids`: the chains whose ticks are recorded; all chains if empty."""
        self.path = path
        self.chain_ids = frozenset(chain_ids)
        self._file: IO[bytes] | None = None
        self._place: Path | None = None  # the name for the current time
        self._written: Path | None = None  # the file of that name, or one that follows it
        self._lock: int | None = None
        self._lines = 0
        self._pools: dict[tuple[int, str], PoolState] = {}
        self._backoff_until = 0.0

    def __call__(self, tick: Tick) -> None:
        """Record a tick. If the file cannot be written, log that, and raise nothing."""
        inputs = tick.inputs
        if inputs is None or tick.block is None or not (inputs.verdicts or tick.decisions):
            return
        if (self.chain_ids and tick.chain_id not in self.chain_ids) or tick.at < self._backoff_until:
            return
        try:
            self._write(tick, tick.block, inputs)
        except (OSError, RecordInUse) as problem:
            self._backoff_until = tick.at + _BACKOFF_SECONDS
            log.error("not_recorded", file=str(self._place or self.path), why=str(problem))
            with suppress(OSError):
                self.close()

    def close(self) -> None:
        """Close the file and release its lock."""
        file, self._file, self._place = self._file, None, None
        lock, self._lock = self._lock, None
        try:
            if file is not None:
                file.close()
        finally:
            if lock is not None:
                os.close(lock)

    def __enter__(self) -> Self:
        """Lock an existing file, so that a second keeper with the same file does not start.

        Raises:
            RecordInUse: another process writes it.
        """
        place = self._named(time.time())
        if place.exists():
            try:
                self._take(place)
            except OSError:
                self.close()  # logged when the first tick is recorded
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.close()

    def _named(self, at: float) -> Path:
        return Path(datetime.fromtimestamp(at, UTC).strftime(str(self.path)))

    def _take(self, place: Path) -> None:
        """Lock a file and repair its end, or the first following file that is not damaged.

        Raises:
            RecordInUse: another process writes it.
            OSError: it cannot be written.
        """
        self.close()
        self._pools.clear()  # each file has everything that a replay needs
        make_folder(place.parent)
        path = place
        for number in count(2):
            self._lock = _locked(path)
            try:
                _repair(path)
                break
            except _DamagedError as damage:
                self.close()
                after = _following(place, number)
                log.error("record_damaged", file=str(path), why=str(damage), continued_in=str(after))
                path = after
        self._place, self._written = place, path

    def _write(self, tick: Tick, block: Block, inputs: TickInputs) -> None:
        place = self._named(tick.at)
        if place != self._place:
            self._take(place)
        assert self._written is not None  # set by `_take`  # noqa: S101
        if self._file is None or self._lines % _MEMBER_LINES == 0:
            if self._file is not None:
                self._file.close()
            self._file = _appended(self._written)
        file = self._file
        changed = {
            pool.key: pool.to_json() for pool in inputs.pools if self._pools.get((tick.chain_id, pool.key)) != pool
        }
        line = _RecordedTick(
            tick.chain_id,
            block,
            inputs.conditions,
            inputs.tokens,
            tuple(_Written.of(verdict) for verdict in inputs.verdicts),
            tuple(
                Reported(
                    *(one.vault, one.reason, one.text, one.epoch, one.drift_bps), *(one.transaction_hash, one.kind)
                )
                for one in tick.decisions
            ),
            changed,
            tuple(pool.key for pool in inputs.pools),
        )
        self._lines += 1
        file.write(_LINE.dump_json(line) + b"\n")
        file.flush()
        self._pools |= {(tick.chain_id, pool.key): pool for pool in inputs.pools}


class _DamagedError(Exception):
    """A file is not as a keeper writes it."""


def _locked(path: Path) -> int:
    """Lock a file, which is created if missing; the system releases the lock when the process ends.

    Raises:
        RecordInUse: another process holds it.
        OSError: it cannot be opened.
    """
    lock = open_own(path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RecordInUse(path) from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _following(path: Path, number: int) -> Path:
    """The file after a damaged one: `day-2.jsonl.gz` after `day.jsonl.gz`."""
    zipped = ".gz" if path.suffix == ".gz" else ""
    name = Path(path.name.removesuffix(zipped))
    return path.with_name(f"{name.stem}-{number}{name.suffix}{zipped}")


def _check_beginning(start: bytes | bytearray) -> None:
    if not _BEGINNING.startswith(bytes(start[: len(_BEGINNING)])):
        raise _DamagedError("it does not begin like a record")


def _repair(path: Path) -> None:
    """Remove an incomplete last line from a file.

    Raises:
        _DamagedError: it is not a record, or is damaged.
        OSError: it cannot be written.
    """
    if path.suffix == ".gz":
        _repair_gzipped(path)
        return
    with open_file(path, "r+b") as file:
        _check_beginning(file.read(len(_BEGINNING)))
        end = file.seek(0, os.SEEK_END)
        tail = b""
        while b"\n" not in tail and end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            tail = file.read(end - start) + tail
            end = start
        torn = tail[tail.rfind(b"\n") + 1 :]
        if not (torn.startswith(_BEGINNING) or _BEGINNING.startswith(torn)):
            raise _DamagedError("its end is not as a keeper writes it")
        file.truncate(end + len(tail) - len(torn))


def _repair_gzipped(path: Path) -> None:
    """Rewrite an incomplete last member with its complete lines."""
    whole, member, reader = 0, bytearray(), zlib.decompressobj(_GZIP)
    with open_file(path, "r+b") as file:
        while data := file.read(_BLOCK):
            while data:
                try:
                    member += reader.decompress(data)
                except zlib.error as problem:
                    raise _DamagedError(f"it cannot be decompressed: {problem}") from None
                _check_beginning(member)
                data = reader.unused_data
                if len(member) > _MOST_MEMBER_BYTES:
                    raise _DamagedError("a gzip member is larger than a keeper writes")
                if reader.eof:
                    whole, reader = file.tell() - len(data), zlib.decompressobj(_GZIP)
                    member.clear()
        if file.tell() > whole:
            file.truncate(whole)
            file.seek(whole)
            lines = member[: member.rfind(b"\n") + 1]
            file.write(gzip.compress(lines) if lines else b"")


def read_day(path: Path) -> Iterator[tuple[int, _RecordedTick, Mapping[str, PoolState]]]:
    """The lines of a record with their numbers, each with the pools of its chain at that time.

    Raises:
        RecordsMissing: there is no such file.
        BadRecords: a line other than an incomplete last one is not valid; the lines before it were yielded.
    """
    pools: dict[int, dict[str, PoolState]] = {}
    try:
        file = path.open("rb")
    except OSError:
        raise RecordsMissing(str(path)) from None
    with file, cast("IO[bytes]", gzip.open(file)) if path.suffix == ".gz" else file as stream:
        number = 0
        while True:
            number += 1
            try:
                text = stream.readline(_MOST_LINE_BYTES + 1)
                is_bomb = stream.tell() > max(_MOST_LINE_BYTES, _MOST_RATIO * file.tell())
            except EOFError:
                return  # the last gzip block is incomplete
            except (OSError, ValueError, zlib.error) as problem:
                if isinstance(problem, gzip.BadGzipFile) and str(problem).endswith(_ONE_BYTE):
                    return
                raise BadRecords(str(path), number, f"it cannot be read: {problem}") from None
            if len(text) > _MOST_LINE_BYTES:
                why = f"it has more than {_MOST_LINE_BYTES / MEGABYTE:g} MB"
                raise BadRecords(str(path), number, why)
            if is_bomb:
                why = f"it is more than {_MOST_RATIO} times as large as its compressed form"
                raise BadRecords(str(path), number, why)
            if not text.endswith(b"\n"):
                return
            try:
                tick = _LINE.validate_json(text)
                known = pools.setdefault(tick.chain_id, {})
                known |= {key: load(content) for key, content in tick.pools.items()}
            except ValidationError as problem:
                why = problem.errors()[0]["msg"]
                raise BadRecords(str(path), number, why) from None
            except (BadPoolSnapshot, UnsupportedPool) as problem:
                raise BadRecords(str(path), number, str(problem)) from None
            yield number, tick, known


def replay(path: Path) -> Iterator[Replayed]:
    """Decide a recorded day again, tick by tick.

    Raises:
        As `read_day`.
    """
    for number, tick, known in read_day(path):
        missing = [key for key in tick.in_use if key not in known]
        if missing:
            why = f"the pool {missing[0]} is neither in this line nor in an earlier one"
            raise BadRecords(str(path), number, why)
        recorded = [known[key] for key in tick.in_use]
        pools = as_traded(recorded, tick.tokens, tick.conditions.wrapped_native)
        again = [one for one in tick.verdicts if one.reason not in _NOT_REPEATED]
        differences = []
        for was in again:
            now = _Written.of(decide(was.snapshot, pools, tick.conditions))
            differences += _differences(was, now)
        decisions = tuple(replace(one, vault=safe_text(one.vault), text=safe_text(one.text)) for one in tick.decisions)
        yield Replayed(tick.chain_id, tick.block, decisions, len(again), tuple(differences))


def _appended(path: Path) -> IO[bytes]:
    file = open_file(path, "ab")
    if path.suffix != ".gz":
        return file
    member = gzip.GzipFile(fileobj=file, mode="ab")
    member.myfileobj = file  # type: ignore[assignment]  # closes the file too; any file type works
    return cast("IO[bytes]", member)


def _differences(was: _Written, now: _Written) -> list[str]:
    names = [
        name
        for name in ("step", "reason", "sales_raw", "min_buys_raw", "route", "text")
        if getattr(was, name) != getattr(now, name)
    ]
    if not names:
        return []
    values = json.dumps({name: [getattr(was, name), getattr(now, name)] for name in names})
    return [f"{was.snapshot.address}: {values}"]
