"""Market tapes: files in, rounds and steps out, and the synthetic market."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rebalancer.devnet.tape import (
    DEFAULT_MARKET,
    FeedModel,
    Round,
    Tape,
    TapeStep,
    iso,
    load_folder,
    synthetic,
)
from rebalancer.errors import BadCut, BadTape, TapeMissing

HEADER = "updated_at,round_id,answer_e8\n"

TAPE = Tape(
    (
        Round(100, "BTC/USD", 30_000),
        Round(160, "ETH/USD", 2_000),
        Round(200, "BTC/USD", 30_100),
        Round(200, "ETH/USD", 2_010),
        Round(200, "ETH/USD", 2_020),
        Round(260, "BTC/USD", 30_200),
    )
)


def folder(at: Path, **files: str) -> Path:
    for name, text in files.items():
        (at / f"{name}_rounds.csv").write_text(text)
    return at


@pytest.fixture
def far_from_greenwich() -> Iterator[None]:
    """A machine whose own clock shows Tokyo's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


# FILES


def test_load_of_missing_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(TapeMissing, match=r"eth_usd_rounds\.csv") as failure:
        load_folder(tmp_path / "nowhere")

    assert failure.value.path == str(tmp_path / "nowhere")


def test_load_of_folder_without_tapes_is_missing(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text(HEADER)

    with pytest.raises(TapeMissing):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 1, "no column updated_at"),
        ("updated_at,answer_e8\n1,2\n", 1, "no column round_id"),
        (HEADER, 0, "no rounds"),
        (HEADER + "10,1,5\n9,2,5\n", 3, "goes back from 10 to 9"),
        (HEADER + "10,1,5\n11,1,5\n", 3, "round_id does not increase from 1 to 1"),
        (HEADER + "10,1,5\n11,2,0\n", 3, "answer_e8 is 0"),
        (HEADER + "10,1,-5\n", 2, "answer_e8 is -5"),
        (HEADER + "10,1,5.5\n", 2, "'10,1,5.5'"),
        (HEADER + "10,1\n", 2, "'10,1'"),
        (HEADER + "-1,1,5\n", 2, "goes back from 0 to -1"),
    ],
)
def test_load_of_broken_file_names_file_line_and_reason(tmp_path: Path, text: str, line: int, why: str) -> None:
    with pytest.raises(BadTape, match=why) as failure:
        load_folder(folder(tmp_path, eth_usd=text))

    assert (failure.value.file, failure.value.line) == ("eth_usd_rounds.csv", line)
    assert "eth_usd_rounds.csv" in str(failure.value)


@pytest.mark.parametrize("name", ["ethusd", "eth_usd_old", "_usd"])
def test_load_of_file_that_names_no_pair_is_bad(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadTape, match="<base>_<quote>"):
        load_folder(folder(tmp_path, **{name: HEADER + "1,1,1\n"}))


def test_load_merges_files_in_time_and_finds_columns_by_name(tmp_path: Path) -> None:
    files = {
        "eth_usd": HEADER + "10,1,2000\n30,2,2100\n30,3,2150\n",
        "btc_usd": "\ufeffround_id,block,answer_e8,updated_at\n7,x,30000,20\n8,y,30500,30\n",
    }

    tape = load_folder(folder(tmp_path, **files))

    assert tape.rounds == (
        Round(10, "ETH/USD", 2000),
        Round(20, "BTC/USD", 30000),
        Round(30, "BTC/USD", 30500),
        Round(30, "ETH/USD", 2100),
        Round(30, "ETH/USD", 2150),
    )
    assert tape.feeds == ("BTC/USD", "ETH/USD")
    assert tape.first_prices_e8 == {"ETH/USD": 2000, "BTC/USD": 30000}
    assert (tape.start, tape.end, len(tape)) == (10, 30, 5)


# TAPE


@pytest.mark.parametrize(
    ("rounds", "why"),
    [
        ((), "no rounds"),
        ((Round(2, "A/USD", 1), Round(1, "A/USD", 1)), "time goes back from 2 to 1"),
        ((Round(1, "A/USD", 0),), "price 0"),
    ],
)
def test_tape_of_broken_rounds_is_refused(rounds: tuple[Round, ...], why: str) -> None:
    with pytest.raises(BadTape, match=why):
        Tape(rounds)


