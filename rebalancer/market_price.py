"""Prices held against a market: what pools say that tokens are worth, weighted by depth.

A pool tells no dollars, only how many of one token another is worth. So each feed's price is held against those of the others: a pool of
two tokens agrees with both of their feeds, or with one at most. A feed is off where it disagrees over more than half of the depth of
its token's pools; of several, those that disagree over the largest part are named, which are the ones that explain the others.

Depth is how much of a token moves a pool's price by 1 %. Pure; prices are USD per whole token times 1e18.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from rebalancer.errors import PoolError
from rebalancer.oracle import diverges
from rebalancer.units import BPS, E18, PIPS_PER_BPS
from rebalancer.venues import Pool

__all__ = ["MAX_SLIPPAGE_BPS", "OffMarket", "off_market", "unpriced"]

MAX_SLIPPAGE_BPS = 300
"""ConfigStore.MAX_SLIPPAGE_BPS: the most that a policy may allow. Where feed and market are further apart, no vault can trade there, or
whoever trades with it gains."""

_MOST_FEE_BPS = 100
"""A pool of a larger fee widens no limit by more."""
_PIPS = 1_000_000
_MOVED = 0.99
"""Depth is measured to this part of the price."""


@dataclass(frozen=True, slots=True)
class OffMarket:
    """A token whose feed is not what pools say: its price by both, and the part of its pools' depth that disagrees, in basis points."""

    token: str
    feed_e18: int
    market_e18: int
    against_bps: int

    @property
    def sentence(self) -> str:
        """Both prices, to four digits that tell something."""
        return (
            f"the feed says {self.feed_e18 / E18:,.4g} USD, and the listed pools, by depth and by the other feeds, "
            f"{self.market_e18 / E18:,.4g} USD"
        )


@dataclass(frozen=True, slots=True)
class _Opinion:
    """What one pool says of a token."""

    price: Fraction
    depth_raw: int
    agrees: bool


def off_market(
    prices_e18: Mapping[str, int],
    pools: Sequence[Pool],
    limit_bps: int = MAX_SLIPPAGE_BPS,
    limits_bps: Mapping[str, int] | None = None,
) -> tuple[OffMarket, ...]:
    """The tokens whose feeds are off the market by more than a limit and the largest fee of the pools (at most 1 %), the surest first.

    `limits_bps` are of single tokens. Pools of tokens without a price, and pools without depth, say nothing.
    """
    limits = limits_bps or {}
    found = []
    for token, opinions in _opinions(prices_e18, pools, limit_bps, limits).items():
        total = sum(one.depth_raw for one in opinions)
        against = sum(one.depth_raw for one in opinions if not one.agrees)
        if 2 * against > total:
            market_e18 = int(_median(opinions))
            part_bps = against * BPS // total
            found.append(OffMarket(token, prices_e18[token], market_e18, part_bps))
    most = max((one.against_bps for one in found), default=0)
    worst = [one for one in found if one.against_bps == most]
    # Of two that only know each other the one nearer to a dollar is believed.
    return tuple(sorted(worst, key=_from_a_dollar, reverse=True))


def unpriced(prices_e18: Mapping[str, int], pools: Sequence[Pool]) -> tuple[str, ...]:
    """The tokens with a price of which no pool says anything, in the order given."""
    known = _opinions(prices_e18, pools, MAX_SLIPPAGE_BPS, {})
    return tuple(token for token in prices_e18 if token not in known)


def _opinions(
    prices_e18: Mapping[str, int],
    pools: Sequence[Pool],
    limit_bps: int,
    limits_bps: Mapping[str, int],
) -> dict[str, list[_Opinion]]:
    found: dict[str, list[_Opinion]] = defaultdict(list)
    # One for all pools: a pool may stand its fee away from the market, and so may what is between two of them.
    fees_bps = [-(-pool.fee_pips // PIPS_PER_BPS) for pool in pools if [*_ways(pool, prices_e18)]]
    fee_bps = min(_MOST_FEE_BPS, max(fees_bps, default=0))
    for pool in pools:
        for (token, decimals), (other, other_decimals) in _ways(pool, prices_e18):
            try:
                spot = pool.spot_price(token, other)
                depth_raw = _depth_raw(pool, token, other, spot) if spot else 0
            except (PoolError, ArithmeticError):
                continue
            if not depth_raw:
                continue
            # {usd e18 / token} = {raw other / raw token} * {raw token / token} / {raw other / other} * {usd e18 / other}
            price = spot * Fraction(10**decimals, 10**other_decimals) * prices_e18[other]
            limit = max(limits_bps.get(token, limit_bps), limits_bps.get(other, limit_bps))
            agrees = not diverges(prices_e18[token], int(price), limit + fee_bps)
            found[token].append(_Opinion(price, depth_raw, agrees))
    return found


def _ways(pool: Pool, prices_e18: Mapping[str, int]) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    tokens = [(one.address, one.decimals) for one in pool.tokens if prices_e18.get(one.address)]
    return ((one, other) for one in tokens for other in tokens if one != other)


def _depth_raw(pool: Pool, token: str, other: str, spot: Fraction) -> int:
    """How much of a token goes in until the next unit yields 1 % less."""
    marginal = float(spot) * (1 - pool.fee_pips / _PIPS) * _MOVED
    return pool.flow_to(token, other, marginal)[0]


def _median(opinions: Sequence[_Opinion]) -> Fraction:
    """The price that half of the depth is at or below."""
    half = sum(one.depth_raw for one in opinions)
    for one in sorted(opinions, key=lambda each: each.price):
        half -= 2 * one.depth_raw
        if half <= 0:
            return one.price
    raise AssertionError("no pool says anything")


def _from_a_dollar(one: OffMarket) -> Fraction:
    high, low = max(one.feed_e18, E18), min(one.feed_e18, E18)
    return Fraction(high, max(low, 1))
