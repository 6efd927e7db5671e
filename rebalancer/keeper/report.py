"""Report of one tick: everything that an observer of a keeper receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rebalancer.block import Block
from rebalancer.keeper.decide import Conditions, Verdict
from rebalancer.keeper.decision import Decision
from rebalancer.keeper.outages import LeftOut
from rebalancer.reasons import Reason
from rebalancer.venues import PoolState, Token

__all__ = ["EndpointState", "Observer", "OpenBreaker", "Tick", "TickInputs"]


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """An open circuit breaker. `scope` is "chain" or a vault's address; times are unix seconds.

    `until` is the time of the next attempt; None if only a restart of the keeper closes the breaker.
    """

    scope: str
    why: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class EndpointState:
    """State of an RPC endpoint. `name` has neither path nor credentials; `height` is None before the first answer."""

    name: str
    height: int | None
    latency_seconds: float | None
    usable: bool


@dataclass(frozen=True, slots=True)
class TickInputs:
    """Inputs of the decisions of a tick, enough to decide again. `pools` is empty if no vault was planned."""

    verdicts: tuple[Verdict, ...]
    pools: tuple[PoolState, ...]
    conditions: Conditions
    tokens: tuple[Token, ...]
    in_flight: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tick:
    """Report of one tick of one chain.

    `at` is the end of the tick in unix seconds of this machine's clock. `block` is None if no block could be read.
    `decisions` has quiet vaults only when their reason changed; `reasons` and `drifts_bps` (drift of the furthest
    weight) have every vault. `candidates` vaults were read in full, and `planned` of them were planned. `failure` is a
    sentence, or "". `attempts` counts attempts that are not final, by their state in the journal. `waiting_blocks` is
    the age of the oldest pending transaction.

    Alarms: the cached state of `diverged_pools` did not match the chain, and the index entries of `differing_vaults`
    did not. `losses` has a sentence for each vault that lost more than dust of a token, `off_market` one for each token
    whose feed is off the market. `left_out` are left-out pools.

    `inputs` is None if the tick failed, or if there was no new block. A chain without new blocks is reported a few
    times a minute.
    """

    chain_id: int
    at: float
    seconds: float
    block: Block | None
    decisions: tuple[Decision, ...]
    reasons: Mapping[str, Reason]
    candidates: int
    planned: int
    failure: str
    consecutive_failures: int
    requests: int
    breakers: tuple[OpenBreaker, ...]
    attempts: Mapping[str, int]
    waiting_blocks: int
    balances_wei: Mapping[str, int]
    endpoints: tuple[EndpointState, ...]
    diverged_pools: tuple[str, ...]
    differing_vaults: tuple[str, ...]
    subscribed: bool
    drifts_bps: Mapping[str, int] = field(default_factory=dict)
    losses: Mapping[str, str] = field(default_factory=dict)
    off_market: Mapping[str, str] = field(default_factory=dict)
    inputs: TickInputs | None = None
    left_out: tuple[LeftOut, ...] = ()


Observer = Callable[[Tick], None]
"""Receives the report of every tick, in the keeper's thread: it must be fast and must not raise."""
