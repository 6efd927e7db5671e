"""One token or ether in and out of a vault: the caller's own slippage, every leftover back, nothing kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import pytest

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.receipt import Receipt
from rebalancer.devnet.local import LocalAccount
from rebalancer.errors import ContractReverted
from rebalancer.route import Hop, encode
from rebalancer.units import E18, mul_div_down, mul_div_up
from rebalancer.venues.uniswap_v3 import v3_hop
from tests.contract.routes import USDC, WBTC, WETH, pool_hop, quote, router_hop
from tests.contract.world import INITIAL_SHARES, SEEDS, World, refused

ETH = "0x" + "0" * 40
LATER = (1 << 256) - 1
PAID_USDC = 100_000 * 10**6
PAID_WEI = 50 * E18


@dataclass(frozen=True)
class ZapIn:
    """Zap.In, field for field."""

    vault: str
    token_in: str
    amount_in: int
    swap_amount: int
    min_shares: int
    receiver: str
    deadline: int
    route: bytes


@dataclass(frozen=True)
class ZapOut:
    """Zap.Out, field for field."""

    vault: str
    shares: int
    token_out: str
    min_amount_out: int
    receiver: str
    deadline: int
    route: bytes


def zap_in(world: World, sender: LocalAccount, order: ZapIn, value_wei: int = 0) -> Receipt:
    return sender.transact(world.zap, "zapIn", tuple(asdict(order).values()), value_wei=value_wei)


def zap_out(world: World, sender: LocalAccount, order: ZapOut) -> Receipt:
    return sender.transact(world.zap, "zapOut", tuple(asdict(order).values()))


def minted_from(balances: Sequence[int]) -> tuple[int, list[int]]:
    """The most shares these balances buy of the vault as it was seeded, and what is left of them."""
    shares = min(mul_div_down(b, INITIAL_SHARES, seed) for b, seed in zip(balances, SEEDS, strict=True))
    left = [b - mul_div_up(seed, shares, INITIAL_SHARES) for b, seed in zip(balances, SEEDS, strict=True)]
    return shares, left


def assert_nothing_left_behind(world: World, vault: BoundContract) -> None:
    """Neither contract has a token or ether after it is done, nor what the zap's routes run in."""
    zaps_own = contract_at(world.chain.rpc, "ZapExecutor", world.read(world.zap, "EXECUTOR"))
    for contract in (world.zap, zaps_own, world.executor):
        assert world.balances(contract) == [0, 0, 0]
        assert world.balance(vault, contract) == 0
        assert world.chain.balance_wei(contract.address) == 0


@pytest.fixture
def usdc_in(world: World, vault: BoundContract) -> ZapIn:
    """Alice's 100,000 USDC: two fifths to WETH, two fifths to WBTC, the rest as it is."""
    part = PAID_USDC * 2 // 5
    world.give(world.alice, [0, 0, PAID_USDC])
    world.alice.transact(world.usdc, "approve", world.zap.address, PAID_USDC)
    route: list[Hop] = [
        pool_hop(world, part, USDC, WETH, True),
        router_hop(world, 0, (USDC, WBTC), False),
    ]
    return ZapIn(
        vault=vault.address,
        token_in=world.usdc.address,
        amount_in=PAID_USDC,
        swap_amount=2 * part,
        min_shares=0,
        receiver=world.bob.address,
        deadline=LATER,
        route=encode(route),
    )


@pytest.fixture
def usdc_out(world: World, vault: BoundContract) -> ZapOut:
    """A tenth of the vault, the admin's, to USDC."""
    shares = INITIAL_SHARES // 10
    world.admin.transact(vault, "approve", world.zap.address, shares)
    route = [pool_hop(world, 0, WETH, USDC, True), pool_hop(world, 0, WBTC, USDC, True)]
    return ZapOut(
        vault=vault.address,
        shares=shares,
        token_out=world.usdc.address,
        min_amount_out=0,
        receiver=world.bob.address,
        deadline=LATER,
        route=encode(route),
    )


# In


def test_zap_in_refusals_say_what_is_wrong(world: World, usdc_in: ZapIn) -> None:
    now = world.chain.now() + 10
    with refused("DeadlinePassed", deadline=now - 1, timestamp=now):
        world.chain.set_next_timestamp(now)
        zap_in(world, world.alice, replace(usdc_in, deadline=now - 1))
    with refused("ZeroAmount"):
        zap_in(world, world.alice, replace(usdc_in, amount_in=0))
    with refused("SwapAboveAmount", swapAmountRaw=PAID_USDC + 1, amountRaw=PAID_USDC):
        zap_in(world, world.alice, replace(usdc_in, swap_amount=PAID_USDC + 1))
    with refused("ValueMismatch", value=1, expected=0):
        zap_in(world, world.alice, usdc_in, value_wei=1)
    with refused("ValueMismatch", value=1, expected=2):
        zap_in(world, world.alice, replace(usdc_in, token_in=ETH, amount_in=2, swap_amount=0), 1)
    with refused("UnexpectedEther", sender=world.alice.address):
        world.chain.send(world.zap.address, sender=world.alice.address, value_wei=1)


