"""Random baskets, policies and trades, from one smallest unit to the bounds the arithmetic is proved for.

Everything is drawn from a `random.Random`, so that a test may seed it or let hypothesis hold it (`st.randoms()`).
Tokens are named as in `TOKENS`; whoever puts a basket on a chain gives them addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from rebalancer.errors import PolicyRefused
from rebalancer.policy import (
    MAX_HELD_RAW,
    allowed_sales,
    fit_sales,
    slippage_e18,
    surplus_raw,
    to_destination,
    value_up,
)
from rebalancer.settlement import (
    Asset,
    Basket,
    Fill,
    Policy,
    Price,
    State,
    Weighed,
    budgets_left_e18,
    weigh_basket,
)
from rebalancer.units import BPS, E18, div_up

__all__ = [
    "DECIMALS",
    "TOKENS",
    "Trade",
    "fill_of",
    "lent_by",
    "log_uniform",
    "moved",
    "random_basket",
    "random_policy",
    "random_targets",
    "random_trade",
]

DECIMALS = (0, 6, 8, 18, 27)
"""The decimals a token may have: both ends, and what common ones have."""

TOKENS = tuple((f"T{i}", DECIMALS[i % len(DECIMALS)]) for i in range(4 * len(DECIMALS)))
"""Name and decimals of the tokens that baskets are made of."""

_MAX_PRICE_BITS = 100
_MAX_VALUE_BITS = 112
_SPREADS_BPS = (0, 0, 0, 50, 200)
_QUIRKS = (
    *([""] * 13),
    *(
        "sells more",
        "sells far more",
        "sells none of it",
        "gives back",
        "asks more",
        "gives more",
        "gives less",
    ),
)


def log_uniform(rng: Random, max_bits: int) -> int:
    """A number from 1 to below 2**max_bits, each length as likely as any other."""
    size = rng.randrange(max_bits)
    return rng.randrange(1 << size, 1 << size + 1)


def random_targets(rng: Random, count: int) -> tuple[int, ...]:
    """Target weights, some of them 0, that sum to exactly 1e18."""
    parts = [rng.choice((0, 1, 1, 1)) * rng.randint(1, 1000) for _ in range(count)]
    largest = parts.index(max(parts))
    parts[largest] = parts[largest] or 1
    targets = [part * E18 // sum(parts) for part in parts]
    targets[largest] += E18 - sum(targets)
    return tuple(targets)


def random_policy(rng: Random) -> Policy:
    """Any policy that ConfigStore accepts; often one that allows much, so that the later checks get their turn."""
    start, top = sorted(rng.randint(0, 300) for _ in range(2))
    generous = rng.random() < 0.6
    progress = rng.randint(1, 1_000 if generous or rng.random() < 0.5 else BPS)
    least_loss = -(-top * progress // BPS)  # below this the largest break could never be mended
    return Policy(
        start_slippage_bps=start,
        max_slippage_bps=top,
        slippage_ramp_seconds=rng.randint(1, 10_000),
        min_progress_bps=progress,
        dust_bps=rng.choice((1, 1, 20, 100, 100)),
        cooldown_seconds=rng.choice((0, 0, 0, 60, 3_600)),
        loss_budget_bps=500 if generous else least_loss + rng.randint(0, 100),
        loss_period_seconds=rng.randint(3_600, 1_000_000),
        turnover_budget_bps=20_000 if generous else progress + rng.randint(0, 4_000),
        turnover_period_seconds=rng.randint(3_600, 1_000_000),
        destination_bps=rng.choice((0, 0, rng.randint(0, BPS), BPS)),
        calendar_seconds=rng.choice((0, 0, rng.randint(3_600, 1_000_000))),
        open_after_seconds=rng.choice((0, rng.randrange(1, 100_000))),
    )


def random_basket(rng: Random, dust_bps: int = 0) -> Basket:
    """2 to 16 assets: mostly near their targets, otherwise anywhere; bands are wider than dust.

    Some bands are relative, some assets have a minimum trade; no target glides and no asset is excluded.
    """
    chosen = rng.sample(TOKENS, rng.randint(2, 16))
    targets = random_targets(rng, len(chosen))
    total_e18 = log_uniform(rng, _MAX_VALUE_BITS)
    near_target = rng.random() < 0.85
    widest_bps = rng.choice(_SPREADS_BPS)
    assets, held, prices = [], [], []
    for (token, decimals), target in zip(chosen, targets, strict=True):
        if near_target:
            price_e18 = _fitting_price_e18(rng, total_e18, 10**decimals)
            value_e18 = target * total_e18 // E18 * rng.randint(20, 500) // 100
        else:
            price_e18 = log_uniform(rng, _MAX_PRICE_BITS)
            value_e18 = log_uniform(rng, _MAX_VALUE_BITS)
        held.append(min(value_e18 * 10**decimals // price_e18, MAX_HELD_RAW))
        band_bps = dust_bps + rng.randint(1, 2_000)
        relative_band_bps = rng.choice((0, 0, 0, rng.randint(1, BPS)))
        min_trade_raw = rng.choice((*[0] * 12, 1, held[-1] // 1_000, held[-1]))
        assets.append(Asset(token, target, band_bps, decimals, relative_band_bps, min_trade_raw))
        prices.append(_spread(rng, price_e18, widest_bps))
    if not any(held):
        held[0] = 1
    return Basket(tuple(assets), tuple(held), tuple(prices), dust_bps=dust_bps)


def moved(rng: Random, basket: Basket) -> Basket:
    """The basket after the market moved: some prices halved to doubled, now and then one beyond all bounds, or without a sound price."""
    widest_bps = rng.choice(_SPREADS_BPS)
    prices = []
    for price in basket.prices:
        moved_e18 = price.primary_e18 * rng.choice((100, 100, 50, 90, 110, 200)) // 100
        prices.append(_spread(rng, min(max(1, moved_e18), 1 << _MAX_PRICE_BITS), widest_bps))
    if rng.random() < 0.03:
        beyond = (1 << 128) - 1
        prices[rng.randrange(len(prices))] = Price(beyond, beyond, beyond)
    if rng.random() < 0.05:
        at = rng.randrange(len(prices))
        prices[at] = replace(prices[at], fault=rng.choice(("NoFeed", "Stale", "OutOfRange")))
    return replace(basket, prices=tuple(prices))


def _fitting_price_e18(rng: Random, total_e18: int, unit: int) -> int:
    """A price at which the basket's value is many units of the asset, and they fit in what a vault can hold."""
    bits = (total_e18 * unit).bit_length()
    least = min(max(0, bits - 120), _MAX_PRICE_BITS - 1)
    most = min(max(least, bits - 10), _MAX_PRICE_BITS - 1)
    size = rng.randint(least, most)
    return rng.randrange(1 << size, 1 << size + 1)


