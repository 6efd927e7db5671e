"""The attack lab: what every attacker gains and holders lose, against the promises, and against what docs/security.md says.

The whole lab is played once, on an Anvil of its own, as `make attacks` plays it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from scripts.attacks.field import MILLION, AttackEnv, Loot, Result, Tally, bound_b_e18, dollars
from scripts.attacks.picture import draw
from scripts.attacks.play import ATTACKS, notes, open_env, play
from scripts.attacks.search import best, best_of
from scripts.attacks.table import committed, markdown, write

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def env() -> Iterator[AttackEnv]:
    """A field everybody may look at; it is closed with the last test here."""
    with open_env() as opened:
        yield opened


@pytest.fixture(scope="module")
def results(env: AttackEnv) -> dict[str, list[Result]]:
    """Every attack's results, by the name of its kind."""
    return dict(play(env))


def every(results: dict[str, list[Result]]) -> list[Result]:
    return [result for kind in results.values() for result in kind]


def found(results: Sequence[Result], words: str) -> Result:
    (one,) = [result for result in results if words in result.attack]
    return one


def bound(result: Result) -> int:
    assert result.bound_e18 is not None
    return result.bound_e18


# What the attacks came to


def test_no_attack_goes_beyond_its_promise(results: dict[str, list[Result]]) -> None:
    assert set(results) == set(ATTACKS)
    assert [result.attack for result in every(results) if result.verdict == "BEYOND"] == []


def test_committed_table_is_what_the_attacks_came_to(env: AttackEnv, results: dict[str, list[Result]]) -> None:
    """If this fails for a good reason: make attacks ARGS=--write."""
    assert committed() == markdown(every(results), notes(env))


def test_thief_with_the_keepers_key_is_good_at_it(results: dict[str, list[Result]]) -> None:
    """Or the bound it does not pass would mean little."""
    thief = results["stolen-keeper"]
    for words, percent in (("days", 98), ("behind the market", 95), ("only its own liquidity", 99)):
        result = found(thief, words)
        assert result.bound_e18 is not None
        assert percent * result.bound_e18 < 100 * result.lost_e18 <= 100 * result.bound_e18
        # What holders lose the thief has, but for what pools kept.
        assert 99 * result.lost_e18 < 100 * result.gained_e18


def test_nobody_gains_by_minting_and_redeeming(results: dict[str, list[Result]]) -> None:
    shares = [*results["rounding"], *results["stale-prices"], results["retargeting"][0]]
    shares += [*results["absorbed"], results["rates"][0]]

    assert [result.attack for result in shares if result.gained_e18 > 0] == []
    assert [result.attack for result in shares if result.lost_e18 > 0] == []


def test_only_these_have_no_promise(results: dict[str, list[Result]]) -> None:
    """A new one needs its reason in docs/security.md."""
    words = (
        "the payment token falls by 20 %",
        "repeatedly late by a minute, while nobody else pokes",
        "a second source, without any poke",
        "a newcomer deposits just before a gain",
        "returned and absorbed",
    )
    none = [result for result in every(results) if result.verdict == "no promise"]

    assert len(none) == len(words)
    for some in words:
        assert found(none, some).remark


def test_loss_of_a_token_is_borne_alike_whoever_acts_first(
    results: dict[str, list[Result]],
) -> None:
    *alike, returned = results["losses"]

    assert len(alike) == 5
    assert returned.bound_e18 is None
    for result in alike:
        assert result.lost_e18 <= bound(result) < 100  # units of 1e-18 dollars


def test_seized_token_is_not_bought_again(results: dict[str, list[Result]]) -> None:
    """What the vault had of it is a fifth of a million dollars."""
    (seized,) = results["seized"]

    assert " 0 purchases" in seized.best
    assert MILLION // 5 <= seized.lost_e18 <= MILLION // 5 * 1_002 // 1_000


def test_auction_left_open_cannot_be_resumed_after_a_poke(
    results: dict[str, list[Result]],
) -> None:
    left_open = [result for result in results["auctions"] if "left open" in result.attack]
    poked = [
        result
        for result in left_open
        if "while nobody" not in result.attack and "without any poke" not in result.attack
    ]

    assert (len(left_open), len(poked)) == (6, 4)
    assert [result.attack for result in poked if result.lost_e18 or result.gained_e18] == []
    for words, error in (
        ("guardian", "AuctionTermsVoid"),
        ("one late answer", "AuctionNotOpen"),
        ("grace", "AuctionNotOpen"),
        ("one poke", "NoAuction"),
    ):
        assert found(poked, words).best.endswith(error)


def test_what_was_due_unseen_starts_at_the_ramps_start(results: dict[str, list[Result]]) -> None:
    _, stranger, keeper, newborn = results["calendar"]

    assert (stranger.gained_e18, stranger.lost_e18) == (0, 0)
    assert "AccessManagedUnauthorized" in stranger.best
    for result in (keeper, newborn):
        assert result.lost_e18 < bound(result)
        assert "instead of 1.2 %" in result.best


def test_performance_fee_takes_nothing_where_nothing_was_gained(
    results: dict[str, list[Result]],
) -> None:
    for words in ("excluded", "dip of ether", "second source is off"):
        result = found(results["fees"], words)
        assert (result.gained_e18, result.lost_e18) == (0, 0)
    for result in results["emptied"]:
        assert result.gained_e18 < 0
        assert result.lost_e18 <= bound(result)


