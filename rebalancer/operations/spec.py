"""What does a person write down to have a vault made, or a system deployed?

A vault is a TOML file (`vault.example.toml`), and so are the tokens, pools and price sources of a chain
that has no addresses file yet (`chain.example.toml`). Both are read as they are: amounts in whole
tokens and weights in decimals or percent, exactly. No I/O but reading the file.
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
"""ConfigStore.MAX_BAND_BPS; a band must also be above the policy's dust."""

_PRICE_DECIMALS = 18
_NUMBER = re.compile(r"([0-9]+)(?:\.([0-9]*))?")
_MAX_DIGITS = 78  # of 2^256
_MAX_BPS = 10_000
_POOL_ID = re.compile(r"0x[0-9a-fA-F]{64}")

T = TypeVar("T")


@dataclass(frozen=True)
class FeedLine:
    """A feed as a person names it: `decimals` None to take the feed's own, prices None for the usual range.

    `quote` is what it answers in, None for USD. `name` is given where `token` is no token but stands for something that has a price.
    `description` is what the feed calls itself, where that is not the token's symbol and the unit.
    `where` is the section it was read from, for sentences. `kind` and the `values` of its keys are given where the feed is read through
    an adapter; None for a plain one.
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
    """A pool as a person names it: by its address, or, in Uniswap V4, by PoolManager's and its id.

    `fee_bps` is a Uniswap V2 pair's where it is not the usual one, `from_block` where the search for the
    id begins, and `where` the line it was read from, for sentences.
    """

    address: str
    fee_bps: int | None = None
    pool_id: str | None = None
    from_block: int = 0
    where: str = "pools"

    @property
    def name(self) -> str:
        """What tells it from all other pools."""
        return self.pool_id or self.address


@dataclass(frozen=True)
class SourceLine:
    """A token's second source as a person names it: which price source it is, and what that is told."""

    kind: PriceSource
    named: Named
    max_divergence_bps: int
    where: str = "sources"

    @property
    def token(self) -> str:
        """Whose price it is."""
        return self.named.token


@dataclass(frozen=True)
class SequencerLine:
    """The uptime feed of an L2's sequencer, and how long after its return prices are not used."""

    feed: str
    grace_seconds: int


@dataclass(frozen=True)
class ChainSpec:
    """What there is on a chain before the system is: tokens, pools and price sources by address."""

    wrapped_native: str
    tokens: tuple[str, ...]
    feeds: tuple[FeedLine, ...]
    pools: tuple[PoolLine, ...]
    sources: tuple[SourceLine, ...] = ()
    sequencer: SequencerLine | None = None


def parse_amount(text: str, decimals: int) -> int:
    """A decimal string of whole tokens as raw units, exactly.

    Raises:
        AmountUnreadable: it is no decimal number, or has more decimals than the token.
    """
    match = _NUMBER.fullmatch(text.strip().replace("_", ""))
    if match is None or len(match[1]) > _MAX_DIGITS:
        raise AmountUnreadable(text, "give a decimal number such as 12.5")
    rest = (match[2] or "").rstrip("0")
    if len(rest) > decimals:
        raise AmountUnreadable(text, f"it has {len(rest)} decimals and the token only {decimals}")
    unit: int = 10**decimals
    return int(match[1]) * unit + int(rest.ljust(decimals, "0") or 0)


def parse_fraction_e18(text: str) -> int:
    """A decimal fraction ("0.4") or a percentage ("40 %") as parts of 1e18, exactly.

    Raises:
        AmountUnreadable: it is neither, or finer than 1e-18.
    """
    stripped = text.strip()
    if stripped.endswith("%"):
        return parse_amount(stripped[:-1], 16)
    return parse_amount(stripped, 18)


def check_bands(names: Sequence[str], bands_bps: Sequence[int], dust_bps: int) -> None:
    """Each band is above dust and at most half.

    Raises:
        BandOutOfRange: one is not.
    """
    for name, band in zip(names, bands_bps, strict=True):
        if not dust_bps < band <= MAX_BAND_BPS:
            raise BandOutOfRange(name, band, dust_bps + 1, MAX_BAND_BPS)


def check_weights(names: Sequence[str], targets_e18: Sequence[int], bands_bps: Sequence[int], dust_bps: int) -> None:
    """Targets sum to exactly 1e18, and each band is above dust and at most half.

    Raises:
        TargetsDoNotSumToOne, BandOutOfRange: they do not, or are not.
    """
    check_bands(names, bands_bps, dust_bps)
    if sum(targets_e18) != E18:
        raise TargetsDoNotSumToOne(sum(targets_e18))


