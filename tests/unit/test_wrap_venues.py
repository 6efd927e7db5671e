"""ERC-4626 and wstETH on paper: quotes against a plain statement, limits, what trades leave behind, and plans that use them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor, isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted
from rebalancer.plan import Plan, Problem, plan_rebalance
from rebalancer.plan.market import market_of
from rebalancer.route import decode
from rebalancer.settlement import Basket, Price
from rebalancer.units import E18
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    Pool,
    PoolState,
    Token,
    UniswapV3Pool,
    load,
    synthetic,
)
from rebalancer.venues.erc4626 import ERC4626Pool
from rebalancer.venues.wsteth import WstETHPool
from tests.unit.test_plan import ETHER, POOLS, basket

Wrapper = ERC4626Pool | WstETHPool

VAULT, ASSET = "0x" + "5e" * 20, "0x" + "d0" * 20
STETH = Token("0x" + "ae" * 20, "stETH", 18)
WSTETH = Token("0x" + "7f" * 20, "wstETH", 18)
ENDLESS = 2**256 - 1


def share_vault(**changes: Any) -> ERC4626Pool:
    """A vault of a coin of 6 decimals, whose shares have 18; with the virtual ones a share is worth 1.25."""
    made = ERC4626Pool(
        address=VAULT,
        tokens=(Token(ASSET, "USDX", 6), Token(VAULT, "sUSDX", 18)),
        total_assets=5 * 10**12 - 1,
        total_supply=4 * 10**24 - 10**12,
        decimals_offset=12,
        max_deposit=ENDLESS,
        max_redeem=4 * 10**24 - 10**12,
        block=7,
        name="vault",
    )
    return replace(made, **changes)


def wsteth(**changes: Any) -> WstETHPool:
    """Nine million stETH at about 1.2 a share, two fifths of them wrapped."""
    made = WstETHPool(
        address=WSTETH.address,
        tokens=(STETH, WSTETH),
        pooled=9_123_456_789_012_345_678_901_234,
        shares=7_601_234_567_890_123_456_789_012,
        loose=4_500_000 * E18,
        wrapped=3_000_000 * E18,
        block=7,
        name="wstETH",
    )
    return replace(made, **changes)


def ways(pool: PoolState) -> tuple[tuple[str, str], tuple[str, str]]:
    """In, and out again."""
    outside, inside = (token.address for token in pool.tokens)
    return (outside, inside), (inside, outside)


vaults = st.builds(
    lambda assets, supply, offset: share_vault(
        total_assets=assets, total_supply=supply, decimals_offset=offset, max_redeem=supply
    ),
    st.integers(0, 10**30),
    st.integers(0, 10**33),
    st.integers(0, 18),
)
amounts = st.integers(1, 10**30)
lidos = st.builds(
    lambda pooled, shares: wsteth(pooled=pooled, shares=shares, loose=shares, wrapped=shares),
    st.integers(10**18, 10**26),
    st.integers(10**18, 10**26),
)


# Quotes


def test_vault_pays_what_is_worked_out_by_hand() -> None:
    """100 of 6 decimals at 1.25 are 80 of 18; a unit of a share less is a unit of the coin less."""
    pool = share_vault()
    into, back = ways(pool)

    assert pool.quote_in(*into, 100 * 10**6) == 80 * E18
    assert pool.quote_in(*back, 80 * E18) == 100 * 10**6
    assert pool.quote_in(*back, 80 * E18 - 1) == 99_999_999
    assert pool.quote_out(*back, 100 * 10**6) == 80 * E18
    assert pool.quote_out(*into, 80 * E18 - 1) == 100 * 10**6
    # 3 * 4 * 10^24 / (5 * 10^12 + 1): a unit that is donated is everybody's.
    assert replace(pool, total_assets=5 * 10**12).quote_in(*into, 3) == 2_399_999_999_999


@given(pool=vaults, amount=amounts)
def test_vault_pays_the_part_that_the_virtual_holder_leaves(pool: ERC4626Pool, amount: int) -> None:
    """As if someone held 10^offset shares more, for one unit more."""
    into, back = ways(pool)
    a_share = Fraction(pool.total_assets + 1, pool.total_supply + 10**pool.decimals_offset)

    assert pool.quote_in(*into, amount) == floor(amount / a_share)
    if amount <= pool.max_redeem:
        assert pool.quote_in(*back, amount) == floor(amount * a_share)


@given(pool=vaults | lidos, amount=amounts, is_in=st.booleans())
def test_amount_in_for_an_amount_out_is_the_least(pool: Wrapper, amount: int, is_in: bool) -> None:
    way = ways(pool)[0 if is_in else 1]
    if amount > pool._out(0 if is_in else 1, pool._most_in(0 if is_in else 1)):
        with pytest.raises(LiquidityExhausted):
            pool.quote_out(*way, amount)
        return

    needed = pool.quote_out(*way, amount)

    assert pool.quote_in(*way, needed) >= amount
    assert needed == 1 or pool.quote_in(*way, needed - 1) < amount


@given(pool=vaults | lidos, amount=amounts, is_in=st.booleans())
def test_round_trip_gains_nothing(pool: Wrapper, amount: int, is_in: bool) -> None:
    there, back = ways(pool) if is_in else ways(pool)[::-1]
    try:
        out, after = pool.swapped(*there, amount)
        returned = after.quote_in(*back, out) if out else 0
    except LiquidityExhausted:
        return

    assert returned <= amount


@given(pool=vaults, amount=amounts, is_in=st.booleans())
def test_swap_on_a_vault_never_lowers_what_a_share_is_worth(pool: ERC4626Pool, amount: int, is_in: bool) -> None:
    way = ways(pool)[0 if is_in else 1]
    if not is_in and amount > pool.max_redeem:
        return
    before = pool.spot_price(*ways(replace(pool, max_redeem=pool.total_supply or 1))[0])

    _, after = pool.swapped(*way, amount)

    assert after.spot_price(*ways(pool)[0]) <= before
    paid, taken = after.total_assets - pool.total_assets, after.total_supply - pool.total_supply
    assert (paid, taken)[0 if is_in else 1] == (amount if is_in else -amount)


class Lido:
    """stETH plainly stated: what everybody holds is shares, told in ether, down."""

    def __init__(self, pool: WstETHPool) -> None:
        self.worth = Fraction(pool.pooled, pool.shares)
        self.held: dict[str, int] = {}

    def balance(self, who: str) -> int:
        return floor(self.held.get(who, 0) * self.worth)

    def send(self, to: str, ether: int) -> None:
        self.held[to] = self.held.get(to, 0) + floor(ether / self.worth)


@given(pool=lidos, amount=st.integers(1, 10**25))
def test_wrap_pays_what_the_executors_balance_is_worth(pool: WstETHPool, amount: int) -> None:
    into, _ = ways(pool)
    lido = Lido(pool)
    if amount > pool._most_in(0):
        return
    lido.send("executor", amount)

    quoted = pool.quote_in(*into, amount)

    assert quoted == floor(lido.balance("executor") / lido.worth)
    # A hop that names the amount wraps the shares themselves.
    assert 0 <= lido.held["executor"] - quoted <= 1 + 1 / lido.worth


@given(pool=lidos, amount=st.integers(1, 10**25), before=st.integers(0, 10**25))
def test_unwrap_pays_no_less_than_quoted_whatever_the_caller_held(pool: WstETHPool, amount: int, before: int) -> None:
    _, back = ways(pool)
    if amount > pool.wrapped:
        return
    lido = Lido(pool)
    lido.held["caller"] = before
    was = lido.balance("caller")
    lido.send("executor", floor(amount * lido.worth))
    lido.send("caller", lido.balance("executor"))

    quoted = pool.quote_in(*back, amount)

    assert quoted <= lido.balance("caller") - was <= quoted + 1
    if not before:
        assert quoted == lido.balance("caller")


def test_wsteth_loses_no_more_than_its_roundings() -> None:
    pool = wsteth()
    into, back = ways(pool)
    for amount in (E18, 7 * E18 + 3, 12_345 * E18 + 678):
        assert 0 <= amount * pool.shares // pool.pooled - pool.quote_in(*into, amount) <= 1
        assert 0 <= amount * pool.pooled // pool.shares - pool.quote_in(*back, amount) <= 4


# Limits


@pytest.mark.parametrize("pool", [share_vault(max_deposit=0, max_redeem=0), wsteth(is_stopped=True)])
def test_paused_wrapper_trades_nothing(pool: Wrapper) -> None:
    for way in ways(pool):
        for quote in (pool.quote_in, pool.quote_out, pool.swapped):
            with pytest.raises(LiquidityExhausted) as refusal:
                quote(*way, 1)
            assert refusal.value.possible_raw == 0
        assert pool.spot_price(*way) == 0
        assert pool.flow_to(*way, 1e-9) == (0, 0)
        assert pool.first_unit(*way) == 0


def test_vault_trades_up_to_its_limits_which_trades_use_up() -> None:
    pool = share_vault(max_deposit=10**9, max_redeem=10**21)
    for way, most in zip(ways(pool), (10**9, 10**21), strict=True):
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_in(*way, most + 1)
        assert refusal.value.possible_raw == most
        out = pool.quote_in(*way, most)
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_out(*way, out + 1)
        assert refusal.value.possible_raw == out
        assert pool.flow_to(*way, 0) == (most, out)
        _, after = pool.swapped(*way, most - 1)
        with pytest.raises(LiquidityExhausted):
            after.quote_in(*way, 2)


def test_deposit_leaves_an_endless_limit_endless() -> None:
    pool = share_vault()

    assert pool.swapped(*ways(pool)[0], 10**12)[1].max_deposit == ENDLESS
    with pytest.raises(LiquidityExhausted):
        pool.quote_in(*ways(pool)[0], MAX_AMOUNT_RAW)


def test_wsteth_unwraps_what_is_wrapped_and_wraps_what_is_not() -> None:
    pool = wsteth()
    into, back = ways(pool)

    with pytest.raises(LiquidityExhausted) as refusal:
        pool.quote_in(*back, 4_000_000 * E18)
    assert refusal.value.possible_raw == pool.wrapped
    with pytest.raises(LiquidityExhausted) as refusal:
        pool.quote_in(*into, 9_000_000 * E18)
    assert refusal.value.possible_raw == pool.loose * pool.pooled // pool.shares
    out, after = pool.swapped(*into, E18)
    assert (after.wrapped - pool.wrapped, after.loose - pool.loose) == (out, -out)
    out, after = pool.swapped(*back, E18)
    assert pool.wrapped - after.wrapped == E18
    assert 0 <= E18 - (after.loose - pool.loose) <= 1


def test_donation_moves_the_rate() -> None:
    """A vault of two units and an offset of 0: who donates takes the next deposit."""
    emptied = share_vault(total_assets=10**12 + 1, total_supply=1, decimals_offset=0, max_redeem=1)
    into, _ = ways(emptied)

    assert emptied.quote_in(*into, 10**11) == 0


# What it is, and snapshots


@pytest.mark.parametrize("pool", [share_vault(), wsteth()])
def test_snapshot_reads_back_equal_and_is_read_at_every_block(pool: Wrapper) -> None:
    assert load(pool.to_json()) == pool
    assert pool.moves
    assert pool.ref.address == pool.address
    assert pool.arbitraged((10**8, 10**8)) is pool
    hop = pool.hop(*ways(pool)[0], 5, to_caller=False)
    assert (hop.body, hop.amount_raw) == (bytes.fromhex(pool.address[2:]), 5)


@pytest.mark.parametrize(
    ("pool", "changes", "why"),
    [
        (share_vault(), {"total_assets": -1}, "is not in 0"),
        (share_vault(), {"max_redeem": 2**256}, "is not in 0"),
        (share_vault(), {"decimals_offset": -6}, "decimals_offset -6"),
        (share_vault(), {"address": "0x" + "11" * 20}, "the vault itself"),
        (wsteth(), {"pooled": 0}, "is not in 1"),
        (wsteth(), {"wrapped": -1}, "is not in 0"),
        (wsteth(), {"address": "0x" + "11" * 20}, "wstETH itself"),
    ],
)
def test_snapshot_that_contradicts_itself_is_refused(pool: Wrapper, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(pool.to_json() | changes)


# Plans

SHARE = Token("0x" + "9" * 40, "sWETH", 18)


def share_of_ether(**changes: Any) -> ERC4626Pool:
    """A vault of WETH with 20,000 of it, two shares a WETH."""
    made = ERC4626Pool(
        address=SHARE.address,
        tokens=(ETHER, SHARE),
        total_assets=20_000 * E18,
        total_supply=40_000 * E18,
        decimals_offset=0,
        max_deposit=ENDLESS,
        max_redeem=40_000 * E18,
    )
    return replace(made, **changes)


def shares_high() -> Basket:
    """`basket` of shares of half a WETH instead of WETH: 600 are worth 600,000, of 1.1m."""
    plain = basket(ether=600, bitcoin=10, dollar=200_000)
    assets = (replace(plain.assets[0], token=SHARE.address), *plain.assets[1:])
    price = Price(1_000 * E18, 1_000 * E18, 1_000 * E18)
    return Basket(assets, plain.held, (price, *plain.prices[1:]))


def test_shape_flows_at_prices_around_the_rate() -> None:
    pool = share_of_ether()
    market = market_of([pool])
    into, _ = ways(pool)
    for share_price, flows_in, flows_out in (
        (0.51, True, False),
        (0.5001, True, False),
        (0.5, False, False),
        (0.4999, False, True),
        (0.49, False, True),
    ):
        prices = np.array([{ETHER.address: 1.0, SHARE.address: share_price}[t] for t in market.tokens])
        flows = market.flows(prices)
        for row in range(2):
            way = market.tokens[market.token_in[row]], market.tokens[market.token_out[row]]
            sold, bought = flows.amounts_in[row], flows.amounts_out[row]
            if flows_in if way == into else flows_out:
                # A million deposited, or all that may be redeemed.
                most = 10**6 * E18 if way == into else 40_000 * E18
                assert sold == pytest.approx(most, rel=1e-6)
                assert bought == pytest.approx(pool.quote_in(*way, most), rel=2e-6)
            else:
                assert sold <= 1e-7 * 10**6 * E18  # what floats cannot tell from nothing
                assert bought == pytest.approx(sold * float(pool.spot_price(*way)), rel=1e-12)


@pytest.mark.parametrize("amount", [E18, 10**14, 10_000 * E18])
def test_shape_pays_what_the_vault_does(amount: int) -> None:
    pool = share_of_ether()
    market = market_of([pool])
    out, marginal, bend = market.trade(np.full(2, float(amount)))

    for row in range(2):
        way = market.tokens[market.token_in[row]], market.tokens[market.token_out[row]]
        exact = pool.quote_in(*way, amount)
        assert out[row] == pytest.approx(exact, rel=1e-6)
        assert marginal[row] == pytest.approx(float(pool.spot_price(*way)), rel=2e-6)
        assert bend[row] > 0


def share_pool(**changes: Any) -> UniswapV3Pool:
    """A deep 0.3 % pool of shares and WETH at the vault's rate."""
    # {raw WETH/raw share} = 1 / 2; WETH's address is below the share's.
    return synthetic(
        ETHER,
        SHARE,
        fee_pips=3_000,
        tick_spacing=60,
        sqrt_price_x96=isqrt(2 << 192),
        depth1_raw=10**5 * E18,
        address="0x" + "77" * 20,
        **changes,
    )


