"""Rules of a rebalance: `contracts/libraries/RebalancePolicy.sol` in Python, with identical results.

Same functions, same order. `rebalancer.settlement` calls them in the vault's order. Pure: no clock, network, randomness
or logging; every number is an int.

Sequences are in basket order. Amounts are raw units of their token, `unit` is 10**decimals, prices are USD per whole
token times 1e18, values and distances are USD times 1e18. A refusal raises `PolicyRefused` with the contract's error
name and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from rebalancer.errors import PolicyRefused
from rebalancer.units import BPS, E18, div_up

__all__ = [
    "MAX_HELD_RAW",
    "MAX_TOTAL_E18",
    "allowed_sales",
    "auction_pay_raw",
    "band_e18",
    "carry_level",
    "check_progress",
    "check_sales",
    "check_toward_target",
    "check_trade_size",
    "deficit_raw",
    "distances",
    "drift_bps",
    "first_broken",
    "fit_sales",
    "fitted_minimum_e18",
    "fraction_up",
    "is_calendar_open",
    "is_open",
    "leak",
    "minimum_bought_e18",
    "slippage_e18",
    "spend_loss",
    "spend_turnover",
    "surplus_raw",
    "target_e18",
    "to_destination",
    "value_down",
    "value_up",
    "weigh",
]

MAX_TOTAL_E18 = 1 << 120
"""RebalancePolicy.MAX_TOTAL_E18: above this value the contract's cross-multiplication could overflow."""

MAX_HELD_RAW = (1 << 120) - 1
"""Holdings.MAX_RAW and RebalancePolicy.MAX_AMOUNT_RAW: the largest amount of one asset in the ledger and in a trade."""


# Targets and bands


def target_e18(start_e18: int, end_e18: int, glide_start: int, glide_end: int, timestamp: int) -> int:
    """Target weight at `timestamp`, interpolated linearly between the two targets, rounded down.

    Rounded targets may sum to less than 1e18, by less than one unit per asset.
    """
    if timestamp >= glide_end:
        return end_e18
    if timestamp <= glide_start:
        return start_e18
    walked = start_e18 * (glide_end - timestamp) + end_e18 * (timestamp - glide_start)
    return walked // (glide_end - glide_start)


