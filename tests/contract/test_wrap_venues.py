"""ERC-4626 and wstETH on a chain: what is read, what previews say, and what a hop through RouteExecutor pays, to the unit."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.pools import find_venue, read_pools
from rebalancer.chain.snapshot import read_block
from rebalancer.devnet.local import LocalChain
from rebalancer.errors import (
    ContractMissing,
    ContractReverted,
    LiquidityExhausted,
    UnsupportedPool,
)
from rebalancer.route import encode
from rebalancer.units import E18
from rebalancer.venues import PoolRef, PoolState, of_class
from rebalancer.venues.erc4626 import ERC4626Pool
from rebalancer.venues.wsteth import WstETHPool

pytestmark = pytest.mark.both_chains  # nodes differ in how they lend state to a call

CHAIN_ID = 31_337
ENDLESS = 2**256 - 1


@dataclass(frozen=True)
class ShareVault:
    """OpenZeppelin's ERC-4626 with limits, and its asset, which anybody may mint."""

    chain: LocalChain
    asset: BoundContract
    vault: BoundContract
    executor: BoundContract

    @classmethod
    def opened(cls, chain: LocalChain, decimals: int, offset: int, deposited: int, donated: int) -> ShareVault:
        asset = chain.deploy("MockToken", "Coin", "COIN", decimals)
        vault = chain.deploy("MockERC4626", asset.address, offset)
        made = cls(chain, asset, vault, chain.deploy("RouteExecutor"))
        if deposited:
            made.deposit(deposited)
        made.donate(donated)
        return made

    @property
    def ref(self) -> PoolRef:
        return PoolRef(self.vault.address, (self.asset.address, self.vault.address), 0, "erc4626")

    def deposit(self, amount: int) -> None:
        who = self.chain.accounts[3]
        self.chain.transact(self.asset, "mint", who, amount)
        self.chain.transact(self.asset, "approve", self.vault.address, amount, sender=who)
        self.chain.transact(self.vault, "deposit", amount, who, sender=who)

    def donate(self, amount: int) -> None:
        self.chain.transact(self.asset, "mint", self.vault.address, amount)

    def limit(self, deposits: int, redemptions: int) -> None:
        self.chain.transact(self.vault, "setLimits", deposits, redemptions)

    def read(self) -> ERC4626Pool:
        return of_class(read(self.chain, self.ref), ERC4626Pool)

    def sell(self, pool: ERC4626Pool, sold: BoundContract, amount: int, *, to_caller: bool) -> int:
        """By a hop; what the caller has more."""
        bought = self.asset if sold is self.vault else self.vault
        trader = self.chain.accounts[5]
        if sold is self.vault:
            holder = self.chain.accounts[3]
            self.chain.transact(sold, "transfer", self.executor.address, amount, sender=holder)
        else:
            self.chain.transact(sold, "mint", self.executor.address, amount)
        before = bought.call("balanceOf", trader)
        hop = pool.hop(sold.address, bought.address, amount, to_caller=to_caller)
        self.chain.transact(self.executor, "executeRoute", encode([hop]), sender=trader)
        assert bought.call("balanceOf", self.executor.address) == 0
        assert self.asset.call("allowance", self.executor.address, self.vault.address) == 0
        return int(bought.call("balanceOf", trader)) - int(before)


def read(chain: LocalChain, ref: PoolRef) -> PoolState:
    (pool,) = read_pools(chain.rpc, [ref], read_block(chain.rpc), CHAIN_ID)
    return pool


VAULTS = [
    (6, 12, 5 * 10**12, 10**12),
    (18, 0, 3 * E18, 7),
    (18, 6, 10**24 + 1, 3 * 10**23),
    (0, 3, 12_345, 678),
    (8, 0, 1, 10**9),
    (18, 0, 0, 0),
]


@pytest.mark.parametrize(("decimals", "offset", "deposited", "donated"), VAULTS)
def test_vault_read_from_a_chain_previews_and_pays_as_on_paper(
    chain: LocalChain, decimals: int, offset: int, deposited: int, donated: int
) -> None:
    rng = random.Random(deposited)
    vault = ShareVault.opened(chain, decimals, offset, deposited, donated)
    pool = vault.read()
    assert pool.decimals_offset == offset
    assert pool.max_deposit == ENDLESS
    assert pool.max_redeem == pool.total_supply == vault.vault.call("totalSupply")
    into = pool.tokens[0].address, pool.tokens[1].address
    back = into[::-1]
    for _ in range(20):
        amount = rng.getrandbits(rng.randint(1, 100)) + 1
        assert pool.quote_in(*into, amount) == vault.vault.call("previewDeposit", amount)
        assert pool._out(1, amount) == vault.vault.call("previewRedeem", amount)
        assert pool.quote_out(*into, amount) == max(vault.vault.call("previewMint", amount), 1)
        if amount <= pool._out(1, pool.max_redeem):
            assert pool.quote_out(*back, amount) == vault.vault.call("previewWithdraw", amount)
    for is_in in (True, False, True):
        way, sold = (into, vault.asset) if is_in else (back, vault.vault)
        most = 10**30 if is_in else min(pool.max_redeem, vault.vault.call("balanceOf", chain.accounts[3]))
        if not most:
            continue
        amount = rng.randint(1, most)
        expected, after = pool.swapped(*way, amount)
        assert vault.sell(pool, sold, amount, to_caller=is_in) == expected
        fresh = vault.read()
        assert (after.total_assets, after.total_supply) == (fresh.total_assets, fresh.total_supply)
        assert after.max_redeem <= fresh.max_redeem
        pool = fresh


