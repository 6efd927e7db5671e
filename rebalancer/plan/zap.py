"""Which swaps turn one token into a basket's shares, and shares back into one token?

Pure. What goes in is the vault's books and the pools at one block, what comes out is the route and,
to the unit, what the Zap contract does with it as long as nobody trades in between.

A withdrawal is a sale (`sale.py`). A deposit buys, for S shares, of every asset what the vault asks for S
shares, as cheap as the pools allow: the planner's convex problem (`dual.py`) once more. What that costs
rises with S, so there is a largest S that the amount pays for; it is sought on exact quotes (`carry.py`).

Where the token that is paid is sold on a pool of Uniswap V3, the pool is asked for an amount out: whatever
prices do meanwhile, nothing is left of what was bought, and what is not needed of the token that is paid
comes back as it is. So that they may do something, a part of the amount is held back. All other swaps sell
an amount instead.

Sequences are in basket order, amounts raw units, tokens lower-case addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from rebalancer.errors import (
    BadAmount,
    BadPlanInput,
    DepositTooSmall,
    LiquidityExhausted,
    NoRoute,
)
from rebalancer.plan.carry import Circle, pulled, run
from rebalancer.plan.dual import Offer, Solution
from rebalancer.plan.leg import Leg
from rebalancer.plan.legs import Stuck, route_hops
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.sale import apart, best_sale, prices_in, settled, sum_out, unreached
from rebalancer.plan.single import SingleRoutes
from rebalancer.route import Hop, encode
from rebalancer.units import BPS, mul_div_down, mul_div_up
from rebalancer.venues import Pool
from rebalancer.venues.model import check_amount

__all__ = ["Books", "ZapIn", "ZapOut", "plan_zap_in", "plan_zap_out"]

_Purchase = Callable[[Mapping[str, int]], tuple[Leg, ...] | None]
"""The legs that buy these amounts of tokens; None where the pools cannot give that much."""

_PRECISION = 10**12
"""Shares are found to one part in this many; what a closer look would add is less than gas."""

_HOP_PART = 10**7
"""A swap more has to bring at least one share in this many: it costs gas."""

_HEADROOM = 1_000
"""The pools must have this part more to give than is bought."""

_DEAR = 8.0
"""What is bought is worth this many times its price, and what may be sold this many times what there is: neither is to bind."""


@dataclass(frozen=True, slots=True)
class Books:
    """What a vault holds of each token, its supply of shares with the fee's, and what entry and exit cost."""

    tokens: tuple[str, ...]
    held_raw: tuple[int, ...]
    supply: int
    entry_bps: int = 0
    exit_bps: int = 0

    def asked_raw(self, shares: int) -> tuple[int, ...]:
        """What minting these shares takes of each asset, rounded up: `previewMintInKind`."""
        part = shares * (BPS + self.entry_bps)
        return tuple(mul_div_up(held, part, self.supply * BPS) for held in self.held_raw)

    def given_raw(self, shares: int) -> tuple[int, ...]:
        """What redeeming these shares gives of each asset, rounded down: `previewRedeemInKind`."""
        part = shares * (BPS - self.exit_bps)
        return tuple(mul_div_down(held, part, self.supply * BPS) for held in self.held_raw)

    def most_shares(self, amounts_raw: Sequence[int]) -> int:
        """The most shares these amounts mint, rounded down: `Zap._mostShares`."""
        all_asked_raw = self.asked_raw(self.supply)
        found = (
            mul_div_down(amount, self.supply, asked)
            for amount, asked in zip(amounts_raw, all_asked_raw, strict=True)
            if asked
        )
        return min(found)


@dataclass(frozen=True, slots=True)
class ZapIn:
    """A deposit of one token: up to `swapped_raw` of it goes through `route`, the rest is deposited as it is.

    `left_raw` is what comes back to the depositor of each asset, and `token_left_raw` of the token
    itself, where it is no asset.
    """

    token: str
    amount_raw: int
    swapped_raw: int
    route: bytes
    legs: tuple[Leg, ...]
    shares: int
    minted_raw: tuple[int, ...]
    left_raw: tuple[int, ...]
    token_left_raw: int


@dataclass(frozen=True, slots=True)
class ZapOut:
    """A withdrawal to one token: everything else that is redeemed goes through `route`, but dust."""

    token: str
    amount_out_raw: int
    route: bytes
    legs: tuple[Leg, ...]


