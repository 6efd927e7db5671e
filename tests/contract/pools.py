"""Pools of `rebalancer.venues` put on a chain, in exactly their state."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from rebalancer.chain.contracts import contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.venues import UniswapV3Pool

__all__ = ["check_state", "rebuild"]

POSITIONS_PER_TRANSACTION = 50


def rebuild(market: DevMarket, pool: UniswapV3Pool) -> UniswapV3Pool:
    """The pool on chain; the one on paper with its address there."""
    chain = market.chain
    factory = contract_at(chain.rpc, "UniswapV3Factory", market.deployment.uniswap["UniswapV3Factory"])
    if factory.call("feeAmountTickSpacing", pool.fee_pips) == 0:
        owner = factory.call("owner")
        chain.set_balance(owner, 10**18)
        with chain.impersonating(owner) as sender:
            chain.transact(factory, "enableFeeAmount", pool.fee_pips, pool.tick_spacing, sender=sender)
    pair = (pool.token0.address, pool.token1.address, pool.fee_pips)
    chain.transact(factory, "createPool", *pair)
    made = contract_at(chain.rpc, "UniswapV3Pool", factory.call("getPool", *pair))
    chain.transact(made, "initialize", pool.sqrt_price_x96)
    positions = [
        (low.at, high.at, liquidity)
        for low, high in pairwise(pool.profile.ticks)
        if (liquidity := pool.profile.liquidity_at(low.at))
    ]
    for start in range(0, len(positions), POSITIONS_PER_TRANSACTION):
        some = positions[start : start + POSITIONS_PER_TRANSACTION]
        chain.transact(market.driver, "provide", made.address, some)
    on_paper = replace(pool, address=made.address)
    check_state(chain, on_paper)
    return on_paper


def check_state(chain: LocalChain, pool: UniswapV3Pool) -> None:
    """The pool on chain is in the state of the one on paper."""
    made = contract_at(chain.rpc, "UniswapV3Pool", pool.address)
    sqrt_x96, tick, *_ = made.call("slot0")
    assert (sqrt_x96, tick) == (pool.sqrt_price_x96, pool.tick)
    assert made.call("liquidity") == pool.liquidity
