"""RouteExecutor's venues on the code their authors published: what comes out, and that nothing stays.

Curve's alone is a mock: no npm package holds a compiled pool of Curve's (`@curvefi/api` carries interfaces).

Every pool of WETH (or ether) and WBTC here is deep, at 2,400 and 30,000 dollars, and takes 0.3 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.route import Flags, Hop, encode
from rebalancer.units import E18
from rebalancer.venues import Token, UniswapV3Pool
from rebalancer.venues.any_call import call_hop
from rebalancer.venues.balancer_weighted import balancer_hop
from rebalancer.venues.curve_pool import curve_hop
from rebalancer.venues.uniswap_v2 import pair_hop
from rebalancer.venues.uniswap_v3 import InitializedTick, TickProfile
from rebalancer.venues.uniswap_v3_math import sqrt_price_x96, tick_at_sqrt
from rebalancer.venues.uniswap_v4 import v4_hop
from tests.contract.routes import pool_hop, quote
from tests.contract.test_vault_rebalance import (
    ETHER_USD,
    SOLD_RAW,
    rebalance,
    snapshot_of,
)
from tests.contract.world import SEEDS, World

NOBODY = "0x" + "0" * 40
DEEP_WETH = 10_000 * E18
DEEP_WBTC = 800 * 10**8
FEE_PIPS = 3_000
TICK_SPACING = 60
LAST_TICK = 887_220
"""The last one either way that spacing 60 can use."""


@dataclass(frozen=True)
class Place:
    """Somewhere to swap WETH and WBTC: hops there and back, and what they bring for an amount, raw."""

    sell: Hop
    buy: Hop
    quote_sell: Callable[[int], int]
    quote_buy: Callable[[int], int]
    spender: str


def pair(world: World) -> Place:
    """A pair of Uniswap V2."""
    factory = world.admin.deploy("UniswapV2Factory", world.admin.address)
    world.admin.transact(factory, "createPair", world.weth.address, world.wbtc.address)
    address = str(world.read(factory, "getPair", world.weth.address, world.wbtc.address))
    made = contract_at(world.chain.rpc, "UniswapV2Pair", address)
    world.give(made, [DEEP_WETH, DEEP_WBTC, 0])
    world.admin.transact(made, "mint", world.admin.address)

    def product(amount: int, reserve_in: int, reserve_out: int) -> int:
        # UniswapV2Library.getAmountOut
        return amount * 997 * reserve_out // (reserve_in * 1_000 + amount * 997)

    weth, wbtc = world.weth.address, world.wbtc.address
    return Place(
        sell=pair_hop(made.address, 0, weth, wbtc, to_caller=True),
        buy=pair_hop(made.address, 0, wbtc, weth, to_caller=True),
        quote_sell=lambda amount: product(amount, DEEP_WETH, DEEP_WBTC),
        quote_buy=lambda amount: product(amount, DEEP_WBTC, DEEP_WETH),
        spender=made.address,
    )


def v4(world: World, *, ether: bool) -> Place:
    """A pool of Uniswap V4 of WBTC and WETH, or of WBTC and ether itself."""
    manager = world.admin.deploy("PoolManager", world.admin.address)
    provider = world.admin.deploy("PoolModifyLiquidityTest", manager.address)
    first = NOBODY if ether else world.weth.address
    down = int(first, 16) < int(world.wbtc.address, 16)
    prices, decimals = (ETHER_USD, 30_000), (18, 8)
    tokens = Token(first, "ETH", 18), Token(world.wbtc.address, "WBTC", 8)
    if not down:
        prices, decimals, tokens = prices[::-1], decimals[::-1], tokens[::-1]
    sqrt_x96 = sqrt_price_x96(*prices, *decimals)
    liquidity = 2_800 * 10**13  # the root of the product of DEEP_WETH and DEEP_WBTC, in raw units
    key = (tokens[0].address, tokens[1].address, FEE_PIPS, TICK_SPACING, NOBODY)
    world.admin.transact(manager, "initialize", key, sqrt_x96)
    world.give(world.admin, [2 * DEEP_WETH, 2 * DEEP_WBTC, 0])
    world.approve(world.admin, provider, [2 * DEEP_WETH, 2 * DEEP_WBTC, 0])
    if ether:
        world.chain.set_balance(world.admin.address, 3 * DEEP_WETH)
    world.chain.transact(
        provider,
        "modifyLiquidity",
        *(key, (-LAST_TICK, LAST_TICK, liquidity, b"\0" * 32), b"", False, False),
        sender=world.admin.address,
        value_wei=2 * DEEP_WETH if ether else 0,
    )
    ends = (
        InitializedTick(-LAST_TICK, liquidity, liquidity),
        InitializedTick(LAST_TICK, liquidity, -liquidity),
    )
    profile = TickProfile(FEE_PIPS, TICK_SPACING, ends)
    tick = tick_at_sqrt(sqrt_x96)
    # A pool of V4 without hooks moves as one of V3.
    paper = UniswapV3Pool(manager.address, *tokens, profile, sqrt_x96, tick, liquidity)

    def hop(token_in: BoundContract, token_out: BoundContract, ether_in: bool, ether_out: bool) -> Hop:
        return v4_hop(
            manager.address,
            0,
            token_in.address,
            token_out.address,
            FEE_PIPS,
            TICK_SPACING,
            to_caller=True,
            ether_in=ether_in,
            ether_out=ether_out,
        )

    return Place(
        sell=hop(world.weth, world.wbtc, ether, False),
        buy=hop(world.wbtc, world.weth, False, ether),
        quote_sell=lambda amount: paper.quote_in(first, world.wbtc.address, amount),
        quote_buy=lambda amount: paper.quote_in(world.wbtc.address, first, amount),
        spender=manager.address,
    )


def balancer(world: World) -> Place:
    """A weighted pool of Balancer V2, half and half."""
    vault = world.admin.deploy("Vault", NOBODY, world.weth.address, 0, 0)
    factory = world.admin.deploy("WeightedPoolFactory", vault.address)
    assets = sorted([world.weth.address, world.wbtc.address], key=lambda a: int(a, 16))
    amounts = [DEEP_WETH if a == world.weth.address else DEEP_WBTC for a in assets]
    receipt = world.admin.transact(factory, "create", "Half", "HALF", assets, [E18 // 2] * 2, 3 * 10**15, NOBODY)
    (registered,) = [e for e in world.events(receipt, vault) if e.name == "PoolRegistered"]
    pool_id = registered.values["poolId"]
    world.give(world.admin, [DEEP_WETH, DEEP_WBTC, 0])
    world.approve(world.admin, vault, [DEEP_WETH, DEEP_WBTC, 0])
    init = b"".join(n.to_bytes(32) for n in (0, 64, 2, *amounts))  # abi.encode(INIT, amounts)
    join = (assets, amounts, init, False)
    me = world.admin.address
    world.admin.transact(vault, "joinPool", pool_id, me, me, join)

    def ask(token_in: str, amount: int) -> int:
        sold = assets.index(token_in)
        step = (pool_id, sold, 1 - sold, amount, b"")
        funds = (me, False, me, False)
        deltas = world.read(vault, "queryBatchSwap", 0, [step], assets, funds)
        return -int(deltas[1 - sold])

    def hop(token_in: BoundContract, token_out: BoundContract) -> Hop:
        text = "0x" + bytes(pool_id).hex()
        ends = token_in.address, token_out.address
        return balancer_hop(vault.address, text, 0, *ends, to_caller=True)

    return Place(
        sell=hop(world.weth, world.wbtc),
        buy=hop(world.wbtc, world.weth),
        quote_sell=lambda amount: ask(world.weth.address, amount),
        quote_buy=lambda amount: ask(world.wbtc.address, amount),
        spender=vault.address,
    )


def curve(world: World, *, unsigned: bool) -> Place:
    """A mock of Curve's interface at a fixed rate: no compiled pool is published on npm."""
    rate_e18 = 8 * 10**6  # 0.08 WBTC for a WETH: 8e6 smallest units for 1e18
    pool = world.admin.deploy("MockCurvePool", world.weth.address, world.wbtc.address, rate_e18, unsigned)
    world.give(pool, [DEEP_WETH, DEEP_WBTC, 0])
    weth, wbtc = world.weth.address, world.wbtc.address
    return Place(
        sell=curve_hop(pool.address, 0, weth, wbtc, 0, 1, unsigned=unsigned, to_caller=True),
        buy=curve_hop(pool.address, 0, wbtc, weth, 1, 0, unsigned=unsigned, to_caller=True),
        quote_sell=lambda amount: amount * rate_e18 // E18 * 9_996 // 10_000,
        quote_buy=lambda amount: amount * E18 // rate_e18 * 9_996 // 10_000,
        spender=pool.address,
    )


