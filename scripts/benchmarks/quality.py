"""Cost of ten months of rebalancing, compared with its lower bound and with two baselines.

The whole real tape (oracle rounds of April 2023 to January 2024) is replayed on paper (`rebalancer.lab.backtest`) with
the mainnet pools of every protocol that has a snapshot, moved to the tape's first prices, with their depth in USD, and
kept near the oracle by arbitrage. Vaults of three sizes use the demo's policy and bands:

1. The keeper's decisions drive the vault. Each rebalance is compared with the dual's bound, a lower bound of the loss
   for these pools,
   and with the cost of the two baselines (`rebalancer.lab.baselines`) for the same trades at the same block.
2. Each baseline drives a vault of its own: it trades everything that the vault allows, as early as possible.

Gas has one stated price and includes pokes. Losses are measured against the oracle, in USD.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rebalancer.devnet.environment import DEMO_BAND_BPS, DEMO_POLICY
from rebalancer.devnet.market import DEFAULT_FEEDS, WETH
from rebalancer.devnet.tape import Tape, load_folder
from rebalancer.keeper.decide import Action, Conditions, Verdict, decide, plan_input
from rebalancer.lab.arbitrage import at_prices
from rebalancer.lab.backtest import BacktestFeed, BacktestMarket, BacktestTick, BacktestVault, play
from rebalancer.lab.baselines import BASELINES, ordinary, trade
from rebalancer.plan import Problem
from rebalancer.plan.market import market_of
from rebalancer.plan.optimum import optimum, terms_of
from rebalancer.plan.trades import bound_e18
from rebalancer.pool_files import load_pool
from rebalancer.settlement import Asset, Weighed, weigh_basket
from rebalancer.units import BPS, E18, YEAR_SECONDS
from rebalancer.venues import Pool, PoolState
from scripts.benchmarks.quality_figures import GAS_PRICE_WEI, KEEPER, BaselineFigures, QualityFigures, Rebalance, Run

__all__ = ["SIZES_USD", "measure_quality", "show_quality"]

SIZES_USD = (100_000, 1_000_000, 10_000_000)
_GAS_PER_POKE = 108_000
"""Mean gas of stamping a break and of clearing it, by receipts on Anvil."""

_TARGETS_E18 = {"WETH": 4 * E18 // 10, "WBTC": 4 * E18 // 10, "USDC": 2 * E18 // 10}
_DOLLAR_E8 = 10**8
_HEARTBEAT_SECONDS = 86_400
_TOLD_EVERY = 200

Report = Callable[[str, float], None]
"""Receives the name of the current run, and the finished fraction of all runs."""


def show_quality(data: Path, folder: Path, console: Console) -> None:
    """Measure, print two tables, and write quality.json and quality.png to the folder; without data, print a note."""
    from scripts.benchmarks.quality_chart import draw

    tape, pools = data / "chainlink", data / "mainnet-24407242"
    if not (tape.is_dir() and pools.is_dir()):
        console.print("Quality is not measured: ../shared/data has no tape or no pools.")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("quality", total=1.0)
        found = measure_quality(tape, pools, lambda name, done: bar.update(task, description=name, completed=done))
    (folder / "quality.json").write_text(json.dumps(found.to_json(), indent=2) + "\n")
    console.print(_beside_table(found))
    console.print(_run_table(found))
    console.print(f"Gas at {found.gas_price_wei / 1e9:g} gwei. Wrote {draw(found, folder / 'quality.png')}.")


def _beside_table(found: QualityFigures) -> Table:
    table = Table(
        *("vault", "trades", "sold", "keeper", "bound", "single pool", "split"),
        box=None,
        pad_edge=False,
        title="quality: the same trades, in bps of what is sold, with gas in brackets",
        title_justify="left",
    )
    for column in table.columns:
        column.justify, column.no_wrap = "right", True
    for usd, rows in found.rebalances.items():
        # Only trades that every baseline can make, so that all columns compare the same trades.
        done = [one for one in rows if all(baseline.loss_usd is not None for baseline in one.baselines.values())]
        sold = sum(one.sold_usd for one in done) or 1.0
        losses = [(sum(one.loss_usd for one in done), sum(one.gas_usd for one in done))]
        losses.append((sum(one.bound_usd for one in done), 0.0))
        for name in BASELINES:
            baselines = [one.baselines[name] for one in done]
            losses.append((sum(w.loss_usd or 0.0 for w in baselines), sum(w.gas_usd for w in baselines)))
        cells = [
            f"{loss / sold * BPS:.2f}" + (f" ({(loss + gas) / sold * BPS:.1f})" if gas else "") for loss, gas in losses
        ]
        table.add_row(_dollars(usd), f"{len(done)}/{len(rows)}", _dollars(sold), *cells)
    return table


def _run_table(found: QualityFigures) -> Table:
    table = Table(
        *("vault", "way", "trades", "sold", "lost", "gas", "a year", "outside", "longest", "off"),
        box=None,
        pad_edge=False,
        title="quality: each way with a vault of its own, ten months",
        title_justify="left",
    )
    table.caption = (
        "lost: bps of what is sold; a year: all costs in bps of the vault; outside: part of the time out of band; "
        "off: root mean square of the weights' distances, bps"
    )
    table.caption_justify = "left"
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    for run in found.runs:
        if run.baseline == KEEPER:
            table.add_section()
        table.add_row(
            _dollars(run.vault_usd) if run.baseline == KEEPER else "",
            {"best single pool": "single pool", "proportional split": "split"}.get(run.baseline, run.baseline),
            f"{run.rebalances}",
            _dollars(run.sold_usd),
            f"{run.loss_usd / max(1.0, run.sold_usd) * BPS:.1f}",
            _dollars(run.gas_usd),
            f"{run.bps_a_year:.1f}",
            f"{run.outside:.2%}",
            f"{run.longest_outside_s / 3_600:,.1f} h",
            f"{run.tracking_bps:.0f}",
        )
    return table


def _dollars(usd: float) -> str:
    """Three digits are enough: $98, $4.6k, $10.0M."""
    for unit, letter in ((10**6, "M"), (10**3, "k")):
        if usd >= unit:
            return f"${usd / unit:.3g}{letter}"
    return f"${usd:.0f}"


def measure_quality(
    tape_folder: Path, pools_folder: Path, report: Report, sizes_usd: Sequence[int] = SIZES_USD
) -> QualityFigures:
    """Run everything; takes minutes.

    Raises:
        TapeError, PoolError: a file is malformed.
    """
    tape = load_folder(tape_folder).with_constant("USDC/USD", _DOLLAR_E8, _HEARTBEAT_SECONDS)
    snapshots = [load_pool(path) for path in sorted(pools_folder.glob("*.json"))]
    scene = _Scene(tape, [_as_traded(pool) for pool in snapshots])
    figures = QualityFigures()
    baselines = (KEEPER, *BASELINES)
    total, done = len(sizes_usd) * len(baselines), 0
    for usd in sizes_usd:
        for baseline in baselines:
            name = f"{baseline}, {usd:,} USD"

            def part_told(part: float, name: str = name, done: int = done) -> None:
                report(name, (done + part) / total)

            if baseline == KEEPER:
                run, figures.rebalances[usd] = scene.keep(usd, part_told)
            else:
                run = scene.drive(usd, baseline, part_told)
            figures.runs.append(run)
            done += 1
    return figures


class _Scene:
    """The tape and the pools; every run starts from the same state."""

    def __init__(self, tape: Tape, pools: Sequence[Pool]) -> None:
        self.tape = tape
        self.first_e8 = tape.first_prices_e8
        usd_e8 = {feed.token.address: self.first_e8[feed.name] for feed in DEFAULT_FEEDS}
        tokens = {token.address for pool in pools for token in pool.tokens}
        # Other dollar tokens have no feed on the tape; their price is one dollar.
        self.others_e8 = dict.fromkeys(tokens - set(usd_e8), _DOLLAR_E8)
        self.pools = [at_prices(pool, usd_e8 | self.others_e8) for pool in pools]
        self.conditions = Conditions(GAS_PRICE_WEI, WETH.address)

    def keep(self, usd: int, report: Callable[[float], None]) -> tuple[Run, list[Rebalance]]:
        """The keeper's run, and each of its rebalances with the baselines."""
        found: list[Rebalance] = []
        meter = _Meter(KEEPER, usd)
        choice = partial(_keeper, conditions=self.conditions)
        for tick in self._ticks(usd, choice, report):
            meter.add(tick)
            if tick.settlement is not None:
                found.append(self._beside(tick))
        return meter.run(), found

    def drive(self, usd: int, baseline: str, report: Callable[[float], None]) -> Run:
        """A run of a keeper with a baseline as its router."""
        meter = _Meter(baseline, usd)
        choice = partial(ordinary, conditions=self.conditions, baseline=BASELINES[baseline])
        for tick in self._ticks(usd, choice, report):
            meter.add(tick)
        return meter.run()

    def _ticks(self, usd: int, choice: Any, report: Callable[[float], None]) -> Any:
        feeds = [BacktestFeed(feed.name, feed.token.address, feed.heartbeat_seconds * 5 // 4) for feed in DEFAULT_FEEDS]
        start = self.tape.start
        market = BacktestMarket(feeds, self.pools, self.first_e8, start, self.others_e8)
        steps = list(self.tape.steps())
        for number, tick in enumerate(play(self._vault(usd), market, steps, choice)):
            if number % _TOLD_EVERY == 0:
                report(number / len(steps))
            yield tick

    def _vault(self, usd: int) -> BacktestVault:
        assets, held = [], []
        for feed in DEFAULT_FEEDS:
            token, price_e8 = feed.token, self.first_e8[feed.name]
            target_e18 = _TARGETS_E18[token.symbol]
            assets.append(Asset(token.address, target_e18, DEMO_BAND_BPS, token.decimals))
            held.append(usd * target_e18 // E18 * _DOLLAR_E8 * 10**token.decimals // price_e8)
        return BacktestVault("0x" + "00" * 20, tuple(assets), tuple(held), DEMO_POLICY)

    def _beside(self, tick: BacktestTick[Verdict]) -> Rebalance:
        """A rebalance, the dual's bound on its loss, and the same trades by the baselines."""
        plan, settled = tick.verdict.plan, tick.settlement
        if plan is None or settled is None:
            raise AssertionError("every rebalance has a plan")
        problem = plan_input(tick.snapshot, tick.pools, self.conditions)
        certificate = plan.certificate
        loss_e18 = settled.sold_e18 - settled.bought_e18
        # {usd}: the dual maximises worth * sold - loss, so no plan with the same sale has a smaller loss.
        least_e18 = loss_e18 - (certificate.all_pools_bound_e18 - certificate.value_e18)
        if (loss_e18 - least_e18) * BPS > settled.sold_e18:
            # With a binding limit the bound may be loose or absent; without limits it is neither.
            alone_e18 = _least_loss_e18(problem, plan.sales_raw, settled.sold_e18)
            least_e18 = max(least_e18, alone_e18)
        needs_e18 = [problem.value_e18(j, raw) for j, raw in enumerate(plan.expected_buys_raw)]
        # The same assets are bought, scaled to the value of the sale.
        needs = [raw * settled.sold_e18 // max(1, sum(needs_e18)) for raw in plan.expected_buys_raw]
        baselines = {}
        for name, baseline in BASELINES.items():
            done = trade(problem, baseline, plan.sales_raw, needs)
            hops = len(done.swaps) if done else 0
            gas = problem.sending_cost_e18(hops)
            if done is None:
                baselines[name] = BaselineFigures(None, 0.0)
                continue
            sold_e18, bought_e18 = problem.values_e18(done.sales_raw, done.buys_raw)
            # A rest of up to a dollar of a pair may stay unsold: the loss is scaled up to the whole sale.
            lost = (sold_e18 - bought_e18) / sold_e18 * settled.sold_e18
            baselines[name] = BaselineFigures(lost / E18, gas / E18)
        return Rebalance(
            tick.at,
            settled.sold_e18 / E18,
            loss_e18 / E18,
            min(loss_e18, least_e18) / E18,
            plan.cost.gas_e18 / E18,
            len(plan.swaps),
            baselines,
        )


def _least_loss_e18(problem: Problem, sales_raw: tuple[int, ...], sold_e18: int) -> int:
    """Lower bound of the loss when these amounts are sold for assets in deficit, by a dual without limits."""
    free = replace(
        problem,
        sales_max_raw=sales_raw,
        worth_e18=E18 // 2,
        slippage_limit_e18=E18,
        need_max_e18=None,
        sold_max_e18=None,
        loss_max_e18=None,
    )
    market = market_of(problem.pools)
    best = optimum(market, terms_of(free, market))
    return sold_e18 // 2 - bound_e18(best.bound) if best else 0


def _keeper(snapshot: Any, pools: Sequence[Pool], conditions: Conditions) -> Verdict:
    return decide(snapshot, pools, conditions)


def _as_traded(pool: PoolState) -> Pool:
    """Ether trades as WETH."""
    return pool.as_traded(WETH)


class _Meter:
    """Sums of a run, tick by tick."""

    def __init__(self, baseline: str, usd: int) -> None:
        self._way, self._usd = baseline, usd
        self._rebalances = self._pokes = 0
        self._sold = self._loss = self._gas = 0.0
        self._first = self._last = 0
        self._outside_s, self._longest_s, self._left_at = 0, 0, 0
        self._squares = 0.0
        self._now: tuple[bool, float] | None = None

    def add(self, tick: BacktestTick[Any]) -> None:
        """Add a tick."""
        if self._now is None:
            self._first = tick.at
        else:
            is_outside, square = self._now
            seconds = tick.at - self._last
            self._squares += square * seconds
            self._outside_s += seconds * is_outside
        self._last = tick.at
        self._count(tick)
        if tick.settlement is not None:
            self._state(tick.settlement.after)
        elif tick.snapshot.total_e18:
            self._state(weigh_basket(tick.snapshot.basket))

    def run(self) -> Run:
        """The figures of the run."""
        span = self._last - self._first
        return Run(
            self._way,
            self._usd,
            span / YEAR_SECONDS,
            self._rebalances,
            self._pokes,
            self._sold,
            self._loss,
            self._gas,
            self._outside_s / span,
            self._longest_s,
            math.sqrt(self._squares / span) * BPS,
        )

    def _count(self, tick: BacktestTick[Any]) -> None:
        eth_usd = tick.snapshot.basket.prices[0].primary_e18 / E18
        gas = 0
        if tick.settlement is not None and tick.verdict.plan is not None:
            self._rebalances += 1
            self._sold += tick.settlement.sold_e18 / E18
            self._loss += (tick.settlement.sold_e18 - tick.settlement.bought_e18) / E18
            gas = 200_000 + 90_000 * len(tick.verdict.plan.swaps)
        elif tick.verdict.step is Action.POKE:
            self._pokes += 1
            gas = _GAS_PER_POKE
        self._gas += gas * GAS_PRICE_WEI / E18 * eth_usd

    def _state(self, weighed: Weighed) -> None:
        is_outside = weighed.broken is not None
        if is_outside:
            self._left_at = self._left_at or self._last
            self._longest_s = max(self._longest_s, self._last - self._left_at)
        else:
            self._left_at = 0
        total = weighed.total_e18
        self._now = is_outside, sum((one / total) ** 2 for one in weighed.distances_e18)
