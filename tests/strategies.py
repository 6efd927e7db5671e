"""Random baskets, policies and trades for hypothesis, from one smallest unit to the bounds the arithmetic is proved for.

Tokens are named by their place in `TOKENS`; whoever puts a basket on a chain gives them addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from rebalancer.policy import (
    Asset,
    Basket,
    Fill,
    Policy,
    Price,
    State,
    Weighed,
    slippage_e18,
    surplus_raw,
)
from rebalancer.units import BPS, E18, div_up

__all__ = [
    "DECIMALS",
    "MAX_HELD_RAW",
    "TOKENS",
    "Trade",
    "baskets",
    "log_uniform",
    "policies",
    "splits",
    "trades",
    "with_moved_prices",
]

DECIMALS = (0, 6, 8, 18, 27)
"""The decimals a token may have, at both ends and as the common ones have them."""

TOKENS = tuple((f"T{i}", DECIMALS[i % len(DECIMALS)]) for i in range(4 * len(DECIMALS)))
"""Name and decimals of the tokens that baskets are made of."""

MAX_HELD_RAW = (1 << 128) - 1
_MAX_PRICE_E18 = 1 << 100
_MAX_VALUE_BITS = 112


@st.composite
def log_uniform(draw: st.DrawFn, max_bits: int) -> int:
    """A number from 1 to below 2**max_bits, each size as likely as any other."""
    size = draw(st.integers(0, max_bits - 1))
    return draw(st.integers(1 << size, (1 << size + 1) - 1))


@st.composite
def splits(draw: st.DrawFn, count: int) -> tuple[int, ...]:
    """Target weights: `count` numbers, some of them 0, that sum to exactly 1e18."""
    parts = draw(
        st.lists(st.integers(0, 1000), min_size=count, max_size=count).filter(lambda p: sum(p) > 0)
    )
    targets = [part * E18 // sum(parts) for part in parts]
    targets[parts.index(max(parts))] += E18 - sum(targets)
    return tuple(targets)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy that ConfigStore accepts; often one that lets much through, so that the later checks get their turn."""
    start, top = sorted((draw(st.integers(0, 300)), draw(st.integers(0, 300))))
    generous = draw(st.booleans())
    return Policy(
        start_slippage_bps=start,
        max_slippage_bps=top,
        slippage_ramp_seconds=draw(st.integers(1, 10_000)),
        min_progress_bps=draw(st.integers(1, 2_000 if generous else BPS)),
        dust_bps=draw(st.sampled_from((0, 1, 20, 100))),
        cooldown_seconds=draw(st.sampled_from((0, 0, 60, 3_600))),
        loss_budget_bps=draw(st.integers(0, 500)) if not generous else 500,
        loss_period_seconds=draw(st.integers(3_600, 1_000_000)),
        turnover_budget_bps=draw(st.integers(0, 20_000)) if not generous else 20_000,
        turnover_period_seconds=draw(st.integers(3_600, 1_000_000)),
    )


