"""`rebalancer fleet`: several machines that manage the same vaults and share Redis."""

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
from rebalancer.cli.decision_json import print_line
from rebalancer.cli.keeper import noting_the_outbox
from rebalancer.cli.logs import set_up_logs
from rebalancer.cli.options import account_option, json_option
from rebalancer.cli.session import Session, read_chains
from rebalancer.cli.tuning import RunOptions, reloaded, tuning_of
from rebalancer.errors import ConfigError
from rebalancer.fleet.evaluator import FleetEvaluator
from rebalancer.fleet.leader import Leadership, leading
from rebalancer.fleet.names import instance_name
from rebalancer.fleet.redis_state import LocalState, RedisState, SharedState
from rebalancer.fleet.standing import served
from rebalancer.fleet.transport import Transport, local_transport, redis_transport, serve
from rebalancer.fleet.worker import Heartbeat, Worker
from rebalancer.keeper import Keeper, KeeperContext, Observer
from rebalancer.keeper.supervisor import Supervisor
from rebalancer.send.from_settings import outbox_of, sender_of
from rebalancer.send.signed import Signer
from rebalancer.settings import Settings
from rebalancer.watch import observers_of

__all__ = ["fleet"]

log = structlog.get_logger("rebalancer.fleet")


@click.group(cls=Group)
def fleet() -> None:
    """Run the keeper on several machines: workers evaluate, one leader with a lease for each signer sends.

    All machines have the same settings and the same Redis (fleet.redis_url); each has its own journal. Any of them may
    stop at any time.
    """


@fleet.command()
@click.pass_obj
def worker(options: Any) -> None:
    """Evaluate vaults for the leader. Sends nothing and needs no key.

    When stopped, it finishes the current evaluation and exits with 0; any other exit code is a failure. Logs go to
    standard error.
    """
    chains = read_chains(options)
    set_up_logs(*chains)
    common = chains[0].fleet
    if common.redis_url is None:
        raise ConfigError("fleet.redis_url", "", "a worker needs the fleet's Redis; set its URL")
    url, name = common.redis_url.get_secret_value(), instance_name(common.worker_name)
    with noting_the_outbox(), ExitStack() as stack:
        state = RedisState(url, common.name)
        stack.callback(state.close)
        workers = [_worker(settings, name, state, stack) for settings in chains]
        standing = stack.enter_context(served("worker", name, chains))
        for one in workers:
            stack.enter_context(Heartbeat(one, common.heartbeat_seconds, standing))
        log.info("working", worker=name, chains=[one.context.chain_id for one in workers])
        asyncio.run(_serve(url, common.name, workers))


async def _serve(url: str, fleet_name: str, workers: Sequence[Worker]) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)

    def retry_pools() -> None:
        # In a thread: a worker holds its lock during an evaluation.
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
    help="Number of workers in this process. Only without Redis.",
)
@account_option
@json_option
@click.pass_obj
def leader(options: Any, workers: int, account: int | None, as_json: bool) -> None:
    """Acquire the lease of every signing account, then rebalance from the workers' results.

    Run two or more leaders for hot standby: one leads, the others wait. Exit codes: 0 stopped by a signal, 25 lease
    lost, others as for `keeper run`. Logs go to standard error; --json prints one line on standard output for each
    decision.
    """
    chains = read_chains(options)
    set_up_logs(*chains)
    common = chains[0].fleet
    url = common.redis_url.get_secret_value() if common.redis_url else None
    name = instance_name(common.worker_name)
    request = RunOptions(account=account, waits=False, alone=len(chains) == 1)
    with ExitStack() as stack:
        state = RedisState(url, common.name) if url else LocalState()
        stack.callback(state.close)
        signers = {each.chain_id: _signers(each, account) for each in chains}
        accounts = [(chain, one.address) for chain, some in signers.items() for one in some]
        # The leader serves a keeper's pages instead of a standby's.
        with _stopped() as stopping, served("standby", name, chains) as standing:
            held = stack.enter_context(leading(state, accounts, name, common.lease_seconds, stopping, standing))
        if held is None:
            return
        observers = stack.enter_context(observers_of(*chains))
        made = _Made(request, held, state, url, workers)
        supervisor = Supervisor(
            {each.chain_id: partial(made.keeper, each, signers[each.chain_id]) for each in chains},
            observers,
            on_decision=print_line if as_json else None,
            reload=partial(reloaded, options, request, {each.chain_id: each for each in chains}),
        )
        held.when_lost(supervisor.stop)
        supervisor.run()
        held.check()  # raises LeaseLost if that is why the supervisor stopped


class _Made:
    """Maker of a leader's keepers, once it holds the leases."""

    def __init__(
        self,
        request: RunOptions,
        held: Leadership,
        state: SharedState,
        url: str | None,
        workers: int,
    ) -> None:
        self.request = request
        self.held = held
        self.state = state
        self.url = url
        self.workers = workers

    def keeper(
        self,
        settings: Settings,
        signers: Sequence[Signer],
        stack: ExitStack,
        observers: Sequence[Observer],
    ) -> Keeper:
        """The keeper of one chain. The stack closes what the keeper uses."""
        session = stack.enter_context(Session(settings))
        vaults = session.vaults(None)
        ledger = self.held.ledger(settings.chain_id, [signer.address for signer in signers])
        outbox = stack.enter_context(outbox_of(settings, ledger))
        ledger.adopt_into(outbox.journal)
        context, tuning = (
            KeeperContext.of(session.deployment, vaults),
            tuning_of(settings, self.request),
        )
        evaluator = FleetEvaluator(
            session.rpc,
            context,
            self.state,
            stack.enter_context(self._transport(settings, stack)),
            settings.fleet.worker_timeout_seconds,
            tuning.evaluation,
            self.held.check,
        )
        stack.callback(evaluator.close)
        return Keeper(
            session.rpc,
            context,
            [sender_of(signer, settings, vaults) for signer in signers],
            outbox,
            tuning.options,
            evaluator=evaluator,
            observers=observers,
        )

    def _transport(self, settings: Settings, stack: ExitStack) -> Transport:
        if self.url is not None:
            return redis_transport(self.url, settings.fleet.name)
        transport = [_worker(settings, f"worker-{number}", self.state, stack) for number in range(self.workers)]
        for one in transport:
            stack.enter_context(Heartbeat(one, settings.fleet.heartbeat_seconds))
        return local_transport(transport, settings.fleet.name)


def _worker(settings: Settings, name: str, state: SharedState, stack: ExitStack) -> Worker:
    session = stack.enter_context(Session(settings))
    made = Worker(name, session.rpc, KeeperContext.of(session.deployment, ()), state)
    stack.callback(made.close)
    return made


def _signers(settings: Settings, account: int | None) -> list[Signer]:
    """The keeper's signers on a chain."""
    with Session(settings) as session:
        return session.keepers(account)


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets."""
    stopping = threading.Event()
    # A handler may run while the event's lock is held, and would deadlock. A SimpleQueue is safe in a handler.
    request: SimpleQueue[bool] = SimpleQueue()

    def stop_on_request() -> None:
        if request.get():
            stopping.set()

    threading.Thread(target=stop_on_request, name="signals", daemon=True).start()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: request.put(True)) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        request.put(False)
