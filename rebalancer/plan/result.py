"""Result of the planner: trades, their costs, a certificate of their quality, and the vault's settlement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rebalancer.errors import PolicyRefused
from rebalancer.plan.problem import Problem
from rebalancer.plan.swap import Swap
from rebalancer.reasons import Reason
from rebalancer.settlement import Settlement
from rebalancer.units import E18, PIPS

__all__ = ["Certificate", "NoPlan", "Plan", "PlanCost", "SwapCost", "costs_of", "dollars", "sentence"]


@dataclass(frozen=True, slots=True)
class SwapCost:
    """Cost of a swap in USD times 1e18; fee + impact is its whole loss.

    Assets are valued at the oracle's prices, other tokens at the plan's own. `impact_e18` contains the price move of
    the swap, and the pool's distance from those prices before it; it is negative if the pool pays better.
    """

    value_e18: int
    """Value of the input."""
    fee_e18: int
    impact_e18: int
    gas_e18: int


@dataclass(frozen=True, slots=True)
class PlanCost:
    """Cost of all swaps together. `gas_e18` includes the gas of the rebalance itself; `l1_e18` is the rollup fee in
    addition to it."""

    fee_e18: int
    impact_e18: int
    gas_e18: int
    tip_e18: int = 0
    l1_e18: int = 0

    @property
    def total_e18(self) -> int:
        """Total cost."""
        return self.fee_e18 + self.impact_e18 + self.gas_e18 + self.tip_e18 + self.l1_e18


@dataclass(frozen=True, slots=True)
class Certificate:
    """Distance of a plan from the best possible one, in the objective (`Problem.benefit_e18`).

    `bound_e18` is the dual's bound: no plan on the pools in use, with their gas paid, is worth more.
    `all_pools_bound_e18` is the bound over all pools if each swap pays its gas; this plan's gas is added, so that both
    can be compared with `value_e18`, the exact worth of the plan. Both bounds apply to plans with the same order of
    tokens. They treat each pair of a pool with more than two tokens as a separate pool, so they are looser for such
    pools.
    """

    value_e18: int
    bound_e18: int
    all_pools_bound_e18: int
    sold_e18: int
    gap_before_rounding: float
    """Distance of the solver's own trades from its bound, as a fraction of the value sold."""
    steps: int
    """Newton steps of the last solution over all pools."""

    @property
    def gap(self) -> float:
        """Distance of the plan in whole units from its bound, as a fraction of the value sold."""
        return max(0, self.bound_e18 - self.value_e18) / self.sold_e18


@dataclass(frozen=True, slots=True)
class Plan:
    """Arguments of `BasketVault.rebalance`, their expected result, and the reasons."""

    sales_raw: tuple[int, ...]
    min_buys_raw: tuple[int, ...]
    expected_buys_raw: tuple[int, ...]
    route: bytes
    swaps: tuple[Swap, ...]
    """Swaps in the order of execution, with exact amounts."""
    swap_costs: tuple[SwapCost, ...]
    cost: PlanCost
    worth_e18: int
    """Worth of these sales in USD times 1e18: `Problem.worth_e18` of the value sold."""
    certificate: Certificate
    text: str
    bound_by: str | None = None
    """The limit that made the trades smaller than the drift: "turnover", "loss", "slippage", "worth" (the next unit
    would lose more than it is worth), or None."""
    settlement: Settlement | None = None
    """Result of the vault's checks, if its rules were given: ledger, drift and budgets after the rebalance."""
    was_cut: bool = False
    """Whether the effort limit ended the search before everything was tried."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Split of each sold token: for each swap, its fraction of all sales of its input token."""
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
    """Why there is no plan: `text` is one sentence for people.

    If the vault would refuse the best plan, `refusal` is the vault's error and `refused` that plan.
    """

    reason: Reason
    text: str
    refusal: PolicyRefused | None = None
    refused: Plan | None = None


def costs_of(
    problem: Problem, swaps: Sequence[Swap], middle_prices: dict[str, float]
) -> tuple[tuple[SwapCost, ...], PlanCost]:
    """Cost of each swap and of all together. `middle_prices`: USD per raw unit of tokens outside the basket."""
    index = {token: i for i, token in enumerate(problem.tokens)}

    def value_e18(token: str, amount_raw: int) -> int:
        if token in index:
            return problem.value_e18(index[token], amount_raw)
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


def sentence(problem: Problem, sales_raw: Sequence[int], buys_raw: Sequence[int], swaps: int, cost: PlanCost) -> str:
    """A plan as one sentence, without a full stop."""
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
    """A value as text, in dollars and cents."""
    return f"{'-' * (usd_e18 < 0)}${_number(abs(usd_e18), 18, 2)}"


def _number(raw: int, decimals: int, places: int = 6) -> str:
    """An amount as text, with this number of decimal places."""
    return f"{Decimal(raw).scaleb(-decimals):,.{places}f}"
