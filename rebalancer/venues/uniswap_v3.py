"""Uniswap V3 pool: state, exact quotes of any swap, and the resulting state.

Results equal `UniswapV3Pool.swap` of v3-core 1.0.1 without a price limit, and QuoterV2 if the whole amount can be
traded; otherwise an error is raised instead of a quote for a part.

Performance: a swap goes from one boundary to the next, where a boundary is an initialised tick or the edge of a
256-tick word of the bitmap (the contract stops and rounds there, too). The input and output of a whole step between two
boundaries do not depend on the swap. So running sums are computed once for a set of ticks, in each direction, and
shared by all states of the pool. A quote is then one step to the first boundary, one bisection, and one step from the
last boundary.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from itertools import accumulate, pairwise
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from rebalancer.abi import Event, Interface
from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted, UnknownToken
from rebalancer.route import Hop, address_bytes, to_caller_flag
from rebalancer.units import PIPS
from rebalancer.venues.fields import Snapshot, int_of, object_of, pool_of, text_of
from rebalancer.venues.model import PoolBase, PoolRef, Stretches, Token, address_key, check_amount, refs_of
from rebalancer.venues.reading import At, Reading, Venue, interface_of, tokens_read
from rebalancer.venues.uniswap_v3_math import (
    MAX_SQRT_X96,
    MAX_TICK,
    MIN_SQRT_X96,
    Q96,
    arbitrage_bounds,
    full_step,
    partial_step_in,
    partial_step_out,
    sqrt_at_tick,
    sqrt_price_x96,
    tick_at_sqrt,
)

__all__ = [
    "V3_POOL",
    "VENUE",
    "InitializedTick",
    "RangePool",
    "TickProfile",
    "UniswapV3Pool",
    "check_price",
    "is_v3_ref",
    "loader_of",
    "moved_range",
    "range_fields",
    "range_pool_of",
    "read_by_lens",
    "recentred_range",
    "v3_hop",
    "v3_venue",
]

_MAX_LIQUIDITY = 2**128 - 1
_MAX_TICK_SPACING = 16_383
_WORD = 256
_SCALARS = ("fee", "tick_spacing", "sqrt_price_x96", "tick", "liquidity")


class InitializedTick(NamedTuple):
    """An initialised tick: the total liquidity that starts or ends there, and the change when it is crossed upward."""

    at: int
    gross: int
    net: int


@dataclass(frozen=True)
class TickProfile:
    """Liquidity of a pool over all prices; `ticks` ascend. Shared by all states of the pool.

    Raises:
        BadPoolSnapshot: no v3-core pool can have these ticks.
    """

    fee_pips: int
    tick_spacing: int
    ticks: tuple[InitializedTick, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.fee_pips < PIPS:
            raise BadPoolSnapshot(f"fee {self.fee_pips} is not in 0 … {PIPS - 1} millionths")
        if not 0 < self.tick_spacing <= _MAX_TICK_SPACING:
            raise BadPoolSnapshot(f"tick spacing {self.tick_spacing} is not in 1 … {_MAX_TICK_SPACING}")
        running, previous = 0, -MAX_TICK - 1
        for at, gross, net in self.ticks:
            if not previous < at <= MAX_TICK:
                raise BadPoolSnapshot(f"tick {at} is out of order or out of range")
            if at % self.tick_spacing:
                raise BadPoolSnapshot(f"tick {at} is not a multiple of spacing {self.tick_spacing}")
            if gross <= 0 or abs(net) > gross or (gross - net) % 2:
                raise BadPoolSnapshot(f"tick {at} cannot have liquidity gross {gross}, net {net}")
            running += net
            if not 0 <= running <= _MAX_LIQUIDITY:
                raise BadPoolSnapshot(f"liquidity above tick {at} would be {running}")
            previous = at
        if running:
            raise BadPoolSnapshot(f"liquidity_net of all ticks sums to {running}, not to 0")

    @cached_property
    def indices(self) -> list[int]:
        """The tick indices, ascending."""
        return [tick.at for tick in self.ticks]

    @cached_property
    def _running(self) -> list[int]:
        return [0, *accumulate(tick.net for tick in self.ticks)]

    def liquidity_at(self, tick: int) -> int:
        """Active liquidity when the pool's tick is `tick`."""
        return self._running[bisect_right(self.indices, tick)]

    @cached_property
    def down(self) -> _Ladder:
        """Inputs and outputs of downward steps, boundary by boundary."""
        return _Ladder(self, down=True)

    @cached_property
    def up(self) -> _Ladder:
        """Inputs and outputs of upward steps, boundary by boundary."""
        return _Ladder(self, down=False)


