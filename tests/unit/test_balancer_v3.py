"""Weighted pools of Balancer V3 on paper: quotes against a plain statement of the Vault's steps, limits, logs, and what the reader refuses.

tests/contract/test_balancer_v3_quotes.py holds the same pools against the Vault compiled from its published sources.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalancer.abi import Call, Event
from rebalancer.block import Block
from rebalancer.chain.pools import find_venue, read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    BadPoolSnapshot,
    ContractReverted,
    LiquidityExhausted,
    RpcRejected,
    UnknownToken,
    UnsupportedPool,
)
from rebalancer.route import Flags, Hop
from rebalancer.units import E18
from rebalancer.venues import MAX_AMOUNT_RAW, PoolRef, load, of_class
from rebalancer.venues import balancer_v3 as module
from rebalancer.venues.balancer_v3 import VENUE, BalancerV3RatedPool, BalancerV3WeightedPool
from rebalancer.venues.model import ETHER_ADDRESS, PowerCurve
from rebalancer.venues.reading import TOKEN
from tests.unit.test_balancer_math import power
from tests.unit.test_pool_protocols import POOL, A, B, C, token

VAULT = "0x" + "ba" * 20
LIMIT_E18 = 3 * 10**17


def weighted_v3(**changes: Any) -> dict[str, Any]:
    """80 % of A and 20 % of B, of 6 and 18 decimals; the Vault takes half of the fee of 1 %."""
    whole = {
        "chain_id": 1,
        "block": 7,
        "address": POOL,
        "vault": VAULT,
        "name": "weighted",
        "tokens": [token(A, 6), token(B)],
        "balances": [80 * 10**9, 20_000 * E18],
        "rates": [E18, E18],
        "rate_providers": False,
        "normalized_weights": [8 * E18 // 10, 2 * E18 // 10],
        "min_balances": [10**12, 10**6],
        "fee": E18 // 100,
        "aggregate_fee": E18 // 2,
        "min_trade": 10**6,
        "is_paused": False,
        "in_recovery": False,
    }
    return {**whole, **changes}


def pool(**changes: Any) -> BalancerV3WeightedPool:
    return of_class(load(weighted_v3(**changes)), BalancerV3WeightedPool)


def limit(one: BalancerV3WeightedPool, way: tuple[str, str], *, exact_in: bool = True) -> int:
    """The most that goes in, or comes out."""
    with pytest.raises(LiquidityExhausted) as refusal:
        (one.quote_in if exact_in else one.quote_out)(*way, MAX_AMOUNT_RAW)
    return refusal.value.possible_raw


# The Vault's steps, written down plainly


def up(a: int, b: int) -> int:
    return -(-a // b)


def scales(one: BalancerV3WeightedPool) -> list[int]:
    return [10 ** (18 - each.decimals) for each in one.tokens]


def live(one: BalancerV3WeightedPool) -> list[int]:
    rows = zip(one.balances, scales(one), one.rates_e18, strict=True)
    return [balance * scale * rate // E18 for balance, scale, rate in rows]


def power_up(x: int, y: int) -> int:
    if y == E18:
        return x
    if y in (2 * E18, 4 * E18):
        square = up(x * x, E18)
        return square if y == 2 * E18 else up(square * square, E18)
    found = power(x, y)
    assert found is not None
    return found + up(found * 10_000, E18) + 1


def pays(one: BalancerV3WeightedPool, i: int, j: int, net: int) -> int | None:
    """WeightedPool.onSwap, exact in, all of 18 decimals; None where it reverts."""
    has_minimum = bool(one.min_balances_e18)
    minimum = one.min_balances_e18 or (0, 0)
    held_in, held_out = live(one)[i] + has_minimum, live(one)[j]
    if held_in < minimum[i] or held_in == 0 or net > held_in * LIMIT_E18 // E18:
        return None
    weights = one.weights_e18
    raised = power_up(up(held_in * E18, held_in + net), weights[i] * E18 // weights[j])
    out = held_out * max(0, E18 - raised) // E18
    return out if held_out - out >= minimum[j] else None


def sold(one: BalancerV3WeightedPool, i: int, j: int, amount: int) -> int | None:
    """Vault.swap, exact in; None where it reverts, 0 where that is for want of size."""
    given_e18 = amount * scales(one)[i] * one.rates_e18[i] // E18
    net = given_e18 - up(given_e18 * one.fee_e18, E18)
    if net < one.min_trade_e18:
        return 0
    out = pays(one, i, j, net)
    if out is None:
        return None
    if out < one.min_trade_e18:
        return 0
    rate_up = one.rates_e18[j] + (0 if one.rates_e18[j] % E18 == 0 else 1)
    return out * E18 // (scales(one)[j] * rate_up)


def cost(one: BalancerV3WeightedPool, i: int, j: int, amount: int) -> int | None:
    """Vault.swap, exact out; None where it reverts."""
    rate_up = one.rates_e18[j] + (0 if one.rates_e18[j] % E18 == 0 else 1)
    out = up(amount * scales(one)[j] * rate_up, E18)
    minimum = one.min_balances_e18 or (0, 0)
    held_in, held_out = live(one)[i] + bool(one.min_balances_e18), live(one)[j]
    if out < one.min_trade_e18 or out > held_out * LIMIT_E18 // E18 or held_in < minimum[i]:
        return None
    if held_out - out < minimum[j]:
        return None
    exponent = up(one.weights_e18[j] * E18, one.weights_e18[i])
    raised = power_up(up(held_out * E18, held_out - out), exponent)
    net = up(held_in * (raised - E18), E18)
    if net < one.min_trade_e18:
        return None
    gross = net + up(net * one.fee_e18, E18 - one.fee_e18)
    return up(gross * E18, scales(one)[i] * one.rates_e18[i])


@st.composite
def drawn_pools(draw: st.DrawFn) -> BalancerV3WeightedPool:
    """Of any decimals, weights, rates and fee, of both forms, some near their minimum."""
    decimals = [draw(st.integers(0, 18)) for _ in "AB"]
    hundredths = draw(st.sampled_from([50, 80, 20, 99, 1, 33, 67]))
    sizes = [draw(st.integers(6, 33)) for _ in "AB"]
    balances = [
        max(draw(st.integers(1, 9)) * 10**size // 10 ** (18 - places), 1)
        for size, places in zip(sizes, decimals, strict=True)
    ]
    rate = st.one_of(st.just(E18), st.just(2 * E18), st.integers(E18 // 5, 5 * E18))
    minimums = [max(10**6, 10 ** (18 - places)) for places in decimals]
    return pool(
        tokens=[token(A, decimals[0]), token(B, decimals[1])],
        balances=balances,
        rates=[draw(rate), draw(rate)],
        rate_providers=True,
        normalized_weights=[hundredths * E18 // 100, (100 - hundredths) * E18 // 100],
        min_balances=draw(st.sampled_from([minimums, []])),
        fee=draw(st.integers(10**13, 10**17)),
    )


parts = st.fractions(0, Fraction(6, 5))


@given(drawn_pools(), st.booleans(), parts)
def test_amount_in_pays_what_the_plain_steps_say(one: BalancerV3WeightedPool, forward: bool, part: Fraction) -> None:
    i, j = (0, 1) if forward else (1, 0)
    way = one.tokens[i].address, one.tokens[j].address
    amount = max(int(limit(one, way) * part), 1)
    try:
        found: int | None = one.quote_in(*way, amount)
    except LiquidityExhausted as refusal:
        assert refusal.possible_raw < amount  # noqa: PT017 (an answer is as good)
        found = None

    expected = sold(one, i, j, amount)
    # A pool that takes nothing at all refuses what would be too small anyway.
    assert found == expected or (found is None and expected == 0)


@given(drawn_pools(), st.booleans(), parts)
def test_amount_out_costs_what_the_plain_steps_say(one: BalancerV3WeightedPool, forward: bool, part: Fraction) -> None:
    i, j = (0, 1) if forward else (1, 0)
    way = one.tokens[i].address, one.tokens[j].address
    amount = max(int(limit(one, way, exact_in=False) * part), 1)
    try:
        found: int | None = one.quote_out(*way, amount)
    except LiquidityExhausted:
        found = None

    assert found == cost(one, i, j, amount)


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "balancer_v3_2024.json").read_text())
"""What the Router of December 2024 answered for pools of that time, by public sources compiled and run apart: neither is published on npm.

