"""What to trade, by which route, and what it costs. Pure: pools and prices in, a plan out."""

from __future__ import annotations

from rebalancer.plan.planner import NoPlan, Plan, PlanCost, PlanInput, plan_rebalance
from rebalancer.plan.split import Leg, Split, best_split

__all__ = [
    "Leg",
    "NoPlan",
    "Plan",
    "PlanCost",
    "PlanInput",
    "Split",
    "best_split",
    "plan_rebalance",
]
