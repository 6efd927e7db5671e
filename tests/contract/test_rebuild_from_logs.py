"""A vault's whole state from its logs alone: every view, after anything that can happen to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest
from eth_abi.abi import encode

from rebalancer.abi import Event, decode_logs
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.devnet.local import LocalAccount
from rebalancer.errors import ContractReverted
from rebalancer.operations.deploy import VaultFees
from rebalancer.settlement import weigh_basket
from rebalancer.units import BPS, E18, YEAR_SECONDS
from tests.baskets import random_targets, random_trade
from tests.contract.world import FEED_RULES, World, basket_spec

pytestmark = pytest.mark.both_chains  # nodes differ in how they search for logs

NOBODY = "0x" + "0" * 40
ACTIONS = 300
MONTH = 30 * 86_400
UNPRICED_SECONDS = 6 * 3_600
UNPRICED_GAP_SECONDS = 30 * 60
E6 = 10**6
DEAD = (0,) * 11
"""An auction that there is not."""


@dataclass
class Pool:
    """The open claims on a token: an amount, and who has how many of the units that share it."""

    amount: int = 0
    units: Counter[str] = field(default_factory=Counter)

    def of(self, holder: str) -> int:
        """What a holder can collect."""
        total = sum(self.units.values())
        return self.units[holder] * self.amount // total if total else 0


@dataclass
class Rebuilt:
    """What a reader of logs knows of a vault. `minted` counts shares in existence, `pending` those of the fee besides."""

    name: str = ""
    symbol: str = ""
    authority: str = ""
    written: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    config: str = ""
    oracle: str = ""
    policy: tuple[Any, ...] = ()
    glide: tuple[int, int] = (0, 0)
    assets: tuple[Any, ...] = ()
    tokens_before: tuple[str, ...] = ()
    held: list[int] = field(default_factory=list)
    state: list[Any] = field(default_factory=lambda: [0, 0, 0, 0, 0, False])
    minted: int = 0
    balances: Counter[str] = field(default_factory=Counter)
    pools: dict[str, Pool] = field(default_factory=dict)
    barred: set[str] = field(default_factory=set)
    losses: Counter[str] = field(default_factory=Counter)
    fees: tuple[int, int, int, int] = (0, 0, 0, 0)
    performance: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    auctions: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    recipient: str = ""
    pending: int = 0
    accrued_at: int = 0

    def supply(self, at: int) -> int:
        """totalSupply() at a time."""
        shares = self.minted + self.pending
        return shares + shares * self.fees[0] * (at - self.accrued_at) // (YEAR_SECONDS * BPS)

    def accrue(self, at: int, shares_since: int = 0) -> None:
        """Books the fee as it was before this transaction made `shares_since`."""
        self.minted -= shares_since
        self.pending, self.accrued_at = self.supply(at) - self.minted, at
        self.minted += shares_since

    def read(self, event: Event, at: int) -> None:
        """Takes in one event, mined at a time."""
        values = event.values
        match event.name:
            case "Initialized":
                self.name, self.symbol = values["name"], values["symbol"]
            case "AuthorityUpdated":
                self.authority = values["authority"]
            case "Written":
                self.written[values["config"]] = values["values"]
            case "ConfigSet":
                self.tokens_before = self.tokens
                self.state[4] += self.config != ""  # every change begins an epoch
                self.config = values["config"]
                self.oracle, self.policy, *glide, self.assets = self.written[self.config]
                self.glide = glide[0], glide[1]
                self.held += [0] * (len(self.assets) - len(self.held))
            case "AssetRemoved":
                place = self.tokens_before.index(values["token"])
                self.barred.discard(values["token"])
                assert self.held[place] == values["heldRaw"]
                self.held[place] = self.held[-1]
                self.held.pop()
            case "LevelsCarried":
                self.state[:2] = values["lossLevelE18"], values["turnoverLevelE18"]
            case "FeesSet":
                self.fees, self.recipient = values["fees"], values["recipient"]
                self.pending, self.accrued_at = 0, at
                begins = self.performance[3] == 0
                charged = self.fees[1] if begins else min(self.performance[2], self.fees[1])
                self.performance[2] = charged
                self.performance[3] = self.fees[1]
            case "PerformanceFeeBegun":
                self.performance[:2] = values["highWaterE18"], at
            case "PerformanceFeeCollected":
                self.accrue(at, shares_since=values["shares"])
                charged = self.performance[3]
                self.performance = [values["highWaterE18"], at, charged, charged]
            case "AuctionStarted":
                assert values["auction"][6] == (at + UNPRICED_SECONDS) * E6
                self.auctions[values["sold"], values["bought"]] = values["auction"]
            case "AuctionPoked":
                pair = values["sold"], values["bought"]
                self.auctions[pair] = seen_unpriced(self.auctions[pair], at)
                assert self.auctions[pair][9] == values["unpricedSince"]
            case "AuctionStopped":
                self.auctions[values["sold"], values["bought"]] = DEAD
            case "AuctionFilled":
                pair = values["sold"], values["bought"]
                lot, *terms, decay, clock_e6, ends_at, started, since, _ = self.auctions[pair]
                # A part of a lot takes that part of the fall of the price back.
                fallen_e6 = min(at * E6 - clock_e6, decay * E6) * (lot - values["soldRaw"]) // lot
                clock_e6 = at * E6 - fallen_e6
                self.auctions[pair] = (lot, *terms, decay, clock_e6, ends_at, started, since, at)
                self.held[self.tokens.index(pair[0])] -= values["soldRaw"]
                self.held[self.tokens.index(pair[1])] += values["boughtRaw"]
            case "Transfer":
                self.balances[values["from"]] -= values["value"]
                self.balances[values["to"]] += values["value"]
                self.minted += values["value"] * (values["from"] == NOBODY)
                self.minted -= values["value"] * (values["to"] == NOBODY)
            case "MintedInKind":
                self.accrue(at, shares_since=values["shares"])
                self.move(values["amounts"], 1)
            case "RedeemedInKind":
                self.accrue(at, shares_since=-values["shares"])
                self.move(values["amounts"], -1)
            case "FeeCollected":
                self.accrue(at, shares_since=values["shares"])
                self.pending -= values["shares"]
            case "ClaimOpened":
                pool = self.pools.setdefault(values["token"], Pool())
                pool.amount += values["amountRaw"]
                pool.units[values["holder"]] += values["units"]
            case "Claimed":
                pool = self.pools[values["token"]]
                pool.amount -= values["amountRaw"]
                pool.units[values["holder"]] -= values["units"]
            case "Rebalanced":
                self.move(values["changes"], 1)
                self.state[:4] = [
                    *(values["lossLevelE18"], values["turnoverLevelE18"], at),
                    values["dueSince"],
                ]
                assert values["epoch"] == self.state[4]
                self.state[4] += 1
            case "Poked":
                self.state[3] = values["dueSince"]
            case "RebalancePaused":
                self.state[5] = True
            case "RebalanceResumed":
                self.state[5] = False
            case "Synced":
                self.write_down(values)
            case "PurchasesBarred":
                self.losses[values["token"]] = values["lossE18"]
                self.barred.add(values["token"])
            case "PurchasesAllowed":
                self.barred.remove(values["token"])
                self.losses[values["token"]] = 0
            case "Absorbed":
                self.held[values["asset"]] += values["amountRaw"]
            case "Approval":
                pass
            case _:
                raise AssertionError(f"the reader does not know {event.name}")

    def write_down(self, values: Mapping[str, Any]) -> None:
        """A loss: of the ledger, if the token is in the basket, and of its claims."""
        token, pool = values["token"], self.pools.setdefault(values["token"], Pool())
        assert pool.amount == values["claimsBefore"]
        pool.amount = values["claimsAfter"]
        if not pool.amount:
            pool.units.clear()
        if token not in self.tokens:
            assert values["heldBefore"] == values["heldAfter"] == 0
            return
        place = self.tokens.index(token)
        assert self.held[place] == values["heldBefore"]
        self.held[place] = values["heldAfter"]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The basket's tokens, in its order."""
        return tuple(asset[0] for asset in self.assets)

    def move(self, amounts: tuple[int, ...], sign: int) -> None:
        self.held = [h + sign * a for h, a in zip(self.held, amounts, strict=True)]