class _Ladder:
    """All boundaries of one direction in trading order, with running sums of whole steps.

    `order[k]` is boundary k's tick and `depth[k]` its sqrt price, both negated in the downward direction so that they
    ascend. `liquidity[k]` is active beyond it. `total_in[k]` and `total_out[k]` are the total input (with fee) and
    output of all whole steps from boundary 0 to boundary k.
    """

    def __init__(self, profile: TickProfile, *, down: bool) -> None:
        self.down, self.fee_pips = down, profile.fee_pips
        ticks = _boundaries(profile, down=down)
        # A swap without a limit ends one above the lowest price or one below the highest price.
        self.limit_x96 = MIN_SQRT_X96 + 1 if down else MAX_SQRT_X96 - 1
        if down:
            self.sqrt_x96 = [max(sqrt_at_tick(tick), self.limit_x96) for tick in ticks]
            self.liquidity = [profile.liquidity_at(tick - 1) for tick in ticks]
            self.order = [-tick for tick in ticks]
            self.depth = [-sqrt_x96 for sqrt_x96 in self.sqrt_x96]
        else:
            self.sqrt_x96 = [min(sqrt_at_tick(tick), self.limit_x96) for tick in ticks]
            self.liquidity = [profile.liquidity_at(tick) for tick in ticks]
            self.order = ticks
            self.depth = self.sqrt_x96
        steps = [
            self.whole(start_x96, end_x96, liquidity)
            for (start_x96, end_x96), liquidity in zip(pairwise(self.sqrt_x96), self.liquidity, strict=False)
        ]
        self.total_in = list(accumulate((step[0] for step in steps), initial=0))
        self.total_out = list(accumulate((step[1] for step in steps), initial=0))

    @cached_property
    def floats(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Starts of stretches (square root of inputs per output) and their liquidity; shared by all states of the
        pool."""
        starts = np.array([sqrt_x96 / Q96 for sqrt_x96 in self.sqrt_x96], dtype=np.float64)
        liquidity = np.array([float(one) for one in self.liquidity], dtype=np.float64)
        return 1 / starts if self.down else starts, liquidity

    def whole(self, start_x96: int, end_x96: int, liquidity: int) -> tuple[int, int]:
        """Raw (input with fee, output) of a move from start to end at this liquidity."""
        return full_step(start_x96, end_x96, liquidity, self.fee_pips, down=self.down)

    def first(self, tick: int) -> int:
        """The first boundary for a pool at `tick`; len(order) if there is none.

        Downward, this is the tick itself; upward, the one above it.
        """
        return bisect_left(self.order, -tick if self.down else tick + 1)

    def tick_beyond(self, k: int) -> int:
        """The pool's tick after boundary k is crossed."""
        return -self.order[k] - 1 if self.down else self.order[k]


def _boundaries(profile: TickProfile, *, down: bool) -> list[int]:
    """Initialised ticks and, between the outermost ones, the edges of bitmap words.

    Downward, the bitmap search ends at the first tick of a word, upward at the last.
    """
    if not profile.ticks:
        return []
    spacing, first, last = profile.tick_spacing, profile.indices[0], profile.indices[-1]
    stride = _WORD * spacing
    offset = 0 if down else (_WORD - 1) * spacing
    edges = range(first + (offset - first) % stride, last, stride)
    return sorted({*profile.indices, *edges}, reverse=down)


class _End(NamedTuple):
    """End of a swap: its other amount, the price, and the last crossed boundary, if any."""

    amount_raw: int
    sqrt_x96: int
    crossed: int | None


_LENS_ADDRESS = "0x" + "1e" * 20
"""Address of the lens in calls with a state override."""

V3_POOL = interface_of(
    "Uniswap V3 pool",
    (
        "slot0() -> uint160,int24,uint16,uint16,uint16,uint8,bool",
        "event Swap(address indexed sender, address indexed recipient, int256 amount0, int256 amount1, uint160 sqrtPriceX96, uint128 liquidity, int24 tick)",
        "event Mint(address sender, address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1)",
        "event Burn(address indexed owner, int24 indexed tickLower, int24 indexed tickUpper, uint128 amount, uint256 amount0, uint256 amount1)",
    ),
)
_LENS = interface_of(
    "UniswapV3Lens",
    ("read(address[],uint256) -> (address,address,uint24,int24,uint160,int24,uint128,(int24,uint128,int128)[])[]",),
)


def v3_hop(pool: str, amount_raw: int, token_in: str, token_out: str, *, to_caller: bool) -> Hop:
    """A swap on a Uniswap V3 pool. Body: pool (20)."""
    body = address_bytes(pool)
    return Hop(UniswapV3Pool.NUMBER, amount_raw, token_in, token_out, body, to_caller_flag(to_caller))


class RangePool(PoolBase):
    """A pool with liquidity between ticks: the common part of Uniswap V3, its forks, and Uniswap V4.

    Subclasses define the fields below, and `_fees_pips`.
    """

    SNAPSHOT_KEY: ClassVar[str]
    """The snapshot key of the address."""

    address: str
    token0: Token
    token1: Token
    profile: TickProfile
    sqrt_price_x96: int
    tick: int
    liquidity: int

    @property
    @abstractmethod
    def _fees_pips(self) -> tuple[int, int]:
        """Fees of a falling and of a rising swap, in millionths."""

    @property
    def tokens(self) -> tuple[Token, Token]:
        """token0 and token1."""
        return self.token0, self.token1

    @property
    def tick_spacing(self) -> int:
        """Distance between ticks that can have liquidity."""
        return self.profile.tick_spacing

    def shape(self, token_in: str, token_out: str) -> Stretches:
        """See `Pool.shape`. The stretches from the current price on."""
        i, _ = refs_of(self.key, self.tokens, token_in, token_out)
        down, fee_pips = i == 0, self._fees_pips[i]
        ladder = self.profile.down if down else self.profile.up
        starts, liquidity = ladder.floats
        price = self.sqrt_price_x96 / Q96
        start = 1 / price if down else price
        first = ladder.first(self.tick)
        return Stretches(
            -2 * math.log(start),
            1 - fee_pips / PIPS,
            np.concatenate(((start,), starts[first:])),
            np.concatenate(((float(self.liquidity),), liquidity[first:])),
        )

    def at_prices(self, prices_e8: Sequence[int]) -> Self:
        """See `Pool.at_prices`."""
        (one, other), (token0, token1) = prices_e8, self.tokens
        return replace(self, **recentred_range(self, sqrt_price_x96(one, other, token0.decimals, token1.decimals)))

    def arbitraged(self, prices_e8: Sequence[int]) -> Self:
        """See `Pool.arbitraged`. One swap to the price where the next unit earns nothing (MarketDriver._push)."""
        (one, other), (token0, token1) = prices_e8, self.tokens
        bounds = [arbitrage_bounds(one, other, token0.decimals, token1.decimals, fee) for fee in self._fees_pips]
        if self.sqrt_price_x96 > bounds[0][1]:
            return replace(self, **_at_price(self.profile, bounds[0][1], down=True))
        if self.sqrt_price_x96 < bounds[1][0]:
            return replace(self, **_at_price(self.profile, bounds[1][0], down=False))
        return self

    def to_json(self) -> dict[str, Any]:
        """See `PoolState.to_json`.

        The pool's balances, which mainnet snapshot files also contain, do not affect quotes and are omitted.
        """
        state = (self.profile.fee_pips, self.tick_spacing, self.sqrt_price_x96, self.tick, self.liquidity)
        return {
            "chain_id": self.chain_id,
            "block": self.block,
            self.SNAPSHOT_KEY: self.address,
            "name": self.name,
            **range_fields(state, self.profile.ticks, self.tokens, self.block),
        }


@dataclass(frozen=True)
class UniswapV3Pool(RangePool):
    """One state of one pool; implements `PoolState`.

    `sqrt_price_x96`, `tick` and `liquidity` are those of slot0 and the pool. The tick may be one below the price's tick
    if the price is exactly on a tick that a falling swap has crossed.

    Raises:
        BadPoolSnapshot: the state is inconsistent.
    """

    BUYS_EXACTLY: ClassVar[bool] = True
    KIND: ClassVar[str] = "Uniswap V3"
    VENUE_NAME: ClassVar[str] = "uniswap-v3"
    NUMBER: ClassVar[int] = 1
    """Venue number in RouteExecutor."""
    EVENTS: ClassVar[Interface] = V3_POOL
    SNAPSHOT_KEY: ClassVar[str] = "pool"

    address: str
    token0: Token
    token1: Token
    profile: TickProfile
    sqrt_price_x96: int
    tick: int
    liquidity: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        if int(self.token0.address, 16) >= int(self.token1.address, 16):
            raise BadPoolSnapshot("token0's address must be below token1's")
        check_price(self.sqrt_price_x96)
        tick = tick_at_sqrt(self.sqrt_price_x96)
        just_crossed = self.tick == tick - 1 and self.sqrt_price_x96 == sqrt_at_tick(tick)
        if self.tick != tick and not just_crossed:
            raise BadPoolSnapshot(f"tick {self.tick} does not match the price, which has tick {tick}")
        running = self.profile.liquidity_at(self.tick)
        if self.liquidity != running:
            raise BadPoolSnapshot(f"liquidity {self.liquidity} is not the sum of liquidity_net, {running}")

    @property
    def fee_pips(self) -> int:
        """Fee on the input, in millionths."""
        return self.profile.fee_pips

    @property
    def _fees_pips(self) -> tuple[int, int]:
        return self.fee_pips, self.fee_pips

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals QuoterV2.quoteExactInputSingle without a price limit."""
        return self._walk(self._ladder(token_in, token_out), amount_raw, exact_in=True).amount_raw

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. Equals QuoterV2.quoteExactOutputSingle without a price limit."""
        return self._walk(self._ladder(token_in, token_out), amount_raw, exact_in=False).amount_raw

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, Self]:
        """See `Pool.swapped`. The fee goes to liquidity providers and affects only the price."""
        ladder = self._ladder(token_in, token_out)
        end = self._walk(ladder, amount_raw, exact_in=True)
        return end.amount_raw, self._after(ladder, end)

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`."""
        token1_per_token0 = Fraction(self.sqrt_price_x96**2, 1 << 192)
        return token1_per_token0 if self._is_down(token_in, token_out) else 1 / token1_per_token0

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`. Rounded like a single swap that ends exactly at the price."""
        ladder = self._ladder(token_in, token_out)
        end_x96 = self._sqrt_where(marginal, down=ladder.down)
        k = ladder.first(self.tick)
        if k == len(ladder.order) or self._is_past(end_x96, down=ladder.down):
            return 0, 0
        depth = -end_x96 if ladder.down else end_x96
        if depth <= ladder.depth[k]:
            return ladder.whole(self.sqrt_price_x96, end_x96, self.liquidity)
        sum_in, sum_out = ladder.whole(self.sqrt_price_x96, ladder.sqrt_x96[k], self.liquidity)
        last = bisect_right(ladder.depth, depth, k) - 1
        sum_in += ladder.total_in[last] - ladder.total_in[k]
        sum_out += ladder.total_out[last] - ladder.total_out[k]
        part_in, part_out = ladder.whole(ladder.sqrt_x96[last], end_x96, ladder.liquidity[last])
        return sum_in + part_in, sum_out + part_out

    def hop(self, token_in: str, token_out: str, amount_raw: int, *, to_caller: bool) -> Hop:
        """See `Pool.hop`."""
        made = v3_hop(self.address, amount_raw, *self._ends(token_in, token_out), to_caller=to_caller)
        return replace(made, venue=self.NUMBER)

    @property
    def ref(self) -> PoolRef:
        """See `PoolState.ref`."""
        return PoolRef(self.address, (self.token0.address, self.token1.address), self.fee_pips, self.VENUE_NAME)

    def moved(self, events: Sequence[Event]) -> Self:
        """See `PoolState.moved`."""
        return replace(self, **moved_range(self, events))

    def _is_down(self, token_in: str, token_out: str) -> bool:
        """Whether a sale of `token_in` lowers the price."""
        pair = (token_in.lower(), token_out.lower())
        known = (self.token0.address, self.token1.address)
        if pair == known:
            return True
        if pair == known[::-1]:
            return False
        raise UnknownToken(self.address, token_in, token_out)

    def _ladder(self, token_in: str, token_out: str) -> _Ladder:
        return self.profile.down if self._is_down(token_in, token_out) else self.profile.up

    def _sqrt_where(self, marginal: float, *, down: bool) -> int:
        """The sqrt price at which one more input unit yields `marginal` after the fee."""
        lowest, highest = self.profile.down.limit_x96, self.profile.up.limit_x96
        if marginal <= 0:
            return lowest if down else highest
        gross = marginal / (1 - self.fee_pips / PIPS)
        sqrt = math.sqrt(gross) if down else 1 / math.sqrt(gross)
        return min(max(int(math.ldexp(sqrt, 96)), lowest), highest)

    def _walk(self, ladder: _Ladder, amount_raw: int, *, exact_in: bool) -> _End:
        """Move until `amount_raw` has gone in or come out; the result has the other amount."""
        check_amount(amount_raw)
        k = ladder.first(self.tick)
        if k == len(ladder.order) or self._is_past(ladder.limit_x96, down=ladder.down):
            raise self._exhausted(ladder, amount_raw, 0, exact_in=exact_in)
        if exact_in:
            fixed, other, partial = ladder.total_in, ladder.total_out, partial_step_in
        else:
            fixed, other, partial = ladder.total_out, ladder.total_in, partial_step_out
        first_in, first_out = ladder.whole(self.sqrt_price_x96, ladder.sqrt_x96[k], self.liquidity)
        first_fixed, first_other = (first_in, first_out) if exact_in else (first_out, first_in)

        if amount_raw < first_fixed:
            end_x96, part = partial(self.sqrt_price_x96, self.liquidity, amount_raw, self.fee_pips, down=ladder.down)
            return _End(part, end_x96, None)
        goal = fixed[k] + amount_raw - first_fixed
        last = bisect_left(fixed, goal, k)
        if last == len(fixed):
            possible = first_fixed + fixed[-1] - fixed[k]
            raise self._exhausted(ladder, amount_raw, possible, exact_in=exact_in)
        if fixed[last] == goal:
            return _End(first_other + other[last] - other[k], ladder.sqrt_x96[last], last)
        last -= 1
        end_x96, part = partial(
            ladder.sqrt_x96[last], ladder.liquidity[last], goal - fixed[last], self.fee_pips, down=ladder.down
        )
        return _End(first_other + other[last] - other[k] + part, end_x96, last)

    def _is_past(self, price_x96: int, *, down: bool) -> bool:
        """Whether a swap in this direction starts at or beyond the price."""
        if down:
            return self.sqrt_price_x96 <= price_x96
        return self.sqrt_price_x96 >= price_x96

    def _exhausted(
        self, ladder: _Ladder, required_raw: int, possible_raw: int, *, exact_in: bool
    ) -> LiquidityExhausted:
        token = self.token0 if ladder.down is exact_in else self.token1
        return LiquidityExhausted(self.address, token.address, required_raw, possible_raw)

    def _after(self, ladder: _Ladder, end: _End) -> Self:
        """The pool after a swap; the tick follows the contract's three cases."""
        if end.crossed is None:
            start_x96, tick = self.sqrt_price_x96, self.tick
        else:
            start_x96, tick = ladder.sqrt_x96[end.crossed], ladder.tick_beyond(end.crossed)
        # A tick at the end of the range is never crossed: the price limit stops the swap before it.
        if end.sqrt_x96 != start_x96 or end.sqrt_x96 == ladder.limit_x96:
            tick = tick_at_sqrt(end.sqrt_x96)
        return replace(self, sqrt_price_x96=end.sqrt_x96, tick=tick, liquidity=self.profile.liquidity_at(tick))


