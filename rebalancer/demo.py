"""Demo of a vault from deposit to withdrawal, on a local chain of its own.

It starts a local chain, builds the market and a vault, deposits from a user's wallet (in kind, and one token through
the zap), replays a tape of oracle rounds with the keeper evaluating every block, and withdraws. It records every tick
and rebalance; the table and the charts at the end are made from the record alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from rich.console import Console
from rich.text import Text

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.pools import read_v3_pools
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.environment import (
    DEMO_BAND_BPS,
    Actor,
    DevEnvironment,
    build_environment,
    raw_for_usd,
)
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from rebalancer.devnet.tape import Tape, iso, open_tape
from rebalancer.errors import DemoFailed, DemoFolderInUse
from rebalancer.keeper import Decision, Keeper, KeeperContext, KeeperOptions, Outcome
from rebalancer.lab.chart import chart, check_chart
from rebalancer.lab.live_view import LiveView
from rebalancer.lab.records import (
    RebalanceRecord,
    RecordWriter,
    RunRecord,
    TickRecord,
    read_records,
    write_tables,
)
from rebalancer.lab.report import Summary, summarise, summary_table
from rebalancer.operations.actions import (
    deposit_in_kind,
    deposit_token,
    withdraw_in_kind,
    withdraw_token,
)
from rebalancer.policy import value_down
from rebalancer.pool_files import load_pool
from rebalancer.send.outbox import Outbox
from rebalancer.send.signer import devnet_signer
from rebalancer.settlement import Weighed, weigh_basket, weights_e18
from rebalancer.units import BPS, E18, div_up
from rebalancer.venues import Token, UniswapV3Pool, of_class
from rebalancer.words import counted

__all__ = ["DemoOptions", "DemoResult", "run_demo"]

_DEPOSIT_USD = 2_000_000
_ZAP_USD = 250_000
_SLIPPAGE_BPS = 100
_FEE_CAP_WEI = 10_000 * 10**9  # ether of a local chain has no value
_SET_UP_SECONDS = 3_600
"""The chain starts this long before its tape, so that the set-up ends before the first round."""

_CHART_KINDS = ("png", "svg")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of a demo.

    `tape` is a folder of rounds; None draws a synthetic market of `days` from `seed`. `pools` are snapshot files.
    `since` and `until` cut the tape (unix seconds or ISO dates). `csv`: the record is also written as two tables.
    """

    tape: Path | None = None
    pools: tuple[Path, ...] = ()
    since: int | str | None = None
    until: int | str | None = None
    seed: int = 1
    days: float = 60
    band_bps: int = DEMO_BAND_BPS
    out: Path = Path(".demo")
    csv: bool = False
    node: NodeKind = NodeKind.ANVIL


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Summary of a run, and the files it wrote."""

    summary: Summary
    record: Path
    charts: tuple[Path, ...]


def run_demo(options: DemoOptions, console: Console | None = None) -> DemoResult:
    """Run the demo and print its results.

    Raises:
        TapeError, PoolError, DevnetError: the market cannot be built from the options.
        ChartingMissing, DemoFolderInUse: charts cannot be drawn, or another demo writes to the folder.
        DemoFailed: the final state of the vault is not the expected one.
    """
    console = console or Console(markup=False, emoji=False)
    tape = open_tape(options.tape, options.seed, options.days, options.since, options.until)
    pools = [of_class(load_pool(path), UniswapV3Pool) for path in options.pools]
    for kind in _CHART_KINDS:
        check_chart(options.out / f"chart.{kind}")
    options.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(_alone_in(options.out))
        settings = NodeSettings(kind=options.node, genesis_at=tape.start - _SET_UP_SECONDS, skip_state_roots=True)
        console.print(_step(1), f"Starting a local chain ({options.node})")
        node = stack.enter_context(Node.start(settings))
        chain = LocalChain(stack.enter_context(node.rpc()))
        chain.run_steadily()
        run = _Run(chain, tape, pools, options, console)
        run.deposit()
        run.play()
        run.withdraw()
        return run.report()


def _step(number: int) -> Text:
    return Text(str(number), style="bold")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against other demos.

    Raises:
        DemoFolderInUse: another demo writes to it.
    """
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFolderInUse(folder) from None
        yield
    finally:
        os.close(held)