def call(world: World) -> Place:
    """Uniswap's first SwapRouter, called as an aggregator would be: with data from outside."""
    router = world.uniswap("SwapRouter")

    def hop(token_in: BoundContract, token_out: BoundContract) -> Hop:
        path = bytes.fromhex(token_in.address[2:]) + FEE_PIPS.to_bytes(3)
        path += bytes.fromhex(token_out.address[2:])
        data = router.data("exactInput", (path, world.executor.address, 2**40, 0, 0))
        return call_hop(
            router.address,
            bytes.fromhex(data[2:]),
            0,
            token_in.address,
            token_out.address,
            to_caller=False,
            spender=router.address,
            # selector, offset of the struct; of the path, recipient, deadline
            amount_offset=4 + 4 * 32,
        )

    return Place(
        sell=hop(world.weth, world.wbtc),
        buy=hop(world.wbtc, world.weth),
        quote_sell=lambda amount: quote(world, amount, (0, 1)),
        quote_buy=lambda amount: quote(world, amount, (1, 0)),
        spender=router.address,
    )


def universal(world: World, inner: Place, command: int, arguments: Callable[[Hop], bytes]) -> Place:
    """One command of UniversalRouter, which pays with what it was sent, as its services have it called.

    `inner` is the same pool traded directly, which quotes; `arguments` are the command's for a hop of it.
    """
    v4 = command == V4_SWAP
    pair = contract_at(world.chain.rpc, "UniswapV2Pair", inner.spender)
    factory = NOBODY if v4 or command == V3_SWAP_EXACT_IN else world.read(pair, "factory")
    router = world.admin.deploy(
        "UniversalRouter",
        (
            NOBODY,  # Permit2, which is for who signs
            world.weth.address,
            factory,
            world.uniswap("UniswapV3Factory").address,
            keccak(load_artifact("UniswapV2Pair").creation_code()),
            keccak(load_artifact("UniswapV3Pool").creation_code()),
            inner.spender,  # PoolManager, where there is one
            *(NOBODY, NOBODY, NOBODY),
        ),
    )

    def hop(direct: Hop) -> Hop:
        data = keccak(text="execute(bytes,bytes[])")[:4]
        data += abi_encode(["bytes", "bytes[]"], [bytes([command]), [arguments(direct)]])
        ether_in = bool(direct.flags & Flags.ETHER_IN)
        return call_hop(
            router.address,
            data,
            0,
            direct.token_in,
            direct.token_out,
            to_caller=True,
            spender=None if ether_in else router.address,
            paid_first=not ether_in,
            ether_in=ether_in,
            ether_out=bool(direct.flags & Flags.ETHER_OUT),
        )

    return Place(
        sell=hop(inner.sell),
        buy=hop(inner.buy),
        quote_sell=inner.quote_sell,
        quote_buy=inner.quote_buy,
        spender=router.address,
    )


