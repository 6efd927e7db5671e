"""Balancer V3 on paper against the Vault, Router and weighted pool compiled from their published sources: every quote and refusal."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from eth_utils.crypto import keccak

from rebalancer.abi import Call, decode_logs
from rebalancer.chain.pool_cache import PoolCache
from rebalancer.chain.pools import find_venue, read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import ContractReverted, LiquidityExhausted, UnsupportedPool
from rebalancer.units import E18
from rebalancer.venues import (
    MAX_AMOUNT_RAW,
    BalancerWeightedPool,
    PoolState,
    Token,
    load,
    of_class,
)
from rebalancer.venues.balancer_v3 import BalancerV3RatedPool, BalancerV3WeightedPool
from tests.contract.built import bare
from tests.contract.desk import Desk, Way
from tests.contract.pools_balancer_v3 import WEIGHTS, BalancerV3, random_pool

CHAIN_ID = 31_337


@pytest.fixture(scope="module")
def module_balancer(session_chain: LocalChain) -> Iterator[BalancerV3]:
    """Installed once for all tests of the file."""
    before = session_chain.snapshot()
    yield BalancerV3.install(session_chain, session_chain.accounts[2])
    session_chain.revert(before)


@pytest.fixture
def balancer(module_balancer: BalancerV3, chain: LocalChain) -> BalancerV3:
    """What a test does to it is undone."""
    assert module_balancer.chain is chain
    return module_balancer


ON_SWAP = "0x" + keccak(b"onSwap((uint8,uint256,uint256[],uint256,uint256,address,bytes))")[:4].hex()


def limit_of(pool: BalancerV3WeightedPool, way: Way, *, exact_in: bool) -> int:
    with pytest.raises(LiquidityExhausted) as refusal:
        (pool.quote_in if exact_in else pool.quote_out)(*way, MAX_AMOUNT_RAW)
    return refusal.value.possible_raw


def least_of(pool: BalancerV3WeightedPool, way: Way, most: int, *, exact_in: bool) -> int:
    """Where what is refused as too small, or pays nothing, ends."""

    def is_enough(amount: int) -> bool:
        try:
            return (pool.quote_in if exact_in else pool.quote_out)(*way, amount) > 0
        except LiquidityExhausted:
            return False

    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def ways_of(pool: PoolState) -> list[Way]:
    """Any two of its tokens, both ways."""
    return list(permutations((token.address for token in pool.tokens), 2))


def read_anew(chain: LocalChain, pool: PoolState) -> BalancerV3WeightedPool:
    """The pool as the newest block has it."""
    (found,) = read_pools(chain.rpc, [pool.ref], read_block(chain.rpc), CHAIN_ID)
    return of_class(found, BalancerV3WeightedPool)


def check_quotes(balancer: BalancerV3, pool: BalancerV3WeightedPool, rng: random.Random) -> int:
    """Every quote of two of its tokens, both ways, is what the Router's query answers; how many were amounts."""
    compared = 0
    one, other = rng.sample([token.address for token in pool.tokens], 2)
    for way in ((one, other), (other, one)):
        for exact_in in (True, False):
            on_paper = pool.quote_in if exact_in else pool.quote_out
            most = limit_of(pool, way, exact_in=exact_in)
            amounts = {1, 2, 3, 999, most - 1, most, most + 1, 2 * most, most // 1_000, 1 << 120}
            amounts |= {rng.getrandbits(rng.randint(1, most.bit_length() + 1)) for _ in range(12)}
            least = least_of(pool, way, most, exact_in=exact_in)
            amounts |= {least - 1, least, least + 1}
            tried = sorted(amount for amount in amounts if amount > 0)
            answers = balancer.query(pool, way, tried, exact_in=exact_in)
            for amount, answer in zip(tried, answers, strict=True):
                try:
                    expected: int | None = on_paper(*way, amount)
                except LiquidityExhausted as refusal:
                    assert refusal.possible_raw == most  # noqa: PT017 (an answer is as good)
                    expected = None
                if answer is None and exact_in and amount <= most:
                    # Too small for the Vault.
                    assert expected == 0
                else:
                    assert expected == answer, f"{exact_in=} {way}: {amount} of {most}"
                compared += answer is not None
    return compared


@pytest.mark.parametrize("rated", [False, True], ids=["standard", "rated"])
@pytest.mark.parametrize("seed", range(6 * len(WEIGHTS)))
def test_random_pool_quotes_and_moves_as_the_vault(balancer: BalancerV3, seed: int, rated: bool) -> None:
    """Amounts at all edges; swaps move every balance by the same, the aggregate fee taken out."""
    rng = random.Random(seed)
    # Of tiny pools, too, whose minimum of a balance ends a swap.
    least = rng.choice([2 * 10**6, 10**12, 10**21])
    pool = balancer.rebuild(random_pool(balancer.chain, seed, rated=rated, least=least))
    assert check_quotes(balancer, pool, rng) > 10

    desk = Desk.open(balancer.chain)
    for _ in range(3):
        way = rng.choice(ways_of(pool))
        if (most := limit_of(pool, way, exact_in=True)) == 0:
            continue  # sold out, to the minimum of a balance
        amount = rng.randint(1, most)
        expected, after = pool.swapped(*way, amount)
        if expected:
            assert desk.trade(pool, way, amount) == expected
            balancer.check_state(after)
            pool = after
    check_quotes(balancer, pool, rng)


def test_rate_that_rises_pays_its_yield_fee_when_it_is_read(balancer: BalancerV3) -> None:
    pool = balancer.rebuild(random_pool(balancer.chain, 3, rated=True, least=10**21))
    (index, rate) = next((k, rate) for k, rate in enumerate(pool.rates_e18) if rate != E18)

    balancer.set_rate(index, rate * 21 // 20)
    found = read_anew(balancer.chain, pool)

    assert isinstance(found, BalancerV3RatedPool)
    assert found.rates_e18[index] == rate * 21 // 20
    assert found.balances[index] < pool.balances[index]
    assert check_quotes(balancer, found, random.Random(3)) > 20
    way = found.tokens[index].address, found.tokens[(index + 1) % len(found.tokens)].address
    expected, after = found.swapped(*way, found.balances[index] // 9)
    assert Desk.open(balancer.chain).trade(found, way, found.balances[index] // 9) == expected
    balancer.check_state(after)


def test_pool_that_is_not_initialized_is_refused_until_it_is(balancer: BalancerV3) -> None:
    """The Vault has no data of it. Its venue is found, and no swap goes through."""
    chain = balancer.chain
    pool = balancer.create(random_pool(chain, 0, least=10**21))

    with pytest.raises(ContractReverted, match="PoolNotInitialized"):
        read_anew(chain, pool)
    assert find_venue(chain.rpc, pool.address, read_block(chain.rpc)).name == "balancer-v3"
    for way in ways_of(pool):
        assert Desk.open(chain).sells(pool, way, [10**15]) == [None]
    balancer.provide(pool)
    assert bare(read_anew(chain, pool)) == bare(pool)


def test_paused_pool_or_vault_trades_nothing_until_it_goes_on(balancer: BalancerV3) -> None:
    pool = balancer.rebuild(random_pool(balancer.chain, 0, least=10**21))
    chain, rpc, way = balancer.chain, balancer.chain.rpc, ways_of(pool)[0]
    cache = PoolCache(rpc, [pool.ref], read_block(rpc), CHAIN_ID)
    for pause, resume, args in (
        ("pausePool", "unpausePool", (pool.address,)),
        ("pauseVault", "unpauseVault", ()),
    ):
        chain.transact(balancer.vault, pause, *args, sender=balancer.owner)
        found = read_anew(chain, pool)

        before = of_class(cache.pool(pool.key), BalancerV3WeightedPool)
        assert found == replace(before, is_paused=True, block=found.block)
        assert limit_of(found, way, exact_in=True) == limit_of(found, way, exact_in=False) == 0
        assert balancer.query(found, way, [10**15], exact_in=True) == [None]
        assert found.flow_to(*way, 0.0) == (0, 0)
        assert found.spot_price(*way) == 0
        assert cache.update(read_block(rpc)) == ()
        assert cache.check() == ()
        assert cache.pool(pool.key) == found
        chain.transact(balancer.vault, resume, *args, sender=balancer.owner)
        assert cache.update(read_block(rpc)) == ()
        assert cache.check() == ()
        assert bare(cache.pool(pool.key)) == bare(before)


def hook_code(flag: int) -> bytes:
    """Answers with one flag of ten to a call without arguments (getHookFlags), and 1 to any other (onRegister)."""
    others = "3660041460" + "0f" + "57" + "60015f5260205ff3"
    flags = f"5b600161{32 * flag:04x}526101405ff3"
    return bytes.fromhex(others + flags)


@pytest.mark.parametrize("flag", [3, 4, 5], ids=["dynamic fee", "before swap", "after swap"])
def test_pool_with_hooks_around_swaps_is_refused(balancer: BalancerV3, flag: int) -> None:
    """A contract that allows its registration, and names that hook."""
    hooks = "0x" + "4b" * 20
    balancer.chain.set_code(hooks, hook_code(flag))
    pool = balancer.rebuild(random_pool(balancer.chain, 1, least=10**21), hooks)
    rpc = balancer.chain.rpc

    with pytest.raises(UnsupportedPool, match="Balancer V3 with hooks around swaps"):
        read_pools(rpc, [pool.ref], read_block(rpc), CHAIN_ID)
    assert find_venue(rpc, pool.address, read_block(rpc)).name == "balancer-v3"


class OneUnitOff(Rpc):
    """The chain, on which a pool's onSwap answers a unit more."""

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        answers = super().batch_settled(calls)
        return [
            f"0x{int(answer, 16) + 1:064x}" if params[0].get("data", "").startswith(ON_SWAP) else answer
            for (_, params), answer in zip(calls, answers, strict=True)
        ]


def test_pool_that_answers_otherwise_is_refused(balancer: BalancerV3) -> None:
    pool = balancer.rebuild(random_pool(balancer.chain, 0, least=10**21))
    rpc = balancer.chain.rpc
    assert read_pools(rpc, [pool.ref], read_block(rpc), CHAIN_ID)

    with (
        OneUnitOff(rpc.endpoint) as off,
        pytest.raises(UnsupportedPool, match="quotes that differ from weighted pools"),
    ):
        read_pools(off, [pool.ref], read_block(rpc), CHAIN_ID)


def test_logs_of_every_kind_fold_to_what_is_read(balancer: BalancerV3) -> None:
    """Without reading in between: all of a pool's history from its first liquidity on."""
    kinds, rng = set(), random.Random(7)
    chain, desk = balancer.chain, Desk.open(balancer.chain)
    for seed in range(4):
        pool = balancer.rebuild(random_pool(chain, seed, least=10**21))
        begun = read_block(chain.rpc)
        start = read_anew(chain, pool)
        for _ in range(12):
            balancer.stir(read_anew(chain, pool), rng)
            now = read_anew(chain, pool)
            way = rng.choice(ways_of(now))
            desk.trade(now, way, limit_of(now, way, exact_in=True) // rng.randint(1, 9))
        (source,) = start.log_sources
        wanted = {"address": source.address, "topics": [None, source.topic]}
        logs = chain.rpc.call("eth_getLogs", {**wanted, "fromBlock": hex(begun.number + 1)})
        events = decode_logs(logs, source.interface)
        kinds |= {event.name for event in events}
        end = read_anew(chain, pool)

        assert bare(start.moved(events)) == bare(end)
        assert load(end.to_json()) == end
    assert kinds == {shape.name for shape in source.interface.events.values()}


def test_pool_of_the_earlier_form_is_one_of_v2_without_scaling() -> None:
    """Both multiply out the same powers of the same balances, so at no fee, 18 decimals and rates of 1 no unit differs."""
    rng = random.Random(2024)
    for _ in range(200):
        weight = rng.randint(1, 99)
        pool = BalancerV3WeightedPool(
            address="0x" + "1" * 40,
            vault="0x" + "2" * 40,
            tokens=(Token("0x" + "3" * 40, "A", 18), Token("0x" + "4" * 40, "B", 18)),
            balances=(rng.randint(10**18, 10**30), rng.randint(10**18, 10**30)),
            rates_e18=(E18, E18),
            weights_e18=(weight * E18 // 100, (100 - weight) * E18 // 100),
            min_balances_e18=(),
            fee_e18=0,
            aggregate_fee_e18=0,
            min_trade_e18=0,
        )
        older = BalancerWeightedPool(
            address=pool.address,
            vault=pool.vault,
            pool_id=pool.address + "0" * 24,
            tokens=pool.tokens,
            balances=pool.balances,
            weights_e18=pool.weights_e18,
            fee_e18=0,
        )
        way = ways_of(pool)[0]
        for exact_in in (True, False):
            most = limit_of(pool, way, exact_in=exact_in)
            for amount in (1, most // 3, most, rng.randint(1, most)):
                name = "quote_in" if exact_in else "quote_out"
                assert getattr(pool, name)(*way, amount) == getattr(older, name)(*way, amount)
