"""The book of pools over a chain that the test writes: what logs move, what is read again, what diverges, and what stays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.block import Block
from rebalancer.chain import pool_cache as module
from rebalancer.chain.pool_cache import PoolCache
from rebalancer.chain.pools import PoolFailure
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import (
    BlockVanished,
    PoolDiverged,
    RpcRejected,
    RpcUnreachable,
    UnsupportedPool,
)
from rebalancer.units import E18
from rebalancer.venues import (
    BalancerWeightedPool,
    CurveStablePool,
    PoolRef,
    PoolState,
    Token,
    UniswapV2Pool,
    UniswapV4Pool,
    load,
    of_class,
)
from rebalancer.venues.balancer_weighted import BALANCER_POOL, BALANCER_VAULT
from rebalancer.venues.uniswap_v2 import PAIR
from rebalancer.venues.uniswap_v4 import MANAGER, v4_ref
from tests.unit.test_pool_protocols import A, B, C, balancer, crypto, stable, v2
from tests.unit.test_pools import snapshot as v3
from tests.unit.test_pools import v4_snapshot

ONE, TWO, WEIGHTED, COINS = ("0x" + pair * 20 for pair in ("11", "22", "33", "44"))


def block(number: int, branch: int = 0) -> Block:
    return Block(number, f"0x{branch:02x}{number:062x}", number)


def pair(address: str, *reserves: int, at: int = 100) -> UniswapV2Pool:
    whole = load(v2(address=address, reserves=list(reserves or (1_000, 2_000)), block=at))
    return of_class(whole, UniswapV2Pool)


def weighted(**more: Any) -> BalancerWeightedPool:
    whole = load(balancer(address=WEIGHTED, pool_id=WEIGHTED + "0" * 24, vault=COINS, **more))
    return of_class(whole, BalancerWeightedPool)


def coins(address: str = COINS, **more: Any) -> CurveStablePool:
    return of_class(load(stable(address=address, **more)), CurveStablePool)


def traded(into: int, out: int, number: int = 101) -> Any:
    """A log of the Vault's: so much of A was sold to the weighted pool for so much of B."""
    swap = next(topic for topic, e in BALANCER_VAULT.events.items() if e.name == "Swap")
    as_topic = ["0x" + "0" * 24 + token[2:] for token in (A, B)]
    return {**sync(COINS, into, out, number), "topics": [swap, weighted().pool_id, *as_topic]}


def ref(pool: PoolState) -> PoolRef:
    if pool.kind == "Uniswap V4":
        return v4_ref(pool.address, A, B, 3_000, 60)
    return PoolRef(pool.address, venue="curve")


class Chain(Rpc):
    """What pools are read as, what logs there are, and which blocks are on it."""

    def __init__(self, *pools: PoolState | PoolFailure) -> None:
        super().__init__("http://127.0.0.1:1")
        self.pools = {pool.key: pool for pool in pools if not isinstance(pool, Exception)}
        self.failures: dict[str, PoolFailure] = {}
        self.logs: Any = []
        self.branches: dict[int, Any] = {}
        self.reads: list[list[str]] = []
        self.requested: list[Any] = []
        self.read_at: list[Block] = []
        self.knew: list[list[str]] = []

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        found: list[Any] = []
        for method, params in calls:
            self.requested.append((method, list(params)))
            if method == "eth_getLogs":
                found.append(self._found(params[0]))
            else:
                number = int(params[0], 16)
                found.append(self.branches.get(number, {"hash": block(number).hash}))
        return found

    def _found(self, search: Mapping[str, Any]) -> Any:
        """Logs of the contracts that a search names, whatever else it asks for."""
        named = search["address"]
        at = [named] if isinstance(named, str) else named
        if isinstance(self.logs, RpcRejected):
            return self.logs
        return [each for each in self.logs if each["address"].lower() in at]

    def read(
        self,
        rpc: Rpc,
        refs: Sequence[PoolRef],
        at: Block,
        chain_id: int,
        *,
        tokens: Mapping[str, Token],
        lens: str | None,
    ) -> tuple[PoolState | PoolFailure, ...]:
        assert (rpc, chain_id, lens) == (self, 5, "0xlens")
        keys = [each.key for each in refs]
        self.reads.append(keys)
        self.read_at.append(at)
        self.knew.append(sorted(tokens))
        return tuple(self.failures.get(key) or self.pools[key] for key in keys)


