"""What the scenarios share: exit codes of a keeper, the reason in its log, and other keepers' accounts."""

from __future__ import annotations

from rebalancer.chain.system import Role
from rebalancer.devnet.environment import Actor
from rebalancer.operations.deploy import grant_roles
from rebalancer.send.attempt import AttemptState
from rebalancer.send.signer import devnet_signer
from tests.chaos.arena import Arena
from tests.chaos.running import Keeper

__all__ = [
    "CHAIN_ERROR",
    "FAILED",
    "GWEI",
    "LEASE_LOST",
    "LEDGER_MISMATCH",
    "OUTBOX_ERROR",
    "RIVAL",
    "TOO_MANY_FAILURES",
    "admit",
    "count",
    "reason",
]

GWEI = 10**9
RIVAL = 6
"""Another keeper's account."""

CHAIN_ERROR = 10
OUTBOX_ERROR = 14
FAILED = 20
TOO_MANY_FAILURES = 22
LEDGER_MISMATCH = 23
LEASE_LOST = 25
"""Exit codes of `rebalancer keeper run` and `rebalancer fleet leader`."""


def reason(arena: Arena, keeper: Keeper, pattern: str) -> None:
    """The keeper's log must say why."""
    arena.until(lambda: keeper.has_said(pattern), f"the reason in the log: {pattern}", 5)


def admit(arena: Arena, account: int) -> None:
    """Give an account the keeper's role."""
    with arena.acting() as environment:
        members = {Role.KEEPER: [devnet_signer(account).address]}
        guardian = environment.wallet(Actor.GUARDIAN)  # keepers are the guardian's to admit
        grant_roles(guardian, environment.system.authority, members, delay_seconds=0)


def count(keeper: Keeper, state: AttemptState) -> int:
    return sum(attempt.state is state for attempt in keeper.attempts)
