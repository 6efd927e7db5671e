"""How does a running keeper stand now?

A watcher that keeps the newest look of each chain and gives it back as one JSON document of bounded size: `/status` serves it,
`rebalancer status` draws it. It also says what is wrong with the process (`unhealthy`) and what keeps it from its work
(`unready`), in one sentence each. Integers of wei are decimal strings, as in records; instants are unix seconds.
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
"""Vaults that are listed for each chain."""

MOST_DECISIONS = 20
"""Decisions that are listed for each chain."""

MOST_LISTED = 20
"""Breakers, pools and alarms that are listed; more are counted."""

_QUIET = frozenset({Reason.IN_BAND})
"""Reasons of vaults that nothing is the matter with."""


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A decision and how often it was made in a row of looks."""

    decision: dict[str, Any]
    times: int


class _Chain:
    """All that is known of one chain."""

    def __init__(self) -> None:
        self.tick: Tick | None = None
        self.block: Block | None = None
        self.reasons: Mapping[str, Reason] = {}
        self.drifts_bps: Mapping[str, int] = {}
        self.texts: dict[str, tuple[Reason, str]] = {}
        self.decisions: OrderedDict[tuple[object, ...], _Repeated] = OrderedDict()
        self.ticks = 0
        self.has_book = False

    def observe(self, tick: Tick) -> None:
        # Its decisions may hold whole plans, which are not needed any more.
        self.tick = replace(tick, decisions=(), reasons={}, drifts_bps={}, inputs=None)
        self.block = tick.block or self.block
        self.ticks += 1
        self.has_book = self.has_book or (tick.block is not None and not tick.failure)
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
    """A watcher that knows how every chain stands. Any thread may call it."""

    def __init__(
        self,
        chain_ids: Iterable[int],
        alarms: Alarms,
        clean: Callable[[str], str] = str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`chain_ids` are those that should be looked at; `clean` takes secrets out of texts."""
        self._alarms = alarms
        self._clean = clean
        self._clock = clock
        self._started_at = clock()
        self._chains = {chain_id: _Chain() for chain_id in chain_ids}
        self._lock = threading.Lock()

    def __call__(self, tick: Tick) -> None:
        """Keep a look."""
        with self._lock:
            self._chains.setdefault(tick.chain_id, _Chain()).observe(tick)

    def unhealthy(self) -> tuple[str, ...]:
        """What a restart might mend: a sentence for each chain that is not looked at any more, and does not rest."""
        now = self._clock()
        problems = []
        with self._lock:
            for chain_id, chain in sorted(self._chains.items()):
                at, due = self._started_at, self._started_at
                if chain.tick is not None:
                    at, due = chain.tick.at, next_tick(chain.tick)
                if now - due > SILENT_SECONDS:
                    problems.append(f"Chain {chain_id} has not been looked at for {span(now - at)}.")
        return tuple(problems)

    def unready(self) -> tuple[str, ...]:
        """What keeps the keeper from its work: a sentence a problem."""
        problems = list(self.unhealthy())
        with self._lock:
            for chain_id, chain in sorted(self._chains.items()):
                problems += [f"Chain {chain_id}: {self._text(why)}." for why in _problems(chain)]
        return tuple(problems)

    def status(self) -> dict[str, Any]:
        """Everything, for programs; its size does not grow with vaults."""
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
            "failures_in_a_row": tick.failures_in_a_row,
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
        return ["it has not been looked at yet"]
    problems = []
    if not chain.has_book:
        problems.append(f"its vaults have not been read yet ({tick.failure or 'no block'})")
    if tick.endpoints and not any(one.usable for one in tick.endpoints):
        problems.append(f"none of its {len(tick.endpoints)} endpoints can be used")
    problems += [f"its breaker is open ({one.why.rstrip('.')})" for one in tick.breakers if one.scope == "chain"]
    return problems


def _furthest(chain: _Chain) -> list[tuple[str, Reason]]:
    """The vaults that something is the matter with and then the others, each by drift."""
    return heapq.nsmallest(
        MOST_VAULTS,
        chain.reasons.items(),
        key=lambda item: (item[1] in _QUIET, -chain.drifts_bps.get(item[0], 0), item[0]),
    )


def _text_of(chain: _Chain, vault: str) -> str:
    """Why its reason is what it is now, if that was ever said."""
    reason, text = chain.texts.get(vault, (None, ""))
    return text if reason is chain.reasons[vault] else ""


def _decision_as_json(decision: Decision, at: float) -> dict[str, Any]:
    """A decision told at `at`, for programs; what a rebalance cost once it is mined."""
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
