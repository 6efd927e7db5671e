"""Prices held against pools: which feed is off, by what depth, and what no pool tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.market_price import MAX_SLIPPAGE_BPS, off_market, unpriced
from rebalancer.units import E18
from rebalancer.venues import Token, UniswapV2Pool

WETH = Token("0x" + "01" * 20, "WETH", 18)
WBTC = Token("0x" + "02" * 20, "WBTC", 8)
USDC = Token("0x" + "03" * 20, "USDC", 6)
MARKET = {WETH.address: 2_000 * E18, WBTC.address: 30_000 * E18, USDC.address: E18}


def pool(one: Token, other: Token, usd: int, number: int, off_bps: int = 0) -> UniswapV2Pool:
    """A pair with so many dollars on either side at `MARKET`, the first token dearer by `off_bps`."""
    raw = {t: usd * E18 * 10**t.decimals // MARKET[t.address] for t in (one, other)}
    raw[other] = raw[other] * (10_000 + off_bps) // 10_000
    token0, token1 = sorted((one, other), key=lambda token: token.address)
    return UniswapV2Pool(f"0x{number:040x}", token0, token1, (raw[token0], raw[token1]))


POOLS = (
    pool(WETH, USDC, 5_000_000, 11),
    pool(WBTC, WETH, 3_000_000, 12),
    pool(WBTC, USDC, 1_000_000, 13),
)


def test_feeds_at_the_market_are_not_off() -> None:
    assert off_market(MARKET, POOLS) == ()


@pytest.mark.parametrize("token", [WETH, WBTC, USDC])
@pytest.mark.parametrize("factor", [(112, 200_000), (1, 2), (2, 1), (10**10, 1), (104, 100)])
def test_feed_in_another_unit_is_named_with_both_prices(token: Token, factor: tuple[int, int]) -> None:
    wrong = MARKET[token.address] * factor[0] // factor[1]

    (found,) = off_market({**MARKET, token.address: wrong}, POOLS)

    assert (found.token, found.feed_e18, found.against_bps) == (token.address, wrong, 10_000)
    assert abs(found.market_e18 - MARKET[token.address]) <= MARKET[token.address] // 10**6


def test_sentence_says_what_feed_and_pools_say() -> None:
    (found,) = off_market({**MARKET, WETH.address: 112 * E18 // 100}, POOLS)

    assert found.sentence == ("the feed price is 1.12 USD; the listed pools and the other feeds imply 2,000 USD")


def test_shallow_pool_that_is_off_outvotes_nobody() -> None:
    """Who pushes a pool that costs little to push makes no alarm, and hides none."""
    dust = (pool(WETH, USDC, 1_000, 14, off_bps=5_000), pool(WETH, WBTC, 1_000, 15, off_bps=-4_000))
    assert off_market(MARKET, (*POOLS, *dust)) == ()
    agreeing = pool(WETH, USDC, 1_000, 16, off_bps=5_000)
    (found,) = off_market({**MARKET, WETH.address: 3_000 * E18}, (*POOLS, agreeing))
    assert found.token == WETH.address


def test_limit_and_fee_are_the_border() -> None:
    """A pool may be its fee (30 bps) away from the market, and the policy's slippage more."""
    only = (POOLS[0],)
    border = MARKET[WETH.address] * (10_000 + MAX_SLIPPAGE_BPS + 30) // 10_000

    assert off_market({**MARKET, WETH.address: border}, only) == ()
    assert off_market({**MARKET, WETH.address: border + E18}, only) != ()
    assert off_market({**MARKET, WETH.address: border}, only, 100) != ()
    assert off_market({**MARKET, WETH.address: border}, only, 100, {WETH.address: 300}) == ()


def test_of_two_that_know_only_each_other_the_dollar_is_believed() -> None:
    first, second = off_market({**MARKET, WETH.address: 112 * E18 // 100}, POOLS[:1])

    assert (first.token, second.token) == (WETH.address, USDC.address)


def test_token_without_a_pool_or_whose_pools_are_empty_is_told() -> None:
    empty = replace(POOLS[0], reserves=(0, 0))
    assert unpriced(MARKET, POOLS) == ()
    assert unpriced(MARKET, POOLS[:1]) == (WBTC.address,)
    assert unpriced(MARKET, ()) == tuple(MARKET)
    assert unpriced(MARKET, (empty,)) == tuple(MARKET)
    assert off_market(MARKET, (empty,)) == ()
