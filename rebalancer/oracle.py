"""Oracle arithmetic: the price of a token from one source, and the comparison of two sources.

The functions of OracleHub in exact integers, one by one; tests/contract/test_oracle_differential.py checks that both
give identical results. Prices are USD per whole token times 1e18. Pure: no clock, no network. Everything rounds down,
as in the hub.
"""

from __future__ import annotations

from enum import StrEnum

from rebalancer.units import BPS, E18

__all__ = [
    "FAULT_REMEDIES",
    "MAX_DIVERGENCE_BPS",
    "MAX_FEED_DECIMALS",
    "MAX_TOKEN_DECIMALS",
    "MIN_WINDOW_SECONDS",
    "Fault",
    "divergence_bps",
    "diverges",
    "feed_price_e18",
    "in_usd_e18",
    "mean_tick",
    "rate_e18",
    "tick_price_e18",
]

MAX_FEED_DECIMALS = 18
MAX_TOKEN_DECIMALS = 27
MAX_DIVERGENCE_BPS = 2_000
MIN_WINDOW_SECONDS = 600
"""Constants of OracleHub, with the same names."""

MAX_TICK = 887_272
_TICK_X128 = 340265354078544963557816517032075149313
_MAX_UINT256 = (1 << 256) - 1


class Fault(StrEnum):
    """IOracleHub.Fault, in its order: why a price must not be used."""

    NONE = "None"
    NO_FEED = "NoFeed"
    CALL_FAILED = "CallFailed"
    NOT_POSITIVE = "NotPositive"
    STALE = "Stale"
    OUT_OF_RANGE = "OutOfRange"
    DIVERGED = "Diverged"
    SEQUENCER_DOWN = "SequencerDown"
    GRACE_PERIOD = "GracePeriod"
    SECOND_UNSOUND = "SecondUnsound"
    PAUSED = "Paused"

    @property
    def words(self) -> str:
        """The fault in words, as part of a sentence."""
        return _WORDS[self]


_WORDS = {
    Fault.NONE: "sound",
    Fault.NO_FEED: "no feed is set for it",
    Fault.CALL_FAILED: "its source does not answer",
    Fault.NOT_POSITIVE: "its source returns zero or a negative number",
    Fault.STALE: "its answer is older than its heartbeat",
    Fault.OUT_OF_RANGE: "its price is outside its sane range",
    Fault.DIVERGED: "its two sources differ by more than their limit",
    Fault.SEQUENCER_DOWN: "the chain's sequencer is down",
    Fault.GRACE_PERIOD: "the grace period after the sequencer's restart has not ended",
    Fault.SECOND_UNSOUND: "its second source has a fault",
    Fault.PAUSED: "its issuer has paused its price",
}

FAULT_REMEDIES = {
    Fault.NO_FEED: "set a feed for it in the OracleHub.",
    Fault.CALL_FAILED: "check that the feed is a price feed and is still in operation.",
    Fault.NOT_POSITIVE: "wait for the feed's next round; if the fault remains, remove the feed.",
    Fault.STALE: "wait for the feed's next round; if its heartbeat is configured too short, set a longer one.",
    Fault.OUT_OF_RANGE: "compare the price with the market; if it is correct, set the feed with a wider range.",
    Fault.DIVERGED: "compare both sources with the market; either one is wrong, or the limit is too narrow.",
    Fault.SEQUENCER_DOWN: "wait until the chain's sequencer runs again.",
    Fault.GRACE_PERIOD: "wait until the grace period ends.",
    Fault.SECOND_UNSOUND: "run `rebalancer prices` to see the fault of the second source.",
    Fault.PAUSED: "wait until the issuer resumes the price; the usual reason is a corporate action.",
}
"""Remedy for each fault."""


def feed_price_e18(answer: int, decimals: int) -> int:
    """A feed's positive answer, scaled to 18 decimals."""
    return answer * 10 ** (MAX_FEED_DECIMALS - decimals)  # type: ignore[no-any-return]  # int ** int may be a float to mypy


def in_usd_e18(ratio_e18: int, quote_e18: int | None) -> int:
    """USD price of a ratio times a quote token's price; `quote_e18` is None if the quote is USD already."""
    return ratio_e18 if quote_e18 is None else ratio_e18 * quote_e18 // E18


def rate_e18(rate: int, decimals: int) -> int:
    """A rate scaled from its decimals to 1e18, as in RateGetter.sol: an ERC-4626 share's assets, or a getter's
    answer."""
    return int(rate * E18 // 10**decimals)


def mean_tick(before: int, after: int, window_seconds: int) -> int:
    """UniswapV3Twap.meanTick of a pool's cumulative ticks, which may have wrapped around at 56 bits."""
    wrapped = (after - before) % (1 << 56)
    total = wrapped - (1 << 56) if wrapped >> 55 else wrapped
    return total // window_seconds


def tick_price_e18(tick: int, base_decimals: int, quote_decimals: int) -> int:
    """UniswapV3Twap.priceE18: whole quote tokens per whole base token at a tick; the largest uint256 on overflow."""
    root = _root_x128(abs(tick))
    scale, unit = 10 ** (18 + base_decimals), 10**quote_decimals
    if tick < 0:
        return int(((scale * root >> 128) * root >> 128) // unit)
    half = (scale << 128) // root
    if half >> 128 >= root:
        return _MAX_UINT256
    return int((half << 128) // root // unit)


def _root_x128(size: int) -> int:
    root, factor = 1 << 128, _TICK_X128
    while size:
        if size & 1:
            root = root * factor >> 128
        factor = factor * factor >> 128
        size >>= 1
    return root


def divergence_bps(one_e18: int, other_e18: int) -> int:
    """Excess of the higher of two prices over the lower, in basis points of the lower, rounded up; 0 if the lower price
    is 0."""
    low, high = sorted((one_e18, other_e18))
    return -(-(high - low) * BPS // low) if low else 0


def diverges(one_e18: int, other_e18: int, limit_bps: int) -> bool:
    """Whether two prices differ by more than the limit. Same comparison as OracleHub."""
    low, high = sorted((one_e18, other_e18))
    return (high - low) * BPS > low * limit_bps