def plan_zap_in(
    books: Books, pools: Sequence[Pool], token: str, amount_raw: int, slippage_bps: int = 0
) -> ZapIn:
    """The deposit of up to an amount of one token that mints most shares.

    The amount would still pay for them if all swaps cost `slippage_bps` more than now.

    Raises:
        BadAmount: the amount is not in 1 … 2^255 - 1.
        BadPlanInput: the vault holds nothing.
        NoRoute: no pools lead from the token to an asset, or they cannot take that much.
        DepositTooSmall: the amount does not buy a raw unit of every asset.
    """
    check_amount(amount_raw)
    token = token.lower()
    if not any(books.held_raw):
        raise BadPlanInput("the vault holds nothing, so its shares have no price")
    legs = _best_purchase(books, pools, token, amount_raw, slippage_bps)
    left_raw = amount_raw - _sum_in(legs, token)
    amounts = _bought(legs) | {token: left_raw}
    amounts_raw = tuple(amounts.get(asset, 0) for asset in books.tokens)
    shares = books.most_shares(amounts_raw)
    if shares == 0:
        raise DepositTooSmall(token, amount_raw)
    minted_raw = books.asked_raw(shares)
    kept_raw = dict(zip(books.tokens, minted_raw, strict=True)).get(token, 0)
    return ZapIn(
        token,
        amount_raw,
        amount_raw - kept_raw if legs else 0,
        encode(_purchase_hops(legs, books.tokens, token)),
        legs,
        shares,
        minted_raw,
        tuple(a - m for a, m in zip(amounts_raw, minted_raw, strict=True)),
        0 if token in books.tokens else left_raw,
    )


def plan_zap_out(
    tokens: Sequence[str], amounts_raw: Sequence[int], pools: Sequence[Pool], token: str
) -> ZapOut:
    """The swaps of at least these amounts into one token. What there is more of is swapped with them.

    Raises:
        NoRoute: no pools lead from an asset to the token, or they cannot take that much.
    """
    token = token.lower()
    sales = {t: raw for t, raw in zip(tokens, amounts_raw, strict=True) if raw and t != token}
    kept_raw = sum(raw for t, raw in zip(tokens, amounts_raw, strict=True) if t == token)
    legs = best_sale(pools, sales, token) if sales else ()
    amount_out_raw = kept_raw + sum_out(legs, token)
    return ZapOut(token, amount_out_raw, encode(route_hops(legs, {token: 1})), legs)


def _best_purchase(
    books: Books, pools: Sequence[Pool], token: str, amount_raw: int, slippage_bps: int
) -> tuple[Leg, ...]:
    """The swaps that buy what most shares ask for, none where the token is all they ask for.

    Raises:
        NoRoute: no pools lead from the token to an asset, or they cannot take that much.
    """
    wanted = [
        t for t, held in zip(books.tokens, books.held_raw, strict=True) if held and t != token
    ]
    if not wanted:
        return ()
    market = market_of(pools)
    if lost := unreached(market, wanted, token):
        raise NoRoute(token, lost, amount_raw)
    market = market.without(np.flatnonzero(market.token_out == market.index[token]))

    buyer = _Buyer(books, market, token, amount_raw, slippage_bps)
    together = _Together(buyer, market)
    first = buyer.best(together)
    tried = [first]
    if first and together.last and (fewer := apart(market, first, together.last)):
        tried.append(buyer.best(_Together(buyer, fewer)))
    if routes := _routes(buyer, wanted):
        tried.append(buyer.best(lambda asked: _alone(routes, asked)))
    found = [legs for legs in tried if legs is not None]
    if not found:
        raise NoRoute(token, wanted[0], amount_raw)
    return max(found, key=lambda legs: buyer.shares_of(legs) * (_HOP_PART - len(legs)))


