"""What should a basket sell and buy, on which pools, and what does that cost?

Pure. In go what each asset may sell and may take, prices, and pools at one block; out comes a
`Plan`, whose expected amounts are what the chain pays to the unit as long as nobody trades in
between, or a `NoPlan` with its reason.

How: of all pairs of an asset still in surplus and one still in deficit, the pair whose trade loses
least against the oracle trades first, on as much as both allow, and leaves the pools as it found
them but for its own trade; and so on until nothing is left. With one surplus or one deficit this
order hardly matters; with several it is the cheapest pair's, not the best of all orders.

A trade is never larger than its buyer's deficit, and never loses more than the vault's slippage
allows: it is made smaller until both hold. A deficit is filled by sales of the same oracle value,
so what trading costs stays missing in the asset that was bought.

Sequences are in basket order, n of them. Amounts are raw units, prices USD per whole token times
1e18, values USD times 1e18. Sold is valued up and at the higher price, bought down and at the
lower, as the vault does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from rebalancer.errors import BadPlanInput, NoRoute
from rebalancer.plan.route import encode
from rebalancer.plan.split import Leg, Split, best_split, hops, pools_after
from rebalancer.policy import (
    Basket,
    deficit_raw,
    minimum_bought_e18,
    surplus_raw,
    to_destination,
    value_down,
    value_up,
    weigh_basket,
)
from rebalancer.pools import Pool
from rebalancer.pools.uniswap_v3_math import PIPS
from rebalancer.reasons import Reason
from rebalancer.units import BPS, E18, div_up

__all__ = ["NoPlan", "Plan", "PlanCost", "PlanInput", "plan_rebalance"]

_SIZE_TRIES = 12
"""Halvings in the search for the largest trade within the slippage: to 1 part in 4,096."""

_HORIZON_SECONDS = 120
"""How long after the block it was made at a plan must still be allowed while targets glide."""

_BUDGET_TRIES = 8
"""Times that all sales are made smaller to fit the loss budget; each overshoots it by far less."""


@dataclass(frozen=True, slots=True)
class PlanInput:
    """What a plan is made of. The sequences hold one entry for each asset of the basket."""

    tokens: tuple[str, ...]
    decimals: tuple[int, ...]
    sales_max_raw: tuple[int, ...]
    """The most that may be sold of each: its surplus, or 0."""
    needs_max_raw: tuple[int, ...]
    """The most that may be bought of each: its deficit, or 0."""
    prices_e18: tuple[int, ...]
    lo_e18: tuple[int, ...]
    hi_e18: tuple[int, ...]
    pools: tuple[Pool, ...]
    slippage_limit_e18: int = E18
    """The part of the value sold that a trade may lose; E18 for no limit but the pools'."""
    min_trades_raw: tuple[int, ...] = ()
    """Least that may be sold or bought of each, if there are such limits."""
    need_max_e18: int | None = None
    """The most value that may be sold in all, at the prices themselves (the need), if limited."""
    sold_max_e18: int | None = None
    """The most value that may be sold in all (what is left of the turnover budget), if limited."""
    loss_max_e18: int | None = None
    """The most value that may be lost in all (what is left of the loss budget), if limited."""
    tolerance_bps: int = 10
    """By how much less than expected may arrive before the whole rebalance reverts."""
    gas_price_wei: int = 0
    native_price_e18: int = 0
    """USD per whole native token; 0 where gas is not to be weighed."""
    gas_per_rebalance: int = 200_000
    gas_per_hop: int = 90_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(token.lower() for token in self.tokens))
        size = len(self.tokens)
        for name in (
            "decimals",
            "sales_max_raw",
            "needs_max_raw",
            "prices_e18",
            "lo_e18",
            "hi_e18",
        ):
            if len(getattr(self, name)) != size:
                raise BadPlanInput(f"{name} has {len(getattr(self, name))} entries, not {size}")
        if len(set(self.tokens)) != size:
            raise BadPlanInput("a token is named twice")
        for i in range(size):
            if self.sales_max_raw[i] < 0 or self.needs_max_raw[i] < 0:
                raise BadPlanInput(f"asset {i} has an amount below 0")
            if self.sales_max_raw[i] and self.needs_max_raw[i]:
                raise BadPlanInput(f"asset {i} is both in surplus and in deficit")
            if not 0 < self.lo_e18[i] <= self.prices_e18[i] <= self.hi_e18[i]:
                raise BadPlanInput(f"asset {i} has no price with lo ≤ price ≤ hi above 0")

    @classmethod
    def of(
        cls,
        basket: Basket,
        pools: Sequence[Pool],
        *,
        slippage_limit_e18: int = E18,
        loss_left_e18: int | None = None,
        turnover_left_e18: int | None = None,
        destination_bps: int = 0,
        tolerance_bps: int = 10,
        gas_price_wei: int = 0,
        native_price_e18: int = 0,
    ) -> PlanInput:
        """The input for a vault's basket. Budgets left are fractions of 1e18 of the basket's value.

        Raises:
            PolicyRefused: the basket cannot be weighed.
        """
        weighed = weigh_basket(basket)
        sales, needs, need_e18 = _limits(basket, destination_bps)

        def part_of_basket(fraction_e18: int | None) -> int | None:
            # The contract rounds a spent fraction up, so the value that fits is rounded down.
            return None if fraction_e18 is None else fraction_e18 * weighed.total_e18 // E18

        return cls(
            tokens=tuple(asset.token for asset in basket.assets),
            decimals=tuple(asset.decimals for asset in basket.assets),
            sales_max_raw=sales,
            needs_max_raw=needs,
            # An excluded asset has no price, and neither surplus nor deficit: any price will do.
            prices_e18=tuple(price or 1 for price in basket.prices_e18),
            lo_e18=tuple(price.lo_e18 or 1 for price in basket.prices),
            hi_e18=tuple(price.hi_e18 or 1 for price in basket.prices),
            min_trades_raw=tuple(basket.min_trades_raw),
            pools=tuple(pools),
            slippage_limit_e18=slippage_limit_e18,
            need_max_e18=need_e18 if destination_bps else None,
            sold_max_e18=part_of_basket(turnover_left_e18),
            loss_max_e18=part_of_basket(loss_left_e18),
            tolerance_bps=tolerance_bps,
            gas_price_wei=gas_price_wei,
            native_price_e18=native_price_e18,
        )

    def sold_e18(self, asset: int, amount_raw: int) -> int:
        """Value of a sale as the vault sees it: at the higher price, rounded up."""
        return value_up(amount_raw, self.hi_e18[asset], 10 ** self.decimals[asset])

    def bought_e18(self, asset: int, amount_raw: int) -> int:
        """Value of a purchase as the vault sees it: at the lower price, rounded down."""
        return value_down(amount_raw, self.lo_e18[asset], 10 ** self.decimals[asset])

    def value_e18(self, asset: int, amount_raw: int) -> int:
        """Value of an amount at the price itself, rounded down."""
        return value_down(amount_raw, self.prices_e18[asset], 10 ** self.decimals[asset])

    @property
    def hop_cost_e18(self) -> int:
        """What the gas of one hop costs in USD, rounded up."""
        return div_up(self.gas_per_hop * self.gas_price_wei * self.native_price_e18, E18)


