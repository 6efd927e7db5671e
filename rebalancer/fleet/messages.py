"""Messages between leader and workers: JSON of plain dataclasses, checked against their types on arrival.

A **request** names a block, the conditions and a share of the vaults. An **answer** has the reasons in the order of the
share, and the verdicts of the vaults that were read in full. A plan is sent with everything that is needed to simulate,
sign and verify it. The leader computes its settlement again (`verdict_of`), so that it notices a plan that the policy
refuses. Pools are sent by name only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rebalancer.chain.heads import Header
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import MessageUnreadable, PolicyRefused
from rebalancer.keeper.decide import Action, Conditions, Verdict
from rebalancer.keeper.outages import LeftOut, Scope
from rebalancer.plan import Plan
from rebalancer.plan.result import Certificate, PlanCost, SwapCost
from rebalancer.plan.swap import Swap
from rebalancer.reasons import Reason
from rebalancer.settlement import Fill, Settlement, settle
from rebalancer.venues import Pool, Token

__all__ = ["Answer", "EvaluationRequest", "NamedPool", "VerdictMessage", "as_message", "verdict_of"]


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """A request to evaluate vaults at a block. `expires_at` is on Redis's clock, in unix seconds; later answers are not
    used.

    `exact`: whether every vault is read in full. No trades are planned for vaults `in_flight`, nor on pools in
    `without`.
    """

    chain_id: int
    header: Header
    conditions: Conditions
    share: tuple[str, ...]
    in_flight: tuple[str, ...]
    exact: bool
    replan_blocks: int
    expires_at: float
    worker_timeout_seconds: float
    without: tuple[Scope, ...] = ()

    def to_json(self) -> str:
        """The message as JSON."""
        return _REQUEST.dump_json(self).decode()

    @classmethod
    def of_json(cls, text: str) -> EvaluationRequest:
        """A request from JSON.

        Raises:
            MessageUnreadable: it is not a request of this version.
        """
        try:
            return _REQUEST.validate_json(text)
        except ValidationError as problem:
            raise MessageUnreadable("request", problem.errors()[0]["msg"]) from None


@dataclass(frozen=True, slots=True)
class NamedPool:
    """A pool whose state is on another machine; it cannot quote."""

    address: str
    key: str
    holder: str
    tokens: tuple[Token, ...]
    fee_pips: int


@dataclass(frozen=True, slots=True)
class SwapMessage:
    """A swap, with its pool by name."""

    pool: NamedPool
    token_in: str
    token_out: str
    amount_in_raw: int
    amount_out_raw: int


@dataclass(frozen=True, slots=True)
class PlanMessage:
    """A plan with its route in hexadecimal, without its settlement. `is_settled`: whether the worker has computed
    one."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    sales_raw: tuple[int, ...]
    min_buys_raw: tuple[int, ...]
    expected_buys_raw: tuple[int, ...]
    route: str
    swaps: tuple[SwapMessage, ...]
    swap_costs: tuple[SwapCost, ...]
    cost: PlanCost
    worth_e18: int
    certificate: Certificate
    text: str
    bound_by: str | None
    is_settled: bool
    was_cut: bool = False


