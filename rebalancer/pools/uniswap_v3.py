"""A Uniswap V3 pool on paper: what any swap pays, to the unit, and the pool it leaves behind.

It answers as `UniswapV3Pool.swap` of v3-core 1.0.1 does without a price limit, and as QuoterV2
does when the whole amount can be traded; when it cannot, it raises instead of quoting a part.

How it is fast: a swap walks from one boundary to the next, where a boundary is an initialised
tick or the edge of a 256-tick word of the bitmap (the contract stops, and rounds, there too).
What a whole step between two boundaries takes and gives does not depend on the swap, so running
sums are kept once for a set of ticks, in each direction, and shared by every state of the pool.
A quote is then one step to the first boundary, one bisection, and one step from the last.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, pairwise
from typing import ClassVar, NamedTuple

from rebalancer.errors import BadPoolSnapshot, LiquidityExhausted, UnknownToken
from rebalancer.pools.model import Token, address_key, check_amount
from rebalancer.pools.uniswap_v3_math import (
    MAX_SQRT_X96,
    MAX_TICK,
    MIN_SQRT_X96,
    PIPS,
    full_step,
    partial_step_in,
    partial_step_out,
    sqrt_at_tick,
    tick_at_sqrt,
)

__all__ = ["Tick", "TickProfile", "UniswapV3Pool"]

_MAX_LIQUIDITY = 2**128 - 1
_MAX_TICK_SPACING = 16_383
_WORD = 256


class Tick(NamedTuple):
    """An initialised tick: all liquidity that starts or ends there, and what crossing up adds."""

    at: int
    gross: int
    net: int


@dataclass(frozen=True)
class TickProfile:
    """The liquidity of a pool over all prices; `ticks` ascend. Shared by all states of the pool.

    Raises:
        BadPoolSnapshot: no pool of v3-core can hold these ticks.
    """

    fee_pips: int
    tick_spacing: int
    ticks: tuple[Tick, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.fee_pips < PIPS:
            raise BadPoolSnapshot(f"fee {self.fee_pips} is not in 0 … {PIPS - 1} millionths")
        if not 0 < self.tick_spacing <= _MAX_TICK_SPACING:
            raise BadPoolSnapshot(
                f"tick spacing {self.tick_spacing} is not in 1 … {_MAX_TICK_SPACING}"
            )
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

    def to_json(self, block: int) -> dict[str, object]:
        """`tick_data` of a snapshot at that block: tick → [gross, net, block]."""
        return {str(at): [gross, net, block] for at, gross, net in self.ticks}

    @cached_property
    def indices(self) -> list[int]:
        """The ticks alone, ascending."""
        return [tick.at for tick in self.ticks]

    @cached_property
    def _running(self) -> list[int]:
        return [0, *accumulate(tick.net for tick in self.ticks)]

    def liquidity_at(self, tick: int) -> int:
        """Liquidity in force while the pool's tick is `tick`."""
        return self._running[bisect_right(self.indices, tick)]

    @cached_property
    def down(self) -> _Ladder:
        """What walking down costs and pays, boundary by boundary."""
        return _Ladder(self, down=True)

    @cached_property
    def up(self) -> _Ladder:
        """What walking up costs and pays, boundary by boundary."""
        return _Ladder(self, down=False)


class _Ladder:
    """All boundaries of one direction, in walking order, with running sums of whole steps.

    `order[k]` is boundary k's tick and `depth[k]` its sqrt price, both negated when walking down
    so that they ascend; `liquidity[k]` is in force beyond it; `total_in[k]` and `total_out[k]`
    are what all whole steps from boundary 0 to boundary k take (with fee) and give.
    """

    def __init__(self, profile: TickProfile, *, down: bool) -> None:
        self.down, self.fee_pips = down, profile.fee_pips
        ticks = _boundaries(profile, down=down)
        # A swap without limit ends one above the lowest price or one below the highest.
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
            for (start_x96, end_x96), liquidity in zip(
                pairwise(self.sqrt_x96), self.liquidity, strict=False
            )
        ]
        self.total_in = list(accumulate((step[0] for step in steps), initial=0))
        self.total_out = list(accumulate((step[1] for step in steps), initial=0))

    def whole(self, start_x96: int, end_x96: int, liquidity: int) -> tuple[int, int]:
        """Raw (in with fee, out) of moving the price from start to end at this liquidity."""
        return full_step(start_x96, end_x96, liquidity, self.fee_pips, down=self.down)

    def first(self, tick: int) -> int:
        """The boundary that a pool at `tick` walks to first; len(order) if there is none.

        Walking down starts with the tick itself, walking up with the one above it.
        """
        return bisect_left(self.order, -tick if self.down else tick + 1)

    def tick_beyond(self, k: int) -> int:
        """The pool's tick once boundary k has been crossed."""
        return -self.order[k] - 1 if self.down else self.order[k]