def _spread(rng: Random, primary_e18: int, widest_bps: int) -> Price:
    """A sound price whose other source says up to `widest_bps` less or more."""
    below, above = (primary_e18 * rng.randint(0, widest_bps) // BPS for _ in range(2))
    return Price(max(primary_e18 - below, 1), primary_e18 + above, primary_e18)


@dataclass(frozen=True, slots=True)
class Trade:
    """What a keeper asks for and what its executor does: `given` is handed to the vault, of assets sold too."""

    sales: tuple[int, ...]
    min_buys: tuple[int, ...]
    given: tuple[int, ...]

    def fill(self, lent: Sequence[int] | None = None) -> Fill:
        """What the vault measures: what was sold may come back, in part or with a gift on top. `lent`: where the vault lends less than is asked."""
        sold = tuple(max(0, sale - back) for sale, back in zip(lent or self.sales, self.given, strict=True))
        bought = tuple(0 if sale else came for sale, came in zip(self.sales, self.given, strict=True))
        return Fill(sold, bought)


def random_trade(rng: Random, policy: Policy, state: State, basket: Basket, weighed: Weighed, timestamp: int) -> Trade:
    """A trade around what the policy allows: usually just inside, often just outside one of its limits.

    The basket is as it is at `timestamp`.
    """
    n = len(basket.assets)
    facts = list(zip(weighed.distances_e18, basket.prices, basket.units, strict=True))
    part = rng.choice((100, 100, 99, 99, 90, 50, 1, 0))
    quirk, at = rng.choice(_QUIRKS), rng.randrange(n)
    most = [surplus_raw(d, price.primary_e18, unit) for d, price, unit in facts]
    if rng.random() < 0.9:
        most = _within_need(policy, basket, weighed, most)
    sales = [sale * part // 100 for sale in most]
    sold_e18 = sum(value_up(sale, price.hi_e18, unit) for sale, (_, price, unit) in zip(sales, facts, strict=True))
    if quirk == "sells more":
        sales[at] += 1

    limit_e18 = slippage_e18(
        policy.start_slippage_bps,
        policy.max_slippage_bps,
        policy.slippage_ramp_seconds,
        state.due_since,
        timestamp,
    )
    paid_e18 = sold_e18 * (E18 - limit_e18 * rng.choice((0, 50, 100, 100, 110)) // 100)
    wanted = _portions([max(0, -d) for d, _, _ in facts], everything=rng.random() < 0.8)
    given, min_buys = [0] * n, [0] * n
    for i, (_, price, unit) in enumerate(facts):
        if wanted[i] and not sales[i]:
            value_e18 = div_up(paid_e18 * wanted[i], E18 * sum(wanted))
            given[i] = min_buys[i] = min(div_up(value_e18 * unit, price.lo_e18), MAX_HELD_RAW)
    if quirk == "gives back":
        given[at] = sales[at] * rng.choice((50, 100, 120)) // 100
    if quirk == "asks more":
        min_buys[at] += 1
    if quirk == "gives more":
        given[at] += log_uniform(rng, 128)
    if quirk == "sells far more":
        # The vault lends what it may and asks for so much less.
        sales, min_buys = [2 * sale for sale in sales], [2 * least for least in min_buys]
    if quirk == "sells none of it":
        given = [sale or came for sale, came in zip(sales, given, strict=True)]
    if quirk == "gives less":
        given = [amount * 99 // 100 for amount in given]
    return Trade(tuple(sales), tuple(min_buys), tuple(given))


def lent_by(policy: Policy, state: State, basket: Basket, trade: Trade, timestamp: int) -> tuple[int, ...]:
    """What the vault lends of what a trade asks for: no more than surplus, need and turnover budget allow.

    Raises:
        PolicyRefused: it lends nothing.
    """
    basket = basket.at(timestamp, policy.dust_bps)
    weighed = weigh_basket(basket)
    _, turnover_left = budgets_left_e18(policy, state, timestamp)
    need_e18 = 1 << 256
    if policy.destination_bps:
        _, need_e18 = to_destination(
            *(weighed.distances_e18, weighed.total_e18, basket.bands_e18),
            *(policy.destination_bps, policy.dust_bps),
        )
    surpluses = [
        surplus_raw(d, price, unit) if price else 0
        for d, price, unit in zip(weighed.distances_e18, basket.prices_e18, basket.units, strict=True)
    ]
    return tuple(
        fit_sales(
            *(trade.sales, surpluses, basket.prices_e18, basket.his_e18, basket.units),
            *(need_e18, turnover_left * weighed.total_e18 // E18),
        )
    )


def fill_of(policy: Policy, state: State, basket: Basket, trade: Trade, timestamp: int) -> Fill:
    """What the vault measures of a trade; where it refuses before it lends, what it would if it lent all."""
    try:
        return trade.fill(lent_by(policy, state, basket, trade, timestamp))
    except PolicyRefused:
        return trade.fill()


def _within_need(policy: Policy, basket: Basket, weighed: Weighed, surpluses_raw: Sequence[int]) -> list[int]:
    """The sales that bring every asset to its destination and pass the minimum trades."""
    _, need_e18 = to_destination(
        weighed.distances_e18,
        weighed.total_e18,
        basket.bands_e18,
        policy.destination_bps,
        policy.dust_bps,
    )
    return allowed_sales(
        *(surpluses_raw, basket.prices_e18, basket.his_e18, basket.units, basket.min_trades_raw),
        *(need_e18, 2 * E18, weighed.total_e18),
    )


def _portions(deficits: Sequence[int], everything: bool) -> list[int]:
    """Who is bought: every deficit by its size, or the largest alone."""
    if everything or not any(deficits):
        return list(deficits)
    largest = deficits.index(max(deficits))
    return [deficit if i == largest else 0 for i, deficit in enumerate(deficits)]
