"""Pools of Curve read through an endpoint that answers as such pools do; no code of theirs is published to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain.pool_cache import PoolCache
from rebalancer.chain.pools import find_venue, read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    BadPoolSnapshot,
    LiquidityExhausted,
    PoolDiverged,
    PoolError,
    RpcRejected,
    UnsupportedPool,
)
from rebalancer.units import E18
from rebalancer.venues import CurveCryptoPool, CurveStablePool, PoolRef, load, of_class
from rebalancer.venues.curve import CURVE
from rebalancer.venues.reading import TOKEN
from tests.unit.test_pool_protocols import (
    POOL,
    A,
    crypto,
    crypto_ng,
    stable,
    stable_ng,
    two_later,
    two_ng,
)

BLOCK = Block(7, "0x" + "ab" * 32, 1_000)
NEXT = Block(8, "0x" + "cd" * 32, 1_012)
MATH = "0x" + "77" * 20
OWED = 40
"""The owner's part of a pool's first coin, which is not in its balance."""


class OneCurvePool(Rpc):
    """Answers what is asked of one pool's getters and of its coins; refuses the rest."""

    def __init__(self, pool: CurveStablePool | CurveCryptoPool, **quoted: Any) -> None:
        super().__init__("http://127.0.0.1:9")
        self.pool, self.quoted = pool, quoted
        self.block, self.logs = BLOCK, list[Any]()
        self.reads = 0

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.reads += any(method == "eth_call" for method, _ in calls)
        return [self._answer(*call) for call in calls]

    def _answer(self, method: str, params: Any) -> Any:
        if method == "eth_getLogs":
            return self.logs
        if method == "eth_getBlockByNumber":
            return {"hash": {7: BLOCK.hash, 8: NEXT.hash}[int(params[0], 16)]}
        if method == "eth_getCode":
            assert params[0] == self.pool.tokens[0].address
            return "0xc0de"
        message, block, *lent = params
        assert (method, block["blockHash"]) == ("eth_call", self.block.hash)
        data = bytes.fromhex(message["data"][2:])
        known = CURVE if message["to"] in (POOL, MATH) else TOKEN
        for signature, function in known.functions.items():
            if signature == function.signature and function.selector == data[:4]:
                args = function.inputs.decode(data[4:])
                if signature.startswith("exchange_received"):
                    value = self._received(message, lent, args)
                else:
                    value = self._value(message["to"], signature, args)
                if value is not None:
                    return "0x" + function.outputs.encode([value]).hex()
        return RpcRejected("eth_call", 3, "execution reverted")

    def _received(self, message: Any, lent: Any, args: tuple[int, ...]) -> int | None:
        """The pool pays for what its first coin's balance, which the call lends, is above what it knows of."""
        assert int(message["from"], 16)
        (codes,) = lent
        assert set(codes) == {self.pool.tokens[0].address, "0x" + "c0de" * 10}
        held = int(codes[self.pool.tokens[0].address]["code"][-80:-16], 16)
        assert held == self.pool.balances[0] + OWED + args[2]
        if "exchange_received" in self.quoted:
            return self.quoted["exchange_received"]  # type: ignore[no-any-return] # a scripted answer
        assert isinstance(self.pool, CurveStablePool)
        ends = self.pool.tokens[args[0]].address, self.pool.tokens[args[1]].address
        return self.pool.quote_in(*ends, args[2])

    def _value(self, to: str, signature: str, args: tuple[Any, ...]) -> Any:
        pool, name = self.pool, signature.partition("(")[0]
        if signature in self.quoted:
            return self.quoted[signature]
        if to == MATH:
            later = pool.math_version == "ng-v2.1.0"
            return ("v2.1.0" if later else "v2.0.0") if name == "version" else None
        if to != POOL:
            (token,) = [token for token in pool.tokens if token.address == to]
            return token.symbol if name == "symbol" else token.decimals
        if name in ("coins", "balances"):
            held = [token.address for token in pool.tokens] if name == "coins" else pool.balances
            return held[args[0]] if args[0] < len(held) else None
        is_ng = pool.math_version != "v1"
        if isinstance(pool, CurveStablePool):
            if "int128" in signature:
                return self._dy(args)
            found: dict[str, Any] = {"fee": pool.fee_e10, "admin_fee": pool.admin_fee_e10}
            if not is_ng:
                return (found | {"A": pool.a_coefficient}).get(name)
            return {
                **found,
                "A": pool.a_coefficient // 100,
                "A_precise": pool.a_coefficient,
                "stored_rates": list(pool.rates),
                "offpeg_fee_multiplier": pool.offpeg_fee_multiplier_e10,
                "admin_balances": OWED,
                "future_A_time": BLOCK.timestamp + pool.is_ramping,
            }.get(name)
        if name == "price_scale":
            by_number = len(pool.tokens) == 3
            if bool(args) is not by_number:
                return None
            return pool.price_scale_e18[args[0] if args else 0] if (*args, 0)[0] < 2 else None
        told_by_ng = {
            "MATH": MATH,
            "virtual_price": pool.virtual_price_e18,
            "totalSupply": pool.total_supply,
            "future_A_gamma_time": BLOCK.timestamp + pool.is_ramping,
        }
        first = {
            "A_precise": pool.a_coefficient,
            "future_A_gamma_time": 0,
        }
        return {
            "A": pool.a_coefficient if is_ng else pool.a_coefficient // pool.a_multiplier,
            "D": pool.d,
            "gamma": pool.gamma,
            "mid_fee": pool.mid_fee_e10,
            "out_fee": pool.out_fee_e10,
            "fee_gamma": pool.fee_gamma,
            "fee": pool.fee_e10,
            "get_dy": self._dy(args) if signature.startswith("get_dy(uint256") else None,
            **(told_by_ng if is_ng else first),
        }.get(name)

    def _dy(self, args: tuple[int, ...]) -> int | None:
        way = self.pool.tokens[args[0]].address, self.pool.tokens[args[1]].address
        try:
            return self.pool.get_dy(*way, args[2])
        except LiquidityExhausted:
            return None