def moved_range(pool: RangePool, events: Sequence[Event]) -> dict[str, Any]:
    """The fields changed by events of Uniswap V3 or V4.

    Swaps contain price, tick and liquidity; adding or removing liquidity changes two ticks, and the active liquidity
    between them.
    """
    sqrt_price_x96, tick, liquidity = pool.sqrt_price_x96, pool.tick, pool.liquidity
    ticks = {at: (gross, net) for at, gross, net in pool.profile.ticks}
    for event in events:
        values = event.values
        if event.name == "Swap":
            sqrt_price_x96 = values["sqrtPriceX96"]
            tick, liquidity = values["tick"], values["liquidity"]
        elif event.name in ("Mint", "Burn", "ModifyLiquidity"):
            low, high = values["tickLower"], values["tickUpper"]
            if event.name == "ModifyLiquidity":
                change = values["liquidityDelta"]
            else:
                change = values["amount"] if event.name == "Mint" else -values["amount"]
            for at, net_change in ((low, change), (high, -change)):
                gross, net = ticks.get(at, (0, 0))
                ticks[at] = gross + change, net + net_change
            if low <= tick < high:
                liquidity += change
    left = tuple(InitializedTick(at, *ticks[at]) for at in sorted(ticks) if ticks[at] != (0, 0))
    profile = pool.profile if left == pool.profile.ticks else replace(pool.profile, ticks=left)
    return {"profile": profile, "sqrt_price_x96": sqrt_price_x96, "tick": tick, "liquidity": liquidity}


