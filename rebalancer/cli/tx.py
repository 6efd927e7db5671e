"""`rebalancer tx`: list the keeper's transactions, cancel one, clear stuck nonces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rebalancer.cli import Group
from rebalancer.cli.format import NOTHING, WholeTable, amount, console, print_json
from rebalancer.cli.logs import set_up_logs
from rebalancer.cli.options import account_option, address_option, json_option
from rebalancer.cli.session import Session, read_settings
from rebalancer.cli.unsigned import refuses_unsigned
from rebalancer.errors import AttemptNotNamed
from rebalancer.send.attempt import OPEN, Attempt
from rebalancer.send.from_settings import outbox_of, sender_of
from rebalancer.send.journal import read_attempts
from rebalancer.send.nonces import clear as clear_nonces
from rebalancer.send.nonces import survey
from rebalancer.words import counted

__all__ = ["tx"]

_no_contract = refuses_unsigned(
    "a replacement for a keeper's transaction",
    "only the keeper's key can use its nonces; reject a pending transaction of a Safe in the Safe itself",
)

_GWEI_DECIMALS = 9
_ETHER_DECIMALS = 18


@click.group(cls=Group)
def tx() -> None:
    """List the keeper's transactions, cancel one, or clear stuck nonces.

    A running keeper locks its journal: stop the keeper before `cancel` and `clear`.
    """


@tx.command("list")
@click.option("--open", "only_open", is_flag=True, help="Show only transactions that are not mined.")
@json_option
@click.pass_obj
def list_attempts(options: Any, only_open: bool, as_json: bool) -> None:
    """List the transactions in the journal on the configured chain. Contacts neither a node nor the keeper."""
    settings = read_settings(options)
    attempts = [
        attempt
        for attempt in read_attempts(settings.keeper.outbox_file, settings.chain_id)
        if attempt.state in OPEN or not only_open
    ]
    if as_json:
        print_json({"attempts": [_as_json(attempt) for attempt in attempts]})
        return
    console().print(_table(attempts))


@tx.command()
@click.option("--id", "attempt_id", type=int, help="ID of the transaction in `rebalancer tx list`.")
@click.option("--epoch", type=int, help="Epoch of the vault's rebalance, instead of --id.")
@address_option("--vault", "Address of the vault. Only with --epoch.", "the only vault with that epoch pending")
@account_option
@_no_contract
@json_option
@click.pass_obj
def cancel(
    options: Any,
    attempt_id: int | None,
    epoch: int | None,
    vault: str | None,
    account: int | None,
    as_json: bool,
) -> None:
    """Cancel a pending transaction: replace it with a transfer of 0 ether to the sender.

    Whichever of the two is mined first counts. The keeper reads the outcome at its next start.
    """
    with Session.open(options) as session:
        set_up_logs(session.settings.model_copy(update={"log_level": "warning"}))
        with outbox_of(session.settings) as outbox:
            fitting = [
                attempt
                for attempt in outbox.unsettled(session.settings.chain_id)
                if (attempt_id is not None or epoch is not None)
                and attempt_id in (None, attempt.id)
                and epoch in (None, attempt.intent.epoch)
                and vault in (None, attempt.intent.vault)
            ]
            if len(fitting) != 1:
                raise AttemptNotNamed([attempt.id for attempt in fitting])
            signer = session.signer(session.settings.keeper, account)
            sender = sender_of(signer, session.settings, ())
            done = outbox.cancel(session.rpc, sender, fitting[0], "cancelled by the operator")
        if as_json:
            print_json(_as_json(done))
            return
        console().print(f"Attempt {done.id} is {done.state}; its newest transaction is {done.transaction_hash}.")


@tx.command()
@click.option("--yes", is_flag=True, help="Send without asking for confirmation.")
@account_option
@_no_contract
@json_option
@click.pass_obj
def clear(options: Any, yes: bool, account: int | None, as_json: bool) -> None:
    """Fill missing nonces below those of the journal, and replace pending transactions that are not in the journal.

    Each nonce costs the gas of a transfer of 0 ether to the sender. A replaced transaction has no effect.
    """
    with Session.open(options) as session:
        set_up_logs(session.settings.model_copy(update={"log_level": "warning"}))
        signer = session.signer(session.settings.keeper, account)
        sender = sender_of(signer, session.settings, ())
        with outbox_of(session.settings) as outbox:
            stuck = survey(outbox, session.rpc, sender.address)
            if stuck and not yes:
                for one in stuck:
                    click.echo(f"nonce {one.nonce} of {one.address}: {one.fault}", err=True)
                question = f"Send {counted(len(stuck), 'transfer')} of 0 ether to use these nonces?"
                click.confirm(question, abort=True, err=True)
            sent = clear_nonces(outbox, session.rpc, sender, stuck)
            settled = outbox.resume(session.rpc)
        if as_json:
            print_json({"stuck": stuck, "settled": [_as_json(attempt) for attempt in settled]})
            return
        if not stuck:
            console().print(f"{sender.address} has no stuck nonces.")
        for one, attempt in zip(stuck, sent, strict=True):
            console().print(f"nonce {one.nonce} ({one.fault}): {attempt.transaction_hash}")


def _as_json(attempt: Attempt) -> Mapping[str, Any]:
    """An attempt as a JSON object, without the signed bytes."""
    return {
        "id": attempt.id,
        "vault": attempt.intent.vault,
        "epoch": attempt.intent.epoch,
        "state": attempt.state,
        "is_final": attempt.is_final,
        "sender": attempt.sender,
        "nonce": attempt.nonce,
        "transaction_hash": attempt.transaction_hash,
        "block_number": attempt.block_number,
        "cost_wei": attempt.cost_wei,
        "deadline_block": attempt.intent.deadline_block,
        "reason": attempt.intent.reason,
        "note": attempt.note,
        "planned_at": attempt.planned_at,
        "changed_at": attempt.changed_at,
        "versions": [
            {
                "kind": version.kind,
                "transaction_hash": version.transaction_hash,
                "max_fee_per_gas_wei": version.fees.max_fee_per_gas_wei,
                "max_priority_fee_per_gas_wei": version.fees.max_priority_fee_per_gas_wei,
                "sendings": version.sendings,
            }
            for version in attempt.versions
        ],
    }


def _table(attempts: list[Attempt]) -> WholeTable:
    table = WholeTable(title="Outbox", title_justify="left")
    for heading in ("id", "vault", "epoch", "state", "nonce", "versions", "max fee (gwei)", "block", "cost (ether)"):
        table.add_column(heading, justify="left" if heading in ("vault", "state") else "right")
    table.add_column("note", overflow="fold")
    for attempt in attempts:
        newest = attempt.versions[-1] if attempt.versions else None
        max_fee_wei = newest.fees.max_fee_per_gas_wei if newest else None
        table.add_row(
            str(attempt.id),
            attempt.intent.vault,
            _epoch(attempt),
            attempt.state.value,
            _or_nothing(attempt.nonce),
            str(len(attempt.versions)),
            NOTHING if max_fee_wei is None else amount(max_fee_wei, _GWEI_DECIMALS, 3),
            _or_nothing(attempt.block_number),
            NOTHING if attempt.cost_wei is None else amount(attempt.cost_wei, _ETHER_DECIMALS, 6),
            attempt.note,
        )
    return table


def _epoch(attempt: Attempt) -> str:
    """The epoch, or the kind of a transaction without an epoch."""
    return str(attempt.intent.epoch) if attempt.intent.epoch >= 0 else attempt.intent.kind


def _or_nothing(number: int | None) -> str:
    return NOTHING if number is None else str(number)
