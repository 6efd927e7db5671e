"""Estimate of swaps whose gas costs more than a solution would lose without them.

Pure, in floats, without solving the problem again. Near a solution, the trading rows form a network of conductances: if
a row's price moves by a small fraction q, the row takes g q more (USD), where g is the value of its input divided by
the slope of its price. Without a row, its flow v goes through the others against their resistance R between its two
ends. This costs the row's own profit plus v^2 R / 2. Tokens that are partly sold or bought keep their price.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rebalancer.plan.dual import Solution
from rebalancer.plan.market import Market

__all__ = ["dispensable"]

_RIDGE = 1e-9
"""Conductance from each token to the ground, as a fraction of the largest one, so that every token has a price."""

_ALONE = 1e-6
"""Lower limit on the conductance of all other rows between a row's ends, as a fraction of the row's own."""


def dispensable(market: Market, solution: Solution, rows: NDArray[np.intp], cost: float) -> list[int]:
    """The trading rows to remove if each swap costs `cost` (USD), the largest saving first."""
    prices = np.exp(solution.log_prices)
    amounts = solution.flows.amounts_in
    bend = market.trade(amounts)[2][rows]
    into, out = market.token_in[rows], market.token_out[rows]
    value = prices[into]
    conductances = value**2 / np.maximum(prices[out] * bend, 1e-300)
    flows, profits = value * amounts[rows], market.profits(prices)[rows]
    ends = np.zeros((len(rows), len(prices)))
    places = np.arange(len(rows))
    ends[places, into], ends[places, out] = -1.0, 1.0
    ends[:, _held(solution)] = 0.0
    network = (ends.T * conductances) @ ends
    network.flat[:: len(network) + 1] += _RIDGE * float(conductances.max(initial=1e-300))
    # Price change between the ends of one row per unit of flow between the ends of another.
    resistances = ends @ np.linalg.solve(network, ends.T)
    left = np.ones(len(rows), dtype=np.bool_)
    found: list[int] = []
    for _ in range(len(rows) - 1):
        alone = np.maximum(1 - conductances * resistances.diagonal(), _ALONE)
        lost = profits + flows**2 * resistances.diagonal() / alone / 2
        at = int(np.argmax(np.where(left, cost - lost, -np.inf)))
        if lost[at] >= cost:
            break
        # The other rows take the flow, and the row leaves the network (Sherman-Morrison formula).
        beside = resistances[at] / alone[at]
        moved = beside * flows[at]
        resistances = resistances + np.outer(resistances[:, at], beside * conductances[at])
        profits = profits + flows * moved + conductances * moved**2 / 2
        flows = flows + conductances * moved
        left[at] = False
        found.append(int(rows[at]))
    return found


def _held(solution: Solution) -> NDArray[np.intp]:
    """Tokens that are partly sold or bought: a unit more or less does not change their price."""
    is_traded = (solution.sold > 0) | (solution.bought > 0)
    return np.flatnonzero(is_traded & ~solution.is_at_bound)