class _Run:
    """One run of the demo, step by step."""

    def __init__(
        self,
        chain: LocalChain,
        tape: Tape,
        pools: Sequence[UniswapV3Pool],
        options: DemoOptions,
        console: Console,
    ) -> None:
        self.chain = chain
        self.tape = tape
        self.options = options
        self.console = console
        self.environment: DevEnvironment = build_environment(
            chain, tape.first_prices_e8, pools, band_bps=options.band_bps
        )
        self.tokens = [
            Token(token.address, token.symbol, token.decimals) for token in self.environment.deployment.tokens
        ]
        self.pools = [pool.address for pool in self.environment.deployment.pools]
        self.depositor = self.environment.wallet(Actor.DEPOSITOR)
        self.record = options.out / "record.jsonl"
        self.hold_raw: tuple[int, ...] = ()
        self.hold_supply = 0
        names = ", ".join(f"{t.symbol} ({t.decimals} decimals)" for t in self.tokens)
        console.print(
            _step(2),
            f"Built {len(self.pools)} Uniswap V3 pools over {names}, and the vault {self.environment.vault}",
        )

    def snapshot(self, block: Block | None = None) -> VaultSnapshot:
        """The vault at a block, by default the newest."""
        rpc = self.chain.rpc
        block = block or read_block(rpc)
        return read_vaults(rpc, self.environment.system.lens, [self.environment.vault], block)[0]

    def pools_now(self) -> tuple[UniswapV3Pool, ...]:
        """The pools at the newest block."""
        rpc, system = self.chain.rpc, self.environment.system
        known = {token.address: token for token in self.tokens}
        chain_id = self.environment.deployment.chain_id
        return read_v3_pools(rpc, system.uniswap_v3_lens, self.pools, known, read_block(rpc), chain_id)

    # Deposit, replay, withdrawal

    def deposit(self) -> None:
        """A user deposits, in kind and with one token."""
        snapshot = self.snapshot()
        market = self.environment.market
        # {share} = {usd} * {share} / {usd}
        shares = _DEPOSIT_USD * E18 * snapshot.total_supply // snapshot.total_e18
        for asset, amount in zip(snapshot.basket.assets, snapshot.basket.held, strict=True):
            needed = amount * shares // snapshot.total_supply + 10**asset.decimals
            market.deal(asset.token, self.depositor.address, needed)
        in_kind = deposit_in_kind(self.depositor, self.environment.vault, shares)
        self.console.print(
            _step(3),
            f"Deposited in kind: {shares / E18:,.2f} shares for {self._amounts(in_kind.amounts)}",
        )
        usdc = self.environment.deployment.listed("USDC")
        amount_raw = raw_for_usd(market, "USDC", _ZAP_USD)
        market.deal("USDC", self.depositor.address, amount_raw)
        zapped = deposit_token(
            self.depositor,
            self.environment.system,
            self.environment.vault,
            usdc.address,
            amount_raw,
            self.pools_now(),
            _SLIPPAGE_BPS,
        )
        self.console.print(
            f"  Deposited one token through the zap: {zapped.shares / E18:,.2f} shares for "
            f"{(amount_raw - zapped.returned.get(usdc.address, 0)) / 10**usdc.decimals:,.2f} USDC"
        )

    def play(self) -> None:
        """Replay the tape; the keeper evaluates every block."""
        self.console.print(
            _step(4),
            f"Replaying {len(self.tape):,} oracle rounds from {iso(self.tape.start)} to "
            f"{iso(self.tape.end)}; the keeper evaluates every block",
        )
        steps = list(self.tape.steps())
        first = self.snapshot()
        self.hold_raw, self.hold_supply = first.basket.held, first.total_supply
        assets = first.basket.assets
        symbols = [self._symbol(asset.token) for asset in assets]
        run = RunRecord(
            vault=self.environment.vault,
            chain_id=self.environment.deployment.chain_id,
            tape=self.options.tape.resolve().name if self.options.tape else f"synthetic, seed {self.options.seed}",
            symbols=tuple(symbols),
            decimals=tuple(asset.decimals for asset in assets),
            targets_e18=tuple(first.basket.targets_e18),
            bands_bps=tuple(asset.band_bps for asset in first.basket.assets),
        )
        with (
            _logs_to(self.options.out / "keeper.log"),
            _new_outbox(self.options.out / "outbox.sqlite") as outbox,
            RecordWriter(self.record, run) as writer,
            LiveView(symbols, run.targets_e18, run.bands_bps, len(steps), self.console) as view,
        ):
            keeper = Keeper(
                self.chain.rpc,
                KeeperContext.of(self.environment.deployment, [self.environment.vault]),
                [devnet_signer(Actor.KEEPER)],
                outbox,
                KeeperOptions(fee_cap_wei=_FEE_CAP_WEI),
            )
            keeper.start()
            for step in steps:
                mined = self.environment.market.step(step.prices_e8, step.at)
                for decision in keeper.tick(Block(mined.number, mined.hash, mined.timestamp)):
                    self._record(decision, writer, view)

    def _record(self, decision: Decision, writer: RecordWriter, view: LiveView) -> None:
        after = decision.snapshot
        if after is None:
            return
        what = decision.reason.value
        if decision.outcome is not None:
            after = decision.outcome.after
            what = f"{what} {after.state.epoch}"
            writer.write(_rebalance_record(decision.text, decision.outcome))
        view.decision(decision.block.timestamp, what, decision.text)
        if not after.total_e18:
            return  # without sound prices there is no value to show
        tick = self._tick_record(decision.block, after)
        writer.write(tick)
        view.tick(tick)

    def _tick_record(self, block: Block, snapshot: VaultSnapshot) -> TickRecord:
        basket = snapshot.basket
        held_before = sum(
            value_down(amount, price, unit)
            for amount, price, unit in zip(self.hold_raw, basket.prices_e18, basket.units, strict=True)
        )
        return TickRecord(
            block=block.number,
            at=block.timestamp,
            prices_e18=tuple(basket.prices_e18),
            weights_e18=weights_e18(weigh_basket(basket)),
            value_e18=snapshot.total_e18,
            share_price_e18=snapshot.total_e18 * E18 // snapshot.total_supply,
            hold_price_e18=held_before * E18 // self.hold_supply,
        )

    def withdraw(self) -> None:
        """The user withdraws: half in kind, the rest to one token."""
        share = contract_at(self.chain.rpc, "BasketVault", self.environment.vault)
        shares = share.call("balanceOf", self.depositor.address)
        half = withdraw_in_kind(self.depositor, self.environment.vault, shares // 2)
        self.console.print(
            _step(5),
            f"Withdrew in kind: {self._amounts(half.amounts)} for {shares // 2 / E18:,.2f} shares",
        )
        usdc = self.environment.deployment.listed("USDC")
        rest = withdraw_token(
            self.depositor,
            self.environment.system,
            self.environment.vault,
            usdc.address,
            shares - shares // 2,
            self.pools_now(),
            _SLIPPAGE_BPS,
        )
        self.console.print(f"  Withdrew the rest to one token: {rest.amount_raw / 10**usdc.decimals:,.2f} USDC")
        left = share.call("balanceOf", self.depositor.address)
        if left:
            raise DemoFailed(f"the depositor still has {left} shares after withdrawing all")

    def report(self) -> DemoResult:
        """Print the table and draw the charts, from the record alone."""
        records = read_records(self.record)
        summary = summarise(records)
        self.console.print(summary_table(summary))
        charts = tuple(chart(records, self.options.out / f"chart.{kind}") for kind in _CHART_KINDS)
        self.console.print(_step(6), "Files written:")
        tables = write_tables(records, self.options.out) if self.options.csv else ()
        for path in (*charts, self.record, *tables, self.options.out / "keeper.log"):
            self.console.print(f"  {path}", soft_wrap=True)
        if summary.mismatches or summary.over_limit:
            raise DemoFailed(
                f"{counted(summary.mismatches, 'rebalance')} with a ledger mismatch, "
                f"{counted(summary.over_limit, 'rebalance')} above the loss limit"
            )
        return DemoResult(summary, self.record, charts)

    # Formats

    def _symbol(self, address: str) -> str:
        return next(token.symbol for token in self.tokens if token.address == address)

    def _amounts(self, amounts: Sequence[int]) -> str:
        assets = self.snapshot().basket.assets
        return ", ".join(
            f"{amount / 10**asset.decimals:,.4f} {self._symbol(asset.token)}"
            for asset, amount in zip(assets, amounts, strict=True)
        )


def _rebalance_record(reason: str, outcome: Outcome) -> RebalanceRecord:
    settled, after, plan = outcome.settled, outcome.after, outcome.plan
    if settled is None or plan is None or outcome.predicted is None:
        raise DemoFailed("a rebalance could not be compared with the policy")
    return RebalanceRecord(
        block=outcome.receipt.block_number,
        at=settled.state.rebalanced_at,
        tx_hash=outcome.receipt.transaction_hash,
        epoch=settled.state.epoch,
        reason=reason,
        drift_before_bps=_drifts_bps(settled.before),
        drift_after_bps=_drifts_bps(settled.after),
        sold_raw=outcome.fill.sold,
        bought_raw=outcome.fill.bought,
        value_e18=settled.before.total_e18,
        sold_value_e18=settled.sold_e18,
        loss_e18=settled.sold_e18 - settled.bought_e18,
        limit_e18=settled.slippage_limit_e18,
        loss_left_e18=after.loss_left_e18,
        turnover_left_e18=after.turnover_left_e18,
        gas_used=outcome.receipt.gas_used,
        predicted_held_raw=outcome.predicted.held,
        actual_held_raw=outcome.after.basket.held,
        bound_by=plan.bound_by if settled.after.broken is not None else None,
    )


def _drifts_bps(weighed: Weighed) -> tuple[int, ...]:
    """Signed drift of each asset in basis points, rounded away from zero."""
    return tuple(
        div_up(abs(distance) * BPS, weighed.total_e18) * (1 if distance > 0 else -1)
        for distance in weighed.distances_e18
    )


def _new_outbox(path: Path) -> Outbox:
    """An empty outbox: the chain of an earlier demo no longer exists."""
    for old in path.parent.glob(path.name + "*"):
        old.unlink()
    return Outbox(path)


@contextmanager
def _logs_to(path: Path) -> Iterator[None]:
    """Send logs to a file while the live view draws on the screen."""
    before = structlog.get_config()
    with path.open("w", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                lambda _logger, _method, event: {k: v for k, v in event.items() if v is not None},
                structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.configure(**before)
