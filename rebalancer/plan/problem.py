"""What is a plan made of? What each asset may sell and take, prices, budgets, and pools at one block.

Pure. Sequences are in basket order, n of them. Amounts are raw units, prices USD per whole token times
1e18, values USD times 1e18. Sold is valued up and at the higher price, bought down and at the lower, as
the vault does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rebalancer.errors import BadPlanInput
from rebalancer.plan.wait_rule import wait_rule
from rebalancer.policy import (
    deficit_raw,
    minimum_bought_e18,
    surplus_raw,
    to_destination,
    value_down,
    value_up,
)
from rebalancer.settlement import Basket, Policy, State, weigh_basket
from rebalancer.units import BPS, E18, div_up
from rebalancer.venues import Pool

__all__ = ["UNSTATED_WORTH_E18", "Problem", "Rules", "destination_limits"]

UNSTATED_WORTH_E18 = E18 // 2
"""Where nobody says what bringing home is worth: all is traded that the limits allow and the pools can take."""

_HORIZON_SECONDS = 120
"""How long after the block it was made at a plan must still be allowed while targets glide."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a vault judges a rebalance by, for predicting its checks to the unit."""

    policy: Policy
    state: State
    basket: Basket
    timestamp: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What a plan is made of. The sequences hold one entry for each asset of the basket."""

    tokens: tuple[str, ...]
    decimals: tuple[int, ...]
    sales_max_raw: tuple[int, ...]
    """The most that may be sold of each: its surplus, or 0."""
    needs_max_raw: tuple[int, ...]
    """The most that may be bought of each: its deficit, or 0."""
    prices_e18: tuple[int, ...]
    lo_e18: tuple[int, ...]
    hi_e18: tuple[int, ...]
    pools: tuple[Pool, ...]
    slippage_limit_e18: int = E18
    """The part of the value sold that may be lost in all; E18 for no limit but the pools'."""
    min_trades_raw: tuple[int, ...] = ()
    """Least that may be sold or bought of each, if there are such limits."""
    need_max_e18: int | None = None
    """The most value that may be sold in all, at the prices themselves (the need), if limited."""
    sold_max_e18: int | None = None
    """The most value that may be sold in all (what is left of the turnover budget), if limited."""
    loss_max_e18: int | None = None
    """The most value that may be lost in all (what is left of the loss budget), if limited."""
    targets_e18: tuple[int, ...] = ()
    """Target weights, where what the trades lose moves the targets themselves: without, it does not."""
    dust_e18: int = 0
    """How far an asset may end beyond its target, as a value."""
    worth_e18: int = UNSTATED_WORTH_E18
    """What bringing home a unit of value sold is worth, as a part of it: the next unit that would lose
    more is not traded, and a plan whose losses, gas and tip are more than all of it is none."""
    total_worth_e18: int | None = None
    """The same for all of it together, with its gas; by default `worth_e18`. What is worth waiting for is worth more in the end."""
    at_most_e18: int | None = None
    """What the next unit might lose if nothing better were waited for, where it may lose less now (`patience.py`)."""
    tolerance_bps: int = 10
    """By how much less than expected may arrive before the whole rebalance reverts."""
    gas_price_wei: int = 0
    native_price_e18: int = 0
    """USD per whole native token; 0 where gas is not to be weighed."""
    gas_per_rebalance: int = 200_000
    gas_per_hop: int = 90_000
    gas_per_wait: int = 216_000
    """Of telling the vault that a band is broken, from when on its limit climbs, and that it is whole again."""
    l1_fixed_wei: int = 0
    l1_wei_per_byte: int = 0
    """What a rollup charges for a transaction's data on L1: so much, and for each of its bytes. The first may be below 0."""
    bytes_per_rebalance: int = 130
    bytes_per_hop: int = 65
    bytes_per_wait: int = 100
    """Of their transactions as rollups compress them: zeros, of which calldata is full, are hardly paid for."""
    tip_wei: int = 0
    """What is paid for being mined, on top of gas."""
    rules: Rules | None = None
    """With it a plan carries what the vault's checks will compute, and a plan they refuse is none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(token.lower() for token in self.tokens))
        size = len(self.tokens)
        for name in (
            "decimals",
            "sales_max_raw",
            "needs_max_raw",
            "prices_e18",
            "lo_e18",
            "hi_e18",
        ):
            if len(getattr(self, name)) != size:
                raise BadPlanInput(f"{name} has {len(getattr(self, name))} entries, not {size}")
        if len(set(self.tokens)) != size:
            raise BadPlanInput("a token is named twice")
        if not 0 <= self.worth_e18 < E18:
            raise BadPlanInput(f"worth_e18 {self.worth_e18} is not a part of one")
        for i in range(size):
            if self.sales_max_raw[i] < 0 or self.needs_max_raw[i] < 0:
                raise BadPlanInput(f"asset {i} has an amount below 0")
            if self.sales_max_raw[i] and self.needs_max_raw[i]:
                raise BadPlanInput(f"asset {i} is both in surplus and in deficit")
            if not 0 < self.lo_e18[i] <= self.prices_e18[i] <= self.hi_e18[i]:
                raise BadPlanInput(f"asset {i} has no price with lo ≤ price ≤ hi above 0")

    @classmethod
    def of(
        cls,
        basket: Basket,
        pools: Sequence[Pool],
        *,
        policy: Policy | None = None,
        state: State | None = None,
        slippage_limit_e18: int = E18,
        loss_left_e18: int | None = None,
        turnover_left_e18: int | None = None,
        destination_bps: int = 0,
        tolerance_bps: int = 10,
        gas_price_wei: int = 0,
        native_price_e18: int = 0,
        l1_fixed_wei: int = 0,
        l1_wei_per_byte: int = 0,
    ) -> Problem:
        """The input for a vault's basket. Budgets left are fractions of 1e18 of the basket's value.

        With a `policy`, no unit of value is traded that would lose more than is paid now (`patience.py`): the limit
        climbs, and pools come nearer the oracle meanwhile. All of them together are worth what the policy ever
        lets be lost; with the `state` too, the plan is held against the vault's checks at the basket's time.

        Raises:
            PolicyRefused: the basket cannot be weighed.
        """
        weighed = weigh_basket(basket)
        sales, needs, need_e18 = destination_limits(basket, destination_bps)

        def part_of_basket(fraction_e18: int | None) -> int | None:
            # The contract rounds a spent fraction up, so the value that fits is rounded down.
            return None if fraction_e18 is None else fraction_e18 * weighed.total_e18 // E18

        found = cls(
            tokens=tuple(asset.token for asset in basket.assets),
            decimals=tuple(asset.decimals for asset in basket.assets),
            sales_max_raw=sales,
            needs_max_raw=needs,
            # An excluded asset has no price, and neither surplus nor deficit: any price will do.
            prices_e18=tuple(price or 1 for price in basket.prices_e18),
            lo_e18=tuple(price.lo_e18 or 1 for price in basket.prices),
            hi_e18=tuple(price.hi_e18 or 1 for price in basket.prices),
            min_trades_raw=tuple(basket.min_trades_raw),
            targets_e18=tuple(basket.targets_e18),
            dust_e18=basket.dust_bps * weighed.total_e18 // BPS,
            pools=tuple(pools),
            slippage_limit_e18=slippage_limit_e18,
            need_max_e18=need_e18 if destination_bps else None,
            sold_max_e18=part_of_basket(turnover_left_e18),
            loss_max_e18=part_of_basket(loss_left_e18),
            tolerance_bps=tolerance_bps,
            gas_price_wei=gas_price_wei,
            native_price_e18=native_price_e18,
            l1_fixed_wei=l1_fixed_wei,
            l1_wei_per_byte=l1_wei_per_byte,
        )
        if policy is None:
            return found
        total_e18 = policy.max_slippage_bps * (E18 // BPS)
        rules = Rules(policy, state, basket, basket.timestamp) if state else None
        paid = wait_rule(policy, state or State(), basket, weighed, slippage_limit_e18)
        return replace(
            found,
            worth_e18=paid.now_e18,
            at_most_e18=paid.at_most_e18 if paid.now_e18 < paid.at_most_e18 else None,
            total_worth_e18=total_e18,
            rules=rules,
        )

    @property
    def at_once(self) -> Problem:
        """The same if nothing better were waited for."""
        return self if self.at_most_e18 is None else replace(self, worth_e18=self.at_most_e18, at_most_e18=None)

    @property
    def is_patient(self) -> bool:
        """Whether the limit still climbs, so that more is traded later than now."""
        return self.total_worth_e18 is not None and self.slippage_limit_e18 < self.total_worth_e18

    def sold_e18(self, asset: int, amount_raw: int) -> int:
        """Value of a sale as the vault sees it: at the higher price, rounded up."""
        return value_up(amount_raw, self.hi_e18[asset], 10 ** self.decimals[asset])

    def bought_e18(self, asset: int, amount_raw: int) -> int:
        """Value of a purchase as the vault sees it: at the lower price, rounded down."""
        return value_down(amount_raw, self.lo_e18[asset], 10 ** self.decimals[asset])

    def value_e18(self, asset: int, amount_raw: int) -> int:
        """Value of an amount at the price itself, rounded down."""
        return value_down(amount_raw, self.prices_e18[asset], 10 ** self.decimals[asset])

    def values_e18(self, sales_raw: Sequence[int], buys_raw: Sequence[int]) -> tuple[int, int]:
        """All that is sold and all that is bought, as the vault values them."""
        sold_e18 = sum(self.sold_e18(i, raw) for i, raw in enumerate(sales_raw) if raw)
        bought_e18 = sum(self.bought_e18(j, raw) for j, raw in enumerate(buys_raw) if raw)
        return sold_e18, bought_e18

    def benefit_e18(self, sales_raw: Sequence[int], buys_raw: Sequence[int]) -> int:
        """What is planned for: the worth of what is brought home, less what that loses. Down."""
        sold_e18, bought_e18 = self.values_e18(sales_raw, buys_raw)
        return bought_e18 - div_up(sold_e18 * (E18 - self.worth_e18), E18)

    def allows(self, sales_raw: Sequence[int], buys_raw: Sequence[int]) -> bool:
        """Whether trades stay within what each asset may sell and take, the slippage and the budgets."""
        if any(map(int.__gt__, sales_raw, self.sales_max_raw)):
            return False
        if any(map(int.__gt__, buys_raw, self.needs_max_raw)):
            return False
        sold_e18, bought_e18 = self.values_e18(sales_raw, buys_raw)
        if bought_e18 < minimum_bought_e18(sold_e18, self.slippage_limit_e18):
            return False
        if self.sold_max_e18 is not None and sold_e18 > self.sold_max_e18:
            return False
        if self.need_max_e18 is not None:
            worth_e18 = sum(
                value_up(raw, price, 10**decimals)
                for raw, price, decimals in zip(sales_raw, self.prices_e18, self.decimals, strict=True)
            )
            if worth_e18 > self.need_max_e18:
                return False
        return self.loss_max_e18 is None or sold_e18 - bought_e18 <= self.loss_max_e18

    @property
    def hop_cost_e18(self) -> int:
        """What one hop more costs in USD, its gas and its bytes on L1, rounded up."""
        return self._worth_up(self.gas_per_hop * self.gas_price_wei + self.bytes_per_hop * self.l1_wei_per_byte)

    @property
    def wait_cost_e18(self) -> int:
        """What `gas_per_wait` is for costs in USD, in two transactions, rounded up."""
        l1_wei = self.l1_fixed_wei + self.bytes_per_wait * self.l1_wei_per_byte
        return self._worth_up(self.gas_per_wait * self.gas_price_wei + 2 * max(0, l1_wei))

    def sending_cost_e18(self, hops: int) -> int:
        """What a rebalance of so many hops costs in USD, its gas and its bytes on L1, rounded up."""
        return self.gas_cost_e18(hops) + self.l1_cost_e18(hops)

    def gas_cost_e18(self, hops: int) -> int:
        """What the gas of a rebalance of so many hops costs in USD, rounded up."""
        return self._worth_up((self.gas_per_rebalance + self.gas_per_hop * hops) * self.gas_price_wei)

    def l1_cost_e18(self, hops: int) -> int:
        """What a rollup charges for a rebalance of so many hops beside that, in USD, rounded up."""
        size = self.bytes_per_rebalance + self.bytes_per_hop * hops
        return self._worth_up(max(0, self.l1_fixed_wei + size * self.l1_wei_per_byte))

    @property
    def tip_e18(self) -> int:
        """What the tip costs in USD, rounded up."""
        return self._worth_up(self.tip_wei)

    def _worth_up(self, wei: int) -> int:
        return div_up(wei * self.native_price_e18, E18)


def destination_limits(basket: Basket, destination_bps: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The most that may be sold and bought of each asset, and the need in USD times 1e18. Of one that is barred nothing is bought.

    Now and, with targets that glide, a while later.
    """
    moments = [basket]
    if basket.timestamp < basket.glide_end:
        moments.append(replace(basket, timestamp=basket.timestamp + _HORIZON_SECONDS))
    sales, needs, needs_e18 = [], [], []
    for moment in moments:
        weighed = weigh_basket(moment)
        measured = list(zip(weighed.distances_e18, moment.prices_e18, moment.units, strict=True))
        sales.append([surplus_raw(*one) for one in measured])
        needs.append([0 if basket.is_barred(i) else deficit_raw(*one) for i, one in enumerate(measured)])
        _, need_e18 = to_destination(
            *(weighed.distances_e18, weighed.total_e18, moment.bands_e18),
            *(destination_bps, moment.dust_bps),
        )
        needs_e18.append(need_e18)
    return (
        tuple(map(min, zip(*sales, strict=True))),
        tuple(map(min, zip(*needs, strict=True))),
        min(needs_e18),
    )
