"""The people of the contract suite, what they own and send, and how a refusal is checked to the last number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from rebalancer.abi import Event, decode_logs
from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.receipt import Receipt
from rebalancer.chain.system import System
from rebalancer.devnet.environment import basket, open_vault
from rebalancer.devnet.local import LocalAccount, LocalChain
from rebalancer.devnet.market import USDC, WBTC, WETH, DevMarket
from rebalancer.errors import ContractReverted
from rebalancer.operations.deploy import FeedSpec, VaultFees, VaultSpec
from rebalancer.settlement import Policy
from rebalancer.units import E18

__all__ = ["INITIAL_SHARES", "SEEDS", "World", "as_list", "basket_spec", "refused"]

INITIAL_SHARES = 1_000_000 * E18
"""One dollar each, at the opening prices."""

SEEDS = (200 * 10**18, 13_33333333, 200_000 * 10**6)
"""WETH, WBTC and USDC that the vault starts with: 40, 40 and 20 % of a million dollars."""


@dataclass(frozen=True)
class World:
    """A chain with a market and the system on it, and its people by role; nobody's role has a delay."""

    chain: LocalChain
    market: DevMarket
    system: System
    admin: LocalAccount
    owner: LocalAccount
    curator: LocalAccount
    guardian: LocalAccount
    keeper: LocalAccount
    alice: LocalAccount
    bob: LocalAccount
    treasury: LocalAccount
    stranger: LocalAccount

    # Contracts

    @property
    def factory(self) -> BoundContract:
        """The VaultFactory."""
        return contract_at(self.chain.rpc, "VaultFactory", self.system.factory)

    @property
    def oracle(self) -> BoundContract:
        """The OracleHub."""
        return contract_at(self.chain.rpc, "OracleHub", self.system.oracle)

    @property
    def authority(self) -> BoundContract:
        """The AccessManager."""
        return contract_at(self.chain.rpc, "AccessManager", self.system.authority)

    @property
    def zap(self) -> BoundContract:
        """The Zap."""
        return contract_at(self.chain.rpc, "Zap", self.system.zap)

    @property
    def executor(self) -> BoundContract:
        """The RouteExecutor."""
        return contract_at(self.chain.rpc, "RouteExecutor", self.system.executor)

    @property
    def weth(self) -> BoundContract:
        """WETH9."""
        return contract_at(self.chain.rpc, "WETH9", WETH.address)

    @property
    def wbtc(self) -> BoundContract:
        """A token that can be paused."""
        return contract_at(self.chain.rpc, "PausableToken", WBTC.address)

    @property
    def usdc(self) -> BoundContract:
        """A token that can shut out a holder."""
        return contract_at(self.chain.rpc, "BlocklistToken", USDC.address)

    @property
    def tokens(self) -> tuple[BoundContract, BoundContract, BoundContract]:
        """The basket's tokens, in its order."""
        return self.weth, self.wbtc, self.usdc

    def uniswap(self, name: str) -> BoundContract:
        """One of Uniswap's contracts, by its published name."""
        return contract_at(self.chain.rpc, name, self.market.deployment.uniswap[name])

    def pool(self, one: BoundContract, other: BoundContract) -> str:
        """The market's pool of two tokens."""
        pair = {one.address, other.address}
        (found,) = [p for p in self.market.deployment.pools if set(p.tokens) == pair]
        return found.address

    @property
    def weth_is_token0(self) -> bool:
        """Whether pools of WETH and USDC count WETH first."""
        return int(self.weth.address, 16) < int(self.usdc.address, 16)

    # Reading

    def read(self, contract: BoundContract, function: str, *args: Any) -> Any:
        """Call a view at the latest block."""
        return contract.call(function, *args)

    def balance(self, token: BoundContract, holder: LocalAccount | BoundContract) -> int:
        """A holder's balance of a token, raw."""
        return int(self.read(token, "balanceOf", holder.address))

    def balances(self, holder: LocalAccount | BoundContract) -> list[int]:
        """A holder's balance of each of the basket's tokens, raw."""
        return [self.balance(token, holder) for token in self.tokens]

    def events(self, receipt: Receipt, contract: BoundContract) -> list[Event]:
        """What a contract said in a transaction."""
        logs = [log for log in receipt.logs if log["address"].lower() == contract.address]
        return decode_logs(logs, contract.interface)

    # Acting

    def give(self, holder: LocalAccount | BoundContract, amounts: Sequence[int]) -> None:
        """Give amounts of the basket's tokens."""
        for token, amount in zip(self.tokens, amounts, strict=True):
            if amount:
                self.market.deal(token.address, holder.address, amount)

    def approve(self, holder: LocalAccount, spender: BoundContract, amounts: Sequence[int]) -> None:
        """Let a contract take amounts of the basket's tokens."""
        for token, amount in zip(self.tokens, amounts, strict=True):
            holder.transact(token, "approve", spender.address, amount)

    def move_market(self, prices_usd: Mapping[str, int] | None = None, seconds: int = 1) -> None:
        """Time passes and every feed answers anew, with new prices where given; pools follow."""
        changed = {f"{name}/USD": usd * 10**8 for name, usd in (prices_usd or {}).items()}
        self.market.step(self.market.prices_e8 | changed, self.chain.now() + seconds)

    def open_vault(self, spec: VaultSpec) -> BoundContract:
        """A vault made by the admin, who gets its shares; its functions are handed to the roles."""
        return contract_at(self.chain.rpc, "BasketVault", open_vault(self.admin, self.system, spec))

    def new_token(self, decimals: int, usd: int = 1) -> BoundContract:
        """A plain token with a feed of its own, plenty of it the admin's."""
        token = self.admin.deploy("MockToken", f"Coin {decimals}", "COIN", decimals)
        feed = self.admin.deploy("MockAggregator", 8, "COIN / USD")
        self.admin.transact(feed, "push", usd * 10**8)
        self.owner.transact(self.oracle, "setFeed", token.address, feed.address, *FEED_RULES)
        self.admin.transact(token, "mint", self.admin.address, 1 << 128)
        return token


