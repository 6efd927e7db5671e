"""Signers that hold a key in this process: from an encrypted JSON keystore, or one of the devnet's public test keys.

Test keys sign for chain 31337 only. Keys are never printed, and no signer exposes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from rebalancer.errors import DevnetKeyOnRealChain, KeystoreMissing, KeystoreUnreadable, WrongPassword
from rebalancer.files import MEGABYTE, Excess, parse_json, read_text
from rebalancer.send.signed import SignedTransaction
from rebalancer.wellknown import DEVNET_CHAIN_ID, TEST_MNEMONIC

__all__ = ["DevnetSigner", "KeystoreSigner", "WatchOnly", "devnet_signer", "keystore_address", "keystore_weakness"]

_MOST_BYTES = MEGABYTE
"""Limit for a keystore file; real ones have a few hundred bytes."""

_MOST_SCRYPT = 2**20 * 8
_MOST_PBKDF2 = 2**27
"""Above these limits, derivation takes over a gigabyte, or minutes."""

_LEAST_SCRYPT = 2**17 * 8
_LEAST_PBKDF2 = 2**18

_DERIVATION_PATH = "m/44'/60'/0'/0/{index}"  # BIP-44, as every wallet and node derives them


class KeystoreSigner:
    """Signs with a key that is encrypted on disk and decrypted only in this object."""

    __slots__ = ("_account", "address")

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self.address: str = account.address.lower()

    @classmethod
    def load(cls, path: Path, password: Callable[[], str]) -> Self:
        """Open a keystore (Web3 Secret Storage version 3). Slow on purpose: about a second.

        `password` is called once, after the file was found and read.

        Raises:
            KeystoreMissing: there is no such file.
            KeystoreUnreadable: it is not a keystore.
            WrongPassword: the password does not open it.
            PasswordMissing: as `password` raises it.
        """
        keystore = _read_keystore(path)
        _derivation(path, keystore)
        try:
            # Never in a variable of its own, so that no traceback can show the key.
            account = Account.from_key(Account.decrypt(keystore, password()))
        except ValueError as error:
            # eth-keyfile distinguishes a wrong password from a bad file only by this message.
            if "MAC mismatch" in str(error):
                raise WrongPassword(path) from None
            raise KeystoreUnreadable(path, "a field has an invalid value") from None
        except (KeyError, TypeError, NotImplementedError, AssertionError, AttributeError):
            raise KeystoreUnreadable(path, "a field is missing or unknown") from None
        named = str(keystore.get("address") or "").lower().removeprefix("0x")
        if named and named != account.address.lower().removeprefix("0x"):
            raise KeystoreUnreadable(path, f"it names 0x{named}, but its key is of another account")
        return cls(account)

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction for any chain."""
        return _sign(self._account, transaction)

    def __repr__(self) -> str:
        return f"KeystoreSigner({self.address})"


class DevnetSigner:
    """Signs with a public test key, for chain 31337 only."""

    __slots__ = ("_account", "address")

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self.address: str = account.address.lower()

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction.

        Raises:
            DevnetKeyOnRealChain: it is for another chain than a devnet.
        """
        _refuse_real_chain(transaction["chainId"])
        return _sign(self._account, transaction)

    def __repr__(self) -> str:
        return f"DevnetSigner({self.address})"


class WatchOnly:
    """An account without its key: enough for previews and simulations."""

    __slots__ = ("address",)

    def __init__(self, address: str) -> None:
        self.address = address

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Not possible: a caller that signs with this has a bug."""
        raise AssertionError(f"{self.address} has no key here and cannot sign {transaction}")


def devnet_signer(index: int, chain_id: int = DEVNET_CHAIN_ID) -> DevnetSigner:
    """One of the test accounts that every local node funds, counted from 0.

    Raises:
        DevnetKeyOnRealChain: `chain_id` is not a devnet's.
    """
    _refuse_real_chain(chain_id)
    return DevnetSigner(_devnet_account(index))


def keystore_address(path: Path) -> str | None:
    """Address that a keystore names, in lower case; None if it names none. Needs no password.

    Raises:
        KeystoreMissing: there is no such file.
        KeystoreUnreadable: it is not a keystore.
    """
    keystore = _read_keystore(path)
    if not any(key.lower() == "crypto" for key in keystore):
        raise KeystoreUnreadable(path, "it holds no encrypted key")
    named = str(keystore.get("address") or "").lower().removeprefix("0x")
    return f"0x{named}" if named else None


def keystore_weakness(path: Path) -> str | None:
    """Parameters of a keystore whose password is quick to guess from the file, in a few words; None if they are strong.
    Needs no password.

    Strong means at least n * r * p of 2^17 * 8 for scrypt (OWASP), and 262,144 rounds for PBKDF2, the defaults of
    wallets.

    Raises:
        As `keystore_address`.
    """
    is_scrypt, work, parameters = _derivation(path, _read_keystore(path))
    return parameters if work < (_LEAST_SCRYPT if is_scrypt else _LEAST_PBKDF2) else None


def _derivation(path: Path, keystore: Mapping[str, Any]) -> tuple[bool, int, str]:
    """Whether the key is derived by scrypt (otherwise PBKDF2), how much work that is, and the parameters in words.

    Raises:
        KeystoreUnreadable: the parameters are missing, or too expensive.
    """
    crypto: Any = next((value for key, value in keystore.items() if key.lower() == "crypto"), None)
    try:
        kdf, given = crypto["kdf"], crypto["kdfparams"]
        is_scrypt = kdf == "scrypt"
        if is_scrypt:
            work = int(given["n"]) * int(given["r"]) * int(given["p"])
            parameters = f"scrypt with n={given['n']}, r={given['r']}"
        else:
            work, parameters = int(given["c"]), f"{kdf} with c={given['c']}"
    except (KeyError, TypeError, ValueError, OverflowError):
        raise KeystoreUnreadable(path, "a field is missing or unknown") from None
    if work > (_MOST_SCRYPT if is_scrypt else _MOST_PBKDF2):
        raise KeystoreUnreadable(path, f"its key is too expensive to derive: {parameters}")
    return is_scrypt, work, parameters


def _read_keystore(path: Path) -> dict[str, Any]:
    try:
        keystore = parse_json(read_text(path, _MOST_BYTES))
    except FileNotFoundError:
        raise KeystoreMissing(path) from None
    except OSError as error:
        raise KeystoreUnreadable(path, error.strerror or "it cannot be read") from None
    except Excess as excess:
        raise KeystoreUnreadable(path, str(excess)) from None
    except ValueError:
        raise KeystoreUnreadable(path, "it is not JSON") from None
    if not isinstance(keystore, dict):
        raise KeystoreUnreadable(path, "it is not a JSON object")
    return keystore


@cache
def _devnet_account(index: int) -> LocalAccount:
    Account.enable_unaudited_hdwallet_features()  # these keys are public
    path = _DERIVATION_PATH.format(index=index)
    account: LocalAccount = Account.from_mnemonic(TEST_MNEMONIC, account_path=path)
    return account


def _refuse_real_chain(chain_id: int) -> None:
    if chain_id != DEVNET_CHAIN_ID:
        raise DevnetKeyOnRealChain(chain_id)


def _sign(account: LocalAccount, transaction: Mapping[str, Any]) -> SignedTransaction:
    message = dict(transaction)
    if message.get("to"):
        message["to"] = to_checksum_address(message["to"])  # eth-account requires it
    signed = account.sign_transaction(message)
    return SignedTransaction(bytes(signed.raw_transaction), "0x" + bytes(signed.hash).hex())
