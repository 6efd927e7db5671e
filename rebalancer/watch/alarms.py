"""Alarms: conditions that need a person.

`ALARMS` is the only table. It holds each alarm's meaning, severity and remedy, how the keeper finds the alarm in a
report, and how Prometheus finds it in the metrics. deploy/alerts.yml is the text that `rules()` returns. This module is
pure; `rebalancer.watch.alarm_state` keeps which alarms are active.

Prometheus sees chains, not vaults: a hold time applies to one vault in the keeper, and to the whole chain in
Prometheus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from rebalancer.keeper.report import OpenBreaker, Tick
from rebalancer.reasons import Reason
from rebalancer.settings import AlertSettings
from rebalancer.units import E18
from rebalancer.wellknown import DEVNET_CHAIN_ID
from rebalancer.words import span

__all__ = ["ALARMS", "LOOP_SILENT", "SILENT_SECONDS", "Alarm", "AlarmLimits", "Found", "Severity", "next_tick", "rules"]

SILENT_SECONDS = 120
"""A chain is silent after this time without a tick, unless its circuit breaker is open. A tick takes a few seconds."""

_MOST_FAILURES = 3
_MOST_WAITING_BLOCKS = 25
_SLOW_SECONDS = 6
"""Half a block of Ethereum: after that, decisions come late."""
_OLD_SECONDS = 300
_LASTING_SECONDS = 900

JOB = "rebalancer"
"""Name of the scrape job in deploy/."""


class Severity(StrEnum):
    """How soon a person should act, the least urgent first."""

    INFO = "info"
    """At any time."""
    WARNING = "warning"
    """Today."""
    CRITICAL = "critical"
    """Now."""

    def reaches(self, least: Severity) -> bool:
        """Whether this severity is at least `least`."""
        order = list(Severity)
        return order.index(self) >= order.index(least)


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """Thresholds that the settings define."""

    min_signer_wei: int

    @classmethod
    def of(cls, settings: AlertSettings) -> AlarmLimits:
        """The thresholds of some settings."""
        return cls(int(settings.min_signer_ether * E18))


Found = Mapping[str, str]
"""One sentence by subject: a vault, a pool, an endpoint, an account, or "" for the chain."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A kind of alarm."""

    name: str
    severity: Severity
    meaning: str
    remedy: str
    found: Callable[[Tick, AlarmLimits], Found] | None
    """Finds the alarm in a report; None if only Prometheus can see it."""
    expr: str
    """The same condition in PromQL."""
    hold_seconds: int = 0
    """The condition must hold for this long before the alarm begins."""
    of_failed_ticks: bool = False
    """Whether a failed tick can show the alarm. Otherwise a failed tick neither begins nor ends it."""


def next_tick(tick: Tick) -> float:
    """When the next tick is due: now, or when the chain's circuit breaker closes again."""
    backs_off = [one.until or math.inf for one in tick.breakers if one.scope == "chain"]
    return max([tick.at, *backs_off])


def _chain_breaker(tick: Tick, _limits: AlarmLimits) -> Found:
    whys = [one.why for one in tick.breakers if one.scope == "chain"]
    return {"": whys[0]} if whys else {}


def _vault_breakers(for_good: bool) -> Callable[[Tick, AlarmLimits], Found]:
    def is_meant(one: OpenBreaker) -> bool:
        return one.scope != "chain" and (one.until is None) == for_good

    return lambda tick, _limits: {one.scope: one.why for one in tick.breakers if is_meant(one)}


def _reason(reason: Reason, why: str) -> Callable[[Tick, AlarmLimits], Found]:
    return lambda tick, _limits: {vault: why for vault, now in tick.reasons.items() if now is reason}


def _waiting(tick: Tick, _limits: AlarmLimits) -> Found:
    blocks = tick.waiting_blocks
    if blocks <= _MOST_WAITING_BLOCKS:
        return {}
    return {"": f"a transaction has been pending for {blocks} blocks"}


def _low(tick: Tick, limits: AlarmLimits) -> Found:
    return {
        signer: f"its balance is {wei / E18:.6f} ether"
        for signer, wei in tick.balances_wei.items()
        if wei < limits.min_signer_wei
    }


def _failing(tick: Tick, _limits: AlarmLimits) -> Found:
    if tick.consecutive_failures < _MOST_FAILURES:
        return {}
    return {"": f"{tick.consecutive_failures} consecutive ticks failed: {tick.failure}"}


def _slow(tick: Tick, _limits: AlarmLimits) -> Found:
    return {"": f"a tick took {tick.seconds:.1f} s"} if tick.seconds > _SLOW_SECONDS else {}


def _old(tick: Tick, _limits: AlarmLimits) -> Found:
    if tick.chain_id == DEVNET_CHAIN_ID or tick.block is None or tick.at - tick.block.timestamp <= _OLD_SECONDS:
        return {}
    age = span(tick.at - tick.block.timestamp)
    return {"": f"the newest block, {tick.block.number}, is {age} old"}


def _unusable(tick: Tick, _limits: AlarmLimits) -> Found:
    return {one.name: "it is unusable" for one in tick.endpoints if not one.usable}


