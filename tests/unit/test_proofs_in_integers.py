"""The claims of tests/proofs in integers: `rebalancer/settlement.py`, which equals the contract to the unit, against exact fractions.

The proofs are over the reals with an argument for what rounding adds; here the argument is tried on random whole rebalances.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from rebalancer import policy
from rebalancer.errors import PolicyRefused
from rebalancer.settlement import Basket, Policy, Settlement, State, settle, weigh_basket
from rebalancer.units import BPS, E18
from tests.baskets import Trade, fill_of, lent_by, moved, random_basket, random_policy, random_trade

NOW = 1_700_000_000
ANY_RANDOM = st.randoms(use_true_random=True)  # too many draws for hypothesis to hold each


@given(ANY_RANDOM)
def test_d_true_loss_is_within_slippage_if_either_source_of_each_asset_is_right(
    rng: Random,
) -> None:
    """loss_bound.py: exact loss <= slippage * value sold, nothing added, whichever source is right of each asset."""
    _, _, basket, _, settled = _settled(rng)
    true = [Fraction(rng.choice((price.lo_e18, price.hi_e18))) for price in basket.prices]

    loss = _worth(settled, basket, true)

    assert loss * E18 <= settled.sold_e18 * settled.slippage_limit_e18


@given(ANY_RANDOM)
def test_b_true_loss_is_within_what_is_measured_and_twice_the_oracles_error(rng: Random) -> None:
    """loss_bound.py: with prices wrong by a part e, true loss <= measured loss + 2 * e * value sold."""
    _, _, basket, trade, settled = _settled(rng)
    error = Fraction(rng.randint(0, 100), 100)
    true = []
    for i, price in enumerate(basket.prices):
        message = price.hi_e18 if trade.sales[i] else price.lo_e18
        true.append(message * (1 + rng.choice((-1, 1)) * error))

    loss = _worth(settled, basket, true)

    assert loss <= settled.loss_e18 + 2 * error * settled.sold_e18


@given(ANY_RANDOM)
def test_b_a_window_lets_through_no_more_than_its_closed_form(rng: Random) -> None:
    """bucket_window.py: what is spent of both buckets in any window is at most budget * (1 + W / P), in exact fractions."""
    rules = random_policy(rng)
    for budget_bps, period, spend in (
        (rules.loss_budget_bps, rules.loss_period_seconds, policy.spend_loss),
        (rules.turnover_budget_bps, rules.turnover_period_seconds, policy.spend_turnover),
    ):
        level = rng.randint(0, budget_bps * 10**14)
        spent, window = Fraction(0), 0
        for i in range(30):
            gap = rng.choice((0, 1, 12, rng.randint(1, 2 * period)))
            window += gap if i else 0  # it opens with the first trade
            level = policy.leak(level, budget_bps, period, gap)
            total = rng.randint(1, 1 << rng.randint(1, 112))
            want = total * rng.randint(0, budget_bps) // BPS
            try:
                level = spend(level, want, total, budget_bps)
            except PolicyRefused:
                continue
            spent += Fraction(want, total)
            assert spent <= Fraction(budget_bps, BPS) * (1 + Fraction(window, period))


@given(ANY_RANDOM)
def test_c_a_rebalance_shrinks_the_distance_by_the_least_progress_or_ends_within_dust(
    rng: Random,
) -> None:
    """convergence.py: E'/V' <= (1 - minProgress) * E/V exactly, with the integers' own E, to the destination, and V."""
    rules, _, basket, _, settled = _settled(rng)
    bands = basket.at(NOW, rules.dust_bps).bands_e18
    before, after = (
        Fraction(
            policy.to_destination(
                *(weighed.distances_e18, weighed.total_e18, bands),
                *(rules.destination_bps, rules.dust_bps),
            )[0],
            weighed.total_e18,
        )
        for weighed in (settled.before, settled.after)
    )

    shrunk = after <= (1 - Fraction(rules.min_progress_bps, BPS)) * before

    assert shrunk or after <= Fraction(rules.dust_bps, BPS)


