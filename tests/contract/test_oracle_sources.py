"""A second source that is the real Uniswap V3 pool: what moves its average, and what does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.price_sources import PRICE_SOURCES
from rebalancer.chain.receipt import Receipt
from rebalancer.operations.deploy import SourceSpec, set_source
from rebalancer.units import E18
from tests.contract.world import World, refused

NONE, CALL_FAILED, DIVERGED, SECOND_UNSOUND = 0, 2, 6, 9
WINDOW = 1_800
FEE_PIPS = 500


@dataclass(frozen=True)
class Average:
    """WETH's second source: its pool with USDC, at 2,000 dollars for longer than the window."""

    world: World
    pool: BoundContract

    def swap(self, usdc: int) -> Receipt:
        """Buy WETH for whole USDC, in a block of its own."""
        world, trader = self.world, self.world.bob
        amount = usdc * 10**6
        world.give(trader, [0, 0, amount])
        router = world.uniswap("SwapRouter02")
        trader.transact(world.usdc, "approve", router.address, amount)
        order = (world.usdc.address, world.weth.address, FEE_PIPS, trader.address, amount, 0, 0)
        return trader.transact(router, "exactInputSingle", order)

    def second(self, block: str = "latest") -> tuple[int, int]:
        """Price and fault of the average alone."""
        weth = self.world.weth.address
        _, (price_e18, fault) = self.world.oracle.call("readings", weth, block=block)
        return int(price_e18), int(fault)

    def price(self) -> tuple[int, int, int, int]:
        """lo, hi, primary and fault of WETH."""
        (price,) = self.world.read(self.world.oracle, "prices", [self.world.weth.address])
        return tuple(price)

    def tick(self) -> int:
        """The pool's tick of now."""
        return int(self.world.read(self.pool, "slot0")[1])

    def set(self, window_seconds: int = WINDOW) -> None:
        world = self.world
        spec = SourceSpec.of(
            PRICE_SOURCES["uniswap_v3_twap"],
            *(self.pool.address, window_seconds, 18, 6, world.weth_is_token0),
            quote=world.usdc.address,
            max_divergence_bps=100,
        )
        set_source(world.owner, world.system, world.weth.address, spec)


@pytest.fixture
def average(world: World) -> Average:
    pool = contract_at(world.chain.rpc, "UniswapV3Pool", world.pool(world.weth, world.usdc))
    made = Average(world, pool)
    world.stranger.transact(pool, "increaseObservationCardinalityNext", 16)
    made.swap(1)
    world.chain.mine(at=world.chain.now() + WINDOW)
    return made


def test_average_is_the_pools_price_to_a_tick(average: Average) -> None:
    average.set()

    second, fault = average.second()
    assert fault == NONE
    # 1 % at most off the feed, by the pool's own tick to 0.01 % of it.
    tick = average.tick() if average.world.weth_is_token0 else -average.tick()
    assert second == pytest.approx(1.0001**tick * 10**12 * E18, rel=1e-4)
    assert average.price() == (
        min(second, 2_000 * E18),
        max(second, 2_000 * E18),
        2_000 * E18,
        NONE,
    )


def test_average_does_not_move_within_a_block(average: Average) -> None:
    average.set()
    before, tick_before = average.second(), average.tick()

    receipt = average.swap(50_000_000)

    assert abs(average.tick() - tick_before) > 1_000
    second, fault = average.second(receipt.block_hash)
    assert fault == NONE
    # A tick that rounds another way is all there may be.
    assert second == pytest.approx(before[0], rel=1.01e-4)
    assert average.price()[3] == NONE


def test_average_follows_a_price_that_stays_and_stops_trading(average: Average) -> None:
    average.set()
    before, tick_before = average.second()[0], average.tick()
    average.swap(50_000_000)
    world, moved = average.world, abs(average.tick() - tick_before)

    world.chain.mine(at=world.chain.now() + WINDOW // 2)

    second, fault = average.second()
    assert fault == NONE
    # Half of the window at either price: half of the ticks.
    assert second == pytest.approx(before * 1.0001 ** (moved / 2), rel=5e-3)
    lo, hi, primary, fault = average.price()
    assert (lo, hi, primary, fault) == (2_000 * E18, second, 2_000 * E18, DIVERGED)


def test_average_over_more_than_the_pool_remembers_is_refused(average: Average) -> None:
    # One observation is all a pool keeps until somebody pays for more; that one is WINDOW old.
    adapter = average.world.system.price_sources["UniswapV3TwapFeed"]
    with refused("UnsoundSource", adapter=adapter, fault=CALL_FAILED):
        average.set(window_seconds=100 * 86_400)


def test_average_of_a_pool_that_is_gone_stops_and_starts_nothing(average: Average) -> None:
    average.set()
    average.world.chain.set_code(average.pool.address, b"")

    assert average.second() == (0, CALL_FAILED)
    assert average.price() == (2_000 * E18, 2_000 * E18, 2_000 * E18, SECOND_UNSOUND)
