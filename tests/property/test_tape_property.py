"""What holds of every tape: cutting and stepping lose no price and show none before its time."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rebalancer.devnet.tape import DEFAULT_MARKET, Round, Tape, synthetic

ROUNDS = st.lists(
    st.builds(
        Round,
        at=st.integers(0, 500),
        feed=st.sampled_from(["BTC/USD", "ETH/USD", "USDC/USD"]),
        answer_e8=st.integers(1, 10**14),
    ),
    min_size=1,
    max_size=40,
)
TAPES = ROUNDS.map(lambda rounds: Tape(tuple(sorted(rounds, key=lambda one: (one.at, one.feed)))))


def shown(tape: Tape, at: int) -> dict[str, int]:
    """What every feed answers at an instant, from the definition."""
    return tape.first_prices_e8 | {one.feed: one.answer_e8 for one in tape.rounds if one.at <= at}


@given(tape=TAPES, since=st.integers(0, 500))
def test_cut_shows_the_same_prices_from_its_opening_on(tape: Tape, since: int) -> None:
    since = min(since, tape.end)

    cut = tape.cut(since)

    assert cut.start == max(since, tape.start)
    for at in range(cut.start, tape.end + 1):
        assert shown(cut, at) == shown(tape, at)


@given(tape=TAPES, since=st.integers(0, 500))
def test_cut_twice_is_cut_once(tape: Tape, since: int) -> None:
    once = tape.cut(min(since, tape.end))

    assert once.cut(min(since, tape.end)) == once
    invented = [one for one in once.rounds if one not in tape.rounds]
    assert all(one.at == once.start for one in invented)


@given(tape=TAPES, merge_seconds=st.integers(0, 600))
def test_steps_show_every_price_in_time_and_none_early(tape: Tape, merge_seconds: int) -> None:
    steps = list(tape.steps(merge_seconds))

    assert sum(step.rounds for step in steps) == len(tape)
    assert all(before.at < after.at for before, after in pairwise(steps))
    prices: dict[str, int] = {}
    for step in steps:
        prices |= step.prices_e8
        assert prices == {one.feed: one.answer_e8 for one in tape.rounds if one.at <= step.at}
    for before, after in pairwise(steps):
        first_inside = min(one.at for one in tape.rounds if one.at > before.at)
        assert after.at - first_inside <= merge_seconds


@given(seed=st.integers(0, 2**63), days=st.floats(0.1, 3))
def test_synthetic_feeds_publish_for_a_reason_and_miss_none(seed: int, days: float) -> None:
    tape = synthetic(seed, days)

    for model in DEFAULT_MARKET:
        rounds = [one for one in tape.rounds if one.feed == model.feed]
        assert rounds[0] == Round(tape.start, model.feed, model.first_e8)
        for before, after in pairwise(rounds):
            moved = abs(after.answer_e8 - before.answer_e8) * 10_000
            waited = after.at - before.at
            assert 0 < waited <= model.heartbeat_seconds
            assert moved >= model.deviation_bps * before.answer_e8 or waited == model.heartbeat_seconds
