"""Options that commands share: vault, account, addresses, `--unsigned`, `--json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rebalancer.cli import JSON_REQUESTED
from rebalancer.cli.unsigned import unsigned_options

__all__ = [
    "account_option",
    "address_option",
    "json_option",
    "sending_options",
    "vault_option",
]

F = TypeVar("F", bound=Callable[..., Any])
"""A command, or one that an option has decorated."""


class _Address(click.ParamType):
    """0x and 40 hexadecimal digits. Mixed case must match the checksum."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from eth_utils.address import is_checksum_address, is_hex_address

        text = str(value)
        if not (text.startswith("0x") and is_hex_address(text)):
            self.fail(f"{text!r} is not an address: 0x and 40 hexadecimal digits.", param, ctx)
        if text not in (text.lower(), "0x" + text[2:].upper()) and not is_checksum_address(text):
            self.fail(f"the capital letters of {text} do not match its checksum.", param, ctx)
        return text.lower()


def address_option(name: str, help_text: str, default: str | None = None) -> Callable[[F], F]:
    """An option that takes an address. `default` describes the value without the option; None makes it required."""
    return click.option(
        name,
        type=_Address(),
        metavar="ADDRESS",
        required=default is None,
        show_default=default,
        help=help_text,
    )


vault_option = address_option("--vault", "Address of the vault.", "the only known vault")

account_option = click.option(
    "--account",
    type=click.IntRange(0, 19),
    show_default="the account in the settings",
    help="Use this test account of a local chain. Only on chain 31337.",
)


def sending_options(command: F) -> F:
    """`--account`, or `--unsigned` and `--from`: the sender of a command's transactions."""
    return account_option(unsigned_options(_Address())(command))


def _note_json(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
    ctx.meta[JSON_REQUESTED] = value  # errors are JSON, too
    return value


json_option = click.option("--json", "as_json", is_flag=True, callback=_note_json, help="Print JSON.")
