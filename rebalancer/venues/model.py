"""Common interface and base types of all pools.

The planner sees only `Pool`: it names tokens by address, quotes in raw units, and simulates trades. Nothing here does
I/O.

Addresses are in lower case (callers may pass any case); amounts are raw units; a price is output per input, both raw.
An amount of 0 raises `BadAmount`, as a Uniswap pool's `swap` reverts: a trade of nothing is a mistake of the caller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rebalancer.abi import Event, Interface
from rebalancer.errors import BadAmount, BadPoolSnapshot, UnknownToken
from rebalancer.route import Hop
from rebalancer.units import PIPS

__all__ = [
    "EMPTY_SIDE",
    "ETHER_ADDRESS",
    "MAX_AMOUNT_RAW",
    "NO_EVENTS",
    "LogSource",
    "Pool",
    "PoolBase",
    "PoolDefaults",
    "PoolRef",
    "PoolState",
    "PowerCurve",
    "Stretches",
    "Token",
    "address_key",
    "check_amount",
    "raw_price",
    "refs_of",
    "traded",
]

MAX_AMOUNT_RAW = 2**255 - 1
"""Largest amount of a signed 256-bit word, the type of amounts in venues."""

ETHER_ADDRESS = "0x" + "0" * 40
"""Address of ether in Uniswap V4; no token can have it."""

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def address_key(address: str) -> str:
    """The lower-case form of an address, used for all comparisons.

    Raises:
        BadPoolSnapshot: the text is not 0x and 40 hexadecimal digits.
    """
    key = address.lower()
    if not _ADDRESS.fullmatch(key):
        raise BadPoolSnapshot(f"{address!r} is not an address of 0x and 40 hexadecimal digits")
    return key


def check_amount(amount_raw: object) -> None:
    """Check that an amount is valid for every venue.

    Raises:
        BadAmount: it is not an int in 1 … 2^255 - 1.
    """
    if not isinstance(amount_raw, int) or not 0 < amount_raw <= MAX_AMOUNT_RAW:
        raise BadAmount(amount_raw)


def raw_price(token: Token, other: Token, price_e8: int, other_price_e8: int) -> Fraction:
    """Raw units of `other` per raw unit of `token`, given the prices of whole tokens."""
    # {raw other/raw} = {usd/token} / {raw/token} * {raw other/other} / {usd/other}
    return Fraction(price_e8 * 10**other.decimals, other_price_e8 * 10**token.decimals)


@dataclass(frozen=True, slots=True)
class Token:
    """An ERC-20 token of a pool; `address` is in lower case."""

    address: str
    symbol: str
    decimals: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        if not 0 <= self.decimals <= 255:
            raise BadPoolSnapshot(f"{self.symbol} cannot have {self.decimals} decimals")

    def to_json(self) -> dict[str, object]:
        """The token in a snapshot."""
        return {"address": self.address, "symbol": self.symbol, "decimals": self.decimals}


def refs_of(pool: str, tokens: Sequence[Token], token_in: str, token_out: str) -> tuple[int, int]:
    """Indices of two tokens (in any case) among a pool's tokens.

    Raises:
        UnknownToken: a token is not in the pool, or both are the same.
    """
    sold, bought = token_in.lower(), token_out.lower()
    i = j = -1
    for k, token in enumerate(tokens):
        if token.address == sold:
            i = k
        elif token.address == bought:
            j = k
    if i < 0 or j < 0:
        raise UnknownToken(pool, token_in, token_out)
    return i, j


def traded(balances: Sequence[int], i: int, input_raw: int, j: int, output_raw: int) -> tuple[int, ...]:
    """Balances after an input of token i and an output of token j."""
    found = list(balances)
    found[i] += input_raw
    found[j] -= output_raw
    return tuple(found)


@dataclass(frozen=True, slots=True)
class PoolRef:
    """Reference to a pool, sufficient to read it. `venue` is the venue's name.

    `tokens` are addresses in the pool's order, with address zero for ether in Uniswap V4; they may be missing if the
    pool returns them. For Uniswap V4, `address` is the PoolManager's, and `fee_pips` (millionths) and `tick_spacing`
    identify the pool. For Uniswap V2, `fee_pips` is the fee, which pairs do not return. `key` is `Pool.key`, by default
    the address.
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
    """A contract whose logs change a pool: all its logs, or those with `topic` as their first indexed field."""

    address: str
    interface: Interface
    topic: str | None = None


