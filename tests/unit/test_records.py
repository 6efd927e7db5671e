"""Records of a run, written line by line and read back."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rebalancer.errors import BadRecords, RecordsMissing
from rebalancer.lab.records import (
    KINDS,
    RebalanceRecord,
    Records,
    RecordWriter,
    RunRecord,
    TickRecord,
    read_records,
)
from rebalancer.units import E18

RUN = RunRecord(
    vault="0x00000000000000000000000000000000000000AA",
    chain_id=31337,
    tape="\u2028 a tape with a line break of its own",
    symbols=("WETH", "USDC"),
    decimals=(18, 6),
    targets_e18=(6 * E18 // 10, 4 * E18 // 10),
    bands_bps=(250, 250),
)
TICK = TickRecord(
    block=1,
    at=100,
    prices_e18=(2_000 * E18 + 1, E18),
    weights_e18=(6 * E18 // 10, 4 * E18 // 10),
    value_e18=10**24 + 1,
    share_price_e18=E18 + 1,
    hold_price_e18=E18,
)
REBALANCE = RebalanceRecord(
    block=2,
    at=200,
    tx_hash="0xab",
    epoch=0,
    reason="WETH is 2.6 % above its target",
    drift_before_bps=(260, -260),
    drift_after_bps=(1, -1),
    sold_raw=(10**18 + 1, 0),
    bought_raw=(0, 3_000_000_000),
    value_e18=10**24,
    sold_value_e18=26 * 10**21,
    loss_e18=-5,
    limit_e18=20 * 10**14,
    loss_left_e18=E18 // 100,
    turnover_left_e18=E18 // 2,
    gas_used=190_000,
    predicted_held_raw=(2**255, 7),
    actual_held_raw=(2**255, 7),
    bound_by="loss budget",
)


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.jsonl"
    with RecordWriter(path, RUN) as writer:
        writer.write(TICK)
        writer.write(REBALANCE)
        writer.write(TICK)

    assert read_records(path) == Records(RUN, (TICK, TICK), (REBALANCE,))


@pytest.fixture(scope="module")
def any_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file that every example writes anew."""
    return tmp_path_factory.mktemp("records") / "any.jsonl"


@given(
    number=st.integers(),
    words=st.text(),
    maybe=st.none() | st.text(),
    pair=st.tuples(st.integers(), st.integers()),
)
def test_any_number_and_word_survives(
    any_path: Path, number: int, words: str, maybe: str | None, pair: tuple[int, int]
) -> None:
    record = RebalanceRecord(
        number, number, words, number, words, pair, pair, pair, pair, number, number, number,
        number, number, number, number, pair, pair, maybe,
    )  # fmt: skip
    with RecordWriter(any_path, RUN) as writer:
        writer.write(record)

    assert read_records(any_path).rebalances == (record,)


def test_large_numbers_are_strings_that_every_json_reader_keeps(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RecordWriter(path, RUN) as writer:
        writer.write(REBALANCE)

    line = json.loads(path.read_text(encoding="utf-8").split("\n")[1])

    assert line["kind"] == "rebalance"
    assert line["sold_raw"] == ["1000000000000000001", "0"]
    assert line["loss_e18"] == "-5"
    assert (line["gas_used"], line["drift_before_bps"]) == (190_000, [260, -260])


def test_killed_run_loses_no_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    code = (
        "import os, signal, sys\n"
        "from rebalancer.lab.records import *\n"
        f"writer = RecordWriter({str(path)!r}, {RUN!r})\n"
        f"writer.write({TICK!r})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    killed = subprocess.run([sys.executable, "-c", code], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert read_records(path) == Records(RUN, (TICK,))


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RecordWriter(path, RUN) as writer:
        writer.write(TICK)
        writer.write(REBALANCE)
    path.write_bytes(path.read_bytes()[:-9])

    assert read_records(path) == Records(RUN, (TICK,))


def test_new_run_replaces_the_old_record(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RecordWriter(path, RUN) as writer:
        writer.write(TICK)

    RecordWriter(path, RUN).close()

    assert read_records(path) == Records(RUN)


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_read_of_no_file_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordsMissing, match=r"\.jsonl"):
        read_records(tmp_path / name)


def lines(*records: RunRecord | TickRecord | RebalanceRecord, at: Path) -> list[str]:
    with RecordWriter(at, RUN) as writer:
        for record in records:
            writer.write(record)
    return at.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"kind":"tick"', '"kind":"tock"', "whose kind is one of run, tick, rebalance"),
        ('"kind":"tick",', "", "whose kind is one of"),
        ('"at":100', '"at":100.5', "100.5 is not an integer"),
        ('"at":100', '"at":true', "True is not an integer"),
        ('"at":100', '"at":"x"', "invalid literal"),
        ('"at":100,', "", "missing 1 required"),
        ('"at":100', '"at":100,"sky":"blue"', "unexpected keyword argument 'sky'"),
        ('"at":100', '"at":100,"sky":1', "1 is not a string"),
        ('"at":100', '"at":100,,', "Expecting property name"),
        ('"600000000000000000",', "", "weights_e18 does not have one entry per asset"),
    ],
)
def test_read_of_a_spoilt_line_names_it(tmp_path: Path, old: str, new: str, why: str) -> None:
    path = tmp_path / "run.jsonl"
    run, first, second = lines(TICK, TICK, at=path)
    assert old in second
    path.write_text("\n".join((run, first, second.replace(old, new), "")), encoding="utf-8")

    with pytest.raises(BadRecords, match=why) as failure:
        read_records(path)

    assert (failure.value.path, failure.value.line) == (str(path), 3)


def test_read_of_records_without_their_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    run, first = lines(TICK, at=path)

    for text, line, why in (
        (f"{first}\n", 1, "the first line, and no other, must be a run"),
        (f"{run}\n{run}\n", 2, "must be a run"),
        ("", 1, "empty"),
        (run, 1, "empty"),  # torn in its first line
        ("[1]\n", 1, "not an object"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(BadRecords, match=why) as failure:
            read_records(path)
        assert failure.value.line == line


def test_every_field_of_a_record_is_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    table = manual.partition("## The demo's record")[2].partition("\n## ")[0]
    reported = {
        (kind, field)
        for kinds, names in re.findall(r"^\| ([a-z, ]+) \| (`[^|]+) \|", table, re.MULTILINE)
        for kind in kinds.split(", ")
        for field in re.findall(r"`(\w+)`", names)
    }

    assert reported == {(kind, field.name) for kind, made in KINDS.items() for field in fields(made)}
