"""Input of the planner: maximum sales and purchases, prices, limits and budgets, costs, and pools at one block.

Pure. Sequences have n entries in basket order. Amounts are raw units, prices USD per whole token times 1e18, values USD
times 1e18. As in the vault, sales are valued at the higher price and rounded up, purchases at the lower price and
rounded down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rebalancer.errors import BadPlanInput
from rebalancer.plan.wait_rule import wait_rule
from rebalancer.policy import deficit_raw, minimum_bought_e18, surplus_raw, to_destination, value_down, value_up
from rebalancer.settlement import Basket, Policy, State, weigh_basket
from rebalancer.units import BPS, E18, div_up
from rebalancer.venues import Pool

__all__ = ["UNSTATED_WORTH_E18", "Problem", "Rules", "destination_limits"]

UNSTATED_WORTH_E18 = E18 // 2
"""Default worth: trades are limited only by the limits and the pools."""

_HORIZON_SECONDS = 120
"""Time after the plan's block for which a plan must stay valid while targets glide."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Inputs of the vault's checks, to predict their exact result."""

    policy: Policy
    state: State
    basket: Basket
    timestamp: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Input of a plan. The sequences have one entry per asset of the basket."""

    tokens: tuple[str, ...]
    decimals: tuple[int, ...]
    sales_max_raw: tuple[int, ...]
    """Maximum sale of each asset: its surplus, or 0."""
    needs_max_raw: tuple[int, ...]
    """Maximum purchase of each asset: its deficit, or 0."""
    prices_e18: tuple[int, ...]
    lo_e18: tuple[int, ...]
    hi_e18: tuple[int, ...]
    pools: tuple[Pool, ...]
    slippage_limit_e18: int = E18
    """Maximum total loss as a fraction of the value sold; E18 for no limit except the pools'."""
    min_trades_raw: tuple[int, ...] = ()
    """Minimum sale or purchase of each asset, if there are such limits."""
    need_max_e18: int | None = None
    """Maximum total value to sell at primary prices (the need), if limited."""
    sold_max_e18: int | None = None
    """Maximum total value to sell (the remaining turnover budget), if limited."""
    loss_max_e18: int | None = None
    """Maximum total loss (the remaining loss budget), if limited."""
    targets_e18: tuple[int, ...] = ()
    """Target weights, if losses of the trades move the target values; empty: they do not."""
    dust_e18: int = 0
    """Maximum distance beyond its target at which an asset may end, as a value."""
    worth_e18: int = UNSTATED_WORTH_E18
    """Worth of a unit of value sold, as a fraction of it. The next unit is not traded if it would lose more, and a plan
    is rejected if its losses, gas and tip exceed the worth of all its sales."""
    total_worth_e18: int | None = None
    """Worth of all sales together including gas, as a fraction; by default `worth_e18`. It is higher if waiting is
    allowed."""
    at_most_e18: int | None = None
    """Maximum loss of the next unit without waiting, if it is lower now because of waiting (`wait_rule.py`)."""
    tolerance_bps: int = 10
    """Tolerated shortfall of expected purchases before the whole rebalance reverts."""
    gas_price_wei: int = 0
    native_price_e18: int = 0
    """USD per whole native token; 0 if gas is ignored."""
    gas_per_rebalance: int = 200_000
    gas_per_hop: int = 90_000
    gas_per_wait: int = 216_000
    """Gas of both pokes: when a band breaks, from which time the limit rises, and when all bands are whole again."""
    l1_fixed_wei: int = 0
    l1_wei_per_byte: int = 0
    """Rollup fee for a transaction's data on L1: a fixed part, which may be negative, and a part per byte."""
    bytes_per_rebalance: int = 130
    bytes_per_hop: int = 65
    bytes_per_wait: int = 100
    """Sizes of the transactions after a rollup's compression: the many zeros of calldata cost almost nothing."""
    tip_wei: int = 0
    """Payment for inclusion in a block, in addition to gas."""
    rules: Rules | None = None
    """If given, a plan contains the result of the vault's checks, and a plan they refuse is rejected."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(token.lower() for token in self.tokens))
        size = len(self.tokens)
        for name in ("decimals", "sales_max_raw", "needs_max_raw", "prices_e18", "lo_e18", "hi_e18"):
            if len(getattr(self, name)) != size:
                raise BadPlanInput(f"{name} has {len(getattr(self, name))} entries, not {size}")
        if len(set(self.tokens)) != size:
            raise BadPlanInput("a token is named twice")
        if not 0 <= self.worth_e18 < E18:
            raise BadPlanInput(f"worth_e18 {self.worth_e18} is not a part of one")
        for i in range(size):
            if self.sales_max_raw[i] < 0 or self.needs_max_raw[i] < 0:
                raise BadPlanInput(f"asset {i} has a negative amount")
            if self.sales_max_raw[i] and self.needs_max_raw[i]:
                raise BadPlanInput(f"asset {i} is both in surplus and in deficit")
            if not 0 < self.lo_e18[i] <= self.prices_e18[i] <= self.hi_e18[i]:
                raise BadPlanInput(f"the prices of asset {i} are not 0 < lo ≤ price ≤ hi")

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
        """The problem of a vault's basket. Remaining budgets are fractions of 1e18 of the basket's value.

        With a `policy`, no unit is traded that would lose more than the wait rule accepts now (`wait_rule.py`), because
        the limit rises while pools approach the oracle. All sales together are worth the policy's maximum slippage.
        With a `state` too, the plan is checked with the vault's rules at the basket's time.

        Raises:
            PolicyRefused: the basket cannot be valued.
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
            # An excluded asset has no price, no surplus and no deficit, so any price is valid.
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
        """The same problem without waiting."""
        return self if self.at_most_e18 is None else replace(self, worth_e18=self.at_most_e18, at_most_e18=None)

    @property
    def is_patient(self) -> bool:
        """Whether the limit still rises, so that more can be traded later."""
        return self.total_worth_e18 is not None and self.slippage_limit_e18 < self.total_worth_e18

    def sold_e18(self, asset: int, amount_raw: int) -> int:
        """Value of a sale in the vault's checks: at the higher price, rounded up."""
        return value_up(amount_raw, self.hi_e18[asset], 10 ** self.decimals[asset])

    def bought_e18(self, asset: int, amount_raw: int) -> int:
        """Value of a purchase in the vault's checks: at the lower price, rounded down."""
        return value_down(amount_raw, self.lo_e18[asset], 10 ** self.decimals[asset])

    def value_e18(self, asset: int, amount_raw: int) -> int:
        """Value of an amount at the primary price, rounded down."""
        return value_down(amount_raw, self.prices_e18[asset], 10 ** self.decimals[asset])

    def values_e18(self, sales_raw: Sequence[int], buys_raw: Sequence[int]) -> tuple[int, int]:
        """Total values sold and bought, in the vault's checks."""
        sold_e18 = sum(self.sold_e18(i, raw) for i, raw in enumerate(sales_raw) if raw)
        bought_e18 = sum(self.bought_e18(j, raw) for j, raw in enumerate(buys_raw) if raw)
        return sold_e18, bought_e18

    def benefit_e18(self, sales_raw: Sequence[int], buys_raw: Sequence[int]) -> int:
        """The objective: worth of the sales, less their loss. Rounded down."""
        sold_e18, bought_e18 = self.values_e18(sales_raw, buys_raw)
        return bought_e18 - div_up(sold_e18 * (E18 - self.worth_e18), E18)

    def allows(self, sales_raw: Sequence[int], buys_raw: Sequence[int]) -> bool:
        """Whether trades are within the maximum sales and purchases, the slippage limit and the budgets."""
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
        """Cost of one more hop in USD: its gas and its bytes on L1. Rounded up."""
        return self._worth_up(self.gas_per_hop * self.gas_price_wei + self.bytes_per_hop * self.l1_wei_per_byte)

    @property
    def wait_cost_e18(self) -> int:
        """Cost in USD of the two transactions of `gas_per_wait`, rounded up."""
        l1_wei = self.l1_fixed_wei + self.bytes_per_wait * self.l1_wei_per_byte
        return self._worth_up(self.gas_per_wait * self.gas_price_wei + 2 * max(0, l1_wei))

    def sending_cost_e18(self, hops: int) -> int:
        """Cost in USD of a rebalance with this number of hops: its gas and its bytes on L1. Rounded up."""
        return self.gas_cost_e18(hops) + self.l1_cost_e18(hops)

    def gas_cost_e18(self, hops: int) -> int:
        """Cost in USD of the gas of a rebalance with this number of hops, rounded up."""
        return self._worth_up((self.gas_per_rebalance + self.gas_per_hop * hops) * self.gas_price_wei)

    def l1_cost_e18(self, hops: int) -> int:
        """Rollup fee in USD of a rebalance with this number of hops, in addition to gas. Rounded up."""
        size = self.bytes_per_rebalance + self.bytes_per_hop * hops
        return self._worth_up(max(0, self.l1_fixed_wei + size * self.l1_wei_per_byte))

    @property
    def tip_e18(self) -> int:
        """Cost of the tip in USD, rounded up."""
        return self._worth_up(self.tip_wei)

    def _worth_up(self, wei: int) -> int:
        return div_up(wei * self.native_price_e18, E18)


def destination_limits(basket: Basket, destination_bps: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Maximum sales and purchases of each asset, and the need in USD times 1e18. A barred asset is not bought.

    If targets glide, the limits hold both now and at a later time.
    """
    times = [basket]
    if basket.timestamp < basket.glide_end:
        times.append(replace(basket, timestamp=basket.timestamp + _HORIZON_SECONDS))
    sales, needs, needs_e18 = [], [], []
    for moment in times:
        weighed = weigh_basket(moment)
        measured = list(zip(weighed.distances_e18, moment.prices_e18, moment.units, strict=True))
        sales.append([surplus_raw(*one) for one in measured])
        needs.append([0 if basket.is_barred(i) else deficit_raw(*one) for i, one in enumerate(measured)])
        _, need_e18 = to_destination(
            *(weighed.distances_e18, weighed.total_e18, moment.bands_e18), *(destination_bps, moment.dust_bps)
        )
        needs_e18.append(need_e18)
    return (tuple(map(min, zip(*sales, strict=True))), tuple(map(min, zip(*needs, strict=True))), min(needs_e18))
