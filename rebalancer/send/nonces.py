"""Nonces that block an account, and how they are cleared.

Three things can happen to a sequence of nonces that the outbox did not do itself. A **gap**: the
chain lacks a nonce below one that is journalled, so nothing after it can be mined; it is filled
with nothing, sent to oneself. Somebody else's **pending** transaction with the same key: it is left
alone until the operator says otherwise, because it may be wanted. A nonce **spent** by somebody
else: the attempt that held it is void, which `Outbox.resume` and `Outbox.advance` find out.
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

_MOST_UNASKED = 8  # a few that were dropped; more is another chain, or another outbox


class NonceFault(StrEnum):
    """Why a nonce stands in the way."""

    GAP = "gap"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class StuckNonce:
    """A nonce that stands in the way."""

    address: str
    nonce: int
    trouble: NonceFault


def survey(outbox: Outbox, rpc: Rpc, address: str) -> list[StuckNonce]:
    """The nonces of an account that the chain or the journal lacks, lowest first. Sends nothing.

    Raises:
        NonceGap: the journal has later ones as mined, so this is not the chain they were mined on.
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
    """Fill the gaps in accounts' sequences, if they are few and nothing foreign is under way.

    Raises:
        ForeignPending: somebody else's transactions are under way.
        TooManyGaps: there are more than are filled unasked.
        NonceGap: this is not the chain that the journal knows.
    """
    filled: list[Attempt] = []
    for sender in map(as_sender, signers):
        stuck = survey(outbox, rpc, sender.address)
        foreign = [one.nonce for one in stuck if one.trouble is NonceFault.FOREIGN]
        if foreign:
            raise ForeignPending(sender.address, foreign)
        if len(stuck) > _MOST_UNASKED:
            raise TooManyGaps(sender.address, [one.nonce for one in stuck], _MOST_UNASKED)
        filled += clear(outbox, rpc, sender, stuck)
    return filled


def clear(outbox: Outbox, rpc: Rpc, sender: SenderAccount, stuck: list[StuckNonce]) -> list[Attempt]:
    """Fill gaps, and replace what is foreign, with nothing, sent to oneself. Does not wait for a block.

    What a foreign transaction offers is not known, so each refusal is answered by a higher offer,
    up to the cap.

    Raises:
        FeeAboveCap: gas is too dear.
        RpcRejected: the node takes no offer up to the cap.
    """
    return [_fill(outbox, rpc, sender, one) for one in stuck]


def _fill(outbox: Outbox, rpc: Rpc, sender: SenderAccount, stuck: StuckNonce) -> Attempt:
    cap_wei = min(outbox.rules.fee_cap_wei, sender.limits.max_fee_per_gas_wei or outbox.rules.fee_cap_wei)
    why = {
        NonceFault.GAP: "fills a nonce that the chain lacked",
        NonceFault.FOREIGN: "replaces a transaction that is not in the outbox",
    }[stuck.trouble]
    market = read_market(rpc)
    fees: GasFees | None = offer(market, cap_wei)
    refused: RpcRejected | None = None
    while fees is not None:
        try:
            attempt = outbox.fill(rpc, sender, stuck.nonce, fees, why)
        except RpcRejected as rejection:
            refused = rejection
        else:
            # A dearer version that is refused leaves its attempt open, and the reason with it.
            if attempt.state is not AttemptState.FAILED and not attempt.newest.is_refused:
                return attempt
        fees = bumped(_doubled(fees, cap_wei), market, cap_wei)
    raise refused or FeeAboveCap(market.base_fee_wei, cap_wei)


def _doubled(fees: GasFees, cap_wei: int) -> GasFees:
    """Nearly twice as much, so that few offers lead to the cap."""
    return GasFees(
        min(2 * fees.max_fee_per_gas_wei, max(cap_wei * 8 // 9, fees.max_fee_per_gas_wei)),
        min(2 * fees.max_priority_fee_per_gas_wei, cap_wei * 8 // 9),
    )
