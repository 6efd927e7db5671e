"""Survey of the tokens, feeds and pools of a chain file, before a launch.

It checks all of them before anything is sent: code at every address, and valid, consistent answers of feeds and second
sources. `rebalancer.operations.feeds` compares them with the market. Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import DeployedFeed, DeployedToken, Deployment
from rebalancer.chain.pools import fee_pips_of, find_v4_ref, find_venue, read_pools
from rebalancer.chain.price_sources import PRICE_SOURCES, Found, Named
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.errors import (
    ContractMissing,
    ContractReverted,
    FeedUnsound,
    PoolError,
    PoolUnsound,
    RpcRejected,
    SequencerUnwatched,
    SourceUnsound,
)
from rebalancer.operations.deploy import FeedSpec, SourceSpec
from rebalancer.operations.feeds import FeedClaim
from rebalancer.operations.spec import ChainSpec, FeedLine, PoolLine, SequencerLine, SourceLine
from rebalancer.oracle import MAX_FEED_DECIMALS, diverges, in_usd_e18
from rebalancer.texts import LONGEST_SYMBOL, safe_text
from rebalancer.units import BPS
from rebalancer.venues import PoolRef, Token
from rebalancer.venues.model import ETHER_ADDRESS
from rebalancer.wellknown import SEQUENCED

__all__ = [
    "Priced",
    "feed_claims",
    "read_chain",
    "read_feeds",
    "read_sequencer",
    "read_sources",
]

_SANE_FACTOR = 20
"""Default range of a price: from 1/20 to 20 times the price at launch. A price outside it means a broken feed."""

_HEARTBEAT_MARGIN_BPS = 2_500
"""Added to a heartbeat, because an answer is mined some time after it."""

_USD = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Priced:
    """Feed of a token, its current price in USD times 1e18, and the feeds that it reads."""

    spec: FeedSpec
    price_e18: int
    reads: tuple[str, ...] = ()


def read_chain(rpc: Rpc, spec: ChainSpec) -> Deployment:
    """Tokens, feeds and pools of the chain file, with their data from the chain.

    Raises:
        ContractMissing: there is no token or feed at an address.
        PoolUnsound: a pool does not exist, is not supported, or its contract does not quote the computed amounts.
    """
    tokens = {address: _read_token(rpc, address) for address in spec.tokens}
    priced = [feed for feed in spec.feeds if feed.name is None]
    for address in (*(feed.token for feed in priced), spec.wrapped_native):
        if address not in tokens:
            tokens[address] = _read_token(rpc, address)
    pools = _read_pools(rpc, spec.pools, tokens, spec.wrapped_native)
    names = {address: token.symbol for address, token in tokens.items()}
    names |= {feed.token: feed.name for feed in spec.feeds if feed.name is not None}
    feeds = []
    for line in priced:
        contract = contract_at(rpc, "AggregatorV3Interface", line.address)
        symbol, quote = names[line.token], "USD" if line.quote is None else names[line.quote]
        decimals = contract.call("decimals")
        feeds.append(
            DeployedFeed(
                *(f"{symbol}/{quote}", symbol, line.address, decimals, line.heartbeat_seconds),
                description=line.description,
            )
        )
    return Deployment(
        rpc.chain_id(),
        tokens=tuple(tokens.values()),
        feeds=tuple(feeds),
        pools=tuple(pools),
        uniswap={"WETH9": spec.wrapped_native},
    )


def read_feeds(rpc: Rpc, lines: Sequence[FeedLine]) -> dict[str, Priced]:
    """The feed of each token, by address; tokens that are quotes come first. Every feed must have a sound answer now.

    Raises:
        FeedUnsound: the decimals differ from the file, or the answer is not positive, is stale, or is outside its
        range. ContractMissing: there is no feed at an address.
    """
    block = read_block(rpc)
    found: dict[str, Priced] = {}
    for line in sorted(lines, key=lambda line: line.quote is not None):
        heartbeat = _with_margin(line.heartbeat_seconds)
        kind = line.kind or PRICE_SOURCES["feed"]
        values = {"address": line.address, "decimals": line.decimals, **line.values}
        source = kind.read(rpc, Named(line.token, line.quote, heartbeat, values), block)
        quote_e18 = None if line.quote is None else found[line.quote].price_e18
        price_e18 = in_usd_e18(source.price_e18, quote_e18)
        low = line.min_price_e18 or max(1, price_e18 // _SANE_FACTOR)
        high = line.max_price_e18 or price_e18 * _SANE_FACTOR
        if not low <= price_e18 <= high:
            why = f"its price times 1e18 is {price_e18}, outside {low} to {high}"
            raise FeedUnsound(line.address, why)
        decimals = MAX_FEED_DECIMALS if line.kind else int(str(source.params[1]))
        spec = FeedSpec(line.address, decimals, heartbeat, low, high, line.quote or _USD)
        if line.kind is not None:
            spec = replace(spec, adapter=kind.adapter, params=kind.params(*source.params))
        found[line.token] = Priced(spec, price_e18, source.reads)
    return found


def _with_margin(heartbeat_seconds: int) -> int:
    return heartbeat_seconds * (BPS + _HEARTBEAT_MARGIN_BPS) // BPS


def read_sources(rpc: Rpc, lines: Sequence[SourceLine], feeds: Mapping[str, Priced]) -> dict[str, SourceSpec]:
    """The second source of each token, by address. Every source must answer now and agree with the token's feed.

    Raises:
        SourceUnsound: it does not answer, has other tokens, differs by more than its limit, or shares a feed with the
        first. FeedUnsound: as `read_feeds`, for a second feed. ContractMissing: there is no contract at an address.
    """
    block = read_block(rpc)
    found = {}
    for line in lines:
        named = line.named
        if line.kind.timed:
            named = replace(named, heartbeat_seconds=_with_margin(named.heartbeat_seconds))
        source = line.kind.read(rpc, named, block)
        quote = None if source.quote is None else feeds.get(source.quote)
        if source.quote is not None and (quote is None or quote.spec.quote != _USD):
            raise SourceUnsound(line.token, f"its quote {source.quote} has no feed in USD")
        shared = _shared(feeds, line.token, source)
        if shared is not None:
            why = f"it depends on {shared}, and so does the token's feed; both would fail together"
            raise SourceUnsound(line.token, why)
        price_e18 = in_usd_e18(source.price_e18, quote.price_e18 if quote else None)
        primary_e18 = feeds[line.token].price_e18
        if diverges(primary_e18, price_e18, line.max_divergence_bps):
            raise SourceUnsound(
                line.token,
                f"its price is {price_e18} and the feed's {primary_e18}, times 1e18, "
                f"which differ by more than {line.max_divergence_bps} bps",
            )
        found[line.token] = SourceSpec.of(
            line.kind,
            *source.params,
            max_divergence_bps=line.max_divergence_bps,
            heartbeat_seconds=named.heartbeat_seconds,
            quote=source.quote,
        )
    return found


def _shared(feeds: Mapping[str, Priced], token: str, source: Found) -> str | None:
    """A quote or feed that both sources of a token depend on, by OracleHub's rule; None if there is none."""
    feed = feeds[token]
    quote = None if feed.spec.quote == _USD else feed.spec.quote
    if quote is not None and quote == source.quote:
        return quote
    primary, second = (
        {*reads, *(feeds[one].reads if one is not None else ())}
        for reads, one in ((feed.reads, quote), (source.reads, source.quote))
    )
    return min(primary & second, default=None)


