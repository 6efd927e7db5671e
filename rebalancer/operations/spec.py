"""Specification files of a vault (`vault.example.toml`), and of a chain's tokens, pools and price sources
(`chain.example.toml`).

Both are TOML. Amounts are in whole tokens, weights are decimals or percent; both are parsed exactly. The only I/O is
reading the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from eth_utils.address import is_checksum_address, is_hex_address

from rebalancer.chain.deployment import Deployment
from rebalancer.chain.price_sources import MAX_SECONDS, PRICE_SOURCES, Named, PriceSource
from rebalancer.errors import (
    AmountUnreadable,
    AssetCountOutOfRange,
    BandOutOfRange,
    ConfigError,
    TargetsDoNotSumToOne,
)
from rebalancer.files import MEGABYTE, Excess, read_text
from rebalancer.operations.deploy import VaultFees, VaultSpec
from rebalancer.oracle import MAX_DIVERGENCE_BPS
from rebalancer.settlement import Asset, Policy
from rebalancer.units import E18, SHARE_DECIMALS

__all__ = [
    "MAX_ASSETS",
    "MAX_BAND_BPS",
    "MIN_ASSETS",
    "ChainSpec",
    "FeedLine",
    "PoolLine",
    "SequencerLine",
    "SourceLine",
    "check_bands",
    "check_weights",
    "load_chain_spec",
    "load_vault_spec",
    "parse_amount",
    "parse_fraction_e18",
]

MIN_ASSETS, MAX_ASSETS = 2, 16
"""ConfigStore.MIN_ASSETS and MAX_ASSETS."""

MAX_BAND_BPS = 5_000
"""ConfigStore.MAX_BAND_BPS. A band must also exceed the policy's dust."""

_PRICE_DECIMALS = 18
_NUMBER = re.compile(r"([0-9]+)(?:\.([0-9]*))?")
_MAX_DIGITS = 78  # of 2^256
_MAX_BPS = 10_000
_POOL_ID = re.compile(r"0x[0-9a-fA-F]{64}")

T = TypeVar("T")


@dataclass(frozen=True)
class FeedLine:
    """A feed of the chain file. `decimals` None uses the feed's own; prices None use the default range.

    `quote` is the token that the feed answers in, None for USD. `name` is set if `token` is not a token but an address
    that stands for a priced unit. `description` is the expected description() if it is not the token's symbol and the
    unit. `where` is the section in the file, for errors. `kind` and `values` describe an adapter and its keys; None for
    a plain feed.
    """

    token: str
    address: str
    heartbeat_seconds: int
    decimals: int | None
    min_price_e18: int | None
    max_price_e18: int | None
    quote: str | None = None
    name: str | None = None
    where: str = "feeds"
    description: str | None = None
    kind: PriceSource | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolLine:
    """A pool of the chain file: its address, or for Uniswap V4 the address of PoolManager and the pool's ID.

    `fee_bps` is the fee of a Uniswap V2 pair if it is not the default. `from_block` is the first block of the search
    for the ID. `where` is the place in the file, for errors.
    """

    address: str
    fee_bps: int | None = None
    pool_id: str | None = None
    from_block: int = 0
    where: str = "pools"

    @property
    def name(self) -> str:
        """The unique name of the pool: its ID or its address."""
        return self.pool_id or self.address


@dataclass(frozen=True)
class SourceLine:
    """A second source of the chain file: its kind and its parameters."""

    kind: PriceSource
    named: Named
    max_divergence_bps: int
    where: str = "sources"

    @property
    def token(self) -> str:
        """Address of the priced token."""
        return self.named.token


@dataclass(frozen=True)
class SequencerLine:
    """The uptime feed of an L2's sequencer, and the time after an outage in which prices are not used."""

    feed: str
    grace_seconds: int


@dataclass(frozen=True)
class ChainSpec:
    """Tokens, pools and price sources of a chain, by address."""

    wrapped_native: str
    tokens: tuple[str, ...]
    feeds: tuple[FeedLine, ...]
    pools: tuple[PoolLine, ...]
    sources: tuple[SourceLine, ...] = ()
    sequencer: SequencerLine | None = None


