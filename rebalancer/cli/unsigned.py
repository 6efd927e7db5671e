"""Option `--unsigned`: files with the calls of a command, for an account whose key is elsewhere.

`FILE` contains every call with its meaning, its operation and its simulated outcome. Next to it are files for Safe's
Transaction Builder: one with the calls that can be sent now, one with those that must wait. No file is overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from rebalancer.cli.format import console, plain, print_json
from rebalancer.errors import NotByContract, SystemRefused
from rebalancer.operations.governance import argument_words
from rebalancer.send.safe_batch import safe_batch
from rebalancer.send.unsigned import SUCCEEDS, CallRecorder, Reading, UnsignedCall
from rebalancer.words import counted, span, utc

__all__ = ["Wanted", "refuses_unsigned", "unsigned_options", "valid_option", "write_down"]

_META = "rebalancer.unsigned"
_FILE, _FROM, _HOURS = "file", "from", "hours"

_VALID_HOURS = 24.0
"""Default validity of swaps, in hours: the owners of a Safe need time to sign."""

_LONGEST_CALL = 300
"""Maximum length of a call's arguments on the terminal, in characters; the file contains all of them."""

F = TypeVar("F", bound=Callable[..., Any])


class Names(Protocol):
    """Source of names for addresses and tokens."""

    def label(self, address: str) -> str:
        """An address with its name."""

    def amount_of(self, token: str, raw: int) -> str:
        """Raw units as whole tokens, with the token's symbol."""


@dataclass(frozen=True)
class Wanted:
    """The file for the calls, the account that will send them, and how long their swaps stay valid."""

    file: Path
    sender: str
    valid_seconds: int

    @classmethod
    def of(cls, ctx: click.Context | None) -> Wanted | None:
        """The options of the command line; None if calls are signed.

        Raises:
            UsageError: only one of the two options was given.
            SystemRefused: one of the files exists.
        """
        given = {} if ctx is None else ctx.meta.get(_META, {})
        file, sender = given.get(_FILE), given.get(_FROM)
        if file is None and sender is None:
            return None
        if sender is None:
            raise click.UsageError("--unsigned needs --from, the account that will send the calls.")
        if file is None:
            raise click.UsageError("--from needs --unsigned, the file to write the calls to.")
        wanted = cls(file, sender, int(given.get(_HOURS, _VALID_HOURS) * 3_600))
        for path in (file, wanted.safe_file("now"), wanted.safe_file("then")):
            if path.exists() or path.is_symlink():
                why = "the file exists and is not overwritten"
                raise SystemRefused(f"{path} cannot be written", why, "name another file")
        return wanted

    def safe_file(self, step: str) -> Path:
        """The file for Safe's Transaction Builder."""
        return self.file.with_name(f"{self.file.stem}.{step}.safe.json")


