"""Gas of every action of a user or keeper, in the scenario of the design's table.

Receipts of a local Anvil, with the base cost of 21,000, after refunds. Plain OpenZeppelin tokens with 18, 6 and 8
decimals in turn, feeds of one storage slot, Uniswap V3's published bytecode with 0.3 % pools and liquidity over the
full range, trades that are small for the pools, all checks and events.

STEADY STATE. Another account has done every measured action before, so that slots written once in the life of a vault
or pool do not count: the rebalance is not the vault's first, and the pool has collected fees in this token before.
DETERMINISM. The clock moves by a fixed step per block, and tokens and pools have constant addresses, so the same code
always uses the same gas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.pools import read_v3_pools
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.snapshot import read_block, read_vaults
from rebalancer.chain.system import Role, System
from rebalancer.devnet.environment import basket, equal_targets_e18, open_vault, set_up_system
from rebalancer.devnet.local import LocalChain
from rebalancer.devnet.node import Node, NodeSettings
from rebalancer.devnet.uniswap import Uniswap, install, pool_address
from rebalancer.operations.deploy import FeedSpec, VaultFees, VaultSpec
from rebalancer.route import Hop, encode
from rebalancer.settlement import Policy, weigh_basket
from rebalancer.units import BPS
from rebalancer.venues import Token, UniswapV3Pool
from rebalancer.venues.uniswap_v3 import v3_hop
from rebalancer.venues.uniswap_v3_math import sqrt_price_x96
from rebalancer.wellknown import DEVNET_CHAIN_ID
from scripts.benchmarks.trace import Spent, spent

__all__ = ["FIGURES", "SIZES", "Figure", "measure"]

SIZES = (3, 5, 10)
"""Numbers of assets."""

FIGURES = ("rebalance", "mint_in_kind", "redeem_in_kind", "zap_in")
"""The rows of the design's table."""

_GENESIS_AT = 1_700_000_000
_DAY_SECONDS = 86_400
_FAR_FUTURE = 2**40

_DECIMALS = (18, 6, 8)
_PRICES_E8 = (2_000 * 10**8, 10**8, 30_000 * 10**8)
_FEE_PIPS = 3_000
_FULL_RANGE = 887_220  # the last tick of a 0.3 % pool's spacing
# On each side of each pool: a trade stays inside one tick, as in the design's figure of a bare swap.
_POOL_USD = 10**10
_HOLDING_USD = 100_000  # of each asset in a vault
_WALLET_USD = 10**12
_DEPOSIT_SHARES = 1_234_567_890_123_456_789_012
_ZAP_MARGIN_BPS = 10  # margin of a wallet, which does not know the block of its transaction

_POLICY = Policy(
    start_slippage_bps=50,
    max_slippage_bps=200,
    slippage_ramp_seconds=3_600,
    min_progress_bps=500,
    dust_bps=1,
    cooldown_seconds=3_600,
    loss_budget_bps=100,
    loss_period_seconds=7 * _DAY_SECONDS,
    turnover_budget_bps=5_000,
    turnover_period_seconds=7 * _DAY_SECONDS,
)
_BAND_BPS = 50
# The first asset rises and the second falls by this much: both leave their bands for every n.
_MOVE_BPS = 1_000
# Part of the allowed trade that is made: the weight ends inside the band, before the target.
_TRADE_BPS = 9_500

_APPROVALS: Mapping[str, Callable[[int], int]] = {
    "exact": lambda amount_raw: amount_raw,
    "larger": lambda amount_raw: amount_raw * 101 // 100,
    "infinite": lambda _: 2**256 - 1,
}
"""Approvals of a depositor. A used-up approval is cleared, with a refund; an infinite one is never written."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Gas of one receipt. `spent` is the use by contract and kind, if requested."""

    gas: int
    spent: tuple[Spent, ...] = ()


