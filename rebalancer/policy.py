"""What may a rebalance do? The contract's policy in Python, equal to the unit.

The first half mirrors `contracts/libraries/RebalancePolicy.sol` function for function, in its order; the second half
(`Basket`, `weigh_basket`, `settle`) mirrors how `BasketVault.rebalance` puts them together. Pure: no clock, network,
randomness or logging; every number is an int.

Sequences are in basket order. Amounts are raw units of their token, `unit` is 10**decimals, prices are USD per whole token
times 1e18, values and distances are USD times 1e18. Refusals raise `PolicyRefused` with the contract's error name and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rebalancer.errors import PolicyRefused
from rebalancer.units import BPS, E18, div_up

__all__ = [
    "MAX_TOTAL_E18",
    "Asset",
    "Basket",
    "Fill",
    "Policy",
    "Price",
    "Settlement",
    "State",
    "Weighed",
    "budgets_left_e18",
    "check_progress",
    "check_sales",
    "check_toward_target",
    "deficit_raw",
    "distances",
    "drift_bps",
    "first_broken",
    "fraction_up",
    "leak",
    "minimum_bought_e18",
    "settle",
    "slippage_e18",
    "spend_loss",
    "spend_turnover",
    "surplus_raw",
    "value_down",
    "value_up",
    "weigh",
    "weigh_basket",
    "weights_e18",
]

MAX_TOTAL_E18 = 1 << 120
"""RebalancePolicy.MAX_TOTAL_E18: above this the contract's cross-multiplication could overflow."""

_MAX_HELD_RAW = (1 << 128) - 1


# Value


def value_down(amount_raw: int, price_e18: int, unit: int) -> int:
    """Value of an amount in USD times 1e18, rounded down."""
    return amount_raw * price_e18 // unit


def value_up(amount_raw: int, price_e18: int, unit: int) -> int:
    """Value of an amount in USD times 1e18, rounded up."""
    return div_up(amount_raw * price_e18, unit)


def fraction_up(part_e18: int, total_e18: int) -> int:
    """Part of a whole as a fraction of 1e18, rounded up."""
    return div_up(part_e18 * E18, total_e18)


def weigh(
    held: Sequence[int], prices_e18: Sequence[int], units: Sequence[int]
) -> tuple[list[int], int]:
    """Value of every asset, rounded down, and their sum.

    Raises:
        PolicyRefused: TotalOutOfRange, if the sum is 0 or any of it is above 2**120.
    """
    values = []
    for amount, price, unit in zip(held, prices_e18, units, strict=True):
        value = value_down(amount, price, unit)
        if value > MAX_TOTAL_E18:
            raise PolicyRefused("TotalOutOfRange", (value, MAX_TOTAL_E18))
        values.append(value)
    total = sum(values)
    if total == 0 or total > MAX_TOTAL_E18:
        raise PolicyRefused("TotalOutOfRange", (total, MAX_TOTAL_E18))
    return values, total


