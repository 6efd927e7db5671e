"""Tuning of a keeper from settings and command line, at the start and when a running keeper reloads its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from rebalancer.cli.logs import set_up_logs
from rebalancer.cli.session import read_chains
from rebalancer.errors import ConfigError
from rebalancer.keeper import EvaluatorOptions, KeeperOptions
from rebalancer.keeper.keeper import Tuning
from rebalancer.send.from_settings import max_spend_per_day_wei, rules_of
from rebalancer.settings import Settings, changed, value_of
from rebalancer.units import E18

__all__ = ["RunOptions", "keeper_options", "reloaded", "tuning_of"]

log = structlog.get_logger("rebalancer.keeper")


@dataclass(frozen=True)
class RunOptions:
    """Options of a run from the command line.

    `waits`: a tick waits for the receipts of its transactions. `alone`: the keeper manages one chain only.
    """

    vault: str | None = None
    account: int | None = None
    dry_run: bool = False
    poll_seconds: float | None = None
    waits: bool = True
    alone: bool = True


def tuning_of(settings: Settings, requested: RunOptions) -> Tuning:
    """Everything that a running keeper can reload: its options, send rules, evaluation and daily spending limit."""
    return Tuning(
        keeper_options(settings, requested),
        rules_of(settings),
        EvaluatorOptions(replan_blocks=settings.keeper.replan_blocks),
        max_spend_per_day_wei(settings),
    )


def keeper_options(settings: Settings, requested: RunOptions) -> KeeperOptions:
    """Options of a keeper; the command line's polling interval overrides the settings'."""
    keeper, socket = settings.keeper, settings.rpc_websocket_url
    return KeeperOptions(
        dry_run=requested.dry_run,
        poll_seconds=requested.poll_seconds or keeper.poll_seconds,
        max_consecutive_failures=keeper.max_consecutive_failures,
        gives_up=requested.alone,
        backoff_seconds=keeper.backoff_seconds,
        fee_cap_wei=keeper.fee_cap_wei,
        receipt_seconds=keeper.receipt_timeout_seconds if requested.waits else 0,
        native_price_e18=int((keeper.native_price_usd or 0) * E18),
        tick_timeout_seconds=keeper.tick_timeout_seconds,
        socket_url=socket.get_secret_value() if socket else None,
    )


def reloaded(options: Any, requested: RunOptions, running: dict[int, Settings]) -> Mapping[int, Tuning]:
    """Reload the settings of the running chains; log errors, changes, and settings that need a restart."""
    try:
        found = {settings.chain_id: settings for settings in read_chains(options)}
    except ConfigError as wrong:
        log.error("settings_refused", why=str(wrong))
        return {}
    tunings = {}
    for chain_id, before in running.items():
        after = found.get(chain_id)
        if after is None:
            log.warning("restart_needed", chain_id=chain_id, why="the chain is not in the settings")
            continue
        differing = changed(before, after)
        waiting = [setting.name for setting in differing if not setting.live]
        if waiting:
            log.warning("restart_needed", chain_id=chain_id, settings=waiting)
        for setting in differing:
            if setting.live:
                values = [str(value_of(each, setting.name)) for each in (before, after)]
                reported = {"setting": setting.name, "before": values[0], "after": values[1]}
                log.info("setting_changed", chain_id=chain_id, **reported)
        if any(setting.live for setting in differing):
            set_up_logs(after, *found.values())
            tunings[chain_id] = tuning_of(after, requested)
            running[chain_id] = after
    for chain_id in found.keys() - running.keys():
        log.warning("restart_needed", chain_id=chain_id, why="the chain is new in the settings")
    return tunings
