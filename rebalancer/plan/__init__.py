"""What to trade, by which route, and what it costs. Pure: pools and prices in, a plan out."""

from __future__ import annotations

from rebalancer.plan.planner import plan_rebalance
from rebalancer.plan.problem import Problem, Rules
from rebalancer.plan.result import Certificate, NoPlan, Plan, PlanCost, SwapCost
from rebalancer.plan.sale import best_sale
from rebalancer.plan.swap import Swap

__all__ = [
    "Certificate",
    "NoPlan",
    "Plan",
    "PlanCost",
    "Problem",
    "Rules",
    "Swap",
    "SwapCost",
    "best_sale",
    "plan_rebalance",
]