NO_EVENTS = Interface.of("any contract", ())
"""Interface of a contract whose logs are only counted, not decoded."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """One direction of a pool with constant liquidity L between prices, for the planner, in floats.

    A stretch takes L (s - s0) / k and gives L (1 / s0 - 1 / s), where s is the square root of inputs per output and k
    is what the fee leaves. `starts` are the starts of stretches, as s, in trading order; the first is the pool's
    current price. `liquidity` is that of each stretch, 0 at the end. `spot` is log(output per input, raw) before the
    fee. `given` is the exact output before each stretch, if the stretches only approximate it.
    """

    spot: float
    kept: float
    starts: Sequence[float] | NDArray[np.float64]
    liquidity: Sequence[float] | NDArray[np.float64]
    given: Sequence[float] | NDArray[np.float64] | None = None


EMPTY_SIDE = Stretches(-math.inf, 1.0, (1.0,), (0.0,))
"""Side of a pool that cannot trade."""


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """One direction of a pool with the output b_out (1 - (b_in / (b_in + k x)) ^ e) for x, in floats.

    The fields are raw balances, e, k (what the fee leaves), and the maximum input; all are 0 if the pool is empty.
    """

    balance_in: float
    balance_out: float
    exponent: float
    kept: float
    most: float


class Pool(Protocol):
    """State of one pool at one block, as the planner sees it. Immutable: a swap returns a new pool."""

    BUYS_EXACTLY: ClassVar[bool]
    """Whether its hops may have an exact output (`Hop.buying`)."""

    @property
    def address(self) -> str:
        """Address of the deployed contract, in lower case."""

    @property
    def key(self) -> str:
        """Unique identifier on its chain, in lower case: the address, or an id if pools share a contract."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Tokens in the pool's own order."""

    @property
    def holder(self) -> str:
        """The contract that holds its tokens: the pool, or a contract that several pools share."""

    @property
    def fee_pips(self) -> int:
        """Fee in millionths: rounded down if it is finer, the minimum if it varies."""

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """Raw output of `token_out` for exactly `amount_raw` of `token_in`.

        0 means that the amount is too small to buy a raw unit; some pools revert then, others keep the input.

        Raises:
            BadAmount: `amount_raw` is not in 1 … 2^255 - 1.
            UnknownToken: the pool does not trade the pair.
            LiquidityExhausted: the pool cannot take the whole amount.
        """

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """Raw input of `token_in` for exactly `amount_raw` of `token_out`.

        Raises:
            BadAmount: `amount_raw` is not in 1 … 2^255 - 1.
            UnknownToken: the pool does not trade the pair.
            LiquidityExhausted: the pool cannot give the whole amount.
        """

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, Self]:
        """Output for `amount_raw`, and the pool after that swap.

        If the output is zero and the chain refuses the swap, the pool is unchanged.

        Raises:
            As `quote_in`.
        """

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """Raw `token_out` per raw `token_in` of an infinitely small trade, before the fee. Exact.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """The trade after which one more input unit would yield `marginal` output units, including the fee.

        Returns raw (input, output): (0, 0) if the pool's next unit yields no more than `marginal`, and the largest
        possible trade if `marginal` is 0. The input falls as `marginal` rises. It is exact up to float precision. The
        output is the pool's payment for that input, within one raw unit per tick, or within float precision if the
        pool's formula has powers. The planner uses it to search; `quote_in` decides.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """The hop that sells `amount_raw` (0: the executor's whole balance) of one token for another.

        `to_caller`: send the result directly to the caller, if the venue can do so at no extra cost; otherwise the
        executor keeps it.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def shape(self, token_in: str, token_out: str) -> Stretches | PowerCurve | None:
        """One direction in a form that the planner solves in bulk; None if there is no such form (see `points`).

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def points(
        self, token_in: str, token_out: str, growths: Sequence[float]
    ) -> list[tuple[float, float, float]] | None:
        """Points of a curve without closed form: raw (input, output, marginal output) at inputs that are these
        fractions of the balance, ascending.

        Empty if the pool is empty. None if only `flow_to` describes the pool.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def balance_of(self, token: str) -> float:
        """Raw balance of which `points` takes fractions."""

    def most_per_unit(self, token_in: str, token_out: str) -> float:
        """Upper bound of the output per raw input unit, for every input.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def first_unit(self, token_in: str, token_out: str) -> float:
        """Raw `token_out` for the first raw unit of `token_in`, including the fee.

        Raises:
            UnknownToken: the pool does not trade the pair.
        """

    def at_prices(self, prices_e8: Sequence[int]) -> Self:
        """The pool as it would be at these prices (USD * 1e8 per whole token, in the order of its tokens), with
        unchanged depth.

        Pools with ticks move their liquidity with the price, other pools keep the values of their balances, and pools
        of equally valued coins are unchanged.

        Raises:
            BadPoolSnapshot: the prices are out of the pool's range.
        """

    def arbitraged(self, prices_e8: Sequence[int]) -> Self | None:
        """The pool after the exact arbitrage that pays at these prices; unchanged if none pays.

        None if there is no closed form: the caller then trades until no swap pays.
        """


class PoolState(Pool, Protocol):
    """A pool as read from the chain: it can be read again, updated by logs, and saved."""

    VENUE_NAME: ClassVar[str]
    """Name of its venue."""

    EVENTS: ClassVar[Interface]
    """Interface of the pool's own logs."""

    LOGS_ARE_COMPLETE: ClassVar[bool]
    """Whether its logs contain its new state (`moved`); otherwise a log only means that it must be read again."""

    MAY_DRIFT: ClassVar[frozenset[str]]
    """Fields that may change without a log."""

    @property
    def chain_id(self) -> int:
        """Id of its chain."""

    @property
    def block(self) -> int:
        """Block of the state."""

    @property
    def name(self) -> str:
        """Name in a snapshot."""

    @property
    def kind(self) -> str:
        """Name of the kind of pool for people; one of its venue's kinds."""

    @property
    def ref(self) -> PoolRef:
        """Reference that suffices to read it again."""

    @property
    def log_sources(self) -> tuple[LogSource, ...]:
        """Sources of the logs that change it."""

    @property
    def moves(self) -> bool:
        """Whether it changes without a log, so it must be read at every block."""

    def moved(self, events: Sequence[Event]) -> Self:
        """The pool after its own events, in order. The result is checked like any other state.

        Raises:
            BadPoolSnapshot: these events are impossible for this state.
        """

    def as_traded(self, weth: Token | None) -> Pool:
        """The pool as routes see it: with the wrapped token if it holds ether, otherwise unchanged.

        Raises:
            UnsupportedPool: it holds ether, and the wrapped token is unknown or is its other token.
        """

    def to_json(self) -> dict[str, Any]:
        """A snapshot that `rebalancer.venues.load` reads back as an equal pool."""


