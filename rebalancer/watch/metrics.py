"""What does Prometheus see of a running keeper?

A watcher with a registry of its own. Labels are bounded: chain, reason, state, endpoint, signer, never a vault or a
transaction. Counters and histograms are kept here; every gauge is made from the newest look of its chain when it is
asked for, so that what is gone (an endpoint, a signer) leaves no line behind and ages grow while nothing happens.

`reason` is a `rebalancer.reasons.Reason`, `chain` a chain id, `endpoint` a name without path. Money is in USD or ether, as
floats: to be watched, not to be settled.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from rebalancer.block import Block
from rebalancer.keeper.decision import Outcome
from rebalancer.keeper.report import EndpointState, Tick
from rebalancer.reasons import Reason
from rebalancer.send.attempt import AttemptState
from rebalancer.units import BPS, E18
from rebalancer.watch.alarm_state import Alarms
from rebalancer.watch.alarms import ALARMS

__all__ = ["BY_ITSELF", "NEVER", "PENDING", "Metrics"]

PENDING = tuple(state for state in AttemptState if state is not AttemptState.FINAL)
"""States of an attempt that blocks may still change."""

BY_ITSELF = "itself"
"""Label `closes` of a breaker that is tried again later."""

NEVER = "restart"
"""Label `closes` of a breaker that only a restart closes."""

_TICK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 12.0, 30.0, 60.0)
_COST_BUCKETS_BPS = (0, 1, 2, 5, 10, 20, 30, 50, 75, 100, 200, 300)
"""Up to MAX_SLIPPAGE_BPS, above which no vault lets a rebalance pass."""


@dataclass(frozen=True, slots=True)
class _LastTick:
    """The newest look at a chain: without its decisions, which are large."""

    tick: Tick
    block: Block | None
    reasons: Count[Reason]


class Metrics:
    """All metrics of one process. A watcher; any thread may call it, and any other read `registry`."""

    def __init__(self, alarms: Alarms | None = None, clock: Callable[[], float] = time.time) -> None:
        """`alarms` are those that `rebalancer_alarms` counts."""
        self.registry = CollectorRegistry()
        self._alarms = alarms
        self._clock = clock
        self._newest: dict[int, _LastTick] = {}
        self._lock = threading.Lock()
        chain = ("chain",)

        def counter(name: str, text: str, labels: tuple[str, ...] = chain) -> Counter:
            return Counter(f"rebalancer_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: Iterable[float]) -> Histogram:
            return Histogram(f"rebalancer_{name}", text, chain, registry=self.registry, buckets=tuple(buckets))

        self._seconds = histogram("tick_seconds", "How long looks take.", _TICK_BUCKETS)
        self._cost = histogram("cost_bps", "Loss of rebalances, in bps of what they sold.", _COST_BUCKETS_BPS)
        self._failures = counter("tick_failures", "Looks that failed.")
        self._requests = counter("requests", "HTTP requests to endpoints.")
        self._decisions = counter("decisions", "Decisions.", ("chain", "reason"))
        self._rebalances = counter("rebalances", "Rebalances mined and checked.")
        self._sold = counter("sold_usd", "Value that rebalances sold, at the oracle's prices.")
        self._lost = counter("loss_usd", "Value that rebalances lost against the oracle's prices.")
        self._gas = counter("gas_ether", "Ether that rebalances paid for gas, with all that a rollup charges.")
        self._rollup = counter("rollup_ether", "The part of it for data on L1 and the chain's operator.")
        self._alerts = counter("alerts", "Alerts, by what became of them.", ("outcome",))
        for outcome in ("sent", "failed", "dropped"):
            self._alerts.labels(outcome)
        self.registry.register(_Gauges(self._gauges))
        ProcessCollector(registry=self.registry)

    def __call__(self, tick: Tick) -> None:
        """Count a look."""
        chain = str(tick.chain_id)
        with self._lock:
            before = self._newest.get(tick.chain_id)
            block = tick.block or (before.block if before else None)
            self._newest[tick.chain_id] = _LastTick(
                replace(tick, decisions=(), reasons={}, drifts_bps={}, inputs=None),
                block,
                Count(tick.reasons.values()),
            )
        if before is None:
            self._begin(chain)
        if tick.failure or before is None or tick.block != before.block:
            self._seconds.labels(chain).observe(tick.seconds)  # else there was nothing to look at
        self._requests.labels(chain).inc(tick.requests)
        if tick.failure:
            self._failures.labels(chain).inc()
        for decision in tick.decisions:
            self._decisions.labels(chain, decision.reason.value).inc()
            if decision.outcome is not None:
                self._count(chain, decision.outcome)

    def alert(self, outcome: str) -> None:
        """Count an alert that was sent, failed or was dropped."""
        self._alerts.labels(outcome).inc()

    def _begin(self, chain: str) -> None:
        """Begin every counter at 0, or its first increase would not be seen as one."""
        for each in (
            self._failures,
            self._rebalances,
            self._sold,
            self._lost,
            self._gas,
            self._rollup,
        ):
            each.labels(chain)
        self._cost.labels(chain)
        for reason in Reason:
            self._decisions.labels(chain, reason.value)

    def _count(self, chain: str, outcome: Outcome) -> None:
        self._rebalances.labels(chain).inc()
        self._gas.labels(chain).inc(outcome.receipt.cost_wei / E18)
        self._rollup.labels(chain).inc(outcome.receipt.rollup_wei / E18)
        settled = outcome.settled
        if settled is None:
            return  # another transaction of the same block hides what it cost
        self._sold.labels(chain).inc(settled.sold_e18 / E18)
        self._lost.labels(chain).inc(settled.loss_e18 / E18)
        if settled.sold_e18:
            self._cost.labels(chain).observe(settled.loss_e18 * BPS / settled.sold_e18)

    def _gauges(self) -> Iterator[Metric]:
        with self._lock:
            last_ticks = {str(chain_id): last for chain_id, last in sorted(self._newest.items())}
        now = self._clock()

        def gauge(
            name: str,
            text: str,
            values: Callable[[_LastTick], Iterable[tuple[tuple[str, ...], float]]],
            *labels: str,
        ) -> GaugeMetricFamily:
            family = GaugeMetricFamily(f"rebalancer_{name}", text, labels=("chain", *labels))
            for chain, last in last_ticks.items():
                for of, value in values(last):
                    family.add_metric((chain, *of), value)
            return family

        def one(name: str, text: str, value: Callable[[_LastTick], float | None]) -> GaugeMetricFamily:
            def values(last: _LastTick) -> Iterable[tuple[tuple[str, ...], float]]:
                found = value(last)
                return [] if found is None else [((), found)]

            return gauge(name, text, values)

        build = InfoMetricFamily("rebalancer_build", "The program.")
        build.add_metric((), {"version": version("rebalancer")})
        yield build
        yield one("last_tick_timestamp_seconds", "End of the newest look.", lambda x: x.tick.at)
        yield one("last_tick_seconds", "How long the newest look took.", lambda x: x.tick.seconds)
        yield one("failures_in_a_row", "Looks that failed lately.", lambda x: x.tick.failures_in_a_row)
        yield one("block_number", "Newest block.", lambda x: x.block.number if x.block else None)
        yield one(
            "block_age_seconds",
            "How long ago the newest block was made.",
            lambda x: max(0.0, now - x.block.timestamp) if x.block else None,
        )
        yield one("subscribed", "Whether blocks come by WebSocket.", lambda x: int(x.tick.subscribed))
        yield gauge(
            "vaults",
            "Vaults, by why they can or cannot be rebalanced.",
            lambda x: [((reason.value,), x.reasons[reason]) for reason in Reason],
            "reason",
        )
        yield one("candidates", "Vaults that were read exactly.", lambda x: x.tick.candidates)
        yield one("planned", "Vaults for which trades were sought.", lambda x: x.tick.planned)
        yield gauge(
            "attempts",
            "Transactions that blocks may still change, by state.",
            lambda x: [((state.value,), x.tick.attempts.get(state.value, 0)) for state in PENDING],
            "state",
        )
        yield one(
            "waiting_blocks",
            "Blocks that the oldest transaction under way has waited.",
            lambda x: x.tick.waiting_blocks,
        )
        yield gauge(
            "signer_balance_ether",
            "Ether of each signing account.",
            lambda x: [((of,), wei / E18) for of, wei in x.tick.balances_wei.items()],
            "signer",
        )
        yield gauge("breakers_open", "Open breakers.", _breakers, "scope", "closes")
        yield gauge(
            "endpoint_height",
            "Newest block of each endpoint.",
            lambda x: [(of, e.height) for of, e in _named(x) if e.height is not None],
            "endpoint",
        )
        yield gauge(
            "endpoint_latency_seconds",
            "How long each endpoint takes to answer.",
            lambda x: [(of, e.latency_seconds) for of, e in _named(x) if e.latency_seconds is not None],
            "endpoint",
        )
        yield gauge(
            "endpoint_usable",
            "Whether each endpoint is sound.",
            lambda x: [(of, int(e.usable)) for of, e in _named(x)],
            "endpoint",
        )
        yield one("diverged_pools", "Pools not traded any more.", lambda x: len(x.tick.diverged_pools))
        yield one(
            "pools_left_out",
            "Pools not traded on for a while, because they refuse swaps or cannot be read.",
            lambda x: len(x.tick.left_out),
        )
        yield one(
            "differing_vaults",
            "Vaults whose books were not what the chain says.",
            lambda x: len(x.tick.differing_vaults),
        )
        yield one(
            "vaults_with_losses",
            "Vaults that lost more than dust of a token, which the owner has not dealt with.",
            lambda x: len(x.tick.losses),
        )
        yield one(
            "feeds_off_market",
            "Tokens whose feed is not where the listed pools are.",
            lambda x: len(x.tick.off_market),
        )
        yield self._alarm_gauge(last_ticks)

    def _alarm_gauge(self, last_ticks: Iterable[str]) -> GaugeMetricFamily:
        family = GaugeMetricFamily("rebalancer_alarms", "Alarms that are on.", labels=("chain", "alarm", "severity"))
        if self._alarms is not None:
            on = Count((str(each.chain_id), each.alarm.name) for each in self._alarms.active())
            for chain in sorted({*last_ticks, *(chain for chain, _ in on)}):
                for alarm in ALARMS:
                    if alarm.found is not None:
                        labels = (chain, alarm.name, alarm.severity.value)
                        family.add_metric(labels, on[chain, alarm.name])
        return family


class _Gauges(Collector):
    """Asks for the gauges whenever the registry is read."""

    def __init__(self, gauges: Callable[[], Iterator[Metric]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        return self._gauges()


def _breakers(last: _LastTick) -> list[tuple[tuple[str, ...], float]]:
    count = Count(
        (
            "chain" if breaker.scope == "chain" else "vault",
            NEVER if breaker.until is None else BY_ITSELF,
        )
        for breaker in last.tick.breakers
    )
    kinds = [(scope, closes) for scope in ("chain", "vault") for closes in (BY_ITSELF, NEVER)]
    return [(kind, count[kind]) for kind in kinds]


def _named(last: _LastTick) -> list[tuple[tuple[str], EndpointState]]:
    """Endpoints by name, the second of a name with a number: two keys at one provider are two endpoints."""
    seen: Count[str] = Count()
    named = []
    for each in last.tick.endpoints:
        seen[each.name] += 1
        number = seen[each.name]
        named.append(((each.name if number == 1 else f"{each.name} #{number}",), each))
    return named
