"""Registry of price sources: `kind` in a chain file, adapter contract, parameters, and current price.

An adapter is a contract of `contracts/feeds` that implements IPriceSource and reads the contracts in its packed
parameters. `PRICE_SOURCES` is the only list: a new source needs one adapter and one row. `read` computes in exact
integers what the adapter will return, so a configuration is checked before a transaction is sent;
tests/contract/test_price_sources.py checks that both agree. Nothing is sent here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from eth_abi.packed import encode_packed
from eth_utils.crypto import keccak

from rebalancer.abi import at_block
from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.rpc import Rpc
from rebalancer.errors import ContractReverted, FeedUnsound, RpcRejected, SourceUnsound
from rebalancer.oracle import (
    MAX_FEED_DECIMALS,
    MAX_TOKEN_DECIMALS,
    MIN_WINDOW_SECONDS,
    feed_price_e18,
    in_usd_e18,
    mean_tick,
    rate_e18,
    tick_price_e18,
)
from rebalancer.words import span

__all__ = [
    "COMPUTED_HEARTBEAT_SECONDS",
    "MAX_SECONDS",
    "PRICE_SOURCES",
    "Found",
    "Line",
    "Named",
    "PriceSource",
    "word_of",
]

MAX_SECONDS = (1 << 32) - 1  # 32 bits in the OracleHub
COMPUTED_HEARTBEAT_SECONDS = 1
"""Heartbeat of a price that is computed at the time of the call: it is never stale."""

_NO_SELECTOR = bytes(4)
_PRICE_DECIMALS = 18
_GETTER = re.compile(r"[A-Za-z_$][\w$]*\(\)")
_OF_ONE_SHARE = "convertToAssets(uint256)"


class Line(Protocol):
    """A section of a chain file, read key by key. A key without a default is required."""

    def text(self, key: str, default: Any = ...) -> Any: ...

    def address(self, key: str, default: Any = ...) -> Any: ...

    def amount(self, key: str, decimals: int, default: Any = ...) -> Any: ...

    def whole(self, key: str, default: Any = ...) -> Any: ...

    def between(self, key: str, least: int, most: int) -> int: ...

    def wrong(self, key: str, problem: str) -> Exception: ...


@dataclass(frozen=True, slots=True)
class Named:
    """A source as configured: its token, its quote (None: USD), and the values of its own keys."""

    token: str
    quote: str | None
    heartbeat_seconds: int
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A source as read from the chain: parameters, price in `quote` (None: USD), and the contracts it reads."""

    params: tuple[object, ...]
    price_e18: int
    quote: str | None
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PriceSource:
    """One row of the registry.

    `word` is the `kind` in a chain file, `adapter` the contract, `types` the types of its packed parameters, `keys` its
    own keys in a chain file. `read` finds its parameters and its price at a block. A `timed` source is a feed with an
    `address` and a heartbeat; it can be a token's only source. Other sources are computed at the time of the call and
    can only be second sources. A `quoted` source is in USD or in the configured `quote`; other sources determine their
    own quote.
    """

    word: str
    adapter: str
    types: tuple[str, ...]
    keys: Mapping[str, Callable[[Line, str], Any]]
    read: Callable[[Rpc, Named, Block], Found]
    timed: bool = False
    quoted: bool = True

    def named(self, line: Line, token: str) -> Named:
        """The source in a section of a chain file."""
        heartbeat = line.between("heartbeat_seconds", 1, MAX_SECONDS) if self.timed else COMPUTED_HEARTBEAT_SECONDS
        quote = line.address("quote", None) if self.quoted else None
        values = {key: parse(line, key) for key, parse in self.keys.items()}
        return Named(token, quote, heartbeat, values)

    def params(self, *values: object) -> bytes:
        """Parameters as the hub stores them: packed, without padding."""
        return encode_packed(self.types, values)


def word_of(adapter: str, adapters: Mapping[str, str]) -> str:
    """The `kind` of the adapter at an address, given the addresses of all adapters by name; the address itself if
    unknown."""
    names = {address.lower(): name for name, address in adapters.items()}
    known = {row.adapter: word for word, row in PRICE_SOURCES.items()}
    return known.get(names.get(adapter.lower(), ""), adapter)


# Keys of a chain file


def _address(line: Line, key: str) -> Any:
    return line.address(key)


def _address_or_token(line: Line, key: str) -> Any:
    return line.address(key, None)


