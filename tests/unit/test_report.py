"""What a run is made into: figures, a table, a chart."""

from __future__ import annotations

import csv
import importlib.util
import random
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, localcontext
from io import StringIO
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from rebalancer.devnet.tape import synthetic
from rebalancer.errors import ChartFormatUnknown, ChartingMissing
from rebalancer.lab.chart import POINTS, _apart, chart, thinned
from rebalancer.lab.records import RebalanceRecord, Records, RunRecord, TickRecord, write_tables
from rebalancer.lab.report import summarise, summary_table
from rebalancer.units import E18

SYMBOLS = ("WETH", "WBTC", "USDC")
FEEDS = ("ETH/USD", "BTC/USD", "USDC/USD")
DECIMALS = (18, 8, 6)
TARGETS_E18 = (4 * E18 // 10, 3 * E18 // 10, 3 * E18 // 10)
BANDS_BPS = (250, 250, 250)
SHARES_RAW = 1_000 * 10**18


def simulated_run(days: float, count: int = 3) -> Records:
    """A vault on a synthetic market that trades back to target at a cost of 2 to 18 bps.

    `count` keeps the first so many assets, at equal targets unless all three are kept.
    """
    targets = TARGETS_E18 if count == len(SYMBOLS) else (E18 // count,) * count
    run = RunRecord(
        vault="0x00000000000000000000000000000000000000AA",
        chain_id=31337,
        tape="a synthetic tape",
        symbols=SYMBOLS[:count],
        decimals=DECIMALS[:count],
        targets_e18=targets,
        bands_bps=BANDS_BPS[:count],
    )
    chance = random.Random(11)
    tape = synthetic(11, days)
    prices = tape.first_prices_e8
    value_e18 = 1_000_000 * E18
    units = [10**decimals for decimals in run.decimals]
    # {tok} = {USD e18} * {1e18} * {raw per token} / ({USD e8 per token} * 1e10 * 1e18)
    held = [
        value_e18 * target * unit // (prices[feed] * 10**10 * E18)
        for target, unit, feed in zip(targets, units, FEEDS, strict=False)
    ]
    first_held = list(held)
    ticks: list[TickRecord] = []
    rebalances: list[RebalanceRecord] = []

    def values(amounts: list[int]) -> list[int]:
        pairs = zip(amounts, units, FEEDS, strict=False)
        return [amount * prices[feed] * 10**10 // unit for amount, unit, feed in pairs]

    def drift_bps(worth: list[int]) -> tuple[int, ...]:
        total = sum(worth)
        return tuple(
            (one * 10_000 - target * total * 10_000 // E18) // total for one, target in zip(worth, targets, strict=True)
        )

    for number, step in enumerate(tape.steps()):
        prices |= step.prices_e8
        worth = values(held)
        before = drift_bps(worth)
        if any(abs(bps) > band for bps, band in zip(before, run.bands_bps, strict=True)):
            total = sum(worth)
            goals = [target * total // E18 for target in targets]
            cost_bps = chance.randint(2, 18)
            gaps = [goal - one for goal, one in zip(goals, worth, strict=True)]
            sold_value = -sum(gap for gap in gaps if gap < 0)
            moved = [gap if gap < 0 else gap * (10_000 - cost_bps) // 10_000 for gap in gaps]
            raw = [gap * unit // (prices[feed] * 10**10) for gap, unit, feed in zip(moved, units, FEEDS, strict=False)]
            held = [have + change for have, change in zip(held, raw, strict=True)]
            worth = values(held)
            rebalances.append(
                RebalanceRecord(
                    block=number,
                    at=step.at,
                    tx_hash=f"0x{chance.getrandbits(256):064x}",
                    epoch=len(rebalances),
                    reason="a weight left its band",
                    drift_before_bps=before,
                    drift_after_bps=drift_bps(worth),
                    sold_raw=tuple(max(0, -change) for change in raw),
                    bought_raw=tuple(max(0, change) for change in raw),
                    value_e18=total,
                    sold_value_e18=sold_value,
                    loss_e18=total - sum(worth),
                    limit_e18=chance.choice((20, 20, 20, 26, 35)) * 10**14,
                    loss_left_e18=E18 // 100,
                    turnover_left_e18=E18 // 2,
                    gas_used=chance.randint(185_000, 215_000),
                    predicted_held_raw=tuple(held),
                    actual_held_raw=tuple(held),
                )
            )
        total = sum(worth)
        ticks.append(
            TickRecord(
                block=number,
                at=step.at,
                prices_e18=tuple(prices[feed] * 10**10 for feed, _ in zip(FEEDS, units, strict=False)),
                weights_e18=tuple(one * E18 // total for one in worth),
                value_e18=total,
                share_price_e18=total * E18 // SHARES_RAW,
                hold_price_e18=sum(values(first_held)) * E18 // SHARES_RAW,
            )
        )
    return Records(run, tuple(ticks), tuple(rebalances))


EMPTY = Records(RunRecord("0xAA", 31337, "no tape", ("WETH",), (18,), (E18,), (250,)))


def tick(at: int, share_usd: int, hold_usd: int) -> TickRecord:
    return TickRecord(
        block=at,
        at=at,
        prices_e18=(2_000 * E18,),
        weights_e18=(E18,),
        value_e18=1_000 * E18,
        share_price_e18=share_usd * E18,
        hold_price_e18=hold_usd * E18,
    )


REBALANCE = RebalanceRecord(
    block=7,
    at=100,
    tx_hash="0x07",
    epoch=0,
    reason="a weight left its band",
    drift_before_bps=(-320,),
    drift_after_bps=(-12,),
    sold_raw=(0,),
    bought_raw=(5,),
    value_e18=1_000 * E18,
    sold_value_e18=100 * E18,
    loss_e18=E18 // 10,
    limit_e18=10 * 10**14,
    loss_left_e18=E18 // 200,
    turnover_left_e18=E18 // 4,
    gas_used=190_000,
    predicted_held_raw=(17,),
    actual_held_raw=(17,),
)


# FIGURES


def test_rebalance_at_exactly_its_limit_is_within_it() -> None:
    assert REBALANCE.loss_bps == 10.0
    assert REBALANCE.within_limit
    assert not replace(REBALANCE, loss_e18=REBALANCE.loss_e18 + 1).within_limit
    assert replace(REBALANCE, sold_value_e18=0, loss_e18=0).loss_bps == 0.0


def test_summary_of_nothing_is_zero() -> None:
    summary = summarise(EMPTY)

    assert (summary.ticks, summary.rebalances, summary.seconds) == (0, 0, 0)
    assert (summary.loss_of_sold_bps, summary.vault_return_bps) == (0.0, 0.0)
    assert summary.gas_per_rebalance == 0


def test_summary_adds_up_what_the_records_say() -> None:
    worse = replace(
        REBALANCE,
        drift_before_bps=(400,),
        drift_after_bps=(251,),
        value_e18=2_000 * E18,
        sold_value_e18=300 * E18,
        loss_e18=E18,
        gas_used=210_001,
        actual_held_raw=(18,),
        bound_by="turnover budget",
    )
    ticks = (tick(1_000, 100, 100), tick(8_200, 110, 104))

    summary = summarise(Records(EMPTY.run, ticks, (REBALANCE, REBALANCE, worse)))

    assert (summary.ticks, summary.rebalances, summary.seconds) == (2, 3, 7_200)
    assert (summary.max_drift_before_bps, summary.max_drift_after_bps) == (400, 251)
    assert (summary.left_outside, summary.over_limit, summary.mismatches) == (1, 1, 1)
    assert summary.sold_value_e18 == 500 * E18
    assert summary.loss_e18 == 12 * E18 // 10
    assert summary.loss_of_sold_bps == pytest.approx(24)  # 1.2 of 500
    assert summary.loss_of_vault_bps == pytest.approx(1 + 1 + 5)  # 0.1 of 1,000 twice, 1 of 2,000
    assert summary.vault_return_bps == pytest.approx(1_000)
    assert summary.hold_return_bps == pytest.approx(400)
    assert (summary.gas_used, summary.gas_per_rebalance) == (590_001, 196_667)


def test_weight_exactly_on_its_band_is_not_outside() -> None:
    on_band = replace(REBALANCE, drift_after_bps=(-250,))

    assert summarise(Records(EMPTY.run, (), (on_band,))).left_outside == 0


def test_table_shows_the_figures_and_flags_what_is_wrong() -> None:
    late = replace(REBALANCE, loss_e18=E18, actual_held_raw=(16,))
    ticks = (tick(0, 100, 100), tick(90_000, 101, 103))
    console = Console(width=100, record=True, file=StringIO())

    console.print(summary_table(summarise(Records(EMPTY.run, ticks, (REBALANCE, late)))))
    text = console.export_text()

    assert re.search(r"Rebalances +│ 2 in 1 d 1 h, 2 ticks", text)
    assert re.search(r"Largest drift +│ 3\.20 % before", text)
    assert re.search(r"Above the loss limit +│ 1 rebalance ", text)
    assert re.search(r"Ledger mismatches +│ 1 rebalance ", text)
    assert re.search(r"Difference +│ -2\.00 %", text)
    assert re.search(r"Gas +│ 380,000, 190,000 per rebalance", text)


def test_table_of_a_run_without_rebalances_says_nothing_of_them() -> None:
    """Its weights drifted, so a largest drift of 0 would not be true."""
    console = Console(width=100, record=True, file=StringIO())

    console.print(summary_table(summarise(EMPTY)))
    text = console.export_text()

    assert re.search(r"Rebalances +│ 0 in", text)
    assert "Largest drift" not in text
    assert "Cost" not in text


# CHART


def test_table_shows_the_difference_of_the_figures_that_it_shows() -> None:
    summary = replace(summarise(EMPTY), vault_return_bps=607.6, hold_return_bps=605.4, sold_value_e18=0)
    console = Console(width=100, record=True, file=StringIO())
    console.print(summary_table(summary))
    console.print(summary_table(replace(summary, vault_return_bps=-0.2, hold_return_bps=0.2)))
    text = console.export_text()

    assert re.findall(r"(?:share|holding|Difference) +│ (\S+ %)", text) == [
        *("+6.08 %", "+6.05 %", "+0.03 %"),
        *("+0.00 %", "+0.00 %", "+0.00 %"),
    ]


def test_thinned_line_keeps_its_ends_its_extremes_and_its_order() -> None:
    chance = random.Random(3)
    at = list(range(50_000))
    line = [chance.gauss(0, 1) for _ in at]

    thin_at, thin = thinned(at, line)

    assert len(thin) <= POINTS + 2
    assert (thin_at[0], thin_at[-1]) == (0, 49_999)
    assert (min(thin), max(thin)) == (min(line), max(line))
    assert thin_at == sorted(set(thin_at))
    assert all(line[when] == value for when, value in zip(thin_at, thin, strict=True))


def test_short_line_stays_whole() -> None:
    assert thinned([3, 4, 9], [1.0, 2.0, 0.0]) == ([3, 4, 9], [1.0, 2.0, 0.0])


def words(svg: Path) -> list[str]:
    """Every text of an SVG: matplotlib draws letters as paths and keeps the text as a comment."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text(encoding="utf-8"))


def test_chart_of_a_long_run_is_legible_and_light(tmp_path: Path) -> None:
    run = simulated_run(days=300)
    assert len(run.rebalances) >= 10
    assert len(run.ticks) > 10_000

    svg = chart(run, tmp_path / "new" / "run.svg")
    png = chart(run, tmp_path / "run.png")

    assert svg.stat().st_size < 1_000_000
    assert png.stat().st_size < 1_000_000
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")  # noqa: S314 # drawn just above
    shown = words(svg)
    assert "40 % WETH · 30 % WBTC · 30 % USDC" in shown
    assert f"a synthetic tape · {len(run.rebalances)} rebalances" in " ".join(shown)
    assert {"Weight of each asset (% of the vault's value)", "42.5 %", "37.5 %", "WBTC"} <= {*shown}
    vault, hold = run.ticks[-1].share_price_e18, run.ticks[-1].hold_price_e18
    assert f"vault {vault * 100 / run.ticks[0].share_price_e18:.2f}" in shown
    assert f"holding {hold * 100 / run.ticks[0].hold_price_e18:.2f}" in shown


def test_labels_that_would_lie_upon_each_other_are_moved_apart() -> None:
    assert _apart([1.0, 5.0, 9.0], 2.0) == [1.0, 5.0, 9.0]
    assert _apart([5.0, 5.0, 5.0], 2.0) == [3.0, 5.0, 7.0]
    assert _apart([], 2.0) == []
    chance = random.Random(4)
    for _ in range(100):
        places = sorted(chance.uniform(0, 20) for _ in range(8))
        moved = _apart(places, 2.0)
        assert all(b - a >= 2 - 1e-9 for a, b in pairwise(moved))
        assert sum(moved) == pytest.approx(sum(places))


def test_tables_hold_exact_decimals_a_line_an_event(tmp_path: Path) -> None:
    run = simulated_run(days=60)

    ticks, rebalances = (
        list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in write_tables(run, tmp_path)
    )

    assert len(ticks) == len(run.ticks)
    assert len(rebalances) == len(run.rebalances)
    with localcontext(prec=80):
        for row, tick in zip(ticks, run.ticks, strict=True):
            assert int(row["at"]) == tick.at == datetime.fromisoformat(row["time_utc"]).timestamp()
            assert Decimal(row["value_usd"]) * E18 == tick.value_e18
            for i, symbol in enumerate(run.run.symbols):
                assert Decimal(row[f"prices_usd {symbol}"]) * E18 == tick.prices_e18[i]
                assert Decimal(row[f"weights {symbol}"]) * E18 == tick.weights_e18[i]
        for row, one in zip(rebalances, run.rebalances, strict=True):
            for i, symbol in enumerate(run.run.symbols):
                sold = Decimal(row[f"sold {symbol}"]) * 10 ** run.run.decimals[i]
                assert sold == one.sold_raw[i]
                assert int(row[f"drift_before_bps {symbol}"]) == one.drift_before_bps[i]
            assert Decimal(row["loss_usd"]) * E18 == one.loss_e18


def test_a_sentence_of_a_table_is_no_formula(tmp_path: Path) -> None:
    run = simulated_run(days=60)
    first = replace(run.rebalances[0], reason="=1+1", loss_e18=-E18 // 2)

    _, path = write_tables(replace(run, rebalances=(first,)), tmp_path)

    (row,) = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert (row["reason"], row["loss_usd"]) == ("'=1+1", "-0.5")


def test_chart_marks_every_trade_of_every_asset(tmp_path: Path) -> None:
    def marks(*rebalances: RebalanceRecord) -> int:
        svg = chart(replace(run, rebalances=rebalances), tmp_path / "run.svg")
        return svg.read_text(encoding="utf-8").count("<use ")

    run = simulated_run(days=60)
    first, *others = run.rebalances
    whole = marks(first, *others)

    for index in range(3):
        without = replace(
            first,
            sold_raw=tuple(raw if at != index else 0 for at, raw in enumerate(first.sold_raw)),
            bought_raw=tuple(raw if at != index else 0 for at, raw in enumerate(first.bought_raw)),
        )
        assert without != first
        assert whole - marks(without, *others) == 1


def test_chart_of_one_run_is_one_file(tmp_path: Path) -> None:
    run = simulated_run(days=5)

    first, second = chart(run, tmp_path / "a.svg"), chart(run, tmp_path / "b.svg")

    assert first.read_bytes() == second.read_bytes()


def test_chart_of_no_records_says_so(tmp_path: Path) -> None:
    svg = chart(EMPTY, tmp_path / "run.svg")

    assert words(svg).count("no records") == 4
    assert "no tape · 0 rebalances" in words(svg)


def test_chart_of_one_record_and_one_asset(tmp_path: Path) -> None:
    one = Records(EMPTY.run, (tick(86_400, 100, 100),), (replace(REBALANCE, at=86_400),))

    shown = words(chart(one, tmp_path / "run.svg"))

    assert "100 % WETH" in shown
    assert "vault 100.00" in shown
    assert "no records" not in shown


def test_chart_shows_symbols_as_they_are_and_draws_no_mathematics(tmp_path: Path) -> None:
    evil = replace(EMPTY.run, symbols=("$\\nope$\x1b\u202e",), tape="a\n$tape$")
    one = Records(evil, (tick(86_400, 100, 100),), (replace(REBALANCE, at=86_400),))

    shown = words(chart(one, tmp_path / "run.svg"))

    assert "$\\nope$" in shown
    assert any("a $tape$" in each for each in shown)


def test_chart_of_sixteen_assets_shortens_what_would_not_fit(tmp_path: Path) -> None:
    wide = RunRecord(
        vault="0xAA",
        chain_id=1,
        tape="a tape",
        symbols=tuple(f"WRAPPEDTOKEN{number}" for number in range(16)),
        decimals=(18,) * 16,
        targets_e18=(E18 // 16,) * 16,
        bands_bps=(100,) * 16,
    )
    far = replace(
        tick(0, 100, 100),
        prices_e18=(E18,) * 16,
        weights_e18=(E18 // 2, *(E18 // 30,) * 15),
    )

    shown = words(chart(Records(wide, (far,)), tmp_path / "run.svg"))

    assert shown.count("WRAPPEDTO…") == 16
    assert any(title.endswith(" more") and len(title) < 90 for title in shown)


def test_chart_marks_a_rebalance_stopped_by_a_budget(tmp_path: Path) -> None:
    stopped = replace(REBALANCE, bound_by="loss budget")

    free = words(chart(Records(EMPTY.run, (), (REBALANCE,)), tmp_path / "free.svg"))
    bound = words(chart(Records(EMPTY.run, (), (stopped,)), tmp_path / "bound.svg"))

    assert "cost, rebalance cut by a budget" in bound
    assert "cost, rebalance cut by a budget" not in free


@pytest.mark.parametrize("name", ["run.jpg", "run", "svg"])
def test_chart_in_another_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ChartFormatUnknown, match=r"\.png or \.svg"):
        chart(EMPTY, tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_chart_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(ChartingMissing, match="pip install"):
        chart(EMPTY, tmp_path / "run.svg")


def test_reports_import_without_matplotlib() -> None:
    assert importlib.util.find_spec("matplotlib") is not None

    code = "import sys, rebalancer.lab.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
