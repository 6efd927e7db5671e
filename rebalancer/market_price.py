"""Check of oracle prices against pool prices, weighted by depth.

A pool does not know dollars, only the price of one token in another. So each feed's price is compared with the prices
of the other feeds: a pool of two tokens agrees with both feeds, or with at most one. A feed is off the market if it
disagrees with pools that hold more than half of its token's depth. If there are several such feeds, only those with the
largest disagreeing part are returned, because they explain the others.

Depth is the amount of a token that moves a pool's price by 1 %. Pure; prices are USD per whole token times 1e18.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from rebalancer.errors import PoolError
from rebalancer.oracle import diverges
from rebalancer.units import BPS, E18, PIPS, PIPS_PER_BPS, div_up
from rebalancer.venues import Pool

__all__ = ["MAX_SLIPPAGE_BPS", "OffMarket", "off_market", "unpriced"]

MAX_SLIPPAGE_BPS = 300
"""ConfigStore.MAX_SLIPPAGE_BPS: the largest slippage a policy may allow. If feed and market differ by more, a vault
cannot trade, or the counterparty of its trades gains."""

_MOST_FEE_BPS = 100
"""Cap on the pool fee that is added to the limit."""
_MOVED = 0.99
"""Price factor at which depth is measured: a move of 1 %."""


@dataclass(frozen=True, slots=True)
class OffMarket:
    """A token whose feed disagrees with the pools: both prices, and the part of its pools' depth that disagrees, in
    basis points."""

    token: str
    feed_e18: int
    market_e18: int
    against_bps: int

    @property
    def sentence(self) -> str:
        """Both prices, to four significant digits."""
        return (
            f"the feed price is {self.feed_e18 / E18:,.4g} USD; the listed pools and the other feeds imply "
            f"{self.market_e18 / E18:,.4g} USD"
        )


@dataclass(frozen=True, slots=True)
class _Opinion:
    """The price of a token in one pool."""

    price: Fraction
    depth_raw: int
    agrees: bool


def off_market(
    prices_e18: Mapping[str, int],
    pools: Sequence[Pool],
    limit_bps: int = MAX_SLIPPAGE_BPS,
    limits_bps: Mapping[str, int] | None = None,
) -> tuple[OffMarket, ...]:
    """Tokens whose feeds differ from the market by more than a limit plus the largest pool fee (at most 1 %), the most
    certain first.

    `limits_bps` overrides the limit of single tokens. Pools of tokens without a price, and pools without depth, are
    ignored.
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
    # If two tokens trade only with each other, the feed nearer to one dollar is believed.
    return tuple(sorted(worst, key=_from_a_dollar, reverse=True))


def unpriced(prices_e18: Mapping[str, int], pools: Sequence[Pool]) -> tuple[str, ...]:
    """Tokens with a feed price but without any pool that can be compared with it, in the order given."""
    known = _opinions(prices_e18, pools, MAX_SLIPPAGE_BPS, {})
    return tuple(token for token in prices_e18 if token not in known)


def _opinions(
    prices_e18: Mapping[str, int], pools: Sequence[Pool], limit_bps: int, limits_bps: Mapping[str, int]
) -> dict[str, list[_Opinion]]:
    found: dict[str, list[_Opinion]] = defaultdict(list)
    # One fee limit for all pools: a pool's price may differ from the market by its fee, and so may a price between two
    # pools.
    fees_bps = [div_up(pool.fee_pips, PIPS_PER_BPS) for pool in pools if [*_pairs(pool, prices_e18)]]
    fee_bps = min(_MOST_FEE_BPS, max(fees_bps, default=0))
    for pool in pools:
        for (token, decimals), (other, other_decimals) in _pairs(pool, prices_e18):
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


def _pairs(pool: Pool, prices_e18: Mapping[str, int]) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    tokens = [(one.address, one.decimals) for one in pool.tokens if prices_e18.get(one.address)]
    return ((one, other) for one in tokens for other in tokens if one != other)


def _depth_raw(pool: Pool, token: str, other: str, spot: Fraction) -> int:
    """Amount of a token that the pool takes until the next unit yields 1 % less."""
    marginal = float(spot) * (1 - pool.fee_pips / PIPS) * _MOVED
    return pool.flow_to(token, other, marginal)[0]


def _median(opinions: Sequence[_Opinion]) -> Fraction:
    """The lowest price that covers half of the depth, counted from the lowest price up."""
    half = sum(one.depth_raw for one in opinions)
    for one in sorted(opinions, key=lambda each: each.price):
        half -= 2 * one.depth_raw
        if half <= 0:
            return one.price
    raise AssertionError("there are no pools")


def _from_a_dollar(one: OffMarket) -> Fraction:
    high, low = max(one.feed_e18, E18), min(one.feed_e18, E18)
    return Fraction(high, max(low, 1))
