"""Decisions as a keeper reports them: what it decided about a vault, why, and the outcome."""

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
    """What a mined rebalance did. `settled` is what the policy makes of the measured fill, and equal to the vault's books.

    `plan` and `predicted`, from before it was sent, are None where another run of the keeper sent it. `settled` and the budgets
    left are None where other transactions of the vault in the same block keep its books from being compared.
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
    """What a look at a vault came to, and why: `text` is one sentence for people.

    `snapshot` is the vault at that block, exactly; None of a vault among very many that needs nothing. `epoch` and `drift_bps` of
    what a rebalance came to are those before it; `drift_bps` is None while the vault cannot be weighed. `kind` is what was sent:
    "rebalance", "poke", "sync", "" for nothing.
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
    """What the lens says of a vault, in one sentence."""
    match snapshot.reason:
        case Reason.BAND_BROKEN:
            return f"a weight is {snapshot.drift_bps} bps off its target; a rebalance may run"
        case Reason.CALENDAR_DUE:
            return "the calendar asks for a rebalance, though every weight is inside its band"
        case Reason.IN_BAND:
            return f"every weight is inside its band; the furthest is {snapshot.drift_bps} bps off"
        case Reason.PAUSED:
            barred = _barred(snapshot)
            if not barred:
                return "the guardian has paused rebalancing"
            return f"rebalancing is paused, and {barred} lost balance: the owner allows its purchases and resumes"
        case Reason.LOSS_NOT_WRITTEN_DOWN:
            return explain_loss(snapshot)
        case Reason.PURCHASES_BARRED:
            return f"all that lacks is {_barred(snapshot)}, which lost balance and may not be bought until the owner allows it"
        case Reason.COOLDOWN:
            until = snapshot.state.rebalanced_at + snapshot.policy.cooldown_seconds
            return f"the last rebalance was too recent; the next may run from {utc(until)} on"
        case Reason.ORACLE_FAULT:
            faults = ", ".join(
                f"{asset.token} ({Fault(price.fault).words})"
                for asset, price in zip(snapshot.basket.assets, snapshot.basket.prices, strict=True)
                if price.fault != "None"
            )
            return f"no sound price for {faults}"
        case _:
            return "the basket is worth nothing, or more than can be computed"


def explain_loss(snapshot: VaultSnapshot) -> str:
    """Of which tokens a vault has less than it owes, in one sentence."""
    losses = ", ".join(
        f"{missing_raw} raw units of {asset.token}"
        for asset, missing_raw in zip(snapshot.basket.assets, snapshot.missing_raw, strict=True)
        if missing_raw
    )
    return f"{losses} are missing, and the loss is not written down yet"


def loss_text(snapshot: VaultSnapshot) -> str:
    """What an owner must know of a vault that lost more than dust of a token, in one sentence; "" of any other."""
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
    reported = f"{barred} lost balance: the owner may allow its purchases (allowPurchases)"
    return f"{reported}, and resumes trading (resumeRebalance)" if snapshot.state.paused else reported


def _barred(snapshot: VaultSnapshot) -> str:
    """The tokens that may not be bought."""
    basket = snapshot.basket
    return ", ".join(asset.token for i, asset in enumerate(basket.assets) if basket.is_barred(i))
