"""What was each decision made of, and would it be the same today? A recorded day, and its replay.

A record has a line for each look: the block, the vaults that were read, the pools in which trades were sought, and what was decided.
Pools are written when they have changed. As deciding is pure, a replay needs neither chain nor keeper, and shows whether the program
that replays would have done the same: the check of a new version against yesterday.

Lines of JSON, gzipped where the file's name ends in .gz. A keeper that is killed leaves at worst its last line incomplete, which
readers leave out.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from pydantic import TypeAdapter, ValidationError

from rebalancer.chain.snapshot import Block, VaultSnapshot
from rebalancer.errors import BadPoolSnapshot, BadRecords, RecordsMissing, UnsupportedPool
from rebalancer.keeper.decide import Conditions, Step, Verdict, as_traded, decide
from rebalancer.keeper.tick import Tick
from rebalancer.pools import AnyPool, Token, load
from rebalancer.reasons import Reason

__all__ = ["Recorder", "Replayed", "Told", "read_day", "replay"]

_NOT_REPEATED = frozenset({Reason.NOT_YET, Reason.UNDER_WAY})
"""They depend on when and by whom it was looked."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A verdict, with what of its plan is sent."""

    snapshot: VaultSnapshot
    reason: Reason
    step: Step
    text: str
    sales_raw: tuple[int, ...] = ()
    min_buys_raw: tuple[int, ...] = ()
    route: str = ""

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        plan = verdict.plan if verdict.step is Step.REBALANCE else None
        sent = (plan.sales_raw, plan.min_buys_raw, plan.route.hex()) if plan else ((), (), "")
        return cls(verdict.snapshot, verdict.reason, verdict.step, verdict.text, *sent)


@dataclass(frozen=True, slots=True)
class Told:
    """A decision as it was told."""

    vault: str
    reason: Reason
    text: str
    epoch: int
    drift_bps: int
    transaction_hash: str | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """A line. `pools` are those that changed since the last line, as snapshots; `in_use` the keys of all in which trades were sought."""

    chain_id: int
    block: Block
    conditions: Conditions
    tokens: tuple[Token, ...]
    verdicts: tuple[_Written, ...]
    decisions: tuple[Told, ...]
    pools: dict[str, dict[str, Any]]
    in_use: tuple[str, ...]


_LOOK = TypeAdapter(_Look)


@dataclass(frozen=True, slots=True)
class Replayed:
    """A look as it was recorded, and in words whatever would be decided otherwise today."""

    chain_id: int
    block: Block
    decisions: tuple[Told, ...]
    decided: int
    differences: tuple[str, ...]


class Recorder:
    """A watcher that writes every look that is not a failure; a context manager. What is in the file stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _open(path, "a")
        self._pools: dict[tuple[int, str], AnyPool] = {}

    def __call__(self, tick: Tick) -> None:
        """Write a look."""
        looked = tick.looked
        if looked is None or tick.block is None or not (looked.verdicts or tick.decisions):
            return
        changed: dict[str, Any] = {}
        for pool in looked.pools:
            if self._pools.get((tick.chain_id, pool.key)) != pool:
                self._pools[tick.chain_id, pool.key] = pool
                changed[pool.key] = pool.to_json()
        line = _Look(
            tick.chain_id,
            tick.block,
            looked.conditions,
            looked.tokens,
            tuple(_Written.of(verdict) for verdict in looked.verdicts),
            tuple(
                Told(
                    *(one.vault, one.reason, one.text, one.epoch, one.drift_bps),
                    one.transaction_hash,
                )
                for one in tick.decisions
            ),
            changed,
            tuple(pool.key for pool in looked.pools),
        )
        self._file.write(_LOOK.dump_json(line).decode() + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_day(path: Path) -> Iterator[tuple[int, _Look, Mapping[str, AnyPool]]]:
    """The lines of a record with their numbers, and the pools of each line's chain as they were then.

    Raises:
        RecordsMissing: there is no such file.
        BadRecords: a line other than an incomplete last one is not what a keeper writes.
    """
    pools: dict[int, dict[str, AnyPool]] = {}
    try:
        stream = _open(path, "r")
    except OSError:
        raise RecordsMissing(str(path)) from None
    with stream:
        number = 0
        while True:
            number += 1
            try:
                text = stream.readline()
            except (EOFError, UnicodeDecodeError):
                return  # gzip's last block was never finished
            except (OSError, ValueError) as problem:
                raise BadRecords(str(path), number, f"it cannot be read: {problem}") from None
            if not text.endswith("\n"):
                return
            try:
                look = _LOOK.validate_json(text)
                known = pools.setdefault(look.chain_id, {})
                known |= {key: load(content) for key, content in look.pools.items()}
            except ValidationError as problem:
                why = problem.errors()[0]["msg"]
                raise BadRecords(str(path), number, why) from None
            except (BadPoolSnapshot, UnsupportedPool) as problem:
                raise BadRecords(str(path), number, str(problem)) from None
            yield number, look, known


def replay(path: Path) -> Iterator[Replayed]:
    """Decide a recorded day again, look by look.

    Raises:
        As `read_day`.
    """
    for number, look, known in read_day(path):
        missing = [key for key in look.in_use if key not in known]
        if missing:
            why = f"the pool {missing[0]} is not in this or any earlier line"
            raise BadRecords(str(path), number, why)
        recorded = [known[key] for key in look.in_use]
        pools = as_traded(recorded, look.tokens, look.conditions.wrapped_native)
        again = [one for one in look.verdicts if one.reason not in _NOT_REPEATED]
        differences = []
        for was in again:
            now = _Written.of(decide(was.snapshot, pools, look.conditions))
            differences += _differences(was, now)
        yield Replayed(look.chain_id, look.block, look.decisions, len(again), tuple(differences))


def _open(path: Path, mode: str) -> IO[str]:
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, mode + "t", encoding="utf-8"))
    return path.open(mode, encoding="utf-8")


def _differences(was: _Written, now: _Written) -> list[str]:
    names = [
        name
        for name in ("step", "reason", "sales_raw", "min_buys_raw", "route", "text")
        if getattr(was, name) != getattr(now, name)
    ]
    if not names:
        return []
    told = json.dumps({name: [getattr(was, name), getattr(now, name)] for name in names})
    return [f"{was.snapshot.address}: {told}"]