def _plain(value: Any) -> Any:
    """The value in a snapshot."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.to_json() if isinstance(value, Token) else value


class _Addressed(Protocol):
    """A pool with an address."""

    @property
    def address(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def tokens(self) -> tuple[Token, ...]: ...


class PoolDefaults:
    """Defaults of `Pool`, shared by most pools."""

    BUYS_EXACTLY: ClassVar[bool] = False

    def _ends(self: _Addressed, token_in: str, token_out: str) -> tuple[str, str]:
        """Addresses of two tokens of the pool; raises as `refs_of`."""
        i, j = refs_of(self.key, self.tokens, token_in, token_out)
        return self.tokens[i].address, self.tokens[j].address

    def _trade(self: _Addressed, token_in: str, token_out: str, amount_raw: int) -> tuple[int, int]:
        """Indices of two tokens, after a check of the amount; raises as `Pool.quote_in`."""
        check_amount(amount_raw)
        return refs_of(self.key, self.tokens, token_in, token_out)

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
        """See `Pool.first_unit`: the spot price less the fee."""
        return float(self.spot_price(token_in, token_out)) * (1 - self.fee_pips / PIPS)

    def most_per_unit(self: Pool, token_in: str, token_out: str) -> float:
        """See `Pool.most_per_unit`: the output of the first unit, because no later unit yields more."""
        return float(self.spot_price(token_in, token_out)) * (1 - self.fee_pips / PIPS)

    def at_prices(self, prices_e8: Sequence[int]) -> Self:  # noqa: ARG002 (as every pool takes it)
        """See `Pool.at_prices`."""
        return self

    def arbitraged(self, prices_e8: Sequence[int]) -> Self | None:  # noqa: ARG002 (as every pool takes it)
        """See `Pool.arbitraged`."""
        return None


@dataclass(frozen=True)
class PoolBase(PoolDefaults):
    """Fields and defaults shared by most pools. A pool with one contract has a field `address`."""

    LOGS_ARE_COMPLETE: ClassVar[bool] = True
    MAY_DRIFT: ClassVar[frozenset[str]] = frozenset()
    KIND: ClassVar[str]
    """See `PoolState.kind`."""
    VENUE_NAME: ClassVar[str]
    EVENTS: ClassVar[Interface] = NO_EVENTS
    """Interface of the pool's own logs."""
    KEYS: ClassVar[Mapping[str, str]] = {}
    """Field → its key in a snapshot, if the key is not the field's name."""

    chain_id: int = field(default=1, kw_only=True)
    block: int = field(default=0, kw_only=True)
    name: str = field(default="", kw_only=True)

    @property
    def key(self: _Addressed) -> str:
        """See `Pool.key`: the address."""
        return self.address

    @property
    def holder(self: _Addressed) -> str:
        """See `Pool.holder`: the pool itself."""
        return self.address

    @property
    def kind(self) -> str:
        """See `PoolState.kind`."""
        return self.KIND

    @property
    def ref(self: PoolState) -> PoolRef:
        """See `PoolState.ref`: the address and the tokens."""
        return PoolRef(self.address, tuple(token.address for token in self.tokens), venue=self.VENUE_NAME)

    @property
    def log_sources(self: PoolState) -> tuple[LogSource, ...]:
        """See `PoolState.log_sources`: the pool itself."""
        return (LogSource(self.address, self.EVENTS),)

    def to_json(self) -> dict[str, Any]:
        """See `PoolState.to_json`: every field, as `rebalancer.venues.fields.pool_of` reads it."""
        return {self.KEYS.get(one.name, one.name): _plain(getattr(self, one.name)) for one in fields(self)}

    @property
    def moves(self) -> bool:
        """See `PoolState.moves`."""
        return False

    def moved(self, events: Sequence[Event]) -> Self:
        """See `PoolState.moved`: this pool is read again instead."""
        raise NotImplementedError(f"{len(events)} logs of a pool whose logs do not contain its state")

    def as_traded(self, weth: Token | None) -> Self:  # noqa: ARG002 (for pools that hold ether)
        """See `PoolState.as_traded`."""
        return self
