"""Uniswap V4 on a chain, and pools of `rebalancer.venues` put there in exactly their state.

It is here and not in `rebalancer.devnet` because PoolManager's licence keeps its code out of the wheel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.route import Hop
from rebalancer.venues import Token, UniswapV4Pool
from rebalancer.venues.uniswap_v4 import v4_hop

__all__ = ["ETHER", "NO_HOOKS", "UniswapV4", "key_of"]

ETHER = Token("0x" + "0" * 40, "ETH", 18)
NO_HOOKS = "0x" + "0" * 40

_RICHES_WEI = 10**30
_RICHES_RAW = 1 << 140


def key_of(pool: UniswapV4Pool, hooks: str = NO_HOOKS) -> tuple[str, str, int, int, str]:
    """PoolKey of a pool."""
    token0, token1 = (token.address for token in pool.tokens)
    return token0, token1, pool.profile.fee_pips, pool.tick_spacing, hooks


@dataclass(frozen=True)
class UniswapV4:
    """Its contracts; whoever deployed them owns PoolManager and provides the liquidity."""

    chain: LocalChain
    owner: str
    manager: BoundContract
    provider: BoundContract
    quoter: BoundContract
    state: BoundContract

    @classmethod
    def install(cls, chain: LocalChain, owner: str) -> Self:
        """Deploy PoolManager, its authors' test provider of liquidity, V4Quoter and StateView."""
        manager = chain.deploy("PoolManager", owner, sender=owner)
        others = (
            chain.deploy(name, manager.address, sender=owner)
            for name in ("PoolModifyLiquidityTest", "V4Quoter", "StateView")
        )
        return cls(chain, owner, manager, *others)

    def rebuild(self, pool: UniswapV4Pool, hooks: str = NO_HOOKS) -> UniswapV4Pool:
        """The pool on chain, one position per adjacent pair of ticks; the one on paper with its manager.

        Its tokens are ether or can be minted by anybody.
        """
        for token in pool.tokens:
            if token.address == ETHER.address:
                self.chain.set_balance(self.owner, _RICHES_WEI)
            else:
                contract = contract_at(self.chain.rpc, "MockToken", token.address)
                self._send(contract, "mint", self.owner, _RICHES_RAW)
                self._send(contract, "approve", self.provider.address, (1 << 256) - 1)
        key = key_of(pool, hooks)
        self._send(self.manager, "initialize", key, pool.sqrt_price_x96)
        if pool.protocol_fees_pips != (0, 0):
            self._send(self.manager, "setProtocolFeeController", self.owner)
            down, up = pool.protocol_fees_pips
            self._send(self.manager, "setProtocolFee", key, up << 12 | down)
        value_wei = _RICHES_WEI // 2 if pool.token0.address == ETHER.address else 0
        for low, high in pairwise(pool.profile.ticks):
            if liquidity := pool.profile.liquidity_at(low.at):
                position = (low.at, high.at, liquidity, b"\0" * 32)
                # What is not needed comes back.
                self._send(
                    self.provider,
                    "modifyLiquidity",
                    *(key, position, b"", False, False),
                    value_wei=value_wei,
                )
        made = replace(pool, manager=self.manager.address)
        if hooks == NO_HOOKS:
            self.check_state(made)
        return made

    def check_state(self, pool: UniswapV4Pool) -> None:
        """The pool on chain is in the state of the one on paper."""
        ref = bytes.fromhex(pool.pool_id[2:])
        sqrt_x96, tick, protocol_fee, lp_fee = self.state.call("getSlot0", ref)
        assert (sqrt_x96, tick) == (pool.sqrt_price_x96, pool.tick)
        assert (protocol_fee & 0xFFF, protocol_fee >> 12) == pool.protocol_fees_pips
        assert lp_fee == pool.profile.fee_pips
        assert self.state.call("getLiquidity", ref) == pool.liquidity

    def hop(
        self,
        pool: UniswapV4Pool,
        weth: str,
        *,
        down: bool,
        amount_in: int = 0,
        to_caller: bool = True,
        hooks: str = NO_HOOKS,
    ) -> Hop:
        """A swap on a pool: token0 for token1, or back. Where the pool holds ether the hop says WETH."""
        ends = [weth if t.address == ETHER.address else t.address for t in pool.tokens]
        ether = pool.token0.address == ETHER.address
        token_in, token_out = ends if down else ends[::-1]
        return v4_hop(
            self.manager.address,
            amount_in,
            token_in,
            token_out,
            pool.profile.fee_pips,
            pool.tick_spacing,
            hooks=hooks,
            to_caller=to_caller,
            ether_in=ether and down,
            ether_out=ether and not down,
        )

    def _send(self, contract: BoundContract, function: str, *args: object, value_wei: int = 0) -> None:
        self.chain.transact(contract, function, *args, sender=self.owner, value_wei=value_wei)
