"""Keys: where they come from, what they refuse to sign, and that nothing shows them."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from pydantic import SecretStr

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
from rebalancer.send import signer as module
from rebalancer.send.open_signer import open_signer, password_from_file
from rebalancer.send.signed import Signer
from rebalancer.send.signer import (
    KeystoreSigner,
    devnet_signer,
    keystore_address,
    keystore_weakness,
)
from rebalancer.settings import AccountSettings

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
    def requested() -> str:
        raise AssertionError("a password was asked for")

    with pytest.raises(KeystoreMissing, match=r"absent\.json"):
        KeystoreSigner.load(tmp_path / "absent.json", requested)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"0x00"', "{}", '{"version": 3}', '{"version": 9, "crypto": {}}', "\udcff"],
)
def test_load_other_file_is_unreadable(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for read in (
        lambda: KeystoreSigner.load(path, lambda: PASSWORD),
        lambda: keystore_weakness(path),
    ):
        with pytest.raises(KeystoreUnreadable) as caught:
            read()
        assert caught.value.path == path


def test_load_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(KeystoreUnreadable, match="directory") as caught:
        KeystoreSigner.load(tmp_path, lambda: PASSWORD)
    assert caught.value.path == tmp_path


def test_load_bad_parameters_is_unreadable(keystore: Path) -> None:
    crypto = json.loads(keystore.read_text())["crypto"]
    edit(keystore, crypto=crypto | {"ciphertext": "not hex"})
    with pytest.raises(KeystoreUnreadable, match="invalid value") as caught:
        KeystoreSigner.load(keystore, lambda: PASSWORD)
    assert caught.value.path == keystore
    edit(keystore, crypto=crypto | {"kdf": "md5"})
    with pytest.raises(KeystoreUnreadable, match="missing or unknown") as caught:
        KeystoreSigner.load(keystore, lambda: PASSWORD)
    assert caught.value.path == keystore


def test_load_with_another_accounts_name_is_unreadable(keystore: Path) -> None:
    edit(keystore, address="00" * 20)
    with pytest.raises(KeystoreUnreadable, match="its key is of another account") as caught:
        KeystoreSigner.load(keystore, lambda: PASSWORD)
    assert caught.value.path == keystore
    assert "0x" + "00" * 20 in caught.value.why


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


def test_devnet_keys_need_nothing_that_others_set_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "_use_unaudited_hdwallet_features", False)
    module._devnet_account.cache_clear()

    assert devnet_signer(0).address == "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"


def test_open_signer_without_a_keystore_is_for_devnets_alone() -> None:
    account = AccountSettings(devnet_account=4)
    with pytest.raises(KeystoreNotNamed, match="chain 1 is not a local chain"):
        open_signer(account, 1)
    assert open_signer(account, 31337).address == devnet_signer(4).address


def test_open_signer_with_nobody_to_ask_is_refused(keystore: Path) -> None:
    with pytest.raises(PasswordMissing, match="there is no prompt"):
        open_signer(AccountSettings(keystore=keystore), 31337)


def test_open_signer_takes_the_password_set_then_the_file_then_the_prompt(keystore: Path, tmp_path: Path) -> None:
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


def derived(path: Path, kdf: str, **work: int) -> None:
    """A keystore whose key is derived with so much work."""
    path.write_text(json.dumps({"Crypto": {"kdf": kdf, "kdfparams": work}}))


@pytest.mark.parametrize(
    ("work", "is_weak"),
    [
        ({"n": 2**17, "r": 8, "p": 1}, False),
        ({"n": 2**20, "r": 1, "p": 1}, False),
        ({"n": 2**20 - 1, "r": 1, "p": 1}, True),
        ({"n": 2**16, "r": 8, "p": 2}, False),
        ({"n": 2**17 - 1, "r": 8, "p": 1}, True),
        ({"n": 2**16, "r": 8, "p": 1}, True),
        ({"c": 2**18}, False),
        ({"c": 2**18 - 1}, True),
    ],
)
def test_keystore_is_weak_below_what_wallets_derive_keys_with(
    tmp_path: Path, work: dict[str, int], is_weak: bool
) -> None:
    path = tmp_path / "key.json"
    kdf = "scrypt" if "n" in work else "pbkdf2"
    derived(path, kdf, **work)

    message = keystore_weakness(path)

    if not is_weak:
        assert message is None
    elif kdf == "scrypt":
        assert message == f"scrypt with n={work['n']}, r={work['r']}"
    else:
        assert message == f"pbkdf2 with c={work['c']}"


@pytest.mark.parametrize(
    ("kdf", "most"),
    [("scrypt", {"n": 2**23, "r": 1, "p": 1}), ("pbkdf2", {"c": 2**27})],
)
def test_keystore_that_would_take_minutes_to_open_is_not_opened(tmp_path: Path, kdf: str, most: dict[str, int]) -> None:
    path = tmp_path / "key.json"
    derived(path, kdf, **most)
    assert keystore_weakness(path) is None
    first = next(iter(most))
    derived(path, kdf, **most | {first: most[first] + 1})

    def requested() -> str:
        raise AssertionError("a password was asked for")

    for read in (lambda: keystore_weakness(path), lambda: KeystoreSigner.load(path, requested)):
        with pytest.raises(KeystoreUnreadable, match="too expensive to derive") as caught:
            read()
        assert caught.value.path == path


def test_keystore_says_whose_key_it_holds_or_nothing(keystore: Path) -> None:
    content = json.loads(keystore.read_text())
    for name, reported in (
        ("0x" + ADDRESS[2:].upper(), ADDRESS),
        (ADDRESS[2:], ADDRESS),
        ("", None),
    ):
        edit(keystore, address=name)
        assert keystore_address(keystore) == reported
    del content["address"]
    content["Crypto"] = content.pop("crypto")
    keystore.write_text(json.dumps(content))
    assert keystore_address(keystore) is None
    keystore.write_text('{"version": 3, "address": "00", "id": 1}')
    with pytest.raises(KeystoreUnreadable, match="no encrypted key") as caught:
        keystore_address(keystore)
    assert caught.value.path == keystore


def test_keystore_without_a_name_is_opened(keystore: Path) -> None:
    content = json.loads(keystore.read_text())
    del content["address"]
    keystore.write_text(json.dumps(content))

    assert KeystoreSigner.load(keystore, lambda: PASSWORD).address == ADDRESS


def test_keystore_and_password_have_at_most_a_megabyte(keystore: Path) -> None:
    text = keystore.read_text()
    keystore.write_text(text + " " * (10**6 - len(text)))
    assert keystore_address(keystore) == ADDRESS
    password = keystore.with_name("password")
    password.write_text("\n".join([PASSWORD, "x" * (10**6 - len(PASSWORD) - 1)]))
    assert password_from_file(password)() == PASSWORD

    keystore.write_text(text + " " * (10**6 - len(text) + 1))
    with pytest.raises(KeystoreUnreadable, match="MB") as caught:
        keystore_address(keystore)
    assert caught.value.path == keystore
    password.write_text("x" * (10**6 + 1))
    with pytest.raises(PasswordMissing, match="cannot be read"):
        password_from_file(password)()


def test_deployment_has_no_receiver_to_spell() -> None:
    signed = devnet_signer(9).sign(transaction(31337) | {"to": ""})

    assert Account.recover_transaction(signed.raw).lower() == devnet_signer(9).address


def test_open_signer_with_an_address_of_a_signer_asks_that_one(monkeypatch: pytest.MonkeyPatch, keystore: Path) -> None:
    requested = []
    monkeypatch.setattr("rebalancer.send.open_signer.open_external", lambda *reported: requested.append(reported))
    account = AccountSettings.model_validate(
        {"signer_url": "http://signer/secret", "signer_address": ADDRESS, "devnet_account": 4}
    )

    open_signer(account, 31337)

    assert requested == [("http://signer/secret", ADDRESS)]
    assert open_signer(AccountSettings(devnet_account=4), 31337).address == devnet_signer(4).address
    assert len(requested) == 1


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