@pytest.fixture
def cache_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(chain: Chain) -> PoolCache:
        monkeypatch.setattr(module, "read_pools_settled", chain.read)
        refs = [ref(pool) for pool in chain.pools.values()]
        cache = PoolCache(chain, refs, block(100), 5, lens="0xlens")
        chain.reads.clear()
        return cache

    return made


def sync(address: str, one: int, other: int, number: int = 101, index: int = 0, **more: Any) -> Any:
    (topic,) = PAIR.events
    return {
        "address": address.upper().replace("X", "x"),
        "topics": [topic],
        "data": "0x" + (one.to_bytes(32) + other.to_bytes(32)).hex(),
        "blockNumber": hex(number),
        "logIndex": hex(index),
        "transactionHash": "0x01",
        **more,
    }


def reserves(cache: PoolCache, key: str) -> tuple[int, int]:
    return of_class(cache.pool(key), UniswapV2Pool).reserves


# Following


def test_pools_are_moved_by_their_logs_in_order_and_by_no_others(cache_of: Any) -> None:
    chain = Chain(pair(ONE), pair(TWO))
    cache = cache_of(chain)
    chain.logs = [
        sync(ONE, 9, 9, 102, 16),
        sync(ONE, 8, 8, 102, 9),
        sync(ONE, 7, 7, 101, 20),
        sync(TWO, 5, 6, 102, 30, removed=True),
        sync(ONE, 1, 1, 102, 10) | {"topics": ["0x" + "00" * 32]},
    ]

    assert cache.update(block(102)) == ()

    assert reserves(cache, ONE) == (9, 9)
    assert cache.pool(TWO) == pair(TWO)
    assert (cache.pool(ONE).block, cache.pool(TWO).block, cache.block) == (102, 100, block(102))
    assert chain.reads == []
    assert [pool.key for pool in cache.pools] == [ONE, TWO]
    with pytest.raises(KeyError):
        cache.pool(WEIGHTED)


def test_blocks_are_asked_for_beside_the_logs_without_their_transactions(cache_of: Any) -> None:
    chain = Chain(pair(ONE))
    cache_of(chain).update(block(103))

    *headers, (method, (search,)) = chain.requested
    assert headers == [
        ("eth_getBlockByNumber", [hex(100), False]),
        ("eth_getBlockByNumber", [hex(103), False]),
    ]
    assert method == "eth_getLogs"
    assert search == {"address": [ONE], "fromBlock": hex(101), "toBlock": hex(103)}


def test_searches_name_the_pools_of_contracts_that_hold_many(cache_of: Any) -> None:
    later = load(v4_snapshot())
    chain = Chain(pair(TWO), weighted(), later, load(v3(pool=ONE)), coins(A))
    cache = cache_of(chain)
    cache.update(block(101))

    searches = [params[0] for method, params in chain.requested if method == "eth_getLogs"]
    ends = {"fromBlock": hex(101), "toBlock": hex(101)}
    assert searches == [
        {"address": [ONE, TWO, WEIGHTED, A], **ends},
        {"address": COINS, "topics": [None, [weighted().pool_id]], **ends},
        {"address": C, "topics": [None, [later.key]], **ends},
    ]


@pytest.mark.parametrize(("number", "anew"), [(100, True), (99, True), (2_100, False), (2_101, True)])
def test_after_a_reorg_or_a_long_absence_everything_is_read_anew(cache_of: Any, number: int, anew: bool) -> None:
    chain = Chain(pair(ONE), pair(TWO))
    cache = cache_of(chain)
    chain.pools[ONE] = pair(ONE, 3, 4)
    at = block(number, 1)
    chain.branches[number] = {"hash": at.hash}

    assert cache.update(at) == ()

    assert chain.reads == ([[ONE, TWO]] if anew else [])
    assert reserves(cache, ONE) == ((3, 4) if anew else (1_000, 2_000))
    assert cache.block == at
    assert not anew or chain.read_at[-1] == at


