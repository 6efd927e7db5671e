"""Decision about one vault: what to send, and why. Pure: the same vault, pools and conditions give the same result
everywhere.

So one keeper or any of many workers can decide, and a record of the inputs is enough to decide again later.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import PolicyRefused, UnsupportedPool
from rebalancer.keeper.decision import explain, explain_loss
from rebalancer.plan import Plan, Problem, plan_rebalance
from rebalancer.reasons import Reason
from rebalancer.units import BPS, E18
from rebalancer.venues import Pool, PoolState, Token

__all__ = ["Action", "Conditions", "Verdict", "as_traded", "decide", "plan_input", "wants_plan"]

_BUDGET_REFUSALS = frozenset({"LossBudgetExceeded", "TurnoverBudgetExceeded"})
_BUDGETS = frozenset({"loss", "turnover"})


class Action(StrEnum):
    """The transaction to send."""

    NOTHING = "nothing"
    POKE = "poke"
    """The vault stamps, or clears, the time since when a rebalance is due."""
    SYNC = "sync"
    """The vault writes down a loss of balance."""
    REBALANCE = "rebalance"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Inputs of a decision other than the vault and the pools: wei per unit of gas, wei for L1 data (`Problem`), and
    the price of the native token.

    The price is that of `wrapped_native` in the vault's own basket, or otherwise `native_price_e18` (USD times 1e18 for
    a whole token; 0 where it is unknown: gas costs then count as 0).
    """

    gas_price_wei: int
    wrapped_native: str = ""
    native_price_e18: int = 0
    l1_fixed_wei: int = 0
    l1_wei_per_byte: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to send for a vault and why, in one sentence. `plan` is the plan to send, or the best rejected one."""

    snapshot: VaultSnapshot
    reason: Reason
    text: str
    step: Action = Action.NOTHING
    plan: Plan | None = None

    @property
    def vault(self) -> str:
        """Address of the vault."""
        return self.snapshot.address


def wants_plan(snapshot: VaultSnapshot) -> bool:
    """Whether a rebalance is due, so that the vault is planned and the pools are needed."""
    return snapshot.reason in (Reason.BAND_BROKEN, Reason.CALENDAR_DUE)


def decide(snapshot: VaultSnapshot, pools: Sequence[Pool], conditions: Conditions) -> Verdict:
    """Decide what to send for a vault at one block, with pools of the same block.

    A loss comes first, even if the vault is paused: until it is written down, the vault refuses to mint and to trade.
    For a rebalance, the reason is that of the lens.
    """
    if any(snapshot.missing_raw):
        return Verdict(snapshot, Reason.LOSS_NOT_WRITTEN_DOWN, explain_loss(snapshot), Action.SYNC)
    if not wants_plan(snapshot):
        if snapshot.reason is Reason.IN_BAND and snapshot.state.due_since:
            return _poke(snapshot, "every weight is inside its band again")
        return Verdict(snapshot, snapshot.reason, explain(snapshot))
    found = plan_rebalance(plan_input(snapshot, pools, conditions))
    if isinstance(found, Plan):
        return Verdict(snapshot, snapshot.reason, found.text, Action.REBALANCE, found)
    if found.refused is not None and found.refusal is not None:
        return _refused(snapshot, found.refused, found.refusal)
    if found.reason in (Reason.POLICY_REFUSES, Reason.AWAITS_PRICE) and _unseen(snapshot):
        return _poke(snapshot, found.text)
    return Verdict(snapshot, found.reason, found.text, plan=found.refused)


def as_traded(pools: Sequence[PoolState], tokens: Sequence[Token], wrapped_native: str) -> tuple[Pool, ...]:
    """Pools as the planner sees them: a pool of ether trades the wrapped token; it is left out if that is not among the
    tokens."""
    wrapped = next((token for token in tokens if token.address == wrapped_native), None)
    found: list[Pool] = []
    for pool in pools:
        with suppress(UnsupportedPool):
            found.append(pool.as_traded(wrapped))
    return tuple(found)


def plan_input(snapshot: VaultSnapshot, pools: Sequence[Pool], conditions: Conditions) -> Problem:
    """The problem that the planner solves for a vault."""
    native_price_e18 = next(
        (
            price.primary_e18
            for asset, price in zip(snapshot.basket.assets, snapshot.basket.prices, strict=True)
            if asset.token == conditions.wrapped_native and price.primary_e18
        ),
        conditions.native_price_e18,
    )
    return Problem.of(
        snapshot.basket,
        pools,
        policy=snapshot.policy,
        state=snapshot.state,
        slippage_limit_e18=snapshot.slippage_limit_e18,
        loss_left_e18=snapshot.loss_left_e18,
        turnover_left_e18=snapshot.turnover_left_e18,
        destination_bps=snapshot.policy.destination_bps,
        gas_price_wei=conditions.gas_price_wei,
        native_price_e18=native_price_e18,
        l1_fixed_wei=conditions.l1_fixed_wei,
        l1_wei_per_byte=conditions.l1_wei_per_byte,
    )


def _poke(snapshot: VaultSnapshot, why: str, plan: Plan | None = None) -> Verdict:
    return Verdict(snapshot, snapshot.reason, why, Action.POKE, plan)


def _unseen(snapshot: VaultSnapshot) -> bool:
    """Whether a rebalance is due that the vault has not stamped yet."""
    return wants_plan(snapshot) and not snapshot.state.due_since


def _refused(snapshot: VaultSnapshot, plan: Plan, refusal: PolicyRefused) -> Verdict:
    """The verdict where the vault would reject the best plan."""
    why = _why_refused(snapshot, refusal)
    if refusal.error in _BUDGET_REFUSALS or plan.bound_by in _BUDGETS:
        return Verdict(snapshot, Reason.BUDGET_SPENT, why, plan=plan)
    if _unseen(snapshot):
        # After the stamp, the slippage limit rises and allows larger trades.
        return _poke(snapshot, why, plan)
    return Verdict(snapshot, Reason.POLICY_REFUSES, why, plan=plan)


def _why_refused(snapshot: VaultSnapshot, refusal: PolicyRefused) -> str:
    """Why the vault would reject the best plan, in one sentence."""
    if refusal.error != "TooLittleProgress":
        return str(refusal)
    limit_bps = snapshot.slippage_limit_e18 * BPS // E18
    return (
        f"the trades that lose no more than the {limit_bps} bps allowed now, within the budgets that are left, "
        "are too small to count as progress"
    )