A row of quotes is index in, index out, whether the amounts go in, amounts, answers (null: refused).
"""


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["pool"]["name"])
def test_quotes_of_the_earlier_form_are_those_of_its_sources(vector: dict[str, Any]) -> None:
    one = of_class(load(vector["pool"]), BalancerV3WeightedPool)
    addresses = [each.address for each in one.tokens]

    assert one.min_balances_e18 == ()
    assert any(any(answers) for *_, answers in vector["quotes"])
    for i, j, exact_in, amounts, answers in vector["quotes"]:
        quote = one.quote_in if exact_in else one.quote_out
        for amount, answer in zip(amounts, answers, strict=True):
            try:
                found: int | None = quote(addresses[i], addresses[j], amount)
            except LiquidityExhausted:
                found = None
            assert found == answer or (exact_in and answer is None and found == 0), amount


# Limits


@pytest.mark.parametrize("fee", [10**13, 3 * 10**15, 10**17, 999 * 10**15])
@pytest.mark.parametrize("way", [(A, B), (B, A)])
def test_most_that_goes_in_is_thirty_per_cent_once_its_fee_is_off(fee: int, way: tuple[str, str]) -> None:
    one = pool(fee=fee, balances=[1_007 * 10**6, 100_003 * E18 + 7], min_balances=[10**12, 10**6])
    i = 0 if way[0] == A else 1
    most = limit(one, way)
    scale = scales(one)[i]

    def net(amount: int) -> int:
        return amount * scale - up(amount * scale * fee, E18)

    bound = (live(one)[i] + 1) * LIMIT_E18 // E18
    assert net(most) <= bound < net(most + 1)
    assert one.flow_to(*way, 0.0)[0] == most
    assert one.quote_in(*way, most) > 0
    assert limit(one, way, exact_in=False) == live(one)[1 - i] * 3 // 10 // scales(one)[1 - i]


def test_minimum_balance_ends_a_swap_before_thirty_per_cent() -> None:
    """A of 6 decimals: it may not fall below a unit. 3 units are there, of which 0.9 could come out."""
    one = pool(balances=[3 * 10**6, 3 * E18], min_balances=[25 * 10**17, 10**6])

    most_out = limit(one, (B, A), exact_in=False)
    assert most_out == 5 * 10**5
    assert one.quote_out(B, A, most_out) > 0
    most_in = limit(one, (B, A))
    left = 3 * 10**6 - one.quote_in(B, A, most_in)
    assert left >= 25 * 10**5
    out = pays(one, 1, 0, most_in + 1 - up((most_in + 1) * one.fee_e18, E18))
    assert out is None
    assert limit(one, (A, B)) > 0


def test_pool_below_the_minimum_of_what_comes_in_is_closed_that_way() -> None:
    one = pool(balances=[10**6, 3 * E18], min_balances=[2 * E18, 10**6])

    assert limit(one, (A, B)) == limit(one, (A, B), exact_in=False) == 0
    assert one.spot_price(A, B) == 0
    assert one.shape(A, B) == PowerCurve(0.0, 0.0, 0.0, 0.0, 0.0)
    assert one.flow_to(A, B, 0.0) == (0, 0)
    # And nothing more of it may come out.
    assert limit(one, (B, A)) == limit(one, (B, A), exact_in=False) == 0
    # The unit that the pool counts beside its balance is enough.
    brink = pool(balances=[10**6, 3 * E18], min_balances=[E18 + 1, 10**6])
    assert limit(brink, (A, B)) > 0


@pytest.mark.parametrize("balances", [[0, 5], [5, 0], [0, 0]])
@pytest.mark.parametrize("minimums", [[10**12, 10**6], []])
def test_pool_without_liquidity_is_closed(balances: list[int], minimums: list[int]) -> None:
    one = pool(balances=balances, min_balances=minimums)

    for way in ((A, B), (B, A)):
        assert limit(one, way) == limit(one, way, exact_in=False) == 0
        assert one.spot_price(*way) == 0
        assert one.flow_to(*way, 0.0) == (0, 0)


def test_paused_pool_is_closed() -> None:
    one = pool(is_paused=True)

    for way in ((A, B), (B, A)):
        assert limit(one, way) == limit(one, way, exact_in=False) == 0
        assert one.spot_price(*way) == 0
        assert one.flow_to(*way, 0.0) == (0, 0)


def test_swap_below_the_minimum_trade_pays_nothing_and_changes_nothing() -> None:
    one = pool(min_trade=10**15)
    # A thousandth of a whole token after its fee.
    least = next(n for n in range(1_000, 1_100) if n - up(n, 100) >= 1_000)

    assert one.quote_in(A, B, least - 1) == 0
    assert one.swapped(A, B, least - 1) == (0, one)
    assert one.quote_in(A, B, least) > 0
    assert one.swapped(A, B, least)[1] != one
    with pytest.raises(LiquidityExhausted) as refusal:
        one.quote_out(A, B, 10**15 - 1)
    assert refusal.value.possible_raw == limit(one, (A, B), exact_in=False)
    assert one.quote_out(A, B, 10**15) > 0


def test_swap_that_pays_less_than_a_raw_unit_goes_through() -> None:
    """B's millionth of a whole token is less than a unit of A, but more than the minimum trade."""
    one = pool(normalized_weights=[E18 // 2] * 2, balances=[20_000 * 10**6, 20_000 * E18])

    paid, after = one.swapped(B, A, 5 * 10**11)

    assert paid == 0
    assert after.balances == (one.balances[0], one.balances[1] + 5 * 10**11 - 5 * 10**9 // 2)


def test_balance_of_128_bits_takes_no_more() -> None:
    """Of what goes in, all but the half of the fee that leaves at once."""
    full = 2**128 - 1
    balances = [full - 5 * 10**30, full]
    one = pool(tokens=[token(A), token(B)], balances=balances, min_balances=[])

    most = limit(one, (A, B))
    assert one.swapped(A, B, most)[1].balances[0] == full
    assert most - up(most, 100) // 2 == 5 * 10**30
    assert most + 1 - up(most + 1, 100) // 2 > 5 * 10**30
    most_out = limit(one, (A, B), exact_in=False)
    assert one.quote_out(A, B, most_out) <= most
    beyond = cost(one, 0, 1, most_out + 10**15)
    assert beyond is not None
    assert beyond > most


# What a swap and logs leave


@pytest.mark.parametrize("in_recovery", [False, True])
def test_aggregate_fee_leaves_the_pool_with_the_swap(in_recovery: bool) -> None:
    one = pool(in_recovery=in_recovery, aggregate_fee=E18 // 4)
    paid, after = one.swapped(A, B, 10**9)

    # A hundredth of it is the fee, and a quarter of that the Vault's and the creator's.
    taken = 0 if in_recovery else 10**7 // 4
    assert after == replace(one, balances=(one.balances[0] + 10**9 - taken, one.balances[1] - paid))
    assert one.quote_in(A, B, 10**9) == paid
    swap = event("Swap", amountIn=10**9, amountOut=paid, swapFeeAmount=10**7)
    assert one.moved([swap]) == after


def event(name: str, **values: Any) -> Event:
    """One of the Vault's, of A for B where it is a swap."""
    made = Event(name, VAULT, {"tokenIn": A, "tokenOut": B, **values}, 8, "0x")
    assert name in {shape.name for shape in module._VAULT.events.values()}
    return made


def test_each_log_changes_what_it_says() -> None:
    one = pool()
    added = event("LiquidityAdded", amountsAddedRaw=(10, 20), swapFeeAmountsRaw=(4, 7))
    removed = event("LiquidityRemoved", amountsRemovedRaw=(30, 0), swapFeeAmountsRaw=(5, 0))

    first, second = one.balances
    assert one.moved([added]).balances == (first + 10 - 2, second + 20 - 3)
    assert one.moved([removed]).balances == (first - 30 - 2, second)
    assert one.moved([added, removed]).balances == (first + 8 - 32, second + 17)
    for name, values, changes in (
        ("SwapFeePercentageChanged", {"swapFeePercentage": 77}, {"fee_e18": 77}),
        (
            "AggregateSwapFeePercentageChanged",
            {"aggregateSwapFeePercentage": 88},
            {"aggregate_fee_e18": 88},
        ),
        ("PoolPausedStateChanged", {"paused": True}, {"is_paused": True}),
        ("PoolRecoveryModeStateChanged", {"recoveryMode": True}, {"in_recovery": True}),
    ):
        assert one.moved([event(name, **values)]) == replace(one, **changes)
    with pytest.raises(BadPoolSnapshot):
        one.moved([event("Swap", amountIn=1, amountOut=second + 1, swapFeeAmount=0)])


def test_pool_of_rates_is_read_at_every_block() -> None:
    plain, rated = pool(), pool(rate_providers=True, rates=[E18, E18 + 1])

    assert (plain.moves, plain.LOGS_ARE_COMPLETE) == (False, True)
    assert isinstance(rated, BalancerV3RatedPool)
    assert (rated.moves, rated.LOGS_ARE_COMPLETE) == (True, False)
    assert load(rated.to_json()) == rated != plain


# What the planner sees


@pytest.mark.parametrize("way", [(A, B), (B, A)])
@pytest.mark.parametrize("rates", [[E18, E18], [3 * E18, 5 * E18 // 4]])
def test_curve_is_what_flows_are_made_of(way: tuple[str, str], rates: list[int]) -> None:
    one = pool(rates=rates)
    i, j = (0, 1) if way[0] == A else (1, 0)

    curve = one.shape(*way)

    assert (curve.balance_in, curve.balance_out) == (float(one.balances[i]), float(one.balances[j]))
    assert curve.exponent == one.weights_e18[i] / one.weights_e18[j]
    assert curve.kept == pytest.approx(0.99, rel=1e-15)
    most = one.flow_to(*way, 0.0)[0]
    assert curve.most == pytest.approx(most, rel=1e-15)
    assert int(curve.most) <= most
    best = float(one.spot_price(*way)) * 0.99
    assert one.flow_to(*way, best * 1.000_001) == (0, 0)
    for share in (0.99, 0.9, 0.7):
        amount, out = one.flow_to(*way, best * share)
        assert out == pytest.approx(one.quote_in(*way, amount), rel=1e-9)
        step = max(amount // 1_000, 1)
        if amount + step < curve.most:
            more = one.quote_in(*way, amount + step) - one.quote_in(*way, amount)
            assert more / step == pytest.approx(best * share, rel=1e-2)
    assert one.flow_to(*way, -1.0) == one.flow_to(*way, 0.0) == (most, one.flow_to(*way, 0.0)[1])
    assert one.flow_to(*way, 1e-300)[0] == int(curve.most)
    with pytest.raises(UnknownToken):
        one.shape(A, C)


def test_pool_at_other_prices_is_worth_its_weights() -> None:
    one = pool().at_prices([100_000_000, 200_000_000])

    # 80,000 whole A at 1 USD are 80 %, so 20 % are 10,000 whole B at 2.
    assert one.balances == (80 * 10**9, 10_000 * E18)
    assert one.spot_price(A, B) == Fraction(E18 // 2, 10**6)


def test_hop_names_vault_and_pool() -> None:
    body = bytes.fromhex(VAULT[2:] + POOL[2:])

    assert pool().hop(A.upper().replace("X", "x"), B, 7, to_caller=True) == Hop(10, 7, A, B, body, Flags.TO_CALLER)
    assert pool().hop(B, A, 0, to_caller=False) == Hop(10, 0, B, A, body, 0)
    assert not pool().BUYS_EXACTLY
    with pytest.raises(UnknownToken):
        pool().hop(A, C, 7, to_caller=True)


# Snapshots


def test_load_with_any_key_missing_is_refused() -> None:
    """But for flags, which are false then."""
    assert VENUE.snapshot_key == "normalized_weights"
    flags = {"rate_providers", "is_paused", "in_recovery"}
    for key in weighted_v3().keys() - flags:
        less = weighted_v3()
        del less[key]
        with pytest.raises(BadPoolSnapshot, match=f"{key} is missing"):
            VENUE.load(less)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vault": "0x12"}, "not an address"),
        ({"tokens": [token(A, 6)]}, "2 to 8 different tokens"),
        ({"tokens": [token(A, 6), token(A)]}, "2 to 8 different tokens"),
        ({"tokens": [token(A, 6), token(B, 19)]}, "more than 18 decimals"),
        ({"balances": [1]}, "one balance, rate and weight"),
        ({"rates": [E18]}, "one balance, rate and weight"),
        ({"normalized_weights": [E18]}, "one balance, rate and weight"),
        ({"min_balances": [1]}, "given for all tokens or for none"),
        ({"min_balances": [1, -1]}, "must be 0 or more, and given"),
        ({"balances": [-1, 1]}, "and balances 0 or more"),
        ({"rates": [0, E18]}, "rates must be above 0"),
        ({"balances": [1, 2**128]}, "more than 128 bits"),
        ({"balances": [2**128 - 1, 1]}, "more than 128 bits"),
        ({"balances": [1, 2**127], "rates": [E18, 2 * E18]}, "more than 128 bits"),
        ({"normalized_weights": [E18 - 10**16 + 1, 10**16 - 1]}, "must be 1 % or more"),
        ({"normalized_weights": [E18 // 2, E18 // 2 - 1]}, "and their sum 1e18"),
        ({"fee": E18}, "fee must be below 1e18"),
        ({"fee": -1}, "fee must be below 1e18"),
        ({"aggregate_fee": E18 + 1}, "aggregate part"),
        ({"aggregate_fee": -1}, "aggregate part"),
        ({"min_trade": -1}, "min_trade -1"),
        ({"is_paused": 1}, "is_paused is neither"),
    ],
)
def test_snapshot_that_contradicts_itself_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPoolSnapshot, match=why):
        load(weighted_v3(**changes))


def test_edges_that_are_served() -> None:
    nine = 10**16
    one = pool(normalized_weights=[E18 - nine, nine], fee=E18 - 1, aggregate_fee=E18, min_trade=0)

    assert load(one.to_json()) == one
    assert one.fee_pips == 999_999


# The reader


BLOCK = Block(7, "0x" + "ab" * 32, 1_000)
HOOKS = [False] * 10


class OneV3Pool(Rpc):
    """Answers as the pool, its Vault and its tokens do, by the plain steps; refuses the rest."""

    def __init__(self, one: BalancerV3WeightedPool, **changes: Any) -> None:
        super().__init__("http://127.0.0.1:9")
        self.one, self.changes = one, changes

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        return [self._answer(*call) for call in calls]

    def _answer(self, method: str, params: Any) -> Any:
        message, block = params
        assert (method, block["blockHash"]) == ("eth_call", BLOCK.hash)
        known = {POOL: module._POOL, VAULT: module._VAULT}.get(message["to"], TOKEN)
        for function in known.functions.values():
            if function.is_called_by(message["data"]):
                name = function.name
                arguments = function.arguments(message["data"])
                value = self.changes.get(name, self._value(name, message, arguments))
                if value is not None:
                    return "0x" + function.outputs.encode([value]).hex()
        return RpcRejected("eth_call", 3, "execution reverted")

    def _value(self, name: str, message: Any, arguments: Sequence[Any]) -> Any:
        one = self.one
        addresses = [each.address for each in one.tokens]
        if message["to"] not in (POOL, VAULT):
            index = addresses.index(message["to"])
            return one.tokens[index].decimals if name == "decimals" else one.tokens[index].symbol
        if name == "onSwap":
            kind, net, balances, i, j, _, _ = arguments[0]
            assert (kind, message["from"], list(balances)) == (0, VAULT, live(one))
            return pays(one, i, j, net)
        rated = isinstance(one, BalancerV3RatedPool)
        infos = [(int(rated), ETHER_ADDRESS, rated) for _ in addresses]
        data = [list(one.balances), live(one), list(one.rates_e18), scales(one)]
        config = [one.fee_e18, one.aggregate_fee_e18, 0, 0, 0]
        return {
            "getVault": VAULT,
            "getNormalizedWeights": list(one.weights_e18),
            "getMinTokenBalances": list(one.min_balances_e18) or None,
            "getWeightedPoolImmutableData": (addresses, scales(one), list(one.weights_e18)),
            "getPoolData": (b"\0" * 32, addresses, infos, *data),
            "getPoolConfig": ((False,) * 4, *config, True, True, False, one.in_recovery),
            "getHooksConfig": (*HOOKS, ETHER_ADDRESS),
            "isPoolPaused": one.is_paused,
            "isVaultPaused": False,
            "getMinimumTradeAmount": one.min_trade_e18,
        }[name]


def read(rpc: OneV3Pool) -> BalancerV3WeightedPool:
    (found,) = read_pools(rpc, [PoolRef(POOL, venue="balancer-v3")], BLOCK, 1)
    return of_class(found, BalancerV3WeightedPool)


def config_of(one: BalancerV3WeightedPool) -> tuple[Any, ...]:
    found: tuple[Any, ...] = OneV3Pool(one)._value("getPoolConfig", {"to": VAULT}, ())
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_balances": []},
        {"rates": [E18, 3 * E18 // 2 + 1], "rate_providers": True},
        {"is_paused": True},
        {"in_recovery": True},
        {"balances": [0, 0]},
        {"balances": [0, 0], "min_balances": []},
        {"balances": [10**6, 20_000 * E18], "min_balances": [2 * E18, 10**6]},
    ],
    ids=["plain", "earlier", "rated", "paused", "recovery", "empty", "empty earlier", "below"],
)
def test_pool_is_read_as_it_answers(changes: dict[str, Any]) -> None:
    one = pool(**changes)
    rpc = OneV3Pool(one)

    found = read(rpc)

    assert type(found) is type(one)
    assert replace(found, name=one.name) == one
    assert found.name == "Balancer V3 AAA/BBB"
    assert find_venue(rpc, POOL, BLOCK).name == "balancer-v3"


def test_pause_of_the_vault_is_a_pause_of_the_pool() -> None:
    assert read(OneV3Pool(pool(), isVaultPaused=True)).is_paused
    assert not read(OneV3Pool(pool())).is_paused


@pytest.mark.parametrize("flag", range(10))
def test_hooks_around_swaps_are_refused_and_others_served(flag: int) -> None:
    """In the Vault's order: 3 is a fee that changes, 4 before and 5 after a swap."""
    hooks = (*(n == flag for n in range(10)), VAULT)
    rpc = OneV3Pool(pool(), getHooksConfig=hooks)
    if flag in (3, 4, 5):
        with pytest.raises(UnsupportedPool, match="hooks around swaps"):
            read(rpc)
    else:
        assert read(rpc).quote_in(A, B, 10**9) > 0


def test_pool_that_scales_otherwise_is_refused() -> None:
    one = pool()
    whole = OneV3Pool(one)._value("getPoolData", {"to": VAULT}, ())
    *_, balances, in_18, rates, factors = whole
    head = whole[:3]
    for changed in (
        (balances, in_18, rates, [factors[0] * 10, factors[1]]),
        (balances, [in_18[0] - 1, in_18[1]], rates, factors),
    ):
        with pytest.raises(UnsupportedPool, match="a different scaling of balances"):
            read(OneV3Pool(one, getPoolData=(*head, *changed)))


@pytest.mark.parametrize("minimums", [[10**12, 10**6], []])
def test_pool_of_another_form_or_formula_is_refused(minimums: list[int]) -> None:
    """The two forms differ by a unit of what is counted, which small balances show."""
    one = pool(balances=[10**3, 10**9], tokens=[token(A, 18), token(B)], min_balances=[])
    assert read(OneV3Pool(one)) is not None
    with pytest.raises(UnsupportedPool, match="quotes that differ from weighted pools"):
        read(OneV3Pool(one, getMinTokenBalances=[1, 1]))
    other = pool(min_balances=minimums)
    with pytest.raises(UnsupportedPool, match="quotes that differ from weighted pools"):
        read(OneV3Pool(other, onSwap=12_345))


@pytest.mark.parametrize("missing", ["getVault", "getNormalizedWeights", "getPoolData", "isPoolPaused"])
def test_pool_without_an_answer_is_refused(missing: str) -> None:
    class Lacking(OneV3Pool):
        def _value(self, name: str, message: Any, arguments: Sequence[Any]) -> Any:
            return None if name == missing else super()._value(name, message, arguments)

    with pytest.raises(ContractReverted):
        read(Lacking(pool()))
