"""Settlement of a rebalance: the steps of `BasketVault.rebalance`, with identical results.

`Policy`, `State`, `Asset` and `Price` are the contract's structs, field for field. `Basket` holds the inputs of the
checks, and `settle` performs them with the rules of `rebalancer.policy`. Pure, as the rules are. Sequences are in
basket order; amounts are raw units of their token, prices are USD per whole token times 1e18, values are USD times
1e18. A refusal raises `PolicyRefused` with the contract's error name and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rebalancer.errors import PolicyRefused
from rebalancer.policy import (
    MAX_HELD_RAW,
    band_e18,
    check_progress,
    check_sales,
    check_toward_target,
    check_trade_size,
    distances,
    drift_bps,
    first_broken,
    fit_sales,
    fitted_minimum_e18,
    is_calendar_open,
    leak,
    minimum_bought_e18,
    slippage_e18,
    spend_loss,
    spend_turnover,
    surplus_raw,
    target_e18,
    to_destination,
    value_down,
    value_up,
    weigh,
)
from rebalancer.units import BPS, E18

__all__ = [
    "Asset",
    "Basket",
    "Fill",
    "Policy",
    "Price",
    "Settlement",
    "State",
    "Weighed",
    "budgets_left_e18",
    "settle",
    "weigh_basket",
    "weights_e18",
]


@dataclass(frozen=True, slots=True)
class Policy:
    """IBasketVault.Policy, field for field."""

    start_slippage_bps: int
    max_slippage_bps: int
    slippage_ramp_seconds: int
    min_progress_bps: int
    dust_bps: int
    cooldown_seconds: int
    loss_budget_bps: int
    loss_period_seconds: int
    turnover_budget_bps: int
    turnover_period_seconds: int
    destination_bps: int = 0
    calendar_seconds: int = 0
    open_after_seconds: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """IBasketVault.State, field for field."""

    loss_level_e18: int = 0
    turnover_level_e18: int = 0
    rebalanced_at: int = 0
    due_since: int = 0
    epoch: int = 0
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Asset:
    """IBasketVault.Asset, field for field. `start_target_e18` defaults to `target_e18`."""

    token: str
    target_e18: int
    band_bps: int
    decimals: int
    relative_band_bps: int = 0
    min_trade_raw: int = 0
    start_target_e18: int = -1
    excluded: bool = False

    def __post_init__(self) -> None:
        """Without a start target, the target does not move."""
        if self.start_target_e18 < 0:
            object.__setattr__(self, "start_target_e18", self.target_e18)


@dataclass(frozen=True, slots=True)
class Price:
    """IOracleHub.Price: USD per whole token times 1e18, and the name of the fault ("None" if there is no fault)."""

    lo_e18: int
    hi_e18: int
    primary_e18: int
    fault: str = "None"


@dataclass(frozen=True, slots=True)
class Basket:
    """A vault's holdings at one time, with all inputs of the policy's checks.

    `timestamp` determines gliding targets, and `dust_bps` (from the policy) the narrowest relative band. `barred` marks
    assets that lost balance and must not be bought; if it is empty, no asset is barred.
    """

    assets: tuple[Asset, ...]
    held: tuple[int, ...]
    prices: tuple[Price, ...]
    glide_start: int = 0
    glide_end: int = 0
    timestamp: int = 0
    dust_bps: int = 0
    barred: tuple[bool, ...] = ()

    @property
    def units(self) -> list[int]:
        """10**decimals of each asset."""
        return [10**asset.decimals for asset in self.assets]

    @property
    def prices_e18(self) -> list[int]:
        """Primary price of each asset; 0 for an excluded asset."""
        return [
            0 if asset.excluded else price.primary_e18 for asset, price in zip(self.assets, self.prices, strict=True)
        ]

    @property
    def his_e18(self) -> list[int]:
        """Higher price of each asset, used to value sales."""
        return [price.hi_e18 for price in self.prices]

    @property
    def los_e18(self) -> list[int]:
        """Lower price of each asset, used to value purchases."""
        return [price.lo_e18 for price in self.prices]

    @property
    def targets_e18(self) -> list[int]:
        """Target weight of each asset at `timestamp`."""
        return [
            target_e18(asset.start_target_e18, asset.target_e18, self.glide_start, self.glide_end, self.timestamp)
            for asset in self.assets
        ]

    @property
    def bands_e18(self) -> list[int]:
        """Half-width of each asset's band at `timestamp`, as a fraction of 1e18 of the basket."""
        return [
            band_e18(asset.band_bps, asset.relative_band_bps, target, self.dust_bps)
            for asset, target in zip(self.assets, self.targets_e18, strict=True)
        ]

    @property
    def min_trades_raw(self) -> list[int]:
        """Minimum amount of each asset that one rebalance may sell or buy."""
        return [asset.min_trade_raw for asset in self.assets]

    def is_barred(self, asset: int) -> bool:
        """Whether the asset must not be bought."""
        return bool(self.barred) and self.barred[asset]

    def at(self, timestamp: int, dust_bps: int) -> Basket:
        """The same holdings and prices at another time."""
        return replace(self, timestamp=timestamp, dust_bps=dust_bps)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A basket's values and distances, and the index of the first asset outside its band."""

    values_e18: tuple[int, ...]
    total_e18: int
    distances_e18: tuple[int, ...]
    distance_e18: int
    broken: int | None

    @property
    def drift_bps(self) -> int:
        """Largest distance from target in basis points, rounded up."""
        return drift_bps(self.distances_e18, self.total_e18)