def measure(sizes: Sequence[int] = SIZES, *, explain: bool = False) -> dict[str, dict[int, Figure]]:
    """Every figure, by name and number of assets.

    `FIGURES` are the design's table. A name with a colon is a variant of the figure before the colon, or its lower
    bound. `explain` traces the figures of the table, which takes longer.
    """
    settings = NodeSettings(genesis_at=_GENESIS_AT)
    with Node.start(settings) as node, node.rpc() as rpc:
        bench = _Bench(LocalChain(rpc), max(sizes))
        vaults = {n: bench.create(n) for n in sizes}
        figures: dict[str, dict[int, Figure]] = {}
        for n, vault in vaults.items():
            for name, receipt in vault.receipts():
                # The transaction is undone when the next receipt is requested, so the trace is taken now.
                traced = explain and name in FIGURES
                where = spent(rpc, receipt, bench.names) if traced else ()
                figures.setdefault(name, {})[n] = Figure(receipt.gas_used, tuple(where))
        return figures


@dataclass(frozen=True, slots=True)
class _Coin:
    """A token with its feed."""

    token: Token
    contract: BoundContract
    feed: BoundContract
    price_e8: int

    def raw(self, usd: int) -> int:
        """Raw units worth this many dollars."""
        unit: int = 10**self.token.decimals
        return usd * 10**8 * unit // self.price_e8


