"""Minimum trades that are larger than what a vault has to trade when its weights leave their bands.

A weight that stands at its band's edge is the band, and no more, from its target; nothing of an asset whose minimum trade is
worth more than that can be traded until the weight is further out, and every rebalance is refused meanwhile. What the turnover budget does
not allow is never traded. Pure; by a basket's present value.
"""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.policy import value_up
from rebalancer.settlement import Basket, Policy, weigh_basket
from rebalancer.units import BPS, E18, div_up

__all__ = ["LargeMinimum", "large_minimums", "most_traded_raw"]

_ROUNDING_E18 = 2
"""What weighing may round a value by, in USD times 1e18."""


@dataclass(frozen=True, slots=True)
class LargeMinimum:
    """An asset's minimum trade, and the most of it that can be traded while its weight is inside its band, in raw units.

    `needed_bps`: how far off its target the weight must be before as much can be traded, in basis points, rounded up; None where the turnover
    budget, or the target itself, never allows it.
    """

    asset: int
    minimum_raw: int
    most_raw: int
    needed_bps: int | None

    def sentence(self, name: str, decimals: int) -> str:
        """What is wrong, without a full stop."""
        least, most = (f"{raw / 10**decimals:,.{min(decimals, 6)}f}" for raw in (self.minimum_raw, self.most_raw))
        when = "never" if self.needed_bps is None else "not"
        until = "" if self.needed_bps is None else f" before its weight is {self.needed_bps} bps off"
        return (
            f"The minimum trade of {name}, {least}, is more than the {most} that stand at the edge of its band "
            f"at the vault's present value: {name} is {when} traded{until}"
        )


def most_traded_raw(basket: Basket, policy: Policy) -> list[int]:
    """The most that one rebalance which gains nothing sells or buys of each asset whose weight is inside its band; raw, rounded up.

    That is the band and the dust by which a purchase may cross the target, and no more than the turnover budget; 0 of an excluded asset.

    Raises:
        PolicyRefused: OracleFault, TotalOutOfRange.
    """
    total_e18 = weigh_basket(basket).total_e18
    budget_e18, dust_e18 = (bps * (E18 // BPS) for bps in (policy.turnover_budget_bps, policy.dust_bps))
    found = []
    for band_e18, price_e18, unit in zip(basket.bands_e18, basket.prices_e18, basket.units, strict=True):
        worth_e18 = div_up(min(band_e18 + dust_e18, budget_e18) * total_e18, E18) + _ROUNDING_E18
        found.append(div_up(worth_e18 * unit, price_e18) if price_e18 else 0)
    return found


def large_minimums(basket: Basket, policy: Policy) -> tuple[LargeMinimum, ...]:
    """The assets whose minimum trade is more than `most_traded_raw`, in basket order.

    Raises:
        PolicyRefused: OracleFault, TotalOutOfRange.
    """
    total_e18 = weigh_basket(basket).total_e18
    found = []
    for i, (asset, most_raw) in enumerate(zip(basket.assets, most_traded_raw(basket, policy), strict=True)):
        if asset.excluded or asset.min_trade_raw <= most_raw:
            continue
        worth_e18 = value_up(asset.min_trade_raw, basket.prices_e18[i], basket.units[i])
        needed_bps = div_up(worth_e18 * BPS, total_e18)
        target_e18 = basket.targets_e18[i]
        furthest_bps = max(target_e18, E18 - target_e18) * BPS // E18
        never = needed_bps > min(policy.turnover_budget_bps, furthest_bps)
        found.append(LargeMinimum(i, asset.min_trade_raw, most_raw, None if never else needed_bps))
    return tuple(found)