def load_vault_spec(path: Path, deployment: Deployment, *, fee_recipient: str, salt: int = 0) -> VaultSpec:
    """The vault that a TOML file describes. The recipient and the salt hold where it names none.

    Raises:
        ConfigError: the file cannot be read, or something in it is missing, unknown or wrong.
        TokenNotListed: a token is neither in the addresses file nor an address of one that is.
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
    """Tokens, pools and price sources as a TOML file names them.

    Raises:
        ConfigError: the file cannot be read, or something in it is missing, unknown or wrong.
    """
    table = _Table(path, "", _read_toml(path))
    feeds: list[FeedLine] = []
    sources: list[SourceLine] = []
    for line in table.tables("feeds"):
        token = line.address("token")
        if any(feed.token == token for feed in feeds):
            raise line.wrong("token", f"{token} has a feed already; remove one of them")
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
            raise line.wrong("token", f"{source.token} has no feed; give it one under [[feeds]]")
        if any(other.token == source.token for other in sources):
            raise line.wrong("token", f"{source.token} has a second source already; remove one")
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
    """Pools as addresses, or as tables where an address does not say it all."""
    found: list[PoolLine] = []
    for where, value in table.items("pools"):
        if isinstance(value, dict):
            pool = _read_pool(_Table(table.path, where, value))
        else:
            pool = PoolLine(table.address_of(where, value), where=where)
        if any(other.name == pool.name for other in found):
            raise table.wrong(where, f"{pool.name} is named twice; remove one of them")
        found.append(pool)
    return tuple(found)


def _read_pool(line: _Table) -> PoolLine:
    if line.has("manager") or line.has("id"):
        manager, its_id = line.address("manager"), line.text("id")
        if not _POOL_ID.fullmatch(its_id):
            raise line.wrong("id", f"{its_id!r} is not an id of 0x and 64 hexadecimal digits")
        start = line.whole("from_block", 0)
        pool = PoolLine(manager, None, its_id.lower(), start, line.name)
    else:
        fee_bps = line.between("fee_bps", 0, _MAX_BPS - 1) if line.has("fee_bps") else None
        pool = PoolLine(line.address("address"), fee_bps, where=line.name)
    line.close()
    return pool


def _check_quote(line: _Table, quote: str | None, priced: Mapping[str, FeedLine]) -> None:
    """What something is priced in needs a feed in USD."""
    if quote is not None and (quote not in priced or priced[quote].quote is not None):
        raise line.wrong("quote", f"{quote} has no feed in USD; give it one under [[feeds]]")


def _kind(line: _Table, default: Any) -> PriceSource:
    word = line.text("kind", default)
    kind = PRICE_SOURCES.get(word)
    if kind is None:
        raise line.wrong("kind", f"{word!r} is none of {', '.join(PRICE_SOURCES)}")
    return kind


def _read_source(line: _Table) -> SourceLine:
    kind, token = _kind(line, _NEEDED), line.address("token")
    divergence = line.between("max_divergence_bps", 1, MAX_DIVERGENCE_BPS)
    found = SourceLine(kind, kind.named(line, token), divergence, line.name)
    line.close()
    return found


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        # Decimal keeps 0.1 exactly what was written.
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
"""Default of what must be given."""


class _Table:
    """One TOML table, read key by key; what nobody asked for is a mistake."""

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
            raise self.wrong(key, f"{value!r} is not a text between quotes")
        return value

    def between(self, key: str, least: int, most: int) -> int:
        value: int = self.whole(key)
        if not least <= value <= most:
            raise self.wrong(key, f"{value} is not from {least} to {most}")
        return value

    def whole(self, key: str, default: Any = _NEEDED) -> Any:
        value = self._get(key, default)
        if value is default:
            return value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(key, f"{value!r} is not a whole number from 0 on")
        return value

    def amount(self, key: str, decimals: int, default: Any = _NEEDED) -> Any:
        value = self._get(key, default)
        if value is default:
            return value
        return self.parsed(key, lambda text: parse_amount(text, decimals))

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        value = self._get(key, _NEEDED)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise self.wrong(key, f"{value!r} is not a number or a text that holds one")
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
        """What a list holds, each with its place: `pools[2]` is the second."""
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
        """Refuse what nobody asked for."""
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
            raise self.wrong(key, f"{value!r} is not an address of 0x and 40 hexadecimal digits")
        if value not in (value.lower(), "0x" + value[2:].upper()) and not is_checksum_address(value):
            raise self.wrong(key, f"the capital letters of {value} are not those of its checksum")
        return value.lower()

    def wrong(self, key: str, problem: str) -> ConfigError:
        return ConfigError(".".join(filter(None, (self.name, key))), f"in {self.path}", problem)
