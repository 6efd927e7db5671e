"""Files that a keeper writes beside its outbox: whose they are, and that none is written through a link."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from rebalancer.chain.deployment import Deployment
from rebalancer.files import make_folder
from rebalancer.keeper.recording import _BEGINNING, _appended, _locked, _repair

LINES = (_BEGINNING + b"1}\n", _BEGINNING + b"2}\n")


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz"])
def test_record_is_its_users_alone_and_goes_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / "records" / name
    before = os.umask(0)
    try:
        make_folder(path.parent)
        for line in LINES:
            os.close(_locked(path))
            _repair(path)
            with _appended(path) as file:
                file.write(line)
    finally:
        os.umask(before)

    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    read = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert read == b"".join(LINES)


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.gz"])
def test_record_is_not_written_through_a_link(tmp_path: Path, name: str) -> None:
    keystore, link, dangling = (tmp_path / one for one in ("keystore", name, f"new-{name}"))
    keystore.write_bytes(b"")
    link.symlink_to(keystore)
    dangling.symlink_to(tmp_path / "nothing")

    for path in (link, dangling):
        for write in (_locked, _repair, _appended):
            with pytest.raises(OSError, match="it is a symbolic link"):
                write(path)
    assert keystore.read_bytes() == b""
    assert not (tmp_path / "nothing").exists()


def test_addresses_are_not_written_through_a_link(tmp_path: Path) -> None:
    keystore, file = tmp_path / "keystore", tmp_path / "addresses.json"
    keystore.write_text("a key")
    file.with_name("addresses.json.new").symlink_to(keystore)

    Deployment(1).save(file)

    assert keystore.read_text() == "a key"
    assert Deployment.load(file).chain_id == 1
