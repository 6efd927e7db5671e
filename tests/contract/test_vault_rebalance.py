"""Rebalances through RouteExecutor on real Uniswap V3 code: every venue, straight and in several hops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.policy import surplus_raw
from rebalancer.route import Hop, encode
from rebalancer.settlement import Fill, settle, weigh_basket
from rebalancer.units import E18
from rebalancer.venues.uniswap_v3 import v3_hop
from tests.contract.routes import USDC, WBTC, WETH, pool_hop, quote, router_hop
from tests.contract.world import SEEDS, World, refused

ETHER_USD = 2_400
"""The price at which WETH is 480,000 dollars of 1,080,000, and 48,000 too many."""

SOLD_RAW = 6 * E18
Hops = Callable[[World, int], Sequence[Hop]]


STRAIGHT = (WETH, WBTC)
BY_USDC = (WETH, USDC, WBTC)
ROUTES: dict[str, tuple[Sequence[int], Hops]] = {
    "pool, to the vault": (STRAIGHT, lambda w, x: [pool_hop(w, x, WETH, WBTC, True)]),
    "pool, by the executor": (STRAIGHT, lambda w, x: [pool_hop(w, x, WETH, WBTC, False)]),
    "pool, all there is": (STRAIGHT, lambda w, x: [pool_hop(w, 0, WETH, WBTC, True)]),
    "router, to the vault": (STRAIGHT, lambda w, x: [router_hop(w, x, STRAIGHT, True)]),
    "router, by the executor": (STRAIGHT, lambda w, x: [router_hop(w, x, STRAIGHT, False)]),
    "router, all there is": (STRAIGHT, lambda w, x: [router_hop(w, 0, STRAIGHT, True)]),
    "two pools": (
        BY_USDC,
        lambda w, x: [pool_hop(w, x, WETH, USDC, False), pool_hop(w, 0, USDC, WBTC, True)],
    ),
    "two pools, by the executor": (
        BY_USDC,
        lambda w, x: [pool_hop(w, x, WETH, USDC, False), pool_hop(w, 0, USDC, WBTC, False)],
    ),
    "router through two pools": (BY_USDC, lambda w, x: [router_hop(w, x, BY_USDC, True)]),
    "router through two, by the executor": (
        BY_USDC,
        lambda w, x: [router_hop(w, x, BY_USDC, False)],
    ),
    "pool, then router": (
        BY_USDC,
        lambda w, x: [pool_hop(w, x, WETH, USDC, False), router_hop(w, 0, (USDC, WBTC), True)],
    ),
    "router, then pool": (
        BY_USDC,
        lambda w, x: [router_hop(w, x, (WETH, USDC), False), pool_hop(w, 0, USDC, WBTC, True)],
    ),
}


@pytest.fixture
def broken(world: World, vault: BoundContract) -> BoundContract:
    """The vault with WETH above its band."""
    world.move_market({"ETH": ETHER_USD})
    return vault


def rebalance(world: World, vault: BoundContract, buys: Sequence[int], route: bytes, sold: int = SOLD_RAW) -> None:
    world.keeper.transact(vault, "rebalance", 0, [sold, 0, 0], list(buys), world.executor.address, route)


def snapshot_of(world: World, vault: BoundContract) -> VaultSnapshot:
    block = read_block(world.chain.rpc)
    return read_vaults(world.chain.rpc, world.system.lens, [vault.address], block)[0]


def assert_nothing_left_behind(world: World) -> None:
    """The executor has no token and no allowance after it is done."""
    assert world.balances(world.executor) == [0, 0, 0]
    for token in world.tokens:
        router = world.uniswap("SwapRouter02").address
        assert world.read(token, "allowance", world.executor.address, router) == 0


@pytest.mark.parametrize("name", ROUTES)
def test_rebalance_along_a_route_brings_what_the_quoter_says(world: World, broken: BoundContract, name: str) -> None:
    way, hops = ROUTES[name]
    bought = quote(world, SOLD_RAW, way)
    assert bought > 0
    snapshot = snapshot_of(world, broken)

    rebalance(world, broken, [0, bought, 0], encode(list(hops(world, SOLD_RAW))))

    held = [SEEDS[0] - SOLD_RAW, SEEDS[1] + bought, SEEDS[2]]
    assert list(world.read(broken, "held")) == held
    assert world.balances(broken) == held
    assert_nothing_left_behind(world)
    settled = settle(
        snapshot.policy,
        snapshot.state,
        snapshot.basket,
        Fill((SOLD_RAW, 0, 0), (0, bought, 0)),
        [0, bought, 0],
        world.chain.now(),
        epoch=0,
    )
    assert world.read(broken, "state") == astuple(settled.state)
    assert settled.loss_e18 > 0


def test_rebalance_split_over_two_routes_buys_both_deficits(world: World, broken: BoundContract) -> None:
    """A part to WBTC, all the rest to USDC; the second hop names no amount."""
    part = 4 * E18
    wbtc = quote(world, part, (WETH, WBTC))
    usdc = quote(world, SOLD_RAW - part, (WETH, USDC))
    route: list[Hop] = [
        pool_hop(world, part, WETH, WBTC, True),
        router_hop(world, 0, (WETH, USDC), True),
    ]

    rebalance(world, broken, [0, wbtc, usdc], encode(route))

    assert list(world.read(broken, "held")) == [
        SEEDS[0] - SOLD_RAW,
        SEEDS[1] + wbtc,
        SEEDS[2] + usdc,
    ]
    assert_nothing_left_behind(world)


def test_rebalance_that_swaps_a_part_gets_the_rest_back(world: World, broken: BoundContract) -> None:
    part = SOLD_RAW - 10**17
    bought = quote(world, part, (WETH, WBTC))

    rebalance(world, broken, [0, bought, 0], encode([pool_hop(world, part, WETH, WBTC, True)]))

    assert list(world.read(broken, "held")) == [SEEDS[0] - part, SEEDS[1] + bought, SEEDS[2]]
    assert_nothing_left_behind(world)


def test_rebalance_one_unit_short_of_the_keepers_limit_is_refused(world: World, broken: BoundContract) -> None:
    bought = quote(world, SOLD_RAW, STRAIGHT)
    route = encode([pool_hop(world, SOLD_RAW, WETH, WBTC, True)])

    with refused("BoughtTooLittle", asset=1, boughtRaw=bought, minimumRaw=bought + 1):
        rebalance(world, broken, [0, bought + 1, 0], route)
    assert list(world.read(broken, "held")) == list(SEEDS)


def test_rebalance_into_an_asset_that_was_not_asked_for_is_a_loss(world: World, broken: BoundContract) -> None:
    """What arrives unasked is a gift, so nothing was bought for what was sold."""
    route = encode([pool_hop(world, SOLD_RAW, WETH, USDC, True)])
    sold_e18 = SOLD_RAW * ETHER_USD

    with refused("PriceTooPoor", boughtE18=0, minimumE18=sold_e18 * 99 // 100):
        rebalance(world, broken, [0, 0, 0], route)


def test_rebalance_after_a_rebalance_waits_for_the_cooldown(world: World, broken: BoundContract) -> None:
    bought = quote(world, SOLD_RAW, STRAIGHT)
    route = encode([pool_hop(world, SOLD_RAW, WETH, WBTC, True)])
    rebalance(world, broken, [0, bought, 0], route)
    until = world.chain.now() + 600

    with refused("WrongEpoch", given=0, current=1):
        rebalance(world, broken, [0, 1, 0], route)
    with refused("CooldownActive", until=until):
        world.keeper.transact(broken, "rebalance", 1, [1, 0, 0], [0, 1, 0], world.executor.address, b"")


def test_rebalance_on_a_stale_price_is_refused(world: World, broken: BoundContract) -> None:
    """ETH/USD answers at least once an hour; USDC/USD once a day."""
    world.chain.mine(at=world.chain.now() + 3_601)

    with refused("OracleFault", asset=0, fault=4):
        rebalance(world, broken, [0, 1, 0], b"")
    with refused("OracleFault", asset=0, fault=4):
        world.stranger.transact(broken, "poke")


def test_rebalance_that_asks_for_more_than_it_may_sells_what_it_may(world: World, broken: BoundContract) -> None:
    """Whoever redeems a little ahead of a keeper makes its sale exceed the surplus: it sells the surplus, for so much less."""
    basket = snapshot_of(world, broken).basket
    surplus = surplus_raw(weigh_basket(basket).distances_e18[0], ETHER_USD * E18, E18)
    part = surplus * 2 // 3
    wbtc = quote(world, part, (WETH, WBTC))
    usdc = quote(world, surplus - part, (WETH, USDC))
    rest = router_hop(world, 0, (WETH, USDC), True)  # all that was lent beside it
    route = encode([pool_hop(world, part, WETH, WBTC, True), rest])

    sales, min_buys = [2 * surplus, 0, 0], [0, 2 * wbtc, 2 * usdc]
    world.keeper.transact(broken, "rebalance", 0, sales, min_buys, world.executor.address, route)

    held = [SEEDS[0] - surplus, SEEDS[1] + wbtc, SEEDS[2] + usdc]
    assert list(world.read(broken, "held")) == held


# Refused before anything moves


def test_rebalance_refusals_before_the_trade(world: World, vault: BoundContract) -> None:
    def attempt(sales: list[int], min_buys: list[int], epoch: int = 0) -> None:
        executor = world.executor.address
        world.keeper.transact(vault, "rebalance", epoch, sales, min_buys, executor, b"")

    nothing = [0, 0, 0]
    with refused("AccessManagedUnauthorized", caller=world.stranger.address):
        world.stranger.transact(vault, "rebalance", 0, nothing, nothing, world.executor.address, b"")
    with refused("WrongEpoch", given=7, current=0):
        attempt(nothing, nothing, epoch=7)
    with refused("NoBandBroken"):
        attempt(nothing, nothing)

    world.move_market({"ETH": ETHER_USD})
    with refused("LengthMismatch", length=1, expected=3):
        attempt([SOLD_RAW], nothing)
    with refused("LengthMismatch", length=4, expected=3):
        attempt(nothing, [0] * 4)
    with refused("SaleWithoutSurplus", asset=1):
        attempt([0, 1, 0], nothing)
    with refused("BuyWithoutDeficit", asset=0):
        attempt(nothing, [1, 0, 0])
    with refused("BadExecutor", executor=world.usdc.address):
        world.keeper.transact(vault, "rebalance", 0, nothing, nothing, world.usdc.address, b"")
    with refused("NothingSold"):
        attempt(nothing, nothing)

    world.guardian.transact(vault, "pauseRebalance")
    with refused("RebalanceIsPaused"):
        attempt(nothing, nothing)


# RouteExecutor by itself


def test_executor_refuses_what_is_not_a_route(world: World) -> None:
    hop = encode([pool_hop(world, 1, WETH, WBTC, True)])
    router = encode([router_hop(world, 1, BY_USDC, True)])

    def run(route: bytes) -> None:
        world.stranger.transact(world.executor, "executeRoute", route)

    with refused("TruncatedRoute", position=0, length=len(hop) - 1):
        run(hop[:-1])
    with refused("TruncatedRoute", position=0, length=len(router) - 1):
        run(router[:-1])
    with refused("TruncatedRoute", position=0, length=58):
        run(router[:58])
    with refused("UnknownVenue", position=0, venue=99):
        run(b"\x63" + hop[1:])
    run(b"")


def test_executor_pays_nobody_but_the_pool_it_is_swapping_on(world: World) -> None:
    world.give(world.executor, [0, 0, 1_000])

    with refused("UnexpectedCallback", caller=world.stranger.address, awaited="0x" + "0" * 40):
        data = bytes.fromhex(world.usdc.address[2:]).rjust(32, b"\0")
        world.stranger.transact(world.executor, "uniswapV3SwapCallback", 1_000, 0, data)
    assert world.balances(world.executor) == [0, 0, 1_000]


def test_executor_refuses_more_than_a_pool_can_be_asked_for(world: World) -> None:
    token = world.admin.deploy("MockToken", "Plenty", "PLENTY", 18)
    world.admin.transact(token, "mint", world.executor.address, 1 << 255)
    pool = world.pool(world.weth, world.usdc)
    hop = v3_hop(pool, 0, token.address, "0x" + "f" * 40, to_caller=True)

    with refused("AmountTooLarge", amountRaw=1 << 255):
        world.stranger.transact(world.executor, "executeRoute", encode([hop]))


def test_executor_gives_strangers_their_own_swap_and_no_more(world: World) -> None:
    """Anybody may use it: who sends and swaps in one go gets everything, here in two steps with nobody in between."""
    world.give(world.alice, [E18, 0, 0])
    bought = quote(world, E18 // 2, (WETH, USDC))
    world.alice.transact(world.weth, "transfer", world.executor.address, E18)

    route = encode([pool_hop(world, E18 // 2, WETH, USDC, False)])
    world.alice.transact(world.executor, "executeRoute", route)

    assert world.balances(world.alice) == [E18 - E18 // 2, 0, bought]
    assert_nothing_left_behind(world)
