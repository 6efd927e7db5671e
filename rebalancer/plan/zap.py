"""Swaps for zaps: one token into a basket's shares, and shares into one token.

Pure. Inputs are the vault's ledger and the pools at one block. Outputs are the route and the exact result of the Zap
contract if nobody trades in between.

A withdrawal is a sale (`sale.py`). A deposit buys, for S shares, the amount of every asset that the vault requires, as
cheaply as the pools allow: the planner's convex problem (`dual.py`) again. The cost rises with S, so there is a largest
S that the amount pays for; it is found with exact quotes (`exact_flow.py`).

If the paid token is sold on a Uniswap V3 pool, the swap has an exact output: nothing purchased is left over if prices
move, and the unused part of the paid token is returned. A part of the amount is held back for such moves. All other
swaps have an exact input.

Sequences are in basket order, amounts are raw units, tokens are lower-case addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from rebalancer.errors import BadAmount, BadPlanInput, DepositTooSmall, LiquidityExhausted, NoRoute
from rebalancer.plan.baseline import SingleRoutes
from rebalancer.plan.dual import Offer, Solution
from rebalancer.plan.exact_flow import Circle, pulled, run
from rebalancer.plan.flow_to_swaps import Unsettled, route_hops
from rebalancer.plan.market import Market, market_of
from rebalancer.plan.sale import apart, best_sale, prices_in, settled, sum_out, unreached
from rebalancer.plan.swap import Swap
from rebalancer.route import Hop, encode
from rebalancer.units import BPS, mul_div_down, mul_div_up
from rebalancer.venues import Pool
from rebalancer.venues.model import check_amount

__all__ = ["VaultLedger", "ZapIn", "ZapOut", "plan_zap_in", "plan_zap_out"]

_Purchase = Callable[[Mapping[str, int]], tuple[Swap, ...] | None]
"""Function that returns the swaps which buy these amounts of tokens, or None if the pools cannot."""

_PRECISION = 10**12
"""Precision of the number of shares (one part in this many); more precision would gain less than gas costs."""

_HOP_PART = 10**7
"""Minimum gain of a further swap in shares (one part in this many), because it costs gas."""

_HEADROOM = 1_000
"""Reserve that pools must have beyond the purchase (one part in this many)."""

_DEAR = 8.0
"""Factor on the worth of purchases and on the maximum sale, so that neither limit binds."""


@dataclass(frozen=True, slots=True)
class VaultLedger:
    """A vault's holdings of each token, its share supply including accrued fees, and its entry and exit fees."""

    tokens: tuple[str, ...]
    held_raw: tuple[int, ...]
    supply: int
    entry_bps: int = 0
    exit_bps: int = 0

    def required_raw(self, shares: int) -> tuple[int, ...]:
        """Amount of each asset that minting these shares requires, rounded up: `previewMintInKind`."""
        part = shares * (BPS + self.entry_bps)
        return tuple(mul_div_up(held, part, self.supply * BPS) for held in self.held_raw)

    def given_raw(self, shares: int) -> tuple[int, ...]:
        """Amount of each asset that redeeming these shares returns, rounded down: `previewRedeemInKind`."""
        part = shares * (BPS - self.exit_bps)
        return tuple(mul_div_down(held, part, self.supply * BPS) for held in self.held_raw)

    def most_shares(self, amounts_raw: Sequence[int]) -> int:
        """Maximum number of shares that these amounts mint, rounded down: `Zap._mostShares`."""
        all_required_raw = self.required_raw(self.supply)
        found = (
            mul_div_down(amount, self.supply, required)
            for amount, required in zip(amounts_raw, all_required_raw, strict=True)
            if required
        )
        return min(found)


