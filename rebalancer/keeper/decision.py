"""Decisions as a keeper reports them: the reason, its text, and the outcome of the transaction."""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.block import Block
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.oracle import Fault
from rebalancer.plan import Plan
from rebalancer.reasons import Reason
from rebalancer.settlement import Fill, Settlement
from rebalancer.units import BPS
from rebalancer.words import utc

__all__ = ["Decision", "Outcome", "explain", "explain_loss", "loss_text"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a mined rebalance. `settled` is the policy's settlement of the measured fill; it equals the vault's
    ledger.

    `plan` and `predicted` date from before the transaction was sent; they are None if another run of the keeper sent
    it. `settled` is None if other transactions of the vault in the same block prevent the comparison with its ledger.
    """

    receipt: Receipt
    fill: Fill
    before: VaultSnapshot
    after: VaultSnapshot
    plan: Plan | None
    predicted: Settlement | None
    settled: Settlement | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of one tick about one vault. `text` is the reason in one sentence.

    `snapshot` is the vault at that block; it is None for a quiet vault that was not read in full. `epoch` and
    `drift_bps` of a rebalance's outcome are those before it. `drift_bps` is None if the vault has no valid valuation.
    `kind` is what was sent: "rebalance", "poke", "sync", or "" for nothing.
    """

    block: Block
    vault: str
    reason: Reason
    text: str
    epoch: int
    drift_bps: int | None
    snapshot: VaultSnapshot | None = None
    plan: Plan | None = None
    outcome: Outcome | None = None
    transaction_hash: str | None = None
    kind: str = ""


def explain(snapshot: VaultSnapshot) -> str:
    """The reason of the lens for a vault, in one sentence."""
    match snapshot.reason:
        case Reason.BAND_BROKEN:
            return f"a weight is {snapshot.drift_bps} bps off its target; a rebalance may run"
        case Reason.CALENDAR_DUE:
            return "a calendar rebalance is due, although every weight is inside its band"
        case Reason.IN_BAND:
            return f"every weight is inside its band; the furthest is {snapshot.drift_bps} bps off"
        case Reason.PAUSED:
            barred = _barred(snapshot)
            if not barred:
                return "the guardian has paused rebalancing"
            return f"rebalancing is paused because {barred} lost balance; the owner must allow purchases and resume"
        case Reason.LOSS_NOT_WRITTEN_DOWN:
            return explain_loss(snapshot)
        case Reason.PURCHASES_BARRED:
            return (
                f"the only token to buy is {_barred(snapshot)}, which lost balance; the owner must allow its purchases"
            )
        case Reason.COOLDOWN:
            until = snapshot.state.rebalanced_at + snapshot.policy.cooldown_seconds
            return f"the cooldown after the last rebalance lasts until {utc(until)}"
        case Reason.ORACLE_FAULT:
            faults = ", ".join(
                f"{asset.token} ({Fault(price.fault).words})"
                for asset, price in zip(snapshot.basket.assets, snapshot.basket.prices, strict=True)
                if price.fault != "None"
            )
            return f"no valid price for {faults}"
        case _:
            return "the basket is worth nothing, or too much to compute"


def explain_loss(snapshot: VaultSnapshot) -> str:
    """The tokens of which a vault holds less than its ledger says, in one sentence."""
    losses = ", ".join(
        f"{missing_raw} raw units of {asset.token}"
        for asset, missing_raw in zip(snapshot.basket.assets, snapshot.missing_raw, strict=True)
        if missing_raw
    )
    return f"{losses} are missing, and the loss is not written down yet"


def loss_text(snapshot: VaultSnapshot) -> str:
    """Message to the owner of a vault that lost more than dust of a token, in one sentence; "" for other vaults."""
    dust_bps = snapshot.policy.dust_bps
    lost = any(
        missing_raw * BPS > dust_bps * held
        for held, missing_raw in zip(snapshot.basket.held, snapshot.missing_raw, strict=False)
    )
    if lost:
        return explain_loss(snapshot)
    barred = _barred(snapshot)
    if not barred:
        return ""
    advice = f"{barred} lost balance: the owner may allow its purchases (allowPurchases)"
    return f"{advice} and resume trading (resumeRebalance)" if snapshot.state.paused else advice


def _barred(snapshot: VaultSnapshot) -> str:
    """Addresses of the tokens that must not be bought."""
    basket = snapshot.basket
    return ", ".join(asset.token for i, asset in enumerate(basket.assets) if basket.is_barred(i))
