"""`settle` against the rule stated a second time, in fractions and without a short cut.

Random rebalances, and then the brinks between two outcomes: along a line of cases that differ in one number only, the two neighbours
at which the outcome changes. A limit that is off by one unit, either way, has its brink elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from random import Random

from rebalancer.errors import PolicyRefused
from rebalancer.policy import MAX_HELD_RAW, MAX_TOTAL_E18
from rebalancer.settlement import Asset, Basket, Fill, Policy, State, settle, weigh_basket
from rebalancer.units import BPS, E18
from tests.baskets import Trade, moved, random_basket, random_policy, random_trade

NOW = 1_700_000_000

Refusal = tuple[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class Case:
    """What `settle` is asked."""

    policy: Policy
    state: State
    basket: Basket
    fill: Fill
    min_buys: tuple[int, ...]
    sales: tuple[int, ...]
    timestamp: int = NOW
    epoch: int = 0


@dataclass(frozen=True)
class Settled:
    """What comes of it where it is allowed."""

    held: tuple[int, ...]
    state: State
    distances_before_e18: tuple[int, ...]
    distances_after_e18: tuple[int, ...]
    totals_e18: tuple[int, int]
    broken_before: int | None
    sold_e18: int
    bought_e18: int
    loss_e18: int
    slippage_limit_e18: int


def answer(case: Case) -> Settled | Refusal:
    """What the policy says."""
    try:
        done = settle(
            *(case.policy, case.state, case.basket, case.fill, case.min_buys, case.timestamp),
            epoch=case.epoch,
            sales=case.sales,
        )
    except PolicyRefused as refusal:
        return refusal.error, refusal.numbers
    before, after = done.before, done.after
    assert before.distance_e18 == sum(map(abs, before.distances_e18))
    return Settled(
        done.held,
        done.state,
        before.distances_e18,
        after.distances_e18,
        (before.total_e18, after.total_e18),
        before.broken,
        done.sold_e18,
        done.bought_e18,
        done.loss_e18,
        done.slippage_limit_e18,
    )


def stated(case: Case) -> Settled | Refusal:
    """What it must say."""
    rules, state = case.policy, case.state
    if state.paused:
        return "RebalanceIsPaused", ()
    if case.epoch != state.epoch:
        return "WrongEpoch", (case.epoch, state.epoch)
    if case.timestamp - state.rebalanced_at < rules.cooldown_seconds:
        return "CooldownActive", (state.rebalanced_at + rules.cooldown_seconds,)
    book = Book(case)
    for i, asset in enumerate(case.basket.assets):
        if not asset.excluded and case.basket.prices[i].fault != "None":
            return "OracleFault", (i, case.basket.prices[i].fault)
    return (
        book.weighed(case.basket.held)
        or book.not_due()
        or book.not_lent()
        or book.not_booked()
        or book.too_poor()
        or book.too_far()
        or book.over_budget()
        or book.settled()
    )


class Book:
    """One rebalance, step by step; each step says why it is refused, or nothing."""

    def __init__(self, case: Case) -> None:
        self.case, self.rules, self.state = case, case.policy, case.state
        self.n = range(len(case.basket.assets))
        basket = case.basket
        glide = (basket.glide_start, basket.glide_end)
        walked = Fraction(1) if case.timestamp >= glide[1] else Fraction(0)
        if glide[0] < case.timestamp < glide[1]:
            walked = Fraction(case.timestamp - glide[0], glide[1] - glide[0])
        ends = [(asset.start_target_e18, asset.target_e18) for asset in basket.assets]
        self.targets = [Fraction(floor(start + (end - start) * walked), E18) for start, end in ends]
        self.bands = [self.band(a, t) for a, t in zip(basket.assets, self.targets, strict=True)]
        self.units = [10**asset.decimals for asset in basket.assets]
        sound = [not asset.excluded for asset in basket.assets]
        #  USD times 1e18 for the smallest unit of each asset.
        self.price, self.high, self.low = (
            [Fraction(kept and number, unit) for number, kept, unit in zip(prices, known, self.units, strict=True)]
            for prices, known in (
                ([p.primary_e18 for p in basket.prices], sound),
                ([p.hi_e18 for p in basket.prices], [True] * len(sound)),
                ([p.lo_e18 for p in basket.prices], [True] * len(sound)),
            )
        )

    def band(self, asset: Asset, target: Fraction) -> Fraction:
        narrow = Fraction(asset.relative_band_bps, BPS) * floor(target * E18)
        least = Fraction(self.rules.dust_bps + 1, BPS)
        absolute = Fraction(asset.band_bps, BPS)
        relative = max(Fraction(floor(narrow), E18), least)
        return min(absolute, relative) if asset.relative_band_bps else absolute

    def weigh(self, held: Sequence[int]) -> tuple[list[int], int]:
        """Distances from the targets, and the total."""
        values = [floor(held[i] * self.price[i]) for i in self.n]
        return [values[i] - floor(self.targets[i] * sum(values)) for i in self.n], sum(values)

    def weighed(self, held: Sequence[int]) -> Refusal | None:
        for i in self.n:
            if (value := floor(held[i] * self.price[i])) > MAX_TOTAL_E18:
                return "TotalOutOfRange", (value, MAX_TOTAL_E18)
        self.before, self.total = self.weigh(held)
        if not 0 < self.total <= MAX_TOTAL_E18:
            return "TotalOutOfRange", (self.total, MAX_TOTAL_E18)
        return None

    def outside(self, distances: Sequence[int], total: int) -> list[int]:
        """How far each is from its destination: how far from the target, less a part of the band."""
        part = Fraction(self.rules.destination_bps, BPS)
        return [max(0, abs(distances[i]) - floor(part * self.bands[i] * total)) for i in self.n]

    def broken(self, distances: Sequence[int], total: int) -> list[int]:
        return [i for i in self.n if Fraction(abs(distances[i]), total) > self.bands[i]]

    def not_due(self) -> Refusal | None:
        period, now = self.rules.calendar_seconds, self.case.timestamp
        new = period and self.state.rebalanced_at // period < now // period
        more_than_dust = Fraction(sum(map(abs, self.before)), self.total) > Fraction(self.rules.dust_bps, BPS)
        due = self.broken(self.before, self.total) or (new and more_than_dust)
        return None if due else ("NoBandBroken", ())

    def left(self, level_e18: int, budget_bps: int, period: int) -> int:
        """What has not drained of a level."""
        drained = floor(
            Fraction(self.case.timestamp - self.state.rebalanced_at, period) * Fraction(budget_bps, BPS) * E18
        )
        return max(0, level_e18 - drained)

    def not_lent(self) -> Refusal | None:
        """What is lent: what is asked for, or less, and what then must come back at least."""
        requested, buys, rules = self.case.sales, self.case.min_buys, self.rules
        for i in self.n:
            if requested[i] and self.before[i] <= 0:
                return "SaleWithoutSurplus", (i,)
            if buys[i] and self.before[i] >= 0:
                return "BuyWithoutDeficit", (i,)
        budget = floor(Fraction(rules.turnover_budget_bps, BPS) * E18)
        self.turned = self.left(
            *(self.state.turnover_level_e18, rules.turnover_budget_bps),
            rules.turnover_period_seconds,
        )
        if self.turned >= budget:
            return "TurnoverBudgetExceeded", (self.turned, budget)
        lent = [min(requested[i], floor(self.before[i] / self.price[i])) if requested[i] else 0 for i in self.n]
        if rules.destination_bps:
            off = self.outside(self.before, self.total)
            sides = [sum(off[i] for i in self.n if (self.before[i] > 0) == up) for up in (True, False)]
            lent = self.scaled(lent, self.price, max(sides) + floor(Fraction(rules.dust_bps, BPS) * self.total))
        lent = self.scaled(lent, self.high, floor(Fraction(budget - self.turned, E18) * self.total))
        self.lent, self.buys, self.floor_e18 = lent, list(buys), 0
        if lent != list(requested):
            self.buys = [min(buy, 1) for buy in buys]
            self.floor_e18 = sum(floor(min(buys[i], MAX_HELD_RAW) * self.low[i]) for i in self.n)
            whole = sum(ceil(min(requested[i], MAX_HELD_RAW) * self.high[i]) for i in self.n)
            if whole and self.floor_e18 <= MAX_TOTAL_E18:
                part = sum(ceil(lent[i] * self.high[i]) for i in self.n)
                self.floor_e18 = floor(Fraction(part, whole) * self.floor_e18)
        for i in self.n:
            if buys[i] and self.case.basket.barred and self.case.basket.barred[i]:
                return "PurchaseBarred", (i,)
        return None

    def scaled(self, amounts: list[int], prices: Sequence[Fraction], limit: int) -> list[int]:
        worth = sum(ceil(amounts[i] * prices[i]) for i in self.n)
        if worth <= limit:
            return amounts
        return [floor(amounts[i] * Fraction(max(0, limit - len(amounts)), worth)) for i in self.n]

    def not_booked(self) -> Refusal | None:
        fill, held = self.case.fill, list(self.case.basket.held)
        self.sold = self.bought = 0
        for i in self.n:
            traded = 0
            if self.lent[i]:
                traded = min(fill.sold[i], self.lent[i])
                held[i] -= traded
                self.sold += ceil(traded * self.high[i])
            elif self.buys[i]:
                traded = fill.bought[i]
                if traded < self.buys[i]:
                    return "BoughtTooLittle", (i, traded, self.buys[i])
                held[i] += traded
                self.bought += floor(traded * self.low[i])
            least = self.case.basket.assets[i].min_trade_raw
            if traded and traded < least:
                return "TradeTooSmall", (i, traded, least)
            if held[i] >= 1 << 120:
                return "HoldingTooLarge", (i, held[i], (1 << 120) - 1)
        self.held = tuple(held)
        return None if self.sold else ("NothingSold", ())

    def too_poor(self) -> Refusal | None:
        rules, since = self.rules, self.state.due_since
        waited = Fraction(self.case.timestamp - since, rules.slippage_ramp_seconds) if since else Fraction(0)
        climb = (rules.max_slippage_bps - rules.start_slippage_bps) * min(Fraction(1), waited)
        self.limit = floor(Fraction(rules.start_slippage_bps + climb, BPS) * E18)
        for least in (self.floor_e18, ceil(self.sold * (1 - Fraction(self.limit, E18)))):
            if self.bought < least:
                return "PriceTooPoor", (self.bought, least)
        return None

    def too_far(self) -> Refusal | None:
        start, before = self.total, self.before
        if refusal := self.weighed(self.held):
            return refusal
        (self.before, self.total), rules = (before, start), self.rules
        self.after, self.end = self.weigh(self.held)
        dust = floor(Fraction(rules.dust_bps, BPS) * self.end)
        for i, (was, now) in enumerate(zip(before, self.after, strict=True)):
            across = (was > 0 > now) or (was < 0 < now)
            if (across and abs(now) > dust) or abs(now) - abs(was) > dust:
                return "AwayFromTarget", (i, was, now, dust)
        if rules.destination_bps:
            far, rest = sum(self.outside(before, start)), sum(self.outside(self.after, self.end))
        else:
            far, rest = sum(map(abs, before)), sum(map(abs, self.after))
        near = Fraction(rest, self.end) <= Fraction(rules.dust_bps, BPS)
        if near or Fraction(rest, self.end) <= (1 - Fraction(rules.min_progress_bps, BPS)) * Fraction(far, start):
            return None
        return "TooLittleProgress", (far, start, rest, self.end)

    def over_budget(self) -> Refusal | None:
        rules, loss = self.rules, max(0, self.sold - self.bought)
        self.lost = ceil(Fraction(loss, self.total) * E18) + self.left(
            self.state.loss_level_e18, rules.loss_budget_bps, rules.loss_period_seconds
        )
        self.turned += ceil(Fraction(self.sold, self.total) * E18)
        for name, level, bps in (
            ("LossBudgetExceeded", self.lost, rules.loss_budget_bps),
            ("TurnoverBudgetExceeded", self.turned, rules.turnover_budget_bps),
        ):
            if level > Fraction(bps, BPS) * E18:
                return name, (level, floor(Fraction(bps, BPS) * E18))
        return None

    def settled(self) -> Settled:
        now, state = self.case.timestamp, self.state
        since = (state.due_since or now) if self.broken(self.after, self.end) else 0
        broken = self.broken(self.before, self.total)
        return Settled(
            self.held,
            State(self.lost, self.turned, now, since, state.epoch + 1, False),
            tuple(self.before),
            tuple(self.after),
            (self.total, self.end),
            broken[0] if broken else None,
            self.sold,
            self.bought,
            max(0, self.sold - self.bought),
            self.limit,
        )


# Any case


def random_case(rng: Random) -> Case:
    """Around what is allowed: with glides, a calendar, assets excluded or barred, and budgets partly used."""
    rules = random_policy(rng)
    basket = moved(rng, random_basket(rng, rules.dust_bps))
    if rng.random() < 0.3:
        rules = replace(
            rules,
            calendar_seconds=rng.choice((3_600, 86_400, NOW)),
            dust_bps=rng.choice((1, 100)),
        )
        basket = replace(basket, assets=tuple(replace(asset, band_bps=10_000) for asset in basket.assets))
    if rng.random() < 0.3:
        start, end = NOW - rng.choice((-1, 0, 1, 500)), NOW + rng.choice((0, 1, 999))
        targets = [asset.target_e18 for asset in basket.assets]
        olds = targets[1:] + targets[:1]
        assets = zip(basket.assets, olds, strict=True)
        glided = tuple(replace(asset, start_target_e18=old) for asset, old in assets)
        basket = replace(basket, assets=glided, glide_start=start, glide_end=end)
    if rng.random() < 0.2:
        chosen = [rng.random() < 0.2 for _ in basket.assets]
        if rng.random() < 0.5:
            basket = replace(basket, barred=tuple(chosen))
        else:
            assets_ = zip(basket.assets, chosen, strict=True)
            out = tuple(replace(a, excluded=not a.target_e18 and b) for a, b in assets_)
            basket = replace(basket, assets=out)
    state = State(
        loss_level_e18=rng.choice((0, 0, rng.randint(0, rules.loss_budget_bps * 10**14))),
        turnover_level_e18=rng.choice((0, 0, rng.randint(0, rules.turnover_budget_bps * 10**14))),
        rebalanced_at=rng.choice((0, NOW - rng.randint(0, 100_000), NOW - rules.cooldown_seconds)),
        due_since=rng.choice((0, NOW, NOW - rng.randint(0, 12_000))),
        epoch=rng.randint(0, 3),
        paused=rng.random() < 0.01,
    )
    epoch = state.epoch + (rng.random() < 0.01)
    none = tuple(0 for _ in basket.assets)
    trade = Trade(none, none, none)
    try:
        seen = basket.at(NOW, rules.dust_bps)
        trade = random_trade(rng, rules, state, seen, weigh_basket(seen), NOW)
    except PolicyRefused:
        pass
    # The policy cuts what is said to be sold to what it lends.
    case = Case(rules, state, basket, trade.fill(), trade.min_buys, trade.sales, NOW, epoch)
    if rng.random() < 0.1:
        # More than any ledger holds is asked for, on either side.
        more = rng.choice((0, 130))
        sales, buys = (
            tuple(amount << bits for amount in amounts)
            for amounts, bits in ((case.sales, 130 - more), (case.min_buys, more))
        )
        case = replace(case, sales=sales, min_buys=buys)
    return case


def test_settle_says_what_is_stated() -> None:
    rng, seen = Random(41), Counter[str]()
    for _ in range(1_500):
        case = random_case(rng)
        message = answer(case)
        seen[kind(message)] += 1
        assert message == stated(case)
    assert len(seen) > 14, seen
    assert min(seen["settled"], seen["home"]) > 100, seen


def kind(message: Settled | Refusal) -> str:
    """Which check refuses it; of what is allowed, whether it is home."""
    if isinstance(message, tuple):
        return message[0]
    return "settled" if message.state.due_since else "home"


# Brinks


def lines(case: Case, rng: Random) -> Iterator[tuple[str, Callable[[int], Case], int]]:
    """Cases from 0 to a number that differ from this one in that number."""
    basket, rules, state, fill = case.basket, case.policy, case.state, case.fill
    one = 1 << 40

    def given(k: int) -> Case:
        bought = tuple(amount * k >> 40 for amount in fill.bought)
        return replace(case, fill=replace(fill, bought=bought), min_buys=tuple(map(min, case.min_buys, bought)))

    def sold(k: int) -> Case:
        return replace(case, fill=replace(fill, sold=tuple(sale * k >> 40 for sale in fill.sold)))

    def requested(k: int) -> Case:
        return replace(case, sales=tuple(sale * k >> 40 for sale in case.sales))

    yield "given", given, 2 * one
    yield "sold", sold, one
    yield "asked", requested, 2 * one
    most = max(range(len(basket.held)), key=lambda i: case.sales[i])
    held = basket.held[most]
    yield (
        "held",
        lambda k: replace(case, basket=replace(basket, held=(*basket.held[:most], k, *basket.held[most + 1 :]))),
        min(2 * held, MAX_HELD_RAW),
    )
    yield (
        "lost before",
        lambda k: replace(case, state=replace(state, loss_level_e18=k)),
        rules.loss_budget_bps * 10**14,
    )
    yield (
        "turned before",
        lambda k: replace(case, state=replace(state, turnover_level_e18=k)),
        2 * rules.turnover_budget_bps * 10**14,
    )
    yield (
        "time",
        lambda k: replace(case, timestamp=state.rebalanced_at + k),
        max(1, 2 * (NOW - state.rebalanced_at)),
    )
    at = rng.randrange(len(basket.assets))
    yield (
        "minimum trade",
        lambda k: replace(
            case,
            basket=replace(
                basket,
                assets=tuple(replace(a, min_trade_raw=k) if i == at else a for i, a in enumerate(basket.assets)),
            ),
        ),
        max(*case.sales, *fill.bought, 1),
    )


def brink(make: Callable[[int], Case], low: int, high: int) -> tuple[int, int] | None:
    """Two neighbours between which the outcome changes."""
    first, last = kind(answer(make(low))), kind(answer(make(high)))
    if first == last:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if kind(answer(make(middle))) == first:
            low = middle
        else:
            high = middle
    return low, high


def test_every_limit_of_settle_is_where_it_is_stated() -> None:
    rng, seen = Random(43), Counter[str]()
    for _ in range(60):
        case = random_case(rng)
        while kind(answer(case)) not in {"settled", "home", "NoBandBroken", "TooLittleProgress"}:
            case = random_case(rng)
        for name, make, high in lines(case, rng):
            middle = rng.randint(0, high)
            for ends in ((0, middle), (middle, high)):
                if not (between := brink(make, *ends)):
                    continue
                message = [answer(make(k)) for k in between]
                seen[f"{kind(message[0])} {kind(message[1])}"] += 1
                assert message == [stated(make(k)) for k in between], (name, between)
    assert len(seen) > 20, seen
