"""Bad weather between a keeper and its endpoints, and endpoints that lie."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rebalancer.send.attempt import AttemptState
from tests.chaos.arena import Arena
from tests.chaos.play import CHAIN_ERROR, FAILED, LEDGER_MISMATCH, TOO_MANY_FAILURES, reason
from tests.chaos.proxy import Fault, Proxy, Weather
from tests.chaos.relay import Relay
from tests.chaos.running import Keeper, Temper

__all__ = [
    "Storm",
    "disagreeing",
    "dropped_socket",
    "false_receipt",
    "hidden_receipt",
    "lie",
    "outage",
    "silent_socket",
    "spared",
    "wrong_nonce",
]


@dataclass(frozen=True)
class Storm:
    fault: Fault
    reason: str
    """What the log says of it."""
    strikes: int = 12
    rate: float | None = None
    """How often it strikes; None: the strength says so."""
    methods: frozenset[str] = frozenset()
    exits: frozenset[int] = frozenset()

    def __call__(self, arena: Arena, strength: float, seed: int) -> None:
        arena.allowed_exits |= self.exits
        keeper = arena.running()
        rate = strength if self.rate is None else self.rate
        weather = Weather(self.fault, rate, strength, seed, self.methods)
        arena.storm(weather, self.strikes, arena.move)
        if self.reason:
            reason(arena, keeper, self.reason)
        arena.recover()


def outage(arena: Arena, strength: float, seed: int) -> None:
    """So long without an endpoint that the keeper gives up, and is started again by its supervisor."""
    arena.allowed_exits = {CHAIN_ERROR, FAILED, TOO_MANY_FAILURES}
    keeper = arena.running(Temper(max_consecutive_failures=int(strength)))
    weather = Weather(Fault.DROP, seed=seed)
    arena.storm(weather, 10**9, lambda: arena.until(lambda: bool(keeper.exits), "its end"), 0)
    reason(arena, keeper, "cannot be reached")
    assert keeper.exits[0] in (FAILED, TOO_MANY_FAILURES)
    arena.recover()


def spared(fault: Fault, arena: Arena, strength: float, seed: int) -> None:
    """One of two endpoints does wrong, the one that is asked first: nothing fails, and the log says which did."""
    temper = Temper(rpc_timeout_seconds=2.0)
    keeper = arena.running(temper, urls=[arena.proxy.url, arena.spare.url])

    def meanwhile() -> None:
        before = arena.epochs
        arena.move()
        arena.settle(before)

    weather = Weather(fault, strength, 0, seed)
    arena.storm(weather, 1, meanwhile, proxy=_asked_first(arena))
    reason(arena, keeper, "event=endpoint_failed")
    assert not keeper.has_said("event=tick_failed")
    arena.recover()


def _asked_first(arena: Arena) -> Proxy:
    """Which of two endpoints the keeper prefers."""
    places = (arena.proxy, arena.spare)
    counts = [place.requests for place in places]

    def lead() -> list[int]:
        return [place.requests - count for place, count in zip(places, counts, strict=True)]

    arena.until(lambda: max(lead()) >= 20, "requests")
    return places[lead().index(max(lead()))]


def disagreeing(arena: Arena, strength: float, seed: int) -> None:
    """One of two endpoints lies of prices, and two must agree: nothing is sent while it lies."""
    temper = Temper(top={"rpc_quorum": 2})
    keeper = arena.running(temper, urls=[arena.proxy.url, arena.spare.url])
    before = arena.epochs

    liar = _asked_first(arena)
    keeper.freeze()
    arena.move()

    def meanwhile() -> None:
        keeper.thaw()
        reason(arena, keeper, "disagree on eth_call")
        assert arena.epochs == before
        assert keeper.attempts == []

    price = Weather(Fault.WRONG_PRICE, 1, 0, seed, overrides=arena.other_price(strength))
    arena.storm(price, 1, meanwhile, proxy=liar)
    arena.recover()


# The socket that announces blocks


def dropped_socket(arena: Arena, strength: float, seed: int) -> None:
    """The subscription ends, so many times; blocks are asked for until there is another."""
    with Relay(arena.node_port) as relay:
        keeper = arena.running(Temper(top={"rpc_websocket_url": f'"{relay.url}"'}))
        for _ in range(int(strength)):
            arena.until(lambda: _subscribed(keeper), "a subscription")
            before = arena.epochs
            relay.drop()
            arena.done["dropped socket"] += 1
            arena.move()
            arena.settle(before)
        reason(arena, keeper, "event=socket_lost")
        arena.until(lambda: _subscribed(keeper), "another subscription")
        arena.recover()


def _subscribed(keeper: Keeper) -> bool:
    """Whether the last that was said of the socket is that there is a subscription."""
    message = [line for line in keeper.message if "event=subscribed" in line or "event=socket" in line]
    return bool(message) and "event=subscribed" in message[-1]


def silent_socket(arena: Arena, strength: float, seed: int) -> None:
    """The subscription stays and says nothing any more: blocks are asked for all the same."""
    with Relay(arena.node_port) as relay:
        keeper = arena.running(Temper(top={"rpc_websocket_url": f'"{relay.url}"'}))
        arena.until(lambda: _subscribed(keeper), "a subscription")
        relay.hold()
        arena.done["silent socket"] += 1
        for _ in range(int(strength)):
            before = arena.epochs
            arena.move()
            arena.settle(before)
        relay.go_on()
        arena.recover()


# Lies

_DOUBT = "reason=(PolicyRefuses|Poked|SimulationRefused|NotWorthGas|NoRoute)|state=failed|refuse|policy says"
"""What a keeper says that was made to want what the chain does not."""


def lie(fault: Fault, methods: frozenset[str], arena: Arena, strength: float, seed: int) -> None:
    """Prices or holdings are told that are not so, in calls alone or in simulations as well."""
    arena.allowed_exits = {LEDGER_MISMATCH}
    keeper = arena.running()
    overrides = arena.other_price(strength) if fault is Fault.WRONG_PRICE else arena.other_holding(strength)
    weather = Weather(fault, 1.0, 0, seed, methods, overrides)
    moves = Random(seed).random() < 0.5
    arena.storm(weather, 10, arena.move if moves else lambda: None)
    reason(arena, keeper, _DOUBT)
    arena.recover()


def hidden_receipt(arena: Arena, strength: float, seed: int) -> None:
    """A transaction is mined, and the endpoint does not know its receipt."""
    keeper = arena.running()
    weather = Weather(Fault.NO_RECEIPT, strength, 0, seed)
    arena.storm(weather, 12, arena.move)
    reason(arena, keeper, "not mined|another transaction with its nonce|state=mined")
    arena.recover()


def false_receipt(arena: Arena, strength: float, seed: int) -> None:
    """The endpoint has a receipt of a transaction that no block holds."""
    arena.allowed_exits = {LEDGER_MISMATCH}
    keeper = arena.running()
    with arena.no_blocks():
        arena.move()
        arena.until(lambda: keeper.has_attempt(AttemptState.SENT), "a transaction")
        arena.empty_pool()
    arena.storm(Weather(Fault.FALSE_RECEIPT, 1.0, 0, seed), int(strength), lambda: None)
    reason(arena, keeper, "reorged|Rebalanced")
    arena.recover()


def wrong_nonce(arena: Arena, strength: float, seed: int) -> None:
    """The endpoint miscounts the keeper's transactions."""
    arena.allowed_exits = {CHAIN_ERROR, TOO_MANY_FAILURES}
    keeper = arena.running(Temper(max_consecutive_failures=20))
    arena.recover()
    arena.storm(Weather(Fault.WRONG_NONCE, 1.0, strength, seed), 10, arena.move)
    reason(arena, keeper, "nonce")
    if strength > 0:
        _tell_operator_to_clear(arena, keeper)
    arena.recover()


def _tell_operator_to_clear(arena: Arena, keeper: Keeper) -> None:
    """A keeper that stands behind a gap fills it when it is started again."""
    keeper.stop()
    keeper.start()