@pytest.mark.parametrize("before", [None, {"hash": "0x0"}])
def test_where_its_own_block_is_gone_or_logs_cannot_be_had_all_is_read_anew(cache_of: Any, before: Any) -> None:
    chain = Chain(pair(ONE))
    cache = cache_of(chain)
    chain.branches[100] = before
    cache.update(block(101))
    assert chain.reads == [[ONE]]

    chain.branches.clear()
    chain.logs = RpcRejected("eth_getLogs", -32000, "no")
    cache.update(block(102))
    assert chain.reads == [[ONE], [ONE]]
    assert cache.block == block(102)


@pytest.mark.parametrize("now", [None, {"hash": "0x0"}])
def test_block_that_is_not_on_the_chain_vanished_and_the_book_stays(cache_of: Any, now: Any) -> None:
    chain = Chain(pair(ONE))
    cache = cache_of(chain)
    chain.branches[101] = now
    chain.logs = [sync(ONE, 5, 6)]

    with pytest.raises(BlockVanished) as raised:
        cache.update(block(101))

    assert str(raised.value) == str(BlockVanished(101, block(101).hash))
    assert (cache.block, reserves(cache, ONE)) == (block(100), (1_000, 2_000))


def test_nothing_is_asked_for_the_same_block_or_an_empty_book(cache_of: Any) -> None:
    chain = Chain(pair(ONE))
    cache = cache_of(chain)
    assert cache.update(block(100)) == ()
    empty = cache_of(Chain())
    assert empty.update(block(105)) == ()
    assert (empty.block, empty.pools) == (block(105), ())
    assert chain.requested == []


