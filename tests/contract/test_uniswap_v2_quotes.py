"""Uniswap V2 on paper against the published pair: what it pays out, what it refuses, and what it holds after."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import ContractReverted, LiquidityExhausted
from rebalancer.venues import MAX_AMOUNT_RAW, UniswapV2Pool
from rebalancer.venues.uniswap_v2 import MAX_RESERVE_RAW
from tests.contract.test_uniswap_v3_quotes import token_pair


@dataclass
class Pair:
    """A pair on chain and the same on paper."""

    chain: LocalChain
    contract: BoundContract
    paper: UniswapV2Pool

    @classmethod
    def opened(cls, chain: LocalChain, reserves: tuple[int, int]) -> Pair:
        tokens = token_pair(chain)
        factory = chain.deploy("UniswapV2Factory", chain.accounts[0])
        ends = tokens[0].address, tokens[1].address
        chain.transact(factory, "createPair", *ends)
        contract = contract_at(chain.rpc, "UniswapV2Pair", factory.call("getPair", *ends))
        made = cls(chain, contract, UniswapV2Pool(contract.address, *tokens, reserves))
        for end, reserve in zip(ends, reserves, strict=True):
            made.mint(end, contract.address, reserve)
        chain.transact(contract, "mint", chain.accounts[0])
        made.check_state()
        return made

    def mint(self, token: str, to: str, amount_raw: int) -> None:
        self.chain.transact(contract_at(self.chain.rpc, "MockToken", token), "mint", to, amount_raw)

    def held(self, token: str, holder: str) -> int:
        contract = contract_at(self.chain.rpc, "MockToken", token)
        return int(contract.call("balanceOf", holder))

    def check_state(self) -> None:
        """The pair holds what it does on paper."""
        reserve0, reserve1, _ = self.contract.call("getReserves")
        assert (reserve0, reserve1) == self.paper.reserves

    def way(self, down: bool) -> tuple[str, str]:
        """Token in and token out."""
        ends = [token.address for token in self.paper.tokens]
        return (ends[0], ends[1]) if down else (ends[1], ends[0])

    def take(self, down: bool, out: int) -> None:
        """Ask the pair for an amount, for what it was sent before."""
        outs = (0, out) if down else (out, 0)
        self.chain.transact(self.contract, "swap", *outs, self.chain.accounts[3], b"")


RESERVES = [
    (10**6, 10**6),
    (12_345_678_901, 98_765_432_109_876_543_210),
    (MAX_RESERVE_RAW // 3, 10**9),
    (MAX_RESERVE_RAW - 10**6, MAX_RESERVE_RAW // 2),
]


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
@pytest.mark.parametrize("reserves", RESERVES, ids=["small", "uneven", "huge-small", "full"])
def test_pair_pays_what_is_quoted_and_not_a_unit_more(chain: LocalChain, reserves: tuple[int, int], down: bool) -> None:
    """From one unit to the last that the pair can hold."""
    rng = random.Random(sum(reserves))
    pair = Pair.opened(chain, reserves)
    way = pair.way(down)
    with pytest.raises(LiquidityExhausted) as refusal:
        pair.paper.quote_in(*way, MAX_AMOUNT_RAW)
    most = refusal.value.possible_raw
    paid = 0
    for amount in sorted({1, 2, 999, most // 1_000, most // 2, most, rng.randint(1, most)} - {0}):
        before = chain.snapshot()
        out = pair.paper.quote_in(*way, amount)
        pair.mint(way[0], pair.contract.address, amount)
        with pytest.raises(ContractReverted):
            pair.take(down, out + 1)
        if out == 0:
            with pytest.raises(ContractReverted, match="INSUFFICIENT_OUTPUT_AMOUNT"):
                pair.take(down, 0)
            assert pair.paper.swapped(*way, amount) == (0, pair.paper)
        else:
            pair.take(down, out)
            assert pair.held(way[1], chain.accounts[3]) == out
            paid += 1
        after = Pair(chain, pair.contract, pair.paper.swapped(*way, amount)[1])
        after.check_state()
        chain.revert(before)
    assert paid > 1


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
def test_pair_refuses_a_unit_more_than_it_can_hold(chain: LocalChain, down: bool) -> None:
    pair = Pair.opened(chain, RESERVES[3])
    way = pair.way(down)
    room = MAX_RESERVE_RAW - pair.paper.reserves[0 if down else 1]
    with pytest.raises(LiquidityExhausted) as refusal:
        pair.paper.quote_in(*way, room + 1)
    assert refusal.value.possible_raw == room
    pair.mint(way[0], pair.contract.address, room + 1)

    with pytest.raises(ContractReverted, match="OVERFLOW"):
        pair.take(down, pair.paper.quote_in(*way, room))