@dataclass(frozen=True, slots=True)
class VerdictMessage:
    """A verdict, with the vault as the lens returned it at that block."""

    snapshot: VaultSnapshot
    reason: Reason
    text: str
    step: Action
    plan: PlanMessage | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Evaluation of a share of the vaults at one block. `reasons`, `epochs` and `drifts_bps` are in the order of the
    share.

    If `failure` is not "", it is a sentence and the rest is empty.
    """

    block_hash: str
    failure: str = ""
    reasons: tuple[Reason, ...] = ()
    epochs: tuple[int, ...] = ()
    drifts_bps: tuple[int, ...] = ()
    verdicts: tuple[VerdictMessage, ...] = ()
    planned: int = 0
    diverged_pools: tuple[str, ...] = ()
    differing_vaults: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> str:
        """The message as JSON."""
        return _ANSWER.dump_json(self).decode()

    @classmethod
    def of_json(cls, text: object) -> Answer:
        """An answer from JSON.

        Raises:
            MessageUnreadable: it is not an answer of this version.
        """
        if not isinstance(text, str):
            raise MessageUnreadable("answer", "it is not a string")
        try:
            return _ANSWER.validate_json(text)
        except ValidationError as problem:
            raise MessageUnreadable("answer", problem.errors()[0]["msg"]) from None

    def verdicts_of(self, share: Sequence[str]) -> list[Verdict]:
        """The verdicts, after a check that the answer is about this share.

        Raises:
            MessageUnreadable: it is not, or a plan does not match its vault.
        """
        if any(len(each) != len(share) for each in (self.reasons, self.epochs, self.drifts_bps)):
            raise MessageUnreadable("answer", f"it is not about the {len(share)} requested vaults")
        found = [verdict_of(each) for each in self.verdicts]
        vaults = [verdict.vault for verdict in found]
        if len(set(vaults)) != len(vaults) or not set(vaults) <= set(share):
            raise MessageUnreadable("answer", "it has verdicts about other vaults, or two about one vault")
        expected = dict(zip(share, zip(self.reasons, self.epochs, strict=True), strict=True))
        if any(expected[one.vault] != (one.reason, one.snapshot.state.epoch) for one in found):
            raise MessageUnreadable("answer", "it contradicts its verdicts")
        return found


_REQUEST = TypeAdapter(EvaluationRequest)
_ANSWER = TypeAdapter(Answer)


def as_message(verdict: Verdict) -> VerdictMessage:
    """The message for a verdict."""
    plan = verdict.plan
    message = None if plan is None else _plan_message(plan)
    return VerdictMessage(verdict.snapshot, verdict.reason, verdict.text, verdict.step, message)


def verdict_of(message: VerdictMessage) -> Verdict:
    """The verdict of a message; this machine computes the settlement.

    Raises:
        MessageUnreadable: a rebalance has no plan, or a plan that the vault would refuse.
    """
    plan = None if message.plan is None else _plan_of(message.plan, message.snapshot)
    if message.step is Action.REBALANCE and (plan is None or plan.settlement is None):
        raise MessageUnreadable("verdict", "a rebalance without a plan that the vault would accept")
    return Verdict(message.snapshot, message.reason, message.text, message.step, plan)


def _plan_message(plan: Plan) -> PlanMessage:
    return PlanMessage(
        plan.sales_raw,
        plan.min_buys_raw,
        plan.expected_buys_raw,
        plan.route.hex(),
        tuple(
            SwapMessage(
                NamedPool(swap.pool.address, swap.pool.key, swap.pool.holder, swap.pool.tokens, swap.pool.fee_pips),
                swap.token_in,
                swap.token_out,
                swap.amount_in_raw,
                swap.amount_out_raw,
            )
            for swap in plan.swaps
        ),
        plan.swap_costs,
        plan.cost,
        plan.worth_e18,
        plan.certificate,
        plan.text,
        plan.bound_by,
        plan.settlement is not None,
        plan.was_cut,
    )


def _plan_of(message: PlanMessage, snapshot: VaultSnapshot) -> Plan:
    amounts = (message.sales_raw, message.min_buys_raw, message.expected_buys_raw)
    if any(len(each) != len(snapshot.basket.assets) for each in amounts):
        raise MessageUnreadable("plan", "it does not have one amount per asset")
    try:
        route = bytes.fromhex(message.route)
    except ValueError:
        raise MessageUnreadable("plan", "its route is not hexadecimal") from None
    swaps = tuple(
        Swap(cast("Pool", swap.pool), swap.token_in, swap.token_out, swap.amount_in_raw, swap.amount_out_raw)
        for swap in message.swaps
    )
    plan = Plan(
        message.sales_raw,
        message.min_buys_raw,
        message.expected_buys_raw,
        route,
        swaps,
        message.swap_costs,
        message.cost,
        message.worth_e18,
        message.certificate,
        message.text,
        message.bound_by,
        was_cut=message.was_cut,
    )
    return replace(plan, settlement=_settlement(plan, snapshot)) if message.is_settled else plan


def _settlement(plan: Plan, snapshot: VaultSnapshot) -> Settlement:
    try:
        found = settle(
            *(snapshot.policy, snapshot.state, snapshot.basket),
            Fill(plan.sales_raw, plan.expected_buys_raw),
            *(plan.min_buys_raw, snapshot.basket.timestamp),
            epoch=snapshot.state.epoch,
            sales=plan.sales_raw,
        )
    except PolicyRefused as refusal:
        raise MessageUnreadable("plan", f"the vault would refuse it: {refusal}") from None
    gone = map(int.__sub__, snapshot.basket.held, found.held)
    if any(sale not in (0, raw) for sale, raw in zip(plan.sales_raw, gone, strict=True)):
        raise MessageUnreadable("plan", "the vault would sell less")
    return found