V3_SWAP_EXACT_IN, V2_SWAP_EXACT_IN, V4_SWAP = 0x00, 0x08, 0x10
TO_SENDER, ALL_THERE_IS = "0x" + "0" * 39 + "1", 1 << 255
"""UniversalRouter's commands, and what it reads as its caller and as its own balance."""


def universal_v2(world: World) -> Place:
    def arguments(hop: Hop) -> bytes:
        return abi_encode(
            ["address", "uint256", "uint256", "address[]", "bool"],
            [TO_SENDER, ALL_THERE_IS, 0, [hop.token_in, hop.token_out], False],
        )

    return universal(world, pair(world), V2_SWAP_EXACT_IN, arguments)


def universal_v3(world: World) -> Place:
    direct = Place(
        sell=pool_hop(world, 0, 0, 1, True),
        buy=pool_hop(world, 0, 1, 0, True),
        quote_sell=lambda amount: quote(world, amount, (0, 1)),
        quote_buy=lambda amount: quote(world, amount, (1, 0)),
        spender=world.pool(world.weth, world.wbtc),
    )

    def arguments(hop: Hop) -> bytes:
        ends = [bytes.fromhex(token[2:]) for token in (hop.token_in, hop.token_out)]
        path = FEE_PIPS.to_bytes(3).join(ends)
        return abi_encode(
            ["address", "uint256", "uint256", "bytes", "bool"],
            [TO_SENDER, ALL_THERE_IS, 0, path, False],
        )

    return universal(world, direct, V3_SWAP_EXACT_IN, arguments)


