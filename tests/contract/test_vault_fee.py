"""The streaming fee against a model in Python, to the unit of a share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from rebalancer.chain.contracts import BoundContract
from rebalancer.chain.receipt import Receipt
from rebalancer.devnet.local import LocalAccount
from rebalancer.operations.deploy import VaultFees
from rebalancer.units import BPS, YEAR_SECONDS, mul_div_down, mul_div_up
from tests.contract.world import INITIAL_SHARES, SEEDS, World, basket_spec, refused

FEE_BPS = 200
MONTH = 30 * 86_400
UNLIMITED = (1 << 256) - 1


@dataclass
class Books:
    """BasketVault's ledger, shares and fee: what was minted, what is owed, and since when it is counted."""

    held: list[int]
    minted: int
    fee_bps: int
    accrued_at: int
    pending: int = 0

    def supply(self, at: int) -> int:
        """totalSupply(): simple interest on all shares since the fee was last booked, rounded down."""
        shares = self.minted + self.pending
        earned = shares * self.fee_bps * (at - self.accrued_at) // (YEAR_SECONDS * BPS)
        return shares + earned

    def accrue(self, at: int) -> int:
        """Books the fee and returns the supply."""
        supply = self.supply(at)
        self.pending, self.accrued_at = supply - self.minted, at
        return supply

    def mint(self, shares: int, at: int) -> list[int]:
        supply = self.accrue(at)
        amounts = [mul_div_up(held, shares, supply) for held in self.held]
        self.held = [held + amount for held, amount in zip(self.held, amounts, strict=True)]
        self.minted += shares
        return amounts

    def redeem(self, shares: int, at: int) -> list[int]:
        supply = self.accrue(at)
        amounts = [mul_div_down(held, shares, supply) for held in self.held]
        self.held = [held - amount for held, amount in zip(self.held, amounts, strict=True)]
        self.minted -= shares
        return amounts

    def collect(self, at: int) -> int:
        collected = self.supply(at) - self.minted
        if collected:
            self.pending, self.accrued_at = 0, at
            self.minted += collected
        return collected

    def set_fee(self, fee_bps: int, at: int) -> None:
        self.collect(at)
        self.fee_bps, self.accrued_at = fee_bps, at


@pytest.fixture
def charging(world: World) -> BoundContract:
    """The vault with a fee of 2 % a year."""
    return world.open_vault(replace(basket_spec(world), fees=VaultFees(FEE_BPS)))


def opened(world: World, vault: BoundContract) -> Books:
    _, accrued_at, fee_bps, *_ = world.read(vault, "fee")
    assert fee_bps == FEE_BPS
    return Books(list(SEEDS), INITIAL_SHARES, fee_bps, accrued_at)


def at(world: World, moment: int, sender: LocalAccount, vault: BoundContract, function: str, *args: object) -> Receipt:
    """A transaction at a time."""
    world.chain.set_next_timestamp(moment)
    return sender.transact(vault, function, *args)


def check(world: World, vault: BoundContract, books: Books) -> None:
    now = world.chain.now()
    assert world.read(vault, "fee")[:5] == (books.pending, books.accrued_at, books.fee_bps, 0, 0)
    assert world.read(vault, "totalSupply") == books.supply(now)
    assert list(world.read(vault, "held")) == books.held


def test_fee_of_a_year_is_its_part_of_all_shares(world: World, charging: BoundContract) -> None:
    """2 % of the million shares that were there; whoever held all holds a million of 1,020,000."""
    books = opened(world, charging)
    year_later = books.accrued_at + YEAR_SECONDS

    receipt = at(world, year_later, world.stranger, charging, "collectFee")

    collected = books.collect(year_later)
    assert collected == INITIAL_SHARES * FEE_BPS // BPS == 20_000 * 10**18
    assert world.balance(charging, world.treasury) == collected
    check(world, charging, books)
    event = world.events(receipt, charging)[-1]
    assert (event.name, event.values) == (
        "FeeCollected",
        {"recipient": world.treasury.address, "shares": collected},
    )


