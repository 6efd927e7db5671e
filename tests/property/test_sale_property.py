"""Sales over random markets: they add up, they are exact, and nothing tried by brute force beats them."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from math import isqrt

from hypothesis import assume, given
from hypothesis import strategies as st

from rebalancer.errors import BadAmount, LiquidityExhausted, NoRoute
from rebalancer.plan import Swap, best_sale
from rebalancer.units import E18
from rebalancer.venues import Token, UniswapV3Pool, synthetic

BITCOIN = Token("0x" + "1" * 40, "WBTC", 8)
DOLLAR = Token("0x" + "2" * 40, "USDC", 6)
ETHER = Token("0x" + "3" * 40, "WETH", 18)
EURO = Token("0x" + "4" * 40, "EURC", 6)
USD_PER_TOKEN = {BITCOIN: 30_000, DOLLAR: 1, ETHER: 2_000, EURO: 1.1}
TIERS = ((500, 10), (3_000, 60), (10_000, 200))


@st.composite
def pools_of(draw: st.DrawFn, token0: Token, token1: Token, number: int) -> UniswapV3Pool:
    """A pool up to 1 % off the fair price, with $1,000 to $10m on each side."""
    fee_pips, spacing = draw(st.sampled_from(TIERS))
    off = draw(st.integers(9_900, 10_100))
    depth_usd = draw(st.integers(10, 100_000)) * 100
    # {raw1/raw0} = {usd/token0} / {usd/token1} * 10^decimals1 / 10^decimals0
    price_e18 = (
        int(USD_PER_TOKEN[token0] * E18 / USD_PER_TOKEN[token1])
        * (10**token1.decimals * off)
        // (10**token0.decimals * 10_000)
    )
    return synthetic(
        token0,
        token1,
        fee_pips=fee_pips,
        tick_spacing=spacing,
        sqrt_price_x96=isqrt((price_e18 << 192) // E18),
        depth1_raw=int(depth_usd / USD_PER_TOKEN[token1] * 10**token1.decimals),
        address=f"0x{number:040x}",
    )


PAIRS = ((BITCOIN, ETHER), (BITCOIN, DOLLAR), (DOLLAR, ETHER), (BITCOIN, EURO), (ETHER, EURO))


@st.composite
def markets(draw: st.DrawFn, most: int = 6) -> tuple[UniswapV3Pool, ...]:
    """Pools of random pairs: several of one pair, dead ends, two middle tokens."""
    pairs = draw(st.lists(st.sampled_from(PAIRS), min_size=1, max_size=most))
    return tuple(draw(pools_of(token0, token1, number)) for number, (token0, token1) in enumerate(pairs, 1))


usd_amounts = st.one_of(st.integers(1, 100), st.integers(1, 5_000_000))
ways = st.sampled_from([(ETHER, BITCOIN), (BITCOIN, ETHER), (DOLLAR, ETHER), (BITCOIN, DOLLAR)])


def raw_of(token: Token, usd: int) -> int:
    """So many dollars' worth of a token."""
    return int(usd * 10**token.decimals / USD_PER_TOKEN[token])


def single_paths(pools: tuple[UniswapV3Pool, ...], token_in: str, token_out: str, amount: int) -> list[int]:
    """What every direct pool and every two pools in a row pay for the whole amount, if they can."""
    paid = []
    for path in paths(pools, token_in, token_out):
        at, carried = token_in, amount
        try:
            for pool in path:
                to = next(token.address for token in pool.tokens if token.address != at)
                at, carried = to, pool.quote_in(at, to, carried)
        except (LiquidityExhausted, BadAmount):
            continue  # BadAmount: the first pool paid nothing to sell on
        paid.append(carried)
    return paid


