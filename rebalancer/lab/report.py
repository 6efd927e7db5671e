"""Figures of a run and their table, computed from its record alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from rebalancer.lab.records import Records
from rebalancer.units import BPS, E18
from rebalancer.words import counted

__all__ = [
    "Summary",
    "summarise",
    "summary_table",
]


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a run.

    Ratios are floats, for people. `loss_of_sold_bps` is the total loss divided by the total value sold;
    `loss_of_vault_bps` is the sum of all losses, each divided by the vault's value at that time. Returns are from the
    first tick to the last; the vault's return is per share, so it includes fees and trading costs.
    """

    ticks: int
    rebalances: int
    seconds: int
    max_drift_before_bps: int
    max_drift_after_bps: int
    left_outside: int
    over_limit: int
    mismatches: int
    sold_value_e18: int
    loss_e18: int
    loss_of_sold_bps: float
    loss_of_vault_bps: float
    vault_return_bps: float
    hold_return_bps: float
    gas_used: int

    @property
    def gas_per_rebalance(self) -> int:
        """Mean gas of a rebalance, rounded down."""
        return self.gas_used // self.rebalances if self.rebalances else 0


def summarise(records: Records) -> Summary:
    """The figures of a run. Without ticks or rebalances they are zero."""
    ticks, rebalances = records.ticks, records.rebalances
    sold = sum(one.sold_value_e18 for one in rebalances)
    loss = sum(one.loss_e18 for one in rebalances)
    return Summary(
        ticks=len(ticks),
        rebalances=len(rebalances),
        seconds=ticks[-1].at - ticks[0].at if ticks else 0,
        max_drift_before_bps=_widest([one.drift_before_bps for one in rebalances]),
        max_drift_after_bps=_widest([one.drift_after_bps for one in rebalances]),
        left_outside=sum(
            any(abs(bps) > band for bps, band in zip(one.drift_after_bps, bands, strict=True))
            for one in rebalances
            for bands in [records.run.bands_bps]
        ),
        over_limit=sum(not one.within_limit for one in rebalances),
        mismatches=sum(not one.is_predicted for one in rebalances),
        sold_value_e18=sold,
        loss_e18=loss,
        loss_of_sold_bps=loss * BPS / sold if sold else 0.0,
        loss_of_vault_bps=sum(one.loss_e18 * BPS / one.value_e18 for one in rebalances if one.value_e18),
        vault_return_bps=_return_bps([tick.share_price_e18 for tick in ticks]),
        hold_return_bps=_return_bps([tick.hold_price_e18 for tick in ticks]),
        gas_used=sum(one.gas_used for one in rebalances),
    )


def _widest(drifts_bps: Sequence[Sequence[int]]) -> int:
    return max((abs(bps) for drift_bps in drifts_bps for bps in drift_bps), default=0)


def _return_bps(prices_e18: Sequence[int]) -> float:
    if not prices_e18 or not prices_e18[0]:
        return 0.0
    return (prices_e18[-1] - prices_e18[0]) * BPS / prices_e18[0]


def summary_table(summary: Summary) -> Table:
    """The summary as a table for a terminal. Without rebalances, their rows are omitted."""
    days, hours = divmod(summary.seconds // 3_600, 24)
    vault, hold = (round(bps) for bps in (summary.vault_return_bps, summary.hold_return_bps))
    left = f" ({summary.left_outside} left a weight outside its band)" if summary.left_outside else ""
    traded = (
        ("Largest drift", f"{summary.max_drift_before_bps / 100:.2f} % before a rebalance"),
        ("", f"{summary.max_drift_after_bps / 100:.2f} % after it{left}"),
        ("Sold", f"{summary.sold_value_e18 / E18:,.0f} USD"),
        ("Cost", f"{summary.loss_e18 / E18:,.2f} USD against the oracle"),
        ("", f"{summary.loss_of_sold_bps:.1f} bps of the value sold"),
        ("", f"{summary.loss_of_vault_bps:.1f} bps of the vault's value, in total"),
        ("Above the loss limit", _none_or(summary.over_limit)),
        ("Ledger mismatches", _none_or(summary.mismatches)),
    )
    rows = (
        ("Rebalances", f"{summary.rebalances} in {days} d {hours} h, {summary.ticks:,} ticks"),
        *(traded if summary.rebalances else ()),
        ("Return per share", f"{vault / 100:+.2f} %"),
        ("Return of holding", f"{hold / 100:+.2f} %"),
        ("Difference", Text(f"{(vault - hold) / 100:+.2f} %", style="bold")),
        ("Gas", f"{summary.gas_used:,}, {summary.gas_per_rebalance:,} per rebalance"),
    )
    table = Table(title="Results of the run", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, figure in rows:
        table.add_row(name, figure)
    return table


def _none_or(count: int) -> Text:
    if count:
        return Text(counted(count, "rebalance"), style="bold red")
    return Text("none", style="green")
