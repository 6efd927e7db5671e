"""Encoding and decoding of contract calls: call data, results, events and errors. Sends nothing and reads nothing.

Types are parsed once, when an interface is first used, so encoding a call only fills in its numbers. Addresses are
returned in lower case and accepted in any hex spelling. Structs and multiple results are plain tuples in ABI order; a
single result is returned as itself. `chain.interfaces` knows the packaged contracts and calls them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from eth_abi.decoding import ContextFramesBytesIO, StringDecoder, TupleDecoder
from eth_abi.encoding import TupleEncoder
from eth_abi.exceptions import DecodingError
from eth_abi.registry import registry
from eth_utils.crypto import keccak

from rebalancer.errors import ContractMissing, ContractReverted, RpcRejected
from rebalancer.texts import safe_text

__all__ = [
    "CODERS",
    "Call",
    "Contract",
    "ErrorShape",
    "Event",
    "EventShape",
    "Function",
    "Interface",
    "Record",
    "at_block",
    "decode_logs",
    "signature_of",
]

Call = tuple[str, Sequence[Any]]
"""A method and its parameters, as JSON."""


def at_block(block: int | str | bytes) -> Any:
    """The block parameter of a read: a number, a tag, or a block hash (EIP-1898).

    A hash must belong to the canonical chain, so that a reorg fails the read instead of letting
    one decision mix two chains.
    """
    if isinstance(block, bytes):
        return {"blockHash": "0x" + block.hex(), "requireCanonical": True}
    if isinstance(block, int):
        return hex(block)
    if len(block) == 2 + 64:
        return {"blockHash": block, "requireCanonical": True}
    return block


def _type(parameter: Mapping[str, Any]) -> str:
    """Canonical type of a parameter: structs spelt out as tuples."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type(part) for part in parameter["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


class _TextDecoder(StringDecoder):
    """Decoder of strings. The author of a contract chose the text, so it is made safe to show, even if it is not valid
    UTF-8."""

    def __init__(self) -> None:
        super().__init__(handle_string_errors="replace")  # type: ignore[no-untyped-call]  # eth_abi's

    def decode(self, stream: ContextFramesBytesIO) -> str:
        return safe_text(super().decode(stream))  # type: ignore[no-untyped-call]  # eth_abi's


CODERS = registry.copy()
CODERS.unregister_decoder("string")
CODERS.register_decoder("string", _TextDecoder, label="string")
"""Coders of all ABI types: those of eth_abi, except that strings are decoded by `_TextDecoder`."""


@dataclass(frozen=True)
class Record:
    """A sequence of named parameters with its encoder and decoder."""

    types: tuple[str, ...]
    names: tuple[str, ...]
    _encoder: Any = field(repr=False, compare=False)
    _decoder: Any = field(repr=False, compare=False)

    @classmethod
    def of(cls, parameters: Iterable[Mapping[str, Any]]) -> Self:
        parameters = tuple(parameters)
        types = tuple(_type(parameter) for parameter in parameters)
        names = tuple(parameter.get("name") or f"arg{i}" for i, parameter in enumerate(parameters))
        return cls(
            types,
            names,
            TupleEncoder(encoders=[CODERS.get_encoder(kind) for kind in types]),
            TupleDecoder(decoders=[CODERS.get_decoder(kind) for kind in types]),
        )

    def encode(self, values: Sequence[Any]) -> bytes:
        return bytes(self._encoder(values)) if self.types else b""

    def decode(self, data: bytes) -> tuple[Any, ...]:
        return tuple(self._decoder(ContextFramesBytesIO(data))) if self.types else ()


@dataclass(frozen=True)
class Function:
    """One function of a contract."""

    name: str
    signature: str
    selector: bytes
    inputs: Record
    outputs: Record

    def encode(self, *args: Any) -> str:
        """Call data, as hex."""
        return "0x" + (self.selector + self.inputs.encode(args)).hex()

    def arguments(self, data: str) -> tuple[Any, ...]:
        """The arguments in call data of this function (0x, selector, arguments)."""
        return self.inputs.decode(_bytes(data)[len(self.selector) :])

    def is_called_by(self, data: str) -> bool:
        """Whether call data (0x, selector, arguments) calls this function."""
        return _bytes(data).startswith(self.selector)

    def decode(self, data: bytes | str) -> Any:
        """The returned value: a tuple of several results, a single result as itself, or None if the function returns
        nothing.

        Raises:
            eth_abi DecodingError: the data is not what this function returns.
        """
        values = self.outputs.decode(_bytes(data))
        if not values:
            return None
        return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class Event:
    """One event that was emitted. Indexed strings and arrays appear as their 32-byte hashes."""

    name: str
    address: str
    values: Mapping[str, Any]
    block_number: int
    transaction_hash: str