def plan_of(*pools: Pool) -> Plan:
    found = plan_rebalance(Problem.of(shares_high(), (*POOLS, *pools)))
    assert isinstance(found, Plan), found
    return found


def sold_shares(plan: Plan) -> list[int]:
    """Venues that shares are sold at."""
    return [hop.venue for hop in decode(plan.route) if hop.token_in == SHARE.address]


def test_plan_sells_shares_through_the_vault_when_it_is_cheaper_than_a_pool() -> None:
    """The pool takes 0.3 % and moves; the vault takes nothing."""
    without, found = plan_of(share_pool()), plan_of(share_pool(), share_of_ether())

    assert set(sold_shares(without)) == {1}
    assert set(sold_shares(found)) == {8}
    assert found.certificate.value_e18 > without.certificate.value_e18
    assert found.certificate.value_e18 <= found.certificate.bound_e18


def test_plan_of_shares_without_any_pool_of_them_goes_through_the_vault() -> None:
    assert set(sold_shares(plan_of(share_of_ether()))) == {8}


def test_plan_leaves_a_vault_alone_that_redeems_nothing() -> None:
    found = plan_of(share_pool(), share_of_ether(max_redeem=0))

    assert set(sold_shares(found)) == {1}


@pytest.mark.parametrize("whole", [3, 30, 100, 159])
def test_plan_sells_through_the_vault_what_it_redeems_and_the_rest_elsewhere(whole: int) -> None:
    """Of 160 shares that are to be sold."""
    found = plan_of(share_pool(), share_of_ether(max_redeem=whole * E18))

    swaps = [swap for swap in found.swaps if swap.token_in == SHARE.address]
    assert set(sold_shares(found)) == {1, 8}
    redeemed = sum(swap.amount_in_raw for swap in swaps if swap.pool.address == SHARE.address)
    assert whole * E18 * (1 - 1e-6) <= redeemed <= whole * E18


