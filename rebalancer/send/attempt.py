"""Attempts to send transactions: their types and their state machine.

An attempt is one try at an intent and holds one nonce. Its versions are the transactions signed for that nonce: the
original, replacements with a higher fee (bumps), a cancellation. At most one version is ever mined, and the mined one
decides the outcome:

    planned → signed → sent → bumped ┬→ mined → final
                          └→ cancelling ┴→ cancelled        (or failed)

An epoch of a vault has at most one attempt that is neither failed nor cancelled.

This module reads no chain, no file and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rebalancer.chain.interfaces import interface
from rebalancer.send.fees import GasFees

__all__ = [
    "KEEPER_FUNCTIONS",
    "LIVE",
    "OPEN",
    "SIGNED",
    "Attempt",
    "AttemptState",
    "HandedOver",
    "Intent",
    "Kind",
    "Sending",
    "SignedVersion",
    "Version",
    "check_transition",
    "standing",
    "state_once_signed",
]

KEEPER_FUNCTIONS = ("rebalance", "poke", "sync")
"""Functions of the vault that keepers call."""


class AttemptState(StrEnum):
    """State of an attempt."""

    PLANNED = "planned"
    SIGNED = "signed"
    SENT = "sent"
    BUMPED = "bumped"
    CANCELLING = "cancelling"
    MINED = "mined"
    CANCELLED = "cancelled"
    FINAL = "final"
    FAILED = "failed"


class Kind(StrEnum):
    """Kind of a version of an attempt."""

    ORIGINAL = "original"
    BUMP = "bump"
    CANCELLATION = "cancellation"


OPEN = frozenset(
    {AttemptState.PLANNED, AttemptState.SIGNED, AttemptState.SENT, AttemptState.BUMPED, AttemptState.CANCELLING}
)
"""States in which no block holds the attempt yet, as far as the journal knows."""

_STANDING: Mapping[Kind, AttemptState] = {
    Kind.ORIGINAL: AttemptState.SENT,
    Kind.BUMP: AttemptState.BUMPED,
    Kind.CANCELLATION: AttemptState.CANCELLING,
}

LIVE = OPEN | {AttemptState.MINED, AttemptState.FINAL}
"""States that exclude another attempt at the same epoch."""

SIGNED = LIVE - {AttemptState.PLANNED} | {AttemptState.CANCELLED}
"""States of a signed attempt that has not failed: its nonce is used, or may still be."""

_AFTER_SIGNING = frozenset({AttemptState.BUMPED, AttemptState.CANCELLING, AttemptState.MINED, AttemptState.FAILED})

_NEXT: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.PLANNED: frozenset({AttemptState.SIGNED, AttemptState.FAILED}),
    AttemptState.SIGNED: _AFTER_SIGNING | {AttemptState.SENT},
    AttemptState.SENT: _AFTER_SIGNING,
    AttemptState.BUMPED: _AFTER_SIGNING,
    AttemptState.CANCELLING: frozenset(
        {AttemptState.CANCELLING, AttemptState.MINED, AttemptState.CANCELLED, AttemptState.FAILED}
    ),
    # A reorg returns to an earlier state, or puts another version into another block.
    AttemptState.MINED: _AFTER_SIGNING | {AttemptState.SENT, AttemptState.CANCELLED, AttemptState.FINAL},
    AttemptState.CANCELLED: frozenset(
        {AttemptState.CANCELLING, AttemptState.CANCELLED, AttemptState.MINED, AttemptState.FAILED}
    ),
    AttemptState.FINAL: frozenset(
        {AttemptState.SENT, AttemptState.BUMPED, AttemptState.CANCELLING, AttemptState.MINED}
    ),
    # Another node may have accepted what one node rejected. Only a reorg changes a transaction that reverted in a
    # block.
    AttemptState.FAILED: frozenset(
        {
            AttemptState.MINED,
            AttemptState.SENT,
            AttemptState.BUMPED,
            AttemptState.CANCELLING,
            AttemptState.CANCELLED,
            AttemptState.FAILED,
        }
    ),
}


def check_transition(before: AttemptState, after: AttemptState) -> None:
    """Check that an attempt may change from one state to another.

    Raises:
        AssertionError: it may not; this is a bug.
    """
    if after not in _NEXT[before]:
        raise AssertionError(f"an attempt cannot go from {before} to {after}")


def state_once_signed(kind: Kind) -> AttemptState:
    """State of an attempt whose newest version is of a kind and has not been sent yet."""
    return AttemptState.SIGNED if kind is Kind.ORIGINAL else standing(kind)


def standing(kind: Kind) -> AttemptState:
    """State of an attempt whose newest version is of a kind and may have been sent."""
    return _STANDING[kind]


@dataclass(frozen=True)
class Intent:
    """What to send, why, and the key that makes it unique (chain, vault, epoch). Addresses are lower case.

    After block `deadline_block` the intent is obsolete and is cancelled. An intent without an epoch has the negative
    number of its block instead.
    """

    chain_id: int
    vault: str
    epoch: int
    to: str
    data: str
    gas_limit: int
    reason: str
    deadline_block: int | None = None

    @property
    def kind(self) -> str:
        """Function of the vault that is called: "rebalance", "poke" or "sync"; "" if the transaction only consumes a
        nonce."""
        functions = interface("BasketVault").functions
        return next((n for n in KEEPER_FUNCTIONS if functions[n].is_called_by(self.data)), "")


@dataclass(frozen=True)
class Sending:
    """Answer of an endpoint to a version; empty if it was accepted. `endpoint` is shown without its path."""

    endpoint: str
    answer: str
    at: int


@dataclass(frozen=True)
class Version:
    """One signed transaction of an attempt. `height` is the newest block at signing, 0 if unknown."""

    id: int
    kind: Kind
    raw: bytes
    transaction_hash: str
    gas_limit: int
    fees: GasFees
    height: int
    signed_at: int
    sendings: tuple[Sending, ...] = ()
    beside_gas_wei: int = 0
    """Highest expected fee of a rollup in addition to gas."""

    @property
    def is_refused(self) -> bool:
        """Whether every endpoint that received it rejected it or did not answer."""
        return bool(self.sendings) and all(sending.answer for sending in self.sendings)

    @property
    def worst_cost_wei(self) -> int:
        """Maximum cost."""
        return self.gas_limit * self.fees.max_fee_per_gas_wei + self.beside_gas_wei


@dataclass(frozen=True)
class Attempt:
    """One journalled try at an intent. `note` says why it failed or waits; times are unix seconds.

    `mined_hash` is the version that block `block_number` holds; both are None if no block holds one.
    """

    id: int
    intent: Intent
    sender: str
    state: AttemptState
    nonce: int | None
    versions: tuple[Version, ...]
    mined_hash: str | None
    block_number: int | None
    block_hash: str | None
    gas_used: int | None
    gas_price_wei: int | None
    mined_at: int | None
    is_final: bool
    note: str
    planned_at: int
    changed_at: int
    beside_gas_wei: int = 0
    """Fee of a rollup in addition to gas, once mined."""

    @property
    def newest(self) -> Version:
        """The newest version, which has the highest fee and is the one to send; only for a signed attempt."""
        if not self.versions:
            raise AssertionError(f"attempt {self.id} is {self.state} and was never signed")
        return self.versions[-1]

    @property
    def signed_nonce(self) -> int:
        """The nonce of a signed attempt."""
        if self.nonce is None:
            raise AssertionError(f"attempt {self.id} is {self.state} and has no nonce")
        return self.nonce

    @property
    def is_pending(self) -> bool:
        """Whether a version was sent and no block holds one, as far as the journal knows."""
        return self.state in (AttemptState.SENT, AttemptState.BUMPED, AttemptState.CANCELLING)

    @property
    def fills_its_nonce(self) -> bool:
        """Whether it failed and its newest version is a cancellation: a reorg removed the block that had it, and its epoch has another attempt.

        Later nonces may wait for it, and it changes nothing else, so it may be sent again.
        """
        failed = self.state is AttemptState.FAILED and self.block_number is None
        return failed and bool(self.versions) and self.newest.kind is Kind.CANCELLATION

    @property
    def transaction_hash(self) -> str | None:
        """Hash of the mined version, otherwise of the newest; None before it is signed."""
        if self.mined_hash is not None or not self.versions:
            return self.mined_hash
        return self.newest.transaction_hash

    @property
    def hashes(self) -> frozenset[str]:
        """Hashes of all versions."""
        return frozenset(version.transaction_hash for version in self.versions)

    @property
    def raw(self) -> bytes | None:
        """Signed bytes of the version with that hash."""
        found = [v.raw for v in self.versions if v.transaction_hash == self.transaction_hash]
        return found[0] if found else None

    @property
    def cost_wei(self) -> int | None:
        """Cost of gas and of a rollup's fees; None until mined."""
        if self.gas_used is None or self.gas_price_wei is None:
            return None
        return self.gas_used * self.gas_price_wei + self.beside_gas_wei

    @property
    def standing(self) -> AttemptState:
        """State that follows from the versions, without regard to blocks."""
        return standing(self.newest.kind)

    def state_in_block(self, version: Version, *, succeeded: bool, superseded: bool) -> AttemptState:
        """State once a block holds one of the versions; `superseded` if a later attempt at the same epoch is live.

        A success counts as failed if it is superseded, so that at most one attempt of an epoch is live.
        """
        if version.kind is Kind.CANCELLATION:
            return AttemptState.CANCELLED
        return AttemptState.MINED if succeeded and not superseded else AttemptState.FAILED

    def state_without_block(self, *, superseded: bool) -> AttemptState:
        """State once a reorg removed its block; `superseded` if a later attempt at the same epoch is live.

        A failed or cancelled attempt stays so if it is superseded.
        """
        if self.state is AttemptState.CANCELLED:
            return AttemptState.FAILED if superseded else AttemptState.CANCELLING
        if self.state is AttemptState.FAILED and superseded:
            return AttemptState.FAILED
        return self.standing


@dataclass(frozen=True)
class HandedOver:
    """An attempt from another journal, for one nonce and one epoch, the oldest version first."""

    intent: Intent
    sender: str
    nonce: int
    versions: tuple[Version, ...]

    @property
    def state(self) -> AttemptState:
        """Latest possible state: each of the versions may have been sent."""
        return standing(self.versions[-1].kind)

    def competes_with(self, other: HandedOver) -> bool:
        """Whether at most one of the two attempts can be live."""
        mine, theirs = self.intent, other.intent
        same_nonce = (self.sender, self.nonce) == (other.sender, other.nonce)
        same_epoch = (mine.vault.lower(), mine.epoch) == (theirs.vault.lower(), theirs.epoch)
        return mine.chain_id == theirs.chain_id and (same_nonce or same_epoch)


@dataclass(frozen=True)
class SignedVersion:
    """A signed transaction that is not yet in the journal."""

    raw: bytes
    transaction_hash: str
    gas_limit: int
    fees: GasFees
    beside_gas_wei: int = 0