@given(ANY_RANDOM)
def test_c_distances_in_integers_are_within_two_units_an_asset_of_the_exact_ones(
    rng: Random,
) -> None:
    """convergence.py: |E - exact E| < 2 * n."""
    basket = random_basket(rng)
    try:
        weighed = weigh_basket(basket)
    except PolicyRefused:
        return
    values = [Fraction(h * p, u) for h, p, u in zip(basket.held, basket.prices_e18, basket.units, strict=True)]
    total = sum(values)

    exact = Fraction(0)
    for value, asset in zip(values, basket.assets, strict=True):
        exact += abs(value - Fraction(asset.target_e18, E18) * total)

    assert abs(weighed.distance_e18 - exact) < 2 * len(values)


@given(ANY_RANDOM)
def test_f_what_passes_after_a_tightening_passed_before(rng: Random) -> None:
    """tightening.py: whatever settles under the tighter policy, at carried levels, settles under the one before it."""
    for _ in range(200):
        rules = random_policy(rng)
        tight = _tighter(rng, rules)
        basket = moved(rng, random_basket(rng, rules.dust_bps))
        last = NOW - rng.randint(1, 1_000_000)
        changed = rng.randint(last, NOW)
        before = State(
            loss_level_e18=rng.randint(0, rules.loss_budget_bps * 10**14),
            turnover_level_e18=rng.randint(0, rules.turnover_budget_bps * 10**14),
            rebalanced_at=last,
            due_since=rng.choice((0, rng.randint(last, changed))),
        )
        after = _carried(rng, before, rules, tight, changed - last)
        try:
            trade = random_trade(rng, tight, after, basket, weigh_basket(basket), NOW)
            settled = _settle(tight, after, basket, trade)
        except PolicyRefused:
            continue

        # The looser policy may lend more of what is asked; the same trade is what the tighter one lent.
        lent = lent_by(tight, after, basket, trade, NOW)
        is_lowered = tuple(lent) != tuple(trade.sales)
        least = [min(buy, 1) for buy in trade.min_buys] if is_lowered else trade.min_buys
        was = _settle(rules, before, basket, replace(trade, sales=lent, min_buys=tuple(least)))

        assert settled.held == was.held
        assert settled.state.loss_level_e18 >= was.state.loss_level_e18
        assert settled.state.turnover_level_e18 >= was.state.turnover_level_e18
        return
    raise AssertionError("none of two hundred random rebalances passes")


