"""Wait rule: how much the next unit may lose now, and when to wait for better prices. Depends only on the vault and its
policy. Pure.

A vault's slippage limit rises from the time a band was seen broken. It is the price the vault would finally pay to
return to its band, not the price a trade should cost. The actual cost depends on where arbitrageurs have left the
pools: from zero (a pool that is one fee off in the good direction) to twice the pool's fee (in the bad direction).
Right after a break the bad direction is more likely, because the move that broke the band also moved the pools. Every
oracle round changes this. Prices continue or return with equal probability, so on average waiting costs only time out
of band, and a weight often returns by itself.

This is a search with a deadline (one offer per round, without recall). Its solution is a price limit, which is low
while there is time left. The rule here is the simplest form of it:

    While the slippage limit rises, the next unit may lose a third of it. Once the limit is at its maximum, or a weight
    is twice as far from its
    target as its band allows, or anyone may rebalance, the next unit may lose the whole limit.

The vault's ramp sets the keeper's patience: the owner chooses it, all keepers use the same one, and without a ramp
there is no waiting. If execution is open to anyone, others take what the keeper leaves, up to the whole limit.

Chosen on ten synthetic tapes (seeds 1 to 10, vaults of 2.75 million dollars, bands of 1 %, a ramp of one hour) among
constant fractions and linear and curved ramps, from a half to a sixth. Checked on seeds 11 to 30 and the real rounds of
April 2023 to January 2024: trades cost 17.9 bps and 18.9 bps of the value sold, where immediate trades cost 26.3 and
28.4. Vaults were out of band for 0.45 % and 0.35 % of the time instead of 0.10 %, never longer than the ramp. With a
ramp of four hours: 12.5 and 12.1 bps, 0.6 % and 0.5 % of the time. With a ramp of one hour, a quarter costs the same as
a third, and leaves vaults out of band twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.policy import is_open
from rebalancer.settlement import Basket, Policy, State, Weighed
from rebalancer.units import BPS, E18

__all__ = ["WaitRule", "wait_rule"]

_PART = 3
"""Divisor of the slippage limit while waiting: the next unit may lose this fraction of it."""

_FAR_BANDS = 2
"""Distance from the target, in bands, from which the whole limit may be lost."""


@dataclass(frozen=True, slots=True)
class WaitRule:
    """Maximum loss of the next unit now, and without waiting; fractions of 1e18 of the value sold."""

    now_e18: int
    at_most_e18: int


def wait_rule(policy: Policy, state: State, basket: Basket, weighed: Weighed, slippage_limit_e18: int) -> WaitRule:
    """The accepted losses at the basket's time, for a current limit of `slippage_limit_e18`. Rounded down."""
    top_e18 = policy.max_slippage_bps * (E18 // BPS)
    if slippage_limit_e18 >= top_e18:
        return WaitRule(top_e18, top_e18)
    is_far = any(
        abs(distance) * E18 >= _FAR_BANDS * band * weighed.total_e18
        for distance, band in zip(weighed.distances_e18, basket.bands_e18, strict=True)
    )
    hurries = is_far or is_open(state.due_since, policy.open_after_seconds, basket.timestamp)
    now_e18 = slippage_limit_e18 if hurries else slippage_limit_e18 // _PART
    return WaitRule(now_e18, slippage_limit_e18)