def feed_claims(lines: Sequence[FeedLine], deployment: Deployment) -> tuple[FeedClaim, ...]:
    """The expected meaning of each feed: token and unit by their symbols or names."""
    names = {line.token: line.name for line in lines if line.name is not None}

    def name(token: str) -> str:
        return names.get(token) or deployment.listed(token).symbol

    return tuple(
        FeedClaim(
            *(line.token, line.address, name(line.token)),
            "USD" if line.quote is None else name(line.quote),
            line.description,
        )
        for line in lines
    )


def read_sequencer(rpc: Rpc, line: SequencerLine | None) -> None:
    """Check that the sequencer's feed answers, that the sequencer runs, and that the file names an existing feed.

    Raises:
        SequencerUnwatched: the chain has a sequencer with an uptime feed, and the file does not name it.
        FeedUnsound: the feed's answer is not valid, or the sequencer is down.
        ContractMissing: there is no feed at the address.
    """
    if line is None:
        if known := SEQUENCED.get(rpc.chain_id()):
            raise SequencerUnwatched(*known)
        return
    feed = contract_at(rpc, "AggregatorV3Interface", line.feed)
    _, answer, since, _, _ = feed.call("latestRoundData")
    if answer not in (0, 1):
        raise FeedUnsound(line.feed, f"its answer is {answer}, and an uptime feed answers 0 or 1")
    if answer == 1 or since == 0:
        raise FeedUnsound(line.feed, "it reports that the sequencer is down")


def _read_token(rpc: Rpc, address: str) -> DeployedToken:
    contract = contract_at(rpc, "IERC20Metadata", address)
    return DeployedToken(
        safe_text(contract.call("symbol"), LONGEST_SYMBOL) or address,
        address,
        contract.call("decimals"),
    )


def _read_pools(
    rpc: Rpc, lines: Sequence[PoolLine], tokens: dict[str, DeployedToken], wrapped_native: str
) -> list[PoolRef]:
    """The pools, after a full read of each. Adds tokens that only pools trade to `tokens`."""
    block, chain_id = read_block(rpc), rpc.chain_id()
    weth = tokens[wrapped_native]
    wrapped = Token(weth.address, weth.symbol, weth.decimals)
    found = []
    for line in lines:
        try:
            ref = _ref(rpc, line, block)
            (pool,) = read_pools(rpc, [ref], block, chain_id)
            pool.as_traded(wrapped)
        except (PoolError, ContractMissing, ContractReverted) as error:
            raise PoolUnsound(line.name, str(error).rstrip(".")) from None
        for token in pool.tokens:
            if token.address != ETHER_ADDRESS:
                known = DeployedToken(token.symbol, token.address, token.decimals)
                tokens.setdefault(token.address, known)
        found.append(pool.ref)
    return found


def _ref(rpc: Rpc, line: PoolLine, block: Block) -> PoolRef:
    if line.pool_id is not None:
        try:
            return find_v4_ref(rpc, line.address, line.pool_id, from_block=line.from_block)
        except RpcRejected as refusal:
            why = f"the search for its key failed: {refusal.message}; give from_block, the block of its creation"
            raise PoolUnsound(line.name, why) from None
    venue = find_venue(rpc, line.address, block)
    if venue.fee_text and line.fee_bps is not None:
        raise PoolUnsound(line.name, f"pools of {venue.name} report their fee, so omit fee_bps")
    return PoolRef(line.address, fee_pips=fee_pips_of(venue, line.fee_bps), venue=venue.name)
