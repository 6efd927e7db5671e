"""Metrics of a running keeper: what they count, and that their labels are bounded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import generate_latest

from rebalancer.keeper.outages import LeftOut
from rebalancer.keeper.report import Tick
from rebalancer.reasons import Reason
from rebalancer.send.attempt import AttemptState
from rebalancer.watch.alarm_state import Alarms
from rebalancer.watch.alarms import AlarmLimits
from rebalancer.watch.metrics import Metrics
from tests.ticks import NOON, SIGNER, breaker, decision, endpoint, outcome, tick, vault

CHAIN_1 = {"chain": "1"}


def read(metrics: Metrics, name: str, **labels: str) -> float | None:
    """A sample of chain 1, as it would be scraped."""
    return metrics.registry.get_sample_value(f"rebalancer_{name}", CHAIN_1 | labels)


def test_nothing_is_told_before_the_first_look() -> None:
    assert read(Metrics(), "block_number") is None
    assert read(Metrics(), "decisions_total", reason="Rebalanced") is None


def test_first_look_begins_every_counter_at_nought() -> None:
    metrics = Metrics()
    metrics(tick())

    for reason in Reason:
        assert read(metrics, "decisions_total", reason=reason.value) == 0
    for name in (
        "tick_failures",
        "rebalances",
        "sold_usd",
        "loss_usd",
        "gas_ether",
        "rollup_ether",
    ):
        assert read(metrics, f"{name}_total") == 0


def test_look_is_counted_with_its_time_and_requests() -> None:
    metrics = Metrics()
    metrics(tick(seconds=0.3, requests=4))
    metrics(tick(seconds=0.7, requests=5, failure="no answer", consecutive_failures=1))

    assert read(metrics, "tick_seconds_count") == 2
    assert read(metrics, "tick_seconds_sum") == 1.0
    assert read(metrics, "tick_seconds_bucket", le="0.5") == 1
    assert read(metrics, "requests_total") == 9
    assert read(metrics, "tick_failures_total") == 1
    assert read(metrics, "consecutive_failures") == 1
    assert read(metrics, "last_tick_seconds") == 0.7


def test_chain_without_a_new_block_was_not_looked_at_again() -> None:
    metrics = Metrics()
    last = tick()
    metrics(last)
    metrics(replace(last, at=NOON + 15, seconds=0.0))

    assert read(metrics, "tick_seconds_count") == 1
    assert read(metrics, "last_tick_timestamp_seconds") == NOON + 15


def test_block_ages_while_nothing_is_read() -> None:
    now = [NOON]
    metrics = Metrics(clock=lambda: now[0])
    metrics(tick())
    now[0] += 59
    metrics(tick(NOON + 59, block=None, failure="no answer"))

    assert read(metrics, "block_number") == 100
    assert read(metrics, "block_age_seconds") == 60
    assert read(metrics, "last_tick_timestamp_seconds") == NOON + 59


def test_vaults_are_counted_by_reason_and_every_reason_is_told() -> None:
    metrics = Metrics()
    reasons = [Reason.IN_BAND, Reason.IN_BAND, Reason.ORACLE_FAULT]
    metrics(tick(reasons={vault(i): reason for i, reason in enumerate(reasons)}))

    reported = {reason: read(metrics, "vaults", reason=reason.value) for reason in Reason}
    assert reported == dict.fromkeys(Reason, 0) | {Reason.IN_BAND: 2, Reason.ORACLE_FAULT: 1}


def test_rebalance_is_counted_with_its_cost() -> None:
    metrics = Metrics()
    mined = decision(reason=Reason.REBALANCED, outcome=outcome(10_000, 12))
    metrics(tick(decisions=(mined, decision(2, Reason.NOT_WORTH_GAS))))

    assert read(metrics, "rebalances_total") == 1
    assert read(metrics, "sold_usd_total") == 10_000
    assert read(metrics, "loss_usd_total") == 12
    assert read(metrics, "gas_ether_total") == 0.005
    assert read(metrics, "cost_bps_sum") == 12
    assert read(metrics, "cost_bps_bucket", le="20.0") == 1
    assert read(metrics, "cost_bps_bucket", le="10.0") == 0
    assert read(metrics, "decisions_total", reason="Rebalanced") == 1
    assert read(metrics, "decisions_total", reason="NotWorthGas") == 1


def test_what_a_rollup_charged_is_in_what_the_rebalance_cost_and_shown_apart() -> None:
    metrics = Metrics()
    found = outcome(10_000, 12)
    receipts = (
        replace(found.receipt, l1_fee_wei=3 * 10**15, operator_fee_wei=10**15),
        replace(found.receipt, l1_gas_used=50_000),
    )
    for receipt in receipts:
        charged = replace(found, receipt=receipt)
        metrics(tick(decisions=(decision(reason=Reason.REBALANCED, outcome=charged),)))

    # 250,000 gas at 20 gwei twice; a fifth of it was for data the second time.
    assert read(metrics, "gas_ether_total") == pytest.approx(0.005 + 0.004 + 0.005)
    assert read(metrics, "rollup_ether_total") == pytest.approx(0.004 + 0.001)


def test_rebalance_whose_books_cannot_be_compared_is_counted_without_its_cost() -> None:
    metrics = Metrics()
    metrics(tick(decisions=(decision(outcome=outcome(10_000, 12, comparable=False)),)))

    assert read(metrics, "rebalances_total") == 1
    assert read(metrics, "sold_usd_total") == 0
    assert read(metrics, "cost_bps_count") == 0


def test_attempts_are_told_by_state_and_every_state_but_final() -> None:
    metrics = Metrics()
    metrics(tick(attempts={"sent": 2, "mined": 1}, waiting_blocks=4))

    reported = {state.value: read(metrics, "attempts", state=state.value) for state in AttemptState}
    assert reported.pop("final") is None
    assert reported == dict.fromkeys(reported, 0) | {"sent": 2, "mined": 1}
    assert read(metrics, "waiting_blocks") == 4


def test_breakers_are_told_by_kind_and_not_by_vault() -> None:
    metrics = Metrics()
    opened = [breaker(), breaker(vault(1)), breaker(vault(2)), breaker(vault(3), until=None)]
    metrics(tick(breakers=tuple(opened)))

    assert read(metrics, "breakers_open", scope="chain", closes="itself") == 1
    assert read(metrics, "breakers_open", scope="vault", closes="itself") == 2
    assert read(metrics, "breakers_open", scope="vault", closes="restart") == 1
    assert read(metrics, "breakers_open", scope="chain", closes="restart") == 0


def test_endpoint_that_is_gone_leaves_no_line() -> None:
    metrics = Metrics()
    one, two = "https://one.example", "https://two.example"
    metrics(tick(endpoints=(endpoint(one), endpoint(two, usable=False))))

    assert read(metrics, "endpoint_usable", endpoint=one) == 1
    assert read(metrics, "endpoint_usable", endpoint=two) == 0
    assert read(metrics, "endpoint_height", endpoint=one) == 100
    assert read(metrics, "endpoint_latency_seconds", endpoint=two) is None

    metrics(tick(endpoints=(endpoint(two),)))
    assert read(metrics, "endpoint_usable", endpoint=one) is None


def test_endpoints_of_one_name_are_told_apart() -> None:
    metrics = Metrics()
    metrics(tick(endpoints=(endpoint("https://a"), endpoint("https://a", usable=False))))

    assert read(metrics, "endpoint_usable", endpoint="https://a") == 1
    assert read(metrics, "endpoint_usable", endpoint="https://a #2") == 0


@pytest.mark.parametrize(
    ("name", "seen", "labels"),
    [
        ("signer_balance_ether", 1.0, {"signer": SIGNER}),
        ("diverged_pools", 2, {}),
        ("differing_vaults", 1, {}),
        ("pools_left_out", 1, {}),
        ("subscribed", 0, {}),
        ("candidates", 2, {}),
        ("planned", 1, {}),
    ],
)
def test_rest_of_a_look_is_told_as_it_is(name: str, seen: float, labels: dict[str, str]) -> None:
    metrics = Metrics()
    metrics(
        tick(
            diverged_pools=("a", "b"),
            differing_vaults=(vault(1),),
            left_out=(LeftOut("c", "TF", 0.0, 60.0),),
            subscribed=False,
            planned=1,
        )
    )

    assert read(metrics, name, **labels) == seen


def test_alarms_are_counted_by_name() -> None:
    alarms = Alarms(AlarmLimits(0), 60)
    metrics = Metrics(alarms)
    last = tick(differing_vaults=(vault(1), vault(2)))
    metrics(last)
    alarms.observe(last)

    name = {"alarm": "VaultIndexMismatch", "severity": "critical"}
    assert read(metrics, "alarms", **name) == 2
    assert read(metrics, "alarms", alarm="ChainBreakerOpen", severity="critical") == 0


def test_alerts_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    metrics.alert("sent")
    get = metrics.registry.get_sample_value

    assert get("rebalancer_alerts_total", {"outcome": "sent"}) == 1
    assert get("rebalancer_alerts_total", {"outcome": "failed"}) == 0


def lines(metrics: Metrics) -> list[str]:
    return generate_latest(metrics.registry).decode().splitlines()


def many(vaults: int) -> Callable[[], Tick]:
    """A look at which as much as possible is the matter with each of so many vaults."""
    every = [vault(i) for i in range(vaults)]
    return lambda: tick(
        reasons=dict.fromkeys(every, Reason.ORACLE_FAULT),
        breakers=tuple(breaker(each) for each in every),
        differing_vaults=tuple(every),
        diverged_pools=tuple(every),
        left_out=tuple(LeftOut(each, "TF", 0.0, 60.0) for each in every),
        decisions=tuple(decision(i) for i in range(vaults)),
    )


def test_number_of_lines_does_not_grow_with_vaults() -> None:
    count = []
    for vaults in (1, 1_000):
        alarms = Alarms(AlarmLimits(0), 60)
        metrics = Metrics(alarms)
        last = many(vaults)()
        metrics(last)
        alarms.observe(last)
        count.append(len(lines(metrics)))

    assert count[0] == count[1]


def test_no_label_is_a_vault_a_transaction_or_a_hash() -> None:
    metrics = Metrics()
    metrics(tick(decisions=(decision(reason=Reason.REBALANCED, outcome=outcome(10, 1)),)))
    labels = re.findall(r'(\w+)="([^"]*)"', "\n".join(lines(metrics)))

    assert {name for name, _ in labels} == {
        *("chain", "reason", "state", "signer", "scope", "closes", "endpoint", "le"),
        *("outcome", "version"),
    }
    assert {value for _, value in labels if value.startswith("0x")} == {SIGNER}


def test_no_line_is_told_twice() -> None:
    metrics = Metrics(Alarms(AlarmLimits(0), 60))
    metrics(tick(endpoints=(endpoint("https://a"), endpoint("https://a"))))
    metrics(tick(chain_id=10))
    reported = [line.rpartition(" ")[0] for line in lines(metrics) if not line.startswith("#")]

    assert len(reported) == len(set(reported))


def test_registry_is_nobody_elses() -> None:
    first, second = Metrics(), Metrics()
    first(tick())

    assert read(first, "block_number") == 100
    assert read(second, "block_number") is None
