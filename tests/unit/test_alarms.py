"""Alarms: when each begins, lasts and ends, and that Prometheus is told of the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rebalancer.keeper.outages import LeftOut
from rebalancer.reasons import Reason
from rebalancer.settings import AlertSettings
from rebalancer.units import E18
from rebalancer.watch.alarm_state import Alarms, Notice, Phase
from rebalancer.watch.alarms import ALARMS, SILENT_SECONDS, Alarm, AlarmLimits, Severity, rules
from rebalancer.watch.metrics import Metrics
from tests.ticks import CHAIN, NOON, SIGNER, breaker, endpoint, tick, vault

REPEAT = 3_600.0
LIMITS = AlarmLimits.of(AlertSettings())

MATTERS: dict[str, dict[str, Any]] = {
    "ChainBreakerOpen": {"breakers": (breaker(why="eth_call failed"),)},
    "VaultStopped": {"breakers": (breaker(vault(1), "its books differ", until=None),)},
    "VaultBreakerOpen": {"breakers": (breaker(vault(1), "refused"),)},
    "VaultIndexMismatch": {"differing_vaults": (vault(1),)},
    "PoolDiverged": {"diverged_pools": ("v3 0xaa",)},
    "PoolLeftOut": {"left_out": (LeftOut("0xaa", "TF", NOON, NOON + 60),)},
    "TransactionWaits": {"waiting_blocks": 26},
    "SignerLow": {"balances_wei": {SIGNER: 5 * E18 // 100 - 1}},
    "NoEndpoint": {"endpoints": (endpoint("https://one.example", usable=False),)},
    "EndpointUnusable": {"endpoints": (endpoint("https://one.example", usable=False), endpoint("https://b.example"))},
    "TicksFail": {"failure": "no answer", "consecutive_failures": 3},
    "NoNewBlock": {"block": tick(NOON - 300).block},
    "TicksSlow": {"seconds": 6.5},
    "OracleFaultLasts": {"reasons": {vault(1): Reason.ORACLE_FAULT}},
    "BalanceLost": {"losses": {vault(1): "a token lost balance"}},
    "FeedOffMarket": {"off_market": {vault(2): "its feed is not where the pools are"}},
    "NotSentLasts": {"reasons": {vault(1): Reason.NOT_SENT}},
    "PlanFails": {"reasons": {vault(1): Reason.PLAN_FAILED}},
    "BudgetSpent": {"reasons": {vault(1): Reason.BUDGET_SPENT}},
}
"""A look that begins each alarm that looks can begin."""

JUST_NOT: dict[str, dict[str, Any]] = {
    "TransactionWaits": {"waiting_blocks": 25},
    "SignerLow": {"balances_wei": {SIGNER: 5 * E18 // 100}},
    "NoEndpoint": MATTERS["EndpointUnusable"],
    "TicksFail": {"failure": "no answer", "consecutive_failures": 2},
    "NoNewBlock": {"block": tick(NOON - 299).block},
    "TicksSlow": {"seconds": 6.0},
    "VaultStopped": MATTERS["VaultBreakerOpen"],
    "VaultBreakerOpen": MATTERS["VaultStopped"],
}
"""The nearest look that does not."""


def alarm(name: str) -> Alarm:
    (found,) = [each for each in ALARMS if each.name == name]
    return found


def reported(alarm_state: tuple[Notice, ...]) -> list[tuple[str, str]]:
    return [(notice.alarm.name, notice.phase.value) for notice in alarm_state]


# Each alarm


def test_quiet_look_begins_nothing() -> None:
    alarms = Alarms(LIMITS, REPEAT)

    assert alarms.observe(tick()) == ()
    assert alarms.active() == ()


def test_every_alarm_of_looks_is_tried_here() -> None:
    of_ticks = {each.name for each in ALARMS if each.found is not None}

    assert of_ticks == {*MATTERS, "LoopSilent"}


@pytest.mark.parametrize("name", MATTERS)
def test_alarm_begins_once_it_has_lasted_and_ends_once_it_is_gone(name: str) -> None:
    alarms, hold = Alarms(LIMITS, REPEAT), alarm(name).hold_seconds
    phases: list[tuple[float, str]] = []
    for after in range(0, hold + 300, 10):
        matters = after <= hold + 60
        changes = dict(MATTERS[name]) if matters else {}
        if "block" in changes and matters:
            changes["block"] = tick(NOON + after - 300).block
        seen = reported(alarms.observe(tick(NOON + after, **changes)))
        phases += [(after, phase) for each, phase in seen if each == name]

    assert phases == [(hold, "began"), (hold + 130, "ended")]
    assert alarms.active() == ()


@pytest.mark.parametrize("name", JUST_NOT)
def test_alarm_does_not_begin_a_step_before(name: str) -> None:
    alarms = Alarms(LIMITS, REPEAT)
    for after in (0, 2_000):
        changes = dict(JUST_NOT[name])
        if "block" in changes:
            changes["block"] = tick(NOON + after - 299).block
        assert name not in [each for each, _ in reported(alarms.observe(tick(NOON + after, **changes)))]


def test_local_chain_makes_blocks_when_it_likes() -> None:
    alarms = Alarms(LIMITS, REPEAT)

    assert alarms.observe(tick(chain_id=31337, **MATTERS["NoNewBlock"])) == ()


def test_chain_that_is_not_looked_at_is_an_alarm_until_it_is() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    alarms.observe(tick())

    assert alarms.silence(NOON + SILENT_SECONDS) == ()
    assert reported(alarms.silence(NOON + SILENT_SECONDS + 1)) == [("LoopSilent", "began")]
    assert alarms.observe(tick(NOON + 130)) == ()
    assert reported(alarms.observe(tick(NOON + 190))) == [("LoopSilent", "ended")]


def test_chain_that_was_never_looked_at_is_an_alarm_as_well() -> None:
    alarms = Alarms(LIMITS, REPEAT, [CHAIN])
    alarms.silence(NOON)

    assert reported(alarms.silence(NOON + SILENT_SECONDS + 1)) == [("LoopSilent", "began")]


@pytest.mark.parametrize("until", [NOON + 3_600, None])
def test_chain_that_rests_is_not_silent(until: float | None) -> None:
    alarms = Alarms(LIMITS, REPEAT)
    alarms.observe(tick(breakers=(breaker(until=until),)))

    assert alarms.silence(NOON + 3_600 + SILENT_SECONDS) == ()
    late = alarms.silence(NOON + 3_600 + SILENT_SECONDS + 1)
    assert reported(late) == ([] if until is None else [("LoopSilent", "began")])


# What is told, and how often


def test_alarm_that_lasts_is_told_again_and_not_too_often() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    phases = [
        phase
        for after in range(0, 7_300, 100)
        for _, phase in reported(alarms.observe(tick(NOON + after, differing_vaults=(vault(1),))))
    ]

    assert phases == ["began", "lasts", "lasts"]


def test_alarm_that_flickers_is_told_once() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    seen = [
        phase
        for after in range(0, 600, 15)
        for _, phase in reported(alarms.observe(tick(NOON + after, waiting_blocks=30 if after % 30 else 0)))
    ]

    assert seen == ["began"]


def test_failed_look_neither_begins_nor_ends_what_it_cannot_see() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    alarms.observe(tick(differing_vaults=(vault(1),)))
    for after in range(10, 300, 10):
        blind = tick(NOON + after, failure="no answer", balances_wei={SIGNER: 0})
        assert alarms.observe(blind) == ()

    assert [each.alarm.name for each in alarms.active()] == ["VaultIndexMismatch"]


def test_many_at_once_are_one_notice_that_names_some() -> None:
    every = {vault(i): Reason.ORACLE_FAULT for i in range(10_000)}
    alarms = Alarms(LIMITS, REPEAT)
    alarms.observe(tick(reasons=every))
    (notice,) = alarms.observe(tick(NOON + 900, reasons=every))

    assert len(notice.about) == 10_000
    assert "and 9995 more" in notice.body
    assert len(notice.body) < 1_000


def test_second_vault_is_told_while_the_first_lasts() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    alarms.observe(tick(differing_vaults=(vault(1),)))
    (notice,) = alarms.observe(tick(NOON + 10, differing_vaults=(vault(1), vault(2))))

    assert [one.subject for one in notice.about] == [vault(2)]


def test_chains_are_told_apart() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    alarms.observe(tick(differing_vaults=(vault(1),)))
    (notice,) = alarms.observe(tick(chain_id=10, differing_vaults=(vault(1),)))

    assert notice.title == "[critical] chain 10: VaultIndexMismatch"
    assert {each.chain_id for each in alarms.active()} == {CHAIN, 10}


def test_notice_says_what_it_means_of_what_and_what_to_do() -> None:
    alarms = Alarms(LIMITS, 60)
    low: dict[str, Any] = {"balances_wei": {SIGNER: E18 // 100}}
    (began,) = alarms.observe(tick(**low))
    (lasts,) = alarms.observe(tick(NOON + 120, **low))
    alarms.observe(tick(NOON + 180))
    (ended,) = alarms.observe(tick(NOON + 240))

    assert began.title == "[warning] chain 1: SignerLow"
    assert began.body == (
        f"A sender account has little ether left.\n{SIGNER}: its balance is 0.010000 ether\nSend ether to the account."
    )
    assert lasts.title == "[warning] chain 1: SignerLow still"
    assert "Active for 2 min." in lasts.body
    assert ended.title == "[ended] chain 1: SignerLow"
    assert ended.body.startswith("Ended after 4 min.")


def test_the_worst_come_first() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    alarms.observe(tick(balances_wei={SIGNER: 0}))
    alarms.observe(tick(NOON + 1, balances_wei={SIGNER: 0}, differing_vaults=(vault(1),)))

    assert [each.alarm.name for each in alarms.active()] == ["VaultIndexMismatch", "SignerLow"]


def test_severities_have_an_order() -> None:
    assert Severity.CRITICAL.reaches(Severity.WARNING)
    assert Severity.WARNING.reaches(Severity.WARNING)
    assert not Severity.INFO.reaches(Severity.WARNING)


# The same for Prometheus


def test_rules_file_is_made_from_the_table(repo_root: Path) -> None:
    text = (repo_root / "deploy" / "alerts.yml").read_text()
    (group,) = yaml.safe_load(text)["groups"]

    assert text == rules()
    assert [rule["alert"] for rule in group["rules"]] == [each.name for each in ALARMS]
    assert [rule["expr"] for rule in group["rules"]] == [each.expr for each in ALARMS]


@pytest.mark.parametrize("name", MATTERS)
def test_expression_of_an_alarm_holds_when_a_look_begins_it(name: str) -> None:
    """Every expression is `metric{labels} comparison number`, or one of few others; so it can be computed here."""
    for matters in (True, False):
        metrics = Metrics(clock=lambda: NOON)
        metrics(tick(**(MATTERS[name] if matters else JUST_NOT.get(name, {}))))
        assert holds(metrics, alarm(name).expr) == matters


def holds(metrics: Metrics, expr: str) -> bool:
    """Whether a simple expression gives Prometheus anything."""
    parsed = re.fullmatch(
        r"(?P<sum>sum by \(chain\) )?\(?(?P<name>\w+)(?:\{(?P<labels>.*?)\})?\)?"
        r" (?P<sign>>=|<|>|==) (?P<limit>[\d.]+)",
        expr,
    )
    assert parsed is not None, expr
    labels = dict(re.findall(r'(\w+)="([^"]*)"', parsed["labels"] or ""))
    found = [
        sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == parsed["name"] and labels.items() <= sample.labels.items()
    ]
    assert found, f"{parsed['name']} {labels} is no metric"
    if parsed["sum"]:
        found = [sum(found)]
    limit = float(parsed["limit"])
    compare = {
        ">=": lambda value: value >= limit,
        ">": lambda value: value > limit,
        "<": lambda value: value < limit,
        "==": lambda value: value == limit,
    }[parsed["sign"]]
    return any(map(compare, found))


def test_phases_are_all_that_can_become_of_an_alarm() -> None:
    assert [phase.value for phase in Phase] == ["began", "lasts", "ended"]


def test_ages_are_told_as_durations() -> None:
    alarms = Alarms(LIMITS, REPEAT)
    (old,) = alarms.observe(tick(NOON, block=tick(NOON - 172_797).block))
    assert "the newest block, 100, is 1 d 23 h 59 min old" in old.body
    (silent,) = alarms.silence(NOON + 3_725)
    assert "the next tick is 1 h 2 min overdue" in silent.body