@dataclass(frozen=True, slots=True)
class Fill:
    """Measured result of a trade: raw units sold and bought of each asset."""

    sold: tuple[int, ...]
    bought: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The ledger after a rebalance that passed every check."""

    held: tuple[int, ...]
    state: State
    before: Weighed
    after: Weighed
    sold_e18: int
    bought_e18: int
    slippage_limit_e18: int

    @property
    def loss_e18(self) -> int:
        """Loss of the trade against oracle prices, in USD times 1e18; 0 for a gain."""
        return max(0, self.sold_e18 - self.bought_e18)


def weigh_basket(basket: Basket) -> Weighed:
    """Values, distances and the first broken band, as in `BasketVault._readBasket`.

    Raises:
        PolicyRefused: OracleFault for a price with a fault, or TotalOutOfRange.
    """
    for i, (asset, price) in enumerate(zip(basket.assets, basket.prices, strict=True)):
        if price.fault != "None" and not asset.excluded:
            raise PolicyRefused("OracleFault", (i, price.fault))
    values, total = weigh(basket.held, basket.prices_e18, basket.units)
    signed, distance = distances(values, total, basket.targets_e18)
    broken = first_broken(signed, total, basket.bands_e18)
    return Weighed(tuple(values), total, tuple(signed), distance, broken)


def weights_e18(weighed: Weighed) -> tuple[int, ...]:
    """Weight of each asset as a fraction of 1e18, rounded down. For display only; decisions use the exact values."""
    return tuple(value * E18 // weighed.total_e18 for value in weighed.values_e18)


def budgets_left_e18(policy: Policy, state: State, timestamp: int) -> tuple[int, int]:
    """Remaining loss and turnover budgets at `timestamp`, as fractions of 1e18 of the basket."""
    elapsed = timestamp - state.rebalanced_at
    loss = leak(state.loss_level_e18, policy.loss_budget_bps, policy.loss_period_seconds, elapsed)
    turnover = leak(state.turnover_level_e18, policy.turnover_budget_bps, policy.turnover_period_seconds, elapsed)
    return (
        max(0, policy.loss_budget_bps * (E18 // BPS) - loss),
        max(0, policy.turnover_budget_bps * (E18 // BPS) - turnover),
    )


def settle(
    policy: Policy,
    state: State,
    basket: Basket,
    fill: Fill,
    min_buys: Sequence[int],
    timestamp: int,
    *,
    epoch: int,
    sales: Sequence[int] | None = None,
) -> Settlement:
    """All checks of `BasketVault.rebalance` at `timestamp`, given the executor's measured trades.

    `sales` are the requested sales; by default those of the fill. If the vault lends less, the fill is cut to the lent
    amounts. Prices are those of `basket`.

    Raises:
        PolicyRefused: with the name and numbers of the contract's error; checks run in the contract's order.
    """
    if state.paused:
        raise PolicyRefused("RebalanceIsPaused", ())
    if epoch != state.epoch:
        raise PolicyRefused("WrongEpoch", (epoch, state.epoch))
    if timestamp < state.rebalanced_at + policy.cooldown_seconds:
        raise PolicyRefused("CooldownActive", (state.rebalanced_at + policy.cooldown_seconds,))
    basket = basket.at(timestamp, policy.dust_bps)
    before = weigh_basket(basket)
    _check_due(policy, state, before, timestamp)
    turnover_level = leak(
        state.turnover_level_e18,
        policy.turnover_budget_bps,
        policy.turnover_period_seconds,
        timestamp - state.rebalanced_at,
    )
    distance_before, lent, min_buys, least_e18 = _fit(
        policy, basket, before, turnover_level, fill.sold if sales is None else sales, min_buys
    )
    fill = replace(fill, sold=tuple(map(min, fill.sold, lent)))

    held, sold_e18, bought_e18 = _book(basket, fill, lent, min_buys)
    if bought_e18 < least_e18:
        raise PolicyRefused("PriceTooPoor", (bought_e18, least_e18))
    limit = slippage_e18(
        policy.start_slippage_bps, policy.max_slippage_bps, policy.slippage_ramp_seconds, state.due_since, timestamp
    )
    minimum = minimum_bought_e18(sold_e18, limit)
    if bought_e18 < minimum:
        raise PolicyRefused("PriceTooPoor", (bought_e18, minimum))

    after = weigh_basket(replace(basket, held=held))
    check_toward_target(before.distances_e18, after.distances_e18, after.total_e18, policy.dust_bps)
    distance_after = after.distance_e18
    if policy.destination_bps:
        distance_after, _ = to_destination(
            after.distances_e18, after.total_e18, basket.bands_e18, policy.destination_bps, policy.dust_bps
        )
    check_progress(
        distance_before, before.total_e18, distance_after, after.total_e18, policy.min_progress_bps, policy.dust_bps
    )
    settled = _next_state(
        policy,
        replace(state, turnover_level_e18=turnover_level),
        before.total_e18,
        after.broken is None,
        sold_e18,
        bought_e18,
        timestamp,
    )
    return Settlement(held, settled, before, after, sold_e18, bought_e18, limit)


def _check_due(policy: Policy, state: State, before: Weighed, timestamp: int) -> None:
    """Check that a band is broken, or that the calendar is open and the distance exceeds dust; as
    `BasketVault._isDue`."""
    if before.broken is not None:
        return
    is_dust = before.distance_e18 * BPS <= policy.dust_bps * before.total_e18
    if is_dust or not is_calendar_open(state.rebalanced_at, policy.calendar_seconds, timestamp):
        raise PolicyRefused("NoBandBroken", ())


def _fit(
    policy: Policy,
    basket: Basket,
    before: Weighed,
    turnover_level_e18: int,
    sales: Sequence[int],
    min_buys: Sequence[int],
) -> tuple[int, Sequence[int], Sequence[int], int]:
    """The distance to the destination, the allowed sales and minimum purchases, and the minimum total value to receive.

    As `BasketVault._fitSales`. If sales are reduced, minimum purchases become 1: they only name the assets to buy.
    """
    within = check_sales(sales, min_buys, before.distances_e18, basket.prices_e18, basket.units)
    budget = policy.turnover_budget_bps * (E18 // BPS)
    if turnover_level_e18 >= budget:
        raise PolicyRefused("TurnoverBudgetExceeded", (turnover_level_e18, budget))
    turnover = (budget - turnover_level_e18) * before.total_e18 // E18
    distance, need = before.distance_e18, (1 << 256) - 1
    if policy.destination_bps:
        distance, need = to_destination(
            before.distances_e18, before.total_e18, basket.bands_e18, policy.destination_bps, policy.dust_bps
        )
    if within and not policy.destination_bps and distance <= turnover:
        return distance, sales, _checked_buys(basket, min_buys), 0
    surpluses = [
        surplus_raw(distance, price, unit) if sale else 0
        for sale, distance, price, unit in zip(
            sales, before.distances_e18, basket.prices_e18, basket.units, strict=True
        )
    ]
    fitted = fit_sales(sales, surpluses, basket.prices_e18, basket.his_e18, basket.units, need, turnover)
    if fitted == list(sales):
        return distance, sales, _checked_buys(basket, min_buys), 0
    minimum = fitted_minimum_e18(min_buys, basket.los_e18, sales, fitted, basket.his_e18, basket.units)
    return distance, fitted, _checked_buys(basket, [min(buy, 1) for buy in min_buys]), minimum


def _checked_buys(basket: Basket, min_buys: Sequence[int]) -> Sequence[int]:
    for i, buy in enumerate(min_buys):
        if buy and basket.is_barred(i):
            raise PolicyRefused("PurchaseBarred", (i,))
    return min_buys


def _book(basket: Basket, fill: Fill, lent: Sequence[int], min_buys: Sequence[int]) -> tuple[tuple[int, ...], int, int]:
    """Holdings after the fill, the value sold (rounded up, at the higher price) and the value bought (rounded down, at
    the lower)."""
    held = list(basket.held)
    sold_e18 = bought_e18 = 0
    for i, (price, unit) in enumerate(zip(basket.prices, basket.units, strict=True)):
        if lent[i]:
            check_trade_size(i, fill.sold[i], basket.assets[i].min_trade_raw)
            held[i] -= fill.sold[i]
            sold_e18 += value_up(fill.sold[i], price.hi_e18, unit)
        elif min_buys[i]:
            if fill.bought[i] < min_buys[i]:
                raise PolicyRefused("BoughtTooLittle", (i, fill.bought[i], min_buys[i]))
            check_trade_size(i, fill.bought[i], basket.assets[i].min_trade_raw)
            held[i] += fill.bought[i]
            bought_e18 += value_down(fill.bought[i], price.lo_e18, unit)
        if held[i] > MAX_HELD_RAW:
            raise PolicyRefused("HoldingTooLarge", (i, held[i], MAX_HELD_RAW))
    if sold_e18 == 0:
        raise PolicyRefused("NothingSold", ())
    return tuple(held), sold_e18, bought_e18


def _next_state(
    policy: Policy, state: State, total_e18: int, whole: bool, sold_e18: int, bought_e18: int, timestamp: int
) -> State:
    """The state after a rebalance. `whole`: every weight is inside its band again. The turnover level is already
    drained."""
    elapsed = timestamp - state.rebalanced_at
    loss_level = leak(state.loss_level_e18, policy.loss_budget_bps, policy.loss_period_seconds, elapsed)
    return State(
        loss_level_e18=spend_loss(loss_level, max(0, sold_e18 - bought_e18), total_e18, policy.loss_budget_bps),
        turnover_level_e18=spend_turnover(state.turnover_level_e18, sold_e18, total_e18, policy.turnover_budget_bps),
        rebalanced_at=timestamp,
        due_since=0 if whole else state.due_since or timestamp,
        epoch=state.epoch + 1,
        paused=False,
    )
