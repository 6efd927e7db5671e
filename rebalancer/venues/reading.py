"""Readers of pools as generators: they yield calls, receive the answers, and return the pools.

A reader does no I/O of its own; `rebalancer.chain.pools` makes the calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol, TypeVar

from rebalancer.abi import Call, Contract, Interface
from rebalancer.block import Block
from rebalancer.errors import ContractMissing, ContractReverted, LiquidityExhausted, RpcRejected
from rebalancer.texts import LONGEST_SYMBOL, safe_text
from rebalancer.venues.fields import Snapshot
from rebalancer.venues.model import ETHER_ADDRESS, PoolRef, PoolState, Token

__all__ = [
    "PROBE_PARTS",
    "TOKEN",
    "At",
    "Reading",
    "Result",
    "Venue",
    "answered",
    "each",
    "interface_of",
    "probes",
    "quotes_of",
    "results_of",
    "tokens_read",
]

Result = TypeVar("Result")
Reading = Generator[list[Call], list[Any], Result]
"""Generator that yields calls, receives their answers, and returns a result."""

_ETHER = Token(ETHER_ADDRESS, "ETH", 18)
_EVENT = re.compile(r"event (\w+)\((.*)\)")

PROBE_PARTS = (1_000_000, 1_000, 20)
"""Divisors of a balance: amounts at which the chain's quotes are compared with ours."""


@dataclass(frozen=True)
class At:
    """Context of a read. `lens` is UniswapV3Lens if the chain has it; otherwise a call provides its code as a state
    override."""

    block: Block
    chain_id: int
    tokens: Mapping[str, Token]
    lens: str | None
    lens_code: str

    def ask(self, contract: Contract, function: str, *args: Any) -> Call:
        """A call of a function at the block."""
        return contract.request(function, *args, block=self.block.hash)

    def pool(self, name: str, address: str, tokens: Iterable[Token]) -> dict[str, Any]:
        """First fields of the snapshot of a pool with an address."""
        return {**self.head(name), "address": address, "tokens": [token.to_json() for token in tokens]}

    def head(self, name: str) -> dict[str, Any]:
        """First fields of every snapshot."""
        return {"chain_id": self.chain_id, "block": self.block.number, "name": name}


@dataclass(frozen=True, slots=True)
class Venue:
    """Everything the program needs to know about a venue, except its pools (`PoolState`)."""

    name: str
    """Name in addresses files, settings and logs."""
    kinds: tuple[str, ...]
    """Names of the supported kinds of pools, for people."""
    snapshot_key: str
    """The key that identifies the venue's snapshots."""
    load: Callable[[Snapshot], PoolState]
    """Load a pool from a snapshot; raises BadPoolSnapshot or UnsupportedPool."""
    read: Callable[[At, Sequence[PoolRef]], Reading[Sequence[PoolState]]]
    """Read pools from the chain."""
    takes: Callable[[PoolRef], bool]
    """Whether a reference identifies a pool of the venue."""
    mark: tuple[Interface, str] | None
    """A view without arguments that only the venue's pools have; None if pools have no address."""
    fee_text: bool = True
    """Whether its pools return their fee."""
    reads_together: bool = False
    """Whether one call reads all its pools, so that an unreadable pool fails the others, too."""


def interface_of(name: str, lines: Iterable[str]) -> Interface:
    """Interface of an external contract, whose code is not packaged: `name(types) -> types` or `event name(type
    [indexed] name, …)`.

    Raises:
        ValueError: a line has neither form.
    """
    return Interface.of(name, [_entry(line) for line in lines])


def _entry(line: str) -> Mapping[str, Any]:
    event = _EVENT.fullmatch(line)
    if event:
        inputs = [part.split() for part in event[2].split(", ")]
        return {
            "type": "event",
            "name": event[1],
            "inputs": [{"type": p[0], "name": p[-1], "indexed": "indexed" in p} for p in inputs],
        }
    head, arrow, results = line.partition(") -> ")
    name, paren, types = head.partition("(")
    if not (arrow and paren and name.isidentifier()):
        raise ValueError(f"{line!r} is neither a function nor an event")
    return {"type": "function", "name": name, "inputs": _parameters(types), "outputs": _parameters(results)}


