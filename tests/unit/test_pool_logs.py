"""Pools moved by their logs, and the signatures by which outside contracts are asked and their logs read."""

from __future__ import annotations

from typing import Any

import pytest

from rebalancer.abi import Event, Interface
from rebalancer.errors import BadPoolSnapshot
from rebalancer.venues import (
    BalancerWeightedPool,
    InitializedTick,
    UniswapV2Pool,
    UniswapV3Pool,
    UniswapV4Pool,
    load,
    of_class,
)
from rebalancer.venues.balancer_weighted import BALANCER_VAULT
from rebalancer.venues.pancakeswap_v3 import PANCAKE_POOL
from rebalancer.venues.reading import TOKEN, _entry, interface_of
from rebalancer.venues.uniswap_v2 import PAIR
from rebalancer.venues.uniswap_v3 import V3_POOL
from rebalancer.venues.uniswap_v3_math import Q96, sqrt_at_tick
from rebalancer.venues.uniswap_v4 import MANAGER
from tests.unit.test_pool_protocols import A, B, balancer, crypto, stable, v2
from tests.unit.test_pools import LIQUIDITY, pancake_snapshot, snapshot, v3, v4, v4_snapshot

PRICE = {"sqrtPriceX96": sqrt_at_tick(61) + 1, "tick": 61, "liquidity": 0}


def stirred(pool: UniswapV3Pool | UniswapV4Pool, *events: Event) -> UniswapV3Pool | UniswapV4Pool:
    """The pool after its events, still of its kind."""
    after = pool.moved(events)
    assert type(after) is type(pool)
    return after


def event(name: str, **values: Any) -> Event:
    return Event(name, "0x" + "cc" * 20, values, 8, "0x01")


def ranged(name: str, low: int, high: int, amount: int) -> Event:
    return event(name, tickLower=low, tickUpper=high, amount=amount)


# Uniswap V2


def test_pair_has_the_reserves_of_its_last_sync() -> None:
    pair = of_class(load(v2()), UniswapV2Pool)
    syncs = [event("Sync", reserve0=5, reserve1=6), event("Sync", reserve0=7, reserve1=8)]

    after = pair.moved([*syncs, event("Other", reserve0=1, reserve1=1)])

    assert after.reserves == (7, 8)
    assert pair.moved([]) == pair


# Uniswap V3 and V4


@pytest.mark.parametrize(
    "pool", [v3(snapshot()), v3(pancake_snapshot()), v4(v4_snapshot())], ids=["v3", "pancake", "v4"]
)
def test_swap_moves_price_tick_and_liquidity(pool: UniswapV3Pool | UniswapV4Pool) -> None:
    after = stirred(pool, event("Swap", **PRICE))

    assert (after.sqrt_price_x96, after.tick, after.liquidity) == tuple(PRICE.values())
    assert after.profile is pool.profile
    assert pool.moved([]) == pool


@pytest.mark.parametrize(
    ("low", "high", "inside"),
    # The price is at tick 0: a range begins with its lowest tick and ends before its highest.
    [(-120, 120, True), (0, 60, True), (-60, 0, False), (60, 120, False), (-120, -60, False)],
)
def test_liquidity_moves_two_ticks_and_what_is_between_them(low: int, high: int, inside: bool) -> None:
    pool, later = v3(snapshot()), v4(v4_snapshot())
    more = ranged("Mint", low, high, 7)

    after = stirred(pool, more)
    twin = stirred(later, event("ModifyLiquidity", tickLower=low, tickUpper=high, liquidityDelta=7))

    ticks = {at: [gross, net] for at, gross, net in pool.profile.ticks}
    for at, net in ((low, 7), (high, -7)):
        there = ticks.setdefault(at, [0, 0])
        there[0] += 7
        there[1] += net
    expected = tuple(InitializedTick(at, *ticks[at]) for at in sorted(ticks))
    for one in (after, twin):
        assert one.profile.ticks == expected
        assert one.liquidity == LIQUIDITY + (7 if inside else 0)
        assert (one.sqrt_price_x96, one.tick) == (Q96, 0)
    assert after.moved([ranged("Burn", low, high, 7)]) == pool
    assert twin.moved([event("ModifyLiquidity", tickLower=low, tickUpper=high, liquidityDelta=-7)]) == later


def test_events_are_taken_in_their_order() -> None:
    """Liquidity that is provided after a swap is where the swap has brought the price."""
    pool = v3(snapshot())
    events = [event("Swap", **PRICE), ranged("Mint", 60, 120, 5), event("Collect", amount=1)]

    assert stirred(pool, *events).liquidity == 5


def test_events_that_no_pool_can_have_gone_through_are_refused() -> None:
    for events in (
        [ranged("Burn", -60, 60, LIQUIDITY + 1)],
        [event("Swap", **PRICE | {"liquidity": 1})],
    ):
        with pytest.raises(BadPoolSnapshot):
            v3(snapshot()).moved(events)


