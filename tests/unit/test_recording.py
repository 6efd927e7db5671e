"""A record of looks: cut off at any byte it goes on, damaged it stays as it is, and what it says decides the same again."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rebalancer.block import Block
from rebalancer.errors import BadRecords, RecordInUse, RecordsMissing
from rebalancer.keeper import recording as module
from rebalancer.keeper.decide import Conditions, decide
from rebalancer.keeper.recording import Recorder, read_day, replay
from rebalancer.keeper.report import Tick, TickInputs
from rebalancer.reasons import Reason
from tests.ticks import NOON, decision, tick
from tests.unit.test_decide import seen
from tests.unit.test_plan import BITCOIN, DOLLAR, ETHER, POOLS

TOKENS = (BITCOIN, DOLLAR, ETHER)
BEGINNING = b'{"chain_id":'


def tick_at(number: int = 0, at: float = NOON, pools: Any = POOLS, chain_id: int = 1) -> Tick:
    """A look at a vault that is rebalanced."""
    verdict = decide(seen(), pools, Conditions(number))
    inputs = TickInputs((verdict,), tuple(pools), Conditions(number), TOKENS, frozenset())
    return tick(
        at,
        chain_id=chain_id,
        block=Block(100 + number, f"0x{number:064x}", int(at)),
        inputs=inputs,
        decisions=(decision(at=at, transaction_hash="0xaa", kind="rebalance"),),
    )


def record(path: Path, *ticks: Tick, **more: Any) -> None:
    with Recorder(path, **more) as recorder:
        for one in ticks:
            recorder(one)


def numbers(path: Path) -> list[int]:
    """The ticks of a record."""
    return [one.block.number - 100 for one in replay(path)]


@pytest.fixture(params=["day.jsonl", "day.jsonl.gz"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / "deep" / str(request.param)


def content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def test_looks_are_replayed_as_they_were_and_decided_the_same_again(path: Path) -> None:
    given = [tick_at(0), tick_at(1), tick_at(2, pools=POOLS[:2]), tick_at(0, chain_id=10)]
    record(path, *given)

    found = list(replay(path))

    assert [one.chain_id for one in found] == [1, 1, 1, 10]
    assert [one.block for one in found] == [one.block for one in given]
    assert [(one.decided, one.differences) for one in found] == [(1, ())] * 4
    reported = found[0].decisions[0]
    assert (reported.vault, reported.reason, reported.text, reported.epoch, reported.drift_bps) == (
        *(decision().vault, decision().reason, decision().text),
        *(decision().epoch, decision().drift_bps),
    )
    assert (reported.transaction_hash, reported.kind) == ("0xaa", "rebalance")
    lines = [json.loads(line) for line in content(path).splitlines()]
    assert [len(line["pools"]) for line in lines] == [3, 0, 0, 3], "each chain has its own"
    assert [len(line["in_use"]) for line in lines] == [3, 3, 2, 3]
    days = list(read_day(path))
    assert [number for number, _, _ in days] == [1, 2, 3, 4]
    assert set(days[-1][2]) == {pool.key for pool in POOLS}


def test_a_pool_is_written_again_when_it_has_changed(path: Path) -> None:
    moved = POOLS[0].swapped(BITCOIN.address, ETHER.address, 10**8)[1]
    pools = (moved, *POOLS[1:])
    record(path, tick_at(0), tick_at(1, pools=pools), tick_at(2, pools=pools))

    lines = [json.loads(line) for line in content(path).splitlines()]

    assert [list(line["pools"]) for line in lines][1:] == [[moved.key], []]
    assert [one.differences for one in replay(path)] == [()] * 3


def test_what_would_be_decided_otherwise_is_named_field_by_field(path: Path) -> None:
    record(path, tick_at(0))
    line = json.loads(content(path))
    line["verdicts"][0]["text"] = "another"
    line["verdicts"][0]["sales_raw"][0] += 1
    plain = path.with_name("changed.jsonl")
    plain.write_text(json.dumps(line) + "\n")

    ((difference,),) = [one.differences for one in replay(plain)]

    vault, _, reported = difference.partition(": ")
    assert vault == seen().address
    assert set(json.loads(reported)) == {"text", "sales_raw"}
    assert json.loads(reported)["text"][0] == "another"
    line["verdicts"][0]["reason"] = Reason.NOT_YET.value
    plain.write_text(json.dumps(line) + "\n")
    (again,) = replay(plain)
    assert (again.decided, again.differences) == (0, ()), "it depends on when it was looked"


def test_a_record_cut_off_at_any_byte_loses_its_last_line_alone_and_goes_on(path: Path) -> None:
    record(path, tick_at(0))
    record(path, tick_at(1))
    first = path.read_bytes()
    record(path, tick_at(2))
    whole = path.read_bytes()
    step = max(1, (len(whole) - len(first)) // 23)
    cuts = {*range(len(first), len(whole) + 1, step), len(first) + 1, len(first) + 5}
    for cut in sorted({*cuts, len(whole) - 1, len(whole)}):
        path.write_bytes(whole[:cut])
        before = numbers(path)
        assert before in ([0, 1], [0, 1, 2])
        record(path, tick_at(3))
        found = numbers(path)
        assert found in ([0, 1, 3], [0, 1, 2, 3]), cut
        assert found[: len(before)] == before
        assert (cut == len(whole)) <= (2 in found)
        assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_plain_record_with_a_line_longer_than_a_piece_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 64)
    for name in ("day.jsonl", "day.jsonl.gz"):
        path = tmp_path / name
        record(path, tick_at(0))
        first = path.read_bytes()
        record(path, tick_at(1))
        path.write_bytes(path.read_bytes()[:-9])
        record(path, tick_at(2))
        assert numbers(path) in ([0, 2], [0, 1, 2])
        assert path.read_bytes().startswith(first)
        path.write_bytes(first[: len(first) // 2])
        record(path, tick_at(3))
        assert numbers(path) == [3]


def test_a_file_that_is_no_record_stays_and_the_next_is_written(path: Path) -> None:
    path.parent.mkdir()
    zipped = path.suffix == ".gz"
    bad = gzip.compress(b"not ours\n") if zipped else b"not ours\n"
    second = path.with_name("day-2.jsonl" + (".gz" if zipped else ""))
    third = path.with_name("day-3.jsonl" + (".gz" if zipped else ""))
    path.write_bytes(bad)
    second.write_bytes(bad)
    with capture_logs() as logs:
        record(path, tick_at(0))
    assert [
        (Path(one["file"]).name, Path(one["continued_in"]).name) for one in logs if one["event"] == "record_damaged"
    ] == [(path.name, second.name), (second.name, third.name)]

    assert (path.read_bytes(), second.read_bytes()) == (bad, bad)
    assert numbers(third) == [0]


def test_a_plain_record_with_another_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    record(path, tick_at(0))
    path.write_bytes(path.read_bytes() + b"\x00\x00")
    record(path, tick_at(1))

    assert numbers(path.with_name("day-2.jsonl")) == [1]


@pytest.mark.parametrize("start", [b"", BEGINNING[:5], BEGINNING, BEGINNING + b"1, "])
def test_a_record_that_has_only_begun_is_begun_anew(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "day.jsonl"
    path.write_bytes(start)
    record(path, tick_at(0))

    assert numbers(path) == [0]
    assert content(path).startswith(BEGINNING)


def test_damage_inside_a_gzipped_record_leaves_it_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "day.jsonl.gz"
    record(path, tick_at(0))
    record(path, tick_at(1))
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 0xFF
    path.write_bytes(data)
    record(path, tick_at(2))
    assert path.read_bytes() == data
    assert numbers(path.with_name("day-2.jsonl.gz")) == [2]
    path = tmp_path / "large.jsonl.gz"
    record(path, tick_at(0))
    size = len(content(path))
    monkeypatch.setattr(module, "_MOST_MEMBER_BYTES", size)
    record(path, tick_at(1))
    assert numbers(path) == [0, 1]
    monkeypatch.setattr(module, "_MOST_MEMBER_BYTES", size - 1)
    with capture_logs() as logs:
        record(path, tick_at(2))
    assert "larger than a keeper" in logs[0]["why"]


def test_so_many_lines_are_gzipped_together_and_a_new_day_has_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MEMBER_LINES", 2)
    path = tmp_path / "%Y-%m-%d.jsonl.gz"
    before = len(list(Path("/proc/self/fd").iterdir()))
    record(path, *(tick_at(number) for number in range(5)), tick_at(5, at=NOON + 86_400))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    first, second = sorted(tmp_path.iterdir())

    assert (first.name, second.name) == ("2025-06-15.jsonl.gz", "2025-06-16.jsonl.gz")
    data, members = first.read_bytes(), 0
    while data:
        reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
        lines = reader.decompress(data).count(b"\n")
        members += 1
        assert lines == (2 if members < 3 else 1)
        data = reader.unused_data
    assert members == 3
    assert numbers(first) == list(range(5))
    assert numbers(second) == [5], "it has all pools that a replay needs"


def test_what_is_written_can_be_read_while_the_keeper_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    with Recorder(path) as recorder:
        for number in range(3):
            recorder(tick_at(number))
            assert numbers(path) == list(range(number + 1))


def test_only_looks_that_say_something_of_the_chains_named_are_written(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    nothing = replace(tick_at(1), inputs=TickInputs((), (), Conditions(0), (), frozenset()), decisions=())
    reported = replace(tick_at(2), inputs=TickInputs((), (), Conditions(0), (), frozenset()))
    others = [
        replace(tick_at(3), inputs=None),
        replace(tick_at(4), block=None),
        tick_at(5, chain_id=10),
    ]
    record(path, tick_at(0), nothing, reported, *others, chain_ids=[1])

    assert numbers(path) == [0, 2]
    record(path, tick_at(6, chain_id=10))
    assert numbers(path) == [0, 2, 6]


def test_a_file_that_another_process_writes_is_left_to_it(path: Path) -> None:
    with Recorder(path) as first:
        first(tick_at(0))
        with pytest.raises(RecordInUse), Recorder(path):
            pass
        second = Recorder(path)
        with capture_logs() as logs:
            for after in (0.0, 59.9, 60.0, 120.0):
                second(tick_at(1, at=NOON + after))
        assert [one["event"] for one in logs] == ["not_recorded"] * 3
        assert logs[0]["file"] == str(path)
    second(tick_at(2, at=NOON + 179))
    second(tick_at(3, at=NOON + 180))
    second.close()

    assert numbers(path) == [0, 3]


def test_a_disk_that_is_full_loses_looks_and_no_keeper(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    recorder = Recorder(path)
    recorder(tick_at(0))
    with monkeypatch.context() as patch, capture_logs() as logs:

        def full(_path: Path) -> Any:
            raise OSError(28, "No space left on device")

        patch.setattr(module, "_appended", full)
        patch.setattr(module, "_MEMBER_LINES", 1)
        recorder(tick_at(1))
    assert [one["event"] for one in logs] == ["not_recorded"]
    recorder(tick_at(2, at=NOON + 60))
    recorder.close()
    recorder.close()

    assert numbers(path) == [0, 2]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(RecordInUse), Recorder(path), Recorder(path):
        pass
    folder = path.parent / "folder.jsonl"
    folder.mkdir()
    with Recorder(folder):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_no_record_is_refused_with_its_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordsMissing, match="day"):
        list(replay(path))
    record(path, tick_at(0), tick_at(1))
    lines = content(path).splitlines(keepends=True)

    def written(*parts: bytes) -> BadRecords:
        data = b"".join(parts)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        with pytest.raises(BadRecords) as caught:
            list(replay(path))
        assert caught.value.path == str(path)
        return caught.value

    assert written(lines[0], b'{"chain_id": 1}\n').line == 2
    alone = written(lines[1])
    assert alone.line == 1
    assert POOLS[0].key in str(alone)
    wrong = json.loads(lines[0]) | {"chain_id": None}
    assert written(lines[0], json.dumps(wrong).encode() + b"\n").line == 2
    broken = json.loads(lines[0])
    broken["pools"][POOLS[0].key] = {"kind": "none of ours"}
    assert written(json.dumps(broken).encode() + b"\n").line == 1
    longest = max(map(len, lines))
    monkeypatch.setattr(module, "_MOST_LINE_BYTES", longest)
    path.write_bytes(gzip.compress(b"".join(lines)) if path.suffix == ".gz" else b"".join(lines))
    assert numbers(path) == [0, 1]
    monkeypatch.setattr(module, "_MOST_LINE_BYTES", longest - 1)
    found = written(*lines)
    assert (found.line, "it has more than" in str(found)) == (1, True)


def test_what_follows_a_gzipped_record_and_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl.gz"
    record(path, tick_at(0))
    path.write_bytes(path.read_bytes() + b"more")

    with pytest.raises(BadRecords, match="cannot be read") as caught:
        list(replay(path))

    assert (caught.value.path, caught.value.line) == (str(path), 2)


def test_a_record_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "day.jsonl.gz"
    record(path, tick_at(0))
    line = content(path)
    padded = line[:-2] + b" " * 200_000 + b"}\n"
    path.write_bytes(gzip.compress(padded))
    assert numbers(path) == [0]
    monkeypatch.setattr(module, "_MOST_LINE_BYTES", len(padded))
    monkeypatch.setattr(module, "_MOST_RATIO", 2)
    assert numbers(path) == [0], "judged from the longest line on"
    path.write_bytes(gzip.compress(padded * 2))
    with pytest.raises(BadRecords, match="2 times as large") as caught:
        list(replay(path))
    assert caught.value.line == 2


def test_what_was_decided_is_shown_without_what_a_terminal_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    bad = decision(text="red \x1b[31m text")
    record(path, replace(tick_at(0), decisions=(bad,)))
    (found,) = replay(path)

    assert "\x1b" not in found.decisions[0].text
