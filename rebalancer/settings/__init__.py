"""Settings of this program: their schema, how they are loaded, and how they are described."""

from __future__ import annotations

from rebalancer.settings.describe import Setting, changed, describe, value_of
from rebalancer.settings.load import load_chains, load_settings
from rebalancer.settings.schema import (
    AccountSettings,
    AlertSettings,
    FleetSettings,
    KeeperSettings,
    Settings,
)
from rebalancer.settings.values import AlertUrl, RpcUrl, WebSocketUrl

__all__ = [
    "AccountSettings",
    "AlertSettings",
    "AlertUrl",
    "FleetSettings",
    "KeeperSettings",
    "RpcUrl",
    "Setting",
    "Settings",
    "WebSocketUrl",
    "changed",
    "describe",
    "load_chains",
    "load_settings",
    "value_of",
]
