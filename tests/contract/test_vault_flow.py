"""A holder's way in and out of a vault, whatever a token or a stranger does."""

from __future__ import annotations

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.devnet.local import LocalAccount
from rebalancer.errors import ContractReverted
from rebalancer.route import encode
from rebalancer.units import E18, mul_div_down, mul_div_up
from rebalancer.venues.uniswap_v3 import v3_hop
from tests.contract.world import INITIAL_SHARES, SEEDS, World, refused

SHARES = 12_345_678_901_234_567_890_123
NO_LIMITS = [(1 << 256) - 1] * 3
UNLIMITED = (1 << 256) - 1
NO_MINIMUM = [0] * 3
ZERO_ADDRESS = "0x" + "0" * 40


def needed(shares: int) -> list[int]:
    """What a deposit costs while the vault is as it was seeded: the same part of everything, rounded up."""
    return [mul_div_up(seed, shares, INITIAL_SHARES) for seed in SEEDS]


def deposit(world: World, vault: BoundContract, holder: LocalAccount, shares: int) -> list[int]:
    """Gives a holder exactly what a deposit costs, and deposits it."""
    amounts = list(world.read(vault, "previewMintInKind", shares))
    world.give(holder, amounts)
    world.approve(holder, vault, amounts)
    holder.transact(vault, "mintInKind", shares, holder.address, amounts)
    return amounts


# Mint


def test_mint_of_nothing_is_refused(world: World, vault: BoundContract) -> None:
    with refused("ZeroShares"):
        world.alice.transact(vault, "mintInKind", 0, world.alice.address, NO_LIMITS)


def test_mint_to_nobody_or_to_the_vault_is_refused(world: World, vault: BoundContract) -> None:
    for receiver in (ZERO_ADDRESS, vault.address):
        with refused("BadReceiver", receiver=receiver):
            world.alice.transact(vault, "mintInKind", SHARES, receiver, NO_LIMITS)


def test_mint_with_another_number_of_limits_is_refused(world: World, vault: BoundContract) -> None:
    with refused("LengthMismatch", length=2, expected=3):
        world.alice.transact(vault, "mintInKind", SHARES, world.alice.address, NO_LIMITS[:2])


def test_mint_above_what_the_caller_gives_is_refused(world: World, vault: BoundContract) -> None:
    amounts = needed(SHARES)
    world.give(world.alice, amounts)
    world.approve(world.alice, vault, amounts)
    limits = [amounts[0], amounts[1] - 1, amounts[2]]

    with refused("AmountAboveMaximum", asset=1, amountRaw=amounts[1], maximumRaw=limits[1]):
        world.alice.transact(vault, "mintInKind", SHARES, world.alice.address, limits)


def test_mint_without_allowance_is_refused_by_the_token(world: World, vault: BoundContract) -> None:
    amounts = needed(SHARES)
    world.give(world.alice, amounts)
    world.approve(world.alice, vault, [amounts[0], amounts[1], amounts[2] - 1])

    with refused(
        "ERC20InsufficientAllowance",
        spender=vault.address,
        allowance=amounts[2] - 1,
        needed=amounts[2],
    ):
        world.alice.transact(vault, "mintInKind", SHARES, world.alice.address, amounts)


def test_mint_takes_the_same_part_of_everything_rounded_up(world: World, vault: BoundContract) -> None:
    amounts = needed(SHARES)
    assert world.read(vault, "previewMintInKind", SHARES) == tuple(amounts)
    world.give(world.alice, amounts)
    world.approve(world.alice, vault, amounts)

    receipt = world.alice.transact(vault, "mintInKind", SHARES, world.bob.address, amounts)

    assert world.balances(world.alice) == [0, 0, 0]
    assert world.balances(vault) == [s + a for s, a in zip(SEEDS, amounts, strict=True)]
    assert list(world.read(vault, "held")) == world.balances(vault)
    assert world.balance(vault, world.bob) == SHARES
    assert world.read(vault, "totalSupply") == INITIAL_SHARES + SHARES
    transfer, minted = world.events(receipt, vault)
    assert transfer.values == {"from": ZERO_ADDRESS, "to": world.bob.address, "value": SHARES}
    assert minted.values == {
        "caller": world.alice.address,
        "receiver": world.bob.address,
        "shares": SHARES,
        "amounts": tuple(amounts),
    }