def test_fee_counts_in_the_supply_before_it_is_collected(world: World, charging: BoundContract) -> None:
    books = opened(world, charging)
    world.chain.mine(at=books.accrued_at + MONTH)
    now = world.chain.now()

    assert world.read(charging, "totalSupply") == books.supply(now) > INITIAL_SHARES
    shares = INITIAL_SHARES // 7
    supply = books.supply(now)
    assert list(world.read(charging, "previewRedeemInKind", shares)) == [
        mul_div_down(seed, shares, supply) for seed in SEEDS
    ]
    assert list(world.read(charging, "previewMintInKind", shares)) == [
        mul_div_up(seed, shares, supply) for seed in SEEDS
    ]


def test_fee_equals_the_model_through_a_random_year(world: World, charging: BoundContract) -> None:
    rng, books = Random(7), opened(world, charging)
    moment = books.accrued_at
    admin, limits = world.admin, [UNLIMITED] * 3
    world.approve(admin, charging, limits)
    seen = set()
    for _ in range(40):
        moment += rng.choice((1, 3_600, 86_400, MONTH))
        action = rng.choice(("mint", "redeem", "collect", "set"))
        seen.add(action)
        if action == "mint":
            shares = rng.randrange(1, INITIAL_SHARES // 10)
            before = world.balances(admin)
            at(world, moment, admin, charging, "mintInKind", shares, admin.address, limits)
            paid = [b - a for b, a in zip(before, world.balances(admin), strict=True)]
            assert paid == books.mint(shares, moment)
        elif action == "redeem":
            shares = rng.randrange(1, INITIAL_SHARES // 10)
            before = world.balances(admin)
            at(
                *(world, moment, admin, charging, "redeemInKind", shares),
                *(admin.address, admin.address, [0, 0, 0]),
            )
            got = [a - b for b, a in zip(before, world.balances(admin), strict=True)]
            assert got == books.redeem(shares, moment)
        elif action == "collect":
            owned = world.balance(charging, world.treasury)
            at(world, moment, world.stranger, charging, "collectFee")
            assert world.balance(charging, world.treasury) - owned == books.collect(moment)
        else:
            fee_bps = rng.randrange(501)
            receipt = at(
                *(world, moment, world.owner, charging, "setFees"),
                *((fee_bps, 0, 0, 0), world.treasury.address),
            )
            books.set_fee(fee_bps, moment)
            event = world.events(receipt, charging)[-1]
            assert event.values == {
                "fees": (fee_bps, 0, 0, 0),
                "recipient": world.treasury.address,
            }
        check(world, charging, books)
    assert seen == {"mint", "redeem", "collect", "set"}


def test_fee_of_nothing_collects_nothing(world: World, vault: BoundContract) -> None:
    world.chain.mine(at=world.chain.now() + YEAR_SECONDS)

    receipt = world.stranger.transact(vault, "collectFee")

    assert world.events(receipt, vault) == []
    assert world.balance(vault, world.treasury) == 0
    assert world.read(vault, "totalSupply") == INITIAL_SHARES


def test_fees_out_of_range_or_to_nobody_are_refused(world: World, charging: BoundContract) -> None:
    treasury = world.treasury.address
    for place, maximum in enumerate((500, 2_000, 200, 200)):
        fees = [0, 0, 0, 0]
        fees[place] = maximum + 1
        with refused("FeeOutOfRange", feeBps=maximum + 1, maximum=maximum):
            world.owner.transact(charging, "setFees", fees, treasury)
    with refused("BadFeeRecipient", recipient="0x" + "0" * 40):
        world.owner.transact(charging, "setFees", (100, 0, 0, 0), "0x" + "0" * 40)
    with refused("AccessManagedUnauthorized", caller=treasury):
        world.treasury.transact(charging, "setFees", (500, 0, 0, 0), treasury)


def test_a_new_recipient_leaves_the_old_one_what_was_earned(world: World, charging: BoundContract) -> None:
    books = opened(world, charging)
    moment = books.accrued_at + MONTH
    earned = books.supply(moment) - books.minted

    at(world, moment, world.owner, charging, "setFees", (0, 0, 0, 0), world.bob.address)

    assert world.balance(charging, world.treasury) == earned > 0
    world.stranger.transact(charging, "collectFee")
    assert world.balance(charging, world.bob) == 0
