"""What is said of minimum trades, held against the policy itself: what is called too large is never traded inside a band."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from rebalancer.errors import PolicyRefused
from rebalancer.operations.minimums import large_minimums, most_traded_raw
from rebalancer.settlement import Asset, Basket, Policy, Price, State, settle, weigh_basket
from rebalancer.units import E18
from tests.baskets import fill_of, moved, random_basket, random_policy, random_trade

NOW = 1_700_000_000
ROUNDS = 3_000


def test_no_rebalance_trades_more_of_an_asset_inside_its_band_than_is_said() -> None:
    rng, seen = Random(23), Counter[str]()
    for _ in range(ROUNDS):
        policy = replace(random_policy(rng), cooldown_seconds=0)
        basket = moved(rng, random_basket(rng, policy.dust_bps)).at(NOW, policy.dust_bps)
        assets = tuple(replace(asset, min_trade_raw=0) for asset in basket.assets)
        basket, state = replace(basket, assets=assets), State(due_since=NOW - 5_000)
        try:
            weighed = weigh_basket(basket)
            trade = random_trade(rng, policy, state, basket, weighed, NOW)
            fill = fill_of(policy, state, basket, trade, NOW)
            done = settle(*(policy, state, basket, fill, trade.min_buys, NOW), epoch=0, sales=trade.sales)
        except PolicyRefused:
            continue
        gained = done.after.total_e18 > done.before.total_e18
        for i, most_raw in enumerate(most_traded_raw(basket, policy)):
            change = done.held[i] - basket.held[i]
            out = abs(weighed.distances_e18[i]) * E18 > basket.bands_e18[i] * weighed.total_e18
            if not change or (change > 0 and gained):
                continue
            if out:
                seen["more outside"] += abs(change) > most_raw
                continue
            seen["sold" if change < 0 else "bought"] += 1
            assert abs(change) <= most_raw
    assert min(seen[each] for each in ("sold", "bought", "more outside")) > 10, seen


WETH, USDC = (
    Asset("WETH", E18 // 2, 200, 18, min_trade_raw=10**18),
    Asset("USDC", E18 // 2, 200, 6),
)
PRICES = (Price(2_000 * E18, 2_000 * E18, 2_000 * E18), Price(E18, E18, E18))
POLICY = Policy(
    start_slippage_bps=50,
    max_slippage_bps=100,
    slippage_ramp_seconds=3_600,
    min_progress_bps=1_000,
    dust_bps=10,
    cooldown_seconds=0,
    loss_budget_bps=100,
    loss_period_seconds=86_400,
    turnover_budget_bps=3_000,
    turnover_period_seconds=86_400,
)


def basket_of(usd: int, min_trade_raw: int) -> Basket:
    """So many dollars, half in each."""
    held = usd * 10**18 // 4_000, usd * 10**6 // 2
    weth = replace(WETH, min_trade_raw=min_trade_raw)
    return Basket((weth, USDC), held, PRICES, timestamp=NOW, dust_bps=POLICY.dust_bps)


@pytest.mark.parametrize(
    ("usd", "minimum_milli", "needed_bps"),
    [
        # A band of 2 % and dust of 0.1 % are 2,100 dollars of 100,000, or 1.05 WETH.
        (100_000, 1_050, "fits"),
        (100_000, 1_051, 211),
        (10_000, 105, "fits"),
        (10_000, 1_000, 2_000),
        (10_000, 1_501, None),  # more than the turnover budget of 30 %
        (1_000_000, 10_500, "fits"),
    ],
)
def test_whether_a_minimum_is_too_large_depends_on_what_the_vault_is_worth(
    usd: int, minimum_milli: int, needed_bps: int | str | None
) -> None:
    found = large_minimums(basket_of(usd, minimum_milli * 10**15), POLICY)

    assert [one.asset for one in found] == ([] if needed_bps == "fits" else [0])
    if found:
        assert found[0].needed_bps == needed_bps


def test_sentence_says_how_far_out_a_weight_must_be() -> None:
    (found,) = large_minimums(basket_of(10_000, 10**18), POLICY)
    never = replace(found, needed_bps=None)

    assert found.sentence("WETH", 18) == (
        "The minimum trade of WETH, 1.000000, is more than 0.105000, the largest trade at the edge of its band at the "
        "vault's current value: WETH is not traded until its drift is 2000 bps"
    )
    assert never.sentence("WETH", 18).endswith("WETH is never traded")


def test_excluded_assets_have_no_minimum_that_matters() -> None:
    basket = basket_of(10_000, 10**18)
    excluded = replace(basket.assets[0], excluded=True, target_e18=0)
    whole = replace(USDC, target_e18=E18)

    assert large_minimums(replace(basket, assets=(excluded, whole)), POLICY) == ()
