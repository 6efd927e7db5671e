"""A hundred pools of twenty tokens: how near to the best a plan is, and what ordinary ways cost beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.plan import NoPlan, Plan, plan_rebalance
from rebalancer.units import E18
from scripts.benchmarks.plan import in_band, out_of_band, ways


@pytest.mark.parametrize("seed", [4, 5])
def test_plan_over_a_hundred_pools_is_proved_and_costs_less_than_ordinary_ways(seed: int) -> None:
    problem = out_of_band(seed)
    plan = plan_rebalance(problem)

    assert isinstance(plan, Plan)
    assert len(problem.pools) == 100
    assert len(problem.tokens) == 20
    assert plan.certificate.gap_before_rounding < 1e-8
    assert plan.certificate.gap < 1e-6
    assert plan.settlement is not None
    assert plan.settlement.after.drift_bps < plan.settlement.before.drift_bps // 10
    cost_bps = ways(problem, plan)
    ours, after_pairs = cost_bps.pop("plan"), cost_bps.pop("pair after pair, each at its best")
    assert ours < 0.5 * min(cost_bps.values())
    assert ours < 0.85 * after_pairs


def test_plan_over_a_hundred_pools_with_dear_gas_uses_fewer_and_is_worth_more() -> None:
    problem = replace(out_of_band(), gas_price_wei=2 * 10**10, native_price_e18=2_000 * E18)
    plan, free = plan_rebalance(problem), plan_rebalance(replace(problem, gas_price_wei=0))

    assert isinstance(plan, Plan)
    assert isinstance(free, Plan)
    assert len(plan.swaps) < len(free.swaps)
    ours = plan.certificate.value_e18 - problem.hop_cost_e18 * len(plan.swaps)
    assert ours > free.certificate.value_e18 - problem.hop_cost_e18 * len(free.swaps)
    assert plan.certificate.gap < 1e-6


def test_plan_in_band_needs_no_solving() -> None:
    found = plan_rebalance(in_band())

    assert isinstance(found, NoPlan)
    assert "inside its band" in found.text
