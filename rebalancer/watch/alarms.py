"""What needs a person?

`ALARMS` is the one table: what each alarm means, how severe it is, how the keeper finds it in a look and how Prometheus finds
it in the metrics. deploy/alerts.yml is `rules()` of it. All here is pure; `rebalancer.watch.alarm_state` keeps which alarms are on.

Prometheus sees chains, not vaults: where an alarm has to last, it lasts for one vault here and for the chain there.
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

__all__ = [
    "ALARMS",
    "LOOP_SILENT",
    "SILENT_SECONDS",
    "Alarm",
    "AlarmLimits",
    "Found",
    "Severity",
    "next_tick",
    "rules",
]

SILENT_SECONDS = 120
"""A chain that was not looked at for so long, and does not rest, has no keeper: a look has at most some seconds."""

_MOST_FAILURES = 3
_MOST_WAITING_BLOCKS = 25
_SLOW_SECONDS = 6
"""Half a block of Ethereum: decisions come late from there on."""
_OLD_SECONDS = 300
_LASTING_SECONDS = 900

JOB = "rebalancer"
"""Name of the scrape job in deploy/."""


class Severity(StrEnum):
    """How soon a person should look, the least first."""

    INFO = "info"
    """Some day."""
    WARNING = "warning"
    """Today."""
    CRITICAL = "critical"
    """Now."""

    def reaches(self, least: Severity) -> bool:
        """Whether it is at least that severe."""
        order = list(Severity)
        return order.index(self) >= order.index(least)


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """Where the settings say that something becomes an alarm."""

    min_signer_wei: int

    @classmethod
    def of(cls, settings: AlertSettings) -> AlarmLimits:
        """As the settings have it."""
        return cls(int(settings.min_signer_ether * E18))


Found = Mapping[str, str]
"""What an alarm is about (a vault, a pool, an endpoint, an account; "" for the chain) and a sentence on each."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A kind of alarm."""

    name: str
    severity: Severity
    meaning: str
    remedy: str
    found: Callable[[Tick, AlarmLimits], Found] | None
    """What of it a look shows; None if only Prometheus can see it."""
    expr: str
    """The same in PromQL."""
    hold_seconds: int = 0
    """How long it must last before it is told."""
    of_failed_ticks: bool = False
    """Whether a failed look shows it, too; otherwise such a look neither begins nor ends it."""


def next_tick(tick: Tick) -> float:
    """From when on the next look at the chain may be waited for: while the chain's breaker is open, there is none."""
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
    return {"": f"a transaction has waited for {blocks} blocks"}


def _low(tick: Tick, limits: AlarmLimits) -> Found:
    return {
        signer: f"it has {wei / E18:.6f} ether left"
        for signer, wei in tick.balances_wei.items()
        if wei < limits.min_signer_wei
    }


def _failing(tick: Tick, _limits: AlarmLimits) -> Found:
    if tick.failures_in_a_row < _MOST_FAILURES:
        return {}
    return {"": f"{tick.failures_in_a_row} looks in a row failed: {tick.failure}"}


def _slow(tick: Tick, _limits: AlarmLimits) -> Found:
    return {"": f"a look took {tick.seconds:.1f} s"} if tick.seconds > _SLOW_SECONDS else {}


def _old(tick: Tick, _limits: AlarmLimits) -> Found:
    if tick.chain_id == DEVNET_CHAIN_ID or tick.block is None or tick.at - tick.block.timestamp <= _OLD_SECONDS:
        return {}
    age = span(tick.at - tick.block.timestamp)
    return {"": f"the newest block, {tick.block.number}, is {age} old"}


def _unusable(tick: Tick, _limits: AlarmLimits) -> Found:
    return {one.name: "it cannot be used" for one in tick.endpoints if not one.usable}


def _none_usable(tick: Tick, _limits: AlarmLimits) -> Found:
    if not tick.endpoints or any(one.usable for one in tick.endpoints):
        return {}
    return {"": f"none of the {len(tick.endpoints)} endpoints can be used"}


def _never(_tick: Tick, _limits: AlarmLimits) -> Found:
    """A look never shows it: `Alarms.silence` does."""
    return {}


