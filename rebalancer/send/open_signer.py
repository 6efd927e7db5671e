"""Construction of the signer that the settings configure, with its password.

A password is read only when it is needed, from the environment, a file or a prompt: never from the command line, which
other users can read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rebalancer.errors import KeystoreNotNamed, PasswordMissing
from rebalancer.files import MEGABYTE, read_text
from rebalancer.send.remote import open_external
from rebalancer.send.signed import Signer
from rebalancer.send.signer import KeystoreSigner, devnet_signer
from rebalancer.settings.schema import AccountSettings
from rebalancer.wellknown import DEVNET_CHAIN_ID

__all__ = ["open_signer", "password_from_file"]

_MOST_BYTES = MEGABYTE
"""Limit for a password file; real ones have a few hundred bytes."""


def open_signer(account: AccountSettings, chain_id: int, prompt: Callable[[], str] | None = None) -> Signer:
    """The signer that the settings configure: an external signer, a keystore, or on a devnet a test account.

    The password is the one in the settings, or the one in the configured file, or the answer of `prompt`; without a
    `prompt` there is no question.

    Raises:
        KeystoreNotNamed: the settings have no keystore and this is not a devnet.
        SignerUnavailable: the external signer does not report its account.
        SignerError: as `KeystoreSigner.load`.
    """
    if account.signer_url is not None:
        return open_external(account.signer_url.get_secret_value(), account.signer_address)
    if account.keystore is None:
        if chain_id != DEVNET_CHAIN_ID:
            raise KeystoreNotNamed(chain_id)
        return devnet_signer(account.devnet_account)
    return KeystoreSigner.load(account.keystore, _password(account, prompt))


def password_from_file(path: Path) -> Callable[[], str]:
    """A function that reads a password from the first line of a file.

    The function raises:
        PasswordMissing: there is no such file, or its first line is empty.
    """

    def read() -> str:
        try:
            lines = read_text(path, _MOST_BYTES).splitlines()
        except (OSError, ValueError):
            raise PasswordMissing(f"{path} cannot be read") from None
        if not lines or not lines[0]:
            raise PasswordMissing(f"the first line of {path} is empty")
        return lines[0]

    return read


def _password(account: AccountSettings, prompt: Callable[[], str] | None) -> Callable[[], str]:
    if account.keystore_password is not None:
        return account.keystore_password.get_secret_value
    if account.keystore_password_file is not None:
        return password_from_file(account.keystore_password_file)

    def missing() -> str:
        raise PasswordMissing("none is set, and there is no prompt")

    return prompt or missing
