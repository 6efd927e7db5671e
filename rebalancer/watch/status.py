"""Current status of a running keeper.

The observer keeps the newest tick of each chain and returns it as one JSON document of bounded size: `/status` serves
the document, `rebalancer status` draws it. It also lists the problems of the process, one sentence each: those that a
restart can fix (`unhealthy`) and those that keep it from its work (`unready`). Integers of wei are decimal strings, as
in records; instants are unix seconds.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

from rebalancer.block import Block
from rebalancer.keeper.decision import Decision
from rebalancer.keeper.report import Tick
from rebalancer.reasons import Reason
from rebalancer.texts import safe_text
from rebalancer.units import BPS, E18
from rebalancer.watch.alarm_state import Alarms
from rebalancer.watch.alarms import SILENT_SECONDS, next_tick
from rebalancer.words import span

__all__ = ["MOST_DECISIONS", "MOST_LISTED", "MOST_VAULTS", "StatusStore"]

MOST_VAULTS = 50
"""Most vaults listed for each chain."""

MOST_DECISIONS = 20
"""Most decisions listed for each chain."""

MOST_LISTED = 20
"""Most breakers, pools and alarms listed; the rest is only counted."""

_QUIET = frozenset({Reason.IN_BAND})
"""Reasons of vaults that need no attention."""


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A decision and how many consecutive ticks made it."""

    decision: dict[str, Any]
    times: int


class _Chain:
    """Everything known of one chain."""

    def __init__(self) -> None:
        self.tick: Tick | None = None
        self.block: Block | None = None
        self.reasons: Mapping[str, Reason] = {}
        self.drifts_bps: Mapping[str, int] = {}
        self.texts: dict[str, tuple[Reason, str]] = {}
        self.decisions: OrderedDict[tuple[object, ...], _Repeated] = OrderedDict()
        self.ticks = 0
        self.has_read_vaults = False

    def observe(self, tick: Tick) -> None:
        # The decisions may hold whole plans, which are not needed again.
        self.tick = replace(tick, decisions=(), reasons={}, drifts_bps={}, inputs=None)
        self.block = tick.block or self.block
        self.ticks += 1
        self.has_read_vaults = self.has_read_vaults or (tick.block is not None and not tick.failure)
        self.reasons, self.drifts_bps = dict(tick.reasons), dict(tick.drifts_bps)
        for decision in tick.decisions:
            self.texts[decision.vault] = (decision.reason, decision.text)
            if decision.reason not in _QUIET:
                self._remember(decision, tick.at)
        for gone in self.texts.keys() - self.reasons.keys():
            del self.texts[gone]

    def _remember(self, decision: Decision, at: float) -> None:
        outcome = decision.outcome
        key = (decision.vault, decision.reason, decision.epoch, outcome is not None)
        before = self.decisions.pop(key, None)
        self.decisions[key] = _Repeated(_decision_as_json(decision, at), before.times + 1 if before else 1)
        while len(self.decisions) > MOST_DECISIONS:
            self.decisions.popitem(last=False)


