"""Pools of every protocol read from a chain: equal to what was put there, in few requests, and refused where they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rebalancer.abi import Call
from rebalancer.chain.pools import (
    find_venue,
    read_pools,
    read_v3_pools,
)
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.errors import (
    BadPoolSnapshot,
    ContractMissing,
    ContractReverted,
    RpcRejected,
    UnsupportedPool,
)
from rebalancer.venues import (
    BalancerWeightedPool,
    PoolRef,
    PoolState,
    Token,
    UniswapV3Pool,
    of_class,
)
from rebalancer.venues.curve import with_balance
from rebalancer.venues.uniswap_v4 import v4_ref
from tests.contract.built import bare, in_pieces
from tests.contract.pools import rebuild
from tests.contract.pools_balancer import BalancerV2
from tests.contract.pools_v4 import UniswapV4
from tests.contract.test_balancer_quotes import random_pool as random_weighted
from tests.contract.test_uniswap_v2_quotes import Pair
from tests.contract.test_uniswap_v3_quotes import random_pool, token_pair
from tests.contract.test_uniswap_v4 import as_v4, opened

pytestmark = pytest.mark.both_chains  # nodes differ in gas limits and in past blocks

CHAIN_ID = 31_337


class Counting(Rpc):
    """An endpoint that counts its HTTP requests."""

    requests = 0

    def batch_settled(self, calls: Sequence[Call]) -> list[Any]:
        self.requests += 1
        return super().batch_settled(calls)


@pytest.fixture
def counting(node_url: str) -> Counting:
    return Counting(node_url, timeout_s=60)


def v4_place(pool: Any) -> PoolRef:
    ends = pool.token0.address, pool.token1.address
    return v4_ref(pool.manager, *ends, pool.profile.fee_pips, pool.tick_spacing)


def test_pools_of_all_protocols_are_read_whole_in_a_handful_of_requests(market: DevMarket, counting: Counting) -> None:
    """Two of each, so that twice as many take no more requests than one of each."""
    chain = market.chain
    v4 = UniswapV4.install(chain, chain.accounts[2])
    balancer = BalancerV2.install(chain, chain.accounts[2])
    made: list[tuple[PoolRef, PoolState]] = []
    for seed in (3, 8):
        tokens = token_pair(chain)
        pair = Pair.opened(chain, (10**12 + seed, 10**15))
        made.append(
            (
                PoolRef(pair.paper.address, fee_pips=2_500, venue="uniswap-v2"),
                replace(pair.paper, fee_bps=25),
            )
        )
        on_paper = random_pool(2 if seed == 3 else 9, tokens)
        on_paper = replace(on_paper, profile=in_pieces(on_paper.profile))
        v3 = rebuild(market, on_paper)
        made.append((PoolRef(v3.address, venue="uniswap-v3"), v3))
        of_v4 = v4.rebuild(as_v4(on_paper, (0, 700)))
        made.append((v4_place(of_v4), of_v4))
        weighted = balancer.rebuild(random_weighted(chain, seed, "v1" if seed == 3 else "v2"))
        made.append((PoolRef(weighted.address, venue="balancer"), weighted))
    refs = [ref for ref, _ in made]

    block = read_block(counting)
    counting.requests = 0
    half = read_pools(counting, refs[:4], block, CHAIN_ID)
    of_half, counting.requests = counting.requests, 0
    found = read_pools(counting, refs, block, CHAIN_ID)

    assert [bare(pool) for pool in found] == [bare(pool) for _, pool in made]
    assert half == found[:4]
    assert counting.requests == of_half <= 6
    for ref, pool in zip(refs, found, strict=True):
        assert (pool.block, pool.chain_id) == (block.number, CHAIN_ID)
        assert pool.name.startswith(pool.kind.split()[0])
        assert pool.ref == replace(ref, tokens=pool.ref.tokens, fee_pips=pool.ref.fee_pips)
        if ref.venue != "uniswap-v4":
            assert find_venue(counting, ref.address, block).name == ref.venue


def test_v3_pools_are_read_alike_with_a_lens_and_with_one_lent(market: DevMarket) -> None:
    """State override, for chains where no lens is deployed."""
    chain = market.chain
    lens = chain.deploy("UniswapV3Lens")
    known = {t.address: Token(t.address, t.symbol, t.decimals) for t in market.deployment.tokens}
    pools = [pool.address for pool in market.deployment.pools]
    block = read_block(chain.rpc)

    read = [read_v3_pools(chain.rpc, where, pools, known, block, CHAIN_ID) for where in (lens.address, None)]

    assert read[0] == read[1]
    assert [pool.address for pool in read[0]] == pools
    assert all(isinstance(pool, UniswapV3Pool) for pool in read[0])
    assert read_v3_pools(chain.rpc, None, [], known, block, CHAIN_ID) == ()


def test_balance_lent_to_a_coin_changes_nothing_else_of_it(chain: LocalChain) -> None:
    """The code that `curve_pool` lends, run by a real node."""
    coin = chain.deploy("MockToken", "Coin", "COIN", 7)
    holder, other = chain.accounts[0], chain.accounts[1]
    chain.transact(coin, "mint", holder, 500, sender=holder)
    code = chain.rpc.call("eth_getCode", coin.address, "latest")
    block = read_block(chain.rpc)

    def requested(name: str, *args: object, lent: bool) -> object:
        method, (message, at) = coin.batched.request(name, *args, block=block.hash)
        override = [with_balance(coin.address, code, 77)] if lent else []
        (answer,) = chain.rpc.batch_settled([(method, ({**message, "from": holder}, at, *override))])
        return (answer.data, answer.message) if isinstance(answer, RpcRejected) else answer

    assert requested("balanceOf", holder, lent=False) == "0x" + f"{500:064x}"
    assert requested("balanceOf", holder, lent=True) == "0x" + f"{77:064x}"
    for call in (("decimals",), ("symbol",), ("totalSupply",), ("transfer", other, 400)):
        assert requested(*call, lent=True) == requested(*call, lent=False)
    refusal = requested("transfer", other, 501, lent=True)
    assert isinstance(refusal, tuple)
    assert refusal == requested("transfer", other, 501, lent=False)


def test_v4_pool_of_ether_is_read_from_storage_alone(chain: LocalChain) -> None:
    v4 = UniswapV4.install(chain, chain.accounts[2])
    token = token_pair(chain)[0]
    pool = opened(v4, token, 11)

    (found,) = read_pools(chain.rpc, [v4_place(pool)], read_block(chain.rpc), CHAIN_ID)

    assert bare(found) == bare(pool)


def test_v4_pool_without_a_key_or_unknown_to_its_manager_is_refused(chain: LocalChain) -> None:
    v4 = UniswapV4.install(chain, chain.accounts[2])
    block = read_block(chain.rpc)
    manager = v4.manager.address
    with pytest.raises(BadPoolSnapshot, match="identified by its key"):
        read_pools(chain.rpc, [PoolRef(manager, venue="uniswap-v4")], block, CHAIN_ID)
    tokens = token_pair(chain)
    ref = v4_ref(manager, tokens[0].address, tokens[1].address, 3_000, 60)
    with pytest.raises(UnsupportedPool, match="does not know"):
        read_pools(chain.rpc, [ref], block, CHAIN_ID)


def test_address_that_is_no_pool_is_refused(chain: LocalChain) -> None:
    block = read_block(chain.rpc)
    token = token_pair(chain)[0].address
    for address in (token, chain.accounts[0]):
        with pytest.raises(UnsupportedPool, match="a known venue"):
            find_venue(chain.rpc, address, block)
        for venue in ("uniswap-v2", "balancer"):
            with pytest.raises((ContractMissing, ContractReverted)):
                read_pools(chain.rpc, [PoolRef(address, venue=venue)], block, CHAIN_ID)


def test_the_powers_of_a_weighted_pool_are_told_by_pairs_that_are_no_neighbours(
    chain: LocalChain,
) -> None:
    """Weights 40, 10, 20, 30: of neighbours none has the other's weight, twice or four times that in both directions."""
    balancer = BalancerV2.install(chain, chain.accounts[2])
    pool = balancer.rebuild(random_weighted(chain, 30, "v1"))

    (found,) = read_pools(chain.rpc, [pool.ref], read_block(chain.rpc), CHAIN_ID)

    assert of_class(found, BalancerWeightedPool).pow_version == "v1"
