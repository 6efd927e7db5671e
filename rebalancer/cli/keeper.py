"""`rebalancer keeper`: the keeper process, which rebalances vaults until it is stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from rebalancer.cli import Group
from rebalancer.cli.decision_json import print_line
from rebalancer.cli.logs import set_up_logs
from rebalancer.cli.options import account_option, json_option, vault_option
from rebalancer.cli.session import Session, read_chains
from rebalancer.cli.tuning import RunOptions, reloaded, tuning_of
from rebalancer.keeper import Evaluator, Keeper, KeeperContext, Observer
from rebalancer.keeper.recording import Recorder
from rebalancer.keeper.supervisor import Supervisor
from rebalancer.send.from_settings import outbox_of, sender_of
from rebalancer.send.signed import Signer
from rebalancer.settings import Settings
from rebalancer.watch import observers_of

__all__ = ["keeper", "noting_the_outbox"]


@click.group(cls=Group)
def keeper() -> None:
    """Run the keeper, which rebalances vaults."""


@keeper.command()
@vault_option
@click.option("--once", is_flag=True, help="Run one tick, send what it decides, and exit.")
@click.option("--dry-run", is_flag=True, help="Decide and simulate, but send nothing.")
@click.option(
    "--poll-seconds",
    type=click.FloatRange(min=0.01, max=3_600),
    show_default="from the settings",
    help="Polling interval for new blocks, in seconds.",
)
@account_option
@json_option
@click.pass_obj
def run(
    options: Any,
    vault: str | None,
    once: bool,
    dry_run: bool,
    poll_seconds: float | None,
    account: int | None,
    as_json: bool,
) -> None:
    """Evaluate the vaults in every new block, and rebalance those that are outside their bands.

    Without --vault, manages all vaults in the settings or the addresses file. The first Ctrl-C finishes the current
    tick; a second aborts it. Exit codes: 0 stopped by a signal, 130 aborted, 20 to 23 stopped by itself, others could
    not start. Logs go to standard error; --json prints one line on standard output for each decision.
    """
    chains = read_chains(options)
    set_up_logs(*chains)
    on_decision_line = print_line if as_json else None
    request = RunOptions(vault, account, dry_run, poll_seconds)
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(noting_the_outbox())
        if once:
            for settings in chains:
                with ExitStack() as opened:
                    keeper = _opened(settings, request, opened, ())
                    keeper.start()
                    for decision in keeper.tick():
                        if on_decision_line:
                            on_decision_line(decision)
            return
        request = replace(request, waits=False, alone=len(chains) == 1)
        observers = stack.enter_context(observers_of(*chains))
        observers += [stack.enter_context(recorder) for recorder in _recorders(chains)]
        Supervisor(
            {settings.chain_id: partial(_opened, settings, request) for settings in chains},
            observers,
            on_decision=on_decision_line,
            reload=partial(reloaded, options, request, {each.chain_id: each for each in chains}),
        ).run()


@contextmanager
def noting_the_outbox() -> Iterator[None]:
    """Add to a KeyboardInterrupt a note on the transactions that were already sent."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note("Sent transactions are in the outbox (`rebalancer tx list`); the next start resolves them.")
        raise


def _recorders(chains: Sequence[Settings]) -> list[Recorder]:
    """One recorder for each configured file, with the chains that use it."""
    chain_ids: dict[Path, list[int]] = {}
    for settings in chains:
        if settings.keeper.record_file is not None:
            chain_ids.setdefault(settings.keeper.record_file, []).append(settings.chain_id)
    return [Recorder(path, some) for path, some in chain_ids.items()]


def _opened(settings: Settings, request: RunOptions, stack: ExitStack, observers: Sequence[Observer]) -> Keeper:
    """The keeper of one chain. The stack closes what the keeper uses."""
    session = stack.enter_context(Session(settings))
    vaults = session.vaults(request.vault)
    outbox = None if request.dry_run else stack.enter_context(outbox_of(settings))
    signers: list[Signer] = [session.observer(settings.keeper, request.account)]
    if not request.dry_run:
        accounts = session.keepers(request.account)
        signers = [sender_of(signer, settings, vaults) for signer in accounts]
    context, tuning = KeeperContext.of(session.deployment, vaults), tuning_of(settings, request)
    evaluator = Evaluator(session.rpc, context, tuning.evaluation)
    stack.callback(evaluator.close)
    return Keeper(
        session.rpc,
        context,
        signers,
        outbox,
        tuning.options,
        evaluator=evaluator,
        observers=observers,
    )
