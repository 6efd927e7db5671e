"""Command that runs the benchmarks: `python -m scripts.benchmarks`, or `make bench`. Prints tables and writes .bench/.

- gas.json: the four figures of the design's table; gas-detail.json: their variants, lower bounds, and gas by contract
  and opcode.
- size.json: bytes of every contract.
- keeper.json: times of a tick and its parts ("tick"); times of a plan over many pools, its distance from the optimum
  and the cost of
  baselines ("plan"); cost of a block for a keeper of up to 10,000 vaults ("scale").
- plan.json, plan.png: plans over 200 random markets, calm and stormy, compared with single routes and the bound.
- quality.json, quality.png: cost of ten months of rebalancing, compared with the lower bound and with baselines.

A figure that was not measured is absent. `--write-snapshot` measures only gas and size, and replaces the committed
figures of tests/contract/test_gas.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from rebalancer.chain.artifacts import add_artifacts_folder
from scripts.benchmarks import keeper, snapshot
from scripts.benchmarks.gas import FIGURES, SIZES, Figure, measure
from scripts.benchmarks.markets import measure_markets
from scripts.benchmarks.markets_chart import draw
from scripts.benchmarks.plan import measure_plan
from scripts.benchmarks.quality import show_quality
from scripts.benchmarks.scale import SIZES as SCALE_SIZES
from scripts.benchmarks.scale import ScaleFigures, measure_scale
from scripts.benchmarks.trace import Spent

_FOLDER = snapshot.ROOT / ".bench"

add_artifacts_folder(snapshot.ROOT / ".build" / "test-artifacts")

_SHARED = snapshot.ROOT.parent / "shared" / "data"
_TAPE = _SHARED / "chainlink"
_POOL = _SHARED / "mainnet-24407242" / "uniswap_v3_wbtc_weth_3000.json"

_TIMES: Mapping[str, str] = {
    "lens_eth_call": "the eth_call of the lens, alone: the first part of a tick",
    "tick_in_band": "block, snapshot, decision: nothing to do",
    "tick_out_of_band_dry_run": "with pools, plan, prediction, gas estimate; nothing is sent",
    "tick_that_rebalances": "with journal, signature, transaction, receipt, verified ledger",
    "plan": "plan_rebalance alone, on the inputs of such a tick",
    "quote": "quote_in of a Uniswap V3 pool from its snapshot",
    "quote_by_quoter_v2_eth_call": "the same quote by QuoterV2 on Anvil",
}

_GOALS: Mapping[str, tuple[int, int, int]] = {
    "rebalance": (200_000, 230_000, 300_000),
    "mint_in_kind": (150_000, 200_000, 325_000),
    "redeem_in_kind": (116_000, 157_000, 265_000),
    "zap_in": (390_000, 590_000, 1_050_000),
}
"""Goals of the design, for each of SIZES."""

_PEERS: Mapping[str, Sequence[tuple[str, tuple[int, int, int]]]] = {
    "rebalance": (
        ("bare pool swap", (90_000, 90_000, 90_000)),
        ("Enzyme manager trade, no checks", (218_000, 218_000, 218_000)),
        ("Index Coop auction, without the bidder's swap", (379_000, 449_000, 627_000)),
        ("Set GeneralIndexModule", (629_000, 665_000, 773_000)),
        ("Folio", (684_000, 744_000, 895_000)),
    ),
    "mint_in_kind": (
        ("bare floor", (119_000, 163_000, 272_000)),
        ("Folio", (179_000, 225_000, 340_000)),
        ("Set", (190_000, 257_000, 425_000)),
    ),
    "redeem_in_kind": (
        ("bare floor", (94_000, 133_000, 229_000)),
        ("Folio", (122_000, 165_000, 272_000)),
        ("Set", (184_000, 261_000, 455_000)),
    ),
    "zap_in": (("Index Coop FlashMint", (517_000, 747_000, 1_323_000)),),
}
"""Figures of other protocols as the design reports them, for each of SIZES; not measured here."""

_SCENARIOS: Mapping[str, str] = {
    "rebalance": "sells one asset for another on a 0.3 % pool, with all checks and events. Steady state: not the vault's first "
    "rebalance, nor the pool's first fee; the trade stays inside one tick",
    "mint_in_kind": "new holder, who holds more of each token than is paid and has approved exactly that amount",
    "redeem_in_kind": "half of a holder's shares, paid to the holder, who already holds each token",
    "zap_in": f"new holder pays with the first asset, {SIZES[0] - 1}/{SIZES[1] - 1}/{SIZES[2] - 1} swaps buy what the shares ask "
    "for of the others; a little more is paid than that costs, and comes back",
}

_console = Console()


@click.command()
@click.option("--write-snapshot", is_flag=True, help="Replace the committed figures in tests/vectors.")
@click.option(
    "--full-tape/--no-full-tape",
    default=True,
    show_default=True,
    help="Replay the whole real tape of ../shared/data, if present; takes minutes.",
)
@click.option(
    "--max-vaults",
    default=SCALE_SIZES[-1],
    show_default=True,
    help="Largest number of vaults to create; ten thousand take minutes.",
)
def main(*, write_snapshot: bool, full_tape: bool, max_vaults: int) -> None:
    """Measure gas, code size and the keeper's speed into .bench/."""
    _FOLDER.mkdir(exist_ok=True)
    with _console.status("measuring gas"):
        figures = measure(explain=not write_snapshot)
    gas = {name: {str(n): figures[name][n].gas for n in SIZES} for name in FIGURES}
    _save("gas.json", gas)
    _save("gas-detail.json", _details(figures))
    for name in FIGURES:
        _console.print(_gas_table(name, figures))
        _explain_missed(name, figures[name])
    _console.print(
        "Gas: receipts on Anvil with the base of 21,000, after refunds. Tokens are OpenZeppelin's with 18, 6 and 8 "
        "decimals, feeds of one slot, Uniswap V3's published code. Peers are as design.md reports them, not measured here.\n"
    )

    sizes = snapshot.code_sizes()
    _save("size.json", sizes)
    _console.print(_size_table(sizes))

    if write_snapshot:
        snapshot.write(snapshot.GAS, flat(figures))
        snapshot.write(snapshot.SIZE, sizes)
        _console.print("Wrote tests/vectors/gas.json and size.json.")
    else:
        for change in [
            *snapshot.changes("gas", snapshot.read(snapshot.GAS), flat(figures)),
            *snapshot.changes("bytes", snapshot.read(snapshot.SIZE), sizes),
        ]:
            _console.print(f"[yellow]{change}[/]")
        plan = _plan()
        found = {"plan": plan, "scale": _scale(max_vaults), "tick": _keeper(full_tape=full_tape)}
        _save("keeper.json", found)
        gas_weighed_ms = plan["with_gas_median_s"] * 1e3
        _save("plan.json", {"gas_weighed_ms": gas_weighed_ms, **_markets()})
        if full_tape:
            show_quality(_SHARED, _FOLDER, _console)