def test_zap_in_on_its_deadline_is_in_time(world: World, usdc_in: ZapIn) -> None:
    now = world.chain.now() + 10
    world.chain.set_next_timestamp(now)
    assert zap_in(world, world.alice, replace(usdc_in, deadline=now)).succeeded


def test_zap_in_of_a_token_mints_the_most_and_returns_the_rest(
    world: World, vault: BoundContract, usdc_in: ZapIn
) -> None:
    part = usdc_in.swap_amount // 2
    balances = [
        quote(world, part, (USDC, WETH)),
        quote(world, part, (USDC, WBTC)),
        PAID_USDC - 2 * part,
    ]
    shares, left = minted_from(balances)
    short = replace(usdc_in, min_shares=shares + 1)
    with refused("SharesBelowMinimum", shares=shares, minimum=shares + 1):
        zap_in(world, world.alice, short)

    receipt = zap_in(world, world.alice, replace(usdc_in, min_shares=shares))

    assert world.balance(vault, world.bob) == shares
    assert world.balances(world.alice) == left
    assert world.balances(world.bob) == [0, 0, 0]
    assert world.balances(vault) == list(world.read(vault, "held"))
    assert_nothing_left_behind(world, vault)
    (event,) = world.events(receipt, world.zap)
    assert (event.name, event.values) == (
        "ZappedIn",
        {
            "vault": vault.address,
            "caller": world.alice.address,
            "receiver": world.bob.address,
            "token": world.usdc.address,
            "amount": PAID_USDC,
            "shares": shares,
        },
    )


def test_zap_in_of_ether_mints_the_most_and_returns_ether(world: World, vault: BoundContract) -> None:
    to_wbtc, to_usdc = 20 * E18, 11 * E18
    route: list[Hop] = [
        pool_hop(world, to_wbtc, WETH, WBTC, True),
        pool_hop(world, 0, WETH, USDC, True),
    ]
    order = ZapIn(
        vault=vault.address,
        token_in=ETH,
        amount_in=PAID_WEI,
        swap_amount=to_wbtc + to_usdc,
        min_shares=1,
        receiver=world.alice.address,
        deadline=LATER,
        route=encode(route),
    )
    shares, left = minted_from(
        [
            PAID_WEI - to_wbtc - to_usdc,
            quote(world, to_wbtc, (WETH, WBTC)),
            quote(world, to_usdc, (WETH, USDC)),
        ]
    )
    before = world.chain.balance_wei(world.alice.address)

    receipt = zap_in(world, world.alice, order, value_wei=PAID_WEI)

    assert world.balance(vault, world.alice) == shares
    spent = before - world.chain.balance_wei(world.alice.address) - receipt.cost_wei
    assert spent == PAID_WEI - left[0]
    assert world.balances(world.alice) == [0, left[1], left[2]]
    assert max(left) > 0
    assert_nothing_left_behind(world, vault)


def test_zap_in_by_amounts_out_leaves_only_what_was_paid_with(
    world: World, vault: BoundContract, usdc_in: ZapIn
) -> None:
    shares = INITIAL_SHARES // 20
    requested = list(world.read(vault, "previewMintInKind", shares))
    quoter = world.uniswap("QuoterV2")
    hops: list[Hop] = []
    cost = requested[2]
    for token, amount in ((world.weth, requested[0]), (world.wbtc, requested[1])):
        pool = world.pool(world.usdc, token)
        fee = world.read(contract_at(world.chain.rpc, "UniswapV3Pool", pool), "fee")
        hop = v3_hop(pool, 0, world.usdc.address, token.address, to_caller=True)
        hops.append(hop.buying(amount))
        quoted = (world.usdc.address, token.address, amount, fee, 0)
        cost += world.read(quoter, "quoteExactOutputSingle", quoted)[0]
    order = replace(usdc_in, swap_amount=PAID_USDC - requested[2], min_shares=shares, route=encode(hops))

    zap_in(world, world.alice, order)

    assert world.balance(vault, world.bob) == shares
    assert world.balances(world.alice) == [0, 0, PAID_USDC - cost]
    assert_nothing_left_behind(world, vault)


def test_zap_in_by_amounts_out_that_cost_more_than_was_paid_is_refused(world: World, usdc_in: ZapIn) -> None:
    pool = world.pool(world.usdc, world.weth)
    ends = world.usdc.address, world.weth.address
    hop = v3_hop(pool, 0, *ends, to_caller=True).buying(1_000 * E18)
    with pytest.raises(ContractReverted, match="CostsMore"):
        zap_in(world, world.alice, replace(usdc_in, route=encode([hop])))
    assert world.balances(world.alice) == [0, 0, PAID_USDC]


