"""`rebalancer demo`: a vault on a local chain, from deposit to withdrawal."""

from __future__ import annotations

from pathlib import Path

import click

from rebalancer.cli.market_options import (
    days_option,
    pool_option,
    seed_option,
    since_option,
    tape_option,
    until_option,
)
from rebalancer.demo import DemoOptions, run_demo
from rebalancer.devnet.node import NodeKind

__all__ = ["demo"]

_DEFAULTS = DemoOptions()


@click.command()
@tape_option
@pool_option
@since_option
@until_option
@seed_option
@days_option
@click.option(
    "--band-bps",
    type=click.IntRange(1, 5_000),
    default=_DEFAULTS.band_bps,
    help="Band of each asset: the drift from its target at which the keeper trades, in basis points.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=_DEFAULTS.out,
    help="Output folder for the record, the charts and the keeper's log.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Also write the record as ticks.csv and rebalances.csv.")
@click.option("--hardhat", is_flag=True, help="Run the chain in Hardhat instead of Anvil.")
def demo(
    tape: Path | None,
    pools: tuple[Path, ...],
    since: str | None,
    until: str | None,
    seed: int,
    days: float,
    band_bps: int,
    out: Path,
    as_csv: bool,
    hardhat: bool,
) -> None:
    """Run a vault from deposit to withdrawal on a local chain, and report it.

    Deposits, replays a market while a keeper rebalances each time a weight leaves its band, and withdraws. Prints a
    table of results; writes charts and a record of every tick and rebalance.
    """
    run_demo(
        DemoOptions(
            tape=tape,
            pools=pools,
            since=since,
            until=until,
            seed=seed,
            days=days,
            band_bps=band_bps,
            out=out,
            csv=as_csv,
            node=NodeKind.HARDHAT if hardhat else NodeKind.ANVIL,
        )
    )