def curve(snapshot: dict[str, Any]) -> CurveStablePool | CurveCryptoPool:
    pool = load({**snapshot, "name": "Curve " + "/".join(t["symbol"] for t in snapshot["tokens"])})
    assert isinstance(pool, CurveStablePool | CurveCryptoPool)
    return pool


PLACE = PoolRef(POOL, venue="curve")


@pytest.mark.parametrize(
    "snapshot",
    [
        stable(),
        crypto(a_coefficient=364_500, a_multiplier=100),
        stable_ng(),
        stable_ng(is_ramping=True, a_coefficient=10_055),
        crypto_ng(),
        crypto_ng(is_ramping=True, balances=[10**12, 30 * 10**8, 400 * E18]),
        two_ng(),
        two_later(),
    ],
    ids=["stable", "crypto", "stable_ng", "ramp", "crypto_ng", "ramp_ng", "two_ng", "two_later"],
)
def test_pool_of_curve_is_read_whole(snapshot: dict[str, Any]) -> None:
    pool = curve(snapshot)
    rpc = OneCurvePool(pool)

    assert find_venue(rpc, POOL, BLOCK).name == "curve"
    assert read_pools(rpc, [PLACE], BLOCK, 1) == (pool,)


def test_later_tricrypto_multiplies_a_without_saying_so() -> None:
    pool = curve(crypto(a_coefficient=1_707_629, a_multiplier=10_000))
    quoted = {"A()": 1_707_629, "A_precise()": None}

    assert read_pools(OneCurvePool(pool, **quoted), [PLACE], BLOCK, 1) == (pool,)


@pytest.mark.parametrize(
    ("snapshot", "quoted"),
    [
        (stable(), {"get_dy(int128,int128,uint256)": 1}),
        (stable(), {"A()": 99}),
        (crypto(a_coefficient=364_500, a_multiplier=100), {"gamma()": 8 * 10**13}),
        (stable_ng(), {"offpeg_fee_multiplier()": 2 * 10**10}),
        (stable_ng(), {"exchange_received": 1}),
        (crypto_ng(), {"fee_gamma()": 10**15}),
    ],
    ids=["answers", "A", "gamma", "offpeg_fee_multiplier", "exchange", "fee_gamma"],
)
def test_pool_that_answers_otherwise_than_on_paper_is_refused(snapshot: dict[str, Any], quoted: dict[str, Any]) -> None:
    # What get_dy says is still that of the pool as it was before one getter lied.
    with pytest.raises(UnsupportedPool, match="unknown mathematics"):
        read_pools(OneCurvePool(curve(snapshot), **quoted), [PLACE], BLOCK, 1)


def test_pool_of_curve_that_holds_ether_is_refused() -> None:
    ether = {"address": "0x" + "ee" * 20, "symbol": "ETH", "decimals": 18}
    coins = [stable()["tokens"][0], {**ether}]
    pool = curve(stable(tokens=coins))
    assert pool.tokens[0].address == A
    with pytest.raises(UnsupportedPool, match="holds ether"):
        read_pools(OneCurvePool(pool), [PLACE], BLOCK, 1)


