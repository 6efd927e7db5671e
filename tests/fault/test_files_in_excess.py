"""Files that have more than anybody means, or nest deeper: one sentence each, and no more memory than they may take."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from rebalancer.chain.deployment import Deployment
from rebalancer.errors import (
    BadPoolSnapshot,
    BadRecords,
    ConfigError,
    DeploymentMalformed,
    KeystoreUnreadable,
    PasswordMissing,
    RebalancerError,
)
from rebalancer.files import MEGABYTE
from rebalancer.keeper.recording import _BEGINNING, _DamagedError, _repair, read_day
from rebalancer.lab.records import read_records
from rebalancer.operations.spec import load_chain_spec
from rebalancer.pool_files import load_pool
from rebalancer.send.open_signer import password_from_file
from rebalancer.send.signer import KeystoreSigner, keystore_address
from rebalancer.settings import load_settings

Read = Callable[[Path], Any]

DEEP = '{"a":' * 50 + "1" + "}" * 50
DEEPEST = "[" * 100_000


def a_day(path: Path) -> None:
    list(read_day(path))


def a_password(path: Path) -> None:
    password_from_file(path)()


JSON: list[tuple[Read, type[RebalancerError], str]] = [
    (Deployment.load, DeploymentMalformed, "rebalancer.chain.deployment"),
    (load_pool, BadPoolSnapshot, "rebalancer.pool_files"),
    (keystore_address, KeystoreUnreadable, "rebalancer.send.signer"),
    (read_records, BadRecords, "rebalancer.lab.records"),
]


@pytest.mark.parametrize(("read", "error", "module"), JSON)
def test_file_that_is_too_large_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: Read,
    error: type[RebalancerError],
    module: str,
) -> None:
    monkeypatch.setattr(f"{module}._MOST_BYTES", 2 * MEGABYTE)
    path = tmp_path / "file"
    path.write_text("{" + " " * 2 * MEGABYTE)

    with pytest.raises(error, match="it has more than 2 MB"):
        read(path)
    with pytest.raises(error, match="it has more than 2 MB"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize("text", [DEEP, DEEPEST])
@pytest.mark.parametrize(("read", "error", "module"), JSON)
def test_file_that_nests_too_deep_is_one_sentence(
    tmp_path: Path, read: Read, error: type[RebalancerError], module: str, text: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text + "\n")

    with pytest.raises(error, match="nested more than 32 deep"):
        read(path)


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e999"])
def test_number_that_is_none_is_one_sentence(tmp_path: Path, number: str) -> None:
    path = tmp_path / "addresses.json"
    Deployment(1).save(path)
    path.write_text(path.read_text().replace('"chain_id": 1', f'"chain_id": {number}'))

    with pytest.raises(DeploymentMalformed):
        Deployment.load(path)


@pytest.mark.parametrize("name", ["rebalancer.toml", ".env", "chain.toml"])
def test_settings_in_excess_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    read = (lambda: load_chain_spec(path)) if name == "chain.toml" else load_settings

    path.write_text("# " + "x" * MEGABYTE)
    with pytest.raises(ConfigError, match="it has more than 1 MB"):
        read()
    if path.suffix == ".toml":
        path.write_text(f"a = {'[' * 50_000}")
        with pytest.raises(ConfigError, match="nested too deeply"):
            read()


def test_password_without_an_end_is_missing() -> None:
    with pytest.raises(PasswordMissing):
        a_password(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("kdf", "params"),
    [
        ("scrypt", {"n": 2**30}),
        ("scrypt", {"r": 2**24}),
        ("scrypt", {"p": 2**30}),
        ("pbkdf2", {"c": 2**40}),
    ],
)
def test_keystore_that_takes_hours_to_open_is_refused_before_its_password_is_asked(
    tmp_path: Path, kdf: Any, params: dict[str, int]
) -> None:
    path = tmp_path / "key.json"
    made = Account.encrypt(b"\x11" * 32, "hunter22", kdf, 2)
    made["crypto"]["kdfparams"] |= params
    path.write_text(json.dumps(made))

    def ask() -> str:
        raise AssertionError("the password was asked")

    with pytest.raises(KeystoreUnreadable, match="is too expensive to derive"):
        KeystoreSigner.load(path, ask)


# Records


def test_line_that_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalancer.keeper.recording._MOST_LINE_BYTES", MEGABYTE)
    path = tmp_path / "day.jsonl"
    path.write_bytes(b" " * (MEGABYTE + 1))

    with pytest.raises(BadRecords, match="it has more than 1 MB") as caught:
        a_day(path)
    assert caught.value.line == 1


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_gzip_of_nothing_much_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: bytes) -> None:
    monkeypatch.setattr("rebalancer.keeper.recording._MOST_LINE_BYTES", MEGABYTE)
    path = tmp_path / "day.jsonl.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(b" " * MEGABYTE + ending)

    tracemalloc.start()
    try:
        with pytest.raises(BadRecords, match=r"it (has more than 1 MB|is more than 500 times)"):
            a_day(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_keeper_that_continued_in_a_bomb_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebalancer.keeper.recording._MOST_MEMBER_BYTES", MEGABYTE)
    path = tmp_path / "day.jsonl.gz"
    path.write_bytes(gzip.compress(_BEGINNING + b" " * 100 * MEGABYTE)[:-20])
    before = path.read_bytes()

    with pytest.raises(_DamagedError, match="larger than a keeper writes"):
        _repair(path)
    assert path.read_bytes() == before