def distances(
    values_e18: Sequence[int], total_e18: int, targets_e18: Sequence[int]
) -> tuple[list[int], int]:
    """Signed distance of every asset from its target value (which rounds down), and the sum of their sizes."""
    signed = [v - t * total_e18 // E18 for v, t in zip(values_e18, targets_e18, strict=True)]
    return signed, sum(map(abs, signed))


# P0: is there anything to do


def first_broken(
    distances_e18: Sequence[int], total_e18: int, bands_bps: Sequence[int]
) -> int | None:
    """Index of the first asset whose weight is further from its target than its band allows, or None."""
    for i, (distance, band) in enumerate(zip(distances_e18, bands_bps, strict=True)):
        if abs(distance) * BPS > band * total_e18:
            return i
    return None


def drift_bps(distances_e18: Sequence[int], total_e18: int) -> int:
    """Largest distance of any asset from its target in basis points of the total, rounded up."""
    return max((div_up(abs(d) * BPS, total_e18) for d in distances_e18), default=0)


# P1: what may be sold and bought


def surplus_raw(distance_e18: int, price_e18: int, unit: int) -> int:
    """Largest sale of an asset: its distance above target in raw units, rounded down; 0 at or below target."""
    return distance_e18 * unit // price_e18 if distance_e18 > 0 else 0


def deficit_raw(distance_e18: int, price_e18: int, unit: int) -> int:
    """Largest purchase that does not cross the target, in raw units, rounded down; 0 at or above target."""
    return -distance_e18 * unit // price_e18 if distance_e18 < 0 else 0


def check_sales(
    sales: Sequence[int],
    min_buys: Sequence[int],
    distances_e18: Sequence[int],
    prices_e18: Sequence[int],
    units: Sequence[int],
) -> None:
    """Each sale is within its surplus and each purchase has a deficit.

    Raises:
        PolicyRefused: SaleAboveSurplus or BuyWithoutDeficit.
    """
    for i, sale in enumerate(sales):
        if sale:
            most = surplus_raw(distances_e18[i], prices_e18[i], units[i])
            if sale > most:
                raise PolicyRefused("SaleAboveSurplus", (i, sale, most))
        if min_buys[i] and distances_e18[i] >= 0:
            raise PolicyRefused("BuyWithoutDeficit", (i,))


# P2: at what price


def slippage_e18(
    start_bps: int, max_bps: int, ramp_seconds: int, broken_since: int, timestamp: int
) -> int:
    """Slippage allowed at `timestamp`, as a fraction of 1e18, rounded down.

    Climbs in a straight line from start to max over the ramp (at least 1 s) since `broken_since`; 0 means not seen yet.
    """
    elapsed = timestamp - broken_since if broken_since else 0
    if elapsed >= ramp_seconds:
        return max_bps * (E18 // BPS)
    climbed = start_bps * ramp_seconds + (max_bps - start_bps) * elapsed
    return climbed * (E18 // BPS) // ramp_seconds


def minimum_bought_e18(sold_e18: int, slippage_limit_e18: int) -> int:
    """Least value that must come back for what was sold, rounded up."""
    return div_up(sold_e18 * (E18 - slippage_limit_e18), E18)


# P3 and P4: only toward the target


def check_toward_target(
    distances_before_e18: Sequence[int],
    distances_after_e18: Sequence[int],
    total_after_e18: int,
    dust_bps: int,
) -> None:
    """No asset crossed its target or ended further from it, by more than dust.

    Raises:
        PolicyRefused: AwayFromTarget.
    """
    dust = dust_bps * total_after_e18 // BPS
    for i, (before, after) in enumerate(
        zip(distances_before_e18, distances_after_e18, strict=True)
    ):
        crossed = before * after < 0
        if (crossed and abs(after) > dust) or abs(after) > abs(before) + dust:
            raise PolicyRefused("AwayFromTarget", (i, before, after, dust))


def check_progress(
    distance_before_e18: int,
    total_before_e18: int,
    distance_after_e18: int,
    total_after_e18: int,
    min_progress_bps: int,
    dust_bps: int,
) -> None:
    """E'/V' <= (1 - minProgress) * E/V, or E' is within dust of zero.

    Raises:
        PolicyRefused: TooLittleProgress.
    """
    if distance_after_e18 * BPS <= dust_bps * total_after_e18:
        return
    allowed = (BPS - min_progress_bps) * distance_before_e18 * total_after_e18
    if distance_after_e18 * total_before_e18 * BPS > allowed:
        raise PolicyRefused(
            "TooLittleProgress",
            (distance_before_e18, total_before_e18, distance_after_e18, total_after_e18),
        )


# P5 and P6: leaky buckets


def leak(level_e18: int, budget_bps: int, period_seconds: int, elapsed_seconds: int) -> int:
    """Level of a bucket that drains `budget_bps` of 1e18 in the period; the drained part rounds down."""
    drained = budget_bps * (E18 // BPS) * elapsed_seconds // period_seconds
    return max(0, level_e18 - drained)


def spend_loss(level_e18: int, loss_e18: int, total_e18: int, budget_bps: int) -> int:
    """New level of the loss bucket.

    Raises:
        PolicyRefused: LossBudgetExceeded.
    """
    return _spend("LossBudgetExceeded", level_e18, loss_e18, total_e18, budget_bps)


def spend_turnover(level_e18: int, sold_e18: int, total_e18: int, budget_bps: int) -> int:
    """New level of the turnover bucket.

    Raises:
        PolicyRefused: TurnoverBudgetExceeded.
    """
    return _spend("TurnoverBudgetExceeded", level_e18, sold_e18, total_e18, budget_bps)


def _spend(refusal: str, level_e18: int, spent_e18: int, total_e18: int, budget_bps: int) -> int:
    level = level_e18 + fraction_up(spent_e18, total_e18)
    budget = budget_bps * (E18 // BPS)
    if level > budget:
        raise PolicyRefused(refusal, (level, budget))
    return level


# How BasketVault puts them together


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


@dataclass(frozen=True, slots=True)
class State:
    """IBasketVault.State, field for field."""

    loss_level_e18: int = 0
    turnover_level_e18: int = 0
    rebalanced_at: int = 0
    broken_since: int = 0
    epoch: int = 0
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Asset:
    """IBasketVault.Asset, field for field."""

    token: str
    target_e18: int
    band_bps: int
    decimals: int


@dataclass(frozen=True, slots=True)
class Price:
    """IOracleHub.Price: USD per whole token times 1e18, and the fault's name ("None" if sound)."""

    lo_e18: int
    hi_e18: int
    primary_e18: int
    fault: str = "None"


@dataclass(frozen=True, slots=True)
class Basket:
    """A vault's holdings with everything the policy judges them by."""

    assets: tuple[Asset, ...]
    held: tuple[int, ...]
    prices: tuple[Price, ...]

    @property
    def units(self) -> list[int]:
        """10**decimals of each asset."""
        return [10**asset.decimals for asset in self.assets]

    @property
    def prices_e18(self) -> list[int]:
        """Primary price of each asset."""
        return [price.primary_e18 for price in self.prices]

    @property
    def targets_e18(self) -> list[int]:
        """Target weight of each asset."""
        return [asset.target_e18 for asset in self.assets]

    @property
    def bands_bps(self) -> list[int]:
        """Band of each asset."""
        return [asset.band_bps for asset in self.assets]


@dataclass(frozen=True, slots=True)
class Weighed:
    """A basket's values and distances, and the first asset out of its band."""

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
    """What a trade did, measured: raw units sold and bought of each asset."""

    sold: tuple[int, ...]
    bought: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The books after a rebalance that passed every check."""

    held: tuple[int, ...]
    state: State
    before: Weighed
    after: Weighed
    sold_e18: int
    bought_e18: int
    slippage_limit_e18: int

    @property
    def loss_e18(self) -> int:
        """What the trade lost against the oracle, in USD times 1e18; 0 if it gained."""
        return max(0, self.sold_e18 - self.bought_e18)


def weigh_basket(basket: Basket) -> Weighed:
    """Values, distances and the first broken band, as `BasketVault._readBasket` finds them.

    Raises:
        PolicyRefused: OracleFault for an unsound price, or TotalOutOfRange.
    """
    for i, price in enumerate(basket.prices):
        if price.fault != "None":
            raise PolicyRefused("OracleFault", (i, price.fault))
    values, total = weigh(basket.held, basket.prices_e18, basket.units)
    signed, distance = distances(values, total, basket.targets_e18)
    broken = first_broken(signed, total, basket.bands_bps)
    return Weighed(tuple(values), total, tuple(signed), distance, broken)


def weights_e18(weighed: Weighed) -> tuple[int, ...]:
    """Weight of each asset as a fraction of 1e18, rounded down; for people to look at, never for a decision."""
    return tuple(value * E18 // weighed.total_e18 for value in weighed.values_e18)


def budgets_left_e18(policy: Policy, state: State, timestamp: int) -> tuple[int, int]:
    """What is left of the loss and turnover budgets at `timestamp`, as fractions of 1e18 of the basket."""
    elapsed = timestamp - state.rebalanced_at
    loss = leak(state.loss_level_e18, policy.loss_budget_bps, policy.loss_period_seconds, elapsed)
    turnover = leak(
        state.turnover_level_e18,
        policy.turnover_budget_bps,
        policy.turnover_period_seconds,
        elapsed,
    )
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
    """The whole of `BasketVault.rebalance` at `timestamp`, given what the executor did.

    `sales` is what the vault lends; by default all of it is sold. Prices are those of `basket`.

    Raises:
        PolicyRefused: with the name and numbers of the contract's error, checked in the contract's order.
    """
    if state.paused:
        raise PolicyRefused("RebalanceIsPaused", ())
    if epoch != state.epoch:
        raise PolicyRefused("WrongEpoch", (epoch, state.epoch))
    if timestamp < state.rebalanced_at + policy.cooldown_seconds:
        raise PolicyRefused("CooldownActive", (state.rebalanced_at + policy.cooldown_seconds,))
    before = weigh_basket(basket)
    if before.broken is None:
        raise PolicyRefused("NoBandBroken", ())
    lent = fill.sold if sales is None else sales
    check_sales(lent, min_buys, before.distances_e18, basket.prices_e18, basket.units)

    held, sold_e18, bought_e18 = _book(basket, fill, lent, min_buys)
    limit = slippage_e18(
        policy.start_slippage_bps,
        policy.max_slippage_bps,
        policy.slippage_ramp_seconds,
        state.broken_since,
        timestamp,
    )
    minimum = minimum_bought_e18(sold_e18, limit)
    if bought_e18 < minimum:
        raise PolicyRefused("PriceTooPoor", (bought_e18, minimum))

    after = weigh_basket(replace(basket, held=held))
    check_toward_target(before.distances_e18, after.distances_e18, after.total_e18, policy.dust_bps)
    check_progress(
        before.distance_e18,
        before.total_e18,
        after.distance_e18,
        after.total_e18,
        policy.min_progress_bps,
        policy.dust_bps,
    )
    settled = _next_state(
        policy, state, before.total_e18, after.broken is None, sold_e18, bought_e18, timestamp
    )
    return Settlement(held, settled, before, after, sold_e18, bought_e18, limit)


def _book(
    basket: Basket, fill: Fill, lent: Sequence[int], min_buys: Sequence[int]
) -> tuple[tuple[int, ...], int, int]:
    """Holdings after the fill, and the values sold (up, at the higher price) and bought (down, at the lower)."""
    held = list(basket.held)
    sold_e18 = bought_e18 = 0
    for i, (price, unit) in enumerate(zip(basket.prices, basket.units, strict=True)):
        if lent[i]:
            held[i] -= fill.sold[i]
            sold_e18 += value_up(fill.sold[i], price.hi_e18, unit)
        elif min_buys[i]:
            if fill.bought[i] < min_buys[i]:
                raise PolicyRefused("BoughtTooLittle", (i, fill.bought[i], min_buys[i]))
            held[i] += fill.bought[i]
            bought_e18 += value_down(fill.bought[i], price.lo_e18, unit)
        if held[i] > _MAX_HELD_RAW:
            raise PolicyRefused("HoldingTooLarge", (i, held[i], _MAX_HELD_RAW))
    return tuple(held), sold_e18, bought_e18


def _next_state(
    policy: Policy,
    state: State,
    total_e18: int,
    whole: bool,
    sold_e18: int,
    bought_e18: int,
    timestamp: int,
) -> State:
    """The state after a rebalance; `whole` says that every weight is back inside its band."""
    elapsed = timestamp - state.rebalanced_at
    loss_level = leak(
        state.loss_level_e18, policy.loss_budget_bps, policy.loss_period_seconds, elapsed
    )
    turnover_level = leak(
        state.turnover_level_e18,
        policy.turnover_budget_bps,
        policy.turnover_period_seconds,
        elapsed,
    )
    return State(
        loss_level_e18=spend_loss(
            loss_level, max(0, sold_e18 - bought_e18), total_e18, policy.loss_budget_bps
        ),
        turnover_level_e18=spend_turnover(
            turnover_level, sold_e18, total_e18, policy.turnover_budget_bps
        ),
        rebalanced_at=timestamp,
        broken_since=0 if whole else state.broken_since or timestamp,
        epoch=state.epoch + 1,
        paused=False,
    )