@dataclass(frozen=True, slots=True)
class ZapIn:
    """A deposit of one token: at most `swapped_raw` of it goes through `route`, the rest is deposited directly.

    `left_raw` is the amount of each asset that returns to the depositor, `token_left_raw` that of the token itself if
    it is not an asset.
    """

    token: str
    amount_raw: int
    swapped_raw: int
    route: bytes
    swaps: tuple[Swap, ...]
    shares: int
    minted_raw: tuple[int, ...]
    left_raw: tuple[int, ...]
    token_left_raw: int


@dataclass(frozen=True, slots=True)
class ZapOut:
    """A withdrawal to one token: all other redeemed tokens go through `route`, except dust."""

    token: str
    amount_out_raw: int
    route: bytes
    swaps: tuple[Swap, ...]


def plan_zap_in(
    ledger: VaultLedger, pools: Sequence[Pool], token: str, amount_raw: int, slippage_bps: int = 0
) -> ZapIn:
    """The deposit of at most `amount_raw` of one token that mints most shares.

    The amount would still suffice if all swaps cost `slippage_bps` more than now.

    Raises:
        BadAmount: the amount is not in 1 … 2^255 - 1.
        BadPlanInput: the vault holds nothing.
        NoRoute: no pools connect the token to an asset, or they cannot take the amount.
        DepositTooSmall: the amount does not buy a raw unit of every asset.
    """
    check_amount(amount_raw)
    token = token.lower()
    if not any(ledger.held_raw):
        raise BadPlanInput("the vault holds nothing, so its shares have no price")
    swaps = _best_purchase(ledger, pools, token, amount_raw, slippage_bps)
    left_raw = amount_raw - _sum_in(swaps, token)
    amounts = _bought(swaps) | {token: left_raw}
    amounts_raw = tuple(amounts.get(asset, 0) for asset in ledger.tokens)
    shares = ledger.most_shares(amounts_raw)
    if shares == 0:
        raise DepositTooSmall(token, amount_raw)
    minted_raw = ledger.required_raw(shares)
    kept_raw = dict(zip(ledger.tokens, minted_raw, strict=True)).get(token, 0)
    return ZapIn(
        token,
        amount_raw,
        amount_raw - kept_raw if swaps else 0,
        encode(_purchase_hops(swaps, ledger.tokens, token)),
        swaps,
        shares,
        minted_raw,
        tuple(a - m for a, m in zip(amounts_raw, minted_raw, strict=True)),
        0 if token in ledger.tokens else left_raw,
    )


def plan_zap_out(tokens: Sequence[str], amounts_raw: Sequence[int], pools: Sequence[Pool], token: str) -> ZapOut:
    """The swaps of at least these amounts into one token. Larger amounts are swapped completely, too.

    Raises:
        NoRoute: no pools connect an asset to the token, or they cannot take the amount.
    """
    token = token.lower()
    sales = {t: raw for t, raw in zip(tokens, amounts_raw, strict=True) if raw and t != token}
    kept_raw = sum(raw for t, raw in zip(tokens, amounts_raw, strict=True) if t == token)
    swaps = best_sale(pools, sales, token) if sales else ()
    amount_out_raw = kept_raw + sum_out(swaps, token)
    return ZapOut(token, amount_out_raw, encode(route_hops(swaps, {token: 1})), swaps)


def _best_purchase(
    ledger: VaultLedger, pools: Sequence[Pool], token: str, amount_raw: int, slippage_bps: int
) -> tuple[Swap, ...]:
    """Swaps that buy the assets for most shares; empty if only the token itself is required.

    Raises:
        NoRoute: no pools connect the token to an asset, or they cannot take the amount.
    """
    wanted = [t for t, held in zip(ledger.tokens, ledger.held_raw, strict=True) if held and t != token]
    if not wanted:
        return ()
    market = market_of(pools)
    if lost := unreached(market, wanted, token):
        raise NoRoute(token, lost, amount_raw)
    market = market.without(np.flatnonzero(market.token_out == market.index[token]))

    buyer = _Buyer(ledger, market, token, amount_raw, slippage_bps)
    together = _Together(buyer, market)
    first = buyer.best(together)
    tried = [first]
    if first and together.last and (fewer := apart(market, first, together.last)):
        tried.append(buyer.best(_Together(buyer, fewer)))
    if routes := _routes(buyer, wanted):
        tried.append(buyer.best(lambda required: _alone(routes, required)))
    found = [swaps for swaps in tried if swaps is not None]
    if not found:
        raise NoRoute(token, wanted[0], amount_raw)
    return max(found, key=lambda swaps: buyer.shares_of(swaps) * (_HOP_PART - len(swaps)))


