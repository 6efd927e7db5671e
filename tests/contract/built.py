"""A pool of every venue and kind, put on a local chain in a known state: what test_conformance.py holds to one rule.

A venue that is added needs an entry in `BUILDERS`, or a reason in `UNPUBLISHED` why its code cannot be run here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

from rebalancer.chain.contracts import contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import ContractReverted
from rebalancer.units import E18
from rebalancer.venues import PoolState, TickProfile, Token, UniswapV3Pool, UniswapV4Pool
from rebalancer.venues.erc4626 import ERC4626Pool
from rebalancer.venues.uniswap_v2 import MAX_RESERVE_RAW
from rebalancer.venues.uniswap_v3 import InitializedTick
from rebalancer.venues.uniswap_v3_math import MAX_TICK
from tests.contract.desk import Desk
from tests.contract.pools import rebuild
from tests.contract.pools_balancer import BalancerV2
from tests.contract.pools_balancer_v3 import BalancerV3
from tests.contract.pools_balancer_v3 import random_pool as random_weighted_v3
from tests.contract.pools_pancake import PANCAKE_TIERS, PancakeSwapV3, as_pancake
from tests.contract.pools_v4 import UniswapV4, key_of
from tests.contract.test_balancer_quotes import random_pool as random_weighted
from tests.contract.test_uniswap_v2_quotes import Pair
from tests.contract.test_uniswap_v3_quotes import random_pool, token_pair
from tests.contract.test_uniswap_v4 import as_v4

__all__ = ["BUILDERS", "UNPUBLISHED", "Builder", "Built", "bare", "in_pieces"]


@dataclass(frozen=True)
class Built:
    """A pool on a chain, the same on paper, and what stirs it beside swaps."""

    paper: PoolState
    stir: Callable[[PoolState, random.Random], None]
    stock: Callable[[str], str] | None = None
    """Gives an account all there is of a token that nobody can mint, and says which it is."""

    def desk(self, chain: LocalChain) -> Desk:
        """Where it is traded."""
        made = Desk.open(chain)
        return made if self.stock is None else replace(made, stocked=(self.stock(made.caller.address),))


Builder = Callable[[DevMarket, int], Built]
"""Makes a pool of a seed."""


def bare(pool: Any) -> Any:
    """Without what the chain does not know of a pool on paper: its name, and when it was."""
    return replace(pool, name="", block=0, chain_id=1)


def in_pieces(profile: TickProfile) -> TickProfile:
    """The same liquidity as `rebuild` provides it: one position between any two ticks that follow each other."""
    ticks = []
    for at in profile.indices:
        below, above = profile.liquidity_at(at - 1), profile.liquidity_at(at)
        if below or above:
            ticks.append(InitializedTick(at, below + above, above - below))
    return replace(profile, ticks=tuple(ticks))


def _pieced(pool: UniswapV3Pool) -> UniswapV3Pool:
    return replace(pool, profile=in_pieces(pool.profile))


def _position(pool: UniswapV3Pool | UniswapV4Pool, rng: random.Random) -> tuple[int, int, int]:
    """Somewhere around the price: lower tick, upper tick, liquidity."""
    spacing = pool.profile.tick_spacing
    last = MAX_TICK // spacing
    centre = min(max(pool.tick // spacing + rng.randint(-30, 30), 1 - last), last - 1)
    low, high = centre - rng.randint(1, 20), centre + rng.randint(1, 20)
    low, high = max(low, -last), min(high, last)
    return low * spacing, high * spacing, rng.randint(10**6, 10**15)


def _taken_out(liquidity: int, rng: random.Random) -> int:
    """Nothing, a part or all."""
    return rng.choice([0, liquidity // 3, liquidity])


def uniswap_v2(market: DevMarket, seed: int) -> Built:
    chain, rng = market.chain, random.Random(seed)
    reserves = rng.randint(10**6, 1 << rng.randint(30, 100)), rng.randint(10**9, 1 << 90)
    pair = Pair.opened(chain, reserves)

    def provide(pool: PoolState, rng: random.Random) -> None:
        """Both coins in proportion: the pair mints its shares for them, and keeps what is odd."""
        reserves = pair.contract.call("getReserves")[:2]
        part = rng.randint(2, 9)
        for token, reserve in zip(pool.tokens, reserves, strict=True):
            added = min(reserve // part + 1, MAX_RESERVE_RAW - reserve)
            pair.mint(token.address, pool.address, added)
        chain.transact(pair.contract, "mint", chain.accounts[0])

    return Built(pair.paper, provide)


def uniswap_v3(market: DevMarket, seed: int) -> Built:
    chain = market.chain
    pool = rebuild(market, _pieced(random_pool(seed, token_pair(chain))))

    def provide_and_withdraw(now: PoolState, rng: random.Random) -> None:
        assert isinstance(now, UniswapV3Pool)
        low, high, liquidity = _position(now, rng)
        chain.transact(market.driver, "provide", now.address, [(low, high, liquidity)])
        if leaves := _taken_out(liquidity, rng):
            chain.set_balance(market.driver.address, 10**18)
            with chain.impersonating(market.driver.address) as sender:
                made = contract_at(chain.rpc, "UniswapV3Pool", now.address)
                chain.transact(made, "burn", low, high, leaves, sender=sender)

    return Built(pool, provide_and_withdraw)


def pancakeswap_v3(market: DevMarket, seed: int) -> Built:
    pancake = PancakeSwapV3.install(market.chain, market.chain.accounts[2])
    on_paper = _pieced(random_pool(seed, token_pair(market.chain), PANCAKE_TIERS))
    pool = pancake.rebuild(as_pancake(on_paper))

    def provide_and_withdraw(now: PoolState, rng: random.Random) -> None:
        assert isinstance(now, UniswapV3Pool)
        low, high, liquidity = _position(now, rng)
        pancake.provide(now.address, [(low, high, liquidity)])
        if leaves := _taken_out(liquidity, rng):
            pancake.withdraw(now.address, (low, high, leaves))

    return Built(pool, provide_and_withdraw)


def uniswap_v4(market: DevMarket, seed: int) -> Built:
    """With a protocol fee of its own in each direction."""
    chain = market.chain
    v4 = UniswapV4.install(chain, chain.accounts[2])
    on_v3 = _pieced(random_pool(seed, token_pair(chain)))
    pool = v4.rebuild(as_v4(on_v3, (500, 1_000)))

    def change(now: PoolState, rng: random.Random) -> None:
        assert isinstance(now, UniswapV4Pool)
        low, high, liquidity = _position(now, rng)
        owner, key = chain.accounts[2], key_of(now)
        for moved in (liquidity, -_taken_out(liquidity, rng)):
            if moved:
                position = (low, high, moved, b"\0" * 32)
                ends = (key, position, b"", False, False)
                with suppress(ContractReverted) if moved < 0 else nullcontext():
                    # Their provider asserts that a withdrawal brings a unit of something.
                    chain.transact(v4.provider, "modifyLiquidity", *ends, sender=owner)
        fees = rng.randint(0, 1_000) << 12 | rng.randint(0, 1_000)
        chain.transact(v4.manager, "setProtocolFee", key, fees, sender=owner)

    return Built(pool, change)


def balancer(version: str) -> Builder:
    def weighted(market: DevMarket, seed: int) -> Built:
        vault = BalancerV2.install(market.chain, market.chain.accounts[2])
        drawn = random_weighted(market.chain, seed + 1, version)
        # So many units that each shows by its answers which mathematics it has.
        many = tuple(max(balance, 10**21 + balance) for balance in drawn.balances)
        pool = vault.rebuild(replace(drawn, balances=many))

        def join(now: PoolState, rng: random.Random) -> None:
            """The pool pays its protocol fees then."""
            vault.join(pool, [rng.randint(0, amount // 7) for amount in now.balances])  # type: ignore[attr-defined]

        return Built(pool, join)

    return weighted


def balancer_v3(*, rated: bool) -> Builder:
    def weighted(market: DevMarket, seed: int) -> Built:
        vault = BalancerV3.install(market.chain, market.chain.accounts[2])
        drawn = random_weighted_v3(market.chain, seed, rated=rated, least=10**21)
        pool = vault.rebuild(drawn)

        def change(now: PoolState, rng: random.Random) -> None:
            """Liquidity, fees, pauses; and the rate of a token, which pays for its yield then."""
            vault.stir(now, rng)  # type: ignore[arg-type] # a pool of this builder is one of Balancer V3
            for place, rate in enumerate(drawn.rates_e18):
                if rate != E18:
                    vault.set_rate(place, rate + rng.randint(0, rate // 50))

        return Built(pool, change)

    return weighted


def erc4626(market: DevMarket, seed: int) -> Built:
    """OpenZeppelin's, with an offset, something given to it, and limits."""
    chain, rng, alice = market.chain, random.Random(seed), market.chain.accounts[0]
    asset, _ = token_pair(chain)
    token = contract_at(chain.rpc, "MockToken", asset.address)
    offset = rng.choice([0, 6])
    vault = chain.deploy("MockERC4626", asset.address, offset)
    chain.transact(token, "mint", alice, 10**40)
    chain.transact(token, "approve", vault.address, 10**40)
    chain.transact(vault, "deposit", rng.randint(10**6, 10**24), alice)
    chain.transact(token, "mint", vault.address, rng.randint(0, 10**24))
    shares = vault.call("totalSupply")
    limits = 10**30, shares // 9  # so that a few trades find enough in stock
    chain.transact(vault, "setLimits", *limits)
    paper = ERC4626Pool(
        vault.address,
        (asset, Token(vault.address, "SHARE", 18 + offset)),
        vault.call("totalAssets"),
        shares,
        offset,
        *limits,
    )

    def stock(holder: str) -> str:
        chain.transact(vault, "transfer", holder, shares)
        return vault.address

    def change(now: PoolState, rng: random.Random) -> None:
        """A gift, and somebody else's deposit."""
        chain.transact(token, "transfer", vault.address, rng.randint(1, 10**20))
        chain.transact(vault, "deposit", rng.randint(1, 10**20), alice)

    return Built(paper, change, stock)


BUILDERS: Mapping[str, Mapping[str, Builder]] = {
    "uniswap-v2": {"Uniswap V2": uniswap_v2},
    "pancakeswap-v3": {"PancakeSwap V3": pancakeswap_v3},
    "uniswap-v3": {"Uniswap V3": uniswap_v3},
    "uniswap-v4": {"Uniswap V4": uniswap_v4},
    "balancer": {
        "Balancer V2 weighted": balancer("v1"),
        "Balancer V2 weighted, of 2022": balancer("v2"),
    },
    "balancer-v3": {
        "Balancer V3 weighted": balancer_v3(rated=False),
        "Balancer V3 weighted, with rates": balancer_v3(rated=True),
    },
    "erc4626": {"ERC-4626": erc4626},
}
"""By venue and by kind; where a kind has several forms, with what tells them after a comma."""

UNPUBLISHED = {
    "curve": "no npm package holds a compiled pool; its answers on mainnet are in tests/unit/test_curve_vectors.py",
    "wsteth": "Lido's contracts are on no registry; tests/contract/test_wrap_venues.py trades on a double of them",
    "slipstream": "it is on no registry; what its source paid is in tests/vectors/slipstream.json",
}
"""Venues whose pools are on paper alone, and why."""
