"""A recorded day decides the same again, and says so when it does not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner

from rebalancer.cli.main import root
from rebalancer.devnet.environment import Actor, DevEnvironment
from rebalancer.errors import BadRecords, RecordInUse, RecordsMissing
from rebalancer.keeper import Keeper, KeeperContext, KeeperOptions
from rebalancer.keeper.recording import Recorder, read_day, replay
from rebalancer.keeper.report import Tick
from rebalancer.reasons import Reason
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from tests.commands import run
from tests.contract.test_keeper import UP_10_PERCENT, move

REASONS = [Reason.IN_BAND, Reason.REBALANCED, Reason.COOLDOWN, Reason.REBALANCED]


@pytest.fixture
def day(environment: DevEnvironment, tmp_path: Path) -> Path:
    """Two vaults from band to band, twice."""
    path = tmp_path / "day.jsonl"
    vaults = (environment.vault, environment.open_vault(1))
    with Outbox(tmp_path / "outbox.sqlite") as outbox, Recorder(path) as recorder:
        keeper = Keeper(
            environment.chain.rpc,
            KeeperContext.of(environment.deployment, vaults),
            [devnet_signer(Actor.KEEPER)],
            outbox,
            KeeperOptions(fee_cap_wei=10_000 * 10**9),
            observers=[recorder],
        )
        keeper.start()
        for prices, seconds in (
            ({}, 900),
            (UP_10_PERCENT, 900),
            ({"ETH/USD": 2_600_00000000}, 60),
            ({}, 7_200),
        ):
            move(environment, prices, seconds)
            keeper.tick()
    return path


def test_a_recorded_day_is_decided_the_same_again(day: Path, environment: DevEnvironment) -> None:
    ticks = list(replay(day))

    assert len(ticks) == 4
    assert [tick.decided for tick in ticks] == [2] * 4
    assert [tick.differences for tick in ticks] == [()] * 4
    reported: dict[str, list[Reason]] = {}
    for tick in ticks:
        for one in tick.decisions:
            reported.setdefault(one.vault, []).append(one.reason)
    # The one that is less far out comes last, when the other has traded.
    assert environment.vault in reported
    assert sorted(reported.values()) == [[*REASONS[:3], Reason.NOT_YET], REASONS]


def test_what_would_be_decided_otherwise_is_named_with_both_ways(day: Path) -> None:
    lines = day.read_text().splitlines()
    second = json.loads(lines[1])
    second["verdicts"][0]["sales_raw"][0] += 1
    second["verdicts"][1]["text"] = "another reason"
    lines[1] = json.dumps(second)
    day.write_text("\n".join(lines) + "\n")

    changed = list(replay(day))[1]

    assert len(changed.differences) == 2
    assert "sales_raw" in changed.differences[0]
    assert "another reason" in changed.differences[1]


def test_a_gzipped_record_that_broke_off_loses_its_last_line_alone(day: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl.gz"
    whole.write_bytes(gzip.compress(day.read_bytes()))
    assert len(list(replay(whole))) == 4
    plain = tmp_path / "broken.jsonl"
    plain.write_bytes(day.read_bytes()[:-7])
    assert len(list(replay(plain))) == 3
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(whole.read_bytes()[:-12])
    assert len(list(replay(broken))) < 4


def test_what_is_no_record_is_refused_with_its_line(day: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordsMissing):
        list(replay(tmp_path / "none.jsonl"))
    with pytest.raises(RecordsMissing):
        list(replay(tmp_path / "none.jsonl.gz"))
    lines = day.read_text().splitlines(keepends=True)
    day.write_text(lines[0] + '{"block": 3}\n')
    with pytest.raises(BadRecords) as bad:
        list(replay(day))
    assert bad.value.line == 2
    third = json.loads(lines[1])
    third["pools"] = {}
    day.write_text(json.dumps(third) + "\n")
    with pytest.raises(BadRecords, match="is neither in this line nor in an earlier one"):
        list(replay(day))


def test_the_command_shows_the_day_draws_it_and_ends_with_1_where_it_differs(day: Path, tmp_path: Path) -> None:
    picture = tmp_path / "day.png"
    same = CliRunner().invoke(root, ["replay", str(day), "--picture", str(picture)])
    assert same.exit_code == 0, same.output
    assert "4 ticks, 8 decisions repeated: all equal the record" in same.output
    assert same.output.count(Reason.REBALANCED.value) == 3
    assert same.output.count(Reason.NOT_YET.value) == 1, "the other vault has traded first"
    assert picture.stat().st_size > 10_000

    day.write_text(day.read_text().replace("every weight is inside", "no weight is outside", 1))
    other = CliRunner().invoke(root, ["replay", str(day), "--json"])
    assert other.exit_code == 1
    assert len(json.loads(other.output)["differences"]) == 1


def looks_of(environment: DevEnvironment, recorder: Recorder, *, count: int = 1) -> None:
    """So many looks by a keeper that was just started, each of which plans."""
    with recorder:
        keeper = Keeper(
            environment.chain.rpc,
            KeeperContext.of(environment.deployment, [environment.vault]),
            [devnet_signer(Actor.KEEPER)],
            None,
            KeeperOptions(dry_run=True),
            observers=[recorder],
        )
        for _ in range(count):
            environment.chain.mine()
            assert keeper.tick()[0].reason is Reason.DRY_RUN


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz"])
@pytest.mark.parametrize("cut", [1, 7, 2_000])
def test_a_keeper_continued_in_the_record_of_one_that_was_killed(
    environment: DevEnvironment, tmp_path: Path, name: str, cut: int
) -> None:
    path = tmp_path / name
    move(environment, UP_10_PERCENT)
    looks_of(environment, Recorder(path), count=2)
    looks_of(environment, Recorder(path), count=2)
    path.write_bytes(path.read_bytes()[:-cut])
    whole = len(list(replay(path)))
    assert whole < 4 or cut < 2_000

    looks_of(environment, Recorder(path), count=2)

    ticks = list(replay(path))
    assert len(ticks) == whole + 2
    assert all(tick.differences == () for tick in ticks)
    last = json.loads(_lines(path)[-2])
    assert len(last["pools"]) == len(last["in_use"]) > 0, "a restart writes all pools anew"


def _lines(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()


def test_a_record_that_cannot_be_written_holds_up_no_trade_and_is_tried_again(
    environment: DevEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "place" / "day.jsonl"
    (tmp_path / "place").write_text("a file where the folder should be")
    move(environment, UP_10_PERCENT)
    recorder = Recorder(path)
    looks_of(environment, recorder, count=2)
    (tmp_path / "place").unlink()
    looks_of(environment, recorder)
    assert not path.exists(), "it rests for a minute"

    monkeypatch.setattr("rebalancer.keeper.recording._BACKOFF_SECONDS", 0.0)
    looks_of(environment, Recorder(path))
    assert len(list(replay(path))) == 1
    full = Path("/dev/full")
    if full.exists():
        recorder = Recorder(full)
        monkeypatch.setattr("rebalancer.keeper.recording._repair", lambda path: None)
        looks_of(environment, recorder, count=2)
        assert recorder._file is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"mine"),
        ("notes.txt", b"mine, with an end of line\n"),
        ("notes.gz", b"mine"),
        ("notes.gz", gzip.compress(b"mine, well packed\n", mtime=0)),
        ("day.jsonl", b'{"chain_id":31337,"block":{}}\n\x00\x00\x00'),
    ],
)
def test_what_is_no_record_stays_as_it_is_and_a_new_file_follows_it(
    environment: DevEnvironment, tmp_path: Path, name: str, content: bytes
) -> None:
    move(environment, UP_10_PERCENT)
    path = tmp_path / name
    path.write_bytes(content)
    stem, _, suffix = name.partition(".")

    looks_of(environment, Recorder(path))
    looks_of(environment, Recorder(path))

    assert path.read_bytes() == content
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"{stem}-2.{suffix}", name]
    assert len(list(replay(tmp_path / f"{stem}-2.{suffix}"))) == 2


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz"])
def test_one_keeper_writes_a_record(environment: DevEnvironment, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    move(environment, UP_10_PERCENT)
    tick = seen(environment)
    with Recorder(path) as first, Recorder(path) as second:  # both start before there is a file
        with structlog.testing.capture_logs() as logs:
            for each in (first, second, first, second):
                each(tick)
        assert [line["event"] for line in logs] == ["not_recorded"]
        assert "Another keeper writes the record" in logs[0]["why"]
        with pytest.raises(RecordInUse, match="give each keeper its own"), Recorder(path):
            pass

    assert [tick.differences for tick in replay(path)] == [(), ()]
    with Recorder(path) as second:
        second(tick)
    assert len(list(replay(path))) == 3, "the lock ends with who holds it"


def seen(environment: DevEnvironment) -> Tick:
    """A look at the stage."""
    ticks: list[Tick] = []
    keeper = Keeper(
        environment.chain.rpc,
        KeeperContext.of(environment.deployment, [environment.vault]),
        [devnet_signer(Actor.KEEPER)],
        None,
        KeeperOptions(dry_run=True),
        observers=[ticks.append],
    )
    keeper.tick()
    return ticks[-1]


def test_a_record_may_be_of_one_chain_and_of_one_day(environment: DevEnvironment, tmp_path: Path) -> None:
    move(environment, UP_10_PERCENT)
    looks_of(environment, Recorder(tmp_path / "other.jsonl", [10]))
    looks_of(environment, Recorder(tmp_path / "day-%Y.jsonl", [31337]))

    (path,) = tmp_path.glob("*.jsonl")
    assert path.name.removeprefix("day-20")[:2].isdigit()
    assert len(list(replay(path))) == 1


def test_a_long_record_is_gzipped_in_pieces_that_read_as_one(
    environment: DevEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rebalancer.keeper.recording._MEMBER_LINES", 2)
    path = tmp_path / "day.jsonl.gz"
    move(environment, UP_10_PERCENT)
    looks_of(environment, Recorder(path), count=5)

    assert len(list(replay(path))) == 5
    assert path.read_bytes().count(b"\x1f\x8b\x08") >= 3


def test_words_of_a_record_steer_no_terminal(day: Path) -> None:
    lines = [json.loads(line) for line in day.read_text().splitlines()]
    for line in lines:
        for decision in line["decisions"]:
            decision["text"] = "\x1b[7m[/nope]\u202e\n" + decision["text"]
    day.write_text("".join(json.dumps(line) + "\n" for line in lines))

    ran = CliRunner().invoke(root, ["replay", str(day), "--all"])

    assert ran.exit_code == 0, ran.output
    assert "\x1b" not in ran.output
    assert "\u202e" not in ran.output
    assert "[7m[/nope]" in ran.output


def test_a_gzipped_record_that_is_a_bomb_is_refused_and_a_long_one_is_not(
    environment: DevEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "day.jsonl"
    move(environment, UP_10_PERCENT)
    looks_of(environment, Recorder(path), count=2)
    first, second = path.read_bytes().splitlines(keepends=True)
    monkeypatch.setattr("rebalancer.keeper.recording._MOST_LINE_BYTES", 2 * len(first))
    monkeypatch.setattr("rebalancer.keeper.recording._MOST_RATIO", 3)
    bomb = tmp_path / "bomb.jsonl.gz"
    bomb.write_bytes(gzip.compress(first + second * 200))

    with pytest.raises(BadRecords, match="more than 3 times as large as its compressed form"):
        list(read_day(bomb))

    bomb.write_bytes(gzip.compress(first + second * 200, compresslevel=0))
    assert len(list(read_day(bomb))) == 201


def test_a_gzipped_record_that_is_damaged_is_refused(environment: DevEnvironment, tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl.gz"
    move(environment, UP_10_PERCENT)
    looks_of(environment, Recorder(path), count=2)
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)
    path.write_bytes(content)

    with pytest.raises(BadRecords):
        list(replay(path))


def test_a_damaged_record_is_shown_up_to_the_damage(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = day.read_text().splitlines(keepends=True)
    day.write_text("".join(lines[:2]) + lines[2][:300] + "\n" + lines[3])

    shown, reported = run(capsys, "replay", day), run(capsys, "replay", day, "--json")

    assert "2 ticks, 4 decisions repeated: all equal the record." in shown.out
    assert f"The record {day} is invalid from line 3 on" in shown.sentence
    assert (shown.code, reported.code) == (1, 1)
    assert (reported.json["ticks"], reported.json["ends_at_line"]) == ("2", "3")
    day.write_text("nothing of it\n")
    none = run(capsys, "replay", day)
    assert (none.out, none.code) == ("", 1)
