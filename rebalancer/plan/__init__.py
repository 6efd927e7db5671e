"""What to trade, by which route, and what it costs. Pure: pools and prices in, a plan out."""

from __future__ import annotations

from rebalancer.plan.ask import PlanInput, Rules
from rebalancer.plan.leg import Leg
from rebalancer.plan.planner import plan_rebalance
from rebalancer.plan.result import Certificate, LegCost, NoPlan, Plan, PlanCost
from rebalancer.plan.sale import best_sale

__all__ = [
    "Certificate",
    "Leg",
    "LegCost",
    "NoPlan",
    "Plan",
    "PlanCost",
    "PlanInput",
    "Rules",
    "best_sale",
    "plan_rebalance",
]
