"""What is done to a keeper, as data: kinds of faults, how strong, and what its log must say of them.

A scenario is a function of an arena, a strength and a seed (`play_*.py`). It starts keepers, does its worst, and leaves with the fault
over and the vaults rebalanced since; what must hold then, whatever happened, `judge.py` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from rebalancer.send.attempt import AttemptState
from tests.chaos.arena import Arena
from tests.chaos.play_chain import (
    dear_from_the_start,
    diverging_feed,
    fee_spike,
    frozen_feed,
    refusing_pool,
    reorg,
    spent_before_sending,
    spent_in_the_pool,
    spent_while_down,
    stale_feed,
    stuck_before,
    stuck_meanwhile,
)
from tests.chaos.play_fleet import lapsed
from tests.chaos.play_process import (
    clock,
    frozen,
    full_disk,
    killed_anywhere,
    killed_at,
    same_key,
    same_outbox,
    two_keys,
)
from tests.chaos.play_weather import (
    Storm,
    disagreeing,
    dropped_socket,
    false_receipt,
    hidden_receipt,
    lie,
    outage,
    silent_socket,
    spared,
    wrong_nonce,
)
from tests.chaos.proxy import Fault

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """`play` takes an arena, a strength and a seed; the first strength is the one that a short run takes."""

    kind: str
    name: str
    play: Callable[[Arena, float, int], None]
    strengths: tuple[float, ...]
    quick: bool = True
    """Whether a short run has it."""


_SENDER = 7
"""A further account that a keeper sends from."""

_CALLS = frozenset({"eth_call"})
_ALL = frozenset[str]()

# Lies are other than by a tenth, by which the market swings: together they would look like the truth.

_STORMS: Mapping[Fault, tuple[Storm, tuple[float, ...]]] = {
    Fault.DELAY: (Storm(Fault.DELAY, "did not answer within", 6, 0.3), (1.5, 3.0)),
    Fault.DROP: (Storm(Fault.DROP, "the connection was lost"), (0.2, 0.05, 0.6, 1.0)),
    Fault.CUT: (Storm(Fault.CUT, "broke off|not JSON|not a JSON"), (0.2, 0.05, 0.6)),
    Fault.TOO_MANY: (Storm(Fault.TOO_MANY, "HTTP 429"), (0.2, 0.05, 0.6)),
    Fault.BROKEN: (Storm(Fault.BROKEN, "HTTP 50"), (0.2, 0.05, 0.6)),
    Fault.ERROR_200: (Storm(Fault.ERROR_200, "daily request count"), (0.2, 0.05, 0.6)),
    Fault.ERROR_AS_RESULT: (Storm(Fault.ERROR_AS_RESULT, "tick_failed"), (0.1, 0.02, 0.5)),
    Fault.GARBAGE: (Storm(Fault.GARBAGE, "sent an answer that is not JSON-RPC"), (0.2, 0.05, 0.6)),
    Fault.SILENCE: (Storm(Fault.SILENCE, "did not answer within", 4), (0.2, 1.0)),
    Fault.STALE: (Storm(Fault.STALE, "", rate=1.0), (3, 0, 12)),
    Fault.BACKWARDS: (Storm(Fault.BACKWARDS, "", rate=0.3), (2, 9)),
    Fault.WRONG_CHAIN: (
        Storm(Fault.WRONG_CHAIN, "serves chain 1, not chain", 2, 1.0),
        (1,),
    ),
}

_BRIEFLY = (
    *(Fault.DELAY, Fault.DROP, Fault.TOO_MANY, Fault.ERROR_200, Fault.ERROR_AS_RESULT),
    *(Fault.SILENCE, Fault.BACKWARDS),
)
"""The storms of a short run; what the others do to one request, the tests of the arena show."""

_SPARED = (Fault.DROP, Fault.SILENCE, Fault.TOO_MANY, Fault.GARBAGE, Fault.ERROR_200)

SCENARIOS: tuple[Scenario, ...] = (
    *(Scenario(fault, "storm", storm, strengths, fault in _BRIEFLY) for fault, (storm, strengths) in _STORMS.items()),
    *(Scenario(fault, "one of two endpoints", partial(spared, fault), (0.5, 1.0), quick=False) for fault in _SPARED),
    Scenario(Fault.DROP, "outage", outage, (5, 20), quick=False),
    Scenario("dropped socket", "of new blocks", dropped_socket, (1, 3), quick=False),
    Scenario("silent socket", "of new blocks", silent_socket, (1, 3), quick=False),
    Scenario(Fault.WRONG_PRICE, "in calls", partial(lie, Fault.WRONG_PRICE, _CALLS), (1.25, 0.8, 2)),
    Scenario(Fault.WRONG_PRICE, "in all", partial(lie, Fault.WRONG_PRICE, _ALL), (1.25, 0.8), False),
    Scenario(Fault.WRONG_PRICE, "against a quorum", disagreeing, (1.003, 0.997), False),
    Scenario(
        Fault.WRONG_HOLDING,
        "in calls",
        partial(lie, Fault.WRONG_HOLDING, _CALLS),
        (1.25, 0.8, 2),
        False,
    ),
    Scenario(Fault.WRONG_HOLDING, "in all", partial(lie, Fault.WRONG_HOLDING, _ALL), (1.25, 0.8), False),
    Scenario(Fault.WRONG_NONCE, "miscounted", wrong_nonce, (3, -1, 1, -5)),
    Scenario(Fault.NO_RECEIPT, "hidden", hidden_receipt, (1.0, 0.5), False),
    Scenario(Fault.FALSE_RECEIPT, "made up", false_receipt, (1, 5)),
    *(
        Scenario(f"kill -9: {state}", "killed", partial(killed_at, state, ()), (1, 2), quick)
        for state, quick in (
            (AttemptState.PLANNED, False),
            (AttemptState.SIGNED, False),
            (AttemptState.SENT, True),
            (AttemptState.BUMPED, False),
            (AttemptState.CANCELLING, False),
            (AttemptState.MINED, False),
            (AttemptState.FINAL, False),
        )
    ),
    Scenario(
        f"kill -9: {AttemptState.SENT}",
        "two lanes",
        partial(killed_at, AttemptState.SENT, (_SENDER,)),
        (1, 3),
        False,
    ),
    Scenario("kill -9: anywhere", "killed", killed_anywhere, (1, 4), False),
    Scenario("paused process", "frozen", frozen, (4, 20)),
    Scenario("reorg", "of a rebalance", reorg, (3, 1, 2, 4, 5, 6, 7, 8, 9, 10)),
    Scenario("base-fee spike", "while it waits", fee_spike, (30, 150, 500)),
    Scenario("base-fee spike", "before it is sent", dear_from_the_start, (500,), False),
    Scenario("stuck nonce", "before the start", stuck_before, (1, 3), False),
    Scenario("stuck nonce", "meanwhile", stuck_meanwhile, (1, 3)),
    Scenario("spent nonce", "before it is sent", spent_before_sending, (1, 3)),
    Scenario("spent nonce", "in the pool", spent_in_the_pool, (1,), False),
    Scenario("spent nonce", "while down", spent_while_down, (1, 3), False),
    Scenario("stale feed", "no answers", stale_feed, (2, 50)),
    Scenario("frozen feed", "one repeats", frozen_feed, (1.1, 0.8)),
    Scenario("diverging feed", "two sources", diverging_feed, (1,)),
    Scenario("refusing pool", "emptied", refusing_pool, (1, 2)),
    Scenario("clock skew", "wrong", clock, (0, 1, -1, 3_650, -10_000)),
    Scenario("full disk", "no room", full_disk, (0, 4_096, 20_000)),
    Scenario("two keepers: one outbox", "side by side", same_outbox, (1,), False),
    Scenario("two keepers: one key", "side by side", same_key, (1, 3), False),
    Scenario("two keepers: two keys", "side by side", two_keys, (1, 3)),
    Scenario("paused leader", "past its lease", lapsed, (1, 10), False),
)
