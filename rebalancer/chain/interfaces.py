"""Interfaces of the packaged contracts: fast calls, batches, logs, and decoding of refusals.

The keeper uses this module. Other readers of contracts use `chain.contracts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from eth_abi.exceptions import DecodingError

from rebalancer.abi import Contract, ErrorShape, Function, Interface, signature_of
from rebalancer.chain.artifacts import artifact_names, load_artifact
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ContractReverted, RpcRejected

__all__ = [
    "ChainContract",
    "ChainInterface",
    "decode_revert",
    "interface",
    "named_arguments",
    "named_refusal",
    "reverted",
]

_PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "value outside its enum",
    0x31: "pop from an empty array",
    0x32: "index outside the array",
    0x41: "out of memory",
    0x51: "call of an empty function pointer",
}

_EXECUTION_FAILED = ("revert", "vm exception", "evm error", "invalid opcode", "out of gas")
"""Words in a node's message for a failed execution, if the node returns no data."""


class ChainContract(Contract):
    """A contract that is called through an `Rpc`, with named refusals."""

    def result(self, function: str, answer: Any) -> Any:
        """As `Contract.result`; a node's rejection is decoded as the contract's refusal if possible.

        Raises:
            ContractReverted: the contract reverted.
            ContractMissing: the address has no code, or the code of another contract.
            RpcRejected: the node rejected the call.
        """
        return super().result(function, named_refusal(answer))

    def call(self, rpc: Rpc, function: str, *args: Any, block: int | str | bytes = "latest") -> Any:
        """Read the contract at a block: a number, a tag or a hash. Costs 0.02 ms in addition to the request; web3 costs
        1 ms.

        Raises:
            As `result`, and everything `Rpc.call` raises.
        """
        answers = rpc.batch_settled([self.request(function, *args, block=block)])
        return self.result(function, answers[0])


class ChainInterface(Interface):
    """An interface whose contracts are called through an `Rpc`."""

    def at(self, address: str) -> ChainContract:
        """A handle on the contract at an address."""
        return ChainContract(self, address.lower())


@cache
def interface(name: str) -> ChainInterface:
    """The interface of a packaged contract.

    Raises:
        ArtifactMissing: there is no contract of that name.
    """
    return ChainInterface.of(name, load_artifact(name).abi)


def named_arguments(known: Interface, function: Function, data: str) -> dict[str, Any]:
    """Arguments in call data of a packaged contract, by name; structs are mappings of their fields."""
    entry = next(
        one
        for one in load_artifact(known.name).abi
        if one["type"] == "function" and signature_of(one) == function.signature
    )
    values = zip(function.inputs.names, entry["inputs"], function.arguments(data), strict=True)
    return {name: _named(part, value) for name, part, value in values}


def _named(parameter: Mapping[str, Any], value: Any) -> Any:
    kind = str(parameter["type"])
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_named(inner, one) for one in value]
    if kind == "tuple":
        parts = parameter["components"]
        return {part["name"]: _named(part, one) for part, one in zip(parts, value, strict=True)}
    return value


def named_refusal(answer: Any) -> Any:
    """A node's answer in a batch: a contract's refusal is decoded, any other answer is returned unchanged."""
    return reverted(answer) if isinstance(answer, RpcRejected) else answer


def reverted(rejection: RpcRejected) -> ContractReverted | RpcRejected:
    """A node's rejection decoded as a contract's refusal; unchanged if it is not one."""
    message = rejection.message.lower()
    if rejection.data or any(words in message for words in _EXECUTION_FAILED):
        return decode_revert(rejection.data)
    return rejection


def decode_revert(data: bytes) -> ContractReverted:
    """Revert data decoded with the errors of all packaged interfaces: name and arguments."""
    if not data:
        return ContractReverted("NoReason", {}, data)
    shape = _known_errors().get(data[:4])
    if shape is None:
        return ContractReverted("UnknownError", {"data": "0x" + data.hex()}, data)
    try:
        values = dict(zip(shape.values.names, shape.values.decode(data[4:]), strict=True))
    except (DecodingError, ValueError):
        return ContractReverted("UnknownError", {"data": "0x" + data.hex()}, data)
    if shape.name == "Panic":
        values["meaning"] = _PANICS.get(values["code"], "unknown")
    return ContractReverted(shape.name, values, data)


@cache
def _known_errors() -> Mapping[bytes, ErrorShape]:
    builtin = (
        {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
        {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
    )
    known = dict(Interface.of("built in", builtin).errors)
    for name in artifact_names():
        known |= interface(name).errors
    return known