def parse_amount(text: str, decimals: int) -> int:
    """A decimal string of whole tokens as raw units, exactly.

    Raises:
        AmountUnreadable: the text is not a decimal number, or has more decimals than the token.
    """
    match = _NUMBER.fullmatch(text.strip().replace("_", ""))
    if match is None or len(match[1]) > _MAX_DIGITS:
        raise AmountUnreadable(text, "give a decimal number such as 12.5")
    rest = (match[2] or "").rstrip("0")
    if len(rest) > decimals:
        raise AmountUnreadable(text, f"it has {len(rest)} decimals, and at most {decimals} are possible")
    unit: int = 10**decimals
    return int(match[1]) * unit + int(rest.ljust(decimals, "0") or 0)


def parse_fraction_e18(text: str) -> int:
    """A decimal fraction ("0.4") or a percentage ("40 %") as parts of 1e18, exactly.

    Raises:
        AmountUnreadable: the text is neither, or is finer than 1e-18.
    """
    stripped = text.strip()
    if stripped.endswith("%"):
        return parse_amount(stripped[:-1], 16)
    return parse_amount(stripped, 18)


def check_bands(names: Sequence[str], bands_bps: Sequence[int], dust_bps: int) -> None:
    """Check that each band is above dust and at most `MAX_BAND_BPS`.

    Raises:
        BandOutOfRange: a band is out of this range.
    """
    for name, band in zip(names, bands_bps, strict=True):
        if not dust_bps < band <= MAX_BAND_BPS:
            raise BandOutOfRange(name, band, dust_bps + 1, MAX_BAND_BPS)


def check_weights(names: Sequence[str], targets_e18: Sequence[int], bands_bps: Sequence[int], dust_bps: int) -> None:
    """Check that the targets add up to exactly 1e18, and the bands as in `check_bands`.

    Raises:
        TargetsDoNotSumToOne, BandOutOfRange: a check failed.
    """
    check_bands(names, bands_bps, dust_bps)
    if sum(targets_e18) != E18:
        raise TargetsDoNotSumToOne(sum(targets_e18))


def load_vault_spec(path: Path, deployment: Deployment, *, fee_recipient: str, salt: int = 0) -> VaultSpec:
    """The vault that a TOML file describes. `fee_recipient` and `salt` are defaults for keys that the file lacks.

    Raises:
        ConfigError: the file cannot be read, or a key is missing, unknown or not valid.
        TokenNotListed: a token is not in the addresses file.
        AssetCountOutOfRange: there are fewer than 2 or more than 16 assets.
        TargetsDoNotSumToOne, BandOutOfRange: as `check_weights`.
    """
    table = _Table(path, "", _read_toml(path))
    lines = table.tables("assets")
    if not MIN_ASSETS <= len(lines) <= MAX_ASSETS:
        raise AssetCountOutOfRange(f"assets in {path}", len(lines), MIN_ASSETS, MAX_ASSETS)
    assets, seeds = [], []
    for line in lines:
        token = deployment.listed(line.text("token"))
        assets.append(
            Asset(
                token.address,
                line.parsed("target", parse_fraction_e18),
                line.whole("band_bps"),
                token.decimals,
                line.whole("relative_band_bps", 0),
                line.amount("min_trade", token.decimals, 0),
            )
        )
        seeds.append(line.amount("seed", token.decimals))
        line.close()
    rules = table.table("policy")
    policy = Policy(
        **{
            field.name: rules.whole(field.name, _NEEDED if field.default is MISSING else field.default)
            for field in fields(Policy)
        }
    )
    rules.close()
    charges = table.table("fees", {})
    fees = VaultFees(**{field.name: charges.whole(field.name, 0) for field in fields(VaultFees)})
    charges.close()
    check_weights(
        [line.text("token") for line in lines],
        [asset.target_e18 for asset in assets],
        [asset.band_bps for asset in assets],
        policy.dust_bps,
    )
    spec = VaultSpec(
        name=table.text("name"),
        symbol=table.text("symbol"),
        assets=tuple(assets),
        policy=policy,
        seed_amounts=tuple(seeds),
        initial_shares=table.amount("initial_shares", SHARE_DECIMALS),
        fees=fees,
        fee_recipient=table.address("fee_recipient", fee_recipient),
        salt=table.whole("salt", salt),
    )
    table.close()
    return spec


