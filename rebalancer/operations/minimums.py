"""Check for minimum trades that are larger than the trades of a vault whose weights just left their bands. Pure.

At the edge of its band, a weight differs from its target by the width of the band. If an asset's minimum trade is worth
more, the asset cannot be traded until its drift is larger, and every rebalance is refused until then. If it is worth
more than the turnover budget, the asset is never traded. All values are at the basket's current prices.
"""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.policy import value_up
from rebalancer.settlement import Basket, Policy, weigh_basket
from rebalancer.units import BPS, E18, div_up

__all__ = ["LargeMinimum", "large_minimums", "most_traded_raw"]

_ROUNDING_E18 = 2
"""Maximum rounding error of a value, in USD times 1e18."""


@dataclass(frozen=True, slots=True)
class LargeMinimum:
    """An asset's minimum trade, and the largest trade at the edge of its band, in raw units.

    `needed_bps` is the drift from which the minimum can be traded, in basis points, rounded up; None if the turnover
    budget or the target never allows it.
    """

    asset: int
    minimum_raw: int
    most_raw: int
    needed_bps: int | None

    def sentence(self, name: str, decimals: int) -> str:
        """The problem as a sentence, without a full stop."""
        least, most = (f"{raw / 10**decimals:,.{min(decimals, 6)}f}" for raw in (self.minimum_raw, self.most_raw))
        effect = "never traded" if self.needed_bps is None else f"not traded until its drift is {self.needed_bps} bps"
        return (
            f"The minimum trade of {name}, {least}, is more than {most}, the largest trade at the edge of its band "
            f"at the vault's current value: {name} is {effect}"
        )


def most_traded_raw(basket: Basket, policy: Policy) -> list[int]:
    """The largest sale or purchase of each asset whose weight is inside its band, in raw units, rounded up.

    It is worth the band plus the dust by which a purchase may exceed the target, but at most the turnover budget. It
    assumes a rebalance without a gain. It is 0 for an excluded asset.

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
    """The assets whose minimum trade exceeds `most_traded_raw`, in basket order.

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