def _feed_decimals(line: Line, key: str) -> Any:
    return line.whole(key, None)


def _rate_decimals(line: Line, key: str) -> Any:
    return line.between(key, 0, MAX_TOKEN_DECIMALS)


def _window(line: Line, key: str) -> Any:
    return line.between(key, MIN_WINDOW_SECONDS, MAX_SECONDS)


def _rate(line: Line, key: str) -> Any:
    return line.amount(key, _PRICE_DECIMALS)


def _getter(line: Line, key: str) -> Any:
    function = line.text(key)
    if not _GETTER.fullmatch(function):
        raise line.wrong(key, f"{function!r} is not a signature such as stEthPerToken()")
    return function


def _getter_or_vault(line: Line, key: str) -> Any:
    return _OF_ONE_SHARE if line.text(key) == _OF_ONE_SHARE else _getter(line, key)


# Reading the chain


def _read_answer(rpc: Rpc, named: Named, now: int) -> tuple[int, int]:
    """Answer of the feed at `address`, times 1e18, and its decimals.

    Raises:
        FeedUnsound: the decimals differ from the configured ones, or the answer is not positive, or it is stale.
        ContractMissing: the address has no feed.
    """
    address, expected = named.values["address"], named.values.get("decimals")
    contract = contract_at(rpc, "AggregatorV3Interface", address)
    decimals = contract.call("decimals")
    if expected is not None and decimals != expected:
        raise FeedUnsound(address, f"it has {decimals} decimals, not {expected}")
    if decimals > MAX_FEED_DECIMALS:
        raise FeedUnsound(address, f"it has {decimals} decimals, above {MAX_FEED_DECIMALS}")
    _, answer, _, updated_at, _ = contract.call("latestRoundData")
    if answer <= 0:
        raise FeedUnsound(address, f"its answer is {answer}, which is not a price")
    age, heartbeat = now - updated_at, named.heartbeat_seconds
    if age > heartbeat:
        why = f"its answer is {span(age)} old, and its heartbeat is {span(heartbeat)}"
        raise FeedUnsound(address, why)
    return feed_price_e18(answer, decimals), decimals


def _read_feed(rpc: Rpc, named: Named, block: Block) -> Found:
    price_e18, decimals = _read_answer(rpc, named, block.timestamp)
    feed = named.values["address"]
    return Found((feed, decimals), price_e18, named.quote, (feed,))


def _read_pausable(rpc: Rpc, named: Named, block: Block) -> Found:
    pauser = named.values["paused_by"] or named.token
    if _word(rpc, named.token, pauser, "oraclePaused()", block):
        raise SourceUnsound(named.token, f"{pauser} reports that its price is paused")
    price_e18, decimals = _read_answer(rpc, named, block.timestamp)
    feed = named.values["address"]
    return Found((feed, decimals, pauser), price_e18, named.quote, (feed,))


def _read_exchanged(rpc: Rpc, named: Named, block: Block) -> Found:
    values = named.values
    base_e18, decimals = _read_answer(rpc, named, block.timestamp)
    target, function = values["rate_address"] or named.token, values["rate_function"]
    rate_decimals, low, high = values["rate_decimals"], values["min_rate"], values["max_rate"]
    selector, share_decimals, share = _selector(function), 0, b""
    if function == _OF_ONE_SHARE:
        share_decimals = _read_decimals(rpc, target)
        selector, share = _NO_SELECTOR, int(10**share_decimals).to_bytes(32)
    rate = _rated(named, _word(rpc, named.token, target, function, block, share), rate_decimals)
    if not low <= rate <= high:
        why = f"its rate times 1e18 is {rate}, outside {low} to {high}"
        raise SourceUnsound(named.token, why)
    feed = values["address"]
    params = (feed, decimals, target, selector, share_decimals, rate_decimals, low, high)
    return Found(params, in_usd_e18(rate, base_e18), named.quote, (feed, target))


def _read_average(rpc: Rpc, named: Named, block: Block) -> Found:
    address, window = named.values["pool"], named.values["window_seconds"]
    pool = contract_at(rpc, "UniswapV3Pool", address)
    pair = [pool.call(name, block=block.hash).lower() for name in ("token0", "token1")]
    if named.token not in pair:
        raise SourceUnsound(named.token, f"the tokens of the pool {address} are {' and '.join(pair)}")
    base_is_token0 = pair[0] == named.token
    quote = pair[base_is_token0]
    decimals = [_read_decimals(rpc, token) for token in (named.token, quote)]
    try:
        sums, _ = pool.call("observe", [window, 0], block=block.hash)
    except ContractReverted as refusal:
        why = f"the pool {address} has no observations for the last {window} s: {refusal}"
        raise SourceUnsound(named.token, why.rstrip(".")) from None
    tick = mean_tick(sums[0], sums[1], window)
    price_e18 = tick_price_e18(tick if base_is_token0 else -tick, *decimals)
    return Found((address, window, *decimals, base_is_token0), price_e18, quote, (address,))


