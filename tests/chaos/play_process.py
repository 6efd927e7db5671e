"""Keepers that are killed, stand still, have a wrong clock or no room, and keepers beside each other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from random import Random

import pytest

from rebalancer.send.attempt import OPEN, AttemptState
from tests.chaos.arena import Arena
from tests.chaos.play import CHAIN_ERROR, OUTBOX_ERROR, RIVAL, TOO_MANY_FAILURES, admit, reason
from tests.chaos.proxy import Hold
from tests.chaos.running import Keeper, Temper

__all__ = [
    "clock",
    "frozen",
    "full_disk",
    "killed_anywhere",
    "killed_at",
    "same_key",
    "same_outbox",
    "two_keys",
]


def killed_at(state: AttemptState, senders: tuple[int, ...], arena: Arena, strength: float, seed: int) -> None:
    """`kill -9` at the first request after the outbox came to a state, as often as the strength says; then started again.

    The request may have come through or not, and blocks may come or not while the keeper is down.
    """
    for account in {*senders, RIVAL}:
        admit(arena, account)
    keeper = arena.keeper(Temper(confirmations=3, senders=senders))
    chance = Random(seed)
    keeper.start()
    arena.until(lambda: keeper.has_said("event=decided"), "its first look")
    for turn in range(int(strength)):
        if turn:
            arena.calm()
        hold = Hold(_comes_to(state, keeper), answered=chance.random() < 0.5)
        arena.proxy.hold(hold)
        _bring_to(state, arena, keeper, hold)
        keeper.kill()
        arena.done[f"kill -9: {state}"] += 1
        hold.let_go(drop=chance.random() < 0.5)
        if chance.random() < 0.5:
            arena.pass_blocks(4)
        keeper.start()
    reason(arena, keeper, f"state={state}")
    arena.recover()


def _comes_to(state: AttemptState, keeper: Keeper) -> Callable[[Sequence[str]], bool]:
    """Whether any attempt has come to a state in which it was not."""
    known = {(one.id, one.state) for one in keeper.attempts}

    def holds(_methods: Sequence[str]) -> bool:
        now = {(one.id, one.state) for one in keeper.attempts if one.state is state}
        return not now <= known

    return holds


def _bring_to(state: AttemptState, arena: Arena, keeper: Keeper, hold: Hold) -> None:
    """Have the keeper come to a state and stand still there."""
    there = hold.reached.is_set
    if state in (AttemptState.BUMPED, AttemptState.CANCELLING):
        with arena.no_blocks():
            arena.move()
            arena.until(lambda: keeper.has_attempt(AttemptState.SENT, AttemptState.BUMPED), "a transaction")
            if state is AttemptState.CANCELLING:
                keeper.freeze()
            arena.empty_pool()  # blocks come without it
        if state is AttemptState.CANCELLING:
            _let_rival_rebalance(arena)
            keeper.thaw()
    else:
        arena.move()
    arena.until(there, f"a keeper at {state}")


def _let_rival_rebalance(arena: Arena) -> None:
    """Another keeper rebalances the vault, and is gone again."""
    arena.rivals = True
    before = arena.epochs
    rival = arena.running(account=RIVAL, urls=[arena.spare.url])
    arena.rebalanced(before)
    arena.until(lambda: not rival.has_attempt(*OPEN), "the rival's outbox")
    rival.stop()


def killed_anywhere(arena: Arena, strength: float, seed: int) -> None:
    """`kill -9` at so many requests drawn by lot."""
    chance = Random(seed)
    keeper = arena.running()
    for _ in range(int(strength)):
        left = chance.randrange(1, 60)

        def counted(_methods: Sequence[str]) -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        hold = arena.proxy.hold(Hold(counted, answered=chance.random() < 0.5))
        if not arena.is_broken:
            arena.move()
        arena.until(hold.reached.is_set, "the request at which it is killed")
        keeper.kill()
        arena.done["kill -9: anywhere"] += 1
        hold.let_go(drop=chance.random() < 0.5)
        keeper.start()
    reason(arena, keeper, "event=started")
    arena.recover()


def frozen(arena: Arena, strength: float, seed: int) -> None:
    """The keeper's machine stands still while a transaction is signed and not sent, and the market moves on."""
    keeper = arena.running()
    hold = arena.proxy.hold(Hold(lambda _: keeper.has_attempt(AttemptState.SIGNED), answered=bool(seed % 2)))
    arena.move()
    arena.until(hold.reached.is_set, "a signed transaction")
    keeper.freeze()
    hold.let_go()
    arena.done["paused process"] += 1
    arena.pass_blocks(int(strength))
    arena.move()
    keeper.thaw()
    arena.recover()


# The machine


def clock(arena: Arena, strength: float, seed: int) -> None:
    """The keeper's clock is wrong by so many days, or by another error at every look."""
    keeper = arena.keeper()
    keeper.clock_seconds = str(strength * 86_400) if strength else "drunk"
    keeper.start()
    arena.until(lambda: keeper.has_said("event=decided"), "its first look")
    arena.done["clock skew"] += 1
    arena.recover()
    # Right again, in the next life: what was written under the wrong clock is still understood.
    keeper.kill()
    keeper.clock_seconds = ""
    keeper.start()
    arena.recover()


def full_disk(arena: Arena, strength: float, seed: int) -> None:
    """No file of the keeper may grow by more than so many bytes; its supervisor starts it again with room."""
    if sys.platform != "linux":
        pytest.skip("Another process's limits can be set on Linux alone.")
    arena.allowed_exits = {OUTBOX_ERROR}
    keeper = arena.running()
    largest = max(path.stat().st_size for path in keeper.folder.glob("outbox*"))
    keeper.limit_files(largest + int(strength))
    for _ in range(8):
        before = arena.epochs
        arena.move()
        if arena.happens(lambda: bool(keeper.exits), 3):
            break
        arena.settle(before)
    assert keeper.exits == [OUTBOX_ERROR], keeper.exits
    arena.done["full disk"] += 1
    reason(arena, keeper, "cannot be written")
    arena.recover()


# Two of them


def same_outbox(arena: Arena, strength: float, seed: int) -> None:
    """Two keepers share key and outbox: the second is refused until the first is gone, then takes over."""
    arena.allowed_exits = {OUTBOX_ERROR}
    first = arena.running()
    second = arena.keeper(outbox=first.outbox)
    second.start()
    arena.until(lambda: bool(second.exits), "the second's refusal")
    arena.done["two keepers: one outbox"] += 1
    reason(arena, second, "is in use by")
    arena.recover()
    arena.keepers.remove(first)
    first.kill()
    arena.until(lambda: second.has_said("event=decided"), "the second's first look")
    arena.recover()


def same_key(arena: Arena, strength: float, seed: int) -> None:
    """Two keepers share a key and have an outbox each, as nobody should."""
    arena.rivals = True
    arena.allowed_exits = {CHAIN_ERROR, TOO_MANY_FAILURES}
    temper = Temper()
    arena.running(temper)
    arena.running(temper)
    for _ in range(int(strength)):
        arena.done["two keepers: one key"] += 1
        arena.recover()


def two_keys(arena: Arena, strength: float, seed: int) -> None:
    """Two keepers with keys of their own look after one vault."""
    arena.rivals = True
    admit(arena, RIVAL)
    temper = Temper()
    arena.running(temper)
    arena.running(temper, account=RIVAL)
    for _ in range(int(strength)):
        arena.done["two keepers: two keys"] += 1
        arena.recover()
