"""A vault's whole state from its logs alone: every view, after anything that can happen to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from eth_abi.abi import encode

from rebalancer.chain.abi import Contract, Event, decode_logs, interface
from rebalancer.chain.snapshot import read_block, read_vaults
from rebalancer.errors import ContractReverted
from rebalancer.policy import weigh_basket
from rebalancer.units import BPS, E18, YEAR_SECONDS
from tests.baskets import random_trade
from tests.contract.world import Wallet, World, basket_spec

NOBODY = "0x" + "0" * 40
ACTIONS = 180


@dataclass
class Rebuilt:
    """What a reader of logs knows of a vault. `minted` counts shares in existence, `pending` those of the fee besides."""

    name: str = ""
    symbol: str = ""
    authority: str = ""
    oracle: str = ""
    policy: tuple[Any, ...] = ()
    assets: tuple[Any, ...] = ()
    held: list[int] = field(default_factory=list)
    state: list[Any] = field(default_factory=lambda: [0, 0, 0, 0, 0, False])
    minted: int = 0
    balances: Counter[str] = field(default_factory=Counter)
    claims: Counter[tuple[str, str]] = field(default_factory=Counter)
    fee_bps: int = 0
    recipient: str = ""
    pending: int = 0
    accrued_at: int = 0

    def supply(self, at: int) -> int:
        """totalSupply() at a time."""
        shares = self.minted + self.pending
        return shares + shares * self.fee_bps * (at - self.accrued_at) // (YEAR_SECONDS * BPS)

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
            case "ConfigSet":
                self.oracle, self.policy, self.assets = values["config"]
                self.held = self.held or [0] * len(self.assets)
            case "FeeSet":
                self.fee_bps, self.recipient = values["feeBps"], values["recipient"]
                self.pending, self.accrued_at = 0, at
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
                self.claims[values["holder"], values["token"]] += values["amountRaw"]
            case "Claimed":
                self.claims[values["holder"], values["token"]] -= values["amountRaw"]
            case "Rebalanced":
                self.move(values["changes"], 1)
                self.state = list(values["state"])
            case "Poked":
                self.state[3] = values["brokenSince"]
            case "RebalancePaused":
                self.state[5] = True
            case "RebalanceResumed":
                self.state[5] = False
            case "Synced":
                assert self.held[values["asset"]] == values["heldBefore"]
                self.held[values["asset"]] = values["heldAfter"]
            case "Absorbed":
                self.held[values["asset"]] += values["amountRaw"]
            case "Approval":
                pass
            case _:
                raise AssertionError(f"the reader does not know {event.name}")

    def move(self, amounts: tuple[int, ...], sign: int) -> None:
        self.held = [h + sign * a for h, a in zip(self.held, amounts, strict=True)]


def rebuild(world: World, vault: Contract) -> tuple[Rebuilt, Counter[str]]:
    """All of a vault's logs, read in order; and how many of each event there are."""
    logs = world.chain.rpc.call(
        "eth_getLogs", {"address": vault.address, "fromBlock": "0x0", "toBlock": "latest"}
    )
    events = decode_logs(logs, vault.interface)
    assert len(events) == len(logs), "every log is an event of the ABI"
    numbers = sorted({event.block_number for event in events})
    blocks = world.chain.rpc.batch(
        [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
    )
    times = {n: int(b["timestamp"], 16) for n, b in zip(numbers, blocks, strict=True)}
    rebuilt = Rebuilt()
    for event in events:
        rebuilt.read(event, times[event.block_number])
    return rebuilt, Counter(event.name for event in events)


def check(world: World, vault: Contract) -> Counter[str]:
    """Every view of the vault says what its logs say."""
    logs, seen = rebuild(world, vault)
    views = ("name", "symbol", "authority", "oracle", "policy", "assets", "feeRecipient")
    assert [world.read(vault, view) for view in views] == [
        *(logs.name, logs.symbol, logs.authority, logs.oracle, logs.policy, logs.assets),
        logs.recipient,
    ]
    assert list(world.read(vault, "held")) == logs.held
    assert list(world.read(vault, "state")) == logs.state
    assert world.read(vault, "fee") == (logs.pending, logs.accrued_at, logs.fee_bps)
    assert world.read(vault, "totalSupply") == logs.supply(world.chain.now())
    for holder, amount in logs.balances.items():
        if holder != NOBODY:
            assert world.read(vault, "balanceOf", holder) == amount
    for (holder, token), amount in logs.claims.items():
        assert world.read(vault, "claimable", holder, token) == amount
    for token in {token for _, token in logs.claims}:
        total = sum(amount for (_, of), amount in logs.claims.items() if of == token)
        assert world.read(vault, "totalClaimable", token) == total
    return seen


class Life:
    """A vault to which anything may happen, one random thing at a time."""

    def __init__(self, world: World, vault: Contract, rng: Random) -> None:
        self.world, self.vault, self.rng = world, vault, rng
        self.executor = world.admin.deploy("FillExecutor")
        self.ether_usd = 2_000
        self.holders = (world.admin, world.alice, world.bob)
        world.give(self.executor, [1_000 * E18, 100 * 10**8, 10**12])
        for holder in self.holders:
            world.approve(holder, vault, [1 << 255] * 3)

    def step(self) -> None:
        """One thing; what the vault refuses has not happened."""
        actions: list[Callable[[], None]] = [
            *(
                self.mint,
                self.mint,
                self.redeem,
                self.claim,
                self.transfer,
                self.collect,
                self.set_fee,
            ),
            *(self.set_policy, self.set_targets, self.set_oracle, self.poke, self.pause),
            *(self.block, self.donate, self.absorb, self.lose, self.market, self.approve),
            *[self.resume] * 3,
            *[self.rebalance] * 6,
        ]
        action = self.rng.choice(actions)
        try:
            action()
        except ContractReverted:
            self.answer(seconds=1)

    def anybody(self) -> Wallet:
        return self.rng.choice(self.holders)

    def some_shares(self, holder: Wallet) -> int:
        return self.world.balance(self.vault, holder) * self.rng.randrange(1, 30) // 100

    def mint(self) -> None:
        """Paid by a newcomer who is given what it costs."""
        shares = 1 + self.some_shares(self.world.admin)
        cost = self.world.read(self.vault, "previewMintInKind", shares)
        self.world.give(self.world.alice, [amount + 10**6 for amount in cost])
        self.world.alice.transact(
            self.vault, "mintInKind", shares, self.anybody().address, [1 << 255] * 3
        )

    def redeem(self) -> None:
        owner = self.anybody()
        shares = self.some_shares(owner)
        to = self.anybody().address
        owner.transact(self.vault, "redeemInKind", shares, to, owner.address, [0] * 3)

    def claim(self) -> None:
        """Everything moves again, and everybody takes what is theirs."""
        self.world.stranger.transact(self.world.usdc, "unBlacklist", self.world.alice.address)
        self.world.stranger.transact(self.world.wbtc, "unpause")
        for holder in self.holders:
            for token in self.world.tokens:
                if self.world.read(self.vault, "claimable", holder.address, token.address):
                    holder.transact(self.vault, "claim", token.address, holder.address)

    def transfer(self) -> None:
        owner = self.anybody()
        shares = self.some_shares(owner)
        owner.transact(self.vault, "transfer", self.anybody().address, shares)

    def collect(self) -> None:
        self.world.stranger.transact(self.vault, "collectFee")

    def set_fee(self) -> None:
        recipient = self.rng.choice((self.world.treasury, self.world.bob)).address
        self.world.owner.transact(self.vault, "setFee", self.rng.randrange(1, 501), recipient)

    def set_policy(self) -> None:
        policy = list(self.world.read(self.vault, "policy"))
        policy[0] = self.rng.randrange(50, 200)
        self.world.owner.transact(self.vault, "setPolicy", tuple(policy))

    def set_targets(self) -> None:
        part = self.rng.randrange(20, 61) * E18 // 100
        targets = [part, 8 * E18 // 10 - part, 2 * E18 // 10]
        bands = [self.rng.randrange(100, 400) for _ in range(3)]
        self.world.curator.transact(self.vault, "setTargets", targets, bands)

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
        alice.transact(self.vault, "redeemInKind", shares, alice.address, alice.address, [0, 0, 0])

    def approve(self) -> None:
        self.anybody().transact(self.vault, "approve", self.anybody().address, 1)

    def donate(self) -> None:
        self.world.give(self.vault, [self.rng.randrange(E18), 0, self.rng.randrange(10**9)])

    def absorb(self) -> None:
        """What was given to the vault's WETH is taken up."""
        held, weth = self.world.read(self.vault, "held")[0], self.world.tokens[0]
        owed = held + self.world.read(self.vault, "totalClaimable", weth.address)
        gift = self.world.balance(weth, self.vault) - owed
        self.world.owner.transact(self.vault, "absorb", 0, gift)

    def lose(self) -> None:
        """A hundredth of the vault's USDC disappears, and the ledger follows."""
        usdc = self.world.usdc.address
        balance = self.world.balance(self.world.usdc, self.vault)
        self.world.chain.set_token_balance(usdc, self.vault.address, balance * 99 // 100)
        self.world.stranger.transact(self.vault, "sync", 2)

    def market(self) -> None:
        self.ether_usd = self.rng.randrange(1_600, 2_500)
        self.answer(self.rng.choice((1, 600, 86_400)))

    def answer(self, seconds: int) -> None:
        """Time passes and the feeds answer; the pools, which a paused token would stop, play no part."""
        self.world.chain.mine(at=self.world.chain.now() + seconds)
        prices = (self.ether_usd, 30_000, 1)
        for feed, usd in zip(self.world.market.deployment.feeds, prices, strict=True):
            aggregator = interface("MockAggregator").at(str(feed.aggregator))
            self.world.stranger.transact(aggregator, "push", usd * 10**8)

    def rebalance(self) -> None:
        world, vault = self.world, self.vault
        self.ether_usd = self.rng.choice((1_600, 2_500))
        self.answer(seconds=700)
        seen = read_vaults(
            world.chain.rpc, world.system.lens, [vault.address], read_block(world.chain.rpc)
        )[0]
        weighed = weigh_basket(seen.basket)
        at = world.chain.now() + 1
        trade = random_trade(self.rng, seen.policy, seen.state, seen.basket, weighed, at)
        tokens = [token.address for token in world.tokens]
        route = encode(["address[]", "uint256[]"], [tokens, trade.given])
        world.chain.set_next_timestamp(at)
        world.keeper.transact(
            *(vault, "rebalance", seen.state.epoch, trade.sales, trade.min_buys),
            *(self.executor.address, route),
        )


def test_every_view_follows_from_the_logs(world: World) -> None:
    vault = world.open_vault(replace(basket_spec(world), fee_bps=300))
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


def test_collecting_nothing_leaves_nothing_unsaid(world: World, vault: Contract) -> None:
    world.chain.mine(at=world.chain.now() + 86_400)
    world.stranger.transact(vault, "collectFee")

    check(world, vault)