def _parameters(types: str) -> list[dict[str, str]]:
    """Parameters from a list of types; a tuple is written as its types in parentheses."""
    found, depth = [""], 0
    for letter in types:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [{"type": kind} for kind in found if kind]


TOKEN = interface_of("ERC-20", ("symbol() -> string", "decimals() -> uint8"))


def answered(contract: Contract, function: str, answer: Any) -> Any:
    """Result of a function, or None if the contract has no such function."""
    try:
        return contract.result(function, answer)
    except (ContractReverted, ContractMissing, RpcRejected):
        return None


def each(
    read: Callable[[At, PoolRef], Reading[PoolState]],
) -> Callable[[At, Sequence[PoolRef]], Reading[Sequence[PoolState]]]:
    """A reader of several pools, from a reader of one."""

    def read_all(at: At, refs: Sequence[PoolRef]) -> Reading[Sequence[PoolState]]:
        found = []
        for ref in refs:
            found.append((yield from read(at, ref)))  # noqa: PERF401 (no comprehension can yield)
        return found

    return read_all


def results_of(at: At, contract: Contract, *names: str) -> Reading[list[Any]]:
    """Results of functions without arguments."""
    answers = yield [at.ask(contract, name) for name in names]
    return [contract.result(name, answer) for name, answer in zip(names, answers, strict=True)]


def tokens_read(at: At, addresses: Iterable[str]) -> Reading[tuple[Token, ...]]:
    """Tokens by address; unknown ones are read."""
    wanted = [address.lower() for address in addresses]
    unknown = [a for a in dict.fromkeys(wanted) if a not in at.tokens and a != ETHER_ADDRESS]
    found = {ETHER_ADDRESS: _ETHER, **at.tokens}
    if unknown:
        contracts = [TOKEN.at(address) for address in unknown]
        answers = yield [at.ask(c, name) for c in contracts for name in ("symbol", "decimals")]
        for n, contract in enumerate(contracts):
            symbol = _symbol(contract, answers[2 * n])
            decimals = contract.result("decimals", answers[2 * n + 1])
            found[contract.address] = Token(contract.address, symbol, decimals)
    return tuple(found[address] for address in wanted)


def _symbol(contract: Contract, answer: Any) -> str:
    """A token's symbol; some old tokens return a bytes32 instead of a string."""
    try:
        found = str(contract.result("symbol", answer))
    except ContractMissing:
        word = bytes.fromhex(answer.removeprefix("0x")) if isinstance(answer, str) else b""
        found = word.rstrip(b"\0").decode("utf-8", "replace")
    return safe_text(found, LONGEST_SYMBOL) or contract.address


class _Quoting(Protocol):
    """A pool with balances and quotes."""

    @property
    def tokens(self) -> tuple[Token, ...]: ...
    @property
    def balances(self) -> tuple[int, ...]: ...


def probes(pool: _Quoting, *, every_pair: bool = False) -> list[tuple[int, int, int]]:
    """(i, j, amount) for all ordered pairs of neighbours, or for all pairs, with parts of the pool's balances as
    amounts."""
    count = len(pool.tokens)
    pairs = [(k, (k + 1) % count) for k in range(count)]
    if every_pair:
        pairs = [*combinations(range(count), 2)]
    return [
        (i, j, max(pool.balances[i] // part, 1))
        for one, other in pairs
        for i, j in ((one, other), (other, one))
        for part in PROBE_PARTS
    ]


def quotes_of(
    pool: _Quoting, quote: Callable[[str, str, int], int], swaps: Iterable[tuple[int, int, int]]
) -> list[int | None]:
    """Our quote for each (i, j, amount); None if it is refused."""
    found: list[int | None] = []
    for i, j, amount in swaps:
        try:
            found.append(quote(pool.tokens[i].address, pool.tokens[j].address, amount))
        except LiquidityExhausted:
            found.append(None)
    return found
