"""Making vaults: where they come to lie, how they are listed, and everything a new one is refused for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.operations.deploy import VaultFees, VaultSpec, create_vault
from rebalancer.settlement import Asset
from rebalancer.units import E18
from tests.baskets import DECIMALS
from tests.contract.world import INITIAL_SHARES, SEEDS, World, basket_spec, refused

ZERO_ADDRESS = "0x" + "0" * 40
LOCKED = "0x000000000000000000000000000000000000dead"
MINIMUM_SHARES = 10**6
LEAST_SHARES = 100 * MINIMUM_SHARES
LEAST_SEED_RAW = 100_000
LOCKED_SHARES = -(-INITIAL_SHARES * 1_000 // SEEDS[1])
"""They own 1,000 units of WBTC, of which the seed has the fewest units."""


@pytest.fixture
def spec(world: World) -> VaultSpec:
    return basket_spec(world)


def create(world: World, spec: VaultSpec) -> BoundContract:
    return contract_at(world.chain.rpc, "BasketVault", create_vault(world.admin, world.system, spec))


def many(world: World, decimals: Sequence[int], spec: VaultSpec) -> VaultSpec:
    """The same with one new token of each number of decimals, ten whole tokens of each, or the least seed, and equal targets."""
    tokens = [world.new_token(refs) for refs in decimals]
    targets = [E18 // len(tokens)] * len(tokens)
    targets[0] += E18 - sum(targets)
    assets = tuple(
        Asset(token.address, target, 200, refs) for token, target, refs in zip(tokens, targets, decimals, strict=True)
    )
    return replace(spec, assets=assets, seed_amounts=tuple(max(LEAST_SEED_RAW, 10 * 10**d) for d in decimals))


def with_asset(spec: VaultSpec, i: int, **changes: object) -> VaultSpec:
    assets = list(spec.assets)
    assets[i] = replace(assets[i], **changes)  # type: ignore[arg-type]
    return replace(spec, assets=tuple(assets))


# Success


def test_vault_lies_where_the_factory_said(world: World, spec: VaultSpec) -> None:
    admin, salt = world.admin.address, (7).to_bytes(32)
    predicted = world.read(world.factory, "vaultAddress", admin, salt)
    assert predicted != world.read(world.factory, "vaultAddress", world.alice.address, salt)
    assert world.chain.code(predicted) == b""
    assert not world.read(world.factory, "isVault", predicted)

    made = create(world, replace(spec, salt=7))

    assert made.address == predicted
    assert world.read(world.factory, "isVault", predicted)
    # An ERC-1167 clone: ten bytes, the implementation, fifteen bytes.
    code = world.chain.code(predicted)
    assert (len(code), code[10:30].hex()) == (45, world.system.implementation[2:])


def test_vault_starts_as_it_was_asked_to(world: World, spec: VaultSpec) -> None:
    before = world.balances(world.admin)

    made = create(world, replace(spec, fees=VaultFees(150, 1_000, 20, 30)))

    views = ("name", "symbol", "decimals", "authority", "oracle", "feeRecipient", "MINIMUM_SHARES")
    assert [world.read(made, view) for view in views] == [
        *("Big three", "BIG3", 18, world.system.authority, world.system.oracle),
        *(world.treasury.address, MINIMUM_SHARES),
    ]
    assert world.read(made, "assets") == tuple(astuple(asset) for asset in spec.assets)
    assert world.read(made, "policy") == astuple(spec.policy)
    assert world.read(made, "state") == (0, 0, 0, 0, 0, False)
    assert world.read(made, "fee") == (0, world.chain.now(), 150, 20, 30, 48, INITIAL_SHARES >> 48)
    worth_e18 = SEEDS[0] * 2_000 + SEEDS[1] * 30_000 * 10**10 + SEEDS[2] * 10**12
    mark_e18 = -(-worth_e18 * E18 // INITIAL_SHARES)
    assert world.read(made, "performance") == (mark_e18, world.chain.now(), 1_000, 1_000)
    assert world.read(made, "locked") is False
    assert world.read(made, "held") == SEEDS
    assert world.balances(made) == list(SEEDS)
    assert world.balances(world.admin) == [b - s for b, s in zip(before, SEEDS, strict=True)]
    assert world.read(made, "totalSupply") == INITIAL_SHARES
    assert world.balance(made, world.admin) == INITIAL_SHARES - LOCKED_SHARES
    assert world.read(made, "balanceOf", LOCKED) == LOCKED_SHARES


def test_vaults_are_listed_in_pages(world: World, spec: VaultSpec) -> None:
    made = [create(world, replace(spec, salt=salt)).address for salt in range(4)]
    assert world.read(world.factory, "vaultCount") == 4

    def page(start: int, count: int) -> list[str]:
        return list(world.read(world.factory, "vaults", start, count))

    assert page(0, 100) == made
    assert page(1, 2) == made[1:3]
    assert page(3, 2) == made[3:]
    assert page(0, 0) == page(4, 1) == page(1 << 200, 1) == []
    assert page(2, (1 << 256) - 1) == made[2:]


@pytest.mark.parametrize("count", [2, 16])
def test_vault_of_the_fewest_and_the_most_assets_lives(world: World, spec: VaultSpec, count: int) -> None:
    decimals = [DECIMALS[i % len(DECIMALS)] for i in range(count)]
    made = world.open_vault(many(world, decimals, spec))
    shares = INITIAL_SHARES // 4
    out = world.read(made, "previewRedeemInKind", shares)

    admin = world.admin.address
    world.admin.transact(made, "redeemInKind", shares, admin, admin, list(out))

    assert out == tuple(max(LEAST_SEED_RAW, 10 * 10**refs) // 4 for refs in decimals)


# Refused


def test_number_of_assets_out_of_range_is_refused(world: World, spec: VaultSpec) -> None:
    with refused("AssetCountOutOfRange", count=17, minimum=2, maximum=16):
        create(world, many(world, [18] * 17, spec))
    with refused("AssetCountOutOfRange", count=1, minimum=2, maximum=16):
        create(world, many(world, [18], spec))
    with refused("AssetCountOutOfRange", count=0, minimum=2, maximum=16):
        create(world, replace(spec, assets=(), seed_amounts=()))


def test_assets_that_are_no_basket_are_refused(world: World, spec: VaultSpec) -> None:
    weth, stranger = world.weth.address, world.stranger.address
    nothing = replace(spec, seed_amounts=(0, *SEEDS[1:]))

    with refused("DuplicateAsset", token=weth):
        create(world, with_asset(nothing, 2, token=weth, decimals=18))
    with refused("NotAToken", token=stranger):
        create(world, with_asset(nothing, 0, token=stranger))
    with refused("DecimalsDiffer", token=weth, expected=6, actual=18):
        create(world, with_asset(spec, 0, decimals=6))
    with refused("TargetsDoNotSumToOne", sumE18=E18 + 1):
        create(world, with_asset(spec, 0, target_e18=4 * E18 // 10 + 1))
    with refused("TargetsDoNotSumToOne", sumE18=6 * E18 // 10):
        create(world, with_asset(spec, 0, target_e18=0))
    with refused("BandOutOfRange", asset=1, bandBps=0, minimum=21, maximum=5_000):
        create(world, with_asset(spec, 1, band_bps=0))
    with refused("BandOutOfRange", asset=1, bandBps=5_001, minimum=21, maximum=5_000):
        create(world, with_asset(spec, 1, band_bps=5_001))


def test_token_of_too_many_decimals_is_refused(world: World, spec: VaultSpec) -> None:
    finest = world.new_token(28)
    nothing = replace(spec, seed_amounts=(0, *SEEDS[1:]))

    with refused("DecimalsOutOfRange", token=finest.address, decimals=28, maximum=27):
        create(world, with_asset(nothing, 0, token=finest.address, decimals=28))


def test_asset_without_a_feed_is_refused(world: World, spec: VaultSpec) -> None:
    unpriced = world.admin.deploy("MockToken", "Unpriced", "NONE", 18)
    nothing = replace(spec, seed_amounts=(0, *SEEDS[1:]))

    with refused("UnpricedAsset", token=unpriced.address, fault=1):
        create(world, with_asset(nothing, 0, token=unpriced.address))


def test_asset_with_a_stale_zero_or_negative_price_is_refused(world: World, spec: VaultSpec) -> None:
    feed = contract_at(world.chain.rpc, "MockAggregator", world.market.deployment.feeds[0].aggregator or "")
    for answer, fault in ((0, 3), (-1, 3)):
        world.admin.transact(feed, "push", answer)
        with refused("UnpricedAsset", token=world.weth.address, fault=fault):
            create(world, spec)
    world.admin.transact(feed, "pushAt", 2_000 * 10**8, world.chain.now() - 3_700)
    with refused("UnpricedAsset", token=world.weth.address, fault=4):
        create(world, spec)


def test_seed_that_is_none_is_refused(world: World, spec: VaultSpec) -> None:
    with refused("NothingHeld"):
        create(world, replace(spec, seed_amounts=(0, 0, 0)))
    with refused("SharesBelowMinimum", shares=LEAST_SHARES - 1, minimum=LEAST_SHARES):
        create(world, replace(spec, initial_shares=LEAST_SHARES - 1))
    scant = (*SEEDS[:1], LEAST_SEED_RAW - 1, SEEDS[2])
    with refused("SeedTooSmall", asset=1, amountRaw=scant[1], minimumRaw=LEAST_SEED_RAW):
        create(world, replace(spec, seed_amounts=scant))
    with refused("LengthMismatch", length=2, expected=3):
        world.admin.transact(world.factory, "createVault", params(world, spec, SEEDS[:2]))
    token = world.new_token(18)
    plenty = replace(with_asset(spec, 0, token=token.address), seed_amounts=(1 << 120, *SEEDS[1:]))
    with refused("HoldingTooLarge", asset=0, amountRaw=1 << 120, maximumRaw=(1 << 120) - 1):
        create(world, plenty)


def test_seed_that_does_not_arrive_whole_is_refused(world: World, spec: VaultSpec) -> None:
    taxed = world.admin.deploy("FeeToken", "Taxed", "TAX", 18, 100)
    world.admin.transact(taxed, "mint", world.admin.address, E18)
    seeds = (E18, *SEEDS[1:])

    with refused("TransferNotExact", token=taxed.address, askedRaw=E18, receivedRaw=E18 * 99 // 100):
        create(world, replace(with_asset(spec, 0, token=taxed.address), seed_amounts=seeds))
    with refused("TransferNotExact", token=world.stranger.address, askedRaw=E18, receivedRaw=0):
        params_of_nobody = params(world, with_asset(spec, 0, token=world.stranger.address), seeds)
        world.admin.transact(world.factory, "createVault", params_of_nobody)


def test_name_fee_or_receiver_out_of_range_is_refused(world: World, spec: VaultSpec) -> None:
    for name in ("", "x" * 32):
        with refused("BadName", name=name):
            create(world, replace(spec, name=name))
        with refused("BadName", name=name):
            create(world, replace(spec, symbol=name))
    with refused("FeeOutOfRange", feeBps=501, maximum=500):
        create(world, replace(spec, fees=VaultFees(501)))
    with refused("BadFeeRecipient", recipient=ZERO_ADDRESS):
        create(world, replace(spec, fee_recipient=ZERO_ADDRESS))
    own = world.read(world.factory, "vaultAddress", world.admin.address, bytes(32))
    with refused("BadFeeRecipient", recipient=own):
        create(world, replace(spec, fee_recipient=own))
    with refused("BadReceiver", receiver=ZERO_ADDRESS):
        world.admin.transact(world.factory, "createVault", params(world, spec, SEEDS, receiver=ZERO_ADDRESS))


def test_salt_is_used_once_by_each_creator(world: World, spec: VaultSpec) -> None:
    create(world, spec)

    with refused("FailedDeployment"):
        create(world, spec)


def test_neither_a_vault_nor_the_implementation_starts_twice(world: World, spec: VaultSpec) -> None:
    made = create(world, spec)
    implementation = contract_at(world.chain.rpc, "BasketVault", world.system.implementation)
    name, symbol, authority, config, fees, recipient, seeds, shares, receiver, _ = params(world, spec, SEEDS)
    again = (name, symbol, authority, config, fees, recipient, seeds, shares, receiver)
    for contract in (made, implementation):
        with refused("AlreadyInitialized"):
            world.stranger.transact(contract, "initialize", again)


def params(world: World, spec: VaultSpec, seeds: Sequence[int], receiver: str | None = None) -> tuple[object, ...]:
    """VaultFactory.Params; the seed is approved."""
    for asset, amount in zip(spec.assets, seeds, strict=False):
        token = contract_at(world.chain.rpc, "MockToken", asset.token)
        if world.chain.code(asset.token):
            world.admin.transact(token, "approve", world.factory.address, amount)
    config = (
        world.system.oracle,
        astuple(spec.policy),
        *(0, 0),
        [astuple(asset) for asset in spec.assets],
    )
    return (
        spec.name,
        spec.symbol,
        world.system.authority,
        config,
        astuple(spec.fees),
        spec.fee_recipient,
        list(seeds),
        spec.initial_shares,
        receiver or world.admin.address,
        bytes(32),
    )