def load_chain_spec(path: Path) -> ChainSpec:
    """Tokens, pools and price sources of a chain, from a TOML file.

    Raises:
        ConfigError: the file cannot be read, or a key is missing, unknown or not valid.
    """
    table = _Table(path, "", _read_toml(path))
    feeds: list[FeedLine] = []
    sources: list[SourceLine] = []
    for line in table.tables("feeds"):
        token = line.address("token")
        if any(feed.token == token for feed in feeds):
            raise line.wrong("token", f"{token} already has a feed; remove one of them")
        kind = _kind(line, "feed")
        if not kind.timed:
            raise line.wrong("kind", f"{kind.word} can only be a second source; use it in [[sources]]")
        named = kind.named(line, token)
        plain = kind is PRICE_SOURCES["feed"]
        feeds.append(
            FeedLine(
                token,
                named.values["address"],
                named.heartbeat_seconds,
                named.values.get("decimals"),
                line.amount("min_price", _PRICE_DECIMALS, None),
                line.amount("max_price", _PRICE_DECIMALS, None),
                named.quote,
                line.text("name", None),
                line.name,
                line.text("description", None),
                None if plain else kind,
                named.values,
            )
        )
        line.close()
    priced = {feed.token: feed for feed in feeds}
    for line, feed in zip(table.tables("feeds"), feeds, strict=True):
        _check_quote(line, feed.quote, priced)
    for line in table.tables("sources"):
        source = _read_source(line)
        if source.token not in priced:
            raise line.wrong("token", f"{source.token} has no feed; add one under [[feeds]]")
        if any(other.token == source.token for other in sources):
            raise line.wrong("token", f"{source.token} already has a second source; remove one of them")
        _check_quote(line, source.named.quote, priced)
        sources.append(source)
    sequencer = None
    if table.has("sequencer"):
        part = table.table("sequencer")
        sequencer = SequencerLine(part.address("feed"), part.between("grace_seconds", 1, MAX_SECONDS))
        part.close()
    spec = ChainSpec(
        table.address("wrapped_native"),
        table.addresses("tokens"),
        tuple(feeds),
        _read_pools(table),
        tuple(sources),
        sequencer,
    )
    table.close()
    return spec


def _read_pools(table: _Table) -> tuple[PoolLine, ...]:
    """Pools, given as addresses or as tables."""
    found: list[PoolLine] = []
    for where, value in table.items("pools"):
        if isinstance(value, dict):
            pool = _read_pool(_Table(table.path, where, value))
        else:
            pool = PoolLine(table.address_of(where, value), where=where)
        if any(other.name == pool.name for other in found):
            raise table.wrong(where, f"{pool.name} is listed twice; remove one of them")
        found.append(pool)
    return tuple(found)


def _read_pool(line: _Table) -> PoolLine:
    if line.has("manager") or line.has("id"):
        manager, pool_id = line.address("manager"), line.text("id")
        if not _POOL_ID.fullmatch(pool_id):
            raise line.wrong("id", f"{pool_id!r} is not an ID: 0x and 64 hexadecimal digits")
        start = line.whole("from_block", 0)
        pool = PoolLine(manager, None, pool_id.lower(), start, line.name)
    else:
        fee_bps = line.between("fee_bps", 0, _MAX_BPS - 1) if line.has("fee_bps") else None
        pool = PoolLine(line.address("address"), fee_bps, where=line.name)
    line.close()
    return pool


def _check_quote(line: _Table, quote: str | None, priced: Mapping[str, FeedLine]) -> None:
    """Check that the quote has a feed in USD."""
    if quote is not None and (quote not in priced or priced[quote].quote is not None):
        raise line.wrong("quote", f"{quote} has no feed in USD; add one under [[feeds]]")


def _kind(line: _Table, default: Any) -> PriceSource:
    word = line.text("kind", default)
    kind = PRICE_SOURCES.get(word)
    if kind is None:
        raise line.wrong("kind", f"{word!r} is not one of {', '.join(PRICE_SOURCES)}")
    return kind