def test_zap_in_without_a_swap_needs_every_token_of_the_basket(world: World, usdc_in: ZapIn) -> None:
    with refused("SharesBelowMinimum", shares=0, minimum=0):
        zap_in(world, world.alice, replace(usdc_in, swap_amount=0, route=b""))
    assert world.balances(world.alice) == [0, 0, PAID_USDC]


# Out


def test_zap_out_refusals_say_what_is_wrong(world: World, vault: BoundContract, usdc_out: ZapOut) -> None:
    now = world.chain.now() + 10
    with refused("DeadlinePassed", deadline=now - 1, timestamp=now):
        world.chain.set_next_timestamp(now)
        zap_out(world, world.admin, replace(usdc_out, deadline=now - 1))
    with refused(
        "ERC20InsufficientAllowance",
        spender=world.zap.address,
        allowance=0,
        needed=usdc_out.shares,
    ):
        zap_out(world, world.bob, usdc_out)
    with refused("ZeroShares"):
        zap_out(world, world.admin, replace(usdc_out, shares=0))


def test_zap_out_to_a_token_pays_all_of_it(world: World, vault: BoundContract, usdc_out: ZapOut) -> None:
    weth, wbtc, usdc = world.read(vault, "previewRedeemInKind", usdc_out.shares)
    amount = usdc + quote(world, weth, (WETH, USDC)) + quote(world, wbtc, (WBTC, USDC))
    supply = world.read(vault, "totalSupply")
    with refused("AmountOutBelowMinimum", amountRaw=amount, minimumRaw=amount + 1):
        zap_out(world, world.admin, replace(usdc_out, min_amount_out=amount + 1))

    receipt = zap_out(world, world.admin, replace(usdc_out, min_amount_out=amount))

    assert world.balances(world.bob) == [0, 0, amount]
    assert world.read(vault, "totalSupply") == supply - usdc_out.shares
    assert_nothing_left_behind(world, vault)
    (event,) = world.events(receipt, world.zap)
    assert (event.name, event.values) == (
        "ZappedOut",
        {
            "vault": vault.address,
            "caller": world.admin.address,
            "receiver": world.bob.address,
            "token": world.usdc.address,
            "amount": amount,
            "shares": usdc_out.shares,
        },
    )


def test_zap_out_to_ether_pays_ether_and_what_the_route_left(
    world: World, vault: BoundContract, usdc_out: ZapOut
) -> None:
    """The route swaps half of the WBTC and all of the USDC; the other half goes to the receiver as it is."""
    weth, wbtc, usdc = world.read(vault, "previewRedeemInKind", usdc_out.shares)
    half = wbtc // 2
    amount = weth + quote(world, half, (WBTC, WETH)) + quote(world, usdc, (USDC, WETH))
    route: list[Hop] = [
        pool_hop(world, half, WBTC, WETH, True),
        router_hop(world, usdc, (USDC, WETH), True),
    ]
    order = replace(usdc_out, token_out=ETH, min_amount_out=amount, route=encode(route))
    before = world.chain.balance_wei(world.bob.address)

    zap_out(world, world.admin, order)

    assert world.chain.balance_wei(world.bob.address) == before + amount
    assert world.balances(world.bob) == [0, wbtc - half, 0]
    assert_nothing_left_behind(world, vault)


def test_zap_out_of_a_token_that_cannot_be_sent_leaves_the_callers_claim(
    world: World, vault: BoundContract, usdc_out: ZapOut
) -> None:
    world.stranger.transact(world.wbtc, "pause")
    weth, wbtc, usdc = world.read(vault, "previewRedeemInKind", usdc_out.shares)
    amount = usdc + quote(world, weth, (WETH, USDC))

    zap_out(
        world,
        world.admin,
        replace(usdc_out, route=encode([pool_hop(world, 0, WETH, USDC, True)])),
    )

    assert world.balances(world.bob) == [0, 0, amount]
    assert world.read(vault, "claimable", world.admin.address, world.wbtc.address) == wbtc
    assert_nothing_left_behind(world, vault)


def test_zap_in_and_out_again_never_gains(world: World, vault: BoundContract, usdc_in: ZapIn) -> None:
    zap_in(world, world.alice, replace(usdc_in, receiver=world.alice.address))
    shares = world.balance(vault, world.alice)
    world.alice.transact(vault, "approve", world.zap.address, shares)
    route = [pool_hop(world, 0, WETH, USDC, True), pool_hop(world, 0, WBTC, USDC, True)]

    zap_out(
        world,
        world.alice,
        ZapOut(
            vault=vault.address,
            shares=shares,
            token_out=world.usdc.address,
            min_amount_out=1,
            receiver=world.alice.address,
            deadline=LATER,
            route=encode(route),
        ),
    )

    weth, wbtc, usdc = world.balances(world.alice)
    leftovers = [quote(world, weth, (WETH, USDC)) if weth else 0]
    leftovers += [quote(world, wbtc, (WBTC, USDC)) if wbtc else 0]
    assert PAID_USDC * 98 // 100 < usdc + sum(leftovers) < PAID_USDC
