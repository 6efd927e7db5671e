"""Tokens that lose balance: who bears it, what is refused until it is written down, and what must be allowed again after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.units import E18, div_up
from tests.contract.world import SEEDS, World, basket_spec, refused

WETH, WBTC, USDC = range(3)
SHARES = 1_000 * E18
NOTHING = [0, 0, 0]
UNLIMITED = (1 << 256) - 1
DUST_BPS = 20
"""Of the suite's own policy."""


def lose(world: World, vault: BoundContract, parts: int, of: int = 10_000) -> tuple[int, int]:
    """The vault has `parts` of `of` less USDC than before; its balance before and after."""
    before = world.balance(world.usdc, vault)
    after = before - before * parts // of
    world.chain.set_token_balance(world.usdc.address, vault.address, after)
    return before, after


@pytest.fixture
def claiming(world: World, vault: BoundContract) -> BoundContract:
    """The vault, with a claim of alice on a tenth of its USDC."""
    shares = world.read(vault, "totalSupply") // 10
    world.admin.transact(vault, "transfer", world.alice.address, shares)
    leave = (shares, world.alice.address, world.alice.address, NOTHING, 1 << USDC)
    world.alice.transact(vault, "redeemInKindExcept", *leave)
    return vault


def test_loss_falls_on_holders_and_claims_alike(world: World, claiming: BoundContract) -> None:
    usdc, alice = world.usdc.address, world.alice.address
    held, owed = world.read(claiming, "held")[USDC], world.read(claiming, "claimable", alice, usdc)
    balance, left = lose(world, claiming, 2_500)
    assert balance == held + owed

    receipt = world.stranger.transact(claiming, "sync", USDC)

    after = (held * left // balance, owed * left // balance)
    assert (
        world.read(claiming, "held")[USDC],
        world.read(claiming, "totalClaimable", usdc),
    ) == after
    assert world.read(claiming, "claimable", alice, usdc) == after[1]
    lost_e18 = div_up((balance - left) * E18, balance)
    assert world.read(claiming, "lossE18", usdc) == lost_e18
    events = [(event.name, event.values) for event in world.events(receipt, claiming)]
    reported = {"token": usdc, "heldBefore": held, "heldAfter": after[0]}
    assert events == [
        ("Synced", reported | {"claimsBefore": owed, "claimsAfter": after[1]}),
        ("PurchasesBarred", {"token": usdc, "lossE18": lost_e18}),
        ("RebalancePaused", {"caller": claiming.address}),
    ]
    assert world.read(claiming, "isBarred", USDC) is True
    assert world.read(claiming, "state")[5] is True
    with refused("NothingLost", asset=USDC, balanceRaw=left, owedRaw=sum(after)):
        world.stranger.transact(claiming, "sync", USDC)


def test_redemption_writes_a_loss_down_before_it_pays(world: World, claiming: BoundContract) -> None:
    held = world.read(claiming, "held")[USDC]
    balance, left = lose(world, claiming, 5_000)
    admin, supply = world.admin.address, world.read(claiming, "totalSupply")

    receipt = world.admin.transact(claiming, "redeemInKind", SHARES, admin, admin, NOTHING)

    assert "Synced" in [event.name for event in world.events(receipt, claiming)]
    redeemed = world.events(receipt, claiming)[-1].values["amounts"]
    assert redeemed[USDC] == held * left // balance * SHARES // supply


def test_claim_is_paid_its_part_of_what_is_left(world: World, claiming: BoundContract) -> None:
    usdc, alice = world.usdc.address, world.alice.address
    owed = world.read(claiming, "claimable", alice, usdc)
    balance, left = lose(world, claiming, 9_000)
    before = world.balance(world.usdc, world.alice)

    world.alice.transact(claiming, "claim", alice, usdc, alice, UNLIMITED)

    assert world.balance(world.usdc, world.alice) - before == owed * left // balance


def test_nothing_is_paid_into_a_hole(world: World, vault: BoundContract) -> None:
    """Neither by who mints nor by what a rebalance buys."""
    world.give(world.alice, SEEDS)
    world.approve(world.alice, vault, SEEDS)
    world.move_market({"ETH": 2_400})
    balance, left = lose(world, vault, 1)

    hole = {"asset": USDC, "balanceRaw": left, "owedRaw": balance}
    with refused("LossNotWrittenDown", **hole):
        world.alice.transact(vault, "mintInKind", SHARES, world.alice.address, [UNLIMITED] * 3)
    trade = (0, [E18, 0, 0], [0, 0, 1], world.executor.address, b"")
    with refused("LossNotWrittenDown", **hole):
        world.keeper.transact(vault, "rebalance", *trade)

    world.stranger.transact(vault, "sync", USDC)
    world.alice.transact(vault, "mintInKind", SHARES, world.alice.address, [UNLIMITED] * 3)


def test_loss_within_dust_bars_nothing_until_it_adds_up(world: World, vault: BoundContract) -> None:
    lose(world, vault, DUST_BPS // 2)
    world.stranger.transact(vault, "sync", USDC)
    assert world.read(vault, "isBarred", USDC) is False
    assert world.read(vault, "state")[5] is False

    lose(world, vault, DUST_BPS)
    world.stranger.transact(vault, "sync", USDC)
    assert world.read(vault, "isBarred", USDC) is True


def test_barred_asset_is_not_bought_until_the_owner_allows_it(world: World, vault: BoundContract) -> None:
    with refused("PurchaseNotBarred", asset=USDC):
        world.owner.transact(vault, "allowPurchases", USDC)
    lose(world, vault, 2_500)
    world.stranger.transact(vault, "sync", USDC)
    trade = ([E18, 0, 0], [0, 0, 1], world.executor.address, b"")
    world.move_market({"ETH": 2_400})
    with refused("RebalanceIsPaused"):
        world.keeper.transact(vault, "rebalance", 0, *trade)
    world.owner.transact(vault, "resumeRebalance")
    with refused("PurchaseBarred", asset=USDC):
        world.keeper.transact(vault, "rebalance", 0, *trade)

    receipt = world.owner.transact(vault, "allowPurchases", USDC)

    names = [event.name for event in world.events(receipt, vault)]
    assert names == ["PurchasesAllowed", "Poked"]
    assert world.read(vault, "lossE18", world.usdc.address) == 0
    with refused("BoughtTooLittle", asset=USDC, boughtRaw=0, minimumRaw=1):
        world.keeper.transact(vault, "rebalance", 0, *trade)


def test_one_token_under_two_addresses_is_refused(world: World) -> None:
    """To the vault both show the sum of what it was sent under either."""
    spec = basket_spec(world)
    one, other = world.new_token(18), world.new_token(18)
    seed = 10 * E18
    assets = (
        replace(spec.assets[0], token=one.address, decimals=18),
        replace(spec.assets[1], token=other.address, decimals=18),
        spec.assets[2],
    )
    double = replace(spec, assets=assets, seed_amounts=(seed, seed, SEEDS[2]))
    coming = world.read(world.factory, "vaultAddress", world.admin.address, bytes(32))
    # As if each were the other: what is sent of one shows at both.
    for token in (one, other):
        world.admin.transact(token, "mint", coming, seed)

    with refused("SameToken", token=other.address, other=one.address):
        world.open_vault(double)