def test_vault_is_found_by_its_mark(chain: LocalChain) -> None:
    vault = ShareVault.opened(chain, 6, 0, 10**12, 0)

    found = find_venue(chain.rpc, vault.vault.address, read_block(chain.rpc))

    assert found.name == "erc4626"


def test_donation_after_the_plan_moves_what_the_trade_pays_and_is_read_at_the_next_block(
    chain: LocalChain,
) -> None:
    vault = ShareVault.opened(chain, 18, 0, 100 * E18, 0)
    planned = vault.read()
    into = vault.asset.address, vault.vault.address
    vault.donate(25 * E18)

    paid = vault.sell(planned, vault.asset, 10 * E18, to_caller=True)

    assert planned.quote_in(*into, 10 * E18) == 10 * E18
    assert paid == 8 * E18
    fresh = vault.read()
    assert fresh.quote_in(*into, 10 * E18) == 8 * E18


def test_paused_vault_is_read_and_trades_nothing(chain: LocalChain) -> None:
    vault = ShareVault.opened(chain, 18, 0, 100 * E18, 0)
    vault.limit(0, 0)
    pool = vault.read()

    assert (pool.max_deposit, pool.max_redeem) == (0, 0)
    for way in ((vault.asset, vault.vault), (vault.vault, vault.asset)):
        with pytest.raises(LiquidityExhausted):
            pool.quote_in(way[0].address, way[1].address, 1)
        with pytest.raises(ContractReverted):
            vault.sell(pool, way[0], 1, to_caller=True)


def test_vaults_limits_are_the_quotes(chain: LocalChain) -> None:
    vault = ShareVault.opened(chain, 18, 0, 100 * E18, 0)
    vault.limit(7 * E18, 5 * E18)
    pool = vault.read()

    for sold, bought, most in (
        (vault.asset, vault.vault, 7 * E18),
        (vault.vault, vault.asset, 5 * E18),
    ):
        with pytest.raises(LiquidityExhausted):
            pool.quote_in(sold.address, bought.address, most + 1)
        with pytest.raises(ContractReverted):
            vault.sell(pool, sold, most + 1, to_caller=True)
        expected = pool.quote_in(sold.address, bought.address, most)
        assert vault.sell(pool, sold, most, to_caller=True) == expected


def test_vault_that_keeps_a_fee_is_refused(chain: LocalChain) -> None:
    asset = chain.deploy("MockToken", "Coin", "COIN", 18)
    vault = chain.deploy("MockFeeShareVault", asset.address)
    fair = ShareVault(chain, asset, vault, chain.deploy("RouteExecutor"))
    fair.deposit(100 * E18)

    with pytest.raises(UnsupportedPool, match="redeem of SHARE"):
        fair.read()


def staked_dollar(chain: LocalChain) -> ShareVault:
    """A vault that behaves as sUSDe does, with a cooldown."""
    asset = chain.deploy("MockToken", "Coin", "COIN", 18)
    vault = chain.deploy("MockStakedDollar", asset.address, 7 * 86_400)
    made = ShareVault(chain, asset, vault, chain.deploy("RouteExecutor"))
    made.deposit(1_000 * E18)
    made.donate(250 * E18)
    return made


def test_vault_whose_redemptions_revert_is_deposited_into(chain: LocalChain) -> None:
    """maxRedeem returns the balance all the same, and balances are in slot 4."""
    dollar = staked_dollar(chain)
    assert dollar.vault.call("maxRedeem", chain.accounts[3]) == 1_000 * E18
    pool = dollar.read()

    assert pool.max_redeem == 0
    with pytest.raises(LiquidityExhausted):
        pool.quote_in(dollar.vault.address, dollar.asset.address, 1)
    expected = pool.quote_in(dollar.asset.address, dollar.vault.address, 10 * E18)
    assert dollar.sell(pool, dollar.asset, 10 * E18, to_caller=True) == expected


def test_vault_whose_cooldown_ended_is_redeemed_from(chain: LocalChain) -> None:
    dollar = staked_dollar(chain)
    chain.transact(dollar.vault, "setCooldown", 0)
    pool = dollar.read()

    assert pool.max_redeem == 1_000 * E18
    expected = pool.quote_in(dollar.vault.address, dollar.asset.address, 10 * E18)
    assert dollar.sell(pool, dollar.vault, 10 * E18, to_caller=True) == expected