@st.composite
def baskets(draw: st.DrawFn, dust_bps: int = 0) -> Basket:
    """2 to 16 assets: half of the time near their targets, otherwise anywhere; bands are wider than dust."""
    chosen = draw(st.lists(st.sampled_from(TOKENS), min_size=2, max_size=16, unique=True))
    targets = draw(splits(len(chosen)))
    total_e18 = draw(log_uniform(_MAX_VALUE_BITS))
    near_target = draw(st.booleans())
    assets, held, prices = [], [], []
    for (token, decimals), target in zip(chosen, targets, strict=True):
        price_e18 = draw(log_uniform(_MAX_PRICE_E18.bit_length() - 1))
        if near_target:
            value_e18 = target * total_e18 // E18 * draw(st.integers(20, 500)) // 100
        else:
            value_e18 = draw(log_uniform(_MAX_VALUE_BITS))
        assets.append(Asset(token, target, draw(st.integers(dust_bps + 1, 5_000)), decimals))
        held.append(min(value_e18 * 10**decimals // price_e18, MAX_HELD_RAW))
        prices.append(draw(_spread(price_e18)))
    if not any(held):
        held[0] = 1
    return Basket(tuple(assets), tuple(held), tuple(prices))


@st.composite
def _spread(draw: st.DrawFn, primary_e18: int) -> Price:
    """A sound price whose other source says up to 1 % less or more."""
    lo_e18 = primary_e18 - primary_e18 * draw(st.sampled_from((0, 0, 30, 100))) // BPS
    hi_e18 = primary_e18 + primary_e18 * draw(st.sampled_from((0, 0, 30, 100))) // BPS
    return Price(max(lo_e18, 1), hi_e18, primary_e18)


@st.composite
def with_moved_prices(draw: st.DrawFn, basket: Basket) -> Basket:
    """The basket after the market moved: some prices halved to doubled, one in a while without a sound price."""
    prices = []
    for price in basket.prices:
        moved_e18 = max(
            1, price.primary_e18 * draw(st.sampled_from((100, 100, 50, 90, 110, 200))) // 100
        )
        prices.append(draw(_spread(min(moved_e18, _MAX_PRICE_E18))))
    if draw(st.integers(0, 15)) == 0:
        at = draw(st.integers(0, len(prices) - 1))
        prices[at] = replace(
            prices[at], fault=draw(st.sampled_from(("NoFeed", "Stale", "OutOfRange")))
        )
    return replace(basket, prices=tuple(prices))


@dataclass(frozen=True, slots=True)
class Trade:
    """What a keeper asks for and what its executor does: `given` is handed to the vault, of assets sold too."""

    sales: tuple[int, ...]
    min_buys: tuple[int, ...]
    given: tuple[int, ...]

    @property
    def fill(self) -> Fill:
        """What the vault measures: an asset sold may come back, in part or with a gift on top."""
        sold = tuple(max(0, sale - back) for sale, back in zip(self.sales, self.given, strict=True))
        bought = tuple(
            0 if sale else came for sale, came in zip(self.sales, self.given, strict=True)
        )
        return Fill(sold, bought)


@st.composite
def trades(
    draw: st.DrawFn, policy: Policy, state: State, basket: Basket, weighed: Weighed, timestamp: int
) -> Trade:
    """A trade around what the policy allows: usually just inside, and about as often just outside one of its limits."""
    n = len(basket.assets)
    sales, given, sold_e18 = [0] * n, [0] * n, 0
    part = draw(st.sampled_from((100, 100, 90, 50, 1, 0)))
    for i, (distance, price, unit) in enumerate(_asset_facts(basket, weighed)):
        sales[i] = surplus_raw(distance, price.primary_e18, unit) * part // 100
        sold_e18 += div_up(sales[i] * price.hi_e18, unit)
    quirk = draw(st.integers(0, 11))
    at = draw(st.integers(0, n - 1))
    if quirk == 0:
        sales[at] += 1
    if quirk == 1:
        given[at] = sales[at] * draw(st.sampled_from((50, 100, 120))) // 100

    limit_e18 = slippage_e18(
        policy.start_slippage_bps,
        policy.max_slippage_bps,
        policy.slippage_ramp_seconds,
        state.broken_since,
        timestamp,
    )
    paid_e18 = sold_e18 * (E18 - limit_e18 * draw(st.sampled_from((0, 50, 100, 100, 101))) // 100)
    deficits = [max(0, -distance) for distance in weighed.distances_e18]
    wanted = _portions(deficits, draw(st.booleans()))
    min_buys = [0] * n
    for i, (distance, price, unit) in enumerate(_asset_facts(basket, weighed)):
        if distance < 0 and wanted[i] and not sales[i]:
            value_e18 = div_up(paid_e18 * wanted[i], E18 * sum(wanted))
            given[i] = min(div_up(value_e18 * unit, price.lo_e18), MAX_HELD_RAW)
            min_buys[i] = given[i]
    if quirk == 2:
        min_buys[at] += 1
    if quirk == 3:
        given[at] += draw(log_uniform(128))
    if quirk == 4:
        given[at] = given[at] * 2 // 3
    return Trade(tuple(sales), tuple(min_buys), tuple(given))


def _asset_facts(basket: Basket, weighed: Weighed) -> list[tuple[int, Price, int]]:
    return list(zip(weighed.distances_e18, basket.prices, basket.units, strict=True))


def _portions(deficits: Sequence[int], all_of_them: bool) -> list[int]:
    """Who is bought: every deficit by its size, or the largest alone."""
    if all_of_them or not any(deficits):
        return list(deficits)
    largest = deficits.index(max(deficits))
    return [deficit if i == largest else 0 for i, deficit in enumerate(deficits)]