@pytest.mark.parametrize("snapshot", [crypto(a_coefficient=364_500, a_multiplier=100), crypto_ng()], ids=["v1", "ng"])
def test_tricrypto_that_tells_another_d_than_its_balances_is_refused(
    snapshot: dict[str, Any],
) -> None:
    rpc = OneCurvePool(curve(snapshot), **{"D()": snapshot["d"] * 999 // 1_000})
    with pytest.raises(BadPoolSnapshot, match="does not match these balances"):
        read_pools(rpc, [PLACE], BLOCK, 1)


def test_pool_of_other_mathematics_than_those_known_is_refused() -> None:
    rpc = OneCurvePool(curve(crypto_ng()), **{"version()": "v9.9.9"})
    with pytest.raises(UnsupportedPool, match=r"mathematics v9\.9\.9"):
        read_pools(rpc, [PLACE], BLOCK, 1)


def test_pool_of_coins_whose_balances_change_by_themselves_is_refused() -> None:
    """Such a pool of stableswap-ng has no exchange_received."""
    rpc = OneCurvePool(curve(stable_ng()), exchange_received=None)
    with pytest.raises(UnsupportedPool, match="balances change by themselves"):
        read_pools(rpc, [PLACE], BLOCK, 1)


def test_pool_of_eight_coins_is_read_whole() -> None:
    tokens = [{"address": f"0x{n:040x}", "symbol": f"T{n}", "decimals": 18} for n in range(1, 9)]
    pool = curve(stable_ng(tokens=tokens, balances=[1_000 * E18] * 8, rates=[E18] * 8))

    assert read_pools(OneCurvePool(pool), [PLACE], BLOCK, 1) == (pool,)


class TellsZero(OneCurvePool):
    """Tells the address zero of coins that it does not have, instead of refusing."""

    def _value(self, to: str, signature: str, args: tuple[Any, ...]) -> Any:
        found = super()._value(to, signature, args)
        is_beyond = signature == "coins(uint256)" and to == POOL and found is None
        return "0x" + "0" * 40 if is_beyond else found


def test_coins_at_address_zero_are_none() -> None:
    pool = curve(stable())
    assert read_pools(TellsZero(pool), [PLACE], BLOCK, 1) == (pool,)


class PaysLittle(OneCurvePool):
    """Its swaps of more than a thousandth of the first coin pay a unit less than on paper."""

    def _received(self, message: Any, lent: Any, args: tuple[int, ...]) -> int | None:
        found = super()._received(message, lent, args)
        return found if args[2] <= self.pool.balances[0] // 1_000 or found is None else found - 1


def test_pool_is_held_to_what_large_swaps_pay_too() -> None:
    with pytest.raises(UnsupportedPool, match="unknown mathematics"):
        read_pools(PaysLittle(curve(stable_ng())), [PLACE], BLOCK, 1)


# Kept in a book


def traded(book: PoolCache) -> list[str]:
    return [each.address for each in book.pools]


def at_next(rpc: OneCurvePool, book: PoolCache) -> tuple[PoolDiverged, ...]:
    rpc.block, rpc.reads = NEXT, 0
    return book.update(NEXT)


@pytest.mark.parametrize(
    ("snapshot", "read_again"),
    [
        (stable(), False),
        (stable_ng(rates=[E18, 10**30, E18]), False),
        (stable_ng(), True),
        (stable_ng(rates=[E18, 10**30, E18], is_ramping=True), True),
        (crypto_ng(), False),
        (crypto_ng(is_ramping=True), True),
    ],
    ids=["stable", "ng", "ng_rates", "ng_ramp", "crypto_ng", "crypto_ng_ramp"],
)
def test_pool_that_moves_without_a_log_is_read_at_every_block(snapshot: dict[str, Any], read_again: bool) -> None:
    rpc = OneCurvePool(curve(snapshot))
    book = PoolCache(rpc, [PLACE], BLOCK, 1)

    assert at_next(rpc, book) == ()

    assert (rpc.reads > 0) is read_again
    assert book.pool(POOL).block == (8 if read_again else 7)


def test_first_move_of_a_rate_is_taken_over_by_a_check() -> None:
    """A rate of exactly one may come from outside: nothing tells before it moves on."""
    before = of_class(load(stable_ng(rates=[E18, 10**30, E18])), CurveStablePool)
    rpc = OneCurvePool(before)
    book = PoolCache(rpc, [PLACE], BLOCK, 1)
    after = replace(before, rates=(E18, 10**30, E18 + 5))
    rpc.pool = after

    assert book.check() == ()

    kept = of_class(load(book.pool(POOL).to_json()), CurveStablePool)
    assert kept.rates == after.rates
    assert kept.moves


def test_pool_that_cannot_be_quoted_any_more_is_left_out_until_it_can() -> None:
    """Between the end of a ramp and the next swap tricrypto-ng keeps the D of another A."""
    pool = of_class(load(crypto_ng(is_ramping=True)), CurveCryptoPool)
    rpc = OneCurvePool(pool)
    book = PoolCache(rpc, [PLACE], BLOCK, 1)
    rpc.quoted |= {"future_A_gamma_time()": 1, "D()": pool.d - pool.d // 10**5}

    assert at_next(rpc, book) == ()

    assert "does not match these balances" in str(book.unread[POOL])
    assert traded(book) == []
    assert book.block == NEXT

    rpc.block = BLOCK
    assert book.update(BLOCK) == ()
    assert traded(book) == []

    with pytest.raises(PoolError, match="does not match these balances"):
        book.read_again(POOL)
    del rpc.quoted["D()"]
    book.read_again(POOL)
    assert traded(book) == [POOL]
    assert not book.diverged
    assert not book.unread
