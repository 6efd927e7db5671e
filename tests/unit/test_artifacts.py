"""Compiled contracts found in folders, the addresses of their libraries filled in, and where CREATE2 puts them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from rebalancer.chain import artifacts as module
from rebalancer.chain import create2
from rebalancer.chain.artifacts import Artifact, add_artifacts_folder, artifact_names, load_artifact
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ArtifactMissing

MATHS, LISTS = "0x" + "Ab" * 20, "0x" + "cd" * 20


def written(folder: Path, name: str, code: str = "0x6001", **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    whole = {"abi": [{"type": "fallback"}], "bytecode": code, "deployedBytecode": "0x02"}
    (folder / f"{name}.json").write_text(json.dumps({**whole, "linkReferences": {}, **more}))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder but the package's."""
    monkeypatch.setattr(module, "_more_folders", [])


def test_contract_is_found_in_any_folder_the_first_one_first(elsewhere: None, tmp_path: Path) -> None:
    packaged = artifact_names()
    first, second = tmp_path / "first", tmp_path / "second"
    written(first, "OnlyHereForATest", "0x61")
    written(second, "OnlyHereForATest", "0x62")
    written(second, "OnlyThereForATest", "0x63")
    (second / "notes.txt").write_text("none")
    for folder in (tmp_path / "nowhere", first, second, first):
        add_artifacts_folder(folder)

    assert load_artifact("OnlyHereForATest").creation_code() == b"\x61"
    assert load_artifact("OnlyThereForATest").creation_code() == b"\x63"
    assert module._more_folders == [tmp_path / "nowhere", first, second]
    more = ["OnlyHereForATest", "OnlyHereForATest", "OnlyThereForATest"]
    assert list(artifact_names()) == sorted([*packaged, *more])
    with pytest.raises(ArtifactMissing) as raised:
        load_artifact("NowhereForATest")
    assert raised.value.name == "NowhereForATest"


def test_file_is_read_whole(elsewhere: None, tmp_path: Path) -> None:
    links = {
        "a.sol": {"Maths": [{"start": 1, "length": 20}, {"start": 25, "length": 20}]},
        "b.sol": {"Lists": [{"start": 50, "length": 20}]},
    }
    written(tmp_path, "LinkedForATest", "0x60", linkReferences=links)
    add_artifacts_folder(tmp_path)

    assert load_artifact("LinkedForATest") == Artifact(
        "LinkedForATest", ({"type": "fallback"},), "60", "02", {"Maths": (1, 25), "Lists": (50,)}
    )
    assert load_artifact("LinkedForATest").runtime_code() == b"\2"


def test_libraries_are_filled_in_where_they_belong_and_nothing_else_is_touched() -> None:
    code = bytes(range(1, 81))
    linked = Artifact("Linked", (), code.hex(), "", {"Maths": (1, 25), "Lists": (50,)})

    made = linked.creation_code({"Maths": MATHS, "Lists": LISTS, "Other": "0x"})

    one, two = bytes.fromhex("ab" * 20), bytes.fromhex("cd" * 20)
    assert made == code[:1] + one + code[21:25] + one + code[45:50] + two + code[70:]


@pytest.mark.parametrize("given", [None, {}, {"Maths": MATHS}])
def test_library_without_an_address_is_named(given: dict[str, str] | None) -> None:
    linked = Artifact("Linked", (), "00" * 80, "", {"Maths": (1,), "Lists": (50,)})

    with pytest.raises(ArtifactMissing) as raised:
        linked.creation_code(given)

    library = "Lists" if given else "Maths"
    assert raised.value.name == f"Linked (its library {library} has no address)"
    assert Artifact("Plain", (), "6001", "", {}).creation_code(given) == b"\x60\x01"


# CREATE2


def test_address_follows_from_factory_salt_and_code() -> None:
    """EIP-1014: the last twenty bytes of the hash of 0xff, who creates, the salt and the hash of the code."""
    for salt, code in ((0, b""), (7, b"\x60\x01"), (2**256 - 1, b"x" * 100)):
        whole = "ff" + create2.FACTORY[2:] + f"{salt:064x}" + keccak(code).hex()
        assert create2.address_of(salt, code) == "0x" + keccak(hexstr=whole).hex()[-40:]
        assert create2.request(salt, code) == f"0x{salt:064x}" + code.hex()


def test_address_is_the_standards_own_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(create2, "FACTORY", "0x" + "0" * 40)
    assert create2.address_of(0, b"\0") == "0x4d1a2e2bb4f88f0250f26ffff098b0b30b26bf38"
    monkeypatch.setattr(create2, "FACTORY", "0xdeadbeef" + "0" * 32)
    assert create2.address_of(0, b"\0") == "0xb928f69bb1d91cd65274e3c79d8986362984fda3"


def test_factory_is_there_if_its_code_is_to_the_byte() -> None:
    # What its transaction creates, between the code that returns it and the signature.
    code = "0x" + create2.PRESIGNED.split("6000f350fe")[1].split("1ba02222")[0]

    class Chain(Rpc):
        reported = code

        def batch_settled(self, calls: Sequence[Any]) -> list[Any]:
            assert list(calls) == [("eth_getCode", (create2.FACTORY, "latest"))]
            return [self.reported]

    chain = Chain("http://127.0.0.1:1")
    assert create2.has_factory(chain)
    for other in ("0x", code[:-2], code + "00", code[:-1] + "4"):
        chain.reported = other
        assert not create2.has_factory(chain)