def recentred_range(pool: RangePool, sqrt_price_x96: int) -> dict[str, Any]:
    """The fields of the pool moved to exactly this price, with its liquidity moved along.

    All ticks move by the multiple of the tick spacing that brings the pool's tick nearest to that of the new price, so
    liquidity is misplaced by at most half a spacing. Ticks at the ends of the range stay (liquidity over all prices
    stays so), and no tick moves beyond them.

    Raises:
        BadPoolSnapshot: the price is outside the range of ticks.
    """
    check_price(sqrt_price_x96)
    spacing, tick = pool.profile.tick_spacing, tick_at_sqrt(sqrt_price_x96)
    end = MAX_TICK // spacing * spacing
    shift = (tick - pool.tick + spacing // 2) // spacing * spacing
    moved: dict[int, tuple[int, int]] = {}
    for at, gross, net in pool.profile.ticks:
        to = at if abs(at) == end else min(max(at + shift, -end), end)
        gross_there, net_there = moved.get(to, (0, 0))
        moved[to] = gross_there + gross, net_there + net
    ticks = tuple(
        # Liquidity whose two ends meet at an end of the range has moved out of it and is dropped.
        InitializedTick(at, abs(net) if abs(at) == end else gross, net)
        for at, (gross, net) in sorted(moved.items())
        if net or abs(at) != end
    )
    profile = replace(pool.profile, ticks=ticks)
    return {"profile": profile, "sqrt_price_x96": sqrt_price_x96, "tick": tick, "liquidity": profile.liquidity_at(tick)}


def _at_price(profile: TickProfile, sqrt_x96: int, *, down: bool) -> dict[str, Any]:
    """The fields after a swap that ends exactly at this price, inside the range."""
    tick = tick_at_sqrt(sqrt_x96)
    ladder = profile.down
    k = ladder.first(tick)
    is_boundary = k < len(ladder.order) and ladder.order[k] == -tick
    if down and sqrt_x96 == sqrt_at_tick(tick) and is_boundary:
        tick -= 1  # a falling swap that ends on a tick has crossed it
    return {"sqrt_price_x96": sqrt_x96, "tick": tick, "liquidity": profile.liquidity_at(tick)}


def check_price(sqrt_price_x96: int) -> None:
    """Check that a price is possible.

    Raises:
        BadPoolSnapshot: the price is out of range.
    """
    if not MIN_SQRT_X96 <= sqrt_price_x96 < MAX_SQRT_X96:
        raise BadPoolSnapshot(f"sqrt_price_x96 {sqrt_price_x96} is out of range")


@lru_cache(maxsize=64)
def profile_of(fee_pips: int, tick_spacing: int, ticks: tuple[InitializedTick, ...]) -> TickProfile:
    """A cached TickProfile: snapshots of consecutive blocks mostly have the same ticks, and so share all derived
    tables."""
    return TickProfile(fee_pips, tick_spacing, ticks)


def ticks_of(tick_data: Snapshot) -> tuple[InitializedTick, ...]:
    """Ticks from `tick_data`: tick → [liquidity_gross, liquidity_net, block], in any order."""
    ticks = []
    for index, row in tick_data.items():
        match row:
            case [int(gross), int(net), *_]:
                pass
            case _:
                raise BadPoolSnapshot(f"tick {index} is not [liquidity_gross, liquidity_net, …]")
        try:
            ticks.append(InitializedTick(int(index), gross, net))
        except ValueError as error:
            raise BadPoolSnapshot(f"{index!r} is not a tick") from error
    return tuple(sorted(ticks))


Range = TypeVar("Range", bound=RangePool)
V3 = TypeVar("V3", bound=UniswapV3Pool)


def range_fields(
    state: tuple[int, int, int, int, int],
    ticks: Iterable[tuple[int, int, int]],
    tokens: Sequence[Token],
    block: int,
) -> dict[str, Any]:
    """Fields of a snapshot. `state` is fee, tick spacing, sqrt price, tick and liquidity; `ticks` are (tick, gross
    liquidity, net liquidity)."""
    return {
        "scalars": dict(zip(_SCALARS, state, strict=True)),
        "tick_data": {str(at): [gross, net, block] for at, gross, net in ticks},
        "token0": tokens[0].to_json(),
        "token1": tokens[1].to_json(),
    }


def range_pool_of(pools: type[Range], snapshot: Snapshot, **given: Any) -> Range:
    """A pool from a snapshot, with the other fields in `given`."""
    fee_pips, spacing, price_x96, tick, liquidity = (int_of(object_of(snapshot, "scalars"), key) for key in _SCALARS)
    profile = profile_of(fee_pips, spacing, ticks_of(object_of(snapshot, "tick_data")))
    state = {"profile": profile, "sqrt_price_x96": price_x96, "tick": tick, "liquidity": liquidity}
    return pool_of(pools, snapshot, **state, **given)


def loader_of(pools: type[V3], snapshot: Snapshot) -> V3:
    """Load a pool of Uniswap V3 or of a fork from a snapshot."""
    return range_pool_of(pools, snapshot, address=text_of(snapshot, pools.SNAPSHOT_KEY))


def read_by_lens(pools: type[V3], at: At, refs: Sequence[PoolRef]) -> Reading[Sequence[V3]]:
    """Read pools of Uniswap V3 or of a fork with one call of the lens, deployed or by state override."""
    addresses = [ref.address for ref in refs]
    lens = _LENS.at(at.lens or _LENS_ADDRESS)
    method, (message, block) = at.ask(lens, "read", list(addresses), 0)
    if at.lens is None:
        lent = {_LENS_ADDRESS: {"code": at.lens_code}}
        answers = yield [(method, (message, block, lent))]
    else:
        answers = yield [(method, (message, block))]
    states = lens.result("read", answers[0])
    tokens = yield from tokens_read(at, [address for state in states for address in state[:2]])
    found: list[V3] = []
    for n, (address, state) in enumerate(zip(addresses, states, strict=True)):
        _, _, fee, *rest, ticks = state
        pair = tokens[2 * n : 2 * n + 2]
        head = at.head(f"{pools.KIND} {pair[0].symbol}/{pair[1].symbol} {fee / 10_000:g}%")
        fields = range_fields((fee, *rest), ticks, pair, at.block.number)
        found.append(loader_of(pools, {**head, pools.SNAPSHOT_KEY: address, **fields}))
    return found


def is_v3_ref(ref: PoolRef) -> bool:
    """Whether a reference has two tokens and a valid fee."""
    return len(ref.tokens) == 2 and 0 <= ref.fee_pips < PIPS


def v3_venue(pools: type[UniswapV3Pool], mark: tuple[Interface, str]) -> Venue:
    """The venue of Uniswap V3 or of a fork, from its class of pools and a view that only its pools have."""
    return Venue(
        name=pools.VENUE_NAME,
        kinds=(pools.KIND,),
        snapshot_key=pools.SNAPSHOT_KEY,
        load=partial(loader_of, pools),
        read=partial(read_by_lens, pools),
        takes=is_v3_ref,
        mark=mark,
        reads_together=True,
    )


VENUE = v3_venue(UniswapV3Pool, (V3_POOL, "slot0"))