def seen_unpriced(auction: tuple[int, ...], at: int) -> tuple[int, ...]:
    """An auction whose pair was seen unpriced: after a gap everything counts from then."""
    *terms, clock_e6, ends_at, started, since, last = auction
    if at > last + UNPRICED_GAP_SECONDS:
        since, clock_e6 = at, (at + UNPRICED_SECONDS) * E6
    return (*terms, clock_e6, ends_at, started, since, at)


def rebuild(world: World, vault: BoundContract) -> tuple[Rebuilt, Counter[str]]:
    """A vault's logs and the store's of it, read in order; and how many of each event there are."""
    requested = {"address": [vault.address, world.system.config_store]}
    logs = world.chain.rpc.call("eth_getLogs", requested | {"fromBlock": "0x0", "toBlock": "latest"})
    events = decode_logs(logs, vault.interface, interface("ConfigStore"))
    assert len(events) == len(logs), "every log is an event of the ABI"
    events = [e for e in events if vault.address in (e.address, e.values.get("vault"))]
    numbers = sorted({event.block_number for event in events})
    blocks = world.chain.rpc.batch([("eth_getBlockByNumber", (hex(number), False)) for number in numbers])
    times = {n: int(b["timestamp"], 16) for n, b in zip(numbers, blocks, strict=True)}
    rebuilt = Rebuilt()
    for event in events:
        rebuilt.read(event, times[event.block_number])
    return rebuilt, Counter(event.name for event in events)


