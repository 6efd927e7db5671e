"""Checks of price feeds against their descriptions and against the prices of the listed pools.

A feed of the wrong token or unit passes all other checks: its decimals, its age and any range around its answer are
valid. Its `description()` ("ETH / USD") and the market reveal it. Nothing is sent here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from rebalancer.block import Block
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import Deployment
from rebalancer.chain.interfaces import interface
from rebalancer.chain.pools import read_pools
from rebalancer.chain.rpc import Rpc
from rebalancer.chain.snapshot import read_block
from rebalancer.errors import (
    ContractMissing,
    ContractReverted,
    FeedUnsound,
    PoolError,
    RpcRejected,
)
from rebalancer.market_price import off_market, unpriced
from rebalancer.oracle import Fault, feed_price_e18, in_usd_e18
from rebalancer.venues import Pool, Token

__all__ = [
    "FeedClaim",
    "check_feeds",
    "check_setting",
    "feed_behind",
    "misdescribed",
    "priced_pools",
]

_DESCRIBED = "MockAggregator"
"""The packaged interface with Chainlink's `description()`."""

_USD = "USD"
_NOBODY = "0x" + "00" * 20

_WRAPPED = {
    symbol: symbol.removeprefix("W")
    for symbol in (
        "WETH",
        "WBTC",
        "WBNB",
        "WAVAX",
        "WPOL",
        "WMATIC",
        "WXDAI",
        "WMNT",
        "WCELO",
        "WS",
    )
}
"""Wrapped tokens that redeem 1:1 for the asset that feeds name. wstETH is not one: it is worth more than stETH."""


@dataclass(frozen=True, slots=True)
class FeedClaim:
    """Expected meaning of a feed: the price of one whole `symbol` in `unit`, and the expected `description`."""

    token: str
    feed: str
    symbol: str
    unit: str = _USD
    description: str | None = None


def misdescribed(rpc: Rpc, claim: FeedClaim) -> str | None:
    """Why a feed's description contradicts the claim; None if it confirms it, "" if there is no usable description.

    Raises:
        As `Rpc.call`.
    """
    description = _description(rpc, claim.feed)
    base, slash, unit = (part.strip() for part in (description or "").partition("/"))
    if slash and not _alike(unit, claim.unit):
        return f"its description is {description!r}, so it answers in {unit}, not in {claim.unit}"
    if claim.description is not None:
        if description is not None and description.strip() == claim.description.strip():
            return None
        return f"its description is {description!r}, not {claim.description!r}"
    if not slash:
        return ""
    if not _alike(base, claim.symbol):
        return (
            f"its description is {description!r}, not {claim.symbol} / {claim.unit}; "
            "if it is the right feed, give this description"
        )
    return None


def _alike(one: str, other: str) -> bool:
    one, other = one.upper(), other.upper()
    return _WRAPPED.get(one, one) == _WRAPPED.get(other, other)


def _description(rpc: Rpc, feed: str) -> str | None:
    try:
        found: str = contract_at(rpc, _DESCRIBED, feed).call("description")
    except (ContractMissing, ContractReverted, RpcRejected):
        return None
    return found


def feed_behind(rpc: Rpc, token: str, feed: str, params: bytes) -> str:
    """The feed that an adapter reads first for a token; without parameters, `feed` itself is the feed.

    Raises:
        ContractMissing, ContractReverted: there is no such adapter, or it refuses these parameters.
    """
    if not params:
        return feed
    reads = contract_at(rpc, "IPriceSource", feed).call("readsFrom", token, params)
    return str(reads[0]) if reads else feed


