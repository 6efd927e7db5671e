"""`rebalancer vault`: create vaults, show them, deposit, withdraw and change their targets. One module per task."""

from __future__ import annotations

import click

from rebalancer.cli import Group
from rebalancer.cli.vault.claims import claim, position
from rebalancer.cli.vault.create import create
from rebalancer.cli.vault.money import deposit, withdraw
from rebalancer.cli.vault.status import status
from rebalancer.cli.vault.sync import sync
from rebalancer.cli.vault.targets import set_bands, set_targets

__all__ = ["vault"]


@click.group(cls=Group)
def vault() -> None:
    """Create vaults, show them, deposit, withdraw, set targets and bands."""


for _command in (create, status, deposit, withdraw, position, claim, sync, set_targets, set_bands):
    vault.add_command(_command)
