"""Which alarms are on, and what is to be told of them?

Each is told once when it begins, again while it lasts, and once when it has been gone for a minute, so that a flickering one
is no flood. What begins, lasts or ends together is one notice, of bounded length. Nothing here sends anything. Instants are
unix seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rebalancer.keeper.report import Tick
from rebalancer.texts import safe_text
from rebalancer.watch.alarms import (
    ALARMS,
    LOOP_SILENT,
    SILENT_SECONDS,
    Alarm,
    AlarmLimits,
    Found,
    Severity,
    next_tick,
)
from rebalancer.words import span

__all__ = ["Active", "Alarms", "Notice", "Phase"]

_CLEAR_SECONDS = 60
"""How long an alarm must be gone to be over."""

_SHOWN = 5
"""Vaults, pools or endpoints that one notice names."""


class Phase(StrEnum):
    """What has become of an alarm."""

    BEGAN = "began"
    LASTS = "lasts"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Active:
    """An alarm that is on. `subject` is a vault, pool, endpoint or account, empty for the chain itself."""

    alarm: Alarm
    chain_id: int
    subject: str
    text: str
    since: float


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told of one alarm on one chain: what began, lasts or ended at once, together."""

    alarm: Alarm
    chain_id: int
    phase: Phase
    at: float
    about: tuple[Active, ...]

    @property
    def title(self) -> str:
        """One line."""
        mark = "over" if self.phase is Phase.ENDED else self.alarm.severity.value
        again = " still" if self.phase is Phase.LASTS else ""
        return f"[{mark}] chain {self.chain_id}: {self.alarm.name}{again}"

    @property
    def body(self) -> str:
        """What it means, of what, and what to do; at most some lines, however much there is."""
        lasted = span(self.at - min(one.since for one in self.about))
        lines = [safe_text(f"{one.subject}: {one.text}" if one.subject else one.text) for one in self.about[:_SHOWN]]
        if len(self.about) > _SHOWN:
            lines.append(f"and {len(self.about) - _SHOWN} more")
        if self.phase is Phase.ENDED:
            return "\n".join([f"Over after {lasted}.", *lines])
        if self.phase is Phase.LASTS:
            lines.append(f"For {lasted} now.")
        return "\n".join([self.alarm.meaning, *lines, self.alarm.remedy])


@dataclass(slots=True)
class _Entry:
    """An alarm found, told or not."""

    active: Active
    begun: bool = False
    told_at: float = 0.0
    gone_at: float | None = None


class Alarms:
    """Which alarms are on, in every chain. Any thread may call it."""

    def __init__(self, limits: AlarmLimits, repeat_seconds: float, chain_ids: Iterable[int] = ()) -> None:
        """`chain_ids` are those that should be looked at from now on; others are known once they were."""
        self._limits = limits
        self._repeat_seconds = repeat_seconds
        self._entries: dict[tuple[int, str], dict[str, _Entry]] = {}
        self._due_at: dict[int, float | None] = dict.fromkeys(chain_ids)
        self._lock = threading.Lock()

    def observe(self, tick: Tick) -> tuple[Notice, ...]:
        """What a look begins, lets last and ends."""
        alarm_state: list[Notice] = []
        with self._lock:
            self._due_at[tick.chain_id] = next_tick(tick)
            for alarm in ALARMS:
                if alarm.found is None or (tick.failure and not alarm.of_failed_ticks):
                    continue
                found = alarm.found(tick, self._limits)
                alarm_state += self._judge(alarm, tick.chain_id, found, tick.at)
        return tuple(alarm_state)

    def silence(self, now: float) -> tuple[Notice, ...]:
        """What begins or lasts because there was no look; to be asked now and then."""
        alarm_state: list[Notice] = []
        with self._lock:
            for chain_id, due in self._due_at.items():
                if due is None:
                    self._due_at[chain_id] = now  # from the first time it was asked
                elif now - due > SILENT_SECONDS:
                    found = {"": f"a look is {span(now - due)} late"}
                    alarm_state += self._judge(LOOP_SILENT, chain_id, found, now)
        return tuple(alarm_state)

    def active(self) -> tuple[Active, ...]:
        """All that are on, the most severe and then the oldest first."""
        with self._lock:
            found = [
                entry.active
                for entries in self._entries.values()
                for entry in entries.values()
                if entry.begun and entry.gone_at is None
            ]
        order = list(Severity)[::-1]
        return tuple(sorted(found, key=lambda x: (order.index(x.alarm.severity), x.since)))

    def _judge(self, alarm: Alarm, chain_id: int, found: Found, now: float) -> Sequence[Notice]:
        entries = self._entries.setdefault((chain_id, alarm.name), {})
        reported: dict[Phase, list[Active]] = {phase: [] for phase in Phase}
        for subject, text in found.items():
            entry = entries.get(subject)
            if entry is None:
                entry = entries[subject] = _Entry(Active(alarm, chain_id, subject, text, now))
            since = entry.active.since
            entry.active = Active(alarm, chain_id, subject, text, since)
            entry.gone_at = None
            if not entry.begun and now - since >= alarm.hold_seconds:
                entry.begun, entry.told_at = True, now
                reported[Phase.BEGAN].append(entry.active)
            elif entry.begun and now - entry.told_at >= self._repeat_seconds:
                entry.told_at = now
                reported[Phase.LASTS].append(entry.active)
        for subject in entries.keys() - found.keys():
            entry = entries[subject]
            if entry.gone_at is None:
                entry.gone_at = now
            if now - entry.gone_at >= _CLEAR_SECONDS:
                if entry.begun:
                    reported[Phase.ENDED].append(entry.active)
                del entries[subject]
        return [Notice(alarm, chain_id, phase, now, tuple(about)) for phase, about in reported.items() if about]
