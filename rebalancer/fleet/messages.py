"""What do leader and workers tell each other? JSON of plain dataclasses, checked against their types on arrival; nothing else is believed.

An **order** names a block, the conditions and a share of the vaults; an **answer** has their reasons in the order of the share, and the
verdicts of those that were read exactly. Of a plan everything comes over that is needed to simulate, sign and verify it; what the vault's
checks will make of it is not taken from the wire but computed again (`verdict_of`), so that a plan which the policy refuses is noticed
by the leader. Pools come over by name alone.
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
    """Evaluate these vaults at this block. `expires_at` is by Redis's clock, in unix seconds: later answers are not waited for.

    `exact`: whether every vault is to be read exactly. For those `under_way` no trades are sought, and none on pools that are to be
    done `without`.
    """

    chain_id: int
    header: Header
    conditions: Conditions
    share: tuple[str, ...]
    under_way: tuple[str, ...]
    exact: bool
    replan_blocks: int
    expires_at: float
    worker_timeout_seconds: float
    without: tuple[Scope, ...] = ()

    def to_json(self) -> str:
        """For the wire."""
        return _ORDER.dump_json(self).decode()

    @classmethod
    def of_json(cls, text: str) -> EvaluationRequest:
        """From the wire.

        Raises:
            MessageUnreadable: it is no order of this version.
        """
        try:
            return _ORDER.validate_json(text)
        except ValidationError as problem:
            raise MessageUnreadable("order", problem.errors()[0]["msg"]) from None


@dataclass(frozen=True, slots=True)
class NamedPool:
    """A pool whose state is on another machine: it can be named, not quoted."""

    address: str
    key: str
    holder: str
    tokens: tuple[Token, ...]
    fee_pips: int


@dataclass(frozen=True, slots=True)
class SwapMessage:
    """A leg, its pool by name."""

    pool: NamedPool
    token_in: str
    token_out: str
    amount_in_raw: int
    amount_out_raw: int


@dataclass(frozen=True, slots=True)
class PlanMessage:
    """A plan, its route in hexadecimal, without what the leader computes itself. `is_settled`: whether the vault would take it."""

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
    """A verdict, with the vault as the lens told it at that block."""

    snapshot: VaultSnapshot
    reason: Reason
    text: str
    step: Action
    plan: PlanMessage | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A share of the vaults at one block. `reasons`, `epochs` and `drifts_bps` are in the order of the share.

    `failure` says in one sentence why there is nothing else, "" if there is.
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
        """For the wire."""
        return _ANSWER.dump_json(self).decode()

    @classmethod
    def of_json(cls, text: object) -> Answer:
        """From the wire.

        Raises:
            MessageUnreadable: it is no answer of this version.
        """
        if not isinstance(text, str):
            raise MessageUnreadable("answer", "it is no text")
        try:
            return _ANSWER.validate_json(text)
        except ValidationError as problem:
            raise MessageUnreadable("answer", problem.errors()[0]["msg"]) from None

    def verdicts_of(self, share: Sequence[str]) -> list[Verdict]:
        """The verdicts, which must be of this share, as must be everything else.

        Raises:
            MessageUnreadable: they are not, or a plan does not fit its vault.
        """
        if any(len(each) != len(share) for each in (self.reasons, self.epochs, self.drifts_bps)):
            raise MessageUnreadable("answer", f"it is not of the {len(share)} vaults asked about")
        found = [verdict_of(reported) for reported in self.verdicts]
        vaults = [verdict.vault for verdict in found]
        if len(set(vaults)) != len(vaults) or not set(vaults) <= set(share):
            raise MessageUnreadable("answer", "it has verdicts of other vaults, or one twice")
        text = dict(zip(share, zip(self.reasons, self.epochs, strict=True), strict=True))
        if any(text[one.vault] != (one.reason, one.snapshot.state.epoch) for one in found):
            raise MessageUnreadable("answer", "it contradicts its verdicts")
        return found


_ORDER = TypeAdapter(EvaluationRequest)
_ANSWER = TypeAdapter(Answer)


def as_message(verdict: Verdict) -> VerdictMessage:
    """A verdict for the wire."""
    plan = verdict.plan
    reported = None if plan is None else _plan_message(plan)
    return VerdictMessage(verdict.snapshot, verdict.reason, verdict.text, verdict.step, reported)


def verdict_of(reported: VerdictMessage) -> Verdict:
    """A verdict from the wire; the settlement is this machine's.

    Raises:
        MessageUnreadable: what is to be sent has no plan, or one that does not fit the vault or that it would refuse.
    """
    plan = None if reported.plan is None else _plan_of(reported.plan, reported.snapshot)
    if reported.step is Action.REBALANCE and (plan is None or plan.settlement is None):
        raise MessageUnreadable("verdict", "a rebalance without a plan that the vault would take")
    return Verdict(reported.snapshot, reported.reason, reported.text, reported.step, plan)


def _plan_message(plan: Plan) -> PlanMessage:
    return PlanMessage(
        plan.sales_raw,
        plan.min_buys_raw,
        plan.expected_buys_raw,
        plan.route.hex(),
        tuple(
            SwapMessage(
                NamedPool(
                    swap.pool.address,
                    swap.pool.key,
                    swap.pool.holder,
                    swap.pool.tokens,
                    swap.pool.fee_pips,
                ),
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


def _plan_of(reported: PlanMessage, snapshot: VaultSnapshot) -> Plan:
    amounts = (reported.sales_raw, reported.min_buys_raw, reported.expected_buys_raw)
    if any(len(each) != len(snapshot.basket.assets) for each in amounts):
        raise MessageUnreadable("plan", "its amounts are not one an asset")
    try:
        route = bytes.fromhex(reported.route)
    except ValueError:
        raise MessageUnreadable("plan", "its route is not hexadecimal") from None
    swaps = tuple(
        Swap(
            cast("Pool", swap.pool),
            swap.token_in,
            swap.token_out,
            swap.amount_in_raw,
            swap.amount_out_raw,
        )
        for swap in reported.swaps
    )
    plan = Plan(
        reported.sales_raw,
        reported.min_buys_raw,
        reported.expected_buys_raw,
        route,
        swaps,
        reported.swap_costs,
        reported.cost,
        reported.worth_e18,
        reported.certificate,
        reported.text,
        reported.bound_by,
        was_cut=reported.was_cut,
    )
    return replace(plan, settlement=_settlement(plan, snapshot)) if reported.is_settled else plan


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
        raise MessageUnreadable("plan", "the vault would sell less of it")
    return found
