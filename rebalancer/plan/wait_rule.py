"""How much may the next unit lose now, and when is it better to wait? From the vault and its policy alone. Pure.

A vault's slippage limit climbs from the moment a band was seen broken: it says what the vault would pay in the end
rather than stay out of its band, not what a trade should cost. What it does cost depends on where arbitrageurs have left
the pools, anywhere from nothing (a pool that stands one fee off on the good side) to twice its fee (on the bad one);
and right after a break it is most often the bad one, because the very move that broke the band pushed the pools there. Every
round of the oracle deals anew. Prices are as likely to go on as to come back, so waiting loses nothing on average but the
time out of band, and a weight often comes home by itself.

So this is a search with a deadline (an offer a round, none can be called back), and its answer is a price below which
one accepts, low while there is time left. The rule here has its shape in the plainest form:

    While the limit still climbs, the next unit may lose a third of it. Once the limit stands at its top, or a weight is
    twice as far from its target as its band allows, or anyone may rebalance, it may lose all of it.

The vault's own ramp is the keeper's patience: its owner sets it, all keepers see the same one, and a flat limit asks for none.
Where execution is open to anyone, what the keeper does not take somebody else does, for all that the limit allows.

Chosen on ten synthetic tapes (seeds 1 to 10, vaults of 2.75 million dollars, bands of 1 %, a ramp of an hour) among constant
parts, straight and bent climbs, from a half to a sixth; checked on seeds 11 to 30 and the real rounds of April 2023 to January
2024. Of what was sold it cost there 17.9 bps and 18.9, where trading at once cost 26.3 and 28.4; vaults were out of band for
0.45 % and 0.35 % of the time instead of 0.10 %, never for longer than the ramp. A ramp of four hours: 12.5 and 12.1 bps, 0.6 %
and 0.5 % of the time. With a ramp of an hour, a quarter costs no less than a third and leaves vaults outside twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.policy import is_open
from rebalancer.settlement import Basket, Policy, State, Weighed
from rebalancer.units import BPS, E18

__all__ = ["WaitRule", "wait_rule"]

_PART = 3
"""One part in so many of the limit is what the next unit may lose while better prices are waited for."""

_FAR_BANDS = 2
"""So many bands from its target, a weight is brought back at whatever the limit allows."""


@dataclass(frozen=True, slots=True)
class WaitRule:
    """What the next unit may lose now, and if nothing better were waited for; fractions of 1e18 of the value sold."""

    now_e18: int
    at_most_e18: int


def wait_rule(policy: Policy, state: State, basket: Basket, weighed: Weighed, slippage_limit_e18: int) -> WaitRule:
    """What may be paid at the basket's time, where the vault's limit is `slippage_limit_e18`. Rounded down."""
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