def sold(pools: tuple[UniswapV3Pool, ...], token_in: str, token_out: str, amount: int) -> tuple[tuple[Swap, ...], int]:
    """The best sale and what it brings, once its books are checked: amounts add up, every leg is its pool's exact quote."""
    swaps = best_sale(pools, {token_in: amount}, token_out)
    flow: dict[str, int] = defaultdict(int)
    flow[token_in] = amount
    used: set[str] = set()
    for swap in swaps:
        assert swap.pool.address not in used
        used.add(swap.pool.address)
        assert swap.pool.quote_in(swap.token_in, swap.token_out, swap.amount_in_raw) == (swap.amount_out_raw)
        flow[swap.token_in] -= swap.amount_in_raw
        assert flow[swap.token_in] >= 0
        flow[swap.token_out] += swap.amount_out_raw
    brought = flow.pop(token_out)
    assert not any(flow.values())
    return swaps, brought


@given(markets(), ways, usd_amounts)
def test_sale_on_any_market_adds_up_and_beats_every_single_path(
    pools: tuple[UniswapV3Pool, ...], way: tuple[Token, Token], usd: int
) -> None:
    token_in, token_out = way[0].address, way[1].address
    amount = raw_of(way[0], usd)
    assume(amount > 0)
    singles = single_paths(pools, token_in, token_out, amount)
    try:
        _, brought = sold(pools, token_in, token_out, amount)
    except NoRoute:
        assert not singles
        return

    assert brought >= max(singles, default=0)


def paths(pools: tuple[UniswapV3Pool, ...], token_in: str, token_out: str) -> list[tuple[UniswapV3Pool, ...]]:
    """All direct pools and all two pools in a row."""

    def trades(pool: UniswapV3Pool, token_a: str, token_b: str) -> bool:
        return {token.address for token in pool.tokens} == {token_a, token_b}

    found: list[tuple[UniswapV3Pool, ...]] = [(pool,) for pool in pools if trades(pool, token_in, token_out)]
    for middle in {token.address for pool in pools for token in pool.tokens}:
        firsts = [pool for pool in pools if trades(pool, token_in, middle)]
        found += product(firsts, [pool for pool in pools if trades(pool, middle, token_out)])
    return found


@st.composite
def small_markets(draw: st.DrawFn) -> tuple[UniswapV3Pool, ...]:
    """Two direct pools, one into a middle token, two out of it: paths that share a pool."""
    pairs = (
        (BITCOIN, ETHER),
        (BITCOIN, ETHER),
        (DOLLAR, ETHER),
        (BITCOIN, DOLLAR),
        (BITCOIN, DOLLAR),
    )
    return tuple(draw(pools_of(*pair, number)) for number, pair in enumerate(pairs, 1))


@given(small_markets(), st.integers(1, 3_000_000))
def test_sale_beats_brute_force_over_a_grid(pools: tuple[UniswapV3Pool, ...], usd: int) -> None:
    """Every way to divide a sale into twelfths over three branches and then over the two last pools."""
    amount = raw_of(ETHER, usd)
    parts = 12
    direct1, direct2, first, second1, second2 = pools
    best = 0
    try:
        for a, b in product(range(parts + 1), repeat=2):
            if a + b > parts:
                continue
            shares = [amount * a // parts, amount * b // parts]
            shares.append(amount - sum(shares))
            out = quote(direct1, ETHER, BITCOIN, shares[0]) + quote(direct2, ETHER, BITCOIN, shares[1])
            dollars = quote(first, ETHER, DOLLAR, shares[2])
            for c in range(parts + 1 if dollars else 1):
                into1 = dollars * c // parts
                through = quote(second1, DOLLAR, BITCOIN, into1) + quote(second2, DOLLAR, BITCOIN, dollars - into1)
                best = max(best, out + through)
    except LiquidityExhausted:
        assume(False)
    _, brought = sold(pools, ETHER.address, BITCOIN.address, amount)

    # Four pools that pay out may each round one unit away, which a lucky grid point may not. Where a sale is far
    # too large for its pools, and most of it is lost, floats aim to a millionth.
    is_far_too_large = 2 * best < raw_of(BITCOIN, usd)
    assert brought >= best - 4 - (best // 10**6 if is_far_too_large else 0)


def quote(pool: UniswapV3Pool, token_in: Token, token_out: Token, amount: int) -> int:
    """What comes out; nothing for nothing."""
    return pool.quote_in(token_in.address, token_out.address, amount) if amount else 0