class _Buyer:
    """Buys, with one token, what a number of shares asks for."""

    def __init__(
        self, books: Books, market: Market, token: str, amount_raw: int, slippage_bps: int
    ) -> None:
        self.books = books
        self.market = market
        self.token = token
        self.amount_raw = amount_raw
        self.slippage_bps = slippage_bps
        self.prices = prices_in(market, token)

    def worth(self, shares: int) -> float:
        """What these shares ask for at spot prices, in raw units of the token."""
        asked = zip(self.books.tokens, self.books.asked_raw(shares), strict=True)
        return sum(raw * self._price(token) for token, raw in asked)

    def best(self, purchase: _Purchase) -> tuple[Leg, ...] | None:
        """The purchase for the most shares that can be paid for, to one part in `_PRECISION`; None if the pools run dry."""
        supply = self.books.supply
        most = int(self.amount_raw * supply / self.worth(supply)) + 1

        def left(shares: float) -> int:
            return self.left_raw(int(shares), purchase)

        # As the search sees it: a number of shares above 2^53 may not be one of its floats.
        while left(float(most)) >= 0:
            most *= 2
        # Nothing left is enough: where that is so for a stretch, its end is what is sought.
        root = brentq(
            lambda shares: left(shares) + 0.5,
            *(0.0, float(most)),
            xtol=most / _PRECISION,
            rtol=1 / _PRECISION,
        )
        shares, back = int(root), 1
        # The root is near the edge on either side of it, and the edge may be a step.
        while left(shares) < 0:
            shares = max(0, shares - back)
            back = max(2 * back, most // _PRECISION)
        # Where the pools run dry before the money does, what they would still give is not worth its price.
        more = shares + max(1, 2 * shares // _HEADROOM) if shares else most
        if self.legs(more, purchase) is None:
            return None
        return self.legs(shares, purchase)

    def left_raw(self, shares: int, purchase: _Purchase) -> int:
        """What is left of the amount after buying for these shares at the dearest; below 0 if it is too little."""
        legs = self.legs(shares, purchase)
        if legs is None:
            return -self.amount_raw
        needed = mul_div_up(_sum_in(legs, self.token), BPS + self.slippage_bps, BPS)
        asked = dict(zip(self.books.tokens, self.books.asked_raw(shares), strict=True))
        return self.amount_raw - needed - asked.get(self.token, 0)

    def legs(self, shares: int, purchase: _Purchase) -> tuple[Leg, ...] | None:
        """The purchase for these shares as the chain makes it; None where the pools cannot give that much."""
        asked = {
            token: raw
            for token, raw in zip(self.books.tokens, self.books.asked_raw(shares), strict=True)
            if raw and token != self.token
        }
        legs = purchase(asked) if asked else ()
        if legs is None:
            return None
        passed = {leg.token_in for leg in legs} - {*asked, self.token}
        return run(self.market, legs, passed, _by_out(legs, self.token))

    def shares_of(self, legs: Sequence[Leg]) -> int:
        """The most shares that these swaps and the rest of the amount mint."""
        amounts = _bought(legs) | {self.token: self.amount_raw - _sum_in(legs, self.token)}
        return self.books.most_shares([amounts.get(token, 0) for token in self.books.tokens])

    def _price(self, token: str) -> float:
        if token == self.token:
            return 1.0
        at = self.market.index.get(token)
        return 0.0 if at is None else float(self.prices[at])


class _Together:
    """Purchases of all assets at once, as cheap as the market allows."""

    def __init__(self, buyer: _Buyer, market: Market) -> None:
        self.buyer = buyer
        self.market = market
        self.last: Solution | None = None

    def __call__(self, asked_raw: Mapping[str, int]) -> tuple[Leg, ...] | None:
        """The legs that buy these amounts; None where the pools cannot give that much."""
        market, token, prices = self.market, self.buyer.token, self.buyer.prices
        sell_max, buy_max = np.zeros((2, len(prices)))
        for asset, raw in asked_raw.items():
            buy_max[market.index[asset]] = raw
        sell_max[market.index[token]] = _DEAR * max(self.buyer.amount_raw, buy_max @ prices)

        def pull(market: Market, solution: Solution) -> tuple[Leg, ...] | Stuck | Circle:
            return pulled(market, solution, asked_raw, token)

        offer = Offer(sell_max, buy_max, prices, _DEAR * prices, prices)
        found = settled(market, offer, pull)
        if found is None:
            return None
        self.last = found[1]
        return found[0]


def _routes(buyer: _Buyer, wanted: Sequence[str]) -> list[list[Leg]]:
    """One route for each asset, the best for about what is spent on it; none where one has none."""
    routes, supply = SingleRoutes(buyer.market), buyer.books.supply
    asked = dict(zip(buyer.books.tokens, buyer.books.asked_raw(supply), strict=True))
    found = []
    for token in wanted:
        worth = asked[token] * float(buyer.prices[buyer.market.index[token]])
        part_raw = int(buyer.amount_raw * worth / buyer.worth(supply))
        found.append(routes.best(buyer.token, token, part_raw))
    return found if all(found) else []


def _alone(routes: Sequence[Sequence[Leg]], asked_raw: Mapping[str, int]) -> tuple[Leg, ...] | None:
    """Purchases one after another along routes; None where a pool cannot give that much."""
    legs: list[Leg] = []
    after: dict[str, Pool] = {}
    for route in routes:
        needed, part = asked_raw.get(route[-1].token_out, 0), []
        for leg in reversed(route if needed else ()):
            pool = after.get(leg.pool.key, leg.pool)
            try:
                cost = pool.quote_out(leg.token_in, leg.token_out, needed)
            except (LiquidityExhausted, BadAmount):
                return None
            part.append(Leg(pool, leg.token_in, leg.token_out, cost, needed))
            needed = cost
        after |= {leg.pool.key: leg.pool_after for leg in part}
        legs += reversed(part)
    return tuple(legs)


def _by_out(legs: Sequence[Leg], paid: str) -> set[str]:
    """The pools, by their keys, that are asked for an amount out: those that can be, that take the token paid, and once."""
    keys = [leg.pool.key for leg in legs]
    return {
        leg.pool.key
        for leg in legs
        if leg.pool.BUYS_EXACTLY and leg.token_in == paid and keys.count(leg.pool.key) == 1
    }


def _purchase_hops(legs: Sequence[Leg], assets: Sequence[str], paid: str) -> list[Hop]:
    """Purchases one after another. What they leave of the token that is paid is not theirs to spend."""
    found: list[Hop] = []
    by_out = _by_out(legs, paid)
    for leg, hop in zip(legs, route_hops(legs, dict.fromkeys((*assets, paid), 1)), strict=True):
        found.append(hop.buying(leg.amount_out_raw) if leg.pool.key in by_out else hop)
    return found


def _sum_in(legs: Sequence[Leg], token: str) -> int:
    return sum(leg.amount_in_raw for leg in legs if leg.token_in == token)


def _bought(legs: Sequence[Leg]) -> dict[str, int]:
    """What is there of each token after the swaps, beyond what was there before."""
    tokens = {leg.token_out for leg in legs}
    return {token: sum_out(legs, token) - _sum_in(legs, token) for token in tokens}
