"""Metrics of a running keeper for Prometheus.

The observer has a registry of its own. Labels are bounded: chain, reason, state, endpoint, signer; never a vault or a
transaction. Counters and histograms are kept here. A scrape computes every gauge from the newest tick of its chain, so
that an endpoint or a signer that is gone leaves no series behind, and ages grow while nothing happens.

`reason` is a `rebalancer.reasons.Reason`, `chain` a chain id, `endpoint` a name without a path. Money is a float in USD
or ether, for dashboards and not for accounting.
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
"""States of an attempt that new blocks can still change."""

BY_ITSELF = "itself"
"""Label `closes` of a breaker that the keeper tries again later."""

NEVER = "restart"
"""Label `closes` of a breaker that only a restart closes."""

_TICK_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 12.0, 30.0, 60.0)
_COST_BUCKETS_BPS = (0, 1, 2, 5, 10, 20, 30, 50, 75, 100, 200, 300)
"""Up to MAX_SLIPPAGE_BPS, the most that a vault allows."""


@dataclass(frozen=True, slots=True)
class _LastTick:
    """The newest tick of a chain, without its decisions, which are large."""

    tick: Tick
    block: Block | None
    reasons: Count[Reason]


class Metrics:
    """All metrics of one process. Thread-safe."""

    def __init__(self, alarms: Alarms | None = None, clock: Callable[[], float] = time.time) -> None:
        """`alarms` are counted by `rebalancer_alarms`."""
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

        self._seconds = histogram("tick_seconds", "Duration of ticks.", _TICK_BUCKETS)
        self._cost = histogram("cost_bps", "Loss of rebalances, in bps of the value sold.", _COST_BUCKETS_BPS)
        self._failures = counter("tick_failures", "Failed ticks.")
        self._requests = counter("requests", "HTTP requests to endpoints.")
        self._decisions = counter("decisions", "Decisions, by reason.", ("chain", "reason"))
        self._rebalances = counter("rebalances", "Rebalances that were mined and verified.")
        self._sold = counter("sold_usd", "Value sold by rebalances, in USD at oracle prices.")
        self._lost = counter("loss_usd", "Value lost by rebalances, in USD at oracle prices.")
        self._gas = counter("gas_ether", "Ether paid for the gas of rebalances, including all fees of a rollup.")
        self._rollup = counter("rollup_ether", "The part of rebalancer_gas_ether for L1 data and the chain operator.")
        self._alerts = counter("alerts", "Alerts, by outcome.", ("outcome",))
        for outcome in ("sent", "failed", "dropped"):
            self._alerts.labels(outcome)
        self.registry.register(_Gauges(self._gauges))
        ProcessCollector(registry=self.registry)

    def __call__(self, tick: Tick) -> None:
        """Count a tick."""
        chain = str(tick.chain_id)
        with self._lock:
            before = self._newest.get(tick.chain_id)
            block = tick.block or (before.block if before else None)
            self._newest[tick.chain_id] = _LastTick(
                replace(tick, decisions=(), reasons={}, drifts_bps={}, inputs=None), block, Count(tick.reasons.values())
            )
        if before is None:
            self._begin(chain)
        if tick.failure or before is None or tick.block != before.block:
            self._seconds.labels(chain).observe(tick.seconds)  # a tick without a new block takes no time
        self._requests.labels(chain).inc(tick.requests)
        if tick.failure:
            self._failures.labels(chain).inc()
        for decision in tick.decisions:
            self._decisions.labels(chain, decision.reason.value).inc()
            if decision.outcome is not None:
                self._count(chain, decision.outcome)

    def alert(self, outcome: str) -> None:
        """Count the outcome of an alert: "sent", "failed" or "dropped"."""
        self._alerts.labels(outcome).inc()

    def _begin(self, chain: str) -> None:
        """Begin every counter at 0; otherwise Prometheus would not see its first increase."""
        for each in (self._failures, self._rebalances, self._sold, self._lost, self._gas, self._rollup):
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
            return  # other transactions of the vault in the same block hide its cost
        self._sold.labels(chain).inc(settled.sold_e18 / E18)
        self._lost.labels(chain).inc(settled.loss_e18 / E18)
        if settled.sold_e18:
            self._cost.labels(chain).observe(settled.loss_e18 * BPS / settled.sold_e18)

    def _gauges(self) -> Iterator[Metric]:
        with self._lock:
            last_ticks = {str(chain_id): last for chain_id, last in sorted(self._newest.items())}
        now = self._clock()

        def gauge(
            name: str, text: str, values: Callable[[_LastTick], Iterable[tuple[tuple[str, ...], float]]], *labels: str
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

        build = InfoMetricFamily("rebalancer_build", "Version of the program.")
        build.add_metric((), {"version": version("rebalancer")})
        yield build
        yield one("last_tick_timestamp_seconds", "End of the newest tick, in unix seconds.", lambda x: x.tick.at)
        yield one("last_tick_seconds", "Duration of the newest tick.", lambda x: x.tick.seconds)
        yield one("consecutive_failures", "Consecutive failed ticks.", lambda x: x.tick.consecutive_failures)
        yield one("block_number", "Number of the newest block.", lambda x: x.block.number if x.block else None)
        yield one(
            "block_age_seconds",
            "Age of the newest block.",
            lambda x: max(0.0, now - x.block.timestamp) if x.block else None,
        )
        yield one("subscribed", "Whether a WebSocket announces new blocks.", lambda x: int(x.tick.subscribed))
        yield gauge(
            "vaults",
            "Vaults, by the reason why they can or cannot be rebalanced.",
            lambda x: [((reason.value,), x.reasons[reason]) for reason in Reason],
            "reason",
        )
        yield one("candidates", "Vaults that the newest tick read in full.", lambda x: x.tick.candidates)
        yield one("planned", "Vaults that the newest tick planned trades for.", lambda x: x.tick.planned)
        yield gauge(
            "attempts",
            "Transactions that new blocks can still change, by state.",
            lambda x: [((state.value,), x.tick.attempts.get(state.value, 0)) for state in PENDING],
            "state",
        )
        yield one(
            "waiting_blocks", "Age of the oldest pending transaction, in blocks.", lambda x: x.tick.waiting_blocks
        )
        yield gauge(
            "signer_balance_ether",
            "Ether balance of each sender account.",
            lambda x: [((of,), wei / E18) for of, wei in x.tick.balances_wei.items()],
            "signer",
        )
        yield gauge("breakers_open", "Open circuit breakers.", _breakers, "scope", "closes")
        yield gauge(
            "endpoint_height",
            "Newest block number of each RPC endpoint.",
            lambda x: [(of, e.height) for of, e in _named(x) if e.height is not None],
            "endpoint",
        )
        yield gauge(
            "endpoint_latency_seconds",
            "Response time of each RPC endpoint.",
            lambda x: [(of, e.latency_seconds) for of, e in _named(x) if e.latency_seconds is not None],
            "endpoint",
        )
        yield gauge(
            "endpoint_usable",
            "Whether each RPC endpoint is usable.",
            lambda x: [(of, int(e.usable)) for of, e in _named(x)],
            "endpoint",
        )
        yield one(
            "diverged_pools", "Pools whose cached state did not match the chain.", lambda x: len(x.tick.diverged_pools)
        )
        yield one(
            "pools_left_out",
            "Pools left out for some time, because the chain rejects their swaps or their state cannot be read.",
            lambda x: len(x.tick.left_out),
        )
        yield one(
            "differing_vaults",
            "Vaults whose index entry did not match the chain.",
            lambda x: len(x.tick.differing_vaults),
        )
        yield one(
            "vaults_with_losses",
            "Vaults that lost more than dust of a token and wait for their owner.",
            lambda x: len(x.tick.losses),
        )
        yield one(
            "feeds_off_market",
            "Tokens whose price feed differs too much from the listed pools.",
            lambda x: len(x.tick.off_market),
        )
        yield self._alarm_gauge(last_ticks)

    def _alarm_gauge(self, last_ticks: Iterable[str]) -> GaugeMetricFamily:
        family = GaugeMetricFamily("rebalancer_alarms", "Active alarms.", labels=("chain", "alarm", "severity"))
        if self._alarms is not None:
            on = Count((str(each.chain_id), each.alarm.name) for each in self._alarms.active())
            for chain in sorted({*last_ticks, *(chain for chain, _ in on)}):
                for alarm in ALARMS:
                    if alarm.found is not None:
                        labels = (chain, alarm.name, alarm.severity.value)
                        family.add_metric(labels, on[chain, alarm.name])
        return family


class _Gauges(Collector):
    """Computes the gauges at every scrape."""

    def __init__(self, gauges: Callable[[], Iterator[Metric]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        return self._gauges()


def _breakers(last: _LastTick) -> list[tuple[tuple[str, ...], float]]:
    count = Count(
        ("chain" if breaker.scope == "chain" else "vault", NEVER if breaker.until is None else BY_ITSELF)
        for breaker in last.tick.breakers
    )
    kinds = [(scope, closes) for scope in ("chain", "vault") for closes in (BY_ITSELF, NEVER)]
    return [(kind, count[kind]) for kind in kinds]


def _named(last: _LastTick) -> list[tuple[tuple[str], EndpointState]]:
    """Endpoints by name. A repeated name gets a number: two keys at one provider are two endpoints."""
    seen: Count[str] = Count()
    named = []
    for each in last.tick.endpoints:
        seen[each.name] += 1
        number = seen[each.name]
        named.append(((each.name if number == 1 else f"{each.name} #{number}",), each))
    return named