def _plan() -> dict[str, Any]:
    """Times and quality of a plan over 100 pools and 20 tokens."""
    with _console.status("planning over 100 pools"):
        found = measure_plan()
    table = Table("", "median ms", "p99 ms", title="plan: 100 pools, 20 tokens", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, median, p99 in (
        ("every pool new", found.new_block_median_s, found.new_block_p99_s),
        ("pools known", found.same_block_median_s, found.same_block_p99_s),
        ("pools known, gas counted", found.with_gas_median_s, found.with_gas_p99_s),
        ("in band", found.in_band_median_s, found.in_band_p99_s),
    ):
        table.add_row(name, f"{median * 1e3:,.2f}", f"{p99 * 1e3:,.2f}")
    table.caption = (
        f"{found.swaps} swaps of ${found.sold_usd:,.0f}; from the bound {found.gap_before:.1e} of it before whole units, "
        f"{found.gap:.1e} after; goals 5 ms, 1 ms in band, 1e-8, 1e-6"
    )
    _console.print(table)
    costs = Table("method", "bps of the sale", title="cost of selling, without gas", title_justify="left")
    costs.columns[1].justify = "right"
    for way, bps in sorted(found.cost_bps.items(), key=lambda item: item[1]):
        costs.add_row(way, f"{bps:.1f}")
    _console.print(costs)
    return asdict(found)


def _markets() -> dict[str, Any]:
    """Plans over random markets, compared with the best single routes and the bound."""
    with _console.status("planning over random markets"):
        found, rows = measure_markets()
        draw(found, rows, _FOLDER / "plan.png")
    table = Table("", "", title=f"plan: {found.markets} random markets", title_justify="left")
    table.columns[1].justify = "right"
    for name, value in (
        ("plans", f"{found.plans}"),
        ("median, ms", f"{found.random_p50_ms:,.1f}"),
        ("99th percentile, ms (goal 100)", f"{found.random_p99_ms:,.1f}"),
        ("  of calm ones", f"{found.calm_p99_ms:,.1f}"),
        ("  of stormy ones", f"{found.stormy_p99_ms:,.1f}"),
        ("worth less than the best single routes (goal 0)", f"{found.worse_than_single_pools}"),
        ("no plan although single routes trade (goal 0)", f"{found.wrongly_refused}"),
        ("value of plans divided by value of single routes", f"{found.gain_over_single_pools:.3f}"),
        ("stopped by the time limit", f"{found.cut}"),
        ("distance from the bound, as a part of the sale: median", f"{found.median_gap:.1e}"),
        ("the same, largest", f"{found.largest_gap:.1e}"),
    ):
        table.add_row(name, value)
    _console.print(table)
    return asdict(found)


def _scale(most: int) -> list[dict[str, Any]]:
    """Cost of a block for a keeper of many vaults, by number of vaults."""
    with _console.status("making vaults") as status:
        found = measure_scale([size for size in SCALE_SIZES if size <= most], status.update)
    rows: dict[str, Callable[[ScaleFigures], str]] = {
        "a block, ms": lambda f: f"{f.block_s * 1e3:,.1f}",
        "  requests": lambda f: f"{f.block_requests}",
        "out of band": lambda f: f"{f.out_of_band:,}",
        "  read by the lens, ms": lambda f: f"{f.exact_s * 1e3:,.0f}",
        "  planned": lambda f: f"{f.planned:,}",
        "  planning, s": lambda f: f"{f.plan_s:,.2f}",
        "without index: all by the lens, s": lambda f: f"{f.load_s:,.2f}",
        "  requests ": lambda f: f"{f.load_requests:,}",
        "memory, MB": lambda f: f"{f.memory_mb:,.0f}",
    }
    table = Table(
        *("", *(f"{each.vaults:,} vaults" for each in found)),
        title="many vaults of 8 assets",
        title_justify="left",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cell in rows.items():
        table.add_row(name, *(cell(each) for each in found))
    _console.print(table)
    return [asdict(each) for each in found]


def _keeper(*, full_tape: bool) -> dict[str, Any]:
    """Times of the keeper, and of a whole tape if requested and present."""
    with _console.status("timing the keeper"):
        times = keeper.measure()
    found: dict[str, Any] = {
        name: {"samples": t.samples, "median_ms": t.median_s * 1e3, "p95_ms": t.p95_s * 1e3}
        for name, t in times.items()
    }
    _console.print(_time_table(times))
    if full_tape and all(path.exists() for path in (_TAPE, _POOL)):
        with _console.status("replaying the full tape: some minutes"):
            found["full_tape"] = keeper.full_tape(_TAPE, _POOL)
        _console.print(
            "full tape: {seconds:,.0f} s, {ticks:,} ticks, {rebalances} rebalances".format(**found["full_tape"])
        )
    elif full_tape:
        _console.print(f"[yellow]The full tape was not replayed: {_TAPE} or {_POOL} is missing.[/]")
    return found


def flat(figures: Mapping[str, Mapping[int, Figure]]) -> dict[str, int]:
    """The table's figures in one mapping, as in the snapshot."""
    return {f"{name}, {n} assets": figures[name][n].gas for name in FIGURES for n in figures[name]}


def _gas_table(name: str, figures: Mapping[str, Mapping[int, Figure]]) -> Table:
    table = Table("", *(f"n = {n}" for n in SIZES), title=f"{name}: {_SCENARIOS[name]}")
    table.title_justify = "left"
    for column in table.columns[1:]:
        column.justify = "right"
    for row in figures:
        if row != name and not row.startswith(f"{name}: "):
            continue
        who = "bare contract" if row.endswith(": floor") else "ours"
        variant = row.removesuffix(": floor").removeprefix(name).removeprefix(": ")
        label = f"{who}, {variant}" if variant else who
        cells = []
        for n, goal in zip(SIZES, _GOALS[name], strict=True):
            gas = figures[row][n].gas
            colour = "white" if row != name else "green" if gas <= goal else "red"
            cells.append(f"[{colour}]{gas:,}[/]")
        table.add_row(label, *cells, style="bold" if row == name else "")
    table.add_section()
    table.add_row("goal", *(f"{goal:,}" for goal in _GOALS[name]))
    for peer, gas_of in _PEERS[name]:
        table.add_row(f"peers (design.md): {peer}", *(f"{gas:,}" for gas in gas_of), style="dim")
    return table


def _explain_missed(name: str, figures: Mapping[int, Figure]) -> None:
    """Distance from missed goals, and the use of gas at the largest size that misses its goal."""
    missed = {n: figures[n].gas - goal for n, goal in zip(SIZES, _GOALS[name], strict=True) if figures[n].gas > goal}
    if not missed:
        return
    for n, excess in missed.items():
        _console.print(f"[red]{name} with {n} assets misses its goal by {excess:,} gas.[/]")
    spent = figures[max(missed)].spent
    if spent:
        _console.print(_spent_table(f"where {name} with {max(missed)} assets goes", spent))


def _spent_table(title: str, spent: Sequence[Spent]) -> Table:
    by_contract: dict[str, Counter[str]] = {}
    kinds: Counter[str] = Counter()
    for row in spent:
        by_contract.setdefault(row.contract, Counter())[row.kind] += row.gas
        kinds[row.kind] += abs(row.gas)
    columns = [kind for kind, _ in kinds.most_common()]
    table = Table("contract", *columns, "all", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for contract, gas in sorted(by_contract.items(), key=lambda item: -item[1].total()):
        cells = (f"{gas[kind]:,}" if gas[kind] else "" for kind in columns)
        table.add_row(contract, *cells, f"{gas.total():,}")
    total = sum(gas.total() for gas in by_contract.values())
    table.add_section()
    table.add_row("receipt", *("" for _ in columns), f"{total:,}")
    return table


def _size_table(sizes: Mapping[str, int]) -> Table:
    table = Table("contract", "bytes", "left", title="runtime code")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        left = snapshot.MAX_CODE_BYTES - size
        colour = "green" if left >= 0 else "red"
        table.add_row(name, f"{size:,}", f"[{colour}]{left:,}[/]")
    table.caption = f"of {snapshot.MAX_CODE_BYTES:,} (EIP-170)"
    return table


def _time_table(times: Mapping[str, keeper.Times]) -> Table:
    table = Table("", "median ms", "p95 ms", "samples", "what", title="keeper", title_justify="left")
    for column in table.columns[1:4]:
        column.justify = "right"
    for name, t in times.items():
        cells = (f"{t.median_s * 1e3:,.3f}", f"{t.p95_s * 1e3:,.3f}", f"{t.samples:,}")
        table.add_row(name, *cells, _TIMES[name])
    return table


def _details(figures: Mapping[str, Mapping[int, Figure]]) -> dict[str, Any]:
    return {
        "scenarios": dict(_SCENARIOS),
        "gas": {row: {str(n): f.gas for n, f in by_n.items()} for row, by_n in figures.items()},
        "spent": {
            name: {
                str(n): [[s.contract, s.kind, s.gas] for s in figure.spent]
                for n, figure in figures[name].items()
                if figure.spent
            }
            for name in FIGURES
        },
        "goals": {name: dict(zip(map(str, SIZES), _GOALS[name], strict=True)) for name in FIGURES},
        "peers (design.md)": {
            name: {peer: dict(zip(map(str, SIZES), gas, strict=True)) for peer, gas in peers}
            for name, peers in _PEERS.items()
        },
    }


def _save(name: str, content: Any) -> None:
    (_FOLDER / name).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