LOOP_SILENT = Alarm(
    "LoopSilent",
    Severity.CRITICAL,
    "The keeper runs, and has not looked at the chain for two minutes.",
    "Restart it, and report what its log says last: a look that hangs is a mistake of the program.",
    _never,
    f"time() - rebalancer_last_tick_timestamp_seconds > {SILENT_SECONDS}"
    ' unless on (chain) rebalancer_breakers_open{scope="chain"} > 0',
    of_failed_ticks=True,
)

ALARMS = (
    Alarm(
        "KeeperDown",
        Severity.CRITICAL,
        "The keeper cannot be asked for its metrics.",
        "See why it stopped in its log and exit code; it resumes where it was.",
        None,
        f'up{{job="{JOB}"}} == 0',
        hold_seconds=SILENT_SECONDS,
    ),
    LOOP_SILENT,
    Alarm(
        "ChainBreakerOpen",
        Severity.CRITICAL,
        "The keeper rests a whole chain, because its looks or transactions kept failing.",
        "Read why; it tries again by itself unless it says that only a restart closes it.",
        _chain_breaker,
        'rebalancer_breakers_open{scope="chain"} > 0',
        of_failed_ticks=True,
    ),
    Alarm(
        "VaultStopped",
        Severity.CRITICAL,
        "A vault is not traded any more until the keeper restarts: its books were not what the policy says.",
        "Compare the transaction with the vault's rules before the restart; this should never happen.",
        _vault_breakers(for_good=True),
        'rebalancer_breakers_open{scope="vault",closes="restart"} > 0',
        of_failed_ticks=True,
    ),
    Alarm(
        "VaultBreakerOpen",
        Severity.WARNING,
        "The keeper rests a vault, because what it tried there kept failing.",
        "Read why; it tries again by itself.",
        _vault_breakers(for_good=False),
        'rebalancer_breakers_open{scope="vault",closes="itself"} > 0',
        of_failed_ticks=True,
    ),
    Alarm(
        "VaultBookDiffers",
        Severity.CRITICAL,
        "A vault re-read in full was not what its logs had made of it: an endpoint lost logs, or this program did.",
        "Keep the log, name another endpoint, restart the keeper, and report it.",
        lambda tick, _: dict.fromkeys(tick.differing_vaults, "its books differ from the chain's"),
        "rebalancer_differing_vaults > 0",
    ),
    Alarm(
        "PoolDiverged",
        Severity.WARNING,
        "A pool kept from logs was not what the chain says; it is not traded on until it is read again.",
        "Keep the log, and report it. The keeper reads the pool again by itself, and at once after `rebalancer pool retry`.",
        lambda tick, _: dict.fromkeys(tick.diverged_pools, "it is not what its logs made of it"),
        "rebalancer_diverged_pools > 0",
    ),
    Alarm(
        "PoolLeftOut",
        Severity.WARNING,
        "A pool is not traded on for a while: the chain refuses swaps on it, or it cannot be read as what it should be.",
        "Nothing where others lead to the same tokens: the keeper tries it again by itself, and at once after `rebalancer pool retry`. "
        "If it is gone for good, take it out of the addresses file.",
        lambda tick, _: {one.subject: one.why for one in tick.left_out},
        "rebalancer_pools_left_out > 0",
    ),
    Alarm(
        "TransactionWaits",
        Severity.WARNING,
        "A transaction was not mined for many blocks, though its fees were raised.",
        "See `rebalancer tx list`; raise keeper.max_fee_gwei, or stop the keeper and cancel the transaction.",
        _waiting,
        f"rebalancer_waiting_blocks > {_MOST_WAITING_BLOCKS}",
    ),
    Alarm(
        "SignerLow",
        Severity.WARNING,
        "A signing account has little ether left.",
        "Send it ether.",
        _low,
        f"rebalancer_signer_balance_ether < {AlertSettings().min_signer_ether}",
    ),
    Alarm(
        "NoEndpoint",
        Severity.CRITICAL,
        "No endpoint of the chain can be used.",
        "Check the endpoints' own status pages, and name more of them.",
        _none_usable,
        "sum by (chain) (rebalancer_endpoint_usable) == 0",
        hold_seconds=60,
        of_failed_ticks=True,
    ),
    Alarm(
        "EndpointUnusable",
        Severity.INFO,
        "An endpoint fails or lags; others are asked.",
        "See why in the log; replace it if it stays so.",
        _unusable,
        "rebalancer_endpoint_usable == 0",
        hold_seconds=_LASTING_SECONDS,
        of_failed_ticks=True,
    ),
    Alarm(
        "LooksFail",
        Severity.WARNING,
        "Several looks in a row failed.",
        "Read why; the keeper tries again by itself, and rests the chain if it goes on.",
        _failing,
        f"rebalancer_failures_in_a_row >= {_MOST_FAILURES}",
        of_failed_ticks=True,
    ),
    Alarm(
        "NoNewBlock",
        Severity.CRITICAL,
        "The chain makes no blocks, or the endpoints do not see them. Not of a local chain, which makes them when asked.",
        "Compare the endpoints' heights with a block explorer.",
        _old,
        f'rebalancer_block_age_seconds{{chain!="{DEVNET_CHAIN_ID}"}} > {_OLD_SECONDS}',
    ),
    Alarm(
        "LooksSlow",
        Severity.WARNING,
        "Looks take more than half a block of Ethereum, so decisions come late.",
        "See the latency of the endpoints and the load of the machine; share the vaults out with a fleet.",
        _slow,
        f"rebalancer_last_tick_seconds > {_SLOW_SECONDS}",
        hold_seconds=300,
        of_failed_ticks=True,
    ),
    Alarm(
        "NotSentLasts",
        Severity.WARNING,
        "A transaction has been due for a quarter of an hour, and a limit of the keeper's own forbids to send it.",
        "Raise the limit that the decision names (fees, spending, lanes), or send the account ether.",
        _reason(Reason.NOT_SENT, "a limit of the keeper's own forbids to send its transaction"),
        'rebalancer_vaults{reason="NotSent"} > 0',
        hold_seconds=_LASTING_SECONDS,
    ),
    Alarm(
        "PlanFails",
        Severity.WARNING,
        "The program made a mistake while it sought trades for a vault.",
        "Report it, with a record (keeper.record_file).",
        _reason(Reason.PLAN_FAILED, "the program made a mistake while it sought trades"),
        'rebalancer_vaults{reason="PlanFailed"} > 0',
    ),
    Alarm(
        "BalanceLost",
        Severity.CRITICAL,
        "A vault lost more than dust of a token: it is not bought again, and trading is paused, until the owner says otherwise.",
        "Find out what became of the token. To go on, the owner calls allowPurchases for it, or leaves it barred, and resumeRebalance; "
        "to give it up, excludeAsset.",
        lambda tick, _: tick.losses,
        "rebalancer_vaults_with_losses > 0",
    ),
    Alarm(
        "FeedOffMarket",
        Severity.CRITICAL,
        "A price feed has been away from the listed pools, by depth, for five minutes by more than the vaults' policies allow as slippage.",
        "Compare both with other markets. If the feed is wrong, the guardian pauses the vaults and removes the feed; if the pools are, list others.",
        lambda tick, _: tick.off_market,
        "rebalancer_feeds_off_market > 0",
        hold_seconds=300,
    ),
    Alarm(
        "OracleFaultLasts",
        Severity.WARNING,
        "A vault has had no sound price for a quarter of an hour, and cannot be rebalanced.",
        "See `rebalancer prices`; the curator mends the feed or its second source.",
        _reason(Reason.ORACLE_FAULT, "it has no sound price"),
        'rebalancer_vaults{reason="OracleFault"} > 0',
        hold_seconds=_LASTING_SECONDS,
    ),
    Alarm(
        "BudgetSpent",
        Severity.INFO,
        "A vault stays outside its band, because its loss or turnover budget is spent.",
        "Nothing, if markets moved a lot; otherwise see what its rebalances cost.",
        _reason(Reason.BUDGET_SPENT, "its loss or turnover budget is spent"),
        'rebalancer_vaults{reason="BudgetSpent"} > 0',
        hold_seconds=_LASTING_SECONDS,
    ),
    Alarm(
        "AlertsFail",
        Severity.WARNING,
        "Alerts could not be sent to one of their places.",
        "Check alerts.urls with Apprise's own command.",
        None,
        'increase(rebalancer_alerts_total{outcome!="sent"}[30m]) > 0',
    ),
)


# The same for Prometheus


def rules() -> str:
    """The alert rules of Prometheus for every alarm: the text of deploy/alerts.yml."""
    lines = [
        "# Made from rebalancer/watch/alarms.py, whose tests hold it equal; the keeper tells the same by itself where",
        "# alerts.urls are set. The limit of SignerLow is the default of alerts.min_signer_ether.",
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