def universal_v4(world: World, *, ether: bool) -> Place:
    """Settle with all there is, swap what was settled, take what came of it."""
    settle, swap, take = 0x0B, 0x06, 0x0E

    def arguments(hop: Hop) -> bytes:
        sold = NOBODY if hop.flags & Flags.ETHER_IN else hop.token_in
        bought = NOBODY if hop.flags & Flags.ETHER_OUT else hop.token_out
        low, high = sorted((sold, bought), key=lambda address: int(address, 16))
        key = (low, high, FEE_PIPS, TICK_SPACING, NOBODY)
        single = "((address,address,uint24,int24,address),bool,uint128,uint128,bytes)"
        steps = [
            abi_encode(["address", "uint256", "bool"], [sold, ALL_THERE_IS, False]),
            abi_encode([single], [(key, sold == low, 0, 0, b"")]),
            abi_encode(["address", "address", "uint256"], [bought, TO_SENDER, 0]),
        ]
        return abi_encode(["bytes", "bytes[]"], [bytes([settle, swap, take]), steps])

    return universal(world, v4(world, ether=ether), V4_SWAP, arguments)


PLACES: dict[str, Callable[[World], Place]] = {
    "Uniswap V2": pair,
    "Uniswap V4": lambda world: v4(world, ether=False),
    "Uniswap V4, ether": lambda world: v4(world, ether=True),
    "Balancer V2": balancer,
    "Curve, int128": lambda world: curve(world, unsigned=False),
    "Curve, uint256": lambda world: curve(world, unsigned=True),
    "a call": call,
    "UniversalRouter, V2": universal_v2,
    "UniversalRouter, V3": universal_v3,
    "UniversalRouter, V4": lambda world: universal_v4(world, ether=False),
    "UniversalRouter, V4, ether": lambda world: universal_v4(world, ether=True),
}


@pytest.fixture(params=PLACES)
def ref(world: World, request: pytest.FixtureRequest) -> Place:
    """Each venue in turn; the market stands where the pools do."""
    world.move_market({"ETH": ETHER_USD})
    return PLACES[request.param](world)


def execute(world: World, route: bytes) -> None:
    world.alice.transact(world.executor, "executeRoute", route)


def assert_nothing_left_behind(world: World, ref: Place) -> None:
    """No token, ether or allowance stays with the executor."""
    assert world.balances(world.executor) == [0, 0, 0]
    assert world.chain.balance_wei(world.executor.address) == 0
    for token in world.tokens:
        assert world.read(token, "allowance", world.executor.address, ref.spender) == 0