def _boundaries(profile: TickProfile, *, down: bool) -> list[int]:
    """Initialised ticks and, between the outermost of them, the edges of bitmap words.

    Walking down the bitmap search ends at the first tick of a word, walking up at the last.
    """
    if not profile.ticks:
        return []
    spacing, first, last = profile.tick_spacing, profile.indices[0], profile.indices[-1]
    stride = _WORD * spacing
    offset = 0 if down else (_WORD - 1) * spacing
    edges = range(first + (offset - first) % stride, last, stride)
    return sorted({*profile.indices, *edges}, reverse=down)


class _End(NamedTuple):
    """Where a swap ends: its other amount, the price, and the boundary it crossed last, if any."""

    amount_raw: int
    sqrt_x96: int
    crossed: int | None


@dataclass(frozen=True)
class UniswapV3Pool:
    """One state of one pool; satisfies `rebalancer.pools.Pool`.

    `sqrt_price_x96`, `tick` and `liquidity` are slot0's and the pool's own. The tick may be one
    below the price's when the price sits on a tick that a falling swap has just crossed.

    Raises:
        BadPoolSnapshot: the state contradicts itself.
    """

    PROTOCOL: ClassVar[str] = "Uniswap V3"

    address: str
    token0: Token
    token1: Token
    profile: TickProfile
    sqrt_price_x96: int
    tick: int
    liquidity: int
    chain_id: int = 1
    block: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_key(self.address))
        if int(self.token0.address, 16) >= int(self.token1.address, 16):
            raise BadPoolSnapshot("token0's address must be below token1's")
        if not MIN_SQRT_X96 <= self.sqrt_price_x96 < MAX_SQRT_X96:
            raise BadPoolSnapshot(f"sqrt_price_x96 {self.sqrt_price_x96} is out of range")
        tick = tick_at_sqrt(self.sqrt_price_x96)
        just_crossed = self.tick == tick - 1 and self.sqrt_price_x96 == sqrt_at_tick(tick)
        if self.tick != tick and not just_crossed:
            raise BadPoolSnapshot(f"tick {self.tick} is not that of the price, {tick}")
        running = self.profile.liquidity_at(self.tick)
        if self.liquidity != running:
            raise BadPoolSnapshot(
                f"liquidity {self.liquidity} is not the sum of liquidity_net, {running}"
            )

    @property
    def key(self) -> str:
        """Its address."""
        return self.address

    @property
    def tokens(self) -> tuple[Token, Token]:
        """token0 and token1."""
        return self.token0, self.token1

    @property
    def fee_pips(self) -> int:
        """The part of the input the pool keeps, in millionths."""
        return self.profile.fee_pips

    @property
    def tick_spacing(self) -> int:
        """Ticks between two that can hold liquidity."""
        return self.profile.tick_spacing

    def quote_in(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_in`. Equals QuoterV2.quoteExactInputSingle without a price limit."""
        return self._walk(self._ladder(token_in, token_out), amount_raw, exact_in=True).amount_raw

    def quote_out(self, token_in: str, token_out: str, amount_raw: int) -> int:
        """See `Pool.quote_out`. Equals QuoterV2.quoteExactOutputSingle without a price limit."""
        return self._walk(self._ladder(token_in, token_out), amount_raw, exact_in=False).amount_raw

    def swapped(self, token_in: str, token_out: str, amount_raw: int) -> tuple[int, UniswapV3Pool]:
        """See `Pool.swapped`. The fee leaves no trace but in the price: it is the providers'."""
        ladder = self._ladder(token_in, token_out)
        end = self._walk(ladder, amount_raw, exact_in=True)
        return end.amount_raw, self._after(ladder, end)

    def spot_price(self, token_in: str, token_out: str) -> Fraction:
        """See `Pool.spot_price`."""
        token1_per_token0 = Fraction(self.sqrt_price_x96**2, 1 << 192)
        return token1_per_token0 if self._is_down(token_in, token_out) else 1 / token1_per_token0

    def flow_to(self, token_in: str, token_out: str, marginal: float) -> tuple[int, int]:
        """See `Pool.flow_to`. Rounded as one swap that ends exactly at the price would be."""
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

    def to_json(self) -> dict[str, object]:
        """The snapshot that `rebalancer.pools.load` reads back as an equal pool.

        The pool's balances, which the files of mainnet also carry, are not part of what decides
        a quote and are left out.
        """
        return {
            "chain_id": self.chain_id,
            "block": self.block,
            "pool": self.address,
            "name": self.name,
            "scalars": {
                "fee": self.fee_pips,
                "tick_spacing": self.tick_spacing,
                "sqrt_price_x96": self.sqrt_price_x96,
                "tick": self.tick,
                "liquidity": self.liquidity,
            },
            "tick_data": self.profile.to_json(self.block),
            "token0": self.token0.to_json(),
            "token1": self.token1.to_json(),
        }

    def _is_down(self, token_in: str, token_out: str) -> bool:
        """Whether selling `token_in` lets the price fall."""
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
        """The sqrt price at which one more unit in yields `marginal` after the fee."""
        lowest, highest = self.profile.down.limit_x96, self.profile.up.limit_x96
        if marginal <= 0:
            return lowest if down else highest
        gross = marginal / (1 - self.fee_pips / PIPS)
        sqrt = math.sqrt(gross) if down else 1 / math.sqrt(gross)
        return min(max(int(math.ldexp(sqrt, 96)), lowest), highest)

    def _walk(self, ladder: _Ladder, amount_raw: int, *, exact_in: bool) -> _End:
        """Walk until `amount_raw` has gone in, or has come out; the end carries the other side."""
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
            end_x96, part = partial(
                self.sqrt_price_x96, self.liquidity, amount_raw, self.fee_pips, down=ladder.down
            )
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
            ladder.sqrt_x96[last],
            ladder.liquidity[last],
            goal - fixed[last],
            self.fee_pips,
            down=ladder.down,
        )
        return _End(first_other + other[last] - other[k] + part, end_x96, last)

    def _is_past(self, price_x96: int, *, down: bool) -> bool:
        """Whether a swap in this direction starts at or beyond the price."""
        if down:
            return self.sqrt_price_x96 <= price_x96
        return self.sqrt_price_x96 >= price_x96

    def _exhausted(
        self, ladder: _Ladder, asked_raw: int, possible_raw: int, *, exact_in: bool
    ) -> LiquidityExhausted:
        token = self.token0 if ladder.down is exact_in else self.token1
        return LiquidityExhausted(self.address, token.address, asked_raw, possible_raw)

    def _after(self, ladder: _Ladder, end: _End) -> UniswapV3Pool:
        """The pool where a swap ended; the tick follows the contract's three cases."""
        if end.crossed is None:
            start_x96, tick = self.sqrt_price_x96, self.tick
        else:
            start_x96, tick = ladder.sqrt_x96[end.crossed], ladder.tick_beyond(end.crossed)
        # A tick at the very end of the range is never crossed: the price limit stops before it.
        if end.sqrt_x96 != start_x96 or end.sqrt_x96 == ladder.limit_x96:
            tick = tick_at_sqrt(end.sqrt_x96)
        return replace(
            self,
            sqrt_price_x96=end.sqrt_x96,
            tick=tick,
            liquidity=self.profile.liquidity_at(tick),
        )