FEED_RULES = (8, 86_400, 1, (1 << 128) - 1)
"""Decimals, heartbeat and sane range of a feed for `setFeed`."""


def basket_spec(world: World) -> VaultSpec:
    """40 % WETH, 40 % WBTC, 20 % USDC, bands of 2 %, no fee."""
    policy = Policy(
        start_slippage_bps=100,
        max_slippage_bps=200,
        slippage_ramp_seconds=3_600,
        min_progress_bps=1_000,
        dust_bps=20,
        cooldown_seconds=600,
        loss_budget_bps=100,
        loss_period_seconds=86_400,
        turnover_budget_bps=5_000,
        turnover_period_seconds=86_400,
    )
    targets = (4 * E18 // 10, 4 * E18 // 10, 2 * E18 // 10)
    decimals = {WETH.address: 18, WBTC.address: 8, USDC.address: 6}
    return VaultSpec(
        name="Big three",
        symbol="BIG3",
        assets=basket(decimals, targets, 200),
        policy=policy,
        seed_amounts=SEEDS,
        initial_shares=INITIAL_SHARES,
        fees=VaultFees(),
        fee_recipient=world.treasury.address,
    )


def feed_spec(world: World, name: str) -> FeedSpec:
    """The market's feed of that name, with any price sane."""
    (feed,) = [feed for feed in world.market.deployment.feeds if feed.name == name]
    return FeedSpec(feed.address, feed.decimals, feed.heartbeat_seconds, 1, (1 << 128) - 1)


@contextmanager
def refused(error: str, **numbers: object) -> Iterator[None]:
    """The block must be refused by a contract with exactly this error and these numbers, by their names in the ABI."""
    with pytest.raises(ContractReverted) as caught:
        yield
    assert (caught.value.error, as_list(caught.value.values)) == (error, as_list(numbers))


def as_list(value: Any) -> Any:
    """The same with every tuple a list, as ABI decoding and Python differ in which they use."""
    if isinstance(value, tuple | list):
        return [as_list(part) for part in value]
    if isinstance(value, dict):
        return {key: as_list(part) for key, part in value.items()}
    return value
