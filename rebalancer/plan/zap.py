"""Which swaps turn one token into a basket's shares, and shares back into one token?

Pure. What goes in is the vault's books and the pools at one block, what comes out is the route and,
to the unit, what the Zap contract does with it as long as nobody trades in between.

A deposit buys, for S shares, of every asset what the vault asks for S shares. What that costs rises
with S, so there is a largest S that the amount pays for. Assets are bought one after another, each
at the prices the one before left behind: they may share pools, and the chain does it in this order.

Pools are asked for amounts out: whatever prices do meanwhile, nothing is left of what was bought, and
what is not needed of the token that is paid comes back as it is. So that they may do something, a
part of the amount is held back. A purchase through a middle token sells an amount instead.

Sequences are in basket order, amounts raw units, tokens lower-case addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.optimize import brentq

from rebalancer.errors import BadPlanInput, DepositTooSmall, NoRoute
from rebalancer.plan.route import BuyHop, Hop, encode
from rebalancer.plan.split import Leg, Split, best_split, hops, pools_after
from rebalancer.pools import Pool, UniswapV3Pool
from rebalancer.pools.model import check_amount
from rebalancer.units import BPS, mul_div_down, mul_div_up

__all__ = ["Books", "ZapIn", "ZapOut", "plan_zap_in", "plan_zap_out"]

_PRECISION = 10**12
"""Shares are found to one part in this many; what a closer look would add is less than gas."""

_MOST_TRIES = 40
"""Each try at an amount is nearer by about the part of the price that it moves."""

_HEADROOM = 1_000
"""The pools must have this part more to give than is bought."""

_PART = 8
"""By how much less is asked for when the pools cannot take an amount."""


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
    splits: tuple[Split, ...]
    shares: int
    minted_raw: tuple[int, ...]
    left_raw: tuple[int, ...]
    token_left_raw: int


@dataclass(frozen=True, slots=True)
class ZapOut:
    """A withdrawal to one token: everything else that is redeemed goes through `route`."""

    token: str
    amount_out_raw: int
    route: bytes
    splits: tuple[Split, ...]


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
    buyer = _Buyer(books, tuple(pools), token, amount_raw, slippage_bps)
    most = _affordable(buyer)
    asked = dict(zip(books.tokens, books.asked_raw(most), strict=True))
    splits = tuple(_exactly(split, asked[split.token_out]) for split in buyer.purchases(most))

    left_raw = amount_raw - sum(split.amount_in_raw for split in splits)
    amounts = {split.token_out: split.amount_out_raw for split in splits} | {token: left_raw}
    amounts_raw = tuple(amounts.get(asset, 0) for asset in books.tokens)
    shares = books.most_shares(amounts_raw)
    if shares == 0:
        raise DepositTooSmall(token, amount_raw)
    minted_raw = books.asked_raw(shares)
    return ZapIn(
        token,
        amount_raw,
        amount_raw - asked.get(token, 0) if splits else 0,
        encode(_purchase_hops(splits)),
        splits,
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
    splits: list[Split] = []
    kept_raw = 0
    for asset, amount in zip(tokens, amounts_raw, strict=True):
        if asset == token:
            kept_raw += amount
        elif amount:
            splits.append(best_split(pools, asset, token, amount))
            pools = pools_after(pools, splits[-1].legs)
    amount_out_raw = kept_raw + sum(split.amount_out_raw for split in splits)
    return ZapOut(token, amount_out_raw, encode(hops(splits)), tuple(splits))


class _Buyer:
    """Buys, with one token, what a number of shares asks for."""

    def __init__(
        self,
        books: Books,
        pools: tuple[Pool, ...],
        token: str,
        amount_raw: int,
        slippage_bps: int,
    ) -> None:
        self.books = books
        self.pools = pools
        self.token = token
        self.amount_raw = amount_raw
        self.slippage_bps = slippage_bps
        self.wanted = [
            i for i, held in enumerate(books.held_raw) if held and books.tokens[i] != token
        ]
        self._alone = {i: self._buy_alone(i) for i in self.wanted}

    def at_most(self) -> int:
        """About the most shares there could be: as if the whole amount were there for every asset.

        Raises:
            NoRoute: no asset's pools can take the whole amount.
        """
        books = self.books
        bounds = [
            mul_div_down(split.amount_out_raw, books.supply, books.held_raw[i])
            for i, split in self._alone.items()
            if split.amount_in_raw == self.amount_raw
        ]
        if self.token in books.tokens and (held := books.held_raw[books.tokens.index(self.token)]):
            bounds.append(mul_div_down(self.amount_raw, books.supply, held))
        if not bounds:
            raise NoRoute(self.token, books.tokens[self.wanted[0]], self.amount_raw)
        return min(bounds)

    def left_raw(self, shares: int) -> int:
        """What is left of the amount after buying for these shares at the dearest; below 0 if it is too little."""
        try:
            splits = self.purchases(shares)
        except NoRoute:
            return -self.amount_raw
        cost_raw = sum(split.amount_in_raw for split in splits)
        needed = mul_div_up(cost_raw, BPS + self.slippage_bps, BPS)
        if self.token in self.books.tokens:
            needed += self.books.asked_raw(shares)[self.books.tokens.index(self.token)]
        return self.amount_raw - needed

    def purchases(self, shares: int) -> tuple[Split, ...]:
        """One purchase for each asset but the token itself, at the prices the one before left.

        Raises:
            NoRoute: the pools cannot give that much.
        """
        asked = self.books.asked_raw(shares)
        pools, splits = self.pools, []
        for i in self.wanted:
            if asked[i]:
                splits.append(self._buy(pools, i, asked[i]))
                pools = pools_after(pools, splits[-1].legs)
        return tuple(splits)

    def _buy(self, pools: tuple[Pool, ...], asset: int, needed_raw: int) -> Split:
        """A purchase of at least that much of an asset, for nearly the least that it costs.

        Raises:
            NoRoute: the pools cannot give that much.
        """
        last = self._alone[asset]
        enough: Split | None = None
        for _ in range(_MOST_TRIES):
            if not last.amount_out_raw:
                break
            # {token} = {asset} * {token} / {asset}, at the average price of the last try.
            amount_raw = mul_div_up(needed_raw, last.amount_in_raw, last.amount_out_raw)
            found = self._sell(pools, asset, amount_raw)
            if found is None:
                break
            over_raw = found.amount_out_raw - needed_raw
            if over_raw >= 0 and (enough is None or amount_raw < enough.amount_in_raw):
                enough = found
            if 0 <= over_raw * _PRECISION <= needed_raw:
                break
            last = found
        if enough is None:
            raise NoRoute(self.token, self.books.tokens[asset], self.amount_raw)
        return _trimmed(enough, needed_raw)

    def _buy_alone(self, asset: int) -> Split:
        """What the whole amount buys of an asset alone, or the largest part that the pools can take.

        Raises:
            NoRoute: the pools cannot take any of it.
        """
        amount_raw = self.amount_raw
        while amount_raw:
            found = self._sell(self.pools, asset, amount_raw)
            if found is not None:
                return found
            amount_raw //= _PART
        raise NoRoute(self.token, self.books.tokens[asset], self.amount_raw)

    def _sell(self, pools: Sequence[Pool], asset: int, amount_raw: int) -> Split | None:
        """What an amount of the token buys of an asset, None if the pools cannot take it."""
        try:
            return best_split(pools, self.token, self.books.tokens[asset], amount_raw)
        except NoRoute:
            return None


def _affordable(buyer: _Buyer) -> int:
    """The most shares that can be bought for, to one part in `_PRECISION`.

    Raises:
        NoRoute: the pools cannot take that much.
    """
    most = buyer.at_most()
    if most == 0 or not buyer.wanted:
        return most
    while buyer.left_raw(most) >= 0:
        most *= 2  # a split of a part can be better than its part of the split of all
    near = _root(buyer, 0.0, float(most), _HEADROOM)
    # Where the pools run dry before the money does, what they would still give is not worth its price.
    buyer.purchases(int(near * (1 + 2 / _HEADROOM)))
    low, high = near * (1 - 2 / _HEADROOM), near * (1 + 2 / _HEADROOM)
    if not buyer.left_raw(int(low)) > 0 > buyer.left_raw(int(high)):
        low, high = 0.0, float(most)
    # The root is near the edge on either side of it, and the edge may be a step.
    shares, back = int(_root(buyer, low, high, _PRECISION)), 1
    while buyer.left_raw(shares) < 0:
        shares = max(0, shares - back)
        back = max(2 * back, most // _PRECISION)
    return shares


def _root(buyer: _Buyer, low: float, high: float, precision: int) -> float:
    """About the shares that cost just the amount, which lie between these, to one part in `precision`."""
    found = brentq(
        lambda shares: float(buyer.left_raw(int(shares))),
        low,
        high,
        xtol=high / precision,
        rtol=1 / precision,
    )
    return float(found)


def _trimmed(split: Split, needed_raw: int) -> Split:
    """A purchase on one pool, cut to the least that buys as much as needed; others as they are."""
    if len(split.legs) != 1 or split.amount_out_raw < needed_raw:
        return split
    (leg,) = split.legs
    least_raw = leg.pool.quote_out(leg.token_in, leg.token_out, needed_raw)
    out_raw = leg.pool.quote_in(leg.token_in, leg.token_out, least_raw)
    leg = replace(leg, amount_in_raw=least_raw, amount_out_raw=out_raw)
    return replace(split, amount_in_raw=least_raw, amount_out_raw=out_raw, legs=(leg,))


def _exactly(split: Split, needed_raw: int) -> Split:
    """A purchase by amounts out, of exactly what is needed; one through a middle token as it is."""
    if not _is_by_out(split):
        return split
    over_raw = split.amount_out_raw - needed_raw
    largest = max(split.legs, key=lambda leg: leg.amount_out_raw)
    legs = tuple(
        _bought(leg, leg.amount_out_raw - over_raw) if leg is largest else leg for leg in split.legs
    )
    cost_raw = sum(leg.amount_in_raw for leg in legs)
    return replace(split, amount_in_raw=cost_raw, amount_out_raw=needed_raw, legs=legs)


def _bought(leg: Leg, amount_out_raw: int) -> Leg:
    """The same leg by an amount out."""
    amount_in_raw = leg.pool.quote_out(leg.token_in, leg.token_out, amount_out_raw)
    return replace(leg, amount_in_raw=amount_in_raw, amount_out_raw=amount_out_raw)


def _is_by_out(split: Split) -> bool:
    """Whether all of it is bought for the token paid on pools of Uniswap V3, which alone are asked for amounts out."""
    return all(
        isinstance(leg.pool, UniswapV3Pool)
        and leg.token_in == split.token_in
        and leg.token_out == split.token_out
        for leg in split.legs
    )


def _purchase_hops(splits: Sequence[Split]) -> list[Hop]:
    """Purchases one after another. What they leave of the token that is paid is not theirs to spend."""
    found: list[Hop] = []
    for split in splits:
        if _is_by_out(split):
            found += (
                BuyHop(
                    leg.amount_out_raw,
                    leg.token_in,
                    leg.pool.address,
                    zero_for_one=leg.token_in == leg.pool.tokens[0].address,
                    to_caller=True,
                )
                for leg in split.legs
            )
        else:
            sold = iter(split.legs)
            for hop in hops([split]):
                leg = next(sold)
                of_the_paid = hop.token_in == split.token_in
                found.append(replace(hop, amount_in_raw=leg.amount_in_raw) if of_the_paid else hop)
    return found
