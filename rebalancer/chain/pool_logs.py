"""How do its logs move a pool? Pure: a pool and what happened to it in, the pool as it is then out.

What is made is checked as any pool is: a log that was missed shows at the latest when the liquidity a swap
tells is not what the ticks add up to. Curve's logs do not tell enough; such pools are read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rebalancer.chain.abi import Event
from rebalancer.pools import (
    AnyPool,
    BalancerWeightedPool,
    Tick,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
)

__all__ = ["moved"]


def moved(pool: AnyPool, events: Sequence[Event]) -> AnyPool:
    """The pool once these events, its own and in order, have happened.

    Raises:
        BadPoolSnapshot: no pool in that state can have gone through them.
    """
    match pool:
        case UniswapV2Pool():
            return _v2(pool, events)
        case UniswapV3Pool() | UniswapV4Pool():
            return _ranged(pool, events)
        case BalancerWeightedPool():
            return _balancer(pool, events)
        case _:
            return pool


def _v2(pool: UniswapV2Pool, events: Sequence[Event]) -> UniswapV2Pool:
    for event in events:
        if event.name == "Sync":
            reserves = event.values["reserve0"], event.values["reserve1"]
            pool = replace(pool, reserves=reserves)
    return pool


def _ranged(pool: UniswapV3Pool | UniswapV4Pool, events: Sequence[Event]) -> AnyPool:
    """Swaps tell price, tick and liquidity; providing and withdrawing moves two ticks, and the liquidity between them."""
    sqrt_price_x96, tick, liquidity = pool.sqrt_price_x96, pool.tick, pool.liquidity
    ticks = {at: (gross, net) for at, gross, net in pool.profile.ticks}
    protocol_fees: tuple[int, int] | None = None
    for event in events:
        values = event.values
        if event.name == "Swap":
            sqrt_price_x96 = values["sqrtPriceX96"]
            tick, liquidity = values["tick"], values["liquidity"]
        elif event.name in ("Mint", "Burn", "ModifyLiquidity"):
            low, high = values["tickLower"], values["tickUpper"]
            if event.name == "ModifyLiquidity":
                change = values["liquidityDelta"]
            else:
                change = values["amount"] if event.name == "Mint" else -values["amount"]
            for at, net_change in ((low, change), (high, -change)):
                gross, net = ticks.get(at, (0, 0))
                ticks[at] = gross + change, net + net_change
            if low <= tick < high:
                liquidity += change
        elif event.name == "ProtocolFeeUpdated":
            packed = values["protocolFee"]
            protocol_fees = packed & 0xFFF, packed >> 12
    left = tuple(Tick(at, *ticks[at]) for at in sorted(ticks) if ticks[at] != (0, 0))
    profile = pool.profile if left == pool.profile.ticks else replace(pool.profile, ticks=left)
    if isinstance(pool, UniswapV3Pool):
        return replace(
            pool,
            profile=profile,
            sqrt_price_x96=sqrt_price_x96,
            tick=tick,
            liquidity=liquidity,
        )
    return replace(
        pool,
        profile=profile,
        sqrt_price_x96=sqrt_price_x96,
        tick=tick,
        liquidity=liquidity,
        protocol_fees_pips=protocol_fees or pool.protocol_fees_pips,
    )


def _balancer(pool: BalancerWeightedPool, events: Sequence[Event]) -> BalancerWeightedPool:
    places = {token.address: k for k, token in enumerate(pool.tokens)}
    balances, fee_e18 = list(pool.balances), pool.fee_e18
    for event in events:
        values = event.values
        if event.name == "Swap":
            balances[places[values["tokenIn"]]] += values["amountIn"]
            balances[places[values["tokenOut"]]] -= values["amountOut"]
        elif event.name == "PoolBalanceChanged":
            rows = zip(
                values["tokens"], values["deltas"], values["protocolFeeAmounts"], strict=True
            )
            for token, delta, fee in rows:
                balances[places[token]] += delta - fee
        elif event.name == "PoolBalanceManaged":
            balances[places[values["token"]]] += values["cashDelta"] + values["managedDelta"]
        elif event.name == "SwapFeePercentageChanged":
            fee_e18 = values["swapFeePercentage"]
    return replace(pool, balances=tuple(balances), fee_e18=fee_e18)