def _none_usable(tick: Tick, _limits: AlarmLimits) -> Found:
    if not tick.endpoints or any(one.usable for one in tick.endpoints):
        return {}
    return {"": f"all {len(tick.endpoints)} endpoints are unusable"}


def _never(_tick: Tick, _limits: AlarmLimits) -> Found:
    """No tick can show this alarm: `Alarms.silence` finds it."""
    return {}


LOOP_SILENT = Alarm(
    "LoopSilent",
    Severity.CRITICAL,
    "The keeper process runs, but the chain has had no tick for two minutes.",
    "Restart the keeper and report the last lines of its log: a tick that hangs is a bug.",
    _never,
    f"time() - rebalancer_last_tick_timestamp_seconds > {SILENT_SECONDS}"
    ' unless on (chain) rebalancer_breakers_open{scope="chain"} > 0',
    of_failed_ticks=True,
)

ALARMS = (
    Alarm(
        "KeeperDown",
        Severity.CRITICAL,
        "The metrics endpoint of the keeper does not answer.",
        "Read the log and the exit code to see why the keeper stopped, then start it. It resumes where it stopped.",
        None,
        f'up{{job="{JOB}"}} == 0',
        hold_seconds=SILENT_SECONDS,
    ),
    LOOP_SILENT,
    Alarm(
        "ChainBreakerOpen",
        Severity.CRITICAL,
        "The circuit breaker of a chain is open, because its ticks or transactions kept failing.",
        "Read the cause. The keeper retries by itself, unless the cause says that only a restart closes the breaker.",
        _chain_breaker,
        'rebalancer_breakers_open{scope="chain"} > 0',
        of_failed_ticks=True,
    ),
    Alarm(
        "VaultStopped",
        Severity.CRITICAL,
        "A vault is not traded until the keeper restarts: its ledger did not match the policy after a rebalance.",
        "Before you restart, compare the transaction with the vault's rules. This is a bug or an attack.",
        _vault_breakers(for_good=True),
        'rebalancer_breakers_open{scope="vault",closes="restart"} > 0',
        of_failed_ticks=True,
    ),
    Alarm(
        "VaultBreakerOpen",
        Severity.WARNING,
        "The circuit breaker of a vault is open, because its transactions kept failing.",
        "Read the cause. The keeper retries by itself.",
        _vault_breakers(for_good=False),
        'rebalancer_breakers_open{scope="vault",closes="itself"} > 0',
        of_failed_ticks=True,
    ),
    Alarm(
        "VaultIndexMismatch",
        Severity.CRITICAL,
        "A full read of a vault did not match the index built from its logs: an endpoint lost logs, or the keeper has "
        "a bug.",
        "Keep the log, configure another endpoint, restart the keeper, and report the mismatch.",
        lambda tick, _: dict.fromkeys(tick.differing_vaults, "its index entry does not match the chain"),
        "rebalancer_differing_vaults > 0",
    ),
    Alarm(
        "PoolDiverged",
        Severity.WARNING,
        "The cached state of a pool did not match the chain. The pool is not used until it is read again.",
        "Keep the log and report it. The keeper reads the pool again by itself; `rebalancer pool retry` does it at "
        "once.",
        lambda tick, _: dict.fromkeys(tick.diverged_pools, "its cached state does not match the chain"),
        "rebalancer_diverged_pools > 0",
    ),
    Alarm(
        "PoolLeftOut",
        Severity.WARNING,
        "A pool is left out for some time: the chain rejects swaps on it, or its state cannot be read.",
        "Nothing, if other pools trade the same tokens: the keeper retries by itself; `rebalancer pool retry` does it "
        "at once. If the pool is gone permanently, remove it from the addresses file.",
        lambda tick, _: {one.subject: one.why for one in tick.left_out},
        "rebalancer_pools_left_out > 0",
    ),
    Alarm(
        "TransactionWaits",
        Severity.WARNING,
        "A transaction has not been mined for many blocks, although its fee was raised.",
        "Run `rebalancer tx list`. Raise keeper.max_fee_gwei, or stop the keeper and cancel the transaction.",
        _waiting,
        f"rebalancer_waiting_blocks > {_MOST_WAITING_BLOCKS}",
    ),
    Alarm(
        "SignerLow",
        Severity.WARNING,
        "A sender account has little ether left.",
        "Send ether to the account.",
        _low,
        f"rebalancer_signer_balance_ether < {AlertSettings().min_signer_ether}",
    ),
    Alarm(
        "NoEndpoint",
        Severity.CRITICAL,
        "No RPC endpoint of the chain is usable.",
        "Check the status pages of the endpoints' providers, and configure more endpoints.",
        _none_usable,
        "sum by (chain) (rebalancer_endpoint_usable) == 0",
        hold_seconds=60,
        of_failed_ticks=True,
    ),
    Alarm(
        "EndpointUnusable",
        Severity.INFO,
        "An RPC endpoint fails or lags; the keeper uses the others.",
        "Read the cause in the log. Replace the endpoint if it does not recover.",
        _unusable,
        "rebalancer_endpoint_usable == 0",
        hold_seconds=_LASTING_SECONDS,
        of_failed_ticks=True,
    ),
    Alarm(
        "TicksFail",
        Severity.WARNING,
        "Several consecutive ticks failed.",
        "Read the cause. The keeper retries by itself; if ticks keep failing, the chain's circuit breaker opens.",
        _failing,
        f"rebalancer_consecutive_failures >= {_MOST_FAILURES}",
        of_failed_ticks=True,
    ),
    Alarm(
        "NoNewBlock",
        Severity.CRITICAL,
        "The chain produces no blocks, or the endpoints do not see them. A local chain is exempt: it produces blocks "
        "on demand.",
        "Compare the endpoints' heights with a block explorer.",
        _old,
        f'rebalancer_block_age_seconds{{chain!="{DEVNET_CHAIN_ID}"}} > {_OLD_SECONDS}',
    ),
    Alarm(
        "TicksSlow",
        Severity.WARNING,
        "Ticks take more than half a block of Ethereum, so decisions come late.",
        "Check the latency of the endpoints and the load of the machine. Distribute the vaults over a fleet.",
        _slow,
        f"rebalancer_last_tick_seconds > {_SLOW_SECONDS}",
        hold_seconds=300,
        of_failed_ticks=True,
    ),
    Alarm(
        "NotSentLasts",
        Severity.WARNING,
        "A transaction has been due for 15 minutes, but one of the keeper's own limits blocks it.",
        "Raise the limit that the decision names (fees, spending, transactions in flight), or send ether to the "
        "account.",
        _reason(Reason.NOT_SENT, "one of the keeper's own limits blocks its transaction"),
        'rebalancer_vaults{reason="NotSent"} > 0',
        hold_seconds=_LASTING_SECONDS,
    ),
    Alarm(
        "PlanFails",
        Severity.WARNING,
        "The planner failed with an internal error for a vault.",
        "Report it, with a record of the tick (keeper.record_file).",
        _reason(Reason.PLAN_FAILED, "the planner failed with an internal error"),
        'rebalancer_vaults{reason="PlanFailed"} > 0',
    ),
    Alarm(
        "BalanceLost",
        Severity.CRITICAL,
        "A vault lost more than dust of a token. The token is not bought and trading is paused until the owner "
        "decides.",
        "Find out what happened to the token. To continue, the owner calls allowPurchases for the token, or leaves it "
        "barred, and calls resumeRebalance. To give the token up, the owner calls excludeAsset.",
        lambda tick, _: tick.losses,
        "rebalancer_vaults_with_losses > 0",
    ),
    Alarm(
        "FeedOffMarket",
        Severity.CRITICAL,
        "For five minutes, a price feed has differed from the listed pools by more than the slippage that the vaults' "
        "policies allow.",
        "Compare both with other markets. If the feed is wrong, the guardian pauses the vaults and removes the feed. "
        "If the pools are wrong, list other pools.",
        lambda tick, _: tick.off_market,
        "rebalancer_feeds_off_market > 0",
        hold_seconds=300,
    ),
    Alarm(
        "OracleFaultLasts",
        Severity.WARNING,
        "A vault has had no valid price for 15 minutes and cannot be rebalanced.",
        "Run `rebalancer prices`. The curator fixes the feed or its second source.",
        _reason(Reason.ORACLE_FAULT, "it has no valid price"),
        'rebalancer_vaults{reason="OracleFault"} > 0',
        hold_seconds=_LASTING_SECONDS,
    ),
    Alarm(
        "BudgetSpent",
        Severity.INFO,
        "A vault stays outside its band, because its loss budget or turnover budget is spent.",
        "Nothing, if markets moved a lot. Otherwise check the cost of its rebalances.",
        _reason(Reason.BUDGET_SPENT, "its loss budget or turnover budget is spent"),
        'rebalancer_vaults{reason="BudgetSpent"} > 0',
        hold_seconds=_LASTING_SECONDS,
    ),
    Alarm(
        "AlertsFail",
        Severity.WARNING,
        "Alerts could not be sent to one of their destinations.",
        "Test alerts.urls with the `apprise` command.",
        None,
        'increase(rebalancer_alerts_total{outcome!="sent"}[30m]) > 0',
    ),
)


def rules() -> str:
    """Prometheus alert rules for all alarms: the text of deploy/alerts.yml."""
    lines = [
        "# Generated from rebalancer/watch/alarms.py; a test holds them equal. Where alerts.urls is set, the keeper",
        "# sends the same alarms itself. The threshold of SignerLow is the default of alerts.min_signer_ether.",
        "groups:",
        "  - name: rebalancer",
        "    rules:",
    ]
    for alarm in ALARMS:
        lines += [
            f"      - alert: {alarm.name}",
            f"        expr: {_quoted(alarm.expr)}",
            *([f"        for: {alarm.hold_seconds}s"] if alarm.hold_seconds else []),
            "        labels:",
            f"          severity: {alarm.severity.value}",
            "        annotations:",
            f"          summary: {_quoted(alarm.meaning)}",
            f"          action: {_quoted(alarm.remedy)}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
