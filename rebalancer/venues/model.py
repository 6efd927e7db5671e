"""What every pool is to the rest of the package, whichever venue it is of.

The planner sees only `Pool`: it names tokens by address, quotes in raw units, and can be traded
on paper. Nothing here does I/O.

Conventions: addresses are kept in lower case (callers may pass any case); amounts are raw units;
a price is output per input, both raw. An amount of 0 is refused with `BadAmount`, as `swap` of a
Uniswap pool refuses it on chain: a trade of nothing is a mistake of the caller, not a quote of 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rebalancer.abi import Event, Interface
from rebalancer.errors import BadAmount, BadPoolSnapshot, UnknownToken
from rebalancer.route import Hop

__all__ = [
    "EMPTY_SIDE",
    "ETHER_ADDRESS",
    "MAX_AMOUNT_RAW",
    "NO_EVENTS",
    "LogSource",
    "Pool",
    "PoolBase",
    "PoolRef",
    "PoolState",
    "PowerCurve",
    "Stretches",
    "Token",
    "address_key",
    "check_amount",
    "raw_price",
    "refs_of",
]

MAX_AMOUNT_RAW = 2**255 - 1
"""Largest amount that a signed 256-bit word, which venues take amounts in, can carry."""

ETHER_ADDRESS = "0x" + "0" * 40
"""What Uniswap V4 calls ether; no token can have it."""

PIPS = 1_000_000
"""Parts that fees are counted in."""

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def address_key(address: str) -> str:
    """The lower-case form under which this package compares addresses.

    Raises:
        BadPoolSnapshot: it is not 0x and 40 hexadecimal digits.
    """
    key = address.lower()
    if not _ADDRESS.fullmatch(key):
        raise BadPoolSnapshot(f"{address!r} is not an address of 0x and 40 hexadecimal digits")
    return key


def check_amount(amount_raw: object) -> None:
    """Refuse what no venue can be asked for: nothing, less than nothing, more than a word holds.

    Raises:
        BadAmount: not an int in 1 … 2^255 - 1.
    """
    if not isinstance(amount_raw, int) or not 0 < amount_raw <= MAX_AMOUNT_RAW:
        raise BadAmount(amount_raw)


def raw_price(token: Token, other: Token, price_e8: int, other_price_e8: int) -> Fraction:
    """Raw units of `other` that a raw unit of `token` is worth, at these prices of a whole one."""
    # {raw other/raw} = {usd/token} / {raw/token} * {raw other/other} / {usd/other}
    return Fraction(price_e8 * 10**other.decimals, other_price_e8 * 10**token.decimals)


@dataclass(frozen=True, slots=True)
class Token:
    """An ERC-20 as a pool knows it; `address` is kept in lower case."""

    address: str
    symbol: str
    decimals: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        if not 0 <= self.decimals <= 255:
            raise BadPoolSnapshot(f"{self.symbol} cannot have {self.decimals} decimals")

    def to_json(self) -> dict[str, object]:
        """As snapshots hold it."""
        return {"address": self.address, "symbol": self.symbol, "decimals": self.decimals}


def refs_of(pool: str, tokens: Sequence[Token], token_in: str, token_out: str) -> tuple[int, int]:
    """Where the two tokens, in any case, stand among a pool's.

    Raises:
        UnknownToken: one of them is not among them, or both are the same.
    """
    sold, bought = token_in.lower(), token_out.lower()
    i = j = -1
    for place, token in enumerate(tokens):
        if token.address == sold:
            i = place
        elif token.address == bought:
            j = place
    if i < 0 or j < 0:
        raise UnknownToken(pool, token_in, token_out)
    return i, j


@dataclass(frozen=True, slots=True)
class PoolRef:
    """Where a pool is, and what it is of: enough to read it. `venue` is a venue's name.

    Tokens by address and in the pool's order, where Uniswap V4's ether is address zero; they may be missing where the pool tells them.
    `address` is PoolManager's for Uniswap V4, whose pools are told by `fee_pips`, in millionths, and `tick_spacing`; of Uniswap V2,
    whose pairs do not tell their fee, `fee_pips` is that. `key` is the pool's (`Pool.key`), its address where nothing else is said.
    """

    address: str
    tokens: tuple[str, ...] = ()
    fee_pips: int = 0
    venue: str = "uniswap-v3"
    tick_spacing: int = 0
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", self.address.lower())
        object.__setattr__(self, "tokens", tuple(token.lower() for token in self.tokens))
        object.__setattr__(self, "key", self.key.lower() or self.address)


@dataclass(frozen=True, slots=True)
class LogSource:
    """A contract whose logs move a pool: all of them, or those whose first topic after the event's is `topic`."""

    address: str
    interface: Interface
    topic: str | None = None


