"""What is planned: the trades, what they cost and where, how good they are at best, and what the vault will say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rebalancer.errors import PolicyRefused
from rebalancer.plan.problem import Problem
from rebalancer.plan.swap import Swap
from rebalancer.reasons import Reason
from rebalancer.settlement import Settlement
from rebalancer.units import E18
from rebalancer.venues.uniswap_v3_math import PIPS

__all__ = [
    "Certificate",
    "NoPlan",
    "Plan",
    "PlanCost",
    "SwapCost",
    "costs_of",
    "dollars",
    "sentence",
]


@dataclass(frozen=True, slots=True)
class SwapCost:
    """Where a leg's value goes, in USD times 1e18; fee + impact is all that it loses.

    Assets count at the oracle's prices, other tokens at the plan's own. `impact_e18` is what the
    leg moves its pool's price by and what that was away from those prices before; it is negative where
    the pool pays better.
    """

    value_e18: int
    """Of what goes in."""
    fee_e18: int
    impact_e18: int
    gas_e18: int


@dataclass(frozen=True, slots=True)
class PlanCost:
    """The same for all legs together. Gas has that of the rebalance itself too; `l1_e18` is what a rollup charges beside it."""

    fee_e18: int
    impact_e18: int
    gas_e18: int
    tip_e18: int = 0
    l1_e18: int = 0

    @property
    def total_e18(self) -> int:
        """All of it."""
        return self.fee_e18 + self.impact_e18 + self.gas_e18 + self.tip_e18 + self.l1_e18


@dataclass(frozen=True, slots=True)
class Certificate:
    """How near a plan is to the best there could be, in what is planned for (`Problem.benefit_e18`).

    `bound_e18` is the dual's: no plan over the pools that are used, each paid its gas, is worth more. `all_pools_bound_e18` is
    that of all pools, where every swap pays its gas: with this plan's gas added, so that both compare with `value_e18`, which
    is what the plan is worth, exactly. Both are bounds on plans that pass tokens on in the same order, and take each pair of a
    pool of more than two tokens for a pool of its own, which it is not: there they are farther off.
    """

    value_e18: int
    bound_e18: int
    all_pools_bound_e18: int
    sold_e18: int
    gap_before_rounding: float
    """What the solver's own trades fall short of its bound by, as a part of what is sold."""
    steps: int
    """Newton steps of the last solution over all pools."""

    @property
    def gap(self) -> float:
        """What the plan, in whole units, falls short of its bound by, as a part of what is sold."""
        return max(0, self.bound_e18 - self.value_e18) / self.sold_e18


@dataclass(frozen=True, slots=True)
class Plan:
    """What to pass to `BasketVault.rebalance`, what is expected of it, and why."""

    sales_raw: tuple[int, ...]
    min_buys_raw: tuple[int, ...]
    expected_buys_raw: tuple[int, ...]
    route: bytes
    swaps: tuple[Swap, ...]
    """The swaps in the order they are made, each with its exact fill."""
    swap_costs: tuple[SwapCost, ...]
    cost: PlanCost
    worth_e18: int
    """What bringing this much home is worth, in USD times 1e18: `Problem.worth_e18` of what is sold."""
    certificate: Certificate
    text: str
    bound_by: str | None = None
    """The limit that made the trades smaller than the drift asks for: "turnover", "loss", "slippage",
    "worth" (the next unit would lose more than bringing it home is worth), or None."""
    settlement: Settlement | None = None
    """What the vault's checks will compute, if its rules were given: books, drift and budgets after."""
    was_cut: bool = False
    """Whether the effort for a plan ended before all was tried."""

    @property
    def shares(self) -> tuple[float, ...]:
        """How each token that is sold is split: the part of all that is sold of its token, a leg each."""
        totals: dict[str, int] = {}
        for swap in self.swaps:
            totals[swap.token_in] = totals.get(swap.token_in, 0) + swap.amount_in_raw
        return tuple(swap.amount_in_raw / totals[swap.token_in] for swap in self.swaps)

    @property
    def drift_bps(self) -> tuple[int, int] | None:
        """Largest distance from target before and after, in basis points, if the rules were given."""
        if self.settlement is None:
            return None
        return self.settlement.before.drift_bps, self.settlement.after.drift_bps


@dataclass(frozen=True, slots=True)
class NoPlan:
    """Why there is nothing to be done: `text` is one sentence for people.

    Where there is a plan but the vault would refuse it, `refusal` is the vault's and `refused` that plan.
    """

    reason: Reason
    text: str
    refusal: PolicyRefused | None = None
    refused: Plan | None = None


def costs_of(
    problem: Problem, swaps: Sequence[Swap], middle_prices: dict[str, float]
) -> tuple[tuple[SwapCost, ...], PlanCost]:
    """What each leg costs, and all of them. `middle_prices`: USD a raw unit of tokens outside the basket."""
    place = {token: i for i, token in enumerate(problem.tokens)}

    def value_e18(token: str, amount_raw: int) -> int:
        if token in place:
            return problem.value_e18(place[token], amount_raw)
        return int(amount_raw * middle_prices[token] * E18)

    found = []
    for swap in swaps:
        in_e18 = value_e18(swap.token_in, swap.amount_in_raw)
        fee_e18 = in_e18 * swap.pool.fee_pips // PIPS
        impact_e18 = in_e18 - value_e18(swap.token_out, swap.amount_out_raw) - fee_e18
        found.append(SwapCost(in_e18, fee_e18, impact_e18, problem.hop_cost_e18))
    total = PlanCost(
        sum(cost.fee_e18 for cost in found),
        sum(cost.impact_e18 for cost in found),
        problem.gas_cost_e18(len(swaps)),
        problem.tip_e18,
        problem.l1_cost_e18(len(swaps)),
    )
    return tuple(found), total


def sentence(
    problem: Problem,
    sales_raw: Sequence[int],
    buys_raw: Sequence[int],
    swaps: int,
    cost: PlanCost,
) -> str:
    """A plan in one sentence, without a full stop."""
    symbols = {token.address: token.symbol for pool in problem.pools for token in pool.tokens}

    def listed(amounts_raw: Sequence[int]) -> str:
        return " and ".join(
            f"{_number(raw, problem.decimals[i])} {symbols[problem.tokens[i]]}"
            for i, raw in enumerate(amounts_raw)
            if raw
        )

    more = f", {dollars(cost.l1_e18)} L1 data" if cost.l1_e18 else ""
    more += f", {dollars(cost.tip_e18)} tip" if cost.tip_e18 else ""
    return (
        f"sell {listed(sales_raw)} for {listed(buys_raw)} in {swaps} swap{'s' * (swaps > 1)}, at "
        f"a cost of {dollars(cost.total_e18)}: {dollars(cost.fee_e18)} fees, "
        f"{dollars(cost.impact_e18)} price, {dollars(cost.gas_e18)} gas{more}"
    )


def dollars(usd_e18: int) -> str:
    """A value for people, in cents."""
    return f"{'-' * (usd_e18 < 0)}${_number(abs(usd_e18), 18, 2)}"


def _number(raw: int, decimals: int, places: int = 6) -> str:
    """An amount for people, to at most that many places."""
    return f"{Decimal(raw).scaleb(-decimals):,.{places}f}"