def kept(hop: Hop) -> Hop:
    """The same with its result left to the executor."""
    return replace(hop, flags=hop.flags & ~Flags.TO_CALLER)


@pytest.mark.parametrize("straight", [True, False], ids=["straight", "kept"])
def test_sale_at_a_venue_brings_what_it_quotes(world: World, ref: Place, straight: bool) -> None:
    bought = ref.quote_sell(SOLD_RAW)
    world.give(world.executor, [SOLD_RAW, 0, 0])

    execute(world, encode([ref.sell if straight else kept(ref.sell)]))

    assert bought > 0
    assert world.balances(world.alice) == [0, bought, 0]
    assert_nothing_left_behind(world, ref)


def test_purchase_at_a_venue_brings_what_it_quotes(world: World, ref: Place) -> None:
    sold = 10**8 // 2
    bought = ref.quote_buy(sold)
    world.give(world.executor, [0, sold, 0])

    execute(world, encode([ref.buy]))

    assert bought > 0
    assert world.balances(world.alice) == [bought, 0, 0]
    assert_nothing_left_behind(world, ref)


def test_sale_of_a_part_returns_the_rest(world: World, ref: Place) -> None:
    bought = ref.quote_sell(E18)
    world.give(world.executor, [SOLD_RAW, 0, 0])

    execute(world, encode([replace(ref.sell, amount_raw=E18)]))

    assert world.balances(world.alice) == [SOLD_RAW - E18, bought, 0]
    assert_nothing_left_behind(world, ref)


def test_result_of_a_venue_goes_on_to_the_next(world: World, ref: Place) -> None:
    """WETH to WBTC there, WBTC to USDC on Uniswap V3: the second hop takes all the first brought."""
    first = ref.quote_sell(SOLD_RAW)
    second = quote(world, first, (1, 2))
    world.give(world.executor, [SOLD_RAW, 0, 0])

    execute(world, encode([kept(ref.sell), pool_hop(world, 0, 1, 2, True)]))

    assert world.balances(world.alice) == [0, 0, second]
    assert_nothing_left_behind(world, ref)


def test_vault_rebalances_at_a_venue(world: World, vault: BoundContract, ref: Place) -> None:
    bought = ref.quote_sell(SOLD_RAW)

    rebalance(world, vault, [0, bought, 0], encode([ref.sell]))

    assert list(world.read(vault, "held")) == [SEEDS[0] - SOLD_RAW, SEEDS[1] + bought, SEEDS[2]]
    assert snapshot_of(world, vault).state.epoch == 1
    assert_nothing_left_behind(world, ref)


def test_vault_splits_a_sale_over_all_venues(world: World, vault: BoundContract) -> None:
    """An equal part of the sale each; the last takes what is left."""
    world.move_market({"ETH": ETHER_USD})
    # Without one of the two that trade on the market's own pool: each quotes as if it were first.
    refs = [build(world) for name, build in PLACES.items() if name != "UniversalRouter, V3"]
    part = SOLD_RAW // len(refs)
    last = SOLD_RAW - part * (len(refs) - 1)
    bought = sum(p.quote_sell(part) for p in refs[:-1]) + refs[-1].quote_sell(last)
    hops = [replace(p.sell, amount_raw=part) for p in refs[:-1]] + [refs[-1].sell]

    rebalance(world, vault, [0, bought, 0], encode(hops))

    assert list(world.read(vault, "held")) == [SEEDS[0] - SOLD_RAW, SEEDS[1] + bought, SEEDS[2]]
    for p in refs:
        assert_nothing_left_behind(world, p)


def test_pair_with_a_fee_too_low_refuses(world: World) -> None:
    ref = pair(world)
    world.give(world.executor, [SOLD_RAW, 0, 0])
    too_low = replace(ref.sell, body=ref.sell.body[:-2] + (29).to_bytes(2))

    with pytest.raises(Exception, match="UniswapV2: K"):
        execute(world, encode([too_low]))
