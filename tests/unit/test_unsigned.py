"""Calls that are written down: Safe's checksum, and what a call's bytes mean."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from rebalancer.chain.abi import interface
from rebalancer.cli import root
from rebalancer.send.unsigned import Reading, UnsignedCall, checksum, read_call, safe_batch

SAFE = "0xA77DE01e157f9f57C7c4A326eeE9C4874D0598b6"
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
SPENDER = "0x474e5Ded6b5D078163BFB8F6dBa355C3aA5478C8"

EXPORTED: dict[str, Any] = {
    "version": "1.0",
    "chainId": "1",
    "createdAt": 1761326849944,
    "meta": {
        "name": "Transactions Batch",
        "description": "",
        "txBuilderVersion": "1.18.2",
        "createdFromSafeAddress": SAFE,
        "createdFromOwnerAddress": "",
        "checksum": "0x8b5032f716845c8b08bab3d63dbd9ba92e056f3557793cd041e59b84e16aa989",
    },
    "transactions": [
        {
            "to": USDC,
            "value": "0",
            "data": None,
            "contractMethod": {
                "inputs": [
                    {"internalType": "address", "name": "spender", "type": "address"},
                    {"internalType": "uint256", "name": "value", "type": "uint256"},
                ],
                "name": "approve",
                "payable": False,
            },
            "contractInputsValues": {"spender": SPENDER, "value": "100000000000"},
        }
    ],
}
"""What Safe's Transaction Builder 1.18.2 exported, as github.com/5afe/safe-cli-nodejs shows it (TRANSACTION_BUILDER_FORMAT_ANALYSIS.md)."""


def test_checksum_is_the_one_that_safe_exports() -> None:
    assert checksum(EXPORTED) == EXPORTED["meta"]["checksum"]


@pytest.mark.parametrize("name", ["Other", "Zürich “↯”"])
def test_checksum_does_not_change_with_the_name_or_the_order_of_fields(name: str) -> None:
    renamed = {**EXPORTED, "meta": {**EXPORTED["meta"], "name": name}}
    assert checksum(dict(reversed(renamed.items()))) == EXPORTED["meta"]["checksum"]


def test_checksum_of_letters_beyond_ascii_is_that_of_the_builder() -> None:
    """Computed with the copy of Safe's algorithm in the npm package @eth-optimism/core-utils 0.13.2."""
    odd = 'a\nb\t"q" \\ é 😀 \u2028 \u007f <>&'
    batch = {
        **EXPORTED,
        "meta": {**EXPORTED["meta"], "description": odd},
        "transactions": [
            *(
                {"to": USDC, "value": "0", "data": "0x1234", "contractMethod": None}
                | {"contractInputsValues": None},
            )
        ],
    }
    assert checksum(batch) == "0xb144a1e8aaaaf5ea7611484b3609e34effeb96a722ff15f12aa0059cba6e0d98"


def test_batch_changes_its_checksum_with_any_byte_of_a_call() -> None:
    data = interface("IERC20Metadata").at(USDC).data("approve", SPENDER, 7)
    calls = [UnsignedCall(USDC.lower(), 0, data, read_call(data), None, "succeeds")]
    about = {"chain_id": 1, "safe": SAFE.lower(), "made_at": 1, "name": "n", "description": "d"}
    batch = safe_batch(calls, **about)  # type: ignore[arg-type]  # a dict of mixed values
    assert batch["meta"]["checksum"] == checksum(json.loads(json.dumps(batch)))
    assert (batch["transactions"][0]["to"], batch["createdAt"]) == (USDC, 1_000)
    batch["transactions"][0]["data"] = data[:-1] + "8"
    assert batch["meta"]["checksum"] != checksum(batch)


def test_call_is_read_with_the_names_of_structs_and_the_call_inside_it() -> None:
    vault, manager = interface("BasketVault"), interface("AccessManager")
    fees = vault.functions["setFees"].encode((50, 0, 5, 5), SPENDER)
    data = manager.functions["schedule"].encode(USDC, bytes.fromhex(fees[2:]), 0)

    found = read_call(data)

    assert found is not None
    assert (found.contract, found.function) == ("AccessManager", "schedule(address,bytes,uint48)")
    inner = found.arguments["data"]
    assert isinstance(inner, Reading)
    named = {"streamingBps": 50, "performanceBps": 0, "entryBps": 5, "exitBps": 5}
    assert list(inner.arguments.values()) == [named, SPENDER.lower()]
    assert read_call("0xdeadbeef") is None
    assert read_call("0x") is None


def test_commands_of_the_page_on_multisigs_are_those_there_are(repo_root: Path) -> None:
    text = (repo_root / "docs" / "multisig.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("rebalancer ")]
    assert len(lines) > 9
    for line in lines:
        words, ctx = shlex.split(line)[1:], click.Context(root)
        command: click.Command | None = root
        while isinstance(command, click.Group):
            command = command.get_command(ctx, words.pop(0))
        assert command is not None, line
        known = {name for param in command.params for name in param.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
