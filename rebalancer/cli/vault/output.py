"""Output that several `rebalancer vault` commands share."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from rebalancer.cli.format import console
from rebalancer.cli.session import Session
from rebalancer.errors import PolicyRefused
from rebalancer.operations.minimums import large_minimums
from rebalancer.settlement import Basket, Policy

__all__ = ["print_done", "warn_of_minimums"]


def print_done(what: str, done: Any) -> None:
    """Print what a command did, and its transaction."""
    console().print(what)
    console().print(f"transaction {done.transaction_hash}, gas {done.gas_used:,}", style="dim")


def warn_of_minimums(session: Session, basket: Basket, policy: Policy) -> None:
    """Warn on standard error about minimum trades that are larger than the vault's usual trades."""
    with suppress(PolicyRefused):  # cannot be checked without a sound price
        for one in large_minimums(basket, policy):
            asset = basket.assets[one.asset]
            text = one.sentence(session.symbol(asset.token), asset.decimals)
            click.echo(f"Warning: {text}.", err=True)