def check_feeds(
    rpc: Rpc,
    claims: Sequence[FeedClaim],
    prices_e18: Mapping[str, int],
    pools: Sequence[Pool],
) -> tuple[str, ...]:
    """Check feeds against their descriptions and the market. Returns the tokens whose prices no pool confirms.

    Raises:
        FeedUnsound: a feed has another token or unit, differs from the market, or nothing confirms it.
    """
    tokens = {claim.token: claim for claim in claims}
    unseen = unpriced({token: prices_e18[token] for token in tokens}, pools)
    silent = []
    for claim in claims:
        why = misdescribed(rpc, claim)
        if why:
            raise FeedUnsound(claim.feed, f"for {claim.symbol}, {why}")
        if why is not None:
            silent.append(claim)
    for off in off_market(prices_e18, pools):
        if off.token in tokens:
            claim = tokens[off.token]
            raise FeedUnsound(claim.feed, f"for {claim.symbol}, {off.sentence}")
    for claim in silent:
        if claim.token in unseen:
            why = "its description has no token and unit, and no listed pool confirms its price"
            raise FeedUnsound(claim.feed, f"for {claim.symbol}, {why}; give its description")
    return unseen


def priced_pools(rpc: Rpc, deployment: Deployment, block: Block) -> tuple[Pool, ...]:
    """The readable pools of an addresses file, in the form that routes use."""
    known = [Token(token.address, token.symbol, token.decimals) for token in deployment.tokens]
    weth = next((token for token in known if token.address == deployment.wrapped_native), None)
    found = []
    for ref in deployment.pools:
        try:
            (pool,) = read_pools(rpc, [ref], block, deployment.chain_id)
            found.append(pool.as_traded(weth))
        except (PoolError, ContractMissing, ContractReverted):
            continue
    return tuple(found)


def check_setting(
    rpc: Rpc,
    deployment: Deployment,
    oracle: str,
    function: str,
    arguments: Sequence[object],
    description: str | None,
) -> None:
    """Check a feed before OracleHub's `setFeed`, `setQuotedFeed` or `setAdaptedFeed` sets it, with these arguments.

    Other functions set no feed and are not checked.

    Raises:
        FeedUnsound: as `check_feeds`, or an adapter has no price.
    """
    if function not in ("setFeed", "setQuotedFeed", "setAdaptedFeed"):
        return
    given = dict(zip(interface("OracleHub").functions[function].inputs.names, arguments, strict=True))
    token, quote = str(given["token"]), str(given.get("quote", _NOBODY))
    feed, answer_e18 = _answer_of(rpc, token, given)
    block = read_block(rpc)
    hub = contract_at(rpc, "OracleHub", oracle)
    requested = list(dict.fromkeys([*(one.address for one in deployment.tokens), token, quote]))
    answers = hub.call("prices", requested, block=block.hash)
    prices = {one: int(primary) for one, (_, _, primary, fault) in zip(requested, answers, strict=True) if not fault}
    unit = _USD if quote == _NOBODY else _symbol(rpc, deployment, quote)
    in_quote = None if quote == _NOBODY else prices.get(quote)
    if quote != _NOBODY and in_quote is None:
        raise FeedUnsound(feed, f"its quote {quote} has no sound price")
    prices[token] = in_usd_e18(answer_e18, in_quote)
    claim = FeedClaim(token, feed, _symbol(rpc, deployment, token), unit, description)
    check_feeds(rpc, [claim], prices, priced_pools(rpc, deployment, block))


def _answer_of(rpc: Rpc, token: str, given: Mapping[str, object]) -> tuple[str, int]:
    """The new feed, or the feed that a new adapter reads first; and the answer of feed or adapter, times 1e18."""
    if "adapter" not in given:
        feed, decimals = str(given["feed"]), int(str(given["feedDecimals"]))
        _, answer, *_ = contract_at(rpc, "AggregatorV3Interface", feed).call("latestRoundData")
        return feed, feed_price_e18(max(int(answer), 0), decimals)
    adapter, params = str(given["adapter"]), cast("bytes", given["params"])
    price_e18, _, fault = contract_at(rpc, "IPriceSource", adapter).call("read", token, params)
    if fault:
        raise FeedUnsound(adapter, f"for {token}, {list(Fault)[fault].words}")
    return feed_behind(rpc, token, adapter, params), int(price_e18)


def _symbol(rpc: Rpc, deployment: Deployment, token: str) -> str:
    """A token's symbol, or its address if it has none."""
    known = deployment.token(token)
    if known is not None:
        return known.symbol
    try:
        return str(contract_at(rpc, "IERC20Metadata", token).call("symbol"))
    except (ContractMissing, ContractReverted, RpcRejected):
        return token
