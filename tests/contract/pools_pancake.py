"""PancakeSwap V3 on a chain, and pools of `rebalancer.venues` put there in exactly their state.

Factory and pool are the published ones; what stands between them, and who provides, is MockPancakeDeployer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Self

from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.venues import UniswapV3Pool
from rebalancer.venues.pancakeswap_v3 import PancakeSwapV3Pool

__all__ = ["PANCAKE_TIERS", "PancakeSwapV3", "as_pancake"]

PANCAKE_TIERS = (
    *((100, 1), (500, 10), (2_500, 50), (10_000, 200)),
    *((0, 60), (999_999, 7), (3_000, 16_383)),
)
"""Fee and spacing: its own, and the ends of what the factory's owner may add."""

_POSITIONS_PER_TRANSACTION = 50


def as_pancake(pool: UniswapV3Pool) -> PancakeSwapV3Pool:
    """A pool of PancakeSwap V3 in the state of one of Uniswap V3."""
    return PancakeSwapV3Pool(**{field.name: getattr(pool, field.name) for field in fields(pool)})


@dataclass(frozen=True)
class PancakeSwapV3:
    """Its contracts; whoever deployed them owns the factory."""

    chain: LocalChain
    owner: str
    factory: BoundContract
    deployer: BoundContract

    @classmethod
    def install(cls, chain: LocalChain, owner: str) -> Self:
        """Deploy the published factory, and what makes pools for it."""
        deployer = chain.deploy("MockPancakeDeployer", sender=owner)
        factory = chain.deploy("PancakeV3Factory", deployer.address, sender=owner)
        return cls(chain, owner, factory, deployer)

    def rebuild(self, pool: PancakeSwapV3Pool) -> PancakeSwapV3Pool:
        """The pool on chain, one position per adjacent pair of ticks; the one on paper with its address there."""
        if self.factory.call("feeAmountTickSpacing", pool.fee_pips) == 0:
            self._send(self.factory, "enableFeeAmount", pool.fee_pips, pool.tick_spacing)
        pair = (pool.token0.address, pool.token1.address, pool.fee_pips)
        code = load_artifact("PancakeV3Pool").creation_code()
        self._send(self.deployer, "create", self.factory.address, *pair, code)
        made = self.contract(self.factory.call("getPool", *pair))
        self._send(made, "initialize", pool.sqrt_price_x96)
        self.provide(
            made.address,
            [
                (low.at, high.at, liquidity)
                for low, high in pairwise(pool.profile.ticks)
                if (liquidity := pool.profile.liquidity_at(low.at))
            ],
        )
        on_paper = replace(pool, address=made.address)
        self.check_state(on_paper)
        return on_paper

    def contract(self, address: str) -> BoundContract:
        """A pool."""
        return contract_at(self.chain.rpc, "PancakeV3Pool", address)

    def check_state(self, pool: PancakeSwapV3Pool) -> None:
        """The pool on chain is in the state of the one on paper."""
        made = self.contract(pool.address)
        sqrt_x96, tick, *_ = made.call("slot0")
        assert (sqrt_x96, tick) == (pool.sqrt_price_x96, pool.tick)
        assert made.call("liquidity") == pool.liquidity

    def provide(self, pool: str, positions: Sequence[tuple[int, int, int]]) -> None:
        """Positions of (lower tick, upper tick, liquidity)."""
        for start in range(0, len(positions), _POSITIONS_PER_TRANSACTION):
            some = list(positions[start : start + _POSITIONS_PER_TRANSACTION])
            self._send(self.deployer, "provide", pool, some)

    def withdraw(self, pool: str, position: tuple[int, int, int]) -> None:
        """Liquidity out of a position."""
        self._send(self.deployer, "withdraw", pool, [position])

    def _send(self, contract: BoundContract, function: str, *args: object) -> None:
        self.chain.transact(contract, function, *args, sender=self.owner)