class _Bench:
    """The chain, with everything that vaults of all sizes share."""

    def __init__(self, chain: LocalChain, most_assets: int) -> None:
        self.chain = chain
        names = ("owner", "keeper", "holder", "other", "issuer")
        actors = (chain.account(address) for address in chain.accounts)
        self.actors = dict(zip(names, actors, strict=False))
        chain.run_steadily()

        # First, from an account that does nothing else: these addresses stay constant.
        self.coins = tuple(self._issue(i) for i in range(most_assets))
        self.outside = self._issue(most_assets)  # in no basket
        self.uniswap: Uniswap = install(chain)
        owner = self.actors["owner"]
        keeper = self.actors["keeper"]
        members = {Role.OWNER: [owner.address], Role.GUARDIAN: [owner.address], Role.KEEPER: [keeper.address]}
        feeds = {c.token.address: FeedSpec(c.feed.address, 8, 365 * _DAY_SECONDS, 1, 10**30) for c in self.coins}
        self.system: System = set_up_system(owner, self.uniswap.weth.address, members, feeds)
        for first, second in combinations((self.coins[0], self.outside, *self.coins[1:]), 2):
            if first in (self.coins[0], self.outside):
                self._provide(first, second)
        self.swapper = owner.deploy("BareSwapper")
        for coin in (*self.coins, self.outside):
            self.give(coin, self.swapper.address)
        self.names = {
            **{address: name for name, address in self.system.contracts().items()},
            self.swapper.address: "BareSwapper",
            **{coin.token.address: "tokens" for coin in (*self.coins, self.outside)},
            **{coin.feed.address: "feeds" for coin in self.coins},
        }

    def create(self, n: int) -> _Vault:
        """A vault of the first n coins at equal targets, seeded by the owner."""
        owner = self.actors["owner"]
        coins = self.coins[:n]
        decimals = {coin.token.address: coin.token.decimals for coin in coins}
        seed = tuple(coin.raw(_HOLDING_USD) for coin in coins)
        for coin in coins:
            self.give(coin, owner.address)
        spec = VaultSpec(
            f"Bench {n}",
            f"B{n}",
            basket(decimals, equal_targets_e18(n), _BAND_BPS),
            _POLICY,
            seed,
            n * 10**23,
            VaultFees(100),
            owner.address,
            n,
        )
        address = open_vault(owner, self.system, spec).lower()
        self.names[address] = "vault clone"
        for coin in coins:
            self.names[self.pool(self.coins[0], coin)] = "pools"
            self.names[self.pool(self.outside, coin)] = "pools"
        return _Vault(self, coins, contract_at(self.chain.rpc, "BasketVault", address))

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Everything inside is undone at the end."""
        before = self.chain.snapshot()
        yield
        self.chain.revert(before)

    def give(self, coin: _Coin, account: str) -> None:
        """Give an account more of a token than any action uses."""
        self.actors["issuer"].transact(coin.contract, "mint", account, coin.raw(_WALLET_USD))

    def approve(self, actor: str, coin: _Coin, spender: str, amount_raw: int) -> None:
        self.actors[actor].transact(coin.contract, "approve", spender, amount_raw)

    @staticmethod
    def pool(first: _Coin, second: _Coin) -> str:
        return pool_address(first.token.address, second.token.address, _FEE_PIPS)

    def read_pool(self, first: _Coin, second: _Coin) -> UniswapV3Pool:
        """The pool of two coins at the newest block."""
        rpc = self.chain.rpc
        tokens = {coin.token.address: coin.token for coin in (first, second)}
        pools = [self.pool(first, second)]
        lens = self.system.uniswap_v3_lens
        return read_v3_pools(rpc, lens, pools, tokens, read_block(rpc), DEVNET_CHAIN_ID)[0]

    def swap(self, sold: _Coin, bought: _Coin, amount_raw: int, limit: int | None = None) -> Receipt:
        """A swap by a minimal contract; it stops at `limit`, a sqrt price of the pool."""
        zero_for_one = _zero_for_one(sold, bought)
        no_limit = 4_295_128_740 if zero_for_one else (1 << 160) - 1 >> 1
        pool = self.pool(sold, bought)
        return self.actors["other"].transact(
            self.swapper,
            "swap",
            pool,
            sold.token.address,
            zero_for_one,
            amount_raw,
            limit or no_limit,
        )

    def _issue(self, i: int) -> _Coin:
        issuer = self.actors["issuer"]
        decimals, price_e8 = _DECIMALS[i % 3], _PRICES_E8[i % 3]
        contract = issuer.deploy("MockToken", f"Token {i}", f"T{i}", decimals)
        feed = issuer.deploy("OneSlotFeed", price_e8)
        return _Coin(Token(contract.address, f"T{i}", decimals), contract, feed, price_e8)

    def _provide(self, first: _Coin, second: _Coin) -> None:
        """Create the pool of two coins at their prices, with liquidity over the full range."""
        owner = self.actors["owner"]
        manager = self.uniswap.position_manager
        low, high = sorted((first, second), key=lambda coin: int(coin.token.address, 16))
        pair = (low.token.address, high.token.address)
        price = sqrt_price_x96(low.price_e8, high.price_e8, low.token.decimals, high.token.decimals)
        amounts = (low.raw(_POOL_USD), high.raw(_POOL_USD))
        for coin, amount in zip((low, high), amounts, strict=True):
            self.give(coin, owner.address)
            owner.transact(coin.contract, "approve", manager.address, amount)
        owner.transact(manager, "createAndInitializePoolIfNecessary", *pair, _FEE_PIPS, price)
        ticks = (-_FULL_RANGE, _FULL_RANGE)
        owner.transact(manager, "mint", (*pair, _FEE_PIPS, *ticks, *amounts, 0, 0, owner.address, _FAR_FUTURE))


@dataclass(frozen=True)
class _Vault:
    """A vault of n assets, and everything that is measured on it."""

    bench: _Bench
    coins: tuple[_Coin, ...]
    contract: BoundContract

    @property
    def pair(self) -> tuple[_Coin, _Coin]:
        """The asset that a rebalance sells, and the asset that it buys."""
        return self.coins[0], self.coins[1]

    def receipts(self) -> Iterator[tuple[str, Receipt]]:
        """All measured receipts, each on the same state; a receipt is undone when the next one is requested."""
        with self.bench.undone():
            yield from self._rebalance()
        with self.bench.undone():
            yield from self._in_kind()
        with self.bench.undone():
            yield from self._floor_in_kind()
        for name, coin, buys in (
            ("zap_in", self.coins[0], True),
            ("zap_in: by amounts in", self.coins[0], False),
            ("zap_in: token outside", self.bench.outside, True),
            ("zap_in: token outside, by amounts in", self.bench.outside, False),
        ):
            with self.bench.undone():
                yield name, self._zap_in(coin, buys=buys)

    # Rebalance

    def _rebalance(self) -> Iterator[tuple[str, Receipt]]:
        """The second of two rebalances that sell the first asset for the second, and its swap alone."""
        self._move_prices(1)
        self._trade(*self._sale())
        self._move_prices(2)
        sale, least = self._sale()
        with self.bench.undone():
            yield "rebalance", self._trade(sale, least)
        yield "rebalance: floor", self.bench.swap(*self.pair, sale)

    def _move_prices(self, times: int) -> None:
        """Raise the first asset and lower the second, on the oracle and, by arbitrage, in their pool."""
        chain, issuer = self.bench.chain, self.bench.actors["issuer"]
        up, down = self.pair
        chain.set_next_timestamp(chain.now() + _DAY_SECONDS)
        prices = {}
        for coin, move in ((up, BPS + _MOVE_BPS), (down, BPS - _MOVE_BPS)):
            prices[coin.token] = coin.price_e8 * move**times // BPS**times
            issuer.transact(coin.feed, "set", prices[coin.token])
        low, high = sorted((up.token, down.token), key=lambda token: int(token.address, 16))
        price = sqrt_price_x96(prices[low], prices[high], low.decimals, high.decimals)
        self.bench.swap(down, up, down.raw(_POOL_USD), price)

    def _sale(self) -> tuple[int, int]:
        """Sale of the first asset, and minimum purchase of the second: raw units."""
        rpc = self.bench.chain.rpc
        lens = self.bench.system.lens
        basket = read_vaults(rpc, lens, [self.contract.address], read_block(rpc))[0].basket
        weighed = weigh_basket(basket)
        if weighed.broken != 0:
            raise AssertionError("the scenario must break the first asset's band")
        most_e18 = min(weighed.distances_e18[0], -weighed.distances_e18[1]) * _TRADE_BPS // BPS
        sale = most_e18 * basket.units[0] // basket.prices_e18[0]
        first, second = (coin.token.address for coin in self.pair)
        bought = self.bench.read_pool(*self.pair).quote_in(first, second, sale)
        return sale, bought * 999 // 1000

    def _trade(self, sale: int, least: int) -> Receipt:
        sales, least_bought = [0] * len(self.coins), [0] * len(self.coins)
        sales[0], least_bought[1] = sale, least
        route = encode([self._hop(*self.pair, sale)])
        epoch = self.contract.call("state")[4]
        executor = self.bench.system.executor
        return self.bench.actors["keeper"].transact(
            self.contract, "rebalance", epoch, sales, least_bought, executor, route
        )

    def _hop(self, sold: _Coin, bought: _Coin, amount_raw: int) -> Hop:
        ends = sold.token.address, bought.token.address
        return v3_hop(self.bench.pool(sold, bought), amount_raw, *ends, to_caller=True)

    # In kind

    def _in_kind(self) -> Iterator[tuple[str, Receipt]]:
        """A new holder's deposit, with both kinds of approval, and the withdrawal of half of it."""
        for coin in self.coins:
            for actor in ("holder", "other"):
                self.bench.give(coin, self.bench.actors[actor].address)
        self._mint("other", "exact")
        for approval in _APPROVALS:
            with self.bench.undone():
                yield _by_approval(approval), self._mint("holder", approval)
        self._mint("holder", "exact")
        holder = self.bench.actors["holder"]
        half = _DEPOSIT_SHARES // 2
        least = self.contract.call("previewRedeemInKind", half)
        least = [amount * 999 // 1000 for amount in least]
        receipt = holder.transact(self.contract, "redeemInKind", half, holder.address, holder.address, least)
        yield "redeem_in_kind", receipt

    def _mint(self, actor: str, approval: str) -> Receipt:
        """Deposit exactly the amounts that the vault requires in the block of the deposit."""
        chain = self.bench.chain
        sender = self.bench.actors[actor]
        # The fee makes shares cheaper every second: an approval is used up only if it is for the block's exact time.
        at = chain.now() + _DAY_SECONDS
        with self.bench.undone():
            chain.mine(at=at)
            amounts = self._amounts()
        for coin, amount in zip(self.coins, amounts, strict=True):
            self.bench.approve(actor, coin, self.contract.address, _APPROVALS[approval](amount))
        chain.set_next_timestamp(at)
        return sender.transact(self.contract, "mintInKind", _DEPOSIT_SHARES, sender.address, amounts)

    def _amounts(self) -> list[int]:
        """Amounts that the measured deposit requires now."""
        return list(self.contract.call("previewMintInKind", _DEPOSIT_SHARES))

    def _floor_in_kind(self) -> Iterator[tuple[str, Receipt]]:
        """The same deposits and withdrawal with a contract without checks."""
        addresses = [coin.token.address for coin in self.coins]
        bare = self.bench.actors["owner"].deploy("BareBasket", addresses)
        self.bench.names[bare.address] = "BareBasket"
        amounts = self._amounts()

        def mint(actor: str, approval: str) -> Receipt:
            for coin, amount in zip(self.coins, amounts, strict=True):
                self.bench.approve(actor, coin, bare.address, _APPROVALS[approval](amount))
            return self.bench.actors[actor].transact(bare, "mint", _DEPOSIT_SHARES, amounts)

        for coin in self.coins:
            for actor in ("holder", "other"):
                self.bench.give(coin, self.bench.actors[actor].address)
        mint("other", "exact")
        for approval in _APPROVALS:
            with self.bench.undone():
                yield f"{_by_approval(approval)}: floor", mint("holder", approval)
        mint("holder", "exact")
        holder = self.bench.actors["holder"]
        receipt = holder.transact(bare, "redeem", _DEPOSIT_SHARES // 2)
        yield "redeem_in_kind: floor", receipt

    # One token

    def _zap_in(self, paid: _Coin, *, buys: bool) -> Receipt:
        """A new holder's deposit of one token, after another holder's."""
        for actor in ("other", "holder"):
            self.bench.give(paid, self.bench.actors[actor].address)
        self._zap("other", paid, buys=buys)
        return self._zap("holder", paid, buys=buys)

    def _zap(self, actor: str, paid: _Coin, *, buys: bool) -> Receipt:
        """Buy exactly the amounts that the shares require, for at most a margin above the current cost; or sell fixed
        amounts with a margin."""
        sender = self.bench.actors[actor]
        hops: list[Hop] = []
        swapped = kept = 0
        for coin, amount in zip(self.coins, self._amounts(), strict=True):
            if coin is paid:
                kept = amount
                continue
            pool = self.bench.read_pool(paid, coin)
            # With fixed amounts in, the first asset limits the shares; a rest of every other asset remains.
            margin_bps = 0 if buys or coin is self.coins[0] else _ZAP_MARGIN_BPS
            wanted = amount * (BPS + margin_bps) // BPS
            cost = pool.quote_out(paid.token.address, coin.token.address, wanted)
            if buys:
                hops.append(self._hop(paid, coin, 0).buying(amount))
                cost += cost * _ZAP_MARGIN_BPS // BPS
            else:
                hops.append(self._hop(paid, coin, cost))
            swapped += cost
        total = swapped + kept
        zap = contract_at(self.bench.chain.rpc, "Zap", self.bench.system.zap)
        self.bench.approve(actor, paid, zap.address, total)
        deposit = (
            self.contract.address,
            paid.token.address,
            total,
            swapped,
            _DEPOSIT_SHARES,
            sender.address,
            _FAR_FUTURE,
            encode(hops),
        )
        return sender.transact(zap, "zapIn", deposit)


def _by_approval(approval: str) -> str:
    return "mint_in_kind" if approval == "exact" else f"mint_in_kind: {approval} approval"


def _zero_for_one(sold: _Coin, bought: _Coin) -> bool:
    return int(sold.token.address, 16) < int(bought.token.address, 16)