def test_steps_group_a_second_and_keep_the_newest_answer() -> None:
    assert list(TAPE.steps()) == [
        TapeStep(100, {"BTC/USD": 30_000}, 1),
        TapeStep(160, {"ETH/USD": 2_000}, 1),
        TapeStep(200, {"BTC/USD": 30_100, "ETH/USD": 2_020}, 3),
        TapeStep(260, {"BTC/USD": 30_200}, 1),
    ]


def test_steps_merged_happen_when_their_last_round_did() -> None:
    assert list(TAPE.steps(merge_seconds=99)) == [
        TapeStep(160, {"BTC/USD": 30_000, "ETH/USD": 2_000}, 2),
        TapeStep(260, {"BTC/USD": 30_200, "ETH/USD": 2_020}, 4),
    ]
    assert len(list(TAPE.steps(merge_seconds=100))) == 2  # 200 is 100 s after 100: still in it
    assert next(TAPE.steps(merge_seconds=100)).at == 200


def test_cut_carries_the_last_answer_in_and_excludes_its_end() -> None:
    assert TAPE.cut(180, 260).rounds == (
        Round(180, "BTC/USD", 30_000),
        Round(180, "ETH/USD", 2_000),
        *TAPE.rounds[2:5],
    )


def test_cut_on_a_round_carries_only_feeds_that_have_none_there() -> None:
    assert TAPE.cut(160).rounds == (Round(160, "BTC/USD", 30_000), *TAPE.rounds[1:])
    assert TAPE.cut(200).rounds == TAPE.rounds[2:]


def test_cut_without_bounds_or_with_wide_ones_is_the_tape() -> None:
    assert TAPE.cut() == TAPE
    assert TAPE.cut("1960-01-01", "2100-01-01") == TAPE


@pytest.mark.usefixtures("far_from_greenwich")
def test_cut_reads_dates_as_utc() -> None:
    days = Tape(tuple(Round(day * 86_400, "A/USD", day + 1) for day in range(5)))

    assert days.cut("1970-01-02", "1970-01-04").rounds == days.rounds[1:3]
    assert days.cut("1970-01-02T00:00:00Z", "1970-01-04T02:00+02:00").rounds == days.rounds[1:3]
    assert days.cut(86_400, 3 * 86_400).rounds == days.rounds[1:3]
    assert days.cut("000086400", "19700104").rounds == days.rounds[1:3]


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        ("yesterday", None, "'yesterday' is not a date"),
        (None, "2024-13-01", "'2024-13-01' is not a date"),
        (200, 200, "there is no round between"),
        (261, None, "there is no round between"),
        (None, 100, "there is no round between"),
        (None, 160, "ETH/USD has no price yet"),
    ],
)
def test_cut_of_nothing_says_why(since: int | str | None, until: int | str | None, why: str) -> None:
    with pytest.raises(BadCut, match=why) as failure:
        TAPE.cut(since, until)

    assert (failure.value.since, failure.value.until) == (since, until)


def test_constant_feed_posts_at_its_heartbeat() -> None:
    tape = TAPE.with_constant("USDC/USD", 10**8, 80)

    posts = [one for one in tape.rounds if one.feed == "USDC/USD"]
    assert posts == [Round(at, "USDC/USD", 10**8) for at in (100, 180, 260)]
    assert tuple(one for one in tape.rounds if one.feed != "USDC/USD") == TAPE.rounds


def test_constant_feed_twice_or_without_heartbeat_is_refused() -> None:
    with pytest.raises(ValueError, match="already has ETH/USD"):
        TAPE.with_constant("ETH/USD", 1, 60)
    with pytest.raises(ValueError, match="not positive"):
        TAPE.with_constant("USDC/USD", 1, 0)


def test_iso_writes_utc() -> None:
    assert iso(1_680_734_111) == "2023-04-05T22:35:11Z"


# SYNTHETIC


def test_synthetic_tape_of_a_seed_is_one_tape_everywhere() -> None:
    tape = synthetic(seed=1, days=10)

    text = "\n".join(f"{one.at},{one.feed},{one.answer_e8}" for one in tape.rounds)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "ce0278a3268a1a3a7e4691bebc1e03fbb302e164b84ac295144288b97056237d"
    )
    assert synthetic(seed=2, days=10) != tape


def test_synthetic_tape_grows_without_changing_its_past() -> None:
    short, long = synthetic(seed=3, days=5), synthetic(seed=3, days=20)

    assert long.rounds[: len(short)] == short.rounds


def test_synthetic_feed_does_not_depend_on_its_neighbours() -> None:
    alone = synthetic(seed=3, days=5, market=DEFAULT_MARKET[1:2])

    together = synthetic(seed=3, days=5)
    assert alone.rounds == tuple(one for one in together.rounds if one.feed == "ETH/USD")