def test_protocol_fees_are_packed_in_twelve_bits_each() -> None:
    pool = v4(v4_snapshot(protocol_fee_zero_for_one=3, protocol_fee_one_for_zero=4))

    def fees(*packed: int) -> tuple[int, int]:
        events = [event("ProtocolFeeUpdated", protocolFee=each) for each in packed]
        return v4(pool.moved(events).to_json()).protocol_fees_pips

    assert fees() == (3, 4)
    assert fees(0) == (0, 0)
    assert fees(1_000 + (999 << 12)) == (1_000, 999)
    assert fees(5, 17 << 12) == (0, 17)


# Balancer


def test_weighted_pool_has_what_its_vault_booked() -> None:
    pool = of_class(load(balancer()), BalancerWeightedPool)
    one, other = pool.balances

    def after(*events: Event) -> BalancerWeightedPool:
        return pool.moved(events)

    swap = event("Swap", tokenIn=A, tokenOut=B, amountIn=5, amountOut=3)
    assert after(swap).balances == (one + 5, other - 3)
    assert after(swap, swap).balances == (one + 10, other - 6)
    joined = event("PoolBalanceChanged", tokens=[B, A], deltas=[100, -50], protocolFeeAmounts=[7, 2])
    assert after(joined).balances == (one - 52, other + 93)
    managed = event("PoolBalanceManaged", token=B, cashDelta=-30, managedDelta=11)
    assert after(managed).balances == (one, other - 19)
    fee = event("SwapFeePercentageChanged", swapFeePercentage=10**15)
    assert (after(fee).fee_e18, after(fee).balances) == (10**15, (one, other))
    unknown = event("PoolBalanceOther", swapFeePercentage=1, token=A, cashDelta=1, managedDelta=1)
    assert after(unknown) == after() == pool
    assert (after(swap, fee, joined).fee_e18, after(swap, fee, joined).balances) == (
        10**15,
        (one - 47, other + 90),
    )


@pytest.mark.parametrize("make", [stable, crypto])
def test_pool_of_curve_is_not_moved_by_logs(make: Any) -> None:
    pool = load(make())
    assert not pool.LOGS_ARE_COMPLETE
    with pytest.raises(NotImplementedError):
        pool.moved([event("TokenExchange", tokens_sold=5)])


# Signatures


def test_an_interface_has_its_name_and_an_entry_a_line() -> None:
    made = interface_of("It", ("f(uint256) -> address", "event E(int24 tick)"))

    assert made == Interface.of("It", [_entry("f(uint256) -> address"), _entry("event E(int24 tick)")])
    assert (made.name, set(made.functions)) == ("It", {"f", "f(uint256)"})


def test_lines_become_the_entries_of_a_json_abi() -> None:
    assert _entry("f(uint256,bytes32[]) -> address,int24") == {
        "type": "function",
        "name": "f",
        "inputs": [{"type": "uint256"}, {"type": "bytes32[]"}],
        "outputs": [{"type": "address"}, {"type": "int24"}],
    }
    assert _entry("f() -> ")["inputs"] == _entry("f() -> ")["outputs"] == []
    assert _entry("event E(bytes32 indexed id, int24 tick)") == {
        "type": "event",
        "name": "E",
        "inputs": [
            {"type": "bytes32", "name": "id", "indexed": True},
            {"type": "int24", "name": "tick", "indexed": False},
        ],
    }
    for wrong in ("f(uint256)", "event E", "events E(int24 tick)"):
        with pytest.raises(ValueError, match="is neither a function nor an event"):
            _entry(wrong)


@pytest.mark.parametrize(
    ("known", "name", "topic"),
    # As the chain's explorers show them.
    [
        (PAIR, "Sync", "1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"),
        (V3_POOL, "Swap", "c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"),
        (V3_POOL, "Mint", "7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde"),
        (V3_POOL, "Burn", "0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c"),
        (
            PANCAKE_POOL,
            "Swap",
            "19b47279256b2a23a1665c810c8d55a1758940ee09377d4f8d26497a3577dc83",
        ),
        (
            PANCAKE_POOL,
            "Mint",
            "7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde",
        ),
        (
            PANCAKE_POOL,
            "Burn",
            "0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c",
        ),
        (MANAGER, "Swap", "40e9cecb9f5f1f1c5b9c97dec2917b7ee92e57ba5563708daca94dd84ad7112f"),
        (
            BALANCER_VAULT,
            "Swap",
            "2170c741c41531aec20e7c107c24eecfdd15e69c9bb0a8dd37b1840b9e0b207b",
        ),
    ],
)
def test_events_have_the_topics_that_the_chain_shows(known: Interface, name: str, topic: str) -> None:
    assert known.events["0x" + topic].name == name


def test_functions_have_the_selectors_that_the_chain_shows() -> None:
    assert TOKEN.functions["decimals"].selector.hex() == "313ce567"
    assert PAIR.functions["getReserves"].selector.hex() == "0902f1ac"
    assert BALANCER_VAULT.functions["getPoolTokens"].selector.hex() == "f94d4668"
    assert [each.name for each in (TOKEN, PAIR)] == ["ERC-20", "Uniswap V2 pair"]