@dataclass(frozen=True, slots=True)
class PlanCost:
    """Where the value goes, in USD times 1e18; fee + impact is all that is lost against the oracle.

    `impact_e18` is what the trades move the pools' prices by and what those were away from the
    oracle's before; it is negative where the pools pay better than the oracle.
    """

    fee_e18: int
    impact_e18: int
    gas_e18: int

    @property
    def total_e18(self) -> int:
        """All of it."""
        return self.fee_e18 + self.impact_e18 + self.gas_e18


@dataclass(frozen=True, slots=True)
class Plan:
    """What to pass to `BasketVault.rebalance`, what is expected of it, and why."""

    sales_raw: tuple[int, ...]
    min_buys_raw: tuple[int, ...]
    expected_buys_raw: tuple[int, ...]
    route: bytes
    splits: tuple[Split, ...]
    """The trades in order, each with its hops and their exact fills."""
    cost: PlanCost
    text: str
    bound_by: str | None = None
    """The budget that made the trades smaller than the drift asks for: "turnover", "loss", or None."""


@dataclass(frozen=True, slots=True)
class NoPlan:
    """Why there is nothing to be done: `text` is one sentence for people."""

    reason: Reason
    text: str


def plan_rebalance(asked: PlanInput) -> Plan | NoPlan:
    """The trades that bring the basket nearest to its targets for little, within all limits."""
    rest = asked
    while True:
        splits, bound_by = _within_budgets(rest)
        too_small = _too_small(rest, splits)
        if not too_small:
            break
        # Without the assets of which too little would be traded, the others may trade more.
        rest = replace(
            rest,
            sales_max_raw=_without(rest.sales_max_raw, too_small),
            needs_max_raw=_without(rest.needs_max_raw, too_small),
        )
    if splits:
        return _plan(asked, splits, bound_by)
    if rest is not asked:
        return NoPlan(
            Reason.POLICY_REFUSES, "every trade would be below the minimum trade of its asset"
        )
    return _no_plan(asked)


