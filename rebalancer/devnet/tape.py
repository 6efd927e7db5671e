"""Market tape: oracle rounds with their times, read from CSV files or drawn from a seed.

A tape uses no chain and no clock: it is the list of rounds that a local market replays, ordered by time. Instants are
unix seconds; a span includes its start and excludes its end. Prices are integers of 1e-8 USD, as USD feeds answer.
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rebalancer.errors import BadCut, BadTape, TapeMissing
from rebalancer.units import BPS, YEAR_SECONDS

__all__ = [
    "DEFAULT_MARKET",
    "FeedModel",
    "Round",
    "Tape",
    "TapeStep",
    "iso",
    "load_folder",
    "open_tape",
    "synthetic",
]

COLUMNS = ("updated_at", "round_id", "answer_e8")
"""Columns that a tape file must have, in any order; it may have others."""

_USDC = "USDC/USD"

SYNTHETIC_START = 1_735_689_600
"""2025-01-01T00:00:00Z: default start of a synthetic tape."""

JUMPS_PER_YEAR = 60
"""Jumps of the synthetic market per year. With `jump_sd`, they have the variance that bipower variation gives to jumps
(DEFAULT_MARKET)."""


@dataclass(frozen=True, slots=True)
class Round:
    """One answer of one feed: `answer_e8` is USD * 1e8 per whole token of the feed's base."""

    at: int
    feed: str
    answer_e8: int


@dataclass(frozen=True, slots=True)
class TapeStep:
    """Answers that a market publishes in one block: the newest one of each feed that has a round.

    `at` is the time of the newest round, `rounds` the number of rounds of the tape that the step contains.
    """

    at: int
    prices_e8: dict[str, int]
    rounds: int


@dataclass(frozen=True, slots=True)
class Tape:
    """Rounds ordered by time. Rounds of the same second keep their order of publication.

    Raises:
        BadTape: there is no round, a round is older than the one before it, or a price is not positive.
    """

    rounds: tuple[Round, ...]

    def __post_init__(self) -> None:
        if not self.rounds:
            raise BadTape("the tape", 0, "it has no rounds")
        before = self.rounds[0].at
        for number, one in enumerate(self.rounds, start=1):
            if one.at < before:
                raise BadTape("the tape", number, f"time goes back from {before} to {one.at}")
            if one.answer_e8 <= 0:
                raise BadTape("the tape", number, f"the price {one.answer_e8} is not positive")
            before = one.at

    def __len__(self) -> int:
        return len(self.rounds)

    @property
    def start(self) -> int:
        """Time of the first round."""
        return self.rounds[0].at

    @property
    def end(self) -> int:
        """Time of the last round, which belongs to the tape."""
        return self.rounds[-1].at

    @property
    def feeds(self) -> tuple[str, ...]:
        """Names of the feeds, sorted."""
        return tuple(sorted({one.feed for one in self.rounds}))

    @property
    def first_prices_e8(self) -> dict[str, int]:
        """The first answer of every feed, even if its round is later than `start`.

        The feeds of a recording start some minutes apart, and a market needs all of them when it opens.
        """
        first: dict[str, int] = {}
        for one in self.rounds:
            first.setdefault(one.feed, one.answer_e8)
        return first

    def cut(self, since: int | str | None = None, until: int | str | None = None) -> Tape:
        """The rounds from `since` (inclusive) to `until` (exclusive): unix seconds or ISO 8601 (UTC).

        A feed whose newest round is older than `since` gets that answer again at `since`, so every feed has a price at
        the start of the cut. A bound that is None or outside the tape has no effect.

        Raises:
            BadCut: a bound is not a date, `until` is not later than `since`, or a feed has no price.
        """
        try:
            opens_at = max(_instant(since, self.start), self.start)
            open_until = _instant(until, self.end + 1)
        except ValueError as wrong:
            raise BadCut(since, until, str(wrong)) from None
        span = f"the tape runs from {iso(self.start)} to {iso(self.end)}"
        if opens_at > self.end or open_until <= opens_at:
            raise BadCut(since, until, f"there is no round between them; {span}")

        carried: dict[str, Round] = {}
        inside: list[Round] = []
        for one in self.rounds:
            if one.at < opens_at:
                carried[one.feed] = replace(one, at=opens_at)
            elif one.at < open_until:
                inside.append(one)
        for one in inside:
            if one.at > opens_at:
                break
            carried.pop(one.feed, None)
        kept = Tape((*(carried[feed] for feed in sorted(carried)), *inside))

        for feed in self.feeds:
            if feed not in kept.feeds:
                raise BadCut(since, until, f"{feed} has no price yet; {span}")
        return kept

    def steps(self, merge_seconds: int = 0) -> Iterator[TapeStep]:
        """Steps of the tape: the rounds of one second, or all rounds within `merge_seconds` of a step's first round.

        A step has the time of its last round, so no price appears early. If a feed has several rounds in one step, only
        the newest is published, because a block shows only its final state.
        """
        opens_at, at, rounds = self.start, self.start, 0
        prices_e8: dict[str, int] = {}
        for one in self.rounds:
            if one.at > opens_at + merge_seconds:
                yield TapeStep(at, prices_e8, rounds)
                opens_at, prices_e8, rounds = one.at, {}, 0
            at, rounds = one.at, rounds + 1
            prices_e8[one.feed] = one.answer_e8
        yield TapeStep(at, prices_e8, rounds)

    def with_constant(self, feed: str, answer_e8: int, heartbeat_seconds: int) -> Tape:
        """The same tape with an additional feed, which gives the same answer at `start` and at every heartbeat.

        Raises:
            ValueError: the tape already has this feed, or the heartbeat is not positive.
        """
        if feed in self.feeds:
            raise ValueError(f"the tape already has {feed}")
        if heartbeat_seconds <= 0:
            raise ValueError(f"a heartbeat of {heartbeat_seconds} s is not positive")
        beats = range(self.start, self.end + 1, heartbeat_seconds)
        return _merged((self.rounds, (Round(at, feed, answer_e8) for at in beats)))


