"""`rebalancer fleet`: many machines that keep the same vaults, joined by Redis."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

import click
import structlog

from rebalancer.cli import Group
from rebalancer.cli.keeper import _Asked, _print_line, _reloaded, _tuning, noting_the_outbox
from rebalancer.cli.logs import set_up_logs
from rebalancer.cli.session import Session, account_option, json_option, read_chains
from rebalancer.config import Settings
from rebalancer.errors import ConfigError
from rebalancer.fleet.crew import Crew, local_crew, redis_crew, serve
from rebalancer.fleet.evaluator import FleetEvaluator
from rebalancer.fleet.leader import Leadership, leading
from rebalancer.fleet.names import instance_name
from rebalancer.fleet.shared import LocalShared, RedisShared, Shared
from rebalancer.fleet.standing import served
from rebalancer.fleet.worker import Heartbeat, Worker
from rebalancer.keeper import Keeper, Site, Watcher
from rebalancer.keeper.station import Station
from rebalancer.send.from_settings import lane_of, outbox_of
from rebalancer.send.signed import Signer
from rebalancer.watch import watchers_of

__all__ = ["fleet"]

log = structlog.get_logger("rebalancer.fleet")


@click.group(cls=Group)
def fleet() -> None:
    """Keep vaults with many machines: workers look, one leased leader for each signer sends.

    All have the same settings and the same Redis (fleet.redis_url), and journals of their own. Any of them may be killed at any moment.
    """


@fleet.command()
@click.pass_obj
def worker(options: Any) -> None:
    """Evaluate vaults when a leader asks, and send nothing. Needs no key.

    Ends with 0 when stopped, after the present answer, and with another code otherwise. Logs go to standard error.
    """
    chains = read_chains(options)
    set_up_logs(*chains)
    common = chains[0].fleet
    if common.redis_url is None:
        raise ConfigError("fleet.redis_url", "", "a worker needs the Redis of its fleet; set it")
    url, name = common.redis_url.get_secret_value(), instance_name(common.worker_name)
    with noting_the_outbox(), ExitStack() as stack:
        shared = RedisShared(url, common.name)
        stack.callback(shared.close)
        workers = [_worker(settings, name, shared, stack) for settings in chains]
        standing = stack.enter_context(served("worker", name, chains))
        for one in workers:
            stack.enter_context(Heartbeat(one, common.heartbeat_seconds, standing))
        log.info("working", worker=name, chains=[one.site.chain_id for one in workers])
        asyncio.run(_serve(url, common.name, workers))


async def _serve(url: str, fleet_name: str, workers: Sequence[Worker]) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)

    def retry_pools() -> None:
        # In a thread: a worker that is at an answer holds its lock.
        for one in workers:
            loop.run_in_executor(None, one.retry_pools)

    loop.add_signal_handler(signal.SIGHUP, retry_pools)
    async with asyncio.TaskGroup() as group:
        for one in workers:
            group.create_task(serve(url, fleet_name, one, stopping))


@fleet.command()
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    help="Without Redis: so many workers in this process.",
)
@account_option
@json_option
@click.pass_obj
def leader(options: Any, workers: int, account: int | None, as_json: bool) -> None:
    """Wait for the lease of every account that signs, then rebalance with what the workers say.

    Several may run: one leads, the others stand by. Ends with 0 when stopped, 25 when it lost a lease, and otherwise as `keeper run`.
    Logs go to standard error; --json prints one line on standard output for each decision.
    """
    chains = read_chains(options)
    set_up_logs(*chains)
    common = chains[0].fleet
    url = common.redis_url.get_secret_value() if common.redis_url else None
    name = instance_name(common.worker_name)
    asked = _Asked(account=account, waits=False, alone=len(chains) == 1)
    with ExitStack() as stack:
        shared = RedisShared(url, common.name) if url else LocalShared()
        stack.callback(shared.close)
        signers = {each.chain_id: _signers(each, account) for each in chains}
        accounts = [(chain, one.address) for chain, some in signers.items() for one in some]
        # Whoever leads serves a keeper's own pages in place of a standby's.
        with _stopped() as stopping, served("standby", name, chains) as standing:
            held = stack.enter_context(
                leading(shared, accounts, name, common.lease_seconds, stopping, standing)
            )
        if held is None:
            return
        watchers = stack.enter_context(watchers_of(*chains))
        made = _Made(asked, held, shared, url, workers)
        station = Station(
            {each.chain_id: partial(made.keeper, each, signers[each.chain_id]) for each in chains},
            watchers,
            on_decision=_print_line if as_json else None,
            reload=partial(_reloaded, options, asked, {each.chain_id: each for each in chains}),
        )
        held.when_lost(station.stop)
        station.run()
        held.check()  # who stopped because it lost a lease says so


class _Made:
    """How a leader's keepers are made, once it leads."""

    def __init__(
        self, asked: _Asked, held: Leadership, shared: Shared, url: str | None, workers: int
    ) -> None:
        self.asked = asked
        self.held = held
        self.shared = shared
        self.url = url
        self.workers = workers

    def keeper(
        self,
        settings: Settings,
        signers: Sequence[Signer],
        stack: ExitStack,
        watchers: Sequence[Watcher],
    ) -> Keeper:
        """The keeper of one chain; what is to be closed after it is on the stack."""
        session = stack.enter_context(Session(settings))
        vaults = session.vaults(None)
        ledger = self.held.ledger(settings.chain_id, [signer.address for signer in signers])
        outbox = stack.enter_context(outbox_of(settings, ledger))
        ledger.adopt_into(outbox.journal)
        site, tuning = Site.of(session.deployment, vaults), _tuning(settings, self.asked)
        evaluator = FleetEvaluator(
            session.rpc,
            site,
            self.shared,
            stack.enter_context(self._crew(settings, stack)),
            settings.fleet.answer_seconds,
            tuning.evaluation,
            self.held.check,
        )
        stack.callback(evaluator.close)
        return Keeper(
            session.rpc,
            site,
            [lane_of(signer, settings, vaults) for signer in signers],
            outbox,
            tuning.options,
            evaluator=evaluator,
            watchers=watchers,
        )

    def _crew(self, settings: Settings, stack: ExitStack) -> Crew:
        if self.url is not None:
            return redis_crew(self.url, settings.fleet.name)
        crew = [
            _worker(settings, f"worker-{number}", self.shared, stack)
            for number in range(self.workers)
        ]
        for one in crew:
            stack.enter_context(Heartbeat(one, settings.fleet.heartbeat_seconds))
        return local_crew(crew, settings.fleet.name)


def _worker(settings: Settings, name: str, shared: Shared, stack: ExitStack) -> Worker:
    session = stack.enter_context(Session(settings))
    made = Worker(name, session.rpc, Site.of(session.deployment, ()), shared)
    stack.callback(made.close)
    return made


def _signers(settings: Settings, account: int | None) -> list[Signer]:
    """Who signs on a chain."""
    with Session(settings) as session:
        return session.keepers(account)


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM."""
    stopping = threading.Event()
    # A handler may run while the event's own lock is held, and would wait for itself: a queue of this kind may be put to at any moment.
    asked: SimpleQueue[bool] = SimpleQueue()

    def stop_when_asked() -> None:
        if asked.get():
            stopping.set()

    threading.Thread(target=stop_when_asked, name="signals", daemon=True).start()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: asked.put(True)) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.put(False)
