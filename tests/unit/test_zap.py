"""One token into shares and back, planned on paper: exact, close to the best, and refused where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebalancer.devnet.market import USDC, WBTC, WETH
from rebalancer.devnet.profile import opening_pools
from rebalancer.errors import (
    BadAmount,
    BadPlanInput,
    DepositTooSmall,
    LiquidityExhausted,
    NoRoute,
)
from rebalancer.plan.zap import VaultLedger, ZapIn, plan_zap_in, plan_zap_out
from rebalancer.route import Hop, decode
from rebalancer.units import BPS, E18
from rebalancer.venues import BalancerWeightedPool, CurveStablePool, Pool, Token
from rebalancer.venues.balancer_v3 import BalancerV3WeightedPool
from tests.unit.pairs import pair

PRICES_E8 = {"ETH/USD": 2_000 * 10**8, "BTC/USD": 30_000 * 10**8, "USDC/USD": 10**8}
POOLS: tuple[Pool, ...] = tuple(
    replace(pool, address=f"0x{number:040x}") for number, pool in enumerate(opening_pools(PRICES_E8), start=1)
)
TOKENS = (WETH.address, WBTC.address, USDC.address)
LEDGER = VaultLedger(TOKENS, (100 * E18, 6_66666666, 100_000 * 10**6), 500_000 * E18)
"""Half a million dollars, a dollar a share: 40 % WETH, 40 % WBTC, 20 % USDC."""


def swapped_on(hop: Hop, pools: tuple[Pool, ...]) -> Pool:
    """The pool of a hop."""
    way = hop.token_in, hop.token_out
    (pool,) = (
        pool
        for pool in pools
        if {token.address for token in pool.tokens}.issuperset(way)
        and pool.hop(*way, 0, to_caller=False).body == hop.body
    )
    return pool


def played(ledger: VaultLedger, found: ZapIn, pools: tuple[Pool, ...] = POOLS) -> tuple[int, int]:
    """Shares the Zap would mint and what would be left of the token paid: the route's swaps one after another, by their pools."""
    held = dict.fromkeys(ledger.tokens, 0)
    held[found.token] = found.swapped_raw
    bought = dict.fromkeys(ledger.tokens, 0)
    for hop in decode(found.route):
        pool, token_out = swapped_on(hop, pools), hop.token_out
        if hop.is_exact_out:
            out = hop.amount_raw
            amount = pool.quote_out(hop.token_in, token_out, out)
            _, after = pool.swapped(hop.token_in, token_out, amount)
        else:
            amount = hop.amount_raw or held[hop.token_in]
            assert amount <= held[hop.token_in]
            out, after = pool.swapped(hop.token_in, token_out, amount)
        held[hop.token_in] -= amount
        pools = tuple(after if one is pool else one for one in pools)
        target = bought if hop.to_caller else held
        target[token_out] = target.get(token_out, 0) + out
    left_raw = held.pop(found.token)
    assert left_raw >= 0
    for token, rest in held.items():  # what was bought and kept to be sold on, less what was
        assert rest == 0 or token in bought
        bought[token] = bought.get(token, 0) + rest
    bought[found.token] = found.amount_raw - found.swapped_raw + left_raw
    shares = ledger.most_shares([bought[token] for token in ledger.tokens])
    kept_raw = ledger.required_raw(shares)[ledger.tokens.index(found.token)] if found.token in ledger.tokens else 0
    return shares, bought[found.token] - kept_raw


# Fees on entry and exit


