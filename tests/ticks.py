"""Looks at chains that never were, for tests of what is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rebalancer.block import Block
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.snapshot import VaultSnapshot
from rebalancer.keeper.decision import Decision, Outcome
from rebalancer.keeper.report import EndpointState, OpenBreaker, Tick
from rebalancer.reasons import Reason
from rebalancer.settlement import Basket, Fill, Policy, Settlement, State, Weighed
from rebalancer.units import E18

__all__ = ["CHAIN", "NOON", "SIGNER", "breaker", "decision", "endpoint", "outcome", "tick", "vault"]

CHAIN = 1
NOON = 1_750_000_000.0
SIGNER = "0x" + "51" * 20

_BARE = Policy(*(0,) * len(Policy.__slots__))


def vault(number: int) -> str:
    """The address of a vault by number."""
    return f"0x{number:040x}"


def block(at: float = NOON, number: int = 100) -> Block:
    """A block a second before `at`."""
    return Block(number, f"0x{number:064x}", int(at) - 1)


def tick(at: float = NOON, **changes: Any) -> Tick:
    """A look at which nothing was the matter, but for what is changed."""
    reasons: Mapping[str, Reason] = {vault(1): Reason.IN_BAND, vault(2): Reason.IN_BAND}
    message: dict[str, Any] = {
        "chain_id": CHAIN,
        "at": at,
        "seconds": 0.25,
        "block": block(at),
        "decisions": (),
        "reasons": reasons,
        "candidates": 2,
        "planned": 0,
        "failure": "",
        "consecutive_failures": 0,
        "requests": 3,
        "breakers": (),
        "attempts": {},
        "waiting_blocks": 0,
        "balances_wei": {SIGNER: E18},
        "endpoints": (endpoint("https://one.example"), endpoint("https://two.example")),
        "diverged_pools": (),
        "differing_vaults": (),
        "subscribed": True,
        "drifts_bps": dict.fromkeys(changes.get("reasons", reasons), 40),
    }
    return Tick(**message | changes)


def endpoint(name: str, usable: bool = True) -> EndpointState:
    """An endpoint that answers in 80 ms, or not at all."""
    return EndpointState(name, 100 if usable else None, 0.08 if usable else None, usable)


def breaker(scope: str = "chain", why: str = "it failed", until: float | None = NOON) -> OpenBreaker:
    """A breaker that opened a minute before noon."""
    return OpenBreaker(scope, why, NOON - 60, until)


def decision(
    number: int = 1,
    reason: Reason = Reason.BAND_BROKEN,
    text: str = "a weight is 240 bps off its target",
    at: float = NOON,
    **changes: Any,
) -> Decision:
    """A decision about the vault of that number."""
    message: dict[str, Any] = {"epoch": 7, "drift_bps": 240}
    return Decision(block(at), vault(number), reason, text, **message | changes)


def outcome(sold_usd: int, loss_usd: int, *, comparable: bool = True) -> Outcome:
    """A rebalance that was mined; what it cost is known where its books could be compared."""
    weighed = Weighed((), E18, (0,), 0, None)
    settled = Settlement((), State(), weighed, weighed, sold_usd * E18, (sold_usd - loss_usd) * E18, 0)
    snapshot = VaultSnapshot(
        *(vault(1), Reason.IN_BAND, Basket((), (), ()), _BARE, State(), E18),
        *(0, 0, 0, 0),
        *(E18, 0, 0, 30),
        (),
    )
    receipt = Receipt("0x" + "7e" * 32, 100, "0x" + "b1" * 32, 250_000, None, (), 20 * 10**9, True)
    found = settled if comparable else None
    return Outcome(receipt, Fill((), ()), snapshot, snapshot, None, found, found)
