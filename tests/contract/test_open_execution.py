"""Who else rebalances: an automation network through the KeeperGate, and anyone once the vault is open, on real Uniswap V3 code."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode

from rebalancer.chain.contracts import BoundContract, contract_at
from rebalancer.chain.system import Role
from rebalancer.reasons import LENS_REASONS, Reason
from rebalancer.route import encode
from rebalancer.units import E18
from tests.contract.routes import WBTC, WETH, pool_hop, quote
from tests.contract.world import SEEDS, World, refused

ETHER_USD = 2_400
"""The price at which WETH is 48,000 dollars above target, WBTC 32,000 and USDC 16,000 below."""

OPEN_AFTER_SECONDS = 60
SOLD_RAW = 6 * E18


@pytest.fixture
def broken(world: World, vault: BoundContract) -> BoundContract:
    """The vault with WETH above its band, open to anyone a minute after that is known."""
    policy = list(world.read(vault, "policy"))
    policy[-1] = OPEN_AFTER_SECONDS
    world.owner.transact(vault, "setPolicy", tuple(policy))
    world.move_market({"ETH": ETHER_USD})
    return vault


@pytest.fixture
def gate(world: World) -> BoundContract:
    """The gate, with Bob as a network's caller and Alice as a CRE forwarder for Bob's workflows."""
    contract = contract_at(world.chain.rpc, "KeeperGate", world.system.gate)
    bob, alice = world.bob.address, world.alice.address
    world.admin.transact(world.authority, "grantRole", Role.AUTOMATION.value, bob, 0)
    world.owner.transact(contract, "setWorkflowOwner", alice, bob)
    return contract


def hint(world: World, vault: BoundContract) -> bytes:
    """A standing route: all there is of WETH, on the pool, for WBTC."""
    route = encode([pool_hop(world, 0, WETH, WBTC, to_caller=True)])
    return abi_encode(["address", "bytes"], [vault.address, route])


def metadata(workflow_owner: str) -> bytes:
    """What KeystoneForwarder hands over: workflowId, workflowName, workflowOwner, reportId."""
    return b"\x11" * 32 + b"rebalance\0" + bytes.fromhex(workflow_owner[2:]) + b"\0\x01"


def rebalanced(world: World, vault: BoundContract, receipt: Any) -> dict[str, Any]:
    (event,) = [e for e in world.events(receipt, vault) if e.name == "Rebalanced"]
    return dict(event.values)


def test_a_network_pokes_then_rebalances_with_nothing_but_a_route(
    world: World, broken: BoundContract, gate: BoundContract
) -> None:
    data = hint(world, broken)
    assert world.read(gate, "checkUpkeep", data) == (True, data)
    world.bob.transact(gate, "performUpkeep", data)
    assert world.read(broken, "state")[3] == world.chain.now()
    assert world.read(gate, "checkUpkeep", data) == (True, data)

    receipt = world.bob.transact(gate, "performUpkeep", data)

    event = rebalanced(world, broken, receipt)
    assert event["caller"] == gate.address
    assert event["executor"] == world.executor.address
    weth, wbtc, usdc = world.read(broken, "held")
    # What WBTC lacks is lent, and no more: 32,000 dollars of 48,000.
    assert SEEDS[0] - weth == pytest.approx(32_000 * E18 // ETHER_USD, rel=1e-3)
    assert wbtc > SEEDS[1]
    assert usdc == SEEDS[2]
    assert world.balances(world.executor) == world.balances(gate) == [0, 0, 0]
    in_band = LENS_REASONS.index(Reason.IN_BAND)
    with refused("NothingToDo", vault=broken.address, reason=in_band):
        world.bob.transact(gate, "performUpkeep", data)


def test_a_forwarder_reports_for_its_workflows_owner(world: World, broken: BoundContract, gate: BoundContract) -> None:
    data = hint(world, broken)
    mine = metadata(world.bob.address)
    with refused("UnknownForwarder", caller=world.stranger.address):
        world.stranger.transact(gate, "onReport", mine, data)
    bob, keeper = world.bob.address, world.keeper.address
    with refused("WrongWorkflowOwner", workflowOwner=keeper, expected=bob):
        world.alice.transact(gate, "onReport", metadata(keeper), data)

    world.alice.transact(gate, "onReport", mine, data)
    receipt = world.alice.transact(gate, "onReport", mine, data)

    assert rebalanced(world, broken, receipt)["caller"] == gate.address


def test_an_arbitrageur_fills_the_vault_from_a_pool_with_a_flash_swap(world: World, broken: BoundContract) -> None:
    flash = world.stranger.deploy("FlashFiller")
    bought = quote(world, SOLD_RAW, (WETH, WBTC)) * 997 // 1_000
    pool = world.pool(world.tokens[WETH], world.tokens[WBTC])
    epoch = world.read(broken, "state")[4]
    trade = (broken.address, epoch, pool, WETH, WBTC, SOLD_RAW, bought, 1)
    world.stranger.transact(broken, "poke")
    with refused("AccessManagedUnauthorized", caller=flash.address):
        world.stranger.transact(flash, "fill", trade)
    world.move_market(seconds=OPEN_AFTER_SECONDS)
    before = world.balances(world.stranger)

    world.stranger.transact(flash, "fill", trade)

    assert list(world.read(broken, "held")) == [SEEDS[0] - SOLD_RAW, SEEDS[1] + bought, SEEDS[2]]
    weth, wbtc, usdc = world.balances(world.stranger)
    assert 0 < weth - before[0] < SOLD_RAW // 100, (
        "three tenths of a per cent, and what a smaller trade moves the pool less"
    )
    assert [wbtc, usdc] == before[1:]
    assert world.balances(flash) == [0, 0, 0]


def test_a_market_maker_fills_the_vault_from_its_inventory(world: World, broken: BoundContract) -> None:
    desk = world.alice.deploy("InventoryFiller", world.alice.address)
    world.alice.transact(desk, "setOperator", world.bob.address, True)
    world.give(desk, [0, SEEDS[1], 0])
    epoch = world.read(broken, "state")[4]
    sales, buys = [SOLD_RAW, 0, 0], [0, SOLD_RAW * ETHER_USD * 10**8 // 30_000 // E18, 0]
    world.stranger.transact(broken, "poke")
    with refused("AccessManagedUnauthorized", caller=desk.address):
        world.bob.transact(desk, "fill", broken.address, epoch, sales, buys)
    world.move_market(seconds=OPEN_AFTER_SECONDS)

    world.bob.transact(desk, "fill", broken.address, epoch, sales, buys)

    held = [SEEDS[0] - SOLD_RAW, SEEDS[1] + buys[1], SEEDS[2]]
    assert list(world.read(broken, "held")) == held
    assert world.balances(desk) == [SOLD_RAW, SEEDS[1] - buys[1], 0]
