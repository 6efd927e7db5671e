"""`rebalancer devnet`: a local chain with a market and a vault, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rebalancer.cli.format import WholeTable, console, print_json
from rebalancer.cli.market_options import (
    days_option,
    pool_option,
    seed_option,
    since_option,
    tape_option,
    until_option,
)
from rebalancer.cli.options import json_option
from rebalancer.cli.session import read_settings
from rebalancer.devnet.environment import (
    DEMO_BAND_BPS,
    Actor,
    DevEnvironment,
    build_environment,
    raw_for_usd,
)
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.market import DevMarket
from rebalancer.devnet.node import Node, NodeKind, NodeSettings
from rebalancer.devnet.rate_assets import RateEnvironment, build_rate_environment
from rebalancer.devnet.tape import Tape, iso, open_tape
from rebalancer.errors import ContractReverted, MarketMismatch
from rebalancer.operations.addresses import check_devnets, prove_writable
from rebalancer.pool_files import load_pool
from rebalancer.venues import UniswapV3Pool, of_class

__all__ = ["devnet"]

_POCKET_USD = 1_000_000
"""Value of each token that every test account receives, in USD."""

_BUILD_SECONDS = 3_600
"""The chain starts this long before its tape, so that the set-up ends before the first round."""

_REFRESH_SECONDS = 600.0
"""After the tape, the feeds repeat their answers at this interval, so that they do not become stale."""

_ETH_FEED = "ETH/USD"
_DAY_SECONDS = 86_400

_OF_THE_SETTINGS = ""
"""Value of `--fork` without a URL."""


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8545,
    help="Port of the chain on 127.0.0.1. 0 selects a free port.",
)
@click.option("--hardhat", is_flag=True, help="Run the chain in Hardhat instead of Anvil.")
@click.option(
    "--fork",
    "fork_url",
    is_flag=False,
    flag_value=_OF_THE_SETTINGS,
    metavar="[URL]",
    help="Fork a live chain, with its own market and vaults, instead of creating new ones. Without a URL, fork "
    "the chain at rpc_url. Other users can see command lines: put a URL that contains a key in .env.",
)
@pool_option
@tape_option
@seed_option
@days_option
@since_option
@until_option
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    help="Steps of the tape per second. 0 leaves prices unchanged.",
)
@click.option(
    "--band-bps",
    type=click.IntRange(1, 5_000),
    default=DEMO_BAND_BPS,
    help="Band of each asset in the vault, in basis points.",
)
@click.option(
    "--rate-assets",
    is_flag=True,
    help="Create a vault of WETH, wstETH, USDe and sUSDe instead. The keeper can wrap and unwrap wstETH and sUSDe, "
    "which are priced by rate times feed. Of the tape, only ETH/USD is replayed.",
)
@json_option
@click.pass_obj
def devnet(
    options: Any,
    port: int,
    hardhat: bool,
    fork_url: str | None,
    pools: tuple[Path, ...],
    tape: Path | None,
    seed: int,
    days: float,
    since: str | None,
    until: str | None,
    speed: float,
    band_bps: int,
    rate_assets: bool,
    as_json: bool,
) -> None:
    """Run a local chain with Uniswap, price feeds, the system and a vault, until Ctrl-C.

    Writes the addresses file, but never over a file that a devnet did not write. Replays a tape of oracle rounds; after
    its end, prices do not change. With --json, prints one object when the chain is ready.
    """
    settings = read_settings(options)
    if rate_assets and (pools or fork_url is not None):
        raise click.UsageError("--rate-assets creates its own pools: omit --pool and --fork.")
    if fork_url == _OF_THE_SETTINGS:
        fork_url = settings.rpc_url.get_secret_value()
    file = settings.deployment
    kind = NodeKind.HARDHAT if hardhat else NodeKind.ANVIL
    shown = Console(stderr=True, markup=False, emoji=False)
    with ExitStack() as stack:
        stopped = stack.enter_context(_until_signalled())
        if fork_url is not None:
            with shown.status("Starting the fork …"):
                node = stack.enter_context(Node.start(NodeSettings(kind=kind, port=port, fork_url=fork_url)))
            _report_fork(node, as_json)
            stopped.wait()
            return
        check_devnets(file)
        prove_writable(file)
        rounds = open_tape(tape, seed, days, since, until)
        with shown.status("Starting the chain, building its market, deploying the vault …"):
            of_node = NodeSettings(kind=kind, port=port, genesis_at=rounds.start - _BUILD_SECONDS)
            node = stack.enter_context(Node.start(of_node))
            chain = LocalChain(stack.enter_context(node.rpc()))
            rates = None
            if rate_assets:
                eth_usd_e8 = rounds.first_prices_e8.get(_ETH_FEED)
                if eth_usd_e8 is None:
                    raise MarketMismatch("feed of WETH", "a feed of the tape", None)
                rates = build_rate_environment(chain, band_bps=band_bps, eth_usd_e8=eth_usd_e8)
                environment = rates.environment
            else:
                snapshots = [of_class(load_pool(path), UniswapV3Pool) for path in pools]
                environment = build_environment(chain, rounds.first_prices_e8, snapshots, band_bps=band_bps)
            _fund_accounts(environment)
            replace(environment.deployment, rpc_url=node.url).save(file)
        _report(environment, node, file, as_json)
        steps = _Steps(environment.market, shown, rates)
        if speed:
            _play(steps, rounds, speed, shown, stopped)
        shown.print("Prices do not change any more. Press Ctrl-C to stop the chain.")
        while not stopped.wait(_REFRESH_SECONDS):
            steps.step(environment.market.prices_e8, chain.now() + 1)


@contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets. A second signal raises KeyboardInterrupt."""
    stopped = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _fund_accounts(environment: DevEnvironment) -> None:
    for actor in Actor:
        for token in environment.deployment.tokens:
            amount_raw = raw_for_usd(environment.market, token.symbol, _POCKET_USD)
            environment.market.deal(token.address, actor.address, amount_raw)


