"""Why something is done or not done: one word for it everywhere.

The first nine are VaultLens.Reason, in its order; the keeper adds what only it can know. The lens, logs, metrics, records and
the command line all use these words.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["LENS_REASONS", "Reason"]


class Reason(StrEnum):
    """Why a vault can, cannot, was or was not rebalanced."""

    BAND_BROKEN = "BandBroken"
    """A weight has left its band and a rebalance may run."""
    IN_BAND = "InBand"
    """Every weight is inside its band."""
    PAUSED = "Paused"
    """The guardian stopped rebalancing."""
    COOLDOWN = "Cooldown"
    """The last rebalance was too recent."""
    ORACLE_FAULT = "OracleFault"
    """An asset has no sound price."""
    TOTAL_OUT_OF_RANGE = "TotalOutOfRange"
    """The basket is worth nothing, or more than can be computed."""
    CALENDAR_DUE = "CalendarDue"
    """Every weight is inside its band, but the calendar asks for a rebalance."""
    LOSS_NOT_WRITTEN_DOWN = "LossNotWrittenDown"
    """The vault has less of a token than its ledger and the open claims say; anyone may have it written down (`sync`)."""
    PURCHASES_BARRED = "PurchasesBarred"
    """Every asset below its target has lost balance, and the owner has not allowed buying it again."""

    REBALANCED = "Rebalanced"
    """A rebalance was mined and checked against its prediction."""
    NO_ROUTE = "NoRoute"
    """No known pool leads from what is in surplus to what is in deficit."""
    AWAITS_PRICE = "AwaitsPrice"
    """Trades would be allowed, but cost more than is paid while the vault's slippage limit still climbs."""
    BUDGET_SPENT = "BudgetSpent"
    """What is left of the loss or turnover budget allows no useful trade."""
    NOT_WORTH_GAS = "NotWorthGas"
    """Losses, gas and tip together would be more than bringing the basket home is worth."""
    POLICY_REFUSES = "PolicyRefuses"
    """The best plan known would be refused by the vault's own checks."""
    PLAN_FAILED = "PlanFailed"
    """Seeking trades for it failed by a mistake of the program."""
    SIMULATION_REFUSED = "SimulationRefused"
    """The chain refused the transaction in a simulation, so it was not sent."""
    SYNCED = "Synced"
    """A sync was mined: a loss of balance is written down."""
    POKED = "Poked"
    """The vault was told that a band is broken, or whole again; the slippage it allows follows from that."""
    UNDER_WAY = "UnderWay"
    """A transaction for it was sent, and no block has it yet."""
    REVERTED = "Reverted"
    """The transaction was mined and refused by a contract."""
    CANCELLED = "Cancelled"
    """The transaction came to nothing: it was replaced by nothing, or its nonce was used otherwise."""
    NOT_SENT = "NotSent"
    """A transaction is due, and a limit of the keeper's own forbids to send it: fees, spending, lanes, ether."""
    HALTED = "Halted"
    """The keeper's circuit breaker for this vault is open."""
    NOT_YET = "NotYet"
    """It is planned again at a later block: its turn has not come, no time was left, or others have traded first."""
    DRY_RUN = "DryRun"
    """A rebalance would have been sent, but the keeper only looks."""


LENS_REASONS = tuple(Reason)[:9]
"""VaultLens.Reason, by number."""
