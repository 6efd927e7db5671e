"""Options that `rebalancer demo` and `rebalancer devnet` share: the market that the local chain replays."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["days_option", "pool_option", "seed_option", "since_option", "tape_option", "until_option"]

tape_option = click.option(
    "--tape",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="a synthetic market",
    help="Folder of oracle rounds to replay, in files named like eth_usd_rounds.csv.",
)
pool_option = click.option(
    "--pool",
    "pools",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="synthetic pools",
    help="Snapshot file of a real pool; its price is moved to the first prices of the tape. May be repeated.",
)
since_option = click.option(
    "--from",
    "since",
    show_default="the tape's beginning",
    help="Start of the replayed part of the tape: a date, or a Unix time in seconds.",
)
until_option = click.option(
    "--to",
    "until",
    show_default="the tape's end",
    help="End of the replayed part (exclusive): a date, or a Unix time in seconds.",
)
seed_option = click.option("--seed", default=1, help="Random seed of the synthetic market.")
days_option = click.option(
    "--days",
    type=click.FloatRange(min=0.1, max=3_650),
    default=60.0,
    help="Length of the synthetic market, in days.",
)
