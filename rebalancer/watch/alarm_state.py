"""State of the alarms of all chains, and the notices that follow from it.

An alarm is notified once when it begins, again at intervals while it lasts, and once when it has been off for a minute,
so that a flapping alarm does not flood its readers. One notice of bounded length covers everything that begins, lasts
or ends together. This module sends nothing. Instants are unix seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rebalancer.keeper.report import Tick
from rebalancer.texts import safe_text
from rebalancer.watch.alarms import ALARMS, LOOP_SILENT, SILENT_SECONDS, Alarm, AlarmLimits, Found, Severity, next_tick
from rebalancer.words import span

__all__ = ["Active", "Alarms", "Notice", "Phase"]

_CLEAR_SECONDS = 60
"""An alarm ends after it has been off for this long."""

_SHOWN = 5
"""Most vaults, pools or endpoints that one notice lists."""


class Phase(StrEnum):
    """What happened to an alarm."""

    BEGAN = "began"
    LASTS = "lasts"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Active:
    """An active alarm. `subject` is a vault, pool, endpoint or account; it is empty for the chain itself."""

    alarm: Alarm
    chain_id: int
    subject: str
    text: str
    since: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Notification of one alarm on one chain. `about` is everything that began, lasts or ended at the same time."""

    alarm: Alarm
    chain_id: int
    phase: Phase
    at: float
    about: tuple[Active, ...]

    @property
    def title(self) -> str:
        """Title in one line."""
        mark = "ended" if self.phase is Phase.ENDED else self.alarm.severity.value
        again = " still" if self.phase is Phase.LASTS else ""
        return f"[{mark}] chain {self.chain_id}: {self.alarm.name}{again}"

    @property
    def body(self) -> str:
        """Meaning, subjects and remedy; a few lines, however many subjects there are."""
        lasted = span(self.at - min(one.since for one in self.about))
        lines = [safe_text(f"{one.subject}: {one.text}" if one.subject else one.text) for one in self.about[:_SHOWN]]
        if len(self.about) > _SHOWN:
            lines.append(f"and {len(self.about) - _SHOWN} more")
        if self.phase is Phase.ENDED:
            return "\n".join([f"Ended after {lasted}.", *lines])
        if self.phase is Phase.LASTS:
            lines.append(f"Active for {lasted}.")
        return "\n".join([self.alarm.meaning, *lines, self.alarm.remedy])


@dataclass(slots=True)
class _Entry:
    """An alarm that was found. It has begun only after it was found for the alarm's `hold_seconds`."""

    active: Active
    begun: bool = False
    notified_at: float = 0.0
    gone_since: float | None = None


class Alarms:
    """The alarms of all chains. Thread-safe."""

    def __init__(self, limits: AlarmLimits, repeat_seconds: float, chain_ids: Iterable[int] = ()) -> None:
        """`chain_ids` are the chains whose ticks are expected from now on. Any other chain is added by its first
        tick."""
        self._limits = limits
        self._repeat_seconds = repeat_seconds
        self._entries: dict[tuple[int, str], dict[str, _Entry]] = {}
        self._due_at: dict[int, float | None] = dict.fromkeys(chain_ids)
        self._lock = threading.Lock()

    def observe(self, tick: Tick) -> tuple[Notice, ...]:
        """The notices that follow from a tick."""
        notices: list[Notice] = []
        with self._lock:
            self._due_at[tick.chain_id] = next_tick(tick)
            for alarm in ALARMS:
                if alarm.found is None or (tick.failure and not alarm.of_failed_ticks):
                    continue
                found = alarm.found(tick, self._limits)
                notices += self._judge(alarm, tick.chain_id, found, tick.at)
        return tuple(notices)

    def silence(self, now: float) -> tuple[Notice, ...]:
        """The notices that follow from missing ticks. Call it at regular intervals."""
        notices: list[Notice] = []
        with self._lock:
            for chain_id, due in self._due_at.items():
                if due is None:
                    self._due_at[chain_id] = now  # the first call starts the clock
                elif now - due > SILENT_SECONDS:
                    found = {"": f"the next tick is {span(now - due)} overdue"}
                    notices += self._judge(LOOP_SILENT, chain_id, found, now)
        return tuple(notices)

    def active(self) -> tuple[Active, ...]:
        """All active alarms, the most severe first, then the oldest."""
        with self._lock:
            found = [
                entry.active
                for entries in self._entries.values()
                for entry in entries.values()
                if entry.begun and entry.gone_since is None
            ]
        order = list(Severity)[::-1]
        return tuple(sorted(found, key=lambda x: (order.index(x.alarm.severity), x.since)))

    def _judge(self, alarm: Alarm, chain_id: int, found: Found, now: float) -> Sequence[Notice]:
        entries = self._entries.setdefault((chain_id, alarm.name), {})
        changes: dict[Phase, list[Active]] = {phase: [] for phase in Phase}
        for subject, text in found.items():
            entry = entries.get(subject)
            if entry is None:
                entry = entries[subject] = _Entry(Active(alarm, chain_id, subject, text, now))
            since = entry.active.since
            entry.active = Active(alarm, chain_id, subject, text, since)
            entry.gone_since = None
            if not entry.begun and now - since >= alarm.hold_seconds:
                entry.begun, entry.notified_at = True, now
                changes[Phase.BEGAN].append(entry.active)
            elif entry.begun and now - entry.notified_at >= self._repeat_seconds:
                entry.notified_at = now
                changes[Phase.LASTS].append(entry.active)
        for subject in entries.keys() - found.keys():
            entry = entries[subject]
            if entry.gone_since is None:
                entry.gone_since = now
            if now - entry.gone_since >= _CLEAR_SECONDS:
                if entry.begun:
                    changes[Phase.ENDED].append(entry.active)
                del entries[subject]
        return [Notice(alarm, chain_id, phase, now, tuple(about)) for phase, about in changes.items() if about]