@pytest.mark.parametrize("limit", [0, 10 * E18, ENDLESS])
def test_plan_buys_shares_through_the_vault_up_to_what_it_takes(limit: int) -> None:
    high = shares_high()
    low = Basket(high.assets, (200 * E18, 15 * 10**8, 500_000 * 10**6), high.prices)
    vault = share_of_ether(max_deposit=limit)

    found = plan_rebalance(Problem.of(low, (*POOLS, share_pool(), vault)))

    assert isinstance(found, Plan)
    bought = {hop.venue for hop in decode(found.route) if hop.token_out == SHARE.address}
    assert bought == {0: {1}, 10 * E18: {1, 8}, ENDLESS: {8}}[limit]


@pytest.mark.parametrize("total", [80, 10**3, 10**6, 10**10])
def test_plan_uses_a_vault_of_any_size(total: int) -> None:
    sizes = {"total_assets": total * E18, "total_supply": 2 * total * E18}
    found = plan_of(share_pool(), share_of_ether(max_redeem=2 * total * E18, **sizes))

    assert 8 in sold_shares(found)
    # What the shape understates, and what floats leave.
    assert found.certificate.value_e18 <= found.certificate.bound_e18 * (1 + 2e-7)
    assert found.certificate.gap < 1e-8


def test_plan_leaves_a_vault_alone_whose_rate_is_worse_than_a_pools() -> None:
    found = plan_of(share_pool(), share_of_ether(total_assets=19_800 * E18))

    assert set(sold_shares(found)) == {1}
