"""Trades through RouteExecutor: what a hop takes and pays is asked in calls that leave nothing behind, or made.

A call is one of Multicall3's: it gives the executor what is sold, has it execute the hop, and sees what came of it.
So every venue answers for itself, without a quoter of its authors'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import LiquidityExhausted
from rebalancer.route import encode
from rebalancer.venues import MAX_AMOUNT_RAW, Pool

__all__ = ["MAX_HOP_RAW", "Desk", "Fill", "Way", "most"]

MAX_HOP_RAW = (1 << 120) - 1
"""More than any pool here holds, and no more than every venue can be asked for."""

_GAS = 100_000_000
"""A walk over all prices of a V3 pool reads some 7,000 words of its bitmap."""

_BATCH = 40

Way = tuple[str, str]
"""Token in and token out, by address."""


class Fill(NamedTuple):
    """What a hop took of what was there to sell, and what it paid, raw."""

    spent_raw: int
    paid_raw: int


@dataclass(frozen=True)
class Desk:
    """An executor, and who calls it. Tokens can be minted by anybody, but for those that the caller has in stock."""

    chain: LocalChain
    executor: BoundContract
    caller: BoundContract
    stocked: tuple[str, ...] = ()

    @classmethod
    def open(cls, chain: LocalChain) -> Self:
        """Deploy both."""
        return cls(chain, chain.deploy("RouteExecutor"), chain.deploy("Multicall3"))

    def sells(self, pool: Pool, way: Way, amounts: Sequence[int]) -> list[Fill | None]:
        """What comes of selling each amount; None where it is refused."""
        route = encode([pool.hop(*way, 0, to_caller=True)])
        return self._ask(way, [(amount, route) for amount in amounts])

    def buys(self, pool: Pool, way: Way, amounts: Sequence[int], ready: Sequence[int]) -> list[Fill | None]:
        """What comes of buying each amount, with so much ready to pay for it; None where it is refused."""
        sale = pool.hop(*way, 0, to_caller=True)
        problem = zip(ready, amounts, strict=True)
        return self._ask(way, [(has, encode([sale.buying(amount)])) for has, amount in problem])

    def trade(self, pool: Pool, way: Way, amount_raw: int) -> int:
        """Sell an amount in a transaction; what came out."""
        trader = self.chain.accounts[6]
        sold, bought = self._tokens(way)
        before = bought.call("balanceOf", trader)
        to, data = self._hand_over(sold, amount_raw)
        self.chain.set_balance(self.caller.address, 10**18)
        with self.chain.impersonating(self.caller.address) as caller:
            self.chain.send(to, data, sender=caller)
        route = encode([pool.hop(*way, 0, to_caller=True)])
        self.chain.transact(self.executor, "executeRoute", route, sender=trader, gas=_GAS)
        for token in (sold, bought):
            assert token.call("balanceOf", self.executor.address) == 0
        return int(bought.call("balanceOf", trader)) - int(before)

    def _tokens(self, way: Way) -> tuple[BoundContract, BoundContract]:
        sold, bought = (contract_at(self.chain.rpc, "MockToken", token) for token in way)
        return sold, bought

    def _hand_over(self, sold: BoundContract, amount_raw: int) -> tuple[str, str]:
        """What gives the executor something to sell: whom to call, and with what."""
        how = "transfer" if sold.address in self.stocked else "mint"
        return sold.address, sold.data(how, self.executor.address, amount_raw)

    def _ask(self, way: Way, problem: Sequence[tuple[int, bytes]]) -> list[Fill | None]:
        """For each (raw units ready, route): what the executor took of the first, and what it paid."""
        sold, bought = self._tokens(way)
        multicall = self.caller.batched
        calls = []
        for ready, route in problem:
            steps = [
                (bought.address, bought.data("balanceOf", self.caller.address)),
                self._hand_over(sold, ready),
                (sold.address, sold.data("balanceOf", self.caller.address)),
                (self.executor.address, self.executor.data("executeRoute", route)),
                (sold.address, sold.data("balanceOf", self.caller.address)),
                (bought.address, bought.data("balanceOf", self.caller.address)),
            ]
            rows = [(to, True, bytes.fromhex(data[2:])) for to, data in steps]
            method, (message, *rest) = multicall.request("aggregate3", rows)
            calls.append((method, ({**message, "gas": hex(_GAS)}, *rest)))
        found: list[Fill | None] = []
        for start in range(0, len(calls), _BATCH):
            for answer in self.chain.rpc.batch_settled(calls[start : start + _BATCH]):
                (_, had), (given, _), (_, kept), (done, _), (_, left), (_, has) = multicall.result("aggregate3", answer)
                back = int.from_bytes(left) - int.from_bytes(kept)
                paid = int.from_bytes(has) - int.from_bytes(had)
                fill = Fill(problem[len(found)][0] - back, paid)
                found.append(fill if given and done else None)
        return found


def most(pool: Pool, way: Way, *, exact_in: bool = True) -> int:
    """The most that can go in, or come out."""
    with pytest.raises(LiquidityExhausted) as refusal:
        (pool.quote_in if exact_in else pool.quote_out)(*way, MAX_AMOUNT_RAW)
    return refusal.value.possible_raw
