"""Keys: where they come from, what they refuse to sign, and that nothing shows them."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from pydantic import SecretStr

from rebalancer.config import AccountSettings
from rebalancer.errors import (
    DevnetKeyOnRealChain,
    KeystoreMissing,
    KeystoreNotNamed,
    KeystoreUnreadable,
    PasswordMissing,
    SignedOtherwise,
    SignerError,
    SignerUnavailable,
    WrongPassword,
)
from rebalancer.send.signer import (
    KeystoreSigner,
    Signer,
    devnet_signer,
    open_signer,
    password_from_file,
)

KEY = bytes.fromhex("0123456789abcdef" * 4)
ADDRESS = "0xfcad0b19bb29d4674531d6f115237e16afce377c"  # of that key
PASSWORD = "correct horse"


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    # Two iterations instead of a million: a test's key protects nothing.
    path.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, "pbkdf2", iterations=2)))
    return path


def transaction(chain_id: int) -> dict[str, Any]:
    return {
        "type": 2,
        "chainId": chain_id,
        "nonce": 7,
        "to": "0x" + "ab" * 20,
        "data": "0x1234",
        "value": 0,
        "gas": 50_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 10**9,
    }


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_load_absent_keystore_is_missing_and_asks_no_password(tmp_path: Path) -> None:
    def asked() -> str:
        raise AssertionError("a password was asked for")

    with pytest.raises(KeystoreMissing, match=r"absent\.json"):
        KeystoreSigner.load(tmp_path / "absent.json", asked)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"0x00"', "{}", '{"version": 3}', '{"version": 9, "crypto": {}}', "\udcff"],
)
def test_load_other_file_is_unreadable(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(KeystoreUnreadable):
        KeystoreSigner.load(path, lambda: PASSWORD)


def test_load_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(KeystoreUnreadable, match="directory"):
        KeystoreSigner.load(tmp_path, lambda: PASSWORD)


def test_load_bad_parameters_is_unreadable(keystore: Path) -> None:
    crypto = json.loads(keystore.read_text())["crypto"]
    edit(keystore, crypto=crypto | {"ciphertext": "not hex"})
    with pytest.raises(KeystoreUnreadable, match="cannot have"):
        KeystoreSigner.load(keystore, lambda: PASSWORD)
    edit(keystore, crypto=crypto | {"kdf": "md5"})
    with pytest.raises(KeystoreUnreadable, match="missing or unknown"):
        KeystoreSigner.load(keystore, lambda: PASSWORD)


def test_load_with_another_accounts_name_is_unreadable(keystore: Path) -> None:
    edit(keystore, address="00" * 20)
    with pytest.raises(KeystoreUnreadable, match="another account's key"):
        KeystoreSigner.load(keystore, lambda: PASSWORD)


def test_load_wrong_password_shows_neither_password_nor_key(keystore: Path) -> None:
    wrong = PASSWORD + " battery"
    with pytest.raises(WrongPassword) as caught:
        KeystoreSigner.load(keystore, lambda: wrong)
    shown = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in shown
    assert KEY.hex() not in shown


@pytest.mark.parametrize("content", [None, "", "\nsecond line"])
def test_password_file_without_a_password_is_missing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
    ask = password_from_file(path)
    with pytest.raises(PasswordMissing):
        ask()


def test_load_opens_the_key_and_signs_for_any_chain(keystore: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    signer: Signer = KeystoreSigner.load(keystore, password_from_file(password))

    assert signer.address == ADDRESS
    for chain_id in (1, 31337):
        signed = signer.sign(transaction(chain_id))
        assert Account.recover_transaction(signed.raw).lower() == ADDRESS
        assert signed.raw[0] == 2
        # Deterministic (RFC 6979): signing again gives the very same transaction.
        assert signer.sign(transaction(chain_id)) == signed


def test_devnet_key_refuses_every_real_chain() -> None:
    with pytest.raises(DevnetKeyOnRealChain, match="chain 1:"):
        devnet_signer(0, chain_id=1)
    signer = devnet_signer(0)
    for chain_id in (1, 10, 8453, 1337, 0):
        with pytest.raises(DevnetKeyOnRealChain) as caught:
            signer.sign(transaction(chain_id))
        assert caught.value.chain_id == chain_id


def test_devnet_keys_are_the_accounts_local_nodes_fund() -> None:
    # As Anvil and Hardhat print them when they start.
    assert devnet_signer(0).address == "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
    assert devnet_signer(9).address == "0xa0ee7a142d267c1f36714e4a8f75612f20a79720"

    signed = devnet_signer(9).sign(transaction(31337))
    assert Account.recover_transaction(signed.raw).lower() == devnet_signer(9).address


def test_signers_show_their_address_and_never_their_key(keystore: Path) -> None:
    for signer in (KeystoreSigner.load(keystore, lambda: PASSWORD), devnet_signer(0)):
        key = signer._account.key.hex()
        for shown in (repr(signer), str(signer), f"{signer}", repr([signer])):
            assert key not in shown
        assert signer.address in repr(signer)
        assert not hasattr(signer, "__dict__")


def test_open_signer_without_a_keystore_is_for_devnets_alone() -> None:
    account = AccountSettings(devnet_account=4)
    with pytest.raises(KeystoreNotNamed, match="chain 1 is not a local one"):
        open_signer(account, 1)
    assert open_signer(account, 31337).address == devnet_signer(4).address


def test_open_signer_with_nobody_to_ask_is_refused(keystore: Path) -> None:
    with pytest.raises(PasswordMissing, match="nobody to ask"):
        open_signer(AccountSettings(keystore=keystore), 31337)


def test_open_signer_takes_the_password_set_then_the_file_then_the_prompt(
    keystore: Path, tmp_path: Path
) -> None:
    right = SecretStr(PASSWORD)
    file = tmp_path / "password"
    file.write_text("wrong")

    def opened(prompt: str, **fields: Any) -> str:
        return open_signer(AccountSettings(keystore=keystore, **fields), 1, lambda: prompt).address

    assert opened("wrong", keystore_password=right, keystore_password_file=file) == ADDRESS
    with pytest.raises(WrongPassword):
        opened(PASSWORD, keystore_password_file=file)
    file.write_text(PASSWORD)
    assert opened("wrong", keystore_password_file=file) == ADDRESS
    assert opened(PASSWORD) == ADDRESS


def test_every_signer_error_says_what_to_do() -> None:
    errors = [
        KeystoreMissing(Path("k")),
        KeystoreNotNamed(1),
        KeystoreUnreadable(Path("k"), "it is not JSON"),
        WrongPassword(Path("k")),
        PasswordMissing("it is not set"),
        DevnetKeyOnRealChain(1),
        SignerUnavailable("http://signer", "it is down"),
        SignedOtherwise("nonce", 7, 8),
    ]
    assert {type(error) for error in errors} == set(SignerError.__subclasses__())
    for error in errors:
        assert ": " in str(error)
        assert str(error).endswith(".")
