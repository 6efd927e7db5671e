"""Orders and answers: JSON both ways, to the last digit; what is not of this version is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from rebalancer.chain.heads import Header, Heads
from rebalancer.devnet.environment import DevEnvironment
from rebalancer.errors import MessageUnreadable
from rebalancer.fleet.messages import Answer, EvaluationRequest, as_message, verdict_of
from rebalancer.fleet.redis_state import LocalState
from rebalancer.fleet.worker import Worker
from rebalancer.keeper import Evaluator, KeeperContext
from rebalancer.keeper.decide import Action, Conditions, Verdict
from tests.contract.test_keeper import move

ORDER = EvaluationRequest(
    1,
    Header(7, "0x" + "77" * 32, "0x" + "66" * 32, 1_700_000_000, 10**9),
    Conditions(12 * 10**9, "0x" + "ee" * 20),
    ("0x" + "aa" * 20, "0x" + "bb" * 20),
    ("0x" + "bb" * 20,),
    False,
    3,
    1_700_000_003.25,
    3.0,
)


@pytest.fixture
def verdict(environment: DevEnvironment) -> Verdict:
    """A rebalance that is to be sent."""
    move(environment, {"ETH/USD": 2_200_00000000})
    rpc = environment.chain.rpc
    head = Heads(rpc).next(0)
    assert head is not None
    evaluator = Evaluator(rpc, KeeperContext.of(environment.deployment, [environment.vault]))
    (found,) = evaluator.evaluate(head, Conditions(10**9)).verdicts
    assert found.step is Action.REBALANCE
    return found


def answer_of(verdict: Verdict) -> Answer:
    epoch, drift_bps = verdict.snapshot.state.epoch, verdict.snapshot.drift_bps
    return Answer("0x", "", (verdict.reason,), (epoch,), (drift_bps,), (as_message(verdict),), 1)


# Refusals


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "[]", '{"chain_id": "one"}'])
def test_order_of_another_version_is_refused(text: str) -> None:
    with pytest.raises(MessageUnreadable) as caught:
        EvaluationRequest.of_json(text)
    assert caught.value.what == "request"


@pytest.mark.parametrize("text", [None, 3, b"{}", "nonsense", "{}", '{"block_hash": 1}'])
def test_answer_of_another_version_is_refused(text: object) -> None:
    with pytest.raises(MessageUnreadable) as caught:
        Answer.of_json(text)
    assert caught.value.what == "answer"


def test_route_that_is_not_hexadecimal_is_refused(verdict: Verdict) -> None:
    reported = as_message(verdict)
    assert reported.plan is not None
    with pytest.raises(MessageUnreadable, match="hexadecimal"):
        verdict_of(replace(reported, plan=replace(reported.plan, route="0xzz")))


def test_amounts_of_another_basket_are_refused(verdict: Verdict) -> None:
    reported = as_message(verdict)
    assert reported.plan is not None
    with pytest.raises(MessageUnreadable, match="one amount per asset"):
        verdict_of(replace(reported, plan=replace(reported.plan, sales_raw=reported.plan.sales_raw[:2])))


def test_plan_that_the_vault_would_refuse_is_refused(verdict: Verdict) -> None:
    reported = as_message(verdict)
    assert reported.plan is not None
    most = tuple(2 * raw for raw in reported.plan.sales_raw)
    with pytest.raises(MessageUnreadable, match="the vault would"):
        verdict_of(replace(reported, plan=replace(reported.plan, sales_raw=most)))
    none = (0,) * len(most)
    with pytest.raises(MessageUnreadable, match=r"the vault would refuse it: .*NothingSold"):
        verdict_of(replace(reported, plan=replace(reported.plan, sales_raw=none)))


def test_rebalance_without_a_plan_is_refused(verdict: Verdict) -> None:
    with pytest.raises(MessageUnreadable, match="without a plan"):
        verdict_of(replace(as_message(verdict), plan=None))


def test_worker_of_another_chain_and_late_worker_say_so(environment: DevEnvironment) -> None:
    context, state = KeeperContext.of(environment.deployment, ()), LocalState()
    worker = Worker("anna", environment.chain.rpc, context, state)

    other = Answer.of_json(worker.answer(ORDER.to_json()))
    late = replace(ORDER, chain_id=context.chain_id, expires_at=state.now() - 1)
    expired = Answer.of_json(worker.answer(late.to_json()))
    with capture_logs() as logs:
        garbage = Answer.of_json(worker.answer("garbage"))

    assert "serves chain 31337" in other.failure
    assert "expired" in expired.failure
    assert "request" in garbage.failure
    assert [(log["event"], log["chain_id"]) for log in logs] == [("request_failed", context.chain_id)]
    assert worker.handled == 3


# There and back


def test_order_comes_back_as_it_was() -> None:
    assert EvaluationRequest.of_json(ORDER.to_json()) == ORDER


def test_verdict_comes_back_with_all_that_is_sent_and_verified(verdict: Verdict) -> None:
    text = answer_of(verdict).to_json()
    (back,) = Answer.of_json(text).verdicts_of([verdict.vault])

    plan, before = back.plan, verdict.plan
    assert plan is not None
    assert before is not None
    assert replace(plan, swaps=()) == replace(before, swaps=())
    assert plan.settlement == before.settlement
    assert plan.shares == before.shares
    assert back.snapshot == verdict.snapshot
    assert (back.step, back.reason, back.text) == (verdict.step, verdict.reason, verdict.text)
    assert isinstance(json.loads(text), dict)


def test_floats_without_a_bound_come_back(verdict: Verdict) -> None:
    assert verdict.plan is not None
    endless = replace(verdict.plan.certificate, gap_before_rounding=float("inf"))
    changed = replace(verdict, plan=replace(verdict.plan, certificate=endless))

    (back,) = Answer.of_json(answer_of(changed).to_json()).verdicts_of([verdict.vault])

    assert back.plan is not None
    assert back.plan.certificate == endless
