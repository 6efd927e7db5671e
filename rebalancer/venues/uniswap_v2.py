"""Uniswap V2 pair: state, exact quotes of any swap, and the resulting state.

Quotes equal UniswapV2Library (getAmountOut, getAmountIn). They are also the maximum and the minimum that the pair's own
check of its product allows, and the amounts that RouteExecutor uses. Forks differ only in their fee, in basis points of
the input.

On chain, a pair reverts if the output is zero, or if its balance of a token would exceed 2^112 - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

from rebalancer.abi import Event, Interface
from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted
from rebalancer.route import Hop, address_bytes, number_bytes, to_caller_flag
from rebalancer.units import BPS, PIPS, PIPS_PER_BPS
from rebalancer.venues.fields import Snapshot, ints_of, pool_of, tokens_of
from rebalancer.venues.model import (
    EMPTY_SIDE,
    PoolBase,
    PoolRef,
    Stretches,
    Token,
    address_key,
    refs_of,
    traded,
)
from rebalancer.venues.reading import At, Reading, Venue, each, interface_of, results_of, tokens_read

__all__ = ["MAX_RESERVE_RAW", "PAIR", "VENUE", "UniswapV2Pool", "pair_hop"]

MAX_RESERVE_RAW = 2**112 - 1
"""The pair stores its reserves as uint112."""

_NUMBER = 3
"""Venue number in RouteExecutor."""

PAIR = interface_of(
    "Uniswap V2 pair",
    (
        "token0() -> address",
        "token1() -> address",
        "getReserves() -> uint112,uint112,uint32",
        "event Sync(uint112 reserve0, uint112 reserve1)",
    ),
)


def pair_hop(pair: str, amount_raw: int, token_in: str, token_out: str, *, to_caller: bool, fee_bps: int = 30) -> Hop:
    """A swap on a pair of Uniswap V2 or a fork. Body: pair (20), fee in basis points (2)."""
    body = address_bytes(pair) + number_bytes(fee_bps, 2, "fee")
    return Hop(_NUMBER, amount_raw, token_in, token_out, body, to_caller_flag(to_caller))


@dataclass(frozen=True)
class UniswapV2Pool(PoolBase):
    """One state of one pair; implements `PoolState`.

    `reserves` are those of getReserves, for token0 and token1. Tokens that were sent to the pair but not synced are not
    included and change no quote.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    KIND: ClassVar[str] = "Uniswap V2"
    VENUE_NAME: ClassVar[str] = "uniswap-v2"
    EVENTS: ClassVar[Interface] = PAIR

    address: str
    token0: Token
    token1: Token
    reserves: tuple[int, int]
    fee_bps: int = 30

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        if int(self.token0.address, 16) >= int(self.token1.address, 16):
            raise BadPoolSnapshot("token0's address must be below token1's")
        for reserve in self.reserves:
            if not 0 <= reserve <= MAX_RESERVE_RAW:
                raise BadPoolSnapshot(f"reserve {reserve} is not in 0 … 2^112 - 1")
        if not 0 <= self.fee_bps < BPS:
            raise BadPoolSnapshot(f"fee {self.fee_bps} is not in 0 … {BPS - 1} basis points")

    @property
    def tokens(self) -> tuple[Token, Token]:
        """token0 and token1."""
        return self.token0, self.token1

    @property
    def fee_pips(self) -> int:
        """Fee on the input, in millionths."""
        return self.fee_bps * PIPS_PER_BPS

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals UniswapV2Library.getAmountOut."""
        i, j = self._trade(token_in, token_out, amount_raw)
        most = self._most_in(i)
        if amount_raw > most:
            raise LiquidityExhausted(self.address, self.tokens[i].address, amount_raw, most)
        return self._out(i, j, amount_raw)

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. Equals UniswapV2Library.getAmountIn."""
        i, j = self._trade(token_in, token_out, amount_raw)
        most_in, reserve_in, reserve_out = self._most_in(i), self.reserves[i], self.reserves[j]
        if amount_raw < reserve_out:
            # {in} = {in} * {out} / {out}; the library always adds one to the quotient.
            kept = (reserve_out - amount_raw) * (BPS - self.fee_bps)
            amount_in_raw = reserve_in * amount_raw * BPS // kept + 1
            if amount_in_raw <= most_in:
                return amount_in_raw
        possible = self._out(i, j, most_in) if most_in else 0
        raise LiquidityExhausted(self.address, self.tokens[j].address, amount_raw, possible)

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, UniswapV2Pool]:
        """See `Pool.swapped`. The whole input stays in the pair, including the fee."""
        out = self.quote_in(token_in, token_out, amount_raw)
        if out == 0:
            return 0, self
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        reserve0, reserve1 = traded(self.reserves, i, amount_raw, j, out)
        return out, replace(self, reserves=(reserve0, reserve1))

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`. 0 if the pair is empty."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        return Fraction(self.reserves[j], self.reserves[i]) if self.reserves[i] else Fraction(0)

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`. In closed form: out'(x) = k * in * out / (in + k * x)^2, where k is what the fee
        leaves."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        most, reserve_in, reserve_out = self._most_in(i), self.reserves[i], self.reserves[j]
        if most == 0:
            return 0, 0
        if marginal <= 0:
            return most, self._out(i, j, most)
        kept = 1 - self.fee_bps / BPS
        root = math.sqrt(kept * reserve_in * reserve_out / marginal)
        if root <= reserve_in:
            return 0, 0
        amount_raw = min(int((root - reserve_in) / kept), most)
        return amount_raw, self._out(i, j, amount_raw)

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`."""
        return pair_hop(
            self.address, amount_raw, *self._ends(token_in, token_out), to_caller=to_caller, fee_bps=self.fee_bps
        )

    def shape(self, token_in: str, token_out: str) -> Stretches:
        """See `Pool.shape`. One stretch."""
        i, j = refs_of(self.address, self.tokens, token_in, token_out)
        into, out = float(self.reserves[i]), float(self.reserves[j])
        if not into or not out:
            return EMPTY_SIDE
        kept, start, deep = 1 - self.fee_pips / PIPS, math.sqrt(into / out), math.sqrt(into * out)
        end = start + (MAX_RESERVE_RAW - into) * kept / deep
        return Stretches(math.log(out / into), kept, (start, end), (deep, 0.0))

    @property
    def ref(self) -> PoolRef:
        """See `PoolState.ref`."""
        tokens = self.token0.address, self.token1.address
        return PoolRef(self.address, tokens, self.fee_pips, self.VENUE_NAME)

    def moved(self, events: Sequence[Event]) -> UniswapV2Pool:
        """See `PoolState.moved`. Each Sync contains both reserves."""
        pool = self
        for event in events:
            if event.name == "Sync":
                reserves = event.values["reserve0"], event.values["reserve1"]
                pool = replace(pool, reserves=reserves)
        return pool

    def to_json(self) -> dict[str, Any]:
        """See `PoolState.to_json`."""
        found = super().to_json()
        return found | {"tokens": [found.pop("token0"), found.pop("token1")]}

    def _most_in(self, i: int) -> int:
        """Maximum input of a token; 0 if the pair is empty and refuses every swap."""
        return MAX_RESERVE_RAW - self.reserves[i] if self.reserves[0] and self.reserves[1] else 0

    def _out(self, i: int, j: int, amount_raw: int) -> int:
        # {out} = {in} * {out} / {in}. Down: the pair pays no fraction of a unit.
        after_fee = amount_raw * (BPS - self.fee_bps)
        return after_fee * self.reserves[j] // (self.reserves[i] * BPS + after_fee)


def _load(snapshot: Snapshot) -> UniswapV2Pool:
    tokens, reserves = tokens_of(snapshot), ints_of(snapshot, "reserves")
    if len(tokens) != 2 or len(reserves) != 2:
        raise BadPoolSnapshot("a pair must have two tokens and two reserves")
    return pool_of(UniswapV2Pool, snapshot, token0=tokens[0], token1=tokens[1])


def _read(at: At, ref: PoolRef) -> Reading[UniswapV2Pool]:
    """Read a pair. Its fee is not readable and comes from the reference."""
    pair = PAIR.at(ref.address)
    token0, token1, reserves = yield from results_of(at, pair, "token0", "token1", "getReserves")
    tokens = yield from tokens_read(at, (token0, token1))
    fee_bps = ref.fee_pips // PIPS_PER_BPS
    name = f"Uniswap V2 {tokens[0].symbol}/{tokens[1].symbol} {fee_bps / 100:g}%"
    return _load({**at.pool(name, ref.address, tokens), "reserves": list(reserves[:2]), "fee_bps": fee_bps})


def _takes(ref: PoolRef) -> bool:
    return len(ref.tokens) == 2 and 0 <= ref.fee_pips < BPS * PIPS_PER_BPS and not ref.fee_pips % PIPS_PER_BPS


VENUE = Venue(
    name=UniswapV2Pool.VENUE_NAME,
    kinds=(UniswapV2Pool.KIND,),
    snapshot_key="reserves",
    load=_load,
    read=each(_read),
    mark=(PAIR, "getReserves"),
    fee_text=False,
    takes=_takes,
)