@given(
    st.integers(0, 200),
    st.integers(0, 200),
    st.integers(1, 10**24),
    st.tuples(*[st.integers(1, 10**24)] * 3),
)
def test_books_take_fees_as_the_vault_does_and_never_ask_for_more_than_there_is(
    entry_bps: int, exit_bps: int, shares: int, amounts: tuple[int, int, int]
) -> None:
    ledger = replace(LEDGER, entry_bps=entry_bps, exit_bps=exit_bps)
    for held, required, given_ in zip(
        ledger.held_raw, ledger.required_raw(shares), ledger.given_raw(shares), strict=True
    ):
        assert required == -(-held * shares * (BPS + entry_bps) // (ledger.supply * BPS))
        assert given_ == held * shares * (BPS - exit_bps) // (ledger.supply * BPS)
    most = ledger.most_shares(amounts)
    assert all(a <= b for a, b in zip(ledger.required_raw(most), amounts, strict=True))


# Refusals


def test_zap_in_of_nothing_or_into_nothing_is_refused() -> None:
    with pytest.raises(BadAmount):
        plan_zap_in(LEDGER, POOLS, USDC.address, 0)
    empty = replace(LEDGER, held_raw=(0, 0, 0))
    with pytest.raises(BadPlanInput, match="holds nothing"):
        plan_zap_in(empty, POOLS, USDC.address, 10**6)


def test_zap_in_of_less_than_a_unit_of_each_asset_is_refused() -> None:
    with pytest.raises(DepositTooSmall) as caught:
        plan_zap_in(LEDGER, POOLS, USDC.address, 100)
    assert caught.value.amount_raw == 100


def test_zap_in_where_no_pool_leads_is_refused() -> None:
    stranger = "0x" + 40 * "9"
    for pools, token in (((), USDC.address), (POOLS, stranger), (POOLS[:1], USDC.address)):
        with pytest.raises(NoRoute):
            plan_zap_in(LEDGER, pools, token, 10**9)


def test_zap_in_of_more_than_the_pools_hold_is_refused_rather_than_half_returned() -> None:
    with pytest.raises(NoRoute, match="trade less"):
        plan_zap_in(LEDGER, POOLS, USDC.address, 10**8 * 10**6)


def test_zap_out_where_no_pool_leads_is_refused() -> None:
    with pytest.raises(NoRoute):
        plan_zap_out(TOKENS, (E18, 10**8, 10**6), POOLS[:1], USDC.address)


# Success


@settings(max_examples=40)
@given(
    token=st.sampled_from((WETH, WBTC, USDC)),
    usd=st.integers(1, 2_000_000),
    weights=st.tuples(*[st.integers(0, 100)] * 3).filter(any),
    slippage_bps=st.sampled_from((0, 50)),
)
def test_zap_in_mints_what_the_route_yields_and_wastes_next_to_nothing(
    token: Token, usd: int, weights: tuple[int, int, int], slippage_bps: int
) -> None:
    """ZAP-1: the promise is what the swaps give; ZAP-2: what is left over is raw units and what was held back."""
    unit_prices = (2_000, 30_000, 1)
    decimals = (18, 8, 6)
    held = tuple(
        weight * 5_000 * 10**places // price
        for weight, price, places in zip(weights, unit_prices, decimals, strict=True)
    )
    ledger = VaultLedger(TOKENS, held, 500_000 * E18)
    at = TOKENS.index(token.address)
    amount_raw = usd * 10 ** decimals[at] // unit_prices[at]
    found = plan_zap_in(ledger, POOLS, TOKENS[at], amount_raw, slippage_bps)

    left_of_paid = found.token_left_raw or found.left_raw[at]
    assert (found.shares, left_of_paid) == played(ledger, found)
    assert found.shares > 0
    spent = zip(found.minted_raw, found.left_raw, strict=True)
    assert all(minted >= 0 and left >= 0 for minted, left in spent)
    # What is left is at most what a raw unit of the coarsest asset, WBTC, is worth beside the others.
    left_usd_e18 = (
        sum(
            left * price * E18 // 10**places
            for left, price, places in zip(found.left_raw, unit_prices, decimals, strict=True)
        )
        + found.token_left_raw * unit_prices[at] * E18 // 10 ** decimals[at]
    )
    coarsest = max(sum(weights) * 5_000 * E18 // (held[1] or 10**18), 1)
    # Of the token paid, a raw unit more.
    held_back = usd * E18 * slippage_bps // BPS + unit_prices[at] * E18 // 10 ** decimals[at]
    assert left_usd_e18 <= 4 * coarsest + usd * E18 // 10**6 + held_back
    # Of what is bought by amounts out, nothing is left but where rounding makes more shares of it.
    direct = {hop.body for hop in decode(found.route) if hop.is_exact_out}
    if len(direct) == len(found.swaps):
        assert all(left <= 1 for i, left in enumerate(found.left_raw) if i != at)


def test_zap_in_of_a_token_that_is_no_asset_swaps_all_of_it() -> None:
    ledger = VaultLedger(TOKENS[:2], (100 * E18, 6_66666666), 400_000 * E18)
    found = plan_zap_in(ledger, POOLS, USDC.address, 250_000 * 10**6)
    assert found.swapped_raw == 250_000 * 10**6
    assert found.token_left_raw < 10**4
    assert 248_500 * E18 < found.shares < 250_000 * E18


def test_zap_in_where_all_is_in_the_token_itself_swaps_nothing() -> None:
    ledger = VaultLedger(TOKENS, (0, 0, 100_000 * 10**6), 100_000 * E18)
    found = plan_zap_in(ledger, POOLS, USDC.address, 7 * 10**6)
    assert (found.swapped_raw, found.route, found.swaps) == (0, b"", ())
    assert found.shares == 7 * E18
    assert found.left_raw == (0, 0, 0)


def test_zap_in_of_much_goes_over_all_pools_and_through_middle_tokens() -> None:
    """What is bought of one asset is sold on for another where that is cheaper; each pool is used once."""
    found = plan_zap_in(LEDGER, POOLS, USDC.address, 10_000_000 * 10**6)
    assert len({swap.pool.address for swap in found.swaps}) == len(found.swaps) == len(POOLS)
    assert {swap.token_in for swap in found.swaps} > {USDC.address}
    assert found.shares == played(LEDGER, found)[0]


def test_zap_in_holds_back_what_the_swaps_may_become_dearer() -> None:
    now = plan_zap_in(LEDGER, POOLS, USDC.address, 250_000 * 10**6)
    found = plan_zap_in(LEDGER, POOLS, USDC.address, 250_000 * 10**6, 100)
    cost_raw = sum(swap.amount_in_raw for swap in found.swaps)
    assert all(hop.is_exact_out for hop in decode(found.route))
    # All of it would be spent if the swaps, four fifths of the basket, cost 1 % more.
    assert found.swapped_raw - 10**4 < cost_raw * 101 // 100 <= found.swapped_raw
    assert found.left_raw == (0, 0, found.swapped_raw - cost_raw)
    assert 0.9915 < found.shares / now.shares < 0.9925


def most_shares(ledger: VaultLedger, pool: Pool, paid: Token, amount_raw: int, slippage_bps: int) -> int:
    """The most shares of one asset beside the token paid that an amount pays for, by halving."""

    def fits(shares: int) -> bool:
        required = dict(zip(ledger.tokens, ledger.required_raw(shares), strict=True))
        kept = required.pop(paid.address, 0)
        ((asset, raw),) = required.items()
        try:
            cost = pool.quote_out(paid.address, asset, raw) if raw else 0
        except (BadAmount, LiquidityExhausted):
            return False
        return -(-cost * (BPS + slippage_bps) // BPS) + kept <= amount_raw

    low, high = 0, 2 * ledger.supply
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@pytest.mark.parametrize("slippage_bps", [0, 70])
@pytest.mark.parametrize("held", [(10**24,), (10**24, 10**23), (10**21, 10**24)], ids=str)
@pytest.mark.parametrize("supply", [10**24, 10**9, 40])
def test_zap_in_over_one_pool_mints_the_most_there_is(supply: int, held: tuple[int, ...], slippage_bps: int) -> None:
    """To one part in a million millions, or to the share; also where shares are coarse."""
    ledger = VaultLedger((A.address, B.address)[: len(held)], held, supply, entry_bps=30)
    pool = stable(A, B)
    for amount_raw in (10**23 + 7, 5 * 10**20):
        most = most_shares(ledger, pool, B, amount_raw, slippage_bps)
        if most == 0:
            with pytest.raises(DepositTooSmall):
                plan_zap_in(ledger, (pool,), B.address, amount_raw, slippage_bps)
            continue
        found = plan_zap_in(ledger, (pool,), B.address, amount_raw, slippage_bps)
        bought = found.minted_raw[0] + found.left_raw[0]
        assert ledger.most_shares((bought, 10**40)[: len(held)]) >= most - 2 - 2 * most // 10**12
        cost = sum(swap.amount_in_raw for swap in found.swaps)
        kept = ledger.required_raw(most - 2 - 2 * most // 10**12)[1] if len(held) > 1 else 0
        assert -(-cost * (BPS + slippage_bps) // BPS) + kept <= amount_raw
        assert found.shares >= most - 2 - 2 * most // 10**12


def test_zap_in_where_a_smaller_pool_is_cheaper_buys_more_than_the_deepest_says() -> None:
    """The deep pool asks 4 % more for A than the other, so a small deposit buys more than at the deep one's price."""
    pools = (pair(A, B, 10, 10_000, 10_400), pair(A, B, 11, 5_000, 5_000))
    ledger = VaultLedger((A.address,), (10**24,), 10**24)
    found = plan_zap_in(ledger, pools, B.address, 10**18)
    assert [swap.pool for swap in found.swaps] == [pools[1]]
    assert 0.996 * 10**18 < found.shares < 0.997 * 10**18


def test_zap_in_of_as_much_as_the_pool_has_buys_half_of_it() -> None:
    """At the price before the swap it would be all of it, which the pool cannot give."""
    ledger = VaultLedger((A.address,), (10**24,), 10**24)
    found = plan_zap_in(ledger, (pair(A, B, 10, 1_000, 1_000, fee=100),), B.address, 10**21)
    assert 0.4999 * 10**21 < found.shares < 0.5 * 10**21


def test_zap_out_adds_up_to_what_is_kept_and_what_is_swapped() -> None:
    amounts = (10 * E18, 10**8, 5_000 * 10**6)
    found = plan_zap_out(TOKENS, amounts, POOLS, USDC.address)
    assert sorted(swap.amount_in_raw for swap in found.swaps) == [10**8, 10 * E18]
    swapped = sum(swap.amount_out_raw for swap in found.swaps)
    assert found.amount_out_raw == swapped + 5_000 * 10**6
    assert 54_700 * 10**6 < found.amount_out_raw < 55_000 * 10**6
    # The last hop of each asset sells all there is, so that a little more is not left behind.
    assert {hop.token_in for hop in decode(found.route) if not hop.amount_raw} == {
        WETH.address,
        WBTC.address,
    }


def test_zap_out_of_the_token_alone_needs_no_route() -> None:
    found = plan_zap_out(TOKENS, (0, 0, 10**6), (), USDC.address)
    assert (found.amount_out_raw, found.route) == (10**6, b"")


# Pools of more than two tokens

A, B, C, D = (Token("0x" + digit * 40, name, 18) for digit, name in zip("1234", "ABCD", strict=True))


def stable(*tokens: Token) -> CurveStablePool:
    """A million of each, at an amplification of 200 and a fee of 0.04 %."""
    return CurveStablePool(
        address="0x" + "c" * 40,
        tokens=tokens,
        balances=(10**24,) * len(tokens),
        a_coefficient=200,
        fee_e10=4 * 10**6,
        admin_fee_e10=5 * 10**9,
    )


def weighted(*tokens: Token) -> BalancerWeightedPool:
    """A million of each, of equal weights or nearly, at a fee of 0.1 %."""
    parts = [E18 // len(tokens)] * len(tokens)
    parts[0] += E18 - sum(parts)
    return BalancerWeightedPool(
        address="0x" + "b" * 40,
        vault="0x" + "e" * 40,
        pool_id="0x" + "b" * 64,
        tokens=tokens,
        balances=(10**24,) * len(tokens),
        weights_e18=tuple(parts),
        fee_e18=10**15,
        pow_version="v2",
    )


def weighted_v3(*tokens: Token) -> BalancerV3WeightedPool:
    """The same pool on Balancer V3, where half of the fee leaves it."""
    older = weighted(*tokens)
    return BalancerV3WeightedPool(
        address=older.address,
        vault=older.vault,
        tokens=tokens,
        balances=older.balances,
        rates_e18=(E18,) * len(tokens),
        weights_e18=older.weights_e18,
        min_balances_e18=(10**6,) * len(tokens),
        fee_e18=older.fee_e18,
        aggregate_fee_e18=E18 // 2,
        min_trade_e18=10**6,
    )


@pytest.mark.parametrize(
    "pool",
    [stable(A, B, C), weighted(A, B, C), weighted_v3(A, B, C)],
    ids=["curve", "balancer", "balancer-v3"],
)
def test_zap_through_one_pool_of_all_tokens_trades_each_pair_on_what_the_others_leave(
    pool: Pool,
) -> None:
    ledger = VaultLedger((B.address, C.address), (10**23, 2 * 10**23), 3 * 10**23)
    found = plan_zap_in(ledger, (pool,), A.address, 10**22, 30)

    assert len(found.swaps) == 2
    assert (found.shares, found.token_left_raw) == played(ledger, found, (pool,))
    # Of shares of one token each: what the pool takes, and what is held back.
    assert 9_500 * E18 < found.shares < 9_970 * E18
    assert all(left * 10**9 < minted for left, minted in zip(found.left_raw, found.minted_raw, strict=True))
    assert found.token_left_raw <= 10**22 * 31 // BPS

    back = plan_zap_out(ledger.tokens, ledger.given_raw(found.shares), (pool,), A.address)
    after: Pool = pool
    out = 0
    for swap in back.swaps:
        brought, after = after.swapped(swap.token_in, swap.token_out, swap.amount_in_raw)
        out += brought
    assert {swap.token_in for swap in back.swaps} == set(ledger.tokens)
    assert back.amount_out_raw == out


def test_zap_over_curve_and_balancer_keeps_apart_what_curve_leaves_with_the_executor() -> None:
    """Curve pays only who asks: an asset bought there lies beside what a later hop passes through it."""
    pools: tuple[Pool, ...] = (stable(A, B), weighted(B, C, D))
    ledger = VaultLedger((B.address, C.address), (10**23, 10**23), 2 * 10**23)
    found = plan_zap_in(ledger, pools, A.address, 10**22)

    curve, balancer = decode(found.route)
    assert [swapped_on(hop, pools) for hop in (curve, balancer)] == list(pools)
    assert not curve.to_caller
    assert balancer.amount_raw > 0
    assert (found.shares, found.token_left_raw) == played(ledger, found, pools)
    assert 9_880 * E18 < found.shares < 9_970 * E18


def test_sale_leaves_dust_as_it_is() -> None:
    found = plan_zap_out(TOKENS, (3, 10**8, 0), POOLS, USDC.address)
    assert {swap.token_in for swap in found.swaps} == {WBTC.address}