@given(ANY_RANDOM)
def test_f_a_carried_level_never_reads_lower_than_it_would_have(rng: Random) -> None:
    """tightening.py: at no later moment, where the new rate is no faster. Rates hardly apart are where rounding shows."""
    budget, period = rng.choice(((rng.randint(1, 9), 2**32 - 9), (20_000, rng.randint(3_600, 10**7))))
    smaller = budget - rng.choice((0, 0, 0, rng.randint(0, budget)))
    longer = period + rng.choice((1, rng.randint(0, 8), rng.randint(0, period)))
    elapsed, gap = rng.randint(0, 10_000), rng.choice((rng.randint(0, 20), rng.randint(0, period)))
    # Of the order of what drains, so that something is left and little enough to be read.
    level = rng.randint(0, 2 * budget * 10**14 * (elapsed + gap) // period + 2)

    carried = policy.carry_level(level, budget, period, smaller, longer, elapsed)

    read = policy.leak(carried, smaller, longer, elapsed + gap)
    assert read >= policy.leak(level, budget, period, elapsed + gap)
    assert policy.leak(carried, smaller, longer, elapsed) <= 1 + policy.leak(level, budget, period, elapsed)


@given(ANY_RANDOM)
def test_scaled_sales_are_worth_no_more_than_need_and_turnover_allow(rng: Random) -> None:
    """rounding.py: what the lens offers passes P1's need and P6, each value rounded up."""
    basket = random_basket(rng)
    try:
        weighed = weigh_basket(basket)
    except PolicyRefused:
        return
    surpluses = [
        policy.surplus_raw(d, p, u)
        for d, p, u in zip(weighed.distances_e18, basket.prices_e18, basket.units, strict=True)
    ]
    his = [price.hi_e18 for price in basket.prices]
    need, left = rng.randint(0, weighed.total_e18), rng.randint(0, 2 * E18)

    sales = policy.allowed_sales(
        *(surpluses, basket.prices_e18, his, basket.units, [0] * len(his)),
        *(need, left, weighed.total_e18),
    )

    worth = map(policy.value_up, sales, basket.prices_e18, basket.units)
    assert sum(worth) <= need
    sold = sum(policy.value_up(s, p, u) for s, p, u in zip(sales, his, basket.units, strict=True))
    assert sold <= left * weighed.total_e18 // E18
    assert all(sale <= most for sale, most in zip(sales, surpluses, strict=True))


def _worth(settled: Settlement, basket: Basket, prices_e18: list[Fraction]) -> Fraction:
    """Exact value sold less exact value booked as bought, at these prices, in USD times 1e18."""
    gone = [before - after for before, after in zip(basket.held, settled.held, strict=True)]
    return sum(
        (raw * price / unit for raw, price, unit in zip(gone, prices_e18, basket.units, strict=True)),
        Fraction(0),
    )


def _tighter(rng: Random, rules: Policy) -> Policy:
    """Any policy that ConfigStore.tightenPolicy accepts in place of this one."""

    def least(value: int) -> int:
        return value - rng.choice((0, 0, 0, rng.randint(0, value // 10), rng.randint(0, value)))

    def most(value: int, top: int) -> int:
        return value + rng.choice((0, 0, 0, rng.randint(0, (top - value) // 10)))

    highest = least(rules.max_slippage_bps)
    return replace(
        rules,
        start_slippage_bps=least(min(rules.start_slippage_bps, highest)),
        max_slippage_bps=highest,
        slippage_ramp_seconds=most(rules.slippage_ramp_seconds, 100_000),
        min_progress_bps=most(rules.min_progress_bps, BPS),
        cooldown_seconds=most(rules.cooldown_seconds, 100_000),
        loss_budget_bps=least(rules.loss_budget_bps),
        loss_period_seconds=most(rules.loss_period_seconds, 2**32 - 1),
        turnover_budget_bps=least(rules.turnover_budget_bps),
        turnover_period_seconds=most(rules.turnover_period_seconds, 2**32 - 1),
        calendar_seconds=rng.choice((rules.calendar_seconds, 0)),
        open_after_seconds=rng.choice((most(rules.open_after_seconds, 2**32 - 1), 0))
        if rules.open_after_seconds
        else 0,
    )


def _carried(rng: Random, state: State, old: Policy, new: Policy, elapsed: int) -> State:
    """What a tightening makes of a state: levels are carried, and since when it is due may be forgotten."""
    return replace(
        state,
        loss_level_e18=policy.carry_level(
            *(state.loss_level_e18, old.loss_budget_bps, old.loss_period_seconds),
            *(new.loss_budget_bps, new.loss_period_seconds, elapsed),
        ),
        turnover_level_e18=policy.carry_level(
            *(state.turnover_level_e18, old.turnover_budget_bps, old.turnover_period_seconds),
            *(new.turnover_budget_bps, new.turnover_period_seconds, elapsed),
        ),
        due_since=rng.choice((0, state.due_since)),
    )


def _settle(rules: Policy, state: State, basket: Basket, trade: Trade) -> Settlement:
    return settle(
        *(rules, state, basket, fill_of(rules, state, basket, trade, NOW), trade.min_buys, NOW),
        epoch=state.epoch,
        sales=trade.sales,
    )


def _settled(rng: Random) -> tuple[Policy, State, Basket, Trade, Settlement]:
    """The first of some random rebalances that passes."""
    for _ in range(100):
        rules = random_policy(rng)
        basket = moved(rng, random_basket(rng, rules.dust_bps))
        state = State(due_since=rng.choice((0, NOW - 500)), epoch=rng.randint(0, 5))
        try:
            trade = random_trade(rng, rules, state, basket, weigh_basket(basket), NOW)
            settled = _settle(rules, state, basket, trade)
        except PolicyRefused:
            continue
        return rules, state, basket, trade, settled
    raise AssertionError("none of a hundred random rebalances passes")