@dataclass(frozen=True)
class EventShape:
    name: str
    topic: str
    order: tuple[str, ...]
    indexed: Record
    data: Record

    def decode(self, log: Mapping[str, Any]) -> Event:
        topics = b"".join(_bytes(topic) for topic in log["topics"][1:])
        found = dict(zip(self.indexed.names, self.indexed.decode(topics), strict=True))
        found |= zip(self.data.names, self.data.decode(_bytes(log["data"])), strict=True)
        return Event(
            self.name,
            log["address"].lower(),
            {name: found[name] for name in self.order},
            int(log["blockNumber"], 16),
            log["transactionHash"],
        )


@dataclass(frozen=True)
class ErrorShape:
    name: str
    selector: bytes
    values: Record


@dataclass(frozen=True)
class Interface:
    """A parsed ABI. Functions are keyed by signature, and the first of each name also by the bare name."""

    name: str
    functions: Mapping[str, Function]
    events: Mapping[str, EventShape]
    errors: Mapping[bytes, ErrorShape]
    constructor: Record

    @classmethod
    def of(cls, name: str, abi: Iterable[Mapping[str, Any]]) -> Self:
        """Parse a JSON ABI."""
        functions: dict[str, Function] = {}
        events: dict[str, EventShape] = {}
        errors: dict[bytes, ErrorShape] = {}
        constructor = Record.of(())
        for entry in abi:
            kind = entry.get("type", "function")
            if kind == "constructor":
                constructor = Record.of(entry["inputs"])
            elif kind == "function":
                function = _function(entry)
                functions[function.signature] = function
                functions.setdefault(function.name, function)
            elif kind == "event":
                event = _event(entry)
                events[event.topic] = event
            elif kind == "error":
                error = _error(entry)
                errors[error.selector] = error
        return cls(name, functions, events, errors, constructor)

    def at(self, address: str) -> Contract:
        """A handle on the contract at an address."""
        return Contract(self, address.lower())

    def decode_log(self, log: Mapping[str, Any]) -> Event | None:
        """The event that a JSON log records, or None if this interface has no such event."""
        shape = self.events.get(log["topics"][0]) if log["topics"] else None
        try:
            return shape.decode(log) if shape else None
        except (DecodingError, ValueError):
            # Another contract's event of the same signature, with other fields indexed.
            return None


@dataclass(frozen=True)
class Contract:
    """An interface at an address."""

    interface: Interface
    address: str

    def data(self, function: str, *args: Any) -> str:
        """Call data, as hex."""
        return self.interface.functions[function].encode(*args)

    def request(self, function: str, *args: Any, block: int | str | bytes = "latest") -> Call:
        """The `eth_call` to put into a batch; `result` decodes its answer."""
        return "eth_call", ({"to": self.address, "data": self.data(function, *args)}, at_block(block))

    def result(self, function: str, answer: Any) -> Any:
        """Decode the answer to an `eth_call`.

        Raises:
            ContractReverted, RpcRejected: the answer is this error.
            ContractMissing: the address has no code, or the code of another contract.
        """
        if isinstance(answer, ContractReverted | RpcRejected):
            raise answer from None
        shape = self.interface.functions[function]
        data = _bytes(answer)
        if not data and shape.outputs.types:
            raise ContractMissing(self.interface.name, self.address)
        try:
            return shape.decode(data)
        except DecodingError:
            raise ContractMissing(self.interface.name, self.address) from None


def decode_logs(logs: Iterable[Mapping[str, Any]], *interfaces: Interface) -> list[Event]:
    """The events that any of the interfaces can decode, in the order of the logs."""
    events = []
    for log in logs:
        for known in interfaces:
            if event := known.decode_log(log):
                events.append(event)
                break
    return events


def signature_of(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}({','.join(_type(part) for part in entry['inputs'])})"


def _function(entry: Mapping[str, Any]) -> Function:
    signature = signature_of(entry)
    return Function(
        entry["name"],
        signature,
        keccak(text=signature)[:4],
        Record.of(entry["inputs"]),
        Record.of(entry.get("outputs", ())),
    )


def _event(entry: Mapping[str, Any]) -> EventShape:
    named = [{**part, "name": part.get("name") or f"arg{i}"} for i, part in enumerate(entry["inputs"])]
    return EventShape(
        entry["name"],
        "0x" + keccak(text=signature_of(entry)).hex(),
        tuple(part["name"] for part in named),
        Record.of(_as_topic(part) for part in named if part["indexed"]),
        Record.of(part for part in named if not part["indexed"]),
    )


def _as_topic(part: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = part["type"]
    hashed = kind in ("string", "bytes") or kind.endswith("]") or kind.startswith("tuple")
    return {"name": part["name"], "type": "bytes32" if hashed else kind}


def _error(entry: Mapping[str, Any]) -> ErrorShape:
    return ErrorShape(entry["name"], keccak(text=signature_of(entry))[:4], Record.of(entry["inputs"]))


def _bytes(data: bytes | str) -> bytes:
    return data if isinstance(data, bytes) else bytes.fromhex(data.removeprefix("0x"))
