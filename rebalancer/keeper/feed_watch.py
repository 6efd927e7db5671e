"""Comparison of price feeds with the market, at intervals, independent of the decisions of a keeper.

A feed that differs from the listed pools by more than a vault's policy allows as slippage makes every trade impossible,
or a gift to traders. Decisions do not show this, because weights are computed from the feed. The difference is logged
when it begins and ends, and reported to observers. A failed comparison changes nothing and stops nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import structlog

from rebalancer.block import Block
from rebalancer.chain.interfaces import interface
from rebalancer.chain.pools import read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.errors import ChainError, PoolError
from rebalancer.keeper.context import KeeperContext
from rebalancer.keeper.decide import as_traded
from rebalancer.market_price import MAX_SLIPPAGE_BPS, off_market

__all__ = ["FeedWatch"]

log = structlog.get_logger("rebalancer.keeper")

_SECONDS = 60.0


class FeedWatch:
    """Compares the feeds and pools of a context, at most once per interval. Not thread-safe."""

    def __init__(self, rpc: Rpc, context: KeeperContext, every_seconds: float = _SECONDS) -> None:
        self.rpc = rpc
        self.context = context
        self.every_seconds = every_seconds
        self._found: dict[str, str] = {}
        self._at = -math.inf

    def check(self, block: Block, vaults: Sequence[VaultSnapshot]) -> Mapping[str, str]:
        """The tokens whose feeds are off the market, each with a sentence. Between comparisons, or after a failed one,
        the last result.

        `vaults` give the limits: a token's limit is the largest slippage limit of the vaults that hold it, or of all
        vaults if none holds it.
        """
        if time.monotonic() - self._at < self.every_seconds or not self.context.pools:
            return self._found
        self._at = time.monotonic()
        try:
            found = self._compare(block, vaults)
        except (ChainError, PoolError) as failure:
            log.warning("feeds_not_compared", why=str(failure))
            return self._found
        for token in found.keys() - self._found.keys():
            log.error("feed_off_market", token=token, block=block.number, why=found[token])
        for token in self._found.keys() - found.keys():
            log.info("feed_back_at_market", token=token, block=block.number)
        self._found = found
        return found

    def _compare(self, block: Block, vaults: Sequence[VaultSnapshot]) -> dict[str, str]:
        context = self.context
        known = {token.address: token for token in context.tokens}
        hub = interface("OracleHub").at(context.system.oracle)
        answers = hub.call(self.rpc, "prices", list(known), block=block.hash)
        prices_e18 = {token: primary for token, (_, _, primary, fault) in zip(known, answers, strict=True) if not fault}
        pools = read_pools(
            *(self.rpc, context.pools, block, context.chain_id), tokens=known, lens=context.system.uniswap_v3_lens
        )
        limits: dict[str, int] = {}
        for vault in vaults:
            for asset in vault.basket.assets:
                widest = max(limits.get(asset.token, 0), vault.policy.max_slippage_bps)
                limits[asset.token] = widest
        traded = as_traded(pools, context.tokens, context.wrapped_native)
        off = off_market(prices_e18, traded, MAX_SLIPPAGE_BPS, limits)
        return {one.token: f"{known[one.token].symbol}: {one.sentence}" for one in off}
