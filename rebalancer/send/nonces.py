"""Nonces that block an account, and how they are cleared.

Three faults of a nonce sequence do not come from the outbox. A **gap**: the chain lacks a nonce below a journalled one,
so no later transaction can be mined; an empty transaction fills it. A **foreign** pending transaction with the same
key: it is left alone until the operator decides, because it may be wanted. A nonce **spent** by a foreign transaction:
the attempt that held it fails, which `Outbox.resume` and `Outbox.advance` find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rebalancer.chain.rpc import Rpc
from rebalancer.errors import FeeAboveCap, ForeignPending, NonceGap, RpcRejected, TooManyGaps
from rebalancer.send.attempt import OPEN, Attempt, AttemptState
from rebalancer.send.fees import GasFees, bumped, offer, read_market
from rebalancer.send.outbox import Outbox
from rebalancer.send.sender_accounts import SenderAccount, as_sender
from rebalancer.send.signed import Signer

__all__ = ["NonceFault", "StuckNonce", "clear", "clear_on_start", "survey"]

_MOST_FILLED = 8  # a few were dropped; more mean another chain or another outbox


class NonceFault(StrEnum):
    """Why a nonce blocks an account."""

    GAP = "gap"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class StuckNonce:
    """A nonce that blocks an account."""

    address: str
    nonce: int
    fault: NonceFault


def survey(outbox: Outbox, rpc: Rpc, address: str) -> list[StuckNonce]:
    """The nonces of an account that the chain or the journal lacks, lowest first. Sends nothing.

    Raises:
        NonceGap: the journal has later nonces as mined, so this is another chain.
    """
    chain_id = rpc.chain_id()
    latest = int(rpc.call("eth_getTransactionCount", address, "latest"), 16)
    pending = int(rpc.call("eth_getTransactionCount", address, "pending"), 16)
    ours = {
        attempt.nonce
        for attempt in outbox.journal.watched(chain_id)
        if attempt.sender == address
        and attempt.nonce is not None
        and (attempt.state in OPEN or attempt.fills_its_nonce)
    }
    highest = outbox.journal.highest_nonce(chain_id, address)
    if highest is not None and highest.is_final and (highest.nonce or 0) >= latest:
        raise NonceGap(str(highest.transaction_hash), highest.nonce or 0, latest)
    known = outbox.journal.known_nonces(chain_id, address, latest)
    foreign = [n for n in range(latest, pending) if n not in known]
    gaps = [n for n in range(pending, max(ours, default=-1)) if n not in ours]
    return [StuckNonce(address, nonce, NonceFault.FOREIGN) for nonce in foreign] + [
        StuckNonce(address, nonce, NonceFault.GAP) for nonce in gaps
    ]


def clear_on_start(outbox: Outbox, rpc: Rpc, signers: Sequence[Signer]) -> list[Attempt]:
    """Fill the gaps in accounts' nonce sequences, if they are few and there are no foreign pending transactions.

    Raises:
        ForeignPending: there are foreign pending transactions.
        TooManyGaps: there are more gaps than are filled without the operator.
        NonceGap: this is another chain than the journal's.
    """
    filled: list[Attempt] = []
    for sender in map(as_sender, signers):
        stuck = survey(outbox, rpc, sender.address)
        foreign = [one.nonce for one in stuck if one.fault is NonceFault.FOREIGN]
        if foreign:
            raise ForeignPending(sender.address, foreign)
        if len(stuck) > _MOST_FILLED:
            raise TooManyGaps(sender.address, [one.nonce for one in stuck], _MOST_FILLED)
        filled += clear(outbox, rpc, sender, stuck)
    return filled


def clear(outbox: Outbox, rpc: Rpc, sender: SenderAccount, stuck: list[StuckNonce]) -> list[Attempt]:
    """Fill gaps, and replace foreign transactions, with empty transactions. Does not wait for a block.

    The fee of a foreign transaction is unknown, so the offer is raised after each rejection, up to the cap.

    Raises:
        FeeAboveCap: gas is too expensive.
        RpcRejected: the node accepts no offer up to the cap.
    """
    return [_fill(outbox, rpc, sender, one) for one in stuck]


def _fill(outbox: Outbox, rpc: Rpc, sender: SenderAccount, stuck: StuckNonce) -> Attempt:
    cap_wei = min(outbox.rules.fee_cap_wei, sender.limits.max_fee_per_gas_wei or outbox.rules.fee_cap_wei)
    why = {
        NonceFault.GAP: "fills a nonce that the chain lacked",
        NonceFault.FOREIGN: "replaces a transaction that is not in the outbox",
    }[stuck.fault]
    market = read_market(rpc)
    fees: GasFees | None = offer(market, cap_wei)
    refused: RpcRejected | None = None
    while fees is not None:
        try:
            attempt = outbox.fill(rpc, sender, stuck.nonce, fees, why)
        except RpcRejected as rejection:
            refused = rejection
        else:
            # A rejected replacement leaves its attempt open, with the reason.
            if attempt.state is not AttemptState.FAILED and not attempt.newest.is_refused:
                return attempt
        fees = bumped(_doubled(fees, cap_wei), market, cap_wei)
    raise refused or FeeAboveCap(market.base_fee_wei, cap_wei)


def _doubled(fees: GasFees, cap_wei: int) -> GasFees:
    """Nearly twice the fees, so that few offers reach the cap."""
    return GasFees(
        min(2 * fees.max_fee_per_gas_wei, max(cap_wei * 8 // 9, fees.max_fee_per_gas_wei)),
        min(2 * fees.max_priority_fee_per_gas_wei, cap_wei * 8 // 9),
    )