def _too_small(asked: PlanInput, splits: Sequence[Split]) -> set[int]:
    """Assets of which less than their minimum would be sold, or arrive for sure."""
    sold, bought = _totals(asked, splits)
    return {
        i
        for i, least in enumerate(asked.min_trades_raw)
        if 0 < sold[i] < least
        or (bought[i] and bought[i] * (BPS - asked.tolerance_bps) // BPS < least)
    }


def _without(amounts_raw: Sequence[int], assets: set[int]) -> tuple[int, ...]:
    return tuple(0 if i in assets else raw for i, raw in enumerate(amounts_raw))


def _limits(basket: Basket, destination_bps: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The most that may be sold and bought of each asset, and the need in USD times 1e18.

    Now and, with targets that glide, a while later.
    """
    moments = [basket]
    if basket.timestamp < basket.glide_end:
        moments.append(replace(basket, timestamp=basket.timestamp + _HORIZON_SECONDS))
    sales, needs, needs_e18 = [], [], []
    for moment in moments:
        weighed = weigh_basket(moment)
        measured = list(zip(weighed.distances_e18, moment.prices_e18, moment.units, strict=True))
        sales.append([surplus_raw(*one) for one in measured])
        needs.append([deficit_raw(*one) for one in measured])
        _, need_e18 = to_destination(
            *(weighed.distances_e18, weighed.total_e18, moment.bands_e18),
            *(destination_bps, moment.dust_bps),
        )
        needs_e18.append(need_e18)
    return (
        tuple(map(min, zip(*sales, strict=True))),
        tuple(map(min, zip(*needs, strict=True))),
        min(needs_e18),
    )


def _within_budgets(asked: PlanInput) -> tuple[list[Split], str | None]:
    """The trades, with all sales made smaller alike where a budget asks for it, and which one did."""
    bound_by = None
    # Each value is rounded up once more when it is checked, which may add one an asset.
    spare = len(asked.tokens)
    most = asked.need_max_e18
    offered = sum(
        value_up(raw, price, 10**decimals)
        for raw, price, decimals in zip(
            asked.sales_max_raw, asked.prices_e18, asked.decimals, strict=True
        )
    )
    if most is not None and offered > most:
        sales = _scaled(asked.sales_max_raw, max(0, most - spare), offered)
        asked = replace(asked, sales_max_raw=sales)
    most = asked.sold_max_e18
    offered = sum(asked.sold_e18(i, raw) for i, raw in enumerate(asked.sales_max_raw))
    if most is not None and offered > most:
        sales = _scaled(asked.sales_max_raw, max(0, most - spare), offered)
        asked = replace(asked, sales_max_raw=sales)
        bound_by = "turnover"
    for _ in range(_BUDGET_TRIES):
        splits = _trades(asked)
        lost = _lost_e18(asked, splits)
        if asked.loss_max_e18 is None or lost <= asked.loss_max_e18:
            return splits, bound_by
        bound_by = "loss"
        sold = _totals(asked, splits)[0]
        asked = replace(asked, sales_max_raw=_scaled(sold, asked.loss_max_e18, lost))
    return [], bound_by


def _trades(asked: PlanInput) -> list[Split]:
    """Pair after pair, the one that loses least first, until nothing more can be traded.

    A pair trades once: what its first trade leaves, its limits left.
    """
    to_sell, to_buy = list(asked.sales_max_raw), list(asked.needs_max_raw)
    pools: Sequence[Pool] = asked.pools
    pairs = {
        (i, j) for i, sale in enumerate(to_sell) if sale for j, need in enumerate(to_buy) if need
    }
    trades: list[Split] = []
    while pairs:
        found = {
            (i, j): split
            for i, j in sorted(pairs)
            if (split := _trade(asked, pools, i, j, to_sell[i], to_buy[j])) is not None
        }
        if not found:
            break
        i, j = min(found, key=lambda pair: _loss_rate_e18(asked, pair, found[pair]))
        split = found[i, j]
        trades.append(split)
        to_sell[i] -= split.amount_in_raw
        to_buy[j] -= split.amount_out_raw
        pools = pools_after(pools, split.legs)
        pairs = found.keys() - {(i, j)}
    return trades


def _trade(
    asked: PlanInput, pools: Sequence[Pool], i: int, j: int, sale_raw: int, need_raw: int
) -> Split | None:
    """The largest sale of asset i for asset j that all limits allow, or None."""
    units = 10 ** asked.decimals[i], 10 ** asked.decimals[j]
    # {raw i} = {raw j} * {usd/j} * {raw i/i} / ({raw j/j} * {usd/i})
    worth = need_raw * asked.prices_e18[j] * units[0] // (units[1] * asked.prices_e18[i])
    most_raw = min(sale_raw, worth)
    gas_cost_out_raw = asked.hop_cost_e18 * units[1] // asked.prices_e18[j]

    def sell(amount_raw: int) -> Split | None:
        """The best split, None if the pools cannot make it or its loss is above the limit."""
        if amount_raw == 0:
            return None
        try:
            split = best_split(
                pools,
                asked.tokens[i],
                asked.tokens[j],
                amount_raw,
                gas_cost_out_raw=gas_cost_out_raw,
            )
        except NoRoute:
            return None
        least_e18 = minimum_bought_e18(asked.sold_e18(i, amount_raw), asked.slippage_limit_e18)
        bought_e18 = asked.bought_e18(j, split.amount_out_raw)
        return split if split.amount_out_raw and bought_e18 >= least_e18 else None

    found = sell(most_raw) or _largest(sell, most_raw)
    while found is not None and found.amount_out_raw > need_raw:
        # The pools pay better than the oracle. What is left out is what paid least, so the next
        # amount is never too small; it is exact after a few rounds.
        amount_raw = found.amount_in_raw
        found = sell(min(amount_raw - 1, amount_raw * need_raw // found.amount_out_raw))
    return found


def _largest(sell: Callable[[int], Split | None], most_raw: int) -> Split | None:
    """The largest sale below `most_raw` that can be made, by halving: smaller sales lose less."""
    found: Split | None = None
    low, high = 0, most_raw
    for _ in range(_SIZE_TRIES):
        middle = (low + high) // 2
        split = sell(middle)
        if split is None:
            high = middle
        else:
            low, found = middle, split
    return found


def _plan(asked: PlanInput, splits: Sequence[Split], bound_by: str | None) -> Plan:
    sales_raw, buys_raw = _totals(asked, splits)
    min_buys_raw = tuple(
        max(1, raw * (BPS - asked.tolerance_bps) // BPS) if raw else 0 for raw in buys_raw
    )
    cost = _cost(asked, splits, sales_raw, buys_raw)
    return Plan(
        sales_raw,
        min_buys_raw,
        buys_raw,
        encode(hops(splits)),
        tuple(splits),
        cost,
        _sentence(asked, splits, sales_raw, buys_raw, cost),
        bound_by,
    )


def _no_plan(asked: PlanInput) -> NoPlan:
    """Which limit it was: the pools, the budgets, or the slippage."""
    if not any(asked.sales_max_raw) or not any(asked.needs_max_raw):
        return NoPlan(Reason.NO_ROUTE, "nothing is in surplus, or nothing in deficit, to trade for")
    free = replace(asked, sold_max_e18=None, loss_max_e18=None)
    if _trades(free):
        return NoPlan(
            Reason.BUDGET_SPENT,
            "what is left of the turnover or loss budget allows no trade: wait for it to refill",
        )
    if _trades(replace(free, slippage_limit_e18=E18)):
        limit_bps = asked.slippage_limit_e18 * BPS // E18
        return NoPlan(
            Reason.POLICY_REFUSES,
            f"every trade would lose more than the {limit_bps} bps that the vault allows now",
        )
    return NoPlan(
        Reason.NO_ROUTE,
        "no known pool leads from what is in surplus to what is in deficit, or it is too little to "
        "buy a raw unit",
    )


def _scaled(amounts_raw: Sequence[int], part: int, whole: int) -> tuple[int, ...]:
    """All amounts times part / whole, rounded down."""
    return tuple(raw * part // whole for raw in amounts_raw)


def _totals(asked: PlanInput, splits: Sequence[Split]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Raw units sold and bought of each asset."""
    sold = dict.fromkeys(asked.tokens, 0)
    bought = dict(sold)
    for split in splits:
        sold[split.token_in] += split.amount_in_raw
        bought[split.token_out] += split.amount_out_raw
    return tuple(sold.values()), tuple(bought.values())


def _lost_e18(asked: PlanInput, splits: Sequence[Split]) -> int:
    """What the vault will call the loss: sold at the higher prices less bought at the lower."""
    sales_raw, buys_raw = _totals(asked, splits)
    sold_e18 = sum(asked.sold_e18(i, raw) for i, raw in enumerate(sales_raw))
    bought_e18 = sum(asked.bought_e18(j, raw) for j, raw in enumerate(buys_raw))
    return max(0, sold_e18 - bought_e18)


def _loss_rate_e18(asked: PlanInput, pair: tuple[int, int], split: Split) -> int:
    """The part of a trade's value that it loses, as a fraction of 1e18; below 0 if it gains."""
    sold_e18 = asked.sold_e18(pair[0], split.amount_in_raw)
    return (sold_e18 - asked.bought_e18(pair[1], split.amount_out_raw)) * E18 // sold_e18


def _cost(
    asked: PlanInput, splits: Sequence[Split], sales_raw: Sequence[int], buys_raw: Sequence[int]
) -> PlanCost:
    legs = [leg for split in splits for leg in split.legs]
    fee_e18 = sum(_fee_e18(asked, leg) for leg in legs)
    sold_e18 = sum(asked.value_e18(i, raw) for i, raw in enumerate(sales_raw))
    bought_e18 = sum(asked.value_e18(j, raw) for j, raw in enumerate(buys_raw))
    gas = asked.gas_per_rebalance + asked.gas_per_hop * len(legs)
    gas_e18 = div_up(gas * asked.gas_price_wei * asked.native_price_e18, E18)
    return PlanCost(fee_e18, sold_e18 - bought_e18 - fee_e18, gas_e18)


def _fee_e18(asked: PlanInput, leg: Leg) -> int:
    """What a pool keeps of its input, in USD times 1e18, rounded down.

    A middle token may have no price here; its fee is then the part of what the input bought.
    """
    if leg.token_in in asked.tokens:
        paid_e18 = asked.value_e18(asked.tokens.index(leg.token_in), leg.amount_in_raw)
        return paid_e18 * leg.pool.fee_pips // PIPS
    got_e18 = asked.value_e18(asked.tokens.index(leg.token_out), leg.amount_out_raw)
    return got_e18 * leg.pool.fee_pips // (PIPS - leg.pool.fee_pips)


def _sentence(
    asked: PlanInput,
    splits: Sequence[Split],
    sales_raw: Sequence[int],
    buys_raw: Sequence[int],
    cost: PlanCost,
) -> str:
    symbols = {token.address: token.symbol for pool in asked.pools for token in pool.tokens}

    def listed(amounts_raw: Sequence[int]) -> str:
        return " and ".join(
            f"{_number(raw, asked.decimals[i])} {symbols[asked.tokens[i]]}"
            for i, raw in enumerate(amounts_raw)
            if raw
        )

    swaps = sum(len(split.legs) for split in splits)
    return (
        f"sell {listed(sales_raw)} for {listed(buys_raw)} in {swaps} swap{'s' * (swaps > 1)}, at "
        f"a cost of {_dollars(cost.total_e18)}: {_dollars(cost.fee_e18)} fees, "
        f"{_dollars(cost.impact_e18)} price, {_dollars(cost.gas_e18)} gas"
    )


def _dollars(usd_e18: int) -> str:
    """A value for people, in cents."""
    return f"{'-' * (usd_e18 < 0)}${_number(abs(usd_e18), 18, 2)}"


def _number(raw: int, decimals: int, places: int = 6) -> str:
    """An amount for people, to at most that many places."""
    return f"{Decimal(raw).scaleb(-decimals):,.{places}f}"