def _play(market: _Steps, tape: Tape, speed: float, shown: Console, stopped: threading.Event) -> None:
    """Replay the tape at `speed` steps per second. Transactions of users are mined between the steps."""
    steps = list(tape.steps())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=shown) as progress:
        task = progress.add_task(iso(tape.start), total=len(steps))
        due = time.monotonic()
        for step in steps:
            due += 1 / speed
            if stopped.wait(max(0.0, due - time.monotonic())):
                return
            market.step(step.prices_e8, step.at)
            progress.update(task, advance=1, description=iso(step.at))


class _Steps:
    """Steps of the market. If a user makes a step fail (pauses a token, drains a pool), it is reported once."""

    def __init__(self, market: DevMarket, shown: Console, rates: RateEnvironment | None = None) -> None:
        self.market = market
        self.shown = shown
        self.rates = rates
        self._refusal = ""
        self._earned_at: int | None = None

    def step(self, prices_e8: Mapping[str, int], at: int) -> None:
        """Apply one step of the tape, or report why it failed."""
        refusal = ""
        try:
            if self.rates is not None:
                prices_e8 = self._prices_at_rates_e8(self.rates, prices_e8, at)
            self.market.step(prices_e8, at)
        except ContractReverted as refused:
            refusal = str(refused)
        if refusal and refusal != self._refusal:
            self.shown.print(f"The market step failed; prices and pools do not change. {refusal}", soft_wrap=True)
        self._refusal = refusal

    def _prices_at_rates_e8(self, rates: RateEnvironment, prices_e8: Mapping[str, int], at: int) -> dict[str, int]:
        """Prices of all tokens at the newest price of ether. Once a day, both wrapped tokens earn their yield."""
        if self._earned_at is None:
            self._earned_at = at
        elif at - self._earned_at >= _DAY_SECONDS:
            rates.earn((at - self._earned_at) // _DAY_SECONDS)
            self._earned_at += (at - self._earned_at) // _DAY_SECONDS * _DAY_SECONDS
        return rates.prices_at_rates_e8(prices_e8.get(_ETH_FEED, self.market.prices_e8[_ETH_FEED]))


def _report(environment: DevEnvironment, node: Node, file: Path, as_json: bool) -> None:
    accounts = {actor.name.lower(): actor.address for actor in Actor}
    if as_json:
        print_json(
            {
                "rpc_url": node.url,
                "chain_id": environment.deployment.chain_id,
                "deployment": file,
                "vault": environment.vault,
                "accounts": accounts,
            }
        )
        return
    table = WholeTable(title=f"Local chain at {node.url}", title_justify="left")
    for heading in ("role", "--account", "address"):
        table.add_column(heading)
    for actor in Actor:
        table.add_row(actor.name.lower().replace("_", " "), str(actor.value), actor.address)
    out = console()
    out.print(table)
    out.print(f"Each account has ${_POCKET_USD:,} of each of ", end="")
    out.print(", ".join(token.symbol for token in environment.deployment.tokens), end=", and ether.\n")
    out.print(f"Vault: {environment.vault}. {file} contains all addresses. In another terminal:\n")
    for line in _hints(node, file, environment):
        out.print(f"  {line}", soft_wrap=True)
    out.print()


def _hints(node: Node, file: Path, environment: DevEnvironment) -> list[str]:
    """Environment variables that the other commands need, and commands to try."""
    dollar = environment.deployment.token("USDC") or environment.deployment.listed("USDe")
    hints = [f"REBALANCER_RPC_URL={node.url}", f"REBALANCER_DEPLOYMENT={file}"]
    return [
        *(f"export {hint}" for hint in hints),
        "rebalancer vault status",
        f"rebalancer vault deposit --token {dollar.symbol} --amount 1000 --account {Actor.DEPOSITOR.value}",
        "rebalancer keeper run",
    ]


def _report_fork(node: Node, as_json: bool) -> None:
    if as_json:
        print_json({"rpc_url": node.url, "chain_id": node.settings.chain_id})
        return
    out = console()
    out.print(f"Fork at {node.url}, chain ID {node.settings.chain_id}. To deploy to it:")
    out.print(f"  rebalancer --rpc-url {node.url} deploy --chain chain.toml", soft_wrap=True)
    out.print("Press Ctrl-C to stop the chain.")
