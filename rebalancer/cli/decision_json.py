"""JSON form of a keeper's decision and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rebalancer.cli.format import plain
from rebalancer.keeper import Decision
from rebalancer.plan import Plan

__all__ = ["decision_as_json", "print_line"]


def print_line(decision: Decision) -> None:
    """Print a decision as one line of JSON."""
    import json

    click.echo(json.dumps(plain(decision_as_json(decision))))


def decision_as_json(decision: Decision) -> Mapping[str, Any]:
    """A decision as a JSON object."""
    snapshot, found = decision.snapshot, decision.plan
    return {
        "vault": decision.vault,
        "block": decision.block,
        "reason": decision.reason,
        "sentence": decision.text,
        "epoch": decision.epoch,
        "drift_bps": decision.drift_bps,
        "kind": decision.kind,
        "tokens": [asset.token for asset in snapshot.basket.assets] if snapshot else None,
        "plan": found and _plan_as_json(found),
        "transaction_hash": decision.transaction_hash,
    }


def _plan_as_json(found: Plan) -> Mapping[str, Any]:
    """A plan as a JSON object."""
    after, certificate = found.settlement, found.certificate
    return {
        "sales_raw": found.sales_raw,
        "expected_buys_raw": found.expected_buys_raw,
        "min_buys_raw": found.min_buys_raw,
        "bound_by": found.bound_by,
        "was_cut": found.was_cut,
        "worth_e18": found.worth_e18,
        "cost": {
            "fee_e18": found.cost.fee_e18,
            "impact_e18": found.cost.impact_e18,
            "gas_e18": found.cost.gas_e18,
            "l1_e18": found.cost.l1_e18,
            "tip_e18": found.cost.tip_e18,
            "total_e18": found.cost.total_e18,
        },
        "legs": [
            {
                "pool": swap.pool.key,
                "token_in": swap.token_in,
                "token_out": swap.token_out,
                "amount_in_raw": swap.amount_in_raw,
                "amount_out_raw": swap.amount_out_raw,
                "share": share,
                "fee_e18": cost.fee_e18,
                "impact_e18": cost.impact_e18,
                "gas_e18": cost.gas_e18,
            }
            for swap, share, cost in zip(found.swaps, found.shares, found.swap_costs, strict=True)
        ],
        "certificate": {
            "value_e18": certificate.value_e18,
            "bound_e18": certificate.bound_e18,
            "all_pools_bound_e18": certificate.all_pools_bound_e18,
            "gap_before_rounding": certificate.gap_before_rounding,
            "gap": certificate.gap,
        },
        "settlement": after
        and {
            "held": after.held,
            "sold_e18": after.sold_e18,
            "bought_e18": after.bought_e18,
            "loss_e18": after.loss_e18,
            "slippage_limit_e18": after.slippage_limit_e18,
            "drift_before_bps": after.before.drift_bps,
            "drift_after_bps": after.after.drift_bps,
            "loss_level_e18": after.state.loss_level_e18,
            "turnover_level_e18": after.state.turnover_level_e18,
        },
        "route": found.route,
    }
