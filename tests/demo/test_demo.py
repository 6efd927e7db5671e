"""Whole runs of the demo: deposits, a tape, a keeper at every block, a withdrawal, and what the record says of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from rebalancer.demo import DemoOptions, run_demo
from rebalancer.devnet.node import NodeKind
from rebalancer.lab.records import Records, read_records
from rebalancer.units import E18


def assert_every_rebalance_kept_its_promises(records: Records) -> None:
    """Inside every band, or bound by a budget; loss inside the limit; the ledger as settlement.py foresaw it, to the unit."""
    for one in records.rebalances:
        outside = [
            drift for drift, band in zip(one.drift_after_bps, records.run.bands_bps, strict=True) if abs(drift) > band
        ]
        assert not outside or one.bound_by in ("turnover", "loss")
        assert one.loss_e18 * E18 <= one.limit_e18 * one.sold_value_e18
        assert one.predicted_held_raw == one.actual_held_raw
        assert one.loss_left_e18 >= 0
        assert one.turnover_left_e18 >= 0
        assert one.gas_used > 21_000
        assert any(abs(drift) > 100 for drift in one.drift_before_bps)
    epochs = [one.epoch for one in records.rebalances]
    assert epochs == list(range(1, len(epochs) + 1))


@pytest.mark.parametrize("node", [NodeKind.ANVIL, NodeKind.HARDHAT])
def test_demo_on_a_synthetic_market_rebalances_and_lets_everybody_out(tmp_path: Path, node: NodeKind) -> None:
    screen = io.StringIO()

    result = run_demo(DemoOptions(days=12, node=node, out=tmp_path), Console(file=screen, width=100))

    records = read_records(result.record)
    assert result.summary.rebalances >= 1
    assert len(records.ticks) > 300
    assert_every_rebalance_kept_its_promises(records)
    for path in (*result.charts, tmp_path / "keeper.log"):
        assert path.stat().st_size > 1_000
    shown = screen.getvalue()
    for words in (
        "Deposited in kind",
        "through the zap",
        "Rebalanced 1",
        "Withdrew",
        "Results of the run",
    ):
        assert words in shown


@pytest.mark.real
def test_demo_on_real_rounds_and_a_real_pool_keeps_every_promise(tmp_path: Path, shared_data: Path) -> None:
    options = DemoOptions(
        tape=shared_data / "chainlink",
        pools=(shared_data / "mainnet-24407242" / "uniswap_v3_wbtc_weth_3000.json",),
        since="2024-01-02",
        until="2024-01-13",
        out=tmp_path,
    )

    result = run_demo(options, Console(file=io.StringIO()))

    records = read_records(result.record)
    assert result.summary.rebalances >= 3
    assert_every_rebalance_kept_its_promises(records)


def test_demo_can_be_played_again_in_the_same_folder(tmp_path: Path) -> None:
    options = DemoOptions(days=2, out=tmp_path)

    first = run_demo(options, Console(file=io.StringIO()))
    again = run_demo(options, Console(file=io.StringIO()))

    assert again.summary == first.summary
