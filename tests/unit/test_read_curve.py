"""Pools of Curve read through an endpoint that answers as such pools do; no code of theirs is published to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rebalancer.chain.pool_views import CURVE, TOKEN
from rebalancer.chain.pools import PoolPlace, Protocol, find_pool, read_pools
from rebalancer.chain.rpc import Call, Rpc
from rebalancer.chain.snapshot import Block
from rebalancer.errors import LiquidityExhausted, RpcRejected, UnsupportedPool
from rebalancer.pools import CurveCryptoPool, CurveStablePool, load
from tests.unit.test_pool_protocols import POOL, A, crypto, stable

BLOCK = Block(7, "0x" + "ab" * 32, 0)


class OneCurvePool(Rpc):
    """Answers what is asked of one pool's getters and of its coins; refuses the rest."""

    def __init__(self, pool: CurveStablePool | CurveCryptoPool, **told: Any) -> None:
        super().__init__("http://127.0.0.1:9")
        self.pool, self.told = pool, told

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        return [self._answer(*call) for call in calls]

    def _answer(self, method: str, params: Any) -> Any:
        message, block = params
        assert (method, block["blockHash"]) == ("eth_call", BLOCK.hash)
        data = bytes.fromhex(message["data"][2:])
        known = CURVE if message["to"] == POOL else TOKEN
        for signature, function in known.functions.items():
            if signature == function.signature and function.selector == data[:4]:
                value = self._value(message["to"], signature, function.inputs.decode(data[4:]))
                if value is not None:
                    return "0x" + function.outputs.encode([value]).hex()
        return RpcRejected("eth_call", 3, "execution reverted")

    def _value(self, to: str, signature: str, args: tuple[Any, ...]) -> Any:
        pool, name = self.pool, signature.partition("(")[0]
        if to != POOL:
            (token,) = [token for token in pool.tokens if token.address == to]
            return token.symbol if name == "symbol" else token.decimals
        if signature in self.told:
            return self.told[signature]
        if name in ("coins", "balances"):
            held = [token.address for token in pool.tokens] if name == "coins" else pool.balances
            return held[args[0]] if args[0] < len(held) else None
        if isinstance(pool, CurveStablePool):
            found = {"A": pool.a_coefficient, "fee": pool.fee_e10, "admin_fee": pool.admin_fee_e10}
            return self._dy(args) if "int128" in signature else found.get(name)
        if name == "price_scale":
            return pool.price_scale_e18[args[0]] if args[0] < 2 else None
        return {
            "A": pool.a_coefficient // pool.a_multiplier,
            "A_precise": pool.a_coefficient,
            "D": pool.d,
            "gamma": pool.gamma,
            "mid_fee": pool.mid_fee_e10,
            "out_fee": pool.out_fee_e10,
            "fee_gamma": pool.fee_gamma,
            "fee": pool.fee_e10,
            "get_dy": self._dy(args) if signature.startswith("get_dy(uint256") else None,
        }.get(name)

    def _dy(self, args: tuple[int, ...]) -> int | None:
        way = self.pool.tokens[args[0]].address, self.pool.tokens[args[1]].address
        quote = self.pool.get_dy if isinstance(self.pool, CurveStablePool) else self.pool.quote_in
        try:
            return quote(*way, args[2])
        except LiquidityExhausted:
            return None


def curve(snapshot: dict[str, Any]) -> CurveStablePool | CurveCryptoPool:
    pool = load({**snapshot, "name": "Curve " + "/".join(t["symbol"] for t in snapshot["tokens"])})
    assert isinstance(pool, CurveStablePool | CurveCryptoPool)
    return pool


PLACE = PoolPlace(Protocol.CURVE, POOL)


@pytest.mark.parametrize(
    "snapshot",
    [stable(), crypto(a_coefficient=364_500, a_multiplier=100)],
    ids=["stable", "crypto"],
)
def test_pool_of_curve_is_read_whole(snapshot: dict[str, Any]) -> None:
    pool = curve(snapshot)
    rpc = OneCurvePool(pool)

    assert find_pool(rpc, POOL, BLOCK) is Protocol.CURVE
    assert read_pools(rpc, [PLACE], BLOCK, 1) == (pool,)


def test_later_tricrypto_multiplies_a_without_saying_so() -> None:
    pool = curve(crypto(a_coefficient=1_707_629, a_multiplier=10_000))
    told = {"A()": 1_707_629, "A_precise()": None}

    assert read_pools(OneCurvePool(pool, **told), [PLACE], BLOCK, 1) == (pool,)


@pytest.mark.parametrize(
    ("snapshot", "told"),
    [
        (stable(), {"get_dy(int128,int128,uint256)": 1}),
        (stable(), {"A()": 99}),
        (crypto(a_coefficient=364_500, a_multiplier=100), {"D()": 2 * 10**24}),
    ],
    ids=["answers", "A", "D"],
)
def test_pool_that_answers_otherwise_than_on_paper_is_refused(
    snapshot: dict[str, Any], told: dict[str, Any]
) -> None:
    # What get_dy says is still that of the pool as it was before one getter lied.
    with pytest.raises(UnsupportedPool, match="other mathematics"):
        read_pools(OneCurvePool(curve(snapshot), **told), [PLACE], BLOCK, 1)


def test_pool_of_curve_that_holds_ether_is_refused() -> None:
    ether = {"address": "0x" + "ee" * 20, "symbol": "ETH", "decimals": 18}
    coins = [stable()["tokens"][0], {**ether}]
    pool = curve(stable(tokens=coins))
    assert pool.tokens[0].address == A
    with pytest.raises(UnsupportedPool, match="hold ether"):
        read_pools(OneCurvePool(pool), [PLACE], BLOCK, 1)