def check(world: World, vault: BoundContract) -> Counter[str]:
    """Every view of the vault says what its logs say."""
    logs, seen = rebuild(world, vault)
    views = ("name", "symbol", "authority", "config", "oracle", "policy", "assets", "feeRecipient")
    assert [world.read(vault, view) for view in views] == [
        *(logs.name, logs.symbol, logs.authority, logs.config, logs.oracle, logs.policy),
        *(logs.assets, logs.recipient),
    ]
    basket = snapshot_of(world, vault).basket
    assert (basket.glide_start, basket.glide_end) == logs.glide
    assert list(world.read(vault, "held")) == logs.held
    assert list(world.read(vault, "state")) == logs.state
    assert world.read(vault, "fee")[:5] == (
        *(logs.pending, logs.accrued_at),
        *(logs.fees[0], logs.fees[2], logs.fees[3]),
    )
    assert list(world.read(vault, "performance")) == logs.performance
    for pair, terms in logs.auctions.items():
        assert world.read(vault, "auctions", *pair) == terms
    assert world.read(vault, "totalSupply") == logs.supply(world.chain.now())
    for holder, amount in logs.balances.items():
        if holder != NOBODY:
            assert world.read(vault, "balanceOf", holder) == amount
    for token, pool in logs.pools.items():
        for holder in pool.units:
            assert world.read(vault, "claimable", holder, token) == pool.of(holder)
        assert world.read(vault, "totalClaimable", token) == pool.amount
    barred = {t for i, t in enumerate(logs.tokens) if world.read(vault, "isBarred", i)}
    assert barred == logs.barred
    for token in barred:
        # What it lost after that is not told, but for what ledger and claims did.
        assert world.read(vault, "lossE18", token) >= logs.losses[token]
    return seen


def snapshot_of(world: World, vault: BoundContract) -> VaultSnapshot:
    block = read_block(world.chain.rpc)
    return read_vaults(world.chain.rpc, world.system.lens, [vault.address], block)[0]


