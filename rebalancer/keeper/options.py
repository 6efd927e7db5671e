"""Options of a keeper, and those of them that may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from rebalancer.keeper.evaluator import EvaluatorOptions
from rebalancer.send.outbox import SendRules

__all__ = ["KeeperOptions", "Tuning"]


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """How a keeper goes about its work. Times are in seconds."""

    dry_run: bool = False
    poll_seconds: float = 2.0
    max_failures_in_a_row: int = 5
    """After so many failed looks the chain's breaker opens, and after so many refusals a vault's."""
    gives_up: bool = True
    """Whether `run` ends when the chain's breaker opens; otherwise it rests and tries again."""
    rest_seconds: float = 60.0
    """For how long a breaker stays open at first; twice that the next time, up to an hour."""
    fee_cap_wei: int = 200 * 10**9
    """Most to pay per gas; above it nothing is sent."""
    receipt_seconds: float = 180.0
    """How long a look waits for what it sent to be mined; what is not is settled by a later one. 0 is not at all."""
    look_seconds: float = 12.0
    """How old a block may become while it is looked at; then the look fails."""
    socket_url: str | None = None
    """WebSocket endpoint that announces blocks, if there is one."""
    native_price_e18: int = 0
    """What a token of gas is worth where the chain's oracle does not price it, USD times 1e18; 0: gas then weighs nothing."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be changed while a keeper runs."""

    options: KeeperOptions
    rules: SendRules
    evaluation: EvaluatorOptions
    max_spend_per_day_wei: int
