"""A fleet whose leader stands still past its lease."""

from __future__ import annotations

import shutil

import pytest

from rebalancer.send.attempt import AttemptState
from tests.chaos.arena import Arena
from tests.chaos.play import LEASE_LOST, reason
from tests.chaos.proxy import Hold
from tests.chaos.running import Temper
from tests.fixtures_redis import RedisServer

__all__ = ["lapsed"]

_LEADER = ("fleet", "leader", "--json")
_WORKER = ("fleet", "worker")
_LEASE_SECONDS = 2.0


def lapsed(arena: Arena, strength: float, seed: int) -> None:
    """The leader is stopped with a transaction signed and not sent, or sent and not journalled; another leads meanwhile.

    When it goes on, so many blocks later, it does what it was about to do: too late.
    """
    redis_binary = shutil.which("redis-server")
    if redis_binary is None:
        pytest.skip("redis-server is not here: install it (on Debian: apt-get install redis-server).")
    arena.allowed_exits = {LEASE_LOST}
    server = RedisServer(redis_binary, arena.folder / "redis")
    server.start()
    try:
        _lapse(arena, server.url, strength, seed)
    finally:
        for keeper in arena.keepers:
            if keeper.is_alive:
                keeper.kill()
        server.kill()


def _lapse(arena: Arena, redis_url: str, strength: float, seed: int) -> None:
    worker = arena.keeper(_temper(redis_url, "worker"), urls=[arena.spare.url], act=_WORKER)
    worker.start()
    arena.until(lambda: worker.has_said("event=working"), "a worker")
    first = arena.running(_temper(redis_url, "first"), act=_LEADER)
    urls = [arena.spare.url]
    second = arena.keeper(_temper(redis_url, "second"), urls=urls, act=_LEADER)
    second.start()
    arena.until(lambda: second.has_said("event=standing_by"), "another leader")

    hold = arena.proxy.hold(Hold(lambda _: first.has_attempt(AttemptState.SIGNED), answered=bool(seed % 2)))
    before = arena.epochs
    arena.move()
    arena.until(hold.reached.is_set, "a signed transaction")
    first.freeze()
    arena.done["paused leader"] += 1
    arena.rebalanced(before)
    reason(arena, second, "event=lease_taken")
    arena.pass_blocks(int(strength))
    hold.let_go()
    first.thaw()
    arena.until(lambda: first.exits == [LEASE_LOST], "the end of who lost its lease")
    reason(arena, first, "lease")

    # It comes back, stands by, and leads again once the other is gone: its own outbox then knows all.
    arena.until(lambda: first.has_said("event=standing_by"), "its return")
    second.stop()
    arena.recover()


def _temper(redis_url: str, name: str) -> Temper:
    return Temper(
        tables=f"""[fleet]
redis_url = "{redis_url}"
name = "chaos"
worker_name = "{name}"
lease_seconds = {_LEASE_SECONDS}
heartbeat_seconds = 0.2
worker_timeout_seconds = 2.0
"""
    )
