"""Packaged contracts at an address of a chain, read with web3's contract classes over this project's endpoints.

For commands, tests and devnets. A read takes 1 ms of processor time in addition to the request; `chain.interfaces`,
which the keeper uses at each block, takes 0.02 ms. web3 is imported at the first read or encoding, not with this
module: its import takes longer than some commands.

Each web3 contract has a single function, because web3 searches and checks the whole ABI at every call. Requests that
web3 makes in addition to the call are suppressed (`provider.RpcProvider`).

Addresses are accepted in any hex spelling and returned in lower case. Structs and multiple results are plain tuples in
ABI order, a single result is returned as itself, and no result as None. Strings are decoded by `texts.safe_text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, proxy

from eth_utils.abi import abi_to_signature
from eth_utils.address import is_hex_address, to_checksum_address

from rebalancer.abi import at_block
from rebalancer.chain.artifacts import load_artifact
from rebalancer.chain.interfaces import ChainContract, ChainInterface, interface
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ContractMissing

if TYPE_CHECKING:
    from web3 import Web3

__all__ = ["BoundContract", "contract_at"]


@dataclass(frozen=True)
class BoundContract:
    """A packaged contract at an address, read through an `Rpc`. Not thread-safe, as an `Rpc` is not."""

    rpc: Rpc
    name: str
    address: str

    @property
    def interface(self) -> ChainInterface:
        """The whole ABI, for logs."""
        return interface(self.name)

    @property
    def batched(self) -> ChainContract:
        """The same contract as a `ChainContract`, for calls in a batch."""
        return self.interface.at(self.address)

    def data(self, function: str, *args: Any) -> str:
        """Call data, as hex. Name an overloaded function by its signature; its bare name selects the first one.

        Raises:
            ValueError: the function does not take these arguments.
        """
        known = _reader(self.rpc).function(self.name, function)
        with _fitting(self.name, function):
            return str(known.factory.encode_abi(known.signature, known.arguments(args)))

    def call(self, function: str, *args: Any, block: int | str | bytes = "latest", sender: str | None = None) -> Any:
        """Read the contract at a block: a number, a tag or a hash. Makes one `eth_call` and no other request.

        Raises:
            ContractReverted: the contract reverted.
            ContractMissing: the address is invalid, or has no code, or the code of another contract.
            RpcRejected: the node rejected the call.
            As `data`, and everything `Rpc.call` raises.
        """
        from web3.exceptions import BadFunctionCallOutput  # web3 is slow to import

        if not is_hex_address(self.address):
            raise ContractMissing(self.name, self.address)
        reader = _reader(self.rpc)
        known = reader.function(self.name, function)
        functions = known.factory(to_checksum_address(self.address)).functions
        with _fitting(self.name, function):
            requested = functions[known.signature](*known.arguments(args))
        message = {} if sender is None else {"from": to_checksum_address(sender)}
        # As a call argument, web3 would resolve a hash to a number with another request, and a reorg could happen in
        # between.
        reader.w3.eth.default_block = at_block(block)
        try:
            answer = requested.call(message)
        except BadFunctionCallOutput:
            raise ContractMissing(self.name, self.address) from None
        return known.result(answer)


def contract_at(rpc: Rpc, name: str, address: str) -> BoundContract:
    """The packaged contract of that name at an address."""
    return BoundContract(rpc, name, address.lower())


@dataclass(frozen=True)
class _Function:
    """One function of a packaged contract. `factory` is web3's class of contracts that have only this function."""

    factory: Any
    signature: str
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]

    def arguments(self, values: Iterable[Any]) -> tuple[Any, ...]:
        return _with_addresses(self.inputs, tuple(values), to_checksum_address)

    def result(self, answer: Any) -> Any:
        if not self.outputs:
            return None
        values = (answer,) if len(self.outputs) == 1 else answer
        values = _with_addresses(self.outputs, values, str.lower)
        return values[0] if len(values) == 1 else values


class _Reader:
    """web3 over one `Rpc`, and the functions used so far."""

    def __init__(self, w3: Web3) -> None:
        self.w3 = w3
        self._functions: dict[tuple[str, str], _Function] = {}

    def function(self, name: str, function: str) -> _Function:
        key = name, function
        if key not in self._functions:
            entry = _entry(name, function)
            self._functions[key] = _Function(
                self.w3.eth.contract(abi=[entry]),
                abi_to_signature(entry),
                tuple(entry["inputs"]),
                tuple(entry["outputs"]),
            )
        return self._functions[key]


_readers: WeakKeyDictionary[Rpc, _Reader] = WeakKeyDictionary()


def _reader(rpc: Rpc) -> _Reader:
    found = _readers.get(rpc)
    if found is None:
        from rebalancer.chain.provider import web3_over  # web3 is slow to import

        # A proxy: otherwise the reader would keep its own key alive.
        found = _readers[rpc] = _Reader(web3_over(proxy(rpc)))
    return found


def _entry(name: str, function: str) -> Any:
    entry: Any
    for entry in load_artifact(name).abi:
        if entry["type"] == "function" and function in (entry["name"], abi_to_signature(entry)):
            return entry
    raise KeyError(function)


@contextmanager
def _fitting(name: str, function: str) -> Iterator[None]:
    """Replace web3's error for wrong arguments, which has many lines, by one sentence."""
    from web3.exceptions import Web3Exception  # web3 is slow to import

    try:
        yield
    except (Web3Exception, TypeError, ValueError):
        raise ValueError(f"{function} of {name} does not take these arguments") from None


def _with_addresses(
    parameters: Iterable[Mapping[str, Any]], values: Iterable[Any], change: Callable[[str], str]
) -> tuple[Any, ...]:
    """Values as plain tuples, with `change` applied to each address."""
    return tuple(_with_address(parameter, value, change) for parameter, value in zip(parameters, values, strict=True))


def _with_address(parameter: Mapping[str, Any], value: Any, change: Callable[[str], str]) -> Any:
    kind = str(parameter["type"])
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return tuple(_with_address(inner, one, change) for one in value)
    if kind == "tuple":
        return _with_addresses(parameter["components"], value, change)
    return change(value) if kind == "address" else value
