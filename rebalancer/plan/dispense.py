"""Swaps whose gas is more than what a solution would lose without them, by how the others would take their part.

Pure, in floats, one row after another without solving anything again. Near a solution the rows that trade are a network of
conductances: a row whose price moves by a small part q takes g q more (USD), g being its input's value over how fast its
price falls. Without a row, its flow v goes by the others, against their resistance R between its two ends, and what that
costs beside the row's own profit is v^2 R / 2. Tokens that are sold or bought in part keep their price.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rebalancer.plan.dual import Solution
from rebalancer.plan.market import Market

__all__ = ["dispensable"]

_RIDGE = 1e-9
"""Part of the largest conductance from each token to the ground, so that tokens which nothing holds have a price."""

_ALONE = 1e-6
"""A row is the only way between its ends where all others conduct less than this part of what it does."""


def dispensable(market: Market, solution: Solution, rows: NDArray[np.intp], cost: float) -> list[int]:
    """The rows to leave out of those that trade, where each swap costs that much (USD); what saves most first."""
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
    # How far a unit of flow between the ends of one row moves the price between those of another.
    resistances = ends @ np.linalg.solve(network, ends.T)
    left = np.ones(len(rows), dtype=np.bool_)
    found: list[int] = []
    for _ in range(len(rows) - 1):
        alone = np.maximum(1 - conductances * resistances.diagonal(), _ALONE)
        lost = profits + flows**2 * resistances.diagonal() / alone / 2
        at = int(np.argmax(np.where(left, cost - lost, -np.inf)))
        if lost[at] >= cost:
            break
        # The others take its flow, and the network is without it (Sherman and Morrison's formula).
        beside = resistances[at] / alone[at]
        moved = beside * flows[at]
        resistances = resistances + np.outer(resistances[:, at], beside * conductances[at])
        profits = profits + flows * moved + conductances * moved**2 / 2
        flows = flows + conductances * moved
        left[at] = False
        found.append(int(rows[at]))
    return found


def _held(solution: Solution) -> NDArray[np.intp]:
    """Tokens of which something is traded, but not all that may be: one more or less changes nothing of their price."""
    is_traded = (solution.sold > 0) | (solution.bought > 0)
    return np.flatnonzero(is_traded & ~solution.is_at_bound)