class Life:
    """A vault to which anything may happen, one random thing at a time."""

    def __init__(self, world: World, vault: BoundContract, rng: Random) -> None:
        self.world, self.vault, self.rng = world, vault, rng
        self.executor = world.admin.deploy("FillExecutor")
        self.ether_usd = 2_000
        self.holders = (world.admin, world.alice, world.bob)
        world.give(self.executor, [1_000 * E18, 100 * 10**8, 10**12])
        world.give(world.bob, [1_000 * E18, 100 * 10**8, 10**12])
        for holder in self.holders:
            world.approve(holder, vault, [1 << 255] * 3)
        self.feeds = [
            contract_at(world.chain.rpc, "MockAggregator", str(feed.aggregator))
            for feed in world.market.deployment.feeds
        ]
        self.known = {t.address: d for t, d in zip(world.tokens, (18, 8, 6), strict=True)}
        for decimals in (0, 27):
            self.invent(decimals)

    def invent(self, decimals: int) -> None:
        """A token that may join the basket: a feed says a dollar, and everybody has plenty."""
        world = self.world
        token = world.admin.deploy("MockToken", f"Coin {decimals}", "COIN", decimals)
        feed = world.admin.deploy("MockAggregator", 8, "COIN / USD")
        world.admin.transact(feed, "push", 10**8)
        world.owner.transact(world.oracle, "setFeed", token.address, feed.address, *FEED_RULES)
        for holder in (*self.holders, self.executor):
            world.admin.transact(token, "mint", holder.address, 1 << 110)
        for holder in self.holders:
            holder.transact(token, "approve", self.vault.address, 1 << 255)
        self.feeds.append(feed)
        self.known[token.address] = decimals

    def step(self) -> None:
        """One thing; what the vault refuses has not happened."""
        actions: list[Callable[[], None]] = [
            *(self.mint, self.mint, self.redeem, self.claim, self.transfer),
            *(self.collect, self.collect_performance, self.set_fees, self.lower_fees),
            *(self.set_policy, self.tighten_policy, self.set_targets, self.set_bands),
            *(self.set_oracle, self.poke, self.pause, self.approve),
            *(self.add_asset, self.add_asset, self.exclude, self.include, self.remove),
            *(self.start_auction, self.stop_auction, self.bid, self.bid),
            *(self.block, self.donate, self.absorb, self.lose, self.allow, self.allow, self.market),
            *[self.resume] * 3,
            *[self.sell_out] * 3,
            *[self.rebalance] * 8,
        ]
        action = self.rng.choice(actions)
        try:
            action()
        except ContractReverted:
            self.answer(seconds=1)

    @property
    def tokens(self) -> list[str]:
        """The basket's tokens now."""
        return [asset[0] for asset in self.world.read(self.vault, "assets")]

    def any_asset(self) -> int:
        return self.rng.randrange(len(self.tokens))

    def anybody(self) -> LocalAccount:
        return self.rng.choice(self.holders)

    def some_shares(self, holder: LocalAccount) -> int:
        return self.world.balance(self.vault, holder) * self.rng.randrange(1, 30) // 100

    def mint(self) -> None:
        """Paid by a newcomer who is given what it costs."""
        shares = 1 + self.some_shares(self.world.admin)
        cost = self.world.read(self.vault, "previewMintInKind", shares)
        for token, amount in zip(self.tokens, cost, strict=True):
            if token in (known.address for known in self.world.tokens):
                self.world.market.deal(token, self.world.alice.address, amount + 10**6)
        self.world.alice.transact(self.vault, "mintInKind", shares, self.anybody().address, [1 << 255] * len(cost))

    def redeem(self) -> None:
        owner = self.anybody()
        shares = self.some_shares(owner)
        to = self.anybody().address
        owner.transact(self.vault, "redeemInKind", shares, to, owner.address, [0] * len(self.tokens))

    def claim(self) -> None:
        """Everything moves again, and everybody takes what is theirs."""
        self.world.stranger.transact(self.world.usdc, "unBlacklist", self.world.alice.address)
        self.world.stranger.transact(self.world.wbtc, "unpause")
        for holder in self.holders:
            for token in self.world.tokens:
                if self.world.read(self.vault, "claimable", holder.address, token.address):
                    part = self.rng.choice((1, 1 << 255))
                    self.anybody().transact(*(self.vault, "claim", holder.address, token.address, holder.address, part))

    def transfer(self) -> None:
        owner = self.anybody()
        shares = self.some_shares(owner)
        owner.transact(self.vault, "transfer", self.anybody().address, shares)

    def collect(self) -> None:
        self.world.stranger.transact(self.vault, "collectFee")

    def collect_performance(self) -> None:
        """A month has passed, ether may be worth more, and nothing is left out any more."""
        self.ether_usd = self.rng.randrange(1_600, 3_000)
        self.answer(self.rng.choice((1, MONTH, MONTH)))
        for place, asset in enumerate(self.world.read(self.vault, "assets")):
            if asset[7]:
                self.world.owner.transact(self.vault, "includeAsset", place)
        self.world.stranger.transact(self.vault, "collectPerformanceFee")

    def set_fees(self) -> None:
        recipient = self.rng.choice((self.world.treasury, self.world.bob)).address
        fees = [self.rng.randrange(top + 1) for top in (500, 2_000, 200, 200)]
        self.world.owner.transact(self.vault, "setFees", fees, recipient)

    def lower_fees(self) -> None:
        _, _, streaming, entry, exit_, *_ = self.world.read(self.vault, "fee")
        performance = self.world.read(self.vault, "performance")[3]
        fees = [self.rng.randint(bps // 2, bps) for bps in (streaming, performance, entry, exit_)]
        self.world.guardian.transact(self.vault, "lowerFees", fees)

    def set_policy(self) -> None:
        policy = list(self.world.read(self.vault, "policy"))
        policy[0] = self.rng.randrange(50, 200)
        policy[6:10] = [
            *(self.rng.randrange(50, 500), self.rng.randrange(3_600, 200_000)),
            *(self.rng.randrange(3_000, 20_000), self.rng.randrange(3_600, 200_000)),
        ]
        policy[10:] = self.rng.choice(((0, 0, 0), (5_000, 0, 0), (0, 86_400, 3_600)))
        self.world.owner.transact(self.vault, "setPolicy", policy)

    def tighten_policy(self) -> None:
        policy = list(self.world.read(self.vault, "policy"))
        policy[6], policy[8] = policy[6] * 9 // 10, policy[8] * 9 // 10
        policy[7] += 1_000
        self.world.guardian.transact(self.vault, "tightenPolicy", policy)

    def set_targets(self) -> None:
        """Now and then of an asset that is left out, which is refused."""
        assets = self.world.read(self.vault, "assets")
        priced = [i for i, asset in enumerate(assets) if not asset[7]]
        targets = [0] * len(assets)
        for i, target in zip(priced, random_targets(self.rng, len(priced)), strict=True):
            targets[i] = target
        if self.rng.random() < 0.1:
            self.rng.shuffle(targets)
        glide_seconds = self.rng.choice((0, 86_400, 10 * 86_400))
        self.world.curator.transact(self.vault, "setTargets", targets, glide_seconds)

    def set_bands(self) -> None:
        bands = [
            (self.rng.randrange(100, 400), self.rng.choice((0, 1_000)), self.rng.choice((0, 1))) for _ in self.tokens
        ]
        self.world.curator.transact(self.vault, "setBands", bands)

    def add_asset(self) -> None:
        """One that was there before, or never."""
        token, decimals = self.rng.choice(list(self.known.items()))
        self.world.owner.transact(self.vault, "addAsset", token, decimals, (300, 0, 0))

    def exclude(self) -> None:
        self.world.owner.transact(self.vault, "excludeAsset", self.any_asset())

    def include(self) -> None:
        self.world.owner.transact(self.vault, "includeAsset", self.any_asset())

    def remove(self) -> None:
        self.world.owner.transact(self.vault, "removeAsset", self.any_asset())

    def start_auction(self) -> None:
        self.auction(self.any_asset(), self.any_asset())

    def auction(self, sell: int, buy: int) -> None:
        """A tenth of what is held, lot by lot; what it costs does not matter here."""
        lot = self.world.read(self.vault, "held")[sell] // 10
        ends_at = self.world.chain.now() + 100_000
        terms = (lot, 1_000, 10, 0, (1 << 128) - 1, 3_600, 0, ends_at, 0, 0, 0)
        self.world.owner.transact(self.vault, "startAuction", sell, buy, terms)

    def stop_auction(self) -> None:
        self.world.guardian.transact(self.vault, "stopAuction", self.any_asset(), self.any_asset())

    def bid(self) -> None:
        self.bid_on(self.any_asset(), self.any_asset())

    def bid_on(self, sell: int, buy: int) -> None:
        tokens = self.tokens
        lot = self.world.read(self.vault, "auctions", tokens[sell], tokens[buy])[0]
        amount = self.rng.randint(min(1, lot), lot)
        self.world.bob.transact(self.vault, "bid", sell, buy, amount, 1_000)

    def sell_out(self) -> None:
        """An asset is left out and sold for another."""
        sell, buy = self.rng.sample(range(len(self.tokens)), 2)
        if not self.world.read(self.vault, "assets")[sell][7]:
            self.world.owner.transact(self.vault, "excludeAsset", sell)
        self.auction(sell, buy)
        for _ in range(UNPRICED_SECONDS // UNPRICED_GAP_SECONDS + 1):
            now = self.world.chain.now()
            self.world.chain.set_next_timestamp(now + UNPRICED_GAP_SECONDS)
            self.world.stranger.transact(self.vault, "pokeAuction", sell, buy)
        self.bid_on(sell, buy)
        if self.rng.random() < 0.5:
            self.world.stranger.transact(self.vault, "pokeAuction", sell, buy)

    def set_oracle(self) -> None:
        self.world.owner.transact(self.vault, "setOracle", self.world.oracle.address)

    def poke(self) -> None:
        self.world.stranger.transact(self.vault, "poke")

    def pause(self) -> None:
        self.world.guardian.transact(self.vault, "pauseRebalance")

    def resume(self) -> None:
        self.world.owner.transact(self.vault, "resumeRebalance")

    def block(self) -> None:
        """Alice's USDC or everybody's WBTC stops, and she wants a third of her shares out."""
        alice = self.world.alice
        if self.rng.random() < 0.5:
            self.world.stranger.transact(self.world.usdc, "blacklist", alice.address)
        else:
            self.world.stranger.transact(self.world.wbtc, "pause")
        shares = self.world.balance(self.vault, alice) // 3
        alice.transact(self.vault, "redeemInKind", shares, *[alice.address] * 2, [0] * len(self.tokens))

    def approve(self) -> None:
        self.anybody().transact(self.vault, "approve", self.anybody().address, 1)

    def donate(self) -> None:
        self.world.give(self.vault, [self.rng.randrange(E18), 0, self.rng.randrange(10**9)])

    def absorb(self) -> None:
        """What was given to the vault of an asset is taken up."""
        place = self.any_asset()
        held = self.world.read(self.vault, "held")[place]
        token = contract_at(self.world.chain.rpc, "IERC20Metadata", self.tokens[place])
        owed = held + self.world.read(self.vault, "totalClaimable", token.address)
        gift = self.world.balance(token, self.vault) - owed
        self.world.owner.transact(self.vault, "absorb", place, max(0, gift))

    def lose(self) -> None:
        """A part of the vault's USDC disappears, and the ledger follows: now, or with the next redemption or claim."""
        usdc, tokens = self.world.usdc.address, self.tokens
        balance = self.world.balance(self.world.usdc, self.vault)
        parts = self.rng.choice((9_900, 9_999, 9_999))
        self.world.chain.set_token_balance(usdc, self.vault.address, balance * parts // 10_000)
        if usdc in tokens and self.rng.random() < 0.7:
            self.world.stranger.transact(self.vault, "sync", tokens.index(usdc))

    def allow(self) -> None:
        self.world.owner.transact(self.vault, "allowPurchases", self.any_asset())

    def market(self) -> None:
        self.ether_usd = self.rng.randrange(1_600, 2_500)
        self.answer(self.rng.choice((1, 600, 86_400)))

    def answer(self, seconds: int) -> None:
        """Time passes and the feeds answer; the pools, which a paused token would stop, play no part."""
        self.world.chain.mine(at=self.world.chain.now() + seconds)
        prices = (self.ether_usd, 30_000, 1, 1, 1)
        for feed, usd in zip(self.feeds, prices, strict=True):
            self.world.stranger.transact(feed, "push", usd * 10**8)

    def rebalance(self) -> None:
        world, vault = self.world, self.vault
        self.ether_usd = self.rng.choice((1_600, 2_500))
        self.answer(seconds=700)
        for place, missing_raw in enumerate(snapshot_of(world, vault).missing_raw):
            if missing_raw:
                world.stranger.transact(vault, "sync", place)
        if snapshot_of(world, vault).state.paused:
            self.resume()
        seen = snapshot_of(world, vault)
        at = world.chain.now() + 1
        basket = seen.basket.at(at, seen.policy.dust_bps)
        weighed = weigh_basket(basket)
        trade = random_trade(self.rng, seen.policy, seen.state, basket, weighed, at)
        tokens = [asset.token for asset in basket.assets]
        route = encode(["address[]", "uint256[]"], [tokens, trade.given])
        world.chain.set_next_timestamp(at)
        world.keeper.transact(
            *(vault, "rebalance", seen.state.epoch, trade.sales, trade.min_buys),
            *(self.executor.address, route),
        )


def test_every_view_follows_from_the_logs(world: World) -> None:
    vault = world.open_vault(replace(basket_spec(world), fees=VaultFees(300, 1_000, 10, 10)))
    life = Life(world, vault, Random(11))
    seen = check(world, vault)

    for count in range(1, ACTIONS + 1):
        life.step()
        if count % 30 == 0:
            seen = check(world, vault)

    declared = {shape.name for shape in vault.interface.events.values()}
    assert declared - set(seen) <= {"EIP712DomainChanged"}, "everything must have happened"
    assert seen["Rebalanced"] >= 5, seen
    assert seen["Claimed"] >= 1, seen


def test_collecting_nothing_leaves_nothing_unsaid(world: World, vault: BoundContract) -> None:
    world.chain.mine(at=world.chain.now() + 86_400)
    world.stranger.transact(vault, "collectFee")

    check(world, vault)