def _read_source(line: _Table) -> SourceLine:
    kind, token = _kind(line, _NEEDED), line.address("token")
    divergence = line.between("max_divergence_bps", 1, MAX_DIVERGENCE_BPS)
    found = SourceLine(kind, kind.named(line, token), divergence, line.name)
    line.close()
    return found


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        # Decimal keeps numbers such as 0.1 exact.
        return tomllib.loads(read_text(path, MEGABYTE), parse_float=Decimal)
    except FileNotFoundError:
        raise ConfigError(str(path), "", "the file does not exist; name another") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), "", f"it is not TOML: {error}; correct it") from None
    except Excess as excess:
        raise ConfigError(str(path), "", f"{excess}; name another") from None
    except RecursionError:
        raise ConfigError(str(path), "", "it is nested too deeply; name another") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(str(path), "", "it cannot be read as text; name another") from None


_NEEDED: Any = object()
"""Default that marks a required key."""


class _Table:
    """A TOML table that is read key by key; keys that were not read are errors."""

    def __init__(self, path: Path, name: str, values: Mapping[str, Any]) -> None:
        self.path = path
        self.name = name
        self.values = values
        self.known_keys: list[str] = []

    def has(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str, default: Any = _NEEDED) -> Any:
        value = self._get(key, default)
        if value is default:
            return value
        if not isinstance(value, str) or not value:
            raise self.wrong(key, f"{value!r} is not a text in quotes")
        return value

    def between(self, key: str, least: int, most: int) -> int:
        value: int = self.whole(key)
        if not least <= value <= most:
            raise self.wrong(key, f"{value} is out of range: give a number from {least} to {most}")
        return value

    def whole(self, key: str, default: Any = _NEEDED) -> Any:
        value = self._get(key, default)
        if value is default:
            return value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, f"{value!r} is not a whole number of at least 0")
        return value

    def amount(self, key: str, decimals: int, default: Any = _NEEDED) -> Any:
        value = self._get(key, default)
        if value is default:
            return value
        return self.parsed(key, lambda text: parse_amount(text, decimals))

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        value = self._get(key, _NEEDED)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise self.wrong(key, f"{value!r} is not a number, or a number in quotes")
        try:
            return parse(value if isinstance(value, str) else f"{value:f}")
        except AmountUnreadable as error:
            raise self.wrong(key, f"{error.text!r} is not valid: {error.why}") from None

    def address(self, key: str, default: Any = _NEEDED) -> Any:
        value = self._get(key, default)
        return value if value is default else self.address_of(key, value)

    def addresses(self, key: str) -> tuple[str, ...]:
        return tuple(self.address_of(key, value) for _, value in self.items(key))

    def items(self, key: str) -> list[tuple[str, object]]:
        """The elements of a list with their names: `pools[2]` is the second."""
        values = self._get(key, _NEEDED)
        if not isinstance(values, list):
            raise self.wrong(key, "it must be a list of addresses")
        return [(f"{key}[{number}]", value) for number, value in enumerate(values, start=1)]

    def table(self, key: str, default: Any = _NEEDED) -> _Table:
        value = self._get(key, default)
        if not isinstance(value, dict):
            raise self.wrong(key, f"it must be a section: [{key}]")
        return _Table(self.path, key, value)

    def tables(self, key: str) -> Sequence[_Table]:
        values = self._get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.wrong(key, f"it must be sections: [[{key}]]")
        return [_Table(self.path, f"{key}[{number}]", value) for number, value in enumerate(values, start=1)]

    def close(self) -> None:
        """Refuse keys that were not read."""
        for key in self.values:
            if key not in self.known_keys:
                nearest = get_close_matches(key, self.known_keys, n=1)
                hint = f"the closest is {nearest[0]}" if nearest else "remove it"
                raise self.wrong(key, f"unknown key; {hint}")

    def _get(self, key: str, default: Any) -> Any:
        self.known_keys.append(key)
        if key in self.values:
            return self.values[key]
        if default is _NEEDED:
            raise self.wrong(key, "it is missing; the example files show all keys")
        return default

    def address_of(self, key: str, value: object) -> str:
        if not (isinstance(value, str) and value.startswith("0x") and is_hex_address(value)):
            raise self.wrong(key, f"{value!r} is not an address: 0x and 40 hexadecimal digits")
        if value not in (value.lower(), "0x" + value[2:].upper()) and not is_checksum_address(value):
            raise self.wrong(key, f"the capital letters of {value} do not match its checksum")
        return value.lower()

    def wrong(self, key: str, problem: str) -> ConfigError:
        return ConfigError(".".join(filter(None, (self.name, key))), f"in {self.path}", problem)
