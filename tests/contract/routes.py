"""Hops between the basket's tokens on the market's pools, and what Uniswap's own quoter says they bring."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rebalancer.route import Hop
from rebalancer.venues import swap_router_02
from rebalancer.venues.uniswap_v3 import v3_hop
from tests.contract.world import World

__all__ = ["USDC", "WBTC", "WETH", "pool_hop", "quote", "router_hop"]

WETH, WBTC, USDC = range(3)
"""Places in the basket."""

_FEES_PIPS = {
    frozenset({WETH, WBTC}): 3_000,
    frozenset({WETH, USDC}): 500,
    frozenset({WBTC, USDC}): 3_000,
}


def pool_hop(world: World, amount_in: int, sold: int, bought: int, to_caller: bool) -> Hop:
    """A swap on the market's pool of two assets of the basket; amount 0 is all there is."""
    token_in, token_out = world.tokens[sold], world.tokens[bought]
    pool = world.pool(token_in, token_out)
    return v3_hop(pool, amount_in, token_in.address, token_out.address, to_caller=to_caller)


def router_hop(world: World, amount_in: int, way: Sequence[int], to_caller: bool) -> Hop:
    """A swap by SwapRouter02 along the assets named."""
    return swap_router_02.router_hop(
        world.uniswap("SwapRouter02").address,
        amount_in,
        [world.tokens[i].address for i in way],
        _fees(way),
        to_caller=to_caller,
    )


def quote(world: World, amount_in: int, way: Sequence[int]) -> int:
    """What comes out of pools that nobody has touched since."""
    path = bytes.fromhex(world.tokens[way[0]].address[2:])
    for fee, i in zip(_fees(way), way[1:], strict=True):
        path += fee.to_bytes(3) + bytes.fromhex(world.tokens[i].address[2:])
    return int(world.read(world.uniswap("QuoterV2"), "quoteExactInput", path, amount_in)[0])


def _fees(way: Sequence[int]) -> tuple[int, ...]:
    return tuple(_FEES_PIPS[frozenset(pair)] for pair in pairwise(way))