def iso(at: int) -> str:
    """A unix second in ISO 8601: 2023-04-05T22:35:11Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(bound: int | str | None, absent: int) -> int:
    if bound is None:
        return absent
    if isinstance(bound, int) or (bound.isdecimal() and len(bound) > 8):  # 20230405 is a date
        return int(bound)
    try:
        moment = datetime.fromisoformat(bound)
    except ValueError:
        why = f"{bound!r} is not a date; use 2023-06-30, 2023-06-30T12:00 or unix seconds"
        raise ValueError(why) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _merged(feeds: Iterable[Iterable[Round]]) -> Tape:
    rounds = [one for feed in feeds for one in feed]
    return Tape(tuple(sorted(rounds, key=lambda one: (one.at, one.feed))))


def open_tape(
    folder: Path | None, seed: int, days: float, since: int | str | None = None, until: int | str | None = None
) -> Tape:
    """The cut tape of a folder, or a synthetic tape for None. USDC/USD has a constant price if no file has it.

    Raises:
        TapeMissing, BadTape: as `load_folder`.
        BadCut: as `Tape.cut`.
    """
    tape = synthetic(seed, days) if folder is None else load_folder(folder)
    if _USDC not in tape.feeds:
        tape = tape.with_constant(_USDC, 10**8, 86_400)
    return tape if since is None and until is None else tape.cut(since, until)


# FILES


def load_folder(path: Path | str) -> Tape:
    """Read every `<base>_<quote>_rounds.csv` of a folder; eth_usd_rounds.csv is the feed ETH/USD.

    A file has a header with at least `updated_at` (unix seconds, never decreasing), `round_id` (strictly increasing)
    and `answer_e8` (positive). Two rounds may have the same time: on mainnet, a deviation and a heartbeat are sometimes
    in one block.

    Raises:
        TapeMissing: the folder does not exist or contains no such file.
        BadTape: a file breaks one of these rules; the error has its name, line and reason.
    """
    files = sorted(Path(path).glob("*_rounds.csv"))
    if not files:
        raise TapeMissing(str(path))
    return _merged(_read(file) for file in files)


def _read(file: Path) -> list[Round]:
    name = file.name.removesuffix("_rounds.csv").upper().split("_")
    if len(name) != 2 or not all(name):
        raise BadTape(file.name, 0, "its name is not <base>_<quote>_rounds.csv")
    feed = "/".join(name)

    with file.open(newline="", encoding="utf-8-sig") as text:
        lines = csv.reader(text)
        header = next(lines, [])
        for column in COLUMNS:
            if column not in header:
                raise BadTape(file.name, 1, f"its header has no column {column}")
        at_column, id_column, answer_column = map(header.index, COLUMNS)

        rounds: list[Round] = []
        last_at, last_id = 0, -1
        for line in lines:
            try:
                at, round_id = int(line[at_column]), int(line[id_column])
                answer_e8 = int(line[answer_column])
            except (ValueError, IndexError):
                why = f"{','.join(line)!r} does not have integers in {', '.join(COLUMNS)}"
                raise BadTape(file.name, lines.line_num, why) from None
            if at < last_at:
                why = f"updated_at goes back from {last_at} to {at}"
                raise BadTape(file.name, lines.line_num, why)
            if round_id <= last_id:
                why = f"round_id does not increase from {last_id} to {round_id}"
                raise BadTape(file.name, lines.line_num, why)
            if answer_e8 <= 0:
                why = f"answer_e8 is {answer_e8}, which is not positive"
                raise BadTape(file.name, lines.line_num, why)
            rounds.append(Round(at, feed, answer_e8))
            last_at, last_id = at, round_id
    if not rounds:
        raise BadTape(file.name, 0, "it has a header and no rounds")
    return rounds


# SYNTHETIC


@dataclass(frozen=True, slots=True)
class FeedModel:
    """Model of one price, and of the rounds that its feed publishes.

    `drift` and `volatility` are per year (1 = 100 %). `correlation` is that with the common market factor, so the
    correlation of two feeds is the product of theirs. At a jump of the market, the price is multiplied by 1 + jump_sd *
    normal. `reversion_per_day` pulls the price back to `first_e8`. A round is published when the price differs by
    `deviation_bps` from the last answer, or after the heartbeat.
    """

    feed: str
    first_e8: int
    deviation_bps: int
    heartbeat_seconds: int
    volatility: float
    drift: float = 0.0
    correlation: float = 0.0
    jump_sd: float = 0.0
    reversion_per_day: float = 0.0


DEFAULT_MARKET = (
    FeedModel("BTC/USD", 60_000_00000000, 50, 3_600, 0.37, correlation=0.9, jump_sd=0.023),
    FeedModel("ETH/USD", 3_000_00000000, 50, 3_600, 0.40, correlation=0.9, jump_sd=0.025),
    FeedModel("USDC/USD", 1_00000000, 25, 86_400, 0.01, reversion_per_day=2.0),
)
"""Deviation and heartbeat: Chainlink's values for these feeds on mainnet.
Volatility and jumps: hourly returns of the mainnet ETH/USD and BTC/USD rounds of April 2023 to January 2024. Of the
total volatility of 0.44 and 0.41, bipower variation (Barndorff-Nielsen and Shephard 2004) attributes 0.40 and 0.37 to
the continuous part; the rest is 60 jumps per year of 2.5 % and 2.3 %. Correlation: 0.77 between four-hour returns and
0.79 between daily returns; twelve synthetic tapes have 0.77 and 0.80. USDC moves about 3 bps around its peg. First
prices are round numbers."""


def synthetic(
    seed: int,
    days: float,
    market: Sequence[FeedModel] = DEFAULT_MARKET,
    *,
    start: int = SYNTHETIC_START,
    step_seconds: int = 60,
    jumps_per_year: float = JUMPS_PER_YEAR,
) -> Tape:
    """The rounds that the feeds of a jump-diffusion market (Merton 1976) publish.

    Every `step_seconds`, all prices move and each feed checks its price; a jump affects all prices at once. The same
    seed gives the same tape on every machine: the random bits are PCG64's, which NumPy keeps stable, and the
    computation uses only sums, products, quotients and square roots, which IEEE 754 rounds the same way everywhere.
    With the same seed, a longer tape starts with the shorter one.

    Raises:
        ValueError: there are no feeds or no steps, or a price could reach zero.
    """
    count = int(days * 86_400) // step_seconds if step_seconds > 0 else 0
    if not market or count < 1:
        raise ValueError(f"{days} days of {len(market)} feeds by {step_seconds} s give no steps")
    year_fraction = step_seconds / YEAR_SECONDS

    # A Poisson process with at most one jump per step: at 60 s, this misses one jump in 10,000.
    clock = _bits(seed, "clock").random_raw(count)
    jumps = np.flatnonzero(clock < np.uint64(int(jumps_per_year * year_fraction * 2**64)))
    factor = _normals(_bits(seed, "market"), count)
    jump_factor = _normals(_bits(seed, "market jumps"), len(jumps))

    feeds: list[list[Round]] = []
    for model in market:
        own, own_jump = _bits(seed, model.feed), _bits(seed, f"{model.feed} jumps")
        alone = math.sqrt(1 - model.correlation**2)
        noise = model.correlation * factor + alone * _normals(own, count)
        leap = model.correlation * jump_factor + alone * _normals(own_jump, len(jumps))
        sigma = model.volatility * math.sqrt(year_fraction)
        growth = 1 + model.drift * year_fraction + sigma * noise
        growth[jumps] *= 1 + model.jump_sd * leap
        if growth.min() <= 0:
            raise ValueError(f"{model.feed} reaches zero: lower its volatility or jump_sd")
        answers = _path(model, growth, model.reversion_per_day * step_seconds / 86_400)
        feeds.append(_published(model, answers, start, step_seconds))
    return _merged(feeds)


def _bits(seed: int, stream: str) -> np.random.PCG64:
    return np.random.PCG64([seed, zlib.crc32(stream.encode())])


def _normals(bits: np.random.PCG64, count: int) -> NDArray[np.float64]:
    """Standard normal variates by the Irwin-Hall method: the sum of twelve uniforms minus six, with variance one.

    NumPy's own normals use exp and log, whose last digit differs between machines. The tails end at six standard
    deviations, which is enough here: the jumps provide the heavy tails.
    """
    uniforms = bits.random_raw(3 * count).view(np.uint16).reshape(count, 12)
    # {1} = (12 uniforms of 0..65535, mean 32767.5) / 65536; the sum is an integer, so exact.
    total = uniforms.sum(axis=1, dtype=np.int64) - 12 * 65_535 // 2
    return np.asarray(total / 65_536, dtype=np.float64)


def _path(model: FeedModel, growth: NDArray[np.float64], pull: float) -> list[int]:
    """Answers after every step. The path is a float, because it models a market and is not an amount of money."""
    if pull == 0:
        path = model.first_e8 * np.cumprod(growth)
    else:
        price, peg = float(model.first_e8), float(model.first_e8)
        prices = []
        for factor in growth.tolist():
            price = price * factor + pull * (peg - price)
            prices.append(price)
        path = np.array(prices)
    answers: list[int] = np.rint(path).astype(np.int64).tolist()
    return answers


def _published(model: FeedModel, answers: list[int], start: int, step_seconds: int) -> list[Round]:
    last = Round(start, model.feed, model.first_e8)
    rounds = [last]
    at = start
    for answer in answers:
        at += step_seconds
        # {1} deviation >= threshold, multiplied out: |answer - last| / last >= bps / 10,000
        moved = abs(answer - last.answer_e8) * BPS >= model.deviation_bps * last.answer_e8
        if moved or at - last.at >= model.heartbeat_seconds:
            last = Round(at, model.feed, answer)
            rounds.append(last)
    return rounds
