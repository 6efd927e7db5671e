"""Balancer V2 on paper against the published Vault and pools of both mathematics: every quote, every refusal, every swap."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from rebalancer.chain.contracts import contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import LiquidityExhausted
from rebalancer.pool_files import load_pool
from rebalancer.route import encode
from rebalancer.units import E18
from rebalancer.venues import MAX_AMOUNT_RAW, BalancerWeightedPool, of_class
from tests.contract.pools_balancer import NOBODY, BalancerV2, coins

SNAPSHOT = "mainnet-24407242/balancer_weighted_usdc_weth_50_50.json"

WEIGHTS = [
    (50, 50),
    (80, 20),
    (20, 80),
    (60, 30, 10),
    (33, 33, 34),
    (99, 1),
    (40, 10, 20, 30),
    (12, 12, 12, 12, 13, 13, 13, 13),
]
"""In hundredths: exponents of 1, 2, 4 and their inverses, and of nothing round."""


def random_pool(chain: LocalChain, seed: int, version: str) -> BalancerWeightedPool:
    """A pool with that one of `WEIGHTS` and anything else drawn."""
    rng = random.Random(seed)
    hundredths = WEIGHTS[seed % len(WEIGHTS)]
    tokens = coins(chain, [rng.choice([0, 6, 8, 18]) for _ in hundredths])
    balances = tuple(rng.randint(10 ** max(token.decimals // 2, 3), 10 ** (token.decimals + 9)) for token in tokens)
    return BalancerWeightedPool(
        address=NOBODY,
        vault=NOBODY,
        pool_id="0x" + "0" * 64,
        tokens=tokens,
        balances=balances,
        weights_e18=tuple(weight * E18 // 100 for weight in hundredths),
        fee_e18=rng.choice([10**12, 3 * 10**15, 10**17, rng.randint(10**12, 10**17)]),
        pow_version=version,
    )


def check_quotes(balancer: BalancerV2, pool: BalancerWeightedPool, rng: random.Random) -> int:
    """Every quote of two of its pairs, both ways, is the Vault's; how many were amounts."""
    compared = 0
    one, other = rng.sample(range(len(pool.tokens)), 2)
    for i, j in ((one, other), (other, one)):
        way = pool.tokens[i].address, pool.tokens[j].address
        for exact_in in (True, False):
            on_paper = pool.quote_in if exact_in else pool.quote_out
            with pytest.raises(LiquidityExhausted) as refusal:
                on_paper(*way, MAX_AMOUNT_RAW)
            most = refusal.value.possible_raw
            amounts = {1, 2, 3, 999, most - 1, most, most + 1, 2 * most, most // 1_000, 1 << 111}
            amounts |= {rng.getrandbits(rng.randint(1, most.bit_length() + 1)) for _ in range(12)}
            requested = sorted(amount for amount in amounts if amount > 0)
            answers = balancer.ask(pool, i, j, requested, exact_in=exact_in)
            for amount, answer in zip(requested, answers, strict=True):
                if answer is None:
                    with pytest.raises(LiquidityExhausted) as refusal:
                        on_paper(*way, amount)
                    assert refusal.value.possible_raw == most < amount
                else:
                    assert on_paper(*way, amount) == answer, f"{exact_in=} {i} to {j}: {amount}"
                    compared += 1
    return compared


def swap(balancer: BalancerV2, pool: BalancerWeightedPool, way: tuple[str, str], raw: int) -> int:
    """Swap on chain through the executor; what came out."""
    chain = balancer.chain
    sold, bought = (contract_at(chain.rpc, "MockToken", token) for token in way)
    executor, trader = chain.deploy("RouteExecutor"), chain.accounts[5]
    before = bought.call("balanceOf", trader)
    chain.transact(sold, "mint", executor.address, raw)
    hop = pool.hop(*way, 0, to_caller=True)
    chain.transact(executor, "executeRoute", encode([hop]), sender=trader)
    return int(bought.call("balanceOf", trader)) - int(before)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("seed", range(2 * len(WEIGHTS)))
def test_random_pool_quotes_and_moves_as_the_vault(chain: LocalChain, seed: int, version: str) -> None:
    rng = random.Random(seed)
    balancer = BalancerV2.install(chain, chain.accounts[2])
    pool = balancer.rebuild(random_pool(chain, seed, version))
    assert check_quotes(balancer, pool, rng) > 40

    for _ in range(3):
        i, j = rng.sample(range(len(pool.tokens)), 2)
        way = pool.tokens[i].address, pool.tokens[j].address
        with pytest.raises(LiquidityExhausted) as refusal:
            pool.quote_in(*way, MAX_AMOUNT_RAW)
        amount = rng.randint(1, refusal.value.possible_raw)
        expected, after = pool.swapped(*way, amount)
        assert swap(balancer, pool, way, amount) == expected
        balancer.check_state(after)
        pool = after
    check_quotes(balancer, pool, rng)


def test_pools_of_2021_and_2022_differ_where_an_exponent_is_one(chain: LocalChain) -> None:
    """Each mathematics is told by its own pool's answers, which are not the other's."""
    balancer = BalancerV2.install(chain, chain.accounts[2])
    first = balancer.rebuild(replace(random_pool(chain, 0, "v1"), fee_e18=10**12))
    second = balancer.rebuild(replace(first, pow_version="v2"))
    way = first.tokens[0].address, first.tokens[1].address
    amount = first.balances[0] // 7

    (old,) = balancer.ask(first, 0, 1, [amount], exact_in=True)
    (new,) = balancer.ask(second, 0, 1, [amount], exact_in=True)

    assert (old, new) == (first.quote_in(*way, amount), second.quote_in(*way, amount))
    assert old is not None
    assert new is not None
    assert old < new


@pytest.mark.real
def test_real_pool_rebuilt_quotes_as_the_vault(chain: LocalChain, shared_data: Path) -> None:
    """Mainnet's USDC/WETH 50/50, between tokens that can be minted here."""
    snapshot = of_class(load_pool(shared_data / SNAPSHOT), BalancerWeightedPool)
    decimals = [token.decimals for token in snapshot.tokens]
    tokens = coins(chain, decimals)
    while [token.decimals for token in tokens] != decimals:
        tokens = coins(chain, decimals)
    balancer = BalancerV2.install(chain, chain.accounts[2])
    pool = balancer.rebuild(replace(snapshot, tokens=tokens))

    assert check_quotes(balancer, pool, random.Random(24_407_242)) > 60
