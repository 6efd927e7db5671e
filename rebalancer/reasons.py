"""Reasons of decisions: one word for each reason to rebalance a vault or not.

The first nine are VaultLens.Reason, in its order; the keeper adds those that only the keeper can know. The lens, logs,
metrics, records and the command line all use these words.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["LENS_REASONS", "Reason"]


class Reason(StrEnum):
    """Why a vault can or cannot be rebalanced, or why it was or was not."""

    BAND_BROKEN = "BandBroken"
    """A weight is outside its band, and a rebalance is allowed."""
    IN_BAND = "InBand"
    """All weights are inside their bands."""
    PAUSED = "Paused"
    """The guardian has paused rebalancing."""
    COOLDOWN = "Cooldown"
    """The cooldown after the last rebalance has not ended."""
    ORACLE_FAULT = "OracleFault"
    """The price of an asset has a fault."""
    TOTAL_OUT_OF_RANGE = "TotalOutOfRange"
    """The basket's value is zero, or too large to compute."""
    CALENDAR_DUE = "CalendarDue"
    """All weights are inside their bands, but a calendar rebalance is due."""
    LOSS_NOT_WRITTEN_DOWN = "LossNotWrittenDown"
    """The vault holds less of a token than its ledger and the open claims require; anyone may call `sync` to write the
    loss down."""
    PURCHASES_BARRED = "PurchasesBarred"
    """Every asset below its target has lost balance, and the owner has not allowed its purchase again."""

    REBALANCED = "Rebalanced"
    """A rebalance was mined and matches its prediction."""
    NO_ROUTE = "NoRoute"
    """No known pool connects an asset in surplus to an asset in deficit."""
    AWAITS_PRICE = "AwaitsPrice"
    """Trades are allowed, but cost more than the keeper accepts while the vault's slippage limit still rises."""
    BUDGET_SPENT = "BudgetSpent"
    """The remaining loss or turnover budget allows no useful trade."""
    NOT_WORTH_GAS = "NotWorthGas"
    """Losses, gas and tip together exceed the benefit of a rebalance."""
    POLICY_REFUSES = "PolicyRefuses"
    """The vault's own checks would reject the best known plan."""
    PLAN_FAILED = "PlanFailed"
    """Planning failed because of a bug in the program."""
    SIMULATION_REFUSED = "SimulationRefused"
    """The transaction reverted in a simulation, so it was not sent."""
    SYNCED = "Synced"
    """A sync was mined: a loss of balance is written down."""
    POKED = "Poked"
    """A poke was mined: the vault recorded that a rebalance is due, or no longer due. The slippage limit depends on
    this time."""
    IN_FLIGHT = "InFlight"
    """A transaction for the vault was sent and is not mined yet."""
    REVERTED = "Reverted"
    """The transaction was mined and reverted."""
    CANCELLED = "Cancelled"
    """The transaction had no effect: an empty transaction replaced it, or another transaction used its nonce."""
    NOT_SENT = "NotSent"
    """A transaction is due, but a limit of the keeper prevents sending it: fees, spending, sender accounts or ether."""
    HALTED = "Halted"
    """The keeper's circuit breaker for this vault is open."""
    NOT_YET = "NotYet"
    """Planning is postponed to a later block: other vaults go first, the tick had no time left, or other trades changed
    the pools."""
    DRY_RUN = "DryRun"
    """The keeper is in dry-run mode and did not send the rebalance."""


LENS_REASONS = tuple(Reason)[:9]
"""The members of VaultLens.Reason; the index is the contract's number."""
