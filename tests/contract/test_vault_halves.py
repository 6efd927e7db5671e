"""A vault is one address and one ABI, of code in two halves: every function of one is declared by the other, and both mean the same slots."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

HALVES = ("BasketVault", "VaultExtension")
PERMITS = ("_nameFallback", "_versionFallback", "_nonces")
"""What ERC20Permit stores, which the first half alone inherits."""

Compiled = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def compiled(repo_root: Path) -> Compiled:
    """ABI and storage layout of both halves and of their interfaces, from the compiler itself, by contract.

    The packaged ABI will not do: in it the two halves are one.
    """
    selection = {"*": {"*": ["abi", "storageLayout", "evm.methodIdentifiers"]}}
    remappings = [f"{scope}/=node_modules/{scope}/" for scope in ("@openzeppelin", "@uniswap")]
    requested = {
        "language": "Solidity",
        "sources": {
            name: {"content": (repo_root / name).read_text()} for name in (f"contracts/{half}.sol" for half in HALVES)
        },
        "settings": {"remappings": remappings, "outputSelection": selection, "viaIR": True},
    }
    program = [
        str(repo_root / "scripts" / "build" / "solc"),
        "--base-path",
        str(repo_root),
        "--standard-json",
    ]
    answer = json.loads(
        subprocess.run(
            program,
            input=json.dumps(requested),
            cwd=repo_root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    assert not [e for e in answer.get("errors", ()) if e["severity"] == "error"]
    return {name: contract for source, contracts in answer["contracts"].items() for name, contract in contracts.items()}


def functions(compiled: Compiled, name: str) -> dict[str, str]:
    """Selector of each function, by its signature."""
    return dict(compiled[name]["evm"]["methodIdentifiers"])


def shapes(compiled: Compiled, name: str) -> dict[str, tuple[Any, ...]]:
    """What a caller must know of each function, by its signature: what it returns, whether it takes ether or changes anything."""
    by_name = {
        signature: [
            (_types(entry["outputs"]), entry["stateMutability"])
            for entry in compiled[name]["abi"]
            if entry["type"] == "function" and f"{entry['name']}({','.join(_types(entry['inputs']))})" == signature
        ]
        for signature in functions(compiled, name)
    }
    return {signature: tuple(found) for signature, found in by_name.items()}


def _types(parameters: list[dict[str, Any]]) -> list[str]:
    return [
        part["type"].replace("tuple", f"({','.join(_types(part['components']))})", 1)
        if "components" in part
        else part["type"]
        for part in parameters
    ]


def test_first_half_declares_every_function_of_the_second(compiled: Compiled) -> None:
    declared = shapes(compiled, "IVaultExtension")
    whole = shapes(compiled, "BasketVault")

    assert len(declared) > 25
    assert {signature: whole.get(signature) for signature in declared} == declared
    assert all(len(found) == 1 for found in whole.values())


def test_second_half_implements_no_more_than_its_interface(compiled: Compiled) -> None:
    """But for where it stores configurations, which it tells at its own address alone."""
    own = functions(compiled, "VaultExtension").keys() - functions(compiled, "VaultBase").keys()
    declared = functions(compiled, "IVaultExtension").keys()

    assert own == (declared - functions(compiled, "IVaultBase").keys()) | {"STORE()"}
    assert "STORE()" not in functions(compiled, "BasketVault")


def test_no_function_is_implemented_by_both_halves(compiled: Compiled, repo_root: Path) -> None:
    """Beside what both have from VaultBase: what the first half declares for the second leads there, and nowhere else."""
    shared = functions(compiled, "VaultBase").keys()
    seldom = functions(compiled, "IVaultExtension").keys() - shared
    core = functions(compiled, "IVaultCore").keys() - functions(compiled, "IVaultBase").keys()
    text = (repo_root / "contracts" / "BasketVault.sol").read_text()

    assert not core & seldom
    for signature in seldom:
        name = signature.partition("(")[0]
        (body,) = [part.partition("{")[2].partition("}")[0] for part in text.split(f"function {name}(")[1:]]
        # A statement of parameters alone, which keeps their names in the ABI, and the way there.
        assert re.fullmatch(r"(\(?\w+(, \w+)*\)?;)?\s*_extend\(\);", body.strip()), name


def test_declared_functions_name_their_parameters_as_the_interface_does(compiled: Compiled) -> None:
    """Wallets ask for each by its name."""

    def names(contract: str) -> dict[str, list[str]]:
        return {
            entry["name"]: [part["name"] for part in entry["inputs"]]
            for entry in compiled[contract]["abi"]
            if entry["type"] == "function"
        }

    declared = names("IVaultExtension")
    whole = names("BasketVault")

    assert all(all(each) for each in declared.values())
    assert {name: whole[name] for name in declared} == declared


def test_selectors_are_all_different(compiled: Compiled) -> None:
    selectors = list(functions(compiled, "BasketVault").values())

    assert len(set(selectors)) == len(selectors)


def test_storage_of_the_second_half_is_where_the_first_has_it(compiled: Compiled) -> None:
    whole, part = (_layout(compiled, half) for half in HALVES)

    assert len(part) > 10
    assert whole[: len(part)] == part
    assert tuple(label for label, *_ in whole[len(part) :]) == PERMITS


def _layout(compiled: Compiled, name: str) -> list[tuple[str, str, int, Any]]:
    """Label, slot and offset of each variable, and its type down to the last member; in order."""
    layout = compiled[name]["storageLayout"]
    return [
        (each["label"], each["slot"], each["offset"], _type(layout["types"], each["type"]))
        for each in layout["storage"]
    ]


def _type(types: dict[str, Any], name: str) -> Any:
    """A type without the compiler's own numbers, which differ from contract to contract."""
    found = types[name]
    return (
        *(found["label"], found["numberOfBytes"], found["encoding"]),
        *(_type(types, found[inner]) if inner in found else None for inner in ("key", "value", "base")),
        tuple(
            (member["label"], member["slot"], member["offset"], _type(types, member["type"]))
            for member in found.get("members", ())
        ),
    )


def called_in(repo_root: Path, suite: str, function: str) -> set[str]:
    """Which of the vault's functions a list of a forge suite calls."""
    text = (repo_root / "tests" / "solidity" / f"{suite}.t.sol").read_text(encoding="utf-8")
    body = text.partition(f"function {function}(")[2].partition("\n    }\n")[0]
    return set(re.findall(r"encodeCall\(I\w+\.(\w+),", body))


def test_the_role_test_tries_every_restricted_function(repo_root: Path) -> None:
    restricted = {
        name
        for file in ("BasketVault", "VaultBase", "VaultExtension")
        for name in re.findall(
            r"function (\w+)\([^)]*\)[^{;]*\brestricted\b",
            (repo_root / "contracts" / f"{file}.sol").read_text(encoding="utf-8"),
        )
    }

    assert len(restricted) > 10
    assert called_in(repo_root, "Governance", "_restrictedCalls") == restricted | {"rebalance"}


def test_the_reentrancy_test_tries_every_function_that_changes_the_vault(compiled: Compiled, repo_root: Path) -> None:
    tried = called_in(repo_root, "Rebalance", "_everyChange")
    changing = {
        entry["name"]
        for entry in compiled["BasketVault"]["abi"]
        if entry["type"] == "function" and entry["stateMutability"] in {"nonpayable", "payable"}
    }

    # A share is an ERC-20 token like any other; the factory alone calls initialize, and the manager setAuthority.
    of_others = {"approve", "initialize", "permit", "setAuthority", "transfer", "transferFrom"}
    assert changing - tried == of_others
    assert tried <= changing