def test_pools_of_curve_that_log_or_move_are_read_again_and_before_anything_changes(
    cache_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = coins()
    moves = coins(TWO, is_ramping=True)
    quiet = load(crypto(address=WEIGHTED))
    chain = Chain(pair(ONE), still, moves, quiet)
    cache = cache_of(chain)
    cache.update(block(101))
    assert chain.reads == [[TWO]], "what moves is read at every block"

    chain.logs = [
        {**sync(COINS, 1, 1, 102), "topics": ["0x" + "00" * 32]},
        {**sync(COINS, 1, 1, 102), "topics": []},
        sync(ONE, 5, 6, 102),
    ]
    chain.pools[COINS] = replace(still, block=102)
    cache.update(block(102))
    assert chain.reads[-1] == [TWO, COINS]
    assert cache.pool(COINS).block == 102
    assert reserves(cache, ONE) == (5, 6)

    def down(*_: Any, **__: Any) -> Any:
        raise RpcUnreachable("it", "down")

    chain.logs = [sync(ONE, 7, 8, 103)]
    monkeypatch.setattr(module, "read_pools_settled", down)
    with pytest.raises(RpcUnreachable):
        cache.update(block(103))
    assert (cache.block, reserves(cache, ONE)) == (block(102), (5, 6))


def test_events_of_shared_contracts_are_told_apart_by_their_ids(cache_of: Any) -> None:
    before, later = weighted(), load(v4_snapshot(pool_manager=TWO))
    chain = Chain(before, later)
    cache = cache_of(chain)
    fees = next(topic for topic, e in MANAGER.events.items() if e.name == "ProtocolFeeUpdated")
    (charge,) = BALANCER_POOL.events

    def worded(address: str, word: int, *topics: str, index: int = 0) -> Any:
        data = "0x" + word.to_bytes(32).hex()
        return {**sync(address, 0, 0, index=index), "topics": topics, "data": data}

    chain.logs = [
        worded(TWO, 5 + (6 << 12), fees, later.key),
        worded(TWO, 9, fees, "0x" + "77" * 32),
        traded(7, 3),
        worded(WEIGHTED, 10**15, charge, index=2),
    ]

    assert cache.update(block(101)) == ()

    after = of_class(cache.pool(WEIGHTED), BalancerWeightedPool)
    assert after.balances == (before.balances[0] + 7, before.balances[1] - 3)
    assert after.fee_e18 == 10**15
    assert of_class(cache.pool(later.key), UniswapV4Pool).protocol_fees_pips == (5, 6)


# What diverges, and what cannot be read


def test_logs_that_do_not_add_up_are_a_divergence_until_it_is_read_again(cache_of: Any) -> None:
    chain = Chain(weighted(), pair(TWO))
    cache = cache_of(chain)
    chain.logs = [traded(1, 21 * E18), sync(TWO, 5, 6)]

    (found,) = cache.update(block(101))

    assert (found.pool, found.block) == (WEIGHTED, 101)
    assert found.why == f"balance {-E18} is not in 0 … 2^112 - 1"
    assert cache.diverged == {WEIGHTED: found}
    assert [pool.key for pool in cache.pools] == [TWO]
    assert reserves(cache, TWO) == (5, 6)
    with pytest.raises(PoolDiverged):
        cache.pool(WEIGHTED)
    chain.logs = [traded(3, 3, 102)]
    assert cache.update(block(102)) == ()
    assert cache.diverged == {WEIGHTED: found}, "nothing heals silently"
    chain.branches[50] = {"hash": block(50, 1).hash}
    cache.update(block(50, 1))
    assert chain.reads == [[TWO]], "a reorg neither"
    chain.pools[WEIGHTED] = fresh = replace(weighted(), fee_e18=10**15)
    assert cache.read_again(WEIGHTED) == fresh
    assert (cache.diverged, cache.pool(WEIGHTED)) == ({}, fresh)
    assert chain.read_at[-1] == cache.block


def test_check_compares_with_a_fresh_read_and_names_what_differs(cache_of: Any) -> None:
    chain = Chain(pair(ONE), pair(TWO))
    cache = cache_of(chain)
    chain.pools[ONE] = replace(pair(ONE, at=7), name="other")
    assert cache.check() == ()
    assert chain.reads == [[ONE, TWO]]
    chain.pools[ONE] = replace(pair(ONE, 1, 2), fee_bps=25)
    chain.pools[TWO] = pair(TWO, 1, 2)

    assert [one.pool for one in cache.check([TWO])] == [TWO]
    (found,) = cache.check()

    assert (found.pool, found.block, found.why) == (ONE, 100, "reserves, fee_bps differ")
    assert chain.reads == [[ONE, TWO], [TWO], [ONE]], "what is out is not compared"
    assert cache.check() == ()
    assert set(cache.diverged) == {ONE, TWO}


def test_rates_that_move_from_outside_are_taken_over_and_nothing_else_with_them(
    cache_of: Any,
) -> None:
    still = coins()
    chain = Chain(still)
    cache = cache_of(chain)
    moved = replace(still, rates=(still.rates[0] + 1, still.rates[1]))
    chain.pools[COINS] = moved
    assert cache.check() == ()
    assert cache.pool(COINS) == moved
    chain.pools[COINS] = replace(moved, rates=still.rates, fee_e10=5)
    (found,) = cache.check()
    assert found.why == "fee_e10, rates differ"


def test_pool_that_cannot_be_read_is_out_with_its_reason_until_it_can(cache_of: Any) -> None:
    chain = Chain(pair(ONE), pair(TWO))
    chain.failures[ONE] = failure = UnsupportedPool("it")
    cache = cache_of(chain)
    assert cache.unread == {ONE: failure}
    assert [pool.key for pool in cache.pools] == [TWO]
    for ask in (cache.pool, cache.read_again):
        with pytest.raises(UnsupportedPool):
            ask(ONE)
    chain.reads.clear()
    assert cache.check() == ()
    assert chain.reads == [[TWO]]
    chain.failures = {TWO: failure}
    assert cache.read_again(ONE) == pair(ONE)
    assert cache.unread == {}
    assert cache.check() == ()
    assert cache.unread == {TWO: failure}
    chain.failures.clear()
    cache.update(block(50, 1))
    assert [pool.key for pool in cache.pools] == [ONE], "a reorg heals nothing"


def test_what_a_reorg_shows_to_be_unreadable_is_out(cache_of: Any) -> None:
    chain = Chain(pair(ONE), pair(TWO))
    cache = cache_of(chain)
    chain.failures[TWO] = failure = UnsupportedPool("it")

    cache.update(block(50, 1))

    assert cache.unread == {TWO: failure}
    assert [pool.key for pool in cache.pools] == [ONE]
    assert chain.knew[-1] == [A, B], "tokens are asked for once"
