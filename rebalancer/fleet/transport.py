"""Transport of requests to workers and of answers back, by taskiq: over Redis, or within this process.

Each worker has its own queue, so that a vault stays with the worker whose caches know it. A request is lost with its
worker or with Redis; the leader waits no longer than the time limit, and then asks another worker. Requests and answers
are JSON text inside taskiq's JSON; nothing is pickled. Redis forgets the queues of dead workers, and answers that were
not fetched.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from taskiq import AsyncBroker, InMemoryBroker, TaskiqError
from taskiq.kicker import AsyncKicker
from taskiq.message import BrokerMessage
from taskiq.receiver import Receiver
from taskiq.serializers import JSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from rebalancer.closing import Closing
from rebalancer.fleet.worker import Worker

__all__ = ["Transport", "local_transport", "redis_transport", "serve"]

log = structlog.get_logger("rebalancer.fleet")

_KEPT_SECONDS = 60
"""Redis forgets a queue or an answer this long after its last change."""

_TICK_SECONDS = 0.01
"""Polling interval for an answer."""

_RETRY_SECONDS = 0.5
_CONNECTION: Mapping[str, Any] = {
    "socket_connect_timeout": 2.0,
    "socket_timeout": None,  # a worker waits for requests without limit; a leader has a time limit of its own
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    },
}
"""With these, the loss of Redis's machine is noticed within half a minute."""

for _noisy in ("taskiq", "taskiq.redis_broker"):
    logging.getLogger(_noisy).addHandler(logging.NullHandler())


class _Queues(ListQueueBroker):
    """Queues of taskiq as lists in Redis, which expire."""

    async def kick(self, message: BrokerMessage) -> None:
        queue = str(message.labels["queue_name"])
        async with Redis(connection_pool=self.connection_pool) as redis, redis.pipeline(transaction=True) as both:
            both.lpush(queue, message.message)
            both.expire(queue, _KEPT_SECONDS)
            await both.execute()


class Transport(Closing):
    """Sends requests to several workers at once. For one thread; a context manager."""

    def __init__(self, broker: AsyncBroker, fleet: str) -> None:
        self.fleet = fleet
        self._broker = broker
        self._runner = asyncio.Runner()
        self._started = False

    def close(self) -> None:
        """Close connections and threads."""
        if self._started:
            self._runner.run(self._broker.shutdown())
            self._started = False
        self._runner.close()

    def request(self, requests: Mapping[str, str], seconds: float) -> tuple[dict[str, object], frozenset[str]]:
        """Send requests to workers; return the answers by worker, and the workers that were silent for `seconds`."""
        if not requests:
            return {}, frozenset()
        return self._runner.run(self._request(requests, seconds))

    async def _request(self, requests: Mapping[str, str], seconds: float) -> tuple[dict[str, object], frozenset[str]]:
        if not self._started:
            await self._broker.startup()
            self._started = True
        silent: set[str] = set()
        pending = [self._request_one(worker, request, seconds, silent) for worker, request in requests.items()]
        answers = dict(zip(requests, await asyncio.gather(*pending), strict=True))
        given = {worker: answer for worker, answer in answers.items() if answer is not None}
        return given, frozenset(silent)

    async def _request_one(self, worker: str, request: str, seconds: float, silent: set[str]) -> object | None:
        try:
            async with asyncio.timeout(seconds):
                kicker: AsyncKicker[Any, Any] = AsyncKicker(
                    _task_name(worker), self._broker, {"queue_name": _queue(self.fleet, worker)}
                )
                task = await kicker.kiq(request)
                found = await task.wait_result(check_interval=_TICK_SECONDS)
        except TimeoutError:
            log.warning("worker_silent", worker=worker, seconds=seconds)
            silent.add(worker)
            return None
        except (RedisError, TaskiqError) as failure:
            log.warning("worker_not_requested", worker=worker, why=type(failure).__name__)
            return None
        if found.is_err:
            log.error("worker_crashed", worker=worker, why=str(found.error))
            return None
        answer: object = found.return_value
        return answer


def local_transport(workers: Sequence[Worker], fleet: str) -> Transport:
    """Transport to workers in this process, one thread each."""
    broker = InMemoryBroker(sync_tasks_pool_size=max(1, len(workers)))
    for worker in workers:
        _register(broker, worker)
    return Transport(broker, fleet)


def redis_transport(url: str, fleet: str) -> Transport:
    """Transport to workers on other machines."""
    return Transport(_redis_broker(url, fleet, "nobody"), fleet)


async def serve(url: str, fleet: str, worker: Worker, stopping: asyncio.Event) -> None:
    """Serve the queue of a worker until stopped; the current answer is finished. Survives a loss of Redis."""
    broker = _redis_broker(url, fleet, worker.name)
    _register(broker, worker)
    broker.is_worker_process = True
    await broker.startup()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as thread:
            while not stopping.is_set():
                receiver = Receiver(broker, thread, max_async_tasks=1, run_startup=False, validate_params=True)
                try:
                    await receiver.listen(stopping)
                except* RedisError as failures:
                    why = type(failures.exceptions[0]).__name__
                    log.warning("redis_lost", worker=worker.name, why=why)
                    await asyncio.sleep(_RETRY_SECONDS)
    finally:
        await broker.shutdown()


def _register(broker: AsyncBroker, worker: Worker) -> None:
    def evaluate(request: str) -> str:  # taskiq takes functions, not methods
        return worker.answer(request)

    broker.register_task(evaluate, task_name=_task_name(worker.name))


def _redis_broker(url: str, fleet: str, worker: str) -> AsyncBroker:
    answers: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(
        url,
        keep_results=False,
        result_ex_time=_KEPT_SECONDS,
        serializer=JSONSerializer(),
        prefix_str=f"{fleet}:answer",
        **_CONNECTION,
    )
    queues = _Queues(url, queue_name=_queue(fleet, worker), **_CONNECTION)
    return queues.with_result_backend(answers)


def _task_name(worker: str) -> str:
    return f"evaluate:{worker}"


def _queue(fleet: str, worker: str) -> str:
    return f"{fleet}:queue:{worker}"