def test_market_as_second_source_stops_what_a_fundamental_feed_gives_away(
    results: dict[str, list[Result]],
) -> None:
    alone, checked = results["fundamental-feed"]

    assert alone.lost_e18 > 1_000 * checked.lost_e18
    assert checked.lost_e18 <= bound(checked)


def test_wrappers_that_are_given_to_paused_or_slashed_cost_no_more_than_a_trade(
    results: dict[str, list[Result]],
) -> None:
    donated, *paused, jumping, slashed = results["wrappers"]

    assert donated.gained_e18 <= 0
    for result in paused:
        assert (result.gained_e18, result.lost_e18 * 4 < bound(result)) == (0, True)
    for result in (jumping, slashed):
        # The thief takes nearly all that one trade may lose, and no more.
        assert 99 * bound(result) < 100 * result.lost_e18 <= 100 * bound(result)
    for result in results["wrappers"]:
        assert result.remark.count("a redemption in kind is paid at once") == 1


def test_quotes_are_good_for_their_own_chain_filler_vault_and_time(
    results: dict[str, list[Result]],
) -> None:
    (replayed,) = results["quotes"]

    assert "another chain: BadQuoteSignature" in replayed.best
    assert ": None" not in replayed.best
    assert (replayed.gained_e18, replayed.lost_e18) == (0, 0)


def test_lender_is_not_robbed_whether_it_asks_if_the_vault_is_locked_or_not(
    results: dict[str, list[Result]],
) -> None:
    careless, careful = results["read-only-reentrancy"]

    assert (careful.gained_e18, careful.best) == (0, "VaultLocked")
    assert (careless.gained_e18, careless.best) == (0, "LimitExceeded")
    assert careless.lost_e18 == careful.lost_e18 == 0


# The lab's own parts


def test_search_finds_the_top_of_a_hill() -> None:
    def height(at: tuple[int, ...]) -> int:
        return -((at[0] - 321) ** 2) - (at[1] + 77) ** 2

    x, y = best(height, [(-1_000, 1_000), (-1_000, 1_000)], points=9, rounds=6)

    assert abs(x - 321) <= 5
    assert abs(y + 77) <= 5


def test_search_goes_as_far_as_it_is_allowed() -> None:
    (found_at,) = best(lambda at: at[0] if at[0] <= 617 else None, [(0, 1_000)], rounds=8)

    assert 600 <= found_at <= 617


def test_search_among_refusals_alone_is_an_error() -> None:
    with pytest.raises(ValueError, match="refused"):
        best(lambda _: None, [(0, 10)])
    with pytest.raises(ValueError, match="empty"):
        best_of(lambda _: None, [(1,), (2,)])


def test_best_of_a_list_leaves_out_what_is_refused() -> None:
    assert best_of(lambda at: None if at[0] == 3 else at[0], [(1,), (3,), (2,)]) == (2,)


@pytest.mark.parametrize(("bound_e18", "verdict"), [(None, "no promise"), (100, "within"), (99, "BEYOND")])
def test_verdict_follows_from_loss_and_bound(bound_e18: int | None, verdict: str) -> None:
    assert Result("attack", "B", "best", 100, 100, bound_e18).verdict == verdict


def test_bound_of_promise_b_is_the_designs(env: AttackEnv) -> None:
    """0.5 % at once and 0.5 % a day; twice 0.5 % of 30 % at once, and of 30 % a day."""
    policy = env.snapshot().policy

    assert bound_b_e18(policy, 0) == MILLION * 5 // 1_000
    assert bound_b_e18(policy, 2 * 86_400) == MILLION * 15 // 1_000
    assert bound_b_e18(policy, 86_400, oracle_error_bps=50) == MILLION * (10 + 6) // 1_000


@pytest.mark.parametrize(
    ("usd_e18", "words"),
    [(0, "0"), (1_234_567 * 10**16, "12,345.67"), (-3 * 10**14, "-3.0e-04"), (1, "1.0e-18")],
)
def test_dollars_are_shown_to_the_first_figure_that_counts(usd_e18: int, words: str) -> None:
    assert dollars(usd_e18) == words


def test_gain_is_anothers_loss_where_nobody_else_trades(env: AttackEnv) -> None:
    """What rounding takes from one who mints and redeems is what the others have more."""
    tally = Tally()
    with env.undone(), env.counted(tally):
        env.mint(env.thief, MILLION)
        env.redeem(env.thief, MILLION)

    assert tally.gained_e18 == pytest.approx(tally.lost_e18, abs=10)
    assert tally.gained_e18 < 0


def test_table_replaces_only_what_is_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- attacks:begin -->\nold\n<!-- attacks:end -->\nafter\n")

    write("new", page)

    assert committed(page) == "new"
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")


def test_table_makes_a_page_where_there_is_none_and_refuses_one_without_markers(
    tmp_path: Path,
) -> None:
    write("new", tmp_path / "made.md")
    (tmp_path / "other.md").write_text("no markers\n")

    assert committed(tmp_path / "made.md") == "new"
    with pytest.raises(SystemExit, match="lacks"):
        write("new", tmp_path / "other.md")


def test_picture_is_drawn(env: AttackEnv, tmp_path: Path) -> None:
    tally = Tally(history=[(0, 0), (86_400, MILLION // 100)])

    path = draw(Loot(tally, env.snapshot().policy), tmp_path / "loot.png")

    assert path.read_bytes().startswith(PNG)