def _note(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def note(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value is not None:
            ctx.meta.setdefault(_META, {})[name] = value
        return value

    return note


def unsigned_options(address: click.ParamType) -> Callable[[F], F]:
    """`--unsigned` and `--from`. The session reads them from the context; the command gets no parameters for them."""
    file = click.option(
        "--unsigned",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_note(_FILE),
        help="Send nothing and need no key. Write the calls to FILE, and next to it a file for Safe's Transaction "
        "Builder.",
    )
    sender = click.option(
        "--from",
        "sender",
        type=address,
        metavar="ADDRESS",
        expose_value=False,
        callback=_note(_FROM),
        help="Account that will send the calls. Only with --unsigned.",
    )
    return lambda command: file(sender(command))


valid_option = click.option(
    "--valid-hours",
    type=click.FloatRange(min=0.1, max=24 * 30),
    default=_VALID_HOURS,
    expose_value=False,
    callback=_note(_HOURS),
    help="Validity of swaps, in hours. Only with --unsigned.",
)


def refuses_unsigned(what: str, instead: str) -> Callable[[F], F]:
    """The same options for a command that no contract account can send: they raise an error with the alternative."""

    def refuse(_ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        if value is not None:
            raise NotByContract(what, instead)

    def refused(name: str) -> Callable[[F], F]:
        text = "Not supported: a contract account cannot do this. The error shows what to do instead."
        return click.option(name, expose_value=False, callback=refuse, help=text)

    file, sender = refused("--unsigned"), refused("--from")
    return lambda command: file(sender(command))


def write_down(
    wanted: Wanted,
    recorder: CallRecorder,
    names: Names,
    title: str,
    notes: Sequence[str],
    as_json: bool,
) -> None:
    """Write all recorded calls to files, and show them.

    Raises:
        SystemRefused: a file cannot be written.
    """
    block = recorder.block()
    steps: dict[str, Sequence[UnsignedCall]] = {"now": recorder.now, "then": recorder.then}
    document: dict[str, Any] = {
        "chain_id": recorder.chain_id,
        "from": recorder.address,
        "command": title,
        "block": block,
        "notes": [*notes, *_warnings(recorder)],
    }
    files: dict[Path, Any] = {}
    for step, calls in steps.items():
        document[step] = _step(wanted, step, calls)
        if calls:
            files[wanted.safe_file(step)] = safe_batch(
                calls,
                chain_id=recorder.chain_id,
                safe=recorder.address,
                made_at=block.timestamp,
                name=f"rebalancer {title}" + (", after the delay" if step == "then" else ""),
                description="; ".join(_short(call, names) for call in calls),
            )
    for path, content in {wanted.file: plain(document), **files}.items():
        try:
            with path.open("x") as file:
                file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        except OSError as problem:
            raise SystemRefused(f"{path} cannot be written", problem.strerror or str(problem)) from None
    if as_json:
        print_json(document)
    else:
        for line in _shown(wanted, recorder, names, document["notes"]):
            console().print(line, soft_wrap=True)
    for call in (*recorder.now, *recorder.then):
        if call.outcome != SUCCEEDS:
            click.echo(f"warning: {_short(call, names)}: {call.outcome}.", err=True)


def _warnings(recorder: CallRecorder) -> Iterator[str]:
    if not recorder.has_code:
        yield (
            f"{recorder.address} has no code on chain {recorder.chain_id}: "
            "if it is a Safe, check the address and the chain"
        )


def _step(wanted: Wanted, step: str, calls: Sequence[UnsignedCall]) -> Mapping[str, Any] | None:
    if not calls:
        return None
    known = [call.operation.earliest_at for call in calls if call.operation]
    earliest = [at for at in known if at is not None]
    times: dict[str, Any] = {}
    if step == "then":
        at = max(earliest) if len(earliest) == len(known) else None
        times = {"earliest_at": at, "earliest": None if at is None else utc(at)}
    return {"safe_file": wanted.safe_file(step).name, **times, "calls": calls}


def _shown(
    wanted: Wanted,
    recorder: CallRecorder,
    names: Names,
    notes: Sequence[str],
) -> Iterator[str]:
    outcomes = [call.outcome for call in (*recorder.now, *recorder.then)]
    calls = counted(len(outcomes), "call")
    yield (
        f"Nothing was sent. {wanted.file} contains {calls} for {recorder.address} on chain {recorder.chain_id}; "
        f"{outcomes.count(SUCCEEDS)} of them succeed in a simulation on block {recorder.block().number}."
    )
    if recorder.now:
        yield f"Send now, in this order: {wanted.safe_file('now')}"
        yield from (f"  {_line(call, names)}" for call in recorder.now)
    if recorder.then:
        yield f"{_when(recorder)}: {wanted.safe_file('then')}"
        yield from (f"  {_line(call, names)}" for call in recorder.then)
    for note in notes:
        yield f"{note}."


def _when(recorder: CallRecorder) -> str:
    """When the calls that must wait can be sent."""
    operations = [call.operation for call in recorder.then if call.operation]
    first, last = (
        [at for one in operations if (at := getattr(one, name)) is not None] for name in ("earliest_at", "expires_at")
    )
    if len(first) < len(operations):
        return "Send after the delay (`rebalancer admin show` shows its end)"
    until = f"from {utc(max(first))} until {utc(min(last))}"
    if all(one.is_scheduled for one in operations):
        return f"Send {until}"
    delay = span(max(first) - recorder.block().timestamp)
    return f"Send {delay} after the calls above, within {span(min(last) - max(first))} ({until}, if they are mined now)"


def _short(call: UnsignedCall, names: Names) -> str:
    """A call without its arguments. For a scheduling call, also the scheduled function."""
    reading = call.reading
    if reading is None:
        return f"a call of {names.label(call.to)}"
    inner = reading.arguments.get("data")
    name = reading.function.partition("(")[0]
    if isinstance(inner, Reading):
        return f"{name} {inner.function.partition('(')[0]} of {names.label(str(reading.arguments['target']))}"
    return f"{name} of {names.label(call.to)}"


def _line(call: UnsignedCall, names: Names) -> str:
    """A call with its arguments, unless they are too long for a terminal."""
    line = _short(call, names)
    if call.value_wei:
        line += f", with {call.value_wei:,} wei"
    reading = call.reading
    if reading and reading.function == "approve(address,uint256)":
        spender, raw = reading.arguments["spender"], reading.arguments["value"]
        return f"approve {names.amount_of(call.to, raw)} for {names.label(spender)}"
    inner = reading.arguments.get("data") if reading else None
    meant = inner if isinstance(inner, Reading) else reading
    if meant is not None and meant.arguments:
        arguments = ", ".join(argument_words(name, value) for name, value in meant.arguments.items())
        if len(arguments) <= _LONGEST_CALL:
            line += f": {arguments}"
    if call.operation:
        line += f" (operation {call.operation.id})"
    return line
