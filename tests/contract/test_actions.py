"""What people do with a vault, on every kind of node: what moved, and what is promised before it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.interfaces import interface
from rebalancer.chain.pools import read_v3_pools
from rebalancer.chain.snapshot import VaultSnapshot, read_block, read_vaults
from rebalancer.chain.system import Role
from rebalancer.devnet.environment import DEMO_POLICY, Actor, DevEnvironment, raw_for_usd
from rebalancer.errors import (
    AssetCountOutOfRange,
    BalanceTooLow,
    BandOutOfRange,
    ContractMissing,
    ContractReverted,
    DepositTooSmall,
    FeeOutOfRange,
    InsufficientEther,
    NoRoute,
    NothingRequested,
    NothingToClaim,
    NotPermitted,
    NotTheClaimant,
    SeedTooSmall,
    TargetsDoNotSumToOne,
)
from rebalancer.operations.actions import (
    ETH,
    claim,
    deposit_in_kind,
    deposit_token,
    new_vault,
    set_bands,
    set_targets,
    withdraw_in_kind,
    withdraw_token,
)
from rebalancer.operations.deploy import VaultFees, VaultSpec, grant_roles
from rebalancer.plan.zap import VaultLedger, plan_zap_in
from rebalancer.send.wallet import Wallet
from rebalancer.settlement import Asset
from rebalancer.units import BPS, E18
from rebalancer.venues import Token, UniswapV3Pool

pytestmark = pytest.mark.both_chains  # nodes word refusals, and mine, in their own way

USD = 10**6
SLIPPAGE_BPS = 50


@pytest.fixture
def depositor(environment: DevEnvironment) -> Wallet:
    """Somebody with a million dollars of each token."""
    wallet = environment.wallet(Actor.DEPOSITOR)
    for token in environment.deployment.tokens:
        environment.market.deal(token.address, wallet.address, raw_for_usd(environment.market, token.symbol, 10**6))
    return wallet


@pytest.fixture
def free(environment: DevEnvironment) -> DevEnvironment:
    """The stage with a vault that charges no fee, so that shares do not change with the seconds."""
    owner = environment.wallet(Actor.OWNER)
    # In the second it was made the vault has earned nothing; in the next it mints, which costs more gas than was estimated.
    environment.chain.mine(at=environment.chain.now() + 60)
    owner.transact(vault(environment), "setFees", (0, 0, 0, 0), Actor.FEE_RECIPIENT.address)
    return environment


def vault(environment: DevEnvironment) -> BoundContract:
    return contract_at(environment.chain.rpc, "BasketVault", environment.vault)


def token(environment: DevEnvironment, symbol: str) -> str:
    return environment.deployment.listed(symbol).address


def pools(environment: DevEnvironment) -> tuple[UniswapV3Pool, ...]:
    known = {t.address: Token(t.address, t.symbol, t.decimals) for t in environment.deployment.tokens}
    rpc = environment.chain.rpc
    return read_v3_pools(
        rpc,
        environment.system.uniswap_v3_lens,
        [pool.address for pool in environment.deployment.pools],
        known,
        read_block(rpc),
        environment.deployment.chain_id,
    )


def balances(environment: DevEnvironment, holder: str) -> dict[str, int]:
    contracts = [contract_at(environment.chain.rpc, "IERC20Metadata", t.address) for t in environment.deployment.tokens]
    found = {c.address: c.call("balanceOf", holder) for c in contracts}
    return found | {environment.vault: vault(environment).call("balanceOf", holder)}


def allowances(environment: DevEnvironment, holder: str, spender: str) -> list[int]:
    return [
        contract_at(environment.chain.rpc, "IERC20Metadata", t).call("allowance", holder, spender)
        for t in (*(t.address for t in environment.deployment.tokens), environment.vault)
    ]


def moved(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {key: after[key] - before[key] for key in before}


def snapshot_of(environment: DevEnvironment) -> VaultSnapshot:
    rpc = environment.chain.rpc
    return read_vaults(rpc, environment.system.lens, [environment.vault], read_block(rpc))[0]


def nonce(environment: DevEnvironment, wallet: Wallet) -> int:
    return int(environment.chain.rpc.call("eth_getTransactionCount", wallet.address, "pending"), 16)


# In kind: refusals


def test_deposit_of_nothing_is_refused_before_anything_is_sent(environment: DevEnvironment, depositor: Wallet) -> None:
    before = nonce(environment, depositor)
    for act in (
        lambda: deposit_in_kind(depositor, environment.vault, 0),
        lambda: withdraw_in_kind(depositor, environment.vault, 0),
        lambda: deposit_token(depositor, environment.system, environment.vault, ETH, 0, (), SLIPPAGE_BPS),
        lambda: withdraw_token(depositor, environment.system, environment.vault, ETH, 0, (), SLIPPAGE_BPS),
        lambda: claim(depositor, environment.vault, token(environment, "USDC"), amount_raw=0),
    ):
        with pytest.raises(NothingRequested):
            act()
    assert nonce(environment, depositor) == before


def test_claim_that_is_nobodys_or_not_ones_own_is_refused_before_anything_is_sent(
    environment: DevEnvironment, depositor: Wallet
) -> None:
    before = nonce(environment, depositor)
    owner, usdc = environment.wallet(Actor.OWNER).address, token(environment, "USDC")
    with pytest.raises(NothingToClaim, match="has no claim on USDC"):
        claim(depositor, environment.vault, usdc)
    with pytest.raises(NotTheClaimant, match="can only have it paid to"):
        claim(depositor, environment.vault, usdc, holder=owner, receiver=depositor.address)
    assert nonce(environment, depositor) == before


def test_deposit_in_kind_without_enough_of_one_token_says_how_much_is_missing(
    environment: DevEnvironment, depositor: Wallet
) -> None:
    held = vault(environment).call("held")
    before = balances(environment, depositor.address), nonce(environment, depositor)
    with pytest.raises(BalanceTooLow, match=r"holds 500 WETH and needs [\d.]+: ") as caught:
        deposit_in_kind(depositor, environment.vault, 10**7 * E18)
    requested = vault(environment).call("previewMintInKind", 10**7 * E18)
    assert (caught.value.needed_raw, caught.value.balance_raw) == (requested[0], 500 * E18)
    assert held == vault(environment).call("held")
    assert before == (balances(environment, depositor.address), nonce(environment, depositor))


def test_deposit_into_what_is_no_vault_is_refused(environment: DevEnvironment, depositor: Wallet) -> None:
    with pytest.raises(ContractMissing, match="BasketVault"):
        deposit_in_kind(depositor, Actor.KEEPER.address, E18)


def test_deposit_refused_by_a_token_takes_allowances_back(environment: DevEnvironment, depositor: Wallet) -> None:
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", token(environment, "USDC"))
    environment.chain.transact(usdc, "blacklist", depositor.address)
    before = balances(environment, depositor.address)

    with pytest.raises(ContractReverted):
        deposit_in_kind(depositor, environment.vault, 100 * E18)

    assert balances(environment, depositor.address) == before
    assert allowances(environment, depositor.address, environment.vault) == [0, 0, 0, 0]


# In kind: success


def test_deposit_in_kind_mints_for_exactly_what_it_tells(environment: DevEnvironment, depositor: Wallet) -> None:
    before = balances(environment, depositor.address)
    done = deposit_in_kind(depositor, environment.vault, 1_000 * E18)

    change = moved(before, balances(environment, depositor.address))
    tokens = [asset[0] for asset in vault(environment).call("assets")]
    assert done.shares == change.pop(environment.vault) == 1_000 * E18
    assert change == {t: -amount for t, amount in zip(tokens, done.amounts, strict=True)}
    assert done.gas_used > 100_000


def test_withdraw_in_kind_pays_out_what_it_tells(environment: DevEnvironment, depositor: Wallet) -> None:
    deposit_in_kind(depositor, environment.vault, 1_000 * E18)
    before = balances(environment, depositor.address)
    done = withdraw_in_kind(depositor, environment.vault, 400 * E18)

    change = moved(before, balances(environment, depositor.address))
    tokens = [asset[0] for asset in vault(environment).call("assets")]
    assert change.pop(environment.vault) == -400 * E18
    assert change == dict(zip(tokens, done.amounts, strict=True))
    assert done.claims == {}


def test_withdraw_of_more_shares_than_there_are_is_refused(environment: DevEnvironment, depositor: Wallet) -> None:
    deposit_in_kind(depositor, environment.vault, E18)
    before = nonce(environment, depositor)
    with pytest.raises(BalanceTooLow, match="holds 1 DEMO and needs 2"):
        withdraw_in_kind(depositor, environment.vault, 2 * E18)
    assert nonce(environment, depositor) == before


def test_withdraw_of_a_token_that_cannot_be_sent_leaves_a_claim_to_collect(
    environment: DevEnvironment, depositor: Wallet
) -> None:
    deposit_in_kind(depositor, environment.vault, 1_000 * E18)
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", token(environment, "USDC"))
    environment.chain.transact(usdc, "blacklist", depositor.address)
    done = withdraw_in_kind(depositor, environment.vault, 1_000 * E18)
    assert done.claims == {usdc.address: done.amounts[2]}
    with pytest.raises(ContractReverted, match="ClaimFailed"):
        claim(depositor, environment.vault, usdc.address)

    environment.chain.transact(usdc, "unBlacklist", depositor.address)
    before = balances(environment, depositor.address)
    collected = claim(depositor, environment.vault, usdc.address)

    assert collected.amount_raw == done.amounts[2]
    assert moved(before, balances(environment, depositor.address))[usdc.address] == done.amounts[2]


# One token: refusals


def test_deposit_of_a_token_one_does_not_have_is_refused(environment: DevEnvironment, depositor: Wallet) -> None:
    before = nonce(environment, depositor)
    usdc = token(environment, "USDC")
    with pytest.raises(BalanceTooLow, match="send it 1 more"):
        deposit_token(
            depositor,
            environment.system,
            environment.vault,
            usdc,
            1_000_001 * USD,
            pools(environment),
            SLIPPAGE_BPS,
        )
    with pytest.raises(InsufficientEther):
        deposit_token(
            depositor,
            environment.system,
            environment.vault,
            ETH,
            10**24,
            pools(environment),
            SLIPPAGE_BPS,
        )
    assert nonce(environment, depositor) == before
    assert allowances(environment, depositor.address, environment.system.zap) == [0, 0, 0, 0]


def test_deposit_without_pools_or_of_dust_is_refused(environment: DevEnvironment, depositor: Wallet) -> None:
    before = nonce(environment, depositor)
    usdc = token(environment, "USDC")
    with pytest.raises(NoRoute):
        deposit_token(depositor, environment.system, environment.vault, usdc, USD, (), SLIPPAGE_BPS)
    with pytest.raises(DepositTooSmall):
        deposit_token(
            depositor,
            environment.system,
            environment.vault,
            usdc,
            100,
            pools(environment),
            SLIPPAGE_BPS,
        )
    assert nonce(environment, depositor) == before


def test_deposit_that_prices_have_run_away_from_is_refused(environment: DevEnvironment, depositor: Wallet) -> None:
    seen = pools(environment)
    prices_e8 = {"ETH/USD": 2_300_00000000, "BTC/USD": 34_000_00000000}
    environment.market.step(prices_e8, environment.chain.now() + 60)
    before = balances(environment, depositor.address)

    usdc = token(environment, "USDC")
    with pytest.raises(ContractReverted, match="CostsMore"):
        deposit_token(depositor, environment.system, environment.vault, usdc, 10_000 * USD, seen, SLIPPAGE_BPS)

    assert balances(environment, depositor.address) == before
    assert allowances(environment, depositor.address, environment.system.zap) == [0, 0, 0, 0]


# One token: success


@pytest.mark.parametrize("symbol", ["USDC", "WBTC", "WETH", "ETH"])
def test_deposit_of_one_token_mints_what_was_promised_to_the_unit(
    free: DevEnvironment, depositor: Wallet, symbol: str
) -> None:
    paid = ETH if symbol == "ETH" else token(free, symbol)
    amount_raw = raw_for_usd(free.market, "WETH" if symbol == "ETH" else symbol, 250_000)
    before = balances(free, depositor.address)
    done = deposit_token(depositor, free.system, free.vault, paid, amount_raw, pools(free), SLIPPAGE_BPS)

    change = moved(before, balances(free, depositor.address))
    assert done.shares == done.expected_shares == change.pop(free.vault)
    given = {} if paid == ETH else {paid: -amount_raw}
    for address, delta in change.items():
        assert delta == given.get(address, 0) + done.returned.get(address, 0)
    # The pools' fees, and what swapping four fifths of it moves them, come to about 0.25 %; 0.4 % is held back.
    assert 247_900 * E18 < done.shares < 249_500 * E18
    assert sum(balances(free, free.system.zap).values()) == 0
    assert sum(balances(free, free.system.executor).values()) == 0


def test_deposit_of_one_token_leaves_nothing_but_what_was_held_back(free: DevEnvironment, depositor: Wallet) -> None:
    done = deposit_token(
        depositor,
        free.system,
        free.vault,
        token(free, "USDC"),
        250_000 * USD,
        pools(free),
        SLIPPAGE_BPS,
    )
    assert done.returned.keys() == {token(free, "USDC")}
    # Half a per cent of the four fifths that are swapped.
    assert 995 * USD < done.returned[token(free, "USDC")] < 1_000 * USD


def test_deposit_after_prices_moved_a_little_mints_the_same_for_more(free: DevEnvironment, depositor: Wallet) -> None:
    seen, usdc = pools(free), token(free, "USDC")
    books = VaultLedger(
        tuple(asset[0] for asset in vault(free).call("assets")),
        tuple(vault(free).call("held")),
        vault(free).call("totalSupply"),
    )
    planned = plan_zap_in(books, seen, usdc, 250_000 * USD, SLIPPAGE_BPS)
    prices_e8 = {"ETH/USD": 2_004_00000000, "BTC/USD": 30_060_00000000}  # a fifth of a per cent up
    free.market.step(prices_e8, free.chain.now() + 60)
    done = deposit_token(depositor, free.system, free.vault, usdc, 250_000 * USD, seen, SLIPPAGE_BPS)

    assert done.shares == planned.shares
    assert 0 < done.returned[usdc] < planned.left_raw[2]


def test_deposit_while_a_fee_accrues_mints_what_the_supply_of_its_block_makes_of_it(
    environment: DevEnvironment, depositor: Wallet
) -> None:
    seen = pools(environment)
    held = tuple(vault(environment).call("held"))
    tokens = tuple(asset[0] for asset in vault(environment).call("assets"))
    environment.chain.mine(at=environment.chain.now() + 86_400)
    done = deposit_token(
        depositor,
        environment.system,
        environment.vault,
        token(environment, "USDC"),
        10**10,
        seen,
        SLIPPAGE_BPS,
    )

    supply = vault(environment).call("totalSupply", block=done.block_number)
    promised = plan_zap_in(
        VaultLedger(tokens, held, supply - done.shares),
        seen,
        token(environment, "USDC"),
        10**10,
        SLIPPAGE_BPS,
    )
    assert done.shares >= done.expected_shares
    assert abs(done.shares - promised.shares) * 10**9 < done.shares


def test_deposit_is_worth_more_than_any_fixed_division(free: DevEnvironment, depositor: Wallet) -> None:
    """No neighbour of the division that was found mints more."""
    books = VaultLedger(
        tuple(asset[0] for asset in vault(free).call("assets")),
        tuple(vault(free).call("held")),
        vault(free).call("totalSupply"),
    )
    usdc = token(free, "USDC")
    found = plan_zap_in(books, pools(free), usdc, 250_000 * USD)
    weth_leg, wbtc_leg = sorted(found.swaps, key=lambda swap: swap.token_out == token(free, "WBTC"))

    def shares(weth_in: int, wbtc_in: int) -> int:
        amounts = (
            weth_leg.pool.quote_in(usdc, weth_leg.token_out, weth_in),
            wbtc_leg.pool.quote_in(usdc, wbtc_leg.token_out, wbtc_in),
            250_000 * USD - weth_in - wbtc_in,
        )
        return books.most_shares(amounts)

    x, y = weth_leg.amount_in_raw, wbtc_leg.amount_in_raw
    most = found.shares + 10**12  # what a raw unit of USDC buys
    assert found.shares <= shares(x, y) <= most
    for step in (USD, 100 * USD, 10_000 * USD):
        for dx in (-step, 0, step):
            for dy in (-step, 0, step):
                assert shares(x + dx, y + dy) <= most


@pytest.mark.parametrize("symbol", ["USDC", "WBTC", "ETH"])
def test_withdraw_to_one_token_pays_what_was_promised_to_the_unit(
    free: DevEnvironment, depositor: Wallet, symbol: str
) -> None:
    deposit_in_kind(depositor, free.vault, 100_000 * E18)
    wanted = ETH if symbol == "ETH" else token(free, symbol)
    before = balances(free, depositor.address)
    ether = free.chain.balance_wei(depositor.address)
    done = withdraw_token(depositor, free.system, free.vault, wanted, 60_000 * E18, pools(free), SLIPPAGE_BPS)

    change = moved(before, balances(free, depositor.address))
    assert done.amount_raw == done.expected_raw
    assert change.pop(free.vault) == -60_000 * E18
    if wanted == ETH:
        earned = free.chain.balance_wei(depositor.address) - ether
        assert 0 <= done.amount_raw - earned < 10**16  # gas, of two transactions
    else:
        assert change.pop(wanted) == done.amount_raw
    assert change == {address: done.returned.get(address, 0) for address in change}
    assert allowances(free, depositor.address, free.system.zap) == [0, 0, 0, 0]


def test_deposit_of_one_token_leaves_the_fee_on_entry_in_the_vault(free: DevEnvironment, depositor: Wallet) -> None:
    """A hundredth and a half more of everything than its part: about 1.5 % fewer shares."""
    terms = (0, 0, 150, 0), Actor.FEE_RECIPIENT.address
    free.wallet(Actor.OWNER).transact(vault(free), "setFees", *terms)
    usdc = token(free, "USDC")
    held, supply = vault(free).call("held"), vault(free).call("totalSupply")

    done = deposit_token(depositor, free.system, free.vault, usdc, 100_000 * USD, pools(free), SLIPPAGE_BPS)

    assert done.shares == done.expected_shares
    assert 97_500 * E18 < done.shares < 98_523 * E18
    assert list(done.amounts) == [-(-raw * done.shares * (BPS + 150) // (supply * BPS)) for raw in held]


def test_withdraw_to_one_token_leaves_the_fee_on_exit_in_the_vault(free: DevEnvironment, depositor: Wallet) -> None:
    deposit_in_kind(depositor, free.vault, 100_000 * E18)
    terms = (0, 0, 0, 150), Actor.FEE_RECIPIENT.address
    free.wallet(Actor.OWNER).transact(vault(free), "setFees", *terms)
    usdc, shares = token(free, "USDC"), 60_000 * E18
    held = vault(free).call("held")
    supply = vault(free).call("totalSupply")

    done = withdraw_token(depositor, free.system, free.vault, usdc, shares, pools(free), SLIPPAGE_BPS)

    assert done.amount_raw == done.expected_raw
    assert 58_500 * USD < done.amount_raw < 59_100 * USD
    part = [raw * shares * (BPS - 150) // (supply * BPS) for raw in held]
    assert list(vault(free).call("held")) == [raw - gone for raw, gone in zip(held, part, strict=True)]


def test_in_kind_pays_the_fees_on_entry_and_exit(free: DevEnvironment, depositor: Wallet) -> None:
    terms = (0, 0, 100, 200), Actor.FEE_RECIPIENT.address
    free.wallet(Actor.OWNER).transact(vault(free), "setFees", *terms)
    supply = vault(free).call("totalSupply")
    before = vault(free).call("held")

    paid = deposit_in_kind(depositor, free.vault, supply)
    got = withdraw_in_kind(depositor, free.vault, supply)

    # All there is once more and a hundredth on top; then half of that and of what was, less two hundredths.
    assert list(paid.amounts) == [-(-raw * 101 // 100) for raw in before]
    assert list(got.amounts) == [(raw + more) * 98 // 200 for raw, more in zip(before, paid.amounts, strict=True)]


def test_withdraw_to_one_token_while_a_fee_accrues_goes_through(environment: DevEnvironment, depositor: Wallet) -> None:
    deposit_in_kind(depositor, environment.vault, 100_000 * E18)
    environment.chain.mine(at=environment.chain.now() + 600)
    usdc = token(environment, "USDC")
    done = withdraw_token(
        depositor,
        environment.system,
        environment.vault,
        usdc,
        100_000 * E18,
        pools(environment),
        SLIPPAGE_BPS,
    )
    assert done.expected_raw <= done.amount_raw < done.expected_raw * 1_000_001 // 1_000_000
    assert done.returned == {}


def test_round_trip_through_the_zap_never_pays(free: DevEnvironment, depositor: Wallet) -> None:
    usdc = token(free, "USDC")
    before = balances(free, depositor.address)
    done = deposit_token(depositor, free.system, free.vault, usdc, 250_000 * USD, pools(free), SLIPPAGE_BPS)
    withdraw_token(depositor, free.system, free.vault, usdc, done.shares, pools(free), SLIPPAGE_BPS)

    change = moved(before, balances(free, depositor.address))
    assert change[free.vault] == 0
    assert -2_000 * USD < change[usdc] < 0


# Targets


def test_targets_that_contradict_themselves_are_refused_before_anything_is_sent(
    environment: DevEnvironment,
) -> None:
    curator = environment.wallet(Actor.CURATOR)
    before = nonce(environment, curator)
    half = E18 // 2
    with pytest.raises(TargetsDoNotSumToOne, match=r"50\.5 %, which is 49\.5 % below") as caught:
        set_targets(curator, environment.vault, [half, E18 // 200, 0])
    assert caught.value.sum_e18 == half + E18 // 200
    with pytest.raises(AssetCountOutOfRange, match="There are 2 targets: give 3"):
        set_targets(curator, environment.vault, [half, half])
    assert nonce(environment, curator) == before


def test_targets_by_somebody_without_the_role_are_refused(environment: DevEnvironment) -> None:
    stranger = environment.wallet(Actor.DEPOSITOR)
    before = nonce(environment, stranger)
    with pytest.raises(NotPermitted, match="setTargets"):
        set_targets(stranger, environment.vault, [E18 // 2, E18 // 2, 0])
    assert nonce(environment, stranger) == before


def test_targets_by_a_curator_who_need_not_wait_are_in_force(environment: DevEnvironment) -> None:
    targets = [E18 // 2, E18 // 4, E18 // 4]
    done = set_targets(environment.wallet(Actor.CURATOR), environment.vault, targets)
    assert done.in_force
    assert [a[1] for a in vault(environment).call("assets")] == targets


def test_targets_that_glide_start_from_where_they_are(environment: DevEnvironment) -> None:
    before = [a[1] for a in vault(environment).call("assets")]
    targets = [E18 // 2, E18 // 4, E18 // 4]
    done = set_targets(environment.wallet(Actor.CURATOR), environment.vault, targets, glide_seconds=1_000)
    assets = vault(environment).call("assets")
    basket = snapshot_of(environment).basket
    assert done.in_force
    assert [(a[6], a[1]) for a in assets] == list(zip(before, targets, strict=True))
    assert basket.glide_end - basket.glide_start == 1_000


def test_bands_that_contradict_themselves_are_refused_before_anything_is_sent(
    environment: DevEnvironment,
) -> None:
    curator = environment.wallet(Actor.CURATOR)
    before = nonce(environment, curator)
    good = (100, 0, 0)
    with pytest.raises(BandOutOfRange, match="from 3 to 5000"):
        set_bands(curator, environment.vault, [(0, 0, 0), good, good])
    with pytest.raises(AssetCountOutOfRange, match="There are 2 bands: give 3"):
        set_bands(curator, environment.vault, [good, good])
    with pytest.raises(NotPermitted, match="setBands"):
        set_bands(environment.wallet(Actor.DEPOSITOR), environment.vault, [good] * 3)
    assert nonce(environment, curator) == before


def test_bands_by_a_curator_who_need_not_wait_are_in_force(environment: DevEnvironment) -> None:
    bands = [(200, 1_000, 10**15), (300, 0, 0), (400, 5_000, 10**6)]
    done = set_bands(environment.wallet(Actor.CURATOR), environment.vault, bands)
    assets = vault(environment).call("assets")
    assert done.in_force
    assert [(a[2], a[4], a[5]) for a in assets] == bands
    # A tenth of the target where that is narrower than two hundredths of the basket.
    assert snapshot_of(environment).basket.bands_e18[0] == min(2 * E18 // 100, assets[0][1] // 10)


def test_targets_by_a_curator_who_must_wait_are_scheduled_then_finished_by_the_same_call(
    environment: DevEnvironment,
) -> None:
    delay_seconds = 86_400
    owner, curator = environment.wallet(Actor.OWNER), environment.wallet(Actor.CURATOR)
    members = {Role.CURATOR: [curator.address]}
    grant_roles(owner, environment.system.authority, members, delay_seconds)
    targets = [E18 // 2, E18 // 4, E18 // 4]
    before = vault(environment).call("assets")

    scheduled = set_targets(curator, environment.vault, targets)
    again = set_targets(curator, environment.vault, targets)
    assert not scheduled.in_force
    assert scheduled.executable_at is not None
    assert scheduled.executable_at >= environment.chain.now() + delay_seconds - 2
    assert (again.executable_at, again.transaction_hash) == (scheduled.executable_at, None)
    assert vault(environment).call("assets") == before

    environment.market.step(environment.market.prices_e8, scheduled.executable_at)
    done = set_targets(curator, environment.vault, targets)
    assert done.in_force
    assert [a[1] for a in vault(environment).call("assets")] == targets


# New vaults


@pytest.fixture
def spec(environment: DevEnvironment) -> VaultSpec:
    """A second vault, which its maker can pay for."""
    owner = environment.wallet(Actor.OWNER)
    assets, seeds = [], []
    for symbol, target_e18 in (("WETH", 6 * E18 // 10), ("USDC", 4 * E18 // 10)):
        known = environment.deployment.listed(symbol)
        assets.append(Asset(known.address, target_e18, 200, known.decimals))
        seeds.append(raw_for_usd(environment.market, symbol, 1_000))
        environment.market.deal(symbol, owner.address, seeds[-1])
    return VaultSpec(
        "Second",
        "TWO",
        tuple(assets),
        DEMO_POLICY,
        tuple(seeds),
        1_000 * E18,
        VaultFees(),
        owner.address,
        1,
    )


def test_new_vault_is_seeded_and_belongs_to_its_roles(environment: DevEnvironment, spec: VaultSpec) -> None:
    owner = environment.wallet(Actor.OWNER)
    made = new_vault(owner, environment.system, spec)

    contract = contract_at(environment.chain.rpc, "BasketVault", made.vault)
    # A thousand units of USDC are the largest part of the seed that has to be locked.
    assert made.shares == 1_000 * E18 - 1_000 * E18 * 1_000 // spec.seed_amounts[1]
    assert tuple(contract.call("held")) == spec.seed_amounts
    half = E18 // 2
    assert set_targets(environment.wallet(Actor.CURATOR), made.vault, [half, half]).in_force
    assert allowances(environment, owner.address, environment.system.factory) == [0, 0, 0, 0]


BAD_SPECS: dict[str, tuple[Callable[[VaultSpec], VaultSpec], type[Exception]]] = {
    "seventeen assets": (
        lambda s: replace(s, assets=s.assets[:1] * 17, seed_amounts=(1,) * 17),
        AssetCountOutOfRange,
    ),
    "one asset": (
        lambda s: replace(s, assets=s.assets[:1], seed_amounts=(1,)),
        AssetCountOutOfRange,
    ),
    "targets above one": (
        lambda s: replace(s, assets=(s.assets[0], replace(s.assets[1], target_e18=E18))),
        TargetsDoNotSumToOne,
    ),
    "a band of 0": (
        lambda s: replace(s, assets=(s.assets[0], replace(s.assets[1], band_bps=0))),
        BandOutOfRange,
    ),
    "too few shares": (lambda s: replace(s, initial_shares=10**8 - 1), SeedTooSmall),
    "too little of an asset": (
        lambda s: replace(s, seed_amounts=(s.seed_amounts[0], 99_999)),
        SeedTooSmall,
    ),
    "nothing as a seed": (lambda s: replace(s, seed_amounts=(0, 0)), SeedTooSmall),
    "more seed than there is": (
        lambda s: replace(s, seed_amounts=(s.seed_amounts[0], 10**18)),
        BalanceTooLow,
    ),
    "a token twice": (
        lambda s: replace(s, assets=(s.assets[0], replace(s.assets[0], target_e18=4 * E18 // 10))),
        ContractReverted,
    ),
    "wrong decimals": (
        lambda s: replace(s, assets=(s.assets[0], replace(s.assets[1], decimals=18))),
        ContractReverted,
    ),
    "too high a fee": (lambda s: replace(s, fees=VaultFees(501)), FeeOutOfRange),
    "a name too long": (lambda s: replace(s, name="x" * 32), ContractReverted),
    "slippage above 3 %": (
        lambda s: replace(s, policy=replace(s.policy, max_slippage_bps=301)),
        ContractReverted,
    ),
    "no token at all": (
        lambda s: replace(s, assets=(s.assets[0], replace(s.assets[1], token=Actor.KEEPER.address))),
        ContractReverted,
    ),
}


@pytest.mark.parametrize("what", BAD_SPECS)
def test_new_vault_from_a_bad_specification_is_refused_before_anything_is_sent(
    environment: DevEnvironment, spec: VaultSpec, what: str
) -> None:
    spoil, error = BAD_SPECS[what]
    owner = environment.wallet(Actor.OWNER)
    before = nonce(environment, owner), environment.chain.block()["number"]
    with pytest.raises(error):
        new_vault(owner, environment.system, spoil(spec))
    assert (nonce(environment, owner), environment.chain.block()["number"]) == before


def test_new_vault_by_anybody_belongs_to_the_same_roles(
    environment: DevEnvironment, spec: VaultSpec, depositor: Wallet
) -> None:
    for asset, seed in zip(spec.assets, spec.seed_amounts, strict=True):
        environment.market.deal(asset.token, depositor.address, seed)

    made = new_vault(depositor, environment.system, spec)

    authority = contract_at(environment.chain.rpc, "AccessManager", environment.system.authority)
    functions = interface("BasketVault").functions
    for name, role in (("pauseRebalance", Role.GUARDIAN), ("setOracle", Role.OWNER)):
        selector = functions[name].selector
        held = authority.call("getTargetFunctionRole", made.vault, selector)
        assert held == role.value


def test_new_vault_that_could_not_be_handed_over_is_refused(environment: DevEnvironment, spec: VaultSpec) -> None:
    owner = environment.wallet(Actor.OWNER)
    authority = contract_at(environment.chain.rpc, "AccessManager", environment.system.authority)
    owner.transact(authority, "revokeRole", Role.ADMIN.value, environment.system.vault_roles)
    before = nonce(environment, owner)
    with pytest.raises(NotPermitted, match=f"{environment.system.vault_roles} may not call"):
        new_vault(owner, environment.system, spec)
    assert nonce(environment, owner) == before


def test_new_vault_whose_token_is_stuck_takes_allowances_back(environment: DevEnvironment, spec: VaultSpec) -> None:
    owner = environment.wallet(Actor.OWNER)
    usdc = contract_at(environment.chain.rpc, "BlocklistToken", token(environment, "USDC"))
    environment.chain.transact(usdc, "blacklist", owner.address)
    with pytest.raises(ContractReverted):
        new_vault(owner, environment.system, spec)
    assert allowances(environment, owner.address, environment.system.factory) == [0, 0, 0, 0]