def test_synthetic_market_moves_as_its_parameters_say() -> None:
    def returns(tape: Tape, feed: str) -> NDArray[np.float64]:
        rounds = [one for one in tape.rounds if one.feed == feed]
        hours = np.arange(tape.start, tape.end, 4 * 3_600)
        newest = np.searchsorted([one.at for one in rounds], hours, side="right") - 1
        return np.diff(np.log([one.answer_e8 for one in rounds])[newest])

    tape = synthetic(seed=5, days=500)
    btc, eth = returns(tape, "BTC/USD"), returns(tape, "ETH/USD")

    year = np.sqrt(365 * 6)
    assert btc.std() * year == pytest.approx(np.sqrt(0.37**2 + 60 * 0.023**2), rel=0.1)
    assert eth.std() * year == pytest.approx(np.sqrt(0.40**2 + 60 * 0.025**2), rel=0.1)
    assert np.corrcoef(btc, eth)[0, 1] == pytest.approx(0.77, abs=0.05)
    assert (eth**4).mean() / eth.var() ** 2 > 4  # jumps: heavier tails than a normal's 3
    calm = synthetic(seed=5, days=500, jumps_per_year=0)
    assert returns(calm, "ETH/USD").std() * year == pytest.approx(0.40, rel=0.1)


def test_synthetic_peg_holds_and_posts_daily() -> None:
    posts = [one for one in synthetic(seed=5, days=300).rounds if one.feed == "USDC/USD"]

    assert all(abs(one.answer_e8 - 10**8) < 250_000 for one in posts)
    assert 300 <= len(posts) <= 310


def test_synthetic_drift_compounds() -> None:
    model = FeedModel("A/USD", 10**10, 50, 86_400, volatility=0.0, drift=1.0)

    (*_, last) = synthetic(seed=1, days=365, market=(model,)).rounds

    assert last.answer_e8 == pytest.approx(10**10 * np.e, rel=0.006)  # within one deviation


def test_synthetic_feed_publishes_at_exactly_its_deviation() -> None:
    model = FeedModel("A/USD", 10_000, 50, 86_400, volatility=0.0, drift=0.005 * 365 * 24)

    tape = synthetic(seed=1, days=1 / 24, market=(model,), start=0, step_seconds=3_600)

    assert tape.rounds == (Round(0, "A/USD", 10_000), Round(3_600, "A/USD", 10_050))


@pytest.mark.parametrize(
    ("days", "market"),
    [(0, DEFAULT_MARKET), (-1, DEFAULT_MARKET), (1, ())],
)
def test_synthetic_of_nothing_is_refused(days: float, market: tuple[FeedModel, ...]) -> None:
    with pytest.raises(ValueError, match="give no steps"):
        synthetic(seed=1, days=days, market=market)


def test_synthetic_price_that_could_reach_zero_is_refused() -> None:
    wild = replace(DEFAULT_MARKET[0], volatility=500.0)

    with pytest.raises(ValueError, match="reaches zero"):
        synthetic(seed=1, days=1, market=(wild,))


# REAL DATA


@pytest.mark.real
def test_real_tape_has_every_round(shared_data: Path) -> None:
    tape = load_folder(shared_data / "chainlink")

    assert len(tape) == 21_797
    assert sum(one.feed == "ETH/USD" for one in tape.rounds) == 11_106
    assert sum(one.feed == "BTC/USD" for one in tape.rounds) == 10_691
    assert tape.first_prices_e8 == {"BTC/USD": 2_815_711_000_000, "ETH/USD": 190_818_855_732}
    assert (iso(tape.start), iso(tape.end)) == ("2023-04-05T22:35:11Z", "2024-01-29T19:55:35Z")
    assert sum(step.rounds for step in tape.steps(merge_seconds=600)) == 21_797


@pytest.mark.real
def test_real_tape_cut_opens_with_every_price(shared_data: Path) -> None:
    tape = load_folder(shared_data / "chainlink").with_constant("USDC/USD", 10**8, 86_400)

    june = tape.cut("2023-06-01", "2023-07-01")

    assert june.start == 1_685_577_600
    assert june.end < 1_688_169_600
    assert {one.feed for one in june.rounds[:3]} == {"BTC/USD", "ETH/USD", "USDC/USD"}
    before = [one for one in tape.rounds if one.feed == "ETH/USD" and one.at <= june.start]
    assert june.first_prices_e8["ETH/USD"] == before[-1].answer_e8