def _read_vault(rpc: Rpc, named: Named, block: Block) -> Found:
    vault = contract_at(rpc, "IERC4626", named.token)
    quote = vault.call("asset", block=block.hash).lower()
    share_decimals, decimals = (_read_decimals(rpc, token) for token in (named.token, quote))
    rate = vault.call("convertToAssets", 10**share_decimals, block=block.hash)
    price_e18 = _rated(named, rate, decimals)
    return Found((share_decimals, decimals), price_e18, quote, (named.token,))


def _read_getter(rpc: Rpc, named: Named, block: Block) -> Found:
    target, function = named.values["address"] or named.token, named.values["function"]
    decimals = named.values["decimals"]
    price_e18 = _rated(named, _word(rpc, named.token, target, function, block), decimals)
    return Found((target, _selector(function), decimals), price_e18, named.quote, (target,))


def _selector(function: str) -> bytes:
    return keccak(text=function)[:4]


def _word(rpc: Rpc, token: str, target: str, function: str, block: Block, argument: bytes = b"") -> int:
    """The first word of a function's result.

    Raises:
        SourceUnsound: the function returns nothing.
    """
    message = {"to": target, "data": "0x" + (_selector(function) + argument).hex()}
    try:
        answer = rpc.call("eth_call", message, at_block(block.hash))
    except RpcRejected:
        answer = "0x"
    raw = bytes.fromhex(str(answer).removeprefix("0x"))
    if len(raw) < 32:
        raise SourceUnsound(token, f"{target} does not answer {function}")
    return int.from_bytes(raw[:32])


def _rated(named: Named, rate: int, decimals: int) -> int:
    if rate == 0:
        raise SourceUnsound(named.token, "its rate is 0, which is not a price")
    return rate_e18(rate, decimals)


def _read_decimals(rpc: Rpc, token: str) -> int:
    decimals = int(contract_at(rpc, "IERC20Metadata", token).call("decimals"))
    if decimals > MAX_TOKEN_DECIMALS:
        raise SourceUnsound(token, f"{token} has {decimals} decimals, above {MAX_TOKEN_DECIMALS}")
    return decimals


_ROWS = (
    PriceSource(
        "feed",
        "ChainlinkFeed",
        ("address", "uint8"),
        {"address": _address, "decimals": _feed_decimals},
        _read_feed,
        timed=True,
    ),
    PriceSource(
        "uniswap_v3_twap",
        "UniswapV3TwapFeed",
        ("address", "uint32", "uint8", "uint8", "bool"),
        {"pool": _address, "window_seconds": _window},
        _read_average,
        quoted=False,
    ),
    PriceSource("erc4626", "ERC4626Feed", ("uint8", "uint8"), {}, _read_vault, quoted=False),
    PriceSource(
        "getter",
        "RateFeed",
        ("address", "bytes4", "uint8"),
        {"address": _address_or_token, "function": _getter, "decimals": _rate_decimals},
        _read_getter,
    ),
    PriceSource(
        "pausable_feed",
        "PausableFeed",
        ("address", "uint8", "address"),
        {"address": _address, "decimals": _feed_decimals, "paused_by": _address_or_token},
        _read_pausable,
        timed=True,
    ),
    PriceSource(
        "exchange_rate_feed",
        "ExchangeRateFeed",
        ("address", "uint8", "address", "bytes4", "uint8", "uint8", "uint128", "uint128"),
        {
            "address": _address,
            "decimals": _feed_decimals,
            "rate_address": _address_or_token,
            "rate_function": _getter_or_vault,
            "rate_decimals": _rate_decimals,
            "min_rate": _rate,
            "max_rate": _rate,
        },
        _read_exchanged,
        timed=True,
    ),
)

PRICE_SOURCES: Mapping[str, PriceSource] = MappingProxyType({row.word: row for row in _ROWS})
"""Every price source, by its word in a chain file."""
