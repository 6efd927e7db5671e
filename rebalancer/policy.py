"""The rules of a rebalance: `contracts/libraries/RebalancePolicy.sol` in Python, equal to the unit.

Same functions, same order. `rebalancer.settlement` puts them together as the vault does. Pure: no clock, network, randomness or
logging; every number is an int.

Sequences are in basket order. Amounts are raw units of their token, `unit` is 10**decimals, prices are USD per whole token
times 1e18, values and distances are USD times 1e18. Refusals raise `PolicyRefused` with the contract's error name and numbers.
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
"""RebalancePolicy.MAX_TOTAL_E18: above this the contract's cross-multiplication could overflow."""

MAX_HELD_RAW = (1 << 120) - 1
"""Holdings.MAX_RAW and RebalancePolicy.MAX_AMOUNT_RAW: the largest amount of one asset in a ledger, and in a trade."""


# Targets and bands


def target_e18(start_e18: int, end_e18: int, glide_start: int, glide_end: int, timestamp: int) -> int:
    """Target weight at `timestamp`, on the straight line from one target to the next, rounded down.

    Rounded targets may sum to less than 1e18 by less than one an asset.
    """
    if timestamp >= glide_end:
        return end_e18
    if timestamp <= glide_start:
        return start_e18
    walked = start_e18 * (glide_end - timestamp) + end_e18 * (timestamp - glide_start)
    return walked // (glide_end - glide_start)


def band_e18(band_bps: int, relative_band_bps: int, asset_target_e18: int, dust_bps: int) -> int:
    """Band around a target as a fraction of 1e18 of the basket.

    The narrower of `band_bps` of the basket and, unless 0, `relative_band_bps` of the target (rounded down), and never so narrow
    that dust could break it. `band_bps` is above `dust_bps`.
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


def distances(values_e18: Sequence[int], total_e18: int, targets_e18: Sequence[int]) -> tuple[list[int], int]:
    """Signed distance of every asset from its target value (which rounds down), and the sum of their sizes."""
    signed = [v - t * total_e18 // E18 for v, t in zip(values_e18, targets_e18, strict=True)]
    return signed, sum(map(abs, signed))


# P0: is there anything to do


def first_broken(distances_e18: Sequence[int], total_e18: int, bands_e18: Sequence[int]) -> int | None:
    """Index of the first asset whose weight is further from its target than its band allows, or None."""
    for i, (distance, band) in enumerate(zip(distances_e18, bands_e18, strict=True)):
        if abs(distance) * E18 > band * total_e18:
            return i
    return None


def is_calendar_open(rebalanced_at: int, calendar_seconds: int, timestamp: int) -> bool:
    """Whether the calendar allows a rebalance: none was made in its present period.

    Periods are counted from 1970; 0 seconds: there is no calendar.
    """
    return calendar_seconds != 0 and rebalanced_at < timestamp - timestamp % calendar_seconds


def is_open(since: int, open_after_seconds: int, timestamp: int) -> bool:
    """Whether anyone may rebalance: that long after it was first seen due (0: it was not), never if that is 0."""
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
    distances_e18: Sequence[int],
    total_e18: int,
    bands_e18: Sequence[int],
    destination_bps: int,
    dust_bps: int,
) -> tuple[int, int]:
    """How far all assets together lie outside their destinations, and the value that must be sold to bring all of them there.

    The need is the larger of what those above and what those below lie outside, and dust for what the trades themselves lose. A
    destination's width rounds down.
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
    """Each asset to be sold has a surplus and each to be bought a deficit; says whether each sale is within its surplus.

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
    """Sales lowered to what P1 and P6 allow, in raw units, rounded down; what is allowed stays as it is.

    Each is lowered to its surplus, then all alike until they are worth at most `need_e18` at primary prices and `turnover_e18` at
    the higher ones.
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
    """What must come back at least, at the lower prices, for sales lowered from `sales` to `fitted`; USD times 1e18, rounded down.

    Of the worth of `min_buys`, the part that `fitted` is worth of `sales` at the higher prices; all of it where nothing is sold, or
    where no basket could hold as much.
    """
    minimum = sum(map(value_down, (min(buy, MAX_HELD_RAW) for buy in min_buys), los_e18, units))
    requested = sum(map(value_up, (min(sale, MAX_HELD_RAW) for sale in sales), his_e18, units))
    if minimum > MAX_TOTAL_E18 or requested == 0:
        return minimum
    return minimum * sum(map(value_up, fitted, his_e18, units)) // requested


def check_trade_size(asset: int, amount_raw: int, minimum_raw: int) -> None:
    """An asset was not traded, or at least its minimum of it.

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

    Every surplus, all scaled down alike to what the need and what is left of the turnover budget allow, and none below its minimum trade.
    """
    sales = _scaled_to(surpluses_raw, prices_e18, units, need_e18)
    sales = _scaled_to(sales, his_e18, units, turnover_left_e18 * total_e18 // E18)
    return [0 if sale < least else sale for sale, least in zip(sales, min_trades_raw, strict=True)]


def _scaled_to(amounts: Sequence[int], prices_e18: Sequence[int], units: Sequence[int], limit_e18: int) -> list[int]:
    """The amounts, scaled so that their values, each rounded up, sum to at most the limit."""
    worth = sum(map(value_up, amounts, prices_e18, units))
    if worth <= limit_e18:
        return list(amounts)
    part = max(0, limit_e18 - len(amounts))  # rounding each value up again may add one an asset
    return [amount * part // worth for amount in amounts]


# P2: at what price


def slippage_e18(start_bps: int, max_bps: int, ramp_seconds: int, since: int, timestamp: int) -> int:
    """Slippage allowed at `timestamp`, as a fraction of 1e18, rounded down.

    Climbs in a straight line from start to max over the ramp (at least 1 s) since a rebalance was first seen due; 0: it was not,
    so the climb has not begun.
    """
    elapsed = timestamp - since if since else 0
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


def carry_level(
    level_e18: int,
    budget_bps: int,
    period_seconds: int,
    new_budget_bps: int,
    new_period_seconds: int,
    elapsed_seconds: int,
) -> int:
    """The level to write down when budget or period change.

    The present level, raised by what the new rate will be thought to have drained since. That rounds up: read at once it is the
    present level or one unit more, and a slower rate never reads less later than the old one would have.
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


# Auction: when the oracle is gone


def auction_pay_raw(start_pay_raw: int, floor_pay_raw: int, decay_seconds: int, elapsed_seconds: int) -> int:
    """What a whole lot costs: falls in a straight line from start to floor over the decay (at least 1 s), rounded up."""
    if elapsed_seconds >= decay_seconds:
        return floor_pay_raw
    return start_pay_raw - (start_pay_raw - floor_pay_raw) * elapsed_seconds // decay_seconds
