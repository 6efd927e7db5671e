"""Market on a local chain: its construction and its price moves.

`DevMarket.build` creates tokens, feeds with Chainlink's interface and Uniswap pools. `step` applies one step of a tape:
new oracle rounds, then arbitrage until every pool's price is within its fee of the oracle's. Prices are USD * 1e8 per
whole token, by feed name, as on a tape; amounts are raw units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from rebalancer.abi import Call
from rebalancer.chain.contracts import contract_at
from rebalancer.chain.deployment import DeployedFeed, DeployedToken, Deployment
from rebalancer.chain.interfaces import reverted
from rebalancer.chain.receipt import Receipt, read_receipt, settled
from rebalancer.devnet import uniswap
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.uniswap import WETH_ADDRESS, Uniswap
from rebalancer.errors import ContractReverted, MarketMismatch, RpcRejected
from rebalancer.venues import PoolRef, Token, UniswapV3Pool
from rebalancer.venues.uniswap_v3_math import arbitrage_bounds

__all__ = [
    "DEFAULT_FEEDS",
    "USDC",
    "WBTC",
    "WETH",
    "DevFeedSpec",
    "DevMarket",
    "MarketBlock",
]

WETH = Token(WETH_ADDRESS, "WETH", 18)
WBTC = Token("0x2260fac5e5542a773aa44fbcfedf7c193bc2c599", "WBTC", 8)
USDC = Token("0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "USDC", 6)


@dataclass(frozen=True)
class DevFeedSpec:
    """A feed to create: its name on the tape, the token it prices, and the longest time between two answers."""

    name: str
    token: Token
    heartbeat_seconds: int


DEFAULT_FEEDS = (
    DevFeedSpec("ETH/USD", WETH, 3_600),
    DevFeedSpec("BTC/USD", WBTC, 3_600),
    DevFeedSpec("USDC/USD", USDC, 86_400),
)
"""Heartbeats equal those of the mainnet feeds."""

_QUIRKY = {
    WBTC.address: ("PausableToken", "Wrapped BTC"),
    USDC.address: ("BlocklistToken", "USD Coin"),
}
"""Tokens with unusual behaviour: the mock that imitates it, and the token's full name."""

_FEED_DECIMALS = 8
_FIRST_PHASE = 6  # mainnet's ETH/USD and BTC/USD feeds were in phase 6 in 2023
_POSITIONS_PER_TRANSACTION = 50
_STEP_GAS = 29_000_000
_DRIVER_WEI = 10**27  # the driver never runs out of WETH
_DRIVER_TOKENS = 10**12  # whole tokens, for tokens that it cannot mint


@dataclass(frozen=True, slots=True)
class MarketBlock:
    """The block a step was mined in."""

    number: int
    hash: str
    timestamp: int