@dataclass(frozen=True)
class Lido:
    """stETH at some rate, of which an account holds much, and its wrapper."""

    chain: LocalChain
    steth: BoundContract
    wsteth: BoundContract

    @classmethod
    def opened(cls, chain: LocalChain, shares: int, pooled: int, outside: int) -> Lido:
        steth = chain.deploy("MockStETH")
        wsteth = chain.deploy("MockWstETH", steth.address)
        made = cls(chain, steth, wsteth)
        who = chain.accounts[3]
        chain.transact(steth, "mintShares", who, shares, pooled)
        chain.transact(steth, "mintExternal", who, outside)
        chain.transact(steth, "approve", wsteth.address, ENDLESS, sender=who)
        chain.transact(wsteth, "wrap", steth.call("balanceOf", who) // 2, sender=who)
        return made

    @property
    def ref(self) -> PoolRef:
        return PoolRef(self.wsteth.address, (self.steth.address, self.wsteth.address), 0, "wsteth")

    def read(self) -> WstETHPool:
        return of_class(read(self.chain, self.ref), WstETHPool)

    def sell(self, pool: WstETHPool, sold: BoundContract, amount: int, trader: str, *, named: bool) -> int:
        """By a hop that names its amount, or takes all there is, of an executor without dust; what the trader has more."""
        bought = self.steth if sold is self.wsteth else self.wsteth
        executor = self.chain.deploy("RouteExecutor")
        holder = self.chain.accounts[3]
        self.chain.transact(sold, "transfer", executor.address, amount, sender=holder)
        before = bought.call("balanceOf", trader)
        raw = amount if named else 0
        hop = pool.hop(sold.address, bought.address, raw, to_caller=True)
        self.chain.transact(executor, "executeRoute", encode([hop]), sender=trader)
        assert self.steth.call("allowance", executor.address, self.wsteth.address) == 0
        return int(bought.call("balanceOf", trader)) - int(before)


LIDOS = [
    (7_601_234 * E18 + 1, 9_123_456 * E18 + 789, 0),
    (7_601_234 * E18 + 1, 9_123_456 * E18 + 789, 345_678 * E18 + 9),
    (10**20, 10**20, 0),
    (3 * 10**18, 10**18 + 1, 17),
]


@pytest.mark.parametrize(("shares", "pooled", "outside"), LIDOS)
def test_wsteth_read_from_a_chain_answers_and_pays_as_on_paper(
    chain: LocalChain, shares: int, pooled: int, outside: int
) -> None:
    rng = random.Random(pooled + outside)
    lido = Lido.opened(chain, shares, pooled, outside)
    pool = lido.read()
    assert (pool.pooled, pool.shares) == (pooled, shares)
    assert pool.loose == lido.steth.call("sharesOf", chain.accounts[3])
    assert pool.wrapped == lido.wsteth.call("totalSupply")
    into = lido.steth.address, lido.wsteth.address
    for trade in range(8):
        is_in, named = trade % 2 == 0, trade % 4 < 2
        way, sold = (into, lido.steth) if is_in else (into[::-1], lido.wsteth)
        amount = rng.randint(10**3, 10**17)
        expected, after = pool.swapped(*way, amount)

        # Who gets stETH had none before; a wrap's caller gets the dust of it that is left.
        trader = chain.accounts[9 if is_in else 4 + trade // 2]
        paid = lido.sell(pool, sold, amount, trader, named=named)

        more = 1 + shares // pooled if is_in and named else 0
        assert expected <= paid <= expected + more
        fresh = lido.read()
        assert (after.pooled, after.shares) == (fresh.pooled, fresh.shares)
        assert (fresh.wrapped - after.wrapped, after.loose - fresh.loose) == (paid - expected,) * 2
        pool = fresh


def test_wsteth_follows_a_reward_and_a_stop(chain: LocalChain) -> None:
    lido = Lido.opened(chain, 10**24, 12 * 10**23, 0)
    before = lido.read()
    back = lido.wsteth.address, lido.steth.address

    chain.transact(lido.steth, "reward", 10**22)
    after = lido.read()
    chain.transact(lido.steth, "setStopped", True)
    stopped = lido.read()

    assert after.quote_in(*back, E18) > before.quote_in(*back, E18)
    assert lido.wsteth.call("getStETHByWstETH", E18) - after.quote_in(*back, E18) <= 4
    with pytest.raises(LiquidityExhausted):
        stopped.quote_in(*back, 1)
    assert find_venue(chain.rpc, lido.wsteth.address, read_block(chain.rpc)).name == "wsteth"


def test_a_vault_is_no_wsteth(chain: LocalChain) -> None:
    vault = ShareVault.opened(chain, 18, 0, 10**18, 0)
    ends = vault.asset.address, vault.vault.address

    with pytest.raises((ContractReverted, ContractMissing)):
        read(chain, PoolRef(vault.vault.address, ends, 0, "wsteth"))