class _Buyer:
    """Purchases, with one token, of the assets that a number of shares requires."""

    def __init__(self, ledger: VaultLedger, market: Market, token: str, amount_raw: int, slippage_bps: int) -> None:
        self.ledger = ledger
        self.market = market
        self.token = token
        self.amount_raw = amount_raw
        self.slippage_bps = slippage_bps
        self.prices = prices_in(market, token)

    def worth(self, shares: int) -> float:
        """Cost of the assets for these shares at spot prices, in raw units of the token."""
        required = zip(self.ledger.tokens, self.ledger.required_raw(shares), strict=True)
        return sum(raw * self._price(token) for token, raw in required)

    def best(self, purchase: _Purchase) -> tuple[Swap, ...] | None:
        """The purchase for the largest affordable number of shares, to one part in `_PRECISION`; None if the pools
        cannot supply it."""
        supply = self.ledger.supply
        most = int(self.amount_raw * supply / self.worth(supply)) + 1

        def left(shares: float) -> int:
            return self.left_raw(int(shares), purchase)

        # Evaluated at a float, as in the search: an integer above 2^53 may have no equal float.
        while left(float(most)) >= 0:
            most *= 2
        # A remainder of 0 is affordable: on a stretch of zeros, the search must find its end.
        root = brentq(
            lambda shares: left(shares) + 0.5, *(0.0, float(most)), xtol=most / _PRECISION, rtol=1 / _PRECISION
        )
        shares, back = int(root), 1
        # The root is near the limit on either side, and the limit may be a step.
        while left(shares) < 0:
            shares = max(0, shares - back)
            back = max(2 * back, most // _PRECISION)
        # If the pools run dry before the amount is spent, the last units are too expensive.
        more = shares + max(1, 2 * shares // _HEADROOM) if shares else most
        if self.swaps(more, purchase) is None:
            return None
        return self.swaps(shares, purchase)

    def left_raw(self, shares: int, purchase: _Purchase) -> int:
        """Remainder of the amount after buying for these shares at the worst prices; negative if it does not
        suffice."""
        swaps = self.swaps(shares, purchase)
        if swaps is None:
            return -self.amount_raw
        needed = mul_div_up(_sum_in(swaps, self.token), BPS + self.slippage_bps, BPS)
        required = dict(zip(self.ledger.tokens, self.ledger.required_raw(shares), strict=True))
        return self.amount_raw - needed - required.get(self.token, 0)

    def swaps(self, shares: int, purchase: _Purchase) -> tuple[Swap, ...] | None:
        """The purchase for these shares as the chain executes it; None if the pools cannot supply it."""
        required = {
            token: raw
            for token, raw in zip(self.ledger.tokens, self.ledger.required_raw(shares), strict=True)
            if raw and token != self.token
        }
        swaps = purchase(required) if required else ()
        if swaps is None:
            return None
        passed = {swap.token_in for swap in swaps} - {*required, self.token}
        return run(self.market, swaps, passed, _by_out(swaps, self.token))

    def shares_of(self, swaps: Sequence[Swap]) -> int:
        """Maximum number of shares from these swaps and the remainder of the amount."""
        amounts = _bought(swaps) | {self.token: self.amount_raw - _sum_in(swaps, self.token)}
        return self.ledger.most_shares([amounts.get(token, 0) for token in self.ledger.tokens])

    def _price(self, token: str) -> float:
        if token == self.token:
            return 1.0
        at = self.market.index.get(token)
        return 0.0 if at is None else float(self.prices[at])


class _Together:
    """Purchases of all assets together, as cheaply as the market allows."""

    def __init__(self, buyer: _Buyer, market: Market) -> None:
        self.buyer = buyer
        self.market = market
        self.last: Solution | None = None

    def __call__(self, required_raw: Mapping[str, int]) -> tuple[Swap, ...] | None:
        """Swaps that buy these amounts; None if the pools cannot supply them."""
        market, token, prices = self.market, self.buyer.token, self.buyer.prices
        sell_max, buy_max = np.zeros((2, len(prices)))
        for asset, raw in required_raw.items():
            buy_max[market.index[asset]] = raw
        sell_max[market.index[token]] = _DEAR * max(self.buyer.amount_raw, buy_max @ prices)

        def pull(market: Market, solution: Solution) -> tuple[Swap, ...] | Unsettled | Circle:
            return pulled(market, solution, required_raw, token)

        offer = Offer(sell_max, buy_max, prices, _DEAR * prices, prices)
        found = settled(market, offer, pull)
        if found is None:
            return None
        self.last = found[1]
        return found[0]


def _routes(buyer: _Buyer, wanted: Sequence[str]) -> list[list[Swap]]:
    """The best route for each asset, for approximately its part of the amount; empty if an asset has no route."""
    routes, supply = SingleRoutes(buyer.market), buyer.ledger.supply
    required = dict(zip(buyer.ledger.tokens, buyer.ledger.required_raw(supply), strict=True))
    found = []
    for token in wanted:
        worth = required[token] * float(buyer.prices[buyer.market.index[token]])
        part_raw = int(buyer.amount_raw * worth / buyer.worth(supply))
        found.append(routes.best(buyer.token, token, part_raw))
    return found if all(found) else []


def _alone(routes: Sequence[Sequence[Swap]], required_raw: Mapping[str, int]) -> tuple[Swap, ...] | None:
    """Purchases along routes, one after another; None if a pool cannot supply an amount."""
    swaps: list[Swap] = []
    after: dict[str, Pool] = {}
    for route in routes:
        needed, part = required_raw.get(route[-1].token_out, 0), []
        for swap in reversed(route if needed else ()):
            pool = after.get(swap.pool.key, swap.pool)
            try:
                cost = pool.quote_out(swap.token_in, swap.token_out, needed)
            except (LiquidityExhausted, BadAmount):
                return None
            part.append(Swap(pool, swap.token_in, swap.token_out, cost, needed))
            needed = cost
        after |= {swap.pool.key: swap.pool_after for swap in part}
        swaps += reversed(part)
    return tuple(swaps)


def _by_out(swaps: Sequence[Swap], paid: str) -> set[str]:
    """Keys of pools with an exact output: those that support it, take the paid token, and are used once."""
    keys = [swap.pool.key for swap in swaps]
    return {
        swap.pool.key
        for swap in swaps
        if swap.pool.BUYS_EXACTLY and swap.token_in == paid and keys.count(swap.pool.key) == 1
    }


def _purchase_hops(swaps: Sequence[Swap], assets: Sequence[str], paid: str) -> list[Hop]:
    """Hops of purchases in order. They spend only their own amounts of the paid token."""
    found: list[Hop] = []
    by_out = _by_out(swaps, paid)
    for swap, hop in zip(swaps, route_hops(swaps, dict.fromkeys((*assets, paid), 1)), strict=True):
        found.append(hop.buying(swap.amount_out_raw) if swap.pool.key in by_out else hop)
    return found


def _sum_in(swaps: Sequence[Swap], token: str) -> int:
    return sum(swap.amount_in_raw for swap in swaps if swap.token_in == token)


def _bought(swaps: Sequence[Swap]) -> dict[str, int]:
    """Change of each bought token's balance by the swaps."""
    tokens = {swap.token_out for swap in swaps}
    return {token: sum_out(swaps, token) - _sum_in(swaps, token) for token in tokens}