class DevMarket:
    """A market on a local chain, given by its addresses. It sends from the node's last account."""

    def __init__(self, chain: LocalChain, deployment: Deployment) -> None:
        self.chain = chain
        self.deployment = deployment
        self.operator = chain.accounts[-1]
        self.driver = contract_at(chain.rpc, "MarketDriver", deployment.contracts["MarketDriver"])
        self._driver = self.driver.batched  # a tape has thousands of steps, and web3 needs 2 ms to encode one
        self._aggregators = {
            feed.name: contract_at(chain.rpc, "MockAggregator", str(feed.aggregator)) for feed in deployment.feeds
        }
        self._decimals = {token.address: token.decimals for token in deployment.tokens}
        symbols = {token.symbol: token.address for token in deployment.tokens}
        self._feed_of = {symbols[feed.token]: feed.name for feed in deployment.feeds}
        self.prices_e8 = {name: aggregator.call("latestRoundData")[1] for name, aggregator in self._aggregators.items()}

    @classmethod
    def build(
        cls,
        chain: LocalChain,
        pools: Sequence[UniswapV3Pool],
        prices_e8: Mapping[str, int],
        feeds: Sequence[DevFeedSpec] = DEFAULT_FEEDS,
    ) -> Self:
        """Create a market: Uniswap, the tokens of pools and feeds, the feeds, the pools.

        Creates every feed of `prices_e8`, with that answer. Tokens get their own addresses, and pools the addresses
        that mainnet's factory gives them, with exactly the given state.

        Raises:
            MarketMismatch: a pool's state cannot be reproduced, or a token of a pool has no feed.
        """
        feeds = [feed for feed in feeds if feed.name in prices_e8]
        tokens = _priced_tokens(feeds, [token for pool in pools for token in pool.tokens])
        contracts = uniswap.install(chain)
        for token in tokens:
            _place_token(chain, token)
        refs = [_deployed(pool) for pool in pools]
        market = cls._open(chain, contracts, tokens, refs, prices_e8, feeds)
        for pool in pools:
            market._build_pool(pool)
        return market

    @classmethod
    def on_fork(
        cls,
        chain: LocalChain,
        prices_e8: Mapping[str, int],
        pairs: Sequence[tuple[Token, Token, int]],
        feeds: Sequence[DevFeedSpec] = DEFAULT_FEEDS,
    ) -> Self:
        """Use the market of a forked chain: its tokens and pools, with new feeds.

        `pairs` name the pools by token0, token1 and fee (millionths). The pools keep their liquidity; arbitrage moves
        them to the given prices at once.

        Raises:
            MarketMismatch: there is no such pool, or a token of a pool has no feed.
            BalanceNotFound: a token's balances cannot be set.
        """
        feeds = [feed for feed in feeds if feed.name in prices_e8]
        tokens = _priced_tokens(feeds, [token for pair in pairs for token in pair[:2]])
        refs = []
        for token0, token1, fee_pips in pairs:
            address = uniswap.pool_address(token0.address, token1.address, fee_pips)
            if not chain.code(address):
                raise MarketMismatch(f"pool {token0.symbol}/{token1.symbol}", address, None)
            refs.append(PoolRef(address, (token0.address, token1.address), fee_pips))
        market = cls._open(chain, uniswap.install(chain), tokens, refs, prices_e8, feeds)
        for token in tokens:
            # Real tokens cannot be minted here: the driver's balance is set in storage.
            balance_raw = _DRIVER_TOKENS * 10**token.decimals
            chain.set_token_balance(token.address, market.driver.address, balance_raw)
        market.step({}, chain.now() + 1)
        return market

    @classmethod
    def _open(
        cls,
        chain: LocalChain,
        contracts: Uniswap,
        tokens: Sequence[Token],
        pools: Sequence[PoolRef],
        prices_e8: Mapping[str, int],
        feeds: Sequence[DevFeedSpec],
    ) -> Self:
        """Deploy the driver and the feeds, and collect all addresses."""
        driver = chain.deploy("MarketDriver", WETH.address)
        chain.set_balance(driver.address, _DRIVER_WEI)
        deployment = Deployment(
            int(chain.rpc.call("eth_chainId"), 16),
            None,
            tuple(DeployedToken(t.symbol, t.address, t.decimals) for t in tokens),
            tuple(_make_feed(chain, feed, prices_e8[feed.name]) for feed in feeds),
            tuple(pools),
            contracts.addresses(),
            {"MarketDriver": driver.address},
        )
        return cls(chain, deployment)

    # Price moves

    def step(self, prices_e8: Mapping[str, int], at: int) -> MarketBlock:
        """Publish new answers and apply arbitrage, in one transaction.

        Each feed in `prices_e8` gets a round, the others do not change. Each pool's price ends within its fee of the
        newest prices. The block's time is `at`, or the chain's own time if that is later. A step needs one HTTP request
        on Anvil, three on Hardhat.

        Raises:
            ContractReverted: the market's transaction reverted, for example because a token is paused.
        """
        self.prices_e8.update(prices_e8)
        updates = [(self._aggregators[name].address, price) for name, price in prices_e8.items()]
        pushes = [(pool.address, *self.bounds(pool)) for pool in self.deployment.pools]
        message = {
            "from": self.operator,
            "to": self.driver.address,
            "data": self._driver.data("step", updates, pushes),
            "gas": hex(_STEP_GAS),
        }
        mined = self._mined(message, at)
        if isinstance(mined, RpcRejected):
            raise reverted(mined)
        if not self.chain.is_anvil:
            block = self.chain.block()
            return MarketBlock(int(block["number"], 16), block["hash"], int(block["timestamp"], 16))
        receipt = read_receipt(self.chain.rpc, mined)
        if receipt is None:
            raise AssertionError("Anvil answers after it has mined the transaction")
        receipt = settled(self.chain.rpc, receipt)
        return MarketBlock(receipt.block_number, receipt.block_hash, mined["blockTimestamp"])

    def _mined(self, message: Mapping[str, str], at: int) -> Any:
        """The node's answer to a transaction that is mined at the time `at`, or later if that time has passed."""
        clock: Call = ("evm_setNextBlockTimestamp", (hex(at),))
        if self.chain.is_anvil:
            # eth_sendTransaction of Anvil answers before the block is mined; this method waits for it.
            return self.chain.rpc.batch_settled([clock, ("eth_sendTransactionSync", (message,))])[1]
        # Hardhat processes all parts of a batch in parallel, so the clock needs its own request.
        self.chain.rpc.batch_settled([clock])
        return self.chain.rpc.batch_settled([("eth_sendTransaction", (message,))])[0]

    def bounds(self, pool: PoolRef) -> tuple[int, int]:
        """Lowest and highest sqrt price without an arbitrage, at the newest prices."""
        token0, token1 = pool.tokens
        price0_e8 = self.prices_e8[self._feed_of[token0]]
        price1_e8 = self.prices_e8[self._feed_of[token1]]
        decimals = self._decimals[token0], self._decimals[token1]
        return arbitrage_bounds(price0_e8, price1_e8, *decimals, pool.fee_pips)

    # Balances

    def deal(self, token: str, account: str, amount_raw: int) -> Receipt:
        """Give an account an amount of a token, which is named by symbol or address."""
        known = self.deployment.token(token)
        if known is None:
            raise MarketMismatch("token", [t.symbol for t in self.deployment.tokens], token)
        if known.address != WETH.address:
            contract = contract_at(self.chain.rpc, "MockToken", known.address)
            try:
                return self.chain.transact(contract, "mint", account, amount_raw, sender=self.operator)
            except ContractReverted:  # a real token on a fork: the driver has a large balance
                with self.chain.impersonating(self.driver.address) as driver:
                    return self.chain.transact(contract, "transfer", account, amount_raw, sender=driver)
        weth = contract_at(self.chain.rpc, "WETH9", WETH.address)
        ether = self.chain.balance_wei(self.operator)
        self.chain.set_balance(self.operator, ether + amount_raw)
        self.chain.transact(weth, "deposit", sender=self.operator, value_wei=amount_raw)
        return self.chain.transact(weth, "transfer", account, amount_raw, sender=self.operator)

    # Pools

    def _build_pool(self, pool: UniswapV3Pool) -> None:
        """Create a pool with the given state: slot0 and all of its liquidity.

        One position for each pair of adjacent initialised ticks, with the active liquidity between them, gives the same
        liquidity at every price as the original positions.
        """
        rpc = self.chain.rpc
        factory = contract_at(rpc, "UniswapV3Factory", self.deployment.uniswap["UniswapV3Factory"])
        goal = _deployed(pool)
        spacing = factory.call("feeAmountTickSpacing", pool.fee_pips)
        _check(f"tick spacing at a fee of {pool.fee_pips} millionths", pool.tick_spacing, spacing)
        self.chain.transact(factory, "createPool", *goal.tokens, goal.fee_pips)
        made = factory.call("getPool", *goal.tokens, goal.fee_pips)
        _check("pool address", goal.address, made)
        contract = contract_at(rpc, "UniswapV3Pool", made)
        self.chain.transact(contract, "initialize", pool.sqrt_price_x96)

        positions = [
            (low.at, high.at, liquidity)
            for low, high in pairwise(pool.profile.ticks)
            if (liquidity := pool.profile.liquidity_at(low.at)) > 0
        ]
        for start in range(0, len(positions), _POSITIONS_PER_TRANSACTION):
            chunk = positions[start : start + _POSITIONS_PER_TRANSACTION]
            self.chain.transact(self.driver, "provide", made, chunk, sender=self.operator)

        sqrt_x96, tick, *_ = contract.call("slot0")
        _check(f"price of pool {made}", pool.sqrt_price_x96, sqrt_x96)
        _check(f"tick of pool {made}", pool.tick, tick)
        _check(f"liquidity of pool {made}", pool.liquidity, contract.call("liquidity"))


