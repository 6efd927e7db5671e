"""Integer arithmetic of Uniswap V3, with identical results, including each rounding.

The functions equal `TickMath`, `SqrtPriceMath` and `SwapMath` of v3-core 1.0.1 for all inputs that do not revert;
`tests/contract/test_uniswap_v3_quotes.py` compares pools that use them with the deployed bytecode. This module does not
know pools.

A price is the square root of token1 per token0, both raw, times 2^96 (`sqrt_x96`). Tick t is the price 1.0001^t. `down`
means that the price falls, as in a sale of token0 for token1 (zeroForOne in v3-core).
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from math import isqrt

from rebalancer.units import PIPS, div_up

__all__ = [
    "MAX_SQRT_X96",
    "MAX_TICK",
    "MIN_SQRT_X96",
    "MIN_TICK",
    "Q96",
    "amount0_delta",
    "amount1_delta",
    "arbitrage_bounds",
    "full_step",
    "partial_step_in",
    "partial_step_out",
    "sqrt_at_tick",
    "sqrt_price_x96",
    "tick_at_sqrt",
]

Q96 = 1 << 96

MIN_TICK, MAX_TICK = -887_272, 887_272
"""Range of ticks: 1.0001^887272 is just below 2^128."""

_MAX_UINT256 = (1 << 256) - 1


def _half_powers() -> tuple[int, ...]:
    """1.0001^(-2^k / 2) in Q128 for k = 0 … 19, each rounded to the nearest integer."""
    with localcontext(prec=80):
        base = Decimal("1.0001")
        return tuple(int((base ** -(1 << k)).sqrt() * (1 << 128) + Decimal("0.5")) for k in range(20))


_HALF_POWERS = _half_powers()


@lru_cache(maxsize=1 << 16)
def sqrt_at_tick(tick: int) -> int:
    """sqrt(1.0001^tick) * 2^96, as TickMath.getSqrtRatioAtTick: products in Q128, then rounded up."""
    if not MIN_TICK <= tick <= MAX_TICK:
        raise ValueError(f"tick {tick} is outside {MIN_TICK} … {MAX_TICK}")
    ratio, rest = 1 << 128, abs(tick)
    for power in _HALF_POWERS:
        if rest & 1:
            ratio = ratio * power >> 128
        rest >>= 1
    if tick > 0:
        ratio = _MAX_UINT256 // ratio
    return -(-ratio >> 32)


MIN_SQRT_X96 = sqrt_at_tick(MIN_TICK)
MAX_SQRT_X96 = sqrt_at_tick(MAX_TICK)
"""Prices lie in [MIN_SQRT_X96, MAX_SQRT_X96)."""

_LOG_SQRT_TICK = math.log(1.0001) / 2
_LOG_Q96 = 96 * math.log(2)


def tick_at_sqrt(sqrt_x96: int) -> int:
    """The largest tick whose price is at most `sqrt_x96`, as TickMath.getTickAtSqrtRatio.

    The logarithm is only a guess with an error below a millionth of a tick; two comparisons decide.
    """
    if not MIN_SQRT_X96 <= sqrt_x96 < MAX_SQRT_X96:
        raise ValueError(f"sqrt price {sqrt_x96} is outside {MIN_SQRT_X96} … {MAX_SQRT_X96 - 1}")
    tick = math.floor((math.log(sqrt_x96) - _LOG_Q96) / _LOG_SQRT_TICK)
    tick = min(max(tick, MIN_TICK), MAX_TICK - 1)
    if sqrt_at_tick(tick) > sqrt_x96:
        return tick - 1
    if sqrt_at_tick(tick + 1) <= sqrt_x96:
        return tick + 1
    return tick


def amount0_delta(a_x96: int, b_x96: int, liquidity: int, *, up: bool) -> int:
    """Raw token0 between two prices, in either order: L * (1/low - 1/high), rounded `up` or down."""
    low, high = (a_x96, b_x96) if a_x96 < b_x96 else (b_x96, a_x96)
    numerator = (liquidity << 96) * (high - low)
    if up:
        return -(-numerator // (high * low))
    return numerator // (high * low)


def amount1_delta(a_x96: int, b_x96: int, liquidity: int, *, up: bool) -> int:
    """Raw token1 between two prices, in either order: L * (high - low), rounded `up` or down."""
    product = liquidity * abs(b_x96 - a_x96)
    return -(-product >> 96) if up else product >> 96


def full_step(start_x96: int, end_x96: int, liquidity: int, fee_pips: int, *, down: bool) -> tuple[int, int]:
    """Raw (input with fee, output) of moving the price over the whole step: SwapMath with a sufficient remaining
    amount.

    Both kinds of swaps agree here: an exact-input swap makes the whole step if and only if at least this input remains,
    an exact-output swap if and only if at least this output remains.
    """
    if down:
        net_in = amount0_delta(end_x96, start_x96, liquidity, up=True)
        out = amount1_delta(end_x96, start_x96, liquidity, up=False)
    else:
        net_in = amount1_delta(start_x96, end_x96, liquidity, up=True)
        out = amount0_delta(start_x96, end_x96, liquidity, up=False)
    return net_in + div_up(net_in * fee_pips, PIPS - fee_pips), out


def partial_step_in(start_x96: int, liquidity: int, amount_raw: int, fee_pips: int, *, down: bool) -> tuple[int, int]:
    """(End price, raw output) of an exact-input step that stops before its target.

    The fee is the part of `amount_raw` that the move to the end price does not use, so the whole amount is used. The
    end price is rounded against the trader: up when falling, down when rising.
    """
    net = amount_raw * (PIPS - fee_pips) // PIPS
    if down:
        end_x96 = _price_after_token0_in(start_x96, liquidity, net)
        return end_x96, amount1_delta(end_x96, start_x96, liquidity, up=False)
    end_x96 = start_x96 + (net << 96) // liquidity
    return end_x96, amount0_delta(start_x96, end_x96, liquidity, up=False)


def partial_step_out(start_x96: int, liquidity: int, amount_raw: int, fee_pips: int, *, down: bool) -> tuple[int, int]:
    """(End price, raw input with fee) of an exact-output step that wants less than its target gives.

    The end price is rounded against the trader: down when falling, up when rising. With a liquidity above 2^96, the
    rounding can reach the target itself, which then counts as reached.
    """
    if down:
        end_x96 = start_x96 - div_up(amount_raw << 96, liquidity)
        net_in = amount0_delta(end_x96, start_x96, liquidity, up=True)
    else:
        scaled = liquidity << 96
        end_x96 = div_up(scaled * start_x96, scaled - amount_raw * start_x96)
        net_in = amount1_delta(start_x96, end_x96, liquidity, up=True)
    return end_x96, net_in + div_up(net_in * fee_pips, PIPS - fee_pips)


def _price_after_token0_in(start_x96: int, liquidity: int, net: int) -> int:
    """L / (L / price + net), rounded up, with the contract's lower precision if a word would overflow."""
    if net == 0:
        return start_x96
    scaled, product = liquidity << 96, net * start_x96
    if scaled + product <= _MAX_UINT256:
        return div_up(scaled * start_x96, scaled + product)
    return div_up(scaled, scaled // start_x96 + net)


def arbitrage_bounds(price0_e8: int, price1_e8: int, decimals0: int, decimals1: int, fee_pips: int) -> tuple[int, int]:
    """The pool's sqrt prices (* 2^96) between which no arbitrage pays, rounded down.

    {token1/token0} = {usd/token0} / {usd/token1}. Buying token0 from the pool at price P costs P / (1 - fee) and pays
    while this is below the outside price M; selling it brings P * (1 - fee). So P stays between M * (1 - fee) and M /
    (1 - fee).
    """
    kept = PIPS - fee_pips
    return (
        sqrt_price_x96(price0_e8 * kept, price1_e8 * PIPS, decimals0, decimals1),
        sqrt_price_x96(price0_e8 * PIPS, price1_e8 * kept, decimals0, decimals1),
    )


def sqrt_price_x96(price0: int, price1: int, decimals0: int, decimals1: int) -> int:
    """The sqrt price (* 2^96) of a pool, from the prices of both tokens.

    Prices are per whole token, in the same unit. Rounded down, and limited to the prices that a swap can reach, inside
    both ends of the range.
    """
    # {raw1/raw0} = {usd/token0} / {usd/token1} * {raw1/token1} / {raw0/token0}
    exact = isqrt((price0 * 10**decimals1 << 192) // (price1 * 10**decimals0))
    return min(max(exact, MIN_SQRT_X96 + 1), MAX_SQRT_X96 - 1)