NO_EVENTS = Interface.of("any contract", ())
"""Of a contract of which it matters only that it logs."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """One direction of a pool whose liquidity L is constant from price to price, for the planner, in floats.

    A stretch takes L (s - s0) / k and gives L (1 / s0 - 1 / s), where s is the root of inputs per output and k is what the fee
    leaves. `starts` are where stretches begin, as s, in walking order, the first at the pool's own price; `liquidity` is
    theirs, 0 where nothing is left. `spot` is log(output per input, raw) before the fee. `given` is what comes out before each
    begins, where stretches are no more than near to that.
    """

    spot: float
    kept: float
    starts: Sequence[float] | NDArray[np.float64]
    liquidity: Sequence[float] | NDArray[np.float64]
    given: Sequence[float] | NDArray[np.float64] | None = None


EMPTY_SIDE = Stretches(-math.inf, 1.0, (1.0,), (0.0,))
"""Of a pool that trades nothing."""


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """One direction of a pool that gives b_out (1 - (b_in / (b_in + k x)) ^ e) for x, in floats: raw balances, e, what the fee leaves, the
    most that may go in; all 0 where it is empty."""

    balance_in: float
    balance_out: float
    exponent: float
    kept: float
    most: float


class Pool(Protocol):
    """The state of one pool at one block, as the planner sees it. Immutable: a swap gives a new pool."""

    BUYS_EXACTLY: ClassVar[bool]
    """Whether its hops may name what comes out (`Hop.buying`)."""

    @property
    def address(self) -> str:
        """Where it is deployed, in lower case."""

    @property
    def key(self) -> str:
        """What tells it from all other pools of its chain, in lower case: its address, or its id where pools share one."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """What it trades, in the pool's own order."""

    @property
    def holder(self) -> str:
        """The contract that holds its tokens: its own, or one that several pools share."""

    @property
    def fee_pips(self) -> int:
        """The part of a trade it keeps, in millionths: down where its fee is finer, the least where it varies."""

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """Raw units of `token_out` that come out when exactly `amount_raw` of `token_in` goes in.

        0 means that it is too little to buy a whole unit; some pools refuse such a swap on chain, others keep what went in.

        Raises:
            BadAmount: `amount_raw` is not in 1 … 2^255 - 1.
            UnknownToken: the pool does not trade the pair.
            LiquidityExhausted: the pool cannot take the whole amount.
        """

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """Raw units of `token_in` that must go in for exactly `amount_raw` of `token_out`.

        Raises:
            BadAmount: `amount_raw` is not in 1 … 2^255 - 1.
            UnknownToken: the pool does not trade the pair.
            LiquidityExhausted: the pool cannot give the whole amount.
        """

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, Self]:
        """What comes out for `amount_raw` in, and the pool as that swap leaves it.

        Where nothing comes out and the chain refuses the swap, that is the pool itself.

        Raises:
            as `quote_in`.
        """

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """Raw `token_out` per raw `token_in` of an infinitely small trade, before the fee. Exact.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """The trade after which one more unit in would yield `marginal` units out, fee included.

        Returns raw (in, out): (0, 0) when the pool's next unit already yields no more than that,
        and the most that the pool can trade when `marginal` is 0. In falls as `marginal` rises.
        In is exact up to the precision of the float; out is what the pool pays for that much in,
        to within a raw unit a tick, or that precision again where the pool's maths has powers in
        it. The planner uses it to aim and `quote_in` to hit.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """The hop that sells `amount_raw` (0: all the executor holds) of one token for another.

        `to_caller`: the result goes straight to the caller, where the venue does that at no more cost; otherwise the executor keeps it.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def shape(self, token_in: str, token_out: str) -> Stretches | PowerCurve | None:
        """One direction in a form that the planner solves many of at once; None where there is no such form (see `points`).

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def points(
        self, token_in: str, token_out: str, growths: Sequence[float]
    ) -> list[tuple[float, float, float]] | None:
        """Where a pool without such a form leads: raw (in, out, what the next unit in yields), where so many parts of its balance have
        gone in, ascending; empty where it is empty. None: it tells by `flow_to` alone.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def balance_of(self, token: str) -> float:
        """What `points` takes parts of, raw."""

    def most_per_unit(self, token_in: str, token_out: str) -> float:
        """No less than what a raw unit in yields, however much goes in.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def first_unit(self, token_in: str, token_out: str) -> float:
        """Raw `token_out` that the first raw unit of `token_in` brings, fee included.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def at_prices(self, prices_e8: Sequence[int]) -> Self:
        """A pool of another time as it would stand at these prices (USD * 1e8 a whole token, in the order of its tokens), as deep as it was.

        Ticked pools keep their liquidity's place around the price, the others' balances their values; pools of coins
        that are worth the same stay as they are.

        Raises:
            BadPoolSnapshot: the prices are out of its range.
        """

    def arbitraged(self, prices_e8: Sequence[int]) -> Self | None:
        """The pool after the arbitrage that pays at these prices, to the unit; itself where none does.

        None: it has no closed form, and is traded with until no more pays.
        """


class PoolState(Pool, Protocol):
    """A pool as the chain has it: it can be read again, moved by its logs, and saved."""

    LOGS_ARE_COMPLETE: ClassVar[bool]
    """Whether its logs tell its new state (`moved`); otherwise they tell that it is to be read again."""

    MAY_DRIFT: ClassVar[frozenset[str]]
    """Fields that may change without a log."""

    @property
    def chain_id(self) -> int:
        """The chain it is on."""

    @property
    def block(self) -> int:
        """The block that it was read at, or moved to."""

    @property
    def name(self) -> str:
        """What a snapshot calls it."""

    @property
    def kind(self) -> str:
        """What people call such a pool; one of its venue's kinds."""

    @property
    def ref(self) -> PoolRef:
        """Enough to read it again."""

    @property
    def log_sources(self) -> tuple[LogSource, ...]:
        """Whose logs move it."""

    @property
    def moves(self) -> bool:
        """Whether it changes without a log, so that it is read at every block."""

    def moved(self, events: Sequence[Event]) -> Self:
        """The pool once these events, its own and in order, have happened; what is made is checked as any pool is.

        Raises:
            BadPoolSnapshot: no pool in that state can have gone through them.
        """

    def as_traded(self, weth: Token | None) -> Pool:
        """The pool as routes see it: of the wrapped token where it holds ether, otherwise itself.

        Raises:
            UnsupportedPool: it holds ether, and no wrapped token is known or it trades that for ether.
        """

    def to_json(self) -> dict[str, Any]:
        """The snapshot that `rebalancer.venues.load` reads back as an equal pool."""