def test_mint_of_one_unit_costs_a_unit_of_everything(world: World, vault: BoundContract) -> None:
    assert world.read(vault, "previewMintInKind", 1) == (1, 1, 1)
    assert world.read(vault, "previewRedeemInKind", 1) == (0, 0, 0)


# Redeem


def test_redeem_refusals_say_what_is_wrong(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    alice, bob = world.alice.address, world.bob.address
    amounts = list(world.read(vault, "previewRedeemInKind", SHARES))

    with refused("ZeroShares"):
        world.alice.transact(vault, "redeemInKind", 0, alice, alice, NO_MINIMUM)
    with refused("BadReceiver", receiver=ZERO_ADDRESS):
        world.alice.transact(vault, "redeemInKind", 1, ZERO_ADDRESS, alice, NO_MINIMUM)
    with refused("LengthMismatch", length=4, expected=3):
        world.alice.transact(vault, "redeemInKind", 1, alice, alice, [0] * 4)
    with refused("ERC20InsufficientAllowance", spender=bob, allowance=0, needed=1):
        world.bob.transact(vault, "redeemInKind", 1, bob, alice, NO_MINIMUM)
    with refused("ERC20InsufficientBalance", sender=alice, balance=SHARES, needed=SHARES + 1):
        world.alice.transact(vault, "redeemInKind", SHARES + 1, alice, alice, NO_MINIMUM)
    minimum = [amounts[0], amounts[1], amounts[2] + 1]
    with refused("AmountBelowMinimum", asset=2, amountRaw=amounts[2], minimumRaw=minimum[2]):
        world.alice.transact(vault, "redeemInKind", SHARES, alice, alice, minimum)


def test_redeem_with_too_little_gas_for_a_fair_try_is_refused(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    alice = world.alice.address

    with pytest.raises(ContractReverted) as caught:
        world.chain.transact(vault, "redeemInKind", SHARES, alice, alice, NO_MINIMUM, sender=alice, gas=350_000)

    assert caught.value.error == "NotEnoughGas"
    assert caught.value.values["needed"] == 300_000 * 64 // 63 + 50_000
    assert 0 < int(str(caught.value.values["gasLeft"])) < 350_000
    assert world.balance(vault, world.alice) == SHARES


def test_redeem_gives_the_same_part_of_everything_rounded_down(world: World, vault: BoundContract) -> None:
    paid = deposit(world, vault, world.alice, SHARES)
    held = list(world.read(vault, "held"))
    supply = INITIAL_SHARES + SHARES
    amounts = [mul_div_down(h, SHARES, supply) for h in held]
    assert world.read(vault, "previewRedeemInKind", SHARES) == tuple(amounts)

    receipt = world.alice.transact(vault, "redeemInKind", SHARES, world.bob.address, world.alice.address, amounts)

    assert world.balances(world.bob) == amounts
    assert all(out <= paid_in <= out + 1 for out, paid_in in zip(amounts, paid, strict=True))
    assert list(world.read(vault, "held")) == [h - a for h, a in zip(held, amounts, strict=True)]
    assert world.balances(vault) == list(world.read(vault, "held"))
    assert world.read(vault, "totalSupply") == INITIAL_SHARES
    redeemed = world.events(receipt, vault)[-1]
    assert (redeemed.name, redeemed.values) == (
        "RedeemedInKind",
        {
            "caller": world.alice.address,
            "receiver": world.bob.address,
            "owner": world.alice.address,
            "shares": SHARES,
            "amounts": tuple(amounts),
        },
    )


def test_redeem_by_an_approved_spender_uses_the_allowance(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    world.alice.transact(vault, "approve", world.bob.address, SHARES)

    world.bob.transact(vault, "redeemInKind", SHARES // 2, world.bob.address, world.alice.address, NO_MINIMUM)

    assert world.read(vault, "allowance", world.alice.address, world.bob.address) == (SHARES - SHARES // 2)
    assert world.balance(vault, world.alice) == SHARES - SHARES // 2
    assert min(world.balances(world.bob)) > 0


def test_redeem_while_paused_and_without_prices_pays_out(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    world.guardian.transact(vault, "pauseRebalance")
    for token in world.tokens:
        world.guardian.transact(world.oracle, "removeFeed", token.address)
    amounts = list(world.read(vault, "previewRedeemInKind", SHARES))

    world.alice.transact(vault, "redeemInKind", SHARES, world.alice.address, world.alice.address, amounts)

    assert world.balances(world.alice) == amounts


# Claim


def test_redeem_to_a_blocked_receiver_leaves_a_claim_of_that_token_alone(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    alice = world.alice.address
    world.stranger.transact(world.usdc, "blacklist", alice)
    amounts = list(world.read(vault, "previewRedeemInKind", SHARES))
    before = world.balances(vault)

    receipt = world.alice.transact(vault, "redeemInKind", SHARES, alice, alice, amounts)

    assert world.balances(world.alice) == [amounts[0], amounts[1], 0]
    assert world.read(vault, "claimable", alice, world.usdc.address) == amounts[2]
    assert world.read(vault, "claimable", alice, world.weth.address) == 0
    # What is claimed is out of the books, though still here.
    assert world.read(vault, "held")[2] == before[2] - amounts[2]
    assert world.balances(vault)[2] == before[2]
    opened = [event.values for event in world.events(receipt, vault) if event.name == "ClaimOpened"]
    owed = {"amountRaw": amounts[2], "units": amounts[2]}
    assert opened == [{"holder": alice, "token": world.usdc.address, **owed}]


def test_claim_is_paid_once_and_only_where_the_token_goes(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    alice, bob, usdc = world.alice.address, world.bob.address, world.usdc.address
    world.stranger.transact(world.usdc, "blacklist", alice)
    owed = world.read(vault, "previewRedeemInKind", SHARES)[2]
    world.alice.transact(vault, "redeemInKind", SHARES, alice, alice, NO_MINIMUM)

    with refused("BadReceiver", receiver=vault.address):
        world.alice.transact(vault, "claim", alice, usdc, vault.address, UNLIMITED)
    with refused("ClaimFailed", holder=alice, token=usdc, amountRaw=owed):
        world.alice.transact(vault, "claim", alice, usdc, alice, UNLIMITED)
    with refused("NothingToClaim", holder=bob, token=usdc):
        world.bob.transact(vault, "claim", bob, usdc, bob, UNLIMITED)
    with refused("NothingToClaim", holder=alice, token=world.weth.address):
        world.alice.transact(vault, "claim", alice, world.weth.address, alice, UNLIMITED)
    with refused("NotTheClaimant", caller=bob, holder=alice):
        world.bob.transact(vault, "claim", alice, usdc, bob, UNLIMITED)
    assert world.read(vault, "claimable", alice, usdc) == owed

    part = owed // 3
    world.alice.transact(vault, "claim", alice, usdc, bob, part)
    assert world.balance(world.usdc, world.bob) == part
    assert world.read(vault, "claimable", alice, usdc) == owed - part
    receipt = world.alice.transact(vault, "claim", alice, usdc, bob, UNLIMITED)

    assert world.balance(world.usdc, world.bob) == owed
    assert world.read(vault, "claimable", alice, usdc) == 0
    (claimed,) = world.events(receipt, vault)
    assert (claimed.name, claimed.values) == (
        "Claimed",
        {
            "holder": alice,
            "token": usdc,
            "receiver": bob,
            "amountRaw": owed - part,
            "units": owed - part,
        },
    )
    with refused("NothingToClaim", holder=alice, token=usdc):
        world.alice.transact(vault, "claim", alice, usdc, bob, UNLIMITED)


def test_claim_is_paid_to_its_holder_whoever_asks(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    alice, usdc = world.alice.address, world.usdc.address
    world.stranger.transact(world.usdc, "blacklist", alice)
    world.alice.transact(vault, "redeemInKind", SHARES, alice, alice, NO_MINIMUM)
    owed = world.read(vault, "claimable", alice, usdc)
    world.stranger.transact(world.usdc, "unBlacklist", alice)

    world.bob.transact(vault, "claim", alice, usdc, alice, UNLIMITED)

    assert world.balance(world.usdc, world.alice) == owed
    assert world.read(vault, "totalClaimable", usdc) == 0


def test_a_paused_token_stops_deposits_but_no_exit(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    alice = world.alice.address
    world.stranger.transact(world.wbtc, "pause")
    amounts = list(world.read(vault, "previewRedeemInKind", SHARES))

    world.approve(world.admin, vault, SEEDS)
    with refused("TokenPaused"):
        world.admin.transact(vault, "mintInKind", SHARES, alice, NO_LIMITS)
    world.alice.transact(vault, "redeemInKind", SHARES, alice, alice, amounts)
    assert world.balances(world.alice) == [amounts[0], 0, amounts[2]]

    world.stranger.transact(world.wbtc, "unpause")
    world.alice.transact(vault, "claim", alice, world.wbtc.address, alice, UNLIMITED)
    assert world.balances(world.alice) == amounts


# Gifts


def test_donation_changes_nothing_anybody_can_get(world: World, vault: BoundContract) -> None:
    deposit(world, vault, world.alice, SHARES)
    views = ("held", "totalSupply", "state", "fee", "assets", "policy")
    before = [world.read(vault, view) for view in views]
    out = world.read(vault, "previewRedeemInKind", SHARES)

    world.give(vault, [10 * E18, 10**8, 10**12])

    assert [world.read(vault, view) for view in views] == before
    assert world.read(vault, "previewRedeemInKind", SHARES) == out
    world.alice.transact(vault, "redeemInKind", SHARES, world.alice.address, world.alice.address, NO_MINIMUM)
    assert world.balances(world.alice) == list(out)


def test_ether_is_not_taken(world: World, vault: BoundContract) -> None:
    with pytest.raises(ContractReverted):
        world.chain.send(vault.address, value_wei=1)


# All together


def test_a_holder_lives_through_everything(world: World, vault: BoundContract) -> None:
    """Deposit, half out while blocked, a gift, a rebalance, the claim, and the rest out: nothing is left behind or made up."""
    paid = deposit(world, vault, world.alice, SHARES)
    alice = world.alice.address
    world.stranger.transact(world.usdc, "blacklist", alice)
    half = world.read(vault, "previewRedeemInKind", SHARES // 2)
    world.alice.transact(vault, "redeemInKind", SHARES // 2, alice, alice, list(half))
    world.give(vault, [E18, 0, 0])

    world.move_market({"ETH": 2_400})
    sold = 6 * E18
    ends = world.weth.address, world.usdc.address
    hop = v3_hop(world.pool(world.weth, world.usdc), sold, *ends, to_caller=True)
    world.keeper.transact(
        vault,
        "rebalance",
        0,
        [sold, 0, 0],
        [0, 0, 14_000 * 10**6],
        world.executor.address,
        encode([hop]),
    )
    assert world.read(vault, "state")[4] == 1

    world.stranger.transact(world.usdc, "unBlacklist", alice)
    world.alice.transact(vault, "claim", alice, world.usdc.address, alice, UNLIMITED)
    rest = SHARES - SHARES // 2
    world.alice.transact(vault, "redeemInKind", rest, alice, alice, NO_MINIMUM)

    # She bore her part of the sale: less WETH, more USDC, and of WBTC all but the dust of two roundings.
    got = world.balances(world.alice)
    assert got[0] < paid[0]
    assert paid[1] - 3 <= got[1] <= paid[1]
    assert got[2] > paid[2]
    held = world.read(vault, "held")
    assert world.balances(vault) == [held[0] + E18, held[1], held[2]]
    assert world.read(vault, "totalSupply") == INITIAL_SHARES
