"""What is a token worth by one source, and do two sources agree?

OracleHub's arithmetic in exact integers, function by function; tests/contract/test_oracle_differential.py holds them equal to the
unit. Prices are USD per whole token times 1e18. Pure: no clock, no network. Everything rounds down, as the hub does.
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
"""OracleHub's, by the same names."""

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
        """The fault as a person would say it."""
        return _WORDS[self]


_WORDS = {
    Fault.NONE: "sound",
    Fault.NO_FEED: "no feed is set for it",
    Fault.CALL_FAILED: "its source does not answer",
    Fault.NOT_POSITIVE: "its source answers zero or less",
    Fault.STALE: "its answer is older than its heartbeat",
    Fault.OUT_OF_RANGE: "its price is outside its sane range",
    Fault.DIVERGED: "its two sources differ by more than their limit",
    Fault.SEQUENCER_DOWN: "the chain's sequencer is down",
    Fault.GRACE_PERIOD: "the chain's sequencer is back for too short a time",
    Fault.SECOND_UNSOUND: "its second source has a fault of its own",
    Fault.PAUSED: "its issuer has paused its price",
}

FAULT_REMEDIES = {
    Fault.NO_FEED: "set a feed for it in the OracleHub.",
    Fault.CALL_FAILED: "check that its feed is a price feed and still runs.",
    Fault.NOT_POSITIVE: "wait for the feed's next round, and remove the feed if it stays so.",
    Fault.STALE: "wait for the feed's next round; a heartbeat that is too short is set anew.",
    Fault.OUT_OF_RANGE: "compare it with the market; if it is right, set the feed with a wider range.",
    Fault.DIVERGED: "compare both of its sources with the market; one is wrong, or their limit is too narrow.",
    Fault.SEQUENCER_DOWN: "wait until the chain's sequencer runs again.",
    Fault.GRACE_PERIOD: "wait until its feeds have caught up after the sequencer's return.",
    Fault.SECOND_UNSOUND: "see with `rebalancer prices` what its second source lacks.",
    Fault.PAUSED: "wait until the issuer resumes it; a corporate action is the usual reason.",
}
"""What to do about each fault."""


def feed_price_e18(answer: int, decimals: int) -> int:
    """A feed's positive answer, scaled."""
    return answer * 10 ** (MAX_FEED_DECIMALS - decimals)  # type: ignore[no-any-return]  # int ** int may be a float to mypy


def in_usd_e18(ratio_e18: int, quote_e18: int | None) -> int:
    """What is worth `ratio_e18` of a quote that costs `quote_e18`; None where the quote is USD."""
    return ratio_e18 if quote_e18 is None else ratio_e18 * quote_e18 // E18


def rate_e18(rate: int, decimals: int) -> int:
    """A rate of these decimals, as RateGetter.sol reads it: an ERC-4626 share's assets, or a getter's answer."""
    return int(rate * E18 // 10**decimals)


def mean_tick(before: int, after: int, window_seconds: int) -> int:
    """UniswapV3Twap.meanTick of a pool's cumulative ticks, which may have wrapped around in 56 bits."""
    wrapped = (after - before) % (1 << 56)
    total = wrapped - (1 << 56) if wrapped >> 55 else wrapped
    return total // window_seconds


def tick_price_e18(tick: int, base_decimals: int, quote_decimals: int) -> int:
    """UniswapV3Twap.priceE18: whole quote tokens for a whole base token at a tick, the largest uint256 if too many."""
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
    """How far the higher of two prices is above the lower, in parts of the lower, rounded up; 0 without a price."""
    low, high = sorted((one_e18, other_e18))
    return -(-(high - low) * BPS // low) if low else 0


def diverges(one_e18: int, other_e18: int, limit_bps: int) -> bool:
    """Whether two prices differ by more than the limit: OracleHub's very comparison."""
    low, high = sorted((one_e18, other_e18))
    return (high - low) * BPS > low * limit_bps