def band_e18(band_bps: int, relative_band_bps: int, asset_target_e18: int, dust_bps: int) -> int:
    """Half-width of the band around a target, as a fraction of 1e18 of the basket.

    The smaller of `band_bps` of the basket and `relative_band_bps` of the target (rounded down; 0: no relative band). A
    relative band is never narrower than dust. `band_bps` is above `dust_bps`.
    """
    absolute = band_bps * (E18 // BPS)
    if relative_band_bps == 0:
        return absolute
    relative = relative_band_bps * asset_target_e18 // BPS
    return min(absolute, max(relative, (dust_bps + 1) * (E18 // BPS)))


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


def weigh(held: Sequence[int], prices_e18: Sequence[int], units: Sequence[int]) -> tuple[list[int], int]:
    """Value of every asset, rounded down, and their sum.

    Raises:
        PolicyRefused: TotalOutOfRange, if the sum is 0, or if a value or the sum is above 2**120.
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


def distances(values_e18: Sequence[int], total_e18: int, targets_e18: Sequence[int]) -> tuple[list[int], int]:
    """Signed distance of every asset from its target value (rounded down), and the sum of their absolute values."""
    signed = [v - t * total_e18 // E18 for v, t in zip(values_e18, targets_e18, strict=True)]
    return signed, sum(map(abs, signed))


# P0: whether a rebalance is due


def first_broken(distances_e18: Sequence[int], total_e18: int, bands_e18: Sequence[int]) -> int | None:
    """Index of the first asset whose distance from its target exceeds its band, or None."""
    for i, (distance, band) in enumerate(zip(distances_e18, bands_e18, strict=True)):
        if abs(distance) * E18 > band * total_e18:
            return i
    return None


def is_calendar_open(rebalanced_at: int, calendar_seconds: int, timestamp: int) -> bool:
    """Whether the calendar allows a rebalance: no rebalance was made in the current period.

    Periods are counted from 1970. `calendar_seconds` of 0 means that there is no calendar.
    """
    return calendar_seconds != 0 and rebalanced_at < timestamp - timestamp % calendar_seconds


def is_open(since: int, open_after_seconds: int, timestamp: int) -> bool:
    """Whether anyone may rebalance: `open_after_seconds` have passed since the vault was first seen due.

    False if `since` is 0 (not due) or `open_after_seconds` is 0 (never).
    """
    return since != 0 and open_after_seconds != 0 and timestamp >= since + open_after_seconds


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


def to_destination(
    distances_e18: Sequence[int], total_e18: int, bands_e18: Sequence[int], destination_bps: int, dust_bps: int
) -> tuple[int, int]:
    """Sum of all distances outside the destinations, and the value to sell to bring all assets inside.

    The need is the larger of the sum of the assets above target and the sum of those below, plus dust for the loss of
    the trades. The width of a destination rounds down.
    """
    above = below = 0
    for distance, band in zip(distances_e18, bands_e18, strict=True):
        outside = max(0, abs(distance) - destination_bps * band * total_e18 // (BPS * E18))
        if distance > 0:
            above += outside
        else:
            below += outside
    return above + below, max(above, below) + dust_bps * total_e18 // BPS


def check_sales(
    sales: Sequence[int],
    min_buys: Sequence[int],
    distances_e18: Sequence[int],
    prices_e18: Sequence[int],
    units: Sequence[int],
) -> bool:
    """Check that each sold asset has a surplus and each bought asset a deficit. Returns whether each sale is within its
    surplus.

    Raises:
        PolicyRefused: SaleWithoutSurplus or BuyWithoutDeficit.
    """
    within = True
    for i, distance in enumerate(distances_e18):
        if sales[i]:
            if distance <= 0:
                raise PolicyRefused("SaleWithoutSurplus", (i,))
            within &= sales[i] <= surplus_raw(distance, prices_e18[i], units[i])
        if min_buys[i] and distance >= 0:
            raise PolicyRefused("BuyWithoutDeficit", (i,))
    return within


def fit_sales(
    sales: Sequence[int],
    surpluses_raw: Sequence[int],
    prices_e18: Sequence[int],
    his_e18: Sequence[int],
    units: Sequence[int],
    need_e18: int,
    turnover_e18: int,
) -> list[int]:
    """Sales reduced to what P1 and P6 allow, in raw units, rounded down; sales within the limits are unchanged.

    Each sale is reduced to its surplus. Then all are scaled by one factor until they are worth at most `need_e18` at
    primary prices and `turnover_e18` at the higher prices.
    """
    fitted = [min(sale, surplus) for sale, surplus in zip(sales, surpluses_raw, strict=True)]
    fitted = _scaled_to(fitted, prices_e18, units, need_e18)
    return _scaled_to(fitted, his_e18, units, turnover_e18)


def fitted_minimum_e18(
    min_buys: Sequence[int],
    los_e18: Sequence[int],
    sales: Sequence[int],
    fitted: Sequence[int],
    his_e18: Sequence[int],
    units: Sequence[int],
) -> int:
    """Minimum value to receive, at the lower prices, for sales reduced from `sales` to `fitted`; USD times 1e18,
    rounded down.

    The value of `min_buys` times the ratio of `fitted` to `sales`, both valued at the higher prices. The whole value of
    `min_buys` if nothing is sold, or if it exceeds the largest possible basket.
    """
    minimum = sum(map(value_down, (min(buy, MAX_HELD_RAW) for buy in min_buys), los_e18, units))
    requested = sum(map(value_up, (min(sale, MAX_HELD_RAW) for sale in sales), his_e18, units))
    if minimum > MAX_TOTAL_E18 or requested == 0:
        return minimum
    return minimum * sum(map(value_up, fitted, his_e18, units)) // requested


def check_trade_size(asset: int, amount_raw: int, minimum_raw: int) -> None:
    """Check that an asset was not traded, or by at least its minimum trade.

    Raises:
        PolicyRefused: TradeTooSmall.
    """
    if 0 < amount_raw < minimum_raw:
        raise PolicyRefused("TradeTooSmall", (asset, amount_raw, minimum_raw))


def allowed_sales(
    surpluses_raw: Sequence[int],
    prices_e18: Sequence[int],
    his_e18: Sequence[int],
    units: Sequence[int],
    min_trades_raw: Sequence[int],
    need_e18: int,
    turnover_left_e18: int,
    total_e18: int,
) -> list[int]:
    """Sales that P1 and P6 allow together, in raw units, rounded down.

    All surpluses, scaled by one factor to the need and to the remaining turnover budget. Sales below their minimum
    trade are dropped.
    """
    sales = _scaled_to(surpluses_raw, prices_e18, units, need_e18)
    sales = _scaled_to(sales, his_e18, units, turnover_left_e18 * total_e18 // E18)
    return [0 if sale < least else sale for sale, least in zip(sales, min_trades_raw, strict=True)]


def _scaled_to(amounts: Sequence[int], prices_e18: Sequence[int], units: Sequence[int], limit_e18: int) -> list[int]:
    """The amounts, scaled by one factor so that the sum of their values, each rounded up, is at most the limit."""
    worth = sum(map(value_up, amounts, prices_e18, units))
    if worth <= limit_e18:
        return list(amounts)
    part = max(0, limit_e18 - len(amounts))  # rounding each value up again may add one unit per asset
    return [amount * part // worth for amount in amounts]


# P2: at what price


def slippage_e18(start_bps: int, max_bps: int, ramp_seconds: int, since: int, timestamp: int) -> int:
    """Slippage allowed at `timestamp`, as a fraction of 1e18, rounded down.

    Rises linearly from start to max over the ramp (at least 1 s), beginning when a rebalance was first seen due.
    `since` is 0 if it was not: the slippage is then the start slippage.
    """
    elapsed = timestamp - since if since else 0
    if elapsed >= ramp_seconds:
        return max_bps * (E18 // BPS)
    climbed = start_bps * ramp_seconds + (max_bps - start_bps) * elapsed
    return climbed * (E18 // BPS) // ramp_seconds


def minimum_bought_e18(sold_e18: int, slippage_limit_e18: int) -> int:
    """Minimum value to receive for the value sold, rounded up."""
    return div_up(sold_e18 * (E18 - slippage_limit_e18), E18)


# P3 and P4: only toward the target


def check_toward_target(
    distances_before_e18: Sequence[int], distances_after_e18: Sequence[int], total_after_e18: int, dust_bps: int
) -> None:
    """Check that no asset crossed its target, or ended further from it, by more than dust.

    Raises:
        PolicyRefused: AwayFromTarget.
    """
    dust = dust_bps * total_after_e18 // BPS
    for i, (before, after) in enumerate(zip(distances_before_e18, distances_after_e18, strict=True)):
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
    """Check that E'/V' <= (1 - minProgress) * E/V, or that E' is within dust of zero.

    Raises:
        PolicyRefused: TooLittleProgress.
    """
    if distance_after_e18 * BPS <= dust_bps * total_after_e18:
        return
    allowed = (BPS - min_progress_bps) * distance_before_e18 * total_after_e18
    if distance_after_e18 * total_before_e18 * BPS > allowed:
        raise PolicyRefused(
            "TooLittleProgress", (distance_before_e18, total_before_e18, distance_after_e18, total_after_e18)
        )


# P5 and P6: leaky buckets


def leak(level_e18: int, budget_bps: int, period_seconds: int, elapsed_seconds: int) -> int:
    """Level of a bucket that drains `budget_bps` of 1e18 per period; the drained amount rounds down."""
    drained = budget_bps * (E18 // BPS) * elapsed_seconds // period_seconds
    return max(0, level_e18 - drained)


def carry_level(
    level_e18: int,
    budget_bps: int,
    period_seconds: int,
    new_budget_bps: int,
    new_period_seconds: int,
    elapsed_seconds: int,
) -> int:
    """The level to store when budget or period change.

    The current level, plus the amount the new rate drains in `elapsed_seconds`, rounded up. Read immediately, the
    result is the current level or one unit more. With a slower rate, it never reads less later than it would with the
    old rate.
    """
    present = leak(level_e18, budget_bps, period_seconds, elapsed_seconds)
    if present == 0:
        return 0
    return present + div_up(new_budget_bps * (E18 // BPS) * elapsed_seconds, new_period_seconds)


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


# Auction: after the oracle has failed


def auction_pay_raw(start_pay_raw: int, floor_pay_raw: int, decay_seconds: int, elapsed_seconds: int) -> int:
    """Price of a whole lot: falls linearly from start to floor over the decay (at least 1 s), rounded up."""
    if elapsed_seconds >= decay_seconds:
        return floor_pay_raw
    return start_pay_raw - (start_pay_raw - floor_pay_raw) * elapsed_seconds // decay_seconds