class StatusStore:
    """Keeps the status of every chain. Thread-safe."""

    def __init__(
        self,
        chain_ids: Iterable[int],
        alarms: Alarms,
        clean: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`chain_ids` are the chains whose ticks are expected; `clean` removes secrets from texts."""
        self._alarms = alarms
        self._clean = clean
        self._clock = clock
        self._started_at = clock()
        self._chains = {chain_id: _Chain() for chain_id in chain_ids}
        self._lock = threading.Lock()

    def __call__(self, tick: Tick) -> None:
        """Keep a tick."""
        with self._lock:
            self._chains.setdefault(tick.chain_id, _Chain()).observe(tick)

    def unhealthy(self) -> tuple[str, ...]:
        """Problems that a restart can fix: one sentence for each chain without ticks whose circuit breaker is
        closed."""
        now = self._clock()
        problems = []
        with self._lock:
            for chain_id, chain in sorted(self._chains.items()):
                at, due = self._started_at, self._started_at
                if chain.tick is not None:
                    at, due = chain.tick.at, next_tick(chain.tick)
                if now - due > SILENT_SECONDS:
                    problems.append(f"Chain {chain_id} has had no tick for {span(now - at)}.")
        return tuple(problems)

    def unready(self) -> tuple[str, ...]:
        """Problems that keep the keeper from its work, one sentence each."""
        problems = list(self.unhealthy())
        with self._lock:
            for chain_id, chain in sorted(self._chains.items()):
                problems += [f"Chain {chain_id}: {self._text(why)}." for why in _problems(chain)]
        return tuple(problems)

    def status(self) -> dict[str, Any]:
        """The whole status as a JSON document; its size does not grow with the number of vaults."""
        unready = self.unready()
        with self._lock:
            chains = [self._chain_as_json(chain_id, chain) for chain_id, chain in sorted(self._chains.items())]
        alarms = self._alarms.active()
        return {
            "at": self._clock(),
            "started_at": self._started_at,
            "version": version("rebalancer"),
            "problems": list(unready),
            "alarms_on": len(alarms),
            "alarms": [
                {
                    "chain_id": one.chain_id,
                    "alarm": one.alarm.name,
                    "severity": one.alarm.severity.value,
                    "subject": one.subject,
                    "text": self._text(one.text),
                    "since": one.since,
                }
                for one in alarms[:MOST_LISTED]
            ],
            "chains": chains,
        }

    def _chain_as_json(self, chain_id: int, chain: _Chain) -> dict[str, Any]:
        tick = chain.tick
        if tick is None:
            return {"chain_id": chain_id, "ticks": 0}
        count = Counter(chain.reasons.values())
        return {
            "chain_id": chain_id,
            "ticks": chain.ticks,
            "at": tick.at,
            "seconds": tick.seconds,
            "block": chain.block and asdict(chain.block),
            "subscribed": tick.subscribed,
            "failure": self._text(tick.failure),
            "consecutive_failures": tick.consecutive_failures,
            "requests": tick.requests,
            "candidates": tick.candidates,
            "planned": tick.planned,
            "vaults": len(chain.reasons),
            "reasons": {reason.value: count[reason] for reason in Reason if count[reason]},
            "furthest": [
                {
                    "vault": vault,
                    "reason": reason.value,
                    "drift_bps": chain.drifts_bps.get(vault),
                    "text": self._text(_text_of(chain, vault)),
                }
                for vault, reason in _furthest(chain)
            ],
            "decisions": [
                {**one.decision, "text": self._text(one.decision["text"]), "times": one.times}
                for one in reversed(chain.decisions.values())
            ],
            "attempts": dict(tick.attempts),
            "waiting_blocks": tick.waiting_blocks,
            "signers": [{"address": address, "balance_wei": str(wei)} for address, wei in tick.balances_wei.items()],
            "breakers_open": len(tick.breakers),
            "breakers": [
                {**asdict(one), "why": self._text(one.why)}
                for one in sorted(tick.breakers, key=lambda x: (x.scope != "chain", x.since))
            ][:MOST_LISTED],
            "endpoints": [asdict(one) for one in tick.endpoints],
            "pools_diverged": len(tick.diverged_pools),
            "diverged_pools": list(tick.diverged_pools[:MOST_LISTED]),
            "pools_left_out": len(tick.left_out),
            "left_out": [{**asdict(one), "why": self._text(one.why)} for one in tick.left_out[:MOST_LISTED]],
            "vaults_differing": len(tick.differing_vaults),
            "differing_vaults": list(tick.differing_vaults[:MOST_LISTED]),
        }

    def _text(self, text: str) -> str:
        return safe_text(self._clean(text))


def _problems(chain: _Chain) -> list[str]:
    tick = chain.tick
    if tick is None:
        return ["there was no tick yet"]
    problems = []
    if not chain.has_read_vaults:
        problems.append(f"the vaults have not been read yet ({tick.failure or 'no block'})")
    if tick.endpoints and not any(one.usable for one in tick.endpoints):
        problems.append(f"all {len(tick.endpoints)} endpoints are unusable")
    problems += [
        f"the circuit breaker is open ({one.why.rstrip('.')})" for one in tick.breakers if one.scope == "chain"
    ]
    return problems


def _furthest(chain: _Chain) -> list[tuple[str, Reason]]:
    """Vaults that need attention first, then the others, each by drift."""
    return heapq.nsmallest(
        MOST_VAULTS,
        chain.reasons.items(),
        key=lambda item: (item[1] in _QUIET, -chain.drifts_bps.get(item[0], 0), item[0]),
    )


def _text_of(chain: _Chain, vault: str) -> str:
    """The text of the vault's newest decision, if its reason is still current."""
    reason, text = chain.texts.get(vault, (None, ""))
    return text if reason is chain.reasons[vault] else ""


def _decision_as_json(decision: Decision, at: float) -> dict[str, Any]:
    """A decision reported at `at` as a JSON object, with the cost of a mined rebalance."""
    outcome = decision.outcome
    found: dict[str, Any] = {
        "vault": decision.vault,
        "reason": decision.reason.value,
        "text": decision.text,
        "epoch": decision.epoch,
        "drift_bps": decision.drift_bps,
        "block": decision.block.number,
        "at": at,
        "transaction_hash": decision.transaction_hash,
        "kind": decision.kind,
    }
    if outcome is not None:
        found["drift_after_bps"] = outcome.after.drift_bps
    if outcome is not None and outcome.settled is not None:
        settled = outcome.settled
        found |= {
            "sold_usd": settled.sold_e18 / E18,
            "loss_usd": settled.loss_e18 / E18,
            "loss_bps": settled.loss_e18 * BPS / settled.sold_e18 if settled.sold_e18 else 0.0,
        }
    return found
