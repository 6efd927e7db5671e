"""Report of one tick: all that an observer of a keeper receives."""

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
    """A circuit breaker that lets nothing through. `scope` is "chain", or a vault's address; times are unix seconds.

    `until` is when it is tried again, None where only a restart of the keeper closes it.
    """

    scope: str
    why: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class EndpointState:
    """How an endpoint does. `name` has neither path nor credentials; `height` is None before it was first asked."""

    name: str
    height: int | None
    latency_seconds: float | None
    usable: bool


@dataclass(frozen=True, slots=True)
class TickInputs:
    """What the decisions of a look were made of, for who wants to make them again. `pools` are empty where no trades were sought."""

    verdicts: tuple[Verdict, ...]
    pools: tuple[PoolState, ...]
    conditions: Conditions
    tokens: tuple[Token, ...]
    under_way: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tick:
    """What one look at one chain came to.

    `at` is unix seconds at its end by this machine's clock. `block` is None where none could be read. `decisions` has quiet vaults
    only when their reason changed, `reasons` every vault's, as `drifts_bps` (how far its furthest weight is off). `candidates` were read exactly, and for `planned` of them trades were
    sought. `failure` is a sentence, or "". `attempts` counts what is not final by its state in the journal; `waiting_blocks` is how
    long the oldest transaction under way has waited. `diverged_pools` are not traded any more; `differing_vaults` were not what the
    books said of them; `losses` says of each vault that lost more than dust of a token which one, `off_market` of each token whose feed is
    not where the listed pools are what both say; `left_out` are pools that are not traded on for a while. `looked` is None of a look that failed, and where there was no new block
    to look at, which is told a few times a minute.
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
"""Is told of every look, in the keeper's own thread: it must not take long, and must not raise."""
