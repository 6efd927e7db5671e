"""Construction of an outbox, and of a signer with its limits, from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rebalancer.chain.interfaces import interface
from rebalancer.errors import SpendingUnwritable
from rebalancer.send.attempt import KEEPER_FUNCTIONS
from rebalancer.send.fence import Fence
from rebalancer.send.lifecycle import SendRules
from rebalancer.send.outbox import Outbox
from rebalancer.send.relay import RelayRpc, Relays
from rebalancer.send.sender_accounts import KeyLimits, SenderAccount
from rebalancer.send.signed import Signer
from rebalancer.send.spending import Spending
from rebalancer.settings import Settings
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = ["max_spend_per_day_wei", "outbox_of", "rules_of", "sender_of"]

_WEI = 10**18


def outbox_of(settings: Settings, fence: Fence | None = None) -> Outbox:
    """The keeper's outbox with its rules and relays, and with a fence if other machines may send for its accounts.

    Raises:
        OutboxError: the journal cannot be opened.
    """
    keeper = settings.keeper
    endpoints = [RelayRpc(relay.get_secret_value(), settings.rpc_timeout_seconds) for relay in keeper.relays]
    rules = rules_of(settings)
    relays = Relays(endpoints, keeper.relay_method, keeper.public_after_blocks, rules.min_pending_seconds)
    spending = _spending(keeper.spending_file) if _has_own_keys(settings) else None
    try:
        return Outbox(keeper.outbox_file, rules, relays, fence, spending)
    except BaseException:
        if spending is not None:
            spending.close()
        raise


def _spending(path: Path) -> Spending:
    try:
        return Spending(path.expanduser())
    except RuntimeError:
        raise SpendingUnwritable(path, "this user has no home folder") from None


def _has_own_keys(settings: Settings) -> bool:
    """Whether the keeper has keys of its own: the test accounts of a local chain are public, and each new chain "
    "starts without spending."""
    accounts = (settings.keeper, *settings.keeper.extra_accounts)
    has_key = any(one.keystore is not None or one.signer_url is not None for one in accounts)
    return has_key or settings.chain_id != DEVNET_CHAIN_ID


def rules_of(settings: Settings) -> SendRules:
    """Rules of the keeper's outbox."""
    keeper = settings.keeper
    is_devnet = settings.chain_id == DEVNET_CHAIN_ID

    def chosen(name: str, on_devnet: int) -> Any:
        is_set = name in keeper.model_fields_set
        return getattr(keeper, name) if is_set or not is_devnet else on_devnet

    return SendRules(
        fee_cap_wei=keeper.fee_cap_wei,
        bump_after_blocks=keeper.bump_after_blocks,
        confirmations=chosen("confirmations", 1),
        min_pending_seconds=chosen("min_pending_seconds", 0),
    )


def max_spend_per_day_wei(settings: Settings) -> int:
    """Daily spending limit of each of the keeper's accounts."""
    return int(settings.keeper.max_spend_ether_per_day * _WEI)


def sender_of(signer: Signer, settings: Settings, vaults: Iterable[str]) -> SenderAccount:
    """The keeper's signer, limited to the calls of keepers to these vaults."""
    keeper = settings.keeper
    functions = interface("BasketVault").functions
    limits = KeyLimits(
        max_fee_per_gas_wei=keeper.fee_cap_wei,
        max_spend_per_day_wei=max_spend_per_day_wei(settings),
        targets=frozenset(keeper.allowed_targets or vaults),
        selectors=frozenset("0x" + functions[name].selector.hex() for name in KEEPER_FUNCTIONS),
    )
    return SenderAccount(signer, limits)