class PoolBase:
    """What most pools have in common."""

    BUYS_EXACTLY: ClassVar[bool] = False
    LOGS_ARE_COMPLETE: ClassVar[bool] = True
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset()

    @property
    def moves(self) -> bool:
        """See `PoolState.moves`."""
        return False

    def moved(self, events: Sequence[Event]) -> Self:
        """See `PoolState.moved`: this one is read again instead."""
        raise NotImplementedError(f"{len(events)} logs of a pool whose logs do not tell its state")

    def shape(self, token_in: str, token_out: str) -> Stretches | PowerCurve | None:  # noqa: ARG002 (as every pool takes it)
        """See `Pool.shape`."""
        return None

    def points(
        self,
        token_in: str,  # noqa: ARG002 (as every pool takes it)
        token_out: str,  # noqa: ARG002
        growths: Sequence[float],  # noqa: ARG002
    ) -> list[tuple[float, float, float]] | None:
        """See `Pool.points`."""
        return None

    def balance_of(self, token: str) -> float:
        """See `Pool.balance_of`: only pools with points have one."""
        raise NotImplementedError(token)

    def first_unit(self: Pool, token_in: str, token_out: str) -> float:
        """See `Pool.first_unit`: the price before the fee, less the fee."""
        return float(self.spot_price(token_in, token_out)) * (1 - self.fee_pips / PIPS)

    def most_per_unit(self: Pool, token_in: str, token_out: str) -> float:
        """See `Pool.most_per_unit`: the first unit's, as none after it yields more."""
        return float(self.spot_price(token_in, token_out)) * (1 - self.fee_pips / PIPS)

    def at_prices(self, prices_e8: Sequence[int]) -> Self:  # noqa: ARG002 (as every pool takes it)
        """See `Pool.at_prices`."""
        return self

    def arbitraged(self, prices_e8: Sequence[int]) -> Self | None:  # noqa: ARG002 (as every pool takes it)
        """See `Pool.arbitraged`."""
        return None

    def as_traded(self, weth: Token | None) -> Self:  # noqa: ARG002 (for pools that hold ether)
        """See `PoolState.as_traded`."""
        return self