def _priced_tokens(feeds: Sequence[DevFeedSpec], traded: Sequence[Token]) -> list[Token]:
    """The tokens of the feeds, after a check that they include every traded token."""
    priced = {feed.token.address: feed.token for feed in feeds}
    for token in traded:
        if token.address not in priced:
            raise MarketMismatch(f"feed of {token.symbol}", "a feed of the tape", None)
    return list(priced.values())


def _place_token(chain: LocalChain, token: Token) -> None:
    """Install a mock at the token's own address, unless the address has code."""
    if chain.code(token.address):
        return
    mock, name = _QUIRKY.get(token.address, ("MockToken", token.symbol))
    made = chain.deploy(mock, name, token.symbol, token.decimals)
    chain.set_code(token.address, chain.code(made.address))


def _make_feed(chain: LocalChain, feed: DevFeedSpec, answer_e8: int) -> DeployedFeed:
    # Chainlink describes ETH/USD as "ETH / USD".
    description = feed.name.replace("/", " / ")
    aggregator = chain.deploy("MockAggregator", _FEED_DECIMALS, description)
    chain.transact(aggregator, "push", answer_e8)
    proxy = chain.deploy("MockFeedProxy", aggregator.address, _FIRST_PHASE)
    return DeployedFeed(
        feed.name,
        feed.token.symbol,
        proxy.address,
        _FEED_DECIMALS,
        feed.heartbeat_seconds,
        aggregator.address,
    )


def _deployed(pool: UniswapV3Pool) -> PoolRef:
    """A pool's reference with the address that mainnet's factory gives it, whatever the address of the snapshot."""
    token0, token1 = (token.address for token in pool.tokens)
    address = uniswap.pool_address(token0, token1, pool.fee_pips)
    return PoolRef(address, (token0, token1), pool.fee_pips)


def _check(what: str, expected: object, actual: object) -> None:
    if actual != expected:
        raise MarketMismatch(what, expected, actual)
